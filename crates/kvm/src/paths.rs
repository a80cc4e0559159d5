//! Where things lie below the store and the run folder: the only place that builds such a path.

use std::path::{Path, PathBuf};
use virga_model::disk::{DiskFormat, Sharing};
use virga_model::image::ImageFormat;
use virga_model::vm::DiskSpec;
use virga_model::{DiskId, Error, ImageId, LayerId, VmId};

/// Longest path of a Unix socket (`sun_path` has 108 bytes; QEMU and libvirt need a little).
const SOCKET_PATH_MAX: usize = 100;

/// The folders of an agent.
#[derive(Clone, Debug)]
pub struct Paths {
    /// Images and disks.
    pub store: PathBuf,
    /// Sockets.
    pub run: PathBuf,
}

impl Paths {
    /// The image cache.
    pub fn images(&self) -> PathBuf {
        self.store.join("images")
    }

    /// A complete image, in the format that guests run on.
    pub fn image(&self, id: ImageId, format: ImageFormat) -> PathBuf {
        self.images().join(format!("{id}.{}", format.on_host()))
    }

    /// An image on its way.
    pub fn image_part(&self, id: ImageId) -> PathBuf {
        self.images().join(format!("{id}.part"))
    }

    /// An image that is being converted.
    pub fn image_converted(&self, id: ImageId) -> PathBuf {
        self.images().join(format!("{id}.new"))
    }

    /// The folders of the VMs.
    pub fn vms(&self) -> PathBuf {
        self.store.join("vms")
    }

    /// A VM's folder.
    pub fn vm(&self, vm: VmId) -> PathBuf {
        self.vms().join(vm.to_string())
    }

    /// A file of a disk: its base (none), or that of a layer. The name says the format: what lies in it is never asked.
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

    /// As [`Paths::disk`], for a disk of which only the identity is known: the file that is there.
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
    pub fn shared(&self) -> PathBuf {
        self.store.join("shared")
    }

    fn shared_disk(&self, disk: DiskId) -> PathBuf {
        self.shared().join(format!("{disk}.raw"))
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
            .with_hint("Use an absolute path of plain characters for the agent's store.")),
    }
}
