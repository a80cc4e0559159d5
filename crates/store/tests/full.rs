//! A disk that is full (`reliability.md` D5): nothing half-done, reading goes on, and it mends itself.

mod common;
use common::*;
use virga_store::{Store, StoreError, image};

#[tokio::test]
async fn a_full_disk_leaves_nothing_half_done_and_mends_itself() {
    let store = Store::memory().await.unwrap();
    store.limit_pages(4).await.unwrap();
    let add = async |n: u128| {
        let mut tx = store.write().await?;
        // Two rows in one transaction, and the second one large.
        image::insert(&mut tx, &image_row(2 * n, &format!("a{n}"))).await?;
        image::insert(&mut tx, &image_row(2 * n + 1, &format!("b{n}-{}", "x".repeat(3_000)))).await?;
        tx.commit().await
    };
    let mut n = 0;
    let e = loop {
        n += 1;
        if let Err(e) = add(n).await {
            break e;
        }
        assert!(n < 1_000, "the disk never gets full");
    };
    assert!(matches!(e, StoreError::Full), "{e:?}");
    for again in 0..3 {
        store.limit_pages(0).await.unwrap();
        assert!(matches!(add(n + again).await, Err(StoreError::Full)));
        let mut tx = store.read().await.unwrap();
        assert!(image::by_ref(&mut tx, &format!("a{n}")).await.unwrap().is_none(), "half of a transaction is there");
        assert!(image::by_ref(&mut tx, "a1").await.unwrap().is_some());
    }
    store.limit_pages(1_000).await.unwrap();
    add(n).await.unwrap();
    let mut tx = store.read().await.unwrap();
    assert!(image::by_ref(&mut tx, &format!("a{n}")).await.unwrap().is_some());
}
