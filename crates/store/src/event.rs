//! Events, numbered in the order in which they become visible, so that a reader can go on after the last one it saw.

use crate::filter_sql::{Binds, Field, Fields, Kind};
use crate::list::{self, Page, Paged, Table};
use crate::sql::{Row, args, corrupt, word};
use crate::{StoreError, Tx, visible};
use sqlx::AssertSqlSafe;
use uuid::Uuid;
use virga_model::Time;
use virga_model::event::Event;
use virga_model::role::Visible;
use virga_model::task::ObjectRef;

const TABLE: Table = Table {
    columns: "event.*",
    from: "event",
    id: "event.id",
    id_kind: Kind::Integer,
    fields: Fields {
        list: &[
            Field::new("id", Kind::Integer, &["event.id"]),
            Field::new("at", Kind::Time, &["event.at"]),
            Field::new("kind", Kind::Text, &["event.kind"]),
            Field::new("severity", Kind::Word(&["info", "warning", "error"]), &["event.severity"]),
            Field::new("object", Kind::Text, &["event.object_name", "event.object_id"]),
            Field::new("object_kind", Kind::Text, &["event.object_kind"]),
        ],
        labels: false,
    },
    sort: "id",
    descending: true,
};

fn read(r: &Row) -> Result<Event, StoreError> {
    Ok(Event {
        id: r.int("id")?,
        at: r.time("at")?,
        kind: r.text("kind")?,
        severity: r.word("severity")?,
        object: ObjectRef::from_parts(&r.text("object_kind")?, r.id::<Uuid>("object_id")?).ok_or_else(|| corrupt("object_kind"))?,
        object_name: r.text("object_name")?,
        owner: r.opt_id("owner_id")?,
        host: r.opt_id("host_id")?,
        task: r.opt_id("task_id")?,
        message: r.text("message")?,
    })
}

/// The next number of a counter; whoever takes one holds the counter until the end of the transaction. Only the first of a
/// transaction is taken in the database; what was taken after it is written by [`settle_counters`].
pub(crate) async fn next_number(tx: &mut Tx, counter: &'static str) -> Result<i64, StoreError> {
    if let Some(c) = tx.counters.iter_mut().find(|c| c.name == counter) {
        c.taken += 1;
        return Ok(c.taken);
    }
    let sql = "UPDATE counter SET value = value + 1 WHERE name = $1 RETURNING value";
    let taken = tx.opt(sql, args![counter]).await?.ok_or_else(|| corrupt("counter"))?.int("value")?;
    tx.counters.push(Counter { name: counter, taken, written: taken });
    Ok(taken)
}

/// A counter as a transaction holds it.
pub(crate) struct Counter {
    name: &'static str,
    /// The last number that was taken.
    taken: i64,
    /// The number in the row.
    written: i64,
}

/// Writes what this transaction took of counters: before its commit, and before anybody reads a counter's row in it.
pub(crate) async fn settle_counters(tx: &mut Tx) -> Result<(), StoreError> {
    for n in 0..tx.counters.len() {
        let Some(c) = tx.counters.get_mut(n).filter(|c| c.taken != c.written) else { continue };
        c.written = c.taken;
        let a = args![c.name, c.taken];
        tx.exec("UPDATE counter SET value = $2 WHERE name = $1", a).await?;
    }
    Ok(())
}

/// Adds an event and gives it the next number (its own `id` does not matter).
///
/// # Errors
/// What the database says.
pub async fn append(tx: &mut Tx, e: &Event) -> Result<i64, StoreError> {
    let id = next_number(tx, "event").await?;
    let sql = "INSERT INTO event (id, at, kind, severity, object_kind, object_id, object_name, owner_id, host_id, task_id, message) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
    let a = args![id, e.at, &e.kind, word(&e.severity)?, e.object.kind(), e.object.id(), &e.object_name, e.owner, e.host, e.task, &e.message];
    tx.exec(sql, a).await?;
    Ok(id)
}

/// Up to `limit` visible events after number `id`, oldest first.
///
/// # Errors
/// What the database says.
pub async fn after(tx: &mut Tx, id: i64, limit: u32, visible: &Visible) -> Result<Vec<Event>, StoreError> {
    let mut b = Binds::default();
    let after = b.bind(id);
    let scope = visible::events(&mut b, visible);
    let limit = b.bind(limit);
    let sql = format!("SELECT * FROM event WHERE event.id > {after} AND {scope} ORDER BY event.id LIMIT {limit}");
    tx.all(AssertSqlSafe(sql), b.done()).await?.iter().map(read).collect()
}

/// Number of the newest event; 0 before the first one.
///
/// # Errors
/// What the database says.
pub async fn latest_id(tx: &mut Tx) -> Result<i64, StoreError> {
    settle_counters(tx).await?;
    tx.opt("SELECT value FROM counter WHERE name = 'event'", args![]).await?.ok_or_else(|| corrupt("counter"))?.int("value")
}

/// A page of events. Fields: `id`, `at`, `kind`, `severity`, `object`, `object_kind`; newest first.
///
/// # Errors
/// [`StoreError::Malformed`] for a wrong page, or what the database says.
pub async fn list(tx: &mut Tx, page: &Page, visible: &Visible) -> Result<Paged<Event>, StoreError> {
    list::list(tx, &TABLE, page, |b| visible::events(b, visible), read).await
}

/// Removes up to `limit` events from before `before`, oldest first; how many.
///
/// # Errors
/// What the database says.
pub async fn delete_old(tx: &mut Tx, before: Time, limit: u32) -> Result<u64, StoreError> {
    let sql = "DELETE FROM event WHERE id IN (SELECT id FROM event WHERE at < $1 ORDER BY at LIMIT $2 + 0)";
    tx.exec(sql, args![before, limit]).await
}
