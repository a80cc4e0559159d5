//! Hosts, images and networks.

mod common;
use common::*;
use virga_model::host::{Host, HostFacts};
use virga_model::image::{Image, ImageFormat, ImageState, Part};
use virga_model::network::{Network, NetworkSpec};
use virga_model::ovf::Package;
use virga_model::role::Visible;
use virga_model::{ImageId, NetworkId};
use virga_store::{StoreError, host, image, network, vm};

#[tokio::test]
async fn hosts() {
    for store in stores().await {
        let mut tx = store.write().await.unwrap();
        world(&mut tx).await;
        let mut h = host_row(H1, "host-1");
        assert_eq!(host::get(&mut tx, h.id).await.unwrap(), Some(h.clone()));
        assert_eq!(host::by_ref(&mut tx, "host-1").await.unwrap(), Some(h.clone()));
        assert_eq!(host::by_ref(&mut tx, &h.id.to_string()).await.unwrap(), Some(h.clone()));
        assert_eq!(host::by_ref(&mut tx, "nope").await.unwrap(), None);
        assert!(matches!(
            refused(&store, &mut tx, async |tx| host::insert(tx, &host_row(13, "host-1")).await).await,
            StoreError::Taken { what: "host", field: "name" }
        ));

        // What the host tells is not overwritten by what a person read earlier.
        let facts = HostFacts { host_name: "new".into(), ..HostFacts::default() };
        host::set_facts(&mut tx, h.id, &facts).await.unwrap();
        host::set_last_report(&mut tx, h.id, NOW.plus_seconds(5)).await.unwrap();
        host::set_last_report(&mut tx, h.id, NOW).await.unwrap();
        (h.generation, h.maintenance, h.epoch) = (2, true, 7);
        host::update(&mut tx, &h, 1).await.unwrap();
        assert!(matches!(host::update(&mut tx, &h, 1).await, Err(StoreError::Stale)));
        let want = Host { facts, last_report_at: Some(NOW.plus_seconds(5)), ..h.clone() };
        assert_eq!(host::get(&mut tx, h.id).await.unwrap(), Some(want.clone()));
        assert!(matches!(
            refused(&store, &mut tx, async |tx| host::update(tx, &Host { name: "host-2".into(), ..h.clone() }, 2).await).await,
            StoreError::Taken { field: "name", .. }
        ));

        assert_eq!(host::all(&mut tx).await.unwrap().len(), 2);
        for (filter, n) in
            [("maintenance = true", 1), ("address ~ HOST-", 2), ("last_report_at > 2020-01-01", 1), ("not name = host-1", 1), ("created_at < 2020-01-01", 0)]
        {
            assert_eq!(host::list(&mut tx, &page(filter), &all()).await.unwrap().items.len(), n, "{filter}");
        }
        let one = Visible { hosts: vec![h.id], owner: Some(anna()), ..nothing() };
        assert_eq!(host::list(&mut tx, &page(""), &one).await.unwrap().items, [want]);
        assert_eq!(host::list(&mut tx, &page(""), &nothing()).await.unwrap().items, []);

        let mut v = vm_row(100, "web", anna());
        v.host = Some(h.id);
        vm::insert(&mut tx, &v).await.unwrap();
        assert!(matches!(refused(&store, &mut tx, async |tx| host::delete(tx, h.id).await).await, StoreError::Reference));
        assert!(host::delete(&mut tx, id(H2)).await.unwrap() && !host::delete(&mut tx, id(H2)).await.unwrap());
    }
}

#[tokio::test]
async fn images() {
    for store in stores().await {
        let mut tx = store.write().await.unwrap();
        world(&mut tx).await;
        let mut i = image_row(I1, "debian");
        assert_eq!(image::get(&mut tx, i.id).await.unwrap(), Some(i.clone()));
        assert_eq!(image::by_ref(&mut tx, "debian").await.unwrap(), Some(i.clone()));
        assert_eq!(image::by_ref(&mut tx, &i.id.to_string()).await.unwrap(), Some(i.clone()));
        let empty = Image { id: id(23), name: "new".into(), format: None, state: ImageState::Empty, size_bytes: 0, ..i.clone() };
        image::insert(&mut tx, &empty).await.unwrap();
        assert!(matches!(
            refused(&store, &mut tx, async |tx| image::insert(tx, &Image { id: id(24), ..empty.clone() }).await).await,
            StoreError::Taken { what: "image", field: "name" }
        ));
        assert_eq!(image::get(&mut tx, empty.id).await.unwrap(), Some(empty));
        let ready: Vec<String> = image::all_ready(&mut tx).await.unwrap().into_iter().map(|i| i.name).collect();
        assert_eq!(ready, ["debian", "tools"]);
        for (filter, n) in [("state = empty", 1), ("size >= 1GiB", 2), ("format = qcow2", 2), ("format != qcow2", 1), ("virtual_size < 4G", 0)] {
            assert_eq!(image::list(&mut tx, &page(filter)).await.unwrap().items.len(), n, "{filter}");
        }
        (i.generation, i.state) = (2, ImageState::Deleting);
        image::update(&mut tx, &i, 1).await.unwrap();
        assert!(matches!(image::update(&mut tx, &i, 1).await, Err(StoreError::Stale)));

        let mut v = vm_row(100, "web", anna());
        v.spec.disks = vec![disk(1, Some(i.id)), disk(2, Some(i.id))];
        vm::insert(&mut tx, &v).await.unwrap();
        assert_eq!(image::used_by(&mut tx, i.id).await.unwrap(), ["web"]);
        assert!(matches!(refused(&store, &mut tx, async |tx| image::delete(tx, i.id).await).await, StoreError::Reference));
        vm::delete(&mut tx, v.id).await.unwrap();
        assert!(image::used_by(&mut tx, i.id).await.unwrap().is_empty());
        assert!(image::delete(&mut tx, i.id).await.unwrap() && !image::delete(&mut tx, id::<ImageId>(I1)).await.unwrap());
    }
}

#[tokio::test]
async fn packages_and_their_pieces() {
    for store in stores().await {
        let mut tx = store.write().await.unwrap();
        world(&mut tx).await;
        let contents: Package = serde_json::from_value(serde_json::json!({
            "machine": {"name": "m", "cpus": 2, "memory_bytes": 1 << 30, "disks": [], "nics": []},
            "disks": [{"file": "d.vmdk", "format": "vmdk", "offset": 1536, "size_bytes": 512, "virtual_bytes": 4096}]
        }))
        .unwrap();
        let package = Image { format: Some(ImageFormat::Ova), package: Some(contents), ..image_row(40, "package") };
        image::insert(&mut tx, &package).await.unwrap();
        let part = Image { part: Some(Part { of: package.id, offset: 1536 }), format: Some(ImageFormat::Vmdk), ..image_row(41, "package.disk1") };
        image::insert(&mut tx, &part).await.unwrap();
        assert_eq!(image::get(&mut tx, package.id).await.unwrap(), Some(package.clone()));
        assert_eq!(image::parts(&mut tx, package.id).await.unwrap(), std::slice::from_ref(&part));
        assert_eq!(image::parts(&mut tx, part.id).await.unwrap(), []);
        let of = format!("package = {}", package.id);
        for (filter, n) in [("format = ova", 1), (of.as_str(), 1)] {
            assert_eq!(image::list(&mut tx, &page(filter)).await.unwrap().items.len(), n, "{filter}");
        }
        // Who uses a piece uses the whole.
        let mut v = vm_row(100, "web", anna());
        v.spec.disks = vec![disk(1, Some(part.id))];
        vm::insert(&mut tx, &v).await.unwrap();
        assert_eq!(image::used_by(&mut tx, package.id).await.unwrap(), ["web"]);
        assert_eq!(image::used_by(&mut tx, part.id).await.unwrap(), ["web"]);
    }
}

#[tokio::test]
async fn networks() {
    for store in stores().await {
        let mut tx = store.write().await.unwrap();
        world(&mut tx).await;
        let mut n = network_row(N1, "lan");
        assert_eq!(network::get(&mut tx, n.id).await.unwrap(), Some(n.clone()));
        assert_eq!(network::by_ref(&mut tx, "lan").await.unwrap(), Some(n.clone()));
        assert_eq!(network::by_ref(&mut tx, &n.id.to_string()).await.unwrap(), Some(n.clone()));
        assert!(matches!(
            refused(&store, &mut tx, async |tx| network::insert(tx, &Network { id: id(33), ..n.clone() }).await).await,
            StoreError::Taken { what: "network", field: "name" }
        ));
        (n.generation, n.deleting) = (2, true);
        n.spec = NetworkSpec::Ovs { bridge: "vg-lan".into(), uplink: None, vlan: Some(7) };
        network::update(&mut tx, &n, 1).await.unwrap();
        assert!(matches!(network::update(&mut tx, &n, 1).await, Err(StoreError::Stale)));
        assert_eq!(network::get(&mut tx, n.id).await.unwrap(), Some(n.clone()));
        for (filter, count) in [("kind = ovs", 1), ("kind = nat and deleting = false", 1), ("name in (lan, dmz)", 2)] {
            assert_eq!(network::list(&mut tx, &page(filter)).await.unwrap().items.len(), count, "{filter}");
        }
        assert_eq!(network::all_ready(&mut tx).await.unwrap(), [network_row(N2, "dmz")]);
        let mut v = vm_row(100, "web", anna());
        v.spec.nics = vec![nic(1, n.id, "52:54:00:00:00:01")];
        vm::insert(&mut tx, &v).await.unwrap();
        assert_eq!(network::used_by(&mut tx, n.id).await.unwrap(), ["web"]);
        assert!(matches!(refused(&store, &mut tx, async |tx| network::delete(tx, n.id).await).await, StoreError::Reference));
        vm::delete(&mut tx, v.id).await.unwrap();
        assert!(network::delete(&mut tx, n.id).await.unwrap() && !network::delete(&mut tx, id::<NetworkId>(N1)).await.unwrap());
    }
}
