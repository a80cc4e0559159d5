//! The front of the public API: connections, TLS, deadlines and limits. Behind it are the handlers of [`crate::http`].
//!
//! What comes from the network is bounded before it is looked at: in number (of all, of one address), in size and in time.
//! The numbers are in [`limits`]. This must never know an operation by more than its name.

pub mod answer;
pub mod lanes;
pub mod limits;
pub mod route;
pub mod stream;

use answer::Service;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use limits::{HEAD_BYTES_MAX, HEADERS_MAX, STREAMS_OF_CONNECTION_MAX};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use stream::Guarded;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Wait after the system could give us no connection: usually there is no file descriptor left.
const NO_SOCKET_WAIT: Duration = Duration::from_millis(100);
/// Silence after which an HTTP/2 peer is asked whether it is still there, and how long it may take to say so.
const H2_ASK_EVERY: Duration = Duration::from_secs(20);
/// What an HTTP/2 peer may send ahead of our reading: on each stream, and on the connection.
const H2_WINDOW_BYTES: u32 = 64 * 1024;
/// What waits to go out on a stream of HTTP/2.
const H2_SEND_BYTES_MAX: usize = 64 * 1024;

/// Serves until `stop`, and then until the connections have ended.
pub async fn serve(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    service: Arc<Service>,
    mut handlers: mpsc::Receiver<()>,
    mut stop: watch::Receiver<bool>,
) {
    let acceptor = TlsAcceptor::from(tls);
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|s| *s) => None,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => Some(accepted),
        };
        let (socket, peer) = match accepted {
            None => break,
            Some(Ok(pair)) => pair,
            Some(Err(e)) => {
                wait_for_sockets(&e).await;
                continue;
            }
        };
        let Some(place) = service.lanes.connect(peer.ip(), service.limits.is_proxy(peer.ip())) else {
            // Closed at once: who has too many learns it now, and others are not held up.
            service.api.counters.count("connection", 503, Duration::ZERO);
            continue;
        };
        let (service, acceptor, stop) = (service.clone(), acceptor.clone(), stop.clone());
        connections.spawn(virga_crash::carry(async move {
            connection(socket, peer, acceptor, service, stop).await;
            drop(place);
        }));
    }
    drop((listener, service));
    while connections.join_next().await.is_some() {}
    // The last handler at work drops the last sender.
    while handlers.recv().await.is_some() {}
}

/// An aborted connection is nothing; no descriptor left is, and asking again at once would only burn the processor.
async fn wait_for_sockets(e: &std::io::Error) {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if !matches!(e.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
        tracing::warn!(error = %e, "no connection can be taken");
        tokio::time::sleep(NO_SOCKET_WAIT).await;
    }
}

async fn connection(socket: TcpStream, peer: SocketAddr, acceptor: TlsAcceptor, service: Arc<Service>, stop: watch::Receiver<bool>) {
    let deadlines = service.limits.deadlines;
    let _ = socket.set_nodelay(true);
    let tls = match tokio::time::timeout(deadlines.handshake, acceptor.accept(socket)).await {
        Ok(Ok(tls)) => tls,
        Ok(Err(e)) => return tracing::debug!(%peer, error = %e, "TLS handshake failed"),
        Err(_) => return tracing::debug!(%peer, "TLS handshake took too long"),
    };
    let second = tls.get_ref().1.alpn_protocol() == Some(b"h2");
    let stream = TokioIo::new(Guarded::new(tls, deadlines));
    let ended = if second { serve_http2(stream, peer, service, stop).await } else { serve_http1(stream, peer, service, stop).await };
    if let Err(e) = ended {
        tracing::debug!(%peer, error = %e, "connection ended early");
    }
}

type Stream = TokioIo<Guarded<TlsStream<TcpStream>>>;

async fn serve_http1(stream: Stream, peer: SocketAddr, service: Arc<Service>, mut stop: watch::Receiver<bool>) -> hyper::Result<()> {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(service.limits.deadlines.head).max_headers(HEADERS_MAX).max_buf_size(HEAD_BYTES_MAX);
    let answer = service_fn(move |request| {
        let service = service.clone();
        async move { Ok::<_, Infallible>(service.answer(request, peer).await) }
    });
    let mut served = std::pin::pin!(builder.serve_connection(stream, answer).with_upgrades());
    tokio::select! {
        ended = &mut served => return ended,
        _ = stop.wait_for(|s| *s) => served.as_mut().graceful_shutdown(),
    }
    served.await
}

async fn serve_http2(stream: Stream, peer: SocketAddr, service: Arc<Service>, mut stop: watch::Receiver<bool>) -> hyper::Result<()> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(H2_ASK_EVERY)
        .keep_alive_timeout(H2_ASK_EVERY)
        .max_concurrent_streams(STREAMS_OF_CONNECTION_MAX)
        .max_header_list_size(HEAD_BYTES_MAX as u32)
        .initial_stream_window_size(H2_WINDOW_BYTES)
        .initial_connection_window_size(4 * H2_WINDOW_BYTES)
        .max_send_buf_size(H2_SEND_BYTES_MAX);
    let answer = service_fn(move |request| {
        let service = service.clone();
        async move { Ok::<_, Infallible>(service.answer(request, peer).await) }
    });
    let mut served = std::pin::pin!(builder.serve_connection(stream, answer));
    tokio::select! {
        ended = &mut served => return ended,
        _ = stop.wait_for(|s| *s) => served.as_mut().graceful_shutdown(),
    }
    served.await
}
