//! Data stores, and what lies on them.
//!
//! The local store of a host has the host's id, and its row comes and goes with the host's.

use crate::filter_sql::{Field, Fields, Kind};
use crate::list::{self, Page, Paged, Table};
use crate::sql::{Row, args, json, word};
use crate::{Mark, StoreError, Tx, visible};
use std::collections::{HashMap, HashSet};
use virga_model::data_store::{DataStore, DataStoreSpec, DataStoreState};
use virga_model::host::Host;
use virga_model::role::Visible;
use virga_model::{DataStoreId, HostId};

/// Words of the kinds, as filters take them.
const KINDS: &[&str] = &["local", "shared_nas", "shared_san"];

const TABLE: Table = Table {
    columns: "data_store.*",
    from: "data_store LEFT JOIN host ON host.id = data_store.host_id",
    id: "data_store.id",
    id_kind: Kind::Id,
    fields: Fields {
        list: &[
            Field::new("name", Kind::Text, &["data_store.name"]),
            Field::new("id", Kind::Id, &["data_store.id"]),
            Field::new("kind", Kind::Word(KINDS), &["data_store.kind"]),
            Field::new("host", Kind::Text, &["COALESCE(host.name, '')", "COALESCE(data_store.host_id, '')"]),
            Field::new("maintenance", Kind::Bool, &["data_store.maintenance"]),
            Field::new("state", Kind::Word(&["creating", "ready", "deleting", "dropping", "dropped"]), &["data_store.state"]),
            Field::new("created_at", Kind::Time, &["data_store.created_at"]),
        ],
        labels: false,
    },
    sort: "name",
    descending: false,
};

fn read(r: &Row) -> Result<DataStore, StoreError> {
    Ok(DataStore {
        id: r.id("id")?,
        name: r.text("name")?,
        description: r.text("description")?,
        spec: r.json("spec")?,
        host: r.opt_id("host_id")?,
        maintenance: r.flag("maintenance")?,
        state: r.word("state")?,
        generation: r.int("generation")?,
        created_at: r.time("created_at")?,
    })
}

/// The id of a host's local store.
#[must_use]
pub fn local_id(host: HostId) -> DataStoreId {
    DataStoreId(host.0)
}

/// Name of a host's local store.
fn local_name(host: &str) -> String {
    format!("{}-{host}", virga_model::data_store::LOCAL)
}

/// Adds a data store.
///
/// # Errors
/// [`StoreError::Taken`] on `name`, or what the database says.
pub async fn insert(tx: &mut Tx, s: &DataStore) -> Result<(), StoreError> {
    tx.mark(Mark::DataStores);
    let sql = "INSERT INTO data_store (id, name, description, kind, spec, host_id, maintenance, state, nearly_full, overcommitted, generation, created_at) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, 0, $9, $10)";
    let a = args![s.id, &s.name, &s.description, word(&s.spec.kind())?, json(&s.spec)?, s.host, s.maintenance, word(&s.state)?, s.generation, s.created_at];
    tx.exec(sql, a).await?;
    Ok(())
}

/// Adds the local store of a host that was just added.
pub(crate) async fn insert_local(tx: &mut Tx, host: &Host) -> Result<(), StoreError> {
    let store = DataStore {
        id: local_id(host.id),
        name: local_name(&host.name),
        description: String::new(),
        spec: DataStoreSpec::Local,
        host: Some(host.id),
        maintenance: false,
        state: DataStoreState::Ready,
        generation: 1,
        created_at: host.created_at,
    };
    insert(tx, &store).await
}

/// The local store of a host is called after it.
pub(crate) async fn rename_local(tx: &mut Tx, host: &Host) -> Result<(), StoreError> {
    let sql = "UPDATE data_store SET name = $1, generation = generation + 1 WHERE id = $2 AND name <> $1";
    if tx.exec(sql, args![local_name(&host.name), local_id(host.id)]).await? > 0 {
        tx.mark(Mark::DataStores);
    }
    Ok(())
}

/// The data store with this id.
///
/// # Errors
/// What the database says.
pub async fn get(tx: &mut Tx, id: DataStoreId) -> Result<Option<DataStore>, StoreError> {
    tx.opt("SELECT * FROM data_store WHERE id = $1", args![id]).await?.as_ref().map(read).transpose()
}

/// The data store with this name or id.
///
/// # Errors
/// What the database says.
pub async fn by_ref(tx: &mut Tx, name_or_id: &str) -> Result<Option<DataStore>, StoreError> {
    if let Ok(id) = name_or_id.parse() {
        return get(tx, id).await;
    }
    tx.opt("SELECT * FROM data_store WHERE name = $1", args![name_or_id]).await?.as_ref().map(read).transpose()
}

/// Writes the data store, with the generation it carries.
///
/// # Errors
/// [`StoreError::Stale`] when the row's generation is not `expected`, [`StoreError::Taken`] on `name`.
pub async fn update(tx: &mut Tx, s: &DataStore, expected: i64) -> Result<(), StoreError> {
    tx.mark(Mark::DataStores);
    let sql = "UPDATE data_store SET name = $1, description = $2, kind = $3, spec = $4, maintenance = $5, state = $6, generation = $7 \
               WHERE id = $8 AND generation = $9";
    let a = args![&s.name, &s.description, word(&s.spec.kind())?, json(&s.spec)?, s.maintenance, word(&s.state)?, s.generation, s.id, expected];
    if tx.exec(sql, a).await? == 0 { Err(StoreError::Stale) } else { Ok(()) }
}

/// Removes a data store; false when there is none.
///
/// # Errors
/// [`StoreError::Reference`] while disks lie on it.
pub async fn delete(tx: &mut Tx, id: DataStoreId) -> Result<bool, StoreError> {
    tx.mark(Mark::DataStores);
    Ok(tx.exec("DELETE FROM data_store WHERE id = $1", args![id]).await? > 0)
}

/// A page of data stores; of local ones those of visible hosts. Fields: `name`, `id`, `kind`, `host`, `maintenance`, `state`, `created_at`.
///
/// # Errors
/// [`StoreError::Malformed`] for a wrong page, or what the database says.
pub async fn list(tx: &mut Tx, page: &Page, hosts: &Visible) -> Result<Paged<DataStore>, StoreError> {
    list::list(tx, &TABLE, page, |b| format!("(data_store.host_id IS NULL OR {})", visible::hosts(b, hosts)), read).await
}

/// All data stores, by id.
///
/// # Errors
/// What the database says.
pub async fn all(tx: &mut Tx) -> Result<Vec<DataStore>, StoreError> {
    tx.all("SELECT * FROM data_store ORDER BY id", args![]).await?.iter().map(read).collect()
}

/// Names of the VMs that have disks on the data store, those of their snapshots too.
///
/// # Errors
/// What the database says.
pub async fn used_by(tx: &mut Tx, id: DataStoreId) -> Result<Vec<String>, StoreError> {
    let sql = "SELECT vm.name AS name FROM vm WHERE EXISTS (SELECT 1 FROM vm_data_store WHERE vm_data_store.vm_id = vm.id AND vm_data_store.data_store_id = $1) \
               OR EXISTS (SELECT 1 FROM snapshot_data_store JOIN snapshot ON snapshot.id = snapshot_data_store.snapshot_id \
               WHERE snapshot.vm_id = vm.id AND snapshot_data_store.data_store_id = $1) ORDER BY vm.name";
    tx.all(sql, args![id]).await?.iter().map(|r| r.text("name")).collect()
}

/// Notes whether a data store is nearly full; answers whether that is news.
///
/// # Errors
/// What the database says.
pub async fn set_nearly_full(tx: &mut Tx, id: DataStoreId, full: bool) -> Result<bool, StoreError> {
    Ok(tx.exec("UPDATE data_store SET nearly_full = $1 WHERE id = $2 AND nearly_full <> $1", args![full, id]).await? > 0)
}

/// The data stores of which is noted that more is promised than they have.
///
/// # Errors
/// What the database says.
pub async fn overcommitted(tx: &mut Tx) -> Result<HashSet<DataStoreId>, StoreError> {
    tx.all("SELECT id FROM data_store WHERE overcommitted = 1", args![]).await?.iter().map(|r| r.id("id")).collect()
}

/// Notes whether more is promised on a data store than it has; answers whether that is news.
///
/// # Errors
/// What the database says.
pub async fn set_overcommitted(tx: &mut Tx, id: DataStoreId, over: bool) -> Result<bool, StoreError> {
    Ok(tx.exec("UPDATE data_store SET overcommitted = $1 WHERE id = $2 AND overcommitted <> $1", args![over, id]).await? > 0)
}

/// What VMs were promised on a data store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Promised {
    /// VMs with disks there.
    pub vms: i64,
    /// Bytes that their disks may come to need, with all of their layers (W-45).
    pub bytes: u64,
}

/// What VMs were promised on each data store; those without disks are left out.
///
/// # Errors
/// What the database says.
pub async fn promised(tx: &mut Tx) -> Result<HashMap<DataStoreId, Promised>, StoreError> {
    let sql = "SELECT data_store_id, COUNT(*) AS vms, CAST(COALESCE(SUM(bytes), 0) AS BIGINT) AS bytes FROM vm_data_store GROUP BY data_store_id";
    let rows = tx.all(sql, args![]).await?;
    rows.iter().map(|r| Ok((r.id("data_store_id")?, Promised { vms: r.int("vms")?, bytes: r.number("bytes")? }))).collect()
}
