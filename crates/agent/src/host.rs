//! What an agent needs of the machine it runs on: the traits that `kvm` (a real one) and `sim` (one in memory)
//! implement.
//!
//! The agent's logic decides and orders; a `Host` only does single, bounded steps. Each step is idempotent: done
//! twice it gives the same result, and "already so" is success. A `Host` must never decide what a VM should be,
//! never touch a domain without Virga's metadata, and never report a guess: what it cannot find out is an error.

use async_trait::async_trait;
use std::path::PathBuf;
use std::sync::Arc;
use virga_model::change::Change;
use virga_model::clone::DiskOrigin;
use virga_model::data_store::StoreFact;
use virga_model::export::{ExportSpec, ExportedDisk};
use virga_model::host::{ForeignVm, HostFacts};
use virga_model::layer::{Layer, Merge};
use virga_model::order::{ImageRef, NetworkRef, Progress, StoreRef, VmOrder};
use virga_model::snapshot::StoredMemory;
use virga_model::stats::Counters;
use virga_model::user::ConsoleKind;
use virga_model::vm::{DiskSpec, GuestInfo, VmState};
use virga_model::{DataStoreId, DiskId, Error, ImageId, LayerId, SnapshotId, Time, VmId};

/// Result of a step.
pub type Result<T> = std::result::Result<T, Error>;

/// A machine that runs VMs.
pub trait Host: Hypervisor + Stores + Volumes + Networks + Facts + Clock + Send + Sync + 'static {}
impl<T: Hypervisor + Stores + Volumes + Networks + Facts + Clock + Send + Sync + 'static> Host for T {}

/// A domain with Virga's metadata, as the hypervisor shows it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain {
    /// The VM.
    pub id: VmId,
    /// Power state.
    pub state: VmState,
    /// Whether a persistent definition exists (a domain undefined while it runs has none).
    pub persistent: bool,
    /// Digest of the persistent definition as the hypervisor gives it back; changes when somebody edits it.
    pub definition_digest: Option<String>,
    /// Generation in the metadata of the definition.
    pub generation: i64,
    /// It is off because its process ended by itself (it crashed or was killed), not because the guest shut down or
    /// somebody switched it off.
    pub died: bool,
}

/// Everything the hypervisor has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Domains {
    /// Ours.
    pub ours: Vec<Domain>,
    /// Others': seen, never touched.
    pub foreign: Vec<ForeignVm>,
}

/// What a start found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// `kvm` or `tcg`.
    pub accelerator: String,
    /// Machine type that the definition is pinned to.
    pub machine: String,
}

/// How a guest was asked to come down or restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// By its agent.
    ByAgent,
    /// By the ACPI power button.
    ByAcpi,
}

/// Virtual machines. Every call gives up after a bounded time.
#[async_trait]
pub trait Hypervisor {
    /// All domains.
    ///
    /// # Errors
    /// [`virga_model::ErrorCode::Unavailable`] when the hypervisor does not answer: then nothing is known.
    async fn domains(&self) -> Result<Domains>;
    /// One domain of ours, without looking at the others.
    ///
    /// # Errors
    /// As [`Hypervisor::domains`].
    async fn domain(&self, vm: VmId) -> Result<Option<Domain>> {
        Ok(self.domains().await?.ours.into_iter().find(|d| d.id == vm))
    }
    /// Makes or replaces the persistent definition (with our metadata, the generation in it). The running guest is
    /// not touched. Returns the digest of the definition as the hypervisor gives it back.
    async fn define(&self, order: &VmOrder) -> Result<String>;
    /// Removes the definition, saved memory, UEFI variables and the seed. Absent is success. Refuses a running domain.
    async fn undefine(&self, vm: VmId) -> Result<()>;
    /// Starts the defined domain; goes on from saved memory where there is some.
    async fn start(&self, vm: VmId) -> Result<Started>;
    /// Asks the guest to shut down: by its agent when that answers, else by ACPI. Returns at once.
    async fn shutdown(&self, vm: VmId) -> Result<Asked>;
    /// Asks the guest to restart: by its agent when that answers, else by ACPI.
    async fn reboot(&self, vm: VmId) -> Result<Asked>;
    /// Presses the reset button.
    async fn reset(&self, vm: VmId) -> Result<()>;
    /// Cuts the power.
    async fn force_off(&self, vm: VmId) -> Result<()>;
    /// Holds the vCPUs.
    async fn pause(&self, vm: VmId) -> Result<()>;
    /// Lets them go on.
    async fn resume(&self, vm: VmId) -> Result<()>;
    /// Saves memory to disk and ends the process (managed save).
    async fn hibernate(&self, vm: VmId) -> Result<()>;
    /// Throws saved memory away, so that the next start is a cold one.
    async fn discard_saved(&self, vm: VmId) -> Result<()>;
    /// Brings one change to the running guest (only changes whose `when` is `Live`); the persistent definition is not
    /// touched. `order` is the whole VM as it shall be.
    async fn change_live(&self, order: &VmOrder, change: &Change) -> Result<()>;
    /// Stores the memory of the running guest for the snapshot `layer.memory` and freezes the disks that snapshots include, as
    /// [`Change::TakeLayer`] does, all in one moment; the guest goes on. What a former try left is done anew; when the disks
    /// are frozen already, the memory is that of their moment.
    async fn memory_store(&self, order: &VmOrder, layer: Layer) -> Result<StoredMemory>;
    /// Starts the defined domain with the stored memory of a snapshot, on the disks as `order` names them. A domain that is
    /// active is success.
    async fn memory_restore(&self, order: &VmOrder, snapshot: SnapshotId) -> Result<Started>;
    /// Brings what lies in the file of `merge.from` of a disk into the file below, and removes the upper one. The guest may
    /// run and goes on running. Done in full is success; broken off, it can be begun again. `order` is the whole VM as it
    /// shall be; the disk may be one that only snapshots have.
    async fn merge(&self, order: &VmOrder, disk: DiskId, merge: Merge, progress: &(dyn Fn(Progress) + Send + Sync)) -> Result<()>;
    /// What the guest agent says now; `agent: NotRunning` when it does not answer within two seconds.
    async fn guest_info(&self, vm: VmId) -> Result<GuestInfo>;
    /// Bytes of memory that the running domain was given, whatever its definition says by now; none when it does not run.
    async fn running_memory_bytes(&self, vm: VmId) -> Result<Option<u64>>;
    /// Counters of all running domains of ours.
    async fn counters(&self) -> Result<Vec<(VmId, Counters)>>;
    /// The screen as PNG.
    async fn screenshot(&self, vm: VmId) -> Result<Vec<u8>>;
    /// A byte stream to a console of a running guest.
    async fn console(&self, vm: VmId, kind: ConsoleKind) -> Result<Box<dyn Duplex>>;
    /// A receiver that wakes when any domain changed its state (from hypervisor events).
    fn changes(&self) -> tokio::sync::watch::Receiver<u64>;
}

/// Bytes both ways.
pub use virga_api::node::Duplex;

/// Stands for "no VM" where a file is of none.
pub const NO_VM: VmId = VmId(uuid::Uuid::nil());

/// A file of ours that lies in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredDisk {
    /// The disk.
    pub id: DiskId,
    /// The VM whose folder it lies in; [`NO_VM`] for a shared disk, which is of none.
    pub vm: VmId,
    /// The layer above the base; none: the base.
    pub layer: Option<LayerId>,
    /// The data store that it lies on; none: the host's local one.
    pub store: Option<DataStoreId>,
    /// Bytes as the guest sees them.
    pub size_bytes: u64,
}

/// Data stores other than the machine's local one. A data store is told before it is used; nothing of it is ever touched
/// before its signature was read and is the right one (reliability.md S12).
#[async_trait]
pub trait Stores {
    /// Tells the machine where these data stores are. What it was told of others stays.
    fn stores_know(&self, stores: &[StoreRef]);
    /// Looks at a data store that it was told of, for a bounded time: is it there, is it the right one, can it be written.
    /// What is wrong is an answer, not an error.
    async fn store_look(&self, store: DataStoreId) -> StoreFact;
    /// Signs the data store if it carries no signature, and makes its folders. Refuses a place that carries another's.
    async fn store_ensure(&self, store: &StoreRef) -> Result<()>;
    /// Removes the signature and what is cached there. Absent is success. Refuses while disks lie there.
    async fn store_remove(&self, store: &StoreRef) -> Result<()>;
}

/// Disk files and the image cache.
#[async_trait]
pub trait Volumes {
    /// Makes the disk's file if it is not there: an overlay on the cached image or on its origin, a copy of the image, or an
    /// empty one, with the space that its provisioning wants. An existing file is never overwritten; made under a temporary
    /// name and renamed, so that a half-made file is never taken for a disk. May take long, and may be dropped at any moment.
    async fn disk_ensure(&self, vm: VmId, disk: &DiskSpec, image: Option<&ImageRef>, progress: &(dyn Fn(Progress) + Send + Sync)) -> Result<()>;
    /// Makes a file of the disk (`to`; none: its base) as a copy of a file (`from`) of another disk that this host sees, as
    /// `disk.copy_of` says: with everything below it, or as a difference that stands on what this disk's files stand on. A
    /// file that is there is never overwritten, and none is half made. Dropped, it stops and leaves nothing.
    async fn disk_copy(
        &self,
        vm: VmId,
        disk: &DiskSpec,
        to: Option<LayerId>,
        from: Option<LayerId>,
        image: Option<&ImageRef>,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<()>;
    /// The disks of other VMs that stand on files of this one: the VM, and the file that it stands on.
    async fn standing_on(&self, vm: VmId) -> Result<Vec<(VmId, DiskOrigin)>>;
    /// Makes an empty layer of the disk on the layer `below` (none: the base) if it is not there.
    async fn layer_ensure(&self, vm: VmId, disk: &DiskSpec, layer: LayerId, below: Option<LayerId>) -> Result<()>;
    /// Grows a file of a disk whose VM does not run, as its provisioning wants (DSK-27). A file that is large enough is
    /// success. As [`Volumes::disk_ensure`] it may take long and may be dropped.
    async fn disk_grow(&self, vm: VmId, disk: &DiskSpec, layer: Option<LayerId>, progress: &(dyn Fn(Progress) + Send + Sync)) -> Result<()>;
    /// Removes a file of a disk. Absent is success; refuses while a guest uses it.
    async fn disk_remove(&self, vm: VmId, store: Option<DataStoreId>, disk: DiskId, layer: Option<LayerId>) -> Result<()>;
    /// Snapshots of the VM whose memory lies in a file.
    async fn memories(&self, vm: VmId) -> Result<Vec<SnapshotId>>;
    /// Removes the stored memory of a snapshot. Absent is success.
    async fn memory_remove(&self, vm: VmId, snapshot: SnapshotId) -> Result<()>;
    /// Brings space of a disk that nobody needs back to the store, and tells how many bytes came back: online by the guest
    /// agent's trim, offline by writing the files anew without what is zero. What the disk holds stays the same at every
    /// moment. May take long, and may be dropped.
    async fn disk_reclaim(&self, order: &VmOrder, disk: &DiskSpec, progress: &(dyn Fn(Progress) + Send + Sync)) -> Result<u64>;
    /// Overwrites a file of a disk and removes it (W-40). Absent is success; refuses while a guest uses it. Broken off, it is
    /// gone on with: the file becomes shorter as it is overwritten. Tells the bytes that were overwritten, and in words what
    /// may still be found.
    async fn disk_erase(
        &self,
        vm: VmId,
        store: Option<DataStoreId>,
        disk: DiskId,
        layer: Option<LayerId>,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<(u64, Vec<String>)>;
    /// Removes a VM's folders with everything in them, on every data store that can be reached. Absent is success.
    async fn vm_files_remove(&self, vm: VmId) -> Result<()>;
    /// Makes a copy of the disk as it reads from this layer down, alone and in the format of the export. No guest writes to
    /// these files. A copy that is there is made anew. May take long, and may be dropped.
    async fn export_disk(
        &self,
        vm: VmId,
        export: &ExportSpec,
        disk: &DiskSpec,
        layer: Option<LayerId>,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<ExportedDisk>;
    /// Bytes of such a copy from `offset` on, at most `bytes_max`; none behind its end.
    async fn export_read(&self, vm: VmId, export: &ExportSpec, disk: DiskId, offset: u64, bytes_max: usize) -> Result<Vec<u8>>;
    /// Removes every export of a VM. Absent is success.
    async fn export_remove(&self, vm: VmId) -> Result<()>;
    /// Every disk file of every VM of this machine, on every data store that can be reached. On one that several machines
    /// see, files of the others' VMs are there as well.
    async fn disks(&self) -> Result<Vec<StoredDisk>>;
    /// Images whose content lies complete in the cache of a data store (none: the local one). Disks stand on images of
    /// their own data store.
    async fn images(&self, store: Option<DataStoreId>) -> Result<Vec<ImageId>>;
    /// Bytes of an image that an earlier, broken transfer of this machine left; 0: none.
    async fn image_partial_bytes(&self, store: Option<DataStoreId>, image: &ImageRef) -> Result<u64>;
    /// Appends a piece at `offset` to the partial file.
    async fn image_write(&self, store: Option<DataStoreId>, image: &ImageRef, offset: u64, data: &[u8]) -> Result<()>;
    /// Checks length, SHA-256 and header of the partial file and makes it an image of the cache. A file that fails is
    /// removed.
    async fn image_commit(&self, store: Option<DataStoreId>, image: &ImageRef) -> Result<()>;
    /// Removes an image from the cache of every data store that can be reached. Absent is success; refuses while a disk
    /// there stands on it.
    async fn image_remove(&self, image: ImageId) -> Result<()>;
}

/// Networks on this host.
#[async_trait]
pub trait Networks {
    /// Makes the network if it is not there, and running if it is stopped.
    async fn network_ensure(&self, network: &NetworkRef) -> Result<()>;
    /// Removes the network. Absent is success. Of an OVS bridge only what Virga made is removed.
    async fn network_remove(&self, network: &NetworkRef) -> Result<()>;
}

/// What the machine is.
#[async_trait]
pub trait Facts {
    /// Inventory, without the parts that the agent itself knows.
    async fn facts(&self) -> Result<HostFacts>;
    /// Counters of the machine.
    async fn host_counters(&self) -> Result<Counters>;
}

/// Time and waiting; the simulator moves it.
#[async_trait]
pub trait Clock {
    /// Wall time, for display.
    fn now(&self) -> Time;
    /// Milliseconds of a clock that never goes back and counts sleep (CLOCK_BOOTTIME).
    fn monotonic_ms(&self) -> u64;
    /// Waits.
    async fn sleep_ms(&self, ms: u64);
}

/// Where an agent keeps its journal: small documents by name, each replaced as a whole and on stable storage when
/// `put` returns.
#[async_trait]
pub trait Journal: Send + Sync + 'static {
    /// Every document.
    async fn load(&self) -> Result<Vec<(String, Vec<u8>)>>;
    /// Writes a document.
    async fn put(&self, name: &str, content: &[u8]) -> Result<()>;
    /// Removes a document. Absent is success.
    async fn remove(&self, name: &str) -> Result<()>;
}

/// A journal in a folder of files, each written under a temporary name, synced and renamed.
#[derive(Clone, Debug)]
pub struct FileJournal {
    folder: PathBuf,
}

impl FileJournal {
    /// A journal in `folder`, which is made if it is not there (mode 0700).
    ///
    /// # Errors
    /// What the file system says.
    pub fn open(folder: PathBuf) -> std::io::Result<Arc<FileJournal>> {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        Ok(Arc::new(FileJournal { folder }))
    }
}

fn io(e: &std::io::Error) -> Error {
    Error::host(format!("The agent's journal cannot be used: {e}.")).with_hint("Check space and permissions of the agent's state folder.")
}

#[async_trait]
impl Journal for FileJournal {
    async fn load(&self) -> Result<Vec<(String, Vec<u8>)>> {
        let mut out = Vec::new();
        for entry in std::fs::read_dir(&self.folder).map_err(|e| io(&e))? {
            let entry = entry.map_err(|e| io(&e))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Some(stem) = name.strip_suffix(".json") {
                out.push((stem.to_string(), std::fs::read(entry.path()).map_err(|e| io(&e))?));
            }
        }
        Ok(out)
    }

    async fn put(&self, name: &str, content: &[u8]) -> Result<()> {
        let (folder, name, content) = (self.folder.clone(), name.to_string(), content.to_vec());
        tokio::task::spawn_blocking(move || write_durably(&folder, &name, &content)).await.map_err(|e| Error::internal(e.to_string()))?.map_err(|e| io(&e))
    }

    async fn remove(&self, name: &str) -> Result<()> {
        match std::fs::remove_file(self.folder.join(format!("{name}.json"))) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(io(&e)),
            _ => Ok(()),
        }
    }
}

fn write_durably(folder: &std::path::Path, name: &str, content: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let temporary = folder.join(format!("{name}.new"));
    let mut f = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    f.write_all(content)?;
    f.sync_all()?;
    std::fs::rename(&temporary, folder.join(format!("{name}.json")))?;
    std::fs::File::open(folder)?.sync_all()
}
