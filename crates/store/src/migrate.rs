//! Brings the schema up to date: numbered scripts that are part of the program, each applied once and in order.
//!
//! A script that was applied is remembered with its hash. A database that knows a script this program does not know,
//! or knows it with other content, is refused: an older Virga must never write into a newer database.

use crate::sql::{Cols, args};
use crate::{Store, StoreError, Tx};
use sha2::{Digest, Sha256};

/// The scripts, oldest first.
const SCRIPTS: [(i64, &str); 1] = [(1, include_str!("../migrations/0001_first.sql"))];

/// Applies what is missing, all in one transaction.
pub(crate) async fn run(store: &Store) -> Result<(), StoreError> {
    let mut tx = store.write().await?;
    tx.script("CREATE TABLE IF NOT EXISTS schema_script (version BIGINT PRIMARY KEY NOT NULL, sha256 TEXT NOT NULL)").await?;
    let done = applied(&mut tx).await?;
    for (version, hash) in &done {
        let known = SCRIPTS.iter().find(|(v, _)| v == version);
        if known.is_none_or(|(_, text)| sha256(text) != *hash) {
            let why =
                format!("the database has schema script {version}, which this version of Virga does not know; use the Virga that wrote it, or a newer one");
            return Err(StoreError::Db(sqlx::Error::Configuration(why.into())));
        }
    }
    for (version, text) in SCRIPTS.iter().filter(|(v, _)| !done.iter().any(|(d, _)| d == v)) {
        tx.script(text).await?;
        tx.exec("INSERT INTO schema_script (version, sha256) VALUES ($1, $2)", args![*version, sha256(text)]).await?;
        tracing::info!(version, "schema script applied");
    }
    tx.commit().await
}

async fn applied(tx: &mut Tx) -> Result<Vec<(i64, String)>, StoreError> {
    let rows = tx.all("SELECT version, sha256 FROM schema_script ORDER BY version", args![]).await?;
    rows.iter().map(|r| Ok((r.int("version")?, r.text("sha256")?))).collect()
}

fn sha256(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}
