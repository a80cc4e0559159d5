//! `virga-audit`: says whether exported audit records are as they were written.

use clap::{Args, Parser, Subcommand};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use virga_audit::{Anchor, Key, anchor, verify};

/// Verifies exported audit records of Virga. Speaks to nobody.
#[derive(Debug, Parser)]
#[command(
    name = "virga-audit",
    version,
    after_help = "Examples:\n  virga-audit verify audit.jsonl --anchors anchors.jsonl --key audit.pub\n\n\
                  Exit codes: 0 whole, 1 tampered with, 2 unreadable or wrong usage, 3 whole, but the newest records are not anchored elsewhere."
)]
struct Program {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Compare an export with anchors that were kept elsewhere.
    Verify(Verify),
}

#[derive(Debug, Args)]
struct Verify {
    /// The export (virga audit export).
    export: PathBuf,
    /// File with anchors, from where nobody of the manager can write; may be repeated. Without one only the chain and
    /// the manager's own signature are looked at.
    #[arg(long, value_name = "FILE")]
    anchors: Vec<PathBuf>,
    /// Number after which the export was asked to begin, when it was asked for a part.
    #[arg(long, default_value_t = 0)]
    after: i64,
    /// Public key of a manager (audit.pub of its state folder), taken when it was installed; may be repeated.
    #[arg(long, value_name = "FILE", required = true)]
    key: Vec<PathBuf>,
}

fn main() -> ExitCode {
    let Command::Verify(a) = Program::parse().command;
    match run(&a) {
        Ok(code) => ExitCode::from(code),
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::from(2)
        }
    }
}

fn text(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))
}

fn run(a: &Verify) -> Result<u8, String> {
    let mut keys = Vec::new();
    for path in &a.key {
        keys.push(Key::from_pem(&text(path)?).map_err(|e| format!("{}: {e}", path.display()))?);
    }
    let mut anchors: Vec<Anchor> = Vec::new();
    for path in &a.anchors {
        anchors.extend(anchor::read(&text(path)?).map_err(|e| format!("{}: {e}", path.display()))?);
    }
    let file = std::fs::File::open(&a.export).map_err(|e| format!("{}: {e}", a.export.display()))?;
    let verdict = verify(BufReader::new(file), a.after, &anchors, &keys);
    println!("{verdict}");
    Ok(verdict.exit_code())
}
