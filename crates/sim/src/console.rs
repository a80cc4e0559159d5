//! What is seen of a simulated guest: a serial console that boots and echoes, a small picture, and the same picture over
//! VNC (RFB 3.8, raw encoding). Enough to try the way to a console; it is no terminal and no desktop.

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use virga_agent::host::Result;
use virga_model::{Error, VmId};

use crate::SimClock;
use crate::life::draw;

/// Width and height of the picture in pixels.
const WIDTH: u16 = 320;
const HEIGHT: u16 = 200;
/// Simulated milliseconds between two pictures for somebody who waits for changes.
const FRAME_MS: u64 = 1_000;
/// Longest text that somebody may paste into the screen's clipboard; more ends the connection.
const CUT_TEXT_MAX: u32 = 1 << 20;

/// The serial console of a guest: what it printed when it booted, then an echo with a prompt.
pub(crate) async fn serial(name: String, mut line: DuplexStream) {
    let boot = format!(
        "\r\n[    0.000000] Linux version 6.1.0-28-amd64 (simulated guest)\r\n\
         [    0.214000] Memory: simulated\r\n\
         [    1.037000] virtio_blk virtio1: [vda] simulated disk\r\n\
         [    1.881000] systemd[1]: Hostname set to <{name}>.\r\n\
         [    3.402000] systemd[1]: Reached target Multi-User System.\r\n\r\n\
         This guest is simulated: it repeats what is typed.\r\n{name} login: "
    );
    if line.write_all(boot.as_bytes()).await.is_err() {
        return;
    }
    let prompt = format!("\r\n{name} login: ");
    let mut buffer = [0; 1024];
    while let Ok(n @ 1..) = line.read(&mut buffer).await {
        let mut out = Vec::with_capacity(n);
        for b in &buffer[..n] {
            if matches!(b, b'\r' | b'\n') { out.extend_from_slice(prompt.as_bytes()) } else { out.push(*b) }
        }
        if line.write_all(&out).await.is_err() {
            return;
        }
    }
}

/// Red, green and blue of a pixel: stripes in the VM's own colours.
fn pixel(vm: VmId, x: u16, y: u16) -> [u8; 3] {
    let own = vm.0.as_u128() as u64;
    let stripe = u64::from(x / 40);
    let [r, g, b, ..] = draw(own, stripe).to_le_bytes();
    // Darker to the bottom.
    let shade = |c: u8| u8::try_from(u32::from(c) * u32::from(HEIGHT - y / 2) / u32::from(HEIGHT)).unwrap_or(c);
    [shade(r), shade(g), shade(b)]
}

fn pixels(vm: VmId) -> impl Iterator<Item = [u8; 3]> {
    (0..HEIGHT).flat_map(move |y| (0..WIDTH).map(move |x| pixel(vm, x, y)))
}

/// The screen as PNG.
pub(crate) fn screenshot(vm: VmId) -> Result<Vec<u8>> {
    let failed = |e: png::EncodingError| Error::internal(format!("The picture could not be made: {e}."));
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, WIDTH.into(), HEIGHT.into());
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().map_err(failed)?;
    writer.write_image_data(&pixels(vm).flatten().collect::<Vec<u8>>()).map_err(failed)?;
    writer.finish().map_err(failed)?;
    Ok(out)
}

/// The screen over VNC. Ends when the other side does, or says something that RFB does not know.
pub(crate) async fn vnc(vm: VmId, name: String, clock: SimClock, mut line: DuplexStream) {
    // The viewer went away, or speaks something else: either way there is nobody to tell.
    drop(rfb(vm, &name, &clock, &mut line).await);
}

/// How a viewer wants pixels: bytes of one, whether the largest comes first, and maximum and shift of each colour.
struct Format {
    bytes: usize,
    big_endian: bool,
    colours: [(u16, u8); 3],
}

impl Format {
    /// From the sixteen bytes of RFB.
    fn read(b: &[u8; 16]) -> Format {
        let max = |i: usize| u16::from_be_bytes([b[i], b[i + 1]]);
        Format { bytes: usize::from((b[0] / 8).clamp(1, 4)), big_endian: b[2] != 0, colours: [(max(4), b[10]), (max(6), b[11]), (max(8), b[12])] }
    }

    fn put(&self, out: &mut Vec<u8>, rgb: [u8; 3]) {
        let scaled = |(max, shift): (u16, u8), c: u8| (u32::from(c) * u32::from(max) / 255) << (shift & 31);
        let value = self.colours.iter().zip(rgb).fold(0, |v, (c, level)| v | scaled(*c, level));
        if self.big_endian { out.extend_from_slice(&value.to_be_bytes()[4 - self.bytes..]) } else { out.extend_from_slice(&value.to_le_bytes()[..self.bytes]) }
    }
}

/// 32 bits for a pixel, 8 for each colour.
const FORMAT: [u8; 16] = [32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0];

async fn rfb(vm: VmId, name: &str, clock: &SimClock, line: &mut DuplexStream) -> std::io::Result<()> {
    line.write_all(b"RFB 003.008\n").await?;
    line.read_exact(&mut [0; 12]).await?;
    // One kind of security: none. The way here was checked by the manager's ticket.
    line.write_all(&[1, 1]).await?;
    line.read_u8().await?;
    line.write_all(&[0, 0, 0, 0]).await?;
    line.read_u8().await?;
    let mut hello = Vec::new();
    hello.extend_from_slice(&WIDTH.to_be_bytes());
    hello.extend_from_slice(&HEIGHT.to_be_bytes());
    hello.extend_from_slice(&FORMAT);
    hello.extend_from_slice(&u32::try_from(name.len()).unwrap_or(0).to_be_bytes());
    hello.extend_from_slice(name.as_bytes());
    line.write_all(&hello).await?;
    let mut format = Format::read(&FORMAT);
    loop {
        match line.read_u8().await? {
            // SetPixelFormat
            0 => {
                let mut b = [0; 19];
                line.read_exact(&mut b).await?;
                let mut f = [0; 16];
                f.copy_from_slice(&b[3..]);
                format = Format::read(&f);
            }
            // SetEncodings
            2 => {
                line.read_u8().await?;
                let n = line.read_u16().await?;
                skip(line, u32::from(n) * 4).await?;
            }
            // FramebufferUpdateRequest
            3 => {
                let incremental = line.read_u8().await? != 0;
                line.read_exact(&mut [0; 8]).await?;
                if incremental {
                    clock.sleep_ms(FRAME_MS).await;
                }
                line.write_all(&frame(vm, &format)).await?;
            }
            // KeyEvent, PointerEvent
            4 => skip(line, 7).await?,
            5 => skip(line, 5).await?,
            // ClientCutText
            6 => {
                skip(line, 3).await?;
                let n = line.read_u32().await?;
                if n > CUT_TEXT_MAX {
                    return Ok(());
                }
                skip(line, n).await?;
            }
            _ => return Ok(()),
        }
    }
}

async fn skip(line: &mut DuplexStream, bytes: u32) -> std::io::Result<()> {
    tokio::io::copy(&mut line.take(bytes.into()), &mut tokio::io::sink()).await.map(drop)
}

/// The whole screen as one raw rectangle.
fn frame(vm: VmId, format: &Format) -> Vec<u8> {
    let mut out = vec![0, 0, 0, 1, 0, 0, 0, 0];
    out.extend_from_slice(&WIDTH.to_be_bytes());
    out.extend_from_slice(&HEIGHT.to_be_bytes());
    out.extend_from_slice(&[0, 0, 0, 0]);
    pixels(vm).for_each(|p| format.put(&mut out, p));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_screen_is_a_picture() {
        let png = screenshot(VmId(uuid::Uuid::from_u128(5))).unwrap();
        let reader = png::Decoder::new(std::io::Cursor::new(&png)).read_info().unwrap();
        assert_eq!((reader.info().width, reader.info().height), (WIDTH.into(), HEIGHT.into()));
    }

    #[tokio::test]
    async fn a_viewer_gets_the_screen() {
        let (mut near, far) = tokio::io::duplex(64 << 10);
        tokio::spawn(vnc(VmId(uuid::Uuid::from_u128(5)), "web-1".into(), SimClock::default(), far));
        near.read_exact(&mut [0; 12]).await.unwrap();
        near.write_all(b"RFB 003.008\n").await.unwrap();
        near.read_exact(&mut [0; 2]).await.unwrap();
        near.write_all(&[1]).await.unwrap();
        near.read_exact(&mut [0; 4]).await.unwrap();
        near.write_all(&[1]).await.unwrap();
        let mut hello = [0; 24 + 5];
        near.read_exact(&mut hello).await.unwrap();
        assert_eq!(&hello[24..], b"web-1");
        near.write_all(&[3, 0, 0, 0, 0, 0, 1, 64, 0, 200]).await.unwrap();
        let mut picture = vec![0; 16 + 4 * usize::from(WIDTH) * usize::from(HEIGHT)];
        near.read_exact(&mut picture).await.unwrap();
        assert_eq!(picture[3], 1, "one rectangle");
    }

    #[tokio::test]
    async fn the_serial_console_boots_and_repeats() {
        let (mut near, far) = tokio::io::duplex(64 << 10);
        tokio::spawn(serial("web-1".into(), far));
        near.write_all(b"hello\r").await.unwrap();
        let mut seen = String::new();
        while !seen.contains("hello\r\nweb-1 login: ") {
            let mut b = [0; 256];
            let n = near.read(&mut b).await.unwrap();
            assert!(n > 0, "{seen}");
            seen.push_str(&String::from_utf8_lossy(&b[..n]));
        }
        assert!(seen.contains("web-1 login: "), "{seen}");
    }
}
