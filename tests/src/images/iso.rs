//! ISO 9660.

use super::put;

const SECTOR: usize = 2048;

/// A right medium without files, 24 sectors long.
#[must_use]
pub fn iso() -> Vec<u8> {
    iso_of(24 * SECTOR)
}

/// The same with padding up to `bytes`, a multiple of 2048.
#[must_use]
pub fn iso_of(bytes: usize) -> Vec<u8> {
    let mut d = vec![0u8; bytes];
    let sectors = u32::try_from(bytes / SECTOR).expect("a small medium");
    let at = 16 * SECTOR;
    put(&mut d, at, b"\x01CD001\x01");
    d[at + 8..at + 72].fill(b' ');
    put(&mut d, at + 40, b"VIRGA");
    both(&mut d, at + 80, sectors, 4);
    both(&mut d, at + 120, 1, 2);
    both(&mut d, at + 124, 1, 2);
    both(&mut d, at + 128, 2048, 2);
    both(&mut d, at + 132, 10, 4);
    put(&mut d, at + 140, &18u32.to_le_bytes());
    put(&mut d, at + 148, &19u32.to_be_bytes());
    directory(&mut d, at + 156);
    d[at + 881] = 1;
    put(&mut d, at + SECTOR, b"\xffCD001\x01");
    put(&mut d, 18 * SECTOR, &[1, 0, 20, 0, 0, 0, 1, 0, 0, 0]);
    put(&mut d, 19 * SECTOR, &[1, 0, 0, 0, 0, 20, 0, 1, 0, 0]);
    directory(&mut d, 20 * SECTOR);
    directory(&mut d, 20 * SECTOR + 34);
    d[20 * SECTOR + 34 + 33] = 1;
    d
}

/// A number in both byte orders.
fn both(d: &mut [u8], at: usize, v: u32, bytes: usize) {
    put(d, at, &v.to_le_bytes()[..bytes]);
    put(d, at + bytes, &v.to_be_bytes()[4 - bytes..]);
}

/// The record of the root directory.
fn directory(d: &mut [u8], at: usize) {
    d[at] = 34;
    both(d, at + 2, 20, 4);
    both(d, at + 10, 2048, 4);
    d[at + 25] = 2;
    both(d, at + 28, 1, 2);
    d[at + 32] = 1;
}
