//! `virga-manager`: reads the command line, sets up the log, and serves until it is told to stop.

use clap::Parser;
use std::sync::Arc;
use tracing_subscriber::EnvFilter;
use virga_manager::config::{AuditVerifyArgs, BackupArgs, Command, Config, Program, RestoreArgs, database_url};
use virga_manager::node::client::GrpcClient;
use virga_manager::{backup, ca, first, managers, serve};

fn main() -> std::process::ExitCode {
    match start() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e:#}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn start() -> anyhow::Result<()> {
    virga_manager::secret::keep_memory_private();
    // First of all: two TLS providers linked and none installed would panic at the first handshake.
    rustls::crypto::aws_lc_rs::default_provider().install_default().map_err(|_| anyhow::anyhow!("a TLS provider was installed already"))?;
    let program = Program::parse();
    let filter = EnvFilter::try_from_env("VIRGA_LOG").unwrap_or_else(|_| EnvFilter::new("info,sqlx=warn,hyper=warn,h2=warn,slog=warn"));
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match program.command {
            Command::Run(config) => run(*config).await,
            Command::Backup(args) => backup_to(&args).await,
            Command::Restore(args) => restore_from(&args).await,
            Command::Token(args) => first::write_admin_token(&args).await,
            Command::AuditVerify(args) => verify(&args).await,
        }
    })
}

/// Walks the chain of audit records.
async fn verify(args: &AuditVerifyArgs) -> anyhow::Result<()> {
    anyhow::ensure!(args.state_dir.is_dir(), "the state folder {} does not exist", args.state_dir.display());
    let store = virga_store::Store::open(&database_url(args.database.as_deref(), &args.state_dir)?).await?;
    let mut tx = store.read().await?;
    let (last, broken) = (virga_store::audit::head(&mut tx).await?.0, virga_store::audit::verify(&mut tx).await?);
    drop(tx);
    store.close().await;
    match broken {
        None => {
            println!("ok: {last} audit records");
            Ok(())
        }
        Some(id) => anyhow::bail!("the chain of audit records breaks at record {id}: it was altered, removed or inserted"),
    }
}

async fn backup_to(args: &BackupArgs) -> anyhow::Result<()> {
    let made = backup::backup(args).await?;
    let rows: u64 = made.members.iter().filter_map(|m| m.rows).sum();
    println!(
        "{}: {rows} rows, schema {}, {} files of the state folder",
        args.output.display(),
        made.schema,
        made.members.iter().filter(|m| m.rows.is_none()).count()
    );
    println!("It holds the key of the certificate authority: keep it as safe as the manager itself.");
    if !made.images.is_empty() {
        println!("The content of {} images is not in it; keep a copy of {} too.", made.images.len(), args.state_dir.join("images").display());
    }
    Ok(())
}

async fn restore_from(args: &RestoreArgs) -> anyhow::Result<()> {
    let done = backup::restore(args).await?;
    println!("restored: rows of {}, epoch {}", done.manifest.made_at, done.counts.epoch);
    println!(
        "{} VMs wait for their hosts' reports; {} tasks that were under way have failed; sessions, console tickets and join tokens are void",
        done.counts.vms, done.counts.tasks
    );
    for image in &done.missing_images {
        println!("image {}: its content is missing; copy it to {}", image.name, args.state_dir.join("images").join(image.id.to_string()).display());
    }
    Ok(())
}

async fn run(config: Config) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    many_files();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    serve::prepare_folder(&config.state_dir)?;
    if !config.state_dir.join("ca.key").exists() {
        let store = virga_store::Store::open(&database_url(config.database.as_deref(), &config.state_dir)?).await?;
        let unclaimed = managers::check_unclaimed(&store).await;
        store.close().await;
        unclaimed?;
    }
    let authority = ca::Authority::open(&config.state_dir)?;
    let nodes = Arc::new(GrpcClient::new(&authority)?);
    let running = serve::start(config, nodes).await?;
    tracing::info!(api = %running.api_addr, node = %running.node_addr, "manager serves");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("manager stops; VMs go on running");
    running.stop().await;
    Ok(())
}

/// Lets this process open as many files as the system allows. A connection is a file, each host has two, and many systems
/// give a process only 1,024 to begin with.
fn many_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(e) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(error = %e, "the limit of open files stays as it is");
    }
}
