//! Networks.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use virga_model::network::NetworkSpec;
use virga_model::{NetworkId, Time};

/// A network that VMs connect to.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Network {
    /// Identity.
    pub id: NetworkId,
    /// Name, unique among networks.
    pub name: String,
    /// What it is made of.
    pub spec: NetworkSpec,
    /// Being removed from the hosts.
    pub deleting: bool,
    /// Grows with each change; the ETag.
    pub generation: i64,
    /// When it was made.
    pub created_at: Time,
}

/// Makes a network.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NetworkCreate {
    /// Name, unique among networks.
    pub name: String,
    /// What it is made of.
    pub spec: NetworkSpec,
}

/// Path of a network.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct NetworkPath {
    /// Name or id of the network.
    pub network: String,
}
