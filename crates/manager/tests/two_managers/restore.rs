//! A backup, changes after it, and a restore: nothing is killed, nothing is started, what differs is shown, and new
//! commands work (`reliability.md` D4).

use crate::world::World;
use crate::{A, id, make, power};
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use virga_manager::backup;
use virga_manager::config::{BackupArgs, RestoreArgs};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_stops_nothing_and_starts_nothing() {
    let mut w = World::new(1).await;
    for (name, start) in [("same", true), ("stopped-since", true), ("started-since", false), ("edited-since", true), ("deleted-since", true)] {
        make(&w, A, name, start).await;
    }
    w.until_all_ended(A).await;
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("virga.backup");
    let args = BackupArgs { state_dir: w.managers[A].dir.path().into(), output: output.clone(), database: Some(w.address.clone()) };
    let manifest = backup::backup(&args).await.unwrap();
    assert!(manifest.members.iter().any(|m| m.name == "rows/vm.jsonl" && m.rows == Some(5)), "{manifest:#?}");
    assert_eq!(std::fs::metadata(&output).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(backup::backup(&args).await.is_err(), "never over another file");
    // Reality goes on.
    power(&w, A, "stopped-since", "force_off").await;
    power(&w, A, "started-since", "start").await;
    let edited = w.post(A, "/v1/vms/edited-since/disks", json!({ "size_bytes": 1 << 30 }), &[]).await;
    assert_eq!(edited.status, 202, "{edited:?}");
    let deleted = w.http.delete(format!("{}/v1/vms/deleted-since?force=true", w.managers[A].api)).bearer_auth(&w.token).send().await.unwrap();
    assert_eq!(deleted.status(), 202, "{:?}", deleted.text().await);
    let new = make(&w, A, "made-since", true).await;
    w.until_all_ended(A).await;
    let restore = |force| RestoreArgs { state_dir: w.managers[A].dir.path().into(), input: output.clone(), database: Some(w.address.clone()), force };
    // Not under a manager that serves, and not over what is there.
    let e = backup::restore(&restore(true)).await.unwrap_err();
    assert!(e.to_string().contains("serves"), "{e}");
    let args = [restore(false), restore(true)];
    w.managers.iter_mut().for_each(crate::world::One::kill);
    // A killed manager is taken to serve for half a minute; the row is as if that had passed.
    crate::postgres::run(&w.address, "UPDATE manager SET seen_at = 0");
    let e = backup::restore(&args[0]).await.unwrap_err();
    assert!(e.to_string().contains("--force"), "{e}");
    let log: Vec<String> = w.machines[0].host.log();
    let done = backup::restore(&args[1]).await.unwrap();
    assert_eq!((done.counts.vms, done.counts.tasks), (5, 0));
    w.restart_manager(A).await;
    let host = |w: &World| w.machines[0].host.clone();
    // The token of before is a row of the backup, and so is good again.
    w.until("the host reports", async |w: &World| w.get(A, "/v1/hosts/h0").await.body["state"] == "up").await;
    w.until("the host's word has come", async |w: &World| {
        let list = w.get(A, "/v1/vms").await.body;
        list["items"].as_array().is_some_and(|v| v.len() == 5 && v.iter().all(|v| v["observed"]["state"] != "unknown"))
    })
    .await;
    // Longer than any loop waits before it mends something.
    w.advance(120);
    w.until("loops have looked", async |w: &World| {
        let now = w.machines[0].host.log().len();
        tokio::time::timeout(std::time::Duration::from_secs(7), std::future::pending::<()>()).await.unwrap_err();
        now == w.machines[0].host.log().len()
    })
    .await;
    assert_eq!(host(&w).log(), log, "nothing was done on the host");
    let tasks = w.get(A, "/v1/tasks?filter=cause%20=%20repair").await.body;
    assert_eq!(tasks["items"].as_array().map(Vec::len), Some(0), "{tasks:#}");
    for (name, state, drift) in [
        ("same", "running", false),
        ("stopped-since", "stopped", true),
        ("started-since", "running", true),
        ("edited-since", "running", true),
        ("deleted-since", "absent", true),
    ] {
        let v = w.get(A, &format!("/v1/vms/{name}")).await.body;
        assert_eq!(v["observed"]["state"], state, "{v:#}");
        assert_eq!(v["observed"]["drift"].as_array().is_some_and(|d| !d.is_empty()), drift, "{v:#}");
    }
    let h = w.get(A, "/v1/hosts/h0").await.body;
    assert!(h.to_string().contains(&format!("virga:{new}")), "a VM that the rows do not know is shown: {h:#}");
    // New commands count, and end the difference.
    for (name, action) in [("stopped-since", "start"), ("started-since", "force_off"), ("same", "force_off")] {
        let task = power(&w, A, name, action).await;
        let tasks = w.until_all_ended(A).await;
        assert_eq!(tasks[&task]["state"], "succeeded", "{:#}", tasks[&task]);
        let v = w.get(A, &format!("/v1/vms/{name}")).await.body;
        assert!(v["observed"]["drift"].as_array().is_none_or(Vec::is_empty), "{v:#}");
        assert_eq!(v["observed"]["state"], if action == "start" { "running" } else { "stopped" });
    }
    let gone = w.http.delete(format!("{}/v1/vms/deleted-since?force=true", w.managers[A].api)).bearer_auth(&w.token).send().await.unwrap();
    assert_eq!(gone.status(), 202);
    w.until_all_ended(A).await;
    assert_eq!(w.get(A, "/v1/vms/deleted-since").await.status, 404);
    let vms = w.get(A, "/v1/vms").await.body;
    assert!(vms["items"].as_array().unwrap().iter().all(|v| id(v) != new));
    assert_eq!(host(&w).domain_state(new.parse().unwrap()), Some(virga_model::vm::VmState::Running), "and it runs on");
}

/// From SQLite to PostgreSQL and back, and what is damaged is named.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_goes_into_either_engine_and_a_damaged_one_into_none() {
    let (here, there, back) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let authority = virga_manager::ca::Authority::open(here.path()).unwrap();
    let url = virga_manager::config::database_url(None, here.path()).unwrap();
    let store = virga_store::Store::open(&url).await.unwrap();
    let hasher = virga_manager::password::Hasher::default();
    virga_manager::first::prepare(&store, &hasher, here.path(), virga_manager::state::wall_clock(), None).await.unwrap();
    virga_manager::managers::check_authority(&store, &authority).await.unwrap();
    store.close().await;
    let archive = here.path().join("a.backup");
    backup::backup(&BackupArgs { state_dir: here.path().into(), output: archive.clone(), database: None }).await.unwrap();
    let address = crate::postgres::empty_database();
    let into = |dir: &tempfile::TempDir, input: &std::path::Path, database: Option<String>| RestoreArgs {
        state_dir: dir.path().into(),
        input: input.into(),
        database,
        force: false,
    };
    // Every byte of the archive matters. One in each member, and a missing end.
    let whole = std::fs::read(&archive).unwrap();
    let bad = here.path().join("bad.backup");
    let needle = b"account made at the first start";
    let at = whole.windows(needle.len()).position(|w| w == needle).expect("an audit record");
    let mut damaged = whole.clone();
    damaged[at] ^= 1;
    for (content, says) in [(damaged, "rows/audit.jsonl"), (whole[..whole.len() / 2].to_vec(), "damaged"), (b"no archive".to_vec(), "damaged")] {
        std::fs::write(&bad, content).unwrap();
        let e = format!("{:#}", backup::restore(&into(&there, &bad, Some(address.clone()))).await.unwrap_err());
        assert!(e.contains(says), "{says}: {e}");
        assert!(!there.path().join("ca.key").exists(), "nothing of it is used");
    }
    let done = backup::restore(&into(&there, &archive, Some(address.clone()))).await.unwrap();
    assert_eq!(done.manifest.engine, "sqlite");
    for name in ["ca.key", "ca.pem", "admin-password"] {
        let (a, b) = (here.path().join(name), there.path().join(name));
        assert_eq!(std::fs::read(a).unwrap(), std::fs::read(&b).unwrap(), "{name}");
        assert_eq!(std::fs::metadata(&b).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
    }
    let second = there.path().join("b.backup");
    backup::backup(&BackupArgs { state_dir: there.path().into(), output: second.clone(), database: Some(address) }).await.unwrap();
    let done = backup::restore(&into(&back, &second, None)).await.unwrap();
    assert_eq!(done.manifest.engine, "postgresql");
    let store = virga_store::Store::open(&virga_manager::config::database_url(None, back.path()).unwrap()).await.unwrap();
    let mut tx = store.read().await.unwrap();
    assert!(virga_store::user::by_name(&mut tx, "admin").await.unwrap().is_some());
    assert_eq!(virga_store::audit::verify(&mut tx).await.unwrap(), None, "the chain of audit records holds");
    let own = virga_manager::ca::Authority::open(back.path()).unwrap();
    virga_manager::managers::check_authority(&store, &own).await.unwrap();
}
