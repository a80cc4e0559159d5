//! A manager without HTTP, a real store, and the real agent on a simulated machine, joined in process by a client that
//! can be disturbed at any call.

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use uuid::Uuid;
use virga_agent::host::{Journal, Volumes};
use virga_agent::link::Link;
use virga_agent::node::Node;
use virga_manager::ca::Authority;
use virga_manager::node::client::{Duplex, NodeClient};
use virga_manager::state::{Heard, Manager, Stats};
use virga_model::host::Host;
use virga_model::image::{Image, ImageState};
use virga_model::network::{Network, NetworkSpec};
use virga_model::order::{CallHead, ImageRef, NodeAnswer, NodeCall, Progress, Report, ReportAck};
use virga_model::task::{Cause, ObjectRef, Task, TaskDoc, TaskKind, TaskState};
use virga_model::user::{ConsoleKind, User};
use virga_model::vm::{Desired, Observed, StopMode, Vm, VmState};
use virga_model::{Error, HostId, ImageId, NetworkId, TaskId, Time, UserId, VmId};
use virga_sim::{MemoryJournal, SimClock, SimHost};
use virga_store::Store;

/// Simulated milliseconds for each real one.
const SPEED: u32 = 100;
/// Real time in which everything must have ended.
const PATIENCE: Duration = Duration::from_secs(60);

/// What disturbs the calls to agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Nothing,
    /// Every call is made twice.
    Twice,
    /// The manager is killed before it makes the n-th call.
    KilledBefore(usize),
    /// The manager is killed before it gets the n-th answer.
    KilledAfter(usize),
    /// The n-th call does not reach the host.
    Fails(usize),
    /// The n-th call does, and its answer is lost.
    TimesOut(usize),
    CancelledAtOnce,
    /// Somebody asks to stop the task just before the n-th call is made.
    CancelledAtCall(usize),
    /// The same, just after.
    CancelledAfterCall(usize),
}

/// The in-process transport.
struct Wire {
    node: Mutex<Option<Arc<Node>>>,
    store: Store,
    fault: Mutex<Fault>,
    calls: AtomicUsize,
    killed: Notify,
    watched: Mutex<Option<TaskId>>,
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

    async fn die(&self) -> ! {
        self.killed.notify_one();
        std::future::pending::<()>().await;
        unreachable!("nothing comes after death")
    }
}

#[async_trait]
impl NodeClient for Wire {
    async fn call(&self, _host: &Host, head: CallHead, call: NodeCall) -> Result<NodeAnswer, Error> {
        let node = self.node.lock().unwrap().clone().expect("the node is there");
        let (fault, n) = (*self.fault.lock().unwrap(), self.calls.fetch_add(1, Ordering::SeqCst));
        let lost = || Err(Error::unavailable("The call was lost."));
        match fault {
            Fault::KilledBefore(at) if at == n => self.die().await,
            Fault::Fails(at) if at == n => return lost(),
            Fault::CancelledAtCall(at) if at == n => self.cancel_watched().await,
            Fault::Twice => drop(node.call(head, call.clone()).await),
            _ => {}
        }
        let answer = node.call(head, call).await;
        match fault {
            Fault::KilledAfter(at) if at == n => self.die().await,
            Fault::TimesOut(at) if at == n => return lost(),
            Fault::CancelledAfterCall(at) if at == n => self.cancel_watched().await,
            _ => {}
        }
        Ok(answer)
    }

    async fn screenshot(&self, _host: &Host, _vm: VmId) -> Result<Vec<u8>, Error> {
        Err(Error::unavailable("not here"))
    }

    async fn console(&self, _host: &Host, _vm: VmId, _kind: ConsoleKind) -> Result<Box<dyn Duplex>, Error> {
        Err(Error::unavailable("not here"))
    }

    fn forget(&self, _host: HostId) {}
}

/// Brings reports to whichever manager lives.
struct Up {
    manager: Arc<Mutex<Arc<Manager>>>,
    host: HostId,
}

#[async_trait]
impl Link for Up {
    async fn report(&self, report: &Report) -> Result<ReportAck, Error> {
        let manager = self.manager.lock().unwrap().clone();
        let mut tx = manager.store.read().await?;
        let host = virga_store::host::get(&mut tx, self.host).await?.expect("the host has a row");
        drop(tx);
        virga_manager::node::report::take(&manager, host, report.clone()).await
    }

    async fn fetch_image(&self, _image: &ImageRef, _offset: u64) -> Result<BoxStream<'static, Result<Vec<u8>, Error>>, Error> {
        Ok(futures::stream::empty().boxed())
    }
}

/// All of it.
pub struct Cloud {
    pub host: Arc<SimHost>,
    pub vm_id: VmId,
    host_id: HostId,
    owner: UserId,
    clock: SimClock,
    wire: Arc<Wire>,
    manager: Arc<Mutex<Arc<Manager>>>,
    runner: tokio::task::JoinHandle<()>,
    others: Vec<tokio::task::JoinHandle<()>>,
    folder: tempfile::TempDir,
    _stop: watch::Sender<bool>,
    stopped: watch::Receiver<bool>,
    lives: u32,
}

impl Drop for Cloud {
    fn drop(&mut self) {
        self.runner.abort();
        self.others.iter().for_each(|t| t.abort());
    }
}

fn manager(store: &Store, wire: &Arc<Wire>, clock: &SimClock, folder: &std::path::Path, life: u32) -> Arc<Manager> {
    let clock = clock.clone();
    Arc::new(Manager {
        store: store.clone(),
        nodes: wire.clone(),
        ca: Authority::open(folder).unwrap(),
        instance: format!("manager-{life}"),
        state_folder: folder.to_path_buf(),
        node_address: String::new(),
        runner: Notify::new(),
        events: watch::Sender::new(0),
        stats: Stats::default(),
        heard: Heard::default(),
        clock: Box::new(move || clock.time()),
    })
}

impl Cloud {
    pub async fn new() -> Cloud {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::memory().await.unwrap();
        let clock = SimClock::default();
        let wire = Arc::new(Wire {
            node: Mutex::default(),
            store: store.clone(),
            fault: Mutex::new(Fault::Nothing),
            calls: AtomicUsize::new(0),
            killed: Notify::new(),
            watched: Mutex::default(),
        });
        let living = Arc::new(Mutex::new(manager(&store, &wire, &clock, folder.path(), 1)));
        let (host_id, owner) = (HostId(Uuid::from_u128(1)), UserId(Uuid::from_u128(2)));
        insert_host_and_owner(&store, host_id, owner).await;
        let host = SimHost::new("h1", 64 << 30, clock.clone());
        let link = Arc::new(Up { manager: living.clone(), host: host_id });
        let node = Node::open(host.clone(), link, MemoryJournal::new() as Arc<dyn Journal>).await.unwrap();
        *wire.node.lock().unwrap() = Some(node.clone());
        let (stop, stopped) = watch::channel(false);
        let first = living.lock().unwrap().clone();
        let follow = clock.clone();
        let others = vec![tokio::spawn(virga_agent::report::run(node)), tokio::spawn(async move { follow.follow_real_time(SPEED).await })];
        let runner = tokio::spawn(virga_manager::task::runner::run(first, stopped.clone()));
        Cloud { host, vm_id: VmId(Uuid::from_u128(3)), host_id, owner, clock, wire, manager: living, runner, others, folder, _stop: stop, stopped, lives: 1 }
    }

    pub fn disturb(&self, fault: Fault) {
        self.wire.calls.store(0, Ordering::SeqCst);
        *self.wire.fault.lock().unwrap() = fault;
    }

    fn living(&self) -> Arc<Manager> {
        self.manager.lock().unwrap().clone()
    }

    /// The manager that was killed in the middle of a call is replaced by another, after its leases have run out.
    fn replace_manager(&mut self) {
        self.runner.abort();
        self.lives += 1;
        self.clock.advance(40_000);
        let next = manager(&self.wire.store, &self.wire, &self.clock, self.folder.path(), self.lives);
        *self.manager.lock().unwrap() = next.clone();
        self.runner = tokio::spawn(virga_manager::task::runner::run(next, self.stopped.clone()));
    }

    /// Waits for the end of a task, replacing the manager whenever it is killed.
    pub async fn watch(&mut self, id: TaskId) -> Task {
        *self.wire.watched.lock().unwrap() = Some(id);
        self.living().committed();
        let end = std::time::Instant::now() + PATIENCE;
        loop {
            let task = self.task(id).await;
            if task.state.is_final() {
                return task;
            }
            let fault = *self.wire.fault.lock().unwrap();
            assert!(
                std::time::Instant::now() < end,
                "the task does not end with {:?}: {task:?}; vm {:?}; host {:?}",
                fault,
                self.vm_row().await,
                self.host.log()
            );
            let killed = tokio::time::timeout(Duration::from_millis(5), self.wire.killed.notified()).await.is_ok();
            if killed {
                self.replace_manager();
            }
        }
    }

    /// Waits until no task is active: children end after their parent's cancel, and repairs may follow.
    pub async fn watch_all(&mut self) {
        let end = std::time::Instant::now() + PATIENCE;
        while self.active_tasks().await > 0 {
            assert!(std::time::Instant::now() < end, "tasks do not end");
            if tokio::time::timeout(Duration::from_millis(5), self.wire.killed.notified()).await.is_ok() {
                self.replace_manager();
            }
        }
    }

    async fn task(&self, id: TaskId) -> Task {
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

    /// Waits until the VM's row says that something differs from what was wanted.
    pub async fn wait_for_drift(&self, what: &str) {
        let end = std::time::Instant::now() + PATIENCE;
        while !self.vm_row().await.is_some_and(|v| v.observed.drift.iter().any(|d| d.what == what)) {
            assert!(std::time::Instant::now() < end, "no drift in {what} is told");
            tokio::task::yield_now().await;
        }
    }

    pub fn domain_state(&self) -> Option<VmState> {
        self.host.domain_state(self.vm_id)
    }

    pub async fn disks_on_host(&self) -> usize {
        self.host.disks().await.unwrap().len()
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
        let vm = Vm {
            id: self.vm_id,
            name: "demo".into(),
            description: String::new(),
            labels: Default::default(),
            owner: self.owner,
            spec: serde_json::from_value(spec).unwrap(),
            former_spec: None,
            desired,
            stop_mode: StopMode::Force,
            generation: 1,
            host: Some(self.host_id),
            placement: None,
            observed: Observed::default(),
            created_at: self.clock.time(),
            updated_at: self.clock.time(),
        };
        let task = self.new_task(TaskKind::VmCreate, ObjectRef::Vm(self.vm_id), TaskDoc { generation: 1, ..Default::default() }, None);
        let mut tx = self.wire.store.write().await.unwrap();
        virga_store::vm::insert(&mut tx, &vm).await.unwrap();
        virga_store::task::insert(&mut tx, &task).await.unwrap();
        tx.commit().await.unwrap();
        task
    }

    pub async fn change_vm(&self, kind: TaskKind, change: impl FnOnce(&mut Vm)) -> Task {
        self.change(kind, None, change).await
    }

    pub async fn change_vm_as_child(&self, kind: TaskKind, parent: TaskId, change: impl FnOnce(&mut Vm)) -> Task {
        self.change(kind, Some(parent), change).await
    }

    async fn change(&self, kind: TaskKind, parent: Option<TaskId>, change: impl FnOnce(&mut Vm)) -> Task {
        let mut tx = self.wire.store.write().await.unwrap();
        let mut vm = virga_store::vm::get(&mut tx, self.vm_id).await.unwrap().expect("there is a VM");
        let (expected, former) = (vm.generation, vm.desired);
        change(&mut vm);
        vm.generation += 1;
        let doc = TaskDoc { timeout_s: 600, generation: vm.generation, former_desired: Some(former), ..Default::default() };
        let task = self.new_task(kind, ObjectRef::Vm(self.vm_id), doc, parent);
        virga_store::vm::update(&mut tx, &vm, expected).await.unwrap();
        virga_store::task::insert(&mut tx, &task).await.unwrap();
        tx.commit().await.unwrap();
        task
    }

    pub async fn image_to_delete(&self) -> Task {
        let id = ImageId(Uuid::from_u128(20));
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
        };
        let mut tx = self.wire.store.write().await.unwrap();
        virga_store::image::insert(&mut tx, &image).await.unwrap();
        let mut host = virga_store::host::get(&mut tx, self.host_id).await.unwrap().unwrap();
        host.facts.images.push(id);
        virga_store::host::set_facts(&mut tx, self.host_id, &host.facts).await.unwrap();
        tx.commit().await.unwrap();
        self.insert_task(TaskKind::ImageDelete, ObjectRef::Image(id), TaskDoc::default(), None).await
    }

    pub async fn network_to_delete(&self) -> Task {
        let id = NetworkId(Uuid::from_u128(21));
        let spec = NetworkSpec::Nat { cidr: "10.9.0.0/24".into() };
        let network = Network { id, name: "net".into(), spec, generation: 1, deleting: true, created_at: Time(0) };
        let mut tx = self.wire.store.write().await.unwrap();
        virga_store::network::insert(&mut tx, &network).await.unwrap();
        let mut host = virga_store::host::get(&mut tx, self.host_id).await.unwrap().unwrap();
        host.facts.networks.push(id);
        virga_store::host::set_facts(&mut tx, self.host_id, &host.facts).await.unwrap();
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
