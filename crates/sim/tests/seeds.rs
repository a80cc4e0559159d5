//! Seeds of the simulated cloud: the same seed gives the same history, a number of them keeps every invariant, and every
//! seed that ever broke one stays here. Planted bugs are looked for by `cargo xtask sim --planted`.

use virga_sim::world::plant::Plant;
use virga_sim::world::schedule::{Options, Outcome, run};

/// Seeds that every change must survive.
const CLEAN: u64 = 100;
/// Seeds that are played twice.
const TWICE: u64 = 12;
/// Seeds that once broke an invariant, each with what it found.
const ONCE_BAD: &[(u64, &str)] = &[];

fn play(seed: u64, plant: Option<Plant>) -> Outcome {
    run(Options { seed, plant, trace: false }).expect("the world can be built")
}

/// Plays seeds on both processors; answers with what was found.
fn all(seeds: impl Iterator<Item = u64>, what: impl Fn(u64) -> Option<String> + Sync) -> Vec<String> {
    let seeds = std::sync::Mutex::new(seeds.collect::<Vec<_>>().into_iter());
    let found = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|s| {
        for _ in 0..2 {
            s.spawn(|| {
                loop {
                    let next = seeds.lock().unwrap().next();
                    let Some(seed) = next else { return };
                    if let Some(f) = what(seed) {
                        found.lock().unwrap().push(f);
                    }
                }
            });
        }
    });
    found.into_inner().unwrap()
}

fn violation(seed: u64) -> Option<String> {
    play(seed, None).violations.first().map(|v| format!("seed {seed}: {v}"))
}

#[test]
fn a_seed_is_a_history() {
    let different = all(1..=TWICE, |seed| {
        let (a, b) = (play(seed, None), play(seed, None));
        (a.hash != b.hash).then(|| format!("seed {seed}: {} and {}", a.hash, b.hash))
    });
    assert_eq!(different, Vec::<String>::new());
}

#[test]
fn a_hundred_seeds_keep_every_invariant() {
    assert_eq!(all(1..=CLEAN, violation), Vec::<String>::new());
}

#[test]
fn seeds_that_once_were_bad_stay_good() {
    assert_eq!(all(ONCE_BAD.iter().map(|(s, _)| *s), violation), Vec::<String>::new());
}
