//! Roles, and who has them over what.

use crate::app::App;
use crate::args::{Consent, Listing};
use crate::client::types::{Role, RoleBindingCreate, Scope};
use crate::client::{List, json};
use crate::column::{Column, Kind, col, wide};
use crate::error::Result;
use crate::host::changed;
use crate::json::{at, text};
use crate::{list, output, terminal, wait};
use clap::{Args, Subcommand};
use serde_json::Value;

/// Columns of roles.
pub(crate) const COLUMNS: &[Column] =
    &[col("role", "role", Kind::Text), col("description", "description", Kind::Text), wide("privileges", "privileges", Kind::Text)];

/// Columns of role bindings.
pub(crate) const BINDING_COLUMNS: &[Column] = &[
    col("user", "user", Kind::Ref),
    col("role", "role", Kind::Text),
    col("scope", "scope", Kind::Made(|b| scope_text(at(b, "scope")))),
    col("id", "id", Kind::Text),
];

/// A scope as it is written on the command line.
pub(crate) fn scope_text(scope: &Value) -> String {
    match text(scope, "id") {
        "" => text(scope, "scope").into(),
        id => format!("{}:{id}", text(scope, "scope")),
    }
}

/// A role over a scope.
pub(crate) fn grant_text(grant: &Value) -> String {
    format!("{}@{}", text(grant, "role"), scope_text(at(grant, "scope")))
}

/// Parses a role.
///
/// # Errors
/// A sentence that lists the roles.
pub(crate) fn parse_role(text: &str) -> std::result::Result<Role, String> {
    Role::try_from(text)
        .map_err(|_| "a role is one of admin, operator, user, viewer, auditor, system_admin, security_admin, audit_admin (virga role list)".into())
}

/// A scope with a name that is still to be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ScopeArg {
    /// Everything.
    All,
    /// What the user made.
    Own,
    /// A host, by name or id.
    Host(String),
    /// A VM, by name or id.
    Vm(String),
    /// What the user made on a host, by name or id.
    OwnOnHost(String),
}

/// Parses `all`, `own`, `host:NAME`, `own-on-host:NAME` or `vm:NAME`.
///
/// # Errors
/// A sentence that lists the forms.
pub(crate) fn parse_scope(text: &str) -> std::result::Result<ScopeArg, String> {
    match (text, text.split_once(':')) {
        ("all", _) => Ok(ScopeArg::All),
        ("own", _) => Ok(ScopeArg::Own),
        (_, Some(("host", name))) if !name.is_empty() => Ok(ScopeArg::Host(name.into())),
        (_, Some(("own-on-host", name))) if !name.is_empty() => Ok(ScopeArg::OwnOnHost(name.into())),
        (_, Some(("vm", name))) if !name.is_empty() => Ok(ScopeArg::Vm(name.into())),
        _ => Err("a scope is all, own, host:NAME, own-on-host:NAME or vm:NAME".into()),
    }
}

/// The scope with ids, as the API wants it.
pub(crate) async fn find_scope(app: &App, scope: &ScopeArg) -> Result<Scope> {
    Ok(match scope {
        ScopeArg::All => Scope::All,
        ScopeArg::Own => Scope::Own,
        ScopeArg::Host(name) => Scope::Host(host_id(app, name).await?),
        ScopeArg::OwnOnHost(name) => Scope::OwnOnHost(host_id(app, name).await?),
        ScopeArg::Vm(name) => Scope::Vm(wait::uuid(text(&json(app.api()?.v1.vm_view().vm(name).send().await)?, "id"))?),
    })
}

async fn host_id(app: &App, name: &str) -> Result<uuid::Uuid> {
    wait::uuid(text(&json(app.api()?.v1.host_view().host(name).send().await)?, "id"))
}

/// Verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List roles and what they are for.
    #[command(alias = "ls")]
    List(ListArgs),
    /// Grant a role to a user.
    Grant(Grant),
    /// Take a role back.
    Revoke(Revoke),
    /// List who has which role over what.
    Bindings(Bindings),
}

/// Options of `list`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga role list\n  virga role list -o wide")]
pub(crate) struct ListArgs {}

/// Options of `grant`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  virga role grant ops operator\n  virga role grant anna user --scope own\n  virga role grant bob viewer --scope host:host-1\n  virga role grant bob user --scope vm:web-1"
)]
pub(crate) struct Grant {
    /// Name or id of the user.
    user: String,
    /// Role.
    #[arg(value_parser = parse_role)]
    role: Role,
    /// Over what: all, own, host:NAME, own-on-host:NAME or vm:NAME.
    #[arg(long, default_value = "all", value_parser = parse_scope)]
    scope: ScopeArg,
}

/// Options of `revoke`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga role revoke 0198f4c2-7b1c-7a63-9a4e-2f6f0c1d2e3f --yes\n\nThe id is in virga role bindings.")]
pub(crate) struct Revoke {
    /// Id of the binding.
    id: String,
    #[command(flatten)]
    consent: Consent,
}

/// Options of `bindings`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga role bindings\n  virga role bindings --filter 'user = ops'")]
pub(crate) struct Bindings {
    #[command(flatten)]
    listing: Listing,
}

/// Does what a verb says.
pub(crate) async fn run(app: &App, command: Command) -> Result {
    match command {
        Command::List(ListArgs {}) => {
            let roles = json(app.api()?.v1.role_list().send().await)?;
            app.out.list(roles.as_array().map(Vec::as_slice).unwrap_or_default(), COLUMNS)
        }
        Command::Grant(a) => grant(app, a).await,
        Command::Revoke(a) => {
            terminal::consent(a.consent.yes, &format!("Take back role binding {}?", a.id))?;
            app.api()?.v1.role_binding_delete().binding(wait::uuid(&a.id)?).send().await?;
            output::print_line(&format!("role binding {} taken back", a.id))
        }
        Command::Bindings(a) => list::run(app, List::RoleBindings, BINDING_COLUMNS, &a.listing).await,
    }
}

async fn grant(app: &App, a: Grant) -> Result {
    let body = RoleBindingCreate { user: a.user, role: a.role, scope: find_scope(app, &a.scope).await? };
    let made = json(app.api()?.v1.role_binding_create().body(body).send().await)?;
    changed(app, &made, BINDING_COLUMNS, "role binding", "made")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn scopes() {
        assert_eq!(parse_scope("all"), Ok(ScopeArg::All));
        assert_eq!(parse_scope("host:h1"), Ok(ScopeArg::Host("h1".into())));
        assert_eq!(parse_scope("own-on-host:h1"), Ok(ScopeArg::OwnOnHost("h1".into())));
        assert_eq!(parse_scope("vm:a:b"), Ok(ScopeArg::Vm("a:b".into())));
        for bad in ["", "host:", "vm", "cluster:x"] {
            assert!(parse_scope(bad).is_err(), "{bad}");
        }
        assert_eq!(serde_json::to_value(Scope::All).expect("JSON"), json!({"scope": "all"}));
        let id = uuid::Uuid::from_u128(1);
        assert_eq!(serde_json::to_value(Scope::Vm(id)).expect("JSON"), json!({"scope": "vm", "id": id}));
        assert_eq!(scope_text(&json!({"scope": "vm", "id": "x"})), "vm:x");
    }
}
