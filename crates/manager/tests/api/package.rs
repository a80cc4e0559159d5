//! Packages (OVA): taken into the library, made VMs of, removed.

use crate::world::World;
use serde_json::{Value, json};
use sha2::Digest;
use virga_tests::images::ova;

/// The package in VMware's way, whose only network is `nat` here.
fn on_nat() -> Vec<u8> {
    ova::package("x", &bios().replace("VM Network", "nat"), &[("x-disk1.vmdk", ova::disk())], Some("SHA256"))
}

/// The descriptor in VMware's way for hosts without UEFI.
fn bios() -> String {
    ova::VMWARE.replace("vmw:value=\"efi\"", "vmw:value=\"bios\"")
}

async fn put(w: &World, name: &str, content: Vec<u8>) -> crate::world::Answer {
    w.post("/v1/images", json!({ "name": name })).await.is(201);
    w.upload(name, content, "").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_is_taken_with_its_disks_as_images() {
    let w = World::new().await;
    for (name, content, disk) in
        [("vmware", ova::vmware(), ova::disk()), ("virtualbox", ova::virtualbox(), ova::disk()), ("ovirt", ova::ovirt(), virga_tests::images::qcow2())]
    {
        let made = put(&w, name, content.clone()).await.is(200).body;
        assert_eq!((&made["format"], made["size_bytes"].as_u64()), (&json!("ova"), Some(content.len() as u64)), "{name}");
        let part = w.get(&format!("/v1/images/{name}.disk1")).await.is(200).body;
        assert_eq!((&part["state"], &part["part_of"]), (&json!("ready"), &made["id"]), "{name}");
        assert_eq!(part["sha256"], json!(hex::encode(sha2::Sha256::digest(&disk))), "{name}");
        assert_eq!(made["package"]["disks"][0]["image"], part["id"], "{name}");
        // The piece lies where the row says.
        let at = usize::try_from(made["package"]["disks"][0]["offset"].as_u64().unwrap()).unwrap();
        assert_eq!(content[at..at + disk.len()], disk, "{name}");
    }
    let listed = w.get("/v1/images?filter=format%20%3D%20ova&total=true").await.is(200).body;
    assert_eq!(listed["total"], 3);
    assert!(listed["items"][0].get("package").is_none());
    // A piece goes with its whole only, and a package is no disk.
    let refused = w.send("DELETE", "/v1/images/vmware.disk1", &w.admin, Value::Null, &[]).await.is(409);
    assert!(refused.body["hint"].as_str().unwrap().contains("vmware"), "{}", refused.body);
    let disk = w.post("/v1/vms", json!({"name": "x", "disks": [{"image": "vmware"}]})).await.is(422);
    assert!(disk.body["violations"][0]["message"].as_str().unwrap().contains("package"), "{}", disk.body);
    // A disk of it is an image like any other, and keeps the package.
    w.vm(json!({"name": "by-hand", "disks": [{"image": "vmware.disk1"}]})).await;
    let used = w.send("DELETE", "/v1/images/vmware", &w.admin, Value::Null, &[]).await.is(409);
    assert!(used.body["detail"].as_str().unwrap().contains("by-hand"), "{}", used.body);
    w.done(w.send("DELETE", "/v1/vms/by-hand", &w.admin, Value::Null, &[]).await.is(202)).await;
    w.done(w.send("DELETE", "/v1/images/vmware", &w.admin, Value::Null, &[]).await.is(202)).await;
    crate::world::until("the piece is gone", || async { w.get("/v1/images/vmware.disk1").await.status == 404 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_whose_content_is_not_what_its_manifest_says_is_not_kept() {
    let w = World::new().await;
    for (n, algorithm) in ["SHA1", "SHA256", "SHA512"].into_iter().enumerate() {
        let right = ova::package("x", ova::VMWARE, &[("x-disk1.vmdk", ova::disk())], Some(algorithm));
        // A byte of the description, and one of the disk's data.
        let text = right.windows(12).position(|w| w == b"Made by hand").unwrap();
        let mut wrong = right.clone();
        wrong[text] = b'm';
        let refused = put(&w, &format!("a{n}"), wrong).await.is(422);
        assert!(refused.body["violations"][0]["message"].as_str().unwrap().contains("x.ovf"), "{algorithm}: {}", refused.body);
        w.upload(&format!("a{n}"), right, "").await.is(200);
    }
    assert_eq!(std::fs::read_dir(w.dir.path().join("images")).unwrap().count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_is_made_of_a_package_or_told_why_not() {
    let w = World::new().await;
    put(&w, "appliance", ova::package("x", &bios(), &[("x-disk1.vmdk", ova::disk())], Some("SHA256"))).await.is(200);
    // Without a network for its interfaces nothing is made, and it is said which one is missing.
    let unmapped = w.post("/v1/vm-imports", json!({"package": "appliance"})).await.is(422);
    assert!(unmapped.body["violations"][0]["message"].as_str().unwrap().contains("VM Network"), "{}", unmapped.body);
    let unknown = w.post("/v1/vm-imports", json!({"package": "appliance", "networks": {"lan": "nat", "VM Network": "nat"}})).await.is(422);
    assert!(unknown.body["violations"][0]["message"].as_str().unwrap().contains("\"lan\""), "{}", unknown.body);
    let body = json!({"package": "appliance", "networks": {"VM Network": "nat"}, "labels": {"from": "vmware"}, "start": true});
    let plan = w.post("/v1/vm-imports?dry_run=true", body.clone()).await.is(202).body;
    let steps = plan["plan"].to_string();
    assert!(steps.contains("VmxNet3") && steps.contains("VirtualSCSI") && plan.get("task").is_none_or(Value::is_null), "{plan}");
    w.get("/v1/vms/photon").await.is(404);
    w.done(w.post("/v1/vm-imports", body).await.is(202)).await;
    let vm = w.get("/v1/vms/photon").await.is(200).body;
    let spec = &vm["spec"];
    assert_eq!((spec["cpu"]["count"].as_u64(), spec["cpu"]["cores_per_socket"].as_u64(), spec["memory"]["bytes"].as_u64()), (Some(4), Some(2), Some(2 << 30)));
    assert_eq!((&spec["firmware"], &spec["disks"][0]["bus"], spec["disks"][0]["size_bytes"].as_u64()), (&json!("bios"), &json!("ide"), Some(16 << 30)));
    assert_eq!(
        (&vm["labels"]["from"], &vm["description"], spec["cdroms"].as_array().map(Vec::len)),
        (&json!("vmware"), &json!("Made by hand & <checked>"), Some(1))
    );
    assert_eq!(spec["disks"][0]["image"].as_str().or(spec["disks"][0]["image"]["id"].as_str()), w.get("/v1/images/appliance.disk1").await.body["id"].as_str());
    // Another of the same, changed on the way.
    let other = json!({"package": "appliance", "name": "second", "networks": {"VM Network": ""}, "bus": "virtio", "cpus": 1, "memory_bytes": 1u64 << 29});
    w.done(w.post("/v1/vm-imports", other).await.is(202)).await;
    let spec = w.get("/v1/vms/second").await.is(200).body["spec"].clone();
    assert_eq!((spec["nics"].as_array().map(Vec::len), &spec["disks"][0]["bus"], spec["cpu"]["count"].as_u64()), (Some(0), &json!("virtio"), Some(1)));
    // What is no package is none.
    w.image("raw", vec![0; 1 << 20]).await;
    w.post("/v1/vm-imports", json!({"package": "raw"})).await.is(422);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_virga_cannot_give_is_refused_or_left_out_when_asked() {
    let w = World::new().await;
    let gpu = "<Item><rasd:ElementName>GPU 1</rasd:ElementName><rasd:InstanceID>90</rasd:InstanceID><rasd:ResourceType>12</rasd:ResourceType></Item>";
    let text = bios().replace("VM Network", "nat").replace("</VirtualHardwareSection>", &format!("{gpu}</VirtualHardwareSection>"));
    put(&w, "gpu", ova::package("x", &text, &[("x-disk1.vmdk", ova::disk())], None)).await.is(200);
    let refused = w.post("/v1/vm-imports", json!({"package": "gpu"})).await.is(422);
    assert!(refused.body["violations"][0]["message"].as_str().unwrap().contains("GPU 1"), "{}", refused.body);
    w.get("/v1/vms/photon").await.is(404);
    let made = w.post("/v1/vm-imports", json!({"package": "gpu", "leave_out": true})).await.is(202);
    assert!(made.body["plan"].to_string().contains("leave out a device"), "{}", made.body);
    w.done(made).await;
    put(&w, "again", on_nat()).await.is(200);
    // The name is the VM's own now.
    w.post("/v1/vm-imports", json!({"package": "again"})).await.is(409);
}
