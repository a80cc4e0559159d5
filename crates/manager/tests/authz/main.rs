//! Authorization and audit, generated from the document of the API: every operation, every role, every scope, every
//! position of an id; and what is recorded of it. Over HTTPS, against a manager on a free port.

#[path = "../api/world.rs"]
#[allow(dead_code)]
mod world;

mod audited;
mod cells;
mod chain;
mod matrix;
mod oracle;
mod people;
mod three_roles;
