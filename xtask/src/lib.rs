//! The rules of this repository as code, and the tools that go with them.
//!
//! Each rule is a function that answers with what breaks it; `tests/guards.rs` makes a test of each, and
//! `cargo xtask layers` prints them all. A rule names the file and the line, and says what would be right. This crate
//! must never change a file, except where a command says so (`openapi`).

pub mod bench;
pub mod bench_fleet;
pub mod bench_portal;
pub mod cve;
pub mod fuzz;
pub mod guide;
pub mod hostile;
pub mod layers;
pub mod names;
pub mod outside;
pub mod sim;
pub mod sources;
pub mod tree;
pub mod trust;

/// What breaks a rule, one sentence each; empty when the rule holds.
pub type Faults = Vec<String>;

/// A rule: what it is called, and what finds its faults.
pub type Rule = (&'static str, fn() -> anyhow::Result<Faults>);

/// Every rule, in the order of ARCHITECTURE.md.
pub const RULES: [Rule; 16] = [
    ("a crate uses only crates of lower layers", layers::arrows),
    ("model and decide depend only on what is on their list", layers::allow_lists),
    ("only kvm depends on the libvirt crates", layers::libvirt_crates),
    ("model and decide do no I/O and read no clock", sources::purity),
    ("only store contains SQL", sources::sql),
    ("only kvm runs programs", sources::programs),
    ("only the task runner calls agents", sources::node_calls),
    ("files are shorter than 800 lines", sources::lengths),
    ("every Rust file begins with a module document", sources::module_documents),
    ("no test is ignored", sources::ignored_tests),
    ("tests wait for conditions and never sleep", sources::sleeps),
    ("nothing queues without end", sources::unbounded),
    ("no file names a machine, a registry or a private path", names::forbidden),
    ("every kind of task stands in the guide", guide::tasks),
    ("every operation stands in the guide", guide::operations),
    ("tests named after published flaws and their register say the same", cve::register),
];
