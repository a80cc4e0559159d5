//! Snapshots of VMs.

mod common;
use common::*;
use virga_model::snapshot::{Snapshot, SnapshotKind, SnapshotState};
use virga_model::vm::Vm;
use virga_model::{ImageId, LayerId, SnapshotId};
use virga_store::{StoreError, image, snapshot, vm};

fn row(n: u128, of: &Vm, name: &str) -> Snapshot {
    Snapshot {
        id: id(n),
        vm: of.id,
        name: name.into(),
        note: "before the update".into(),
        kind: SnapshotKind::Consistent,
        state: SnapshotState::Creating,
        parent: None,
        layer: Some(id::<LayerId>(300)),
        spec: of.spec.clone(),
        generation: 1,
        created_at: NOW.plus_seconds(i64::try_from(n).unwrap()),
        memory_bytes: None,
        paused_ms: None,
        schedule: None,
        scheduled_at: None,
    }
}

#[tokio::test]
async fn snapshots() {
    for store in stores().await {
        let mut tx = store.write().await.unwrap();
        world(&mut tx).await;
        let (web, other) = (vm_row(100, "web", anna()), vm_row(101, "other", anna()));
        vm::insert(&mut tx, &web).await.unwrap();
        vm::insert(&mut tx, &other).await.unwrap();
        let mut first = row(200, &web, "first");
        snapshot::insert(&mut tx, &first).await.unwrap();
        let second = Snapshot { parent: Some(first.id), layer: None, ..row(201, &web, "second") };
        snapshot::insert(&mut tx, &second).await.unwrap();
        snapshot::insert(&mut tx, &row(202, &other, "first")).await.unwrap();
        let taken = refused(&store, &mut tx, async |tx| snapshot::insert(tx, &row(203, &web, "first")).await).await;
        assert!(matches!(taken, StoreError::Taken { what: "snapshot", field: "name" }), "{taken:?}");

        assert_eq!(snapshot::get(&mut tx, first.id).await.unwrap(), Some(first.clone()));
        assert_eq!(snapshot::by_ref(&mut tx, web.id, "second").await.unwrap(), Some(second.clone()));
        assert_eq!(snapshot::by_ref(&mut tx, web.id, &first.id.to_string()).await.unwrap(), Some(first.clone()));
        assert_eq!(snapshot::by_ref(&mut tx, other.id, &first.id.to_string()).await.unwrap(), None, "of another VM");
        assert_eq!(snapshot::of_vm(&mut tx, web.id).await.unwrap(), [first.clone(), second.clone()]);
        for (filter, n) in [("name ~ ir", 1), ("kind = consistent", 2), ("state = ready", 0), ("created_at > 2020-01-01", 2)] {
            assert_eq!(snapshot::list(&mut tx, &page(filter), web.id).await.unwrap().items.len(), n, "{filter}");
        }

        (first.state, first.layer, first.note, first.generation) = (SnapshotState::Ready, None, String::new(), 2);
        snapshot::update(&mut tx, &first, 1).await.unwrap();
        assert!(matches!(snapshot::update(&mut tx, &first, 1).await, Err(StoreError::Stale)));
        assert_eq!(snapshot::get(&mut tx, first.id).await.unwrap(), Some(first.clone()));

        // What stands on one that goes stands on the one before it.
        assert!(snapshot::delete(&mut tx, first.id).await.unwrap() && !snapshot::delete(&mut tx, first.id).await.unwrap());
        assert_eq!(snapshot::get(&mut tx, second.id).await.unwrap().unwrap().parent, None);
        assert!(vm::delete(&mut tx, web.id).await.unwrap());
        assert_eq!(snapshot::get(&mut tx, second.id).await.unwrap(), None, "snapshots go with their VM (SNAP-15)");
    }
}

#[tokio::test]
async fn an_image_that_only_a_snapshot_needs_stays() {
    for store in stores().await {
        let mut tx = store.write().await.unwrap();
        world(&mut tx).await;
        let mut web = vm_row(100, "web", anna());
        let disk = serde_json::json!({"id": uuid::Uuid::from_u128(7), "size_bytes": 1 << 30, "image": id::<ImageId>(I1)});
        web.spec.disks = vec![serde_json::from_value(disk).unwrap()];
        vm::insert(&mut tx, &web).await.unwrap();
        let taken: Snapshot = row(200, &web, "first");
        snapshot::insert(&mut tx, &taken).await.unwrap();
        web.spec.disks.clear();
        web.generation += 1;
        vm::update(&mut tx, &web, web.generation - 1).await.unwrap();
        assert_eq!(image::used_by(&mut tx, id(I1)).await.unwrap(), ["web"]);
        assert!(matches!(refused(&store, &mut tx, async |tx| image::delete(tx, id(I1)).await).await, StoreError::Reference));
        assert!(snapshot::delete(&mut tx, id::<SnapshotId>(200)).await.unwrap());
        assert!(image::delete(&mut tx, id(I1)).await.unwrap());
    }
}
