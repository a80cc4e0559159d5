//! The register of published flaws (`docs/dev/cve.md`) and the tests named after them say the same.

use crate::{Faults, tree};
use anyhow::Result;
use std::collections::BTreeMap;

/// The register.
pub const REGISTER: &str = "docs/dev/cve.md";
/// The hostile images and packages, each named for a flaw.
const HOSTILE: [&str; 2] = ["tests/src/images/hostile.rs", "tests/src/images/hostile_ova.rs"];

/// The number in a test's name, `cve_2015_5160_…`, as `CVE-2015-5160`.
fn number(test: &str) -> Option<String> {
    let mut parts = test.strip_prefix("cve_")?.split('_');
    let (year, n) = (parts.next()?, parts.next()?);
    (year.len() == 4 && n.len() >= 4 && format!("{year}{n}").bytes().all(|b| b.is_ascii_digit())).then(|| format!("CVE-{year}-{n}"))
}

/// Tests named after flaws: name and file.
///
/// # Errors
/// When git cannot be asked.
pub fn tests() -> Result<BTreeMap<String, String>> {
    let files = tree::texts(|p| p.ends_with(".rs") && !p.starts_with("xtask/"))?;
    let mut out = BTreeMap::new();
    for f in &files {
        for (_, line) in f.lines() {
            let name = line.trim_start().trim_start_matches("pub ").trim_start_matches("async ").strip_prefix("fn cve_");
            if let Some(rest) = name {
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
                out.insert(format!("cve_{}", &rest[..end]), f.path.clone());
            }
        }
    }
    Ok(out)
}

/// Each test is in the register under its number, and each test that the register names is there.
///
/// # Errors
/// When the register or a file cannot be read.
pub fn register() -> Result<Faults> {
    let page = tree::read(REGISTER)?;
    let mut out = faults(&page, &tests()?);
    for set in HOSTILE {
        out.extend(without_row(&page, set, &tree::read(set)?));
    }
    Ok(out)
}

/// Flaws that the hostile images name and the register does not.
fn without_row(page: &str, file: &str, set: &str) -> Faults {
    let named = set.split('"').filter(|w| w.strip_prefix("CVE-").is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit() || b == b'-')));
    let mut missing: Vec<&str> = named.filter(|n| !page.contains(&format!("| {n} |"))).collect();
    missing.sort_unstable();
    missing.dedup();
    missing.iter().map(|n| format!("{REGISTER} has no row of {n}, which {file} names")).collect()
}

fn faults(page: &str, tests: &BTreeMap<String, String>) -> Faults {
    let mut out = Faults::new();
    let rows: Vec<Vec<&str>> = page.lines().filter(|l| l.starts_with("| CVE-")).map(|l| l.trim_matches('|').split('|').map(str::trim).collect()).collect();
    for (name, file) in tests {
        let Some(cve) = number(name) else {
            out.push(format!("{file}: {name} does not begin with the number of a flaw, such as cve_2015_5160_"));
            continue;
        };
        if !rows.iter().any(|r| r.first() == Some(&cve.as_str()) && r.last().is_some_and(|t| t.contains(&format!("`{name}`")))) {
            out.push(format!("{REGISTER} has no row of {cve} with `{name}` ({file})"));
        }
    }
    for r in &rows {
        let last = r.last().copied().unwrap_or_default();
        let named: Vec<&str> = last.split('`').skip(1).step_by(2).collect();
        if named.is_empty() && !last.starts_with("later: ") {
            out.push(format!("{REGISTER}: {} names neither a test nor the issue that will bring one (\"later: storage\")", r[0]));
        }
        out.extend(named.iter().filter(|n| !tests.contains_key(**n)).map(|n| format!("{REGISTER}: {} names {n}, which is no test", r[0])));
    }
    out
}

/// How many flaws have a test, and how many wait for what they could hit.
///
/// # Errors
/// When the register cannot be read.
pub fn counts() -> Result<(usize, usize)> {
    let page = tree::read(REGISTER)?;
    let rows: Vec<&str> = page.lines().filter(|l| l.starts_with("| CVE-")).collect();
    let later = rows.iter().filter(|r| r.contains("| later: ")).count();
    Ok((rows.len() - later, later))
}

#[cfg(test)]
mod own_tests {
    use super::*;

    #[test]
    fn tests_and_rows_must_fit() {
        let tests = BTreeMap::from([("cve_2015_5160_no_secret".to_string(), "a.rs".to_string())]);
        assert!(faults("| CVE-2015-5160 | libvirt | key in argv | `cve_2015_5160_no_secret` |", &tests).is_empty());
        assert_eq!(faults("", &tests).len(), 1, "no row");
        assert_eq!(faults("| CVE-2015-5160 | x | y | `cve_2015_5160_no_secret` |\n| CVE-2000-1111 | x | y | `cve_2000_1111_x` |", &tests).len(), 1, "no test");
        assert_eq!(faults("| CVE-2015-5160 | x | y | `cve_2015_5160_no_secret` |\n| CVE-2000-1111 | x | y | |", &tests).len(), 1, "neither");
        assert_eq!(faults("", &BTreeMap::from([("cve_bad".to_string(), "a.rs".to_string())])).len(), 1);
        assert_eq!(without_row("| CVE-2000-1111 | x |", "a.rs", "add(out, \"CVE-2000-1111\", x); add(\"CVE-2000-2222\", \"CVE-less\")").len(), 1);
        assert_eq!(number("cve_2026_115376_what"), Some("CVE-2026-115376".into()));
    }
}
