//! Clones on real libvirt, beside the same by hand: a linked clone made and registered against `qemu-img create -b` and
//! `virsh define`, a full clone against `cp` and `qemu-img convert`, and a hundred linked clones of one request against a loop.

use crate::figure::{Figure, Goal};
use crate::hand::Hand;
use crate::linked::{ask, finish, median, seconds, timed};
use anyhow::{Context, Result, ensure};
use virga_tests::cloud::{Cloud, wait_until};

/// Times on each side, in turn; the medians count.
const ROUNDS: usize = 7;
/// Clones of one request.
const MANY: usize = 100;
/// MiB of data in the disk that is copied, and how often.
const DATA_MIB: usize = 512;
const COPIES: usize = 5;
/// MiB that are written at once.
const PIECE_MIB: usize = 64;

/// Measures.
///
/// # Errors
/// When a clone is not made.
pub fn figures() -> Result<Vec<Figure>> {
    let cloud = Cloud::start("storage");
    let blank = cloud.path("blank.qcow2");
    let made = cloud.lab.inside("qemu-img").args(["create", "-q", "-f", "qcow2", &blank, "1G"]).status()?;
    ensure!(made.success(), "qemu-img makes no image");
    cloud.virga_ok(&["image", "import", "blank", &blank]);
    cloud.virga_ok(&["vm", "create", "golden", "--image", "blank", "--memory", "64MiB"]);
    cloud.virga_ok(&["template", "create", "golden", "--vm", "golden", "--convert", "--yes"]);
    let mut out = linked(&cloud)?;
    out.extend(full(&cloud)?);
    out.extend(crate::stored::upload(&cloud)?);
    out.extend(crate::stored::snapshots(&cloud)?);
    Ok(out)
}

fn figure(name: &'static str, peer_is: &'static str, ours: f64, peer: f64, goal: f64) -> Figure {
    Figure { name, unit: "seconds", peer_is, ours, peer, goal, side: Goal::AtMost }
}

/// Asks for clones and waits until they are there.
fn deploy(cloud: &Cloud, template: &str, body: &str) -> Result<()> {
    let url = format!("https://127.0.0.1:8443/v1/templates/{template}/deploy");
    finish(cloud, ask(cloud, &[vec!["-H", "content-type: application/json", "-d", body, &url]])?)
}

fn linked(cloud: &Cloud) -> Result<Vec<Figure>> {
    deploy(cloud, "golden", r#"{"name":"pattern","kind":"linked"}"#)?;
    let hand = Hand::new(cloud)?;
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for n in 0..ROUNDS {
        let name = format!("one-{n}");
        ours.push(timed(|| deploy(cloud, "golden", &format!(r#"{{"name":"{name}","kind":"linked"}}"#)))?);
        cloud.virga_ok(&["vm", "delete", &name, "--yes"]);
        peer.push(timed(|| hand.define(cloud, "hand"))?);
        Hand::remove(cloud, "hand");
    }
    let many = timed(|| deploy(cloud, "golden", &format!(r#"{{"name":"many-{{nnn}}","count":{MANY},"kind":"linked"}}"#)))?;
    let defined = cloud.lab.virsh_ok(&["list", "--all", "--name"]);
    ensure!(defined.lines().filter(|l| l.starts_with("many-")).count() == MANY, "not all are there: {defined}");
    cloud.virga_ok(&["vm", "delete", "--filter", "name ~ many-", "--yes"]);
    wait_until("all to be gone", || {
        let left = cloud.lab.virsh_ok(&["list", "--all", "--name"]);
        if left.contains("many-") { Err(left) } else { Ok(()) }
    });
    let names: Vec<String> = (0..MANY).map(|n| format!("loop-{n}")).collect();
    let by_hand = timed(|| names.iter().try_for_each(|n| hand.define(cloud, n)))?;
    names.iter().for_each(|n| Hand::remove(cloud, n));
    Ok(vec![
        figure("linked-clone", "one by hand: qemu-img create -b, virsh define", median(&mut ours), median(&mut peer), 1.05),
        figure("linked-clones-100", "a hundred by hand, one after the other", many, by_hand, 0.6),
    ])
}

fn full(cloud: &Cloud) -> Result<Vec<Figure>> {
    cloud.virga_ok(&["vm", "create", "data", "--disk", "1GiB", "--memory", "64MiB"]);
    let vm = cloud.vm("data");
    let (id, disk) = (vm["id"].as_str().context("id")?, vm["spec"]["disks"][0]["id"].as_str().context("disk")?);
    let source = cloud.path(&format!("agent/store/vms/{id}/{disk}.qcow2"));
    let mut fill = cloud.lab.inside("qemu-io");
    fill.args(["-f", "qcow2"]);
    for at in (0..DATA_MIB).step_by(PIECE_MIB) {
        fill.args(["-c", &format!("write -P {} {at}M {PIECE_MIB}M", 1 + at / PIECE_MIB)]);
    }
    ensure!(fill.arg(&source).output()?.status.success(), "qemu-io does not fill the disk");
    cloud.virga_ok(&["template", "create", "data", "--vm", "data", "--convert", "--yes"]);
    let copy = cloud.path("copy.qcow2");
    let (mut ours, mut cp, mut convert) = (Vec::new(), Vec::new(), Vec::new());
    for n in 0..COPIES {
        let name = format!("full-{n}");
        // All three end when what they made is on the disk.
        ours.push(timed(|| deploy(cloud, "data", &format!(r#"{{"name":"{name}","kind":"full"}}"#)))?);
        cloud.virga_ok(&["vm", "delete", &name, "--yes"]);
        cp.push(seconds(|| cloud.sh(&format!("cp --reflink=auto {source} {copy} && sync {copy}"))).1);
        let _ = std::fs::remove_file(&copy);
        convert.push(seconds(|| cloud.sh(&format!("qemu-img convert -W -m 16 -f qcow2 -O qcow2 {source} {copy} && sync {copy}"))).1);
        let _ = std::fs::remove_file(&copy);
    }
    let ours = median(&mut ours);
    Ok(vec![
        figure("full-clone-cp", "cp --reflink=auto, and sync", ours, median(&mut cp), 1.1),
        figure("full-clone-convert", "qemu-img convert -W -m 16, and sync", ours, median(&mut convert), 1.1),
    ])
}
