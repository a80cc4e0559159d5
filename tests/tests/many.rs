//! Twenty VMs at once on one host, with progress, and cancel in the middle.

use virga_tests::cloud::{Cloud, wait_until};

const MANY: usize = 20;

#[test]
fn twenty_started_at_once_all_come_up_and_any_can_be_stopped_on_the_way() {
    let cloud = Cloud::with_tiny_image("many");
    for n in 0..MANY {
        cloud.virga_ok(&["vm", "create", &format!("m{n}"), "--image", "tiny", "--memory", "96MiB", "--network", "nat", "--label", "set=many", "--no-wait"]);
    }
    wait_until("all to be made", || {
        let made = cloud.json(&["vm", "list", "-l", "set=many", "--filter", "settled = true", "-o", "json"]);
        if made.as_array().map(Vec::len) == Some(MANY) { Ok(()) } else { Err(format!("{} settled", made.as_array().map_or(0, Vec::len))) }
    });
    // One request for all: a parent task with a child for each.
    let task = cloud.virga_ok(&["vm", "start", "-l", "set=many", "--no-wait"]);
    let task = task.split_whitespace().last().expect("the task's id").to_string();
    let mut progress = Vec::new();
    wait_until("the batch to end", || {
        let t = cloud.json(&["task", "show", &task, "-o", "json"]);
        progress.push(t["progress"]["done"].as_u64().unwrap_or(0));
        if t["state"] == "succeeded" { Ok(()) } else { Err(t.to_string()) }
    });
    assert!(progress.windows(2).all(|w| w[0] <= w[1] || w[1] == 1), "progress never goes back: {progress:?}");
    let running = cloud.lab.virsh_ok(&["list", "--name"]);
    assert_eq!(running.lines().filter(|l| l.starts_with('m')).count(), MANY, "{running}");

    // Asked to go down gracefully, and stopped on the way: every one is either as before or as wanted, none between.
    let task = cloud.virga_ok(&["vm", "shutdown", "-l", "set=many", "--timeout", "600s", "--no-wait"]);
    let task = task.split_whitespace().last().expect("the task's id").to_string();
    cloud.virga_ok(&["task", "cancel", &task]);
    wait_until("no task to be active", || {
        let active = cloud.json(&["task", "list", "--filter", "state in (queued, running)", "-o", "json"]);
        if active.as_array().is_some_and(Vec::is_empty) { Ok(()) } else { Err(active.to_string()) }
    });
    for n in 0..MANY {
        let vm = cloud.wait_vm(&format!("m{n}"), "settled", |v| v["observed"]["settled"] == true);
        let met = vm["desired"] == vm["observed"]["state"] || vm["observed"]["drift"].is_array();
        assert!(met, "{vm}");
    }
    cloud.virga_ok(&["vm", "delete", "-l", "set=many", "--force", "--yes"]);
    assert_eq!(cloud.lab.virsh_ok(&["list", "--all", "--name"]).trim(), "");
}
