//! Pages and filters.

mod common;
use common::*;
use std::collections::BTreeMap;
use virga_model::role::Visible;
use virga_model::{Error, ErrorCode};
use virga_store::{PAGE_MAX, Page, Paged, SortKey, Store, StoreError, Tx, vm};

const NAMES: [&str; 6] = ["Alpha", "beta", "gamma_1", "gammaX1", "100%", "delta"];

/// Six VMs that differ in everything that can be filtered by.
async fn six(tx: &mut Tx) {
    world(tx).await;
    for (n, name) in (0u128..).zip(NAMES) {
        let mut v = vm_row(100 + n, name, id(if n < 3 { ANNA } else { BERT }));
        v.spec = spec(1 + n as u32, 1024 * (1 + n as u64));
        v.created_at = NOW.plus_seconds(n as i64);
        v.host = (n > 1).then(|| id(if n < 4 { H1 } else { H2 }));
        if n % 2 == 0 {
            v.labels = BTreeMap::from([("env".into(), "prod".into()), ("a/b".into(), "' or 1=1 --".into())]);
            v.spec.disks = vec![disk(n, Some(id(I1)))];
        } else {
            v.labels.insert("env".into(), "Test_1".into());
            v.spec.nics = vec![nic(n, id(N1), &format!("52:54:00:00:00:0{n}"))];
        }
        vm::insert(tx, &v).await.unwrap();
    }
}

#[tokio::test]
async fn every_operator_means_what_it_says() {
    for store in stores().await {
        let mut tx = store.write().await.unwrap();
        six(&mut tx).await;
        let uuid = id::<virga_model::VmId>(101).to_string();
        let host = h1().to_string();
        let cases = [
            ("name = beta".to_string(), vec!["beta"]),
            ("name = BETA".into(), vec![]),
            ("name != beta and name ~ ta".into(), vec!["delta"]),
            ("name ~ ALPH".into(), vec!["Alpha"]),
            ("name in (beta, delta, nothing)".into(), vec!["beta", "delta"]),
            ("name < b".into(), vec!["100%", "Alpha"]),
            ("name >= delta and name <= gamma_1".into(), vec!["delta", "gammaX1", "gamma_1"]),
            ("not name ~ a".into(), vec!["100%"]),
            (format!("id = {uuid}"), vec!["beta"]),
            (format!("id = {}", uuid.to_uppercase()), vec!["beta"]),
            ("cpus = 3".into(), vec!["gamma_1"]),
            ("cpus > 4".into(), vec!["100%", "delta"]),
            ("cpus in (1, 6)".into(), vec!["Alpha", "delta"]),
            ("memory >= 5GiB".into(), vec!["100%", "delta"]),
            ("memory = 1073741824".into(), vec!["Alpha"]),
            ("created_at <= 2027-01-15T08:00:01Z".into(), vec!["Alpha", "beta"]),
            ("created_at > 2027-01-16".into(), vec![]),
            ("host = host-1".into(), vec!["gammaX1", "gamma_1"]),
            (format!("host = {host}"), vec!["gammaX1", "gamma_1"]),
            ("host = \"\"".into(), vec!["Alpha", "beta"]),
            ("host != host-1".into(), vec!["100%", "Alpha", "beta", "delta"]),
            ("host in (host-1, host-2) and owner = anna".into(), vec!["gamma_1"]),
            ("owner != anna".into(), vec!["100%", "delta", "gammaX1"]),
            ("image = debian".into(), vec!["100%", "Alpha", "gamma_1"]),
            ("image != debian".into(), vec!["beta", "delta", "gammaX1"]),
            ("image ~ DEB or network = lan".into(), vec!["100%", "Alpha", "beta", "delta", "gammaX1", "gamma_1"]),
            (format!("network in ({}, dmz)", id::<virga_model::NetworkId>(N1)), vec!["beta", "delta", "gammaX1"]),
            ("label.env = prod".into(), vec!["100%", "Alpha", "gamma_1"]),
            ("label.env != prod".into(), vec!["beta", "delta", "gammaX1"]),
            ("label.env ~ test_".into(), vec!["beta", "delta", "gammaX1"]),
            ("label.env in (prod, x) and cpus < 2".into(), vec!["Alpha"]),
            ("label.none = \"\"".into(), vec![]),
            ("state = unknown and desired = stopped and settled = false and drift = no and name = beta".into(), vec!["beta"]),
            ("state != unknown".into(), vec![]),
            ("not (cpus > 1 or name ~ x)".into(), vec!["Alpha"]),
            ("not not cpus = 1".into(), vec!["Alpha"]),
        ];
        for (filter, want) in cases {
            assert_eq!(names(&mut tx, &filter, &all()).await, want, "{filter}");
        }
    }
}

#[tokio::test]
async fn hostile_values_are_only_values() {
    for store in stores().await {
        let mut tx = store.write().await.unwrap();
        six(&mut tx).await;
        let none: [&str; 0] = [];
        for filter in [
            r#"name = "' or 1=1 --""#,
            r#"name = "x' OR '1'='1""#,
            r#"name ~ "'; DROP TABLE vm; --""#,
            r#"name in ("a", "') or (1=1")"#,
            r#"label.env = "' or 1=1 --""#,
            r#"host = "') or 1=1 --""#,
            r#"ip = "%""#,
            r#"ip = " ""#,
            r#"name ~ "!""#,
            r#"name ~ "\\""#,
        ] {
            assert_eq!(names(&mut tx, filter, &all()).await, none, "{filter}");
        }
        assert_eq!(names(&mut tx, r#"name ~ "%""#, &all()).await, ["100%"], "no wildcard");
        assert_eq!(names(&mut tx, "name ~ a_1", &all()).await, ["gamma_1"], "no wildcard");
        assert_eq!(names(&mut tx, r#"label.a/b = "' or 1=1 --""#, &all()).await.len(), 3);
        let only = Visible { vms: vec![vm_id(100)], ..nothing() };
        assert_eq!(names(&mut tx, r#"name = "x" or 1 = 1"#.replace("1 = 1", "cpus > 0").as_str(), &only).await, ["Alpha"]);
        assert_eq!(names(&mut tx, "", &all()).await.len(), 6, "nothing was dropped");
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_named() {
    for store in stores().await {
        let mut tx = store.read().await.unwrap();
        for (filter, says) in [
            ("colour = red", "label.KEY"),
            ("vm.name = x", "cpus, memory"),
            ("cpus = many", "whole number"),
            ("memory > big", "20GiB"),
            ("created_at > yesterday", "2026-01-31"),
            ("settled = maybe", "true or false"),
            ("settled > true", "no sense"),
            ("state = runing", "running"),
            ("state < running", "no sense"),
            ("cpus ~ 1", "texts only"),
            ("ip > 10.0.0.1", "no sense"),
        ] {
            let e = vm::list(&mut tx, &page(filter), vm::Listed::All, &all()).await.unwrap_err();
            assert!(matches!(e, StoreError::Malformed(_)), "{filter}: {e:?}");
            let e = Error::from(e);
            assert!(e.code == ErrorCode::Malformed && e.to_string().contains(says), "{filter}: {e}");
        }
        let two = vec![SortKey { field: "name".into(), descending: false }, SortKey { field: "cpus".into(), descending: false }];
        for bad in [
            sorted("colour", false, 1),
            sorted("image", false, 1),
            sorted("label.env", false, 1),
            sorted("name; DROP TABLE vm", false, 1),
            Page { sort: two, ..Page::default() },
            Page { after: Some("not base64 !".into()), ..Page::default() },
            Page { after: Some("e30".into()), ..Page::default() },
            Page { after: Some("x".repeat(10_000)), ..Page::default() },
        ] {
            let e = vm::list(&mut tx, &bad, vm::Listed::All, &all()).await.unwrap_err();
            assert_eq!(Error::from(e).code, ErrorCode::Malformed, "{bad:?}");
        }
        assert_eq!(names(&mut tx, "", &all()).await.len(), 0, "a refused list request breaks nothing");
    }
}

#[tokio::test]
async fn a_token_fits_its_own_order_only() {
    for store in stores().await {
        let mut tx = store.write().await.unwrap();
        six(&mut tx).await;
        let next = vm::list(&mut tx, &sorted("cpus", false, 2), vm::Listed::All, &all()).await.unwrap().next;
        assert!(next.is_some());
        for other in [sorted("cpus", true, 2), sorted("name", false, 2), sorted("memory", false, 2), Page::default()] {
            let e = vm::list(&mut tx, &Page { after: next.clone(), ..other }, vm::Listed::All, &all()).await.unwrap_err();
            assert_eq!(Error::from(e).code, ErrorCode::Malformed);
        }
        assert!(vm::list(&mut tx, &Page { after: next, ..sorted("cpus", false, 2) }, vm::Listed::All, &all()).await.is_ok());
    }
}

#[tokio::test]
async fn limits_hold() {
    for store in stores().await {
        let mut tx = store.write().await.unwrap();
        six(&mut tx).await;
        for n in 0..1100u128 {
            vm::insert(&mut tx, &vm_row(10_000 + n, &format!("x{n}"), anna())).await.unwrap();
        }
        assert_eq!(vm::list(&mut tx, &sorted("name", false, 0), vm::Listed::All, &all()).await.unwrap().items.len(), 1);
        assert_eq!(vm::list(&mut tx, &sorted("name", false, u32::MAX), vm::Listed::All, &all()).await.unwrap().items.len(), PAGE_MAX as usize);
        let exact = vm::list(&mut tx, &Page { limit: 6, ..page("cpus > 0 and not name ~ x") }, vm::Listed::All, &all()).await.unwrap();
        assert_eq!((exact.items.len(), exact.next), (5, None), "gammaX1 has an x");
    }
}

/// Walks all pages; between them, a VM is added before and after the position.
async fn walk(store: &Store, field: &str, descending: bool, insert: bool) -> Vec<String> {
    let (mut seen, mut after, mut n) = (Vec::new(), None, 0u128);
    loop {
        let mut tx = store.write().await.unwrap();
        let Paged { items, next, total } =
            vm::list(&mut tx, &Page { after, total: true, ..sorted(field, descending, 3) }, vm::Listed::All, &all()).await.unwrap();
        assert!(items.len() <= 3 && total.unwrap() >= 40);
        seen.extend(items.into_iter().map(|v| v.name));
        n += 1;
        if insert && n < 60 {
            for (k, place) in [(0u128, "a"), (1, "z")] {
                let unique = u128::try_from(total.unwrap()).unwrap() + k;
                let mut v = vm_row(50_000 + unique, &format!("{place}-new-{unique}"), anna());
                v.spec = spec(1 + (unique % 5) as u32, 1024);
                vm::insert(&mut tx, &v).await.unwrap();
            }
        }
        tx.commit().await.unwrap();
        match next {
            Some(_) if n > 500 => panic!("no end"),
            Some(t) => after = Some(t),
            None => return seen,
        }
    }
}

#[tokio::test]
async fn pages_are_complete_and_without_duplicates_while_rows_come() {
    for store in stores().await {
        let mut tx = store.write().await.unwrap();
        world(&mut tx).await;
        let mut old = Vec::new();
        for n in 0..40u128 {
            // Few different values, so that most rows are equal in the sort field; some have no host.
            let mut v = vm_row(1000 + (n * 7) % 40, &format!("m-{n:02}"), id(if n % 3 == 0 { ANNA } else { BERT }));
            v.spec = spec(1 + (n % 3) as u32, 1024 * (1 + (n % 2) as u64));
            v.host = (n % 4 != 0).then(|| id(if n % 4 == 1 { H1 } else { H2 }));
            v.created_at = NOW.plus_seconds((n % 5) as i64);
            vm::insert(&mut tx, &v).await.unwrap();
            old.push(v.name);
        }
        tx.commit().await.unwrap();
        let fields = ["name", "id", "cpus", "memory", "host", "owner", "state", "settled", "created_at", "ip"];
        for field in fields {
            for descending in [false, true] {
                let seen = walk(&store, field, descending, false).await;
                assert_eq!(seen.len(), 40, "{field} {descending}");
                let reverse: Vec<String> = walk(&store, field, !descending, false).await.into_iter().rev().collect();
                assert_eq!(seen, reverse, "{field}");
            }
        }
        for (field, descending) in [("name", false), ("name", true), ("cpus", false), ("cpus", true), ("created_at", false)] {
            let seen = walk(&store, field, descending, field == "name" || field == "cpus").await;
            let mut unique = seen.clone();
            unique.sort();
            unique.dedup();
            assert_eq!(unique.len(), seen.len(), "{field}: a row came twice");
            assert!(old.iter().all(|n| unique.binary_search(n).is_ok()), "{field}: a row was left out");
        }
    }
}
