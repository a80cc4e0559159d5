//! Targets of bytes that are no text: headers of foreign images, pictures of screens.

use crate::{Target, mark};
use virga_model::image::{HEADER_BYTES, ImageFormat, VIRTUAL_BYTES_MAX, inspect};

/// Headers of foreign images; the first eight bytes are the length of the file.
pub const IMAGE_HEADER: Target = Target {
    name: "image-header",
    about: "headers of foreign images",
    run: image_header,
    words: &["QFI\u{fb}", "KDMV", "CD001", "# Disk DescriptorFile", "conectix", "vhdxfile", "QED\0", "json:{", "nbd://"],
};

fn image_header(data: &[u8]) -> u64 {
    let Some((length, head)) = data.split_first_chunk::<8>() else { return 0 };
    let length = u64::from_be_bytes(*length);
    let head = &head[..head.len().min(HEADER_BYTES)];
    match inspect(head, length) {
        Ok(i) => {
            assert!(i.virtual_bytes > 0);
            if i.format == ImageFormat::Qcow2 {
                let u64_at = |at: usize| u64::from_be_bytes(head[at..at + 8].try_into().expect("eight bytes"));
                // No backing file, no encryption, no size beyond the limit; in version 3 nothing that leads to another file.
                assert!(u64_at(8) == 0 && head[32..36] == [0; 4] && i.virtual_bytes <= VIRTUAL_BYTES_MAX && u64_at(24) == i.virtual_bytes);
                assert!(head[7] != 3 || u64_at(72) & 0b111 == 0);
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
