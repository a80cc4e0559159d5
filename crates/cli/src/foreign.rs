//! The parsers of what others wrote (the user's file, the manager's stream), for the fuzz targets. Nothing else calls this.

use crate::{config, sse};

/// Reads contexts; whether they were understood.
#[must_use]
pub fn contexts(text: &str) -> bool {
    let read: Result<config::Config, _> = toml::from_str(text);
    read.is_ok_and(|c| c.contexts.values().all(|c| config::checked_url(&c.url).is_ok()))
}

/// Takes an event stream apart, cut into pieces of `piece` bytes: each message's id, kind and data. None when it was refused.
#[must_use]
pub fn events(stream: &[u8], piece: usize) -> Option<Vec<(Option<String>, String, String)>> {
    let mut parser = sse::Parser::default();
    let mut out = Vec::new();
    for part in stream.chunks(piece.max(1)) {
        out.extend(parser.feed(part).ok()?.into_iter().map(|m| (m.id, m.event, m.data)));
    }
    Some(out)
}
