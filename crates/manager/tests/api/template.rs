//! Templates and clones: making, refusing, protecting.

use crate::world::World;
use serde_json::{Value, json};

async fn vm(w: &World, name: &str) -> Value {
    w.get(&format!("/v1/vms/{name}")).await.is(200).body
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_is_made_deployed_protected_and_taken_away() {
    let w = World::new().await;
    w.vm(json!({"name": "golden", "disks": [{"size_bytes": 1 << 30}], "nics": [{"network": "nat"}], "cloud_init": {"host_name": "golden"}})).await;
    let dry = w.post("/v1/templates?dry_run=true", json!({"vm": "golden", "convert": true})).await.is(202).body;
    assert!(dry["plan"][0]["what"].as_str().unwrap().contains("no VM any more"), "the warning of TPL-03: {dry}");
    w.done(w.post("/v1/templates", json!({"vm": "golden", "name": "gold", "convert": true})).await.is(202)).await;
    let t = w.get("/v1/templates/gold").await.is(200).body;
    assert_eq!((t["clones"].as_u64(), t["spec"]["template"].as_bool()), (Some(0), Some(true)));
    assert_eq!(w.get("/v1/vms?total=true").await.body["total"], 0);
    assert_eq!(w.get("/v1/templates?total=true").await.body["total"], 1);
    for (method, path, body) in [
        ("GET", "/v1/vms/gold", Value::Null),
        ("POST", "/v1/vms/gold/power", json!({"action": "start"})),
        ("POST", "/v1/vms/gold/snapshots", json!({"name": "s"})),
        ("PATCH", "/v1/vms/gold", json!({"cpus": 2})),
        ("POST", "/v1/vms/gold/clone", json!({"name": "x"})),
    ] {
        let a = w.send(method, path, &w.admin, body, &[]).await.is(409);
        assert!(a.body["detail"].as_str().unwrap().contains("is a template"), "{method} {path}: {}", a.body);
    }

    let many = json!({"name": "lab-{nn}", "count": 3, "kind": "linked", "form": "three_level", "start": true,
        "cloud_init": {"host_name": "lab-{n}", "network_config": "addresses: [10.0.0.1{nn}/24]"}});
    let dry = w.post("/v1/templates/gold/deploy?dry_run=true", many.clone()).await.is(202).body;
    assert_eq!(dry["vms"].as_array().unwrap().len(), 3);
    let made = w.post("/v1/templates/gold/deploy", many.clone()).await.is(202);
    assert_eq!(made.body["task"]["kind"], "vm_batch");
    w.done(made).await;
    w.post("/v1/templates/gold/deploy", many).await.is(409);
    let (a, b) = (vm(&w, "lab-01").await, vm(&w, "lab-02").await);
    assert_eq!((&a["observed"]["state"], &a["spec"]["cloud_init"]["host_name"]), (&json!("running"), &json!("lab-1")));
    assert_eq!(a["spec"]["cloud_init"]["network_config"], "addresses: [10.0.0.101/24]");
    assert_eq!(a["spec"]["disks"][0]["origin"]["vm"], t["id"]);
    for path in ["/spec/disks/0/id", "/spec/nics/0/mac", "/id"] {
        assert_ne!(a.pointer(path), b.pointer(path), "{path}");
    }
    assert_eq!(w.get("/v1/templates/gold").await.body["clones"], 3);

    // What clones stand on stays, and the refusal names them.
    for (method, path) in [("DELETE", "/v1/templates/gold"), ("POST", "/v1/templates/gold/convert")] {
        let e = w.send(method, path, &w.admin, Value::Null, &[]).await.is(409).body.to_string();
        assert!(e.contains("lab-01") && e.contains("lab-03"), "{e}");
    }
    w.done(w.post("/v1/vms/lab-01/refresh", Value::Null).await.is(202)).await;
    w.post("/v1/vms/lab-01/clone", json!({"name": "n", "kind": "normal", "form": "two_level"})).await.is(422);
    w.done(w.post("/v1/vms/lab-01/clone", json!({"name": "fresh", "kind": "fresh"})).await.is(202)).await;
    let full = w.post("/v1/vms/lab-01/clone", json!({"name": "full"})).await.is(202);
    w.done(full).await;
    let full = vm(&w, "full").await;
    assert!(full["spec"]["disks"][0]["origin"].is_null() && full["spec"]["disks"][0]["copy_of"].is_null(), "it stands on nothing: {full}");
    w.post("/v1/vms/full/refresh", Value::Null).await.is(409);
    w.post("/v1/vms/full/clone", json!({"name": "n", "kind": "normal"})).await.is(409);
    for name in ["lab-01", "lab-02", "lab-03", "fresh"] {
        w.done(w.send("DELETE", &format!("/v1/vms/{name}?force=true"), &w.admin, Value::Null, &[]).await.is(202)).await;
    }
    w.done(w.send("DELETE", "/v1/templates/gold", &w.admin, Value::Null, &[]).await.is(202)).await;
    assert_eq!(vm(&w, "full").await["observed"]["state"], "stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_clone_is_named() {
    let w = World::new().await;
    w.vm(json!({"name": "a", "disks": [{"size_bytes": 1 << 30}], "host": "h1"})).await;
    w.vm(json!({"name": "independent", "disks": [{"size_bytes": 1 << 30, "mode": "independent_persistent"}]})).await;
    for (body, field) in [
        (json!({"name": "a b"}), "name"),
        (json!({"name": "x", "count": 2}), "count"),
        (json!({"name": "x{n}", "count": 501}), "count"),
        (json!({"name": "x", "form": "three_level"}), "form"),
        (json!({"name": "x", "cpus": 0}), "cpus"),
        (json!({"name": "x", "host": "nowhere"}), "host"),
        (json!({"name": "x", "labels": {"": "x"}}), "labels."),
    ] {
        let e = w.post("/v1/vms/a/clone", body.clone()).await.is(422).body;
        assert_eq!(e["violations"][0]["field"], field, "{body}: {e}");
    }
    w.post("/v1/vms/a/clone", json!({"name": "x", "snapshot": "none"})).await.is(404);
    let e = w.post("/v1/vms/independent/clone", json!({"name": "x"})).await.is(409).body.to_string();
    assert!(e.contains("independent_persistent"), "{e}");
    let e = w.post("/v1/vms/a/clone", json!({"name": "x", "host": "h2"})).await.is(507).body.to_string();
    assert!(e.contains("disks_elsewhere"), "{e}");
    // A snapshot on which a clone stands stays.
    w.done(w.post("/v1/vms/a/snapshots", json!({"name": "s"})).await.is(202)).await;
    w.done(w.post("/v1/vms/a/clone", json!({"name": "of-s", "kind": "linked", "snapshot": "s"})).await.is(202)).await;
    let e = w.send("DELETE", "/v1/vms/a/snapshots/s", &w.admin, Value::Null, &[]).await.is(409).body.to_string();
    assert!(e.contains("of-s"), "{e}");
    let disk = vm(&w, "a").await["spec"]["disks"][0]["id"].as_str().unwrap().to_string();
    w.send("DELETE", &format!("/v1/vms/a/disks/{disk}"), &w.admin, Value::Null, &[]).await.is(409);
    w.send("DELETE", "/v1/vms/a?force=true", &w.admin, Value::Null, &[]).await.is(409);
    w.post("/v1/templates", json!({"vm": "a", "convert": true})).await.is(409);
}
