//! A manager's place: one life of a manager after the other, over the one database, and what stands between it and the
//! rest of the world: its transactions and its calls.

use super::ctx::Ctx;
use super::host::Site;
use super::life::{Life, State};
use super::net::{Way, fate};
use super::plant::Plant;
use super::turn::lock;
use async_trait::async_trait;
use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use uuid::Uuid;
use virga_manager::ca::Authority;
use virga_manager::front::limits::Limits;
use virga_manager::http::Api;
use virga_manager::node::client::{Duplex, NodeClient};
use virga_manager::password::Hasher;
use virga_manager::state::{Clocks, Manager, Parts};
use virga_model::host::Host;
use virga_model::order::{CallHead, NodeAnswer, NodeCall, Report, ReportAck};
use virga_model::user::ConsoleKind;
use virga_model::vm::{Desired, VmState};
use virga_model::{Error, HostId, TaskId, VmId};
use virga_store::{Gate, Passage};

/// Milliseconds after which a planted bug gets an order once more.
const AGAIN_MS: u64 = 8_000;

/// Where a manager is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// Just before the n-th commit from now.
    BeforeCommit(u64),
    /// Just after it.
    AfterCommit(u64),
    /// Just before the n-th call to an agent.
    BeforeCall(u64),
    /// Just before the answer of the n-th call.
    AfterCall(u64),
}

/// A place for a manager.
pub struct Office {
    /// Its name.
    pub name: String,
    ctx: Arc<Ctx>,
    lives: AtomicU64,
    life: Mutex<Arc<Life>>,
    api: Mutex<Option<Arc<Api>>>,
    death: Mutex<Option<Death>>,
    /// Seconds by which its wall clock is wrong.
    pub clock_s: Arc<AtomicI64>,
    since: AtomicU64,
    _stop: watch::Sender<bool>,
    stopped: watch::Receiver<bool>,
}

impl Office {
    /// An empty place.
    #[must_use]
    pub fn new(ctx: &Arc<Ctx>, name: &str) -> Arc<Office> {
        let dead = Life::default();
        dead.set(State::Dead);
        let (stop, stopped) = watch::channel(false);
        Arc::new(Office {
            name: name.into(),
            ctx: ctx.clone(),
            lives: AtomicU64::new(0),
            life: Mutex::new(Arc::new(dead)),
            api: Mutex::default(),
            death: Mutex::default(),
            clock_s: Arc::default(),
            since: AtomicU64::new(0),
            _stop: stop,
            stopped,
        })
    }

    /// The manager that runs, or has run last.
    #[must_use]
    pub fn life(&self) -> Arc<Life> {
        lock(&self.life).clone()
    }

    /// Since when the manager runs undisturbed.
    #[must_use]
    pub fn since_ms(&self) -> u64 {
        self.since.load(Ordering::SeqCst)
    }

    /// Holds the manager, or lets it go on.
    pub fn hold(&self, held: bool) {
        self.since.store(self.ctx.now(), Ordering::SeqCst);
        self.life().set(if held { State::Held } else { State::Running });
    }

    /// Its API, while it runs.
    #[must_use]
    pub fn api(&self) -> Option<Arc<Api>> {
        lock(&self.api).clone().filter(|_| self.life().runs())
    }

    /// Its API, alive or not.
    #[must_use]
    pub fn last_api(&self) -> Option<Arc<Api>> {
        lock(&self.api).clone()
    }

    /// Starts a manager when none is there.
    ///
    /// # Errors
    /// When the certificate authority in `folder` cannot be read.
    pub fn start(self: &Arc<Office>, folder: &Path) -> Result<(), Error> {
        if self.life().state() != State::Dead {
            return Ok(());
        }
        let life = Arc::new(Life::default());
        *lock(&self.life) = life.clone();
        *lock(&self.death) = None;
        self.since.store(self.ctx.now(), Ordering::SeqCst);
        let n = self.lives.fetch_add(1, Ordering::SeqCst) + 1;
        let gate = Arc::new(Door { ctx: self.ctx.clone(), office: self.clone(), life: life.clone() });
        let manager = Arc::new(Manager::new(Parts {
            store: self.ctx.store.behind(gate),
            nodes: Arc::new(Wire { ctx: self.ctx.clone(), office: self.clone(), life: life.clone() }),
            ca: Authority::open(folder)?,
            instance: format!("{}-{n}", self.name),
            state_folder: folder.to_path_buf(),
            node_address: String::new(),
            clocks: self.clocks(&life),
        }));
        *lock(&self.api) = Some(Arc::new(Api::new(manager.clone(), Hasher::default(), &Limits::default(), self.stopped.clone())));
        tokio::spawn(virga_manager::task::runner::run(manager.clone(), self.stopped.clone()));
        drop(virga_manager::loops::spawn(&manager, &self.stopped));
        Ok(())
    }

    fn clocks(&self, life: &Arc<Life>) -> Clocks {
        let (clock, wrong) = (self.ctx.clock.clone(), self.clock_s.clone());
        let wall = move || clock.time().plus_seconds(wrong.load(Ordering::SeqCst));
        let (clock, wrong) = (self.ctx.clock.clone(), self.clock_s.clone());
        let by_wall = self.ctx.planted(Plant::WallClockForSilence);
        let steady = move || {
            // Far from zero, so that a planted bug may go back an hour.
            let day = Duration::from_secs(86_400) + Duration::from_millis(clock.now_ms());
            match wrong.load(Ordering::SeqCst) {
                s if by_wall && s > 0 => day + Duration::from_secs(s.unsigned_abs()),
                s if by_wall => day.saturating_sub(Duration::from_secs(s.unsigned_abs())),
                _ => day,
            }
        };
        let (ctx, life) = (self.ctx.clone(), life.clone());
        let wait = move |d: Duration| -> futures::future::BoxFuture<'static, ()> {
            let (ctx, life) = (ctx.clone(), life.clone());
            Box::pin(async move { ctx.pause(&life, u64::try_from(d.as_millis()).unwrap_or(u64::MAX)).await })
        };
        Clocks { wall: Box::new(wall), steady: Box::new(steady), wait: Box::new(wait) }
    }

    /// Kills the manager now.
    pub fn kill(&self) {
        self.life().set(State::Dead);
    }

    /// Lets go of what the manager holds: its world has ended.
    pub(super) fn vanish(&self) {
        self.kill();
        drop(lock(&self.api).take());
    }

    /// Has the manager killed at a point.
    pub fn die_at(&self, death: Option<Death>) {
        *lock(&self.death) = death;
    }

    /// Counts a point down; true: this is where the manager dies.
    fn dies(&self, life: &Life, at: fn(u64) -> Death) -> bool {
        let mut death = lock(&self.death);
        let Some(d) = *death else { return false };
        let n = match d {
            Death::BeforeCommit(n) | Death::AfterCommit(n) | Death::BeforeCall(n) | Death::AfterCall(n) => n,
        };
        if d != at(n) || !life.runs() {
            return false;
        }
        if n > 1 {
            *death = Some(at(n - 1));
            return false;
        }
        *death = None;
        life.set(State::Dead);
        self.ctx.say(format!("{} is killed: {at:?}", self.name, at = d));
        true
    }

    /// Takes a report as the node listener does.
    ///
    /// # Errors
    /// Unavailable when no manager runs here; else what it says.
    pub async fn take_report(&self, site: &Site, number: u64, report: Report) -> Result<ReportAck, Error> {
        let life = self.life();
        if life.state() == State::Dead {
            return Err(Error::unavailable("The connection was refused."));
        }
        life.alive().await;
        let Some(api) = self.last_api() else { return Err(Error::unavailable("The connection was refused.")) };
        let m = &api.m;
        let mut tx = m.store.read().await?;
        let host = virga_store::host::get(&mut tx, site.id).await?.ok_or_else(|| Error::not_found("host", site.id))?;
        drop(tx);
        let answer = virga_manager::node::report::take(m, host, report.clone()).await;
        if let Ok(said) = &answer {
            site.heard(self.ctx.now());
            // Of a report that was behind, because the agent lost its count, a part was not taken.
            if said.behind == 0 {
                self.judge(m, site, number, &report).await?;
            }
        }
        answer
    }

    /// An older report never takes the place of a newer one (V5).
    async fn judge(&self, m: &Manager, site: &Site, number: u64, report: &Report) -> Result<(), Error> {
        self.judge_absent(m, site, number, report).await?;
        for v in &report.vms {
            let newer = {
                let mut book = lock(&self.ctx.book);
                match book.taken.get(&v.id) {
                    Some((n, newer)) if *n > number && newer.state != v.observed.state => Some(newer.clone()),
                    Some((n, _)) if *n > number => None,
                    _ => {
                        book.taken.insert(v.id, (number, v.observed.clone()));
                        None
                    }
                }
            };
            let Some(newer) = newer else { continue };
            let mut tx = m.store.read().await?;
            let row = virga_store::vm::get(&mut tx, v.id).await?;
            drop(tx);
            // A still newer one may have come meanwhile.
            let still = lock(&self.ctx.book).taken.get(&v.id).is_some_and(|(_, o)| *o == newer);
            if still && row.is_some_and(|r| r.observed.state == v.observed.state && r.observed.generation <= newer.generation) {
                self.ctx.violated("V5", &format!("an older report ({}) of {} took the place of a newer one ({})", v.observed.state, v.id, newer.state));
            }
        }
        Ok(())
    }
}

impl Office {
    /// What an older full report does not know is not gone; unless it is, as the answer to a call may have told meanwhile.
    async fn judge_absent(&self, m: &Manager, site: &Site, number: u64, report: &Report) -> Result<(), Error> {
        let told = |id: &VmId| report.vms.iter().any(|v| v.id == *id);
        let newer: Vec<(VmId, virga_model::vm::Observed)> = match report.full {
            true => lock(&self.ctx.book).taken.iter().filter(|(id, (n, _))| *n > number && !told(id)).map(|(id, (_, o))| (*id, o.clone())).collect(),
            false => Vec::new(),
        };
        for (id, known) in newer.into_iter().filter(|(id, _)| site.sim.domain_state(*id).is_some()) {
            let mut tx = m.store.read().await?;
            let row = virga_store::vm::get(&mut tx, id).await?;
            drop(tx);
            let gone = row.is_some_and(|r| r.observed.state == VmState::Absent && known.state != VmState::Absent);
            if gone && lock(&self.ctx.book).taken.get(&id).is_some_and(|(_, o)| *o == known) {
                self.ctx.violated("V5", &format!("{id} is said to be gone because an older report did not know it"));
            }
        }
        Ok(())
    }
}

/// The door of one life of a manager to the database.
struct Door {
    ctx: Arc<Ctx>,
    office: Arc<Office>,
    life: Arc<Life>,
}

impl Gate for Door {
    fn enter(&self, _writes: bool) -> Passage<'_, Box<dyn Send + Sync>> {
        Box::pin(async move {
            loop {
                self.life.alive().await;
                let pass = self.ctx.turns.enter().await;
                if self.life.runs() {
                    return Box::new(pass) as Box<dyn Send + Sync>;
                }
            }
        })
    }

    fn before_commit(&self, writes: bool) -> Passage<'_, bool> {
        Box::pin(async move { !(writes && self.office.dies(&self.life, Death::BeforeCommit)) })
    }

    fn after_commit(&self, writes: bool) -> Passage<'_, ()> {
        Box::pin(async move {
            if writes {
                *lock(&self.ctx.committed) = true;
                self.office.dies(&self.life, Death::AfterCommit);
                self.life.alive().await;
            }
        })
    }
}

/// The way down: calls to agents.
struct Wire {
    ctx: Arc<Ctx>,
    office: Arc<Office>,
    life: Arc<Life>,
}

/// An answer that was lost on its way never comes.
pub(super) async fn answer_or_never<T>(waiting: oneshot::Receiver<T>) -> T {
    match waiting.await {
        Ok(t) => t,
        Err(_) => std::future::pending().await,
    }
}

/// What a call is about, for the log.
fn words(call: &NodeCall) -> String {
    match call {
        NodeCall::EnsureVm { order } => format!("ensure {} generation {} {:?}", order.id, order.generation, order.desired).to_lowercase(),
        NodeCall::Act { vm, act, .. } => format!("{act:?} {vm}").to_lowercase(),
        NodeCall::DropImage { image } => format!("drop image {image}"),
        NodeCall::EnsureStore { store } => format!("data store {}", store.name),
        NodeCall::DropStore { store } => format!("no data store {}", store.name),
        NodeCall::DropNetwork { network } => format!("drop network {}", network.name),
    }
}

impl Wire {
    /// What the agent is told: the truth, unless a bug is planted.
    fn lies(&self, site: &Site, head: &mut CallHead, call: &mut NodeCall) {
        if self.ctx.planted(Plant::ActWithoutTaskId) && matches!(call, NodeCall::Act { .. }) {
            head.task = TaskId(Uuid::from_u128(u128::from(self.ctx.rng.next())));
        }
        if let NodeCall::EnsureVm { order } = call {
            if self.ctx.planted(Plant::AgentIgnoresGeneration)
                && let Some(known) = site.journalled(order.id)
                && known > order.generation
            {
                order.generation = known + 1;
            }
            if self.ctx.planted(Plant::SameAddress) {
                order.spec.nics.iter_mut().for_each(|n| n.mac = "52:54:00:00:00:01".into());
            }
        }
    }

    fn remember(&self, call: &NodeCall) {
        let NodeCall::EnsureVm { order } = call else { return };
        self.ctx.log.call(order.id.0, &order.name);
        let mut book = lock(&self.ctx.book);
        let known = book.orders.entry((order.id, order.generation)).or_insert_with(|| (**order).clone());
        // What the host has done once is left out from then on: merges, memory to be stored or gone on with, work on disks.
        let merged = |spec: &virga_model::vm::VmSpec| {
            let mut spec = spec.clone();
            spec.layers.merges.clear();
            spec.layers.list.iter_mut().for_each(|l| l.memory = None);
            spec.layers.resume = None;
            spec.disk_work = Default::default();
            spec
        };
        if known.desired != order.desired || merged(&known.spec) != merged(&order.spec) {
            let text = format!("generation {} of {} means two things: {:?} and {:?}", order.generation, order.id, known.desired, order.desired);
            drop(book);
            self.ctx.violated("V5", &text);
        }
    }

    /// That what the agent has taken is what a manager has sent, and lies in its journal (V5, V6).
    fn judge(&self, site: &Site, call: &NodeCall, answer: &NodeAnswer) {
        let (NodeCall::EnsureVm { order }, NodeAnswer::Vm { .. }) = (call, answer) else { return };
        let held = site.journalled(order.id).unwrap_or(0);
        if held < order.generation {
            self.ctx.violated("V6", &format!("{} took generation {} of {}, but its journal holds {held}", site.name, order.generation, order.id));
        }
        let sent = lock(&self.ctx.book).orders.contains_key(&(order.id, order.generation));
        if !sent {
            self.ctx.violated("V5", &format!("{} took generation {} of {}, which no manager has sent", site.name, order.generation, order.id));
        }
    }

    /// Sends the call, and its copies; the answer comes, or does not.
    fn send(self: &Arc<Self>, site: &Arc<Site>, head: CallHead, call: &NodeCall) -> oneshot::Receiver<Result<NodeAnswer, Error>> {
        let (answer, waiting) = oneshot::channel();
        let answer = Arc::new(Mutex::new(Some(answer)));
        let mut copies = fate(&self.ctx, &site.name, Way::ToHost);
        if self.ctx.planted(Plant::AgentIgnoresGeneration) && !copies.is_empty() {
            // The network may bring any order once more, and late; here it does so with each.
            copies.push(AGAIN_MS);
        }
        for ms in copies {
            let (wire, site, answer, mut head, mut call) = (self.clone(), site.clone(), answer.clone(), head, call.clone());
            tokio::spawn(async move {
                let ctx = &wire.ctx;
                ctx.clock.sleep_ms(ms).await;
                if !site.powered() {
                    return;
                }
                wire.lies(&site, &mut head, &mut call);
                let r = match site.node() {
                    Some(node) => {
                        let a = node.call(head, call.clone()).await;
                        wire.judge(&site, &call, &a);
                        Ok(a)
                    }
                    None => Err(Error::unavailable("The host cannot be reached.")),
                };
                for back in fate(ctx, &site.name, Way::FromHost).into_iter().take(1) {
                    ctx.clock.sleep_ms(back).await;
                    if let Some(a) = lock(&answer).take() {
                        let _ = a.send(r.clone());
                    }
                }
            });
        }
        waiting
    }

    async fn answered(&self, waiting: oneshot::Receiver<Result<NodeAnswer, Error>>, ms: u64) -> Result<NodeAnswer, Error> {
        let end = if self.ctx.planted(Plant::NoDeadline) { u64::MAX / 4 } else { ms };
        tokio::select! {
            biased;
            r = answer_or_never(waiting) => r,
            () = self.ctx.clock.sleep_ms(end) => Err(Error::unavailable(format!("The host did not answer within {} s.", ms / 1000))),
        }
    }
}

#[async_trait]
impl NodeClient for Wire {
    async fn call(&self, host: &Host, head: CallHead, call: NodeCall) -> Result<NodeAnswer, Error> {
        self.life.alive().await;
        self.remember(&call);
        if self.office.dies(&self.life, Death::BeforeCall) {
            self.life.alive().await;
        }
        self.ctx.say(format!("{} -> {}: {}", self.office.name, host.name, words(&call)));
        let sites = self.ctx.sites();
        let Some(site) = sites.iter().find(|s| s.id == host.id) else { return Err(Error::unavailable("There is no such host.")) };
        let wire = Arc::new(Wire { ctx: self.ctx.clone(), office: self.office.clone(), life: self.life.clone() });
        let wrong = matches!(&call, NodeCall::EnsureVm { order } if order.desired != Desired::Absent) && self.ctx.planted(Plant::OrderToWrongHost);
        if let Some(other) = sites.iter().find(|s| wrong && s.id != host.id) {
            drop(wire.send(other, head, &call));
        }
        let r = self.answered(wire.send(site, head, &call), head.deadline_ms).await;
        self.life.alive().await;
        if self.office.dies(&self.life, Death::AfterCall) {
            self.life.alive().await;
        }
        match &r {
            Ok(NodeAnswer::Refused { error }) => self.ctx.say(format!("{} <- {}: refused: {}", self.office.name, host.name, error.message)),
            Err(e) => self.ctx.say(format!("{} <- {}: {}", self.office.name, host.name, e.message)),
            Ok(_) => {}
        }
        r
    }

    async fn screenshot(&self, _host: &Host, _vm: VmId) -> Result<Vec<u8>, Error> {
        Err(Error::unavailable("Not simulated."))
    }

    async fn console(&self, _host: &Host, _vm: VmId, _kind: ConsoleKind) -> Result<Box<dyn Duplex>, Error> {
        Err(Error::unavailable("Not simulated."))
    }

    fn forget(&self, _host: HostId) {}
}
