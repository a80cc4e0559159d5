//! Clones of VMs and templates, and the way of a linked clone back to its restore point.
//!
//! All that a request asks for is written in one transaction: the new VMs with their tasks, and, where the source is a VM,
//! the freeze of what it has written. Who stands on whom is a row from that moment on, so that nothing below a clone can go.

use super::create::{self, check_words};
use super::resolve::{self, StoreWish};
use super::{free, load_any, load_for_change, no_template, not_going, snapshot, step, transaction};
use crate::event::{self, Note};
use crate::http::{Op, task_path};
use crate::task_new::{self, About, Who};
use crate::{task_api, view as hosts};
use std::collections::{BTreeSet, HashSet};
use uuid::Uuid;
use virga_api::v1::{Accepted, CloneCreate, Cloned, PlanStep, Reference};
use virga_decide::place::{Placement, Policy, Request, place};
use virga_model::clone::{self, CloneKind, Source, names, numbered};
use virga_model::layer::{DEPTH_MAX, Merge};
use virga_model::role::{Privilege, Target};
use virga_model::snapshot::SnapshotState;
use virga_model::task::{Awaited, Batch, ObjectRef, Task, TaskDoc, TaskKind};
use virga_model::vm::{Desired, Observed, StopMode, Vm, VmSpec, VmState, mac_for};
use virga_model::{DataStoreId, DiskId, Error, HostId, LayerId, NicId, TaskId, VmId, name};
use virga_store::Tx;

/// Times that another address is drawn when the drawn one is taken.
const DRAWS_MAX: u32 = 32;

/// What is to be made of a source.
pub(crate) struct Wanted<'a> {
    /// The request.
    pub b: &'a CloneCreate,
    /// Templates instead of VMs.
    pub template: bool,
}

/// Makes clones of a VM.
///
/// # Errors
/// NotFound, Forbidden, Invalid, Conflict with what to do instead, Locked, NoCapacity, PreconditionFailed.
pub async fn clone(op: &Op, vm: &str, b: &CloneCreate, dry_run: bool) -> Result<Cloned, Error> {
    let mut tx = transaction(op, dry_run).await?;
    let source = load_any(op, &mut tx, vm, Privilege::VmEdit, "VM").await?;
    may_make(op, &source)?;
    no_template(&source)?;
    op.check_match(source.generation)?;
    make(op, tx, source, &Wanted { b, template: false }, dry_run).await
}

/// That the caller may make VMs where the source is.
///
/// # Errors
/// Forbidden.
pub(crate) fn may_make(op: &Op, source: &Vm) -> Result<(), Error> {
    let new = Target::Vm { id: VmId(Uuid::nil()), owner: op.caller.user, host: source.host };
    if op.caller.may(Privilege::VmCreate, &new) { Ok(()) } else { Err(crate::auth::forbidden(Privilege::VmCreate)) }
}

/// What the request makes, before anything is written.
struct Plan {
    source: Vm,
    /// The layer that has to be put on it first.
    freeze: Option<LayerId>,
    vms: Vec<Vm>,
    steps: Vec<PlanStep>,
}

/// Makes clones of `source`, which the caller may touch.
pub(crate) async fn make(op: &Op, mut tx: Tx, source: Vm, w: &Wanted<'_>, dry_run: bool) -> Result<Cloned, Error> {
    let plan = plan(op, &mut tx, source, w).await.map_err(|e| op.veil(e))?;
    let object = ObjectRef::Vm(plan.source.id);
    let reference = Reference::new(&object, &plan.source.name);
    let vms: Vec<Reference> = plan.vms.iter().map(|v| Reference::new(&ObjectRef::Vm(v.id), &v.name)).collect();
    if dry_run {
        return Ok(Cloned { task: None, source: reference, vms, plan: plan.steps });
    }
    let steps = plan.steps.clone();
    let detail = format!("{} clones ({}): {}", plan.vms.len(), w.b.kind.unwrap_or_default(), crate::network::some_of(&names_of(&plan.vms)));
    let task = write(op, &mut tx, plan).await?;
    op.audit(&mut tx, object, &reference.name, &detail).await?;
    let shape = task_api::shape(&mut tx, &mut task_api::Names::default(), &task).await?;
    let answer = Cloned { task: Some(shape), source: reference, vms, plan: steps };
    op.commit(tx, &answer, Some(&task_path(task.id))).await?;
    Ok(answer)
}

fn names_of(vms: &[Vm]) -> Vec<String> {
    vms.iter().map(|v| v.name.clone()).collect()
}

async fn plan(op: &Op, tx: &mut Tx, source: Vm, w: &Wanted<'_>) -> Result<Plan, Error> {
    let b = w.b;
    check_words(b.description.as_deref(), b.labels.as_ref())?;
    let names = names(&b.name, b.count.unwrap_or(1), b.first.unwrap_or(1))?;
    names.iter().try_for_each(|n| name::check("name", n))?;
    not_going(&source)?;
    if source.former_spec.is_some() || (source.observed.state == VmState::Absent && source.observed.generation == 0) {
        return Err(Error::conflict(format!("{} is being made or changed.", source.name)).with_hint("Wait for the task that works on it, then try again."));
    }
    let kind = b.kind.unwrap_or_default();
    let of = of_snapshot(tx, &source, b.snapshot.as_deref()).await?;
    let freeze = (of.is_none() && clone::needs_freeze(&source.spec, kind)).then(|| LayerId(Uuid::now_v7()));
    if freeze.is_some() {
        free(tx, &source).await?;
        can_freeze(&source)?;
    }
    let (spec, frozen) = of.unwrap_or_else(|| (source.spec.clone(), source.spec.layers.top.filter(|_| clone::needs_freeze(&source.spec, kind))));
    let wish = wish(op, tx, kind, b).await?;
    let mut vms = Vec::with_capacity(names.len());
    let (mut placement, mut macs) = (None, HashSet::new());
    for (number, name) in (b.first.unwrap_or(1)..).zip(names) {
        let of = Source { vm: source.id, spec: &spec, frozen };
        let mut spec = clone::specification(of, kind, b.form, &mut Uuid::now_v7)?;
        addresses(tx, &mut spec, &mut macs).await?;
        customise(&mut spec, b, number);
        spec.template = w.template;
        spec.normalize();
        let anywhere = wish.apply(&mut spec);
        spec.check().map_err(super::in_request_words)?;
        // All are alike, so the first place is the place of all; what they need together is looked at once more.
        let placement = match &mut placement {
            Some(p) => p,
            empty => empty.insert(placed(op, tx, &source, (&spec, &anywhere, wish.host), b, &name).await?),
        };
        spec.disks.iter_mut().filter(|d| anywhere.contains(&d.id)).for_each(|d| d.store = placement.disks.store);
        vms.push(row(op, b, &source, name, spec, placement));
    }
    if let Some(p) = &placement {
        room_for_all(op, tx, &vms, p).await?;
    }
    let mut steps = steps(&source, &vms, kind, freeze.is_some());
    let why = placement.map(|p| p.disks.why).unwrap_or_default();
    if !why.is_empty() && op.visible(Privilege::HostRead).all {
        steps.push(step(format!("put the disks on a data store: {why}")));
    }
    Ok(Plan { source, freeze, vms, steps })
}

/// The settings and the layer of the snapshot that is cloned.
async fn of_snapshot(tx: &mut Tx, source: &Vm, name: Option<&str>) -> Result<Option<(VmSpec, Option<LayerId>)>, Error> {
    let Some(name) = name else { return Ok(None) };
    let row = virga_store::snapshot::by_ref(tx, source.id, name).await?.ok_or_else(|| Error::not_found("snapshot", name))?;
    if row.state != SnapshotState::Ready {
        return Err(Error::conflict(format!("Snapshot {} is {}, so nothing can be made of it.", row.name, row.state)));
    }
    // The tree is that of today: the layers of then may have been merged since.
    let mut spec = row.spec;
    spec.layers = source.spec.layers.clone();
    Ok(Some((spec, row.layer)))
}

/// That the source's disks can be frozen now.
fn can_freeze(source: &Vm) -> Result<(), Error> {
    snapshot::settled_state(source)?;
    if source.spec.layers.depth() >= DEPTH_MAX {
        return Err(Error::conflict(format!("The disks of VM {} stand on {DEPTH_MAX} layers already.", source.name))
            .with_hint("Delete some of its snapshots, or clone one of them (snapshot)."));
    }
    Ok(())
}

/// Draws addresses that no VM has; `drawn` are those of this request.
async fn addresses(tx: &mut Tx, spec: &mut VmSpec, drawn: &mut HashSet<String>) -> Result<(), Error> {
    for nic in &mut spec.nics {
        let mut draws = 0;
        while drawn.contains(&nic.mac) || virga_store::vm::has_mac(tx, &nic.mac).await? {
            draws += 1;
            if draws > DRAWS_MAX {
                return Err(Error::conflict("No free MAC address was found.").with_hint("Try again."));
            }
            nic.id = NicId(Uuid::now_v7());
            nic.mac = mac_for(nic.id);
        }
        drawn.insert(nic.mac.clone());
    }
    Ok(())
}

/// What makes this clone another machine than its source.
fn customise(spec: &mut VmSpec, b: &CloneCreate, number: u32) {
    if let Some(n) = b.cpus {
        spec.cpu.count = n;
        spec.cpu.max = spec.cpu.max.max(n);
    }
    if let Some(bytes) = b.memory_bytes {
        spec.memory.bytes = bytes;
        spec.memory.max_bytes = bytes;
    }
    if b.cloud_init.is_some() {
        spec.cloud_init.clone_from(&b.cloud_init);
    }
    if let Some(ci) = &mut spec.cloud_init {
        // The source's own host name is no clone's.
        if b.cloud_init.is_none() {
            ci.host_name = None;
        }
        for text in [&mut ci.host_name, &mut ci.user_data, &mut ci.network_config].into_iter().flatten() {
            *text = numbered(text, number);
        }
    }
}

/// Where the copied disks of full clones shall lie.
struct Wish {
    /// Virga chooses.
    anywhere: bool,
    /// The data store; none: the local one of the host.
    store: Option<DataStoreId>,
    /// The host whose local data store was named.
    host: Option<HostId>,
    kind: CloneKind,
}

impl Wish {
    /// Writes the wish into a clone's disks; answers with those for which a data store is still to be chosen. A disk that
    /// stands on something lies where that lies.
    fn apply(&self, spec: &mut VmSpec) -> Vec<DiskId> {
        if self.kind != CloneKind::Full {
            return Vec::new();
        }
        spec.disks.iter_mut().for_each(|d| d.store = self.store);
        if self.anywhere { spec.disks.iter().map(|d| d.id).collect() } else { Vec::new() }
    }
}

async fn wish(op: &Op, tx: &mut Tx, kind: CloneKind, b: &CloneCreate) -> Result<Wish, Error> {
    let said = resolve::store(op, tx, b.data_store.as_deref(), "data_store").await?;
    if kind != CloneKind::Full && !matches!(said, StoreWish::Anywhere) {
        return Err(Error::invalid("data_store", format!("is for full clones; the disks of a {kind} clone lie where those lie on which they stand")));
    }
    let at = |store, host| Wish { anywhere: false, store, host, kind };
    Ok(match said {
        StoreWish::Anywhere => Wish { anywhere: true, ..at(None, None) },
        StoreWish::Local(host) => at(None, host),
        StoreWish::Shared(id) => at(Some(id), None),
    })
}

/// Whether the files that a clone is made from lie on a local data store, which only their host sees.
fn needs_source_host(spec: &VmSpec) -> bool {
    spec.disks.iter().any(|d| (d.origin.is_some() && d.store.is_none()) || d.copy_of.as_ref().is_some_and(|c| c.store.is_none()))
}

async fn placed(
    op: &Op,
    tx: &mut Tx,
    source: &Vm,
    (spec, anywhere, local): (&VmSpec, &[DiskId], Option<HostId>),
    b: &CloneCreate,
    name: &str,
) -> Result<Placement, Error> {
    let mut view = hosts::build(&op.m, tx).await?;
    let there = source.host.ok_or_else(|| Error::conflict(format!("{} is on no host, so it has no disks to be cloned.", source.name)))?;
    create::allowed_hosts(op, VmId(Uuid::nil()), &mut view)?;
    let host = match b.host.as_deref() {
        Some(name) => Some(resolve::host(op, tx, name, "host").await?.id),
        None => local,
    };
    if host != local && local.is_some() {
        return Err(Error::invalid("host", "is another one than the host whose local data store is named"));
    }
    if host.is_some_and(|id| !view.hosts.iter().any(|h| h.id == id)) {
        return Err(crate::auth::forbidden(Privilege::VmCreate));
    }
    let networks = hosts::networks(tx, spec).await?;
    let seed = u64::from_str_radix(&crate::secret::sha256_hex(name.as_bytes())[..16], 16).unwrap_or(0);
    // A template takes neither memory nor processors.
    let light = VmSpec { memory: virga_model::vm::MemorySpec { bytes: virga_model::vm::MEMORY_BYTES_MIN, max_bytes: 0 }, ..spec.clone() };
    let judged = if spec.template { &light } else { spec };
    let from = needs_source_host(spec).then_some((there, source.name.as_str()));
    place(&view, &Request { spec: judged, networks: &networks, anywhere, host, source: from, policy: Policy::Automatic { seed } })
}

/// That the host has the memory for all of those that start.
async fn room_for_all(op: &Op, tx: &mut Tx, vms: &[Vm], placement: &Placement) -> Result<(), Error> {
    let needed_bytes: u64 = vms.iter().filter(|v| v.desired.is_active()).map(|v| v.spec.host_memory_bytes()).sum();
    let Some(host) = hosts::one(&op.m, tx, placement.host).await? else { return Ok(()) };
    let free_bytes = host.free_memory_bytes();
    if needed_bytes <= free_bytes {
        return Ok(());
    }
    let reason = virga_model::refusal::Reason::Memory { needed_bytes, free_bytes };
    let mut e = Error::new(
        virga_model::ErrorCode::NoCapacity,
        format!("Host {}, on which the clones would be, cannot run {} of them: {}.", host.name, vms.len(), reason.text()),
    )
    .with_hint("Make fewer of them, give them less memory, or do not start them all.");
    e.refusals = vec![virga_model::refusal::HostRefusal { host: host.id, host_name: host.name.clone(), reasons: vec![reason] }];
    Err(e)
}

fn row(op: &Op, b: &CloneCreate, source: &Vm, name: String, spec: VmSpec, placement: &Placement) -> Vm {
    Vm {
        id: VmId(Uuid::now_v7()),
        name,
        description: b.description.clone().unwrap_or_else(|| source.description.clone()),
        labels: b.labels.clone().unwrap_or_else(|| source.labels.clone()),
        owner: op.caller.user,
        desired: if b.start && !spec.template { Desired::Running } else { Desired::Stopped },
        spec,
        former_spec: None,
        stop_mode: StopMode::default(),
        generation: 1,
        host: Some(placement.host),
        placement: Some(placement.why.clone()),
        observed: Observed { state: VmState::Absent, ..Observed::default() },
        created_at: op.now,
        updated_at: op.now,
    }
}

fn steps(source: &Vm, vms: &[Vm], kind: CloneKind, freezes: bool) -> Vec<PlanStep> {
    use virga_model::size::human;
    let mut steps = Vec::new();
    if freezes {
        steps.push(step(format!("freeze what {} has written so far; it goes on in a new layer", source.name)));
    }
    let bytes = vms.first().map_or(0, |v| v.spec.disk_bytes());
    let disks = match kind {
        CloneKind::Full => format!("copies of its disks (up to {})", human(bytes)),
        CloneKind::Linked => "disks that hold only the difference to it".into(),
        CloneKind::Normal => "copies of its differences, on what it stands on itself".into(),
        CloneKind::Fresh => "empty disks on what it stands on itself".into(),
    };
    for v in vms {
        steps.push(step(format!("make {} with {disks}", v.name)));
    }
    if freezes && kind == CloneKind::Full {
        steps.push(step("merge the layers again when all copies are made"));
    }
    if vms.first().is_some_and(|v| v.desired == Desired::Running) {
        steps.push(step("start them"));
    }
    steps
}

/// Writes the new VMs, their tasks and what comes before them; answers with the task to watch.
async fn write(op: &Op, tx: &mut Tx, plan: Plan) -> Result<Task, Error> {
    let several = plan.vms.len() > 1 || plan.freeze.is_some();
    let parent = several.then(|| TaskId(Uuid::now_v7()));
    let mut first = None;
    if let Some(id) = parent {
        let total = plan.vms.len() as u64 + u64::from(plan.freeze.is_some());
        let doc = TaskDoc { batch: Some(Batch { total, refused: 0 }), ..TaskDoc::default() };
        first = Some(task_new::insert_as(tx, Who::caller(op), id, TaskKind::VmBatch, About::plain(ObjectRef::System, ""), doc, None).await?);
    }
    let awaits = match plan.freeze {
        Some(layer) => {
            freeze(op, tx, &plan.source, layer, parent).await?;
            Some(Awaited { vm: plan.source.id, layer })
        }
        None => None,
    };
    for vm in &plan.vms {
        virga_store::vm::insert(tx, vm).await?;
        let doc = TaskDoc { generation: vm.generation, awaits, ..TaskDoc::default() };
        let task = task_new::insert(tx, Who::caller(op), TaskKind::VmClone, About::vm(vm), doc, parent).await?;
        let what = if vm.spec.template { "The template was accepted." } else { "The VM was accepted." };
        let kind = if vm.spec.template { "template.created" } else { "vm.created" };
        event::append(tx, &Note { task: Some(task.id), ..Note::vm(op.now, kind, vm, what) }).await?;
        first.get_or_insert(task);
    }
    first.ok_or_else(|| Error::internal("A request for no clone."))
}

/// Freezes what the source has written; the way back merges it again.
async fn freeze(op: &Op, tx: &mut Tx, before: &Vm, layer: LayerId, parent: Option<TaskId>) -> Result<(), Error> {
    let mut after = before.clone();
    after.spec.layers.freeze(layer);
    after.spec.check()?;
    let mut former = before.spec.clone();
    former.layers.merges.push(Merge { from: layer, into: before.spec.layers.top });
    after.former_spec = Some(former);
    after.generation += 1;
    after.updated_at = op.now;
    virga_store::vm::update(tx, &after, before.generation).await?;
    virga_store::clone::note_frozen(tx, after.id).await?;
    let doc = TaskDoc { generation: after.generation, ..TaskDoc::default() };
    task_new::insert(tx, Who::caller(op), TaskKind::VmFreeze, About::vm(&after), doc, parent).await.map(drop)
}

/// The layers of a VM that must stay as they are for its clones, with all that is below them.
///
/// # Errors
/// What the database says.
pub(crate) async fn held(tx: &mut Tx, vm: &Vm) -> Result<BTreeSet<Option<LayerId>>, Error> {
    let standing = virga_store::clone::standing_on(tx, vm.id).await?;
    let layers = &vm.spec.layers;
    Ok(standing.iter().flat_map(|s| layers.path(layers.layer_of(s.on.disk, s.on.layer))).collect())
}

/// The refusal of what would take something away on which clones stand.
///
/// # Errors
/// Conflict that names them, as far as the caller may see them; for a loop (no `op`) how many they are.
pub(crate) async fn ensure_none(op: Option<&Op>, tx: &mut Tx, vm: &Vm, of: impl Fn(&virga_store::clone::Standing) -> bool, what: &str) -> Result<(), Error> {
    let mut clones: Vec<String> = virga_store::clone::standing_on(tx, vm.id).await?.into_iter().filter(of).map(|s| s.name).collect();
    clones.dedup();
    if clones.is_empty() {
        return Ok(());
    }
    let list = if op.is_some_and(|op| op.visible(Privilege::VmRead).all) { crate::network::some_of(&clones) } else { format!("{} VMs", clones.len()) };
    Err(Error::conflict(format!("{what} cannot be taken away: the disks of {list} stand on it, or are being copied from it."))
        .with_hint("Delete those clones first, or wait until their copies are made."))
}

/// That the VM keeps no export of disks that are to be replaced.
///
/// # Errors
/// Conflict.
pub(crate) fn no_export(vm: &Vm) -> Result<(), Error> {
    if vm.spec.export.is_none() {
        return Ok(());
    }
    Err(Error::conflict(format!("VM {} has an export, which names its disks as they are.", vm.name))
        .with_hint("Remove the export first (virga vm export --remove)."))
}

/// Brings a linked clone back to its restore point (LC-14).
///
/// # Errors
/// NotFound, Forbidden, Conflict with what to do instead, Locked, NoCapacity, PreconditionFailed.
pub async fn refresh(op: &Op, vm: &str, dry_run: bool) -> Result<Accepted, Error> {
    let mut tx = transaction(op, dry_run).await?;
    let before = load_for_change(op, &mut tx, vm, Privilege::VmEdit).await?;
    not_going(&before)?;
    free(&mut tx, &before).await?;
    if !clone::is_linked(&before.spec) && !before.spec.layers.base_is_restore_point {
        return Err(Error::conflict(format!("VM {} is no linked clone, so it has no restore point.", before.name))
            .with_hint("Go back to one of its snapshots instead."));
    }
    snapshot::settled_state(&before)?;
    no_export(&before)?;
    let two = !before.spec.layers.base_is_restore_point;
    if two {
        let replaced = |s: &virga_store::clone::Standing| before.spec.disks.iter().any(|d| d.id == s.on.disk && d.origin.is_some());
        ensure_none(Some(op), &mut tx, &before, replaced, &format!("What VM {} has written", before.name)).await?;
    }
    let mut frozen: BTreeSet<_> = virga_store::snapshot::of_vm(&mut tx, before.id).await?.iter().map(|s| s.layer).collect();
    frozen.extend(held(&mut tx, &before).await?);
    let mut after = before.clone();
    after.spec = clone::refreshed(&before.spec, &frozen, &mut Uuid::now_v7);
    after.spec.check()?;
    after.former_spec = Some(before.spec.clone());
    (after.generation, after.stop_mode) = (before.generation + 1, StopMode::Force);
    let mut plan = Vec::new();
    let runs = before.desired.is_active();
    if runs {
        plan.push(step("switch the guest off"));
    }
    plan.push(step("throw away what it has written since it was made; its snapshots stay"));
    if runs {
        plan.push(step("start it again"));
    }
    let doc = TaskDoc { generation: after.generation, former_desired: Some(before.desired), ..TaskDoc::default() };
    let detail = "back to its restore point".to_string();
    super::conclude(op, tx, super::Change { before, after, task: Some((TaskKind::VmRefresh, doc)), plan, detail }, dry_run).await
}
