//! Disks of every kind for real: what they take from the store, what they hold, and how they grow. Needs root, libvirt,
//! QEMU and the tiny guest (scripts/guest-image.sh).

mod specs;

use specs::host::{import, in_guest, make, open, tiny_order, until_agent};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use virga_agent::host::*;
use virga_kvm::Kvm;
use virga_kvm::paths::Paths;
use virga_model::VmId;
use virga_model::change::Change;
use virga_model::disk::{Discard, DiskFormat, Features, Provisioning};
use virga_model::layer::Merge;
use virga_model::vm::*;
use virga_tests::lab::Lab;

const MIB: u64 = 1 << 20;
const QUIET: &(dyn Fn(virga_model::order::Progress) + Send + Sync) = &|_| ();

fn paths(lab: &Lab) -> Paths {
    Paths::new(lab.folder("store"), lab.folder("v"))
}

fn of_kind(n: u128, kind: (DiskFormat, Provisioning), mib: u64) -> DiskSpec {
    DiskSpec { size_bytes: mib * MIB, format: kind.0, provisioning: kind.1, ..specs::disk(n, None, DiskBus::Virtio, DiskCache::None) }
}

fn taken(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().blocks() * 512
}

fn qemu(program: &str, args: &[&str]) -> String {
    let o = Command::new(program).args(args).output().unwrap();
    assert!(o.status.success(), "{program} {args:?}: {}{}", String::from_utf8_lossy(&o.stdout), String::from_utf8_lossy(&o.stderr));
    String::from_utf8_lossy(&o.stdout).into_owned()
}

fn format_of(path: &Path) -> &'static str {
    virga_kvm::paths::disk_format(path)
}

fn io(path: &Path, command: &str) {
    let out = qemu("qemu-io", &["-f", format_of(path), "-c", command, path.to_str().unwrap()]);
    assert!(!out.contains("failed") && !out.contains("rror"), "{command}: {out}");
}

/// What a guest would read of a file, its whole chain included.
fn content(path: &Path) -> Vec<u8> {
    let out = tempfile::NamedTempFile::new().unwrap();
    qemu("qemu-img", &["convert", "-U", "-f", format_of(path), "-O", "raw", path.to_str().unwrap(), out.path().to_str().unwrap()]);
    std::fs::read(out.path()).unwrap()
}

fn check(path: &Path) {
    if format_of(path) == "qcow2" {
        qemu("qemu-img", &["check", "-q", "-f", "qcow2", path.to_str().unwrap()]);
    }
}

async fn made(k: &Kvm, lab: &Lab, vm: VmId, d: &DiskSpec) -> PathBuf {
    k.disk_ensure(vm, d, None, QUIET).await.unwrap();
    paths(lab).local().disk(vm, d, None)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_takes_its_space_and_keeps_its_content() {
    let lab = Lab::start("virga-kinds");
    let k = open(&lab).await;
    let vm: VmId = specs::id(0x71);
    for (n, kind) in (1..).zip(Features::KINDS) {
        let mut d = of_kind(n, kind, 48);
        let thick = kind.1 != Provisioning::Thin;
        let path = made(&k, &lab, vm, &d).await;
        let first = taken(&path);
        assert_eq!(first >= 48 * MIB, thick, "{kind:?}: {first}");
        assert!(thick || first < MIB, "{kind:?}: tables only (DSK-05): {first}");
        assert!(content(&path).iter().all(|b| *b == 0), "{kind:?}: what was never written reads as zeros (W-39)");
        io(&path, "write -P 0x5a 1M 1M");
        made(&k, &lab, vm, &d).await;
        d.size_bytes = 80 * MIB;
        for _ in 0..2 {
            k.disk_grow(vm, &d, None, QUIET).await.unwrap();
        }
        let now = content(&path);
        let expected = |i: usize| if (1 << 20..2 << 20).contains(&i) { 0x5a } else { 0 };
        assert!(now.len() as u64 == d.size_bytes && now.iter().enumerate().all(|(i, b)| *b == expected(i)), "{kind:?}");
        let grown = taken(&path);
        assert_eq!(grown >= 80 * MIB, thick, "{kind:?}: {grown} (DSK-27)");
        eprintln!("{} {}: {first} bytes at first, {grown} after growth", kind.0, kind.1);

        // A layer on it, written and merged again: content and space are what they were.
        let layer = specs::id(0x90 + n);
        k.layer_ensure(vm, &d, layer, None).await.unwrap();
        let upper = paths(&lab).local().disk(vm, &d, Some(layer));
        io(&upper, "write -P 0x77 4M 1M");
        let mut o = specs::order(0x71, "kinds");
        o.spec.disks = vec![d.clone()];
        let merge = Merge { from: layer, into: None };
        o.spec.layers.merges = vec![merge];
        k.merge(&o, d.id, merge, QUIET).await.unwrap();
        let merged = content(&path);
        assert!(merged[4 << 20..5 << 20].iter().all(|b| *b == 0x77) && merged[1 << 20..2 << 20].iter().all(|b| *b == 0x5a), "{kind:?}");
        assert!(!upper.exists() && (taken(&path) >= 80 * MIB) == thick, "{kind:?}: {}", taken(&path));
        check(&path);
    }
    assert_eq!(k.disks().await.unwrap().len(), Features::KINDS.len());
    k.vm_files_remove(vm).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_from_an_image_stands_on_it_or_is_a_copy() {
    let lab = Lab::start("virga-copies");
    let k = open(&lab).await;
    let vm: VmId = specs::id(0x72);
    let mut raw = vec![0u8; 8 << 20];
    raw[3 << 20..][..1 << 20].fill(0x33);
    let image = import(&k, &raw, 0xa5).await;
    for (n, kind) in (1..).zip(Features::KINDS) {
        let d = DiskSpec { image: Some(image.id), ..of_kind(n, kind, 32) };
        k.disk_ensure(vm, &d, Some(&image), QUIET).await.unwrap();
        let path = paths(&lab).local().disk(vm, &d, None);
        let now = content(&path);
        assert!(now.len() as u64 == d.size_bytes && now[..raw.len()] == raw && now[raw.len()..].iter().all(|b| *b == 0), "{kind:?}");
        assert_eq!(taken(&path) >= 32 * MIB, kind.1 != Provisioning::Thin, "{kind:?}: {}", taken(&path));
        let info = qemu("qemu-img", &["info", "-f", format_of(&path), path.to_str().unwrap()]);
        assert_eq!(info.contains("backing file:"), d.stands_on().is_some(), "{kind:?}: {info}");
        check(&path);
    }
    // A copy needs its image no more, an overlay does.
    assert!(k.image_remove(image.id).await.is_err());
    let overlay = of_kind(1, Features::KINDS[0], 32);
    k.disk_remove(vm, None, overlay.id, None).await.unwrap();
    k.image_remove(image.id).await.unwrap();
    assert_eq!(content(&paths(&lab).local().disk(vm, &of_kind(4, Features::KINDS[3], 32), None))[3 << 20], 0x33);
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2012_5625_a_new_disk_shows_nothing_of_a_removed_one() {
    let lab = Lab::start("virga-reuse");
    let k = open(&lab).await;
    let vm: VmId = specs::id(0x73);
    for (n, kind) in (1..).zip(Features::KINDS) {
        let old = of_kind(n, kind, 64);
        let path = made(&k, &lab, vm, &old).await;
        io(&path, "write -P 0xaa 0 64M");
        k.disk_remove(vm, None, old.id, None).await.unwrap();
        let new = of_kind(0x20 + n, kind, 64);
        let path = made(&k, &lab, vm, &new).await;
        assert!(content(&path).iter().all(|b| *b == 0), "{kind:?}");
    }
}

/// What a guest writes into a raw disk is never taken for a description of the disk (I3).
#[tokio::test(flavor = "multi_thread")]
async fn a_raw_disk_that_looks_like_something_else_stays_raw() {
    let lab = Lab::start("virga-raw");
    let k = open(&lab).await;
    let vm: VmId = specs::id(0x74);
    let d = of_kind(1, (DiskFormat::Raw, Provisioning::Thin), 16);
    let path = made(&k, &lab, vm, &d).await;
    let mut head = vec![0u8; 512];
    head[..8].copy_from_slice(b"QFI\xfb\0\0\0\x03");
    head[8..16].copy_from_slice(&64u64.to_be_bytes());
    head[16..20].copy_from_slice(&11u32.to_be_bytes());
    head[24..32].copy_from_slice(&(1u64 << 40).to_be_bytes());
    head[64..75].copy_from_slice(b"/etc/passwd");
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().write_all_at(&head, 0).unwrap();
    assert_eq!(k.disks().await.unwrap(), [StoredDisk { id: d.id, vm, layer: None, store: None, size_bytes: 16 * MIB }]);
    let larger = DiskSpec { size_bytes: 24 * MIB, ..d.clone() };
    k.disk_grow(vm, &larger, None, QUIET).await.unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 24 * MIB);
    k.layer_ensure(vm, &larger, specs::id(0x90), None).await.unwrap();
    let layer = paths(&lab).local().disk(vm, &larger, Some(specs::id(0x90)));
    let info = qemu("qemu-img", &["info", "-f", "qcow2", layer.to_str().unwrap()]);
    assert!(info.contains("backing file format: raw"), "{info}");
    assert_eq!(content(&layer)[..75], head[..75]);
}

#[tokio::test(flavor = "multi_thread")]
async fn disks_grow_under_a_guest_as_their_kind_wants() {
    let lab = Lab::start("virga-grow");
    let k = open(&lab).await;
    let mut o = tiny_order(&k, 0x75, "grow").await;
    let kinds = [Features::KINDS[0], Features::KINDS[3], Features::KINDS[4], Features::KINDS[5]];
    o.spec.disks.extend((1..).zip(kinds).map(|(n, kind)| of_kind(n, kind, 16)));
    // One of them gives back what the guest gives back; the other thin one keeps it.
    o.spec.disks[1].discard = Discard::Unmap;
    let vm = o.id;
    make(&k, &o).await;
    k.start(vm).await.unwrap();
    until_agent(&k, vm).await;
    let dev = |n: usize| format!("/dev/vd{}", char::from(b'a' + u8::try_from(n).unwrap()));
    for n in 1..=4 {
        in_guest(&lab, vm, &format!("dd if=/dev/zero bs=1M count=8 | tr '\\000' 'A' | dd of={} bs=1M conv=fsync 2>&1", dev(n))).await;
    }
    for n in 1..=4 {
        o.spec.disks[n].size_bytes = 40 * MIB;
        let change = Change::GrowDisk { disk: o.spec.disks[n].clone() };
        for _ in 0..2 {
            k.change_live(&o, &change).await.unwrap();
        }
        let sectors = in_guest(&lab, vm, &format!("cat /sys/block/vd{}/size", char::from(b'a' + u8::try_from(n).unwrap()))).await;
        assert_eq!(sectors.trim(), (40 * MIB / 512).to_string(), "disk {n}");
        let sum = in_guest(
            &lab,
            vm,
            &format!("dd if={} bs=1M count=8 2>/dev/null | tr -d 'A' | wc -c; dd if={} bs=1M skip=8 2>/dev/null | tr -d '\\000' | wc -c", dev(n), dev(n)),
        )
        .await;
        assert_eq!(sum.split_whitespace().collect::<Vec<_>>(), ["0", "0"], "disk {n}: what was written stays, the rest is zeros");
        let path = paths(&lab).local().disk(vm, &o.spec.disks[n], None);
        let thick = o.spec.disks[n].provisioning != Provisioning::Thin;
        assert_eq!(taken(&path) >= 40 * MIB, thick, "disk {n}: {}", taken(&path));
    }
    k.force_off(vm).await.unwrap();
    k.define(&o).await.unwrap();
    k.start(vm).await.unwrap();
    until_agent(&k, vm).await;
    let sum = in_guest(&lab, vm, "for d in b c d e; do dd if=/dev/vd$d bs=1M count=8 2>/dev/null | tr -d 'A' | wc -c; done").await;
    assert_eq!(sum.split_whitespace().collect::<Vec<_>>(), ["0"; 4]);
    k.force_off(vm).await.unwrap();
    k.undefine(vm).await.unwrap();
}

/// DSK-07, DSK-08: what holds only zeros comes back while the VM is off, and nothing else changes.
#[tokio::test(flavor = "multi_thread")]
async fn space_comes_back_offline_and_the_content_stays() {
    let lab = Lab::start("virga-reclaim");
    let k = open(&lab).await;
    let mut o = specs::order(0x76, "reclaim");
    let vm = o.id;
    for (n, kind) in (1..).zip([Features::KINDS[0], Features::KINDS[3]]) {
        let d = of_kind(n, kind, 64);
        let path = made(&k, &lab, vm, &d).await;
        let layer = specs::id(0x90 + n);
        io(&path, "write -P 0x11 0 32M");
        io(&path, "write -P 0 4M 24M");
        k.layer_ensure(vm, &d, layer, None).await.unwrap();
        let upper = paths(&lab).local().disk(vm, &d, Some(layer));
        io(&upper, "write -P 0x22 30M 8M");
        io(&upper, "write -P 0 32M 4M");
        // Zeros that hide what lies below must stay.
        io(&upper, "write -P 0 1M 1M");
        o.spec.disks = vec![d.clone()];
        let (before, space) = (content(&upper), taken(&path) + taken(&upper));
        let back = k.disk_reclaim(&o, &d, QUIET).await.unwrap();
        assert_eq!(content(&upper), before, "{kind:?}");
        let now = taken(&path) + taken(&upper);
        eprintln!("{} {}: {space} bytes before, {now} after, {back} came back", kind.0, kind.1);
        assert!(back >= 22 * MIB && back == space - now, "{kind:?}: {space} {now} {back}");
        check(&path);
        check(&upper);
        assert!(k.disk_reclaim(&o, &d, QUIET).await.unwrap() < MIB, "{kind:?}: it is done");
    }
    let left: Vec<_> =
        std::fs::read_dir(paths(&lab).vm(vm)).unwrap().map(|e| e.unwrap().file_name()).filter(|n| n.to_string_lossy().contains(".new")).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// with discard the guest agent's trim brings the space of deleted files back while the guest runs.
#[tokio::test(flavor = "multi_thread")]
async fn space_comes_back_online_by_the_guest_agent() {
    let lab = Lab::start("virga-trim");
    let k = open(&lab).await;
    let mut o = tiny_order(&k, 0x77, "trim").await;
    let d = DiskSpec { discard: Discard::Unmap, ..of_kind(1, Features::KINDS[0], 128) };
    o.spec.disks.push(d.clone());
    make(&k, &o).await;
    k.start(o.id).await.unwrap();
    until_agent(&k, o.id).await;
    let said = in_guest(&lab, o.id, "(mkfs.ext4 -q -F /dev/vdb || mke2fs -F /dev/vdb) 2>&1; mkdir -p /mnt/x; mount /dev/vdb /mnt/x 2>&1; dd if=/dev/urandom of=/mnt/x/f bs=1M count=60 2>&1; sync; ls -l /mnt/x").await;
    eprintln!("{said}");
    let full = taken(&paths(&lab).local().disk(o.id, &d, None));
    assert!(full >= 60 * MIB, "{full}: {said}");
    in_guest(&lab, o.id, "rm /mnt/x/f; sync").await;
    let back = k.disk_reclaim(&o, &d, QUIET).await.unwrap();
    let now = taken(&paths(&lab).local().disk(o.id, &d, None));
    eprintln!("{full} bytes before, {now} after, {back} came back");
    assert!(back >= 50 * MIB && now + back == full, "{full} {now} {back}");
    k.force_off(o.id).await.unwrap();
    check(&paths(&lab).local().disk(o.id, &d, None));
    k.undefine(o.id).await.unwrap();
}

/// W-40: every file that only the disk owns is overwritten, what snapshots hold of it, too.
#[tokio::test(flavor = "multi_thread")]
async fn cve_2013_4183_a_secure_removal_overwrites_every_layer() {
    let lab = Lab::start("virga-erase");
    let k = open(&lab).await;
    let vm: VmId = specs::id(0x78);
    for (n, kind) in (1..).zip([Features::KINDS[0], Features::KINDS[5]]) {
        let d = of_kind(n, kind, 16);
        let path = made(&k, &lab, vm, &d).await;
        io(&path, "write -P 0x41 0 8M");
        let layer = specs::id(0x90 + n);
        k.layer_ensure(vm, &d, layer, None).await.unwrap();
        let upper = paths(&lab).local().disk(vm, &d, Some(layer));
        io(&upper, "write -P 0x42 2M 4M");
        for (file, layer, held) in [(&upper, Some(layer), 4 * MIB), (&path, None, 8 * MIB)] {
            let (bytes, left) = k.disk_erase(vm, None, d.id, layer, QUIET).await.unwrap();
            eprintln!("{}: {bytes} bytes overwritten, left: {left:?}", file.display());
            assert!(bytes >= held && !file.exists(), "{bytes}");
            assert_eq!(k.disk_erase(vm, None, d.id, layer, QUIET).await.unwrap(), (0, vec![]), "absent is success");
        }
    }
    assert!(k.disks().await.unwrap().is_empty());
    // A file that a guest has open is not touched.
    let mut o = tiny_order(&k, 0x79, "open").await;
    let d = of_kind(1, Features::KINDS[4], 16);
    o.spec.disks.push(d.clone());
    make(&k, &o).await;
    k.start(o.id).await.unwrap();
    assert!(k.disk_erase(o.id, None, d.id, None, QUIET).await.is_err());
    assert!(paths(&lab).local().disk(o.id, &d, None).exists());
    k.force_off(o.id).await.unwrap();
    k.undefine(o.id).await.unwrap();
}

/// DSK-14: two guests of one host write the same disk, each sees what the other wrote, and it outlives one of them.
#[tokio::test(flavor = "multi_thread")]
async fn two_guests_have_one_shared_disk() {
    let lab = Lab::start("virga-shared");
    let k = open(&lab).await;
    let mode = DiskMode::IndependentPersistent;
    let shared = DiskSpec { sharing: virga_model::disk::Sharing::Shared, mode, ..of_kind(1, Features::KINDS[4], 16) };
    let mut vms = Vec::new();
    for (n, name) in [(0x7a, "one"), (0x7b, "two")] {
        let mut o = tiny_order(&k, n, name).await;
        o.spec.disks.push(shared.clone());
        make(&k, &o).await;
        k.start(o.id).await.unwrap();
        vms.push(o);
    }
    for o in &vms {
        until_agent(&k, o.id).await;
    }
    in_guest(&lab, vms[0].id, "echo written-by-one | dd of=/dev/vdb bs=512 count=1 conv=sync oflag=direct 2>&1; sync").await;
    let seen = in_guest(&lab, vms[1].id, "dd if=/dev/vdb bs=512 count=1 iflag=direct 2>/dev/null | head -c 14").await;
    assert_eq!(seen.trim(), "written-by-one");
    k.force_off(vms[0].id).await.unwrap();
    k.undefine(vms[0].id).await.unwrap();
    k.vm_files_remove(vms[0].id).await.unwrap();
    in_guest(&lab, vms[1].id, "echo written-by-two | dd of=/dev/vdb bs=512 count=1 conv=sync oflag=direct 2>&1; sync").await;
    k.force_off(vms[1].id).await.unwrap();
    let file = paths(&lab).local().disk(vms[1].id, &shared, None);
    assert!(std::fs::read(&file).unwrap().starts_with(b"written-by-two"));
    assert!(k.disks().await.unwrap().iter().any(|d| d.id == shared.id && d.vm == NO_VM));
    k.disk_remove(vms[1].id, None, shared.id, None).await.unwrap();
    assert!(!file.exists());
    k.undefine(vms[1].id).await.unwrap();
}
