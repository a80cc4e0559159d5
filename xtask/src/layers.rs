//! Which crate may depend on which (ARCHITECTURE.md, "Layers").

use crate::{Faults, tree};
use anyhow::{Context, Result};
use toml::Table;

/// Layer of each crate. An arrow goes from a higher number to a lower one, never between equals.
pub const LAYERS: [(&str, u32); 11] = [
    ("virga-model", 0),
    ("virga-decide", 1),
    ("virga-api", 1),
    ("virga-audit", 1),
    ("virga-store", 1),
    ("virga-crash", 1),
    ("virga-agent", 2),
    ("virga-manager", 2),
    ("virga-cli", 2),
    ("virga-kvm", 3),
    ("virga-sim", 3),
];

/// Arrows that are allowed although the numbers forbid them: in tests, the manager runs on the simulator, which is the
/// real agent over a machine in memory.
const DEV_EXCEPTIONS: [(&str, &str); 2] = [("virga-manager", "virga-sim"), ("virga-manager", "virga-agent")];

/// What is no layer of the product, and may be used in tests only: the lab in which real programs are tried.
const TEST_HELPERS: [&str; 1] = ["virga-tests"];

/// Arrows that are forbidden although the numbers allow them.
const NEVER: [(&str, &str, &str); 3] = [
    ("virga-agent", "virga-store", "an agent keeps a journal and knows no database"),
    ("virga-agent", "virga-decide", "an agent does what it is told; managers decide"),
    ("virga-cli", "virga-store", "the command line talks only the public API"),
];

/// What `model` and `decide` may depend on: with this list they cannot do I/O.
const ALLOWED: [(&str, &[&str], &[&str]); 2] = [
    ("virga-model", &["serde", "serde_json", "schemars", "uuid", "thiserror", "sha2", "quick-xml"], &["proptest", "virga-tests"]),
    ("virga-decide", &["virga-model", "serde_json"], &["uuid", "serde_json", "proptest"]),
];

/// Crates that bind libvirt (LGPL-2.1): only the program that needs them links them.
const LIBVIRT: [&str; 2] = ["virt", "virt-sys"];

/// A manifest: the crate's name, and its dependencies by section.
#[derive(Debug)]
struct Manifest {
    name: String,
    normal: Vec<String>,
    dev: Vec<String>,
}

/// Reads a manifest. What a build script depends on counts as an ordinary dependency.
fn manifest(path: &str, text: &str) -> Result<Manifest> {
    let table: Table = text.parse().with_context(|| path.to_string())?;
    let name = table.get("package").and_then(|p| p.get("name")).and_then(|n| n.as_str()).with_context(|| format!("{path} has no package name"))?;
    let mut m = Manifest { name: name.into(), normal: Vec::new(), dev: Vec::new() };
    let targets = table.get("target").and_then(|t| t.as_table()).into_iter().flat_map(|t| t.values()).filter_map(|v| v.as_table());
    for section in std::iter::once(&table).chain(targets) {
        m.normal.extend(dependencies(section, "dependencies"));
        m.normal.extend(dependencies(section, "build-dependencies"));
        m.dev.extend(dependencies(section, "dev-dependencies"));
    }
    Ok(m)
}

fn dependencies(table: &Table, section: &str) -> Vec<String> {
    let entries = table.get(section).and_then(|s| s.as_table()).into_iter().flatten();
    // A dependency under another name stands with its own one in `package`.
    entries.map(|(key, value)| value.get("package").and_then(|p| p.as_str()).unwrap_or(key).to_string()).collect()
}

fn manifests() -> Result<Vec<Manifest>> {
    let files = tree::texts(|p| p.starts_with("crates/") && p.matches('/').count() == 2 && p.ends_with("/Cargo.toml"))?;
    anyhow::ensure!(files.len() >= LAYERS.len(), "only {} manifests found below crates/", files.len());
    files.iter().map(|f| manifest(&f.path, &f.text)).collect()
}

fn layer(name: &str) -> Option<u32> {
    LAYERS.iter().find(|(n, _)| *n == name).map(|(_, l)| *l)
}

/// Every crate has a layer and depends only on crates of lower ones.
///
/// # Errors
/// When a manifest cannot be read.
pub fn arrows() -> Result<Faults> {
    Ok(manifests()?.iter().flat_map(arrows_of).collect())
}

fn arrows_of(m: &Manifest) -> Faults {
    let Some(own) = layer(&m.name) else {
        return vec![format!("{} has no layer: give it one in xtask/src/layers.rs and in ARCHITECTURE.md", m.name)];
    };
    let mut faults = Vec::new();
    let pairs = m.normal.iter().map(|d| (d, false)).chain(m.dev.iter().map(|d| (d, true)));
    for (dependency, dev) in pairs.filter(|(d, _)| d.starts_with("virga-")) {
        let excepted = dev && DEV_EXCEPTIONS.contains(&(m.name.as_str(), dependency.as_str()));
        match layer(dependency) {
            None if dev && TEST_HELPERS.contains(&dependency.as_str()) => {}
            None => faults.push(format!("{} depends on {dependency}, which has no layer", m.name)),
            Some(l) if l >= own && !excepted => {
                faults.push(format!("{} (layer {own}) depends on {dependency} (layer {l}); only lower layers may be used", m.name));
            }
            Some(_) => {}
        }
        if let Some((_, _, why)) = NEVER.iter().find(|(a, b, _)| *a == m.name && b == dependency) {
            faults.push(format!("{} depends on {dependency}: {why}", m.name));
        }
    }
    faults
}

/// `model` and `decide` depend only on what is on their list.
///
/// # Errors
/// When a manifest cannot be read.
pub fn allow_lists() -> Result<Faults> {
    Ok(manifests()?.iter().flat_map(allowed_of).collect())
}

fn allowed_of(m: &Manifest) -> Faults {
    let Some((_, normal, dev)) = ALLOWED.iter().find(|(n, _, _)| *n == m.name) else { return Faults::new() };
    let extra = m.normal.iter().filter(|d| !normal.contains(&d.as_str()));
    let extra_dev = m.dev.iter().filter(|d| !normal.contains(&d.as_str()) && !dev.contains(&d.as_str()));
    extra.chain(extra_dev).map(|d| format!("{} depends on {d}, which is not on its list: it must stay unable to do I/O", m.name)).collect()
}

/// Only `kvm` depends on the libvirt crates.
///
/// # Errors
/// When a manifest cannot be read.
pub fn libvirt_crates() -> Result<Faults> {
    let all = manifests()?;
    let others = all.iter().filter(|m| m.name != "virga-kvm");
    Ok(others
        .flat_map(|m| m.normal.iter().chain(&m.dev).map(move |d| (m, d)))
        .filter(|(_, d)| LIBVIRT.contains(&d.as_str()))
        .map(|(m, d)| format!("{} depends on {d}; only virga-kvm speaks to libvirt", m.name))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Faults {
        let m = manifest("x", text).unwrap();
        arrows_of(&m).into_iter().chain(allowed_of(&m)).collect()
    }

    #[test]
    fn wrong_arrows_are_found_in_every_section() {
        assert!(faults("package.name = 'virga-store'\n[dependencies]\nvirga-model = {}\nsqlx = '1'").is_empty());
        assert_eq!(faults("package.name = 'virga-store'\n[dependencies]\nvirga-api = {}").len(), 1, "no arrows between equals");
        assert_eq!(faults("package.name = 'virga-agent'\n[target.'cfg(unix)'.dependencies]\nvirga-store = {}").len(), 1);
        assert_eq!(faults("package.name = 'virga-api'\n[build-dependencies]\nx = { package = 'virga-manager' }").len(), 1);
        assert_eq!(faults("package.name = 'virga-new'").len(), 1);
    }

    #[test]
    fn the_simulator_is_for_tests_of_the_manager_only() {
        assert!(faults("package.name = 'virga-manager'\n[dev-dependencies]\nvirga-sim = {}\nvirga-agent = {}").is_empty());
        assert_eq!(faults("package.name = 'virga-manager'\n[dependencies]\nvirga-agent = {}").len(), 1);
        assert_eq!(faults("package.name = 'virga-manager'\n[dependencies]\nvirga-sim = {}").len(), 1);
        assert_eq!(faults("package.name = 'virga-cli'\n[dev-dependencies]\nvirga-sim = {}").len(), 1);
        assert!(faults("package.name = 'virga-kvm'\n[dev-dependencies]\nvirga-tests = {}").is_empty());
        assert_eq!(faults("package.name = 'virga-kvm'\n[dependencies]\nvirga-tests = {}").len(), 1);
    }

    #[test]
    fn the_allow_list_holds() {
        assert_eq!(faults("package.name = 'virga-decide'\n[dependencies]\nvirga-model = {}\ntokio = '1'").len(), 1);
        assert_eq!(faults("package.name = 'virga-model'\n[dev-dependencies]\ntempfile = '3'").len(), 1);
        assert!(faults("package.name = 'virga-decide'\n[dev-dependencies]\nuuid = '1'").is_empty());
    }
}
