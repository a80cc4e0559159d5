//! Block nodes of a running QEMU that libvirt has forgotten.
//!
//! libvirt names the block nodes that it makes (`libvirt-8-storage`) and remembers the last number in the domain's status
//! file. A libvirtd that is killed after it has made a node and before it has written that down gives the same name again,
//! and QEMU refuses (`Duplicate nodes with node-name`), or refuses to open the file a second time. Such nodes belong to
//! nothing; here they are removed.
//!
//! This module must never remove a node that is in use. It need not look: QEMU refuses that by itself (`blockdev-del`).

use crate::libvirt::Fault;
use serde_json::{Value, json};
use virt::domain::Domain;

/// Times that a step is done again.
const TRIES: usize = 16;
/// What QEMU says when a forgotten node holds a name, or a file.
const HELD: [&str; 2] = ["Duplicate nodes with node-name", "Failed to get \"write\" lock"];

/// Does a step that makes block nodes. Nodes that are forgotten and hold a name or file that it needs are removed, and the
/// step is done again; each time libvirt takes other names.
///
/// # Errors
/// What libvirt says to the step itself.
pub fn without_forgotten<T>(d: &Domain, step: impl Fn() -> Result<T, virt::error::Error>) -> Result<T, Fault> {
    let mut tries = 0;
    loop {
        let e = match step() {
            Ok(done) => return Ok(done),
            Err(e) => e,
        };
        tries += 1;
        if tries > TRIES || !HELD.iter().any(|h| e.message().contains(h)) {
            return Err(e.into());
        }
        let removed = remove(d);
        tracing::warn!(?removed, "QEMU has block nodes that libvirt has forgotten");
    }
}

/// Removes the nodes that nothing uses; their names. Formats come before what they stand on.
fn remove(d: &Domain) -> Vec<String> {
    let ask = |command: Value| d.qemu_monitor_command(&command.to_string(), 0).ok().and_then(|a| serde_json::from_str::<Value>(&a).ok());
    let Some(all) = ask(json!({"execute": "query-named-block-nodes", "arguments": {"flat": true}})) else { return Vec::new() };
    let mut names = named(&all);
    names.retain(|n| ask(json!({"execute": "blockdev-del", "arguments": {"node-name": n}})).is_some_and(|a| a.get("return").is_some()));
    names
}

/// Nodes that libvirt made.
fn named(answer: &Value) -> Vec<String> {
    let nodes = answer["return"].as_array().into_iter().flatten().filter_map(|n| n["node-name"].as_str());
    let mut names: Vec<String> = nodes.filter(|n| n.starts_with("libvirt-")).map(String::from).collect();
    names.sort_by_key(|n| !n.ends_with("-format"));
    names
}

#[cfg(test)]
mod tests {
    #[test]
    fn formats_come_first_and_only_what_libvirt_made() {
        let all = serde_json::json!({"return": [{"node-name": "libvirt-8-storage"}, {"node-name": "libvirt-8-format"}, {"node-name": "#block123"}, {}]});
        assert_eq!(super::named(&all), ["libvirt-8-format", "libvirt-8-storage"]);
        assert!(super::named(&serde_json::json!({"error": {}})).is_empty());
    }
}
