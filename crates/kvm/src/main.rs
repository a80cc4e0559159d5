//! The program `virga-agent`: one on each host. Joins once, then serves managers and reports.
//!
//! Stopping it, killing it or upgrading it never stops a VM.

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use virga_agent::host::{Facts, FileJournal, Host, Journal};
use virga_agent::identity::{self, Identity};
use virga_agent::node::Node;
use virga_agent::{report, wire};
use virga_kvm::{Config, Kvm};
use virga_model::Error;
use virga_model::order::JoinRequest;

/// The Virga agent: runs on each host, drives libvirt, QEMU and Open vSwitch, and reports to the manager.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serves managers and reports; joins first where this host has not joined yet.
    Run(Run),
}

#[derive(clap::Args)]
struct Run {
    /// Folder for the agent's identity and journal.
    #[arg(long, default_value = "/var/lib/virga/agent")]
    state_dir: PathBuf,
    /// File made by `virga host join-token`; needed once.
    #[arg(long)]
    join_file: Option<PathBuf>,
    /// Address to listen on for managers.
    #[arg(long, default_value = "127.0.0.1:8445")]
    listen: String,
    /// Address under which managers reach this agent; the listen address when left out.
    #[arg(long)]
    address: Option<String>,
    /// Folder for images and disks.
    #[arg(long)]
    store: Option<PathBuf>,
    /// Folder for sockets; short, because socket paths are.
    #[arg(long, default_value = "/run/virga")]
    run_dir: PathBuf,
    /// Where libvirt answers.
    #[arg(long, default_value = "qemu:///system")]
    libvirt: String,
}

/// Time between two tries to join while the manager cannot be reached.
const JOIN_RETRY: Duration = Duration::from_secs(2);
/// Tries to join before the agent gives up.
const JOIN_TRIES: u32 = 30;

/// Sees to it that a crash of this program leaves no core file, because its memory holds secrets, and that no other
/// process of the same user can read that memory (`reliability.md` Y2).
fn keep_memory_private() {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
    // Both: a collector of core files behind a pipe asks for no limit. Where neither can be set, the program still runs.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

fn main() -> std::process::ExitCode {
    keep_memory_private();
    let filter = tracing_subscriber::EnvFilter::try_from_env("VIRGA_LOG").unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    // One provider for the whole process, chosen before the first handshake. It fails only when done twice.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let Command::Run(run) = Arguments::parse().command;
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(r) => r,
        Err(e) => {
            eprintln!("error: the runtime cannot start: {e}");
            return std::process::ExitCode::FAILURE;
        }
    };
    match runtime.block_on(serve(run)) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            std::process::ExitCode::FAILURE
        }
    }
}

async fn serve(run: Run) -> Result<(), Error> {
    let listener = tokio::net::TcpListener::bind(&run.listen).await.map_err(|e| {
        Error::unavailable(format!("The agent cannot listen on {}: {e}.", run.listen)).with_hint("Is another agent running? Choose another --listen.")
    })?;
    let journal = FileJournal::open(run.state_dir.join("journal"))
        .map_err(|e| Error::host(format!("The agent's state folder {} cannot be used: {e}.", run.state_dir.display())))?;
    let store = run.store.clone().unwrap_or_else(|| run.state_dir.join("store"));
    let host = Kvm::open(Config { libvirt_uri: run.libvirt.clone(), store, run: run.run_dir.clone() }).await?;
    let identity = match Identity::load(&run.state_dir)? {
        Some(identity) => identity,
        None => join(&run, &host).await?,
    };
    tracing::info!(host = %identity.host, manager = %identity.manager, listen = %run.listen, "joined; serving");
    let link = Arc::new(wire::GrpcLink::new(&identity)?.keeping(&run.state_dir));
    let node = Node::open(host.clone() as Arc<dyn Host>, link.clone(), journal as Arc<dyn Journal>).await?;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let reporting = tokio::spawn(report::run(node.clone()));
    let renewing = tokio::spawn(wire::keep_certificate_fresh(run.state_dir.clone(), link));
    let serving = tokio::spawn(async move { wire::serve(node, &identity, listener, stopped).await });
    wait_for_end().await;
    tracing::info!("ending; the VMs go on");
    reporting.abort();
    renewing.abort();
    let _ = stop.send(true);
    match tokio::time::timeout(Duration::from_secs(5), serving).await {
        Ok(Ok(served)) => served,
        // Consoles that are still open are cut off.
        _ => Ok(()),
    }
}

async fn join(run: &Run, host: &Kvm) -> Result<Identity, Error> {
    let path = run.join_file.as_ref().ok_or_else(|| {
        Error::conflict("This host has not joined yet, and no join file was given.")
            .with_hint("Make one on the manager: virga host join-token --name NAME --out FILE; then start with --join-file FILE.")
    })?;
    let text = std::fs::read_to_string(path).map_err(|e| Error::invalid("join-file", format!("{} cannot be read: {e}", path.display())))?;
    let file = identity::read_join_file(&text)?;
    let request = identity::request()?;
    let address = run.address.clone().unwrap_or_else(|| run.listen.clone());
    let facts = host.facts().await.unwrap_or_default();
    let ask = JoinRequest { secret: file.secret.clone(), csr_pem: request.csr_pem.clone(), address: address.clone(), facts };
    let mut tries = 0;
    let answer = loop {
        match wire::join(&file.manager, &file.ca_pem, &ask).await {
            Err(e) if e.code == virga_model::ErrorCode::Unavailable && tries < JOIN_TRIES => {
                tries += 1;
                tracing::warn!(error = %e, "trying to join again");
                tokio::time::sleep(JOIN_RETRY).await;
            }
            other => break other?,
        }
    };
    let identity = Identity::joined(request, answer, &file.manager, &address);
    identity.save(&run.state_dir)?;
    Ok(identity)
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
