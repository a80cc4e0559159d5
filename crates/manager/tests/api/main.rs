//! The manager over real HTTPS, with hosts that live in memory.

#[path = "../../../store/tests/common/postgres.rs"]
mod postgres;
mod world;

mod authz;
mod canary;
mod cve;
mod data_store;
mod databases;
mod demo;
mod disks;
mod export;
mod fetch;
mod hostile;
mod hostile_cells;
mod hostile_document;
mod hostile_values;
mod image;
mod package;
mod process;
mod schedule;
mod session;
mod snapshot;
mod stream;
mod template;
mod token;
mod user;
mod vm;
mod vm_list;
