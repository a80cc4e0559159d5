//! How long guests were held, by the hypervisor's own events, while somebody wants to know.
//!
//! Only what is told is counted: without a listener nothing is known, and that is what is said.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// How often we look whether the last word has come.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A guest that is watched.
#[derive(Clone, Copy, Default)]
struct Held {
    since: Option<Instant>,
    total: Duration,
    /// Whether it was held at all.
    heard: bool,
}

/// Guests that are watched.
#[derive(Default)]
pub struct Pauses(Mutex<HashMap<Uuid, Held>>);

impl Pauses {
    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Held>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to watch.
    pub fn watch(&self, domain: Uuid) {
        self.lock().insert(domain, Held::default());
    }

    /// Notes that a guest is held (or goes on); of guests that nobody watches nothing is kept.
    pub fn note(&self, domain: Uuid, held: bool) {
        let mut all = self.lock();
        let Some(h) = all.get_mut(&domain) else { return };
        match (held, h.since.take()) {
            (true, since) => (h.since, h.heard) = (since.or_else(|| Some(Instant::now())), true),
            (false, Some(since)) => h.total += since.elapsed(),
            (false, None) => {}
        }
    }

    /// Ends to watch; how long the guest was held in all, when that was heard. The word that it goes on may be under way for
    /// as long as `patience`.
    pub async fn total(&self, domain: Uuid, patience: Duration) -> Option<Duration> {
        let end = Instant::now() + patience;
        loop {
            let now = self.lock().get(&domain).copied()?;
            if (now.heard && now.since.is_none()) || Instant::now() >= end {
                self.lock().remove(&domain);
                return (now.heard && now.since.is_none()).then_some(now.total);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_what_is_watched_and_heard_is_told() {
        let (p, vm) = (Pauses::default(), Uuid::from_u128(1));
        p.note(vm, true);
        assert!(p.total(vm, Duration::ZERO).await.is_none(), "nobody watched");
        p.watch(vm);
        assert!(p.total(vm, Duration::ZERO).await.is_none(), "nothing was heard");
        p.watch(vm);
        p.note(vm, true);
        p.note(vm, false);
        assert!(p.total(vm, Duration::ZERO).await.is_some_and(|d| d < Duration::from_secs(5)));
        assert!(p.lock().is_empty());
    }
}
