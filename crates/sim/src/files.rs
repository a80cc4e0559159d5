//! Disk files of a simulated machine: which stands on which, and what guests wrote into them, so that tests can hold what
//! a snapshot must read against what it does read.

use std::collections::{BTreeMap, BTreeSet};
use virga_agent::host::{Result, StoredDisk};
use virga_model::layer::{Layer, Merge, SESSION};
use virga_model::order::VmOrder;
use virga_model::snapshot::StoredMemory;
use virga_model::vm::{DiskMode, VmState};
use virga_model::{DiskId, Error, LayerId, SnapshotId, VmId};

use crate::SimHost;
use crate::host::World;

/// A file: the disk, and the layer above its base.
pub(crate) type Key = (DiskId, Option<LayerId>);

/// A disk's file.
#[derive(Clone, Debug)]
pub(crate) struct SimFile {
    pub(crate) stored: StoredDisk,
    /// For a layer: the one that it stands on.
    pub(crate) below: Option<LayerId>,
    /// Numbers that guests wrote into it.
    pub(crate) written: BTreeSet<u64>,
    /// It takes its whole size from the store.
    pub(crate) thick: bool,
}

impl SimFile {
    pub(crate) fn new(stored: StoredDisk, below: Option<LayerId>) -> SimFile {
        SimFile { stored, below, written: BTreeSet::new(), thick: false }
    }
}

impl World {
    /// The layers from a file down to the base.
    fn chain(&self, disk: DiskId, mut layer: Option<LayerId>) -> Vec<Option<LayerId>> {
        let mut out = vec![layer];
        while let Some(f) = layer.and_then(|_| self.files.get(&(disk, layer))) {
            layer = f.below;
            if out.contains(&layer) {
                break;
            }
            out.push(layer);
        }
        out
    }

    /// What a disk reads as from this file down.
    fn reads(&self, disk: DiskId, layer: Option<LayerId>) -> BTreeSet<u64> {
        self.chain(disk, layer).iter().filter_map(|l| self.files.get(&(disk, *l))).flat_map(|f| f.written.iter().copied()).collect()
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
                !chain.contains(&upper.1) && chain.contains(&lower.1)
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
            runs && d.writes.get(&key.0).is_some_and(|top| self.chain(key.0, *top).contains(&key.1))
        })
    }
}

impl SimHost {
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
        d.defined_tops.iter().all(|(disk, top)| w.chain(*disk, *top).iter().all(|layer| w.files.contains_key(&(*disk, *layer))))
    }

    /// Every disk file: disk and layer.
    #[must_use]
    pub fn disk_files(&self) -> Vec<(DiskId, Option<LayerId>)> {
        self.world().files.keys().copied().collect()
    }
}
