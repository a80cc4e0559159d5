//! A manager in this process over a seeded SQLite database on disk, with durable commits.

use crate::client::Target;
use crate::seed;
use anyhow::Result;
use async_trait::async_trait;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;
use virga_manager::ca::Authority;
use virga_manager::config::Config;
use virga_manager::node::client::{Duplex, NodeClient};
use virga_manager::serve::{self, Running};
use virga_manager::state::{Clocks, wall_clock};
use virga_model::host::Host;
use virga_model::order::{CallHead, NodeAnswer, NodeCall};
use virga_model::user::ConsoleKind;
use virga_model::{Error, HostId, UserId, VmId};
use virga_store::Store;

/// Agents that nobody reaches.
pub struct NoNodes;

#[async_trait]
impl NodeClient for NoNodes {
    async fn call(&self, _: &Host, _: CallHead, _: NodeCall) -> Result<NodeAnswer, Error> {
        Err(Error::unavailable("There are no hosts here."))
    }
    async fn screenshot(&self, _: &Host, _: VmId) -> Result<Vec<u8>, Error> {
        Err(Error::unavailable("There are no hosts here."))
    }
    async fn console(&self, _: &Host, _: VmId, _: ConsoleKind) -> Result<Box<dyn Duplex>, Error> {
        Err(Error::unavailable("There are no hosts here."))
    }
    fn forget(&self, _: HostId) {}
}

/// The settings of a bench's manager: free ports, no limit of requests.
///
/// # Errors
/// Never, with these constants.
pub fn config(state: &Path) -> Result<Config> {
    use clap::Parser;
    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        config: Config,
    }
    let state = state.display().to_string();
    let words = ["bench", "--state-dir", &state, "--listen", "127.0.0.1:0", "--node-listen", "127.0.0.1:0", "--rate-limit", "off"];
    Ok(Cli::try_parse_from(words)?.config)
}

/// A manager with its folder.
pub struct Place {
    /// How to reach it.
    pub target: Target,
    /// The manager.
    pub running: Running,
    folder: TempDir,
}

impl Place {
    /// A manager over `vms` VMs, whose agents nobody reaches.
    ///
    /// # Errors
    /// When it cannot be made.
    pub async fn new(vms: u32) -> Result<Place> {
        let (folder, store, owner, token) = prepared().await?;
        seed::inventory(&store, owner, vms, wall_clock()).await?;
        started(folder, store, &token, Arc::new(NoNodes)).await
    }

    /// A manager over hosts without VMs, which reaches agents by `nodes`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub async fn hosts_only(hosts: u32, nodes: Arc<dyn NodeClient>) -> Result<Place> {
        let (folder, store, _, token) = prepared().await?;
        seed::hosts(&store, hosts, wall_clock()).await?;
        started(folder, store, &token, nodes).await
    }

    /// TLS as the manager serves it.
    ///
    /// # Errors
    /// When the authority cannot be read.
    pub fn tls(&self) -> Result<rustls::ServerConfig> {
        Ok(Authority::open(self.folder.path())?.server_config(&[])?)
    }

    /// Stops the manager and removes its folder.
    pub async fn end(self) {
        self.running.stop().await;
    }
}

/// A state folder with an operator: folder, database, who the operator is, and their token.
///
/// # Errors
/// When it cannot be made.
pub async fn prepared() -> Result<(TempDir, Store, UserId, String)> {
    let folder = tempfile::Builder::new().prefix("virga-bench-").tempdir()?;
    serve::prepare_folder(folder.path())?;
    let store = Store::open(&seed::database(folder.path())).await?;
    let (owner, token) = seed::operator(&store, wall_clock()).await?;
    Ok((folder, store, owner, token))
}

async fn started(folder: TempDir, store: Store, token: &str, nodes: Arc<dyn NodeClient>) -> Result<Place> {
    let running = serve::start_with(config(folder.path())?, nodes, store, Clocks::default()).await?;
    let target = Target::new(running.api_addr, folder.path(), token)?;
    Ok(Place { target, running, folder })
}
