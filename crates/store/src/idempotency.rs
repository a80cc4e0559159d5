//! Answers to requests that carried an `Idempotency-Key`, so that a repeated request gets the same answer.

use crate::sql::args;
use crate::{StoreError, Tx};
use virga_model::{Time, UserId};

/// What is known of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begin {
    /// Never seen: it is remembered now, do the work and call [`finish`].
    New,
    /// Done before: answer the same.
    Replay {
        /// HTTP status.
        status: u16,
        /// Body.
        body: String,
        /// `Location` header.
        location: Option<String>,
    },
    /// The key came with another request before.
    Mismatch,
    /// The first request with this key has not ended.
    InProgress,
}

/// Begins the request with `key` of `user`, whose content has the hash `request_sha`.
///
/// The wall clock is read here, only to know later which rows are old ([`delete_old`]).
///
/// # Errors
/// What the database says.
pub async fn begin(tx: &mut Tx, user: UserId, key: &str, request_sha: &str) -> Result<Begin, StoreError> {
    let sql = "INSERT INTO idempotency (user_id, idempotency_key, request_sha256, created_at) VALUES ($1, $2, $3, $4) \
               ON CONFLICT (user_id, idempotency_key) DO NOTHING";
    if tx.exec(sql, args![user, key, request_sha, wall_clock()]).await? > 0 {
        return Ok(Begin::New);
    }
    let sql = "SELECT request_sha256, status, body, location FROM idempotency WHERE user_id = $1 AND idempotency_key = $2";
    let Some(row) = tx.opt(sql, args![user, key]).await? else { return Ok(Begin::InProgress) };
    if row.text("request_sha256")? != request_sha {
        return Ok(Begin::Mismatch);
    }
    if row.opt_int("status")?.is_none() {
        return Ok(Begin::InProgress);
    }
    Ok(Begin::Replay { status: row.number("status")?, body: row.opt_text("body")?.unwrap_or_default(), location: row.opt_text("location")? })
}

/// Remembers the answer. Do it in the transaction of the change itself.
///
/// # Errors
/// [`StoreError::NotFound`] when the key was not begun, or what the database says.
pub async fn finish(tx: &mut Tx, user: UserId, key: &str, status: u16, body: &str, location: Option<&str>) -> Result<(), StoreError> {
    let sql = "UPDATE idempotency SET status = $1, body = $2, location = $3 WHERE user_id = $4 AND idempotency_key = $5";
    let n = tx.exec(sql, args![u32::from(status), body, location.map(str::to_string), user, key]).await?;
    if n == 0 { Err(StoreError::NotFound { what: "idempotency key", name: key.into() }) } else { Ok(()) }
}

/// Forgets a key whose request did not come to an answer, so that it can be tried again.
///
/// # Errors
/// What the database says.
pub async fn abandon(tx: &mut Tx, user: UserId, key: &str) -> Result<bool, StoreError> {
    let sql = "DELETE FROM idempotency WHERE user_id = $1 AND idempotency_key = $2 AND status IS NULL";
    Ok(tx.exec(sql, args![user, key]).await? > 0)
}

/// Forgets what was begun before `before`; how many.
///
/// # Errors
/// What the database says.
pub async fn delete_old(tx: &mut Tx, before: Time) -> Result<u64, StoreError> {
    tx.exec("DELETE FROM idempotency WHERE created_at < $1", args![before]).await
}

fn wall_clock() -> Time {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Time(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
