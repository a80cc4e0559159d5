//! A demo as people start it: a real manager and a simulated fleet, without root and without KVM, for the tests that look
//! at it from outside. Nothing here knows what a test is about.

use crate::cloud::{program, wait_until};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

/// A demo that runs. It is asked to end when this goes.
pub struct Demo {
    /// The script that runs it.
    pub script: Child,
    /// Open as a terminal would be: the script still says what it ends.
    _output: BufReader<ChildStdout>,
    folder: tempfile::TempDir,
    /// Where the manager answers.
    pub url: String,
}

impl Demo {
    /// Starts a small demo and reads what it says until it is ready.
    ///
    /// # Panics
    /// When it does not become ready.
    #[must_use]
    pub fn start() -> Demo {
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

    /// A file of the demo.
    #[must_use]
    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a program of ours against it.
    ///
    /// # Panics
    /// When the program cannot be started.
    #[must_use]
    pub fn run(&self, name: &str, args: &[&str]) -> Output {
        let mut command = Command::new(program(name));
        command.args(args).env("VIRGA_URL", &self.url).env("VIRGA_CA", self.path("manager/ca.pem"));
        command.env("VIRGA_TOKEN_FILE", self.path("admin-token")).env("VIRGA_CONFIG", self.path("virga.toml"));
        command.env("VIRGA_FLEET_STATE", self.path("fleet")).stdin(Stdio::null()).output().expect("a program of ours")
    }

    /// As [`Demo::run`]; what it printed.
    ///
    /// # Panics
    /// When the program fails.
    pub fn ok(&self, name: &str, args: &[&str]) -> String {
        let o = self.run(name, args);
        let log = |n: &str| std::fs::read_to_string(self.path(n)).unwrap_or_default().lines().rev().take(15).collect::<Vec<_>>().join("\n");
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        assert!(o.status.success(), "{name} {args:?}: {}{}\n{}\n{}", text(&o.stdout), text(&o.stderr), log("virga-manager.log"), log("virga-fleet.log"));
        text(&o.stdout)
    }

    /// What the command line says as JSON.
    ///
    /// # Panics
    /// When it fails.
    #[must_use]
    pub fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ok("virga", args)).expect("JSON")
    }

    /// The state of a host.
    #[must_use]
    pub fn host_state(&self, name: &str) -> String {
        self.json(&["host", "show", name, "-o", "json"])["state"].as_str().unwrap_or_default().to_string()
    }

    /// Waits until a host is in a state.
    pub fn wait_host(&self, name: &str, state: &str) {
        wait_until(&format!("host {name} to be {state}"), || {
            let is = self.host_state(name);
            if is == state { Ok(()) } else { Err(is) }
        });
    }

    /// Ids of the programs that the demo runs.
    #[must_use]
    pub fn programs(&self) -> Vec<u32> {
        ["virga-manager.pid", "virga-fleet.pid"].iter().filter_map(|f| std::fs::read_to_string(self.path(f)).ok()?.trim().parse().ok()).collect()
    }

    /// Ends it.
    ///
    /// # Panics
    /// When the script cannot.
    pub fn stop(&self) {
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
