//! ISO 9660 media (ECMA-119), also those that can be copied to a USB stick (hybrid): what stands before the volume
//! descriptors is not looked at.

use super::reader::{Reader, Seen, be, le, must, refuse};
use super::{ImageFormat, Inspected, VIRTUAL_BYTES_MAX};

/// Bytes of a sector.
const SECTOR: u64 = 2048;
/// First sector of the volume descriptors.
const FIRST: u64 = 16;
/// Most volume descriptors.
const DESCRIPTORS_MAX: u64 = 64;
/// Programs that copy a medium may leave out this much of the padding at its end (150 sectors).
const PADDING_BYTES: u64 = 150 * SECTOR;

/// Whether a volume descriptor stands where one should.
pub(super) fn is_one(r: &mut Reader<'_>) -> Seen<bool> {
    Ok(r.length() >= (FIRST + 1) * SECTOR && &r.array::<5>(FIRST * SECTOR + 1)? == b"CD001")
}

/// Reads the volume descriptors up to their end.
pub(super) fn inspect(r: &mut Reader<'_>) -> Seen<Inspected> {
    let mut primary = false;
    for n in 0..DESCRIPTORS_MAX {
        let d = r.array::<2048>((FIRST + n) * SECTOR)?;
        must(d.get(1..6) == Some(b"CD001") && matches!(d.get(6), Some(1 | 2)), "has volume descriptors of ISO 9660 without an end")?;
        match d.first() {
            Some(1) if !primary => {
                check_primary(r, &d)?;
                primary = true;
            }
            Some(255) => {
                must(primary, "has no primary volume descriptor, so it is no ISO 9660 medium")?;
                must(
                    r.length() <= VIRTUAL_BYTES_MAX && r.length().is_multiple_of(512),
                    "is larger than 64 TiB, or not of whole sectors; is the file complete?",
                )?;
                return Ok(Inspected::new(ImageFormat::Iso, r.length()));
            }
            // Boot records, supplementary and partition descriptors: read by the guest, not by the host.
            _ => {}
        }
    }
    refuse("has volume descriptors of ISO 9660 without an end")
}

/// Numbers stand in both byte orders; two that disagree would be read as two different media.
fn both(d: &[u8; 2048], at: usize, n: usize) -> Seen<u64> {
    let (little, big) = (le(d, at, n), be(d, at + n, n));
    must(little == big, "has numbers of ISO 9660 that disagree in their two byte orders; it is damaged, so make or download it again")?;
    Ok(little)
}

fn check_primary(r: &Reader<'_>, d: &[u8; 2048]) -> Seen<()> {
    let (blocks, block) = (both(d, 80, 4)?, both(d, 128, 2)?);
    must(matches!(block, 512 | 1024 | 2048), "has blocks of ISO 9660 that are not of 512, 1024 or 2048 bytes")?;
    let volume = blocks.saturating_mul(block);
    must(volume > 0 && volume <= r.length().saturating_add(PADDING_BYTES), "is cut off: its volume is longer than the file; download it again")?;
    // The root directory: its record is 34 bytes long and lies within the volume.
    let (at, bytes) = (both(d, 156 + 2, 4)?, both(d, 156 + 10, 4)?);
    let root = at.saturating_mul(block).saturating_add(bytes);
    must(d.get(156).is_some_and(|n| *n >= 34) && root <= volume, "has a root directory of ISO 9660 that does not lie within its volume")?;
    let paths = both(d, 132, 4)?;
    must(paths <= volume, "has a path table of ISO 9660 that is longer than its volume")
}
