//! Kinds of disks, reclaiming, secure removal and shared disks over HTTP.

use crate::world::{Answer, World};
use serde_json::{Value, json};
use virga_model::disk::Erase;
use virga_model::role::Visible;
use virga_model::vm::Vm;

async fn row(w: &World, name: &str) -> Vm {
    let mut tx = w.store.read().await.unwrap();
    virga_store::vm::by_ref(&mut tx, name, &Visible::everything()).await.unwrap().unwrap()
}

async fn delete(w: &World, path: &str) -> Answer {
    w.send("DELETE", path, &w.admin, Value::Null, &[]).await
}

async fn attach(w: &World, vm: &str, body: Value) -> String {
    w.done(w.post(&format!("/v1/vms/{vm}/disks"), body).await.is(202)).await;
    row(w, vm).await.spec.disks.last().unwrap().id.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn kinds_have_their_defaults_and_their_rules() {
    let w = World::new().await;
    w.image("debian", vec![7; 1 << 20]).await;
    let vm = w.vm(json!({"name": "a", "disks": [{"size_bytes": 1 << 30}, {"size_bytes": 1 << 30, "provisioning": "thick_lazy"}]})).await;
    let kind = |n: usize| ["provisioning", "format", "discard", "sharing"].map(|f| vm["spec"]["disks"][n][f].as_str().unwrap().to_string());
    assert_eq!(kind(0), ["thin", "qcow2", "off", "ordinary"]);
    assert_eq!(kind(1), ["thick_lazy", "raw", "off", "ordinary"]);
    let dry = w.post("/v1/vms/a/disks?dry_run=true", json!({"image": "debian", "format": "raw"})).await.is(202);
    assert!(dry.body["plan"][0]["what"].as_str().unwrap().contains("attach"));
    let dry = w.post("/v1/vms?dry_run=true", json!({"name": "b", "disks": [{"image": "debian", "format": "raw"}]})).await.is(202).body;
    assert!(dry.to_string().contains("a copy of its image"), "{dry}");
    let size = 1u64 << 30;
    for (body, field) in [
        (json!({"size_bytes": size, "provisioning": "thick_eager", "discard": "unmap"}), "discard"),
        (json!({"size_bytes": size, "sharing": "shared", "format": "qcow2"}), "sharing"),
        (json!({"size_bytes": size, "sharing": "shared", "provisioning": "thin"}), "sharing"),
        (json!({"size_bytes": size, "sharing": "shared", "mode": "dependent"}), "mode"),
        (json!({"size_bytes": size, "sharing": "shared", "mode": "independent_nonpersistent"}), "mode"),
        (json!({"size_bytes": size, "sharing": "shared", "cache": "writeback"}), "cache"),
        (json!({"size_bytes": size, "sharing": "shared", "bus": "ide"}), "bus"),
    ] {
        let a = w.post("/v1/vms/a/disks", body.clone()).await.is(422);
        assert_eq!(a.body["violations"][0]["field"], field, "{body}: {}", a.body);
    }
    let a = w.post("/v1/vms", json!({"name": "c", "disks": [{"existing": vm["spec"]["disks"][0]["id"]}]})).await.is(422);
    assert_eq!(a.body["violations"][0]["field"], "disks[0].existing");
    let disk = vm["spec"]["disks"][1]["id"].as_str().unwrap();
    let path = format!("/v1/vms/a/disks/{disk}");
    let send = w.send("PATCH", &path, &w.admin, json!({"discard": "unmap"}), &[]);
    assert_eq!(send.await.is(422).body["violations"][0]["field"], "discard");
}

#[tokio::test(flavor = "multi_thread")]
async fn space_is_reclaimed_where_that_means_something() {
    let w = World::new().await;
    let vm = w.vm(json!({"name": "a", "disks": [{"size_bytes": 1 << 30}, {"size_bytes": 1 << 30, "provisioning": "thick_lazy"}]})).await;
    let path = |n: usize| format!("/v1/vms/a/disks/{}/reclaim", vm["spec"]["disks"][n]["id"].as_str().unwrap());
    assert!(w.post(&path(1), Value::Null).await.is(409).body["detail"].as_str().unwrap().contains("thick_lazy"));
    w.post("/v1/vms/a/disks/0198f4c2-7a10-7c00-8000-0123456789ab/reclaim", Value::Null).await.is(404);
    let dry = w.post(&format!("{}?dry_run=true", path(0)), Value::Null).await.is(202).body;
    assert!(dry["plan"][0]["what"].as_str().unwrap().contains("zeros") && dry["task"].is_null(), "{dry}");
    w.done(w.post(&path(0), Value::Null).await.is(202)).await;
    assert!(row(&w, "a").await.spec.disk_work.is_none(), "the wish is gone when it is done");
    // A guest that runs gives back what the disk takes back, and its agent tells what that is.
    w.done(w.post("/v1/vms/a/power", json!({"action": "start"})).await.is(202)).await;
    let a = w.post(&path(0), Value::Null).await.is(409).body;
    assert!(a["hint"].as_str().unwrap().contains("discard=unmap"), "{a}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secure_removal_stands_in_the_row_until_it_is_done() {
    let w = World::new().await;
    let vm = w.vm(json!({"name": "a", "disks": [{"size_bytes": 1 << 30}, {"size_bytes": 1 << 30}]})).await;
    let disk = |n: usize| vm["spec"]["disks"][n]["id"].as_str().unwrap().to_string();
    let dry = delete(&w, &format!("/v1/vms/a/disks/{}?erase=secure&dry_run=true", disk(1))).await.is(202).body;
    assert!(dry["plan"].to_string().contains("overwrite"), "{dry}");
    delete(&w, &format!("/v1/vms/a/disks/{}?erase=twice", disk(1))).await.is(400);
    w.done(delete(&w, &format!("/v1/vms/a/disks/{}?erase=secure", disk(1))).await.is(202)).await;
    assert!(row(&w, "a").await.spec.disk_work.is_none());
    let orders = w.nodes.orders();
    let last = orders.iter().rev().find(|o| o.name == "a").unwrap();
    assert!(last.keep_disks.is_empty() && last.spec.disk_work.leaving[0].erase == Erase::Secure, "told again once the edit had succeeded");
    // What snapshots need is not overwritten.
    w.done(w.post("/v1/vms/a/snapshots", json!({"name": "s"})).await.is(202)).await;
    let a = delete(&w, &format!("/v1/vms/a/disks/{}?erase=secure", disk(0))).await.is(409).body;
    assert!(a["hint"].as_str().unwrap().contains("snapshots"), "{a}");
    w.done(delete(&w, "/v1/vms/a?erase=secure").await.is(202)).await;
    let orders = w.nodes.orders();
    let leaving = &orders.iter().rev().find(|o| o.name == "a").unwrap().spec.disk_work.leaving;
    assert!(leaving.iter().any(|l| l.disk.to_string() == disk(0) && l.erase == Erase::Secure), "{leaving:?}");
    let audit = w.get("/v1/audit?limit=50").await.body.to_string();
    assert!(audit.contains("data overwritten"), "{audit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_disk_goes_with_its_last_vm() {
    let w = World::new().await;
    for (name, host) in [("a", "h1"), ("b", "h1"), ("far", "h2")] {
        w.vm(json!({"name": name, "host": host})).await;
    }
    let id = attach(&w, "a", json!({"size_bytes": 1 << 30, "sharing": "shared"})).await;
    let own = attach(&w, "a", json!({"size_bytes": 1 << 30})).await;
    let refused = w.post("/v1/vms/far/disks", json!({"existing": id})).await.is(409).body;
    assert!(refused["detail"].as_str().unwrap().contains("different hosts"), "{refused}");
    assert!(w.post("/v1/vms/b/disks", json!({"existing": own})).await.is(409).body["detail"].as_str().unwrap().contains("alone"));
    assert_eq!(w.post("/v1/vms/b/disks", json!({"existing": id, "size_bytes": 1})).await.is(422).body["violations"][0]["field"], "size_bytes");
    w.post("/v1/vms/b/disks", json!({"existing": "0198f4c2-7a10-7c00-8000-0123456789ab"})).await.is(404);
    w.done(w.post("/v1/vms/b/disks", json!({"existing": id, "bus": "scsi"})).await.is(202)).await;
    w.post("/v1/vms/b/disks", json!({"existing": id})).await.is(409);
    let path = format!("/v1/vms/b/disks/{id}");
    let grow = w.send("PATCH", &path, &w.admin, json!({"size_bytes": 2u64 << 30}), &[]);
    assert_eq!(grow.await.is(422).body["violations"][0]["field"], "size_bytes");
    // While another VM has it, nothing of it goes.
    assert!(delete(&w, &format!("/v1/vms/b/disks/{id}?erase=secure")).await.is(409).body["detail"].as_str().unwrap().contains("bound"));
    let dry = delete(&w, &format!("/v1/vms/b/disks/{id}?dry_run=true")).await.is(202).body;
    assert!(dry["plan"][0]["what"].as_str().unwrap().contains("its data stays"), "{dry}");
    w.done(delete(&w, "/v1/vms/a").await.is(202)).await;
    let told = |name: &str| w.nodes.orders().into_iter().rev().find(|o| o.name == name).unwrap().spec.disk_work.leaving;
    assert!(told("a").is_empty(), "b has it still");
    w.done(delete(&w, &format!("/v1/vms/b/disks/{id}")).await.is(202)).await;
    assert!(told("b").iter().any(|l| l.disk.to_string() == id && l.shared), "the last one takes it along");
    assert!(row(&w, "b").await.spec.disk_work.is_none());
}
