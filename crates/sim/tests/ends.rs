//! A world that has ended leaves nothing behind: thousands of them are played in one process. In a binary of its own,
//! because other tests' worlds have files open, too.

use std::time::{Duration, Instant};
use virga_sim::world::schedule::{Options, run};

/// Databases of worlds that this process has open.
fn open_databases() -> usize {
    let all = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    all.filter_map(|e| std::fs::read_link(e.path()).ok()).filter(|to| to.to_string_lossy().contains("virga.db")).count()
}

#[test]
fn a_world_leaves_no_open_files() {
    for seed in 1..=2 {
        run(Options { seed, plant: None, trace: false }).expect("the world can be built");
    }
    // The threads of a database end a little after it was let go.
    let deadline = Instant::now() + Duration::from_secs(60);
    while open_databases() > 0 && Instant::now() < deadline {
        std::thread::yield_now();
    }
    assert_eq!(open_databases(), 0);
}
