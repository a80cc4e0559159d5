//! The link to the managers over gRPC: one of them gets the reports, and the next when it does not answer.
//!
//! The list of managers comes with every acknowledgement and is kept in the identity's file, so that an agent that starts
//! anew finds a manager also when the one it joined is gone. Managers share all rows, so any will do: a report that was
//! brought twice says the same twice. The others get the rates and with them a sign of life, best effort, because each
//! manager judges silence by its own clock.
//!
//! It must never trust a manager for its address: every one proves itself with the installation's authority.

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tonic::Request;
use tonic::transport::Channel;
use virga_api::node::manager_client::ManagerClient;
use virga_api::node::{Document, FetchRequest, decode, encode, from_status};
use virga_model::order::{ImageRef, JoinAnswer, Report, ReportAck};
use virga_model::{Error, ErrorCode};

use crate::host::Result;
use crate::identity::{self, Identity};
use crate::link::Link;
use crate::wire::{client, endpoint};

/// Longest that a report may take (HA-09).
const REPORT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest that a sign of life to a further manager may take.
const ALSO_TIMEOUT: Duration = Duration::from_secs(3);
/// Most managers that are remembered.
pub const MANAGERS_MAX: usize = 16;

/// The link to managers over gRPC. Connections are made lazily and mended by themselves.
pub struct GrpcLink {
    /// Folder of the identity's file; none: nothing is kept.
    state: Option<PathBuf>,
    inner: RwLock<Inner>,
}

struct Inner {
    identity: Identity,
    managers: Vec<Peer>,
    /// The one that answered last.
    at: usize,
}

#[derive(Clone)]
struct Peer {
    address: String,
    client: ManagerClient<Channel>,
    /// A sign of life is under way.
    busy: Arc<AtomicBool>,
}

/// The managers of an identity. One whose address cannot be used is left out, not the others with it.
fn peers(identity: &Identity) -> Result<Vec<Peer>> {
    let mut peers = Vec::new();
    let mut last = None;
    for address in identity.addresses() {
        match endpoint(&address, &identity.ca_pem, Some(identity)) {
            Ok(e) => peers.push(Peer { address, client: client(e.connect_lazy()), busy: Arc::default() }),
            Err(e) => last = Some(e),
        }
    }
    match (peers.is_empty(), last) {
        (true, e) => Err(e.unwrap_or_else(|| Error::invalid("manager", "no manager's address is known"))),
        (false, Some(e)) => {
            tracing::warn!(error = %e, "a manager is left out");
            Ok(peers)
        }
        (false, None) => Ok(peers),
    }
}

impl GrpcLink {
    /// A link with this identity.
    ///
    /// # Errors
    /// No manager's address can be used.
    pub fn new(identity: &Identity) -> Result<GrpcLink> {
        let inner = Inner { managers: peers(identity)?, identity: identity.clone(), at: 0 };
        Ok(GrpcLink { state: None, inner: RwLock::new(inner) })
    }

    /// The same, and what is learned about managers is kept in the identity's file in `state`.
    #[must_use]
    pub fn keeping(mut self, state: &Path) -> GrpcLink {
        self.state = Some(state.into());
        self
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The managers in the order in which they are tried: first the one that answered last.
    fn in_order(&self) -> Vec<Peer> {
        let inner = self.read();
        let mut all = inner.managers.clone();
        all.rotate_left(inner.at.min(inner.managers.len().saturating_sub(1)));
        all
    }

    /// The addresses that are tried, in that order.
    #[must_use]
    pub fn managers(&self) -> Vec<String> {
        self.in_order().into_iter().map(|p| p.address).collect()
    }

    fn answered(&self, address: &str) {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = inner.managers.iter().position(|p| p.address == address) {
            if at != inner.at {
                tracing::info!(manager = address, "reports go to another manager");
            }
            inner.at = at;
        }
    }

    /// Takes a new list of managers, or a new certificate. Connections are made anew.
    fn change(&self, change: impl FnOnce(&mut Identity)) -> Result<()> {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        let mut identity = inner.identity.clone();
        change(&mut identity);
        let managers = peers(&identity)?;
        if let Some(state) = &self.state {
            identity.save(state)?;
        }
        let current = inner.managers.get(inner.at).map(|p| p.address.clone());
        let at = managers.iter().position(|p| Some(&p.address) == current.as_ref()).unwrap_or(0);
        *inner = Inner { identity, managers, at };
        Ok(())
    }

    fn learn(&self, told: &[String]) {
        let known = told.is_empty() || self.read().identity.managers == told;
        if known || told.len() > MANAGERS_MAX {
            return;
        }
        tracing::info!(managers = told.join(" "), "the managers of this installation");
        if let Err(e) = self.change(|i| i.managers = told.to_vec()) {
            tracing::warn!(error = %e, "the list of managers could not be kept");
        }
    }

    /// Uses the certificate that a renewal brought from now on.
    pub(crate) fn renewed(&self, request: identity::Request, answer: JoinAnswer) -> Result<()> {
        self.change(|i| {
            i.key_pem = request.key_pem;
            i.certificate_pem = answer.certificate_pem;
            i.ca_pem = answer.ca_pem;
        })
    }

    /// Asks the managers one after the other until one answers.
    pub(crate) async fn renew(&self, csr_pem: &str) -> Result<JoinAnswer> {
        let document = Document { json: encode(&csr_pem)? };
        let mut last = Error::unavailable("No manager is known.");
        for mut peer in self.in_order() {
            match peer.client.renew(document.clone()).await {
                Ok(reply) => return decode(&reply.into_inner().json),
                Err(s) => last = from_status(&s),
            }
            if last.code != ErrorCode::Unavailable {
                break;
            }
        }
        Err(last)
    }

    /// Rates and a sign of life for a manager that did not get the report.
    fn also_tell(&self, mut peer: Peer, rates: &Report) {
        let Ok(json) = encode(rates) else { return };
        if peer.busy.swap(true, Ordering::SeqCst) {
            return;
        }
        tokio::spawn(async move {
            let told = tokio::time::timeout(ALSO_TIMEOUT, peer.client.report(Document { json })).await;
            peer.busy.store(false, Ordering::SeqCst);
            if !matches!(told, Ok(Ok(_))) {
                tracing::debug!(manager = peer.address, "a further manager does not answer");
            }
        });
    }
}

async fn bring(peer: &Peer, document: Document) -> Result<ReportAck> {
    let mut request = Request::new(document);
    request.set_timeout(REPORT_TIMEOUT);
    let mut client = peer.client.clone();
    let reply = tokio::time::timeout(REPORT_TIMEOUT, client.report(request))
        .await
        .map_err(|_| Error::unavailable("The manager did not answer in time."))?
        .map_err(|s| from_status(&s))?;
    decode(&reply.into_inner().json)
}

#[async_trait]
impl Link for GrpcLink {
    async fn report(&self, report: &Report) -> Result<ReportAck> {
        let document = Document { json: encode(report)? };
        let managers = self.in_order();
        let mut last = Error::unavailable("No manager is known.");
        for (n, peer) in managers.iter().enumerate() {
            match bring(peer, document.clone()).await {
                Ok(ack) => {
                    self.answered(&peer.address);
                    let rates = Report { full: false, vms: Vec::new(), facts: None, foreign_vms: None, ..report.clone() };
                    let others = managers.iter().enumerate().filter(|(other, _)| *other != n);
                    others.for_each(|(_, p)| self.also_tell(p.clone(), &rates));
                    self.learn(&ack.managers);
                    return Ok(ack);
                }
                // What a manager refuses, the next would refuse as well.
                Err(e) if e.code != ErrorCode::Unavailable => return Err(e),
                Err(e) => last = e,
            }
        }
        Err(last)
    }

    async fn fetch_image(&self, image: &ImageRef, offset: u64) -> Result<BoxStream<'static, Result<Vec<u8>>>> {
        let mut last = Error::unavailable("No manager is known.");
        let mut away = None;
        for mut peer in self.in_order() {
            let request = FetchRequest { image: image.id.to_string(), offset };
            match peer.client.fetch_image(request).await {
                Ok(reply) => return Ok(reply.into_inner().map(|r| r.map(|b| b.data).map_err(|s| from_status(&s))).boxed()),
                Err(s) => last = from_status(&s),
            }
            match last.code {
                // The content lies with another manager.
                ErrorCode::NotFound => {}
                ErrorCode::Unavailable => away = Some(peer.address),
                _ => return Err(last),
            }
        }
        match away {
            Some(address) => Err(Error::unavailable(format!("The content of image {} is on a manager that does not answer ({address}).", image.id))
                .with_hint("Start that manager, or let all managers use one folder for images.")),
            None => Err(last),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(managers: &[&str]) -> Identity {
        let key = identity::request().unwrap();
        Identity {
            host: virga_model::HostId(uuid::Uuid::nil()),
            manager: "a:1".into(),
            managers: managers.iter().map(ToString::to_string).collect(),
            address: "h:1".into(),
            certificate_pem: String::new(),
            ca_pem: String::new(),
            key_pem: key.key_pem,
        }
    }

    #[test]
    fn the_manager_that_was_joined_stays_a_last_resort() {
        assert_eq!(identity(&[]).addresses(), ["a:1"]);
        assert_eq!(identity(&["b:1", "c:1"]).addresses(), ["b:1", "c:1", "a:1"]);
        assert_eq!(identity(&["b:1", "a:1"]).addresses(), ["b:1", "a:1"]);
    }

    #[test]
    fn an_identity_of_before_is_still_read_and_lists_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let mut old = serde_json::to_value(identity(&["b:1"])).unwrap();
        old.as_object_mut().unwrap().remove("managers");
        std::fs::write(dir.path().join("identity.json"), old.to_string()).unwrap();
        let mut read = Identity::load(dir.path()).unwrap().unwrap();
        assert_eq!(read.addresses(), ["a:1"]);
        read.managers = vec!["b:1".into()];
        read.save(dir.path()).unwrap();
        assert_eq!(Identity::load(dir.path()).unwrap().unwrap().addresses(), ["b:1", "a:1"]);
    }
}
