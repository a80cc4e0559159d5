//! A VM's specification as a libvirt domain.

use crate::clone::Link;
use crate::paths::{Paths, disk_format, text};
use crate::xml::El;
use std::collections::BTreeMap;
use std::path::PathBuf;
use virga_model::cloud_init::CloudInit;
use virga_model::disk::{Discard, DiskLimits, Sharing};
use virga_model::image::ImageFormat;
use virga_model::network::{NetworkSpec, nat_bridge_name};
use virga_model::order::{NetworkRef, VmOrder};
use virga_model::vm::{BootDevice, CdromSpec, CpuMode, DiskBus, DiskCache, DiskSpec, Firmware, NicModel, NicSpec, VmSpec};
use virga_model::{DiskId, Error, ImageId, LayerId, NetworkId, NicId};

/// Namespace of our metadata in a domain.
pub const NAMESPACE: &str = "https://virga.dev/xmlns/vm/1";
/// Root ports that stay free for devices plugged into the running guest.
const FREE_PORTS: usize = 16;
/// Memory modules that can be hot-added.
const MEMORY_SLOTS: u32 = 16;
/// SCSI address of the seed, above all disks.
const SEED_SCSI_TARGET: usize = 64;
/// Memory above which the guest needs wider physical addresses than QEMU's 40 bits.
const WIDE_ADDRESSES_ABOVE: u64 = 512 << 30;

/// What the host adds to a specification.
#[derive(Clone, Debug)]
pub struct HostView {
    /// Folders.
    pub paths: Paths,
    /// KVM works here.
    pub kvm: bool,
    /// Name of the libvirt domain.
    pub domain_name: String,
    /// Machine type, never an alias.
    pub machine: String,
    /// UEFI code and the template of its variables, when the VM starts by UEFI.
    pub uefi: Option<(PathBuf, PathBuf)>,
    /// Physical address bits of the host's processors.
    pub address_bits: u32,
    /// Files of layers that wait to be merged and still hold something.
    pub pending: Vec<(DiskId, LayerId)>,
    /// For each disk that stands on another VM's: the files below its base.
    pub below: BTreeMap<DiskId, Vec<Link>>,
}

/// The two chipsets there are; they differ in the bus of optical drives and in hot plug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chipset {
    /// PCI Express, SATA.
    Q35,
    /// PCI, IDE.
    I440fx,
}

impl Chipset {
    /// The chipset of a machine type.
    ///
    /// # Errors
    /// `Invalid` for machine types other than q35 and i440fx.
    pub fn of(machine: &str) -> Result<Chipset, Error> {
        match machine {
            "q35" => Ok(Chipset::Q35),
            "pc" => Ok(Chipset::I440fx),
            m if m.starts_with("pc-q35-") => Ok(Chipset::Q35),
            m if m.starts_with("pc-i440fx-") => Ok(Chipset::I440fx),
            m => Err(Error::invalid("machine", format!("\"{m}\" is neither a pc-q35 nor a pc-i440fx machine type"))),
        }
    }
}

/// The whole domain.
///
/// # Errors
/// `Invalid` when the specification cannot be a domain on this host; it names the field.
pub fn domain(order: &VmOrder, host: &HostView) -> Result<El, Error> {
    let spec = &order.spec;
    let chipset = Chipset::of(&host.machine)?;
    Ok(El::new("domain")
        .attr("type", if host.kvm { "kvm" } else { "qemu" })
        .child(El::new("name").text(&host.domain_name))
        .child(El::new("uuid").text(order.id))
        .child(El::new("title").text(&order.name))
        .child(metadata(order))
        .all(memory(spec))
        .child(vcpu(spec))
        .child(os(order, host)?)
        .child(El::new("features").child(El::new("acpi")).child(El::new("apic")))
        .child(cpu(spec, host)?)
        .child(clock(host))
        .child(El::new("on_poweroff").text("destroy"))
        .child(El::new("on_reboot").text("restart"))
        .child(El::new("on_crash").text("destroy"))
        .child(El::new("pm").child(El::new("suspend-to-mem").attr("enabled", "no")).child(El::new("suspend-to-disk").attr("enabled", "no")))
        .child(devices(order, host, chipset)?))
}

fn metadata(order: &VmOrder) -> El {
    El::new("metadata").child(El::new("virga:vm").attr("xmlns:virga", NAMESPACE).attr("generation", order.generation).attr("name", &order.name))
}

fn kib(bytes: u64) -> u64 {
    bytes / 1024
}

fn has_memory_room(spec: &VmSpec) -> bool {
    spec.memory.max_bytes > spec.memory.bytes
}

fn memory(spec: &VmSpec) -> Vec<El> {
    let mut out = Vec::new();
    if has_memory_room(spec) {
        out.push(El::new("maxMemory").attr("slots", MEMORY_SLOTS).attr("unit", "KiB").text(kib(spec.memory.max_bytes)));
    }
    out.push(El::new("memory").attr("unit", "KiB").text(kib(spec.memory.bytes)));
    out.push(El::new("currentMemory").attr("unit", "KiB").text(kib(spec.memory.bytes)));
    out
}

fn vcpus_max(spec: &VmSpec) -> u32 {
    spec.cpu.max.max(spec.cpu.count)
}

fn vcpu(spec: &VmSpec) -> El {
    let e = El::new("vcpu").attr("placement", "static");
    let e = if vcpus_max(spec) > spec.cpu.count { e.attr("current", spec.cpu.count) } else { e };
    e.text(vcpus_max(spec))
}

fn os(order: &VmOrder, host: &HostView) -> Result<El, Error> {
    let mut os = El::new("os").child(El::new("type").attr("arch", "x86_64").attr("machine", &host.machine).text("hvm"));
    if order.spec.firmware == Firmware::Uefi {
        let Some((code, template)) = &host.uefi else {
            return Err(Error::host("This VM starts by UEFI, but the host has no UEFI firmware (OVMF).").with_hint("Install the package ovmf on the host."));
        };
        os = os
            .child(El::new("loader").attr("readonly", "yes").attr("type", "pflash").text(text(code)?))
            .child(El::new("nvram").attr("template", text(template)?).text(text(&host.paths.nvram(order.id))?));
    }
    Ok(os)
}

fn cpu(spec: &VmSpec, host: &HostView) -> Result<El, Error> {
    let max = vcpus_max(spec);
    let cores = if spec.cpu.cores_per_socket == 0 { max } else { spec.cpu.cores_per_socket };
    let sockets = max.checked_div(cores).unwrap_or(1).max(1);
    // The guest's processors are numbered in fields of whole bits; without an IOMMU numbers end at 254.
    let last_number = u64::from(sockets - 1) * u64::from(cores).next_power_of_two() + u64::from(cores.max(1) - 1);
    if last_number > 254 {
        return Err(Error::invalid(
            "cpu.cores_per_socket",
            format!("{sockets} sockets of {cores} cores need processor numbers above 254; use a power of two or 0"),
        ));
    }
    let mut e = match &spec.cpu.mode {
        CpuMode::Custom { model } => {
            El::new("cpu").attr("mode", "custom").attr("match", "exact").attr("check", "none").child(El::new("model").attr("fallback", "forbid").text(model))
        }
        CpuMode::HostPassthrough if !host.kvm => return Err(needs_kvm("host-passthrough")),
        // Also where guests are emulated: then libvirt takes the nearest model to what QEMU can emulate.
        CpuMode::HostModel => El::new("cpu").attr("mode", "host-model").attr("check", "partial"),
        CpuMode::HostPassthrough => El::new("cpu").attr("mode", "host-passthrough").attr("check", "none").attr("migratable", "on"),
    };
    e = e.child(El::new("topology").attr("sockets", sockets).attr("dies", 1).attr("cores", cores).attr("threads", 1));
    if spec.memory.max_bytes.max(spec.memory.bytes) > WIDE_ADDRESSES_ABOVE {
        // libvirt takes no more than the host has, also where the guest is emulated.
        let bits = host.address_bits.clamp(36, 48);
        e = e.child(El::new("maxphysaddr").attr("mode", "emulate").attr("bits", bits));
    }
    if has_memory_room(spec) {
        let cpus = if max == 1 { "0".to_string() } else { format!("0-{}", max - 1) };
        let cell = El::new("cell").attr("id", 0).attr("cpus", cpus).attr("memory", kib(spec.memory.bytes)).attr("unit", "KiB");
        e = e.child(El::new("numa").child(cell));
    }
    Ok(e)
}

fn needs_kvm(mode: &str) -> Error {
    Error::new(virga_model::ErrorCode::HostFailed, format!("The CPU mode {mode} needs KVM, and this host only emulates."))
        .with_hint("Use a named CPU model (the default is qemu64), or place the VM on a host with KVM.")
}

fn clock(host: &HostView) -> El {
    let timer = |name: &str| El::new("timer").attr("name", name);
    let mut e = El::new("clock").attr("offset", "utc").child(timer("rtc").attr("tickpolicy", "catchup"));
    if host.kvm {
        e = e.child(timer("pit").attr("tickpolicy", "delay")).child(timer("kvmclock").attr("present", "yes"));
    }
    e.child(timer("hpet").attr("present", "no"))
}

/// Gives out the guest's device names and addresses.
struct Slots {
    /// Next of `vda`, `vdb`, …
    virtio: usize,
    /// Next of `sda`, `sdb`, … (SCSI, SATA and USB share them).
    other: usize,
    /// Next of `hda`, `hdb`, … and next port of the SATA controller.
    drive: usize,
    /// Next SCSI target.
    scsi: usize,
    /// Next place in the boot order.
    boot: usize,
}

fn devices(order: &VmOrder, host: &HostView, chipset: Chipset) -> Result<El, Error> {
    let spec = &order.spec;
    let mut out = El::new("devices");
    let mut slots = Slots { virtio: 0, other: 0, drive: 0, scsi: 0, boot: 1 };
    let mut disks = Vec::new();
    for d in &spec.disks {
        let place = place_disk(d.bus, chipset, &mut slots);
        let below = host.below.get(&d.id).map(Vec::as_slice).unwrap_or_default();
        disks.push(disk(order, &host.paths, (&host.pending, below), d, &place)?);
    }
    let mut cdroms = Vec::new();
    for c in &spec.cdroms {
        cdroms.push(cdrom(order, &host.paths, c, &place_drive(chipset, &mut slots))?);
    }
    let mut nics = spec.nics.iter().map(|n| nic(order, n)).collect::<Result<Vec<_>, _>>()?;
    for kind in &spec.boot {
        let group = match kind {
            BootDevice::Disk => &mut disks,
            BootDevice::Cdrom => &mut cdroms,
            BootDevice::Network => &mut nics,
        };
        for e in group {
            // After the source, where libvirt itself puts it.
            e.children.push(El::new("boot").attr("order", slots.boot));
            slots.boot += 1;
        }
    }
    out = out.all(disks).all(cdroms);
    if let Some(ci) = &spec.cloud_init {
        out = out.child(seed(order, &host.paths, ci, chipset, &mut slots)?);
    }
    out = out.all(controllers(spec, chipset)).all(nics);
    out = out
        .child(El::new("serial").attr("type", "pty").child(El::new("target").attr("type", "isa-serial").attr("port", 0)))
        .child(El::new("console").attr("type", "pty").child(El::new("target").attr("type", "serial").attr("port", 0)))
        .child(El::new("channel").attr("type", "unix").child(El::new("target").attr("type", "virtio").attr("name", "org.qemu.guest_agent.0")))
        .child(El::new("input").attr("type", "tablet").attr("bus", "usb"))
        .child(El::new("graphics").attr("type", "vnc").child(El::new("listen").attr("type", "socket").attr("socket", text(&host.paths.vnc(order.id)?)?)))
        .child(El::new("video").child(El::new("model").attr("type", "vga").attr("vram", 16384).attr("heads", 1).attr("primary", "yes")))
        .child(El::new("memballoon").attr("model", "virtio").child(El::new("stats").attr("period", 5)))
        .child(El::new("rng").attr("model", "virtio").child(El::new("backend").attr("model", "random").text("/dev/urandom")))
        .child(El::new("panic").attr("model", "isa"));
    Ok(out)
}

fn controllers(spec: &VmSpec, chipset: Chipset) -> Vec<El> {
    let c = |kind: &str, index: usize, model: &str| El::new("controller").attr("type", kind).attr("index", index).attr("model", model);
    let mut out =
        vec![c("scsi", 0, "virtio-scsi"), c("usb", 0, "qemu-xhci").attr("ports", 15), El::new("controller").attr("type", "virtio-serial").attr("index", 0)];
    match chipset {
        Chipset::Q35 => {
            out.push(El::new("controller").attr("type", "sata").attr("index", 0));
            out.push(c("pci", 0, "pcie-root"));
            // SCSI, USB, serial, RNG, balloon and the bridge, each in a port of its own.
            let fixed = 6 + spec.disks.iter().filter(|d| d.bus == DiskBus::Virtio).count() + spec.nics.len();
            let ports = fixed + FREE_PORTS;
            out.extend((1..=ports).map(|i| c("pci", i, "pcie-root-port")));
            // For plain PCI NICs (e1000, rtl8139), also hot-plugged ones.
            out.push(c("pci", ports + 1, "pcie-to-pci-bridge"));
        }
        Chipset::I440fx => {
            out.push(c("pci", 0, "pci-root"));
            out.push(El::new("controller").attr("type", "ide").attr("index", 0));
        }
    }
    out
}

/// Where a disk stands in the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// libvirt's bus.
    pub bus: &'static str,
    /// Name of the target, e.g. `vda`.
    pub dev: String,
    /// Controller, bus, target and unit, on buses that have them.
    pub drive: Option<[usize; 4]>,
}

/// `vda` … `vdz`, `vdaa` … for 0, 1, …
#[must_use]
pub fn device_name(prefix: &str, index: usize) -> String {
    let mut letters = Vec::new();
    let mut n = index + 1;
    while n > 0 {
        n -= 1;
        letters.push(b'a' + u8::try_from(n % 26).unwrap_or(0));
        n /= 26;
    }
    letters.reverse();
    format!("{prefix}{}", String::from_utf8_lossy(&letters))
}

fn take(counter: &mut usize) -> usize {
    *counter += 1;
    *counter - 1
}

fn place_disk(bus: DiskBus, chipset: Chipset, slots: &mut Slots) -> Place {
    match bus {
        DiskBus::Virtio => Place { bus: "virtio", dev: device_name("vd", take(&mut slots.virtio)), drive: None },
        DiskBus::Scsi => scsi_place(&device_name("sd", take(&mut slots.other)), take(&mut slots.scsi)),
        DiskBus::Usb => Place { bus: "usb", dev: device_name("sd", take(&mut slots.other)), drive: None },
        DiskBus::Ide => place_drive(chipset, slots),
    }
}

/// A place on the virtio-scsi controller.
#[must_use]
pub fn scsi_place(dev: &str, target: usize) -> Place {
    Place { bus: "scsi", dev: dev.to_string(), drive: Some([0, 0, target, 0]) }
}

fn place_drive(chipset: Chipset, slots: &mut Slots) -> Place {
    let n = take(&mut slots.drive);
    match chipset {
        Chipset::Q35 => Place { bus: "sata", dev: device_name("sd", take(&mut slots.other)), drive: Some([0, 0, 0, n]) },
        Chipset::I440fx => Place { bus: "ide", dev: device_name("hd", n), drive: Some([0, n / 2, 0, n % 2]) },
    }
}

fn alias(id: impl std::fmt::Display) -> El {
    El::new("alias").attr("name", alias_name(id))
}

/// The name by which libvirt and QEMU know a device of ours.
#[must_use]
pub fn alias_name(id: impl std::fmt::Display) -> String {
    format!("ua-{id}")
}

fn placed(e: El, place: &Place, id: DiskId) -> El {
    let e = e.child(alias(id));
    match place.drive {
        None => e,
        Some([controller, bus, target, unit]) => {
            e.child(El::new("address").attr("type", "drive").attr("controller", controller).attr("bus", bus).attr("target", target).attr("unit", unit))
        }
    }
}

/// Whether a cache mode bypasses the host's page cache (O_DIRECT).
#[must_use]
pub fn is_direct(cache: DiskCache) -> bool {
    matches!(cache, DiskCache::None | DiskCache::Directsync)
}

/// A disk. `files`: those of layers that wait to be merged, and those below its base, where it stands on another VM's.
///
/// # Errors
/// `Invalid` when the order does not describe the disk's image.
pub fn disk(order: &VmOrder, paths: &Paths, files: (&[(DiskId, LayerId)], &[Link]), d: &DiskSpec, place: &Place) -> Result<El, Error> {
    let (pending, below) = files;
    let cache = match d.cache {
        DiskCache::None => "none",
        DiskCache::Directsync => "directsync",
        DiskCache::Writeback => "writeback",
        DiskCache::Writethrough => "writethrough",
    };
    // The whole chain is written down, so that nothing is ever probed.
    let mut chain = order.spec.disk_files(d, |l| pending.contains(&(d.id, l)));
    let root = paths.root(d.store)?;
    let file = root.disk(order.id, d, chain.pop().flatten());
    let driver = El::new("driver")
        .attr("name", "qemu")
        .attr("type", disk_format(&file))
        .attr("cache", cache)
        .attr("error_policy", "stop")
        .attr("io", if is_direct(d.cache) { "native" } else { "threads" })
        .attr("discard", if d.discard == Discard::Unmap { "unmap" } else { "ignore" });
    let mut backing = match d.stands_on() {
        None => El::new("backingStore"),
        Some(image) => {
            let format = image_format(order, image)?;
            El::new("backingStore")
                .attr("type", "file")
                .child(El::new("format").attr("type", qemu_format(format)))
                .child(El::new("source").attr("file", text(&root.image(image, format))?))
                .child(El::new("backingStore"))
        }
    };
    for link in below.iter().rev() {
        backing = El::new("backingStore")
            .attr("type", "file")
            .child(El::new("format").attr("type", link.format))
            .child(El::new("source").attr("file", text(&link.path)?))
            .child(backing);
    }
    for layer in chain {
        let below = root.disk(order.id, d, layer);
        backing = El::new("backingStore")
            .attr("type", "file")
            .child(El::new("format").attr("type", disk_format(&below)))
            .child(El::new("source").attr("file", text(&below)?))
            .child(backing);
    }
    // The last 20 digits, not the first: in a version 7 UUID those are time, and disks made together would be taken for
    // one disk by the guest.
    let serial = d.id.0.simple().to_string().split_off(12);
    let e = El::new("disk")
        .attr("type", "file")
        .attr("device", "disk")
        .child(driver)
        .child(El::new("source").attr("file", text(&file)?))
        .child(backing)
        .child(El::new("target").attr("dev", &place.dev).attr("bus", place.bus))
        .child(El::new("serial").text(serial));
    // Nobody starts a template; should somebody do it outside Virga, then its disks stay as they are. Others cannot be told.
    let guarded = order.spec.template && matches!(d.bus, DiskBus::Virtio | DiskBus::Scsi);
    let e = if guarded { e.child(El::new("readonly")) } else { e };
    let e = if d.limits.is_none() { e } else { e.child(limits(&d.limits)) };
    let e = if d.sharing == Sharing::Shared { e.child(El::new("shareable")) } else { e };
    Ok(placed(e, place, d.id))
}

/// What libvirt calls the limits of a disk, with all that it can limit: 0 is no limit.
#[must_use]
pub fn limit_values(l: &DiskLimits) -> Vec<(&'static str, u64)> {
    let length = |burst: Option<u64>| burst.map_or(0, |_| l.burst_s.unwrap_or(1));
    vec![
        ("total_bytes_sec", l.bytes_per_s.unwrap_or(0)),
        ("read_bytes_sec", l.read_bytes_per_s.unwrap_or(0)),
        ("write_bytes_sec", l.write_bytes_per_s.unwrap_or(0)),
        ("total_iops_sec", l.iops.unwrap_or(0)),
        ("read_iops_sec", l.read_iops.unwrap_or(0)),
        ("write_iops_sec", l.write_iops.unwrap_or(0)),
        ("total_bytes_sec_max", l.burst_bytes_per_s.unwrap_or(0)),
        ("total_iops_sec_max", l.burst_iops.unwrap_or(0)),
        ("total_bytes_sec_max_length", length(l.burst_bytes_per_s)),
        ("total_iops_sec_max_length", length(l.burst_iops)),
    ]
}

fn limits(l: &DiskLimits) -> El {
    let given = limit_values(l).into_iter().filter(|(_, v)| *v > 0);
    given.fold(El::new("iotune"), |e, (name, value)| e.child(El::new(name).text(value)))
}

/// QEMU's name of a format.
#[must_use]
pub fn qemu_format(format: ImageFormat) -> &'static str {
    match format {
        ImageFormat::Qcow2 => "qcow2",
        // A package is no disk: the cache refuses it, and nothing asks for it.
        ImageFormat::Raw | ImageFormat::Iso | ImageFormat::Ova => "raw",
        ImageFormat::Vmdk => "vmdk",
        ImageFormat::Vhd => "vpc",
        ImageFormat::Vhdx => "vhdx",
    }
}

fn image_format(order: &VmOrder, image: ImageId) -> Result<ImageFormat, Error> {
    let found = order.images.iter().find(|i| i.id == image).map(|i| i.format.on_host());
    found.ok_or_else(|| Error::invalid("images", format!("the order does not describe the image {image} that the VM uses")))
}

fn drive(source: Option<&str>, place: &Place) -> El {
    let mut e = El::new("disk").attr("type", "file").attr("device", "cdrom").child(El::new("driver").attr("name", "qemu").attr("type", "raw"));
    if let Some(s) = source {
        e = e.child(El::new("source").attr("file", s)).child(El::new("backingStore"));
    }
    e.child(El::new("target").attr("dev", &place.dev).attr("bus", place.bus)).child(El::new("readonly"))
}

/// An optical drive.
///
/// # Errors
/// As [`disk`].
pub fn cdrom(order: &VmOrder, paths: &Paths, c: &CdromSpec, place: &Place) -> Result<El, Error> {
    Ok(placed(drive(media(order, paths, c)?.as_deref(), place), place, c.id))
}

/// Path of the ISO that a drive shall hold.
///
/// # Errors
/// As [`disk`].
pub fn media(order: &VmOrder, paths: &Paths, c: &CdromSpec) -> Result<Option<String>, Error> {
    let Some(image) = c.image else { return Ok(None) };
    Ok(Some(text(&paths.local().image(image, image_format(order, image)?))?.to_string()))
}

/// The cloud-init seed, in a drive that the guest surely has a driver for: on the SCSI controller when the guest starts
/// from a paravirtual disk (cloud kernels have no SATA), else beside its other drives.
fn seed(order: &VmOrder, paths: &Paths, _: &CloudInit, chipset: Chipset, slots: &mut Slots) -> Result<El, Error> {
    let paravirtual = order.spec.disks.first().is_some_and(|d| matches!(d.bus, DiskBus::Virtio | DiskBus::Scsi));
    let place = if paravirtual { scsi_place(&device_name("sd", take(&mut slots.other)), SEED_SCSI_TARGET) } else { place_drive(chipset, slots) };
    let file = paths.seed(order.id);
    let e = drive(Some(text(&file)?), &place);
    Ok(placed(e, &place, DiskId(order.id.0)))
}

/// Name of the libvirt network that carries a NAT network: made of its id, because names can change and domains
/// refer to it.
#[must_use]
pub fn nat_network_name(id: NetworkId) -> String {
    format!("virga-{}", nat_bridge_name(id))
}

/// Name of the host's end of a NIC.
#[must_use]
pub fn tap_name(nic: NicId) -> String {
    let b = nic.0.as_bytes();
    format!("vg{:02x}{:02x}{:02x}{:02x}", b[12], b[13], b[14], b[15])
}

fn network_of<'a>(order: &'a VmOrder, n: &NicSpec) -> Result<&'a NetworkRef, Error> {
    let found = order.networks.iter().find(|x| x.id == n.network);
    found.ok_or_else(|| Error::invalid("networks", format!("the order does not describe the network {} that the VM uses", n.network)))
}

/// A NIC.
///
/// # Errors
/// `Invalid` when the order does not describe the NIC's network.
pub fn nic(order: &VmOrder, n: &NicSpec) -> Result<El, Error> {
    let network = network_of(order, n)?;
    let (kind, connection) = match &network.spec {
        NetworkSpec::Nat { .. } => ("network", vec![El::new("source").attr("network", nat_network_name(network.id))]),
        NetworkSpec::Ovs { bridge, vlan, .. } => {
            let mut parts = vec![
                El::new("source").attr("bridge", bridge),
                El::new("virtualport").attr("type", "openvswitch").child(El::new("parameters").attr("interfaceid", n.id)),
            ];
            if let Some(v) = vlan {
                parts.push(El::new("vlan").child(El::new("tag").attr("id", v)));
            }
            ("bridge", parts)
        }
    };
    let model = match n.model {
        NicModel::Virtio => "virtio",
        NicModel::E1000 => "e1000",
        NicModel::Rtl8139 => "rtl8139",
    };
    Ok(El::new("interface")
        .attr("type", kind)
        .child(El::new("mac").attr("address", &n.mac))
        .all(connection)
        .child(El::new("target").attr("dev", tap_name(n.id)))
        .child(El::new("model").attr("type", model))
        .child(El::new("link").attr("state", if n.link_up { "up" } else { "down" }))
        .child(alias(n.id)))
}

/// A memory module.
#[must_use]
pub fn dimm(bytes: u64) -> El {
    El::new("memory").attr("model", "dimm").child(El::new("target").child(El::new("size").attr("unit", "KiB").text(kib(bytes))).child(El::new("node").text(0)))
}

/// Where a disk that is plugged into a running domain can stand: the first names and addresses that are free there.
#[must_use]
pub fn free_place(live: &El, bus: DiskBus) -> Option<Place> {
    let disks: Vec<&El> = live.one("devices").map(|d| d.many("disk").collect()).unwrap_or_default();
    let free_name =
        |prefix: &str| (0..1000).map(|i| device_name(prefix, i)).find(|n| !disks.iter().any(|d| d.one("target").and_then(|t| t.get("dev")) == Some(n)));
    match bus {
        DiskBus::Virtio => Some(Place { bus: "virtio", dev: free_name("vd")?, drive: None }),
        DiskBus::Usb => Some(Place { bus: "usb", dev: free_name("sd")?, drive: None }),
        DiskBus::Ide => None,
        DiskBus::Scsi => {
            let used = |target: usize| {
                disks.iter().any(|d| {
                    d.one("target").and_then(|t| t.get("bus")) == Some("scsi")
                        && d.one("address").and_then(|a| a.get("target")).and_then(|t| t.parse().ok()) == Some(target)
                })
            };
            let target = (0..SEED_SCSI_TARGET).find(|t| !used(*t))?;
            Some(scsi_place(&free_name("sd")?, target))
        }
    }
}
