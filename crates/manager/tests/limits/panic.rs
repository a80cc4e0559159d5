//! A panic fails what panicked and nothing else (M10). It is injected where the crash points are.

use crate::world::World;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use virga_crash::{Hook, Moment, Step, Verdict};

/// Panics at a crash point, while it is armed.
struct Panics {
    at: Step,
    armed: AtomicBool,
    once: bool,
}

impl Hook for Panics {
    fn reached(&self, step: Step, moment: Moment) -> Verdict {
        let hit = step == self.at && moment == Moment::Before && self.armed.load(Ordering::SeqCst);
        if hit && self.once {
            self.armed.store(false, Ordering::SeqCst);
        }
        Box::pin(async move {
            assert!(!hit, "injected by a test");
            Ok(())
        })
    }
}

async fn world(at: Step, once: bool) -> (World, Arc<Panics>) {
    let hook = Arc::new(Panics { at, armed: AtomicBool::new(false), once });
    (virga_crash::with(hook.clone(), World::new()).await, hook)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_panics_fails_its_request_only() {
    let (w, hook) = world(Step::RequestCommit, false).await;
    hook.armed.store(true, Ordering::SeqCst);
    let r = w.send("POST", "/v1/images", &w.admin, json!({"name": "a"}), &[]).await.is(500);
    assert_eq!((r.code(), r.header("content-type")), ("internal", "application/problem+json"));
    assert!(!r.body["request_id"].as_str().unwrap().is_empty());
    hook.armed.store(false, Ordering::SeqCst);
    // The transaction was undone, the same connection goes on, and it was counted.
    w.send("GET", "/v1/images/a", &w.admin, json!(null), &[]).await.is(404);
    w.send("POST", "/v1/images", &w.admin, json!({"name": "a"}), &[]).await.is(201);
    assert_eq!(w.running.manager.panics.all(), [("request", 1)]);
    let text = w.http.get(w.url("/metrics")).bearer_auth(&w.admin).send().await.unwrap().text().await.unwrap();
    assert!(text.contains("virga_panics_total{part=\"request\"} 1"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_runner_that_panics_is_started_again() {
    let (w, hook) = world(Step::TaskClaim, true).await;
    hook.armed.store(true, Ordering::SeqCst);
    // Made and started although the runner panicked in between: `vm` waits for the task.
    w.vm(json!({"name": "a"})).await;
    assert_eq!(w.running.manager.panics.all(), [("tasks", 1)]);
    let r = w.send("GET", "/v1/events?filter=kind%20%3D%20system.part_restarted", &w.admin, json!(null), &[]).await.is(200);
    assert_eq!(r.body["items"].as_array().unwrap().len(), 1, "{}", r.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_whose_work_panics_is_looked_at_again() {
    let (w, hook) = world(Step::TaskCall, true).await;
    hook.armed.store(true, Ordering::SeqCst);
    let made = w.post("/v1/vms", json!({"name": "a"})).await.is(202);
    let until_panicked = async {
        while w.running.manager.panics.all() != [("task", 1)] {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(crate::raw::SOON, until_panicked).await.expect("no panic");
    // The lease runs out.
    w.advance(31);
    w.done(made).await;
}
