//! A virtual machine: what was asked for (`spec`, `desired`), what is true (`observed`), and the generation that orders the two.

use crate::clone::{DiskCopy, DiskOrigin};
use crate::cloud_init::CloudInit;
use crate::disk::{Discard, DiskFormat, DiskLimits, DiskWork, DiskWorkDone, Erase, Provisioning, Sharing};
use crate::error::{Check, Error};
use crate::export::{ExportSpec, Exported};
use crate::layer::{Layers, SESSION};
use crate::{DataStoreId, DiskId, HostId, ImageId, LayerId, NetworkId, NicId, Time, UserId, VmId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most vCPUs of one VM (SCALE-05).
pub const VCPUS_MAX: u32 = 255;
/// Most memory of one VM in bytes: 4 TiB (SCALE-05).
pub const MEMORY_BYTES_MAX: u64 = 4 << 40;
/// Least memory of one VM in bytes.
pub const MEMORY_BYTES_MIN: u64 = 16 << 20;
/// Step in which memory is given, in bytes; hot-added memory comes in modules of a multiple of this.
pub const MEMORY_STEP_BYTES: u64 = 1 << 20;
/// Step in which memory is hot-added, in bytes (the guest's memory block size on x86).
pub const MEMORY_HOTPLUG_STEP_BYTES: u64 = 128 << 20;
/// Most disks, NICs and optical drives of one VM, each.
pub const DEVICES_MAX: usize = 16;
/// Largest disk in bytes: 64 TiB.
pub const DISK_BYTES_MAX: u64 = 64 << 40;
/// Most labels of one object.
pub const LABELS_MAX: usize = 32;

/// What a VM is made of. Everything here is chosen by people; what libvirt or QEMU choose is `observed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VmSpec {
    /// Processors.
    pub cpu: CpuSpec,
    /// Memory.
    pub memory: MemorySpec,
    /// How the VM starts.
    #[serde(default)]
    pub firmware: Firmware,
    /// QEMU machine type, pinned at creation so that the virtual hardware never changes under a guest
    /// (e.g. `pc-q35-7.2`). Empty: the host that first starts the VM pins its newest `q35`.
    #[serde(default)]
    pub machine: String,
    /// Devices to boot from, in this order (VM-34).
    #[serde(default = "default_boot")]
    pub boot: Vec<BootDevice>,
    /// Disks, in the order in which the guest sees them.
    #[serde(default)]
    pub disks: Vec<DiskSpec>,
    /// Network interfaces, in the order in which the guest sees them.
    #[serde(default)]
    pub nics: Vec<NicSpec>,
    /// Optical drives; each may hold an ISO or be empty (VM-35).
    #[serde(default)]
    pub cdroms: Vec<CdromSpec>,
    /// First-boot settings given to the guest through a NoCloud seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud_init: Option<CloudInit>,
    /// What snapshots have frozen of the disks, and what is written now. Only snapshots change it.
    #[serde(default, skip_serializing_if = "Layers::is_plain")]
    pub layers: Layers,
    /// It is a template: VMs are made from it, it is never started, and its disks are never written (TPL-01).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub template: bool,
    /// Disks that were detached and keep their data, until they are attached again or removed (DSK-20).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub detached: Vec<DiskSpec>,
    /// What the host has still to do to disk files. Only operations on disks change it.
    #[serde(default, skip_serializing_if = "DiskWork::is_none")]
    pub disk_work: DiskWork,
    /// A copy of its disks for transport that the host keeps ready. Only exports change it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub export: Option<ExportSpec>,
}

fn default_boot() -> Vec<BootDevice> {
    vec![BootDevice::Disk, BootDevice::Cdrom, BootDevice::Network]
}

/// Processors of a VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CpuSpec {
    /// vCPUs that the guest has.
    pub count: u32,
    /// vCPUs up to which more can be added while the VM runs (VM-13); at least `count`.
    #[serde(default)]
    pub max: u32,
    /// Cores per socket that the guest sees; 0: all vCPUs are cores of one socket.
    #[serde(default)]
    pub cores_per_socket: u32,
    /// Which processor the guest sees (CPU-02).
    #[serde(default)]
    pub mode: CpuMode,
}

/// Which processor the guest sees (CPU-02 to CPU-06).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "mode", rename_all = "kebab-case")]
pub enum CpuMode {
    /// A named QEMU model; the default is `qemu64` (CPU-03): runs and migrates everywhere, but without AES,
    /// AVX and SSE4 (W-03).
    Custom {
        /// Model name as `virsh cpu-models x86_64` lists it.
        model: String,
    },
    /// The nearest named model plus the host's features, frozen for the run (CPU-05, W-04).
    HostModel,
    /// The host's processor itself; needs KVM; migrates only between equal processors (CPU-06).
    HostPassthrough,
}

impl Default for CpuMode {
    fn default() -> Self {
        CpuMode::Custom { model: "qemu64".into() }
    }
}

/// Memory of a VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MemorySpec {
    /// Memory in bytes, a multiple of 1 MiB.
    pub bytes: u64,
    /// Bytes up to which memory can be added while the VM runs, in steps of 128 MiB; 0 or `bytes`: none.
    #[serde(default)]
    pub max_bytes: u64,
}

/// How a VM starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Firmware {
    /// Classic BIOS (SeaBIOS).
    #[default]
    Bios,
    /// UEFI (OVMF), with variables of its own for each VM.
    Uefi,
}

/// A kind of device to boot from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BootDevice {
    /// The disks, first to last.
    Disk,
    /// The optical drives.
    Cdrom,
    /// The network (PXE) on the NICs.
    Network,
}

/// A disk of a VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DiskSpec {
    /// Identity; also the file's name on the host and the serial number that the guest sees.
    pub id: DiskId,
    /// Size in bytes as the guest sees it; at least the image's.
    pub size_bytes: u64,
    /// Image the disk starts from; none: an empty disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageId>,
    /// Bus on which the guest sees it (IO-03).
    #[serde(default)]
    pub bus: DiskBus,
    /// How writes are cached (IO-07, W-01).
    #[serde(default)]
    pub cache: DiskCache,
    /// What snapshots and power cycles do to it (DSK-15 to DSK-17).
    #[serde(default)]
    pub mode: DiskMode,
    /// How much it may do (QOS-08).
    #[serde(default, skip_serializing_if = "DiskLimits::is_none")]
    pub limits: DiskLimits,
    /// For a linked clone: the file of another VM that this disk stands on. Only cloning sets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<DiskOrigin>,
    /// While it is made: whose content it begins with. Only cloning sets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy_of: Option<DiskCopy>,
    /// When it takes its space (DSK-02 to DSK-05).
    #[serde(default)]
    pub provisioning: Provisioning,
    /// Format of its base file.
    #[serde(default)]
    pub format: DiskFormat,
    /// What becomes of blocks that the guest gives back.
    #[serde(default)]
    pub discard: Discard,
    /// Whether several VMs may be bound to it.
    #[serde(default)]
    pub sharing: Sharing,
    /// The data store that it lies on; none: the local store of the VM's host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<DataStoreId>,
}

/// What snapshots and power cycles do to a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DiskMode {
    /// Snapshots include it; changes are for good (DSK-15).
    #[default]
    Dependent,
    /// Snapshots leave it out; changes are for good (DSK-16).
    IndependentPersistent,
    /// Snapshots leave it out; what a guest writes is gone when it is switched off (DSK-17, DSK-18).
    IndependentNonpersistent,
}

/// Bus of a disk (IO-03).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DiskBus {
    /// Paravirtual; fastest (IO-04).
    #[default]
    Virtio,
    /// A disk on a virtio-scsi controller.
    Scsi,
    /// Old but known to every guest; no hot plug. On a q35 machine this is its SATA port.
    Ide,
    /// Slow; for guests that know nothing else (IO-06).
    Usb,
}

impl DiskBus {
    /// Whether QEMU can attach and detach such a disk while the VM runs.
    #[must_use]
    pub fn hot_plug(self) -> bool {
        !matches!(self, DiskBus::Ide)
    }
}

/// Cache mode of a disk, with the meaning that QEMU gives it (rules.md 7.1, W-01).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DiskCache {
    /// Host page cache bypassed; the guest sees a volatile write cache and must flush. Recommended for speed.
    None,
    /// Host page cache bypassed and every write on stable storage before it is reported done: safest, slowest
    /// (IO-09; the default).
    #[default]
    Directsync,
    /// Through the host page cache; the guest's flushes are honoured. QEMU's own default.
    Writeback,
    /// Reads through the host page cache; every write is flushed.
    Writethrough,
}

/// A network interface of a VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NicSpec {
    /// Identity.
    pub id: NicId,
    /// Network it is connected to.
    pub network: NetworkId,
    /// Hardware the guest sees (IO-01).
    #[serde(default)]
    pub model: NicModel,
    /// Address; lower case, `52:54:00:` when Virga chose it.
    pub mac: String,
    /// Whether the virtual cable is plugged in.
    #[serde(default = "yes")]
    pub link_up: bool,
}

fn yes() -> bool {
    true
}

/// Hardware of a NIC (IO-01).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NicModel {
    /// Paravirtual; fastest.
    #[default]
    Virtio,
    /// Intel 82540EM.
    E1000,
    /// Realtek 8139, the "ordinary" NIC.
    Rtl8139,
}

/// An optical drive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CdromSpec {
    /// Identity of the drive.
    pub id: DiskId,
    /// ISO in the drive; none: empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageId>,
}

impl VmSpec {
    /// Fills what people may leave out: `cpu.max`, `memory.max_bytes`.
    pub fn normalize(&mut self) {
        self.cpu.max = self.cpu.max.max(self.cpu.count);
        self.memory.max_bytes = self.memory.max_bytes.max(self.memory.bytes);
    }

    /// Checks everything that can be checked without looking at other objects.
    ///
    /// # Errors
    /// [`crate::ErrorCode::Invalid`] with every violation, each naming its field.
    pub fn check(&self) -> Result<(), Error> {
        let mut c = Check::new();
        self.check_cpu_memory(&mut c);
        c.that(
            self.machine.len() <= 64 && self.machine.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_')),
            "machine",
            "must be a QEMU machine type such as pc-q35-7.2",
        );
        for (i, d) in self.boot.iter().enumerate() {
            c.that(!self.boot[..i].contains(d), format!("boot[{i}]"), "stands twice in the boot order");
        }
        self.check_devices(&mut c);
        if let Some(ci) = &self.cloud_init {
            c.nested("cloud_init", ci.check());
        }
        c.nested("layers", self.layers.check());
        c.nested("export", self.export.as_ref().map_or(Ok(()), ExportSpec::check));
        c.done()
    }

    fn check_cpu_memory(&self, c: &mut Check) {
        let cpu = &self.cpu;
        c.that((1..=VCPUS_MAX).contains(&cpu.count), "cpu.count", format!("must be 1 to {VCPUS_MAX}"));
        c.that(cpu.max >= cpu.count && cpu.max <= VCPUS_MAX, "cpu.max", format!("must be between cpu.count ({}) and {VCPUS_MAX}", cpu.count));
        c.that(
            cpu.cores_per_socket == 0 || cpu.max.is_multiple_of(cpu.cores_per_socket),
            "cpu.cores_per_socket",
            format!("must divide the number of vCPUs ({})", cpu.max),
        );
        if let CpuMode::Custom { model } = &cpu.mode {
            let ok = !model.is_empty() && model.len() <= 64 && model.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
            c.that(ok, "cpu.mode.model", "must be a QEMU CPU model such as qemu64");
        }
        let m = &self.memory;
        c.that(
            (MEMORY_BYTES_MIN..=MEMORY_BYTES_MAX).contains(&m.bytes) && m.bytes.is_multiple_of(MEMORY_STEP_BYTES),
            "memory.bytes",
            "must be 16 MiB to 4 TiB in steps of 1 MiB",
        );
        c.that(m.max_bytes >= m.bytes && m.max_bytes <= MEMORY_BYTES_MAX, "memory.max_bytes", "must be between memory.bytes and 4 TiB");
        c.that(
            m.max_bytes < m.bytes || (m.max_bytes - m.bytes).is_multiple_of(MEMORY_HOTPLUG_STEP_BYTES),
            "memory.max_bytes",
            "must be memory.bytes plus a multiple of 128 MiB, because memory is hot-added in such modules",
        );
    }

    fn check_devices(&self, c: &mut Check) {
        c.that(self.disks.len() <= DEVICES_MAX, "disks", format!("at most {DEVICES_MAX}"));
        c.that(self.detached.len() <= DEVICES_MAX, "detached", format!("at most {DEVICES_MAX} detached disks keep their data"));
        for (i, d) in self.detached.iter().enumerate() {
            let twice = self.disks.iter().chain(&self.detached[..i]).any(|o| o.id == d.id);
            c.that(!twice, format!("detached[{i}].id"), "stands twice");
            c.that(d.mode != DiskMode::Dependent, format!("detached[{i}].mode"), "only disks that snapshots leave out are kept when they are detached");
        }
        c.that(self.nics.len() <= DEVICES_MAX, "nics", format!("at most {DEVICES_MAX}"));
        c.that(self.cdroms.len() <= 4, "cdroms", "at most 4");
        let ide = self.disks.iter().filter(|d| d.bus == DiskBus::Ide).count() + self.cdroms.len();
        c.that(ide <= 5, "disks", "IDE disks and optical drives together: at most 5 (the sixth port is for cloud-init)");
        for (i, d) in self.disks.iter().enumerate() {
            d.check(c, &format!("disks[{i}]"));
            c.that(!self.disks[..i].iter().any(|o| o.id == d.id), format!("disks[{i}].id"), "stands twice");
        }
        for (i, n) in self.nics.iter().enumerate() {
            c.that(mac_is_valid(&n.mac), format!("nics[{i}].mac"), "must be a unicast address such as 52:54:00:12:34:56");
            c.that(!self.nics[..i].iter().any(|o| o.mac == n.mac), format!("nics[{i}].mac"), "stands twice in this VM");
        }
    }

    /// Bytes of host memory that the VM needs at most when it runs: its memory and QEMU's own (an estimate: 96 MiB and 0.5 %).
    #[must_use]
    pub fn host_memory_bytes(&self) -> u64 {
        self.memory.bytes + (96 << 20) + self.memory.bytes / 200
    }

    /// Bytes that the disks may come to need.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        self.disks.iter().chain(&self.detached).map(|d| d.size_bytes).fold(0, u64::saturating_add)
    }

    /// Bytes that a disk may come to need with all of its layers: each of them can grow as large as the disk (W-45).
    #[must_use]
    pub fn chain_bytes(&self, disk: &DiskSpec) -> u64 {
        let layers = match disk.mode {
            DiskMode::Dependent => self.layers.list.len() + self.layers.merges.len(),
            DiskMode::IndependentPersistent => 0,
            DiskMode::IndependentNonpersistent => 1,
        };
        disk.size_bytes.saturating_mul(layers as u64 + 1)
    }

    /// The files of a disk from its base (none) to the one that is written; `there` says which of the layers that wait to
    /// be merged still exist.
    #[must_use]
    pub fn disk_files(&self, disk: &DiskSpec, there: impl Fn(LayerId) -> bool) -> Vec<Option<LayerId>> {
        let l = &self.layers;
        match disk.mode {
            DiskMode::Dependent => l.files(disk.id, &l.path_with_merges(l.top), |x| l.get(x).is_some() || there(x)),
            DiskMode::IndependentPersistent => vec![None],
            DiskMode::IndependentNonpersistent => vec![None, Some(SESSION)],
        }
    }

    /// The images that the VM's disks, detached ones too, and optical drives use.
    pub fn images(&self) -> impl Iterator<Item = ImageId> + '_ {
        self.disks.iter().chain(&self.detached).filter_map(|d| d.image).chain(self.cdroms.iter().filter_map(|c| c.image))
    }
}

/// Whether `mac` is six lower-case hex pairs joined by colons, unicast and not all zero.
#[must_use]
pub fn mac_is_valid(mac: &str) -> bool {
    let parts: Vec<&str> = mac.split(':').collect();
    parts.len() == 6
        && parts.iter().all(|p| p.len() == 2 && p.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)))
        && u8::from_str_radix(parts[0], 16).is_ok_and(|b| b & 1 == 0)
        && mac != "00:00:00:00:00:00"
}

/// The address that Virga gives to a NIC: QEMU's prefix and three bytes of its id.
#[must_use]
pub fn mac_for(nic: NicId) -> String {
    let b = nic.0.as_bytes();
    // The last bytes of a version 7 UUID are its random ones.
    format!("52:54:00:{:02x}:{:02x}:{:02x}", b[13], b[14], b[15])
}

/// The power state that somebody asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Desired {
    /// The guest runs.
    Running,
    /// The guest is there, with its vCPUs held (VM-23).
    Paused,
    /// The guest's memory lies on disk; starting it goes on where it was (VM-22).
    Hibernated,
    /// Switched off.
    Stopped,
    /// The VM is to be removed with its disks.
    Absent,
}

/// The power state that the host found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VmState {
    /// Nobody can tell at the moment: the host is silent or its libvirt does not answer. Never read as stopped.
    #[default]
    Unknown,
    /// No host has it yet, or no more.
    Absent,
    /// Switched off.
    Stopped,
    /// Running.
    Running,
    /// Held.
    Paused,
    /// Memory saved to disk.
    Hibernated,
    /// QEMU stopped the guest for an error (e.g. no space on the store, guest panic).
    Crashed,
}

impl VmState {
    /// Whether a VM in this state takes memory of its host. What nobody can tell at the moment counts, because silence is
    /// no proof of the contrary.
    #[must_use]
    pub fn takes_memory(self) -> bool {
        !matches!(self, VmState::Absent | VmState::Stopped | VmState::Hibernated)
    }
}

impl Desired {
    /// Whether `state` is what was asked for.
    #[must_use]
    pub fn is_met_by(self, state: VmState) -> bool {
        matches!(
            (self, state),
            (Desired::Running, VmState::Running)
                | (Desired::Paused, VmState::Paused)
                | (Desired::Hibernated, VmState::Hibernated)
                | (Desired::Stopped, VmState::Stopped)
                | (Desired::Absent, VmState::Absent)
        )
    }

    /// Whether the VM needs memory of a host.
    #[must_use]
    pub fn is_active(self) -> bool {
        matches!(self, Desired::Running | Desired::Paused)
    }
}

macro_rules! word {
    ($t:ty) => {
        impl std::fmt::Display for $t {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                // The JSON word is the one word for it everywhere.
                match serde_json::to_value(self) {
                    Ok(serde_json::Value::String(s)) => f.pad(&s),
                    _ => f.write_str("?"),
                }
            }
        }
    };
}
word!(Desired);
word!(VmState);
word!(DiskBus);
word!(DiskCache);
word!(DiskMode);
word!(Provisioning);
word!(DiskFormat);
word!(Discard);
word!(Sharing);
word!(Erase);
word!(NicModel);
word!(Firmware);

/// How a running guest is brought down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "how", rename_all = "snake_case")]
pub enum StopMode {
    /// Ask the guest: by its agent, else by the ACPI power button (VM-21).
    Graceful,
    /// Cut the power.
    #[default]
    Force,
}

/// A VM as the platform knows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Vm {
    /// Identity.
    pub id: VmId,
    /// Label for people, unique among VMs.
    pub name: String,
    /// Free text.
    pub description: String,
    /// Key and value labels for people and selectors.
    pub labels: BTreeMap<String, String>,
    /// Who made it; scope `own` means this.
    pub owner: UserId,
    /// What it is made of.
    pub spec: VmSpec,
    /// The specification before an edit that is not done yet; an edit that fails goes back to it.
    pub former_spec: Option<VmSpec>,
    /// What somebody asked for.
    pub desired: Desired,
    /// How to come down, when `desired` is `Stopped` or `Absent`.
    pub stop_mode: StopMode,
    /// Grows with each change of `spec`, `desired`, `host` or name; the ETag. An agent refuses an older one.
    pub generation: i64,
    /// Host that owns the VM's process and files; none until placed.
    pub host: Option<HostId>,
    /// Why the host was chosen, for "why is it here".
    pub placement: Option<String>,
    /// What the host found.
    pub observed: Observed,
    /// When it was made.
    pub created_at: Time,
    /// When a person or a task last changed it.
    pub updated_at: Time,
}

impl Vm {
    /// Bytes of memory that it takes of its host at present: it should run, or it does. While an edit is under way, or
    /// waits for the next start of the guest, the larger amount.
    #[must_use]
    pub fn host_memory_share(&self) -> u64 {
        let former = self.former_spec.as_ref().map_or(0, VmSpec::host_memory_bytes);
        let active = self.desired.is_active() || self.observed.state.takes_memory();
        let held = self.observed.held_memory_bytes.unwrap_or(0);
        if active { self.spec.host_memory_bytes().max(former).max(held) } else { 0 }
    }
}

/// What a host found about a VM. Older generations never overwrite newer ones.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Observed {
    /// Generation of the order that the host acted on; 0: none yet.
    #[serde(default)]
    pub generation: i64,
    /// Orders what the host said: it grows with each change, so that an answer that was long under way never takes the
    /// place of a newer report.
    #[serde(default)]
    pub revision: u64,
    /// Power state.
    #[serde(default)]
    pub state: VmState,
    /// Whether the host has finished with `generation`.
    #[serde(default)]
    pub settled: bool,
    /// The host has lost the order for this VM (its journal is gone): what is to be done must be told again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[schemars(skip)]
    pub order_lost: bool,
    /// Why the host could not do what `generation` asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Error>,
    /// Changes that wait for the next start of the guest, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pending: Vec<String>,
    /// What was changed behind Virga's back (G-01). Reported, never undone without being asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drift: Vec<Drift>,
    /// What the guest says about itself.
    #[serde(default)]
    pub guest: GuestInfo,
    /// Machine type that the host pinned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// `kvm` or `tcg` (emulation), when running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accelerator: Option<String>,
    /// When the guest was last started, as the host tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// Bytes of its host's memory that the running guest takes, while that is more than its settings say: it was given less,
    /// which comes true with its next start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_memory_bytes: Option<u64>,
    /// Why layers that are to be merged are still apart; tried again with every change. The guest is not affected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merge_error: Option<Error>,
    /// Acts that happen once (reboot, reset): the newest few, by task.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub acts: Vec<crate::order::ActResult>,
    /// Stored memory of the VM's snapshots.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub memories: Vec<crate::snapshot::StoredMemory>,
    /// What became of the work on disk files that was asked for last.
    #[serde(default, skip_serializing_if = "DiskWorkDone::is_none")]
    pub disk_work: DiskWorkDone,
    /// The export that the host has, complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exported: Option<Exported>,
}

/// A difference between what Virga ordered and what is there, made by somebody else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Drift {
    /// What differs: `power`, `definition`, `disk`.
    pub what: String,
    /// The difference in words, and what will resolve it.
    pub message: String,
}

/// What the guest agent says (TOOL-03, TOOL-06, TOOL-08, TOOL-12).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GuestInfo {
    /// State of the guest agent.
    #[serde(default)]
    pub agent: AgentState,
    /// Version of the guest agent, the last known one when it is not connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_version: Option<String>,
    /// Host name in the guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_name: Option<String>,
    /// Operating system, e.g. `Debian GNU/Linux 12 (bookworm)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os: Option<String>,
    /// Kernel release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// Addresses of all NICs, loopback and link-local left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ips: Vec<String>,
    /// Mounted file systems.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub file_systems: Vec<GuestFileSystem>,
}

/// State of the guest agent (TOOL-12).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AgentState {
    /// Never answered since the guest was started.
    #[default]
    NotRunning,
    /// Answers.
    Connected,
    /// Answered earlier in this run and does not any more.
    Lost,
}

/// A mounted file system in the guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GuestFileSystem {
    /// Mount point.
    pub mount_point: String,
    /// Kind, e.g. `ext4`.
    pub kind: String,
    /// Size in bytes, where the agent tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_bytes: Option<u64>,
    /// Used bytes, where the agent tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_bytes: Option<u64>,
}

/// Checks labels: at most 32, keys like names (also with `/`), values up to 255 characters.
///
/// # Errors
/// [`crate::ErrorCode::Invalid`] that names the label.
pub fn check_labels(labels: &BTreeMap<String, String>) -> Result<(), Error> {
    let mut c = Check::new();
    c.that(labels.len() <= LABELS_MAX, "labels", format!("at most {LABELS_MAX}"));
    for (k, v) in labels {
        let key_ok = !k.is_empty() && k.len() <= 63 && k.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'/'));
        c.that(key_ok, format!("labels.{}", k.chars().take(63).collect::<String>()), "keys are 1 to 63 of a-z, A-Z, 0-9, '.', '_', '-', '/'");
        c.that(
            v.chars().count() <= 255 && !v.contains(char::is_control),
            format!("labels.{k}"),
            "values are at most 255 characters without control characters",
        );
    }
    c.done()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small valid specification.
    pub fn spec() -> VmSpec {
        let mut s = VmSpec {
            cpu: CpuSpec { count: 1, max: 0, cores_per_socket: 0, mode: CpuMode::default() },
            memory: MemorySpec { bytes: 256 << 20, max_bytes: 0 },
            firmware: Firmware::Bios,
            machine: String::new(),
            boot: default_boot(),
            disks: vec![],
            nics: vec![],
            cdroms: vec![],
            cloud_init: None,
            layers: Layers::default(),
            template: false,
            detached: vec![],
            disk_work: DiskWork::default(),
            export: None,
        };
        s.normalize();
        s
    }

    #[test]
    fn every_wrong_field_is_named_at_once() {
        let mut s = spec();
        s.cpu.count = 0;
        s.memory.bytes = 5;
        s.boot = vec![BootDevice::Disk, BootDevice::Disk];
        let e = s.check().unwrap_err();
        let fields: Vec<&str> = e.violations.iter().map(|v| v.field.as_str()).collect();
        assert!(fields.contains(&"cpu.count"), "{fields:?}");
        assert!(fields.contains(&"memory.bytes"), "{fields:?}");
        assert!(fields.contains(&"boot[1]"), "{fields:?}");
    }

    #[test]
    fn limits_of_scale_05_hold() {
        let mut s = spec();
        s.cpu.count = VCPUS_MAX;
        s.memory.bytes = MEMORY_BYTES_MAX;
        s.normalize();
        assert!(s.check().is_ok());
        s.cpu.count = VCPUS_MAX + 1;
        s.normalize();
        assert!(s.check().is_err());
    }

    #[test]
    fn macs_are_unicast_and_lower_case() {
        assert!(mac_is_valid("52:54:00:12:34:56"));
        assert!(mac_is_valid(&mac_for(NicId(uuid::Uuid::from_u128(7)))));
        for bad in ["", "52:54:00:12:34", "53:54:00:12:34:56", "52:54:00:12:34:5G", "00:00:00:00:00:00", "52-54-00-12-34-56"] {
            assert!(!mac_is_valid(bad), "{bad}");
        }
    }

    #[test]
    fn the_default_cache_is_directsync_and_cpu_is_qemu64() {
        // IO-09 and CPU-03.
        assert_eq!(DiskCache::default().to_string(), "directsync");
        assert_eq!(CpuMode::default(), CpuMode::Custom { model: "qemu64".into() });
    }
}
