//! `virga-manager`: reads the command line, sets up the log, and serves until it is told to stop.

use clap::Parser;
use std::sync::Arc;
use tracing_subscriber::EnvFilter;
use virga_manager::config::{Command, Config, Program};
use virga_manager::node::client::GrpcClient;
use virga_manager::{ca, first, serve};

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
    // First of all: two TLS providers linked and none installed would panic at the first handshake.
    rustls::crypto::aws_lc_rs::default_provider().install_default().map_err(|_| anyhow::anyhow!("a TLS provider was installed already"))?;
    let program = Program::parse();
    let filter = EnvFilter::try_from_env("VIRGA_LOG").unwrap_or_else(|_| EnvFilter::new("info,sqlx=warn,hyper=warn,h2=warn,slog=warn"));
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match program.command {
            Command::Run(config) => run(config).await,
            Command::Token(args) => first::write_admin_token(&args).await,
        }
    })
}

async fn run(config: Config) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    serve::prepare_folder(&config.state_dir)?;
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
