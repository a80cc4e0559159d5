//! Who stands on whom.

mod common;
use common::*;
use virga_model::LayerId;
use virga_model::clone::DiskOrigin;
use virga_model::vm::Vm;
use virga_store::vm::Listed;
use virga_store::{Page, StoreError, clone, vm};

#[tokio::test]
async fn who_stands_on_whom() {
    for store in stores().await {
        let mut tx = store.write().await.unwrap();
        world(&mut tx).await;
        let mut template = vm_row(100, "template", anna());
        template.spec.disks = vec![disk(200, None)];
        template.spec.template = true;
        vm::insert(&mut tx, &template).await.unwrap();
        let on = |layer: Option<u128>| DiskOrigin { vm: template.id, disk: template.spec.disks[0].id, layer: layer.map(id::<LayerId>) };
        let mut web = vm_row(101, "web", anna());
        web.spec.disks = vec![disk(201, None)];
        web.spec.disks[0].origin = Some(on(None));
        vm::insert(&mut tx, &web).await.unwrap();
        let mut db = vm_row(102, "db", anna());
        db.spec.disks = vec![disk(202, None)];
        db.spec.disks[0].origin = Some(on(Some(7)));
        vm::insert(&mut tx, &db).await.unwrap();

        let found = clone::standing_on(&mut tx, template.id).await.unwrap();
        assert_eq!(found.iter().map(|s| (s.name.as_str(), s.on)).collect::<Vec<_>>(), [("db", on(Some(7))), ("web", on(None))]);
        assert_eq!(clone::count(&mut tx, template.id).await.unwrap(), 2);
        let kept = refused(&store, &mut tx, async |tx| vm::delete(tx, template.id).await.map(drop)).await;
        assert!(matches!(kept, StoreError::Reference), "a parent cannot go: {kept:?}");

        let names = |v: Vec<Vm>| v.into_iter().map(|v| v.name).collect::<Vec<_>>();
        let mut list = async |listed| names(vm::list(&mut tx, &Page::default(), listed, &all()).await.unwrap().items);
        assert_eq!(list(Listed::Templates).await, ["template"]);
        assert_eq!(list(Listed::Vms).await, ["db", "web"]);
        assert_eq!(list(Listed::All).await, ["db", "template", "web"]);

        // Until the edit is done both count; afterwards only what is needed.
        let former = db.clone();
        db.spec.disks[0].origin = None;
        (db.former_spec, db.generation) = (Some(former.spec), 2);
        vm::update(&mut tx, &db, 1).await.unwrap();
        clone::tidy(&mut tx, &db).await.unwrap();
        assert_eq!(clone::count(&mut tx, template.id).await.unwrap(), 2);
        db.former_spec = None;
        vm::update(&mut tx, &db, 2).await.unwrap();
        clone::tidy(&mut tx, &db).await.unwrap();
        assert_eq!(clone::count(&mut tx, template.id).await.unwrap(), 1);
        assert!(vm::delete(&mut tx, web.id).await.unwrap());
        assert_eq!(clone::count(&mut tx, template.id).await.unwrap(), 0);
        assert!(vm::delete(&mut tx, template.id).await.unwrap());

        clone::note_frozen(&mut tx, db.id).await.unwrap();
        clone::note_frozen(&mut tx, db.id).await.unwrap();
        assert_eq!(clone::frozen(&mut tx, 10).await.unwrap(), [db.id]);
        clone::forget_frozen(&mut tx, db.id).await.unwrap();
        assert!(clone::frozen(&mut tx, 10).await.unwrap().is_empty());
        tx.commit().await.unwrap();
    }
}
