//! The logic of one node: brings each VM to what its order says, remembers orders in a journal, reports what is true.
//!
//! It works over the [`host::Host`] traits, so the same code runs real QEMU (`kvm`) and a simulated machine (`sim`).
//! Stopping or upgrading the agent never stops a VM. The agent must never destroy anything by inference: what has no
//! order is reported, not touched; what cannot be found out is "unknown", not "stopped".

pub mod clone;
pub(crate) mod disk;
pub(crate) mod export;
pub mod grpc_link;
mod guest;
pub mod host;
pub mod identity;
pub mod image;
pub(crate) mod layer;
pub mod link;
mod memory;
pub mod node;
pub mod record;
pub mod report;
mod store;
pub mod vm;
pub mod wire;
