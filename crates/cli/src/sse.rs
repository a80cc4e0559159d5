//! Server-sent events: the parser, and a stream that comes back by itself after a broken connection.

use crate::app::App;
use crate::client;
use crate::error::{Failure, Result};
use futures::StreamExt;
use serde_json::Value;
use std::collections::VecDeque;
use std::time::Duration;

/// Longest line, in bytes; a longer one is not the API's.
const LINE_MAX: usize = 1 << 20;
/// First and longest pause before a broken connection is made again.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Silence after which a connection counts as broken; the manager sends comments in between.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// A message of the stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Message {
    /// Position, to go on after it.
    pub(crate) id: Option<String>,
    /// Kind; empty for `message`.
    pub(crate) event: String,
    /// Lines joined by line ends.
    pub(crate) data: String,
}

/// Takes the stream apart, however it was cut (HTML standard, section 9.2.6).
#[derive(Debug, Default)]
pub(crate) struct Parser {
    line: Vec<u8>,
    after_cr: bool,
    message: Message,
    has_data: bool,
}

impl Parser {
    /// Takes in bytes; answers with the messages that are complete.
    ///
    /// # Errors
    /// When a line is longer than the API ever sends.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Message>> {
        let mut out = Vec::new();
        for &b in bytes {
            let skip = b == b'\n' && self.after_cr;
            self.after_cr = b == b'\r';
            match b {
                _ if skip => {}
                b'\r' | b'\n' => {
                    let line = std::mem::take(&mut self.line);
                    out.extend(self.take_line(&String::from_utf8_lossy(&line)));
                }
                _ if self.line.len() >= LINE_MAX => return Err(Failure::failed("the event stream has a line without end")),
                _ => self.line.push(b),
            }
        }
        Ok(out)
    }

    fn take_line(&mut self, line: &str) -> Option<Message> {
        if line.is_empty() {
            let message = std::mem::take(&mut self.message);
            return std::mem::take(&mut self.has_data).then_some(message);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                if self.has_data {
                    self.message.data.push('\n');
                }
                self.message.data.push_str(value);
                self.has_data = true;
            }
            "id" => self.message.id = Some(value.into()),
            "event" => self.message.event = value.into(),
            _ => {} // a comment, or `retry`
        }
        None
    }
}

/// The events of the manager, without gaps over broken connections.
#[derive(Default)]
pub(crate) struct Follower {
    since: Option<i64>,
    last: Option<String>,
    open: Option<(client::v1::ByteStream, Parser)>,
    ready: VecDeque<Message>,
    pause: Duration,
    was_open: bool,
}

impl Follower {
    /// Events after `since`; from now on when there is none.
    pub(crate) fn new(since: Option<i64>) -> Follower {
        Follower { since, pause: PAUSE_MIN, ..Default::default() }
    }

    /// The next event. Safe to be dropped half-way and called again.
    ///
    /// # Errors
    /// When the manager refuses the stream or was never reached; a connection that breaks is made again.
    pub(crate) async fn next(&mut self, app: &App) -> Result<Value> {
        loop {
            if let Some(event) = self.take() {
                return Ok(event);
            }
            match self.read(app).await {
                Ok(()) => self.pause = PAUSE_MIN,
                Err(e) if e.is_passing() && self.was_open => {
                    self.open = None;
                    if self.pause > PAUSE_MIN {
                        eprintln!("{}; trying again", e.message);
                    }
                    tokio::time::sleep(self.pause).await;
                    self.pause = (self.pause * 2).min(PAUSE_MAX);
                }
                Err(e) => return Err(e),
            }
        }
    }

    /// The next event that has arrived.
    fn take(&mut self) -> Option<Value> {
        while let Some(m) = self.ready.pop_front() {
            if let Some(id) = m.id.filter(|id| !id.is_empty()) {
                self.last = Some(id);
            }
            if let Ok(v) = serde_json::from_str::<Value>(&m.data) {
                return Some(v);
            }
        }
        None
    }

    /// Waits for more bytes; connects first when there is no connection.
    async fn read(&mut self, app: &App) -> Result {
        if self.open.is_none() {
            let mut call = app.api()?.slow.event_stream();
            if let Some(last) = &self.last {
                call = call.last_event_id(last);
            } else if let Some(since) = self.since {
                call = call.since(since);
            }
            self.open = Some((client::stream(call.send().await).await?.into_inner(), Parser::default()));
            self.was_open = true;
        }
        let Some((stream, parser)) = &mut self.open else { return Ok(()) };
        let broken = |why: String| Failure::new(crate::error::Exit::Unreachable, format!("the event stream broke ({why})"));
        match tokio::time::timeout(SILENCE_MAX, stream.next()).await {
            Ok(Some(Ok(bytes))) => {
                self.ready.extend(parser.feed(&bytes)?);
                Ok(())
            }
            Ok(Some(Err(e))) => Err(broken(crate::error::chain(&e))),
            Ok(None) => Err(broken("it ended".into())),
            Err(_) => Err(broken("silence".into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = ": hello\nid: 7\nevent: vm.state_changed\ndata: {\"id\":7}\n\nretry: 1000\n\ndata: a\ndata: b\r\n\r\ndata\n\nid: 9\r\rdata:x\n\n";

    fn messages(chunk: usize) -> Vec<Message> {
        let mut p = Parser::default();
        TEXT.as_bytes().chunks(chunk).flat_map(|c| p.feed(c).expect("messages")).collect()
    }

    #[test]
    fn streams_parse_however_they_are_cut() {
        let whole = messages(TEXT.len());
        assert_eq!(whole[0], Message { id: Some("7".into()), event: "vm.state_changed".into(), data: "{\"id\":7}".into() });
        let data: Vec<&str> = whole[1..].iter().map(|m| m.data.as_str()).collect();
        assert_eq!(data, ["a\nb", "", "x"]);
        for chunk in 1..TEXT.len() {
            assert_eq!(messages(chunk), whole, "cut in {chunk}");
        }
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let mut p = Parser::default();
        assert!(p.feed(&vec![b'x'; LINE_MAX + 1]).is_err());
    }
}
