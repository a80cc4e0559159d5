//! Templates, and clones of VMs and templates.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use virga_model::clone::{CloneForm, CloneKind};
use virga_model::cloud_init::CloudInit;
use virga_model::vm::{Observed, VmSpec};
use virga_model::{Time, VmId};

use super::{PlanStep, Reference};

/// A template: a VM from which others are made, and which is never started itself (TPL-01).
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Template {
    /// Identity.
    pub id: VmId,
    /// Name, unique among VMs and templates.
    pub name: String,
    /// Free text.
    pub description: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Who made it.
    pub owner: Reference,
    /// Grows with each change; the ETag.
    pub generation: i64,
    /// What it is made of.
    pub spec: VmSpec,
    /// Host that has its disks. Left out for callers who may not see hosts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Reference>,
    /// VMs whose disks stand on those of the template, or are being copied from them; it cannot be deleted meanwhile.
    pub clones: u64,
    /// What the host found.
    pub observed: Observed,
    /// When it was made.
    pub created_at: Time,
    /// When it was last changed.
    pub updated_at: Time,
}

/// Makes a template of a VM (TPL-02, TPL-03, TPL-09).
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TemplateCreate {
    /// The VM (name or id).
    pub vm: String,
    /// Name of the template, unique among VMs and templates; that of the VM when it is converted and this is left out.
    #[serde(default)]
    pub name: Option<String>,
    /// Free text; that of the VM when left out.
    #[serde(default)]
    pub description: Option<String>,
    /// The VM itself becomes the template, and is no VM any more; else the template is a copy, and the VM stays as it is.
    #[serde(default)]
    pub convert: bool,
    /// Data store (name or id; `local`: that of the host) for the disks of a copy; chosen by Virga when left out. A VM that
    /// becomes the template keeps its disks where they are.
    #[serde(default)]
    pub data_store: Option<String>,
}

/// Changes of a template; what is left out stays.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TemplateUpdate {
    /// New name.
    #[serde(default)]
    pub name: Option<String>,
    /// Free text.
    #[serde(default)]
    pub description: Option<String>,
    /// All labels.
    #[serde(default)]
    pub labels: Option<BTreeMap<String, String>>,
}

/// Makes VMs from a template (TPL-05), or clones of a VM. What is left out is as in the source.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CloneCreate {
    /// Name of the new VM. For several: with `{n}` in the place of the number, and one `n` for each digit that it has at
    /// least (`web-{nn}` gives `web-01`, `web-02`, …).
    pub name: String,
    /// How many; 1 when left out.
    #[serde(default)]
    pub count: Option<u32>,
    /// Number of the first; 1 when left out.
    #[serde(default)]
    pub first: Option<u32>,
    /// How; full when left out.
    #[serde(default)]
    pub kind: Option<CloneKind>,
    /// For clones that stand on something: two levels, or three with a restore point of their own. Two when left out; a clone
    /// of a linked clone (normal, fresh) has the form of its source.
    #[serde(default)]
    pub form: Option<CloneForm>,
    /// Snapshot of the VM (name or id) that is cloned; its present state when left out. Not for templates.
    #[serde(default)]
    pub snapshot: Option<String>,
    /// Free text.
    #[serde(default)]
    pub description: Option<String>,
    /// Labels.
    #[serde(default)]
    pub labels: Option<BTreeMap<String, String>>,
    /// vCPUs.
    #[serde(default)]
    pub cpus: Option<u32>,
    /// Memory in bytes.
    #[serde(default)]
    pub memory_bytes: Option<u64>,
    /// First-boot settings: `{n}` in `host_name`, `user_data` and `network_config` is the number of the VM, so that each has a
    /// host name and a static address of its own. Each new VM is another instance for cloud-init.
    #[serde(default)]
    pub cloud_init: Option<CloudInit>,
    /// Start them once they are there.
    #[serde(default)]
    pub start: bool,
    /// Host (name or id) to put them on: the one that has the disks of the source, or for a source on a shared data store any
    /// that sees it.
    #[serde(default)]
    pub host: Option<String>,
    /// Data store (name or id; `local`: that of the host) for the copied disks of full clones; chosen by Virga when left out.
    /// Clones that stand on something lie where that lies.
    #[serde(default)]
    pub data_store: Option<String>,
}

/// What a request for clones started, or (for a dry run) the plan.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Cloned {
    /// The task that does it: that of the one VM, or the parent of several; none for a dry run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<super::Task>,
    /// What is cloned.
    pub source: Reference,
    /// The new VMs; for a dry run their names only, with an id that nothing has.
    pub vms: Vec<Reference>,
    /// What will happen, step by step, in words.
    #[serde(default)]
    pub plan: Vec<PlanStep>,
}

/// Path of a template.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct TemplatePath {
    /// Name or id of the template.
    pub template: String,
}
