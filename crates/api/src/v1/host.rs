//! Hosts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use virga_model::host::{HostFacts, HostState};
use virga_model::stats::Sample;
use virga_model::{HostId, Time};

/// A host.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Host {
    /// Identity; also in its certificate.
    pub id: HostId,
    /// Name, unique among hosts.
    pub name: String,
    /// Whether it reports.
    pub state: HostState,
    /// Kept free of new VMs.
    pub maintenance: bool,
    /// `host:port` of its agent.
    pub address: String,
    /// Grows with each change by people; the ETag.
    pub generation: i64,
    /// Inventory.
    pub facts: HostFacts,
    /// VMs on it.
    pub vms: i64,
    /// Bytes of memory that its running VMs may use.
    pub memory_allocated_bytes: u64,
    /// The newest sample of its rates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stats: Option<Sample>,
    /// When it last reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_report_at: Option<Time>,
    /// When it joined.
    pub created_at: Time,
}

/// Changes of a host.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HostUpdate {
    /// New name.
    #[serde(default)]
    pub name: Option<String>,
    /// Keep it free of new VMs (HOST-04); its VMs stay where they are.
    #[serde(default)]
    pub maintenance: Option<bool>,
}

/// Asks for a join token.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JoinTokenCreate {
    /// Name that the host will have.
    pub host_name: String,
    /// Seconds for which the token is good, at most 86400; 3600 when left out.
    #[serde(default)]
    pub valid_s: Option<u32>,
    /// `host:port` under which the new host reaches this manager; the manager's own idea when left out.
    #[serde(default)]
    pub manager: Option<String>,
}

/// A one-time permission to join.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct JoinToken {
    /// Content of the join file for `virga-agent run --join-file`. Shown once; holds a secret.
    pub join_file: String,
    /// Not valid after.
    pub expires_at: Time,
}

/// Path of a host.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct HostPath {
    /// Name or id of the host.
    pub host: String,
}
