//! Who stands on whom: the disks of linked clones, and copies under way. Rows are added with the VM that has such a disk
//! ([`crate::vm`]), and taken away by [`tidy`] when an edit is done: too many protect a parent for a while too long, too few
//! would lose a clone's data.

use crate::sql::{Row, args};
use crate::{StoreError, Tx};
use std::collections::BTreeSet;
use virga_model::clone::{DiskOrigin, parents};
use virga_model::vm::Vm;
use virga_model::{LayerId, VmId};

/// A disk that stands on one of a parent's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The clone.
    pub vm: VmId,
    /// Its name.
    pub name: String,
    /// The file that it stands on.
    pub on: DiskOrigin,
}

fn layer(r: &Row) -> Result<Option<LayerId>, StoreError> {
    let text = r.text("layer_id")?;
    if text.is_empty() { Ok(None) } else { r.id("layer_id").map(Some) }
}

fn read(r: &Row) -> Result<Standing, StoreError> {
    Ok(Standing { vm: r.id("vm_id")?, name: r.text("name")?, on: DiskOrigin { vm: r.id("parent_id")?, disk: r.id("disk_id")?, layer: layer(r)? } })
}

fn layer_text(layer: Option<LayerId>) -> String {
    layer.map(|l| l.to_string()).unwrap_or_default()
}

/// Notes what the VM's disks stand on; what was noted stays.
///
/// # Errors
/// [`StoreError::Reference`] when a parent is not there.
pub(crate) async fn add(tx: &mut Tx, vm: &Vm) -> Result<(), StoreError> {
    let wanted: BTreeSet<DiskOrigin> = std::iter::once(&vm.spec).chain(&vm.former_spec).flat_map(|s| parents(vm.id, s)).collect();
    for o in wanted {
        let sql = "INSERT INTO vm_parent (vm_id, parent_id, disk_id, layer_id) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
        tx.exec(sql, args![vm.id, o.vm, o.disk.0, layer_text(o.layer)]).await?;
    }
    Ok(())
}

/// Takes away what neither the VM nor its snapshots need any more.
///
/// # Errors
/// What the database says.
pub async fn tidy(tx: &mut Tx, vm: &Vm) -> Result<(), StoreError> {
    let noted = of(tx, vm.id).await?;
    if noted.is_empty() {
        return Ok(());
    }
    let snapshots = crate::snapshot::of_vm(tx, vm.id).await?;
    let specs = std::iter::once(&vm.spec).chain(&vm.former_spec).chain(snapshots.iter().map(|s| &s.spec));
    let wanted: BTreeSet<DiskOrigin> = specs.flat_map(|s| parents(vm.id, s)).collect();
    for o in noted.into_iter().filter(|o| !wanted.contains(o)) {
        let sql = "DELETE FROM vm_parent WHERE vm_id = $1 AND parent_id = $2 AND disk_id = $3 AND layer_id = $4";
        tx.exec(sql, args![vm.id, o.vm, o.disk.0, layer_text(o.layer)]).await?;
    }
    Ok(())
}

async fn of(tx: &mut Tx, vm: VmId) -> Result<Vec<DiskOrigin>, StoreError> {
    let rows = tx.all("SELECT parent_id, disk_id, layer_id FROM vm_parent WHERE vm_id = $1", args![vm]).await?;
    rows.iter().map(|r| Ok(DiskOrigin { vm: r.id("parent_id")?, disk: r.id("disk_id")?, layer: layer(r)? })).collect()
}

/// What stands on a VM's files, by the names of the clones.
///
/// # Errors
/// What the database says.
pub async fn standing_on(tx: &mut Tx, parent: VmId) -> Result<Vec<Standing>, StoreError> {
    let sql = "SELECT vm_parent.*, vm.name AS name FROM vm_parent JOIN vm ON vm.id = vm_parent.vm_id WHERE vm_parent.parent_id = $1 \
               ORDER BY vm.name, vm_parent.disk_id, vm_parent.layer_id";
    tx.all(sql, args![parent]).await?.iter().map(read).collect()
}

/// How many VMs stand on a VM's files.
///
/// # Errors
/// What the database says.
pub async fn count(tx: &mut Tx, parent: VmId) -> Result<i64, StoreError> {
    let found = tx.opt("SELECT COUNT(DISTINCT vm_id) AS n FROM vm_parent WHERE parent_id = $1", args![parent]).await?;
    found.map_or(Ok(0), |r| r.int("n"))
}

/// Notes that layers of a VM were frozen for clones.
///
/// # Errors
/// What the database says.
pub async fn note_frozen(tx: &mut Tx, vm: VmId) -> Result<(), StoreError> {
    tx.exec("INSERT INTO vm_frozen (vm_id) VALUES ($1) ON CONFLICT DO NOTHING", args![vm]).await?;
    Ok(())
}

/// VMs with layers that were frozen for clones.
///
/// # Errors
/// What the database says.
pub async fn frozen(tx: &mut Tx, limit: u32) -> Result<Vec<VmId>, StoreError> {
    tx.all("SELECT vm_id FROM vm_frozen ORDER BY vm_id LIMIT $1 + 0", args![limit]).await?.iter().map(|r| r.id("vm_id")).collect()
}

/// Forgets that layers of a VM were frozen for clones: none is left.
///
/// # Errors
/// What the database says.
pub async fn forget_frozen(tx: &mut Tx, vm: VmId) -> Result<(), StoreError> {
    tx.exec("DELETE FROM vm_frozen WHERE vm_id = $1", args![vm]).await?;
    Ok(())
}
