//! The inspector on right images, on the hostile set, and on right images that were changed anywhere.

use super::*;
use crate::ErrorCode;
use proptest::prelude::*;
use virga_tests::images::{self, VIRTUAL_BYTES, hostile};

fn seen(bytes: &[u8]) -> Result<Inspected, Error> {
    inspect(&mut &*bytes, bytes.len() as u64)
}

fn right() -> Vec<(ImageFormat, u64, Vec<u8>)> {
    use ImageFormat::*;
    vec![
        (Qcow2, VIRTUAL_BYTES, images::qcow2()),
        (Qcow2, VIRTUAL_BYTES, images::qcow2_v2()),
        (Raw, 1 << 20, vec![0; 1 << 20]),
        (Iso, 48 << 10, images::iso()),
        (Vmdk, 1 << 20, images::vmdk_stream()),
        (Vmdk, 1 << 20, images::vmdk_sparse()),
        (Vhd, 4 << 20, images::vhd_fixed()),
        (Vhd, 4 << 20, images::vhd_dynamic()),
        (Vhdx, VIRTUAL_BYTES, images::vhdx()),
        (Ova, 1 << 20, images::ova::vmware()),
        (Ova, 1 << 20, images::ova::virtualbox()),
        (Ova, VIRTUAL_BYTES, images::ova::ovirt()),
    ]
}

#[test]
fn right_images_are_accepted() {
    for (format, virtual_bytes, bytes) in right() {
        assert_eq!(seen(&bytes).unwrap(), Inspected::new(format, virtual_bytes), "{format}");
        assert_eq!(inspect_head(&bytes[..bytes.len().min(HEADER_BYTES)]), Ok(()), "{format}");
    }
    // An ISO that can be copied to a stick, whose end was cut as some programs do.
    let mut stick = images::iso_of(1 << 20);
    stick[510..512].copy_from_slice(b"\x55\xaa");
    assert_eq!(seen(&stick[..(1 << 20) - 64 * 2048]).unwrap().format, ImageFormat::Iso);
    // A disk of Virtual PC: the geometry counts, as QEMU is told.
    let mut vpc = images::vhd_fixed();
    let at = vpc.len() - 512;
    images::put(&mut vpc, at + 28, b"vpc ");
    images::seal_footer(&mut vpc, at);
    assert_eq!(seen(&vpc).unwrap(), Inspected { size_by_geometry: true, ..Inspected::new(ImageFormat::Vhd, 8160 * 512) });
}

#[test]
fn the_hostile_set_is_refused_with_its_reason() {
    let set = hostile::all();
    assert!(set.len() >= 60, "{}", set.len());
    let mut wrong = Vec::new();
    for h in &set {
        match seen(&h.bytes) {
            Err(e) if e.code == ErrorCode::Invalid && e.violations[0].field == "content" && e.message.contains(h.why) => {
                // What the file says is not shown.
                assert!(!["shadow", "passwd", "169.254"].iter().any(|w| e.message.contains(w)), "{}: {e}", h.what);
            }
            other => wrong.push(format!("{} ({}): not \"{}\" but {other:?}", h.what, h.flaw, h.why)),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("{} hostile images, all refused", set.len());
}

#[test]
fn what_its_header_refuses_is_refused_before_the_rest_comes() {
    let early = hostile::all().iter().filter(|h| inspect_head(&h.bytes[..h.bytes.len().min(HEADER_BYTES)]).is_err()).count();
    println!("{early} of the hostile set are refused by their first 64 KiB");
    assert!(early >= 50, "{early}");
}

#[test]
fn no_format_hides_in_another() {
    // The content that counts is the one that any program that looks for itself would find first.
    let mut raw = vec![0; 1 << 20];
    raw[..0x500].copy_from_slice(&hostile::backed_by("/etc/shadow")[..0x500]);
    assert!(seen(&raw).unwrap_err().message.contains("backing file"));
    let qcow2 = images::qcow2();
    raw[..qcow2.len()].copy_from_slice(&qcow2);
    assert_eq!(seen(&raw).unwrap().format, ImageFormat::Qcow2);
}

#[test]
fn what_cannot_be_read_is_no_refusal() {
    let mut broken = |_: u64, _: &mut [u8]| Err(Error::unavailable("The disk is broken."));
    assert_eq!(inspect(&mut broken, 1 << 20).unwrap_err().code, ErrorCode::Unavailable);
}

/// Reads `bytes`, then `fill` for ever, and counts.
struct Counting<'a> {
    bytes: &'a [u8],
    length: u64,
    read: u64,
    fill: u8,
}

impl ReadAt for Counting<'_> {
    fn read_at(&mut self, offset: u64, out: &mut [u8]) -> Result<(), Error> {
        assert!(offset + out.len() as u64 <= self.length, "behind the end");
        self.read += out.len() as u64;
        for (i, b) in out.iter_mut().enumerate() {
            let at = usize::try_from(offset).unwrap().checked_add(i).unwrap();
            *b = self.bytes.get(at).copied().unwrap_or(self.fill);
        }
        Ok(())
    }
}

static RIGHT: std::sync::LazyLock<Vec<(ImageFormat, u64, Vec<u8>)>> = std::sync::LazyLock::new(right);

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is changed, and whatever the length: no panic, nothing behind the end, at most 256 MiB read.
    #[test]
    fn any_file_is_inspected_within_bounds(
        which in 0usize..12,
        changes in proptest::collection::vec((0usize..5000, any::<[u8; 4]>()), 0..6),
        far in proptest::collection::vec((any::<prop::sample::Index>(), any::<u64>()), 0..4),
        length in prop_oneof![Just(None), any::<u64>().prop_map(|n| Some(n >> 12)), (0u64..1 << 24).prop_map(Some)],
        fill in any::<u8>(),
    ) {
        let mut bytes = RIGHT[which].2.clone();
        for (at, b) in changes {
            let at = at.min(bytes.len() - 4);
            images::put(&mut bytes, at, &b);
        }
        for (at, v) in far {
            let at = at.index(bytes.len() - 8);
            images::put(&mut bytes, at, &v.to_be_bytes());
        }
        let length = length.unwrap_or(bytes.len() as u64);
        let mut source = Counting { bytes: &bytes, length, read: 0, fill };
        if let Ok(i) = inspect(&mut source, length) {
            prop_assert!(i.virtual_bytes > 0 && i.virtual_bytes <= VIRTUAL_BYTES_MAX && i.virtual_bytes.is_multiple_of(512));
        }
        prop_assert!(source.read <= 256 << 20);
        let _ = inspect_head(&bytes[..bytes.len().min(HEADER_BYTES)]);
    }
}
