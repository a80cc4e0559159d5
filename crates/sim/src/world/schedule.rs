//! Schedules drawn from seeds: a small cloud, what people ask for, and faults with rates of their own in each seed
//! (`reliability.md` 1.13). First everything may go wrong, and nothing that must never be may be; then all is mended, and
//! everything must come about in bounded time.

use super::command::{Command, DiskDeed, DiskForm, GuestDeed, StoreDeed, VirshDeed};
use super::ctx::Settings;
use super::host::Hypervising;
use super::manager::Death;
use super::plant::Plant;
use super::rng::Rng;
use super::turn::Turns;
use super::{Start, World, check, play};
use crate::StoreFault;
use virga_api::v1::{BatchAction, PowerAction};
use virga_model::Error;

/// Milliseconds in which things go wrong, at least.
const TROUBLE_MS: u64 = 60_000;
/// Milliseconds between two looks of the checkers.
const LOOK_MS: u64 = 5_000;
/// Longest time in which everything must have come about once all is mended: the longest wait between two repairs is ten
/// minutes, and two may be needed.
const BOUND_MS: u64 = 25 * 60_000;
/// Milliseconds in which nothing may happen any more, but that managers forget what is no more.
const QUIET_MS: u64 = 65_000;

/// The data store that all hosts see, when there is one, and its folder.
const STORE_NAME: &str = "gold";
const STORE_PATH: &str = "/srv/gold";

/// Thousandths of answers to people that are lost on their way.
const LOST_ANSWERS: u64 = 40;

/// What is played.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The seed.
    pub seed: u64,
    /// A deliberate bug.
    pub plant: Option<Plant>,
    /// Keep the whole log.
    pub trace: bool,
}

/// What came of a seed.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Invariants that did not hold.
    pub violations: Vec<String>,
    /// Hash of the whole log.
    pub hash: String,
    /// The log, or its end.
    pub log: Vec<String>,
    /// The schedule as a scenario's commands.
    pub commands: Vec<String>,
    /// Simulated milliseconds.
    pub ms: u64,
}

/// How likely each fault is in this seed, in thousandths for each draw.
struct Rates {
    host: u64,
    network: u64,
    libvirt: u64,
    storage: u64,
    agent: u64,
    manager: u64,
    guest: u64,
    virsh: u64,
    clock: u64,
}

fn rates(rng: &Rng) -> Rates {
    // In half of the seeds a class of faults is away: many of them at once hide what one of them does.
    let rate = |high: u64| if rng.chance(500) { 0 } else { rng.between(1, high) };
    Rates {
        host: rate(60),
        network: rate(120),
        libvirt: rate(80),
        storage: rate(60),
        agent: rate(120),
        manager: rate(120),
        guest: rate(80),
        virsh: rate(60),
        clock: rate(40),
    }
}

/// The schedule of a seed: the start, and commands with their milliseconds.
struct Draw {
    rng: Rng,
    rates: Rates,
    hosts: Vec<String>,
    managers: Vec<String>,
    vms: Vec<String>,
    made: u64,
    /// There is a data store that all hosts see.
    shared: bool,
    /// Snapshots that were asked for: the VM, and the name.
    snapshots: Vec<(String, String)>,
}

impl Draw {
    fn host(&self) -> String {
        self.rng.pick(&self.hosts).cloned().unwrap_or_default()
    }

    fn vm(&self) -> String {
        self.rng.pick(&self.vms).cloned().unwrap_or_else(|| "nobody".into())
    }

    fn manager(&self) -> String {
        self.rng.pick(&self.managers).cloned().unwrap_or_default()
    }

    fn create(&mut self) -> Command {
        self.made += 1;
        let vm = format!("v{}", self.made);
        self.vms.push(vm.clone());
        let r = &self.rng;
        Command::Create {
            vm,
            host: if r.chance(500) { self.host() } else { String::new() },
            memory_mib: 512 * r.between(1, 5),
            disks: r.between(0, 2),
            store: if self.shared && r.chance(400) { STORE_NAME.into() } else { String::new() },
            image: r.chance(300),
            network: r.chance(500),
            start: r.chance(750),
        }
    }

    /// A snapshot more, back to one, or one less.
    fn snapshot(&mut self, vm: String) -> Command {
        let known = self.rng.pick(&self.snapshots).cloned().filter(|_| self.rng.chance(550));
        match known {
            Some((vm, name)) if self.rng.chance(450) => Command::SnapshotRevert { vm, name },
            Some((vm, name)) => Command::SnapshotDelete { vm, name },
            None => {
                let name = format!("s{}", self.snapshots.len() + 1);
                self.snapshots.push((vm.clone(), name.clone()));
                Command::SnapshotCreate { vm, name, memory: self.rng.chance(250) }
            }
        }
    }

    /// A disk more, one less, or something else with one.
    fn disk(&mut self, vm: String) -> Command {
        use DiskDeed as D;
        use DiskForm as F;
        let forms = [F::Plain, F::Plain, F::Raw, F::Lazy, F::Eager, F::Independent, F::Independent, F::Nonpersistent];
        let deeds = [D::Grow, D::Reclaim, D::Keep, D::Keep, D::Back, D::Wipe];
        match self.rng.between(0, 9) {
            0..=3 => Command::DiskAdd { vm, form: self.rng.pick(&forms).copied().unwrap_or_default() },
            4..=5 => Command::DiskRemove { vm },
            _ => Command::Disk { vm, deed: self.rng.pick(&deeds).copied().unwrap_or(D::Grow) },
        }
    }

    /// What somebody asks for.
    fn wish(&mut self) -> Command {
        use PowerAction as A;
        let n = self.rng.between(0, 99);
        let vm = self.vm();
        match n {
            0..=14 => self.create(),
            15..=44 => {
                let actions = [A::Start, A::Start, A::Shutdown, A::Shutdown, A::ForceOff, A::Reboot, A::Reset, A::Pause, A::Resume, A::Hibernate, A::Wake];
                let action = self.rng.pick(&actions).copied().unwrap_or(A::Start);
                Command::Power { vm, action, timeout_s: u32::try_from(self.rng.between(5, 40)).unwrap_or(5), then_force: self.rng.chance(400) }
            }
            45..=57 => self.snapshot(vm),
            58..=62 => Command::Cpus { vm, cpus: u32::try_from(self.rng.between(1, 4)).unwrap_or(1) },
            63..=65 => Command::Memory { vm, memory_mib: 512 * self.rng.between(1, 5) },
            66..=67 => Command::NicAdd { vm },
            68..=77 => self.disk(vm),
            78..=83 => Command::Delete { vm, force: self.rng.chance(700) },
            84..=88 => {
                let actions = [BatchAction::Start, BatchAction::Shutdown, BatchAction::ForceOff, BatchAction::Reset, BatchAction::Pause, BatchAction::Delete];
                let action = self.rng.pick(&actions).copied().unwrap_or(BatchAction::Start);
                let mut vms: Vec<String> = (0..self.rng.between(1, 3)).map(|_| self.vm()).collect();
                vms.dedup();
                Command::Batch { action, vms }
            }
            89..=90 => Command::ImageDelete,
            91..=92 => Command::NetworkDelete,
            _ => Command::Cancel { object: if self.rng.chance(150) { "batch".into() } else { vm } },
        }
    }

    /// What goes wrong now: a command each, and often the end of it later.
    fn troubles(&mut self, now: u64) -> Vec<(u64, Command)> {
        let mut out = Vec::new();
        let later = |d: &Draw, low: u64, high: u64| now + 1000 * d.rng.between(low, high);
        if self.rng.chance(self.rates.host) {
            let host = self.host();
            out.push((now, Command::HostPower { host: host.clone(), on: false }));
            out.push((later(self, 2, 60), Command::HostPower { host, on: true }));
        }
        if self.rng.chance(self.rates.network) {
            let (host, which) = (self.host(), self.rng.between(0, 2));
            out.push((now, Command::Network { host: host.clone(), to_cut: which != 1, from_cut: which != 2 }));
            out.push((later(self, 1, 50), Command::Network { host, to_cut: false, from_cut: false }));
        }
        if self.rng.chance(self.rates.libvirt) {
            let host = self.host();
            let state = self.rng.pick(&[Hypervising::Down, Hypervising::Hung, Hypervising::Garbage]).copied().unwrap_or_default();
            out.push((now, Command::Libvirt { host: host.clone(), state }));
            out.push((later(self, 1, 40), Command::Libvirt { host, state: Hypervising::Up }));
        }
        if self.rng.chance(self.rates.storage) {
            let host = self.host();
            let deed = self.rng.pick(&[StoreDeed::Full, StoreDeed::Error, StoreDeed::Slow]).copied().unwrap_or(StoreDeed::Full);
            out.push((now, Command::Storage { host: host.clone(), deed }));
            out.push((later(self, 1, 30), Command::Storage { host, deed: StoreDeed::Ok }));
        }
        if self.shared && self.rng.chance(self.rates.storage) {
            let host = self.host();
            let fault = self.rng.pick(&[StoreFault::Lost, StoreFault::Stalled, StoreFault::Failing, StoreFault::ReadOnly, StoreFault::Wrong]).copied();
            out.push((now, Command::Shares { host: host.clone(), fault }));
            out.push((later(self, 1, 40), Command::Shares { host, fault: None }));
        }
        self.agent_troubles(now, &mut out);
        self.manager_troubles(now, &mut out);
        if self.rng.chance(self.rates.guest) {
            let deed = if self.rng.chance(500) { GuestDeed::Crash } else { GuestDeed::Shutdown };
            out.push((now, Command::Guest { vm: self.vm(), deed }));
            let host = self.host();
            out.push((now, Command::Hearing { host: host.clone(), deaf: self.rng.chance(500) }));
            out.push((later(self, 5, 30), Command::Hearing { host, deaf: false }));
        }
        if self.rng.chance(self.rates.guest) {
            let host = self.host();
            let which = self.rng.chance(500);
            let fault = |host: String, fail: bool| if which { Command::Starts { host, fail } } else { Command::Changes { host, fail } };
            out.push((now, fault(host.clone(), true)));
            out.push((later(self, 2, 20), fault(host, false)));
        }
        if self.rng.chance(self.rates.virsh) {
            let deed = self.rng.pick(&[VirshDeed::Start, VirshDeed::Destroy, VirshDeed::Undefine, VirshDeed::Edit]).copied().unwrap_or(VirshDeed::Start);
            out.push((now, Command::Virsh { vm: self.vm(), deed }));
        }
        if self.rng.chance(self.rates.clock) {
            // Managers must agree on the time of day; a single one may be wrong.
            let who = if self.managers.len() == 1 && self.rng.chance(500) { self.manager() } else { self.host() };
            let seconds = self.rng.pick(&[3600, -3600, 40, -40, 0]).copied().unwrap_or(0);
            out.push((now, Command::Clock { who, seconds }));
        }
        out
    }

    fn agent_troubles(&mut self, now: u64, out: &mut Vec<(u64, Command)>) {
        if !self.rng.chance(self.rates.agent) {
            return;
        }
        let host = self.host();
        out.push((
            now,
            match self.rng.between(0, 9) {
                0..=3 => Command::AgentKill { host: host.clone() },
                4..=8 => Command::AgentKillAt { host: host.clone(), write: self.rng.between(1, 8) },
                _ => Command::AgentForget { host: host.clone() },
            },
        ));
        out.push((now + 1000 * self.rng.between(1, 20), Command::AgentStart { host }));
    }

    fn manager_troubles(&mut self, now: u64, out: &mut Vec<(u64, Command)>) {
        if !self.rng.chance(self.rates.manager) {
            return;
        }
        let manager = self.manager();
        let n = self.rng.between(1, 12);
        let deaths = [Death::BeforeCommit(n), Death::AfterCommit(n), Death::BeforeCall(n.div_ceil(4)), Death::AfterCall(n.div_ceil(4))];
        match self.rng.between(0, 9) {
            0..=1 => out.push((now, Command::ManagerKill { manager: manager.clone() })),
            2..=6 => {
                let death = self.rng.pick(&deaths).copied().unwrap_or(Death::BeforeCommit(1));
                out.push((now, Command::ManagerKillAt { manager: manager.clone(), death }));
            }
            _ => {
                out.push((now, Command::ManagerHold { manager: manager.clone() }));
                let long = if self.rng.chance(200) { 300 } else { self.rng.between(1, 60) };
                out.push((now + 1000 * long, Command::ManagerGoOn { manager }));
                return;
            }
        }
        out.push((now + 1000 * self.rng.between(1, 40), Command::ManagerStart { manager }));
    }
}

fn draw(seed: u64) -> (Start, Vec<(u64, Command)>, u64) {
    let rng = Rng::new(seed.wrapping_mul(0x9e37_79b9).wrapping_add(17));
    let hosts: Vec<(String, u64)> = (1..=rng.between(1, 3)).map(|n| (format!("h{n}"), rng.between(4, 10))).collect();
    let managers = usize::try_from(if rng.chance(500) { 1 } else { 2 }).unwrap_or(1);
    let rates = rates(&rng);
    let names = hosts.iter().map(|(n, _)| n.clone()).collect();
    let shared = rng.chance(400);
    let mut d =
        Draw { shared, rates, hosts: names, managers: (1..=managers).map(|n| format!("m{n}")).collect(), vms: Vec::new(), made: 0, snapshots: Vec::new(), rng };
    let mut commands = Vec::new();
    if d.rng.chance(600) {
        let w = |d: &Draw, high: u64| if d.rng.chance(400) { 0 } else { d.rng.between(0, high) };
        let weather = Command::Weather { loss: w(&d, 200), twice: w(&d, 200), late: w(&d, 100), spread_ms: d.rng.between(2, 400) };
        commands.push((3_000, weather));
    }
    if shared {
        commands.push((3_500, Command::StoreCreate { store: STORE_NAME.into(), path: STORE_PATH.into() }));
    }
    let mut now = if shared { 12_000 } else { 4_000 };
    let end = now + TROUBLE_MS + 1000 * d.rng.between(0, 60);
    for _ in 0..d.rng.between(1, 4) {
        let c = d.create();
        commands.push((now, c));
        now += d.rng.between(100, 3_000);
    }
    now += d.rng.between(0, 10_000);
    while now < end {
        now += d.rng.between(200, 4_000);
        if d.rng.chance(450) {
            let wish = d.wish();
            commands.push((now, wish));
        }
        let troubles = d.troubles(now);
        commands.extend(troubles);
    }
    commands.sort_by_key(|(at, _)| *at);
    (Start { managers, hosts }, commands, end)
}

/// Plays a seed.
///
/// # Errors
/// When the world cannot be built.
pub fn run(options: Options) -> Result<Outcome, Error> {
    play(move |turns| one(options, turns))
}

async fn one(options: Options, turns: Turns) -> Result<Outcome, Error> {
    let (start, commands, end) = draw(options.seed);
    let settings = Settings { seed: options.seed, plant: options.plant, keep_log: options.trace, lost_answers: LOST_ANSWERS };
    let mut w = World::build(settings, &start, turns).await?;
    let mut memory = check::Memory::default();
    let printed = commands.iter().map(|(at, c)| format!("{}.{:03} {c}", at / 1000, at % 1000)).collect();
    let mut look = LOOK_MS;
    for (at, c) in commands.iter().filter(|(at, _)| *at < end) {
        while look <= *at {
            w.run_until(look).await;
            w.guests_write();
            check::sample(&w.ctx, &mut memory).await?;
            look += LOOK_MS;
        }
        w.run_until(*at).await;
        w.command(c).await;
    }
    while look <= end {
        w.run_until(look).await;
        w.guests_write();
        check::sample(&w.ctx, &mut memory).await?;
        look += LOOK_MS;
    }
    w.run_until(end).await;
    w.heal().await;
    converge(&mut w, &mut memory, end).await?;
    check::settled(&w.ctx, &w.people).await?;
    let before = check::last_event(&w.ctx).await?;
    let now = w.ctx.now();
    w.run_until(now + QUIET_MS).await;
    check::quiet(&w.ctx, before).await?;
    Ok(Outcome { violations: w.ctx.violations(), hash: w.ctx.log.hash(), log: w.ctx.log.lines(), commands: printed, ms: w.ctx.now() })
}

/// Waits until all has come about, or the time for it is over.
async fn converge(w: &mut World, memory: &mut check::Memory, end: u64) -> Result<(), Error> {
    let mut wait = 2 * LOOK_MS;
    while w.ctx.now() < end + BOUND_MS {
        let now = w.ctx.now();
        w.run_until(now + wait).await;
        w.guests_write();
        check::sample(&w.ctx, memory).await?;
        // Nothing that was seen can be undone: a violation ends the seed.
        if !w.ctx.violations().is_empty() {
            return Ok(());
        }
        // Reports of the last minute, and what late ones bring, are in before anything is judged.
        if now + wait >= end + 45_000 && check::is_settled(&w.ctx, &w.people).await? {
            return Ok(());
        }
        wait = (wait + LOOK_MS).min(60_000);
    }
    Ok(())
}
