//! The decisions of Virga as pure functions: where a VM goes, and what a task does next.
//!
//! Everything a decision needs is an argument (the view, the facts, the time, the seed), everything it says is a value
//! with its reasons. This crate must never do I/O, read a clock, draw a random number or call another program; its
//! dependency list and `clippy.toml` see to it.

pub mod data_stores;
pub mod place;
pub mod task;
