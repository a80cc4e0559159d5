//! Takes what a host reports into rows, events and memory.

use virga_model::event::{Event, Severity};
use virga_model::host::Host;
use virga_model::order::{Report, ReportAck, VmReport};
use virga_model::task::ObjectRef;
use virga_model::vm::{Desired, Drift, Observed, Vm, VmState};
use virga_model::{Error, Time};
use virga_store::Tx;

use crate::state::Manager;

/// Milliseconds between two writes of a host's last report.
const LAST_REPORT_WRITE_MS: i64 = 10_000;

/// Takes a report of `host`.
///
/// # Errors
/// The database is not there; then the agent reports everything again.
pub async fn take(manager: &Manager, host: Host, report: Report) -> Result<ReportAck, Error> {
    let now = manager.now();
    let resync = !report.full && !manager.heard.knows(host.id);
    manager.heard.note(host.id);
    if let Some(s) = report.host_sample {
        manager.stats.add_host(host.id, s);
    }
    for s in &report.vm_samples {
        manager.stats.add_vm(s.vm, s.sample);
    }
    for v in &report.vms {
        manager.stats.set_progress(v.id, v.progress.clone());
    }
    let stale = host.last_report_at.is_none_or(|t| now.millis_since(t) >= LAST_REPORT_WRITE_MS);
    if stale || report.full || report.facts.is_some() || report.foreign_vms.is_some() || !report.vms.is_empty() {
        let mut tx = manager.store.write().await?;
        virga_store::host::set_last_report(&mut tx, host.id, now).await?;
        take_facts(&mut tx, &host, &report).await?;
        for v in &report.vms {
            take_vm(&mut tx, &host, v, report.full, now).await?;
        }
        if report.full && report.hypervisor_up {
            take_absent(&mut tx, &host, &report.vms, now).await?;
        }
        tx.commit().await?;
        manager.committed();
    }
    Ok(ReportAck { resync })
}

/// Takes what an agent answered to a call about one VM.
///
/// # Errors
/// The database is not there; the next report says the same.
pub async fn take_answer(manager: &Manager, host: &Host, answer: &VmReport) -> Result<(), Error> {
    manager.stats.set_progress(answer.id, answer.progress.clone());
    let mut tx = manager.store.write().await?;
    take_vm(&mut tx, host, answer, false, manager.now()).await?;
    tx.commit().await?;
    manager.committed();
    Ok(())
}

async fn take_facts(tx: &mut Tx, host: &Host, report: &Report) -> Result<(), Error> {
    if report.facts.is_none() && report.foreign_vms.is_none() {
        return Ok(());
    }
    let mut facts = report.facts.as_deref().cloned().unwrap_or_else(|| host.facts.clone());
    facts.foreign_vms = report.foreign_vms.clone().unwrap_or_else(|| host.facts.foreign_vms.clone());
    Ok(virga_store::host::set_facts(tx, host.id, &facts).await?)
}

/// One VM. A VM of another host, or of none, is not this host's to speak about: `observe` sees to it. What was said
/// earlier and arrives later (the answer to a call, overtaken by a report) is ignored; a full report is a new beginning,
/// also for an agent that lost its count.
async fn take_vm(tx: &mut Tx, host: &Host, report: &VmReport, full: bool, now: Time) -> Result<(), Error> {
    let Some(before) = virga_store::vm::get(tx, report.id).await? else { return Ok(()) };
    if !full && before.observed.revision > report.observed.revision {
        return Ok(());
    }
    let retold;
    let observed = if full && report.observed.generation < before.observed.generation {
        // The agent lost its journal. What it sees counts; what it was told must be told again: the repair loop does.
        retold = Observed { generation: before.observed.generation, settled: false, ..report.observed.clone() };
        &retold
    } else {
        &report.observed
    };
    let changed = virga_store::vm::observe(tx, report.id, observed, host.id).await?;
    if changed {
        tell(tx, &before, observed, now).await?;
    }
    // Progress alone is a reason to look, too: the task shows it.
    if changed || report.progress.is_some() {
        virga_store::task::wake(tx, ObjectRef::Vm(report.id)).await?;
    }
    Ok(())
}

/// VMs that rows place on the host and that the host, whose hypervisor answers, does not know.
async fn take_absent(tx: &mut Tx, host: &Host, reported: &[VmReport], now: Time) -> Result<(), Error> {
    for vm in virga_store::vm::on_host(tx, host.id).await? {
        let ordered = vm.observed.generation > 0;
        if !ordered || vm.observed.state == VmState::Absent || reported.iter().any(|r| r.id == vm.id) {
            continue;
        }
        let drift = Drift { what: "definition".into(), message: "The host does not know this VM any more.".into() };
        let observed = Observed { state: VmState::Absent, drift: vec![drift], ..vm.observed.clone() };
        if vm.desired != Desired::Absent && virga_store::vm::observe(tx, vm.id, &observed, host.id).await? {
            tell(tx, &vm, &observed, now).await?;
        }
    }
    Ok(())
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
