//! Console tickets: each opens one console once.

use crate::sql::{args, word};
use crate::{StoreError, Tx};
use virga_model::Time;
use virga_model::user::ConsoleTicket;

/// Adds a ticket.
///
/// # Errors
/// What the database says.
pub async fn insert(tx: &mut Tx, t: &ConsoleTicket) -> Result<(), StoreError> {
    let sql = "INSERT INTO console_ticket (secret_sha256, user_id, vm_id, kind, expires_at) VALUES ($1, $2, $3, $4, $5)";
    tx.exec(sql, args![&t.secret_sha256, t.user, t.vm, word(&t.kind)?, t.expires_at]).await?;
    Ok(())
}

/// Takes the ticket with the secret of this hash: it is gone then. None when there is none, or it has expired.
///
/// # Errors
/// What the database says.
pub async fn take(tx: &mut Tx, secret_sha256: &str, now: Time) -> Result<Option<ConsoleTicket>, StoreError> {
    let Some(r) = tx.opt("DELETE FROM console_ticket WHERE secret_sha256 = $1 RETURNING *", args![secret_sha256]).await? else {
        return Ok(None);
    };
    let t = ConsoleTicket {
        secret_sha256: r.text("secret_sha256")?,
        user: r.id("user_id")?,
        vm: r.id("vm_id")?,
        kind: r.word("kind")?,
        expires_at: r.time("expires_at")?,
    };
    Ok((t.expires_at > now).then_some(t))
}

/// Removes the tickets that expired by `now`; how many.
///
/// # Errors
/// What the database says.
pub async fn delete_expired(tx: &mut Tx, now: Time) -> Result<u64, StoreError> {
    tx.exec("DELETE FROM console_ticket WHERE expires_at <= $1", args![now]).await
}
