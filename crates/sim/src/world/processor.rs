//! Which processor a thread works on. A world and its database take turns: whoever answers always waits for the other.
//! On one processor the change between them costs half of what it costs between two. It changes nothing of a history.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Keeps this thread, and those that it starts, on the `n`-th processor that it may use, counted round. Best effort.
pub fn stay(n: usize) {
    let Ok(allowed) = sched_getaffinity(None) else { return };
    let all: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|p| allowed.is_set(*p)).collect();
    let Some(chosen) = n.checked_rem(all.len()).and_then(|at| all.get(at)) else { return };
    let mut one = CpuSet::new();
    one.set(*chosen);
    // Not allowed to choose: it is slower, and no worse.
    let _ = sched_setaffinity(None, &one);
}
