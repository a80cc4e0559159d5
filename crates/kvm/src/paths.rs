//! Where things lie below the data stores and the run folder: the only place that builds such a path.
//!
//! Every data store has the same folders: [`Root`]. The host's local store is one of them; it also keeps what belongs to a
//! VM on this host alone (seed, UEFI variables).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use virga_model::disk::{DiskFormat, Sharing};
use virga_model::image::ImageFormat;
use virga_model::vm::DiskSpec;
use virga_model::{DataStoreId, DiskId, Error, ImageId, LayerId, SnapshotId, VmId};

/// Longest path of a Unix socket (`sun_path` has 108 bytes; QEMU and libvirt need a little).
const SOCKET_PATH_MAX: usize = 100;

/// The folders of an agent.
#[derive(Clone, Debug)]
pub struct Paths {
    /// Images and disks of the host's local store.
    pub store: PathBuf,
    /// Sockets.
    pub run: PathBuf,
    /// The other data stores, as far as this agent was told of them.
    others: Arc<RwLock<BTreeMap<DataStoreId, Other>>>,
}

/// A data store that is not the local one.
#[derive(Clone, Debug)]
struct Other {
    root: Root,
    /// The last look found it in order.
    usable: bool,
}

/// The folder of a data store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    folder: PathBuf,
    /// What tells files on their way from those of other hosts, where several see the folder.
    mark: Option<String>,
}

impl Root {
    /// The folder itself.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file by which the data store is recognised.
    #[must_use]
    pub fn signature(&self) -> PathBuf {
        self.folder.join(virga_model::data_store::SIGNATURE_FILE)
    }

    /// The image cache.
    #[must_use]
    pub fn images(&self) -> PathBuf {
        self.folder.join("images")
    }

    /// A complete image, in the format that guests run on.
    #[must_use]
    pub fn image(&self, id: ImageId, format: ImageFormat) -> PathBuf {
        self.images().join(format!("{id}.{}", format.on_host()))
    }

    fn on_its_way(&self, id: ImageId, end: &str) -> PathBuf {
        self.images().join(match &self.mark {
            None => format!("{id}.{end}"),
            Some(mark) => format!("{id}.{mark}.{end}"),
        })
    }

    /// An image on its way to this host.
    #[must_use]
    pub fn image_part(&self, id: ImageId) -> PathBuf {
        self.on_its_way(id, "part")
    }

    /// An image that is being converted by this host.
    #[must_use]
    pub fn image_converted(&self, id: ImageId) -> PathBuf {
        self.on_its_way(id, "new")
    }

    /// The folders of the VMs.
    #[must_use]
    pub fn vms(&self) -> PathBuf {
        self.folder.join("vms")
    }

    /// The folder of a VM's disks.
    #[must_use]
    pub fn vm(&self, vm: VmId) -> PathBuf {
        self.vms().join(vm.to_string())
    }

    /// A file of a disk: its base (none), or that of a layer. The name says the format: what lies in it is never asked.
    #[must_use]
    pub fn disk(&self, vm: VmId, disk: &DiskSpec, layer: Option<LayerId>) -> PathBuf {
        if disk.sharing == Sharing::Shared && layer.is_none() {
            return self.shared_disk(disk.id);
        }
        self.disk_file(vm, disk.id, layer, disk.format)
    }

    fn disk_file(&self, vm: VmId, disk: DiskId, layer: Option<LayerId>, format: DiskFormat) -> PathBuf {
        self.vm(vm).join(match (layer, format) {
            (None, DiskFormat::Qcow2) => format!("{disk}.qcow2"),
            (None, DiskFormat::Raw) => format!("{disk}.raw"),
            (Some(layer), _) => format!("{disk}.{layer}.qcow2"),
        })
    }

    /// As [`Root::disk`], for a disk of which only the identity is known: the file that is there.
    #[must_use]
    pub fn disk_there(&self, vm: VmId, disk: DiskId, layer: Option<LayerId>) -> PathBuf {
        let raw = self.disk_file(vm, disk, layer, DiskFormat::Raw);
        let shared = self.shared_disk(disk);
        if layer.is_none() && shared.exists() {
            shared
        } else if raw.exists() {
            raw
        } else {
            self.disk_file(vm, disk, layer, DiskFormat::Qcow2)
        }
    }

    /// The folder of disks that belong to no single VM.
    #[must_use]
    pub fn shared(&self) -> PathBuf {
        self.folder.join("shared")
    }

    fn shared_disk(&self, disk: DiskId) -> PathBuf {
        self.shared().join(format!("{disk}.raw"))
    }
}

impl Paths {
    /// The folders of an agent that knows no data store but its own.
    #[must_use]
    pub fn new(store: impl Into<PathBuf>, run: impl Into<PathBuf>) -> Paths {
        Paths { store: store.into(), run: run.into(), others: Arc::default() }
    }

    /// The host's local store.
    #[must_use]
    pub fn local(&self) -> Root {
        Root { folder: self.store.clone(), mark: None }
    }

    /// Notes where a data store is; `mark` tells this host's files on their way from those of others. It is not used before
    /// a look found it in order.
    pub fn know(&self, store: DataStoreId, folder: PathBuf, mark: String) {
        let mut others = self.others.write().unwrap_or_else(PoisonError::into_inner);
        let root = Root { folder, mark: Some(mark) };
        let usable = others.get(&store).is_some_and(|o| o.usable && o.root == root);
        others.insert(store, Other { root, usable });
    }

    /// Notes whether the last look found a data store in order.
    pub fn note(&self, store: DataStoreId, usable: bool) {
        if let Some(o) = self.others.write().unwrap_or_else(PoisonError::into_inner).get_mut(&store) {
            o.usable = usable;
        }
    }

    /// The folder of a data store; none: the local one.
    ///
    /// # Errors
    /// `Internal` when this agent was not told of it.
    pub fn root(&self, store: Option<DataStoreId>) -> Result<Root, Error> {
        let Some(id) = store else { return Ok(self.local()) };
        let others = self.others.read().unwrap_or_else(PoisonError::into_inner);
        others.get(&id).map(|o| o.root.clone()).ok_or_else(|| Error::internal(format!("This host was not told where data store {id} is.")))
    }

    /// The local store, and every other one that the last look found in order.
    #[must_use]
    pub fn roots(&self) -> Vec<(Option<DataStoreId>, Root)> {
        let others = self.others.read().unwrap_or_else(PoisonError::into_inner);
        let usable = others.iter().filter(|(_, o)| o.usable).map(|(id, o)| (Some(*id), o.root.clone()));
        std::iter::once((None, self.local())).chain(usable).collect()
    }

    /// The folder of a VM in the local store.
    #[must_use]
    pub fn vm(&self, vm: VmId) -> PathBuf {
        self.local().vm(vm)
    }

    /// The stored memory of a snapshot.
    pub fn memory(&self, vm: VmId, snapshot: SnapshotId) -> PathBuf {
        self.vm(vm).join(format!("{snapshot}.memory"))
    }

    /// The folder of the copies that an export of a VM is.
    pub fn exports(&self, vm: VmId) -> PathBuf {
        self.vm(vm).join("export")
    }

    /// A VM's cloud-init seed.
    pub fn seed(&self, vm: VmId) -> PathBuf {
        self.vm(vm).join("seed.iso")
    }

    /// A VM's UEFI variables.
    pub fn nvram(&self, vm: VmId) -> PathBuf {
        self.vm(vm).join("nvram.fd")
    }

    /// The folder of a VM's sockets.
    pub fn sockets(&self, vm: VmId) -> PathBuf {
        self.run.join(vm.to_string())
    }

    /// A VM's screen.
    ///
    /// # Errors
    /// `HostFailed` when the run folder's path is too long for a socket.
    pub fn vnc(&self, vm: VmId) -> Result<PathBuf, Error> {
        let path = self.sockets(vm).join("vnc.sock");
        if path.as_os_str().len() >= SOCKET_PATH_MAX {
            return Err(Error::host(format!("The path {} is too long for a Unix socket.", path.display()))
                .with_hint("Give the agent a run folder with a shorter path, e.g. /run/virga."));
        }
        Ok(path)
    }
}

/// QEMU's name of the format of a disk's file, by the name that we gave it.
#[must_use]
pub fn disk_format(path: &Path) -> &'static str {
    if path.extension().is_some_and(|e| e == "raw") { "raw" } else { "qcow2" }
}

/// `path` as text: libvirt and qemu-img take nothing else.
///
/// # Errors
/// `HostFailed` for a path that is no UTF-8 or not absolute.
pub fn text(path: &Path) -> Result<&str, Error> {
    match path.to_str() {
        Some(t) if t.starts_with('/') && !t.contains(char::is_control) => Ok(t),
        _ => Err(Error::host(format!("The path {} cannot be given to libvirt.", path.display()))
            .with_hint("Use an absolute path of plain characters for the data store.")),
    }
}
