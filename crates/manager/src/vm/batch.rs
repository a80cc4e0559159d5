//! The same action on many VMs: each is decided like a single one; what is refused is listed and hinders no other.

use super::{Change, Room, apply, edit, power};
use crate::http::{Op, task_path};
use crate::task_new::{self, About, Who};
use crate::{auth, task_api};
use std::collections::HashSet;
use uuid::Uuid;
use virga_api::v1::{BatchAction, PowerAction, PowerRequest, Problem, Reference, VmBatch, VmBatchRequest, VmRefused};
use virga_model::filter;
use virga_model::name::shown;
use virga_model::role::Privilege;
use virga_model::task::{Batch, ObjectRef, TaskDoc, TaskKind};
use virga_model::vm::Vm;
use virga_model::{Error, ErrorCode, TaskId};
use virga_store::Tx;

/// Most VMs of one batch.
pub const VMS_MAX: usize = 1000;

/// Does the same to many VMs.
///
/// # Errors
/// Malformed or Invalid for the request itself; refusals of single VMs are in the answer.
pub async fn batch(op: &Op, b: &VmBatchRequest, dry_run: bool) -> Result<VmBatch, Error> {
    check(b)?;
    let mut tx = super::transaction(op, dry_run).await?;
    let (vms, mut refused) = named(op, &mut tx, b).await?;
    let total = vms.len() + refused.len();
    let (mut accepted, mut changes, mut room) = (Vec::new(), Vec::new(), Room::default());
    for (name, vm) in vms {
        let reference = Reference::new(&ObjectRef::Vm(vm.id), &vm.name);
        match decide(op, &mut tx, &mut room, vm, b).await {
            Ok(change) => {
                accepted.push(reference);
                changes.push(change);
            }
            // What is wrong with the platform is not wrong with the VM.
            Err(e) if matches!(e.code, ErrorCode::Internal | ErrorCode::Unavailable) => return Err(e),
            Err(e) => refused.push(VmRefused { vm: name, problem: Problem::from(e) }),
        }
    }
    let mut answer = VmBatch { task: None, accepted, refused };
    if dry_run || changes.is_empty() {
        return Ok(answer);
    }
    let counts = Batch { total: total as u64, refused: answer.refused.len() as u64 };
    write(op, &mut tx, changes, counts, &mut answer, b).await?;
    let location = answer.task.as_ref().map(|t| task_path(t.id));
    op.commit(tx, &answer, location.as_deref()).await?;
    Ok(answer)
}

fn check(b: &VmBatchRequest) -> Result<(), Error> {
    if b.vms.is_empty() == b.filter.is_none() {
        return Err(Error::invalid("vms", "give either vms or filter"));
    }
    if b.vms.len() > VMS_MAX {
        return Err(Error::invalid("vms", format!("at most {VMS_MAX}")));
    }
    match (b.action, &b.update) {
        (BatchAction::Update, None) => Err(Error::invalid("update", "must be given for the action update")),
        (BatchAction::Update, Some(u)) if u.name.is_some() => Err(Error::invalid("update.name", "cannot be the same for many VMs")),
        (BatchAction::Update, Some(_)) | (_, None) => Ok(()),
        (_, Some(_)) => Err(Error::invalid("update", "is only for the action update")),
    }
}

/// The VMs that the request names, each once, and those that are not there.
async fn named(op: &Op, tx: &mut Tx, b: &VmBatchRequest) -> Result<(Vec<(String, Vm)>, Vec<VmRefused>), Error> {
    let visible = op.visible(Privilege::VmRead);
    let names = match &b.filter {
        None => b.vms.clone(),
        Some(text) => {
            let ids = virga_store::vm::ids_matching(tx, &filter::parse(text)?, &visible, VMS_MAX as u32 + 1).await?;
            if ids.len() > VMS_MAX {
                return Err(Error::invalid("filter", format!("leaves more than {VMS_MAX} VMs; make it narrower")));
            }
            ids.iter().map(ToString::to_string).collect()
        }
    };
    let (mut vms, mut refused, mut seen) = (Vec::with_capacity(names.len()), Vec::new(), HashSet::new());
    for name in names {
        match virga_store::vm::by_ref(tx, &name, &visible).await? {
            Some(vm) if vm.spec.template => refused.push(VmRefused { problem: Problem::from(super::is_template(&vm.name)), vm: shown(&name) }),
            Some(vm) if seen.insert(vm.id) => vms.push((name, vm)),
            Some(_) => {}
            None => refused.push(VmRefused { problem: Problem::from(Error::not_found("VM", &name)), vm: shown(&name) }),
        }
    }
    Ok((vms, refused))
}

async fn decide(op: &Op, tx: &mut Tx, room: &mut Room, vm: Vm, b: &VmBatchRequest) -> Result<Change, Error> {
    let needs = match b.action {
        BatchAction::Delete => Privilege::VmDelete,
        BatchAction::Update => Privilege::VmEdit,
        _ => Privilege::VmOperate,
    };
    op.caller.require(needs, &auth::target(&vm), &vm.name)?;
    let action = match b.action {
        BatchAction::Delete => return power::decide_delete(op, tx, vm, false, Default::default()).await,
        BatchAction::Update => return edit::decide(op, tx, room, vm, &b.update.clone().unwrap_or_default()).await,
        BatchAction::Start => PowerAction::Start,
        BatchAction::Shutdown => PowerAction::Shutdown,
        BatchAction::ForceOff => PowerAction::ForceOff,
        BatchAction::Reboot => PowerAction::Reboot,
        BatchAction::Reset => PowerAction::Reset,
        BatchAction::Pause => PowerAction::Pause,
        BatchAction::Resume => PowerAction::Resume,
        BatchAction::Hibernate => PowerAction::Hibernate,
    };
    power::decide(op, tx, room, vm, &PowerRequest { action, timeout_s: b.timeout_s, then_force: b.then_force }).await
}

/// Writes every change; a parent task, when any of them makes a task.
async fn write(op: &Op, tx: &mut Tx, changes: Vec<Change>, counts: Batch, answer: &mut VmBatch, b: &VmBatchRequest) -> Result<(), Error> {
    let parent = changes.iter().any(|c| c.task.is_some()).then(|| TaskId(Uuid::now_v7()));
    if let Some(id) = parent {
        let doc = TaskDoc { batch: Some(counts.clone()), ..TaskDoc::default() };
        let task = task_new::insert_as(tx, Who::caller(op), id, TaskKind::VmBatch, About::plain(ObjectRef::System, ""), doc, None).await?;
        answer.task = Some(task_api::shape(tx, &mut task_api::Names::default(), &task).await?);
    }
    for c in changes {
        apply(op, tx, c, parent).await?;
    }
    let detail = format!("batch {:?} of {} VMs, {} refused", b.action, counts.total, counts.refused);
    op.audit(tx, parent.map_or(ObjectRef::System, ObjectRef::Task), "", &detail).await
}
