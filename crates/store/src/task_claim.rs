//! Whose turn it is: claiming due tasks fairly, at a cost that does not grow with what waits.
//!
//! Tasks have a [`Class`] by what they are for, and within it a party: who asked for them. A claim goes round the parties
//! of a class, beginning after the one that was served last, and takes one task of each before it takes the second of any
//! (`reliability.md` T4). It finds parties by jumping over an index from one to the next, and of each only as many tasks
//! as it may get: with 10,000 tasks of one user it reads no more rows than with ten.
//!
//! How many places each class has is decided by the caller. Nothing here may depend on what one process remembers: the
//! turn is a hint, and a claim without it is still fair within itself.

use crate::sql::args;
use crate::{StoreError, Tx, task};
use std::collections::HashMap;
use virga_model::task::{Cause, Task};
use virga_model::{TaskId, Time, UserId};

/// Parties that one claim looks at in a class; the next claim goes on after them.
pub const PARTIES_LOOK_MAX: u32 = 200;

/// What a task is for. The order is the order of claims; the numbers stand in the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// High availability.
    Ha,
    /// Repair and other work of the platform itself.
    Platform,
    /// Something that a person or program asked for.
    User,
    /// Children of batches.
    Bulk,
}

impl Class {
    /// All of them, in the order of claims.
    pub const ALL: [Class; 4] = [Class::Ha, Class::Platform, Class::User, Class::Bulk];

    /// The class of a task; the same as the index says.
    #[must_use]
    pub fn of(t: &Task) -> Class {
        match (t.cause, t.parent) {
            (Cause::Ha, _) => Class::Ha,
            (Cause::User, None) => Class::User,
            (Cause::User, Some(_)) => Class::Bulk,
            _ => Class::Platform,
        }
    }

    fn number(self) -> i64 {
        match self {
            Class::Ha => 0,
            Class::Platform => 1,
            Class::User => 2,
            Class::Bulk => 3,
        }
    }
}

/// Who claims, when, and until when the lease lasts.
#[derive(Clone, Copy, Debug)]
pub struct Lease<'a> {
    /// Instance of the manager.
    pub owner: &'a str,
    /// Now.
    pub now: Time,
    /// End of the lease.
    pub until: Time,
}

/// What may be claimed of a class.
#[derive(Clone, Copy, Debug)]
pub struct Room<'a> {
    /// Places.
    pub places: u32,
    /// Most places of one party, with those that it holds.
    pub party_max: u32,
    /// Places that parties hold.
    pub held: &'a HashMap<Option<UserId>, u32>,
}

/// The party that was served last in a class.
#[derive(Clone, Debug, Default)]
pub struct Turn(Option<String>);

/// The index's expressions, in the same words.
macro_rules! sql {
    (class) => {
        "CASE WHEN cause = 'ha' THEN 0 WHEN cause <> 'user' THEN 1 WHEN parent IS NULL THEN 2 ELSE 3 END"
    };
    (party) => {
        "COALESCE(requester, '')"
    };
    (due) => {
        "CASE WHEN lease_until IS NOT NULL AND lease_until > not_before THEN lease_until ELSE not_before END"
    };
    (of_class) => {
        concat!("FROM task WHERE state IN ('queued', 'running') AND ", sql!(class), " = $1")
    };
}

/// The parties of a class from a name on, with the first time at which one of their tasks is due.
const PARTIES: &str = concat!(
    "WITH RECURSIVE party (name) AS (SELECT (SELECT ",
    sql!(party),
    " ",
    sql!(of_class),
    " AND ",
    sql!(party),
    " >= $2 ORDER BY ",
    sql!(party),
    " LIMIT 1) UNION ALL SELECT (SELECT ",
    sql!(party),
    " ",
    sql!(of_class),
    " AND ",
    sql!(party),
    " > party.name ORDER BY ",
    sql!(party),
    " LIMIT 1) FROM party WHERE party.name IS NOT NULL) SELECT name, (SELECT ",
    sql!(due),
    " ",
    sql!(of_class),
    " AND ",
    sql!(party),
    " = party.name ORDER BY ",
    sql!(due),
    " LIMIT 1) AS due FROM party WHERE name IS NOT NULL LIMIT $3 + 0"
);

/// The due tasks of a party, the longest due first.
const TASKS: &str =
    concat!("SELECT id ", sql!(of_class), " AND ", sql!(party), " = $2 AND ", sql!(due), " <= $3 ORDER BY ", sql!(due), ", created_at, id LIMIT $4 + 0");

/// When the first active task is due.
pub(crate) const NEXT_DUE: &str = concat!("SELECT ", sql!(due), " AS due FROM task WHERE state IN ('queued', 'running') ORDER BY ", sql!(due), " LIMIT 1");

/// Leases due tasks of a class: active, not before now, with no lease or one that has run out.
///
/// # Errors
/// What the database says.
pub async fn claim(tx: &mut Tx, lease: Lease<'_>, class: Class, room: Room<'_>, turn: &mut Turn) -> Result<Vec<Task>, StoreError> {
    if room.places == 0 {
        return Ok(Vec::new());
    }
    let mut parties = due_parties(tx, lease.now, class, turn).await?;
    parties.retain(|p| free(p, room) > 0);
    parties.truncate(room.places as usize);
    let others = u32::try_from(parties.len()).unwrap_or(u32::MAX).saturating_sub(1);
    let mut queues = Vec::with_capacity(parties.len());
    for party in &parties {
        // What is left when every other party gets one.
        let most = free(party, room).min(room.places - others);
        let rows = tx.all(TASKS, args![class.number(), party, lease.now, most]).await?;
        queues.push(rows.iter().map(|r| r.id("id")).collect::<Result<Vec<TaskId>, _>>()?);
    }
    let mut claimed = Vec::new();
    for (party, id) in in_turns(&queues).take(room.places as usize) {
        // The condition again: on PostgreSQL another manager may have been faster since.
        if let Some(t) = task::lease(tx, id, lease.owner, lease.now, lease.until).await? {
            turn.0 = Some(parties[party].clone());
            claimed.push(t);
        }
    }
    Ok(claimed)
}

/// The first of each queue, then the second of each, and so on; with the number of the queue.
fn in_turns(queues: &[Vec<TaskId>]) -> impl Iterator<Item = (usize, TaskId)> {
    let longest = queues.iter().map(Vec::len).max().unwrap_or(0);
    (0..longest).flat_map(move |n| queues.iter().enumerate().filter_map(move |(party, q)| Some((party, *q.get(n)?))))
}

fn free(party: &str, room: Room<'_>) -> u32 {
    let who = if party.is_empty() { None } else { party.parse::<uuid::Uuid>().ok().map(UserId) };
    room.party_max.saturating_sub(room.held.get(&who).copied().unwrap_or(0))
}

/// The parties that have something due, beginning after the one that was served last.
async fn due_parties(tx: &mut Tx, now: Time, class: Class, turn: &Turn) -> Result<Vec<String>, StoreError> {
    // The smallest text after the name of a party.
    let from = turn.0.as_ref().map(|p| format!("{p}!"));
    let mut due = Vec::new();
    let rows = tx.all(PARTIES, args![class.number(), from.clone().unwrap_or_default(), PARTIES_LOOK_MAX]).await?;
    let before = match &from {
        Some(_) if rows.len() < PARTIES_LOOK_MAX as usize => tx.all(PARTIES, args![class.number(), "", PARTIES_LOOK_MAX]).await?,
        _ => Vec::new(),
    };
    let around = rows.iter().map(|r| (r, true)).chain(before.iter().map(|r| (r, false)));
    for (row, after) in around {
        let name = row.text("name")?;
        let again = !after && from.as_ref().is_some_and(|f| name >= *f);
        if !again && row.opt_time("due")?.is_some_and(|t| t <= now) {
            due.push(name);
        }
    }
    Ok(due)
}

/// How many active tasks an account asked for, counted up to `most`.
///
/// # Errors
/// What the database says.
pub async fn active_of_requester(tx: &mut Tx, requester: UserId, most: u32) -> Result<u32, StoreError> {
    let sql = "SELECT COUNT(*) AS n FROM (SELECT 1 FROM task WHERE requester = $1 AND state IN ('queued', 'running') LIMIT $2 + 0) AS a_few";
    count(tx, sql, args![requester, most]).await
}

/// How many tasks are active, counted up to `most`.
///
/// # Errors
/// What the database says.
pub async fn active(tx: &mut Tx, most: u32) -> Result<u32, StoreError> {
    let sql = "SELECT COUNT(*) AS n FROM (SELECT 1 FROM task WHERE state IN ('queued', 'running') LIMIT $1 + 0) AS a_few";
    count(tx, sql, args![most]).await
}

async fn count(tx: &mut Tx, sql: &'static str, args: Vec<crate::sql::Arg>) -> Result<u32, StoreError> {
    let row = tx.opt(sql, args).await?;
    Ok(row.map(|r| r.int("n")).transpose()?.map_or(0, |n| u32::try_from(n).unwrap_or(u32::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Store;
    use sqlx::AssertSqlSafe;

    #[test]
    fn one_of_each_comes_before_the_second_of_any() {
        let id = |n: u128| TaskId(uuid::Uuid::from_u128(n));
        let queues = [vec![id(1), id(2), id(3)], vec![id(4)], vec![], vec![id(5), id(6)]];
        let order: Vec<u128> = in_turns(&queues).map(|(_, t)| t.0.as_u128()).collect();
        assert_eq!(order, [1, 4, 5, 2, 6, 3]);
    }

    #[tokio::test]
    async fn claims_read_indexes_only() {
        let store = Store::memory().await.unwrap();
        let mut tx = store.read().await.unwrap();
        for (sql, args, index) in
            [(PARTIES, args![2_i64, "", 10_u32], "task_turn"), (TASKS, args![2_i64, "x", Time(5), 10_u32], "task_turn"), (NEXT_DUE, args![], "task_next_due")]
        {
            let plan = tx.all(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}")), args).await.unwrap();
            let plan: Vec<String> = plan.iter().map(|r| r.text("detail").unwrap()).collect();
            assert!(plan.iter().any(|l| l.contains(index)), "{plan:?}");
            assert!(!plan.iter().any(|l| l.contains("TEMP B-TREE") || (l.contains("SCAN task") && !l.contains("USING"))), "{plan:?}");
        }
    }
}
