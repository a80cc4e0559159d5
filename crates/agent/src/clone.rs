//! The files of a clone on this host: empty differences on a file of the parent, or copies of it.
//!
//! A copy can take hours. A newer order for the VM breaks it off, and what was copied so far is thrown away: a file that is
//! there is whole. Nothing is copied or removed here that a definition still writes; the manager sees to it that what is
//! copied is frozen, and this module never freezes anything by itself.

use virga_crash::{Step, step};
use virga_model::order::{ImageRef, VmOrder};
use virga_model::vm::DiskSpec;
use virga_model::{Error, LayerId};

use crate::host::Result;
use crate::vm::Attempt;

/// Copies of disks at the same moment; more only make each other slower.
pub const COPIES_MAX: usize = 2;

impl Attempt<'_> {
    /// Makes the base of a disk.
    pub(crate) async fn make_base(&self, order: &VmOrder, disk: &DiskSpec, image: Option<&ImageRef>) -> Result<()> {
        match disk.copy_of.as_ref().and_then(|c| c.files.first()) {
            Some(from) => self.copy(order, disk, None, *from, image).await,
            None => {
                self.step("making disks");
                self.unless_superseded(step(Step::DiskEnsure, self.host.disk_ensure(order.id, disk, image, &|p| self.tell(p)))).await
            }
        }
    }

    /// Makes a layer of a disk.
    pub(crate) async fn make_layer(&self, order: &VmOrder, disk: &DiskSpec, layer: LayerId, below: Option<LayerId>) -> Result<()> {
        let first = order.spec.layers.get(layer).is_some_and(|l| l.parent.is_none());
        match disk.copy_of.as_ref().and_then(|c| c.files.get(1)).filter(|_| first) {
            Some(from) => self.copy(order, disk, Some(layer), *from, None).await,
            None => {
                self.step("putting an empty layer on the disks");
                step(Step::LayerEnsure, self.host.layer_ensure(order.id, disk, layer, below)).await
            }
        }
    }

    async fn copy(&self, order: &VmOrder, disk: &DiskSpec, to: Option<LayerId>, from: Option<LayerId>, image: Option<&ImageRef>) -> Result<()> {
        self.step("waiting for its turn to copy disks");
        let work = async {
            let _turn = self.node.copies.acquire().await;
            self.step("copying disks");
            step(Step::DiskCopy, self.host.disk_copy(order.id, disk, to, from, image, &|p| self.tell(p))).await
        };
        self.unless_superseded(work).await
    }

    /// Refuses to go on while disks of other VMs stand on files of this one. The manager refuses long before; but rows may
    /// have been restored from an older backup, and nothing brings a clone's data back.
    pub(crate) async fn nobody_stands_on(&self, order: &VmOrder) -> Result<()> {
        if !order.spec.template && order.spec.layers.is_plain() {
            return Ok(());
        }
        self.none_of(order, |_, _| true).await
    }

    /// As [`Attempt::nobody_stands_on`], of two layers of one disk: neither of the two files of a merge may carry others.
    pub(crate) async fn nobody_stands_on_merge(&self, order: &VmOrder, disk: virga_model::DiskId, layers: [Option<LayerId>; 2]) -> Result<()> {
        self.none_of(order, |d, layer| d == disk && layers.contains(&layer)).await
    }

    async fn none_of(&self, order: &VmOrder, of: impl Fn(virga_model::DiskId, Option<LayerId>) -> bool) -> Result<()> {
        let standing = self.host.standing_on(order.id).await?;
        let Some((vm, on)) = standing.iter().find(|(_, on)| of(on.disk, on.layer)) else { return Ok(()) };
        Err(Error::conflict(format!("A disk of VM {vm} stands on disk {} of this one, so its files are kept as they are.", on.disk))
            .with_hint("Remove the clones first, or make them independent with a full clone."))
    }
}
