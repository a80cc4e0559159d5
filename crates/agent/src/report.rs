//! The heartbeat: every three seconds, and sooner when something changed, what is true goes to a manager.
//!
//! Only what differs from what a manager has acknowledged is sent; after a failure, or when a manager asks, everything.

use futures::StreamExt;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use virga_model::data_store::StoreFact;
use virga_model::host::{HostFacts, REPORT_PERIOD_MS};
use virga_model::order::{Report, VmReport};
use virga_model::stats::{Counters, Sample, VmSample};
use virga_model::vm::{AgentState, Observed, VmState};
use virga_model::{Error, VmId};

use crate::host::{Domains, Host, Result};
use crate::node::Node;
use crate::record::is_active;

/// Least milliseconds between two reports that go out early: changes in between are gathered.
const GATHER_MS: u64 = 100;
/// Milliseconds between two inventories.
const FACTS_PERIOD_MS: u64 = 30_000;
/// Milliseconds between two samples of rates.
const SAMPLE_PERIOD_MS: u64 = 5_000;
/// Milliseconds between two questions to a guest whose agent answers.
const GUEST_PERIOD_MS: u64 = 10_000;
/// Milliseconds between two questions to a guest whose agent does not answer yet.
const GUEST_EAGER_MS: u64 = 2_000;
/// Milliseconds that the first report waits at most for what guests say.
const FIRST_ASK_MS: u64 = 2_000;
/// Milliseconds that a report waits for the list of VMs, which takes its time while many guests start; without it their
/// states are unknown.
const LOOK_LIMIT_MS: u64 = 10_000;
/// Milliseconds that it waits for each other answer. All of them together, and the period between two reports, are less
/// than the time after which a manager calls the host silent: a hypervisor that hangs makes the states of VMs unknown,
/// and not the host.
const ANSWER_LIMIT_MS: u64 = 4_000;
/// Milliseconds that one guest may take for all of its answers.
const GUEST_LIMIT_MS: u64 = 20_000;
/// Guests that are asked at the same time.
const GUESTS_AT_ONCE: usize = 4;

/// Reports until the task is dropped.
pub async fn run(node: Arc<Node>) {
    let mut reporter = Reporter::new(node.clone());
    let mut hypervisor = node.host.changes();
    // What guests say is not journalled. An agent that was started anew asks first, so that addresses do not vanish from
    // the first report only to come back with the next one.
    reporter.look().await;
    let guests = running(&node);
    tokio::select! {
        biased;
        () = ask(&node, &guests) => {}
        () = node.host.sleep_ms(FIRST_ASK_MS) => {}
    }
    drop(guests);
    let asking = virga_crash::spawn(ask_guests(node.clone()));
    let watching = virga_crash::spawn(crate::store::watch(node.clone()));
    let _end_with_us = [AbortOnDrop(asking.abort_handle()), AbortOnDrop(watching.abort_handle())];
    loop {
        reporter.tick().await;
        let period = node.host.sleep_ms(REPORT_PERIOD_MS);
        tokio::pin!(period);
        tokio::select! {
            // In this order, not at random: the same simulation gives the same reports.
            biased;
            () = &mut period => {}
            () = node.changed.notified() => {
                // What changes together goes out together; what changes alone does not wait for it.
                let since = node.host.monotonic_ms().saturating_sub(reporter.ended_at);
                if since < GATHER_MS {
                    node.host.sleep_ms(GATHER_MS - since).await;
                }
            }
            r = hypervisor.changed() => {
                if r.is_err() {
                    period.await;
                }
            }
        }
    }
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What was last acknowledged, and what rates are made from.
struct Reporter {
    node: Arc<Node>,
    /// When the last report had been brought.
    ended_at: u64,
    sequence: u64,
    full: bool,
    /// A manager has a full report of a time at which the hypervisor answered: it knows which VMs are not here.
    told_absent: bool,
    acknowledged: BTreeMap<VmId, VmReport>,
    facts: Option<HostFacts>,
    facts_sent: Option<HostFacts>,
    facts_at: Option<u64>,
    foreign_sent: Option<Vec<virga_model::host::ForeignVm>>,
    stores_sent: Option<Vec<StoreFact>>,
    sampled_at: Option<u64>,
    host_counters: Option<Counters>,
    vm_counters: BTreeMap<VmId, Counters>,
}

impl Reporter {
    fn new(node: Arc<Node>) -> Reporter {
        Reporter {
            node,
            ended_at: 0,
            sequence: 0,
            full: true,
            told_absent: false,
            acknowledged: BTreeMap::new(),
            facts: None,
            facts_sent: None,
            facts_at: None,
            foreign_sent: None,
            stores_sent: None,
            sampled_at: None,
            host_counters: None,
            vm_counters: BTreeMap::new(),
        }
    }

    async fn tick(&mut self) {
        let domains = self.look().await;
        let hypervisor_up = domains.is_some();
        // A full report without the hypervisor could not tell which VMs are gone; after a lost journal nothing else would.
        self.full |= hypervisor_up && !self.told_absent;
        let orphans = domains.as_ref().map(|d| self.orphans(d)).unwrap_or_default();
        let foreign = domains.map(|d| d.foreign);
        self.refresh_facts(hypervisor_up).await;
        let (host_sample, vm_samples) = self.sample(hypervisor_up).await;
        let mut current: BTreeMap<VmId, VmReport> = self.node.slots().iter().map(|s| (s.id, s.report())).collect();
        current.extend(orphans.into_iter().map(|o| (o.id, o)));
        let vms = if self.full { current.values().cloned().collect() } else { changed(&self.acknowledged, &current) };
        let stores = Some(self.node.store_facts()).filter(|s| !s.is_empty() || self.stores_sent.is_some());
        self.sequence += 1;
        let report = Report {
            sequence: self.sequence,
            agent_started_at: self.node.started_at,
            revision: self.node.next_revision(),
            now: self.node.host.now(),
            full: self.full,
            hypervisor_up,
            vms,
            facts: self.facts.clone().filter(|_| self.full || self.facts != self.facts_sent).map(Box::new),
            foreign_vms: foreign.clone().filter(|_| self.full || foreign != self.foreign_sent),
            stores: stores.clone().filter(|_| self.full || stores != self.stores_sent),
            stores_digest: self.node.stores_digest(),
            host_sample,
            vm_samples,
        };
        match self.node.link.report(&report).await {
            Ok(ack) => {
                if self.full {
                    self.told_absent = hypervisor_up;
                }
                self.full = ack.resync || ack.behind > 0;
                self.acknowledged = current;
                if ack.behind > 0 {
                    tracing::warn!(known = ack.behind, "the count of what was said is lost; everything is told again above what is known");
                    self.node.count_above(ack.behind);
                    self.acknowledged.clear();
                }
                self.facts_sent.clone_from(&self.facts);
                self.foreign_sent = foreign;
                self.stores_sent = stores;
                if let Some(list) = ack.stores
                    && let Err(e) = self.node.watch_stores(list).await
                {
                    // The next answer brings the list again.
                    tracing::error!(error = %e, "the data stores to watch cannot be journalled");
                }
            }
            Err(e) => {
                // Which part arrived is not known.
                self.full = true;
                tracing::warn!(error = %e, "no manager took the report");
            }
        }
        self.ended_at = self.node.host.monotonic_ms();
    }

    /// Looks at the hypervisor and notes every VM's state; none: it does not answer.
    async fn look(&self) -> Option<Domains> {
        let look = self.node.look();
        match within(&self.node, LOOK_LIMIT_MS, self.node.host.domains()).await {
            Ok(domains) => {
                for slot in self.node.slots() {
                    slot.observe(look, domains.ours.iter().find(|d| d.id == slot.id));
                    forget_ended_run(&self.node, &slot).await;
                }
                Some(domains)
            }
            Err(e) => {
                tracing::warn!(error = %e, "the hypervisor does not answer");
                self.node.slots().iter().for_each(|s| s.unknown(look));
                None
            }
        }
    }

    /// VMs with our metadata of which the journal knows nothing: it was lost. They are told as they are, never touched,
    /// and never kept silent about: a manager would take them for gone.
    fn orphans(&self, domains: &Domains) -> Vec<VmReport> {
        let known: Vec<VmId> = self.node.slots().iter().map(|s| s.id).collect();
        let orphan = |d: &crate::host::Domain| {
            let observed = Observed { generation: d.generation, state: d.state, order_lost: true, ..Observed::default() };
            let before = self.acknowledged.get(&d.id).map(|r| &r.observed);
            let same = before.is_some_and(|b| Observed { revision: 0, ..b.clone() } == observed);
            let revision = if same { before.map_or(0, |b| b.revision) } else { self.node.next_revision() };
            VmReport { id: d.id, observed: Observed { revision, ..observed }, progress: None }
        };
        domains.ours.iter().filter(|d| !known.contains(&d.id)).map(orphan).collect()
    }

    async fn refresh_facts(&mut self, hypervisor_up: bool) {
        let now = self.node.host.monotonic_ms();
        let changed = self.facts_at.is_none_or(|t| now.saturating_sub(t) >= FACTS_PERIOD_MS);
        if !(hypervisor_up && changed) {
            return;
        }
        match within(&self.node, ANSWER_LIMIT_MS, self.node.host.facts()).await {
            Ok(mut facts) => {
                // What cannot be read is as it was: an empty list would say that the images are gone.
                facts.images = match within(&self.node, ANSWER_LIMIT_MS, self.node.host.images(None)).await {
                    Ok(images) => images,
                    Err(_) => self.facts.as_ref().map(|f| f.images.clone()).unwrap_or_default(),
                };
                // An image in the cache of a data store is held by every host that sees it: each of them may be told to drop it.
                facts.images.extend(self.node.store_images());
                facts.images.sort();
                facts.images.dedup();
                // Free space moves all the time; a report of it every 30 s is enough, in steps of 64 MiB.
                facts.store_free_bytes &= !((64 << 20) - 1);
                self.facts = Some(facts);
                self.facts_at = Some(now);
            }
            Err(e) => tracing::warn!(error = %e, "the inventory cannot be taken"),
        }
    }

    async fn sample(&mut self, hypervisor_up: bool) -> (Option<Sample>, Vec<VmSample>) {
        let (now, at) = (self.node.host.monotonic_ms(), self.node.host.now());
        let elapsed = self.sampled_at.map(|t| now.saturating_sub(t));
        if elapsed.is_some_and(|ms| ms < SAMPLE_PERIOD_MS) {
            return (None, Vec::new());
        }
        self.sampled_at = Some(now);
        let host_now = within(&self.node, ANSWER_LIMIT_MS, self.node.host.host_counters()).await.ok();
        let vms = if hypervisor_up { within(&self.node, ANSWER_LIMIT_MS, self.node.host.counters()).await.unwrap_or_default() } else { Vec::new() };
        // Only of VMs that are reported: the list must not grow by what the hypervisor makes up.
        let known: BTreeSet<VmId> = self.node.slots().iter().map(|s| s.id).chain(self.acknowledged.keys().copied()).collect();
        let vms_now: BTreeMap<VmId, Counters> = vms.into_iter().filter(|(vm, _)| known.contains(vm)).collect();
        let ms = elapsed.unwrap_or(0);
        let host_sample = match (&self.host_counters, &host_now) {
            (Some(a), Some(b)) if ms > 0 => Some(Sample::between(a, b, ms, at)),
            _ => None,
        };
        let sample_of = |vm: &VmId, after: &Counters| Some(VmSample { vm: *vm, sample: Sample::between(self.vm_counters.get(vm)?, after, ms, at) });
        let vm_samples = vms_now.iter().filter_map(|(vm, after)| sample_of(vm, after)).collect();
        self.host_counters = host_now;
        self.vm_counters = vms_now;
        (host_sample, vm_samples)
    }
}

/// VMs whose report differs from the acknowledged one.
fn changed(acknowledged: &BTreeMap<VmId, VmReport>, current: &BTreeMap<VmId, VmReport>) -> Vec<VmReport> {
    current.iter().filter(|(id, r)| acknowledged.get(id) != Some(r)).map(|(_, r)| r.clone()).collect()
}

/// A guest that has ended has no running specification any more; one that was started by somebody else runs what is
/// defined. While an order is being brought about, whoever does that knows better.
async fn forget_ended_run(node: &Node, slot: &crate::node::Slot) {
    let state = slot.state();
    let (due, begun, seen) = slot.look_at(|r| {
        let ended = r.settled && state == VmState::Stopped && r.running_spec.is_some();
        let begun = r.settled && is_active(state) && r.running_spec.is_none() && r.defined.is_some();
        (ended || begun, begun, (r.order.generation, r.started_at))
    });
    if due {
        let forget = |r: &mut crate::record::Record| {
            if r.settled && (r.order.generation, r.started_at) == seen {
                r.running_spec = r.defined.as_ref().filter(|_| begun).map(|(s, _)| s.clone());
            }
        };
        if let Err(e) = slot.update(node, virga_crash::Step::JournalRun, forget).await {
            tracing::error!(vm = %slot.id, error = %e, "the journal cannot be written");
        }
    }
}

/// Asks the running guests what they say about themselves, each in its own rhythm.
async fn ask_guests(node: Arc<Node>) {
    let mut asked: BTreeMap<VmId, u64> = BTreeMap::new();
    loop {
        let now = node.host.monotonic_ms();
        let mut due = running(&node);
        due.retain(|s| {
            let period = if s.guest_agent() == AgentState::Connected { GUEST_PERIOD_MS } else { GUEST_EAGER_MS };
            asked.get(&s.id).is_none_or(|t| now.saturating_sub(*t) >= period)
        });
        asked.retain(|_, t| now.saturating_sub(*t) < 10 * GUEST_PERIOD_MS);
        asked.extend(due.iter().map(|s| (s.id, now)));
        // The next regular report, three seconds at most later, carries what the guests say.
        ask(&node, &due).await;
        node.host.sleep_ms(GUEST_EAGER_MS / 2).await;
    }
}

/// An answer of the host that is not waited for longer than `ms`: a report goes out whatever hangs.
async fn within<T>(node: &Node, ms: u64, answer: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::select! {
        biased;
        a = answer => a,
        () = node.host.sleep_ms(ms) => Err(Error::unavailable(format!("The host has not answered for {ms} ms."))),
    }
}

/// The VMs whose guests run.
fn running(node: &Node) -> Vec<Arc<crate::node::Slot>> {
    node.slots().into_iter().filter(|s| s.state() == VmState::Running).collect()
}

/// Asks these guests, a few at a time.
async fn ask(node: &Node, guests: &[Arc<crate::node::Slot>]) {
    let host: &dyn Host = &*node.host;
    futures::stream::iter(guests)
        .for_each_concurrent(GUESTS_AT_ONCE, |slot| async move {
            if let Ok(info) = within(node, GUEST_LIMIT_MS, host.guest_info(slot.id)).await {
                slot.guest_says(info);
            }
        })
        .await;
}
