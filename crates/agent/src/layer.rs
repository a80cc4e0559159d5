//! The layers of a VM's disks on this host: made, left, merged and removed as the order says.
//!
//! What there is is read from the files each time, never remembered (reliability.md S8): a merge that was broken off is
//! begun again because the upper file is still there. A layer is removed only when neither the order, nor the way back, nor
//! the running guest needs it.

use virga_crash::{Step, step};
use virga_model::LayerId;
use virga_model::layer::{Merge, SESSION};
use virga_model::order::VmOrder;
use virga_model::vm::{DiskMode, DiskSpec, VmSpec, VmState};

use crate::host::{Result, StoredDisk};
use crate::record::is_active;
use crate::vm::Attempt;

/// The files of a disk, from its base to the one that is written, as the order wants them and as far as layers that wait to
/// be merged are still there.
pub(crate) fn files(order: &VmOrder, disk: &DiskSpec, there: &[StoredDisk]) -> Vec<Option<LayerId>> {
    let is_there = |layer| there.iter().any(|d| d.vm == order.id && d.id == disk.id && d.layer == Some(layer));
    order.spec.disk_files(disk, is_there)
}

impl Attempt<'_> {
    /// Switches the guest off when it writes to a file that the order does not go on with: it is to go back to a snapshot, or
    /// to its restore point.
    /// Memory that was saved belongs to those disks and goes with them.
    pub(crate) async fn leave_branch(&self, order: &VmOrder) -> Result<()> {
        let Some(running) = self.slot.record().running() else { return Ok(()) };
        let path = order.spec.layers.path_with_merges(order.spec.layers.top);
        if path.contains(&running.layers.top) && !virga_model::clone::is_refreshed(&running, &order.spec) {
            return Ok(());
        }
        let state = self.look().await?.map_or(VmState::Absent, |d| d.state);
        if is_active(state) {
            self.step("switching off, to go back");
            step(Step::ForceOff, self.host.force_off(order.id)).await?;
            self.look().await?;
        } else if state == VmState::Hibernated {
            step(Step::DiscardSaved, self.host.discard_saved(order.id)).await?;
            self.look().await?;
        }
        Ok(())
    }

    /// Sees to it that every layer that the order writes or reads has its file.
    pub(crate) async fn layers(&self, order: &VmOrder, there: &[StoredDisk]) -> Result<()> {
        // What was seen last may be of another life: a disk that is plugged into a running guest needs all of its files.
        let sessions = order.spec.disks.iter().any(|d| d.mode == DiskMode::IndependentNonpersistent);
        let active = sessions && self.look().await?.is_some_and(|d| is_active(d.state));
        for disk in &order.spec.disks {
            let chain = files(order, disk, there);
            for pair in chain.windows(2) {
                let [below, Some(layer)] = pair else { continue };
                // That of a non-persistent disk is made at the start, or for a disk that a running guest gets.
                if *layer == SESSION && !active {
                    continue;
                }
                let missing = !there.iter().any(|d| d.vm == order.id && d.id == disk.id && d.layer == Some(*layer));
                if missing {
                    self.make_layer(order, disk, *layer, *below).await?;
                }
            }
        }
        Ok(())
    }

    /// Throws away what a guest wrote to non-persistent disks when it ran last, and lets it begin anew (DSK-18).
    pub(crate) async fn begin_session(&self, order: &VmOrder) -> Result<()> {
        for disk in order.spec.disks.iter().filter(|d| d.mode == DiskMode::IndependentNonpersistent) {
            step(Step::DiskRemove, self.host.disk_remove(order.id, disk.store, disk.id, Some(SESSION))).await?;
            step(Step::LayerEnsure, self.host.layer_ensure(order.id, disk, SESSION, None)).await?;
        }
        Ok(())
    }

    /// Does the merges that are still to be done. One that fails is told and tried again with the next order: the guest
    /// reads and writes the same either way, so that it fails no order.
    pub(crate) async fn merge_layers(&self, order: &VmOrder) -> Result<()> {
        if order.spec.layers.merges.is_empty() {
            return self.note_merges(order, false, None).await;
        }
        if self.look().await?.is_some_and(|d| d.state == VmState::Hibernated) {
            // The saved memory names the files as they are.
            return Ok(());
        }
        let mut merged = false;
        for merge in &order.spec.layers.merges {
            let upper: Vec<_> = self.host.disks().await?.into_iter().filter(|d| d.vm == order.id && d.layer == Some(merge.from)).collect();
            for file in upper {
                if self.slot.record().order.generation != self.generation {
                    return Ok(());
                }
                if let Err(e) = self.merge(order, &file, *merge).await {
                    if e.code.retryable() {
                        return Err(e);
                    }
                    return self.note_merges(order, merged, Some(e)).await;
                }
                merged = true;
            }
        }
        self.note_merges(order, merged, None).await
    }

    async fn merge(&self, order: &VmOrder, file: &StoredDisk, merge: Merge) -> Result<()> {
        self.nobody_stands_on_merge(order, file.id, [Some(merge.from), order.spec.layers.file_of(file.id, merge.into)]).await?;
        self.step("merging layers");
        if self.slot.record().defined.is_some() {
            // From here on the definition may name a file that is gone: should this agent die, the next one defines anew.
            self.slot.update(self.node, Step::JournalChanged, |r| r.defined = None).await?;
        }
        step(Step::LayerMerge, self.host.merge(order, file.id, merge, &|p| self.tell(p))).await
    }

    /// Writes down how the merges went. The definition names the files, so it is written anew after each change of them.
    async fn note_merges(&self, order: &VmOrder, merged: bool, error: Option<virga_model::Error>) -> Result<()> {
        let domain = self.look().await?;
        let record = self.slot.record();
        let active = domain.as_ref().is_some_and(|d| is_active(d.state));
        let told = record.merge_error == error && record.running_spec.as_ref().is_none_or(|r| r.layers == order.spec.layers);
        if !merged && told {
            return Ok(());
        }
        let whole = error.is_none();
        self.slot
            .update(self.node, Step::JournalChanged, |r| {
                r.merge_error = error;
                if let Some(running) = r.running_spec.as_mut().filter(|_| active && whole) {
                    running.layers = order.spec.layers.clone();
                }
                if merged {
                    r.defined = None;
                }
            })
            .await?;
        if merged { self.define(domain.as_ref()).await } else { Ok(()) }
    }

    /// Removes files that are neither in the specification, nor kept for a way back, nor in the running guest.
    pub(crate) async fn remove_detached(&self, order: &VmOrder) -> Result<()> {
        // A guest whose memory is saved goes on with the files that it had.
        let running = self.slot.record().running_spec.filter(|_| is_active(self.slot.state()) || self.slot.state() == VmState::Hibernated);
        let kept_layer = |l: LayerId| {
            let layers = &order.spec.layers;
            layers.get(l).is_some() || order.keep_layers.contains(&l) || layers.merges.iter().any(|m| m.from == l)
        };
        for d in self.host.disks().await?.into_iter().filter(|d| d.vm == order.id) {
            let disk_wanted = order.spec.disks.iter().any(|s| s.id == d.id) || order.keep_disks.contains(&d.id);
            let wanted = disk_wanted && d.layer.is_none_or(kept_layer);
            // A snapshot's layers and those below are all of the running guest's tree; the session's is its disk's alone.
            let of_guest = |r: &VmSpec, s: &DiskSpec| d.layer.is_none_or(|l| r.layers.get(l).is_some() || r.disk_files(s, |_| false).contains(&Some(l)));
            let in_use = running.as_ref().is_some_and(|r| r.disks.iter().any(|s| s.id == d.id && of_guest(r, s)));
            if !wanted && !in_use {
                self.step(if d.layer.is_none() { "removing a detached disk" } else { "removing a layer that is not needed" });
                self.remove_file(order, &d).await?;
            }
        }
        let has = |spec: &VmSpec, id: virga_model::DiskId| spec.disks.iter().any(|s| s.id == id);
        let needed = |id: virga_model::DiskId| has(&order.spec, id) || order.keep_disks.contains(&id) || running.as_ref().is_some_and(|r| has(r, id));
        self.remove_shared(order, needed).await
    }
}
