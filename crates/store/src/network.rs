//! Networks.

use crate::filter_sql::{Field, Fields, Kind};
use crate::list::{self, Page, Paged, Table};
use crate::sql::{Row, args, json};
use crate::{StoreError, Tx};
use virga_model::NetworkId;
use virga_model::network::{Network, NetworkSpec};

const TABLE: Table = Table {
    columns: "network.*",
    from: "network",
    id: "network.id",
    id_kind: Kind::Id,
    fields: Fields {
        list: &[
            Field::new("name", Kind::Text, &["network.name"]),
            Field::new("id", Kind::Id, &["network.id"]),
            Field::new("kind", Kind::Word(&["nat", "ovs"]), &["network.kind"]),
            Field::new("deleting", Kind::Bool, &["network.deleting"]),
            Field::new("created_at", Kind::Time, &["network.created_at"]),
        ],
        labels: false,
    },
    sort: "name",
    descending: false,
};

fn read(r: &Row) -> Result<Network, StoreError> {
    Ok(Network {
        id: r.id("id")?,
        name: r.text("name")?,
        spec: r.json("spec")?,
        generation: r.int("generation")?,
        deleting: r.flag("deleting")?,
        created_at: r.time("created_at")?,
    })
}

fn kind(spec: &NetworkSpec) -> &'static str {
    match spec {
        NetworkSpec::Nat { .. } => "nat",
        NetworkSpec::Ovs { .. } => "ovs",
    }
}

/// Adds a network.
///
/// # Errors
/// [`StoreError::Taken`] on `name`, or what the database says.
pub async fn insert(tx: &mut Tx, n: &Network) -> Result<(), StoreError> {
    let sql = "INSERT INTO network (id, name, kind, spec, generation, deleting, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)";
    tx.exec(sql, args![n.id, &n.name, kind(&n.spec), json(&n.spec)?, n.generation, n.deleting, n.created_at]).await?;
    Ok(())
}

/// The network with this id.
///
/// # Errors
/// What the database says.
pub async fn get(tx: &mut Tx, id: NetworkId) -> Result<Option<Network>, StoreError> {
    tx.opt("SELECT * FROM network WHERE id = $1", args![id]).await?.as_ref().map(read).transpose()
}

/// The network with this name or id.
///
/// # Errors
/// What the database says.
pub async fn by_ref(tx: &mut Tx, name_or_id: &str) -> Result<Option<Network>, StoreError> {
    if let Ok(id) = name_or_id.parse() {
        return get(tx, id).await;
    }
    tx.opt("SELECT * FROM network WHERE name = $1", args![name_or_id]).await?.as_ref().map(read).transpose()
}

/// Writes the network, with the generation it carries.
///
/// # Errors
/// [`StoreError::Stale`] when the row's generation is not `expected`, [`StoreError::Taken`] on `name`.
pub async fn update(tx: &mut Tx, n: &Network, expected: i64) -> Result<(), StoreError> {
    let sql = "UPDATE network SET name = $1, kind = $2, spec = $3, generation = $4, deleting = $5 WHERE id = $6 AND generation = $7";
    let a = args![&n.name, kind(&n.spec), json(&n.spec)?, n.generation, n.deleting, n.id, expected];
    if tx.exec(sql, a).await? == 0 { Err(StoreError::Stale) } else { Ok(()) }
}

/// Removes a network; false when there is none.
///
/// # Errors
/// [`StoreError::Reference`] while a VM uses it.
pub async fn delete(tx: &mut Tx, id: NetworkId) -> Result<bool, StoreError> {
    Ok(tx.exec("DELETE FROM network WHERE id = $1", args![id]).await? > 0)
}

/// A page of networks. Fields: `name`, `id`, `kind`, `deleting`, `created_at`.
///
/// # Errors
/// [`StoreError::Malformed`] for a wrong page, or what the database says.
pub async fn list(tx: &mut Tx, page: &Page) -> Result<Paged<Network>, StoreError> {
    list::list(tx, &TABLE, page, |_| "1 = 1".into(), read).await
}

/// All networks that are not being removed, by name.
///
/// # Errors
/// What the database says.
pub async fn all_ready(tx: &mut Tx) -> Result<Vec<Network>, StoreError> {
    tx.all("SELECT * FROM network WHERE deleting = 0 ORDER BY name, id", args![]).await?.iter().map(read).collect()
}

/// Names of the VMs whose present or former specification uses the network.
///
/// # Errors
/// What the database says.
pub async fn used_by(tx: &mut Tx, id: NetworkId) -> Result<Vec<String>, StoreError> {
    let sql = "SELECT vm.name AS name FROM vm JOIN vm_network ON vm_network.vm_id = vm.id WHERE vm_network.network_id = $1 ORDER BY vm.name";
    tx.all(sql, args![id]).await?.iter().map(|r| r.text("name")).collect()
}
