//! VHD.

use super::put;

/// Bytes of the disk: 4 MiB, of a geometry that says the same.
const BYTES: u64 = 4 << 20;

/// Sets the checksum of a footer at `at`.
pub fn seal_footer(d: &mut [u8], at: usize) {
    seal(d, at, 512, 64);
}

/// Sets the checksum of a dynamic disk's header at `at`.
pub fn seal_header(d: &mut [u8], at: usize) {
    seal(d, at, 1024, 36);
}

fn seal(d: &mut [u8], at: usize, bytes: usize, sum_at: usize) {
    put(d, at + sum_at, &[0; 4]);
    let sum = d[at..at + bytes].iter().fold(0u32, |s, b| s.wrapping_add(u32::from(*b)));
    put(d, at + sum_at, &(!sum).to_be_bytes());
}

fn footer(kind: u32, header_at: u64) -> [u8; 512] {
    let mut f = [0u8; 512];
    put(&mut f, 0, b"conectix");
    put(&mut f, 8, &2u32.to_be_bytes());
    put(&mut f, 12, &0x1_0000u32.to_be_bytes());
    put(&mut f, 16, &header_at.to_be_bytes());
    put(&mut f, 28, b"win ");
    put(&mut f, 40, &BYTES.to_be_bytes());
    put(&mut f, 48, &BYTES.to_be_bytes());
    put(&mut f, 56, &[0, 120, 4, 17]);
    put(&mut f, 60, &kind.to_be_bytes());
    put(&mut f, 68, &[0xab; 16]);
    seal_footer(&mut f, 0);
    f
}

/// A right fixed disk: its bytes, then the footer.
#[must_use]
pub fn vhd_fixed() -> Vec<u8> {
    let mut d = vec![3u8; usize::try_from(BYTES).expect("small")];
    d.extend(footer(2, u64::MAX));
    d
}

/// A right dynamic disk with two blocks of 2 MiB, of which the first has data: copy of the footer, header at 512, table at
/// 1536, block at 2048, footer.
#[must_use]
pub fn vhd_dynamic() -> Vec<u8> {
    let mut d = vec![0u8; 2048];
    put(&mut d, 0, &footer(3, 512));
    put(&mut d, 512, b"cxsparse");
    put(&mut d, 520, &u64::MAX.to_be_bytes());
    put(&mut d, 528, &1536u64.to_be_bytes());
    put(&mut d, 536, &0x1_0000u32.to_be_bytes());
    put(&mut d, 540, &2u32.to_be_bytes());
    put(&mut d, 544, &(2u32 << 20).to_be_bytes());
    seal_header(&mut d, 512);
    d[1536..2048].fill(0xff);
    put(&mut d, 1536, &4u32.to_be_bytes());
    d.extend([0xff; 512]);
    d.extend(vec![5u8; 2 << 20]);
    d.extend(footer(3, 512));
    d
}
