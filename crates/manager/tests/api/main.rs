//! The manager over real HTTPS, with hosts that live in memory.

mod world;

mod authz;
mod hostile;
mod image;
mod session;
mod stream;
mod token;
mod user;
mod vm;
mod vm_list;
