//! Tasks on images and networks, and batches.

use super::{Call, Facts, HostFact, POLL_MS, SILENT_HOST_PATIENCE_MS, Step, Write};
use virga_model::host::HostState;
use virga_model::order::Progress;
use virga_model::task::{Task, TaskState};
use virga_model::{Error, Time};

pub(super) fn image_delete(task: &Task, facts: &Facts, now: Time) -> Step {
    if facts.image.is_none() {
        return Step::Done("The image is removed.".into());
    }
    drop_everywhere(task, facts, now, Call::DropImage, Write::RemoveImage)
}

pub(super) fn network_delete(task: &Task, facts: &Facts, now: Time) -> Step {
    if facts.network.is_none() {
        return Step::Done("The network is removed.".into());
    }
    drop_everywhere(task, facts, now, Call::DropNetwork, Write::RemoveNetwork)
}

/// Removes from each host that has it, then the row. A host that is silent for too long is not waited for: what it
/// keeps is unused, and it is told again when the object's name is used anew.
fn drop_everywhere(task: &Task, facts: &Facts, now: Time, call: fn(virga_model::HostId) -> Call, last: Write) -> Step {
    if let Some(h) = facts.holders.iter().find(|h| h.state == HostState::Up) {
        return Step::Call(call(h.id));
    }
    if facts.holders.is_empty() || now.millis_since(task.created_at) > SILENT_HOST_PATIENCE_MS {
        return Step::Write(last);
    }
    let names: Vec<&str> = facts.holders.iter().map(|h: &HostFact| h.name.as_str()).collect();
    Step::Wait { ms: POLL_MS, why: format!("waiting for {}, which do not report", names.join(", ")), progress: None }
}

/// A batch ends when all of its children have ended.
pub(super) fn batch(task: &Task, facts: &Facts) -> Step {
    let total = facts.children.len() as u64;
    let ended = facts.children.iter().filter(|c| c.state.is_final()).count() as u64;
    let failed: Vec<&super::Child> = facts.children.iter().filter(|c| c.state == TaskState::Failed).collect();
    if ended < total {
        let progress = Progress { step: format!("{ended} of {total} VMs"), done: ended, total, unit: "vms".into() };
        return Step::Wait { ms: POLL_MS, why: progress.step.clone(), progress: Some(progress) };
    }
    if let Some(first) = failed.first() {
        let why = first.error.as_ref().map_or(String::new(), |e| format!(" The first was {}: {}", first.object_name, e.message));
        return Step::Failed(Error::host(format!("{} of {total} VMs failed.{why}", failed.len())));
    }
    if task.cancel && facts.children.iter().any(|c| c.state == TaskState::Cancelled) {
        return Step::Cancelled("Stopped.".into());
    }
    Step::Done(format!("All {total} VMs."))
}
