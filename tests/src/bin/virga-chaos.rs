//! `virga-chaos`: runs chaos and prints the figure. `cargo xtask chaos` builds the programs and starts it.

use std::process::ExitCode;
use std::time::Duration;
use virga_tests::chaos::{Plan, run};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str, default: u64| {
        let given = words.iter().position(|w| w == name).and_then(|i| words.get(i + 1));
        given.map_or(Some(default), |v| v.parse().ok())
    };
    let (Some(minutes), Some(seed), Some(vms)) = (value("--minutes", 30), value("--seed", 1), value("--vms", 20)) else {
        eprintln!("usage: virga-chaos [--minutes N] [--seed S] [--vms N] [--json]");
        return ExitCode::from(2);
    };
    let plan = Plan { time: Duration::from_secs(minutes * 60), seed, vms: usize::try_from(vms).unwrap_or(20) };
    let out = run(plan);
    let (kills, operations) = (out.kills.values().sum::<u32>(), out.operations.values().sum::<u32>());
    for l in &out.losses {
        eprintln!("LOSS: {l}");
    }
    if words.iter().any(|w| w == "--json") {
        let figure = serde_json::json!({"name": "chaos", "minutes": minutes, "seed": seed, "vms": vms, "kills": out.kills, "operations": out.operations,
            "accepted": out.accepted, "guests": out.guests, "starts_broken_off": out.starts_broken_off, "losses": out.losses.len(), "goal": 0, "met": out.losses.is_empty()});
        println!("{figure}");
    } else {
        println!(
            "chaos: seed {seed}, {minutes} minutes, {vms} VMs: kills {kills} {:?}, operations {operations} ({} accepted), {} QEMU processes ({} ended before their start had), losses = {}",
            out.kills,
            out.accepted,
            out.guests,
            out.starts_broken_off,
            out.losses.len()
        );
    }
    if out.losses.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
