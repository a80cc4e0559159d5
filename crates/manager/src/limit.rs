//! Token buckets: how many requests a source or a principal may make, in memory of this manager only.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;
use virga_model::{Error, ErrorCode};

/// Most buckets; beyond it the full ones (nobody used them lately) are forgotten.
const BUCKETS_MAX: usize = 50_000;

/// Buckets of one kind, one for each key.
pub struct Buckets<K> {
    rate: f64,
    burst: f64,
    map: Mutex<HashMap<K, Bucket>>,
}

struct Bucket {
    tokens: f64,
    at: Instant,
}

impl<K: Hash + Eq + Clone> Buckets<K> {
    /// Buckets that fill with `rate` tokens a second up to `burst`.
    #[must_use]
    pub fn new(rate: f64, burst: f64) -> Buckets<K> {
        Buckets { rate, burst, map: Mutex::new(HashMap::new()) }
    }

    /// Takes a token.
    ///
    /// # Errors
    /// The seconds after which there is one again.
    pub fn take(&self, key: &K) -> Result<(), u32> {
        self.take_at(key, Instant::now())
    }

    fn take_at(&self, key: &K, now: Instant) -> Result<(), u32> {
        let mut map = self.map.lock().unwrap_or_else(PoisonError::into_inner);
        if map.len() >= BUCKETS_MAX && !map.contains_key(key) {
            let (rate, burst) = (self.rate, self.burst);
            map.retain(|_, b| b.tokens + now.saturating_duration_since(b.at).as_secs_f64() * rate < burst);
            if map.len() >= BUCKETS_MAX {
                return Err(1);
            }
        }
        let b = map.entry(key.clone()).or_insert(Bucket { tokens: self.burst, at: now });
        b.tokens = (b.tokens + now.saturating_duration_since(b.at).as_secs_f64() * self.rate).min(self.burst);
        b.at = now;
        if b.tokens >= 1.0 {
            b.tokens -= 1.0;
            return Ok(());
        }
        // At least one second; a rate is never zero.
        Err(((1.0 - b.tokens) / self.rate).ceil().clamp(1.0, 3600.0) as u32)
    }
}

/// The refusal of a request that came too soon. The seconds stand in the hint, because an error's headers are not ours.
#[must_use]
pub fn too_many(what: &str, seconds: u32) -> Error {
    Error::new(ErrorCode::TooMany, format!("Too many {what}.")).with_hint(format!("Try again in {seconds} s."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn buckets_empty_and_fill() {
        let b = Buckets::new(2.0, 3.0);
        let t = Instant::now();
        for _ in 0..3 {
            assert_eq!(b.take_at(&"a", t), Ok(()));
        }
        assert_eq!(b.take_at(&"a", t), Err(1));
        assert_eq!(b.take_at(&"b", t), Ok(()), "others are not concerned");
        assert_eq!(b.take_at(&"a", t + Duration::from_millis(500)), Ok(()));
        assert_eq!(b.take_at(&"a", t + Duration::from_millis(500)), Err(1));
    }
}
