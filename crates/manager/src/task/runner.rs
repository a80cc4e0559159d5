//! Claims due tasks, asks `decide::task::next`, does the one step it names, and asks again.
//!
//! No lock is held between two steps and nothing is remembered: a runner that is killed anywhere loses a lease of thirty
//! seconds, and any manager goes on. What may run at the same time is bounded here, in one place.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use virga_crash::Step as Point;
use virga_decide::task::{Call, Facts, Step, refused};
use virga_model::order::Progress;
use virga_model::task::Task;
use virga_model::{Error, ErrorCode, TaskId, Time};
use virga_store::Tx;
use virga_store::task_claim::{self, Class, Lease, Room};

use super::act::{self, Addressed};
use super::places::{PARTY_MAX, Places};
use super::turn::{self, Look, Next};
use crate::state::{Manager, lock};
use crate::task_new::ALL_TASKS_MAX;
use crate::wall_clock::{self, WallClock};

/// Tasks that one manager works on at the same time.
pub const TASKS_AT_ONCE: u32 = 64;
/// Seconds of a lease; longer than any single step ([`act::CALL_DEADLINE_MS`]).
pub(super) const LEASE_SECONDS: i64 = 30;
/// Milliseconds of a lease that must be left for a step; else it is drawn out first. As long as a call to an agent.
pub(super) const HOLD_AGAIN_MS: i64 = act::CALL_DEADLINE_MS.cast_signed();
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
        // At every turn: a clock that was ahead for a few seconds only has written wrong times as well.
        let set_back = clock.was_set_back(manager.now(), manager.steady());
        if counted.is_none_or(|at| manager.steady().saturating_sub(at) >= COUNT_EVERY) {
            counted = Some(manager.steady());
            look_at_the_queue(&manager).await;
            if set_back && let Err(e) = wall_clock::bring_back(&manager, LEASE_SECONDS).await {
                tracing::warn!(error = %e, "times of tasks cannot be brought back");
            }
        }
        let idle = match claim(&manager, &places).await {
            Ok((claimed, idle)) => {
                claimed.into_iter().for_each(|c| spawn(&manager, &places, c));
                idle
            }
            Err(e) => {
                tracing::warn!(error = %e, "tasks cannot be claimed");
                IDLE
            }
        };
        if idle.is_zero() {
            continue;
        }
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

fn spawn(manager: &Arc<Manager>, places: &Arc<Mutex<Places>>, claimed: Claimed) {
    let Claimed { task, mut next } = claimed;
    let Some(task) = lock(places).take(task) else { return };
    let place = Place { manager: manager.clone(), places: places.clone(), id: task.id };
    virga_crash::spawn(async move {
        let mut again = Some(task);
        while let Some(task) = again {
            if let Err(e) = work(&place.manager, task, next.take()).await {
                // The lease runs out and the task is looked at again.
                tracing::warn!(task = %place.id, error = %e, "a task could not be worked on");
            }
            again = lock(&place.places).done(place.id);
        }
    });
}

/// A task that was leased and has something to be done, with the step where it was decided.
struct Claimed {
    task: Task,
    next: Option<Box<Next>>,
}

/// Claims what is due. Also answers how long to wait for more, when nobody wakes the runner.
async fn claim(manager: &Manager, places: &Mutex<Places>) -> Result<(Vec<Claimed>, Duration), Error> {
    if lock(places).free(Class::Ha, &[]) == 0 {
        return Ok((Vec::new(), IDLE));
    }
    let now = manager.now();
    // A look costs a read; only what is due costs a write.
    let mut tx = manager.store.read().await?;
    let due = virga_store::task::next_due(&mut tx, now).await?;
    drop(tx);
    if let Some(idle) = idle_time(due, now) {
        return Ok((Vec::new(), idle));
    }
    let claimed = match virga_crash::step(Point::TaskClaim, lease(manager, places, now, true)).await {
        // One of them cannot be looked at: each by itself, so that it is the only one that stands still.
        Err(e) if !e.code.retryable() => {
            tracing::warn!(error = %e, "a claimed task cannot be looked at");
            virga_crash::step(Point::TaskClaim, lease(manager, places, now, false)).await
        }
        done => done,
    }?;
    // More may be due, unless all places are taken: then the one that comes free wakes us.
    let idle = if claimed.is_empty() { IDLE } else { Duration::ZERO };
    Ok((claimed, idle))
}

/// Leases due tasks, class by class, and moves them on in the same transaction: what only waits on or has ended needs no
/// transaction of its own, and no place.
async fn lease(manager: &Manager, places: &Mutex<Places>, now: Time, look: bool) -> Result<Vec<Claimed>, Error> {
    let mut tx = manager.store.write().await?;
    let lease = Lease { owner: &manager.instance, now, until: now.plus_seconds(LEASE_SECONDS) };
    let (mut tasks, mut counts, mut turns) = (Vec::new(), Vec::new(), Vec::new());
    for class in Class::ALL {
        let (free, held, mut turn) = {
            let p = lock(places);
            (p.free(class, &counts), p.held(class), p.turn(class))
        };
        // Nobody else can do what high availability does: it is one party, and no party of it waits for another.
        let party_max = if class == Class::Ha { TASKS_AT_ONCE } else { PARTY_MAX };
        let mut got = task_claim::claim(&mut tx, lease, class, Room { places: free, party_max, held: &held }, &mut turn).await?;
        turns.push((class, turn));
        counts.push((class, u32::try_from(got.len()).unwrap_or(u32::MAX)));
        tasks.append(&mut got);
    }
    let mut claimed = Vec::with_capacity(tasks.len());
    let all = tasks.len();
    for mut task in tasks {
        let next = if look { turn::claimed(manager, &mut tx, &mut task).await? } else { Some(None) };
        if let Some(next) = next {
            claimed.push(Claimed { task, next });
        }
    }
    tx.commit().await?;
    let mut p = lock(places);
    turns.into_iter().for_each(|(class, turn)| p.served(class, turn));
    drop(p);
    if claimed.len() < all {
        // Others may have waited for those that ended, and more may be due than there were places.
        manager.committed();
    }
    Ok(claimed)
}

/// How long to wait until something is due; none: something is.
fn idle_time(due: Option<Time>, now: Time) -> Option<Duration> {
    match due {
        Some(t) if t <= now => None,
        Some(t) => Some(Duration::from_millis(u64::try_from(t.millis_since(now)).unwrap_or(0).saturating_add(1)).min(IDLE)),
        None => Some(IDLE),
    }
}

/// Works on a task until it has ended or has to wait. `next`: what to begin with.
async fn work(manager: &Manager, mut task: Task, mut next: Option<Box<Next>>) -> Result<(), Error> {
    for _ in 0..STEPS_MAX {
        let now = match next.take() {
            Some(now) => now,
            None => {
                let mut tx = manager.store.read().await?;
                let found = turn::look(manager, &mut tx, &mut task).await?;
                drop(tx);
                match found {
                    Look::Gone => return Ok(()),
                    Look::Hold => {
                        save(manager, &mut task, Point::TaskHold, async |tx, task| turn::hold(manager, tx, task).await).await?;
                        continue;
                    }
                    Look::Next(now) => now,
                }
            }
        };
        let Next { facts, mut step, call } = *now;
        if let (Step::Call(call), Some(to)) = (&step, call) {
            match tell(manager, &mut task, &facts, call, to).await {
                Ok(Told::Over) => return Ok(()),
                Ok(Told::Next(then)) => {
                    next = then;
                    continue;
                }
                Err(e) if e.code.retryable() => return back_off(manager, &mut task, &e).await,
                Err(e) => step = refused(&task, &facts, call, &e, manager.now()),
            }
        }
        match step {
            Step::Call(_) => return Err(Error::internal("A refused call is answered by no other call.")),
            Step::Write(w) => {
                let change = async |tx: &mut Tx, task: &mut Task| {
                    act::write(manager, tx, task, &facts, &w).await?;
                    turn::hold(manager, tx, task).await
                };
                match save(manager, &mut task, Point::TaskWrite, change).await {
                    Err(e) if e.code != ErrorCode::PreconditionFailed => return Err(e),
                    _ => {}
                }
            }
            Step::Wait { ms, why, progress } => return wait(manager, &mut task, ms, why, progress).await,
            step => {
                let now = Next { facts, step, call: None };
                return save(manager, &mut task, Point::TaskEnd, async |tx, task| turn::rest(manager, tx, task, &now).await.map(|_| ())).await;
            }
        }
    }
    tracing::error!(task = %task.id, kind = %task.kind, "a task takes more steps than it should; it is looked at again later");
    wait(manager, &mut task, BACKOFF_MS_MAX, "is looked at again".into(), None).await
}

/// How it goes on after a call.
enum Told {
    /// The task has ended or waits.
    Over,
    /// With this step, or with another look.
    Next(Option<Box<Next>>),
}

/// Calls an agent. What it answers about a VM is written down, and the task moved on, in one transaction.
async fn tell(manager: &Manager, task: &mut Task, facts: &Facts, call: &Call, to: Addressed) -> Result<Told, Error> {
    let answer = act::call(manager, task, facts, call, to).await?;
    task.attempt = 0;
    let Some((host, report)) = answer else { return Ok(Told::Next(None)) };
    let mut moved = task.clone();
    let taken = async {
        let mut tx = manager.store.write().await?;
        crate::node::report::take_answer(manager, &mut tx, &host, &report).await?;
        let told = match turn::look(manager, &mut tx, &mut moved).await? {
            Look::Next(next) if turn::rest(manager, &mut tx, &mut moved, &next).await? => Told::Over,
            Look::Next(next) => Told::Next(Some(next)),
            Look::Gone | Look::Hold => Told::Next(None),
        };
        tx.commit().await?;
        manager.committed();
        Ok(told)
    };
    let told = virga_crash::step(Point::AnswerTake, taken).await?;
    *task = moved;
    Ok(told)
}

/// Gives the task back until later.
async fn wait(manager: &Manager, task: &mut Task, ms: i64, why: String, progress: Option<Progress>) -> Result<(), Error> {
    save(manager, task, Point::TaskWait, async |tx, task| turn::wait(manager, tx, task, ms, why.clone(), progress.clone()).await).await
}

async fn back_off(manager: &Manager, task: &mut Task, e: &Error) -> Result<(), Error> {
    task.attempt = task.attempt.saturating_add(1);
    let ms = BACKOFF_MS.saturating_mul(1 << task.attempt.min(6)).min(BACKOFF_MS_MAX);
    wait(manager, task, ms, format!("{} Trying again.", e.message), None).await
}

/// Writes the task with what belongs to it, in a transaction of its own. The task is as before when that fails.
async fn save(manager: &Manager, task: &mut Task, point: Point, change: impl AsyncFnOnce(&mut Tx, &mut Task) -> Result<(), Error>) -> Result<(), Error> {
    let mut changed = task.clone();
    let written = async {
        let mut tx = manager.store.write().await?;
        change(&mut tx, &mut changed).await?;
        tx.commit().await?;
        manager.committed();
        Ok(())
    };
    virga_crash::step(point, written).await?;
    *task = changed;
    Ok(())
}
