//! Deliberate bugs. A simulator that has not caught planted bugs proves nothing (`reliability.md` 5.1).
//!
//! Each is a lie told between the real manager, the real agent and the simulated machine by the parts of the world that
//! stand between them, so that nothing of it can ever be in a program of the product.

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// An old order is taken as if it were the newest: the agent ignores generations.
    AgentIgnoresGeneration,
    /// A hypervisor that does not answer is said to have all guests switched off.
    SilentIsStopped,
    /// What happens once goes without the task's id.
    ActWithoutTaskId,
    /// A removal takes the disks away while the definition is still there.
    VolumesBeforeUndefine,
    /// A report that arrives late is taken as the newest.
    ReportOverwritesNewer,
    /// Memory of VMs that are being made is not counted.
    PlacementIgnoresMemory,
    /// The agent answers before its journal is on stable storage.
    JournalAfterAnswer,
    /// How long a host has been silent is read from the wall clock.
    WallClockForSilence,
    /// A repeated request is done again: its key is not kept with what it did.
    KeyNotKept,
    /// A VM that has no order is destroyed.
    UnknownIsDestroyed,
    /// What a removal leaves behind is not looked at.
    CleanupForgotten,
    /// An order goes to another host, too.
    OrderToWrongHost,
    /// Two guests get one address.
    SameAddress,
    /// A call has no deadline.
    NoDeadline,
    /// A guest that should be asked to shut down loses its power.
    ShutdownIsPowerOff,
    /// Each report is taken as news.
    EverythingIsNews,
    /// An effect is done, and the agent forgets to report it.
    ChangesAreKeptQuiet,
    /// A snapshot is taken, and the running guest goes on writing into what it froze.
    FrozenIsWritten,
    /// The layer that a merge leaves over stays.
    MergedLayerStays,
    /// A merge takes the lower layer away instead of the upper one.
    MergeTakesTheLower,
}

impl Plant {
    /// All of them.
    pub const ALL: [Plant; 20] = [
        Plant::AgentIgnoresGeneration,
        Plant::SilentIsStopped,
        Plant::ActWithoutTaskId,
        Plant::VolumesBeforeUndefine,
        Plant::ReportOverwritesNewer,
        Plant::PlacementIgnoresMemory,
        Plant::JournalAfterAnswer,
        Plant::WallClockForSilence,
        Plant::KeyNotKept,
        Plant::UnknownIsDestroyed,
        Plant::CleanupForgotten,
        Plant::OrderToWrongHost,
        Plant::SameAddress,
        Plant::NoDeadline,
        Plant::ShutdownIsPowerOff,
        Plant::EverythingIsNews,
        Plant::ChangesAreKeptQuiet,
        Plant::FrozenIsWritten,
        Plant::MergedLayerStays,
        Plant::MergeTakesTheLower,
    ];
}
