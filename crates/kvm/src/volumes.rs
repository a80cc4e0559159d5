//! Disk files; the image cache is [`crate::image_cache`].

use crate::domain_xml::qemu_format;
use crate::paths::{Paths, Root, disk_format, text};
use crate::provision::{self, Watch};
use crate::{Kvm, Result, blocking, convert, erase, files, image_cache, program};
use async_trait::async_trait;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use virga_agent::host::{NO_VM, StoredDisk, Volumes};
use virga_model::clone::DiskOrigin;
use virga_model::disk::{DiskFormat, Provisioning};
use virga_model::export::{ExportSpec, ExportedDisk};
use virga_model::order::{ImageRef, Progress, VmOrder};
use virga_model::vm::DiskSpec;
use virga_model::{DataStoreId, DiskId, Error, ImageId, LayerId, SnapshotId, VmId};

/// Address space of qemu-img. It uses little of it, but each of its up to 64 threads reserves a stack and a heap.
const LIMIT: &str = "--as=8589934592";

/// What the header of a qcow2 file says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) size_bytes: u64,
    pub(crate) backing: Option<PathBuf>,
}

/// Reads the header of a disk's file ourselves: the guest may have written anything into its disk, but not here.
pub(crate) fn header(path: &Path) -> Result<Option<Header>> {
    let cannot = |e: std::io::Error| files::failed("Cannot read", path, &e);
    let f = std::fs::File::open(path).map_err(cannot)?;
    let mut head = [0u8; 32];
    if f.read_exact_at(&mut head, 0).is_err() || !head.starts_with(b"QFI\xfb") {
        return Ok(None);
    }
    let u64_at = |at: usize| head.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_be_bytes);
    let length = head.get(16..20).and_then(|b| b.try_into().ok()).map_or(0, u32::from_be_bytes) as usize;
    let mut backing = None;
    if u64_at(8) != 0 && length <= 4096 {
        let mut name = vec![0u8; length];
        f.read_exact_at(&mut name, u64_at(8)).map_err(cannot)?;
        backing = Some(PathBuf::from(String::from_utf8_lossy(&name).into_owned()));
    }
    Ok(Some(Header { size_bytes: u64_at(24), backing }))
}

/// Runs qemu-img on a file of ours, with as much processor time as it may take time.
pub(crate) async fn qemu_img(args: &[&str], patience: Duration) -> Result<String> {
    let cpu = format!("--cpu={}", patience.as_secs());
    let mut all = vec![LIMIT, &cpu, "--", "/usr/bin/qemu-img"];
    all.extend(args);
    program::run("/usr/bin/prlimit", &all, patience).await
}

/// What a disk's file stands on, by its header. A raw file is not read for it: all that lies in it is the guest's.
pub(crate) fn backing_of(path: &Path) -> Result<Option<PathBuf>> {
    if disk_format(path) == "raw" { Ok(None) } else { Ok(header(path)?.and_then(|h| h.backing)) }
}

/// Bytes that a guest sees of a disk's file.
pub(crate) fn size_of(path: &Path) -> Result<u64> {
    let found = if disk_format(path) == "raw" { length(path)? } else { header(path)? };
    found.map(|h| h.size_bytes).ok_or_else(|| Error::host(format!("The file {} is no qcow2 disk.", path.display())))
}

/// A disk's file as it lies there.
#[derive(Debug)]
pub struct Found {
    /// What it is.
    pub disk: StoredDisk,
    /// Where.
    pub path: PathBuf,
    /// What it stands on, by its header.
    pub backing: Option<PathBuf>,
}

/// Every disk file of every VM, on every data store in order.
pub(crate) fn list(paths: &Paths) -> Result<Vec<Found>> {
    let mut out = Vec::new();
    for (store, root) in paths.roots() {
        out.extend(in_store(&root, store)?);
    }
    Ok(out)
}

/// Every disk file of every VM on a data store, and those of shared disks.
pub(crate) fn in_store(root: &Root, store: Option<DataStoreId>) -> Result<Vec<Found>> {
    let mut out = Vec::new();
    for folder in entries(&root.vms())? {
        if let Some(vm) = name_of(&folder).and_then(|n| n.parse::<VmId>().ok()) {
            out.extend(of_vm_in(root, store, vm)?);
        }
    }
    for path in entries(&root.shared())? {
        let Some((id, layer)) = name_of(&path).and_then(disk_and_layer) else { continue };
        // Gone since the folder was read.
        let Ok(Some(head)) = length(&path) else { continue };
        out.push(Found { disk: StoredDisk { id, vm: NO_VM, layer, store, size_bytes: head.size_bytes }, path, backing: None });
    }
    out.sort_by_key(|f| (f.disk.vm, f.disk.id, f.disk.layer));
    Ok(out)
}

/// Every disk file of one VM, on every data store in order.
pub fn of_vm(paths: &Paths, vm: VmId) -> Result<Vec<Found>> {
    let mut out = Vec::new();
    for (store, root) in paths.roots() {
        out.extend(of_vm_in(&root, store, vm)?);
    }
    Ok(out)
}

fn of_vm_in(root: &Root, store: Option<DataStoreId>, vm: VmId) -> Result<Vec<Found>> {
    let mut out = Vec::new();
    for path in entries(&root.vm(vm))? {
        let Some((id, layer)) = name_of(&path).and_then(disk_and_layer) else { continue };
        let raw = disk_format(&path) == "raw";
        let found = match if raw { length(&path) } else { header(&path) } {
            // Removed since the folder was read.
            Err(_) if !path.exists() => continue,
            other => other?,
        };
        if found.is_none() {
            tracing::warn!(path = %path.display(), "a disk's file is no qcow2");
        }
        let (size_bytes, backing) = found.map_or((0, None), |h| (h.size_bytes, h.backing));
        out.push(Found { disk: StoredDisk { id, vm, layer, store, size_bytes }, path, backing });
    }
    Ok(out)
}

/// What is known of a raw file. It is not read: all that lies in it is the guest's.
fn length(path: &Path) -> Result<Option<Header>> {
    let size_bytes = std::fs::metadata(path).map_err(|e| files::failed("Cannot look at", path, &e))?.len();
    Ok(Some(Header { size_bytes, backing: None }))
}

/// Disk and layer by a file's name.
pub(crate) fn disk_and_layer(name: &str) -> Option<(DiskId, Option<LayerId>)> {
    if let Some(disk) = name.strip_suffix(".raw") {
        return Some((disk.parse().ok()?, None));
    }
    let stem = name.strip_suffix(".qcow2")?;
    match stem.split_once('.') {
        None => Some((stem.parse().ok()?, None)),
        Some((disk, layer)) => Some((disk.parse().ok()?, Some(layer.parse().ok()?))),
    }
}

pub(crate) fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let cannot = |e: &std::io::Error| files::failed("Cannot list", folder, e);
    match std::fs::read_dir(folder) {
        Ok(all) => all.map(|e| e.map(|e| e.path()).map_err(|e| cannot(&e))).collect(),
        Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => Ok(Vec::new()),
        Err(e) => Err(cannot(&e)),
    }
}

pub(crate) fn name_of(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}

/// Takes a temporary file away when it is not wanted any more.
pub(crate) struct Temporary(pub(crate) PathBuf);

impl Temporary {
    /// A name beside `path` that nothing has: two who make the same disk do not disturb each other.
    pub(crate) fn beside(path: &Path) -> Temporary {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Temporary(path.with_file_name(format!("{stem}.{}.new", uuid::Uuid::new_v4().simple())))
    }
}

/// Removes what an agent that was killed left of this file.
pub(crate) fn remove_unfinished(path: &Path) -> Result<()> {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let unfinished = |n: &str| n.strip_prefix(&stem).and_then(|r| r.strip_suffix(".new")).is_some_and(|r| r.strip_prefix('.').is_some_and(|u| u.len() == 32));
    for left in path.parent().map_or(Ok(Vec::new()), entries)?.iter().filter(|p| name_of(p).is_some_and(unfinished)) {
        files::remove(left)?;
    }
    Ok(())
}

/// Removes every disk file of a data store that was never finished: they belong to an agent that ended in the middle, and
/// whoever needs such a disk begins it anew. Only before anything is made.
pub(crate) fn remove_all_unfinished(root: &Root) -> Result<()> {
    for folder in entries(&root.vms())?.into_iter().filter(|p| !p.is_symlink()).chain([root.shared()]) {
        for left in entries(&folder)?.iter().filter(|p| p.extension().is_some_and(|e| e == "new")) {
            tracing::info!(path = %left.display(), "removing a disk file that an agent before did not finish");
            files::remove(left)?;
        }
    }
    Ok(())
}

/// Gives a whole file its final name, for good. A file that is there stays as it is.
pub(crate) async fn keep(new: Temporary, path: PathBuf) -> Result<()> {
    blocking(move || {
        let cannot = |e: std::io::Error| files::failed("Cannot keep", &path, &e);
        let f = std::fs::File::open(&new.0).map_err(cannot)?;
        f.set_permissions(std::fs::Permissions::from_mode(0o600)).and_then(|()| f.sync_all()).map_err(cannot)?;
        // A link, not a rename: it never replaces a disk that somebody else made meanwhile.
        match std::fs::hard_link(&new.0, &path) {
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            other => other.map_err(cannot)?,
        }
        path.parent().map_or(Ok(()), files::sync_folder)
    })
    .await
}

/// Grows a file of a disk that no guest has open, as its provisioning wants; one that is large enough is success.
pub(crate) async fn grow(path: &Path, format: &str, disk: &DiskSpec, progress: Watch<'_>) -> Result<()> {
    if format == "raw" {
        let (path, p, size) = (path.to_path_buf(), disk.provisioning, disk.size_bytes);
        return provision::watched(provision::TAKING, size, progress, move |meter| provision::extend(&path, p, size, meter)).await;
    }
    let seen = path.to_path_buf();
    let Some(now) = blocking(move || header(&seen)).await? else {
        return Err(Error::host(format!("The file {} is no qcow2 disk.", path.display())).with_hint("The disk may be damaged; restore it from a backup."));
    };
    resize(path, disk, now.size_bytes, progress).await
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// What a new file of a disk holds.
enum Content<'a> {
    /// Nothing.
    Empty,
    /// Nothing of its own: it stands on this file of this format. Whether a guest has it open does not matter.
    On(&'a Path, &'a str),
    /// As the first, but the file below is looked at for its size.
    OnImage(&'a Path, &'a str),
    /// What lies in this image.
    Copy(&'a Path, &'a ImageRef),
}

/// Writes the file `new`, which is not there yet.
async fn write_new(new: &Path, disk: &DiskSpec, content: Content<'_>, progress: Watch<'_>) -> Result<()> {
    let (p, size) = (disk.provisioning, disk.size_bytes.to_string());
    let backing: Vec<&str> = match content {
        Content::Copy(from, image) => return copy(new, disk, from, image, progress).await,
        Content::Empty if disk.format == DiskFormat::Raw => return provision::make_raw(new.into(), p, disk.size_bytes, progress).await,
        Content::Empty => vec![],
        Content::On(below, format) => vec!["-u", "-b", text(below)?, "-F", format],
        Content::OnImage(below, format) => vec!["-b", text(below)?, "-F", format],
    };
    // What stands on another file grows with what is written.
    let p = if backing.is_empty() { p } else { Provisioning::Thin };
    let options = format!("compat=1.1,preallocation={}", provision::preallocation(p));
    let mut args = vec!["create", "-q", "-f", "qcow2", "-o", &options];
    args.extend(backing);
    args.extend(["--", text(new)?, &size]);
    let work = qemu_img(&args, provision::patience(disk.size_bytes, p));
    provision::told(provision::TAKING, disk.size_bytes, progress, || provision::allocated_bytes(new), work).await.map(drop)
}

/// Copies an image into the file `new`, and takes the space that the disk has beyond it.
async fn copy(new: &Path, disk: &DiskSpec, from: &Path, image: &ImageRef, progress: Watch<'_>) -> Result<()> {
    let work = convert::copy(from, image, new, disk);
    provision::told("copying the image", image.virtual_bytes, progress, || provision::allocated_bytes(new), work).await?;
    if disk.format == DiskFormat::Raw {
        let (new, p, size) = (new.to_path_buf(), disk.provisioning, disk.size_bytes);
        let work = move |meter: &provision::Meter| {
            provision::reserve_whole(&new, p)?;
            provision::extend(&new, p, size, meter)
        };
        return provision::watched(provision::TAKING, disk.size_bytes - image.virtual_bytes, progress, work).await;
    }
    resize(new, disk, image.virtual_bytes, progress).await
}

/// Grows a qcow2 file that has `now` bytes; one that stands on another takes its space as it is written.
async fn resize(path: &Path, disk: &DiskSpec, now: u64, progress: Watch<'_>) -> Result<()> {
    if now >= disk.size_bytes {
        return Ok(());
    }
    let more = disk.size_bytes - now;
    let seen = path.to_path_buf();
    let stands = blocking(move || header(&seen)).await?.is_some_and(|h| h.backing.is_some());
    let p = if stands { Provisioning::Thin } else { disk.provisioning };
    let (size, option) = (disk.size_bytes.to_string(), format!("--preallocation={}", provision::preallocation(p)));
    let before = provision::allocated_bytes(path);
    let args = ["resize", "-q", "-f", "qcow2", &option, "--", text(path)?, &size];
    let work = qemu_img(&args, provision::patience(more, p));
    provision::told(provision::TAKING, more, progress, || provision::allocated_bytes(path).saturating_sub(before), work).await.map(drop)
}

impl Kvm {
    /// Makes a file of a disk if it is not there.
    async fn make(&self, root: &Root, vm: VmId, path: PathBuf, disk: &DiskSpec, content: Content<'_>, progress: Watch<'_>) -> Result<()> {
        if tokio::fs::try_exists(&path).await.map_err(|e| files::failed("Cannot look at", &path, &e))? {
            return Ok(());
        }
        let folder = if path.parent() == Some(&*root.shared()) { root.shared() } else { root.vm(vm) };
        blocking(move || files::folder(&folder, 0o711)).await?;
        let new = Temporary::beside(&path);
        write_new(&new.0, disk, content, progress).await?;
        keep(new, path).await
    }
}

#[async_trait]
impl Volumes for Kvm {
    async fn disk_ensure(&self, vm: VmId, disk: &DiskSpec, image: Option<&ImageRef>, progress: &(dyn Fn(Progress) + Send + Sync)) -> Result<()> {
        let root = self.root(disk.store).await?;
        let path = root.disk(vm, disk, None);
        if let Some(o) = disk.origin {
            let base = root.disk_there(o.vm, o.disk, o.layer);
            if !base.is_file() {
                return Err(Error::host(format!("The file {} that a linked clone shall stand on is not there.", base.display()))
                    .with_hint("Somebody removed it outside Virga; restore it from a backup."));
            }
            return self.make(&root, vm, path, disk, Content::On(&base, disk_format(&base)), progress).await;
        }
        let Some(i) = image else { return self.make(&root, vm, path, disk, Content::Empty, progress).await };
        let base = root.image(i.id, i.format);
        if !base.is_file() {
            return Err(Error::conflict(format!("The image {} is not in the data store's cache yet.", i.id)));
        }
        if disk.size_bytes < i.virtual_bytes {
            let message = format!("must be at least the image's size, {} bytes", i.virtual_bytes);
            return Err(Error::invalid("disks.size_bytes", message));
        }
        let content = if disk.features().on_image { Content::OnImage(&base, qemu_format(i.format.on_host())) } else { Content::Copy(&base, i) };
        self.make(&root, vm, path, disk, content, progress).await
    }

    async fn layer_ensure(&self, vm: VmId, disk: &DiskSpec, layer: LayerId, below: Option<LayerId>) -> Result<()> {
        let root = self.root(disk.store).await?;
        let below = root.disk(vm, disk, below);
        if !tokio::fs::try_exists(&below).await.map_err(|e| files::failed("Cannot look at", &below, &e))? {
            return Err(Error::host(format!("The file {} that a layer shall stand on is not there.", below.display()))
                .with_hint("Somebody removed it outside Virga; restore it from a backup."));
        }
        // A guest may have it open, so that it is not looked into: size and format are known.
        self.make(&root, vm, root.disk(vm, disk, Some(layer)), disk, Content::On(&below, disk_format(&below)), &|_| ()).await
    }

    async fn disk_copy(
        &self,
        vm: VmId,
        disk: &DiskSpec,
        to: Option<LayerId>,
        from: Option<LayerId>,
        image: Option<&ImageRef>,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<()> {
        self.copy_disk(vm, disk, to, from, image, progress).await
    }

    async fn standing_on(&self, vm: VmId) -> Result<Vec<(VmId, DiskOrigin)>> {
        self.standing(vm).await
    }

    async fn disk_grow(&self, vm: VmId, disk: &DiskSpec, layer: Option<LayerId>, progress: &(dyn Fn(Progress) + Send + Sync)) -> Result<()> {
        let path = self.root(disk.store).await?.disk(vm, disk, layer);
        grow(&path, disk_format(&path), disk, progress).await
    }

    async fn disk_remove(&self, vm: VmId, store: Option<DataStoreId>, disk: DiskId, layer: Option<LayerId>) -> Result<()> {
        let path = self.root(store).await?.disk_there(vm, disk, layer);
        if !path.exists() {
            return Ok(());
        }
        self.ensure_not_open(vm, &path).await?;
        blocking(move || files::remove(&path)).await
    }

    async fn memories(&self, vm: VmId) -> Result<Vec<SnapshotId>> {
        self.stored_memories(vm).await
    }

    async fn memory_remove(&self, vm: VmId, snapshot: SnapshotId) -> Result<()> {
        self.remove_memory(vm, snapshot).await
    }

    async fn disk_reclaim(&self, order: &VmOrder, disk: &DiskSpec, progress: &(dyn Fn(Progress) + Send + Sync)) -> Result<u64> {
        self.reclaim(order, disk, progress).await
    }

    async fn disk_erase(
        &self,
        vm: VmId,
        store: Option<DataStoreId>,
        disk: DiskId,
        layer: Option<LayerId>,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<(u64, Vec<String>)> {
        let path = self.root(store).await?.disk_there(vm, disk, layer);
        if !path.exists() {
            return Ok((0, Vec::new()));
        }
        self.ensure_not_open(vm, &path).await?;
        erase::file(path, progress).await
    }

    async fn vm_files_remove(&self, vm: VmId) -> Result<()> {
        let paths = self.paths.clone();
        blocking(move || {
            files::remove_folder(&paths.sockets(vm))?;
            paths.roots().iter().try_for_each(|(_, root)| files::remove_folder(&root.vm(vm)))
        })
        .await
    }

    async fn export_disk(
        &self,
        vm: VmId,
        export: &ExportSpec,
        disk: &DiskSpec,
        layer: Option<LayerId>,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<ExportedDisk> {
        crate::export::make(self, vm, export, disk, layer, progress).await
    }

    async fn export_read(&self, vm: VmId, export: &ExportSpec, disk: DiskId, offset: u64, bytes_max: usize) -> Result<Vec<u8>> {
        crate::export::read(self, vm, export, disk, offset, bytes_max).await
    }

    async fn export_remove(&self, vm: VmId) -> Result<()> {
        crate::export::remove(self, vm).await
    }

    async fn disks(&self) -> Result<Vec<StoredDisk>> {
        let paths = self.paths.clone();
        blocking(move || Ok(list(&paths)?.into_iter().map(|f| f.disk).collect())).await
    }

    async fn images(&self, store: Option<DataStoreId>) -> Result<Vec<ImageId>> {
        let root = self.root(store).await?;
        blocking(move || image_cache::list(&root)).await
    }

    async fn image_partial_bytes(&self, store: Option<DataStoreId>, image: &ImageRef) -> Result<u64> {
        let (root, image) = (self.root(store).await?, image.id);
        blocking(move || image_cache::partial_bytes(&root, image)).await
    }

    async fn image_write(&self, store: Option<DataStoreId>, image: &ImageRef, offset: u64, data: &[u8]) -> Result<()> {
        let (root, image, data) = (self.paths.root(store)?, image.clone(), data.to_vec());
        blocking(move || image_cache::write(&root, &image, offset, &data)).await
    }

    async fn image_commit(&self, store: Option<DataStoreId>, image: &ImageRef) -> Result<()> {
        image_cache::commit(&self.root(store).await?, image).await
    }

    async fn image_remove(&self, image: ImageId) -> Result<()> {
        let paths = self.paths.clone();
        blocking(move || {
            for (store, root) in paths.roots() {
                let standing: Vec<_> = in_store(&root, store)?.into_iter().map(|f| (f.disk, f.backing)).collect();
                image_cache::remove(&root, image, &standing)?;
            }
            Ok(())
        })
        .await
    }
}
