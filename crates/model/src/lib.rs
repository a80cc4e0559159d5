//! The nouns of Virga: identifiers, specifications, observed states, generations, sizes and errors.
//!
//! Every layer above speaks in these types: `store` writes them as rows, the node wire carries them as
//! documents, `decide` reads them, `api::v1` converts them to their public shape.
//!
//! This crate must never do I/O, read a clock, draw a random number or use async: it is data, validation
//! and pure functions of both. The guard is a dependency allow-list test in `xtask` and this crate's own
//! `clippy.toml`.

pub mod change;
pub mod clone;
pub mod cloud_init;
pub mod data_store;
pub mod disk;
pub mod error;
pub mod event;
pub mod export;
pub mod filter;
pub mod host;
pub mod id;
pub mod image;
pub mod layer;
pub mod name;
pub mod network;
pub mod order;
pub mod ovf;
pub mod refusal;
pub mod role;
pub mod schedule;
pub mod size;
pub mod snapshot;
pub mod stats;
pub mod task;
pub mod time;
pub mod user;
pub mod vm;

pub use error::{Error, ErrorCode, Violation};
pub use id::*;
pub use time::Time;
