//! The screen as PNG.

use crate::Result;
use crate::libvirt::{Lane, Libvirt, no_domain, ours, screenshot};
use std::sync::Arc;
use std::time::Duration;
use virga_model::{Error, VmId};

/// Most bytes of a picture as QEMU gives it: 4096 x 4096 pixels.
const PICTURE_BYTES_MAX: usize = 50 << 20;
/// Largest width and height.
const SIDE_MAX: u32 = 4096;

/// A picture of the VM's first screen.
pub async fn take(libvirt: &Arc<Libvirt>, vm: VmId) -> Result<Vec<u8>> {
    const WHAT: &str = "The screenshot could not be taken";
    libvirt
        .call(Lane::Long, Duration::from_secs(20), WHAT, move |conn| {
            let Some(d) = ours(conn, vm)? else { return Err(no_domain(WHAT, vm).into()) };
            if !d.is_active()? {
                return Err(Error::conflict("A VM that does not run has no screen.").with_hint("Start the VM.").into());
            }
            let bytes = screenshot(conn, &d, PICTURE_BYTES_MAX)?;
            // Here and not on a runtime thread: packing a picture takes a while.
            Ok(png(&bytes)?)
        })
        .await
}

/// PNG as it is, PPM converted.
pub(crate) fn png(bytes: &[u8]) -> Result<Vec<u8>> {
    if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        return Ok(bytes.to_vec());
    }
    let refuse = |why: &str| Error::host(format!("QEMU gave a screenshot that cannot be read: {why}."));
    let (width, height, pixels) = ppm(bytes).ok_or_else(|| refuse("it is neither PNG nor a sane PPM"))?;
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Fast);
    let mut writer = encoder.write_header().map_err(|e| refuse(&e.to_string()))?;
    writer.write_image_data(pixels).map_err(|e| refuse(&e.to_string()))?;
    writer.finish().map_err(|e| refuse(&e.to_string()))?;
    Ok(out)
}

/// Width, height and pixels of a binary PPM with 8 bits for each colour.
fn ppm(bytes: &[u8]) -> Option<(u32, u32, &[u8])> {
    let mut rest = bytes.strip_prefix(b"P6")?;
    let mut numbers = [0u32; 3];
    for n in &mut numbers {
        loop {
            let first = *rest.first()?;
            if first == b'#' {
                let line = rest.iter().position(|b| *b == b'\n')?;
                rest = rest.get(line..)?;
            } else if first.is_ascii_whitespace() {
                rest = rest.get(1..)?;
            } else {
                break;
            }
        }
        let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        *n = std::str::from_utf8(rest.get(..digits)?).ok()?.parse().ok()?;
        rest = rest.get(digits..)?;
    }
    let pixels = rest.get(1..)?;
    let [width, height, depth] = numbers;
    let sane = (1..=SIDE_MAX).contains(&width) && (1..=SIDE_MAX).contains(&height) && depth == 255;
    // Only sane sides are multiplied: three numbers of 32 bits are more than 64 bits hold.
    if !sane {
        return None;
    }
    let length = usize::try_from(u64::from(width) * u64::from(height) * 3).ok()?;
    Some((width, height, pixels.get(..length)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ppm_becomes_a_png() {
        let picture = png(b"P6\n# made by a test\n2 1\n255\n\xff\0\0\0\xff\0").unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(&picture)).read_info().unwrap();
        let mut buffer = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut buffer).unwrap();
        assert_eq!((info.width, info.height), (2, 1));
        assert_eq!(&buffer[..6], b"\xff\0\0\0\xff\0");
        assert_eq!(png(&picture).unwrap(), picture);
    }

    #[test]
    fn broken_pictures_are_errors() {
        for bad in [
            &b""[..],
            b"P6",
            b"P6 2 2 255\nxx",
            b"P6 0 0 255\n",
            b"P6 99999999999 1 255\n",
            b"P6 4096 4097 255\n",
            b"P6 4294967295 4294967295 255\n",
            b"P6 1 1 65535\n123456",
            b"P6 #",
            b"P5 1 1 255\n1",
        ] {
            assert!(png(bad).is_err(), "{bad:?}");
        }
    }
}
