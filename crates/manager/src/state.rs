//! What all parts of one manager share. Everything in memory here is a cache or a signal: rows and reports rebuild it.

use crate::copies::Copies;
use crate::node::client::NodeClient;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use virga_model::host::{Host, HostState, SILENT_AFTER_MS};
use virga_model::order::Progress;
use virga_model::stats::{HISTORY_SAMPLES, Packed, Sample};
use virga_model::{HostId, Time, VmId};
use virga_store::Store;

/// Milliseconds by which managers' wall clocks may differ; more is a clock that is wrong. Longer than any wait of a task.
pub(crate) const CLOCKS_DIFFER_MS: i64 = 60_000;

/// One manager.
pub struct Manager {
    /// Rows.
    pub store: Store,
    /// Speaks to agents.
    pub nodes: Arc<dyn NodeClient>,
    /// The certificate authority of this installation.
    pub ca: crate::ca::Authority,
    /// This manager's identity, as it stands in task leases.
    pub instance: String,
    /// Folder with images, keys and the database.
    pub state_folder: PathBuf,
    /// `host:port` under which agents reach the node listener.
    pub node_address: String,
    /// Wakes the task runner.
    pub runner: Notify,
    /// Grows when an event was committed: wakes event streams.
    pub events: watch::Sender<u64>,
    /// Rates, in memory only.
    pub stats: Stats,
    /// When each host last reported, by this manager's monotonic clock.
    pub heard: Heard,
    /// Which life of each host's agent is the host.
    pub lives: crate::node::lives::Lives,
    /// Where agents reach the managers, as far as this one knows.
    pub managers: crate::managers::Managers,
    /// Copies of rows that hardly ever change.
    pub copies: Copies,
    /// What is shown of VMs' rows.
    pub vm_copies: crate::vm::view::Copies,
    /// Reports that wait to be written.
    pub inbox: crate::node::inbox::Inbox,
    /// The queue of tasks is full, by the task runner's last look.
    pub tasks_full: std::sync::atomic::AtomicBool,
    /// What panicked since the start.
    pub panics: crate::supervise::Panics,
    /// Reads the clocks; tests put others in.
    pub clocks: Clocks,
}

/// Waits for a time; what [`Clocks`] holds of it.
pub type Wait = Box<dyn Fn(Duration) -> futures::future::BoxFuture<'static, ()> + Send + Sync>;

/// The two clocks of a manager, and how it waits.
pub struct Clocks {
    /// Wall time: for people, and for what several managers must agree on.
    pub wall: Box<dyn Fn() -> Time + Send + Sync>,
    /// Time since some fixed moment, which nobody can set: for how long ago something was.
    pub steady: Box<dyn Fn() -> Duration + Send + Sync>,
    /// Waits between two looks of the task runner and of the loops; the simulator moves this time, too.
    pub wait: Wait,
}

impl Default for Clocks {
    /// The clocks of this machine.
    fn default() -> Clocks {
        let begun = std::time::Instant::now();
        Clocks { wall: Box::new(wall_clock), steady: Box::new(move || begun.elapsed()), wait: Box::new(|d| Box::pin(tokio::time::sleep(d))) }
    }
}

/// What a manager is given; the rest it makes itself.
pub struct Parts {
    /// Rows.
    pub store: Store,
    /// Speaks to agents.
    pub nodes: Arc<dyn NodeClient>,
    /// The certificate authority of this installation.
    pub ca: crate::ca::Authority,
    /// This manager's identity, as it stands in task leases.
    pub instance: String,
    /// Folder with images, keys and the database.
    pub state_folder: PathBuf,
    /// `host:port` under which agents reach the node listener.
    pub node_address: String,
    /// The clocks.
    pub clocks: Clocks,
}

impl Manager {
    /// A manager that has heard of nothing yet.
    #[must_use]
    pub fn new(p: Parts) -> Manager {
        Manager {
            store: p.store,
            nodes: p.nodes,
            ca: p.ca,
            instance: p.instance,
            state_folder: p.state_folder,
            node_address: p.node_address,
            runner: Notify::new(),
            events: watch::Sender::new(0),
            stats: Stats::default(),
            heard: Heard::default(),
            lives: crate::node::lives::Lives::default(),
            managers: crate::managers::Managers::default(),
            copies: Copies::default(),
            vm_copies: crate::vm::view::Copies::default(),
            inbox: crate::node::inbox::Inbox::default(),
            tasks_full: std::sync::atomic::AtomicBool::new(false),
            panics: crate::supervise::Panics::default(),
            clocks: p.clocks,
        }
    }

    /// Wall time.
    #[must_use]
    pub fn now(&self) -> Time {
        (self.clocks.wall)()
    }

    /// Waits for `time`.
    pub async fn wait(&self, time: Duration) {
        (self.clocks.wait)(time).await;
    }

    /// Time since some fixed moment, on a clock that nobody can set.
    #[must_use]
    pub fn steady(&self) -> Duration {
        (self.clocks.steady)()
    }

    /// State of a host: it is up when it reported to this manager within [`virga_model::host::SILENT_AFTER_MS`], or (when
    /// another manager hears it, or this one has just started) when its row says so.
    #[must_use]
    pub fn host_state(&self, host: &Host) -> HostState {
        let by_memory = self.heard.ago(host.id, self.steady()).map(|d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX));
        // A time far ahead was written by a clock that was wrong: the host was there once, which does not say that it is.
        let by_row = host.last_report_at.map(|t| match self.now().millis_since(t) {
            ms if ms < -CLOCKS_DIFFER_MS => i64::MAX,
            ms => ms.max(0),
        });
        match by_memory.into_iter().chain(by_row).min() {
            None => HostState::Joining,
            Some(ms) if ms <= SILENT_AFTER_MS => HostState::Up,
            Some(_) => HostState::Silent,
        }
    }

    /// Tells event streams and the task runner that something was committed.
    pub fn committed(&self) {
        self.events.send_modify(|n| *n += 1);
        self.runner.notify_one();
    }

    /// Folder with the content of images.
    #[must_use]
    pub fn image_folder(&self) -> PathBuf {
        self.state_folder.join("images")
    }
}

/// The wall clock of this machine.
#[must_use]
pub fn wall_clock() -> Time {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Time(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// The newest samples of hosts and VMs.
#[derive(Default)]
pub struct Stats {
    hosts: Mutex<HashMap<HostId, Ring>>,
    vms: Mutex<HashMap<VmId, Ring>>,
    progress: Mutex<HashMap<VmId, Progress>>,
}

type Ring = std::collections::VecDeque<Packed>;

fn push(ring: &mut Ring, sample: Sample) {
    if ring.len() == HISTORY_SAMPLES {
        ring.pop_front();
    }
    ring.push_back(sample.into());
}

/// A poisoned lock means that another thread panicked while it held plain data: the data is still usable.
pub(crate) fn lock<T>(m: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    m.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Stats {
    /// Keeps a sample of a host.
    pub fn add_host(&self, host: HostId, sample: Sample) {
        push(lock(&self.hosts).entry(host).or_default(), sample);
    }

    /// Keeps a sample of a VM.
    pub fn add_vm(&self, vm: VmId, sample: Sample) {
        push(lock(&self.vms).entry(vm).or_default(), sample);
    }

    /// Samples of a host, oldest first.
    #[must_use]
    pub fn host(&self, host: HostId) -> Vec<Sample> {
        lock(&self.hosts).get(&host).map(|r| r.iter().map(|p| (*p).into()).collect()).unwrap_or_default()
    }

    /// Samples of a VM, oldest first.
    #[must_use]
    pub fn vm(&self, vm: VmId) -> Vec<Sample> {
        lock(&self.vms).get(&vm).map(|r| r.iter().map(|p| (*p).into()).collect()).unwrap_or_default()
    }

    /// The newest sample of a host.
    #[must_use]
    pub fn host_last(&self, host: HostId) -> Option<Sample> {
        lock(&self.hosts).get(&host).and_then(|r| r.back().map(|p| (*p).into()))
    }

    /// The newest sample of a VM.
    #[must_use]
    pub fn vm_last(&self, vm: VmId) -> Option<Sample> {
        lock(&self.vms).get(&vm).and_then(|r| r.back().map(|p| (*p).into()))
    }

    /// Keeps how far a host is with a VM's order; none: it does nothing.
    pub fn set_progress(&self, vm: VmId, progress: Option<Progress>) {
        match progress {
            Some(p) => drop(lock(&self.progress).insert(vm, p)),
            None => drop(lock(&self.progress).remove(&vm)),
        }
    }

    /// How far a host is with a VM's order.
    #[must_use]
    pub fn progress(&self, vm: VmId) -> Option<Progress> {
        lock(&self.progress).get(&vm).cloned()
    }

    /// VMs of which anything is kept.
    #[must_use]
    pub fn known_vms(&self) -> Vec<VmId> {
        lock(&self.vms).keys().chain(lock(&self.progress).keys()).copied().collect()
    }

    /// Forgets a VM that is no more.
    pub fn forget_vm(&self, vm: VmId) {
        lock(&self.vms).remove(&vm);
        lock(&self.progress).remove(&vm);
    }
}

/// When hosts were last heard of, on a clock that nobody can set.
#[derive(Default)]
pub struct Heard {
    at: Mutex<HashMap<HostId, Duration>>,
}

impl Heard {
    /// A host reported at this steady time.
    pub fn note(&self, host: HostId, steady: Duration) {
        lock(&self.at).insert(host, steady);
    }

    /// Whether this manager has heard of a host since it started.
    #[must_use]
    pub fn knows(&self, host: HostId) -> bool {
        lock(&self.at).contains_key(&host)
    }

    /// Forgets a host.
    pub fn forget(&self, host: HostId) {
        lock(&self.at).remove(&host);
    }

    /// How long ago a host was heard of, seen from this steady time.
    #[must_use]
    pub fn ago(&self, host: HostId, steady: Duration) -> Option<Duration> {
        lock(&self.at).get(&host).map(|at| steady.saturating_sub(*at))
    }
}
