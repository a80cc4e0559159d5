//! Verifies exports of audit records against anchors that were kept elsewhere (`reliability.md` 4.3).
//!
//! It is a program of its own, for a person who does not trust the manager: it reads three files, speaks to nobody, and
//! shares no code with what wrote them. The rules of the chain are written down here a second time on purpose.
//!
//! It must never call an export whole that it could not read to its last byte, and never write anything.

pub mod anchor;
pub mod chain;
pub mod verdict;

pub use anchor::{Anchor, Key};
pub use verdict::{Verdict, verify};
