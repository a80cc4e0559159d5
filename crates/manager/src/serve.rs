//! Puts a manager together and runs it: database, first start, API, node listener, task runner, loops.
//!
//! Stopping is in the reverse order and bounded: event streams and consoles end, requests under way are finished, and
//! what a loop or the runner had not finished is taken up by the next manager from the rows.

use crate::config::{Config, database_url};
use crate::front::{self, answer::Service, lanes::Lanes, route::Router};
use crate::http::Api;
use crate::node::client::NodeClient;
use crate::password::Hasher;
use crate::state::{Clocks, Manager, Parts};
use crate::{ca, first, image, loops, managers, supervise};
use anyhow::Context;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use virga_store::Store;

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
    server: JoinHandle<()>,
    stop: watch::Sender<bool>,
    work: Vec<JoinHandle<()>>,
}

impl Running {
    /// Stops serving. VMs go on running.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        let ended = self.server.abort_handle();
        match tokio::time::timeout(STOP_MAX, self.server).await {
            Ok(Ok(())) => {}
            Ok(Err(e)) => tracing::warn!(error = %e, "the API did not stop in good order"),
            Err(_) => {
                tracing::warn!("requests under way were cut off");
                ended.abort();
            }
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
    start_with(config, nodes, store, Clocks::default()).await
}

/// Starts a manager over a given database and given clocks.
///
/// # Errors
/// As [`start`].
pub async fn start_with(config: Config, nodes: Arc<dyn NodeClient>, store: Store, clocks: Clocks) -> anyhow::Result<Running> {
    prepare_folder(&config.state_dir)?;
    let authority = ca::Authority::open(&config.state_dir)?;
    managers::check_authority(&store, &authority).await?;
    let tls = authority.server_config(&config.tls_name)?;
    let hasher = Hasher::default();
    first::prepare(&store, &hasher, &config.state_dir, (clocks.wall)(), config.trust.administration).await?;
    image::sweep(&store, &config.state_dir.join("images")).await?;
    let listener = TcpListener::bind(config.node_listen).await.with_context(|| format!("{} cannot be listened on", config.node_listen))?;
    let node_addr = listener.local_addr()?;
    let manager = Arc::new(Manager::new(Parts {
        store,
        nodes,
        ca: authority,
        instance: uuid::Uuid::new_v4().to_string(),
        state_folder: config.state_dir.clone(),
        node_address: config.node_address.clone().unwrap_or_else(|| node_addr.to_string()),
        clocks,
    }));
    let (stop, stopped) = watch::channel(false);
    let (server, api_addr) = api(&config, &manager, hasher, tls, stopped.clone()).await?;
    let (runs, beats, ends) = (manager.clone(), manager.clone(), stopped.clone());
    let (runs_until, beats_until) = (stopped.clone(), stopped.clone());
    let mut work = vec![
        supervise::spawn(&manager, &stopped, "tasks", move || crate::task::runner::run(runs.clone(), runs_until.clone())),
        virga_crash::spawn(crate::node::server::serve(manager.clone(), listener, ends)),
        supervise::spawn(&manager, &stopped, "managers", move || managers::run(beats.clone(), beats_until.clone())),
    ];
    work.extend(loops::spawn(&manager, &stopped));
    work.push(loops::audit::spawn(&manager, &stopped, loops::audit::Anchors::open(&manager, config.trust.sinks())?));
    Ok(Running { api_addr, node_addr, manager, server, stop, work })
}

/// Serves the public API; where it listens.
async fn api(
    config: &Config,
    manager: &Arc<Manager>,
    hasher: Hasher,
    tls: rustls::ServerConfig,
    stop: watch::Receiver<bool>,
) -> anyhow::Result<(JoinHandle<()>, SocketAddr)> {
    let mut api = Api::new(manager.clone(), hasher, &config.limits, stop.clone());
    api.demo = config.demo_fleet.clone().map(|socket| crate::demo::Demo { socket });
    if api.demo.is_some() {
        tracing::warn!("a demo: administrators can break the simulated fleet from the portal");
    }
    let api = Arc::new(api);
    let router = Router::new()?;
    let listener = TcpListener::bind(config.listen).await.with_context(|| format!("the API cannot be served on {}", config.listen))?;
    let address = listener.local_addr()?;
    // Nothing is sent: the last handler at work drops the last sender.
    let (busy, handlers) = mpsc::channel(1);
    let service = Arc::new(Service { api, router, limits: config.limits.clone(), lanes: Lanes::new(&config.limits), busy });
    Ok((virga_crash::spawn(front::serve(listener, Arc::new(tls), service, handlers, stop)), address))
}
