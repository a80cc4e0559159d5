//! Simulated time: it stands until somebody moves it, or (with `auto`) jumps to the next moment that is waited for as
//! soon as everybody waits.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;
use virga_model::Time;

/// A clock that many simulated machines share.
#[derive(Clone, Default)]
pub struct SimClock(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    now_ms: u64,
    sleepers: BTreeMap<(u64, u64), oneshot::Sender<()>>,
    next: u64,
}

/// Wall time at simulated millisecond 0: 2026-01-01T00:00:00Z.
const EPOCH_MICROS: i64 = 1_767_225_600_000_000;

impl SimClock {
    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A clock that shows this wall time; before 2026 it shows the beginning of 2026.
    #[must_use]
    pub fn at(wall: Time) -> SimClock {
        let clock = SimClock::default();
        clock.inner().now_ms = u64::try_from(wall.0.saturating_sub(EPOCH_MICROS) / 1000).unwrap_or(0);
        clock
    }

    /// Milliseconds since the beginning.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.inner().now_ms
    }

    /// The same as wall time.
    #[must_use]
    pub fn time(&self) -> Time {
        Time(EPOCH_MICROS.saturating_add(i64::try_from(self.now_ms()).unwrap_or(i64::MAX).saturating_mul(1000)))
    }

    /// Waits until the clock was moved `ms` further.
    pub async fn sleep_ms(&self, ms: u64) {
        let receiver = {
            let mut inner = self.inner();
            let (sender, receiver) = oneshot::channel();
            let key = (inner.now_ms.saturating_add(ms), inner.next);
            inner.next += 1;
            inner.sleepers.insert(key, sender);
            receiver
        };
        // A clock that is dropped wakes everybody; the program ends then.
        drop(receiver.await);
    }

    /// Moves the clock to the next moment somebody waits for, at most `ms` further, and wakes those. Answers with the
    /// milliseconds moved.
    pub fn advance(&self, ms: u64) -> u64 {
        let mut inner = self.inner();
        let target = inner.now_ms.saturating_add(ms);
        let next = inner.sleepers.keys().next().map_or(target, |(at, _)| *at).clamp(inner.now_ms, target);
        let moved = next - inner.now_ms;
        inner.now_ms = next;
        while let Some(entry) = inner.sleepers.first_entry() {
            if entry.key().0 > next {
                break;
            }
            // A sleeper that went away needs no waking.
            let _ = entry.remove().send(());
        }
        moved
    }

    /// Moves the clock `ms` further, letting everything that becomes due run in between. Works on a single-threaded
    /// runtime, where yielding lets all others run.
    pub async fn run_for(&self, ms: u64) {
        let mut left = ms;
        loop {
            for _ in 0..SETTLE_YIELDS {
                tokio::task::yield_now().await;
            }
            if left == 0 {
                return;
            }
            left -= self.advance(left);
        }
    }

    /// Moves the clock with the machine's own, `speed` times as fast, until the task is dropped.
    pub async fn follow_real_time(&self, speed: u32) {
        let step = std::time::Duration::from_millis(10);
        loop {
            tokio::time::sleep(step).await;
            let mut left = 10 * u64::from(speed);
            while left > 0 {
                left -= self.advance(left).max(1).min(left);
            }
        }
    }

    /// Moves the clock with the machine's own, `speed` times as fast and without falling behind, until the task is dropped.
    pub async fn keep_pace(&self, speed: u32) {
        let (begun, origin) = (std::time::Instant::now(), self.now_ms());
        loop {
            tokio::time::sleep(PACE).await;
            let elapsed = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            let target = origin.saturating_add(elapsed.saturating_mul(u64::from(speed)));
            while self.now_ms() < target {
                self.advance(target - self.now_ms());
            }
        }
    }
}

/// How often a clock that keeps pace is moved.
const PACE: std::time::Duration = std::time::Duration::from_millis(10);

/// Yields after which every task that can run has run, in tests of a few machines.
const SETTLE_YIELDS: usize = 200;
