//! Copies of rows in memory, so that a request does not read again what hardly ever changes: who calls, the hosts, and
//! the data stores that hosts watch.
//!
//! A copy is good while this process has committed no change of such rows ([`virga_store::Mark`]), and for
//! [`COPY_LIFE`] at most, because another manager may have. So a credential that was revoked is refused at once by the
//! manager that revoked it and within that time by every other (`reliability.md` Y7 allows 5 s). What takes room or
//! changes rights is never decided from a copy of loads or grants older than that, and rows stay the truth: nothing here
//! is written back.

use crate::auth::Caller;
use crate::state::{Manager, lock};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use virga_model::data_store::DataStoreSpec;
use virga_model::host::Host;
use virga_model::order::{Report, StoreRef, stores_digest};
use virga_model::{Error, HostId};
use virga_store::{Mark, Tx};

/// Longest life of a copy.
pub const COPY_LIFE: Duration = Duration::from_secs(2);
/// Most callers that are remembered.
const CALLERS_MAX: usize = 10_000;

/// All copies of one manager.
#[derive(Default)]
pub struct Copies {
    callers: Mutex<HashMap<String, Dated<Arc<Caller>>>>,
    hosts: Mutex<Option<Dated<Arc<Hosts>>>>,
    stores: Mutex<Option<Dated<Arc<Watched>>>>,
}

/// The data stores that every host watches, and what tells the list from another.
#[derive(Debug, Default)]
pub struct Watched {
    list: Vec<StoreRef>,
    digest: String,
}

/// A copy with the epoch before it was read, and when that was by the manager's steady clock.
struct Dated<T> {
    what: T,
    epoch: u64,
    at: Duration,
}

impl<T> Dated<T> {
    fn good(&self, epoch: u64, now: Duration) -> bool {
        self.epoch == epoch && now.saturating_sub(self.at) < COPY_LIFE
    }
}

/// The caller with the secret of this hash, if a good copy is there.
#[must_use]
pub fn caller(m: &Manager, sha256: &str) -> Option<Arc<Caller>> {
    let epoch = m.store.epoch(Mark::Credentials);
    lock(&m.copies.callers).get(sha256).filter(|d| d.good(epoch, m.steady())).map(|d| d.what.clone())
}

/// Keeps a caller that was read in a transaction of this epoch.
pub fn keep_caller(m: &Manager, sha256: &str, epoch: u64, what: Arc<Caller>) {
    let at = m.steady();
    let mut callers = lock(&m.copies.callers);
    if callers.len() >= CALLERS_MAX {
        callers.retain(|_, d| d.good(epoch, at));
    }
    if callers.len() < CALLERS_MAX {
        callers.insert(sha256.to_string(), Dated { what, epoch, at });
    }
}

/// All hosts, without what changes all the time.
#[derive(Debug, Default)]
pub struct Hosts {
    /// By id.
    pub list: Vec<Host>,
    places: HashMap<HostId, usize>,
}

impl Hosts {
    /// The host with this id.
    #[must_use]
    pub fn get(&self, id: HostId) -> Option<&Host> {
        self.places.get(&id).map(|i| &self.list[*i])
    }
}

impl From<Vec<Host>> for Hosts {
    fn from(mut list: Vec<Host>) -> Hosts {
        for h in &mut list {
            // The largest part, which neither placement nor lists of VMs look at.
            h.facts.foreign_vms = Vec::new();
        }
        Hosts { places: list.iter().enumerate().map(|(i, h)| (h.id, i)).collect(), list }
    }
}

/// All hosts.
///
/// # Errors
/// What the database says.
pub async fn hosts(m: &Manager, tx: &mut Tx) -> Result<Arc<Hosts>, Error> {
    let read = async |tx: &mut Tx| Ok::<_, Error>(Arc::new(Hosts::from(virga_store::host::all(tx).await?)));
    // A transaction that changes hosts must see its own changes, and nobody else may see them yet.
    let Some(epoch) = tx.epoch(Mark::Hosts) else { return read(tx).await };
    let (current, at) = (m.store.epoch(Mark::Hosts), m.steady());
    if let Some(copy) = lock(&m.copies.hosts).as_ref().filter(|d| d.good(current, at)) {
        return Ok(copy.what.clone());
    }
    let what = read(tx).await?;
    *lock(&m.copies.hosts) = Some(Dated { what: what.clone(), epoch, at });
    Ok(what)
}

/// The data stores that the host which made `report` shall watch, when it watches others. An agent that knows nothing of
/// data stores is told nothing.
///
/// # Errors
/// What the database says.
pub async fn stores_to_watch(m: &Manager, report: &Report) -> Result<Option<Vec<StoreRef>>, Error> {
    if report.stores_digest.is_empty() {
        return Ok(None);
    }
    let watched = watched(m).await?;
    Ok((watched.digest != report.stores_digest).then(|| watched.list.clone()))
}

async fn watched(m: &Manager) -> Result<Arc<Watched>, Error> {
    let (current, at) = (m.store.epoch(Mark::DataStores), m.steady());
    if let Some(copy) = lock(&m.copies.stores).as_ref().filter(|d| d.good(current, at)) {
        return Ok(copy.what.clone());
    }
    let mut tx = m.store.read().await?;
    let rows = virga_store::data_store::all(&mut tx).await?;
    drop(tx);
    let list: Vec<StoreRef> = rows.into_iter().filter(|s| s.spec != DataStoreSpec::Local).map(|s| StoreRef { id: s.id, name: s.name, spec: s.spec }).collect();
    let what = Arc::new(Watched { digest: stores_digest(&list), list });
    *lock(&m.copies.stores) = Some(Dated { what: what.clone(), epoch: current, at });
    Ok(what)
}
