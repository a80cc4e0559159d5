//! The installation itself: version, figures, the document of the API and its page.

use crate::http::Op;
use dropshot::Body;
use http::{Response, StatusCode, header};
use std::collections::HashSet;
use std::sync::OnceLock;
use virga_api::v1::{Ping, System};
use virga_model::filter;
use virga_model::role::{Privilege, Visible};
use virga_model::{Error, UserId};
use virga_store::Page;

/// What clients may ask for before they use it.
pub const CAPABILITIES: [&str; 10] = ["vms", "vm-batches", "hosts", "images", "networks", "consoles", "events", "idempotency-key", "dry-run", "filters"];

/// The version of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Answers to a ping.
#[must_use]
pub fn ping() -> Ping {
    Ping { status: "ok".into(), version: VERSION.into() }
}

/// Version, abilities, and figures of what the caller may see.
///
/// # Errors
/// What the database says.
pub async fn view(op: &Op) -> Result<System, Error> {
    let mut tx = op.read().await?;
    let (vms, hosts) = (op.visible(Privilege::VmRead), op.visible(Privilege::HostRead));
    let all_hosts = virga_store::host::all(&mut tx).await?;
    let seen: Vec<_> = all_hosts.iter().filter(|h| hosts.all || hosts.hosts.contains(&h.id)).collect();
    let up = seen.iter().filter(|h| op.m.host_state(h) == virga_model::host::HostState::Up).count();
    Ok(System {
        version: VERSION.into(),
        administration: crate::first::administration(&mut tx).await?,
        capabilities: CAPABILITIES.iter().copied().chain(op.api.demo.as_ref().map(|_| crate::demo::CAPABILITY)).map(str::to_string).collect(),
        hosts: seen.len() as i64,
        hosts_up: up as i64,
        vms: count_vms(&mut tx, None, &vms).await?,
        vms_running: count_vms(&mut tx, Some("state = running"), &vms).await?,
        tasks_active: count_tasks(&mut tx, &vms, op.caller.id()).await?,
    })
}

fn counting(condition: Option<&str>) -> Result<Page, Error> {
    Ok(Page { limit: 1, filter: condition.map(filter::parse).transpose()?, total: true, ..Page::default() })
}

/// How many visible VMs there are.
///
/// # Errors
/// What the database says.
pub async fn count_vms(tx: &mut virga_store::Tx, condition: Option<&str>, visible: &Visible) -> Result<i64, Error> {
    Ok(virga_store::vm::list(tx, &counting(condition)?, virga_store::vm::Listed::Vms, visible).await?.total.unwrap_or(0))
}

/// How many visible tasks have not ended.
///
/// # Errors
/// What the database says.
pub async fn count_tasks(tx: &mut virga_store::Tx, visible: &Visible, viewer: Option<UserId>) -> Result<i64, Error> {
    Ok(virga_store::task::list(tx, &counting(Some("state in (queued, running)"))?, visible, viewer).await?.total.unwrap_or(0))
}

fn document() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(virga_api::v1::openapi_json)
}

/// Whether an operation has parameters after `?`.
#[must_use]
pub fn takes_query(operation: &str) -> bool {
    static TAKING: OnceLock<HashSet<String>> = OnceLock::new();
    let taking = TAKING.get_or_init(|| {
        let document: serde_json::Value = serde_json::from_str(document()).unwrap_or_default();
        let paths = document["paths"].as_object().into_iter().flat_map(|p| p.values()).filter_map(|p| p.as_object()).flat_map(|p| p.values());
        let has = |o: &&serde_json::Value| o["parameters"].as_array().is_some_and(|l| l.iter().any(|p| p["in"] == "query"));
        paths.filter(has).filter_map(|o| o["operationId"].as_str().map(str::to_string)).collect()
    });
    taking.contains(operation)
}

/// An answer that is not one of the API's shapes, with the headers that keep browsers careful.
///
/// # Errors
/// Internal, when a header cannot be written.
pub fn raw(content_type: &str, policy: Option<&str>, body: impl Into<Body>) -> Result<Response<Body>, Error> {
    Response::builder()
        .status(StatusCode::OK)
        .header(header::CONTENT_TYPE, content_type)
        .header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
        .header(header::STRICT_TRANSPORT_SECURITY, "max-age=31536000")
        .header(header::REFERRER_POLICY, "no-referrer")
        .header(header::CACHE_CONTROL, "no-store")
        .header(header::CONTENT_SECURITY_POLICY, policy.unwrap_or("default-src 'none'; frame-ancestors 'none'"))
        .body(body.into())
        .map_err(|e| Error::internal(e.to_string()))
}

/// The document of the API.
///
/// # Errors
/// Internal, when a header cannot be written.
pub fn openapi() -> Result<Response<Body>, Error> {
    raw("application/json", None, document())
}

/// The page of the API: the document inside, rendered by a script inside, nothing from elsewhere.
///
/// # Errors
/// Internal, when a header cannot be written.
pub fn docs() -> Result<Response<Body>, Error> {
    let mut bits = [0u8; 16];
    rand::fill(&mut bits);
    let nonce = hex::encode(bits);
    // Inside a script element only "</" could end the data early; "<" as an escape is the same JSON.
    let data = document().replace('<', "\\u003c");
    let page = include_str!("docs.html").replace("{{nonce}}", &nonce).replace("{{document}}", &data);
    let policy =
        format!("default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'");
    raw("text/html; charset=utf-8", Some(&policy), page)
}
