//! VHDX.

use super::{VIRTUAL_BYTES, put};

/// Regions begin at multiples of this.
pub const MIB: usize = 1 << 20;

const BAT: [u8; 16] = [0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6, 0x00, 0x42, 0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08];
const METADATA: [u8; 16] = [0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b, 0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e];
/// The items of metadata: which, where in the region, how long, flags, and what.
const ITEMS: [([u8; 16], u32, u32, u32); 5] = [
    ([0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d, 0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b], 0x1_0000, 8, 4),
    ([0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76, 0x48, 0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8], 0x1_0008, 8, 6),
    ([0xab, 0x12, 0xca, 0xbe, 0xe6, 0xb2, 0x23, 0x45, 0x93, 0xef, 0xc3, 0x09, 0xe0, 0x00, 0xc7, 0x46], 0x1_0010, 16, 6),
    ([0x1d, 0xbf, 0x41, 0x81, 0x6f, 0xa9, 0x09, 0x47, 0xba, 0x47, 0xf2, 0x33, 0xa8, 0xfa, 0xab, 0x5f], 0x1_0020, 4, 6),
    ([0xc7, 0x48, 0xa3, 0xcd, 0x5d, 0x44, 0x71, 0x44, 0x9c, 0xc9, 0xe9, 0x88, 0x52, 0x51, 0xc5, 0x56], 0x1_0024, 4, 6),
];

/// CRC-32C.
fn crc(b: &[u8]) -> u32 {
    let bits = |n: u32| (0..8).fold(n, |c, _| if c & 1 == 1 { (c >> 1) ^ 0x82f6_3b78 } else { c >> 1 });
    let sums: Vec<u32> = (0..256).map(bits).collect();
    !b.iter().fold(u32::MAX, |crc, v| sums[((crc ^ u32::from(*v)) & 0xff) as usize] ^ (crc >> 8))
}

/// Sets the checksums of headers and region tables.
pub fn seal_vhdx(d: &mut [u8]) {
    for (at, bytes) in [(64 << 10, 4096), (128 << 10, 4096), (192 << 10, 64 << 10), (256 << 10, 64 << 10)] {
        put(d, at + 4, &[0; 4]);
        let sum = crc(&d[at..at + bytes]);
        put(d, at + 4, &sum.to_le_bytes());
    }
}

/// A right, empty, dynamic disk with blocks of 32 MiB in four MiB: headers and region tables, log, metadata, table of
/// blocks.
#[must_use]
pub fn vhdx() -> Vec<u8> {
    let mut d = vec![0u8; 4 * MIB];
    put(&mut d, 0, b"vhdxfile");
    for (n, at) in [(1u64, 64 << 10), (2, 128 << 10)] {
        put(&mut d, at, b"head");
        put(&mut d, at + 8, &n.to_le_bytes());
        put(&mut d, at + 16, &[0x11; 32]);
        put(&mut d, at + 66, &1u16.to_le_bytes());
        put(&mut d, at + 68, &(1u32 << 20).to_le_bytes());
        put(&mut d, at + 72, &(1u64 << 20).to_le_bytes());
    }
    for at in [192 << 10, 256 << 10] {
        put(&mut d, at, b"regi");
        put(&mut d, at + 8, &2u32.to_le_bytes());
        for (n, (id, mib)) in [(BAT, 3u64), (METADATA, 2)].into_iter().enumerate() {
            let e = at + 16 + 32 * n;
            put(&mut d, e, &id);
            put(&mut d, e + 16, &(mib << 20).to_le_bytes());
            put(&mut d, e + 24, &(1u32 << 20).to_le_bytes());
            put(&mut d, e + 28, &1u32.to_le_bytes());
        }
    }
    let m = 2 * MIB;
    put(&mut d, m, b"metadata");
    put(&mut d, m + 10, &5u16.to_le_bytes());
    for (n, (id, at, bytes, flags)) in ITEMS.into_iter().enumerate() {
        let e = m + 32 + 32 * n;
        put(&mut d, e, &id);
        put(&mut d, e + 16, &at.to_le_bytes());
        put(&mut d, e + 20, &bytes.to_le_bytes());
        put(&mut d, e + 24, &flags.to_le_bytes());
    }
    put(&mut d, m + 0x1_0000, &(32u32 << 20).to_le_bytes());
    put(&mut d, m + 0x1_0008, &VIRTUAL_BYTES.to_le_bytes());
    put(&mut d, m + 0x1_0010, &[0x22; 16]);
    put(&mut d, m + 0x1_0020, &512u32.to_le_bytes());
    put(&mut d, m + 0x1_0024, &4096u32.to_le_bytes());
    seal_vhdx(&mut d);
    d
}
