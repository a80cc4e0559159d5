//! Data stores.

use super::Reference;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use virga_model::data_store::{Capabilities, DataStoreKind, DataStoreSpec, DataStoreState, StoreProblem};
use virga_model::{DataStoreId, Time};

/// A place that carries disks of VMs.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct DataStore {
    /// Identity.
    pub id: DataStoreId,
    /// Name, unique among data stores.
    pub name: String,
    /// What people want to remember about it.
    pub description: String,
    /// Its kind, by which the rules go.
    pub kind: DataStoreKind,
    /// What it is made of.
    pub spec: DataStoreSpec,
    /// What it can do.
    pub capabilities: Capabilities,
    /// The host of a local one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Reference>,
    /// How far its making or its end is.
    pub state: DataStoreState,
    /// No new disks are put here.
    pub maintenance: bool,
    /// Bytes that it has, as the hosts that reach it see it; 0: none does.
    pub total_bytes: u64,
    /// Bytes that are free.
    pub free_bytes: u64,
    /// Bytes that its disks may come to need with all of their layers; more than `total_bytes`: it is overcommitted.
    pub promised_bytes: u64,
    /// VMs with disks here; those of others are counted, too.
    pub vms: i64,
    /// What each host that the caller may see finds.
    pub hosts: Vec<DataStoreHost>,
    /// Grows with each change by people; the ETag.
    pub generation: i64,
    /// When it was made.
    pub created_at: Time,
}

/// What one host finds of a data store.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct DataStoreHost {
    /// The host.
    pub host: Reference,
    /// The host reports, and can use it.
    pub reachable: bool,
    /// What is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<StoreProblem>,
    /// That in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// Bytes that it has, as this host sees it.
    pub total_bytes: u64,
    /// Bytes that are free.
    pub free_bytes: u64,
    /// Its file system, as this host names it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub file_system: String,
}

/// Makes a data store.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DataStoreCreate {
    /// Name, unique among data stores; it does not begin with `local`.
    pub name: String,
    /// What people want to remember about it.
    #[serde(default)]
    pub description: String,
    /// What it is made of; `local` ones are made by themselves.
    pub spec: DataStoreSpec,
    /// Host (name or id) that signs it; one that reports when left out.
    #[serde(default)]
    pub host: Option<String>,
}

/// Changes of a data store; what is left out stays.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DataStoreUpdate {
    /// New name; a local one is called after its host.
    #[serde(default)]
    pub name: Option<String>,
    /// New description.
    #[serde(default)]
    pub description: Option<String>,
    /// Keep new disks away.
    #[serde(default)]
    pub maintenance: Option<bool>,
}

/// How to remove a data store.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DataStoreDeleteQuery {
    /// Forget it without asking a host to remove its signature: for storage that is gone for good.
    #[serde(default)]
    pub forget: Option<bool>,
}

/// Path of a data store.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct DataStorePath {
    /// Name or id of the data store.
    pub data_store: String,
}
