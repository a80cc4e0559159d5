//! Exports for real: a disk on an image and two layers becomes one file of each format, with the same content; a package made
//! of it is read by tar and by our own reader, and comes back as the same disk. Needs qemu-img and tar (scripts/setup.sh).

use sha2::{Digest, Sha256};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use virga_agent::host::*;
use virga_kvm::{Config, Kvm};
use virga_model::export::ExportSpec;
use virga_model::image::ImageFormat;
use virga_model::order::ImageRef;
use virga_model::ovf::{self, Piece, WrittenDisk};
use virga_model::vm::{DiskSpec, VmSpec};
use virga_model::{ImageId, LayerId, Time, VmId};

const BYTES: u64 = 8 << 20;

fn run(program: &str, args: &[&str]) -> String {
    let o = Command::new(program).args(args).stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("{program}: {e}"));
    assert!(o.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&o.stderr));
    String::from_utf8_lossy(&o.stdout).into_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

async fn import(k: &Kvm, bytes: &[u8], format: ImageFormat) -> ImageRef {
    let sha256 = hex::encode(Sha256::digest(bytes));
    let image = ImageRef { id: ImageId(uuid::Uuid::new_v4()), format, size_bytes: bytes.len() as u64, virtual_bytes: BYTES, sha256 };
    for (i, piece) in bytes.chunks(4 << 20).enumerate() {
        k.image_write(None, &image, (i as u64) * (4 << 20), piece).await.unwrap();
    }
    k.image_commit(None, &image).await.unwrap();
    image
}

async fn open(folder: &Path) -> Arc<Kvm> {
    Kvm::open(Config { libvirt_uri: "test:///default".into(), store: folder.join("store"), run: folder.join("run") }).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_on_layers_is_exported_whole_and_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let k = open(dir.path()).await;
    let raw = dir.path().join("image.raw");
    let f = std::fs::File::create(&raw).unwrap();
    f.set_len(BYTES).unwrap();
    f.write_all_at(&[0x11; 100_000], 70_000).unwrap();
    let image = import(&k, &std::fs::read(&raw).unwrap(), ImageFormat::Raw).await;
    let vm = VmId(uuid::Uuid::new_v4());
    let disk: DiskSpec = serde_json::from_value(serde_json::json!({"id": uuid::Uuid::new_v4(), "size_bytes": BYTES, "image": image.id})).unwrap();
    k.disk_ensure(vm, &disk, Some(&image), &|_| ()).await.unwrap();
    let folder = dir.path().join("store/vms").join(vm.to_string());
    let write = |file: &str, pattern: &str, at: u64| {
        let command = format!("write -P {pattern} {at} 65536");
        run("qemu-io", &["-f", "qcow2", "-c", &command, text(&folder.join(file))]);
    };
    write(&format!("{}.qcow2", disk.id), "0x22", 1 << 20);
    let layers = [LayerId(uuid::Uuid::new_v4()), LayerId(uuid::Uuid::new_v4())];
    k.layer_ensure(vm, &disk, layers[0], None).await.unwrap();
    write(&format!("{}.{}.qcow2", disk.id, layers[0]), "0x33", 2 << 20);
    k.layer_ensure(vm, &disk, layers[1], Some(layers[0])).await.unwrap();
    write(&format!("{}.{}.qcow2", disk.id, layers[1]), "0x44", (2 << 20) + 32_768);
    let top = folder.join(format!("{}.{}.qcow2", disk.id, layers[1]));
    for (format, driver) in [(ImageFormat::Vmdk, "vmdk"), (ImageFormat::Vhd, "vpc"), (ImageFormat::Qcow2, "qcow2")] {
        let export = ExportSpec { id: uuid::Uuid::new_v4(), format, made_at: Time(0), disks: vec![disk.id], snapshot: None };
        let made = k.export_disk(vm, &export, &disk, Some(layers[1]), &|_| ()).await.unwrap();
        let file = folder.join("export").join(export.id.to_string()).join(format!("{}.{format}", disk.id));
        run("qemu-img", &["compare", "-q", "-f", "qcow2", "-F", driver, text(&top), text(&file)]);
        let content = std::fs::read(&file).unwrap();
        assert_eq!((made.bytes, made.virtual_bytes), (content.len() as u64, BYTES), "{format}");
        assert_eq!(made.sha256, hex::encode(Sha256::digest(&content)), "{format}");
        // Read in pieces, as it goes over the wire.
        let mut read = Vec::new();
        loop {
            let piece = k.export_read(vm, &export, disk.id, read.len() as u64, 100_000).await.unwrap();
            if piece.is_empty() {
                break;
            }
            read.extend(piece);
        }
        assert_eq!(read, content, "{format}");
        // Asked for again, as after a crash in the middle: it is made anew, and nothing else is there.
        std::fs::write(file.with_extension("0123.new"), b"half made").unwrap();
        assert_eq!(k.export_disk(vm, &export, &disk, Some(layers[1]), &|_| ()).await.unwrap().virtual_bytes, BYTES);
        assert_eq!(std::fs::read_dir(file.parent().unwrap()).unwrap().count(), 1, "{format}");
        round_trip(&k, dir.path(), &read, format, &top).await;
    }
    // What a snapshot froze, while a guest goes on above it.
    let export = ExportSpec { id: uuid::Uuid::new_v4(), format: ImageFormat::Qcow2, made_at: Time(0), disks: vec![disk.id], snapshot: None };
    k.export_disk(vm, &export, &disk, Some(layers[0]), &|_| ()).await.unwrap();
    let frozen = folder.join("export").join(export.id.to_string()).join(format!("{}.qcow2", disk.id));
    run("qemu-img", &["compare", "-q", "-f", "qcow2", "-F", "qcow2", text(&folder.join(format!("{}.{}.qcow2", disk.id, layers[0]))), text(&frozen)]);
    // One that is given up leaves nothing behind, and the one that is there is not there any more.
    let given_up = k.export_disk(vm, &export, &disk, Some(layers[0]), &|_| ());
    drop(tokio::time::timeout(std::time::Duration::ZERO, given_up).await);
    let left = || std::fs::read_dir(frozen.parent().unwrap()).unwrap().flatten().filter(|e| e.path().extension().is_some_and(|x| x == "new")).count();
    for _ in 0..1000 {
        if left() == 0 {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(k.disks().await.unwrap().len(), 3, "exports are no disks");
    k.export_remove(vm).await.unwrap();
    k.export_remove(vm).await.unwrap();
    assert!(!folder.join("export").exists());
    k.vm_files_remove(vm).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_raw_disk_is_exported_and_what_lies_in_it_is_never_asked() {
    let dir = tempfile::tempdir().unwrap();
    let k = open(dir.path()).await;
    let vm = VmId(uuid::Uuid::new_v4());
    let disk: DiskSpec =
        serde_json::from_value(serde_json::json!({"id": uuid::Uuid::new_v4(), "size_bytes": BYTES, "format": "raw", "provisioning": "thick_eager"})).unwrap();
    k.disk_ensure(vm, &disk, None, &|_| ()).await.unwrap();
    let file = dir.path().join("store/vms").join(vm.to_string()).join(format!("{}.raw", disk.id));
    // The guest has written a header that names a file of the host (CVE-2008-2004's way).
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "a secret of the host").unwrap();
    let trap = dir.path().join("trap.qcow2");
    run("qemu-img", &["create", "-q", "-f", "qcow2", "-u", "-b", text(&secret), "-F", "raw", text(&trap), "1M"]);
    let f = std::fs::OpenOptions::new().write(true).open(&file).unwrap();
    f.write_all_at(&std::fs::read(&trap).unwrap(), 0).unwrap();
    let export = ExportSpec { id: uuid::Uuid::new_v4(), format: ImageFormat::Vmdk, made_at: Time(0), disks: vec![disk.id], snapshot: None };
    let made = k.export_disk(vm, &export, &disk, None, &|_| ()).await.unwrap();
    assert_eq!(made.virtual_bytes, BYTES);
    let copy = dir.path().join("store/vms").join(vm.to_string()).join("export").join(export.id.to_string()).join(format!("{}.vmdk", disk.id));
    run("qemu-img", &["compare", "-q", "-f", "raw", "-F", "vmdk", text(&file), text(&copy)]);
    // A copy of a disk that is not there is an error, and leaves nothing.
    let gone: DiskSpec = serde_json::from_value(serde_json::json!({"id": uuid::Uuid::new_v4(), "size_bytes": BYTES})).unwrap();
    assert!(k.export_disk(vm, &export, &gone, None, &|_| ()).await.is_err());
    assert_eq!(std::fs::read_dir(copy.parent().unwrap()).unwrap().count(), 1);
}

/// As a package, and back as an image of a host.
async fn round_trip(k: &Kvm, folder: &Path, content: &[u8], format: ImageFormat, original: &Path) {
    let spec: VmSpec = serde_json::from_value(serde_json::json!({
        "cpu": {"count": 1, "max": 1}, "memory": {"bytes": 1 << 28},
        "disks": [{"id": uuid::Uuid::new_v4(), "size_bytes": BYTES}]
    }))
    .unwrap();
    let disks = [WrittenDisk {
        file: format!("web-disk1.{format}"),
        bytes: content.len() as u64,
        virtual_bytes: BYTES,
        sha256: hex::encode(Sha256::digest(content)),
        format,
    }];
    let descriptor = ovf::write_descriptor("web", "", &spec, &[], &disks);
    let manifest = ovf::write_manifest("web", &hex::encode(Sha256::digest(descriptor.as_bytes())), &disks);
    let layout = ovf::layout("web", &descriptor, &disks, &manifest, 0);
    let file = folder.join("web.ova");
    let bytes: Vec<u8> = layout.pieces.iter().flat_map(|p| if let Piece::Bytes(b) = p { b.clone() } else { content.to_vec() }).collect();
    std::fs::write(&file, &bytes).unwrap();
    assert_eq!(run("tar", &["-tf", text(&file)]), format!("web.ovf\nweb.mf\nweb-disk1.{format}\n"));
    let unpacked = folder.join(format!("unpacked-{format}"));
    std::fs::create_dir(&unpacked).unwrap();
    run("tar", &["-xf", text(&file), "-C", text(&unpacked)]);
    run("sha256sum", &["--version"]);
    for line in std::fs::read_to_string(unpacked.join("web.mf")).unwrap().lines() {
        let (name, digest) = line.strip_prefix("SHA256(").unwrap().split_once(")= ").unwrap();
        assert!(run("sha256sum", &[text(&unpacked.join(name))]).starts_with(digest), "{line}");
    }
    let read = ovf::read(&mut bytes.as_slice(), bytes.len() as u64).unwrap().package;
    let piece = &read.disks[0];
    let at = usize::try_from(piece.offset).unwrap();
    let back = import(k, &bytes[at..at + usize::try_from(piece.size_bytes).unwrap()], piece.format).await;
    let kept = folder.join("store/images").join(format!("{}.qcow2", back.id));
    run("qemu-img", &["compare", "-q", "-f", "qcow2", "-F", "qcow2", text(original), text(&kept)]);
    k.image_remove(back.id).await.unwrap();
}
