//! Puts a manager together and runs it: database, first start, API, node listener, task runner, loops.
//!
//! Stopping is in the reverse order and bounded: event streams and consoles end, requests under way are finished, and
//! what a loop or the runner had not finished is taken up by the next manager from the rows.

use crate::config::{Config, database_url};
use crate::http::{Api, Server};
use crate::node::client::NodeClient;
use crate::password::Hasher;
use crate::state::{Heard, Manager, Stats, wall_clock};
use crate::{ca, first, image, loops};
use anyhow::Context;
use dropshot::{ConfigDropshot, ConfigTls, HandlerTaskMode, HttpServer, ServerBuilder};
use slog::Drain;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use virga_api::v1::virga_api_mod;
use virga_store::Store;

/// Largest body of an ordinary request.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Longest wait for requests under way when the manager stops.
const STOP_MAX: Duration = Duration::from_secs(20);

/// A manager that serves.
pub struct Running {
    /// Where the public API listens.
    pub api_addr: SocketAddr,
    /// Where agents connect.
    pub node_addr: SocketAddr,
    /// The manager.
    pub manager: Arc<Manager>,
    server: HttpServer<Arc<Api>>,
    stop: watch::Sender<bool>,
    work: Vec<JoinHandle<()>>,
}

impl Running {
    /// Stops serving. VMs go on running.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        match tokio::time::timeout(STOP_MAX, self.server.close()).await {
            Ok(Ok(())) => {}
            Ok(Err(e)) => tracing::warn!(error = %e, "the API did not stop in good order"),
            Err(_) => tracing::warn!("requests under way were cut off"),
        }
        for job in self.work {
            if tokio::time::timeout(STOP_MAX, job).await.is_err() {
                tracing::warn!("a loop did not stop in time");
            }
        }
        self.manager.store.close().await;
    }
}

/// Makes the state folder and what is in it, readable for its owner only.
///
/// # Errors
/// When a folder cannot be made.
pub fn prepare_folder(folder: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    for path in [folder.to_path_buf(), folder.join("images")] {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
        made.with_context(|| format!("the folder {} cannot be made", path.display()))?;
    }
    Ok(())
}

/// Starts a manager.
///
/// # Errors
/// When an address is taken, the database cannot be opened, or the state folder cannot be written.
pub async fn start(config: Config, nodes: Arc<dyn NodeClient>) -> anyhow::Result<Running> {
    prepare_folder(&config.state_dir)?;
    let store = Store::open(&database_url(config.database.as_deref(), &config.state_dir)?).await.context("the database cannot be opened")?;
    start_with(config, nodes, store, Box::new(wall_clock)).await
}

/// Starts a manager over a given database and clock.
///
/// # Errors
/// As [`start`].
pub async fn start_with(
    config: Config,
    nodes: Arc<dyn NodeClient>,
    store: Store,
    clock: Box<dyn Fn() -> virga_model::Time + Send + Sync>,
) -> anyhow::Result<Running> {
    prepare_folder(&config.state_dir)?;
    let authority = ca::Authority::open(&config.state_dir)?;
    let tls = authority.server_config(&config.tls_name)?;
    let hasher = Hasher::default();
    first::prepare(&store, &hasher, &config.state_dir, clock()).await?;
    image::sweep(&store, &config.state_dir.join("images")).await?;
    let listener = TcpListener::bind(config.node_listen).await.with_context(|| format!("{} cannot be listened on", config.node_listen))?;
    let node_addr = listener.local_addr()?;
    let manager = Arc::new(Manager {
        store,
        nodes,
        ca: authority,
        instance: uuid::Uuid::new_v4().to_string(),
        state_folder: config.state_dir.clone(),
        node_address: config.node_address.clone().unwrap_or_else(|| node_addr.to_string()),
        runner: Notify::new(),
        events: watch::channel(0).0,
        stats: Stats::default(),
        heard: Heard::default(),
        clock,
    });
    let (stop, stopped) = watch::channel(false);
    let server = api(&config, &manager, hasher, tls, stopped.clone())?;
    let mut work = vec![
        tokio::spawn(crate::task::runner::run(manager.clone(), stopped.clone())),
        tokio::spawn(crate::node::server::serve(manager.clone(), listener, stopped.clone())),
    ];
    work.extend(loops::spawn(&manager, &stopped));
    Ok(Running { api_addr: server.local_addr(), node_addr, manager, server, stop, work })
}

fn api(
    config: &Config,
    manager: &Arc<Manager>,
    hasher: Hasher,
    tls: rustls::ServerConfig,
    stop: watch::Receiver<bool>,
) -> anyhow::Result<HttpServer<Arc<Api>>> {
    let description = virga_api_mod::api_description::<Server>().map_err(|e| anyhow::anyhow!("the API is not consistent: {e}"))?;
    let settings = ConfigDropshot {
        bind_address: config.listen,
        default_request_body_max_bytes: BODY_BYTES_MAX,
        // A caller who goes away must not cut a change in two.
        default_handler_task_mode: HandlerTaskMode::Detached,
        ..ConfigDropshot::default()
    };
    // Requests are logged by `http::run`, without what dropshot's lines hold: a console's address is its ticket.
    let log = slog::Logger::root(slog::LevelFilter::new(tracing_slog::TracingSlogDrain, slog::Level::Error).fuse(), slog::o!());
    let context = Arc::new(Api::new(manager.clone(), hasher, stop));
    let server = ServerBuilder::new(description, context, log).config(settings).tls(Some(ConfigTls::Dynamic(tls))).start();
    server.with_context(|| format!("the API cannot be served on {}", config.listen))
}
