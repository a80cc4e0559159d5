//! The node listener: where hosts join, report, renew their certificates and fetch images.
//!
//! A host is known by its certificate, and may speak only about itself: rows of VMs on other hosts are never touched
//! by what it says. Only `join` works without a certificate.

use futures::StreamExt;
use futures::stream::BoxStream;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};
use virga_api::node::manager_server::{Manager as ManagerApi, ManagerServer};
use virga_api::node::{BytesReply, CHUNK_BYTES, Document, FetchRequest, MESSAGE_BYTES_MAX, decode, encode, to_status};
use virga_model::event::{Event, Severity};
use virga_model::host::Host;
use virga_model::order::JoinAnswer;
use virga_model::task::ObjectRef;
use virga_model::{Error, ErrorCode, HostId, ImageId, Time};

use super::report;
use crate::secret;
use crate::state::Manager;

/// Pieces of an image that wait for a slow reader.
const FETCH_QUEUE: usize = 8;

/// Serves agents until `stop`.
pub async fn serve(manager: Arc<Manager>, listener: TcpListener, mut stop: watch::Receiver<bool>) {
    let identity = match manager.ca.manager_node_identity() {
        Ok(i) => i,
        Err(e) => return tracing::error!(error = %e, "the node listener has no certificate"),
    };
    let tls = ServerTlsConfig::new()
        .identity(Identity::from_pem(identity.certificate_pem, identity.key_pem))
        .client_ca_root(Certificate::from_pem(manager.ca.ca_pem()))
        // A host that joins has no certificate yet; every other call asks for it.
        .client_auth_optional(true);
    let service = ManagerServer::new(Service { manager }).max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX);
    let served = match Server::builder().tls_config(tls) {
        Ok(mut server) => {
            let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
            let stopped = async move { drop(stop.wait_for(|s| *s).await) };
            server.add_service(service).serve_with_incoming_shutdown(incoming, stopped).await
        }
        Err(e) => Err(e),
    };
    if let Err(e) = served {
        tracing::error!(error = ?e, "the node listener failed");
    }
}

struct Service {
    manager: Arc<Manager>,
}

type Reply<T> = Result<Response<T>, Status>;

fn document<T: serde::Serialize>(d: &T) -> Reply<Document> {
    Ok(Response::new(Document { json: encode(d).map_err(|e| to_status(&e))? }))
}

/// The host that speaks, proved by its certificate.
async fn caller<T>(manager: &Manager, request: &Request<T>) -> Result<Host, Error> {
    let denied = |why: &str| Error::new(ErrorCode::Unauthenticated, why.to_string()).with_hint("Join again: virga host join-token --name NAME");
    let certificates = request.peer_certs().ok_or_else(|| denied("This call needs a host certificate."))?;
    let leaf = certificates.first().ok_or_else(|| denied("This call needs a host certificate."))?;
    let id = host_of(leaf).ok_or_else(|| denied("The certificate is none of a host."))?;
    let mut tx = manager.store.read().await?;
    let host = virga_store::host::get(&mut tx, id).await?.ok_or_else(|| denied("The host was removed from this installation."))?;
    drop(tx);
    let used = secret::sha256_hex(leaf);
    match host.certificate_sha256.split_once(' ') {
        // The row comes from a backup, and the certificate may have been renewed since: the first that comes, signed by our
        // authority for this host, is the one from now on.
        Some((virga_store::restored::CERTIFICATE_OPEN, _)) => set_certificates(manager, host, used).await,
        // The newest is used for the first time: from now on the one before it is worth nothing.
        Some((newest, _)) if newest == used => set_certificates(manager, host, used).await,
        Some((_, before)) if before == used => Ok(host),
        None if host.certificate_sha256 == used => Ok(host),
        _ => Err(denied("The certificate was replaced by another.")),
    }
}

/// As [`caller`] for the host whose newest certificate is used, without reading its whole row; when it last reported as
/// the row says. Anything unusual is for [`caller`] to judge.
async fn known<T>(manager: &Manager, request: &Request<T>) -> Result<(HostId, Option<Time>), Error> {
    if let Some(leaf) = request.peer_certs().as_deref().and_then(|c| c.first())
        && let Some(id) = host_of(leaf)
    {
        let row = virga_store::host::known(&mut manager.store.read().await?, id).await?;
        if let Some(row) = row.filter(|r| r.certificate_sha256 == secret::sha256_hex(leaf)) {
            return Ok((id, row.last_report_at));
        }
    }
    caller(manager, request).await.map(|h| (h.id, h.last_report_at))
}

async fn set_certificates(manager: &Manager, host: Host, certificate_sha256: String) -> Result<Host, Error> {
    let generation = host.generation;
    let changed = Host { certificate_sha256, generation: generation + 1, ..host };
    let mut tx = manager.store.write().await?;
    virga_store::host::update(&mut tx, &changed, generation).await?;
    tx.commit().await?;
    Ok(changed)
}

/// The host's id in a certificate that TLS has verified already.
fn host_of(der: &[u8]) -> Option<HostId> {
    use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let san = certificate.subject_alternative_name().ok()??;
    san.value.general_names.iter().find_map(|n| match n {
        GeneralName::DNSName(d) => d.strip_suffix(".host.virga.internal")?.parse().ok(),
        _ => None,
    })
}

#[async_trait::async_trait]
impl ManagerApi for Service {
    async fn join(&self, request: Request<Document>) -> Reply<Document> {
        let source = request.remote_addr().map(|a| a.to_string()).unwrap_or_default();
        let answer = join(&self.manager, &request.into_inner().json, &source).await.map_err(|e| to_status(&e))?;
        document(&answer)
    }

    async fn report(&self, request: Request<Document>) -> Reply<Document> {
        let (id, last) = known(&self.manager, &request).await.map_err(|e| to_status(&e))?;
        let ack = match decode(&request.get_ref().json).map_err(|e| to_status(&e))? {
            routine if report::is_routine(&routine) => report::take_routine(&self.manager, id, last, &routine).await,
            news => {
                let host = caller(&self.manager, &request).await.map_err(|e| to_status(&e))?;
                let manager = self.manager.clone();
                // An agent that stops waiting must not break off a transaction that holds the reports of others as well.
                let taken = virga_crash::spawn(async move { report::take(&manager, host, news).await });
                taken.await.map_err(|e| Status::internal(e.to_string()))?
            }
        };
        document(&ack.map_err(|e| to_status(&e))?)
    }

    /// A new certificate. The one in use stays good until the new one is used, so that a lost answer locks nobody out.
    async fn renew(&self, request: Request<Document>) -> Reply<Document> {
        let host = caller(&self.manager, &request).await.map_err(|e| to_status(&e))?;
        let csr: String = decode(&request.into_inner().json).map_err(|e| to_status(&e))?;
        let answer = renew(&self.manager, host, &csr).await.map_err(|e| to_status(&e))?;
        document(&answer)
    }

    type FetchImageStream = BoxStream<'static, Result<BytesReply, Status>>;

    async fn fetch_image(&self, request: Request<FetchRequest>) -> Reply<Self::FetchImageStream> {
        caller(&self.manager, &request).await.map_err(|e| to_status(&e))?;
        let r = request.into_inner();
        let image: ImageId = r.image.parse().map_err(|_| to_status(&Error::malformed("The image's id is not a UUID.")))?;
        let gone = |_| to_status(&Error::not_found("image", image));
        let place = content_of(&self.manager, image).await.map_err(|e| to_status(&e))?;
        let mut file = tokio::fs::File::open(place.path).await.map_err(gone)?;
        file.seek(std::io::SeekFrom::Start(place.first.saturating_add(r.offset))).await.map_err(gone)?;
        let mut file = file.take(place.bytes.saturating_sub(r.offset));
        let (sender, receiver) = tokio::sync::mpsc::channel(FETCH_QUEUE);
        tokio::spawn(async move {
            loop {
                let mut data = vec![0; CHUNK_BYTES];
                let piece = match file.read(&mut data).await {
                    Ok(0) => return,
                    Ok(n) => {
                        data.truncate(n);
                        Ok(BytesReply { data })
                    }
                    Err(e) => Err(to_status(&Error::unavailable(format!("The image cannot be read: {e}.")))),
                };
                if sender.send(piece).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(tokio_stream::wrappers::ReceiverStream::new(receiver).boxed()))
    }
}

/// Where the content of an image lies.
struct Place {
    path: std::path::PathBuf,
    first: u64,
    bytes: u64,
}

/// The content of an image: a file of its own, or a piece of a package's.
async fn content_of(manager: &Manager, id: ImageId) -> Result<Place, Error> {
    let row = virga_store::image::get(&mut manager.store.read().await?, id).await?;
    let (file, first, bytes) = match row.as_ref().and_then(|i| Some((i.part?, i.size_bytes))) {
        Some((part, bytes)) => (part.of, part.offset, bytes),
        None => (id, 0, u64::MAX),
    };
    Ok(Place { path: manager.image_folder().join(file.to_string()), first, bytes })
}

/// A host joins: the token is used up, the host gets its row and its certificate, in one transaction.
async fn join(manager: &Manager, json: &[u8], source: &str) -> Result<JoinAnswer, Error> {
    let request: virga_model::order::JoinRequest = decode(json)?;
    let id = HostId(uuid::Uuid::now_v7());
    let now = manager.now();
    let (certificate_pem, certificate_sha256) = manager.ca.sign_host_csr(&request.csr_pem, id)?;
    let refused = || {
        Error::new(ErrorCode::Unauthenticated, "The join token is not valid: it was used, is too old, or never was.")
            .with_hint("Make a new one: virga host join-token --name NAME")
    };
    let mut tx = manager.store.write().await?;
    let token = virga_store::join_token::take(&mut tx, &secret::sha256_hex(request.secret.as_bytes()), now, id).await?.ok_or_else(refused)?;
    let host = Host {
        id,
        name: token.host_name,
        address: request.address,
        maintenance: false,
        certificate_sha256,
        generation: 1,
        epoch: 1,
        facts: request.facts,
        last_report_at: None,
        created_at: now,
    };
    virga_store::host::insert(&mut tx, &host).await?;
    let event = Event {
        id: 0,
        at: now,
        kind: "host.joined".into(),
        severity: Severity::Info,
        object: ObjectRef::Host(id),
        object_name: host.name.clone(),
        owner: None,
        host: Some(id),
        task: None,
        message: format!("Host {} joined from {source}.", host.name),
    };
    virga_store::event::append(&mut tx, &event).await?;
    let record = virga_model::event::AuditRecord {
        id: 0,
        at: now,
        user: None,
        actor: format!("host:{id}"),
        source: source.into(),
        operation: "host_join".into(),
        object: ObjectRef::Host(id),
        object_name: host.name.clone(),
        result: "ok".into(),
        request_id: String::new(),
        detail: format!("with join token {}", token.id),
    };
    virga_store::audit::append(&mut tx, &record).await?;
    tx.commit().await?;
    manager.committed();
    Ok(JoinAnswer { host: id, certificate_pem, ca_pem: manager.ca.ca_pem().to_string(), managers: manager.managers.addresses() })
}

async fn renew(manager: &Manager, host: Host, csr_pem: &str) -> Result<JoinAnswer, Error> {
    let (certificate_pem, certificate_sha256) = manager.ca.sign_host_csr(csr_pem, host.id)?;
    let in_use = host.certificate_sha256.split(' ').next_back().unwrap_or_default().to_string();
    let renewed = set_certificates(manager, host, format!("{certificate_sha256} {in_use}")).await?;
    Ok(JoinAnswer { host: renewed.id, certificate_pem, ca_pem: manager.ca.ca_pem().to_string(), managers: manager.managers.addresses() })
}
