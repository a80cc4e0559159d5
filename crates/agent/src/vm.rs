//! Brings one VM to what its order says. Every step is idempotent and looks at what is there first, so the whole can be
//! broken off anywhere and begun again: after a crash of the agent, or when a newer order comes.

use virga_crash::{Step, step};
use virga_model::change::{When, diff};
use virga_model::data_store::StoreProblem;
use virga_model::order::{Progress, VmOrder};
use virga_model::vm::{Desired, StopMode, VmSpec, VmState};
use virga_model::{Error, ErrorCode};

use crate::host::{Domain, Host, NO_VM, Result};
use crate::node::{Node, Slot};
use crate::record::is_active;

/// Milliseconds between two looks while a guest comes down.
const SHUTDOWN_LOOK_MS: u64 = 500;
/// Milliseconds after which a guest is asked to shut down again.
const SHUTDOWN_ASK_AGAIN_MS: u64 = 30_000;
/// Milliseconds before a step that failed for want of libvirt is tried again.
const RETRY_MS: u64 = 2_000;

/// How an attempt ended.
enum End {
    /// It is as ordered.
    Settled,
    /// A newer order is there.
    Superseded,
}

/// Works on a VM until its newest order is settled. Only one of these runs for a VM at a time.
pub(crate) async fn work(node: &Node, slot: &Slot) {
    loop {
        let generation = slot.record().order.generation;
        let attempt = Attempt { node, host: &*node.host, slot, generation };
        match attempt.run().await {
            Ok(End::Superseded) => {}
            Ok(End::Settled) => {
                attempt.settle(None).await;
            }
            // Nothing is known while libvirt (or the manager, for an image) is away: try until it is back.
            Err(e) if e.code == ErrorCode::Unavailable => {
                tracing::warn!(vm = %slot.id, error = %e, "waiting to try again");
                slot.set_progress(Some(Progress { step: format!("waiting to try again: {}", e.message), ..Default::default() }));
                node.touch();
                node.host.sleep_ms(RETRY_MS).await;
            }
            Err(e) => {
                tracing::warn!(vm = %slot.id, generation, error = %e, "order failed");
                attempt.settle(Some(e)).await;
            }
        }
        let r = slot.record();
        if r.order.generation == generation && r.settled {
            return;
        }
    }
}

pub(crate) struct Attempt<'a> {
    pub(crate) node: &'a Node,
    pub(crate) host: &'a dyn Host,
    pub(crate) slot: &'a Slot,
    pub(crate) generation: i64,
}

/// Breaks off when a newer order is there.
macro_rules! unless_superseded {
    ($self:ident) => {
        if $self.slot.record().order.generation != $self.generation {
            return Ok(End::Superseded);
        }
    };
}

impl Attempt<'_> {
    async fn run(&self) -> Result<End> {
        let order = self.slot.record().pinned_order();
        if order.desired == Desired::Absent {
            return self.remove(&order).await;
        }
        if let Err(e) = self.stores(&order).await {
            // The plug can be pulled whatever has become of the disks.
            if order.desired == Desired::Stopped
                && self.look().await?.is_some()
                && let End::Superseded = self.power(&order).await?
            {
                return Ok(End::Superseded);
            }
            return Err(e);
        }
        self.leave_branch(&order).await?;
        unless_superseded!(self);
        self.memory_can_be_stored(&order).await?;
        self.files(&order).await?;
        unless_superseded!(self);
        let domain = self.look().await?;
        if domain.as_ref().is_some_and(|d| is_active(d.state)) {
            self.change_running(&order).await?;
        } else if domain.is_some() || self.slot.record().defined.is_some() {
            self.grow_offline(&order).await?;
        }
        unless_superseded!(self);
        self.define(domain.as_ref()).await?;
        unless_superseded!(self);
        if let End::Superseded = self.power(&order).await? {
            return Ok(End::Superseded);
        }
        // Last, so that what takes long or fails keeps no guest from running.
        self.merge_layers(&order).await?;
        unless_superseded!(self);
        self.reclaim(&order).await?;
        unless_superseded!(self);
        self.remove_detached(&order).await?;
        self.remove_memories(&order).await?;
        unless_superseded!(self);
        self.export(&order).await?;
        Ok(End::Settled)
    }

    pub(crate) fn step(&self, text: &str) {
        self.slot.set_progress(Some(Progress { step: text.into(), ..Default::default() }));
        self.node.touch();
    }

    /// Tells how far a step is.
    pub(crate) fn tell(&self, progress: Progress) {
        self.slot.set_progress(Some(progress));
        self.node.touch();
    }

    /// What takes long is given up when a newer order is there. What was begun is taken up again, or is of no matter.
    pub(crate) async fn unless_superseded<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            done = work => done,
            () = self.slot.superseded(self.generation) => Err(Error::conflict("A newer order has come.")),
        }
    }

    /// The domain as it is now; its state is noted for reports.
    pub(crate) async fn look(&self) -> Result<Option<Domain>> {
        let look = self.node.look();
        let domain = self.host.domain(self.slot.id).await?;
        self.slot.observe(look, domain.as_ref());
        Ok(domain)
    }

    /// That every data store that the order names is there and is the right one (reliability.md S12): what is not there is
    /// never made anew, and never taken for removed.
    async fn stores(&self, order: &VmOrder) -> Result<()> {
        for store in &order.stores {
            let fact = self.host.store_look(store.id).await;
            let Some(problem) = fact.problem else { continue };
            let message = format!("This host cannot use data store {}: {}.", store.name, fact.why);
            // What lies there instead does not go away by itself; everything else may.
            return Err(if problem == StoreProblem::Wrong {
                Error::host(message).with_hint("Mount the right storage on the host, or choose another data store.")
            } else {
                Error::unavailable(message)
            });
        }
        Ok(())
    }

    /// Images and disks.
    async fn files(&self, order: &VmOrder) -> Result<()> {
        let there = self.host.disks().await?;
        let missing = |id| !there.iter().any(|d| d.id == id && (d.vm == order.id || d.vm == NO_VM) && d.layer.is_none());
        let cd_images = order.spec.cdroms.iter().filter_map(|c| Some((None, c.image?)));
        // A disk stands on an image of its own data store, so that every host that sees the one sees the other.
        let disk_images = order.spec.disks.iter().filter(|d| missing(d.id)).filter_map(|d| Some((d.store, d.image?)));
        for (store, id) in disk_images.chain(cd_images) {
            let image = order.images.iter().find(|i| i.id == id).ok_or_else(|| Error::internal("An order names an image that it does not describe."))?;
            self.node.fetches.ensure(self.host, &*self.node.link, (store, image), &|p| self.tell(p)).await?;
        }
        for disk in order.spec.disks.iter().filter(|d| missing(d.id)) {
            let image = order.images.iter().find(|i| Some(i.id) == disk.image);
            self.make_base(order, disk, image).await?;
        }
        self.layers(order, &there).await
    }

    /// What the guest runs with, as far as that can be known; it is journalled before the definition becomes another one.
    async fn running(&self, order: &VmOrder) -> Result<Option<VmSpec>> {
        let record = self.slot.record();
        if record.running_spec.is_some() {
            return Ok(record.running_spec);
        }
        let said = record.running();
        let mut running = said.clone().unwrap_or_else(|| order.spec.clone());
        // Who lost the journal must not take a guest for smaller than it is (V12): the next VM would get memory that is taken.
        let given = self.host.running_memory_bytes(order.id).await?;
        running.memory.bytes = given.unwrap_or(running.memory.bytes).max(running.memory.bytes);
        if said.is_none() && running == order.spec {
            return Ok(None);
        }
        self.slot.update(self.node, Step::JournalRun, |r| r.running_spec = Some(running.clone())).await?;
        Ok(Some(running))
    }

    /// Brings to the running guest what it can take now.
    async fn change_running(&self, order: &VmOrder) -> Result<()> {
        if let Some(snapshot) = self.slot.record().to_resume() {
            // It runs on the layer on which it was to begin with stored memory: an agent of before has seen to that.
            self.slot.update(self.node, Step::JournalRun, |r| r.note_resumed(snapshot)).await?;
        }
        let Some(running) = self.running(order).await? else { return Ok(()) };
        let changes = diff(&running, &order.spec);
        let mut now_running = running.clone();
        for change in changes.iter().filter(|c| c.when(&running) == When::Live) {
            if self.slot.record().order.generation != self.generation {
                // A newer order begins from what the guest has by now.
                return Ok(());
            }
            self.step(&change.text());
            if matches!(change, virga_model::change::Change::AttachNic(_) | virga_model::change::Change::UpdateNic { .. }) {
                self.networks(order).await?;
            }
            let stored = match change {
                virga_model::change::Change::TakeLayer(layer) if layer.memory.is_some() => Some(self.store_memory(order, *layer, &now_running).await?),
                _ => {
                    step(Step::ChangeLive, self.host.change_live(order, change)).await?;
                    None
                }
            };
            apply(&mut now_running, change);
            self.slot
                .update(self.node, Step::JournalChanged, |r| {
                    r.running_spec = Some(now_running.clone());
                    if let Some(stored) = stored {
                        r.memories.retain(|(m, _)| m.snapshot != stored.0.snapshot);
                        r.memories.push(stored);
                    }
                })
                .await?;
        }
        Ok(())
    }

    async fn grow_offline(&self, order: &VmOrder) -> Result<()> {
        let there = self.host.disks().await?;
        for disk in &order.spec.disks {
            let written = crate::layer::files(order, disk, &there).pop().flatten();
            if there.iter().any(|d| d.id == disk.id && d.vm == order.id && d.layer == written && d.size_bytes < disk.size_bytes) {
                self.step("growing a disk");
                self.unless_superseded(step(Step::DiskGrow, self.host.disk_grow(order.id, disk, written, &|p| self.tell(p)))).await?;
            }
        }
        Ok(())
    }

    pub(crate) async fn define(&self, domain: Option<&Domain>) -> Result<()> {
        if !self.slot.record().needs_define(domain) {
            return Ok(());
        }
        self.step("writing the definition");
        let order = self.slot.record().pinned_order();
        let digest = step(Step::Define, self.host.define(&order)).await?;
        self.slot
            .update(self.node, Step::JournalDefined, |r| {
                r.defined = Some((order.spec.clone(), order.name.clone()));
                r.definition_digest = Some(digest);
                r.defined_generation = Some(order.generation);
            })
            .await
    }

    async fn networks(&self, order: &VmOrder) -> Result<()> {
        for n in &order.networks {
            step(Step::NetworkEnsure, self.host.network_ensure(n)).await?;
        }
        Ok(())
    }

    /// The power state. Loops, because a guest comes down in its own time.
    async fn power(&self, order: &VmOrder) -> Result<End> {
        use Desired as D;
        use VmState as S;
        let mut asked_at: Option<u64> = None;
        loop {
            unless_superseded!(self);
            let state = self.look().await?.map_or(S::Absent, |d| d.state);
            // The look takes its time, too: a newer order may have come.
            unless_superseded!(self);
            match (order.desired, state) {
                (wanted, is) if wanted.is_met_by(is) => return Ok(End::Settled),
                (_, S::Unknown) => return Err(Error::unavailable("The state of the guest cannot be found out.")),
                (_, S::Absent) => return Err(Error::host("The definition is gone; somebody removes it as Virga writes it.")),
                (D::Running | D::Paused, S::Stopped | S::Hibernated) => self.start(order, state).await?,
                (D::Running, S::Paused | S::Crashed) => step(Step::Resume, self.host.resume(order.id)).await?,
                (D::Paused, _) => step(Step::Pause, self.host.pause(order.id)).await?,
                (D::Hibernated, S::Stopped) => return Err(Error::conflict("The guest is off, so there is no memory to save.")),
                (D::Hibernated, _) => {
                    self.step("saving the guest's memory");
                    step(Step::Hibernate, self.host.hibernate(order.id)).await?;
                }
                (D::Stopped, S::Hibernated) => step(Step::DiscardSaved, self.host.discard_saved(order.id)).await?,
                (D::Stopped, S::Running) if order.stop_mode == StopMode::Graceful => self.ask_down(order, &mut asked_at).await?,
                // A guest that is held cannot hear: let it go on, then ask.
                (D::Stopped, S::Paused) if order.stop_mode == StopMode::Graceful => step(Step::Resume, self.host.resume(order.id)).await?,
                (D::Stopped, _) => {
                    self.step("cutting the power");
                    step(Step::ForceOff, self.host.force_off(order.id)).await?;
                }
                (D::Absent, _) | (D::Running, S::Running) => return Ok(End::Settled),
            }
        }
    }

    async fn start(&self, order: &VmOrder, state: VmState) -> Result<()> {
        self.step("making networks");
        self.networks(order).await?;
        let waking = state == VmState::Hibernated;
        let resume = self.slot.record().to_resume().filter(|_| !waking);
        self.step(match (waking, resume) {
            (true, _) => "waking the guest",
            (false, Some(_)) => "bringing the guest's memory back",
            (false, None) => "starting the guest",
        });
        let _turn = self.node.starts.acquire().await;
        if self.slot.record().order.generation != self.generation {
            // A newer order came while this one waited for its turn; whoever called looks at it.
            return Ok(());
        }
        if !waking && self.slot.record().running_spec.is_some() {
            // What ran before has ended. Should this agent die right after the start, then what is defined is what runs.
            self.slot.update(self.node, Step::JournalRun, |r| r.running_spec = None).await?;
        }
        // Images may have been on their way for long: QEMU opens what lies there now.
        self.stores(order).await?;
        if !waking {
            self.begin_session(order).await?;
        }
        let started = match resume {
            Some(snapshot) => self.restore_memory(order, snapshot).await?,
            None => step(Step::Start, self.host.start(order.id)).await?,
        };
        let now = self.host.now();
        self.slot
            .update(self.node, Step::JournalStarted, |r| {
                if let Some(snapshot) = resume {
                    r.note_resumed(snapshot);
                } else if !waking || r.running_spec.is_none() {
                    r.running_spec = r.defined.as_ref().map(|(s, _)| s.clone());
                }
                // The definition carries the pinned type already: this is no reason to write it again.
                if let Some((spec, _)) = &mut r.defined {
                    spec.machine.clone_from(&started.machine);
                }
                r.machine = Some(started.machine);
                r.accelerator = Some(started.accelerator);
                r.started_at = Some(now);
            })
            .await
    }

    async fn ask_down(&self, order: &VmOrder, asked_at: &mut Option<u64>) -> Result<()> {
        let now = self.host.monotonic_ms();
        if asked_at.is_none_or(|t| now.saturating_sub(t) > SHUTDOWN_ASK_AGAIN_MS) {
            let how = step(Step::Shutdown, self.host.shutdown(order.id)).await?;
            *asked_at = Some(now);
            self.step(match how {
                crate::host::Asked::ByAgent => "the guest agent was asked to shut down",
                crate::host::Asked::ByAcpi => "the guest was asked to shut down by ACPI",
            });
        }
        self.host.sleep_ms(SHUTDOWN_LOOK_MS).await;
        Ok(())
    }

    /// Removes the VM with everything of it.
    async fn remove(&self, order: &VmOrder) -> Result<End> {
        let mut asked_at = None;
        while let Some(d) = self.look().await?.filter(|d| is_active(d.state)) {
            unless_superseded!(self);
            if order.stop_mode == StopMode::Graceful && d.state == VmState::Running {
                self.ask_down(order, &mut asked_at).await?;
            } else {
                self.step("cutting the power");
                step(Step::ForceOff, self.host.force_off(order.id)).await?;
            }
        }
        unless_superseded!(self);
        self.nobody_stands_on(order).await?;
        self.step("removing the VM");
        step(Step::Undefine, self.host.undefine(order.id)).await?;
        // The last moment at which a newer order could still want the disks.
        unless_superseded!(self);
        self.stores(order).await?;
        self.erase_all(order).await?;
        step(Step::FilesRemove, self.host.vm_files_remove(order.id)).await?;
        // A data store that went away meanwhile was left out: the VM is gone when every one is seen without its files.
        self.stores(order).await?;
        if self.host.disks().await?.iter().any(|d| d.vm == order.id) {
            return Err(Error::unavailable("Files of the VM are left on a data store that did not answer for a moment."));
        }
        self.look().await?;
        let now = self.host.now();
        self.slot
            .update(self.node, Step::JournalGone, |r| {
                r.gone_at = Some(now);
                r.defined = None;
                r.definition_digest = None;
                r.defined_generation = None;
                r.running_spec = None;
                r.memories.clear();
                r.exported = None;
            })
            .await?;
        Ok(End::Settled)
    }

    async fn settle(&self, error: Option<Error>) {
        self.slot.set_progress(None);
        let done = self
            .slot
            .update(self.node, Step::JournalSettled, |r| {
                if r.order.generation == self.generation {
                    r.settled = true;
                    r.error = error;
                }
            })
            .await;
        if let Err(e) = done {
            // Without a journal nothing may be said to be done; the order is worked on again.
            tracing::error!(vm = %self.slot.id, error = %e, "the journal cannot be written");
            self.host.sleep_ms(RETRY_MS).await;
        }
        self.node.settled.notify_one();
    }
}

/// Notes a change that was brought to the running guest.
fn apply(spec: &mut virga_model::vm::VmSpec, change: &virga_model::change::Change) {
    use virga_model::change::Change as C;
    match change {
        C::Vcpus { to, .. } => spec.cpu.count = *to,
        C::Memory { to, .. } => spec.memory.bytes = *to,
        C::AttachDisk(d) => spec.disks.push(d.clone()),
        C::DetachDisk(d) => spec.disks.retain(|x| x.id != d.id),
        C::GrowDisk { disk } => {
            for d in spec.disks.iter_mut().filter(|d| d.id == disk.id) {
                d.size_bytes = disk.size_bytes;
            }
        }
        C::AttachNic(n) => spec.nics.push(n.clone()),
        C::DetachNic(n) => spec.nics.retain(|x| x.id != n.id),
        C::UpdateNic { nic } => {
            for n in spec.nics.iter_mut().filter(|n| n.id == nic.id) {
                *n = nic.clone();
            }
        }
        C::ChangeMedia(cd) => {
            for c in spec.cdroms.iter_mut().filter(|c| c.id == cd.id) {
                *c = cd.clone();
            }
        }
        C::DiskMode { disk } => {
            for d in spec.disks.iter_mut().filter(|d| d.id == disk.id) {
                d.mode = disk.mode;
            }
        }
        C::LimitDisk { disk } => {
            for d in spec.disks.iter_mut().filter(|d| d.id == disk.id) {
                d.limits = disk.limits;
            }
        }
        C::TakeLayer(layer) => {
            spec.layers.list.push(*layer);
            spec.layers.top = Some(layer.id);
        }
        // These wait for a restart and are never brought to a running guest.
        C::RemodelDisk { .. } | C::RemodelNic { .. } | C::Drives | C::AtStart(_) => {}
    }
}
