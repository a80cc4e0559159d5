//! Audit records.

use crate::app::App;
use crate::args::Listing;
use crate::client::List;
use crate::column::{Column, Kind, col, wide};
use crate::error::Result;
use crate::list;
use clap::{Args, Subcommand};

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

/// Verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List audit records, newest first.
    #[command(alias = "ls")]
    List(ListArgs),
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
    }
}
