//! Randomness of the simulated world: a small generator whose whole state is the seed, so that a seed is a history.
//!
//! It is SplitMix64: good enough to choose faults, and never used for secrets.

use std::sync::{Mutex, PoisonError};

/// A generator that all parts of a world share; they draw in the world's own order.
#[derive(Debug)]
pub struct Rng(Mutex<u64>);

impl Rng {
    /// From a seed.
    #[must_use]
    pub fn new(seed: u64) -> Rng {
        Rng(Mutex::new(seed ^ 0x0005_eed0_fa11_f001))
    }

    /// The next number.
    pub fn next(&self) -> u64 {
        let mut s = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *s = s.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *s;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&self, low: u64, high: u64) -> u64 {
        low + self.next() % (high.max(low) - low + 1)
    }

    /// True in `permille` of a thousand cases.
    pub fn chance(&self, permille: u64) -> bool {
        self.next() % 1000 < permille
    }

    /// One of the things; none of none.
    pub fn pick<'a, T>(&self, things: &'a [T]) -> Option<&'a T> {
        let n = u64::try_from(things.len()).ok().filter(|n| *n > 0)?;
        things.get(usize::try_from(self.next() % n).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::Rng;

    #[test]
    fn a_seed_is_a_history() {
        let (a, b, c) = (Rng::new(7), Rng::new(7), Rng::new(8));
        let draw = |r: &Rng| (0..10).map(|_| r.between(3, 90)).collect::<Vec<_>>();
        let first = draw(&a);
        assert_eq!(first, draw(&b));
        assert_ne!(first, draw(&c));
        assert!(first.iter().all(|n| (3..=90).contains(n)));
    }
}
