//! A snapshot of a VM: a point to which its disks and settings can go back (SNAP-01 to SNAP-03).
//!
//! The row says what the snapshot is for people and which layer it froze; the layers themselves stand in the VM's
//! specification, because they are what a host has to bring about.

use crate::error::{Check, Error};
use crate::vm::{DiskMode, VmSpec};
use crate::{LayerId, ScheduleId, SnapshotId, Time, VmId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Most snapshots of one VM (G-08).
pub const SNAPSHOTS_MAX: usize = 64;
/// Longest note in characters.
pub const NOTE_CHARS_MAX: usize = 1000;

/// What a snapshot holds of a running guest (SNAP-06).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotKind {
    /// What is on the disks at that moment, as after a power cut.
    #[default]
    Ordinary,
    /// The guest agent first writes what is cached and holds the file systems for the moment.
    Consistent,
    /// Disks and memory in one moment: going back, the guest runs on where it was.
    Memory,
}

impl std::fmt::Display for SnapshotKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            SnapshotKind::Ordinary => "ordinary",
            SnapshotKind::Consistent => "consistent",
            SnapshotKind::Memory => "memory",
        })
    }
}

/// State of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotState {
    /// Being taken.
    Creating,
    /// Can be gone back to.
    Ready,
    /// Being taken away; its data goes into its neighbours. It cannot be gone back to any more.
    Deleting,
}

impl std::fmt::Display for SnapshotState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            SnapshotState::Creating => "creating",
            SnapshotState::Ready => "ready",
            SnapshotState::Deleting => "deleting",
        })
    }
}

/// A snapshot as the platform knows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Identity.
    pub id: SnapshotId,
    /// The VM.
    pub vm: VmId,
    /// Label for people, unique within the VM.
    pub name: String,
    /// Free text.
    pub note: String,
    /// What it holds.
    pub kind: SnapshotKind,
    /// State.
    pub state: SnapshotState,
    /// The snapshot before it; none: the first.
    pub parent: Option<SnapshotId>,
    /// The layer that it froze; none: the base.
    pub layer: Option<LayerId>,
    /// The VM's settings at that time (SNAP-02). Its layers are not used: those of today are.
    pub spec: VmSpec,
    /// Grows with each change; the ETag.
    pub generation: i64,
    /// When it was asked for.
    pub created_at: Time,
    /// Bytes of the file in which the guest's memory is stored; none: no memory.
    pub memory_bytes: Option<u64>,
    /// Milliseconds for which the guest was held while it was taken, where the host could tell.
    pub paused_ms: Option<u64>,
    /// The schedule that took it; only what a schedule took is removed by it.
    pub schedule: Option<ScheduleId>,
    /// The point in time of that schedule.
    pub scheduled_at: Option<Time>,
}

/// The stored memory of a snapshot, as its host found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StoredMemory {
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// Bytes of the file.
    pub bytes: u64,
    /// Milliseconds for which the guest was held while it was stored, where the host could tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_ms: Option<u64>,
}

/// Why the memory of a VM of this specification cannot be stored with a snapshot (SNAP-17, ADR 17); none: it can.
#[must_use]
pub fn memory_barred(spec: &VmSpec) -> Option<String> {
    // What is in the memory of a file system must fit what is on its disk; a disk that goes its own way would be spoilt.
    let d = spec.disks.iter().find(|d| d.mode != DiskMode::Dependent)?;
    Some(format!("disk {} is {}, and stored memory would not fit what is on it later", d.id, d.mode))
}

/// Checks what people write about a snapshot.
///
/// # Errors
/// [`crate::ErrorCode::Invalid`] that names the field.
pub fn check_note(note: &str) -> Result<(), Error> {
    let mut c = Check::new();
    let ok = note.chars().count() <= NOTE_CHARS_MAX && !note.chars().any(|x| x.is_control() && x != '\n' && x != '\t');
    c.that(ok, "note", format!("must be at most {NOTE_CHARS_MAX} characters without control characters"));
    c.done()
}
