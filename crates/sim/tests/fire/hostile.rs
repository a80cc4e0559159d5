//! A simulated machine that misbehaves: a hypervisor that never answers, single guests that hang every call about them,
//! guests and counters that say nonsense, events that come in floods or not at all, a journal without room.

use async_trait::async_trait;
use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use tokio::sync::watch;
use virga_agent::host::{Asked, Clock, Domains, Duplex, Facts, Hypervisor, Journal, Networks, Result, Started, StoredDisk, Stores, Volumes};
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
use virga_model::vm::{DiskSpec, GuestInfo};
use virga_model::{DataStoreId, DiskId, Error, ImageId, LayerId, SnapshotId, Time, VmId};
use virga_sim::{MemoryJournal, SimHost};

/// How questions to the hypervisor as a whole are answered.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Hypervisor_ {
    Well,
    /// Never.
    Never,
    /// After so many milliseconds.
    Slowly(u64),
}

/// What is wrong.
pub struct Wrong {
    pub hypervisor: Hypervisor_,
    /// Calls about these never come back.
    pub hung: HashSet<VmId>,
    /// Starts of these are given up after so many milliseconds.
    pub slow_starts: Option<(HashSet<VmId>, u64)>,
    /// What every guest says.
    pub guest: Option<GuestInfo>,
    /// What the counters say.
    pub counters: Option<Vec<(VmId, Counters)>>,
}

pub struct Hostile {
    pub sim: Arc<SimHost>,
    wrong: Mutex<Wrong>,
    events: watch::Sender<u64>,
}

impl Hostile {
    pub fn new(sim: Arc<SimHost>) -> Arc<Hostile> {
        let wrong = Wrong { hypervisor: Hypervisor_::Well, hung: HashSet::new(), slow_starts: None, guest: None, counters: None };
        Arc::new(Hostile { sim, wrong: Mutex::new(wrong), events: watch::Sender::new(0) })
    }

    pub fn set(&self, change: impl FnOnce(&mut Wrong)) {
        change(&mut self.wrong.lock().unwrap());
    }

    /// An event about nothing, or about what was long ago: events say only "look".
    pub fn event(&self) {
        self.events.send_modify(|n| *n = n.wrapping_add(1));
    }

    async fn all(&self) -> Result<()> {
        let mood = self.wrong.lock().unwrap().hypervisor;
        match mood {
            Hypervisor_::Well => {}
            Hypervisor_::Never => std::future::pending().await,
            Hypervisor_::Slowly(ms) => self.sim.sleep_ms(ms).await,
        }
        Ok(())
    }

    async fn one(&self, vm: VmId) -> Result<()> {
        self.all().await?;
        if self.wrong.lock().unwrap().hung.contains(&vm) {
            std::future::pending::<()>().await;
        }
        Ok(())
    }
}

#[async_trait]
impl Hypervisor for Hostile {
    async fn domains(&self) -> Result<Domains> {
        self.all().await?;
        self.sim.domains().await
    }
    async fn running_memory_bytes(&self, vm: VmId) -> Result<Option<u64>> {
        self.one(vm).await?;
        self.sim.running_memory_bytes(vm).await
    }
    async fn define(&self, order: &VmOrder) -> Result<String> {
        self.one(order.id).await?;
        self.sim.define(order).await
    }
    async fn undefine(&self, vm: VmId) -> Result<()> {
        self.one(vm).await?;
        self.sim.undefine(vm).await
    }
    async fn start(&self, vm: VmId) -> Result<Started> {
        self.one(vm).await?;
        let slow = self.wrong.lock().unwrap().slow_starts.as_ref().filter(|(vms, _)| vms.contains(&vm)).map(|(_, ms)| *ms);
        if let Some(ms) = slow {
            self.sim.sleep_ms(ms).await;
            return Err(Error::unavailable("QEMU does not answer."));
        }
        self.sim.start(vm).await
    }
    async fn shutdown(&self, vm: VmId) -> Result<Asked> {
        self.one(vm).await?;
        self.sim.shutdown(vm).await
    }
    async fn reboot(&self, vm: VmId) -> Result<Asked> {
        self.one(vm).await?;
        self.sim.reboot(vm).await
    }
    async fn reset(&self, vm: VmId) -> Result<()> {
        self.one(vm).await?;
        self.sim.reset(vm).await
    }
    async fn force_off(&self, vm: VmId) -> Result<()> {
        self.one(vm).await?;
        self.sim.force_off(vm).await
    }
    async fn pause(&self, vm: VmId) -> Result<()> {
        self.one(vm).await?;
        self.sim.pause(vm).await
    }
    async fn resume(&self, vm: VmId) -> Result<()> {
        self.one(vm).await?;
        self.sim.resume(vm).await
    }
    async fn hibernate(&self, vm: VmId) -> Result<()> {
        self.one(vm).await?;
        self.sim.hibernate(vm).await
    }
    async fn discard_saved(&self, vm: VmId) -> Result<()> {
        self.one(vm).await?;
        self.sim.discard_saved(vm).await
    }
    async fn change_live(&self, order: &VmOrder, change: &Change) -> Result<()> {
        self.one(order.id).await?;
        self.sim.change_live(order, change).await
    }
    async fn memory_store(&self, order: &VmOrder, layer: Layer) -> Result<StoredMemory> {
        self.one(order.id).await?;
        self.sim.memory_store(order, layer).await
    }
    async fn memory_restore(&self, order: &VmOrder, snapshot: SnapshotId) -> Result<Started> {
        self.one(order.id).await?;
        self.sim.memory_restore(order, snapshot).await
    }
    async fn merge(&self, order: &VmOrder, disk: DiskId, merge: Merge, progress: &(dyn Fn(Progress) + Send + Sync)) -> Result<()> {
        self.one(order.id).await?;
        self.sim.merge(order, disk, merge, progress).await
    }
    async fn guest_info(&self, vm: VmId) -> Result<GuestInfo> {
        self.one(vm).await?;
        let said = self.wrong.lock().unwrap().guest.clone();
        match said {
            Some(g) => Ok(g),
            None => self.sim.guest_info(vm).await,
        }
    }
    async fn counters(&self) -> Result<Vec<(VmId, Counters)>> {
        self.all().await?;
        let said = self.wrong.lock().unwrap().counters.clone();
        match said {
            Some(c) => Ok(c),
            None => self.sim.counters().await,
        }
    }
    async fn screenshot(&self, vm: VmId) -> Result<Vec<u8>> {
        self.one(vm).await?;
        self.sim.screenshot(vm).await
    }
    async fn console(&self, vm: VmId, kind: ConsoleKind) -> Result<Box<dyn Duplex>> {
        self.one(vm).await?;
        self.sim.console(vm, kind).await
    }
    fn changes(&self) -> watch::Receiver<u64> {
        self.events.subscribe()
    }
}

#[async_trait]
impl Stores for Hostile {
    fn stores_know(&self, stores: &[StoreRef]) {
        self.sim.stores_know(stores);
    }
    async fn store_look(&self, store: DataStoreId) -> StoreFact {
        self.sim.store_look(store).await
    }
    async fn store_ensure(&self, store: &StoreRef) -> Result<()> {
        self.sim.store_ensure(store).await
    }
    async fn store_remove(&self, store: &StoreRef) -> Result<()> {
        self.sim.store_remove(store).await
    }
}

#[async_trait]
impl Volumes for Hostile {
    async fn disk_ensure(&self, vm: VmId, disk: &DiskSpec, image: Option<&ImageRef>, progress: &(dyn Fn(Progress) + Send + Sync)) -> Result<()> {
        self.sim.disk_ensure(vm, disk, image, progress).await
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
        self.sim.disk_copy(vm, disk, to, from, image, progress).await
    }
    async fn standing_on(&self, vm: VmId) -> Result<Vec<(VmId, DiskOrigin)>> {
        self.sim.standing_on(vm).await
    }
    async fn layer_ensure(&self, vm: VmId, disk: &DiskSpec, layer: LayerId, below: Option<LayerId>) -> Result<()> {
        self.sim.layer_ensure(vm, disk, layer, below).await
    }
    async fn disk_grow(&self, vm: VmId, disk: &DiskSpec, layer: Option<LayerId>, progress: &(dyn Fn(Progress) + Send + Sync)) -> Result<()> {
        self.sim.disk_grow(vm, disk, layer, progress).await
    }
    async fn disk_reclaim(&self, order: &VmOrder, disk: &DiskSpec, progress: &(dyn Fn(Progress) + Send + Sync)) -> Result<u64> {
        self.sim.disk_reclaim(order, disk, progress).await
    }
    async fn disk_erase(
        &self,
        vm: VmId,
        store: Option<DataStoreId>,
        disk: DiskId,
        layer: Option<LayerId>,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<(u64, Vec<String>)> {
        self.sim.disk_erase(vm, store, disk, layer, progress).await
    }
    async fn disk_remove(&self, vm: VmId, store: Option<DataStoreId>, disk: DiskId, layer: Option<LayerId>) -> Result<()> {
        self.sim.disk_remove(vm, store, disk, layer).await
    }
    async fn memories(&self, vm: VmId) -> Result<Vec<SnapshotId>> {
        self.sim.memories(vm).await
    }
    async fn memory_remove(&self, vm: VmId, snapshot: SnapshotId) -> Result<()> {
        self.sim.memory_remove(vm, snapshot).await
    }
    async fn vm_files_remove(&self, vm: VmId) -> Result<()> {
        self.sim.vm_files_remove(vm).await
    }
    async fn export_disk(
        &self,
        vm: VmId,
        export: &ExportSpec,
        disk: &DiskSpec,
        layer: Option<LayerId>,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<ExportedDisk> {
        self.sim.export_disk(vm, export, disk, layer, progress).await
    }
    async fn export_read(&self, vm: VmId, export: &ExportSpec, disk: DiskId, offset: u64, bytes_max: usize) -> Result<Vec<u8>> {
        self.sim.export_read(vm, export, disk, offset, bytes_max).await
    }
    async fn export_remove(&self, vm: VmId) -> Result<()> {
        self.sim.export_remove(vm).await
    }
    async fn disks(&self) -> Result<Vec<StoredDisk>> {
        self.sim.disks().await
    }
    async fn images(&self, store: Option<DataStoreId>) -> Result<Vec<ImageId>> {
        self.sim.images(store).await
    }
    async fn image_partial_bytes(&self, store: Option<DataStoreId>, image: &ImageRef) -> Result<u64> {
        self.sim.image_partial_bytes(store, image).await
    }
    async fn image_write(&self, store: Option<DataStoreId>, image: &ImageRef, offset: u64, data: &[u8]) -> Result<()> {
        self.sim.image_write(store, image, offset, data).await
    }
    async fn image_commit(&self, store: Option<DataStoreId>, image: &ImageRef) -> Result<()> {
        self.sim.image_commit(store, image).await
    }
    async fn image_remove(&self, image: ImageId) -> Result<()> {
        self.sim.image_remove(image).await
    }
}

#[async_trait]
impl Networks for Hostile {
    async fn network_ensure(&self, network: &NetworkRef) -> Result<()> {
        self.sim.network_ensure(network).await
    }
    async fn network_remove(&self, network: &NetworkRef) -> Result<()> {
        self.sim.network_remove(network).await
    }
}

#[async_trait]
impl Facts for Hostile {
    async fn facts(&self) -> Result<HostFacts> {
        self.all().await?;
        self.sim.facts().await
    }
    async fn host_counters(&self) -> Result<Counters> {
        self.sim.host_counters().await
    }
}

#[async_trait]
impl Clock for Hostile {
    fn now(&self) -> Time {
        self.sim.now()
    }
    fn monotonic_ms(&self) -> u64 {
        self.sim.monotonic_ms()
    }
    async fn sleep_ms(&self, ms: u64) {
        self.sim.sleep_ms(ms).await;
    }
}

/// A journal that may be out of room: of bytes or of file descriptors, an agent sees no difference.
pub struct FullJournal {
    pub inner: Arc<MemoryJournal>,
    pub full: Mutex<bool>,
}

#[async_trait]
impl Journal for FullJournal {
    async fn load(&self) -> Result<Vec<(String, Vec<u8>)>> {
        self.inner.load().await
    }
    async fn put(&self, name: &str, content: &[u8]) -> Result<()> {
        if *self.full.lock().unwrap() {
            return Err(Error::host("The agent's journal cannot be used: Too many open files."));
        }
        self.inner.put(name, content).await
    }
    async fn remove(&self, name: &str) -> Result<()> {
        self.inner.remove(name).await
    }
}
