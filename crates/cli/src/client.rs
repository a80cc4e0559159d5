//! The client of the public API. Its calls are made from `openapi/v1.json` (`build.rs`); this file adds what all calls
//! have in common: the token, TLS, `Idempotency-Key`, patience with a busy manager, and `--debug`.

use crate::config::Connection;
use crate::error::{Failure, Result};
use crate::tls;
use progenitor_client::{ClientHooks, ClientInfo as _, OperationInfo};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use serde_json::Value;
use std::time::{Duration, Instant};

/// The generated client.
#[allow(missing_docs, clippy::all, clippy::pedantic, unused_imports, dead_code, rustdoc::all)]
pub(crate) mod v1 {
    include!(concat!(env!("OUT_DIR"), "/v1.rs"));
}
pub(crate) use v1::types;

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest silence of the manager. More than the longest `?wait=` (60 s) of a task.
const READ_TIMEOUT: Duration = Duration::from_secs(90);
/// Times a call is made while the manager says that there are too many.
const TRIES: u32 = 4;
/// Longest pause before another try.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Fields of requests that `--debug` never shows.
const SECRETS: [&str; 7] = ["password", "current", "new", "token", "secret", "user_data", "network_config"];

/// What every call of the generated client carries along.
#[derive(Clone, Copy, Debug)]
pub struct Wire {
    debug: bool,
}

/// A connection to a manager.
pub(crate) struct Api {
    /// For ordinary calls.
    pub(crate) v1: v1::Client,
    /// For calls that may take any time: uploads, streams, consoles.
    pub(crate) slow: v1::Client,
}

impl Api {
    /// A connection with the token of `connection`, when it has one.
    pub(crate) fn new(connection: &Connection, debug: bool) -> Result<Api> {
        Api::with_token(connection, connection.token.read()?.as_deref(), debug)
    }

    /// A connection with `token`.
    pub(crate) fn with_token(connection: &Connection, token: Option<&str>, debug: bool) -> Result<Api> {
        let mut headers = HeaderMap::new();
        if let Some(token) = token {
            let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| Failure::failed("the token has characters that no token has"))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let base = || -> Result<reqwest::ClientBuilder> {
            let b = reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT).default_headers(headers.clone());
            let b = b.redirect(reqwest::redirect::Policy::none()).tcp_keepalive(Duration::from_secs(30));
            let b = b.user_agent(concat!("virga/", env!("CARGO_PKG_VERSION")));
            if connection.url.starts_with("https:") { Ok(b.tls_backend_preconfigured(tls::client_config(&connection.trust)?)) } else { Ok(b) }
        };
        let wire = Wire { debug };
        Ok(Api {
            v1: v1::Client::new_with_client(&connection.url, base()?.read_timeout(READ_TIMEOUT).build()?, wire),
            slow: v1::Client::new_with_client(&connection.url, base()?.build()?, wire),
        })
    }

    /// Any call, for `virga api`.
    pub(crate) async fn raw(
        &self,
        method: reqwest::Method,
        path: &str,
        headers: Vec<(HeaderName, HeaderValue)>,
        body: Option<Vec<u8>>,
    ) -> Result<reqwest::Response> {
        let url = format!("{}/{}", self.slow.baseurl(), path.trim_start_matches('/'));
        let mut request = self.slow.client().request(method, url);
        if let Some(body) = body {
            request = request.header(reqwest::header::CONTENT_TYPE, "application/json").body(body);
        }
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let info = OperationInfo { operation_id: "raw" };
        let mut request = request.build()?;
        self.slow.pre::<Value>(&mut request, &info).await?;
        Ok(self.slow.exec(request, &info).await?)
    }
}

impl ClientHooks<Wire> for v1::Client {
    /// Every POST can be repeated without doing things twice.
    async fn pre<E>(&self, request: &mut reqwest::Request, _: &OperationInfo) -> std::result::Result<(), v1::Error<E>> {
        const KEY: HeaderName = HeaderName::from_static("idempotency-key");
        if request.method() == reqwest::Method::POST && !request.headers().contains_key(KEY) {
            let key = HeaderValue::from_str(&uuid::Uuid::new_v4().to_string()).map_err(|e| v1::Error::InvalidRequest(e.to_string()))?;
            request.headers_mut().insert(KEY, key);
        }
        Ok(())
    }

    /// Tries again while the manager says that there are too many requests.
    async fn exec(&self, request: reqwest::Request, info: &OperationInfo) -> reqwest::Result<reqwest::Response> {
        let debug = self.inner().debug;
        let mut request = request;
        let mut tries = 0;
        loop {
            tries += 1;
            let again = if tries < TRIES { request.try_clone() } else { None };
            let (label, begun) = (debug.then(|| debug_request(&request, info)), Instant::now());
            let result = self.client().execute(request).await;
            if let Some(label) = label {
                debug_answer(&label, &result, begun.elapsed());
            }
            match (&result, again) {
                (Ok(r), Some(again)) if r.status() == reqwest::StatusCode::TOO_MANY_REQUESTS => {
                    tokio::time::sleep(pause(r.headers())).await;
                    request = again;
                }
                _ => return result,
            }
        }
    }
}

/// How long the manager asks to wait, within reason.
fn pause(headers: &HeaderMap) -> Duration {
    let seconds = headers.get(RETRY_AFTER).and_then(|v| v.to_str().ok()).and_then(|t| t.parse().ok()).unwrap_or(1);
    Duration::from_secs(seconds).min(PAUSE_MAX)
}

/// Shows a request on stderr; answers with its short name.
fn debug_request(request: &reqwest::Request, info: &OperationInfo) -> String {
    let path = shown_path(request.url());
    let label = format!("{} {path}", request.method());
    eprintln!("> {label} ({})", info.operation_id);
    for (name, value) in request.headers() {
        if name == "if-match" || name == "idempotency-key" || name == "last-event-id" {
            eprintln!(">   {name}: {}", value.to_str().unwrap_or("?"));
        }
    }
    if let Some(body) = request.body().and_then(reqwest::Body::as_bytes) {
        eprintln!(">   {}", shown_body(body));
    }
    label
}

fn debug_answer(label: &str, result: &reqwest::Result<reqwest::Response>, took: Duration) {
    match result {
        Ok(r) => {
            let id = r.headers().get("x-request-id").and_then(|v| v.to_str().ok()).unwrap_or("-");
            eprintln!("< {} {label} {} ms, request {id}", r.status().as_u16(), took.as_millis());
        }
        Err(e) => eprintln!("< failed {label} {} ms: {}", took.as_millis(), crate::error::chain(e)),
    }
}

/// Path and query, without the secret of a console ticket.
fn shown_path(url: &reqwest::Url) -> String {
    let path = if url.path().starts_with("/v1/consoles/") { "/v1/consoles/<hidden>" } else { url.path() };
    url.query().map_or_else(|| path.to_string(), |q| format!("{path}?{q}"))
}

/// A JSON body with its secrets hidden; of anything else only the size.
fn shown_body(body: &[u8]) -> String {
    match serde_json::from_slice::<Value>(body) {
        Ok(mut v) => {
            hide(&mut v);
            v.to_string()
        }
        Err(_) => format!("<{} bytes>", body.len()),
    }
}

fn hide(v: &mut Value) {
    match v {
        Value::Object(o) => o.iter_mut().for_each(|(k, v)| {
            if SECRETS.contains(&k.as_str()) && !v.is_null() {
                *v = "<hidden>".into();
            } else {
                hide(v);
            }
        }),
        Value::Array(a) => a.iter_mut().for_each(hide),
        _ => {}
    }
}

/// What the generated client answers with.
pub(crate) type Answer = std::result::Result<v1::ResponseValue<Value>, v1::Error<Value>>;

/// The JSON of an answer.
pub(crate) fn json(answer: Answer) -> Result<Value> {
    Ok(answer?.into_inner())
}

/// The JSON of an answer and its ETag.
pub(crate) fn json_etag(answer: Answer) -> Result<(Value, Option<String>)> {
    let answer = answer?;
    let etag = answer.headers().get(reqwest::header::ETAG).and_then(|v| v.to_str().ok()).map(String::from);
    let value = answer.into_inner();
    let etag = etag.or_else(|| value.get("generation").map(|g| format!("\"{g}\"")));
    Ok((value, etag))
}

/// Most bytes of an answer that is read whole and is not JSON.
const WHOLE_MAX: usize = 64 << 20;

/// The bytes of an answer that is not JSON.
pub(crate) async fn bytes(answer: std::result::Result<v1::ResponseValue<v1::ByteStream>, v1::Error<v1::ByteStream>>) -> Result<Vec<u8>> {
    collect(stream(answer).await?.into_inner_stream()).await
}

/// The stream of an answer that is not JSON; failures with their problem body.
pub(crate) async fn stream(
    answer: std::result::Result<v1::ResponseValue<v1::ByteStream>, v1::Error<v1::ByteStream>>,
) -> Result<v1::ResponseValue<v1::ByteStream>> {
    match answer {
        Ok(r) => Ok(r),
        Err(v1::Error::ErrorResponse(r)) => {
            let status = r.status().as_u16();
            let body = collect(r.into_inner_stream()).await.unwrap_or_default();
            Err(Failure::from_problem(status, &serde_json::from_slice(&body).unwrap_or_default()))
        }
        Err(v1::Error::CommunicationError(e) | v1::Error::ResponseBodyError(e) | v1::Error::InvalidUpgrade(e)) => Err(e.into()),
        Err(e) => Err(Failure::failed(e.to_string())),
    }
}

async fn collect(mut from: impl futures::Stream<Item = reqwest::Result<bytes::Bytes>> + Unpin) -> Result<Vec<u8>> {
    use futures::StreamExt;
    let mut out = Vec::new();
    while let Some(chunk) = from.next().await {
        out.extend_from_slice(&chunk?);
        if out.len() > WHOLE_MAX {
            return Err(Failure::failed("the answer is longer than 64 MiB"));
        }
    }
    Ok(out)
}

/// The lists of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum List {
    Vms,
    Hosts,
    Images,
    Networks,
    Templates,
    /// Data stores.
    DataStores,
    Tasks,
    Events,
    Audit,
    AuditAnchors,
    Users,
    Tokens,
    RoleBindings,
    Schedules,
    /// Of the VM with this name or id.
    Snapshots(String),
}

/// What of a list is wanted.
#[derive(Clone, Debug, Default)]
pub(crate) struct ListQuery {
    /// Most items; none: all.
    pub(crate) limit: Option<u32>,
    /// Condition in the API's filter language.
    pub(crate) filter: Option<String>,
    /// Field, with `-` for descending.
    pub(crate) sort: Option<String>,
    /// Top-level fields, joined by commas.
    pub(crate) fields: Option<String>,
}

/// Most items of a page that the API gives.
const PAGE_MAX: u32 = 1000;

impl Api {
    /// One page of a list.
    async fn page(&self, list: &List, q: &ListQuery, limit: u32, token: Option<&str>) -> Result<Value> {
        macro_rules! page {
            ($operation:ident $(, $name:ident = $value:expr)?) => {{
                let mut call = self.v1.$operation()$(.$name($value))?.limit(limit);
                if let Some(f) = &q.filter {
                    call = call.filter(f);
                }
                if let Some(s) = &q.sort {
                    call = call.sort(s);
                }
                if let Some(f) = &q.fields {
                    call = call.fields(f);
                }
                if let Some(t) = token {
                    call = call.page_token(t);
                }
                json(call.send().await)
            }};
        }
        match list {
            List::Vms => page!(vm_list),
            List::Hosts => page!(host_list),
            List::Images => page!(image_list),
            List::Networks => page!(network_list),
            List::Templates => page!(template_list),
            List::DataStores => page!(data_store_list),
            List::Tasks => page!(task_list),
            List::Events => page!(event_list),
            List::Audit => page!(audit_list),
            List::AuditAnchors => page!(audit_anchor_list),
            List::Users => page!(user_list),
            List::Tokens => page!(token_list),
            List::Schedules => page!(schedule_list),
            List::RoleBindings => page!(role_binding_list),
            List::Snapshots(vm) => page!(vm_snapshot_list, vm = vm.clone()),
        }
    }

    /// All pages of a list, or as many items as are wanted.
    pub(crate) async fn list(&self, list: &List, q: &ListQuery) -> Result<Vec<Value>> {
        let wanted = q.limit.map_or(usize::MAX, |l| l as usize);
        let mut out: Vec<Value> = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let rest = u32::try_from(wanted - out.len()).unwrap_or(PAGE_MAX).min(PAGE_MAX);
            let mut page = self.page(list, q, rest, token.as_deref()).await?;
            if let Some(items) = page.get_mut("items").and_then(Value::as_array_mut) {
                out.append(items);
            }
            out.truncate(wanted);
            let next = page.get("next_page").and_then(Value::as_str).map(String::from);
            if next.is_none() || next == token || out.len() >= wanted {
                return Ok(out);
            }
            token = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_hides_secrets() {
        let body = br#"{"user":"admin","password":"hunter2","cloud_init":{"user_data":"x hunter3","host_name":"h"},"list":[{"secret":"hunter4"}]}"#;
        let shown = shown_body(body);
        assert!(shown.contains("admin") && shown.contains("\"h\""), "{shown}");
        assert!(!shown.contains("hunter"), "{shown}");
        assert_eq!(shown_body(b"\x00\x01"), "<2 bytes>");
        let url = reqwest::Url::parse("https://h/v1/consoles/abc").expect("a URL");
        assert!(!shown_path(&url).contains("abc"));
    }

    #[test]
    fn pauses_are_short() {
        let mut h = HeaderMap::new();
        assert_eq!(pause(&h), Duration::from_secs(1));
        h.insert(RETRY_AFTER, HeaderValue::from_static("3600"));
        assert_eq!(pause(&h), PAUSE_MAX);
    }
}
