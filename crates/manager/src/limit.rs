//! Token buckets: how many requests a source or a principal may make, in memory of this manager only.

use crate::front::limits::BUCKETS_MAX;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use virga_model::{Error, ErrorCode};

/// Least time between two looks at all buckets.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Buckets of one kind, one for each key.
pub struct Buckets<K> {
    /// Tokens a second, and most tokens; none: everybody may take as they like.
    rate: Option<(f64, f64)>,
    map: Mutex<Held<K>>,
}

struct Held<K> {
    buckets: HashMap<K, Bucket>,
    /// Shared by those for whom there is no room.
    shared: Option<Bucket>,
    swept_at: Option<Instant>,
}

#[derive(Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl<K: Hash + Eq + Clone> Buckets<K> {
    /// Buckets that fill with so many tokens a second, up to so many; none: no limit.
    #[must_use]
    pub fn new(rate: Option<(f64, f64)>) -> Buckets<K> {
        Buckets { rate, map: Mutex::new(Held { buckets: HashMap::new(), shared: None, swept_at: None }) }
    }

    /// Takes a token.
    ///
    /// # Errors
    /// The seconds after which there is one again.
    pub fn take(&self, key: &K) -> Result<(), u32> {
        self.take_at(key, Instant::now())
    }

    fn take_at(&self, key: &K, now: Instant) -> Result<(), u32> {
        let Some((rate, burst)) = self.rate else { return Ok(()) };
        let mut held = self.map.lock().unwrap_or_else(PoisonError::into_inner);
        let held = &mut *held;
        let full = Bucket { tokens: burst, at: now };
        let b = if held.buckets.contains_key(key) || held.has_room(rate, burst, now) {
            held.buckets.entry(key.clone()).or_insert(full)
        } else {
            held.shared.get_or_insert(full)
        };
        b.tokens = b.filled(rate, burst, now);
        b.at = now;
        if b.tokens >= 1.0 {
            b.tokens -= 1.0;
            return Ok(());
        }
        // At least one second; a rate is never zero.
        Err(((1.0 - b.tokens) / rate).ceil().clamp(1.0, 3600.0) as u32)
    }
}

impl Bucket {
    fn filled(&self, rate: f64, burst: f64, now: Instant) -> f64 {
        (self.tokens + now.saturating_duration_since(self.at).as_secs_f64() * rate).min(burst)
    }
}

impl<K: Hash + Eq> Held<K> {
    /// Whether there is room for one more; buckets that are full again (nobody used them lately) are forgotten for it, at
    /// most once a second, because looking at all of them must not be what a flood costs.
    fn has_room(&mut self, rate: f64, burst: f64, now: Instant) -> bool {
        let due = self.swept_at.is_none_or(|t| now.saturating_duration_since(t) >= SWEEP_EVERY);
        if self.buckets.len() >= BUCKETS_MAX && due {
            self.swept_at = Some(now);
            self.buckets.retain(|_, b| b.filled(rate, burst, now) < burst);
        }
        self.buckets.len() < BUCKETS_MAX
    }
}

/// The refusal of a request that came too soon.
#[must_use]
pub fn too_many(what: &str, seconds: u32) -> Error {
    Error::new(ErrorCode::TooMany, format!("Too many {what}.")).with_hint(format!("Try again in {seconds} s.")).with_retry_after(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_empty_and_fill() {
        let b = Buckets::new(Some((2.0, 3.0)));
        let t = Instant::now();
        for _ in 0..3 {
            assert_eq!(b.take_at(&"a", t), Ok(()));
        }
        assert_eq!(b.take_at(&"a", t), Err(1));
        assert_eq!(b.take_at(&"b", t), Ok(()), "others are not concerned");
        assert_eq!(b.take_at(&"a", t + Duration::from_millis(500)), Ok(()));
        assert_eq!(b.take_at(&"a", t + Duration::from_millis(500)), Err(1));
    }

    #[test]
    fn newcomers_share_a_bucket_when_there_is_no_room() {
        let b = Buckets::new(Some((1.0, 2.0)));
        let t = Instant::now();
        for n in 0..BUCKETS_MAX {
            assert_eq!(b.take_at(&n, t), Ok(()));
        }
        for n in [1, 2] {
            assert_eq!(b.take_at(&(BUCKETS_MAX + n), t), Ok(()));
        }
        assert_eq!(b.take_at(&(BUCKETS_MAX + 3), t), Err(1), "the shared one is empty");
        assert_eq!(b.take_at(&5, t), Ok(()), "who was there before has an own one");
        assert_eq!(b.map.lock().unwrap().buckets.len(), BUCKETS_MAX);
        assert_eq!(b.take_at(&(BUCKETS_MAX + 3), t + Duration::from_secs(5)), Ok(()));
        assert_eq!(b.map.lock().unwrap().buckets.len(), 1, "who was not there lately is forgotten");
    }

    #[test]
    fn off_is_off() {
        let b = Buckets::new(None);
        assert!((0..10_000).all(|_| b.take(&1).is_ok()));
        assert!(b.map.lock().unwrap().buckets.is_empty());
    }
}
