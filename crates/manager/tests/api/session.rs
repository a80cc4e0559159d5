//! Signing in.

use crate::world::{PASSWORD, World, answer, client, config};
use serde_json::{Value, json};
use std::sync::Arc;
use virga_model::role::{Role, Scope};

#[tokio::test(flavor = "multi_thread")]
async fn the_first_start_makes_an_admin_who_must_change_the_password() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let dir = tempfile::tempdir().unwrap();
    let running = virga_manager::serve::start(config(&dir), Arc::new(crate::world::FakeNodes::default())).await.unwrap();
    let (http, base) = (client(&dir), format!("https://127.0.0.1:{}", running.api_addr.port()));
    let file = dir.path().join("admin-password");
    let first = std::fs::read_to_string(&file).unwrap().trim().to_string();
    let sign_in = async |password: &str| {
        answer(http.post(format!("{base}/v1/session")).json(&json!({"user": "admin", "password": password})).send().await.unwrap()).await
    };
    let signed = sign_in(&first).await.is(201);
    assert_eq!(signed.body["must_change_password"], true);
    let token = signed.body["token"].as_str().unwrap().to_string();
    let get = async |path: &str| answer(http.get(format!("{base}{path}")).bearer_auth(&token).send().await.unwrap()).await;
    assert_eq!(get("/v1/vms").await.is(403).code(), "password_change_required");
    assert_eq!(get("/v1/session").await.is(200).body["must_change_password"], true);
    let change = async |current: &str, new: &str| {
        answer(http.put(format!("{base}/v1/session/password")).bearer_auth(&token).json(&json!({"current": current, "new": new})).send().await.unwrap()).await
    };
    assert_eq!(change(&first, "short").await.is(422).body["violations"][0]["field"], "new");
    assert_eq!(change("wrong", "a much better one").await.is(422).body["violations"][0]["field"], "current");
    change(&first, "a much better one").await.is(204);
    assert!(!file.exists(), "the one-time password is gone");
    get("/v1/vms").await.is(200);
    sign_in(&first).await.is(401);
    sign_in("a much better one").await.is(201);
    // The network every installation begins with, and the token for who reads the folder.
    assert_eq!(get("/v1/networks/nat").await.is(200).body["spec"]["cidr"], "192.168.200.0/24");
    let out = dir.path().join("token");
    let args = virga_manager::config::TokenArgs { state_dir: dir.path().into(), out: out.clone(), hours: 1, database: None };
    virga_manager::first::write_admin_token(&args).await.unwrap();
    let former = std::fs::read_to_string(&out).unwrap();
    virga_manager::first::write_admin_token(&args).await.unwrap();
    let made = std::fs::read_to_string(&out).unwrap();
    assert_ne!(former, made, "a token is replaced by a newer one");
    let other = virga_manager::config::TokenArgs { out: dir.path().join("ca.pem"), ..args };
    assert!(virga_manager::first::write_admin_token(&other).await.is_err(), "never over a file that holds something else");
    let audit = answer(http.get(format!("{base}/v1/audit?filter=operation%3Dtoken_create")).bearer_auth(made.trim()).send().await.unwrap()).await.is(200);
    assert_eq!(audit.body["items"][0]["actor"], "local administrator");
    assert!(!audit.body.to_string().contains(made.trim()));
    running.stop().await;
}

async fn sign_in(w: &World, user: &str, password: &str) -> crate::world::Answer {
    w.send("POST", "/v1/session", "", json!({"user": user, "password": password}), &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_passwords_lock_the_account_and_tell_nothing() {
    let w = World::bare().await;
    w.user("bob", &[]).await;
    let mut texts = std::collections::BTreeSet::new();
    for (user, password) in
        [("bob", "wrong-0"), ("nobody", PASSWORD), ("bob", "wrong-1"), ("bob", "wrong-2"), ("bob", "wrong-3"), ("bob", "wrong-4"), ("bob", PASSWORD)]
    {
        let a = sign_in(&w, user, password).await.is(401);
        texts.insert((a.body["detail"].to_string(), a.body["hint"].to_string()));
    }
    assert_eq!(texts.len(), 1, "unknown, wrong and locked look the same: {texts:?}");
    w.advance(301);
    sign_in(&w, "bob", PASSWORD).await.is(201);
    let audit = w.get("/v1/audit?filter=operation%3Dsession_create&limit=100").await.body;
    let results: Vec<&str> = audit["items"].as_array().unwrap().iter().map(|r| r["result"].as_str().unwrap()).collect();
    assert_eq!(results.iter().filter(|r| **r == "unauthenticated").count(), 7);
    assert!(!audit.to_string().contains("wrong-"), "no password is recorded");
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_ins_of_one_address_are_limited() {
    let w = World::bare().await;
    let mut refused = None;
    for i in 0..40 {
        // Too long to be hashed: quick.
        let a = sign_in(&w, &format!("u{i}"), &"x".repeat(2000)).await;
        if a.status == 429 {
            refused = Some(a);
            break;
        }
        a.is(401);
    }
    let refused = refused.expect("there is a limit");
    assert!(refused.body["hint"].as_str().unwrap().contains("Try again in"), "{}", refused.body);
    w.get("/v1/vms").await.is(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cookie_needs_its_header_for_changes() {
    let w = World::bare().await;
    w.user("carol", &[(Role::Operator, Scope::All)]).await;
    let signed = sign_in(&w, "carol", PASSWORD).await.is(201);
    let set = signed.header("set-cookie").to_string();
    for part in ["__Host-virga=vs_", "HttpOnly", "Secure", "SameSite=Strict", "Path=/"] {
        assert!(set.contains(part), "{set}");
    }
    let cookie = set.split(';').next().unwrap().to_string();
    let csrf = signed.body["csrf"].as_str().unwrap().to_string();
    w.send("GET", "/v1/images", "", Value::Null, &[("cookie", &cookie)]).await.is(200);
    let body = json!({"name": "i"});
    w.send("POST", "/v1/images", "", body.clone(), &[("cookie", &cookie)]).await.is(403);
    w.send("POST", "/v1/images", "", body.clone(), &[("cookie", &cookie), ("x-virga-csrf", "guess")]).await.is(403);
    w.send("POST", "/v1/images", "", body, &[("cookie", &cookie), ("x-virga-csrf", &csrf)]).await.is(201);
    w.send("DELETE", "/v1/session", "", Value::Null, &[("cookie", &cookie), ("x-virga-csrf", &csrf)]).await.is(204);
    w.send("GET", "/v1/images", "", Value::Null, &[("cookie", &cookie)]).await.is(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_end_by_idleness_age_disabling_and_new_passwords() {
    let w = World::bare().await;
    w.user("dave", &[(Role::Viewer, Scope::All)]).await;
    let begin = async || sign_in(&w, "dave", PASSWORD).await.is(201).body["token"].as_str().unwrap().to_string();
    let look = async |t: &str| w.send("GET", "/v1/session", t, Value::Null, &[]).await.status;
    let idle = begin().await;
    w.advance(3599);
    assert_eq!(look(&idle).await, 200);
    w.advance(3601);
    assert_eq!(look(&idle).await, 401);
    let old = begin().await;
    for _ in 0..14 {
        w.advance(3300);
        look(&old).await;
    }
    assert_eq!(look(&old).await, 401, "at most twelve hours");
    let (mine, other) = (begin().await, begin().await);
    let change = json!({"current": PASSWORD, "new": "another good password"});
    w.send("PUT", "/v1/session/password", &mine, change, &[]).await.is(204);
    assert_eq!((look(&mine).await, look(&other).await), (200, 401));
    w.send("PATCH", "/v1/users/dave", &w.admin, json!({"disabled": true}), &[]).await.is(200);
    assert_eq!(look(&mine).await, 401);
    sign_in(&w, "dave", "another good password").await.is(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_is_taken_back_counts_at_once() {
    let w = World::bare().await;
    w.user("erin", &[]).await;
    let t = sign_in(&w, "erin", PASSWORD).await.is(201).body["token"].as_str().unwrap().to_string();
    w.send("GET", "/v1/vms", &t, Value::Null, &[]).await.is(403);
    let grant = w.post("/v1/role-bindings", json!({"user": "erin", "role": "viewer", "scope": {"scope": "all"}})).await.is(201).body;
    w.send("GET", "/v1/vms", &t, Value::Null, &[]).await.is(200);
    let path = format!("/v1/role-bindings/{}", grant["id"].as_str().unwrap());
    w.send("DELETE", &path, &w.admin, Value::Null, &[]).await.is(204);
    w.send("GET", "/v1/vms", &t, Value::Null, &[]).await.is(403);
}
