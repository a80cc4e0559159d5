//! A fleet over the wire: many simulated machines in one process, each with the real agent, its own certificate and its own
//! report loop. A manager cannot tell it from servers, except that its inventory says "simulated".
//!
//! Nothing here re-implements what the agent does, and nothing here may reach into a manager: VMs come through the
//! public API, or by [`prepare`], which writes rows before a manager starts and says so in the audit log.

pub mod api;
pub mod control;
pub mod folder;
pub mod join;
pub mod listener;
pub mod machine;
pub mod plan;
pub mod prepare;
pub mod probe;
pub mod protocol;
pub mod seed;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use virga_model::{Error, Time};

use crate::{SimClock, SimHost};
use folder::About;
use machine::Machine;
use protocol::Status;

/// Agents are started spread over this time, as they are in life: they report every three seconds.
const SPREAD: Duration = Duration::from_millis(virga_model::host::REPORT_PERIOD_MS);
/// Machines in a process.
pub const HOSTS_MAX: usize = 4096;

/// How to reach a manager's API.
#[derive(Clone, Debug)]
pub struct Manager {
    /// `https://host:port`.
    pub url: String,
    /// File with its authority's certificate.
    pub ca: PathBuf,
    /// File with an API token that may make join tokens and VMs.
    pub token_file: PathBuf,
}

/// What a fleet is told at its start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// State folder.
    pub state: PathBuf,
    /// Machines; as before when left out.
    pub hosts: Option<usize>,
    /// Seed; as before when left out.
    pub seed: Option<u64>,
    /// Address on which all agents listen; as before when left out.
    pub listen: Option<String>,
    /// Simulated seconds in a second.
    pub speed: u32,
    /// Manager; needed while there are machines that have not joined, and for VMs.
    pub manager: Option<Manager>,
}

/// A fleet that runs.
pub struct Fleet {
    /// What it is.
    pub about: About,
    /// Its machines, by name.
    pub machines: Vec<Arc<Machine>>,
    /// How far the making of VMs is.
    pub seeding: seed::Progress,
    names: Arc<listener::Names>,
}

/// What runs beside the machines; it ends when this is dropped.
struct Jobs(Vec<AbortHandle>);

impl Drop for Jobs {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

/// Lets this process open as many files as the system allows: a connection is a file, and each host has some. Many systems
/// give a process 1,024 to begin with.
pub fn many_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Refused: then it stays as it is, and a connection that finds no room says so.
    let _ = setrlimit(Resource::Nofile, limit);
}

/// The wall clock of this machine.
fn wall() -> Time {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Time(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// What the fleet of a folder is: as it was, or, for a new one, as it is told.
fn about(settings: &Settings) -> Result<About, Error> {
    let kept = folder::about(&settings.state)?;
    let mut about = kept.clone().unwrap_or(About { seed: 1, hosts: 0, listen: "127.0.0.1:8446".into() });
    if kept.as_ref().is_some_and(|k| settings.seed.is_some_and(|s| s != k.seed)) {
        return Err(Error::conflict("This fleet was made with another seed.").with_hint("Leave --seed out, or give another --state-dir."));
    }
    about.seed = settings.seed.unwrap_or(about.seed);
    about.hosts = settings.hosts.unwrap_or(about.hosts);
    if let (None, Some(listen)) = (&kept, &settings.listen) {
        about.listen.clone_from(listen);
    }
    if about.hosts == 0 || about.hosts > HOSTS_MAX {
        return Err(Error::invalid("hosts", format!("must be 1 to {HOSTS_MAX}")));
    }
    Ok(about)
}

/// The machines of a fleet, without agents and with nothing on them.
#[must_use]
pub fn machines(state: &Path, about: &About, clock: &SimClock) -> Vec<Arc<Machine>> {
    let shares = crate::Shares::default();
    let machine = |n| {
        let name = plan::host_name(n);
        let host = SimHost::with_facts(plan::facts(about.seed, n), about.seed, clock.clone());
        host.see(&shares);
        let folder = folder::of_host(state, &name);
        Arc::new(Machine::new(name, plan::rack_name(n), host, folder))
    };
    (0..about.hosts).map(machine).collect()
}

impl Fleet {
    /// How the fleet is.
    #[must_use]
    pub fn status(&self) -> Status {
        let counts = self.machines.iter().map(|m| m.host.count()).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
        let sum = |f: fn(&Machine) -> usize| self.machines.iter().map(|m| f(m)).sum();
        Status {
            hosts: self.machines.len(),
            joined: sum(|m| usize::from(m.id().is_some())),
            reporting: sum(|m| usize::from(m.reports() > 0)),
            vms: counts.0,
            running: counts.1,
            reported_vms: sum(Machine::reported_vms),
            reports: self.machines.iter().map(|m| m.reports()).sum(),
            seeded: (self.seeding.done.load(Ordering::Relaxed), self.seeding.total.load(Ordering::Relaxed)),
        }
    }

    /// Lets every machine that has not joined do so, and starts all agents.
    async fn bring_up(&self, manager: Option<&Manager>) -> Result<(), Error> {
        let begun = Instant::now();
        let mut strangers = Vec::new();
        for m in &self.machines {
            if m.identity()?.is_none() {
                strangers.push(m.clone());
            }
        }
        if !strangers.is_empty() {
            let manager = manager.ok_or_else(|| {
                Error::conflict(format!("{} machines have not joined yet, and no manager was named.", strangers.len()))
                    .with_hint("Give --manager, --ca and --token-file.")
            })?;
            let api = api::Api::new(&manager.url, &manager.ca, &manager.token_file)?;
            join::all(&api, &strangers, &self.about.listen).await?;
            tracing::info!(machines = strangers.len(), seconds = begun.elapsed().as_secs_f64(), "machines joined");
        }
        let pause = SPREAD / u32::try_from(self.machines.len().max(1)).unwrap_or(u32::MAX);
        for m in &self.machines {
            if let Some(id) = m.id() {
                self.names.add(id, m);
            }
            m.start_agent().await?;
            tokio::time::sleep(pause).await;
        }
        Ok(())
    }

    /// Waits until a manager has taken a report of every machine whose agent can send one.
    pub async fn wait_reporting(&self) {
        while self.machines.iter().any(|m| m.reports() == 0 && m.status().agent) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Keeps what lies on the machines, so that the next fleet of this folder goes on with it.
    ///
    /// # Errors
    /// What the file system says.
    pub async fn keep(&self) -> Result<(), Error> {
        for m in &self.machines {
            m.kill_agent();
            m.keep().await?;
        }
        Ok(())
    }
}

/// Runs a fleet until `end` comes, then keeps its state. `seed_vms`: VMs to be made through the API.
///
/// # Errors
/// The folder, the address or a machine cannot be used, or a join is refused.
pub async fn run(settings: Settings, seed_vms: usize, end: impl Future<Output = ()>) -> Result<(), Error> {
    folder::make(&settings.state)?;
    let mut about = about(&settings)?;
    let control = control::open(&settings.state)?;
    let listener = TcpListener::bind(&about.listen).await.map_err(|e| {
        Error::unavailable(format!("The fleet cannot listen on {}: {e}.", about.listen))
            .with_hint("Is another fleet running? A new one can take another --listen.")
    })?;
    // Port 0 was a wish for any; from now on it is this one.
    about.listen = listener.local_addr().map_err(|e| Error::internal(e.to_string()))?.to_string();
    folder::keep_about(&settings.state, &about)?;
    let clock = SimClock::at(wall());
    let machines = machines(&settings.state, &about, &clock);
    let fleet = Arc::new(Fleet { about, machines, seeding: seed::Progress::default(), names: Arc::default() });
    let begun = Instant::now();
    for m in &fleet.machines {
        m.restore().await?;
    }
    tracing::info!(machines = fleet.machines.len(), vms = fleet.status().vms, seconds = begun.elapsed().as_secs_f64(), "the machines are switched on");
    let speed = settings.speed.max(1);
    let _jobs = Jobs(vec![
        tokio::spawn(async move { clock.keep_pace(speed).await }).abort_handle(),
        tokio::spawn(listener::serve(fleet.names.clone(), listener)).abort_handle(),
        tokio::spawn(control::serve(fleet.clone(), control)).abort_handle(),
    ]);
    let work = tokio::spawn(work(fleet.clone(), settings.manager.clone(), seed_vms, begun));
    let stopper = Jobs(vec![work.abort_handle()]);
    tokio::pin!(end);
    let result = tokio::select! {
        () = &mut end => Ok(()),
        done = work => match done {
            Ok(Ok(())) => { end.await; Ok(()) }
            Ok(Err(e)) => Err(e),
            Err(e) => Err(Error::internal(e.to_string())),
        },
    };
    drop(stopper);
    fleet.keep().await?;
    let _ = std::fs::remove_file(settings.state.join(protocol::SOCKET));
    result
}

async fn work(fleet: Arc<Fleet>, manager: Option<Manager>, seed_vms: usize, begun: Instant) -> Result<(), Error> {
    fleet.bring_up(manager.as_ref()).await?;
    fleet.wait_reporting().await;
    let s = fleet.status();
    println!("fleet: {} hosts report, {} VMs on them ({:.1} s)", s.reporting, s.vms, begun.elapsed().as_secs_f64());
    if seed_vms > 0 {
        let m = manager.ok_or_else(|| Error::invalid("seed-vms", "needs --manager, --ca and --token-file"))?;
        let api = api::Api::new(&m.url, &m.ca, &m.token_file)?;
        let (made, took) = seed::all(&api, fleet.about.seed, seed_vms, &fleet.seeding).await?;
        let rate = made as f64 / took.as_secs_f64().max(0.001);
        println!("fleet: {made} VMs made through the API in {:.1} s, {rate:.0} a second; {seed_vms} are there", took.as_secs_f64());
    }
    Ok(())
}
