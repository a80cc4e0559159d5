//! Three administrators, none of whom may do the work of another (`reliability.md` 4.2).

use crate::world::{Answer, FakeNodes, answer, client, config};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use std::sync::Arc;
use tempfile::TempDir;
use virga_manager::config::{Config, TrustArgs};
use virga_manager::serve::{self, Running};
use virga_model::role::{Administration, Role, RoleBinding, Scope};
use virga_model::user::User;
use virga_model::{RoleBindingId, Time, UserId};
use virga_store::{Store, StoreError};

const PASSWORD: &str = "a password that was changed";

struct Three {
    running: Running,
    http: Client,
    dir: TempDir,
    system: String,
    security: String,
    audit: String,
}

fn settings(dir: &TempDir, administration: Option<Administration>) -> Config {
    Config { trust: TrustArgs { administration, ..TrustArgs::default() }, ..config(dir) }
}

impl Three {
    /// A new installation whose three administrators have changed their passwords.
    async fn new() -> Three {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let dir = tempfile::tempdir().unwrap();
        let running = serve::start(settings(&dir, Some(Administration::ThreeRoles)), Arc::new(FakeNodes::default())).await.unwrap();
        let http = client(&dir);
        let mut t = Three { running, http, dir, system: String::new(), security: String::new(), audit: String::new() };
        (t.system, t.security, t.audit) = (t.first("system").await, t.first("security").await, t.first("audit").await);
        t
    }

    /// Signs in with the one-time password and changes it.
    async fn first(&self, name: &str) -> String {
        let file = self.dir.path().join(format!("{name}-password"));
        let once = std::fs::read_to_string(&file).unwrap().trim().to_string();
        let body = json!({"user": name, "password": once});
        let session = self.send("POST", "/v1/session", "", body).await.is(201).body["token"].as_str().unwrap().to_string();
        self.send("GET", "/v1/users", &session, Value::Null).await.is(403);
        self.send("PUT", "/v1/session/password", &session, json!({"current": once, "new": PASSWORD})).await.is(204);
        assert!(!file.exists(), "the one-time password is gone");
        session
    }

    async fn send(&self, method: &str, path: &str, token: &str, body: Value) -> Answer {
        let url = format!("https://localhost:{}{path}", self.running.api_addr.port());
        let mut request = self.http.request(Method::from_bytes(method.as_bytes()).unwrap(), url);
        if !token.is_empty() {
            request = request.bearer_auth(token);
        }
        if !body.is_null() {
            request = request.json(&body);
        }
        answer(request.send().await.unwrap()).await
    }

    async fn grant(&self, by: &str, user: &str, role: &str) -> Answer {
        self.send("POST", "/v1/role-bindings", by, json!({"user": user, "role": role, "scope": {"scope": "all"}})).await
    }

    async fn binding(&self, user: &str, role: &str) -> String {
        let path = format!("/v1/role-bindings?filter=user%3D{user}%20and%20role%3D{role}");
        self.send("GET", &path, &self.security, Value::Null).await.is(200).body["items"][0]["id"].as_str().unwrap().to_string()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_makes_accounts_another_decides_over_them_and_a_third_reads_the_records() {
    let t = Three::new().await;
    let (system, security, audit) = (&t.system, &t.security, &t.audit);
    let anna = json!({"name": "anna"});
    t.send("POST", "/v1/users", security, anna.clone()).await.is(403);
    t.send("POST", "/v1/users", audit, anna.clone()).await.is(403);
    t.send("POST", "/v1/users", system, json!({"name": "anna", "password": PASSWORD})).await.is(422);
    t.send("POST", "/v1/users", system, json!({"name": "anna", "role": "viewer"})).await.is(422);
    let made = t.send("POST", "/v1/users", system, anna).await.is(201).body;
    assert_eq!((&made["disabled"], &made["grants"]), (&json!(true), &json!([])));
    let enable = json!({"disabled": false, "password": PASSWORD});
    for other in [system, audit] {
        t.send("PATCH", "/v1/users/anna", other, enable.clone()).await.is(403);
        t.grant(other, "anna", "viewer").await.is(403);
        t.send("DELETE", "/v1/users/anna", other, Value::Null).await.is(403);
    }
    t.send("PATCH", "/v1/users/anna", security, enable).await.is(200);
    t.grant(security, "anna", "user").await.is(201);
    for (path, who) in [("/v1/audit", audit), ("/v1/audit/export", audit), ("/v1/audit/anchors", audit), ("/v1/audit/retention", audit)] {
        t.send("GET", path, who, Value::Null).await.is(200);
        for other in [system, security] {
            t.send("GET", path, other, Value::Null).await.is(403);
        }
    }
    for other in [system, security] {
        t.send("PUT", "/v1/audit/retention", other, json!({"days": 365})).await.is(403);
    }
    t.send("PUT", "/v1/audit/retention", audit, json!({"days": 365})).await.is(200);
    for other in [security, audit] {
        t.send("POST", "/v1/networks", other, json!({"name": "n", "spec": {"kind": "nat", "cidr": "10.1.0.0/24"}})).await.is(403);
        t.send("GET", "/v1/hosts", other, Value::Null).await.is(403);
    }
    t.send("POST", "/v1/networks", system, json!({"name": "n", "spec": {"kind": "nat", "cidr": "10.1.0.0/24"}})).await.is(201);
    for all in [system, security, audit] {
        t.send("GET", "/v1/vms", all, Value::Null).await.is(403);
        t.send("POST", "/v1/vms", all, json!({"name": "x"})).await.is(403);
        t.send("DELETE", "/v1/audit", all, Value::Null).await.is(405);
    }
    let system_view = t.send("GET", "/v1/system", audit, Value::Null).await.is(200).body;
    assert_eq!(system_view["administration"], "three-roles");
    let roles = t.send("GET", "/v1/roles", audit, Value::Null).await.is(200).body.to_string();
    assert!(!roles.contains("\"admin\"") && !roles.contains("\"auditor\"") && roles.contains("\"audit_admin\""), "{roles}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_holds_two_of_the_three_or_decides_over_themselves() {
    let t = Three::new().await;
    let security = &t.security;
    let told = t.grant(security, "system", "audit_admin").await.is(409);
    assert!(told.body["detail"].as_str().unwrap().contains("two of the three"), "{:#}", told.body);
    for role in ["admin", "auditor"] {
        t.grant(security, "audit", role).await.is(422);
    }
    for role in ["user", "operator", "system_admin"] {
        t.grant(security, "security", role).await.is(403);
    }
    t.send("PATCH", "/v1/users/security", security, json!({"password": "another long password"})).await.is(403);
    t.send("DELETE", "/v1/users/security", security, Value::Null).await.is(403);
    let own = t.binding("security", "security_admin").await;
    t.send("DELETE", &format!("/v1/role-bindings/{own}"), security, Value::Null).await.is(403);
    let narrow = json!({"user": "system", "role": "system_admin", "scope": {"scope": "own"}});
    t.send("POST", "/v1/role-bindings", security, narrow).await.is(422);
    // Each of the three remains.
    let audits = t.binding("audit", "audit_admin").await;
    let told = t.send("DELETE", &format!("/v1/role-bindings/{audits}"), security, Value::Null).await.is(409);
    assert!(told.body["detail"].as_str().unwrap().contains("audit_admin"), "{:#}", told.body);
    t.send("PATCH", "/v1/users/system", security, json!({"disabled": true})).await.is(409);
    // With another one in place it may go.
    t.send("POST", "/v1/users", &t.system, json!({"name": "anna"})).await.is(201);
    t.send("PATCH", "/v1/users/anna", security, json!({"disabled": false})).await.is(200);
    t.grant(security, "anna", "audit_admin").await.is(201);
    t.grant(security, "anna", "system_admin").await.is(409);
    t.send("DELETE", &format!("/v1/role-bindings/{audits}"), security, Value::Null).await.is(204);
    t.send("GET", "/v1/audit", &t.audit, Value::Null).await.is(403);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mode_is_chosen_once() {
    let t = Three::new().await;
    let out = t.dir.path().join("token");
    let args = virga_manager::config::TokenArgs { state_dir: t.dir.path().into(), out: out.clone(), hours: 1, database: None };
    let refused = virga_manager::first::write_admin_token(&args).await.unwrap_err().to_string();
    assert!(refused.contains("nobody may do everything") && !out.exists(), "{refused}");
    let Three { running, dir, .. } = t;
    running.stop().await;
    let nodes = || Arc::new(FakeNodes::default());
    let refused = match serve::start(settings(&dir, Some(Administration::OneAdmin)), nodes()).await {
        Ok(_) => panic!("the mode was changed"),
        Err(e) => format!("{e:#}"),
    };
    assert!(refused.contains("administered as three-roles, not as one-admin"), "{refused}");
    serve::start(settings(&dir, Some(Administration::ThreeRoles)), nodes()).await.unwrap().stop().await;
    serve::start(settings(&dir, None), nodes()).await.unwrap().stop().await;
}

#[tokio::test]
async fn the_database_itself_refuses_a_second_of_the_three() {
    let store = Store::memory().await.unwrap();
    let user = User {
        id: UserId(uuid::Uuid::now_v7()),
        name: "anna".into(),
        password_hash: String::new(),
        must_change: false,
        disabled: false,
        failures: 0,
        locked_until: None,
        generation: 1,
        created_at: Time(0),
    };
    for (first, second) in Role::SEPARATED.into_iter().flat_map(|a| Role::SEPARATED.into_iter().map(move |b| (a, b))) {
        let mut tx = store.write().await.unwrap();
        virga_store::user::insert(&mut tx, &user).await.unwrap();
        let binding = |role, scope| RoleBinding { id: RoleBindingId(uuid::Uuid::now_v7()), user: user.id, role, scope };
        virga_store::role_binding::insert(&mut tx, &binding(Role::User, Scope::Own)).await.unwrap();
        virga_store::role_binding::insert(&mut tx, &binding(first, Scope::All)).await.unwrap();
        let refused = virga_store::role_binding::insert(&mut tx, &binding(second, Scope::Own)).await;
        assert!(matches!(refused, Err(StoreError::Taken { field: "administrator", .. })), "{first} and {second}: {refused:?}");
    }
}
