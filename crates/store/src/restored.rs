//! Rows that come from a backup are older than reality (`reliability.md` D4): hosts have carried out orders since that the
//! rows know nothing of.
//!
//! So a restore begins a new epoch of the database. Every generation moves above all that hosts have seen, so that new
//! orders count and those of a manager that still works on the former database do not. And every VM is marked as
//! restored: its host's reports are taken as they are, what differs is shown as drift, and nothing is brought about from
//! such a row until somebody changes the VM. Sessions, console tickets and open join tokens are void; tasks that were
//! under way have failed.

use crate::sql::{args, json, word};
use crate::{Mark, StoreError, Tx, meta, task, vm};
use virga_model::order::Progress;
use virga_model::task::TaskState;
use virga_model::vm::{Drift, Observed, VmState};
use virga_model::{Error, HostId, Time, VmId};

/// Generations that fit between two epochs: changes of one VM from one restore to the next.
const STEPS: i64 = 1 << 20;
/// Micros of 2026-01-01, from which epochs count minutes.
const BEGIN: i64 = 1_767_225_600_000_000;
/// Certificates of a host that was restored: what the row says may have been renewed since.
pub const CERTIFICATE_OPEN: &str = "restored";
/// What differs in a restored VM.
pub const DRIFT: &str = "restored";

/// What a restore found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The new epoch.
    pub epoch: i64,
    /// VMs that wait for their hosts' reports.
    pub vms: usize,
    /// Tasks that were under way and have failed.
    pub tasks: usize,
}

/// A generation in an epoch: above all generations of the epochs before.
fn lifted(epoch: i64, generation: i64) -> i64 {
    epoch.saturating_mul(STEPS).saturating_add(generation.rem_euclid(STEPS)).max(generation.saturating_add(1))
}

/// The epoch of the database; 0 when it was never restored.
///
/// # Errors
/// What the database says.
pub async fn epoch(tx: &mut Tx) -> Result<i64, StoreError> {
    Ok(meta::get(tx, "database_epoch").await?.and_then(|v| v.parse().ok()).unwrap_or(0))
}

/// When the database was last restored.
///
/// # Errors
/// What the database says.
pub async fn restored_at(tx: &mut Tx) -> Result<Option<Time>, StoreError> {
    Ok(meta::get(tx, "restored_at").await?.and_then(|v| v.parse().ok()).map(Time))
}

/// Makes restored rows safe; the rows and the schema are complete. The caller commits.
///
/// # Errors
/// What the database says.
pub async fn make_safe(tx: &mut Tx, now: Time) -> Result<Counts, StoreError> {
    tx.mark(Mark::Credentials);
    tx.mark(Mark::Hosts);
    tx.mark(Mark::DataStores);
    // The same backup may be restored twice: the time makes the epochs differ, the number keeps them in order.
    let minutes = (now.0 - BEGIN) / 60_000_000;
    let epoch = (epoch(tx).await? + 1).max(minutes);
    meta::set(tx, "database_epoch", &epoch.to_string()).await?;
    meta::set(tx, "restored_at", &now.0.to_string()).await?;
    for sql in [
        "DELETE FROM session",
        "DELETE FROM console_ticket",
        "DELETE FROM join_token WHERE used_by IS NULL",
        "DELETE FROM idempotency WHERE status IS NULL",
        "DELETE FROM loop_lease",
        "DELETE FROM manager",
        "DELETE FROM vm_restored",
    ] {
        tx.exec(sql, args![]).await?;
    }
    let tasks = end_tasks(tx, now).await?;
    lift_hosts(tx, epoch).await?;
    let vms = mark_vms(tx, epoch).await?;
    Ok(Counts { epoch, vms, tasks })
}

async fn end_tasks(tx: &mut Tx, now: Time) -> Result<usize, StoreError> {
    let e = Error::conflict("The manager's state was restored from a backup while this task was under way.")
        .with_hint("Look at the object, and ask again if it is still wanted.");
    let rows = tx.all("SELECT id FROM task WHERE state IN ('queued', 'running')", args![]).await?;
    for row in &rows {
        let Some(mut t) = task::get(tx, row.id("id")?).await? else { continue };
        (t.state, t.message, t.ended_at) = (TaskState::Failed, e.message.clone(), Some(now));
        let sql = "UPDATE task SET state = $1, message = $2, error = $3, ended_at = $4, progress = $5, lease_owner = NULL, lease_until = NULL WHERE id = $6";
        tx.exec(sql, args![word(&t.state)?, &t.message, json(&e)?, t.ended_at, json(&Progress::default())?, t.id]).await?;
    }
    Ok(rows.len())
}

async fn lift_hosts(tx: &mut Tx, epoch: i64) -> Result<(), StoreError> {
    for row in tx.all("SELECT id, epoch, certificate_sha256 FROM host", args![]).await? {
        let id: HostId = row.id("id")?;
        let used = row.text("certificate_sha256")?;
        let certificate = format!("{CERTIFICATE_OPEN} {}", used.split(' ').next_back().unwrap_or_default());
        let sql = "UPDATE host SET epoch = $1, certificate_sha256 = $2, generation = generation + 1, last_report_at = NULL WHERE id = $3";
        tx.exec(sql, args![lifted(epoch, row.int("epoch")?), certificate, id]).await?;
    }
    Ok(())
}

async fn mark_vms(tx: &mut Tx, epoch: i64) -> Result<usize, StoreError> {
    let ids: Vec<VmId> =
        tx.all("SELECT id FROM vm WHERE host_id IS NOT NULL ORDER BY id", args![]).await?.iter().map(|r| r.id("id")).collect::<Result<_, _>>()?;
    for id in &ids {
        let Some(v) = vm::get(tx, *id).await? else { continue };
        let generation = lifted(epoch, v.generation);
        let drift = vec![Drift { what: DRIFT.into(), message: "The row comes from a backup, and the host has not told yet what is true.".into() }];
        let observed = Observed { generation, revision: 0, state: VmState::Unknown, settled: true, error: None, pending: Vec::new(), drift, ..v.observed };
        let sql = "UPDATE vm SET generation = $1, observed = $2, observed_state = $3, observed_generation = $1, settled = 1, drift = 1, \
                   share_bytes = need_memory_bytes, version = version + 1 WHERE id = $4";
        tx.exec(sql, args![generation, json(&observed)?, word(&observed.state)?, *id]).await?;
        let sql = "INSERT INTO vm_restored (vm_id, generation, former_generation) VALUES ($1, $2, $3)";
        tx.exec(sql, args![*id, generation, v.generation]).await?;
    }
    tx.exec("DELETE FROM host_load", args![]).await?;
    let sql = "INSERT INTO host_load (host_id, vms, share_bytes) \
               SELECT host_id, COUNT(*), CAST(SUM(share_bytes) AS BIGINT) FROM vm WHERE host_id IS NOT NULL GROUP BY host_id";
    tx.exec(sql, args![]).await?;
    Ok(ids.len())
}

/// The generation that a VM had in the backup, while it is still as it was restored; none: it was not restored, or was
/// changed since.
///
/// # Errors
/// What the database says.
pub async fn former_generation(tx: &mut Tx, id: VmId) -> Result<Option<i64>, StoreError> {
    let sql = "SELECT former_generation FROM vm_restored JOIN vm ON vm.id = vm_restored.vm_id \
               WHERE vm_restored.vm_id = $1 AND vm_restored.generation = vm.generation";
    tx.opt(sql, args![id]).await?.map(|r| r.int("former_generation")).transpose()
}

/// Gives a VM whose host has seen a newer generation than its row (commits were lost with a database) a generation above
/// that one, and marks it as restored. False when somebody changed it meanwhile.
///
/// # Errors
/// What the database says.
pub async fn catch_up(tx: &mut Tx, id: VmId, generation: i64, seen: i64) -> Result<bool, StoreError> {
    let lifted = seen.saturating_add(1);
    let sql = "UPDATE vm SET generation = $1, observed_generation = $1, version = version + 1 WHERE id = $2 AND generation = $3";
    if tx.exec(sql, args![lifted, id, generation]).await? == 0 {
        return Ok(false);
    }
    let sql = "INSERT INTO vm_restored (vm_id, generation, former_generation) VALUES ($1, $2, $3) \
               ON CONFLICT (vm_id) DO UPDATE SET generation = excluded.generation, former_generation = excluded.former_generation";
    tx.exec(sql, args![id, lifted, generation]).await?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_grow_from_epoch_to_epoch() {
        let first = lifted(1000, 7);
        assert!(first > 7 + 100_000 && first % STEPS == 7);
        let second = lifted(1001, first + 5);
        assert!(second > first + 5 && second % STEPS == 12);
        // An epoch that did not grow, by a wrong clock, still leads forward.
        assert!(lifted(1, second) > second);
        // Numbers of JSON are exact up to 2^53; so many minutes are 16,000 years.
        assert!(lifted(1 << 32, 0) < 1 << 53);
    }
}
