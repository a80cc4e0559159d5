//! A full disk under the database: reading goes on, changes are refused with 507, and it mends itself (M5, D5).

use crate::world::World;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_changes_and_nothing_else() {
    let w = World::new().await;
    w.send("POST", "/v1/networks", &w.admin, json!({"name": "before", "kind": "nat", "cidr": "192.168.9.0/24"}), &[]).await;
    w.store.limit_pages(0).await.unwrap();
    // Some changes still fit into pages that are there already; then one does not.
    let mut made = Vec::new();
    let mut refused = None;
    for n in 0..10_000 {
        let name = format!("i{n}-{}", "x".repeat(40));
        let r = w.send("POST", "/v1/images", &w.admin, json!({"name": name}), &[]).await;
        match r.status {
            201 => made.push(name),
            429 => break,
            _ => {
                refused = Some((name, r));
                break;
            }
        }
    }
    let (name, r) = refused.expect("the disk never gets full");
    assert_eq!((r.status, r.code()), (507, "storage_full"), "{}", r.body);
    assert!(r.header("retry-after").parse::<u32>().unwrap() > 0);
    assert!(r.body["hint"].as_str().unwrap().contains("make room"));
    // Everything can be read, and of the refused change there is nothing.
    w.send("GET", "/v1/hosts", &w.admin, json!(null), &[]).await.is(200);
    w.send("GET", "/v1/system", &w.admin, json!(null), &[]).await.is(200);
    w.send("GET", &format!("/v1/images/{name}"), &w.admin, json!(null), &[]).await.is(404);
    for name in made.iter().take(3) {
        w.send("GET", &format!("/v1/images/{name}"), &w.admin, json!(null), &[]).await.is(200);
    }
    // Also who comes later, when the last use of their token should be noted.
    w.store.limit_pages(0).await.unwrap();
    w.advance(120);
    w.send("GET", "/v1/hosts", &w.admin, json!(null), &[]).await.is(200);
    // There is room again.
    w.store.limit_pages(1 << 20).await.unwrap();
    w.send("POST", "/v1/images", &w.admin, json!({"name": name}), &[]).await.is(201);
}
