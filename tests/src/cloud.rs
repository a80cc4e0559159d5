//! One installation in a lab host: `virga-manager`, `virga-agent` and the `virga` command line, as built, talking over
//! loopback of the lab's own network namespace. Everything ends with the lab.

use crate::lab::Lab;
use serde_json::Value;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Time in which a condition must come true; guests are emulated and share two cores.
pub const PATIENCE: Duration = Duration::from_secs(240);

/// An installation.
pub struct Cloud {
    /// The host it runs on.
    pub lab: Lab,
    manager: Option<Child>,
    agent: Option<Child>,
}

/// A built program beside the test's own.
///
/// # Panics
/// When it was not built.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let exe = std::env::current_exe().expect("the test's own path");
    let found = exe.ancestors().skip(1).take(2).map(|d| d.join(name)).find(|p| p.is_file());
    found.unwrap_or_else(|| panic!("{name} is not built beside {}: run cargo nextest run --workspace", exe.display()))
}

/// Waits until `condition` gives something, looking again and again.
///
/// # Panics
/// When it does not within [`PATIENCE`]; the message says what was waited for and what was last seen.
pub fn wait_until<T>(what: &str, mut condition: impl FnMut() -> Result<T, String>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        match condition() {
            Ok(t) => return t,
            Err(seen) => assert!(Instant::now() < end, "waited too long for {what}; last seen: {seen}"),
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// As [`wait_until`] with a time of one's own, and what was last seen as the error.
///
/// # Errors
/// What was last seen.
pub fn wait_for<T>(patience: Duration, mut condition: impl FnMut() -> Result<T, String>) -> Result<T, String> {
    let end = Instant::now() + patience;
    loop {
        match condition() {
            Err(_) if Instant::now() < end => std::thread::sleep(Duration::from_millis(200)),
            r => return r,
        }
    }
}

impl Cloud {
    /// A host with manager and agent, joined and up.
    ///
    /// # Panics
    /// When any of it does not come up.
    #[must_use]
    pub fn start(name: &str) -> Cloud {
        let mut cloud = Cloud { lab: Lab::start(name), manager: None, agent: None };
        cloud.start_manager();
        cloud.lab_run(&program("virga-manager"), &["token", "--state-dir", &cloud.path("manager"), "--out", &cloud.path("token")]);
        cloud.virga_ok(&["host", "join-token", "--name", name, "--out", &cloud.path("join")]);
        cloud.start_agent();
        cloud
    }

    /// A host with the tiny guest's image imported as `tiny`.
    ///
    /// # Panics
    /// When any of it does not come up.
    #[must_use]
    pub fn with_tiny_image(name: &str) -> Cloud {
        let cloud = Cloud::start(name);
        cloud.virga_ok(&["image", "import", "tiny", &crate::lab::tiny_guest().display().to_string()]);
        cloud
    }

    /// A path in the lab's folder.
    #[must_use]
    pub fn path(&self, name: &str) -> String {
        self.lab.folder(name).display().to_string()
    }

    fn spawn(&self, program: &str, args: &[&str]) -> Child {
        let log = std::fs::File::options().create(true).append(true).open(self.path(&format!("{program}.log"))).expect("a log file");
        let mut command = self.lab.inside(self::program(program));
        command.args(args).env("VIRGA_LOG", "info").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command.spawn().expect("nsenter")
    }

    /// Starts the manager's program, without waiting.
    pub fn spawn_manager(&mut self) {
        std::fs::create_dir_all(self.path("manager")).expect("the manager's folder");
        let state = self.path("manager");
        self.manager = Some(self.spawn("virga-manager", &["run", "--state-dir", &state, "--listen", "127.0.0.1:8443", "--node-listen", "127.0.0.1:8444"]));
    }

    /// Starts the manager and waits until it answers.
    pub fn start_manager(&mut self) {
        self.spawn_manager();
        self.wait_manager();
    }

    fn wait_manager(&self) {
        wait_until("the manager to listen", || {
            let o = self.lab.inside("curl").args(["-sf", "--cacert", &self.path("manager/ca.pem"), "https://127.0.0.1:8443/v1/ping"]).output().expect("curl");
            if o.status.success() { Ok(()) } else { Err(self.log("virga-manager")) }
        });
    }

    /// Starts what is not running and waits until the host is up.
    pub fn heal(&mut self) {
        let ended = |c: &mut Option<Child>| c.as_mut().is_none_or(|c| !matches!(c.try_wait(), Ok(None)));
        if ended(&mut self.manager) {
            self.spawn_manager();
        }
        if ended(&mut self.agent) {
            self.start_agent_under(&[]);
        }
        self.wait_manager();
        self.lab.wait_up();
        self.wait_host_up();
    }

    /// Starts the agent and waits until its host is up.
    pub fn start_agent(&mut self) {
        self.start_agent_under(&[]);
        self.wait_host_up();
    }

    /// Starts the agent with these words before its own (`strace …`), and does not wait.
    pub fn start_agent_under(&mut self, words: &[&str]) {
        let (state, join, run) = (self.path("agent"), self.path("join"), self.path("vr"));
        let (uri, agent) = (self.lab.uri(), self::program("virga-agent").display().to_string());
        let own = ["run", "--state-dir", &state, "--join-file", &join, "--run-dir", &run, "--libvirt", &uri, "--listen", "127.0.0.1:8445"];
        let line: Vec<&str> = words.iter().copied().chain([agent.as_str()]).chain(own).collect();
        let log = std::fs::File::options().create(true).append(true).open(self.path("virga-agent.log")).expect("a log file");
        let mut command = self.lab.inside(line[0]);
        command.args(&line[1..]).env("VIRGA_LOG", "info").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.agent = Some(command.spawn().expect("nsenter"));
    }

    /// Whether the agent that was started last has ended by itself.
    pub fn agent_has_ended(&mut self) -> bool {
        self.agent.as_mut().is_none_or(|c| c.try_wait().is_ok_and(|s| s.is_some()))
    }

    /// Waits until the host is up.
    pub fn wait_host_up(&self) {
        wait_until("the host to be up", || {
            let hosts = self.json(&["host", "list", "-o", "json"]);
            let up = hosts.as_array().is_some_and(|l| l.iter().any(|h| h["state"] == "up" && h["facts"]["memory_bytes"].as_u64() > Some(0)));
            if up { Ok(()) } else { Err(format!("{hosts}\n{}", self.log("virga-agent"))) }
        });
    }

    /// Runs a line of shell inside the lab.
    ///
    /// # Panics
    /// When it fails.
    pub fn sh(&self, line: &str) -> String {
        let o = self.lab.inside("sh").args(["-c", line]).output().expect("nsenter");
        assert!(o.status.success(), "{line}: {}", String::from_utf8_lossy(&o.stderr));
        String::from_utf8_lossy(&o.stdout).trim().to_string()
    }

    /// Kills a program without warning (`virga-manager` or `virga-agent`).
    pub fn kill(&mut self, program: &str) {
        let child = if program == "virga-manager" { self.manager.take() } else { self.agent.take() };
        // The child is nsenter's fork inside the lab; its name is the program's.
        let done = self.lab.inside("pkill").args(["-KILL", "-x", program]).status().expect("pkill");
        assert!(done.success(), "{program} was running");
        if let Some(mut c) = child {
            let _ = c.wait();
        }
    }

    /// Kills a program that may just be being started; false when it had ended by itself before.
    pub fn kill_or_find_dead(&mut self, program: &str) -> bool {
        let lab = &self.lab;
        let child = if program == "virga-manager" { &mut self.manager } else { &mut self.agent };
        let Some(mut c) = child.take() else { return false };
        let killed = wait_for(PATIENCE, || {
            if lab.inside("pkill").args(["-KILL", "-x", program]).status().expect("pkill").success() {
                return Ok(true);
            }
            match c.try_wait() {
                Ok(None) => Err("being started".into()),
                _ => Ok(false),
            }
        });
        let _ = c.wait();
        killed.unwrap_or(false)
    }

    /// The end of a program's log.
    #[must_use]
    pub fn log(&self, program: &str) -> String {
        let text = std::fs::read_to_string(self.path(&format!("{program}.log"))).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    fn lab_run(&self, program: &std::path::Path, args: &[&str]) {
        let o = self.lab.inside(program).args(args).output().expect("nsenter");
        assert!(o.status.success(), "{} {args:?}: {}", program.display(), String::from_utf8_lossy(&o.stderr));
    }

    /// The command line, ready to run.
    #[must_use]
    pub fn virga_command(&self, args: &[&str]) -> Command {
        let mut c = self.lab.inside(program("virga"));
        c.args(args)
            .env("VIRGA_URL", "https://127.0.0.1:8443")
            .env("VIRGA_CA", self.path("manager/ca.pem"))
            .env("VIRGA_TOKEN_FILE", self.path("token"))
            .env("VIRGA_CONFIG", self.path("virga.toml"))
            .stdin(Stdio::null());
        c
    }

    /// Runs `virga`.
    #[must_use]
    pub fn virga(&self, args: &[&str]) -> Output {
        self.virga_command(args).output().expect("nsenter")
    }

    /// Runs `virga`, giving what it printed.
    ///
    /// # Panics
    /// When it fails; the message holds its error and the ends of the programs' logs.
    pub fn virga_ok(&self, args: &[&str]) -> String {
        let o = self.virga(args);
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        assert!(
            o.status.success(),
            "virga {args:?} ended with {}:\n{}{}\n--- manager\n{}\n--- agent\n{}",
            o.status,
            text(&o.stdout),
            text(&o.stderr),
            self.log("virga-manager"),
            self.log("virga-agent")
        );
        text(&o.stdout)
    }

    /// Runs `virga … -o json`.
    #[must_use]
    pub fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.virga_ok(args)).expect("JSON")
    }

    /// A VM as the API shows it.
    #[must_use]
    pub fn vm(&self, name: &str) -> Value {
        self.json(&["vm", "show", name, "-o", "json"])
    }

    /// Waits until a VM is as `condition` wants it.
    pub fn wait_vm(&self, name: &str, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
        wait_until(&format!("VM {name}: {what}"), || {
            let vm = self.vm(name);
            if condition(&vm) { Ok(vm) } else { Err(format!("{}\n{}", vm["observed"], self.log("virga-agent"))) }
        })
    }
}
