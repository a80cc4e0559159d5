//! Virtual machines.
//!
//! A VM is one row: its documents as JSON, and beside them the columns that lists, filters and placement need. Labels,
//! used images, used networks and MAC addresses are rows of side tables, written together with the VM and never alone.
//! What a host observed comes by [`observe`], which only goes forward.

use crate::filter_sql::{Binds, Field, Fields, Kind};
use crate::list::{self, Page, Paged, Table};
use crate::sql::{Arg, Row, args, json, word};
use crate::{StoreError, Tx, visible};
use sqlx::AssertSqlSafe;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use uuid::Uuid;
use virga_model::filter::Filter;
use virga_model::role::Visible;
use virga_model::vm::{Desired, Observed, Vm, VmSpec, VmState};
use virga_model::{DiskId, HostId, VmId};

const STATES: &[&str] = &["unknown", "absent", "stopped", "running", "paused", "hibernated", "crashed"];
const DESIRED: &[&str] = &["running", "paused", "hibernated", "stopped", "absent"];
const BY_IMAGE: &str = "EXISTS (SELECT 1 FROM vm_image JOIN image ON image.id = vm_image.image_id WHERE vm_image.vm_id = vm.id AND (";
const BY_DATA_STORE: &str =
    "EXISTS (SELECT 1 FROM vm_data_store JOIN data_store ON data_store.id = vm_data_store.data_store_id WHERE vm_data_store.vm_id = vm.id AND (";
const BY_NETWORK: &str = "EXISTS (SELECT 1 FROM vm_network JOIN network ON network.id = vm_network.network_id WHERE vm_network.vm_id = vm.id AND (";

const TABLE: Table = Table {
    columns: "vm.*",
    from: "vm LEFT JOIN host ON host.id = vm.host_id LEFT JOIN account ON account.id = vm.owner_id",
    id: "vm.id",
    id_kind: Kind::Id,
    fields: Fields {
        list: &[
            Field::new("name", Kind::Text, &["vm.name"]),
            Field::new("id", Kind::Id, &["vm.id"]),
            Field::new("state", Kind::Word(STATES), &["vm.observed_state"]),
            Field::new("desired", Kind::Word(DESIRED), &["vm.desired"]),
            Field::new("host", Kind::Text, &["COALESCE(host.name, '')", "COALESCE(vm.host_id, '')"]),
            Field::new("owner", Kind::Text, &["COALESCE(account.name, '')", "vm.owner_id"]),
            Field::new("cpus", Kind::Integer, &["vm.cpus"]),
            Field::new("memory", Kind::Bytes, &["vm.memory_bytes"]),
            Field::of_others("image", &["image.name", "image.id"], BY_IMAGE),
            Field::of_others("data_store", &["data_store.name", "data_store.id"], BY_DATA_STORE),
            Field::of_others("network", &["network.name", "network.id"], BY_NETWORK),
            Field::new("ip", Kind::Set, &["vm.ips"]),
            Field::new("settled", Kind::Bool, &["vm.settled"]),
            Field::new("drift", Kind::Bool, &["vm.drift"]),
            Field::new("created_at", Kind::Time, &["vm.created_at"]),
            Field::new("updated_at", Kind::Time, &["vm.updated_at"]),
        ],
        labels: true,
    },
    sort: "name",
    descending: false,
};

/// As [`TABLE`], without the content of the rows.
const STATES_TABLE: Table = Table { columns: "vm.id, vm.version", ..TABLE };

/// A VM's row as it is between two changes: with each change it gets another version, so what was read of this one is true
/// of it for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RowState {
    /// The VM.
    pub id: VmId,
    /// Grows with each change of the row.
    pub version: i64,
}

fn read_state(r: &Row) -> Result<RowState, StoreError> {
    Ok(RowState { id: r.id("id")?, version: r.int("version")? })
}

/// What placement needs to know of a VM that has a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedVm {
    /// The VM.
    pub id: VmId,
    /// Its name.
    pub name: String,
    /// Its host.
    pub host: HostId,
    /// What was asked for.
    pub desired: Desired,
    /// What the host found.
    pub observed_state: VmState,
    /// vCPUs; while an edit is under way the larger number.
    pub vcpus: u32,
    /// Memory of the host that it needs when it runs; while an edit is under way the larger amount.
    pub host_memory_bytes: u64,
    /// Bytes that its disks may come to need; while an edit is under way the larger amount.
    pub disk_bytes: u64,
}

fn read(r: &Row) -> Result<Vm, StoreError> {
    Ok(Vm {
        id: r.id("id")?,
        name: r.text("name")?,
        description: r.text("description")?,
        labels: r.json("labels")?,
        owner: r.id("owner_id")?,
        spec: r.json("spec")?,
        former_spec: r.opt_json("former_spec")?,
        desired: r.word("desired")?,
        stop_mode: r.json("stop_mode")?,
        generation: r.int("generation")?,
        host: r.opt_id("host_id")?,
        placement: r.opt_text("placement")?,
        observed: r.json("observed")?,
        created_at: r.time("created_at")?,
        updated_at: r.time("updated_at")?,
    })
}

/// The largest of what the present and the former specification need.
fn most(vm: &Vm, need: impl Fn(&VmSpec) -> u64) -> u64 {
    need(&vm.spec).max(vm.former_spec.as_ref().map_or(0, need))
}

/// Addresses between blanks, as [`Kind::Set`] wants them.
fn ips(o: &Observed) -> String {
    let bare = o.guest.ips.iter().map(|ip| ip.split('/').next().unwrap_or_default());
    bare.fold(String::from(" "), |all, ip| all + ip + " ")
}

/// The columns that insert and update have in common, in the order of their statements.
fn columns(vm: &Vm) -> Result<Vec<Arg>, StoreError> {
    Ok(args![
        &vm.name,
        &vm.description,
        json(&vm.labels)?,
        vm.owner,
        json(&vm.spec)?,
        vm.former_spec.as_ref().map(json).transpose()?,
        word(&vm.desired)?,
        json(&vm.stop_mode)?,
        vm.generation,
        vm.host,
        vm.placement.clone(),
        json(&vm.observed)?,
        vm.created_at,
        vm.updated_at,
        word(&vm.observed.state)?,
        vm.observed.generation,
        vm.observed.settled,
        !vm.observed.drift.is_empty(),
        ips(&vm.observed),
        vm.spec.cpu.count,
        vm.spec.memory.bytes,
        most(vm, |s| u64::from(s.cpu.count)),
        most(vm, VmSpec::host_memory_bytes),
        most(vm, VmSpec::disk_bytes),
        vm.host_memory_share(),
        vm.spec.template,
        vm.id,
    ])
}

/// Adds a VM.
///
/// # Errors
/// [`StoreError::Taken`] on `name` or `mac`; [`StoreError::Reference`] when its owner, host, an image or a network is
/// not there.
pub async fn insert(tx: &mut Tx, vm: &Vm) -> Result<(), StoreError> {
    let sql = "INSERT INTO vm (name, description, labels, owner_id, spec, former_spec, desired, stop_mode, generation, host_id, placement, observed, \
               created_at, updated_at, observed_state, observed_generation, settled, drift, ips, cpus, memory_bytes, need_vcpus, \
               need_memory_bytes, need_disk_bytes, share_bytes, template, id) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27)";
    tx.exec(sql, columns(vm)?).await?;
    write_side_tables(tx, vm).await?;
    weigh(tx, vm.host).await
}

/// Writes the whole VM, with the generation it carries and with its side tables.
///
/// `observed` is written too: give what [`get`] found in the same transaction, or what is meant to take its place.
///
/// # Errors
/// [`StoreError::Stale`] when the row's generation is not `expected`; else as [`insert`].
pub async fn update(tx: &mut Tx, vm: &Vm, expected: i64) -> Result<(), StoreError> {
    let sql = "UPDATE vm SET name = $1, description = $2, labels = $3, owner_id = $4, spec = $5, former_spec = $6, desired = $7, stop_mode = $8, \
               generation = $9, host_id = $10, placement = $11, observed = $12, created_at = $13, updated_at = $14, observed_state = $15, \
               observed_generation = $16, settled = $17, drift = $18, ips = $19, cpus = $20, memory_bytes = $21, need_vcpus = $22, \
               need_memory_bytes = $23, need_disk_bytes = $24, share_bytes = $25, template = $26, version = version + 1 WHERE id = $27 AND generation = $28";
    let Some(row) = tx.opt("SELECT host_id, labels, spec, former_spec, share_bytes FROM vm WHERE id = $1", args![vm.id]).await? else {
        return Err(StoreError::Stale);
    };
    let former_host: Option<HostId> = row.opt_id("host_id")?;
    let mut a = columns(vm)?;
    let same_sides = [(2, "labels"), (4, "spec"), (5, "former_spec")].into_iter().all(|(n, column)| is_text(a.get(n), row.opt_str(column)));
    a.push(Arg::from(expected));
    if tx.exec(sql, a).await? == 0 {
        return Err(StoreError::Stale);
    }
    // The sum of a host changes only with its VMs and what they take of it.
    if former_host != vm.host || row.int("share_bytes")? != i64::try_from(vm.host_memory_share()).unwrap_or(i64::MAX) {
        weigh(tx, vm.host).await?;
    }
    if former_host != vm.host {
        weigh(tx, former_host).await?;
    }
    if same_sides && former_host == vm.host {
        return Ok(());
    }
    for sql in [
        "DELETE FROM vm_label WHERE vm_id = $1",
        "DELETE FROM vm_image WHERE vm_id = $1",
        "DELETE FROM vm_network WHERE vm_id = $1",
        "DELETE FROM vm_data_store WHERE vm_id = $1",
        "DELETE FROM vm_mac WHERE vm_id = $1",
    ] {
        tx.exec(sql, args![vm.id]).await?;
    }
    write_side_tables(tx, vm).await
}

/// Whether a column holds exactly what is about to be written.
fn is_text(new: Option<&Arg>, old: Result<Option<&str>, StoreError>) -> bool {
    matches!((new, old), (Some(Arg::Text(new)), Ok(old)) if new.as_deref() == old)
}

/// Sums up anew what the VMs of a host take.
async fn weigh(tx: &mut Tx, host: Option<HostId>) -> Result<(), StoreError> {
    let Some(host) = host else { return Ok(()) };
    let sql = "INSERT INTO host_load (host_id, vms, share_bytes) \
               SELECT $1, COUNT(*), CAST(COALESCE(SUM(share_bytes), 0) AS BIGINT) FROM vm WHERE host_id = $1 \
               ON CONFLICT (host_id) DO UPDATE SET vms = excluded.vms, share_bytes = excluded.share_bytes";
    tx.exec(sql, args![host]).await?;
    Ok(())
}

/// The data stores that the VM's disks lie on, and the bytes that they may come to need there; while an edit is under way
/// the larger amount.
fn on_data_stores(vm: &Vm) -> BTreeMap<Uuid, u64> {
    let mut most: BTreeMap<Uuid, u64> = BTreeMap::new();
    for spec in std::iter::once(&vm.spec).chain(&vm.former_spec) {
        let mut sums: BTreeMap<Uuid, u64> = BTreeMap::new();
        for d in &spec.disks {
            let Some(store) = d.store.or(vm.host.map(crate::data_store::local_id)) else { continue };
            let sum = sums.entry(store.0).or_default();
            *sum = sum.saturating_add(spec.chain_bytes(d));
        }
        for (store, bytes) in sums {
            let m = most.entry(store).or_default();
            *m = bytes.max(*m);
        }
    }
    most
}

/// Until an edit is done, what the former specification uses is in use as well.
async fn write_side_tables(tx: &mut Tx, vm: &Vm) -> Result<(), StoreError> {
    let specs = || std::iter::once(&vm.spec).chain(&vm.former_spec);
    let images: BTreeSet<Uuid> = specs().flat_map(VmSpec::images).map(|i| i.0).collect();
    let networks: BTreeSet<Uuid> = specs().flat_map(|s| &s.nics).map(|n| n.network.0).collect();
    let macs: BTreeSet<&String> = specs().flat_map(|s| &s.nics).map(|n| &n.mac).collect();
    for (key, value) in &vm.labels {
        tx.exec("INSERT INTO vm_label (vm_id, label_key, label_value) VALUES ($1, $2, $3)", args![vm.id, key, value]).await?;
    }
    for image in images {
        tx.exec("INSERT INTO vm_image (vm_id, image_id) VALUES ($1, $2)", args![vm.id, image]).await?;
    }
    for network in networks {
        tx.exec("INSERT INTO vm_network (vm_id, network_id) VALUES ($1, $2)", args![vm.id, network]).await?;
    }
    for (store, bytes) in on_data_stores(vm) {
        tx.exec("INSERT INTO vm_data_store (vm_id, data_store_id, bytes) VALUES ($1, $2, $3)", args![vm.id, store, bytes]).await?;
    }
    for mac in macs {
        tx.exec("INSERT INTO vm_mac (mac, vm_id) VALUES ($1, $2)", args![mac, vm.id]).await?;
    }
    crate::clone::add(tx, vm).await
}

/// Whether a VM has a NIC with this address.
///
/// # Errors
/// What the database says.
pub async fn has_mac(tx: &mut Tx, mac: &str) -> Result<bool, StoreError> {
    Ok(tx.opt("SELECT 1 AS n FROM vm_mac WHERE mac = $1", args![mac]).await?.is_some())
}

/// The VM with this id.
///
/// # Errors
/// What the database says.
pub async fn get(tx: &mut Tx, id: VmId) -> Result<Option<Vm>, StoreError> {
    tx.opt("SELECT * FROM vm WHERE id = $1", args![id]).await?.as_ref().map(read).transpose()
}

/// The VM with this name or id, if it is visible.
///
/// # Errors
/// What the database says.
pub async fn by_ref(tx: &mut Tx, name_or_id: &str, visible: &Visible) -> Result<Option<Vm>, StoreError> {
    let (sql, b) = by_ref_sql("*", name_or_id, visible);
    tx.opt(AssertSqlSafe(sql), b.done()).await?.as_ref().map(read).transpose()
}

fn by_ref_sql(columns: &str, name_or_id: &str, visible: &Visible) -> (String, Binds) {
    let mut b = Binds::default();
    let column = if name_or_id.parse::<VmId>().is_ok() { "vm.id" } else { "vm.name" };
    let value = name_or_id.parse::<VmId>().map_or_else(|_| name_or_id.to_string(), |id| id.to_string());
    let named = format!("{column} = {}", b.bind(value));
    let sql = format!("SELECT {columns} FROM vm WHERE {named} AND {}", visible::vms(&mut b, visible));
    (sql, b)
}

/// The state of the row of the VM with this name or id, if it is visible.
///
/// # Errors
/// What the database says.
pub async fn state_by_ref(tx: &mut Tx, name_or_id: &str, visible: &Visible) -> Result<Option<RowState>, StoreError> {
    let (sql, b) = by_ref_sql("vm.id, vm.version", name_or_id, visible);
    tx.opt(AssertSqlSafe(sql), b.done()).await?.as_ref().map(read_state).transpose()
}

/// The VMs of these identities, each with the state of its row.
///
/// # Errors
/// What the database says.
pub async fn with_states(tx: &mut Tx, ids: &[VmId]) -> Result<Vec<(RowState, Vm)>, StoreError> {
    let mut found = Vec::with_capacity(ids.len());
    for id in ids {
        if let Some(r) = tx.opt("SELECT * FROM vm WHERE id = $1", args![*id]).await? {
            found.push((read_state(&r)?, read(&r)?));
        }
    }
    Ok(found)
}

/// Writes what `host` found about a VM. Only the VM's present host is heard, and an older generation never takes the
/// place of a newer one. Answers whether anything changed.
///
/// # Errors
/// What the database says.
pub async fn observe(tx: &mut Tx, id: VmId, observed: &Observed, host: HostId) -> Result<bool, StoreError> {
    let sql = "UPDATE vm SET observed = $1, observed_state = $2, observed_generation = $3, settled = $4, drift = $5, ips = $6, version = version + 1, \
               share_bytes = CASE WHEN NOT (desired IN ('running', 'paused') OR $9 = 1) THEN 0 \
               WHEN need_memory_bytes > $10 THEN need_memory_bytes ELSE $10 END \
               WHERE id = $7 AND host_id = $8 AND observed_generation <= $3 AND observed <> $1 RETURNING share_bytes";
    let Some(before) = tx.opt("SELECT share_bytes FROM vm WHERE id = $1", args![id]).await? else { return Ok(false) };
    let a = args![
        json(observed)?,
        word(&observed.state)?,
        observed.generation,
        observed.settled,
        !observed.drift.is_empty(),
        ips(observed),
        id,
        host,
        observed.state.takes_memory(),
        observed.held_memory_bytes.unwrap_or(0),
    ];
    let Some(after) = tx.opt(sql, a).await? else { return Ok(false) };
    if after.int("share_bytes")? != before.int("share_bytes")? {
        weigh(tx, Some(host)).await?;
    }
    Ok(true)
}

/// Removes a VM with its side rows and tickets; false when there is none.
///
/// # Errors
/// What the database says.
pub async fn delete(tx: &mut Tx, id: VmId) -> Result<bool, StoreError> {
    let Some(row) = tx.opt("SELECT host_id FROM vm WHERE id = $1", args![id]).await? else { return Ok(false) };
    let gone = tx.exec("DELETE FROM vm WHERE id = $1", args![id]).await? > 0;
    weigh(tx, row.opt_id("host_id")?).await?;
    Ok(gone)
}

/// Which rows a list shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    /// VMs that are no templates.
    Vms,
    /// Templates only.
    Templates,
    /// Both.
    All,
}

impl Listed {
    fn condition(self) -> &'static str {
        match self {
            Listed::Vms => "vm.template = 0",
            Listed::Templates => "vm.template = 1",
            Listed::All => "1 = 1",
        }
    }
}

/// A page of VMs. Fields: `name`, `id`, `state` (observed), `desired`, `host`, `owner`, `cpus`, `memory`, `image`,
/// `data_store`, `network`, `ip`, `settled`, `drift`, `created_at`, `updated_at`, `label.KEY`. All but `image`, `data_store`, `network` and labels
/// can be sorted by.
///
/// # Errors
/// [`StoreError::Malformed`] for a wrong page, or what the database says.
pub async fn list(tx: &mut Tx, page: &Page, listed: Listed, visible: &Visible) -> Result<Paged<Vm>, StoreError> {
    list::list(tx, &TABLE, page, |b| format!("{} AND {}", listed.condition(), visible::vms(b, visible)), read).await
}

/// As [`list`], of the rows' states only, and without templates.
///
/// # Errors
/// As [`list`].
pub async fn list_states(tx: &mut Tx, page: &Page, visible: &Visible) -> Result<Paged<RowState>, StoreError> {
    list::list(tx, &STATES_TABLE, page, |b| format!("{} AND {}", Listed::Vms.condition(), visible::vms(b, visible)), read_state).await
}

/// What was observed of a VM, as its row holds it; told from another observation without being read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored(String);

impl Stored {
    /// Whether the row says exactly this.
    #[must_use]
    pub fn is(&self, observed: &Observed) -> bool {
        json(observed).is_ok_and(|text| text == self.0)
    }
}

/// What was observed of every VM of a host.
///
/// # Errors
/// What the database says.
pub async fn observed_on_host(tx: &mut Tx, host: HostId) -> Result<HashMap<VmId, Stored>, StoreError> {
    let rows = tx.all("SELECT id, observed FROM vm WHERE host_id = $1", args![host]).await?;
    rows.iter().map(|r| Ok((r.id("id")?, Stored(r.text("observed")?)))).collect()
}

/// As [`observed_on_host`], of these VMs only.
///
/// # Errors
/// What the database says.
pub async fn observed_of(tx: &mut Tx, host: HostId, vms: &[VmId]) -> Result<HashMap<VmId, Stored>, StoreError> {
    let mut found = HashMap::with_capacity(vms.len());
    for id in vms.iter().copied() {
        if let Some(r) = tx.opt("SELECT observed FROM vm WHERE id = $1 AND host_id = $2", args![id, host]).await? {
            found.insert(id, Stored(r.text("observed")?));
        }
    }
    Ok(found)
}

/// The identities of all VMs.
///
/// # Errors
/// What the database says.
pub async fn ids(tx: &mut Tx) -> Result<HashSet<VmId>, StoreError> {
    tx.scan("SELECT id FROM vm", args![]).await?.iter().map(|r| r.id("id")).collect()
}

/// All VMs of a host, by id.
///
/// # Errors
/// What the database says.
pub async fn on_host(tx: &mut Tx, host: HostId) -> Result<Vec<Vm>, StoreError> {
    tx.all("SELECT * FROM vm WHERE host_id = $1 ORDER BY id", args![host]).await?.iter().map(read).collect()
}

/// The VMs in whose present or former specification a disk stands. It reads every row's documents: for what is rare.
///
/// # Errors
/// What the database says.
pub async fn with_disk(tx: &mut Tx, disk: DiskId) -> Result<Vec<Vm>, StoreError> {
    let holds = format!("%{disk}%");
    let sql = "SELECT * FROM vm WHERE spec LIKE $1 OR former_spec LIKE $1 ORDER BY id";
    let mut all: Vec<Vm> = tx.all(sql, args![holds]).await?.iter().map(read).collect::<Result<_, _>>()?;
    // The text may stand elsewhere, too.
    let has = |s: &VmSpec| s.disks.iter().any(|d| d.id == disk);
    all.retain(|v| has(&v.spec) || v.former_spec.as_ref().is_some_and(has));
    Ok(all)
}

/// All VMs that have a host, as placement needs them.
///
/// # Errors
/// What the database says.
pub async fn placed(tx: &mut Tx) -> Result<Vec<PlacedVm>, StoreError> {
    let sql = "SELECT id, name, host_id, desired, observed_state, need_vcpus, need_memory_bytes, need_disk_bytes FROM vm \
               WHERE host_id IS NOT NULL ORDER BY id";
    tx.scan(sql, args![]).await?.iter().map(read_placed).collect()
}

fn read_placed(r: &Row) -> Result<PlacedVm, StoreError> {
    Ok(PlacedVm {
        id: r.id("id")?,
        name: r.text("name")?,
        host: r.id("host_id")?,
        desired: r.word("desired")?,
        observed_state: r.word("observed_state")?,
        vcpus: r.number("need_vcpus")?,
        host_memory_bytes: r.number("need_memory_bytes")?,
        disk_bytes: r.number("need_disk_bytes")?,
    })
}

/// VMs whose host has not finished with their generation and that no task is working on, longest waiting first.
///
/// # Errors
/// What the database says.
pub async fn unsettled(tx: &mut Tx, limit: u32) -> Result<Vec<Vm>, StoreError> {
    let sql = "SELECT * FROM vm WHERE host_id IS NOT NULL AND (settled = 0 OR observed_generation < generation) \
               AND NOT EXISTS (SELECT 1 FROM task WHERE task.object_kind = 'vm' AND task.object_id = vm.id \
               AND task.state IN ('queued', 'running') AND task.kind <> 'vm_batch') ORDER BY updated_at, id LIMIT $1 + 0";
    tx.all(sql, args![limit]).await?.iter().map(read).collect()
}

/// Ids of the visible VMs that a filter leaves, templates left out, by id, at most `limit`: ask for one more than is allowed to notice that
/// there are too many.
///
/// # Errors
/// [`StoreError::Malformed`] for a wrong filter, or what the database says.
pub async fn ids_matching(tx: &mut Tx, filter: &Filter, visible: &Visible, limit: u32) -> Result<Vec<VmId>, StoreError> {
    let mut b = Binds::default();
    let scope = visible::vms(&mut b, visible);
    let condition = TABLE.fields.condition(&mut b, filter).map_err(|e| e.about("filter"))?;
    let limit = b.bind(limit);
    let sql = format!("SELECT vm.id AS id FROM {} WHERE {} AND {scope} AND {condition} ORDER BY vm.id LIMIT {limit}", TABLE.from, Listed::Vms.condition());
    tx.all(AssertSqlSafe(sql), b.done()).await?.iter().map(|r| r.id("id")).collect()
}
