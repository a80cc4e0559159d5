//! Targets of lines and words that people and programs send: filters, queries, credentials, files of the user, events.

use crate::{Target, mark};
use http::{HeaderMap, HeaderName, HeaderValue};
use virga_api::v1::{DryRunQuery, EventStreamQuery, ImageContentQuery, ListQuery, Problem, TaskWaitQuery, VmDeleteQuery, from_query};
use virga_manager::auth::credential_of;
use virga_manager::secret::{Kind, stored_form};
use virga_model::filter::{self, Filter};
use virga_model::name::printable;
use virga_model::{Time, size};

/// The filter language.
pub const FILTER: Target = Target { name: "filter", about: "the filter language of lists", run: filter_language, words: FILTER_WORDS };

pub(super) const FILTER_WORDS: &[&str] =
    &["and", "or", "not", "in", "(", ")", "=", "!=", "<", "<=", ">", ">=", "~", ",", "\"", "\\", "name", "state", "label.env", "4GiB", "true"];

fn filter_language(data: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(data);
    match filter::parse(&text) {
        Ok(f) => {
            assert!(text.len() <= filter::FILTER_BYTES_MAX && terms(&f) <= filter::TERMS_MAX && depth(&f) <= 2 * (filter::TERMS_MAX + filter::DEPTH_MAX));
            mark(&format!("{f:?}").chars().filter(char::is_ascii_uppercase).take(60).collect::<String>())
        }
        Err(e) => {
            assert!(e.message.len() < 1000 && e.violations.len() == 1, "{e}");
            mark(&e.message)
        }
    }
}

fn terms(f: &Filter) -> usize {
    match f {
        Filter::And(a, b) | Filter::Or(a, b) => terms(a) + terms(b),
        Filter::Not(a) => terms(a),
        Filter::Term { .. } => 1,
    }
}

fn depth(f: &Filter) -> usize {
    match f {
        Filter::And(a, b) | Filter::Or(a, b) => 1 + depth(a).max(depth(b)),
        Filter::Not(a) => 1 + depth(a),
        Filter::Term { .. } => 1,
    }
}

/// Sizes and times as people write them.
pub const SIZE_AND_TIME: Target = Target {
    name: "size-and-time",
    about: "sizes such as 4GiB and times such as 2026-01-31T12:00:00Z",
    run: size_and_time,
    words: &["KiB", "MiB", "GiB", "TiB", "EiB", "Z", "T", "+01:00", "-", ":", ".", "e"],
};

fn size_and_time(data: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(data);
    let (bytes, time) = (size::parse(&text), Time::parse(&text));
    if let Ok(b) = &bytes {
        assert!(!size::human(*b).is_empty());
    }
    if let Some(t) = time {
        // What is shown means the same again.
        assert_eq!(Time::parse(&t.to_string()), Some(t), "{text}");
    }
    mark(&format!("{} {}", bytes.is_ok(), time.is_some()))
}

/// Query strings of every operation.
pub const QUERY: Target = Target {
    name: "query",
    about: "query strings of the public API",
    run: query,
    words: &[
        "limit=",
        "page_token=",
        "filter=",
        "sort=",
        "fields=",
        "total=",
        "dry_run=",
        "force=",
        "wait=",
        "since=",
        "sha256=",
        "true",
        "&",
        "%00",
        "%ff",
        "+",
    ],
};

fn query(data: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(data);
    let outcomes = [
        from_query::<ListQuery>(&text).err(),
        from_query::<DryRunQuery>(&text).err(),
        from_query::<VmDeleteQuery>(&text).err(),
        from_query::<TaskWaitQuery>(&text).err(),
        from_query::<EventStreamQuery>(&text).err(),
        from_query::<ImageContentQuery>(&text).err(),
    ];
    let mut told = String::new();
    for p in outcomes.into_iter().flatten().map(Problem::from) {
        assert!(p.status == 400 && p.violations.len() == 1 && p.detail.chars().count() < 400, "{p}");
        assert!(p.detail.chars().all(printable), "{p}");
        told.push_str(p.detail.get(..60).unwrap_or_default());
    }
    mark(&told)
}

/// Cookies, bearer tokens and the secrets in them: the lines are headers.
pub const CREDENTIALS: Target = Target {
    name: "credentials",
    about: "cookies, bearer tokens, tickets",
    run: credentials,
    words: &["authorization: Bearer ", "cookie: __Host-virga=", "vs_", "vt_", "vj_", "vc_", "vx_", ";", "=", "\n", " "],
};

fn credentials(data: &[u8]) -> u64 {
    let mut headers = HeaderMap::new();
    for line in data.split(|b| *b == b'\n') {
        let at = line.iter().position(|b| *b == b':').unwrap_or(line.len());
        let (name, value) = line.split_at(at);
        let value = value.get(1..).unwrap_or_default();
        if let (Ok(n), Ok(v)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            headers.append(n, v);
        }
    }
    match credential_of(&headers) {
        Ok((secret, by_cookie)) => {
            let kinds = [Kind::Session, Kind::Token, Kind::Join, Kind::Ticket, Kind::Csrf];
            let fits = kinds.iter().filter(|k| stored_form(**k, &secret).is_some()).count();
            // No text is a secret of two kinds.
            assert!(fits <= 1);
            mark(&format!("{by_cookie} {}", "fits ".repeat(fits)))
        }
        Err(e) => {
            // Nothing of a wrong secret comes back.
            assert!(e.message.len() < 200);
            mark(&e.message)
        }
    }
}

/// The file with which a host joins.
pub const JOIN_FILE: Target =
    Target { name: "join-file", about: "the file with which a host joins", run: join_file, words: &["eyJ", "=", "-", "_", "\n", "InNlY3JldCI6"] };

fn join_file(data: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(data);
    match virga_agent::identity::read_join_file(&text) {
        Ok(_) => mark("read"),
        Err(e) => mark(&e.message),
    }
}

/// The file of the command line.
pub const CONTEXTS: Target = Target {
    name: "contexts",
    about: "the command line's file of contexts",
    run: contexts,
    words: &["current = ", "[contexts.a]", "url = ", "token = ", "ca_pem = ", "\"\"\"", "'", "https://", "http://", "[[", "]]", "\\u0000"],
};

fn contexts(data: &[u8]) -> u64 {
    mark(if virga_cli::foreign::contexts(&String::from_utf8_lossy(data)) { "read" } else { "refused" })
}

/// The event stream, as the command line reads it.
pub const EVENTS: Target = Target {
    name: "events",
    about: "server-sent events, as the command line reads them",
    run: events,
    words: &["data: ", "id: ", "event: ", "retry: ", ": ", "\n\n", "\r\n", "\r", "\u{feff}"],
};

fn events(data: &[u8]) -> u64 {
    let whole = virga_cli::foreign::events(data, data.len());
    // However a stream is cut, it says the same.
    for piece in [1, 7] {
        assert_eq!(virga_cli::foreign::events(data, piece), whole);
    }
    mark(&whole.map_or("refused".into(), |m| "message ".repeat(m.len().min(5))))
}
