//! The real program under attack, and the memory that it takes.

use crate::raw::{SOON, connect};
use crate::world;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;

/// Generous: bodies may take 256 MiB, and the allocator keeps what was freed. Without limits sign-ins alone would take 1.9 GB.
const RSS_MAX_BYTES: u64 = 700 << 20;
/// Bytes of a page of memory.
const PAGE_BYTES: u64 = 4096;

/// A manager as a program, on free ports and with a folder of its own.
struct Program {
    child: Child,
    dir: TempDir,
    at: SocketAddr,
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Program {
    async fn start() -> Program {
        world::provider();
        let dir = tempfile::tempdir().unwrap();
        let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (at, nodes) = (free(), free());
        let exe = std::env::var("NEXTEST_BIN_EXE_virga-manager").or_else(|_| std::env::var("CARGO_BIN_EXE_virga-manager"));
        let mut c = Command::new(exe.unwrap_or_else(|_| env!("CARGO_BIN_EXE_virga-manager").into()));
        c.arg("run").arg("--state-dir").arg(dir.path()).args(["--listen", &at.to_string(), "--node-listen", &nodes.to_string()]);
        let child = c.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let p = Program { child, dir, at };
        p.wait_until_it_serves().await;
        p
    }

    async fn wait_until_it_serves(&self) {
        let begun = Instant::now();
        while connect(self.dir.path(), self.at).await.is_err() {
            assert!(begun.elapsed() < SOON, "the manager does not start");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Memory that is resident, in bytes.
    fn rss(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/statm", self.child.id())).unwrap();
        text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * PAGE_BYTES
    }

    fn holds(&self, attack: &str) {
        let rss = self.rss();
        assert!(rss < RSS_MAX_BYTES, "{attack}: {} MiB", rss >> 20);
    }

    async fn lives(&self) {
        let ping = world::client(&self.dir).get(format!("https://{}/v1/ping", self.at)).send().await;
        assert_eq!(ping.unwrap().status(), 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn attacks_take_little_memory() {
    let p = Program::start().await;
    // Many bodies that are as large as they may be, and never end.
    let head = format!("POST /v1/session HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", 1 << 20);
    let most = "x".repeat((1 << 20) - 1);
    let mut held = Vec::new();
    for _ in 0..200 {
        let Ok(mut s) = connect(p.dir.path(), p.at).await else { break };
        let sent = async { s.write_all(head.as_bytes()).await.is_ok() && s.write_all(most.as_bytes()).await.is_ok() };
        let _ = tokio::time::timeout(Duration::from_secs(1), sent).await;
        held.push(s);
    }
    p.holds("bodies that never end");
    drop(held);
    // Readers that ask for much and take nothing.
    let ask = "GET /v1/openapi.json HTTP/1.1\r\nhost: a\r\n\r\n".repeat(50);
    let mut held = Vec::new();
    for _ in 0..200 {
        let Ok(mut s) = connect(p.dir.path(), p.at).await else { break };
        let _ = tokio::time::timeout(Duration::from_secs(1), s.write_all(ask.as_bytes())).await;
        held.push(s);
    }
    p.holds("readers that do not read");
    drop(held);
    // Sign-ins, as fast as they go: each hash that is computed takes 19 MiB.
    let http = world::client(&p.dir);
    let url = format!("https://{}/v1/session", p.at);
    let body = serde_json::json!({"user": "admin", "password": "wrong horse battery"});
    futures::future::join_all((0..100).map(|_| http.post(&url).json(&body).send())).await;
    p.holds("sign-ins");
    p.lives().await;
}
