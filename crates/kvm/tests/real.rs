//! The host for real: libvirt, QEMU and a small guest, in a lab of its own. Needs root, libvirt, QEMU and the tiny
//! guest (scripts/guest-image.sh).

mod specs;

use sha2::{Digest, Sha256};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use virga_agent::host::*;
use virga_kvm::{Config, Kvm};
use virga_model::change::Change;
use virga_model::cloud_init::CloudInit;
use virga_model::image::ImageFormat;
use virga_model::order::{ImageRef, NetworkRef, VmOrder};
use virga_model::user::ConsoleKind;
use virga_model::vm::*;
use virga_model::{ErrorCode, VmId};
use virga_tests::lab::{Lab, tiny_guest};

use specs::host::{import, in_guest, make, open, state, tiny_order, until, until_agent, until_state};

async fn until_agent_hangs(k: &Kvm, vm: VmId) {
    until("the agent hangs", 30, async || k.guest_info(vm).await.unwrap().agent == AgentState::NotRunning).await;
}

fn iso(marker: u8) -> Vec<u8> {
    let mut b = virga_tests::images::iso_of(1 << 20);
    b[0xf000] = marker;
    b
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_lives_through_everything() {
    let lab = Lab::start("virga-life");
    let k = open(&lab).await;
    let mut o = tiny_order(&k, 0x11, "life-1").await;
    o.spec.cpu = CpuSpec { count: 1, max: 2, cores_per_socket: 0, mode: CpuMode::default() };
    o.spec.memory = MemorySpec { bytes: 256 * specs::MIB, max_bytes: 512 * specs::MIB };
    o.spec.cdroms = vec![CdromSpec { id: specs::id(0xf0), image: None }];
    o.spec.cloud_init = Some(CloudInit { host_name: Some("seeded".into()), ..Default::default() });
    let vm = o.id;
    let digest = make(&k, &o).await;
    assert_eq!(make(&k, &o).await, digest, "defining the same again changes nothing");
    assert_eq!(state(&k, vm).await, VmState::Stopped);

    let mut changes = k.changes();
    changes.mark_unchanged();
    let started = k.start(vm).await.unwrap();
    assert_eq!(started.accelerator, "tcg");
    assert!(started.machine.starts_with("pc-q35-"), "{started:?}");
    assert!(changes.has_changed().unwrap() || tokio::time::timeout(Duration::from_secs(5), changes.changed()).await.is_ok(), "an event");
    assert_eq!(k.start(vm).await.unwrap(), started, "starting twice is success");
    assert_eq!(k.undefine(vm).await.unwrap_err().code, ErrorCode::Conflict);
    assert_eq!(k.guest_info(vm).await.unwrap().agent, AgentState::NotRunning);

    let info = until_agent(&k, vm).await;
    eprintln!("{info:?}");
    assert!(info.ips.iter().any(|i| i.starts_with("192.168.200.")), "{info:?}");
    assert_eq!(info.host_name.as_deref(), Some("seeded"), "the seed was read");
    assert!(info.agent_version.is_some() && info.os.is_some() && info.kernel.is_some());

    consoles(&k, vm).await;
    hot_plug(&lab, &k, &mut o).await;

    let c = k.counters().await.unwrap();
    assert!(c.len() == 1 && c[0].0 == vm && c[0].1.cpu_ns > 0 && c[0].1.memory_bytes > 0 && c[0].1.disk_read_bytes > 0 && c[0].1.net_in_bytes > 0, "{c:?}");

    k.pause(vm).await.unwrap();
    k.pause(vm).await.unwrap();
    assert_eq!(state(&k, vm).await, VmState::Paused);
    k.resume(vm).await.unwrap();
    k.resume(vm).await.unwrap();
    assert_eq!(state(&k, vm).await, VmState::Running);

    in_guest(&lab, vm, "touch /run/awake").await;
    let start = Instant::now();
    k.hibernate(vm).await.unwrap();
    k.hibernate(vm).await.unwrap();
    assert_eq!(state(&k, vm).await, VmState::Hibernated);
    k.start(vm).await.unwrap();
    eprintln!("hibernate and wake: {:.1} s", start.elapsed().as_secs_f32());
    until_agent(&k, vm).await;
    assert_eq!(in_guest(&lab, vm, "ls /run/awake").await.trim(), "/run/awake", "memory survived");

    assert_eq!(k.reboot(vm).await.unwrap(), Asked::ByAgent);
    until("rebooted", 60, async || k.guest_info(vm).await.unwrap().agent != AgentState::Connected).await;
    until_agent(&k, vm).await;
    assert_eq!(in_guest(&lab, vm, "ls /run/awake 2>/dev/null; nproc").await.trim(), "2");

    k.reset(vm).await.unwrap();
    until("reset", 60, async || k.guest_info(vm).await.unwrap().agent != AgentState::Connected).await;
    until_agent(&k, vm).await;

    assert_eq!(k.shutdown(vm).await.unwrap(), Asked::ByAgent);
    until_state(&k, vm, VmState::Stopped, 60).await;
    assert_eq!(k.shutdown(vm).await.unwrap_err().code, ErrorCode::Conflict);
    assert_eq!(k.screenshot(vm).await.unwrap_err().code, ErrorCode::Conflict);
    k.force_off(vm).await.unwrap();

    // Hibernated, then thrown away: the next start is a cold one.
    k.define(&o).await.unwrap();
    k.start(vm).await.unwrap();
    k.hibernate(vm).await.unwrap();
    k.discard_saved(vm).await.unwrap();
    k.discard_saved(vm).await.unwrap();
    assert_eq!(state(&k, vm).await, VmState::Stopped);

    drift(&lab, &k, &o).await;
    k.undefine(vm).await.unwrap();
    k.undefine(vm).await.unwrap();
    assert_eq!(state(&k, vm).await, VmState::Absent);
    assert!(!lab.folder("store/vms").join(vm.to_string()).join("seed.iso").exists());
    assert_eq!(k.image_remove(o.images[0].id).await.unwrap_err().code, ErrorCode::Conflict, "a disk stands on it");
    k.vm_files_remove(vm).await.unwrap();
    assert_eq!(k.disks().await.unwrap(), []);
    k.image_remove(o.images[0].id).await.unwrap();
    for n in &o.networks {
        k.network_remove(n).await.unwrap();
        k.network_remove(n).await.unwrap();
    }
    assert_eq!(lab.virsh_ok(&["list", "--all", "--name"]).trim(), "");
    assert_eq!(lab.virsh_ok(&["net-list", "--all", "--name"]).trim(), "");
}

async fn consoles(k: &Kvm, vm: VmId) {
    let picture = k.screenshot(vm).await.unwrap();
    assert!(picture.starts_with(b"\x89PNG\r\n\x1a\n") && picture.len() > 100, "{}", picture.len());
    let mut screen = k.console(vm, ConsoleKind::Vnc).await.unwrap();
    let mut greeting = [0u8; 12];
    screen.read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"RFB 003.008\n");
    drop(screen);

    let mut serial = k.console(vm, ConsoleKind::Serial).await.unwrap();
    assert_eq!(k.console(vm, ConsoleKind::Serial).await.map(|_| ()).unwrap_err().code, ErrorCode::Conflict, "one reader at a time");
    let mut heard = String::new();
    let mut buffer = [0u8; 4096];
    let answered = async {
        loop {
            serial.write_all(b"echo $((40 + 2))-from-guest\n").await.unwrap();
            while let Ok(n) = tokio::time::timeout(Duration::from_secs(3), serial.read(&mut buffer)).await {
                heard.push_str(&String::from_utf8_lossy(&buffer[..n.unwrap()]));
                if heard.contains("42-from-guest") {
                    return;
                }
            }
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(30), answered).await.is_ok(), "serial console: {heard:?}");
    drop(serial);
    drop(k.console(vm, ConsoleKind::Serial).await.unwrap());
}

async fn hot_plug(lab: &Lab, k: &Kvm, o: &mut VmOrder) {
    let vm = o.id;
    let twice = async |o: &VmOrder, c: Change| {
        let start = Instant::now();
        k.change_live(o, &c).await.unwrap_or_else(|e| panic!("{c:?}: {e:?}"));
        eprintln!("{}: {:.1} s", format!("{c:?}").chars().take(60).collect::<String>(), start.elapsed().as_secs_f32());
        k.change_live(o, &c).await.unwrap_or_else(|e| panic!("again {c:?}: {e:?}"));
    };
    o.spec.cpu.count = 2;
    twice(o, Change::Vcpus { from: 1, to: 2 }).await;
    until("two processors in the guest", 30, async || in_guest(lab, vm, "nproc").await.trim() == "2").await;

    let total = async || in_guest(lab, vm, "awk '/MemTotal/{print $2}' /proc/meminfo").await.trim().parse::<u64>().unwrap();
    let before = total().await;
    o.spec.memory.bytes += 128 * specs::MIB;
    twice(o, Change::Memory { from: 256 * specs::MIB, to: 384 * specs::MIB }).await;
    until("128 MiB more in the guest", 30, async || total().await >= before + 120 * 1024).await;

    for (n, bus) in [(1, DiskBus::Virtio), (2, DiskBus::Scsi), (3, DiskBus::Usb)] {
        let mut d = DiskSpec { size_bytes: 32 << 20, ..specs::disk(n, None, bus, DiskCache::Directsync) };
        k.disk_ensure(vm, &d, None, &|_| ()).await.unwrap();
        twice(o, Change::AttachDisk(d.clone())).await;
        let serial = d.id.0.simple().to_string().split_off(12);
        // The tiny guest has no USB driver.
        if bus != DiskBus::Usb {
            until("disk in the guest", 30, async || in_guest(lab, vm, "cat /sys/block/*/size").await.contains("65536")).await;
        }
        if bus == DiskBus::Virtio {
            assert!(in_guest(lab, vm, "cat /sys/block/vd*/serial").await.contains(&serial));
        }
        d.size_bytes = 64 << 20;
        twice(o, Change::GrowDisk { disk: d.clone() }).await;
        if bus == DiskBus::Virtio {
            until("grown disk in the guest", 30, async || in_guest(lab, vm, "cat /sys/block/*/size").await.contains("131072")).await;
        }
        twice(o, Change::DetachDisk(d.clone())).await;
        k.disk_remove(vm, None, d.id, None).await.unwrap();
    }

    let second = specs::nat(0xc9, "192.168.201.0/24");
    k.network_ensure(&second).await.unwrap();
    o.networks.push(second);
    let nic = specs::nic(9, 0xc9, NicModel::Virtio);
    o.spec.nics.push(nic.clone());
    twice(o, Change::AttachNic(nic.clone())).await;
    until("address on the new NIC", 60, async || k.guest_info(vm).await.unwrap().ips.iter().any(|i| i.starts_with("192.168.201."))).await;
    let down = NicSpec { link_up: false, ..nic.clone() };
    twice(o, Change::UpdateNic { nic: down.clone() }).await;
    assert!(lab.virsh_ok(&["domif-getlink", &vm.to_string(), &nic.mac]).contains("down"));
    let moved = NicSpec { network: specs::id(0xc0), ..nic.clone() };
    twice(o, Change::UpdateNic { nic: moved.clone() }).await;
    assert!(lab.virsh_ok(&["domiflist", &vm.to_string()]).lines().filter(|l| l.contains("virga-vgn000000c0")).count() == 2);
    twice(o, Change::DetachNic(moved)).await;
    o.spec.nics.pop();
    let old = NicSpec { model: NicModel::E1000, ..specs::nic(10, 0xc0, NicModel::E1000) };
    twice(o, Change::AttachNic(old.clone())).await;

    let disc = import(k, &iso(1), 0xa1).await;
    o.images.push(disc.clone());
    let drive = |image| CdromSpec { id: specs::id(0xf0), image };
    twice(o, Change::ChangeMedia(drive(Some(disc.id)))).await;
    let path = lab.folder("store/images").join(format!("{}.iso", disc.id));
    assert!(lab.virsh_ok(&["domblklist", &vm.to_string()]).contains(path.to_str().unwrap()));
    twice(o, Change::ChangeMedia(drive(None))).await;
    assert!(!lab.virsh_ok(&["domblklist", &vm.to_string()]).contains(path.to_str().unwrap()));
}

async fn drift(lab: &Lab, k: &Kvm, o: &VmOrder) {
    let now = async || k.domains().await.unwrap().ours.iter().find(|d| d.id == o.id).unwrap().definition_digest.clone().unwrap();
    let digest = k.define(o).await.unwrap();
    assert_eq!(now().await, digest);
    let xml = lab.virsh_ok(&["dumpxml", "--inactive", &o.id.to_string()]);
    let edited = lab.folder("edited.xml");
    std::fs::write(&edited, xml.replace("<on_reboot>restart</on_reboot>", "<on_reboot>destroy</on_reboot>")).unwrap();
    lab.virsh_ok(&["define", edited.to_str().unwrap()]);
    assert_ne!(now().await, digest, "an edit is seen");
    assert_eq!(k.define(o).await.unwrap(), digest, "and taken back by a new definition");
    let e = k.define(&VmOrder { name: "renamed".into(), generation: 4, ..o.clone() }).await.unwrap();
    assert_ne!(e, digest);
    assert_eq!(lab.virsh_ok(&["domname", &o.id.to_string()]).trim(), "renamed");
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_left_alone_and_libvirtd_may_come_and_go() {
    let lab = Lab::start("virga-down");
    let k = open(&lab).await;
    let xml = lab.folder("stranger.xml");
    let id: VmId = specs::id(0x21);
    let text = format!("<domain type='qemu'><name>web</name><uuid>{id}</uuid><memory>65536</memory><os><type>hvm</type></os></domain>");
    std::fs::write(&xml, text).unwrap();
    lab.virsh_ok(&["define", xml.to_str().unwrap()]);
    let all = k.domains().await.unwrap();
    assert!(all.ours.is_empty() && all.foreign.len() == 1 && all.foreign[0].name == "web" && all.foreign[0].memory_bytes == 64 << 20, "{all:?}");
    for e in [
        k.undefine(id).await.unwrap_err(),
        k.start(id).await.unwrap_err(),
        k.force_off(id).await.unwrap_err(),
        k.define(&specs::order(0x21, "mine")).await.unwrap_err(),
    ] {
        assert_eq!(e.code, ErrorCode::Conflict, "{e:?}");
        assert!(e.message.contains("metadata"), "{e:?}");
    }
    assert_eq!(k.start(specs::id(0x22)).await.unwrap_err().code, ErrorCode::NotFound);

    // A name that is taken gets a piece of the id.
    let mut o = specs::order(0x23, "web");
    o.spec.disks = vec![DiskSpec { size_bytes: 16 << 20, ..specs::disk(0, None, DiskBus::Virtio, DiskCache::None) }];
    make(&k, &o).await;
    assert_eq!(lab.virsh_ok(&["domname", &o.id.to_string()]).trim(), "web-00000023");

    // CPU modes that need KVM are refused in words; nothing is defined.
    let mut h = specs::order(0x24, "host-cpu");
    h.spec.cpu.mode = CpuMode::HostPassthrough;
    assert!(k.define(&h).await.unwrap_err().message.contains("needs KVM"));
    assert_eq!(state(&k, h.id).await, VmState::Absent);

    // host-model is what QEMU can emulate.
    h.spec.cpu.mode = CpuMode::HostModel;
    h.spec.disks.clear();
    k.define(&h).await.unwrap();
    k.start(h.id).await.unwrap();
    k.force_off(h.id).await.unwrap();
    k.undefine(h.id).await.unwrap();

    let facts = k.facts().await.unwrap();
    eprintln!("{}", serde_json::to_string_pretty(&facts).unwrap().lines().filter(|l| l.len() < 200).collect::<Vec<_>>().join("\n"));
    assert!(facts.accelerator == "tcg" && facts.accelerator_why.is_some() && facts.cpu.logical > 0 && facts.memory_bytes > 0 && facts.foreign_vms.len() == 1);
    let (a, b) = (k.host_counters().await.unwrap(), k.monotonic_ms());
    k.sleep_ms(50).await;
    assert!(k.host_counters().await.unwrap().cpu_ns >= a.cpu_ns && k.monotonic_ms() >= b + 50 && k.now().0 > 0);

    k.start(o.id).await.unwrap();
    let mut changes = k.changes();
    changes.mark_unchanged();
    lab.libvirtd_down();
    tokio::time::timeout(Duration::from_secs(10), changes.changed()).await.expect("the lost connection wakes").unwrap();
    let e = k.domains().await.unwrap_err();
    assert_eq!(e.code, ErrorCode::Unavailable, "{e:?}");
    eprintln!("{e}");
    lab.libvirtd_up();
    until("libvirt is back", 20, async || k.domains().await.is_ok()).await;
    assert_eq!(state(&k, o.id).await, VmState::Running, "guests do not mind");

    // A libvirtd that hangs: calls give up, the runtime goes on.
    lab.signal("STOP");
    let start = Instant::now();
    let (a, b) = tokio::join!(k.domains(), k.guest_info(o.id));
    assert!(a.as_ref().is_err_and(|e| e.code == ErrorCode::Unavailable), "{a:?}");
    assert!(b.as_ref().is_err_and(|e| e.code == ErrorCode::Unavailable), "{b:?}");
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    lab.signal("CONT");
    until("libvirt answers again", 30, async || k.domains().await.is_ok()).await;

    // ACPI, with no agent in the guest (there is no operating system): asked, and nothing happens.
    assert_eq!(k.shutdown(o.id).await.unwrap(), Asked::ByAcpi);
    assert_eq!(k.reboot(o.id).await.unwrap(), Asked::ByAcpi);
    k.force_off(o.id).await.unwrap();
    assert_eq!(state(&k, o.id).await, VmState::Stopped);
    k.undefine(o.id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_libvirt_takes_every_golden_definition() {
    let lab = Lab::start("virga-golden");
    let folder = std::path::PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("tests/golden");
    let mut seen = 0;
    for file in std::fs::read_dir(folder).unwrap().flatten() {
        // This machine has no KVM; the schema is the same.
        let xml = std::fs::read_to_string(file.path()).unwrap().replace("<domain type=\"kvm\">", "<domain type=\"qemu\">");
        let copy = lab.folder("golden.xml");
        std::fs::write(&copy, xml).unwrap();
        let done = lab.virsh(&["define", "--validate", copy.to_str().unwrap()]);
        assert!(done.status.success(), "{}: {}", file.path().display(), String::from_utf8_lossy(&done.stderr));
        seen += 1;
        let name = lab.virsh_ok(&["list", "--all", "--name"]);
        lab.virsh_ok(&["undefine", "--nvram", name.trim()]);
    }
    assert!(seen >= 8, "{seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_starts_from_an_image_of_another_hypervisor() {
    let lab = Lab::start("virga-vmdk");
    let k = open(&lab).await;
    let foreign = lab.folder("disk.vmdk");
    let (from, to) = (tiny_guest(), foreign.to_str().unwrap().to_string());
    let made = std::process::Command::new("qemu-img")
        .args(["convert", "-f", "qcow2", "-O", "vmdk", "-o", "subformat=streamOptimized"])
        .arg(&from)
        .arg(&to)
        .status()
        .expect("qemu-img (qemu-utils)");
    assert!(made.success());
    let image = import(&k, &std::fs::read(&foreign).unwrap(), 0xa5).await;
    assert_eq!(image.format, ImageFormat::Vmdk);
    let mut o = tiny_order(&k, 0x51, "foreign").await;
    o.spec.disks[0].image = Some(image.id);
    o.images = vec![image.clone()];
    make(&k, &o).await;
    k.start(o.id).await.unwrap();
    until_agent(&k, o.id).await;
    let domain = lab.virsh_ok(&["dumpxml", &o.id.to_string()]);
    assert!(domain.contains(&format!("images/{}.qcow2", image.id)) && !domain.contains("vmdk"), "{domain}");
    assert_eq!(k.image_remove(image.id).await.unwrap_err().code, ErrorCode::Conflict, "a disk stands on it");
}

#[tokio::test(flavor = "multi_thread")]
async fn images_and_disks_are_kept_whole() {
    let lab = Lab::start("virga-files");
    let k = open(&lab).await;
    let bytes = iso(7);
    let image = import(&k, &bytes, 0xa1).await;
    assert_eq!(k.images(None).await.unwrap(), [image.id]);
    assert_eq!(k.image_partial_bytes(None, &image).await.unwrap(), 0);
    k.image_commit(None, &image).await.unwrap();

    // Broken off, gone on, and wrong.
    let raw =
        ImageRef { id: specs::id(0xa2), format: ImageFormat::Raw, size_bytes: 2048, virtual_bytes: 2048, sha256: hex::encode(Sha256::digest([5u8; 2048])) };
    k.image_write(None, &raw, 0, &[5; 1024]).await.unwrap();
    k.image_write(None, &raw, 0, &[5; 1024]).await.unwrap();
    assert_eq!(k.image_partial_bytes(None, &raw).await.unwrap(), 1024);
    assert_eq!(k.image_write(None, &raw, 1500, &[5; 10]).await.unwrap_err().code, ErrorCode::Conflict);
    assert_eq!(k.image_write(None, &raw, 1024, &[5; 2000]).await.unwrap_err().code, ErrorCode::Conflict);
    k.image_write(None, &raw, 1024, &[6; 1024]).await.unwrap();
    assert!(k.image_commit(None, &raw).await.unwrap_err().message.contains("SHA-256"));
    assert_eq!(k.image_partial_bytes(None, &raw).await.unwrap(), 0, "what is wrong is thrown away");
    k.image_write(None, &raw, 0, &[5; 2048]).await.unwrap();
    k.image_commit(None, &raw).await.unwrap();

    let vm: VmId = specs::id(0x31);
    let mut d = DiskSpec { size_bytes: 1 << 20, ..specs::disk(1, Some(0xa2), DiskBus::Virtio, DiskCache::None) };
    k.disk_ensure(vm, &d, Some(&raw), &|_| ()).await.unwrap();
    let path = lab.folder("store/vms").join(vm.to_string()).join(format!("{}.qcow2", d.id));
    let before = std::fs::read(&path).unwrap();
    k.disk_ensure(vm, &d, Some(&raw), &|_| ()).await.unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), before, "an existing disk is never touched");
    assert_eq!(k.disks().await.unwrap(), [StoredDisk { id: d.id, vm, layer: None, store: None, size_bytes: 1 << 20 }]);
    assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no left-overs");
    d.size_bytes = 2 << 20;
    k.disk_grow(vm, &d, None, &|_| ()).await.unwrap();
    k.disk_grow(vm, &d, None, &|_| ()).await.unwrap();
    assert_eq!(k.disks().await.unwrap()[0].size_bytes, 2 << 20);
    assert_eq!(k.image_remove(raw.id).await.unwrap_err().code, ErrorCode::Conflict);
    let small = DiskSpec { size_bytes: 1024, ..specs::disk(2, Some(0xa2), DiskBus::Virtio, DiskCache::None) };
    assert_eq!(k.disk_ensure(vm, &small, Some(&raw), &|_| ()).await.unwrap_err().code, ErrorCode::Invalid);
    k.disk_remove(vm, None, d.id, None).await.unwrap();
    k.disk_remove(vm, None, d.id, None).await.unwrap();
    k.image_remove(raw.id).await.unwrap();
    k.vm_files_remove(vm).await.unwrap();
    k.vm_files_remove(vm).await.unwrap();
    assert_eq!(k.images(None).await.unwrap(), [image.id]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_whose_agent_hangs_is_asked_by_acpi() {
    let lab = Lab::start("virga-acpi");
    let k = open(&lab).await;
    let o = tiny_order(&k, 0x41, "acpi-1").await;
    let vm = o.id;
    make(&k, &o).await;
    k.start(vm).await.unwrap();
    until_agent(&k, vm).await;
    let hang = r#"{"execute":"guest-exec","arguments":{"path":"/bin/sh","arg":["-c","sleep 1; killall -STOP qemu-ga"]}}"#;
    lab.virsh_ok(&["qemu-agent-command", &vm.to_string(), hang]);
    until_agent_hangs(&k, vm).await;
    let bounded = tokio::time::timeout(Duration::from_secs(30), k.guest_info(vm)).await;
    assert_eq!(bounded.expect("an agent that hangs holds nobody up").unwrap().agent, AgentState::NotRunning);
    let start = Instant::now();
    assert_eq!(k.reboot(vm).await.unwrap(), Asked::ByAcpi);
    eprintln!("asked by ACPI after {:.1} s", start.elapsed().as_secs_f32());
    until_agent(&k, vm).await;
    assert_eq!(state(&k, vm).await, VmState::Running);
    // The agent answers again; the reboot by ACPI that went before must not turn this into another one.
    assert_eq!(k.shutdown(vm).await.unwrap(), Asked::ByAgent);
    until_state(&k, vm, VmState::Stopped, 60).await;

    k.start(vm).await.unwrap();
    until_agent(&k, vm).await;
    lab.virsh_ok(&["qemu-agent-command", &vm.to_string(), hang]);
    until_agent_hangs(&k, vm).await;
    assert_eq!(k.shutdown(vm).await.unwrap(), Asked::ByAcpi);
    until_state(&k, vm, VmState::Stopped, 60).await;
    k.undefine(vm).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn qemu_runs_as_a_user_of_its_own_and_uefi_boots() {
    let lab = Lab::start_as("virga-uefi", "libvirt-qemu", "libvirt-qemu");
    let k = open(&lab).await;
    let mut o = tiny_order(&k, 0x51, "uefi-1").await;
    o.spec.firmware = Firmware::Uefi;
    o.spec.disks[0].bus = DiskBus::Scsi;
    o.spec.cloud_init = Some(CloudInit { host_name: Some("secret".into()), ..Default::default() });
    let vm = o.id;
    make(&k, &o).await;
    let seed = lab.folder("store/vms").join(vm.to_string()).join("seed.iso");
    assert_eq!(std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&seed).unwrap()) & 0o777, 0o600);
    k.start(vm).await.unwrap();
    let mut greeting = [0u8; 12];
    k.console(vm, ConsoleKind::Vnc).await.unwrap().read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"RFB 003.008\n");
    let info = until_agent(&k, vm).await;
    assert_eq!(info.host_name.as_deref(), Some("secret"));
    assert!(in_guest(&lab, vm, "ls -d /sys/firmware/efi").await.contains("efi"));
    assert!(k.facts().await.unwrap().confinement.contains("user of its own"));
    k.hibernate(vm).await.unwrap();
    k.start(vm).await.unwrap();
    until_agent(&k, vm).await;
    k.force_off(vm).await.unwrap();
    k.force_off(vm).await.unwrap();
    // From one definition to the next: files that libvirt gave to QEMU's user come back to us.
    k.define(&o).await.unwrap();
    k.start(vm).await.unwrap();
    k.force_off(vm).await.unwrap();
    k.undefine(vm).await.unwrap();
    let left: Vec<_> = std::fs::read_dir(seed.parent().unwrap()).unwrap().flatten().map(|f| f.file_name()).collect();
    assert_eq!(left.len(), 1, "only the disk: {left:?}");
}

const OVS: &str = r#"
set -e
R=$1
mkdir -p $R/ovs/run $R/ovs/log /run/openvswitch /var/log/openvswitch
# Also libvirtd looks for it there.
mount --bind $R/ovs/run /run/openvswitch
mount --bind $R/ovs/log /var/log/openvswitch
ovsdb-tool create $R/ovs/conf.db /usr/share/openvswitch/vswitch.ovsschema
ovsdb-server $R/ovs/conf.db --remote=punix:/run/openvswitch/db.sock --detach --pidfile --log-file -vconsole:off
ovs-vsctl --no-wait init
ovs-vswitchd --detach --pidfile --log-file -vconsole:off
ip link add up0 type veth peer name up1
ip link set up1 up
"#;

/// Runs in the lab's namespaces, because Open vSwitch and `ip` are local programs.
async fn ovs_inside_the_lab(root: std::path::PathBuf) {
    use virga_model::network::NetworkSpec;
    let k = Kvm::open(Config { libvirt_uri: "qemu:///system".into(), store: root.join("store"), run: root.join("v") }).await.unwrap();
    let lan = |n: u128, vlan| NetworkRef {
        id: specs::id(n),
        name: "lan".into(),
        spec: NetworkSpec::Ovs { bridge: "vg-lan".into(), uplink: Some("up0".into()), vlan },
    };
    let (a, b) = (lan(0xc1, Some(103)), lan(0xc2, None));
    for n in [&a, &b, &a] {
        k.network_ensure(n).await.unwrap();
    }
    let sh = |script: &str| {
        let o = std::process::Command::new("sh").args(["-c", script]).output().unwrap();
        String::from_utf8_lossy(&o.stdout).into_owned() + &String::from_utf8_lossy(&o.stderr)
    };
    assert_eq!(sh("ovs-vsctl list-ports vg-lan").trim(), "up0");
    assert!(sh("ethtool -k up0").contains("tx-checksumming: off"));
    assert!(sh("ip link show vg-lan").contains(",UP"));
    let facts = k.facts().await.unwrap();
    assert!(facts.ovs && facts.versions.contains_key("ovs"), "{:?}", facts.versions);
    assert_eq!(facts.networks, [a.id, b.id]);

    let mut o = specs::order(0x61, "tagged");
    o.spec.disks.clear();
    o.spec.nics = vec![specs::nic(1, 0xc1, NicModel::Virtio)];
    o.networks = vec![a.clone(), b.clone()];
    k.define(&o).await.unwrap();
    k.start(o.id).await.unwrap();
    assert_eq!(sh("ovs-vsctl get Port vg00000e01 tag").trim(), "103");
    // To the untagged network, while it runs.
    let moved = NicSpec { network: b.id, ..o.spec.nics[0].clone() };
    k.change_live(&o, &Change::UpdateNic { nic: moved }).await.unwrap();
    assert_eq!(sh("ovs-vsctl get Port vg00000e01 tag").trim(), "[]");
    k.force_off(o.id).await.unwrap();
    k.undefine(o.id).await.unwrap();

    // Taking an interface with the host's address would cut the host off.
    sh("ip link add up2 type veth peer name up3; ip addr add 192.0.2.9/24 dev up2");
    let mut bad = lan(0xc3, None);
    bad.spec = NetworkSpec::Ovs { bridge: "vg-two".into(), uplink: Some("up2".into()), vlan: None };
    assert_eq!(k.network_ensure(&bad).await.unwrap_err().code, ErrorCode::Conflict);
    k.network_remove(&bad).await.unwrap();
    bad.spec = NetworkSpec::Ovs { bridge: "vg-two".into(), uplink: Some("nope".into()), vlan: None };
    assert!(k.network_ensure(&bad).await.unwrap_err().message.contains("nope"));
    k.network_remove(&bad).await.unwrap();

    // A port of somebody else keeps the bridge.
    sh("ovs-vsctl add-port vg-lan other -- set Interface other type=internal");
    k.network_remove(&a).await.unwrap();
    assert!(sh("ovs-vsctl list-ports vg-lan").contains("up0"), "b still uses it");
    k.network_remove(&b).await.unwrap();
    assert_eq!(sh("ovs-vsctl list-ports vg-lan").trim(), "other");
    sh("ovs-vsctl del-port other");
    k.network_ensure(&b).await.unwrap();
    k.network_remove(&b).await.unwrap();
    k.network_remove(&b).await.unwrap();
    assert_eq!(sh("ovs-vsctl list-br").trim(), "");
}

/// Starts itself anew inside the lab, where it does the work.
#[test]
fn an_ovs_bridge_comes_and_goes() {
    if let Some(root) = std::env::var_os("LAB_FOLDER") {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        return runtime.block_on(ovs_inside_the_lab(root.into()));
    }
    let lab = Lab::start("virga-ovs");
    let up = lab.inside("sh").args(["-c", OVS, "ovs"]).arg(lab.path()).output().unwrap();
    assert!(up.status.success(), "{}", String::from_utf8_lossy(&up.stderr));
    let done = lab
        .inside(std::env::current_exe().unwrap())
        .args(["--exact", "an_ovs_bridge_comes_and_goes", "--nocapture"])
        .env("LAB_FOLDER", lab.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && text.contains("1 passed"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_lives_on_a_shared_data_store() {
    use virga_model::data_store::{Backing, DataStoreSpec};
    use virga_model::layer::{Layer, Merge};
    let lab = Lab::start("virga-shared");
    let k = open(&lab).await;
    let folder = lab.folder("shared");
    std::fs::create_dir(&folder).unwrap();
    let gold = virga_model::order::StoreRef {
        id: specs::id(0x70),
        name: "gold".into(),
        spec: DataStoreSpec::SharedDirectory { path: folder.to_str().unwrap().into(), backing: Backing::Nas },
    };
    k.store_ensure(&gold).await.unwrap();
    assert!(k.store_look(gold.id).await.reachable());
    let bytes = std::fs::read(tiny_guest()).unwrap();
    let mut o = tiny_order(&k, 0x71, "shared-1").await;
    let image = o.images[0].clone();
    for (i, piece) in bytes.chunks(4 << 20).enumerate() {
        k.image_write(Some(gold.id), &image, (i as u64) * (4 << 20), piece).await.unwrap();
    }
    k.image_commit(Some(gold.id), &image).await.unwrap();
    o.spec.disks[0].store = Some(gold.id);
    o.stores = vec![gold.clone()];
    let vm = o.id;
    make(&k, &o).await;
    k.start(vm).await.unwrap();
    until_agent(&k, vm).await;
    let used = lab.virsh_ok(&["domblklist", &vm.to_string()]);
    assert!(used.contains(folder.join("vms").to_str().unwrap()), "{used}");
    in_guest(&lab, vm, "echo before > /mark; sync").await;

    // A layer put on top and merged again while the guest runs.
    let layer = Layer { id: specs::id(0x90), parent: None, consistent: false, memory: None };
    o.spec.layers.list.push(layer);
    o.spec.layers.top = Some(layer.id);
    k.layer_ensure(vm, &o.spec.disks[0], layer.id, None).await.unwrap();
    k.change_live(&o, &Change::TakeLayer(layer)).await.unwrap();
    in_guest(&lab, vm, "echo after >> /mark; sync").await;
    assert!(k.disks().await.unwrap().iter().any(|d| d.layer == Some(layer.id) && d.store == Some(gold.id)));
    o.spec.layers.list.clear();
    o.spec.layers.top = None;
    let merge = Merge { from: layer.id, into: None };
    o.spec.layers.merges.push(merge);
    k.merge(&o, o.spec.disks[0].id, merge, &|_| {}).await.unwrap();
    assert_eq!(in_guest(&lab, vm, "cat /mark").await, "before\nafter\n");
    assert_eq!(k.disks().await.unwrap().len(), 1);
    k.force_off(vm).await.unwrap();
    k.undefine(vm).await.unwrap();
    k.vm_files_remove(vm).await.unwrap();
    k.store_remove(&gold).await.unwrap();
    assert!(std::fs::read_dir(&folder).unwrap().next().is_none());
}
