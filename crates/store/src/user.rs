//! Accounts.

use crate::filter_sql::{Field, Fields, Kind};
use crate::list::{self, Page, Paged, Table};
use crate::sql::{Row, args, corrupt};
use crate::{Mark, StoreError, Tx};
use virga_model::user::User;
use virga_model::{Time, UserId};

const TABLE: Table = Table {
    columns: "account.*",
    from: "account",
    id: "account.id",
    id_kind: Kind::Id,
    fields: Fields {
        list: &[
            Field::new("name", Kind::Text, &["account.name"]),
            Field::new("id", Kind::Id, &["account.id"]),
            Field::new("disabled", Kind::Bool, &["account.disabled"]),
            Field::new("must_change", Kind::Bool, &["account.must_change"]),
            Field::new("created_at", Kind::Time, &["account.created_at"]),
        ],
        labels: false,
    },
    sort: "name",
    descending: false,
};

fn read(r: &Row) -> Result<User, StoreError> {
    Ok(User {
        id: r.id("id")?,
        name: r.text("name")?,
        password_hash: r.text("password_hash")?,
        must_change: r.flag("must_change")?,
        disabled: r.flag("disabled")?,
        failures: r.number("failures")?,
        locked_until: r.opt_time("locked_until")?,
        generation: r.int("generation")?,
        created_at: r.time("created_at")?,
    })
}

/// Adds an account.
///
/// # Errors
/// [`StoreError::Taken`] on `name`, or what the database says.
pub async fn insert(tx: &mut Tx, u: &User) -> Result<(), StoreError> {
    tx.mark(Mark::Credentials);
    let sql = "INSERT INTO account (id, name, password_hash, must_change, disabled, failures, locked_until, generation, created_at) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    let a = args![u.id, &u.name, &u.password_hash, u.must_change, u.disabled, u.failures, u.locked_until, u.generation, u.created_at];
    tx.exec(sql, a).await?;
    Ok(())
}

/// The account with this id.
///
/// # Errors
/// What the database says.
pub async fn get(tx: &mut Tx, id: UserId) -> Result<Option<User>, StoreError> {
    tx.opt("SELECT * FROM account WHERE id = $1", args![id]).await?.as_ref().map(read).transpose()
}

/// The account with this login name.
///
/// # Errors
/// What the database says.
pub async fn by_name(tx: &mut Tx, name: &str) -> Result<Option<User>, StoreError> {
    tx.opt("SELECT * FROM account WHERE name = $1", args![name]).await?.as_ref().map(read).transpose()
}

/// The account with this login name or id.
///
/// # Errors
/// What the database says.
pub async fn by_ref(tx: &mut Tx, name_or_id: &str) -> Result<Option<User>, StoreError> {
    match name_or_id.parse() {
        Ok(id) => get(tx, id).await,
        Err(_) => by_name(tx, name_or_id).await,
    }
}

/// Writes the account, with the generation it carries.
///
/// # Errors
/// [`StoreError::Stale`] when the row's generation is not `expected`, [`StoreError::Taken`] on `name`.
pub async fn update(tx: &mut Tx, u: &User, expected: i64) -> Result<(), StoreError> {
    tx.mark(Mark::Credentials);
    let sql = "UPDATE account SET name = $1, password_hash = $2, must_change = $3, disabled = $4, failures = $5, locked_until = $6, \
               generation = $7 WHERE id = $8 AND generation = $9";
    let a = args![&u.name, &u.password_hash, u.must_change, u.disabled, u.failures, u.locked_until, u.generation, u.id, expected];
    if tx.exec(sql, a).await? == 0 { Err(StoreError::Stale) } else { Ok(()) }
}

/// Notes wrong passwords and the lock that follows, or clears both; the generation stays.
///
/// # Errors
/// What the database says.
pub async fn update_login(tx: &mut Tx, id: UserId, failures: u32, locked_until: Option<Time>) -> Result<(), StoreError> {
    tx.exec("UPDATE account SET failures = $1, locked_until = $2 WHERE id = $3", args![failures, locked_until, id]).await?;
    Ok(())
}

/// Removes the account with its sessions, tokens, tickets and role bindings.
///
/// # Errors
/// [`StoreError::Reference`] while it owns VMs.
pub async fn delete(tx: &mut Tx, id: UserId) -> Result<bool, StoreError> {
    tx.mark(Mark::Credentials);
    Ok(tx.exec("DELETE FROM account WHERE id = $1", args![id]).await? > 0)
}

/// A page of accounts. Fields: `name`, `id`, `disabled`, `must_change`, `created_at`.
///
/// # Errors
/// [`StoreError::Malformed`] for a wrong page, or what the database says.
pub async fn list(tx: &mut Tx, page: &Page) -> Result<Paged<User>, StoreError> {
    list::list(tx, &TABLE, page, |_| "1 = 1".into(), read).await
}

/// How many accounts there are.
///
/// # Errors
/// What the database says.
pub async fn count(tx: &mut Tx) -> Result<i64, StoreError> {
    tx.opt("SELECT COUNT(*) AS n FROM account", args![]).await?.ok_or_else(|| corrupt("n"))?.int("n")
}
