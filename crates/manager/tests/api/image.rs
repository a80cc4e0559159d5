//! Images: what is accepted, what is refused, and what is left of it.

use crate::world::World;
use serde_json::{Value, json};
use sha2::Digest;
use virga_tests::images;

/// A right qcow2 of 1 GiB in a file of four clusters; with a backing file when `backing` tells where its name is.
fn qcow2(backing: u64) -> Vec<u8> {
    images::with(images::qcow2(), &[(8, &backing.to_be_bytes())])
}

fn files(w: &World) -> Vec<String> {
    let entries = std::fs::read_dir(w.dir.path().join("images")).unwrap();
    entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_is_inspected_hashed_and_kept() {
    let w = World::bare().await;
    w.post("/v1/images", json!({"name": "debian"})).await.is(201);
    let content = qcow2(0);
    let sha = hex::encode(sha2::Sha256::digest(&content));
    let wrong = w.upload("debian", content.clone(), &format!("?sha256={}", "0".repeat(64))).await.is(422);
    assert_eq!(wrong.body["violations"][0]["field"], "sha256");
    assert!(files(&w).is_empty());
    let image = w.upload("debian", content.clone(), &format!("?sha256={sha}")).await.is(200);
    let b = &image.body;
    assert_eq!((&b["state"], &b["format"], &b["sha256"]), (&json!("ready"), &json!("qcow2"), &json!(sha)));
    assert_eq!((b["virtual_bytes"].as_u64(), b["size_bytes"].as_u64()), (Some(1 << 30), Some(content.len() as u64)));
    assert_eq!(files(&w), [b["id"].as_str().unwrap()]);
    assert_eq!(std::fs::read(w.dir.path().join("images").join(b["id"].as_str().unwrap())).unwrap(), content);
    w.upload("debian", content, "").await.is(409);
    w.done(w.send("DELETE", "/v1/images/debian", &w.admin, Value::Null, &[]).await.is(202)).await;
    assert!(files(&w).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_refused_upload_nothing_is_left() {
    let w = World::bare().await;
    w.post("/v1/images", json!({"name": "i"})).await.is(201);
    for (what, content) in [
        ("backing file (CVE-2015-5163)", qcow2(512)),
        ("not whole sectors", vec![1; 1000]),
        ("vmdk", [b"KDMV".to_vec(), vec![0; 4096]].concat()),
        ("nothing", vec![]),
    ] {
        let a = w.upload("i", content, "").await.is(422);
        assert_eq!(a.body["violations"][0]["field"], "content", "{what}");
        assert!(files(&w).is_empty(), "{what}");
    }
    assert_eq!(w.get("/v1/images/i").await.body["state"], "empty");
    let tenant = w.user("tenant", &[(virga_model::role::Role::User, virga_model::role::Scope::Own)]).await;
    let put = w.http.put(w.url("/v1/images/i/content")).bearer_auth(&tenant).body(qcow2(0));
    assert_eq!(put.send().await.unwrap().status(), 403);
    w.upload("i", qcow2(0), "").await.is(200);
    let audit = w.get("/v1/audit?filter=operation%3Dimage_upload").await.is(200).body;
    assert_eq!(audit["items"].as_array().unwrap().len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_uploads_of_one_image_do_not_mix_and_a_broken_one_leaves_nothing() {
    let w = World::bare().await;
    w.post("/v1/images", json!({"name": "i"})).await.is(201);
    let (send, receive) = tokio::sync::mpsc::channel::<Result<bytes::Bytes, std::io::Error>>(1);
    let body = reqwest::Body::wrap_stream(tokio_stream::wrappers::ReceiverStream::new(receive));
    let slow = tokio::spawn(w.http.put(w.url("/v1/images/i/content")).bearer_auth(&w.admin).body(body).send());
    send.send(Ok(bytes::Bytes::from(vec![0; 1 << 20]))).await.unwrap();
    crate::world::until("the first upload has begun", || async { files(&w).len() == 1 }).await;
    assert_eq!(w.upload("i", qcow2(0), "").await.status, 423);
    send.send(Err(std::io::Error::other("cable pulled"))).await.unwrap();
    drop(send);
    let _ = slow.await.unwrap();
    crate::world::until("the broken upload is gone", || async { files(&w).is_empty() }).await;
    crate::world::until("another may come", || async { w.upload("i", qcow2(0), "").await.status == 200 }).await;
}
