//! Claims due tasks, asks `decide::task::next`, does the one step it names, and asks again.
//!
//! No lock is held between two steps and nothing is remembered: a runner that is killed anywhere loses a lease of thirty
//! seconds, and any manager goes on. What may run at the same time is bounded here, in one place.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use virga_decide::task::{Facts, Step, Write, next};
use virga_model::order::Progress;
use virga_model::task::{Task, TaskState};
use virga_model::{Error, ErrorCode, TaskId};
use virga_store::StoreError;

use super::act;
use crate::state::{Manager, lock};

/// Tasks that one manager works on at the same time.
pub const TASKS_AT_ONCE: u32 = 64;
/// Seconds of a lease; longer than any single step ([`act::CALL_DEADLINE_MS`]).
const LEASE_SECONDS: i64 = 30;
/// Longest sleep when nothing is due by this manager's knowledge; others may have made tasks.
const IDLE: Duration = Duration::from_secs(1);
/// First wait after a call that did not get through; doubles up to [`BACKOFF_MS_MAX`].
const BACKOFF_MS: i64 = 500;
/// Longest such wait.
const BACKOFF_MS_MAX: i64 = 15_000;
/// Steps of a task without a pause; more would be a circle in `next`.
const STEPS_MAX: usize = 32;

/// Works on due tasks until `stop`.
pub async fn run(manager: Arc<Manager>, mut stop: watch::Receiver<bool>) {
    let at_work: Arc<Mutex<HashSet<TaskId>>> = Arc::default();
    while !*stop.borrow() {
        let room = TASKS_AT_ONCE.saturating_sub(u32::try_from(lock(&at_work).len()).unwrap_or(u32::MAX));
        match claim(&manager, room).await {
            Ok(tasks) => {
                for task in tasks {
                    spawn(&manager, &at_work, task);
                }
            }
            Err(e) => tracing::warn!(error = %e, "tasks cannot be claimed"),
        }
        let idle = idle_time(&manager).await;
        tokio::select! {
            () = tokio::time::sleep(idle) => {}
            () = manager.runner.notified() => {}
            _ = stop.wait_for(|s| *s) => {}
        }
    }
}

fn spawn(manager: &Arc<Manager>, at_work: &Arc<Mutex<HashSet<TaskId>>>, task: Task) {
    if !lock(at_work).insert(task.id) {
        return;
    }
    let (manager, at_work) = (manager.clone(), at_work.clone());
    tokio::spawn(async move {
        let id = task.id;
        if let Err(e) = work(&manager, task).await {
            // The lease runs out and the task is looked at again.
            tracing::warn!(task = %id, error = %e, "a task could not be worked on");
        }
        lock(&at_work).remove(&id);
        manager.runner.notify_one();
    });
}

async fn claim(manager: &Manager, room: u32) -> Result<Vec<Task>, StoreError> {
    if room == 0 {
        return Ok(Vec::new());
    }
    let now = manager.now();
    // A look costs a read; only what is due costs a write.
    let mut tx = manager.store.read().await?;
    let due = virga_store::task::next_due(&mut tx, now).await?;
    drop(tx);
    if due.is_none_or(|t| t > now) {
        return Ok(Vec::new());
    }
    let mut tx = manager.store.write().await?;
    let tasks = virga_store::task::claim(&mut tx, &manager.instance, now, now.plus_seconds(LEASE_SECONDS), room).await?;
    tx.commit().await?;
    Ok(tasks)
}

async fn idle_time(manager: &Manager) -> Duration {
    let now = manager.now();
    let due = async {
        let mut tx = manager.store.read().await?;
        virga_store::task::next_due(&mut tx, now).await
    };
    match due.await {
        Ok(Some(t)) if t > now => Duration::from_millis(u64::try_from(t.millis_since(now)).unwrap_or(0).saturating_add(1)).min(IDLE),
        // Due now, but not claimed: all places are taken, and the one that ends wakes us.
        _ => IDLE,
    }
}

/// Works on a task until it has ended or has to wait.
async fn work(manager: &Manager, mut task: Task) -> Result<(), Error> {
    if task.state == TaskState::Queued {
        task.state = TaskState::Running;
        task.started_at = Some(manager.now());
        save(manager, &mut task, None, None).await?;
    }
    for _ in 0..STEPS_MAX {
        let mut tx = manager.store.read().await?;
        // Somebody may have asked to stop it, and another manager may have taken it over.
        match virga_store::task::get(&mut tx, task.id).await? {
            Some(row) if row.lease_owner.as_deref() == Some(&*manager.instance) && !row.state.is_final() => task.cancel = row.cancel,
            _ => return Ok(()),
        }
        let facts = super::facts::gather(manager, &mut tx, &task).await?;
        drop(tx);
        let step = next(&task, &facts, manager.now());
        tracing::debug!(task = %task.id, kind = %task.kind, ?step, "next step");
        match step {
            Step::Wait { ms, why, progress } => return wait(manager, &mut task, ms, why, progress).await,
            Step::Call(call) => match act::call(manager, &task, &facts, &call).await {
                Ok(()) => task.attempt = 0,
                Err(e) if e.code.retryable() => return back_off(manager, &mut task, &e).await,
                Err(e) => return end(manager, &mut task, &facts, TaskState::Failed, String::new(), Some(e)).await,
            },
            Step::Write(w) => match save(manager, &mut task, Some((&facts, &w)), None).await {
                Ok(()) => {}
                Err(e) if e.code == ErrorCode::PreconditionFailed => {}
                Err(e) => return Err(e),
            },
            Step::Done(text) => return end(manager, &mut task, &facts, TaskState::Succeeded, text, None).await,
            Step::Cancelled(text) => return end(manager, &mut task, &facts, TaskState::Cancelled, text, None).await,
            Step::Failed(e) => return end(manager, &mut task, &facts, TaskState::Failed, String::new(), Some(e)).await,
        }
    }
    tracing::error!(task = %task.id, kind = %task.kind, "a task takes more steps than it should; it is looked at again later");
    wait(manager, &mut task, BACKOFF_MS_MAX, "is looked at again".into(), None).await
}

/// Gives the task back until later.
async fn wait(manager: &Manager, task: &mut Task, ms: i64, why: String, progress: Option<Progress>) -> Result<(), Error> {
    task.message = why;
    task.progress = progress.unwrap_or_else(|| Progress { step: task.message.clone(), ..Progress::default() });
    task.not_before = manager.now().plus_millis(ms);
    let owner = task.lease_owner.take();
    task.lease_until = None;
    save_row(manager, task, owner.as_deref(), None, None).await
}

async fn back_off(manager: &Manager, task: &mut Task, e: &Error) -> Result<(), Error> {
    task.attempt = task.attempt.saturating_add(1);
    let ms = BACKOFF_MS.saturating_mul(1 << task.attempt.min(6)).min(BACKOFF_MS_MAX);
    wait(manager, task, ms, format!("{} Trying again.", e.message), None).await
}

/// Ends the task, with its event, and wakes the batch it belongs to.
async fn end(manager: &Manager, task: &mut Task, facts: &Facts, state: TaskState, text: String, error: Option<Error>) -> Result<(), Error> {
    task.state = state;
    task.message = error.as_ref().map_or(text, |e| e.message.clone());
    task.error = error;
    task.ended_at = Some(manager.now());
    if state == TaskState::Succeeded {
        let total = task.progress.total.max(1);
        task.progress = Progress { step: String::new(), done: total, total, unit: task.progress.unit.clone() };
    }
    save(manager, task, None, Some(facts)).await
}

/// Writes the task and, in the same transaction, the change of rows and the event of its end.
async fn save(manager: &Manager, task: &mut Task, change: Option<(&Facts, &Write)>, ended: Option<&Facts>) -> Result<(), Error> {
    let owner = task.lease_owner.clone();
    task.lease_until = Some(manager.now().plus_seconds(LEASE_SECONDS));
    save_row(manager, task, owner.as_deref(), change, ended).await
}

async fn save_row(manager: &Manager, task: &mut Task, owner: Option<&str>, change: Option<(&Facts, &Write)>, ended: Option<&Facts>) -> Result<(), Error> {
    let owner = owner.unwrap_or_default();
    let before = task.doc.clone();
    let mut tx = manager.store.write().await?;
    let written = async {
        if let Some((facts, write)) = change {
            act::write(manager, &mut tx, task, facts, write).await?;
        }
        virga_store::task::save(&mut tx, task, owner).await?;
        if let Some(facts) = ended {
            let text = format!("Task {} of {} {}: {}", task.kind, task.object_name, task.state, task.message);
            act::event(manager, &mut tx, task, "task.ended", facts.vm.as_ref(), text).await?;
            if let Some(parent) = task.parent {
                virga_store::task::wake_task(&mut tx, parent).await?;
            }
        }
        Ok::<(), Error>(())
    };
    match written.await {
        Ok(()) => {
            tx.commit().await?;
            manager.committed();
            Ok(())
        }
        Err(e) => {
            task.doc = before;
            Err(e)
        }
    }
}
