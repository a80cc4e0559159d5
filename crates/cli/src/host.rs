//! Hosts.

use crate::app::App;
use crate::args::{Consent, Listing};
use crate::client::types::{HostUpdate, JoinTokenCreate};
use crate::client::{List, json};
use crate::column::{Column, Kind, col, printable, wide};
use crate::config::write_secret;
use crate::error::{Failure, Result};
use crate::json::{at, flag, items, text};
use crate::output::{self, Format};
use crate::vm::stats;
use crate::{human, list, terminal};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Columns of hosts.
pub(crate) const COLUMNS: &[Column] = &[
    col("name", "name", Kind::Text),
    col("state", "state", Kind::Made(state)),
    col("vms", "vms", Kind::Text),
    col("cpus", "facts.cpu.logical", Kind::Text),
    col("load", "stats.cpu", Kind::Percent),
    col("memory", "facts.memory_bytes", Kind::Bytes),
    col("allocated", "memory_allocated_bytes", Kind::Bytes),
    col("store_free", "facts.store_free_bytes", Kind::Bytes),
    col("report", "last_report_at", Kind::Age),
    wide("accelerator", "facts.accelerator", Kind::Text),
    wide("why", "facts.accelerator_why", Kind::Text),
    wide("confinement", "facts.confinement", Kind::Text),
    wide("cpu", "facts.cpu.model", Kind::Text),
    wide("os", "facts.os", Kind::Text),
    wide("kernel", "facts.kernel", Kind::Text),
    wide("store", "facts.store_total_bytes", Kind::Bytes),
    wide("versions", "facts.versions", Kind::Map),
    wide("foreign_vms", "facts.foreign_vms", Kind::Count),
    wide("address", "address", Kind::Text),
    wide("generation", "generation", Kind::Text),
    wide("age", "created_at", Kind::Age),
    wide("id", "id", Kind::Text),
];

/// Verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List hosts.
    #[command(alias = "ls")]
    List(ListArgs),
    /// Show one host: its inventory and state.
    Show(Show),
    /// Rename a host, or keep it free of new VMs.
    Update(Update),
    /// Remove a host that has no VMs.
    Delete(Delete),
    /// Rates over the last minutes.
    Stats(Stats),
    /// Make a one-time permission for a new host to join.
    JoinToken(JoinToken),
}

/// Options of `list`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga host list\n  virga host list -o wide\n  virga host list --filter 'maintenance = true' --watch")]
pub(crate) struct ListArgs {
    #[command(flatten)]
    listing: Listing,
}

/// Options of `show`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga host show host-1\n  virga host show host-1 -o yaml")]
pub(crate) struct Show {
    /// Name or id.
    host: String,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    /// Yes.
    On,
    /// No.
    Off,
}

/// Options of `update`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga host update host-1 --maintenance on\n  virga host update host-1 --name rack1-host-1")]
pub(crate) struct Update {
    /// Name or id.
    host: String,
    /// Keep it free of new VMs; its VMs stay where they are.
    #[arg(long, value_enum)]
    maintenance: Option<Switch>,
    /// New name.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

/// Options of `delete`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga host delete host-1\n  virga host delete host-1 --yes")]
pub(crate) struct Delete {
    /// Name or id.
    host: String,
    #[command(flatten)]
    consent: Consent,
}

/// Options of `stats`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga host stats host-1\n  virga host stats host-1 --watch")]
pub(crate) struct Stats {
    /// Name or id.
    host: String,
    #[command(flatten)]
    samples: stats::Samples,
}

/// Options of `join-token`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  virga host join-token --name host-2\n  virga host join-token --name host-2 --manager 10.0.0.5:8444 --valid 30m --out /tmp/host-2.join"
)]
pub(crate) struct JoinToken {
    /// Name that the host will have.
    #[arg(long)]
    name: String,
    /// Where the new host reaches the manager; the manager's own idea when left out.
    #[arg(long, value_name = "HOST:PORT")]
    manager: Option<String>,
    /// Time for which the permission is good, at most a day (1h when left out).
    #[arg(long, value_name = "TIME", value_parser = human::parse_seconds)]
    valid: Option<u32>,
    /// File to write (mode 0600), - for stdout; NAME.join when left out.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Does what a verb says.
pub(crate) async fn run(app: &App, command: Command) -> Result {
    match command {
        Command::List(a) => list::run(app, List::Hosts, COLUMNS, &a.listing).await,
        Command::Show(a) => show(app, &a.host).await,
        Command::Update(a) => update(app, a).await,
        Command::Delete(a) => delete(app, a).await,
        Command::Stats(a) => stats::show(app, &a.samples, async || json(app.api()?.v1.host_stats().host(&a.host).send().await)).await,
        Command::JoinToken(a) => join_token(app, a).await,
    }
}

async fn show(app: &App, host: &str) -> Result {
    let host = json(app.api()?.v1.host_view().host(host).send().await)?;
    app.out.object(&host, COLUMNS)?;
    if !matches!(app.out.format, Format::Table | Format::Wide) || !app.out.columns.is_empty() {
        return Ok(());
    }
    output::print(&inventory(&host))
}

/// Disks, NICs and foreign VMs of a host, below its fields.
fn inventory(host: &Value) -> String {
    let size = |v: &Value, path: &str| human::size(crate::json::number(v, path));
    let disk = |d: &Value| format!("{} {} {}", text(d, "name"), size(d, "size_bytes"), text(d, "model"));
    let nic = |n: &Value| {
        let link = if flag(n, "up") { "up" } else { "down" };
        format!("{} {} {link} {}", text(n, "name"), text(n, "mac"), crate::json::texts(n, "addresses").join(" "))
    };
    let vm = |v: &Value| format!("{} {} {}", text(v, "name"), text(v, "state"), size(v, "memory_bytes"));
    let mut out = String::new();
    type Line<'f> = &'f dyn Fn(&Value) -> String;
    let parts: [(&str, &str, Line<'_>); 3] =
        [("disks", "facts.disks", &disk), ("nics", "facts.nics", &nic), ("VMs that are not Virga's", "facts.foreign_vms", &vm)];
    for (title, path, line) in parts {
        if !items(host, path).is_empty() {
            out.push_str(&format!("\n{title}:\n"));
            items(host, path).iter().for_each(|v| out.push_str(&format!("  {}\n", printable(line(v).trim_end()))));
        }
    }
    out
}

async fn update(app: &App, a: Update) -> Result {
    if a.maintenance.is_none() && a.name.is_none() {
        return Err(Failure::usage("no change is given").hint("give --maintenance or --name"));
    }
    let body = HostUpdate { maintenance: a.maintenance.map(|m| m == Switch::On), name: a.name };
    let host = json(app.api()?.v1.host_update().host(&a.host).body(body).send().await)?;
    changed(app, &host, COLUMNS, "host", "changed")
}

/// Prints an object that a call made or changed: as data, or in a sentence.
pub(crate) fn changed(app: &App, object: &Value, columns: &[Column], kind: &str, done: &str) -> Result {
    match app.out.format {
        Format::Table => output::print_line(&format!("{kind} {} {done}", output::name_of(object))),
        _ => app.out.object(object, columns),
    }
}

async fn delete(app: &App, a: Delete) -> Result {
    terminal::consent(a.consent.yes, &format!("Remove host {}? Its agent will not be able to come back with its present certificate.", a.host))?;
    app.api()?.v1.host_delete().host(&a.host).send().await?;
    output::print_line(&format!("host {} removed", a.host))
}

async fn join_token(app: &App, a: JoinToken) -> Result {
    let file = a.out.clone().unwrap_or_else(|| PathBuf::from(format!("{}.join", a.name.replace('/', "_"))));
    let to_stdout = file == Path::new("-");
    if !to_stdout && file.exists() {
        return Err(Failure::usage(format!("{} is there already", file.display())).hint("remove it, or give another file with --out"));
    }
    let body = JoinTokenCreate { host_name: a.name, manager: a.manager, valid_s: a.valid };
    let made = json(app.api()?.v1.host_join_token_create().body(body).send().await)?;
    let content = text(&made, "join_file");
    if to_stdout {
        return output::print(&format!("{}\n", content.trim_end()));
    }
    write_secret(&file, content)?;
    output::print_line(&file.display().to_string())?;
    eprintln!("The file holds a secret and is good once, until {}. Bring it to the new host over a safe way, and run there:", text(&made, "expires_at"));
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    eprintln!("  virga-agent run --join-file {name}");
    Ok(())
}

/// State, and whether new VMs are kept away.
fn state(host: &Value) -> String {
    let state = at(host, "state").as_str().unwrap_or_default();
    if flag(host, "maintenance") { format!("{state}, maintenance") } else { state.into() }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_host_in_words() {
        let host = json!({"name": "h1", "state": "up", "maintenance": true, "facts": {"disks": [{"name": "sda", "size_bytes": 1099511627776u64}],
            "nics": [{"name": "eth0", "mac": "m", "up": true, "addresses": ["10.0.0.1/24"]}]}});
        assert_eq!(state(&host), "up, maintenance");
        assert_eq!(inventory(&host), "\ndisks:\n  sda 1 TiB\n\nnics:\n  eth0 m up 10.0.0.1/24\n");
    }
}
