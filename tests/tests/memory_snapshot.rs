//! Snapshots with memory on real QEMU: a guest goes back to where it was and runs on, whatever was killed meanwhile.

use virga_tests::cloud::{Cloud, wait_until};
use virga_tests::guest::sh;

const VM: &str = "counter";

fn wait_for_agent(cloud: &Cloud) {
    cloud.wait_vm(VM, "its guest agent to answer", |v| v["observed"]["guest"]["agent"] == "connected");
}

/// A program that counts in memory only, and a word that lies in memory only.
fn begin(cloud: &Cloud) {
    let line = "mkdir -p /run/count; echo before > /run/word; (i=0; while :; do i=$((i+1)); echo $i > /run/count/n; usleep 20000; done) >/dev/null 2>&1 </dev/null & echo begun";
    wait_until("the counter to begin", || sh(cloud, VM, line));
}

fn count(cloud: &Cloud) -> u64 {
    wait_until("the counter", || sh(cloud, VM, "cat /run/count/n")?.parse().map_err(|e| format!("{e}")))
}

/// Waits until the counter has grown from `from`.
fn goes_on(cloud: &Cloud, from: u64) {
    wait_until("the counter to go on", || match count(cloud) {
        n if n > from => Ok(()),
        n => Err(format!("{n}")),
    });
}

/// The guest is where the snapshot was: its memory holds the word of then. How far it has counted since depends on how long
/// it has run on meanwhile.
fn is_back(cloud: &Cloud, before: u64, what: &str) {
    assert_eq!(wait_until("the word", || sh(cloud, VM, "cat /run/word")), "before", "{what}");
    let now = count(cloud);
    assert!(now >= before, "{what}: at {now}, and the snapshot is of {before} or later");
    goes_on(cloud, now);
}

/// Something else is written into the guest's memory.
fn forget(cloud: &Cloud) {
    wait_until("another word", || sh(cloud, VM, "echo later > /run/word"));
}

fn files(cloud: &Cloud, end: &str) -> Vec<std::path::PathBuf> {
    let id = cloud.vm(VM)["id"].as_str().expect("an id").to_string();
    let folder = cloud.lab.folder("agent/store/vms").join(id);
    let all = std::fs::read_dir(folder).expect("the VM's folder");
    all.flatten().map(|f| f.path()).filter(|p| p.to_string_lossy().ends_with(end)).collect()
}

fn check_disks(cloud: &Cloud) {
    for f in files(cloud, ".qcow2") {
        let o = std::process::Command::new("qemu-img").args(["check", "-q", "-U", "-f", "qcow2"]).arg(&f).output().expect("qemu-img");
        assert!(o.status.success() || o.status.code() == Some(3), "{}: {}", f.display(), String::from_utf8_lossy(&o.stdout));
    }
}

#[test]
fn a_guest_goes_back_to_its_memory_and_runs_on() {
    let mut cloud = Cloud::with_tiny_image("memory");
    cloud.virga_ok(&["vm", "create", VM, "--image", "tiny", "--disk", "64MiB", "--memory", "128MiB", "--network", "nat", "--start"]);
    wait_for_agent(&cloud);
    begin(&cloud);
    goes_on(&cloud, 5);
    let before = count(&cloud);
    cloud.virga_ok(&["vm", "snapshot", "create", VM, "running", "--kind", "memory"]);
    let snapshot = cloud.json(&["vm", "snapshot", "show", VM, "running", "-o", "json"]);
    let (bytes, paused) = (snapshot["memory_bytes"].as_u64().expect("a size"), snapshot["paused_ms"].as_u64());
    println!("stored {} MiB, the guest was held for {paused:?} ms", bytes >> 20);
    assert!(bytes > 1 << 20 && paused.is_some_and(|p| p < 10_000), "{snapshot:#}");
    let after = count(&cloud);
    goes_on(&cloud, after);

    // Something else happens in memory and on the hardware; then back.
    wait_until("another word", || sh(&cloud, VM, "echo later > /run/word; echo later > /dev/vdb; sync"));
    cloud.virga_ok(&["vm", "disk", "attach", VM, "--size", "32MiB"]);
    while count(&cloud) < after + 200 {}
    cloud.virga_ok(&["vm", "snapshot", "revert", VM, "running", "--yes"]);
    let back = count(&cloud);
    assert!((before..after + 200).contains(&back), "{before} to {after}, and back at {back}");
    assert_eq!(wait_until("the word", || sh(&cloud, VM, "cat /run/word")), "before");
    assert_eq!(wait_until("the disk", || sh(&cloud, VM, "dd if=/dev/vdb bs=5 count=1 2>/dev/null | tr -d '\\0'")), "");
    assert_eq!(wait_until("the disks", || sh(&cloud, VM, "ls /sys/block | grep -c ^vd")), "2", "the hardware of that time");
    assert_eq!(cloud.vm(VM)["observed"]["drift"], serde_json::Value::Null);

    // Agent, manager, libvirtd and the guest itself end; the memory is still there.
    let force = ["vm", "shutdown", VM, "--force", "--yes"];
    forget(&cloud);
    cloud.virga_ok(&force);
    for program in ["virga-agent", "virga-manager"] {
        cloud.kill(program);
    }
    cloud.lab.libvirtd_down();
    cloud.lab.libvirtd_up();
    cloud.heal();
    cloud.virga_ok(&["vm", "snapshot", "revert", VM, "running", "--yes"]);
    is_back(&cloud, before, "after restarts of everything");

    // Killed while it is stored, and while it is brought back.
    for (n, program) in ["virga-agent", "virga-manager"].into_iter().enumerate() {
        let name = format!("k{n}");
        cloud.virga_ok(&["vm", "snapshot", "create", VM, &name, "--kind", "memory", "--no-wait"]);
        cloud.kill(program);
        cloud.heal();
        cloud.wait_vm(VM, "to be free", |v| v["task"].is_null());
        assert_eq!(cloud.json(&["vm", "snapshot", "show", VM, &name, "-o", "json"])["state"], "ready");
        goes_on(&cloud, count(&cloud));
        forget(&cloud);
        cloud.virga_ok(&["vm", "snapshot", "revert", VM, "running", "--yes", "--no-wait"]);
        cloud.kill(program);
        cloud.heal();
        cloud.wait_vm(VM, "to be free", |v| v["task"].is_null());
        is_back(&cloud, before, program);
    }
    check_disks(&cloud);
    assert_eq!(files(&cloud, ".memory").len(), 3);
    for name in ["k0", "running", "k1"] {
        cloud.virga_ok(&["vm", "snapshot", "delete", VM, name, "--yes"]);
    }
    assert!(files(&cloud, ".memory").is_empty(), "no memory is left");
    check_disks(&cloud);
    goes_on(&cloud, count(&cloud));
    cloud.virga_ok(&["vm", "delete", VM, "--force", "--yes"]);
    let left = std::fs::read_dir(cloud.path("agent/store/vms")).map(Iterator::count).unwrap_or(0);
    assert_eq!(left, 0, "no file is left");
}
