//! Every line of SQL of Virga: schema, migrations and queries, behind one transaction type.
//!
//! One file for each noun, with plain functions that take a [`Tx`] first: `vm::insert(&mut tx, &vm)`. A caller opens
//! a [`Store`], takes a read or a write transaction, calls as many functions as belong together and commits; a
//! transaction that is dropped is rolled back, whether by `?`, by a panic or by a cancelled future.
//!
//! SQLite is the engine now; PostgreSQL is to be one setting away. Hence: the Any driver of sqlx, `$1` parameters,
//! only BIGINT and TEXT columns, no statement that only one engine understands outside of [`Dialect`].
//!
//! What this crate must never do: put a value into the text of a statement, decide anything about the product
//! (it answers whether a condition held), read the clock where a caller could pass the time, panic because of what
//! a row holds, or let SQL show through an error that a person reads.

mod db;
mod error;
mod filter_sql;
pub mod list;
mod migrate;
mod sql;
mod visible;

pub mod audit;
pub mod event;
pub mod host;
pub mod idempotency;
pub mod image;
pub mod join_token;
pub mod loop_lease;
pub mod meta;
pub mod network;
pub mod role_binding;
pub mod session;
pub mod task;
pub mod ticket;
pub mod token;
pub mod user;
pub mod vm;

pub use db::{Dialect, Store, Tx};
pub use error::StoreError;
pub use list::{PAGE_DEFAULT, PAGE_MAX, Page, Paged, SortKey};
