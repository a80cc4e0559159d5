//! Accounts and roles.

use crate::world::World;
use serde_json::{Value, json};
use virga_model::role::{Role, Scope};

#[tokio::test(flavor = "multi_thread")]
async fn the_last_admin_stays() {
    let w = World::bare().await;
    w.send("DELETE", "/v1/users/admin", &w.admin, Value::Null, &[]).await.is(409);
    w.send("PATCH", "/v1/users/admin", &w.admin, json!({"disabled": true}), &[]).await.is(409);
    let bindings = w.get("/v1/role-bindings").await.is(200).body;
    let id = bindings["items"][0]["id"].as_str().unwrap().to_string();
    w.send("DELETE", &format!("/v1/role-bindings/{id}"), &w.admin, Value::Null, &[]).await.is(409);
    let second = w.user("second", &[(Role::Admin, Scope::All)]).await;
    w.send("PATCH", "/v1/users/admin", &second, json!({"disabled": true}), &[]).await.is(200);
    w.send("DELETE", "/v1/users/second", &second, Value::Null, &[]).await.is(409);
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_are_made_changed_and_removed() {
    let w = World::bare().await;
    let bad = w.post("/v1/users", json!({"name": "x y", "password": "long enough password"})).await.is(422);
    assert_eq!(bad.body["violations"][0]["field"], "name");
    let bad = w.post("/v1/users", json!({"name": "frank", "password": "short"})).await.is(422);
    assert_eq!(bad.body["violations"][0]["field"], "password");
    let made = w.post("/v1/users", json!({"name": "frank", "password": "long enough password", "role": "viewer"})).await.is(201).body;
    assert_eq!(made["must_change_password"], true);
    assert_eq!(made["grants"][0]["role"], "viewer");
    w.post("/v1/users", json!({"name": "frank", "password": "long enough password"})).await.is(409);
    let view = w.get("/v1/users/frank").await.is(200);
    assert_eq!(view.header("etag"), "\"1\"");
    w.send("PATCH", "/v1/users/frank", &w.admin, json!({"disabled": true}), &[("if-match", "\"9\"")]).await.is(412);
    w.send("PATCH", "/v1/users/frank", &w.admin, json!({"disabled": true}), &[("if-match", "\"1\"")]).await.is(200);
    let dup = json!({"user": "frank", "role": "viewer", "scope": {"scope": "all"}});
    w.post("/v1/role-bindings", dup).await.is(409);
    w.send("DELETE", "/v1/users/frank", &w.admin, Value::Null, &[]).await.is(204);
    w.get("/v1/users/frank").await.is(404);
    let audit = w.get("/v1/audit?limit=1000").await.is(200).body.to_string();
    assert!(!audit.contains("long enough password") && audit.contains("account removed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_and_who_am_i_are_told() {
    let w = World::bare().await;
    let t = w.user("tenant", &[(Role::User, Scope::Own)]).await;
    let roles = w.send("GET", "/v1/roles", &t, Value::Null, &[]).await.is(200).body;
    assert_eq!(roles.as_array().unwrap().len(), 5);
    let me = w.send("GET", "/v1/session", &t, Value::Null, &[]).await.is(200).body;
    assert_eq!(me["name"], "tenant");
    assert!(me["privileges"].as_array().unwrap().contains(&json!("vm_create")) && !me["privileges"].to_string().contains("host"));
    // Nobody raises themselves.
    let grant = json!({"user": "tenant", "role": "admin", "scope": {"scope": "all"}});
    w.send("POST", "/v1/role-bindings", &t, grant, &[]).await.is(403);
}
