//! A guest that attacks its host by what it says: garbage in place of its agent, a flood on its serial port. What it says
//! is cut short, files and memory of the host do not grow, and all others are served (reliability.md G7, G8).

use virga_tests::cloud::{Cloud, wait_until};

/// Bytes that the agent may have resident; far more than it needs, far less than a guest can send.
const AGENT_BYTES_MAX: u64 = 300 << 20;
/// Bytes that libvirt may have written about the guest.
const LOG_BYTES_MAX: u64 = 4 << 20;

#[test]
fn a_hostile_guest_harms_nobody() {
    let cloud = Cloud::with_tiny_image("hostile");
    cloud.virga_ok(&["vm", "create", "bad", "--image", "tiny", "--memory", "128MiB", "--network", "nat", "--start", "--no-wait"]);
    cloud.wait_vm("bad", "agent connected", |v| v["observed"]["guest"]["agent"] == "connected");
    let pid = cloud.sh("pgrep -x virga-agent");

    // The guest replaces its agent by garbage: half documents, bytes that are no text, and replies without an end.
    let port = "/dev/virtio-ports/org.qemu.guest_agent.0";
    let garbage = format!(
        "rm /bin/guest-agent; killall qemu-ga; (while :; do printf '{{\"return\":{{\"version\":\"'; head -c 300000 /dev/urandom; printf '\\n{{\"return\":[\\n\\377\\376\\n'; done) > {port} & \
         (yes flood-flood-flood-flood-flood > /dev/ttyS0) &"
    );
    in_guest(&cloud, &garbage);
    cloud.wait_vm("bad", "its agent is not believed any more", |v| v["observed"]["guest"]["agent"] != "connected");

    // All else goes on: another guest comes up, answers, and goes down.
    cloud.virga_ok(&["vm", "create", "good", "--image", "tiny", "--memory", "128MiB", "--network", "nat", "--start", "--no-wait"]);
    cloud.wait_vm("good", "agent connected", |v| v["observed"]["guest"]["agent"] == "connected");
    cloud.virga_ok(&["vm", "shutdown", "good", "--timeout", "200s"]);
    let bad = cloud.vm("bad");
    assert_eq!(bad["observed"]["state"], "running");
    assert!(bad["observed"].to_string().len() < 1 << 16, "what is kept of it is small");
    assert_eq!(cloud.json(&["host", "list", "-o", "json"])[0]["state"], "up");

    let resident: u64 = cloud.sh(&format!("awk '/VmRSS/ {{ print $2 }}' /proc/{pid}/status")).parse().expect("kB");
    println!("agent resident: {} MiB after the flood", resident >> 10);
    assert!(resident << 10 < AGENT_BYTES_MAX, "the agent has {resident} kB");
    let written: u64 = cloud.sh("du -sb /var/log/libvirt | cut -f1").parse().expect("bytes");
    println!("libvirt's log of guests: {written} bytes after the flood");
    assert!(written < LOG_BYTES_MAX, "{written} bytes of log");
    // A guest that listens to nobody is switched off like any other.
    cloud.virga_ok(&["vm", "shutdown", "bad", "--force", "--yes"]);
    cloud.virga_ok(&["vm", "delete", "bad", "good", "--yes"]);
}

/// Runs a script in the guest, by its agent, and does not wait for it.
fn in_guest(cloud: &Cloud, script: &str) {
    let command = serde_json::json!({"execute": "guest-exec", "arguments": {"path": "/bin/setsid", "arg": ["/bin/sh", "-c", script]}});
    wait_until("the guest to take the script", || {
        let o = cloud.lab.virsh(&["qemu-agent-command", "--timeout", "10", "bad", &command.to_string()]);
        if o.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&o.stderr).into_owned()) }
    });
}
