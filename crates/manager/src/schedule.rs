//! Schedules: made, changed and removed by people. The work is done by the loop of that name, with the rights that the
//! schedule's owner has at that time.
//!
//! Everybody sees and changes their own; who may edit all VMs sees everybody's.

use crate::auth::Credential;
use crate::http::Op;
use crate::{list, user, zone};
use uuid::Uuid;
use virga_api::v1::{ListQuery, PageBody, Reference, Schedule as Shape, ScheduleCreate, ScheduleUpdate};
use virga_decide::schedule::next;
use virga_model::role::{Privilege, Target};
use virga_model::schedule::{PATTERN, SCHEDULES_MAX, Schedule, ScheduleSpec};
use virga_model::task::ObjectRef;
use virga_model::{Error, ErrorCode, ScheduleId, Time, name};
use virga_store::Tx;

async fn shape(tx: &mut Tx, s: Schedule) -> Result<Shape, Error> {
    let owner = user::name_of(tx, s.owner).await?;
    let vm = match s.vm {
        Some(id) => virga_store::vm::get(tx, id).await?.map(|v| Reference::new(&ObjectRef::Vm(id), &v.name)),
        None => None,
    };
    Ok(Shape {
        id: s.id,
        name: s.name,
        owner: Reference::new(&ObjectRef::User(s.owner), &owner),
        vm,
        spec: s.spec,
        next_at: s.next_at,
        last_at: s.last_at,
        generation: s.generation,
        created_at: s.created_at,
    })
}

fn sees_all(op: &Op) -> bool {
    op.caller.may(Privilege::VmEdit, &Target::Installation)
}

async fn find(op: &Op, tx: &mut Tx, wanted: &str) -> Result<Schedule, Error> {
    let found = virga_store::schedule::by_ref(tx, wanted).await?.filter(|s| s.owner == op.caller.user || sees_all(op));
    found.ok_or_else(|| Error::not_found("schedule", wanted))
}

/// A page of one's own schedules, or of everybody's for who may edit all VMs.
///
/// # Errors
/// Malformed for wrong parameters.
pub async fn list(op: &Op, q: &ListQuery) -> Result<PageBody<Shape>, Error> {
    let mut tx = op.read().await?;
    let owner = (!sees_all(op)).then_some(op.caller.user);
    let mut paged = virga_store::schedule::list(&mut tx, &list::page(q)?, owner).await?;
    let mut items = Vec::with_capacity(paged.items.len());
    for s in std::mem::take(&mut paged.items) {
        items.push(shape(&mut tx, s).await?);
    }
    list::body(q, paged, items)
}

/// One schedule.
///
/// # Errors
/// NotFound.
pub async fn view(op: &Op, schedule: &str) -> Result<Shape, Error> {
    let mut tx = op.read().await?;
    let found = find(op, &mut tx, schedule).await?;
    shape(&mut tx, found).await
}

/// The first point after `now`.
fn first(spec: &ScheduleSpec, now: Time) -> Result<Time, Error> {
    let zone = zone::find(&spec.time_zone)?;
    next(&spec.rule, &zone, now).ok_or_else(|| Error::invalid("rule", "has no point in time"))
}

/// Makes a schedule.
///
/// # Errors
/// Invalid that names the fields, NotFound for the VM, Forbidden, Conflict when the name is taken or there are too many.
pub async fn create(op: &Op, b: &ScheduleCreate) -> Result<Shape, Error> {
    name::check("name", &b.name)?;
    let spec = ScheduleSpec {
        enabled: b.enabled.unwrap_or(true),
        selector: b.selector.clone(),
        rule: b.rule.clone(),
        time_zone: b.time_zone.clone(),
        work: b.work,
        keep: b.keep,
        name_pattern: b.name_pattern.clone().unwrap_or_else(|| PATTERN.into()),
        catch_up: b.catch_up.unwrap_or(true),
    };
    spec.check()?;
    let next_at = first(&spec, op.now)?;
    if b.vm.is_some() != b.selector.is_empty() {
        return Err(Error::invalid("selector", "give either vm or selector: a schedule is about one VM, or about all that have certain labels"));
    }
    let mut tx = op.write().await?;
    let vm = match &b.vm {
        Some(vm) => Some(crate::vm::load(op, &mut tx, vm, Privilege::VmEdit).await?.id),
        None => {
            whole_account(op)?;
            None
        }
    };
    if virga_store::schedule::count(&mut tx).await? >= i64::from(SCHEDULES_MAX) {
        return Err(Error::conflict(format!("There are {SCHEDULES_MAX} schedules already.")).with_hint("One schedule can be about many VMs: use a selector."));
    }
    let id = ScheduleId(Uuid::now_v7());
    let row = Schedule { id, name: b.name.clone(), owner: op.caller.user, vm, spec, next_at, last_at: None, generation: 1, created_at: op.now };
    virga_store::schedule::insert(&mut tx, &row).await?;
    op.audit(&mut tx, ObjectRef::Schedule(id), &row.name, &format!("first at {}", row.next_at)).await?;
    let answer = shape(&mut tx, row).await?;
    op.commit(tx, &answer, None).await?;
    Ok(answer)
}

/// A schedule works with the rights of its owner's account, so that a limited token makes none over a selector.
fn whole_account(op: &Op) -> Result<(), Error> {
    if let Credential::Token(t) = &op.caller.credential
        && (t.role.is_some() || t.scope.is_some())
    {
        return Err(Error::new(ErrorCode::Forbidden, "A limited token cannot make or change a schedule over a selector.")
            .with_hint("Name one VM, or sign in to do it."));
    }
    if op.caller.has(Privilege::VmEdit) { Ok(()) } else { Err(crate::auth::forbidden(Privilege::VmEdit)) }
}

/// That the caller may decide over what the schedule does.
async fn may_change(op: &Op, tx: &mut Tx, s: &Schedule) -> Result<(), Error> {
    match s.vm {
        Some(id) => drop(crate::vm::load(op, tx, &id.to_string(), Privilege::VmEdit).await?),
        None => whole_account(op)?,
    }
    Ok(())
}

/// Changes a schedule.
///
/// # Errors
/// As [`create`]; PreconditionFailed.
pub async fn update(op: &Op, schedule: &str, b: &ScheduleUpdate) -> Result<Shape, Error> {
    let mut tx = op.write().await?;
    let mut s = find(op, &mut tx, schedule).await?;
    op.check_match(s.generation)?;
    may_change(op, &mut tx, &s).await?;
    if let Some(n) = &b.name {
        name::check("name", n)?;
        s.name.clone_from(n);
    }
    let spec = &mut s.spec;
    if let Some(selector) = &b.selector {
        if s.vm.is_some() || selector.is_empty() {
            return Err(Error::invalid("selector", "cannot be given to a schedule of one VM, nor taken from one of many; make another schedule"));
        }
        spec.selector.clone_from(selector);
    }
    spec.rule = b.rule.clone().unwrap_or_else(|| spec.rule.clone());
    spec.time_zone = b.time_zone.clone().unwrap_or_else(|| spec.time_zone.clone());
    spec.work = b.work.unwrap_or(spec.work);
    spec.keep = b.keep.unwrap_or(spec.keep);
    spec.name_pattern = b.name_pattern.clone().unwrap_or_else(|| spec.name_pattern.clone());
    spec.catch_up = b.catch_up.unwrap_or(spec.catch_up);
    spec.enabled = b.enabled.unwrap_or(spec.enabled);
    spec.check()?;
    // What was missed while it was disabled, or by another rule, is nothing that this one has missed.
    s.next_at = first(spec, op.now)?;
    let expected = s.generation;
    s.generation += 1;
    virga_store::schedule::update(&mut tx, &s, expected).await?;
    op.audit(&mut tx, ObjectRef::Schedule(s.id), &s.name, &format!("changed; next at {}", s.next_at)).await?;
    let answer = shape(&mut tx, s).await?;
    op.commit(tx, &answer, None).await?;
    Ok(answer)
}

/// Lets a schedule work now, beside its own points.
///
/// # Errors
/// NotFound, Forbidden, Conflict when it is disabled.
pub async fn run(op: &Op, schedule: &str) -> Result<Shape, Error> {
    let mut tx = op.write().await?;
    let mut s = find(op, &mut tx, schedule).await?;
    op.check_match(s.generation)?;
    may_change(op, &mut tx, &s).await?;
    if !s.spec.enabled {
        return Err(Error::conflict(format!("Schedule {} is disabled.", s.name)).with_hint("Enable it first."));
    }
    s.next_at = s.next_at.min(op.now);
    let expected = s.generation;
    s.generation += 1;
    virga_store::schedule::update(&mut tx, &s, expected).await?;
    op.audit(&mut tx, ObjectRef::Schedule(s.id), &s.name, "is to work now").await?;
    let answer = shape(&mut tx, s).await?;
    op.commit(tx, &answer, None).await?;
    Ok(answer)
}

/// Removes a schedule. What it made stays.
///
/// # Errors
/// NotFound, PreconditionFailed.
pub async fn delete(op: &Op, schedule: &str) -> Result<(), Error> {
    let mut tx = op.write().await?;
    let s = find(op, &mut tx, schedule).await?;
    op.check_match(s.generation)?;
    virga_store::schedule::delete(&mut tx, s.id).await?;
    op.audit(&mut tx, ObjectRef::Schedule(s.id), &s.name, "removed; what it made stays").await?;
    op.commit(tx, &(), None).await
}
