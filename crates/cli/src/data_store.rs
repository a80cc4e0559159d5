//! Data stores.

use crate::app::App;
use crate::args::{Change, Consent, Listing, Waiting};
use crate::client::types::{Backing, DataStoreCreate, DataStoreSpec, DataStoreUpdate};
use crate::client::{List, json};
use crate::column::{Column, Kind, col, printable, wide};
use crate::error::{Failure, Result};
use crate::host::{Switch, changed};
use crate::json::{at, flag, items, number, text};
use crate::output::{self, Format};
use crate::{human, list, terminal, wait};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::Value;

/// Columns of data stores.
pub(crate) const COLUMNS: &[Column] = &[
    col("name", "name", Kind::Text),
    col("kind", "kind", Kind::Text),
    col("state", "state", Kind::Made(state)),
    col("size", "total_bytes", Kind::Bytes),
    col("free", "free_bytes", Kind::Bytes),
    col("promised", "promised_bytes", Kind::Bytes),
    col("vms", "vms", Kind::Text),
    col("hosts", "hosts", Kind::Made(reach)),
    wide("details", "spec", Kind::Made(details)),
    wide("host", "host.name", Kind::Text),
    wide("description", "description", Kind::Text),
    wide("generation", "generation", Kind::Text),
    wide("age", "created_at", Kind::Age),
    wide("id", "id", Kind::Text),
];

/// State, and whether new disks are kept away.
fn state(s: &Value) -> String {
    let state = text(s, "state");
    if flag(s, "maintenance") { format!("{state}, maintenance") } else { state.into() }
}

/// How many of the hosts that looked can use it.
fn reach(s: &Value) -> String {
    let all = items(s, "hosts");
    format!("{} of {}", all.iter().filter(|h| flag(h, "reachable")).count(), all.len())
}

/// What a data store is made of, in words.
fn details(s: &Value) -> String {
    text(s, "spec.path").to_string()
}

/// Verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List data stores.
    #[command(alias = "ls")]
    List(ListArgs),
    /// Show one data store, with what it can do and what each host finds.
    Show(Show),
    /// Make a data store of a folder that several hosts see.
    Create(Create),
    /// Rename a data store, change its description, or keep new disks away.
    Update(Update),
    /// Remove a data store on which no disk lies.
    Delete(Delete),
}

/// Options of `list`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga data-store list\n  virga data-store list --filter 'kind = shared_nas' -o wide")]
pub(crate) struct ListArgs {
    #[command(flatten)]
    listing: Listing,
}

/// Options of `show`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga data-store show gold\n  virga data-store show local-host-1 -o yaml")]
pub(crate) struct Show {
    /// Name or id.
    data_store: String,
}

/// What lies behind a shared folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Behind {
    /// A file server (NFS, CephFS).
    Nas,
    /// A cluster file system (OCFS2, GFS2) over a SAN.
    San,
}

/// Options of `create`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  virga data-store create gold --directory /srv/virga/gold\n  virga data-store create silver --directory /srv/virga/silver --backing san --host host-1"
)]
pub(crate) struct Create {
    /// Name, unique among data stores.
    name: String,
    /// Absolute path of an empty folder that hosts see as the same storage.
    #[arg(long, value_name = "PATH")]
    directory: String,
    /// What lies behind the folder; a file server when left out.
    #[arg(long, value_enum)]
    backing: Option<Behind>,
    /// Host that signs it; one that reports when left out.
    #[arg(long)]
    host: Option<String>,
    /// What people want to remember about it.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    #[command(flatten)]
    waiting: Waiting,
}

/// Options of `update`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  virga data-store update gold --maintenance on\n  virga data-store update gold --name gold-old --description 'being emptied'"
)]
pub(crate) struct Update {
    /// Name or id.
    data_store: String,
    /// Keep new disks away; those that are there stay.
    #[arg(long, value_enum)]
    maintenance: Option<Switch>,
    /// New name.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// New description.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
}

/// Options of `delete`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga data-store delete gold\n  virga data-store delete gold --yes --forget")]
pub(crate) struct Delete {
    /// Name or id.
    data_store: String,
    /// Ask no host to remove the signature: for storage that is gone for good.
    #[arg(long)]
    forget: bool,
    #[command(flatten)]
    waiting: Waiting,
    #[command(flatten)]
    consent: Consent,
}

/// Does what a verb says.
pub(crate) async fn run(app: &App, command: Command) -> Result {
    match command {
        Command::List(a) => list::run(app, List::DataStores, COLUMNS, &a.listing).await,
        Command::Show(a) => show(app, &a.data_store).await,
        Command::Create(a) => create(app, a).await,
        Command::Update(a) => update(app, a).await,
        Command::Delete(a) => delete(app, a).await,
    }
}

async fn show(app: &App, name: &str) -> Result {
    let store = json(app.api()?.v1.data_store_view().data_store(name).send().await)?;
    app.out.object(&store, COLUMNS)?;
    if !matches!(app.out.format, Format::Table | Format::Wide) || !app.out.columns.is_empty() {
        return Ok(());
    }
    output::print(&more(&store))
}

/// What it can do, and what each host finds, below its fields.
fn more(store: &Value) -> String {
    let mut out = String::new();
    if let Some(can) = at(store, "capabilities").as_object() {
        let list = |wanted: bool| can.iter().filter(|(_, v)| v.as_bool() == Some(wanted)).map(|(k, _)| k.as_str()).collect::<Vec<_>>().join(", ");
        out.push_str(&format!("\ncan:     {}\ncannot:  {}\n", list(true), list(false)));
    }
    if !items(store, "hosts").is_empty() {
        out.push_str("\nhosts:\n");
    }
    for h in items(store, "hosts") {
        let found = if flag(h, "reachable") {
            format!("{} free of {} {}", human::size(number(h, "free_bytes")), human::size(number(h, "total_bytes")), text(h, "file_system"))
        } else {
            format!("not reachable: {}", text(h, "why"))
        };
        out.push_str(&format!("  {} {}\n", printable(text(h, "host.name")), printable(found.trim_end())));
    }
    out
}

async fn create(app: &App, a: Create) -> Result {
    let backing = if a.backing == Some(Behind::San) { Backing::San } else { Backing::Nas };
    let spec = DataStoreSpec::SharedDirectory { path: a.directory, backing };
    let body = DataStoreCreate { name: a.name, description: a.description.unwrap_or_default(), spec, host: a.host };
    let accepted = json(app.api()?.v1.data_store_create().body(body).send().await)?;
    wait::finish(app, accepted, &Change { waiting: a.waiting, dry_run: false }, "made").await
}

async fn update(app: &App, a: Update) -> Result {
    if a.maintenance.is_none() && a.name.is_none() && a.description.is_none() {
        return Err(Failure::usage("no change is given").hint("give --maintenance, --name or --description"));
    }
    let body = DataStoreUpdate { maintenance: a.maintenance.map(|m| m == Switch::On), name: a.name, description: a.description };
    let store = json(app.api()?.v1.data_store_update().data_store(&a.data_store).body(body).send().await)?;
    changed(app, &store, COLUMNS, "data store", "changed")
}

async fn delete(app: &App, a: Delete) -> Result {
    terminal::consent(a.consent.yes, &format!("Remove data store {}?", a.data_store))?;
    let mut call = app.api()?.v1.data_store_delete().data_store(&a.data_store);
    if a.forget {
        call = call.forget(true);
    }
    let accepted = json(call.send().await)?;
    wait::finish(app, accepted, &Change { waiting: a.waiting, dry_run: false }, "removed").await
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_data_store_in_words() {
        let s = json!({"state": "ready", "maintenance": true, "spec": {"kind": "shared_directory", "path": "/srv/gold"},
            "capabilities": {"thin": true, "lazy_thick": false},
            "hosts": [{"host": {"name": "h1"}, "reachable": true, "free_bytes": 1u64 << 30, "total_bytes": 2u64 << 30, "file_system": "nfs"},
                      {"host": {"name": "h2"}, "reachable": false, "why": "it is not mounted"}]});
        assert_eq!((state(&s), reach(&s), details(&s)), ("ready, maintenance".into(), "1 of 2".into(), "/srv/gold".into()));
        assert_eq!(more(&s), "\ncan:     thin\ncannot:  lazy_thick\n\nhosts:\n  h1 1 GiB free of 2 GiB nfs\n  h2 not reachable: it is not mounted\n");
    }
}
