//! Requests that nobody in their right mind sends: a problem each, and never a fault of ours.

use crate::world::{World, answer};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn hostile_bodies_get_problems() {
    let w = World::new().await;
    let deep = "[".repeat(10_000) + &"]".repeat(10_000);
    let long = format!("{{\"name\": \"{}\"}}", "x".repeat(900_000));
    let bodies: Vec<(String, &str)> = vec![
        ("".into(), "empty"),
        ("{".into(), "cut off"),
        ("null".into(), "null"),
        ("[]".into(), "a list"),
        (deep, "deep"),
        (long, "long name"),
        ("{\"name\": 5}".into(), "wrong type"),
        ("{\"name\": \"a\", \"surprise\": 1}".into(), "unknown field"),
        ("{\"name\": \"a\", \"cpus\": -1}".into(), "negative"),
        ("{\"name\": \"a\", \"cpus\": 1e99}".into(), "huge"),
        ("{\"name\": \"a\", \"memory_bytes\": 18446744073709551615}".into(), "2^64-1"),
        ("{\"name\": \"a\", \"memory_bytes\": 9223372036854775808, \"memory_max_bytes\": 18446744073709551615}".into(), "2^63"),
        ("{\"name\": \"a\", \"disks\": [{\"size_bytes\": 18446744073709551615}, {\"size_bytes\": 18446744073709551615}]}".into(), "disks beyond all bounds"),
        ("{\"name\": \"a\\u0000b\"}".into(), "NUL"),
        ("{\"name\": \"<img src=x onerror=alert(1)>\"}".into(), "HTML"),
        ("{\"name\": \"a\", \"host\": \"'; DROP TABLE vm; --\"}".into(), "SQL"),
        ("\u{feff}{}".into(), "byte order mark"),
    ];
    for (body, what) in bodies {
        let request = w.http.post(w.url("/v1/vms")).bearer_auth(&w.admin).header("content-type", "application/json").body(body);
        let a = answer(request.send().await.unwrap()).await;
        assert!((400..500).contains(&a.status), "{what}: {} {}", a.status, a.body);
        assert!(a.body["code"].is_string() && a.body["title"].is_string(), "{what}: {}", a.body);
        assert!(!a.body.to_string().contains("SELECT") && !a.body.to_string().contains(&std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it")), "{what}");
    }
    let huge = w.http.post(w.url("/v1/vms")).bearer_auth(&w.admin).header("content-type", "application/json").body(vec![b' '; 3 << 20]).send().await;
    if let Ok(r) = huge {
        assert!((400..500).contains(&r.status().as_u16()), "{}", r.status());
    }
    assert_eq!(w.get("/v1/vms?total=true").await.is(200).body["total"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_addresses_and_headers_get_problems() {
    let w = World::new().await;
    for path in [
        "/v1/vms/%00",
        "/v1/vms/..%2f..%2fetc%2fpasswd",
        "/v1/vms/%27%20OR%201%3D1",
        "/v1/tasks/not-an-id",
        "/v1/tasks/00000000-0000-0000-0000-000000000000?wait=61",
        "/v1/vms?filter=name%20%3D%20%22%27%3B%20DROP%20TABLE%20vm%22%20and%20cpus%20%3D%20x",
        "/v1/vms?limit=99999999999999999999",
        "/v1/nothing",
        "/v1/events?filter=id%20%3D%20x",
    ] {
        let a = w.get(path).await;
        assert!((400..500).contains(&a.status), "{path}: {} {}", a.status, a.body);
    }
    w.send("PATCH", "/v1/vms/x", &w.admin, json!({}), &[("if-match", "x")]).await.is(404);
    w.send("POST", "/v1/vms", &w.admin, json!({"name": "a"}), &[("idempotency-key", &"k".repeat(200))]).await.is(400);
    w.send("DELETE", "/v1/session", &w.admin, serde_json::Value::Null, &[]).await.is(409);
    // Whoever asks from where is decided by the connection, not by a header.
    w.send("GET", "/v1/users", "vt_x", serde_json::Value::Null, &[("x-forwarded-for", "1.2.3.4")]).await.is(401);
    let made = w.send("POST", "/v1/images", &w.admin, json!({"name": "i"}), &[("x-forwarded-for", "1.2.3.4")]).await.is(201);
    assert!(!made.header("x-request-id").is_empty());
    let audit = w.get("/v1/audit?filter=operation%3Dimage_create").await.body;
    assert_eq!(audit["items"][0]["source"], "127.0.0.1");
    assert_eq!(audit["items"][0]["request_id"], made.header("x-request-id"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_chain_holds_after_all_this() {
    let w = World::new().await;
    for i in 0..5 {
        w.post("/v1/images", json!({"name": format!("i{i}")})).await.is(201);
    }
    w.post("/v1/images", json!({"name": "i0"})).await.is(409);
    let mut tx = w.store.read().await.unwrap();
    assert_eq!(virga_store::audit::verify(&mut tx).await.unwrap(), None);
    drop(tx);
    let reads = w.get("/v1/audit").await.is(200).body;
    assert_eq!(w.get("/v1/audit?filter=operation%3Daudit_list").await.body["items"].as_array().unwrap().len(), 1, "reading is recorded: {reads}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_one_account_is_slowed_down_and_hinders_no_other() {
    let w = World::bare().await;
    let other = w.user("other", &[]).await;
    let begun = std::time::Instant::now();
    // Fifty at a time: more connections of one address would be closed, which is another limit.
    let requests = futures::stream::iter((0..700).map(|_| w.get("/v1/session")));
    let flood: Vec<_> = futures::StreamExt::collect(futures::StreamExt::buffer_unordered(requests, 50)).await;
    // 400 at once and 200 a second: a machine that is slow enough never reaches the limit.
    assert!(flood.iter().any(|a| a.status == 429) || begun.elapsed().as_millis() > 1400, "there is a limit");
    w.send("GET", "/v1/session", &other, serde_json::Value::Null, &[]).await.is(200);
}
