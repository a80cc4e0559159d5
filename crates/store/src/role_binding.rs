//! Roles granted to users over scopes.

use crate::filter_sql::{Field, Fields, Kind};
use crate::list::{self, Page, Paged, Table};
use crate::sql::{Row, args, corrupt, word};
use crate::{Mark, StoreError, Tx};
use uuid::Uuid;
use virga_model::role::{RoleBinding, Scope};
use virga_model::{RoleBindingId, UserId};

const TABLE: Table = Table {
    columns: "role_binding.*",
    from: "role_binding JOIN account ON account.id = role_binding.user_id",
    id: "role_binding.id",
    id_kind: Kind::Id,
    fields: Fields {
        list: &[
            Field::new("id", Kind::Id, &["role_binding.id"]),
            Field::new("user", Kind::Text, &["account.name", "account.id"]),
            Field::new(
                "role",
                Kind::Word(&["admin", "operator", "user", "viewer", "auditor", "system_admin", "security_admin", "audit_admin"]),
                &["role_binding.role"],
            ),
            Field::new("scope", Kind::Word(&["all", "own", "host", "vm", "own_on_host"]), &["role_binding.scope_kind"]),
            Field::new("scope_id", Kind::Id, &["role_binding.scope_id"]),
        ],
        labels: false,
    },
    sort: "user",
    descending: false,
};

fn read(r: &Row) -> Result<RoleBinding, StoreError> {
    let id = || r.id::<Uuid>("scope_id");
    let scope = match r.text("scope_kind")?.as_str() {
        "all" => Scope::All,
        "own" => Scope::Own,
        "host" => Scope::Host(id()?.into()),
        "vm" => Scope::Vm(id()?.into()),
        "own_on_host" => Scope::OwnOnHost(id()?.into()),
        _ => return Err(corrupt("scope_kind")),
    };
    Ok(RoleBinding { id: r.id("id")?, user: r.id("user_id")?, role: r.word("role")?, scope })
}

/// Adds a role binding.
///
/// # Errors
/// [`StoreError::Taken`] on `grant` when the user has this role over this scope already, on `administrator` when they are
/// one of the three separated administrators already (Y8).
pub async fn insert(tx: &mut Tx, b: &RoleBinding) -> Result<(), StoreError> {
    tx.mark(Mark::Credentials);
    // An empty text and not NULL for scopes without an id: NULLs would not be equal for the unique index.
    let (kind, id) = match b.scope {
        Scope::All => ("all", String::new()),
        Scope::Own => ("own", String::new()),
        Scope::Host(h) => ("host", h.to_string()),
        Scope::Vm(v) => ("vm", v.to_string()),
        Scope::OwnOnHost(h) => ("own_on_host", h.to_string()),
    };
    let sql = "INSERT INTO role_binding (id, user_id, role, scope_kind, scope_id) VALUES ($1, $2, $3, $4, $5)";
    tx.exec(sql, args![b.id, b.user, word(&b.role)?, kind, id]).await?;
    Ok(())
}

/// Removes a role binding; false when there is none.
///
/// # Errors
/// What the database says.
pub async fn delete(tx: &mut Tx, id: RoleBindingId) -> Result<bool, StoreError> {
    tx.mark(Mark::Credentials);
    Ok(tx.exec("DELETE FROM role_binding WHERE id = $1", args![id]).await? > 0)
}

/// The role binding with this id.
///
/// # Errors
/// What the database says.
pub async fn get(tx: &mut Tx, id: RoleBindingId) -> Result<Option<RoleBinding>, StoreError> {
    tx.opt("SELECT * FROM role_binding WHERE id = $1", args![id]).await?.as_ref().map(read).transpose()
}

/// All that was granted to a user.
///
/// # Errors
/// What the database says.
pub async fn of_user(tx: &mut Tx, user: UserId) -> Result<Vec<RoleBinding>, StoreError> {
    tx.all("SELECT * FROM role_binding WHERE user_id = $1 ORDER BY id", args![user]).await?.iter().map(read).collect()
}

/// A page of role bindings. Fields: `id`, `user`, `role`, `scope`, `scope_id`; by `user`.
///
/// # Errors
/// [`StoreError::Malformed`] for a wrong page, or what the database says.
pub async fn list(tx: &mut Tx, page: &Page) -> Result<Paged<RoleBinding>, StoreError> {
    list::list(tx, &TABLE, page, |_| "1 = 1".into(), read).await
}
