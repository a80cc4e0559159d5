//! The invariants of snapshots: what a snapshot holds stays as it is, every layer that somebody stands on is there, and
//! none is left over.
//!
//! Guests of a world write numbers into their disks (`files.rs`), so that what a layer reads as can be told.
//! Checkers read rows and machines, and change nothing.

use super::check::Look;
use super::ctx::Ctx;
use super::host::Site;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use virga_model::layer::SESSION;
use virga_model::snapshot::SnapshotState;
use virga_model::vm::{Desired, DiskMode, Vm, VmState};
use virga_model::{DiskId, SnapshotId};

/// What the disks of snapshots read as when they were first seen at rest.
pub(super) type Kept = BTreeMap<(SnapshotId, DiskId), BTreeSet<u64>>;

/// A VM whose host has brought about what its row wants, and the host. What is on the way is not judged.
fn at_rest<'a>(sites: &'a [Arc<Site>], vm: &Vm) -> Option<&'a Arc<Site>> {
    let o = &vm.observed;
    let rests = vm.former_spec.is_none()
        && o.generation == vm.generation
        && o.settled
        && o.error.is_none()
        && o.merge_error.is_none()
        && !o.order_lost
        && vm.desired != Desired::Absent;
    sites.iter().find(|s| Some(s.id) == vm.host && rests)
}

/// What a snapshot holds never changes, whatever is merged into its layer or put on it (V7).
pub(super) fn v7_snapshots_keep_what_they_hold(ctx: &Ctx, kept: &mut Kept, l: &Look) {
    let sites = ctx.sites();
    for s in l.snapshots.iter().filter(|s| s.state == SnapshotState::Ready) {
        let Some(vm) = l.vms.iter().find(|v| v.id == s.vm) else { continue };
        let Some(site) = at_rest(&sites, vm) else { continue };
        for d in s.spec.disks.iter().filter(|d| d.mode == DiskMode::Dependent) {
            let layer = vm.spec.layers.file_of(d.id, s.layer);
            if !site.sim.disk_files().contains(&(d.id, layer)) {
                ctx.violated("V8", &format!("a layer of {} that its snapshot {} needs is not on {}", s.vm, s.name, site.name));
                continue;
            }
            let now = site.sim.reads(d.id, layer);
            let before = kept.entry((s.id, d.id)).or_insert_with(|| now.clone());
            if *before != now {
                ctx.violated("V7", &format!("the snapshot {} of {} held {before:?} and holds {now:?}", s.name, s.vm));
            }
        }
    }
}

/// No layer is away while another one, a definition or a running guest stands on it (V8).
pub(super) fn v8_layers_are_there(ctx: &Ctx) {
    for site in ctx.sites() {
        // Between a merge and the new definition the agent's journal holds no definition: the next start writes it anew.
        for (vm, disk, layer) in site.sim.layers_missing(|vm| site.relies_on_definition(vm)) {
            ctx.violated("V8", &format!("the layer {layer:?} of disk {disk} of {vm} is away on {}, and is stood on", site.name));
        }
    }
}

/// No layer is there that no specification knows (W4).
pub(super) fn w4_no_layer_is_left_over(ctx: &Ctx, l: &Look) {
    let sites = ctx.sites();
    for vm in &l.vms {
        let Some(site) = at_rest(&sites, vm).filter(|_| vm.observed.pending.is_empty() && vm.observed.state != VmState::Hibernated) else { continue };
        let disks: BTreeMap<DiskId, DiskMode> = vm.spec.disks.iter().map(|d| (d.id, d.mode)).collect();
        for (disk, layer) in site.sim.disk_files() {
            let Some(mode) = disks.get(&disk) else { continue };
            let known = |id| vm.spec.layers.get(id).is_some() || (id == SESSION && *mode == DiskMode::IndependentNonpersistent);
            if layer.is_some_and(|id| !known(id)) {
                ctx.violated("W4", &format!("{} has a layer {layer:?} of {}, which no specification knows", site.name, vm.id));
            }
        }
    }
}
