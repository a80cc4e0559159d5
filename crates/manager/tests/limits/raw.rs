//! A caller who speaks HTTP by hand, as badly as a test wants.

use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Generous: what is waited for comes in milliseconds, on a slow machine in seconds.
pub const SOON: Duration = Duration::from_secs(60);

/// Opens a TLS connection that speaks HTTP/1.1.
pub async fn connect(folder: &Path, at: SocketAddr) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    for c in CertificateDer::pem_slice_iter(&std::fs::read(folder.join("ca.pem"))?) {
        roots.add(c.unwrap()).unwrap();
    }
    let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let socket = TcpStream::connect(at).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::IpAddress(at.ip().into()), socket).await
}

/// Sends `text`, and reads until the other side ends or `enough` says so.
pub async fn talk(stream: &mut TlsStream<TcpStream>, text: &str, enough: impl Fn(&str) -> bool) -> String {
    stream.write_all(text.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    read(stream, enough).await
}

/// Reads until the other side ends or `enough` says so.
pub async fn read(stream: &mut TlsStream<TcpStream>, enough: impl Fn(&str) -> bool) -> String {
    let mut got = Vec::new();
    let mut buf = [0_u8; 8192];
    let reading = async {
        loop {
            let text = String::from_utf8_lossy(&got).into_owned();
            if enough(&text) {
                return text;
            }
            match stream.read(&mut buf).await {
                Ok(0) | Err(_) => return text,
                Ok(n) => got.extend_from_slice(&buf[..n]),
            }
        }
    };
    tokio::time::timeout(SOON, reading).await.expect("the manager neither answers nor ends the connection")
}
