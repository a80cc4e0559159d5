//! Snapshots of VMs.

use crate::filter_sql::{Field, Fields, Kind};
use crate::list::{self, Page, Paged, Table};
use crate::sql::{Row, args, json, word};
use crate::{StoreError, Tx};
use std::collections::BTreeSet;
use uuid::Uuid;
use virga_model::snapshot::Snapshot;
use virga_model::{SnapshotId, VmId};

const TABLE: Table = Table {
    columns: "snapshot.*",
    from: "snapshot",
    id: "snapshot.id",
    id_kind: Kind::Id,
    fields: Fields {
        list: &[
            Field::new("name", Kind::Text, &["snapshot.name"]),
            Field::new("id", Kind::Id, &["snapshot.id"]),
            Field::new("kind", Kind::Word(&["ordinary", "consistent"]), &["snapshot.kind"]),
            Field::new("state", Kind::Word(&["creating", "ready", "deleting"]), &["snapshot.state"]),
            Field::new("created_at", Kind::Time, &["snapshot.created_at"]),
        ],
        labels: false,
    },
    sort: "created_at",
    descending: false,
};

fn read(r: &Row) -> Result<Snapshot, StoreError> {
    Ok(Snapshot {
        id: r.id("id")?,
        vm: r.id("vm_id")?,
        name: r.text("name")?,
        note: r.text("note")?,
        kind: r.word("kind")?,
        state: r.word("state")?,
        parent: r.opt_id("parent_id")?,
        layer: r.opt_id("layer_id")?,
        spec: r.json("spec")?,
        generation: r.int("generation")?,
        created_at: r.time("created_at")?,
    })
}

/// Adds a snapshot, and notes the images and data stores that it needs.
///
/// # Errors
/// [`StoreError::Taken`] on `name`, or what the database says.
pub async fn insert(tx: &mut Tx, s: &Snapshot) -> Result<(), StoreError> {
    let sql = "INSERT INTO snapshot (id, vm_id, name, note, kind, state, parent_id, layer_id, spec, generation, created_at) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
    let a = args![s.id, s.vm, &s.name, &s.note, word(&s.kind)?, word(&s.state)?, s.parent, s.layer, json(&s.spec)?, s.generation, s.created_at];
    tx.exec(sql, a).await?;
    let images: BTreeSet<Uuid> = s.spec.disks.iter().filter_map(|d| d.image).map(|i| i.0).collect();
    for image in images {
        tx.exec("INSERT INTO snapshot_image (snapshot_id, image_id) VALUES ($1, $2)", args![s.id, image]).await?;
    }
    let stores: BTreeSet<Uuid> = s.spec.disks.iter().filter_map(|d| d.store).map(|i| i.0).collect();
    for store in stores {
        tx.exec("INSERT INTO snapshot_data_store (snapshot_id, data_store_id) VALUES ($1, $2)", args![s.id, store]).await?;
    }
    Ok(())
}

/// The snapshot with this id.
///
/// # Errors
/// What the database says.
pub async fn get(tx: &mut Tx, id: SnapshotId) -> Result<Option<Snapshot>, StoreError> {
    tx.opt("SELECT * FROM snapshot WHERE id = $1", args![id]).await?.as_ref().map(read).transpose()
}

/// The snapshot of a VM with this name or id.
///
/// # Errors
/// What the database says.
pub async fn by_ref(tx: &mut Tx, vm: VmId, name_or_id: &str) -> Result<Option<Snapshot>, StoreError> {
    let row = match name_or_id.parse::<SnapshotId>() {
        Ok(id) => tx.opt("SELECT * FROM snapshot WHERE vm_id = $1 AND id = $2", args![vm, id]).await?,
        Err(_) => tx.opt("SELECT * FROM snapshot WHERE vm_id = $1 AND name = $2", args![vm, name_or_id]).await?,
    };
    row.as_ref().map(read).transpose()
}

/// All snapshots of a VM, oldest first.
///
/// # Errors
/// What the database says.
pub async fn of_vm(tx: &mut Tx, vm: VmId) -> Result<Vec<Snapshot>, StoreError> {
    tx.all("SELECT * FROM snapshot WHERE vm_id = $1 ORDER BY created_at, id", args![vm]).await?.iter().map(read).collect()
}

/// Writes name, note, state, parent and layer, with the generation that the snapshot carries.
///
/// # Errors
/// [`StoreError::Stale`] when the row's generation is not `expected`, [`StoreError::Taken`] on `name`.
pub async fn update(tx: &mut Tx, s: &Snapshot, expected: i64) -> Result<(), StoreError> {
    let sql = "UPDATE snapshot SET name = $1, note = $2, state = $3, parent_id = $4, layer_id = $5, generation = $6 WHERE id = $7 AND generation = $8";
    let a = args![&s.name, &s.note, word(&s.state)?, s.parent, s.layer, s.generation, s.id, expected];
    if tx.exec(sql, a).await? == 0 { Err(StoreError::Stale) } else { Ok(()) }
}

/// Removes a snapshot; those after it come after the one before it. False when there is none.
///
/// # Errors
/// What the database says.
pub async fn delete(tx: &mut Tx, id: SnapshotId) -> Result<bool, StoreError> {
    let Some(gone) = get(tx, id).await? else { return Ok(false) };
    let sql = "UPDATE snapshot SET parent_id = $1, generation = generation + 1 WHERE parent_id = $2";
    tx.exec(sql, args![gone.parent, id]).await?;
    Ok(tx.exec("DELETE FROM snapshot WHERE id = $1", args![id]).await? > 0)
}

/// A page of a VM's snapshots. Fields: `name`, `id`, `kind`, `state`, `created_at`.
///
/// # Errors
/// [`StoreError::Malformed`] for a wrong page, or what the database says.
pub async fn list(tx: &mut Tx, page: &Page, vm: VmId) -> Result<Paged<Snapshot>, StoreError> {
    list::list(tx, &TABLE, page, |b| format!("snapshot.vm_id = {}", b.bind(vm)), read).await
}
