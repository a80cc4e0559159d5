//! VHD, Virtual PC's format (Microsoft's specification 1.0): fixed and dynamic.
//!
//! A differencing disk names its parent by paths; it is refused, and so is a dynamic disk that names one.

use super::reader::{Reader, Seen, be, must, refuse};
use super::{ImageFormat, Inspected, check_virtual};

/// How a footer begins; a dynamic disk has a copy of it at its beginning.
pub(super) const MAGIC: &[u8; 8] = b"conectix";
/// How the header of a dynamic disk begins.
const DYNAMIC: &[u8; 8] = b"cxsparse";
/// Bytes of a footer.
const FOOTER: u64 = 512;
/// Largest size in sectors: 2040 GiB.
const SECTORS_MAX: u64 = 0xff00_0000;
/// The geometry that stands for "too large for a geometry".
const GEOMETRY_MAX: u64 = 65535 * 16 * 255;

const CONVERT: &str = "convert it to qcow2 first (qemu-img convert -f vpc -O qcow2)";

/// What stands in a footer.
struct Footer {
    kind: u64,
    header_at: u64,
    virtual_bytes: u64,
    by_geometry: bool,
}

/// Sum of all bytes but the four at `at`, turned round.
fn checksum(b: &[u8], at: usize) -> u64 {
    let sum = b.iter().enumerate().filter(|(i, _)| !(at..at + 4).contains(i)).fold(0u32, |s, (_, v)| s.wrapping_add(u32::from(*v)));
    u64::from(!sum)
}

fn footer(b: &[u8; 512]) -> Seen<Footer> {
    must(be(b, 64, 4) == checksum(b, 64), "has a VHD footer with a wrong checksum; it is damaged, so export or download it again")?;
    must(be(b, 12, 4) == 0x0001_0000, &format!("has a VHD version other than 1.0; {CONVERT}"))?;
    must(be(b, 84, 1) == 0, "is a VHD of a machine in a saved state; start that machine and shut it down, then export again")?;
    let geometry = be(b, 56, 2) * be(b, 58, 1) * be(b, 59, 1);
    // Virtual PC, and QEMU before it knew better, mean the geometry; all others mean the size.
    let by_geometry = matches!(b.get(28..32), Some(b"vpc " | b"qemu")) && geometry != GEOMETRY_MAX;
    let sectors = if by_geometry { geometry } else { be(b, 48, 8) / 512 };
    must(sectors <= SECTORS_MAX, "has a virtual size over 2040 GiB, which no VHD can have")?;
    let virtual_bytes = sectors * 512;
    check_virtual(virtual_bytes)?;
    Ok(Footer { kind: be(b, 60, 4), header_at: be(b, 16, 8), virtual_bytes, by_geometry })
}

fn inspected(f: &Footer) -> Inspected {
    Inspected { size_by_geometry: f.by_geometry, ..Inspected::new(ImageFormat::Vhd, f.virtual_bytes) }
}

fn refuse_kind<T>(kind: u64) -> Seen<T> {
    match kind {
        4 => refuse(format!("is a differencing VHD, which stands on another file; merge it with its parent, or {CONVERT}")),
        _ => refuse(format!("is a VHD of a kind that Virga does not know; {CONVERT}")),
    }
}

/// Inspects a file that ends with a footer and does not begin with one.
pub(super) fn inspect_fixed(r: &Reader<'_>, last: &[u8; 512]) -> Seen<Inspected> {
    let f = footer(last)?;
    match f.kind {
        2 => {}
        3 => return refuse("is a dynamic VHD whose beginning was overwritten; export or download it again"),
        kind => return refuse_kind(kind),
    }
    must(f.virtual_bytes <= r.length() - FOOTER, "is cut off: its VHD footer tells of more bytes than the file has; download it again")?;
    Ok(inspected(&f))
}

/// Inspects a file that begins with [`MAGIC`].
pub(super) fn inspect_dynamic(r: &mut Reader<'_>) -> Seen<Inspected> {
    let first = r.array::<512>(0)?;
    let f = footer(&first)?;
    match f.kind {
        3 => {}
        2 => return refuse("begins with the footer of a fixed VHD, which belongs at the end; export or download it again"),
        kind => return refuse_kind(kind),
    }
    let h = r.array::<1024>(f.header_at)?;
    must(h.starts_with(DYNAMIC) && be(&h, 24, 4) == 0x0001_0000, "has no header of a dynamic VHD where its footer says; is the file complete?")?;
    must(be(&h, 36, 4) == checksum(&h, 36), "has a header of a dynamic VHD with a wrong checksum; it is damaged, so export or download it again")?;
    let no_parent = h.get(40..56).is_some_and(|b| b.iter().all(|v| *v == 0)) && h.get(64..768).is_some_and(|b| b.iter().all(|v| *v == 0));
    must(no_parent, &format!("is a VHD that names a parent; merge it with its parent, or {CONVERT}"))?;
    blocks(r, &f, &h)?;
    Ok(inspected(&f))
}

/// Checks the table of blocks: large enough for the size, and each block in a place of its own within the file.
fn blocks(r: &mut Reader<'_>, f: &Footer, h: &[u8; 1024]) -> Seen<()> {
    let (entries, block, table_at) = (be(h, 28, 4), be(h, 32, 4), be(h, 16, 8));
    must(block.is_power_of_two() && (4096..=256 << 20).contains(&block), "has VHD blocks of an impossible size")?;
    let needed = f.virtual_bytes.div_ceil(block);
    must(entries >= needed && entries <= 2 * needed + 4096, "has a table of VHD blocks that does not fit its size")?;
    must(table_at >= FOOTER && table_at.is_multiple_of(512), "has a table of VHD blocks in an impossible place")?;
    let stored = (block / (512 * 8)).next_multiple_of(512) + block;
    let (length, mut used) = (r.length(), 0u64);
    r.table::<4>(table_at, entries, |_, e| {
        let sector = u64::from(u32::from_be_bytes(e));
        if sector == u64::from(u32::MAX) {
            return Ok(());
        }
        used += stored;
        must(sector * 512 >= FOOTER && sector * 512 + stored <= length, "is cut off: its table of VHD blocks points behind its end; is the file complete?")
    })?;
    must(used <= length, "has more VHD blocks than fit into its file; it is damaged or made to fill disks")
}
