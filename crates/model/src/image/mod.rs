//! Images and ISOs of the library, and the inspector of foreign image files.
//!
//! A foreign image is never opened by QEMU before this inspector has accepted it: no backing file, no external data
//! file, no encryption, no table that lies, sane sizes (`reliability.md` 2.9, I1 to I5). What a file is comes from its
//! content alone; QEMU is always told the format and never looks for itself (I3).
//!
//! The inspector reads through [`ReadAt`] and does no I/O of its own. For any file it reads a bounded number of bytes and
//! trusts no number that it reads: sizes are multiplied with checks, and each table must lie within the file.

mod iso;
mod qcow2;
mod raw;
pub(crate) mod reader;
mod vhd;
mod vhdx;
mod vmdk;
mod vmdk_descriptor;

use crate::error::Error;
use crate::ovf::{self, Package};
use crate::{ImageId, Time};
pub use reader::ReadAt;
use reader::{Reader, Seen, answer, must};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Bytes of a file's beginning that [`inspect_head`] wants to see.
pub const HEADER_BYTES: usize = 64 * 1024;
/// Largest virtual size of an image in bytes: 64 TiB.
pub const VIRTUAL_BYTES_MAX: u64 = crate::vm::DISK_BYTES_MAX;
/// An image below this many bytes of data is no bomb, however small its file.
const HARMLESS_BYTES: u64 = 1 << 30;
/// Most bytes of data for each byte of the file.
const RATIO_MAX: u64 = 1000;

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
    /// VMware's format, in its form for transport (streamOptimized). Hosts convert it to qcow2.
    Vmdk,
    /// Virtual PC's format, fixed or dynamic. Hosts convert it to qcow2.
    Vhd,
    /// Hyper-V's format. Hosts convert it to qcow2.
    Vhdx,
    /// A package of a machine and its disks ([`crate::ovf`]). Its disks are images of their own.
    Ova,
}

impl ImageFormat {
    /// The format of the copy on a host: no guest runs on a format that is only for transport.
    #[must_use]
    pub fn on_host(self) -> ImageFormat {
        match self {
            ImageFormat::Vmdk | ImageFormat::Vhd | ImageFormat::Vhdx => ImageFormat::Qcow2,
            other => other,
        }
    }
}

impl std::fmt::Display for ImageFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            ImageFormat::Qcow2 => "qcow2",
            ImageFormat::Raw => "raw",
            ImageFormat::Iso => "iso",
            ImageFormat::Vmdk => "vmdk",
            ImageFormat::Vhd => "vhd",
            ImageFormat::Vhdx => "vhdx",
            ImageFormat::Ova => "ova",
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
    /// The package of which it is a piece; none: it has a file of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<Part>,
    /// What it holds, when it is a package.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<Package>,
}

/// Where an image lies in a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The package.
    pub of: ImageId,
    /// First byte in it.
    pub offset: u64,
}

/// What the inspector read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inspected {
    /// Format.
    pub format: ImageFormat,
    /// Bytes that a guest sees.
    pub virtual_bytes: u64,
    /// A VHD whose size is told by its geometry (Virtual PC, QEMU) and not by its size field. A program that converts it
    /// must be told so, or the two may come to different sizes.
    pub size_by_geometry: bool,
}

impl Inspected {
    fn new(format: ImageFormat, virtual_bytes: u64) -> Inspected {
        Inspected { format, virtual_bytes, size_by_geometry: false }
    }
}

/// Inspects a whole foreign image of `file_bytes` bytes.
///
/// # Errors
/// [`crate::ErrorCode::Invalid`] on `content`, saying why the image is refused and what to do; what `file` says when it
/// cannot be read.
pub fn inspect(file: &mut dyn ReadAt, file_bytes: u64) -> Result<Inspected, Error> {
    let seen = look(&mut Reader::new(file, file_bytes, file_bytes));
    answer(seen)?.ok_or_else(|| Error::internal("The inspector read behind the end of an image."))
}

/// Looks at the first [`HEADER_BYTES`] of an image whose rest and length are not known yet, so that what is refused by
/// its header is refused before the rest comes. Success is no acceptance: [`inspect`] must follow.
///
/// # Errors
/// As [`inspect`].
pub fn inspect_head(head: &[u8]) -> Result<(), Error> {
    // Any length that would do is assumed.
    const LENGTH: u64 = 1 << 40;
    answer(look(&mut Reader::new(&mut &*head, LENGTH, head.len() as u64))).map(|_| ())
}

/// Decides by the content what the file is, and inspects it as that. A magic at the beginning counts before all others, as
/// it would for programs that look for themselves.
pub(crate) fn look(r: &mut Reader<'_>) -> Seen<Inspected> {
    must(r.length() >= 512, "is shorter than one sector; is the file complete?")?;
    let first = r.array::<512>(0)?;
    if first.starts_with(qcow2::MAGIC) {
        return qcow2::inspect(r);
    }
    if first.starts_with(vmdk::MAGIC) {
        return vmdk::inspect(r);
    }
    if first.starts_with(vhd::MAGIC) {
        return vhd::inspect_dynamic(r);
    }
    if first.starts_with(vhdx::MAGIC) {
        return vhdx::inspect(r);
    }
    if ovf::is_tar(&first) {
        return ovf::inspect(r);
    }
    raw::refuse_foreign(r, &first)?;
    if iso::is_one(r)? {
        return iso::inspect(r);
    }
    let last = r.array::<512>(r.length() - 512)?;
    if last.starts_with(vhd::MAGIC) {
        return vhd::inspect_fixed(r, &last);
    }
    raw::inspect(r, &last)
}

/// The limits of a virtual size in bytes.
fn check_virtual(bytes: u64) -> Seen<()> {
    let right = bytes > 0 && bytes <= VIRTUAL_BYTES_MAX && bytes.is_multiple_of(512);
    must(right, "has a virtual size of nothing, over 64 TiB or not in whole sectors")
}

/// Refuses a small file that claims to hold much data, such as tables whose entries all name the same block.
fn check_ratio(claimed_bytes: u64, file_bytes: u64) -> Seen<()> {
    let harmless = claimed_bytes <= HARMLESS_BYTES || claimed_bytes / RATIO_MAX <= file_bytes;
    must(harmless, "claims over a thousand times more data than its file can hold; it is damaged or made to fill disks")
}

#[cfg(test)]
mod tests;
