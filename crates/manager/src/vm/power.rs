//! Power: which action is possible in which state, what it asks for, and the removal of VMs.

use super::{Change, Room, conclude, device, free, load_for_change, not_going, step, transaction};
use crate::http::Op;
use virga_api::v1::{Accepted, PowerAction, PowerRequest};
use virga_model::Error;
use virga_model::disk::Erase;
use virga_model::refusal::Reason;
use virga_model::role::Privilege;
use virga_model::task::{TaskDoc, TaskKind};
use virga_model::vm::{Desired, StopMode, Vm, VmState};
use virga_store::Tx;

/// Seconds that a guest may take to shut down when nobody says.
const TIMEOUT_SECONDS: u32 = 120;
/// Most seconds.
const TIMEOUT_SECONDS_MAX: u32 = 3600;

/// What an action means in a state.
#[derive(Debug, PartialEq, Eq)]
enum Meaning {
    /// It is so already.
    Already(&'static str),
    /// Another power state is wanted.
    Want(Desired, TaskKind, &'static str),
    /// Something happens once to the running guest.
    Act(TaskKind, &'static str),
    /// Not possible, and what to do instead.
    No(&'static str, &'static str),
}

/// The table. `settled` means that nothing else was asked for than what is there.
fn meaning(action: PowerAction, state: VmState, desired: Desired) -> Meaning {
    use Meaning::{Act, Already, No, Want};
    use PowerAction as A;
    use TaskKind as K;
    use VmState as S;
    let met = desired.is_met_by(state);
    match (action, state) {
        (A::Start | A::Wake, S::Running) if met => Already("it runs already"),
        (A::Start | A::Wake, S::Paused) => No("is paused", "Let it go on with the action resume."),
        (A::Start | A::Wake, S::Crashed) => No("was stopped by an error of its host or guest", "Cut its power first with the action force_off, then start it."),
        (A::Wake, S::Hibernated) => Want(Desired::Running, K::VmStart, "wake it from hibernation"),
        (A::Wake, _) => No("is not hibernated", "Use the action start."),
        (A::Start, S::Hibernated) => Want(Desired::Running, K::VmStart, "start it; it goes on where it was"),
        (A::Start, _) => Want(Desired::Running, K::VmStart, "start it"),

        (A::Shutdown | A::ForceOff, S::Stopped) if met => Already("it is switched off already"),
        (A::Shutdown, S::Paused) => No("is paused, so its guest cannot answer", "Let it go on with resume, or cut its power with force_off."),
        (A::Shutdown, S::Hibernated) => No("is hibernated, so no guest runs", "Wake it first, or throw its saved memory away with force_off."),
        (A::Shutdown, S::Crashed) => No("was stopped by an error, so its guest cannot answer", "Cut its power with force_off."),
        (A::Shutdown, _) => Want(Desired::Stopped, K::VmStop, "ask the guest to shut down"),
        (A::ForceOff, S::Hibernated) => Want(Desired::Stopped, K::VmStop, "throw the saved memory away; unsaved data of the guest is lost"),
        (A::ForceOff, _) => Want(Desired::Stopped, K::VmStop, "cut the power; unsaved data of the guest is lost"),

        (A::Reboot, S::Running) => Act(K::VmReboot, "ask the guest to restart"),
        (A::Reset, S::Running) => Act(K::VmReset, "press the reset button; unsaved data of the guest is lost"),
        (A::Reboot | A::Reset | A::Pause | A::Hibernate, S::Unknown) => {
            No("is in an unknown state, because its host does not report", "Try again when the host is back.")
        }
        (A::Reboot | A::Reset, _) => No("does not run", "Start it instead."),

        (A::Pause, S::Paused) if met => Already("it is paused already"),
        (A::Pause, S::Running | S::Paused) => Want(Desired::Paused, K::VmPause, "hold its vCPUs"),
        (A::Pause, _) => No("does not run", "Only a running VM can be paused."),
        (A::Resume, S::Running) if met => Already("it runs already"),
        (A::Resume, S::Paused | S::Running) => Want(Desired::Running, K::VmResume, "let its vCPUs go on"),
        (A::Resume, _) => No("is not paused", "Use the action start."),
        (A::Hibernate, S::Hibernated) if met => Already("it is hibernated already"),
        (A::Hibernate, S::Running | S::Hibernated) => Want(Desired::Hibernated, K::VmHibernate, "save its memory to disk, then switch it off"),
        (A::Hibernate, S::Paused) => No("is paused", "Let it go on with resume first."),
        (A::Hibernate, _) => No("does not run", "Only a running VM can be hibernated."),
    }
}

/// Starts, stops, restarts, holds or hibernates a VM.
///
/// # Errors
/// NotFound, Forbidden, Conflict with what to do instead, Locked, NoCapacity, PreconditionFailed.
pub async fn power(op: &Op, name: &str, b: &PowerRequest, dry_run: bool) -> Result<Accepted, Error> {
    let mut tx = transaction(op, dry_run).await?;
    let vm = load_for_change(op, &mut tx, name, Privilege::VmOperate).await?;
    let change = decide(op, &mut tx, &mut Room::default(), vm, b).await?;
    conclude(op, tx, change, dry_run).await
}

/// The change that a power action means; reads only.
pub(crate) async fn decide(op: &Op, tx: &mut Tx, room: &mut Room, vm: Vm, b: &PowerRequest) -> Result<Change, Error> {
    let timeout_s = b.timeout_s.unwrap_or(TIMEOUT_SECONDS);
    if !(1..=TIMEOUT_SECONDS_MAX).contains(&timeout_s) {
        return Err(Error::invalid("timeout_s", format!("must be 1 to {TIMEOUT_SECONDS_MAX} seconds")));
    }
    not_going(&vm)?;
    free(tx, &vm).await?;
    let graceful = matches!(b.action, PowerAction::Shutdown | PowerAction::Reboot);
    let doc = TaskDoc { timeout_s: if graceful { timeout_s } else { 0 }, then_force: graceful && b.then_force, ..TaskDoc::default() };
    match meaning(b.action, vm.observed.state, vm.desired) {
        Meaning::Already(why) => Ok(Change::already(vm, why)),
        Meaning::No(what, hint) => Err(Error::conflict(format!("VM {} {what}.", vm.name)).with_hint(hint)),
        Meaning::Act(kind, what) => {
            let doc = TaskDoc { generation: vm.generation, ..doc };
            Ok(Change { after: vm.clone(), before: vm, task: Some((kind, doc)), plan: vec![step(what)], detail: what.into() })
        }
        Meaning::Want(desired, kind, what) => {
            if desired == Desired::Running {
                room.fits(op, tx, &vm, &vm.spec, true, can_start).await?;
            }
            Ok(want(vm, desired, kind, what, b, doc))
        }
    }
}

/// Maintenance keeps new VMs away; those that are there may be started.
fn can_start(r: &Reason) -> bool {
    !matches!(r, Reason::Maintenance)
}

fn want(vm: Vm, desired: Desired, kind: TaskKind, what: &str, b: &PowerRequest, doc: TaskDoc) -> Change {
    let mut after = vm.clone();
    after.desired = desired;
    after.stop_mode = if b.action == PowerAction::Shutdown { StopMode::Graceful } else { StopMode::Force };
    after.generation += 1;
    let doc = TaskDoc { generation: after.generation, former_desired: Some(vm.desired), ..doc };
    let mut plan = vec![step(what)];
    if b.action == PowerAction::Shutdown {
        let then = if b.then_force { "cut its power" } else { "give up, and leave it running" };
        plan.push(step(format!("if the guest has not shut down after {} s: {then}", doc.timeout_s)));
    }
    Change { before: vm, after, task: Some((kind, doc)), plan, detail: what.into() }
}

/// Removes a VM with its disks.
///
/// # Errors
/// NotFound, Forbidden, Conflict for a running VM without `force`, Locked, PreconditionFailed.
pub async fn delete(op: &Op, name: &str, force: bool, erase: Erase, dry_run: bool) -> Result<Accepted, Error> {
    let mut tx = transaction(op, dry_run).await?;
    let vm = load_for_change(op, &mut tx, name, Privilege::VmDelete).await?;
    let change = decide_delete(op, &mut tx, vm, force, erase).await?;
    conclude(op, tx, change, dry_run).await
}

/// The change that a removal means; reads only.
pub(crate) async fn decide_delete(op: &Op, tx: &mut Tx, vm: Vm, force: bool, erase: Erase) -> Result<Change, Error> {
    free(tx, &vm).await?;
    let what = format!("{} {}", if vm.spec.template { "Template" } else { "VM" }, vm.name);
    super::clone::ensure_none(Some(op), tx, &vm, |_| true, &what).await?;
    let may_run = vm.desired.is_active() || matches!(vm.observed.state, VmState::Running | VmState::Paused | VmState::Crashed | VmState::Unknown);
    // A removal that did not come to its end (its host was lost) can be asked for again.
    if may_run && !force && vm.desired != Desired::Absent {
        return Err(Error::conflict(format!("VM {} is {} (desired: {}).", vm.name, vm.observed.state, vm.desired))
            .with_hint("Stop it first, or repeat with force=true to cut its power."));
    }
    if erase == Erase::Secure {
        super::export::none_there(&vm)?;
    }
    let mut after = vm.clone();
    (after.desired, after.stop_mode) = (Desired::Absent, StopMode::Force);
    after.generation += 1;
    device::leave_with(tx, &mut after, erase).await?;
    let secure = erase == Erase::Secure;
    // VM-29: said, and no reason to refuse.
    let normal = secure && after.spec.disk_work.leaving.iter().any(|l| l.erase == Erase::Normal);
    let report = normal.then(|| "Disks on network stores were removed and not overwritten (VM-29).".to_string());
    let doc = TaskDoc { generation: after.generation, former_desired: Some(vm.desired), erase: secure, report, ..TaskDoc::default() };
    let mut plan = Vec::new();
    if may_run {
        plan.push(step("cut its power"));
    }
    let size = virga_model::size::human(vm.spec.disk_bytes());
    if secure {
        plan.push(step("overwrite the files that only its disks own; the task tells what could not be wiped"));
    }
    plan.push(step(format!("remove its {} disks ({size}) for good", vm.spec.disks.len())));
    plan.push(step("remove the VM"));
    let detail = if secure { "removal asked for, with its data overwritten" } else { "removal asked for" };
    Ok(Change { before: vm, after, task: Some((TaskKind::VmDelete, doc)), plan, detail: detail.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACTIONS: [PowerAction; 9] = [
        PowerAction::Start,
        PowerAction::Shutdown,
        PowerAction::ForceOff,
        PowerAction::Reboot,
        PowerAction::Reset,
        PowerAction::Pause,
        PowerAction::Resume,
        PowerAction::Hibernate,
        PowerAction::Wake,
    ];

    #[test]
    fn the_power_table() {
        use PowerAction as A;
        use TaskKind as K;
        use VmState as S;
        let kind = |a, s, d| match meaning(a, s, d) {
            Meaning::Want(d, k, _) => format!("{k} {d}"),
            Meaning::Act(k, _) => k.to_string(),
            Meaning::Already(_) => "already".into(),
            Meaning::No(..) => "no".into(),
        };
        for (a, s, d, expected) in [
            (A::Start, S::Stopped, Desired::Stopped, format!("{} running", K::VmStart)),
            (A::Start, S::Stopped, Desired::Running, format!("{} running", K::VmStart)),
            (A::Start, S::Running, Desired::Running, "already".into()),
            (A::Start, S::Paused, Desired::Paused, "no".into()),
            (A::Shutdown, S::Running, Desired::Running, format!("{} stopped", K::VmStop)),
            (A::Shutdown, S::Stopped, Desired::Stopped, "already".into()),
            (A::Shutdown, S::Stopped, Desired::Running, format!("{} stopped", K::VmStop)),
            (A::Shutdown, S::Paused, Desired::Paused, "no".into()),
            (A::ForceOff, S::Paused, Desired::Paused, format!("{} stopped", K::VmStop)),
            (A::Reboot, S::Running, Desired::Running, K::VmReboot.to_string()),
            (A::Reset, S::Stopped, Desired::Stopped, "no".into()),
            (A::Pause, S::Running, Desired::Running, format!("{} paused", K::VmPause)),
            (A::Resume, S::Paused, Desired::Paused, format!("{} running", K::VmResume)),
            (A::Hibernate, S::Running, Desired::Running, format!("{} hibernated", K::VmHibernate)),
            (A::Wake, S::Hibernated, Desired::Hibernated, format!("{} running", K::VmStart)),
            (A::Wake, S::Stopped, Desired::Stopped, "no".into()),
        ] {
            assert_eq!(kind(a, s, d), expected, "{a:?} when {s} and desired {d}");
        }
    }

    #[test]
    fn nothing_is_concluded_from_an_unknown_state() {
        for a in ACTIONS {
            assert!(!matches!(meaning(a, VmState::Unknown, Desired::Running), Meaning::Already(_)), "{a:?}");
        }
    }
}
