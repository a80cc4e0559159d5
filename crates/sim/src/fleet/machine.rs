//! One machine of a fleet: the simulated hardware, the real agent on it, and what is broken at the moment.
//!
//! The machine outlives its agents. Ending an agent is a kill: whatever it had in hand never comes to an end, because
//! its journal takes nothing any more; the next agent finds the journal and the guests as they were.

use async_trait::async_trait;
use futures::stream::BoxStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use virga_agent::host::{Host, Journal, Result};
use virga_agent::identity::Identity;
use virga_agent::link::Link;
use virga_agent::node::Node;
use virga_agent::wire::GrpcLink;
use virga_agent::{report, wire};
use virga_model::order::{ImageRef, Report, ReportAck};
use virga_model::{Error, HostId};

use super::folder;
use super::protocol::{HostStatus, Libvirt, Network, Storage, Switch};
use crate::{MemoryJournal, SimHost};

/// Simulated milliseconds from switching a machine on to its agent.
const BOOT_MS: u64 = 15_000;
/// Simulated milliseconds after which a report that nobody takes is given up.
const LOST_MS: u64 = 10_000;
/// Connections of managers that are remembered, so that they can be cut.
const SOCKETS_MAX: usize = 8;

/// One machine.
pub struct Machine {
    /// Its name, and its host name.
    pub name: String,
    /// The rack it stands in.
    pub rack: String,
    /// The hardware.
    pub host: Arc<SimHost>,
    folder: PathBuf,
    journal: Arc<MemoryJournal>,
    id: Mutex<Option<HostId>>,
    agent: Mutex<Option<Agent>>,
    powered: AtomicBool,
    network: watch::Sender<Network>,
    storage: Mutex<Storage>,
    libvirt: Mutex<Libvirt>,
    reports: AtomicU64,
    reported_vms: AtomicUsize,
}

/// An agent that runs.
struct Agent {
    node: Arc<Node>,
    tls: Arc<rustls::ServerConfig>,
    lives: Arc<AtomicBool>,
    tasks: Vec<AbortHandle>,
    sockets: Vec<std::net::TcpStream>,
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.lives.store(false, Ordering::SeqCst);
        self.tasks.iter().for_each(AbortHandle::abort);
        cut(&mut self.sockets);
    }
}

fn cut(sockets: &mut Vec<std::net::TcpStream>) {
    for s in sockets.drain(..) {
        // A connection that has ended already needs no cutting.
        let _ = s.shutdown(std::net::Shutdown::Both);
    }
}

/// A poisoned lock means that another thread panicked while it held plain data: the data is still usable.
fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Machine {
    /// A machine that keeps its identity in `folder`; no agent runs yet.
    #[must_use]
    pub fn new(name: String, rack: String, host: Arc<SimHost>, folder: PathBuf) -> Machine {
        Machine {
            name,
            rack,
            host,
            folder,
            journal: MemoryJournal::new(),
            id: Mutex::default(),
            agent: Mutex::default(),
            powered: AtomicBool::new(true),
            network: watch::Sender::new(Network::Heal),
            storage: Mutex::default(),
            libvirt: Mutex::default(),
            reports: AtomicU64::new(0),
            reported_vms: AtomicUsize::new(0),
        }
    }

    /// Its identity; none: it has not joined yet.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn identity(&self) -> Result<Option<Identity>> {
        let identity = Identity::load(&self.folder)?;
        *lock(&self.id) = identity.as_ref().map(|i| i.host);
        Ok(identity)
    }

    /// Keeps the identity that a join gave.
    ///
    /// # Errors
    /// What the file system says.
    pub fn keep_identity(&self, identity: &Identity) -> Result<()> {
        folder::make(&self.folder)?;
        identity.save(&self.folder)?;
        *lock(&self.id) = Some(identity.host);
        Ok(())
    }

    /// Its id, once it has joined.
    #[must_use]
    pub fn id(&self) -> Option<HostId> {
        *lock(&self.id)
    }

    /// Puts on the machine what was kept of it.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn restore(&self) -> Result<()> {
        let Some(saved) = folder::machine(&self.folder)? else { return Ok(()) };
        self.host.restore(&saved);
        for (name, document) in &saved.journal {
            self.journal.put(name, document.to_string().as_bytes()).await?;
        }
        Ok(())
    }

    /// Keeps what lies on the machine.
    ///
    /// # Errors
    /// What the file system says.
    pub async fn keep(&self) -> Result<()> {
        let document = |(name, bytes): (String, Vec<u8>)| serde_json::from_slice(&bytes).ok().map(|d| (name, d));
        let journal = self.journal.load().await?.into_iter().filter_map(document).collect();
        folder::make(&self.folder)?;
        folder::keep_machine(&self.folder, &self.host.save().with_journal(journal))
    }

    /// Starts the agent. One that runs already, a machine without power and one that has not joined are left as they are.
    ///
    /// # Errors
    /// The identity or the journal cannot be used.
    pub async fn start_agent(self: &Arc<Machine>) -> Result<()> {
        if !self.powered.load(Ordering::SeqCst) || lock(&self.agent).is_some() {
            return Ok(());
        }
        let Some(identity) = self.identity()? else { return Ok(()) };
        let grpc = Arc::new(GrpcLink::new(&identity)?);
        let lives = Arc::new(AtomicBool::new(true));
        let link = Arc::new(BreakableLink { machine: self.clone(), grpc: grpc.clone() });
        let journal = Arc::new(MortalJournal { journal: self.journal.clone(), lives: lives.clone() });
        let node = Node::open(self.host.clone() as Arc<dyn Host>, link, journal).await?;
        let tls = super::listener::tls(&identity)?;
        let tasks =
            vec![tokio::spawn(report::run(node.clone())).abort_handle(), tokio::spawn(wire::keep_certificate_fresh(self.folder.clone(), grpc)).abort_handle()];
        let agent = Agent { node, tls, lives, tasks, sockets: Vec::new() };
        let mut place = lock(&self.agent);
        // Somebody else may have been faster, or the power may have gone: then this one ends at once.
        if place.is_none() && self.powered.load(Ordering::SeqCst) {
            *place = Some(agent);
        }
        Ok(())
    }

    /// Kills the agent. Guests go on.
    pub fn kill_agent(&self) {
        lock(&self.agent).take();
    }

    /// What serves managers; none: no agent runs.
    pub(super) fn serving(&self) -> Option<(Arc<Node>, Arc<rustls::ServerConfig>)> {
        lock(&self.agent).as_ref().map(|a| (a.node.clone(), a.tls.clone()))
    }

    /// Remembers a connection of a manager, so that it can be cut.
    pub(super) fn keep_socket(&self, socket: std::net::TcpStream) {
        if let Some(agent) = lock(&self.agent).as_mut() {
            if agent.sockets.len() >= SOCKETS_MAX {
                agent.sockets.remove(0);
            }
            agent.sockets.push(socket);
        }
    }

    /// Switches the power. A machine that comes back needs a while until its agent runs.
    pub fn power(self: &Arc<Machine>, state: Switch) {
        let on = state == Switch::On;
        if self.powered.swap(on, Ordering::SeqCst) == on {
            return;
        }
        if on {
            let machine = self.clone();
            tokio::spawn(async move {
                machine.host.clock.sleep_ms(BOOT_MS).await;
                if let Err(e) = machine.start_agent().await {
                    tracing::error!(machine = %machine.name, error = %e, "the agent cannot start");
                }
            });
        } else {
            self.kill_agent();
            self.host.power_fails();
        }
    }

    /// Breaks or mends the network to the managers.
    pub fn set_network(&self, state: Network) {
        self.network.send_replace(state);
        if state == Network::Cut
            && let Some(agent) = lock(&self.agent).as_mut()
        {
            cut(&mut agent.sockets);
        }
    }

    /// Waits until managers reach the machine.
    pub(super) async fn wait_reachable(&self) {
        // The sender is ours: it does not go away.
        let _ = self.network.subscribe().wait_for(|n| *n != Network::Cut).await;
    }

    /// Breaks or mends the store.
    pub fn set_storage(&self, state: Storage) {
        *lock(&self.storage) = state;
        let error = (state == Storage::Error).then(|| "The store gives input/output errors.".to_string());
        self.host.set_faults(|f| {
            f.store_full = state == Storage::Full;
            f.disk_fails.clone_from(&error);
            f.start_fails = error;
        });
    }

    /// Breaks or mends libvirt.
    pub fn set_libvirt(&self, state: Libvirt) {
        *lock(&self.libvirt) = state;
        self.host.set_faults(|f| {
            f.hypervisor_down = state == Libvirt::Down;
            f.hypervisor_hangs = state == Libvirt::Hang;
        });
    }

    /// How it is.
    #[must_use]
    pub fn status(&self) -> HostStatus {
        let (vms, running) = self.host.count();
        HostStatus {
            name: self.name.clone(),
            rack: self.rack.clone(),
            power: if self.powered.load(Ordering::SeqCst) { Switch::On } else { Switch::Off },
            agent: lock(&self.agent).is_some(),
            network: *self.network.borrow(),
            storage: *lock(&self.storage),
            libvirt: *lock(&self.libvirt),
            vms,
            running,
            reports: self.reports(),
        }
    }

    /// Reports that managers have taken.
    #[must_use]
    pub fn reports(&self) -> u64 {
        self.reports.load(Ordering::Relaxed)
    }

    /// VMs in the newest full report that a manager has taken.
    #[must_use]
    pub fn reported_vms(&self) -> usize {
        self.reported_vms.load(Ordering::Relaxed)
    }
}

/// The way to the managers, which can be broken.
struct BreakableLink {
    machine: Arc<Machine>,
    grpc: Arc<GrpcLink>,
}

impl BreakableLink {
    /// Waits as long as a real caller would while nothing gets out; an error when it did not.
    async fn get_out(&self) -> Result<()> {
        let mut network = self.machine.network.subscribe();
        if *network.borrow_and_update() == Network::Heal {
            return Ok(());
        }
        tokio::select! {
            () = self.machine.host.clock.sleep_ms(LOST_MS) => {}
            _ = network.wait_for(|n| *n == Network::Heal) => {}
        }
        Err(Error::unavailable("The manager did not answer in time: the simulated network is broken."))
    }
}

#[async_trait]
impl Link for BreakableLink {
    async fn report(&self, report: &Report) -> Result<ReportAck> {
        self.get_out().await?;
        let ack = self.grpc.report(report).await?;
        self.machine.reports.fetch_add(1, Ordering::Relaxed);
        if report.full {
            self.machine.reported_vms.store(report.vms.len(), Ordering::Relaxed);
        }
        Ok(ack)
    }

    async fn fetch_image(&self, image: &ImageRef, offset: u64) -> Result<BoxStream<'static, Result<Vec<u8>>>> {
        self.get_out().await?;
        self.grpc.fetch_image(image, offset).await
    }
}

/// The machine's journal as one agent sees it: when the agent was killed, nothing it still does gets through.
struct MortalJournal {
    journal: Arc<MemoryJournal>,
    lives: Arc<AtomicBool>,
}

impl MortalJournal {
    async fn unless_dead(&self) {
        if !self.lives.load(Ordering::SeqCst) {
            // A killed process never returns.
            std::future::pending::<()>().await;
        }
    }
}

#[async_trait]
impl Journal for MortalJournal {
    async fn load(&self) -> Result<Vec<(String, Vec<u8>)>> {
        self.journal.load().await
    }

    async fn put(&self, name: &str, content: &[u8]) -> Result<()> {
        self.unless_dead().await;
        self.journal.put(name, content).await
    }

    async fn remove(&self, name: &str) -> Result<()> {
        self.unless_dead().await;
        self.journal.remove(name).await
    }
}
