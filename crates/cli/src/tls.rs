//! How the manager's certificate is checked: by the system's CAs, by a CA given or pinned, or as one pinned certificate.

use crate::error::{Exit, Failure, Result};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_platform_verifier::BuilderVerifierExt;
use sha2::{Digest, Sha256};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Whom to believe.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Trust {
    /// The CAs of the operating system.
    System,
    /// The CA in a file.
    CaFile(PathBuf),
    /// This CA.
    CaPem(String),
    /// The one certificate with this SHA-256 (hex).
    Pin(String),
}

/// The TLS settings for `trust`.
pub(crate) fn client_config(trust: &Trust) -> Result<ClientConfig> {
    let builder = ClientConfig::builder();
    let broken = |e: rustls::Error| Failure::failed(format!("TLS cannot be set up: {e}"));
    Ok(match trust {
        Trust::System => builder.with_platform_verifier().map_err(broken)?.with_no_client_auth(),
        Trust::CaFile(path) => {
            let pem = std::fs::read(path).map_err(|e| Failure::failed(format!("{}: {e}", path.display())))?;
            builder.with_root_certificates(roots(&pem, &path.display().to_string())?).with_no_client_auth()
        }
        Trust::CaPem(pem) => builder.with_root_certificates(roots(pem.as_bytes(), "the pinned CA")?).with_no_client_auth(),
        Trust::Pin(sha256) => builder.dangerous().with_custom_certificate_verifier(Arc::new(Pinned::new(&normal_fingerprint(sha256)?)?)).with_no_client_auth(),
    })
}

fn roots(pem: &[u8], from: &str) -> Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    for cert in CertificateDer::pem_slice_iter(pem) {
        let cert = cert.map_err(|e| Failure::failed(format!("{from}: {e}")))?;
        store.add(cert).map_err(|e| Failure::failed(format!("{from}: {e}")))?;
    }
    if store.is_empty() {
        return Err(Failure::failed(format!("{from}: holds no certificate")).hint("a PEM file with BEGIN CERTIFICATE is wanted"));
    }
    Ok(store)
}

/// SHA-256 of a certificate, hex.
pub(crate) fn fingerprint(cert: &CertificateDer<'_>) -> String {
    hex::encode(Sha256::digest(cert))
}

/// A fingerprint as somebody wrote it (colons, capitals, `sha256:`), as 64 hex digits.
pub(crate) fn normal_fingerprint(text: &str) -> Result<String> {
    let lower = text.trim().to_ascii_lowercase();
    let plain: String = lower.strip_prefix("sha256:").unwrap_or(&lower).chars().filter(|c| !matches!(c, ':' | ' ')).collect();
    match hex::decode(&plain) {
        Ok(bytes) if bytes.len() == 32 => Ok(plain),
        _ => Err(Failure::usage(format!("\"{text}\" is not a SHA-256 fingerprint")).hint("64 hex digits, with or without colons")),
    }
}

/// What a manager showed when it was asked for its certificate.
pub(crate) struct Shown {
    /// The chain, its own certificate first.
    pub(crate) chain: Vec<CertificateDer<'static>>,
}

impl Shown {
    /// The certificate to pin: the chain's CA when it comes with one, which outlives the server's own certificate.
    pub(crate) fn anchor(&self) -> Option<(&CertificateDer<'static>, bool)> {
        let last = self.chain.last()?;
        let is_ca = self.chain.len() > 1 && x509_parser::parse_x509_certificate(last).is_ok_and(|(_, c)| c.is_ca());
        if is_ca { Some((last, true)) } else { self.chain.first().map(|c| (c, false)) }
    }

    /// What to believe when the certificate with `sha256` is believed; none: it is not in the chain.
    pub(crate) fn trust_for(&self, sha256: &str) -> Option<Trust> {
        let at = self.chain.iter().position(|c| fingerprint(c) == sha256)?;
        Some(if at == 0 { Trust::Pin(sha256.into()) } else { Trust::CaPem(pem(&self.chain[at])) })
    }
}

/// A certificate as PEM.
fn pem(cert: &CertificateDer<'_>) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(cert);
    let lines: Vec<&str> = text.as_bytes().chunks(64).filter_map(|c| std::str::from_utf8(c).ok()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

/// Asks the manager at `url` for its certificates and believes nothing. Sends no data.
pub(crate) async fn look(url: &str) -> Result<Shown> {
    let parsed = reqwest::Url::parse(url).map_err(|e| Failure::usage(format!("\"{url}\" is not a URL ({e})")))?;
    let host = parsed.host_str().unwrap_or_default().trim_matches(['[', ']']).to_string();
    let port = parsed.port_or_known_default().unwrap_or(443);
    let unreachable = |e: &dyn std::fmt::Display| Failure::new(Exit::Unreachable, format!("{url}: {e}"));
    let name = ServerName::try_from(host.clone()).map_err(|e| unreachable(&e))?;
    let verifier = Arc::new(Blind(provider()?));
    let config = ClientConfig::builder().dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    let connect = async {
        let tcp = tokio::net::TcpStream::connect((host.as_str(), port)).await?;
        tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, tcp).await
    };
    let tls = tokio::time::timeout(Duration::from_secs(10), connect).await.map_err(|_| unreachable(&"no answer within 10 s"))?.map_err(|e| unreachable(&e))?;
    let chain = tls.get_ref().1.peer_certificates().unwrap_or_default();
    Ok(Shown { chain: chain.iter().map(|c| c.clone().into_owned()).collect() })
}

/// Whether the operating system's CAs vouch for the manager at `url`.
pub(crate) fn system_trusts(url: &str, shown: &Shown) -> bool {
    let Some((own, others)) = shown.chain.split_first() else { return false };
    let host = reqwest::Url::parse(url).ok().and_then(|u| u.host_str().map(|h| h.trim_matches(['[', ']']).to_string()));
    let Some(name) = host.and_then(|h| ServerName::try_from(h).ok()) else { return false };
    let verifier = provider().ok().and_then(|p| rustls_platform_verifier::Verifier::new(p).ok());
    verifier.is_some_and(|v| v.verify_server_cert(own, others, &name, &[], UnixTime::now()).is_ok())
}

fn provider() -> Result<Arc<CryptoProvider>> {
    CryptoProvider::get_default().cloned().ok_or_else(|| Failure::failed("TLS was not set up"))
}

/// Accepts exactly one certificate.
#[derive(Debug)]
struct Pinned {
    sha256: String,
    provider: Arc<CryptoProvider>,
}

impl Pinned {
    fn new(sha256: &str) -> Result<Pinned> {
        Ok(Pinned { sha256: sha256.into(), provider: provider()? })
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        // Who holds the key of exactly this certificate is the manager of the first sign-in, whatever name it is
        // reached by; the signature of the handshake is checked below.
        if fingerprint(own) == self.sha256 {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Accepts everything; only for looking at a certificate, never for sending data.
#[derive(Debug)]
struct Blind(Arc<CryptoProvider>);

impl ServerCertVerifier for Blind {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Whether `chain` is vouched for by the CA in `pem`, for the host of `url`.
pub(crate) fn ca_vouches(ca_pem: &str, url: &str, shown: &Shown) -> bool {
    let Some((own, others)) = shown.chain.split_first() else { return false };
    let Ok(store) = roots(ca_pem.as_bytes(), "the CA") else { return false };
    let Ok(verifier) = WebPkiServerVerifier::builder(Arc::new(store)).build() else { return false };
    let host = reqwest::Url::parse(url).ok().and_then(|u| u.host_str().map(|h| h.trim_matches(['[', ']']).to_string()));
    let Some(name) = host.and_then(|h| ServerName::try_from(h).ok()) else { return false };
    verifier.verify_server_cert(own, others, &name, &[], UnixTime::now()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_read_in_every_usual_form() {
        let plain = "ab".repeat(32);
        let colons = vec!["AB"; 32].join(":");
        for form in [plain.clone(), format!("sha256:{plain}"), colons.clone(), format!("SHA256:{colons}")] {
            assert_eq!(normal_fingerprint(&form).expect("a fingerprint"), plain);
        }
        for bad in ["", "ab", "zz", &"ab".repeat(31)] {
            assert!(normal_fingerprint(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_ca_file_without_a_certificate_is_refused() {
        crate::install_crypto();
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("ca.pem");
        std::fs::write(&path, "hello").expect("written");
        assert!(client_config(&Trust::CaFile(path)).is_err());
        assert!(client_config(&Trust::CaFile("/nonexistent".into())).is_err());
        assert!(client_config(&Trust::Pin("ab".repeat(32))).is_ok());
    }
}
