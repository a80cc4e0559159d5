//! Plays seeds of the simulated cloud, in several processes or threads at once: what `cargo xtask sim` starts.
//!
//! `seeds --seeds N [--from S] [--jobs J] [--json]`, `seeds --seed S [--trace]`, `seeds --planted [--seeds N]`.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use virga_sim::world::plant::Plant;
use virga_sim::world::schedule::{Options, Outcome, run};

/// Seeds in which a planted bug must be found when nobody says.
const PLANTED_SEEDS: u64 = 400;
/// Times that a planted bug is looked for, from other seeds each time, for the median.
const PLANTED_ROUNDS: u64 = 3;

struct Words {
    seeds: u64,
    from: u64,
    jobs: u64,
    seed: Option<u64>,
    trace: bool,
    json: bool,
    planted: bool,
    plant: Option<Plant>,
}

fn words() -> Result<Words, String> {
    let mut w = Words { seeds: 0, from: 1, jobs: 2, seed: None, trace: false, json: false, planted: false, plant: None };
    let mut args = std::env::args().skip(1);
    while let Some(a) = args.next() {
        let mut number = || args.next().and_then(|n| n.parse::<u64>().ok()).ok_or_else(|| format!("{a} needs a number"));
        match a.as_str() {
            "--seeds" => w.seeds = number()?,
            "--from" => w.from = number()?,
            "--jobs" => w.jobs = number()?.max(1),
            "--seed" => w.seed = Some(number()?),
            "--trace" => w.trace = true,
            "--json" => w.json = true,
            "--planted" => w.planted = true,
            "--plant" => {
                let name = args.next().unwrap_or_default();
                w.plant = Some(Plant::ALL.into_iter().find(|p| format!("{p:?}") == name).ok_or_else(|| format!("there is no bug \"{name}\""))?);
            }
            other => return Err(format!("there is no option \"{other}\"")),
        }
    }
    Ok(w)
}

fn main() -> ExitCode {
    let w = match words() {
        Ok(w) => w,
        Err(e) => {
            eprintln!("error: {e}");
            return ExitCode::from(2);
        }
    };
    let good = match (w.seed, w.planted) {
        (Some(seed), _) => one(seed, &w),
        (None, true) => planted(&w),
        (None, false) => many(&w),
    };
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn play(seed: u64, plant: Option<Plant>, trace: bool) -> Outcome {
    let failed = |e: String| Outcome { violations: vec![e], hash: String::new(), log: Vec::new(), commands: Vec::new(), ms: 0 };
    run(Options { seed, plant, trace }).unwrap_or_else(|e| failed(e.message))
}

fn one(seed: u64, w: &Words) -> bool {
    let o = play(seed, w.plant, w.trace);
    if w.trace {
        println!("# schedule");
        o.commands.iter().for_each(|c| println!("{c}"));
        println!("# log");
        o.log.iter().for_each(|l| println!("{l}"));
    }
    o.violations.iter().for_each(|v| println!("{v}"));
    println!("seed {seed}: {} simulated seconds, {} violations, trace {}", o.ms / 1000, o.violations.len(), o.hash);
    o.violations.is_empty()
}

fn many(w: &Words) -> bool {
    let begun = Instant::now();
    let (next, ms) = (AtomicU64::new(w.from), AtomicU64::new(0));
    let bad: Mutex<Vec<(u64, Outcome)>> = Mutex::default();
    let end = w.from + w.seeds;
    std::thread::scope(|s| {
        for _ in 0..w.jobs {
            s.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= end {
                        return;
                    }
                    let o = play(seed, w.plant, false);
                    ms.fetch_add(o.ms, Ordering::SeqCst);
                    if !o.violations.is_empty() {
                        report(seed, &o);
                        bad.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((seed, o));
                    }
                }
            });
        }
    });
    let bad = bad.into_inner().unwrap_or_default();
    let (seconds, simulated) = (begun.elapsed().as_secs_f64(), ms.load(Ordering::SeqCst) / 1000);
    let seeds: Vec<u64> = bad.iter().map(|(s, _)| *s).collect();
    if w.json {
        println!(
            "{}",
            serde_json::json!({"seeds": w.seeds, "from": w.from, "seconds": seconds, "simulated_seconds": simulated, "violations": seeds.len(), "bad_seeds": seeds})
        );
    } else {
        println!("{} seeds in {seconds:.0} s, {simulated} simulated seconds, {} with violations {seeds:?}", w.seeds, seeds.len());
    }
    bad.is_empty()
}

/// What is needed to see it again.
fn report(seed: u64, o: &Outcome) {
    let tail = o.log.len().saturating_sub(12);
    eprintln!("seed {seed} (commit {}): {}", std::env::var("VIRGA_COMMIT").unwrap_or_else(|_| "unknown".into()), o.violations[0]);
    o.log[tail..].iter().for_each(|l| eprintln!("    {l}"));
    eprintln!("    again: cargo xtask sim --seed {seed} --trace");
}

fn planted(w: &Words) -> bool {
    let limit = if w.seeds == 0 { PLANTED_SEEDS } else { w.seeds };
    let mut rows = Vec::new();
    for plant in Plant::ALL.into_iter().filter(|p| w.plant.is_none_or(|x| x == *p)) {
        let mut found: Vec<(u64, String)> = Vec::new();
        for round in 0..PLANTED_ROUNDS {
            let from = w.from + round * 100_000;
            let hit = (0..limit).find_map(|n| play(from + n, Some(plant), false).violations.first().map(|v| (n + 1, v.clone())));
            found.extend(hit);
        }
        found.sort();
        let all = found.len() as u64 == PLANTED_ROUNDS;
        let median = found.get(found.len() / 2).cloned();
        if !w.json {
            let (n, by) = median.clone().unwrap_or((0, "not found".into()));
            println!(
                "{} {:<24} median {n:>4} seeds, e.g. {}",
                if all { "found " } else { "MISSED" },
                format!("{plant:?}"),
                by.chars().take(110).collect::<String>()
            );
        }
        rows.push(serde_json::json!({"bug": format!("{plant:?}"), "found": all, "median_seeds": median.map(|m| m.0)}));
    }
    let found = rows.iter().filter(|r| r["found"] == true).count();
    if w.json {
        println!("{}", serde_json::Value::Array(rows.clone()));
    } else {
        println!("{found} of {} planted bugs found", rows.len());
    }
    found == rows.len()
}
