//! Raw disks, and everything that must not be taken for one.
//!
//! A raw disk has no header: whatever its first bytes say was written by a guest. A file that begins like another format
//! is refused by name, because its owner most likely believes it to be that, and because the next program that looks for
//! itself would believe it too (CVE-2016-2140, CVE-2024-40767).

use super::reader::{Reader, Seen, be, must, refuse};
use super::{ImageFormat, Inspected, VIRTUAL_BYTES_MAX};

/// How a foreign format begins, at which byte, what it is, and what to do.
const FOREIGN: [(usize, &[u8], &str, &str); 27] = [
    (0, b"QED\0", "a QED image", CONVERT),
    (0, b"COWD", "a VMDK of the old kind (COWD)", CONVERT),
    (0, b"# Disk DescriptorFile", "a VMDK descriptor, which only names the files that hold the data", STREAM),
    (0, b"SEsparse", "a VMDK of the kind SEsparse", STREAM),
    (0, b"\x0d\xd0\x05\x00\xbe\xba\xfe\xca", "a VMDK of the kind SEsparse", STREAM),
    (0x40, b"\x7f\x10\xda\xbe", "a VirtualBox disk (VDI)", CONVERT),
    (0, b"<<< ", "a VirtualBox disk (VDI)", CONVERT),
    (0, b"LUKS\xba\xbe", "an encrypted disk (LUKS)", "decrypt it first (qemu-img convert, with its passphrase)"),
    (0, b"WithoutFreeSpace", "a Parallels disk", CONVERT),
    (0, b"WithouFreSpacExt", "a Parallels disk", CONVERT),
    (0, b"Bochs Virtual HD Image", "a Bochs disk", CONVERT),
    (0, b"#!/bin/sh\n#V2.0 Format\nmodprobe cloop", "a cloop image", CONVERT),
    (0, b"COW\0", "a QEMU disk of the old kind (cow)", CONVERT),
    (0, b"OOOM", "a User Mode Linux disk (cow)", CONVERT),
    (0, b"\x1f\x8b", "gzip data", UNPACK),
    (0, b"\xfd7zXZ\0", "xz data", UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "zstd data", UNPACK),
    (0, b"BZh", "bzip2 data", UNPACK),
    (0, b"\x04\x22\x4d\x18", "lz4 data", UNPACK),
    (0, b"\x5d\0\0", "lzma data", UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", UNPACK),
    (0, b"PK\x03\x04", "a zip archive", UNPACK),
    (0, b"Rar!\x1a\x07", "a RAR archive", UNPACK),
    (0, b"MSWIM\0\0\0", "a Windows image (WIM), which is no disk", "import the installation medium as an ISO"),
    (0, b"hsqs", "a squashfs file system, which is no disk", "import the medium that holds it"),
    (0, b"<?xml", "an XML document, such as an OVF descriptor", "import the disk that it names"),
    (0, b"\x7fELF", "a program", "import a disk"),
];

const CONVERT: &str = "convert it to qcow2 first (qemu-img convert -O qcow2)";
const STREAM: &str = "export the disk in its form for transport (streamOptimized), or convert it to qcow2 first (qemu-img convert -O qcow2)";
const UNPACK: &str = "unpack it first";

/// Refuses what begins like a format that Virga does not take, by its name.
pub(super) fn refuse_foreign(r: &mut Reader<'_>, first: &[u8; 512]) -> Seen<()> {
    for (at, magic, what, hint) in FOREIGN {
        if first.get(at..).is_some_and(|rest| rest.starts_with(magic)) {
            return refuse(format!("is {what}; {hint}. If it is a raw disk that only begins so, make a qcow2 of it (qemu-img convert -f raw -O qcow2)"));
        }
    }
    if looks_like_descriptor(first) {
        return refuse(format!("begins like a VMDK descriptor; {STREAM}"));
    }
    if r.length() > 0x8806 && matches!(&r.array::<6>(0x8000)?, b"\0BEA01" | b"\0NSR02" | b"\0NSR03") {
        return refuse("is a UDF medium without ISO 9660; make an ISO 9660 medium of its files (xorriso, genisoimage)");
    }
    Ok(())
}

/// Whether QEMU, left to itself, would take the text for a VMDK descriptor: comments and empty lines, then a version.
fn looks_like_descriptor(first: &[u8]) -> bool {
    let mut lines = first.split(|b| *b == b'\n').map(|l| l.strip_suffix(b"\r").unwrap_or(l));
    let telling = lines.find(|l| !l.starts_with(b"#") && l.iter().any(|b| *b != b' '));
    telling.is_some_and(|l| l.strip_prefix(b"version=").and_then(<[u8]>::first).is_some_and(u8::is_ascii_digit))
}

/// What has no header: whole sectors, and not too many.
pub(super) fn inspect(r: &Reader<'_>, last: &[u8; 512]) -> Seen<Inspected> {
    let bytes = r.length();
    // The trailer of Apple's disk images says its own size and version.
    if last.starts_with(b"koly") && be(last, 4, 4) == 4 && be(last, 8, 4) == 512 {
        return refuse(format!("is an Apple disk image (DMG); {CONVERT}"));
    }
    must(bytes <= VIRTUAL_BYTES_MAX, "is larger than 64 TiB")?;
    // Old versions of Virtual PC wrote a footer of 511 bytes.
    let short_footer = bytes % 512 == 511 && last.get(1..9) == Some(super::vhd::MAGIC);
    must(!short_footer, "is a VHD of an old version of Virtual PC; convert it to qcow2 first (qemu-img convert -f vpc -O qcow2)")?;
    must(
        bytes.is_multiple_of(512),
        "is of no format that Virga takes (qcow2, vmdk, vhd, vhdx, ISO), and its length is not a multiple of 512 bytes, so it is no raw disk either",
    )?;
    Ok(Inspected::new(ImageFormat::Raw, bytes))
}
