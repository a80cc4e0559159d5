//! Tasks on one VM. All but reboot and reset are one machine: bring the row to its host, look until the host has
//! settled it, and on cancel or failure write the state from before and bring that about instead.

use super::{Call, Facts, HostFact, POLL_MS, SILENT_HOST_PATIENCE_MS, SourceFact, Step, Write};
use virga_model::host::HostState;
use virga_model::order::Act;
use virga_model::task::{Task, TaskKind, Undo};
use virga_model::vm::{Desired, StopMode, Vm, VmState};
use virga_model::{Error, Time};

/// All tasks that bring about a desired state.
pub(super) fn converge(task: &Task, facts: &Facts, now: Time) -> Step {
    let Some(vm) = &facts.vm else { return row_is_gone(task) };
    if task.cancel && task.doc.undo.is_none() && !is_reached(task, vm) {
        if task.kind == TaskKind::VmRepair {
            return Step::Cancelled("The repair was stopped; it is tried again later.".into());
        }
        if !past_no_return(task, vm) {
            return undo(task, vm, Undo::Cancelled, now);
        }
    }
    let Some(host) = &facts.host else { return without_host(task, vm) };
    // A host that has lost its order (its journal is gone) would do nothing for ever: it is told again.
    if vm.observed.generation < vm.generation || vm.observed.order_lost {
        return match reachable(task, vm, host, now) {
            Some(step) => step,
            None => Step::Call(Call::EnsureVm),
        };
    }
    if let Some(e) = &vm.observed.error {
        return host_failed(task, vm, e, now);
    }
    if vm.observed.settled && (vm.desired != Desired::Absent || vm.observed.state == VmState::Absent) {
        return settled(task, vm, now);
    }
    if let Some(step) = reachable(task, vm, host, now) {
        return step;
    }
    if let Some(step) = shutdown_overdue(task, vm, now) {
        return step;
    }
    let why = match &facts.progress {
        Some(p) => p.step.clone(),
        None if vm.observed.state == VmState::Unknown => "the host's hypervisor does not answer; waiting".into(),
        None => waiting_for(task, vm).into(),
    };
    Step::Wait { ms: POLL_MS, why, progress: facts.progress.clone() }
}

/// A clone is made once its source has frozen what it is made from; from then on it is a VM that is made.
pub(super) fn clone(task: &Task, facts: &Facts, now: Time) -> Step {
    let told = facts.vm.as_ref().is_some_and(|vm| vm.observed.generation >= vm.generation);
    if task.doc.undo.is_none() && !task.cancel && !told {
        match (&facts.source, &facts.vm) {
            (Some(SourceFact::Freezing), _) => {
                return Step::Wait { ms: POLL_MS, why: "the disks of the source are being frozen".into(), progress: None };
            }
            (Some(SourceFact::Lost), Some(vm)) => {
                let e = Error::conflict("The disks of the source were not frozen, so nothing could be made from them.")
                    .with_hint("Look at the task that should have frozen them (vm_freeze), then clone again.");
                return undo(task, vm, Undo::Failed(e), now);
            }
            _ => {}
        }
    }
    converge(task, facts, now)
}

/// Reboot and reset: told once, known by the task's id.
pub(super) fn act(task: &Task, facts: &Facts, now: Time, act: Act) -> Step {
    let Some(vm) = &facts.vm else { return row_is_gone(task) };
    if let Some(result) = vm.observed.acts.iter().find(|r| r.task == task.id) {
        return match &result.error {
            None => Step::Done(match act {
                Act::Reboot => "The guest was asked to restart.".into(),
                Act::Reset => "The guest was reset.".into(),
            }),
            Some(e) => Step::Failed(e.clone()),
        };
    }
    if task.cancel {
        return Step::Cancelled("Stopped before the host was known to have done it.".into());
    }
    let Some(host) = &facts.host else {
        return Step::Failed(Error::conflict("The VM is on no host, so there is nothing to restart."));
    };
    if host.state != HostState::Up {
        if now.millis_since(task.created_at) > SILENT_HOST_PATIENCE_MS {
            return Step::Failed(silent());
        }
        return Step::Wait { ms: POLL_MS, why: "the host does not report; waiting for it".into(), progress: None };
    }
    Step::Call(Call::Act(act))
}

fn row_is_gone(task: &Task) -> Step {
    match (&task.doc.undo, task.kind) {
        (Some(Undo::Cancelled), _) => Step::Cancelled("Stopped; the VM was removed again.".into()),
        (Some(Undo::Failed(e)), _) => Step::Failed(e.clone()),
        (None, TaskKind::VmDelete | TaskKind::VmRepair) => Step::Done(match &task.doc.report {
            Some(report) => format!("The VM is removed. {report}"),
            None => "The VM is removed.".into(),
        }),
        (None, _) => Step::Failed(Error::not_found("VM", &task.object_name)),
    }
}

/// Whether the host has already brought about what this task wants: then a cancel comes too late.
fn is_reached(task: &Task, vm: &Vm) -> bool {
    vm.observed.generation >= vm.generation.max(task.doc.generation) && vm.observed.settled && vm.observed.error.is_none()
}

/// Points of no return that come before the end (see [`super::point_of_no_return`]).
fn past_no_return(task: &Task, vm: &Vm) -> bool {
    let told = vm.observed.generation >= vm.generation;
    match task.kind {
        TaskKind::VmDelete | TaskKind::SnapshotDelete | TaskKind::VmConsolidate => told,
        TaskKind::VmStop => told && vm.stop_mode == StopMode::Force,
        kind => is_finished_edit(kind, vm),
    }
}

/// Back to where it was: a new desired state, which the ordinary code brings about.
fn undo(task: &Task, vm: &Vm, why: Undo, now: Time) -> Step {
    let former = match task.doc.former_desired.unwrap_or(vm.desired) {
        // Whether it went off nobody can say, and its memory may have been given to others when it was seen to be off.
        d if d.is_active() && !vm.desired.is_active() && vm.observed.state == VmState::Unknown => {
            if now.millis_since(task.created_at) <= SILENT_HOST_PATIENCE_MS {
                return Step::Wait { ms: POLL_MS, why: "the host's hypervisor does not answer; waiting".into(), progress: None };
            }
            Desired::Stopped
        }
        // The guest went off by itself meanwhile (its host lost its power): the way back starts nothing. Nobody asked for
        // that, and its memory may have been given to others since.
        d if d.is_active() && vm.observed.state == VmState::Stopped => Desired::Stopped,
        d => d,
    };
    let (desired, former_spec) = match task.kind {
        TaskKind::VmCreate | TaskKind::VmClone => (Desired::Absent, false),
        TaskKind::SnapshotRevert | TaskKind::VmRefresh => (former, true),
        kind if is_edit(kind) => (vm.desired, true),
        // Reached by nothing else: repair has no former state and delete of a told host has no way back.
        TaskKind::VmRepair => (vm.desired, false),
        _ => (former, false),
    };
    Step::Write(Write::Undo { why, desired, former_spec })
}

/// Whether the task changes the specification.
fn is_edit(kind: TaskKind) -> bool {
    use TaskKind as K;
    is_merge(kind) || matches!(kind, K::VmEdit | K::SnapshotCreate | K::SnapshotRevert | K::VmFreeze | K::VmRefresh | K::VmConvert | K::VmExport)
}

/// Whether the task is there to merge layers.
fn is_merge(kind: TaskKind) -> bool {
    matches!(kind, TaskKind::SnapshotDelete | TaskKind::VmConsolidate)
}

/// Whether the specification is changed for good, so that there is nothing to go back to: only files are tidied up still.
fn is_finished_edit(kind: TaskKind, vm: &Vm) -> bool {
    is_edit(kind) && vm.former_spec.is_none()
}

/// The host says that it cannot.
pub(super) fn host_failed(task: &Task, vm: &Vm, e: &Error, now: Time) -> Step {
    match (&task.doc.undo, task.kind) {
        // Not even the way back works: say both, and leave the rest to the repair loop and to people.
        (Some(Undo::Failed(first)), _) => Step::Failed(Error { message: format!("{} Going back failed, too: {}", first.message, e.message), ..first.clone() }),
        (Some(Undo::Cancelled), _) => Step::Failed(Error { message: format!("The task was stopped, but going back failed: {}", e.message), ..e.clone() }),
        // What is merged half way cannot be parted again: the rows say what is to be, and asking anew goes on with it.
        (None, kind) if is_merge(kind) && past_no_return(task, vm) => {
            if vm.former_spec.is_some() {
                Step::Write(Write::FinishEdit)
            } else {
                Step::Failed(e.clone())
            }
        }
        (None, kind) if is_finished_edit(kind, vm) => Step::Failed(e.clone()),
        (None, TaskKind::VmDelete | TaskKind::VmRepair) => Step::Failed(e.clone()),
        (None, _) => undo(task, vm, Undo::Failed(e.clone()), now),
    }
}

/// Whether the host has not the export that is wanted.
fn lacks_export(vm: &Vm) -> bool {
    let there = vm.observed.exported.as_ref().map(|e| e.id);
    vm.former_spec.is_some() && vm.spec.export.as_ref().is_some_and(|e| there != Some(e.id))
}

/// The host has settled the row's generation.
fn settled(task: &Task, vm: &Vm, now: Time) -> Step {
    if vm.desired == Desired::Absent {
        return Step::Write(Write::RemoveVm);
    }
    if task.kind == TaskKind::VmExport && task.doc.undo.is_none() && lacks_export(vm) {
        let e = Error::conflict("The host made no export: the guest was not off, or a disk is gone.").with_hint("Switch the VM off and export it again.");
        return undo(task, vm, Undo::Failed(e), now);
    }
    // The host is also done with the files of disks that left, or whose space was wanted back.
    if vm.former_spec.is_some() || !vm.spec.disk_work.is_none() {
        return Step::Write(Write::FinishEdit);
    }
    if vm.spec.disks.iter().any(|d| d.copy_of.is_some()) {
        return Step::Write(Write::FinishCopy);
    }
    match &task.doc.undo {
        // Nobody can take back that a guest was asked to shut down: if it goes down now, that shows as drift.
        Some(Undo::Cancelled) if task.kind == TaskKind::VmStop => {
            Step::Cancelled("Stopped. The guest may have been asked already, and may still shut down by itself.".into())
        }
        Some(Undo::Cancelled) => Step::Cancelled("Stopped; the VM is as before.".into()),
        Some(Undo::Failed(e)) => Step::Failed(e.clone()),
        None => match &vm.observed.merge_error {
            Some(e) if is_merge(task.kind) => Step::Failed(e.clone()),
            _ => Step::Done(done_text(task, vm)),
        },
    }
}

fn done_text(task: &Task, vm: &Vm) -> String {
    if task.kind == TaskKind::VmEdit && !vm.observed.pending.is_empty() {
        return format!("Changed. After the next start: {}.", vm.observed.pending.join("; "));
    }
    if !vm.desired.is_met_by(vm.observed.state) {
        return format!("Done; since then the guest has become {}.", vm.observed.state);
    }
    match task.kind {
        TaskKind::VmEdit => edit_done(task, vm),
        TaskKind::VmRepair => "The host is as the rows say.".into(),
        TaskKind::SnapshotCreate => "The snapshot is taken.".into(),
        TaskKind::SnapshotRevert => format!("The VM is at the snapshot; it is {}.", vm.observed.state),
        TaskKind::SnapshotDelete => "The snapshot is deleted.".into(),
        TaskKind::VmFreeze => "The disks are frozen for the clones.".into(),
        TaskKind::VmConsolidate => "The layers that nothing needs are merged.".into(),
        TaskKind::VmRefresh => format!("The VM is at its restore point; it is {}.", vm.observed.state),
        TaskKind::VmConvert if vm.spec.template => "The VM is a template.".into(),
        TaskKind::VmConvert => "The template is a VM.".into(),
        TaskKind::VmClone if vm.spec.template => "The template is there.".into(),
        TaskKind::VmExport if vm.spec.export.is_some() => "The export is ready.".into(),
        TaskKind::VmExport => "The export is removed.".into(),
        _ => format!("The VM is {}.", vm.observed.state),
    }
}

/// What an edit brought about, with what the host tells of the files of disks.
fn edit_done(task: &Task, vm: &Vm) -> String {
    let done = &vm.observed.disk_work;
    if let Some(r) = done.reclaimed.as_ref().filter(|r| task.doc.reclaim == Some(r.generation)) {
        return match r.bytes {
            0 => "Nothing came back: the disk takes no more than it needs.".into(),
            bytes => format!("{} came back to the store.", virga_model::size::human(bytes)),
        };
    }
    if let Some(report) = &task.doc.report {
        return format!("Changed. {report}");
    }
    if task.doc.erase && !done.erased.is_empty() { format!("Changed. {}", done.erased_text()) } else { "Changed.".into() }
}

/// A VM that was never placed, or whose host was removed: only rows are concerned.
fn without_host(task: &Task, vm: &Vm) -> Step {
    match (vm.desired, task.kind) {
        (Desired::Absent, _) => Step::Write(Write::RemoveVm),
        _ if is_edit(task.kind) && vm.former_spec.is_some() => Step::Write(Write::FinishEdit),
        _ if is_edit(task.kind) => Step::Done("Changed.".into()),
        _ => match &task.doc.undo {
            Some(Undo::Cancelled) => Step::Cancelled("Stopped; the VM is as before.".into()),
            Some(Undo::Failed(e)) => Step::Failed(e.clone()),
            None => Step::Failed(Error::conflict("The VM is on no host.").with_hint("Delete it, or create it anew.")),
        },
    }
}

/// What to do when the host does not report; nothing when it does.
fn reachable(task: &Task, vm: &Vm, host: &HostFact, now: Time) -> Option<Step> {
    if host.state == HostState::Up {
        return None;
    }
    let rest = "the host does not report; the rest follows when it is back";
    Some(match &task.doc.undo {
        Some(Undo::Cancelled) => Step::Cancelled(format!("Stopped; {rest}.")),
        Some(Undo::Failed(e)) => Step::Failed(e.clone()),
        // A removal waits as long as it takes, or until somebody stops it.
        None if task.kind != TaskKind::VmDelete && now.millis_since(task.created_at) > SILENT_HOST_PATIENCE_MS => host_failed(task, vm, &silent(), now),
        None => Step::Wait { ms: POLL_MS, why: "the host does not report; waiting for it".into(), progress: None },
    })
}

/// Texts of tasks on VMs name no host: tenants read them, and tenants never see hosts.
fn silent() -> Error {
    Error::unavailable("The VM's host has not reported for more than ten minutes.")
        .with_hint("Check the host and its virga-agent; nothing can be said about its VMs until it reports.")
}

/// A graceful stop whose time is over.
fn shutdown_overdue(task: &Task, vm: &Vm, now: Time) -> Option<Step> {
    let asked = task.kind == TaskKind::VmStop && vm.stop_mode == StopMode::Graceful && task.doc.undo.is_none() && vm.desired == Desired::Stopped;
    let limit = i64::from(task.doc.timeout_s) * 1000;
    let since = now.millis_since(task.started_at.unwrap_or(task.created_at));
    // A guest that is off is down, however it came to be: the host only has to say so.
    if !asked || limit == 0 || since < limit || vm.observed.state == VmState::Stopped {
        return None;
    }
    if task.doc.then_force {
        return Some(Step::Write(Write::ForceStop));
    }
    let e = Error::host(format!("The guest did not shut down within {} s; it goes on running.", task.doc.timeout_s))
        .with_hint("Shut it down from inside, or cut its power: virga vm shutdown --force.");
    Some(undo(task, vm, Undo::Failed(e), now))
}

fn waiting_for(task: &Task, vm: &Vm) -> &'static str {
    match task.kind {
        TaskKind::SnapshotCreate if task.doc.undo.is_none() => return "the host freezes the disks",
        TaskKind::SnapshotRevert if task.doc.undo.is_none() => return "the host goes back to the snapshot",
        TaskKind::SnapshotDelete => return "the host merges what only the snapshot needs",
        TaskKind::VmFreeze if task.doc.undo.is_none() => return "the host freezes the disks",
        TaskKind::VmConsolidate => return "the host merges what no clone needs any more",
        TaskKind::VmRefresh if task.doc.undo.is_none() => return "the host goes back to the restore point",
        TaskKind::VmClone if task.doc.undo.is_none() => return "the host makes the clone",
        TaskKind::VmConvert => return "the host converts the VM",
        TaskKind::VmExport if vm.spec.export.is_some() => return "the host copies the disks",
        TaskKind::VmExport => return "the host removes the export",
        TaskKind::VmEdit => return "the host changes the VM",
        _ => {}
    }
    match vm.desired {
        Desired::Running => "the host starts the guest",
        Desired::Paused => "the host holds the guest",
        Desired::Hibernated => "the host saves the guest's memory",
        Desired::Stopped if vm.stop_mode == StopMode::Graceful => "the guest was asked to shut down",
        Desired::Stopped => "the host prepares the VM",
        Desired::Absent => "the host removes the VM",
    }
}
