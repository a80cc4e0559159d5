//! What all parts of a world share.

use super::host::Site;
use super::life::Life;
use super::log::Log;
use super::manager::Office;
use super::net::Net;
use super::plant::Plant;
use super::rng::Rng;
use super::turn::{Turns, lock};
use crate::SimClock;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use virga_model::VmId;
use virga_model::order::VmOrder;
use virga_model::vm::Observed;
use virga_store::Store;

/// What a world is made with.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Seed of all that is drawn.
    pub seed: u64,
    /// A deliberate bug.
    pub plant: Option<Plant>,
    /// Keep the whole log, with each step of each task. It changes nothing of what happens.
    pub keep_log: bool,
    /// Thousandths of answers to people that are lost on their way.
    pub lost_answers: u64,
}

/// The book of the checkers: what was seen of orders, reports and effects.
#[derive(Default)]
pub struct Book {
    /// Orders as managers sent them.
    pub orders: BTreeMap<(VmId, i64), VmOrder>,
    /// For each VM the newest report that was taken, by the number of its sending.
    pub taken: BTreeMap<VmId, (u64, Observed)>,
    /// Reboots and resets that guests met.
    pub acts: BTreeMap<VmId, u32>,
    /// For each VM the order that a newer one took the place of in a journal, and when.
    pub former: BTreeMap<VmId, (u64, VmOrder)>,
    /// Hosts whose guests' definitions or states others changed.
    pub meddled: BTreeSet<VmId>,
}

/// What all parts share.
pub struct Ctx {
    /// How the world was made.
    pub settings: Settings,
    /// The one clock.
    pub clock: SimClock,
    /// The one source of randomness.
    pub rng: Rng,
    /// What can be seen.
    pub log: Log,
    /// Who may go on.
    pub turns: Turns,
    /// The database itself, for the driver.
    pub store: Store,
    /// The network between managers and hosts.
    pub net: Net,
    /// Hosts.
    pub sites: Mutex<Vec<Arc<Site>>>,
    /// Managers.
    pub offices: Mutex<Vec<Arc<Office>>>,
    /// What the checkers remember.
    pub book: Mutex<Book>,
    /// Something was committed since the driver last looked.
    pub committed: Mutex<bool>,
    violations: Mutex<Vec<String>>,
}

impl Ctx {
    /// Nothing yet.
    #[must_use]
    pub fn new(settings: Settings, store: Store, turns: Turns) -> Arc<Ctx> {
        Arc::new(Ctx {
            settings,
            clock: SimClock::default(),
            rng: Rng::new(settings.seed),
            log: Log::new(settings.keep_log),
            turns,
            store,
            net: Net::default(),
            sites: Mutex::default(),
            offices: Mutex::default(),
            book: Mutex::default(),
            committed: Mutex::default(),
            violations: Mutex::default(),
        })
    }

    /// Milliseconds since the beginning.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.clock.now_ms()
    }

    /// Whether this bug is planted.
    #[must_use]
    pub fn planted(&self, p: Plant) -> bool {
        self.settings.plant == Some(p)
    }

    /// Writes a line of the log.
    pub fn say(&self, text: impl AsRef<str>) {
        self.log.write(self.now(), text.as_ref());
    }

    /// Notes that an invariant does not hold.
    pub fn violated(&self, invariant: &str, what: &str) {
        let text = format!("{invariant}: {what}");
        self.say(format!("VIOLATION {text}"));
        lock(&self.violations).push(format!("at {} ms: {text}", self.now()));
    }

    /// What did not hold so far.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        lock(&self.violations).clone()
    }

    /// The hosts.
    #[must_use]
    pub fn sites(&self) -> Vec<Arc<Site>> {
        lock(&self.sites).clone()
    }

    /// The managers.
    #[must_use]
    pub fn offices(&self) -> Vec<Arc<Office>> {
        lock(&self.offices).clone()
    }

    /// Waits `ms`, and goes on only if `life` does.
    pub async fn pause(&self, life: &Life, ms: u64) {
        self.clock.sleep_ms(ms).await;
        life.alive().await;
    }
}
