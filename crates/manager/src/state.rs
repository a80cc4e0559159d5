//! What all parts of one manager share. Everything in memory here is a cache or a signal: rows and reports rebuild it.

use crate::node::client::NodeClient;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use tokio::sync::{Notify, watch};
use virga_model::order::Progress;
use virga_model::stats::{HISTORY_SAMPLES, Sample};
use virga_model::{HostId, Time, VmId};
use virga_store::Store;

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
    /// Reads the wall clock; tests put another in.
    pub clock: Box<dyn Fn() -> Time + Send + Sync>,
}

impl Manager {
    /// Wall time.
    #[must_use]
    pub fn now(&self) -> Time {
        (self.clock)()
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

type Ring = std::collections::VecDeque<Sample>;

fn push(ring: &mut Ring, sample: Sample) {
    if ring.len() == HISTORY_SAMPLES {
        ring.pop_front();
    }
    ring.push_back(sample);
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
        lock(&self.hosts).get(&host).map(|r| r.iter().copied().collect()).unwrap_or_default()
    }

    /// Samples of a VM, oldest first.
    #[must_use]
    pub fn vm(&self, vm: VmId) -> Vec<Sample> {
        lock(&self.vms).get(&vm).map(|r| r.iter().copied().collect()).unwrap_or_default()
    }

    /// The newest sample of a host.
    #[must_use]
    pub fn host_last(&self, host: HostId) -> Option<Sample> {
        lock(&self.hosts).get(&host).and_then(|r| r.back().copied())
    }

    /// The newest sample of a VM.
    #[must_use]
    pub fn vm_last(&self, vm: VmId) -> Option<Sample> {
        lock(&self.vms).get(&vm).and_then(|r| r.back().copied())
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

    /// Forgets a VM that is no more.
    pub fn forget_vm(&self, vm: VmId) {
        lock(&self.vms).remove(&vm);
        lock(&self.progress).remove(&vm);
    }
}

/// When hosts were last heard of, on a clock that nobody can set.
#[derive(Default)]
pub struct Heard {
    at: Mutex<HashMap<HostId, std::time::Instant>>,
}

impl Heard {
    /// A host reported now.
    pub fn note(&self, host: HostId) {
        lock(&self.at).insert(host, std::time::Instant::now());
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

    /// State of a host: it is up when it reported to this manager within [`virga_model::host::SILENT_AFTER_MS`], or (when
    /// another manager hears it, or this one has just started) when its row says so.
    #[must_use]
    pub fn state(&self, host: &virga_model::host::Host, now: Time) -> virga_model::host::HostState {
        use virga_model::host::{HostState, SILENT_AFTER_MS};
        let by_memory = lock(&self.at).get(&host.id).map(|t| i64::try_from(t.elapsed().as_millis()).unwrap_or(i64::MAX));
        let by_row = host.last_report_at.map(|t| now.millis_since(t).max(0));
        match by_memory.into_iter().chain(by_row).min() {
            None => HostState::Joining,
            Some(ms) if ms <= SILENT_AFTER_MS => HostState::Up,
            Some(_) => HostState::Silent,
        }
    }
}
