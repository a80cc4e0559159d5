//! What a task does next: one pure function of the task, the facts and the time.
//!
//! `next` looks at what is true, never at what it did last. So a crash needs no recovery: whoever claims the task asks
//! again. Undo is a new desired state, brought about by the same code; cancel is a flag that is read here, and each kind
//! names its point of no return below.

mod data_store;
mod library;
mod vm;
#[cfg(test)]
mod world;

use virga_model::data_store::{DataStore, DataStoreState};
use virga_model::host::{Host, HostState};
use virga_model::image::Image;
use virga_model::network::Network;
use virga_model::order::{Act, Progress};
use virga_model::task::{ObjectRef, Task, TaskKind, TaskState, Undo};
use virga_model::vm::{Desired, Vm};
use virga_model::{Error, HostId, Time};

/// Milliseconds between two looks at a task that waits for a report; a report wakes it sooner.
pub const POLL_MS: i64 = 5_000;
/// Milliseconds for which a task waits for a host that does not report, before it gives up.
pub const SILENT_HOST_PATIENCE_MS: i64 = 10 * 60 * 1000;

/// What is true, as far as a task needs to know: the rows of its object and of what that touches.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The VM, for tasks on VMs; none: its row is gone.
    pub vm: Option<Vm>,
    /// The VM's host, or the one that a task on a data store names.
    pub host: Option<HostFact>,
    /// How far the host is with the VM.
    pub progress: Option<Progress>,
    /// The image, for tasks on images.
    pub image: Option<Image>,
    /// The network, for tasks on networks.
    pub network: Option<Network>,
    /// The data store, for tasks on data stores.
    pub data_store: Option<DataStore>,
    /// Hosts that have the image or network, or reach the data store.
    pub holders: Vec<HostFact>,
    /// Children of a batch.
    pub children: Vec<Child>,
    /// For a clone that waits for its source: how far that is.
    pub source: Option<SourceFact>,
}

/// What the source of a clone has frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceFact {
    /// It is at it.
    Freezing,
    /// The disks are frozen.
    Frozen,
    /// It was not done, or taken back.
    Lost,
}

/// A host, as far as a task needs to know.
#[derive(Clone, Debug, PartialEq)]
pub struct HostFact {
    /// The host.
    pub id: HostId,
    /// Its name.
    pub name: String,
    /// Whether it reports.
    pub state: HostState,
}

impl HostFact {
    /// From a row and the state that the manager sees.
    #[must_use]
    pub fn new(host: &Host, state: HostState) -> HostFact {
        HostFact { id: host.id, name: host.name.clone(), state }
    }
}

/// A child of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Child {
    /// Its state.
    pub state: TaskState,
    /// Name of its object.
    pub object_name: String,
    /// Why it failed.
    pub error: Option<Error>,
}

/// The next step of a task.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Call an agent.
    Call(Call),
    /// Change rows, in one transaction with the task's own.
    Write(Write),
    /// Look again later, or when a report about the object comes.
    Wait {
        /// Milliseconds.
        ms: i64,
        /// What is waited for, in words.
        why: String,
        /// How far the work is.
        progress: Option<Progress>,
    },
    /// It is so.
    Done(String),
    /// It cannot be done; everything is as `Undo` left it.
    Failed(Error),
    /// It was stopped; everything is as before.
    Cancelled(String),
}

/// A call to an agent; the runner adds the documents.
#[derive(Clone, Debug, PartialEq)]
pub enum Call {
    /// See to it that the VM is as its row says.
    EnsureVm,
    /// Do something once.
    Act(Act),
    /// Remove the image from this host's cache.
    DropImage(HostId),
    /// Remove the network from this host.
    DropNetwork(HostId),
    /// Let this host sign the data store.
    EnsureStore(HostId),
    /// Let this host remove the data store's signature.
    DropStore(HostId),
}

/// A change of rows.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// The VM goes back: another desired state or the former specification, and a new generation.
    Undo {
        /// Why.
        why: Undo,
        /// The desired state from now on.
        desired: Desired,
        /// Put the former specification back.
        former_spec: bool,
    },
    /// The guest did not come down in time: cut the power (new generation).
    ForceStop,
    /// The edit is done: forget the former specification. Where disks were detached or layers given up the generation grows, so that the
    /// host is told once more and only now removes their files: until here a cancel could still want them back.
    FinishEdit,
    /// The copies are made: forget whose content the disks began with.
    FinishCopy,
    /// The VM is gone from its host: remove its row.
    RemoveVm,
    /// The image is gone from the hosts: remove its row and content.
    RemoveImage,
    /// The network is gone from the hosts: remove its row.
    RemoveNetwork,
    /// The data store is in this state from now on; none: remove its row.
    DataStore {
        /// The state.
        state: Option<DataStoreState>,
        /// The task is on its way back, for this reason.
        undo: Option<Undo>,
    },
}

/// What the task does next.
#[must_use]
pub fn next(task: &Task, facts: &Facts, now: Time) -> Step {
    match task.kind {
        TaskKind::VmBatch => library::batch(task, facts),
        TaskKind::ImageDelete => library::image_delete(task, facts, now),
        TaskKind::NetworkDelete => library::network_delete(task, facts, now),
        TaskKind::DataStoreCreate => data_store::create(task, facts, now),
        TaskKind::DataStoreDelete => data_store::delete(task, facts, now),
        TaskKind::VmReboot => vm::act(task, facts, now, Act::Reboot),
        TaskKind::VmReset => vm::act(task, facts, now, Act::Reset),
        TaskKind::VmClone => vm::clone(task, facts, now),
        TaskKind::VmCreate
        | TaskKind::VmStart
        | TaskKind::VmStop
        | TaskKind::VmPause
        | TaskKind::VmResume
        | TaskKind::VmHibernate
        | TaskKind::VmEdit
        | TaskKind::SnapshotCreate
        | TaskKind::SnapshotRevert
        | TaskKind::SnapshotDelete
        | TaskKind::VmFreeze
        | TaskKind::VmConsolidate
        | TaskKind::VmRefresh
        | TaskKind::VmConvert
        | TaskKind::VmExport
        | TaskKind::VmDelete
        | TaskKind::VmRepair => vm::converge(task, facts, now),
    }
}

/// What the task does after its host refused a call for good: nothing has changed there. A task that has written a new
/// desired state takes it back, as if the host had tried and failed; else the state would stand in the row, and come true
/// later although the task has failed.
#[must_use]
pub fn refused(task: &Task, facts: &Facts, call: &Call, e: &Error, now: Time) -> Step {
    match (call, &facts.vm) {
        (Call::EnsureVm, Some(vm)) => vm::host_failed(task, vm, e, now),
        (Call::EnsureStore(_) | Call::DropStore(_), _) => data_store::refused(task, call, e),
        _ => Step::Failed(e.clone()),
    }
}

/// What can be said of a task of `kind` once nothing can stop it any more; for people.
#[must_use]
pub fn point_of_no_return(kind: TaskKind) -> &'static str {
    match kind {
        TaskKind::VmCreate => "when the VM is there (and runs, if that was asked)",
        TaskKind::VmStart | TaskKind::VmResume => "when the guest runs",
        TaskKind::VmStop => "when the guest is off; a forced stop: when the host was told",
        TaskKind::VmPause => "when the guest is held",
        TaskKind::VmHibernate => "when the memory is saved",
        TaskKind::VmReboot | TaskKind::VmReset => "when the guest was told",
        TaskKind::VmEdit => "when the host has taken the change",
        TaskKind::SnapshotCreate => "when the disks are frozen",
        TaskKind::SnapshotRevert => "when the VM is at the snapshot",
        TaskKind::SnapshotDelete => "when the host was told: what is merged cannot be parted again",
        TaskKind::VmClone => "when the clone is there (and runs, if that was asked)",
        TaskKind::VmFreeze => "when the disks are frozen",
        TaskKind::VmConsolidate => "when the host was told: what is merged cannot be parted again",
        TaskKind::VmRefresh => "when the VM is at its restore point",
        TaskKind::VmConvert => "when the host has taken the change",
        TaskKind::VmExport => "when the export is complete, or removed",
        TaskKind::VmDelete => "when the host was told",
        TaskKind::VmRepair => "never: it can be stopped at any time",
        TaskKind::VmBatch => "children end each by their own rule",
        TaskKind::DataStoreCreate => "when the data store is signed",
        TaskKind::DataStoreDelete => "when a host was told to remove the signature",
        TaskKind::ImageDelete | TaskKind::NetworkDelete => "when it began",
    }
}

/// The object of a task, when it is a VM.
#[must_use]
pub fn vm_of(task: &Task) -> Option<virga_model::VmId> {
    match task.object {
        ObjectRef::Vm(id) => Some(id),
        _ => None,
    }
}
