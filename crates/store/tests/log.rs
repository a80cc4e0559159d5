//! Events and audit records.

mod common;
use common::*;
use virga_model::event::{AuditRecord, Event, Severity};
use virga_model::role::Visible;
use virga_model::task::ObjectRef;
use virga_store::{Page, Store, audit, event};

#[tokio::test]
async fn events_are_numbered_and_shown_to_those_concerned() {
    for store in stores().await {
        let mut tx = store.write().await.unwrap();
        assert_eq!(event::latest_id(&mut tx).await.unwrap(), 0);
        let of_vm = event_row(ObjectRef::Vm(id(100)), "vm.state_changed");
        let rows = [
            Event { owner: Some(anna()), host: Some(h1()), ..of_vm.clone() },
            Event { owner: Some(id(BERT)), severity: Severity::Error, object_name: "db".into(), ..of_vm.clone() },
            Event { at: NOW.plus_seconds(5), ..event_row(ObjectRef::Host(h1()), "host.silent") },
            event_row(ObjectRef::System, "system.started"),
        ];
        for (n, e) in (1..).zip(&rows) {
            assert_eq!(event::append(&mut tx, e).await.unwrap(), n);
        }
        assert_eq!(event::latest_id(&mut tx).await.unwrap(), 4);
        let got = event::after(&mut tx, 2, 10, &all()).await.unwrap();
        assert_eq!(got, [Event { id: 3, ..rows[2].clone() }, Event { id: 4, ..rows[3].clone() }]);
        assert_eq!(event::after(&mut tx, 0, 1, &all()).await.unwrap().len(), 1);
        for (visible, want) in [
            (nothing(), vec![]),
            (Visible { owner: Some(anna()), ..nothing() }, vec![1]),
            (Visible { hosts: vec![h1()], ..nothing() }, vec![1, 3]),
            (Visible { vms: vec![vm_id(100)], ..nothing() }, vec![1, 2]),
            (all(), vec![1, 2, 3, 4]),
        ] {
            let ids: Vec<i64> = event::after(&mut tx, 0, 10, &visible).await.unwrap().iter().map(|e| e.id).collect();
            assert_eq!(ids, want);
            let mut ids: Vec<i64> = event::list(&mut tx, &page(""), &visible).await.unwrap().items.iter().map(|e| e.id).collect();
            ids.reverse();
            assert_eq!(ids, want, "newest first");
        }
        for (filter, n) in [("severity = error", 1), ("kind ~ VM.", 2), ("object = db", 1), ("object_kind = host", 1), ("id > 2", 2), ("at > 2020-01-01", 4)] {
            assert_eq!(event::list(&mut tx, &page(filter), &all()).await.unwrap().items.len(), n, "{filter}");
        }
        let first = event::list(&mut tx, &Page { limit: 3, ..page("") }, &all()).await.unwrap();
        let rest = event::list(&mut tx, &Page { limit: 3, after: first.next, ..page("") }, &all()).await.unwrap();
        assert_eq!(rest.items.iter().map(|e| e.id).collect::<Vec<_>>(), [1]);

        assert_eq!(event::delete_old(&mut tx, NOW.plus_seconds(5), 2).await.unwrap(), 2);
        assert_eq!(event::delete_old(&mut tx, NOW.plus_seconds(5), 2).await.unwrap(), 1);
        assert_eq!(event::latest_id(&mut tx).await.unwrap(), 4, "numbers are never used again");
        drop(tx);
        let mut tx = store.write().await.unwrap();
        assert_eq!(event::append(&mut tx, &rows[0]).await.unwrap(), 1, "what was rolled back never was");
    }
}

async fn audited(store: &Store, n: usize) {
    let mut tx = store.write().await.unwrap();
    for i in 0..n {
        audit::append(&mut tx, &audit_row(&format!("op_{i}"))).await.unwrap();
    }
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn numbers_and_chain_go_on_from_one_transaction_to_the_next() {
    for store in stores().await {
        let mut written = 0;
        for in_one in 0..4 {
            let mut tx = store.write().await.unwrap();
            for _ in 0..in_one {
                written += 1;
                assert_eq!(event::append(&mut tx, &event_row(ObjectRef::System, "x")).await.unwrap(), written);
                assert_eq!(audit::append(&mut tx, &audit_row("x")).await.unwrap(), written);
            }
            let seen = (event::latest_id(&mut tx).await.unwrap(), audit::head(&mut tx).await.unwrap().0);
            assert_eq!(seen, (written, written), "within the transaction, too");
            tx.commit().await.unwrap();
        }
        let mut tx = store.read().await.unwrap();
        assert_eq!(event::latest_id(&mut tx).await.unwrap(), written);
        assert_eq!(audit::verify(&mut tx).await.unwrap(), None);
    }
}

#[tokio::test]
async fn audit_records_are_listed_and_verified() {
    for store in stores().await {
        audited(&store, 2500).await;
        let mut tx = store.read().await.unwrap();
        assert_eq!(audit::verify(&mut tx).await.unwrap(), None);
        let newest = audit::list(&mut tx, &Page { limit: 1, total: true, ..page("") }).await.unwrap();
        assert_eq!(newest.items, [AuditRecord { id: 2500, ..audit_row("op_2499") }]);
        assert_eq!(newest.total, Some(2500));
        for (filter, n) in [("operation = op_7", 1), ("actor = ANNA", 0), ("result != ok", 0), ("id <= 10", 10), ("user = anna and id < 3", 2)] {
            assert_eq!(audit::list(&mut tx, &page(filter)).await.unwrap().items.len(), n, "{filter}");
        }
    }
    let store = Store::memory().await.unwrap();
    assert_eq!(audit::verify(&mut store.read().await.unwrap()).await.unwrap(), None, "an empty chain is whole");
}

#[tokio::test]
async fn changed_removed_and_inserted_audit_records_show() {
    let cases = [
        ("UPDATE audit SET result = 'denied' WHERE id = 3", 3),
        ("UPDATE audit SET at = at + 1 WHERE id = 1", 1),
        ("UPDATE audit SET user_id = NULL WHERE id = 2", 2),
        ("UPDATE audit SET object_kind = 'what' WHERE id = 2", 2),
        ("UPDATE audit SET chain = 'x' WHERE id = 4", 4),
        ("DELETE FROM audit WHERE id = 1", 1),
        ("DELETE FROM audit WHERE id = 3", 3),
        ("DELETE FROM audit WHERE id = 5", 5),
        ("DELETE FROM audit", 1),
        (
            "INSERT INTO audit SELECT 6, at, user_id, actor, source, operation, object_kind, object_id, object_name, result, request_id, detail, chain FROM audit WHERE id = 5",
            6,
        ),
    ];
    for (tamper, bad) in cases {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", dir.path().join("x.db").display());
        let store = Store::open(&url).await.unwrap();
        audited(&store, 5).await;
        let raw = rusqlite::Connection::open(url.trim_start_matches("sqlite://")).unwrap();
        raw.execute_batch(tamper).unwrap();
        assert_eq!(audit::verify(&mut store.read().await.unwrap()).await.unwrap(), Some(bad), "{tamper}");
    }
}

#[tokio::test]
async fn what_callers_type_does_not_break_the_chain_of_audit_records() {
    for store in stores().await {
        let mut tx = store.write().await.unwrap();
        for evil in ["a\0b", "\u{202e}x\u{1b}[31m", "\u{ffff}", &"x".repeat(100_000)] {
            let r = AuditRecord { object_name: evil.into(), detail: evil.into(), actor: evil.into(), ..audit_row("image_create") };
            audit::append(&mut tx, &r).await.unwrap();
        }
        assert_eq!(audit::verify(&mut tx).await.unwrap(), None);
        let kept = audit::list(&mut tx, &page("")).await.unwrap().items;
        assert!(kept.iter().all(|r| r.detail.chars().all(virga_model::name::printable) && r.detail.chars().count() < 2100));
    }
}
