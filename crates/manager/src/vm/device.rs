//! Disks, NICs and optical drives of a VM: each change is an edit of its specification.

use super::resolve::{self, StoreWish};
use super::{Room, conclude, edit, load_for_change, no_room, transaction};
use crate::http::Op;
use crate::view as hosts;
use virga_api::v1::{Accepted, DiskCreate, DiskUpdate, MediaUpdate, NicCreate, NicUpdate};
use virga_model::role::Privilege;
use virga_model::vm::{
    DiskSpec, {DiskMode, Vm, VmSpec},
};
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
    let mut disk = resolve::disk(op, &mut tx, b, "").await?;
    disk.store = attach_where(op, &mut tx, &before, &disk, b.data_store.as_deref()).await?;
    after.spec.layers.begin(disk.id);
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

/// Grows a disk, or changes its bus, cache mode, mode or limits.
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
    resolve::limits(b.limits.as_ref(), "limits")?;
    d.size_bytes = b.size_bytes.unwrap_or(d.size_bytes);
    d.bus = b.bus.unwrap_or(d.bus);
    d.cache = b.cache.unwrap_or(d.cache);
    d.mode = b.mode.unwrap_or(d.mode);
    d.limits = b.limits.unwrap_or(d.limits);
    end(op, tx, before, after, dry_run).await
}

/// Detaches a disk, and removes its data unless it is to be kept. A disk that is detached already loses its data.
///
/// # Errors
/// As [`edit::update`]; Conflict when the data of such a disk cannot be kept.
pub async fn disk_detach(op: &Op, vm: &str, disk: DiskId, keep: bool, dry_run: bool) -> Result<Accepted, Error> {
    let (tx, before) = begin(op, vm, dry_run).await?;
    let mut after = before.clone();
    let Some(at) = after.spec.disks.iter().position(|d| d.id == disk) else {
        let known = after.spec.detached.len();
        after.spec.detached.retain(|d| d.id != disk || keep);
        if after.spec.detached.len() == known && !after.spec.detached.iter().any(|d| d.id == disk) {
            return Err(Error::not_found("disk", disk));
        }
        return end(op, tx, before, after, dry_run).await;
    };
    let detached = after.spec.disks.remove(at);
    if keep {
        if detached.mode == DiskMode::Dependent {
            return Err(Error::conflict(format!("Disk {disk} is dependent: snapshots include it, so that it has no data of its own to keep."))
                .with_hint("Make it independent_persistent first; that needs a VM without snapshots."));
        }
        after.spec.detached.push(detached);
    }
    end(op, tx, before, after, dry_run).await
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
