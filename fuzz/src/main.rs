//! `virga-fuzz`: runs targets on the stable compiler. `cargo xtask fuzz` calls it; see docs/dev/fuzzing.md.

use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use virga_fuzz::{TARGETS, Target, run};

const USAGE: &str = "usage: virga-fuzz list | virga-fuzz run TARGET|all --seconds S --seed N --corpus DIR --out DIR | virga-fuzz input TARGET FILE";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match work(&words) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("error: {e:#}");
            ExitCode::from(2)
        }
    }
}

fn named(name: &str) -> Result<&'static Target> {
    virga_fuzz::target(name).with_context(|| format!("there is no target {name}; `virga-fuzz list` names them"))
}

fn work(words: &[String]) -> Result<bool> {
    let option = |name: &str| words.iter().position(|w| w == name).and_then(|i| words.get(i + 1)).with_context(|| format!("{name} is missing; {USAGE}"));
    match words.first().map(String::as_str) {
        Some("list") => {
            TARGETS.iter().for_each(|t| println!("{:<16} {}", t.name, t.about));
            Ok(true)
        }
        Some("input") => {
            let data = std::fs::read(words.get(2).context(USAGE)?)?;
            let mark = (named(words.get(1).context(USAGE)?)?.run)(&data);
            println!("{} bytes, outcome {mark:016x}", data.len());
            Ok(true)
        }
        Some("run") => {
            let name = words.get(1).context(USAGE)?;
            let chosen: Vec<&'static Target> = if name == "all" { TARGETS.iter().collect() } else { vec![named(name)?] };
            let (seconds, seed): (u64, u64) = (option("--seconds")?.parse()?, option("--seed")?.parse()?);
            let (corpus, out) = (PathBuf::from(option("--corpus")?), PathBuf::from(option("--out")?));
            let each = Duration::from_secs(seconds) / u32::try_from(chosen.len())?;
            run::limit_process();
            std::panic::set_hook(Box::new(|_| {}));
            let mut good = true;
            for t in chosen {
                let r = run::run(t, &corpus, &out, seed, each)?;
                println!("{:<16} {:>10} calls in {:>5} s, {:>4} outcomes, {} findings", t.name, r.calls, each.as_secs(), r.outcomes, r.findings.len());
                good &= r.findings.is_empty();
            }
            Ok(good)
        }
        _ => bail!(USAGE),
    }
}
