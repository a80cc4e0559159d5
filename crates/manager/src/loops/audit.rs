//! The loop over audit records: signs an anchor each minute in which there was something new, brings anchors to the
//! places outside, walks the whole chain each hour, and removes records by age.
//!
//! It must never remove anything but the beginning of the chain, and that only up to an anchor that says so.

use super::{Loop, lease, report, wait};
use crate::anchor::{Signer, Sinks};
use crate::event::{self, Note};
use crate::state::Manager;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use virga_model::Error;
use virga_model::event::{AuditRecord, Severity};
use virga_model::task::ObjectRef;

/// How often anchors are made.
const EVERY: Duration = Duration::from_secs(60);
/// How often the whole chain is walked.
const WALK_EVERY: Duration = Duration::from_secs(3600);
/// Anchors brought outside in one round.
const ANCHORS_MAX: u32 = 1000;
/// About how many records are removed at once, so that no writer waits long.
const PRUNE_MAX: u32 = 10_000;
const DAY_SECONDS: i64 = 86_400;

/// What the loop keeps between two rounds: nothing that cannot be found again.
#[derive(Debug)]
pub struct Anchors {
    signer: Signer,
    sinks: Sinks,
    walked_at: Option<Duration>,
    /// What was last said to be wrong, so that it is said once.
    said: String,
}

impl Anchors {
    /// Reads or makes the key in the state folder.
    ///
    /// # Errors
    /// When the key cannot be read or made.
    pub fn open(m: &Manager, sinks: Sinks) -> Result<Anchors, Error> {
        Ok(Anchors { signer: Signer::open(&m.state_folder)?, sinks, walked_at: None, said: String::new() })
    }
}

/// Starts the loop; it ends when `stop` becomes true.
#[must_use]
pub fn spawn(m: &Arc<Manager>, stop: &watch::Receiver<bool>, mut anchors: Anchors) -> JoinHandle<()> {
    let (m, mut stop) = (m.clone(), stop.clone());
    let l = Loop { name: "audit", every: EVERY, shared: true };
    tokio::spawn(async move {
        while !wait(&m, &mut stop, l.every).await {
            if lease(&m, &l).await {
                report(l.name, round(&m, &mut anchors).await);
            }
        }
    })
}

/// One round.
///
/// # Errors
/// What the database says, or that anchors cannot be brought outside; the next round tries again.
pub async fn round(m: &Manager, a: &mut Anchors) -> Result<(), Error> {
    let fresh = anchor(m, a).await?;
    let outside = outside(m, a, fresh).await;
    if a.walked_at.is_none_or(|at| m.steady().saturating_sub(at) >= WALK_EVERY) {
        walk(m, a).await?;
        prune(m, a).await?;
        a.walked_at = Some(m.steady());
    }
    outside
}

/// Signs where the chain is, when it has grown.
async fn anchor(m: &Manager, a: &mut Anchors) -> Result<bool, Error> {
    let mut tx = m.store.write().await?;
    let (seq, chain) = virga_store::audit::head(&mut tx).await?;
    let last = virga_store::audit_anchor::last(&mut tx).await?.map_or(0, |a| a.seq);
    let Some(chain) = chain.filter(|_| seq > last) else { return Ok(false) };
    virga_store::audit_anchor::insert(&mut tx, &a.signer.sign(seq, &chain, m.now(), false)?).await?;
    tx.commit().await?;
    Ok(true)
}

/// Brings the file up to date, also after it could not be written for a while, and tells the syslog of a new anchor.
async fn outside(m: &Manager, a: &mut Anchors, fresh: bool) -> Result<(), Error> {
    let there = a.sinks.last_in_file()?;
    let mut tx = m.store.read().await?;
    let newer = virga_store::audit_anchor::after(&mut tx, there, ANCHORS_MAX).await?;
    let last = virga_store::audit_anchor::last(&mut tx).await?;
    let (head, _) = virga_store::audit::head(&mut tx).await?;
    drop(tx);
    if there > head {
        complain(m, a, &format!("The audit records end at {head}, but an anchor in the file says that there were {there}: records were cut off.")).await?;
    }
    a.sinks.add_to_file(&newer)?;
    match last.filter(|_| fresh) {
        Some(last) => a.sinks.send(&last),
        None => Ok(()),
    }
}

/// Walks the whole chain.
async fn walk(m: &Manager, a: &mut Anchors) -> Result<(), Error> {
    let broken = virga_store::audit::verify(&mut m.store.read().await?).await?;
    match broken {
        None => a.said.clear(),
        Some(id) => {
            let text = format!("The chain of audit records breaks at record {id}: it was altered, removed or inserted.");
            complain(m, a, &text).await?;
        }
    }
    Ok(())
}

async fn complain(m: &Manager, a: &mut Anchors, text: &str) -> Result<(), Error> {
    tracing::error!("{text}");
    if a.said == text {
        return Ok(());
    }
    let mut tx = m.store.write().await?;
    event::append(&mut tx, &Note { severity: Severity::Error, ..Note::plain(m.now(), "audit.broken", ObjectRef::System, "audit", text) }).await?;
    tx.commit().await?;
    a.said = text.into();
    m.committed();
    Ok(())
}

/// Removes records that are older than the retention.
async fn prune(m: &Manager, a: &Anchors) -> Result<(), Error> {
    let now = m.now();
    let mut tx = m.store.write().await?;
    let days = crate::audit::days(&mut tx).await?;
    let before = now.plus_seconds(-i64::from(days) * DAY_SECONDS);
    let Some(at) = virga_store::audit_anchor::prunable(&mut tx, before, PRUNE_MAX).await? else { return Ok(()) };
    let anchor = a.signer.sign(at.seq, &at.chain, now, true)?;
    let n = virga_store::audit_anchor::prune(&mut tx, &anchor).await?;
    let record = AuditRecord {
        id: 0,
        at: now,
        user: None,
        actor: "system".into(),
        source: "local".into(),
        operation: "audit_prune".into(),
        object: ObjectRef::System,
        object_name: "audit".into(),
        result: "ok".into(),
        request_id: String::new(),
        detail: format!("{n} records up to {} removed: older than {days} days", at.seq),
    };
    virga_store::audit::append(&mut tx, &record).await?;
    Ok(tx.commit().await?)
}
