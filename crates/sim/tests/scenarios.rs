//! Every folder of `scenarios/` is a test: it is played, and its log compared with `log.expect`.
//!
//! A log that is not there is written, and then read by whoever made the scenario; with `CI=true` it must be there.
//! `VIRGA_UPDATE=1` writes all logs anew. No invariant may be broken in any of them.

use libtest_mimic::{Arguments, Failed, Trial};
use std::path::{Path, PathBuf};
use virga_sim::world::scenario::Scenario;

fn main() {
    let arguments = Arguments::from_args();
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").unwrap_or_else(|_| ".".into())).join("scenarios");
    let mut folders: Vec<PathBuf> =
        std::fs::read_dir(&root).map(|d| d.filter_map(|e| e.ok().map(|e| e.path())).filter(|p| p.is_dir()).collect()).unwrap_or_default();
    folders.sort();
    assert!(folders.len() >= 30, "only {} scenarios were found in {}", folders.len(), root.display());
    let mut trials: Vec<Trial> = folders
        .into_iter()
        .map(|folder| {
            let name = folder.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            Trial::test(name, move || play(&folder))
        })
        .collect();
    let commands = root.clone();
    trials.push(Trial::test("every_task_kind_is_in_a_log", move || every_kind(&commands)));
    libtest_mimic::run(&arguments, trials).exit();
}

fn read(path: &Path) -> Result<String, Failed> {
    std::fs::read_to_string(path).map_err(|e| Failed::from(format!("{}: {e}", path.display())))
}

fn play(folder: &Path) -> Result<(), Failed> {
    let scenario = Scenario::parse(&read(&folder.join("start"))?, &read(&folder.join("commands"))?).map_err(Failed::from)?;
    let first = scenario.run().map_err(|e| Failed::from(e.message))?;
    let expect = folder.join("log.expect");
    let update = std::env::var("VIRGA_UPDATE").is_ok_and(|v| v == "1");
    if update || !expect.exists() {
        if std::env::var("CI").is_ok_and(|v| v == "true") {
            return Err(Failed::from(format!("{} is not there; play the scenario, read its log and add it", expect.display())));
        }
        std::fs::write(&expect, &first.log).map_err(|e| Failed::from(e.to_string()))?;
    }
    let wanted = read(&expect)?;
    if let Some((n, (is, was))) = first.log.lines().zip(wanted.lines()).enumerate().find(|(_, (is, was))| is != was) {
        return Err(Failed::from(format!("line {} of the log is\n  {is}\nand was\n  {was}\nIf that is right: VIRGA_UPDATE=1", n + 1)));
    }
    if first.log.lines().count() != wanted.lines().count() {
        return Err(Failed::from("the log has become longer or shorter; if that is right: VIRGA_UPDATE=1"));
    }
    match first.violations.first() {
        Some(v) => Err(Failed::from(v.clone())),
        None => Ok(()),
    }
}

/// Scenarios together show every kind of task.
fn every_kind(root: &Path) -> Result<(), Failed> {
    let mut all = String::new();
    for entry in std::fs::read_dir(root).map_err(|e| Failed::from(e.to_string()))?.flatten() {
        // A log that is being written by its own test is looked at the next time.
        all.push_str(&std::fs::read_to_string(entry.path().join("log.expect")).unwrap_or_default());
    }
    let missing: Vec<String> = virga_model::task::TaskKind::ALL.iter().filter(|k| !all.contains(&format!("Task {k} of "))).map(ToString::to_string).collect();
    if missing.is_empty() { Ok(()) } else { Err(Failed::from(format!("no log shows {}", missing.join(", ")))) }
}
