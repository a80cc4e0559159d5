//! Callers who are slow, large or many.

use crate::raw::{SOON, connect, read, talk};
use crate::world::World;
use serde_json::json;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use virga_manager::event::{self, Note};
use virga_manager::front::limits::Deadlines;
use virga_model::Time;
use virga_model::task::ObjectRef;

fn short(d: &mut Deadlines) {
    let ms = Duration::from_millis;
    *d = Deadlines { handshake: ms(500), head: ms(500), body: ms(500), stall: ms(500), linger: ms(500) };
}

async fn lives(w: &World) {
    assert_eq!(w.http.get(w.url("/v1/ping")).send().await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_slowly_is_not_waited_for() {
    let w = World::under(|l| short(&mut l.deadlines)).await;
    let at = w.running.api_addr;
    // No handshake, an endless one, no request, half a head: the connection ends.
    let mut silent = tokio::net::TcpStream::connect(at).await.unwrap();
    let mut end = [0_u8; 1];
    let ended = tokio::io::AsyncReadExt::read(&mut silent, &mut end);
    assert!(matches!(tokio::time::timeout(SOON, ended).await.expect("it is waited for the handshake"), Ok(0) | Err(_)));
    for text in ["", "GET /v1/pi", "GET /v1/ping HTTP/1.1\r\nhost: a\r\nx: y"] {
        let mut s = connect(w.dir.path(), at).await.unwrap();
        let got = talk(&mut s, text, |_| false).await;
        assert!(got.is_empty() || got.starts_with("HTTP/1.1 408"), "{text}: {got}");
    }
    // Half a body: a refusal, and the connection ends.
    let mut s = connect(w.dir.path(), at).await.unwrap();
    let head =
        format!("POST /v1/vms HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{{", w.admin);
    let got = talk(&mut s, &head, |_| false).await;
    assert!(got.starts_with("HTTP/1.1 408") && got.contains("The body did not come in time."), "{got}");
    lives(&w).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_100_mb_is_refused_before_it_comes() {
    let w = World::bare().await;
    let at = w.running.api_addr;
    // Declared: refused by the head alone.
    let mut s = connect(w.dir.path(), at).await.unwrap();
    let head = "POST /v1/session HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 104857600\r\n\r\n";
    let got = talk(&mut s, head, |t| t.contains("\r\n\r\n") && t.contains('}')).await;
    assert!(got.starts_with("HTTP/1.1 413") && got.contains("larger than"), "{got}");
    // Not declared: refused when it is too large, and the sender can read it although they still send.
    let mut s = connect(w.dir.path(), at).await.unwrap();
    s.write_all(b"POST /v1/session HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
    let piece = format!("{:x}\r\n{}\r\n", 64 * 1024, "x".repeat(64 * 1024));
    for _ in 0..100 << 4 {
        let sent = tokio::time::timeout(SOON, s.write_all(piece.as_bytes())).await.expect("neither read nor ended");
        if sent.is_err() {
            break;
        }
    }
    let got = read(&mut s, |t| t.contains('}')).await;
    assert!(got.is_empty() || got.starts_with("HTTP/1.1 413"), "{got}");
    lives(&w).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_has_so_many_connections_and_the_others_have_theirs() {
    let w = World::under(|l| l.source_connections_max = 8).await;
    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(connect(w.dir.path(), w.running.api_addr).await.unwrap());
    }
    assert!(connect(w.dir.path(), w.running.api_addr).await.is_err(), "one too many");
    drop(held);
    let until_free = async {
        while connect(w.dir.path(), w.running.api_addr).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, until_free).await.expect("places are given back");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_is_cut_off() {
    let w = World::under(|l| short(&mut l.deadlines)).await;
    let request = format!("GET /v1/openapi.json HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\n\r\n", w.admin);
    let mut s = connect(w.dir.path(), w.running.api_addr).await.unwrap();
    // More answers than the kernel takes for us, and nothing is read.
    let flood = async {
        loop {
            if s.write_all(request.as_bytes()).await.is_err() || s.flush().await.is_err() {
                return;
            }
        }
    };
    tokio::time::timeout(SOON, flood).await.expect("a reader that does not read is served for ever");
    lives(&w).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_sign_ins_is_slowed_down_and_others_work_on() {
    let w = World::bare().await;
    let flood = (0..60).map(|n| {
        let r = w.http.post(w.url("/v1/session")).json(&json!({"user": format!("nobody{n}"), "password": "wrong horse battery"}));
        async move { r.send().await.unwrap() }
    });
    let (answers, reads) = tokio::join!(futures::future::join_all(flood), async {
        for _ in 0..20 {
            let r = w.http.get(w.url("/v1/vms")).bearer_auth(&w.admin).send().await.unwrap();
            assert_eq!(r.status(), 200);
        }
    });
    let () = reads;
    let limited: Vec<_> = answers.iter().filter(|r| r.status() == 429).collect();
    assert!(limited.len() >= 20, "{} of 60", limited.len());
    assert!(limited.iter().all(|r| r.headers().contains_key("retry-after")));
    assert!(answers.iter().all(|r| matches!(r.status().as_u16(), 401 | 429)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_of_a_megabyte_is_not_hashed() {
    let w = World::bare().await;
    let sign_in = |password: String| w.http.post(w.url("/v1/session")).json(&json!({"user": "admin", "password": password}));
    let long = sign_in("x".repeat(1_000_000)).send().await.unwrap();
    assert_eq!(long.status(), 401, "the same answer as for any wrong password");
    let wrong = sign_in("x".repeat(64)).send().await.unwrap();
    assert_eq!(wrong.status(), 401);
    let body = |v: serde_json::Value| (v["detail"].clone(), v["hint"].clone(), v["code"].clone());
    assert_eq!(body(long.json().await.unwrap()), body(wrong.json().await.unwrap()));
}

/// Events of half a kilobyte each, more than a connection takes without being read.
async fn many_events(w: &World) {
    let mut tx = w.store.write().await.unwrap();
    let text = "x".repeat(450);
    for n in 0..30_000 {
        let note = Note::plain(Time(1_800_000_000_000_000 + n), "test.many", ObjectRef::System, "", &text);
        event::append(&mut tx, &note).await.unwrap();
    }
    tx.commit().await.unwrap();
}

fn last_id(text: &str) -> i64 {
    let whole = text.rsplit_once("\n\n").map_or("", |(whole, _)| whole);
    whole.lines().rev().find_map(|l| l.strip_prefix("id: ")).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_nobody_reads_ends_and_can_be_taken_up() {
    let w = World::under(|l| short(&mut l.deadlines)).await;
    many_events(&w).await;
    let readers = || w.running.manager.events.receiver_count();
    let before = readers();
    let ask = |after: i64| format!("GET /v1/events/stream HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\nlast-event-id: {after}\r\n\r\n", w.admin);
    let mut s = connect(w.dir.path(), w.running.api_addr).await.unwrap();
    talk(&mut s, &ask(0), |t| t.contains("\r\n\r\n")).await;
    // From here on nothing is read: the manager lets go of the reader, and with it of all that waited for it.
    let until_gone = async {
        while readers() > before {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, until_gone).await.expect("a reader that does not read is kept");
    let got = read(&mut s, |_| false).await;
    let last = last_id(&got);
    assert!(last < 30_000, "everything had room on the way: the test sends too little");
    let mut s = connect(w.dir.path(), w.running.api_addr).await.unwrap();
    let rest = talk(&mut s, &ask(last), |t| t.contains("id: ") && t.contains("data: ")).await;
    assert!(rest.contains(&format!("id: {}\n", last + 1)), "it goes on without a gap");
}
