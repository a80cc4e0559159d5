//! The stored memory of snapshots: stored in the moment in which the disks are frozen, brought back on an empty layer, and
//! removed with its snapshot (SNAP-06, X-23, ADR 17).
//!
//! That memory was stored is known by the journal and by the running guest's disks, never by the file alone: one that was
//! broken off lies there, too. Memory never comes back on disks on which something was written since: the layer is made anew
//! before each try.

use virga_crash::{Step, step};
use virga_model::layer::Layer;
use virga_model::order::VmOrder;
use virga_model::snapshot::StoredMemory;
use virga_model::vm::{DiskMode, VmSpec};
use virga_model::{Error, SnapshotId};

use crate::host::{Result, Started};
use crate::record::is_active;
use crate::vm::Attempt;

impl Attempt<'_> {
    /// Refuses to store the memory of a guest that does not run (any more).
    pub(crate) async fn memory_can_be_stored(&self, order: &VmOrder) -> Result<()> {
        let Some(snapshot) = order.spec.layers.memory_to_store() else { return Ok(()) };
        let stored = self.slot.record().memories.iter().any(|(m, _)| m.snapshot == snapshot);
        if stored || self.look().await?.is_some_and(|d| is_active(d.state)) {
            return Ok(());
        }
        Err(Error::conflict("The guest went off before its memory was stored.").with_hint("Start the VM, or take an ordinary snapshot."))
    }

    /// Stores the memory and freezes the disks; with the hardware that the guest has at that moment.
    pub(crate) async fn store_memory(&self, order: &VmOrder, layer: Layer, running: &VmSpec) -> Result<(StoredMemory, VmSpec)> {
        let stored = step(Step::MemoryStore, self.host.memory_store(order, layer)).await?;
        Ok((stored, running.clone()))
    }

    /// Starts the guest with the memory of a snapshot, on an empty layer.
    pub(crate) async fn restore_memory(&self, order: &VmOrder, snapshot: SnapshotId) -> Result<Started> {
        if !self.look().await?.is_some_and(|d| is_active(d.state)) {
            let there = self.host.disks().await?;
            for disk in order.spec.disks.iter().filter(|d| d.mode == DiskMode::Dependent) {
                let chain = crate::layer::files(order, disk, &there);
                let [.., below, Some(top)] = chain.as_slice() else { continue };
                if Some(*top) == order.spec.layers.top {
                    step(Step::DiskRemove, self.host.disk_remove(order.id, disk.store, disk.id, Some(*top))).await?;
                    step(Step::LayerEnsure, self.host.layer_ensure(order.id, disk, *top, *below)).await?;
                }
            }
        }
        step(Step::MemoryRestore, self.host.memory_restore(order, snapshot)).await
    }

    /// Removes stored memory that neither a snapshot nor the way back needs.
    pub(crate) async fn remove_memories(&self, order: &VmOrder) -> Result<()> {
        let none = order.spec.layers.is_plain() && order.keep_memories.is_empty() && self.slot.look_at(|r| r.memories.is_empty());
        if none {
            return Ok(());
        }
        let wanted = |s: &SnapshotId| order.spec.layers.memories.contains(s) || order.keep_memories.contains(s);
        for snapshot in self.host.memories(order.id).await?.into_iter().filter(|s| !wanted(s)) {
            self.step("removing stored memory");
            step(Step::MemoryRemove, self.host.memory_remove(order.id, snapshot)).await?;
        }
        if self.slot.record().memories.iter().any(|(m, _)| !wanted(&m.snapshot)) {
            self.slot.update(self.node, Step::JournalChanged, |r| r.memories.retain(|(m, _)| wanted(&m.snapshot))).await?;
        }
        Ok(())
    }
}
