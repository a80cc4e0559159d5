//! A digest, or all, of every table, for tests that must show that nothing was changed or nothing secret is kept.
//!
//! It reads whole tables and is meant for small databases only; no part of the product may call it.

use crate::sql::{Row, args};
use crate::{StoreError, Tx, migrate};
use sha2::{Digest, Sha256};
use sqlx::AssertSqlSafe;
use std::collections::BTreeMap;

/// SHA-256 of each table's rows, by table. `skip` names tables, or columns as `table.column`, that may change at any time.
///
/// # Errors
/// What the database says.
pub async fn tables(tx: &mut Tx, skip: &[&str]) -> Result<BTreeMap<String, String>, StoreError> {
    let mut out = BTreeMap::new();
    for table in names() {
        if skip.contains(&table.as_str()) {
            continue;
        }
        // The name comes from this crate's own scripts.
        let rows = tx.scan(AssertSqlSafe(format!("SELECT * FROM {table}")), args![]).await?;
        let mut texts: Vec<String> = rows.iter().map(|r| text(r, &table, skip)).collect();
        texts.sort_unstable();
        let mut h = Sha256::new();
        for t in texts {
            h.update((t.len() as u64).to_be_bytes());
            h.update(t);
        }
        out.insert(table, hex::encode(h.finalize()));
    }
    Ok(out)
}

/// Every value of every row, by table, for tests that look for what must not be there.
///
/// # Errors
/// What the database says.
pub async fn dump(tx: &mut Tx) -> Result<BTreeMap<String, Vec<String>>, StoreError> {
    let mut out = BTreeMap::new();
    for table in names() {
        let rows = tx.scan(AssertSqlSafe(format!("SELECT * FROM {table}")), args![]).await?;
        let texts = rows.iter().map(|r| text(r, &table, &[])).collect();
        out.insert(table, texts);
    }
    Ok(out)
}

/// The tables that the scripts make.
fn names() -> Vec<String> {
    let lines = migrate::scripts(migrate::newest()).flat_map(str::lines);
    let made = lines.filter_map(|l| l.trim_start().strip_prefix("CREATE TABLE "));
    made.filter_map(|l| l.split([' ', '(']).find(|w| !w.is_empty()).map(str::to_string)).collect()
}

fn text(row: &Row, table: &str, skip: &[&str]) -> String {
    let kept = row.names.iter().zip(&row.cells).filter(|(c, _)| !skip.contains(&format!("{table}.{c}").as_str()));
    kept.map(|(c, v)| format!("{c}={v:?};")).collect()
}
