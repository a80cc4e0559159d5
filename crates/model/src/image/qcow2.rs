//! qcow2, versions 2 and 3 (QEMU `docs/interop/qcow2.rst`).
//!
//! Hosts use such a file in place, below the disks of guests. So everything is refused that would make QEMU open another
//! file, or that only the program that wrote the file could go on with: journals of its own, snapshots, bitmaps.

use super::reader::{Reader, Seen, be, must, refuse};
use super::{ImageFormat, Inspected, check_ratio, check_virtual};

/// How the file begins.
pub(super) const MAGIC: &[u8; 4] = b"QFI\xfb";
/// Largest L1 table, as in QEMU.
const L1_BYTES_MAX: u64 = 32 << 20;
/// Largest refcount table, as in QEMU.
const REFCOUNT_TABLE_BYTES_MAX: u64 = 8 << 20;
/// How much of the L2 tables is looked at.
const L2_LOOKED_AT_MAX: u64 = 64 << 20;
/// Most header extensions.
const EXTENSIONS_MAX: u32 = 64;
/// Bits of an entry that hold an offset: 9 to 55.
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
/// Bits of an L1 entry that must be zero.
const L1_RESERVED: u64 = 0x7f00_0000_0000_01ff;

const REPAIR: &str = "repair it (qemu-img check -r all), then convert it to a new file (qemu-img convert -O qcow2)";
const FLATTEN: &str = "make a file that stands alone (qemu-img convert -O qcow2)";

/// What the rest needs of the header.
struct Header {
    version: u64,
    cluster_bits: u32,
    virtual_bytes: u64,
    l1_entries: u64,
    l1_at: u64,
    header_bytes: u64,
    extended_l2: bool,
}

impl Header {
    fn cluster(&self) -> u64 {
        1 << self.cluster_bits
    }

    fn l2_entries(&self) -> u64 {
        self.cluster() / if self.extended_l2 { 16 } else { 8 }
    }
}

/// Inspects a file that begins with [`MAGIC`].
pub(super) fn inspect(r: &mut Reader<'_>) -> Seen<Inspected> {
    let b = r.array::<112>(0)?;
    let h = header(r, &b)?;
    extensions(r, &h)?;
    let tables = l1(r, &h)?;
    let claimed = l2(r, &h, &tables)?;
    check_ratio(claimed, r.length())?;
    Ok(Inspected::new(ImageFormat::Qcow2, h.virtual_bytes))
}

fn header(r: &Reader<'_>, b: &[u8; 112]) -> Seen<Header> {
    let version = be(b, 4, 4);
    must(version != 1, "is a QEMU disk of the old kind (qcow, version 1); convert it first (qemu-img convert -f qcow -O qcow2)")?;
    must((2..=3).contains(&version), "has a qcow2 version other than 2 and 3")?;
    must(be(b, 8, 8) == 0, &format!("refers to a backing file; {FLATTEN}"))?;
    must(be(b, 32, 4) == 0, &format!("is encrypted; decrypt it first: {FLATTEN}"))?;
    let bits = be(b, 20, 4);
    must((9..=21).contains(&bits), "has a cluster size outside 512 bytes to 2 MiB")?;
    // Below 22, so it fits.
    let cluster_bits = u32::try_from(bits).unwrap_or(9);
    let virtual_bytes = be(b, 24, 8);
    check_virtual(virtual_bytes)?;
    must(r.length() >= 1 << cluster_bits, "is shorter than its own header cluster; is the file complete?")?;
    let mut h = Header { version, cluster_bits, virtual_bytes, l1_entries: be(b, 36, 4), l1_at: be(b, 40, 8), header_bytes: 72, extended_l2: false };
    if version == 3 {
        features(b, &mut h)?;
    }
    let needed = virtual_bytes.div_ceil(h.l2_entries() * h.cluster());
    must(h.l1_entries >= needed && h.l1_entries <= 2 * needed + 4096, "has a cluster table that does not fit its size")?;
    must(h.l1_entries * 8 <= L1_BYTES_MAX, &format!("has a cluster table over 32 MiB; convert it with larger clusters: {FLATTEN}"))?;
    table_in_file(r, &h, h.l1_at, h.l1_entries * 8, "cluster table")?;
    let refcounts = be(b, 56, 4) * h.cluster();
    must(refcounts > 0 && refcounts <= REFCOUNT_TABLE_BYTES_MAX, "has a table of reference counts of nothing or over 8 MiB")?;
    table_in_file(r, &h, be(b, 48, 8), refcounts, "table of reference counts")?;
    must(be(b, 60, 4) == 0, &format!("holds internal snapshots; {FLATTEN}"))?;
    Ok(h)
}

/// What only version 3 has.
fn features(b: &[u8; 112], h: &mut Header) -> Seen<()> {
    let (incompatible, automatic) = (be(b, 72, 8), be(b, 88, 8));
    must(incompatible & 1 == 0, &format!("is marked dirty: it was not closed properly; {REPAIR}"))?;
    must(incompatible & 2 == 0, &format!("is marked corrupt; {REPAIR}"))?;
    must(incompatible & 4 == 0 && automatic & 2 == 0, &format!("keeps its data in another file; {FLATTEN}"))?;
    must(incompatible & !0b1_1000 == 0, &format!("uses features that Virga does not know; {FLATTEN}"))?;
    must(be(b, 96, 4) <= 6, "has reference counts of an impossible width")?;
    h.header_bytes = be(b, 100, 4);
    let right = h.header_bytes >= 104 && h.header_bytes.is_multiple_of(8) && h.header_bytes <= h.cluster();
    must(right, "has a qcow2 header of an impossible length")?;
    let (named, packed_otherwise) = (h.header_bytes >= 112, incompatible & 8 != 0);
    let method = if named { be(b, 104, 1) } else { 0 };
    must(method == u64::from(packed_otherwise), "is compressed in a way that Virga does not know (zlib and zstd are); convert it first")?;
    h.extended_l2 = incompatible & 16 != 0;
    must(!h.extended_l2 || h.cluster_bits >= 14, "has subclusters of an impossible size")
}

fn table_in_file(r: &Reader<'_>, h: &Header, at: u64, bytes: u64, what: &str) -> Seen<()> {
    let right = at >= h.cluster() && at.is_multiple_of(h.cluster()) && r.holds(at, bytes);
    must(right, &format!("has a {what} that does not lie within the file; is the file complete?"))
}

/// Reads the header extensions up to their end. Some lead to other files; others belong to the program that wrote them.
fn extensions(r: &mut Reader<'_>, h: &Header) -> Seen<()> {
    let mut at = h.header_bytes;
    for _ in 0..EXTENSIONS_MAX {
        if at + 8 > h.cluster() {
            break;
        }
        let b = r.array::<8>(at)?;
        let bytes = be(&b, 4, 4);
        match be(&b, 0, 4) {
            0 => return Ok(()),
            0xe279_2aca | 0x4441_5441 => return refuse(format!("has a header extension that leads to another file; {FLATTEN}")),
            0x0537_be77 => return refuse(format!("has a header extension for encryption; {FLATTEN}")),
            0x2385_2875 => return refuse(format!("holds dirty bitmaps of a backup program; {FLATTEN}")),
            _ => at += 8 + bytes.next_multiple_of(8),
        }
    }
    refuse(format!("has header extensions without an end (version {}); {FLATTEN}", h.version))
}

/// Offsets of the L2 tables.
fn l1(r: &mut Reader<'_>, h: &Header) -> Seen<Vec<u64>> {
    let (length, cluster) = (r.length(), h.cluster());
    let mut tables = Vec::new();
    r.table::<8>(h.l1_at, h.l1_entries, |_, e| {
        let entry = u64::from_be_bytes(e);
        let at = entry & OFFSET;
        must(entry & L1_RESERVED == 0 && at.is_multiple_of(cluster), &format!("has an impossible entry in its cluster table; {REPAIR}"))?;
        if at != 0 {
            must(at.checked_add(cluster).is_some_and(|end| end <= length), "is cut off: its cluster table points behind its end; is the file complete?")?;
            tables.push(at);
        }
        Ok(())
    })?;
    // Each has a place of its own in the file, so there cannot be more than fit.
    must(tables.len() as u64 * cluster <= length, "has more tables than fit into its file; it is damaged or made to fill disks")?;
    Ok(tables)
}

/// How many bytes of data the L2 tables claim; of large images the first tables stand for all.
fn l2(r: &mut Reader<'_>, h: &Header, tables: &[u64]) -> Seen<u64> {
    let (length, cluster) = (r.length(), h.cluster());
    let compressed_bits = 62 - (h.cluster_bits - 8);
    let mut claimed = 0u64;
    let mut check = |entry: u64| {
        let at = match entry & 1 << 62 {
            0 if !h.extended_l2 && entry & 1 != 0 => return Ok(()),
            0 => entry & OFFSET,
            _ => entry & ((1 << compressed_bits) - 1),
        };
        if entry & (1 << 62) == 0 && at == 0 {
            return Ok(());
        }
        must(entry & (1 << 62) != 0 || at.is_multiple_of(cluster), &format!("has an impossible entry in a table of its clusters; {REPAIR}"))?;
        must(at < length, "is cut off: the table of its clusters points behind its end; is the file complete?")?;
        claimed = claimed.saturating_add(cluster);
        Ok(())
    };
    let looked_at = usize::try_from(L2_LOOKED_AT_MAX / cluster).unwrap_or(usize::MAX);
    for table in tables.iter().take(looked_at) {
        if h.extended_l2 {
            r.table::<16>(*table, h.l2_entries(), |_, e| check(be(&e, 0, 8)))?;
        } else {
            r.table::<8>(*table, h.l2_entries(), |_, e| check(u64::from_be_bytes(e)))?;
        }
    }
    Ok(claimed)
}
