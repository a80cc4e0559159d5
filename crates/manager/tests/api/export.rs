//! Exports: made, described, fetched whole and in ranges, taken in again, refused, removed.

use crate::world::World;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

/// Fetches the package, with these headers.
async fn fetch(w: &World, vm: &str, headers: &[(&str, &str)]) -> (u16, HeaderMap, Vec<u8>) {
    let mut request = w.http.get(w.url(&format!("/v1/vms/{vm}/export/content"))).bearer_auth(&w.admin);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.send().await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    (status, headers, answer.bytes().await.unwrap().to_vec())
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map_or("", |v| v.to_str().unwrap())
}

async fn remove(w: &World, vm: &str) {
    w.done(w.send("DELETE", &format!("/v1/vms/{vm}/export"), &w.admin, Value::Null, &[]).await.is(202)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_is_exported_and_comes_back_as_the_same_machine() {
    let w = World::new().await;
    let body = json!({
        "name": "web", "description": "two\nlines", "cpus": 2, "memory_bytes": 1u64 << 29, "cdroms": [""],
        "disks": [{"size_bytes": 1 << 20}, {"size_bytes": 1 << 20, "bus": "scsi"}], "nics": [{"network": "nat", "model": "e1000"}]
    });
    w.vm(body).await;
    w.get("/v1/vms/web/export").await.is(409);
    w.get("/v1/vms/web/export/content").await.is(409);
    let raw = w.post("/v1/vms/web/export", json!({"disk_format": "raw"})).await.is(422);
    assert_eq!(raw.body["violations"][0]["field"], "disk_format");
    let plan = w.post("/v1/vms/web/export?dry_run=true", json!({})).await.is(202).body;
    assert_eq!(plan["plan"].as_array().map(Vec::len), Some(2), "{plan}");
    w.get("/v1/vms/web/export").await.is(409);
    w.done(w.post("/v1/vms/web/export", json!({})).await.is(202)).await;
    let export = w.get("/v1/vms/web/export").await.is(200).body;
    assert_eq!((&export["state"], &export["disk_format"]), (&json!("ready"), &json!("vmdk")), "{export}");
    // Others who may look at the VM may not take it away.
    let viewer = w.user("viewer", &[(virga_model::role::Role::Viewer, virga_model::role::Scope::All)]).await;
    let refused = w.http.get(w.url("/v1/vms/web/export/content")).bearer_auth(&viewer).send().await.unwrap();
    assert_eq!(refused.status(), 403);
    let (status, headers, content) = fetch(&w, "web", &[]).await;
    assert_eq!((status, header(&headers, "content-disposition")), (200, "attachment; filename=\"web.ova\""));
    assert_eq!(Some(content.len() as u64), export["size_bytes"].as_u64());
    w.post("/v1/images", json!({"name": "back"})).await.is(201);
    w.upload("back", content, "").await.is(200);
    w.done(w.post("/v1/vm-imports", json!({"package": "back", "name": "again"})).await.is(202)).await;
    let (a, b) = (w.get("/v1/vms/web").await.body, w.get("/v1/vms/again").await.body);
    for same in ["/spec/cpu/count", "/spec/memory/bytes", "/spec/firmware", "/spec/disks/0/bus", "/spec/disks/1/bus", "/spec/nics/0/model", "/description"] {
        assert_eq!(a.pointer(same), b.pointer(same), "{same}");
    }
    assert_eq!(b["spec"]["cdroms"].as_array().map(Vec::len), Some(1));
    // Only a VM that is off is exported; the export stays until it is removed.
    w.done(w.post("/v1/vms/web/power", json!({"action": "start"})).await.is(202)).await;
    let runs = w.post("/v1/vms/web/export", json!({})).await.is(409).body;
    assert!(runs["hint"].as_str().unwrap().contains("snapshot"), "{runs}");
    w.get("/v1/vms/web/export").await.is(200);
    remove(&w, "web").await;
    w.get("/v1/vms/web/export").await.is(409);
    let audit = w.get("/v1/audit?filter=operation%3Dvm_export_content").await.is(200).body;
    let details = audit["items"].to_string();
    assert!(details.contains("export taken") && details.contains("viewer"), "{audit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_goes_on_where_it_broke_off_while_the_content_is_the_same() {
    let w = World::new().await;
    w.vm(json!({"name": "web", "disks": [{"size_bytes": 1 << 20}, {"size_bytes": 1 << 20}], "nics": []})).await;
    w.done(w.post("/v1/vms/web/export", json!({})).await.is(202)).await;
    let (_, headers, whole) = fetch(&w, "web", &[]).await;
    let tag = header(&headers, "etag").to_string();
    assert_eq!(header(&headers, "accept-ranges"), "bytes");
    let n = whole.len();
    // From any place on: within the descriptor, at its end, within each disk, within the padding.
    for first in [0, 1, 511, 512, 513, 4000, n / 3, n / 2, n - 1025, n - 1] {
        let range = format!("bytes={first}-");
        let (status, headers, rest) = fetch(&w, "web", &[("range", &range), ("if-range", &tag)]).await;
        assert_eq!((status, header(&headers, "content-range")), (206, format!("bytes {first}-{}/{n}", n - 1).as_str()), "{first}");
        assert_eq!(rest, whole[first..], "{first}");
    }
    let (status, _, part) = fetch(&w, "web", &[("range", "bytes=1000-1999")]).await;
    assert_eq!((status, part.as_slice()), (206, &whole[1000..2000]));
    let behind = format!("bytes={n}-");
    let (status, headers, nothing) = fetch(&w, "web", &[("range", &behind)]).await;
    assert_eq!((status, header(&headers, "content-range"), nothing.len()), (416, format!("bytes */{n}").as_str(), 0));
    for odd in ["bytes=5-1", "bytes=0-1,3-4", "lines=1-2"] {
        assert_eq!(fetch(&w, "web", &[("range", odd)]).await.2, whole, "{odd}");
    }
    // What has another content by now comes whole.
    w.send("PATCH", "/v1/vms/web", &w.admin, json!({"description": "another"}), &[]).await.is(202);
    let (status, headers, all) = fetch(&w, "web", &[("range", "bytes=1000-"), ("if-range", &tag)]).await;
    assert!(status == 200 && header(&headers, "etag") != tag && all != whole && all.len() > 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_exported_while_the_vm_runs_and_its_export_goes_with_it() {
    let w = World::new().await;
    w.vm(json!({"name": "web", "description": "", "disks": [{"size_bytes": 1 << 20}], "nics": [], "start": true})).await;
    w.done(w.post("/v1/vms/web/snapshots", json!({"name": "before"})).await.is(202)).await;
    w.post("/v1/vms/web/export", json!({"snapshot": "nothing"})).await.is(404);
    w.done(w.post("/v1/vms/web/export", json!({"snapshot": "before"})).await.is(202)).await;
    let export = w.get("/v1/vms/web/export").await.is(200).body;
    assert_eq!((&export["state"], export["snapshot"].is_string()), (&json!("ready"), true), "{export}");
    assert_eq!(fetch(&w, "web", &[]).await.0, 200);
    let plan = w.send("DELETE", "/v1/vms/web/snapshots/before?dry_run=true", &w.admin, Value::Null, &[]).await.is(202).body;
    assert!(plan["plan"].to_string().contains("remove the export"), "{plan}");
    w.done(w.send("DELETE", "/v1/vms/web/snapshots/before", &w.admin, Value::Null, &[]).await.is(202)).await;
    w.get("/v1/vms/web/export").await.is(409);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_package_can_hold_is_refused_or_left_out_when_asked() {
    let w = World::new().await;
    let disks = json!([{"size_bytes": 1 << 20}, {"size_bytes": 1 << 20, "sharing": "shared"}, {"size_bytes": 1 << 20, "bus": "usb"}]);
    w.vm(json!({"name": "web", "disks": disks, "nics": []})).await;
    let refused = w.post("/v1/vms/web/export", json!({"disk_format": "vhd"})).await.is(422).body;
    assert!(refused["violations"][0]["message"].as_str().unwrap().contains("is shared"), "{refused}");
    assert!(refused["hint"].as_str().unwrap().contains("--leave-out"), "{refused}");
    let plan = w.post("/v1/vms/web/export?dry_run=true", json!({"disk_format": "vhd", "leave_out": true})).await.is(202).body["plan"].to_string();
    assert!(plan.contains("leave disk") && plan.contains("on SATA in the package"), "{plan}");
    w.done(w.post("/v1/vms/web/export", json!({"disk_format": "vhd", "leave_out": true})).await.is(202)).await;
    let content = fetch(&w, "web", &[]).await.2;
    let text = String::from_utf8_lossy(&content[..8192]).into_owned();
    assert!(text.contains("web-disk2.vhd") && !text.contains("web-disk3.vhd"), "{text}");
    // Copies would outlive what is overwritten.
    let secure = w.send("DELETE", "/v1/vms/web?erase=secure", &w.admin, Value::Null, &[]).await.is(409);
    assert!(secure.body["hint"].as_str().unwrap().contains("--remove"), "{}", secure.body);
    w.vm(json!({"name": "empty", "disks": [], "nics": []})).await;
    w.post("/v1/vms/empty/export", json!({})).await.is(409);
}
