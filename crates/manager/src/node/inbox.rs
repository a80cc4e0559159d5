//! Reports that have something to write, gathered: whoever gets the turn writes what all who wait have brought, in one
//! transaction. With a thousand hosts, commits are what costs, and a report that waits for its turn has nothing else to do.
//!
//! Nothing is answered before it is committed, nothing is kept here that was answered, and one report that cannot be
//! written never takes others along.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;
use tokio::sync::oneshot;
use virga_model::host::Host;
use virga_model::order::Report;
use virga_model::{Error, HostId, Time};

use super::report::write;
use crate::state::{Manager, lock};

/// Reports in one transaction.
const REPORTS_MAX: usize = 64;
/// VMs in one transaction, so that other writers do not wait long for it.
const VMS_MAX: usize = 1_000;
/// Hosts whose last report is noted are gathered for so long.
const GATHER: Duration = Duration::from_secs(2);

/// The revision that a report was behind; 0: none.
type Answer = Result<u64, Error>;

/// A report that waits to be written.
struct Waiting {
    host: Host,
    report: Report,
    answer: oneshot::Sender<Answer>,
}

/// What waits.
#[derive(Default)]
pub struct Inbox {
    waiting: Mutex<VecDeque<Waiting>>,
    turn: tokio::sync::Mutex<()>,
    stamps: Mutex<Stamps>,
}

/// Hosts that were heard of and whose rows do not say so yet.
#[derive(Default)]
struct Stamps {
    hosts: Vec<(HostId, Time)>,
    written: Option<Duration>,
}

/// Brings a report into the rows.
///
/// # Errors
/// The database is not there; then nothing of it was written.
pub(super) async fn bring(m: &Manager, host: Host, report: Report) -> Answer {
    let (answer, mut answered) = oneshot::channel();
    lock(&m.inbox.waiting).push_back(Waiting { host, report, answer });
    let _turn = m.inbox.turn.lock().await;
    // Whoever had the turn before may have written this one as well. One batch holds at least one report, so this ends.
    loop {
        match answered.try_recv() {
            Ok(answer) => return answer,
            Err(oneshot::error::TryRecvError::Closed) => return Err(Error::unavailable("The report was not written.")),
            Err(oneshot::error::TryRecvError::Empty) => {}
        }
        let batch = next_batch(&mut lock(&m.inbox.waiting));
        write_batch(m, batch).await;
    }
}

/// The reports that waited longest, as many as belong into one transaction.
fn next_batch(waiting: &mut VecDeque<Waiting>) -> Vec<Waiting> {
    let (mut batch, mut vms) = (Vec::new(), 0);
    while batch.len() < REPORTS_MAX && (batch.is_empty() || vms < VMS_MAX) {
        let Some(w) = waiting.pop_front() else { break };
        vms += w.report.vms.len();
        batch.push(w);
    }
    batch
}

async fn write_batch(m: &Manager, batch: Vec<Waiting>) {
    match write_all(m, &batch).await {
        Ok(behind) => batch.into_iter().zip(behind).for_each(|(w, b)| drop(w.answer.send(Ok(b)))),
        Err(e) if batch.len() == 1 => batch.into_iter().for_each(|w| drop(w.answer.send(Err(e.clone())))),
        // One of them cannot be written: each by itself, so that it is the only one.
        Err(_) => {
            for w in batch {
                let answer = write_all(m, std::slice::from_ref(&w)).await.map(|b| b.first().copied().unwrap_or(0));
                // Nobody waits any more: the agent will report everything anew.
                let _ = w.answer.send(answer);
            }
        }
    }
}

async fn write_all(m: &Manager, batch: &[Waiting]) -> Result<Vec<u64>, Error> {
    if batch.is_empty() {
        return Ok(Vec::new());
    }
    let now = m.now();
    let mut tx = m.store.write().await?;
    let mut behind = Vec::with_capacity(batch.len());
    for w in batch {
        behind.push(write(&mut tx, &w.host, &w.report, now).await?);
    }
    tx.commit().await?;
    m.committed();
    Ok(behind)
}

/// Notes that a host was heard of. Rows of many hosts are written together, at most every two seconds.
///
/// # Errors
/// The database is not there.
pub(super) async fn stamp(m: &Manager, host: HostId) -> Result<(), Error> {
    let due = {
        let mut s = lock(&m.inbox.stamps);
        if !s.hosts.iter().any(|(h, _)| *h == host) {
            s.hosts.push((host, m.now()));
        }
        let steady = m.steady();
        if s.written.is_some_and(|at| steady.saturating_sub(at) < GATHER) {
            return Ok(());
        }
        s.written = Some(steady);
        std::mem::take(&mut s.hosts)
    };
    let mut tx = m.store.write().await?;
    for (host, at) in due {
        virga_store::host::set_last_report(&mut tx, host, at).await?;
    }
    Ok(tx.commit().await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use virga_model::order::VmReport;

    fn waiting(vms: usize) -> Waiting {
        let host: Host = serde_json::from_value(serde_json::json!({
            "id": uuid::Uuid::nil(), "name": "h", "address": "a:1", "maintenance": false, "certificate_sha256": "", "generation": 1,
            "epoch": 1, "facts": {}, "last_report_at": null, "created_at": "2026-01-01T00:00:00Z"
        }))
        .unwrap();
        let vm = VmReport { id: uuid::Uuid::nil().into(), observed: Default::default(), progress: None };
        let report = Report {
            sequence: 1,
            agent_started_at: Time(0),
            revision: 0,
            now: Time(0),
            full: true,
            hypervisor_up: true,
            vms: vec![vm; vms],
            facts: None,
            foreign_vms: None,
            stores: None,
            stores_digest: String::new(),
            host_sample: None,
            vm_samples: Vec::new(),
        };
        Waiting { host, report, answer: oneshot::channel().0 }
    }

    #[test]
    fn a_batch_is_bounded_and_never_empty_while_somebody_waits() {
        let mut queue: VecDeque<Waiting> = (0..200).map(|_| waiting(1)).collect();
        assert_eq!(next_batch(&mut queue).len(), REPORTS_MAX);
        assert_eq!(queue.len(), 200 - REPORTS_MAX);
        let mut queue: VecDeque<Waiting> = [waiting(5_000), waiting(1)].into();
        assert_eq!(next_batch(&mut queue).len(), 1, "a large one goes alone");
        let mut queue: VecDeque<Waiting> = (0..40).map(|_| waiting(78)).collect();
        assert_eq!(next_batch(&mut queue).len(), 13, "until there are enough VMs");
        assert!(next_batch(&mut VecDeque::new()).is_empty());
    }
}
