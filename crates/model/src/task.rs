//! A long operation: a row that pushes one object to its desired state (`design.md` section 3).
//!
//! Truth is in the object, never in the task: losing a task loses a progress bar.

use crate::order::Progress;
use crate::{Error, TaskId, Time, UserId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What a task does. Each kind has a pure `next` in `decide::task` and is listed there with its test cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TaskKind {
    /// Make a VM: place it, make its disks, define it, and start it when asked.
    VmCreate,
    /// Start, or wake from hibernation.
    VmStart,
    /// Stop, gracefully or not.
    VmStop,
    /// Hold the vCPUs.
    VmPause,
    /// Let held vCPUs go on.
    VmResume,
    /// Memory to disk, then off.
    VmHibernate,
    /// Ask the guest to restart.
    VmReboot,
    /// Press the reset button.
    VmReset,
    /// Bring a changed specification to the host.
    VmEdit,
    /// Take a snapshot of a VM.
    SnapshotCreate,
    /// Bring a VM back to a snapshot.
    SnapshotRevert,
    /// Take a snapshot away; its data goes into its neighbours.
    SnapshotDelete,
    /// Make a VM or template as a clone of another one.
    VmClone,
    /// Freeze what a VM has written, so that clones can be made of it.
    VmFreeze,
    /// Merge frozen layers of a VM that no clone and no snapshot needs any more.
    VmConsolidate,
    /// Bring a linked clone back to its restore point.
    VmRefresh,
    /// Make a template of a VM, or a VM of a template.
    VmConvert,
    /// Make copies of a VM's disks for transport, or take them away.
    VmExport,
    /// Remove the VM and its disks.
    VmDelete,
    /// Bring a host to what the rows say, after something got in between.
    VmRepair,
    /// The same action on many VMs: children do it.
    VmBatch,
    /// Remove an image from the library and from the hosts' caches.
    ImageDelete,
    /// Remove a network from the hosts.
    NetworkDelete,
    /// Sign a data store, so that hosts recognise it.
    DataStoreCreate,
    /// Remove a data store's signature, and then the data store.
    DataStoreDelete,
}

impl TaskKind {
    /// Every kind, for tests that must forget none.
    pub const ALL: [TaskKind; 25] = [
        TaskKind::VmCreate,
        TaskKind::VmStart,
        TaskKind::VmStop,
        TaskKind::VmPause,
        TaskKind::VmResume,
        TaskKind::VmHibernate,
        TaskKind::VmReboot,
        TaskKind::VmReset,
        TaskKind::VmEdit,
        TaskKind::SnapshotCreate,
        TaskKind::SnapshotRevert,
        TaskKind::SnapshotDelete,
        TaskKind::VmClone,
        TaskKind::VmFreeze,
        TaskKind::VmConsolidate,
        TaskKind::VmRefresh,
        TaskKind::VmConvert,
        TaskKind::VmExport,
        TaskKind::VmDelete,
        TaskKind::VmRepair,
        TaskKind::VmBatch,
        TaskKind::ImageDelete,
        TaskKind::NetworkDelete,
        TaskKind::DataStoreCreate,
        TaskKind::DataStoreDelete,
    ];
}

impl std::fmt::Display for TaskKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::String(s)) => f.pad(&s),
            _ => f.write_str("?"),
        }
    }
}

/// State of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// Waiting for its turn.
    Queued,
    /// Being worked on, or waiting for a host.
    Running,
    /// Ended well.
    Succeeded,
    /// Ended without what was asked for; `error` says why.
    Failed,
    /// Ended because somebody asked to stop it.
    Cancelled,
}

impl TaskState {
    /// Whether the task has ended.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, TaskState::Succeeded | TaskState::Failed | TaskState::Cancelled)
    }
}

impl std::fmt::Display for TaskState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            TaskState::Queued => "queued",
            TaskState::Running => "running",
            TaskState::Succeeded => "succeeded",
            TaskState::Failed => "failed",
            TaskState::Cancelled => "cancelled",
        })
    }
}

/// Why a task exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Somebody asked.
    User,
    /// The repair loop found a difference.
    Repair,
    /// High availability.
    Ha,
    /// Load balancing.
    Drs,
    /// Power saving.
    Dpm,
    /// A schedule.
    Schedule,
}

/// What a task is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", content = "id", rename_all = "snake_case")]
pub enum ObjectRef {
    /// A VM.
    Vm(crate::VmId),
    /// A host.
    Host(crate::HostId),
    /// An image.
    Image(crate::ImageId),
    /// A network.
    Network(crate::NetworkId),
    /// A data store.
    DataStore(crate::DataStoreId),
    /// A user account.
    User(crate::UserId),
    /// An API token.
    Token(crate::TokenId),
    /// A session.
    Session(crate::SessionId),
    /// A role binding.
    RoleBinding(crate::RoleBindingId),
    /// A join token.
    JoinToken(crate::JoinTokenId),
    /// A task (as the object of an event or audit record, or of a parent task).
    Task(crate::TaskId),
    /// The installation itself.
    System,
    /// A schedule.
    Schedule(crate::ScheduleId),
}

impl ObjectRef {
    /// The word for the kind of object.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            ObjectRef::Vm(_) => "vm",
            ObjectRef::Host(_) => "host",
            ObjectRef::Image(_) => "image",
            ObjectRef::Network(_) => "network",
            ObjectRef::DataStore(_) => "data_store",
            ObjectRef::User(_) => "user",
            ObjectRef::Token(_) => "token",
            ObjectRef::Session(_) => "session",
            ObjectRef::RoleBinding(_) => "role_binding",
            ObjectRef::JoinToken(_) => "join_token",
            ObjectRef::Task(_) => "task",
            ObjectRef::System => "system",
            ObjectRef::Schedule(_) => "schedule",
        }
    }

    /// The object's id; the nil UUID for the installation.
    #[must_use]
    pub fn id(&self) -> Uuid {
        match self {
            ObjectRef::Vm(i) => i.0,
            ObjectRef::Host(i) => i.0,
            ObjectRef::Image(i) => i.0,
            ObjectRef::Network(i) => i.0,
            ObjectRef::DataStore(i) => i.0,
            ObjectRef::User(i) => i.0,
            ObjectRef::Token(i) => i.0,
            ObjectRef::Session(i) => i.0,
            ObjectRef::RoleBinding(i) => i.0,
            ObjectRef::JoinToken(i) => i.0,
            ObjectRef::Task(i) => i.0,
            ObjectRef::System => Uuid::nil(),
            ObjectRef::Schedule(i) => i.0,
        }
    }

    /// The reverse of [`ObjectRef::kind`] and [`ObjectRef::id`].
    #[must_use]
    pub fn from_parts(kind: &str, id: Uuid) -> Option<ObjectRef> {
        Some(match kind {
            "vm" => ObjectRef::Vm(id.into()),
            "host" => ObjectRef::Host(id.into()),
            "image" => ObjectRef::Image(id.into()),
            "network" => ObjectRef::Network(id.into()),
            "data_store" => ObjectRef::DataStore(id.into()),
            "user" => ObjectRef::User(id.into()),
            "token" => ObjectRef::Token(id.into()),
            "session" => ObjectRef::Session(id.into()),
            "role_binding" => ObjectRef::RoleBinding(id.into()),
            "join_token" => ObjectRef::JoinToken(id.into()),
            "task" => ObjectRef::Task(id.into()),
            "system" => ObjectRef::System,
            "schedule" => ObjectRef::Schedule(id.into()),
            _ => return None,
        })
    }
}

/// The small document of a task: what `next` needs beside the rows. Additive only.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskDoc {
    /// Seconds that a graceful stop or reboot may take; 0: without limit.
    #[serde(default)]
    pub timeout_s: u32,
    /// After that time cut the power instead of failing.
    #[serde(default)]
    pub then_force: bool,
    /// Generation that this task brought in; the work is done once a host has settled it (or a later one).
    #[serde(default)]
    pub generation: i64,
    /// Desired state before this task, to which cancel goes back.
    #[serde(default)]
    pub former_desired: Option<crate::vm::Desired>,
    /// The task is on its way back: cancelled, or failed for this reason.
    #[serde(default)]
    pub undo: Option<Undo>,
    /// For a task about a snapshot: which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<crate::SnapshotId>,
    /// For a clone: what has to be frozen first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub awaits: Option<Awaited>,
    /// For a task on a data store: the host that does it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<crate::HostId>,
    /// For the removal of a data store: without asking any host.
    #[serde(default)]
    pub forget: bool,
    /// For a batch: how many VMs were asked for, and those refused at once.
    #[serde(default)]
    pub batch: Option<Batch>,
    /// For an edit that reclaims space of a disk: the generation of the wish.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reclaim: Option<i64>,
    /// Disks are overwritten before they are removed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub erase: bool,
    /// What is to be told at the end beside that it is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<String>,
}

/// Why a task goes back to where it was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Undo {
    /// Somebody asked to stop it.
    Cancelled,
    /// It could not be done.
    Failed(Error),
}

/// What the task of a clone waits for: its source is freezing what it has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Awaited {
    /// The source.
    pub vm: crate::VmId,
    /// The layer that it puts on what it freezes.
    pub layer: crate::LayerId,
}

/// What a batch task knows of its work.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    /// VMs asked for.
    pub total: u64,
    /// VMs that were refused at once, with the reason.
    pub refused: u64,
}

/// A task as the platform knows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Identity.
    pub id: TaskId,
    /// What it does.
    pub kind: TaskKind,
    /// To what.
    pub object: ObjectRef,
    /// Name of the object when the task was made, for people.
    pub object_name: String,
    /// Why.
    pub cause: Cause,
    /// Who asked; none for loops.
    pub requester: Option<UserId>,
    /// State.
    pub state: TaskState,
    /// How far.
    pub progress: Progress,
    /// What is going on, in words.
    pub message: String,
    /// Why it failed.
    pub error: Option<Error>,
    /// Somebody asked to stop it.
    pub cancel: bool,
    /// Parent of a child of a batch.
    pub parent: Option<TaskId>,
    /// What `next` needs beside the rows.
    pub doc: TaskDoc,
    /// Manager that works on it, while `lease_until` is in the future.
    pub lease_owner: Option<String>,
    /// End of the lease.
    pub lease_until: Option<Time>,
    /// Times a call failed in a row.
    pub attempt: u32,
    /// Not to be looked at before.
    pub not_before: Time,
    /// When it was made.
    pub created_at: Time,
    /// When it was first worked on.
    pub started_at: Option<Time>,
    /// When it ended.
    pub ended_at: Option<Time>,
}
