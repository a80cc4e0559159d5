//! Virtual machines: every change is decided first, by reading only ([`Change`]), and then written as a whole
//! ([`apply`]): row, task, audit record and event in one transaction. A dry run stops after the first half.

pub mod batch;
pub mod clone;
pub mod create;
pub mod device;
pub mod edit;
pub mod export;
pub mod import;
pub mod package;
pub mod power;
pub mod resolve;
pub(crate) mod share;
pub mod snapshot;
pub mod view;

use crate::event::{self, Note};
use crate::http::{Op, task_path};
use crate::task_new::{self, About, Who};
use crate::{task_api, view as hosts};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use virga_api::v1::{Accepted, PlanStep, Reference};
use virga_decide::data_stores::{self, StoreView};
use virga_decide::place::HostView;
use virga_model::refusal::{HostRefusal, Reason};
use virga_model::role::Privilege;
use virga_model::task::{ObjectRef, TaskDoc, TaskKind};
use virga_model::vm::{Desired, Vm, VmSpec};
use virga_model::{DataStoreId, Error, ErrorCode, HostId, TaskId};
use virga_store::Tx;

/// A change of a VM, decided and not yet written.
pub(crate) struct Change {
    /// The row as it is.
    pub before: Vm,
    /// The row as it will be; the same when only a task is made.
    pub after: Vm,
    /// The task that brings it about.
    pub task: Option<(TaskKind, TaskDoc)>,
    /// What will happen, in words.
    pub plan: Vec<PlanStep>,
    /// For the audit record.
    pub detail: String,
}

impl Change {
    /// Nothing has to be done, for this reason.
    pub(crate) fn already(vm: Vm, why: &str) -> Change {
        Change { after: vm.clone(), before: vm, task: None, plan: vec![step(why)], detail: format!("nothing to do: {why}") }
    }
}

/// A step of a plan.
pub(crate) fn step(what: impl Into<String>) -> PlanStep {
    PlanStep { what: what.into(), after_restart: None }
}

/// The VM or template that the caller called `name`, if they may touch it with `p`.
pub(crate) async fn load_any(op: &Op, tx: &mut Tx, name: &str, p: Privilege, what: &str) -> Result<Vm, Error> {
    let found = virga_store::vm::by_ref(tx, name, &op.visible(Privilege::VmRead)).await?;
    let vm = found.ok_or_else(|| Error::not_found(what, name))?;
    op.require_vm(p, &vm, name)?;
    Ok(vm)
}

/// The VM that the caller called `name`, if they may touch it with `p`; no template.
pub(crate) async fn load(op: &Op, tx: &mut Tx, name: &str, p: Privilege) -> Result<Vm, Error> {
    let vm = load_any(op, tx, name, p, "VM").await?;
    no_template(&vm)?;
    Ok(vm)
}

/// That it is a VM, not a template: those are never started and never changed.
pub(crate) fn no_template(vm: &Vm) -> Result<(), Error> {
    if vm.spec.template { Err(is_template(&vm.name)) } else { Ok(()) }
}

/// The refusal to do to a template what is done to VMs.
pub(crate) fn is_template(name: &str) -> Error {
    Error::conflict(format!("{name} is a template, no VM.")).with_hint("Look at it with GET /v1/templates, make VMs of it, or convert it into a VM.")
}

/// The VM as [`load`] finds it, with the generation that the caller expects, and that nobody is removing.
pub(crate) async fn load_for_change(op: &Op, tx: &mut Tx, name: &str, p: Privilege) -> Result<Vm, Error> {
    let vm = load(op, tx, name, p).await?;
    op.check_match(vm.generation)?;
    Ok(vm)
}

/// That nobody is removing the VM.
pub(crate) fn not_going(vm: &Vm) -> Result<(), Error> {
    if vm.desired == Desired::Absent {
        return Err(Error::conflict(format!("VM {} is being removed.", vm.name)));
    }
    Ok(())
}

/// That no task works on the VM.
pub(crate) async fn free(tx: &mut Tx, vm: &Vm) -> Result<(), Error> {
    task_new::ensure_free(tx, ObjectRef::Vm(vm.id), &format!("VM {}", vm.name)).await
}

/// Writes a change: the row, its task, the audit record and, without a task, an event.
pub(crate) async fn apply(op: &Op, tx: &mut Tx, mut c: Change, parent: Option<TaskId>) -> Result<Accepted, Error> {
    let object = ObjectRef::Vm(c.after.id);
    if c.after != c.before {
        c.after.updated_at = op.now;
        virga_store::vm::update(tx, &c.after, c.before.generation).await?;
        if c.task.is_none() {
            event::append(tx, &Note::vm(op.now, "vm.changed", &c.after, &c.detail)).await?;
        }
    }
    let task = match c.task {
        Some((kind, doc)) => {
            let task = task_new::insert(tx, Who::caller(op), kind, About::vm(&c.after), doc, parent).await?;
            Some(task_api::shape(tx, &mut task_api::Names::default(), &task).await?)
        }
        None => None,
    };
    op.audit(tx, object, &c.after.name, &c.detail).await?;
    Ok(Accepted { task, object: Reference::new(&object, &c.after.name), plan: c.plan })
}

/// Ends a single change: commits it, or (for a dry run) only answers with its plan.
pub(crate) async fn conclude(op: &Op, mut tx: Tx, c: Change, dry_run: bool) -> Result<Accepted, Error> {
    if dry_run {
        return Ok(Accepted { task: None, object: Reference::new(&ObjectRef::Vm(c.before.id), &c.before.name), plan: c.plan });
    }
    let answer = apply(op, &mut tx, c, None).await?;
    let location = answer.task.as_ref().map(|t| task_path(t.id));
    op.commit(tx, &answer, location.as_deref()).await?;
    Ok(answer)
}

/// A transaction for a change: one that only reads, for a dry run.
pub(crate) async fn transaction(op: &Op, dry_run: bool) -> Result<Tx, Error> {
    if dry_run { op.read().await } else { op.write().await }
}

/// The room on hosts within one request: each read once, and each VM that takes room makes it less for the next one.
#[derive(Default)]
pub(crate) struct Room(HashMap<HostId, HostView>);

impl Room {
    /// That the VM's own host can run it with `spec`, as far as `matters` says. The VM's present share is given back
    /// first; with `active` it takes its new share.
    pub(crate) async fn fits(&mut self, op: &Op, tx: &mut Tx, vm: &Vm, spec: &VmSpec, active: bool, matters: fn(&Reason) -> bool) -> Result<(), Error> {
        let Some(id) = vm.host else { return Ok(()) };
        let host = match self.0.entry(id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(free) => match hosts::one(&op.m, tx, id).await? {
                Some(host) => free.insert(host),
                None => return Ok(()),
            },
        };
        let networks = hosts::networks(tx, spec).await?;
        let mut without = host.clone();
        without.allocated_memory_bytes = host.allocated_memory_bytes.saturating_sub(vm.host_memory_share());
        let mut reasons = without.reasons_against(spec, &networks);
        reasons.extend(more_disk(host, &hosts::stores(tx).await?, vm, spec));
        reasons.retain(matters);
        if !reasons.is_empty() {
            return Err(op.veil(no_room(vm, host, reasons)));
        }
        if active {
            let held = vm.observed.held_memory_bytes.unwrap_or(0);
            host.allocated_memory_bytes = without.allocated_memory_bytes.saturating_add(spec.host_memory_bytes().max(held));
        }
        Ok(())
    }
}

/// Reasons against the space that disks may come to need beyond what they may need now, on each data store.
fn more_disk(host: &HostView, stores: &[StoreView], vm: &Vm, spec: &VmSpec) -> Vec<Reason> {
    let bytes_on = |spec: &VmSpec, store| spec.disks.iter().filter(|d| d.store == store).map(|d| d.size_bytes).fold(0, u64::saturating_add);
    let mut all: Vec<Option<DataStoreId>> = spec.disks.iter().map(|d| d.store).collect();
    all.sort();
    all.dedup();
    let more = |store| bytes_on(spec, store).saturating_sub(bytes_on(&vm.spec, store));
    all.into_iter().filter(|s| more(*s) > 0).flat_map(|s| data_stores::against(host, stores, s, more(s))).collect()
}

pub(crate) fn no_room(vm: &Vm, host: &HostView, reasons: Vec<Reason>) -> Error {
    let list: Vec<String> = reasons.iter().map(Reason::text).collect();
    let message = format!("VM {} stays on host {}, where its disks are, and that host cannot take it: {}.", vm.name, host.name, list.join("; "));
    let hint = match reasons.first() {
        Some(Reason::NotUp { .. }) => "Bring the host back: check its virga-agent and its network.".to_string(),
        Some(Reason::Memory { needed_bytes, free_bytes }) => {
            format!("Free {} of memory on the host by stopping other VMs there, or give this VM less.", virga_model::size::human(needed_bytes - free_bytes))
        }
        _ => "Change what is named above.".to_string(),
    };
    let mut e = Error::new(ErrorCode::NoCapacity, message).with_hint(hint);
    e.refusals = vec![HostRefusal { host: host.id, host_name: host.name.clone(), reasons }];
    e
}

/// Violations of a specification, with the names that its fields have in requests.
pub(crate) fn in_request_words(e: Error) -> Error {
    const WORDS: [(&str, &str); 6] = [
        ("cpu.count", "cpus"),
        ("cpu.max", "cpus_max"),
        ("cpu.cores_per_socket", "cores_per_socket"),
        ("cpu.mode.model", "cpu_mode.model"),
        ("memory.bytes", "memory_bytes"),
        ("memory.max_bytes", "memory_max_bytes"),
    ];
    if e.code != ErrorCode::Invalid || e.violations.is_empty() {
        return e;
    }
    let renamed = e.violations.into_iter().map(|mut v| {
        if let Some((_, word)) = WORDS.iter().find(|(field, _)| *field == v.field) {
            v.field = (*word).into();
        }
        for (field, word) in WORDS {
            v.message = v.message.replace(field, word);
        }
        v
    });
    Error::invalid_all(renamed.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn violations_name_the_request_fields() {
        let e = in_request_words(Error::invalid("cpu.max", "must be between cpu.count (2) and 255"));
        assert_eq!(e.violations[0].field, "cpus_max");
        assert_eq!(e.violations[0].message, "must be between cpus (2) and 255");
    }
}
