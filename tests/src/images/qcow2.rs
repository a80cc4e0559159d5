//! qcow2.

use super::{VIRTUAL_BYTES, put};

/// Bytes of a cluster.
pub const CLUSTER: usize = 1 << 16;

/// A right, empty image of version 3 in four clusters: header, table of reference counts, their block, cluster table.
#[must_use]
pub fn qcow2() -> Vec<u8> {
    let mut d = qcow2_v2();
    put(&mut d, 4, &3u32.to_be_bytes());
    put(&mut d, 96, &4u32.to_be_bytes());
    put(&mut d, 100, &104u32.to_be_bytes());
    d
}

/// The same of version 2.
#[must_use]
pub fn qcow2_v2() -> Vec<u8> {
    let mut d = vec![0u8; 4 * CLUSTER];
    put(&mut d, 0, b"QFI\xfb");
    put(&mut d, 4, &2u32.to_be_bytes());
    put(&mut d, 20, &16u32.to_be_bytes());
    put(&mut d, 24, &VIRTUAL_BYTES.to_be_bytes());
    put(&mut d, 36, &2u32.to_be_bytes());
    put(&mut d, 40, &(3 * CLUSTER as u64).to_be_bytes());
    put(&mut d, 48, &(CLUSTER as u64).to_be_bytes());
    put(&mut d, 56, &1u32.to_be_bytes());
    put(&mut d, CLUSTER, &(2 * CLUSTER as u64).to_be_bytes());
    for n in 0..4 {
        put(&mut d, 2 * CLUSTER + 2 * n, &1u16.to_be_bytes());
    }
    d
}
