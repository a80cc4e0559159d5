//! Audit records.

use crate::app::App;
use crate::args::Listing;
use crate::client::types::AuditRetention;
use crate::client::{List, json};
use crate::column::{Column, Kind, col, wide};
use crate::error::{Failure, Result};
use crate::list;
use clap::{Args, Subcommand};
use futures::StreamExt;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

/// Columns of audit records.
pub(crate) const COLUMNS: &[Column] = &[
    col("at", "at", Kind::Text),
    col("actor", "actor", Kind::Text),
    col("source", "source", Kind::Text),
    col("operation", "operation", Kind::Text),
    col("object", "object", Kind::Ref),
    col("result", "result", Kind::Text),
    col("detail", "detail", Kind::Text),
    wide("request", "request_id", Kind::Text),
    wide("id", "id", Kind::Text),
];

/// Columns of anchors.
pub(crate) const ANCHOR_COLUMNS: &[Column] = &[
    col("seq", "seq", Kind::Text),
    col("at", "at", Kind::Text),
    col("key", "key", Kind::Text),
    col("pruned", "pruned", Kind::Text),
    wide("chain", "chain", Kind::Text),
    wide("signature", "signature", Kind::Text),
];

/// Columns of the retention.
pub(crate) const RETENTION_COLUMNS: &[Column] = &[col("days", "days", Kind::Text)];

/// Verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List audit records, newest first.
    #[command(alias = "ls")]
    List(ListArgs),
    /// Write audit records with their chain values, oldest first, for virga-audit to verify.
    Export(Export),
    /// List the signed statements about the chain of audit records, newest first.
    Anchors(Anchors),
    /// Show or set for how long audit records are kept.
    Retention(Retention),
}

/// Options of `export`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  virga audit export --out audit.jsonl\n  virga audit export --after 5000 --out part.jsonl\n\nThen: virga-audit verify audit.jsonl --anchors FILE --key audit.pub"
)]
pub(crate) struct Export {
    /// File to write (mode 0600); it must not be there. To stdout when left out.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Begin after the record of this number.
    #[arg(long, default_value_t = 0, value_name = "NUMBER")]
    after: i64,
}

/// Options of `anchors`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga audit anchors --limit 5\n  virga audit anchors --filter 'pruned = true' -o json")]
pub(crate) struct Anchors {
    #[command(flatten)]
    listing: Listing,
}

/// Options of `retention`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga audit retention\n  virga audit retention --days 365")]
pub(crate) struct Retention {
    /// Days for which records are kept from now on, 180 at least.
    #[arg(long)]
    days: Option<u32>,
}

/// Options of `list`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga audit list --limit 50\n  virga audit list --filter 'actor = ops and operation = vm_delete' -o csv > deletions.csv")]
pub(crate) struct ListArgs {
    #[command(flatten)]
    listing: Listing,
}

/// Does what a verb says.
pub(crate) async fn run(app: &App, command: Command) -> Result {
    match command {
        Command::List(a) => list::run(app, List::Audit, COLUMNS, &a.listing).await,
        Command::Export(a) => export(app, &a).await,
        Command::Anchors(a) => list::run(app, List::AuditAnchors, ANCHOR_COLUMNS, &a.listing).await,
        Command::Retention(a) => {
            let v1 = &app.api()?.v1;
            let kept = match a.days {
                Some(days) => json(v1.audit_retention_update().body(AuditRetention { days }).send().await)?,
                None => json(v1.audit_retention_view().send().await)?,
            };
            app.out.object(&kept, RETENTION_COLUMNS)
        }
    }
}

async fn export(app: &App, a: &Export) -> Result {
    let answer = app.api()?.raw(reqwest::Method::GET, &format!("/v1/audit/export?after={}", a.after), Vec::new(), None).await?;
    let status = answer.status();
    if !status.is_success() {
        return Err(Failure::from_problem(status.as_u16(), &answer.json().await.unwrap_or_default()));
    }
    let mut out: Box<dyn Write> = match &a.out {
        None => Box::new(std::io::stdout().lock()),
        Some(file) => {
            let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
            Box::new(made.map_err(|e| Failure::failed(format!("{}: {e}", file.display())))?)
        }
    };
    let mut stream = answer.bytes_stream();
    while let Some(piece) = stream.next().await {
        out.write_all(&piece?)?;
    }
    Ok(out.flush()?)
}
