//! The registry: names are unique, a hook sees both sides of a step and decides, spawned work has the same hook, every
//! step stands in the product exactly where its effect is, and no effect has been forgotten.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use virga_crash::{Hook, Moment, Part, Step, Verdict, spawn, step, with};
use virga_model::Error;

#[derive(Default)]
struct Notes {
    seen: Mutex<Vec<(Step, Moment)>>,
    fails: Option<(Step, Moment)>,
}

impl Hook for Notes {
    fn reached(&self, step: Step, moment: Moment) -> Verdict {
        self.seen.lock().unwrap().push((step, moment));
        let fails = self.fails == Some((step, moment));
        Box::pin(async move { if fails { Err(Error::unavailable("injected")) } else { Ok(()) } })
    }
}

#[tokio::test]
async fn a_hook_sees_both_sides_decides_and_is_handed_on() {
    let done = Arc::new(Mutex::new(0));
    let effect = |done: &Arc<Mutex<i32>>| {
        let done = done.clone();
        async move {
            *done.lock().unwrap() += 1;
            Ok::<_, Error>(())
        }
    };
    step(Step::Start, effect(&done)).await.unwrap();
    assert_eq!(*done.lock().unwrap(), 1, "without a hook the effect is simply made");
    for (moment, happened) in [(Moment::Before, 1), (Moment::After, 2)] {
        let notes = Arc::new(Notes { fails: Some((Step::Start, moment)), ..Notes::default() });
        let e = effect(&done);
        let result = with(notes.clone(), async { spawn(step(Step::Start, e)).await.unwrap() }).await;
        assert!(result.is_err());
        assert_eq!(*done.lock().unwrap(), happened, "{moment:?}");
        assert_eq!(notes.seen.lock().unwrap().last(), Some(&(Step::Start, moment)));
    }
}

#[test]
fn names_are_unique_and_both_programs_have_steps() {
    let mut names: Vec<&str> = Step::ALL.iter().map(|s| s.name()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Step::ALL.len());
    assert!(Step::ALL.iter().any(|s| s.part() == Part::Manager) && Step::ALL.iter().any(|s| s.part() == Part::Agent));
}

fn crates() -> PathBuf {
    Path::new(&std::env::var("CARGO_MANIFEST_DIR").expect("cargo runs the tests")).join("..")
}

/// Product lines of a folder's Rust files, with the file's name.
fn lines(folder: &str) -> Vec<(String, String)> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(crates().join(folder)).expect(folder).flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.ends_with(".rs") {
            continue;
        }
        let text = std::fs::read_to_string(entry.path()).expect("a source file");
        let product = text.split("#[cfg(test)]").next().unwrap_or_default();
        out.extend(product.lines().map(|l| (format!("{folder}/{name}"), l.trim().to_string())));
    }
    out
}

/// Effects of the agent's host and journal, and of the manager's task engine, as they stand in the text.
const AGENT_EFFECTS: [&str; 27] = [
    ".image_write(",
    ".image_commit(",
    ".image_remove(",
    ".store_ensure(",
    ".store_remove(",
    ".disk_ensure(",
    ".disk_grow(",
    ".disk_remove(",
    ".disk_reclaim(",
    ".disk_erase(",
    ".vm_files_remove(",
    ".define(&",
    ".undefine(",
    ".network_ensure(",
    ".network_remove(",
    "host.start(",
    "host.shutdown(",
    "host.reboot(",
    "host.reset(",
    ".force_off(",
    "host.pause(",
    "host.resume(",
    ".hibernate(",
    ".discard_saved(",
    ".change_live(",
    ".export_disk(",
    ".export_remove(",
];

#[test]
fn no_effect_is_made_outside_a_step() {
    let mut naked = Vec::new();
    for (file, line) in lines("agent/src") {
        let effect = AGENT_EFFECTS.iter().any(|e| line.contains(e)) && !line.contains("fn ");
        if effect && !line.contains("Step::") {
            naked.push(format!("{file}: {line}"));
        }
        // Every write of the journal is a step, told apart by what is written.
        if line.contains("slot.update(") || line.contains("journal.put(\"epoch\"") {
            assert!(line.contains("Step::"), "{file}: {line}");
        }
    }
    let lasting = |l: &str| [".commit()", "nodes.call(", "remove_file("].iter().any(|e| l.contains(e));
    let calls = lines("manager/src/task").iter().filter(|(_, l)| lasting(l)).count();
    assert_eq!(calls, 7, "a new commit, call to agents or removal of files: make it between two crash points, then count it here");
    assert!(naked.is_empty(), "effects without a crash point (put them into virga_crash::step):\n{}", naked.join("\n"));
}

#[test]
fn every_registered_step_stands_in_the_product() {
    let all: Vec<(String, String)> = ["agent/src", "manager/src/task", "manager/src/http"].into_iter().flat_map(lines).collect();
    for s in Step::ALL {
        let whole = |l: &str, word: &str| l.match_indices(word).any(|(at, _)| !l[at + word.len()..].starts_with(|c: char| c.is_alphanumeric()));
        let used = all.iter().any(|(_, l)| whole(l, &format!("Step::{s:?}")) || whole(l, &format!("Point::{s:?}")));
        assert!(used, "{s:?} is registered and never reached: remove it or use it");
    }
}
