//! `cargo xtask bench fleet`: one manager and a thousand simulated hosts on this machine, over the wire. It measures joins,
//! reports, memory and processor time at rest, answers, power operations and a restart after a kill.
//!
//! The programs are release builds in processes of their own. Everything lies in one temporary folder, which is removed,
//! and every process ends with the bench, however it ends.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::tree;

/// Longest that any one step may take.
const STEP_MAX: Duration = Duration::from_secs(300);
/// Rest before what happens at rest is measured: after the first flood of reports.
const REST: Duration = Duration::from_secs(20);
/// How long processor time at rest is measured.
const MEASURE: Duration = Duration::from_secs(30);
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// VMs that are made through the API.
const API_VMS: usize = 300;
/// Requests of each kind, and power operations at once.
const SAMPLES: &str = "300";
const OPERATIONS: &str = "100";
/// Clock ticks in a second, as /proc counts them on Linux.
const TICKS: f64 = 100.0;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Hosts.
    pub hosts: usize,
    /// VMs.
    pub vms: usize,
}

/// One number and its limit.
#[derive(Clone, Debug)]
pub struct Measure {
    name: &'static str,
    unit: &'static str,
    ours: f64,
    limit: f64,
    /// Whether the limit is the least and not the most.
    least: bool,
}

impl Measure {
    pub(crate) fn most(name: &'static str, unit: &'static str, ours: f64, limit: f64) -> Measure {
        Measure { name, unit, ours, limit, least: false }
    }

    pub(crate) fn least(name: &'static str, unit: &'static str, ours: f64, limit: f64) -> Measure {
        Measure { name, unit, ours, limit, least: true }
    }

    /// Whether the limit is kept.
    #[must_use]
    pub fn met(&self) -> bool {
        if self.least { self.ours >= self.limit } else { self.ours <= self.limit }
    }

    /// As an object; `peer` is the limit.
    #[must_use]
    pub fn json(&self) -> Value {
        let bound = if self.least { "least" } else { "most" };
        json!({"name": self.name, "unit": self.unit, "ours": self.ours, "peer": self.limit, "ratio": self.ours / self.limit, "goal": bound, "met": self.met()})
    }

    /// As a line.
    #[must_use]
    pub fn line(&self) -> String {
        let (bound, met) = (if self.least { "least" } else { "most" }, if self.met() { "yes" } else { "NO" });
        format!("{:<28} {:>12.2}  {bound:>5} {:>10.2}  {met:<4} {}", self.name, self.ours, self.limit, self.unit)
    }
}

/// A process that ends with the bench.
pub(crate) struct Program(Child);

impl Program {
    /// Asks it to end, and waits.
    fn stop(mut self) -> Result<()> {
        let asked = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status()?;
        anyhow::ensure!(asked.success(), "a program ended before it was told to");
        let begun = Instant::now();
        while self.0.try_wait()?.is_none() {
            anyhow::ensure!(begun.elapsed() < STEP_MAX, "a program does not end");
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Seconds of processor time so far.
    fn cpu(&self) -> Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id()))?;
        cpu_seconds(&stat).context("/proc/PID/stat")
    }

    /// Bytes of memory in use.
    fn memory(&self) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).context("VmRSS")?;
        Ok(line.trim().trim_end_matches("kB").trim().parse::<f64>()? * 1024.0)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// User and system time of a line of /proc/PID/stat, in seconds.
fn cpu_seconds(stat: &str) -> Option<f64> {
    // The name may hold blanks and brackets, hence the cut at the last one.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |i: usize| fields.get(i)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / TICKS)
}

/// An installation in a folder.
pub(crate) struct Site {
    bin: PathBuf,
    folder: PathBuf,
    pub(crate) api: String,
    node: String,
    fleet: String,
}

impl Site {
    pub(crate) fn new(bin: &Path, folder: PathBuf) -> Result<Site> {
        std::fs::create_dir_all(&folder)?;
        let ports = (0..3).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<std::io::Result<Vec<_>>>()?;
        let address = |n: usize| ports[n].local_addr().map(|a| a.to_string());
        Ok(Site { bin: bin.into(), folder, api: address(0)?, node: address(1)?, fleet: address(2)? })
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    fn command(&self, program: &str, args: &[&str]) -> Result<Command> {
        let log = std::fs::File::options().create(true).append(true).open(self.folder.join(format!("{program}.log")))?;
        let mut c = Command::new(self.bin.join(program));
        c.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Ok(c)
    }

    fn done(&self, program: &str, args: &[&str]) -> Result<()> {
        let status = self.command(program, args)?.status()?;
        if !status.success() {
            bail!("{program} {} failed:\n{}", args.join(" "), self.log(program));
        }
        Ok(())
    }

    fn log(&self, program: &str) -> String {
        let text = std::fs::read_to_string(self.folder.join(format!("{program}.log"))).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }

    /// Writes the rows of hosts and VMs, and what lies on the simulated machines.
    pub(crate) fn prepare(&self, size: Size) -> Result<()> {
        let (hosts, vms) = (size.hosts.to_string(), size.vms.to_string());
        let (manager, fleet) = (self.path("manager"), self.path("fleet"));
        let places = ["prepare", "--manager-state", &manager, "--state-dir", &fleet, "--node-address", &self.node, "--listen", &self.fleet];
        self.done("virga-fleet", &[&places[..], &["--hosts", &hosts, "--vms", &vms]].concat())
    }

    /// Starts a manager and waits until it listens.
    pub(crate) fn manager(&self) -> Result<Program> {
        let args = ["run", "--state-dir", &self.path("manager"), "--listen", &self.api, "--node-listen", &self.node];
        let mut manager = Program(self.command("virga-manager", &args)?.env("VIRGA_LOG", "warn").spawn()?);
        let begun = Instant::now();
        while std::net::TcpStream::connect(&self.api).is_err() {
            if manager.0.try_wait()?.is_some() || begun.elapsed() > STEP_MAX {
                bail!("the manager does not come up:\n{}", self.log("virga-manager"));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(manager)
    }

    pub(crate) fn token(&self) -> Result<()> {
        self.done("virga-manager", &["token", "--state-dir", &self.path("manager"), "--out", &self.path("token")])
    }

    pub(crate) fn fleet(&self, more: &[&str]) -> Result<Program> {
        let state = self.path("fleet");
        let mut args = vec!["run", "--state-dir", &state, "--listen", &self.fleet];
        args.extend(more);
        Ok(Program(self.command("virga-fleet", &args)?.spawn()?))
    }

    /// Looks at the fleet until it is as wanted; the seconds that took.
    pub(crate) fn wait_fleet(&self, fleet: &mut Program, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<f64> {
        let begun = Instant::now();
        let mut seen = Value::Null;
        while begun.elapsed() < STEP_MAX {
            let state = self.path("fleet");
            let out = Command::new(self.bin.join("virga-fleet")).args(["status", "--state-dir", &state]).stderr(Stdio::null()).output()?;
            seen = serde_json::from_slice(&out.stdout).unwrap_or(seen);
            if wanted(&seen) {
                return Ok(begun.elapsed().as_secs_f64());
            }
            if fleet.0.try_wait()?.is_some() {
                break;
            }
            std::thread::sleep(LOOK);
        }
        bail!("waited too long for {what}; the fleet is {seen}:\n{}\n{}", self.log("virga-fleet"), self.log("virga-manager"))
    }

    fn api_args(&self) -> Vec<String> {
        let url = format!("https://{}", self.api);
        ["--manager".into(), url, "--ca".into(), self.path("manager/ca.pem"), "--token-file".into(), self.path("token")].to_vec()
    }

    fn probe(&self, vms: usize, samples: &str, operations: &str) -> Result<Value> {
        let mut c = Command::new(self.bin.join("virga-fleet"));
        c.arg("probe").args(self.api_args()).args(["--vms", &vms.to_string(), "--samples", samples, "--operations", operations]);
        let out = c.stdin(Stdio::null()).output()?;
        if !out.status.success() {
            bail!("the manager cannot be asked: {}", String::from_utf8_lossy(&out.stderr));
        }
        Ok(serde_json::from_slice(&out.stdout)?)
    }
}

/// Removes the folder of the bench.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn say(begun: Instant, text: &str) {
    eprintln!("bench: [{:>4} s] {text}", begun.elapsed().as_secs());
}

pub(crate) fn build() -> Result<PathBuf> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(tree::root()).args(["build", "--release", "--bin", "virga-manager", "--bin", "virga-fleet"]);
    anyhow::ensure!(cargo.status().context("cargo")?.success(), "the programs cannot be built");
    // This program is one of the same build.
    let own = std::env::current_exe()?;
    own.parent().map(Path::to_path_buf).context("the folder of the programs")
}

/// Measures everything.
///
/// # Errors
/// A program does not come up, or a step takes too long.
pub fn run(size: Size) -> Result<Vec<Measure>> {
    let bin = build()?;
    let folder = Folder(std::env::temp_dir().join(format!("virga-bench-fleet-{}", std::process::id())));
    let begun = Instant::now();
    let mut out = joins(&bin, &folder.0, size, begun)?;
    out.extend(scale(&bin, &folder.0, size, begun)?);
    Ok(out)
}

/// Real joins with real tokens, and VMs through the API.
fn joins(bin: &Path, folder: &Path, size: Size, begun: Instant) -> Result<Vec<Measure>> {
    let site = Site::new(bin, folder.join("joins"))?;
    let manager = site.manager()?;
    site.token()?;
    say(begun, &format!("{} hosts join", size.hosts));
    let (hosts, vms) = (size.hosts.to_string(), API_VMS.to_string());
    let api = site.api_args();
    let mut args: Vec<&str> = api.iter().map(String::as_str).collect();
    args.extend(["--hosts", &hosts, "--seed-vms", &vms]);
    let mut fleet = site.fleet(&args)?;
    let joined = site.wait_fleet(&mut fleet, "the joins", |s| s["joined"] == size.hosts)?;
    let reporting = joined + site.wait_fleet(&mut fleet, "the first reports", |s| s["reporting"] == size.hosts)?;
    say(begun, &format!("{API_VMS} VMs are made through the API"));
    site.wait_fleet(&mut fleet, "the first VM", |s| s["seeded"][0].as_u64() > Some(0))?;
    let making = site.wait_fleet(&mut fleet, "the VMs", |s| s["seeded"][0] == API_VMS && s["vms"] == API_VMS)?;
    fleet.stop()?;
    manager.stop()?;
    Ok(vec![
        Measure::most("hosts-join", "seconds until every host has its certificate", joined, 120.0),
        Measure::most("hosts-report", "seconds until every host has reported", reporting, 150.0),
        Measure::least("vms-made", "VMs a second through POST /v1/vms until they are on their hosts", API_VMS as f64 / making, 20.0),
    ])
}

/// Many VMs, prepared, and everything that is measured with them.
fn scale(bin: &Path, folder: &Path, size: Size, begun: Instant) -> Result<Vec<Measure>> {
    let site = Site::new(bin, folder.join("scale"))?;
    say(begun, &format!("{} hosts with {} VMs are prepared", size.hosts, size.vms));
    let at = Instant::now();
    site.prepare(size)?;
    let prepared = at.elapsed().as_secs_f64();
    site.token()?;
    let mut manager = site.manager()?;
    let mut fleet = site.fleet(&[])?;
    say(begun, "all hosts report everything");
    let reported = site.wait_fleet(&mut fleet, "the reports", |s| s["reporting"] == size.hosts && s["reported_vms"] == s["vms"] && s["vms"] == size.vms)?;
    say(begun, "at rest");
    std::thread::sleep(REST);
    let (manager_cpu, fleet_cpu, at) = (manager.cpu()?, fleet.cpu()?, Instant::now());
    std::thread::sleep(MEASURE);
    let share = |before: f64, after: f64| 100.0 * (after - before) / at.elapsed().as_secs_f64();
    let (manager_cpu, fleet_cpu) = (share(manager_cpu, manager.cpu()?), share(fleet_cpu, fleet.cpu()?));
    let (manager_memory, fleet_memory) = (manager.memory()?, fleet.memory()?);
    say(begun, "questions and power operations");
    let found = site.probe(size.vms, SAMPLES, OPERATIONS)?;
    let number = |path: &str| found.pointer(path).and_then(Value::as_f64).with_context(|| format!("the answer holds no {path}"));
    say(begun, "the manager is killed and started again");
    drop(manager);
    let at = Instant::now();
    manager = site.manager()?;
    let again = site.probe(size.vms, "1", "0")?;
    let restart = at.elapsed().as_secs_f64();
    anyhow::ensure!(again["vms"] == size.vms, "the first answer after the restart is wrong: {again}");
    drop((fleet, manager));
    Ok(vec![
        Measure::most("vms-prepare", "seconds to write the rows of all hosts and VMs", prepared, 300.0),
        Measure::most("vms-reported", "seconds until every VM was in a report that was taken", reported, 120.0),
        Measure::most("manager-cpu-at-rest", "percent of one core", manager_cpu, 25.0),
        Measure::most("manager-memory", "KB for each VM, all included", manager_memory / 1000.0 / size.vms as f64, 10.0),
        Measure::most("fleet-cpu-at-rest", "percent of one core", fleet_cpu, 100.0),
        Measure::most("fleet-memory", "MB", fleet_memory / 1e6, 1500.0),
        Measure::most("page-of-100-p50", "ms", number("/page/p50_ms")?, 50.0),
        Measure::most("page-of-100-p99", "ms", number("/page/p99_ms")?, 250.0),
        Measure::most("one-vm-p50", "ms", number("/one/p50_ms")?, 10.0),
        Measure::most("one-vm-p99", "ms", number("/one/p99_ms")?, 100.0),
        Measure::most("power-operations", "seconds for 100 at once, to the end of the last task", number("/operations_s")?, 30.0),
        Measure::most("power-operations-failed", "of 100", number("/failed")?, 0.0),
        Measure::most("restart", "seconds from kill -9 to the first right answer", restart, 5.0),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_bounds_in_their_own_direction() {
        assert!(Measure::most("x", "s", 1.0, 2.0).met() && !Measure::most("x", "s", 3.0, 2.0).met());
        assert!(Measure::least("x", "s", 3.0, 2.0).met() && !Measure::least("x", "s", 1.0, 2.0).met());
        let object = Measure::most("x", "s", 1.0, 2.0).json();
        for key in ["name", "ours", "peer", "ratio", "goal", "met"] {
            assert!(object.get(key).is_some(), "{key}");
        }
    }

    #[test]
    fn processor_time_is_read_behind_any_name() {
        let stat = "42 (a) b) S 1 42 42 0 -1 4194304 1 0 0 0 250 50 0 0 20 0 3 0 1 1 1";
        assert_eq!(cpu_seconds(stat), Some(3.0));
        assert_eq!(cpu_seconds("nonsense"), None);
    }
}
