//! `cargo xtask bench portal`: how quick the portal is with many VMs behind it, in a real browser before a real manager.
//!
//! `web/e2e/bench.ts` does what a person does in the list of VMs and writes down what it took; this prepares what it needs
//! and holds the figures against their limits. The programs are release builds; Chromium is the machine's own.

use crate::bench_fleet::{Folder, Measure, Site, Size, build, say};
use crate::tree;
use anyhow::{Context, Result};
use serde_json::Value;
use std::process::{Command, Stdio};
use std::time::Instant;

/// The figures that the browser takes: name, unit, limit.
const FIGURES: [(&str, &str, f64); 7] = [
    ("sign-in", "ms from the answer to the click until the overview shows its figures", 3000.0),
    ("list-first-rows", "ms from the address of the list to its first rows", 2000.0),
    ("list-interaction-p95", "ms from a key, click or right click in the list to the next picture", 100.0),
    ("list-scroll-p95", "ms between two pictures while the list is scrolled", 50.0),
    ("list-sorted", "ms from the click on a column to the rows in the new order, the median", 500.0),
    ("list-found", "ms from a part of a name to the rows that have it, the median", 500.0),
    ("rows-in-document", "rows of the list that the browser holds", 120.0),
];

/// Measures everything.
///
/// # Errors
/// A program does not come up, the browser cannot be started, or a step takes too long.
pub fn run(size: Size) -> Result<Vec<Measure>> {
    let script = tree::root().join("scripts/web.sh");
    let built = Command::new(&script).arg("build").stdin(Stdio::null()).stdout(std::io::stderr()).status().context("scripts/web.sh")?;
    anyhow::ensure!(built.success(), "the portal cannot be built");
    let bin = build()?;
    let folder = Folder(std::env::temp_dir().join(format!("virga-bench-portal-{}", std::process::id())));
    let begun = Instant::now();
    let site = Site::new(&bin, folder.0.clone())?;
    say(begun, &format!("{} hosts with {} VMs are prepared", size.hosts, size.vms));
    site.prepare(size)?;
    site.token()?;
    let manager = site.manager()?;
    let mut fleet = site.fleet(&[])?;
    say(begun, "all hosts report everything");
    site.wait_fleet(&mut fleet, "the reports", |s| s["reporting"] == size.hosts && s["reported_vms"] == s["vms"] && s["vms"] == size.vms)?;
    say(begun, "a browser looks");
    let figures = site.path("figures.json");
    let mut browser = Command::new(&script);
    browser.args(["run", "npm", "--prefix", "web", "run", "--silent", "bench"]).current_dir(tree::root()).stdin(Stdio::null()).stdout(std::io::stderr());
    browser.env("VIRGA_URL", format!("https://{}", site.api)).env("VIRGA_DEMO_STATE", &folder.0).env("VIRGA_FLEET", bin.join("virga-fleet"));
    browser.env("VIRGA_BENCH_VMS", size.vms.to_string()).env("VIRGA_BENCH_OUT", &figures);
    let status = browser.status().context("npm")?;
    anyhow::ensure!(status.success(), "the browser's part failed; the output above says why");
    drop((fleet, manager));
    let found: Value = serde_json::from_str(&std::fs::read_to_string(&figures)?)?;
    let number = |name: &str| found[name].as_f64().with_context(|| format!("the browser took no {name}"));
    FIGURES.iter().map(|(name, unit, limit)| Ok(Measure::most(name, unit, number(name)?, *limit))).collect()
}
