//! What was removed from the database is not in its file any more (`reliability.md` Y2).

mod common;
use common::*;
use virga_model::cloud_init::CloudInit;
use virga_store::{Store, vm};

const CANARY: &str = "canary-3c1e7a90-user-data";

fn found(folder: &std::path::Path) -> Vec<String> {
    let files = std::fs::read_dir(folder).unwrap().flatten().map(|e| e.path());
    files.filter(|p| std::fs::read(p).unwrap().windows(CANARY.len()).any(|w| w == CANARY.as_bytes())).map(|p| p.display().to_string()).collect()
}

#[tokio::test]
async fn the_user_data_of_a_removed_vm_is_not_in_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", dir.path().join("virga.db").display());
    let store = Store::open(&url).await.unwrap();
    let mut tx = store.write().await.unwrap();
    world(&mut tx).await;
    let mut v = vm_row(100, "web", anna());
    // Long enough for pages of its own, which are freed with the row.
    v.spec.cloud_init = Some(CloudInit { user_data: Some(CANARY.repeat(500)), ..CloudInit::default() });
    v.former_spec = Some(v.spec.clone());
    vm::insert(&mut tx, &v).await.unwrap();
    tx.commit().await.unwrap();
    assert!(!found(dir.path()).is_empty(), "the test looks where the data is");
    let mut tx = store.write().await.unwrap();
    assert!(vm::delete(&mut tx, v.id).await.unwrap());
    tx.commit().await.unwrap();
    // Closing writes the log back and removes it.
    store.close().await;
    assert_eq!(found(dir.path()), Vec::<String>::new());
}
