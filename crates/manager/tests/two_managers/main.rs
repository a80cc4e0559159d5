//! Two managers on one PostgreSQL serve at the same time: either may be killed, put to sleep and woken, or cut from the
//! database at any point; no task is lost or done twice (`reliability.md` M1 to M3, D1, D3, D4).

#[path = "../../../store/tests/common/postgres.rs"]
mod postgres;
mod proxy;
mod restore;
mod world;

use proxy::Cut;
use serde_json::{Value, json};
use virga_agent::identity::Identity;
use virga_model::order::NodeAnswer;
use world::{Sleep, World};

const A: usize = 0;
const B: usize = 1;

fn id(v: &Value) -> String {
    v["id"].as_str().unwrap_or_else(|| panic!("{v:#}")).to_string()
}

async fn make(w: &World, manager: usize, name: &str, start: bool) -> String {
    let a = w.post(manager, "/v1/vms", json!({ "name": name, "start": start, "memory_bytes": 256 << 20 }), &[]).await;
    assert_eq!(a.status, 202, "{a:?}");
    id(&w.get(manager, &format!("/v1/vms/{name}")).await.body)
}

async fn power(w: &World, manager: usize, name: &str, action: &str) -> String {
    let a = w.post(manager, &format!("/v1/vms/{name}/power"), json!({ "action": action }), &[]).await;
    assert_eq!(a.status, 202, "{a:?}");
    a.body["task"]["id"].as_str().unwrap_or_else(|| panic!("{a:?}")).to_string()
}

/// Every task succeeded, once.
fn all_succeeded(tasks: &std::collections::BTreeMap<String, Value>) {
    for t in tasks.values() {
        assert_eq!(t["state"], "succeeded", "{t:#}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_serve_and_each_shows_what_the_other_did() {
    let w = World::new(1).await;
    // A session of the one is a session of the other.
    for m in [A, B] {
        let who = w.get(m, "/v1/session").await;
        assert_eq!(who.status, 200, "{who:?}");
    }
    // An event stream of B tells what was done through A.
    let stream = w.http.get(format!("{}/v1/events/stream", w.managers[B].api)).bearer_auth(&w.token).send().await.unwrap();
    let reader = tokio::spawn(async move {
        let (mut stream, mut text) = (stream, String::new());
        while let Ok(Some(part)) = stream.chunk().await {
            text.push_str(&String::from_utf8_lossy(&part));
            if text.contains("task.ended") {
                return true;
            }
        }
        false
    });
    let vm = make(&w, A, "web", true).await;
    assert!(tokio::time::timeout(world::PATIENCE, reader).await.unwrap().unwrap(), "B's stream told of A's task");
    all_succeeded(&w.until_all_ended(B).await);
    assert_eq!(w.get(B, "/v1/vms/web").await.body["id"], vm.as_str());
    // The other manager gets the machine's rates as well.
    let path = "/v1/hosts/h0/stats";
    for m in [A, B] {
        w.until("rates", async |w: &World| w.get(m, path).await.body.to_string().contains("cpu")).await;
    }
    // Agents know both, also after a new start.
    let both = || w.managers.iter().all(|m| w.machines[0].link.managers().contains(&m.node));
    w.until("the agent knows both", async |_: &World| both()).await;
    let kept = Identity::load(w.machines[0].state.path()).unwrap().unwrap();
    assert!(w.managers.iter().all(|m| kept.managers.contains(&m.node)), "{:?}", kept.managers);
    // Content that A holds reaches a host whose agent asks B first, because it asks A then.
    assert_eq!(w.post(A, "/v1/images", json!({ "name": "i" }), &[]).await.status, 201);
    let put = w.http.put(format!("{}/v1/images/i/content", w.managers[A].api)).bearer_auth(&w.token).body(vec![7u8; 1 << 20]).send().await.unwrap();
    assert_eq!(put.status(), 200, "{:?}", put.text().await);
    let disk = json!({ "name": "img", "disks": [{ "image": "i" }], "start": true });
    let made = w.post(B, "/v1/vms", disk, &[]).await;
    assert_eq!(made.status, 202, "{made:?}");
    all_succeeded(&w.until_all_ended(A).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manager_with_another_authority_is_refused() {
    let w = World::new(0).await;
    let dir = tempfile::tempdir().unwrap();
    let other = virga_manager::ca::Authority::open(dir.path()).unwrap();
    let e = virga_manager::managers::check_authority(&w.managers[A].manager.store, &other).await.unwrap_err();
    assert!(e.to_string().contains("ca.key"), "{e}");
    assert!(virga_manager::managers::check_unclaimed(&w.managers[A].manager.store).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_is_killed_in_the_middle_of_tasks_and_the_other_ends_them() {
    let mut w = World::new(2).await;
    let mut vms = Vec::new();
    for n in 0..12 {
        vms.push(make(&w, n % 2, &format!("vm{n}"), true).await);
    }
    w.until("some work is under way", async |w: &World| w.count(" start ") >= 2).await;
    w.managers[A].kill();
    // Its leases run out.
    w.advance(40);
    let tasks = w.until_all_ended(B).await;
    assert_eq!(tasks.len(), 12, "none is lost, none is new");
    all_succeeded(&tasks);
    for vm in &vms {
        assert_eq!(w.count(&format!("start {vm}")), 1, "started once");
        assert_eq!(w.count(&format!("define {vm}")), 1, "defined once");
    }
    // Both machines report to the one that is left, and new work goes on.
    power(&w, B, "vm0", "force_off").await;
    power(&w, B, "vm1", "force_off").await;
    all_succeeded(&w.until_all_ended(B).await);
    // A third comes in its place.
    w.start_manager().await;
    power(&w, 2, "vm0", "start").await;
    all_succeeded(&w.until_all_ended(2).await);
    assert_eq!(w.count(&format!("start {}", vms[0])), 2);
}

/// Puts A to sleep at `place` while it works on a task, lets five minutes pass, changes the VM through B and wakes A.
async fn sleeps_and_wakes(place: Sleep) {
    let w = World::new(1).await;
    let vm = make(&w, A, "web", false).await;
    all_succeeded(&w.until_all_ended(B).await);
    // A alone may take the task: B is asleep before its writes until A has it.
    w.managers[B].bed.lull(Sleep::BeforeWrite);
    let in_writes = matches!(place, Sleep::BeforeWrite | Sleep::InWrite);
    if !in_writes {
        w.managers[A].bed.lull(place);
    }
    let task = power(&w, A, "web", "start").await;
    if in_writes {
        // While it works on it, not while it is asked.
        w.until("A works on it", async |w: &World| w.count(&format!("start {vm}")) == 1).await;
        w.managers[A].bed.lull(place);
    }
    w.managers[B].bed.lull(Sleep::No);
    w.until_asleep_or_done(A, &task).await;
    w.advance(300);
    let tasks = w.until_all_ended(B).await;
    assert_eq!(tasks[&task]["state"], "succeeded", "{:#}", tasks[&task]);
    // Something newer, by the other.
    power(&w, B, "web", "force_off").await;
    let before = w.until_all_ended(B).await;
    w.managers[A].bed.lull(Sleep::No);
    // A is awake when it can write again.
    let probe = w.post(A, "/v1/vms", json!({ "name": "probe", "memory_bytes": 256 << 20 }), &[]).await;
    assert_eq!(probe.status, 202, "{probe:?}");
    let after = w.until_all_ended(A).await;
    for (id, t) in &before {
        assert_eq!(after[id]["state"], t["state"], "an ended task stays as it ended");
        assert_eq!(after[id]["ended_at"], t["ended_at"], "and ended once");
    }
    let now = w.get(B, "/v1/vms/web").await.body;
    assert_eq!((now["observed"]["state"].as_str(), now["desired"].as_str()), (Some("stopped"), Some("stopped")), "{now:#}");
    assert_eq!(w.count(&format!("start {vm}")), 1, "{place:?}: started once: {:?}", w.machines[0].host.log());
    let late = w.managers[A].bed.late.lock().unwrap().clone();
    if place == Sleep::BeforeCall {
        assert!(!late.is_empty(), "the call was made when it woke");
    }
    assert!(late.iter().all(|a| matches!(a, NodeAnswer::Refused { .. })), "the agent refuses what is older: {late:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_sleeps_before_a_call() {
    sleeps_and_wakes(Sleep::BeforeCall).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_sleeps_inside_a_call() {
    sleeps_and_wakes(Sleep::AfterCall).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_sleeps_before_a_write() {
    sleeps_and_wakes(Sleep::BeforeWrite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_sleeps_inside_a_transaction() {
    sleeps_and_wakes(Sleep::InWrite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_claim_at_once_and_exactly_one_gets_each_task() {
    use virga_model::{TaskId, Time};
    let w = World::new(0).await;
    // Managers that claim, without the runners of the two: rows of a kind that nobody looks at before they are due.
    let (a, b) = (w.managers[A].manager.store.clone(), w.managers[B].manager.store.clone());
    let due = virga_manager::state::wall_clock().plus_seconds(100_000);
    let mut tx = a.write().await.unwrap();
    for n in 0..200u128 {
        let about = virga_manager::task_new::About::plain(virga_model::task::ObjectRef::Vm(virga_model::VmId(uuid::Uuid::from_u128(n + 1))), "x");
        let who = virga_manager::task_new::Who::system(virga_model::task::Cause::User, due);
        let kind = virga_model::task::TaskKind::VmStart;
        let t = virga_manager::task_new::fresh(who, TaskId(uuid::Uuid::from_u128(n + 1)), kind, about, Default::default(), None);
        virga_store::task::insert(&mut tx, &t).await.unwrap();
    }
    tx.commit().await.unwrap();
    let claim = |store: virga_store::Store, owner: &'static str| async move {
        let mut got: Vec<TaskId> = Vec::new();
        loop {
            let mut tx = store.write().await.unwrap();
            let some = virga_store::task::claim(&mut tx, owner, due, Time(due.0 + 1), 3).await.unwrap();
            tx.commit().await.unwrap();
            if some.is_empty() {
                return got;
            }
            got.extend(some.into_iter().map(|t| t.id));
        }
    };
    let (x, y) = tokio::join!(tokio::spawn(claim(a, "a")), tokio::spawn(claim(b, "b")));
    let (x, y) = (x.unwrap(), y.unwrap());
    assert!(!x.is_empty() && !y.is_empty(), "both had some: {} and {}", x.len(), y.len());
    let mut all: Vec<TaskId> = x.into_iter().chain(y).collect();
    assert_eq!(all.len(), 200);
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 200, "each once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_cut_from_the_database_is_repeated_without_harm() {
    let w = World::new(1).await;
    let cuts = [(Cut::BeforeCommit, 0, 1), (Cut::AfterCommit, 0, 1), (Cut::AfterCommit, 1, 0), (Cut::BeforeMessage, 9, 0), (Cut::BeforeMessage, 23, 0)];
    for (n, (cut, first_place, every)) in cuts.into_iter().enumerate() {
        let name = format!("vm{n}");
        let body = json!({ "name": name, "memory_bytes": 256 << 20 });
        let key = [("idempotency-key", name.as_str())];
        // Where it is made again and again, no other transaction of the manager can be hit instead.
        w.managers[A].proxy.cut_at(cut, first_place, every);
        let first = w.post(A, "/v1/vms", body.clone(), &key).await;
        w.managers[A].proxy.cut_at(Cut::Never, 0, 0);
        assert!(first.status == 202 || first.status == 503, "{cut:?}: said in words for people: {first:?}");
        let mut last = first;
        w.until("the repeated request is answered", async |w: &World| {
            last = w.post(A, "/v1/vms", body.clone(), &key).await;
            last.status == 202
        })
        .await;
        let again = w.post(B, "/v1/vms", body.clone(), &key).await;
        assert_eq!((again.status, &again.body["task"]["id"]), (202, &last.body["task"]["id"]), "{cut:?}: the other manager answers the same");
        let vms = w.get(B, &format!("/v1/vms?filter=name%20=%20{name}&total=true")).await;
        assert_eq!(vms.body["total"], 1, "{cut:?}: once");
    }
    let tasks = w.until_all_ended(B).await;
    assert_eq!(tasks.len(), 5, "{tasks:#?}");
    all_succeeded(&tasks);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runners_that_are_cut_from_the_database_lose_nothing_and_do_nothing_twice() {
    let w = World::new(1).await;
    for (n, (cut, every)) in [(Cut::BeforeCommit, 3), (Cut::AfterCommit, 3), (Cut::BeforeMessage, 101)].into_iter().enumerate() {
        let vms = [make(&w, B, &format!("x{n}"), true).await];
        w.managers[A].proxy.cut_at(cut, 0, every);
        w.managers[B].proxy.cut_at(cut, 1, every);
        let looks = std::cell::Cell::new(0);
        let cuts = || w.managers[A].proxy.cuts() + w.managers[B].proxy.cuts();
        let before = cuts();
        w.until("it was started under cuts", async |w: &World| {
            looks.set(looks.get() + 1);
            // Leases that a cut runner lost run out.
            w.advance(2);
            vms.iter().all(|vm| w.count(&format!("start {vm}")) > 0) && cuts() > before
        })
        .await;
        for m in [A, B] {
            w.managers[m].proxy.cut_at(Cut::Never, 0, 0);
        }
        w.advance(40);
        all_succeeded(&w.until_all_ended(A).await);
        for vm in &vms {
            assert_eq!(w.count(&format!("start {vm}")), 1, "{cut:?}: {:?}", w.machines[0].host.log());
        }
    }
    // Nothing is left over: connections come back to the pools.
    let a = w.post(A, "/v1/vms", json!({ "name": "last", "memory_bytes": 256 << 20 }), &[]).await;
    assert_eq!(a.status, 202, "{a:?}");
}
