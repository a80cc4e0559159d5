//! The certificate authority of an installation: it signs the API's certificate, every manager's node identity and the
//! certificates of hosts. Its key lies in the state folder, readable for its owner only, and never leaves it.
//!
//! Of a host's signing request only the public key is used: name, usages and validity are ours, so that a host can
//! never ask for another identity than the one that its join token bought.

use rcgen::{BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use virga_model::order::{MANAGER_TLS_NAME, host_tls_name};
use virga_model::{Error, HostId, Time};

/// Days for which the authority itself is good.
const AUTHORITY_DAYS: i64 = 3650;
/// Days for which a manager's certificates are good; browsers accept at most 398.
const MANAGER_DAYS: i64 = 397;
/// Days for which a host's certificate is good.
pub const HOST_DAYS: i64 = 90;
/// A certificate with fewer days left is renewed at start.
const RENEW_DAYS: i64 = 30;
const DAY_SECONDS: i64 = 86_400;

/// The certificate authority.
pub struct Authority {
    folder: PathBuf,
    ca_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// A certificate and its key.
pub struct Identity {
    /// Certificate, PEM.
    pub certificate_pem: String,
    /// Private key, PEM. A secret.
    pub key_pem: String,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity(hidden)")
    }
}

impl Authority {
    /// Reads the authority in `folder`, or makes it when there is none.
    ///
    /// # Errors
    /// When its files cannot be read or written, or are not what they should be.
    pub fn open(folder: &Path) -> Result<Authority, Error> {
        let (cert, key) = (folder.join("ca.pem"), folder.join("ca.key"));
        if !cert.exists() && !key.exists() {
            make(&cert, &key)?;
        }
        let ca_pem = read(&cert)?;
        let pair = KeyPair::from_pem(&read(&key)?).map_err(|_| broken(&key, "does not hold a private key"))?;
        let issuer = Issuer::from_ca_cert_pem(&ca_pem, pair).map_err(|_| broken(&cert, "does not hold a certificate"))?;
        Ok(Authority { folder: folder.to_path_buf(), ca_pem, issuer })
    }

    /// The authority's certificate, PEM: what clients and agents trust.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// SHA-256 of the authority's certificate as it stands in its file: what tells one installation from another.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        crate::secret::sha256_hex(self.ca_pem.trim().as_bytes())
    }

    /// TLS of the public API, good for this machine's names and `names`. The certificate is kept in the state folder,
    /// and made anew when it soon ends or a name is missing.
    ///
    /// # Errors
    /// When it cannot be made, read or written.
    pub fn server_config(&self, names: &[String]) -> Result<rustls::ServerConfig, Error> {
        let (cert_path, key_path) = (self.folder.join("api.pem"), self.folder.join("api.key"));
        let mut wanted: Vec<String> = vec!["localhost".into(), "127.0.0.1".into(), "::1".into()];
        wanted.extend(machine_name());
        wanted.extend(names.iter().cloned());
        wanted.sort();
        wanted.dedup();
        if !self.still_good(&cert_path, &wanted) || !key_path.exists() {
            let made = self.leaf(&wanted, &[ExtendedKeyUsagePurpose::ServerAuth])?;
            write(&key_path, &made.key_pem, 0o600)?;
            write(&cert_path, &made.certificate_pem, 0o644)?;
        }
        tls(&read(&cert_path)?, &self.ca_pem, &read(&key_path)?)
    }

    /// A manager's identity on the node wire, both as server and as client.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn manager_node_identity(&self) -> Result<Identity, Error> {
        self.leaf(&[MANAGER_TLS_NAME.to_string()], &[ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth])
    }

    /// Signs the public key of a host's request. Answers with the certificate and the SHA-256 of its DER form.
    ///
    /// # Errors
    /// Invalid when the request cannot be read or its signature is wrong.
    pub fn sign_host_csr(&self, csr_pem: &str, host: HostId) -> Result<(String, String), Error> {
        let request = CertificateSigningRequestParams::from_pem(csr_pem)
            .map_err(|e| Error::invalid("csr_pem", format!("is not a certificate signing request that can be used ({e})")))?;
        let usages = [ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        let params = leaf_params(&[host_tls_name(host)], &usages, HOST_DAYS)?;
        let cert = params.signed_by(&request.public_key, &self.issuer).map_err(|e| failed(&e))?;
        Ok((cert.pem(), crate::secret::sha256_hex(cert.der())))
    }

    fn leaf(&self, names: &[String], usages: &[ExtendedKeyUsagePurpose]) -> Result<Identity, Error> {
        let key = KeyPair::generate().map_err(|e| failed(&e))?;
        let cert = leaf_params(names, usages, MANAGER_DAYS)?.signed_by(&key, &self.issuer).map_err(|e| failed(&e))?;
        Ok(Identity { certificate_pem: cert.pem(), key_pem: key.serialize_pem() })
    }

    /// Whether the certificate at `path` is ours, lasts a while longer, and holds every name.
    fn still_good(&self, path: &Path, names: &[String]) -> bool {
        let Ok(pem) = std::fs::read(path) else { return false };
        let Ok((_, block)) = x509_parser::pem::parse_x509_pem(&pem) else { return false };
        let Ok(cert) = block.parse_x509() else { return false };
        let Ok((_, own)) = x509_parser::pem::parse_x509_pem(self.ca_pem.as_bytes()) else { return false };
        let Ok(own) = own.parse_x509() else { return false };
        let left = cert.validity().not_after.timestamp() - now().0 / 1_000_000;
        let Ok(Some(san)) = cert.subject_alternative_name() else { return false };
        let held: Vec<String> = san.value.general_names.iter().filter_map(text_of).collect();
        left > RENEW_DAYS * DAY_SECONDS && cert.issuer() == own.subject() && names.iter().all(|n| held.contains(n))
    }
}

fn text_of(name: &x509_parser::extensions::GeneralName<'_>) -> Option<String> {
    use x509_parser::extensions::GeneralName as G;
    match name {
        G::DNSName(n) => Some((*n).to_string()),
        G::IPAddress(b) => match b.len() {
            4 => <[u8; 4]>::try_from(*b).ok().map(|a| std::net::Ipv4Addr::from(a).to_string()),
            _ => <[u8; 16]>::try_from(*b).ok().map(|a| std::net::Ipv6Addr::from(a).to_string()),
        },
        _ => None,
    }
}

fn leaf_params(names: &[String], usages: &[ExtendedKeyUsagePurpose], days: i64) -> Result<CertificateParams, Error> {
    let mut p = CertificateParams::new(names.to_vec())
        .map_err(|_| Error::invalid("tls_name", format!("one of {} is not a name for a certificate", names.join(", "))))?;
    p.distinguished_name.push(DnType::CommonName, names.first().map_or("virga", String::as_str));
    valid_for(&mut p, days);
    p.is_ca = IsCa::ExplicitNoCa;
    p.use_authority_key_identifier_extension = true;
    p.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    p.extended_key_usages = usages.to_vec();
    Ok(p)
}

/// From an hour ago, because clocks differ, for `days`.
fn valid_for(p: &mut CertificateParams, days: i64) {
    let since_1970 = |t: Time| Duration::from_secs(u64::try_from(t.0 / 1_000_000).unwrap_or(0));
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    p.not_before = epoch + since_1970(now().plus_seconds(-3600));
    p.not_after = epoch + since_1970(now().plus_seconds(days * DAY_SECONDS));
}

/// Certificates are made at start and at joins, never in a decision: the clock of the machine is right here.
fn now() -> Time {
    crate::state::wall_clock()
}

fn make(cert: &Path, key: &Path) -> Result<(), Error> {
    let pair = KeyPair::generate().map_err(|e| failed(&e))?;
    let mut p = CertificateParams::default();
    p.distinguished_name = rcgen::DistinguishedName::new();
    p.distinguished_name.push(DnType::CommonName, format!("Virga {}", uuid::Uuid::new_v4()));
    valid_for(&mut p, AUTHORITY_DAYS);
    p.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    p.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let made = p.self_signed(&pair).map_err(|e| failed(&e))?;
    write(key, &pair.serialize_pem(), 0o600)?;
    write(cert, &made.pem(), 0o644)
}

fn tls(cert_pem: &str, ca_pem: &str, key_pem: &str) -> Result<rustls::ServerConfig, Error> {
    let wrong = |_| Error::internal("The certificate of the API in the state folder cannot be read.");
    let mut chain: Vec<CertificateDer<'static>> = Vec::new();
    for pem in [cert_pem, ca_pem] {
        chain.push(CertificateDer::from_pem_slice(pem.as_bytes()).map_err(wrong)?);
    }
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(wrong)?;
    let mut config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|e| Error::internal(format!("The certificate of the API in the state folder cannot be used: {e}.")))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Host name of this machine, when it can stand in a certificate.
fn machine_name() -> Option<String> {
    let name = rustix::system::uname().nodename().to_str().ok()?.to_ascii_lowercase();
    let ok = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'));
    ok.then_some(name)
}

fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|e| broken(path, &format!("cannot be read: {e}")))
}

/// Writes a file as a whole or not at all, from the first byte with the right mode.
///
/// # Errors
/// When the file cannot be written.
pub fn write(path: &Path, text: &str, mode: u32) -> Result<(), Error> {
    let temporary = path.with_extension(format!("new-{}", uuid::Uuid::new_v4().simple()));
    let attempt = || -> std::io::Result<()> {
        let mut f = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        f.write_all(text.as_bytes())?;
        f.sync_all()?;
        std::fs::rename(&temporary, path)?;
        std::fs::File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
    };
    attempt().map_err(|e| {
        let _ = std::fs::remove_file(&temporary);
        broken(path, &format!("cannot be written: {e}"))
    })
}

fn broken(path: &Path, why: &str) -> Error {
    Error::internal(format!("{} {why}.", path.display()))
}

fn failed(e: &rcgen::Error) -> Error {
    Error::internal(format!("A certificate could not be made: {e}."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_authority_is_made_once_and_its_key_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let a = Authority::open(dir.path()).unwrap();
        let b = Authority::open(dir.path()).unwrap();
        assert_eq!(a.ca_pem(), b.ca_pem());
        let mode = std::fs::metadata(dir.path().join("ca.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn the_api_certificate_is_kept_until_a_name_is_missing() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let dir = tempfile::tempdir().unwrap();
        let a = Authority::open(dir.path()).unwrap();
        let read = || std::fs::read_to_string(dir.path().join("api.pem")).unwrap();
        a.server_config(&[]).unwrap();
        let first = read();
        a.server_config(&[]).unwrap();
        assert_eq!(read(), first);
        a.server_config(&["cloud.example.org".into()]).unwrap();
        assert_ne!(read(), first);
    }

    #[test]
    fn a_host_gets_its_own_name_whatever_it_asks_for() {
        let dir = tempfile::tempdir().unwrap();
        let a = Authority::open(dir.path()).unwrap();
        let key = KeyPair::generate().unwrap();
        let csr = CertificateParams::new(vec![MANAGER_TLS_NAME.to_string()]).unwrap().serialize_request(&key).unwrap();
        let host = HostId(uuid::Uuid::new_v4());
        let (pem, sha) = a.sign_host_csr(&csr.pem().unwrap(), host).unwrap();
        assert_eq!(sha.len(), 64);
        let (_, block) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
        let cert = block.parse_x509().unwrap();
        let names: Vec<String> = cert.subject_alternative_name().unwrap().unwrap().value.general_names.iter().filter_map(text_of).collect();
        assert_eq!(names, [host_tls_name(host)]);
        assert!(!cert.is_ca());
        assert!(a.sign_host_csr("nonsense", host).is_err());
    }
}
