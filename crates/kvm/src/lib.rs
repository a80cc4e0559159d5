//! A host for real: `virga_agent::host::Host` over libvirt, QEMU, qemu-img and Open vSwitch.
//!
//! Single, bounded, idempotent steps; what to do is decided elsewhere. No call can block the runtime: libvirt's calls
//! and file system work run on blocking threads with a time limit, other programs as processes with one. Domains and
//! networks without Virga's metadata are never touched.

mod clock;
pub mod clone;
mod confine;
mod console;
mod convert;
pub mod domain_xml;
pub mod domain_xml_read;
mod erase;
mod export;
mod facts;
mod files;
#[doc(hidden)]
pub mod foreign;
mod guest;
mod hypervisor;
mod image_cache;
mod layers;
mod libvirt;
mod live;
mod memory;
mod networks;
mod nodes;
pub mod paths;
mod pauses;
mod program;
mod provision;
mod reclaim;
mod screenshot;
mod seed;
mod stores;
mod volumes;
pub mod xml;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, Weak};
use virga_model::{Error, VmId};

/// Result of a step.
pub type Result<T> = std::result::Result<T, Error>;

/// Where a host's things are.
#[derive(Clone, Debug)]
pub struct Config {
    /// libvirt, usually `qemu:///system`.
    pub libvirt_uri: String,
    /// Folder of images (`images/`) and disks (`vms/<id>/`).
    pub store: PathBuf,
    /// Folder of sockets; emptied by a restart of the host.
    pub run: PathBuf,
}

/// A host.
pub struct Kvm {
    paths: paths::Paths,
    libvirt: Arc<libvirt::Libvirt>,
    /// What tells this host's files on their way from those of others on a data store.
    mark: String,
    /// Data stores that somebody looks at: a look that hangs is not repeated.
    looks: Mutex<HashSet<virga_model::DataStoreId>>,
    /// VMs of ours at the last look, so that counting does not ask for each one's metadata.
    known: Mutex<HashSet<VmId>>,
    /// VMs whose next power-off libvirt will turn into a restart (an ACPI reboot was asked for).
    restarts: Mutex<HashSet<VmId>>,
    me: Weak<Kvm>,
}

impl Kvm {
    /// Prepares the folders. libvirt need not run yet: while it does not, calls give `Unavailable`.
    ///
    /// # Errors
    /// `HostFailed` when a folder cannot be made or used.
    pub async fn open(config: Config) -> Result<Arc<Kvm>> {
        let paths = paths::Paths::new(config.store, config.run);
        paths::text(&paths.store)?;
        paths::text(&paths.run)?;
        paths.vnc(VmId(uuid::Uuid::nil()))?;
        let made = paths.clone();
        let mark = blocking(move || {
            // QEMU's user passes through them.
            for folder in [&made.store, &made.run] {
                if let Some(parent) = folder.parent() {
                    std::fs::create_dir_all(parent).map_err(|e| files::failed("Cannot make the folder", parent, &e))?;
                }
                files::folder(folder, 0o711)?;
            }
            files::folder(&made.local().images(), 0o711)?;
            files::folder(&made.local().shared(), 0o711)?;
            files::folder(&made.local().vms(), 0o711)?;
            volumes::remove_all_unfinished(&made.local())?;
            stores::mark(&made.store)
        })
        .await?;
        let libvirt = libvirt::Libvirt::new(&config.libvirt_uri)?;
        Ok(Arc::new_cyclic(|me| Kvm { paths, mark, looks: Mutex::default(), libvirt, known: Mutex::default(), restarts: Mutex::default(), me: me.clone() }))
    }
}

/// Runs work that blocks for a moment (file system) off the runtime's threads.
pub(crate) async fn blocking<T: Send + 'static>(f: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(f).await.map_err(|e| Error::internal(format!("A step on the host broke off: {e}.")))?
}
