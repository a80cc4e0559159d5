//! Consoles: a ticket that is good once, and the bridge between a WebSocket and the VM's console on its host.
//!
//! A ticket is bound to its user and its VM; the right to the console is checked when the ticket is given, when it is
//! used, and every few seconds while the console is open. Buffers are bounded in both directions.

use crate::auth;
use crate::event::{self, Note};
use crate::http::{Api, Op};
use crate::node::client::Duplex;
use crate::secret::{self, Kind};
use bytes::Bytes;
use dropshot::Body;
use futures::{SinkExt, StreamExt};
use http::{HeaderMap, Response, StatusCode, header};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use virga_api::v1::{ConsoleTicket as Answer, WebsocketUpgrade};
use virga_model::host::Host;
use virga_model::role::{Privilege, Scope};
use virga_model::task::ObjectRef;
use virga_model::user::{ConsoleKind, ConsoleTicket, TICKET_SECONDS, User};
use virga_model::vm::{Vm, VmState};
use virga_model::{Error, ErrorCode, UserId, VmId};
use virga_store::Tx;

/// Bytes read from a console at once.
const CHUNK_BYTES: usize = 32 << 10;
/// Largest WebSocket message of a caller.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// How often the right to an open console is looked at again.
const RIGHTS_EVERY: Duration = Duration::from_secs(5);
/// Longest wait for a picture or a connection to a host.
const HOST_WAIT_MAX: Duration = Duration::from_secs(15);
/// A side that takes nothing for so long is cut off.
const SLOW_MAX: Duration = Duration::from_secs(60);

/// The host of a VM whose screen can be seen.
async fn host_of(tx: &mut Tx, vm: &Vm) -> Result<Host, Error> {
    if !matches!(vm.observed.state, VmState::Running | VmState::Paused) {
        return Err(Error::conflict(format!("VM {} has no console, because it is {}.", vm.name, vm.observed.state)).with_hint("Start it first."));
    }
    let host = match vm.host {
        Some(id) => virga_store::host::get(tx, id).await?,
        None => None,
    };
    host.ok_or_else(|| Error::conflict(format!("VM {} is on no host.", vm.name)))
}

/// The screen of a running VM.
///
/// # Errors
/// NotFound, Forbidden, Conflict when it does not run, Unavailable when its host does not answer.
pub async fn screenshot(op: &Op, name: &str) -> Result<Response<Body>, Error> {
    let mut tx = op.read().await?;
    let vm = crate::vm::load(op, &mut tx, name, Privilege::VmConsole).await?;
    let host = host_of(&mut tx, &vm).await?;
    drop(tx);
    let picture = tokio::time::timeout(HOST_WAIT_MAX, op.m.nodes.screenshot(&host, vm.id)).await.map_err(|_| no_answer(&vm))??;
    crate::system::raw("image/png", None, picture)
}

fn no_answer(vm: &Vm) -> Error {
    Error::unavailable(format!("The host of VM {} does not answer.", vm.name)).with_hint("Try again in a moment.")
}

/// A one-time permission to open a console.
///
/// # Errors
/// NotFound, Forbidden, Conflict when the VM does not run.
pub async fn ticket(op: &Op, name: &str, kind: ConsoleKind) -> Result<Answer, Error> {
    let made = secret::generate(Kind::Ticket);
    let mut tx = op.write().await?;
    let vm = crate::vm::load(op, &mut tx, name, Privilege::VmConsole).await?;
    host_of(&mut tx, &vm).await?;
    let expires_at = op.now.plus_seconds(TICKET_SECONDS);
    let ticket = ConsoleTicket { secret_sha256: made.sha256, user: op.caller.user, vm: vm.id, kind, expires_at };
    virga_store::ticket::insert(&mut tx, &ticket).await?;
    op.audit(&mut tx, ObjectRef::Vm(vm.id), &vm.name, &format!("ticket for console {kind:?}")).await?;
    let answer = Answer { path: format!("/v1/consoles/{}", made.text), expires_at };
    op.commit(tx, &answer, None).await?;
    Ok(answer)
}

fn bad_ticket() -> Error {
    Error::new(ErrorCode::Unauthenticated, "The console ticket is not valid: it is wrong, was used, or has expired.")
        .with_hint("Ask for a new one with POST /v1/vms/{vm}/consoles.")
}

/// A browser says from which page it comes; a page of somebody else must not open consoles.
fn check_origin(headers: &HeaderMap) -> Result<(), Error> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let own = headers.get(header::HOST).and_then(|h| h.to_str().ok()).map(|h| format!("https://{h}"));
    if own.is_some_and(|own| origin.as_bytes().eq_ignore_ascii_case(own.as_bytes())) {
        return Ok(());
    }
    Err(Error::new(ErrorCode::Forbidden, "A page of another site may not open a console here."))
}

/// Opens the console that `ticket` is good for.
///
/// # Errors
/// Unauthenticated for a bad ticket, Forbidden for a foreign page or a right that is gone, Conflict, Unavailable.
pub async fn connect(op: &Op, ticket: &str, headers: &HeaderMap, upgrade: WebsocketUpgrade) -> Result<Response<Body>, Error> {
    check_origin(headers)?;
    let sha = secret::stored_form(Kind::Ticket, ticket).ok_or_else(bad_ticket)?;
    let mut tx = op.m.store.write().await?;
    // Taken in any case: what follows may fail, the ticket is used.
    let taken = virga_store::ticket::take(&mut tx, &sha, op.now).await?;
    tx.commit().await?;
    let t = taken.ok_or_else(bad_ticket)?;
    let mut tx = op.m.store.write().await?;
    let (user, vm) = allowed(&mut tx, t.user, t.vm).await?.ok_or_else(bad_ticket)?;
    let host = host_of(&mut tx, &vm).await?;
    let mut record = op.record(ObjectRef::Vm(vm.id), &vm.name, "ok", &format!("console {:?} opened", t.kind));
    (record.user, record.actor) = (Some(user.id), user.name.clone());
    virga_store::audit::append(&mut tx, &record).await?;
    let message = format!("{} opened the console.", user.name);
    event::append(&mut tx, &Note::vm(op.now, "vm.console_opened", &vm, &message)).await?;
    tx.commit().await?;
    op.note_recorded();
    op.m.committed();
    let permit = op.api.streams.clone().try_acquire_owned();
    let permit = permit.map_err(|_| Error::new(ErrorCode::TooMany, "Too many consoles are open.").with_hint("Try again later."))?;
    let console = tokio::time::timeout(HOST_WAIT_MAX, op.m.nodes.console(&host, vm.id, t.kind)).await.map_err(|_| no_answer(&vm))??;
    let (api, user, vm) = (op.api.clone(), user.id, vm.id);
    let mut request = http::Request::new(());
    *request.extensions_mut() = upgrade.extensions;
    let switched = hyper::upgrade::on(&mut request);
    virga_crash::spawn(async move {
        let _permit = permit;
        match switched.await {
            Ok(connection) => bridge(api, user, vm, connection, console).await,
            Err(e) => tracing::debug!(error = %e, "a connection did not become a WebSocket"),
        }
    });
    let answer = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS).header(header::CONNECTION, "upgrade");
    let answer = answer.header(header::UPGRADE, "websocket").header(header::SEC_WEBSOCKET_ACCEPT, derive_accept_key(upgrade.key.as_bytes()));
    answer.body(Body::empty()).map_err(|_| Error::internal("The connection could not become a WebSocket."))
}

/// The user and the VM of a ticket, while the one may still open the console of the other.
async fn allowed(tx: &mut Tx, user: UserId, vm: VmId) -> Result<Option<(User, Vm)>, Error> {
    let (user, vm) = (virga_store::user::get(tx, user).await?, virga_store::vm::get(tx, vm).await?);
    let (Some(user), Some(vm)) = (user.filter(|u| !u.disabled), vm) else { return Ok(None) };
    let target = auth::target(&vm);
    let bindings = auth::bindings(tx, user.id, None).await?;
    let may = bindings.iter().any(|(r, s): &(_, Scope)| r.has(Privilege::VmConsole) && s.covers(user.id, &target));
    Ok(may.then_some((user, vm)))
}

/// Passes bytes both ways until one side ends, the right is gone, or the manager stops.
async fn bridge(api: Arc<Api>, user: UserId, vm: VmId, connection: Upgraded, console: Box<dyn Duplex>) {
    let config = WebSocketConfig::default().max_message_size(Some(MESSAGE_BYTES_MAX)).max_frame_size(Some(MESSAGE_BYTES_MAX));
    let socket = WebSocketStream::from_raw_socket(TokioIo::new(connection), Role::Server, Some(config)).await;
    let (mut out, mut from_caller) = socket.split();
    let (mut from_vm, mut to_vm) = tokio::io::split(console);
    let towards_vm = async {
        while let Some(Ok(message)) = from_caller.next().await {
            let data = match message {
                Message::Binary(data) => data,
                Message::Text(text) => Bytes::from(text),
                Message::Close(_) => break,
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => continue,
            };
            let written = async {
                to_vm.write_all(&data).await?;
                to_vm.flush().await
            };
            if !matches!(tokio::time::timeout(SLOW_MAX, written).await, Ok(Ok(()))) {
                break;
            }
        }
    };
    let towards_caller = async {
        let mut buffer = vec![0u8; CHUNK_BYTES];
        while let Ok(n) = from_vm.read(&mut buffer).await {
            let Some(data) = buffer.get(..n).filter(|d| !d.is_empty()) else { break };
            let sent = out.send(Message::Binary(Bytes::copy_from_slice(data)));
            if !matches!(tokio::time::timeout(SLOW_MAX, sent).await, Ok(Ok(()))) {
                break;
            }
        }
        let _ = tokio::time::timeout(Duration::from_secs(5), out.close()).await;
    };
    let mut stop = api.stop.clone();
    tokio::select! {
        () = towards_vm => {}
        () = towards_caller => {}
        () = until_forbidden(&api, user, vm) => {}
        _ = stop.wait_for(|s| *s) => {}
    }
}

async fn until_forbidden(api: &Api, user: UserId, vm: VmId) {
    loop {
        tokio::time::sleep(RIGHTS_EVERY).await;
        let look = async {
            let mut tx = api.m.store.read().await?;
            allowed(&mut tx, user, vm).await
        };
        if matches!(look.await, Ok(None)) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_other_sites_are_refused() {
        let headers = |origin: &str| HeaderMap::from_iter([(header::HOST, "cloud:8443".parse().unwrap()), (header::ORIGIN, origin.parse().unwrap())]);
        assert!(check_origin(&HeaderMap::new()).is_ok(), "programs send no origin");
        assert!(check_origin(&headers("https://cloud:8443")).is_ok());
        for bad in ["https://evil.example", "http://cloud:8443", "null", "https://cloud:8443.evil.example"] {
            assert!(check_origin(&headers(bad)).is_err(), "{bad}");
        }
    }
}
