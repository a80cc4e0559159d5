//! Claims due tasks, asks `decide::task::next`, does the one step it names, and asks again.
//!
//! No lock is held between two steps and nothing is remembered: a runner that is killed anywhere loses a lease of thirty
//! seconds, and any manager goes on. What may run at the same time is bounded here, in one place.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use virga_crash::Step as Point;
use virga_decide::task::{Facts, Step, Write, next, refused};
use virga_model::order::Progress;
use virga_model::task::{Task, TaskState};
use virga_model::{Error, ErrorCode, TaskId};
use virga_store::task_claim::{self, Class, Lease, Room};

use super::act;
use super::places::{PARTY_MAX, Places};
use crate::state::{Manager, lock};
use crate::task_new::ALL_TASKS_MAX;
use crate::wall_clock::{self, WallClock};

/// Tasks that one manager works on at the same time.
pub const TASKS_AT_ONCE: u32 = 64;
/// Seconds of a lease; longer than any single step ([`act::CALL_DEADLINE_MS`]).
const LEASE_SECONDS: i64 = 30;
/// Milliseconds of a lease that must be left for a step; else it is drawn out first. As long as a call to an agent.
const HOLD_AGAIN_MS: i64 = act::CALL_DEADLINE_MS.cast_signed();
/// Longest sleep when nothing is due by this manager's knowledge; others may have made tasks.
const IDLE: Duration = Duration::from_secs(1);
/// First wait after a call that did not get through; doubles up to [`BACKOFF_MS_MAX`].
const BACKOFF_MS: i64 = 500;
/// Longest such wait.
const BACKOFF_MS_MAX: i64 = 15_000;
/// Time between two counts of all tasks.
const COUNT_EVERY: Duration = Duration::from_secs(5);
/// Steps of a task without a pause; more would be a circle in `next`.
const STEPS_MAX: usize = 32;

/// Works on due tasks until `stop`.
pub async fn run(manager: Arc<Manager>, mut stop: watch::Receiver<bool>) {
    let places: Arc<Mutex<Places>> = Arc::default();
    let mut counted: Option<Duration> = None;
    let mut clock = WallClock::default();
    while !*stop.borrow() {
        if counted.is_none_or(|at| manager.steady().saturating_sub(at) >= COUNT_EVERY) {
            counted = Some(manager.steady());
            look_at_the_queue(&manager).await;
            if clock.was_set_back(manager.now(), manager.steady())
                && let Err(e) = wall_clock::bring_back(&manager, LEASE_SECONDS).await
            {
                tracing::warn!(error = %e, "times of tasks cannot be brought back");
            }
        }
        match claim(&manager, &places).await {
            Ok(tasks) => {
                for task in tasks {
                    spawn(&manager, &places, task);
                }
            }
            Err(e) => tracing::warn!(error = %e, "tasks cannot be claimed"),
        }
        let idle = idle_time(&manager).await;
        tokio::select! {
            // In this order, not at random: the same simulation takes the same steps.
            biased;
            () = manager.wait(idle) => {}
            () = manager.runner.notified() => {}
            _ = stop.wait_for(|s| *s) => {}
        }
    }
}

/// Whether the installation has as many tasks as it takes.
async fn look_at_the_queue(manager: &Manager) {
    let count = async {
        let mut tx = manager.store.read().await?;
        task_claim::active(&mut tx, ALL_TASKS_MAX).await
    };
    if let Ok(n) = count.await {
        manager.tasks_full.store(n >= ALL_TASKS_MAX, Ordering::Relaxed);
    }
}

/// A task's place; given back however the work on it ends, also by a panic.
struct Place {
    manager: Arc<Manager>,
    places: Arc<Mutex<Places>>,
    id: TaskId,
}

impl Drop for Place {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The lease runs out and the task is looked at again: a panic costs half a minute each time, no more.
            self.manager.panics.count("task");
            tracing::error!(task = %self.id, "work on a task panicked");
        }
        lock(&self.places).give_back(self.id);
        self.manager.runner.notify_one();
    }
}

fn spawn(manager: &Arc<Manager>, places: &Arc<Mutex<Places>>, task: Task) {
    let Some(task) = lock(places).take(task) else { return };
    let place = Place { manager: manager.clone(), places: places.clone(), id: task.id };
    virga_crash::spawn(async move {
        let mut next = Some(task);
        while let Some(task) = next {
            if let Err(e) = work(&place.manager, task).await {
                // The lease runs out and the task is looked at again.
                tracing::warn!(task = %place.id, error = %e, "a task could not be worked on");
            }
            next = lock(&place.places).done(place.id);
        }
    });
}

async fn claim(manager: &Manager, places: &Mutex<Places>) -> Result<Vec<Task>, Error> {
    if lock(places).free(Class::Ha, &[]) == 0 {
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
    let claimed = async {
        let mut tx = manager.store.write().await?;
        let lease = Lease { owner: &manager.instance, now, until: now.plus_seconds(LEASE_SECONDS) };
        let (mut tasks, mut counts) = (Vec::new(), Vec::new());
        for class in Class::ALL {
            let (free, held, mut turn) = {
                let p = lock(places);
                (p.free(class, &counts), p.held(class), p.turn(class))
            };
            // Nobody else can do what high availability does: it is one party, and no party of it waits for another.
            let party_max = if class == Class::Ha { TASKS_AT_ONCE } else { PARTY_MAX };
            let mut got = task_claim::claim(&mut tx, lease, class, Room { places: free, party_max, held: &held }, &mut turn).await?;
            lock(places).served(class, turn);
            counts.push((class, u32::try_from(got.len()).unwrap_or(u32::MAX)));
            tasks.append(&mut got);
        }
        tx.commit().await?;
        Ok(tasks)
    };
    virga_crash::step(Point::TaskClaim, claimed).await
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
        save(manager, &mut task, Point::TaskHold, None, None).await?;
    }
    for _ in 0..STEPS_MAX {
        let mut tx = manager.store.read().await?;
        // Somebody may have asked to stop it, and another manager may have taken it over.
        match virga_store::task::get(&mut tx, task.id).await? {
            Some(row) if row.lease_owner.as_deref() == Some(&*manager.instance) && !row.state.is_final() => task.cancel = row.cancel,
            _ => return Ok(()),
        }
        if task.lease_until.is_none_or(|t| t.millis_since(manager.now()) < HOLD_AGAIN_MS) {
            drop(tx);
            save(manager, &mut task, Point::TaskHold, None, None).await?;
            continue;
        }
        let facts = super::facts::gather(manager, &mut tx, &task).await?;
        drop(tx);
        let mut step = next(&task, &facts, manager.now());
        tracing::debug!(task = %task.id, kind = %task.kind, ?step, "next step");
        if let Step::Call(call) = &step {
            match act::call(manager, &task, &facts, call).await {
                Ok(()) => {
                    task.attempt = 0;
                    continue;
                }
                Err(e) if e.code.retryable() => return back_off(manager, &mut task, &e).await,
                Err(e) => step = refused(&task, &facts, call, &e, manager.now()),
            }
        }
        match step {
            Step::Wait { ms, why, progress } => return wait(manager, &mut task, ms, why, progress).await,
            Step::Call(_) => return Err(Error::internal("A refused call is answered by no other call.")),
            Step::Write(w) => match save(manager, &mut task, Point::TaskWrite, Some((&facts, &w)), None).await {
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
    save_row(manager, task, Point::TaskWait, owner.as_deref(), None, None).await
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
    save(manager, task, Point::TaskEnd, None, Some(facts)).await
}

/// Writes the task and, in the same transaction, the change of rows and the event of its end.
async fn save(manager: &Manager, task: &mut Task, point: Point, change: Option<(&Facts, &Write)>, ended: Option<&Facts>) -> Result<(), Error> {
    let owner = task.lease_owner.clone();
    task.lease_until = Some(manager.now().plus_seconds(LEASE_SECONDS));
    save_row(manager, task, point, owner.as_deref(), change, ended).await
}

async fn save_row(
    manager: &Manager,
    task: &mut Task,
    point: Point,
    owner: Option<&str>,
    change: Option<(&Facts, &Write)>,
    ended: Option<&Facts>,
) -> Result<(), Error> {
    let owner = owner.unwrap_or_default();
    let before = task.doc.clone();
    let written = async {
        let mut tx = manager.store.write().await?;
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
        tx.commit().await?;
        manager.committed();
        Ok(())
    };
    let done = virga_crash::step(point, written).await;
    if done.is_err() {
        task.doc = before;
    }
    done
}
