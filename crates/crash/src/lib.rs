//! The registry of crash points: every commit and every side effect of manager and agent is a [`Step`], and whoever makes
//! it passes through [`step`]. Tests enumerate the steps that a task reaches and then kill, fail, delay or freeze the
//! program before and after each of them (reliability.md M1 to M3, G2, 5.2).
//!
//! The hook belongs to the running asynchronous task, not to the process: one test process holds several managers and
//! agents, and each life of each has a hook of its own. [`spawn`] hands it on. In production there is no hook, and a step
//! costs one look at a thread-local.
//!
//! This crate must never decide anything, never change what an effect does, and never be a way to switch faults on in a
//! running installation: a hook can only be set by code that starts the program's future itself.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use virga_model::Error;

/// Which program makes a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// `virga-manager`.
    Manager,
    /// `virga-agent`.
    Agent,
}

/// Before or after the effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Moment {
    /// Nothing has happened yet.
    Before,
    /// The effect is there; whoever asked for it does not know yet.
    After,
}

macro_rules! steps {
    ($($(#[doc = $doc:literal])+ $variant:ident $part:ident $name:literal;)+) => {
        /// A commit or side effect. The list is the registry: what is not here cannot be passed to [`step`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Step {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Step {
            /// Every step. Made from the same list as the type, so that none is forgotten.
            pub const ALL: &'static [Step] = &[$(Step::$variant),+];

            /// Its name in logs and figures.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Step::$variant => $name,)+
                }
            }

            /// Which program makes it.
            #[must_use]
            pub fn part(self) -> Part {
                match self {
                    $(Step::$variant => Part::$part,)+
                }
            }
        }
    };
}

steps! {
    /// Tasks are leased.
    TaskClaim Manager "task.claim";
    /// A queued task becomes a running one; or its lease is drawn out.
    TaskHold Manager "task.hold";
    /// Rows change, in one transaction with the task's own.
    TaskWrite Manager "task.write";
    /// The task is given back until later.
    TaskWait Manager "task.wait";
    /// The task ends.
    TaskEnd Manager "task.end";
    /// An agent is called.
    TaskCall Manager "task.call";
    /// What an agent answered about a VM is written down.
    AnswerTake Manager "answer.take";
    /// That a host has an image or network no more is written down.
    HolderForget Manager "holder.forget";
    /// The content of a removed image is deleted from the library.
    ImageContentRemove Manager "image.content.remove";
    /// A request of the API is committed.
    RequestCommit Manager "request.commit";
    /// The newest epoch is journalled.
    JournalEpoch Agent "journal.epoch";
    /// An order is journalled.
    JournalOrder Agent "journal.order";
    /// What was defined is journalled.
    JournalDefined Agent "journal.defined";
    /// What was changed in the running guest is journalled.
    JournalChanged Agent "journal.changed";
    /// A start is journalled.
    JournalStarted Agent "journal.started";
    /// That a run has ended or begun by itself is journalled.
    JournalRun Agent "journal.run";
    /// That an act is about to happen is journalled.
    JournalActBegun Agent "journal.act.begun";
    /// How an act ended is journalled.
    JournalActEnded Agent "journal.act.ended";
    /// That nothing is left of a VM is journalled.
    JournalGone Agent "journal.gone";
    /// That an order is settled is journalled.
    JournalSettled Agent "journal.settled";
    /// Which data stores to watch is journalled.
    JournalStores Agent "journal.stores";
    /// A data store is signed.
    StoreEnsure Agent "store.ensure";
    /// A data store's signature is removed.
    StoreRemove Agent "store.remove";
    /// A piece of an image is written.
    ImageWrite Agent "image.write";
    /// A complete image is taken into the cache.
    ImageCommit Agent "image.commit";
    /// An image is removed from the cache.
    ImageRemove Agent "image.remove";
    /// A disk is made.
    DiskEnsure Agent "disk.ensure";
    /// A disk is made as a copy of another one.
    DiskCopy Agent "disk.copy";
    /// An empty layer is put on a disk.
    LayerEnsure Agent "layer.ensure";
    /// A layer is brought into the one below.
    LayerMerge Agent "layer.merge";
    /// A disk grows.
    DiskGrow Agent "disk.grow";
    /// Space of a disk goes back to the store.
    DiskReclaim Agent "disk.reclaim";
    /// A file of a disk is overwritten and removed.
    DiskErase Agent "disk.erase";
    /// A detached disk is removed.
    DiskRemove Agent "disk.remove";
    /// A disk of an export is made.
    ExportMake Agent "export.make";
    /// An export is removed.
    ExportRemove Agent "export.remove";
    /// That an export is begun, complete or gone is journalled.
    JournalExport Agent "journal.export";
    /// A VM's folder is removed.
    FilesRemove Agent "files.remove";
    /// A definition is written.
    Define Agent "vm.define";
    /// A definition is removed.
    Undefine Agent "vm.undefine";
    /// A network is made.
    NetworkEnsure Agent "network.ensure";
    /// A network is removed.
    NetworkRemove Agent "network.remove";
    /// A guest is started.
    Start Agent "vm.start";
    /// A guest is asked to shut down.
    Shutdown Agent "vm.shutdown";
    /// A guest is asked to restart.
    Reboot Agent "vm.reboot";
    /// The reset button is pressed.
    Reset Agent "vm.reset";
    /// The power is cut.
    ForceOff Agent "vm.force_off";
    /// The vCPUs are held.
    Pause Agent "vm.pause";
    /// The vCPUs go on.
    Resume Agent "vm.resume";
    /// The memory is saved.
    Hibernate Agent "vm.hibernate";
    /// Saved memory is thrown away.
    DiscardSaved Agent "vm.discard_saved";
    /// A change is brought to the running guest.
    ChangeLive Agent "vm.change_live";
    /// The guest's memory is stored, and its disks are frozen in the same moment.
    MemoryStore Agent "memory.store";
    /// A guest begins with stored memory.
    MemoryRestore Agent "memory.restore";
    /// Stored memory is removed.
    MemoryRemove Agent "memory.remove";
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// What a hook says: go on, or let the step fail. One that never answers has killed or frozen the program.
pub type Verdict = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// Somebody who is told of every crash point that is reached.
pub trait Hook: Send + Sync + 'static {
    /// The running program stands at this point. An error before the effect keeps it from happening; after it, the
    /// effect is there and its result is lost.
    fn reached(&self, step: Step, moment: Moment) -> Verdict;
}

tokio::task_local! {
    static HOOK: Arc<dyn Hook>;
}

/// Runs `program` with a hook; what it starts with [`spawn`] has the same.
pub async fn with<F: Future>(hook: Arc<dyn Hook>, program: F) -> F::Output {
    HOOK.scope(hook, program).await
}

/// As `tokio::spawn`, handing the hook on.
pub fn spawn<F>(future: F) -> tokio::task::JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    match HOOK.try_with(Arc::clone) {
        Ok(hook) => tokio::spawn(HOOK.scope(hook, future)),
        Err(_) => tokio::spawn(future),
    }
}

/// `future` with the hook of whoever calls this, for what is started otherwise than by [`spawn`].
pub fn carry<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let hook = HOOK.try_with(Arc::clone).ok();
    async move {
        match hook {
            Some(hook) => HOOK.scope(hook, future).await,
            None => future.await,
        }
    }
}

/// Makes an effect between its two crash points.
///
/// # Errors
/// What the effect says; in tests, what the hook says.
pub async fn step<T>(step: Step, effect: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let Ok(hook) = HOOK.try_with(Arc::clone) else { return effect.await };
    hook.reached(step, Moment::Before).await?;
    let done = effect.await?;
    hook.reached(step, Moment::After).await?;
    Ok(done)
}
