//! Simulated shared storage: folders that several machines of one process see, and what can go wrong with each of them on
//! one machine: away, stalled, failing, full, read-only, or another one in its place.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use virga_agent::host::{Result, Stores};
use virga_model::clone::DiskOrigin;
use virga_model::data_store::{DataStoreSpec, Signature, StoreFact, StoreProblem};
use virga_model::order::StoreRef;
use virga_model::{DataStoreId, DiskId, Error, ImageId, VmId};

use crate::SimHost;
use crate::files::Key;
use crate::host::DISK_USE;

/// Bytes of a simulated share.
const SHARE_BYTES: u64 = 10 << 40;
/// Simulated milliseconds after which a share that stalls is given up.
const STALL_MS: u64 = 3_000;

/// What is wrong with a shared data store on one machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreFault {
    /// It is not mounted.
    Lost,
    /// It does not answer.
    Stalled,
    /// Every access fails.
    Failing,
    /// It cannot be written.
    ReadOnly,
    /// Another data store is mounted in its place.
    Wrong,
}

#[derive(Clone, Debug, Default)]
struct Share {
    signature: Option<Signature>,
    images: BTreeSet<ImageId>,
    /// Bytes that disks of all machines take.
    used: BTreeMap<DiskId, u64>,
    full: bool,
}

/// The shared folders that machines of one process see, by path. A path that nobody made is a folder without a signature.
#[derive(Clone, Debug, Default)]
pub struct Shares {
    folders: Arc<Mutex<BTreeMap<String, Share>>>,
    /// The machines that see them.
    seers: Arc<Mutex<Vec<Weak<SimHost>>>>,
}

impl Shares {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Share>> {
        self.folders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes all room away, or gives it back.
    pub fn set_full(&self, path: &str, full: bool) {
        self.lock().entry(path.into()).or_default().full = full;
    }

    /// The data store whose signature the folder carries.
    #[must_use]
    pub fn signed(&self, path: &str) -> Option<DataStoreId> {
        self.lock().get(path)?.signature.as_ref().map(|s| s.id)
    }
}

fn path_of(spec: &DataStoreSpec) -> Option<String> {
    match spec {
        DataStoreSpec::Local => None,
        DataStoreSpec::SharedDirectory { path, .. } => Some(path.clone()),
    }
}

impl SimHost {
    /// Lets the machine see these shared folders instead of its own.
    pub fn see(self: &Arc<Self>, shares: &Shares) {
        shares.seers.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(self));
        *self.shares.lock().unwrap_or_else(PoisonError::into_inner) = shares.clone();
    }

    /// The shared folders that the machine sees.
    #[must_use]
    pub fn seen(&self) -> Shares {
        self.shares.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The other machines that see the same folders.
    fn others(&self) -> Vec<Arc<SimHost>> {
        let all: Vec<_> = self.seen().seers.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade).collect();
        all.into_iter().filter(|h| !std::ptr::eq(&raw const **h, self)).collect()
    }

    /// Learns what a file of a shared folder reads as that another machine made and nobody writes any more.
    pub(crate) fn fetch_file(&self, store: Option<DataStoreId>, key: Key) {
        if store.is_none() || self.world().files.contains_key(&key) {
            return;
        }
        let content = self.others().iter().find_map(|h| h.world().shared_content(store, key));
        if let Some(content) = content {
            self.world().foreign.insert(key, content);
        }
    }

    /// The files of other VMs that stand on files of this one, on whatever machine they are.
    pub(crate) fn standing_everywhere(&self, vm: VmId) -> Vec<(VmId, DiskOrigin)> {
        let files: BTreeSet<Key> = self.world().files_of(vm);
        let mut out = self.world().standing_on(vm, &files);
        for h in self.others() {
            out.extend(h.world().standing_on(vm, &files));
        }
        out
    }

    fn path(&self, store: DataStoreId) -> Option<String> {
        self.world().known_stores.get(&store).cloned()
    }

    /// What a look shows at this moment, without waiting.
    fn fact(&self, store: DataStoreId) -> StoreFact {
        let lost = |problem, why: &str| StoreFact::lost(store, problem, why);
        let Some(path) = self.path(store) else { return lost(StoreProblem::Missing, "this host was not told where it is") };
        let fault = self.world().faults.store(&path);
        match fault {
            Some(StoreFault::Lost) => return lost(StoreProblem::Missing, "it is not mounted"),
            Some(StoreFault::Stalled) => return lost(StoreProblem::Stalled, "it does not answer"),
            Some(StoreFault::Failing) => return lost(StoreProblem::Failed, "input/output error"),
            Some(StoreFault::ReadOnly) => return lost(StoreProblem::ReadOnly, "it is read-only"),
            Some(StoreFault::Wrong) => return lost(StoreProblem::Wrong, "another data store is mounted there"),
            None => {}
        }
        let shares = self.seen();
        let shares = shares.lock();
        let share = shares.get(&path);
        match share.and_then(|s| s.signature.as_ref()) {
            None => lost(StoreProblem::Missing, "it carries no signature"),
            Some(s) if s.id != store => lost(StoreProblem::Wrong, "another data store is mounted there"),
            Some(_) => {
                let used: u64 = share.map_or(0, |s| s.used.values().sum());
                let full = share.is_some_and(|s| s.full);
                let free_bytes = if full { 0 } else { SHARE_BYTES.saturating_sub(used) };
                StoreFact { store, problem: None, why: String::new(), total_bytes: SHARE_BYTES, free_bytes, file_system: "simulated".into() }
            }
        }
    }

    /// That a data store (none: the local one, which always can) can take `bytes` more.
    pub(crate) async fn store_usable(&self, store: Option<DataStoreId>, bytes: u64) -> Result<()> {
        let Some(id) = store else { return Ok(()) };
        let fact = self.store_look(id).await;
        match fact.problem {
            Some(StoreProblem::Wrong) => Err(Error::host(format!("The data store cannot be used: {}.", fact.why))),
            Some(_) => Err(Error::unavailable(format!("The data store cannot be used: {}.", fact.why))),
            None if bytes > 0 && fact.free_bytes < bytes / DISK_USE => {
                Err(Error::host("The disk could not be made: no space left on the data store.").with_hint("Free space there, or choose another data store."))
            }
            None => Ok(()),
        }
    }

    /// The data stores that the machine can use at this moment.
    pub(crate) fn usable_stores(&self) -> Vec<DataStoreId> {
        let known: Vec<DataStoreId> = self.world().known_stores.keys().copied().collect();
        known.into_iter().filter(|s| self.fact(*s).reachable()).collect()
    }

    /// Counts what a disk takes of a shared folder.
    pub(crate) fn take_room(&self, store: Option<DataStoreId>, disk: DiskId, size_bytes: u64) {
        if let Some(path) = store.and_then(|s| self.path(s)) {
            self.seen().lock().entry(path).or_default().used.insert(disk, size_bytes / DISK_USE);
        }
    }

    /// Gives back what a disk took.
    pub(crate) fn give_room(&self, store: Option<DataStoreId>, disk: DiskId) {
        if let Some(path) = store.and_then(|s| self.path(s))
            && let Some(share) = self.seen().lock().get_mut(&path)
        {
            share.used.remove(&disk);
        }
    }

    /// Images in the cache of a data store.
    pub(crate) fn cached(&self, store: Option<DataStoreId>) -> Result<BTreeSet<ImageId>> {
        let Some(id) = store else { return Ok(self.world().images.clone()) };
        let path = self.path(id).ok_or_else(|| Error::internal("This host was not told where the data store is."))?;
        Ok(self.seen().lock().get(&path).map(|s| s.images.clone()).unwrap_or_default())
    }

    /// Takes an image into the cache of a data store.
    pub(crate) fn cache(&self, store: Option<DataStoreId>, image: ImageId) -> Result<()> {
        match store {
            None => drop(self.world().images.insert(image)),
            Some(id) => {
                let path = self.path(id).ok_or_else(|| Error::internal("This host was not told where the data store is."))?;
                self.seen().lock().entry(path).or_default().images.insert(image);
            }
        }
        Ok(())
    }

    /// Removes an image from every shared folder that the machine can use.
    pub(crate) fn uncache(&self, image: ImageId) {
        let paths: Vec<String> = self.usable_stores().into_iter().filter_map(|s| self.path(s)).collect();
        let shares = self.seen();
        let mut shares = shares.lock();
        for path in paths {
            if let Some(s) = shares.get_mut(&path) {
                s.images.remove(&image);
            }
        }
    }
}

#[async_trait]
impl Stores for SimHost {
    fn stores_know(&self, stores: &[StoreRef]) {
        let mut w = self.world();
        w.known_stores.extend(stores.iter().filter_map(|s| Some((s.id, path_of(&s.spec)?))));
    }

    async fn store_look(&self, store: DataStoreId) -> StoreFact {
        let fact = self.fact(store);
        if fact.problem == Some(StoreProblem::Stalled) {
            virga_agent::host::Clock::sleep_ms(self, STALL_MS).await;
        }
        fact
    }

    async fn store_ensure(&self, store: &StoreRef) -> Result<()> {
        self.stores_know(std::slice::from_ref(store));
        let Some(path) = path_of(&store.spec) else { return Ok(()) };
        if let Some(fault) = self.world().faults.store(&path) {
            return Err(Error::host(format!("The folder {path} cannot be used: {fault:?}.")));
        }
        let shares = self.seen();
        let mut shares = shares.lock();
        let share = shares.entry(path.clone()).or_default();
        let news = share.signature.is_none();
        let found = share.signature.get_or_insert_with(|| Signature { id: store.id, name: store.name.clone() });
        if found.id != store.id {
            return Err(Error::conflict(format!("The folder {path} is already data store {} ({}).", found.name, found.id)));
        }
        drop(shares);
        if news {
            self.note(format!("store_ensure {path}"));
        }
        Ok(())
    }

    async fn store_remove(&self, store: &StoreRef) -> Result<()> {
        self.stores_know(std::slice::from_ref(store));
        let Some(path) = path_of(&store.spec) else { return Ok(()) };
        let shares = self.seen();
        let mut shares = shares.lock();
        if shares.get(&path).is_some_and(|s| !s.used.is_empty()) {
            return Err(Error::conflict(format!("Disks still lie on data store {}.", store.name)));
        }
        if shares.get(&path).and_then(|s| s.signature.as_ref()).is_some_and(|s| s.id == store.id) {
            shares.remove(&path);
            drop(shares);
            self.note(format!("store_remove {path}"));
        }
        Ok(())
    }
}
