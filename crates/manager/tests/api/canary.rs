//! Canary secrets: one of each type goes through the whole manager, and is then looked for in the log at its most
//! talkative level that is meant for use, in every value of every table, and in every file (`reliability.md` Y2, X11, X15).

use crate::world::{PASSWORD, World};
use serde_json::{Value, json};
use std::io::Write;
use std::sync::{Arc, Mutex};
use virga_model::role::{Role, Scope};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(data);
        Ok(data.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A canary: what it stands for, the text, and the columns in which it may lie.
struct Canary {
    what: &'static str,
    text: String,
    allowed: &'static [&'static str],
}

fn canary(what: &'static str, text: impl Into<String>) -> Canary {
    Canary { what, text: text.into(), allowed: &[] }
}

/// Sends every secret there is through the API.
async fn plant(w: &World) -> Vec<Canary> {
    let mut out = vec![canary("password of an account", PASSWORD)];
    let text = |v: &Value| v.as_str().unwrap_or_default().to_string();
    // Passwords: right, wrong, new, and in the place of a name.
    w.user("carol", &[(Role::User, Scope::Own)]).await;
    let signed = w.send("POST", "/v1/session", "", json!({"user": "carol", "password": PASSWORD}), &[]).await.is(201);
    out.push(canary("session", text(&signed.body["token"])));
    out.push(canary("CSRF value", text(&signed.body["csrf"])));
    w.send("POST", "/v1/session", "", json!({"user": "carol", "password": "canary-wrong-password"}), &[]).await.is(401);
    out.push(canary("wrong password", "canary-wrong-password"));
    w.send("POST", "/v1/session", "", json!({"user": "canary-password-as-name", "password": "x"}), &[]).await.is(401);
    w.post("/v1/users", json!({"name": "dave", "password": "canary-first-password"})).await.is(201);
    out.push(canary("first password", "canary-first-password"));
    w.send("PATCH", "/v1/users/dave", &w.admin, json!({"password": "canary-set-password"}), &[]).await.is(200);
    out.push(canary("set password", "canary-set-password"));
    let session = text(&signed.body["token"]);
    let change = json!({"current": PASSWORD, "new": "canary-changed-password"});
    w.send("PUT", "/v1/session/password", &session, change, &[]).await.is(204);
    out.push(canary("changed password", "canary-changed-password"));
    let broken = w.http.post(w.url("/v1/users")).bearer_auth(&w.admin).body(r#"{"name": "x", "password": ["canary-broken-password"]}"#);
    assert_eq!(broken.send().await.unwrap().status(), 400);
    out.push(canary("password in a broken body", "canary-broken-password"));
    // Tokens, also behind an Idempotency-Key and its replay.
    let key = [("idempotency-key", "canary-key")];
    let made = w.send("POST", "/v1/tokens", &w.admin, json!({"name": "ci", "valid_s": 3600}), &key).await.is(201);
    out.push(canary("API token", text(&made.body["secret"])));
    w.send("POST", "/v1/tokens", &w.admin, json!({"name": "ci", "valid_s": 3600}), &key).await.is(409);
    let join = w.send("POST", "/v1/host-join-tokens", &w.admin, json!({"host_name": "h9"}), &[("idempotency-key", "canary-key-2")]).await.is(201);
    let file = text(&join.body["join_file"]);
    let inside: Value = serde_json::from_slice(&base64url(&file)).unwrap();
    let secret = inside.as_object().unwrap().values().find_map(|v| v.as_str().filter(|t| t.starts_with("vj_"))).unwrap();
    out.push(canary("join token", secret));
    out.push(canary("join file", file));
    out.push(canary("token in a wrong header", "vt_canary0000000000000000000000000000000000000000000"));
    w.send("GET", "/v1/vms", &out.last().unwrap().text, Value::Null, &[]).await.is(401);
    // First-boot settings: they lie with the VM, and nowhere else.
    let settings = json!({"user_data": "#cloud-config\npassword: canary-user-data\n", "network_config": "key: canary-network-config\n"});
    w.vm(json!({"name": "web", "start": true, "cloud_init": settings})).await;
    let again = json!({"cloud_init": {"user_data": "#cloud-config\npassword: canary-later-data\n"}, "cpus": 2});
    w.done(w.send("PATCH", "/v1/vms/web", &w.admin, again, &[("idempotency-key", "canary-key-3")]).await.is(202)).await;
    for text in ["canary-user-data", "canary-network-config", "canary-later-data"] {
        out.push(Canary { what: "first-boot settings", text: text.into(), allowed: &["vm"] });
    }
    w.post("/v1/vms", json!({"name": "web", "cloud_init": {"user_data": "canary-refused-data"}})).await.is(409);
    out.push(canary("first-boot settings of a refused VM", "canary-refused-data"));
    let ticket = w.post("/v1/vms/web/consoles", json!({"kind": "serial"})).await.is(201);
    out.push(canary("console ticket", text(&ticket.body["path"]).rsplit('/').next().unwrap()));
    w.send("GET", &text(&ticket.body["path"]), "", Value::Null, &[]).await;
    out
}

fn base64url(text: &str) -> Vec<u8> {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text.trim()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_the_log_a_table_or_a_file() {
    let log = Log::default();
    let writer = log.clone();
    let made = tracing_subscriber::fmt().with_max_level(tracing_subscriber::filter::LevelFilter::DEBUG).with_writer(move || writer.clone()).try_init();
    let w = World::new().await;
    let canaries = plant(&w).await;
    let mut tx = w.store.read().await.unwrap();
    let tables = virga_store::fingerprint::dump(&mut tx).await.unwrap();
    drop(tx);
    let (store_values, shown) = (tables.values().map(Vec::len).sum::<usize>(), String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned());
    assert!(store_values > 20 && (made.is_err() || shown.contains("request")), "the test looks where things are");
    let mut found = Vec::new();
    for c in &canaries {
        assert!(c.text.len() >= 12, "{}: too short to be looked for", c.what);
        // The secret's own part, without the prefix that says what it is.
        let secret = c.text.get(3..).unwrap_or_default();
        if shown.contains(secret) {
            let line = shown.lines().find(|l| l.contains(secret)).unwrap_or_default();
            found.push(format!("{} in the log: {line}", c.what));
        }
        for (table, rows) in tables.iter().filter(|(t, _)| !c.allowed.contains(&t.as_str())) {
            found.extend(rows.iter().filter(|r| r.contains(secret)).map(|r| format!("{} in {table}: {r}", c.what)));
        }
        for path in files(w.dir.path()) {
            if std::fs::read(&path).unwrap_or_default().windows(secret.len()).any(|b| b == secret.as_bytes()) {
                found.push(format!("{} in {}", c.what, path.display()));
            }
        }
    }
    println!("canaries: {} looked for in {store_values} rows and {} bytes of log, {} found", canaries.len(), shown.len(), found.len());
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

fn files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let (mut out, mut todo) = (Vec::new(), vec![folder.to_path_buf()]);
    while let Some(next) = todo.pop() {
        for path in std::fs::read_dir(next).into_iter().flatten().flatten().map(|e| e.path()) {
            if path.is_dir() { todo.push(path) } else { out.push(path) }
        }
    }
    out
}
