//! Managers without HTTP, a real store, and the real agent on a simulated machine, joined in process by a client that can
//! be disturbed at any call. Each can be killed at a crash point, and comes back as another life of it.

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use sha2::{Digest, Sha256};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use tokio::sync::watch;
use uuid::Uuid;
use virga_agent::host::{Journal, Networks, Volumes};
use virga_agent::link::Link;
use virga_agent::node::Node;
use virga_crash::Part;
use virga_manager::ca::Authority;
use virga_manager::node::client::{Duplex, NodeClient};
use virga_manager::state::{Clocks, Manager, Parts};
use virga_model::host::Host;
use virga_model::image::{Image, ImageState};
use virga_model::network::{Network, NetworkSpec};
use virga_model::order::{CallHead, ImageRef, NetworkRef, NodeAnswer, NodeCall, Progress, Report, ReportAck};
use virga_model::task::{Cause, ObjectRef, Task, TaskDoc, TaskKind, TaskState};
use virga_model::user::{ConsoleKind, User};
use virga_model::vm::{Desired, Observed, StopMode, Vm, VmSpec, VmState};
use virga_model::{Error, HostId, ImageId, NetworkId, SnapshotId, TaskId, Time, UserId, VmId};
use virga_sim::crash::{Life, Plan};
use virga_sim::{MemoryJournal, SimClock, SimHost};
use virga_store::{Store, Tx};

/// Simulated milliseconds for each real one, at most: a machine that is slower moves the clock less.
const SPEED: u64 = 250;
/// Simulated milliseconds after which a report is overdue: it comes every three seconds.
const OVERDUE_MS: u64 = 5_000;
/// The image and the network that the machine has from before.
pub const IMAGE: ImageId = ImageId(Uuid::from_u128(20));
pub const NETWORK: NetworkId = NetworkId(Uuid::from_u128(21));
/// Real time in which everything must have ended.
const PATIENCE: Duration = Duration::from_secs(60);
/// Real time between two looks.
const LOOK: Duration = Duration::from_millis(2);

/// What disturbs the calls to agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Nothing,
    /// Every call is made twice.
    Twice,
    /// The manager freezes when it has sent its first call and before that reaches the host; it arrives when it is thawed.
    LateCall,
    CancelledAtOnce,
    /// Somebody asks to stop the task just before the n-th call is made.
    CancelledAtCall(usize),
    /// The same, just after.
    CancelledAfterCall(usize),
}

/// The in-process transport.
pub struct Wire {
    agent: Mutex<Option<(Arc<Node>, Arc<Life>)>>,
    pub store: Store,
    clock: SimClock,
    fault: Mutex<Fault>,
    calls: AtomicUsize,
    watched: Mutex<Option<TaskId>>,
    late: watch::Sender<bool>,
    /// Whether the first call is under way and late.
    pub is_late: AtomicBool,
    /// What the host said to the late call.
    pub late_answer: Mutex<Option<NodeAnswer>>,
}

impl Wire {
    async fn cancel_watched(&self) {
        let watched = *self.watched.lock().unwrap();
        if let Some(id) = watched {
            let mut tx = self.store.write().await.unwrap();
            virga_store::task::request_cancel(&mut tx, id).await.unwrap();
            tx.commit().await.unwrap();
        }
    }

    /// One call to whichever agent lives now. It goes on when nobody waits any more, and a dead agent never answers.
    async fn bring(&self, head: CallHead, call: NodeCall) -> Result<NodeAnswer, Error> {
        let (node, life) = self.agent.lock().unwrap().clone().expect("the node is there");
        if life.is_dead() {
            return Err(Error::unavailable("The agent is dead."));
        }
        let answer = tokio::spawn(virga_crash::with(life, async move { node.call(head, call).await }));
        tokio::select! {
            a = answer => a.map_err(|_| Error::unavailable("The agent died.")),
            () = self.clock.sleep_ms(head.deadline_ms) => Err(Error::unavailable("The agent did not answer in time.")),
        }
    }

    /// Lets the late call arrive.
    pub fn release(&self) {
        self.late.send_replace(true);
    }
}

#[async_trait]
impl NodeClient for Wire {
    async fn call(&self, _host: &Host, head: CallHead, call: NodeCall) -> Result<NodeAnswer, Error> {
        let (fault, n) = (*self.fault.lock().unwrap(), self.calls.fetch_add(1, Ordering::SeqCst));
        match fault {
            Fault::CancelledAtCall(at) if at == n => self.cancel_watched().await,
            Fault::Twice => drop(self.bring(head, call.clone()).await),
            Fault::LateCall if n == 0 => {
                self.is_late.store(true, Ordering::SeqCst);
                let mut late = self.late.subscribe();
                drop(late.wait_for(|l| *l).await);
                let answer = self.bring(head, call).await?;
                *self.late_answer.lock().unwrap() = Some(answer.clone());
                return Ok(answer);
            }
            _ => {}
        }
        let answer = self.bring(head, call).await;
        if fault == Fault::CancelledAfterCall(n) {
            self.cancel_watched().await;
        }
        answer
    }

    async fn screenshot(&self, _host: &Host, _vm: VmId) -> Result<Vec<u8>, Error> {
        Err(Error::unavailable("not here"))
    }

    async fn console(&self, _host: &Host, _vm: VmId, _kind: ConsoleKind) -> Result<Box<dyn Duplex>, Error> {
        Err(Error::unavailable("not here"))
    }

    fn forget(&self, _host: HostId) {}
}

/// Brings reports of one life of the agent to whichever manager lives.
struct Up {
    manager: Arc<Mutex<(Arc<Manager>, Arc<Life>)>>,
    agent: Arc<Life>,
    host: HostId,
    clock: SimClock,
    reported: Arc<AtomicU64>,
}

#[async_trait]
impl Link for Up {
    async fn report(&self, report: &Report) -> Result<ReportAck, Error> {
        if self.agent.is_dead() {
            std::future::pending::<()>().await;
        }
        let (manager, life) = self.manager.lock().unwrap().clone();
        if life.is_dead() || life.is_frozen() {
            return Err(Error::unavailable("No manager answers."));
        }
        let mut tx = manager.store.read().await?;
        let host = virga_store::host::get(&mut tx, self.host).await?.expect("the host has a row");
        drop(tx);
        let ack = virga_manager::node::report::take(&manager, host, report.clone()).await?;
        self.reported.store(self.clock.now_ms(), Ordering::SeqCst);
        Ok(ack)
    }

    async fn fetch_image(&self, _image: &ImageRef, _offset: u64) -> Result<BoxStream<'static, Result<Vec<u8>, Error>>, Error> {
        Ok(futures::stream::empty().boxed())
    }
}

/// All of it.
pub struct Cloud {
    pub host: Arc<SimHost>,
    pub journal: Arc<MemoryJournal>,
    pub vm_id: VmId,
    pub plan: Arc<Plan>,
    pub wire: Arc<Wire>,
    pub host_id: HostId,
    pub clock: SimClock,
    owner: UserId,
    manager: Arc<Mutex<(Arc<Manager>, Arc<Life>)>>,
    runners: Vec<tokio::task::JoinHandle<()>>,
    reporting: Option<tokio::task::JoinHandle<()>>,
    others: Vec<tokio::task::JoinHandle<()>>,
    _stop: watch::Sender<bool>,
    stopped: watch::Receiver<bool>,
    lives: u32,
    reported: Arc<AtomicU64>,
}

impl Drop for Cloud {
    fn drop(&mut self) {
        self.runners.iter().chain(&self.others).chain(&self.reporting).for_each(|t| t.abort());
        self.living().1.end();
        if let Some((_, life)) = self.wire.agent.lock().unwrap().take() {
            life.end();
        }
    }
}

/// The authority and library of all managers of this test; making a key for each would take most of the time.
fn folder() -> &'static std::path::Path {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    FOLDER.get_or_init(|| tempfile::tempdir().unwrap()).path()
}

fn manager(store: &Store, wire: &Arc<Wire>, clock: &SimClock, life: u32) -> Arc<Manager> {
    let (wall, steady, waits) = (clock.clone(), clock.clone(), clock.clone());
    let clocks = Clocks {
        wall: Box::new(move || wall.time()),
        steady: Box::new(move || Duration::from_millis(steady.now_ms())),
        wait: Box::new(move |d| {
            let clock = waits.clone();
            Box::pin(async move { clock.sleep_ms(u64::try_from(d.as_millis()).unwrap_or(u64::MAX)).await })
        }),
    };
    Arc::new(Manager::new(Parts {
        store: store.clone(),
        nodes: wire.clone(),
        ca: Authority::open(folder()).unwrap(),
        instance: format!("manager-{life}"),
        state_folder: folder().to_path_buf(),
        node_address: String::new(),
        clocks,
    }))
}

fn network_spec() -> NetworkSpec {
    NetworkSpec::Nat { cidr: "10.9.0.0/24".into() }
}

/// Moves the clock from one moment that is waited for to the next. On a machine that is busy with other things simulated
/// time would run away from the programs; so it slows down while the host's report is overdue.
async fn until_dropped_move(clock: SimClock, reported: Arc<AtomicU64>) {
    loop {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let overdue = clock.now_ms().saturating_sub(reported.load(Ordering::SeqCst)) > OVERDUE_MS;
        clock.advance(if overdue { SPEED / 25 } else { SPEED });
    }
}

impl Cloud {
    pub async fn new() -> Cloud {
        let store = Store::memory().await.unwrap();
        let clock = SimClock::default();
        let plan = Plan::new(clock.clone());
        let wire = Arc::new(Wire {
            agent: Mutex::default(),
            store: store.clone(),
            clock: clock.clone(),
            fault: Mutex::new(Fault::Nothing),
            calls: AtomicUsize::new(0),
            watched: Mutex::default(),
            late: watch::Sender::new(false),
            is_late: AtomicBool::new(false),
            late_answer: Mutex::default(),
        });
        let first = (manager(&store, &wire, &clock, 1), Life::new(Part::Manager, &plan));
        let living = Arc::new(Mutex::new(first.clone()));
        let (host_id, owner) = (HostId(Uuid::from_u128(1)), UserId(Uuid::from_u128(2)));
        insert_host_and_owner(&store, host_id, owner).await;
        let host = SimHost::new("h1", 64 << 30, clock.clone());
        let (stop, stopped) = watch::channel(false);
        let reported = Arc::new(AtomicU64::new(0));
        let mut cloud = Cloud {
            host,
            journal: MemoryJournal::new(),
            vm_id: VmId(Uuid::from_u128(3)),
            plan,
            wire,
            host_id,
            owner,
            clock: clock.clone(),
            manager: living,
            reported: reported.clone(),
            runners: Vec::new(),
            reporting: None,
            others: vec![tokio::spawn(until_dropped_move(clock, reported))],
            _stop: stop,
            stopped,
            lives: 1,
        };
        cloud.furnish().await;
        cloud.start_agent().await;
        cloud.run(first);
        cloud
    }

    /// The machine has an image and a network from before, which tasks may remove.
    async fn furnish(&self) {
        let content = b"an image";
        let image = ImageRef {
            id: IMAGE,
            format: virga_model::image::ImageFormat::Raw,
            size_bytes: content.len() as u64,
            virtual_bytes: 1 << 20,
            sha256: Sha256::digest(content).iter().map(|b| format!("{b:02x}")).collect(),
        };
        self.host.image_write(None, &image, 0, content).await.unwrap();
        self.host.image_commit(None, &image).await.unwrap();
        self.host.network_ensure(&NetworkRef { id: NETWORK, name: "net".into(), spec: network_spec() }).await.unwrap();
    }

    /// What the host's row says that the machine has.
    async fn wait_for_inventory(&self) {
        self.wait_for_row(|facts| facts.images.contains(&IMAGE) && facts.networks.contains(&NETWORK)).await;
    }

    /// Waits until the host's row says so.
    pub async fn wait_for_row(&self, says: impl Fn(&virga_model::host::HostFacts) -> bool) {
        let end = std::time::Instant::now() + PATIENCE;
        loop {
            let mut tx = self.wire.store.read().await.unwrap();
            let facts = virga_store::host::get(&mut tx, self.host_id).await.unwrap().unwrap().facts;
            drop(tx);
            if says(&facts) {
                return;
            }
            assert!(std::time::Instant::now() < end, "the host does not report what it has: {facts:?}");
            tokio::time::sleep(LOOK).await;
        }
    }

    fn run(&mut self, (manager, life): (Arc<Manager>, Arc<Life>)) {
        self.runners.push(tokio::spawn(virga_crash::with(life, virga_manager::task::runner::run(manager, self.stopped.clone()))));
    }

    /// A new life of the agent, over the journal and the machine that the last one left.
    pub async fn start_agent(&mut self) {
        if let Some(old) = self.reporting.take() {
            old.abort();
        }
        let life = Life::new(Part::Agent, &self.plan);
        let link =
            Arc::new(Up { manager: self.manager.clone(), agent: life.clone(), host: self.host_id, clock: self.clock.clone(), reported: self.reported.clone() });
        let open = Node::open(self.host.clone(), link, self.journal.clone() as Arc<dyn Journal>);
        let node = virga_crash::with(life.clone(), open).await.unwrap();
        *self.wire.agent.lock().unwrap() = Some((node.clone(), life.clone()));
        self.reporting = Some(tokio::spawn(virga_crash::with(life, virga_agent::report::run(node))));
    }

    pub fn disturb(&self, fault: Fault) {
        self.wire.calls.store(0, Ordering::SeqCst);
        *self.wire.fault.lock().unwrap() = fault;
    }

    /// The manager that lives, and its life.
    pub fn living(&self) -> (Arc<Manager>, Arc<Life>) {
        self.manager.lock().unwrap().clone()
    }

    /// Tells when this cloud ends.
    pub fn stopped(&self) -> watch::Receiver<bool> {
        self.stopped.clone()
    }

    /// Another manager goes on: the last one was killed, or sleeps for longer than its leases.
    pub fn start_manager(&mut self) {
        self.lives += 1;
        self.clock.advance(40_000);
        let next = (manager(&self.wire.store, &self.wire, &self.clock, self.lives), Life::new(Part::Manager, &self.plan));
        *self.manager.lock().unwrap() = next.clone();
        self.run(next);
    }

    /// Sees to whoever died or froze.
    pub async fn attend(&mut self) {
        for part in self.plan.take_deaths() {
            match part {
                Part::Agent => self.start_agent().await,
                Part::Manager => {
                    self.runners.drain(..).for_each(|r| r.abort());
                    self.start_manager();
                }
            }
        }
        if self.living().1.is_frozen() || self.wire.is_late.swap(false, Ordering::SeqCst) {
            self.living().1.freeze();
            self.start_manager();
        }
    }

    /// Waits for the end of a task, replacing whoever is killed.
    pub async fn watch(&mut self, id: TaskId) -> Task {
        *self.wire.watched.lock().unwrap() = Some(id);
        self.living().0.committed();
        let end = std::time::Instant::now() + PATIENCE;
        loop {
            self.attend().await;
            let task = self.task(id).await;
            if task.state.is_final() {
                return task;
            }
            let fault = *self.wire.fault.lock().unwrap();
            assert!(
                std::time::Instant::now() < end,
                "the task does not end with {:?} and {fault:?}: {task:?}; vm {:?}; host {:?}",
                self.plan.target(),
                self.vm_row().await,
                self.host.log()
            );
            drop(tokio::time::timeout(LOOK, self.plan.news.notified()).await);
        }
    }

    /// Waits until no task is active: children end after their parent's cancel, and repairs may follow.
    pub async fn watch_all(&mut self) {
        let end = std::time::Instant::now() + PATIENCE;
        while self.active_tasks().await > 0 {
            assert!(std::time::Instant::now() < end, "tasks do not end");
            self.attend().await;
            drop(tokio::time::timeout(LOOK, self.plan.news.notified()).await);
        }
    }

    /// Waits until a condition holds.
    pub async fn wait_until(&mut self, what: &str, mut holds: impl AsyncFnMut(&Cloud) -> bool) {
        let end = std::time::Instant::now() + PATIENCE;
        while !holds(self).await {
            assert!(std::time::Instant::now() < end, "waited too long until {what}; vm {:?}; host {:?}", self.vm_row().await, self.host.log());
            self.attend().await;
            drop(tokio::time::timeout(LOOK, self.plan.news.notified()).await);
        }
    }

    /// Waits until the simulated clock has gone on for so long.
    pub async fn wait_simulated(&self, ms: u64) {
        let end = self.clock.now_ms() + ms;
        while self.clock.now_ms() < end {
            tokio::time::sleep(LOOK).await;
        }
    }

    pub async fn task(&self, id: TaskId) -> Task {
        let mut tx = self.wire.store.read().await.unwrap();
        virga_store::task::get(&mut tx, id).await.unwrap().expect("the task has a row")
    }

    pub async fn cancel(&self, id: TaskId) {
        let mut tx = self.wire.store.write().await.unwrap();
        virga_store::task::request_cancel(&mut tx, id).await.unwrap();
        tx.commit().await.unwrap();
    }

    pub async fn vm_row(&self) -> Option<Vm> {
        let mut tx = self.wire.store.read().await.unwrap();
        virga_store::vm::get(&mut tx, self.vm_id).await.unwrap()
    }

    /// An image or network whose removal failed is removed again.
    async fn mend_library(&mut self, what: &str) {
        let mut tx = self.wire.store.read().await.unwrap();
        let image = virga_store::image::get(&mut tx, IMAGE).await.unwrap().map(|_| (TaskKind::ImageDelete, ObjectRef::Image(IMAGE)));
        let network = virga_store::network::get(&mut tx, NETWORK).await.unwrap().map(|_| (TaskKind::NetworkDelete, ObjectRef::Network(NETWORK)));
        drop(tx);
        crate::store::mend(self, what).await;
        for (kind, object) in image.into_iter().chain(network) {
            let again = self.insert_task(kind, object, TaskDoc::default(), None).await;
            let again = self.watch(again.id).await;
            assert_eq!(again.state, TaskState::Succeeded, "asked again: {again:?}: {what}");
        }
    }

    /// What the repair loop and people do when something was left open: they ask again, until nothing is.
    pub async fn mend(&mut self, what: &str) {
        for _ in 0..3 {
            let Some(vm) = self.vm_row().await else { return self.mend_library(what).await };
            let open = vm.desired == Desired::Absent || vm.observed.error.is_some() || vm.observed.generation < vm.generation || vm.former_spec.is_some();
            if !open {
                return;
            }
            let kind = if vm.desired == Desired::Absent { TaskKind::VmDelete } else { TaskKind::VmRepair };
            let again = self.change_vm(kind, |v| v.stop_mode = StopMode::Force).await;
            let again = self.watch(again.id).await;
            assert_eq!(again.state, TaskState::Succeeded, "asked again: {again:?}: {what}");
            self.watch_all().await;
        }
    }

    pub fn domain_state(&self) -> Option<VmState> {
        self.host.domain_state(self.vm_id)
    }

    pub async fn active_tasks(&self) -> i64 {
        let mut tx = self.wire.store.read().await.unwrap();
        i64::from(virga_store::task::next_due(&mut tx, self.clock.time()).await.unwrap().is_some())
    }

    pub async fn insert_task(&self, kind: TaskKind, object: ObjectRef, doc: TaskDoc, parent: Option<TaskId>) -> Task {
        let task = self.new_task(kind, object, doc, parent);
        let mut tx = self.wire.store.write().await.unwrap();
        virga_store::task::insert(&mut tx, &task).await.unwrap();
        tx.commit().await.unwrap();
        task
    }

    fn new_task(&self, kind: TaskKind, object: ObjectRef, doc: TaskDoc, parent: Option<TaskId>) -> Task {
        Task {
            id: TaskId(Uuid::now_v7()),
            kind,
            object,
            object_name: "object".into(),
            cause: Cause::User,
            requester: Some(self.owner),
            state: TaskState::Queued,
            progress: Progress::default(),
            message: String::new(),
            error: None,
            cancel: false,
            parent,
            doc,
            lease_owner: None,
            lease_until: None,
            attempt: 0,
            not_before: Time(0),
            created_at: self.clock.time(),
            started_at: None,
            ended_at: None,
        }
    }

    /// A VM with two disks, and the task that makes it.
    pub async fn create_vm(&self, desired: Desired) -> Task {
        let disk = |n: u128| serde_json::json!({"id": Uuid::from_u128(n), "size_bytes": 1u64 << 30});
        let spec = serde_json::json!({"cpu": {"count": 1, "max": 4}, "memory": {"bytes": 1u64 << 28, "max_bytes": 1u64 << 28}, "disks": [disk(10), disk(11)]});
        self.make_vm(TaskKind::VmCreate, serde_json::from_value(spec).unwrap(), desired).await
    }

    /// A row of a VM that no host has yet.
    pub fn row(&self, id: VmId, name: &str, spec: VmSpec, desired: Desired) -> Vm {
        Vm {
            id,
            name: name.into(),
            description: String::new(),
            labels: Default::default(),
            owner: self.owner,
            spec,
            former_spec: None,
            desired,
            stop_mode: StopMode::Force,
            generation: 1,
            host: Some(self.host_id),
            placement: None,
            observed: Observed::default(),
            created_at: self.clock.time(),
            updated_at: self.clock.time(),
        }
    }

    /// A new VM, and the task of `kind` that makes it.
    pub async fn make_vm(&self, kind: TaskKind, spec: VmSpec, desired: Desired) -> Task {
        let vm = self.row(self.vm_id, "demo", spec, desired);
        let task = self.new_task(kind, ObjectRef::Vm(self.vm_id), TaskDoc { generation: 1, ..Default::default() }, None);
        let mut tx = self.wire.store.write().await.unwrap();
        virga_store::vm::insert(&mut tx, &vm).await.unwrap();
        virga_store::task::insert(&mut tx, &task).await.unwrap();
        tx.commit().await.unwrap();
        task
    }

    pub async fn change_vm(&self, kind: TaskKind, change: impl FnOnce(&mut Vm)) -> Task {
        self.change(kind, None, None, async |_, vm| change(vm)).await
    }

    pub async fn change_vm_as_child(&self, kind: TaskKind, parent: TaskId, change: impl FnOnce(&mut Vm)) -> Task {
        self.change(kind, Some(parent), None, async |_, vm| change(vm)).await
    }

    /// Changes the VM, and rows with it, in one transaction with the task.
    pub async fn change(&self, kind: TaskKind, parent: Option<TaskId>, snapshot: Option<SnapshotId>, change: impl AsyncFnOnce(&mut Tx, &mut Vm)) -> Task {
        let mut tx = self.wire.store.write().await.unwrap();
        let mut vm = virga_store::vm::get(&mut tx, self.vm_id).await.unwrap().expect("there is a VM");
        let (expected, former) = (vm.generation, vm.desired);
        change(&mut tx, &mut vm).await;
        vm.generation += 1;
        let doc = TaskDoc { timeout_s: 600, generation: vm.generation, former_desired: Some(former), snapshot, ..Default::default() };
        let task = self.new_task(kind, ObjectRef::Vm(self.vm_id), doc, parent);
        virga_store::vm::update(&mut tx, &vm, expected).await.unwrap();
        virga_store::task::insert(&mut tx, &task).await.unwrap();
        tx.commit().await.unwrap();
        task
    }

    pub async fn image_to_delete(&self) -> Task {
        let id = IMAGE;
        self.wait_for_inventory().await;
        let image = Image {
            id,
            name: "img".into(),
            format: None,
            size_bytes: 0,
            virtual_bytes: 0,
            sha256: String::new(),
            state: ImageState::Deleting,
            generation: 1,
            created_at: Time(0),
            part: None,
            package: None,
        };
        let mut tx = self.wire.store.write().await.unwrap();
        virga_store::image::insert(&mut tx, &image).await.unwrap();
        tx.commit().await.unwrap();
        self.insert_task(TaskKind::ImageDelete, ObjectRef::Image(id), TaskDoc::default(), None).await
    }

    pub async fn network_to_delete(&self) -> Task {
        let id = NETWORK;
        self.wait_for_inventory().await;
        let network = Network { id, name: "net".into(), spec: network_spec(), generation: 1, deleting: true, created_at: Time(0) };
        let mut tx = self.wire.store.write().await.unwrap();
        virga_store::network::insert(&mut tx, &network).await.unwrap();
        tx.commit().await.unwrap();
        self.insert_task(TaskKind::NetworkDelete, ObjectRef::Network(id), TaskDoc::default(), None).await
    }
}

async fn insert_host_and_owner(store: &Store, id: HostId, owner: UserId) {
    let mut tx = store.write().await.unwrap();
    let user = User {
        id: owner,
        name: "owner".into(),
        password_hash: String::new(),
        must_change: false,
        disabled: false,
        failures: 0,
        locked_until: None,
        generation: 1,
        created_at: Time(0),
    };
    virga_store::user::insert(&mut tx, &user).await.unwrap();
    let host = Host {
        id,
        name: "h1".into(),
        address: String::new(),
        maintenance: false,
        certificate_sha256: String::new(),
        generation: 1,
        epoch: 1,
        facts: Default::default(),
        last_report_at: None,
        created_at: Time(0),
    };
    virga_store::host::insert(&mut tx, &host).await.unwrap();
    tx.commit().await.unwrap();
}
