//! Disk files of a simulated machine: which stands on which, and what guests wrote into them, so that tests can hold what
//! a snapshot must read against what it does read.

use std::collections::{BTreeMap, BTreeSet};
use virga_agent::host::{NO_VM, Result, StoredDisk};
use virga_model::clone::DiskOrigin;
use virga_model::disk::{Provisioning, Sharing};
use virga_model::layer::{Layer, Merge, SESSION};
use virga_model::order::{ImageRef, Progress, VmOrder};
use virga_model::snapshot::StoredMemory;
use virga_model::vm::{DiskMode, DiskSpec, VmState};
use virga_model::{DataStoreId, DiskId, Error, LayerId, SnapshotId, VmId};

use crate::SimHost;
use crate::host::{STEP_MS, World};

/// Steps in which a disk is copied, and the simulated milliseconds of each.
const COPY_STEPS: u64 = 4;
const COPY_MS: u64 = 500;

/// A file: the disk, and the layer above its base.
pub(crate) type Key = (DiskId, Option<LayerId>);

/// A disk's file.
#[derive(Clone, Debug)]
pub(crate) struct SimFile {
    pub(crate) stored: StoredDisk,
    /// For a layer: the one that it stands on.
    pub(crate) below: Option<LayerId>,
    /// For the base of a linked clone: the file of another VM that it stands on.
    pub(crate) origin: Option<Key>,
    /// Numbers that guests wrote into it.
    pub(crate) written: BTreeSet<u64>,
    /// It takes its whole size from the store.
    pub(crate) thick: bool,
}

impl SimFile {
    pub(crate) fn new(stored: StoredDisk, below: Option<LayerId>) -> SimFile {
        SimFile { stored, below, origin: None, written: BTreeSet::new(), thick: false }
    }
}

impl World {
    /// The files from one down to the last that it stands on.
    fn chain(&self, disk: DiskId, layer: Option<LayerId>) -> Vec<Key> {
        let mut at = (disk, layer);
        let mut out = vec![at];
        while let Some(f) = self.files.get(&at) {
            at = match (at.1, f.origin) {
                (Some(_), _) => (at.0, f.below),
                (None, Some(origin)) => origin,
                (None, None) => break,
            };
            if out.contains(&at) {
                break;
            }
            out.push(at);
        }
        out
    }

    /// Makes a disk's file as a copy of another disk's.
    pub(crate) fn copy_file(&mut self, vm: VmId, disk: &DiskSpec, to: Option<LayerId>, from: Option<LayerId>) -> Result<()> {
        let Some(copy) = &disk.copy_of else { return Err(Error::internal("The disk is no copy.")) };
        let whole = self.foreign.get(&(copy.disk, from));
        let own = self.files.get(&(copy.disk, from)).map(|f| &f.written);
        let Some(source) = own.or(whole) else { return Err(Error::host("The file that is to be copied is not there.")) };
        // A difference holds what the files of the source above the common parent hold.
        let common = disk.origin.map(|o| (o.disk, o.layer));
        let mut written = source.clone();
        let above = self.chain(copy.disk, from).into_iter().take_while(|k| copy.whole || (Some(*k) != common && (to.is_none() || k.1.is_some())));
        written.extend(above.flat_map(|k| self.content(k)));
        let stored = StoredDisk { id: disk.id, vm, layer: to, store: disk.store, size_bytes: disk.size_bytes };
        let origin = if to.is_none() { common } else { None };
        self.files.entry((disk.id, to)).or_insert(SimFile { written, origin, ..SimFile::new(stored, None) });
        Ok(())
    }

    /// What a file holds itself; of another machine's, what it reads as.
    fn content(&self, key: Key) -> Vec<u64> {
        let own = self.files.get(&key).map(|f| &f.written);
        own.or_else(|| self.foreign.get(&key)).into_iter().flatten().copied().collect()
    }

    /// What a file of a shared folder reads as.
    pub(crate) fn shared_content(&self, store: Option<DataStoreId>, key: Key) -> Option<BTreeSet<u64>> {
        let found = self.files.get(&key).is_some_and(|f| f.stored.store == store);
        found.then(|| self.reads(key.0, key.1))
    }

    /// The files of a VM.
    pub(crate) fn files_of(&self, vm: VmId) -> BTreeSet<Key> {
        self.files.iter().filter(|(_, f)| f.stored.vm == vm).map(|(k, _)| *k).collect()
    }

    /// The files of other VMs that stand on these of `vm`.
    pub(crate) fn standing_on(&self, vm: VmId, files: &BTreeSet<Key>) -> Vec<(VmId, DiskOrigin)> {
        let of = |k: &Key| files.contains(k);
        let found = self.files.values().filter(|f| f.stored.vm != vm).filter_map(|f| Some((f.stored.vm, f.origin.filter(of)?)));
        found.map(|(child, (disk, layer))| (child, DiskOrigin { vm, disk, layer })).collect()
    }

    /// What a disk reads as from this file down.
    fn reads(&self, disk: DiskId, layer: Option<LayerId>) -> BTreeSet<u64> {
        self.chain(disk, layer).into_iter().flat_map(|k| self.content(k)).collect()
    }

    /// The file that each disk of a definition begins with.
    pub(crate) fn tops(&self, order: &VmOrder, former: &BTreeMap<DiskId, Option<LayerId>>) -> BTreeMap<DiskId, Option<LayerId>> {
        let layers = &order.spec.layers;
        let counts = |disk: DiskId, layer| {
            let merge = layers.merges.iter().find(|m| m.from == layer);
            let stale = merge.is_some_and(|m| former.get(&disk) == Some(&layers.file_of(disk, m.into)));
            self.files.contains_key(&(disk, Some(layer))) && !stale
        };
        order.spec.disks.iter().map(|d| (d.id, order.spec.disk_files(d, |l| counts(d.id, l)).pop().flatten())).collect()
    }

    /// The running guest writes a number of its own into each of its disks.
    pub(crate) fn guest_writes(&mut self, vm: VmId) {
        let Some(d) = self.domains.get(&vm).filter(|d| d.state == VmState::Running) else { return };
        self.numbers += 1;
        for (disk, layer) in d.writes.clone() {
            if let Some(f) = self.files.get_mut(&(disk, layer)) {
                f.written.insert(self.numbers);
            }
        }
        if let Some(d) = self.domains.get_mut(&vm) {
            d.memory = self.numbers;
        }
    }

    /// Stores the guest's memory and freezes its disks in one moment; once they are frozen, the memory is that of then.
    pub(crate) fn store_memory(&mut self, order: &VmOrder, layer: Layer) -> Result<StoredMemory> {
        let snapshot = layer.memory.ok_or_else(|| Error::internal("A layer without memory."))?;
        self.guest_writes(order.id);
        let Some(d) = self.domains.get(&order.id).filter(|d| matches!(d.state, VmState::Running | VmState::Paused)) else {
            return Err(Error::conflict("The domain does not run."));
        };
        let taken = d.writes.values().any(|top| *top == Some(layer.id));
        if !taken {
            self.memories.insert((order.id, snapshot), d.memory);
            self.take_layer(order, layer)?;
        }
        self.guest_writes(order.id);
        Ok(StoredMemory { snapshot, bytes: order.spec.memory.bytes / 4, paused_ms: Some(80) })
    }

    /// Freezes what the guest writes and lets it go on in `layer`.
    pub(crate) fn take_layer(&mut self, order: &VmOrder, layer: Layer) -> Result<()> {
        for s in order.spec.disks.iter().filter(|s| s.mode == DiskMode::Dependent && order.spec.disk_files(s, |_| false).contains(&Some(layer.id))) {
            if !self.files.contains_key(&(s.id, Some(layer.id))) {
                return Err(Error::host("The file of the layer is not there."));
            }
            if let Some(d) = self.domains.get_mut(&order.id)
                && d.writes.get(&s.id) != Some(&Some(layer.id))
            {
                d.writes.insert(s.id, Some(layer.id));
                d.defined_tops.insert(s.id, Some(layer.id));
            }
        }
        Ok(())
    }

    /// The content goes down. Answers whether the upper file may be removed now, which it always may.
    pub(crate) fn merge_content(&mut self, order: &VmOrder, disk: DiskId, m: Merge) -> Result<()> {
        let upper = (disk, Some(m.from));
        let lower = (disk, order.spec.layers.file_of(disk, m.into));
        let Some(content) = self.files.get(&upper).map(|f| f.written.clone()) else { return Ok(()) };
        let chain_of = |w: &World, top: Option<&Option<LayerId>>| top.map(|t| w.chain(disk, *t)).unwrap_or_default();
        let domain = self.domains.get(&order.id).cloned();
        let running = domain.as_ref().filter(|d| !matches!(d.state, VmState::Stopped | VmState::Hibernated));
        let stale = match (&domain, running) {
            (_, Some(d)) => {
                let chain = chain_of(self, d.writes.get(&disk));
                !chain.contains(&upper) && chain.contains(&lower)
            }
            (Some(d), None) => d.defined_tops.get(&disk) == Some(&lower.1),
            (None, None) => false,
        };
        if !stale {
            let Some(below) = self.files.get_mut(&lower) else { return Err(Error::host("The lower file of a merge is not there.")) };
            below.written.extend(content);
        }
        if let Some(d) = self.domains.get_mut(&order.id) {
            let runs = !matches!(d.state, VmState::Stopped | VmState::Hibernated);
            if runs && d.writes.get(&disk) == Some(&upper.1) {
                d.writes.insert(disk, lower.1);
                d.defined_tops.insert(disk, lower.1);
            }
        }
        Ok(())
    }

    /// What stood on the upper file stands on the lower one, and the upper one goes.
    pub(crate) fn merge_end(&mut self, order: &VmOrder, disk: DiskId, m: Merge) {
        let lower = order.spec.layers.file_of(disk, m.into);
        for f in self.files.values_mut().filter(|f| f.stored.id == disk && f.below == Some(m.from)) {
            f.below = lower;
        }
        self.files.remove(&(disk, Some(m.from)));
    }

    /// Whether a running guest has the file open.
    pub(crate) fn is_open(&self, vm: VmId, key: Key) -> bool {
        self.domains.get(&vm).is_some_and(|d| {
            let runs = !matches!(d.state, VmState::Stopped | VmState::Hibernated);
            runs && d.writes.get(&key.0).is_some_and(|top| self.chain(key.0, *top).contains(&key))
        })
    }
}

impl SimHost {
    /// See [`virga_agent::host::Volumes::disk_ensure`].
    pub(crate) async fn make_disk(&self, vm: VmId, disk: &DiskSpec, image: Option<&ImageRef>, progress: &(dyn Fn(Progress) + Send + Sync)) -> Result<()> {
        let thick = disk.provisioning != Provisioning::Thin;
        if thick {
            progress(Progress { step: "taking the space of the disk".into(), done: 0, total: disk.size_bytes, unit: "bytes".into() });
        }
        self.clock.sleep_ms(STEP_MS).await;
        self.store_usable(disk.store, disk.size_bytes).await?;
        let cached = self.cached(disk.store)?;
        let origin = disk.origin.map(|o| (o.disk, o.layer));
        if let Some(key) = origin {
            self.fetch_file(disk.store, key);
        }
        let mut w = self.world();
        if let Some(why) = &w.faults.disk_fails {
            return Err(Error::host(why.clone()));
        }
        if disk.store.is_none() && w.faults.store_full && !w.files.contains_key(&(disk.id, None)) {
            return Err(
                Error::host("The disk could not be made: no space left on the store.").with_hint("Free space on the host's store, or choose another host.")
            );
        }
        if image.is_some_and(|i| !cached.contains(&i.id)) {
            return Err(Error::internal("The image is not in the cache."));
        }
        if origin.is_some_and(|o| !w.files.contains_key(&o) && !w.foreign.contains_key(&o)) {
            return Err(Error::host("The file that a disk shall stand on is not there."));
        }
        let vm = if disk.sharing == Sharing::Shared { NO_VM } else { vm };
        let stored = StoredDisk { id: disk.id, vm, layer: None, store: disk.store, size_bytes: disk.size_bytes };
        w.files.entry((disk.id, None)).or_insert_with(|| SimFile { thick, origin, ..SimFile::new(stored, None) });
        drop(w);
        self.take_room(disk.store, disk.id, disk.size_bytes);
        Ok(())
    }

    /// See [`virga_agent::host::Volumes::disk_copy`]: `(to, from)` are the layers.
    pub(crate) async fn copy_disk(
        &self,
        vm: VmId,
        disk: &DiskSpec,
        (to, from): (Option<LayerId>, Option<LayerId>),
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<()> {
        for done in 0..COPY_STEPS {
            let part = disk.size_bytes / COPY_STEPS;
            progress(Progress { step: "copying disks".into(), done: done * part, total: disk.size_bytes, unit: "bytes".into() });
            self.clock.sleep_ms(COPY_MS).await;
        }
        self.store_usable(disk.store, disk.size_bytes).await?;
        if let Some(copy) = &disk.copy_of {
            self.store_usable(copy.store, 0).await?;
            self.fetch_file(copy.store, (copy.disk, from));
        }
        let mut w = self.world();
        if let Some(why) = &w.faults.disk_fails {
            return Err(Error::host(why.clone()));
        }
        if disk.store.is_none() && w.faults.store_full && !w.files.contains_key(&(disk.id, to)) {
            return Err(Error::host("The disk could not be copied: no space left on the store.").with_hint("Free space on the host's store."));
        }
        w.copy_file(vm, disk, to, from)?;
        drop(w);
        if to.is_none() {
            self.take_room(disk.store, disk.id, disk.size_bytes);
        }
        self.note(format!("disk_copy {vm} {}", disk.id));
        Ok(())
    }

    /// The running guest writes a number of its own into each of its disks.
    pub fn guest_writes(&self, vm: VmId) {
        self.world().guest_writes(vm);
    }

    /// What guests wrote that a disk reads as, from this layer down; `None`: from the base.
    #[must_use]
    pub fn reads(&self, disk: DiskId, layer: Option<LayerId>) -> BTreeSet<u64> {
        self.world().reads(disk, layer)
    }

    /// What the guest reads of a disk, running or as it is defined; none: the disk is in no definition.
    #[must_use]
    pub fn guest_reads(&self, vm: VmId, disk: DiskId) -> Option<BTreeSet<u64>> {
        let w = self.world();
        let d = w.domains.get(&vm)?;
        let off = matches!(d.state, VmState::Stopped | VmState::Hibernated);
        let top = if off { d.defined_tops.get(&disk) } else { d.writes.get(&disk) }?;
        Some(w.reads(disk, *top))
    }

    /// The guest's memory: the last number that it wrote since it was booted, or since the memory that it began with.
    #[must_use]
    pub fn guest_memory(&self, vm: VmId) -> Option<u64> {
        self.world().domains.get(&vm).map(|d| d.memory)
    }

    /// The stored memory of each snapshot of a VM.
    #[must_use]
    pub fn stored_memory(&self, vm: VmId) -> BTreeMap<SnapshotId, u64> {
        self.world().memories.iter().filter(|((v, _), _)| *v == vm).map(|((_, s), m)| (*s, *m)).collect()
    }

    /// The last number that any guest of this machine wrote; they are 1, 2, 3 and so on.
    #[must_use]
    pub fn last_number(&self) -> u64 {
        self.world().numbers
    }

    /// Files that a definition that is relied on, a running guest or another layer stands on, and that are not there.
    #[must_use]
    pub fn layers_missing(&self, relied_on: impl Fn(VmId) -> bool) -> Vec<(VmId, DiskId, Option<LayerId>)> {
        let w = self.world();
        let mut stood_on: Vec<(VmId, DiskId, Option<LayerId>)> =
            w.files.values().filter(|f| f.stored.layer.is_some()).map(|f| (f.stored.vm, f.stored.id, f.below)).collect();
        for (vm, d) in w.domains.iter().filter(|(_, d)| d.persistent) {
            let runs = !matches!(d.state, VmState::Stopped | VmState::Hibernated);
            // What a session wrote is made anew at each start; the definition of a guest that does not run stands on nothing of it.
            let tops = d.defined_tops.iter().filter(|(_, top)| **top != Some(SESSION) && relied_on(*vm)).chain(d.writes.iter().filter(|_| runs));
            stood_on.extend(tops.map(|(disk, layer)| (*vm, *disk, *layer)));
        }
        stood_on.retain(|(_, disk, layer)| !w.files.contains_key(&(*disk, *layer)));
        stood_on.sort_unstable();
        stood_on.dedup();
        stood_on
    }

    /// Whether QEMU finds every file that the definition of a domain begins with.
    #[must_use]
    pub fn can_boot(&self, vm: VmId) -> bool {
        let w = self.world();
        let Some(d) = w.domains.get(&vm) else { return false };
        d.defined_tops.iter().all(|(disk, top)| w.chain(*disk, *top).iter().all(|file| w.files.contains_key(file)))
    }

    /// Every disk file: disk and layer.
    #[must_use]
    pub fn disk_files(&self) -> Vec<(DiskId, Option<LayerId>)> {
        self.world().files.keys().copied().collect()
    }
}
