//! Packages of our own: descriptor first, then the manifest, then the disks (W-19).
//!
//! What is written is read back by [`super::read`] as the same machine, and follows what other products read: OVF 1.0 with
//! VMware's words for what the standard has none.

use super::tar::{end, header, padding};
use crate::image::ImageFormat;
use crate::vm::{DiskBus, Firmware, NicModel, VmSpec};
use quick_xml::escape::escape;
use std::fmt::Write;

/// A disk that goes into a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenDisk {
    /// Name of the member.
    pub file: String,
    /// Bytes of the file.
    pub bytes: u64,
    /// Bytes that a guest sees.
    pub virtual_bytes: u64,
    /// SHA-256 of the file, hex.
    pub sha256: String,
    /// Format.
    pub format: ImageFormat,
}

/// A piece of the file of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// These bytes.
    Bytes(Vec<u8>),
    /// The content of the disk at this place of the list.
    Disk(usize),
}

/// The file of a package, piece after piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The pieces.
    pub pieces: Vec<Piece>,
    /// Bytes of the whole file.
    pub bytes: u64,
}

/// The file of a package with this descriptor, which is called `name`.
#[must_use]
pub fn layout(name: &str, descriptor: &str, disks: &[WrittenDisk], manifest: &str, changed_s: u64) -> Layout {
    let mut out = Layout { pieces: Vec::new(), bytes: 0 };
    for (member, text) in [(format!("{name}.ovf"), descriptor), (format!("{name}.mf"), manifest)] {
        let mut bytes = header(&member, text.len() as u64, changed_s).to_vec();
        bytes.extend_from_slice(text.as_bytes());
        bytes.resize(bytes.len() + pad(text.len() as u64), 0);
        out.add(bytes);
    }
    for (i, d) in disks.iter().enumerate() {
        out.add(header(&d.file, d.bytes, changed_s).to_vec());
        out.pieces.push(Piece::Disk(i));
        out.bytes += d.bytes;
        out.add(vec![0; pad(d.bytes)]);
    }
    out.add(end().to_vec());
    out
}

impl Layout {
    fn add(&mut self, bytes: Vec<u8>) {
        self.bytes += bytes.len() as u64;
        match self.pieces.last_mut() {
            Some(Piece::Bytes(before)) => before.extend(bytes),
            _ => self.pieces.push(Piece::Bytes(bytes)),
        }
    }
}

fn pad(bytes: u64) -> usize {
    // Less than a block.
    usize::try_from(padding(bytes)).unwrap_or(0)
}

/// The manifest over a descriptor with this digest, and the disks.
#[must_use]
pub fn manifest(name: &str, descriptor_sha256: &str, disks: &[WrittenDisk]) -> String {
    let mut out = format!("SHA256({name}.ovf)= {descriptor_sha256}\n");
    for d in disks {
        let _ = writeln!(out, "SHA256({})= {}", d.file, d.sha256);
    }
    out
}

/// Where the standard, or who made it, describes a format of disks.
fn format_uri(format: ImageFormat) -> &'static str {
    match format {
        ImageFormat::Vhd => "http://go.microsoft.com/fwlink/?LinkId=137171",
        ImageFormat::Qcow2 => "http://www.gnome.org/~markmc/qcow-image-format.html",
        _ => "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized",
    }
}

/// The descriptor of a VM. `networks` are the names for its NICs, `disks` the contents of its disks, each in the order of `spec`.
#[must_use]
pub fn descriptor(name: &str, description: &str, spec: &VmSpec, networks: &[String], disks: &[WrittenDisk]) -> String {
    let mut x = String::from(HEAD);
    x.push_str("  <References>\n");
    for (i, d) in disks.iter().enumerate() {
        let _ = writeln!(x, "    <File ovf:id=\"file{}\" ovf:href=\"{}\" ovf:size=\"{}\"/>", i + 1, escape(d.file.as_str()), d.bytes);
    }
    x.push_str("  </References>\n  <DiskSection>\n    <Info>Virtual disks</Info>\n");
    for (i, d) in disks.iter().enumerate() {
        let (n, uri) = (i + 1, format_uri(d.format));
        let size = d.virtual_bytes;
        let _ = writeln!(
            x,
            "    <Disk ovf:diskId=\"disk{n}\" ovf:fileRef=\"file{n}\" ovf:capacity=\"{size}\" ovf:capacityAllocationUnits=\"byte\" ovf:format=\"{uri}\"/>"
        );
    }
    x.push_str("  </DiskSection>\n  <NetworkSection>\n    <Info>Networks</Info>\n");
    let mut named: Vec<&str> = Vec::new();
    for n in networks.iter().map(String::as_str) {
        if !named.contains(&n) {
            named.push(n);
            let _ = writeln!(x, "    <Network ovf:name=\"{0}\">\n      <Description>{0}</Description>\n    </Network>", escape(n));
        }
    }
    let _ = writeln!(x, "  </NetworkSection>\n  <VirtualSystem ovf:id=\"{0}\">\n    <Info>A virtual machine</Info>\n    <Name>{0}</Name>", escape(name));
    if !description.is_empty() {
        let text = escape(description);
        let _ = writeln!(x, "    <AnnotationSection>\n      <Info>Description</Info>\n      <Annotation>{text}</Annotation>\n    </AnnotationSection>");
    }
    x.push_str("    <VirtualHardwareSection>\n      <Info>Virtual hardware</Info>\n      <System>\n        <vssd:ElementName>Virtual Hardware Family</vssd:ElementName>\n");
    let _ = writeln!(x, "        <vssd:InstanceID>0</vssd:InstanceID>\n        <vssd:VirtualSystemIdentifier>{}</vssd:VirtualSystemIdentifier>", escape(name));
    x.push_str("        <vssd:VirtualSystemType>virga-1 vmx-13 vmx-10 virtualbox-2.2</vssd:VirtualSystemType>\n      </System>\n");
    items(&mut x, spec, networks);
    if spec.firmware == Firmware::Uefi {
        x.push_str("      <vmw:Config ovf:required=\"false\" vmw:key=\"firmware\" vmw:value=\"efi\"/>\n");
    }
    x.push_str("    </VirtualHardwareSection>\n  </VirtualSystem>\n</Envelope>\n");
    x
}

const HEAD: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData" xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData" xmlns:vmw="http://www.vmware.com/schema/ovf">
"#;

/// Writes the items of the hardware: processors, memory, controllers, disks, drives, adapters. The elements of an item stand in
/// the order of their names, as the schema wants it.
fn items(x: &mut String, spec: &VmSpec, networks: &[String]) {
    let mut instance = 0;
    let mut item = |x: &mut String, words: &[(&str, &str)]| {
        instance += 1;
        let number = instance.to_string();
        let mut words: Vec<(&str, &str)> = words.iter().copied().chain([("InstanceID", number.as_str())]).collect();
        words.sort_unstable();
        x.push_str("      <Item>\n");
        for (name, value) in words {
            let _ = writeln!(x, "        <rasd:{name}>{}</rasd:{name}>", escape(value));
        }
        // Not in the standard's schema of items; VMware's.
        if spec.cpu.cores_per_socket > 0 && instance == 1 {
            let _ = writeln!(x, "        <vmw:CoresPerSocket ovf:required=\"false\">{}</vmw:CoresPerSocket>", spec.cpu.cores_per_socket);
        }
        x.push_str("      </Item>\n");
        number
    };
    let cpus = spec.cpu.count.to_string();
    item(x, &[("AllocationUnits", "hertz * 10^6"), ("ElementName", "Virtual CPUs"), ("ResourceType", "3"), ("VirtualQuantity", &cpus)]);
    let memory = (spec.memory.bytes >> 20).to_string();
    item(x, &[("AllocationUnits", "byte * 2^20"), ("ElementName", "Memory"), ("ResourceType", "4"), ("VirtualQuantity", &memory)]);
    let mut controllers: Vec<Controller> = Vec::new();
    for bus in [DiskBus::Virtio, DiskBus::Scsi, DiskBus::Ide] {
        let drives = bus == DiskBus::Ide && !spec.cdroms.is_empty();
        if !drives && !spec.disks.iter().any(|d| outside(d.bus) == bus) {
            continue;
        }
        let (kind, sub, name) = words_of(bus);
        let address = controllers.iter().filter(|c| c.kind == kind).count().to_string();
        let number = item(x, &[("Address", &address), ("ElementName", name), ("ResourceSubType", sub), ("ResourceType", kind)]);
        controllers.push(Controller { bus, kind, number, next: 0 });
    }
    for (i, d) in spec.disks.iter().enumerate() {
        let (name, resource) = (format!("Disk {}", i + 1), format!("ovf:/disk/disk{}", i + 1));
        let (parent, place) = place_on(&mut controllers, outside(d.bus));
        item(x, &[("AddressOnParent", &place), ("ElementName", &name), ("HostResource", &resource), ("Parent", &parent), ("ResourceType", "17")]);
    }
    for i in 0..spec.cdroms.len() {
        let name = format!("Optical drive {}", i + 1);
        let (parent, place) = place_on(&mut controllers, DiskBus::Ide);
        item(x, &[("AddressOnParent", &place), ("AutomaticAllocation", "false"), ("ElementName", &name), ("Parent", &parent), ("ResourceType", "15")]);
    }
    for (i, n) in spec.nics.iter().enumerate() {
        let sub = match n.model {
            NicModel::Virtio => "virtio VmxNet3 E1000",
            NicModel::E1000 => "E1000",
            NicModel::Rtl8139 => "rtl8139 PCNet32 E1000",
        };
        let name = format!("Network adapter {}", i + 1);
        let network = networks.get(i).map_or("", String::as_str);
        let words = [("Address", n.mac.as_str()), ("AutomaticAllocation", "true"), ("Connection", network), ("ElementName", &name), ("ResourceSubType", sub)];
        item(x, &words.into_iter().chain([("ResourceType", "10")]).collect::<Vec<_>>());
    }
}

/// A controller that was written.
struct Controller {
    bus: DiskBus,
    kind: &'static str,
    number: String,
    next: u32,
}

/// The bus on which a disk is outside: no other product has disks on USB.
fn outside(bus: DiskBus) -> DiskBus {
    if bus == DiskBus::Usb { DiskBus::Ide } else { bus }
}

/// Kind, subtypes and name of the controller of a bus. Subtypes stand in the order in which they are wanted, so that who does
/// not know ours takes the next one.
fn words_of(bus: DiskBus) -> (&'static str, &'static str, &'static str) {
    match bus {
        DiskBus::Virtio => ("6", "virtio-blk lsilogic", "Virtio controller"),
        DiskBus::Scsi => ("6", "virtio-scsi lsilogic", "SCSI controller"),
        DiskBus::Ide | DiskBus::Usb => ("20", "AHCI", "SATA controller"),
    }
}

/// The address that every SCSI controller has itself.
const SCSI_OWN: u32 = 7;

/// The next place on the controller of a bus: its instance and the address there.
fn place_on(controllers: &mut [Controller], bus: DiskBus) -> (String, String) {
    let Some(c) = controllers.iter_mut().find(|c| c.bus == bus) else { return (String::new(), "0".into()) };
    if c.kind == "6" && c.next == SCSI_OWN {
        c.next += 1;
    }
    let place = c.next.to_string();
    c.next += 1;
    (c.number.clone(), place)
}
