//! The lease of each background loop: with several managers, one at a time runs it.

use crate::sql::args;
use crate::{StoreError, Tx};
use virga_model::Time;

/// Takes or extends the lease of loop `name` until `until`; false when another owner holds it at `now`.
///
/// A lease that ends later than `latest`, which no manager would take now, was taken under a clock that was ahead, and
/// holds nobody up: else no manager would run the loop until that time.
///
/// # Errors
/// What the database says.
pub async fn try_take(tx: &mut Tx, name: &str, owner: &str, now: Time, until: Time, latest: Time) -> Result<bool, StoreError> {
    let sql = "INSERT INTO loop_lease (name, owner, until_at) VALUES ($1, $2, $3) \
               ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, until_at = excluded.until_at \
               WHERE loop_lease.owner = excluded.owner OR loop_lease.until_at <= $4 OR loop_lease.until_at > $5";
    Ok(tx.exec(sql, args![name, owner, until, now, latest]).await? > 0)
}
