//! Snapshots on real QEMU, while a guest writes: nothing that a disk acknowledged is lost, every snapshot is what it was,
//! and no file is left that no row knows; with manager and agent killed in between.

use std::collections::BTreeSet;
use std::path::PathBuf;
use virga_tests::cloud::{Cloud, wait_until};
use virga_tests::guest::{Writer, blocks};

const VM: &str = "db";

/// A VM with an empty second disk; answers with the id of that disk.
fn create(cloud: &Cloud) -> String {
    cloud.virga_ok(&["vm", "create", VM, "--image", "tiny", "--disk", "64MiB", "--memory", "128MiB", "--network", "nat", "--start"]);
    wait_for_agent(cloud);
    cloud.vm(VM)["spec"]["disks"][1]["id"].as_str().expect("an id").into()
}

fn wait_for_agent(cloud: &Cloud) {
    cloud.wait_vm(VM, "its guest agent to answer", |v| v["observed"]["guest"]["agent"] == "connected");
}

fn folder(cloud: &Cloud) -> PathBuf {
    let id = cloud.vm(VM)["id"].as_str().expect("an id").to_string();
    cloud.lab.folder("agent/store/vms").join(id)
}

/// The layers of the VM, and the one that is written.
fn layers(cloud: &Cloud) -> (Vec<String>, Option<String>) {
    let layers = cloud.vm(VM)["spec"]["layers"].clone();
    let text = |v: &serde_json::Value| v.as_str().map(String::from);
    (layers["list"].as_array().into_iter().flatten().filter_map(|l| text(&l["id"])).collect(), text(&layers["top"]))
}

fn file(disk: &str, layer: Option<&str>) -> String {
    layer.map_or_else(|| format!("{disk}.qcow2"), |l| format!("{disk}.{l}.qcow2"))
}

/// Files on the disk are those of the rows, and each is clean.
fn check_files(cloud: &Cloud) {
    let vm = cloud.vm(VM);
    let (layers, _) = layers(cloud);
    let disks = vm["spec"]["disks"].as_array().expect("disks").iter().map(|d| d["id"].as_str().expect("an id").to_string());
    let wanted: BTreeSet<String> =
        disks.flat_map(|d| std::iter::once(file(&d, None)).chain(layers.iter().map(|l| file(&d, Some(l)))).collect::<Vec<_>>()).collect();
    let folder = folder(cloud);
    wait_until("files and rows to be the same", || {
        let there = std::fs::read_dir(&folder).map_err(|e| e.to_string())?;
        let there: BTreeSet<String> = there.flatten().map(|f| f.file_name().to_string_lossy().into_owned()).filter(|n| n.ends_with(".qcow2")).collect();
        if there == wanted { Ok(()) } else { Err(format!("files {there:?}, rows {wanted:?}")) }
    });
    for f in &wanted {
        let o = std::process::Command::new("qemu-img").args(["check", "-q", "-U", "-f", "qcow2"]).arg(folder.join(f)).output().expect("qemu-img");
        // A leaked cluster is what a killed program leaves; anything else is damage.
        assert!(o.status.success() || o.status.code() == Some(3), "{f}: {}{}", String::from_utf8_lossy(&o.stdout), String::from_utf8_lossy(&o.stderr));
    }
}

/// What the disk holds at present, read from outside.
fn held(cloud: &Cloud, disk: &str) -> u64 {
    let (_, top) = layers(cloud);
    blocks(&folder(cloud).join(file(disk, top.as_deref())))
}

/// Takes a snapshot while the guest writes; how many blocks it holds at least, and at most.
fn take(cloud: &Cloud, writer: &Writer, name: &str) -> (u64, u64) {
    let before = writer.acknowledged(cloud);
    cloud.virga_ok(&["vm", "snapshot", "create", VM, name]);
    // One more may be on its way.
    (before, writer.acknowledged(cloud) + 1)
}

/// Goes back to each snapshot and looks: it holds what it held.
fn check_snapshots(cloud: &Cloud, disk: &str, names: &[(String, (u64, u64))]) {
    for (name, (least, most)) in names {
        cloud.virga_ok(&["vm", "snapshot", "revert", VM, name, "--yes"]);
        let n = held(cloud, disk);
        assert!((*least..=*most).contains(&n), "snapshot {name} holds {n} blocks, not {least} to {most}");
    }
}

#[test]
fn a_chain_is_taken_shortened_and_gone_back_in_while_the_guest_writes() {
    let mut cloud = Cloud::with_tiny_image("snapshot");
    let disk = create(&cloud);
    let mut snapshots = Vec::new();
    let last = {
        let writer = Writer::start(&cloud, VM, "/dev/vdb", 0);
        writer.wait_more(&cloud, 3);
        for n in 1..=10 {
            let name = format!("s{n}");
            let held = take(&cloud, &writer, &name);
            snapshots.push((name, held));
        }
        writer.wait_more(&cloud, 3);
        check_files(&cloud);
        // In the middle of the chain, at its beginning, and at its end: each another kind of merge, while it is read.
        for n in [5, 1, 10] {
            cloud.virga_ok(&["vm", "snapshot", "delete", VM, &format!("s{n}"), "--yes"]);
            snapshots.retain(|(name, _)| *name != format!("s{n}"));
            writer.wait_more(&cloud, 2);
        }
        check_files(&cloud);
        writer.end(&cloud)
    };
    assert_eq!(layers(&cloud).0.len(), 7);
    cloud.virga_ok(&["vm", "shutdown", VM, "--force", "--yes"]);
    assert_eq!(held(&cloud, &disk), last, "nothing that was acknowledged is lost");

    // The same offline.
    cloud.virga_ok(&["vm", "snapshot", "create", VM, "off"]);
    snapshots.push(("off".into(), (last, last)));
    cloud.virga_ok(&["vm", "snapshot", "delete", VM, "s7", "--yes"]);
    snapshots.retain(|(name, _)| name != "s7");
    assert_eq!(held(&cloud, &disk), last);
    check_files(&cloud);
    check_snapshots(&cloud, &disk, &snapshots);

    // On from the second snapshot: another branch, on which the guest writes; the others stay.
    cloud.virga_ok(&["vm", "snapshot", "revert", VM, "s2", "--start", "--yes"]);
    wait_for_agent(&cloud);
    let begun = snapshots.iter().find(|(n, _)| n == "s2").expect("s2").1.0;
    let from = virga_tests::guest::last_block(&cloud, VM, "/dev/vdb", begun);
    let writer = Writer::start(&cloud, VM, "/dev/vdb", from);
    writer.wait_more(&cloud, 5);
    let last = kill_all_while_shortening(&mut cloud, writer);
    cloud.virga_ok(&["vm", "shutdown", VM, "--force", "--yes"]);
    assert_eq!(held(&cloud, &disk), last);
    snapshots.retain(|(name, _)| !["s3", "s4", "s6"].contains(&name.as_str()));
    check_files(&cloud);
    check_snapshots(&cloud, &disk, &snapshots);
    for (name, _) in &snapshots {
        cloud.virga_ok(&["vm", "snapshot", "delete", VM, name, "--yes"]);
    }
    assert_eq!(layers(&cloud), (vec![], None), "one file for each disk, as in the beginning");
    check_files(&cloud);
    cloud.virga_ok(&["vm", "delete", VM, "--yes"]);
    let left = std::fs::read_dir(cloud.path("agent/store/vms")).map(Iterator::count).unwrap_or(0);
    assert_eq!(left, 0, "no file is left");
}

/// Snapshots come and go while agent and manager are killed in turn, each a bit later than the one before. Answers with the
/// last block that was acknowledged.
///
/// Not libvirtd: one that is killed in the very moment of the freeze forgets what QEMU has done (docs/guide/snapshots.md).
fn kill_all_while_shortening(cloud: &mut Cloud, writer: Writer) -> u64 {
    let victims = ["virga-agent", "virga-manager"];
    for (n, old) in ["s3", "s4", "s6"].iter().enumerate() {
        for (k, victim) in victims.iter().cycle().skip(n).take(3).enumerate() {
            let new = format!("k{n}{k}");
            cloud.virga_ok(&["vm", "snapshot", "create", VM, &new, "--no-wait"]);
            kill(cloud, victim, k, &writer);
            wait_for_snapshot(cloud, &new, true);
            let gone = if k == 0 { (*old).to_string() } else { format!("k{n}{}", k - 1) };
            cloud.virga_ok(&["vm", "snapshot", "delete", VM, &gone, "--yes", "--no-wait"]);
            kill(cloud, victim, n, &writer);
            wait_for_snapshot(cloud, &gone, false);
        }
        let gone = format!("k{n}2");
        cloud.virga_ok(&["vm", "snapshot", "delete", VM, &gone, "--yes"]);
        writer.wait_more(cloud, 1);
    }
    writer.end(cloud)
}

/// Kills a program when the guest has been asked so many times, and brings it back.
fn kill(cloud: &mut Cloud, victim: &str, later: usize, writer: &Writer) {
    for _ in 0..later {
        assert!(writer.acknowledged(cloud) > 0);
    }
    cloud.kill(victim);
    cloud.heal();
}

/// Waits until a snapshot is ready, or gone.
fn wait_for_snapshot(cloud: &Cloud, name: &str, there: bool) {
    wait_until(&format!("snapshot {name} to be {}", if there { "ready" } else { "gone" }), || {
        // What was killed a moment ago may still be coming up.
        let ask = |words: &[&str]| -> Result<serde_json::Value, String> {
            let o = cloud.virga(words);
            serde_json::from_slice(&o.stdout).map_err(|e| format!("{e}: {}", String::from_utf8_lossy(&o.stderr)))
        };
        let list = ask(&["vm", "snapshot", "list", VM, "-o", "json"])?;
        let state = list.as_array().into_iter().flatten().find(|s| s["name"] == name).map(|s| s["state"].clone());
        let vm = ask(&["vm", "show", VM, "-o", "json"])?;
        let free = vm["task"].is_null();
        match (state, there) {
            (Some(s), true) if s == "ready" && free => Ok(()),
            (None, false) if free => Ok(()),
            (s, _) => Err(format!("{s:?}; {}\n{}", vm["observed"], cloud.log("virga-agent"))),
        }
    });
}
