//! Commands that build programs with optimisation and start one of them: benches of the whole manager, and chaos.
//!
//! They live in packages of their own, so that `cargo xtask` itself stays quick to build.

use crate::tree;
use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::process::Command;

/// A command: its name, the packages and programs that are built, and which of these is started.
struct Outside {
    name: &'static str,
    builds: &'static [(&'static str, &'static str)],
    starts: &'static str,
}

const PROGRAMS: [(&str, &str); 3] = [("virga-manager", "virga-manager"), ("virga-kvm", "virga-agent"), ("virga-cli", "virga")];

const COMMANDS: [Outside; 2] = [
    Outside { name: "bench api", builds: &[("virga-bench", "virga-bench"), PROGRAMS[0], PROGRAMS[1], PROGRAMS[2]], starts: "virga-bench" },
    Outside { name: "chaos", builds: &[("virga-tests", "virga-chaos"), PROGRAMS[0], PROGRAMS[1], PROGRAMS[2]], starts: "virga-chaos" },
];

/// Builds and starts; whether the program was content.
///
/// # Errors
/// When there is no such command, or the build fails.
pub fn run(name: &str, words: &[&str]) -> Result<bool> {
    let command = COMMANDS.iter().find(|c| c.name == name).with_context(|| format!("there is no command {name}"))?;
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build.current_dir(tree::root()).args(["build", "--release"]);
    for (package, program) in command.builds {
        build.args(["--package", package, "--bin", program]);
    }
    if !build.status().context("cargo")?.success() {
        bail!("the programs could not be built");
    }
    Ok(Command::new(folder()?.join(command.starts)).args(words).current_dir(tree::root()).status().context(command.starts)?.success())
}

/// Where cargo puts optimised programs: beside this one, which cargo built too.
fn folder() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let target = own.parent().and_then(|p| p.parent()).context("the folder of this program")?;
    Ok(target.join("release"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_started_is_built() {
        for c in &COMMANDS {
            assert!(c.builds.iter().any(|(_, program)| *program == c.starts), "{}", c.name);
        }
        assert!(run("nothing", &[]).is_err());
    }
}
