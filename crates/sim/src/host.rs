//! A machine in memory: domains, disks, images and networks in maps, simulated seconds for what takes time, and faults.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;
use virga_agent::host::{Asked, Clock, Domain, Domains, Duplex, Facts, Hypervisor, Networks, Result, Started, StoredDisk, Volumes};
use virga_model::change::Change;
use virga_model::clone::DiskOrigin;
use virga_model::export::{ExportSpec, ExportedDisk};
use virga_model::host::{HostCpu, HostFacts};
use virga_model::layer::{Layer, Merge};
use virga_model::order::{ImageRef, NetworkRef, Progress, VmOrder};
use virga_model::snapshot::StoredMemory;
use virga_model::stats::Counters;
use virga_model::user::ConsoleKind;
use virga_model::vm::{DiskSpec, GuestInfo, VmState};
use virga_model::{DataStoreId, DiskId, Error, ImageId, LayerId, NetworkId, SnapshotId, Time, VmId};

use crate::files::{Key, SimFile};
use crate::stores::{Shares, StoreFault};
use crate::{SimClock, console, life};

/// Simulated milliseconds that a step takes.
pub(crate) const STEP_MS: u64 = 50;
/// Simulated milliseconds from a start to an answering guest agent.
const BOOT_MS: u64 = 4_000;
/// Simulated milliseconds a guest takes to shut down.
const SHUTDOWN_MS: u64 = 2_000;

/// Simulated milliseconds after which a caller gives up a hypervisor that hangs.
const HANG_MS: u64 = 10_000;
/// Machine type that simulated guests are pinned to.
pub(crate) const MACHINE: &str = "pc-q35-sim";
/// How simulated guests run.
pub(crate) const ACCELERATOR: &str = "simulated";
/// Disks are sparse: of each this part of its size is used.
pub(crate) const DISK_USE: u64 = 8;

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
    /// The hypervisor takes questions and gives no answer, until the caller gives up.
    pub hypervisor_hangs: bool,
    /// Merging layers fails with this text.
    pub merge_fails: Option<String>,
    /// Reclaiming space fails with this text.
    pub reclaim_fails: Option<String>,
    /// Overwriting a disk fails with this text.
    pub erase_fails: Option<String>,
    /// The store has no room: none is reported, and making a disk fails.
    pub store_full: bool,
    /// What is wrong with shared data stores, by the path of each, on this machine alone.
    pub stores: BTreeMap<String, StoreFault>,
    /// What is wrong with every other shared data store on this machine.
    pub shares: Option<StoreFault>,
}

impl Faults {
    /// What is wrong with the shared folder of this path.
    pub(crate) fn store(&self, path: &str) -> Option<StoreFault> {
        self.stores.get(path).copied().or(self.shares)
    }
}

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct SimDomain {
    pub(crate) order: VmOrder,
    pub(crate) state: VmState,
    pub(crate) persistent: bool,
    pub(crate) edited_outside: bool,
    pub(crate) booted_at: u64,
    pub(crate) down_at: Option<u64>,
    /// Bytes of the host's memory that the guest was started with.
    #[serde(default)]
    pub(crate) memory_bytes: u64,
    /// The file of each disk that the running guest writes.
    #[serde(default)]
    pub(crate) writes: BTreeMap<DiskId, Option<LayerId>>,
    /// The file of each disk that the definition names.
    #[serde(default)]
    pub(crate) defined_tops: BTreeMap<DiskId, Option<LayerId>>,
    /// The guest's memory: the last number that it wrote since it was booted; 0: none.
    #[serde(default)]
    pub(crate) memory: u64,
}

/// An image that is being copied: of its content only the digest so far is kept, because many machines in one process
/// may hold the same large image.
#[derive(Clone, Default)]
struct Partial {
    digest: Sha256,
    bytes: u64,
}

#[derive(Default)]
pub(crate) struct World {
    pub(crate) domains: BTreeMap<VmId, SimDomain>,
    pub(crate) files: BTreeMap<Key, SimFile>,
    /// What files of shared folders read as that other machines made and disks of this one stand on.
    pub(crate) foreign: BTreeMap<Key, BTreeSet<u64>>,
    /// Stored memory of snapshots.
    pub(crate) memories: BTreeMap<(VmId, SnapshotId), u64>,
    /// The last number that a guest wrote.
    pub(crate) numbers: u64,
    pub(crate) images: BTreeSet<ImageId>,
    partial: BTreeMap<(Option<DataStoreId>, ImageId), Partial>,
    /// The data stores that it was told of, and their paths.
    pub(crate) known_stores: BTreeMap<DataStoreId, String>,
    /// Copies of disks for transport.
    pub(crate) exports: crate::exports::Exports,
    pub(crate) networks: BTreeSet<NetworkId>,
    pub(crate) faults: Faults,
    log: Vec<String>,
}

/// A simulated machine. It outlives the agents that run on it, as a real one does.
pub struct SimHost {
    name: String,
    /// What the machine is; what changes (networks, free space) is filled in when somebody asks.
    facts: HostFacts,
    /// From which its guests' lives are drawn.
    seed: u64,
    /// A machine that lives for weeks keeps no list of all that was done to it.
    keeps_log: bool,
    pub(crate) clock: SimClock,
    world: Mutex<World>,
    /// What other machines see as well.
    pub(crate) shares: Mutex<Shares>,
    changes: watch::Sender<u64>,
}

impl SimHost {
    /// A machine with 32 logical processors and `memory_bytes`.
    #[must_use]
    pub fn new(name: &str, memory_bytes: u64, clock: SimClock) -> Arc<SimHost> {
        let facts = HostFacts {
            host_name: name.into(),
            os: "Simulated".into(),
            cpu: HostCpu { model: "Simulated".into(), arch: "x86_64".into(), sockets: 2, cores: 8, threads: 2, logical: 32, mhz: 2600, flags: vec![] },
            memory_bytes,
            store_total_bytes: 10 << 40,
            store_free_bytes: 8 << 40,
            accelerator: "simulated".into(),
            uefi: true,
            ovs: true,
            ..Default::default()
        };
        Arc::new(SimHost { keeps_log: true, ..SimHost::bare(facts, 0, clock) })
    }

    /// A machine with this inventory, whose guests live by `seed`, and which keeps no list of what was done to it.
    #[must_use]
    pub fn with_facts(facts: HostFacts, seed: u64, clock: SimClock) -> Arc<SimHost> {
        Arc::new(SimHost::bare(facts, seed, clock))
    }

    fn bare(facts: HostFacts, seed: u64, clock: SimClock) -> SimHost {
        SimHost {
            name: facts.host_name.clone(),
            facts,
            seed,
            keeps_log: false,
            clock,
            world: Mutex::default(),
            shares: Mutex::default(),
            changes: watch::Sender::new(0),
        }
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes of memory that it has.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.facts.memory_bytes
    }

    /// From which its guests' lives are drawn.
    pub(crate) fn seed(&self) -> u64 {
        self.seed
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
        w.domains.is_empty() && w.files.is_empty() && w.memories.is_empty() && w.exports.count() == 0
    }

    /// Whether nothing of any VM is left but the files of this disk.
    #[must_use]
    pub fn holds_only(&self, disk: DiskId) -> bool {
        let w = self.world();
        w.domains.is_empty() && w.files.keys().all(|(d, _)| *d == disk)
    }

    pub(crate) fn bump(&self) {
        self.changes.send_modify(|n| *n += 1);
    }

    pub(crate) fn note(&self, text: String) {
        if !self.keeps_log {
            return;
        }
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

    /// As [`SimHost::up`]; a hypervisor that hangs is waited for as long as a real caller would.
    async fn ready(&self) -> Result<()> {
        if self.world().faults.hypervisor_hangs {
            self.clock.sleep_ms(HANG_MS).await;
            return Err(Error::unavailable("The simulated hypervisor did not answer in time."));
        }
        self.up()
    }

    /// Moves a domain to `state`.
    async fn set(&self, vm: VmId, state: VmState, what: &str) -> Result<()> {
        self.ready().await?;
        self.clock.sleep_ms(STEP_MS).await;
        self.up()?;
        let now = self.clock.now_ms();
        {
            let mut w = self.world();
            let d = w.domains.get_mut(&vm).ok_or_else(|| Error::not_found("domain", vm))?;
            if state == VmState::Running && matches!(d.state, VmState::Stopped | VmState::Hibernated) {
                if d.state == VmState::Stopped {
                    d.memory = 0;
                }
                // Saved memory names the files and the memory that it was saved with, not what the definition got since then.
                if d.state == VmState::Stopped || d.memory_bytes == 0 {
                    d.writes = d.defined_tops.clone();
                    d.memory_bytes = d.order.spec.host_memory_bytes();
                }
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

fn domain(id: VmId, d: &SimDomain) -> Domain {
    Domain { id, state: d.state, persistent: d.persistent, definition_digest: d.persistent.then(|| digest(d)), generation: d.order.generation, died: false }
}

pub(crate) fn digest(d: &SimDomain) -> String {
    format!("{}-{}", d.order.generation, if d.edited_outside { "edited" } else { "ours" })
}

#[async_trait]
impl Hypervisor for SimHost {
    async fn domains(&self) -> Result<Domains> {
        self.ready().await?;
        self.settle();
        let ours = self.world().domains.iter().map(|(id, d)| domain(*id, d)).collect();
        Ok(Domains { ours, foreign: Vec::new() })
    }

    async fn domain(&self, vm: VmId) -> Result<Option<Domain>> {
        self.ready().await?;
        self.settle();
        Ok(self.world().domains.get(&vm).map(|d| domain(vm, d)))
    }

    async fn running_memory_bytes(&self, vm: VmId) -> Result<Option<u64>> {
        self.ready().await?;
        let w = self.world();
        let d = w.domains.get(&vm).filter(|d| d.state.takes_memory() && d.memory_bytes > 0);
        // What QEMU takes itself, a fixed part and 0.5 %, is none of the guest's, which has whole MiB.
        Ok(d.map(|d| (d.memory_bytes.saturating_sub(96 << 20) / 201 * 200 + (1 << 19)) >> 20 << 20))
    }

    async fn define(&self, order: &VmOrder) -> Result<String> {
        self.ready().await?;
        self.clock.sleep_ms(STEP_MS).await;
        let digest = {
            let mut w = self.world();
            let former = w.domains.get(&order.id).map(|d| d.defined_tops.clone()).unwrap_or_default();
            let tops = w.tops(order, &former);
            let d = w.domains.entry(order.id).or_insert_with(|| SimDomain {
                order: order.clone(),
                state: VmState::Stopped,
                persistent: true,
                edited_outside: false,
                booted_at: 0,
                down_at: None,
                memory_bytes: 0,
                writes: BTreeMap::new(),
                defined_tops: BTreeMap::new(),
                memory: 0,
            });
            d.defined_tops = tops;
            d.order = order.clone();
            d.persistent = true;
            d.edited_outside = false;
            digest(d)
        };
        self.note(format!("define {} generation {}", order.id, order.generation));
        Ok(digest)
    }

    async fn undefine(&self, vm: VmId) -> Result<()> {
        self.ready().await?;
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
        Ok(Started { accelerator: ACCELERATOR.into(), machine: MACHINE.into() })
    }

    async fn shutdown(&self, vm: VmId) -> Result<Asked> {
        self.ready().await?;
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
        self.ready().await?;
        self.clock.sleep_ms(STEP_MS).await;
        let fails = self.world().faults.change_fails.clone();
        self.note(format!("change {} {}", order.id, change.text()));
        if let Some(why) = fails {
            return Err(Error::host(why));
        }
        let mut w = self.world();
        match change {
            Change::TakeLayer(layer) => {
                w.guest_writes(order.id);
                w.take_layer(order, *layer)?;
                w.guest_writes(order.id);
            }
            Change::Memory { .. } => {
                if let Some(d) = w.domains.get_mut(&order.id) {
                    d.memory_bytes = order.spec.host_memory_bytes();
                }
            }
            Change::AttachDisk(disk) => {
                let top = order.spec.disk_files(disk, |l| w.files.contains_key(&(disk.id, Some(l)))).pop().flatten();
                if let Some(d) = w.domains.get_mut(&order.id) {
                    d.writes.insert(disk.id, top);
                }
            }
            Change::DetachDisk(disk) => {
                if let Some(d) = w.domains.get_mut(&order.id) {
                    d.writes.remove(&disk.id);
                }
            }
            _ => {}
        }
        Ok(())
    }

    async fn memory_store(&self, order: &VmOrder, layer: Layer) -> Result<StoredMemory> {
        self.ready().await?;
        self.clock.sleep_ms(STEP_MS).await;
        if let Some(why) = self.world().faults.change_fails.clone() {
            return Err(Error::host(why));
        }
        self.note(format!("memory_store {}", order.id));
        let stored = self.world().store_memory(order, layer)?;
        Ok(stored)
    }

    async fn memory_restore(&self, order: &VmOrder, snapshot: SnapshotId) -> Result<Started> {
        if self.domain_state(order.id).is_some_and(|s| !matches!(s, VmState::Stopped | VmState::Hibernated)) {
            return Ok(Started { accelerator: ACCELERATOR.into(), machine: MACHINE.into() });
        }
        if let Some(why) = self.world().faults.start_fails.clone() {
            return Err(Error::host(why));
        }
        let Some(memory) = self.world().memories.get(&(order.id, snapshot)).copied() else {
            return Err(Error::host("The stored memory is not there."));
        };
        self.set(order.id, VmState::Running, "memory_restore").await?;
        if let Some(d) = self.world().domains.get_mut(&order.id) {
            d.memory = memory;
        }
        Ok(Started { accelerator: ACCELERATOR.into(), machine: MACHINE.into() })
    }

    async fn merge(&self, order: &VmOrder, disk: DiskId, merge: Merge, progress: &(dyn Fn(Progress) + Send + Sync)) -> Result<()> {
        self.ready().await?;
        progress(Progress { step: "merging layers".into(), done: 0, total: 1, unit: "bytes".into() });
        self.clock.sleep_ms(STEP_MS).await;
        {
            let mut w = self.world();
            if let Some(why) = &w.faults.merge_fails {
                return Err(Error::host(why.clone()));
            }
            w.guest_writes(order.id);
            w.merge_content(order, disk, merge)?;
            w.guest_writes(order.id);
        }
        self.note(format!("merge {} {disk} {}", order.id, merge.from));
        // Between the content and the end of the upper file an agent may be killed.
        self.clock.sleep_ms(STEP_MS).await;
        self.world().merge_end(order, disk, merge);
        Ok(())
    }

    async fn guest_info(&self, vm: VmId) -> Result<GuestInfo> {
        self.ready().await?;
        let now = self.clock.now_ms();
        let w = self.world();
        let booted = w.domains.get(&vm).filter(|d| d.state == VmState::Running && d.booted_at + BOOT_MS <= now);
        let Some(d) = booted else { return Ok(GuestInfo::default()) };
        Ok(life::guest_info(self.seed, d))
    }

    async fn counters(&self) -> Result<Vec<(VmId, Counters)>> {
        self.ready().await?;
        let now = self.clock.now_ms();
        let w = self.world();
        let running = w.domains.iter().filter(|(_, d)| d.state == VmState::Running);
        Ok(running.map(|(id, d)| (*id, life::counters(self.seed, d, now))).collect())
    }

    async fn screenshot(&self, vm: VmId) -> Result<Vec<u8>> {
        self.ready().await?;
        if self.domain_state(vm) != Some(VmState::Running) {
            return Err(Error::conflict("A VM that does not run has no screen.").with_hint("Start the VM."));
        }
        console::screenshot(vm)
    }

    async fn console(&self, vm: VmId, kind: ConsoleKind) -> Result<Box<dyn Duplex>> {
        self.ready().await?;
        let name = self.world().domains.get(&vm).filter(|d| d.state == VmState::Running).map(|d| d.order.name.clone());
        let name = name.ok_or_else(|| Error::conflict("The VM does not run, so it has no console."))?;
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        match kind {
            ConsoleKind::Serial => drop(tokio::spawn(console::serial(name, theirs))),
            ConsoleKind::Vnc => drop(tokio::spawn(console::vnc(vm, name, self.clock.clone(), theirs))),
        }
        Ok(Box::new(ours))
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

#[async_trait]
impl Volumes for SimHost {
    async fn disk_ensure(&self, vm: VmId, disk: &DiskSpec, image: Option<&ImageRef>, progress: &(dyn Fn(Progress) + Send + Sync)) -> Result<()> {
        self.make_disk(vm, disk, image, progress).await
    }

    async fn disk_copy(
        &self,
        vm: VmId,
        disk: &DiskSpec,
        to: Option<LayerId>,
        from: Option<LayerId>,
        _image: Option<&ImageRef>,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<()> {
        self.copy_disk(vm, disk, (to, from), progress).await
    }

    async fn standing_on(&self, vm: VmId) -> Result<Vec<(VmId, DiskOrigin)>> {
        Ok(self.standing_everywhere(vm))
    }

    async fn layer_ensure(&self, vm: VmId, disk: &DiskSpec, layer: LayerId, below: Option<LayerId>) -> Result<()> {
        self.clock.sleep_ms(STEP_MS).await;
        self.store_usable(disk.store, 0).await?;
        let mut w = self.world();
        if let Some(why) = &w.faults.disk_fails {
            return Err(Error::host(why.clone()));
        }
        if !w.files.contains_key(&(disk.id, below)) {
            return Err(Error::host("The file that a layer shall stand on is not there."));
        }
        let stored = StoredDisk { id: disk.id, vm, layer: Some(layer), store: disk.store, size_bytes: disk.size_bytes };
        w.files.entry((disk.id, Some(layer))).or_insert_with(|| SimFile::new(stored, below));
        Ok(())
    }

    async fn disk_grow(&self, _vm: VmId, disk: &DiskSpec, layer: Option<LayerId>, _: &(dyn Fn(Progress) + Send + Sync)) -> Result<()> {
        self.store_usable(disk.store, 0).await?;
        if let Some(f) = self.world().files.get_mut(&(disk.id, layer)) {
            f.stored.size_bytes = f.stored.size_bytes.max(disk.size_bytes);
        }
        Ok(())
    }

    async fn disk_reclaim(&self, order: &VmOrder, disk: &DiskSpec, progress: &(dyn Fn(Progress) + Send + Sync)) -> Result<u64> {
        progress(Progress { step: "reclaiming the space of a disk".into(), done: 0, total: disk.size_bytes, unit: "bytes".into() });
        self.clock.sleep_ms(STEP_MS).await;
        let fails = self.world().faults.reclaim_fails.clone();
        self.note(format!("disk_reclaim {} {}", order.id, disk.id));
        // Of what is used half is found to be free.
        fails.map_or(Ok(disk.size_bytes / DISK_USE / 2), |why| Err(Error::host(why)))
    }

    async fn disk_erase(
        &self,
        vm: VmId,
        store: Option<DataStoreId>,
        disk: DiskId,
        layer: Option<LayerId>,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<(u64, Vec<String>)> {
        self.store_usable(store, 0).await?;
        let size = self.world().files.get(&(disk, layer)).map_or(0, |f| f.stored.size_bytes);
        progress(Progress { step: "overwriting a disk".into(), done: 0, total: size, unit: "bytes".into() });
        self.clock.sleep_ms(STEP_MS).await;
        let there = {
            let mut w = self.world();
            if let Some(why) = &w.faults.erase_fails {
                return Err(Error::host(why.clone()));
            }
            if w.is_open(vm, (disk, layer)) {
                return Err(Error::conflict("The running guest uses this file of a disk, so it is not removed."));
            }
            w.files.remove(&(disk, layer)).is_some()
        };
        self.note(format!("disk_erase {vm}"));
        let doubt = "the medium of a simulated machine is memory".to_string();
        Ok(if there { (size, vec![doubt]) } else { (0, Vec::new()) })
    }

    async fn disk_remove(&self, vm: VmId, store: Option<DataStoreId>, disk: DiskId, layer: Option<LayerId>) -> Result<()> {
        self.store_usable(store, 0).await?;
        {
            let mut w = self.world();
            if w.is_open(vm, (disk, layer)) {
                return Err(Error::conflict("The running guest uses this file of a disk, so it is not removed."));
            }
            w.files.remove(&(disk, layer));
        }
        if layer.is_none() {
            self.give_room(store, disk);
        }
        self.note(format!("disk_remove {vm}"));
        Ok(())
    }

    async fn memories(&self, vm: VmId) -> Result<Vec<SnapshotId>> {
        Ok(self.world().memories.keys().filter(|(v, _)| *v == vm).map(|(_, s)| *s).collect())
    }

    async fn memory_remove(&self, vm: VmId, snapshot: SnapshotId) -> Result<()> {
        self.world().memories.remove(&(vm, snapshot));
        self.note(format!("memory_remove {vm}"));
        Ok(())
    }

    async fn vm_files_remove(&self, vm: VmId) -> Result<()> {
        let usable = self.usable_stores();
        let of_vm: Vec<StoredDisk> = self.world().files.values().filter(|f| f.stored.vm == vm && f.stored.layer.is_none()).map(|f| f.stored.clone()).collect();
        of_vm.iter().for_each(|f| self.give_room(f.store, f.id));
        let mut w = self.world();
        w.files.retain(|_, f| f.stored.vm != vm || f.stored.store.is_some_and(|s| !usable.contains(&s)));
        w.memories.retain(|(v, _), _| *v != vm);
        w.exports.forget(vm);
        Ok(())
    }

    async fn export_disk(
        &self,
        vm: VmId,
        export: &ExportSpec,
        disk: &DiskSpec,
        layer: Option<LayerId>,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<ExportedDisk> {
        self.clock.sleep_ms(STEP_MS).await;
        crate::exports::make(&mut self.world(), (vm, export.id), export.format, (disk.id, layer), progress)
    }

    async fn export_read(&self, vm: VmId, export: &ExportSpec, disk: DiskId, offset: u64, bytes_max: usize) -> Result<Vec<u8>> {
        self.world().exports.read((vm, export.id, disk), offset, bytes_max)
    }

    async fn export_remove(&self, vm: VmId) -> Result<()> {
        self.world().exports.forget(vm);
        Ok(())
    }

    async fn disks(&self) -> Result<Vec<StoredDisk>> {
        let usable = self.usable_stores();
        let there = |f: &&SimFile| f.stored.store.is_none_or(|s| usable.contains(&s));
        Ok(self.world().files.values().filter(there).map(|f| f.stored.clone()).collect())
    }

    async fn images(&self, store: Option<DataStoreId>) -> Result<Vec<ImageId>> {
        self.store_usable(store, 0).await?;
        Ok(self.cached(store)?.into_iter().collect())
    }

    async fn image_partial_bytes(&self, store: Option<DataStoreId>, image: &ImageRef) -> Result<u64> {
        Ok(self.world().partial.get(&(store, image.id)).map_or(0, |p| p.bytes))
    }

    async fn image_write(&self, store: Option<DataStoreId>, image: &ImageRef, offset: u64, data: &[u8]) -> Result<()> {
        let mut w = self.world();
        let partial = w.partial.entry((store, image.id)).or_default();
        if offset == 0 {
            *partial = Partial::default();
        }
        if offset != partial.bytes {
            return Err(Error::host("The image does not go on where its transfer ended."));
        }
        partial.digest.update(data);
        partial.bytes += data.len() as u64;
        Ok(())
    }

    async fn image_commit(&self, store: Option<DataStoreId>, image: &ImageRef) -> Result<()> {
        self.store_usable(store, image.virtual_bytes).await?;
        let content = self.world().partial.remove(&(store, image.id)).unwrap_or_default();
        let sha: String = content.digest.finalize().iter().map(|b| format!("{b:02x}")).collect();
        if content.bytes != image.size_bytes || sha != image.sha256 {
            return Err(Error::host("The image that arrived is not the one that was sent."));
        }
        self.cache(store, image.id)
    }

    async fn image_remove(&self, image: ImageId) -> Result<()> {
        self.world().images.remove(&image);
        self.uncache(image);
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
        let used: u64 = w
            .files
            .values()
            .filter(|f| f.stored.layer.is_none() && f.stored.store.is_none())
            .map(|f| if f.thick { f.stored.size_bytes } else { f.stored.size_bytes / DISK_USE })
            .sum();
        let free = if w.faults.store_full { 0 } else { self.facts.store_free_bytes.saturating_sub(used) };
        Ok(HostFacts { store_free_bytes: free, networks: w.networks.iter().copied().collect(), ..self.facts.clone() })
    }

    async fn host_counters(&self) -> Result<Counters> {
        let now = self.clock.now_ms();
        let guests = self.world().domains.values().filter(|d| d.state == VmState::Running).map(|d| life::counters(self.seed, d, now)).collect::<Vec<_>>();
        Ok(life::host_counters(&self.facts, &guests, now))
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
