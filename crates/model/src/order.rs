//! The documents of the node wire: what a manager orders from an agent, and what an agent reports.
//!
//! They are additive only: a field is never removed or given another meaning, so that agents one version older
//! go on working. Every order is an idempotent "ensure" with the object's generation; what happens once (reboot,
//! reset) carries its task id.

use crate::data_store::{DataStoreSpec, StoreFact};
use crate::host::{ForeignVm, HostFacts};
use crate::image::ImageFormat;
use crate::network::NetworkSpec;
use crate::stats::{Sample, VmSample};
use crate::vm::{Desired, Observed, StopMode, VmSpec};
use crate::{DataStoreId, Error, ImageId, NetworkId, TaskId, Time, VmId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Results of acts that an agent remembers for each VM.
pub const ACTS_REMEMBERED: usize = 8;

/// "See to it that this VM is so": all that an agent needs to know of a VM.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VmOrder {
    /// The VM.
    pub id: VmId,
    /// Its name.
    pub name: String,
    /// Orders the orders: an agent refuses an older one.
    pub generation: i64,
    /// What it is made of.
    pub spec: VmSpec,
    /// The power state wanted.
    pub desired: Desired,
    /// How to come down.
    #[serde(default)]
    pub stop_mode: StopMode,
    /// The images that `spec` names, with what is needed to fetch and check them.
    #[serde(default)]
    pub images: Vec<ImageRef>,
    /// The networks that `spec` names.
    #[serde(default)]
    pub networks: Vec<NetworkRef>,
    /// Disks of the former specification, whose files must stay until the edit is known to have succeeded, and those that
    /// snapshots need.
    #[serde(default)]
    pub keep_disks: Vec<crate::DiskId>,
    /// Layers of the former specification, whose files must stay as long.
    #[serde(default)]
    pub keep_layers: Vec<crate::LayerId>,
    /// The data stores that disks of this order lie on, those of `keep_disks` too, other than the host's local one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stores: Vec<StoreRef>,
}

impl VmOrder {
    /// The data store with this id, if the order describes it.
    #[must_use]
    pub fn store(&self, id: DataStoreId) -> Option<&StoreRef> {
        self.stores.iter().find(|s| s.id == id)
    }
}

/// A data store as an agent needs to know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreRef {
    /// The data store.
    pub id: DataStoreId,
    /// Its name, for texts.
    pub name: String,
    /// Where it is.
    pub spec: DataStoreSpec,
}

/// An image as an agent needs to know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRef {
    /// The image.
    pub id: ImageId,
    /// Its format; always given to QEMU explicitly.
    pub format: ImageFormat,
    /// Bytes of the file.
    pub size_bytes: u64,
    /// Bytes that a guest sees.
    pub virtual_bytes: u64,
    /// SHA-256 of the file, hex.
    pub sha256: String,
}

/// A network as an agent needs to know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkRef {
    /// The network.
    pub id: NetworkId,
    /// Its name.
    pub name: String,
    /// What it is made of.
    pub spec: NetworkSpec,
}

/// Something that happens once to a running guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// Ask the guest to restart: by its agent, else by ACPI.
    Reboot,
    /// Press the reset button.
    Reset,
}

/// What became of an act.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ActResult {
    /// The task that asked.
    pub task: TaskId,
    /// How it ended; none: it was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Error>,
}

/// One call of a manager to an agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "snake_case")]
pub enum NodeCall {
    /// See to it that a VM is so. Answered at once with what is true now; the rest comes by reports.
    EnsureVm {
        /// The order.
        order: Box<VmOrder>,
    },
    /// Do something once.
    Act {
        /// The VM.
        vm: VmId,
        /// Generation of the VM the act was decided from.
        generation: i64,
        /// What.
        act: Act,
    },
    /// See to it that an image is not in the host's cache.
    DropImage {
        /// The image.
        image: ImageId,
    },
    /// See to it that a network is not on the host.
    DropNetwork {
        /// The network.
        network: NetworkRef,
    },
    /// See to it that a data store is there and carries its signature.
    EnsureStore {
        /// The data store.
        store: StoreRef,
    },
    /// See to it that a data store's signature and cached images are gone. Refused while disks lie on it.
    DropStore {
        /// The data store.
        store: StoreRef,
    },
}

/// What goes with every call (`design.md` section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallHead {
    /// The task on whose behalf.
    pub task: TaskId,
    /// The host's epoch; agents refuse an older one.
    pub epoch: i64,
    /// Milliseconds that the caller will wait.
    pub deadline_ms: u64,
}

/// An agent's answer to a call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum NodeAnswer {
    /// Taken (or already so): this is true now.
    Vm {
        /// The VM's report.
        report: Box<VmReport>,
    },
    /// Done.
    Done,
    /// Not done, and nothing changed.
    Refused {
        /// Why.
        error: Error,
    },
}

/// What an agent says of one VM.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VmReport {
    /// The VM.
    pub id: VmId,
    /// What is true.
    pub observed: Observed,
    /// How far the work on the order is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
}

/// How far a piece of work is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Progress {
    /// What is being done, in words.
    pub step: String,
    /// How much is done.
    pub done: u64,
    /// How much there is; 0: not known.
    pub total: u64,
    /// Of what: `bytes`, `steps`, `vms`.
    pub unit: String,
}

/// A heartbeat with everything that changed since the last one the manager acknowledged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Number of this report since the agent's start; an older one that arrives late is ignored.
    pub sequence: u64,
    /// When the agent started, its identity for `sequence`.
    pub agent_started_at: Time,
    /// Above the revisions of all that was said before, so that a full report that was long under way is told from a newer
    /// one; 0: an agent that does not count its reports.
    #[serde(default)]
    pub revision: u64,
    /// The agent's clock, for display of the difference.
    pub now: Time,
    /// Whether `vms` holds every VM the agent knows; then a VM that is not in it is not on this host.
    pub full: bool,
    /// Whether the agent could ask libvirt; if not, states are unknown, and nothing may be concluded.
    pub hypervisor_up: bool,
    /// VMs that changed.
    pub vms: Vec<VmReport>,
    /// Inventory, when it changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts: Option<Box<HostFacts>>,
    /// Domains that are not Virga's, when they changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub foreign_vms: Option<Vec<ForeignVm>>,
    /// The data stores that it was told to watch, when what it found has changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stores: Option<Vec<StoreFact>>,
    /// [`stores_digest`] of the data stores that it was told to watch.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stores_digest: String,
    /// The host's rates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_sample: Option<Sample>,
    /// The VMs' rates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vm_samples: Vec<VmSample>,
}

/// A manager's answer to a report.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReportAck {
    /// The manager lost track: send a full report next.
    pub resync: bool,
    /// A revision that the rows hold and that the report was behind, so that part of it was not heard. The agent has lost
    /// its count (its journal is gone): it goes on above this, and tells everything again. 0: it was not behind.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub behind: u64,
    /// `host:port` of the node listeners of all managers, those to be tried first before the others. Empty: not told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub managers: Vec<String>,
    /// The data stores that the host shall watch, all of them, when its digest is another. None: as it was told before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stores: Option<Vec<StoreRef>>,
}

/// Tells one list of data stores from another; `0` for the empty one. Both sides make it in the same way (FNV-1a over the
/// documents), so that the list itself goes over the wire only when it has changed.
#[must_use]
pub fn stores_digest(stores: &[StoreRef]) -> String {
    if stores.is_empty() {
        return "0".into();
    }
    let mut sorted: Vec<&StoreRef> = stores.iter().collect();
    sorted.sort_by_key(|s| s.id);
    let text = serde_json::to_string(&sorted).unwrap_or_default();
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    format!("{hash:016x}")
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde wants it so
fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// What a manager and a host exchange when the host joins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JoinRequest {
    /// The secret of the join token.
    pub secret: String,
    /// Certificate signing request, PEM.
    pub csr_pem: String,
    /// `host:port` where the agent will listen.
    pub address: String,
    /// Inventory.
    pub facts: HostFacts,
}

/// What a joined host gets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JoinAnswer {
    /// Its identity.
    pub host: crate::HostId,
    /// Its certificate, PEM.
    pub certificate_pem: String,
    /// The certificate authority, PEM.
    pub ca_pem: String,
    /// As [`ReportAck::managers`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub managers: Vec<String>,
}

/// The content of the file that an administrator carries to a new host (`virga host join-token`).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinFile {
    /// `host:port` of a manager's node listener.
    pub manager: String,
    /// The one-time secret.
    pub secret: String,
    /// The certificate authority, PEM: the agent trusts nothing else.
    pub ca_pem: String,
}

/// DNS name under which an agent's certificate is valid: identity is the UUID, never a host name.
#[must_use]
pub fn host_tls_name(host: crate::HostId) -> String {
    format!("{host}.host.virga.internal")
}

/// DNS name under which the node listener's certificate of every manager is valid.
pub const MANAGER_TLS_NAME: &str = "manager.virga.internal";
