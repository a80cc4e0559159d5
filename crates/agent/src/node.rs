//! One node: its VMs, the calls of managers, and what it remembers across restarts.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, Semaphore};
use virga_crash::{Step, step};
use virga_model::data_store::StoreFact;
use virga_model::order::{Act, ActResult, CallHead, NodeAnswer, NodeCall, Progress, StoreRef, VmOrder, VmReport, stores_digest};
use virga_model::vm::{AgentState, GuestInfo, Observed, VmState};
use virga_model::{DataStoreId, Error, ImageId, TaskId, Time, VmId};

use crate::clone::COPIES_MAX;
use crate::host::{Domain, Host, Journal, Result};
use crate::image::Fetches;
use crate::link::Link;
use crate::record::{Record, is_active};

/// Guests that are started at the same moment; more only make each other slower.
pub const STARTS_MAX: usize = 4;
/// Milliseconds for which a removed VM's generation is remembered, so that a late order of before is refused.
pub const GONE_REMEMBERED_MS: i64 = 24 * 3600 * 1000;

/// Lives of an agent that are passed over when its count was lost: starts of which no manager may have heard yet.
const LIVES_PASSED_OVER: u64 = 256;
/// Seconds of the wall clock at which lives begin to be counted: the year 2020.
const FIRST_LIFE_S: i64 = 1_577_836_800;

/// The number of an agent's next life, after `last` (0: its journal is new). A new journal begins at the wall clock, so that
/// what was said before another one was lost is older, too; where the clock is wrong a manager says so, and
/// [`Node::count_above`] mends it.
fn next_life(last: i64, now: Time) -> i64 {
    if last == 0 { (now.0 / 1_000_000 - FIRST_LIFE_S).clamp(1, i64::from(i32::MAX) / 2) } else { last + 1 }
}
/// The journal's document of the data stores to watch.
const STORES: &str = "stores";

/// One node.
pub struct Node {
    pub(crate) host: Arc<dyn Host>,
    pub(crate) link: Arc<dyn Link>,
    journal: Arc<dyn Journal>,
    slots: Mutex<BTreeMap<VmId, Arc<Slot>>>,
    pub(crate) fetches: Fetches,
    pub(crate) starts: Semaphore,
    pub(crate) copies: Semaphore,
    /// Wakes the report loop.
    pub(crate) changed: Notify,
    /// The same, for what somebody waits for: an order is settled.
    pub(crate) settled: Notify,
    /// Held while a newer one is journalled, so that an older one never overwrites it.
    epoch: tokio::sync::Mutex<i64>,
    /// Revisions of what is said about VMs; the upper half names this life of the agent: each start has a higher one.
    revisions: Arc<AtomicU64>,
    /// The data stores to watch, and what was found.
    stores: Mutex<BTreeMap<DataStoreId, Watched>>,
    /// Wakes who watches the data stores.
    pub(crate) stores_changed: Notify,
    /// Numbers the looks at the hypervisor, in the order in which they began.
    looks: AtomicU64,
    pub(crate) started_at: Time,
}

/// When a look at the hypervisor began, among all looks of this agent. The list of all VMs takes its time, and meanwhile
/// somebody may have looked at one of them again: what an older look brings never replaces what a newer one has brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Look(u64);

/// A data store that is watched.
#[derive(Clone, Debug)]
struct Watched {
    store: StoreRef,
    /// None: not looked at yet.
    fact: Option<StoreFact>,
    /// Images in its cache, when it was last reached.
    images: Vec<ImageId>,
}

impl Watched {
    fn new(store: StoreRef) -> Watched {
        Watched { store, fact: None, images: Vec::new() }
    }
}

/// A VM on this node.
pub struct Slot {
    pub(crate) id: VmId,
    record: Mutex<Record>,
    /// Serialises writes of the journal's document.
    writing: tokio::sync::Mutex<()>,
    live: Mutex<Live>,
    /// Whether somebody works on the order.
    busy: Mutex<bool>,
    acting: Mutex<HashSet<TaskId>>,
    /// A newer order has come.
    newer: Notify,
    /// What was last said, with its revision.
    said: Mutex<Observed>,
    revisions: Arc<AtomicU64>,
}

/// What is true now; never journalled.
#[derive(Clone, Default)]
struct Live {
    /// The look that state and domain come from.
    seen_by: Look,
    state: VmState,
    domain: Option<Domain>,
    guest: GuestInfo,
    progress: Option<Progress>,
}

/// A poisoned lock means that another thread panicked while it held plain data: the data is still usable.
fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Slot {
    fn new(record: Record, revisions: &Arc<AtomicU64>) -> Slot {
        Slot {
            id: record.order.id,
            record: Mutex::new(record),
            writing: tokio::sync::Mutex::new(()),
            live: Mutex::default(),
            busy: Mutex::new(false),
            acting: Mutex::default(),
            newer: Notify::new(),
            said: Mutex::default(),
            revisions: revisions.clone(),
        }
    }

    /// Looks at the record without copying it.
    pub(crate) fn look_at<T>(&self, look: impl FnOnce(&Record) -> T) -> T {
        look(&lock(&self.record))
    }

    /// A copy of the record.
    pub(crate) fn record(&self) -> Record {
        lock(&self.record).clone()
    }

    /// Changes the record; it is on stable storage when this returns. `why` is the crash point of this write.
    pub(crate) async fn update(&self, node: &Node, why: Step, change: impl FnOnce(&mut Record)) -> Result<()> {
        let _one_at_a_time = self.writing.lock().await;
        let mut record = self.record();
        change(&mut record);
        let document = serde_json::to_vec(&record).map_err(|e| Error::internal(e.to_string()))?;
        step(why, node.journal.put(&self.id.to_string(), &document)).await?;
        *lock(&self.record) = record;
        Ok(())
    }

    /// Comes back when the newest order is not that of `generation` any more.
    pub(crate) async fn superseded(&self, generation: i64) {
        loop {
            let newer = self.newer.notified();
            let mut newer = std::pin::pin!(newer);
            // Before the look, so that what comes between is heard.
            newer.as_mut().enable();
            if self.look_at(|r| r.order.generation != generation) {
                return;
            }
            newer.await;
        }
    }

    pub(crate) fn state(&self) -> VmState {
        lock(&self.live).state
    }

    /// Notes what the hypervisor shows, unless a newer look has been noted.
    pub(crate) fn observe(&self, look: Look, domain: Option<&Domain>) {
        let mut live = lock(&self.live);
        if look < live.seen_by {
            return;
        }
        live.seen_by = look;
        live.state = domain.map_or(VmState::Absent, |d| d.state);
        live.domain = domain.cloned();
        if !is_active(live.state) {
            live.guest = GuestInfo { agent_version: live.guest.agent_version.take(), ..GuestInfo::default() };
        }
    }

    /// Notes that a look found nothing out, unless a newer one has.
    pub(crate) fn unknown(&self, look: Look) {
        let mut live = lock(&self.live);
        if look >= live.seen_by {
            live.seen_by = look;
            live.state = VmState::Unknown;
        }
    }

    /// Notes what the guest says.
    pub(crate) fn guest_says(&self, info: GuestInfo) {
        let mut info = crate::guest::bounded(info);
        let mut live = lock(&self.live);
        if info.agent != AgentState::Connected {
            // What was known stays known; only the agent's state changes.
            let state = if live.guest.agent == AgentState::NotRunning { AgentState::NotRunning } else { AgentState::Lost };
            info = GuestInfo { agent: state, ..live.guest.clone() };
        }
        live.guest = info;
    }

    pub(crate) fn guest_agent(&self) -> AgentState {
        lock(&self.live).guest.agent
    }

    pub(crate) fn set_progress(&self, progress: Option<Progress>) {
        lock(&self.live).progress = progress;
    }

    /// Acts that the former agent began and never ended stay as "not known"; nothing is done twice.
    fn warn_of_broken_acts(&self) {
        if self.record().acts.iter().any(|a| a.error.as_ref().is_some_and(|e| e.message == BROKEN_ACT)) {
            tracing::warn!(vm = %self.id, "an act was broken off by the agent's end; it is not known whether it happened");
        }
    }

    /// Begins an act that this VM has not seen yet; none: it is known, or somebody is at it.
    fn begin_act(&self, task: TaskId) -> Option<Acting<'_>> {
        if !lock(&self.acting).insert(task) {
            return None;
        }
        let acting = Acting { slot: self, task };
        // Asked after the place was taken: whoever had it before has written its result by now.
        let known = self.record().acts.iter().any(|a| a.task == task);
        (!known).then_some(acting)
    }

    /// What is to be reported. What differs from what was said last gets a new revision; both under one lock, so that
    /// a higher revision is always newer.
    pub(crate) fn report(&self) -> VmReport {
        let mut said = lock(&self.said);
        // Nothing is copied but what goes out: a host with many VMs looks at each of them every few seconds.
        let (record, live) = (lock(&self.record), lock(&self.live));
        let active = is_active(live.state);
        // What is being done at this moment has no result yet: the journal's word for it is for the case of our death.
        let acting = lock(&self.acting);
        let acts = record.acts.iter().filter(|a| !acting.contains(&a.task)).cloned().collect();
        drop(acting);
        let mut report = VmReport {
            id: self.id,
            observed: Observed {
                generation: record.order.generation,
                revision: said.revision,
                state: live.state,
                settled: record.settled,
                order_lost: false,
                pending: record.pending(live.state),
                drift: record.drift(live.state, live.domain.as_ref()),
                guest: live.guest.clone(),
                machine: record.machine.clone(),
                accelerator: record.accelerator.clone().filter(|_| active),
                started_at: record.started_at.filter(|_| active),
                acts,
                held_memory_bytes: record.held_memory_bytes(live.state),
                merge_error: record.merge_error.clone(),
                exported: record.exported.clone().filter(|e| !e.disks.is_empty()),
                error: record.error.clone(),
                memories: record.memories.iter().map(|(m, _)| *m).collect(),
                disk_work: record.disk_work.clone(),
            },
            progress: live.progress.clone().filter(|_| !record.settled),
        };
        drop((record, live));
        if report.observed != *said {
            report.observed.revision = self.revisions.fetch_add(1, Ordering::SeqCst);
            *said = report.observed.clone();
        }
        report
    }
}

/// An act under way; its end, however it comes, makes the place free.
struct Acting<'a> {
    slot: &'a Slot,
    task: TaskId,
}

impl Drop for Acting<'_> {
    fn drop(&mut self) {
        lock(&self.slot.acting).remove(&self.task);
    }
}

impl Node {
    /// A node as its journal and its hypervisor show it: guests that run are adopted, orders that were being worked on
    /// are gone on with.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub async fn open(host: Arc<dyn Host>, link: Arc<dyn Link>, journal: Arc<dyn Journal>) -> Result<Arc<Node>> {
        let started_at = host.now();
        let mut slots = BTreeMap::new();
        let documents = journal.load().await?;
        let number = |wanted: &str| documents.iter().find(|(n, _)| n == wanted).and_then(|(_, d)| serde_json::from_slice::<i64>(d).ok()).unwrap_or(0);
        let epoch = number("epoch");
        let starts = next_life(number("starts"), started_at);
        journal.put("starts", starts.to_string().as_bytes()).await?;
        let revisions = Arc::new(AtomicU64::new((starts.cast_unsigned() << 32) + 1));
        let stores: Vec<StoreRef> = documents.iter().find(|(n, _)| n == STORES).and_then(|(_, d)| serde_json::from_slice(d).ok()).unwrap_or_default();
        for (name, document) in documents.into_iter().filter(|(n, _)| n != "epoch" && n != "starts" && n != STORES) {
            match serde_json::from_slice::<Record>(&document) {
                Ok(r) if r.gone_at.is_some_and(|t| started_at.millis_since(t) > GONE_REMEMBERED_MS) => journal.remove(&name).await?,
                Ok(r) => drop(slots.insert(r.order.id, Arc::new(Slot::new(r, &revisions)))),
                // A document that cannot be read is kept for people; the VM itself goes on and the manager orders anew.
                Err(e) => tracing::error!(document = %name, error = %e, "a document of the journal cannot be read"),
            }
        }
        let node = Arc::new(Node {
            host,
            link,
            journal,
            slots: Mutex::new(slots),
            fetches: Fetches::default(),
            starts: Semaphore::new(STARTS_MAX),
            copies: Semaphore::new(COPIES_MAX),
            changed: Notify::new(),
            settled: Notify::new(),
            epoch: tokio::sync::Mutex::new(epoch),
            revisions,
            looks: AtomicU64::new(0),
            started_at,
            stores: Mutex::new(stores.into_iter().map(|s| (s.id, Watched::new(s))).collect()),
            stores_changed: Notify::new(),
        });
        node.host.stores_know(&node.stores());
        for slot in node.slots() {
            slot.look_at(|r| node.host.stores_know(&r.order.stores));
            slot.warn_of_broken_acts();
            if !slot.record().settled {
                node.set_to_work(&slot);
            }
        }
        Ok(node)
    }

    /// The machine.
    #[must_use]
    pub fn host(&self) -> &Arc<dyn Host> {
        &self.host
    }

    pub(crate) fn slots(&self) -> Vec<Arc<Slot>> {
        lock(&self.slots).values().cloned().collect()
    }

    fn slot(&self, vm: VmId) -> Option<Arc<Slot>> {
        lock(&self.slots).get(&vm).cloned()
    }

    /// A look at the hypervisor begins.
    pub(crate) fn look(&self) -> Look {
        Look(self.looks.fetch_add(1, Ordering::SeqCst) + 1)
    }

    /// A revision higher than all before it.
    pub(crate) fn next_revision(&self) -> u64 {
        self.revisions.fetch_add(1, Ordering::SeqCst)
    }

    /// Goes on counting above `known`, and says everything anew: this agent's count was lost with its journal. What the
    /// lost lives said last may still be under way, and no row knows of it: it goes on well above that, too.
    pub(crate) fn count_above(&self, known: u64) {
        let life = (known >> 32).saturating_add(LIVES_PASSED_OVER).min(u64::from(u32::MAX >> 1));
        self.revisions.fetch_max((life << 32).saturating_add(1).max(known.saturating_add(1)), Ordering::SeqCst);
        self.slots().iter().for_each(|s| *lock(&s.said) = Observed::default());
    }

    /// The data stores to watch.
    pub(crate) fn stores(&self) -> Vec<StoreRef> {
        lock(&self.stores).values().map(|w| w.store.clone()).collect()
    }

    /// Tells this list of data stores to watch from another.
    pub(crate) fn stores_digest(&self) -> String {
        stores_digest(&self.stores())
    }

    /// What was found of the data stores.
    pub(crate) fn store_facts(&self) -> Vec<StoreFact> {
        lock(&self.stores).values().filter_map(|w| w.fact.clone()).collect()
    }

    /// Images in the caches of the data stores.
    pub(crate) fn store_images(&self) -> Vec<ImageId> {
        lock(&self.stores).values().flat_map(|w| w.images.iter().copied()).collect()
    }

    /// Notes what was found of a data store (`images` none: as before); answers whether that is news that should not wait.
    pub(crate) fn note_store(&self, fact: StoreFact, images: Option<Vec<ImageId>>) -> bool {
        let mut stores = lock(&self.stores);
        let Some(watched) = stores.get_mut(&fact.store) else { return false };
        let news = watched.fact.as_ref().is_none_or(|k| k.problem != fact.problem);
        watched.fact = Some(fact);
        if let Some(images) = images {
            watched.images = images;
        }
        news
    }

    /// Watches these data stores from now on, and no others.
    pub(crate) async fn watch_stores(&self, list: Vec<StoreRef>) -> Result<()> {
        let document = serde_json::to_vec(&list).map_err(|e| Error::internal(e.to_string()))?;
        step(Step::JournalStores, self.journal.put(STORES, &document)).await?;
        self.host.stores_know(&list);
        let mut stores = lock(&self.stores);
        let mut former = std::mem::take(&mut *stores);
        for s in list {
            // What was found of one that is elsewhere now says nothing any more.
            let known = former.remove(&s.id).filter(|w| w.store.spec == s.spec);
            stores.insert(s.id, known.map_or_else(|| Watched::new(s.clone()), |w| Watched { store: s.clone(), ..w }));
        }
        drop(stores);
        self.stores_changed.notify_one();
        Ok(())
    }

    /// Makes a report soon.
    pub(crate) fn touch(&self) {
        self.changed.notify_one();
    }

    /// Answers a call of a manager. What takes time goes on after the answer and shows in reports.
    pub async fn call(self: &Arc<Self>, head: CallHead, call: NodeCall) -> NodeAnswer {
        let answer = match self.check_epoch(head.epoch).await {
            Err(e) => Err(e),
            Ok(()) => match call {
                NodeCall::EnsureVm { order } => self.ensure_vm(*order).await,
                NodeCall::Act { vm, generation, act } => self.act(head.task, vm, generation, act).await,
                NodeCall::DropImage { image } => step(Step::ImageRemove, self.host.image_remove(image)).await.map(|()| NodeAnswer::Done),
                NodeCall::EnsureStore { store } => step(Step::StoreEnsure, self.host.store_ensure(&store)).await.map(|()| NodeAnswer::Done),
                NodeCall::DropStore { store } => step(Step::StoreRemove, self.host.store_remove(&store)).await.map(|()| NodeAnswer::Done),
                NodeCall::DropNetwork { network } => step(Step::NetworkRemove, self.host.network_remove(&network)).await.map(|()| NodeAnswer::Done),
            },
        };
        self.touch();
        answer.unwrap_or_else(|error| NodeAnswer::Refused { error })
    }

    /// An older epoch belongs to a manager that no longer owns this host.
    async fn check_epoch(&self, epoch: i64) -> Result<()> {
        let mut newest = self.epoch.lock().await;
        let known = *newest;
        if epoch < known {
            return Err(Error::conflict(format!("The call carries epoch {epoch}; this host has seen {known}. It comes from a manager that is out of date.")));
        }
        if epoch > known {
            step(Step::JournalEpoch, self.journal.put("epoch", epoch.to_string().as_bytes())).await?;
            *newest = epoch;
        }
        Ok(())
    }

    async fn ensure_vm(self: &Arc<Self>, order: VmOrder) -> Result<NodeAnswer> {
        let slot = {
            let mut slots = lock(&self.slots);
            // A new slot holds generation 0 until the journal has the order: nothing is done before.
            let empty = || Record { settled: true, ..Record::new(VmOrder { generation: 0, ..order.clone() }) };
            slots.entry(order.id).or_insert_with(|| Arc::new(Slot::new(empty(), &self.revisions))).clone()
        };
        let known = slot.record().order.generation;
        if order.generation < known {
            return Err(Error::conflict(format!("The order has generation {}; this host has seen {known}.", order.generation)));
        }
        if order.generation > known {
            self.host.stores_know(&order.stores);
            let take = |r: &mut Record| {
                if order.generation > r.order.generation {
                    r.take(order);
                }
            };
            if let Err(e) = slot.update(self, Step::JournalOrder, take).await {
                self.forget_if_empty(&slot);
                return Err(e);
            }
            slot.newer.notify_waiters();
        }
        self.set_to_work(&slot);
        Ok(NodeAnswer::Vm { report: Box::new(slot.report()) })
    }

    /// A slot whose first order could not be journalled is none: it would be reported as a VM that nobody ordered.
    fn forget_if_empty(&self, slot: &Arc<Slot>) {
        let mut slots = lock(&self.slots);
        if slot.record().order.generation == 0 && slots.get(&slot.id).is_some_and(|s| Arc::ptr_eq(s, slot)) {
            slots.remove(&slot.id);
        }
    }

    /// Sees to it that somebody works on the slot's order.
    fn set_to_work(self: &Arc<Self>, slot: &Arc<Slot>) {
        if slot.record().settled || std::mem::replace(&mut *lock(&slot.busy), true) {
            return;
        }
        let (node, slot) = (self.clone(), slot.clone());
        virga_crash::spawn(async move {
            loop {
                crate::vm::work(&node, &slot).await;
                *lock(&slot.busy) = false;
                // An order may have come between the last look and the line above.
                if slot.record().settled || std::mem::replace(&mut *lock(&slot.busy), true) {
                    return;
                }
            }
        });
    }

    /// Does something once: the journal knows of it before it is done.
    async fn act(self: &Arc<Self>, task: TaskId, vm: VmId, generation: i64, act: Act) -> Result<NodeAnswer> {
        let slot = self.slot(vm).ok_or_else(|| Error::not_found("VM on this host", vm))?;
        if generation < slot.record().order.generation {
            return Err(Error::conflict("The VM was changed meanwhile; decide anew."));
        }
        if let Some(acting) = slot.begin_act(task) {
            let begun = ActResult { task, error: Some(Error::host(BROKEN_ACT)) };
            slot.update(self, Step::JournalActBegun, |r| r.note_act(begun)).await?;
            let done = match act {
                Act::Reboot => step(Step::Reboot, self.host.reboot(vm)).await.map(drop),
                Act::Reset => step(Step::Reset, self.host.reset(vm)).await,
            };
            slot.update(self, Step::JournalActEnded, |r| r.note_act(ActResult { task, error: done.err() })).await?;
            drop(acting);
        }
        Ok(NodeAnswer::Vm { report: Box::new(slot.report()) })
    }
}

const BROKEN_ACT: &str = "The agent ended in the middle of this; it is not known whether the guest was told.";

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(vm: VmId, state: VmState) -> Domain {
        Domain { id: vm, state, persistent: true, definition_digest: None, generation: 1, died: false }
    }

    #[test]
    fn what_an_older_look_brings_never_replaces_what_a_newer_one_has_brought() {
        let order: VmOrder = serde_json::from_value(serde_json::json!({
            "id": VmId(uuid::Uuid::from_u128(1)), "name": "a", "generation": 1, "desired": "running",
            "spec": {"cpu": {"count": 1, "max": 1}, "memory": {"bytes": 268_435_456u64}}
        }))
        .unwrap();
        let slot = Slot::new(Record::new(order), &Arc::default());
        // The list of all VMs was asked for while the guest was being started, and came after it was seen to run.
        let (list, lone) = (Look(1), Look(2));
        slot.observe(lone, Some(&shown(slot.id, VmState::Running)));
        slot.observe(list, Some(&shown(slot.id, VmState::Paused)));
        assert_eq!(slot.state(), VmState::Running);
        slot.unknown(list);
        assert_eq!(slot.state(), VmState::Running);
        slot.observe(Look(3), Some(&shown(slot.id, VmState::Paused)));
        assert_eq!(slot.state(), VmState::Paused);
    }
}
