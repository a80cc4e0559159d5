//! API tokens.

use crate::world::World;
use serde_json::{Value, json};
use virga_model::role::{Role, Scope};

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_a_token_hold() {
    let w = World::new().await;
    w.vm(json!({"name": "a"})).await;
    let viewer = w.limited(Some(Role::Viewer), None).await;
    w.send("GET", "/v1/vms/a", &viewer, Value::Null, &[]).await.is(200);
    w.send("DELETE", "/v1/vms/a", &viewer, Value::Null, &[]).await.is(403);
    w.send("GET", "/v1/users", &viewer, Value::Null, &[]).await.is(403);
    let other = w.user("other", &[(Role::User, Scope::Own)]).await;
    let made = w.send("POST", "/v1/vms", &other, json!({"name": "b"}), &[]).await.is(202);
    w.done(made).await;
    let own = w.limited(None, Some(Scope::Own)).await;
    w.send("GET", "/v1/vms/a", &own, Value::Null, &[]).await.is(200);
    w.send("GET", "/v1/vms/b", &own, Value::Null, &[]).await.is(404);
    w.send("GET", "/v1/users", &own, Value::Null, &[]).await.is(403);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_made_shown_once_and_revoked() {
    let w = World::bare().await;
    let made = w.post("/v1/tokens", json!({"name": "ci", "valid_s": 3600, "role": "viewer"})).await.is(201).body;
    let (secret, id) = (made["secret"].as_str().unwrap().to_string(), made["token"]["id"].as_str().unwrap().to_string());
    assert!(secret.starts_with("vt_"));
    w.send("GET", "/v1/vms", &secret, Value::Null, &[]).await.is(200);
    let listed = w.get("/v1/tokens").await.is(200).body;
    assert!(listed.to_string().contains("\"ci\"") && !listed.to_string().contains(&secret));
    w.send("DELETE", &format!("/v1/tokens/{id}"), &w.admin, Value::Null, &[]).await.is(204);
    w.send("GET", "/v1/vms", &secret, Value::Null, &[]).await.is(401);
    let short = w.post("/v1/tokens", json!({"name": "short", "valid_s": 60})).await.is(201).body["secret"].as_str().unwrap().to_string();
    w.advance(61);
    w.send("GET", "/v1/vms", &short, Value::Null, &[]).await.is(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_cannot_make_a_stronger_one_nor_touch_a_password() {
    let w = World::bare().await;
    let viewer = w.limited(Some(Role::Viewer), None).await;
    w.send("POST", "/v1/tokens", &viewer, json!({"name": "x", "valid_s": 60, "role": "admin"}), &[]).await.is(403);
    let child = w.send("POST", "/v1/tokens", &viewer, json!({"name": "x", "valid_s": 60}), &[]).await.is(201).body;
    assert_eq!(child["token"]["role"], "viewer");
    w.send("PUT", "/v1/session/password", &w.admin, json!({"current": "x", "new": "yyyyyyyyyyyyz"}), &[]).await.is(403);
    // Others' tokens are not even there.
    let bob = w.user("bob", &[(Role::User, Scope::Own)]).await;
    let id = child["token"]["id"].as_str().unwrap();
    w.send("DELETE", &format!("/v1/tokens/{id}"), &bob, Value::Null, &[]).await.is(404);
    assert_eq!(w.send("GET", "/v1/tokens", &bob, Value::Null, &[]).await.is(200).body["items"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_not_kept_for_an_idempotency_key() {
    let w = World::bare().await;
    let key = [("idempotency-key", "k1")];
    let body = json!({"name": "ci", "valid_s": 3600});
    let secret = w.send("POST", "/v1/tokens", &w.admin, body.clone(), &key).await.is(201).body["secret"].as_str().unwrap().to_string();
    let again = w.send("POST", "/v1/tokens", &w.admin, body, &key).await.is(409);
    assert!(!again.body.to_string().contains(&secret));
    assert_eq!(w.get("/v1/tokens?filter=name%3Dci").await.body["items"].as_array().unwrap().len(), 1);
}
