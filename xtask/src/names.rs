//! What no file may name: private paths, and the hosts of package registries. Where packages come from is a setting of
//! the machine that builds, not of this repository.

use crate::Faults;
use crate::tree::{self, Text};
use anyhow::Result;

/// Files in which a tool writes such names by itself.
const GENERATED: [&str; 2] = ["Cargo.lock", "package-lock.json"];
/// The guest's own home folder, in scripts that build guests.
const GUEST_PATHS: [&str; 2] = ["/root/.ssh", "HOME=/root"];

/// Texts that must not stand anywhere. They are put together here, so that this file does not hold them itself.
fn hosts() -> [String; 4] {
    [["deb.debian", ".org"], ["registry.npmjs", ".org"], ["crates", ".io"], ["pypi", ".org"]].map(|parts| parts.concat())
}

fn folders() -> [String; 2] {
    [["/wo", "rk/"], ["/ro", "ot/"]].map(|parts| parts.concat())
}

/// No file names a private path or a registry's host.
///
/// # Errors
/// When git cannot be asked.
pub fn forbidden() -> Result<Faults> {
    let files = tree::texts(|p| !GENERATED.iter().any(|g| p.ends_with(g)))?;
    Ok(files.iter().flat_map(forbidden_in).collect())
}

fn forbidden_in(file: &Text) -> Faults {
    let (hosts, folders) = (hosts(), folders());
    let mut faults = Vec::new();
    for (n, line) in file.lines() {
        let kept = GUEST_PATHS.iter().fold(line.to_string(), |l, p| l.replace(p, ""));
        let named = hosts.iter().filter(|h| kept.contains(*h)).chain(folders.iter().filter(|f| begins_a_path(&kept, f)));
        faults.extend(named.map(|what| format!("{}:{n} names {what}", file.path)));
    }
    faults
}

/// Whether `folder` stands in the line as the beginning of an absolute path, and not as the middle of a longer one.
fn begins_a_path(line: &str, folder: &str) -> bool {
    let middle = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '}' | '"' | '~' | '/');
    // A closing quote and a slash join two parts of a path in a shell; an opening one begins a path.
    line.match_indices(folder).any(|(at, _)| match line[..at].chars().next_back() {
        None => true,
        Some('"') => line[..at].matches('"').count() % 2 == 1,
        Some(c) => !middle(c),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(line: &str) -> usize {
        forbidden_in(&Text::new("x", line)).len()
    }

    #[test]
    fn private_paths_and_registries_are_found() {
        let [work, root] = folders();
        assert_eq!(faults(&format!("see {work}main")), 1);
        assert_eq!(faults(&format!("p = \"{root}x\"")), 1);
        assert_eq!(faults(&hosts()[2]), 1);
        assert_eq!(faults(&format!("https://{}/debian", hosts()[0])), 1);
    }

    #[test]
    fn what_only_looks_like_one_is_left() {
        let root = &folders()[1];
        for line in [format!("$WORK{root}lib"), format!("\"$WORK\"{root}lib"), format!(">{root}.ssh/authorized_keys"), format!("network{root}x")] {
            assert_eq!(faults(&line), 0, "{line}");
        }
    }
}
