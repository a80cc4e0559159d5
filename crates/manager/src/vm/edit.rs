//! Changing VMs. What a running guest cannot take now waits for its next start; the plan says which, and why.

use super::create::check_words;
use super::{Change, Room, conclude, free, in_request_words, load_for_change, not_going, step, transaction};
use crate::http::Op;
use virga_api::v1::{Accepted, PlanStep, VmUpdate};
use virga_model::change::{Change as Step, When, check_edit, diff};
use virga_model::refusal::Reason;
use virga_model::role::Privilege;
use virga_model::task::{TaskDoc, TaskKind};
use virga_model::vm::{Vm, VmSpec, VmState};
use virga_model::{Error, name};
use virga_store::Tx;

/// Changes a VM.
///
/// # Errors
/// NotFound, Forbidden, Invalid, Conflict, Locked, NoCapacity, PreconditionFailed.
pub async fn update(op: &Op, vm: &str, b: &VmUpdate, dry_run: bool) -> Result<Accepted, Error> {
    let mut tx = transaction(op, dry_run).await?;
    let vm = load_for_change(op, &mut tx, vm, Privilege::VmEdit).await?;
    let change = decide(op, &mut tx, &mut Room::default(), vm, b).await?;
    conclude(op, tx, change, dry_run).await
}

/// The change that `b` means; reads only.
pub(crate) async fn decide(op: &Op, tx: &mut Tx, room: &mut Room, vm: Vm, b: &VmUpdate) -> Result<Change, Error> {
    if let Some(n) = &b.name {
        name::check("name", n)?;
    }
    check_words(b.description.as_deref(), b.labels.as_ref())?;
    let mut after = vm.clone();
    after.name = b.name.clone().unwrap_or(after.name);
    after.description = b.description.clone().unwrap_or(after.description);
    after.labels = b.labels.clone().unwrap_or(after.labels);
    change_spec(&mut after.spec, b);
    to(op, tx, room, vm, after).await
}

fn change_spec(spec: &mut VmSpec, b: &VmUpdate) {
    if let Some(bytes) = b.memory_bytes {
        // Without room to grow there is none afterwards either, unless somebody asks for it.
        if spec.memory.max_bytes == spec.memory.bytes {
            spec.memory.max_bytes = bytes;
        }
        spec.memory.bytes = bytes;
    }
    spec.memory.max_bytes = b.memory_max_bytes.unwrap_or(spec.memory.max_bytes);
    spec.cpu.count = b.cpus.unwrap_or(spec.cpu.count);
    spec.cpu.max = b.cpus_max.unwrap_or(spec.cpu.max);
    spec.cpu.cores_per_socket = b.cores_per_socket.unwrap_or(spec.cpu.cores_per_socket);
    if let Some(mode) = &b.cpu_mode {
        spec.cpu.mode = mode.clone();
    }
    spec.firmware = b.firmware.unwrap_or(spec.firmware);
    if let Some(machine) = &b.machine {
        spec.machine.clone_from(machine);
    }
    if let Some(boot) = &b.boot {
        spec.boot.clone_from(boot);
    }
    if b.cloud_init.is_some() {
        spec.cloud_init.clone_from(&b.cloud_init);
    }
}

/// The change from `before` to `after`, whose specification is checked here; reads only.
pub(crate) async fn to(op: &Op, tx: &mut Tx, room: &mut Room, before: Vm, mut after: Vm) -> Result<Change, Error> {
    not_going(&before)?;
    if after.spec != before.spec {
        after.spec.normalize();
        after.spec.check().and_then(|()| check_edit(&before.spec, &after.spec)).map_err(in_request_words)?;
    }
    let steps = diff(&before.spec, &after.spec);
    let renamed = after.name != before.name;
    let mut plan = words(&before, &after);
    if after.spec == before.spec && !renamed {
        let detail = if plan.is_empty() { "nothing to do: it is so already".to_string() } else { "description or labels changed".into() };
        if plan.is_empty() {
            plan.push(step("nothing to do: it is so already"));
        }
        return Ok(Change { before, after, task: None, plan, detail });
    }
    free(tx, &before).await?;
    let gone = |d: virga_model::DiskId| !after.spec.disks.iter().any(|n| n.id == d);
    super::clone::ensure_none(Some(op), tx, &before, |s| gone(s.on.disk), "A disk of the VM").await?;
    room.fits(op, tx, &before, &after.spec, active(&before), matters(&before)).await?;
    plan.extend(steps.iter().map(|s| planned(s, &before, &after)));
    plan.extend(removed(&before, &after));
    let detail = plan.iter().map(|p| p.what.as_str()).collect::<Vec<_>>().join("; ");
    after.former_spec = (after.spec != before.spec).then(|| before.spec.clone());
    after.generation = before.generation + 1;
    let doc = TaskDoc { generation: after.generation, ..TaskDoc::default() };
    Ok(Change { before, after, task: Some((TaskKind::VmEdit, doc)), plan, detail })
}

/// Which reasons of the VM's host count: memory and processors only while it needs them.
fn matters(vm: &Vm) -> fn(&Reason) -> bool {
    if active(vm) {
        |r| matches!(r, Reason::Memory { .. } | Reason::Vcpus { .. } | Reason::Storage { .. } | Reason::DataStore { .. } | Reason::Network { .. })
    } else {
        |r| matches!(r, Reason::Vcpus { .. } | Reason::Storage { .. } | Reason::DataStore { .. } | Reason::Network { .. })
    }
}

/// Whether there is a guest that has been started with the present specification.
fn active(vm: &Vm) -> bool {
    vm.desired.is_active() || matches!(vm.observed.state, VmState::Running | VmState::Paused | VmState::Hibernated)
}

fn words(before: &Vm, after: &Vm) -> Vec<PlanStep> {
    let mut plan = Vec::new();
    if before.name != after.name {
        plan.push(step(format!("rename {} to {} (the guest's own host name does not change)", before.name, after.name)));
    }
    if before.description != after.description {
        plan.push(step("change the description"));
    }
    if before.labels != after.labels {
        plan.push(step("change the labels"));
    }
    plan
}

/// Detached disks whose data goes.
fn removed<'a>(before: &'a Vm, after: &'a Vm) -> impl Iterator<Item = PlanStep> + 'a {
    let there = |d: &virga_model::vm::DiskSpec| after.spec.disks.iter().chain(&after.spec.detached).any(|n| n.id == d.id);
    let gone = before.spec.detached.iter().filter(move |d| !there(d));
    gone.map(|d| step(format!("remove the detached disk {}; its data is removed for good", d.id)))
}

fn planned(s: &Step, vm: &Vm, after: &Vm) -> PlanStep {
    let what = match s {
        Step::DetachDisk(d) if after.spec.detached.iter().any(|k| k.id == d.id) => format!("{}; its data stays", Step::DetachDisk(d.clone()).text()),
        Step::DetachDisk(d) if vm.spec.layers.list.is_empty() => format!("{}; its data is removed for good", Step::DetachDisk(d.clone()).text()),
        Step::DetachDisk(d) => format!("{}; its data is removed, but for what snapshots have of it", Step::DetachDisk(d.clone()).text()),
        other => other.text(),
    };
    let after_restart = match s.when(&vm.spec) {
        When::AfterRestart(why) if active(vm) => Some(why),
        _ => None,
    };
    PlanStep { what, after_restart }
}
