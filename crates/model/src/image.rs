//! Images and ISOs of the library, and the inspector of their headers.
//!
//! A foreign image is never opened by QEMU before this inspector has accepted its header: no backing file, no
//! external data file, no encryption, sane sizes (`reliability.md` 2.9). The full inspector, for all formats, comes
//! with the storage issue.

use crate::error::Error;
use crate::{ImageId, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Bytes of a file's beginning that [`inspect`] wants to see (the whole file when it is shorter).
pub const HEADER_BYTES: usize = 64 * 1024;
/// Largest virtual size of an image in bytes: 64 TiB.
pub const VIRTUAL_BYTES_MAX: u64 = crate::vm::DISK_BYTES_MAX;

/// Format of an image's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ImageFormat {
    /// QEMU's format, version 2 or 3.
    Qcow2,
    /// Plain blocks.
    Raw,
    /// A CD or DVD (ISO 9660); goes into optical drives.
    Iso,
}

impl std::fmt::Display for ImageFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            ImageFormat::Qcow2 => "qcow2",
            ImageFormat::Raw => "raw",
            ImageFormat::Iso => "iso",
        })
    }
}

/// State of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ImageState {
    /// Made, content not there yet.
    Empty,
    /// Content is there and was accepted.
    Ready,
    /// Being removed.
    Deleting,
}

/// An image as the platform knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Identity.
    pub id: ImageId,
    /// Label for people, unique among images.
    pub name: String,
    /// Format; known once ready.
    pub format: Option<ImageFormat>,
    /// Bytes of the file.
    pub size_bytes: u64,
    /// Bytes that a guest sees.
    pub virtual_bytes: u64,
    /// SHA-256 of the file, hex.
    pub sha256: String,
    /// State.
    pub state: ImageState,
    /// Grows with each change; the ETag.
    pub generation: i64,
    /// When it was made.
    pub created_at: Time,
}

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inspected {
    /// Format.
    pub format: ImageFormat,
    /// Bytes that a guest sees.
    pub virtual_bytes: u64,
}

/// Reads the header of a foreign image: `head` is its first [`HEADER_BYTES`], `file_bytes` its whole length.
///
/// # Errors
/// [`crate::ErrorCode::Invalid`] on `content`, saying why the image is refused.
pub fn inspect(head: &[u8], file_bytes: u64) -> Result<Inspected, Error> {
    let refuse = |why: &str| Err(Error::invalid("content", why.to_string()));
    if file_bytes < 512 {
        return refuse("is shorter than one sector; is the file complete?");
    }
    if head.starts_with(b"QFI\xfb") {
        return inspect_qcow2(head, file_bytes);
    }
    for (magic, what) in [
        (&b"KDMV"[..], "a VMDK"),
        (b"# Disk DescriptorFile", "a VMDK descriptor"),
        (b"vhdxfile", "a VHDX"),
        (b"conectix", "a VHD"),
        (b"QED\0", "a QED image"),
        (b"\x1f\x8b", "gzip data"),
        (b"\xfd7zXZ\0", "xz data"),
        (b"\x28\xb5\x2f\xfd", "zstd data"),
    ] {
        if head.starts_with(magic) {
            return refuse(&format!("is {what}; convert it to qcow2 or raw first (qemu-img convert)"));
        }
    }
    if head.get(0x8001..0x8006) == Some(b"CD001") {
        return Ok(Inspected { format: ImageFormat::Iso, virtual_bytes: file_bytes });
    }
    if file_bytes > VIRTUAL_BYTES_MAX {
        return refuse("is larger than 64 TiB");
    }
    if !file_bytes.is_multiple_of(512) {
        return refuse("is neither qcow2 nor ISO, and its length is not a multiple of 512 bytes, so it is no raw disk either");
    }
    Ok(Inspected { format: ImageFormat::Raw, virtual_bytes: file_bytes })
}

/// QEMU `docs/interop/qcow2.txt`.
fn inspect_qcow2(head: &[u8], file_bytes: u64) -> Result<Inspected, Error> {
    let refuse = |why: &str| Err(Error::invalid("content", why.to_string()));
    let u32_at = |at: usize| head.get(at..at + 4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]));
    let u64_at = |at: usize| Some(u64::from(u32_at(at)?) << 32 | u64::from(u32_at(at + 4)?));
    let header = (|| Some((u32_at(4)?, u64_at(8)?, u32_at(20)?, u64_at(24)?, u32_at(32)?, u32_at(36)?)))();
    let Some((version, backing, cluster_bits, virtual_bytes, crypt, l1_size)) = header else {
        return refuse("has a cut-off qcow2 header");
    };
    if !(2..=3).contains(&version) {
        return refuse("has a qcow2 version other than 2 and 3");
    }
    if backing != 0 {
        return refuse("refers to a backing file; flatten it first (qemu-img convert)");
    }
    if crypt != 0 {
        return refuse("is encrypted");
    }
    if !(9..=21).contains(&cluster_bits) {
        return refuse("has a cluster size outside 512 bytes to 2 MiB");
    }
    if virtual_bytes == 0 || virtual_bytes > VIRTUAL_BYTES_MAX || !virtual_bytes.is_multiple_of(512) {
        return refuse("has a virtual size of nothing, over 64 TiB or not in whole sectors");
    }
    let l2_entries = 1u64 << (cluster_bits - 3);
    let l1_needed = virtual_bytes.div_ceil(l2_entries << cluster_bits);
    if u64::from(l1_size) < l1_needed || u64::from(l1_size) > l1_needed.saturating_add(4096) {
        return refuse("has a cluster table that does not fit its size");
    }
    if version == 3 {
        let incompatible = u64_at(72).unwrap_or(u64::MAX);
        // Bit 0 dirty, bit 1 corrupt, bit 2 external data file, bit 3 compression type, bit 4 extended L2.
        if incompatible & !0b1_1000 != 0 {
            return refuse("is marked dirty or corrupt, keeps its data in another file, or uses features Virga does not know");
        }
        inspect_extensions(head, u32_at(100).unwrap_or(104) as usize)?;
    }
    if file_bytes < 1 << cluster_bits {
        return refuse("is shorter than its own header cluster");
    }
    Ok(Inspected { format: ImageFormat::Qcow2, virtual_bytes })
}

/// Refuses header extensions that lead to other files (backing format, external data file name).
fn inspect_extensions(head: &[u8], start: usize) -> Result<(), Error> {
    const BACKING_FORMAT: u32 = 0xE279_2ACA;
    const EXTERNAL_DATA: u32 = 0x4441_5441;
    let mut at = start;
    for _ in 0..64 {
        let Some(b) = head.get(at..at.saturating_add(8)) else { break };
        let kind = u32::from_be_bytes([b[0], b[1], b[2], b[3]]);
        let len = u32::from_be_bytes([b[4], b[5], b[6], b[7]]) as usize;
        match kind {
            0 => return Ok(()),
            BACKING_FORMAT | EXTERNAL_DATA => {
                return Err(Error::invalid("content", "has a header extension that leads to another file"));
            }
            _ => at = at.saturating_add(8).saturating_add(len.next_multiple_of(8)),
        }
    }
    Err(Error::invalid("content", "has header extensions without an end"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn qcow2(version: u32, backing: u64, bits: u32, size: u64, l1: u32, incompatible: u64) -> Vec<u8> {
        let mut h = vec![0u8; 65536];
        h[..4].copy_from_slice(b"QFI\xfb");
        h[4..8].copy_from_slice(&version.to_be_bytes());
        h[8..16].copy_from_slice(&backing.to_be_bytes());
        h[20..24].copy_from_slice(&bits.to_be_bytes());
        h[24..32].copy_from_slice(&size.to_be_bytes());
        h[36..40].copy_from_slice(&l1.to_be_bytes());
        h[72..80].copy_from_slice(&incompatible.to_be_bytes());
        h[100..104].copy_from_slice(&104u32.to_be_bytes());
        h
    }

    #[test]
    fn accepts_plain_images() {
        let h = qcow2(3, 0, 16, 1 << 30, 2, 0);
        assert_eq!(inspect(&h, 65536 * 4).unwrap(), Inspected { format: ImageFormat::Qcow2, virtual_bytes: 1 << 30 });
        assert_eq!(inspect(&[0; 512], 1 << 20).unwrap().format, ImageFormat::Raw);
        let mut iso = vec![0; HEADER_BYTES];
        iso[0x8001..0x8006].copy_from_slice(b"CD001");
        assert_eq!(inspect(&iso, 1 << 20).unwrap().format, ImageFormat::Iso);
    }

    #[test]
    fn refuses_images_that_lead_elsewhere_or_lie() {
        let long = 65536 * 4;
        for (what, h) in [
            ("backing file (CVE-2015-5163)", qcow2(3, 512, 16, 1 << 30, 2, 0)),
            ("external data file (CVE-2024-32498)", qcow2(3, 0, 16, 1 << 30, 2, 4)),
            ("dirty", qcow2(3, 0, 16, 1 << 30, 2, 1)),
            ("unknown feature", qcow2(3, 0, 16, 1 << 30, 2, 1 << 40)),
            ("version", qcow2(9, 0, 16, 1 << 30, 2, 0)),
            ("cluster bits", qcow2(3, 0, 40, 1 << 30, 2, 0)),
            ("huge size", qcow2(3, 0, 16, !511, 2, 0)),
            ("huge L1 (CVE-2014-0144)", qcow2(3, 0, 16, 1 << 30, u32::MAX, 0)),
            ("cut off", b"QFI\xfb\0\0".to_vec()),
        ] {
            assert!(inspect(&h, long).is_err(), "{what}");
        }
        let mut ext = qcow2(3, 0, 16, 1 << 30, 2, 0);
        ext[104..108].copy_from_slice(&0x4441_5441u32.to_be_bytes());
        assert!(inspect(&ext, long).is_err(), "data file name extension");
        assert!(inspect(b"KDMV", 1 << 20).is_err());
        assert!(inspect(&[0; 512], 1000).is_err());
        assert!(inspect(&[], 0).is_err());
    }
}
