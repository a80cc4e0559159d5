//! Exports: a disk as it reads from its newest layer down, copied into one file of a format for transport.
//!
//! The chain is our own: its headers were written by us, and a guest reaches only what lies behind them. The copy is made
//! like a conversion of a foreign image all the same, in a cage with its files and nothing else, and inspected before it
//! counts: what leaves here is taken in elsewhere by the same rules.

use crate::confine::{self, Cage};
use crate::paths::{disk_format, text};
use crate::provision::{self, Meter, Watch, allocated_bytes};
use crate::volumes::{self, Temporary};
use crate::{Kvm, Result, blocking, files};
use sha2::{Digest, Sha256};
use std::io::Read;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use virga_model::export::{ExportSpec, ExportedDisk};
use virga_model::image::{ImageFormat, inspect};
use virga_model::vm::DiskSpec;
use virga_model::{DiskId, Error, LayerId, VmId};

/// What people read while it goes on.
const STEP: &str = "copying the disks for the export";
const HASHING: &str = "checking the copy for the export";
/// Bytes of address space of `qemu-img`, as for conversions.
const MEMORY_BYTES: u64 = 8 << 30;
/// Seconds of processor time for any disk.
const SECONDS: u64 = 120;
/// Each second more is for so many bytes that a guest sees: streamOptimized is compressed.
const BYTES_A_SECOND: u64 = 4 << 20;
/// Most files of a chain.
const CHAIN_MAX: usize = 64;

fn file(k: &Kvm, vm: VmId, export: &ExportSpec, disk: DiskId) -> PathBuf {
    k.paths.exports(vm).join(export.id.to_string()).join(format!("{disk}.{}", export.format))
}

/// Driver and options of the copy.
fn target(format: ImageFormat) -> Result<(&'static str, &'static str)> {
    match format {
        // The adapter is a word for others; the descriptor says on which bus the disk is.
        ImageFormat::Vmdk => Ok(("vmdk", "subformat=streamOptimized,adapter_type=lsilogic")),
        // The size that is asked for, and not one that a geometry of the nineties can say.
        ImageFormat::Vhd => Ok(("vpc", "subformat=dynamic,force_size=on")),
        ImageFormat::Qcow2 => Ok(("qcow2", "compat=1.1")),
        other => Err(Error::invalid("export.format", format!("is {other}; disks are exported as vmdk, vhd or qcow2"))),
    }
}

/// The file and all that it stands on, by their headers.
fn chain(top: &Path) -> Result<Vec<PathBuf>> {
    let mut out = vec![top.to_path_buf()];
    while let Some(below) = out.last().and_then(|f| volumes::backing_of(f).transpose()).transpose()? {
        if out.len() >= CHAIN_MAX || out.contains(&below) {
            return Err(Error::host("The files of a disk stand on each other without an end.").with_hint("Restore the disk from a backup."));
        }
        out.push(below);
    }
    Ok(out)
}

/// Makes the copy of a disk.
pub(crate) async fn make(k: &Kvm, vm: VmId, export: &ExportSpec, disk: &DiskSpec, layer: Option<LayerId>, progress: Watch<'_>) -> Result<ExportedDisk> {
    let (top, done) = (k.root(disk.store).await?.disk(vm, disk, layer), file(k, vm, export, disk.id));
    let (parent, format, id) = (k.paths.exports(vm), export.format, disk.id);
    let (driver, options) = target(format)?;
    // A name of its own: one that was dropped may still be at work for a moment.
    let new = Temporary::beside(&done);
    let (here, made, kept) = (top.clone(), new.0.clone(), done.clone());
    let (read, virtual_bytes) = blocking(move || {
        files::folder(&parent, 0o700)?;
        made.parent().map_or(Ok(()), |p| files::folder(p, 0o700))?;
        files::remove(&kept)?;
        left_behind(&made, id)?;
        let new = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&made);
        drop(new.map_err(|e| files::failed("Cannot make", &made, &e))?);
        Ok((chain(&here)?, volumes::size_of(&here)?))
    })
    .await?;
    let cpu_seconds = SECONDS + virtual_bytes / BYTES_A_SECOND;
    let file_bytes = virtual_bytes + virtual_bytes / 100 + (64 << 20);
    let total = read.iter().map(|f| allocated_bytes(f)).fold(0, u64::saturating_add).min(virtual_bytes);
    let cage = Cage { read, write: vec![new.0.clone()], memory_bytes: MEMORY_BYTES, cpu_seconds, file_bytes };
    let source = confine::image_opts(disk_format(&top), "", &top)?;
    let args = ["convert", "-q", "--image-opts", "-O", driver, "-o", options, "--", &source, text(&new.0)?];
    let work = confine::qemu_img(&args, cage);
    provision::told(STEP, total, progress, || allocated_bytes(&new.0), work).await?;
    provision::watched(HASHING, allocated_bytes(&new.0), progress, move |meter| {
        let made = finished(&new.0, id, format, meter)?;
        std::fs::rename(&new.0, &done).map_err(|e| files::failed("Cannot keep", &done, &e))?;
        done.parent().map_or(Ok(()), files::sync_folder)?;
        Ok(made)
    })
    .await
}

/// Removes what an agent that was killed left of a copy of this disk.
fn left_behind(new: &Path, disk: DiskId) -> Result<()> {
    let Some(folder) = new.parent() else { return Ok(()) };
    let of_disk = |p: &PathBuf| p.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with(&format!("{disk}.")) && n.ends_with(".new"));
    volumes::entries(folder)?.iter().filter(|p| of_disk(p)).try_for_each(|p| files::remove(p))
}

/// Inspects and hashes what was made, and brings it to stable storage.
fn finished(path: &Path, disk: DiskId, format: ImageFormat, meter: &Meter) -> Result<ExportedDisk> {
    let cannot = |e: std::io::Error| files::failed("Cannot read", path, &e);
    let mut f = std::fs::File::open(path).map_err(cannot)?;
    f.sync_all().map_err(cannot)?;
    let bytes = f.metadata().map_err(cannot)?.len();
    let seen = inspect(&mut |at, out: &mut [u8]| f.read_exact_at(out, at).map_err(cannot), bytes)?;
    if seen.format != format {
        return Err(Error::host(format!("The copy of disk {disk} came out as {}, not {format}.", seen.format)));
    }
    let (mut hash, mut buffer) = (Sha256::new(), vec![0u8; 1 << 20]);
    let mut done = 0;
    loop {
        meter.go_on().map_err(cannot)?;
        let n = f.read(&mut buffer).map_err(cannot)?;
        if n == 0 {
            break;
        }
        hash.update(buffer.get(..n).unwrap_or_default());
        done += n as u64;
        meter.set(done);
    }
    Ok(ExportedDisk { disk, bytes, virtual_bytes: seen.virtual_bytes, sha256: hex::encode(hash.finalize()) })
}

/// A piece of a copy.
pub(crate) async fn read(k: &Kvm, vm: VmId, export: &ExportSpec, disk: DiskId, offset: u64, bytes_max: usize) -> Result<Vec<u8>> {
    let path = file(k, vm, export, disk);
    blocking(move || {
        let cannot = |e: std::io::Error| files::failed("Cannot read", &path, &e);
        let f = std::fs::File::open(&path).map_err(cannot)?;
        let rest = f.metadata().map_err(cannot)?.len().saturating_sub(offset);
        let mut out = vec![0; usize::try_from(rest).unwrap_or(usize::MAX).min(bytes_max)];
        f.read_exact_at(&mut out, offset).map_err(cannot)?;
        Ok(out)
    })
    .await
}

/// Removes every export of a VM.
pub(crate) async fn remove(k: &Kvm, vm: VmId) -> Result<()> {
    let path = k.paths.exports(vm);
    blocking(move || files::remove_folder(&path)).await
}
