//! `cargo xtask`: the tools of this repository that are written in Rust. Everything else is in the Makefile.

use anyhow::{Context, Result, bail};
use std::process::{Command, ExitCode};
use xtask::bench::{BENCHES, Bench, Figure};
use xtask::{RULES, guide, tree};

const HELP: &str = "usage: cargo xtask COMMAND

  openapi                 write openapi/v1.json from the code, and the table of docs/guide/api.md from it
  layers                  check every rule of the repository and print what breaks it
  bench [NAME] [--json]   measure all benches, or the named one, in a release build
";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["openapi"] => openapi(),
        ["layers"] => layers(),
        ["bench", rest @ ..] => bench(rest),
        ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            Ok(true)
        }
        _ => {
            eprint!("{HELP}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("error: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn cargo() -> Command {
    let mut c = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    c.current_dir(tree::root());
    c
}

/// The document comes from the test that guards it, so there is one way to make it.
fn openapi() -> Result<bool> {
    let before = tree::read(guide::DOCUMENT).unwrap_or_default();
    let status = cargo().args(["test", "--quiet", "--package", "virga-api", "--test", "openapi"]).env("VIRGA_UPDATE", "1").status().context("cargo")?;
    if !status.success() {
        bail!("the document could not be made; the output above says why");
    }
    let changed = tree::read(guide::DOCUMENT)? != before;
    let table = guide::write_operations()?;
    for (path, changed) in [(guide::DOCUMENT, changed), (guide::API_PAGE, table)] {
        println!("{path}: {}", if changed { "written; review the difference" } else { "is current" });
    }
    Ok(true)
}

fn layers() -> Result<bool> {
    let mut good = true;
    for (rule, check) in RULES {
        let faults = check()?;
        println!("{} {rule}", if faults.is_empty() { "ok  " } else { "BAD " });
        faults.iter().for_each(|f| println!("       {f}"));
        good &= faults.is_empty();
    }
    Ok(good)
}

fn bench(words: &[&str]) -> Result<bool> {
    // Figures of a debug build mean nothing.
    if cfg!(debug_assertions) {
        let status = cargo().args(["run", "--quiet", "--release", "--package", "xtask", "--", "bench"]).args(words).status().context("cargo")?;
        return Ok(status.success());
    }
    let as_json = words.contains(&"--json");
    let names: Vec<&&str> = words.iter().filter(|w| **w != "--json").collect();
    let chosen: Vec<&Bench> = match names.as_slice() {
        [] => BENCHES.iter().collect(),
        [name] => vec![BENCHES.iter().find(|b| b.name == **name).with_context(|| format!("there is no bench {name}; there are: {}", list()))?],
        _ => bail!("name one bench, or none for all"),
    };
    let mut figures = Vec::new();
    for b in chosen {
        eprintln!("{}: {}", b.name, b.about);
        figures.push((b.run)()?);
    }
    if as_json {
        println!("{}", serde_json::to_string_pretty(&figures.iter().map(Figure::json).collect::<Vec<_>>())?);
    } else {
        print_table(&figures);
    }
    Ok(figures.iter().all(Figure::met))
}

fn list() -> String {
    BENCHES.iter().map(|b| b.name).collect::<Vec<_>>().join(", ")
}

fn print_table(figures: &[Figure]) {
    println!("{:<16} {:>14} {:>14} {:>8} {:>8}  {:<4} unit", "name", "ours", "peer", "ratio", "goal", "met");
    for f in figures {
        println!("{:<16} {:>14.1} {:>14.1} {:>8.3} {:>8.3}  {:<4} {}", f.name, f.ours, f.peer, f.ratio(), f.goal, if f.met() { "yes" } else { "NO" }, f.unit);
    }
}
