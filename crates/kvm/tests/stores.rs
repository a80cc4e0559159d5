//! Shared data stores on the file system for real: two hosts on one folder, and what lies there instead. Needs qemu-img.

mod specs;

use sha2::{Digest, Sha256};
use std::path::Path;
use std::sync::Arc;
use virga_agent::host::*;
use virga_kvm::{Config, Kvm};
use virga_model::data_store::{Backing, DataStoreSpec, StoreProblem};
use virga_model::image::ImageFormat;
use virga_model::order::{ImageRef, StoreRef};
use virga_model::vm::{DiskBus, DiskCache, DiskSpec};
use virga_model::{DataStoreId, ErrorCode, VmId};

async fn open(folder: &Path) -> Arc<Kvm> {
    Kvm::open(Config { libvirt_uri: "test:///default".into(), store: folder.join("store"), run: folder.join("run") }).await.unwrap()
}

fn store(n: u128, folder: &Path) -> StoreRef {
    let spec = DataStoreSpec::SharedDirectory { path: folder.to_str().unwrap().into(), backing: Backing::Nas };
    StoreRef { id: specs::id::<DataStoreId>(n), name: format!("store-{n:x}"), spec }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hosts_share_a_data_store() {
    let dir = tempfile::tempdir().unwrap();
    let shared = dir.path().join("shared");
    std::fs::create_dir(&shared).unwrap();
    let (a, b) = (open(&dir.path().join("a")).await, open(&dir.path().join("b")).await);
    let gold = store(0x70, &shared);
    let at = Some(gold.id);
    b.stores_know(std::slice::from_ref(&gold));
    assert_eq!(b.store_look(gold.id).await.problem, Some(StoreProblem::Missing), "an empty folder is no data store");
    // Both at once: one writes the signature, the other reads it.
    let (first, second) = tokio::join!(a.store_ensure(&gold), b.store_ensure(&gold));
    first.unwrap();
    second.unwrap();
    let seen = b.store_look(gold.id).await;
    assert!(seen.reachable() && seen.total_bytes > 0, "{seen:?}");

    // Both fetch the same image at once, and come to the same file.
    let content = vec![7u8; 2 << 20];
    let image = ImageRef {
        id: specs::id(0xa0),
        format: ImageFormat::Raw,
        size_bytes: content.len() as u64,
        virtual_bytes: content.len() as u64,
        sha256: hex::encode(Sha256::digest(&content)),
    };
    a.image_write(at, &image, 0, &content[..1 << 20]).await.unwrap();
    b.image_write(at, &image, 0, &content).await.unwrap();
    assert_eq!((a.image_partial_bytes(at, &image).await.unwrap(), b.image_partial_bytes(at, &image).await.unwrap()), (1 << 20, 2 << 20));
    b.image_commit(at, &image).await.unwrap();
    a.image_write(at, &image, 1 << 20, &content[1 << 20..]).await.unwrap();
    a.image_commit(at, &image).await.unwrap();
    assert_eq!((a.images(at).await.unwrap(), a.images(None).await.unwrap()), (vec![image.id], vec![]));

    // A disk that one makes is there for the other, on the image of the data store.
    let vm: VmId = specs::id(0x11);
    let disk = DiskSpec { store: at, size_bytes: 4 << 20, ..specs::disk(1, Some(0xa0), DiskBus::Virtio, DiskCache::None) };
    a.disk_ensure(vm, &disk, Some(&image), &|_| ()).await.unwrap();
    let there = b.disks().await.unwrap();
    assert_eq!(there, [StoredDisk { id: disk.id, vm, layer: None, store: at, size_bytes: 4 << 20 }]);
    let path = shared.join("vms").join(vm.to_string()).join(format!("{}.qcow2", disk.id));
    let head = std::fs::read(&path).unwrap();
    let base = shared.join("images").join(format!("{}.raw", image.id));
    assert!(head.windows(base.as_os_str().len()).any(|w| w == base.to_str().unwrap().as_bytes()), "it stands on the data store's image");
    assert_eq!(b.image_remove(image.id).await.unwrap_err().code, ErrorCode::Conflict, "a disk stands on it, whoever made it");
    assert!(b.store_remove(&gold).await.unwrap_err().message.contains("still lies on data store"));
    b.disk_grow(vm, &DiskSpec { size_bytes: 8 << 20, ..disk.clone() }, None, &|_| ()).await.unwrap();
    assert_eq!(a.disks().await.unwrap()[0].size_bytes, 8 << 20);

    // The same path, mounted from elsewhere: nothing is made, and nothing is taken for gone (reliability.md S12).
    let away = dir.path().join("away");
    std::fs::rename(&shared, &away).unwrap();
    std::fs::create_dir(&shared).unwrap();
    let e = a.disk_ensure(vm, &disk, Some(&image), &|_| ()).await.unwrap_err();
    assert_eq!(e.code, ErrorCode::Unavailable, "{e}");
    assert!(std::fs::read_dir(&shared).unwrap().next().is_none(), "nothing was made where the mount is missing");
    let silver = store(0x71, &shared);
    b.store_ensure(&silver).await.unwrap();
    let e = a.disk_ensure(vm, &disk, Some(&image), &|_| ()).await.unwrap_err();
    assert!(e.code == ErrorCode::HostFailed && e.message.contains("store-71"), "{e}");
    let e = a.disk_remove(vm, at, disk.id, None).await.unwrap_err();
    assert_eq!(e.code, ErrorCode::HostFailed);
    assert!(a.disks().await.unwrap().is_empty(), "what cannot be reached is not listed");
    assert!(a.store_ensure(&gold).await.unwrap_err().message.contains("already data store store-71"));
    std::fs::remove_dir_all(&shared).unwrap();
    std::fs::rename(&away, &shared).unwrap();
    assert!(a.store_look(gold.id).await.reachable());
    a.vm_files_remove(vm).await.unwrap();
    b.image_remove(image.id).await.unwrap();
    a.store_remove(&gold).await.unwrap();
    assert!(std::fs::read_dir(&shared).unwrap().next().is_none(), "nothing of ours is left");
    let inside = store(0x72, &dir.path().join("a/store"));
    assert_eq!(a.store_ensure(&inside).await.unwrap_err().code, ErrorCode::Invalid, "not within the agent's own store");
}

#[tokio::test]
async fn what_an_agent_before_did_not_finish_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()).await);
    let vm = folder.path().join("store/vms/0198f4c2-7a10-7c00-8000-0123456789ab");
    std::fs::create_dir(&vm).unwrap();
    let (disk, unfinished) = (vm.join("0198f4c2-7a10-7c00-8000-0123456789ac.qcow2"), vm.join("0198f4c2-7a10-7c00-8000-0123456789ac.5d1c.new"));
    std::fs::write(&disk, b"data").unwrap();
    std::fs::write(&unfinished, b"half").unwrap();
    drop(open(folder.path()).await);
    assert!(disk.exists() && !unfinished.exists());
}
