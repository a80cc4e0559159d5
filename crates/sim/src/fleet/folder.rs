//! The fleet's state folder: what the fleet is, and for each machine its identity and what lies on it.
//!
//! ```text
//! fleet.json               seed, number of machines, address
//! control.sock             protocol.rs
//! hosts/NAME/identity.json the machine's key and certificate, as the agent keeps them
//! hosts/NAME/machine.json  domains, disks and the agent's journal, written when the fleet ends in good order
//! ```

use serde::{Deserialize, Serialize};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use virga_model::Error;

use crate::Saved;

/// What a fleet is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// From which everything is drawn.
    pub seed: u64,
    /// Machines.
    pub hosts: usize,
    /// `host:port` where all its agents listen; hosts are known to managers under it, so it never changes.
    pub listen: String,
}

fn failed(path: &Path, e: impl std::fmt::Display) -> Error {
    Error::host(format!("{}: {e}.", path.display())).with_hint("Check space and permissions of the fleet's state folder.")
}

/// Makes a folder, readable for its owner only.
///
/// # Errors
/// What the file system says.
pub fn make(path: &Path) -> Result<(), Error> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|e| failed(path, e))
}

/// The folder of a machine.
#[must_use]
pub fn of_host(state: &Path, name: &str) -> PathBuf {
    state.join("hosts").join(name)
}

fn write(path: &Path, document: &impl Serialize) -> Result<(), Error> {
    let temporary = path.with_extension("new");
    let done = || -> std::io::Result<()> {
        let file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        let mut file = std::io::BufWriter::new(file);
        serde_json::to_writer(&mut file, document).map_err(std::io::Error::other)?;
        file.flush()?;
        std::fs::rename(&temporary, path)
    };
    done().map_err(|e| failed(path, e))
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    match std::fs::read(path) {
        Ok(json) => serde_json::from_slice(&json).map(Some).map_err(|e| failed(path, e)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(failed(path, e)),
    }
}

/// What the fleet of this folder is; none: it is a new one.
///
/// # Errors
/// The file cannot be read.
pub fn about(state: &Path) -> Result<Option<About>, Error> {
    read(&state.join("fleet.json"))
}

/// Keeps what the fleet is.
///
/// # Errors
/// What the file system says.
pub fn keep_about(state: &Path, about: &About) -> Result<(), Error> {
    write(&state.join("fleet.json"), about)
}

/// What lay on a machine; none: nothing was kept.
///
/// # Errors
/// The file cannot be read.
pub fn machine(folder: &Path) -> Result<Option<Saved>, Error> {
    read(&folder.join("machine.json"))
}

/// Keeps what lies on a machine.
///
/// # Errors
/// What the file system says.
pub fn keep_machine(folder: &Path, saved: &Saved) -> Result<(), Error> {
    write(&folder.join("machine.json"), saved)
}
