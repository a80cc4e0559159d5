//! Schedules over HTTP, and what their loop does.

use crate::world::{World, until};
use serde_json::{Value, json};
use virga_model::role::{Role, Scope};

async fn world() -> World {
    let w = World::new().await;
    w.vm(json!({"name": "a", "labels": {"env": "prod"}, "disks": [{"size_bytes": 1 << 30}], "start": true})).await;
    w
}

fn hourly(name: &str, keep: u32) -> Value {
    json!({"name": name, "selector": {"env": "prod"}, "rule": {"every": "hours", "hours": 1}, "time_zone": "UTC",
           "work": {"do": "snapshot"}, "keep": {"count": keep}})
}

async fn names(w: &World) -> Vec<String> {
    let all = w.get("/v1/vms/a/snapshots").await.is(200).body["items"].clone();
    all.as_array().unwrap().iter().filter(|s| s["state"] == "ready").map(|s| s["name"].as_str().unwrap().to_string()).collect()
}

async fn wait_for_snapshots(w: &World, n: usize) {
    until(&format!("{n} snapshots"), || async { names(w).await.len() == n && w.get("/v1/vms/a").await.body["task"].is_null() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_takes_snapshots_and_removes_only_its_own() {
    let w = world().await;
    let own = w.post("/v1/vms/a/snapshots", json!({"name": "by-hand"})).await.is(202);
    w.done(own).await;
    let made = w.post("/v1/schedules", hourly("often", 2)).await.is(201).body;
    assert!(made["next_at"].as_str().unwrap().contains(":00:00"), "{made:#}");
    w.advance(3600);
    wait_for_snapshots(&w, 2).await;
    let all = names(&w).await;
    assert!(all.iter().any(|n| n.starts_with("often-20")), "{all:?}");
    let task = w.get("/v1/tasks?filter=kind%20%3D%20snapshot_create&sort=-created_at&limit=1").await.body["items"][0].clone();
    assert_eq!(task["cause"], "schedule", "{task:#}");
    // Days pass without the manager's clock being looked at: one run makes up for all that was missed.
    w.advance(50 * 3600);
    wait_for_snapshots(&w, 3).await;
    w.advance(3600);
    wait_for_snapshots(&w, 4).await;
    w.advance(61);
    until("the oldest has gone", || async {
        let now = names(&w).await;
        now.len() == 3 && now.contains(&"by-hand".into()) && !now.contains(&all[1])
    })
    .await;
    w.send("DELETE", "/v1/schedules/often", &w.admin, Value::Null, &[]).await.is(204);
    assert!(names(&w).await.contains(&"by-hand".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_is_told_and_what_was_missed_is_not_made_up_for_when_that_is_wanted() {
    let w = world().await;
    let mut body = hourly("agent", 2);
    body["work"] = json!({"do": "snapshot", "kind": "consistent"});
    w.post("/v1/schedules", body).await.is(201);
    w.post("/v1/schedules/agent/run", Value::Null).await.is(200);
    let told = |kind: &'static str| {
        let w = &w;
        move || async move { w.get(&format!("/v1/events?filter=kind%20%3D%20{kind}")).await.body["items"].as_array().is_some_and(|e| !e.is_empty()) }
    };
    until("the VM without agent is told", told("schedule.skipped")).await;
    assert!(names(&w).await.is_empty());
    w.send("DELETE", "/v1/schedules/agent", &w.admin, Value::Null, &[]).await.is(204);
    let mut body = hourly("strict", 2);
    body["catch_up"] = json!(false);
    w.post("/v1/schedules", body).await.is(201);
    w.advance(5 * 3600);
    until("what was missed is told", told("schedule.missed")).await;
    assert!(names(&w).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn schedules_are_ones_own_and_bad_ones_are_refused() {
    let w = world().await;
    let (anna, viewer) = (w.user("anna", &[(Role::User, Scope::Own)]).await, w.user("vera", &[(Role::Viewer, Scope::All)]).await);
    w.post("/v1/schedules", hourly("mine", 2)).await.is(201);
    assert_eq!(w.send("GET", "/v1/schedules", &anna, Value::Null, &[]).await.is(200).body["items"], json!([]));
    w.send("GET", "/v1/schedules/mine", &anna, Value::Null, &[]).await.is(404);
    w.send("DELETE", "/v1/schedules/mine", &anna, Value::Null, &[]).await.is(404);
    w.send("POST", "/v1/schedules", &viewer, hourly("v", 2), &[]).await.is(403);
    let limited = w.limited(None, Some(Scope::Own)).await;
    w.send("POST", "/v1/schedules", &limited, hourly("l", 2), &[]).await.is(403);
    for (field, value) in
        [("time_zone", json!("Mars/Olympus")), ("rule", json!({"every": "day", "at": ["25:00"]})), ("keep", json!({})), ("name_pattern", json!("a/b"))]
    {
        let mut body = hourly("bad", 2);
        body[field] = value;
        let refused = w.post("/v1/schedules", body).await.is(422);
        assert!(refused.body.to_string().contains(field), "{:#}", refused.body);
    }
    let mut both = hourly("both", 2);
    both["vm"] = json!("a");
    w.post("/v1/schedules", both).await.is(422);
    w.post("/v1/schedules", hourly("mine", 2)).await.is(409);
}
