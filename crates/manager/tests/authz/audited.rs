//! What is recorded, and that nothing is done that cannot be recorded (`reliability.md` Y1, X20).

use crate::world::{Answer, PASSWORD, World};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use virga_manager::http::authz;
use virga_model::role::{Role, Scope};
use virga_store::{Page, probe};

/// Tables that change by themselves.
const VOLATILE: [&str; 4] = ["audit_gone", "audit", "loop_lease", "manager"];

/// Records of one request.
async fn records(w: &World, request: &str) -> Vec<(String, String)> {
    let filter = virga_model::filter::parse(&format!("request_id = {request}")).unwrap();
    let page = Page { limit: 100, filter: Some(filter), ..Page::default() };
    let mut tx = w.store.read().await.unwrap();
    virga_store::audit::list(&mut tx, &page).await.unwrap().items.into_iter().map(|r| (r.operation, r.result)).collect()
}

struct Round {
    w: World,
    done: BTreeSet<&'static str>,
}

impl Round {
    /// A request that succeeds and leaves one record; before that, with an audit table that cannot be written, it is
    /// refused and changes nothing.
    async fn step(&mut self, name: &str, method: &str, path: &str, token: &str, body: Value) -> Answer {
        let name = authz::find(name).unwrap().name;
        probe::audit_gone(&self.w.store, true).await.unwrap();
        let before = probe::digest(&self.w.store, &VOLATILE).await.unwrap();
        let refused = self.w.send(method, path, token, body.clone(), &[]).await;
        let after = probe::digest(&self.w.store, &VOLATILE).await.unwrap();
        self.w.send("GET", "/v1/vms", &self.w.admin, Value::Null, &[]).await.is(200);
        probe::audit_gone(&self.w.store, false).await.unwrap();
        assert!(refused.status >= 500, "{name} was done without a record: {} {}", refused.status, refused.body);
        assert_eq!(before, after, "{name} changed something without a record");
        let answer = self.w.send(method, path, token, body, &[]).await;
        assert!((200..300).contains(&answer.status), "{name}: {} {:#}", answer.status, answer.body);
        let found = records(&self.w, answer.header("x-request-id")).await;
        assert_eq!(found, [(name.to_string(), "ok".to_string())], "{name} must leave one record");
        self.done.insert(name);
        answer
    }

    async fn admin(&mut self, name: &str, method: &str, path: &str, body: Value) -> Answer {
        let token = self.w.admin.clone();
        self.step(name, method, path, &token, body).await
    }

    /// A change of a VM, and the end of its task.
    async fn vm(&mut self, name: &str, method: &str, path: &str, body: Value) {
        let answer = self.admin(name, method, path, body).await;
        self.w.done(answer.is(202)).await;
    }
}

fn id(a: &Answer) -> String {
    a.body["id"].as_str().unwrap().to_string()
}

async fn accounts(r: &mut Round) {
    r.admin("user_create", "POST", "/v1/users", json!({"name": "ops", "password": PASSWORD})).await;
    let binding = id(&r.admin("role_binding_create", "POST", "/v1/role-bindings", json!({"user": "ops", "role": "viewer", "scope": {"scope": "all"}})).await);
    r.admin("role_binding_delete", "DELETE", &format!("/v1/role-bindings/{binding}"), Value::Null).await;
    r.admin("user_update", "PATCH", "/v1/users/ops", json!({"disabled": true})).await;
    r.admin("user_delete", "DELETE", "/v1/users/ops", Value::Null).await;
    let made = r.admin("token_create", "POST", "/v1/tokens", json!({"name": "t", "valid_s": 3600})).await;
    let token = made.body["token"]["id"].as_str().unwrap().to_string();
    r.admin("token_delete", "DELETE", &format!("/v1/tokens/{token}"), Value::Null).await;
    r.w.user("anna", &[(Role::Viewer, Scope::All)]).await;
    let sign_in = json!({"user": "anna", "password": PASSWORD});
    let session = r.step("session_create", "POST", "/v1/session", "", sign_in).await.body["token"].as_str().unwrap().to_string();
    let change = json!({"current": PASSWORD, "new": "another long password"});
    r.step("password_change", "PUT", "/v1/session/password", &session, change).await;
    r.step("session_delete", "DELETE", "/v1/session", &session, Value::Null).await;
}

async fn machines(r: &mut Round) {
    r.admin("host_join_token_create", "POST", "/v1/host-join-tokens", json!({"host_name": "h9"})).await;
    r.w.host("h3").await;
    r.admin("host_update", "PATCH", "/v1/hosts/h3", json!({"maintenance": true})).await;
    r.admin("host_delete", "DELETE", "/v1/hosts/h3", Value::Null).await;
    r.admin("image_create", "POST", "/v1/images", json!({"name": "i"})).await;
    r.admin("image_upload", "PUT", "/v1/images/i/content", json!("x".repeat(510))).await;
    r.vm("image_delete", "DELETE", "/v1/images/i", Value::Null).await;
    r.admin("network_create", "POST", "/v1/networks", json!({"name": "n", "spec": {"kind": "nat", "cidr": "10.9.0.0/24"}})).await;
    r.vm("network_delete", "DELETE", "/v1/networks/n", Value::Null).await;
    let spec = json!({"kind": "shared_directory", "path": "/srv/gold"});
    r.vm("data_store_create", "POST", "/v1/data-stores", json!({"name": "gold", "spec": spec})).await;
    r.admin("data_store_update", "PATCH", "/v1/data-stores/gold", json!({"maintenance": true})).await;
    r.vm("data_store_delete", "DELETE", "/v1/data-stores/gold?forget=true", Value::Null).await;
    r.admin("audit_list", "GET", "/v1/audit?limit=1", Value::Null).await;
    r.admin("audit_export", "GET", "/v1/audit/export", Value::Null).await;
    r.admin("audit_anchor_list", "GET", "/v1/audit/anchors", Value::Null).await;
    r.admin("audit_retention_update", "PUT", "/v1/audit/retention", json!({"days": 365})).await;
}

async fn vms(r: &mut Round) {
    let body = json!({"name": "a", "disks": [{"size_bytes": 1 << 30}], "nics": [{"network": "nat"}], "cdroms": [""]});
    r.vm("vm_create", "POST", "/v1/vms", body).await;
    r.vm("vm_power", "POST", "/v1/vms/a/power", json!({"action": "start"})).await;
    r.admin("vm_console", "POST", "/v1/vms/a/consoles", json!({"kind": "vnc"})).await;
    r.vm("vm_power", "POST", "/v1/vms/a/power", json!({"action": "force_off"})).await;
    r.vm("vm_update", "PATCH", "/v1/vms/a", json!({"cpus": 2})).await;
    r.vm("vm_disk_attach", "POST", "/v1/vms/a/disks", json!({"size_bytes": 1 << 30})).await;
    r.vm("vm_nic_attach", "POST", "/v1/vms/a/nics", json!({"network": "nat"})).await;
    let spec = r.w.get("/v1/vms/a").await.body["spec"].clone();
    let device = |list: &str, n: usize| spec[list][n]["id"].as_str().unwrap().to_string();
    let (disk, nic, drive) = (device("disks", 1), device("nics", 1), device("cdroms", 0));
    r.vm("vm_disk_update", "PATCH", &format!("/v1/vms/a/disks/{disk}"), json!({"size_bytes": 2u64 << 30})).await;
    r.vm("vm_disk_update", "PATCH", &format!("/v1/vms/a/disks/{disk}"), json!({"mode": "independent_persistent"})).await;
    r.vm("vm_disk_detach", "DELETE", &format!("/v1/vms/a/disks/{disk}?keep=true"), Value::Null).await;
    r.vm("vm_disk_reattach", "POST", &format!("/v1/vms/a/disks/{disk}/attach"), Value::Null).await;
    r.vm("vm_disk_reclaim", "POST", &format!("/v1/vms/a/disks/{disk}/reclaim"), Value::Null).await;
    r.vm("vm_disk_detach", "DELETE", &format!("/v1/vms/a/disks/{disk}"), Value::Null).await;
    r.vm("vm_nic_update", "PATCH", &format!("/v1/vms/a/nics/{nic}"), json!({"link_up": false})).await;
    r.vm("vm_nic_detach", "DELETE", &format!("/v1/vms/a/nics/{nic}"), Value::Null).await;
    let iso = virga_tests::images::iso();
    r.w.image("iso", iso).await;
    r.vm("vm_media_change", "PUT", &format!("/v1/vms/a/cdroms/{drive}"), json!({"image": "iso"})).await;
    r.admin("schedule_create", "POST", "/v1/schedules", crate::cells::schedule("nightly")).await;
    r.admin("schedule_update", "PATCH", "/v1/schedules/nightly", json!({"keep": {"days": 3}})).await;
    r.admin("schedule_run", "POST", "/v1/schedules/nightly/run", Value::Null).await;
    r.admin("schedule_delete", "DELETE", "/v1/schedules/nightly", Value::Null).await;
    r.vm("vm_snapshot_create", "POST", "/v1/vms/a/snapshots", json!({"name": "s"})).await;
    r.admin("vm_snapshot_update", "PATCH", "/v1/vms/a/snapshots/s", json!({"note": "x"})).await;
    r.vm("vm_snapshot_revert", "POST", "/v1/vms/a/snapshots/s/revert", json!({})).await;
    r.vm("vm_snapshot_delete", "DELETE", "/v1/vms/a/snapshots/s", Value::Null).await;
    r.vm("vm_clone", "POST", "/v1/vms/a/clone", json!({"name": "copy"})).await;
    r.vm("template_create", "POST", "/v1/templates", json!({"vm": "copy", "name": "t", "convert": true})).await;
    r.admin("template_update", "PATCH", "/v1/templates/t", json!({"description": "x"})).await;
    r.vm("template_deploy", "POST", "/v1/templates/t/deploy", json!({"name": "lab", "kind": "linked"})).await;
    r.vm("vm_refresh", "POST", "/v1/vms/lab/refresh", Value::Null).await;
    r.vm("vm_delete", "DELETE", "/v1/vms/lab", Value::Null).await;
    r.vm("template_convert", "POST", "/v1/templates/t/convert", Value::Null).await;
    r.vm("template_create", "POST", "/v1/templates", json!({"vm": "t", "convert": true})).await;
    r.vm("template_delete", "DELETE", "/v1/templates/t", Value::Null).await;
    r.vm("vm_export_create", "POST", "/v1/vms/a/export", json!({"disk_format": "qcow2"})).await;
    r.admin("vm_export_content", "GET", "/v1/vms/a/export/content", Value::Null).await;
    r.vm("vm_export_delete", "DELETE", "/v1/vms/a/export", Value::Null).await;
    r.vm("vm_delete", "DELETE", "/v1/vms/a", Value::Null).await;
    let bios = virga_tests::images::ova::VMWARE.replace("vmw:value=\"efi\"", "vmw:value=\"bios\"");
    r.w.image("package", virga_tests::images::ova::package("x", &bios, &[("x-disk1.vmdk", virga_tests::images::ova::disk())], None)).await;
    let body = json!({"package": "package", "name": "imported", "networks": {"VM Network": "nat"}});
    r.vm("vm_import", "POST", "/v1/vm-imports", body).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_leaves_one_record_and_is_refused_without() {
    let mut r = Round { w: World::new().await, done: BTreeSet::new() };
    accounts(&mut r).await;
    machines(&mut r).await;
    vms(&mut r).await;
    let audited: BTreeSet<&str> = authz::TABLE.iter().filter(|e| e.audited).map(|e| e.name).collect();
    let missing: Vec<_> = audited.difference(&r.done).filter(|n| !APART.contains(n)).collect();
    assert!(missing.is_empty(), "operations that were not tried: {missing:?}");
    println!("audited operations tried with and without an audit table: {}", r.done.len());
    let mut tx = r.w.store.read().await.unwrap();
    assert_eq!(virga_store::audit::verify(&mut tx).await.unwrap(), None);
}

/// With tests of their own below, or elsewhere: a batch has a record for each VM and one for itself, a cancel needs a
/// task under way, a console a WebSocket.
const APART: [&str; 4] = ["vm_batch", "task_cancel", "console_connect", "image_fetch"];

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_and_a_cancel_are_recorded_or_not_done() {
    let w = World::new().await;
    for name in ["a", "b"] {
        w.vm(json!({"name": name})).await;
    }
    let batch = json!({"action": "start", "vms": ["a", "b", "missing"]});
    probe::audit_gone(&w.store, true).await.unwrap();
    let before = probe::digest(&w.store, &VOLATILE).await.unwrap();
    assert!(w.post("/v1/vm-batches", batch.clone()).await.status >= 500);
    assert_eq!(probe::digest(&w.store, &VOLATILE).await.unwrap(), before);
    probe::audit_gone(&w.store, false).await.unwrap();
    w.nodes.be_silent(true);
    let made = w.post("/v1/vm-batches", batch).await.is(202);
    assert_eq!(records(&w, made.header("x-request-id")).await.len(), 3, "one for each VM, one for the batch");
    let cancel = format!("{}/cancel", made.header("location"));
    probe::audit_gone(&w.store, true).await.unwrap();
    assert!(w.post(&cancel, Value::Null).await.status >= 500);
    probe::audit_gone(&w.store, false).await.unwrap();
    let task = w.get(made.header("location")).await.body;
    assert_eq!(task["cancel_requested"], false);
    let cancelled = w.post(&cancel, Value::Null).await.is(200);
    assert_eq!(records(&w, cancelled.header("x-request-id")).await, [("task_cancel".to_string(), "ok".to_string())]);
    w.nodes.be_silent(false);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_leaves_one_record() {
    let w = World::new().await;
    w.vm(json!({"name": "a"})).await;
    let viewer = w.user("viewer", &[(Role::Viewer, Scope::All)]).await;
    let document: Value = serde_json::from_str(&virga_api::v1::openapi_json()).unwrap();
    let mut n = 0;
    for (name, method, path, body, result) in [
        ("vm_delete", "DELETE", "/v1/vms/a", Value::Null, "forbidden"),
        ("vm_power", "POST", "/v1/vms/a/power", json!({"action": "start"}), "forbidden"),
        ("vm_delete", "DELETE", "/v1/vms/missing", Value::Null, "not_found"),
        ("vm_create", "POST", "/v1/vms", json!({"name": "b"}), "forbidden"),
        ("user_create", "POST", "/v1/users", json!({"name": "b", "password": PASSWORD}), "forbidden"),
        ("user_list", "GET", "/v1/users", Value::Null, "forbidden"),
        ("audit_list", "GET", "/v1/audit", Value::Null, "forbidden"),
        ("audit_export", "GET", "/v1/audit/export", Value::Null, "forbidden"),
        ("vm_screenshot", "GET", "/v1/vms/a/screenshot", Value::Null, "forbidden"),
        ("host_update", "PATCH", "/v1/hosts/h1", json!({"maintenance": true}), "forbidden"),
        ("token_create", "POST", "/v1/tokens", json!({"name": "t", "valid_s": 1}), "invalid"),
    ] {
        assert!(document["paths"].to_string().contains(name));
        let a = w.send(method, path, &viewer, body, &[]).await;
        assert!(a.status >= 400, "{name}: {}", a.status);
        assert_eq!(records(&w, a.header("x-request-id")).await, [(name.to_string(), result.to_string())], "{name}");
        n += 1;
    }
    assert_eq!(n, 11);
    // A wrong password is recorded with the name that was tried, and never with the password.
    w.send("POST", "/v1/session", "", json!({"user": "viewer", "password": "a canary password"}), &[]).await.is(401);
    let all = w.get("/v1/audit?limit=1000").await.is(200).body.to_string();
    assert!(all.contains("wrong password") && !all.contains("canary"));
}
