//! Packages (OVA) in the ways of several products, written after the published format (DSP0243) and their documents.

use super::*;

/// How long names are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// An extended header of POSIX.
    Pax,
    /// GNU's long name.
    Gnu,
}

/// A small right disk.
#[must_use]
pub fn disk() -> Vec<u8> {
    vmdk_stream()
}

/// A header of a tar with its checksum.
#[must_use]
pub fn header(name: &str, bytes: u64, kind: u8) -> Vec<u8> {
    let mut h = vec![0u8; 512];
    put(&mut h, 0, &name.as_bytes()[..name.len().min(100)]);
    put(&mut h, 100, b"0000644\0");
    put(&mut h, 124, format!("{bytes:011o}\0").as_bytes());
    put(&mut h, 136, b"00000000000\0");
    h[156] = kind;
    put(&mut h, 257, b"ustar\x0000");
    seal(&mut h);
    h
}

/// Sets the checksum of a header right.
pub fn seal(h: &mut [u8]) {
    h[148..156].fill(b' ');
    let sum: u32 = h[..512].iter().map(|b| u32::from(*b)).sum();
    put(h, 148, format!("{sum:06o}\0 ").as_bytes());
}

/// A member: header, data, padding.
#[must_use]
pub fn member(name: &str, data: &[u8], kind: u8) -> Vec<u8> {
    let mut out = header(name, data.len() as u64, kind);
    out.extend_from_slice(data);
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

/// An archive of these members, with extended headers for names that are too long.
#[must_use]
pub fn archive(members: &[(&str, &[u8])], way: Way) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, data) in members {
        if name.len() > 100 && way == Way::Pax {
            let record = format!(" path={name}\n");
            let length = record.len() + 3;
            out.extend(member("PaxHeaders/x", format!("{length}{record}").as_bytes(), b'x'));
        } else if name.len() > 100 {
            out.extend(member("././@LongLink", format!("{name}\0").as_bytes(), b'L'));
        }
        out.extend(member(name, data, b'0'));
    }
    out.resize(out.len() + 1024, 0);
    out
}

/// A package `name` of a descriptor and disks; `algorithm` is that of its manifest.
#[must_use]
pub fn package(name: &str, descriptor: &str, disks: &[(&str, Vec<u8>)], algorithm: Option<&str>) -> Vec<u8> {
    let (ovf, mf) = (format!("{name}.ovf"), format!("{name}.mf"));
    let manifest = algorithm.map(|a| {
        let all = [(ovf.as_str(), descriptor.as_bytes())].into_iter().chain(disks.iter().map(|(n, d)| (*n, d.as_slice())));
        all.map(|(n, d)| format!("{a}({n})= {}\n", digest(a, d))).collect::<String>()
    });
    let mut members: Vec<(&str, &[u8])> = vec![(&ovf, descriptor.as_bytes())];
    if let Some(m) = &manifest {
        members.push((&mf, m.as_bytes()));
    }
    members.extend(disks.iter().map(|(n, d)| (*n, d.as_slice())));
    archive(&members, Way::Pax)
}

/// A digest, hex.
#[must_use]
pub fn digest(algorithm: &str, data: &[u8]) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    match algorithm {
        "SHA1" => hex(&<sha1::Sha1 as sha1::Digest>::digest(data)),
        "SHA512" => hex(&<sha2::Sha512 as sha2::Digest>::digest(data)),
        _ => hex(&<sha2::Sha256 as sha2::Digest>::digest(data)),
    }
}

/// A package as VMware's programs export it.
#[must_use]
pub fn vmware() -> Vec<u8> {
    package("x", VMWARE, &[("x-disk1.vmdk", disk())], Some("SHA256"))
}

/// A package as VirtualBox exports it.
#[must_use]
pub fn virtualbox() -> Vec<u8> {
    package("debian", VIRTUALBOX, &[("debian-disk001.vmdk", disk())], Some("SHA1"))
}

/// A package as oVirt exports it.
#[must_use]
pub fn ovirt() -> Vec<u8> {
    package("vm", OVIRT, &[("8a1c3f52-0000-4000-8000-000000000001", qcow2())], None)
}

/// A descriptor in VMware's way.
pub const VMWARE: &str = include_str!("vmware.ovf");
/// A descriptor in VirtualBox's way.
pub const VIRTUALBOX: &str = include_str!("virtualbox.ovf");
/// A descriptor in oVirt's way.
pub const OVIRT: &str = include_str!("ovirt.ovf");
