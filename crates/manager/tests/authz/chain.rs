//! Anchors, the export and its verifier, the hourly walk, and removal by age.

use crate::world::World;
use serde_json::{Value, json};
use virga_audit::{Key, Verdict, verify};
use virga_manager::anchor::Sinks;
use virga_manager::loops::audit::{Anchors, round};
use virga_store::probe;

struct Kept {
    w: World,
    anchors: Anchors,
    key: Key,
}

impl Kept {
    async fn new() -> Kept {
        let w = World::bare().await;
        let sinks = Sinks { file: Some(w.dir.path().join("anchors.jsonl")), syslog: None };
        let anchors = Anchors::open(&w.running.manager, sinks).unwrap();
        let key = Key::from_pem(&std::fs::read_to_string(w.dir.path().join("audit.pub")).unwrap()).unwrap();
        Kept { w, anchors, key }
    }

    /// Some changes, and an anchor.
    async fn work(&mut self, n: u32) {
        for _ in 0..n {
            self.w.post("/v1/tokens", json!({"name": "t", "valid_s": 3600})).await.is(201);
        }
        round(&self.w.running.manager, &mut self.anchors).await.unwrap();
    }

    async fn export(&self) -> String {
        let answer = self.w.http.get(self.w.url("/v1/audit/export")).bearer_auth(&self.w.admin).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.text().await.unwrap()
    }

    fn file(&self) -> String {
        std::fs::read_to_string(self.w.dir.path().join("anchors.jsonl")).unwrap()
    }

    async fn verdict(&self) -> Verdict {
        let anchors = virga_audit::anchor::read(&self.file()).unwrap();
        verify(self.export().await.as_bytes(), 0, &anchors, std::slice::from_ref(&self.key))
    }

    async fn events(&self) -> Vec<Value> {
        let body = self.w.get("/v1/events?filter=kind%3Daudit.broken").await.is(200).body;
        body["items"].as_array().unwrap().clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_whole_and_anchored_outside() {
    let mut k = Kept::new().await;
    k.work(3).await;
    k.work(2).await;
    assert_eq!(k.file().lines().count(), 2);
    // What happened after the last anchor, the sign of it being the export before this one, is vouched for by nobody else.
    let Verdict::Ok { first: 1, last: 5, anchors: 2 } = k.verdict().await else { panic!("{}", k.verdict().await) };
    assert!(matches!(k.verdict().await, Verdict::Unanchored { anchored: 5, .. }));
    k.work(0).await;
    assert!(matches!(k.verdict().await, Verdict::Ok { anchors: 3, .. }));
    let listed = k.w.get("/v1/audit/anchors").await.is(200).body;
    assert_eq!(listed["items"].as_array().unwrap().len(), 3);
    let metrics = k.w.get("/metrics").await.is(200).body.as_str().unwrap().to_string();
    let age = metrics.lines().find_map(|l| l.strip_prefix("virga_audit_anchor_age_seconds ")).unwrap();
    assert!(age.parse::<i64>().unwrap() >= 0, "{age}");
    // A round without anything new makes no anchor; a file that was away for a while catches up.
    std::fs::remove_file(k.w.dir.path().join("anchors.jsonl")).unwrap();
    k.work(0).await;
    k.work(0).await;
    assert_eq!(k.file().lines().count(), 4, "the three from before, and one of the list and the export since");
}

#[tokio::test(flavor = "multi_thread")]
async fn tampering_in_the_database_is_found_by_the_verifier_and_by_the_walk() {
    type Case = (&'static str, fn(&Verdict) -> bool);
    let cases: [Case; 4] = [
        ("UPDATE audit SET detail = 'nothing' WHERE id = 2", |v| *v == Verdict::Altered(2)),
        ("DELETE FROM audit WHERE id = 3", |v| *v == Verdict::Removed(3)),
        ("UPDATE audit SET id = 100 WHERE id = 2", |v| matches!(v, Verdict::Removed(2))),
        ("DELETE FROM audit WHERE id >= 4", |v| matches!(v, Verdict::Truncated { .. } | Verdict::Unreadable { .. } | Verdict::Removed(4))),
    ];
    for (statement, wanted) in cases {
        let mut k = Kept::new().await;
        k.work(5).await;
        probe::statement(&k.w.store, statement).await.unwrap();
        let verdict = k.verdict().await;
        assert!(wanted(&verdict) && verdict.exit_code() != 0, "{statement}: {verdict}");
        // The walk is hourly: a loop that has just begun does it at once.
        let mut fresh = Anchors::open(&k.w.running.manager, Sinks::default()).unwrap();
        round(&k.w.running.manager, &mut fresh).await.unwrap();
        round(&k.w.running.manager, &mut fresh).await.unwrap();
        assert_eq!(k.events().await.len(), 1, "{statement}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_cut_off_and_counted_back_is_found_by_the_file_alone() {
    let mut k = Kept::new().await;
    k.work(5).await;
    for statement in ["DELETE FROM audit WHERE id > 2", "UPDATE counter SET value = 2 WHERE name = 'audit'", "DELETE FROM audit_anchor"] {
        probe::statement(&k.w.store, statement).await.unwrap();
    }
    assert_eq!(virga_store::audit::verify(&mut k.w.store.read().await.unwrap()).await.unwrap(), None, "the chain itself is whole");
    assert!(matches!(k.verdict().await, Verdict::Truncated { last: 2, anchored: 5 }), "{}", k.verdict().await);
    // The manager sees it too, as long as its file is there.
    round(&k.w.running.manager, &mut k.anchors).await.unwrap();
    assert!(k.events().await[0]["message"].as_str().unwrap().contains("cut off"));
}

#[tokio::test(flavor = "multi_thread")]
async fn age_alone_removes_records_and_the_rest_is_still_whole() {
    let mut k = Kept::new().await;
    k.work(4).await;
    k.w.send("PUT", "/v1/audit/retention", &k.w.admin, json!({"days": 179}), &[]).await.is(422);
    k.w.advance(179 * 86_400);
    k.work(1).await;
    let mut fresh = Anchors::open(&k.w.running.manager, Sinks::default()).unwrap();
    round(&k.w.running.manager, &mut fresh).await.unwrap();
    assert!(k.export().await.lines().nth(1).unwrap().contains("\"seq\":1,"), "nothing is old enough yet");
    k.w.advance(2 * 86_400);
    let mut fresh = Anchors::open(&k.w.running.manager, Sinks::default()).unwrap();
    round(&k.w.running.manager, &mut fresh).await.unwrap();
    k.work(0).await;
    let text = k.export().await;
    assert!(text.lines().next().unwrap().contains("\"pruned\":{"), "{text}");
    assert!(!text.contains("\"seq\":4,\"source\"") && text.contains("audit_prune"), "{text}");
    let anchors = virga_audit::anchor::read(&k.file()).unwrap();
    let verdict = verify(text.as_bytes(), 0, &anchors, std::slice::from_ref(&k.key));
    assert!(matches!(verdict, Verdict::Ok { .. } | Verdict::Unanchored { .. }), "{verdict}");
    assert_eq!(virga_store::audit::verify(&mut k.w.store.read().await.unwrap()).await.unwrap(), None);
}
