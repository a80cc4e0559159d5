//! Targets of bytes that are no text: headers of foreign images, pictures of screens.

use crate::{Target, mark};
use virga_model::image::{HEADER_BYTES, ImageFormat, VIRTUAL_BYTES_MAX, inspect, inspect_head};

/// Headers and tables of foreign images.
pub const IMAGE_HEADER: Target = Target {
    name: "image-header",
    about: "headers of foreign images",
    run: image_header,
    words: &["QFI\u{fb}", "KDMV", "CD001", "# Disk DescriptorFile", "conectix", "cxsparse", "vhdxfile", "QED\0", "json:{", "nbd://"],
};

/// An image: the first eight bytes are its length, the rest its beginning. What is missing up to the length is taken from a
/// few bytes that repeat, so that tables far behind can be reached with a small input.
fn image_header(data: &[u8]) -> u64 {
    let Some((length, bytes)) = data.split_first_chunk::<8>() else { return 0 };
    let length = u64::from_be_bytes(*length);
    let mut read = 0;
    let mut source = |at: u64, out: &mut [u8]| {
        assert!(at.checked_add(out.len() as u64).is_some_and(|end| end <= length), "read behind the end");
        read += out.len();
        for (i, b) in out.iter_mut().enumerate() {
            let at = usize::try_from(at).unwrap_or(usize::MAX).saturating_add(i);
            *b = bytes.get(at).copied().unwrap_or_else(|| if at.is_multiple_of(4096) { bytes.last().copied().unwrap_or(0) } else { 0 });
        }
        Ok(())
    };
    let seen = inspect(&mut source, length);
    assert!(read <= 256 << 20, "{read} bytes read");
    let _ = inspect_head(&bytes[..bytes.len().min(HEADER_BYTES)]);
    match seen {
        Ok(i) => {
            assert!(i.virtual_bytes > 0 && i.virtual_bytes <= VIRTUAL_BYTES_MAX && i.virtual_bytes.is_multiple_of(512));
            if i.format == ImageFormat::Qcow2 {
                let u64_at = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
                // No backing file, no encryption; in version 3 nothing that leads to another file.
                assert!(u64_at(8) == 0 && bytes[32..36] == [0; 4] && u64_at(24) == i.virtual_bytes);
                assert!(bytes[7] != 3 || u64_at(72) & 0b111 == 0);
            }
            if i.format == ImageFormat::Vmdk {
                let shown = &bytes[..bytes.len().min(21 * 512)];
                assert!(!shown.windows(18).any(|w| w == b"parentFileNameHint"));
            }
            mark(&i.format.to_string())
        }
        Err(e) => mark(&e.message),
    }
}

/// Pictures of screens, PPM or PNG.
pub const SCREENSHOT: Target = Target {
    name: "screenshot",
    about: "pictures that QEMU gives of a screen",
    run: screenshot,
    words: &["P6", "\n", " ", "#", "255", "65535", "4096", "\u{89}PNG\r\n\u{1a}\n"],
};

fn screenshot(data: &[u8]) -> u64 {
    match virga_kvm::foreign::picture(data) {
        Ok(png) => {
            assert!(png.starts_with(b"\x89PNG\r\n\x1a\n") && png.len() <= 2 * data.len() + 4096);
            mark("picture")
        }
        Err(e) => mark(&e.message),
    }
}
