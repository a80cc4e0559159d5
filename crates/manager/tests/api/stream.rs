//! Event streams and consoles.

use crate::world::World;
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use virga_model::role::{Role, Scope};

/// Reads events (id and kind) until one of kind `last`.
async fn read_until(w: &World, token: &str, query: &str, header: Option<&str>, last: &str) -> Vec<(i64, String)> {
    let mut request = w.http.get(w.url(&format!("/v1/events/stream{query}"))).bearer_auth(token);
    if let Some(h) = header {
        request = request.header("last-event-id", h);
    }
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let (mut stream, mut text) = (response.bytes_stream(), String::new());
    let read = async {
        while !text.contains(&format!("event: {last}\n")) || !text.ends_with("\n\n") {
            text.push_str(std::str::from_utf8(&stream.next().await.unwrap().unwrap()).unwrap());
        }
    };
    tokio::time::timeout(Duration::from_secs(20), read).await.unwrap_or_else(|_| panic!("no {last}"));
    let blocks = text.split("\n\n").filter(|b| b.starts_with("id: "));
    let parse = |b: &str| {
        let mut lines = b.lines();
        let id = lines.next().unwrap().strip_prefix("id: ").unwrap().parse().unwrap();
        let kind = lines.next().unwrap().strip_prefix("event: ").unwrap().to_string();
        let data: Value = serde_json::from_str(lines.next().unwrap().strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!((&data["id"], &data["kind"]), (&json!(id), &json!(kind)));
        (id, kind)
    };
    blocks.map(parse).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_goes_on_where_it_was() {
    let w = World::new().await;
    w.vm(json!({"name": "a"})).await;
    let all = read_until(&w, &w.admin, "?since=0", None, "task.ended").await;
    assert!(all.iter().any(|e| e.1 == "vm.created") && all.is_sorted());
    let middle = all[1].0.to_string();
    let rest = read_until(&w, &w.admin, "", Some(&middle), "task.ended").await;
    assert_eq!(rest, all[2..]);
    // The header of a browser that reconnects counts more than the address it began with.
    assert_eq!(read_until(&w, &w.admin, "?since=0", Some(&middle), "task.ended").await, rest);
    // Without a position: from now on.
    let live = read_until(&w, &w.admin, "", None, "vm.changed");
    // Changes go on until the stream, which may open after some of them, has seen one.
    let changes = async {
        let mut pace = tokio::time::interval(Duration::from_millis(50));
        loop {
            pace.tick().await;
            let words = json!({"description": uuid::Uuid::new_v4().to_string()});
            w.send("PATCH", "/v1/vms/a", &w.admin, words, &[]).await.is(202);
        }
    };
    tokio::select! {
        seen = live => assert!(seen.iter().all(|e| e.1 == "vm.changed"), "{seen:?}"),
        () = changes => {}
    }
    let bad = w.send("GET", "/v1/events/stream", &w.admin, Value::Null, &[("last-event-id", "x")]).await;
    assert_eq!(bad.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_shows_only_what_may_be_seen_and_ends_with_the_right() {
    let w = World::new().await;
    let alice = w.user("alice", &[(Role::User, Scope::Own)]).await;
    w.vm(json!({"name": "not-alices"})).await;
    w.send("PATCH", "/v1/hosts/h1", &w.admin, json!({"maintenance": true}), &[]).await.is(200);
    w.done(w.send("POST", "/v1/vms", &alice, json!({"name": "alices"}), &[]).await.is(202)).await;
    let response = w.http.get(w.url("/v1/events/stream?since=0")).bearer_auth(&alice).send().await.unwrap();
    let (mut stream, mut text) = (response.bytes_stream(), String::new());
    while !text.contains("event: task.ended") {
        text.push_str(std::str::from_utf8(&stream.next().await.unwrap().unwrap()).unwrap());
    }
    assert!(text.contains("alices") && !text.contains("not-alices") && !text.contains("host.changed"), "{text}");
    w.send("PATCH", "/v1/users/alice", &w.admin, json!({"disabled": true}), &[]).await.is(200);
    let end = tokio::time::timeout(Duration::from_secs(20), async { while let Some(Ok(_)) = stream.next().await {} }).await;
    assert!(end.is_ok(), "the stream ends within seconds");
}

pub type Socket = tokio_tungstenite::WebSocketStream<tokio_rustls::client::TlsStream<tokio::net::TcpStream>>;

pub async fn open(w: &World, path: &str, origin: Option<&str>) -> Result<Socket, WsError> {
    let mut roots = rustls::RootCertStore::empty();
    let pem = std::fs::read(w.dir.path().join("ca.pem")).unwrap();
    use rustls::pki_types::pem::PemObject;
    roots.add(rustls::pki_types::CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
    let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let tcp = tokio::net::TcpStream::connect(w.running.api_addr).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    let tls = connector.connect("localhost".try_into().unwrap(), tcp).await.unwrap();
    let mut request = format!("wss://localhost:{}{path}", w.running.api_addr.port()).into_client_request().unwrap();
    if let Some(o) = origin {
        request.headers_mut().insert("origin", o.parse().unwrap());
    }
    tokio_tungstenite::client_async(request, tls).await.map(|(s, _)| s)
}

pub fn status(r: Result<Socket, WsError>) -> u16 {
    match r {
        Err(WsError::Http(r)) => r.status().as_u16(),
        Err(e) => panic!("{e}"),
        Ok(_) => 101,
    }
}

pub async fn ticket(w: &World, token: &str, vm: &str) -> String {
    let a = w.send("POST", &format!("/v1/vms/{vm}/consoles"), token, json!({"kind": "vnc"}), &[]).await.is(201);
    a.body["path"].as_str().unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_console_ticket_is_good_once_and_for_a_short_time() {
    let w = World::new().await;
    w.vm(json!({"name": "c", "start": true})).await;
    let path = ticket(&w, &w.admin, "c").await;
    let own = format!("https://localhost:{}", w.running.api_addr.port());
    let mut socket = open(&w, &path, Some(&own)).await.unwrap();
    let mut far = w.nodes.consoles.lock().unwrap().pop().unwrap();
    socket.send(Message::binary(b"hello".to_vec())).await.unwrap();
    let mut got = [0u8; 5];
    far.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"hello");
    far.write_all(b"RFB 003.008\n").await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap().into_data(), &b"RFB 003.008\n"[..]);
    assert_eq!(status(open(&w, &path, None).await), 401, "used");
    drop(far);
    assert!(!matches!(socket.next().await, Some(Ok(Message::Binary(_)))), "ends with the VM's side");
    assert_eq!(status(open(&w, "/v1/consoles/vc_nonsense", None).await), 401);
    let foreign = ticket(&w, &w.admin, "c").await;
    assert_eq!(status(open(&w, &foreign, Some("https://evil.example")).await), 403);
    let late = ticket(&w, &w.admin, "c").await;
    w.advance(31);
    assert_eq!(status(open(&w, &late, None).await), 401);
    let audit = w.get("/v1/audit?filter=operation%3Dconsole_connect").await.is(200).body;
    assert!(audit["items"].as_array().unwrap().iter().any(|r| r["actor"] == "admin" && r["result"] == "ok"));
    assert!(!audit.to_string().contains("vc_"), "no ticket is recorded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_console_needs_a_running_vm_and_a_right_that_lasts() {
    let w = World::new().await;
    w.vm(json!({"name": "off"})).await;
    w.send("POST", "/v1/vms/off/consoles", &w.admin, json!({"kind": "serial"}), &[]).await.is(409);
    w.send("GET", "/v1/vms/off/screenshot", &w.admin, Value::Null, &[]).await.is(409);
    w.vm(json!({"name": "on", "start": true})).await;
    let picture = w.send("GET", "/v1/vms/on/screenshot", &w.admin, Value::Null, &[]).await.is(200);
    assert_eq!(picture.header("content-type"), "image/png");
    let operator = w.user("operator", &[(Role::Operator, Scope::All)]).await;
    let path = ticket(&w, &operator, "on").await;
    w.send("PATCH", "/v1/users/operator", &w.admin, json!({"disabled": true}), &[]).await.is(200);
    assert_eq!(status(open(&w, &path, None).await), 401);
    w.send("PATCH", "/v1/users/operator", &w.admin, json!({"disabled": false}), &[]).await.is(200);
    let path = ticket(&w, &operator, "on").await;
    let mut socket = open(&w, &path, None).await.unwrap();
    w.send("PATCH", "/v1/users/operator", &w.admin, json!({"disabled": true}), &[]).await.is(200);
    let ended = tokio::time::timeout(Duration::from_secs(20), socket.next()).await;
    assert!(ended.is_ok(), "an open console ends with the right");
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_ends_streams_and_consoles_and_does_not_hang() {
    let w = World::new().await;
    w.vm(json!({"name": "s", "start": true})).await;
    let path = ticket(&w, &w.admin, "s").await;
    let mut socket = open(&w, &path, None).await.unwrap();
    let mut stream = w.http.get(w.url("/v1/events/stream?since=0")).bearer_auth(&w.admin).send().await.unwrap().bytes_stream();
    stream.next().await.unwrap().unwrap();
    let World { running, .. } = w;
    tokio::time::timeout(Duration::from_secs(15), running.stop()).await.expect("stops in time");
    tokio::time::timeout(Duration::from_secs(5), async { while let Some(Ok(_)) = stream.next().await {} }).await.expect("the stream has ended");
    tokio::time::timeout(Duration::from_secs(5), async { while let Some(Ok(_)) = socket.next().await {} }).await.expect("the console has ended");
}
