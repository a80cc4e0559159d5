//! Disks of a VM.

use crate::app::App;
use crate::args::{Change, Consent};
use crate::client::json;
use crate::client::types::{Discard, DiskBus, DiskCache, DiskCreate, DiskFormat, DiskLimits, DiskMode, DiskUpdate, Erase, Provisioning, Sharing};
use crate::column::{Column, Kind, col, wide};
use crate::error::{Exit, Failure, Result};
use crate::json::{items, text};
use crate::vm::{spec, view};
use crate::{human, terminal, wait};
use clap::{Args, Subcommand};
use serde_json::Value;
use uuid::Uuid;

/// Columns of disks.
pub(crate) const COLUMNS: &[Column] = &[
    col("id", "id", Kind::Text),
    col("size", "size_bytes", Kind::Bytes),
    col("bus", "bus", Kind::Text),
    col("cache", "cache", Kind::Text),
    col("kind", "provisioning", Kind::Text),
    col("format", "format", Kind::Text),
    wide("mode", "mode", Kind::Text),
    wide("discard", "discard", Kind::Text),
    wide("sharing", "sharing", Kind::Text),
    wide("image", "image", Kind::Text),
    wide("store", "store", Kind::Text),
];

/// Verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the disks of a VM.
    List(List),
    /// Make and attach a disk.
    Attach(Attach),
    /// Grow a disk, or change its bus, cache mode, mode, limits or discard mode.
    Update(Update),
    /// Bring space of a thin disk that its guest does not use back to the store.
    Reclaim(ReclaimArgs),
    /// Detach and remove a disk; with --keep its data stays. One that other VMs are bound to is only detached.
    Detach(Detach),
    /// Attach a disk again that was detached with --keep.
    Reattach(Reattach),
}

/// Options of `list`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga vm disk list web-1")]
pub(crate) struct List {
    /// Name or id of the VM.
    vm: String,
}

/// Options of `attach`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  virga vm disk attach web-1 --size 50GiB\n  virga vm disk attach web-1 --size 50GiB --bus scsi --cache none\n  virga vm disk attach web-1 --image data-set\n  virga vm disk attach db-1 --size 200GiB --provisioning thick_eager\n  virga vm disk attach db-1 --size 20GiB --sharing shared\n  virga vm disk attach db-2 --existing 0198f4c2-7a10-7c00-8000-0123456789ab"
)]
pub(crate) struct Attach {
    /// Name or id of the VM.
    vm: String,
    /// Size; the image's when left out.
    #[arg(long, value_parser = human::parse_size, required_unless_present_any = ["image", "existing"])]
    size: Option<u64>,
    /// Image that it starts from; empty when left out.
    #[arg(long)]
    image: Option<String>,
    /// Data store that it lies on, local for the local one of the VM's host; Virga chooses when left out.
    #[arg(long, value_name = "DATA-STORE")]
    data_store: Option<String>,
    /// virtio, scsi, ide or usb.
    #[arg(long, value_parser = spec::bus)]
    bus: Option<DiskBus>,
    /// none, directsync, writeback or writethrough.
    #[arg(long, value_parser = spec::cache)]
    cache: Option<DiskCache>,
    /// dependent (snapshots include it), independent_persistent (they leave it out) or independent_nonpersistent (what is written is
    /// gone when the VM is switched off).
    #[arg(long, value_parser = spec::disk_mode)]
    mode: Option<DiskMode>,
    /// Limits, e.g. iops=500,rate=100MiB,burst-iops=2000,burst=30; none takes them away.
    #[arg(long, value_parser = spec::limits)]
    limits: Option<DiskLimits>,
    /// thin (takes space as it is written), thick_lazy (takes all at once) or thick_eager (and zeros are written).
    #[arg(long, value_parser = spec::provisioning)]
    provisioning: Option<Provisioning>,
    /// qcow2 or raw; qcow2 for a thin disk and raw for a thick one when left out.
    #[arg(long, value_parser = spec::disk_format)]
    format: Option<DiskFormat>,
    /// off (blocks that the guest gives back stay with the disk) or unmap (they go back to the store).
    #[arg(long, value_parser = spec::discard)]
    discard: Option<Discard>,
    /// ordinary (for this VM alone) or shared (several VMs may be bound to it).
    #[arg(long, value_parser = spec::sharing)]
    sharing: Option<Sharing>,
    /// Id of a shared disk of another VM on the same host, to be bound to this VM, too.
    #[arg(long, value_name = "DISK", conflicts_with_all = ["size", "image", "mode", "provisioning", "format", "discard", "sharing"])]
    existing: Option<Uuid>,
    #[command(flatten)]
    change: Change,
}

/// Options of `update`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  virga vm disk update web-1 0 --size 100GiB\n  virga vm disk update web-1 0198f4c2 --cache none\n  virga vm disk update web-1 0 --limits iops=500,rate=100MiB"
)]
pub(crate) struct Update {
    /// Name or id of the VM.
    vm: String,
    /// Id of the disk, its beginning, or the disk's number from 0.
    disk: String,
    /// Larger size.
    #[arg(long, value_parser = human::parse_size)]
    size: Option<u64>,
    /// virtio, scsi, ide or usb.
    #[arg(long, value_parser = spec::bus)]
    bus: Option<DiskBus>,
    /// none, directsync, writeback or writethrough.
    #[arg(long, value_parser = spec::cache)]
    cache: Option<DiskCache>,
    /// dependent (snapshots include it), independent_persistent (they leave it out) or independent_nonpersistent (what is written is
    /// gone when the VM is switched off).
    #[arg(long, value_parser = spec::disk_mode)]
    mode: Option<DiskMode>,
    /// Limits, e.g. iops=500,rate=100MiB,burst-iops=2000,burst=30; none takes them away.
    #[arg(long, value_parser = spec::limits)]
    limits: Option<DiskLimits>,
    /// off (blocks that the guest gives back stay with the disk) or unmap (they go back to the store).
    #[arg(long, value_parser = spec::discard)]
    discard: Option<Discard>,
    #[command(flatten)]
    change: Change,
}

/// Options of `reclaim`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga vm disk reclaim web-1 0")]
pub(crate) struct ReclaimArgs {
    /// Name or id of the VM.
    vm: String,
    /// Id of the disk, its beginning, or the disk's number from 0.
    disk: String,
    #[command(flatten)]
    change: Change,
}

/// Options of `detach`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  virga vm disk detach web-1 1\n  virga vm disk detach web-1 0198f4c2 --yes\n  virga vm disk detach web-1 1 --keep\n  virga vm disk detach web-1 1 --erase secure"
)]
pub(crate) struct Detach {
    /// Name or id of the VM.
    vm: String,
    /// Id of the disk, its beginning, or the disk's number from 0.
    disk: String,
    /// Keep its data, so that it can be attached again. Only for disks that snapshots leave out.
    #[arg(long)]
    keep: bool,
    /// normal (its files are removed) or secure (they are overwritten before).
    #[arg(long, value_parser = spec::erase)]
    erase: Option<Erase>,
    #[command(flatten)]
    change: Change,
    #[command(flatten)]
    consent: Consent,
}

/// Options of `reattach`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga vm disk reattach web-1 0198f4c2")]
pub(crate) struct Reattach {
    /// Name or id of the VM.
    vm: String,
    /// Id of the detached disk, its beginning, or its number from 0 among those.
    disk: String,
    #[command(flatten)]
    change: Change,
}

/// Does what a verb says.
pub(crate) async fn run(app: &App, command: Command) -> Result {
    match command {
        Command::List(a) => app.out.list(items(&view(app, &a.vm).await?, "spec.disks"), COLUMNS),
        Command::Attach(a) => attach(app, a).await,
        Command::Update(a) => update(app, a).await,
        Command::Reclaim(a) => reclaim(app, a).await,
        Command::Detach(a) => detach(app, a).await,
        Command::Reattach(a) => reattach(app, a).await,
    }
}

async fn attach(app: &App, a: Attach) -> Result {
    let body = DiskCreate {
        size_bytes: a.size,
        image: a.image,
        bus: a.bus,
        cache: a.cache,
        mode: a.mode,
        limits: a.limits,
        provisioning: a.provisioning,
        format: a.format,
        discard: a.discard,
        sharing: a.sharing,
        existing: a.existing,
        data_store: a.data_store,
    };
    let mut call = app.api()?.v1.vm_disk_attach().vm(&a.vm).body(body);
    if a.change.dry_run {
        call = call.dry_run(true);
    }
    wait::finish(app, json(call.send().await)?, &a.change, "has the disk").await
}

async fn update(app: &App, a: Update) -> Result {
    if a.size.is_none() && a.bus.is_none() && a.cache.is_none() && a.mode.is_none() && a.limits.is_none() && a.discard.is_none() {
        return Err(Failure::usage("no change is given").hint("give --size, --bus, --cache, --mode, --limits or --discard"));
    }
    let disk = find(items(&view(app, &a.vm).await?, "spec.disks"), &a.disk, "disk")?;
    let body = DiskUpdate { size_bytes: a.size, bus: a.bus, cache: a.cache, mode: a.mode, limits: a.limits, discard: a.discard };
    let mut call = app.api()?.v1.vm_disk_update().vm(&a.vm).disk(disk).body(body);
    if a.change.dry_run {
        call = call.dry_run(true);
    }
    wait::finish(app, json(call.send().await)?, &a.change, "has the disk changed").await
}

async fn reclaim(app: &App, a: ReclaimArgs) -> Result {
    let disk = find(items(&view(app, &a.vm).await?, "spec.disks"), &a.disk, "disk")?;
    let mut call = app.api()?.v1.vm_disk_reclaim().vm(&a.vm).disk(disk);
    if a.change.dry_run {
        call = call.dry_run(true);
    }
    wait::finish(app, json(call.send().await)?, &a.change, "takes no more space than it needs").await
}

async fn detach(app: &App, a: Detach) -> Result {
    let vm = view(app, &a.vm).await?;
    // One that was detached before can be removed by its id.
    let disk = find(items(&vm, "spec.disks"), &a.disk, "disk").or_else(|e| find(items(&vm, "spec.detached"), &a.disk, "disk").map_err(|_| e))?;
    if !a.change.dry_run && !a.keep {
        let size = items(&vm, "spec.disks").iter().find(|d| text(d, "id") == disk.to_string()).map(|d| human::size(crate::json::number(d, "size_bytes")));
        let question = format!("Remove disk {disk} ({}) of {} with all its data?", size.unwrap_or_default(), text(&vm, "name"));
        terminal::consent(a.consent.yes, &question)?;
    }
    let mut call = app.api()?.v1.vm_disk_detach().vm(&a.vm).disk(disk);
    if a.keep {
        call = call.keep(true);
    }
    if let Some(erase) = a.erase {
        call = call.erase(erase);
    }
    if a.change.dry_run {
        call = call.dry_run(true);
    }
    wait::finish(app, json(call.send().await)?, &a.change, "is rid of the disk").await
}

async fn reattach(app: &App, a: Reattach) -> Result {
    let disk = find(items(&view(app, &a.vm).await?, "spec.detached"), &a.disk, "detached disk")?;
    let mut call = app.api()?.v1.vm_disk_reattach().vm(&a.vm).disk(disk);
    if a.change.dry_run {
        call = call.dry_run(true);
    }
    wait::finish(app, json(call.send().await)?, &a.change, "has the disk").await
}

/// A device by its id, the beginning of it, its MAC address, or its number from 0.
pub(crate) fn find(devices: &[Value], wanted: &str, what: &str) -> Result<Uuid> {
    let lower = wanted.to_ascii_lowercase();
    let by_number = wanted.parse::<usize>().ok().filter(|_| wanted.len() <= 2).and_then(|i| devices.get(i));
    let hits: Vec<&Value> = match by_number {
        Some(d) => vec![d],
        None => devices.iter().filter(|d| !lower.is_empty() && (text(d, "id").starts_with(&lower) || text(d, "mac") == lower)).collect(),
    };
    match hits.as_slice() {
        [one] => wait::uuid(text(one, "id")),
        [] => Err(Failure::new(Exit::NotFound, format!("the VM has no {what} {wanted}")).hint("list them with virga vm show")),
        _ => Err(Failure::usage(format!("{wanted} is the beginning of several ids")).hint("write more of it")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn devices_are_found_by_number_id_and_address() {
        let devices = [
            json!({"id": "aaaa0000-0000-7000-8000-000000000001", "mac": "52:54:00:00:00:01"}),
            json!({"id": "aaab0000-0000-7000-8000-000000000002", "mac": "52:54:00:00:00:02"}),
        ];
        let found = |w: &str| find(&devices, w, "disk").map(|u| u.to_string());
        let second = "aaab0000-0000-7000-8000-000000000002";
        for w in ["1", "aaab", second, "52:54:00:00:00:02"] {
            assert_eq!(found(w).expect(w), second, "{w}");
        }
        assert_eq!(found("aaa").expect_err("two").exit, Exit::Usage);
        assert_eq!(found("7").expect_err("none").exit, Exit::NotFound);
        assert_eq!(found("").expect_err("none").exit, Exit::NotFound);
    }
}
