//! Lists: pages, filters, order, fields.

use crate::world::World;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn pages_filters_order_and_fields() {
    let w = World::new().await;
    for i in 0..7 {
        let body = json!({"name": format!("vm-{i}"), "cpus": i % 3 + 1, "labels": {"n": i.to_string()}});
        w.post("/v1/vms", body).await.is(202);
    }
    let mut names = Vec::new();
    let mut path = "/v1/vms?limit=3&sort=-name&total=true".to_string();
    loop {
        let page = w.get(&path).await.is(200).body;
        assert_eq!(page["total"], 7);
        names.extend(page["items"].as_array().unwrap().iter().map(|v| v["name"].as_str().unwrap().to_string()));
        match page["next_page"].as_str() {
            Some(t) => path = format!("/v1/vms?limit=3&sort=-name&total=true&page_token={t}"),
            None => break,
        }
    }
    let expected: Vec<String> = (0..7).rev().map(|i| format!("vm-{i}")).collect();
    assert_eq!(names, expected);
    let page = w.get("/v1/vms?filter=cpus%20%3E%3D%202%20and%20not%20name%20%3D%20vm-1&fields=name").await.is(200).body;
    let items = page["items"].as_array().unwrap();
    assert_eq!(items.iter().map(|v| v["name"].as_str().unwrap()).collect::<Vec<_>>(), ["vm-2", "vm-4", "vm-5"]);
    let fields: Vec<&String> = items[0].as_object().unwrap().keys().collect();
    assert_eq!(fields, ["id", "name"]);
    let one = w.get("/v1/vms?filter=label.n%20%3D%203").await.is(200).body;
    assert_eq!(one["items"].as_array().unwrap().len(), 1);
    for bad in ["limit=0", "limit=1001", "limit=x", "sort=nothing", "filter=nothing%20%3D%201", "filter=%28", "page_token=nonsense"] {
        let a = w.get(&format!("/v1/vms?{bad}")).await.is(400);
        assert_eq!(a.code(), "malformed", "{bad}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_lists_answer_too() {
    let w = World::new().await;
    w.vm(json!({"name": "a", "start": true})).await;
    for (list, filter) in [
        ("users", "name%20%3D%20admin"),
        ("role-bindings", "role%20%3D%20admin"),
        ("tokens", "name%20%3D%20test"),
        ("hosts", "name%20~%20h"),
        ("networks", "kind%20%3D%20nat"),
        ("tasks", "kind%20%3D%20vm_create"),
        ("events", "severity%20%3D%20info"),
        ("audit", "operation%20%3D%20vm_create"),
    ] {
        let page = w.get(&format!("/v1/{list}?filter={filter}&total=true&limit=1")).await.is(200).body;
        assert_eq!(page["items"].as_array().unwrap().len(), 1, "{list}");
        assert!(page["total"].as_i64().unwrap() >= 1, "{list}");
    }
    let host = w.get("/v1/hosts/h1").await.is(200);
    assert_eq!((host.header("etag"), &host.body["state"]), ("\"1\"", &json!("up")));
    let hosts = w.get("/v1/hosts").await.body;
    let (vms, memory) =
        hosts["items"].as_array().unwrap().iter().fold((0, 0), |(v, m), h| (v + h["vms"].as_i64().unwrap(), m + h["memory_allocated_bytes"].as_u64().unwrap()));
    assert!(vms == 1 && memory > 1 << 30);
    w.send("PATCH", "/v1/hosts/h1", &w.admin, json!({"name": "h2"}), &[]).await.is(409);
    let busy = w.get("/v1/vms/a").await.body["host"]["name"].as_str().unwrap().to_string();
    w.send("DELETE", &format!("/v1/hosts/{busy}"), &w.admin, serde_json::Value::Null, &[]).await.is(409);
    let free = if busy == "h1" { "h2" } else { "h1" };
    w.send("DELETE", &format!("/v1/hosts/{free}"), &w.admin, serde_json::Value::Null, &[]).await.is(204);
    let join = w.post("/v1/host-join-tokens", json!({"host_name": "h9"})).await.is(201).body;
    use base64::Engine;
    let file = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(join["join_file"].as_str().unwrap()).unwrap();
    let file: virga_model::order::JoinFile = serde_json::from_slice(&file).unwrap();
    assert!(file.secret.starts_with("vj_") && file.ca_pem.contains("CERTIFICATE") && file.manager.starts_with("127.0.0.1:"));
    w.post("/v1/host-join-tokens", json!({"host_name": busy})).await.is(409);
    let metrics = w.get("/metrics").await.is(200);
    let text = metrics.body.as_str().unwrap();
    for line in ["virga_vms{state=\"running\"} 1", "virga_tasks_active 0", "virga_http_requests_total{operation=\"vm_view\",status=\"200\"}"] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn networks_are_kept_apart_and_in_use() {
    let w = World::new().await;
    let make = |name: &'static str, spec: serde_json::Value| w.post("/v1/networks", json!({"name": name, "spec": spec}));
    make("lab", json!({"kind": "nat", "cidr": "192.168.200.128/25"})).await.is(409);
    make("lab", json!({"kind": "nat", "cidr": "10.1.0.1/24"})).await.is(422);
    make("lab", json!({"kind": "nat", "cidr": "10.1.0.0/24"})).await.is(201);
    make("lan", json!({"kind": "ovs", "bridge": "vg-lan", "uplink": "eth1", "vlan": 10})).await.is(201);
    make("lan2", json!({"kind": "ovs", "bridge": "vg-lan", "uplink": "eth2", "vlan": 11})).await.is(409);
    make("lan3", json!({"kind": "ovs", "bridge": "vg-other", "uplink": "eth1"})).await.is(409);
    make("lan4", json!({"kind": "ovs", "bridge": "vg-lan", "uplink": "eth1", "vlan": 11})).await.is(201);
    w.vm(json!({"name": "n", "nics": [{"network": "lab"}]})).await;
    let delete = async |name: &str| w.send("DELETE", &format!("/v1/networks/{name}"), &w.admin, serde_json::Value::Null, &[]).await;
    assert!(delete("lab").await.is(409).body["detail"].as_str().unwrap().contains("used by n"));
    w.done(delete("lan").await.is(202)).await;
    w.get("/v1/networks/lan").await.is(404);
}
