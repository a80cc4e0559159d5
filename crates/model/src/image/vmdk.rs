//! VMDK with the data in the file itself (VMware's Virtual Disk Format 5.0): streamOptimized and monolithicSparse.
//!
//! All other kinds name the files that hold their data, and those names lead anywhere (CVE-2022-47951). QEMU also follows
//! such names in a sparse file that tells of no capacity, so that is refused like a descriptor.

use super::reader::{Reader, Seen, le, must, refuse};
use super::vmdk_descriptor::{self, Kind};
use super::{ImageFormat, Inspected, check_ratio, check_virtual};

/// How the file begins.
pub(super) const MAGIC: &[u8; 4] = b"KDMV";
/// Bytes of a sector.
const SECTOR: u64 = 512;
/// Entries of a grain table: always so many.
const TABLE: u64 = 512;
/// What stands for "the directory is named at the end of the file".
const AT_END: u64 = u64::MAX;
/// Most sectors of an embedded descriptor.
const DESCRIPTOR_MAX: u64 = 128;
/// Sectors in which QEMU looks for the name of a parent (but for the first), whatever the header says.
const QEMU_LOOKS_AT: u64 = 21;
/// How much of the grain tables is looked at.
const TABLES_LOOKED_AT: usize = 16 << 10;
/// A grain that is all zeros (with the flag for it).
const ZERO_GRAIN: u64 = 1;

const DAMAGED: &str = "it is damaged, so export or download it again";

/// What stands in a header or footer.
struct Header {
    flags: u64,
    capacity: u64,
    grain: u64,
    descriptor_at: u64,
    descriptor: u64,
    directory_at: u64,
    compressed: bool,
}

fn header(b: &[u8; 512]) -> Seen<Header> {
    let newlines = b.get(73..77) == Some(b"\n \r\n");
    must(newlines, "was changed by a transfer as text (line ends); transfer it again as binary")?;
    must((1..=3).contains(&le(b, 4, 4)), "has a VMDK version other than 1 to 3")?;
    let h = Header {
        flags: le(b, 8, 4),
        capacity: le(b, 12, 8),
        grain: le(b, 20, 8),
        descriptor_at: le(b, 28, 8),
        descriptor: le(b, 36, 8),
        directory_at: le(b, 56, 8),
        compressed: le(b, 77, 2) == 1,
    };
    must(le(b, 77, 2) <= 1, "is compressed in a way that Virga does not know (deflate is)")?;
    must(h.capacity > 0, "is a VMDK that tells of no data of its own; export the disk in its form for transport (streamOptimized)")?;
    must(h.capacity <= u64::MAX / SECTOR, "has a virtual size of nothing, over 64 TiB or not in whole sectors")?;
    check_virtual(h.capacity * SECTOR)?;
    must(le(b, 44, 4) == TABLE, "has grain tables of a VMDK that are not of 512 entries")?;
    must(h.grain.is_power_of_two() && (8..=2048).contains(&h.grain), "has grains of a VMDK that are not of 4 KiB to 1 MiB")?;
    must(b[72] == 0, "is a VMDK that was not closed properly; start and shut down the machine, then export again")?;
    Ok(h)
}

/// Inspects a file that begins with [`MAGIC`].
pub(super) fn inspect(r: &mut Reader<'_>) -> Seen<Inspected> {
    let first = r.array::<512>(0)?;
    let mut h = header(&first)?;
    let kind = descriptor(r, &h)?;
    no_parent_where_qemu_looks(r)?;
    if h.directory_at == AT_END {
        must(kind == Kind::Stream, "has its directory at the end, but is no VMDK for transport")?;
        h = footer(r, &h)?;
    }
    must(kind == Kind::Stream || !h.compressed, &format!("is a compressed VMDK that does not say so in its descriptor; {DAMAGED}"))?;
    grains(r, &h)?;
    Ok(Inspected::new(ImageFormat::Vmdk, h.capacity * SECTOR))
}

/// Reads the embedded descriptor.
fn descriptor(r: &mut Reader<'_>, h: &Header) -> Seen<Kind> {
    let right = h.descriptor_at > 0 && h.descriptor > 0 && h.descriptor <= DESCRIPTOR_MAX;
    must(right, "is a VMDK without a descriptor of its own (or with an endless one); it may be a part of a disk in several files")?;
    let at = h.descriptor_at.checked_mul(SECTOR);
    let Some(at) = at else { return refuse("is cut off: its header points behind its end; is the file complete?") };
    // At most DESCRIPTOR_MAX sectors, so it fits.
    let text = r.vec(at, usize::try_from(h.descriptor * SECTOR).unwrap_or(0))?;
    vmdk_descriptor::check(&text, h.capacity)
}

/// QEMU takes the name of a parent from the sectors behind the header, also when the header says that the descriptor is
/// elsewhere.
fn no_parent_where_qemu_looks(r: &mut Reader<'_>) -> Seen<()> {
    let bytes = (QEMU_LOOKS_AT * SECTOR).min(r.length());
    let seen = r.vec(0, usize::try_from(bytes).unwrap_or(0))?;
    let named = seen.windows(18).any(|w| w == b"parentFileNameHint");
    must(!named, vmdk_descriptor::PARENTED)
}

/// The footer of a stream: it counts instead of the header. The three last sectors are its marker, itself, and the end.
fn footer(r: &mut Reader<'_>, h: &Header) -> Seen<Header> {
    let length = r.length();
    must(length.is_multiple_of(SECTOR) && length >= 5 * SECTOR, "is cut off: it does not end with a whole sector; is the file complete?")?;
    let marker = r.array::<512>(length - 3 * SECTOR)?;
    let b = r.array::<512>(length - 2 * SECTOR)?;
    let end = r.array::<512>(length - SECTOR)?;
    let right = le(&marker, 8, 4) == 0 && le(&marker, 12, 4) == 3 && b.starts_with(MAGIC) && le(&end, 0, 8) == 0 && le(&end, 8, 8) == 0;
    must(right, "is cut off: it has no footer of a VMDK for transport at its end; is the file complete?")?;
    let f = header(&b)?;
    let same = f.capacity == h.capacity && f.grain == h.grain && f.flags == h.flags && f.compressed == h.compressed;
    must(same && f.directory_at != AT_END, &format!("has a header and a footer of a VMDK that disagree; {DAMAGED}"))?;
    Ok(f)
}

/// Checks the grain directory and the grain tables.
fn grains(r: &mut Reader<'_>, h: &Header) -> Seen<()> {
    let (length, sectors) = (r.length(), r.length() / SECTOR);
    let tables = h.capacity.div_ceil(h.grain * TABLE);
    let Some(at) = h.directory_at.checked_mul(SECTOR).filter(|at| *at > 0) else {
        return refuse("has no grain directory of a VMDK");
    };
    let mut found: Vec<u64> = Vec::new();
    r.table::<4>(at, tables, |_, e| {
        let sector = u64::from(u32::from_le_bytes(e));
        if sector > 0 {
            must(sector * SECTOR + TABLE * 4 <= length, "is cut off: its grain directory points behind its end; is the file complete?")?;
            found.push(sector * SECTOR);
        }
        Ok(())
    })?;
    must(found.len() as u64 * TABLE * 4 <= length, "has more grain tables than fit into its file; it is damaged or made to fill disks")?;
    let (mut stored, zeros) = (0u64, h.flags & 4 != 0);
    for at in found.iter().take(TABLES_LOOKED_AT) {
        r.table::<4>(*at, TABLE, |_, e| {
            let sector = u64::from(u32::from_le_bytes(e));
            if sector == 0 || (zeros && sector == ZERO_GRAIN) {
                return Ok(());
            }
            stored += 1;
            let whole = if h.compressed { 1 } else { h.grain };
            must(sector + whole <= sectors, "is cut off: its grain tables point behind its end; is the file complete?")
        })?;
    }
    // A compressed grain takes a sector at least, an uncompressed one all of its own.
    let least = if h.compressed { SECTOR } else { h.grain * SECTOR };
    must(stored * least <= length, "has more grains than fit into its file; it is damaged or made to fill disks")?;
    check_ratio(stored * h.grain * SECTOR, length)
}
