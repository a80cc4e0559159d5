//! Targets of packages (OVA): the archive, the descriptor, the manifest.

use super::image::changed;
use crate::{Target, mark};
use virga_model::ovf::{self, Algorithm};
use virga_tests::images::ova;

const XML: &[&str] = &[
    "<!DOCTYPE x [<!ENTITY e SYSTEM \"file:///etc/shadow\">]>",
    "&e;",
    "&#x0;",
    "<![CDATA[",
    "<Item>",
    "</Item>",
    "<rasd:ResourceType>17</rasd:ResourceType>",
    "<rasd:Parent>3</rasd:Parent>",
    "<rasd:HostResource>ovf:/file/file1</rasd:HostResource>",
    "<rasd:VirtualQuantity>18446744073709551615</rasd:VirtualQuantity>",
    "<rasd:AllocationUnits>byte * 2^63 * 2</rasd:AllocationUnits>",
    "<File ovf:href=\"../x\" ovf:id=\"a\"/>",
    "<Disk ovf:diskId=\"d\" ovf:capacity=\"99999999999999999999\"/>",
    "<VirtualSystem ovf:id=\"b\"/>",
    "xsi:type=\"ovf:DiskSection_Type\"",
    "ovf:required=\"false\"",
];

/// The archive, as changes to a right one; checksums of headers are set right unless the input says otherwise.
pub const TAR: Target = Target {
    name: "ova-tar",
    about: "tar archives of OVAs",
    run: |d| changed(d, ova::vmware(), seal),
    words: &["ustar\u{0}00", "../", "25 path=../../etc/passwd\n", "9999999999", "\u{0}\u{0}\u{0}\u{0}", "L", "x", "g", "GNU.sparse.size"],
};
/// Descriptors.
pub const DESCRIPTOR: Target = Target { name: "ovf", about: "OVF descriptors", run: descriptor, words: XML };
/// Manifests.
pub const MANIFEST: Target = Target {
    name: "ovf-manifest",
    about: "manifests of OVF packages",
    run: manifest,
    words: &["SHA256(", "SHA1 (", ")= ", "x.ovf", "x-disk1.vmdk", "\n", "MD5("],
};

/// Sets the checksums of all headers right, as far as they are found.
fn seal(d: &mut [u8]) {
    let mut at = 0usize;
    for _ in 0..80 {
        let Some(header) = d.get_mut(at..at + 512) else { return };
        ova::seal(header);
        let digits: String = header[124..136].iter().map(|b| char::from(*b)).filter(char::is_ascii_digit).collect();
        let bytes = usize::from_str_radix(&digits, 8).unwrap_or(0);
        at = at.saturating_add(512).saturating_add(bytes.next_multiple_of(512));
    }
}

fn judged(package: &[u8]) -> u64 {
    match ovf::read(&mut &*package, package.len() as u64) {
        Ok(c) => {
            let m = &c.package.machine;
            for disk in &c.package.disks {
                assert!(disk.offset + disk.size_bytes <= package.len() as u64 && disk.virtual_bytes > 0);
            }
            for member in &c.members {
                assert!(!member.name.contains(['/', '\\', '\n']) && !member.name.starts_with('-'));
                assert!(member.digest.as_ref().is_none_or(|d| d.hex.len() == d.algorithm.digits()));
            }
            assert!(m.disks.iter().all(|d| d.content.is_none_or(|at| (at as usize) < c.package.disks.len())));
            assert!(m.notes.len() <= 64 && m.refusals.len() <= 64 && m.name.chars().count() < 200);
            let sha1 = c.package.manifest == Some(Algorithm::Sha1);
            mark(&format!("{} {} {} {sha1}", m.disks.len(), m.nics.len(), m.refusals.len()))
        }
        Err(e) => {
            assert!(e.message.len() < 700 && !e.message.contains(char::is_control), "{e}");
            mark(&e.message)
        }
    }
}

fn descriptor(data: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(data);
    let all = [("x-disk1.vmdk", ova::disk()), ("debian-disk001.vmdk", ova::disk())];
    // What is not named is refused, so only what the text names is there.
    let named: Vec<(&str, Vec<u8>)> = all.into_iter().filter(|(n, _)| text.contains(n)).collect();
    judged(&ova::package("x", &text, &named, None))
}

fn manifest(data: &[u8]) -> u64 {
    judged(&ova::archive(&[("x.ovf", ova::VMWARE.as_bytes()), ("x.mf", data), ("x-disk1.vmdk", &ova::disk())], ova::Way::Pax))
}
