//! Virtual machines: lists and views here, one file for each group of verbs.

pub(crate) mod clone;
pub(crate) mod console;
mod create;
pub(crate) mod disk;
mod edit;
mod explain;
mod export;
mod import;
mod many;
mod media;
pub(crate) mod nic;
pub(crate) mod power;
mod screenshot;
mod select;
pub(crate) mod snapshot;
pub(crate) mod spec;
pub(crate) mod stats;
mod update;
mod vnc;
mod wait_for;

use crate::app::App;
use crate::args::Listing;
use crate::client::{List, json};
use crate::column::{Column, Kind, col, wide};
use crate::error::Result;
use crate::json::{at, flag, items, text};
use crate::output;
use clap::{Args, Subcommand};
use serde_json::Value;

/// Columns of VMs.
pub(crate) const COLUMNS: &[Column] = &[
    col("name", "name", Kind::Text),
    col("state", "observed.state", Kind::Made(state)),
    col("host", "host", Kind::Ref),
    col("cpus", "spec.cpu.count", Kind::Text),
    col("memory", "spec.memory.bytes", Kind::Bytes),
    col("ip", "observed.guest.ips", Kind::Text),
    col("age", "created_at", Kind::Age),
    wide("desired", "desired", Kind::Text),
    wide("load", "stats.cpu", Kind::Percent),
    wide("os", "observed.guest.os", Kind::Text),
    wide("agent", "observed.guest.agent", Kind::Text),
    wide("accelerator", "observed.accelerator", Kind::Text),
    wide("firmware", "spec.firmware", Kind::Text),
    wide("machine", "observed.machine", Kind::Text),
    wide("disks", "spec.disks", Kind::Count),
    wide("nics", "spec.nics", Kind::Count),
    wide("labels", "labels", Kind::Map),
    wide("owner", "owner", Kind::Ref),
    wide("task", "task", Kind::Ref),
    wide("description", "description", Kind::Text),
    wide("generation", "generation", Kind::Text),
    wide("id", "id", Kind::Text),
];

/// Verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List VMs.
    #[command(alias = "ls")]
    List(ListArgs),
    /// Show one VM.
    Show(ShowArgs),
    /// Make a VM: from an image, or empty with an ISO to install from.
    Create(Box<create::Args>),
    /// Make a VM of a package: an OVA, an OVF folder, or one in the library.
    Import(Box<import::Args>),
    /// Write a VM that is off, or a snapshot, into a package: an OVA, or an OVF folder.
    Export(Box<export::Args>),
    /// Change VMs. What a running guest cannot take now waits for its next start.
    Update(Box<update::Args>),
    /// Remove VMs with their disks.
    Delete(power::Delete),
    /// Start VMs, or wake them from hibernation.
    Start(power::Start),
    /// Ask guests to shut down; with --force cut the power.
    #[command(alias = "stop")]
    Shutdown(power::Shutdown),
    /// Ask guests to restart.
    Reboot(power::Reboot),
    /// Press the reset button.
    Reset(power::Reset),
    /// Hold the vCPUs.
    Pause(power::Pause),
    /// Let held vCPUs go on.
    Resume(power::Resume),
    /// Memory to disk, then off.
    Hibernate(power::Hibernate),
    /// Go on from hibernation.
    Wake(power::Wake),
    /// Wait until a VM runs, is off, has an address, …
    Wait(wait_for::Args),
    /// The serial console in this terminal; Ctrl-] leaves it.
    Console(console::Args),
    /// Save the screen as PNG.
    Screenshot(screenshot::Args),
    /// Open a local port for a VNC viewer.
    Vnc(vnc::Args),
    /// Rates over the last minutes.
    Stats(stats::Args),
    /// Change a VM in an editor.
    Edit(edit::Args),
    /// Why a VM is where it is, and what is pending or went wrong.
    Explain(explain::Args),
    /// Disks.
    #[command(subcommand, alias = "disks")]
    Disk(disk::Command),
    /// Network interfaces.
    #[command(subcommand, alias = "nics")]
    Nic(nic::Command),
    /// Optical drives.
    #[command(subcommand)]
    Media(media::Command),
    /// Make clones of a VM: full, linked, or of a linked clone.
    Clone(Box<clone::Args>),
    /// Bring a linked clone back to its restore point.
    Refresh(clone::Refresh),
    /// Snapshots.
    #[command(subcommand, alias = "snapshots")]
    Snapshot(snapshot::Command),
}

/// Options of `list`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  virga vm list\n  virga vm list -o wide --sort -memory\n  virga vm list --filter 'state = running and cpus > 4' -c name,ip\n  \
                        virga vm list -l env=prod -o json\n  virga vm list --watch"
)]
pub(crate) struct ListArgs {
    /// Which items.
    #[command(flatten)]
    listing: Listing,
    /// Only VMs with this label; may be repeated.
    #[arg(short = 'l', long = "selector", alias = "label", value_name = "KEY=VALUE")]
    labels: Vec<String>,
}

/// Options of `show`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga vm show web-1\n  virga vm show web-1 -o json\n  virga vm show web-1 -c observed.guest.ips")]
pub(crate) struct ShowArgs {
    /// Name or id.
    vm: String,
}

/// Does what a verb says.
pub(crate) async fn run(app: &App, command: Command) -> Result {
    match command {
        Command::List(a) => list(app, a).await,
        Command::Show(a) => show(app, a).await,
        Command::Create(a) => create::run(app, *a).await,
        Command::Export(a) => export::run(app, *a).await,
        Command::Import(a) => import::run(app, *a).await,
        Command::Update(a) => update::run(app, *a).await,
        Command::Delete(a) => power::delete(app, a).await,
        Command::Start(a) => power::start(app, a).await,
        Command::Shutdown(a) => power::shutdown(app, a).await,
        Command::Reboot(a) => power::reboot(app, a).await,
        Command::Reset(a) => power::reset(app, a).await,
        Command::Pause(a) => power::pause(app, a).await,
        Command::Resume(a) => power::resume(app, a).await,
        Command::Hibernate(a) => power::hibernate(app, a).await,
        Command::Wake(a) => power::wake(app, a).await,
        Command::Wait(a) => wait_for::run(app, a).await,
        Command::Console(a) => console::run(app, a).await,
        Command::Screenshot(a) => screenshot::run(app, a).await,
        Command::Vnc(a) => vnc::run(app, a).await,
        Command::Stats(a) => stats::run(app, a).await,
        Command::Edit(a) => edit::run(app, a).await,
        Command::Explain(a) => explain::run(app, a).await,
        Command::Disk(a) => disk::run(app, a).await,
        Command::Nic(a) => nic::run(app, a).await,
        Command::Media(a) => media::run(app, a).await,
        Command::Clone(a) => clone::run(app, *a).await,
        Command::Refresh(a) => clone::refresh(app, a).await,
        Command::Snapshot(a) => snapshot::run(app, a).await,
    }
}

/// `vm list`.
pub(crate) async fn list(app: &App, mut a: ListArgs) -> Result {
    a.listing.filter = select::condition(a.listing.filter.as_deref(), &a.labels)?;
    crate::list::run(app, List::Vms, COLUMNS, &a.listing).await
}

/// The VM as the API has it.
pub(crate) async fn view(app: &App, vm: &str) -> Result<Value> {
    json(app.api()?.v1.vm_view().vm(vm).send().await)
}

async fn show(app: &App, a: ShowArgs) -> Result {
    let vm = view(app, &a.vm).await?;
    app.out.object(&vm, COLUMNS)?;
    if app.out.format != output::Format::Table && app.out.format != output::Format::Wide || !app.out.columns.is_empty() {
        return Ok(());
    }
    output::print(&devices(app, &vm)?)
}

/// Disks, NICs, drives and remarks of a VM, below its fields.
fn devices(app: &App, vm: &Value) -> Result<String> {
    let mut out = String::new();
    for (title, path, columns) in [("disks", "spec.disks", disk::COLUMNS), ("nics", "spec.nics", nic::COLUMNS), ("drives", "spec.cdroms", media::COLUMNS)] {
        if !items(vm, path).is_empty() {
            out.push_str(&format!("\n{title}:\n{}", app.out.list_text(items(vm, path), columns, crate::human::now())?));
        }
    }
    for (title, lines) in remarks(vm) {
        out.push_str(&format!("\n{title}:\n"));
        lines.iter().for_each(|l| out.push_str(&format!("  {}\n", crate::column::printable(l))));
    }
    Ok(out)
}

/// What somebody should know of a VM: pending changes, drift, its host's complaint.
fn remarks(vm: &Value) -> Vec<(&'static str, Vec<String>)> {
    let drift = items(vm, "observed.drift").iter().map(|d| format!("{}: {}", text(d, "what"), text(d, "message"))).collect();
    let error = [text(vm, "observed.error.message"), text(vm, "observed.error.hint")].iter().filter(|t| !t.is_empty()).map(|t| (*t).to_string()).collect();
    let all = [("waits for the next start", crate::json::texts(vm, "observed.pending")), ("changed behind Virga's back", drift), ("the host says", error)];
    all.into_iter().filter(|(_, lines): &(_, Vec<String>)| !lines.is_empty()).collect()
}

/// The state in a word or two: what is, where it is going, and whether it is old news.
fn state(vm: &Value) -> String {
    let is = text(vm, "observed.state");
    let desired = text(vm, "desired");
    let mut out = if desired.is_empty() || is == desired || is == "unknown" { is.to_string() } else { format!("{is} -> {desired}") };
    if !at(vm, "fresh").is_null() && !flag(vm, "fresh") {
        out.push_str(" (stale)");
    }
    out
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::output::{Format, Output};
    use serde_json::json;
    use virga_model::Time;

    /// A VM as the API answers with it, shortened.
    pub(crate) fn web() -> Value {
        json!({
            "id": "0198f4c2-0000-7000-8000-000000000001", "name": "web-1", "description": "", "labels": {"env": "prod"},
            "owner": {"kind": "user", "id": "u", "name": "ops"}, "desired": "running", "generation": 7,
            "spec": {"cpu": {"count": 2, "max": 8, "cores_per_socket": 0, "mode": {"mode": "custom", "model": "qemu64"}},
                "memory": {"bytes": 2147483648u64, "max_bytes": 2147483648u64}, "firmware": "bios", "machine": "pc-q35-7.2",
                "boot": ["disk", "cdrom", "network"],
                "disks": [{"id": "d1aaaaaa-0000-7000-8000-000000000001", "size_bytes": 21474836480u64, "bus": "virtio", "cache": "directsync"}],
                "nics": [{"id": "e1aaaaaa-0000-7000-8000-000000000001", "network": "n1", "model": "virtio", "mac": "52:54:00:01:02:03", "link_up": true}],
                "cdroms": [{"id": "c1aaaaaa-0000-7000-8000-000000000001"}]},
            "host": {"kind": "host", "id": "h", "name": "host-1"}, "placement": "most free memory",
            "observed": {"generation": 7, "state": "running", "settled": true, "guest": {"agent": "connected", "ips": ["192.168.200.10"]}},
            "fresh": true, "created_at": "2026-01-01T00:00:00.000000Z", "updated_at": "2026-01-01T00:00:00.000000Z"
        })
    }

    #[test]
    fn the_list_fits_a_terminal() {
        let mut old = web();
        old["name"] = "db-1".into();
        old["fresh"] = false.into();
        old["observed"]["state"] = "stopped".into();
        let now = Time::parse("2026-01-01T05:00:00Z").expect("a time");
        let text = Output::default().list_text(&[web(), old], COLUMNS, now).expect("a table");
        assert_eq!(
            text,
            "NAME   STATE                       HOST    CPUS  MEMORY  IP              AGE\n\
             web-1  running                     host-1  2      2 GiB  192.168.200.10  5h\n\
             db-1   stopped -> running (stale)  host-1  2      2 GiB  192.168.200.10  5h\n"
        );
    }

    #[test]
    fn json_is_the_object_of_the_api() {
        let out = Output { format: Format::Json, ..Default::default() };
        let text = out.object_text(&web(), COLUMNS, Time(0)).expect("JSON");
        assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON"), web());
    }

    #[test]
    fn remarks_only_when_there_are_some() {
        assert!(remarks(&web()).is_empty());
        let mut vm = web();
        vm["observed"]["pending"] = json!(["cpu model"]);
        vm["observed"]["drift"] = json!([{"what": "power", "message": "was stopped with virsh"}]);
        assert_eq!(remarks(&vm).len(), 2);
    }
}
