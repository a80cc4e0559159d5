//! Accounts.

use crate::app::App;
use crate::args::{Consent, Listing};
use crate::client::types::{Role, UserCreate, UserUpdate};
use crate::client::{List, json};
use crate::column::{Column, Kind, col, wide};
use crate::error::Result;
use crate::host::changed;
use crate::json::{at, flag, items};
use crate::role::{grant_text, parse_role};
use crate::{list, output, terminal};
use clap::{Args, Subcommand};
use serde_json::Value;
use std::path::PathBuf;

/// Columns of accounts.
pub(crate) const COLUMNS: &[Column] = &[
    col("name", "name", Kind::Text),
    col("state", "disabled", Kind::Made(state)),
    col("roles", "grants", Kind::Made(grants)),
    col("age", "created_at", Kind::Age),
    wide("locked", "locked_until", Kind::Age),
    wide("generation", "generation", Kind::Text),
    wide("id", "id", Kind::Text),
];

fn state(u: &Value) -> String {
    let locked = at(u, "locked_until").as_str().and_then(virga_model::Time::parse).is_some_and(|t| t > crate::human::now());
    let words = [(flag(u, "disabled"), "disabled"), (locked, "locked"), (flag(u, "must_change_password"), "must change password")];
    let words: Vec<&str> = words.iter().filter(|(is, _)| *is).map(|(_, w)| *w).collect();
    if words.is_empty() { "active".into() } else { words.join(", ") }
}

/// Roles and scopes of a user.
pub(crate) fn grants(u: &Value) -> String {
    items(u, "grants").iter().map(grant_text).collect::<Vec<_>>().join(" ")
}

/// Verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List accounts.
    #[command(alias = "ls")]
    List(ListArgs),
    /// Show one account.
    Show(Show),
    /// Make an account; its password must be changed at the first sign-in.
    Create(Create),
    /// Forbid sign-in; ends all sessions.
    Disable(Disable),
    /// Allow sign-in again.
    Enable(Enable),
    /// Set a new password, which must be changed at the next sign-in; ends all sessions and any lock.
    ResetPassword(ResetPassword),
    /// Remove an account.
    Delete(Delete),
}

/// Options of `list`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga user list\n  virga user list --filter 'disabled = true'")]
pub(crate) struct ListArgs {
    #[command(flatten)]
    listing: Listing,
}

/// Options of `show`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga user show ops")]
pub(crate) struct Show {
    /// Name or id.
    user: String,
}

/// Options of `create`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  virga user create ops --role operator\n  virga user create ops --password-file /run/secrets/ops\n  virga user create ops --without-password"
)]
pub(crate) struct Create {
    /// Login name.
    name: String,
    /// Role over everything; grant finer ones with virga role grant.
    #[arg(long, value_parser = parse_role)]
    role: Option<Role>,
    /// File with the first password, - for stdin; asked for on the terminal when left out.
    #[arg(long, value_name = "FILE", conflicts_with = "without_password")]
    password_file: Option<PathBuf>,
    /// Set no password: with three administrators another one does that, and enables the account.
    #[arg(long, conflicts_with = "role")]
    without_password: bool,
}

/// Options of `disable`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga user disable ops")]
pub(crate) struct Disable {
    /// Name or id.
    user: String,
}

/// Options of `enable`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga user enable ops")]
pub(crate) struct Enable {
    /// Name or id.
    user: String,
}

/// Options of `reset-password`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga user reset-password ops\n  virga user reset-password ops --password-file /run/secrets/ops")]
pub(crate) struct ResetPassword {
    /// Name or id.
    user: String,
    /// File with the password, - for stdin; asked for on the terminal when left out.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

/// Options of `delete`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga user delete ops\n  virga user delete ops --yes")]
pub(crate) struct Delete {
    /// Name or id.
    user: String,
    #[command(flatten)]
    consent: Consent,
}

/// Does what a verb says.
pub(crate) async fn run(app: &App, command: Command) -> Result {
    match command {
        Command::List(a) => list::run(app, List::Users, COLUMNS, &a.listing).await,
        Command::Show(a) => app.out.object(&json(app.api()?.v1.user_view().user(&a.user).send().await)?, COLUMNS),
        Command::Create(a) => create(app, a).await,
        Command::Disable(a) => update(app, &a.user, UserUpdate { disabled: Some(true), password: None }, "disabled").await,
        Command::Enable(a) => update(app, &a.user, UserUpdate { disabled: Some(false), password: None }, "enabled").await,
        Command::ResetPassword(a) => {
            let password = terminal::new_password(a.password_file.as_deref(), &format!("New password of {}", a.user))?;
            update(app, &a.user, UserUpdate { disabled: None, password: Some(password) }, "has a new password").await
        }
        Command::Delete(a) => {
            terminal::consent(a.consent.yes, &format!("Remove user {}?", a.user))?;
            app.api()?.v1.user_delete().user(&a.user).send().await?;
            output::print_line(&format!("user {} removed", a.user))
        }
    }
}

async fn create(app: &App, a: Create) -> Result {
    let ask = || terminal::new_password(a.password_file.as_deref(), &format!("First password of {}", a.name));
    let password = if a.without_password { None } else { Some(ask()?) };
    let body = UserCreate { name: a.name, password, role: a.role };
    let user = json(app.api()?.v1.user_create().body(body).send().await)?;
    changed(app, &user, COLUMNS, "user", "made")
}

async fn update(app: &App, user: &str, body: UserUpdate, done: &str) -> Result {
    let user = json(app.api()?.v1.user_update().user(user).body(body).send().await)?;
    changed(app, &user, COLUMNS, "user", done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn accounts_in_words() {
        let u = json!({"disabled": true, "must_change_password": true, "locked_until": "2020-01-01T00:00:00Z",
            "grants": [{"role": "admin", "scope": {"scope": "all"}}, {"role": "user", "scope": {"scope": "vm", "id": "x"}}]});
        assert_eq!(state(&u), "disabled, must change password");
        assert_eq!(grants(&u), "admin@all user@vm:x");
        assert_eq!(state(&json!({})), "active");
    }
}
