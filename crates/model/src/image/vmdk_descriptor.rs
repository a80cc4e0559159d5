//! The descriptor inside a VMDK: a text that may name other files. It must name none but the file that it is in.

use super::reader::{Seen, must, refuse};

/// Most lines.
const LINES_MAX: usize = 2000;

pub(super) const PARENTED: &str = "is a VMDK that stands on another file (parent); consolidate the snapshots of its machine, then export again";
const STREAM: &str = "export the disk in its form for transport (streamOptimized), or convert it to qcow2 first (qemu-img convert -O qcow2)";

/// Kinds with the data in the file itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Written in one go, compressed.
    Stream,
    /// Grows in place.
    Sparse,
}

/// Checks a descriptor of a file of `capacity` sectors.
pub(super) fn check(text: &[u8], capacity: u64) -> Seen<Kind> {
    let text = text.split(|b| *b == 0).next().unwrap_or_default();
    let mut kind = None;
    let mut extents = 0u32;
    for (n, line) in text.split(|b| *b == b'\n').enumerate() {
        must(n < LINES_MAX, "has a VMDK descriptor without an end")?;
        let Ok(line) = std::str::from_utf8(line).map(str::trim) else {
            // Names of machines in other encodings; what matters below is ASCII.
            continue;
        };
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = line.split_once('=').map_or((line, ""), |(k, v)| (k.trim(), v.trim().trim_matches('"')));
        match key.to_ascii_lowercase().as_str() {
            "createtype" => {
                let seen = match value {
                    "streamOptimized" => Kind::Stream,
                    "monolithicSparse" => Kind::Sparse,
                    _ => return refuse(format!("is a VMDK of a kind that keeps its data in other files; {STREAM}")),
                };
                must(kind.replace(seen).is_none(), "has a VMDK descriptor that names its kind twice")?;
            }
            "parentcid" => must(value.eq_ignore_ascii_case("ffffffff"), PARENTED)?,
            "parentfilenamehint" => return refuse(PARENTED),
            key if key.contains("path") || key.contains("filename") || key.contains("parent") => {
                return refuse(format!("has a VMDK descriptor that leads to another file; {STREAM}"));
            }
            _ if extent(line, capacity)? => extents += 1,
            _ => {}
        }
    }
    must(extents == 1, &format!("has a VMDK descriptor that tells of no extent or of several; {STREAM}"))?;
    match kind {
        Some(k) => Ok(k),
        None => refuse(format!("has a VMDK descriptor that does not tell its kind; {STREAM}")),
    }
}

/// Whether the line is one of an extent; it must be the file's own.
fn extent(line: &str, capacity: u64) -> Seen<bool> {
    let mut words = line.splitn(4, char::is_whitespace);
    if !matches!(words.next().map(str::to_ascii_uppercase).as_deref(), Some("RW" | "RDONLY" | "NOACCESS")) {
        return Ok(false);
    }
    let (sectors, kind, name) = (words.next().unwrap_or_default(), words.next().unwrap_or_default(), words.next().unwrap_or_default());
    must(kind == "SPARSE", &format!("is a VMDK that keeps its data in other files; {STREAM}"))?;
    let plain = name.trim().strip_prefix('"').and_then(|n| n.strip_suffix('"')).is_some_and(is_plain);
    must(plain, &format!("is a VMDK whose data lies behind a path or in several files; {STREAM}"))?;
    must(sectors.parse() == Ok(capacity), "has a VMDK header and descriptor of different sizes; it is damaged, so export or download it again")?;
    Ok(true)
}

/// A file's name and nothing more: no folder, no protocol (`nbd:`), no `json:`, no second name.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\\', ':', '"']) && !name.chars().any(char::is_control)
}
