//! A machine in memory: domains, disks, images and networks in maps, simulated seconds for what takes time, and faults.

use async_trait::async_trait;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;
use virga_agent::host::{Asked, Clock, Domain, Domains, Duplex, Facts, Hypervisor, Networks, Result, Started, StoredDisk, Volumes};
use virga_model::change::Change;
use virga_model::host::{HostCpu, HostFacts};
use virga_model::order::{ImageRef, NetworkRef, VmOrder};
use virga_model::stats::Counters;
use virga_model::user::ConsoleKind;
use virga_model::vm::{AgentState, DiskSpec, GuestInfo, VmState};
use virga_model::{DiskId, Error, ImageId, NetworkId, Time, VmId};

use crate::SimClock;

/// Simulated milliseconds that a step takes.
const STEP_MS: u64 = 50;
/// Simulated milliseconds from a start to an answering guest agent.
const BOOT_MS: u64 = 4_000;
/// Simulated milliseconds a guest takes to shut down.
const SHUTDOWN_MS: u64 = 2_000;

/// What does not work at the moment. All off by default.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// The hypervisor does not answer.
    pub hypervisor_down: bool,
    /// Starting a guest fails with this text.
    pub start_fails: Option<String>,
    /// Making a disk fails with this text.
    pub disk_fails: Option<String>,
    /// Guests ignore being asked to shut down.
    pub guests_ignore_shutdown: bool,
    /// A live change fails with this text.
    pub change_fails: Option<String>,
}

#[derive(Clone)]
struct SimDomain {
    order: VmOrder,
    state: VmState,
    persistent: bool,
    edited_outside: bool,
    booted_at: u64,
    down_at: Option<u64>,
}

#[derive(Default)]
struct World {
    domains: BTreeMap<VmId, SimDomain>,
    disks: BTreeMap<DiskId, StoredDisk>,
    images: BTreeMap<ImageId, Vec<u8>>,
    partial: BTreeMap<ImageId, Vec<u8>>,
    networks: BTreeSet<NetworkId>,
    faults: Faults,
    log: Vec<String>,
}

/// A simulated machine. It outlives the agents that run on it, as a real one does.
pub struct SimHost {
    name: String,
    memory_bytes: u64,
    clock: SimClock,
    world: Mutex<World>,
    changes: watch::Sender<u64>,
}

impl SimHost {
    /// A machine with 32 logical processors and `memory_bytes`.
    #[must_use]
    pub fn new(name: &str, memory_bytes: u64, clock: SimClock) -> Arc<SimHost> {
        Arc::new(SimHost { name: name.into(), memory_bytes, clock, world: Mutex::default(), changes: watch::Sender::new(0) })
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Switches faults.
    pub fn set_faults(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.world().faults);
    }

    /// What was done to the machine so far, one line each.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.world().log.clone()
    }

    /// State of a VM's domain; none: there is no domain.
    #[must_use]
    pub fn domain_state(&self, vm: VmId) -> Option<VmState> {
        self.settle();
        self.world().domains.get(&vm).map(|d| d.state)
    }

    /// What a guest runs with.
    #[must_use]
    pub fn domain_order(&self, vm: VmId) -> Option<VmOrder> {
        self.world().domains.get(&vm).map(|d| d.order.clone())
    }

    /// Whether nothing of any VM is left: no domain, no disk.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let w = self.world();
        w.domains.is_empty() && w.disks.is_empty()
    }

    /// Somebody does this to a domain behind our back: `None` undefines it.
    pub fn meddle(&self, vm: VmId, state: Option<VmState>) {
        {
            let mut w = self.world();
            match (state, w.domains.get_mut(&vm)) {
                (Some(s), Some(d)) => d.state = s,
                (None, Some(d)) if d.state == VmState::Running => d.persistent = false,
                (None, _) => drop(w.domains.remove(&vm)),
                _ => {}
            }
        }
        self.bump();
    }

    /// Somebody edits a domain's definition behind our back.
    pub fn edit_outside(&self, vm: VmId) {
        if let Some(d) = self.world().domains.get_mut(&vm) {
            d.edited_outside = true;
        }
    }

    fn bump(&self) {
        self.changes.send_modify(|n| *n += 1);
    }

    fn note(&self, text: String) {
        let at = self.clock.now_ms();
        self.world().log.push(format!("{at:>8} {} {text}", self.name));
    }

    /// Lets guests that were asked to shut down be down when their time has come.
    fn settle(&self) {
        let now = self.clock.now_ms();
        let mut w = self.world();
        let mut gone = Vec::new();
        for (id, d) in &mut w.domains {
            if d.down_at.is_some_and(|t| t <= now) && d.state == VmState::Running {
                d.state = VmState::Stopped;
                d.down_at = None;
                if !d.persistent {
                    gone.push(*id);
                }
            }
        }
        gone.iter().for_each(|id| drop(w.domains.remove(id)));
    }

    fn up(&self) -> Result<()> {
        if self.world().faults.hypervisor_down { Err(Error::unavailable("The simulated hypervisor does not answer.")) } else { Ok(()) }
    }

    /// Moves a domain to `state`.
    async fn set(&self, vm: VmId, state: VmState, what: &str) -> Result<()> {
        self.up()?;
        self.clock.sleep_ms(STEP_MS).await;
        self.up()?;
        let now = self.clock.now_ms();
        {
            let mut w = self.world();
            let d = w.domains.get_mut(&vm).ok_or_else(|| Error::not_found("domain", vm))?;
            if state == VmState::Running && matches!(d.state, VmState::Stopped | VmState::Hibernated) {
                d.booted_at = now;
            }
            d.state = state;
            d.down_at = None;
            let transient = state == VmState::Stopped && !d.persistent;
            if transient {
                w.domains.remove(&vm);
            }
        }
        self.note(format!("{what} {vm}"));
        self.bump();
        Ok(())
    }
}

fn digest(d: &SimDomain) -> String {
    format!("{}-{}", d.order.generation, if d.edited_outside { "edited" } else { "ours" })
}

#[async_trait]
impl Hypervisor for SimHost {
    async fn domains(&self) -> Result<Domains> {
        self.up()?;
        self.settle();
        let ours = self
            .world()
            .domains
            .iter()
            .map(|(id, d)| Domain {
                id: *id,
                state: d.state,
                persistent: d.persistent,
                definition_digest: d.persistent.then(|| digest(d)),
                generation: d.order.generation,
            })
            .collect();
        Ok(Domains { ours, foreign: Vec::new() })
    }

    async fn define(&self, order: &VmOrder) -> Result<String> {
        self.up()?;
        self.clock.sleep_ms(STEP_MS).await;
        let digest = {
            let mut w = self.world();
            let d = w.domains.entry(order.id).or_insert_with(|| SimDomain {
                order: order.clone(),
                state: VmState::Stopped,
                persistent: true,
                edited_outside: false,
                booted_at: 0,
                down_at: None,
            });
            d.order = order.clone();
            d.persistent = true;
            d.edited_outside = false;
            digest(d)
        };
        self.note(format!("define {} generation {}", order.id, order.generation));
        Ok(digest)
    }

    async fn undefine(&self, vm: VmId) -> Result<()> {
        self.up()?;
        if self.domain_state(vm).is_some_and(|s| matches!(s, VmState::Running | VmState::Paused)) {
            return Err(Error::conflict("The domain runs."));
        }
        self.world().domains.remove(&vm);
        self.note(format!("undefine {vm}"));
        Ok(())
    }

    async fn start(&self, vm: VmId) -> Result<Started> {
        let fails = self.world().faults.start_fails.clone();
        if let Some(why) = fails {
            return Err(Error::host(why));
        }
        self.set(vm, VmState::Running, "start").await?;
        Ok(Started { accelerator: "simulated".into(), machine: "pc-q35-sim".into() })
    }

    async fn shutdown(&self, vm: VmId) -> Result<Asked> {
        self.up()?;
        let down_at = self.clock.now_ms() + SHUTDOWN_MS;
        {
            let mut w = self.world();
            if !w.faults.guests_ignore_shutdown
                && let Some(d) = w.domains.get_mut(&vm)
            {
                d.down_at.get_or_insert(down_at);
            }
        }
        self.note(format!("shutdown {vm}"));
        Ok(Asked::ByAgent)
    }

    async fn reboot(&self, vm: VmId) -> Result<Asked> {
        self.set(vm, VmState::Running, "reboot").await?;
        Ok(Asked::ByAgent)
    }

    async fn reset(&self, vm: VmId) -> Result<()> {
        self.set(vm, VmState::Running, "reset").await
    }

    async fn force_off(&self, vm: VmId) -> Result<()> {
        self.set(vm, VmState::Stopped, "force_off").await
    }

    async fn pause(&self, vm: VmId) -> Result<()> {
        self.set(vm, VmState::Paused, "pause").await
    }

    async fn resume(&self, vm: VmId) -> Result<()> {
        self.set(vm, VmState::Running, "resume").await
    }

    async fn hibernate(&self, vm: VmId) -> Result<()> {
        self.set(vm, VmState::Hibernated, "hibernate").await
    }

    async fn discard_saved(&self, vm: VmId) -> Result<()> {
        self.set(vm, VmState::Stopped, "discard_saved").await
    }

    async fn change_live(&self, order: &VmOrder, change: &Change) -> Result<()> {
        self.up()?;
        self.clock.sleep_ms(STEP_MS).await;
        let fails = self.world().faults.change_fails.clone();
        self.note(format!("change {} {}", order.id, change.text()));
        fails.map_or(Ok(()), |why| Err(Error::host(why)))
    }

    async fn guest_info(&self, vm: VmId) -> Result<GuestInfo> {
        self.up()?;
        let now = self.clock.now_ms();
        let w = self.world();
        let booted = w.domains.get(&vm).filter(|d| d.state == VmState::Running && d.booted_at + BOOT_MS <= now);
        let Some(d) = booted else { return Ok(GuestInfo::default()) };
        let b = vm.0.as_bytes();
        Ok(GuestInfo {
            agent: AgentState::Connected,
            agent_version: Some("sim".into()),
            host_name: Some(d.order.name.clone()),
            os: Some("Simulated".into()),
            kernel: None,
            ips: d.order.spec.nics.iter().map(|_| format!("10.{}.{}.{}", b[13], b[14], b[15])).take(1).collect(),
            file_systems: Vec::new(),
        })
    }

    async fn counters(&self) -> Result<Vec<(VmId, Counters)>> {
        self.up()?;
        let now = self.clock.now_ms();
        let w = self.world();
        let running = w.domains.iter().filter(|(_, d)| d.state == VmState::Running);
        Ok(running
            .map(|(id, d)| {
                let cpus = d.order.spec.cpu.count;
                let counters =
                    Counters { cpu_ns: now * 100_000, cpus, memory_bytes: d.order.spec.memory.bytes / 2, disk_write_bytes: now * 10, ..Default::default() };
                (*id, counters)
            })
            .collect())
    }

    async fn screenshot(&self, _vm: VmId) -> Result<Vec<u8>> {
        Err(Error::unavailable("A simulated VM has no screen."))
    }

    async fn console(&self, vm: VmId, _kind: ConsoleKind) -> Result<Box<dyn Duplex>> {
        if self.domain_state(vm) != Some(VmState::Running) {
            return Err(Error::conflict("The VM does not run, so it has no console."));
        }
        // An echo is enough to test the way to it.
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        let (mut read, mut write) = tokio::io::split(theirs);
        tokio::spawn(async move { tokio::io::copy(&mut read, &mut write).await });
        Ok(Box::new(ours))
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

#[async_trait]
impl Volumes for SimHost {
    async fn disk_ensure(&self, vm: VmId, disk: &DiskSpec, image: Option<&ImageRef>) -> Result<()> {
        self.clock.sleep_ms(STEP_MS).await;
        let mut w = self.world();
        if let Some(why) = &w.faults.disk_fails {
            return Err(Error::host(why.clone()));
        }
        if image.is_some_and(|i| !w.images.contains_key(&i.id)) {
            return Err(Error::internal("The image is not in the cache."));
        }
        w.disks.entry(disk.id).or_insert(StoredDisk { id: disk.id, vm, size_bytes: disk.size_bytes });
        Ok(())
    }

    async fn disk_grow(&self, _vm: VmId, disk: &DiskSpec) -> Result<()> {
        if let Some(d) = self.world().disks.get_mut(&disk.id) {
            d.size_bytes = d.size_bytes.max(disk.size_bytes);
        }
        Ok(())
    }

    async fn disk_remove(&self, vm: VmId, disk: DiskId) -> Result<()> {
        self.world().disks.remove(&disk);
        self.note(format!("disk_remove {vm}"));
        Ok(())
    }

    async fn vm_files_remove(&self, vm: VmId) -> Result<()> {
        self.world().disks.retain(|_, d| d.vm != vm);
        Ok(())
    }

    async fn disks(&self) -> Result<Vec<StoredDisk>> {
        Ok(self.world().disks.values().cloned().collect())
    }

    async fn images(&self) -> Result<Vec<ImageId>> {
        Ok(self.world().images.keys().copied().collect())
    }

    async fn image_partial_bytes(&self, image: &ImageRef) -> Result<u64> {
        Ok(self.world().partial.get(&image.id).map_or(0, |p| p.len() as u64))
    }

    async fn image_write(&self, image: &ImageRef, offset: u64, data: &[u8]) -> Result<()> {
        let mut w = self.world();
        let partial = w.partial.entry(image.id).or_default();
        partial.truncate(usize::try_from(offset).unwrap_or(usize::MAX));
        partial.extend_from_slice(data);
        Ok(())
    }

    async fn image_commit(&self, image: &ImageRef) -> Result<()> {
        let mut w = self.world();
        let content = w.partial.remove(&image.id).unwrap_or_default();
        let sha: String = Sha256::digest(&content).iter().map(|b| format!("{b:02x}")).collect();
        if content.len() as u64 != image.size_bytes || sha != image.sha256 {
            return Err(Error::host("The image that arrived is not the one that was sent."));
        }
        w.images.insert(image.id, content);
        Ok(())
    }

    async fn image_remove(&self, image: ImageId) -> Result<()> {
        self.world().images.remove(&image);
        Ok(())
    }
}

#[async_trait]
impl Networks for SimHost {
    async fn network_ensure(&self, network: &NetworkRef) -> Result<()> {
        self.world().networks.insert(network.id);
        Ok(())
    }

    async fn network_remove(&self, network: &NetworkRef) -> Result<()> {
        self.world().networks.remove(&network.id);
        Ok(())
    }
}

#[async_trait]
impl Facts for SimHost {
    async fn facts(&self) -> Result<HostFacts> {
        let w = self.world();
        Ok(HostFacts {
            host_name: self.name.clone(),
            os: "Simulated".into(),
            cpu: HostCpu { model: "Simulated".into(), arch: "x86_64".into(), sockets: 2, cores: 8, threads: 2, logical: 32, mhz: 2600, flags: vec![] },
            memory_bytes: self.memory_bytes,
            store_total_bytes: 10 << 40,
            store_free_bytes: 8 << 40,
            accelerator: "simulated".into(),
            uefi: true,
            ovs: true,
            networks: w.networks.iter().copied().collect(),
            ..Default::default()
        })
    }

    async fn host_counters(&self) -> Result<Counters> {
        Ok(Counters { cpu_ns: self.clock.now_ms() * 1_000_000, cpus: 32, memory_bytes: self.memory_bytes / 4, ..Default::default() })
    }
}

#[async_trait]
impl Clock for SimHost {
    fn now(&self) -> Time {
        self.clock.time()
    }

    fn monotonic_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    async fn sleep_ms(&self, ms: u64) {
        self.clock.sleep_ms(ms).await;
    }
}
