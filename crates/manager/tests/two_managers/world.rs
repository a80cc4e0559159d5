//! Two whole managers, each on a runtime of its own, on one PostgreSQL; and the real agents on simulated machines, joined
//! to them by the real wires. A manager can be killed (its runtime is dropped, with every future where it stood), frozen
//! before or inside a call or a transaction, and cut from the database.

use crate::postgres;
use crate::proxy::Proxy;
use async_trait::async_trait;
use clap::Parser;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use virga_agent::host::{Facts, Journal};
use virga_agent::identity::{self, Identity};
use virga_agent::node::Node;
use virga_agent::wire;
use virga_manager::ca::Authority;
use virga_manager::config::{Command, Config, Program};
use virga_manager::node::client::{Duplex, GrpcClient, NodeClient};
use virga_manager::state::{Clocks, Manager, wall_clock};
use virga_manager::{first, serve};
use virga_model::host::Host;
use virga_model::order::{CallHead, JoinRequest, NodeAnswer, NodeCall};
use virga_model::user::ConsoleKind;
use virga_model::{Error, HostId, VmId};
use virga_sim::{MemoryJournal, SimClock, SimHost};
use virga_store::{Gate, Passage, Store};

/// Simulated milliseconds of machines for each real one.
const SPEED: u32 = 10;
/// Real time in which everything must have happened, also on a slow machine.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// Where a manager falls asleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sleep {
    /// Awake.
    No,
    /// A call has been decided on and does not reach the agent.
    BeforeCall,
    /// The agent has answered, and the manager does not notice.
    AfterCall,
    /// Before a writing transaction begins.
    BeforeWrite,
    /// In a transaction, before its commit.
    InWrite,
}

/// What makes a manager sleep and what it did when it was woken.
pub struct Bed {
    sleep: watch::Sender<Sleep>,
    /// It has fallen asleep: nothing of it goes on.
    frozen: watch::Sender<bool>,
    /// How many things wait for the manager to wake.
    asleep: AtomicI64,
    /// Answers to calls that were held up.
    pub late: Mutex<Vec<NodeAnswer>>,
}

impl Bed {
    fn new() -> Arc<Bed> {
        Arc::new(Bed { sleep: watch::Sender::new(Sleep::No), frozen: watch::Sender::new(false), asleep: AtomicI64::new(0), late: Mutex::default() })
    }

    pub fn lull(&self, at: Sleep) {
        self.sleep.send_replace(at);
        if at == Sleep::No {
            self.frozen.send_replace(false);
        }
    }

    /// What a sleeping program does: nothing.
    async fn thawed(&self) {
        let mut f = self.frozen.subscribe();
        drop(f.wait_for(|f| !*f).await);
    }

    pub fn is_asleep(&self) -> bool {
        self.asleep.load(Ordering::SeqCst) > 0
    }

    /// Waits here while the manager sleeps at this place; true if it did.
    async fn pass(&self, place: Sleep) -> bool {
        if *self.sleep.borrow() != place {
            return false;
        }
        self.asleep.fetch_add(1, Ordering::SeqCst);
        self.frozen.send_replace(true);
        let mut s = self.sleep.subscribe();
        drop(s.wait_for(|s| *s == Sleep::No).await);
        self.asleep.fetch_sub(1, Ordering::SeqCst);
        true
    }
}

struct Nodes {
    inner: GrpcClient,
    bed: Arc<Bed>,
}

#[async_trait]
impl NodeClient for Nodes {
    async fn call(&self, host: &Host, head: CallHead, call: NodeCall) -> Result<NodeAnswer, Error> {
        let late = self.bed.pass(Sleep::BeforeCall).await;
        let answer = self.inner.call(host, head, call).await?;
        if late {
            self.bed.late.lock().unwrap().push(answer.clone());
        }
        self.bed.pass(Sleep::AfterCall).await;
        Ok(answer)
    }

    async fn screenshot(&self, host: &Host, vm: VmId) -> Result<Vec<u8>, Error> {
        self.inner.screenshot(host, vm).await
    }

    async fn console(&self, host: &Host, vm: VmId, kind: ConsoleKind) -> Result<Box<dyn Duplex>, Error> {
        self.inner.console(host, vm, kind).await
    }

    fn forget(&self, host: HostId) {
        self.inner.forget(host);
    }
}

impl Gate for Bed {
    fn enter(&self, writes: bool) -> Passage<'_, Box<dyn Send + Sync>> {
        Box::pin(async move {
            self.thawed().await;
            if writes {
                self.pass(Sleep::BeforeWrite).await;
            }
            Box::new(()) as Box<dyn Send + Sync>
        })
    }

    fn before_commit(&self, writes: bool) -> Passage<'_, bool> {
        Box::pin(async move {
            if writes {
                self.pass(Sleep::InWrite).await;
            }
            true
        })
    }

    fn after_commit(&self, _writes: bool) -> Passage<'_, ()> {
        Box::pin(async {})
    }
}

/// A manager that serves.
pub struct One {
    runtime: Option<Runtime>,
    pub manager: Arc<Manager>,
    pub proxy: Arc<Proxy>,
    pub bed: Arc<Bed>,
    pub api: String,
    pub node: String,
    pub dir: TempDir,
}

impl One {
    /// Ends it as `kill -9` does: nothing of it goes on, nothing is tidied up.
    pub fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for One {
    fn drop(&mut self) {
        self.bed.lull(Sleep::No);
        self.kill();
    }
}

/// A simulated machine with its agent.
pub struct Machine {
    pub host: Arc<SimHost>,
    pub link: Arc<wire::GrpcLink>,
    pub state: TempDir,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    _stop: watch::Sender<bool>,
}

pub struct World {
    pub managers: Vec<One>,
    pub machines: Vec<Machine>,
    pub address: String,
    pub token: String,
    pub http: reqwest::Client,
    ahead: Arc<AtomicI64>,
    clock: SimClock,
    pace: tokio::task::JoinHandle<()>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.pace.abort();
        self.machines.iter().flat_map(|m| &m.tasks).for_each(|t| t.abort());
    }
}

/// An answer of the API.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

fn config(dir: &TempDir, node: &str) -> Config {
    let dir = dir.path().to_str().unwrap();
    let args = ["virga-manager", "run", "--state-dir", dir, "--listen", "127.0.0.1:0", "--node-listen", node];
    let Command::Run(config) = Program::parse_from(args).command else { unreachable!("run") };
    *config
}

impl World {
    /// Two managers and `hosts` machines.
    pub async fn new(hosts: usize) -> World {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let address = postgres::empty_database();
        let (ahead, clock) = (Arc::new(AtomicI64::new(0)), SimClock::default());
        let follow = clock.clone();
        let pace = tokio::spawn(async move { follow.follow_real_time(SPEED).await });
        let mut w = World { managers: vec![], machines: vec![], address, token: String::new(), http: reqwest::Client::new(), ahead, clock, pace };
        w.start_manager().await;
        let m = w.managers[0].manager.clone();
        w.token = first::admin_token(&m.store, wall_clock(), wall_clock().plus_seconds(86_400)).await.unwrap();
        let ca = reqwest::Certificate::from_pem(m.ca.ca_pem().as_bytes()).unwrap();
        w.http = reqwest::Client::builder().tls_certs_only([ca]).timeout(PATIENCE).build().unwrap();
        w.start_manager().await;
        for n in 0..hosts {
            w.join(&format!("h{n}")).await;
        }
        // Each manager looks for the others every few seconds, and agents hear of it with the next acknowledgement.
        let knows = |w: &World, m: &Machine| w.managers.iter().all(|o| m.link.managers().contains(&o.node));
        w.until("agents know both managers", async |w: &World| w.machines.iter().all(|m| knows(w, m))).await;
        w
    }

    /// A further manager: with the authority of the first in its folder, as the guide says.
    pub async fn start_manager(&mut self) {
        let dir = tempfile::tempdir().unwrap();
        if let Some(first) = self.managers.first() {
            for name in ["ca.pem", "ca.key"] {
                std::fs::copy(first.dir.path().join(name), dir.path().join(name)).unwrap();
            }
        }
        let one = self.boot(dir, "127.0.0.1:0").await;
        self.managers.push(one);
    }

    /// The manager that was killed comes back under its address, with its folder.
    pub async fn restart_manager(&mut self, manager: usize) {
        let empty = tempfile::tempdir().unwrap();
        let dir = std::mem::replace(&mut self.managers[manager].dir, empty);
        let node = self.managers[manager].node.clone();
        self.managers[manager] = self.boot(dir, &node).await;
    }

    async fn boot(&self, dir: TempDir, node: &str) -> One {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let proxy = Proxy::start(&postgres::socket(&self.address), &tokio::runtime::Handle::current());
        let (before, _) = self.address.split_once("?host=").unwrap();
        let url = format!("{before}?host={}&sslmode=disable", proxy.folder().display());
        let (bed, ahead, config) = (Bed::new(), self.ahead.clone(), config(&dir, node));
        let gate: Arc<dyn Gate> = bed.clone();
        let nodes = Arc::new(Nodes { inner: GrpcClient::new(&Authority::open(dir.path()).unwrap()).unwrap(), bed: bed.clone() });
        let running = runtime
            .spawn(async move {
                let store = Store::open(&url).await.unwrap().behind(gate);
                let clocks = Clocks { wall: Box::new(move || wall_clock().plus_seconds(ahead.load(Ordering::SeqCst))), ..Clocks::default() };
                serve::start_with(config, nodes, store, clocks).await.unwrap()
            })
            .await
            .unwrap();
        let (manager, api, node) = (running.manager.clone(), format!("https://localhost:{}", running.api_addr.port()), running.node_addr.to_string());
        // It is never stopped in good order here; its runtime ends it.
        std::mem::forget(running);
        One { runtime: Some(runtime), manager, proxy, bed, api, node, dir }
    }

    /// A machine joins, by the first manager.
    async fn join(&mut self, name: &str) {
        let made = self.post(0, "/v1/host-join-tokens", json!({ "host_name": name }), &[]).await;
        let file = identity::read_join_file(made.body["join_file"].as_str().unwrap_or_else(|| panic!("{made:?}"))).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let host = SimHost::new(name, 64 << 30, self.clock.clone());
        let request = identity::request().unwrap();
        let ask = JoinRequest { secret: file.secret.clone(), csr_pem: request.csr_pem.clone(), address: address.clone(), facts: host.facts().await.unwrap() };
        let answer = wire::join(&file.manager, &file.ca_pem, &ask).await.unwrap();
        let identity = Identity::joined(request, answer, &file.manager, &address);
        let state = tempfile::tempdir().unwrap();
        identity.save(state.path()).unwrap();
        let link = Arc::new(wire::GrpcLink::new(&identity).unwrap().keeping(state.path()));
        let node = Node::open(host.clone(), link.clone(), MemoryJournal::new() as Arc<dyn Journal>).await.unwrap();
        let (stop, stopped) = watch::channel(false);
        let (reporting, serving) = (node.clone(), node);
        let tasks = vec![
            tokio::spawn(virga_agent::report::run(reporting)),
            tokio::spawn(async move { wire::serve(serving, &identity, listener, stopped).await.unwrap() }),
        ];
        self.machines.push(Machine { host, link, state, tasks, _stop: stop });
        let path = format!("/v1/hosts/{name}");
        self.until("the host is up", async |w: &World| w.get(0, &path).await.body["state"] == "up").await;
    }

    /// Moves the managers' wall clock.
    pub fn advance(&self, seconds: i64) {
        self.ahead.fetch_add(seconds, Ordering::SeqCst);
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        match request.bearer_auth(&self.token).send().await {
            Ok(r) => {
                let status = r.status().as_u16();
                Answer { status, body: r.json().await.unwrap_or_default() }
            }
            Err(e) => Answer { status: 0, body: e.to_string().into() },
        }
    }

    pub async fn get(&self, manager: usize, path: &str) -> Answer {
        self.send(self.http.get(format!("{}{path}", self.managers[manager].api))).await
    }

    pub async fn post(&self, manager: usize, path: &str, body: Value, headers: &[(&str, &str)]) -> Answer {
        let mut request = self.http.post(format!("{}{path}", self.managers[manager].api)).json(&body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request).await
    }

    /// Waits until `f` is true.
    pub async fn until(&self, what: &str, mut f: impl AsyncFnMut(&World) -> bool) {
        let begun = Instant::now();
        while !f(self).await {
            assert!(begun.elapsed() < PATIENCE, "in vain: {what}; machines: {:?}", self.machines.iter().map(|m| m.host.log()).collect::<Vec<_>>());
            wait_a_little().await;
        }
    }

    /// Waits until no task is active, seen by this manager; answers with all tasks by id.
    pub async fn until_all_ended(&self, manager: usize) -> BTreeMap<String, Value> {
        let begun = Instant::now();
        loop {
            let a = self.get(manager, "/v1/tasks?filter=state%20in%20(queued,running)&limit=3").await;
            if a.status == 200 && a.body["items"].as_array().is_some_and(Vec::is_empty) {
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "tasks do not end: {a:#?}");
            wait_a_little().await;
        }
        let all = self.get(manager, "/v1/tasks?limit=1000").await;
        let items = all.body["items"].as_array().unwrap_or_else(|| panic!("{all:?}")).clone();
        items.into_iter().map(|t| (t["id"].as_str().unwrap().to_string(), t)).collect()
    }

    /// Waits until a manager sleeps somewhere, or has ended its task before it could.
    pub async fn until_asleep_or_done(&self, manager: usize, task: &str) {
        let path = format!("/v1/tasks/{task}");
        // The other is asked: this one answers nobody while it sleeps.
        let ended = async |w: &World| w.get(1 - manager, &path).await.body["state"] == "succeeded";
        self.until("the manager sleeps", async |w: &World| w.managers[manager].bed.is_asleep() || ended(w).await).await;
    }

    /// How often all machines together did what begins with these words to a VM.
    pub fn count(&self, what: &str) -> usize {
        self.machines.iter().map(|m| m.host.log().iter().filter(|l| l.contains(what)).count()).sum()
    }
}

async fn wait_a_little() {
    tokio::time::sleep(Duration::from_millis(100)).await;
}
