//! The manager as a process: nothing secret in its arguments, its environment or its files, and no core file when it
//! crashes (`reliability.md` Y2, X11).

use crate::world::{answer, client};
use serde_json::json;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The program beside the test's own.
fn program() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    let found = exe.ancestors().skip(1).take(2).map(|d| d.join("virga-manager")).find(|p| p.is_file());
    found.unwrap_or_else(|| panic!("virga-manager is not built beside {}", exe.display()))
}

struct Manager {
    child: Child,
    port: u16,
}

impl Drop for Manager {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A free port; somebody else may take it before the manager does, which then does not start.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Manager {
    /// Starts one that could leave a core file in `dir`, and waits until it serves.
    async fn start(folder: &TempDir) -> Manager {
        let (port, dir) = (free_port(), folder.path());
        let mut command = Command::new(program());
        command.args(["run", "--listen", &format!("127.0.0.1:{port}"), "--node-listen", "127.0.0.1:0", "--state-dir"]).arg(dir).current_dir(dir);
        command.env("VIRGA_LOG", "debug").stdin(Stdio::null()).stdout(Stdio::null()).stderr(std::fs::File::create(dir.join("log")).unwrap());
        // SAFETY: setrlimit is safe to call between fork and exec, and the structure lives as long.
        unsafe {
            command.pre_exec(|| {
                let all = rustix::process::Rlimit { current: None, maximum: None };
                let _ = rustix::process::setrlimit(rustix::process::Resource::Core, all);
                Ok(())
            });
        }
        let mut m = Manager { child: command.spawn().unwrap(), port };
        let begun = Instant::now();
        while !m.serves(folder).await {
            let log = std::fs::read_to_string(dir.join("log")).unwrap_or_default();
            assert!(m.child.try_wait().unwrap().is_none() && begun.elapsed() < Duration::from_secs(120), "the manager does not serve:\n{log}");
            wait_a_moment().await;
        }
        m
    }

    async fn serves(&self, dir: &TempDir) -> bool {
        dir.path().join("ca.pem").exists() && client(dir).get(format!("https://localhost:{}/v1/ping", self.port)).send().await.is_ok()
    }
}

async fn wait_a_moment() {
    tokio::time::sleep(Duration::from_millis(50)).await;
}

fn proc(m: &Manager, name: &str) -> String {
    String::from_utf8_lossy(&std::fs::read(format!("/proc/{}/{name}", m.child.id())).unwrap_or_default()).replace('\0', " ")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_leaves_no_core_file_and_nothing_secret_stands_outside() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let dir = tempfile::tempdir().unwrap();
    let mut m = Manager::start(&dir).await;
    let first = std::fs::read_to_string(dir.path().join("admin-password")).unwrap().trim().to_string();
    let (http, base) = (client(&dir), format!("https://localhost:{}", m.port));
    let signed = answer(http.post(format!("{base}/v1/session")).json(&json!({"user": "admin", "password": first})).send().await.unwrap()).await.is(201);
    let token = signed.body["token"].as_str().unwrap().to_string();
    let change = http.put(format!("{base}/v1/session/password")).bearer_auth(&token).json(&json!({"current": first, "new": "canary-admin-password"}));
    answer(change.send().await.unwrap()).await.is(204);
    let secrets = [first.as_str(), "canary-admin-password", &token[3..], &signed.body["csrf"].as_str().unwrap()[3..]];
    let outside = [proc(&m, "cmdline"), proc(&m, "environ"), std::fs::read_to_string(dir.path().join("log")).unwrap()];
    assert!(outside[0].contains("--state-dir"), "the test looks where things are");
    for s in secrets {
        assert!(outside.iter().all(|t| !t.contains(s)), "a secret stands in arguments, environment or log");
    }
    let limits = proc(&m, "limits");
    let core = limits.lines().find(|l| l.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    // A crash, as an assertion of a library would make it.
    let pid = rustix::process::Pid::from_child(&m.child);
    rustix::process::kill_process(pid, rustix::process::Signal::ABORT).unwrap();
    let status = m.child.wait().unwrap();
    assert_eq!(status.signal(), Some(6));
    assert!(!status.core_dumped());
    for path in std::fs::read_dir(dir.path()).unwrap().flatten().map(|e| e.path()).filter(|p| p.is_file()) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert!(!name.contains("core"), "{name}");
        let data = std::fs::read(&path).unwrap();
        for s in secrets {
            assert!(!data.windows(s.len()).any(|w| w == s.as_bytes()), "a secret lies in {name}");
        }
    }
}
