//! Anchors of the audit records: the key that signs them, and the places outside to which they go.
//!
//! A chain of hashes alone does not show that its end was cut off, or that all of it was written anew by somebody who
//! holds the database. An anchor says "record N has this chain value", is signed, and lies where that somebody cannot
//! reach: in a file on another machine's disk, or in a syslog. `virga-audit` compares them (`reliability.md` 4.3).
//!
//! The private key never leaves the state folder, and nothing but anchors is signed with it.

use rcgen::{KeyPair, PKCS_ED25519, PublicKeyData, SigningKey};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use virga_model::event::AuditAnchor;
use virga_model::{Error, Time};

/// Bytes from the end of the file in which its last line is looked for.
const TAIL_BYTES: u64 = 4096;

/// Signs anchors.
pub struct Signer {
    pair: KeyPair,
    name: String,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Signer {
    /// Reads the key in `folder` (`audit.key`), or makes it when there is none; the public key is in `audit.pub`.
    ///
    /// # Errors
    /// When its file cannot be read or written, or holds something else.
    pub fn open(folder: &Path) -> Result<Signer, Error> {
        let (key, public) = (folder.join("audit.key"), folder.join("audit.pub"));
        if !key.exists() {
            let pair = KeyPair::generate_for(&PKCS_ED25519).map_err(|e| Error::internal(format!("No key for anchors could be made: {e}.")))?;
            crate::ca::write(&key, &pair.serialize_pem(), 0o600)?;
        }
        let text = std::fs::read_to_string(&key).map_err(|e| Error::internal(format!("{} cannot be read: {e}.", key.display())))?;
        let pair = KeyPair::from_pem(&text).ok().filter(|p| p.is_compatible(&PKCS_ED25519));
        let pair = pair.ok_or_else(|| Error::internal(format!("{} holds no Ed25519 key.", key.display())))?;
        if !public.exists() {
            crate::ca::write(&public, &pair.public_key_pem(), 0o644)?;
        }
        let name = crate::secret::sha256_hex(pair.der_bytes())[..16].to_string();
        Ok(Signer { pair, name })
    }

    /// A signed anchor.
    ///
    /// # Errors
    /// Internal, when the library fails.
    pub fn sign(&self, seq: i64, chain: &str, at: Time, pruned: bool) -> Result<AuditAnchor, Error> {
        let mut a = AuditAnchor { seq, chain: chain.into(), at, key: self.name.clone(), signature: String::new(), pruned };
        let signature = self.pair.sign(a.signed_text().as_bytes());
        a.signature = hex::encode(signature.map_err(|e| Error::internal(format!("The anchor could not be signed: {e}.")))?);
        Ok(a)
    }
}

/// An anchor as a line of JSON, as it stands in files, syslogs and exports. Nothing in it that is not signed.
#[must_use]
pub fn line(a: &AuditAnchor) -> String {
    let json = serde_json::json!({
        "seq": a.seq, "chain": a.chain, "at": a.at.0, "key": a.key, "signature": a.signature, "pruned": a.pruned,
    });
    json.to_string()
}

/// Where anchors go beside the database.
#[derive(Clone, Debug, Default)]
pub struct Sinks {
    /// File to which a line is added for each.
    pub file: Option<PathBuf>,
    /// Syslog that gets a message for each.
    pub syslog: Option<Syslog>,
}

/// A syslog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Syslog {
    /// A datagram socket of this machine.
    Unix(PathBuf),
    /// `host:port`, UDP.
    Udp(String),
}

impl std::str::FromStr for Syslog {
    type Err = String;

    fn from_str(text: &str) -> Result<Syslog, String> {
        match text.split_once(':') {
            Some(("unix", path)) if path.starts_with('/') => Ok(Syslog::Unix(path.into())),
            Some(("udp", rest)) if rest.rsplit_once(':').is_some_and(|(h, p)| !h.is_empty() && p.parse::<u16>().is_ok()) => Ok(Syslog::Udp(rest.into())),
            _ => Err("must be unix:/dev/log or udp:HOST:PORT".into()),
        }
    }
}

impl Sinks {
    /// Number of the record of the last anchor in the file; 0 without one. A line that was cut off counts as none.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn last_in_file(&self) -> Result<i64, Error> {
        let Some(path) = &self.file else { return Ok(0) };
        let mut file = match std::fs::File::open(path) {
            Ok(f) => f,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(0),
            Err(e) => return Err(broken(path, &e)),
        };
        let mut text = Vec::new();
        let read = file.metadata().and_then(|m| {
            file.seek(SeekFrom::Start(m.len().saturating_sub(TAIL_BYTES)))?;
            file.read_to_end(&mut text)
        });
        read.map_err(|e| broken(path, &e))?;
        let text = String::from_utf8_lossy(&text);
        let seqs = text.lines().rev().filter_map(|l| serde_json::from_str::<serde_json::Value>(l).ok()).filter_map(|v| v["seq"].as_i64());
        Ok(seqs.into_iter().next().unwrap_or(0))
    }

    /// Adds lines to the file; they are on stable storage afterwards.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn add_to_file(&self, anchors: &[AuditAnchor]) -> Result<(), Error> {
        let Some(path) = self.file.as_ref().filter(|_| !anchors.is_empty()) else { return Ok(()) };
        let write = || -> std::io::Result<()> {
            let mut file = std::fs::OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
            // After a crash in the middle of a line, the next one begins on a line of its own.
            let mut last = [b'\n'];
            if file.metadata()?.len() > 0 {
                file.seek(SeekFrom::End(-1))?;
                file.read_exact(&mut last)?;
            }
            let mut text = if last == [b'\n'] { String::new() } else { "\n".into() };
            anchors.iter().for_each(|a| text.push_str(&(line(a) + "\n")));
            file.write_all(text.as_bytes())?;
            file.sync_all()
        };
        write().map_err(|e| broken(path, &e))
    }

    /// Sends a message to the syslog. Nothing says whether it arrived: the file is the sink to rely on.
    ///
    /// # Errors
    /// When it cannot be sent.
    pub fn send(&self, a: &AuditAnchor) -> Result<(), Error> {
        // RFC 5424: facility 13 (log audit), severity 5 (notice).
        let text = format!("<{}>1 {} - virga-manager - audit-anchor - {}", 13 * 8 + 5, a.at, line(a));
        let sent = match &self.syslog {
            None => return Ok(()),
            Some(Syslog::Unix(path)) => std::os::unix::net::UnixDatagram::unbound().and_then(|s| {
                s.set_nonblocking(true)?;
                s.send_to(text.as_bytes(), path)
            }),
            Some(Syslog::Udp(address)) => {
                let local = if address.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
                std::net::UdpSocket::bind(local).and_then(|s| s.send_to(text.as_bytes(), address.as_str()))
            }
        };
        sent.map(drop).map_err(|e| Error::unavailable(format!("The syslog takes no anchor: {e}.")))
    }
}

fn broken(path: &Path, e: &std::io::Error) -> Error {
    Error::internal(format!("The file of anchors {} cannot be used: {e}.", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_only_ever_added_to_and_survives_a_cut_line() {
        let dir = tempfile::tempdir().unwrap();
        let signer = Signer::open(dir.path()).unwrap();
        let again = Signer::open(dir.path()).unwrap();
        assert_eq!(signer.name, again.name);
        let sinks = Sinks { file: Some(dir.path().join("anchors")), syslog: None };
        assert_eq!(sinks.last_in_file().unwrap(), 0);
        let anchors = [signer.sign(1, "aa", Time(5), false).unwrap(), signer.sign(7, "bb", Time(6), false).unwrap()];
        sinks.add_to_file(&anchors).unwrap();
        assert_eq!(sinks.last_in_file().unwrap(), 7);
        let path = sinks.file.clone().unwrap();
        let whole = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 20]).unwrap();
        assert_eq!(sinks.last_in_file().unwrap(), 1, "a cut line is no anchor");
        sinks.add_to_file(&anchors[1..]).unwrap();
        assert_eq!(sinks.last_in_file().unwrap(), 7);
        assert!(std::fs::read_to_string(&path).unwrap().starts_with(&whole[..whole.len() - 20]));
    }

    #[test]
    fn a_syslog_gets_the_anchor() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let log = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
        let sinks = Sinks { file: None, syslog: Some(format!("unix:{}", path.display()).parse().unwrap()) };
        sinks.send(&Signer::open(dir.path()).unwrap().sign(3, "cc", Time(5), false).unwrap()).unwrap();
        let mut buffer = [0u8; 2048];
        let n = log.recv(&mut buffer).unwrap();
        let text = String::from_utf8_lossy(&buffer[..n]);
        assert!(text.starts_with("<109>1 1970-") && text.contains("\"seq\":3"), "{text}");
        for bad in ["", "tcp:x:1", "unix:log", "udp:host", "udp::1"] {
            assert!(bad.parse::<Syslog>().is_err(), "{bad}");
        }
    }
}
