//! Opening, transactions and concurrency.

mod common;
use common::*;
use std::os::unix::fs::PermissionsExt;
use virga_model::{Error, ErrorCode};
use virga_store::{Store, StoreError, host, meta, user};

#[tokio::test]
async fn a_new_file_is_private_and_opens_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("with blank.db");
    let url = format!("sqlite://{}", path.display());
    let store = Store::open(&url).await.unwrap();
    let mut tx = store.write().await.unwrap();
    meta::set(&mut tx, "installation", "x").await.unwrap();
    tx.commit().await.unwrap();
    for file in std::fs::read_dir(dir.path()).unwrap().map(|f| f.unwrap().path()) {
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "{}", file.display());
    }
    store.close().await;
    assert!(path.exists());
    assert!(matches!(store.write().await, Err(StoreError::Db(_))));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let store = Store::open(&url).await.unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(meta::get(&mut store.read().await.unwrap(), "installation").await.unwrap().as_deref(), Some("x"));
}

#[tokio::test]
async fn wrong_addresses_and_newer_databases_are_refused() {
    for bad in ["", "virga.db", "sqlite://relative.db", "sqlite:///no/such/directory/x.db", "mysql://x/y"] {
        assert!(Store::open(bad).await.is_err(), "{bad}");
    }
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", dir.path().join("x.db").display());
    Store::open(&url).await.unwrap().close().await;
    let raw = rusqlite::Connection::open(url.trim_start_matches("sqlite://")).unwrap();
    raw.execute_batch("INSERT INTO schema_script (version, sha256) VALUES (9999, 'x')").unwrap();
    drop(raw);
    let e = Store::open(&url).await.unwrap_err();
    assert!(e.to_string().contains("9999"), "{e}");
}

#[tokio::test]
async fn nothing_stays_of_a_dropped_transaction() {
    for store in stores().await {
        let mut tx = store.write().await.unwrap();
        meta::set(&mut tx, "a", "1").await.unwrap();
        drop(tx);
        // A future that is dropped between two statements.
        let (written, seen) = tokio::sync::oneshot::channel();
        let cancelled = async {
            let mut tx = store.write().await.unwrap();
            meta::set(&mut tx, "a", "2").await.unwrap();
            written.send(()).unwrap();
            std::future::pending::<()>().await;
            tx.commit().await.unwrap();
        };
        tokio::select! { () = cancelled => {}, r = seen => r.unwrap() }
        let mut tx = store.write().await.unwrap();
        assert_eq!(meta::get(&mut tx, "a").await.unwrap(), None);
        meta::set(&mut tx, "a", "3").await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(meta::get(&mut store.read().await.unwrap(), "a").await.unwrap().as_deref(), Some("3"));
    }
}

#[tokio::test]
async fn a_reader_sees_one_state_and_cannot_write() {
    for store in stores().await {
        let mut reader = store.read().await.unwrap();
        assert_eq!(meta::get(&mut reader, "a").await.unwrap(), None);
        let mut tx = store.write().await.unwrap();
        meta::set(&mut tx, "a", "1").await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(meta::get(&mut reader, "a").await.unwrap(), None, "the same state as before");
        let mut other = store.read().await.unwrap();
        assert_eq!(meta::get(&mut other, "a").await.unwrap().as_deref(), Some("1"));
        assert!(meta::set(&mut other, "a", "2").await.is_err());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fifty_writers_and_readers_at_once_all_succeed() {
    for store in stores().await {
        let mut tx = store.write().await.unwrap();
        meta::set(&mut tx, "n", "0").await.unwrap();
        tx.commit().await.unwrap();
        let mut jobs = tokio::task::JoinSet::new();
        for _ in 0..50 {
            let store = store.clone();
            jobs.spawn(async move {
                for _ in 0..5 {
                    let mut tx = store.write().await.unwrap();
                    let n: u32 = meta::get(&mut tx, "n").await.unwrap().unwrap().parse().unwrap();
                    meta::set(&mut tx, "n", &(n + 1).to_string()).await.unwrap();
                    tx.commit().await.unwrap();
                    let mut tx = store.read().await.unwrap();
                    meta::get(&mut tx, "n").await.unwrap();
                }
            });
        }
        while let Some(r) = jobs.join_next().await {
            r.unwrap();
        }
        assert_eq!(meta::get(&mut store.read().await.unwrap(), "n").await.unwrap().as_deref(), Some("250"));
    }
}

#[tokio::test]
async fn a_bad_row_is_an_error_and_people_read_no_sql() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", dir.path().join("x.db").display());
    let store = Store::open(&url).await.unwrap();
    let mut tx = store.write().await.unwrap();
    world(&mut tx).await;
    tx.commit().await.unwrap();
    let raw = rusqlite::Connection::open(url.trim_start_matches("sqlite://")).unwrap();
    // Rows that refer to the one whose id is spoilt stay as they are.
    raw.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
    raw.execute_batch("UPDATE host SET facts = '{' WHERE name = 'host-1'").unwrap();
    raw.execute_batch("UPDATE host SET id = 'no uuid' WHERE name = 'host-2'").unwrap();
    raw.execute_batch("UPDATE account SET failures = -1").unwrap();
    let mut tx = store.read().await.unwrap();
    for e in [
        host::by_ref(&mut tx, "host-1").await.unwrap_err(),
        host::by_ref(&mut tx, "host-2").await.unwrap_err(),
        user::by_name(&mut tx, "anna").await.unwrap_err(),
    ] {
        assert!(matches!(e, StoreError::Corrupt(_)), "{e:?}");
        let e = Error::from(e);
        assert_eq!(e.code, ErrorCode::Internal);
        assert!(!e.to_string().contains("column"), "{e}");
    }
}

#[tokio::test]
async fn after_a_refusal_a_transaction_can_only_be_dropped() {
    for store in stores().await {
        let mut tx = store.write().await.unwrap();
        meta::set(&mut tx, "a", "1").await.unwrap();
        user::insert(&mut tx, &user_row(1, "anna")).await.unwrap();
        assert!(user::insert(&mut tx, &user_row(2, "anna")).await.is_err());
        assert!(meta::get(&mut tx, "a").await.is_err());
        assert!(tx.commit().await.is_err());
        assert_eq!(meta::get(&mut store.read().await.unwrap(), "a").await.unwrap(), None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writers_that_are_cancelled_anywhere_leave_all_or_nothing() {
    for store in stores().await {
        for n in 0..200 {
            let other = store.clone();
            let job = tokio::spawn(async move {
                let mut tx = other.write().await.unwrap();
                meta::set(&mut tx, "a", &n.to_string()).await.unwrap();
                meta::set(&mut tx, "b", &n.to_string()).await.unwrap();
                tx.commit().await.unwrap();
            });
            for _ in 0..n {
                tokio::task::yield_now().await;
            }
            job.abort();
            let mut tx = store.write().await.unwrap();
            let (a, b) = (meta::get(&mut tx, "a").await.unwrap(), meta::get(&mut tx, "b").await.unwrap());
            assert_eq!(a, b);
        }
    }
}

/// SQLite plans a statement anew for each value of a bare parameter of LIMIT.
#[test]
fn no_limit_makes_a_plan_for_each_execution() {
    let folder = std::path::PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("src");
    let mut limits = 0;
    for file in std::fs::read_dir(folder).unwrap().flatten().filter(|f| f.file_name() != "lib.rs") {
        let text = std::fs::read_to_string(file.path()).unwrap();
        for (at, _) in text.match_indices("LIMIT $") {
            limits += 1;
            assert!(text[at..].get(8..).is_some_and(|t| t.trim_start_matches(|c: char| c.is_ascii_digit()).starts_with(" + 0")), "{:?}", file.file_name());
        }
    }
    assert!(limits > 5);
}
