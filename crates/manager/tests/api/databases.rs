//! What a manager does most, on each database: nothing above the store knows which one it is.

use crate::postgres;
use crate::world::{PASSWORD, World};
use serde_json::{Value, json};
use virga_model::role::{Role, Scope};
use virga_store::Store;

async fn worlds() -> Vec<World> {
    let stores = [Store::memory().await.unwrap(), Store::open(&postgres::empty_database()).await.unwrap()];
    let mut out = Vec::new();
    for store in stores {
        let w = World::on(store).await;
        w.host("h1").await;
        w.host("h2").await;
        out.push(w);
    }
    out
}

fn names(v: &Value) -> Vec<String> {
    v["items"].as_array().unwrap().iter().map(|i| i["name"].as_str().unwrap().to_string()).collect()
}

#[tokio::test]
async fn people_sign_in_on_each_database() {
    for w in worlds().await {
        w.user("anna", &[(Role::User, Scope::Own)]).await;
        let made = w.send("POST", "/v1/session", "", json!({ "user": "anna", "password": PASSWORD }), &[]).await;
        assert!((200..300).contains(&made.status), "{made:?}");
        let wrong = w.send("POST", "/v1/session", "", json!({ "user": "anna", "password": "wrong" }), &[]).await;
        assert_eq!(wrong.status, 401, "{wrong:?}");
    }
}

#[tokio::test]
async fn vms_are_made_listed_and_removed_on_each_database() {
    for w in worlds().await {
        for (name, memory) in [("b", 256u64), ("a", 512), ("Z", 256), ("c", 1024)] {
            w.vm(json!({ "name": name, "memory_bytes": memory << 20, "labels": { "env": name } })).await;
        }
        // The same order on both: by bytes, whatever the language of the server.
        assert_eq!(names(&w.get("/v1/vms").await.is(200).body), ["Z", "a", "b", "c"]);
        let filtered = w.get("/v1/vms?filter=memory%20%3E%20300MiB%20and%20label.env%20in%20(a,c)&sort=-memory&total=true").await.is(200).body;
        assert_eq!((names(&filtered), filtered["total"].as_i64()), (vec!["c".to_string(), "a".into()], Some(2)));
        let first = w.get("/v1/vms?limit=3&sort=-name").await.is(200).body;
        let next = w.get(&format!("/v1/vms?limit=3&sort=-name&page_token={}", first["next_page"].as_str().unwrap())).await.is(200).body;
        assert_eq!((names(&first), names(&next)), (vec!["c".to_string(), "b".into(), "a".into()], vec!["Z".to_string()]));
        let started = w.post("/v1/vms/a/power", json!({ "action": "start" })).await.is(202);
        w.done(started).await;
        let deleted = w.send("DELETE", "/v1/vms/b", &w.admin, Value::Null, &[]).await.is(202);
        w.done(deleted).await;
        w.get("/v1/vms/b").await.is(404);
        w.post("/v1/vms", json!({ "name": "a" })).await.is(409);
        let tasks = w.get("/v1/tasks?filter=kind%20=%20vm_delete&total=true").await.is(200).body;
        assert_eq!(tasks["total"], 1, "{tasks:#}");
        let audit = w.get("/v1/audit?filter=operation%20=%20vm_delete").await.is(200).body;
        assert_eq!(audit["items"].as_array().unwrap().len(), 1, "{audit:#}");
        let mut tx = w.store.read().await.unwrap();
        assert_eq!(virga_store::audit::verify(&mut tx).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_repeated_request_gets_its_answer_again_on_each_database() {
    for w in worlds().await {
        let key = [("idempotency-key", "k1")];
        let once = w.send("POST", "/v1/vms", &w.admin, json!({ "name": "once" }), &key).await.is(202);
        let again = w.send("POST", "/v1/vms", &w.admin, json!({ "name": "once" }), &key).await.is(202);
        assert_eq!(once.body["task"]["id"], again.body["task"]["id"]);
        // Characters that a database may not keep do no harm.
        let none = w.get("/v1/vms?filter=name%20=%20%22a%00b%22").await;
        assert!(none.status == 200 || (400..500).contains(&none.status), "{none:?}");
    }
}
