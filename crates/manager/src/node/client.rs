//! How a manager speaks to an agent: a trait with two transports, gRPC for real and in-process for the simulator.

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use virga_api::node::agent_client::AgentClient;
use virga_api::node::{CallRequest, ConsoleData, ExportRequest, MESSAGE_BYTES_MAX, VmRequest, decode, encode, from_status};
use virga_model::host::Host;
use virga_model::order::{CallHead, NodeAnswer, NodeCall, host_tls_name};
use virga_model::user::ConsoleKind;
use virga_model::{DiskId, Error, HostId, VmId};

/// Bytes, piece after piece.
pub type Content = BoxStream<'static, Result<Vec<u8>, Error>>;
/// Bytes both ways.
pub use virga_api::node::Duplex;

/// Longest that connecting to an agent may take (HA-09).
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest that a screenshot may take.
const SCREENSHOT_TIMEOUT: Duration = Duration::from_secs(20);
/// Bytes of a console that wait for a slow reader.
const CONSOLE_BUFFER: usize = 256 << 10;
/// Bytes of one console message.
const CONSOLE_CHUNK: usize = 32 << 10;

/// Calls to agents. Only the task runner uses [`NodeClient::call`]; consoles and pictures read.
#[async_trait]
pub trait NodeClient: Send + Sync + 'static {
    /// One call, bounded by `head.deadline_ms`.
    ///
    /// # Errors
    /// [`virga_model::ErrorCode::Unavailable`] when the agent did not answer: then it is not known whether it acted.
    async fn call(&self, host: &Host, head: CallHead, call: NodeCall) -> Result<NodeAnswer, Error>;
    /// The screen of a VM as PNG.
    ///
    /// # Errors
    /// Unavailable, or what the agent says.
    async fn screenshot(&self, host: &Host, vm: VmId) -> Result<Vec<u8>, Error>;
    /// A console of a VM.
    ///
    /// # Errors
    /// Unavailable, or what the agent says.
    async fn console(&self, host: &Host, vm: VmId, kind: ConsoleKind) -> Result<Box<dyn Duplex>, Error>;
    /// Content of a disk of an export, from a byte on.
    ///
    /// # Errors
    /// Unavailable, NotFound when the host has it no more.
    async fn read_export(&self, _host: &Host, _vm: VmId, _export: uuid::Uuid, _disk: DiskId, _offset: u64) -> Result<Content, Error> {
        Err(Error::unavailable("Exports cannot be read over this connection."))
    }
    /// Forgets cached connections to a host.
    fn forget(&self, host: HostId);
}

/// Calls over gRPC with mutual TLS; one connection for each host, made when it is needed and mended by itself.
pub struct GrpcClient {
    ca_pem: String,
    certificate_pem: String,
    key_pem: String,
    channels: Mutex<HashMap<HostId, (String, AgentClient<Channel>)>>,
}

impl GrpcClient {
    /// A client that trusts `ca` and proves to be a manager of it.
    ///
    /// # Errors
    /// No certificate can be made.
    pub fn new(ca: &crate::ca::Authority) -> Result<GrpcClient, Error> {
        let identity = ca.manager_node_identity()?;
        Ok(GrpcClient { ca_pem: ca.ca_pem().to_string(), certificate_pem: identity.certificate_pem, key_pem: identity.key_pem, channels: Mutex::default() })
    }

    fn client(&self, host: &Host) -> Result<AgentClient<Channel>, Error> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((address, client)) = channels.get(&host.id)
            && *address == host.address
        {
            return Ok(client.clone());
        }
        let bad = |e: tonic::transport::Error| Error::internal(format!("The address \"{}\" of host {} cannot be used: {e}.", host.address, host.name));
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&self.ca_pem))
            .identity(Identity::from_pem(&self.certificate_pem, &self.key_pem))
            .domain_name(host_tls_name(host.id));
        let channel = Endpoint::from_shared(format!("https://{}", host.address))
            .map_err(bad)?
            .tls_config(tls)
            .map_err(bad)?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(Duration::from_secs(5))
            .keep_alive_timeout(Duration::from_secs(5))
            .connect_lazy();
        let client = AgentClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX);
        channels.insert(host.id, (host.address.clone(), client.clone()));
        Ok(client)
    }
}

/// Bounds an answer in time; the transport's own errors name the host.
async fn within<T>(host: &Host, limit: Duration, answer: impl Future<Output = Result<T, tonic::Status>>) -> Result<T, Error> {
    match tokio::time::timeout(limit, answer).await {
        Err(_) => Err(Error::unavailable(format!("The host did not answer within {} s.", limit.as_secs()))),
        Ok(Err(status)) => {
            let mut e = from_status(&status);
            if e.code == virga_model::ErrorCode::Unavailable {
                tracing::warn!(host = %host.name, error = %e, "a call did not get through");
                e.message = "The host cannot be reached.".into();
            }
            Err(e)
        }
        Ok(Ok(t)) => Ok(t),
    }
}

#[async_trait]
impl NodeClient for GrpcClient {
    async fn call(&self, host: &Host, head: CallHead, call: NodeCall) -> Result<NodeAnswer, Error> {
        let request = CallRequest { head_json: encode(&head)?, call_json: encode(&call)? };
        let mut client = self.client(host)?;
        let reply = within(host, Duration::from_millis(head.deadline_ms), client.call(request)).await?;
        decode(&reply.into_inner().json)
    }

    async fn screenshot(&self, host: &Host, vm: VmId) -> Result<Vec<u8>, Error> {
        let mut client = self.client(host)?;
        let reply = within(host, SCREENSHOT_TIMEOUT, client.screenshot(VmRequest { vm: vm.to_string() })).await?;
        Ok(reply.into_inner().data)
    }

    async fn console(&self, host: &Host, vm: VmId, kind: ConsoleKind) -> Result<Box<dyn Duplex>, Error> {
        let kind = match kind {
            ConsoleKind::Vnc => "vnc",
            ConsoleKind::Serial => "serial",
        };
        let (to_agent, outgoing) = tokio::sync::mpsc::channel(16);
        let first = ConsoleData { vm: vm.to_string(), kind: kind.into(), data: Vec::new() };
        to_agent.send(first).await.map_err(|_| Error::internal("The console's queue is closed."))?;
        let mut client = self.client(host)?;
        let outgoing = tokio_stream::wrappers::ReceiverStream::new(outgoing);
        let mut incoming = within(host, CONNECT_TIMEOUT, client.console(outgoing)).await?.into_inner();
        let (ours, theirs) = tokio::io::duplex(CONSOLE_BUFFER);
        let (mut from_user, mut to_user) = tokio::io::split(theirs);
        tokio::spawn(async move {
            while let Ok(Some(m)) = incoming.message().await {
                if to_user.write_all(&m.data).await.is_err() {
                    break;
                }
            }
            let _ = to_user.shutdown().await;
        });
        tokio::spawn(async move {
            let mut buffer = vec![0; CONSOLE_CHUNK];
            while let Ok(n @ 1..) = from_user.read(&mut buffer).await {
                let data = ConsoleData { data: buffer[..n].to_vec(), ..Default::default() };
                if to_agent.send(data).await.is_err() {
                    break;
                }
            }
        });
        Ok(Box::new(ours))
    }

    async fn read_export(&self, host: &Host, vm: VmId, export: uuid::Uuid, disk: DiskId, offset: u64) -> Result<Content, Error> {
        let request = ExportRequest { vm: vm.to_string(), export: export.to_string(), disk: disk.to_string(), offset };
        let mut client = self.client(host)?;
        let reply = within(host, CONNECT_TIMEOUT, client.read_export(request)).await?.into_inner();
        Ok(reply.map(|r| r.map(|b| b.data).map_err(|s| from_status(&s))).boxed())
    }

    fn forget(&self, host: HostId) {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner).remove(&host);
    }
}
