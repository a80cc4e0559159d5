//! The node wire, manager side: calls to agents, and the listener where agents report.

pub mod ahead;
pub mod client;
pub mod inbox;
pub mod lives;
pub mod report;
pub mod server;
pub(crate) mod stores;
