//! `vm console`: the serial console in this terminal. Also the WebSocket that `vm vnc` uses.

use crate::app::App;
use crate::client::{json, types, v1};
use crate::error::{Exit, Failure, Result};
use crate::human;
use crate::json::text;
use crate::terminal::Restore;
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use std::io::{IsTerminal, Read, Write};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

/// Ctrl-].
const LEAVE: u8 = 0x1d;
/// Pieces of input that may wait to be sent.
const QUEUE: usize = 64;
/// Time between two pings, which keep the connection open through middle boxes.
const PING: Duration = Duration::from_secs(20);

/// Options of `console`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  virga vm console web-1\n  virga console web-1\n  echo uptime | virga vm console web-1 --linger 5s\n  virga vm console web-1 --linger 0 </dev/null >web-1.log"
)]
pub(crate) struct Args {
    /// Name or id.
    vm: String,
    /// Leave the terminal as it is: lines are sent when they are complete, and Ctrl-C ends the command.
    #[arg(long)]
    no_raw: bool,
    /// After the end of piped input, leave when the guest has been silent for so long; 0 stays.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = human::parse_duration)]
    linger: Duration,
}

/// An open console.
pub(crate) type Socket = WebSocketStream<reqwest::Upgraded>;

/// Opens a console of `vm`. Each call takes a new ticket, which is good once.
pub(crate) async fn open(app: &App, vm: &str, kind: types::ConsoleKind) -> Result<Socket> {
    let api = app.api()?;
    let ticket = json(api.v1.vm_console().vm(vm).body(types::ConsoleRequest { kind }).send().await)?;
    let secret = text(&ticket, "path").rsplit('/').next().unwrap_or_default().to_string();
    let upgraded = match api.slow.console_connect().ticket(secret).send().await {
        Ok(r) => r.into_inner(),
        Err(v1::Error::UnexpectedResponse(r)) => {
            let status = r.status().as_u16();
            let body = r.json().await.unwrap_or_default();
            return Err(Failure::from_problem(status, &body));
        }
        Err(v1::Error::CommunicationError(e) | v1::Error::InvalidUpgrade(e)) => return Err(e.into()),
        Err(e) => return Err(Failure::failed(e.to_string())),
    };
    Ok(WebSocketStream::from_raw_socket(upgraded, Role::Client, None).await)
}

/// `vm console`.
pub(crate) async fn run(app: &App, a: Args) -> Result {
    let mut socket = open(app, &a.vm, types::ConsoleKind::Serial).await?;
    let terminal = std::io::stdin().is_terminal();
    let raw = terminal && !a.no_raw;
    if terminal {
        let leave = if raw { "Ctrl-]" } else { "Ctrl-C" };
        eprintln!("console of {}; {leave} leaves\r", a.vm);
    }
    let restore = if raw { Some(Restore::raw()?) } else { None };
    let linger = (!a.linger.is_zero()).then_some(a.linger);
    let end = carry(&mut socket, read_stdin(), raw, linger).await;
    drop(restore);
    if terminal {
        eprintln!();
    }
    let _ = tokio::time::timeout(Duration::from_secs(1), socket.close(None)).await;
    end
}

/// Reads stdin in a thread of its own, because a terminal cannot be read otherwise.
fn read_stdin() -> mpsc::Receiver<Vec<u8>> {
    let (to, from) = mpsc::channel(QUEUE);
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        let mut stdin = std::io::stdin().lock();
        while let Ok(n @ 1..) = stdin.read(&mut buffer) {
            if to.blocking_send(buffer[..n].to_vec()).is_err() {
                return;
            }
        }
    });
    from
}

/// Carries bytes both ways until somebody ends it.
async fn carry(socket: &mut Socket, mut input: mpsc::Receiver<Vec<u8>>, raw: bool, linger: Option<Duration>) -> Result {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut term, mut hangup) = (signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut ping = tokio::time::interval(PING);
    let mut open = true;
    let mut heard = Instant::now();
    loop {
        let silence = async {
            match (open, linger) {
                (false, Some(l)) => tokio::time::sleep_until(heard + l).await,
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            message = socket.next() => match show(message)? {
                Heard::Bytes => heard = Instant::now(),
                Heard::Nothing => {}
                Heard::End => return Ok(()),
            },
            bytes = input.recv(), if open => match bytes {
                Some(bytes) => match keys(&bytes, raw) {
                    (send, false) => send_bytes(socket, send).await?,
                    (send, true) => return send_bytes(socket, send).await,
                },
                None => (open, heard) = (false, Instant::now()),
            },
            () = silence => return Ok(()),
            _ = ping.tick() => socket.send(Message::Ping(Bytes::new())).await.map_err(broken)?,
            _ = interrupt.recv() => return Err(Failure::new(Exit::Interrupted, "interrupted")),
            _ = term.recv() => return Err(Failure::new(Exit::Interrupted, "terminated")),
            _ = hangup.recv() => return Err(Failure::new(Exit::Interrupted, "the terminal is gone")),
        }
    }
}

/// What to send of typed bytes, and whether Ctrl-] was among them.
fn keys(bytes: &[u8], raw: bool) -> (Vec<u8>, bool) {
    match bytes.iter().position(|b| raw && *b == LEAVE) {
        Some(at) => (bytes[..at].to_vec(), true),
        None => (bytes.to_vec(), false),
    }
}

async fn send_bytes(socket: &mut Socket, bytes: Vec<u8>) -> Result {
    if bytes.is_empty() {
        return Ok(());
    }
    socket.send(Message::Binary(bytes.into())).await.map_err(broken)
}

/// What came of the guest.
enum Heard {
    /// Output.
    Bytes,
    /// Only signs of life of the connection.
    Nothing,
    /// The end.
    End,
}

/// Writes what came.
fn show(message: Option<std::result::Result<Message, tokio_tungstenite::tungstenite::Error>>) -> Result<Heard> {
    let bytes = match message {
        None | Some(Ok(Message::Close(None))) => return Ok(Heard::End),
        Some(Ok(Message::Close(Some(frame)))) if frame.reason.is_empty() => return Ok(Heard::End),
        Some(Ok(Message::Close(Some(frame)))) => return Err(Failure::failed(format!("the console was closed: {}", frame.reason))),
        Some(Ok(Message::Binary(b))) => b,
        Some(Ok(Message::Text(t))) => Bytes::from(t),
        Some(Ok(_)) => return Ok(Heard::Nothing),
        Some(Err(e)) => return Err(broken(e)),
    };
    let mut out = std::io::stdout().lock();
    out.write_all(&bytes)?;
    out.flush()?;
    Ok(Heard::Bytes)
}

/// A console that broke off.
pub(crate) fn broken(e: tokio_tungstenite::tungstenite::Error) -> Failure {
    Failure::new(Exit::Unreachable, format!("the console broke off: {e}")).hint("the VM may have stopped or its host may not be reachable: virga vm explain")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ctrl_bracket_leaves_only_in_raw_mode() {
        assert_eq!(keys(b"ab\x1dcd", true), (b"ab".to_vec(), true));
        assert_eq!(keys(b"ab\x1dcd", false), (b"ab\x1dcd".to_vec(), false));
        assert_eq!(keys(b"ab\x03", true), (b"ab\x03".to_vec(), false));
    }
}
