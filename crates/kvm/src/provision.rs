//! The space of disks: taken as their provisioning wants, when they are made and when they grow (DSK-01 to DSK-05, DSK-26,
//! DSK-27, X-06, W-39).
//!
//! A raw file grows at its end and the length says how far that has come, so that what was broken off is gone on with, and
//! a guest that has the file open is told of the new size only afterwards. It must never write where a guest may have
//! written, and never look into a file to find out what it is.

use crate::{Result, blocking, files, paths};
use rustix::fs::FallocateFlags;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use virga_model::Error;
use virga_model::disk::Provisioning;
use virga_model::order::Progress;

/// Bytes that are written at once.
const PIECE: usize = 4 << 20;
/// Bytes after which what was written is brought to stable storage, so that the page cache is not filled with zeros.
const SYNC_EVERY: u64 = 256 << 20;
/// How often somebody is told how far it is.
const TELL_EVERY: Duration = Duration::from_millis(500);
/// What people read while it goes on.
pub const TAKING: &str = "taking the space of the disk";

/// Who wants to know how far something is.
pub type Watch<'a> = &'a (dyn Fn(Progress) + Send + Sync);

/// What work on a blocking thread tells, and hears.
#[derive(Default)]
pub struct Meter {
    done: AtomicU64,
    stop: AtomicBool,
}

impl Meter {
    /// So many bytes are done.
    pub fn set(&self, bytes: u64) {
        self.done.store(bytes, Ordering::Relaxed);
    }

    /// # Errors
    /// Unavailable when nobody waits for the work any more.
    pub fn go_on(&self) -> std::io::Result<()> {
        if self.stop.load(Ordering::Relaxed) { Err(std::io::Error::other("broken off, because nobody waits for it any more")) } else { Ok(()) }
    }
}

/// Runs `work` on a blocking thread and tells how far it is. When the caller is dropped, the work hears of it.
pub async fn watched<T: Send + 'static>(step: &str, total: u64, progress: Watch<'_>, work: impl FnOnce(&Meter) -> Result<T> + Send + 'static) -> Result<T> {
    struct Stop(Arc<Meter>);
    impl Drop for Stop {
        fn drop(&mut self) {
            self.0.stop.store(true, Ordering::Relaxed);
        }
    }
    let meter = Arc::new(Meter::default());
    let stop = Stop(meter.clone());
    let task = blocking(move || work(&meter));
    let done = told(step, total, progress, || stop.0.done.load(Ordering::Relaxed), task).await;
    drop(stop);
    done
}

/// Waits for `work` and tells now and then how far it is.
pub async fn told<T>(step: &str, total: u64, progress: Watch<'_>, done: impl Fn() -> u64, work: impl Future<Output = Result<T>>) -> Result<T> {
    let mut work = std::pin::pin!(work);
    loop {
        match tokio::time::timeout(TELL_EVERY, work.as_mut()).await {
            Ok(ended) => return ended,
            Err(_) => progress(Progress { step: step.into(), done: done().min(total), total, unit: "bytes".into() }),
        }
    }
}

/// Bytes that a file takes from the store; 0 for one that is not there.
#[must_use]
pub fn allocated_bytes(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).map_or(0, |m| m.blocks().saturating_mul(512))
}

/// The option of qemu-img for a qcow2 file that takes its space at once.
#[must_use]
pub fn preallocation(p: Provisioning) -> &'static str {
    match p {
        Provisioning::Thin => "off",
        Provisioning::ThickLazy => "falloc",
        Provisioning::ThickEager => "full",
    }
}

/// Lets a raw file have `size` bytes. It is never made smaller.
pub fn extend(path: &Path, p: Provisioning, size: u64, meter: &Meter) -> Result<()> {
    let cannot = |e: std::io::Error| no_space(path, p, &e);
    let f = std::fs::OpenOptions::new().write(true).open(path).map_err(cannot)?;
    let at = f.metadata().map_err(cannot)?.len();
    if at >= size {
        return Ok(());
    }
    let done = match p {
        Provisioning::Thin => f.set_len(size),
        Provisioning::ThickLazy => reserve(&f, at, size),
        Provisioning::ThickEager => zeros(&f, at, size, meter),
    };
    if let Err(e) = done {
        // What there was stays as it was, and a full store gets its room back.
        let _ = f.set_len(at);
        return Err(cannot(e));
    }
    f.sync_all().map_err(cannot)
}

/// Sees to it that the whole of a disk's raw file has its space; what is written stays. A qcow2 file is left as it is.
pub fn keep_space(path: &Path, p: Provisioning) -> Result<()> {
    if paths::disk_format(path) == "raw" { reserve_whole(path, p) } else { Ok(()) }
}

/// As [`keep_space`], for a raw file whatever its name: one that is being made has another.
pub fn reserve_whole(path: &Path, p: Provisioning) -> Result<()> {
    if p == Provisioning::Thin {
        return Ok(());
    }
    let cannot = |e: std::io::Error| no_space(path, p, &e);
    let f = std::fs::OpenOptions::new().write(true).open(path).map_err(cannot)?;
    let size = f.metadata().map_err(cannot)?.len();
    reserve(&f, 0, size).map_err(cannot)
}

fn reserve(f: &File, from: u64, to: u64) -> std::io::Result<()> {
    if to > from {
        rustix::fs::fallocate(f, FallocateFlags::empty(), from, to - from)?;
    }
    Ok(())
}

fn zeros(f: &File, from: u64, to: u64, meter: &Meter) -> std::io::Result<()> {
    let piece = vec![0u8; PIECE];
    let mut at = from;
    while at < to {
        meter.go_on()?;
        let n = usize::try_from(to - at).unwrap_or(PIECE).min(PIECE);
        f.write_all_at(&piece[..n], at)?;
        at += n as u64;
        if at.is_multiple_of(SYNC_EVERY) {
            f.sync_data()?;
        }
        meter.set(at - from);
    }
    Ok(())
}

fn no_space(path: &Path, p: Provisioning, e: &std::io::Error) -> Error {
    if e.kind() == std::io::ErrorKind::Unsupported || e.raw_os_error() == Some(rustix::io::Errno::OPNOTSUPP.raw_os_error()) {
        return Error::host(format!("The file system of {} cannot reserve space, which a {p} disk needs.", path.display()))
            .with_hint("Choose thick_eager or thin, or put the store on a file system such as XFS or ext4.");
    }
    files::failed("Cannot take the space of", path, e)
}

/// Makes the empty raw file `path`, which must not be there, with its space.
pub async fn make_raw(path: PathBuf, p: Provisioning, size: u64, progress: Watch<'_>) -> Result<()> {
    watched(TAKING, size, progress, move |meter| {
        use std::os::unix::fs::OpenOptionsExt;
        let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        drop(made.map_err(|e| files::failed("Cannot make", &path, &e))?);
        extend(&path, p, size, meter)
    })
    .await
}

/// How long qemu-img may take to write over `size` bytes.
#[must_use]
pub fn patience(size: u64, p: Provisioning) -> Duration {
    /// The slowest store that is worth waiting for.
    const BYTES_A_SECOND: u64 = 4 << 20;
    Duration::from_secs(60 + if p == Provisioning::ThickEager { size / BYTES_A_SECOND } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &[u8]) -> tempfile::NamedTempFile {
        let f = tempfile::Builder::new().suffix(".raw").tempfile().unwrap();
        std::fs::write(f.path(), content).unwrap();
        f
    }

    #[test]
    fn a_raw_file_grows_at_its_end_as_its_kind_wants() {
        for (p, thick) in [(Provisioning::Thin, false), (Provisioning::ThickLazy, true), (Provisioning::ThickEager, true)] {
            let f = file(&[7; 4096]);
            let meter = Meter::default();
            extend(f.path(), p, 9 << 20, &meter).unwrap();
            let content = std::fs::read(f.path()).unwrap();
            assert_eq!(content.len(), 9 << 20);
            assert!(content[..4096].iter().all(|b| *b == 7) && content[4096..].iter().all(|b| *b == 0), "{p}");
            assert_eq!(allocated_bytes(f.path()) >= 9 << 20, thick, "{p}: {}", allocated_bytes(f.path()));
            extend(f.path(), p, 1 << 20, &meter).unwrap();
            assert_eq!(std::fs::metadata(f.path()).unwrap().len(), 9 << 20, "never smaller");
        }
    }

    #[test]
    fn what_nobody_waits_for_ends_and_leaves_the_file_as_it_was() {
        let f = file(&[7; 4096]);
        let meter = Meter::default();
        meter.stop.store(true, Ordering::Relaxed);
        assert!(extend(f.path(), Provisioning::ThickEager, 64 << 20, &meter).is_err());
        assert_eq!(std::fs::metadata(f.path()).unwrap().len(), 4096);
    }

    #[test]
    fn space_is_kept_and_nothing_is_overwritten() {
        let f = file(&[]);
        f.as_file().set_len(8 << 20).unwrap();
        f.as_file().write_all_at(b"data", 4 << 20).unwrap();
        keep_space(f.path(), Provisioning::Thin).unwrap();
        assert!(allocated_bytes(f.path()) < 1 << 20);
        keep_space(f.path(), Provisioning::ThickLazy).unwrap();
        assert!(allocated_bytes(f.path()) >= 8 << 20);
        assert_eq!(&std::fs::read(f.path()).unwrap()[4 << 20..][..4], b"data");
    }
}
