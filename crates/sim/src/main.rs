//! The program `virga-fleet`: a fleet of simulated hosts with the real agent, and what breaks them.
//!
//! It never runs a guest and never touches this machine beyond its state folder and one port.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::process::ExitCode;
use virga_model::Error;
use virga_sim::StoreFault;
use virga_sim::fleet::protocol::{Agent, Answer, GuestEvent, Libvirt, Network, Request, Storage, Switch, Target};
use virga_sim::fleet::{self, Manager, Settings, api::Api, control, folder::About, prepare, probe};

/// Simulated hosts with the real agent, in one process: for trying, showing and measuring Virga without servers.
#[derive(Parser)]
#[command(name = "virga-fleet", version)]
struct Program {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the machines until SIGINT or SIGTERM; then their state is kept, and the next run goes on with it.
    Run(Run),
    /// Write a fleet with VMs for a manager that has not started yet. All of it is simulated data.
    Prepare(Prepare),
    /// Break or mend machines, guests, networks.
    #[command(subcommand)]
    Break(Break),
    /// Show how a running fleet is, as JSON.
    Status(Where),
    /// Measure how long a manager takes to answer; prints JSON.
    Probe(Probe),
}

/// Which fleet.
#[derive(Args)]
struct Where {
    /// State folder of the fleet.
    #[arg(long, env = "VIRGA_FLEET_STATE")]
    state_dir: PathBuf,
}

/// Which manager.
#[derive(Args)]
struct ManagerArgs {
    /// URL of the manager's API; needed while there are machines that have not joined, and for --seed-vms.
    #[arg(long, requires_all = ["ca", "token_file"])]
    manager: Option<String>,
    /// File with the certificate of the manager's authority (ca.pem in its state folder).
    #[arg(long)]
    ca: Option<PathBuf>,
    /// File with an API token that may make join tokens and VMs (`virga-manager token`).
    #[arg(long)]
    token_file: Option<PathBuf>,
}

impl ManagerArgs {
    fn manager(self) -> Option<Manager> {
        Some(Manager { url: self.manager?, ca: self.ca?, token_file: self.token_file? })
    }
}

#[derive(Args)]
struct Run {
    #[command(flatten)]
    manager: ManagerArgs,
    #[command(flatten)]
    place: Where,
    /// Machines; as many as before when left out.
    #[arg(long)]
    hosts: Option<usize>,
    /// VMs for each machine, made through the API: the same as --seed-vms with the product.
    #[arg(long, conflicts_with = "seed_vms")]
    vms_per_host: Option<usize>,
    /// See to it that so many VMs were made through the API, sim-00001 and on; those that exist are left alone.
    #[arg(long, default_value_t = 0)]
    seed_vms: usize,
    /// From which machines, VMs and lives are drawn.
    #[arg(long)]
    seed: Option<u64>,
    /// Address on which all agents listen, 127.0.0.1:8446 when left out; port 0: any, and the same again next time.
    #[arg(long)]
    listen: Option<String>,
    /// Simulated seconds in a second.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    speed: u32,
    /// Threads.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    threads: u16,
}

#[derive(Args)]
struct Prepare {
    /// State folder that the manager will be given; made where it does not exist.
    #[arg(long)]
    manager_state: PathBuf,
    /// Database, when the manager will be given one.
    #[arg(long, env = "VIRGA_DATABASE", hide_env_values = true)]
    database: Option<String>,
    /// host:port where the manager's node listener will be.
    #[arg(long, default_value = "127.0.0.1:8444")]
    node_address: String,
    #[command(flatten)]
    place: Where,
    /// Machines.
    #[arg(long, default_value_t = 100)]
    hosts: usize,
    /// VMs.
    #[arg(long, default_value_t = 5000)]
    vms: usize,
    /// From which everything is drawn.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Address on which all agents will listen.
    #[arg(long, default_value = "127.0.0.1:8446")]
    listen: String,
}

#[derive(Args)]
struct Probe {
    #[command(flatten)]
    manager: ManagerArgs,
    /// VMs that there are.
    #[arg(long)]
    vms: usize,
    /// Requests of each kind.
    #[arg(long, default_value_t = 300)]
    samples: usize,
    /// Power operations.
    #[arg(long, default_value_t = 100)]
    operations: usize,
    /// From which VMs are drawn.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Which machines, and what becomes of them.
#[derive(Args)]
struct Hosts<S: ValueEnum + Send + Sync + 'static> {
    #[command(flatten)]
    place: Where,
    /// All machines.
    #[arg(long, conflicts_with = "rack")]
    all: bool,
    /// The machines of this rack.
    #[arg(long, value_name = "RACK")]
    rack: Option<String>,
    /// Machines, then what becomes of them.
    #[arg(required = true, value_name = "HOST… STATE")]
    words: Vec<String>,
    #[arg(skip)]
    _state: std::marker::PhantomData<S>,
}

impl<S: ValueEnum + Send + Sync + 'static> Hosts<S> {
    fn target(self) -> Result<(PathBuf, Target, S), Error> {
        let mut hosts = self.words;
        let word = hosts.pop().unwrap_or_default();
        let known: Vec<String> = S::value_variants().iter().filter_map(|v| v.to_possible_value()).map(|v| v.get_name().to_string()).collect();
        let state = S::from_str(&word, true).map_err(|_| Error::invalid("state", format!("\"{word}\" is none of {}; it comes last", known.join(", "))))?;
        let target = match (self.all, self.rack) {
            (true, _) if hosts.is_empty() => Target::All,
            (false, Some(rack)) if hosts.is_empty() => Target::Rack(rack),
            (false, None) => Target::Hosts(hosts),
            _ => return Err(Error::invalid("host", "name machines, or give --rack or --all, not both")),
        };
        Ok((self.place.state_dir, target, state))
    }
}

#[derive(Args)]
struct Guest {
    #[command(flatten)]
    place: Where,
    /// Name or id of the VM.
    vm: String,
    /// What happens in it.
    event: GuestWord,
}

/// The shared data stores of a machine, as they are named on the command line.
enum Share {
    Lost,
    Stalled,
    Failing,
    ReadOnly,
    Wrong,
    Ok,
}

impl Share {
    fn fault(&self) -> Option<StoreFault> {
        Some(match self {
            Share::Lost => StoreFault::Lost,
            Share::Stalled => StoreFault::Stalled,
            Share::Failing => StoreFault::Failing,
            Share::ReadOnly => StoreFault::ReadOnly,
            Share::Wrong => StoreFault::Wrong,
            Share::Ok => return None,
        })
    }
}

macro_rules! words {
    ($name:ident => $of:ident { $($word:ident),* }) => {
        #[derive(Clone, Copy, ValueEnum)]
        enum $name { $($word),* }
        impl From<$name> for $of {
            fn from(w: $name) -> $of {
                match w { $($name::$word => $of::$word),* }
            }
        }
    };
}

words!(PowerWord => Switch { On, Off });
words!(NetworkWord => Network { Cut, Heal, OneWay });
words!(StorageWord => Storage { Full, Error, Ok });
words!(ShareWord => Share { Lost, Stalled, Failing, ReadOnly, Wrong, Ok });
words!(AgentWord => Agent { Kill, Start });
words!(LibvirtWord => Libvirt { Hang, Down, Ok });
words!(GuestWord => GuestEvent { Crash, Shutdown });

#[derive(Subcommand)]
#[command(
    after_help = "Examples:\n  virga-fleet break power rack-01-host-07 off\n  virga-fleet break network --rack rack-02 cut\n  virga-fleet break agent --all kill"
)]
enum Break {
    /// Power: off, on. Off takes all guests along.
    Power(Hosts<PowerWord>),
    /// Network to the managers: cut, one-way (reports do not get out), heal.
    Network(Hosts<NetworkWord>),
    /// Store for disks: full, error, ok.
    Storage(Hosts<StorageWord>),
    /// Shared data stores, all of them: lost, stalled, failing, read-only, wrong, ok.
    Share(Hosts<ShareWord>),
    /// Agent: kill, start. Guests go on.
    Agent(Hosts<AgentWord>),
    /// libvirt: hang, down, ok. Guests go on.
    Libvirt(Hosts<LibvirtWord>),
    /// A guest: crash, shutdown.
    Guest(Guest),
    /// List all machines and what is broken.
    List(Where),
}

impl Break {
    fn request(self) -> Result<(PathBuf, Request), Error> {
        Ok(match self {
            Break::Power(h) => h.target().map(|(p, target, s)| (p, Request::Power { target, state: s.into() }))?,
            Break::Network(h) => h.target().map(|(p, target, s)| (p, Request::Network { target, state: s.into() }))?,
            Break::Storage(h) => h.target().map(|(p, target, s)| (p, Request::Storage { target, state: s.into() }))?,
            Break::Share(h) => h.target().map(|(p, target, s)| (p, Request::Shares { target, fault: Share::from(s).fault() }))?,
            Break::Agent(h) => h.target().map(|(p, target, s)| (p, Request::Agent { target, state: s.into() }))?,
            Break::Libvirt(h) => h.target().map(|(p, target, s)| (p, Request::Libvirt { target, state: s.into() }))?,
            Break::Guest(g) => (g.place.state_dir, Request::Guest { vm: g.vm, event: g.event.into() }),
            Break::List(w) => (w.state_dir, Request::List),
        })
    }
}

fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_env("VIRGA_LOG").unwrap_or_else(|_| "info,sqlx=warn,virga_agent=error".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    // One provider for the whole process, chosen before the first handshake. It fails only when done twice.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match act(Program::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            if let Some(hint) = &e.hint {
                eprintln!("hint: {hint}");
            }
            ExitCode::FAILURE
        }
    }
}

fn act(command: Command) -> Result<(), Error> {
    match command {
        Command::Run(r) => runtime(usize::from(r.threads))?.block_on(run(r)),
        Command::Prepare(p) => runtime(2)?.block_on(prepare(p)),
        Command::Break(b) => {
            let (state, request) = b.request()?;
            show(control::ask(&state, &request)?)
        }
        Command::Status(w) => show(control::ask(&w.state_dir, &Request::Status)?),
        Command::Probe(p) => runtime(2)?.block_on(measure(p)),
    }
}

fn runtime(threads: usize) -> Result<tokio::runtime::Runtime, Error> {
    let made = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).max_blocking_threads(8).enable_all().build();
    made.map_err(|e| Error::host(format!("The runtime cannot start: {e}.")))
}

async fn run(r: Run) -> Result<(), Error> {
    virga_sim::fleet::many_files();
    let seed_vms = r.vms_per_host.map_or(r.seed_vms, |n| n * r.hosts.unwrap_or(0));
    let settings = Settings { state: r.place.state_dir, hosts: r.hosts, seed: r.seed, listen: r.listen, speed: r.speed, manager: r.manager.manager() };
    fleet::run(settings, seed_vms, wait_for_end()).await
}

async fn prepare(p: Prepare) -> Result<(), Error> {
    let about = About { seed: p.seed, hosts: p.hosts, listen: p.listen };
    let order =
        prepare::Order { manager_state: p.manager_state, database: p.database, node_address: p.node_address, state: p.place.state_dir, about, vms: p.vms };
    let made = prepare::all(&order).await?;
    println!("fleet: {} simulated hosts and {made} simulated VMs are prepared", order.about.hosts);
    Ok(())
}

async fn measure(p: Probe) -> Result<(), Error> {
    let m = p.manager.manager().ok_or_else(|| Error::invalid("manager", "needs --manager, --ca and --token-file"))?;
    let found = probe::all(&Api::new(&m.url, &m.ca, &m.token_file)?, p.seed, p.vms, p.samples, p.operations).await?;
    println!("{}", serde_json::to_string(&found).map_err(|e| Error::internal(e.to_string()))?);
    Ok(())
}

/// Prints what the fleet answered, in a form for people and for programs alike.
fn show(answer: Answer) -> Result<(), Error> {
    match answer {
        Answer::Refused { message } => return Err(Error::conflict(message)),
        Answer::Done { hosts } if hosts.len() > 8 => println!("done on {} machines", hosts.len()),
        Answer::Done { hosts } => println!("done on {}", hosts.join(", ")),
        Answer::Status(s) => println!("{}", serde_json::to_string(&s).map_err(|e| Error::internal(e.to_string()))?),
        Answer::Hosts { hosts } => {
            println!("{:<20} {:<6} {:<6} {:<8} {:<8} {:<8} {:>5} {:>8}", "NAME", "POWER", "AGENT", "NETWORK", "STORAGE", "LIBVIRT", "VMS", "RUNNING");
            for h in hosts {
                let word = |v: serde_json::Value| v.as_str().unwrap_or("?").to_string();
                let (power, network, storage, libvirt) = (
                    word(serde_json::json!(h.power)),
                    word(serde_json::json!(h.network)),
                    word(serde_json::json!(h.storage)),
                    word(serde_json::json!(h.libvirt)),
                );
                let agent = if h.agent { "runs" } else { "none" };
                println!("{:<20} {power:<6} {agent:<6} {network:<8} {storage:<8} {libvirt:<8} {:>5} {:>8}", h.name, h.vms, h.running);
            }
        }
    }
    Ok(())
}

async fn wait_for_end() {
    use tokio::signal::unix::{SignalKind, signal};
    match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
        (Ok(mut interrupt), Ok(mut terminate)) => {
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        }
        _ => std::future::pending().await,
    }
}
