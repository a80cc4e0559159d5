//! The way from the portal to the simulated fleet of a demo: there in a demo only, and with the checks of every request.

use crate::world::{PASSWORD, World};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixListener;
use virga_model::role::{Role, Scope};

const PATH: &str = "/demo/fleet";

/// A fleet that says back what it was asked, and refuses to touch guests.
fn fleet(socket: &std::path::Path) {
    let listener = UnixListener::bind(socket).unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (read, mut write) = socket.into_split();
            let line = BufReader::new(read).lines().next_line().await.unwrap().unwrap_or_default();
            let asked: Value = serde_json::from_str(&line).unwrap();
            let said = match asked["verb"].as_str() {
                Some("guest") => json!({"answer": "refused", "message": "No machine has a VM x."}),
                _ => json!({"answer": "done", "asked": asked}),
            };
            write.write_all(format!("{said}\n").as_bytes()).await.unwrap();
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_normal_installation_has_no_such_path() {
    let w = World::bare().await;
    w.get(PATH).await.is(404);
    w.post(PATH, json!({"verb": "power", "target": "all", "state": "off"})).await.is(404);
    let capabilities = w.get("/v1/system").await.is(200).body["capabilities"].to_string();
    assert!(!capabilities.contains("demo"), "{capabilities}");
}

#[tokio::test(flavor = "multi_thread")]
async fn administrators_of_a_demo_break_its_fleet_and_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("control.sock");
    fleet(&socket);
    let w = World::with(|c| c.demo_fleet = Some(socket.clone())).await;
    assert!(w.get("/v1/system").await.is(200).body["capabilities"].to_string().contains("demo-fleet"));
    assert_eq!(w.get(PATH).await.is(200).body["asked"], json!({"verb": "list"}));
    let off = json!({"verb": "power", "target": "all", "state": "off"});
    assert_eq!(w.post(PATH, off.clone()).await.is(200).body["asked"], off);
    assert_eq!(w.post(PATH, json!({"verb": "guest", "vm": "x", "event": "crash"})).await.is(409).body["detail"], "No machine has a VM x.");
    w.post(PATH, json!({"verb": "list"})).await.is(400);
    w.send("PUT", PATH, &w.admin, off.clone(), &[]).await.is(400);
    w.post(PATH, json!({"verb": "power", "target": {"hosts": ["x".repeat(100_000)]}})).await.is(413);

    // Who may not.
    w.send("GET", PATH, "", Value::Null, &[]).await.is(401);
    w.send("POST", PATH, "", off.clone(), &[]).await.is(401);
    let viewer = w.user("eve", &[(Role::Viewer, Scope::All)]).await;
    w.send("GET", PATH, &viewer, Value::Null, &[]).await.is(200);
    w.send("POST", PATH, &viewer, off.clone(), &[]).await.is(403);
    let own = w.user("own", &[(Role::Admin, Scope::Own)]).await;
    w.send("POST", PATH, &own, off.clone(), &[]).await.is(403);

    // The cookie alone changes nothing: the header against forged requests must come with it.
    let signed = w.send("POST", "/v1/session", "", json!({"user": "admin", "password": PASSWORD}), &[]).await.is(201);
    let cookie = signed.header("set-cookie").split(';').next().unwrap().to_string();
    let csrf = signed.body["csrf"].as_str().unwrap_or_default().to_string();
    assert_eq!(w.send("POST", PATH, "", off.clone(), &[("cookie", &cookie)]).await.is(403).code(), "forbidden");
    w.send("POST", PATH, "", off, &[("cookie", &cookie), ("x-virga-csrf", &csrf)]).await.is(200);

    let audit = w.get("/v1/audit?filter=operation%3Ddemo_fleet").await.is(200).body;
    let details: Vec<&str> = audit["items"].as_array().unwrap().iter().map(|r| r["detail"].as_str().unwrap()).collect();
    assert_eq!(details.iter().filter(|d| d.contains("\"power\"")).count(), 2, "{details:?}");

    drop(std::fs::remove_file(&socket));
    w.get(PATH).await.is(503);
}
