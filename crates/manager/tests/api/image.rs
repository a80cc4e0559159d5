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
async fn two_uploads_of_one_image_do_not_mix_and_a_broken_one_can_be_gone_on_with() {
    let w = World::bare().await;
    let made = w.post("/v1/images", json!({"name": "i"})).await.is(201);
    let (send, receive) = tokio::sync::mpsc::channel::<Result<bytes::Bytes, std::io::Error>>(1);
    let body = reqwest::Body::wrap_stream(tokio_stream::wrappers::ReceiverStream::new(receive));
    let slow = tokio::spawn(w.http.put(w.url("/v1/images/i/content")).bearer_auth(&w.admin).body(body).send());
    let content: Vec<u8> = vec![0; 3 << 20];
    send.send(Ok(bytes::Bytes::from(content[..1 << 20].to_vec()))).await.unwrap();
    crate::world::until("the first megabyte has arrived", || async { w.get("/v1/images/i").await.body["arrived_bytes"] == 1 << 20 }).await;
    assert_eq!(w.upload("i", content.clone(), "").await.status, 423);
    send.send(Err(std::io::Error::other("cable pulled"))).await.unwrap();
    drop(send);
    let _ = slow.await.unwrap();
    // What came is there, and is told; nothing else is.
    let part = format!("{}.partial", made.body["id"].as_str().unwrap());
    crate::world::until("the lock is free", || async { w.upload("i", vec![1; 512], "?offset=9999999&sha256=00").await.status != 423 }).await;
    assert_eq!(files(&w), [part.as_str()]);
    let image = w.get("/v1/images/i").await.body;
    assert_eq!((&image["state"], image["arrived_bytes"].as_u64()), (&json!("empty"), Some(1 << 20)));
    let sha = hex::encode(sha2::Sha256::digest(&content));
    // Without the hash of the whole, or behind what is there, it is not gone on with, and nothing is lost.
    let bare = w.upload("i", content[1 << 20..].to_vec(), "?offset=1048576").await.is(422);
    assert_eq!(bare.body["violations"][0]["field"], "sha256");
    let gap = w.upload("i", content[2 << 20..].to_vec(), &format!("?offset=2097152&sha256={sha}")).await.is(409);
    assert!(gap.body["detail"].as_str().unwrap().contains("1048576 bytes"), "{}", gap.body);
    assert_eq!(std::fs::metadata(w.dir.path().join("images").join(&part)).unwrap().len(), 1 << 20);
    // From a byte before its end is right, too.
    let done = w.upload("i", content[1 << 19..].to_vec(), &format!("?offset=524288&sha256={sha}")).await.is(200).body;
    assert_eq!((&done["sha256"], done["size_bytes"].as_u64()), (&json!(sha), Some(3 << 20)));
    assert_eq!(files(&w), [done["id"].as_str().unwrap()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_parts_of_two_files_make_no_image_and_old_parts_are_removed() {
    let w = World::bare().await;
    let made = w.post("/v1/images", json!({"name": "i"})).await.is(201);
    let folder = w.dir.path().join("images");
    let part = folder.join(format!("{}.partial", made.body["id"].as_str().unwrap()));
    std::fs::write(&part, vec![1; 1 << 20]).unwrap();
    let sha = hex::encode(sha2::Sha256::digest(vec![0; 2 << 20]));
    let wrong = w.upload("i", vec![0; 1 << 20], &format!("?offset=1048576&sha256={sha}")).await.is(422);
    assert_eq!(wrong.body["violations"][0]["field"], "sha256");
    assert!(files(&w).is_empty());
    // Of what a program left that was killed in the middle the age decides.
    for (hours, kept) in [(2, true), (25, false)] {
        std::fs::write(&part, vec![1; 4096]).unwrap();
        let then = std::time::SystemTime::now() - std::time::Duration::from_secs(hours * 3600);
        std::fs::File::options().write(true).open(&part).unwrap().set_modified(then).unwrap();
        virga_manager::image::sweep(&w.store, &folder).await.unwrap();
        assert_eq!(part.exists(), kept, "{hours} hours old");
    }
    // And of an image that is removed nothing stays.
    std::fs::write(&part, vec![1; 4096]).unwrap();
    w.done(w.send("DELETE", "/v1/images/i", &w.admin, Value::Null, &[]).await.is(202)).await;
    assert!(files(&w).is_empty());
}
