//! Agent, libvirtd and QEMU under fire with fifty real guests: killed, stopped, hung, out of file descriptors. States
//! become unknown, never "stopped"; what runs is adopted again; nobody's guest is disturbed (reliability.md G1 to G4, G10,
//! G14). The figures are printed.

use std::time::{Duration, Instant};
use virga_tests::cloud::{Cloud, wait_until};

/// Guests; as many as reliability.md asks for.
const MANY: usize = 50;
/// Boot code of a guest that stops its processor for good: `cli; hlt; jmp` back to the `hlt`.
const HALT: [u8; 4] = [0xfa, 0xf4, 0xeb, 0xfd];
/// Longer than a manager waits before it calls a host silent.
const LONGER_THAN_SILENCE: Duration = Duration::from_secs(35);

#[test]
fn fifty_guests_outlive_all_that_watches_over_them() {
    let mut cloud = Cloud::start("fire");
    start_fifty(&cloud);
    let guests = qemus(&cloud);
    assert_eq!(guests.len(), MANY);
    agent_is_killed(&mut cloud, &guests);
    libvirtd_hangs(&cloud, &guests);
    libvirtd_is_killed(&cloud, &guests);
    guests_that_hang_hold_up_nobody(&cloud);
    qemu_is_killed(&cloud);
    descriptors_run_out(&cloud);
    host_gets_another_name(&mut cloud);
    cloud.virga_ok(&["vm", "delete", "-l", "set=fifty", "--force", "--yes"]);
    assert_eq!(cloud.lab.virsh_ok(&["list", "--all", "--name"]).trim(), "");
    assert!(qemus(&cloud).is_empty(), "nothing is left over");
}

fn start_fifty(cloud: &Cloud) {
    let mut disk = vec![0u8; 1 << 20];
    disk[..HALT.len()].copy_from_slice(&HALT);
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    let file = cloud.lab.folder("halt.img");
    std::fs::write(&file, disk).expect("a file");
    cloud.virga_ok(&["image", "import", "halt", &file.display().to_string()]);
    for n in 0..MANY {
        cloud.virga_ok(&["vm", "create", &format!("h{n}"), "--image", "halt", "--memory", "64MiB", "--label", "set=fifty", "--no-wait"]);
    }
    wait_until("all to be made", || {
        let made = cloud.json(&["vm", "list", "-l", "set=fifty", "--filter", "settled = true", "-o", "json"]);
        if made.as_array().map(Vec::len) == Some(MANY) { Ok(()) } else { Err(format!("{} made", made.as_array().map_or(0, Vec::len))) }
    });
    let began = Instant::now();
    cloud.virga_ok(&["vm", "start", "-l", "set=fifty"]);
    println!("started {MANY} VMs in {:.1} s", began.elapsed().as_secs_f32());
}

/// Process ids of all guests, as the lab sees them.
fn qemus(cloud: &Cloud) -> Vec<String> {
    let o = cloud.lab.inside("pgrep").args(["-f", "qemu-system-x86_64 -name"]).output().expect("pgrep");
    String::from_utf8_lossy(&o.stdout).lines().map(String::from).collect()
}

/// How many VMs are in each state, and whether all of them are as they were wanted.
fn count(cloud: &Cloud, state: &str) -> usize {
    let filter = format!("state = {state}");
    cloud.json(&["vm", "list", "-l", "set=fifty", "--filter", &filter, "-o", "json"]).as_array().map_or(0, Vec::len)
}

fn wait_for_count(cloud: &Cloud, what: &str, state: &str, number: usize) -> Duration {
    let began = Instant::now();
    wait_until(what, || match count(cloud, state) {
        n if n == number => Ok(()),
        n => Err(format!("{n} are {state}\n{}", cloud.log("virga-agent"))),
    });
    began.elapsed()
}

/// The first report of an agent that was started anew holds every VM; one that was changed meanwhile shows when it came.
fn agent_is_killed(cloud: &mut Cloud, guests: &[String]) {
    cloud.kill("virga-agent");
    cloud.lab.virsh_ok(&["suspend", "h0"]);
    assert_eq!(qemus(cloud), guests, "guests go on without their agent");
    let began = Instant::now();
    cloud.start_agent_under(&[]);
    cloud.wait_vm("h0", "seen anew", |v| v["observed"]["state"] == "paused");
    println!("adopted {MANY} VMs {:.1} s after the agent's start", began.elapsed().as_secs_f32());
    assert_eq!(count(cloud, "running"), MANY - 1);
    cloud.lab.virsh_ok(&["resume", "h0"]);
    wait_for_count(cloud, "all to run", "running", MANY);
    let settled = cloud.json(&["vm", "list", "-l", "set=fifty", "-o", "json"]);
    for vm in settled.as_array().into_iter().flatten() {
        assert!(vm["observed"]["settled"] == true && vm["observed"]["error"].is_null(), "{vm}");
    }
    assert_eq!(qemus(cloud), guests, "and none was disturbed");
}

fn libvirtd_hangs(cloud: &Cloud, guests: &[String]) {
    cloud.lab.signal("STOP");
    let took = wait_for_count(cloud, "all to be unknown", "unknown", MANY);
    println!("unknown {:.1} s after libvirtd hung", took.as_secs_f32());
    let end = Instant::now() + LONGER_THAN_SILENCE;
    wait_until("the host to have been up for longer than silence lasts", || {
        let hosts = cloud.json(&["host", "list", "-o", "json"]);
        assert_eq!(hosts[0]["state"], "up", "the heart beats on: {hosts}\n{}", cloud.log("virga-agent"));
        assert_eq!(count(cloud, "stopped"), 0, "unknown is not stopped");
        if Instant::now() > end { Ok(()) } else { Err("waiting".into()) }
    });
    cloud.lab.signal("CONT");
    let took = wait_for_count(cloud, "all to be known again", "running", MANY);
    println!("known again {:.1} s after libvirtd went on", took.as_secs_f32());
    assert_eq!(qemus(cloud), guests);
}

fn libvirtd_is_killed(cloud: &Cloud, guests: &[String]) {
    cloud.lab.signal("KILL");
    cloud.lab.wait_up();
    let took = wait_for_count(cloud, "all to be known again", "running", MANY);
    println!("known again {:.1} s after libvirtd was killed and started anew", took.as_secs_f32());
    assert_eq!(qemus(cloud), guests);
}

/// More guests whose QEMU hangs than there are places for changes: the others are seen and worked on all the same.
fn guests_that_hang_hold_up_nobody(cloud: &Cloud) {
    let hung: Vec<String> = (10..16).map(|n| format!("h{n}")).collect();
    for name in &hung {
        cloud.sh(&format!("kill -STOP $(cat /run/libvirt/qemu/{name}.pid)"));
    }
    for name in &hung {
        cloud.virga_ok(&["vm", "pause", name, "--no-wait"]);
    }
    let began = Instant::now();
    cloud.lab.virsh_ok(&["destroy", "h20"]);
    cloud.wait_vm("h20", "seen as it is", |v| v["observed"]["state"] == "stopped");
    println!("saw another guest end {:.1} s after it did, while six hung", began.elapsed().as_secs_f32());
    cloud.virga_ok(&["vm", "shutdown", "h21", "--force", "--yes"]);
    println!("and switched a third one off {:.1} s later", began.elapsed().as_secs_f32());
    let host = cloud.json(&["host", "list", "-o", "json"]);
    assert_eq!(host[0]["state"], "up");
    for name in &hung {
        cloud.sh(&format!("kill -CONT $(cat /run/libvirt/qemu/{name}.pid)"));
    }
    for name in &hung {
        cloud.wait_vm(name, "paused in the end", |v| v["observed"]["state"] == "paused" && v["observed"]["settled"] == true);
    }
    wait_until("no task to be active", || {
        let active = cloud.json(&["task", "list", "--filter", "state in (queued, running)", "-o", "json"]);
        if active.as_array().is_some_and(Vec::is_empty) { Ok(()) } else { Err(active.to_string()) }
    });
}

fn qemu_is_killed(cloud: &Cloud) {
    let began = Instant::now();
    cloud.sh("kill -KILL $(cat /run/libvirt/qemu/h1.pid)");
    let vm = cloud.wait_vm("h1", "shown as crashed", |v| v["observed"]["drift"].to_string().contains("crashed"));
    println!("a killed guest was shown after {:.1} s", began.elapsed().as_secs_f32());
    assert_eq!((&vm["observed"]["state"], &vm["desired"]), (&"stopped".into(), &"running".into()));
    cloud.virga_ok(&["vm", "start", "h1"]);
}

/// No file descriptors are left: new work is refused in plain words, reports go on, and afterwards all is as before.
fn descriptors_run_out(cloud: &Cloud) {
    let pid = cloud.sh("pgrep -x virga-agent");
    let open: usize = cloud.sh(&format!("ls /proc/{pid}/fd | wc -l")).parse().expect("a number");
    let before = cloud.sh(&format!("prlimit --pid {pid} --nofile --output SOFT --noheadings"));
    cloud.sh(&format!("prlimit --pid {pid} --nofile={open}:"));
    let refused = cloud.virga(&["vm", "pause", "h30"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("journal") && said.contains("open files"), "a clear refusal: {said}");
    // Whoever connects now cannot be served, and is not served later either: the listener must outlive that.
    cloud.sh("for i in 1 2 3 4 5; do timeout 1 sh -c 'curl -sk --max-time 1 https://127.0.0.1:8445/' || true; done");
    cloud.wait_host_up();
    assert_eq!(cloud.vm("h31")["observed"]["state"], "running");
    cloud.sh(&format!("prlimit --pid {pid} --nofile={before}:"));
    // A new connection is taken again: the manager is started anew for that.
    cloud.virga_ok(&["vm", "pause", "h31"]);
    // Connections that were taken without a descriptor for them may still be ahead in the queue.
    wait_until("the listener to ask new callers for their certificate again", || {
        let curl = ["-sk", "--max-time", "5", "-o", "/dev/null", "-w", "%{errormsg}", "https://127.0.0.1:8445/"];
        let o = cloud.lab.inside("curl").args(curl).output().expect("curl");
        let why = String::from_utf8_lossy(&o.stdout).into_owned();
        if why.contains("certificate") { Ok(()) } else { Err(why) }
    });
}

/// A host is known by its certificate, never by its name.
fn host_gets_another_name(cloud: &mut Cloud) {
    let id = cloud.json(&["host", "list", "-o", "json"])[0]["id"].clone();
    let guests = qemus(cloud);
    cloud.sh("hostname renamed-host");
    cloud.kill("virga-agent");
    cloud.start_agent();
    wait_until("the new name to be told", || {
        let hosts = cloud.json(&["host", "list", "-o", "json"]);
        if hosts[0]["facts"]["host_name"] == "renamed-host" { Ok(()) } else { Err(hosts.to_string()) }
    });
    let hosts = cloud.json(&["host", "list", "-o", "json"]);
    assert_eq!((hosts.as_array().map(Vec::len), &hosts[0]["id"]), (Some(1), &id));
    assert_eq!(qemus(cloud), guests, "nothing is deleted by inference");
}
