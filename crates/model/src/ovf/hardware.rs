//! The hardware of a machine in a descriptor, in our words: mapped, left out with a note, or refused with a reason.
//!
//! Nothing is guessed in silence: whatever is not what the descriptor says becomes a note, and what a guest may depend on and
//! does not get becomes a refusal.

use super::descriptor::{Descriptor, kind, required};
use super::xml::El;
use super::{Machine, MachineDisk, MachineNic, PackageDisk, shown, units};
use crate::image::ImageFormat;
use crate::image::reader::{Seen, must, refuse};
use crate::name::clean;
use crate::vm::{DISK_BYTES_MAX, DiskBus, Firmware, MEMORY_STEP_BYTES, NicModel, mac_is_valid};

/// Most items of a machine.
const ITEMS_MAX: usize = 512;
/// Most notes and refusals, each: a descriptor is no place to fill answers with.
const WORDS_MAX: usize = 64;
/// SATA ports that disks and drives share.
const IDE_MAX: usize = 5;
/// Longest description in characters.
const DESCRIPTION_CHARS_MAX: usize = 1000;
/// Memory when nothing is said.
const MEMORY_BYTES: u64 = 1 << 30;

/// Kinds of items (CIM_ResourceAllocationSettingData, `ResourceType`) on which nothing depends.
static LEFT_OUT: [(u32, &str); 8] = [
    (14, "floppy drive"),
    (21, "serial port"),
    (22, "parallel port"),
    (24, "display"),
    (32768, "VirtualBox's own device"),
    (35, "sound card"),
    (20000, "oVirt's own device"),
    (26, "guest agent channel"),
];
/// Sections of a machine that change nothing of it.
const HARMLESS: [&str; 12] = [
    "Info",
    "Name",
    "Description",
    "AnnotationSection",
    "Annotation",
    "ProductSection",
    "OperatingSystemSection",
    "EulaSection",
    "InstallSection",
    "VirtualHardwareSection",
    "ResourceAllocationSection",
    "EnvironmentFilesSection",
];

/// The machine of a descriptor.
pub(super) fn machine(d: &Descriptor, disks: &[PackageDisk]) -> Seen<Machine> {
    let system = &d.system;
    let named = system.one("Name").map_or_else(|| system.get("id").unwrap_or_default(), |n| d.text_of(n));
    let mut b = Builder { d, disks, controllers: Vec::new(), m: Machine { name: shown(named), cpus: 1, memory_bytes: MEMORY_BYTES, ..Machine::default() } };
    b.m.description = description(d, system);
    d.unknown.iter().for_each(|u| b.refuse(format!("the section {u}, which must be understood")));
    b.sections(system);
    let hardware: Vec<&El> = system.children.iter().filter(|c| kind(c) == "VirtualHardwareSection").collect();
    must(hardware.len() <= 1, "is an OVA whose machine has several kinds of hardware; export it with one")?;
    if let Some(h) = hardware.first() {
        let items: Vec<&El> = h.children.iter().filter(|c| matches!(c.name.as_str(), "Item" | "StorageItem" | "EthernetPortItem")).collect();
        must(items.len() <= ITEMS_MAX, "is an OVA whose machine has more than 512 items")?;
        // What belongs to another size of the machine than the ordinary one is not taken.
        let items: Vec<&El> = items.into_iter().filter(|i| i.get("configuration").is_none_or(str::is_empty)).collect();
        items.iter().for_each(|i| b.controller(i));
        items.iter().try_for_each(|i| b.item(i))?;
        b.configuration(h);
    } else {
        b.m.notes.push("the package describes no hardware: one vCPU, 1 GiB of memory and its disks are taken".into());
    }
    b.leftover_disks();
    b.ports();
    Ok(b.m)
}

fn description(d: &Descriptor, system: &El) -> String {
    let annotation = system.children.iter().find(|c| kind(c) == "AnnotationSection").and_then(|s| s.one("Annotation"));
    let found = annotation.or_else(|| system.one("Description"));
    clean(found.map_or("", |e| d.text_of(e)), DESCRIPTION_CHARS_MAX).replace('\u{fffd}', " ")
}

/// A machine that is being put together.
struct Builder<'a> {
    d: &'a Descriptor,
    disks: &'a [PackageDisk],
    /// Controllers: instance, bus, and what it is instead of, for a note.
    controllers: Vec<(String, DiskBus, Option<String>)>,
    m: Machine,
}

impl Builder<'_> {
    fn note(&mut self, text: String) {
        if self.m.notes.len() < WORDS_MAX && !self.m.notes.contains(&text) {
            self.m.notes.push(text);
        }
    }

    fn refuse(&mut self, text: String) {
        if self.m.refusals.len() < WORDS_MAX && !self.m.refusals.contains(&text) {
            self.m.refusals.push(text);
        }
    }

    /// Sections of the machine beside its hardware.
    fn sections(&mut self, system: &El) {
        for s in &system.children {
            let kind = kind(s);
            let ovirt = system.name == "Content" && !s.name.ends_with("Section");
            if kind == "BiosType" || kind == "BiosSettings" {
                self.bios(s);
            } else if kind == "Machine" {
                // VirtualBox's own settings: only what no item can say.
                let firmware = s.one("Hardware").and_then(|h| h.one("Firmware")).and_then(|f| f.get("type"));
                if firmware.is_some_and(|f| f.to_ascii_uppercase().starts_with("EFI")) {
                    self.m.firmware = Firmware::Uefi;
                }
            } else if !HARMLESS.contains(&kind) && !ovirt && required(s) {
                self.refuse(format!("the section {}, which must be understood", shown(kind)));
            }
        }
    }

    /// oVirt's number: 3 and 4 are UEFI.
    fn bios(&mut self, e: &El) {
        if matches!(e.text.as_str(), "3" | "4") {
            self.m.firmware = Firmware::Uefi;
        }
    }

    /// VMware's settings of the hardware. All but the firmware are its own (and never go to QEMU).
    fn configuration(&mut self, hardware: &El) {
        for c in hardware.children.iter().filter(|c| matches!(c.name.as_str(), "Config" | "ExtraConfig")) {
            match (c.name.as_str(), c.get("key"), c.get("value")) {
                ("Config", Some("firmware"), Some("efi")) => self.m.firmware = Firmware::Uefi,
                ("Config", Some("bootOptions.efiSecureBootEnabled" | "uefi.secureBoot.enabled"), Some("true")) => {
                    self.note("secure boot is left out".into());
                }
                ("Config", ..) => {}
                _ if required(c) => self.refuse("a raw setting of its hypervisor (ExtraConfig) that must be understood".into()),
                _ => {}
            }
        }
    }

    /// Notes a controller of disks.
    fn controller(&mut self, item: &El) {
        let sub = preferred(item);
        let small = sub.to_ascii_lowercase();
        let (bus, instead) = match item.word("ResourceType") {
            "5" => (DiskBus::Ide, None),
            "6" if matches!(small.as_str(), "virtio-scsi" | "virtioscsi" | "virtio_scsi") => (DiskBus::Scsi, None),
            "6" if matches!(small.as_str(), "virtio" | "virtio-blk") => (DiskBus::Virtio, None),
            "6" => (DiskBus::Ide, Some(if sub.is_empty() { "SCSI".to_string() } else { shown(sub) })),
            "20" if matches!(small.as_str(), "virtio" | "virtio-blk") => (DiskBus::Virtio, None),
            "20" if small.contains("nvme") => (DiskBus::Ide, Some("NVMe".into())),
            "20" => (DiskBus::Ide, None),
            "23" => (DiskBus::Usb, None),
            _ => return,
        };
        self.controllers.push((item.word("InstanceID").to_string(), bus, instead));
    }

    fn item(&mut self, item: &El) -> Seen<()> {
        match item.word("ResourceType") {
            "3" => self.cpu(item),
            "4" => self.memory(item)?,
            "5" | "6" | "20" | "23" => {}
            "10" => self.nic(item),
            "15" | "16" => self.drive(item),
            "17" => self.disk(item)?,
            "18" | "19" => self.refuse(format!("a tape or another drive that is no disk: {}", said(item))),
            other => {
                let left_out = other.parse().ok().and_then(|n: u32| LEFT_OUT.iter().find(|(k, _)| *k == n));
                match left_out {
                    Some((_, what)) => self.note(format!("the {what} is left out")),
                    // oVirt's devices of the kind "other": random numbers, balloons, watchdogs.
                    None if other == "0" && !item.word("Type").is_empty() => self.note(format!("left out: {}", shown(item.word("Type")))),
                    None if !required(item) => self.note(format!("left out: {}", said(item))),
                    // VMware's devices of the kind "other" that no guest depends on.
                    None if other == "1" && harmless(item.word("ResourceSubType")) => self.note(format!("left out: {}", said(item))),
                    None => self.refuse(format!("a device of the kind {}: {}", shown(other), said(item))),
                }
            }
        }
        Ok(())
    }

    fn cpu(&mut self, item: &El) {
        let number = |name: &str| item.word(name).parse::<u32>().ok();
        // oVirt counts sockets, cores and threads.
        let parts = ["num_of_sockets", "cpu_per_socket", "threads_per_cpu"].map(|n| number(n).unwrap_or(1));
        let product = number("num_of_sockets").map(|_| parts.iter().fold(1u32, |p, n| p.saturating_mul(*n)));
        self.m.cpus = product.or_else(|| number("VirtualQuantity")).unwrap_or(1);
        self.m.cores_per_socket = number("CoresPerSocket").or_else(|| number("cpu_per_socket").filter(|_| product.is_some())).unwrap_or(0);
        if self.m.cores_per_socket > 0 && !self.m.cpus.is_multiple_of(self.m.cores_per_socket) {
            self.note(format!("{} cores per socket do not divide {} vCPUs and are left out", self.m.cores_per_socket, self.m.cpus));
            self.m.cores_per_socket = 0;
        }
    }

    fn memory(&mut self, item: &El) -> Seen<()> {
        let unit = Some(item.word("AllocationUnits")).filter(|u| !u.is_empty()).unwrap_or("byte * 2^20");
        let bytes = item.word("VirtualQuantity").parse::<u64>().ok().zip(units::bytes(unit)).and_then(|(n, u)| n.checked_mul(u));
        let Some(bytes) = bytes else { return refuse("is an OVA whose machine has memory that is no number of bytes") };
        self.m.memory_bytes = bytes.div_ceil(MEMORY_STEP_BYTES).saturating_mul(MEMORY_STEP_BYTES);
        Ok(())
    }

    fn nic(&mut self, item: &El) {
        let sub = preferred(item);
        let small = sub.to_ascii_lowercase();
        let (model, instead) = match small.as_str() {
            // oVirt writes numbers.
            "virtio" | "virtio-net" | "3" | "5" => (NicModel::Virtio, false),
            "e1000" | "2" => (NicModel::E1000, false),
            "rtl8139" | "1" => (NicModel::Rtl8139, false),
            "e1000e" => (NicModel::E1000, true),
            "pcnet32" => (NicModel::E1000, true),
            "" => (NicModel::Virtio, false),
            _ => (NicModel::Virtio, true),
        };
        if instead {
            self.note(format!("network adapter {} becomes {}", shown(sub), serde_word(model)));
        }
        let address = [item.word("Address"), item.word("MACAddress")].map(str::to_ascii_lowercase).into_iter().find(|a| mac_is_valid(a));
        let network = clean(item.word("Connection"), 200);
        self.m.nics.push(MachineNic { network, model, mac: address });
    }

    fn drive(&mut self, item: &El) {
        let resource = item.word("HostResource");
        let medium = self.d.member_at(resource).and_then(|name| self.place_of(name));
        let medium = medium.filter(|at| self.disks.get(*at as usize).is_some_and(|d| d.format == ImageFormat::Iso));
        if medium.is_none() && !resource.is_empty() {
            self.note("a medium that is not in the package is left out of its optical drive".into());
        }
        self.m.cdroms.push(medium);
    }

    fn disk(&mut self, item: &El) -> Seen<()> {
        let resource = item.word("HostResource");
        let Some(disk) = self.d.disk_at(resource) else {
            self.refuse(format!("a disk whose content the package does not name: {}", said(item)));
            return Ok(());
        };
        let interface = disk.interface.to_ascii_lowercase();
        let found = self.controllers.iter().find(|(id, ..)| !id.is_empty() && id == item.word("Parent")).cloned();
        let (bus, instead) = match (found, interface.as_str()) {
            (Some((_, bus, instead)), _) => (bus, instead),
            (None, "virtio_scsi") => (DiskBus::Scsi, None),
            (None, "ide" | "sata") => (DiskBus::Ide, None),
            (None, _) => (DiskBus::Virtio, None),
        };
        if let Some(what) = instead {
            self.note(format!("disks on a controller of the kind {what} become SATA disks, which every guest knows"));
        }
        let content = self.d.member_of(disk).and_then(|name| self.place_of(name));
        must(disk.capacity_bytes > 0 || content.is_some(), "is an OVA with an empty disk of no size")?;
        self.add_disk(content, disk.capacity_bytes, bus);
        Ok(())
    }

    fn place_of(&self, member: &str) -> Option<u32> {
        self.disks.iter().position(|d| d.file == member).and_then(|at| u32::try_from(at).ok())
    }

    fn add_disk(&mut self, content: Option<u32>, capacity: u64, bus: DiskBus) {
        let file = content.and_then(|at| self.disks.get(at as usize));
        if file.is_some_and(|f| f.format == ImageFormat::Iso) {
            self.refuse("a disk whose content is an ISO".into());
            return;
        }
        let least = file.map_or(1 << 20, |f| f.virtual_bytes);
        let size_bytes = capacity.max(least).max(1 << 20).div_ceil(512).saturating_mul(512).min(DISK_BYTES_MAX);
        self.m.disks.push(MachineDisk { content, size_bytes, bus });
    }

    /// Disks of the package that no item names: without a hardware section they are the machine's; else they are not used.
    fn leftover_disks(&mut self) {
        for (at, disk) in self.disks.iter().enumerate() {
            let at = u32::try_from(at).ok();
            let used = self.m.disks.iter().any(|d| d.content == at) || self.m.cdroms.contains(&at);
            if used {
                continue;
            }
            if self.m.disks.is_empty() && disk.format != ImageFormat::Iso {
                self.add_disk(at, disk.virtual_bytes, DiskBus::Ide);
            } else {
                self.note(format!("nothing of the machine uses the file {}", shown(&disk.file)));
            }
        }
    }

    /// A machine has so many SATA ports; the disks beyond go to virtio-scsi.
    fn ports(&mut self) {
        let room = IDE_MAX.saturating_sub(self.m.cdroms.len());
        let beyond: Vec<&mut MachineDisk> = self.m.disks.iter_mut().filter(|d| d.bus == DiskBus::Ide).skip(room).collect();
        let many = beyond.len();
        beyond.into_iter().for_each(|d| d.bus = DiskBus::Scsi);
        if many > 0 {
            self.note(format!("there are ports for {IDE_MAX} SATA disks and drives; {many} disks become virtio-scsi disks"));
        }
    }
}

fn serde_word(model: NicModel) -> &'static str {
    match model {
        NicModel::Virtio => "virtio",
        NicModel::E1000 => "e1000",
        NicModel::Rtl8139 => "rtl8139",
    }
}

/// The subtype of an item: the first one where several are told, in the order in which they are wanted (DSP0243, 8.1).
fn preferred(item: &El) -> &str {
    item.word("ResourceSubType").split_ascii_whitespace().next().unwrap_or_default()
}

/// How an item calls itself.
fn said(item: &El) -> String {
    let words = ["ElementName", "Caption", "Description", "ResourceSubType"].map(|n| item.word(n));
    let name = words.into_iter().find(|w| !w.is_empty()).unwrap_or("without a name");
    shown(name)
}

/// VMware's devices that belong to every machine of it.
fn harmless(sub: &str) -> bool {
    let small = sub.to_ascii_lowercase();
    ["vmci", "vmware.vmci", "vmware.keyboard", "vmware.pointingdevice"].contains(&small.as_str())
}
