//! The event stream: server-sent events with resume.
//!
//! Each reader has a small bounded buffer; one that does not read is cut off and resumes where it was. The right to
//! read is looked at again every few seconds, so that a stream never outlives its session or its role.

use crate::auth::{self, Caller};
use crate::event;
use crate::http::{Api, Op};
use bytes::Bytes;
use dropshot::Body;
use http::{HeaderMap, Method, Response, header};
use http_body::Frame;
use http_body_util::StreamBody;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use virga_model::{Error, ErrorCode};

/// A comment at least so often, so that nobody in between takes the connection for dead.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How often a stream looks without being told, for events of other managers.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How often the right to read is looked at again.
const RIGHTS_EVERY: Duration = Duration::from_secs(5);
/// A reader that takes nothing for so long is cut off.
const SLOW_MAX: Duration = Duration::from_secs(30);
/// Events read at once.
const CHUNK: u32 = 200;
/// Chunks that wait for the reader.
const BUFFER: usize = 4;

type Part = Result<Frame<Bytes>, std::io::Error>;

/// Opens a stream that begins after `since`, else after `last` (the header), else now.
///
/// # Errors
/// Malformed for a wrong position, TooMany when too many streams are open.
pub async fn open(op: &Op, headers: HeaderMap, since: Option<i64>, last: Option<String>) -> Result<Response<Body>, Error> {
    let wrong = |_| Error::malformed_field("last-event-id", "Last-Event-ID must be the id of an event.");
    let position = match (last.as_deref().map(str::trim).filter(|l| !l.is_empty()), since) {
        // A browser that reconnects sends the header with the position it reached; the address is still the first one.
        (Some(l), _) => Some(l.parse::<i64>().map_err(wrong)?),
        (None, s) => s,
    };
    let mut tx = op.read().await?;
    let latest = virga_store::event::latest_id(&mut tx).await?;
    drop(tx);
    let after = position.unwrap_or(latest).clamp(0, latest);
    let permit = op.api.streams.clone().try_acquire_owned();
    let permit = permit.map_err(|_| Error::new(ErrorCode::TooMany, "Too many event streams are open.").with_hint("Try again later."))?;
    let (sender, receiver) = mpsc::channel::<Part>(BUFFER);
    let mut reader = Reader { api: op.api.clone(), headers, caller: op.caller.clone(), after, sender };
    tokio::spawn(async move {
        let _permit = permit;
        reader.serve().await;
    });
    let body = Body::wrap(StreamBody::new(ReceiverStream::new(receiver)));
    let mut answer = crate::system::raw("text/event-stream", None, body)?;
    answer.headers_mut().insert("x-accel-buffering", header::HeaderValue::from_static("no"));
    Ok(answer)
}

struct Reader {
    api: Arc<Api>,
    headers: HeaderMap,
    caller: Caller,
    after: i64,
    sender: mpsc::Sender<Part>,
}

impl Reader {
    /// Serves until the reader goes, falls behind, loses the right, or the manager stops.
    async fn serve(&mut self) {
        let (mut changed, mut stop) = (self.api.m.events.subscribe(), self.api.stop.clone());
        let (mut sent_at, mut rights_at) = (Instant::now(), Instant::now());
        if !self.send(": events\n\n".into()).await {
            return;
        }
        while !*stop.borrow() && !self.sender.is_closed() {
            changed.mark_unchanged();
            if rights_at.elapsed() >= RIGHTS_EVERY {
                rights_at = Instant::now();
                if !self.still_allowed().await {
                    return;
                }
            }
            let Ok(text) = self.next().await else { return };
            if let Some(text) = text {
                if !self.send(text).await {
                    return;
                }
                sent_at = Instant::now();
                continue;
            }
            if sent_at.elapsed() >= HEARTBEAT {
                if !self.send(": \n\n".into()).await {
                    return;
                }
                sent_at = Instant::now();
            }
            tokio::select! {
                _ = changed.changed() => {}
                _ = stop.changed() => {}
                () = self.sender.closed() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    async fn send(&self, text: String) -> bool {
        self.sender.send_timeout(Ok(Frame::data(Bytes::from(text))), SLOW_MAX).await.is_ok()
    }

    async fn still_allowed(&mut self) -> bool {
        let m = &self.api.m;
        match auth::authenticate(m, &self.headers, &Method::GET, &self.caller.source).await {
            Ok(caller) => {
                self.caller = caller;
                !self.caller.must_change
            }
            // A busy database is no reason to cut anybody off.
            Err(e) => e.code == ErrorCode::Unavailable,
        }
    }

    /// The next events as text; none: there is nothing new.
    async fn next(&mut self) -> Result<Option<String>, Error> {
        let visible = event::visible(&self.caller);
        if !visible.any() {
            return Ok(None);
        }
        let mut tx = self.api.m.store.read().await?;
        let events = virga_store::event::after(&mut tx, self.after, CHUNK, &visible).await?;
        drop(tx);
        let Some(last) = events.last().map(|e| e.id) else { return Ok(None) };
        self.after = last;
        let mut text = String::new();
        for e in events.into_iter().filter(|e| event::may_see(&self.caller, e)) {
            let (id, kind) = (e.id, e.kind.replace(['\n', '\r'], " "));
            let json = serde_json::to_string(&event::shape(e)).map_err(|e| Error::internal(e.to_string()))?;
            text.push_str(&format!("id: {id}\nevent: {kind}\ndata: {json}\n\n"));
        }
        // When nothing of it may be seen, the position still moves on.
        Ok(Some(if text.is_empty() { format!(": {last}\n\n") } else { text }))
    }
}
