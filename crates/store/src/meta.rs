//! Single values of the installation: its id, first-run flags.

use crate::sql::args;
use crate::{StoreError, Tx};

/// The value of `key`.
///
/// # Errors
/// What the database says.
pub async fn get(tx: &mut Tx, key: &str) -> Result<Option<String>, StoreError> {
    let row = tx.opt("SELECT value FROM meta WHERE name = $1", args![key]).await?;
    row.map(|r| r.text("value")).transpose()
}

/// Gives `key` a value.
///
/// # Errors
/// What the database says.
pub async fn set(tx: &mut Tx, key: &str, value: &str) -> Result<(), StoreError> {
    let sql = "INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    tx.exec(sql, args![key, value]).await?;
    Ok(())
}
