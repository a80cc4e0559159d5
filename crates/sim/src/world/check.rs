//! What must never be, and what must come: a function for each invariant, named as in `reliability.md` 3.1 and 3.2.
//!
//! Checkers read rows and machines, and change nothing. What moves is no violation: a difference between a row and a
//! machine counts when it stands for [`STANDING_MS`]. V5 and V9 are also judged at the moment of the deed, in
//! `machine.rs`, `manager.rs` and `journal.rs`, where the order is known. What is about layers is in `layers.rs`.

use super::command::Command;
use super::ctx::Ctx;
use super::host::{Hypervising, Site};
use super::layers;
use super::life::State;
use super::net::Way;
use super::turn::lock;
use super::user::{People, Told};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use virga_api::v1::BatchAction;
use virga_model::filter;
use virga_model::host::MEMORY_RESERVED_BYTES;
use virga_model::role::Visible;
use virga_model::snapshot::Snapshot;
use virga_model::task::{Cause, ObjectRef, Task, TaskKind, TaskState};
use virga_model::vm::{Desired, Vm, VmState};
use virga_model::{Error, HostId, VmId};
use virga_store::{Page, Tx};

/// Milliseconds for which a difference must stand to be one.
const STANDING_MS: u64 = 60_000;
/// Milliseconds for which a due task may lie untouched while a manager runs.
const UNTOUCHED_MS: i64 = 90_000;
/// Milliseconds without a report before which nobody may call a host silent: the limit is thirty seconds, but a manager
/// that does not hear the host itself goes by the row, which is up to twelve seconds old.
const NOT_SILENT_MS: u64 = 17_000;
/// Events that may still come in half a minute in which nothing happens.
const QUIET_EVENTS: i64 = 6;

/// All tasks that have not ended, oldest first.
///
/// # Errors
/// What the database says.
pub async fn active_tasks(tx: &mut Tx) -> Result<Vec<Task>, Error> {
    tasks(tx, Some("state in (queued, running)")).await
}

async fn tasks(tx: &mut Tx, condition: Option<&str>) -> Result<Vec<Task>, Error> {
    let page = Page { limit: 1000, filter: condition.map(filter::parse).transpose()?, ..Page::default() };
    let mut found = virga_store::task::list(tx, &page, &Visible::everything(), None).await?.items;
    found.sort_by_key(|t| t.id);
    Ok(found)
}

async fn vms(tx: &mut Tx) -> Result<Vec<Vm>, Error> {
    let page = Page { limit: 1000, ..Page::default() };
    Ok(virga_store::vm::list(tx, &page, virga_store::vm::Listed::All, &Visible::everything()).await?.items)
}

/// What was seen at the last look.
#[derive(Default)]
pub struct Memory {
    generations: BTreeMap<VmId, i64>,
    standing: BTreeMap<String, u64>,
    event: i64,
    snapshots: super::layers::Kept,
}

/// One look at everything.
pub struct Look {
    /// Every VM's row.
    pub vms: Vec<Vm>,
    /// The snapshots of those that have layers.
    pub snapshots: Vec<Snapshot>,
    active: Vec<Task>,
    loads: Vec<(HostId, u64)>,
}

async fn look(ctx: &Ctx) -> Result<Look, Error> {
    let _pass = ctx.turns.take();
    let mut tx = ctx.store.read().await?;
    let (vms, active) = (vms(&mut tx).await?, active_tasks(&mut tx).await?);
    let loads = virga_store::host::loads(&mut tx).await?.into_iter().map(|(h, l)| (h, l.memory_bytes)).collect();
    let mut snapshots = Vec::new();
    for vm in vms.iter().filter(|v| !v.spec.layers.is_plain()) {
        snapshots.extend(virga_store::snapshot::of_vm(&mut tx, vm.id).await?);
    }
    Ok(Look { vms, snapshots, active, loads })
}

/// Looks, while the world goes on.
///
/// # Errors
/// What the database says.
pub async fn sample(ctx: &Ctx, memory: &mut Memory) -> Result<(), Error> {
    let l = look(ctx).await?;
    v1_one_host(ctx);
    v4_rows_are_true(ctx, memory, &l);
    v5_generations(ctx, memory, &l);
    v8_disks_are_there(ctx);
    layers::v8_layers_are_there(ctx);
    layers::v7_snapshots_keep_what_they_hold(ctx, &mut memory.snapshots, &l);
    v11_loads_are_sums(ctx, &l);
    v12_memory(ctx);
    v13_unique(ctx, &l);
    w1_tasks_are_touched(ctx, &l);
    silence_is_told_by_the_steady_clock(ctx, memory).await
}

/// Looks at the end, when all is mended and time enough has passed.
///
/// # Errors
/// What the database says.
pub async fn settled(ctx: &Ctx, people: &People) -> Result<(), Error> {
    let l = look(ctx).await?;
    let all = {
        let _pass = ctx.turns.take();
        let mut tx = ctx.store.read().await?;
        tasks(&mut tx, None).await?
    };
    w1_all_tasks_ended(ctx, &l);
    w3_desired_is_observed(ctx, &l, &all);
    w4_nothing_is_left_over(ctx, &l);
    layers::w4_no_layer_is_left_over(ctx, &l);
    v6_requests(ctx, people, &all);
    v6_acts(ctx, &all);
    v9_removals_were_asked_for(ctx, people, &l, &all);
    Ok(())
}

/// Looks after a time in which nothing happened, as [`last_event`] before it told.
///
/// # Errors
/// What the database says.
pub async fn quiet(ctx: &Ctx, before: i64) -> Result<(), Error> {
    let (l, after) = (look(ctx).await?, last_event(ctx).await?);
    w7_quiet(ctx, before, after);
    w7_managers_forget(ctx, &l);
    Ok(())
}

/// Whether there is nothing left to wait for: no task, no request, no VM that its host has not finished with.
///
/// # Errors
/// What the database says.
pub async fn is_settled(ctx: &Ctx, people: &People) -> Result<bool, Error> {
    let l = look(ctx).await?;
    let asking = lock(&people.requests).values().any(|r| r.open);
    Ok(!asking && l.active.is_empty() && l.vms.iter().all(|v| v.observed.settled && v.observed.generation == v.generation))
}

/// What the rows say, for the end of a log.
///
/// # Errors
/// What the database says.
pub async fn rows(ctx: &Ctx) -> Result<Vec<String>, Error> {
    let l = look(ctx).await?;
    let mut out = Vec::new();
    for v in &l.vms {
        let drift = v.observed.drift.iter().map(|d| format!(", {} drifts", d.what)).collect::<String>();
        let settled = if v.observed.settled { "" } else { ", not settled" };
        let error = v.observed.error.as_ref().map_or(String::new(), |e| format!(", error: {}", e.message));
        out.push(format!("  row {} desired {}, observed {}{settled}{drift}{error}", v.name, v.desired, v.observed.state));
    }
    out.extend(l.active.iter().map(|t| format!("  task {} of {} {}: {}", t.kind, t.object_name, t.state, t.message)));
    Ok(out)
}

/// The number of the newest event.
///
/// # Errors
/// What the database says.
pub async fn last_event(ctx: &Ctx) -> Result<i64, Error> {
    let _pass = ctx.turns.take();
    let mut tx = ctx.store.read().await?;
    Ok(virga_store::event::latest_id(&mut tx).await?)
}

/// Nothing grows while nothing happens (W7).
fn w7_quiet(ctx: &Ctx, before: i64, after: i64) {
    if after - before > QUIET_EVENTS {
        ctx.violated("W7", &format!("{} events in a time in which nothing happened", after - before));
    }
}

/// A VM runs on one host at most.
fn v1_one_host(ctx: &Ctx) {
    let mut runs: BTreeMap<VmId, String> = BTreeMap::new();
    for site in ctx.sites() {
        for (vm, state, _) in site.guests() {
            if matches!(state, VmState::Running | VmState::Paused)
                && let Some(other) = runs.insert(vm, site.name.clone())
            {
                ctx.violated("V1", &format!("{vm} runs on {other} and on {}", site.name));
            }
        }
    }
}

/// Whether a host can tell a manager what is true.
fn tells(ctx: &Ctx, site: &Site) -> bool {
    let somebody_listens = ctx.offices().iter().any(|o| o.life().runs());
    let whole = site.disk.hypervisor() == Hypervising::Up && !site.disk.slow.load(Ordering::SeqCst) && !site.disk.broken.load(Ordering::SeqCst);
    let ways = ctx.net.open(&site.name, Way::ToHost) && ctx.net.open(&site.name, Way::FromHost);
    somebody_listens && whole && ways && site.powered() && site.node().is_some()
}

fn stands(ctx: &Ctx, memory: &mut Memory, what: String, is: bool) -> bool {
    let now = ctx.now();
    if !is {
        memory.standing.remove(&what);
        return false;
    }
    now - *memory.standing.entry(what).or_insert(now) >= STANDING_MS
}

/// What a row says of a guest is what its host has, unless a task owns the difference.
fn v4_rows_are_true(ctx: &Ctx, memory: &mut Memory, l: &Look) {
    for site in ctx.sites() {
        let can = tells(ctx, &site);
        for vm in l.vms.iter().filter(|v| v.host == Some(site.id)) {
            let truth = site.sim.domain_state(vm.id).unwrap_or(VmState::Absent);
            let owned = l.active.iter().any(|t| t.object == ObjectRef::Vm(vm.id));
            let lie = can && !owned && vm.observed.generation > 0 && vm.observed.state != truth;
            if stands(ctx, memory, format!("V4 {}", vm.id), lie) {
                ctx.violated("V4", &format!("the row of {} says {}, its host has {truth}", vm.id, vm.observed.state));
            }
        }
    }
}

/// Generations never go back.
fn v5_generations(ctx: &Ctx, memory: &mut Memory, l: &Look) {
    for vm in &l.vms {
        let before = memory.generations.insert(vm.id, vm.generation).unwrap_or(0);
        if vm.generation < before {
            ctx.violated("V5", &format!("the row of {} goes back from generation {before} to {}", vm.id, vm.generation));
        }
    }
}

/// No disk is away while a definition names it.
fn v8_disks_are_there(ctx: &Ctx) {
    for site in ctx.sites() {
        let w = site.sim.world();
        let missing: Vec<VmId> = w
            .domains
            .iter()
            .filter(|(_, d)| d.persistent && d.order.spec.disks.iter().any(|s| !w.files.contains_key(&(s.id, None))))
            .map(|(id, _)| *id)
            .collect();
        let alone = w.files.values().filter(|f| f.origin.is_some_and(|o| !w.files.contains_key(&o) && !w.foreign.contains_key(&o)));
        let lost: Vec<VmId> = alone.map(|f| f.stored.vm).collect();
        drop(w);
        for vm in missing {
            ctx.violated("V8", &format!("a disk of {vm} is removed while its definition on {} names it", site.name));
        }
        for vm in lost {
            ctx.violated("V8", &format!("what a disk of {vm} stands on is removed on {}", site.name));
        }
    }
}

/// What is said to be taken on a host is the sum over its VMs. (Quotas are not there yet: V11 is this sum.)
fn v11_loads_are_sums(ctx: &Ctx, l: &Look) {
    for (host, share) in &l.loads {
        let sum: u64 = l.vms.iter().filter(|v| v.host == Some(*host)).map(Vm::host_memory_share).sum();
        if sum != *share {
            ctx.violated("V11", &format!("{share} bytes are said to be taken on {host}, its VMs take {sum}"));
        }
    }
}

/// The guests that run on a host fit into it.
fn v12_memory(ctx: &Ctx) {
    for site in ctx.sites() {
        let w = site.sim.world();
        let guests = w.domains.iter().filter(|(_, d)| matches!(d.state, VmState::Running | VmState::Paused | VmState::Crashed));
        let (ids, bytes): (Vec<VmId>, Vec<u64>) = guests.map(|(id, d)| (*id, d.memory_bytes)).unzip();
        drop(w);
        let ours = !ids.iter().any(|id| lock(&ctx.book).meddled.contains(id));
        let sum: u64 = bytes.iter().sum();
        if ours && sum > site.memory_bytes.saturating_sub(MEMORY_RESERVED_BYTES) {
            ctx.violated("V12", &format!("guests on {} may take {sum} of its {} bytes", site.name, site.memory_bytes));
        }
    }
}

/// Names and addresses belong to one VM each. (VNC sockets are made from the VM's identity.)
fn v13_unique(ctx: &Ctx, l: &Look) {
    let mut names = BTreeSet::new();
    for vm in &l.vms {
        if !names.insert(&vm.name) {
            ctx.violated("V13", &format!("two VMs are called {}", vm.name));
        }
    }
    let mut macs: BTreeMap<String, VmId> = BTreeMap::new();
    for site in ctx.sites() {
        for (id, d) in &site.sim.world().domains {
            for nic in &d.order.spec.nics {
                if macs.insert(nic.mac.clone(), *id).is_some_and(|other| other != *id) {
                    ctx.violated("V13", &format!("two guests have the address of a NIC of {id}"));
                }
            }
        }
    }
}

/// No task lies untouched while a manager runs (W1).
fn w1_tasks_are_touched(ctx: &Ctx, l: &Look) {
    let offices = ctx.offices();
    let now = ctx.clock.time();
    let usual = offices.iter().all(|o| o.clock_s.load(Ordering::SeqCst) == 0);
    let steady = offices.iter().any(|o| o.life().runs() && ctx.now().saturating_sub(o.since_ms()) > UNTOUCHED_MS.unsigned_abs());
    if !(usual && steady) {
        return;
    }
    for t in &l.active {
        let due = t.lease_until.filter(|u| *u > t.not_before).unwrap_or(t.not_before).max(t.created_at);
        if now.millis_since(due) > UNTOUCHED_MS {
            ctx.violated(
                "W1",
                &format!("{} of {} is due since {} s, and nobody works on it: {}", t.kind, t.object_name, now.millis_since(due) / 1000, t.message),
            );
        }
    }
}

/// A host that reports is never called silent, whatever a wall clock says.
async fn silence_is_told_by_the_steady_clock(ctx: &Ctx, memory: &mut Memory) -> Result<(), Error> {
    let events = {
        let _pass = ctx.turns.take();
        let mut tx = ctx.store.read().await?;
        virga_store::event::after(&mut tx, memory.event, 1000, &Visible::everything()).await?
    };
    for e in events {
        memory.event = e.id;
        let ObjectRef::Host(id) = e.object else { continue };
        let Some(site) = ctx.sites().into_iter().find(|s| s.id == id) else { continue };
        let quiet_for = ctx.now().saturating_sub(site.heard_at.load(Ordering::SeqCst));
        let quiet_till = ctx.now().saturating_sub(site.gap_ended_at.load(Ordering::SeqCst));
        // A manager that has not heard the host in its life goes by the time in the row, which a wrong clock misreads.
        let offices = ctx.offices();
        let heard_at = site.heard_at.load(Ordering::SeqCst);
        let misread = offices.iter().any(|o| o.clock_s.load(Ordering::SeqCst) != 0) && offices.iter().all(|o| heard_at < o.since_ms());
        if e.kind == "host.silent" && !misread && quiet_for < NOT_SILENT_MS && quiet_till > NOT_SILENT_MS {
            ctx.violated("clock", &format!("{} is called silent {quiet_for} ms after its last report", site.name));
        }
    }
    Ok(())
}

/// Every task ends (W1).
fn w1_all_tasks_ended(ctx: &Ctx, l: &Look) {
    for t in &l.active {
        ctx.violated("W1", &format!("{} of {} does not end: {} {}", t.kind, t.object_name, t.state, t.message));
    }
    for vm in l.vms.iter().filter(|v| v.former_spec.is_some()) {
        ctx.violated("W1", &format!("an edit of {} is half done, and no task owns it", vm.id));
    }
}

/// What was asked for is what is there, or it is told why not (W3, V4).
fn w3_desired_is_observed(ctx: &Ctx, l: &Look, all: &[Task]) {
    for vm in &l.vms {
        let Some(site) = ctx.sites().into_iter().find(|s| Some(s.id) == vm.host) else { continue };
        let truth = site.sim.domain_state(vm.id).unwrap_or(VmState::Absent);
        let o = &vm.observed;
        if o.state != truth {
            ctx.violated("V4", &format!("at the end the row of {} says {}, its host has {truth}", vm.id, o.state));
        }
        let failed = || all.iter().any(|t| t.object == ObjectRef::Vm(vm.id) && t.state == TaskState::Failed);
        let told = o.error.is_some() || !o.drift.is_empty() || (vm.desired == Desired::Absent && failed());
        if o.generation != vm.generation || !o.settled {
            ctx.violated("W3", &format!("{} is not settled: generation {} of {}, settled {}", vm.id, o.generation, vm.generation, o.settled));
        } else if !vm.desired.is_met_by(truth) && !told {
            ctx.violated("W3", &format!("{} should be {} and is {truth}, and nothing says why", vm.id, vm.desired));
        }
    }
}

/// No domain and no disk is there that no row knows (W4).
fn w4_nothing_is_left_over(ctx: &Ctx, l: &Look) {
    for site in ctx.sites() {
        let w = site.sim.world();
        let domains: Vec<VmId> = w.domains.keys().copied().collect();
        let disks: Vec<_> = w.files.values().filter(|f| f.stored.layer.is_none()).map(|f| f.stored.clone()).collect();
        drop(w);
        let row = |vm: VmId| l.vms.iter().find(|v| v.id == vm && v.host == Some(site.id));
        for id in domains.iter().filter(|id| row(**id).is_none()) {
            ctx.violated("W4", &format!("{} has a domain of {id}, which has no row there", site.name));
        }
        for d in disks {
            match row(d.vm) {
                None => ctx.violated("W4", &format!("{} has a disk of {}, which has no row there", site.name, d.vm)),
                // A snapshot can bring it back.
                Some(v) if l.snapshots.iter().any(|s| s.vm == v.id && s.spec.disks.iter().any(|k| k.id == d.id)) => {}
                // A guest whose memory is saved goes on with the files that it had.
                Some(v) if v.observed.state == VmState::Hibernated => {}
                // A disk that was detached while the guest could not let it go goes with its next stop.
                Some(v)
                    if !v.spec.disks.iter().chain(&v.spec.detached).any(|s| s.id == d.id) && v.observed.pending.is_empty() && v.observed.error.is_none() =>
                {
                    ctx.violated("W4", &format!("{} has a disk of {} that is in no specification", site.name, d.vm));
                }
                Some(_) => {}
            }
        }
    }
}

/// What was acknowledged is there, and what was asked once was done once (V6).
fn v6_requests(ctx: &Ctx, people: &People, all: &[Task]) {
    let requests = lock(&people.requests).clone();
    let mut expected = 0;
    for r in requests.values() {
        if r.tasks.len() > 1 {
            ctx.violated("V6", &format!("\"{}\" was asked once, and made {} tasks", r.command, r.tasks.len()));
        }
        match &r.told {
            Told::Accepted(Some(t)) => {
                expected += 1;
                if !all.iter().any(|x| x.id == *t) {
                    ctx.violated("V6", &format!("\"{}\" was acknowledged, and its task is lost", r.command));
                }
            }
            // Nobody knows: it may have been done, once.
            Told::Nothing => expected += 1,
            Told::Accepted(None) | Told::Refused(_) => {}
        }
    }
    let made = all.iter().filter(|t| t.cause == Cause::User && t.parent.is_none()).count();
    if made > expected {
        ctx.violated("V6", &format!("{made} tasks were made for at most {expected} requests"));
    }
}

/// What happens once happens once, however often it is asked for (V6).
fn v6_acts(ctx: &Ctx, all: &[Task]) {
    let acts = lock(&ctx.book).acts.clone();
    for (vm, n) in acts {
        let asked = all.iter().filter(|t| t.object == ObjectRef::Vm(vm) && matches!(t.kind, TaskKind::VmReboot | TaskKind::VmReset)).count();
        if n as usize > asked {
            ctx.violated("V6", &format!("{vm} was restarted {n} times for {asked} tasks"));
        }
    }
}

/// No order to remove a VM without somebody who asked for it, or a creation that was given up (V9).
fn v9_removals_were_asked_for(ctx: &Ctx, people: &People, l: &Look, all: &[Task]) {
    let orders: Vec<(VmId, String)> = lock(&ctx.book).orders.values().filter(|o| o.desired == Desired::Absent).map(|o| (o.id, o.name.clone())).collect();
    let requests = lock(&people.requests).clone();
    for (id, name) in orders {
        let asked = requests.values().any(|r| match &r.command {
            Command::Delete { vm, .. } => *vm == name || r.vm == Some(id),
            Command::TemplateDelete { template } => *template == name || r.vm == Some(id),
            Command::Batch { action: BatchAction::Delete, vms } => vms.contains(&name),
            _ => false,
        });
        let given_up =
            all.iter().any(|t| t.object == ObjectRef::Vm(id) && matches!(t.kind, TaskKind::VmCreate | TaskKind::VmClone) && t.state != TaskState::Succeeded);
        let renamed = requests.values().any(|r| matches!(&r.command, Command::Rename { to, .. } if *to == name));
        if !(asked || given_up || renamed) {
            ctx.violated("V9", &format!("{id} was ordered to be removed, and nobody asked for it ({} VMs left)", l.vms.len()));
        }
    }
}

/// Managers remember nothing of VMs that are no more (W7).
fn w7_managers_forget(ctx: &Ctx, l: &Look) {
    let known: BTreeSet<VmId> = lock(&ctx.book).orders.keys().map(|(vm, _)| *vm).collect();
    for office in ctx.offices().iter().filter(|o| o.life().state() == State::Running) {
        let Some(api) = office.api() else { continue };
        for id in known.iter().filter(|id| !l.vms.iter().any(|v| v.id == **id)) {
            if api.m.stats.progress(*id).is_some() || !api.m.stats.vm(*id).is_empty() {
                ctx.violated("W7", &format!("{} remembers {id}, which is no more", office.name));
            }
        }
    }
}
