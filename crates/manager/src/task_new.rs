//! Making tasks: by people through the API, and by loops. Whoever makes one writes the object's new state, the task and
//! its event in the same transaction.

use crate::event::{self, Note};
use crate::http::Op;
use uuid::Uuid;
use virga_model::order::Progress;
use virga_model::task::{Cause, ObjectRef, Task, TaskDoc, TaskKind, TaskState};
use virga_model::vm::Vm;
use virga_model::{Error, ErrorCode, HostId, TaskId, Time, UserId};
use virga_store::Tx;

/// Most tasks of one account under way, besides the children of its batches.
pub const OWNER_TASKS_MAX: u32 = 10_000;
/// Most tasks of the whole installation under way; a little more while several ask at the same time.
pub const ALL_TASKS_MAX: u32 = 200_000;
/// Seconds after which a queue that was full may have room.
const QUEUE_RETRY_S: u32 = 10;

/// That the installation takes more tasks, by what the task runner last counted.
///
/// # Errors
/// TooMany.
pub fn ensure_room(full: &std::sync::atomic::AtomicBool) -> Result<(), Error> {
    if full.load(std::sync::atomic::Ordering::Relaxed) {
        return Err(Error::new(ErrorCode::TooMany, format!("{ALL_TASKS_MAX} tasks are under way; no more are taken."))
            .with_hint("Try again when some have ended.")
            .with_retry_after(QUEUE_RETRY_S));
    }
    Ok(())
}

/// Who wants a task.
#[derive(Clone, Copy, Debug)]
pub struct Who {
    /// Why.
    pub cause: Cause,
    /// Account; none for the platform itself.
    pub requester: Option<UserId>,
    /// When.
    pub now: Time,
}

impl Who {
    /// The caller of a request.
    #[must_use]
    pub fn caller(op: &Op) -> Who {
        Who { cause: Cause::User, requester: op.caller.id(), now: op.now }
    }

    /// A loop of the platform.
    #[must_use]
    pub fn system(cause: Cause, now: Time) -> Who {
        Who { cause, requester: None, now }
    }
}

/// What a task is about.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// The object.
    pub object: ObjectRef,
    /// Its name.
    pub name: &'a str,
    /// Its owner, who may see the task's events.
    pub owner: Option<UserId>,
    /// Its host.
    pub host: Option<HostId>,
}

impl<'a> About<'a> {
    /// A VM.
    #[must_use]
    pub fn vm(vm: &'a Vm) -> About<'a> {
        About { object: ObjectRef::Vm(vm.id), name: &vm.name, owner: Some(vm.owner), host: vm.host }
    }

    /// Something that has neither owner nor host.
    #[must_use]
    pub fn plain(object: ObjectRef, name: &'a str) -> About<'a> {
        About { object, name, owner: None, host: None }
    }
}

/// A task that nobody has worked on yet.
#[must_use]
pub fn fresh(who: Who, id: TaskId, kind: TaskKind, about: About<'_>, doc: TaskDoc, parent: Option<TaskId>) -> Task {
    Task {
        id,
        kind,
        object: about.object,
        object_name: about.name.into(),
        cause: who.cause,
        requester: who.requester,
        state: TaskState::Queued,
        progress: Progress::default(),
        message: "waiting for its turn".into(),
        error: None,
        cancel: false,
        parent,
        doc,
        lease_owner: None,
        lease_until: None,
        attempt: 0,
        not_before: who.now,
        created_at: who.now,
        started_at: None,
        ended_at: None,
    }
}

/// Adds a task and its event `task.created`. Call [`ensure_free`] before any write, so that a refusal names the task
/// that is in the way.
///
/// # Errors
/// Conflict when a task works on the object, what the database says.
pub async fn insert(tx: &mut Tx, who: Who, kind: TaskKind, about: About<'_>, doc: TaskDoc, parent: Option<TaskId>) -> Result<Task, Error> {
    insert_as(tx, who, TaskId(Uuid::now_v7()), kind, about, doc, parent).await
}

/// As [`insert`], with a given identity.
///
/// # Errors
/// As [`insert`].
pub async fn insert_as(tx: &mut Tx, who: Who, id: TaskId, kind: TaskKind, about: About<'_>, doc: TaskDoc, parent: Option<TaskId>) -> Result<Task, Error> {
    if let (Cause::User, Some(requester), None) = (who.cause, who.requester, parent) {
        let active = virga_store::task_claim::active_of_requester(tx, requester, OWNER_TASKS_MAX).await?;
        if active >= OWNER_TASKS_MAX {
            return Err(Error::new(ErrorCode::TooMany, format!("You have {OWNER_TASKS_MAX} tasks under way; no more are taken."))
                .with_hint("Wait until some have ended, or cancel some (GET /v1/tasks).")
                .with_retry_after(QUEUE_RETRY_S));
        }
    }
    let task = fresh(who, id, kind, about, doc, parent);
    virga_store::task::insert(tx, &task).await?;
    let message = format!("{kind} {}", about.name);
    let note =
        Note { owner: about.owner, host: about.host, task: Some(id), ..Note::plain(who.now, "task.created", about.object, about.name, message.trim_end()) };
    event::append(tx, &note).await?;
    Ok(task)
}

/// That no task works on the object.
///
/// # Errors
/// Locked, naming the task and what to do.
pub async fn ensure_free(tx: &mut Tx, object: ObjectRef, what: &str) -> Result<(), Error> {
    match virga_store::task::active_of(tx, object).await? {
        None => Ok(()),
        Some(t) => Err(Error::new(ErrorCode::Locked, format!("Task {} ({}, {}) is working on {what}.", t.id, t.kind, t.state))
            .with_hint(format!("Wait for it (GET /v1/tasks/{}?wait=60), or cancel it (POST /v1/tasks/{}/cancel).", t.id, t.id))),
    }
}
