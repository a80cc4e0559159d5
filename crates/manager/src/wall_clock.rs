//! A wall clock that was wrong and is set right (`reliability.md` N8).
//!
//! Rows hold times of the wall clock, because several managers must agree on them. Once it is set back they lie ahead, and
//! whoever waits for them would wait for as long as the clock was ahead. Nothing here may decide that a host is silent:
//! that is told by the steady clock.

use crate::state::{CLOCKS_DIFFER_MS, Manager};
use std::time::Duration;
use virga_model::{Error, Time};

/// Milliseconds by which the wall clock must go back against the steady one to have been set.
const SET_BACK_MS: i64 = 5_000;
/// Time for which tasks are looked at after that: what is being worked on is written a little later.
const SET_BACK_LOOKS: Duration = Duration::from_secs(60);

/// What is known of the wall clock.
#[derive(Default)]
pub(crate) struct WallClock {
    /// How far it was ahead of the steady clock, in milliseconds.
    ahead: Option<i64>,
    looks_until: Duration,
}

impl WallClock {
    /// Whether it was set back a short time ago, or may have been: while this manager did not run.
    pub(crate) fn was_set_back(&mut self, now: Time, steady: Duration) -> bool {
        let ahead = now.0 / 1000 - i64::try_from(steady.as_millis()).unwrap_or(i64::MAX);
        if self.ahead.replace(ahead).is_none_or(|before| ahead < before - SET_BACK_MS) {
            self.looks_until = steady + SET_BACK_LOOKS;
        }
        steady < self.looks_until
    }
}

/// After the wall clock was set back (a machine that began with a wrong time), what waits for a moment by the wrong time
/// would wait for hours: a task for its next try, its lease for its end, a shutdown for its limit. No wait is so long.
pub(crate) async fn bring_back(manager: &Manager, lease_seconds: i64) -> Result<(), Error> {
    let now = manager.now();
    let latest = now.plus_millis(CLOCKS_DIFFER_MS);
    let mut tx = manager.store.read().await?;
    let is_ahead = virga_store::task::is_ahead(&mut tx, latest).await?;
    drop(tx);
    if is_ahead {
        let mut tx = manager.store.write().await?;
        let n = virga_store::task::bring_back(&mut tx, latest, now, now.plus_seconds(lease_seconds)).await?;
        tx.commit().await?;
        tracing::warn!(tasks = n, "the wall clock was set back; times of tasks that lay far ahead are brought back");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_goes_back_is_looked_after_for_a_while() {
        let mut clock = WallClock::default();
        let mut at = |wall_s: i64, steady_s: u64| clock.was_set_back(Time(wall_s * 1_000_000), Duration::from_secs(steady_s));
        // Right after the start nobody knows what was before.
        assert!(at(10_000, 5) && at(10_030, 35));
        assert!(!at(10_065, 70) && !at(10_100, 105));
        // Forward is no reason, back is.
        assert!(!at(13_710, 115));
        assert!(at(10_120, 125) && at(10_150, 155) && !at(10_190, 195));
        // What a clock is drawn by in small steps is none.
        assert!(!at(10_198, 205));
    }
}
