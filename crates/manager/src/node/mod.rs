//! The node wire, manager side: calls to agents, and the listener where agents report.

pub mod client;
pub mod report;
pub mod server;
