//! Data stores, and what VMs and snapshots have there.

mod common;
use common::*;
use virga_model::DataStoreId;
use virga_model::data_store::{Backing, DataStore, DataStoreSpec, DataStoreState};
use virga_model::layer::Layer;
use virga_model::vm::DiskMode;
use virga_store::{StoreError, data_store, host, vm};

fn gold() -> DataStore {
    DataStore {
        id: id(70),
        name: "gold".into(),
        description: String::new(),
        spec: DataStoreSpec::SharedDirectory { path: "/srv/gold".into(), backing: Backing::San },
        host: None,
        maintenance: false,
        state: DataStoreState::Ready,
        generation: 1,
        created_at: NOW,
    }
}

#[tokio::test]
async fn data_stores_and_the_local_one_of_each_host() {
    for store in stores().await {
        let mut tx = store.write().await.unwrap();
        world(&mut tx).await;
        let local = data_store::get(&mut tx, data_store::local_id(id(H1))).await.unwrap().expect("a host brings its local store");
        assert_eq!((local.name.as_str(), local.host, local.state), ("local-host-1", Some(id(H1)), DataStoreState::Ready));
        let mut h = host::get(&mut tx, id(H1)).await.unwrap().unwrap();
        (h.name, h.generation) = ("first".into(), h.generation + 1);
        let expected = h.generation - 1;
        host::update(&mut tx, &h, expected).await.unwrap();
        assert_eq!(data_store::by_ref(&mut tx, "local-first").await.unwrap().unwrap().id, local.id, "it is called after its host");

        let mut s = gold();
        data_store::insert(&mut tx, &s).await.unwrap();
        assert_eq!(data_store::by_ref(&mut tx, "gold").await.unwrap(), Some(s.clone()));
        let other = DataStore { id: id(71), ..gold() };
        let taken = refused(&store, &mut tx, async |tx| data_store::insert(tx, &other).await).await;
        assert!(matches!(taken, StoreError::Taken { what: "data store", field: "name" }), "{taken:?}");
        (s.maintenance, s.generation, s.state) = (true, 2, DataStoreState::Dropping);
        data_store::update(&mut tx, &s, 1).await.unwrap();
        assert!(matches!(data_store::update(&mut tx, &s, 1).await, Err(StoreError::Stale)));
        assert_eq!(data_store::get(&mut tx, s.id).await.unwrap(), Some(s.clone()));
        assert!(data_store::set_nearly_full(&mut tx, s.id, true).await.unwrap());
        assert!(!data_store::set_nearly_full(&mut tx, s.id, true).await.unwrap(), "told once");
        assert!(data_store::set_overcommitted(&mut tx, s.id, true).await.unwrap() && !data_store::set_overcommitted(&mut tx, s.id, true).await.unwrap());
        assert_eq!(data_store::overcommitted(&mut tx).await.unwrap().into_iter().collect::<Vec<_>>(), [s.id]);

        let names = async |tx: &mut virga_store::Tx, filter: &str, see: &virga_model::role::Visible| -> Vec<String> {
            data_store::list(tx, &page(filter), see).await.unwrap().items.into_iter().map(|s| s.name).collect()
        };
        assert!(names(&mut tx, "", &all()).await.contains(&"local-first".to_string()));
        assert_eq!(names(&mut tx, "", &nothing()).await, ["gold"], "local ones are shown like their hosts");
        assert_eq!(names(&mut tx, "kind = shared_san and maintenance = true and state = dropping", &all()).await, ["gold"]);
        assert_eq!(names(&mut tx, "host = first", &all()).await, ["local-first"]);
        assert!(data_store::delete(&mut tx, s.id).await.unwrap() && !data_store::delete(&mut tx, s.id).await.unwrap());
        tx.commit().await.unwrap();
    }
}

#[tokio::test]
async fn what_lies_on_a_data_store_is_counted_with_its_chain_and_keeps_it() {
    for store in stores().await {
        let mut tx = store.write().await.unwrap();
        world(&mut tx).await;
        data_store::insert(&mut tx, &gold()).await.unwrap();
        let mut v = vm_row(80, "web", id(ANNA));
        v.host = Some(id(H1));
        v.spec.disks = vec![disk(90, None), disk(91, None), disk(92, None)];
        v.spec.disks[1].store = Some(id(70));
        (v.spec.disks[2].store, v.spec.disks[2].mode) = (Some(id(70)), DiskMode::IndependentPersistent);
        vm::insert(&mut tx, &v).await.unwrap();
        let bytes = async |tx: &mut virga_store::Tx, s: DataStoreId| data_store::promised(tx).await.unwrap().get(&s).copied().unwrap_or_default();
        let local = data_store::local_id(id(H1));
        let before = bytes(&mut tx, local).await;
        assert_eq!((bytes(&mut tx, id(70)).await.vms, bytes(&mut tx, id(70)).await.bytes), (1, 20 << 30));
        // A snapshot: the disk that takes part can come to need twice its size (W-45).
        v.former_spec = Some(v.spec.clone());
        v.spec.layers.list.push(serde_json::from_value::<Layer>(serde_json::json!({"id": uuid::Uuid::from_u128(95)})).unwrap());
        v.generation = 2;
        vm::update(&mut tx, &v, 1).await.unwrap();
        assert_eq!(bytes(&mut tx, id(70)).await.bytes, 30 << 30);
        assert_eq!(bytes(&mut tx, local).await.bytes, before.bytes + (10 << 30));
        assert_eq!(data_store::used_by(&mut tx, id(70)).await.unwrap(), ["web"]);
        let kept = refused(&store, &mut tx, async |tx| data_store::delete(tx, id(70)).await).await;
        assert!(matches!(kept, StoreError::Reference), "{kept:?}");
        let found = vm::list(&mut tx, &page("data_store = gold"), vm::Listed::Vms, &all()).await.unwrap().items;
        assert_eq!(found.len(), 1);
        vm::delete(&mut tx, v.id).await.unwrap();
        assert!(data_store::used_by(&mut tx, id(70)).await.unwrap().is_empty());
        assert!(data_store::delete(&mut tx, id(70)).await.unwrap());
        tx.commit().await.unwrap();
    }
}
