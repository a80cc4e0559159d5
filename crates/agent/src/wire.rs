//! gRPC of the node side: the server that managers call, and the client that reports. Mutual TLS in both directions.

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity as TlsIdentity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};
use virga_api::node::agent_server::{Agent, AgentServer};
use virga_api::node::manager_client::ManagerClient;
use virga_api::node::{
    BytesReply, CHUNK_BYTES, CallReply, CallRequest, ConsoleData, Document, ExportRequest, MESSAGE_BYTES_MAX, VmRequest, decode, encode, from_status, to_status,
};
use virga_model::order::{JoinAnswer, JoinRequest, MANAGER_TLS_NAME};
use virga_model::user::ConsoleKind;
use virga_model::{Error, VmId};

pub use crate::grpc_link::GrpcLink;
use crate::host::Result;
use crate::identity::Identity;
use crate::node::Node;

/// Time between two looks at the certificate's age.
const RENEW_LOOK: Duration = Duration::from_secs(6 * 3600);
/// Time after which a connection is taken again when one could not be: no file descriptor was left.
const ACCEPT_AGAIN: Duration = Duration::from_millis(200);
/// Bytes of one console message.
const CONSOLE_CHUNK: usize = 32 << 10;
/// Pieces of an export that wait for a slow reader.
const EXPORT_QUEUE: usize = 8;
/// Console messages that wait for a slow reader; then the guest's side waits.
const CONSOLE_QUEUE: usize = 16;

/// A connection to a manager that trusts only `ca_pem`; with an identity it also proves who we are.
pub(crate) fn endpoint(manager: &str, ca_pem: &str, identity: Option<&Identity>) -> Result<Endpoint> {
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca_pem)).domain_name(MANAGER_TLS_NAME);
    if let Some(i) = identity {
        tls = tls.identity(TlsIdentity::from_pem(&i.certificate_pem, &i.key_pem));
    }
    let bad = |e: tonic::transport::Error| Error::invalid("manager", format!("\"{manager}\" cannot be used as a manager's address: {e:?}"));
    Ok(Endpoint::from_shared(format!("https://{manager}"))
        .map_err(bad)?
        .tls_config(tls)
        .map_err(bad)?
        .connect_timeout(Duration::from_secs(10))
        .http2_keep_alive_interval(Duration::from_secs(5))
        .keep_alive_timeout(Duration::from_secs(5)))
}

/// The client of a manager.
pub(crate) fn client(channel: Channel) -> ManagerClient<Channel> {
    ManagerClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX)
}

/// Joins: buys a certificate with a join token.
///
/// # Errors
/// Unavailable, or what the manager says (a token that was used, is too old, or never was).
pub async fn join(manager: &str, ca_pem: &str, request: &JoinRequest) -> Result<JoinAnswer> {
    let channel =
        endpoint(manager, ca_pem, None)?.connect().await.map_err(|e| Error::unavailable(format!("Manager {manager} cannot be reached: {}.", chain(&e))))?;
    let reply = client(channel).join(Document { json: encode(request)? }).await.map_err(|s| from_status(&s))?;
    decode(&reply.into_inner().json)
}

/// An error and its sources in one line.
fn chain(e: &dyn std::error::Error) -> String {
    let mut text = e.to_string();
    let mut source = e.source();
    while let Some(s) = source {
        text = format!("{text}: {s}");
        source = s.source();
    }
    text
}

/// Renews the host's certificate when less than a third of its life is left; the link keeps the new one in `state`. The
/// listener goes on with the old one until the agent starts anew, which is well before it ends.
pub async fn keep_certificate_fresh(state: std::path::PathBuf, link: Arc<GrpcLink>) {
    loop {
        match renew_if_due(&state, &link).await {
            Ok(true) => tracing::info!("the certificate was renewed"),
            Ok(false) => {}
            Err(e) => tracing::warn!(error = %e, "the certificate could not be renewed; trying again later"),
        }
        tokio::time::sleep(RENEW_LOOK).await;
    }
}

async fn renew_if_due(state: &std::path::Path, link: &GrpcLink) -> Result<bool> {
    let Some(identity) = Identity::load(state)? else { return Ok(false) };
    if !is_due(&identity.certificate_pem).unwrap_or(true) {
        return Ok(false);
    }
    let request = crate::identity::request()?;
    let answer = link.renew(&request.csr_pem).await?;
    link.renewed(request, answer)?;
    Ok(true)
}

/// Whether less than a third of a certificate's life is left; none: it cannot be read.
fn is_due(pem: &str) -> Option<bool> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).ok()?;
    let validity = pem.parse_x509().ok()?.validity().clone();
    let life = validity.not_after.timestamp() - validity.not_before.timestamp();
    let left = validity.time_to_expiration().map_or(0, |d| d.whole_seconds());
    Some(left < life / 3)
}

/// Connections as they come. One that cannot be taken is no reason to end, nor to ask again at once for as long as that
/// lasts.
fn connections(listener: tokio::net::TcpListener) -> impl futures::Stream<Item = std::io::Result<tokio::net::TcpStream>> + Send + 'static {
    tokio_stream::wrappers::TcpListenerStream::new(listener).then(|connection| async move {
        if connection.is_err() {
            tokio::time::sleep(ACCEPT_AGAIN).await;
        }
        connection
    })
}

/// Serves managers on `listener` until `stop` is true.
///
/// # Errors
/// The certificate cannot be used, or the listener fails.
pub async fn serve(node: Arc<Node>, identity: &Identity, listener: tokio::net::TcpListener, mut stop: tokio::sync::watch::Receiver<bool>) -> Result<()> {
    let tls = ServerTlsConfig::new()
        .identity(TlsIdentity::from_pem(&identity.certificate_pem, &identity.key_pem))
        .client_ca_root(Certificate::from_pem(&identity.ca_pem));
    let service = AgentServer::new(Service { node }).max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX);
    let failed = |e: tonic::transport::Error| Error::internal(format!("The agent's listener failed: {}.", chain(&e)));
    Server::builder()
        .tls_config(tls)
        .map_err(failed)?
        .add_service(tonic::service::interceptor::InterceptedService::new(service, only_managers))
        .serve_with_incoming_shutdown(connections(listener), async move {
            let _ = stop.wait_for(|s| *s).await;
        })
        .await
        .map_err(failed)
}

/// Serves managers on one connection whose TLS was done already, with the authority's certificates asked for in both
/// directions. For programs that hold many nodes behind one listener. Returns at once; the connection goes on by itself.
///
/// # Errors
/// The connection cannot be served.
pub async fn serve_connection<C>(node: Arc<Node>, connection: C) -> Result<()>
where
    C: tokio::io::AsyncRead + tokio::io::AsyncWrite + tonic::transport::server::Connected + Unpin + Send + 'static,
{
    let service = AgentServer::new(Service { node }).max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX);
    let failed = |e: tonic::transport::Error| Error::internal(format!("A connection to the agent failed: {}.", chain(&e)));
    let one = futures::stream::iter([Ok::<C, std::io::Error>(connection)]);
    Server::builder().add_service(tonic::service::interceptor::InterceptedService::new(service, only_managers)).serve_with_incoming(one).await.map_err(failed)
}

/// The authority signs hosts and managers: only a manager's certificate may give orders.
fn only_managers(request: Request<()>) -> std::result::Result<Request<()>, Status> {
    let certificates = request.peer_certs().ok_or_else(|| Status::unauthenticated("no client certificate"))?;
    let leaf = certificates.first().ok_or_else(|| Status::unauthenticated("no client certificate"))?;
    let names = dns_names(leaf).ok_or_else(|| Status::unauthenticated("the client certificate cannot be read"))?;
    if names.iter().any(|n| n == MANAGER_TLS_NAME) { Ok(request) } else { Err(Status::permission_denied("only managers may call an agent")) }
}

/// DNS names of a certificate that TLS has verified already.
fn dns_names(der: &[u8]) -> Option<Vec<String>> {
    use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let san = certificate.subject_alternative_name().ok()??;
    let dns = |n: &GeneralName<'_>| if let GeneralName::DNSName(d) = n { Some((*d).to_string()) } else { None };
    Some(san.value.general_names.iter().filter_map(dns).collect())
}

struct Service {
    node: Arc<Node>,
}

type Reply<T> = std::result::Result<Response<T>, Status>;

fn vm_id(text: &str) -> std::result::Result<VmId, Status> {
    text.parse().map_err(|_| to_status(&Error::malformed("The VM's id is not a UUID.")))
}

#[async_trait]
impl Agent for Service {
    async fn call(&self, request: Request<CallRequest>) -> Reply<CallReply> {
        let r = request.into_inner();
        let (head, call) = (decode(&r.head_json).map_err(|e| to_status(&e))?, decode(&r.call_json).map_err(|e| to_status(&e))?);
        // A manager that stops waiting must not break off what was begun.
        let node = self.node.clone();
        let answer = tokio::spawn(async move { node.call(head, call).await }).await.map_err(|e| Status::internal(e.to_string()))?;
        Ok(Response::new(CallReply { json: encode(&answer).map_err(|e| to_status(&e))? }))
    }

    async fn screenshot(&self, request: Request<VmRequest>) -> Reply<BytesReply> {
        let vm = vm_id(&request.into_inner().vm)?;
        let data = self.node.host().screenshot(vm).await.map_err(|e| to_status(&e))?;
        Ok(Response::new(BytesReply { data }))
    }

    type ReadExportStream = BoxStream<'static, std::result::Result<BytesReply, Status>>;

    async fn read_export(&self, request: Request<ExportRequest>) -> Reply<Self::ReadExportStream> {
        let r = request.into_inner();
        let bad = |_| to_status(&Error::malformed("An id of the export is not a UUID."));
        let (vm, disk) = (vm_id(&r.vm)?, r.disk.parse().map_err(bad)?);
        let export = self.node.export_of(vm, r.export.parse().map_err(bad)?, disk).map_err(|e| to_status(&e))?;
        let (sender, receiver) = tokio::sync::mpsc::channel(EXPORT_QUEUE);
        let node = self.node.clone();
        tokio::spawn(async move {
            let mut offset = r.offset;
            loop {
                let piece = node.host().export_read(vm, &export, disk, offset, CHUNK_BYTES).await;
                let n = piece.as_ref().map_or(0, Vec::len) as u64;
                let failed = piece.is_err();
                if (n > 0 || failed) && sender.send(piece.map(|data| BytesReply { data }).map_err(|e| to_status(&e))).await.is_err() {
                    return;
                }
                if n == 0 {
                    return;
                }
                offset += n;
            }
        });
        Ok(Response::new(tokio_stream::wrappers::ReceiverStream::new(receiver).boxed()))
    }

    type ConsoleStream = BoxStream<'static, std::result::Result<ConsoleData, Status>>;

    async fn console(&self, request: Request<Streaming<ConsoleData>>) -> Reply<Self::ConsoleStream> {
        let mut incoming = request.into_inner();
        let first = incoming.message().await?.ok_or_else(|| to_status(&Error::malformed("The first console message is missing.")))?;
        let kind = match first.kind.as_str() {
            "vnc" => ConsoleKind::Vnc,
            "serial" => ConsoleKind::Serial,
            _ => return Err(to_status(&Error::malformed("The console's kind is vnc or serial."))),
        };
        let console = self.node.host().console(vm_id(&first.vm)?, kind).await.map_err(|e| to_status(&e))?;
        let (mut from_guest, mut to_guest) = tokio::io::split(console);
        tokio::spawn(async move {
            while let Ok(Some(m)) = incoming.message().await {
                if to_guest.write_all(&m.data).await.is_err() || to_guest.flush().await.is_err() {
                    break;
                }
            }
            let _ = to_guest.shutdown().await;
        });
        let (sender, receiver) = tokio::sync::mpsc::channel(CONSOLE_QUEUE);
        tokio::spawn(async move {
            let mut buffer = vec![0; CONSOLE_CHUNK];
            // Ends when the guest's side closes, or nobody listens any more.
            while let Ok(n @ 1..) = from_guest.read(&mut buffer).await {
                let data = ConsoleData { data: buffer[..n].to_vec(), ..Default::default() };
                if sender.send(Ok(data)).await.is_err() {
                    break;
                }
            }
        });
        let out = tokio_stream::wrappers::ReceiverStream::new(receiver).boxed();
        Ok(Response::new(out))
    }
}
