//! For tests of other crates: what stands in the database as a whole, and an audit table that cannot be written.
//!
//! Nothing of the product may use it.

use crate::db::Dialect;
use crate::sql::{Row, args};
use crate::{Store, StoreError, Tx};
use sha2::{Digest, Sha256};
use sqlx::AssertSqlSafe;
use std::collections::BTreeMap;

/// Takes the audit table away, or gives it back: from then on every append fails, as with a full disk.
///
/// # Errors
/// What the database says.
pub async fn audit_gone(store: &Store, gone: bool) -> Result<(), StoreError> {
    let mut tx = store.write().await?;
    tx.script(if gone { "ALTER TABLE audit RENAME TO audit_gone" } else { "ALTER TABLE audit_gone RENAME TO audit" }).await?;
    tx.commit().await
}

/// Runs one statement.
///
/// # Errors
/// What the database says.
pub async fn statement(store: &Store, sql: &'static str) -> Result<u64, StoreError> {
    let mut tx = store.write().await?;
    let n = tx.exec(sql, args![]).await?;
    tx.commit().await?;
    Ok(n)
}

async fn tables(tx: &mut Tx, dialect: Dialect) -> Result<Vec<String>, StoreError> {
    let sql = match dialect {
        Dialect::Sqlite => "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name",
        Dialect::Postgres => "SELECT CAST(tablename AS TEXT) AS name FROM pg_tables WHERE schemaname = current_schema() ORDER BY tablename",
    };
    tx.all(sql, args![]).await?.iter().map(|r| r.text("name")).collect()
}

fn row_text(r: &Row) -> String {
    r.names.iter().zip(&r.cells).map(|(name, cell)| format!("{name}={cell:?}")).collect::<Vec<_>>().join("\u{1f}")
}

/// A hash of all rows of each table, but for those in `without`.
///
/// # Errors
/// What the database says.
pub async fn digest(store: &Store, without: &[&str]) -> Result<BTreeMap<String, String>, StoreError> {
    let mut tx = store.read().await?;
    let mut all = BTreeMap::new();
    for table in tables(&mut tx, store.dialect()).await?.into_iter().filter(|t| !without.contains(&t.as_str())) {
        let mut rows: Vec<String> = tx.scan(AssertSqlSafe(format!("SELECT * FROM {table}")), args![]).await?.iter().map(row_text).collect();
        rows.sort();
        all.insert(table, hex::encode(Sha256::digest(rows.join("\n").as_bytes())));
    }
    Ok(all)
}
