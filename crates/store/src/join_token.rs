//! One-time permissions for hosts to join. Only hashes of their secrets are here.

use crate::sql::{Row, args};
use crate::{StoreError, Tx};
use virga_model::host::JoinToken;
use virga_model::{HostId, JoinTokenId, Time};

fn read(r: &Row) -> Result<JoinToken, StoreError> {
    Ok(JoinToken {
        id: r.id("id")?,
        host_name: r.text("host_name")?,
        secret_sha256: r.text("secret_sha256")?,
        expires_at: r.time("expires_at")?,
        used_by: r.opt_id("used_by")?,
    })
}

/// Adds a join token.
///
/// # Errors
/// What the database says.
pub async fn insert(tx: &mut Tx, t: &JoinToken) -> Result<(), StoreError> {
    let sql = "INSERT INTO join_token (id, host_name, secret_sha256, expires_at, used_by) VALUES ($1, $2, $3, $4, $5)";
    tx.exec(sql, args![t.id, &t.host_name, &t.secret_sha256, t.expires_at, t.used_by]).await?;
    Ok(())
}

/// Uses the join token with the secret of this hash for `host`. None when there is none, it was used, or has expired.
///
/// # Errors
/// What the database says.
pub async fn take(tx: &mut Tx, secret_sha256: &str, now: Time, host: HostId) -> Result<Option<JoinToken>, StoreError> {
    let sql = "UPDATE join_token SET used_by = $1 WHERE secret_sha256 = $2 AND used_by IS NULL AND expires_at > $3 RETURNING *";
    tx.opt(sql, args![host, secret_sha256, now]).await?.as_ref().map(read).transpose()
}

/// The join tokens that can still be used at `now`, by host name.
///
/// # Errors
/// What the database says.
pub async fn list_open(tx: &mut Tx, now: Time) -> Result<Vec<JoinToken>, StoreError> {
    let sql = "SELECT * FROM join_token WHERE used_by IS NULL AND expires_at > $1 ORDER BY host_name, id";
    tx.all(sql, args![now]).await?.iter().map(read).collect()
}

/// Removes a join token; false when there is none.
///
/// # Errors
/// What the database says.
pub async fn delete(tx: &mut Tx, id: JoinTokenId) -> Result<bool, StoreError> {
    Ok(tx.exec("DELETE FROM join_token WHERE id = $1", args![id]).await? > 0)
}
