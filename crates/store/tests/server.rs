//! What is special about a database on a server: it can be away, only read, be cut, and hold several managers up.

mod common;
use common::*;
use std::time::Duration;
use virga_model::{Error, ErrorCode};
use virga_store::{Store, StoreError, meta};

async fn set(store: &Store, value: &str) -> Result<(), StoreError> {
    let mut tx = store.write().await?;
    meta::set(&mut tx, "a", value).await?;
    tx.commit().await
}

async fn get(store: &Store) -> Result<Option<String>, StoreError> {
    meta::get(&mut store.read().await?, "a").await
}

#[tokio::test]
async fn a_server_that_cannot_be_used_is_refused_in_words() {
    let address = postgres::empty_database();
    let (before, _) = address.split_once("?host=").unwrap();
    let says = async |url: &str, what: &str| {
        let e = Store::open(url).await.unwrap_err();
        assert!(matches!(&e, StoreError::Setup(why) if why.contains(what) && !why.contains("secret")), "{url}: {e}");
        assert_eq!(Error::from(e).code, ErrorCode::Unavailable);
    };
    says(&format!("{before}?host=/nowhere&password=secret"), "cannot be reached").await;
    says(&address.replace("localhost/t", "localhost/other_t").replace("virga@", "virga:secret@"), "no such database").await;
    let latin = format!("l{}", std::process::id());
    postgres::run(&address, &format!("CREATE DATABASE {latin} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0"));
    let name = before.rsplit('/').next().unwrap();
    says(&address.replace(&format!("/{name}?"), &format!("/{latin}?")), "UTF8").await;
    postgres::run(&address, &format!("DROP DATABASE {latin}"));
    postgres::run(&address, &format!("ALTER DATABASE {name} SET default_transaction_read_only = on"));
    says(&address, "read only").await;
}

#[tokio::test]
async fn sessions_that_the_server_ends_are_replaced_and_nothing_is_half_written() {
    let address = postgres::empty_database();
    let store = Store::open(&address).await.unwrap();
    set(&store, "1").await.unwrap();
    let cut = || {
        postgres::run(
            &address,
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'virga-manager' AND datname = current_database()",
        )
    };
    cut();
    // A transaction that has not begun is simply begun anew.
    set(&store, "2").await.unwrap();
    assert_eq!(get(&store).await.unwrap().as_deref(), Some("2"));
    // One that has is lost, says so in words for people, and the next goes well.
    let mut tx = store.write().await.unwrap();
    meta::set(&mut tx, "a", "3").await.unwrap();
    cut();
    let e = Error::from(tx.commit().await.unwrap_err());
    assert_eq!(e.code, ErrorCode::Unavailable, "{e:?}");
    assert_eq!(get(&store).await.unwrap().as_deref(), Some("2"));
    set(&store, "4").await.unwrap();
    // No connection is lost to the pool by any of it.
    for n in 0..30 {
        let mut tx = store.write().await.unwrap();
        meta::set(&mut tx, "a", "x").await.unwrap();
        if n % 3 == 0 {
            cut();
        }
        drop(tx);
    }
    set(&store, "5").await.unwrap();
    assert_eq!(get(&store).await.unwrap().as_deref(), Some("5"));
}

#[tokio::test]
async fn a_manager_that_is_frozen_in_a_transaction_does_not_hold_the_others_up() {
    let address = postgres::empty_database();
    let (frozen, other) = (Store::open(&address).await.unwrap(), Store::open(&address).await.unwrap());
    let mut tx = frozen.write().await.unwrap();
    meta::set(&mut tx, "a", "frozen").await.unwrap();
    // The frozen one says nothing for long; the other waits for the server to end its session, and no longer.
    tokio::time::timeout(Duration::from_secs(25), set(&other, "other")).await.expect("in time").unwrap();
    assert!(meta::set(&mut tx, "b", "late").await.is_err());
    assert!(tx.commit().await.is_err());
    assert_eq!(get(&other).await.unwrap().as_deref(), Some("other"), "nothing of the frozen one came through");
    set(&frozen, "again").await.unwrap();
}

/// `reliability.md` D6: what others do in the database (a person, another program) may end in a deadlock or a lock that
/// is not had: it is said as "busy", nothing is half written, and it goes well when it is asked for again.
#[tokio::test]
async fn locks_of_others_end_in_busy_and_never_in_half_a_change() {
    let address = postgres::empty_database();
    let store = Store::open(&address).await.unwrap();
    set(&store, "1").await.unwrap();
    let mut tx = store.write().await.unwrap();
    meta::set(&mut tx, "b", "1").await.unwrap();
    tx.commit().await.unwrap();
    // Takes a, waits for b; we hold b and want a.
    let script = "SET deadlock_timeout = '30s'; BEGIN; UPDATE meta SET value = 'x' WHERE name = 'a'; SELECT pg_sleep(1); UPDATE meta SET value = 'x' WHERE name = 'b'; COMMIT";
    let there = address.clone();
    let other = tokio::task::spawn_blocking(move || postgres::run(&there, script));
    let watched = || {
        postgres::run(
            &address,
            "SELECT count(*) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation WHERE c.relname = 'meta' AND mode = 'RowExclusiveLock' AND pid <> pg_backend_pid()",
        )
    };
    wait_until(|| watched() != "0").await;
    let mut tx = store.write().await.unwrap();
    meta::set(&mut tx, "b", "2").await.unwrap();
    let r = meta::set(&mut tx, "a", "2").await;
    let r = match r {
        Ok(()) => tx.commit().await,
        Err(e) => Err(e),
    };
    if let Err(e) = r {
        assert!(matches!(e, StoreError::Busy), "{e}");
    }
    drop(other.await);
    set(&store, "3").await.unwrap();
    assert_eq!(get(&store).await.unwrap().as_deref(), Some("3"));
}

async fn wait_until(mut f: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !f() {
        assert!(begun.elapsed() < Duration::from_secs(60), "in vain");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
