//! The agent killed in the middle of its system calls, while it starts and stops a real guest (reliability.md G2): the
//! kernel kills it at the n-th call of a kind, another agent is started, and what was ordered comes true. Nothing is left
//! over: no second process, no half-made file.

use std::time::{Duration, Instant};
use virga_tests::cloud::{Cloud, wait_until};

/// Calls by which an agent changes the world: its journal, its files, its words to libvirt and managers. Each thread counts
/// its own.
const SAMPLE: [(&str, &[u32]); 4] =
    [("fsync", &[1, 2, 4, 5]), ("rename,renameat,renameat2", &[1, 3]), ("openat", &[40, 160]), ("sendmsg,sendto,write,writev", &[20, 70])];
/// Time in which the agent either dies or does what it was told; then it is killed from outside.
const A_WHILE: Duration = Duration::from_secs(8);

#[test]
fn an_agent_killed_at_its_system_calls_leaves_nothing_half_done() {
    let mut cloud = Cloud::start("syscalls");
    cloud.virga_ok(&["vm", "create", "demo", "--disk", "16MiB", "--memory", "64MiB"]);
    let (mut died, mut runs) = (0, 0);
    for (calls, numbers) in SAMPLE {
        for n in numbers {
            runs += 1;
            died += usize::from(one(&mut cloud, calls, *n, runs % 2 == 1));
        }
    }
    println!("system calls: {runs} runs, {died} kills by the kernel, {runs} recovered");
    assert!(died * 2 >= runs, "only {died} of {runs} runs reached their call");
    cloud.virga_ok(&["vm", "delete", "demo", "--force", "--yes"]);
    assert_eq!(cloud.lab.virsh_ok(&["list", "--all", "--name"]).trim(), "");
    assert_eq!(cloud.sh(&format!("ls {} | wc -l", cloud.path("agent/store/vms"))), "0", "no file is left");
}

/// One run; whether the kernel killed the agent.
fn one(cloud: &mut Cloud, calls: &str, n: u32, start: bool) -> bool {
    cloud.kill("virga-agent");
    let inject = format!("inject={calls}:signal=KILL:when={n}");
    cloud.start_agent_under(&["strace", "-f", "-qqq", "-o", "/dev/null", "-e", "trace=none", "-e", &inject]);
    let order: &[&str] = if start { &["vm", "start", "demo", "--no-wait"] } else { &["vm", "shutdown", "demo", "--force", "--yes", "--no-wait"] };
    let task = cloud.virga_ok(order);
    let task = task.split_whitespace().last().expect("the task's id").to_string();
    let died = wait_for_death(cloud);
    if !died {
        cloud.kill("virga-agent");
    }
    cloud.start_agent_under(&[]);
    cloud.virga_ok(&["task", "wait", &task]);
    let wanted = if start { "running" } else { "stopped" };
    let vm = cloud.wait_vm("demo", wanted, |v| v["observed"]["state"] == wanted && v["observed"]["settled"] == true);
    assert!(vm["observed"]["error"].is_null() && vm["observed"]["drift"].as_array().is_none_or(Vec::is_empty), "{calls} {n}: {vm}");
    let guests = cloud.sh("pgrep -fc 'qemu-system-x86_64 -name' || true");
    assert_eq!(guests, if start { "1" } else { "0" }, "{calls} {n}: one guest at most, and none beside it");
    let half =
        cloud.sh(&format!("find {} {} -name '*.new' -o -name '*.tmp' -o -name '*.part' | wc -l", cloud.path("agent/journal"), cloud.path("agent/store")));
    println!("{calls} {n}: died {died}, half-made files {half}");
    died
}

fn wait_for_death(cloud: &mut Cloud) -> bool {
    let end = Instant::now() + A_WHILE;
    wait_until("the agent to die or a while to pass", || {
        let died = cloud.agent_has_ended();
        if died || Instant::now() > end { Ok(died) } else { Err("it lives".into()) }
    })
}
