//! A host: a simulated machine with power, a disk, a clock of its own, and one agent after the other on it.

use super::ctx::Ctx;
use super::journal::SimJournal;
use super::life::{Life, State};
use super::machine::Machine;
use super::manager::answer_or_never;
use super::net::{Way, fate};
use super::plant::Plant;
use super::turn::lock;
use crate::SimHost;
use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::oneshot;
use virga_agent::host::Result;
use virga_agent::link::Link;
use virga_agent::node::Node;
use virga_model::order::{ImageRef, Report, ReportAck, VmReport};
use virga_model::vm::VmState;
use virga_model::{Error, HostId, VmId};

/// Milliseconds after which an agent gives a report up.
const REPORT_MS: u64 = 5_000;

/// Milliseconds after which an agent knows that its hypervisor does not answer: longer than it waits for any answer.
const NOTICED_MS: u64 = 15_000;

/// Milliseconds without a report that count as a gap.
const GAP_MS: u64 = 15_000;

/// How the hypervisor of a host answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hypervising {
    /// As it should.
    #[default]
    Up,
    /// Connections are refused.
    Down,
    /// No answer comes.
    Hung,
    /// Answers make no sense.
    Garbage,
}

/// What outlives the agents of a host, and what is wrong with the machine.
#[derive(Default)]
pub struct Disk {
    /// The host's name, for the log.
    pub host: String,
    /// The journal's documents.
    pub documents: Mutex<BTreeMap<String, Vec<u8>>>,
    /// Writes of the journal until the agent is killed; 0: it is not.
    pub writes_left: AtomicU64,
    /// The journal cannot be written.
    pub broken: AtomicBool,
    /// The store gives errors.
    pub store_broken: AtomicBool,
    /// The store has no room.
    pub full: AtomicBool,
    /// The store is slow.
    pub slow: AtomicBool,
    /// How the hypervisor answers.
    hypervisor: Mutex<Hypervising>,
    /// Since when it answers so.
    hypervisor_since: AtomicU64,
    /// Seconds by which the wall clock of the host is wrong.
    pub clock_s: AtomicI64,
}

impl Disk {
    /// How the hypervisor answers.
    #[must_use]
    pub fn hypervisor(&self) -> Hypervising {
        *lock(&self.hypervisor)
    }

    /// From now on the hypervisor answers so.
    pub fn set_hypervisor(&self, state: Hypervising, now: u64) {
        if std::mem::replace(&mut *lock(&self.hypervisor), state) != state {
            self.hypervisor_since.store(now, Ordering::SeqCst);
        }
    }
}

/// A host.
pub struct Site {
    /// Its name.
    pub name: String,
    /// Its identity.
    pub id: HostId,
    /// Bytes of memory that it really has.
    pub memory_bytes: u64,
    /// The machine.
    pub sim: Arc<SimHost>,
    /// What outlives agents.
    pub disk: Arc<Disk>,
    /// The agent that runs, or has run last.
    life: Mutex<Arc<Life>>,
    node: Mutex<Option<Arc<Node>>>,
    powered: AtomicBool,
    /// Number of the next report.
    sent: AtomicU64,
    /// When a manager last took a report.
    pub heard_at: AtomicU64,
    /// When one was taken after a long time without.
    pub gap_ended_at: AtomicU64,
}

impl Site {
    /// A host whose agent has not been started.
    #[must_use]
    pub fn new(ctx: &Ctx, name: &str, id: HostId, memory_bytes: u64) -> Arc<Site> {
        let dead = Life::default();
        dead.set(State::Dead);
        Arc::new(Site {
            name: name.into(),
            id,
            memory_bytes,
            sim: SimHost::new(name, memory_bytes, ctx.clock.clone()),
            disk: Arc::new(Disk { host: name.into(), ..Disk::default() }),
            life: Mutex::new(Arc::new(dead)),
            node: Mutex::default(),
            powered: AtomicBool::new(true),
            sent: AtomicU64::new(1),
            heard_at: AtomicU64::new(0),
            gap_ended_at: AtomicU64::new(0),
        })
    }

    /// A manager has taken a report.
    pub fn heard(&self, now: u64) {
        if now.saturating_sub(self.heard_at.swap(now, Ordering::SeqCst)) >= GAP_MS {
            self.gap_ended_at.store(now, Ordering::SeqCst);
        }
    }

    /// Whether the machine has power.
    #[must_use]
    pub fn powered(&self) -> bool {
        self.powered.load(Ordering::SeqCst)
    }

    /// Whether an agent runs.
    #[must_use]
    pub fn agent_runs(&self) -> bool {
        lock(&self.life).runs()
    }

    /// The agent that answers calls now.
    #[must_use]
    pub fn node(&self) -> Option<Arc<Node>> {
        lock(&self.node).clone().filter(|_| self.agent_runs())
    }

    /// Generation that the journal holds for a VM.
    #[must_use]
    pub fn journalled(&self, vm: VmId) -> Option<i64> {
        let documents = lock(&self.disk.documents);
        let record: virga_agent::record::Record = serde_json::from_slice(documents.get(&vm.to_string())?).ok()?;
        Some(record.order.generation)
    }

    /// Whether the journal says that the definition of a VM can be started as it is.
    #[must_use]
    pub fn relies_on_definition(&self, vm: VmId) -> bool {
        let documents = lock(&self.disk.documents);
        let record = documents.get(&vm.to_string()).and_then(|d| serde_json::from_slice::<virga_agent::record::Record>(d).ok());
        // The layer on which stored memory goes on is made anew for each try.
        record.is_some_and(|r| r.defined.is_some() && r.to_resume().is_none())
    }

    /// Starts an agent when none runs and there is power.
    pub fn start_agent(self: &Arc<Site>, ctx: &Arc<Ctx>) {
        if self.agent_runs() || !self.powered() {
            return;
        }
        let life = Arc::new(Life::default());
        *lock(&self.life) = life.clone();
        *lock(&self.node) = None;
        let machine = Arc::new(Machine { ctx: ctx.clone(), life: life.clone(), disk: self.disk.clone(), inner: self.sim.clone() });
        let journal = Arc::new(SimJournal { ctx: ctx.clone(), life: life.clone(), disk: self.disk.clone() });
        let link = Arc::new(Up { ctx: ctx.clone(), life: life.clone(), site: self.clone(), turn: AtomicU64::new(0), told: Mutex::default() });
        let (site, ctx) = (self.clone(), ctx.clone());
        tokio::spawn(async move {
            match Node::open(machine, link, journal).await {
                Ok(node) if life.runs() => {
                    *lock(&site.node) = Some(node.clone());
                    virga_agent::report::run(node).await;
                }
                Ok(_) => {}
                // A service manager starts it again; here whoever broke the journal does.
                Err(e) => {
                    ctx.say(format!("{} the agent does not start: {}", site.name, e.message));
                    life.set(State::Dead);
                }
            }
        });
    }

    /// Kills the agent; guests run on.
    pub fn kill_agent(&self) {
        lock(&self.life).set(State::Dead);
        *lock(&self.node) = None;
    }

    /// The agent's journal is gone, as after a new installation of the host.
    pub fn lose_journal(&self) {
        self.kill_agent();
        lock(&self.disk.documents).clear();
    }

    /// Takes the power away: guests and agent end.
    pub fn power_off(&self) {
        if !self.powered.swap(false, Ordering::SeqCst) {
            return;
        }
        self.kill_agent();
        self.sim.set_faults(|f| f.hypervisor_down = true);
        let guests: Vec<VmId> = self.guests().into_iter().map(|(id, ..)| id).collect();
        for vm in guests {
            if self.sim.domain_state(vm).is_some_and(|s| s != VmState::Hibernated) {
                self.sim.meddle(vm, Some(VmState::Stopped));
                let transient = self.sim.world().domains.get(&vm).is_some_and(|d| !d.persistent);
                if transient {
                    self.sim.meddle(vm, None);
                }
            }
        }
    }

    /// Gives the power back; the agent starts with the machine.
    pub fn power_on(self: &Arc<Site>, ctx: &Arc<Ctx>) {
        if !self.powered.swap(true, Ordering::SeqCst) {
            self.sim.set_faults(|f| f.hypervisor_down = false);
            self.start_agent(ctx);
        }
    }

    /// The guests: identity, state, and whether there is a definition.
    #[must_use]
    pub fn guests(&self) -> Vec<(VmId, VmState, bool)> {
        let ids: Vec<VmId> = self.sim.world().domains.keys().copied().collect();
        // Asking for the state lets those that were asked to come down be down.
        let state = |id| self.sim.domain_state(id);
        ids.into_iter().filter_map(|id| Some((id, state(id)?, self.sim.world().domains.get(&id)?.persistent))).collect()
    }
}

/// The way up: from one life of an agent to whichever manager answers.
struct Up {
    ctx: Arc<Ctx>,
    life: Arc<Life>,
    site: Arc<Site>,
    /// Which manager is asked next; changes after a failure.
    turn: AtomicU64,
    /// What a planted bug tells again.
    told: Mutex<BTreeMap<VmId, VmReport>>,
}

impl Up {
    fn office(&self) -> Option<Arc<super::manager::Office>> {
        let offices = self.ctx.offices();
        let n = u64::try_from(offices.len()).ok().filter(|n| *n > 0)?;
        let at = usize::try_from(self.turn.load(Ordering::SeqCst) % n).unwrap_or(0);
        offices.get(at).cloned()
    }

    /// What nobody could find out is not said: a hypervisor that does not answer makes states unknown, and nothing else
    /// (V4; `reliability.md` G3).
    fn judge(&self, report: &Report) {
        let disk = &self.site.disk;
        let silent_ms = self.ctx.now().saturating_sub(disk.hypervisor_since.load(Ordering::SeqCst));
        if disk.hypervisor() == Hypervising::Up || silent_ms < NOTICED_MS {
            return;
        }
        if let Some(v) = report.vms.iter().find(|v| v.observed.state != VmState::Unknown) {
            let text = format!("{} says that {} is {}, and its hypervisor has not answered for {silent_ms} ms", self.site.name, v.id, v.observed.state);
            self.ctx.violated("V4", &text);
        }
    }

    /// A planted bug: all is told again each time, as if it had changed.
    fn news(&self, mut report: Report) -> Report {
        let mut told = lock(&self.told);
        told.extend(std::mem::take(&mut report.vms).into_iter().map(|v| (v.id, v)));
        report.vms = told.values().cloned().collect();
        for v in &mut report.vms {
            (v.observed.revision, v.observed.started_at) = (report.revision, Some(report.now));
        }
        report
    }

    fn lies(&self, mut report: Report) -> Report {
        for v in &mut report.vms {
            if self.ctx.planted(Plant::ReportOverwritesNewer) {
                v.observed.revision = u64::MAX / 2 + self.ctx.rng.next() % 2 + self.ctx.now() * 4;
            }
            if self.ctx.planted(Plant::ChangesAreKeptQuiet) && v.observed.generation > 1 {
                v.observed.settled = false;
            }
        }
        report
    }
}

#[async_trait]
impl Link for Up {
    async fn report(&self, report: &Report) -> Result<ReportAck> {
        self.life.alive().await;
        self.judge(report);
        let report = &if self.ctx.planted(Plant::EverythingIsNews) { self.news(report.clone()) } else { report.clone() };
        let (answer, waiting) = oneshot::channel();
        let answer = Arc::new(Mutex::new(Some(answer)));
        let number = self.site.sent.fetch_add(1, Ordering::SeqCst);
        if let Some(office) = self.office() {
            for ms in fate(&self.ctx, &self.site.name, Way::FromHost) {
                let (ctx, site, office, answer) = (self.ctx.clone(), self.site.clone(), office.clone(), answer.clone());
                let report = report.clone();
                let lies = Up { ctx: self.ctx.clone(), life: self.life.clone(), site: self.site.clone(), turn: AtomicU64::new(0), told: Mutex::default() };
                tokio::spawn(async move {
                    ctx.clock.sleep_ms(ms).await;
                    // What was said counts when it is heard.
                    let report = lies.lies(report);
                    let r = office.take_report(&site, number, report).await;
                    for back in fate(&ctx, &site.name, Way::ToHost).into_iter().take(1) {
                        ctx.clock.sleep_ms(back).await;
                        if let Some(a) = lock(&answer).take() {
                            let _ = a.send(r.clone());
                        }
                    }
                });
            }
        }
        let r = tokio::select! {
            biased;
            r = answer_or_never(waiting) => r,
            () = self.ctx.clock.sleep_ms(REPORT_MS) => Err(Error::unavailable("No manager answered.")),
        };
        self.life.alive().await;
        if r.is_err() {
            self.turn.fetch_add(1, Ordering::SeqCst);
        }
        r
    }

    async fn fetch_image(&self, image: &ImageRef, offset: u64) -> Result<BoxStream<'static, Result<Vec<u8>>>> {
        self.ctx.pause(&self.life, 50).await;
        if fate(&self.ctx, &self.site.name, Way::FromHost).is_empty() || self.office().is_none_or(|o| !o.life().runs()) {
            return Err(Error::unavailable("No manager sent the image."));
        }
        let content = super::IMAGE.get(usize::try_from(offset).unwrap_or(0)..).unwrap_or_default();
        let mut pieces: Vec<Result<Vec<u8>>> = content.chunks(7).map(|c| Ok(c.to_vec())).collect();
        if self.ctx.rng.chance(50) && !pieces.is_empty() && image.size_bytes > 0 {
            pieces.truncate(pieces.len() / 2);
            pieces.push(Err(Error::unavailable("The transfer was cut off.")));
        }
        Ok(futures::stream::iter(pieces).boxed())
    }
}
