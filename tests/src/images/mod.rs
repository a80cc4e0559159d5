//! Image files for tests, right ones and hostile ones, made byte by byte: no file of a stranger lies in the repository.
//!
//! The right ones are small and complete, so that QEMU takes them too; a hostile one is a right one with one lie.

pub mod hostile;
mod hostile_ova;
mod iso;
pub mod ova;
mod qcow2;
mod vhd;
mod vhdx;
mod vmdk;

pub use iso::{iso, iso_of};
pub use qcow2::{CLUSTER, qcow2, qcow2_v2};
pub use vhd::{seal_footer, seal_header, vhd_dynamic, vhd_fixed};
pub use vhdx::{MIB, seal_vhdx, vhdx};
pub use vmdk::{DESCRIPTOR, STREAM_BYTES, vmdk_descriptor, vmdk_sparse, vmdk_stream, with_descriptor};

/// Bytes that a guest sees of the right qcow2 and VHDX images.
pub const VIRTUAL_BYTES: u64 = 1 << 30;

/// Puts `bytes` at `at`.
pub fn put(data: &mut [u8], at: usize, bytes: &[u8]) {
    data[at..at + bytes.len()].copy_from_slice(bytes);
}

/// `data` with some bytes changed.
#[must_use]
pub fn with(mut data: Vec<u8>, changes: &[(usize, &[u8])]) -> Vec<u8> {
    changes.iter().for_each(|(at, bytes)| put(&mut data, *at, bytes));
    data
}
