//! The manager under load that means no good: over its real sockets, and where memory counts as the real program
//! (issue items "limits"; `reliability.md` 2.8, M5, M10, D5).

#[path = "../api/world.rs"]
#[allow(dead_code, reason = "each suite uses a part")]
mod world;

mod attack;
mod disk;
mod panic;
mod program;
mod queue;
mod raw;
mod refusal;
