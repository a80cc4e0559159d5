//! Data stores over HTTP: made, chosen, kept free, refused while used, removed.

use crate::world::World;
use serde_json::{Value, json};
use virga_model::data_store::{StoreFact, StoreProblem};
use virga_model::role::{Role, Scope};
use virga_model::{DataStoreId, HostId};

const PATH: &str = "/v1/data-stores";

/// What a host finds of a data store from now on.
async fn finds(w: &World, host: HostId, fact: StoreFact) {
    let mut tx = w.store.write().await.unwrap();
    let mut facts = virga_store::host::get(&mut tx, host).await.unwrap().unwrap().facts;
    facts.stores.retain(|f| f.store != fact.store);
    facts.stores.push(fact);
    virga_store::host::set_facts(&mut tx, host, &facts).await.unwrap();
    tx.commit().await.unwrap();
}

fn good(store: DataStoreId, gib: u64) -> StoreFact {
    StoreFact { store, problem: None, why: String::new(), total_bytes: 1 << 40, free_bytes: gib << 30, file_system: "nfs".into() }
}

async fn make(w: &World, name: &str, backing: &str) -> DataStoreId {
    let spec = json!({"kind": "shared_directory", "path": format!("/srv/{name}"), "backing": backing});
    w.done(w.post(PATH, json!({"name": name, "spec": spec})).await.is(202)).await;
    w.get(&format!("{PATH}/{name}")).await.is(200).body["id"].as_str().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn data_stores_are_made_shown_and_removed() {
    let w = World::bare().await;
    let spec = json!({"kind": "shared_directory", "path": "/srv/gold"});
    let no_host = w.post(PATH, json!({"name": "gold", "spec": spec})).await.is(409);
    assert!(no_host.body["detail"].as_str().unwrap().contains("No host reports"));
    let h1 = w.host("h1").await;
    w.host("h2").await;
    for (body, field) in [
        (json!({"name": "local-x", "spec": spec}), "name"),
        (json!({"name": "a", "spec": {"kind": "local"}}), "spec.kind"),
        (json!({"name": "a", "spec": {"kind": "shared_directory", "path": "/etc/x"}}), "spec.path"),
        (json!({"name": "a", "spec": {"kind": "shared_directory", "path": "/srv/../x"}}), "spec.path"),
        (json!({"name": "a", "spec": spec, "host": "nowhere"}), "host"),
    ] {
        let refused = w.post(PATH, body.clone()).await.is(422);
        assert_eq!(refused.body["violations"][0]["field"], field, "{body} {:#}", refused.body);
    }
    let gold = make(&w, "gold", "nas").await;
    let within = w.post(PATH, json!({"name": "other", "spec": {"kind": "shared_directory", "path": "/srv/gold/a"}})).await.is(409);
    assert!(within.body["detail"].as_str().unwrap().contains("lie in each other"));
    finds(&w, h1, good(gold, 500)).await;
    let shown = w.get(&format!("{PATH}/gold")).await.is(200).body;
    assert_eq!((&shown["state"], &shown["kind"], &shown["free_bytes"]), (&json!("ready"), &json!("shared_nas"), &json!(500u64 << 30)));
    assert_eq!(shown["capabilities"]["lazy_thick"], json!(false), "X-29");
    assert_eq!(shown["hosts"][0]["host"]["name"], "h1");
    let names: Vec<Value> = w.get(PATH).await.is(200).body["items"].as_array().unwrap().iter().map(|s| s["name"].clone()).collect();
    assert_eq!(names, ["gold", "local-h1", "local-h2"]);

    let patch = async |name: &str, body: Value| w.send("PATCH", &format!("{PATH}/{name}"), &w.admin, body, &[]).await;
    patch("local-h1", json!({"name": "mine"})).await.is(422);
    assert_eq!(patch("gold", json!({"name": "silver", "description": "x"})).await.is(200).body["generation"], 2);
    let delete = async |rest: &str| w.send("DELETE", &format!("{PATH}/{rest}"), &w.admin, Value::Null, &[]).await;
    assert!(delete("local-h1").await.is(409).body["detail"].as_str().unwrap().contains("goes with its host"));
    w.done(delete("silver").await.is(202)).await;
    w.get(&format!("{PATH}/silver")).await.is(404);
    make(&w, "lost", "nas").await;
    w.done(delete("lost?forget=true").await.is(202)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn disks_go_where_they_are_wanted_or_to_what_is_preferred() {
    let w = World::bare().await;
    let (h1, h2) = (w.host("h1").await, w.host("h2").await);
    let (nas, san) = (make(&w, "nas", "nas").await, make(&w, "san", "san").await);
    finds(&w, h1, good(nas, 500)).await;
    finds(&w, h2, good(nas, 500)).await;
    finds(&w, h2, good(san, 100)).await;
    finds(&w, h1, StoreFact::lost(san, StoreProblem::Missing, "it is not mounted")).await;
    let disk = |gib: u64, store: Option<&str>| json!({"size_bytes": gib << 30, "data_store": store});
    let at = |vm: &Value, n: usize| vm["spec"]["disks"][n]["store"].clone();

    let v = w.vm(json!({"name": "on-nas", "disks": [disk(1, Some("nas")), disk(1, Some("local"))]})).await;
    assert_eq!((at(&v, 0), at(&v, 1)), (json!(nas), Value::Null));
    let v = w.vm(json!({"name": "on-san", "disks": [disk(1, Some("san"))]})).await;
    assert_eq!(v["host"]["name"], "h2", "the only host that reaches it");
    let v = w.vm(json!({"name": "anywhere", "host": "h2", "disks": [disk(1, None)]})).await;
    assert_eq!(at(&v, 0), json!(san), "SAN is preferred (STO-04)");
    let v = w.vm(json!({"name": "anywhere-1", "host": "h1", "disks": [disk(1, None)]})).await;
    assert_eq!(at(&v, 0), Value::Null, "then local");
    let v = w.vm(json!({"name": "there", "disks": [disk(1, Some("local-h1"))]})).await;
    assert_eq!((&v["host"]["name"], at(&v, 0)), (&json!("h1"), Value::Null));

    let refused = w.post("/v1/vms", json!({"name": "b", "host": "h1", "disks": [disk(1, Some("san"))]})).await.is(507);
    assert!(refused.body["detail"].as_str().unwrap().contains("data store san: it is not mounted"), "{:#}", refused.body);
    let refused = w.post("/v1/vms", json!({"name": "b", "disks": [disk(200, Some("san"))]})).await.is(507);
    assert!(refused.body["detail"].as_str().unwrap().contains("not enough space"), "{:#}", refused.body);
    w.post("/v1/vms", json!({"name": "b", "host": "h2", "disks": [disk(1, Some("local-h1"))]})).await.is(422);
    let refused = w.post("/v1/vms", json!({"name": "b", "disks": [disk(1, Some("nowhere"))]})).await.is(422);
    assert_eq!(refused.body["violations"][0]["field"], "disks[0].data_store");

    w.done(w.post("/v1/vms/on-nas/disks", json!({"size_bytes": 1u64 << 30, "data_store": "nas"})).await.is(202)).await;
    w.post("/v1/vms/anywhere-1/disks", json!({"size_bytes": 1u64 << 30, "data_store": "local-h2"})).await.is(422);
    let shown = w.get(&format!("{PATH}/nas")).await.is(200).body;
    assert_eq!((&shown["vms"], &shown["promised_bytes"]), (&json!(1), &json!(2u64 << 30)));
    let delete = w.send("DELETE", &format!("{PATH}/nas"), &w.admin, Value::Null, &[]).await.is(409);
    assert!(delete.body["detail"].as_str().unwrap().contains("used by on-nas"), "{:#}", delete.body);

    // A disk larger than what is left of the whole, in two steps: more is promised than there is (W-45).
    virga_manager::loops::data_stores::round(&w.running.manager).await.unwrap();
    let kinds = async || w.get("/v1/events?filter=object_kind%20%3D%20data_store&limit=1000").await.is(200).body["items"].to_string();
    assert!(!kinds().await.contains("overcommitted"));
    finds(&w, h1, StoreFact { total_bytes: 1 << 30, ..good(nas, 1) }).await;
    finds(&w, h2, StoreFact { total_bytes: 1 << 30, ..good(nas, 1) }).await;
    virga_manager::loops::data_stores::round(&w.running.manager).await.unwrap();
    virga_manager::loops::data_stores::round(&w.running.manager).await.unwrap();
    assert_eq!(kinds().await.matches("data_store.overcommitted").count(), 1, "told once");

    w.send("PATCH", &format!("{PATH}/san"), &w.admin, json!({"maintenance": true}), &[]).await.is(200);
    let refused = w.post("/v1/vms", json!({"name": "b", "disks": [disk(1, Some("san"))]})).await.is(422);
    assert!(refused.body["violations"][0]["message"].as_str().unwrap().contains("is in maintenance"), "{:#}", refused.body);
    let v = w.vm(json!({"name": "later", "host": "h2", "disks": [disk(1, None)]})).await;
    assert_eq!(at(&v, 0), Value::Null, "what is in maintenance is not chosen");
    w.done(w.post("/v1/vms/on-san/power", json!({"action": "start"})).await.is(202)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sees_no_hosts_sees_none_in_data_stores() {
    let w = World::new().await;
    make(&w, "gold", "nas").await;
    let user = w.user("anna", &[(Role::User, Scope::Own)]).await;
    let list = w.send("GET", PATH, &user, Value::Null, &[]).await.is(200);
    let names: Vec<&str> = list.body["items"].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["gold"]);
    assert_eq!(list.body["items"][0]["hosts"], json!([]));
    w.send("GET", &format!("{PATH}/local-h1"), &user, Value::Null, &[]).await.is(404);
    let body = json!({"name": "a", "disks": [{"size_bytes": 1u64 << 30, "data_store": "local-h1"}]});
    w.send("POST", "/v1/vms", &user, body, &[]).await.is(422);
    w.send("PATCH", &format!("{PATH}/gold"), &user, json!({"maintenance": true}), &[]).await.is(403);
}
