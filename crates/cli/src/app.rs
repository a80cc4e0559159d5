//! What every verb is given: the options, the form of output, and the connection, made when it is first needed.

use crate::args::Global;
use crate::client::Api;
use crate::config::{self, Config, Connection};
use crate::error::Result;
use crate::output::Output;
use std::cell::OnceCell;
use std::path::PathBuf;

/// What every verb is given.
pub(crate) struct App {
    /// Options that every command takes.
    pub(crate) global: Global,
    /// How output is wanted.
    pub(crate) out: Output,
    api: OnceCell<Api>,
}

impl App {
    /// With these options.
    pub(crate) fn new(global: Global) -> App {
        App { out: global.out(), global, api: OnceCell::new() }
    }

    /// The contexts, and their file.
    pub(crate) fn config(&self) -> Result<(PathBuf, Config)> {
        let path = config::path(&self.global)?;
        let config = config::load(&path)?;
        Ok((path, config))
    }

    /// How the manager is reached.
    pub(crate) fn connection(&self) -> Result<Connection> {
        let config = match self.config() {
            // A service without a home directory is told everything by its environment.
            Err(_) if self.global.url.is_some() && config::path(&self.global).is_err() => Config::default(),
            other => other?.1,
        };
        config::connection(&self.global, &config)
    }

    /// The connection.
    pub(crate) fn api(&self) -> Result<&Api> {
        if let Some(api) = self.api.get() {
            return Ok(api);
        }
        let api = Api::new(&self.connection()?, self.global.debug)?;
        Ok(self.api.get_or_init(|| api))
    }
}
