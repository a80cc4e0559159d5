//! Plays seeds of the simulated cloud, in several processes or threads at once: what `cargo xtask sim` starts.
//!
//! `seeds --seeds N [--from S] [--jobs J] [--json]`, `seeds --seed S [--trace]`, `seeds --planted [--seeds N]`.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use virga_sim::world::plant::Plant;
use virga_sim::world::processor;
use virga_sim::world::schedule::{Options, Outcome, run};

/// Seeds in which a planted bug must be found when nobody says.
const PLANTED_SEEDS: u64 = 400;
/// Times that a planted bug is looked for, from other seeds each time, for the median.
const PLANTED_ROUNDS: u64 = 3;

/// Seeds after which it is said how far it is.
const PROGRESS_SEEDS: u64 = 1000;

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

fn lock<T>(m: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    m.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
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
        for job in 0..w.jobs {
            let (next, ms, bad) = (&next, &ms, &bad);
            s.spawn(move || {
                processor::stay(usize::try_from(job).unwrap_or(0));
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= end {
                        return;
                    }
                    if seed > w.from && (seed - w.from).is_multiple_of(PROGRESS_SEEDS) {
                        eprintln!("{} seeds so far", seed - w.from);
                    }
                    let o = play(seed, w.plant, false);
                    ms.fetch_add(o.ms, Ordering::SeqCst);
                    if !o.violations.is_empty() {
                        report(seed, &o);
                        lock(bad).push((seed, o));
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

/// A planted bug that was found.
struct Found {
    /// Seeds it took.
    after: u64,
    /// The seed.
    seed: u64,
    /// What the invariants said first.
    what: String,
}

/// Looks for a planted bug in seeds from `from` on. A seed that is bad without the bug, too, finds nothing.
fn look_for(plant: Plant, from: u64, limit: u64) -> Option<Found> {
    (0..limit).find_map(|n| {
        let what = play(from + n, Some(plant), false).violations.into_iter().next()?;
        play(from + n, None, false).violations.is_empty().then_some(Found { after: n + 1, seed: from + n, what })
    })
}

fn planted(w: &Words) -> bool {
    let limit = if w.seeds == 0 { PLANTED_SEEDS } else { w.seeds };
    let plants: Vec<Plant> = Plant::ALL.into_iter().filter(|p| w.plant.is_none_or(|x| x == *p)).collect();
    let work = Mutex::new(plants.iter().flat_map(|p| (0..PLANTED_ROUNDS).map(move |round| (*p, round))));
    let results: Mutex<Vec<(Plant, Option<Found>)>> = Mutex::default();
    std::thread::scope(|s| {
        for job in 0..w.jobs {
            let (work, results) = (&work, &results);
            s.spawn(move || {
                processor::stay(usize::try_from(job).unwrap_or(0));
                loop {
                    let Some((plant, round)) = lock(work).next() else { return };
                    let found = look_for(plant, w.from + round * 100_000, limit);
                    lock(results).push((plant, found));
                }
            });
        }
    });
    let results = results.into_inner().unwrap_or_default();
    let rows: Vec<serde_json::Value> = plants.iter().map(|p| row(*p, &results, w.json)).collect();
    let found = rows.iter().filter(|r| r["found"] == true).count();
    if w.json {
        println!("{}", serde_json::json!({"bugs": rows.len(), "found": found, "rounds": PLANTED_ROUNDS, "seeds": limit, "each": rows}));
    } else {
        println!("{found} of {} planted bugs found, each in all of {PLANTED_ROUNDS} rounds of at most {limit} seeds", rows.len());
    }
    found == rows.len()
}

/// What came of looking for one bug.
fn row(plant: Plant, results: &[(Plant, Option<Found>)], quiet: bool) -> serde_json::Value {
    let mut found: Vec<&Found> = results.iter().filter(|(p, _)| *p == plant).filter_map(|(_, f)| f.as_ref()).collect();
    found.sort_by_key(|f| f.after);
    let all = found.len() as u64 == PLANTED_ROUNDS;
    let median = found.get(found.len() / 2);
    if !quiet {
        let (after, by) = median.map_or((0, "not found".into()), |f| (f.after, format!("seed {}: {}", f.seed, f.what)));
        let word = if all { "found " } else { "MISSED" };
        println!("{word} {:<24} median {after:>4} seeds, e.g. {}", format!("{plant:?}"), by.chars().take(120).collect::<String>());
    }
    let each: Vec<_> = found.iter().map(|f| serde_json::json!({"seed": f.seed, "after": f.after, "violation": f.what})).collect();
    serde_json::json!({"bug": format!("{plant:?}"), "found": all, "rounds": found.len(), "median_seeds": median.map(|f| f.after), "first": each})
}
