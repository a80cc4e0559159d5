//! Snapshots over HTTP: what is taken, gone back to and refused.

use crate::world::World;
use serde_json::{Value, json};

async fn world() -> World {
    let w = World::new().await;
    w.vm(json!({"name": "a", "disks": [{"size_bytes": 1 << 30}], "start": true})).await;
    w
}

async fn take(w: &World, name: &str, kind: &str) -> Value {
    let taken = w.post("/v1/vms/a/snapshots", json!({"name": name, "kind": kind})).await.is(202);
    w.done(taken).await;
    w.get(&format!("/v1/vms/a/snapshots/{name}")).await.is(200).body
}

#[tokio::test]
async fn memory_is_stored_brought_back_and_removed() {
    let w = world().await;
    let s = take(&w, "running", "memory").await;
    assert_eq!((s["kind"].as_str(), s["memory_bytes"].as_u64(), s["paused_ms"].as_u64()), (Some("memory"), Some(1 << 20), Some(40)), "{s:#}");
    let layers = w.get("/v1/vms/a").await.body["spec"]["layers"].clone();
    assert_eq!(layers["memories"], json!([s["id"]]), "{layers:#}");
    assert!(layers["list"][0]["memory"].is_null(), "what is done is not to be done again: {layers:#}");
    let plan = w.post("/v1/vms/a/snapshots/running/revert?dry_run=true", json!({})).await.is(202).body["plan"].to_string();
    assert!(plan.contains("bring its memory back"), "{plan}");
    let plan = w.post("/v1/vms/a/snapshots/running/revert?dry_run=true", json!({"memory": false})).await.is(202).body["plan"].to_string();
    assert!(!plan.contains("memory back"), "{plan}");
    let stopped = w.post("/v1/vms/a/power", json!({"action": "force_off"})).await.is(202);
    w.done(stopped).await;
    let back = w.post("/v1/vms/a/snapshots/running/revert", json!({})).await.is(202);
    w.done(back).await;
    let vm = w.get("/v1/vms/a").await.body;
    assert_eq!(vm["desired"], "running", "a guest whose memory comes back runs on");
    assert!(vm["spec"]["layers"]["resume"].is_null(), "only once: {:#}", vm["spec"]["layers"]);
    let gone = w.send("DELETE", "/v1/vms/a/snapshots/running", &w.admin, Value::Null, &[]).await.is(202);
    assert!(gone.body["plan"].to_string().contains("remove its stored memory"), "{:#}", gone.body);
    w.done(gone).await;
    assert!(w.get("/v1/vms/a").await.body["spec"]["layers"]["memories"].is_null());
}

#[tokio::test]
async fn memory_that_cannot_be_stored_is_refused_with_what_to_do() {
    let w = world().await;
    let attach = w.post("/v1/vms/a/disks", json!({"size_bytes": 1 << 30, "mode": "independent_persistent"})).await.is(202);
    w.done(attach).await;
    let refused = w.post("/v1/vms/a/snapshots", json!({"name": "s", "kind": "memory"})).await.is(409);
    assert!(refused.body["detail"].as_str().unwrap().contains("independent_persistent"), "{:#}", refused.body);
    assert_eq!(take(&w, "disks", "ordinary").await["memory_bytes"], Value::Null);
    let stopped = w.post("/v1/vms/a/power", json!({"action": "force_off"})).await.is(202);
    w.done(stopped).await;
    let refused = w.post("/v1/vms/a/snapshots", json!({"name": "s", "kind": "memory"})).await.is(409);
    assert!(refused.body["detail"].as_str().unwrap().contains("does not run"), "{:#}", refused.body);
}

/// The disks and the detached disks of the VM, and the id of the one that was attached last.
async fn disks(w: &World) -> (Vec<String>, Vec<String>) {
    let vm = w.get("/v1/vms/a").await.is(200).body;
    let ids = |list: &str| vm["spec"][list].as_array().into_iter().flatten().map(|d| d["id"].as_str().unwrap().to_string()).collect::<Vec<_>>();
    (ids("disks"), ids("detached"))
}

async fn attach(w: &World, mode: &str) -> String {
    let made = w.post("/v1/vms/a/disks", json!({"size_bytes": 1 << 30, "mode": mode})).await.is(202);
    w.done(made).await;
    disks(w).await.0.pop().unwrap()
}

async fn detach(w: &World, disk: &str, query: &str) {
    let gone = w.send("DELETE", &format!("/v1/vms/a/disks/{disk}{query}"), &w.admin, Value::Null, &[]).await.is(202);
    w.done(gone).await;
}

/// DSK-19 to DSK-21: what a step back does with disks that snapshots leave out.
#[tokio::test]
async fn independent_disks_are_restored_as_ruled() {
    let w = world().await;
    let (kept, gone, stays) =
        (attach(&w, "independent_persistent").await, attach(&w, "independent_persistent").await, attach(&w, "independent_nonpersistent").await);
    take(&w, "s", "ordinary").await;
    let later = attach(&w, "independent_persistent").await;
    detach(&w, &kept, "?keep=true").await;
    detach(&w, &gone, "").await;
    assert_eq!(disks(&w).await.1, std::slice::from_ref(&kept));
    let plan = w.post("/v1/vms/a/snapshots/s/revert?dry_run=true", json!({})).await.is(202).body["plan"].to_string();
    assert!(plan.contains(&format!("attach disk {kept} again")) && plan.contains(&format!("leave disk {gone} out")), "{plan}");
    let back = w.post("/v1/vms/a/snapshots/s/revert", json!({})).await.is(202);
    w.done(back).await;
    let (now, detached) = disks(&w).await;
    assert!(now.contains(&kept), "DSK-20: detached after the snapshot, it is attached again");
    assert!(!now.contains(&gone), "DSK-21: removed after the snapshot, it is not there");
    assert!(now.contains(&stays) && now.contains(&later), "DSK-19: what is attached today stays, captured or not");
    assert!(detached.is_empty());
}

#[tokio::test]
async fn a_detached_disk_keeps_its_data_until_it_is_attached_or_removed() {
    let w = world().await;
    let (own, disk) = (disks(&w).await.0.remove(0), attach(&w, "independent_persistent").await);
    let refused = w.send("DELETE", &format!("/v1/vms/a/disks/{own}?keep=true"), &w.admin, Value::Null, &[]).await.is(409);
    assert!(refused.body["detail"].as_str().unwrap().contains("dependent"), "{:#}", refused.body);
    let plan = w.send("DELETE", &format!("/v1/vms/a/disks/{disk}?keep=true&dry_run=true"), &w.admin, Value::Null, &[]).await.is(202).body["plan"].to_string();
    assert!(plan.contains("its data stays"), "{plan}");
    detach(&w, &disk, "?keep=true").await;
    let again = w.post(&format!("/v1/vms/a/disks/{disk}/attach"), Value::Null).await.is(202);
    w.done(again).await;
    assert!(disks(&w).await.0.contains(&disk));
    w.post(&format!("/v1/vms/a/disks/{disk}/attach"), Value::Null).await.is(404);
    detach(&w, &disk, "?keep=true").await;
    detach(&w, &disk, "").await;
    assert_eq!(disks(&w).await, (vec![own], vec![]));
}
