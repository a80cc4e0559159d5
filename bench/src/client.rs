//! A lean HTTPS client, so that the load costs the machine little: requests that are written once, answers that are read
//! to their end and counted.

use anyhow::{Context, Result, bail, ensure};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Longest head of an answer.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// How to reach a server.
#[derive(Clone)]
pub struct Target {
    /// Its address.
    pub address: SocketAddr,
    /// Whom it trusts.
    pub tls: Arc<rustls::ClientConfig>,
    /// Bearer token.
    pub token: String,
}

impl Target {
    /// A server whose certificate the authority of this state folder signed.
    ///
    /// # Errors
    /// When the authority cannot be read.
    pub fn new(address: SocketAddr, state: &Path, token: &str) -> Result<Target> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(state.join("ca.pem")).context("ca.pem")?)?;
        let tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Ok(Target { address, tls: Arc::new(tls), token: token.into() })
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub async fn connect(&self) -> Result<Connection> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from("localhost")?;
        Ok(Connection { stream: TlsConnector::from(self.tls.clone()).connect(name, stream).await?, buffer: Vec::new() })
    }

    /// The bytes of a request.
    #[must_use]
    pub fn request(&self, method: &str, path: &str, body: &str) -> Vec<u8> {
        let kind = if body.is_empty() { "" } else { "content-type: application/json\r\n" };
        format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n{kind}content-length: {}\r\n\r\n{body}", self.token, body.len())
            .into_bytes()
    }
}

/// A connection that is used again and again.
pub struct Connection {
    stream: TlsStream<TcpStream>,
    buffer: Vec<u8>,
}

impl Connection {
    /// Sends a request; its status and body.
    ///
    /// # Errors
    /// When the connection breaks or the answer is not understood.
    pub async fn send(&mut self, request: &[u8]) -> Result<(u16, Vec<u8>)> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let head = loop {
            if let Some(end) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                break end + 4;
            }
            ensure!(self.buffer.len() < HEAD_BYTES_MAX, "the answer's head is too long");
            self.more().await?;
        };
        let text = std::str::from_utf8(&self.buffer[..head])?.to_ascii_lowercase();
        let status: u16 = text.split(' ').nth(1).context("status")?.parse()?;
        let length: usize = match text.lines().find_map(|l| l.strip_prefix("content-length:")) {
            Some(n) => n.trim().parse()?,
            None if status == 204 => 0,
            None => bail!("an answer without length"),
        };
        while self.buffer.len() < head + length {
            self.more().await?;
        }
        Ok((status, self.buffer[head..head + length].to_vec()))
    }

    async fn more(&mut self) -> Result<()> {
        ensure!(self.stream.read_buf(&mut self.buffer).await? > 0, "the server closed the connection");
        Ok(())
    }
}

/// Requests a second over `connections` for `time`; request `n` of connection `c` is `make(c, n)`.
///
/// # Errors
/// When any request is not answered with a status below 300.
pub async fn rate<F>(target: &Target, connections: usize, time: Duration, make: F) -> Result<f64>
where
    F: Fn(&Target, usize, usize) -> Vec<u8> + Clone + Send + 'static,
{
    let mut lines = Vec::with_capacity(connections);
    for _ in 0..connections {
        lines.push(target.connect().await?);
    }
    let begun = Instant::now();
    let jobs: Vec<_> = lines.into_iter().enumerate().map(|(c, line)| tokio::spawn(drive(line, target.clone(), c, begun + time, make.clone()))).collect();
    let mut done = 0;
    for job in jobs {
        done += job.await??;
    }
    Ok(done as f64 / begun.elapsed().as_secs_f64())
}

async fn drive<F>(mut line: Connection, target: Target, c: usize, end: Instant, make: F) -> Result<usize>
where
    F: Fn(&Target, usize, usize) -> Vec<u8>,
{
    let mut n = 0;
    while Instant::now() < end {
        let (status, body) = line.send(&make(&target, c, n)).await?;
        ensure!(status < 300, "status {status}: {}", String::from_utf8_lossy(&body));
        n += 1;
    }
    Ok(n)
}
