//! Packages of the hostile set: a right one with one lie in its archive, its descriptor or its manifest.

use super::hostile::{Hostile, add, backed_by};
use super::ova::{VMWARE, Way, archive, digest, disk, header, member, package, seal, vmware};
use super::{put, qcow2, with};

/// Adds them.
pub(super) fn add_all(out: &mut Vec<Hostile>) {
    archives(out);
    descriptors(out);
    disks(out);
    manifests(out);
}

/// A right package before its end, and whatever follows.
fn before_end(more: &[Vec<u8>]) -> Vec<u8> {
    let mut all = vmware();
    all.truncate(all.len() - 1024);
    more.iter().for_each(|m| all.extend(m));
    all.resize(all.len() + 1024, 0);
    all
}

fn archives(out: &mut Vec<Hostile>) {
    let odd = |name: &str| before_end(&[member(name, b"* * * * * root true\n", b'0')]);
    add(out, "CVE-2021-21972", "OVA with a path upwards", odd("../../etc/cron.d/x"), "path");
    add(out, "CVE-2021-21972", "OVA with an absolute path", odd("/etc/cron.d/x"), "path");
    add(out, "CVE-2025-34028", "OVA with a path in the words of Windows", odd("..\\..\\x.jsp"), "path");
    add(out, "CVE-2026-25077", "OVA with a name that is an option", odd("--checkpoint-action=exec=sh"), "impossible name");
    add(out, "CVE-2022-35507", "OVA with a line break in a name", odd("a\nb.vmdk"), "impossible name");
    add(out, "class: member that nobody names", "OVA with a file that its descriptor does not name", odd("extra.sh"), "does not name");
    let kind = |kind: u8, name: &str| before_end(&[member(name, b"", kind)]);
    let mut link = header("x-disk2.vmdk", 0, b'2');
    put(&mut link, 157, b"/etc/shadow");
    seal(&mut link);
    add(out, "CVE-2026-115375", "OVA with a symbolic link", before_end(&[link.clone()]), "link");
    link[156] = b'1';
    seal(&mut link);
    add(out, "CVE-2026-115375", "OVA with a hard link", before_end(&[link]), "link");
    add(out, "class: device", "OVA with a block device", kind(b'4', "sda"), "device");
    add(out, "class: device", "OVA with a character device", kind(b'3', "mem"), "device");
    add(out, "class: device", "OVA with a pipe", kind(b'6', "pipe"), "device");
    add(out, "class: folder", "OVA with a folder", kind(b'5', "etc"), "folder");
    add(out, "class: sparse member", "OVA with a sparse member of GNU", kind(b'S', "x-disk2.vmdk"), "sparse");
    let sparse = member("x", b"30 GNU.sparse.realsize=999999\n", b'x');
    add(out, "class: sparse member", "OVA with a sparse member of pax", before_end(&[sparse, member("x-disk2.vmdk", b"", b'0')]), "sparse");
    let path = member("x", b"25 path=../../etc/passwd\n", b'x');
    add(out, "CVE-2021-21972", "OVA whose extended header holds a path upwards", before_end(&[path, member("harmless.vmdk", b"", b'0')]), "path");
    let long = member("././@LongLink", b"/etc/passwd\0", b'L');
    add(out, "CVE-2021-21972", "OVA whose long name of GNU is an absolute path", before_end(&[long, member("harmless.vmdk", b"", b'0')]), "path");
    let linkpath = member("x", b"24 linkpath=/etc/shadow\n", b'x');
    add(out, "CVE-2026-115375", "OVA whose extended header makes a link", before_end(&[linkpath, member("x-disk2.vmdk", b"", b'0')]), "link");
    add(out, "class: broken header", "OVA with an extended header without an end", before_end(&[member("x", b"999999 path=a", b'x')]), "extended header");
    let mut huge = header("x", 1 << 30, b'x');
    seal(&mut huge);
    add(out, "class: broken header", "OVA with an extended header of 1 GiB", before_end(&[huge]), "beyond all bounds");
    add(out, "class: two readings", "OVA with two descriptors of one name", before_end(&[member("x.ovf", b"<a/>", b'0')]), "two members");
    add(out, "class: two readings", "OVA with two disks of one name in another case", before_end(&[member("X-DISK1.vmdk", b"", b'0')]), "two members");
    let mut twice = vmware();
    twice.extend(vmware());
    add(out, "class: two readings", "OVA with a second package behind its end", twice, "behind its end");
    let many: Vec<Vec<u8>> = (0..100).map(|n| member(&format!("{n}.vmdk"), b"", b'0')).collect();
    add(out, "class: many members", "OVA with a hundred members", before_end(&many), "more than 64");
    let empty: Vec<Vec<u8>> = (0..300).map(|_| member("x", b"", b'g')).collect();
    add(out, "class: many members", "OVA with headers that name nothing", before_end(&empty), "too many headers");
    add(out, "class: cut off", "OVA whose disk is cut off", vmware()[..vmware().len() - 4096].to_vec(), "cut off");
    let mut long = vmware();
    put(&mut long, 124, &[0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    seal(&mut long);
    add(out, "class: cut off", "OVA with a member of 16 EiB", long.clone(), "cut off");
    put(&mut long, 124, &[0xff; 12]);
    seal(&mut long);
    add(out, "class: broken header", "OVA with a negative length", long.clone(), "no number");
    put(&mut long, 124, b"9999999999\0\0");
    seal(&mut long);
    add(out, "class: broken header", "OVA with a length that is no number", long, "no number");
    add(out, "class: damaged", "OVA with a wrong checksum of a header", with(vmware(), &[(148, b"000000\0 ")]), "checksum");
    add(out, "class: no package", "tar archive without a descriptor", archive(&[("readme.txt", b"x")], Way::Pax), "no OVA");
    let disk_first = archive(&[("x-disk1.vmdk", &disk()), ("x.ovf", VMWARE.as_bytes())], Way::Pax);
    add(out, "class: no package", "OVA whose descriptor does not come first", disk_first, "no OVA");
}

/// A package with this descriptor.
fn described(text: &str) -> Vec<u8> {
    package("x", text, &[("x-disk1.vmdk", disk())], None)
}

fn descriptors(out: &mut Vec<Hostile>) {
    let after_declaration = |more: &str| VMWARE.replacen("?>", &format!("?>{more}"), 1);
    let entity = after_declaration("<!DOCTYPE x [<!ENTITY e SYSTEM \"file:///etc/shadow\">]>").replace("Made by hand", "&e;");
    add(out, "CVE-2013-4179", "OVF that reads a file by an entity", described(&entity), "document type");
    let laughs = after_declaration("<!DOCTYPE x [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;\"><!ENTITY c \"&b;&b;&b;&b;&b;&b;\">]>")
        .replace("Made by hand", "&c;");
    add(out, "CVE-2013-1664", "OVF whose entities grow without bound", described(&laughs), "document type");
    let remote = after_declaration("<!DOCTYPE x PUBLIC \"-//x\" \"http://169.254.169.254/x.dtd\">");
    add(out, "CVE-2013-1665", "OVF with a document type of another server", described(&remote), "document type");
    add(out, "CVE-2013-4183", "OVF with an entity that it does not declare", described(&VMWARE.replace("Made by hand", "&e;")), "entities");
    let deep = VMWARE.replace("<Name>photon</Name>", &format!("{}{}", "<x>".repeat(5000), "</x>".repeat(5000)));
    add(out, "class: deep", "OVF nested five thousand deep", described(&deep), "nested too deeply");
    let wide = VMWARE.replace("<Name>photon</Name>", &"<x/>".repeat(50_000));
    add(out, "class: wide", "OVF with fifty thousand elements", described(&wide), "too many elements");
    let attributes: String = (0..100).map(|n| format!(" a{n}='1'")).collect();
    add(out, "class: wide", "OVF with a hundred attributes of one element", described(&VMWARE.replace("<Name>", &format!("<Name{attributes}>"))), "attribute");
    let file = "<File ovf:href=\"x-disk1.vmdk\" ovf:id=\"file1\"/>";
    let files: String = (0..1000).map(|n| format!("<File ovf:href=\"d{n}.vmdk\" ovf:id=\"f{n}\"/>")).collect();
    add(out, "class: wide", "OVF with a thousand files", described(&VMWARE.replace(file, &format!("{file}{files}"))), "more than 64 files");
    let disks: String = (0..1000).map(|n| format!("<Disk ovf:diskId=\"d{n}\" ovf:capacity=\"1\"/>")).collect();
    add(out, "class: wide", "OVF with a thousand disks", described(&VMWARE.replace("<Info>Virtual disk information</Info>", &disks)), "more than 64 disks");
    let href = |name: &str| described(&VMWARE.replace("ovf:href=\"x-disk1.vmdk\"", &format!("ovf:href=\"{name}\"")));
    add(out, "CVE-2021-21972", "OVF that names a file by its path", href("/etc/shadow"), "by a path or an address");
    add(out, "CVE-2021-21972", "OVF that names a file upwards", href("../../images/other"), "by a path or an address");
    add(out, "CVE-2022-35508", "OVF that names an address", href("http://169.254.169.254/latest"), "by a path or an address");
    add(out, "class: file that is not there", "OVF that names a file that is not in its package", href("x-disk9.vmdk"), "does not name");
    let twice = VMWARE.replace(file, &format!("{file}<File ovf:href=\"x-disk1.vmdk\" ovf:id=\"file2\"/>"));
    add(out, "CVE-2026-34178", "OVF that names a file twice", described(&twice), "twice");
    add(out, "CVE-2026-34178", "OVF with an attribute twice", described(&VMWARE.replace("ovf:diskId=", "diskId=\"other\" ovf:diskId=")), "twice");
    let size = VMWARE.replace("ovf:id=\"file1\"", "ovf:id=\"file1\" ovf:size=\"1\"");
    add(out, "class: two readings", "OVF that tells of another length than the file has", described(&size), "another length");
    let chunks = VMWARE.replace("ovf:id=\"file1\"", "ovf:id=\"file1\" ovf:chunkSize=\"1000\"");
    add(out, "class: chunks", "OVF with a file in chunks", described(&chunks), "chunks");
    let gzip = VMWARE.replace("ovf:id=\"file1\"", "ovf:id=\"file1\" ovf:compression=\"gzip\"");
    add(out, "CVE-2013-4469", "OVF with a compressed file", described(&gzip), "compressed");
    let capacity = |c: &str| described(&VMWARE.replace("ovf:capacity=\"16\"", &format!("ovf:capacity=\"{c}\"")));
    add(out, "CVE-2013-4463", "OVF with a disk of 16 ZiB", capacity("17179869184"), "capacity");
    add(out, "CVE-2014-0142", "OVF with a disk of a negative size", capacity("-1"), "capacity");
    let parent = VMWARE.replace("ovf:fileRef=\"file1\"", "ovf:fileRef=\"file1\" ovf:parentRef=\"other\"");
    add(out, "CVE-2015-1850", "OVF with a disk that stands on another", described(&parent), "differences");
    let memory = VMWARE.replace("<rasd:VirtualQuantity>2048<", "<rasd:VirtualQuantity>18446744073709551615<");
    add(out, "CVE-2015-5286", "OVF with memory whose product overflows", described(&memory), "memory");
    let two = VMWARE.replace("</Envelope>", "<VirtualSystem ovf:id=\"b\"/></Envelope>");
    add(out, "CVE-2026-34178", "OVF with two machines", described(&two), "several machines");
    add(out, "class: damaged", "OVF that is no XML", described("<Envelope"), "descriptor");
    add(out, "class: damaged", "OVF in UTF-16", package_bytes(&[0xff, 0xfe, b'<', 0]), "UTF-8");
    add(out, "class: damaged", "OVF with two documents", described(&format!("{VMWARE}<a/>")), "descriptor");
    let long = format!("{VMWARE}{}", " ".repeat(5 << 20));
    add(out, "class: wide", "OVF of 5 MiB", described(&long), "more than 4 MiB");
}

fn package_bytes(descriptor: &[u8]) -> Vec<u8> {
    archive(&[("x.ovf", descriptor), ("x-disk1.vmdk", &disk())], Way::Pax)
}

fn disks(out: &mut Vec<Hostile>) {
    let holds = |content: Vec<u8>| package("x", VMWARE, &[("x-disk1.vmdk", content)], Some("SHA256"));
    add(out, "CVE-2015-5163", "OVA with a qcow2 that has a backing file", holds(backed_by("/etc/shadow")), "backing file");
    let flat = super::vmdk_descriptor("monolithicFlat", "ffffffff", "RW 2048 FLAT \"/etc/shadow\" 0");
    add(out, "CVE-2022-47951", "OVA with a VMDK descriptor", holds([flat.as_bytes(), &[0; 1024]].concat()), "VMDK descriptor");
    add(out, "CVE-2024-32498", "OVA with a qcow2 whose data are elsewhere", holds(super::hostile::data_in("/etc/shadow")), "another file");
    add(out, "CVE-2013-4463", "OVA with a qcow2 of 16 EiB", holds(with(qcow2(), &[(24, &(!511u64).to_be_bytes())])), "virtual size");
    // A table that points behind its disk, into the member that follows.
    let into_next = with(qcow2(), &[(40, &(1u64 << 20).to_be_bytes())]);
    let with_more = VMWARE.replace(
        "<File ovf:href=\"x-disk1.vmdk\" ovf:id=\"file1\"/>",
        "<File ovf:href=\"x-disk1.vmdk\" ovf:id=\"file1\"/><File ovf:href=\"x.nvram\" ovf:id=\"file2\"/>",
    );
    let next = package("x", &with_more, &[("x-disk1.vmdk", into_next), ("x.nvram", vec![1; 2 << 20])], None);
    add(out, "class: cut off", "OVA with a disk whose table lies in the next member", next, "cluster table");
    add(out, "class: nested", "OVA within an OVA", holds(vmware()), "within an OVA");
    add(out, "class: nested", "OVA with a gzip in place of a disk", holds(with(vec![0; 4096], &[(0, b"\x1f\x8b\x08")])), "gzip");
}

fn manifests(out: &mut Vec<Hostile>) {
    let says = |text: &str| archive(&[("x.ovf", VMWARE.as_bytes()), ("x.mf", text.as_bytes()), ("x-disk1.vmdk", &disk())], Way::Pax);
    let (o, d) = (digest("SHA256", VMWARE.as_bytes()), digest("SHA256", &disk()));
    let right = format!("SHA256(x.ovf)= {o}\nSHA256(x-disk1.vmdk)= {d}\n");
    add(out, "CVE-2024-47211", "OVA whose manifest leaves out its disk", says(&format!("SHA256(x.ovf)= {o}\n")), "says nothing of");
    add(out, "CVE-2026-34178", "OVA whose manifest names a file twice", says(&format!("{right}SHA256(x.ovf)= {d}\n")), "twice");
    add(
        out,
        "class: file that is not there",
        "OVA whose manifest names another file",
        says(&format!("{right}SHA256(../../etc/shadow)= {d}\n")),
        "which is not in it",
    );
    add(out, "CVE-2024-47211", "OVA whose manifest uses MD5", says("MD5(x.ovf)= d41d8cd98f00b204e9800998ecf8427e\n"), "of which a line");
    add(
        out,
        "class: two readings",
        "OVA whose manifest mixes digests",
        says(&format!("{right}SHA1(x-disk1.vmdk)= {}\n", digest("SHA1", &disk()))),
        "several kinds",
    );
    add(out, "class: damaged", "OVA whose manifest is cut off", says(&right[..right.len() - 9]), "of which a line");
    add(
        out,
        "class: damaged",
        "OVA whose manifest is no text",
        archive(&[("x.ovf", VMWARE.as_bytes()), ("x.mf", &[0xff, 0xfe]), ("x-disk1.vmdk", &disk())], Way::Pax),
        "no text",
    );
    let two = archive(&[("x.ovf", VMWARE.as_bytes()), ("x.mf", right.as_bytes()), ("y.mf", right.as_bytes()), ("x-disk1.vmdk", &disk())], Way::Pax);
    add(out, "CVE-2026-34178", "OVA with two manifests", two, "several descriptors, manifests");
}
