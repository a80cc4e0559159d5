//! Does the one step that was decided.

use virga_crash::{Step as Point, step};
use virga_decide::task::{Call, Facts, Write};
use virga_model::data_store::DataStoreState;
use virga_model::event::{Event, Severity};
use virga_model::host::Host;
use virga_model::order::{CallHead, NodeAnswer, NodeCall, VmReport};
use virga_model::task::{ObjectRef, Task, TaskKind};
use virga_model::vm::{Desired, StopMode, Vm, VmSpec};
use virga_model::{Error, HostId};
use virga_store::Tx;

use super::facts;
use crate::state::Manager;

/// Milliseconds that a call to an agent may take. Agents answer at once; what takes time shows in reports.
pub(super) const CALL_DEADLINE_MS: u64 = 15_000;

/// A call with what it needs of rows, read in the transaction in which it was decided.
#[derive(Clone, Debug)]
pub(super) struct Addressed {
    host: Host,
    call: NodeCall,
}

/// Reads what a call needs; `known` is the VM's host.
///
/// # Errors
/// Conflict when the object or its host is gone.
pub(super) async fn address(tx: &mut Tx, facts: &Facts, known: Option<Host>, call: &Call) -> Result<Addressed, Error> {
    let gone = || Error::conflict("The object or its host is gone.");
    let (host, node_call) = match call {
        Call::EnsureVm => {
            let vm = facts.vm.as_ref().ok_or_else(gone)?;
            let order = facts::order(tx, vm).await?;
            (vm.host.ok_or_else(gone)?, NodeCall::EnsureVm { order: Box::new(order) })
        }
        Call::Act(act) => {
            let vm = facts.vm.as_ref().ok_or_else(gone)?;
            (vm.host.ok_or_else(gone)?, NodeCall::Act { vm: vm.id, generation: vm.generation, act: *act })
        }
        Call::DropImage(h) => (*h, NodeCall::DropImage { image: facts.image.as_ref().ok_or_else(gone)?.id }),
        Call::EnsureStore(h) => (*h, NodeCall::EnsureStore { store: facts::store_ref(tx, facts.data_store.as_ref().ok_or_else(gone)?.id).await? }),
        Call::DropStore(h) => (*h, NodeCall::DropStore { store: facts::store_ref(tx, facts.data_store.as_ref().ok_or_else(gone)?.id).await? }),
        Call::DropNetwork(h) => {
            let network = facts::network_ref(tx, facts.network.as_ref().ok_or_else(gone)?.id).await?;
            (*h, NodeCall::DropNetwork { network })
        }
    };
    let host = match known.filter(|h| h.id == host) {
        Some(h) => h,
        None => virga_store::host::get(tx, host).await?.ok_or_else(gone)?,
    };
    Ok(Addressed { host, call: node_call })
}

/// Calls an agent. What it says about a VM is answered together with its host, to be written down; the rest is written.
///
/// # Errors
/// Unavailable when the agent did not answer; otherwise what it says, and nothing has changed there.
pub(super) async fn call(manager: &Manager, task: &Task, facts: &Facts, call: &Call, to: Addressed) -> Result<Option<(Host, Box<VmReport>)>, Error> {
    let Addressed { host, call: node_call } = to;
    let head = CallHead { task: task.id, epoch: host.epoch, deadline_ms: CALL_DEADLINE_MS };
    let effect = async {
        // Whoever was held up for longer than its lease may be the second one at it: it tells agents nothing.
        if task.lease_until.is_some_and(|t| manager.now() >= t) {
            return Err(Error::unavailable("This manager was held up for longer than its lease on the task."));
        }
        manager.nodes.call(&host, head, node_call).await
    };
    match step(Point::TaskCall, effect).await? {
        NodeAnswer::Vm { report } => Ok(Some((host, report))),
        NodeAnswer::Done if matches!(call, Call::EnsureStore(_) | Call::DropStore(_)) => {
            step(Point::HolderForget, note_signature(manager, call, facts)).await.map(|()| None)
        }
        NodeAnswer::Done => step(Point::HolderForget, forget_holder(manager, host.id, call, facts)).await.map(|()| None),
        NodeAnswer::Refused { error } => Err(error),
    }
}

/// The host has said that it does not have the image or network any more; its next inventory will say the same.
async fn forget_holder(manager: &Manager, host: HostId, call: &Call, facts: &Facts) -> Result<(), Error> {
    let mut tx = manager.store.write().await?;
    let Some(mut row) = virga_store::host::get(&mut tx, host).await? else { return Ok(()) };
    match call {
        Call::DropImage(_) => row.facts.images.retain(|i| Some(*i) != facts.image.as_ref().map(|x| x.id)),
        Call::DropNetwork(_) => row.facts.networks.retain(|n| Some(*n) != facts.network.as_ref().map(|x| x.id)),
        Call::EnsureVm | Call::Act(_) | Call::EnsureStore(_) | Call::DropStore(_) => {}
    }
    virga_store::host::set_facts(&mut tx, host, &row.facts).await?;
    Ok(tx.commit().await?)
}

/// A host has signed the data store, or removed its signature.
async fn note_signature(manager: &Manager, call: &Call, facts: &Facts) -> Result<(), Error> {
    let Some(id) = facts.data_store.as_ref().map(|s| s.id) else { return Ok(()) };
    let mut tx = manager.store.write().await?;
    let Some(mut row) = virga_store::data_store::get(&mut tx, id).await? else { return Ok(()) };
    row.state = match (call, row.state) {
        (Call::EnsureStore(_), DataStoreState::Creating) => DataStoreState::Ready,
        (Call::DropStore(_), DataStoreState::Dropping) => DataStoreState::Dropped,
        _ => return Ok(()),
    };
    let generation = row.generation;
    virga_store::data_store::update(&mut tx, &row, generation).await?;
    Ok(tx.commit().await?)
}

/// Changes rows as decided; the caller saves the task in the same transaction. Every change is conditional on the
/// generation it was decided from.
///
/// # Errors
/// Stale when somebody else was first: then `next` is asked again.
pub(super) async fn write(manager: &Manager, tx: &mut Tx, task: &mut Task, facts: &Facts, write: &Write) -> Result<(), Error> {
    let now = manager.now();
    let vm = || facts.vm.clone().ok_or_else(|| Error::conflict("The VM is gone."));
    match write {
        Write::Undo { why, desired, former_spec } => {
            let mut vm = vm()?;
            if *former_spec && let Some(former) = vm.former_spec.take() {
                vm.spec = former;
            }
            // What is there again does not leave any more.
            if *desired != Desired::Absent {
                let spec = &mut vm.spec;
                spec.disk_work.leaving.retain(|l| !spec.disks.iter().any(|d| d.id == l.disk));
                spec.disk_work.reclaim = None;
            }
            vm.desired = *desired;
            vm.stop_mode = StopMode::Force;
            crate::vm::snapshot::undo(tx, task).await?;
            task.doc.undo = Some(why.clone());
            task.doc.generation = bump(tx, vm, now).await?;
            if task.kind == TaskKind::VmFreeze {
                wake_clones(tx, task).await?;
            }
        }
        Write::ForceStop => {
            let vm = Vm { stop_mode: StopMode::Force, ..vm()? };
            task.doc.generation = bump(tx, vm, now).await?;
        }
        Write::FinishEdit => {
            let mut vm = vm()?;
            let former = vm.former_spec.take();
            let mut given_up = former.is_some_and(|f| gives_up(&f, &vm.spec));
            let mut failed = vm.observed.error.is_some();
            vm.spec.disks.iter_mut().for_each(|d| d.copy_of = None);
            if task.doc.snapshot.is_some() || matches!(task.kind, TaskKind::VmConsolidate | TaskKind::VmRefresh) {
                failed |= matches!(task.kind, TaskKind::SnapshotDelete | TaskKind::VmConsolidate) && vm.observed.merge_error.is_some();
                given_up |= crate::vm::snapshot::finish(tx, task, &vm).await?;
                if vm.observed.merge_error.is_none() && !failed {
                    vm.spec.layers.merges.clear();
                    vm.spec.layers.done();
                }
            }
            if !failed {
                vm.spec.disk_work.reclaim = None;
                // Files of disks that left go once the edit is known to have succeeded; then the host has been told of them twice.
                if !given_up {
                    vm.spec.disk_work.leaving.clear();
                }
            }
            // What failed is told as it is; whoever asks again tells the host again.
            if given_up && !failed {
                task.doc.generation = bump(tx, vm, now).await?;
            } else {
                let generation = vm.generation;
                virga_store::vm::update(tx, &vm, generation).await?;
            }
            let stored = now_stored(tx, facts).await?;
            virga_store::clone::tidy(tx, &stored).await?;
            if task.kind == TaskKind::VmFreeze {
                wake_clones(tx, task).await?;
            }
        }
        Write::FinishCopy => {
            let mut vm = vm()?;
            vm.spec.disks.iter_mut().for_each(|d| d.copy_of = None);
            let generation = vm.generation;
            virga_store::vm::update(tx, &vm, generation).await?;
            virga_store::clone::tidy(tx, &vm).await?;
        }
        Write::RemoveVm => {
            let vm = vm()?;
            virga_store::vm::delete(tx, vm.id).await?;
            manager.stats.forget_vm(vm.id);
            let mut told = vec![format!("VM {} was removed.", vm.name), vm.observed.disk_work.erased_text(), task.doc.report.take().unwrap_or_default()];
            told.retain(|t| !t.is_empty());
            task.doc.report = (told.len() > 1).then(|| told[1..].join(" "));
            let text = told.join(" ");
            event(manager, tx, task, "vm.deleted", Some(&vm), text).await?;
        }
        Write::RemoveImage => {
            if let Some(image) = &facts.image {
                virga_store::image::delete(tx, image.id).await?;
                let content = manager.image_folder().join(image.id.to_string());
                let part = content.with_extension("partial");
                let both = async {
                    remove_content(&content).await?;
                    remove_content(&part).await
                };
                step(Point::ImageContentRemove, both).await?;
                event(manager, tx, task, "image.deleted", None, format!("Image {} was removed.", image.name)).await?;
            }
        }
        Write::DataStore { state, undo } => {
            let mut row = facts.data_store.clone().ok_or_else(|| Error::conflict("The data store is gone."))?;
            if undo.is_some() {
                task.doc.undo.clone_from(undo);
            }
            match state {
                Some(s) => {
                    let expected = row.generation;
                    (row.state, row.generation) = (*s, expected + 1);
                    virga_store::data_store::update(tx, &row, expected).await?;
                }
                None => {
                    virga_store::data_store::delete(tx, row.id).await?;
                    event(manager, tx, task, "data_store.deleted", None, format!("Data store {} was removed.", row.name)).await?;
                }
            }
        }
        Write::RemoveNetwork => {
            if let Some(network) = &facts.network {
                virga_store::network::delete(tx, network.id).await?;
                event(manager, tx, task, "network.deleted", None, format!("Network {} was removed.", network.name)).await?;
            }
        }
    }
    Ok(())
}

/// The VM as the transaction has it by now.
async fn now_stored(tx: &mut Tx, facts: &Facts) -> Result<Vm, Error> {
    let gone = || Error::conflict("The VM is gone.");
    let id = facts.vm.as_ref().ok_or_else(gone)?.id;
    virga_store::vm::get(tx, id).await?.ok_or_else(gone)
}

/// What the clones of a VM waited for has come, or will not.
async fn wake_clones(tx: &mut Tx, task: &Task) -> Result<(), Error> {
    let Some(parent) = task.parent else { return Ok(()) };
    for child in virga_store::task::children(tx, parent).await?.iter().filter(|c| c.id != task.id && !c.state.is_final()) {
        virga_store::task::wake_task(tx, child.id).await?;
    }
    Ok(())
}

/// Deletes a file of the library. Absent is success.
async fn remove_content(file: &std::path::Path) -> Result<(), Error> {
    match tokio::fs::remove_file(file).await {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::internal(format!("The image's content cannot be removed: {e}."))),
        _ => Ok(()),
    }
}

async fn bump(tx: &mut Tx, mut vm: Vm, now: virga_model::Time) -> Result<i64, Error> {
    let expected = vm.generation;
    vm.generation += 1;
    vm.updated_at = now;
    virga_store::vm::update(tx, &vm, expected).await?;
    Ok(vm.generation)
}

/// An event in the course of a task.
pub(super) async fn event(manager: &Manager, tx: &mut Tx, task: &Task, kind: &str, vm: Option<&Vm>, message: String) -> Result<(), Error> {
    let severity = if task.error.is_some() { Severity::Error } else { Severity::Info };
    let event = Event {
        id: 0,
        at: manager.now(),
        kind: kind.into(),
        severity,
        object: if kind.starts_with("task.") { ObjectRef::Task(task.id) } else { task.object },
        object_name: task.object_name.clone(),
        owner: vm.map(|v| v.owner).or(task.requester),
        host: vm.and_then(|v| v.host),
        task: Some(task.id),
        message,
    };
    virga_store::event::append(tx, &event).await?;
    Ok(())
}

/// Whether an edit leaves files of `former` that nothing needs any more.
fn gives_up(former: &VmSpec, spec: &VmSpec) -> bool {
    let merged = |l| spec.layers.merges.iter().any(|m| m.from == l);
    let kept = |d: &virga_model::vm::DiskSpec| spec.disks.iter().chain(&spec.detached).any(|n| n.id == d.id);
    let detached = former.disks.iter().chain(&former.detached).any(|d| !kept(d));
    let memory = former.layers.memories.iter().any(|m| !spec.layers.memories.contains(m));
    detached || memory || former.layers.list.iter().any(|l| spec.layers.get(l.id).is_none() && !merged(l.id))
}
