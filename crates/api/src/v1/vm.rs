//! Virtual machines, their devices, power and consoles.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use virga_model::cloud_init::CloudInit;
use virga_model::disk::{Discard, DiskFormat, DiskLimits, Erase, Provisioning, Sharing};
use virga_model::image::ImageFormat;
use virga_model::stats::Sample;
use virga_model::user::ConsoleKind;
use virga_model::vm::{BootDevice, CpuMode, Desired, DiskBus, DiskCache, DiskMode, Firmware, NicModel, Observed, VmSpec};
use virga_model::{DiskId, NicId, Time, VmId};

use super::Reference;

/// A virtual machine.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Vm {
    /// Identity; also the libvirt domain's UUID.
    pub id: VmId,
    /// Name, unique among VMs.
    pub name: String,
    /// Free text.
    pub description: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Who made it.
    pub owner: Reference,
    /// The power state asked for.
    pub desired: Desired,
    /// Grows with each change; the ETag.
    pub generation: i64,
    /// What it is made of.
    pub spec: VmSpec,
    /// Host it is on; none until placed. Left out for callers who may not see hosts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Reference>,
    /// Why it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<String>,
    /// What the host found.
    pub observed: Observed,
    /// Whether the host has reported lately; if not, `observed` is the last that was known.
    pub fresh: bool,
    /// The newest sample of its rates, when it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stats: Option<Sample>,
    /// The task that works on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<Reference>,
    /// When it was made.
    pub created_at: Time,
    /// When it was last changed.
    pub updated_at: Time,
}

/// Makes a VM: from an image, or empty with an ISO to install from (VM-05, VM-06).
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VmCreate {
    /// Name, unique among VMs.
    pub name: String,
    /// Free text.
    #[serde(default)]
    pub description: String,
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// vCPUs; 1 when left out.
    #[serde(default)]
    pub cpus: Option<u32>,
    /// vCPUs up to which more can be added while it runs; four times `cpus` (at most the hosts' processors) when left out.
    #[serde(default)]
    pub cpus_max: Option<u32>,
    /// Cores per socket as the guest sees them.
    #[serde(default)]
    pub cores_per_socket: Option<u32>,
    /// Which processor the guest sees.
    #[serde(default)]
    pub cpu_mode: Option<CpuMode>,
    /// Memory in bytes; 1 GiB when left out.
    #[serde(default)]
    pub memory_bytes: Option<u64>,
    /// Bytes up to which memory can be added while it runs; none can when left out.
    #[serde(default)]
    pub memory_max_bytes: Option<u64>,
    /// BIOS or UEFI.
    #[serde(default)]
    pub firmware: Option<Firmware>,
    /// QEMU machine type; the host's newest `q35`, pinned, when left out.
    #[serde(default)]
    pub machine: Option<String>,
    /// Boot order.
    #[serde(default)]
    pub boot: Option<Vec<BootDevice>>,
    /// Disks; the first usually starts from an image.
    #[serde(default)]
    pub disks: Vec<DiskCreate>,
    /// Network interfaces.
    #[serde(default)]
    pub nics: Vec<NicCreate>,
    /// ISO images (name or id) for the optical drives; the empty text makes an empty drive.
    #[serde(default)]
    pub cdroms: Vec<String>,
    /// First-boot settings.
    #[serde(default)]
    pub cloud_init: Option<CloudInit>,
    /// Start it once it is there.
    #[serde(default)]
    pub start: bool,
    /// Host (name or id) to put it on; Virga chooses when left out.
    #[serde(default)]
    pub host: Option<String>,
}

/// Has the host make an export of a VM, so that it can be taken away as a package (OVA).
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VmExportCreate {
    /// Format of the disks: `vmdk`, `vhd` or `qcow2`; `vmdk` when left out.
    #[serde(default)]
    pub disk_format: Option<ImageFormat>,
    /// Snapshot (name or id) that is exported while the VM may run; left out: the VM as it is, which must be off.
    #[serde(default)]
    pub snapshot: Option<String>,
    /// Leave out disks that no package can hold; otherwise the export is refused with all of them.
    #[serde(default)]
    pub leave_out: bool,
}

/// An export of a VM.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct VmExport {
    /// Identity.
    pub id: uuid::Uuid,
    /// Format of the disks.
    pub disk_format: ImageFormat,
    /// When it was asked for.
    pub made_at: Time,
    /// The snapshot that it is of; none: the VM as it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<virga_model::SnapshotId>,
    /// Whether it can be taken.
    pub state: VmExportState,
    /// Why it cannot be taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Bytes of the package; known once it is ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
}

/// State of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VmExportState {
    /// It cannot be taken (yet): the host copies the disks, or the VM is another than the one that was copied.
    NotReady,
    /// It can be taken.
    Ready,
}

/// Headers of a download that can be gone on with.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct DownloadHeaders {
    /// One range of bytes, e.g. `bytes=1048576-`; several are answered with the whole.
    #[serde(default)]
    pub range: Option<String>,
    /// The ETag of the part that is there: the range is honoured only while the content is still the same.
    #[serde(rename = "if-range", default)]
    pub if_range: Option<String>,
}

/// Makes a VM of a package (OVA) of the library.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VmImport {
    /// Package (name or id): an image of the format `ova`.
    pub package: String,
    /// Name, unique among VMs; the one that the package tells when left out.
    #[serde(default)]
    pub name: Option<String>,
    /// Network (name or id) for each network that the package names; the empty text leaves its interfaces out. What is not
    /// named goes to the network of the same name.
    #[serde(default)]
    pub networks: BTreeMap<String, String>,
    /// Bus of all disks; what the package says, as far as there is such a bus, when left out.
    #[serde(default)]
    pub bus: Option<DiskBus>,
    /// Keep the addresses of the interfaces that the package tells; new ones are chosen otherwise.
    #[serde(default)]
    pub keep_macs: bool,
    /// Leave out what Virga cannot give; otherwise the import is refused with all of it.
    #[serde(default)]
    pub leave_out: bool,
    /// vCPUs; what the package says when left out.
    #[serde(default)]
    pub cpus: Option<u32>,
    /// Memory in bytes; what the package says when left out.
    #[serde(default)]
    pub memory_bytes: Option<u64>,
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// First-boot settings.
    #[serde(default)]
    pub cloud_init: Option<CloudInit>,
    /// Start it once it is there.
    #[serde(default)]
    pub start: bool,
    /// Host (name or id) to put it on; Virga chooses when left out.
    #[serde(default)]
    pub host: Option<String>,
}

/// A disk to be made.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DiskCreate {
    /// Size in bytes; the image's when left out.
    #[serde(default)]
    pub size_bytes: Option<u64>,
    /// Image (name or id) it starts from; empty when left out.
    #[serde(default)]
    pub image: Option<String>,
    /// Bus; virtio when left out.
    #[serde(default)]
    pub bus: Option<DiskBus>,
    /// Cache mode; directsync when left out.
    #[serde(default)]
    pub cache: Option<DiskCache>,
    /// What snapshots and power cycles do to it; dependent (included, for good) when left out.
    #[serde(default)]
    pub mode: Option<DiskMode>,
    /// How much it may do; no limits when left out.
    #[serde(default)]
    pub limits: Option<DiskLimits>,
    /// When it takes its space; thin (as it is written) when left out.
    #[serde(default)]
    pub provisioning: Option<Provisioning>,
    /// Format of its file; qcow2 for a thin disk and raw for a thick one when left out. A disk from an image that is raw or
    /// thick is a copy of the image, others stand on it.
    #[serde(default)]
    pub format: Option<DiskFormat>,
    /// What becomes of blocks that the guest gives back; off (they stay with the disk) when left out.
    #[serde(default)]
    pub discard: Option<Discard>,
    /// Whether several VMs may be bound to it; ordinary (one VM) when left out. A shared disk is raw, thick and
    /// independent_persistent, and bypasses the host's page cache.
    #[serde(default)]
    pub sharing: Option<Sharing>,
    /// Id of a shared disk of another VM on the same host, to be bound to this VM, too. Beside it only bus, cache and limits
    /// can be given. Not when a VM is made.
    #[serde(default)]
    pub existing: Option<DiskId>,
    /// Data store (name or id) that it lies on; `local` for the local one of the VM's host. Virga chooses when left out.
    #[serde(default)]
    pub data_store: Option<String>,
}

/// A network interface to be made.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NicCreate {
    /// Network (name or id).
    pub network: String,
    /// Hardware; virtio when left out.
    #[serde(default)]
    pub model: Option<NicModel>,
    /// Address; chosen when left out.
    #[serde(default)]
    pub mac: Option<String>,
}

/// Changes of a VM; what is left out stays. `null` is the same as left out.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VmUpdate {
    /// New name. The guest's own host name does not change.
    #[serde(default)]
    pub name: Option<String>,
    /// Free text.
    #[serde(default)]
    pub description: Option<String>,
    /// All labels.
    #[serde(default)]
    pub labels: Option<BTreeMap<String, String>>,
    /// vCPUs.
    #[serde(default)]
    pub cpus: Option<u32>,
    /// vCPUs up to which more can be added while it runs.
    #[serde(default)]
    pub cpus_max: Option<u32>,
    /// Cores per socket.
    #[serde(default)]
    pub cores_per_socket: Option<u32>,
    /// Which processor the guest sees.
    #[serde(default)]
    pub cpu_mode: Option<CpuMode>,
    /// Memory in bytes.
    #[serde(default)]
    pub memory_bytes: Option<u64>,
    /// Bytes up to which memory can be added while it runs.
    #[serde(default)]
    pub memory_max_bytes: Option<u64>,
    /// BIOS or UEFI.
    #[serde(default)]
    pub firmware: Option<Firmware>,
    /// QEMU machine type.
    #[serde(default)]
    pub machine: Option<String>,
    /// Boot order.
    #[serde(default)]
    pub boot: Option<Vec<BootDevice>>,
    /// First-boot settings.
    #[serde(default)]
    pub cloud_init: Option<CloudInit>,
}

/// Changes of a disk.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DiskUpdate {
    /// Larger size in bytes.
    #[serde(default)]
    pub size_bytes: Option<u64>,
    /// Bus.
    #[serde(default)]
    pub bus: Option<DiskBus>,
    /// Cache mode.
    #[serde(default)]
    pub cache: Option<DiskCache>,
    /// What snapshots and power cycles do to it; only while there are no snapshots.
    #[serde(default)]
    pub mode: Option<DiskMode>,
    /// How much it may do, as a whole: what is left out within is not limited any more.
    #[serde(default)]
    pub limits: Option<DiskLimits>,
    /// What becomes of blocks that the guest gives back.
    #[serde(default)]
    pub discard: Option<Discard>,
}

/// Changes of a network interface.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NicUpdate {
    /// Another network (name or id).
    #[serde(default)]
    pub network: Option<String>,
    /// Hardware.
    #[serde(default)]
    pub model: Option<NicModel>,
    /// Plug the virtual cable in or out.
    #[serde(default)]
    pub link_up: Option<bool>,
}

/// What goes into an optical drive.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MediaUpdate {
    /// ISO (name or id); none: eject.
    #[serde(default)]
    pub image: Option<String>,
}

/// A power action (VM-10, VM-21 to VM-23).
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PowerRequest {
    /// What to do.
    pub action: PowerAction,
    /// For `shutdown`: seconds the guest may take; 120 when left out.
    #[serde(default)]
    pub timeout_s: Option<u32>,
    /// For `shutdown`: cut the power after that time instead of giving up.
    #[serde(default)]
    pub then_force: bool,
}

/// Power actions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PowerAction {
    /// Start, or wake from hibernation.
    Start,
    /// Ask the guest to shut down (agent, else ACPI).
    Shutdown,
    /// Cut the power.
    ForceOff,
    /// Ask the guest to restart (agent, else ACPI).
    Reboot,
    /// Press the reset button.
    Reset,
    /// Hold the vCPUs.
    Pause,
    /// Let held vCPUs go on.
    Resume,
    /// Memory to disk, then off.
    Hibernate,
    /// Go on from hibernation; the same as start, refused when the VM is not hibernated.
    Wake,
}

/// The same action on many VMs (VM-10).
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VmBatchRequest {
    /// What to do.
    pub action: BatchAction,
    /// VMs, by name or id.
    #[serde(default)]
    pub vms: Vec<String>,
    /// Or all that match this filter and the caller may see.
    #[serde(default)]
    pub filter: Option<String>,
    /// For `shutdown`: seconds the guests may take.
    #[serde(default)]
    pub timeout_s: Option<u32>,
    /// For `shutdown`: cut the power after that time.
    #[serde(default)]
    pub then_force: bool,
    /// For `update`: the change, the same for all.
    #[serde(default)]
    pub update: Option<VmUpdate>,
}

/// What a batch does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)] // the words are those of `PowerAction`
pub enum BatchAction {
    Start,
    Shutdown,
    ForceOff,
    Reboot,
    Reset,
    Pause,
    Resume,
    Hibernate,
    Delete,
    Update,
}

/// Answer to a batch: the parent task, and the VMs that were refused at once.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct VmBatch {
    /// The parent task; none for a dry run or when every VM was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<super::Task>,
    /// The VMs the batch works on (or would).
    pub accepted: Vec<Reference>,
    /// The VMs it does not, and why.
    pub refused: Vec<VmRefused>,
}

/// A VM that a batch refused.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct VmRefused {
    /// As it was named.
    pub vm: String,
    /// Why.
    pub problem: super::Problem,
}

/// Samples of an object's rates, oldest first.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Stats {
    /// The samples.
    pub samples: Vec<Sample>,
}

/// Asks for a console.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsoleRequest {
    /// Which.
    pub kind: ConsoleKind,
}

/// A one-time permission to open a console.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ConsoleTicket {
    /// Path of the WebSocket, ticket included; good for one connection within 30 seconds.
    pub path: String,
    /// Not valid after.
    pub expires_at: Time,
}

/// Path of a VM.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct VmPath {
    /// Name or id of the VM.
    pub vm: String,
}

/// Path of a disk or optical drive of a VM.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct VmDiskPath {
    /// Name or id of the VM.
    pub vm: String,
    /// Id of the disk or drive.
    pub disk: DiskId,
}

/// Path of a NIC of a VM.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct VmNicPath {
    /// Name or id of the VM.
    pub vm: String,
    /// Id of the NIC.
    pub nic: NicId,
}

/// Path of a console connection.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct ConsolePath {
    /// The ticket.
    pub ticket: String,
}

/// Parameters of a disk's detachment.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DiskDetachQuery {
    /// How its data goes: normal (its files are removed) when left out, or secure (overwritten before).
    #[serde(default)]
    pub erase: Option<Erase>,
    /// Keep its data, so that it can be attached again. Only for disks that snapshots leave out.
    #[serde(default)]
    pub keep: Option<bool>,
    /// Answer with the plan and change nothing.
    #[serde(default)]
    pub dry_run: Option<bool>,
}

/// Parameters of a VM's removal.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VmDeleteQuery {
    /// Cut the power of a running VM; without it a running VM is not removed.
    #[serde(default)]
    pub force: Option<bool>,
    /// Answer with the plan and change nothing.
    #[serde(default)]
    pub dry_run: Option<bool>,
    /// How the data of its disks goes: normal (files are removed) when left out, or secure (overwritten before).
    #[serde(default)]
    pub erase: Option<Erase>,
}
