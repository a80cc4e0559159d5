//! VMDK.

use super::put;

/// The descriptor of the right images begins here.
pub const DESCRIPTOR: usize = 512;
/// Length of [`vmdk_stream`].
pub const STREAM_BYTES: usize = 31 * 512;
/// Sectors of the disk.
const CAPACITY: u64 = 2048;

/// The text of a descriptor: its kind, the id of its parent, and its line of an extent.
#[must_use]
pub fn vmdk_descriptor(kind: &str, parent: &str, extent: &str) -> String {
    format!(
        "# Disk DescriptorFile\nversion=1\nCID=8a3b1f02\nparentCID={parent}\ncreateType=\"{kind}\"\n\n# Extent description\n{extent}\n\n\
         # The Disk Data Base\n#DDB\n\nddb.virtualHWVersion = \"4\"\nddb.geometry.cylinders = \"2\"\nddb.geometry.heads = \"16\"\n\
         ddb.geometry.sectors = \"63\"\nddb.adapterType = \"lsilogic\"\n"
    )
}

/// `image` with another descriptor.
#[must_use]
pub fn with_descriptor(mut image: Vec<u8>, text: &str) -> Vec<u8> {
    image[DESCRIPTOR..DESCRIPTOR + 20 * 512].fill(0);
    put(&mut image, DESCRIPTOR, text.as_bytes());
    image
}

fn header(flags: u32, directory: u64, compression: u16) -> [u8; 512] {
    let mut h = [0u8; 512];
    put(&mut h, 0, b"KDMV");
    put(&mut h, 4, &if compression == 0 { 1u32 } else { 3 }.to_le_bytes());
    put(&mut h, 8, &flags.to_le_bytes());
    put(&mut h, 12, &CAPACITY.to_le_bytes());
    put(&mut h, 20, &128u64.to_le_bytes());
    put(&mut h, 28, &1u64.to_le_bytes());
    put(&mut h, 36, &20u64.to_le_bytes());
    put(&mut h, 44, &512u32.to_le_bytes());
    put(&mut h, 56, &directory.to_le_bytes());
    put(&mut h, 64, &if compression == 0 { 128u64 } else { 21 }.to_le_bytes());
    put(&mut h, 73, b"\n \r\n");
    put(&mut h, 77, &compression.to_le_bytes());
    h
}

/// A right image for transport (streamOptimized) of 1 MiB without data.
#[must_use]
pub fn vmdk_stream() -> Vec<u8> {
    let mut d = vec![0u8; STREAM_BYTES];
    put(&mut d, 0, &header(0x3_0001, u64::MAX, 1));
    d = with_descriptor(d, &vmdk_descriptor("streamOptimized", "ffffffff", "RW 2048 SPARSE \"disk.vmdk\""));
    // The grain table at 22, the directory at 27, each behind its marker, then the footer.
    marker(&mut d, 21, 4, 1);
    marker(&mut d, 26, 1, 2);
    put(&mut d, 27 * 512, &22u32.to_le_bytes());
    marker(&mut d, 28, 1, 3);
    put(&mut d, 29 * 512, &header(0x3_0001, 27, 1));
    d
}

fn marker(d: &mut [u8], sector: usize, sectors: u64, kind: u32) {
    put(d, sector * 512, &sectors.to_le_bytes());
    put(d, sector * 512 + 12, &kind.to_le_bytes());
}

/// A right image that grows in place (monolithicSparse) of 1 MiB with one grain of data: directory at sector 21, table at
/// 22, data at 128.
#[must_use]
pub fn vmdk_sparse() -> Vec<u8> {
    let mut d = vec![0u8; 256 * 512];
    put(&mut d, 0, &header(1, 21, 0));
    d = with_descriptor(d, &vmdk_descriptor("monolithicSparse", "ffffffff", "RW 2048 SPARSE \"disk.vmdk\""));
    put(&mut d, 21 * 512, &22u32.to_le_bytes());
    put(&mut d, 22 * 512, &128u32.to_le_bytes());
    d[128 * 512..].fill(7);
    d
}
