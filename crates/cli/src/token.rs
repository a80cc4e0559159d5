//! API tokens for machines.

use crate::app::App;
use crate::args::{Consent, Listing};
use crate::client::types::{ApiTokenCreate, Role};
use crate::client::{List, json};
use crate::column::{Column, Kind, col, wide};
use crate::config::write_secret;
use crate::error::{Failure, Result};
use crate::json::{at, text};
use crate::role::{ScopeArg, find_scope, parse_role, parse_scope, scope_text};
use crate::{human, list, output, terminal, wait};
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};

/// Columns of tokens.
pub(crate) const COLUMNS: &[Column] = &[
    col("name", "name", Kind::Text),
    col("user", "user", Kind::Ref),
    col("role", "role", Kind::Text),
    col("scope", "scope", Kind::Made(|t| scope_text(at(t, "scope")))),
    col("expires", "expires_at", Kind::Age),
    col("used", "used_at", Kind::Age),
    col("id", "id", Kind::Text),
    wide("age", "created_at", Kind::Age),
];

/// Verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List one's own tokens (everybody's for account managers).
    #[command(alias = "ls")]
    List(ListArgs),
    /// Make a token. Its secret is shown once.
    Create(Create),
    /// Revoke a token at once.
    Delete(Delete),
}

/// Options of `list`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga token list\n  virga token list --sort expires_at")]
pub(crate) struct ListArgs {
    #[command(flatten)]
    listing: Listing,
}

/// Options of `create`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  virga token create ci --valid 30d --role user --scope own --out ~/.config/virga/ci.token\n  virga token create backup --valid 365d --role viewer\n  virga vm list --token-file ~/.config/virga/ci.token"
)]
pub(crate) struct Create {
    /// Label.
    name: String,
    /// Time for which it is good, at most a year.
    #[arg(long, value_name = "TIME", value_parser = human::parse_seconds)]
    valid: u32,
    /// Limit it to this role.
    #[arg(long, value_parser = parse_role)]
    role: Option<Role>,
    /// Limit it to this scope: all, own, host:NAME, own-on-host:NAME or vm:NAME.
    #[arg(long, value_parser = parse_scope)]
    scope: Option<ScopeArg>,
    /// File to write the secret to (mode 0600) instead of stdout.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Options of `delete`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga token delete 0198f4c2-7b1c-7a63-9a4e-2f6f0c1d2e3f --yes\n\nThe id is in virga token list.")]
pub(crate) struct Delete {
    /// Id of the token.
    id: String,
    #[command(flatten)]
    consent: Consent,
}

/// Does what a verb says.
pub(crate) async fn run(app: &App, command: Command) -> Result {
    match command {
        Command::List(a) => list::run(app, List::Tokens, COLUMNS, &a.listing).await,
        Command::Create(a) => create(app, a).await,
        Command::Delete(a) => {
            terminal::consent(a.consent.yes, &format!("Revoke token {}?", a.id))?;
            app.api()?.v1.token_delete().token(wait::uuid(&a.id)?).send().await?;
            output::print_line(&format!("token {} revoked", a.id))
        }
    }
}

async fn create(app: &App, a: Create) -> Result {
    let file = a.out.as_deref().filter(|f| *f != Path::new("-"));
    if let Some(f) = file.filter(|f| f.exists()) {
        return Err(Failure::usage(format!("{} is there already", f.display())).hint("give another file with --out"));
    }
    let scope = match &a.scope {
        Some(s) => Some(find_scope(app, s).await?),
        None => None,
    };
    let body = ApiTokenCreate { name: a.name, valid_s: a.valid, role: a.role, scope };
    let mut made = json(app.api()?.v1.token_create().body(body).send().await)?;
    let secret = text(&made, "secret").to_string();
    if let Some(file) = file {
        write_secret(file, &secret)?;
        made["secret"] = "<in the file>".into();
        eprintln!("the secret is in {}", file.display());
    }
    if app.out.is_data() {
        return app.out.data(&made);
    }
    if file.is_some() {
        return output::print_line(text(&made, "token.id"));
    }
    eprintln!("this is shown once; good until {}", text(&made, "token.expires_at"));
    output::print_line(&secret)
}
