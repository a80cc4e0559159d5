//! Removing a file so that what lay in it cannot be read again, as far as a file system lets anybody do that (VM-26, W-40).
//!
//! The file is overwritten with zeros from its end to its beginning, and cut off piece by piece as the zeros are on the
//! medium: its length says how much is left, so that work that was broken off is gone on with and nothing has to be
//! remembered. Once is enough (G-30): what a second pass would reach on today's media, the first has reached, and what the
//! first cannot reach (copies that the file system or the medium keeps) no pass reaches.
//!
//! It must never call something wiped that may still be there: what it cannot be sure of, it says.

use crate::provision::{Meter, Watch, watched};
use crate::{Result, files};
use rustix::fs::{FallocateFlags, SeekFrom};
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Bytes that are overwritten, brought to the medium and cut off at once.
const PIECE: u64 = 64 << 20;
/// Bytes that are written at once.
const WRITE: usize = 4 << 20;

/// What a file system means for a removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Blocks are overwritten where they are.
    InPlace,
    /// What is written goes elsewhere, and the old blocks stay until they are used again.
    Copies(&'static str),
    /// It is not ours to overwrite: somebody else's store (VM-29).
    Network(&'static str),
}

/// By the number that `statfs` tells.
fn kind(magic: u64) -> Kind {
    match magic {
        0x9123_683e => Kind::Copies("btrfs"),
        0x2fc1_2fc1 => Kind::Copies("ZFS"),
        0xca45_1a4e => Kind::Copies("bcachefs"),
        0xf2f5_2010 => Kind::Copies("F2FS"),
        0x794c_7630 => Kind::Copies("an overlay file system"),
        0x6969 => Kind::Network("NFS"),
        0xff53_4d42 | 0xfe53_4d42 | 0x517b => Kind::Network("SMB"),
        0x00c3_6400 => Kind::Network("Ceph"),
        0x6573_5546 => Kind::Network("a file system in user space"),
        _ => Kind::InPlace,
    }
}

/// Overwrites and removes a file that nobody has open. Tells the bytes that were overwritten, and what may still be found.
pub async fn file(path: PathBuf, progress: Watch<'_>) -> Result<(u64, Vec<String>)> {
    let total = std::fs::metadata(&path).map_or(0, |m| m.len());
    watched("overwriting a disk", total, progress, move |meter| wipe(&path, meter)).await
}

fn wipe(path: &Path, meter: &Meter) -> Result<(u64, Vec<String>)> {
    let cannot = |e: std::io::Error| files::failed("Cannot overwrite", path, &e);
    let f = std::fs::OpenOptions::new().read(true).write(true).open(path).map_err(cannot)?;
    let magic = rustix::fs::fstatfs(&f).map_err(|e| cannot(e.into()))?.f_type;
    let kind = kind(u64::try_from(magic).unwrap_or(0));
    let left = doubts(kind, &f, path);
    let written = if matches!(kind, Kind::Network(_)) { 0 } else { overwrite(&f, meter).map_err(cannot)? };
    drop(f);
    files::remove(path)?;
    path.parent().map_or(Ok(()), files::sync_folder)?;
    Ok((written, left))
}

/// From the end to the beginning; holes hold nothing and are passed over.
fn overwrite(f: &File, meter: &Meter) -> std::io::Result<u64> {
    let mut length = f.metadata()?.len();
    let (total, mut written) = (length, 0);
    while length > 0 {
        meter.go_on()?;
        let from = length.saturating_sub(PIECE) / PIECE * PIECE;
        let from = if length - from > PIECE { from + PIECE } else { from };
        written += zero_data(f, from, length)?;
        f.sync_data()?;
        // The blocks go back one by one; a store that can passes that on to its medium.
        let _ = rustix::fs::fallocate(f, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, from, length - from);
        f.set_len(from)?;
        f.sync_all()?;
        length = from;
        meter.set(total - length);
    }
    Ok(written)
}

/// Writes zeros over what is there between two places.
fn zero_data(f: &File, from: u64, to: u64) -> std::io::Result<u64> {
    let piece = vec![0u8; WRITE];
    let (mut at, mut written) = (from, 0);
    while at < to {
        let data = match rustix::fs::seek(f, SeekFrom::Data(at)) {
            Ok(d) if d < to => d,
            Ok(_) | Err(rustix::io::Errno::NXIO) => break,
            // A file system that does not tell: all of it is data.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::OPNOTSUPP) => at,
            Err(e) => return Err(e.into()),
        };
        let end = rustix::fs::seek(f, SeekFrom::Hole(data)).map_or(to, |h| h.min(to));
        at = data;
        while at < end {
            let n = usize::try_from(end - at).unwrap_or(WRITE).min(WRITE);
            f.write_all_at(&piece[..n], at)?;
            at += n as u64;
            written += n as u64;
        }
    }
    Ok(written)
}

/// What may still be found after the work, in words.
fn doubts(kind: Kind, f: &File, path: &Path) -> Vec<String> {
    let mut out = Vec::new();
    match kind {
        Kind::InPlace => {}
        Kind::Copies(what) => out.push(format!("{what} writes elsewhere than where the data lay; the old blocks stay until they are used again")),
        Kind::Network(what) => out.push(format!("the store is {what}: its files are removed and not overwritten (VM-29)")),
    }
    if shares_blocks(f) {
        out.push("blocks that other files share (reflinks) keep their content".into());
    }
    if std::fs::metadata(path).is_ok_and(|m| m.nlink() > 1) {
        out.push("the file has another name on the store".into());
    }
    if on_flash(path) {
        out.push("the medium is a solid-state drive, which may keep old copies of blocks".into());
    }
    out
}

/// Whether the file system says that an extent of the file belongs to others, too.
fn shares_blocks(f: &File) -> bool {
    use std::os::fd::AsRawFd;
    const FS_IOC_FIEMAP: libc::c_ulong = 0xc020_660b;
    const SHARED: u32 = 0x2000;
    const EXTENTS: usize = 128;
    /// `struct fiemap` with room for extents, as in linux/fiemap.h. Most of it only the kernel reads.
    #[allow(dead_code)]
    #[repr(C)]
    struct Fiemap {
        start: u64,
        length: u64,
        flags: u32,
        mapped: u32,
        count: u32,
        reserved: u32,
        extents: [[u64; 7]; EXTENTS],
    }
    let mut at = 0;
    loop {
        let mut map = Fiemap { start: at, length: u64::MAX - at, flags: 0, mapped: 0, count: EXTENTS as u32, reserved: 0, extents: [[0; 7]; EXTENTS] };
        // SAFETY: the kernel writes at most `count` extents of 56 bytes behind the head, which is what `Fiemap` holds.
        if unsafe { libc::ioctl(f.as_raw_fd(), FS_IOC_FIEMAP, &raw mut map) } != 0 {
            return false;
        }
        let found = &map.extents[..(map.mapped as usize).min(EXTENTS)];
        // Logical start, physical start, length, two reserved, then flags in the lower half of the sixth word.
        let flags = |e: &[u64; 7]| (e[5] & u64::from(u32::MAX)) as u32;
        if found.iter().any(|e| flags(e) & SHARED != 0) {
            return true;
        }
        match found.last() {
            Some(e) if flags(e) & 1 == 0 && e[0] + e[2] > at => at = e[0] + e[2],
            _ => return false,
        }
    }
}

/// Whether the kernel says that the store's medium does not turn.
fn on_flash(path: &Path) -> bool {
    let Ok(m) = std::fs::metadata(path) else { return false };
    let device = format!("{}:{}", rustix::fs::major(m.dev()), rustix::fs::minor(m.dev()));
    let base = PathBuf::from("/sys/dev/block").join(device);
    // A partition has its queue in the folder of its disk.
    ["queue/rotational", "../queue/rotational"].iter().filter_map(|q| std::fs::read_to_string(base.join(q)).ok()).next().is_some_and(|r| r.trim() == "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_overwritten_is_zeros_before_it_is_cut_off() {
        // Held open by another name, to look at what the blocks hold at the end of each piece.
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk.raw");
        let f = std::fs::OpenOptions::new().read(true).write(true).create_new(true).open(&path).unwrap();
        f.set_len(200 << 20).unwrap();
        f.write_all_at(&vec![7; 3 << 20], 100 << 20).unwrap();
        f.write_all_at(&vec![7; 1 << 20], 0).unwrap();
        f.sync_all().unwrap();
        assert_eq!(zero_data(&f, 64 << 20, 200 << 20).unwrap(), 3 << 20, "holes are passed over");
        let mut back = vec![1; 3 << 20];
        f.read_exact_at(&mut back, 100 << 20).unwrap();
        assert!(back.iter().all(|b| *b == 0));
        let (written, _) = wipe(&path, &Meter::default()).unwrap();
        assert!(written >= 1 << 20 && !path.exists());
    }

    #[test]
    fn what_is_broken_off_is_gone_on_with() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk.qcow2");
        std::fs::write(&path, vec![7; 1 << 20]).unwrap();
        let f = File::options().read(true).write(true).open(&path).unwrap();
        // As after a kill in the middle: the end is gone, the beginning is still there.
        f.set_len(300 << 10).unwrap();
        assert_eq!(overwrite(&f, &Meter::default()).unwrap(), 300 << 10);
        assert_eq!(f.metadata().unwrap().len(), 0);
    }

    #[test]
    fn doubts_are_said() {
        assert_eq!(kind(0xef53), Kind::InPlace);
        assert!(matches!(kind(0x9123_683e), Kind::Copies("btrfs")) && matches!(kind(0x6969), Kind::Network("NFS")));
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        std::fs::write(&a, b"x").unwrap();
        std::fs::hard_link(&a, &b).unwrap();
        let f = File::open(&a).unwrap();
        assert!(doubts(Kind::InPlace, &f, &a).iter().any(|d| d.contains("another name")));
        assert!(doubts(Kind::Network("NFS"), &f, &a)[0].contains("VM-29"));
    }
}
