//! One look at a task, within a transaction that somebody else opened: what is true, what comes next, and, where nothing
//! has to be done outside the database, the writing of that.
//!
//! So a transaction that changes what a task waits for, or claims many tasks, also moves them on: a power task that was
//! asked for, told to its host and reported as done needs no transaction between those for itself. Nothing here opens or
//! commits a transaction, calls an agent, or works without the lease.

use virga_decide::task::{Facts, Step, next};
use virga_model::Error;
use virga_model::order::Progress;
use virga_model::task::{ObjectRef, Task, TaskKind, TaskState};
use virga_store::Tx;

use super::act::{self, Addressed};
use super::runner::{HOLD_AGAIN_MS, LEASE_SECONDS};
use crate::state::Manager;

/// What a look at a task found.
pub(super) enum Look {
    /// It has ended, or is somebody else's by now.
    Gone,
    /// The lease must be drawn out before anything is begun.
    Hold,
    /// The next step, decided from these facts.
    Next(Box<Next>),
}

/// A step with what it was decided from.
pub(super) struct Next {
    /// What was true.
    pub facts: Facts,
    /// The step.
    pub step: Step,
    /// For a call: to whom, and with what.
    pub call: Option<Addressed>,
}

/// Looks at a task that this manager holds.
pub(super) async fn look(manager: &Manager, tx: &mut Tx, task: &mut Task) -> Result<Look, Error> {
    // Somebody may have asked to stop it, and another manager may have taken it over.
    match virga_store::task::get(tx, task.id).await? {
        Some(row) if row.lease_owner.as_deref() == Some(&*manager.instance) && !row.state.is_final() => task.cancel = row.cancel,
        _ => return Ok(Look::Gone),
    }
    if task.lease_until.is_none_or(|t| t.millis_since(manager.now()) < HOLD_AGAIN_MS) {
        return Ok(Look::Hold);
    }
    decide(manager, tx, task).await.map(Look::Next)
}

/// Decides from what is true now; the task is as its row.
async fn decide(manager: &Manager, tx: &mut Tx, task: &Task) -> Result<Box<Next>, Error> {
    let (facts, host) = super::facts::gather(manager, tx, task).await?;
    let step = next(task, &facts, manager.now());
    tracing::debug!(task = %task.id, kind = %task.kind, ?step, "next step");
    let call = match &step {
        Step::Call(call) => Some(act::address(tx, &facts, host, call).await?),
        _ => None,
    };
    Ok(Box::new(Next { facts, step, call }))
}

/// Moves a task on that was claimed in this transaction. None: it has ended or waits, and that is written; else the step
/// that is to be done outside, where it was looked for.
pub(super) async fn claimed(manager: &Manager, tx: &mut Tx, task: &mut Task) -> Result<Option<Option<Box<Next>>>, Error> {
    // What needs to look at many rows does so by itself, without holding up other writers.
    if !matches!(task.object, ObjectRef::Vm(_)) || task.kind == TaskKind::VmBatch {
        return Ok(Some(None));
    }
    let next = decide(manager, tx, task).await?;
    if rest(manager, tx, task, &next).await? { Ok(None) } else { Ok(Some(Some(next))) }
}

/// Writes down a wait or an end; false: the step is another.
pub(super) async fn rest(manager: &Manager, tx: &mut Tx, task: &mut Task, next: &Next) -> Result<bool, Error> {
    match next.step.clone() {
        Step::Wait { ms, why, progress } => wait(manager, tx, task, ms, why, progress).await?,
        Step::Done(text) => end(manager, tx, task, &next.facts, TaskState::Succeeded, text, None).await?,
        Step::Cancelled(text) => end(manager, tx, task, &next.facts, TaskState::Cancelled, text, None).await?,
        Step::Failed(e) => end(manager, tx, task, &next.facts, TaskState::Failed, String::new(), Some(e)).await?,
        Step::Call(_) | Step::Write(_) => return Ok(false),
    }
    Ok(true)
}

/// Gives the task back until later.
pub(super) async fn wait(manager: &Manager, tx: &mut Tx, task: &mut Task, ms: i64, why: String, progress: Option<Progress>) -> Result<(), Error> {
    task.message = why;
    task.progress = progress.unwrap_or_else(|| Progress { step: task.message.clone(), ..Progress::default() });
    task.not_before = manager.now().plus_millis(ms);
    task.lease_until = None;
    let owner = task.lease_owner.take().unwrap_or_default();
    Ok(virga_store::task::save(tx, task, &owner).await?)
}

/// Ends the task, with its event, and wakes the batch it belongs to.
pub(super) async fn end(
    manager: &Manager,
    tx: &mut Tx,
    task: &mut Task,
    facts: &Facts,
    state: TaskState,
    text: String,
    error: Option<Error>,
) -> Result<(), Error> {
    task.state = state;
    task.message = error.as_ref().map_or(text, |e| e.message.clone());
    task.error = error;
    task.ended_at = Some(manager.now());
    if state == TaskState::Succeeded {
        let total = task.progress.total.max(1);
        task.progress = Progress { step: String::new(), done: total, total, unit: task.progress.unit.clone() };
    }
    hold(manager, tx, task).await?;
    let text = format!("Task {} of {} {}: {}", task.kind, task.object_name, task.state, task.message);
    act::event(manager, tx, task, "task.ended", facts.vm.as_ref(), text).await?;
    if let Some(parent) = task.parent {
        virga_store::task::wake_task(tx, parent).await?;
    }
    Ok(())
}

/// Writes the task and draws its lease out.
pub(super) async fn hold(manager: &Manager, tx: &mut Tx, task: &mut Task) -> Result<(), Error> {
    task.lease_until = Some(manager.now().plus_seconds(LEASE_SECONDS));
    let owner = task.lease_owner.clone().unwrap_or_default();
    Ok(virga_store::task::save(tx, task, &owner).await?)
}
