//! Every line of SQL of Virga: schema, migrations and queries, behind one transaction type.
//!
//! One file for each noun, with plain functions that take a [`Tx`] first: `vm::insert(&mut tx, &vm)`. A caller opens
//! a [`Store`], takes a read or a write transaction, calls as many functions as belong together and commits; a
//! transaction that is dropped is rolled back, whether by `?`, by a panic or by a cancelled future.
//!
//! SQLite and PostgreSQL are the engines, `sqlite.rs` and `postgres.rs` speak to them. Hence: `$1` parameters, only BIGINT
//! and TEXT columns, no statement that only one engine understands outside of these files and [`Dialect`].
//!
//! A limit that is a parameter is written `LIMIT $2 + 0`: SQLite looks into a bare one when it plans, and so makes the
//! whole plan anew for each execution.
//!
//! What this crate must never do: put a value into the text of a statement, decide anything about the product
//! (it answers whether a condition held), read the clock where a caller could pass the time, panic because of what
//! a row holds, or let SQL show through an error that a person reads.

mod db;
mod error;
mod filter_sql;
pub mod list;
mod mark;
mod migrate;
mod postgres;
mod sql;
mod sqlite;
mod visible;

pub mod audit;
pub mod audit_anchor;
pub mod clone;
pub mod data_store;
pub mod dump;
pub mod event;
pub mod fingerprint;
pub mod host;
pub mod idempotency;
pub mod image;
pub mod join_token;
pub mod loop_lease;
pub mod manager;
pub mod meta;
pub mod network;
#[doc(hidden)]
pub mod probe;
pub mod restored;
pub mod role_binding;
pub mod schedule;
pub mod session;
pub mod snapshot;
pub mod task;
pub mod task_claim;
pub mod ticket;
pub mod token;
pub mod user;
pub mod vm;

pub use db::{Dialect, Gate, Passage, Store, Tx};
pub use error::StoreError;
pub use list::{PAGE_DEFAULT, PAGE_MAX, Page, Paged, SortKey};
pub use mark::{Mark, Spent};
