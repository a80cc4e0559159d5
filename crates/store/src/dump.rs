//! All rows, out of one database and into another, whatever their engines: what a backup of the manager's state is made
//! of (`reliability.md` D4).
//!
//! Rows are read in one transaction that sees one state throughout, while managers go on. They are written into an empty
//! schema of the version they were read from, and then brought up to date like any other, all in one transaction: a
//! restore that is broken off leaves what was there before. A table is a text of lines: the names of its columns as a
//! JSON array, then each row as a JSON array of texts, numbers and nulls.
//!
//! What restored rows must not do by themselves (start, stop, remove anything) is seen to by [`crate::restored`].

use crate::sql::{Arg, Cell, Row, args};
use crate::{Dialect, Store, StoreError, Tx, migrate};
use serde_json::Value;
use sqlx::AssertSqlSafe;
use std::collections::BTreeSet;

/// Values bound by one statement; SQLite takes 32,766.
const VALUES_MAX: usize = 2000;

/// The tables of a version of the schema: what a table refers to comes before it.
#[must_use]
pub fn tables(version: i64) -> Vec<String> {
    let mut out: Vec<(String, BTreeSet<String>)> = Vec::new();
    let mut current = String::new();
    let words =
        |line: &str| line.split_whitespace().map(|w| w.trim_matches(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).to_string()).collect::<Vec<_>>();
    for line in migrate::scripts(version).flat_map(str::lines).filter(|l| !l.trim_start().starts_with("--")) {
        let w = words(line);
        match w.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["CREATE", "TABLE", name, ..] => {
                current = (*name).to_string();
                out.push((current.clone(), BTreeSet::new()));
            }
            ["ALTER", "TABLE", name, ..] => current = (*name).to_string(),
            ["DROP", "TABLE", name, ..] => out.retain(|(t, _)| t != name),
            _ => {}
        }
        if let Some(at) = w.iter().position(|x| x == "REFERENCES")
            && let (Some(to), Some((_, refs))) = (w.get(at + 1), out.iter_mut().find(|(t, _)| *t == current))
            && *to != current
        {
            refs.insert(to.clone());
        }
    }
    let mut ordered: Vec<String> = Vec::new();
    while !out.is_empty() {
        // Our scripts have no circles of references; should one ever have, the rest keeps its order.
        let at = out.iter().position(|(_, refs)| refs.iter().all(|r| ordered.contains(r))).unwrap_or(0);
        ordered.push(out.remove(at).0);
    }
    ordered
}

/// The newest version of the schema that this program knows.
#[must_use]
pub fn newest_version() -> i64 {
    migrate::newest()
}

/// The version of the schema that the database has; 0 when it has none.
///
/// # Errors
/// What the database says.
pub async fn version(tx: &mut Tx) -> Result<i64, StoreError> {
    if !existing(tx).await?.contains("schema_script") {
        return Ok(0);
    }
    let row = tx.opt("SELECT MAX(version) AS version FROM schema_script", args![]).await?;
    Ok(row.map(|r| r.opt_int("version")).transpose()?.flatten().unwrap_or(0))
}

/// Gives every line of `table` to `line`; answers with the number of rows.
///
/// # Errors
/// What the database says, or `line`'s own.
pub async fn rows(tx: &mut Tx, table: &str, mut line: impl FnMut(&str) -> std::io::Result<()> + Send) -> Result<u64, StoreError> {
    let mut count = 0;
    let wrote = |e| StoreError::Db(sqlx::Error::Io(e));
    let sql = format!("SELECT * FROM {}", known(table)?);
    tx.each(AssertSqlSafe(sql), |row| {
        if count == 0 {
            line(&crate::sql::json(&row.names.as_ref())?).map_err(wrote)?;
        }
        count += 1;
        line(&crate::sql::json(&values(row))?).map_err(wrote)
    })
    .await?;
    Ok(count)
}

fn values(row: &Row) -> Vec<Value> {
    let value = |c: &Cell| match c {
        Cell::Null => Value::Null,
        Cell::Int(n) => (*n).into(),
        Cell::Text(t) => t.as_str().into(),
    };
    row.cells.iter().map(value).collect()
}

/// The table's name, if it is one of ours: only such names become part of a statement.
fn known(table: &str) -> Result<String, StoreError> {
    let found = tables(migrate::newest()).into_iter().find(|t| t == table);
    found.ok_or_else(|| StoreError::Setup(format!("There is no table \"{}\" in the manager's state.", table.chars().take(64).collect::<String>())))
}

/// The tables that are in the database now.
async fn existing(tx: &mut Tx) -> Result<BTreeSet<String>, StoreError> {
    let sql = match tx.dialect() {
        Dialect::Sqlite => "SELECT name AS name FROM sqlite_master WHERE type = 'table'",
        Dialect::Postgres => "SELECT CAST(table_name AS TEXT) AS name FROM information_schema.tables WHERE table_schema = current_schema()",
    };
    tx.all(sql, args![]).await?.iter().map(|r| r.text("name")).collect()
}

/// Whether somebody's state is in the database: accounts are the first thing that a manager makes.
async fn is_used(tx: &mut Tx) -> Result<bool, StoreError> {
    if !existing(tx).await?.contains("account") {
        return Ok(false);
    }
    let n = tx.opt("SELECT COUNT(*) AS n FROM account", args![]).await?.map(|r| r.int("n")).transpose()?;
    Ok(n.is_some_and(|n| n > 0))
}

/// Begins to write rows of a schema of `version` into `store`, which must be opened by [`Store::open_bare`]. With
/// `replace` what is there is removed, in the same transaction.
///
/// # Errors
/// [`StoreError::Setup`] when the version is newer than this program, or when the database holds somebody's state and
/// `replace` is not given.
pub async fn begin(store: &Store, version: i64, replace: bool) -> Result<Tx, StoreError> {
    let newest = migrate::newest();
    if !(1..=newest).contains(&version) {
        let why =
            format!("The rows are of schema version {version}; this virga-manager knows up to {newest}. Use the version that wrote them, or a newer one.");
        return Err(StoreError::Setup(why));
    }
    let mut tx = store.write().await?;
    if is_used(&mut tx).await? {
        if !replace {
            let why = "The database holds the state of a manager already. Give an empty one, or --force to replace what is there.";
            return Err(StoreError::Setup(why.into()));
        }
        let there = self::version(&mut tx).await?;
        if there > newest {
            return Err(StoreError::Setup(format!("The database has schema version {there}, of a newer Virga; it is not replaced by an older one.")));
        }
    }
    let there = existing(&mut tx).await?;
    let ours: Vec<String> = tables(newest).into_iter().rev().chain(["schema_script".to_string()]).collect();
    for table in ours.iter().filter(|t| there.contains(*t)) {
        tx.exec(AssertSqlSafe(format!("DROP TABLE {table}")), args![]).await?;
    }
    while migrate::step(&mut tx, Some(version)).await?.is_some() {}
    // Some scripts write first rows; those of the backup take their place.
    for table in tables(version).into_iter().rev() {
        tx.exec(AssertSqlSafe(format!("DELETE FROM {table}")), args![]).await?;
    }
    Ok(tx)
}

/// Writes the lines of a table, in the order of [`tables`].
///
/// # Errors
/// [`StoreError::Corrupt`] for lines that are none; what the database says.
pub async fn load(tx: &mut Tx, table: &str, mut lines: impl Iterator<Item = std::io::Result<String>> + Send) -> Result<u64, StoreError> {
    let table = known(table)?;
    let bad = |why: &str| StoreError::Corrupt(format!("table {table}: {why}"));
    let read = |l: std::io::Result<String>| l.map_err(|e| StoreError::Db(sqlx::Error::Io(e)));
    let Some(first) = lines.next() else { return Ok(0) };
    let columns: Vec<String> = serde_json::from_str(&read(first)?).map_err(|_| bad("the first line does not name columns"))?;
    let plain = |c: &String| !c.is_empty() && c.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if columns.is_empty() || !columns.iter().all(plain) {
        return Err(bad("the first line does not name columns"));
    }
    let rows_max = (VALUES_MAX / columns.len()).max(1);
    let (mut waiting, mut count) = (Vec::with_capacity(VALUES_MAX), 0);
    for line in lines {
        let values: Vec<Value> = serde_json::from_str(&read(line)?).map_err(|_| bad("a line is not a row"))?;
        if values.len() != columns.len() {
            return Err(bad("a row has another number of columns"));
        }
        waiting.extend(values);
        count += 1;
        if waiting.len() >= rows_max * columns.len() {
            insert(tx, &table, &columns, std::mem::take(&mut waiting)).await?;
        }
    }
    insert(tx, &table, &columns, waiting).await?;
    Ok(count)
}

async fn insert(tx: &mut Tx, table: &str, columns: &[String], values: Vec<Value>) -> Result<(), StoreError> {
    if values.is_empty() {
        return Ok(());
    }
    let mut args = Vec::with_capacity(values.len());
    let mut text = format!("INSERT INTO {table} ({}) VALUES ", columns.join(", "));
    for (n, value) in values.into_iter().enumerate() {
        let place = match value {
            // NULL has no type here, and a column takes the word itself for any.
            Value::Null => "NULL".to_string(),
            v => {
                args.push(match v {
                    Value::String(s) => Arg::from(s),
                    other => Arg::from(other.as_i64().ok_or_else(|| StoreError::Corrupt(format!("table {table}: a value is neither text nor number")))?),
                });
                format!("${}", args.len())
            }
        };
        let (first, last) = (n % columns.len() == 0, (n + 1) % columns.len() == 0);
        text.push_str(if first && n > 0 {
            ", ("
        } else if first {
            "("
        } else {
            ", "
        });
        text.push_str(&place);
        if last {
            text.push(')');
        }
    }
    tx.exec(AssertSqlSafe(text), args).await?;
    Ok(())
}

/// Brings the schema of the written rows up to date. The caller commits.
///
/// # Errors
/// What the database says.
pub async fn finish(tx: &mut Tx) -> Result<(), StoreError> {
    while migrate::step(tx, None).await?.is_some() {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_referred_to_comes_first() {
        let all = tables(newest_version());
        let at = |name: &str| all.iter().position(|t| t == name).unwrap_or_else(|| panic!("{name} is not in {all:?}"));
        for (first, then) in [("account", "session"), ("host", "vm"), ("vm", "vm_mac"), ("image", "vm_image"), ("vm", "vm_restored"), ("host", "host_load")] {
            assert!(at(first) < at(then), "{first} before {then}: {all:?}");
        }
        assert!(!tables(1).contains(&"manager".to_string()), "of a later version");
    }
}
