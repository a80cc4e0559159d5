//! The demo as people start it: a real manager and a simulated fleet, without root and without KVM, through the command
//! line; a host falls silent and comes back, and nothing is concluded from its silence.

use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use virga_tests::cloud::{program, wait_until};

/// A demo that runs. It is asked to end when this goes.
struct Demo {
    script: Child,
    /// Open as a terminal would be: the script still says what it ends.
    _output: BufReader<ChildStdout>,
    folder: tempfile::TempDir,
    url: String,
}

impl Demo {
    /// Starts a small demo and reads what it says until it is ready.
    fn start() -> Demo {
        let folder = tempfile::Builder::new().prefix("virga-demo-").tempdir().expect("a temporary folder");
        // All taken at once, so that they differ; free again when the demo takes them.
        let ports: Vec<TcpListener> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
        let address = |n: usize| ports[n].local_addr().expect("an address").to_string();
        let (api, node, fleet) = (address(0), address(1), address(2));
        let mut command = demo_script(folder.path());
        command.env("VIRGA_DEMO_LISTEN", &api).env("VIRGA_DEMO_NODE_LISTEN", &node).env("VIRGA_DEMO_FLEET_LISTEN", &fleet);
        command.env("VIRGA_DEMO_HOSTS", "20").env("VIRGA_DEMO_VMS", "200").stdout(Stdio::piped());
        drop(ports);
        let mut script = command.spawn().expect("bash");
        let mut output = BufReader::new(script.stdout.take().expect("piped"));
        let mut said = String::new();
        for line in output.by_ref().lines() {
            let line = line.expect("text");
            said = format!("{said}{line}\n");
            if line.contains("virga event list") {
                break;
            }
        }
        assert!(said.lines().any(|l| l.starts_with("ready: https://")), "the demo said:\n{said}");
        assert_eq!(said.lines().filter(|l| l.trim_start().starts_with("virga")).count(), 5, "five commands to try:\n{said}");
        Demo { script, _output: output, folder, url: format!("https://{api}") }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, name: &str, args: &[&str]) -> Output {
        let mut command = Command::new(program(name));
        command.args(args).env("VIRGA_URL", &self.url).env("VIRGA_CA", self.path("manager/ca.pem"));
        command.env("VIRGA_TOKEN_FILE", self.path("admin-token")).env("VIRGA_CONFIG", self.path("virga.toml"));
        command.env("VIRGA_FLEET_STATE", self.path("fleet")).stdin(Stdio::null()).output().expect("a program of ours")
    }

    fn ok(&self, name: &str, args: &[&str]) -> String {
        let o = self.run(name, args);
        let log = |n: &str| std::fs::read_to_string(self.path(n)).unwrap_or_default().lines().rev().take(15).collect::<Vec<_>>().join("\n");
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        assert!(o.status.success(), "{name} {args:?}: {}{}\n{}\n{}", text(&o.stdout), text(&o.stderr), log("virga-manager.log"), log("virga-fleet.log"));
        text(&o.stdout)
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ok("virga", args)).expect("JSON")
    }

    fn host_state(&self, name: &str) -> String {
        self.json(&["host", "show", name, "-o", "json"])["state"].as_str().unwrap_or_default().to_string()
    }

    fn wait_host(&self, name: &str, state: &str) {
        wait_until(&format!("host {name} to be {state}"), || {
            let is = self.host_state(name);
            if is == state { Ok(()) } else { Err(is) }
        });
    }

    /// Ids of the programs that the demo runs.
    fn programs(&self) -> Vec<u32> {
        ["virga-manager.pid", "virga-fleet.pid"].iter().filter_map(|f| std::fs::read_to_string(self.path(f)).ok()?.trim().parse().ok()).collect()
    }

    fn stop(&self) {
        assert!(demo_script(self.folder.path()).arg("--stop").stdout(Stdio::null()).status().expect("bash").success());
    }
}

fn demo_script(folder: &Path) -> Command {
    // Nextest runs a test in the folder of its package.
    let script = std::env::current_dir().expect("a folder").join("../scripts/demo.sh");
    let mut command = Command::new(script);
    let bin = program("virga-fleet");
    command.env("VIRGA_DEMO_BIN", bin.parent().expect("a folder")).stdin(Stdio::null());
    command.env("VIRGA_DEMO_STATE", folder);
    command
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = demo_script(self.folder.path()).arg("--stop").stdout(Stdio::null()).stderr(Stdio::null()).status();
        let _ = self.script.kill();
        let _ = self.script.wait();
    }
}

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
