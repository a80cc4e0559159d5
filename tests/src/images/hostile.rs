//! The hostile set: each file is a right image with one lie, named for the published flaw or the class of flaws that it
//! stands for. The names of the flaws of QEMU from 2014 are those of the commits that mended them.

use super::*;

/// A file that must be refused.
pub struct Hostile {
    /// The published flaw, or the class that begins with a small letter.
    pub flaw: &'static str,
    /// What is wrong with it, for people.
    pub what: String,
    /// The file.
    pub bytes: Vec<u8>,
    /// A piece of the reason for which it must be refused.
    pub why: &'static str,
}

/// The whole set.
#[must_use]
pub fn all() -> Vec<Hostile> {
    let mut out = Vec::new();
    leads_elsewhere(&mut out);
    qcow2_lies(&mut out);
    vmdk_lies(&mut out);
    vhd_lies(&mut out);
    vhdx_lies(&mut out);
    iso_lies(&mut out);
    others(&mut out);
    super::hostile_ova::add_all(&mut out);
    out
}

pub(super) fn add(out: &mut Vec<Hostile>, flaw: &'static str, what: impl Into<String>, bytes: Vec<u8>, why: &'static str) {
    out.push(Hostile { flaw, what: what.into(), bytes, why });
}

/// A qcow2 with a backing file of that name.
#[must_use]
pub fn backed_by(name: &str) -> Vec<u8> {
    let bytes = u32::try_from(name.len()).expect("short").to_be_bytes();
    with(qcow2(), &[(8, &0x400u64.to_be_bytes()), (16, &bytes), (0x400, name.as_bytes())])
}

/// A qcow2 whose data are in the file of that name.
#[must_use]
pub fn data_in(name: &str) -> Vec<u8> {
    let bytes = u32::try_from(name.len()).expect("short").to_be_bytes();
    with(qcow2(), &[(72, &4u64.to_be_bytes()), (104, &0x4441_5441u32.to_be_bytes()), (108, &bytes), (112, name.as_bytes())])
}

fn leads_elsewhere(out: &mut Vec<Hostile>) {
    for (flaw, name) in [
        ("CVE-2015-1850", "/etc/shadow"),
        ("CVE-2015-1851", "../../../../etc/passwd"),
        ("CVE-2015-5163", "/dev/sda"),
        ("CVE-2013-1922", "/proc/self/environ"),
        ("CVE-2024-4467", r#"json:{"driver":"file","filename":"/etc/shadow"}"#),
        ("class: backing file by a protocol", "nbd://127.0.0.1:10809/x"),
        ("class: backing file by a protocol", "http://169.254.169.254/latest/meta-data/"),
        ("class: backing file by a protocol", "ssh://127.0.0.1/etc/shadow"),
        ("class: backing file by a protocol", "fat:rw:/etc"),
        ("class: backing file by a protocol", "blkdebug:/etc/shadow:x"),
    ] {
        add(out, flaw, format!("qcow2 with the backing file {name}"), backed_by(name), "backing file");
    }
    let v2 = with(qcow2_v2(), &[(8, &0x400u64.to_be_bytes()), (16, &11u32.to_be_bytes()), (0x400, b"/etc/shadow")]);
    add(out, "CVE-2015-1850", "qcow2 of version 2 with a backing file", v2, "backing file");
    add(out, "CVE-2024-32498", "qcow2 with an external data file", data_in("/etc/shadow"), "another file");
    add(out, "CVE-2024-4467", "qcow2 with a json: name of its data file", data_in(r#"json:{"driver":"file","filename":"/etc/shadow"}"#), "another file");
    add(out, "CVE-2024-32498", "qcow2 with the bit of an external data file only", with(qcow2(), &[(72, &4u64.to_be_bytes())]), "another file");
    add(out, "CVE-2024-32498", "qcow2 with the name of a data file only", with(data_in("/etc/shadow"), &[(72, &[0; 8])]), "another file");
    add(out, "CVE-2024-32498", "qcow2 with the bit of a raw external data file", with(qcow2(), &[(88, &2u64.to_be_bytes())]), "another file");
    let format = with(qcow2(), &[(104, &0xe279_2acau32.to_be_bytes()), (108, &3u32.to_be_bytes()), (112, b"raw")]);
    add(out, "CVE-2026-24709", "qcow2 with the format of a backing file only", format, "another file");
}

fn qcow2_lies(out: &mut Vec<Hostile>) {
    let q = |changes: &[(usize, &[u8])]| with(qcow2(), changes);
    add(out, "CVE-2014-0144", "qcow2 with clusters of 2^63 bytes", q(&[(20, &63u32.to_be_bytes())]), "cluster size");
    add(out, "CVE-2014-0144", "qcow2 with clusters of one byte", q(&[(20, &0u32.to_be_bytes())]), "cluster size");
    add(out, "CVE-2014-0144", "qcow2 with a cluster table beyond all bounds", q(&[(36, &u32::MAX.to_be_bytes())]), "cluster table");
    add(out, "CVE-2014-0144", "qcow2 with a cluster table behind its end", q(&[(40, &(1u64 << 40).to_be_bytes())]), "cluster table");
    add(out, "CVE-2014-0144", "qcow2 with a cluster table at an odd place", q(&[(40, &0x3_0001u64.to_be_bytes())]), "cluster table");
    add(out, "CVE-2014-0144", "qcow2 with the table of reference counts behind its end", q(&[(48, &(1u64 << 62).to_be_bytes())]), "reference counts");
    add(out, "CVE-2014-0143", "qcow2 with a table of reference counts whose size overflows", q(&[(56, &0xffff_ffffu32.to_be_bytes())]), "reference counts");
    add(out, "CVE-2014-0147", "qcow2 without a table of reference counts", q(&[(56, &0u32.to_be_bytes())]), "reference counts");
    let snapshots = q(&[(60, &1u32.to_be_bytes()), (64, &(1u64 << 50).to_be_bytes())]);
    add(out, "CVE-2014-0146", "qcow2 with a snapshot table behind its end", snapshots, "snapshots");
    let many = q(&[(60, &u32::MAX.to_be_bytes()), (64, &(2 * CLUSTER as u64).to_be_bytes())]);
    add(out, "CVE-2014-0145", "qcow2 with four billion snapshots", many, "snapshots");
    add(out, "CVE-2013-4463", "qcow2 of 16 EiB", q(&[(24, &(!511u64).to_be_bytes())]), "virtual size");
    add(out, "CVE-2013-2096", "qcow2 of 65 TiB", q(&[(24, &(65u64 << 40).to_be_bytes())]), "virtual size");
    let small_clusters = q(&[(20, &9u32.to_be_bytes()), (24, &(64u64 << 40).to_be_bytes()), (36, &(1u32 << 31).to_be_bytes())]);
    add(out, "CVE-2015-5162", "qcow2 of 64 TiB in clusters of 512 bytes: a table of 16 GiB", small_clusters, "cluster table");
    add(out, "CVE-2013-4469", "qcow2 whose tables name one compressed cluster a million times", bomb(), "thousand times");
    add(
        out,
        "CVE-2014-0143",
        "qcow2 with a header extension whose length overflows",
        q(&[(104, &[0x12, 0x34, 0x56, 0x78, 0xff, 0xff, 0xff, 0xff])]),
        "without an end",
    );
    add(out, "CVE-2014-0144", "qcow2 with a header longer than its cluster", q(&[(100, &u32::MAX.to_be_bytes())]), "length");
    add(out, "class: encryption", "qcow2 with LUKS", q(&[(32, &2u32.to_be_bytes())]), "encrypted");
    add(
        out,
        "class: encryption",
        "qcow2 with a header of LUKS behind its end",
        q(&[(104, &0x0537_be77u32.to_be_bytes()), (108, &16u32.to_be_bytes())]),
        "encryption",
    );
    add(out, "class: unknown feature", "qcow2 with an unknown incompatible feature", q(&[(72, &(1u64 << 40).to_be_bytes())]), "does not know");
    add(out, "class: damaged", "qcow2 that is marked corrupt", q(&[(72, &2u64.to_be_bytes())]), "corrupt");
    add(out, "class: damaged", "qcow2 that is marked dirty", q(&[(72, &1u64.to_be_bytes())]), "dirty");
    add(
        out,
        "class: unknown feature",
        "qcow2 compressed in an unknown way",
        q(&[(72, &8u64.to_be_bytes()), (100, &112u32.to_be_bytes()), (104, &[9])]),
        "compressed",
    );
    add(out, "class: bitmaps", "qcow2 with dirty bitmaps", q(&[(104, &0x2385_2875u32.to_be_bytes()), (108, &24u32.to_be_bytes())]), "bitmaps");
    add(out, "class: table entry", "qcow2 whose cluster table points behind its end", q(&[(3 * CLUSTER, &(1u64 << 40).to_be_bytes())]), "cut off");
    add(out, "class: table entry", "qcow2 whose cluster table has reserved bits", q(&[(3 * CLUSTER, &(1u64 << 60).to_be_bytes())]), "impossible");
    let cut = qcow2()[..CLUSTER * 2].to_vec();
    add(out, "class: cut off", "qcow2 without its tables", cut, "within the file");
}

/// A table of clusters that all are one compressed cluster.
fn bomb() -> Vec<u8> {
    // 64 GiB: 128 tables of clusters, all in one place would be refused as such, so each has its own.
    let tables = 16;
    let mut d = with(qcow2(), &[(24, &(8u64 << 30).to_be_bytes()), (36, &16u32.to_be_bytes())]);
    d.resize((5 + tables) * CLUSTER, 0);
    for t in 0..tables {
        put(&mut d, 3 * CLUSTER + 8 * t, &(((4 + t) * CLUSTER) as u64 | (1 << 63)).to_be_bytes());
        let compressed = (1u64 << 62) | ((4 + tables) * CLUSTER) as u64;
        (0..CLUSTER / 8).for_each(|n| put(&mut d, (4 + t) * CLUSTER + 8 * n, &compressed.to_be_bytes()));
    }
    d
}

fn vmdk_lies(out: &mut Vec<Hostile>) {
    let flat = vmdk_descriptor("monolithicFlat", "ffffffff", "RW 2048 FLAT \"/etc/shadow\" 0");
    add(out, "CVE-2022-47951", "VMDK descriptor that names a file of the host", [flat.as_bytes(), &[0; 1024]].concat(), "VMDK descriptor");
    let bare = "\n# x\nversion=1\ncreateType=\"vmfs\"\nRW 2048 VMFS \"/etc/shadow\"\n";
    add(out, "CVE-2024-40767", "VMDK descriptor that begins with an empty line", [bare.as_bytes(), &[0; 1024]].concat(), "VMDK descriptor");
    for (flaw, what, kind, parent, extent, why) in [
        ("CVE-2024-40767", "a flat extent", "monolithicSparse", "ffffffff", "RW 2048 FLAT \"/etc/shadow\" 0", "other files"),
        ("CVE-2022-47951", "an extent by its path", "monolithicSparse", "ffffffff", "RW 2048 SPARSE \"/etc/shadow\"", "path"),
        ("CVE-2022-47951", "an extent in another folder", "streamOptimized", "ffffffff", "RW 2048 SPARSE \"../../../etc/shadow\"", "path"),
        ("CVE-2024-4467", "an extent by json:", "monolithicSparse", "ffffffff", "RW 2048 SPARSE \"json:{}\"", "path"),
        ("class: extent by a protocol", "an extent by nbd:", "monolithicSparse", "ffffffff", "RW 2048 SPARSE \"nbd:127.0.0.1\"", "path"),
        ("class: raw device", "a device of the host", "fullDevice", "ffffffff", "RW 2048 FLAT \"/dev/sda\" 0", "other files"),
        ("class: several files", "parts of 2 GB", "twoGbMaxExtentSparse", "ffffffff", "RW 2048 SPARSE \"disk-s001.vmdk\"", "other files"),
        ("class: several files", "no kind that is known", "custom", "ffffffff", "RW 2048 SPARSE \"disk.vmdk\"", "other files"),
        ("class: several files", "two extents", "monolithicSparse", "ffffffff", "RW 2048 SPARSE \"a.vmdk\"\nRW 2048 SPARSE \"b.vmdk\"", "several"),
        ("class: parent", "the id of a parent", "monolithicSparse", "deadbeef", "RW 2048 SPARSE \"disk.vmdk\"", "parent"),
        ("class: parent", "the name of a parent", "monolithicSparse", "ffffffff", "parentFileNameHint=\"/etc/shadow\"\nRW 2048 SPARSE \"disk.vmdk\"", "parent"),
        (
            "class: change tracking",
            "a file of changes",
            "monolithicSparse",
            "ffffffff",
            "changeTrackPath=\"/etc/shadow\"\nRW 2048 SPARSE \"disk.vmdk\"",
            "another file",
        ),
    ] {
        add(out, flaw, format!("VMDK with {what}"), with_descriptor(vmdk_sparse(), &vmdk_descriptor(kind, parent, extent)), why);
    }
    // QEMU reads the name of a parent here, whatever the header says of the place of the descriptor.
    let mut hidden = vmdk_sparse();
    let text = vmdk_descriptor("monolithicSparse", "ffffffff", "RW 2048 SPARSE \"disk.vmdk\"");
    put(&mut hidden, 28, &100u64.to_le_bytes());
    put(&mut hidden, 100 * 512, text.as_bytes());
    hidden[DESCRIPTOR..DESCRIPTOR + 20 * 512].fill(0);
    put(&mut hidden, DESCRIPTOR, b"parentFileNameHint=\"/etc/shadow\"");
    add(out, "class: parent", "VMDK with the name of a parent beside its descriptor", hidden, "parent");
    let v = |changes: &[(usize, &[u8])]| with(vmdk_sparse(), changes);
    add(out, "CVE-2022-47951", "VMDK that tells of no capacity, so that its extents are followed", v(&[(12, &[0; 8])]), "no data of its own");
    add(out, "CVE-2013-4463", "VMDK of 8 ZiB", v(&[(12, &u64::MAX.to_le_bytes())]), "virtual size");
    add(out, "CVE-2014-0144", "VMDK with grains of 2^63 sectors", v(&[(20, &(1u64 << 63).to_le_bytes())]), "grains");
    add(out, "CVE-2014-0142", "VMDK with grains of nothing", v(&[(20, &[0; 8])]), "grains");
    add(out, "CVE-2014-0144", "VMDK with huge grain tables", v(&[(44, &u32::MAX.to_le_bytes())]), "grain tables");
    add(out, "class: cut off", "VMDK with a directory behind its end", v(&[(56, &(1u64 << 40).to_le_bytes())]), "cut off");
    add(out, "class: table entry", "VMDK with a grain behind its end", v(&[(22 * 512, &0x7fff_ffffu32.to_le_bytes())]), "cut off");
    let table: Vec<u8> = (0..16).flat_map(|_| 128u32.to_le_bytes()).collect();
    add(out, "CVE-2013-4469", "VMDK whose table names one grain many times", v(&[(22 * 512, &table)]), "more grains");
    add(out, "class: cut off", "VMDK for transport without its footer", vmdk_stream()[..STREAM_BYTES - 1024].to_vec(), "footer");
    add(
        out,
        "class: two headers",
        "VMDK for transport whose footer tells of more",
        with(vmdk_stream(), &[(29 * 512 + 12, &4096u64.to_le_bytes())]),
        "disagree",
    );
    add(out, "class: two headers", "VMDK for transport whose footer tells of nothing", with(vmdk_stream(), &[(29 * 512 + 12, &[0; 8])]), "no data of its own");
}

fn vhd_lies(out: &mut Vec<Hostile>) {
    let fixed = |changes: &[(usize, &[u8])]| {
        let mut d = vhd_fixed();
        let at = d.len() - 512;
        changes.iter().for_each(|(o, b)| put(&mut d, at + o, b));
        seal_footer(&mut d, at);
        d
    };
    let dynamic = |changes: &[(usize, &[u8])]| {
        let mut d = with(vhd_dynamic(), changes);
        seal_footer(&mut d, 0);
        seal_header(&mut d, 512);
        d
    };
    add(out, "class: parent", "VHD that stands on another (differencing)", dynamic(&[(60, &4u32.to_be_bytes())]), "differencing");
    add(out, "class: parent", "VHD, dynamic, with a locator of a parent", dynamic(&[(512 + 576, b"W2ku")]), "parent");
    add(out, "class: parent", "VHD, dynamic, with the name of a parent", dynamic(&[(512 + 64, b"\0/\0e\0t\0c")]), "parent");
    add(out, "CVE-2014-0144", "VHD with a table of four billion entries", dynamic(&[(512 + 28, &u32::MAX.to_be_bytes())]), "table of VHD blocks");
    add(out, "CVE-2014-0142", "VHD with blocks of nothing", dynamic(&[(512 + 32, &[0; 4])]), "impossible size");
    add(out, "CVE-2014-0144", "VHD with blocks of 2 GiB", dynamic(&[(512 + 32, &(1u32 << 31).to_be_bytes())]), "impossible size");
    add(out, "class: table entry", "VHD with a block behind its end", dynamic(&[(1536, &0x7fff_ffffu32.to_be_bytes())]), "cut off");
    add(out, "CVE-2013-4469", "VHD whose blocks all lie in one place", dynamic(&[(1540, &4u32.to_be_bytes())]), "more VHD blocks");
    add(out, "class: cut off", "VHD with a header behind its end", dynamic(&[(16, &(1u64 << 60).to_be_bytes())]), "cut off");
    add(out, "CVE-2013-4463", "VHD of 8 EiB", fixed(&[(48, &(1u64 << 62).to_be_bytes())]), "2040 GiB");
    add(out, "class: cut off", "VHD, fixed, that tells of more than it has", fixed(&[(48, &(8u64 << 20).to_be_bytes())]), "cut off");
    add(out, "class: unknown feature", "VHD of an unknown kind", fixed(&[(60, &9u32.to_be_bytes())]), "kind");
    add(out, "class: damaged", "VHD with a wrong checksum", with(vhd_dynamic(), &[(64, &[0; 4])]), "checksum");
}

fn vhdx_lies(out: &mut Vec<Hostile>) {
    let x = |changes: &[(usize, &[u8])]| {
        let mut d = with(vhdx(), changes);
        seal_vhdx(&mut d);
        d
    };
    let (meta, bat, regions) = (2 * MIB, 3 * MIB, 192 << 10);
    add(out, "class: parent", "VHDX that says it has a parent", x(&[(meta + 0x1_0004, &[2])]), "differencing");
    let locator = [0x2d, 0x5f, 0xd3, 0xa8, 0x0b, 0xb3, 0x4d, 0x45, 0xab, 0xf7, 0xd3, 0xd8, 0x48, 0x34, 0xab, 0x0c];
    add(out, "class: parent", "VHDX with a locator of a parent", x(&[(meta + 32 + 64, &locator)]), "differencing");
    add(out, "class: parent", "VHDX with a block that is partly its parent's", x(&[(bat, &(1u64 << 20 | 7).to_le_bytes())]), "differencing");
    add(out, "class: journal", "VHDX with a log to be replayed", x(&[((128 << 10) + 48, &[1; 16])]), "log");
    add(out, "CVE-2014-0144", "VHDX with a log behind its end", x(&[((128 << 10) + 72, &(1u64 << 50).to_le_bytes())]), "log");
    add(out, "CVE-2014-0148", "VHDX with blocks of nothing", x(&[(meta + 0x1_0000, &[0; 4])]), "blocks");
    add(out, "CVE-2014-0148", "VHDX with sectors of nothing", x(&[(meta + 0x1_0020, &[0; 4])]), "sectors");
    add(out, "CVE-2014-0148", "VHDX with sectors of 4 GiB", x(&[(meta + 0x1_0020, &[0xff; 4])]), "sectors");
    add(out, "CVE-2013-4463", "VHDX of 16 EiB", x(&[(meta + 0x1_0008, &(!511u64).to_le_bytes())]), "virtual size");
    add(out, "CVE-2014-0144", "VHDX with four billion regions", x(&[(regions + 8, &u32::MAX.to_le_bytes())]), "too many");
    add(out, "CVE-2014-0144", "VHDX with a region behind its end", x(&[(regions + 16 + 16, &(1u64 << 50).to_le_bytes())]), "within the file");
    add(out, "class: overlap", "VHDX with regions that overlap", x(&[(regions + 16 + 16, &(2u64 << 20).to_le_bytes())]), "overlap");
    add(
        out,
        "class: unknown feature",
        "VHDX with an unknown region that is necessary",
        x(&[
            (regions + 8, &3u32.to_le_bytes()),
            (regions + 16 + 64, &[9; 16]),
            (regions + 16 + 80, &(1u64 << 20).to_le_bytes()),
            (regions + 16 + 88, &(1u32 << 20).to_le_bytes()),
            (regions + 16 + 92, &[1]),
        ]),
        "necessary",
    );
    add(out, "class: unknown feature", "VHDX with unknown metadata that is necessary", x(&[(meta + 32 + 64, &[9; 16])]), "necessary");
    add(
        out,
        "class: table entry",
        "VHDX with an item of metadata behind its region",
        x(&[(meta + 32 + 16, &0xffff_fff0u32.to_le_bytes())]),
        "within its region",
    );
    add(out, "class: table entry", "VHDX with a block behind its end", x(&[(bat, &(1u64 << 50 | 6).to_le_bytes())]), "cut off");
    add(out, "class: damaged", "VHDX with wrong checksums", with(vhdx(), &[((64 << 10) + 4, &[0; 4]), ((128 << 10) + 4, &[0; 4])]), "no valid header");
}

fn iso_lies(out: &mut Vec<Hostile>) {
    let pvd = 16 * 2048;
    add(out, "class: two readings", "ISO whose numbers disagree in their two byte orders", with(iso(), &[(pvd + 84, &[0x7f; 4])]), "disagree");
    add(out, "class: cut off", "ISO whose volume is longer than the file", with(iso(), &[(pvd + 80, &[0, 0, 0, 1]), (pvd + 84, &[1, 0, 0, 0])]), "cut off");
    add(out, "class: endless", "ISO with volume descriptors without an end", with(iso(), &[(pvd + 2048, b"\x02")]), "without an end");
    add(out, "CVE-2014-0142", "ISO with blocks of nothing", with(iso(), &[(pvd + 128, &[0; 4])]), "blocks");
    add(
        out,
        "class: table entry",
        "ISO with a root directory outside its volume",
        with(iso(), &[(pvd + 158, &[0, 0, 0, 1]), (pvd + 162, &[1, 0, 0, 0])]),
        "root directory",
    );
    // One file that is two: an ISO for who looks at sector 16, a qcow2 with a backing file for who looks at the beginning.
    let evil = backed_by("/etc/shadow");
    add(out, "class: polyglot", "ISO that begins as a qcow2 with a backing file", with(iso(), &[(0, &evil[..0x500])]), "backing file");
    add(out, "class: polyglot", "ISO that begins as a VMDK descriptor", with(iso(), &[(0, b"# Disk DescriptorFile\nversion=1\n")]), "VMDK descriptor");
}

fn others(out: &mut Vec<Hostile>) {
    let begins = |magic: &[u8]| with(vec![0; 4096], &[(0, magic)]);
    add(out, "CVE-2014-0222", "qcow of version 1", begins(b"QFI\xfb\0\0\0\x01"), "version 1");
    add(out, "CVE-2014-0223", "qcow of version 1 of 16 EiB", with(begins(b"QFI\xfb\0\0\0\x01"), &[(24, &[0xff; 8])]), "version 1");
    for (flaw, what, magic, why) in [
        ("CVE-2014-0142", "Parallels", &b"WithoutFreeSpace"[..], "Parallels"),
        ("CVE-2014-0143", "Parallels, extended", b"WithouFreSpacExt", "Parallels"),
        ("CVE-2014-0147", "Bochs", b"Bochs Virtual HD Image", "Bochs"),
        ("CVE-2014-0143", "cloop", b"#!/bin/sh\n#V2.0 Format\nmodprobe cloop", "cloop"),
        ("class: format that is not taken", "QED", b"QED\0", "QED"),
        ("class: format that is not taken", "VMDK of the old kind", b"COWD", "COWD"),
        ("class: format that is not taken", "LUKS", b"LUKS\xba\xbe", "LUKS"),
        ("class: compressed bomb", "gzip", b"\x1f\x8b\x08", "gzip"),
        ("class: compressed bomb", "xz", b"\xfd7zXZ\0", "xz"),
        ("class: compressed bomb", "zstd", b"\x28\xb5\x2f\xfd", "zstd"),
        ("CVE-2013-4179", "OVF, an XML document", b"<?xml version=\"1.0\"?><!DOCTYPE x [<!ENTITY a SYSTEM \"file:///etc/shadow\">]>", "XML"),
    ] {
        add(out, flaw, what, begins(magic), why);
    }
    add(out, "CVE-2014-0144", "VDI", with(vec![0; 4096], &[(0x40, b"\x7f\x10\xda\xbe")]), "VDI");
    let dmg = with(vec![0; 4096], &[(4096 - 512, b"koly\0\0\0\x04\0\0\x02\0")]);
    add(out, "CVE-2014-0145", "DMG", dmg, "DMG");
    add(out, "class: cut off", "a file of 100 bytes", vec![0; 100], "shorter");
    add(out, "class: cut off", "nothing", Vec::new(), "shorter");
    add(out, "class: cut off", "half a sector too much", vec![7; 4096 + 256], "multiple of 512");
}
