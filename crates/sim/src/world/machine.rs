//! The machine as one life of an agent sees it: the simulated host behind faults, and a witness of all that is done to
//! guests.
//!
//! Nothing is done to a guest or its disks that the newest journalled order does not ask for: that is checked here, at the
//! moment of the deed (V5, V9).

use super::ctx::Ctx;
use super::host::{Disk, Hypervising};
use super::life::Life;
use super::plant::Plant;
use super::turn::lock;
use crate::SimHost;
use async_trait::async_trait;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use virga_agent::host::{Asked, Clock, Domains, Duplex, Facts, Hypervisor, Networks, Result, Started, StoredDisk, Stores, Volumes};
use virga_agent::record::Record;
use virga_model::change::Change;
use virga_model::clone::DiskOrigin;
use virga_model::data_store::StoreFact;
use virga_model::export::{ExportSpec, ExportedDisk};
use virga_model::host::HostFacts;
use virga_model::layer::{Layer, Merge};
use virga_model::order::{ImageRef, NetworkRef, Progress, StoreRef, VmOrder};
use virga_model::snapshot::StoredMemory;
use virga_model::stats::Counters;
use virga_model::user::ConsoleKind;
use virga_model::vm::{AgentState, Desired, DiskSpec, GuestInfo, StopMode, VmState};
use virga_model::{DataStoreId, DiskId, Error, ImageId, LayerId, NetworkId, SnapshotId, Time, VmId};

/// Milliseconds after which a step on a hypervisor that hangs is given up.
const HANG_MS: u64 = 10_000;
/// Milliseconds of a question to the hypervisor.
const ASK_MS: u64 = 3;
/// Milliseconds that a slow store takes longer.
const SLOW_MS: u64 = 5_000;

/// The machine, for one life of its agent.
pub struct Machine {
    /// The world.
    pub ctx: Arc<Ctx>,
    /// The agent.
    pub life: Arc<Life>,
    /// The disk with the journal, and what is wrong with the machine.
    pub disk: Arc<Disk>,
    /// The simulated host.
    pub inner: Arc<SimHost>,
}

/// Something that is done to a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Start,
    Shutdown,
    Restart,
    PowerOff,
    Pause,
    Resume,
    Hibernate,
    Discard,
    Undefine,
    RemoveFiles,
    RemoveDisk(DiskId),
}

impl Deed {
    fn word(self) -> String {
        match self {
            Deed::RemoveDisk(_) => "remove disk".into(),
            d => format!("{d:?}").to_lowercase(),
        }
    }

    /// Whether the newest order asks for it, for a guest in this state.
    fn is_asked_for(self, order: &VmOrder, state: VmState) -> bool {
        use Desired as D;
        let d = order.desired;
        let graceful = order.stop_mode == StopMode::Graceful;
        match self {
            Deed::Start => matches!(d, D::Running | D::Paused),
            Deed::Shutdown => matches!(d, D::Stopped | D::Absent) && graceful,
            Deed::Restart => true,
            // A guest that has crashed hears nobody: a graceful stop, too, ends what is left of it.
            Deed::PowerOff => d == D::Absent || (d == D::Stopped && (!graceful || state == VmState::Crashed)),
            Deed::Pause => d == D::Paused,
            Deed::Resume => d == D::Running || (d == D::Stopped && graceful),
            Deed::Hibernate => d == D::Hibernated,
            Deed::Discard => matches!(d, D::Stopped | D::Absent),
            Deed::Undefine | Deed::RemoveFiles => d == D::Absent,
            Deed::RemoveDisk(id) => d == D::Absent || !(order.spec.disks.iter().any(|s| s.id == id) || order.keep_disks.contains(&id)),
        }
    }
}

/// Whether the guest writes a layer that the newest order does not go on with.
fn leaves_branch(r: &Record) -> bool {
    let layers = &r.order.spec.layers;
    r.running().is_some_and(|s| !layers.path_with_merges(layers.top).contains(&s.layers.top))
}

impl Machine {
    fn record(&self, vm: VmId) -> Option<Record> {
        lock(&self.disk.documents).get(&vm.to_string()).and_then(|d| serde_json::from_slice(d).ok())
    }

    /// Writes down what is done.
    fn witness(&self, vm: VmId, deed: Deed, head: &str) {
        self.ctx.say(format!("{} {} {vm} ({head})", self.disk.host, deed.word()));
        if deed == Deed::Restart {
            *lock(&self.ctx.book).acts.entry(vm).or_default() += 1;
        }
    }

    /// The order before the newest, while the agent does not know yet that the newest is in its journal. An order counts
    /// from its answer on.
    fn not_known_yet(&self, vm: VmId) -> Option<VmOrder> {
        let book = lock(&self.ctx.book);
        book.former.get(&vm).filter(|(at, _)| self.ctx.now() <= at + super::journal::WRITE_MS).map(|(_, o)| o.clone())
    }

    /// Judges what the agent asks for by the newest order in its journal, which is answered in words. What is under way
    /// when a newer one comes cannot be called back.
    fn judge(&self, vm: VmId, deed: Deed) -> String {
        let record = self.record(vm);
        let head = record.as_ref().map_or("no order".to_string(), |r| format!("order {} {:?}", r.order.generation, r.order.desired).to_lowercase());
        let word = deed.word();
        let state = self.inner.domain_state(vm).unwrap_or(VmState::Absent);
        match record {
            None => self.ctx.violated("V9", &format!("{word} of {vm} without any order in the journal")),
            // Who goes back to a snapshot switches off what runs on the other branch.
            Some(r) if matches!(deed, Deed::PowerOff | Deed::Discard) && leaves_branch(&r) => {}
            Some(_) if self.not_known_yet(vm).is_some_and(|o| deed.is_asked_for(&o, state)) => {}
            Some(r) if !deed.is_asked_for(&r.order, state) => self.ctx.violated("V5/V9", &format!("{word} of {vm}, which its newest {head} does not ask for")),
            Some(_) => {}
        }
        head
    }

    /// What every step on the hypervisor meets.
    async fn ask(&self) -> Result<()> {
        self.ctx.pause(&self.life, ASK_MS).await;
        match self.disk.hypervisor() {
            Hypervising::Up => Ok(()),
            Hypervising::Down => Err(Error::unavailable("libvirt does not answer.")),
            Hypervising::Hung => {
                self.ctx.pause(&self.life, HANG_MS).await;
                Err(Error::unavailable("libvirt did not answer within 10 s."))
            }
            Hypervising::Garbage => Err(Error::host("libvirt gave an answer that cannot be understood.")),
        }
    }

    /// What every step on the store meets.
    async fn store(&self) -> Result<()> {
        let slow = if self.disk.slow.load(Ordering::SeqCst) { SLOW_MS } else { 0 };
        self.ctx.pause(&self.life, ASK_MS + slow).await;
        if self.disk.store_broken.load(Ordering::SeqCst) {
            return Err(Error::host("The store cannot be read: input/output error."));
        }
        Ok(())
    }

    /// After a step: what is dead does not learn how it ended.
    async fn after<T>(&self, r: T) -> T {
        self.life.alive().await;
        r
    }

    /// A planted bug: what has no order is destroyed.
    async fn destroy_unknown(&self, domains: &Domains) {
        for d in &domains.ours {
            if self.record(d.id).is_none() {
                let head = self.judge(d.id, Deed::Undefine);
                self.witness(d.id, Deed::Undefine, &head);
                let _ = self.inner.force_off(d.id).await;
                let _ = self.inner.undefine(d.id).await;
            }
        }
    }
}

#[async_trait]
impl Hypervisor for Machine {
    async fn domains(&self) -> Result<Domains> {
        if let Err(e) = self.ask().await {
            if self.ctx.planted(Plant::SilentIsStopped) {
                let mut domains = self.inner.domains().await?;
                domains.ours.iter_mut().for_each(|d| d.state = VmState::Stopped);
                return Ok(domains);
            }
            return Err(e);
        }
        let domains = self.inner.domains().await?;
        if self.ctx.planted(Plant::UnknownIsDestroyed) {
            self.destroy_unknown(&domains).await;
        }
        self.after(Ok(domains)).await
    }

    async fn running_memory_bytes(&self, vm: VmId) -> Result<Option<u64>> {
        self.ask().await?;
        self.inner.running_memory_bytes(vm).await
    }

    async fn define(&self, order: &VmOrder) -> Result<String> {
        if self.record(order.id).is_none_or(|r| r.order.generation != order.generation) {
            self.ctx.violated("V5", &format!("{} is defined from generation {}, which is not the newest order", order.id, order.generation));
        }
        self.ask().await?;
        self.ctx.say(format!("{} define {} (order {})", self.disk.host, order.id, order.generation));
        let r = self.inner.define(order).await;
        self.after(r).await
    }

    async fn undefine(&self, vm: VmId) -> Result<()> {
        let head = self.judge(vm, Deed::Undefine);
        self.ask().await?;
        self.witness(vm, Deed::Undefine, &head);
        if self.ctx.planted(Plant::VolumesBeforeUndefine) {
            self.inner.vm_files_remove(vm).await?;
            self.ctx.pause(&self.life, 4_000).await;
        }
        let r = self.inner.undefine(vm).await;
        self.after(r).await
    }

    async fn start(&self, vm: VmId) -> Result<Started> {
        let head = self.judge(vm, Deed::Start);
        self.ask().await?;
        self.witness(vm, Deed::Start, &head);
        let r = self.inner.start(vm).await;
        self.after(r).await
    }

    async fn shutdown(&self, vm: VmId) -> Result<Asked> {
        if self.ctx.planted(Plant::ShutdownIsPowerOff) {
            self.force_off(vm).await?;
            return Ok(Asked::ByAcpi);
        }
        let head = self.judge(vm, Deed::Shutdown);
        self.ask().await?;
        self.witness(vm, Deed::Shutdown, &head);
        let r = self.inner.shutdown(vm).await;
        self.after(r).await
    }

    async fn reboot(&self, vm: VmId) -> Result<Asked> {
        let head = self.judge(vm, Deed::Restart);
        self.ask().await?;
        self.witness(vm, Deed::Restart, &head);
        let r = self.inner.reboot(vm).await;
        self.after(r).await
    }

    async fn reset(&self, vm: VmId) -> Result<()> {
        let head = self.judge(vm, Deed::Restart);
        self.ask().await?;
        self.witness(vm, Deed::Restart, &head);
        let r = self.inner.reset(vm).await;
        self.after(r).await
    }

    async fn force_off(&self, vm: VmId) -> Result<()> {
        let head = self.judge(vm, Deed::PowerOff);
        self.ask().await?;
        self.witness(vm, Deed::PowerOff, &head);
        let r = self.inner.force_off(vm).await;
        self.after(r).await
    }

    async fn pause(&self, vm: VmId) -> Result<()> {
        let head = self.judge(vm, Deed::Pause);
        self.ask().await?;
        self.witness(vm, Deed::Pause, &head);
        let r = self.inner.pause(vm).await;
        self.after(r).await
    }

    async fn resume(&self, vm: VmId) -> Result<()> {
        let head = self.judge(vm, Deed::Resume);
        self.ask().await?;
        self.witness(vm, Deed::Resume, &head);
        let r = self.inner.resume(vm).await;
        self.after(r).await
    }

    async fn hibernate(&self, vm: VmId) -> Result<()> {
        let head = self.judge(vm, Deed::Hibernate);
        self.ask().await?;
        self.witness(vm, Deed::Hibernate, &head);
        let r = self.inner.hibernate(vm).await;
        self.after(r).await
    }

    async fn discard_saved(&self, vm: VmId) -> Result<()> {
        let head = self.judge(vm, Deed::Discard);
        self.ask().await?;
        self.witness(vm, Deed::Discard, &head);
        let r = self.inner.discard_saved(vm).await;
        self.after(r).await
    }

    async fn change_live(&self, order: &VmOrder, change: &Change) -> Result<()> {
        self.ask().await?;
        self.ctx.say(format!("{} change {} (order {}): {}", self.disk.host, order.id, order.generation, change.text()));
        if self.ctx.planted(Plant::FrozenIsWritten) && matches!(change, Change::TakeLayer(_)) {
            return Ok(());
        }
        let r = self.inner.change_live(order, change).await;
        self.after(r).await
    }

    async fn memory_store(&self, order: &VmOrder, layer: Layer) -> Result<StoredMemory> {
        self.ask().await?;
        self.store().await?;
        self.ctx.say(format!("{} store memory of {} (order {})", self.disk.host, order.id, order.generation));
        let r = self.inner.memory_store(order, layer).await;
        self.after(r).await
    }

    async fn memory_restore(&self, order: &VmOrder, snapshot: SnapshotId) -> Result<Started> {
        let head = self.judge(order.id, Deed::Start);
        self.ask().await?;
        self.store().await?;
        self.witness(order.id, Deed::Start, &head);
        let r = self.inner.memory_restore(order, snapshot).await;
        self.after(r).await
    }

    async fn guest_info(&self, vm: VmId) -> Result<GuestInfo> {
        self.ask().await?;
        let info = self.inner.guest_info(vm).await;
        // What a guest says differs from run to run with its identity; here only that it speaks matters.
        let info = info.map(|i| if i.agent == AgentState::Connected { GuestInfo { agent: i.agent, ..GuestInfo::default() } } else { i });
        self.after(info).await
    }

    async fn counters(&self) -> Result<Vec<(VmId, Counters)>> {
        Ok(Vec::new())
    }

    async fn screenshot(&self, vm: VmId) -> Result<Vec<u8>> {
        self.inner.screenshot(vm).await
    }

    async fn merge(&self, order: &VmOrder, disk: DiskId, merge: Merge, progress: &(dyn Fn(Progress) + Send + Sync)) -> Result<()> {
        self.ask().await?;
        self.store().await?;
        if self.ctx.planted(Plant::MergedLayerStays) {
            return Ok(());
        }
        let r = self.inner.merge(order, disk, merge, progress).await;
        if self.ctx.planted(Plant::MergeTakesTheLower) {
            let store = order.spec.disks.iter().find(|d| d.id == disk).and_then(|d| d.store);
            self.inner.disk_remove(order.id, store, disk, merge.into).await?;
        }
        self.after(r).await
    }

    async fn console(&self, vm: VmId, kind: ConsoleKind) -> Result<Box<dyn Duplex>> {
        self.inner.console(vm, kind).await
    }

    fn changes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.inner.changes()
    }
}

#[async_trait]
impl Stores for Machine {
    fn stores_know(&self, stores: &[StoreRef]) {
        self.inner.stores_know(stores);
    }

    async fn store_look(&self, store: DataStoreId) -> StoreFact {
        self.life.alive().await;
        self.inner.store_look(store).await
    }

    async fn store_ensure(&self, store: &StoreRef) -> Result<()> {
        self.life.alive().await;
        let r = self.inner.store_ensure(store).await;
        self.after(r).await
    }

    async fn store_remove(&self, store: &StoreRef) -> Result<()> {
        self.life.alive().await;
        let r = self.inner.store_remove(store).await;
        self.after(r).await
    }
}

#[async_trait]
impl Volumes for Machine {
    async fn disk_ensure(&self, vm: VmId, disk: &DiskSpec, image: Option<&ImageRef>, progress: &(dyn Fn(Progress) + Send + Sync)) -> Result<()> {
        self.store().await?;
        let r = self.inner.disk_ensure(vm, disk, image, progress).await;
        self.after(r).await
    }

    async fn disk_copy(
        &self,
        vm: VmId,
        disk: &DiskSpec,
        to: Option<LayerId>,
        from: Option<LayerId>,
        image: Option<&ImageRef>,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<()> {
        self.store().await?;
        let r = self.inner.disk_copy(vm, disk, to, from, image, progress).await;
        self.after(r).await
    }

    async fn standing_on(&self, vm: VmId) -> Result<Vec<(VmId, DiskOrigin)>> {
        self.store().await?;
        self.inner.standing_on(vm).await
    }

    async fn layer_ensure(&self, vm: VmId, disk: &DiskSpec, layer: LayerId, below: Option<LayerId>) -> Result<()> {
        self.store().await?;
        let r = self.inner.layer_ensure(vm, disk, layer, below).await;
        self.after(r).await
    }

    async fn disk_grow(&self, vm: VmId, disk: &DiskSpec, layer: Option<LayerId>, progress: &(dyn Fn(Progress) + Send + Sync)) -> Result<()> {
        self.store().await?;
        let r = self.inner.disk_grow(vm, disk, layer, progress).await;
        self.after(r).await
    }

    async fn disk_reclaim(&self, order: &VmOrder, disk: &DiskSpec, progress: &(dyn Fn(Progress) + Send + Sync)) -> Result<u64> {
        self.store().await?;
        let r = self.inner.disk_reclaim(order, disk, progress).await;
        self.after(r).await
    }

    async fn disk_erase(
        &self,
        vm: VmId,
        store: Option<DataStoreId>,
        disk: DiskId,
        layer: Option<LayerId>,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<(u64, Vec<String>)> {
        let head = layer.is_none().then(|| self.judge(vm, Deed::RemoveDisk(disk)));
        self.store().await?;
        if let Some(head) = head {
            self.witness(vm, Deed::RemoveDisk(disk), &head);
        }
        let r = self.inner.disk_erase(vm, store, disk, layer, progress).await;
        self.after(r).await
    }

    async fn disk_remove(&self, vm: VmId, store: Option<DataStoreId>, disk: DiskId, layer: Option<LayerId>) -> Result<()> {
        if layer.is_some() {
            self.store().await?;
            let r = self.inner.disk_remove(vm, store, disk, layer).await;
            return self.after(r).await;
        }
        let head = self.judge(vm, Deed::RemoveDisk(disk));
        self.store().await?;
        self.witness(vm, Deed::RemoveDisk(disk), &head);
        if self.ctx.planted(Plant::CleanupForgotten) {
            return Ok(());
        }
        let r = self.inner.disk_remove(vm, store, disk, None).await;
        self.after(r).await
    }

    async fn memories(&self, vm: VmId) -> Result<Vec<SnapshotId>> {
        self.store().await?;
        self.inner.memories(vm).await
    }

    async fn memory_remove(&self, vm: VmId, snapshot: SnapshotId) -> Result<()> {
        self.store().await?;
        let r = self.inner.memory_remove(vm, snapshot).await;
        self.after(r).await
    }

    async fn vm_files_remove(&self, vm: VmId) -> Result<()> {
        let head = self.judge(vm, Deed::RemoveFiles);
        self.store().await?;
        self.witness(vm, Deed::RemoveFiles, &head);
        if self.ctx.planted(Plant::CleanupForgotten) {
            return Ok(());
        }
        let r = self.inner.vm_files_remove(vm).await;
        self.after(r).await
    }

    async fn export_disk(
        &self,
        vm: VmId,
        export: &ExportSpec,
        disk: &DiskSpec,
        layer: Option<LayerId>,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<ExportedDisk> {
        self.store().await?;
        self.inner.export_disk(vm, export, disk, layer, progress).await
    }

    async fn export_read(&self, vm: VmId, export: &ExportSpec, disk: DiskId, offset: u64, bytes_max: usize) -> Result<Vec<u8>> {
        self.inner.export_read(vm, export, disk, offset, bytes_max).await
    }

    async fn export_remove(&self, vm: VmId) -> Result<()> {
        self.store().await?;
        self.inner.export_remove(vm).await
    }

    async fn disks(&self) -> Result<Vec<StoredDisk>> {
        self.store().await?;
        self.inner.disks().await
    }

    async fn images(&self, store: Option<DataStoreId>) -> Result<Vec<ImageId>> {
        self.life.alive().await;
        self.inner.images(store).await
    }

    async fn image_partial_bytes(&self, store: Option<DataStoreId>, image: &ImageRef) -> Result<u64> {
        self.life.alive().await;
        self.inner.image_partial_bytes(store, image).await
    }

    async fn image_write(&self, store: Option<DataStoreId>, image: &ImageRef, offset: u64, data: &[u8]) -> Result<()> {
        self.store().await?;
        self.inner.image_write(store, image, offset, data).await
    }

    async fn image_commit(&self, store: Option<DataStoreId>, image: &ImageRef) -> Result<()> {
        self.store().await?;
        self.ctx.say(format!("{} image {} is in the cache", self.disk.host, image.id));
        self.inner.image_commit(store, image).await
    }

    async fn image_remove(&self, image: ImageId) -> Result<()> {
        self.store().await?;
        self.ctx.say(format!("{} image {image} is removed", self.disk.host));
        self.inner.image_remove(image).await
    }
}

#[async_trait]
impl Networks for Machine {
    async fn network_ensure(&self, network: &NetworkRef) -> Result<()> {
        self.ask().await?;
        self.inner.network_ensure(network).await
    }

    async fn network_remove(&self, network: &NetworkRef) -> Result<()> {
        self.ask().await?;
        self.ctx.say(format!("{} network {} is removed", self.disk.host, network.name));
        self.inner.network_remove(network).await
    }
}

#[async_trait]
impl Facts for Machine {
    async fn facts(&self) -> Result<HostFacts> {
        self.life.alive().await;
        let mut facts = self.inner.facts().await?;
        if self.ctx.planted(Plant::PlacementIgnoresMemory) {
            facts.memory_bytes *= 4;
        }
        if self.disk.full.load(Ordering::SeqCst) {
            facts.store_free_bytes = 0;
        }
        // Networks in the order of their identities, which is the order of their making.
        facts.networks.sort_by_key(|n: &NetworkId| n.0);
        Ok(facts)
    }

    async fn host_counters(&self) -> Result<Counters> {
        Err(Error::unavailable("not simulated"))
    }
}

#[async_trait]
impl Clock for Machine {
    fn now(&self) -> Time {
        self.ctx.clock.time().plus_seconds(self.disk.clock_s.load(Ordering::SeqCst))
    }

    fn monotonic_ms(&self) -> u64 {
        self.ctx.now()
    }

    async fn sleep_ms(&self, ms: u64) {
        self.ctx.pause(&self.life, ms).await;
    }
}
