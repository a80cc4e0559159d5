//! Tells when a host goes silent and when it comes back. It concludes nothing else: silence is never death.

use crate::event::{self, Note};
use crate::state::Manager;
use std::collections::HashMap;
use virga_model::event::Severity;
use virga_model::host::{Host, HostState};
use virga_model::task::ObjectRef;
use virga_model::{Error, HostId};

/// The state of each host when it was last looked at.
#[derive(Default)]
pub struct Seen(HashMap<HostId, HostState>);

/// One round.
pub async fn round(m: &Manager, seen: &mut Seen) -> Result<(), Error> {
    let mut tx = m.store.read().await?;
    let hosts = virga_store::host::all(&mut tx).await?;
    drop(tx);
    let now = m.now();
    let states: HashMap<HostId, HostState> = hosts.iter().map(|h| (h.id, m.host_state(h))).collect();
    // A host that was not seen before (a new one, or a manager that has just started) makes no event.
    let changed: Vec<&Host> = hosts.iter().filter(|h| seen.0.get(&h.id).is_some_and(|before| *before != states[&h.id])).collect();
    if !changed.is_empty() {
        let mut tx = m.store.write().await?;
        for h in changed {
            event::append(&mut tx, &note(h, states[&h.id], now)).await?;
        }
        tx.commit().await?;
        m.committed();
    }
    seen.0 = states;
    Ok(())
}

fn note(h: &Host, state: HostState, now: virga_model::Time) -> Note<'_> {
    let (kind, severity, message) = match state {
        HostState::Up => ("host.up", Severity::Info, "The host reports."),
        HostState::Silent => ("host.silent", Severity::Warning, "The host does not report. Its VMs may well run; nothing is started elsewhere."),
        HostState::Joining => ("host.joining", Severity::Info, "The host has not reported yet."),
    };
    Note { severity, host: Some(h.id), ..Note::plain(now, kind, ObjectRef::Host(h.id), &h.name, message) }
}
