//! Disks of clones: what a file stands on across VMs, and copies of files and of whole chains.
//!
//! A chain is read from the headers, which only the agent writes; what is no file of its store ends it with an error. A
//! single file is copied by the kernel (as a reflink where the file system can), a chain is read by `qemu-img` in a cage.
//! Nothing gets its final name before it is whole and on the disk, and nothing here ever writes to a file that it copies.

use crate::confine::{self, Cage};
use crate::paths::{Paths, Root, disk_format, text};
use crate::provision::{self, Watch, allocated_bytes};
use crate::volumes::{self, Temporary};
use crate::{Kvm, Result, blocking, files};
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use virga_model::clone::DiskOrigin;
use virga_model::disk::{DiskFormat, Provisioning};
use virga_model::order::{ImageRef, VmOrder};
use virga_model::vm::{DiskSpec, Firmware};
use virga_model::{Error, LayerId, VmId};

/// Most files of a chain.
const CHAIN_MAX: usize = 128;
/// What people read while it goes on.
const COPYING: &str = "copying disks";
/// Bytes that the kernel copies at once; between two pieces a copy can be stopped.
const PIECE_BYTES: u64 = 32 << 20;
/// Bytes of address space of `qemu-img`: most of it is the stacks of its threads.
const MEMORY_BYTES: u64 = 8 << 30;
/// Requests of `qemu-img` at the same time; it may write them in any order.
const REQUESTS: &str = "16";
/// Seconds of processor time for any copy, and bytes for each second more.
const SECONDS: u64 = 120;
const BYTES_A_SECOND: u64 = 4 << 20;

/// A file of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Where.
    pub path: PathBuf,
    /// Its format, as QEMU calls it.
    pub format: &'static str,
}

/// The files from `top` down to the last, by their headers.
///
/// # Errors
/// `HostFailed` when one is missing, or is none of a data store's.
pub fn chain(paths: &Paths, top: &Path) -> Result<Vec<Link>> {
    let roots: Vec<Root> = paths.roots().into_iter().map(|(_, r)| r).collect();
    let mut out = Vec::new();
    let mut next = Some(top.to_path_buf());
    while let Some(path) = next.take() {
        if !roots.iter().any(|r| is_of(r, &path)) || out.len() >= CHAIN_MAX {
            return Err(Error::host(format!("The file {} that a disk stands on is none of Virga's.", path.display()))
                .with_hint("Somebody changed a disk outside Virga; restore it from a backup."));
        }
        let format = disk_format(&path);
        if format == "qcow2" {
            next = volumes::header(&path)?.ok_or_else(|| Error::host(format!("The file {} is no qcow2 disk.", path.display())))?.backing;
        } else if !path.is_file() {
            return Err(Error::host(format!("The file {} that a disk stands on is not there.", path.display())));
        }
        out.push(Link { path, format });
    }
    Ok(out)
}

/// Whether a file has its place in a data store: a VM's, or an image.
fn is_of(root: &Root, path: &Path) -> bool {
    let in_vms = path.strip_prefix(root.vms()).is_ok_and(|r| r.components().count() == 2);
    in_vms || path.parent() == Some(&*root.images())
}

/// For each disk that stands on another VM's: the files below its base.
///
/// # Errors
/// As [`chain`].
pub fn below(paths: &Paths, order: &VmOrder) -> Result<std::collections::BTreeMap<virga_model::DiskId, Vec<Link>>> {
    let linked = order.spec.disks.iter().filter_map(|d| Some((d, d.origin?)));
    linked.map(|(d, o)| Ok((d.id, chain(paths, &paths.root(d.store)?.disk_there(o.vm, o.disk, o.layer))?))).collect()
}

/// Gives a new clone the UEFI variables of what it was made from: without the entry in them some systems do not start.
pub fn variables(paths: &Paths, order: &VmOrder) -> Result<()> {
    let source = |d: &DiskSpec| d.copy_of.as_ref().map(|c| c.vm).or(d.origin.map(|o| o.vm));
    let to = paths.nvram(order.id);
    if order.spec.firmware != Firmware::Uefi || to.exists() {
        return Ok(());
    }
    let Some(from) = order.spec.disks.iter().find_map(source).map(|vm| paths.nvram(vm)).filter(|f| f.is_file()) else { return Ok(()) };
    let content = std::fs::read(&from).map_err(|e| files::failed("Cannot read", &from, &e))?;
    files::replace(&to, &content, 0o600, None)
}

/// Copies a file: as a reflink when its blocks may be `shared`, else what is in it without its holes.
fn copy_file(from: &Path, to: &Path, shared: bool, meter: &provision::Meter) -> Result<()> {
    let cannot = |e: std::io::Error| files::failed("Cannot copy to", to, &e);
    let source = File::open(from).map_err(|e| files::failed("Cannot read", from, &e))?;
    let new = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).map_err(cannot)?;
    if shared && rustix::fs::ioctl_ficlone(&new, &source).is_ok() {
        return Ok(());
    }
    let length = source.metadata().map_err(cannot)?.len();
    new.set_len(length).map_err(cannot)?;
    let mut at = 0;
    while at < length {
        let data = match rustix::fs::seek(&source, rustix::fs::SeekFrom::Data(at)) {
            Ok(d) => d,
            // Nothing but a hole is left.
            Err(rustix::io::Errno::NXIO) => break,
            Err(e) => return Err(cannot(e.into())),
        };
        let end = rustix::fs::seek(&source, rustix::fs::SeekFrom::Hole(data)).map_err(|e| cannot(e.into()))?;
        copy_range(&source, &new, data, end, meter).map_err(cannot)?;
        at = end;
    }
    Ok(())
}

fn copy_range(source: &File, new: &File, from: u64, end: u64, meter: &provision::Meter) -> std::io::Result<()> {
    use std::os::unix::fs::FileExt;
    let mut at = from;
    let mut buffer = Vec::new();
    while at < end {
        meter.go_on()?;
        let piece = (end - at).min(PIECE_BYTES);
        let (mut here, mut there) = (at, at);
        let done = rustix::fs::copy_file_range(source, Some(&mut here), new, Some(&mut there), usize::try_from(piece).unwrap_or(usize::MAX));
        at += match done {
            Ok(n) if n > 0 => n as u64,
            // Not on these file systems: by hand.
            _ => {
                buffer.resize(usize::try_from(piece.min(1 << 20)).unwrap_or(0), 0);
                let n = source.read_at(&mut buffer, at)?;
                if n == 0 {
                    return Err(std::io::ErrorKind::UnexpectedEof.into());
                }
                new.write_all_at(buffer.get(..n).unwrap_or_default(), at)?;
                n as u64
            }
        };
        meter.set(at);
    }
    Ok(())
}

fn cage(chain: &[Link], more: Option<&Path>, to: &Path, bytes: u64, size_bytes: u64) -> Cage {
    let read = chain.iter().map(|l| l.path.clone()).chain(more.map(Path::to_path_buf)).collect();
    Cage {
        read,
        write: vec![to.into()],
        memory_bytes: MEMORY_BYTES,
        cpu_seconds: SECONDS + bytes / BYTES_A_SECOND,
        file_bytes: size_bytes + size_bytes / 1000 + (64 << 20),
    }
}

/// Brings a whole chain into one file, with the space that the disk wants.
async fn flatten(chain: &[Link], to: &Path, format: DiskFormat, p: Provisioning, bytes: u64, size_bytes: u64) -> Result<()> {
    let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(to);
    drop(made.map_err(|e| files::failed("Cannot make", to, &e))?);
    let Some(top) = chain.first() else { return Err(Error::internal("A chain without files.")) };
    let source = confine::image_opts(top.format, "", &top.path)?;
    let lazy = "compat=1.1,preallocation=falloc";
    let mut args = vec!["convert", "-q", "-W", "-m", REQUESTS, "--image-opts"];
    args.extend(match format {
        DiskFormat::Raw => vec!["-O", "raw"],
        DiskFormat::Qcow2 => vec!["-O", "qcow2", "-o", if p == Provisioning::ThickLazy { lazy } else { "compat=1.1" }],
    });
    // Eager: also zeros are written, so that every block has been.
    let eager = p == Provisioning::ThickEager;
    if eager {
        args.extend(["-S", "0"]);
    }
    args.extend(["--", &source, text(to)?]);
    confine::qemu_img(&args, cage(chain, None, to, if eager { bytes.max(size_bytes) } else { bytes }, size_bytes)).await
}

/// The format of a file of a disk: layers are always qcow2.
fn format_of(disk: &DiskSpec, layer: Option<LayerId>) -> DiskFormat {
    if layer.is_some() { DiskFormat::Qcow2 } else { disk.format }
}

/// Copies the first file of a chain as it is.
async fn copy_one(chain: &[Link], new: &Path, p: Provisioning, progress: Watch<'_>) -> Result<()> {
    let from = chain.first().map(|l| l.path.clone()).unwrap_or_default();
    let (total, to) = (allocated_bytes(&from), new.to_path_buf());
    // The space of a thick disk is its own.
    let shared = p == Provisioning::Thin;
    provision::watched(COPYING, total, progress, move |meter| copy_file(&from, &to, shared, meter)).await
}

impl Kvm {
    /// See [`virga_agent::host::Volumes::disk_copy`].
    pub(crate) async fn copy_disk(
        &self,
        vm: VmId,
        disk: &DiskSpec,
        to: Option<LayerId>,
        from: Option<LayerId>,
        image: Option<&ImageRef>,
        progress: Watch<'_>,
    ) -> Result<()> {
        let Some(copy) = &disk.copy_of else { return Err(Error::internal("The disk is no copy.")) };
        let (root, source) = (self.root(disk.store).await?, self.root(copy.store).await?.disk_there(copy.vm, copy.disk, from));
        let path = root.disk(vm, disk, to);
        if tokio::fs::try_exists(&path).await.map_err(|e| files::failed("Cannot look at", &path, &e))? {
            return Ok(());
        }
        let (paths, new, folder) = (self.paths.clone(), path.clone(), root.vm(vm));
        let (chain, new) = blocking(move || {
            files::folder(&folder, 0o711)?;
            volumes::remove_unfinished(&new)?;
            Ok((chain(&paths, &source)?, Temporary::beside(&new)))
        })
        .await?;
        let format = format_of(disk, to);
        if copy.whole {
            self.copy_whole(disk, format, &chain, &new.0, progress).await?;
        } else {
            copy_one(&chain, &new.0, Provisioning::Thin, progress).await?;
            self.rebase(&root, (vm, disk, to), image, &chain, &new.0).await?;
        }
        let named = if format == DiskFormat::Raw { "raw" } else { "qcow2" };
        volumes::grow(&new.0, named, disk, progress).await?;
        volumes::keep(new, path).await
    }

    /// All that is read through a chain, in one file.
    async fn copy_whole(&self, disk: &DiskSpec, format: DiskFormat, chain: &[Link], new: &Path, progress: Watch<'_>) -> Result<()> {
        let p = disk.provisioning;
        let alone = chain.first().is_some_and(|l| l.format == if format == DiskFormat::Raw { "raw" } else { "qcow2" }) && chain.len() == 1;
        if alone {
            copy_one(chain, new, p, progress).await?;
        } else {
            let total: u64 = chain.iter().map(|l| allocated_bytes(&l.path)).sum();
            let work = flatten(chain, new, format, p, total, disk.size_bytes);
            provision::told(COPYING, total, progress, || allocated_bytes(new), work).await?;
        }
        // Holes of what was copied take their space, too.
        let new = new.to_path_buf();
        if alone || format == DiskFormat::Raw { blocking(move || provision::reserve_whole(&new, p)).await } else { Ok(()) }
    }

    /// Lets a copied difference stand on what this disk's files stand on, with the content that it had.
    async fn rebase(
        &self,
        root: &Root,
        (vm, disk, to): (VmId, &DiskSpec, Option<LayerId>),
        image: Option<&ImageRef>,
        chain: &[Link],
        new: &Path,
    ) -> Result<()> {
        let path = match (to, disk.origin, image) {
            (Some(_), _, _) => root.disk(vm, disk, None),
            (None, Some(o), _) => root.disk_there(o.vm, o.disk, o.layer),
            (None, None, Some(i)) => root.image(i.id, i.format),
            (None, None, None) => return Ok(()),
        };
        let wanted = Link { format: disk_format(&path), path };
        let stands_on = chain.get(1);
        if stands_on == Some(&wanted) {
            return Ok(());
        }
        let copy = disk.copy_of.as_ref();
        // The restore point was copied as it is: the difference to the one is the difference to the other.
        let same = to.is_some() && stands_on.map(|l| &l.path) == copy.map(|c| root.disk_there(c.vm, c.disk, None)).as_ref();
        let (paths, base) = (self.paths.clone(), wanted.path.clone());
        let more = blocking(move || self::chain(&paths, &base)).await?;
        let all: Vec<Link> = chain.iter().chain(&more).cloned().collect();
        let bytes = all.iter().map(|l| allocated_bytes(&l.path)).sum::<u64>();
        let mut args = vec!["rebase", "-q", "-f", "qcow2", "-F", wanted.format, "-b", text(&wanted.path)?];
        if same {
            args.push("-u");
        }
        args.extend(["--", text(new)?]);
        confine::qemu_img(&args, cage(&all, None, new, bytes, disk.size_bytes)).await
    }

    /// See [`virga_agent::host::Volumes::standing_on`].
    pub(crate) async fn standing(&self, vm: VmId) -> Result<Vec<(VmId, DiskOrigin)>> {
        let paths = self.paths.clone();
        let folders: Vec<PathBuf> = paths.roots().iter().map(|(_, r)| r.vm(vm)).collect();
        let found = blocking(move || volumes::list(&paths)).await?;
        let on = |f: &volumes::Found| {
            let backing = f.backing.as_deref().filter(|b| folders.iter().any(|v| b.parent() == Some(v)))?;
            let (disk, layer) = volumes::name_of(backing).and_then(volumes::disk_and_layer)?;
            Some((f.disk.vm, DiskOrigin { vm, disk, layer }))
        };
        Ok(found.iter().filter(|f| f.disk.vm != vm).filter_map(on).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek, SeekFrom, Write};

    #[test]
    fn holes_stay_holes_and_data_arrives() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("a"), dir.path().join("b"));
        let mut f = File::create(&from).unwrap();
        f.write_all(b"begin").unwrap();
        f.seek(SeekFrom::Start(40 << 20)).unwrap();
        f.write_all(b"end").unwrap();
        f.set_len(64 << 20).unwrap();
        let meter = provision::Meter::default();
        copy_file(&from, &to, true, &meter).unwrap();
        assert_eq!(std::fs::read(&from).unwrap(), std::fs::read(&to).unwrap());
        assert!(allocated_bytes(&to) < 2 << 20, "{}", allocated_bytes(&to));
        assert!(copy_file(&from, &to, true, &meter).is_err(), "what is there is never overwritten");
    }

    #[test]
    fn a_chain_leaves_the_store_by_no_name() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path().join("store"), dir.path().join("run"));
        for outside in ["/etc/passwd", "store/vms/../../x.qcow2", "store/vms/x.qcow2"] {
            assert!(chain(&paths, &dir.path().join(outside)).is_err(), "{outside}");
        }
    }
}
