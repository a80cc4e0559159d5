//! Lets schedules work: when the time of one has come it makes tasks with cause `schedule`, and it makes tasks that remove
//! what had its time (G-08).
//!
//! What is done at a point in time is known by the rows: a snapshot carries its schedule and its point, so that nothing is
//! done twice after a crash, and nothing is removed that people made. What cannot be done is told by an event and not tried
//! again; a VM that is only busy is waited for a while.

use crate::event::{self, Note};
use crate::state::Manager;
use crate::vm::snapshot;
use crate::{auth, zone};
use std::collections::{HashMap, HashSet};
use virga_decide::schedule::{next, stamp, surplus};
use virga_model::event::Severity;
use virga_model::filter::{Filter, Op};
use virga_model::role::{Privilege, Visible};
use virga_model::schedule::{SCHEDULE_VMS_MAX, Schedule, ScheduledWork};
use virga_model::snapshot::SnapshotState;
use virga_model::task::{ObjectRef, TaskKind, TaskState};
use virga_model::vm::Vm;
use virga_model::{Error, ErrorCode, ScheduleId, Time, VmId};
use virga_store::{Page, Tx};

/// Schedules that are looked at in one round.
const DUE_MAX: u32 = 50;
/// Milliseconds for which a VM that is busy is waited for.
const BUSY_PATIENCE_MS: i64 = 10 * 60 * 1000;
/// Milliseconds after which a point was missed: the manager was away.
const LATE_MS: i64 = 10 * 60 * 1000;
/// Milliseconds between two looks at what has had its time.
const TIDY_EVERY_MS: i64 = 60_000;
/// Milliseconds before a removal that failed is tried again.
const REMOVE_AGAIN_MS: i64 = 10 * 60 * 1000;
/// Seconds before a schedule whose time zone is not known any more is looked at again.
const UNKNOWN_ZONE_S: i64 = 3600;

/// What the loop remembers: only so that it waits long enough, and tells nothing twice. Lost with the program, without harm.
#[derive(Default)]
pub struct Seen {
    /// Runs that have not ended: when each was first looked at, and the VMs about which something was told.
    runs: HashMap<(ScheduleId, Time), (Time, HashSet<VmId>)>,
    tidied_at: Option<Time>,
}

/// One round.
pub async fn round(m: &Manager, seen: &mut Seen) -> Result<(), Error> {
    let now = m.now();
    let mut tx = m.store.read().await?;
    let due = virga_store::schedule::due(&mut tx, now, DUE_MAX).await?;
    drop(tx);
    let current: HashSet<(ScheduleId, Time)> = due.iter().map(|s| (s.id, s.next_at)).collect();
    seen.runs.retain(|k, _| current.contains(k));
    for s in due {
        if let Err(e) = work(m, &s, seen, now).await {
            tracing::warn!(schedule = %s.name, error = %e, "a schedule could not work; it is tried again");
        }
    }
    if seen.tidied_at.is_none_or(|t| now.millis_since(t) >= TIDY_EVERY_MS || t > now) {
        seen.tidied_at = Some(now);
        tidy(m, now).await?;
    }
    Ok(())
}

async fn work(m: &Manager, s: &Schedule, seen: &mut Seen, now: Time) -> Result<(), Error> {
    let Ok(zone) = zone::find(&s.spec.time_zone) else {
        let text = format!("Schedule {} cannot work: this manager does not know the time zone {}.", s.name, s.spec.time_zone);
        return pass(m, s, now.plus_seconds(UNKNOWN_ZONE_S), None, Some(("schedule.skipped", text)), now).await;
    };
    // Whatever was missed, there is one run, and the next point lies ahead.
    let after = next(&s.spec.rule, &zone, now).unwrap_or_else(|| now.plus_seconds(UNKNOWN_ZONE_S));
    let (began, told) = seen.runs.entry((s.id, s.next_at)).or_insert_with(|| (now, HashSet::new()));
    if now.millis_since(s.next_at) > LATE_MS && *began == now && !s.spec.catch_up {
        let text = format!("Schedule {} has missed {}, and is not to make up for it.", s.name, s.next_at);
        return pass(m, s, after, None, Some(("schedule.missed", text)), now).await;
    }
    let mut tx = m.store.read().await?;
    let bindings = auth::bindings(&mut tx, s.owner, None).await?;
    let disabled = virga_store::user::get(&mut tx, s.owner).await?.is_none_or(|u| u.disabled);
    let vms = if disabled { Vec::new() } else { targets(&mut tx, s, &Visible::from_bindings(s.owner, &bindings, Privilege::VmEdit)).await? };
    drop(tx);
    if vms.is_empty() {
        let text = format!("Schedule {} has no VM to work on, or its owner may not edit it any more.", s.name);
        return pass(m, s, after, Some(s.next_at), Some(("schedule.skipped", text)), now).await;
    }
    let (date, time) = stamp(&zone, s.next_at);
    let name = s.spec.named(&s.name, &date, &time);
    let over = now.millis_since(*began) > BUSY_PATIENCE_MS;
    let mut waits = false;
    for vm in vms.into_iter().take(SCHEDULE_VMS_MAX) {
        if told.contains(&vm) {
            continue;
        }
        match take(m, s, vm, &name, now).await {
            Ok(()) => drop(told.insert(vm)),
            Err(e) if e.code == ErrorCode::Locked && !over => waits = true,
            Err(e) if e.code == ErrorCode::Unavailable && !over => waits = true,
            Err(e) => {
                told.insert(vm);
                skipped(m, s, vm, &e, now).await?;
            }
        }
    }
    if waits { Ok(()) } else { pass(m, s, after, Some(s.next_at), None, now).await }
}

/// The point is over: the next one counts.
async fn pass(m: &Manager, s: &Schedule, next_at: Time, last_at: Option<Time>, told: Option<(&str, String)>, now: Time) -> Result<(), Error> {
    let mut tx = m.store.write().await?;
    if virga_store::schedule::advance(&mut tx, s.id, s.next_at, next_at, last_at).await?
        && let Some((kind, text)) = told
    {
        let note = Note::plain(now, kind, ObjectRef::Schedule(s.id), &s.name, &text);
        event::append(&mut tx, &Note { severity: Severity::Warning, owner: Some(s.owner), ..note }).await?;
    }
    tx.commit().await?;
    m.committed();
    Ok(())
}

/// The VMs that the schedule is about and its owner may edit.
async fn targets(tx: &mut Tx, s: &Schedule, visible: &Visible) -> Result<Vec<VmId>, Error> {
    let is = |field: String, value: String| Filter::Term { field, op: Op::Eq, values: vec![value] };
    let terms: Vec<Filter> = match s.vm {
        Some(id) => vec![is("id".into(), id.to_string())],
        None => s.spec.selector.iter().map(|(k, v)| is(format!("label.{k}"), v.clone())).collect(),
    };
    let Some(filter) = terms.into_iter().reduce(|a, b| Filter::And(Box::new(a), Box::new(b))) else { return Ok(Vec::new()) };
    let limit = u32::try_from(SCHEDULE_VMS_MAX).unwrap_or(u32::MAX);
    let page = Page { limit, filter: Some(filter), ..Page::default() };
    Ok(virga_store::vm::list(tx, &page, virga_store::vm::Listed::Vms, visible).await?.items.into_iter().map(|v| v.id).collect())
}

/// Does the work on one VM, unless it was done.
async fn take(m: &Manager, s: &Schedule, vm: VmId, name: &str, now: Time) -> Result<(), Error> {
    let ScheduledWork::Snapshot { kind } = s.spec.work;
    let mut tx = m.store.write().await?;
    let Some(vm) = virga_store::vm::get(&mut tx, vm).await? else { return Ok(()) };
    let there = virga_store::snapshot::of_vm(&mut tx, vm.id).await?;
    if there.iter().any(|x| x.schedule == Some(s.id) && x.scheduled_at == Some(s.next_at)) {
        return Ok(());
    }
    let mut name = name.to_string();
    if there.iter().any(|x| x.name == name) {
        // A pattern without a time, or a run that somebody asked for in the same minute.
        name = format!("{}-{}", name.chars().take(40).collect::<String>(), s.next_at.0 / 1_000_000);
    }
    let note = format!("made by schedule {}", s.name);
    let wanted = snapshot::Wanted { name, note, kind, schedule: Some((s.id, s.next_at)) };
    snapshot::create_by(m, &mut tx, vm, wanted, s.owner, now).await?;
    tx.commit().await?;
    m.committed();
    Ok(())
}

async fn skipped(m: &Manager, s: &Schedule, vm: VmId, e: &Error, now: Time) -> Result<(), Error> {
    let mut tx = m.store.write().await?;
    if let Some(vm) = virga_store::vm::get(&mut tx, vm).await? {
        let text = format!("Schedule {} left the VM out: {}", s.name, e.message);
        event::append(&mut tx, &Note { severity: Severity::Warning, ..Note::vm(now, "schedule.skipped", &vm, &text) }).await?;
    }
    tx.commit().await?;
    m.committed();
    Ok(())
}

/// Removes what has had its time, one result of each VM at a time.
async fn tidy(m: &Manager, now: Time) -> Result<(), Error> {
    let mut tx = m.store.read().await?;
    let schedules = virga_store::schedule::all(&mut tx).await?;
    let mut gone = Vec::new();
    for s in &schedules {
        let mut by_vm: HashMap<VmId, Vec<_>> = HashMap::new();
        for x in virga_store::snapshot::of_schedule(&mut tx, s.id).await? {
            by_vm.entry(x.vm).or_default().push(x);
        }
        for (vm, all) in by_vm {
            let results: Vec<_> = all.iter().filter(|x| x.state != SnapshotState::Creating).map(|x| (x.id, x.scheduled_at.unwrap_or(x.created_at))).collect();
            // One that could not be removed to its end goes before the others.
            let broken = all.iter().find(|x| x.state == SnapshotState::Deleting).map(|x| x.id);
            gone.extend(broken.or_else(|| surplus(&results, s.spec.keep, now).first().copied()).map(|id| (s, vm, id)));
        }
    }
    drop(tx);
    for (s, vm, id) in gone {
        let mut tx = m.store.write().await?;
        let (vm, row) = (virga_store::vm::get(&mut tx, vm).await?, virga_store::snapshot::get(&mut tx, id).await?);
        let (Some(vm), Some(row)) = (vm, row.filter(|r| r.schedule == Some(s.id))) else { continue };
        if has_failed(&mut tx, &vm, now).await? {
            continue;
        }
        match snapshot::delete_by(&mut tx, vm, row, s.owner, now).await {
            Ok(()) => {
                tx.commit().await?;
                m.committed();
            }
            // Busy, or its state is not known: looked at again in a minute.
            Err(e) => tracing::debug!(schedule = %s.name, error = %e, "a result stays for now"),
        }
    }
    Ok(())
}

/// Whether the last removal on this VM has failed a short while ago.
async fn has_failed(tx: &mut Tx, vm: &Vm, now: Time) -> Result<bool, Error> {
    let of_vm = Filter::Term { field: "object".into(), op: Op::Eq, values: vec![vm.id.to_string()] };
    let removals = Filter::Term { field: "kind".into(), op: Op::Eq, values: vec![TaskKind::SnapshotDelete.to_string()] };
    let page = Page { limit: 1, filter: Some(Filter::And(Box::new(of_vm), Box::new(removals))), ..Page::default() };
    let last = virga_store::task::list(tx, &page, &Visible::everything(), None).await?.items.pop();
    Ok(last.is_some_and(|t| t.state == TaskState::Failed && t.ended_at.is_some_and(|e| (0..REMOVE_AGAIN_MS).contains(&now.millis_since(e)))))
}
