//! Snapshots of a VM.

use crate::app::App;
use crate::args::{Change, Consent, Listing};
use crate::client::types::{SnapshotCreate, SnapshotKind, SnapshotRevert, SnapshotUpdate};
use crate::client::{List, json};
use crate::column::{Column, Kind, col, wide};
use crate::error::{Failure, Result};
use crate::host::changed;
use crate::json::flag;
use crate::vm::spec;
use crate::{list, terminal, wait};
use clap::{Args, Subcommand};

/// Columns of snapshots.
pub(crate) const COLUMNS: &[Column] = &[
    col("name", "name", Kind::Text),
    col("kind", "kind", Kind::Text),
    col("state", "state", Kind::Text),
    col("current", "current", Kind::Made(|s| if flag(s, "current") { "you are here".into() } else { String::new() })),
    col("memory", "memory_bytes", Kind::Bytes),
    col("age", "created_at", Kind::Age),
    col("note", "note", Kind::Text),
    wide("parent", "parent", Kind::Text),
    wide("paused_ms", "paused_ms", Kind::Text),
    wide("generation", "generation", Kind::Text),
    wide("id", "id", Kind::Text),
];

/// Verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the snapshots of a VM.
    #[command(alias = "ls")]
    List(ListArgs),
    /// Show one snapshot, with the settings of its time.
    Show(Show),
    /// Take a snapshot.
    Create(Create),
    /// Change the name or note of a snapshot.
    Update(Update),
    /// Go back to a snapshot; later snapshots stay.
    Revert(Revert),
    /// Delete a snapshot; the VM and its other snapshots keep their content.
    Delete(Delete),
}

/// Options of `list`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga vm snapshot list web-1\n  virga vm snapshot list web-1 --sort -created_at -o json")]
pub(crate) struct ListArgs {
    /// Name or id of the VM.
    vm: String,
    #[command(flatten)]
    listing: Listing,
}

/// Options of `show`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga vm snapshot show web-1 before-update")]
pub(crate) struct Show {
    /// Name or id of the VM.
    vm: String,
    /// Name or id of the snapshot.
    snapshot: String,
}

/// Options of `create`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  virga vm snapshot create web-1 before-update\n  virga vm snapshot create db-1 nightly --kind consistent --note 'before the migration'\n  virga vm snapshot create web-1 running --kind memory"
)]
pub(crate) struct Create {
    /// Name or id of the VM.
    vm: String,
    /// Name of the snapshot, unique within the VM.
    name: String,
    /// ordinary (as after a power cut), consistent (the guest agent writes what is cached first) or memory (the guest's memory,
    /// too: going back, it runs on where it was).
    #[arg(long, value_parser = spec::snapshot_kind)]
    kind: Option<SnapshotKind>,
    /// Free text.
    #[arg(long, default_value = "")]
    note: String,
    #[command(flatten)]
    change: Change,
}

/// Options of `update`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  virga vm snapshot update web-1 before-update --name before-3.2\n  virga vm snapshot update web-1 before-3.2 --note 'keep until May'"
)]
pub(crate) struct Update {
    /// Name or id of the VM.
    vm: String,
    /// Name or id of the snapshot.
    snapshot: String,
    /// New name.
    #[arg(long)]
    name: Option<String>,
    /// Free text.
    #[arg(long)]
    note: Option<String>,
}

/// Options of `revert`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga vm snapshot revert web-1 before-update\n  virga vm snapshot revert web-1 before-update --start --yes")]
pub(crate) struct Revert {
    /// Name or id of the VM.
    vm: String,
    /// Name or id of the snapshot.
    snapshot: String,
    /// Start the VM afterwards. With stored memory it runs on in any case.
    #[arg(long)]
    start: bool,
    /// Leave the stored memory of the snapshot out: only disks and settings go back.
    #[arg(long)]
    no_memory: bool,
    #[command(flatten)]
    change: Change,
    #[command(flatten)]
    consent: Consent,
}

/// Options of `delete`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga vm snapshot delete web-1 before-update\n  virga vm snapshot delete web-1 before-update --yes --no-wait")]
pub(crate) struct Delete {
    /// Name or id of the VM.
    vm: String,
    /// Name or id of the snapshot.
    snapshot: String,
    #[command(flatten)]
    change: Change,
    #[command(flatten)]
    consent: Consent,
}

/// Does what a verb says.
pub(crate) async fn run(app: &App, command: Command) -> Result {
    match command {
        Command::List(a) => list::run(app, List::Snapshots(a.vm), COLUMNS, &a.listing).await,
        Command::Show(a) => app.out.object(&json(app.api()?.v1.vm_snapshot_view().vm(&a.vm).snapshot(&a.snapshot).send().await)?, COLUMNS),
        Command::Create(a) => create(app, a).await,
        Command::Update(a) => update(app, a).await,
        Command::Revert(a) => revert(app, a).await,
        Command::Delete(a) => delete(app, a).await,
    }
}

async fn create(app: &App, a: Create) -> Result {
    let mut call = app.api()?.v1.vm_snapshot_create().vm(&a.vm).body(SnapshotCreate { name: a.name, note: a.note, kind: a.kind });
    if a.change.dry_run {
        call = call.dry_run(true);
    }
    wait::finish(app, json(call.send().await)?, &a.change, "is taken").await
}

async fn update(app: &App, a: Update) -> Result {
    if a.name.is_none() && a.note.is_none() {
        return Err(Failure::usage("no change is given").hint("give --name or --note"));
    }
    let call = app.api()?.v1.vm_snapshot_update().vm(&a.vm).snapshot(&a.snapshot).body(SnapshotUpdate { name: a.name, note: a.note });
    changed(app, &json(call.send().await)?, COLUMNS, "snapshot", "changed")
}

async fn revert(app: &App, a: Revert) -> Result {
    if !a.change.dry_run {
        let question = format!("Switch {} off and bring it back to snapshot {}? What it wrote since its last snapshot is lost.", a.vm, a.snapshot);
        terminal::consent(a.consent.yes, &question)?;
    }
    let mut call =
        app.api()?.v1.vm_snapshot_revert().vm(&a.vm).snapshot(&a.snapshot).body(SnapshotRevert { start: a.start, memory: a.no_memory.then_some(false) });
    if a.change.dry_run {
        call = call.dry_run(true);
    }
    wait::finish(app, json(call.send().await)?, &a.change, "is where the VM is now").await
}

async fn delete(app: &App, a: Delete) -> Result {
    if !a.change.dry_run {
        terminal::consent(a.consent.yes, &format!("Delete snapshot {} of {}? Nothing can go back to it afterwards.", a.snapshot, a.vm))?;
    }
    let mut call = app.api()?.v1.vm_snapshot_delete().vm(&a.vm).snapshot(&a.snapshot);
    if a.change.dry_run {
        call = call.dry_run(true);
    }
    wait::finish(app, json(call.send().await)?, &a.change, "is deleted").await
}
