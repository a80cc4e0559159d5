//! Refused placements as values: for each host the reasons, and the smallest change that would have worked.

use crate::HostId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why one host cannot take a VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HostRefusal {
    /// The host.
    pub host: HostId,
    /// Its name, for people.
    pub host_name: String,
    /// Every reason that applies, not only the first.
    pub reasons: Vec<Reason>,
}

/// One reason against a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Reason {
    /// The host does not report (`state` says since when it is known as what).
    NotUp {
        /// The host's state.
        state: String,
    },
    /// An administrator keeps new VMs away (HOST-04).
    Maintenance,
    /// Not enough free memory; memory overcommit is off (MEM-05).
    Memory {
        /// Bytes the VM needs, its overhead included.
        needed_bytes: u64,
        /// Bytes still free for VMs.
        free_bytes: u64,
    },
    /// The VM has more vCPUs than the host (CPU-07).
    Vcpus {
        /// vCPUs of the VM.
        needed: u32,
        /// vCPUs of the host.
        available: u32,
    },
    /// `host-passthrough` needs KVM and the host only emulates (CPU-06).
    NoKvm,
    /// The wished firmware is not installed on the host.
    NoFirmware,
    /// A network of the VM cannot be made on this host.
    Network {
        /// The network's name.
        network: String,
        /// What is missing.
        why: String,
    },
    /// A data store of the VM's disks cannot be used from this host, or has no room.
    DataStore {
        /// The data store's name.
        data_store: String,
        /// What is wrong.
        why: String,
    },
    /// Not enough free space for the VM's disks.
    Storage {
        /// Bytes the disks may need.
        needed_bytes: u64,
        /// Bytes free.
        free_bytes: u64,
    },
    /// The disks that a clone is made from lie on another host.
    DisksElsewhere {
        /// Name of the VM or template.
        source: String,
    },
}

impl Reason {
    /// The reason in words.
    #[must_use]
    pub fn text(&self) -> String {
        use crate::size::human;
        match self {
            Reason::NotUp { state } => format!("the host is {state}"),
            Reason::Maintenance => "the host is in maintenance".into(),
            Reason::Memory { needed_bytes, free_bytes } => {
                format!("not enough memory: needs {}, has {} free", human(*needed_bytes), human(*free_bytes))
            }
            Reason::Vcpus { needed, available } => {
                format!("the VM has {needed} vCPUs, the host has {available}")
            }
            Reason::NoKvm => "CPU mode host-passthrough needs KVM, and this host only emulates".into(),
            Reason::NoFirmware => "UEFI firmware is not installed on the host".into(),
            Reason::Network { network, why } => format!("network {network}: {why}"),
            Reason::DataStore { data_store, why } => format!("data store {data_store}: {why}"),
            Reason::Storage { needed_bytes, free_bytes } => {
                format!("not enough disk space: needs {}, has {} free", human(*needed_bytes), human(*free_bytes))
            }
            Reason::DisksElsewhere { source } => format!("the disks of {source} lie on another host"),
        }
    }
}
