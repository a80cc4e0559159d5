//! Templates: VMs from which others are made, and which are never started themselves (TPL-01 to TPL-14).
//!
//! A template is a VM whose specification says so; it keeps its row, its host and its disks when it is converted. What is
//! done to VMs is refused for it, and the other way round.

use crate::http::Op;
use crate::vm::clone::{self, Wanted, ensure_none};
use crate::vm::create::check_words;
use crate::vm::{Change, conclude, free, load_any, load_for_change, not_going, power, step, transaction};
use crate::{list, user};
use uuid::Uuid;
use virga_api::v1::{Accepted, CloneCreate, Cloned, ListQuery, PageBody, Reference, Template as Shape, TemplateCreate, TemplateUpdate};
use virga_model::clone::{CloneKind, has_levels, merged};
use virga_model::disk::Sharing;
use virga_model::role::{Privilege, Target};
use virga_model::task::{ObjectRef, TaskDoc, TaskKind};
use virga_model::vm::{Desired, Vm, VmState};
use virga_model::{Error, name};
use virga_store::Tx;
use virga_store::vm::Listed;

async fn shape(op: &Op, tx: &mut Tx, t: Vm) -> Result<Shape, Error> {
    let host = match t.host.filter(|h| op.caller.may(Privilege::HostRead, &Target::Host(*h))) {
        Some(id) => virga_store::host::get(tx, id).await?.map(|h| Reference::new(&ObjectRef::Host(id), &h.name)),
        None => None,
    };
    let clones = u64::try_from(virga_store::clone::count(tx, t.id).await?).unwrap_or(0);
    let owner = Reference::new(&ObjectRef::User(t.owner), &user::name_of(tx, t.owner).await?);
    Ok(Shape {
        id: t.id,
        name: t.name,
        description: t.description,
        labels: t.labels,
        owner,
        generation: t.generation,
        spec: t.spec,
        host,
        clones,
        observed: t.observed,
        created_at: t.created_at,
        updated_at: t.updated_at,
    })
}

/// The template that the caller called `name`, if they may touch it with `p`.
pub(crate) async fn load(op: &Op, tx: &mut Tx, name: &str, p: Privilege) -> Result<Vm, Error> {
    let t = load_any(op, tx, name, p, "template").await?;
    that_is_one(t)
}

fn that_is_one(t: Vm) -> Result<Vm, Error> {
    if !t.spec.template {
        return Err(Error::conflict(format!("{} is a VM, no template.", t.name)).with_hint("Make a template of it first: POST /v1/templates."));
    }
    Ok(t)
}

/// A page of templates.
///
/// # Errors
/// Malformed for wrong parameters.
pub async fn list(op: &Op, q: &ListQuery) -> Result<PageBody<Shape>, Error> {
    let page = list::page(q)?;
    if list::looks_at(&page, "host") && !op.visible(Privilege::HostRead).all {
        return Err(Error::malformed_field("filter", "There is no field \"host\" here."));
    }
    let mut tx = op.read().await?;
    let mut paged = virga_store::vm::list(&mut tx, &page, Listed::Templates, &op.visible(Privilege::VmRead)).await?;
    let mut items = Vec::with_capacity(paged.items.len());
    for t in std::mem::take(&mut paged.items) {
        items.push(shape(op, &mut tx, t).await?);
    }
    list::body(q, paged, items)
}

/// One template.
///
/// # Errors
/// NotFound, Conflict for a VM that is none.
pub async fn view(op: &Op, name: &str) -> Result<Shape, Error> {
    let mut tx = op.read().await?;
    let t = load(op, &mut tx, name, Privilege::VmRead).await?;
    shape(op, &mut tx, t).await
}

/// Makes a template of a VM: a copy of it, or itself.
///
/// # Errors
/// NotFound, Forbidden, Invalid, Conflict with what to do instead, Locked, NoCapacity.
pub async fn create(op: &Op, b: &TemplateCreate, dry_run: bool) -> Result<Cloned, Error> {
    check_words(b.description.as_deref(), None)?;
    if let Some(n) = &b.name {
        name::check("name", n)?;
    }
    let mut tx = transaction(op, dry_run).await?;
    let source = load_for_change(op, &mut tx, &b.vm, Privilege::VmEdit).await?;
    if !b.convert {
        let Some(name) = b.name.clone() else { return Err(Error::invalid("name", "must be given for a template that is a copy")) };
        let wanted =
            CloneCreate { name, kind: Some(CloneKind::Full), description: b.description.clone(), data_store: b.data_store.clone(), ..CloneCreate::default() };
        return clone::make(op, tx, source, &Wanted { b: &wanted, template: true }, dry_run).await;
    }
    if b.data_store.is_some() {
        return Err(Error::invalid("data_store", "is for a template that is a copy; a VM that becomes the template keeps its disks where they are"));
    }
    let reference = Reference::new(&ObjectRef::Vm(source.id), &source.name);
    let change = to_template(op, &mut tx, source, b).await?;
    let vms = vec![Reference::new(&ObjectRef::Vm(change.after.id), &change.after.name)];
    if dry_run {
        return Ok(Cloned { task: None, source: reference, vms, plan: change.plan });
    }
    let done = crate::vm::apply(op, &mut tx, change, None).await?;
    let location = done.task.as_ref().map(|t| crate::http::task_path(t.id));
    let answer = Cloned { task: done.task, source: reference, vms, plan: done.plan };
    op.commit(tx, &answer, location.as_deref()).await?;
    Ok(answer)
}

/// The VM becomes a template. Levels of its disks are merged, because a template stands alone (LC-10, X-38).
async fn to_template(op: &Op, tx: &mut Tx, before: Vm, b: &TemplateCreate) -> Result<Change, Error> {
    not_going(&before)?;
    free(tx, &before).await?;
    if before.observed.state != VmState::Stopped || before.desired != Desired::Stopped {
        return Err(Error::conflict(format!("VM {} is {}; only a VM that is switched off becomes a template.", before.name, before.observed.state))
            .with_hint("Shut it down first, or make a template of a copy (convert=false)."));
    }
    if !virga_store::snapshot::of_vm(tx, before.id).await?.is_empty() {
        return Err(Error::conflict(format!("VM {} has snapshots, and a template has none.", before.name))
            .with_hint("Delete its snapshots first, or make a template of a copy (convert=false)."));
    }
    if let Some(d) = before.spec.disks.iter().find(|d| d.sharing == Sharing::Shared) {
        return Err(Error::conflict(format!("Disk {} is shared with other VMs, which write to it, and a template's disks are never written.", d.id))
            .with_hint("Detach it first."));
    }
    if !before.spec.detached.is_empty() {
        return Err(Error::conflict(format!("VM {} keeps {} detached disks, which a template could not use.", before.name, before.spec.detached.len()))
            .with_hint("Attach them again or remove them first, or make a template of a copy (convert=false)."));
    }
    clone::no_export(&before)?;
    let levels = has_levels(&before.spec);
    if levels {
        ensure_none(Some(op), tx, &before, |_| true, &format!("VM {}", before.name)).await?;
    }
    let mut after = before.clone();
    after.name = b.name.clone().unwrap_or(after.name);
    after.description = b.description.clone().unwrap_or(after.description);
    if levels {
        after.spec = merged(before.id, &before.spec, &mut Uuid::now_v7);
    }
    after.spec.template = true;
    let mut plan = vec![step(format!("VM {} becomes a template and is no VM any more: it cannot be started until it is converted back", before.name))];
    if levels {
        plan.insert(0, step("merge all levels of its disks into one file each"));
    }
    Ok(converted(before, after, plan, "converted to a template"))
}

fn converted(before: Vm, mut after: Vm, plan: Vec<virga_api::v1::PlanStep>, detail: &str) -> Change {
    after.former_spec = Some(before.spec.clone());
    after.generation = before.generation + 1;
    let doc = TaskDoc { generation: after.generation, former_desired: Some(before.desired), ..TaskDoc::default() };
    Change { before, after, task: Some((TaskKind::VmConvert, doc)), plan, detail: detail.into() }
}

/// Changes name, description or labels.
///
/// # Errors
/// NotFound, Forbidden, Invalid, Conflict, Locked, PreconditionFailed.
pub async fn update(op: &Op, name: &str, b: &TemplateUpdate, dry_run: bool) -> Result<Accepted, Error> {
    if let Some(n) = &b.name {
        name::check("name", n)?;
    }
    check_words(b.description.as_deref(), b.labels.as_ref())?;
    let mut tx = transaction(op, dry_run).await?;
    let before = load(op, &mut tx, name, Privilege::VmEdit).await?;
    op.check_match(before.generation)?;
    let mut after = before.clone();
    after.name = b.name.clone().unwrap_or(after.name);
    after.description = b.description.clone().unwrap_or(after.description);
    after.labels = b.labels.clone().unwrap_or(after.labels);
    let change = crate::vm::edit::to(op, &mut tx, &mut Default::default(), before, after).await?;
    conclude(op, tx, change, dry_run).await
}

/// Makes VMs from a template.
///
/// # Errors
/// NotFound, Forbidden, Invalid, Conflict, NoCapacity.
pub async fn deploy(op: &Op, name: &str, b: &CloneCreate, dry_run: bool) -> Result<Cloned, Error> {
    let mut tx = transaction(op, dry_run).await?;
    let source = load_any(op, &mut tx, name, Privilege::VmRead, "template").await?;
    clone::may_make(op, &source)?;
    let source = that_is_one(source)?;
    op.check_match(source.generation)?;
    if b.snapshot.is_some() {
        return Err(Error::invalid("snapshot", "is not for templates: they have none"));
    }
    clone::make(op, tx, source, &Wanted { b, template: false }, dry_run).await
}

/// Converts a template into a VM (TPL-04).
///
/// # Errors
/// NotFound, Forbidden, Conflict when clones stand on it, Locked, PreconditionFailed.
pub async fn convert(op: &Op, name: &str, dry_run: bool) -> Result<Accepted, Error> {
    let mut tx = transaction(op, dry_run).await?;
    let before = load(op, &mut tx, name, Privilege::VmEdit).await?;
    op.check_match(before.generation)?;
    not_going(&before)?;
    free(&mut tx, &before).await?;
    ensure_none(Some(op), &mut tx, &before, |_| true, &format!("Template {}", before.name)).await?;
    let mut after = before.clone();
    after.spec.template = false;
    let plan = vec![step(format!("template {} becomes a VM that is switched off", before.name))];
    conclude(op, tx, converted(before, after, plan, "converted to a VM"), dry_run).await
}

/// Deletes a template on which nothing stands (TPL-08).
///
/// # Errors
/// NotFound, Forbidden, Conflict when clones stand on it, Locked, PreconditionFailed.
pub async fn delete(op: &Op, name: &str, dry_run: bool) -> Result<Accepted, Error> {
    let mut tx = transaction(op, dry_run).await?;
    let before = load(op, &mut tx, name, Privilege::VmDelete).await?;
    op.check_match(before.generation)?;
    // A template never runs, so that there is nothing to be forced.
    let change = power::decide_delete(op, &mut tx, before, true, Default::default()).await?;
    conclude(op, tx, change, dry_run).await
}
