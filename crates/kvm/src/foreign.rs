//! The parsers of what others wrote (guests, QEMU, libvirt), for the fuzz targets. Nothing else calls this; each function
//! is what the product does with those bytes, without the call that fetches them.

use crate::xml::El;
use crate::{Result, convert, facts, guest, screenshot};
use std::path::Path;
use virga_model::image::{ImageFormat, Inspected};
use virga_model::vm::GuestInfo;

/// What is taken over of the guest agent's answers; the same text is each of them.
#[must_use]
pub fn guest_info(answer: &str) -> GuestInfo {
    guest::understood(answer)
}

/// A picture of QEMU as PNG.
///
/// # Errors
/// When it is none.
pub fn picture(bytes: &[u8]) -> Result<Vec<u8>> {
    screenshot::png(bytes)
}

/// What is concluded from libvirt's capabilities: user and group of QEMU, whether and why not KVM.
#[must_use]
pub fn capabilities(document: &El) -> (Option<(u32, u32)>, &'static str) {
    (facts::qemu_user(document), facts::accelerator(document).0)
}

/// Converts an image into a qcow2 as a host does, but without any inspection before or after: for the test that shows that
/// the cage holds although the inspector missed something.
///
/// # Errors
/// What `qemu-img` says.
pub async fn convert_uninspected(from: &Path, format: ImageFormat, virtual_bytes: u64, to: &Path) -> Result<()> {
    convert::to_qcow2(from, 0, Inspected { format, virtual_bytes, size_by_geometry: false }, to).await
}
