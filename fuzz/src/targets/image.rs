//! Targets of the parsers of image formats. An input is a list of changes to a right image of the format, so that a few
//! bytes reach what lies megabytes behind, and a right checksum can be put over a lie.

use crate::{Target, mark};
use virga_model::image::{ImageFormat, VIRTUAL_BYTES_MAX, inspect, inspect_head};
use virga_tests::images;

/// Most bytes of an image.
const LENGTH_MAX: usize = 5 << 20;
/// Most changes that are made.
const CHANGES_MAX: u32 = 64;
/// Words that mean something in several formats.
const WORDS: &[&str] = &["\u{0}\u{0}\u{0}", "parentFileNameHint", "json:{", "/etc/", "RW 1 FLAT \"x\"", "createType=\"custom\"", "CD001", "KDMV", "conectix"];

/// QEMU's format.
pub const QCOW2: Target = Target { name: "image-qcow2", about: "qcow2 images", run: |d| changed(d, images::qcow2(), |_| {}), words: WORDS };
/// VMware's format, in the two forms that are taken.
pub const VMDK: Target = Target { name: "image-vmdk", about: "VMDK images and their descriptors", run: vmdk, words: WORDS };
/// Virtual PC's format, fixed and dynamic.
pub const VHD: Target = Target { name: "image-vhd", about: "VHD images", run: vhd, words: WORDS };
/// Hyper-V's format.
pub const VHDX: Target = Target { name: "image-vhdx", about: "VHDX images", run: vhdx, words: WORDS };
/// Media.
pub const ISO: Target = Target { name: "image-iso", about: "ISO 9660 media", run: |d| changed(d, images::iso(), |_| {}), words: WORDS };
/// What has no header, or one that is not taken.
pub const RAW: Target =
    Target { name: "image-raw", about: "raw disks, and what must not be taken for one", run: |d| changed(d, vec![0; 1 << 17], |_| {}), words: WORDS };

fn vmdk(data: &[u8]) -> u64 {
    let Some((which, rest)) = data.split_first() else { return 0 };
    changed(rest, if which & 1 == 0 { images::vmdk_stream() } else { images::vmdk_sparse() }, |_| {})
}

fn vhdx(data: &[u8]) -> u64 {
    changed(data, images::vhdx(), |d| {
        if d.len() >= 320 << 10 {
            images::seal_vhdx(d);
        }
    })
}

fn vhd(data: &[u8]) -> u64 {
    let Some((which, rest)) = data.split_first() else { return 0 };
    if which & 1 == 0 {
        return changed(rest, images::vhd_dynamic(), |d| {
            if d.len() >= 1536 {
                images::seal_footer(d, 0);
                images::seal_header(d, 512);
            }
        });
    }
    changed(rest, images::vhd_fixed(), |d| {
        if d.len() >= 512 {
            let at = d.len() - 512;
            images::seal_footer(d, at);
        }
    })
}

/// Applies the changes and inspects. The first byte says whether checksums are set right; then each change is where (three
/// bytes), how many (one byte), and what. With no bytes to put, where is the new length.
pub(super) fn changed(data: &[u8], mut image: Vec<u8>, seal: impl Fn(&mut [u8])) -> u64 {
    let Some((flags, mut rest)) = data.split_first() else { return 0 };
    let mut cut = false;
    for _ in 0..CHANGES_MAX {
        let Some(([a, b, c, n], more)) = rest.split_first_chunk::<4>() else { break };
        let at = (usize::from(*a) << 16) | (usize::from(*b) << 8) | usize::from(*c);
        let bytes = &more[..more.len().min(usize::from(*n))];
        rest = &more[bytes.len()..];
        if bytes.is_empty() {
            // Once is enough, and more would only cost time.
            image.resize(if cut { image.len() } else { at.min(LENGTH_MAX) }, 0);
            cut = true;
        } else if at < image.len() {
            let end = image.len().min(at + bytes.len());
            image[at..end].copy_from_slice(&bytes[..end - at]);
        }
    }
    if flags & 1 == 0 {
        seal(&mut image);
    }
    judged(&image)
}

/// Inspects, and holds the answer against what it promises.
fn judged(image: &[u8]) -> u64 {
    let length = image.len() as u64;
    let mut read = 0;
    let mut source = |at: u64, out: &mut [u8]| {
        let at = usize::try_from(at).expect("within the file");
        out.copy_from_slice(image.get(at..at + out.len()).expect("within the file"));
        read += out.len();
        Ok(())
    };
    let seen = inspect(&mut source, length);
    assert!(read <= 256 << 20, "{read} bytes read of {length}");
    let head = inspect_head(&image[..image.len().min(64 << 10)]);
    match seen {
        Ok(i) => {
            // What the whole is accepted for, its beginning is not refused for.
            assert!(head.is_ok(), "{head:?}");
            assert!(i.virtual_bytes > 0 && i.virtual_bytes <= VIRTUAL_BYTES_MAX && i.virtual_bytes.is_multiple_of(512));
            let leads = |words: &[u8]| image[..image.len().min(21 * 512)].windows(words.len()).any(|w| w == words);
            assert!(i.format != ImageFormat::Vmdk || !leads(b"parentFileNameHint"));
            assert!(i.format != ImageFormat::Qcow2 || image[8..16] == [0; 8]);
            mark(&format!("{} {}", i.format, i.size_by_geometry))
        }
        Err(e) => {
            assert!(e.message.len() < 600 && !e.message.contains(char::is_control), "{e}");
            mark(&e.message)
        }
    }
}
