//! Block nodes of a running QEMU that libvirt has forgotten.
//!
//! libvirt names the block nodes that it makes (`libvirt-8-storage`) and remembers the last number in the domain's status
//! file. A libvirtd that is killed after it has made a node and before it has written that down gives the same name again,
//! and QEMU refuses: `Duplicate nodes with node-name`. Such a node belongs to nothing; here it is removed.
//!
//! This module must never remove a node that is in use. It need not look: QEMU refuses that by itself (`blockdev-del`).

use crate::libvirt::Fault;
use serde_json::json;
use virga_model::Error;
use virt::domain::Domain;

/// Names that are made free for one step.
const FREED_MAX: usize = 16;

/// Does a step that makes block nodes; a name that a forgotten node holds is made free, and the step done again.
///
/// # Errors
/// What libvirt says to the step itself.
pub fn with_free_names<T>(d: &Domain, step: impl Fn() -> Result<T, virt::error::Error>) -> Result<T, Fault> {
    for _ in 0..FREED_MAX {
        let e = match step() {
            Ok(done) => return Ok(done),
            Err(e) => e,
        };
        let Some(number) = taken(e.message()) else { return Err(e.into()) };
        tracing::warn!(number, "QEMU has a block node that libvirt has forgotten; it is removed");
        for kind in ["format", "storage"] {
            let command = json!({"execute": "blockdev-del", "arguments": {"node-name": format!("libvirt-{number}-{kind}")}});
            // One of the two may not be there, or be in use: then the next number is tried.
            drop(d.qemu_monitor_command(&command.to_string(), 0));
        }
    }
    Err(Error::host("QEMU goes on having block nodes that libvirt has forgotten.").with_hint("Stop the VM and start it again.").into())
}

/// The number of the node whose name was taken.
fn taken(message: &str) -> Option<u64> {
    let name = message.split_once("Duplicate nodes with node-name='libvirt-")?.1;
    name.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_number_is_found_in_what_qemu_says() {
        let said = "internal error: unable to execute QEMU command 'blockdev-add': Duplicate nodes with node-name='libvirt-8-storage'";
        assert_eq!(super::taken(said), Some(8));
        assert_eq!(super::taken("Duplicate nodes with node-name='mine'"), None);
        assert_eq!(super::taken("something else"), None);
    }
}
