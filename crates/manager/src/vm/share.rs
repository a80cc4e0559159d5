//! Shared disks: who is bound to one, and binding a VM to one that is there (DSK-13, DSK-14, X-19).
//!
//! The rows say it: a shared disk is bound to each VM in whose specification it stands, the one of before an edit included.
//! It must never let a VM of another host be bound to a disk on a local store, and never let a disk go while one VM is bound.

use crate::http::Op;
use virga_api::v1::DiskCreate;
use virga_model::disk::Sharing;
use virga_model::error::Check;
use virga_model::role::{Privilege, Target};
use virga_model::vm::{DiskSpec, Vm};
use virga_model::{DiskId, Error, VmId};
use virga_store::Tx;

use super::resolve;

fn bound(vm: &Vm, disk: DiskId) -> Option<&DiskSpec> {
    vm.spec.disks.iter().chain(vm.former_spec.iter().flat_map(|s| &s.disks)).find(|d| d.id == disk)
}

/// The other VMs that are bound to a shared disk.
///
/// # Errors
/// What the store says. Conflict while one of them is being changed: whether it will be bound is not known then.
pub(crate) async fn others(tx: &mut Tx, vm: VmId, disk: DiskId) -> Result<Vec<Vm>, Error> {
    let mut all = virga_store::vm::with_disk(tx, disk).await?;
    all.retain(|v| v.id != vm);
    if all.iter().any(|v| v.former_spec.is_some()) {
        // Not which one: the caller may not see it.
        return Err(Error::conflict(format!("A VM that is or was bound to the disk {disk} is being changed.")).with_hint("Try again in a moment."));
    }
    Ok(all)
}

/// The shared disk `id` of another VM, as `vm` shall have it.
///
/// # Errors
/// NotFound when the caller sees no VM that has it; Invalid on a field that cannot stand beside it; Conflict when it is not
/// shared, is bound to `vm` already, or lies on another host.
pub(crate) async fn existing(op: &Op, tx: &mut Tx, vm: &Vm, id: DiskId, b: &DiskCreate) -> Result<DiskSpec, Error> {
    let mut c = Check::new();
    for (field, given) in [
        ("size_bytes", b.size_bytes.is_some()),
        ("image", b.image.is_some()),
        ("mode", b.mode.is_some()),
        ("provisioning", b.provisioning.is_some()),
        ("format", b.format.is_some()),
        ("discard", b.discard.is_some()),
        ("sharing", b.sharing.is_some()),
        ("data_store", b.data_store.is_some()),
    ] {
        c.that(!given, field, "cannot stand beside existing: the disk has it already");
    }
    c.done()?;
    resolve::limits(b.limits.as_ref(), "limits")?;
    if bound(vm, id).is_some() {
        return Err(Error::conflict(format!("The disk {id} is bound to VM {} already.", vm.name)));
    }
    // Who binds a VM to a disk can change what the others read: the right to edit one of them is needed, too.
    let others = others(tx, vm.id, id).await?;
    let may = |v: &&Vm| op.caller.may(Privilege::VmEdit, &Target::Vm { id: v.id, owner: v.owner, host: v.host });
    let of = others.iter().find(may).ok_or_else(|| Error::not_found("shared disk", id))?;
    let disk = bound(of, id).ok_or_else(|| Error::not_found("shared disk", id))?;
    if disk.sharing != Sharing::Shared {
        return Err(Error::conflict(format!("The disk {id} belongs to VM {} alone.", of.name))
            .with_hint("Only disks made with sharing=shared can be bound to several VMs."));
    }
    if of.spec.disk_work.leaving.iter().any(|l| l.disk == id) || of.desired == virga_model::vm::Desired::Absent {
        return Err(Error::conflict(format!("The disk {id} is being removed with VM {}.", of.name)));
    }
    if disk.store.is_none() && of.host != vm.host {
        return Err(Error::conflict(format!(
            "VM {} and VM {} are on different hosts, and the disk lies on the local store of one of them (X-19).",
            vm.name, of.name
        ))
        .with_hint("Put both VMs on one host; or make the disk on a data store that both hosts see."));
    }
    Ok(DiskSpec { bus: b.bus.unwrap_or(disk.bus), cache: b.cache.unwrap_or(disk.cache), limits: b.limits.unwrap_or_default(), image: None, ..disk.clone() })
}
