//! The rules of the repository, each as a test. `cargo xtask layers` prints the same.

use xtask::{Faults, guide, layers, names, sources};

fn holds(check: fn() -> anyhow::Result<Faults>) {
    let faults = check().expect("the rule can be checked");
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn a_crate_uses_only_crates_of_lower_layers() {
    holds(layers::arrows);
}

#[test]
fn model_and_decide_depend_only_on_their_list() {
    holds(layers::allow_lists);
}

#[test]
fn only_kvm_depends_on_libvirt() {
    holds(layers::libvirt_crates);
}

#[test]
fn model_and_decide_do_no_io_and_read_no_clock() {
    holds(sources::purity);
}

#[test]
fn only_store_contains_sql() {
    holds(sources::sql);
}

#[test]
fn only_kvm_runs_programs() {
    holds(sources::programs);
}

#[test]
fn only_the_task_runner_calls_agents() {
    holds(sources::node_calls);
}

#[test]
fn files_are_short() {
    holds(sources::lengths);
}

#[test]
fn every_file_says_what_it_is_for() {
    holds(sources::module_documents);
}

#[test]
fn no_test_is_ignored() {
    holds(sources::ignored_tests);
}

#[test]
fn nothing_queues_without_end() {
    holds(sources::unbounded);
}

#[test]
fn tests_wait_and_never_sleep() {
    holds(sources::sleeps);
}

#[test]
fn no_file_names_a_machine_or_a_registry() {
    holds(names::forbidden);
}

#[test]
fn every_kind_of_task_is_in_the_guide() {
    holds(guide::tasks);
}

#[test]
fn tests_of_published_flaws_are_registered() {
    holds(xtask::cve::register);
}

#[test]
fn every_operation_is_in_the_guide() {
    holds(guide::operations);
}
