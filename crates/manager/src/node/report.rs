//! Takes what a host reports into rows, events and memory.

use std::collections::{HashMap, HashSet};
use virga_model::event::{Event, Severity};
use virga_model::host::Host;
use virga_model::order::{Report, ReportAck, VmReport};
use virga_model::task::ObjectRef;
use virga_model::vm::{Desired, Drift, Observed, Vm, VmState};
use virga_model::{Error, HostId, Time, VmId};
use virga_store::Tx;
use virga_store::vm::Stored;

use super::inbox;
use super::lives::{self, Verdict};
use crate::copies;
use crate::state::Manager;

/// Milliseconds between two writes of a host's last report.
const LAST_REPORT_WRITE_MS: i64 = 10_000;

/// Takes a report of `host`.
///
/// # Errors
/// The database is not there; then the agent reports everything again.
pub async fn take(manager: &Manager, host: Host, report: Report) -> Result<ReportAck, Error> {
    if is_routine(&report) && host.last_report_at.is_some() {
        return take_routine(manager, host.id, host.last_report_at, &report).await;
    }
    admit(manager, host.id, &report).await?;
    let ack = note(manager, host.id, &report);
    let ack = ReportAck { stores: copies::stores_to_watch(manager, &report).await?, ..ack };
    let behind = inbox::bring(manager, host, report).await?;
    Ok(ReportAck { behind, ..ack })
}

/// Whether a report holds nothing for rows but the word that the host is there. At rest, all are.
pub(super) fn is_routine(report: &Report) -> bool {
    !report.full && report.facts.is_none() && report.foreign_vms.is_none() && report.stores.is_none() && report.vms.is_empty()
}

/// Takes a routine report of the host whose row said last that it was heard of at `last`.
pub(super) async fn take_routine(manager: &Manager, host: HostId, last: Option<Time>, report: &Report) -> Result<ReportAck, Error> {
    admit(manager, host, report).await?;
    let ack = note(manager, host, report);
    let ack = ReportAck { stores: copies::stores_to_watch(manager, report).await?, ..ack };
    // A time to come was written by a clock that was ahead and has been set right since: it says nothing.
    if last.is_none_or(|t| !(0..LAST_REPORT_WRITE_MS).contains(&manager.now().millis_since(t))) {
        inbox::stamp(manager, host).await?;
    }
    Ok(ack)
}

/// That the report is the host's and not a copy's (`reliability.md` G11).
async fn admit(manager: &Manager, host: HostId, report: &Report) -> Result<(), Error> {
    match manager.lives.judge(host, report, manager.steady()) {
        Verdict::Take => return Ok(()),
        Verdict::Refuse => return Err(lives::refusal()),
        Verdict::TakeAndTell => {}
    }
    let mut tx = manager.store.write().await?;
    let Some(row) = virga_store::host::get(&mut tx, host).await? else { return Ok(()) };
    let event = Event {
        id: 0,
        at: manager.now(),
        kind: "host.identity_conflict".into(),
        severity: Severity::Error,
        object: ObjectRef::Host(host),
        object_name: row.name.clone(),
        owner: None,
        host: Some(host),
        task: None,
        message: "Two agents report with the identity of this host. The one that came later is refused; its machine is a copy. Stop its agent, remove its \
                  state folder, and join it with a join file of its own."
            .into(),
    };
    virga_store::event::append(&mut tx, &event).await?;
    tx.commit().await?;
    manager.committed();
    Ok(())
}

/// Notes what lives in memory only.
fn note(manager: &Manager, host: HostId, report: &Report) -> ReportAck {
    let resync = !report.full && !manager.heard.knows(host);
    manager.heard.note(host, manager.steady());
    if let Some(s) = report.host_sample {
        manager.stats.add_host(host, s);
    }
    for s in &report.vm_samples {
        manager.stats.add_vm(s.vm, s.sample);
    }
    for v in &report.vms {
        manager.stats.set_progress(v.id, v.progress.clone());
    }
    ReportAck { resync, managers: manager.managers.addresses(), ..ReportAck::default() }
}

/// Writes a report into rows. Answers with the highest revision in rows that it was behind, and so was not heard.
pub(super) async fn write(tx: &mut Tx, host: &Host, report: &Report, now: Time) -> Result<u64, Error> {
    let mut behind = 0;
    virga_store::host::set_last_report(tx, host.id, now).await?;
    let told_of_vms = report.full || !report.vms.is_empty();
    let there = match (told_of_vms, report.full) {
        (false, _) => HashMap::new(),
        // Which VMs it does not know any more is told by a full report only.
        (true, true) => virga_store::vm::observed_on_host(tx, host.id).await?,
        (true, false) => virga_store::vm::observed_of(tx, host.id, &report.vms.iter().map(|v| v.id).collect::<Vec<_>>()).await?,
    };
    take_facts(tx, host, report, &there, now).await?;
    for v in &report.vms {
        // After a manager's start every host tells everything again, and hardly anything of it is news.
        let news = v.progress.is_some() || there.get(&v.id).is_none_or(|row| !row.is(&v.observed));
        if let Some(before) = if news { virga_store::vm::get(tx, v.id).await? } else { None } {
            // Agents that do not count their reports begin anew with each full one.
            let how = Taking { anew: report.full && report.revision == 0, full: report.full, now };
            let taken = take_vm(tx, host, before, v, how).await?;
            behind = behind.max(taken.behind);
            // Progress alone is a reason to look, too: the task shows it.
            if taken.changed || (taken.heard && v.progress.is_some()) {
                virga_store::task::wake(tx, ObjectRef::Vm(v.id)).await?;
            }
        }
    }
    let told: HashSet<VmId> = report.vms.iter().map(|v| v.id).collect();
    if report.full && report.hypervisor_up && there.keys().any(|id| !told.contains(id)) {
        behind = behind.max(take_absent(tx, host, report, &told, now).await?);
    }
    Ok(behind)
}

/// Takes what an agent answered to a call about one VM. The task that called is not woken: whoever brings the answer looks
/// at it in the same transaction.
///
/// # Errors
/// The database is not there; the next report says the same.
pub async fn take_answer(manager: &Manager, tx: &mut Tx, host: &Host, answer: &VmReport) -> Result<(), Error> {
    manager.stats.set_progress(answer.id, answer.progress.clone());
    let Some(before) = virga_store::vm::get(tx, answer.id).await? else { return Ok(()) };
    let mut answer = answer.clone();
    if answer.observed.state == VmState::Unknown {
        // An agent that has just been told of a VM has not looked at it yet. That nothing can be found out is for its
        // reports to say.
        answer.observed.state = before.observed.state;
    }
    take_vm(tx, host, before, &answer, Taking { anew: false, full: false, now: manager.now() }).await.map(|_| ())
}

async fn take_facts(tx: &mut Tx, host: &Host, report: &Report, there: &HashMap<VmId, Stored>, now: Time) -> Result<(), Error> {
    let foreign = super::ahead::foreign(host, report, |vm| there.contains_key(&vm));
    let stores = report.stores.clone().unwrap_or_else(|| host.facts.stores.clone());
    if report.facts.is_none() && foreign == host.facts.foreign_vms && stores == host.facts.stores {
        return Ok(());
    }
    let local = report.facts.as_ref().map(|f| (f.store_total_bytes, f.store_free_bytes));
    super::stores::tell(tx, host, &stores, local, now).await?;
    let mut facts = report.facts.as_deref().cloned().unwrap_or_else(|| host.facts.clone());
    facts.foreign_vms = foreign;
    facts.stores = stores;
    Ok(virga_store::host::set_facts(tx, host.id, &facts).await?)
}

/// How what is said about a VM is taken.
#[derive(Clone, Copy)]
struct Taking {
    /// The host begins to count anew.
    anew: bool,
    /// It is part of a full report.
    full: bool,
    /// When.
    now: Time,
}

/// What came of it.
#[derive(Default)]
struct Taken {
    /// The revision of the row, when that is newer and the host counts too low; 0: not.
    behind: u64,
    /// It was no late word.
    heard: bool,
    /// The row has changed.
    changed: bool,
}

/// One VM, whose row is `before`. A VM of another host, or of none, is not this host's to speak about: `observe` sees to it.
/// What was said earlier and arrives later (an answer or a report that was long under way) is ignored, unless `anew`.
async fn take_vm(tx: &mut Tx, host: &Host, before: Vm, report: &VmReport, how: Taking) -> Result<Taken, Error> {
    let Taking { anew, full, now } = how;
    if !anew && before.observed.revision > report.observed.revision {
        // Of a part of what a host says nobody can tell whether it was late, unless it speaks of a newer order than the
        // row knows of: then the host's count was lost with its journal, and it would not be heard for ever.
        let lost_count = full || report.observed.generation > before.observed.generation;
        let behind = if lost_count && before.host == Some(host.id) { before.observed.revision } else { 0 };
        return Ok(Taken { behind, ..Taken::default() });
    }
    let retold;
    let observed = if let Some(ahead) = super::ahead::observed(tx, host, &before, report).await? {
        retold = ahead;
        &retold
    } else if full && report.observed.generation < before.observed.generation {
        // The agent lost its journal. What it sees counts; what it was told must be told again: the repair loop does.
        retold = Observed { generation: before.observed.generation, settled: false, ..report.observed.clone() };
        &retold
    } else {
        &report.observed
    };
    let mut changed = virga_store::vm::observe(tx, report.id, observed, host.id).await?;
    // An agent that was started anew counts anew; that alone is news for nobody.
    changed &= before.observed != Observed { revision: before.observed.revision, ..observed.clone() };
    if changed {
        tell(tx, &before, observed, now).await?;
    }
    Ok(Taken { behind: 0, heard: true, changed })
}

/// VMs that rows place on the host and that the host, whose hypervisor answers, does not know. What a row learned after
/// the report was made is not gone: answers with its revision.
async fn take_absent(tx: &mut Tx, host: &Host, report: &Report, reported: &HashSet<VmId>, now: Time) -> Result<u64, Error> {
    let mut behind = 0;
    for vm in virga_store::vm::on_host(tx, host.id).await? {
        let told = vm.observed.generation > 0 && (vm.observed.state != VmState::Absent || !vm.observed.settled);
        if !told || vm.observed.order_lost || reported.contains(&vm.id) {
            continue;
        }
        if report.revision != 0 && vm.observed.revision > report.revision {
            behind = behind.max(vm.observed.revision);
            continue;
        }
        let drift = Drift { what: "definition".into(), message: "The host does not know this VM any more.".into() };
        // Who works on the VM must tell the host again; what is at rest is told to people, and nothing is undone.
        let order_lost = !vm.observed.settled;
        let drift = if vm.desired == Desired::Absent { Vec::new() } else { vec![drift] };
        let observed = Observed { state: VmState::Absent, drift, order_lost, ..vm.observed.clone() };
        if virga_store::vm::observe(tx, vm.id, &observed, host.id).await? {
            tell(tx, &vm, &observed, now).await?;
            virga_store::task::wake(tx, ObjectRef::Vm(vm.id)).await?;
        }
    }
    Ok(behind)
}

/// Events of what changed. Their texts name no host: tenants read them, and tenants never see hosts.
async fn tell(tx: &mut Tx, before: &Vm, after: &Observed, now: Time) -> Result<(), Error> {
    let mut events = Vec::new();
    if before.observed.state != after.state {
        let severity = if matches!(after.state, VmState::Unknown | VmState::Crashed) { Severity::Warning } else { Severity::Info };
        events.push(("vm.state_changed", severity, format!("VM {}: {} => {}.", before.name, before.observed.state, after.state)));
    }
    for d in after.drift.iter().filter(|d| !before.observed.drift.contains(d)) {
        events.push(("vm.drift", Severity::Warning, format!("VM {}: {}", before.name, d.message)));
    }
    if before.observed.guest.ips != after.guest.ips && !after.guest.ips.is_empty() {
        events.push(("vm.addresses", Severity::Info, format!("VM {} has addresses {}.", before.name, after.guest.ips.join(", "))));
    }
    // Anything else that a page may show: settled, pending, agent.
    if events.is_empty() {
        events.push(("vm.observed", Severity::Info, format!("VM {} was observed anew.", before.name)));
    }
    for (kind, severity, message) in events {
        let event = Event {
            id: 0,
            at: now,
            kind: kind.into(),
            severity,
            object: ObjectRef::Vm(before.id),
            object_name: before.name.clone(),
            owner: Some(before.owner),
            host: before.host,
            task: None,
            message,
        };
        virga_store::event::append(tx, &event).await?;
    }
    Ok(())
}
