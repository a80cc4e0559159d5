//! Packages in the ways of several products, and of our own.

use super::*;
use crate::vm::VmSpec;
use virga_tests::images::ova;

fn read_all(bytes: &[u8]) -> Contents {
    read(&mut &*bytes, bytes.len() as u64).unwrap_or_else(|e| panic!("{e}"))
}

fn refused(bytes: &[u8]) -> String {
    read(&mut &*bytes, bytes.len() as u64).expect_err("refused").message
}

#[test]
fn a_package_of_vmware_is_understood() {
    let c = read_all(&ova::vmware());
    let m = &c.package.machine;
    assert_eq!((m.name.as_str(), m.cpus, m.cores_per_socket, m.memory_bytes, m.firmware), ("photon", 4, 2, 2 << 30, Firmware::Uefi));
    assert_eq!(m.description, "Made by hand & <checked>");
    assert_eq!(m.disks, [MachineDisk { content: Some(0), size_bytes: 16 << 30, bus: DiskBus::Ide }]);
    assert_eq!(m.nics, [MachineNic { network: "VM Network".into(), model: NicModel::Virtio, mac: None }]);
    assert_eq!((m.cdroms.as_slice(), m.networks()), ([None].as_slice(), vec!["VM Network"]));
    assert!(m.refusals.is_empty(), "{:?}", m.refusals);
    assert!(m.notes.iter().any(|n| n.contains("VirtualSCSI")) && m.notes.iter().any(|n| n.contains("VmxNet3")), "{:?}", m.notes);
    assert_eq!((c.package.disks[0].format, c.package.manifest), (ImageFormat::Vmdk, Some(Algorithm::Sha256)));
    assert!(c.members.iter().filter(|m| m.digest.is_some()).count() == 2 && c.members.len() == 3);
}

#[test]
fn a_package_of_virtualbox_is_understood() {
    let c = read_all(&ova::virtualbox());
    let m = &c.package.machine;
    assert_eq!((m.name.as_str(), m.cpus, m.memory_bytes, m.firmware), ("debian", 1, 1 << 30, Firmware::Bios));
    assert_eq!(m.disks, [MachineDisk { content: Some(0), size_bytes: 20 << 30, bus: DiskBus::Ide }]);
    assert_eq!(m.nics[0].model, NicModel::E1000);
    assert_eq!(m.nics[0].network, "NAT");
    assert!(m.refusals.is_empty() && m.notes.iter().any(|n| n.contains("sound card")), "{m:?}");
    assert_eq!(c.package.manifest, Some(Algorithm::Sha1));
}

#[test]
fn a_package_of_ovirt_is_understood() {
    let c = read_all(&ova::ovirt());
    let m = &c.package.machine;
    assert_eq!((m.name.as_str(), m.cpus, m.cores_per_socket, m.memory_bytes, m.firmware), ("node-1", 4, 2, 4 << 30, Firmware::Uefi));
    assert_eq!(m.disks, [MachineDisk { content: Some(0), size_bytes: 10 << 30, bus: DiskBus::Scsi }]);
    assert_eq!(m.nics, [MachineNic { network: "ovirtmgmt".into(), model: NicModel::Virtio, mac: Some("56:6f:1a:2b:00:01".into()) }]);
    assert!(m.refusals.is_empty(), "{m:?}");
    assert_eq!((c.package.disks[0].format, c.package.manifest), (ImageFormat::Qcow2, None));
}

#[test]
fn what_cannot_be_given_is_refused_by_name() {
    let with = |item: &str| {
        let text = ova::VMWARE.replace("</VirtualHardwareSection>", &format!("{item}</VirtualHardwareSection>"));
        read_all(&ova::package("x", &text, &[("x-disk1.vmdk", ova::disk())], None)).package.machine
    };
    let pass_through = "<Item><rasd:ElementName>GPU 1</rasd:ElementName><rasd:InstanceID>90</rasd:InstanceID><rasd:ResourceType>12</rasd:ResourceType></Item>";
    assert_eq!(with(pass_through).refusals, ["a device of the kind 12: GPU 1"]);
    assert!(with(&pass_through.replace("<Item>", "<Item ovf:required=\"false\">")).refusals.is_empty());
    assert!(with("<vmw:ExtraConfig vmw:key=\"a\" vmw:value=\"b\"/>").refusals[0].contains("ExtraConfig"));
    let section = ova::VMWARE.replace("</VirtualSystem>", "<x:OddSection xmlns:x=\"urn:x\"/></VirtualSystem>");
    let m = read_all(&ova::package("x", &section, &[("x-disk1.vmdk", ova::disk())], None)).package.machine;
    assert!(m.refusals[0].contains("OddSection"), "{m:?}");
}

#[test]
fn long_names_and_sizes_of_other_archivers_are_read() {
    let text = ova::VMWARE.replace("x-disk1.vmdk", &format!("{}.vmdk", "n".repeat(150)));
    let name = format!("{}.vmdk", "n".repeat(150));
    for way in [ova::Way::Pax, ova::Way::Gnu] {
        let c = read_all(&ova::archive(&[("x.ovf", text.as_bytes()), (&name, &ova::disk())], way));
        assert_eq!(c.members[1].name, name);
    }
    // Without the blocks of zeros at its end.
    let whole = ova::vmware();
    assert_eq!(read_all(&whole[..whole.len() - 1024]).members.len(), 3);
}

#[test]
fn our_own_package_is_read_back_as_the_same_machine() {
    let spec: VmSpec = serde_json::from_value(serde_json::json!({
        "cpu": {"count": 6, "max": 8, "cores_per_socket": 2}, "memory": {"bytes": 3u64 << 30}, "firmware": "uefi",
        "disks": [
            {"id": "00000000-0000-0000-0000-000000000001", "size_bytes": 1u64 << 20, "bus": "virtio"},
            {"id": "00000000-0000-0000-0000-000000000002", "size_bytes": 1u64 << 20, "bus": "scsi"},
            {"id": "00000000-0000-0000-0000-000000000003", "size_bytes": 1u64 << 20, "bus": "usb"},
            {"id": "00000000-0000-0000-0000-000000000004", "size_bytes": 1u64 << 20, "bus": "ide"},
        ],
        "nics": [
            {"id": "00000000-0000-0000-0000-000000000005", "network": "00000000-0000-0000-0000-000000000006", "mac": "52:54:00:00:00:01", "model": "e1000"},
            {"id": "00000000-0000-0000-0000-000000000007", "network": "00000000-0000-0000-0000-000000000006", "mac": "52:54:00:00:00:02"},
        ],
        "cdroms": [{"id": "00000000-0000-0000-0000-000000000008"}],
    }))
    .unwrap();
    let content = ova::disk();
    let disks: Vec<WrittenDisk> = (1..=4)
        .map(|n| WrittenDisk {
            file: format!("web-disk{n}.vmdk"),
            bytes: content.len() as u64,
            virtual_bytes: 1 << 20,
            sha256: "0".repeat(64),
            format: ImageFormat::Vmdk,
        })
        .collect();
    let networks = ["lan <1>".to_string(), "lan <1>".to_string()];
    let text = write_descriptor("web", "two\nlines & more", &spec, &networks, &disks);
    // What others must find in it: their words behind ours, and no address twice on a controller.
    for word in ["virga-1 vmx-13", ">virtio-blk lsilogic<", ">virtio-scsi lsilogic<", ">AHCI<", ">virtio VmxNet3 E1000<", "<rasd:Address>1</rasd:Address>"] {
        assert!(text.contains(word), "{word} is missing in {text}");
    }
    let l = layout("web", &text, &disks, &write_manifest("web", &"1".repeat(64), &disks), 1_700_000_000);
    let file: Vec<u8> = l
        .pieces
        .iter()
        .flat_map(|p| match p {
            Piece::Bytes(b) => b.clone(),
            Piece::Disk(_) => content.clone(),
        })
        .collect();
    assert_eq!(file.len() as u64, l.bytes);
    let c = read_all(&file);
    let m = &c.package.machine;
    assert_eq!(
        (m.name.as_str(), m.description.as_str(), m.cpus, m.cores_per_socket, m.memory_bytes, m.firmware),
        ("web", "two\nlines & more", 6, 2, 3 << 30, Firmware::Uefi)
    );
    assert_eq!(
        m.disks.iter().map(|d| (d.content, d.bus)).collect::<Vec<_>>(),
        // No other product has disks on USB.
        [(Some(0), DiskBus::Virtio), (Some(1), DiskBus::Scsi), (Some(2), DiskBus::Ide), (Some(3), DiskBus::Ide)]
    );
    assert_eq!(m.nics.iter().map(|n| (n.model, n.network.as_str())).collect::<Vec<_>>(), [(NicModel::E1000, "lan <1>"), (NicModel::Virtio, "lan <1>")]);
    assert_eq!((m.cdroms.len(), m.notes.as_slice(), m.refusals.as_slice()), (1, [].as_slice(), [].as_slice()));
    assert_eq!(c.package.manifest, Some(Algorithm::Sha256));
}

#[test]
fn a_size_beyond_eight_gibibytes_is_written_and_read() {
    let h = header("x.vmdk", 20 << 30, 0);
    // Read as a first member: its data may come later.
    let e = refused(&h);
    assert!(e.contains("cut off"), "{e}");
    assert_eq!(padding(0) + padding(512) + padding(1), 511);
}
