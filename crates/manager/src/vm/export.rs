//! Exporting VMs (TPL-06, W-19).
//!
//! The host copies the disks into a format for transport and keeps them ([`virga_model::export`]); that is an ordinary edit of
//! the VM, with its task, its cancel and its way back. The package itself is nowhere: it is written when somebody fetches it
//! ([`super::package`]). So nothing of a VM ever lies in the library, where others could read it, and whoever may not change
//! the VM may not take it away either.

use super::{Change, conclude, free, load_for_change, not_going, snapshot, step, transaction};
use crate::http::Op;
use uuid::Uuid;
use virga_api::v1::{Accepted, PlanStep, VmExport, VmExportCreate, VmExportState};
use virga_model::error::Check;
use virga_model::export::{ExportSpec, SnapshotSource, against, check_format};
use virga_model::image::ImageFormat;
use virga_model::role::Privilege;
use virga_model::snapshot::SnapshotState;
use virga_model::task::{TaskDoc, TaskKind};
use virga_model::vm::{Desired, DiskBus, DiskSpec, Firmware, Vm, VmSpec, VmState};
use virga_model::{DiskId, Error};
use virga_store::Tx;

/// Has the host make an export. One that is there already is replaced.
///
/// # Errors
/// NotFound, Forbidden, Invalid with every disk that no package can hold, Conflict unless the VM is off or a snapshot is
/// exported, Locked, PreconditionFailed.
pub async fn create(op: &Op, vm: &str, b: &VmExportCreate, dry_run: bool) -> Result<Accepted, Error> {
    let format = b.disk_format.unwrap_or(ImageFormat::Vmdk);
    check_format("disk_format", format)?;
    let mut tx = transaction(op, dry_run).await?;
    let before = load_for_change(op, &mut tx, vm, Privilege::VmEdit).await?;
    not_going(&before)?;
    free(&mut tx, &before).await?;
    let (snapshot, spec) = match b.snapshot.as_deref() {
        None => {
            off(&before)?;
            (None, before.spec.clone())
        }
        Some(name) => {
            let row = snapshot::find(&mut tx, &before, name).await?;
            if row.state != SnapshotState::Ready {
                return Err(Error::conflict(format!("Snapshot {} is {}, so it cannot be exported.", row.name, row.state)));
            }
            (Some(SnapshotSource { id: row.id, layer: row.layer }), row.spec)
        }
    };
    let (chosen, left) = chosen(&before, &spec, format, snapshot.is_some());
    if !b.leave_out && !left.is_empty() {
        return Err(refused(&left));
    }
    if chosen.is_empty() {
        return Err(Error::conflict(format!("VM {} has no disk that can be exported.", before.name)));
    }
    let mut plan: Vec<PlanStep> = chosen.iter().map(|d| step(copying(d, format))).collect();
    plan.extend(left.iter().map(|(d, why)| step(format!("leave disk {d} out: it {why}"))));
    plan.extend(notes(&spec, &chosen).into_iter().map(step));
    let mut after = before.clone();
    let disks = chosen.iter().map(|d| d.id).collect();
    after.spec.export = Some(ExportSpec { id: Uuid::now_v7(), format, made_at: op.now, disks, snapshot });
    let of = b.snapshot.as_deref().map_or(String::new(), |s| format!(" of snapshot {s}"));
    change(op, tx, before, after, plan, format!("export{of} asked for, disks as {format}"), dry_run).await
}

/// That nothing writes to the disks.
fn off(vm: &Vm) -> Result<(), Error> {
    if vm.desired == Desired::Stopped && vm.observed.state == VmState::Stopped {
        return Ok(());
    }
    Err(Error::conflict(format!("VM {} is {}; an export is made of a VM that is off, or of a snapshot.", vm.name, vm.observed.state))
        .with_hint("Shut it down first (virga vm shutdown), or export a snapshot of it (--snapshot)."))
}

/// The disks that are copied, and those that no package can hold, with the reason.
fn chosen<'a>(vm: &Vm, spec: &'a VmSpec, format: ImageFormat, of_snapshot: bool) -> (Vec<&'a DiskSpec>, Vec<(DiskId, &'static str)>) {
    let (mut chosen, mut left) = (Vec::new(), Vec::new());
    for d in &spec.disks {
        let there = vm.spec.disks.iter().any(|t| t.id == d.id);
        match against(d, format, of_snapshot) {
            Some(why) => left.push((d.id, why)),
            None if !there => left.push((d.id, "was detached since the snapshot; go back to it to have it again")),
            None => chosen.push(d),
        }
    }
    (chosen, left)
}

/// The refusal with every reason.
fn refused(left: &[(DiskId, &'static str)]) -> Error {
    let mut c = Check::new();
    left.iter().for_each(|(d, why)| c.that(false, "leave_out", format!("disk {d} {why}")));
    let e = c.done().err().unwrap_or_else(|| Error::internal("A refusal without a reason."));
    e.with_hint("Leave such disks out (leave_out, --leave-out), or copy what is on them within the guest.")
}

fn copying(d: &DiskSpec, format: ImageFormat) -> String {
    format!("copy disk {} as {format} (up to {})", d.id, virga_model::size::human(d.size_bytes))
}

/// What of the VM has no word in a package, or another one.
fn notes(spec: &VmSpec, chosen: &[&DiskSpec]) -> Vec<String> {
    let mut out = Vec::new();
    for d in chosen.iter().filter(|d| d.bus == DiskBus::Usb) {
        out.push(format!("note: disk {} is on USB here and on SATA in the package, because no other product has disks on USB", d.id));
    }
    if spec.cdroms.iter().any(|c| c.image.is_some()) {
        out.push("note: ISOs in optical drives are left out; the drives are empty in the package".into());
    }
    if spec.firmware == Firmware::Uefi {
        out.push("note: UEFI variables are left out; the firmware finds its boot entry again on the disk".into());
    }
    if spec.cloud_init.is_some() {
        out.push("note: first-boot settings are left out".into());
    }
    out
}

/// Has the host remove the export.
///
/// # Errors
/// Conflict also when there is none; as [`create`].
pub async fn delete(op: &Op, vm: &str, dry_run: bool) -> Result<Accepted, Error> {
    let mut tx = transaction(op, dry_run).await?;
    let before = load_for_change(op, &mut tx, vm, Privilege::VmEdit).await?;
    wanted(&before)?;
    not_going(&before)?;
    free(&mut tx, &before).await?;
    let mut after = before.clone();
    after.spec.export = None;
    change(op, tx, before, after, vec![step("remove the export from the host")], "export removed".into(), dry_run).await
}

async fn change(op: &Op, tx: Tx, before: Vm, mut after: Vm, plan: Vec<PlanStep>, detail: String, dry_run: bool) -> Result<Accepted, Error> {
    // What a cancel goes back to has no export: what was there before is gone when another one was begun.
    let mut former = before.spec.clone();
    former.export = None;
    after.former_spec = Some(former);
    after.generation = before.generation + 1;
    let doc = TaskDoc { generation: after.generation, former_desired: Some(before.desired), ..TaskDoc::default() };
    conclude(op, tx, Change { before, after, task: Some((TaskKind::VmExport, doc)), plan, detail }, dry_run).await
}

/// The export that the VM shall have.
pub(super) fn wanted(vm: &Vm) -> Result<&ExportSpec, Error> {
    let none = || Error::conflict(format!("VM {} has no export.", vm.name)).with_hint("Make one first: virga vm export.");
    vm.spec.export.as_ref().ok_or_else(none)
}

/// That no copies lie anywhere of what is to be overwritten (W-40).
pub(super) fn none_there(vm: &Vm) -> Result<(), Error> {
    if vm.spec.export.is_none() {
        return Ok(());
    }
    Err(Error::conflict(format!("VM {} has an export, whose copies would not be overwritten.", vm.name))
        .with_hint("Remove the export first (virga vm export --remove)."))
}

/// The export that there is.
///
/// # Errors
/// NotFound; Conflict when there is none.
pub async fn view(op: &Op, vm: &str) -> Result<VmExport, Error> {
    let mut tx = op.read().await?;
    let vm = super::load(op, &mut tx, vm, Privilege::VmEdit).await?;
    let e = wanted(&vm)?.clone();
    let (state, size_bytes, reason) = match super::package::of(&mut tx, &vm).await {
        Ok(p) => (VmExportState::Ready, Some(p.bytes()), None),
        Err(e) => (VmExportState::NotReady, None, Some(e.message)),
    };
    Ok(VmExport { id: e.id, disk_format: e.format, made_at: e.made_at, snapshot: e.snapshot.map(|s| s.id), state, reason, size_bytes })
}
