//! Signed-in sessions. Only hashes of their secrets are here.

use crate::sql::{Row, args};
use crate::{Mark, StoreError, Tx};
use virga_model::user::Session;
use virga_model::{SessionId, Time, UserId};

fn read(r: &Row) -> Result<Session, StoreError> {
    Ok(Session {
        id: r.id("id")?,
        user: r.id("user_id")?,
        secret_sha256: r.text("secret_sha256")?,
        csrf_sha256: r.text("csrf_sha256")?,
        expires_at: r.time("expires_at")?,
        used_at: r.time("used_at")?,
        created_at: r.time("created_at")?,
    })
}

/// Adds a session.
///
/// # Errors
/// What the database says.
pub async fn insert(tx: &mut Tx, s: &Session) -> Result<(), StoreError> {
    let sql = "INSERT INTO session (id, user_id, secret_sha256, csrf_sha256, expires_at, used_at, created_at) \
               VALUES ($1, $2, $3, $4, $5, $6, $7)";
    tx.exec(sql, args![s.id, s.user, &s.secret_sha256, &s.csrf_sha256, s.expires_at, s.used_at, s.created_at]).await?;
    Ok(())
}

/// The session with the secret of this hash, expired or not.
///
/// # Errors
/// What the database says.
pub async fn by_secret(tx: &mut Tx, secret_sha256: &str) -> Result<Option<Session>, StoreError> {
    tx.opt("SELECT * FROM session WHERE secret_sha256 = $1", args![secret_sha256]).await?.as_ref().map(read).transpose()
}

/// Notes that the session was used.
///
/// # Errors
/// What the database says.
pub async fn touch(tx: &mut Tx, id: SessionId, used_at: Time) -> Result<(), StoreError> {
    tx.exec("UPDATE session SET used_at = $1 WHERE id = $2 AND used_at < $1", args![used_at, id]).await?;
    Ok(())
}

/// Ends a session; false when there is none.
///
/// # Errors
/// What the database says.
pub async fn delete(tx: &mut Tx, id: SessionId) -> Result<bool, StoreError> {
    tx.mark(Mark::Credentials);
    Ok(tx.exec("DELETE FROM session WHERE id = $1", args![id]).await? > 0)
}

/// Ends all sessions of a user; how many.
///
/// # Errors
/// What the database says.
pub async fn delete_of_user(tx: &mut Tx, user: UserId) -> Result<u64, StoreError> {
    tx.mark(Mark::Credentials);
    tx.exec("DELETE FROM session WHERE user_id = $1", args![user]).await
}

/// Removes the sessions that ended by `now`; how many.
///
/// # Errors
/// What the database says.
pub async fn delete_expired(tx: &mut Tx, now: Time) -> Result<u64, StoreError> {
    tx.mark(Mark::Credentials);
    tx.exec("DELETE FROM session WHERE expires_at <= $1", args![now]).await
}
