//! Disks, NICs and optical drives of a VM: each change is an edit of its specification.

use super::resolve::{self, StoreWish};
use super::{Room, conclude, edit, load_for_change, no_room, share, step, transaction};
use crate::http::Op;
use crate::view as hosts;
use virga_api::v1::{Accepted, DiskCreate, DiskUpdate, MediaUpdate, NicCreate, NicUpdate};
use virga_model::disk::{Discard, Erase, Leaving, Reclaim, Sharing};
use virga_model::role::Privilege;
use virga_model::vm::{AgentState, DiskMode, DiskSpec, Vm, VmSpec, VmState};
use virga_model::{DataStoreId, DiskId, Error, NicId};
use virga_store::Tx;

async fn begin(op: &Op, vm: &str, dry_run: bool) -> Result<(Tx, Vm), Error> {
    let mut tx = transaction(op, dry_run).await?;
    let vm = load_for_change(op, &mut tx, vm, Privilege::VmEdit).await?;
    Ok((tx, vm))
}

async fn end(op: &Op, mut tx: Tx, before: Vm, after: Vm, dry_run: bool) -> Result<Accepted, Error> {
    let change = edit::to(op, &mut tx, &mut Room::default(), before, after).await.map_err(of_one_device)?;
    conclude(op, tx, change, dry_run).await
}

/// The request is about one device: its fields have no list before them.
fn of_one_device(e: Error) -> Error {
    e.rename(|name| name.split_once("].").map_or(name, |(_, field)| field).to_string())
}

/// Makes and attaches a disk.
///
/// # Errors
/// As [`edit::update`].
pub async fn disk_attach(op: &Op, vm: &str, b: &DiskCreate, dry_run: bool) -> Result<Accepted, Error> {
    let (mut tx, before) = begin(op, vm, dry_run).await?;
    let mut after = before.clone();
    let disk = match b.existing {
        Some(id) => share::existing(op, &mut tx, &before, id, b).await?,
        None => {
            let mut disk = resolve::disk(op, &mut tx, b, "").await?;
            disk.store = attach_where(op, &mut tx, &before, &disk, b.data_store.as_deref()).await?;
            disk
        }
    };
    // Layers are of one VM; a shared disk is of none.
    if disk.sharing == Sharing::Ordinary {
        after.spec.layers.begin(disk.id);
    }
    after.spec.disk_work.leaving.retain(|l| l.disk != disk.id);
    after.spec.disks.push(disk);
    end(op, tx, before, after, dry_run).await
}

/// The data store of a new disk of a VM that has its host: the one that is named, else the preferred one that its host
/// reaches and that has room.
async fn attach_where(op: &Op, tx: &mut Tx, vm: &Vm, disk: &DiskSpec, name: Option<&str>) -> Result<Option<DataStoreId>, Error> {
    let wish = resolve::store(op, tx, name, "data_store").await?;
    let Some(id) = vm.host else { return Ok(None) };
    match wish {
        StoreWish::Shared(store) => return Ok(Some(store)),
        StoreWish::Local(Some(host)) if host != id => return Err(Error::invalid("data_store", "is the local store of another host than the VM's")),
        StoreWish::Local(_) => return Ok(None),
        StoreWish::Anywhere => {}
    }
    let Some(host) = hosts::one(&op.m, tx, id).await? else { return Ok(None) };
    let alone = VmSpec { disks: vec![disk.clone()], ..vm.spec.clone() };
    let chosen = virga_decide::data_stores::judge(&host, &hosts::stores(tx).await?, &alone, &[disk.id]);
    chosen.map(|c| c.store).map_err(|reasons| op.veil(no_room(vm, &host, reasons)))
}

/// Grows a disk, or changes its bus, cache mode, mode, limits or discard mode.
///
/// # Errors
/// As [`edit::update`].
pub async fn disk_update(op: &Op, vm: &str, disk: DiskId, b: &DiskUpdate, dry_run: bool) -> Result<Accepted, Error> {
    let (tx, before) = begin(op, vm, dry_run).await?;
    let mut after = before.clone();
    let d = after.spec.disks.iter_mut().find(|d| d.id == disk).ok_or_else(|| Error::not_found("disk", disk))?;
    if b.size_bytes.is_some_and(|s| s < d.size_bytes) {
        return Err(Error::invalid("size_bytes", format!("must be at least {}: a disk cannot shrink", d.size_bytes)));
    }
    if d.sharing == Sharing::Shared && b.size_bytes.is_some_and(|s| s > d.size_bytes) {
        return Err(Error::invalid("size_bytes", "a shared disk does not grow: the other VMs would not learn of it"));
    }
    resolve::limits(b.limits.as_ref(), "limits")?;
    d.size_bytes = b.size_bytes.unwrap_or(d.size_bytes);
    d.bus = b.bus.unwrap_or(d.bus);
    d.cache = b.cache.unwrap_or(d.cache);
    d.mode = b.mode.unwrap_or(d.mode);
    d.limits = b.limits.unwrap_or(d.limits);
    d.discard = b.discard.unwrap_or(d.discard);
    end(op, tx, before, after, dry_run).await
}

/// Detaches a disk, and removes its data unless it is to be kept: overwritten before when `erase` says so. A disk that is
/// detached already loses its data. A shared disk that other VMs are bound to is only detached.
///
/// # Errors
/// As [`edit::update`]; Conflict when the data of such a disk cannot be kept. Conflict when snapshots need what is to be overwritten.
pub async fn disk_detach(op: &Op, vm: &str, disk: DiskId, keep: bool, erase: Erase, dry_run: bool) -> Result<Accepted, Error> {
    let (mut tx, before) = begin(op, vm, dry_run).await?;
    let mut after = before.clone();
    if keep {
        if erase == Erase::Secure {
            return Err(Error::invalid("erase", "cannot be secure beside keep: what is kept is not overwritten"));
        }
        keep_data(&mut after, disk)?;
        return end(op, tx, before, after, dry_run).await;
    }
    let gone = match (after.spec.disks.iter().position(|d| d.id == disk), after.spec.detached.iter().position(|d| d.id == disk)) {
        (Some(at), _) => after.spec.disks.remove(at),
        (None, Some(at)) => after.spec.detached.remove(at),
        (None, None) => return Err(Error::not_found("disk", disk)),
    };
    let secure = erase == Erase::Secure;
    if secure && gone.mode == DiskMode::Dependent && !before.spec.layers.list.is_empty() {
        return Err(Error::conflict("Snapshots need what this disk holds, so it cannot be overwritten.").with_hint("Delete the VM's snapshots first."));
    }
    if secure {
        super::export::none_there(&before)?;
    }
    // VM-29: there files are removed and not overwritten; that is said and no reason to refuse.
    let (erase, degraded) = match secure && !can_overwrite(&mut tx, &gone).await? {
        true => (Erase::Normal, true),
        false => (erase, false),
    };
    let shared = gone.sharing == Sharing::Shared;
    let others = if shared { share::others(&mut tx, before.id, disk).await? } else { Vec::new() };
    if !others.is_empty() && secure {
        return Err(Error::conflict(format!("{} other VMs are bound to this disk, so it cannot be overwritten.", others.len()))
            .with_hint("Detach it without erase; the last VM that lets go of it can overwrite it."));
    }
    after.spec.disk_work.leaving.retain(|l| l.disk != disk);
    if erase == Erase::Secure || (shared && others.is_empty()) {
        after.spec.disk_work.leaving.push(Leaving { disk, erase, shared, store: gone.store });
    }
    let mut change = edit::to(op, &mut tx, &mut Room::default(), before, after).await.map_err(of_one_device)?;
    if !others.is_empty() {
        change.plan = vec![step(format!("detach disk {disk}; its data stays, because {} other VMs are bound to it", others.len()))];
    }
    if degraded {
        change.plan.push(step(format!("its files are not overwritten: {ON_NAS}")));
    } else if secure {
        change.plan.push(step("overwrite its files before they are removed; the task tells what could not be wiped"));
        change.detail.push_str("; data overwritten");
    }
    if let Some((_, doc)) = &mut change.task {
        doc.erase = secure && !degraded;
        doc.report = degraded.then(|| format!("Disk {disk} was removed and not overwritten: {ON_NAS}."));
    }
    conclude(op, tx, change, dry_run).await
}

/// Takes a disk from the VM and keeps its data (DSK-20); one that is kept already stays so.
fn keep_data(vm: &mut Vm, disk: DiskId) -> Result<(), Error> {
    if vm.spec.detached.iter().any(|d| d.id == disk) {
        return Ok(());
    }
    let at = vm.spec.disks.iter().position(|d| d.id == disk).ok_or_else(|| Error::not_found("disk", disk))?;
    let detached = vm.spec.disks.remove(at);
    if detached.mode == DiskMode::Dependent {
        return Err(Error::conflict(format!("Disk {disk} is dependent: snapshots include it, so that it has no data of its own to keep."))
            .with_hint("Make it independent_persistent first; that needs a VM without snapshots."));
    }
    vm.spec.detached.push(detached);
    Ok(())
}

/// Why a secure removal is a normal one.
const ON_NAS: &str = "it lies on a network store, where only normal removal is possible (VM-29)";

/// Whether the data store of a disk lets its files be overwritten.
async fn can_overwrite(tx: &mut Tx, d: &DiskSpec) -> Result<bool, Error> {
    let Some(id) = d.store else { return Ok(true) };
    Ok(virga_store::data_store::get(tx, id).await?.is_none_or(|s| s.spec.kind().capabilities().secure_delete))
}

/// Lets all disks of a VM go with it, those that only snapshots have, too. A shared disk goes with its last VM.
///
/// # Errors
/// What the store says; Conflict when a shared disk of others would have to be overwritten.
pub(crate) async fn leave_with(tx: &mut Tx, vm: &mut Vm, erase: Erase) -> Result<(), Error> {
    let mut leaving = Vec::new();
    let mut add = |d: &DiskSpec, shared: bool| {
        if !leaving.iter().any(|l: &Leaving| l.disk == d.id) && (shared || erase == Erase::Secure) {
            leaving.push(Leaving { disk: d.id, erase, shared, store: d.store });
        }
    };
    for d in &vm.spec.disks {
        let shared = d.sharing == Sharing::Shared;
        // What others are bound to stays.
        if !shared || share::others(tx, vm.id, d.id).await?.is_empty() {
            add(d, shared);
        }
    }
    if erase == Erase::Secure {
        for s in virga_store::snapshot::of_vm(tx, vm.id).await? {
            s.spec.disks.iter().filter(|d| d.sharing == Sharing::Ordinary).for_each(|d| add(d, false));
        }
    }
    for l in leaving.iter_mut().filter(|l| l.erase == Erase::Secure) {
        let store = match l.store {
            Some(id) => virga_store::data_store::get(tx, id).await?,
            None => None,
        };
        // VM-29; the host's word is not needed for it.
        if store.is_some_and(|s| !s.spec.kind().capabilities().secure_delete) {
            l.erase = Erase::Normal;
        }
    }
    vm.spec.disk_work.leaving = leaving;
    Ok(())
}

/// Brings space of a disk that its guest does not use back to the store (DSK-07, DSK-08).
///
/// # Errors
/// As [`edit::update`]. Conflict when the disk keeps its space, or the running guest cannot give any back.
pub async fn disk_reclaim(op: &Op, vm: &str, disk: DiskId, dry_run: bool) -> Result<Accepted, Error> {
    let (mut tx, before) = begin(op, vm, dry_run).await?;
    let d = before.spec.disks.iter().find(|d| d.id == disk).ok_or_else(|| Error::not_found("disk", disk))?;
    if !d.features().reclaim {
        return Err(Error::conflict(format!("A {} disk keeps the space of its whole size; there is nothing to reclaim.", d.provisioning))
            .with_hint("Move the data to a thin disk to get its space back."));
    }
    let how = match before.observed.state {
        VmState::Stopped => "write its files anew without the blocks that hold only zeros",
        VmState::Running if d.discard != Discard::Unmap => {
            return Err(Error::conflict("The disk does not take back what the guest gives back, so nothing can be reclaimed while the VM runs.")
                .with_hint("Stop the VM and try again; or set discard=unmap, restart the VM, and try again."));
        }
        VmState::Running if before.observed.guest.agent != AgentState::Connected => {
            return Err(Error::conflict(format!("The guest agent of VM {} does not answer; it has to tell which blocks are free.", before.name))
                .with_hint("Install and start qemu-guest-agent in the guest, or stop the VM and try again."));
        }
        VmState::Running => "let the guest agent give back what the guest's file systems do not use",
        state => {
            return Err(
                Error::conflict(format!("VM {} is {state}; space is reclaimed while it runs or is stopped.", before.name)).with_hint("Start it, or stop it.")
            );
        }
    };
    let mut after = before.clone();
    let generation = before.generation + 1;
    after.spec.disk_work.reclaim = Some(Reclaim { disk, generation });
    let mut change = edit::to(op, &mut tx, &mut Room::default(), before, after).await.map_err(of_one_device)?;
    change.plan = vec![step(format!("disk {disk}: {how}"))];
    change.detail = format!("reclaim the space of disk {disk}");
    if let Some((_, doc)) = &mut change.task {
        doc.reclaim = Some(generation);
    }
    conclude(op, tx, change, dry_run).await
}

/// Attaches a disk again that was detached and has kept its data.
///
/// # Errors
/// As [`edit::update`].
pub async fn disk_reattach(op: &Op, vm: &str, disk: DiskId, dry_run: bool) -> Result<Accepted, Error> {
    let (tx, before) = begin(op, vm, dry_run).await?;
    let mut after = before.clone();
    let at = after.spec.detached.iter().position(|d| d.id == disk).ok_or_else(|| Error::not_found("detached disk", disk))?;
    let again = after.spec.detached.remove(at);
    after.spec.disks.push(again);
    end(op, tx, before, after, dry_run).await
}

/// Puts an ISO into an optical drive, or ejects it.
///
/// # Errors
/// As [`edit::update`].
pub async fn media_change(op: &Op, vm: &str, drive: DiskId, b: &MediaUpdate, dry_run: bool) -> Result<Accepted, Error> {
    let (mut tx, before) = begin(op, vm, dry_run).await?;
    let mut after = before.clone();
    let image = match b.image.as_deref().filter(|n| !n.is_empty()) {
        Some(name) => Some(resolve::iso(op, &mut tx, name, "image").await?.id),
        None => None,
    };
    let c = after.spec.cdroms.iter_mut().find(|c| c.id == drive).ok_or_else(|| Error::not_found("optical drive", drive))?;
    c.image = image;
    end(op, tx, before, after, dry_run).await
}

/// Makes and attaches a network interface.
///
/// # Errors
/// As [`edit::update`].
pub async fn nic_attach(op: &Op, vm: &str, b: &NicCreate, dry_run: bool) -> Result<Accepted, Error> {
    let (mut tx, before) = begin(op, vm, dry_run).await?;
    let mut after = before.clone();
    after.spec.nics.push(resolve::nic(op, &mut tx, b, "").await?);
    end(op, tx, before, after, dry_run).await
}

/// Moves a network interface to another network, plugs its cable in or out, or changes its model.
///
/// # Errors
/// As [`edit::update`].
pub async fn nic_update(op: &Op, vm: &str, nic: NicId, b: &NicUpdate, dry_run: bool) -> Result<Accepted, Error> {
    let (mut tx, before) = begin(op, vm, dry_run).await?;
    let mut after = before.clone();
    let network = match b.network.as_deref() {
        Some(name) => Some(resolve::network(op, &mut tx, name, "network").await?.id),
        None => None,
    };
    let n = after.spec.nics.iter_mut().find(|n| n.id == nic).ok_or_else(|| Error::not_found("NIC", nic))?;
    n.network = network.unwrap_or(n.network);
    n.model = b.model.unwrap_or(n.model);
    n.link_up = b.link_up.unwrap_or(n.link_up);
    end(op, tx, before, after, dry_run).await
}

/// Removes a network interface.
///
/// # Errors
/// As [`edit::update`].
pub async fn nic_detach(op: &Op, vm: &str, nic: NicId, dry_run: bool) -> Result<Accepted, Error> {
    let (tx, before) = begin(op, vm, dry_run).await?;
    let mut after = before.clone();
    after.spec.nics.retain(|n| n.id != nic);
    if after.spec.nics.len() == before.spec.nics.len() {
        return Err(Error::not_found("NIC", nic));
    }
    end(op, tx, before, after, dry_run).await
}
