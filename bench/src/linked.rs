//! From a request to a running linked VM on real QEMU, beside the same by hand: `qemu-img create -b`, `virsh define`,
//! `virsh start` on the same libvirt, of the same hardware.

use crate::figure::{Figure, Goal};
use anyhow::{Context, Result, ensure};
use std::time::Instant;
use virga_tests::cloud::{Cloud, wait_until};

/// Single VMs on each side, in turn; the medians count.
const ROUNDS: usize = 7;
/// VMs at once.
const MANY: usize = 50;
/// Memory of a guest.
const MEMORY: &str = "64MiB";

/// Measures.
///
/// # Errors
/// When a VM does not come up.
pub fn figures() -> Result<Vec<Figure>> {
    let cloud = Cloud::with_tiny_image("linked");
    // The first VM brings the image to the host; that is not what is measured.
    cloud.virga_ok(&["vm", "create", "pattern", "--image", "tiny", "--memory", MEMORY, "--start"]);
    let hand = Hand::new(&cloud)?;
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for n in 0..ROUNDS {
        ours.push(timed(|| create(&cloud, &format!("one-{n}")))?);
        cloud.virga_ok(&["vm", "delete", &format!("one-{n}"), "--force", "--yes"]);
        peer.push(timed(|| hand.create(&cloud, &format!("hand-{n}")))?);
        hand.remove(&cloud, &format!("hand-{n}"));
    }
    let single = figure("linked-vm", "one by hand: qemu-img create -b, virsh define, virsh start", median(&mut ours), median(&mut peer), 1.05);
    let many = timed(|| create_many(&cloud))?;
    for n in 0..MANY {
        cloud.virga_ok(&["vm", "delete", &format!("many-{n}"), "--force", "--yes", "--no-wait"]);
    }
    wait_until("all to be gone", || {
        let left = cloud.lab.virsh_ok(&["list", "--all", "--name"]);
        if left.contains("many-") { Err(left) } else { Ok(()) }
    });
    let names: Vec<String> = (0..MANY).map(|n| format!("loop-{n}")).collect();
    let by_hand = timed(|| names.iter().try_for_each(|n| hand.create(&cloud, n)))?;
    let fifty = figure("linked-vm-50-at-once", "fifty by hand, one after the other", many, by_hand, 0.6);
    Ok(vec![single, fifty])
}

fn figure(name: &'static str, peer_is: &'static str, ours: f64, peer: f64, goal: f64) -> Figure {
    Figure { name, unit: "seconds", peer_is, ours, peer, goal, side: Goal::AtMost }
}

fn timed(f: impl FnOnce() -> Result<()>) -> Result<f64> {
    let begun = Instant::now();
    f()?;
    Ok(begun.elapsed().as_secs_f64())
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// One VM by the API, until its task has ended: it runs then.
fn create(cloud: &Cloud, name: &str) -> Result<()> {
    let body = format!(r#"{{"name":"{name}","memory_bytes":{},"disks":[{{"image":"tiny"}}],"start":true}}"#, 64 << 20);
    let task = post(cloud, &body)?;
    let path = format!("https://127.0.0.1:8443/v1/tasks/{task}?wait=60");
    let answer = curl(cloud, &[&path])?;
    ensure!(answer["state"] == "succeeded", "{answer}");
    Ok(())
}

fn create_many(cloud: &Cloud) -> Result<()> {
    let bodies: Vec<String> =
        (0..MANY).map(|n| format!(r#"{{"name":"many-{n}","memory_bytes":{},"disks":[{{"image":"tiny"}}],"start":true}}"#, 64 << 20)).collect();
    for b in &bodies {
        post(cloud, b)?;
    }
    wait_until("all to run", || {
        let running = cloud.lab.virsh_ok(&["list", "--state-running", "--name"]);
        let n = running.lines().filter(|l| l.starts_with("many-")).count();
        if n == MANY { Ok(()) } else { Err(format!("{n} run")) }
    });
    Ok(())
}

fn post(cloud: &Cloud, body: &str) -> Result<String> {
    let answer = curl(cloud, &["-H", "content-type: application/json", "-d", body, "https://127.0.0.1:8443/v1/vms"])?;
    Ok(answer["task"]["id"].as_str().with_context(|| answer.to_string())?.to_string())
}

fn curl(cloud: &Cloud, args: &[&str]) -> Result<serde_json::Value> {
    let token = std::fs::read_to_string(cloud.path("token"))?;
    let header = cloud.path("header");
    std::fs::write(&header, format!("authorization: Bearer {}\n", token.trim()))?;
    let o = cloud.lab.inside("curl").args(["-s", "--cacert", &cloud.path("manager/ca.pem"), "-H", &format!("@{header}")]).args(args).output()?;
    serde_json::from_slice(&o.stdout).with_context(|| String::from_utf8_lossy(&o.stderr).into_owned())
}

/// The same by hand: the definition of a VM of ours with another name, identity and disk.
struct Hand {
    xml: String,
    base: String,
    overlay: String,
    name: &'static str,
}

impl Hand {
    fn new(cloud: &Cloud) -> Result<Hand> {
        let xml = cloud.lab.virsh_ok(&["dumpxml", "--inactive", "pattern"]);
        let overlay = xml.split("<source file='").nth(1).and_then(|r| r.split('\'').next()).context("the pattern's disk")?.to_string();
        let o = cloud.lab.inside("qemu-img").args(["info", "-U", "--output=json", &overlay]).output()?;
        let info: serde_json::Value = serde_json::from_slice(&o.stdout)?;
        let base = info["full-backing-filename"].as_str().context("the pattern's disk is not linked to its image")?.to_string();
        Ok(Hand { xml, base, overlay, name: "pattern" })
    }

    fn create(&self, cloud: &Cloud, name: &str) -> Result<()> {
        let disk = cloud.path(&format!("{name}.qcow2"));
        let o = cloud.lab.inside("qemu-img").args(["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", &self.base, &disk]).output()?;
        ensure!(o.status.success(), "{}", String::from_utf8_lossy(&o.stderr));
        let file = cloud.path(&format!("{name}.xml"));
        std::fs::write(&file, self.definition(name, &disk))?;
        cloud.lab.virsh_ok(&["define", &file]);
        cloud.lab.virsh_ok(&["start", name]);
        Ok(())
    }

    /// Without identity and without what belongs to the pattern alone: libvirt chooses.
    fn definition(&self, name: &str, disk: &str) -> String {
        let drop_line = |l: &&str| {
            !["<uuid>", "<mac ", "<graphics", "</graphics", "<listen", "<metadata", "</metadata", "virga:"].iter().any(|w| l.trim_start().starts_with(w))
        };
        let kept: Vec<&str> = self.xml.lines().filter(drop_line).collect();
        kept.join("\n").replace(&format!("<name>{}</name>", self.name), &format!("<name>{name}</name>")).replace(&self.overlay, disk)
    }

    fn remove(&self, cloud: &Cloud, name: &str) {
        cloud.lab.virsh_ok(&["destroy", name]);
        cloud.lab.virsh_ok(&["undefine", name]);
        let _ = std::fs::remove_file(cloud.path(&format!("{name}.qcow2")));
    }
}
