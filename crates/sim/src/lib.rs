//! A simulated machine under the real agent: `Host` in memory, with a clock that is moved and faults that are switched.
//!
//! Nothing here is a second agent: journals, orders, generations and reports are the code of `virga-agent`. What a
//! simulated guest does is kept as simple as the tests need and is never said to be more than simulation.

mod clock;
mod console;
pub mod crash;
mod exports;
mod files;
pub mod fleet;
mod host;
mod journal;
pub mod life;
mod outside;
mod saved;
mod stores;
pub mod world;

pub use clock::SimClock;
pub use host::{Faults, SimHost};
pub use journal::MemoryJournal;
pub use saved::Saved;
pub use stores::{Shares, StoreFault};
