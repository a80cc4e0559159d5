//! The demo as people start it: a real manager and a simulated fleet, without root and without KVM, through the command
//! line; a host falls silent and comes back, and nothing is concluded from its silence.

use serde_json::Value;
use virga_tests::cloud::wait_until;
use virga_tests::demo::Demo;

#[test]
fn the_demo_shows_a_fleet_that_can_be_operated_and_broken() {
    let mut demo = Demo::start();
    let hosts = demo.json(&["host", "list", "-o", "json"]);
    let hosts = hosts.as_array().expect("a list");
    assert_eq!(hosts.len(), 20);
    assert!(hosts.iter().all(|h| h["state"] == "up" && h["facts"]["accelerator"] == "simulated"), "{hosts:?}");
    let vms = demo.json(&["vm", "list", "-o", "json"]);
    let vms = vms.as_array().expect("a list");
    assert_eq!(vms.len(), 200);
    assert!(vms.iter().all(|v| v["observed"]["settled"] == true && v["observed"].get("drift").is_none()), "what was prepared is what the agents find");

    power(&demo, vms);
    silence(&demo, vms);
    libvirt(&demo);

    let programs = demo.programs();
    assert_eq!(programs.len(), 2);
    demo.stop();
    for pid in programs {
        wait_until(&format!("process {pid} to end"), || {
            // What has ended may wait for its parent to look, where no init system does.
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let state = stat.rsplit(')').next().unwrap_or_default().trim_start();
            if state.is_empty() || state.starts_with('Z') { Ok(()) } else { Err(stat) }
        });
    }
    let ended = demo.script.wait().expect("the script ends");
    assert_eq!(ended.code(), Some(143), "it ended as it was told");
}

fn running<'a>(vms: &'a [Value], host: &str) -> Vec<&'a str> {
    let on = |v: &&Value| v["observed"]["state"] == "running" && v["host"]["name"] == host;
    vms.iter().filter(on).filter_map(|v| v["name"].as_str()).collect()
}

/// VMs are stopped and started by tasks, over the wire, by the real agent.
fn power(demo: &Demo, vms: &[Value]) {
    for name in running(vms, "rack-01-host-01").iter().take(3) {
        demo.ok("virga", &["vm", "stop", name]);
        assert_eq!(demo.json(&["vm", "show", name, "-o", "json"])["observed"]["state"], "stopped");
        demo.ok("virga", &["vm", "start", name]);
        assert_eq!(demo.json(&["vm", "show", name, "-o", "json"])["observed"]["state"], "running");
    }
}

/// A host that is cut off becomes silent; its VMs stay what they were, marked as not fresh, and are there when it is back.
fn silence(demo: &Demo, vms: &[Value]) {
    let host = "rack-01-host-07";
    let on_it = running(vms, host);
    assert!(!on_it.is_empty());
    demo.ok("virga-fleet", &["break", "network", host, "cut"]);
    demo.wait_host(host, "silent");
    let vm = demo.json(&["vm", "show", on_it[0], "-o", "json"]);
    assert_eq!((&vm["observed"]["state"], &vm["fresh"]), (&Value::from("running"), &Value::from(false)), "silence is not read as stopped");
    demo.ok("virga-fleet", &["break", "network", host, "heal"]);
    demo.wait_host(host, "up");
    for name in on_it {
        let vm = demo.json(&["vm", "show", name, "-o", "json"]);
        assert_eq!(vm["observed"]["state"], "running", "{name} ran all the time");
    }
}

/// A libvirt that does not answer makes states unknown, and a killed agent that comes back finds its guests.
fn libvirt(demo: &Demo) {
    let host = "rack-02-host-02";
    let states = |wanted: &str| {
        let vms = demo.json(&["vm", "list", "-o", "json", "--filter", &format!("host = {host}")]);
        let states: Vec<String> = vms.as_array().expect("a list").iter().filter_map(|v| v["observed"]["state"].as_str()).map(String::from).collect();
        if states.iter().any(|s| s == wanted) { Ok(states) } else { Err(format!("{states:?}")) }
    };
    demo.ok("virga-fleet", &["break", "libvirt", host, "down"]);
    let seen = wait_until("unknown states", || states("unknown"));
    assert!(seen.iter().all(|s| s == "unknown"), "{seen:?}");
    demo.ok("virga-fleet", &["break", "libvirt", host, "ok"]);
    wait_until("known states", || states("running"));
    demo.ok("virga-fleet", &["break", "agent", host, "kill"]);
    demo.ok("virga-fleet", &["break", "agent", host, "start"]);
    demo.wait_host(host, "up");
    let refused = demo.run("virga-fleet", &["break", "power", "no-such-host", "off"]);
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("no-such-host"));
}
