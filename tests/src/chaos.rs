//! Chaos: manager, agent and libvirtd are killed at random while real VMs start, stop and are edited; then everything is
//! left in peace and compared with what was asked for.
//!
//! The order of kills and operations comes from a seed; how they fall together with what the programs are doing is the
//! machine's. Every operation is an ordinary command of `virga`. The witness reads `/proc`, not our own programs: a QEMU
//! process that ends is a loss unless somebody had asked for it.

use crate::cloud::{Cloud, wait_for};
use crate::witness::{Death, Witness};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

/// Memory of each guest: the tiny guest lives in it, and twenty of them in any machine.
const MEMORY: &str = "128MiB";
/// Names of snapshots that each VM has at most.
const SNAPSHOTS: u64 = 3;
/// What disks are attached as.
const DISK_FORMS: [&[&str]; 5] =
    [&[], &["--format", "raw"], &["--provisioning", "thick_lazy"], &["--provisioning", "thick_eager"], &["--mode", "independent_persistent"]];
/// Longest time in which everything must have come to rest after the last kill.
const REST_MAX: Duration = Duration::from_secs(600);

/// A small generator of random numbers (SplitMix64), so that a seed gives the same run everywhere.
pub struct Dice(u64);

impl Dice {
    /// From a seed.
    #[must_use]
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n.max(1)
    }
}

/// What is wanted of a run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How long operations and kills go on.
    pub time: Duration,
    /// Seed of their order.
    pub seed: u64,
    /// VMs.
    pub vms: usize,
}

/// What a run found.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Programs killed, by name.
    pub kills: BTreeMap<&'static str, u32>,
    /// Operations asked for, by verb.
    pub operations: BTreeMap<&'static str, u32>,
    /// Of these, those that were accepted with a task.
    pub accepted: u32,
    /// QEMU processes that were seen.
    pub guests: usize,
    /// Of these, those that ended before the start that they belong to had: libvirt ends a guest whose start it did not see
    /// through, and who goes back from a failed start switches off.
    pub starts_broken_off: u32,
    /// Everything that is not as it must be.
    pub losses: Vec<String>,
}

/// Runs chaos in a lab of its own.
///
/// # Panics
/// When the lab itself does not come up.
#[must_use]
pub fn run(plan: Plan) -> Outcome {
    let mut cloud = Cloud::with_tiny_image("chaos");
    let names: Vec<String> = (0..plan.vms).map(|n| format!("c{n}")).collect();
    for n in &names {
        cloud.virga_ok(&["vm", "create", n, "--image", "tiny", "--memory", MEMORY, "--memory-max", "384MiB", "--cpus-max", "2", "--network", "nat"]);
    }
    let witness = Witness::start(&cloud);
    let mut run = Run { dice: Dice::new(plan.seed), out: Outcome::default(), tasks: Vec::new(), witness };
    let end = Instant::now() + plan.time;
    let mut said = Instant::now();
    while Instant::now() < end {
        if run.dice.below(100) < 12 {
            run.kill(&mut cloud);
        } else {
            let name = &names[usize::try_from(run.dice.below(names.len() as u64)).unwrap_or(0)];
            run.operate(&cloud, name);
        }
        if said.elapsed() > Duration::from_secs(60) {
            said = Instant::now();
            eprintln!("chaos: {} s left, kills {:?}, {} operations accepted", end.saturating_duration_since(said).as_secs(), run.out.kills, run.out.accepted);
        }
        wait_a_moment(run.dice.below(400));
    }
    run.settle(&mut cloud, &names);
    run.out
}

struct Run {
    dice: Dice,
    out: Outcome,
    /// Ids of the accepted tasks, with what was asked.
    tasks: Vec<(String, String)>,
    witness: Witness,
}

/// A pause between two acts, part of the seed's plan.
fn wait_a_moment(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

impl Run {
    fn kill(&mut self, cloud: &mut Cloud) {
        let what = ["virga-manager", "virga-agent", "libvirtd"][usize::try_from(self.dice.below(3)).unwrap_or(0)];
        *self.out.kills.entry(what).or_default() += 1;
        if what == "libvirtd" {
            // The lab's keeper starts it again, as systemd would.
            cloud.lab.signal_if_up("KILL");
            return;
        }
        if !cloud.kill_or_find_dead(what) {
            self.loss(format!("{what} had ended by itself:\n{}", cloud.log(what)));
        }
        // Down for a while, sometimes while the others are killed too.
        wait_a_moment(self.dice.below(1500));
        if what == "virga-manager" { cloud.spawn_manager() } else { cloud.start_agent_under(&[]) }
    }

    fn operate(&mut self, cloud: &Cloud, name: &str) {
        let cpus = (1 + self.dice.below(2)).to_string();
        let memory = format!("{}MiB", 128 * (1 + self.dice.below(3)));
        let note = format!("edit {}", self.dice.below(1_000_000));
        let snapshot = format!("s{}", self.dice.below(SNAPSHOTS));
        let (disk, size) = ((1 + self.dice.below(2)).to_string(), format!("{}MiB", 16 + 4 * self.dice.below(4)));
        let form = DISK_FORMS[usize::try_from(self.dice.below(DISK_FORMS.len() as u64)).unwrap_or(0)];
        let (verb, args): (&str, Vec<&str>) = match self.dice.below(34) {
            0..=6 => ("start", vec!["vm", "start", name]),
            7..=9 => ("force off", vec!["vm", "shutdown", name, "--force", "--yes"]),
            10 => ("shutdown", vec!["vm", "shutdown", name, "--timeout", "20s"]),
            11 => ("pause", vec!["vm", "pause", name]),
            12 => ("resume", vec!["vm", "resume", name]),
            13 => ("reset", vec!["vm", "reset", name, "--yes"]),
            14 => ("hibernate", vec!["vm", "hibernate", name]),
            15 => ("edit cpus", vec!["vm", "update", name, "--cpus", &cpus]),
            16 => ("edit memory", vec!["vm", "update", name, "--memory", &memory]),
            17 => ("edit text", vec!["vm", "update", name, "--description", &note]),
            18 | 19 => ("snapshot", vec!["vm", "snapshot", "create", name, &snapshot]),
            20 | 21 => ("delete snapshot", vec!["vm", "snapshot", "delete", name, &snapshot, "--yes"]),
            22 => ("go back", vec!["vm", "snapshot", "revert", name, &snapshot, "--start", "--yes"]),
            23..=26 => ("attach disk", [&["vm", "disk", "attach", name, "--size", "16MiB"], form].concat()),
            27 | 28 => ("grow disk", vec!["vm", "disk", "update", name, &disk, "--size", &size]),
            29 | 30 => ("remove disk", vec!["vm", "disk", "detach", name, &disk, "--yes"]),
            31 => ("wipe disk", vec!["vm", "disk", "detach", name, &disk, "--erase", "secure", "--yes"]),
            32 => ("keep disk", vec!["vm", "disk", "detach", name, &disk, "--keep", "--yes"]),
            33 => ("reclaim space", vec!["vm", "disk", "reclaim", name, "1"]),
            _ => ("reboot", vec!["vm", "reboot", name]),
        };
        *self.out.operations.entry(verb).or_default() += 1;
        // Whether or not the answer comes back, the order may have been taken.
        if matches!(verb, "force off" | "shutdown" | "hibernate" | "reboot" | "go back") {
            self.witness.may_end(name);
        }
        let mut args = args;
        if !matches!(verb, "edit text") {
            args.push("--no-wait");
        }
        let o = cloud.virga(&args);
        if o.status.success() {
            self.out.accepted += 1;
            let text = String::from_utf8_lossy(&o.stdout).into_owned();
            if let Some(id) = text.split_whitespace().rev().find(|w| w.len() == 36) {
                self.tasks.push((id.to_string(), format!("{verb} {name}")));
            }
        }
    }

    /// No more kills: everything must come to rest, and be as the rows say.
    fn settle(&mut self, cloud: &mut Cloud, names: &[String]) {
        cloud.heal();
        let quiet = wait_for(REST_MAX, || {
            let active = cloud.json(&["task", "list", "--filter", "state in (queued, running)", "-o", "json"]);
            if active.as_array().is_some_and(Vec::is_empty) { Ok(()) } else { Err(active.to_string()) }
        });
        if let Err(seen) = quiet {
            self.loss(format!("tasks have not ended: {seen}"));
        }
        let tasks = std::mem::take(&mut self.tasks);
        for (id, what) in &tasks {
            let o = cloud.virga(&["task", "show", id, "-o", "json"]);
            let task: Value = serde_json::from_slice(&o.stdout).unwrap_or_default();
            if !matches!(task["state"].as_str(), Some("succeeded" | "failed" | "cancelled")) {
                self.loss(format!("the accepted task {id} ({what}) is {}", task["state"]));
            }
        }
        for n in names {
            self.compare(cloud, n);
            self.layers_are_there(cloud, n);
            self.files_are_rows(cloud, n);
        }
        self.out.guests = self.witness.seen();
        self.out.losses.extend(self.witness.twice());
        for death in self.witness.deaths() {
            if in_a_start(cloud, &death) { self.out.starts_broken_off += 1 } else { self.loss(death.to_string()) }
        }
        self.nothing_left(cloud, names);
        for n in names.iter().filter(|n| self.out.losses.iter().any(|l| l.contains(&format!(" {n} ")))) {
            eprintln!("chaos: what is known of {n}:\n{}", told_by_qemu(cloud, n));
        }
    }

    fn loss(&mut self, text: String) {
        self.out.losses.push(text);
    }

    /// A row, libvirt and the processes tell the same.
    fn compare(&mut self, cloud: &Cloud, name: &str) {
        let agreed = wait_for(REST_MAX, || {
            let vm = cloud.vm(name);
            let state = vm["observed"]["state"].as_str().unwrap_or_default().to_string();
            let domain = cloud.lab.virsh(&["domstate", name]);
            let domain = String::from_utf8_lossy(&domain.stdout).trim().to_string();
            let running = self.witness.processes(name);
            let same = match &*state {
                "running" => domain == "running" && running == 1,
                "paused" => domain == "paused" && running == 1,
                "stopped" | "hibernated" => domain == "shut off" && running == 0,
                _ => false,
            };
            let met = vm["desired"] == vm["observed"]["state"] || vm["observed"]["drift"].is_array() || vm["observed"]["failure"].is_object();
            let told = format!("VM {name}: row {state} (wanted {}), libvirt {domain}, {running} processes: {}", vm["desired"], vm["observed"]);
            if same && met && vm["observed"]["settled"] == true { Ok(()) } else { Err(told) }
        });
        if let Err(seen) = agreed {
            self.loss(seen);
        }
    }

    /// Every file that a definition names is there, with all that it stands on.
    fn layers_are_there(&mut self, cloud: &Cloud, name: &str) {
        let list = cloud.lab.virsh_ok(&["domblklist", name, "--inactive", "--details"]);
        let files: Vec<&str> = list.lines().filter_map(|l| l.split_whitespace().last()).filter(|f| f.ends_with(".qcow2")).collect();
        for file in files {
            let seen = cloud.lab.inside("qemu-img").args(["info", "-U", "--backing-chain", file]).output();
            if !seen.as_ref().is_ok_and(|o| o.status.success()) {
                self.loss(format!("a disk of VM {name} cannot be read: {seen:?}"));
            }
        }
    }

    /// The files of a VM's disks are those of the disks that its row and its snapshots name, each in order inside.
    fn files_are_rows(&mut self, cloud: &Cloud, name: &str) {
        let vm = cloud.vm(name);
        let snapshots = cloud.json(&["vm", "snapshot", "list", name, "-o", "json"]);
        let ids = |list: &Value| -> BTreeSet<String> { list.as_array().into_iter().flatten().filter_map(|d| d["id"].as_str().map(str::to_string)).collect() };
        let own = ids(&vm["spec"]["disks"]);
        let mut known = ids(&vm["spec"]["detached"]);
        known.extend(own.iter().cloned());
        snapshots.as_array().into_iter().flatten().for_each(|s| known.extend(ids(&s["spec"]["disks"])));
        let folder = PathBuf::from(cloud.path("agent/store/vms")).join(vm["id"].as_str().unwrap_or_default());
        let files: Vec<PathBuf> = std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|f| f.path()).collect();
        let disk_of = |f: &Path| f.file_name().and_then(|n| n.to_str()).and_then(|n| n.get(..36)).map(str::to_string);
        let disks: Vec<(&PathBuf, String)> =
            files.iter().filter(|f| f.extension().is_some_and(|e| e == "qcow2" || e == "raw")).filter_map(|f| Some((f, disk_of(f)?))).collect();
        for (f, _) in disks.iter().filter(|(_, d)| !known.contains(d)) {
            self.loss(format!("{} belongs to a disk that no row of VM {name} names", f.display()));
        }
        for d in own.iter().filter(|d| !disks.iter().any(|(_, id)| id == *d)) {
            self.loss(format!("disk {d} of VM {name} has no file"));
        }
        for f in files.iter().filter(|f| f.extension().is_some_and(|e| e == "new" || e == "part")) {
            self.loss(format!("{} was never finished and never removed", f.display()));
        }
        // What a guest holds open is not in order for others to see.
        if vm["observed"]["state"] == "stopped" {
            for (f, _) in disks.iter().filter(|(f, _)| f.extension().is_some_and(|e| e == "qcow2")) {
                let seen = cloud.lab.inside("qemu-img").args(["check", "-q", "-f", "qcow2"]).arg(f).output();
                if !seen.as_ref().is_ok_and(|o| o.status.success()) {
                    self.loss(format!("{} of VM {name} is not in order: {seen:?}", f.display()));
                }
            }
        }
    }

    /// After all VMs are deleted nothing is left of them.
    fn nothing_left(&mut self, cloud: &Cloud, names: &[String]) {
        for n in names {
            self.witness.may_end(n);
            let o = cloud.virga(&["vm", "delete", n, "--force", "--yes"]);
            if !o.status.success() {
                self.loss(format!("VM {n} cannot be deleted: {}", String::from_utf8_lossy(&o.stderr)));
            }
        }
        let domains = cloud.lab.virsh_ok(&["list", "--all", "--name"]);
        if !domains.trim().is_empty() {
            self.loss(format!("domains are left: {domains}"));
        }
        let files = std::fs::read_dir(cloud.path("agent/store/vms")).map(Iterator::count).unwrap_or(0);
        if files > 0 {
            self.loss(format!("{files} files of VMs are left"));
        }
        let host = cloud.json(&["host", "show", "chaos", "-o", "json"]);
        if host["memory_allocated_bytes"] != 0 {
            self.loss(format!("the host still counts {} bytes as allocated", host["memory_allocated_bytes"]));
        }
    }
}

/// The end of a guest's log, without the long command lines.
fn told_by_qemu(cloud: &Cloud, name: &str) -> String {
    let text = std::fs::read_to_string(cloud.lab.path().join(format!("log/qemu/{name}.log"))).unwrap_or_default();
    let lines: Vec<&str> = text.lines().filter(|l| !l.starts_with(['-', '/']) && !l.ends_with('\\')).collect();
    lines[lines.len().saturating_sub(25)..].join("\n")
}

/// Whether a process ended while the task that started its guest had not ended: nobody was told that it runs.
fn in_a_start(cloud: &Cloud, death: &Death) -> bool {
    let filter = format!("object = \"{}\" and kind in (vm_create, vm_start, snapshot_revert, vm_repair)", death.name);
    let tasks = cloud.json(&["task", "list", "--filter", &filter, "-o", "json"]);
    tasks.as_array().into_iter().flatten().any(|t| {
        let (from, to) = (at(&t["created_at"]), at(&t["ended_at"]));
        from.is_some_and(|f| f <= death.since) && to.is_some_and(|t| t >= death.last)
    })
}

/// A time of the API.
fn at(time: &Value) -> Option<SystemTime> {
    let said = Command::new("date").args(["-u", "+%s.%N", "-d", time.as_str()?]).output().ok()?;
    let seconds: f64 = String::from_utf8(said.stdout).ok()?.trim().parse().ok()?;
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs_f64(seconds))
}
