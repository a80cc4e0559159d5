//! Rows out of one engine and into the other, the schema step by step, and what a restore makes of rows.

mod common;
use common::*;
use std::collections::BTreeMap;
use virga_model::task::{ObjectRef, TaskState};
use virga_model::vm::{Desired, Observed, VmState};
use virga_model::{HostId, Time};
use virga_store::{Store, StoreError, audit, dump, event, host, join_token, manager, meta, restored, session, task, vm};

type Tables = BTreeMap<String, Vec<String>>;

async fn all_rows(store: &Store) -> Tables {
    let mut tx = store.read().await.unwrap();
    let mut out = Tables::new();
    for table in dump::tables(dump::newest_version()) {
        let mut lines = Vec::new();
        let n = dump::rows(&mut tx, &table, |l| {
            lines.push(l.to_string());
            Ok(())
        })
        .await
        .unwrap();
        assert_eq!(n as usize, lines.len().saturating_sub(1));
        // Engines give rows in an order of their own.
        lines.get_mut(1..).map(<[String]>::sort_unstable);
        out.insert(table, lines);
    }
    out
}

async fn load_all(store: &Store, version: i64, rows: &Tables, replace: bool) -> Result<virga_store::Tx, StoreError> {
    let mut tx = dump::begin(store, version, replace).await?;
    for table in dump::tables(version) {
        let lines = rows.get(&table).cloned().unwrap_or_default();
        dump::load(&mut tx, &table, lines.into_iter().map(Ok)).await?;
    }
    dump::finish(&mut tx).await?;
    Ok(tx)
}

/// Empty databases of each engine, with what keeps them.
fn addresses() -> (Vec<String>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (vec![format!("sqlite://{}", dir.path().join("x.db").display()), postgres::empty_database()], dir)
}

async fn fill(store: &Store) {
    let mut tx = store.write().await.unwrap();
    world(&mut tx).await;
    for n in 100..140 {
        let mut v = vm_row(n, &format!("vm-{n}"), anna());
        v.labels.insert("env".into(), "täst \"x\" \u{1F600}".into());
        v.spec.disks.push(disk(n + 1000, Some(id(I1))));
        v.spec.nics.push(nic(n + 2000, id(N1), &format!("52:54:00:00:00:{:02x}", n - 100)));
        v.host = Some(h1());
        v.generation = 7;
        v.desired = Desired::Running;
        v.observed = Observed { generation: 7, settled: true, state: VmState::Running, revision: 9, ..Observed::default() };
        vm::insert(&mut tx, &v).await.unwrap();
        event::append(&mut tx, &event_row(ObjectRef::Vm(v.id), "vm.made")).await.unwrap();
        audit::append(&mut tx, &audit_row("vm_create")).await.unwrap();
    }
    task::insert(&mut tx, &task_row(500, ObjectRef::Vm(vm_id(100)))).await.unwrap();
    let ended = virga_model::task::Task { state: TaskState::Succeeded, ended_at: Some(NOW), ..task_row(501, ObjectRef::Vm(vm_id(101))) };
    task::insert(&mut tx, &ended).await.unwrap();
    let s = virga_model::user::Session {
        id: id(600),
        user: anna(),
        secret_sha256: "s".into(),
        csrf_sha256: "c".into(),
        expires_at: NOW,
        used_at: NOW,
        created_at: NOW,
    };
    session::insert(&mut tx, &s).await.unwrap();
    let j = |n: u128, used_by: Option<HostId>| virga_model::host::JoinToken {
        id: id(n),
        host_name: "h".into(),
        secret_sha256: format!("j{n}"),
        expires_at: Time(i64::MAX),
        used_by,
    };
    join_token::insert(&mut tx, &j(700, None)).await.unwrap();
    join_token::insert(&mut tx, &j(701, Some(h1()))).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn rows_go_from_each_engine_to_each() {
    for from in stores().await {
        fill(&from).await;
        let before = all_rows(&from).await;
        assert!(before["vm"].len() == 41 && before["vm_mac"].len() == 41);
        let (to, _dir) = addresses();
        for url in to {
            let store = Store::open_bare(&url).await.unwrap();
            load_all(&store, dump::newest_version(), &before, false).await.unwrap().commit().await.unwrap();
            assert_eq!(all_rows(&store).await, before, "{from:?} to {store:?}");
            let mut tx = store.read().await.unwrap();
            assert_eq!(audit::verify(&mut tx).await.unwrap(), None, "the chain of audit records holds");
            assert_eq!(vm::get(&mut tx, vm_id(100)).await.unwrap().unwrap().labels["env"], "täst \"x\" \u{1F600}");
            drop(tx);
            store.close().await;
            // An ordinary start finds nothing to do.
            Store::open(&url).await.unwrap().close().await;
        }
    }
}

#[tokio::test]
async fn what_is_used_or_newer_is_refused_and_a_broken_restore_leaves_what_was() {
    for (n, store) in stores().await.into_iter().enumerate() {
        fill(&store).await;
        let before = all_rows(&store).await;
        for (version, replace, says) in [(dump::newest_version(), false, "--force"), (dump::newest_version() + 1, true, "newer")] {
            let e = load_all(&store, version, &before, replace).await.err().unwrap();
            assert!(matches!(&e, StoreError::Setup(why) if why.contains(says)), "{e}");
        }
        // Broken off before the commit, and by rows that cannot be.
        drop(load_all(&store, dump::newest_version(), &Tables::new(), true).await.unwrap());
        let mut bad = before.clone();
        bad.get_mut("vm").unwrap()[1] = "[1]".into();
        assert!(matches!(load_all(&store, dump::newest_version(), &bad, true).await, Err(StoreError::Corrupt(_))));
        bad.get_mut("vm").unwrap()[0] = r#"["id) VALUES ('x'); --"]"#.into();
        assert!(matches!(load_all(&store, dump::newest_version(), &bad, true).await, Err(StoreError::Corrupt(_))));
        assert_eq!(all_rows(&store).await, before, "store {n}");
        // And with leave it is replaced.
        let mut other = before.clone();
        other.get_mut("event").unwrap().truncate(3);
        load_all(&store, dump::newest_version(), &other, true).await.unwrap().commit().await.unwrap();
        assert_eq!(all_rows(&store).await, other);
        let mut tx = store.read().await.unwrap();
        assert!(dump::rows(&mut tx, "vm; DROP TABLE vm", |_| Ok(())).await.is_err());
    }
}

/// `reliability.md` D8.
#[tokio::test]
async fn a_schema_of_any_version_is_brought_up_to_date_from_where_it_stands() {
    for version in 1..dump::newest_version() {
        let (to, _dir) = addresses();
        for url in to {
            let store = Store::open_bare(&url).await.unwrap();
            // As after a crash right behind the script of this version.
            let mut tx = dump::begin(&store, version, false).await.unwrap();
            let lines = [
                r#"["id","name","password_hash","must_change","disabled","failures","locked_until","generation","created_at"]"#,
                r#"["00000000-0000-0000-0000-000000000001","anna","x",0,0,0,null,1,5]"#,
            ];
            dump::load(&mut tx, "account", lines.into_iter().map(|l| Ok(l.to_string()))).await.unwrap();
            tx.commit().await.unwrap();
            // A restore of such rows, or an upgrade, that is cut off in the middle.
            let mut tx = store.write().await.unwrap();
            dump::finish(&mut tx).await.unwrap();
            drop(tx);
            let mut tx = store.read().await.unwrap();
            assert_eq!(dump::version(&mut tx).await.unwrap(), version);
            drop(tx);
            store.close().await;
            let store = Store::open(&url).await.unwrap();
            let mut tx = store.read().await.unwrap();
            assert_eq!(dump::version(&mut tx).await.unwrap(), dump::newest_version());
            assert!(virga_store::user::by_name(&mut tx, "anna").await.unwrap().is_some());
        }
    }
}

/// `reliability.md` D4.
#[tokio::test]
async fn restored_rows_do_nothing_by_themselves() {
    for store in stores().await {
        fill(&store).await;
        let mut tx = store.write().await.unwrap();
        let first = restored::make_safe(&mut tx, NOW).await.unwrap();
        assert_eq!((first.vms, first.tasks), (40, 1));
        tx.commit().await.unwrap();
        let mut tx = store.write().await.unwrap();
        assert!(session::by_secret(&mut tx, "s").await.unwrap().is_none());
        assert!(join_token::list_open(&mut tx, NOW).await.unwrap().is_empty());
        assert!(task::next_due(&mut tx, NOW).await.unwrap().is_none(), "no task is left to be done");
        assert_eq!(task::get(&mut tx, id(500)).await.unwrap().unwrap().state, TaskState::Failed);
        assert_eq!(task::get(&mut tx, id(501)).await.unwrap().unwrap().state, TaskState::Succeeded);
        assert!(vm::unsettled(&mut tx, 100).await.unwrap().is_empty(), "nothing is to be repaired");
        let v = vm::get(&mut tx, vm_id(100)).await.unwrap().unwrap();
        assert!(v.generation > 1_000_000 && v.observed.generation == v.generation && v.observed.state == VmState::Unknown);
        assert_eq!(restored::former_generation(&mut tx, v.id).await.unwrap(), Some(7));
        let h = host::get(&mut tx, h1()).await.unwrap().unwrap();
        assert!(h.epoch > 1_000_000 && h.certificate_sha256 == "restored ab" && h.last_report_at.is_none());
        // Changed by a person: an ordinary row again.
        let changed = virga_model::vm::Vm { generation: v.generation + 1, ..v.clone() };
        vm::update(&mut tx, &changed, v.generation).await.unwrap();
        assert_eq!(restored::former_generation(&mut tx, v.id).await.unwrap(), None);
        tx.commit().await.unwrap();
        // Restored once more within the same minute: everything still goes up.
        let mut tx = store.write().await.unwrap();
        let second = restored::make_safe(&mut tx, NOW).await.unwrap();
        assert!(second.epoch > first.epoch);
        let again = vm::get(&mut tx, v.id).await.unwrap().unwrap();
        assert!(again.generation > changed.generation + 100_000);
        // Commits that were lost: the host is ahead of the row.
        assert!(restored::catch_up(&mut tx, v.id, again.generation, again.generation + 5).await.unwrap());
        assert_eq!(vm::get(&mut tx, v.id).await.unwrap().unwrap().generation, again.generation + 6);
        assert_eq!(restored::former_generation(&mut tx, v.id).await.unwrap(), Some(again.generation));
        assert!(!restored::catch_up(&mut tx, v.id, again.generation, again.generation + 5).await.unwrap(), "somebody was first");
        tx.commit().await.unwrap();
    }
}

#[tokio::test]
async fn managers_say_that_they_are_there() {
    for store in stores().await {
        let row = |instance: &str, address: &str, seen: i64, stopped| manager::ManagerRow {
            instance: instance.into(),
            node_address: address.into(),
            version: "1".into(),
            started_at: Time(seen),
            seen_at: Time(seen),
            stopped,
        };
        let mut tx = store.write().await.unwrap();
        for r in [row("a1", "a:1", 10, false), row("b1", "b:1", 11, false), row("a2", "a:1", 20, false), row("a2", "a:1", 21, true)] {
            manager::beat(&mut tx, &r).await.unwrap();
        }
        let all = manager::list(&mut tx, Time(0)).await.unwrap();
        let seen: Vec<_> = all.iter().map(|m| (m.instance.as_str(), m.seen_at.0, m.stopped)).collect();
        assert_eq!(seen, [("a2", 21, true), ("b1", 11, false)], "a former life under the same address is gone");
        assert_eq!(manager::list(&mut tx, Time(11)).await.unwrap().len(), 1);
        assert_eq!(manager::delete_old(&mut tx, Time(20)).await.unwrap(), 1);
        meta::set(&mut tx, "nul", "a\0b").await.unwrap();
        assert_eq!(meta::get(&mut tx, "nul").await.unwrap().as_deref(), Some("a\u{FFFD}b"), "what PostgreSQL cannot keep is the same on both");
        tx.commit().await.unwrap();
    }
}
