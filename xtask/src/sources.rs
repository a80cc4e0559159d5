//! Rules about Rust text: what may stand in which crate, how long a file may be, how tests wait.

use crate::Faults;
use crate::tree::{self, Text};
use anyhow::Result;

/// Lines of a Rust file, at most.
pub const LINES_MAX: usize = 800;

/// What `model` and `decide` must not name. Addresses are plain data, so `std::net::Ipv4Addr` and friends are no I/O.
const IMPURE: [&str; 8] = ["std::fs", "std::net", "std::process", "std::env", "SystemTime", "Instant", "rand::", "tokio::"];
const PURE_NAMES: [&str; 3] = ["std::net::Ipv4Addr", "std::net::Ipv6Addr", "std::net::IpAddr"];

/// Files outside `kvm` that may run a program, each with its reason.
const MAY_RUN: [(&str, &str); 1] = [("crates/cli/src/vm/edit.rs", "opens the user's own editor")];

/// How a test that waits may be called.
const WAITERS: [&str; 2] = ["wait", "until"];

fn crate_source(p: &str) -> bool {
    p.starts_with("crates/") && p.contains("/src/")
}

fn is_test(p: &str) -> bool {
    p.starts_with("tests/") || (p.starts_with("crates/") && p.contains("/tests/"))
}

/// Product code of the files that meet `wanted`: without comments and tests.
fn product(wanted: impl Fn(&str) -> bool) -> Result<Vec<Text>> {
    let all = tree::rust(wanted)?;
    Ok(all.iter().filter(|f| !tree::is_test_file(f, &all)).map(tree::product_code).collect())
}

/// Whether `line` names `word` as a whole word.
fn names(line: &str, word: &str) -> bool {
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !before.is_some_and(inside) && (word.ends_with(':') || !after.is_some_and(inside))
    })
}

/// `model` and `decide` name nothing that does I/O, reads a clock or draws random numbers.
///
/// # Errors
/// When git cannot be asked.
pub fn purity() -> Result<Faults> {
    let files = product(|p| p.starts_with("crates/model/src/") || p.starts_with("crates/decide/src/"))?;
    Ok(files.iter().flat_map(impure_lines).collect())
}

fn impure_lines(file: &Text) -> Faults {
    let mut faults = Vec::new();
    for (n, line) in file.lines() {
        let line = PURE_NAMES.iter().fold(line.to_string(), |l, name| l.replace(name, ""));
        faults.extend(IMPURE.iter().filter(|w| names(&line, w)).map(|w| format!("{}:{n} names {w}; pass what is needed as an argument", file.path)));
    }
    faults
}

/// SQL stands in `store` only.
///
/// # Errors
/// When git cannot be asked.
pub fn sql() -> Result<Faults> {
    let files = product(|p| crate_source(p) && !p.starts_with("crates/store/"))?;
    Ok(files
        .iter()
        .flat_map(|f| f.lines().filter(|(_, l)| has_sql(l)).map(|(n, _)| format!("{}:{n} holds SQL; it belongs into crates/store", f.path)))
        .collect())
}

/// Whether a string literal of the line begins like a statement.
fn has_sql(line: &str) -> bool {
    line.split('"').skip(1).step_by(2).map(str::trim_start).any(|text| {
        let mut words = text.split_whitespace();
        match (words.next(), words.next(), words.next()) {
            (Some("SELECT"), _, _) | (Some("INSERT"), Some("INTO"), _) | (Some("DELETE"), Some("FROM"), _) => true,
            (Some("UPDATE"), Some(_), Some(third)) => third == "SET",
            _ => false,
        }
    })
}

/// Only `kvm` runs programs.
///
/// # Errors
/// When git cannot be asked.
pub fn programs() -> Result<Faults> {
    let files = product(|p| crate_source(p) && !p.starts_with("crates/kvm/") && !MAY_RUN.iter().any(|(m, _)| *m == p))?;
    Ok(files.iter().flat_map(running_lines).collect())
}

fn running_lines(file: &Text) -> Faults {
    const RUNS: [&str; 5] = ["std::process::Command", "process::Command", "tokio::process", "virt::", "virt_sys::"];
    let hits = file.lines().filter(|(_, l)| RUNS.iter().any(|w| names(l, w)));
    hits.map(|(n, _)| format!("{}:{n} runs a program or speaks to libvirt; only crates/kvm may", file.path)).collect()
}

/// Only the task runner changes anything on a node: it alone makes calls to agents.
///
/// # Errors
/// When git cannot be asked.
pub fn node_calls() -> Result<Faults> {
    let files = product(|p| p.starts_with("crates/manager/src/") && !p.starts_with("crates/manager/src/task/") && !p.starts_with("crates/manager/src/node/"))?;
    Ok(files.iter().flat_map(calling_lines).collect())
}

fn calling_lines(file: &Text) -> Faults {
    let hits = file.lines().filter(|(_, l)| names(l, "NodeCall") || l.contains("nodes.call("));
    hits.map(|(n, _)| format!("{}:{n} calls an agent; make a task, and let manager/src/task do it", file.path)).collect()
}

/// No Rust file of the product, of xtask or of the system tests is too long to be read at once.
///
/// # Errors
/// When git cannot be asked.
pub fn lengths() -> Result<Faults> {
    let files = tree::rust(|p| p.starts_with("crates/") || p.starts_with("xtask/") || p.starts_with("tests/"))?;
    let long = files.iter().map(|f| (f, f.text.lines().count())).filter(|(_, n)| *n >= LINES_MAX);
    Ok(long.map(|(f, n)| format!("{} has {n} lines; split it below {LINES_MAX}", f.path)).collect())
}

/// Every Rust file says first what it is for.
///
/// # Errors
/// When git cannot be asked.
pub fn module_documents() -> Result<Faults> {
    let files = tree::rust(|_| true)?;
    Ok(files.iter().filter(|f| !f.text.starts_with("//!")).map(|f| format!("{} does not begin with a //! document", f.path)).collect())
}

/// No test is switched off.
///
/// # Errors
/// When git cannot be asked.
pub fn ignored_tests() -> Result<Faults> {
    let attribute = concat!("#[", "ignore");
    let files = tree::rust(|_| true)?;
    let hits = files.iter().flat_map(|f| f.lines().map(move |(n, l)| (f, n, l)));
    Ok(hits
        .filter(|(_, _, l)| l.trim_start().starts_with(attribute))
        .map(|(f, n, _)| format!("{}:{n} switches a test off; mend it or remove it", f.path))
        .collect())
}

/// A queue without an end is a way to take all memory: each channel has a number (docs/dev/limits.md).
///
/// # Errors
/// When git cannot be asked.
pub fn unbounded() -> Result<Faults> {
    let words = [concat!("unbounded_", "channel("), concat!("channel::", "unbounded("), concat!("mpsc::", "unbounded(")];
    let files = tree::rust(|_| true)?;
    let hits = files.iter().flat_map(|f| f.lines().map(move |(n, l)| (f, n, l)));
    Ok(hits
        .filter(|(_, _, l)| words.iter().any(|w| l.contains(w)))
        .map(|(f, n, _)| format!("{}:{n} makes a queue without an end; give it a named number (docs/dev/limits.md)", f.path))
        .collect())
}

/// Tests wait for a condition with a limit: only helpers whose names begin with `wait` or `until` sleep.
///
/// # Errors
/// When git cannot be asked.
pub fn sleeps() -> Result<Faults> {
    Ok(tree::rust(is_test)?.iter().flat_map(sleeping_lines).collect())
}

fn sleeping_lines(file: &Text) -> Faults {
    let mut function = String::new();
    let mut faults = Vec::new();
    for (n, line) in file.lines() {
        if let Some(name) = function_name(line) {
            function = name.to_string();
        }
        let waits = WAITERS.iter().any(|w| function.starts_with(w));
        if names(line, "sleep") && line.contains("sleep(") && !line.trim_start().starts_with("//") && !waits {
            faults.push(format!("{}:{n} sleeps in `{function}`; wait for a condition with a limit (a helper named wait_… or until_…)", file.path));
        }
    }
    faults
}

/// Name of the function that a line begins.
fn function_name(line: &str) -> Option<&str> {
    let rest = line.split_once("fn ")?;
    let before = rest.0.trim();
    let leads = before.is_empty() || before.split_whitespace().all(|w| matches!(w, "async" | "const" | "unsafe") || w.starts_with("pub"));
    leads.then(|| rest.1.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Text {
        Text::new("crates/decide/src/x.rs", text)
    }

    #[test]
    fn impure_names_are_found_and_addresses_are_not() {
        assert_eq!(impure_lines(&file("use std::fs::File;\nlet t = Instant::now();\n")).len(), 2);
        assert_eq!(impure_lines(&file("let r = rand::random();")).len(), 1);
        assert!(impure_lines(&file("use std::net::Ipv4Addr;\nlet instantly = 1; struct Instants;\nbrand::new()")).is_empty());
        assert_eq!(impure_lines(&file("use std::net::TcpStream;")).len(), 1);
    }

    #[test]
    fn statements_are_told_from_words() {
        let select = ["\"SEL", "ECT name\""].concat();
        for sql in [select.as_str(), "f(\"  INSERT  INTO t VALUES\")", "x(\"UPDATE vm SET a = 1\")", "\"DELETE FROM vm\""] {
            assert!(has_sql(sql), "{sql}");
        }
        for text in ["\"SELECTED\"", "\"UPDATE the VM\"", "SELECT", "\"Select a host\"", "\"DELETE /v1/session\""] {
            assert!(!has_sql(text), "{text}");
        }
    }

    #[test]
    fn programs_and_libvirt_are_seen() {
        assert_eq!(running_lines(&file("use std::process::{Stdio, Command};\nuse std::process::Command;\nvirt::connect()")).len(), 2);
        assert!(running_lines(&file("let virtual_bytes = 1; std::process::ExitCode::SUCCESS;")).is_empty());
    }

    #[test]
    fn calls_to_agents_are_seen() {
        assert_eq!(calling_lines(&file("op.m.nodes.call(&host, head, call).await?;\nuse virga_model::order::NodeCall;")).len(), 2);
        assert!(calling_lines(&file("op.m.nodes.screenshot(&host, vm).await?; nodes.forget(id);")).is_empty());
    }

    #[test]
    fn only_waiting_helpers_sleep() {
        let sleep = ["sle", "ep(d)"].concat();
        let t = |name: &str| sleeping_lines(&file(&format!("pub async fn {name}(d: u8) {{\n    tokio::time::{sleep}.await;\n}}\n"))).len();
        assert_eq!((t("wait_until"), t("until_agent"), t("wait_up"), t("a_vm_starts")), (0, 0, 0, 1));
        assert!(sleeping_lines(&file("let c = \"sleep 1; x\"; // sleeps\n")).is_empty());
    }
}
