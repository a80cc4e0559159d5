//! Exports of a VM: copies of its disks in a format for transport, kept ready until the order does not want them any more.
//!
//! What is begun is journalled before, so that whoever comes next knows of half-made copies and makes them anew. It must
//! never read a file that a guest may write at that moment: that of a VM that is off, or one that a snapshot froze.

use virga_crash::{Step, step};
use virga_model::export::{ExportSpec, Exported};
use virga_model::layer::SESSION;
use virga_model::order::VmOrder;
use virga_model::vm::{DiskMode, DiskSpec, VmState};
use virga_model::{DiskId, Error, LayerId, VmId};

use crate::host::{Result, StoredDisk};
use crate::node::Node;
use crate::record::is_active;
use crate::vm::Attempt;

impl Attempt<'_> {
    /// Makes the export that is wanted, and removes one that is not. A guest that runs changes its disks: then one is made
    /// of what a snapshot froze only, and what is complete stays.
    pub(crate) async fn export(&self, order: &VmOrder) -> Result<()> {
        let known = self.slot.record().exported;
        let wanted = order.spec.export.as_ref();
        let is_it = |e: &Exported| wanted.is_some_and(|w| w.id == e.id);
        if known.as_ref().is_some_and(|e| is_it(e) && !e.disks.is_empty()) || (known.is_none() && wanted.is_none()) {
            return Ok(());
        }
        if !known.as_ref().is_some_and(is_it) && known.is_some() {
            self.step("removing the export");
            step(Step::ExportRemove, self.host.export_remove(order.id)).await?;
            self.slot.update(self.node, Step::JournalExport, |r| r.exported = None).await?;
        }
        let Some(wanted) = wanted else { return Ok(()) };
        let written = self.look().await?.is_some_and(|d| is_active(d.state) || d.state == VmState::Hibernated);
        if wanted.snapshot.is_none() && written {
            return Ok(());
        }
        // Known before it is begun, so that whoever comes next removes what is half made.
        let begun = Exported { id: wanted.id, disks: Vec::new() };
        self.slot.update(self.node, Step::JournalExport, |r| r.exported = Some(begun)).await?;
        let there = self.host.disks().await?;
        let mut disks = Vec::new();
        for id in &wanted.disks {
            let disk = order.spec.disks.iter().find(|d| d.id == *id);
            // Detached since: there is nothing of which it could be made, and that is no reason to keep the VM from going on.
            let Some(disk) = disk else { return Ok(()) };
            self.step("copying the disks for the export");
            let layer = source(order, wanted, disk, &there);
            let tell = |p| self.tell(p);
            let copy = step(Step::ExportMake, self.host.export_disk(order.id, wanted, disk, layer, &tell));
            disks.push(self.unless_superseded(copy).await?);
        }
        let made = Exported { id: wanted.id, disks };
        self.slot.update(self.node, Step::JournalExport, |r| r.exported = Some(made)).await
    }
}

/// The file in which the content of a disk lies: the newest one, or that which the snapshot froze. What a guest wrote to a
/// non-persistent disk is no content of it.
fn source(order: &VmOrder, wanted: &ExportSpec, disk: &DiskSpec, there: &[StoredDisk]) -> Option<LayerId> {
    match wanted.snapshot {
        Some(s) if disk.mode == DiskMode::Dependent => {
            let layers = &order.spec.layers;
            let is_there = |layer| there.iter().any(|d| d.vm == order.id && d.id == disk.id && d.layer == Some(layer));
            layers.files(disk.id, &layers.path_with_merges(s.layer), |l| layers.get(l).is_some() || is_there(l)).pop().flatten()
        }
        _ => crate::layer::files(order, disk, there).into_iter().rfind(|l| *l != Some(SESSION)).flatten(),
    }
}

impl Node {
    /// The export that a VM has here, for reading.
    ///
    /// # Errors
    /// NotFound when there is none, or another one.
    pub fn export_of(&self, vm: VmId, id: uuid::Uuid, disk: DiskId) -> Result<ExportSpec> {
        let gone = || Error::not_found("export", id);
        let record = self.slots().iter().find(|s| s.id == vm).map(|s| s.record()).ok_or_else(gone)?;
        let complete = record.exported.as_ref().is_some_and(|e| e.id == id && e.disks.iter().any(|d| d.disk == disk));
        record.order.spec.export.filter(|e| e.id == id && complete).ok_or_else(gone)
    }
}
