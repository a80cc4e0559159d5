//! One port for the agents of all machines: a manager says in its TLS greeting which host it wants, by the name that
//! stands in that host's certificate, and gets exactly that host's agent.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{Acceptor, WebPkiClientVerifier};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::LazyConfigAcceptor;
use virga_agent::identity::Identity;
use virga_agent::wire;
use virga_model::order::host_tls_name;
use virga_model::{Error, HostId};

use super::machine::Machine;

/// Longest that a greeting may take.
const GREETING_MAX: Duration = Duration::from_secs(10);
/// Longest that a connection to a machine that is cut off is held open; callers give up before.
const HELD_MAX: Duration = Duration::from_secs(30);
/// Greetings at the same time; more wait.
const GREETINGS_MAX: usize = 512;

/// The machines by the name in their certificates.
#[derive(Default)]
pub struct Names(Mutex<HashMap<String, Arc<Machine>>>);

impl Names {
    /// Calls for this host go to that machine from now on.
    pub fn add(&self, host: HostId, machine: &Arc<Machine>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(host_tls_name(host), machine.clone());
    }

    fn find(&self, name: &str) -> Option<Arc<Machine>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }
}

fn bad(what: &str, e: impl std::fmt::Display) -> Error {
    Error::internal(format!("The {what} of a simulated host cannot be used: {e}."))
}

/// TLS of an agent: proves the host, and takes only what its authority signed.
pub(super) fn tls(identity: &Identity) -> Result<Arc<rustls::ServerConfig>, Error> {
    let certificate = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|e| bad("certificate", e));
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate(&identity.ca_pem)?).map_err(|e| bad("authority", e))?;
    let clients = WebPkiClientVerifier::builder(Arc::new(roots)).build().map_err(|e| bad("authority", e))?;
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).map_err(|e| bad("key", e))?;
    let chain = vec![certificate(&identity.certificate_pem)?];
    let mut config = rustls::ServerConfig::builder().with_client_cert_verifier(clients).with_single_cert(chain, key).map_err(|e| bad("certificate", e))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    // A manager holds one connection for each host: there is nothing to resume, and a thousand caches to keep.
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    Ok(Arc::new(config))
}

/// Takes connections until the task is dropped.
pub async fn serve(names: Arc<Names>, listener: TcpListener) {
    let greetings = Arc::new(Semaphore::new(GREETINGS_MAX));
    loop {
        // Never closed, so there is always a turn to wait for.
        let Ok(turn) = greetings.clone().acquire_owned().await else { return };
        let socket = match listener.accept().await {
            Ok((socket, _)) => socket,
            Err(e) => {
                tracing::warn!(error = %e, "a connection was not taken");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let names = names.clone();
        tokio::spawn(async move {
            if let Err(e) = greet(&names, socket).await {
                tracing::debug!(error = %e, "a connection ended in its greeting");
            }
            drop(turn);
        });
    }
}

async fn greet(names: &Names, socket: TcpStream) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    let socket = socket.into_std()?;
    let handle = socket.try_clone()?;
    let start = tokio::time::timeout(GREETING_MAX, LazyConfigAcceptor::new(Acceptor::default(), TcpStream::from_std(socket)?)).await??;
    let name = start.client_hello().server_name().unwrap_or_default().to_string();
    let Some(machine) = names.find(&name) else { return Ok(()) };
    // A machine that is cut off refuses nothing: nobody hears anything from it.
    if tokio::time::timeout(HELD_MAX, machine.wait_reachable()).await.is_err() {
        return Ok(());
    }
    // No agent runs: the connection is closed, as by a machine whose port nobody listens on.
    let Some((node, tls)) = machine.serving() else { return Ok(()) };
    let stream = tokio::time::timeout(GREETING_MAX, start.into_stream(tls)).await??;
    machine.keep_socket(handle);
    wire::serve_connection(node, stream).await.map_err(std::io::Error::other)
}
