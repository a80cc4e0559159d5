//! `docs/trust.md`: the figures of what is tested, counted by running the tests that count themselves, and the long runs
//! that were recorded in `docs/trust.toml` with the command that repeats them.
//!
//! A count here must come from a test that ran just now or from a record with its command; it must never be typed into
//! the page.

use crate::tree;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::Command;

/// The page.
pub const PAGE: &str = "docs/trust.md";
/// Long runs, as they were recorded.
pub const RECORDS: &str = "docs/trust.toml";

/// A figure that tests print: what it is called, what its lines begin with, and the words before the numbers.
struct Counted {
    name: &'static str,
    begins: &'static str,
    columns: &'static [&'static str],
    rows: &'static str,
}

const COUNTED: [Counted; 4] = [
    Counted { name: "Authorization cells", begins: "authorization cells:", columns: &["cells"], rows: "X1, X3, V14, Y3" },
    Counted { name: "Hostile requests", begins: "hostile cells,", columns: &["cells"], rows: "2.8, 2.10" },
    Counted { name: "Operations with and without an audit record", begins: "audited operations tried", columns: &["operations"], rows: "X20, Y1" },
    Counted {
        name: "Crash points of the task engine and the agent",
        begins: "crash points:",
        columns: &["points", "runs", "recovered"],
        rows: "M1-M3, G1, G2",
    },
];

/// Runs the counting tests and writes the page; whether it changed.
///
/// # Errors
/// When a test fails, or a record cannot be read.
pub fn write() -> Result<bool> {
    let output = run_tests()?;
    let text = page(&output)?;
    let changed = tree::read(PAGE).unwrap_or_default() != text;
    std::fs::write(tree::root().join(PAGE), text)?;
    Ok(changed)
}

fn run_tests() -> Result<String> {
    let filter = "binary(authz) + binary(engine) + binary(fire) + (package(virga-manager) & binary(api) & test(/hostile/)) + test(/cve_/)";
    let mut c = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    c.current_dir(tree::root()).args(["nextest", "run", "--workspace", "--success-output", "final", "-E", filter]);
    let o = c.output().context("cargo nextest")?;
    let text = format!("{}{}", String::from_utf8_lossy(&o.stdout), String::from_utf8_lossy(&o.stderr));
    if !o.status.success() {
        bail!("a test failed, so nothing is written:\n{text}");
    }
    Ok(text)
}

fn page(output: &str) -> Result<String> {
    let mut out = String::from(
        "# What is proved, and how often\n\nWritten by `cargo xtask trust`, which runs the tests that count themselves. Rows such as M1 and X1 are those of the\n\
         catalogue of faults and invariants that the tests cite.\n\n| What | Count | Rows |\n| --- | --- | --- |\n",
    );
    for c in &COUNTED {
        let sums = sums(output, c);
        if sums.iter().all(|n| *n == 0) {
            bail!("no test printed a line that begins with \"{}\"", c.begins);
        }
        let words: Vec<String> = sums.iter().zip(c.columns).map(|(n, word)| format!("{n} {word}")).collect();
        writeln!(out, "| {} | {} | {} |", c.name, words.join(", "), c.rows)?;
    }
    let cve = cve_tests()?;
    writeln!(
        out,
        "| Tests named by a published flaw of a peer | {} CVEs in {} tests (`docs/dev/cve.md`) | 2.8-2.11 |",
        cve.len(),
        cve.values().sum::<usize>()
    )?;
    out.push_str("\n## Long runs\n\nNot part of `make test`; each can be repeated with its command.\n\n| What | Command | Machine | Result |\n| --- | --- | --- | --- |\n");
    for r in records()? {
        writeln!(out, "| {} | `{}` | {} | {} |", r.what, r.command, r.machine, r.result)?;
    }
    out.push_str(
        "\nWhat these figures do not say: the machine of these runs has two cores and no KVM, so guests are emulated; the\n\
         simulated hosts and their faults are simulation, and everything named real is QEMU under libvirt.\n",
    );
    Ok(out)
}

/// The numbers of all lines of a figure, each column summed up.
fn sums(output: &str, c: &Counted) -> Vec<u64> {
    let mut sums = vec![0; c.columns.len()];
    for line in output.lines().filter_map(|l| l.trim().strip_prefix(c.begins)) {
        let numbers = line.split(|ch: char| !ch.is_ascii_digit()).filter_map(|w| w.parse::<u64>().ok());
        for (sum, n) in sums.iter_mut().zip(numbers) {
            *sum += n;
        }
    }
    sums
}

/// Tests whose name holds a CVE number: the CVE, and how many tests name it.
fn cve_tests() -> Result<BTreeMap<String, usize>> {
    let mut found = BTreeMap::new();
    for file in tree::rust(|_| true)? {
        for (_, line) in file.lines() {
            let name = line.trim_start().trim_start_matches("async ").strip_prefix("fn cve_");
            if let Some((year, rest)) = name.and_then(|n| n.split_once('_')) {
                let number: String = rest.chars().take_while(char::is_ascii_digit).collect();
                *found.entry(format!("CVE-{year}-{number}")).or_default() += 1;
            }
        }
    }
    Ok(found)
}

/// A long run.
struct Record {
    what: String,
    command: String,
    machine: String,
    result: String,
}

fn records() -> Result<Vec<Record>> {
    let table: toml::Table = tree::read(RECORDS)?.parse().with_context(|| RECORDS.to_string())?;
    let runs = table.get("run").and_then(|r| r.as_array()).cloned().unwrap_or_default();
    let word = |t: &toml::Value, key: &str| t.get(key).and_then(|v| v.as_str()).map(str::to_string).with_context(|| format!("{RECORDS}: a run without {key}"));
    runs.iter().map(|t| Ok(Record { what: word(t, "what")?, command: word(t, "command")?, machine: word(t, "machine")?, result: word(t, "result")? })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_summed_up_by_column() {
        let c = Counted { name: "x", begins: "crash points:", columns: &["points", "runs"], rows: "" };
        let output = "  crash points: 12, runs: 40, recovered: 40 (vm_start)\nother 5\ncrash points: 3, runs: 2, recovered: 2 (vm_stop)\n";
        assert_eq!(sums(output, &c), [15, 42]);
        assert_eq!(sums("nothing", &c), [0, 0]);
    }

    #[test]
    fn every_record_has_its_command() {
        assert!(records().unwrap().iter().all(|r| !r.command.is_empty() && !r.result.is_empty()));
    }
}
