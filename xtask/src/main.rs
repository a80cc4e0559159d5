//! `cargo xtask`: the tools of this repository that are written in Rust. Everything else is in the Makefile.

use anyhow::{Context, Result, bail};
use std::process::{Command, ExitCode};
use xtask::bench::{BENCHES, Bench, Figure};
use xtask::bench_fleet::{self, Measure, Size};
use xtask::bench_portal;
use xtask::{RULES, guide, outside, tree, trust};

const HELP: &str = "usage: cargo xtask COMMAND

  openapi                 write openapi/v1.json from the code, and the table of docs/guide/api.md from it
  layers                  check every rule of the repository and print what breaks it
  bench api [NAME…] [--json]
                          measure the whole manager beside its peers
  bench storage [--json]  clones, uploads and snapshots beside qemu-img, cp, dd and virsh
  chaos [--minutes N] [--seed S] [--vms N] [--json]
                          kill manager, agent and libvirtd at random under real VMs and count what was lost
  sim [--seeds N] [--from S] [--jobs J] [--json] | --seed S [--trace] | --planted [--seeds N] [--json]
                          play seeded histories of a simulated cloud; see docs/dev/simulation.md
  trust                   run the tests that count themselves and write docs/trust.md
  fuzz [TARGET] [--minutes M] [--seed S]
                          run fuzz targets; see docs/dev/fuzzing.md
  hostile [--minutes M] [--examples N]
                          schemathesis against a manager on loopback
  bench [NAME] [--json]   measure all benches, or the named one, in a release build
  bench fleet [--json] [--hosts 1024] [--vms 80000]
                          a manager with simulated hosts on this machine; takes minutes
  bench portal [--json] [--hosts 1000] [--vms 80000]
                          the portal in Chromium with many VMs behind it; takes minutes
";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["openapi"] => openapi(),
        ["layers"] => layers(),
        ["fuzz", rest @ ..] => xtask::fuzz::run(rest),
        ["hostile", rest @ ..] => xtask::hostile::run(rest),
        ["bench", "api", rest @ ..] => outside::run("bench api", rest),
        ["bench", "storage", rest @ ..] => outside::run("bench api", &[&["storage"][..], rest].concat()),
        ["sim", rest @ ..] => xtask::sim::run(rest),
        ["trust"] => trust(),
        ["chaos", rest @ ..] => outside::run("chaos", rest),
        ["bench", which @ ("fleet" | "portal"), rest @ ..] => bench_of_fleet(which, rest),
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

fn trust() -> Result<bool> {
    let changed = trust::write()?;
    println!("{}: {}", trust::PAGE, if changed { "written; review the difference" } else { "is current" });
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

/// The bench of a whole installation takes minutes and has many figures: it is never among the others.
fn bench_of_fleet(which: &str, words: &[&str]) -> Result<bool> {
    if cfg!(debug_assertions) {
        let status = cargo().args(["run", "--quiet", "--release", "--package", "xtask", "--", "bench", which]).args(words).status().context("cargo")?;
        return Ok(status.success());
    }
    let number = |name: &str, usual: usize| match words.iter().position(|w| *w == name) {
        None => Ok(usual),
        Some(i) => words.get(i + 1).and_then(|w| w.parse().ok()).filter(|n| *n > 0).with_context(|| format!("{name} needs a number")),
    };
    let portal = which == "portal";
    let size = Size { hosts: number("--hosts", if portal { 1000 } else { 1024 })?, vms: number("--vms", 80_000)? };
    let found = if portal { bench_portal::run(size)? } else { bench_fleet::run(size)? };
    if words.contains(&"--json") {
        println!("{}", serde_json::to_string_pretty(&found.iter().map(Measure::json).collect::<Vec<_>>())?);
    } else {
        println!("{:<28} {:>12}  {:>16}  {:<4} unit", "name", "ours", "limit", "met");
        found.iter().for_each(|m| println!("{}", m.line()));
    }
    Ok(found.iter().all(Measure::met))
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
