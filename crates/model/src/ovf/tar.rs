//! The tar of an OVA: where each member lies, and headers of our own.
//!
//! Only plain files with plain names are taken. Links, devices, folders, sparse files and names that are paths are refused:
//! nothing here is ever extracted, and a package that has them was made to do harm somewhere (CVE-2021-21972).

use super::{MEMBERS_MAX, Member, NAME_BYTES_MAX};
use crate::image::reader::{Reader, Seen, Stop, must, refuse};

/// Bytes of a block; headers and members begin at multiples.
pub const BLOCK: u64 = 512;
/// Longest extended header (pax, GNU) in bytes.
const EXTENDED_BYTES_MAX: u64 = 64 << 10;
/// Headers of any kind in one archive.
const HEADERS_MAX: usize = 4 * MEMBERS_MAX;
/// Bytes that may follow the end; what archivers pad with.
const TAIL_BYTES_MAX: u64 = 1 << 20;

/// Whether a file begins with the header of a tar member.
pub(crate) fn is_tar(first: &[u8; 512]) -> bool {
    first.get(257..262) == Some(b"ustar")
}

/// What one header says.
struct Header {
    name: String,
    bytes: u64,
    kind: u8,
}

/// The first member of the archive; the rest may not be there yet.
pub(super) fn first(r: &mut Reader<'_>) -> Seen<Member> {
    let mut found = Vec::new();
    walk(r, &mut found, 1)?;
    found.pop().map_or_else(|| refuse("is an empty tar archive"), Ok)
}

/// Every member.
pub(super) fn members(r: &mut Reader<'_>) -> Seen<Vec<Member>> {
    let mut found = Vec::new();
    walk(r, &mut found, usize::MAX)?;
    Ok(found)
}

/// Walks over the headers until `enough` members are found or the archive ends.
fn walk(r: &mut Reader<'_>, found: &mut Vec<Member>, enough: usize) -> Seen<()> {
    let (mut at, mut extended) = (0u64, Extended::default());
    for _ in 0..HEADERS_MAX {
        if at == r.length() {
            return must(!found.is_empty(), "is an empty tar archive");
        }
        let block = r.array::<512>(at)?;
        if block == [0; 512] {
            return tail(r, at);
        }
        let h = header_of(&block)?;
        let data = at + BLOCK;
        match h.kind {
            b'x' | b'g' | b'L' => {
                must(h.bytes <= EXTENDED_BYTES_MAX, "is a tar archive with an extended header beyond all bounds")?;
                let text = r.vec(data, usize::try_from(h.bytes).unwrap_or(0))?;
                match h.kind {
                    b'x' => extended.pax(&text)?,
                    b'L' => extended.long_name(&text)?,
                    // What holds for the whole archive (times, comments) says nothing of where members lie.
                    _ => Extended::default().pax(&text)?,
                }
                at = next(r, data, h.bytes)?;
            }
            b'0' | 0 => {
                let extended = std::mem::take(&mut extended);
                let (name, bytes) = (extended.name.unwrap_or(h.name), extended.size.unwrap_or(h.bytes));
                let name = plain(&name)?;
                let twice = found.iter().any(|m| m.name.eq_ignore_ascii_case(&name));
                must(!twice, "is a tar archive with two members of one name")?;
                must(found.len() < MEMBERS_MAX, "is a tar archive with more than 64 members")?;
                at = next(r, data, bytes)?;
                found.push(Member { name, offset: data, bytes, digest: None });
                if found.len() >= enough {
                    return Ok(());
                }
            }
            b'1' | b'2' => return refuse("is a tar archive with a link; an OVA holds plain files only"),
            b'3' | b'4' | b'6' => return refuse("is a tar archive with a device or a pipe; an OVA holds plain files only"),
            b'5' => return refuse("is a tar archive with a folder; an OVA holds plain files only (tar -cf x.ova x.ovf x.mf x-disk1.vmdk)"),
            _ => return refuse("is a tar archive with a member of an unknown or sparse kind; an OVA holds plain files only"),
        }
    }
    refuse("is a tar archive with too many headers")
}

/// Where the header after a member of `bytes` bytes at `data` lies.
fn next(r: &Reader<'_>, data: u64, bytes: u64) -> Seen<u64> {
    match bytes.checked_add(padding(bytes)).filter(|whole| r.holds(data, *whole)) {
        Some(whole) => Ok(data + whole),
        // The last padding may be missing.
        None if r.holds(data, bytes) && data + bytes == r.length() => Ok(data + bytes),
        None => refuse("is a tar archive that is cut off; is the file complete?"),
    }
}

/// Behind the end there is nothing: a second archive there would be read by some programs and not by others.
fn tail(r: &mut Reader<'_>, at: u64) -> Seen<()> {
    if !r.is_whole() {
        // How long the file is in the end is not known yet.
        return Err(Stop::Later);
    }
    let rest = r.length() - at;
    must(rest <= TAIL_BYTES_MAX, "is a tar archive with data behind its end")?;
    let bytes = r.vec(at, usize::try_from(rest).unwrap_or(0))?;
    must(bytes.iter().all(|b| *b == 0), "is a tar archive with data behind its end")
}

fn header_of(block: &[u8; 512]) -> Seen<Header> {
    must(is_tar(block), "is a tar archive with a broken header, or one of a kind older than POSIX (ustar)")?;
    let sum: u64 = block.iter().enumerate().map(|(i, b)| if (148..156).contains(&i) { u64::from(b' ') } else { u64::from(*b) }).sum();
    must(number(&block[148..156]) == Some(sum), "is a tar archive with a header whose checksum is wrong")?;
    let Some(bytes) = number(&block[124..136]) else { return refuse("is a tar archive with a size that is no number") };
    let (name, prefix) = (text(&block[..100]), text(&block[345..500]));
    // With GNU's magic the place of the prefix holds other things.
    let posix = &block[257..263] == b"ustar\0";
    let name = if posix && !prefix.is_empty() { [prefix, b"/", name].concat() } else { name.to_vec() };
    let Ok(name) = String::from_utf8(name) else { return refuse("is a tar archive with a name that is not UTF-8") };
    Ok(Header { name, bytes, kind: block[156] })
}

/// The bytes before the first NUL.
fn text(field: &[u8]) -> &[u8] {
    field.split(|b| *b == 0).next().unwrap_or_default()
}

/// A number of a header: octal, or (GNU) binary with the highest bit set.
fn number(field: &[u8]) -> Option<u64> {
    let (first, rest) = field.split_first()?;
    if first & 0x80 != 0 {
        let digits = std::iter::once(first & 0x7f).chain(rest.iter().copied());
        return digits.into_iter().try_fold(0u64, |v, b| v.checked_mul(256)?.checked_add(u64::from(b)));
    }
    let digits = std::str::from_utf8(field).ok()?.trim_matches(|c: char| c == ' ' || c == '\0');
    if digits.is_empty() || !digits.bytes().all(|b| (b'0'..=b'7').contains(&b)) {
        return None;
    }
    u64::from_str_radix(digits, 8).ok()
}

/// A name that names a member and nothing else: no path, no option, nothing that cannot be shown.
fn plain(name: &str) -> Seen<String> {
    let name = name.strip_prefix("./").unwrap_or(name);
    if name.contains(['/', '\\']) || name == "." || name == ".." {
        return refuse("is a tar archive with a path in place of a name; an OVA holds plain files without folders");
    }
    let right = !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.starts_with('-') && name.chars().all(crate::name::printable);
    if right { Ok(name.to_string()) } else { refuse("is a tar archive with an impossible name") }
}

/// What extended headers say of the next member.
#[derive(Default)]
struct Extended {
    name: Option<String>,
    size: Option<u64>,
}

impl Extended {
    /// Records of pax: `LENGTH KEY=VALUE\n`.
    fn pax(&mut self, mut text: &[u8]) -> Seen<()> {
        const BROKEN: &str = "is a tar archive with a broken extended header";
        while !text.is_empty() {
            let digits = text.iter().take_while(|b| b.is_ascii_digit()).take(7).count();
            let length = std::str::from_utf8(&text[..digits]).ok().and_then(|d| d.parse::<usize>().ok()).unwrap_or(0);
            let record = (length > digits + 1).then(|| text.get(digits..length)).flatten();
            let Some(record) = record.and_then(|r| r.strip_prefix(b" ")).and_then(|r| r.strip_suffix(b"\n")) else { return refuse(BROKEN) };
            text = &text[length..];
            let Some((key, value)) = std::str::from_utf8(record).ok().and_then(|r| r.split_once('=')) else { return refuse(BROKEN) };
            match key {
                "path" => self.name = Some(value.to_string()),
                "size" => {
                    let Ok(bytes) = value.parse() else { return refuse(BROKEN) };
                    self.size = Some(bytes);
                }
                "linkpath" => return refuse("is a tar archive with a link; an OVA holds plain files only"),
                k if k.starts_with("GNU.sparse") => {
                    return refuse("is a tar archive with a member of an unknown or sparse kind; an OVA holds plain files only");
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// GNU's long name, with its NUL.
    fn long_name(&mut self, bytes: &[u8]) -> Seen<()> {
        match std::str::from_utf8(text(bytes)) {
            Ok(name) => self.name = Some(name.to_string()),
            Err(_) => return refuse("is a tar archive with a name that is not UTF-8"),
        }
        Ok(())
    }
}

/// Bytes of zeros after a member of `bytes` bytes.
#[must_use]
pub fn padding(bytes: u64) -> u64 {
    bytes.wrapping_neg() % BLOCK
}

/// The header of a plain file. `name` has at most 99 bytes.
#[must_use]
pub fn header(name: &str, bytes: u64, changed_s: u64) -> [u8; 512] {
    let mut h = [0u8; 512];
    let mut put = |at: usize, text: &[u8]| h[at..at + text.len()].copy_from_slice(text);
    put(0, &name.as_bytes()[..name.len().min(99)]);
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    // Eleven octal digits reach 8 GiB; beyond, the number is binary, which every tar of today reads.
    if bytes < 1 << 33 {
        put(124, format!("{bytes:011o}\0").as_bytes());
    } else {
        put(124, &[0x80]);
        put(128, &bytes.to_be_bytes());
    }
    put(136, format!("{:011o}\0", changed_s.min((1 << 33) - 1)).as_bytes());
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    put(265, b"root");
    put(297, b"root");
    let sum: u32 = h.iter().map(|b| u32::from(*b)).sum();
    h[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    h
}

/// The end of an archive.
#[must_use]
pub fn end() -> [u8; 1024] {
    [0; 1024]
}
