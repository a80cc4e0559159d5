//! Managers: who serves this installation, and where agents reach them.
//!
//! A row is one life of a manager. It decides nothing: tasks and loops have leases of their own. It tells agents where
//! else they may report, and people who is there.

use crate::sql::{Row, args};
use crate::{StoreError, Tx};
use virga_model::Time;

/// One life of a manager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagerRow {
    /// Identity of this life, as in task leases.
    pub instance: String,
    /// `host:port` where agents reach it.
    pub node_address: String,
    /// Version of its program.
    pub version: String,
    /// When it started.
    pub started_at: Time,
    /// When it last said that it is there.
    pub seen_at: Time,
    /// It was stopped in good order.
    pub stopped: bool,
}

fn read(r: &Row) -> Result<ManagerRow, StoreError> {
    Ok(ManagerRow {
        instance: r.text("instance")?,
        node_address: r.text("node_address")?,
        version: r.text("version")?,
        started_at: r.time("started_at")?,
        seen_at: r.time("seen_at")?,
        stopped: r.flag("stopped")?,
    })
}

/// Says that a manager is there. Former lives under the same address are forgotten.
///
/// # Errors
/// What the database says.
pub async fn beat(tx: &mut Tx, m: &ManagerRow) -> Result<(), StoreError> {
    tx.exec("DELETE FROM manager WHERE node_address = $1 AND instance <> $2 AND started_at <= $3", args![&m.node_address, &m.instance, m.started_at]).await?;
    let sql = "INSERT INTO manager (instance, node_address, version, started_at, seen_at, stopped) VALUES ($1, $2, $3, $4, $5, $6) \
               ON CONFLICT (instance) DO UPDATE SET node_address = excluded.node_address, seen_at = excluded.seen_at, stopped = excluded.stopped";
    tx.exec(sql, args![&m.instance, &m.node_address, &m.version, m.started_at, m.seen_at, m.stopped]).await?;
    Ok(())
}

/// The managers that were seen after `since`, in the order of their addresses.
///
/// # Errors
/// What the database says.
pub async fn list(tx: &mut Tx, since: Time) -> Result<Vec<ManagerRow>, StoreError> {
    tx.all("SELECT * FROM manager WHERE seen_at > $1 ORDER BY node_address, started_at DESC, instance", args![since]).await?.iter().map(read).collect()
}

/// Forgets the managers that were last seen before `before`; how many.
///
/// # Errors
/// What the database says.
pub async fn delete_old(tx: &mut Tx, before: Time) -> Result<u64, StoreError> {
    tx.exec("DELETE FROM manager WHERE seen_at < $1", args![before]).await
}
