//! `virga-bench`: measures the whole manager beside peers, in one run on one machine. `cargo xtask bench api` builds it
//! with optimisation and runs it; `docs/benchmarks.md` says how to read the figures.
//!
//! It must never take a short cut that the product does not take: the manager is the real one, over HTTPS, with sign-in,
//! roles and a database on disk with durable commits. What is simulated (hosts) is said to be.

mod client;
mod figure;
mod hand;
mod linked;
mod memory;
mod place;
mod postgres;
mod read;
mod seed;
mod storage;
mod stored;
mod task;
mod twin;

use anyhow::{Result, bail};
use figure::Figure;

/// VMs of the reads, as the goal says.
const VMS: u32 = 20_000;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let json = words.iter().any(|w| w == "--json");
    let names: Vec<&str> = words.iter().map(String::as_str).filter(|w| !w.starts_with("--")).collect();
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if let [memory::CHILD, vms] = names.as_slice() {
        return runtime.block_on(memory::measured(vms.parse()?));
    }
    let figures = runtime.block_on(run(&names))?;
    for f in figures {
        println!("{}", if json { f.json().to_string() } else { f.line() });
    }
    Ok(())
}

/// Runs what is named; everything when nothing is.
async fn run(names: &[&str]) -> Result<Vec<Figure>> {
    const ALL: [&str; 6] = ["read", "task", "memory", "restart", "linked", "storage"];
    let names = if names.is_empty() { &ALL[..] } else { names };
    let mut figures = Vec::new();
    for name in names {
        eprintln!("bench: {name}");
        match *name {
            "read" => figures.extend(read::figures(VMS).await?),
            "task" => figures.extend(task::figures().await?),
            "memory" => figures.extend(memory::figures(VMS)?),
            "restart" => figures.extend(memory::restart(VMS).await?),
            "storage" => figures.extend(tokio::task::spawn_blocking(storage::figures).await??),
            "linked" => figures.extend(tokio::task::spawn_blocking(linked::figures).await??),
            other => bail!("there is no bench {other}; there are {}", ALL.join(", ")),
        }
    }
    Ok(figures)
}
