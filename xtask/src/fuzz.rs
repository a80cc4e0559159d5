//! `cargo xtask fuzz [TARGET] [--minutes M] [--seed S]`: runs fuzz targets on the stable compiler (docs/dev/fuzzing.md).
//!
//! The build is the ordinary debug one, on purpose: it has overflow checks and debug assertions.

use crate::tree;
use anyhow::{Context, Result};
use std::process::Command;

/// Value of an option of the command.
fn option<'w>(words: &[&'w str], name: &str) -> Option<&'w str> {
    words.iter().position(|w| *w == name).and_then(|i| words.get(i + 1)).copied()
}

/// Runs a target, or all in turn; whether nothing was found.
///
/// # Errors
/// When the runner cannot be built or an option is no number.
pub fn run(words: &[&str]) -> Result<bool> {
    let target = words.first().filter(|w| !w.starts_with("--")).copied().unwrap_or("all");
    let minutes: f64 = option(words, "--minutes").unwrap_or("5").parse().context("--minutes needs a number")?;
    let seed: u64 = match option(words, "--seed") {
        Some(s) => s.parse().context("--seed needs a number")?,
        None => std::time::UNIX_EPOCH.elapsed().map_or(1, |d| d.as_secs()),
    };
    let own = std::env::current_exe()?;
    let out = own.parent().context("the folder of this program")?.join("fuzz-findings");
    let seconds = (minutes * 60.0).round().max(1.0).to_string();
    println!("fuzz: {target} for {minutes} minutes, seed {seed}; findings go to {}", out.display());
    let mut c = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    c.current_dir(tree::root()).args(["run", "--quiet", "--package", "virga-fuzz", "--bin", "virga-fuzz", "--", "run", target]);
    c.args(["--seconds", &seconds, "--seed", &seed.to_string(), "--corpus", "fuzz/corpus", "--out"]).arg(&out);
    let status = c.status().context("cargo")?;
    if status.code().is_none() {
        println!("fuzz: the runner died ({status}); the input lies in {}/TARGET.current", out.display());
    }
    Ok(status.success())
}
