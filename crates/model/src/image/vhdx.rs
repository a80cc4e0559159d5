//! VHDX, Hyper-V's format (Microsoft MS-VHDX).
//!
//! Only what stands alone and was closed properly: no parent, an empty log, right checksums. What marks itself as
//! necessary and is not known here is refused.

use super::reader::{Reader, Seen, le, must, refuse};
use super::{ImageFormat, Inspected, check_virtual};

/// How the file begins.
pub(super) const MAGIC: &[u8; 8] = b"vhdxfile";
/// Where the two headers are.
const HEADERS: [u64; 2] = [64 << 10, 128 << 10];
/// Where the region table is.
const REGIONS_AT: u64 = 192 << 10;
/// Regions begin and end at multiples of this.
const MIB: u64 = 1 << 20;
/// Most entries of a region table, from the specification.
const REGIONS_MAX: u64 = 2047;
/// Most entries of a metadata table, from the specification.
const ITEMS_MAX: u64 = 2047;

const BAT: u128 = 0x2dc27766_f623_4200_9d64_115e9bfd4a08;
const METADATA: u128 = 0x8b7ca206_4790_4b9a_b8fe_575f050f886e;
const FILE_PARAMETERS: u128 = 0xcaa16737_fa36_4d43_b3b6_33f0aa44e76b;
const VIRTUAL_SIZE: u128 = 0x2fa54224_cd1b_4876_b211_5dbed83bf4b8;
const PAGE_83: u128 = 0xbeca12ab_b2e6_4523_93ef_c309e000c746;
const LOGICAL_SECTOR: u128 = 0x8141bf1d_a96f_4709_ba47_f233a8faab5f;
const PHYSICAL_SECTOR: u128 = 0xcda348c7_445d_4471_9cc9_e9885251c556;
const PARENT: u128 = 0xa8d35f2d_b30b_454d_abf7_d3d84834ab0c;

const PARENTED: &str =
    "is a differencing VHDX, which stands on another file; merge it with its parent, or convert it to qcow2 first (qemu-img convert -f vhdx -O qcow2)";
const DAMAGED: &str = "it is damaged, so export or download it again";

/// The GUID at `at`: its first three fields are little-endian.
fn guid(b: &[u8], at: usize) -> u128 {
    let tail = b.get(at + 8..at + 16).unwrap_or_default().iter().fold(0u128, |v, x| v << 8 | u128::from(*x));
    u128::from(le(b, at, 4)) << 96 | u128::from(le(b, at + 4, 2)) << 80 | u128::from(le(b, at + 6, 2)) << 64 | tail
}

/// CRC-32C of each byte.
const SUMS: [u32; 256] = {
    let (mut sums, mut n) = ([0u32; 256], 0u32);
    while n < 256 {
        let (mut sum, mut bit) = (n, 0);
        while bit < 8 {
            sum = if sum & 1 == 1 { (sum >> 1) ^ 0x82f6_3b78 } else { sum >> 1 };
            bit += 1;
        }
        sums[n as usize] = sum;
        n += 1;
    }
    sums
};

/// Whether CRC-32C of `b`, with the four bytes at 4, where the sum itself stands, as zeros, is that sum.
fn sum_fits(b: &[u8]) -> bool {
    let crc = b.iter().enumerate().fold(u32::MAX, |crc, (i, v)| {
        let byte = if (4..8).contains(&i) { 0 } else { *v };
        // An index below 256.
        SUMS[((crc ^ u32::from(byte)) & 0xff) as usize] ^ (crc >> 8)
    });
    u64::from(!crc) == le(b, 4, 4)
}

/// A part of the file.
#[derive(Clone, Copy)]
struct Region {
    at: u64,
    bytes: u64,
}

/// Inspects a file that begins with [`MAGIC`].
pub(super) fn inspect(r: &mut Reader<'_>) -> Seen<Inspected> {
    header(r)?;
    let (bat, metadata) = regions(r)?;
    let disk = items(r, metadata)?;
    check_virtual(disk.bytes)?;
    blocks(r, bat, &disk)?;
    Ok(Inspected::new(ImageFormat::Vhdx, disk.bytes))
}

/// Checks the headers: one is valid at least, and each valid one tells of an empty log.
fn header(r: &mut Reader<'_>) -> Seen<()> {
    let mut valid = 0;
    for at in HEADERS {
        let h = r.array::<4096>(at)?;
        if !h.starts_with(b"head") || !sum_fits(&h) {
            continue;
        }
        valid += 1;
        must(le(&h, 66, 2) == 1 && le(&h, 64, 2) == 0, "has a VHDX version other than 1")?;
        let (bytes, log_at) = (le(&h, 68, 4), le(&h, 72, 8));
        must(
            log_at >= MIB && log_at.is_multiple_of(MIB) && bytes.is_multiple_of(MIB) && r.holds(log_at, bytes),
            "has a VHDX log that does not lie within the file",
        )?;
        must(
            guid(&h, 48) == 0,
            "is a VHDX that was not closed properly: its log is not empty; open and close it with the program that made it, then export again",
        )?;
    }
    must(valid > 0, &format!("has no valid header of a VHDX; {DAMAGED}"))
}

/// Finds the table of blocks and the metadata.
fn regions(r: &mut Reader<'_>) -> Seen<(Region, Region)> {
    let table = r.vec(REGIONS_AT, 64 << 10)?;
    must(table.starts_with(b"regi") && sum_fits(&table), &format!("has no valid region table of a VHDX; {DAMAGED}"))?;
    let count = le(&table, 8, 4);
    must(count <= REGIONS_MAX, "has a region table of a VHDX with too many entries")?;
    let (mut bat, mut metadata) = (None, None);
    let mut all: Vec<Region> = Vec::new();
    for e in table.get(16..).unwrap_or_default().chunks_exact(32).take(usize::try_from(count).unwrap_or(0)) {
        let region = Region { at: le(e, 16, 8), bytes: le(e, 24, 4) };
        let right =
            region.at >= MIB && region.at.is_multiple_of(MIB) && region.bytes > 0 && region.bytes.is_multiple_of(MIB) && r.holds(region.at, region.bytes);
        must(right, "has a region of a VHDX that does not lie within the file; is the file complete?")?;
        let apart = all.iter().all(|o| region.at >= o.at + o.bytes || region.at + region.bytes <= o.at);
        must(apart, &format!("has regions of a VHDX that overlap; {DAMAGED}"))?;
        all.push(region);
        let slot = match guid(e, 0) {
            BAT => &mut bat,
            METADATA => &mut metadata,
            _ if le(e, 28, 4) & 1 == 1 => return refuse("has a region of a VHDX that Virga does not know and that is marked as necessary"),
            _ => continue,
        };
        must(slot.replace(region).is_none(), &format!("names a region of a VHDX twice; {DAMAGED}"))?;
    }
    match (bat, metadata) {
        (Some(b), Some(m)) => Ok((b, m)),
        _ => refuse(format!("has no table of blocks or no metadata of a VHDX; {DAMAGED}")),
    }
}

/// What the metadata tells of the disk.
struct Disk {
    bytes: u64,
    block: u64,
    sector: u64,
}

/// Reads the metadata.
fn items(r: &mut Reader<'_>, region: Region) -> Seen<Disk> {
    let table = r.vec(region.at, 64 << 10)?;
    must(table.starts_with(b"metadata"), &format!("has no metadata table of a VHDX; {DAMAGED}"))?;
    let count = le(&table, 10, 2);
    must(count <= ITEMS_MAX, "has a metadata table of a VHDX with too many entries")?;
    let (mut parameters, mut size, mut sector) = (None, None, None);
    for e in table.get(32..).unwrap_or_default().chunks_exact(32).take(usize::try_from(count).unwrap_or(0)) {
        let (at, bytes, flags) = (le(e, 16, 4), le(e, 20, 4), le(e, 24, 4));
        must(at >= 64 << 10 && at + bytes <= region.bytes, "has an item of metadata of a VHDX that does not lie within its region")?;
        let (slot, wanted) = match guid(e, 0) {
            FILE_PARAMETERS => (&mut parameters, 8),
            VIRTUAL_SIZE => (&mut size, 8),
            LOGICAL_SECTOR => (&mut sector, 4),
            PARENT => return refuse(PARENTED),
            PAGE_83 | PHYSICAL_SECTOR => continue,
            _ if flags & 4 == 4 => return refuse("has metadata of a VHDX that Virga does not know and that is marked as necessary"),
            _ => continue,
        };
        must(bytes == wanted, "has an item of metadata of a VHDX of a wrong length")?;
        let value = r.vec(region.at + at, usize::try_from(bytes).unwrap_or(0))?;
        must(slot.replace(le(&value, 0, value.len())).is_none(), &format!("has metadata of a VHDX twice; {DAMAGED}"))?;
    }
    let (Some(parameters), Some(bytes), Some(sector)) = (parameters, size, sector) else {
        return refuse(format!("lacks metadata that each VHDX has; {DAMAGED}"));
    };
    let (block, flags) = (parameters & 0xffff_ffff, parameters >> 32);
    must(flags & 2 == 0, PARENTED)?;
    must(block.is_power_of_two() && (MIB..=256 * MIB).contains(&block), "has blocks of a VHDX that are not of 1 to 256 MiB")?;
    must(matches!(sector, 512 | 4096), "has sectors of a VHDX that are not of 512 or 4096 bytes")?;
    must(bytes.is_multiple_of(sector), "has a virtual size that is not in whole sectors")?;
    Ok(Disk { bytes, block, sector })
}

/// Checks the table of blocks: each block in a place of its own within the file.
fn blocks(r: &mut Reader<'_>, bat: Region, disk: &Disk) -> Seen<()> {
    let chunk = (disk.sector << 23) / disk.block;
    let data = disk.bytes.div_ceil(disk.block);
    let entries = data + (data.saturating_sub(1)) / chunk;
    must(entries * 8 <= bat.bytes, "has a table of blocks of a VHDX that does not fit its size")?;
    let (length, mut used) = (r.length(), 0u64);
    r.table::<8>(bat.at, entries, |index, e| {
        let entry = u64::from_le_bytes(e);
        let (state, at) = (entry & 7, entry & !(MIB - 1));
        if index % (chunk + 1) == chunk {
            // A bitmap of sectors, which only a disk with a parent has.
            return must(state == 0, PARENTED);
        }
        match state {
            0..=3 => Ok(()),
            6 => {
                used = used.saturating_add(disk.block);
                must(
                    at >= MIB && at.checked_add(disk.block).is_some_and(|end| end <= length),
                    "is cut off: its table of VHDX blocks points behind its end; is the file complete?",
                )
            }
            7 => refuse(PARENTED),
            _ => refuse(format!("has a block of a VHDX in an impossible state; {DAMAGED}")),
        }
    })?;
    must(used <= length, "has more VHDX blocks than fit into its file; it is damaged or made to fill disks")
}
