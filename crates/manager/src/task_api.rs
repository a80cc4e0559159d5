//! Tasks as people see them: reading, waiting, cancelling.

use crate::http::Op;
use crate::{auth, list, user};
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;
use virga_api::v1::{ListQuery, PageBody, Problem, Reference, Task as Shape};
use virga_model::filter::{Filter, Op as Compare};
use virga_model::role::{Privilege, Target};
use virga_model::task::{ObjectRef, Task, TaskKind};
use virga_model::{Error, TaskId, UserId};
use virga_store::{Page, Tx};

/// Longest wait of one request in seconds.
const WAIT_SECONDS_MAX: u32 = 60;
/// How often a waiting request looks without being told, for what other managers do.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Login names, each read once.
#[derive(Default)]
pub struct Names(HashMap<UserId, String>);

impl Names {
    /// Name of an account.
    ///
    /// # Errors
    /// What the database says.
    pub async fn of(&mut self, tx: &mut Tx, id: UserId) -> Result<String, Error> {
        if let Some(n) = self.0.get(&id) {
            return Ok(n.clone());
        }
        let name = user::name_of(tx, id).await?;
        self.0.insert(id, name.clone());
        Ok(name)
    }
}

/// The public shape of a task.
///
/// # Errors
/// What the database says.
pub async fn shape(tx: &mut Tx, names: &mut Names, t: &Task) -> Result<Shape, Error> {
    let requester = match t.requester {
        Some(id) => Some(Reference::new(&ObjectRef::User(id), &names.of(tx, id).await?)),
        None => None,
    };
    Ok(Shape {
        id: t.id,
        kind: t.kind,
        state: t.state,
        object: Reference::new(&t.object, &t.object_name),
        cause: t.cause,
        requester,
        progress: t.progress.clone(),
        message: t.message.clone(),
        error: t.error.clone().map(Problem::from),
        cancel_requested: t.cancel,
        parent: t.parent,
        created_at: t.created_at,
        started_at: t.started_at,
        ended_at: t.ended_at,
    })
}

/// The task without hosts that the caller may not see: a refusal names all that were looked at.
fn veiled(op: &Op, mut t: Shape) -> Shape {
    let seen = op.visible(Privilege::HostRead);
    if let Some(e) = t.error.as_mut().filter(|_| !seen.all) {
        e.refusals.retain(|r| seen.hosts.contains(&r.host));
    }
    t
}

/// A page of tasks, newest first.
///
/// # Errors
/// Malformed for wrong parameters.
pub async fn list(op: &Op, q: &ListQuery) -> Result<PageBody<Shape>, Error> {
    let mut tx = op.read().await?;
    let paged = virga_store::task::list(&mut tx, &list::page(q)?, &op.visible(Privilege::VmRead), op.caller.id()).await?;
    let (mut items, mut names) = (Vec::with_capacity(paged.items.len()), Names::default());
    for t in &paged.items {
        items.push(veiled(op, shape(&mut tx, &mut names, t).await?));
    }
    list::body(q, paged, items)
}

/// The task, if the caller may see it: by the same condition as the list.
async fn load(op: &Op, tx: &mut Tx, id: TaskId) -> Result<Task, Error> {
    let this = Filter::Term { field: "id".into(), op: Compare::Eq, values: vec![id.to_string()] };
    let page = Page { limit: 1, filter: Some(this), ..Page::default() };
    let found = virga_store::task::list(tx, &page, &op.visible(Privilege::VmRead), op.caller.id()).await?;
    found.items.into_iter().next().ok_or_else(|| Error::not_found("task", id))
}

/// One task; with `wait`, once it has ended or after so many seconds.
///
/// # Errors
/// NotFound, Malformed for a longer wait than a minute.
pub async fn view(op: &Op, id: TaskId, wait: Option<u32>) -> Result<Shape, Error> {
    let wait = wait.unwrap_or(0);
    if wait > WAIT_SECONDS_MAX {
        return Err(Error::malformed_field("wait", format!("wait must be at most {WAIT_SECONDS_MAX} seconds.")));
    }
    let deadline = Instant::now() + Duration::from_secs(u64::from(wait));
    let (mut changed, mut stop) = (op.m.events.subscribe(), op.api.stop.clone());
    loop {
        changed.mark_unchanged();
        let mut tx = op.read().await?;
        let task = load(op, &mut tx, id).await?;
        if task.state.is_final() || Instant::now() >= deadline || *stop.borrow() {
            return Ok(veiled(op, shape(&mut tx, &mut Names::default(), &task).await?));
        }
        drop(tx);
        tokio::select! {
            _ = changed.changed() => {}
            _ = stop.changed() => {}
            () = tokio::time::sleep_until(deadline.min(Instant::now() + LOOK_EVERY)) => {}
        }
    }
}

/// Asks a task to stop: for who asked for it, and for who may do the same to the object.
///
/// # Errors
/// NotFound, Forbidden, Conflict when it has ended.
pub async fn cancel(op: &Op, id: TaskId) -> Result<Shape, Error> {
    let mut tx = op.write().await?;
    let task = load(op, &mut tx, id).await?;
    if task.requester.is_none() || task.requester != op.caller.id() {
        let (privilege, target) = needed(&mut tx, &task).await?;
        op.caller.require(privilege, &target, &task.object_name)?;
    }
    if !virga_store::task::request_cancel(&mut tx, id).await? {
        return Err(Error::conflict(format!("The task has {} already.", task.state)));
    }
    op.audit(&mut tx, ObjectRef::Task(id), &task.object_name, &format!("cancel of {} asked for", task.kind)).await?;
    let task = virga_store::task::get(&mut tx, id).await?.unwrap_or(task);
    let answer = shape(&mut tx, &mut Names::default(), &task).await?;
    op.commit(tx, &answer, None).await?;
    Ok(answer)
}

/// What somebody else needs to cancel a task.
async fn needed(tx: &mut Tx, task: &Task) -> Result<(Privilege, Target), Error> {
    Ok(match task.object {
        ObjectRef::Vm(id) => {
            let privilege = match task.kind {
                TaskKind::VmCreate | TaskKind::VmClone | TaskKind::VmDelete => Privilege::VmDelete,
                TaskKind::VmEdit
                | TaskKind::VmExport
                | TaskKind::SnapshotCreate
                | TaskKind::SnapshotRevert
                | TaskKind::SnapshotDelete
                | TaskKind::VmFreeze
                | TaskKind::VmConsolidate
                | TaskKind::VmRefresh
                | TaskKind::VmConvert => Privilege::VmEdit,
                _ => Privilege::VmOperate,
            };
            let vm = virga_store::vm::get(tx, id).await?;
            (privilege, vm.map_or(Target::Installation, |vm| auth::target(&vm)))
        }
        ObjectRef::Image(_) => (Privilege::ImageManage, Target::Installation),
        ObjectRef::Network(_) => (Privilege::NetworkManage, Target::Installation),
        ObjectRef::DataStore(_) => (Privilege::DataStoreManage, Target::Installation),
        ObjectRef::Host(h) => (Privilege::HostManage, Target::Host(h)),
        _ => (Privilege::VmOperate, Target::Installation),
    })
}
