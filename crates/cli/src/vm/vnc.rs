//! `vm vnc`: a local port for a VNC viewer.

use crate::app::App;
use crate::client::types::ConsoleKind;
use crate::error::{Failure, Result};
use crate::output;
use crate::vm::console::{self, Socket, broken};
use bytes::Bytes;
use futures::stream::FuturesUnordered;
use futures::{SinkExt, StreamExt};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;

/// Options of `vnc`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  virga vm vnc web-1\n  virga vm vnc web-1 --listen 127.0.0.1:5901 --once\n\nThen: vncviewer ADDRESS, with the address that is printed."
)]
pub(crate) struct Args {
    /// Name or id.
    vm: String,
    /// Address to listen on. Whoever reaches it sees the screen and types, without a password.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// End after the first viewer.
    #[arg(long)]
    once: bool,
}

/// `vm vnc`.
pub(crate) async fn run(app: &App, a: Args) -> Result {
    crate::vm::view(app, &a.vm).await?; // a wrong name is told now, not to the viewer
    if !a.listen.ip().is_loopback() {
        eprintln!("warning: everybody who reaches {} can use this screen", a.listen);
    }
    let listener = TcpListener::bind(a.listen).await.map_err(|e| Failure::failed(format!("{}: {e}", a.listen)))?;
    output::print_line(&listener.local_addr()?.to_string())?;
    let mut viewers = FuturesUnordered::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (viewer, from) = accepted?;
                eprintln!("viewer from {from}");
                viewers.push(serve(app, &a.vm, viewer));
            }
            Some(end) = viewers.next() => {
                if a.once {
                    return end;
                }
                if let Err(e) = end {
                    eprint!("{}", e.render());
                }
            }
        }
    }
}

async fn serve(app: &App, vm: &str, viewer: TcpStream) -> Result {
    let socket = console::open(app, vm, ConsoleKind::Vnc).await?;
    carry(socket, viewer).await
}

/// Carries bytes both ways until one side ends.
async fn carry(mut socket: Socket, viewer: TcpStream) -> Result {
    viewer.set_nodelay(true)?;
    let (mut from, mut to) = viewer.into_split();
    let mut buffer = vec![0; 64 << 10];
    loop {
        tokio::select! {
            n = from.read(&mut buffer) => match n {
                Ok(n @ 1..) => socket.send(Message::Binary(Bytes::copy_from_slice(&buffer[..n]))).await.map_err(broken)?,
                _ => return socket.close(None).await.or(Ok(())),
            },
            message = socket.next() => match message {
                Some(Ok(Message::Binary(b))) => if to.write_all(&b).await.is_err() { return Ok(()) },
                None | Some(Ok(Message::Close(_))) => return Ok(()),
                Some(Ok(_)) => {}
                Some(Err(e)) => return Err(broken(e)),
            },
        }
    }
}
