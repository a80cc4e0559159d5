//! Tasks: rows that managers lease, work on and save.
//!
//! A lease makes one manager at a time work on a task; [`save`] is conditional on it. Cancelling and waking may happen
//! while a lease is held: neither is lost, because a save never clears the cancel flag, and a task that was woken
//! meanwhile is due at once whatever the save says.

use crate::filter_sql::{Binds, Field, Fields, Kind};
use crate::list::{self, Page, Paged, Table};
use crate::sql::{Row, args, corrupt, json, word};
use crate::task_claim::{self, Class, Lease, Room, Turn};
use crate::{StoreError, Tx, visible};
use sqlx::AssertSqlSafe;
use std::collections::HashMap;
use uuid::Uuid;
use virga_model::order::Progress;
use virga_model::role::Visible;
use virga_model::task::{ObjectRef, Task, TaskKind};
use virga_model::{TaskId, Time, UserId, VmId};

/// Words of the kinds; a test holds them equal to the model's.
const KINDS: &[&str] = &[
    "vm_create",
    "vm_start",
    "vm_stop",
    "vm_pause",
    "vm_resume",
    "vm_hibernate",
    "vm_reboot",
    "vm_reset",
    "vm_edit",
    "snapshot_create",
    "snapshot_revert",
    "snapshot_delete",
    "vm_clone",
    "vm_freeze",
    "vm_consolidate",
    "vm_refresh",
    "vm_convert",
    "vm_export",
    "vm_delete",
    "vm_repair",
    "vm_batch",
    "image_delete",
    "network_delete",
    "data_store_create",
    "data_store_delete",
];

const TABLE: Table = Table {
    columns: "task.*",
    from: "task LEFT JOIN account ON account.id = task.requester",
    id: "task.id",
    id_kind: Kind::Id,
    fields: Fields {
        list: &[
            Field::new("id", Kind::Id, &["task.id"]),
            Field::new("kind", Kind::Word(KINDS), &["task.kind"]),
            Field::new("state", Kind::Word(&["queued", "running", "succeeded", "failed", "cancelled"]), &["task.state"]),
            Field::new("object", Kind::Text, &["task.object_name", "task.object_id"]),
            Field::new("object_kind", Kind::Text, &["task.object_kind"]),
            Field::new("cause", Kind::Word(&["user", "repair", "ha", "drs", "dpm", "schedule"]), &["task.cause"]),
            Field::new("requester", Kind::Text, &["COALESCE(account.name, '')", "COALESCE(task.requester, '')"]),
            Field::new("parent", Kind::Id, &["COALESCE(task.parent, '')"]),
            Field::new("created_at", Kind::Time, &["task.created_at"]),
            Field::new("ended_at", Kind::Time, &["COALESCE(task.ended_at, 0)"]),
        ],
        labels: false,
    },
    sort: "created_at",
    descending: true,
};

fn read(r: &Row) -> Result<Task, StoreError> {
    Ok(Task {
        id: r.id("id")?,
        kind: r.word("kind")?,
        object: ObjectRef::from_parts(&r.text("object_kind")?, r.id::<Uuid>("object_id")?).ok_or_else(|| corrupt("object_kind"))?,
        object_name: r.text("object_name")?,
        cause: r.word("cause")?,
        requester: r.opt_id("requester")?,
        state: r.word("state")?,
        progress: r.json("progress")?,
        message: r.text("message")?,
        error: r.opt_json("error")?,
        cancel: r.flag("cancel")?,
        parent: r.opt_id("parent")?,
        doc: r.json("doc")?,
        lease_owner: r.opt_text("lease_owner")?,
        lease_until: r.opt_time("lease_until")?,
        attempt: r.number("attempt")?,
        not_before: r.time("not_before")?,
        created_at: r.time("created_at")?,
        started_at: r.opt_time("started_at")?,
        ended_at: r.opt_time("ended_at")?,
    })
}

/// Adds a task.
///
/// # Errors
/// [`StoreError::Taken`] on `object` while another task of the object is active (batches do not count).
pub async fn insert(tx: &mut Tx, t: &Task) -> Result<(), StoreError> {
    let sql = "INSERT INTO task (id, kind, object_kind, object_id, object_name, cause, requester, state, progress, message, error, cancel, parent, \
               doc, lease_owner, lease_until, attempt, not_before, created_at, started_at, ended_at) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)";
    let a = args![
        t.id,
        word(&t.kind)?,
        t.object.kind(),
        t.object.id(),
        &t.object_name,
        word(&t.cause)?,
        t.requester,
        word(&t.state)?,
        json(&t.progress)?,
        &t.message,
        t.error.as_ref().map(json).transpose()?,
        t.cancel,
        t.parent,
        json(&t.doc)?,
        t.lease_owner.clone(),
        t.lease_until,
        t.attempt,
        t.not_before,
        t.created_at,
        t.started_at,
        t.ended_at,
    ];
    tx.exec(sql, a).await?;
    Ok(())
}

/// The task with this id.
///
/// # Errors
/// What the database says.
pub async fn get(tx: &mut Tx, id: TaskId) -> Result<Option<Task>, StoreError> {
    tx.opt("SELECT * FROM task WHERE id = $1", args![id]).await?.as_ref().map(read).transpose()
}

/// Writes how far an active task is; false when it has ended.
///
/// # Errors
/// What the database says.
pub async fn update_progress(tx: &mut Tx, id: TaskId, progress: &Progress, message: &str) -> Result<bool, StoreError> {
    let sql = "UPDATE task SET progress = $1, message = $2 WHERE id = $3 AND state IN ('queued', 'running')";
    Ok(tx.exec(sql, args![json(progress)?, message, id]).await? > 0)
}

/// Writes what working on a task changes, while `owner` holds its lease. What the task is (kind, object, cause,
/// requester, parent) stays; the cancel flag is never cleared; an ended task loses its lease; a task that was woken
/// since it was claimed is due at once.
///
/// # Errors
/// [`StoreError::Stale`] when `owner` does not hold the lease any more.
pub async fn save(tx: &mut Tx, t: &Task, owner: &str) -> Result<(), StoreError> {
    let sql = "UPDATE task SET state = $1, progress = $2, message = $3, error = $4, cancel = CASE WHEN cancel = 1 THEN 1 ELSE $5 END, \
               doc = $6, lease_owner = $7, lease_until = $8, attempt = $9, not_before = CASE WHEN woken = 1 THEN 0 ELSE $10 END, \
               started_at = $11, ended_at = $12 WHERE id = $13 AND lease_owner = $14 AND state IN ('queued', 'running')";
    let ended = t.state.is_final();
    let a = args![
        word(&t.state)?,
        json(&t.progress)?,
        &t.message,
        t.error.as_ref().map(json).transpose()?,
        t.cancel,
        json(&t.doc)?,
        if ended { None } else { t.lease_owner.clone() },
        if ended { None } else { t.lease_until },
        t.attempt,
        t.not_before,
        t.started_at,
        t.ended_at,
        t.id,
        owner,
    ];
    if tx.exec(sql, a).await? == 0 { Err(StoreError::Stale) } else { Ok(()) }
}

/// Leases up to `limit` due tasks of all classes to `owner`, class by class and in turns: see [`crate::task_claim`].
///
/// # Errors
/// What the database says.
pub async fn claim(tx: &mut Tx, owner: &str, now: Time, lease_until: Time, limit: u32) -> Result<Vec<Task>, StoreError> {
    let (held, lease) = (HashMap::new(), Lease { owner, now, until: lease_until });
    let mut claimed = Vec::new();
    for class in Class::ALL {
        let left = limit - u32::try_from(claimed.len()).unwrap_or(limit).min(limit);
        let room = Room { places: left, party_max: limit, held: &held };
        claimed.append(&mut task_claim::claim(tx, lease, class, room, &mut Turn::default()).await?);
    }
    Ok(claimed)
}

/// Leases a task to `owner`, if it is still due at `now`; one that nobody has worked on yet begins to run.
pub(crate) async fn lease(tx: &mut Tx, id: TaskId, owner: &str, now: Time, until: Time) -> Result<Option<Task>, StoreError> {
    let sql = "UPDATE task SET lease_owner = $1, lease_until = $2, woken = 0, state = 'running', started_at = COALESCE(started_at, $4) \
               WHERE id = $3 AND state IN ('queued', 'running') AND not_before <= $4 AND (lease_until IS NULL OR lease_until <= $4) RETURNING *";
    tx.opt(sql, args![owner, until, id, now]).await?.as_ref().map(read).transpose()
}

/// Gives back the lease that `owner` holds; the task is looked at again at `not_before`, or at once if it was woken.
/// False when `owner` does not hold it.
///
/// # Errors
/// What the database says.
pub async fn release(tx: &mut Tx, id: TaskId, owner: &str, not_before: Time) -> Result<bool, StoreError> {
    let sql = "UPDATE task SET lease_owner = NULL, lease_until = NULL, not_before = CASE WHEN woken = 1 THEN 0 ELSE $1 END \
               WHERE id = $2 AND lease_owner = $3";
    Ok(tx.exec(sql, args![not_before, id, owner]).await? > 0)
}

/// Asks to stop a task, and the children of a batch with it; false when it has ended.
///
/// # Errors
/// What the database says.
pub async fn request_cancel(tx: &mut Tx, id: TaskId) -> Result<bool, StoreError> {
    let sql = "UPDATE task SET cancel = 1, woken = 1, not_before = 0 WHERE id = $1 AND state IN ('queued', 'running')";
    let found = tx.exec(sql, args![id]).await? > 0;
    let sql = "UPDATE task SET cancel = 1, woken = 1, not_before = 0 WHERE parent = $1 AND state IN ('queued', 'running') \
               AND EXISTS (SELECT 1 FROM task AS batch WHERE batch.id = $1 AND batch.kind = 'vm_batch')";
    tx.exec(sql, args![id]).await?;
    Ok(found)
}

/// The active task of an object, batches left out.
///
/// # Errors
/// What the database says.
pub async fn active_of(tx: &mut Tx, object: ObjectRef) -> Result<Option<Task>, StoreError> {
    let sql = "SELECT * FROM task WHERE object_kind = $1 AND object_id = $2 AND state IN ('queued', 'running') AND kind <> 'vm_batch'";
    tx.opt(sql, args![object.kind(), object.id()]).await?.as_ref().map(read).transpose()
}

/// The active tasks of some VMs, batches left out.
///
/// # Errors
/// What the database says.
pub async fn active_of_vms(tx: &mut Tx, vms: &[VmId]) -> Result<HashMap<VmId, (TaskId, TaskKind)>, StoreError> {
    let Some(last) = vms.last() else { return Ok(HashMap::new()) };
    // Mostly there are fewer active tasks than VMs on a page.
    let few = "SELECT id, kind, object_id FROM task WHERE state IN ('queued', 'running') AND kind <> 'vm_batch' AND object_kind = 'vm' LIMIT $1 + 0";
    let rows = tx.all(few, args![ACTIVE_FEW + 1]).await?;
    if rows.len() <= ACTIVE_FEW as usize {
        return rows.iter().map(|r| Ok((r.id("object_id")?, (r.id("id")?, r.word("kind")?)))).collect();
    }
    let mut b = Binds::default();
    // Few different lengths, so that few different statements are prepared.
    let padding = vms.len().next_power_of_two() - vms.len();
    let places: Vec<String> = vms.iter().chain(std::iter::repeat_n(last, padding)).map(|id| b.bind(id.to_string())).collect();
    let sql = format!(
        "SELECT id, kind, object_id FROM task WHERE object_kind = 'vm' AND object_id IN ({}) AND state IN ('queued', 'running') AND kind <> 'vm_batch'",
        places.join(", ")
    );
    let rows = tx.all(AssertSqlSafe(sql), b.done()).await?;
    rows.iter().map(|r| Ok((r.id("object_id")?, (r.id("id")?, r.word("kind")?)))).collect()
}

/// Active tasks that are read together rather than looked up for each VM.
const ACTIVE_FEW: u32 = 16;

/// The children of a batch, oldest first.
///
/// # Errors
/// What the database says.
pub async fn children(tx: &mut Tx, parent: TaskId) -> Result<Vec<Task>, StoreError> {
    tx.all("SELECT * FROM task WHERE parent = $1 ORDER BY created_at, id", args![parent]).await?.iter().map(read).collect()
}

/// Makes the active task of an object due at once, because what it waits for may have happened. False when there is
/// none.
///
/// # Errors
/// What the database says.
pub async fn wake(tx: &mut Tx, object: ObjectRef) -> Result<bool, StoreError> {
    let sql = "UPDATE task SET woken = 1, not_before = 0 WHERE object_kind = $1 AND object_id = $2 AND state IN ('queued', 'running') \
               AND kind <> 'vm_batch'";
    Ok(tx.exec(sql, args![object.kind(), object.id()]).await? > 0)
}

/// Makes an active task due at once: a batch when a child has ended. False when it has ended.
///
/// # Errors
/// What the database says.
pub async fn wake_task(tx: &mut Tx, id: TaskId) -> Result<bool, StoreError> {
    let sql = "UPDATE task SET woken = 1, not_before = 0 WHERE id = $1 AND state IN ('queued', 'running')";
    Ok(tx.exec(sql, args![id]).await? > 0)
}

/// Times of active tasks that lie behind a moment.
const BEHIND: &str = "state IN ('queued', 'running') AND (not_before > $1 OR lease_until > $1 OR created_at > $1 OR started_at > $1)";

/// Whether an active task has a time later than `latest`, which only a clock that was ahead can have written.
///
/// # Errors
/// What the database says.
pub async fn is_ahead(tx: &mut Tx, latest: Time) -> Result<bool, StoreError> {
    Ok(tx.opt(AssertSqlSafe(format!("SELECT 1 AS n FROM task WHERE {BEHIND} LIMIT 1")), args![latest]).await?.is_some())
}

/// Brings times of active tasks that are later than `latest` back to now: such tasks are due, began now, and are leased
/// until `lease_until` at most. How many.
///
/// # Errors
/// What the database says.
pub async fn bring_back(tx: &mut Tx, latest: Time, now: Time, lease_until: Time) -> Result<u64, StoreError> {
    let sql = format!(
        "UPDATE task SET not_before = CASE WHEN not_before > $1 THEN 0 ELSE not_before END, \
         lease_until = CASE WHEN lease_until > $1 THEN $2 ELSE lease_until END, \
         created_at = CASE WHEN created_at > $1 THEN $3 ELSE created_at END, \
         started_at = CASE WHEN started_at > $1 THEN $3 ELSE started_at END WHERE {BEHIND}"
    );
    tx.exec(AssertSqlSafe(sql), args![latest, lease_until, now]).await
}

/// When the next active task will be due (`now` if one is due already); none: there is no active task.
///
/// # Errors
/// What the database says.
pub async fn next_due(tx: &mut Tx, now: Time) -> Result<Option<Time>, StoreError> {
    let due = tx.opt(task_claim::NEXT_DUE, args![]).await?.map(|r| r.time("due")).transpose()?;
    Ok(due.map(|d| d.max(now)))
}

/// A page of tasks: all, or those that `viewer` asked for or whose VM or host is visible. Fields: `id`, `kind`, `state`,
/// `object`, `object_kind`, `cause`, `requester`, `parent`, `created_at`, `ended_at` (1970 while active); newest first.
///
/// # Errors
/// [`StoreError::Malformed`] for a wrong page, or what the database says.
pub async fn list(tx: &mut Tx, page: &Page, visible: &Visible, viewer: Option<UserId>) -> Result<Paged<Task>, StoreError> {
    list::list(tx, &TABLE, page, |b| visible::tasks(b, visible, viewer), read).await
}

/// Removes up to `limit` tasks that ended before `before`; how many.
///
/// # Errors
/// What the database says.
pub async fn delete_old(tx: &mut Tx, before: Time, limit: u32) -> Result<u64, StoreError> {
    let sql = "DELETE FROM task WHERE id IN (SELECT id FROM task WHERE ended_at < $1 AND state NOT IN ('queued', 'running') \
               ORDER BY ended_at LIMIT $2 + 0)";
    tx.exec(sql, args![before, limit]).await
}

#[cfg(test)]
mod tests {
    #[test]
    fn kinds_are_the_models() {
        let words: Vec<String> = virga_model::task::TaskKind::ALL.iter().map(ToString::to_string).collect();
        assert_eq!(words, super::KINDS);
    }
}
