//! The network between managers and hosts: it delays, loses, repeats and reorders, and can be cut, each way on its own.

use super::ctx::Ctx;
use super::turn::lock;
use std::collections::BTreeMap;
use std::sync::Mutex;

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From a manager to a host.
    ToHost,
    /// From a host to a manager.
    FromHost,
}

/// How bad the network is; shares in thousandths.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// Messages that are lost.
    pub loss: u64,
    /// Messages that arrive twice.
    pub twice: u64,
    /// Messages that take much longer than others, and are so overtaken.
    pub late: u64,
    /// Longest ordinary way in milliseconds; 0: each takes [`WAY_MS`].
    pub spread_ms: u64,
}

/// Milliseconds of an ordinary way.
pub const WAY_MS: u64 = 5;
/// Milliseconds that a late message takes at most.
const LATE_MS: u64 = 20_000;

impl Weather {
    /// Nothing is lost and all take the same time.
    pub const FAIR: Weather = Weather { loss: 0, twice: 0, late: 0, spread_ms: 0 };
}

/// The network.
#[derive(Default)]
pub struct Net {
    cuts: Mutex<BTreeMap<String, (bool, bool)>>,
    weather: Mutex<Option<Weather>>,
}

impl Net {
    /// Cuts or heals the ways to and from a host.
    pub fn cut(&self, host: &str, to: bool, from: bool) {
        lock(&self.cuts).insert(host.into(), (to, from));
    }

    /// Sets how bad it is.
    pub fn set_weather(&self, w: Weather) {
        *lock(&self.weather) = Some(w);
    }

    /// Whether messages get through this way.
    #[must_use]
    pub fn open(&self, host: &str, way: Way) -> bool {
        let (to, from) = lock(&self.cuts).get(host).copied().unwrap_or_default();
        !(if way == Way::ToHost { to } else { from })
    }

    fn now(&self) -> Weather {
        lock(&self.weather).unwrap_or(Weather::FAIR)
    }
}

/// When the copies of one message arrive: none, one or two.
pub fn fate(ctx: &Ctx, host: &str, way: Way) -> Vec<u64> {
    let w = ctx.net.now();
    let ordinary = |ctx: &Ctx| if w.spread_ms == 0 { WAY_MS } else { ctx.rng.between(1, w.spread_ms) };
    if !ctx.net.open(host, way) || ctx.rng.chance(w.loss) {
        return Vec::new();
    }
    let first = if ctx.rng.chance(w.late) { ctx.rng.between(1_000, LATE_MS) } else { ordinary(ctx) };
    let mut out = vec![first];
    if ctx.rng.chance(w.twice) {
        out.push(ctx.rng.between(first, first + LATE_MS / 4));
    }
    out
}
