//! Converting an image that the inspector accepted into the format that guests run on.
//!
//! `qemu-img` reads it in a cage ([`crate::confine`]) with the format given: it never looks for itself what a file is, and
//! whatever the file makes it do, it reaches only the file and its result. What comes out is inspected like any other.

use crate::confine::{self, Cage};
use crate::domain_xml::qemu_format;
use crate::paths::text;
use crate::{Result, files};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use virga_model::disk::{DiskFormat, Provisioning};
use virga_model::image::{ImageFormat, Inspected};
use virga_model::order::ImageRef;
use virga_model::vm::DiskSpec;

/// Bytes of address space of `qemu-img`. It uses little of it, but each of its up to 64 threads reserves a stack and a heap.
const MEMORY_BYTES: u64 = 8 << 30;
/// Seconds of processor time for any image.
const SECONDS: u64 = 120;
/// Each second more is for so many bytes of the file,
const BYTES_A_SECOND: u64 = 1 << 20;
/// and each for so many bytes that a guest sees.
const VIRTUAL_BYTES_A_SECOND: u64 = 16 << 30;

/// Makes the qcow2 `to` of `from`, a file of `bytes` bytes in which the inspector has seen `seen`.
///
/// # Errors
/// `HostFailed` with what `qemu-img` says; `to` may be left behind then.
pub(crate) async fn to_qcow2(from: &Path, bytes: u64, seen: Inspected, to: &Path) -> Result<()> {
    files::remove(to)?;
    convert(from, bytes, seen, to, &["-O", "qcow2", "-o", "compat=1.1"], 0).await
}

/// Copies an image of the cache into the new file `to` of a disk, with the space that the disk wants of what the image
/// covers. Where the image holds nothing `to` reads as zeros.
///
/// # Errors
/// As [`to_qcow2`].
pub(crate) async fn copy(from: &Path, image: &ImageRef, to: &Path, disk: &DiskSpec) -> Result<()> {
    let seen = Inspected { format: image.format.on_host(), virtual_bytes: image.virtual_bytes, size_by_geometry: false };
    // Eager: also zeros are written (-S 0), so that every block has been.
    let eager = disk.provisioning == Provisioning::ThickEager;
    let written = if eager { image.virtual_bytes } else { image.size_bytes };
    let mut options = match disk.format {
        DiskFormat::Raw => vec!["-O", "raw"],
        DiskFormat::Qcow2 if disk.provisioning == Provisioning::ThickLazy => vec!["-O", "qcow2", "-o", "compat=1.1,preallocation=falloc"],
        DiskFormat::Qcow2 => vec!["-O", "qcow2", "-o", "compat=1.1"],
    };
    if eager {
        options.extend(["-S", "0"]);
    }
    convert(from, image.size_bytes, seen, to, &options, written / BYTES_A_SECOND).await
}

async fn convert(from: &Path, bytes: u64, seen: Inspected, to: &Path, options: &[&str], more_seconds: u64) -> Result<()> {
    // It may write what is there, and make nothing new.
    let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(to);
    drop(made.map_err(|e| files::failed("Cannot make", to, &e))?);
    let cpu_seconds = SECONDS + more_seconds + bytes / BYTES_A_SECOND + seen.virtual_bytes / VIRTUAL_BYTES_A_SECOND;
    let cage = Cage {
        read: vec![from.into()],
        write: vec![to.into()],
        memory_bytes: MEMORY_BYTES,
        cpu_seconds,
        // The data, their tables (less than a thousandth), and room for small images.
        file_bytes: seen.virtual_bytes + seen.virtual_bytes / 1000 + (64 << 20),
    };
    let source = source(from, seen)?;
    let mut args = vec!["convert", "-q", "--image-opts"];
    args.extend(options);
    args.extend(["--", &source, text(to)?]);
    confine::qemu_img(&args, cage).await
}

/// How `qemu-img` is told of the file: driver and protocol are both given, nothing is left to be guessed.
fn source(from: &Path, seen: Inspected) -> Result<String> {
    let size = match (seen.format, seen.size_by_geometry) {
        (ImageFormat::Vhd, true) => ",force_size_calc=chs",
        (ImageFormat::Vhd, false) => ",force_size_calc=current_size",
        _ => "",
    };
    confine::image_opts(qemu_format(seen.format), size, from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_to_be_guessed() {
        let seen = |format, size_by_geometry| Inspected { format, virtual_bytes: 512, size_by_geometry };
        let of = |s| source(Path::new("/a,b/c"), s).unwrap();
        assert_eq!(of(seen(ImageFormat::Vmdk, false)), "driver=vmdk,file.driver=file,file.filename=/a,,b/c");
        assert_eq!(of(seen(ImageFormat::Vhd, true)), "driver=vpc,force_size_calc=chs,file.driver=file,file.filename=/a,,b/c");
        assert!(of(seen(ImageFormat::Vhd, false)).contains("current_size"));
        assert!(source(Path::new("relative"), seen(ImageFormat::Vhdx, false)).is_err());
    }
}
