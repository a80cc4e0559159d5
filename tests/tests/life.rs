//! A VM's whole life on real QEMU, through the command line as a user types it.

use std::io::{Read, Write};
use std::process::Stdio;
use virga_tests::cloud::{Cloud, wait_until};

#[test]
fn a_vm_lives_its_whole_life() {
    let cloud = Cloud::with_tiny_image("life");
    cloud.virga_ok(&[
        "vm",
        "create",
        "demo",
        "--image",
        "tiny",
        "--cpus",
        "1",
        "--cpus-max",
        "2",
        "--memory",
        "128MiB",
        "--memory-max",
        "256MiB",
        "--network",
        "nat",
        "--host-name",
        "demo",
        "--start",
    ]);
    let ip = cloud.virga_ok(&["vm", "wait", "demo", "--for", "ip", "--timeout", "240s"]);
    assert!(ip.trim().parse::<std::net::IpAddr>().is_ok(), "the guest agent reports an address: {ip:?}");
    let vm = cloud.vm("demo");
    assert_eq!(vm["observed"]["state"], "running");
    assert_eq!(vm["observed"]["guest"]["host_name"], "demo", "the NoCloud seed gave the guest its name");
    assert_eq!(vm["observed"]["drift"], serde_json::Value::Null, "nothing drifts by itself");
    assert!(cloud.lab.virsh_ok(&["list", "--name"]).lines().any(|l| l.trim() == "demo"), "virsh shows it under its name");

    serial_console_answers(&cloud);
    screenshot_is_a_picture(&cloud);
    vnc_greets(&cloud);
    live_edits(&cloud);
    power(&cloud);

    cloud.virga_ok(&["vm", "delete", "demo", "--yes", "--force"]);
    assert!(!cloud.virga(&["vm", "show", "demo"]).status.success());
    assert_eq!(cloud.lab.virsh_ok(&["list", "--all", "--name"]).trim(), "", "no domain is left");
    let left = std::fs::read_dir(cloud.path("agent/store/vms")).map(Iterator::count).unwrap_or(0);
    assert_eq!(left, 0, "no file of a VM is left");
}

fn serial_console_answers(cloud: &Cloud) {
    let mut console = cloud.virga_command(&["vm", "console", "demo"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("nsenter");
    let mut input = console.stdin.take().expect("piped");
    let mut output = console.stdout.take().expect("piped");
    let (sender, received) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(n @ 1..) = output.read(&mut buffer) {
            if sender.send(buffer[..n].to_vec()).is_err() {
                break;
            }
        }
    });
    let mut seen = String::new();
    wait_until("the serial console to answer", || {
        // The result is computed by the guest, so an echo alone does not pass.
        input.write_all(b"\necho virga-$((6*7))\n").map_err(|e| e.to_string())?;
        while let Ok(bytes) = received.recv_timeout(std::time::Duration::from_secs(2)) {
            seen.push_str(&String::from_utf8_lossy(&bytes));
        }
        if seen.contains("virga-42") { Ok(()) } else { Err(seen.clone()) }
    });
    drop(input);
    let _ = console.kill();
    let _ = console.wait();
}

fn screenshot_is_a_picture(cloud: &Cloud) {
    let file = cloud.path("screen.png");
    cloud.virga_ok(&["vm", "screenshot", "demo", "-O", &file]);
    let png = std::fs::read(file).expect("the screenshot");
    assert!(png.starts_with(b"\x89PNG\r\n\x1a\n") && png.len() > 100);
}

/// The screen over the WebSocket, through the local proxy for viewers: the server speaks first (RFC 6143, 7.1.1).
fn vnc_greets(cloud: &Cloud) {
    let mut proxy = cloud.virga_command(&["vm", "vnc", "demo", "--listen", "127.0.0.1:5999"]).stdout(Stdio::null()).spawn().expect("nsenter");
    wait_until("the VNC server's greeting", || {
        let ask = "exec 3<>/dev/tcp/127.0.0.1/5999 && head -c 12 <&3";
        let o = cloud.lab.inside("timeout").args(["5", "bash", "-c", ask]).output().expect("nsenter");
        if o.stdout == b"RFB 003.008\n" { Ok(()) } else { Err(format!("{:?} {}", o.stdout, String::from_utf8_lossy(&o.stderr))) }
    });
    // The child is nsenter; the proxy itself runs inside the lab.
    assert!(cloud.lab.inside("pkill").args(["-f", "vm vnc demo"]).status().expect("pkill").success());
    let _ = proxy.wait();
    // VNC listens on a unix socket only.
    let listening = cloud.lab.inside("ss").args(["-Hltn"]).output().expect("ss (iproute2)");
    assert!(!String::from_utf8_lossy(&listening.stdout).contains(":590"), "no VNC port is open");
}

fn live_edits(cloud: &Cloud) {
    cloud.virga_ok(&["vm", "update", "demo", "--cpus", "2"]);
    cloud.virga_ok(&["vm", "update", "demo", "--memory", "256MiB"]);
    let vm = cloud.wait_vm("demo", "nothing pending", |v| v["observed"]["pending"].as_array().is_none_or(Vec::is_empty));
    assert_eq!((&vm["spec"]["cpu"]["count"], &vm["spec"]["memory"]["bytes"]), (&2.into(), &(256u64 << 20).into()));
    cloud.virga_ok(&["vm", "disk", "attach", "demo", "--size", "64MiB"]);
    let xml = cloud.lab.virsh_ok(&["dumpxml", "demo"]);
    assert_eq!(xml.matches("device='disk'").count(), 2, "the disk is in the running guest:\n{xml}");
    let disk = cloud.vm("demo")["spec"]["disks"][1]["id"].as_str().expect("an id").to_string();
    cloud.virga_ok(&["vm", "disk", "detach", "demo", &disk, "--yes"]);
    assert_eq!(cloud.lab.virsh_ok(&["dumpxml", "demo"]).matches("device='disk'").count(), 1);
    cloud.virga_ok(&["vm", "nic", "attach", "demo", "--network", "nat"]);
    assert_eq!(cloud.lab.virsh_ok(&["domiflist", "demo"]).lines().filter(|l| l.contains(':')).count(), 2);
    // The boot order is read at start only, and is said to wait.
    cloud.virga_ok(&["vm", "update", "demo", "--boot", "disk,network"]);
    let vm = cloud.vm("demo");
    assert!(vm["observed"]["pending"].to_string().contains("boot"), "{}", vm["observed"]);
}

fn power(cloud: &Cloud) {
    let state = |wanted: &'static str| move |v: &serde_json::Value| v["observed"]["state"] == wanted;
    cloud.virga_ok(&["vm", "pause", "demo"]);
    cloud.wait_vm("demo", "paused", state("paused"));
    cloud.virga_ok(&["vm", "resume", "demo"]);
    cloud.virga_ok(&["vm", "hibernate", "demo"]);
    cloud.wait_vm("demo", "hibernated", state("hibernated"));
    cloud.virga_ok(&["vm", "wake", "demo"]);
    cloud.wait_vm("demo", "agent connected", |v| v["observed"]["guest"]["agent"] == "connected");
    let before = boot_id(cloud).expect("the agent answers");
    cloud.virga_ok(&["vm", "reboot", "demo"]);
    wait_until("the guest to have booted anew", || match boot_id(cloud) {
        Ok(id) if id != before => Ok(()),
        other => Err(format!("{other:?}")),
    });
    cloud.virga_ok(&["vm", "shutdown", "demo", "--timeout", "200s"]);
    assert_eq!(cloud.vm("demo")["observed"]["state"], "stopped");
    let vm = cloud.vm("demo");
    assert!(vm["observed"]["pending"].as_array().is_none_or(Vec::is_empty), "a stopped VM has nothing pending");
    cloud.virga_ok(&["vm", "start", "demo"]);
    cloud.virga_ok(&["vm", "reset", "demo", "--yes"]);
    cloud.virga_ok(&["vm", "shutdown", "demo", "--force", "--yes"]);
}

/// What the guest's kernel calls this boot.
fn boot_id(cloud: &Cloud) -> Result<String, String> {
    virga_tests::guest::sh(cloud, "demo", "cat /proc/sys/kernel/random/boot_id")
}
