//! Merges layers that were frozen for clones, when no clone needs them any more: the copies are made, or the linked clones
//! are gone. It only makes tasks; a VM that something works on is left for a later round.

use super::repair;
use crate::state::Manager;
use crate::task_new::{self, About, Who};
use crate::vm::clone::held;
use std::collections::BTreeSet;
use virga_model::host::HostState;
use virga_model::task::{Cause, ObjectRef, TaskDoc, TaskKind};
use virga_model::vm::{Desired, Vm, VmState};
use virga_model::{Error, LayerId, VmId};
use virga_store::Tx;

/// VMs looked at in one round.
const VMS_MAX: u32 = 500;

/// One round.
pub async fn round(m: &Manager) -> Result<(), Error> {
    let mut tx = m.store.read().await?;
    let all = virga_store::clone::frozen(&mut tx, VMS_MAX).await?;
    let mut due = Vec::new();
    for id in all {
        if due_now(m, &mut tx, id).await?.is_some() {
            due.push(id);
        }
    }
    drop(tx);
    for id in due {
        consolidate(m, id).await?;
    }
    Ok(())
}

/// The layers of a VM that somebody needs.
async fn needed(tx: &mut Tx, vm: &Vm) -> Result<BTreeSet<Option<LayerId>>, Error> {
    let mut frozen: BTreeSet<_> = virga_store::snapshot::of_vm(tx, vm.id).await?.iter().map(|s| s.layer).collect();
    frozen.extend(held(tx, vm).await?);
    Ok(frozen)
}

/// What is to be done for a VM.
struct Due {
    before: Vm,
    /// As it is without the layers that nobody needs.
    after: Vm,
    /// There is something to merge; otherwise there is nothing left to be looked after.
    merges: bool,
}

async fn due_now(m: &Manager, tx: &mut Tx, id: VmId) -> Result<Option<Due>, Error> {
    let Some(before) = virga_store::vm::get(tx, id).await? else { return Ok(None) };
    let quiet = before.former_spec.is_none() && before.observed.settled && before.observed.generation == before.generation && before.desired != Desired::Absent;
    if !quiet || !matches!(before.observed.state, VmState::Running | VmState::Paused | VmState::Stopped) {
        return Ok(None);
    }
    let host = match before.host {
        Some(h) => virga_store::host::get(tx, h).await?,
        None => None,
    };
    if host.is_none_or(|h| m.host_state(&h) != HostState::Up) || virga_store::task::active_of(tx, ObjectRef::Vm(id)).await?.is_some() {
        return Ok(None);
    }
    if !repair::is_time(tx, &before, TaskKind::VmConsolidate, m.now()).await? {
        return Ok(None);
    }
    let mut after = before.clone();
    // A host that could not merge is asked again.
    let merges = !after.spec.layers.tidy(&needed(tx, &before).await?).is_empty() || !before.spec.layers.merges.is_empty();
    let due = merges || virga_store::clone::count(tx, id).await? == 0;
    Ok(due.then_some(Due { before, after, merges }))
}

async fn consolidate(m: &Manager, id: VmId) -> Result<(), Error> {
    let mut tx = m.store.write().await?;
    // Between the look and now much may have happened.
    let Some(Due { before, mut after, merges }) = due_now(m, &mut tx, id).await? else { return Ok(()) };
    if !merges {
        virga_store::clone::forget_frozen(&mut tx, id).await?;
        return Ok(tx.commit().await?);
    }
    after.former_spec = Some(before.spec.clone());
    after.generation += 1;
    after.updated_at = m.now();
    virga_store::vm::update(&mut tx, &after, before.generation).await?;
    let doc = TaskDoc { generation: after.generation, ..TaskDoc::default() };
    task_new::insert(&mut tx, Who::system(Cause::Repair, m.now()), TaskKind::VmConsolidate, About::vm(&after), doc, None).await?;
    tx.commit().await?;
    m.committed();
    Ok(())
}
