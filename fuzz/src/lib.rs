//! Fuzz targets: one plain function for each parser of bytes that somebody else wrote (`reliability.md` 5.4).
//!
//! A target gets any bytes and must come back: a panic, an overflow, an endless loop or a broken promise (an assertion in
//! the target) is a finding. Its answer is a mark of what happened, so that a runner can tell a new kind of outcome from
//! an old one. Targets never touch files, programs or the network.

pub mod mutate;
pub mod run;
pub mod targets;

/// A target.
#[derive(Clone, Copy)]
pub struct Target {
    /// Name, also of its corpus folder.
    pub name: &'static str,
    /// Whose bytes these are.
    pub about: &'static str,
    /// Runs it; the answer marks the outcome.
    pub run: fn(&[u8]) -> u64,
    /// Words of the format, which mutations put in.
    pub words: &'static [&'static str],
}

/// Every target.
pub const TARGETS: &[Target] = &[
    targets::text::FILTER,
    targets::text::SIZE_AND_TIME,
    targets::text::QUERY,
    targets::text::CREDENTIALS,
    targets::text::JOIN_FILE,
    targets::text::CONTEXTS,
    targets::text::EVENTS,
    targets::json::REQUESTS,
    targets::json::SPECIFICATIONS,
    targets::json::CLOUD_INIT,
    targets::json::NODE_DOCUMENTS,
    targets::json::GUEST_AGENT,
    targets::binary::IMAGE_HEADER,
    targets::binary::SCREENSHOT,
    targets::image::QCOW2,
    targets::image::VMDK,
    targets::image::VHD,
    targets::image::VHDX,
    targets::image::ISO,
    targets::image::RAW,
    targets::package::TAR,
    targets::package::DESCRIPTOR,
    targets::package::MANIFEST,
    targets::xml::DOMAIN,
    targets::xml::CAPABILITIES,
    targets::list::LIST,
];

/// The target of that name.
#[must_use]
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|t| t.name == name)
}

/// Marks an outcome: equal texts give equal marks; digits do not count, so that positions make no difference.
#[must_use]
pub fn mark(outcome: &str) -> u64 {
    // FNV-1a.
    outcome.bytes().filter(|b| !b.is_ascii_digit()).take(200).fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}
