//! Removes what has expired: sessions, console tickets, kept answers, old events and tasks.

use crate::state::Manager;
use virga_model::Error;

/// Seconds for which answers to requests with an `Idempotency-Key` are kept.
const ANSWER_SECONDS: i64 = 86_400;
/// Seconds for which events are kept: 90 days.
const EVENT_SECONDS: i64 = 90 * 86_400;
/// Seconds for which ended tasks are kept: 30 days.
const TASK_SECONDS: i64 = 30 * 86_400;
/// Rows removed in one transaction, so that no writer waits long.
const ROWS_MAX: u32 = 1000;

/// One round.
pub async fn round(m: &Manager) -> Result<(), Error> {
    let now = m.now();
    let mut tx = m.store.write().await?;
    virga_store::session::delete_expired(&mut tx, now).await?;
    virga_store::ticket::delete_expired(&mut tx, now).await?;
    virga_store::idempotency::delete_old(&mut tx, now.plus_seconds(-ANSWER_SECONDS)).await?;
    tx.commit().await?;
    let mut tx = m.store.write().await?;
    virga_store::event::delete_old(&mut tx, now.plus_seconds(-EVENT_SECONDS), ROWS_MAX).await?;
    virga_store::task::delete_old(&mut tx, now.plus_seconds(-TASK_SECONDS), ROWS_MAX).await?;
    Ok(tx.commit().await?)
}
