//! Bytes and snapshots on real libvirt, beside the same by hand: an upload against writing the same bytes to the disk, and a
//! live snapshot with its deletion against the bare calls of libvirt.

use crate::figure::{Figure, Goal};
use crate::linked::{ask, finish, median, seconds, timed};
use anyhow::{Context, Result, ensure};
use virga_tests::cloud::Cloud;

/// MiB of an upload, and how often.
const UPLOAD_MIB: usize = 512;
const UPLOADS: usize = 5;
/// Snapshots on each side, in turn.
const SNAPSHOTS: usize = 9;

/// Bytes a second of an upload, all that follows it included, beside a plain write that ends on the disk.
///
/// # Errors
/// When one is not taken.
pub fn upload(cloud: &Cloud) -> Result<Vec<Figure>> {
    let (from, to) = (cloud.path("upload.raw"), cloud.path("written.raw"));
    // No two blocks are alike, so that nothing can leave any out.
    ensure!(cloud.lab.inside("sh").args(["-c", &format!("head -c {} /dev/urandom > {from}", UPLOAD_MIB << 20)]).status()?.success(), "no file");
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for n in 0..UPLOADS {
        let name = format!("upload-{n}");
        ours.push(UPLOAD_MIB as f64 / seconds(|| cloud.virga_ok(&["image", "import", &name, &from, "--format", "raw"])).1);
        cloud.virga_ok(&["image", "delete", &name, "--yes"]);
        peer.push(UPLOAD_MIB as f64 / seconds(|| cloud.sh(&format!("dd if={from} of={to} bs=4M conv=fsync 2>/dev/null"))).1);
        std::fs::remove_file(&to)?;
    }
    let (ours, peer) = (median(&mut ours), median(&mut peer));
    Ok(vec![Figure { name: "upload", unit: "MiB a second", peer_is: "dd to the same disk, with fsync", ours, peer, goal: 0.8, side: Goal::AtLeast }])
}

/// One task that a request makes, to its end.
fn done(cloud: &Cloud, request: &[&str]) -> Result<()> {
    finish(cloud, ask(cloud, &[request.to_vec()])?)
}

/// A snapshot of a running guest and its deletion.
///
/// # Errors
/// When one is not taken.
pub fn snapshots(cloud: &Cloud) -> Result<Vec<Figure>> {
    cloud.virga_ok(&["vm", "create", "live", "--disk", "1GiB", "--memory", "64MiB", "--start"]);
    let url = "https://127.0.0.1:8443/v1/vms/live/snapshots";
    let (mut taken, mut gone, mut peer_taken, mut peer_gone) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let target = cloud.lab.virsh_ok(&["domblklist", "live"]);
    let (dev, base) =
        target.lines().filter_map(|l| l.split_whitespace().next().zip(l.split_whitespace().nth(1))).find(|(_, f)| f.ends_with(".qcow2")).context("a disk")?;
    let top = cloud.path("hand-top.qcow2");
    for n in 0..SNAPSHOTS {
        let body = format!(r#"{{"name":"s{n}"}}"#);
        taken.push(timed(|| done(cloud, &["-H", "content-type: application/json", "-d", &body, url]))?);
        let one = format!("{url}/s{n}");
        gone.push(timed(|| done(cloud, &["-X", "DELETE", &one]))?);
        let spec = format!("{dev},file={top}");
        let flags = ["--no-metadata", "--disk-only", "--atomic"];
        peer_taken.push(seconds(|| cloud.lab.virsh_ok(&[&["snapshot-create-as", "live", "hand", "--diskspec", &spec], &flags[..]].concat())).1);
        let down = ["blockcommit", "live", dev, "--base", base, "--top", &top, "--active", "--pivot", "--wait"];
        peer_gone.push(seconds(|| cloud.lab.virsh_ok(&down)).1);
        std::fs::remove_file(&top)?;
    }
    let figure = |name, peer_is, ours: &mut [f64], peer: &mut [f64]| Figure {
        name,
        unit: "seconds",
        peer_is,
        ours: median(ours),
        peer: median(peer),
        goal: 1.1,
        side: Goal::AtMost,
    };
    let out = vec![
        figure("snapshot-live", "virsh snapshot-create-as --disk-only", &mut taken, &mut peer_taken),
        figure("snapshot-live-delete", "virsh blockcommit --active --pivot", &mut gone, &mut peer_gone),
    ];
    cloud.virga_ok(&["vm", "delete", "live", "--force", "--yes"]);
    Ok(out)
}
