//! Hosts.

use crate::filter_sql::{Field, Fields, Kind};
use crate::list::{self, Page, Paged, Table};
use crate::sql::{Row, args, json};
use crate::{Mark, StoreError, Tx, visible};
use std::collections::HashMap;
use virga_model::host::{Host, HostFacts};
use virga_model::role::Visible;
use virga_model::{HostId, Time};

const TABLE: Table = Table {
    columns: "host.*",
    from: "host",
    id: "host.id",
    id_kind: Kind::Id,
    fields: Fields {
        list: &[
            Field::new("name", Kind::Text, &["host.name"]),
            Field::new("id", Kind::Id, &["host.id"]),
            Field::new("address", Kind::Text, &["host.address"]),
            Field::new("maintenance", Kind::Bool, &["host.maintenance"]),
            Field::new("created_at", Kind::Time, &["host.created_at"]),
            Field::new("last_report_at", Kind::Time, &["COALESCE(host.last_report_at, 0)"]),
        ],
        labels: false,
    },
    sort: "name",
    descending: false,
};

fn read(r: &Row) -> Result<Host, StoreError> {
    Ok(Host {
        id: r.id("id")?,
        name: r.text("name")?,
        address: r.text("address")?,
        maintenance: r.flag("maintenance")?,
        certificate_sha256: r.text("certificate_sha256")?,
        generation: r.int("generation")?,
        epoch: r.int("epoch")?,
        facts: r.json("facts")?,
        last_report_at: r.opt_time("last_report_at")?,
        created_at: r.time("created_at")?,
    })
}

/// Adds a host, with its local data store.
///
/// # Errors
/// [`StoreError::Taken`] on `name`, or what the database says.
pub async fn insert(tx: &mut Tx, h: &Host) -> Result<(), StoreError> {
    tx.mark(Mark::Hosts);
    let sql = "INSERT INTO host (id, name, address, maintenance, certificate_sha256, generation, epoch, facts, last_report_at, created_at) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    let a = args![h.id, &h.name, &h.address, h.maintenance, &h.certificate_sha256, h.generation, h.epoch, json(&h.facts)?, h.last_report_at, h.created_at];
    tx.exec(sql, a).await?;
    crate::data_store::insert_local(tx, h).await
}

/// The host with this id.
///
/// # Errors
/// What the database says.
pub async fn get(tx: &mut Tx, id: HostId) -> Result<Option<Host>, StoreError> {
    tx.opt("SELECT * FROM host WHERE id = $1", args![id]).await?.as_ref().map(read).transpose()
}

/// The host with this name or id.
///
/// # Errors
/// What the database says.
pub async fn by_ref(tx: &mut Tx, name_or_id: &str) -> Result<Option<Host>, StoreError> {
    if let Ok(id) = name_or_id.parse() {
        return get(tx, id).await;
    }
    tx.opt("SELECT * FROM host WHERE name = $1", args![name_or_id]).await?.as_ref().map(read).transpose()
}

/// Writes what people change (name, address, maintenance, certificate, epoch) with the generation it carries. What the
/// host tells (`facts`, `last_report_at`) is left alone: see [`set_facts`] and [`set_last_report`].
///
/// # Errors
/// [`StoreError::Stale`] when the row's generation is not `expected`, [`StoreError::Taken`] on `name`.
pub async fn update(tx: &mut Tx, h: &Host, expected: i64) -> Result<(), StoreError> {
    tx.mark(Mark::Hosts);
    let sql = "UPDATE host SET name = $1, address = $2, maintenance = $3, certificate_sha256 = $4, epoch = $5, generation = $6 \
               WHERE id = $7 AND generation = $8";
    let a = args![&h.name, &h.address, h.maintenance, &h.certificate_sha256, h.epoch, h.generation, h.id, expected];
    if tx.exec(sql, a).await? == 0 { Err(StoreError::Stale) } else { crate::data_store::rename_local(tx, h).await }
}

/// Writes what the host's agent found; the generation stays.
///
/// # Errors
/// What the database says.
pub async fn set_facts(tx: &mut Tx, id: HostId, facts: &HostFacts) -> Result<(), StoreError> {
    tx.mark(Mark::Hosts);
    tx.exec("UPDATE host SET facts = $1 WHERE id = $2", args![json(facts)?, id]).await?;
    Ok(())
}

/// Notes that the host reported; never goes backwards.
///
/// # Errors
/// What the database says.
pub async fn set_last_report(tx: &mut Tx, id: HostId, at: Time) -> Result<(), StoreError> {
    let sql = "UPDATE host SET last_report_at = $1 WHERE id = $2 AND (last_report_at IS NULL OR last_report_at < $1)";
    tx.exec(sql, args![at, id]).await?;
    Ok(())
}

/// What a host is known by, and when it was last heard of: all that most reports need of its row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// As [`Host::certificate_sha256`].
    pub certificate_sha256: String,
    /// As [`Host::last_report_at`].
    pub last_report_at: Option<Time>,
}

/// What the host with this id is known by.
///
/// # Errors
/// What the database says.
pub async fn known(tx: &mut Tx, id: HostId) -> Result<Option<Known>, StoreError> {
    let row = tx.opt("SELECT certificate_sha256, last_report_at FROM host WHERE id = $1", args![id]).await?;
    row.map(|r| Ok(Known { certificate_sha256: r.text("certificate_sha256")?, last_report_at: r.opt_time("last_report_at")? })).transpose()
}

/// What the VMs of a host take together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// VMs that belong to the host.
    pub vms: i64,
    /// Bytes of memory that they take at present.
    pub memory_bytes: u64,
}

fn read_load(r: &Row) -> Result<Load, StoreError> {
    Ok(Load { vms: r.int("vms")?, memory_bytes: r.number("share_bytes")? })
}

/// What the VMs of a host take together.
///
/// # Errors
/// What the database says.
pub async fn load(tx: &mut Tx, id: HostId) -> Result<Load, StoreError> {
    let row = tx.opt("SELECT vms, share_bytes FROM host_load WHERE host_id = $1", args![id]).await?;
    row.as_ref().map_or(Ok(Load::default()), read_load)
}

/// What the VMs of each host take; hosts that never had any are left out.
///
/// # Errors
/// What the database says.
pub async fn loads(tx: &mut Tx) -> Result<HashMap<HostId, Load>, StoreError> {
    let rows = tx.all("SELECT host_id, vms, share_bytes FROM host_load", args![]).await?;
    rows.iter().map(|r| Ok((r.id("host_id")?, read_load(r)?))).collect()
}

/// Removes a host and its local data store; false when there is none.
///
/// # Errors
/// [`StoreError::Reference`] while VMs belong to it.
pub async fn delete(tx: &mut Tx, id: HostId) -> Result<bool, StoreError> {
    tx.mark(Mark::Hosts);
    tx.mark(Mark::DataStores);
    Ok(tx.exec("DELETE FROM host WHERE id = $1", args![id]).await? > 0)
}

/// A page of hosts. Fields: `name`, `id`, `address`, `maintenance`, `created_at`, `last_report_at` (1970 when it never
/// reported).
///
/// # Errors
/// [`StoreError::Malformed`] for a wrong page, or what the database says.
pub async fn list(tx: &mut Tx, page: &Page, visible: &Visible) -> Result<Paged<Host>, StoreError> {
    list::list(tx, &TABLE, page, |b| visible::hosts(b, visible), read).await
}

/// All hosts, by id.
///
/// # Errors
/// What the database says.
pub async fn all(tx: &mut Tx) -> Result<Vec<Host>, StoreError> {
    tx.all("SELECT * FROM host ORDER BY id", args![]).await?.iter().map(read).collect()
}
