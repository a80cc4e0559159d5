//! The node's identity: its private key, its certificate, and the authority it trusts. Kept in files of mode 0600.

use rcgen::{CertificateParams, KeyPair};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use virga_model::order::{JoinAnswer, JoinFile};
use virga_model::{Error, HostId};

use crate::host::Result;

/// Who this node is.
#[derive(Clone, Serialize, Deserialize)]
pub struct Identity {
    /// Its id; also in the certificate.
    pub host: HostId,
    /// `host:port` of the node listener of the manager that was joined.
    pub manager: String,
    /// The same of all managers, as they were last told, in the order in which they are tried.
    #[serde(default)]
    pub managers: Vec<String>,
    /// `host:port` on which this agent listens.
    pub address: String,
    /// Private key, PEM.
    pub key_pem: String,
    /// Certificate, PEM.
    pub certificate_pem: String,
    /// Authority, PEM: nothing else is trusted.
    pub ca_pem: String,
}

/// A key and a request to certify it.
pub struct Request {
    /// Private key, PEM.
    pub key_pem: String,
    /// Certificate signing request, PEM.
    pub csr_pem: String,
}

fn file(state: &Path) -> PathBuf {
    state.join("identity.json")
}

fn failed(what: &str, e: impl std::fmt::Display) -> Error {
    Error::internal(format!("{what}: {e}."))
}

/// Makes a new key and a request for it. The authority decides everything else in the certificate.
///
/// # Errors
/// No randomness.
pub fn request() -> Result<Request> {
    let key = KeyPair::generate().map_err(|e| failed("A key could not be made", e))?;
    let csr = CertificateParams::default().serialize_request(&key).map_err(|e| failed("A certificate request could not be made", e))?;
    Ok(Request { key_pem: key.serialize_pem(), csr_pem: csr.pem().map_err(|e| failed("A certificate request could not be written", e))? })
}

/// Reads the content of a join file: base64url of a JSON document.
///
/// # Errors
/// Malformed, when it is none.
pub fn read_join_file(text: &str) -> Result<JoinFile> {
    use base64::Engine;
    let bad = || Error::malformed("This is not a join file.").with_hint("Make one with: virga host join-token --name NAME --out FILE");
    let json = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text.trim()).map_err(|_| bad())?;
    serde_json::from_slice(&json).map_err(|_| bad())
}

impl Identity {
    /// The identity that a join gave.
    #[must_use]
    pub fn joined(request: Request, answer: JoinAnswer, manager: &str, address: &str) -> Identity {
        Identity {
            host: answer.host,
            manager: manager.into(),
            managers: answer.managers,
            address: address.into(),
            key_pem: request.key_pem,
            certificate_pem: answer.certificate_pem,
            ca_pem: answer.ca_pem,
        }
    }

    /// Where managers are tried, in this order; the one that was joined stays a last resort, for the case that what
    /// managers tell of themselves cannot be reached from here.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        for address in self.managers.iter().chain([&self.manager]) {
            if !all.contains(address) {
                all.push(address.clone());
            }
        }
        all
    }

    /// The identity kept in `state`; none: this node has not joined yet.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn load(state: &Path) -> Result<Option<Identity>> {
        match std::fs::read(file(state)) {
            Ok(json) => serde_json::from_slice(&json).map(Some).map_err(|e| failed("identity.json cannot be read", e)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(failed("identity.json cannot be read", e)),
        }
    }

    /// Keeps the identity in `state`, readable by its owner only.
    ///
    /// # Errors
    /// What the file system says.
    pub fn save(&self, state: &Path) -> Result<()> {
        use std::io::Write;
        use std::os::unix::fs::OpenOptionsExt;
        let write = || -> std::io::Result<()> {
            let temporary = state.join("identity.new");
            let mut f = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
            f.write_all(&serde_json::to_vec(self).map_err(std::io::Error::other)?)?;
            f.sync_all()?;
            std::fs::rename(temporary, file(state))
        };
        write().map_err(|e| failed("identity.json cannot be written", e))
    }
}
