//! Work on the files of a VM's disks that is no part of what the disks are: space that goes back, and files that are
//! overwritten before they are removed (DSK-08, VM-26, W-40).
//!
//! The order lists it until it is done, so that an agent that was killed goes on. It must never touch a file that the order,
//! the way back or the running guest needs.

use virga_crash::{Step, step};
use virga_model::DiskId;
use virga_model::disk::{Erase, Reclaimed};
use virga_model::order::VmOrder;

use crate::host::{Result, StoredDisk};
use crate::vm::Attempt;

impl Attempt<'_> {
    /// Brings space back, when the order wishes it and it has not been done yet.
    pub(crate) async fn reclaim(&self, order: &VmOrder) -> Result<()> {
        let Some(wish) = order.spec.disk_work.reclaim else { return Ok(()) };
        let done = self.slot.look_at(|r| r.disk_work.reclaimed.as_ref().is_some_and(|d| d.generation == wish.generation));
        let Some(disk) = order.spec.disks.iter().find(|d| d.id == wish.disk).filter(|_| !done) else { return Ok(()) };
        self.step("reclaiming the space of a disk");
        let bytes = self.unless_superseded(step(Step::DiskReclaim, self.host.disk_reclaim(order, disk, &|p| self.tell(p)))).await?;
        let result = Reclaimed { disk: wish.disk, generation: wish.generation, bytes };
        self.slot.update(self.node, Step::JournalChanged, |r| r.disk_work.reclaimed = Some(result)).await
    }

    /// Removes a file of a disk that nobody needs, as the order says: overwritten before, or not.
    pub(crate) async fn remove_file(&self, order: &VmOrder, file: &StoredDisk) -> Result<()> {
        if order.spec.disk_work.erase(file.id) == Erase::Normal {
            return step(Step::DiskRemove, self.host.disk_remove(order.id, file.store, file.id, file.layer)).await;
        }
        self.step("overwriting a disk");
        let (bytes, left) = step(Step::DiskErase, self.host.disk_erase(order.id, file.store, file.id, file.layer, &|p| self.tell(p))).await?;
        self.slot.update(self.node, Step::JournalChanged, |r| r.disk_work.note_erased(file.id, bytes, left)).await
    }

    /// Removes shared disks of which this VM was the last one; `needed` are those that the running guest has.
    pub(crate) async fn remove_shared(&self, order: &VmOrder, needed: impl Fn(DiskId) -> bool) -> Result<()> {
        for l in order.spec.disk_work.leaving.iter().filter(|l| l.shared && !needed(l.disk)) {
            let file = StoredDisk { id: l.disk, vm: order.id, layer: None, store: l.store, size_bytes: 0 };
            self.remove_file(order, &file).await?;
        }
        Ok(())
    }

    /// Removes what does not lie in the folder of a VM that goes, and overwrites its disks as far as the order says so.
    pub(crate) async fn erase_all(&self, order: &VmOrder) -> Result<()> {
        self.remove_shared(order, |_| false).await?;
        let secure = |disk: DiskId| order.spec.disk_work.erase(disk) == Erase::Secure;
        if !order.spec.disk_work.leaving.iter().any(|l| secure(l.disk)) {
            return Ok(());
        }
        // Layers first: what stands on a file goes before it.
        let mut files: Vec<StoredDisk> = self.host.disks().await?.into_iter().filter(|d| d.vm == order.id && secure(d.id)).collect();
        files.sort_by_key(|f| (f.id, std::cmp::Reverse(f.layer)));
        for file in files {
            self.remove_file(order, &file).await?;
        }
        Ok(())
    }
}
