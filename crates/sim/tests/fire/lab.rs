//! One machine, one agent that can be killed and comes back, and a manager that notes what it is told and when.

use crate::hostile::{FullJournal, Hostile};
use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use uuid::Uuid;
use virga_agent::host::{Journal, Result};
use virga_agent::link::Link;
use virga_agent::node::Node;
use virga_crash::Part;
use virga_model::order::{CallHead, ImageRef, NetworkRef, NodeAnswer, NodeCall, Report, ReportAck, StoreRef, VmOrder, VmReport, stores_digest};
use virga_model::vm::{Desired, DiskSpec, StopMode};
use virga_model::{DiskId, ImageId, NetworkId, TaskId, VmId};
use virga_sim::crash::{Life, Plan};
use virga_sim::{MemoryJournal, SimClock, SimHost};

pub const IMAGE: &[u8] = b"content of an image";

/// A manager that remembers what it was told.
pub struct FakeManager {
    clock: SimClock,
    pub vms: Mutex<BTreeMap<VmId, VmReport>>,
    /// When reports came.
    pub at: Mutex<Vec<u64>>,
    /// Bytes of the largest.
    pub largest: Mutex<usize>,
    /// Every state that was ever said, in order.
    pub said: Mutex<Vec<(VmId, virga_model::vm::VmState)>>,
    pub samples: Mutex<Vec<virga_model::stats::VmSample>>,
    /// The data stores that the host shall watch.
    pub watch: Mutex<Vec<StoreRef>>,
}

struct Up(Arc<FakeManager>, Arc<Life>);

#[async_trait]
impl Link for Up {
    async fn report(&self, report: &Report) -> Result<ReportAck> {
        if self.1.is_dead() {
            std::future::pending::<()>().await;
        }
        let m = &self.0;
        let mut vms = m.vms.lock().unwrap();
        if report.full {
            vms.clear();
        }
        vms.extend(report.vms.iter().map(|v| (v.id, v.clone())));
        m.said.lock().unwrap().extend(report.vms.iter().map(|v| (v.id, v.observed.state)));
        m.samples.lock().unwrap().extend(report.vm_samples.iter().copied());
        m.at.lock().unwrap().push(m.clock.now_ms());
        let bytes = serde_json::to_vec(report).unwrap().len();
        let mut largest = m.largest.lock().unwrap();
        *largest = bytes.max(*largest);
        let watch = m.watch.lock().unwrap();
        let stores = (stores_digest(&watch) != report.stores_digest).then(|| watch.clone());
        Ok(ReportAck { stores, ..ReportAck::default() })
    }

    async fn fetch_image(&self, _image: &ImageRef, offset: u64) -> Result<BoxStream<'static, Result<Vec<u8>>>> {
        let rest = IMAGE[usize::try_from(offset).unwrap()..].to_vec();
        Ok(futures::stream::iter(rest.chunks(8).map(|c| Ok(c.to_vec())).collect::<Vec<_>>()).boxed())
    }
}

pub struct Lab {
    pub clock: SimClock,
    pub host: Arc<Hostile>,
    pub journal: Arc<FullJournal>,
    pub manager: Arc<FakeManager>,
    pub plan: Arc<Plan>,
    node: Arc<Node>,
    life: Arc<Life>,
    reporting: tokio::task::JoinHandle<()>,
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.reporting.abort();
    }
}

impl Lab {
    pub async fn new() -> Lab {
        let clock = SimClock::default();
        let host = Hostile::new(SimHost::new("h1", 1 << 40, clock.clone()));
        let journal = Arc::new(FullJournal { inner: MemoryJournal::new(), full: Mutex::new(false) });
        let manager = Arc::new(FakeManager {
            clock: clock.clone(),
            vms: Mutex::default(),
            at: Mutex::default(),
            largest: Mutex::default(),
            said: Mutex::default(),
            samples: Mutex::default(),
            watch: Mutex::default(),
        });
        let plan = Plan::new(clock.clone());
        let (node, life, reporting) = begin(&host, &journal, &manager, &plan).await;
        Lab { clock, host, journal, manager, plan, node, life, reporting }
    }

    /// The agent is killed, if it lives still, and started anew; the machine goes on.
    pub async fn restart_agent(&mut self) {
        self.reporting.abort();
        self.life.end();
        (self.node, self.life, self.reporting) = begin(&self.host, &self.journal, &self.manager, &self.plan).await;
    }

    /// Lets time pass, restarting an agent that dies.
    pub async fn run(&mut self, ms: u64) {
        for _ in 0..ms.div_ceil(1_000) {
            self.clock.run_for(1_000).await;
            if !self.plan.take_deaths().is_empty() {
                self.restart_agent().await;
            }
        }
    }

    /// One call; none: the agent died, or does not answer.
    pub async fn call(&mut self, task: u128, call: NodeCall) -> Option<NodeAnswer> {
        self.call_with(CallHead { task: TaskId(Uuid::from_u128(task)), epoch: 1, deadline_ms: 1000 }, call).await
    }

    /// The same with any head.
    pub async fn call_with(&mut self, head: CallHead, call: NodeCall) -> Option<NodeAnswer> {
        let (node, life) = (self.node.clone(), self.life.clone());
        let answer = tokio::spawn(virga_crash::with(life, async move { node.call(head, call).await }));
        self.run(1_000).await;
        if answer.is_finished() { answer.await.ok() } else { None }
    }

    pub async fn ensure(&mut self, order: &VmOrder) -> Option<NodeAnswer> {
        self.call(77, NodeCall::EnsureVm { order: Box::new(order.clone()) }).await
    }

    /// Orders as a manager does, again and again until the host says that it has finished.
    pub async fn bring(&mut self, order: &VmOrder) -> VmReport {
        for _ in 0..12 {
            self.ensure(order).await;
            self.run(10_000).await;
            let told = self.manager.vms.lock().unwrap().get(&order.id).cloned();
            if let Some(r) = told.filter(|r| r.observed.generation == order.generation && r.observed.settled) {
                return r;
            }
        }
        panic!("not settled: {:?}; host {:?}", self.report(order.id), self.host.sim.log());
    }

    pub fn report(&self, vm: VmId) -> Option<VmReport> {
        self.manager.vms.lock().unwrap().get(&vm).cloned()
    }

    /// Longest simulated time without a report since `from`.
    pub fn longest_silence(&self, from: u64) -> u64 {
        let at: Vec<u64> = self.manager.at.lock().unwrap().iter().copied().filter(|t| *t >= from).chain([self.clock.now_ms()]).collect();
        at.iter().scan(from, |before, t| Some(t - std::mem::replace(before, *t))).max().unwrap_or(u64::MAX)
    }
}

async fn begin(
    host: &Arc<Hostile>,
    journal: &Arc<FullJournal>,
    manager: &Arc<FakeManager>,
    plan: &Arc<Plan>,
) -> (Arc<Node>, Arc<Life>, tokio::task::JoinHandle<()>) {
    let life = Life::new(Part::Agent, plan);
    let link = Arc::new(Up(manager.clone(), life.clone()));
    let open = Node::open(host.clone(), link, journal.clone() as Arc<dyn Journal>);
    let node = virga_crash::with(life.clone(), open).await.unwrap();
    let reporting = tokio::spawn(virga_crash::with(life.clone(), virga_agent::report::run(node.clone())));
    (node, life, reporting)
}

pub fn vm(n: u128) -> VmId {
    VmId(Uuid::from_u128(n))
}

pub fn image() -> ImageRef {
    ImageRef {
        id: ImageId(Uuid::from_u128(5)),
        format: virga_model::image::ImageFormat::Raw,
        size_bytes: IMAGE.len() as u64,
        virtual_bytes: 1 << 20,
        sha256: Sha256::digest(IMAGE).iter().map(|b| format!("{b:02x}")).collect(),
    }
}

/// Where the data store lies.
pub const GOLD: &str = "/srv/gold";

pub fn gold() -> StoreRef {
    let spec = virga_model::data_store::DataStoreSpec::SharedDirectory { path: GOLD.into(), backing: Default::default() };
    StoreRef { id: Uuid::from_u128(70).into(), name: "gold".into(), spec }
}

pub fn network() -> NetworkRef {
    NetworkRef { id: NetworkId(Uuid::from_u128(6)), name: "net".into(), spec: virga_model::network::NetworkSpec::Nat { cidr: "10.9.0.0/24".into() } }
}

pub fn disk(n: u128) -> DiskSpec {
    DiskSpec {
        id: DiskId(Uuid::from_u128(n)),
        size_bytes: 1 << 30,
        image: Some(image().id),
        bus: Default::default(),
        cache: Default::default(),
        mode: Default::default(),
        limits: Default::default(),
        origin: None,
        copy_of: None,
        provisioning: Default::default(),
        format: Default::default(),
        discard: Default::default(),
        sharing: Default::default(),
        store: None,
    }
}

/// An order for VM `n` with one disk and a network.
pub fn order(n: u128, generation: i64, desired: Desired) -> VmOrder {
    let spec = serde_json::json!({"cpu": {"count": 1, "max": 4}, "memory": {"bytes": 1u64 << 28, "max_bytes": 1u64 << 28}, "disks": [disk(n + 1000)]});
    VmOrder {
        id: vm(n),
        name: format!("vm{n}"),
        generation,
        spec: serde_json::from_value(spec).unwrap(),
        desired,
        stop_mode: StopMode::Force,
        images: vec![image()],
        networks: vec![network()],
        keep_disks: vec![],
        keep_layers: vec![],
        former_spec: None,
        stores: vec![],
        keep_memories: vec![],
    }
}
