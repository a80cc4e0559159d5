//! Specifications for tests.
#![allow(dead_code)]

pub mod host;

use uuid::Uuid;
use virga_kvm::domain_xml::HostView;
use virga_kvm::paths::Paths;
use virga_model::cloud_init::CloudInit;
use virga_model::disk::{Discard, DiskFormat, Provisioning, Sharing};
use virga_model::image::ImageFormat;
use virga_model::network::NetworkSpec;
use virga_model::order::{ImageRef, NetworkRef, VmOrder};
use virga_model::vm::*;
use virga_model::{DiskId, ImageId, NetworkId, NicId, VmId};

pub const MIB: u64 = 1 << 20;

/// The same id for the same number.
pub fn id<T: From<Uuid>>(n: u128) -> T {
    T::from(Uuid::from_u128(0x0198_0000_0000_7000_8000_0000_0000_0000 | n))
}

pub fn disk(n: u128, image: Option<u128>, bus: DiskBus, cache: DiskCache) -> DiskSpec {
    DiskSpec {
        id: id::<DiskId>(0xd00 + n),
        size_bytes: 1 << 30,
        image: image.map(id),
        bus,
        cache,
        mode: Default::default(),
        limits: Default::default(),
        origin: None,
        copy_of: None,
        provisioning: Default::default(),
        format: Default::default(),
        discard: Default::default(),
        sharing: Default::default(),
        store: None,
    }
}

pub fn nic(n: u128, network: u128, model: NicModel) -> NicSpec {
    let nic: NicId = id(0xe00 + n);
    NicSpec { id: nic, network: id(network), model, mac: mac_for(nic), link_up: true }
}

pub fn image(n: u128, format: ImageFormat) -> ImageRef {
    ImageRef { id: id::<ImageId>(n), format, size_bytes: 0, virtual_bytes: 64 * MIB, sha256: String::new() }
}

pub fn nat(n: u128, cidr: &str) -> NetworkRef {
    NetworkRef { id: id::<NetworkId>(n), name: format!("net-{n}"), spec: NetworkSpec::Nat { cidr: cidr.into() } }
}

pub fn order(n: u128, name: &str) -> VmOrder {
    let spec = VmSpec {
        cpu: CpuSpec { count: 1, max: 1, cores_per_socket: 0, mode: CpuMode::default() },
        memory: MemorySpec { bytes: 256 * MIB, max_bytes: 256 * MIB },
        firmware: Firmware::Bios,
        machine: String::new(),
        boot: vec![BootDevice::Disk, BootDevice::Cdrom, BootDevice::Network],
        disks: vec![disk(0, Some(0xa0), DiskBus::Virtio, DiskCache::Directsync)],
        nics: vec![],
        cdroms: vec![],
        cloud_init: None,
        layers: Default::default(),
        template: false,
        detached: Vec::new(),
        disk_work: Default::default(),
        export: None,
    };
    VmOrder {
        id: id::<VmId>(n),
        name: name.into(),
        generation: 3,
        spec,
        desired: Desired::Running,
        stop_mode: StopMode::Force,
        keep_disks: vec![],
        keep_layers: vec![],
        former_spec: None,
        stores: vec![],
        keep_memories: vec![],
        images: vec![image(0xa0, ImageFormat::Qcow2), image(0xa1, ImageFormat::Iso), image(0xa2, ImageFormat::Raw)],
        networks: vec![nat(0xc0, "192.168.200.0/24")],
    }
}

pub fn host(name: &str) -> HostView {
    HostView {
        paths: Paths::new("/var/lib/virga/store", "/run/virga"),
        kvm: false,
        domain_name: name.into(),
        machine: "pc-q35-7.2".into(),
        uefi: Some(("/usr/share/OVMF/OVMF_CODE_4M.fd".into(), "/usr/share/OVMF/OVMF_VARS_4M.fd".into())),
        address_bits: 46,
        pending: vec![],
        below: Default::default(),
    }
}

/// Name, order and host of every golden file.
pub fn all() -> Vec<(&'static str, VmOrder, HostView)> {
    let mut out = vec![("minimal-bios", order(1, "web-1"), host("web-1"))];

    let mut o = order(2, "mix");
    o.spec.firmware = Firmware::Uefi;
    o.spec.boot = vec![BootDevice::Cdrom, BootDevice::Disk];
    o.spec.disks = vec![
        disk(0, Some(0xa0), DiskBus::Virtio, DiskCache::None),
        disk(1, Some(0xa2), DiskBus::Scsi, DiskCache::Writeback),
        disk(2, None, DiskBus::Usb, DiskCache::Writethrough),
        disk(3, None, DiskBus::Ide, DiskCache::Directsync),
        disk(4, None, DiskBus::Scsi, DiskCache::Directsync),
    ];
    o.spec.cdroms = vec![CdromSpec { id: id(0xf0), image: Some(id(0xa1)) }, CdromSpec { id: id(0xf1), image: None }];
    o.spec.nics = vec![nic(0, 0xc0, NicModel::Virtio), nic(1, 0xc0, NicModel::E1000), nic(2, 0xc0, NicModel::Rtl8139)];
    o.spec.cpu.mode = CpuMode::Custom { model: "Westmere".into() };
    out.push(("uefi-device-mix", o, host("mix")));

    // Every kind of disk; the second has been frozen once, the third is a copy of its image.
    let mut o = order(9, "kinds");
    o.spec.disks = [DiskFormat::Qcow2, DiskFormat::Raw, DiskFormat::Qcow2, DiskFormat::Raw, DiskFormat::Qcow2, DiskFormat::Raw]
        .into_iter()
        .zip([Provisioning::Thin, Provisioning::Thin, Provisioning::ThickLazy, Provisioning::ThickLazy, Provisioning::ThickEager, Provisioning::ThickEager])
        .zip(0..)
        .map(|((format, provisioning), n)| {
            let discard = if provisioning == Provisioning::Thin { Discard::Unmap } else { Discard::Off };
            let mode = if n < 2 { DiskMode::Dependent } else { DiskMode::IndependentPersistent };
            DiskSpec { format, provisioning, discard, mode, ..disk(n, (n == 2).then_some(0xa0), DiskBus::Virtio, DiskCache::None) }
        })
        .collect();
    // One that several VMs are bound to.
    o.spec.disks.push(DiskSpec { sharing: Sharing::Shared, id: id(0xd10), ..o.spec.disks[3].clone() });
    o.spec.layers.since.insert(id(0xd00), id(0xe0));
    o.spec.layers.take(id(0xe0), false, id(0xe1));
    out.push(("disk-kinds", o, host("kinds")));

    let mut o = order(3, "grows");
    o.spec.cpu = CpuSpec { count: 1, max: 4, cores_per_socket: 2, mode: CpuMode::default() };
    o.spec.memory = MemorySpec { bytes: 256 * MIB, max_bytes: 2048 * MIB };
    out.push(("hot-plug-room", o, host("grows")));

    let mut o = order(4, "tagged");
    o.networks =
        vec![NetworkRef { id: id(0xc1), name: "lan".into(), spec: NetworkSpec::Ovs { bridge: "vg-lan".into(), uplink: Some("eth1".into()), vlan: Some(103) } }];
    o.spec.nics = vec![nic(0, 0xc1, NicModel::Virtio), NicSpec { link_up: false, ..nic(1, 0xc1, NicModel::Virtio) }];
    out.push(("ovs-vlan", o, host("tagged")));

    let mut o = order(5, "first-boot");
    o.spec.cloud_init = Some(CloudInit { user_data: Some("#cloud-config\npassword: never-in-xml\n".into()), ..Default::default() });
    o.spec.nics = vec![nic(0, 0xc0, NicModel::Virtio)];
    out.push(("cloud-init", o.clone(), host("first-boot")));
    o.spec.disks[0].bus = DiskBus::Ide;
    out.push(("cloud-init-ide", o, host("first-boot")));

    let mut o = order(6, "</name><x y=\"1\">&amp;'");
    o.spec.machine = "pc-i440fx-7.2".into();
    o.spec.disks = vec![disk(0, Some(0xa0), DiskBus::Ide, DiskCache::Writeback)];
    o.spec.cdroms = vec![CdromSpec { id: id(0xf0), image: None }];
    let h = HostView { machine: "pc-i440fx-7.2".into(), paths: Paths::new("/srv/a & b's <store>", "/run/virga"), ..host("vm-00000006") };
    out.push(("hostile-i440fx", o, h));

    let mut o = order(7, "largest");
    o.spec.cpu = CpuSpec { count: 255, max: 255, cores_per_socket: 0, mode: CpuMode::default() };
    o.spec.memory = MemorySpec { bytes: 4 << 40, max_bytes: 4 << 40 };
    o.spec.disks = (0..16).map(|n| disk(n, None, DiskBus::Virtio, DiskCache::None)).collect();
    o.spec.nics = (0..16).map(|n| nic(n, 0xc0, NicModel::Virtio)).collect();
    out.push(("largest", o, host("largest")));

    let mut o = order(8, "real-kvm");
    o.spec.cpu.mode = CpuMode::HostPassthrough;
    out.push(("kvm-host-passthrough", o, HostView { kvm: true, ..host("real-kvm") }));
    out
}
