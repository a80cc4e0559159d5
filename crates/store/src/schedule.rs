//! Schedules.

use crate::filter_sql::{Field, Fields, Kind};
use crate::list::{self, Page, Paged, Table};
use crate::sql::{Row, args, json};
use crate::{StoreError, Tx};
use virga_model::schedule::Schedule;
use virga_model::{ScheduleId, Time, UserId};

const TABLE: Table = Table {
    columns: "schedule.*",
    from: "schedule JOIN account ON account.id = schedule.owner_id",
    id: "schedule.id",
    id_kind: Kind::Id,
    fields: Fields {
        list: &[
            Field::new("name", Kind::Text, &["schedule.name"]),
            Field::new("id", Kind::Id, &["schedule.id"]),
            Field::new("owner", Kind::Text, &["account.name", "account.id"]),
            Field::new("next_at", Kind::Time, &["schedule.next_at"]),
            Field::new("created_at", Kind::Time, &["schedule.created_at"]),
        ],
        labels: false,
    },
    sort: "name",
    descending: false,
};

fn read(r: &Row) -> Result<Schedule, StoreError> {
    Ok(Schedule {
        id: r.id("id")?,
        name: r.text("name")?,
        owner: r.id("owner_id")?,
        vm: r.opt_id("vm_id")?,
        spec: r.json("spec")?,
        next_at: r.time("next_at")?,
        last_at: r.opt_time("last_at")?,
        generation: r.int("generation")?,
        created_at: r.time("created_at")?,
    })
}

/// Adds a schedule.
///
/// # Errors
/// [`StoreError::Taken`] on `name`, or what the database says.
pub async fn insert(tx: &mut Tx, s: &Schedule) -> Result<(), StoreError> {
    let sql = "INSERT INTO schedule (id, name, owner_id, vm_id, enabled, spec, next_at, last_at, generation, created_at) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    tx.exec(sql, args![s.id, &s.name, s.owner, s.vm, s.spec.enabled, json(&s.spec)?, s.next_at, s.last_at, s.generation, s.created_at]).await?;
    Ok(())
}

/// How many there are.
///
/// # Errors
/// What the database says.
pub async fn count(tx: &mut Tx) -> Result<i64, StoreError> {
    tx.opt("SELECT COUNT(*) AS n FROM schedule", args![]).await?.map_or(Ok(0), |r| r.int("n"))
}

/// The schedule with this id.
///
/// # Errors
/// What the database says.
pub async fn get(tx: &mut Tx, id: ScheduleId) -> Result<Option<Schedule>, StoreError> {
    tx.opt("SELECT * FROM schedule WHERE id = $1", args![id]).await?.as_ref().map(read).transpose()
}

/// The schedule with this name or id.
///
/// # Errors
/// What the database says.
pub async fn by_ref(tx: &mut Tx, name_or_id: &str) -> Result<Option<Schedule>, StoreError> {
    let row = match name_or_id.parse::<ScheduleId>() {
        Ok(id) => tx.opt("SELECT * FROM schedule WHERE id = $1", args![id]).await?,
        Err(_) => tx.opt("SELECT * FROM schedule WHERE name = $1", args![name_or_id]).await?,
    };
    row.as_ref().map(read).transpose()
}

/// Writes name, VM, choices and the next point, with the generation that the schedule carries.
///
/// # Errors
/// [`StoreError::Stale`] when the row's generation is not `expected`, [`StoreError::Taken`] on `name`.
pub async fn update(tx: &mut Tx, s: &Schedule, expected: i64) -> Result<(), StoreError> {
    let sql = "UPDATE schedule SET name = $1, vm_id = $2, enabled = $3, spec = $4, next_at = $5, generation = $6 WHERE id = $7 AND generation = $8";
    let a = args![&s.name, s.vm, s.spec.enabled, json(&s.spec)?, s.next_at, s.generation, s.id, expected];
    if tx.exec(sql, a).await? == 0 { Err(StoreError::Stale) } else { Ok(()) }
}

/// A point has passed; false when somebody else has moved it on.
///
/// # Errors
/// What the database says.
pub async fn advance(tx: &mut Tx, id: ScheduleId, from: Time, next_at: Time, last_at: Option<Time>) -> Result<bool, StoreError> {
    let sql = "UPDATE schedule SET next_at = $1, last_at = COALESCE($2, last_at) WHERE id = $3 AND next_at = $4";
    Ok(tx.exec(sql, args![next_at, last_at, id, from]).await? > 0)
}

/// Removes a schedule; false when there is none. What it made stays, and is nobody's to remove.
///
/// # Errors
/// What the database says.
pub async fn delete(tx: &mut Tx, id: ScheduleId) -> Result<bool, StoreError> {
    Ok(tx.exec("DELETE FROM schedule WHERE id = $1", args![id]).await? > 0)
}

/// Schedules whose point has come, at most `limit`, those that wait longest first.
///
/// # Errors
/// What the database says.
pub async fn due(tx: &mut Tx, now: Time, limit: u32) -> Result<Vec<Schedule>, StoreError> {
    let sql = "SELECT * FROM schedule WHERE enabled = 1 AND next_at <= $1 ORDER BY next_at, id LIMIT $2 + 0";
    tx.all(sql, args![now, limit]).await?.iter().map(read).collect()
}

/// Every schedule.
///
/// # Errors
/// What the database says.
pub async fn all(tx: &mut Tx) -> Result<Vec<Schedule>, StoreError> {
    tx.all("SELECT * FROM schedule ORDER BY id", args![]).await?.iter().map(read).collect()
}

/// A page of the schedules of an account; of all, when none is given. Fields: `name`, `id`, `owner`, `next_at`, `created_at`.
///
/// # Errors
/// [`StoreError::Malformed`] for a wrong page, or what the database says.
pub async fn list(tx: &mut Tx, page: &Page, owner: Option<UserId>) -> Result<Paged<Schedule>, StoreError> {
    list::list(tx, &TABLE, page, |b| owner.map_or_else(|| "1 = 1".into(), |o| format!("schedule.owner_id = {}", b.bind(o))), read).await
}
