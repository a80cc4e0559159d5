//! Disk files; the image cache is [`crate::image_cache`].

use crate::domain_xml::qemu_format;
use crate::paths::{Paths, Root, text};
use crate::{Kvm, Result, blocking, files, image_cache, program};
use async_trait::async_trait;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use virga_agent::host::{StoredDisk, Volumes};
use virga_model::order::ImageRef;
use virga_model::vm::DiskSpec;
use virga_model::{DataStoreId, DiskId, Error, ImageId, LayerId, SnapshotId, VmId};

/// How long making or growing a disk's file may take.
const QEMU_IMG: Duration = Duration::from_secs(60);
/// Address space and processor time of qemu-img.
const LIMITS: [&str; 2] = ["--as=2147483648", "--cpu=60"];

/// What the header of a qcow2 file says.
#[derive(Debug, PartialEq, Eq)]
struct Header {
    size_bytes: u64,
    backing: Option<PathBuf>,
}

/// Reads the header of a disk's file ourselves: the guest may have written anything into its disk, but not here.
fn header(path: &Path) -> Result<Option<Header>> {
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

async fn qemu_img(args: &[&str]) -> Result<String> {
    let mut all = LIMITS.to_vec();
    all.extend(["--", "/usr/bin/qemu-img"]);
    all.extend(args);
    program::run("/usr/bin/prlimit", &all, QEMU_IMG).await
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
fn list(paths: &Paths) -> Result<Vec<Found>> {
    let mut out = Vec::new();
    for (store, root) in paths.roots() {
        out.extend(in_store(&root, store)?);
    }
    Ok(out)
}

/// Every disk file of every VM on a data store.
pub(crate) fn in_store(root: &Root, store: Option<DataStoreId>) -> Result<Vec<Found>> {
    let mut out = Vec::new();
    for folder in entries(&root.vms())? {
        if let Some(vm) = name_of(&folder).and_then(|n| n.parse::<VmId>().ok()) {
            out.extend(of_vm_in(root, store, vm)?);
        }
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
        let found = match header(&path) {
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

/// Disk and layer by a file's name.
fn disk_and_layer(name: &str) -> Option<(DiskId, Option<LayerId>)> {
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

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Kvm {
    /// Makes a qcow2 file if it is not there. `backing` are the options of qemu-img for what it stands on.
    async fn make(&self, root: &Root, vm: VmId, path: PathBuf, size_bytes: u64, backing: &[&str]) -> Result<()> {
        if tokio::fs::try_exists(&path).await.map_err(|e| files::failed("Cannot look at", &path, &e))? {
            return Ok(());
        }
        let folder = root.vm(vm);
        blocking(move || files::folder(&folder, 0o711)).await?;
        // A name of its own, so that two who make the same disk do not disturb each other.
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let new = Temporary(path.with_file_name(format!("{stem}.{}.new", uuid::Uuid::new_v4().simple())));
        let size = size_bytes.to_string();
        let mut args = vec!["create", "-q", "-f", "qcow2", "-o", "compat=1.1"];
        args.extend(backing);
        args.extend(["--", text(&new.0)?, &size]);
        qemu_img(&args).await?;
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
}

#[async_trait]
impl Volumes for Kvm {
    async fn disk_ensure(&self, vm: VmId, disk: &DiskSpec, image: Option<&ImageRef>) -> Result<()> {
        let root = self.root(disk.store).await?;
        let path = root.disk(vm, disk.id, None);
        let mut backing = Vec::new();
        let base;
        if let Some(i) = image {
            base = root.image(i.id, i.format);
            if !base.is_file() {
                return Err(Error::conflict(format!("The image {} is not in the data store's cache yet.", i.id)));
            }
            if disk.size_bytes < i.virtual_bytes {
                let message = format!("must be at least the image's size, {} bytes", i.virtual_bytes);
                return Err(Error::invalid("disks.size_bytes", message));
            }
            backing.extend(["-b", text(&base)?, "-F", qemu_format(i.format.on_host())]);
        }
        self.make(&root, vm, path, disk.size_bytes, &backing).await
    }

    async fn layer_ensure(&self, vm: VmId, disk: &DiskSpec, layer: LayerId, below: Option<LayerId>) -> Result<()> {
        let root = self.root(disk.store).await?;
        let below = root.disk(vm, disk.id, below);
        if !tokio::fs::try_exists(&below).await.map_err(|e| files::failed("Cannot look at", &below, &e))? {
            return Err(Error::host(format!("The file {} that a layer shall stand on is not there.", below.display()))
                .with_hint("Somebody removed it outside Virga; restore it from a backup."));
        }
        // A guest may have it open, so that it is not looked into (-u): size and format are known.
        self.make(&root, vm, root.disk(vm, disk.id, Some(layer)), disk.size_bytes, &["-u", "-b", text(&below)?, "-F", "qcow2"]).await
    }

    async fn disk_grow(&self, vm: VmId, disk: &DiskSpec, layer: Option<LayerId>) -> Result<()> {
        let path = self.root(disk.store).await?.disk(vm, disk.id, layer);
        let seen = path.clone();
        let Some(now) = blocking(move || header(&seen)).await? else {
            return Err(Error::host(format!("The file {} is no qcow2 disk.", path.display())).with_hint("The disk may be damaged; restore it from a backup."));
        };
        if now.size_bytes >= disk.size_bytes {
            return Ok(());
        }
        let size = disk.size_bytes.to_string();
        qemu_img(&["resize", "-q", "-f", "qcow2", "--", text(&path)?, &size]).await.map(|_| ())
    }

    async fn disk_remove(&self, vm: VmId, store: Option<DataStoreId>, disk: DiskId, layer: Option<LayerId>) -> Result<()> {
        let path = self.root(store).await?.disk(vm, disk, layer);
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

    async fn vm_files_remove(&self, vm: VmId) -> Result<()> {
        let paths = self.paths.clone();
        blocking(move || {
            files::remove_folder(&paths.sockets(vm))?;
            paths.roots().iter().try_for_each(|(_, root)| files::remove_folder(&root.vm(vm)))
        })
        .await
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
