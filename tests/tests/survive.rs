//! Killing manager, agent or libvirtd never stops a VM, and everything is adopted again.

use virga_tests::cloud::Cloud;

#[test]
fn killed_programs_leave_the_guest_running_and_come_back_to_it() {
    let mut cloud = Cloud::with_tiny_image("survive");
    cloud.virga_ok(&["vm", "create", "demo", "--image", "tiny", "--memory", "128MiB", "--network", "nat", "--start"]);
    let qemu = || cloud_qemu(&cloud.lab);
    let before = qemu();

    cloud.kill("virga-agent");
    assert_eq!(cloud_qemu(&cloud.lab), before, "the guest goes on without its agent");
    cloud.start_agent();
    cloud.wait_vm("demo", "adopted", |v| v["observed"]["state"] == "running" && v["observed"]["settled"] == true);

    cloud.kill("virga-manager");
    assert_eq!(cloud_qemu(&cloud.lab), before, "the guest goes on without any manager");
    cloud.start_manager();
    cloud.wait_vm("demo", "known again", |v| v["observed"]["state"] == "running" && v["fresh"] == true);

    cloud.lab.libvirtd_down();
    cloud.wait_vm("demo", "unknown, never stopped", |v| v["observed"]["state"] == "unknown");
    assert_eq!(cloud_qemu(&cloud.lab), before);
    cloud.lab.libvirtd_up();
    let vm = cloud.wait_vm("demo", "running again", |v| v["observed"]["state"] == "running");
    assert!(vm["observed"]["drift"].as_array().is_none_or(Vec::is_empty), "{}", vm["observed"]);
    assert_eq!(cloud_qemu(&cloud.lab), before);
    // A task that was asked for while the agent was dead is done when it is back.
    cloud.kill("virga-agent");
    let task = cloud.virga_ok(&["vm", "shutdown", "demo", "--force", "--yes", "--no-wait"]);
    let task = task.split_whitespace().last().expect("the task's id").to_string();
    cloud.start_agent();
    cloud.wait_vm("demo", "stopped", |v| v["observed"]["state"] == "stopped");
    // The report may come before the task's own end; the VM is busy until then.
    cloud.virga_ok(&["task", "wait", &task]);
    cloud.virga_ok(&["vm", "delete", "demo", "--yes"]);
}

/// The process ids of the guests, as the lab sees them.
fn cloud_qemu(lab: &virga_tests::lab::Lab) -> String {
    let o = lab.inside("pgrep").args(["-f", "qemu-system-x86_64 -name"]).output().expect("pgrep");
    let pids = String::from_utf8_lossy(&o.stdout).into_owned();
    assert!(!pids.trim().is_empty(), "a guest runs");
    pids
}
