//! The task runner: the only place that changes anything on a node.
//!
//! `runner.rs` claims due tasks and works on them; `turn.rs` looks at a task within a transaction, asks `decide::task::next`,
//! and writes down a wait or an end in the same one; `facts.rs` gathers what is true; `act.rs` does the one step that was
//! decided: a call to an agent, or a change of rows in one transaction with the task's own row.

mod act;
mod facts;
pub mod places;
pub mod runner;
mod turn;
