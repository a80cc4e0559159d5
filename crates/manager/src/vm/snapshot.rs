//! Snapshots of a VM: taken, gone back to, and taken away. Each is an edit of the VM's layers, decided here and brought
//! about by the VM's host; the row of the snapshot changes in the same transactions.

use super::{Room, apply, free, load, load_for_change, not_going, step, transaction};
use crate::http::{Op, task_path};
use crate::list;
use crate::state::Manager;
use crate::task_new::{self, About, Who};
use std::collections::BTreeSet;
use uuid::Uuid;
use virga_api::v1::{Accepted, ListQuery, PageBody, PlanStep, Reference, Snapshot as Shape, SnapshotCreate, SnapshotRevert, SnapshotUpdate};
use virga_model::layer::{DEPTH_MAX, Merge, renamed};
use virga_model::refusal::Reason;
use virga_model::role::Privilege;
use virga_model::snapshot::{SNAPSHOTS_MAX, Snapshot, SnapshotKind, SnapshotState, check_note, memory_barred};
use virga_model::task::{Cause, ObjectRef, Task, TaskDoc, TaskKind};
use virga_model::vm::{AgentState, Desired, DiskMode, DiskSpec, StopMode, Vm, VmSpec, VmState};
use virga_model::{DiskId, Error, LayerId, ScheduleId, SnapshotId, Time, UserId, name};
use virga_store::Tx;

fn shape(s: Snapshot, vm: &Vm) -> Shape {
    Shape {
        id: s.id,
        vm: Reference::new(&ObjectRef::Vm(vm.id), &vm.name),
        current: vm.spec.layers.snapshot == Some(s.id),
        name: s.name,
        note: s.note,
        kind: s.kind,
        state: s.state,
        parent: s.parent,
        spec: s.spec,
        generation: s.generation,
        created_at: s.created_at,
        memory_bytes: s.memory_bytes,
        paused_ms: s.paused_ms,
        schedule: s.schedule,
    }
}

/// The snapshot of `vm` that is called `wanted`.
pub(super) async fn find(tx: &mut Tx, vm: &Vm, wanted: &str) -> Result<Snapshot, Error> {
    virga_store::snapshot::by_ref(tx, vm.id, wanted).await?.ok_or_else(|| Error::not_found("snapshot", wanted))
}

/// A page of a VM's snapshots.
///
/// # Errors
/// NotFound, Malformed for wrong parameters.
pub async fn list(op: &Op, vm: &str, q: &ListQuery) -> Result<PageBody<Shape>, Error> {
    let mut tx = op.read().await?;
    let vm = load(op, &mut tx, vm, Privilege::VmRead).await?;
    let mut paged = virga_store::snapshot::list(&mut tx, &list::page(q)?, vm.id).await?;
    let items = std::mem::take(&mut paged.items).into_iter().map(|s| shape(s, &vm)).collect();
    list::body(q, paged, items)
}

/// One snapshot.
///
/// # Errors
/// NotFound.
pub async fn view(op: &Op, vm: &str, snapshot: &str) -> Result<Shape, Error> {
    let mut tx = op.read().await?;
    let vm = load(op, &mut tx, vm, Privilege::VmRead).await?;
    Ok(shape(find(&mut tx, &vm, snapshot).await?, &vm))
}

/// Changes a snapshot's name or note.
///
/// # Errors
/// NotFound, Forbidden, Invalid, Conflict when the name is taken, PreconditionFailed.
pub async fn update(op: &Op, vm: &str, snapshot: &str, b: &SnapshotUpdate) -> Result<Shape, Error> {
    let mut tx = op.write().await?;
    let vm = load(op, &mut tx, vm, Privilege::VmEdit).await?;
    let mut s = find(&mut tx, &vm, snapshot).await?;
    op.check_match(s.generation)?;
    if let Some(n) = &b.name {
        name::check("name", n)?;
        s.name.clone_from(n);
    }
    if let Some(n) = &b.note {
        check_note(n)?;
        s.note.clone_from(n);
    }
    let expected = s.generation;
    s.generation += 1;
    virga_store::snapshot::update(&mut tx, &s, expected).await?;
    op.audit(&mut tx, ObjectRef::Vm(vm.id), &vm.name, &format!("snapshot {} changed", s.name)).await?;
    let answer = shape(s, &vm);
    op.commit(tx, &answer, None).await?;
    Ok(answer)
}

/// Takes a snapshot.
///
/// # Errors
/// NotFound, Forbidden, Invalid, Conflict with what to do instead, Locked, PreconditionFailed.
pub async fn create(op: &Op, vm: &str, b: &SnapshotCreate, dry_run: bool) -> Result<Accepted, Error> {
    name::check("name", &b.name)?;
    check_note(&b.note)?;
    let mut tx = transaction(op, dry_run).await?;
    let before = load_for_change(op, &mut tx, vm, Privilege::VmEdit).await?;
    let wanted = Wanted { name: b.name.clone(), note: b.note.clone(), kind: b.kind.unwrap_or_default(), schedule: None };
    let (edit, row) = decide_create(&op.m, &mut tx, before, wanted, op.now).await.map_err(|e| op.veil(e))?;
    if !dry_run {
        virga_store::snapshot::insert(&mut tx, &row).await?;
    }
    write(op, tx, edit, &row, dry_run).await
}

/// What a snapshot shall be.
pub(crate) struct Wanted {
    /// Its name.
    pub name: String,
    /// Free text.
    pub note: String,
    /// What it holds.
    pub kind: SnapshotKind,
    /// The schedule that wants it, and its point in time.
    pub schedule: Option<(ScheduleId, Time)>,
}

/// How a snapshot of `before` is taken; reads only.
async fn decide_create(m: &Manager, tx: &mut Tx, before: Vm, w: Wanted, now: Time) -> Result<(Edit, Snapshot), Error> {
    not_going(&before)?;
    free(tx, &before).await?;
    can_freeze(&before, w.kind)?;
    if w.kind == SnapshotKind::Memory {
        memory_fits(m, tx, &before).await?;
    }
    let others = virga_store::snapshot::of_vm(tx, before.id).await?;
    if others.len() >= SNAPSHOTS_MAX {
        return Err(Error::conflict(format!("VM {} has {SNAPSHOTS_MAX} snapshots already.", before.name)).with_hint("Delete those that are not needed."));
    }
    if before.spec.layers.depth() >= DEPTH_MAX {
        return Err(Error::conflict(format!("The disks of VM {} stand on {DEPTH_MAX} layers already.", before.name))
            .with_hint("Delete some of the snapshots that lead to the present state: their layers are merged."));
    }
    if others.iter().any(|s| s.name == w.name) {
        return Err(Error::conflict(format!("VM {} has another snapshot with the name {}.", before.name, w.name)).with_hint("Choose another name."));
    }
    let (id, layer) = (SnapshotId(Uuid::now_v7()), LayerId(Uuid::now_v7()));
    let row = Snapshot {
        id,
        vm: before.id,
        name: w.name,
        note: w.note,
        kind: w.kind,
        state: SnapshotState::Creating,
        parent: before.spec.layers.snapshot,
        layer: before.spec.layers.top,
        spec: before.spec.clone(),
        generation: 1,
        created_at: now,
        memory_bytes: None,
        paused_ms: None,
        schedule: w.schedule.map(|(s, _)| s),
        scheduled_at: w.schedule.map(|(_, at)| at),
    };
    let mut after = before.clone();
    match w.kind {
        SnapshotKind::Memory => after.spec.layers.take_with_memory(layer, id),
        SnapshotKind::Ordinary | SnapshotKind::Consistent => after.spec.layers.take(layer, w.kind == SnapshotKind::Consistent, id),
    }
    // The way back: what the guest wrote since then goes down again.
    let mut former = before.spec.clone();
    former.layers.merges.push(Merge { from: layer, into: before.spec.layers.top });
    after.former_spec = Some(former);
    let plan = create_plan(&before, w.kind);
    let detail = format!("snapshot {} ({})", row.name, w.kind);
    Ok((Edit { before, after, kind: TaskKind::SnapshotCreate, former: None, plan, detail }, row))
}

/// Takes a snapshot on behalf of a schedule's owner; the caller commits.
///
/// # Errors
/// As [`create`].
pub(crate) async fn create_by(m: &Manager, tx: &mut Tx, before: Vm, w: Wanted, owner: UserId, now: Time) -> Result<(), Error> {
    name::check("name", &w.name)?;
    let (edit, row) = decide_create(m, tx, before, w, now).await?;
    virga_store::snapshot::insert(tx, &row).await?;
    write_by(tx, edit, &row, owner, now).await
}

/// Takes a snapshot away on behalf of a schedule's owner; the caller commits.
///
/// # Errors
/// As [`delete`].
pub(crate) async fn delete_by(tx: &mut Tx, before: Vm, mut row: Snapshot, owner: UserId, now: Time) -> Result<(), Error> {
    let edit = decide_delete(None, tx, before, &row).await?;
    mark_deleting(tx, &mut row).await?;
    write_by(tx, edit, &row, owner, now).await
}

/// Writes an edit that a loop wants: the VM's row and the task.
async fn write_by(tx: &mut Tx, mut e: Edit, row: &Snapshot, owner: UserId, now: Time) -> Result<(), Error> {
    e.after.spec.check()?;
    e.after.generation = e.before.generation + 1;
    e.after.updated_at = now;
    virga_store::vm::update(tx, &e.after, e.before.generation).await?;
    let doc = TaskDoc { generation: e.after.generation, former_desired: e.former, snapshot: Some(row.id), ..TaskDoc::default() };
    let who = Who { cause: Cause::Schedule, requester: Some(owner), now };
    task_new::insert(tx, who, e.kind, About::vm(&e.after), doc, None).await.map(drop)
}

fn included(spec: &VmSpec) -> impl Iterator<Item = &DiskSpec> {
    spec.disks.iter().filter(|d| d.mode == DiskMode::Dependent)
}

/// That the disks can be frozen now.
fn can_freeze(vm: &Vm, kind: SnapshotKind) -> Result<(), Error> {
    if included(&vm.spec).next().is_none() {
        return Err(
            Error::conflict(format!("VM {} has no disk that snapshots include.", vm.name)).with_hint("Disks of independent modes are left out (DSK-19).")
        );
    }
    settled_state(vm)?;
    match kind {
        SnapshotKind::Ordinary => return Ok(()),
        SnapshotKind::Memory => return can_store_memory(vm),
        SnapshotKind::Consistent => {}
    }
    if vm.observed.state != VmState::Running {
        return Err(Error::conflict(format!("VM {} does not run, so there is nothing to bring to rest.", vm.name)).with_hint("Take an ordinary snapshot."));
    }
    if vm.observed.guest.agent != AgentState::Connected {
        return Err(Error::conflict(format!("The guest agent of VM {} does not answer, and a consistent snapshot needs it.", vm.name))
            .with_hint("Install and start qemu-guest-agent in the guest, or take an ordinary snapshot."));
    }
    Ok(())
}

/// That there is memory, and that it can be stored (SNAP-17).
fn can_store_memory(vm: &Vm) -> Result<(), Error> {
    if vm.observed.state == VmState::Stopped {
        return Err(Error::conflict(format!("VM {} does not run, so it has no memory to store.", vm.name)).with_hint("Take an ordinary snapshot."));
    }
    if let Some(why) = memory_barred(&vm.spec) {
        return Err(Error::conflict(format!("The memory of VM {} cannot be stored: {why}.", vm.name))
            .with_hint("Take an ordinary or consistent snapshot, or detach what is named first."));
    }
    Ok(())
}

/// That the store has room for the memory.
async fn memory_fits(m: &Manager, tx: &mut Tx, vm: &Vm) -> Result<(), Error> {
    let Some(host) = vm.host else { return Ok(()) };
    let Some(host) = crate::view::one(m, tx, host).await? else { return Ok(()) };
    let (needed_bytes, free_bytes) = (vm.spec.host_memory_bytes(), host.store_free_bytes);
    if needed_bytes <= free_bytes {
        return Ok(());
    }
    Err(super::no_room(vm, &host, vec![Reason::Storage { needed_bytes, free_bytes }]))
}

/// That it is known what the guest does, and that no saved memory depends on the layers as they are.
pub(super) fn settled_state(vm: &Vm) -> Result<(), Error> {
    let (what, hint) = match vm.observed.state {
        VmState::Running | VmState::Paused | VmState::Stopped => return Ok(()),
        VmState::Hibernated => {
            ("is hibernated, and its saved memory belongs to the disks as they are", "Wake it first, or throw its saved memory away with force_off.")
        }
        VmState::Crashed => ("was stopped by an error of its host or guest", "Cut its power first with the action force_off."),
        VmState::Absent => ("is on no host yet", "Wait until it is made."),
        VmState::Unknown => ("is in an unknown state, because its host does not report", "Try again when the host is back."),
    };
    Err(Error::conflict(format!("VM {} {what}.", vm.name)).with_hint(hint))
}

fn create_plan(vm: &Vm, kind: SnapshotKind) -> Vec<PlanStep> {
    let mut plan = Vec::new();
    if kind == SnapshotKind::Consistent {
        plan.push(step("let the guest agent write what is cached and hold the file systems for the moment"));
    }
    if kind == SnapshotKind::Memory {
        let most = virga_model::size::human(vm.spec.memory.bytes);
        plan.push(step(format!("store the memory while the guest runs on, at most {most}; hold the guest for the last moment")));
    }
    for d in &vm.spec.disks {
        plan.push(step(match d.mode {
            DiskMode::Dependent => format!("freeze disk {} and let the guest go on in a new layer", d.id),
            DiskMode::IndependentPersistent | DiskMode::IndependentNonpersistent => format!("leave disk {} out: it is {}", d.id, d.mode),
        }));
    }
    plan
}

/// An edit of the VM's layers, decided and not yet written.
struct Edit {
    before: Vm,
    after: Vm,
    kind: TaskKind,
    /// Power state to which a cancel goes back.
    former: Option<Desired>,
    plan: Vec<PlanStep>,
    detail: String,
}

async fn write(op: &Op, mut tx: Tx, mut e: Edit, row: &Snapshot, dry_run: bool) -> Result<Accepted, Error> {
    e.after.spec.check()?;
    e.after.generation = e.before.generation + 1;
    let object = Reference { kind: "snapshot".into(), id: row.id.0, name: row.name.clone() };
    if dry_run {
        return Ok(Accepted { task: None, object, plan: e.plan });
    }
    let doc = TaskDoc { generation: e.after.generation, former_desired: e.former, snapshot: Some(row.id), ..TaskDoc::default() };
    let change = super::Change { before: e.before, after: e.after, task: Some((e.kind, doc)), plan: e.plan, detail: e.detail };
    let answer = Accepted { object, ..apply(op, &mut tx, change, None).await? };
    let location = answer.task.as_ref().map(|t| task_path(t.id));
    op.commit(tx, &answer, location.as_deref()).await?;
    Ok(answer)
}

/// Takes a snapshot away. What only it needs is merged into its neighbours; no other snapshot and not the present state
/// loses anything.
///
/// # Errors
/// As [`create`].
pub async fn delete(op: &Op, vm: &str, snapshot: &str, dry_run: bool) -> Result<Accepted, Error> {
    let mut tx = transaction(op, dry_run).await?;
    let before = load(op, &mut tx, vm, Privilege::VmEdit).await?;
    let mut row = find(&mut tx, &before, snapshot).await?;
    op.check_match(row.generation)?;
    let edit = decide_delete(Some(op), &mut tx, before, &row).await?;
    if !dry_run {
        mark_deleting(&mut tx, &mut row).await?;
    }
    write(op, tx, edit, &row, dry_run).await
}

async fn mark_deleting(tx: &mut Tx, row: &mut Snapshot) -> Result<(), Error> {
    let expected = row.generation;
    (row.state, row.generation) = (SnapshotState::Deleting, expected + 1);
    Ok(virga_store::snapshot::update(tx, row, expected).await?)
}

/// How a snapshot of `before` is taken away; reads only.
async fn decide_delete(op: Option<&Op>, tx: &mut Tx, before: Vm, row: &Snapshot) -> Result<Edit, Error> {
    not_going(&before)?;
    free(tx, &before).await?;
    settled_state(&before)?;
    let others: Vec<Snapshot> = virga_store::snapshot::of_vm(tx, before.id).await?.into_iter().filter(|s| s.id != row.id).collect();
    let tree = &before.spec.layers;
    let below = |s: &virga_store::clone::Standing| tree.path(tree.layer_of(s.on.disk, s.on.layer)).contains(&row.layer);
    super::clone::ensure_none(op, tx, &before, below, &format!("Snapshot {}", row.name)).await?;
    let mut frozen: BTreeSet<_> = others.iter().map(|s| s.layer).collect();
    frozen.extend(super::clone::held(tx, &before).await?);
    let mut after = before.clone();
    let layers = &mut after.spec.layers;
    let merges = layers.tidy(&frozen);
    if layers.snapshot == Some(row.id) {
        layers.snapshot = row.parent;
    }
    let memory = layers.memories.remove(&row.id);
    // Its package could not be described any more.
    let exported = after.spec.export.take_if(|e| e.snapshot.is_some_and(|s| s.id == row.id)).is_some();
    let layers = &mut after.spec.layers;
    let disks: BTreeSet<_> = others.iter().map(|s| &s.spec).chain([&before.spec]).flat_map(|s| s.disks.iter().map(|d| d.id)).collect();
    layers.retain_disks(|d| disks.contains(&d));
    after.former_spec = Some(before.spec.clone());
    let mut plan: Vec<PlanStep> = merges.iter().map(|m| step(format!("merge layer {} into {}", m.from, lower(m.into)))).collect();
    if memory {
        plan.push(step(format!("remove its stored memory ({})", virga_model::size::human(row.memory_bytes.unwrap_or(0)))));
    }
    if exported {
        plan.push(step("remove the export that was made of it"));
    }
    plan.push(step(format!("forget snapshot {}; the VM and its other snapshots keep their content", row.name)));
    let detail = format!("snapshot {} deleted", row.name);
    Ok(Edit { before, after, kind: TaskKind::SnapshotDelete, former: None, plan, detail })
}

fn lower(layer: Option<LayerId>) -> String {
    layer.map_or_else(|| "the base".into(), |l| format!("layer {l}"))
}

/// Brings a VM back to a snapshot: its disks and its settings are as they were then. Later snapshots stay.
///
/// # Errors
/// As [`create`], and NoCapacity when it shall start and its host has no room.
pub async fn revert(op: &Op, vm: &str, snapshot: &str, b: &SnapshotRevert, dry_run: bool) -> Result<Accepted, Error> {
    let mut tx = transaction(op, dry_run).await?;
    let before = load_for_change(op, &mut tx, vm, Privilege::VmEdit).await?;
    let row = find(&mut tx, &before, snapshot).await?;
    not_going(&before)?;
    free(&mut tx, &before).await?;
    if row.state != SnapshotState::Ready {
        return Err(Error::conflict(format!("Snapshot {} is {}, so nothing can go back to it.", row.name, row.state)));
    }
    if before.observed.state == VmState::Unknown {
        settled_state(&before)?;
    }
    let all = virga_store::snapshot::of_vm(&mut tx, before.id).await?;
    let mut after = before.clone();
    let mut plan = vec![step("switch the guest off; what it wrote since the last snapshot is lost")];
    after.spec = settings(&mut tx, &before, &row, &mut plan).await?;
    after.spec.layers = before.spec.layers.clone();
    let memory = row.kind == SnapshotKind::Memory && b.memory != Some(false);
    let mut frozen: BTreeSet<_> = all.iter().map(|s| s.layer).collect();
    frozen.extend(super::clone::held(&mut tx, &before).await?);
    // What is exported now is no part of what was then.
    after.spec.export = before.spec.export.clone();
    let merges = after.spec.layers.revert(row.layer, LayerId(Uuid::now_v7()), row.id, &frozen);
    plan.push(step(format!("go on from snapshot {} with its settings and an empty layer on its disks", row.name)));
    plan.extend(merges.iter().map(|m| step(format!("merge layer {} into {}", m.from, lower(m.into)))));
    after.former_spec = Some(before.spec.clone());
    let runs = b.start || memory;
    (after.desired, after.stop_mode) = (if runs { Desired::Running } else { Desired::Stopped }, StopMode::Force);
    if memory {
        same_hardware(&row, &after.spec)?;
        after.spec.layers.resume = Some(row.id);
    }
    if runs {
        Room::default().fits(op, &mut tx, &before, &after.spec, true, |r| !matches!(r, Reason::Maintenance)).await?;
        plan.push(step(if memory { "bring its memory back; the guest runs on where it was" } else { "start it" }));
    }
    let detail = format!("back to snapshot {}", row.name);
    let former = Some(before.desired);
    write(op, tx, Edit { before, after, kind: TaskKind::SnapshotRevert, former, plan, detail }, &row, dry_run).await
}

/// That the hardware which the stored memory knows can be had today.
fn same_hardware(row: &Snapshot, spec: &VmSpec) -> Result<(), Error> {
    let Some(gone) = row.spec.nics.iter().find(|n| !spec.nics.contains(n)) else { return Ok(()) };
    let message = format!("Snapshot {} holds the memory of a guest with NIC {}, whose network does not exist any more.", row.name, gone.mac);
    Err(Error::conflict(message).with_hint("Go back without the memory (memory: false, or --no-memory): then the NIC is left out."))
}

/// The settings of the snapshot's time, as far as they can be had today. Independent disks are neither captured nor brought
/// back: those of today stay (DSK-19 to DSK-21).
async fn settings(tx: &mut Tx, vm: &Vm, row: &Snapshot, plan: &mut Vec<PlanStep>) -> Result<VmSpec, Error> {
    let mut spec = row.spec.clone();
    let (included, apart): (Vec<_>, Vec<_>) = std::mem::take(&mut spec.disks).into_iter().partition(|d| d.mode == DiskMode::Dependent);
    spec.disks = included;
    spec.disks.extend(vm.spec.disks.iter().filter(|d| d.mode != DiskMode::Dependent).cloned());
    spec.detached.clone_from(&vm.spec.detached);
    for d in apart.iter().filter(|d| !vm.spec.disks.iter().any(|t| t.id == d.id)) {
        match spec.detached.iter().position(|t| t.id == d.id) {
            // DSK-20: it belongs to this VM and to no other, because its files never leave the VM.
            Some(at) => {
                spec.disks.push(spec.detached.remove(at));
                plan.push(step(format!("attach disk {} again, with what is on it now: it is {}", d.id, d.mode)));
            }
            // DSK-21.
            None => plan.push(step(format!("leave disk {} out: it was removed after the snapshot", d.id))),
        }
    }
    let mut nics = Vec::new();
    for nic in std::mem::take(&mut spec.nics) {
        match virga_store::network::get(tx, nic.network).await? {
            Some(n) if !n.deleting => nics.push(nic),
            _ => plan.push(step(format!("leave NIC {} out: its network does not exist any more", nic.mac))),
        }
    }
    spec.nics = nics;
    for drive in &mut spec.cdroms {
        let Some(image) = drive.image else { continue };
        if virga_store::image::get(tx, image).await?.is_none_or(|i| i.state != virga_model::image::ImageState::Ready) {
            drive.image = None;
            plan.push(step(format!("leave optical drive {} empty: its ISO is not in the library any more", drive.id)));
        }
    }
    for d in vm.spec.disks.iter().filter(|d| !spec.disks.iter().any(|s| s.id == d.id)) {
        plan.push(step(format!("take disk {} away: it came after the snapshot", d.id)));
    }
    Ok(spec)
}

/// The edit of the VM's layers is done: the rows of its snapshots follow, in the transaction that says so. Answers whether
/// the host still has disks that nothing needs any more: they were detached before, and the deleted snapshot kept them.
///
/// # Errors
/// What the database says.
pub async fn finish(tx: &mut Tx, task: &Task, vm: &Vm) -> Result<bool, Error> {
    let all = virga_store::snapshot::of_vm(tx, vm.id).await?;
    for mut s in all.clone() {
        let layer = renamed(s.layer, &vm.spec.layers.merges);
        let ready = task.kind == TaskKind::SnapshotCreate && task.doc.snapshot == Some(s.id) && s.state == SnapshotState::Creating;
        if layer != s.layer || ready {
            let expected = s.generation;
            s.layer = layer;
            s.generation += 1;
            if ready {
                s.state = SnapshotState::Ready;
                let memory = vm.observed.memories.iter().find(|m| m.snapshot == s.id);
                (s.memory_bytes, s.paused_ms) = (memory.map(|m| m.bytes), memory.and_then(|m| m.paused_ms));
            }
            virga_store::snapshot::update(tx, &s, expected).await?;
        }
    }
    if task.kind == TaskKind::SnapshotDelete
        && vm.observed.merge_error.is_none()
        && vm.observed.error.is_none()
        && let Some(id) = task.doc.snapshot
    {
        virga_store::snapshot::delete(tx, id).await?;
        let needed = |d: DiskId| vm.spec.disks.iter().chain(all.iter().filter(|s| s.id != id).flat_map(|s| &s.spec.disks)).any(|n| n.id == d);
        return Ok(all.iter().filter(|s| s.id == id).flat_map(|s| &s.spec.disks).any(|d| !needed(d.id)));
    }
    Ok(false)
}

/// The edit is taken back: so is the row of its snapshot.
///
/// # Errors
/// What the database says.
pub async fn undo(tx: &mut Tx, task: &Task) -> Result<(), Error> {
    let Some(id) = task.doc.snapshot else { return Ok(()) };
    // A snapshot that was to be deleted stays so. The host may have been told and its answer lost: then its layer holds later
    // content by now, and nobody may go back to it. Who asks again gets it deleted.
    if task.kind == TaskKind::SnapshotCreate {
        virga_store::snapshot::delete(tx, id).await?;
    }
    Ok(())
}
