//! Seeds of the simulated cloud: the same seed gives the same history, a number of them keeps every invariant, and every
//! seed that ever broke one stays here. Planted bugs are looked for by `cargo xtask sim --planted`.

use virga_sim::world::plant::Plant;
use virga_sim::world::processor;
use virga_sim::world::schedule::{Options, Outcome, run};

/// Seeds that every change must survive.
const CLEAN: u64 = 100;
/// Seeds that are played twice.
const TWICE: u64 = 12;
/// Seeds that once broke an invariant, each with what it found.
const ONCE_BAD: &[(u64, &str)] = &[
    (194, "V5/V9: a graceful stop cut the power of a guest that had crashed; the judge was wrong"),
    (199, "W3: repair waited for an hour after the manager's clock was set back"),
    (327, "W1: a task waited for its next try by a clock that was an hour ahead"),
    (362, "W1: a host that had lost its journal counted its reports anew, and was not heard"),
    (630, "V4: a VM to be removed stayed unknown although its host did not know it any more"),
    (1236, "V8: an agent that had just started plugged in a non-persistent disk without the file that the guest writes"),
    (1794, "W1: the report that says which VMs are not there came while the hypervisor did not answer, and not again"),
    (2015, "V12: who had lost the journal took a running guest for as small as its new definition"),
    (3541, "V12: the way back of a failed hibernation started a guest that its host's power loss had ended"),
    (3946, "V5: a VM that was gone was said to be, after an answer that the judge had not seen; the judge was wrong"),
    (8728, "W4: a data store that was away while a VM was removed kept its files"),
];

fn play(seed: u64, plant: Option<Plant>) -> Outcome {
    run(Options { seed, plant, trace: false }).expect("the world can be built")
}

/// Plays seeds on both processors; answers with what was found.
fn all(seeds: impl Iterator<Item = u64>, what: impl Fn(u64) -> Option<String> + Sync) -> Vec<String> {
    let seeds = std::sync::Mutex::new(seeds.collect::<Vec<_>>().into_iter());
    let found = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|s| {
        for job in 0..2 {
            let (seeds, found, what) = (&seeds, &found, &what);
            s.spawn(move || {
                processor::stay(job);
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
