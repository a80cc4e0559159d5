//! API tokens. Only hashes of their secrets are here.

use crate::filter_sql::{Field, Fields, Kind};
use crate::list::{self, Page, Paged, Table};
use crate::sql::{Row, args, json, word};
use crate::{Mark, StoreError, Tx};
use virga_model::user::ApiToken;
use virga_model::{Time, TokenId, UserId};

const TABLE: Table = Table {
    columns: "api_token.*",
    from: "api_token JOIN account ON account.id = api_token.user_id",
    id: "api_token.id",
    id_kind: Kind::Id,
    fields: Fields {
        list: &[
            Field::new("name", Kind::Text, &["api_token.name"]),
            Field::new("id", Kind::Id, &["api_token.id"]),
            Field::new("user", Kind::Text, &["account.name", "account.id"]),
            Field::new("expires_at", Kind::Time, &["api_token.expires_at"]),
            Field::new("used_at", Kind::Time, &["COALESCE(api_token.used_at, 0)"]),
            Field::new("created_at", Kind::Time, &["api_token.created_at"]),
        ],
        labels: false,
    },
    sort: "name",
    descending: false,
};

fn read(r: &Row) -> Result<ApiToken, StoreError> {
    Ok(ApiToken {
        id: r.id("id")?,
        name: r.text("name")?,
        user: r.id("user_id")?,
        secret_sha256: r.text("secret_sha256")?,
        role: r.opt_text("role")?.map(|w| crate::sql::from_word("role", &w)).transpose()?,
        scope: r.opt_json("scope")?,
        expires_at: r.time("expires_at")?,
        used_at: r.opt_time("used_at")?,
        created_at: r.time("created_at")?,
    })
}

/// Adds a token.
///
/// # Errors
/// What the database says.
pub async fn insert(tx: &mut Tx, t: &ApiToken) -> Result<(), StoreError> {
    let sql = "INSERT INTO api_token (id, name, user_id, secret_sha256, role, scope, expires_at, used_at, created_at) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    let role = t.role.map(|r| word(&r)).transpose()?;
    let scope = t.scope.map(|s| json(&s)).transpose()?;
    tx.exec(sql, args![t.id, &t.name, t.user, &t.secret_sha256, role, scope, t.expires_at, t.used_at, t.created_at]).await?;
    Ok(())
}

/// The token with the secret of this hash, expired or not.
///
/// # Errors
/// What the database says.
pub async fn by_secret(tx: &mut Tx, secret_sha256: &str) -> Result<Option<ApiToken>, StoreError> {
    tx.opt("SELECT * FROM api_token WHERE secret_sha256 = $1", args![secret_sha256]).await?.as_ref().map(read).transpose()
}

/// The token with this id.
///
/// # Errors
/// What the database says.
pub async fn get(tx: &mut Tx, id: TokenId) -> Result<Option<ApiToken>, StoreError> {
    tx.opt("SELECT * FROM api_token WHERE id = $1", args![id]).await?.as_ref().map(read).transpose()
}

/// Notes that the token was used.
///
/// # Errors
/// What the database says.
pub async fn touch(tx: &mut Tx, id: TokenId, used_at: Time) -> Result<(), StoreError> {
    let sql = "UPDATE api_token SET used_at = $1 WHERE id = $2 AND (used_at IS NULL OR used_at < $1)";
    tx.exec(sql, args![used_at, id]).await?;
    Ok(())
}

/// Revokes a token; false when there is none.
///
/// # Errors
/// What the database says.
pub async fn delete(tx: &mut Tx, id: TokenId) -> Result<bool, StoreError> {
    tx.mark(Mark::Credentials);
    Ok(tx.exec("DELETE FROM api_token WHERE id = $1", args![id]).await? > 0)
}

/// A page of a user's tokens. Fields as in [`list`].
///
/// # Errors
/// [`StoreError::Malformed`] for a wrong page, or what the database says.
pub async fn of_user(tx: &mut Tx, user: UserId, page: &Page) -> Result<Paged<ApiToken>, StoreError> {
    list::list(tx, &TABLE, page, |b| format!("api_token.user_id = {}", b.bind(user)), read).await
}

/// A page of everybody's tokens. Fields: `name`, `id`, `user`, `expires_at`, `used_at`, `created_at`.
///
/// # Errors
/// [`StoreError::Malformed`] for a wrong page, or what the database says.
pub async fn list(tx: &mut Tx, page: &Page) -> Result<Paged<ApiToken>, StoreError> {
    list::list(tx, &TABLE, page, |_| "1 = 1".into(), read).await
}
