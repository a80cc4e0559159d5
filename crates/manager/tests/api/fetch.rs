//! Images by URL, from a server on this machine that an administrator has allowed, and all that must not be reached.

use crate::world::World;
use serde_json::{Value, json};
use sha2::Digest;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use virga_tests::images::{self, hostile};

/// What a server does with a connection whose request it has read.
type Answering = dyn Fn(usize, &str) -> Vec<u8> + Send + Sync;

/// A server that answers each connection once with the bytes that it is told, and closes it.
struct Server {
    port: u16,
    /// What was asked, in its order.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn new(answer: impl Fn(usize, &str) -> Vec<u8> + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (asked, answer): (Arc<Mutex<Vec<String>>>, Arc<Answering>) = (Arc::default(), Arc::new(answer));
        let seen = asked.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, seen.clone(), answer.clone()));
            }
        });
        Server { port, asked }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

async fn serve(mut socket: TcpStream, seen: Arc<Mutex<Vec<String>>>, answer: Arc<Answering>) {
    let mut head = Vec::new();
    while !head.windows(4).any(|w| w == b"\r\n\r\n") {
        let mut byte = [0];
        if socket.read(&mut byte).await.unwrap_or(0) == 0 {
            return;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let n = {
        let mut seen = seen.lock().unwrap();
        seen.push(head.clone());
        seen.len() - 1
    };
    // Whoever is refused half-way hangs up.
    let _ = socket.write_all(&answer(n, &head)).await;
    let _ = socket.shutdown().await;
}

fn reply(head: &str, body: &[u8]) -> Vec<u8> {
    [head.as_bytes(), b"\r\n\r\n", body].concat()
}

fn ok(body: &[u8]) -> Vec<u8> {
    reply(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close", body.len()), body)
}

fn sha(bytes: &[u8]) -> String {
    hex::encode(sha2::Sha256::digest(bytes))
}

/// A manager that may fetch from this machine, with an image that waits for its content.
async fn world() -> World {
    let w = World::under(|l| l.image_source = vec!["127.0.0.0/8".parse().unwrap()]).await;
    w.post("/v1/images", json!({"name": "i"})).await.is(201);
    w
}

async fn fetch(w: &World, body: Value) -> crate::world::Answer {
    w.send("POST", "/v1/images/i/fetch", &w.admin, body, &[]).await
}

fn nothing_is_left(w: &World) {
    assert_eq!(std::fs::read_dir(w.dir.path().join("images")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_fetched_inspected_and_recorded() {
    let (w, content) = (world().await, images::vmdk_stream());
    let body = content.clone();
    let server = Server::new(move |_, _| ok(&body)).await;
    let url = server.url("/disk.vmdk?token=secret");
    // Unencrypted, so the checksum must come from elsewhere.
    let a = fetch(&w, json!({"url": url})).await.is(422);
    assert_eq!(a.body["violations"][0]["field"], "sha256");
    let a = fetch(&w, json!({"url": url, "sha256": "0".repeat(64)})).await.is(422);
    assert_eq!(a.body["violations"][0]["field"], "sha256");
    let a = fetch(&w, json!({"url": url, "sha256": sha(&content), "format": "raw"})).await.is(422);
    assert_eq!(a.body["violations"][0]["field"], "content");
    assert_eq!(fetch(&w, json!({"url": url, "sha256": "x"})).await.is(422).body["violations"][0]["field"], "sha256");
    nothing_is_left(&w);
    let a = fetch(&w, json!({"url": url, "sha256": sha(&content), "format": "vmdk"})).await.is(200);
    assert_eq!((&a.body["state"], &a.body["format"], &a.body["virtual_bytes"]), (&json!("ready"), &json!("vmdk"), &json!(1 << 20)));
    let audit = w.get("/v1/audit?filter=operation%3Dimage_fetch").await.is(200).body;
    let texts = audit.to_string();
    assert!(texts.contains("/disk.vmdk") && !texts.contains("secret"), "{audit:#}");
    let asked = server.asked();
    assert!(asked[0].starts_with("GET /disk.vmdk?token=secret HTTP/1.1") && !asked[0].to_lowercase().contains("authorization"), "{asked:?}");
    fetch(&w, json!({"url": url, "sha256": sha(&content)})).await.is(409);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_that_breaks_off_goes_on_where_it_was() {
    let w = world().await;
    let content: Vec<u8> = (0..1_000_000u32).flat_map(|n| n.to_le_bytes()).take(512 * 7000).collect();
    let body = content.clone();
    let server = Server::new(move |n, head| {
        let from = head.to_lowercase().split("range: bytes=").nth(1).and_then(|r| r.split('-').next()?.parse::<usize>().ok()).unwrap_or(0);
        let (whole, rest) = (body.len(), &body[from..]);
        let part = &rest[..rest.len().min(1_500_000)];
        let status = if from == 0 { "200 OK".to_string() } else { format!("206 Partial Content\r\nContent-Range: bytes {from}-{}/{whole}", whole - 1) };
        assert!(from == 0 || head.to_lowercase().contains("if-range: \"one\""), "{n}: {head}");
        reply(&format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nAccept-Ranges: bytes\r\nETag: \"one\"", rest.len()), part)
    })
    .await;
    let a = fetch(&w, json!({"url": server.url("/x"), "sha256": sha(&content)})).await.is(200);
    assert_eq!((&a.body["format"], &a.body["size_bytes"]), (&json!("raw"), &json!(content.len())));
    assert_eq!(server.asked().len(), 3, "three pieces");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_changes_meanwhile_is_not_glued_together() {
    let w = world().await;
    let server = Server::new(move |n, _| {
        let whole = if n == 0 { 4096 } else { 2048 };
        reply(&format!("HTTP/1.1 200 OK\r\nContent-Length: {whole}\r\nAccept-Ranges: bytes\r\nETag: \"{n}\""), &[7; 2048])
    })
    .await;
    let a = fetch(&w, json!({"url": server.url("/x"), "sha256": "0".repeat(64)})).await.is(503);
    assert!(a.body["detail"].as_str().unwrap().contains("changed"), "{:#}", a.body);
    assert_eq!(server.asked().len(), 2);
    nothing_is_left(&w);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_file_or_a_hostile_one_is_refused() {
    let w = world().await;
    let server = Server::new(|_, head| {
        let path = head.split(' ').nth(1).unwrap();
        match path {
            "/gone" => reply("HTTP/1.1 404 Not Found\r\nContent-Length: 6", b"secret"),
            "/packed" => reply("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4", b"\x1f\x8b\0\0"),
            "/round" => reply("HTTP/1.1 302 Found\r\nLocation: /round\r\nContent-Length: 0", b""),
            // It announces far more than it sends: its beginning is enough.
            "/evil" => reply("HTTP/1.1 200 OK\r\nContent-Length: 99999999", &hostile::backed_by("/etc/shadow")),
            _ => reply("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999", b""),
        }
    })
    .await;
    for (path, why) in [("/gone", "404"), ("/packed", "encoded"), ("/round", "redirected"), ("/evil", "backing file"), ("/huge", "16 TiB")] {
        let a = fetch(&w, json!({"url": server.url(path), "sha256": "0".repeat(64)})).await.is(422);
        let detail = a.body["detail"].as_str().unwrap();
        assert!(detail.contains(why) && !detail.contains("secret") && !detail.contains("shadow"), "{path}: {detail}");
    }
    nothing_is_left(&w);
    assert_eq!(w.get("/v1/images/i").await.body["state"], "empty");
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2024_29007_a_redirect_leads_to_no_address_inside() {
    // Only this one address is allowed, so any other of the machine stands for the inside.
    let w = World::under(|l| l.image_source = vec!["127.0.0.1".parse().unwrap(), "localhost".parse().unwrap()]).await;
    w.post("/v1/images", json!({"name": "i"})).await.is(201);
    let inside = Server::new(|_, _| ok(&[0; 4096])).await;
    let port = inside.port;
    let server = Server::new(move |_, head| {
        let to = match head.split(' ').nth(1).unwrap() {
            "/a" => format!("http://127.0.0.2:{port}/"),
            "/b" => "http://169.254.169.254/latest/meta-data/".into(),
            "/c" => format!("http://[::1]:{port}/"),
            "/d" => format!("//2130706434:{port}/"),
            "/e" => "file:///etc/shadow".into(),
            _ => "gopher://127.0.0.1/".into(),
        };
        reply(&format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0"), b"")
    })
    .await;
    for path in ["/a", "/b", "/c", "/d", "/e", "/f"] {
        let a = fetch(&w, json!({"url": server.url(path), "sha256": "0".repeat(64)})).await.is(422);
        assert_eq!(a.body["violations"][0]["field"], "url", "{path}");
    }
    assert_eq!((server.asked().len(), inside.asked().len()), (6, 0));
    nothing_is_left(&w);
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2026_61422_no_address_is_called_before_it_is_checked() {
    let w = World::under(|l| l.image_source = vec!["localhost".parse().unwrap(), "*.localhost".parse().unwrap()]).await;
    w.post("/v1/images", json!({"name": "i"})).await.is(201);
    let inside = Server::new(|_, _| ok(&[0; 4096])).await;
    // Names that stand for an address inside, although the name itself is allowed; and the addresses themselves.
    for host in ["localhost", "127.0.0.1", "127.1", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]"] {
        let a = fetch(&w, json!({"url": format!("http://{host}:{}/x", inside.port), "sha256": "0".repeat(64)})).await.is(422);
        assert!(a.body["detail"].as_str().unwrap().contains("--image-source"), "{host}: {:#}", a.body);
    }
    assert!(inside.asked().is_empty(), "nobody was called");
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2026_34881_no_image_comes_from_an_address_inside() {
    let w = World::bare().await;
    w.post("/v1/images", json!({"name": "i"})).await.is(201);
    let inside = Server::new(|_, _| ok(&[0; 4096])).await;
    for url in [inside.url("/x"), format!("http://localhost:{}/x", inside.port), "http://169.254.169.254/".into(), "http://10.0.0.1/".into()] {
        fetch(&w, json!({"url": url, "sha256": "0".repeat(64)})).await.is(422);
    }
    assert!(inside.asked().is_empty());
}
