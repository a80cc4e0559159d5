//! Snapshots of VMs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use virga_model::snapshot::{SnapshotKind, SnapshotState};
use virga_model::vm::VmSpec;
use virga_model::{ScheduleId, SnapshotId, Time};

use super::Reference;

/// A snapshot of a VM: its disks and settings at a moment (SNAP-01, SNAP-02).
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Snapshot {
    /// Identity.
    pub id: SnapshotId,
    /// The VM.
    pub vm: Reference,
    /// Name, unique among the VM's snapshots.
    pub name: String,
    /// Free text.
    pub note: String,
    /// What it holds.
    pub kind: SnapshotKind,
    /// State.
    pub state: SnapshotState,
    /// The snapshot before it; left out for the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<SnapshotId>,
    /// The VM goes on from this one.
    pub current: bool,
    /// The VM's settings at that time.
    pub spec: VmSpec,
    /// Grows with each change; the ETag.
    pub generation: i64,
    /// When it was asked for.
    pub created_at: Time,
    /// Bytes of the guest's stored memory; left out when it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Milliseconds for which the guest was held while its memory was stored, where the host could tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_ms: Option<u64>,
    /// The schedule that took it; left out when somebody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<ScheduleId>,
}

/// Takes a snapshot.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SnapshotCreate {
    /// Name, unique among the VM's snapshots.
    pub name: String,
    /// Free text.
    #[serde(default)]
    pub note: String,
    /// Ordinary when left out.
    #[serde(default)]
    pub kind: Option<SnapshotKind>,
}

/// Changes of a snapshot; what is left out stays.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SnapshotUpdate {
    /// New name.
    #[serde(default)]
    pub name: Option<String>,
    /// Free text.
    #[serde(default)]
    pub note: Option<String>,
}

/// Brings a VM back to a snapshot.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SnapshotRevert {
    /// Start it afterwards; it stays off when left out. With stored memory it runs on in any case.
    #[serde(default)]
    pub start: bool,
    /// For a snapshot with stored memory: false leaves the memory out, so that only disks and settings go back.
    #[serde(default)]
    pub memory: Option<bool>,
}

/// Path of a snapshot.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct VmSnapshotPath {
    /// Name or id of the VM.
    pub vm: String,
    /// Name or id of the snapshot.
    pub snapshot: String,
}
