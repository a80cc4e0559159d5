//! A physical server that runs VMs.

use crate::{HostId, ImageId, NetworkId, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Milliseconds between two reports of an agent (HA-07: 3 s).
pub const REPORT_PERIOD_MS: u64 = 3_000;
/// Milliseconds without a report after which a host is shown as silent (HA-08: ten missed heartbeats). Silence is
/// never death: it starts no VM elsewhere.
pub const SILENT_AFTER_MS: i64 = 30_000;
/// Bytes of a host's memory that are kept for the host itself.
pub const MEMORY_RESERVED_BYTES: u64 = 1 << 30;

/// State of a host, as the manager sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HostState {
    /// Joined, has not reported yet.
    Joining,
    /// Reports.
    Up,
    /// Does not report. Its VMs may well run.
    Silent,
}

impl std::fmt::Display for HostState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            HostState::Joining => "joining",
            HostState::Up => "up",
            HostState::Silent => "silent",
        })
    }
}

/// A host as the platform knows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Host {
    /// Identity; also in its certificate.
    pub id: HostId,
    /// Label for people, unique among hosts.
    pub name: String,
    /// `host:port` where its agent listens for the manager.
    pub address: String,
    /// Kept free of new VMs (HOST-04).
    pub maintenance: bool,
    /// SHA-256 of the certificates it may use, hex, joined by a space: the newest and, until that is used for the first
    /// time, the one before it (the answer to a renewal may be lost). Any other is refused.
    pub certificate_sha256: String,
    /// Grows with each change by people; the ETag.
    pub generation: i64,
    /// Grows when ownership of the host's VMs is taken away; commands carry it and agents refuse an older one.
    pub epoch: i64,
    /// What the agent found at its start and later.
    pub facts: HostFacts,
    /// When it last reported; coarse (written at most every 10 s).
    pub last_report_at: Option<Time>,
    /// When it joined.
    pub created_at: Time,
}

/// Inventory of a host (HOST-01), as its agent found it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HostFacts {
    /// Host name of the operating system; never used as identity.
    #[serde(default)]
    pub host_name: String,
    /// Operating system, e.g. `Debian GNU/Linux 12 (bookworm)`.
    #[serde(default)]
    pub os: String,
    /// Kernel release.
    #[serde(default)]
    pub kernel: String,
    /// Processors.
    #[serde(default)]
    pub cpu: HostCpu,
    /// Physical memory in bytes.
    #[serde(default)]
    pub memory_bytes: u64,
    /// NUMA nodes.
    #[serde(default)]
    pub numa: Vec<NumaNode>,
    /// Disks.
    #[serde(default)]
    pub disks: Vec<HostDisk>,
    /// Network interfaces.
    #[serde(default)]
    pub nics: Vec<HostNic>,
    /// Bytes of the store for images and disks.
    #[serde(default)]
    pub store_total_bytes: u64,
    /// Free bytes of that store.
    #[serde(default)]
    pub store_free_bytes: u64,
    /// How guests run: `kvm`, or `tcg` (emulation, slow) with the reason in `accelerator_why`.
    #[serde(default)]
    pub accelerator: String,
    /// Why guests are only emulated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accelerator_why: Option<String>,
    /// Whether guests are confined (AppArmor or SELinux) and limited (cgroups), and why not.
    #[serde(default)]
    pub confinement: String,
    /// UEFI firmware is installed.
    #[serde(default)]
    pub uefi: bool,
    /// Open vSwitch answers.
    #[serde(default)]
    pub ovs: bool,
    /// Versions: `virga-agent`, `libvirt`, `qemu`, `ovs`.
    #[serde(default)]
    pub versions: std::collections::BTreeMap<String, String>,
    /// Images that lie in the host's cache.
    #[serde(default)]
    pub images: Vec<ImageId>,
    /// Networks that were made on the host.
    #[serde(default)]
    pub networks: Vec<NetworkId>,
    /// The data stores that it was told to watch, as it finds them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stores: Vec<crate::data_store::StoreFact>,
    /// libvirt domains that are not Virga's: seen, counted and never touched.
    #[serde(default)]
    pub foreign_vms: Vec<ForeignVm>,
}

/// Processors of a host (HOST-12).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HostCpu {
    /// Model name as the processor tells it.
    pub model: String,
    /// `x86_64`.
    pub arch: String,
    /// Sockets.
    pub sockets: u32,
    /// Cores of each socket.
    pub cores: u32,
    /// Threads of each core.
    pub threads: u32,
    /// Logical processors: sockets x cores x threads.
    pub logical: u32,
    /// Clock in MHz, 0 when unknown.
    pub mhz: u32,
    /// Feature flags.
    pub flags: Vec<String>,
}

/// A NUMA node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NumaNode {
    /// Number.
    pub id: u32,
    /// Logical processors.
    pub cpus: Vec<u32>,
    /// Memory in bytes.
    pub memory_bytes: u64,
}

/// A disk of a host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HostDisk {
    /// Device name.
    pub name: String,
    /// Size in bytes.
    pub size_bytes: u64,
    /// Spins.
    pub rotational: bool,
    /// Model, where it tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// A network interface of a host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HostNic {
    /// Name.
    pub name: String,
    /// Address.
    pub mac: String,
    /// Link state.
    pub up: bool,
    /// Largest packet in bytes.
    pub mtu: u32,
    /// Speed in Mbit/s, where it tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speed_mbit: Option<u32>,
    /// IP addresses with prefix length.
    #[serde(default)]
    pub addresses: Vec<String>,
}

/// A libvirt domain that Virga did not make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ForeignVm {
    /// Domain name.
    pub name: String,
    /// Domain UUID.
    pub uuid: String,
    /// Power state.
    pub state: crate::vm::VmState,
    /// Bytes of memory it may use.
    pub memory_bytes: u64,
}

/// A one-time permission for a host to join; only its hash is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinToken {
    /// Identity.
    pub id: crate::JoinTokenId,
    /// Name that the host will have.
    pub host_name: String,
    /// SHA-256 of the secret, hex.
    pub secret_sha256: String,
    /// Not valid after.
    pub expires_at: Time,
    /// Host that used it, once.
    pub used_by: Option<HostId>,
}
