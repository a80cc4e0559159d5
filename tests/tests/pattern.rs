//! The pattern writer through everything that is done to disks, with a program killed at each step: agent, manager, and
//! libvirtd where it merges, grows and goes back. Nothing that was acknowledged is lost, and every file is clean.

use std::path::PathBuf;
use virga_tests::cloud::{Cloud, wait_until};
use virga_tests::guest::{Writer, blocks, last_block};

const VM: &str = "writer";
/// Layers of the chain in whose middle a snapshot is deleted.
const CHAIN: usize = 10;

fn wait_for_agent(cloud: &Cloud) {
    cloud.wait_vm(VM, "its guest agent to answer", |v| v["observed"]["guest"]["agent"] == "connected");
}

fn free(cloud: &Cloud) {
    wait_until("no task on the VM", || {
        // What was killed a moment ago may still be coming up.
        let o = cloud.virga(&["vm", "show", VM, "-o", "json"]);
        let vm: serde_json::Value = serde_json::from_slice(&o.stdout).map_err(|e| e.to_string())?;
        if vm["task"].is_null() && vm["observed"]["settled"] == true { Ok(()) } else { Err(format!("{}\n{}", vm["observed"], cloud.log("virga-agent"))) }
    });
}

fn folder(cloud: &Cloud) -> PathBuf {
    let id = cloud.vm(VM)["id"].as_str().expect("an id").to_string();
    cloud.lab.folder("agent/store/vms").join(id)
}

/// The file that the second disk writes now.
fn top(cloud: &Cloud) -> PathBuf {
    let vm = cloud.vm(VM);
    let disk = vm["spec"]["disks"][1]["id"].as_str().expect("an id").to_string();
    let layer = vm["spec"]["layers"]["top"].as_str().map(|l| format!(".{l}")).unwrap_or_default();
    folder(cloud).join(format!("{disk}{layer}.qcow2"))
}

/// Every file is clean; what a killed program leaves (a leaked cluster) is no damage.
fn check(cloud: &Cloud) {
    for f in std::fs::read_dir(folder(cloud)).expect("the VM's folder").flatten().map(|f| f.path()).filter(|p| p.extension().is_some_and(|e| e == "qcow2")) {
        let o = std::process::Command::new("qemu-img").args(["check", "-q", "-U", "-f", "qcow2"]).arg(&f).output().expect("qemu-img");
        assert!(matches!(o.status.code(), Some(0 | 3)), "{}: {}{}", f.display(), String::from_utf8_lossy(&o.stdout), String::from_utf8_lossy(&o.stderr));
    }
}

/// Asks for something and kills a program while it is done.
fn disturbed(cloud: &mut Cloud, writer: &Writer, victim: &str, words: &[&str]) {
    let line: Vec<&str> = words.iter().copied().chain(["--no-wait"]).collect();
    cloud.virga_ok(&line);
    if victim == "libvirtd" {
        cloud.lab.signal_if_up("KILL");
    } else {
        cloud.kill(victim);
    }
    cloud.heal();
    free(cloud);
    writer.wait_more(cloud, 1);
}

#[test]
fn what_was_acknowledged_survives_growing_merging_and_every_kill() {
    let mut cloud = Cloud::with_tiny_image("pattern");
    cloud.virga_ok(&["vm", "create", VM, "--image", "tiny", "--disk", "64MiB", "--memory", "128MiB", "--network", "nat", "--start"]);
    wait_for_agent(&cloud);
    let writer = Writer::start(&cloud, VM, "/dev/vdb", 0);
    writer.wait_more(&cloud, 2);
    for n in 0..CHAIN {
        cloud.virga_ok(&["vm", "snapshot", "create", VM, &format!("s{n}")]);
    }
    // In the middle of the chain, each time another program dies while the layers are merged.
    for (n, victim) in [(5, "libvirtd"), (4, "virga-agent"), (6, "virga-manager")] {
        disturbed(&mut cloud, &writer, victim, &["vm", "snapshot", "delete", VM, &format!("s{n}"), "--yes"]);
    }
    // While the disk grows.
    let sizes = [("libvirtd", "96MiB"), ("virga-agent", "112MiB"), ("virga-manager", "128MiB")];
    for (victim, size) in sizes {
        disturbed(&mut cloud, &writer, victim, &["vm", "disk", "update", VM, "1", "--size", size]);
    }
    check(&cloud);
    let held = writer.wait_more(&cloud, 1);
    cloud.virga_ok(&["vm", "snapshot", "create", VM, "kept"]);
    let last = writer.end(&cloud);
    assert!(last >= held);
    cloud.virga_ok(&["vm", "shutdown", VM, "--force", "--yes"]);
    assert_eq!(blocks(&top(&cloud)), last, "nothing that was acknowledged is lost");

    // Back, with a program killed each time; the right state is there, and the guest reads and writes it.
    for victim in ["libvirtd", "virga-agent", "virga-manager"] {
        cloud.virga_ok(&["vm", "snapshot", "revert", VM, "kept", "--yes", "--no-wait"]);
        if victim == "libvirtd" {
            cloud.lab.signal_if_up("KILL");
        } else {
            cloud.kill(victim);
        }
        cloud.heal();
        free(&cloud);
        let there = blocks(&top(&cloud));
        assert!((held..=last).contains(&there), "{there} blocks after a kill of {victim}, not {held} to {last}");
    }
    cloud.virga_ok(&["vm", "start", VM]);
    wait_for_agent(&cloud);
    let from = last_block(&cloud, VM, "/dev/vdb", held);
    let writer = Writer::start(&cloud, VM, "/dev/vdb", from);
    writer.wait_more(&cloud, 2);
    for name in ["s1", "kept"] {
        cloud.virga_ok(&["vm", "snapshot", "delete", VM, name, "--yes"]);
    }
    let last = writer.end(&cloud);
    cloud.virga_ok(&["vm", "shutdown", VM, "--force", "--yes"]);
    assert_eq!(blocks(&top(&cloud)), last);
    check(&cloud);
    cloud.virga_ok(&["vm", "delete", VM, "--yes"]);
}
