//! From a request to a running linked VM on real QEMU, beside the same by hand: `qemu-img create -b`, `virsh define`,
//! `virsh start` on the same libvirt, of the same hardware.

use crate::figure::{Figure, Goal};
use crate::hand::Hand;
use anyhow::{Context, Result, ensure};
use std::time::Instant;
use virga_tests::cloud::{Cloud, PATIENCE, wait_until};

/// Single VMs on each side, in turn; the medians count.
const ROUNDS: usize = 7;
/// VMs at once.
const MANY: usize = 50;
/// Memory of a guest.
const MEMORY: &str = "64MiB";

/// How long the agent is watched at rest.
const REST_SECONDS: u32 = 30;
/// Cores that all guests together take when they idle.
const IDLE_CORES: f64 = 0.5;
/// Clock ticks of `/proc` in a second.
const TICKS_A_SECOND: f64 = 100.0;
/// MiB that the agent may take with fifty VMs.
const AGENT_MIB: f64 = 64.0;
/// Percent of a core that it may take while they idle.
const AGENT_PERCENT: f64 = 5.0;

/// Measures.
///
/// # Errors
/// When a VM does not come up.
pub fn figures() -> Result<Vec<Figure>> {
    let cloud = Cloud::start("linked");
    // Nothing boots from an empty image: fifty emulated guests that boot would leave no processor for what is measured.
    let blank = cloud.path("blank.qcow2");
    let made = cloud.lab.inside("qemu-img").args(["create", "-q", "-f", "qcow2", &blank, "64M"]).status()?;
    ensure!(made.success(), "qemu-img makes no image");
    cloud.virga_ok(&["image", "import", "blank", &blank]);
    // The first VM brings the image to the host; that is not what is measured.
    cloud.virga_ok(&["vm", "create", "pattern", "--image", "blank", "--memory", MEMORY, "--start"]);
    let hand = Hand::new(&cloud)?;
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for n in 0..ROUNDS {
        ours.push(timed(|| create(&cloud, &format!("one-{n}")))?);
        cloud.virga_ok(&["vm", "delete", &format!("one-{n}"), "--force", "--yes"]);
        peer.push(timed(|| hand.run(&cloud, &format!("hand-{n}")))?);
        cloud.lab.virsh_ok(&["destroy", &format!("hand-{n}")]);
        Hand::remove(&cloud, &format!("hand-{n}"));
    }
    let single = figure("linked-vm", "seconds", "one by hand: qemu-img create -b, virsh define, virsh start", median(&mut ours), median(&mut peer), 1.05);
    let many = timed(|| create_many(&cloud))?;
    let running = cloud.lab.virsh_ok(&["list", "--state-running", "--name"]);
    ensure!(running.lines().filter(|l| l.starts_with("many-")).count() == MANY, "not all run: {running}");
    let (memory, cpu) = agent_at_rest(&cloud)?;
    for n in 0..MANY {
        cloud.virga_ok(&["vm", "delete", &format!("many-{n}"), "--force", "--yes", "--no-wait"]);
    }
    wait_until("all to be gone", || {
        let left = cloud.lab.virsh_ok(&["list", "--all", "--name"]);
        if left.contains("many-") { Err(left) } else { Ok(()) }
    });
    let names: Vec<String> = (0..MANY).map(|n| format!("loop-{n}")).collect();
    let by_hand = timed(|| names.iter().try_for_each(|n| hand.run(&cloud, n)))?;
    let fifty = figure("linked-vm-50-at-once", "seconds", "fifty by hand, one after the other", many, by_hand, 0.6);
    Ok(vec![
        single,
        fifty,
        figure("agent-memory-50-vms", "MiB", "the bar of 64 MiB", memory, AGENT_MIB, 1.0),
        figure("agent-cpu-50-vms", "% of a core", "the bar of 5 %", cpu, AGENT_PERCENT, 1.0),
    ])
}

fn figure(name: &'static str, unit: &'static str, peer_is: &'static str, ours: f64, peer: f64, goal: f64) -> Figure {
    Figure { name, unit, peer_is, ours, peer, goal, side: Goal::AtMost }
}

/// Resident memory of the agent in MiB, and how much of a core it takes, while all guests idle.
fn agent_at_rest(cloud: &Cloud) -> Result<(f64, f64)> {
    // Guests boot on after their tasks have ended; what is measured is the rest after that.
    let guests = || cloud.sh("cat /proc/[0-9]*/stat 2>/dev/null | awk '/qemu-system/ { n += $14 + $15 } END { print n + 0 }'").parse::<f64>();
    let mut before = guests()?;
    let mut looked = Instant::now();
    wait_until("the guests to idle", || {
        cloud.sh("sleep 3");
        let now = guests().map_err(|e| e.to_string())?;
        let cores = (now - before) / TICKS_A_SECOND / looked.elapsed().as_secs_f64();
        (before, looked) = (now, Instant::now());
        if cores < IDLE_CORES { Ok(()) } else { Err(format!("they take {cores:.2} cores")) }
    });
    let pid = cloud.sh("pidof virga-agent");
    let ticks = || cloud.sh(&format!("cut -d' ' -f14,15 /proc/{pid}/stat")).split(' ').filter_map(|n| n.parse::<f64>().ok()).sum::<f64>();
    let (begun, before) = (Instant::now(), ticks());
    cloud.sh(&format!("sleep {REST_SECONDS}"));
    let spent = (ticks() - before) / TICKS_A_SECOND;
    let cpu = 100.0 * spent / begun.elapsed().as_secs_f64();
    let kb: f64 = cloud.sh(&format!("sed -n 's/^VmRSS\\W*\\([0-9]*\\) kB/\\1/p' /proc/{pid}/status")).parse()?;
    Ok((kb / 1024.0, cpu))
}

pub(crate) fn timed(f: impl FnOnce() -> Result<()>) -> Result<f64> {
    let (done, seconds) = seconds(f);
    done.map(|()| seconds)
}

/// What `f` answers, and the seconds that it took.
pub(crate) fn seconds<T>(f: impl FnOnce() -> T) -> (T, f64) {
    let begun = Instant::now();
    let answer = f();
    (answer, begun.elapsed().as_secs_f64())
}

pub(crate) fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn body(name: &str) -> String {
    format!(r#"{{"name":"{name}","memory_bytes":{},"disks":[{{"image":"blank"}}],"start":true}}"#, 64 << 20)
}

/// One VM by the API, until its task has ended: it runs then.
fn create(cloud: &Cloud, name: &str) -> Result<()> {
    let tasks = post(cloud, &[body(name)])?;
    finish(cloud, tasks)
}

/// All of them, until the last task has ended: all run then.
fn create_many(cloud: &Cloud) -> Result<()> {
    let bodies: Vec<String> = (0..MANY).map(|n| body(&format!("many-{n}"))).collect();
    let tasks = post(cloud, &bodies)?;
    finish(cloud, tasks)
}

/// Asks for VMs, one request after the other on one connection; their tasks.
fn post(cloud: &Cloud, bodies: &[String]) -> Result<Vec<String>> {
    let requests: Vec<Vec<&str>> = bodies.iter().map(|b| vec!["-H", "content-type: application/json", "-d", b, "https://127.0.0.1:8443/v1/vms"]).collect();
    ask(cloud, &requests)
}

/// Asks for something, one request after the other; the tasks that were made.
pub(crate) fn ask(cloud: &Cloud, requests: &[Vec<&str>]) -> Result<Vec<String>> {
    curl(cloud, requests)?.iter().map(|a| Ok(a["task"]["id"].as_str().with_context(|| a.to_string())?.to_string())).collect()
}

/// Waits until all tasks have succeeded.
pub(crate) fn finish(cloud: &Cloud, mut tasks: Vec<String>) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    while !tasks.is_empty() {
        let paths: Vec<String> = tasks.iter().map(|t| format!("https://127.0.0.1:8443/v1/tasks/{t}?wait=60")).collect();
        let requests: Vec<Vec<&str>> = paths.iter().map(|p| vec![p.as_str()]).collect();
        tasks.clear();
        for a in curl(cloud, &requests)? {
            match a["state"].as_str() {
                Some("succeeded") => {}
                Some("queued" | "running") => tasks.push(a["id"].as_str().context("id")?.to_string()),
                _ => anyhow::bail!("{a}\n--- agent\n{}", cloud.log("virga-agent")),
            }
        }
        ensure!(Instant::now() < end, "{} tasks have not ended\n--- agent\n{}", tasks.len(), cloud.log("virga-agent"));
    }
    Ok(())
}

/// Requests over one connection, one after the other.
fn curl(cloud: &Cloud, requests: &[Vec<&str>]) -> Result<Vec<serde_json::Value>> {
    let token = std::fs::read_to_string(cloud.path("token"))?;
    let (header, ca) = (cloud.path("header"), cloud.path("manager/ca.pem"));
    std::fs::write(&header, format!("authorization: Bearer {}\n", token.trim()))?;
    let header = format!("@{header}");
    let mut c = cloud.lab.inside("curl");
    c.arg("-s");
    for (n, r) in requests.iter().enumerate() {
        if n > 0 {
            c.arg("--next");
        }
        c.args(["-s", "--cacert", &ca, "-H", &header]).args(r);
    }
    let o = c.output()?;
    let answers: serde_json::Result<Vec<_>> = serde_json::Deserializer::from_slice(&o.stdout).into_iter().collect();
    let answers = answers.with_context(|| String::from_utf8_lossy(&o.stderr).into_owned())?;
    ensure!(answers.len() == requests.len(), "{} answers to {} requests: {}", answers.len(), requests.len(), String::from_utf8_lossy(&o.stdout));
    Ok(answers)
}
