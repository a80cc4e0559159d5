//! Who may do what, for every operation of the document.

use crate::world::World;
use serde_json::{Value, json};
use virga_manager::http::authz::{Access, Over, find};
use virga_model::role::{Role, Scope};

struct Operation {
    name: String,
    method: String,
    path: String,
    body: Value,
}

/// A value that a schema accepts: required fields only.
fn sample(document: &Value, schema: &Value) -> Value {
    if let Some(r) = schema["$ref"].as_str() {
        return sample(document, document.pointer(r.trim_start_matches('#')).unwrap());
    }
    for alternatives in ["allOf", "oneOf", "anyOf"] {
        if let Some(first) = schema[alternatives].as_array().and_then(|a| a.first()) {
            return sample(document, first);
        }
    }
    if let Some(first) = schema["enum"].as_array().and_then(|e| e.first()) {
        return first.clone();
    }
    match schema["type"].as_str().unwrap_or("object") {
        "string" if schema["format"] == "uuid" => json!(uuid::Uuid::nil()),
        "string" => json!("abcdefghijklmn"),
        "integer" | "number" => json!(3600),
        "boolean" => json!(false),
        "array" => json!([]),
        _ => {
            let required = schema["required"].as_array().cloned().unwrap_or_default();
            let fields = required.iter().map(|f| f.as_str().unwrap()).map(|f| (f.to_string(), sample(document, &schema["properties"][f])));
            Value::Object(fields.collect())
        }
    }
}

fn operations() -> Vec<Operation> {
    let document: Value = serde_json::from_str(&virga_api::v1::openapi_json()).unwrap();
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, o) in item.as_object().unwrap() {
            let schema = &o["requestBody"]["content"]["application/json"]["schema"];
            let body = if schema.is_null() { Value::Null } else { sample(&document, schema) };
            all.push(Operation { name: o["operationId"].as_str().unwrap().into(), method: method.to_uppercase(), path: path.clone(), body });
        }
    }
    all
}

/// The path with an id for every parameter.
fn filled(path: &str, vm: &str) -> String {
    let parts = path.split('/').map(|p| match p {
        "{vm}" => vm.to_string(),
        p if p.starts_with('{') => uuid::Uuid::nil().to_string(),
        p => p.to_string(),
    });
    parts.collect::<Vec<_>>().join("/")
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_credential_nothing_answers_but_what_is_public() {
    let w = World::bare().await;
    // Another last character than it has.
    let last = if w.admin.ends_with('A') { 'B' } else { 'A' };
    let bad_checksum = format!("{}{last}", &w.admin[..w.admin.len() - 1]);
    for o in operations() {
        let Access::Public = find(&o.name).unwrap().access else {
            for token in ["", "vt_nonsense", &bad_checksum, "vs_x"] {
                let a = w.send(&o.method, &filled(&o.path, "x"), token, o.body.clone(), &[]).await;
                assert_eq!((a.status, a.code()), (401, "unauthenticated"), "{} {}: {}", o.method, o.path, a.body);
            }
            continue;
        };
        if matches!(o.name.as_str(), "ping" | "docs" | "openapi") {
            w.send(&o.method, &o.path, "", Value::Null, &[]).await.is(200);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_over_the_installation_need_their_privilege() {
    let w = World::new().await;
    let nothing = w.user("nothing", &[]).await;
    let tenant = w.user("tenant", &[(Role::User, Scope::Own)]).await;
    for o in operations() {
        let Access::Needs(privilege, over) = find(&o.name).unwrap().access else { continue };
        let path = filled(&o.path, "x");
        let a = w.send(&o.method, &path, &nothing, o.body.clone(), &[]).await;
        let expected = if matches!(over, Over::Object | Over::Source) { 404 } else { 403 };
        assert_eq!(a.status, expected, "{} without any role: {}", o.name, a.body);
        if over == Over::Installation {
            let a = w.send(&o.method, &path, &tenant, o.body.clone(), &[]).await;
            assert_eq!(a.status, 403, "{} ({privilege:?}) as tenant: {}", o.name, a.body);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_to_others_looks_like_what_is_not_there() {
    let w = World::new().await;
    let mallory = w.user("mallory", &[(Role::User, Scope::Own)]).await;
    let vm = w.vm(json!({"name": "secret", "disks": [{"size_bytes": 1 << 30}], "nics": [{"network": "nat"}], "cdroms": [""]})).await;
    let id = vm["id"].as_str().unwrap();
    for o in operations().iter().filter(|o| o.path.contains("{vm}")) {
        for name in ["secret", id] {
            let there = w.send(&o.method, &filled(&o.path, name), &mallory, o.body.clone(), &[]).await;
            let missing = w.send(&o.method, &filled(&o.path, "missing"), &mallory, o.body.clone(), &[]).await;
            assert_eq!((there.status, missing.status), (404, 404), "{}: {} / {}", o.name, there.body, missing.body);
            assert_eq!(there.body["detail"].as_str().unwrap().replace(name, "missing"), missing.body["detail"].as_str().unwrap(), "{}", o.name);
        }
    }
    // Nor in lists, tasks, events or filters.
    for path in ["/v1/vms?total=true", "/v1/tasks", "/v1/events", "/v1/vms?filter=name%3Dsecret"] {
        let a = w.send("GET", path, &mallory, Value::Null, &[]).await.is(200);
        assert_eq!(a.body["items"], json!([]), "{path}");
    }
    let task = w.get("/v1/tasks").await.body["items"][0]["id"].as_str().unwrap().to_string();
    w.send("GET", &format!("/v1/tasks/{task}"), &mallory, Value::Null, &[]).await.is(404);
    w.send("POST", &format!("/v1/tasks/{task}/cancel"), &mallory, Value::Null, &[]).await.is(404);
    let batch = json!({"action": "start", "vms": ["secret"]});
    let a = w.send("POST", "/v1/vm-batches", &mallory, batch, &[]).await.is(202);
    assert_eq!(a.body["refused"][0]["problem"]["code"], "not_found");
    let system = w.send("GET", "/v1/system", &mallory, Value::Null, &[]).await.is(200).body;
    assert_eq!((&system["vms"], &system["hosts"]), (&json!(0), &json!(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_use_their_own_and_never_see_hosts() {
    let w = World::new().await;
    let alice = w.user("alice", &[(Role::User, Scope::Own)]).await;
    let made = w.send("POST", "/v1/vms", &alice, json!({"name": "mine", "start": true}), &[]).await.is(202);
    assert!(!made.body["plan"].to_string().contains("h1") && !made.body["plan"].to_string().contains("h2"), "{}", made.body);
    w.done(made).await;
    let vm = w.send("GET", "/v1/vms/mine", &alice, Value::Null, &[]).await.is(200).body;
    assert_eq!(vm["owner"]["name"], "alice");
    assert!(vm["host"].is_null() && vm["placement"].is_null(), "{vm:#}");
    assert!(w.get("/v1/vms/mine").await.body["host"]["name"].is_string());
    w.send("GET", "/v1/hosts", &alice, Value::Null, &[]).await.is(403);
    w.send("GET", "/v1/hosts/h1", &alice, Value::Null, &[]).await.is(404);
    w.send("GET", "/v1/vms?filter=host%3Dh1", &alice, Value::Null, &[]).await.is(400);
    w.send("POST", "/v1/vms", &alice, json!({"name": "x", "host": "h1"}), &[]).await.is(422);
    let full = w.send("POST", "/v1/vms", &alice, json!({"name": "big", "memory_bytes": 64u64 << 30}), &[]).await.is(507);
    assert!(full.body["refusals"].is_null() && !full.body.to_string().contains("h1"), "{:#}", full.body);
    let events = w.send("GET", "/v1/events", &alice, Value::Null, &[]).await.is(200).body;
    assert!(events["items"].as_array().unwrap().iter().any(|e| e["kind"] == "vm.created"));
    let tasks = w.send("GET", "/v1/tasks", &alice, Value::Null, &[]).await.is(200).body;
    assert_eq!(tasks["items"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn scopes_of_hosts_and_single_vms_hold() {
    let w = World::bare().await;
    let h1 = w.host("h1").await;
    w.host("h2").await;
    let a = w.vm(json!({"name": "a", "host": "h1"})).await;
    w.vm(json!({"name": "b", "host": "h2"})).await;
    let of_host = w.user("of-host", &[(Role::Operator, Scope::Host(h1))]).await;
    let of_vm = w.user("of-vm", &[(Role::User, Scope::Vm(a["id"].as_str().unwrap().parse().unwrap()))]).await;
    for token in [&of_host, &of_vm] {
        w.send("GET", "/v1/vms/a", token, Value::Null, &[]).await.is(200);
        w.send("GET", "/v1/vms/b", token, Value::Null, &[]).await.is(404);
    }
    let hosts = w.send("GET", "/v1/hosts", &of_host, Value::Null, &[]).await.is(200).body;
    assert_eq!(hosts["items"].as_array().unwrap().len(), 1);
    w.send("PATCH", "/v1/hosts/h1", &of_host, json!({"maintenance": true}), &[]).await.is(200);
    w.send("PATCH", "/v1/hosts/h2", &of_host, json!({"maintenance": true}), &[]).await.is(404);
    // New VMs: only on that host; a role over one VM makes no other.
    w.send("PATCH", "/v1/hosts/h1", &of_host, json!({"maintenance": false}), &[]).await.is(200);
    let made = w.send("POST", "/v1/vms", &of_host, json!({"name": "c"}), &[]).await.is(202);
    w.done(made).await;
    assert_eq!(w.get("/v1/vms/c").await.body["host"]["name"], "h1");
    w.send("POST", "/v1/vms", &of_vm, json!({"name": "d"}), &[]).await.is(403);
    // A viewer sees and may not: 403, not 404.
    let viewer = w.user("viewer", &[(Role::Viewer, Scope::All)]).await;
    for (method, path, body) in [
        ("DELETE", "/v1/vms/a", Value::Null),
        ("POST", "/v1/vms/a/power", json!({"action": "start"})),
        ("POST", "/v1/vms/a/consoles", json!({"kind": "vnc"})),
        ("PATCH", "/v1/hosts/h1", json!({})),
    ] {
        w.send(method, path, &viewer, body, &[]).await.is(403);
    }
    let refused = w.get("/v1/audit?filter=actor%3Dviewer").await.is(200).body;
    assert_eq!(refused["items"].as_array().unwrap().len(), 4, "refusals are recorded: {refused:#}");
}
