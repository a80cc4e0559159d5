//! `cargo xtask sim`: seeded histories of the simulated cloud, played by `crates/sim/examples/seeds.rs` in a release build.
//!
//! It is a program of its own, so that this crate, whose tests everybody runs often, need not build the whole product.

use crate::tree;
use anyhow::{Context, Result};
use std::process::Command;

/// Seeds that are played when nobody says.
const SEEDS: &str = "1000";

/// Plays seeds; false when an invariant did not hold, or a planted bug was not found.
///
/// # Errors
/// When cargo cannot be started.
pub fn run(words: &[&str]) -> Result<bool> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(tree::root()).env("VIRGA_COMMIT", commit());
    cargo.args(["run", "--quiet", "--release", "--package", "virga-sim", "--example", "seeds", "--"]).args(words);
    if !words.iter().any(|w| matches!(*w, "--seeds" | "--seed" | "--planted")) {
        cargo.args(["--seeds", SEEDS]);
    }
    Ok(cargo.status().context("cargo")?.success())
}

/// The commit that is played, for reports: with it and its number a seed is a history.
fn commit() -> String {
    let said = Command::new("git").current_dir(tree::root()).args(["describe", "--always", "--dirty"]).output();
    said.ok().filter(|o| o.status.success()).map_or_else(|| "unknown".into(), |o| String::from_utf8_lossy(&o.stdout).trim().to_string())
}
