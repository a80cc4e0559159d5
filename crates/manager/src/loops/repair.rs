//! Makes repair tasks: for VMs whose host has not finished with their generation although nothing works on them, after
//! something got in between (a task failed, a host was away). Each failure makes the next try wait longer.

use crate::state::Manager;
use crate::task_new::{self, About, Who};
use std::collections::HashMap;
use virga_model::filter::{Filter, Op};
use virga_model::host::HostState;
use virga_model::role::Visible;
use virga_model::task::{Cause, Task, TaskDoc, TaskKind, TaskState};
use virga_model::vm::Vm;
use virga_model::{Error, HostId, Time};
use virga_store::{Page, Tx};

/// A VM is left alone for so long after the last change or task.
const PATIENCE_SECONDS: i64 = 10;
/// The longest wait between two tries.
const WAIT_SECONDS_MAX: i64 = 600;
/// VMs looked at in one round.
const VMS_MAX: u32 = 200;
/// Tasks of a VM that are looked at for failures in a row.
const TASKS_LOOKED_AT: u32 = 8;

/// One round.
pub async fn round(m: &Manager) -> Result<(), Error> {
    let now = m.now();
    let mut tx = m.store.read().await?;
    let vms = virga_store::vm::unsettled(&mut tx, VMS_MAX).await?;
    if vms.is_empty() {
        return Ok(());
    }
    let states: HashMap<HostId, HostState> = virga_store::host::all(&mut tx).await?.iter().map(|h| (h.id, m.host_state(h))).collect();
    let mut due = Vec::new();
    for vm in vms {
        let up = vm.host.is_some_and(|h| states.get(&h) == Some(&HostState::Up));
        // A change in the time to come was written by a clock that was ahead, and is over.
        let fresh = (0..PATIENCE_SECONDS * 1000).contains(&now.millis_since(vm.updated_at));
        if up && !fresh && is_time(&mut tx, &vm, TaskKind::VmRepair, now).await? {
            due.push(vm);
        }
    }
    drop(tx);
    for vm in due {
        repair(m, &vm, now).await?;
    }
    Ok(())
}

/// Whether the VM's newest tasks leave time for another try of `kind`.
pub(super) async fn is_time(tx: &mut Tx, vm: &Vm, kind: TaskKind, now: Time) -> Result<bool, Error> {
    let of_vm = Filter::Term { field: "object".into(), op: Op::Eq, values: vec![vm.id.to_string()] };
    // Tasks of the time to come were made under a clock that was ahead: they would be the newest until that time.
    let until_now = Filter::Term { field: "created_at".into(), op: Op::Le, values: vec![now.to_string()] };
    let filter = Some(Filter::And(Box::new(of_vm), Box::new(until_now)));
    let page = Page { limit: TASKS_LOOKED_AT, filter, ..Page::default() };
    let tasks = virga_store::task::list(tx, &page, &Visible::everything(), None).await?.items;
    Ok(next_try(&tasks, kind, now).is_none_or(|t| t <= now))
}

/// When the next try may be, from the newest tasks, newest first; none: at once.
fn next_try(tasks: &[Task], kind: TaskKind, now: Time) -> Option<Time> {
    let last = tasks.first()?.ended_at.filter(|t| *t <= now)?;
    let failures = tasks.iter().take_while(|t| t.kind == kind && t.state == TaskState::Failed).count();
    let wait = (PATIENCE_SECONDS << failures.min(6)).min(WAIT_SECONDS_MAX);
    Some(last.plus_seconds(wait))
}

async fn repair(m: &Manager, vm: &Vm, now: Time) -> Result<(), Error> {
    let mut tx = m.store.write().await?;
    // Between the look and now somebody may have changed the VM, or begun to work on it.
    let Some(vm) = virga_store::vm::get(&mut tx, vm.id).await?.filter(|v| v.generation == vm.generation) else { return Ok(()) };
    if virga_store::task::active_of(&mut tx, virga_model::task::ObjectRef::Vm(vm.id)).await?.is_some() {
        return Ok(());
    }
    let doc = TaskDoc { generation: vm.generation, ..TaskDoc::default() };
    task_new::insert(&mut tx, Who::system(Cause::Repair, now), TaskKind::VmRepair, About::vm(&vm), doc, None).await?;
    tx.commit().await?;
    m.committed();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use virga_model::TaskId;
    use virga_model::task::ObjectRef;

    fn ended(kind: TaskKind, state: TaskState, at: i64) -> Task {
        let about = About::plain(ObjectRef::System, "x");
        let t = task_new::fresh(Who::system(Cause::Repair, Time(0)), TaskId(uuid::Uuid::nil()), kind, about, TaskDoc::default(), None);
        Task { state, ended_at: Some(Time(at * 1_000_000)), ..t }
    }

    #[test]
    fn failures_in_a_row_make_the_next_try_wait_longer() {
        use TaskKind as K;
        use TaskState as S;
        let seconds = |tasks: &[Task]| next_try(tasks, K::VmRepair, Time(1000 * 1_000_000)).map(|t| t.0 / 1_000_000);
        assert_eq!(seconds(&[]), None);
        assert_eq!(seconds(&[ended(K::VmStart, S::Failed, 100)]), Some(110));
        assert_eq!(seconds(&[ended(K::VmRepair, S::Failed, 100), ended(K::VmStart, S::Failed, 50)]), Some(120));
        let many: Vec<Task> = (0..8).map(|_| ended(K::VmRepair, S::Failed, 100)).collect();
        assert_eq!(seconds(&many), Some(700));
        assert_eq!(seconds(&[ended(K::VmRepair, S::Failed, 4600)]), None, "a clock that was ahead is no reason to wait");
    }
}
