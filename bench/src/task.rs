//! Durable power tasks against simulated agents, beside PostgreSQL's own commits on the same disk.
//!
//! A task is asked for over HTTPS, accepted in a transaction with its audit record and event, claimed, brought to the
//! agent (the real agent's code on a simulated machine, joined in process), answered, and ended: all durable.

use crate::client::Target;
use crate::figure::{Figure, Goal};
use crate::place::Place;
use crate::{postgres, seed};
use anyhow::{Result, ensure};
use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use virga_agent::host::Journal;
use virga_agent::link::Link;
use virga_agent::node::Node;
use virga_manager::node::client::{Duplex, NodeClient};
use virga_manager::state::Manager;
use virga_model::host::Host;
use virga_model::order::{CallHead, ImageRef, NodeAnswer, NodeCall, Report, ReportAck};
use virga_model::user::ConsoleKind;
use virga_model::{Error, HostId, VmId};
use virga_sim::{MemoryJournal, SimClock, SimHost};

/// Hosts. Each starts four guests at a time, and a simulated start takes 50 ms: sixteen would bound the rate to a thousand.
const HOSTS: u32 = 64;
/// VMs.
const VMS: u32 = 4096;
/// Connections that ask for tasks.
const CONNECTIONS: usize = 16;
/// Rounds of starting all and of switching all off.
const ROUNDS: u32 = 1;
/// Longest wait for all tasks to end.
const PATIENCE: Duration = Duration::from_secs(120);

/// Agents in this process.
#[derive(Default)]
struct Nodes(Mutex<HashMap<HostId, Arc<Node>>>);

impl Nodes {
    fn get(&self, id: HostId) -> Option<Arc<Node>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }
}

#[async_trait]
impl NodeClient for Nodes {
    async fn call(&self, host: &Host, head: CallHead, call: NodeCall) -> Result<NodeAnswer, Error> {
        let node = self.get(host.id).ok_or_else(|| Error::unavailable("no such host"))?;
        Ok(node.call(head, call).await)
    }
    async fn screenshot(&self, _: &Host, _: VmId) -> Result<Vec<u8>, Error> {
        Err(Error::unavailable("not here"))
    }
    async fn console(&self, _: &Host, _: VmId, _: ConsoleKind) -> Result<Box<dyn Duplex>, Error> {
        Err(Error::unavailable("not here"))
    }
    fn forget(&self, _: HostId) {}
}

/// Brings reports to the manager.
struct Up {
    manager: Arc<OnceLock<Arc<Manager>>>,
    host: HostId,
}

#[async_trait]
impl Link for Up {
    async fn report(&self, report: &Report) -> Result<ReportAck, Error> {
        let manager = self.manager.get().ok_or_else(|| Error::unavailable("not yet"))?;
        let mut tx = manager.store.read().await?;
        let host = virga_store::host::get(&mut tx, self.host).await?.ok_or_else(|| Error::not_found("host", "of the bench"))?;
        drop(tx);
        virga_manager::node::report::take(manager, host, report.clone()).await
    }

    async fn fetch_image(&self, _: &ImageRef, _: u64) -> Result<BoxStream<'static, Result<Vec<u8>, Error>>, Error> {
        Ok(futures::stream::empty().boxed())
    }
}

/// Measures.
///
/// # Errors
/// When a task fails, or PostgreSQL's programs are not there.
pub async fn figures() -> Result<Vec<Figure>> {
    let nodes = Arc::new(Nodes::default());
    let slot = Arc::new(OnceLock::new());
    // As many rows as the hosts need; their VMs are made through the API.
    let place = Place::hosts_only(HOSTS, nodes.clone()).await?;
    let _ = slot.set(place.running.manager.clone());
    let clock = SimClock::at(virga_manager::state::wall_clock());
    let mut jobs = vec![tokio::spawn({
        let clock = clock.clone();
        async move { clock.keep_pace(1).await }
    })];
    for n in 0..HOSTS {
        let host = SimHost::new(&format!("h{n}"), 1 << 40, clock.clone());
        let link = Arc::new(Up { manager: slot.clone(), host: seed::host_id(n) });
        let node = Node::open(host, link, MemoryJournal::new() as Arc<dyn Journal>).await?;
        nodes.0.lock().unwrap_or_else(PoisonError::into_inner).insert(seed::host_id(n), node.clone());
        jobs.push(tokio::spawn(virga_agent::report::run(node)));
    }
    until(&place.target, "all hosts to report", |s| s["hosts_up"] == HOSTS).await?;
    let begun = Instant::now();
    ask(&place.target, "/v1/vms", |n| format!(r#"{{"name":"t-{n}","memory_bytes":{},"disks":[],"nics":[]}}"#, 128 << 20)).await?;
    until(&place.target, "all to be made", |s| s["tasks_active"] == 0).await?;
    eprintln!("bench: {:.0} creations a second", f64::from(VMS) / begun.elapsed().as_secs_f64());
    let (begun, before, cpu) = (Instant::now(), place.running.manager.store.spent(), cpu_ms()?);
    for _ in 0..ROUNDS {
        for action in ["start", "force_off"] {
            ask(&place.target, "/v1/vms/{}/power", |_| format!(r#"{{"action":"{action}"}}"#)).await?;
            until(&place.target, "all tasks to end", |s| s["tasks_active"] == 0).await?;
        }
    }
    let ours = f64::from(VMS * ROUNDS * 2) / begun.elapsed().as_secs_f64();
    let after = place.running.manager.store.spent();
    let each = |a: u64, b: u64| (a - b) as f64 / f64::from(VMS * ROUNDS * 2);
    eprintln!(
        "bench: for each task {:.1} statements, {:.2} reading and {:.2} writing transactions, {:.2} ms of processor with agents and clients",
        each(after.statements, before.statements),
        each(after.reads, before.reads),
        each(after.writes, before.writes),
        (cpu_ms()? - cpu) / f64::from(VMS * ROUNDS * 2)
    );
    jobs.iter().for_each(tokio::task::JoinHandle::abort);
    place.end().await;
    let peer = tokio::task::spawn_blocking(postgres::commits).await??;
    let peer_is = "single-row commits of PostgreSQL with 16 clients (pgbench), same disk, fsync on";
    Ok(vec![Figure { name: "api-durable-tasks", unit: "tasks/s", peer_is, ours, peer, goal: 0.3, side: Goal::AtLeast }])
}

/// Milliseconds of processor that this process has taken.
fn cpu_ms() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit(") ").next().unwrap_or_default();
    let ticks: f64 = after_name.split(' ').skip(11).take(2).filter_map(|n| n.parse::<f64>().ok()).sum();
    Ok(ticks * 10.0)
}

/// Sends one request for each VM, over all connections.
async fn ask(target: &Target, path: &str, body: impl Fn(u32) -> String) -> Result<()> {
    let mut work = Vec::with_capacity(CONNECTIONS);
    for c in 0..CONNECTIONS as u32 {
        let requests: Vec<Vec<u8>> = (c..VMS).step_by(CONNECTIONS).map(|n| target.request("POST", &path.replace("{}", &format!("t-{n}")), &body(n))).collect();
        let mut line = target.connect().await?;
        work.push(tokio::spawn(async move {
            for r in requests {
                let (status, body) = line.send(&r).await?;
                ensure!(status == 202, "status {status}: {}", String::from_utf8_lossy(&body));
            }
            Ok(())
        }));
    }
    for w in work {
        w.await??;
    }
    Ok(())
}

/// Waits until the installation is as `good` wants it.
async fn until(target: &Target, what: &str, good: impl Fn(&serde_json::Value) -> bool) -> Result<()> {
    let mut line = target.connect().await?;
    let end = Instant::now() + PATIENCE;
    loop {
        let (status, body) = line.send(&target.request("GET", "/v1/system", "")).await?;
        ensure!(status == 200, "status {status}");
        let system: serde_json::Value = serde_json::from_slice(&body)?;
        if good(&system) {
            return Ok(());
        }
        ensure!(Instant::now() < end, "waited too long for {what}: {system}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
