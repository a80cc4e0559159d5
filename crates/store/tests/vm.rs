//! VMs: the row, its side tables, and what hosts observe.

mod common;
use common::*;
use virga_model::filter::parse;
use virga_model::role::Visible;
use virga_model::task::{ObjectRef, TaskState};
use virga_model::vm::{CdromSpec, Desired, Drift, Observed, StopMode, Vm, VmState};
use virga_model::{HostId, ImageId, NetworkId};
use virga_store::vm::PlacedVm;
use virga_store::{StoreError, image, network, task, vm};

#[tokio::test]
async fn the_whole_vm_comes_back() {
    for store in stores().await {
        let mut tx = store.write().await.unwrap();
        world(&mut tx).await;
        let mut v = vm_row(100, "web", anna());
        v.labels.insert("env".into(), "prod".into());
        v.spec.disks.push(disk(1, Some(id(I1))));
        v.spec.nics.push(nic(1, id(N1), "52:54:00:00:00:01"));
        v.former_spec = Some(spec(2, 512));
        v.host = Some(h1());
        v.placement = Some("because".into());
        v.observed.guest.ips = vec!["10.0.0.1".into()];
        v.stop_mode = StopMode::Force;
        vm::insert(&mut tx, &v).await.unwrap();
        assert_eq!(vm::get(&mut tx, v.id).await.unwrap(), Some(v.clone()));
        assert_eq!(vm::by_ref(&mut tx, "web", &all()).await.unwrap(), Some(v.clone()));
        assert_eq!(vm::by_ref(&mut tx, &v.id.to_string().to_uppercase(), &all()).await.unwrap(), Some(v.clone()));
        assert_eq!(vm::by_ref(&mut tx, "' or 1=1 --", &all()).await.unwrap(), None);
        assert_eq!(vm::by_ref(&mut tx, "web", &nothing()).await.unwrap(), None);
        assert_eq!(vm::on_host(&mut tx, h1()).await.unwrap(), [v.clone()]);
        assert_eq!(vm::on_host(&mut tx, id(H2)).await.unwrap(), []);

        v.generation = 2;
        v.name = "web-2".into();
        v.former_spec = None;
        v.desired = Desired::Running;
        vm::update(&mut tx, &v, 1).await.unwrap();
        assert!(matches!(vm::update(&mut tx, &v, 1).await, Err(StoreError::Stale)));
        assert_eq!(vm::get(&mut tx, v.id).await.unwrap(), Some(v.clone()));
        assert!(vm::delete(&mut tx, v.id).await.unwrap() && !vm::delete(&mut tx, v.id).await.unwrap());
    }
}

#[tokio::test]
async fn names_and_macs_are_unique_and_references_hold() {
    for store in stores().await {
        let mut tx = store.write().await.unwrap();
        world(&mut tx).await;
        let mut a = vm_row(100, "a", anna());
        a.spec.nics = vec![nic(1, id(N1), "52:54:00:00:00:01")];
        vm::insert(&mut tx, &a).await.unwrap();
        vm::insert(&mut tx, &vm_row(101, "b", anna())).await.unwrap();
        let mut b = vm_row(102, "c", anna());
        b.spec.nics = vec![nic(2, id(N1), "52:54:00:00:00:01")];
        let edit = Vm { id: id(101), former_spec: Some(a.spec.clone()), ..vm_row(101, "b", anna()) };
        for (e, want) in [
            (refused(&store, &mut tx, async |tx| vm::insert(tx, &vm_row(102, "a", anna())).await).await, "name"),
            (refused(&store, &mut tx, async |tx| vm::insert(tx, &vm_row(100, "c", anna())).await).await, "id"),
            (refused(&store, &mut tx, async |tx| vm::insert(tx, &b).await).await, "mac"),
            (refused(&store, &mut tx, async |tx| vm::update(tx, &edit, 1).await).await, "mac"),
        ] {
            assert!(matches!(e, StoreError::Taken { what: "VM", field } if field == want), "{want}: {e:?}");
        }
        assert_eq!(names(&mut tx, "", &all()).await, ["a", "b"], "no half VM stays");

        // An address in the present and the former specification is one address.
        a.former_spec = Some(a.spec.clone());
        vm::update(&mut tx, &a, 1).await.unwrap();
        for n in 0..4u128 {
            let mut c = vm_row(200 + n, &format!("c{n}"), anna());
            match n {
                0 => c.owner = id(999),
                1 => c.host = Some(id(999)),
                2 => c.spec.disks = vec![disk(1, Some(id(999)))],
                _ => c.spec.nics = vec![nic(3, id(999), "52:54:00:00:00:09")],
            }
            let e = refused(&store, &mut tx, async |tx| vm::insert(tx, &c).await).await;
            assert!(matches!(e, StoreError::Reference), "{n}: {e:?}");
        }
    }
}

#[tokio::test]
async fn side_tables_follow_updates() {
    for store in stores().await {
        let mut tx = store.write().await.unwrap();
        world(&mut tx).await;
        let (i1, i2): (ImageId, ImageId) = (id(I1), id(I2));
        let (n1, n2): (NetworkId, NetworkId) = (id(N1), id(N2));
        let mut v = vm_row(100, "web", anna());
        v.labels.insert("env".into(), "prod".into());
        v.spec.disks = vec![disk(1, Some(i1))];
        v.spec.nics = vec![nic(1, n1, "52:54:00:00:00:01")];
        vm::insert(&mut tx, &v).await.unwrap();

        // While the edit is under way, both specifications count.
        let former = v.spec.clone();
        v.spec.disks.clear();
        v.spec.cdroms = vec![CdromSpec { id: id(5), image: Some(i2) }, CdromSpec { id: id(6), image: None }];
        v.spec.nics = vec![nic(2, n2, "52:54:00:00:00:02")];
        v.former_spec = Some(former);
        v.labels = [("env".to_string(), "test".to_string()), ("tier".to_string(), "1".to_string())].into();
        v.generation = 2;
        vm::update(&mut tx, &v, 1).await.unwrap();
        for i in [i1, i2] {
            assert_eq!(image::used_by(&mut tx, i).await.unwrap(), ["web"]);
        }
        for n in [n1, n2] {
            assert_eq!(network::used_by(&mut tx, n).await.unwrap(), ["web"]);
        }
        for (filter, n) in [("label.env = prod", 0), ("label.env = test", 1), ("label.tier = 1", 1), ("image = tools", 1), ("network = dmz", 1)] {
            assert_eq!(names(&mut tx, filter, &all()).await.len(), n, "{filter}");
        }
        v.former_spec = None;
        v.labels.clear();
        v.generation = 3;
        vm::update(&mut tx, &v, 2).await.unwrap();
        assert!(image::used_by(&mut tx, i1).await.unwrap().is_empty());
        assert!(network::used_by(&mut tx, n1).await.unwrap().is_empty());
        assert!(names(&mut tx, "label.tier = 1", &all()).await.is_empty());
        // The old address is free again.
        let mut other = vm_row(101, "other", anna());
        other.spec.nics = vec![nic(3, n1, "52:54:00:00:00:01")];
        vm::insert(&mut tx, &other).await.unwrap();
    }
}

#[tokio::test]
async fn observing_goes_forward_only_and_from_the_present_host_only() {
    for store in stores().await {
        let mut tx = store.write().await.unwrap();
        world(&mut tx).await;
        let mut v = vm_row(100, "web", anna());
        v.host = Some(h1());
        v.generation = 5;
        vm::insert(&mut tx, &v).await.unwrap();
        let o = Observed { generation: 4, state: VmState::Running, ..Observed::default() };
        assert!(vm::observe(&mut tx, v.id, &o, h1()).await.unwrap());
        assert!(!vm::observe(&mut tx, v.id, &o, h1()).await.unwrap(), "nothing new");
        let older = Observed { generation: 3, state: VmState::Stopped, settled: true, ..Observed::default() };
        assert!(!vm::observe(&mut tx, v.id, &older, h1()).await.unwrap(), "older");
        let mut newer = Observed { generation: 5, state: VmState::Stopped, settled: true, ..Observed::default() };
        newer.drift = vec![Drift { what: "power".into(), message: "x".into() }];
        newer.guest.ips = vec!["10.0.0.1/24".into(), "fe00::2".into()];
        assert!(!vm::observe(&mut tx, v.id, &newer, id::<HostId>(H2)).await.unwrap(), "another host");
        assert!(!vm::observe(&mut tx, id(999), &newer, h1()).await.unwrap(), "no such VM");
        assert_eq!(vm::get(&mut tx, v.id).await.unwrap().unwrap().observed, o);
        assert!(vm::observe(&mut tx, v.id, &newer, h1()).await.unwrap());
        assert_eq!(vm::get(&mut tx, v.id).await.unwrap().unwrap().observed, newer);
        for (filter, n) in [
            ("state = stopped", 1),
            ("state = STOPPED", 1),
            ("settled = true", 1),
            ("drift = yes", 1),
            ("ip = 10.0.0.1", 1),
            ("ip = 10.0.0", 0),
            ("ip ~ 10.0.0", 1),
            ("ip in (192.0.2.1, fe00::2)", 1),
            ("ip != 10.0.0.1", 0),
        ] {
            assert_eq!(names(&mut tx, filter, &all()).await.len(), n, "{filter}");
        }
        // The same generation may change again.
        let same = Observed { state: VmState::Crashed, ..newer };
        assert!(vm::observe(&mut tx, v.id, &same, h1()).await.unwrap());
    }
}

/// Less memory for a running guest frees nothing before its next start (V12).
#[tokio::test]
async fn what_a_running_guest_still_holds_counts_for_its_host() {
    for store in stores().await {
        let mut tx = store.write().await.unwrap();
        world(&mut tx).await;
        let mut v = vm_row(100, "web", anna());
        (v.host, v.generation) = (Some(h1()), 5);
        vm::insert(&mut tx, &v).await.unwrap();
        let share = async |tx: &mut virga_store::Tx| virga_store::host::loads(tx).await.unwrap().get(&h1()).map_or(0, |l| l.memory_bytes);
        let settled = v.spec.host_memory_bytes();
        let held = settled + (4 << 30);
        let o = Observed { generation: 5, state: VmState::Running, held_memory_bytes: Some(held), ..Observed::default() };
        assert!(vm::observe(&mut tx, v.id, &o, h1()).await.unwrap());
        assert_eq!(share(&mut tx).await, held);
        // Writing the row for another reason keeps it.
        let row = vm::get(&mut tx, v.id).await.unwrap().unwrap();
        vm::update(&mut tx, &row, 5).await.unwrap();
        assert_eq!(share(&mut tx).await, held);
        let o = Observed { held_memory_bytes: None, ..o };
        assert!(vm::observe(&mut tx, v.id, &o, h1()).await.unwrap());
        assert_eq!(share(&mut tx).await, settled);
        let o = Observed { state: VmState::Stopped, ..o };
        assert!(vm::observe(&mut tx, v.id, &o, h1()).await.unwrap());
        let wanted = if v.desired.is_active() { settled } else { 0 };
        assert_eq!(share(&mut tx).await, wanted);
    }
}

#[tokio::test]
async fn placement_and_repair_see_what_they_need() {
    for store in stores().await {
        let mut tx = store.write().await.unwrap();
        world(&mut tx).await;
        let mut rows = Vec::new();
        for (n, name, settled, seen) in [(100, "done", true, 1), (101, "unsettled", false, 1), (102, "behind", true, 0), (103, "busy", false, 0)] {
            let mut v = vm_row(n, name, anna());
            v.host = Some(h1());
            v.observed = Observed { generation: seen, settled, ..Observed::default() };
            v.updated_at = NOW.plus_seconds(200 - n as i64);
            vm::insert(&mut tx, &v).await.unwrap();
            rows.push(v);
        }
        vm::insert(&mut tx, &vm_row(104, "homeless", anna())).await.unwrap();
        task::insert(&mut tx, &task_row(1, ObjectRef::Vm(id(103)))).await.unwrap();
        let mut ended = task_row(2, ObjectRef::Vm(id(102)));
        ended.state = TaskState::Failed;
        task::insert(&mut tx, &ended).await.unwrap();
        let unsettled = vm::unsettled(&mut tx, 10).await.unwrap();
        assert_eq!(unsettled.iter().map(|v| v.name.as_str()).collect::<Vec<_>>(), ["behind", "unsettled"]);
        assert_eq!(vm::unsettled(&mut tx, 1).await.unwrap().len(), 1);

        let mut v = rows.remove(0);
        v.former_spec = Some(spec(4, 128));
        v.spec.disks = vec![disk(1, None)];
        vm::update(&mut tx, &v, 1).await.unwrap();
        let placed = vm::placed(&mut tx).await.unwrap();
        assert_eq!(placed.len(), 4);
        let want = PlacedVm {
            id: v.id,
            name: "done".into(),
            host: h1(),
            desired: Desired::Stopped,
            observed_state: VmState::Unknown,
            vcpus: 4,
            host_memory_bytes: v.spec.host_memory_bytes(),
            disk_bytes: 10 << 30,
        };
        assert_eq!(placed[0], want);
    }
}

#[tokio::test]
async fn visibility_is_part_of_every_query() {
    for store in stores().await {
        let mut tx = store.write().await.unwrap();
        world(&mut tx).await;
        for (n, name, owner, host) in [(100, "a1", ANNA, H1), (101, "a2", ANNA, H2), (102, "b1", BERT, H1), (103, "b2", BERT, H2)] {
            let mut v = vm_row(n, name, id(owner));
            v.host = Some(id(host));
            vm::insert(&mut tx, &v).await.unwrap();
        }
        let cases = [
            (all(), vec!["a1", "a2", "b1", "b2"]),
            (nothing(), vec![]),
            (Visible { owner: Some(anna()), ..nothing() }, vec!["a1", "a2"]),
            (Visible { hosts: vec![h1()], ..nothing() }, vec!["a1", "b1"]),
            (Visible { vms: vec![vm_id(103)], ..nothing() }, vec!["b2"]),
            (
                Visible { all: false, owner: Some(anna()), owner_on: None, hosts: vec![h1()], vms: vec![vm_id(103)], kinds: Vec::new(), vm_hosts: Vec::new() },
                vec!["a1", "a2", "b1", "b2"],
            ),
        ];
        for (visible, want) in cases {
            assert_eq!(names(&mut tx, "", &visible).await, want);
            // A filter can only take away, whatever it says.
            assert_eq!(names(&mut tx, "name ~ a or not name ~ a", &visible).await, want);
            let f = parse("name ~ a or not name ~ a").unwrap();
            assert_eq!(vm::ids_matching(&mut tx, &f, &visible, 100).await.unwrap().len(), want.len());
            let total = vm::list(&mut tx, &virga_store::Page { total: true, limit: 1, ..page("") }, vm::Listed::All, &visible).await.unwrap().total;
            assert_eq!(total, Some(want.len() as i64));
            for name in ["a1", "a2", "b1", "b2"] {
                assert_eq!(vm::by_ref(&mut tx, name, &visible).await.unwrap().is_some(), want.contains(&name));
            }
        }
        assert_eq!(vm::ids_matching(&mut tx, &parse("name ~ a").unwrap(), &all(), 1).await.unwrap(), [vm_id(100)]);
        assert!(vm::ids_matching(&mut tx, &parse("colour = red").unwrap(), &all(), 1).await.is_err());
    }
}
