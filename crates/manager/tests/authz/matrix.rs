//! Every cell, sent and compared with the oracle; every answer searched for what its reader may not know.

use crate::cells::{About, Cell, Cells, REPLAY_KEY, replayed};
use crate::oracle::{Expected, Rights, expected};
use crate::people::{Fixture, Person};
use futures::StreamExt;
use reqwest::{Client, Method};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;
use virga_manager::http::authz;
use virga_model::role::Administration;

/// Requests at the same time.
const AT_ONCE: usize = 16;
/// Addresses from which they come: each has its own limit.
const SOURCES: u8 = 8;
/// Fewest cells that the world must give; a world that was made smaller by mistake would find less.
const CELLS_MIN: [(Administration, usize); 2] = [(Administration::OneAdmin, 15_000), (Administration::ThreeRoles, 12_000)];

/// An answer as text.
struct Told {
    status: u16,
    kind: String,
    text: String,
}

/// Sends one request; a refusal for haste is waited out.
async fn until_answered(f: &Fixture, http: &Client, p: &Person, c: &Cell) -> Told {
    loop {
        let mut request = http.request(Method::from_bytes(c.method.as_bytes()).unwrap(), f.w.url(&c.path)).header("if-match", "\"999999\"");
        if !p.token.is_empty() {
            request = request.bearer_auth(&p.token);
        }
        if let Some(key) = &c.key {
            request = request.header("idempotency-key", key);
        }
        if !c.body.is_null() {
            request = request.json(&c.body);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        if status == 429 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        }
        let kind = answer.headers().get("content-type").map(|v| v.to_str().unwrap().to_string()).unwrap_or_default();
        return Told { status, kind, text: answer.text().await.unwrap() };
    }
}

/// Every word of the answer that could be a name or an id and must not be there.
fn leaked(f: &Fixture, p: &Person, c: &Cell, text: &str) -> Vec<String> {
    let asked = format!("{} {}", c.path, c.body);
    let words: BTreeSet<&str> = text.split(|ch: char| !ch.is_ascii_alphanumeric() && ch != '-').collect();
    // Everybody is told over which host or VM their own roles and tokens are; who sees accounts, those of others. What
    // stands in records is for who may read records, as a whole.
    let own_scopes = matches!(c.name, "session_view" | "token_list" | "user_list" | "user_view" | "role_binding_list");
    if matches!(c.name, "audit_list" | "audit_export") && p.rights.as_ref().is_some_and(|r| r.everywhere("audit_read")) {
        return Vec::new();
    }
    let told_anyway = |w: &str| own_scopes && (w == f.hosts[0].id || w == f.vms[2].id);
    words.into_iter().filter(|w| !told_anyway(w)).filter(|w| p.hidden.contains(*w) && !asked.contains(*w)).map(str::to_string).collect()
}

/// What is left when the name that was asked for and the number of the request are taken out.
fn bare(told: &Told, word: &str) -> (u16, String, String) {
    let text = match serde_json::from_str::<serde_json::Value>(&told.text) {
        Ok(mut v) => {
            if let Some(o) = v.as_object_mut() {
                o.remove("request_id");
            }
            v.to_string()
        }
        Err(_) => told.text.clone(),
    };
    (told.status, told.kind.clone(), text.replace(word, "…"))
}

fn is_expected(c: &Cell, told: &Told, wanted: Expected) -> bool {
    // A sign-in, a ticket and a new password are judged by what they hold, not by rights.
    if c.name == "console_connect" {
        return told.status >= 400 && told.status < 500;
    }
    match wanted {
        Expected::Unauthenticated => told.status == 401,
        Expected::Forbidden => told.status == 403,
        Expected::NotFound => told.status == 404,
        // What is looked up over the whole installation may be missing; a VM or host was there, and so was its right.
        Expected::Passes if c.about == About::Nothing => !matches!(told.status, 401 | 403) && told.status < 500 || told.status == 507,
        Expected::Passes => !matches!(told.status, 401 | 403 | 404) && told.status < 500 || told.status == 507,
    }
}

/// Whether the object whose name or id stands in a cell is invisible to these rights.
fn invisible(rights: &Rights, about: About) -> bool {
    match about {
        About::Vm(vm) | About::Task(vm) => !rights.on_vm("vm_read", vm),
        About::Host(h) => !rights.on_host("host_read", h),
        About::Token => true,
        About::Nothing | About::Missing => false,
    }
}

/// All faults of one person, and how many cells there were.
async fn judge(f: &Fixture, p: &Person, by_id: bool, clients: &[Client], counts: &mut BTreeMap<&'static str, usize>) -> Vec<String> {
    let cells = Cells::of(f, p, by_id);
    let sent = futures::stream::iter(cells.iter().enumerate()).map(|(i, c)| async move { (i, until_answered(f, &clients[i % clients.len()], p, c).await) });
    let told: HashMap<usize, Told> = sent.buffer_unordered(AT_ONCE).collect().await;
    let mut faults = Vec::new();
    let nothing = Rights::default();
    let rights = p.rights.as_ref();
    for (i, c) in cells.iter().enumerate() {
        *counts.entry(c.name).or_default() += 1;
        let t = &told[&i];
        let mut fault = |what: String| faults.push(format!("{} {} {} as {}: {what}\n    {} {}", c.name, c.method, c.path, p.what, t.status, short(&t.text)));
        let wanted = expected(c.name, authz::find(c.name).unwrap().access, rights, c.object);
        if !is_expected(c, t, wanted) {
            fault(format!("must be {wanted:?}; body {}", c.body));
        }
        let leaks = leaked(f, p, c, &t.text);
        if !leaks.is_empty() {
            fault(format!("leaks {leaks:?}; body {}", c.body));
        }
        if invisible(rights.unwrap_or(&nothing), c.about) {
            let twin = cells.iter().position(|o| o.family == c.family && o.about == About::Missing).unwrap();
            let (this, that) = (bare(t, &c.word), bare(&told[&twin], &cells[twin].word));
            if this != that {
                fault(format!("differs from what is answered when there is none: {}; body {}", short(&format!("{that:?}")), c.body));
            }
        }
    }
    faults
}

fn short(text: &str) -> String {
    text.chars().take(600).collect()
}

fn clients(f: &Fixture) -> Vec<Client> {
    let ca = reqwest::Certificate::from_pem(&std::fs::read(f.w.dir.path().join("ca.pem")).unwrap()).unwrap();
    let from = |n: u8| {
        let address = IpAddr::V4(Ipv4Addr::new(127, 0, 1, n + 1));
        let builder = Client::builder().tls_certs_only([ca.clone()]).local_address(address).resolve("localhost", ([127, 0, 0, 1], 0).into());
        builder.timeout(Duration::from_secs(120)).build().unwrap()
    };
    (0..SOURCES).map(from).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_role_scope_and_position_is_answered_as_the_table_says() {
    all_cells(Administration::OneAdmin).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_three_administrators_every_cell_is_answered_as_the_table_says() {
    all_cells(Administration::ThreeRoles).await;
}

async fn all_cells(mode: Administration) {
    let f = Fixture::new(mode).await;
    let made = f.w.send("POST", "/v1/vms?dry_run=true", &f.victim_token, replayed(), &[("idempotency-key", REPLAY_KEY)]).await;
    made.is(202);
    let before = virga_store::probe::digest(&f.w.store, &VOLATILE).await.unwrap();
    let (clients, mut counts, mut faults) = (clients(&f), BTreeMap::new(), Vec::new());
    for (i, p) in f.people.iter().enumerate() {
        faults.extend(judge(&f, p, i % 2 == 1, &clients, &mut counts).await);
    }
    let cells: usize = counts.values().sum();
    println!("authorization cells, {mode}: {cells} ({} people, {} operations)", f.people.len(), counts.len());
    assert!(faults.is_empty(), "{} of {cells} cells are wrong, among them:\n{}", faults.len(), faults.iter().take(25).cloned().collect::<Vec<_>>().join("\n"));
    assert!(CELLS_MIN.iter().any(|(m, n)| *m == mode && cells >= *n), "only {cells} cells");
    let missing: Vec<_> = authz::TABLE.iter().map(|e| e.name).filter(|n| !counts.contains_key(n) && !ELSEWHERE.contains(n)).collect();
    assert!(missing.is_empty(), "operations without a cell: {missing:?}; give them one in cells.rs");
    // Tokens note when they were used; the victim's is still there.
    f.w.send("GET", "/v1/session", &f.victim_token, serde_json::Value::Null, &[]).await.is(200);
    let after = virga_store::probe::digest(&f.w.store, &VOLATILE).await.unwrap();
    assert_eq!(before, after, "the cells must change nothing but records, so that their order does not matter");
}

/// Tables that change by themselves or by every request.
const VOLATILE: [&str; 9] = ["audit", "audit_anchor", "counter", "loop_lease", "host", "idempotency", "manager", "api_token", "event"];
/// Operations with tests of their own: a sign-in has limits of its own, a stream has no end.
const ELSEWHERE: [&str; 2] = ["session_create", "event_stream"];

#[tokio::test(flavor = "multi_thread")]
async fn event_streams_hold_nothing_foreign() {
    let f = Fixture::new(Administration::OneAdmin).await;
    let clients = clients(&f);
    let streams = f.people.iter().enumerate().map(|(i, p)| {
        let request = clients[i % clients.len()].get(f.w.url("/v1/events/stream?since=0")).bearer_auth(&p.token);
        async move {
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status().as_u16(), if p.rights.is_some() { 200 } else { 401 }, "{}", p.what);
            (p, until_quiet(answer).await)
        }
    });
    let all: Vec<(&Person, String)> = futures::stream::iter(streams).buffer_unordered(AT_ONCE).collect().await;
    assert!(all.iter().any(|(_, text)| text.contains("vm.state_changed")), "somebody sees the events");
    for (p, text) in all {
        let leaks: Vec<_> = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').filter(|w| p.hidden.contains(*w)).collect();
        assert!(leaks.is_empty(), "{}: {leaks:?}", p.what);
    }
}

/// What a stream gives until it has nothing more to give for a while.
async fn until_quiet(answer: reqwest::Response) -> String {
    let (mut text, mut stream) = (String::new(), answer.bytes_stream());
    while let Ok(Some(Ok(part))) = tokio::time::timeout(Duration::from_millis(800), stream.next()).await {
        text.push_str(&String::from_utf8_lossy(&part));
    }
    text
}
