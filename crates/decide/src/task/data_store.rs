//! Tasks on data stores: one host signs a new one, one host that reaches it removes the signature of one that ends. All
//! others find out by looking.
//!
//! The way back of a creation is the removal of what may have been signed. A removal that a host refuses, because disks
//! lie there after all, leaves the data store as it was.

use super::{Call, Facts, HostFact, POLL_MS, SILENT_HOST_PATIENCE_MS, Step, Write};
use virga_model::data_store::DataStoreState as S;
use virga_model::host::HostState;
use virga_model::task::{Task, TaskKind, Undo};
use virga_model::{Error, Time};

fn to(state: Option<S>, undo: Option<Undo>) -> Step {
    Step::Write(Write::DataStore { state, undo })
}

fn end(undo: &Undo) -> Step {
    match undo {
        Undo::Cancelled => Step::Cancelled("Stopped.".into()),
        Undo::Failed(e) => Step::Failed(e.clone()),
    }
}

pub(super) fn create(task: &Task, facts: &Facts, now: Time) -> Step {
    let state = facts.data_store.as_ref().map(|s| s.state);
    if let Some(undo) = &task.doc.undo {
        return match state {
            None => end(undo),
            Some(S::Dropping) => unsign(task, facts, now),
            Some(_) => to(None, None),
        };
    }
    match state {
        Some(S::Ready) => Step::Done("The data store is ready.".into()),
        Some(S::Creating) if task.cancel => to(Some(S::Dropping), Some(Undo::Cancelled)),
        Some(S::Creating) => match up(facts) {
            Some(h) => Step::Call(Call::EnsureStore(h.id)),
            None if late(task, now) => {
                let e = Error::unavailable("The host that should sign the data store does not report.").with_hint("Choose another host, or bring it back.");
                to(Some(S::Dropping), Some(Undo::Failed(e)))
            }
            None => waiting(facts),
        },
        _ => Step::Failed(Error::conflict("The data store is gone.")),
    }
}

/// Takes back what a creation may have signed. A host that does not report is not waited for without end: what it may have
/// signed is found when the folder is used anew.
fn unsign(task: &Task, facts: &Facts, now: Time) -> Step {
    match up(facts) {
        Some(h) => Step::Call(Call::DropStore(h.id)),
        None if late(task, now) || facts.host.is_none() => to(None, None),
        None => waiting(facts),
    }
}

pub(super) fn delete(task: &Task, facts: &Facts, now: Time) -> Step {
    match (facts.data_store.as_ref().map(|s| s.state), &task.doc.undo) {
        (None, _) => Step::Done("The data store is removed.".into()),
        (Some(S::Ready), Some(undo)) => end(undo),
        (Some(S::Dropped), _) => to(None, None),
        (Some(S::Deleting), None) if task.cancel => to(Some(S::Ready), Some(Undo::Cancelled)),
        (Some(S::Deleting), None) if task.doc.forget => to(None, None),
        // Written before any host is told: from then on nobody can know whether the signature is still there.
        (Some(S::Deleting), None) => match holder(facts) {
            Some(_) => to(Some(S::Dropping), None),
            None if late(task, now) => {
                let e = Error::unavailable("No host reaches the data store, so its signature cannot be removed.")
                    .with_hint("Mount it on a host again; or remove it with forget, and clear the folder by hand.");
                to(Some(S::Ready), Some(Undo::Failed(e)))
            }
            None => Step::Wait { ms: POLL_MS, why: "waiting for a host that reaches the data store".into(), progress: None },
        },
        (Some(S::Dropping), None) => match holder(facts) {
            Some(h) => Step::Call(Call::DropStore(h.id)),
            // Whoever was told has done it, or the storage is gone with it.
            None if late(task, now) => to(None, None),
            None => Step::Wait { ms: POLL_MS, why: "waiting for a host that reaches the data store".into(), progress: None },
        },
        _ => Step::Failed(Error::conflict("The data store is not being removed any more.")),
    }
}

/// A host has refused, and nothing has changed there.
pub(super) fn refused(task: &Task, call: &Call, e: &Error) -> Step {
    match (task.kind, call) {
        // Nothing was signed, but whoever asked twice cannot know: the way back looks.
        (TaskKind::DataStoreCreate, Call::EnsureStore(_)) => to(Some(S::Dropping), Some(Undo::Failed(e.clone()))),
        (TaskKind::DataStoreCreate, _) => to(None, None),
        _ => to(Some(S::Ready), Some(Undo::Failed(e.clone()))),
    }
}

fn holder(facts: &Facts) -> Option<&HostFact> {
    facts.holders.iter().find(|h| h.state == HostState::Up)
}

fn up(facts: &Facts) -> Option<&HostFact> {
    facts.host.as_ref().filter(|h| h.state == HostState::Up)
}

fn late(task: &Task, now: Time) -> bool {
    now.millis_since(task.created_at) > SILENT_HOST_PATIENCE_MS
}

fn waiting(facts: &Facts) -> Step {
    let name = facts.host.as_ref().map_or("the host", |h| h.name.as_str());
    Step::Wait { ms: POLL_MS, why: format!("waiting for {name}, which does not report"), progress: None }
}
