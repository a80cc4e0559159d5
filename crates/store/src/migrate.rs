//! Brings the schema up to date: numbered scripts that are part of the program, each applied once and in order.
//!
//! A script that was applied is remembered with its hash. A database that knows a script this program does not know,
//! or knows it with other content, is refused: an older Virga must never write into a newer database.

use crate::sql::args;
use crate::{Store, StoreError, Tx};
use sha2::{Digest, Sha256};

/// The scripts, oldest first.
const SCRIPTS: [(i64, &str); 12] = [
    (1, include_str!("../migrations/0001_first.sql")),
    (2, include_str!("../migrations/0002_load.sql")),
    (3, include_str!("../migrations/0003_audit_anchor.sql")),
    (4, include_str!("../migrations/0004_managers.sql")),
    (5, include_str!("../migrations/0005_turns.sql")),
    (6, include_str!("../migrations/0006_vm_lists.sql")),
    (7, include_str!("../migrations/0007_snapshot.sql")),
    (8, include_str!("../migrations/0008_package.sql")),
    (9, include_str!("../migrations/0009_data_store.sql")),
    (10, include_str!("../migrations/0010_snapshot_memory.sql")),
    (11, include_str!("../migrations/0011_schedule.sql")),
    (12, include_str!("../migrations/0012_clone.sql")),
];

/// Newest version of the schema that this program knows.
pub(crate) fn newest() -> i64 {
    SCRIPTS.iter().map(|(v, _)| *v).max().unwrap_or(0)
}

/// The scripts up to a version, oldest first.
pub(crate) fn scripts(up_to: i64) -> impl Iterator<Item = &'static str> {
    SCRIPTS.iter().filter(move |(v, _)| *v <= up_to).map(|(_, text)| *text)
}

/// Applies what is missing, up to version `last` (none: all). Each script is a transaction of its own together with the
/// row that says so: a crash between two leaves a schema of a known version, and the next start goes on there
/// (`reliability.md` D8).
pub(crate) async fn run(store: &Store, last: Option<i64>) -> Result<(), StoreError> {
    loop {
        let mut tx = store.write().await?;
        let next = step(&mut tx, last).await?;
        tx.commit().await?;
        match next {
            Some(version) => tracing::info!(version, "schema script applied"),
            None => return Ok(()),
        }
    }
}

/// Applies the oldest missing script; its version.
pub(crate) async fn step(tx: &mut Tx, last: Option<i64>) -> Result<Option<i64>, StoreError> {
    tx.script("CREATE TABLE IF NOT EXISTS schema_script (version BIGINT PRIMARY KEY NOT NULL, sha256 TEXT NOT NULL)").await?;
    let done = applied(tx).await?;
    for (version, hash) in &done {
        let known = SCRIPTS.iter().find(|(v, _)| v == version);
        if known.is_none_or(|(_, text)| sha256(text) != *hash) {
            let why =
                format!("the database has schema script {version}, which this version of Virga does not know; use the Virga that wrote it, or a newer one");
            return Err(StoreError::Setup(why));
        }
    }
    let missing = |v: i64| last.is_none_or(|l| v <= l) && !done.iter().any(|(d, _)| *d == v);
    let Some((version, text)) = SCRIPTS.iter().find(|(v, _)| missing(*v)) else { return Ok(None) };
    tx.script(text).await?;
    tx.exec("INSERT INTO schema_script (version, sha256) VALUES ($1, $2)", args![*version, sha256(text)]).await?;
    Ok(Some(*version))
}

async fn applied(tx: &mut Tx) -> Result<Vec<(i64, String)>, StoreError> {
    let rows = tx.all("SELECT version, sha256 FROM schema_script ORDER BY version", args![]).await?;
    rows.iter().map(|r| Ok((r.int("version")?, r.text("sha256")?))).collect()
}

fn sha256(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}
