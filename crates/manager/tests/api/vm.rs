//! VMs: making, changing, power, batches.

use crate::world::World;
use serde_json::{Value, json};
use virga_model::role::Visible;
use virga_model::vm::{Desired, Vm};

async fn row(w: &World, name: &str) -> Vm {
    let mut tx = w.store.read().await.unwrap();
    virga_store::vm::by_ref(&mut tx, name, &Visible::everything()).await.unwrap().unwrap()
}

async fn count(w: &World) -> i64 {
    w.get("/v1/vms?total=true").await.is(200).body["total"].as_i64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_is_made_with_defaults_and_its_dry_run_says_so_before() {
    let w = World::new().await;
    w.image("debian", vec![7; 1 << 20]).await;
    let body = json!({"name": "web-1", "cpus": 2, "disks": [{"image": "debian"}], "nics": [{"network": "nat"}], "cdroms": [""], "start": true, "labels": {"env": "prod"}});
    let dry = w.post("/v1/vms?dry_run=true", body.clone()).await.is(202);
    assert!(dry.body["task"].is_null() && dry.header("location").is_empty());
    let plan = dry.body["plan"][0]["what"].as_str().unwrap().to_string();
    assert!(plan.starts_with("place on host h"), "{plan}");
    assert_eq!(count(&w).await, 0);
    let made = w.post("/v1/vms", body.clone()).await.is(202);
    assert_eq!(made.body["plan"][0]["what"], plan, "the dry run told the truth");
    assert_eq!(made.header("location"), format!("/v1/tasks/{}", made.body["task"]["id"].as_str().unwrap()));
    w.done(made).await;
    let vm = w.get("/v1/vms/web-1").await.is(200);
    let b = &vm.body;
    assert_eq!((&b["desired"], &b["observed"]["state"], &b["fresh"]), (&json!("running"), &json!("running"), &json!(true)));
    assert_eq!((b["spec"]["cpu"]["count"].as_u64(), b["spec"]["cpu"]["max"].as_u64()), (Some(2), Some(8)));
    assert_eq!(b["spec"]["memory"]["bytes"].as_u64(), Some(1 << 30));
    assert_eq!(b["spec"]["disks"][0]["size_bytes"].as_u64(), Some(1 << 20));
    assert_eq!((&b["spec"]["disks"][0]["bus"], &b["spec"]["disks"][0]["cache"]), (&json!("virtio"), &json!("directsync")));
    assert!(b["spec"]["nics"][0]["mac"].as_str().unwrap().starts_with("52:54:00:"));
    assert_eq!(vm.header("etag"), format!("\"{}\"", b["generation"]));
    w.post("/v1/vms", body.clone()).await.is(409);
    w.post("/v1/vms?dry_run=true", body).await.is(409);
    let events = w.get("/v1/events?limit=100").await.body.to_string();
    assert!(events.contains("vm.created") && events.contains("task.created"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_new_vm_is_named() {
    let w = World::new().await;
    w.image("debian", vec![7; 1 << 20]).await;
    let iso = virga_tests::images::iso();
    w.image("iso", iso).await;
    w.post("/v1/images", json!({"name": "empty"})).await.is(201);
    for (body, field) in [
        (json!({"name": "a b"}), "name"),
        (json!({"name": "a", "cpus": 0}), "cpus"),
        (json!({"name": "a", "memory_bytes": 5}), "memory_bytes"),
        (json!({"name": "a", "disks": [{"image": "nowhere"}]}), "disks[0].image"),
        (json!({"name": "a", "disks": [{"image": "empty"}]}), "disks[0].image"),
        (json!({"name": "a", "disks": [{"image": "iso"}]}), "disks[0].image"),
        (json!({"name": "a", "disks": [{}]}), "disks[0].size_bytes"),
        (json!({"name": "a", "disks": [{"image": "debian", "size_bytes": 512}]}), "disks[0].size_bytes"),
        (json!({"name": "a", "cdroms": ["debian"]}), "cdroms[0]"),
        (json!({"name": "a", "nics": [{"network": "nowhere"}]}), "nics[0].network"),
        (json!({"name": "a", "nics": [{"network": "nat", "mac": "01:00:00:00:00:00"}]}), "nics[0].mac"),
        (json!({"name": "a", "host": "nowhere"}), "host"),
        (json!({"name": "a", "labels": {"": "x"}}), "labels."),
        (json!({"name": "a", "description": "\u{1}"}), "description"),
        (json!({"name": "a", "disks": vec![json!({"size_bytes": 1 << 20}); 17]}), "disks"),
    ] {
        let a = w.post("/v1/vms", body.clone()).await.is(422);
        assert_eq!(a.body["violations"][0]["field"], field, "{body}: {}", a.body);
    }
    let full = w.post("/v1/vms", json!({"name": "a", "memory_bytes": 64u64 << 30})).await.is(507);
    assert_eq!(full.body["refusals"].as_array().unwrap().len(), 2);
    assert!(full.body["hint"].as_str().unwrap().contains("Smallest change"));
    w.post("/v1/vms", json!({"name": "a", "nics": [{"network": "nat", "mac": "52:54:00:00:00:01"}]})).await.is(202);
    let taken = w.post("/v1/vms", json!({"name": "b", "nics": [{"network": "nat", "mac": "52:54:00:00:00:01"}]})).await.is(409);
    assert!(taken.body["detail"].as_str().unwrap().contains("MAC"));
    assert_eq!(count(&w).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_requests_never_take_the_last_room_both() {
    let w = World::bare().await;
    w.host("h1").await;
    let make = |i: u32| w.post("/v1/vms", json!({"name": format!("v{i}"), "memory_bytes": 6u64 << 30, "start": true}));
    let answers = futures::future::join_all((0..8).map(make)).await;
    let statuses: Vec<u16> = answers.iter().map(|a| a.status).collect();
    assert_eq!(statuses.iter().filter(|s| **s == 202).count(), 2, "15 GiB hold two of 6 GiB: {statuses:?}");
    assert_eq!(statuses.iter().filter(|s| **s == 507).count(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn power_actions_change_the_row_and_say_what_is_not_possible() {
    let w = World::new().await;
    w.vm(json!({"name": "p"})).await;
    let power = |action: &'static str| w.post("/v1/vms/p/power", json!({"action": action}));
    let no = power("reboot").await.is(409);
    assert!(no.body["hint"].as_str().unwrap().contains("Start it"), "{}", no.body);
    let already = power("force_off").await.is(202);
    assert!(already.body["task"].is_null() && already.body["plan"][0]["what"].as_str().unwrap().contains("already"));
    let before = row(&w, "p").await.generation;
    let dry = w.post("/v1/vms/p/power?dry_run=true", json!({"action": "start"})).await.is(202);
    assert!(dry.body["task"].is_null());
    assert_eq!(row(&w, "p").await.generation, before);
    for (action, desired) in [
        ("start", Desired::Running),
        ("pause", Desired::Paused),
        ("resume", Desired::Running),
        ("hibernate", Desired::Hibernated),
        ("wake", Desired::Running),
        ("shutdown", Desired::Stopped),
    ] {
        w.done(power(action).await.is(202)).await;
        assert_eq!(row(&w, "p").await.desired, desired, "{action}");
    }
    w.done(power("start").await.is(202)).await;
    let generation = row(&w, "p").await.generation;
    w.done(power("reboot").await.is(202)).await;
    w.done(power("reset").await.is(202)).await;
    assert_eq!(row(&w, "p").await.generation, generation, "what happens once is no new state");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_task_works_others_are_told_which() {
    let w = World::new().await;
    w.vm(json!({"name": "l"})).await;
    w.nodes.be_silent(true);
    let started = w.post("/v1/vms/l/power", json!({"action": "start"})).await.is(202);
    let task = started.body["task"]["id"].as_str().unwrap();
    for (method, path, body) in [
        ("POST", "/v1/vms/l/power", json!({"action": "force_off"})),
        ("PATCH", "/v1/vms/l", json!({"cpus": 2})),
        ("DELETE", "/v1/vms/l?force=true", Value::Null),
    ] {
        let a = w.send(method, path, &w.admin, body, &[]).await.is(423);
        assert!(a.body["detail"].as_str().unwrap().contains(task) && a.body["hint"].as_str().unwrap().contains("cancel"), "{}", a.body);
    }
    assert_eq!(w.get("/v1/vms/l").await.body["task"]["id"], task);
    // Words need no host and wait for nobody.
    w.send("PATCH", "/v1/vms/l", &w.admin, json!({"description": "busy"}), &[]).await.is(202);
    let a = w.post(&format!("/v1/tasks/{task}/cancel"), Value::Null).await.is(200);
    assert_eq!(a.body["cancel_requested"], true);
    w.nodes.be_silent(false);
    let ended = w.get(&format!("/v1/tasks/{task}?wait=60")).await.is(200).body;
    assert_eq!(ended["state"], "cancelled", "{ended:#}");
    assert_eq!(row(&w, "l").await.desired, Desired::Stopped);
    w.post(&format!("/v1/tasks/{task}/cancel"), Value::Null).await.is(409);
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_plan_what_is_live_and_what_waits() {
    let w = World::new().await;
    w.vm(json!({"name": "e", "cpus": 1, "cpus_max": 4, "memory_bytes": 256 << 20, "memory_max_bytes": 1280 << 20, "start": true})).await;
    let patch = async |body: Value, query: &str| w.send("PATCH", &format!("/v1/vms/e{query}"), &w.admin, body, &[]).await;
    let dry = patch(json!({"cpus": 2, "firmware": "uefi"}), "?dry_run=true").await.is(202).body;
    let plan = dry["plan"].as_array().unwrap();
    assert!(plan[0]["after_restart"].is_null() && plan[1]["after_restart"].as_str().unwrap().contains("starts"), "{plan:?}");
    assert_eq!(row(&w, "e").await.spec.cpu.count, 1);
    let generation = row(&w, "e").await.generation;
    w.done(patch(json!({"cpus": 2, "memory_bytes": 384 << 20}), "").await.is(202)).await;
    let after = row(&w, "e").await;
    assert_eq!((after.spec.cpu.count, after.spec.memory.bytes, after.generation), (2, 384 << 20, generation + 1));
    assert!(after.former_spec.is_none(), "the edit is done");
    let words = patch(json!({"description": "a web server", "labels": {"env": "test"}}), "").await.is(202).body;
    assert!(words["task"].is_null());
    assert_eq!(row(&w, "e").await.generation, generation + 1);
    let nothing = patch(json!({"cpus": 2}), "").await.is(202).body;
    assert!(nothing["task"].is_null() && nothing["plan"][0]["what"].as_str().unwrap().contains("already"));
    assert_eq!(patch(json!({"cpus": 300}), "").await.is(422).body["violations"][0]["field"], "cpus");
    assert_eq!(patch(json!({"name": "no good"}), "").await.is(422).body["violations"][0]["field"], "name");
    let full = patch(json!({"memory_bytes": 64u64 << 30}), "").await.is(507).body;
    assert_eq!(full["refusals"][0]["reasons"][0]["reason"], "memory");
    w.done(patch(json!({"name": "f"}), "").await.is(202)).await;
    w.get("/v1/vms/e").await.is(404);
    w.get("/v1/vms/f").await.is(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_come_and_go() {
    let w = World::new().await;
    let iso = virga_tests::images::iso();
    w.image("iso", iso).await;
    let vm = w.vm(json!({"name": "d", "cdroms": [""]})).await;
    let drive = vm["spec"]["cdroms"][0]["id"].as_str().unwrap().to_string();
    w.done(w.post("/v1/vms/d/disks", json!({"size_bytes": 1 << 30, "bus": "scsi"})).await.is(202)).await;
    w.done(w.post("/v1/vms/d/nics", json!({"network": "nat"})).await.is(202)).await;
    let spec = row(&w, "d").await.spec;
    let (disk, nic) = (spec.disks[0].id.to_string(), spec.nics[0].id.to_string());
    let disk_path = format!("/v1/vms/d/disks/{disk}");
    let nic_path = format!("/v1/vms/d/nics/{nic}");
    let send = async |method: &str, path: &str, body: Value| w.send(method, path, &w.admin, body, &[]).await;
    assert_eq!(send("PATCH", &disk_path, json!({"size_bytes": 512})).await.is(422).body["violations"][0]["field"], "size_bytes");
    w.done(send("PATCH", &disk_path, json!({"size_bytes": 2u64 << 30, "cache": "none"})).await.is(202)).await;
    w.done(send("PATCH", &nic_path, json!({"link_up": false})).await.is(202)).await;
    w.done(send("PUT", &format!("/v1/vms/d/cdroms/{drive}"), json!({"image": "iso"})).await.is(202)).await;
    let spec = row(&w, "d").await.spec;
    assert!(spec.disks[0].size_bytes == 2 << 30 && !spec.nics[0].link_up && spec.cdroms[0].image.is_some());
    assert!(send("DELETE", "/v1/images/iso", Value::Null).await.is(409).body["detail"].as_str().unwrap().contains("used by d"));
    w.done(send("PUT", &format!("/v1/vms/d/cdroms/{drive}"), json!({})).await.is(202)).await;
    let dry = send("DELETE", &format!("{disk_path}?dry_run=true"), Value::Null).await.is(202).body;
    assert!(dry["plan"][0]["what"].as_str().unwrap().contains("for good"), "{dry}");
    w.done(send("DELETE", &disk_path, Value::Null).await.is(202)).await;
    w.done(send("DELETE", &nic_path, Value::Null).await.is(202)).await;
    send("DELETE", &disk_path, Value::Null).await.is(404);
    let spec = row(&w, "d").await.spec;
    assert!(spec.disks.is_empty() && spec.nics.is_empty() && spec.cdroms[0].image.is_none());
    w.done(send("DELETE", "/v1/images/iso", Value::Null).await.is(202)).await;
    w.get("/v1/images/iso").await.is(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn removal_asks_first_and_takes_the_row() {
    let w = World::new().await;
    w.vm(json!({"name": "r", "start": true})).await;
    let delete = async |query: &str| w.send("DELETE", &format!("/v1/vms/r{query}"), &w.admin, Value::Null, &[]).await;
    assert!(delete("").await.is(409).body["hint"].as_str().unwrap().contains("force"));
    let dry = delete("?force=true&dry_run=true").await.is(202).body;
    assert_eq!(dry["plan"][0]["what"], "cut its power");
    w.done(delete("?force=true").await.is(202)).await;
    w.get("/v1/vms/r").await.is(404);
    delete("").await.is(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn if_match_keeps_two_people_apart() {
    let w = World::new().await;
    w.vm(json!({"name": "m"})).await;
    let etag = w.get("/v1/vms/m").await.header("etag").to_string();
    let patch = async |etag: &str| w.send("PATCH", "/v1/vms/m", &w.admin, json!({"cpus": 2}), &[("if-match", etag)]).await;
    assert_eq!(patch("\"999\"").await.is(412).code(), "precondition_failed");
    w.done(patch(&etag).await.is(202)).await;
    patch(&etag).await.is(412);
    w.send("POST", "/v1/vms/m/power", &w.admin, json!({"action": "start"}), &[("if-match", &etag)]).await.is(412);
    w.send("DELETE", "/v1/vms/m", &w.admin, Value::Null, &[("if-match", &etag)]).await.is(412);
    patch("*").await.is(202);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_gets_the_same_answer_and_does_nothing_twice() {
    let w = World::new().await;
    let key = [("idempotency-key", "create-1")];
    let body = json!({"name": "once"});
    let send = || w.send("POST", "/v1/vms", &w.admin, body.clone(), &key);
    let answers = futures::future::join_all((0..5).map(|_| send())).await;
    let first = &answers[0];
    assert_eq!(first.status, 202, "{}", first.body);
    for a in &answers {
        assert_eq!((a.status, &a.body, a.header("location")), (202, &first.body, first.header("location")));
    }
    assert_eq!(count(&w).await, 1);
    let other = w.send("POST", "/v1/vms", &w.admin, json!({"name": "twice"}), &key).await.is(409);
    assert!(other.body["detail"].as_str().unwrap().contains("another request"), "{}", other.body);
    // Another user's key is another key; a dry run and a refusal keep nothing.
    let bob = w.user("bob", &[(virga_model::role::Role::Operator, virga_model::role::Scope::All)]).await;
    w.send("POST", "/v1/vms", &bob, json!({"name": "bobs"}), &key).await.is(202);
    let key = [("idempotency-key", "create-2")];
    w.send("POST", "/v1/vms", &w.admin, json!({"name": "bad name"}), &key).await.is(422);
    w.send("POST", "/v1/vms?dry_run=true", &w.admin, json!({"name": "third"}), &key).await.is(202);
    w.send("POST", "/v1/vms", &w.admin, json!({"name": "third"}), &key).await.is(202);
    w.send("POST", "/v1/images", &w.admin, json!({"name": "i"}), &[("idempotency-key", "")]).await.is(400);
    for _ in 0..2 {
        w.send("POST", "/v1/images", &w.admin, json!({"name": "i"}), &[("idempotency-key", "image-1")]).await.is(201);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_does_what_it_can_and_lists_the_rest() {
    let w = World::new().await;
    for n in ["b1", "b2", "b3"] {
        w.vm(json!({"name": n, "labels": {"tier": "web"}})).await;
    }
    let batch = async |body: Value, query: &str| w.post(&format!("/v1/vm-batches{query}"), body).await;
    let dry = batch(json!({"action": "start", "filter": "label.tier = web"}), "?dry_run=true").await.is(202).body;
    assert_eq!(dry["accepted"].as_array().unwrap().len(), 3);
    let made = batch(json!({"action": "start", "vms": ["b1", "b2", "missing", "b1"]}), "").await.is(202);
    assert_eq!(made.body["accepted"].as_array().unwrap().len(), 2);
    assert_eq!(made.body["refused"][0]["vm"], "missing");
    let task = w.done(made).await;
    assert_eq!(task["kind"], "vm_batch");
    let children = w.get(&format!("/v1/tasks?filter=parent%3D{}", task["id"].as_str().unwrap())).await.is(200).body;
    assert_eq!(children["items"].as_array().unwrap().len(), 2);
    assert_eq!(row(&w, "b1").await.desired, Desired::Running);
    // Already so: accepted, without a task. Running ones are not removed.
    let again = batch(json!({"action": "start", "vms": ["b1"]}), "").await.is(202).body;
    assert!(again["task"].is_null() && again["accepted"].as_array().unwrap().len() == 1);
    let removed = batch(json!({"action": "delete", "filter": "name ~ b"}), "").await.is(202);
    assert_eq!(removed.body["refused"].as_array().unwrap().len(), 2);
    w.done(removed).await;
    w.get("/v1/vms/b3").await.is(404);
    w.done(batch(json!({"action": "update", "vms": ["b1", "b2"], "update": {"cpus": 2}}), "").await.is(202)).await;
    assert_eq!(row(&w, "b2").await.spec.cpu.count, 2);
    for (bad, field) in [
        (json!({"action": "start"}), "vms"),
        (json!({"action": "start", "vms": ["a"], "filter": "name = a"}), "vms"),
        (json!({"action": "update", "vms": ["b1"]}), "update"),
        (json!({"action": "update", "vms": ["b1"], "update": {"name": "x"}}), "update.name"),
    ] {
        assert_eq!(batch(bad, "").await.is(422).body["violations"][0]["field"], field);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_never_takes_more_room_than_there_is() {
    let w = World::bare().await;
    w.host("h1").await;
    for i in 0..4 {
        w.vm(json!({"name": format!("v{i}"), "memory_bytes": 6u64 << 30})).await;
    }
    let made = w.post("/v1/vm-batches", json!({"action": "start", "filter": "name ~ v"})).await.is(202);
    assert_eq!((made.body["accepted"].as_array().unwrap().len(), made.body["refused"].as_array().unwrap().len()), (2, 2), "{}", made.body);
    assert_eq!(made.body["refused"][0]["problem"]["code"], "no_capacity");
    w.done(made).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_host_has_not_settled_is_repaired_and_its_silence_is_told() {
    let w = World::new().await;
    let vm = w.vm(json!({"name": "x", "host": "h1"})).await;
    // Something got in between: the row has gone on, and no task works on it.
    let mut after = row(&w, "x").await;
    after.generation += 1;
    let mut tx = w.store.write().await.unwrap();
    virga_store::vm::update(&mut tx, &after, after.generation - 1).await.unwrap();
    tx.commit().await.unwrap();
    w.advance(11);
    crate::world::until("a repair that has ended well", || async {
        let tasks = w.get("/v1/tasks?filter=kind%20%3D%20vm_repair%20and%20state%20%3D%20succeeded").await.body;
        tasks["items"].as_array().is_some_and(|t| t.len() == 1 && t[0]["cause"] == "repair" && t[0]["object"]["id"] == vm["id"])
    })
    .await;
    assert_eq!(row(&w, "x").await.observed.generation, after.generation);
    let host = w.get("/v1/hosts/h2").await.body["id"].as_str().unwrap().parse().unwrap();
    let told = async |kind: &str| !w.get(&format!("/v1/events?filter=kind%20%3D%20{kind}")).await.body["items"].as_array().unwrap().is_empty();
    w.running.manager.heard.forget(host);
    w.advance(31);
    crate::world::until("the silence is told", || told("host.silent")).await;
    assert_eq!(w.get("/v1/hosts/h2").await.body["state"], "silent");
    w.running.manager.heard.note(host, w.running.manager.steady());
    crate::world::until("the return is told", || told("host.up")).await;
}
