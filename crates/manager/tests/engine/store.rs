//! Tasks on data stores: one that a host is to sign, and one that is signed and is to go.

use crate::cloud::Cloud;
use uuid::Uuid;
use virga_agent::host::Stores;
use virga_model::DataStoreId;
use virga_model::data_store::{DataStore, DataStoreSpec, DataStoreState};
use virga_model::order::StoreRef;
use virga_model::task::{ObjectRef, Task, TaskDoc, TaskKind, TaskState};

/// The data store and its folder.
pub const STORE: DataStoreId = DataStoreId(Uuid::from_u128(22));
pub const PATH: &str = "/srv/gold";

fn spec() -> DataStoreSpec {
    DataStoreSpec::SharedDirectory { path: PATH.into(), backing: Default::default() }
}

async fn insert(cloud: &Cloud, state: DataStoreState) {
    let row = DataStore {
        id: STORE,
        name: "gold".into(),
        description: String::new(),
        spec: spec(),
        host: None,
        maintenance: false,
        state,
        generation: 1,
        created_at: cloud.clock.time(),
    };
    let mut tx = cloud.wire.store.write().await.unwrap();
    virga_store::data_store::insert(&mut tx, &row).await.unwrap();
    tx.commit().await.unwrap();
}

/// A data store that is to be made.
pub async fn create(cloud: &Cloud) -> Task {
    insert(cloud, DataStoreState::Creating).await;
    let doc = TaskDoc { generation: 1, host: Some(cloud.host_id), ..Default::default() };
    cloud.insert_task(TaskKind::DataStoreCreate, ObjectRef::DataStore(STORE), doc, None).await
}

/// A data store that is there, that the host has told of, and that is to go.
pub async fn delete(cloud: &Cloud) -> Task {
    insert(cloud, DataStoreState::Ready).await;
    cloud.host.store_ensure(&StoreRef { id: STORE, name: "gold".into(), spec: spec() }).await.unwrap();
    cloud.wait_for_row(|facts| facts.stores.iter().any(|s| s.store == STORE && s.reachable())).await;
    ask_again(cloud, TaskKind::DataStoreDelete).await
}

async fn ask_again(cloud: &Cloud, kind: TaskKind) -> Task {
    let mut tx = cloud.wire.store.write().await.unwrap();
    let row = virga_store::data_store::get(&mut tx, STORE).await.unwrap().unwrap();
    let expected = row.generation;
    let row = DataStore { state: DataStoreState::Deleting, generation: expected + 1, ..row };
    virga_store::data_store::update(&mut tx, &row, expected).await.unwrap();
    tx.commit().await.unwrap();
    cloud.insert_task(kind, ObjectRef::DataStore(STORE), TaskDoc { generation: row.generation, ..Default::default() }, None).await
}

/// A data store whose removal was given up is removed again.
pub async fn mend(cloud: &mut Cloud, what: &str) {
    let mut tx = cloud.wire.store.read().await.unwrap();
    let row = virga_store::data_store::get(&mut tx, STORE).await.unwrap();
    drop(tx);
    if row.is_some_and(|s| s.state == DataStoreState::Ready) {
        cloud.wait_for_row(|facts| facts.stores.iter().any(|s| s.store == STORE && s.reachable())).await;
        let again = ask_again(cloud, TaskKind::DataStoreDelete).await;
        let again = cloud.watch(again.id).await;
        assert_eq!(again.state, TaskState::Succeeded, "asked again: {again:?}: {what}");
    }
}
