//! Planted bugs are found: a simulator that finds none proves nothing (`reliability.md` 5.1). Each is played in a seed that
//! is known to find it, and the invariant that it breaks is named. `cargo xtask sim --planted` looks for them afresh.
//!
//! When the schedule's code changes, other seeds find them: `cargo xtask sim --planted --json` names three for each.

use virga_sim::world::plant::Plant;
use virga_sim::world::schedule::{Options, run};

/// What finds each bug: the seed, and the invariant that does not hold.
fn finds(plant: Plant) -> (u64, &'static str) {
    match plant {
        Plant::AgentIgnoresGeneration => (100_001, "V5"),
        Plant::SilentIsStopped => (200_003, "V4"),
        Plant::ActWithoutTaskId => (100_003, "W1"),
        Plant::VolumesBeforeUndefine => (1, "V8"),
        Plant::ReportOverwritesNewer => (3, "V5"),
        Plant::PlacementIgnoresMemory => (2, "V12"),
        Plant::JournalAfterAnswer => (1, "V6"),
        Plant::WallClockForSilence => (100_001, "clock"),
        Plant::KeyNotKept => (200_001, "V6"),
        Plant::UnknownIsDestroyed => (100_018, "V9"),
        Plant::CleanupForgotten => (1, "W1"),
        Plant::OrderToWrongHost => (200_001, "V1"),
        Plant::SameAddress => (1, "V13"),
        Plant::NoDeadline => (100_001, "W1"),
        Plant::ShutdownIsPowerOff => (200_002, "V5/V9"),
        Plant::EverythingIsNews => (1, "W7"),
        Plant::ChangesAreKeptQuiet => (1, "W1"),
        Plant::FrozenIsWritten => (100_002, "V7"),
        Plant::MergedLayerStays => (100_011, "W4"),
        Plant::MergeTakesTheLower => (100_005, "V8"),
    }
}

/// The invariants that do not hold, each with what was seen.
fn broken(seed: u64, plant: Option<Plant>) -> Vec<String> {
    run(Options { seed, plant, trace: false }).expect("the world can be built").violations
}

#[test]
fn each_planted_bug_breaks_its_invariant() {
    let mut missed = Vec::new();
    for plant in Plant::ALL {
        let (seed, invariant) = finds(plant);
        let found = broken(seed, Some(plant));
        if !found.iter().any(|v| v.contains(&format!(" ms: {invariant}: "))) {
            missed.push(format!("{plant:?} in seed {seed} breaks {found:?}, not {invariant}"));
        }
    }
    assert_eq!(missed, Vec::<String>::new());
}

#[test]
fn the_same_seeds_are_good_without_the_bug() {
    let mut seeds: Vec<u64> = Plant::ALL.into_iter().map(|p| finds(p).0).collect();
    seeds.sort_unstable();
    seeds.dedup();
    for seed in seeds {
        assert_eq!(broken(seed, None), Vec::<String>::new(), "seed {seed}");
    }
}
