//! What an agent remembers of a VM: the newest order and what was done about it. Journalled before anything is done.

use serde::{Deserialize, Serialize};
use virga_model::change::{When, diff};
use virga_model::disk::DiskWorkDone;
use virga_model::export::Exported;
use virga_model::order::{ACTS_REMEMBERED, ActResult, VmOrder};
use virga_model::snapshot::StoredMemory;
use virga_model::vm::{Desired, Drift, VmSpec, VmState};
use virga_model::{Error, LayerId, SnapshotId, Time};

use crate::host::Domain;

/// The journal's document of a VM.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The newest order.
    pub order: VmOrder,
    /// Whether the order has been brought about, or has failed for `error`.
    #[serde(default)]
    pub settled: bool,
    /// Why the order could not be brought about.
    #[serde(default)]
    pub error: Option<Error>,
    /// Specification and name that the persistent definition was last written from.
    #[serde(default)]
    pub defined: Option<(VmSpec, String)>,
    /// Digest of the definition as it was given back then.
    #[serde(default)]
    pub definition_digest: Option<String>,
    /// Generation of the order that `defined` was written from; it stands in the definition, too.
    #[serde(default)]
    pub defined_generation: Option<i64>,
    /// Specification that the running guest has: the one at its start, and what was changed live since.
    #[serde(default)]
    pub running_spec: Option<VmSpec>,
    /// Machine type, pinned by the first definition.
    #[serde(default)]
    pub machine: Option<String>,
    /// `kvm` or `tcg`, at the last start.
    #[serde(default)]
    pub accelerator: Option<String>,
    /// When the guest was last started.
    #[serde(default)]
    pub started_at: Option<Time>,
    /// Why the layers that the order wants merged are still apart.
    #[serde(default)]
    pub merge_error: Option<Error>,
    /// The export that this host has; without disks while it is being made.
    #[serde(default)]
    pub exported: Option<Exported>,
    /// Newest acts.
    #[serde(default)]
    pub acts: Vec<ActResult>,
    /// What became of the work on disk files.
    #[serde(default, skip_serializing_if = "DiskWorkDone::is_none")]
    pub disk_work: DiskWorkDone,
    /// The VM is gone from this host since then; what is left is a memory that refuses older orders.
    #[serde(default)]
    pub gone_at: Option<Time>,
    /// Stored memory of snapshots, with the hardware that the guest had then.
    #[serde(default)]
    pub memories: Vec<(StoredMemory, VmSpec)>,
    /// The layer on which the guest has begun with stored memory: that happens once.
    #[serde(default)]
    pub resumed: Option<LayerId>,
}

impl Record {
    /// A record of a new order.
    #[must_use]
    pub fn new(order: VmOrder) -> Record {
        Record {
            order,
            settled: false,
            error: None,
            defined: None,
            definition_digest: None,
            defined_generation: None,
            running_spec: None,
            machine: None,
            accelerator: None,
            started_at: None,
            merge_error: None,
            exported: None,
            acts: Vec::new(),
            disk_work: DiskWorkDone::default(),
            gone_at: None,
            memories: Vec::new(),
            resumed: None,
        }
    }

    /// Takes a newer order.
    pub fn take(&mut self, order: VmOrder) {
        // The report about what left stays until somebody asks for something else.
        if order.spec.disk_work.leaving != self.order.spec.disk_work.leaving {
            self.disk_work.erased.clear();
        }
        self.order = order;
        self.settled = false;
        self.error = None;
        self.gone_at = None;
    }

    /// The order with the machine type that this VM is pinned to.
    #[must_use]
    pub fn pinned_order(&self) -> VmOrder {
        let mut order = self.order.clone();
        if let (true, Some(m)) = (order.spec.machine.is_empty(), &self.machine) {
            order.spec.machine.clone_from(m);
        }
        order
    }

    /// What an active guest runs with: what was noted at its start and since, or what was defined when nobody could note it,
    /// or, after the journal was lost, what the manager says that it was before the edit that is under way. Without that
    /// nothing would be changed in the guest, and a snapshot would freeze nothing.
    #[must_use]
    pub fn running(&self) -> Option<VmSpec> {
        self.running_spec.clone().or_else(|| self.defined.as_ref().map(|(s, _)| s.clone())).or_else(|| self.order.former_spec.clone())
    }

    /// Whether the persistent definition has to be written: it is missing, or was written from something else.
    /// An edit from outside alone is no reason: it is reported, and stays until somebody changes the VM. A definition of
    /// another generation than the journal's is our own, written just before the journal could not be: it is none that
    /// can be relied on.
    #[must_use]
    pub fn needs_define(&self, domain: Option<&Domain>) -> bool {
        let pinned = self.pinned_order();
        let unknown = |d: &Domain| self.defined_generation.is_some_and(|g| g != d.generation);
        domain.is_none_or(|d| !d.persistent || unknown(d)) || self.defined.as_ref() != Some(&(pinned.spec, pinned.name))
    }

    /// Remembers the result of an act; the oldest is forgotten.
    pub fn note_act(&mut self, result: ActResult) {
        self.acts.retain(|a| a.task != result.task);
        self.acts.push(result);
        let excess = self.acts.len().saturating_sub(ACTS_REMEMBERED);
        self.acts.drain(..excess);
    }

    /// The snapshot with whose memory the guest is still to begin.
    #[must_use]
    pub fn to_resume(&self) -> Option<SnapshotId> {
        let layers = &self.order.spec.layers;
        layers.resume.filter(|_| layers.top.is_some() && self.resumed != layers.top)
    }

    /// Notes that the guest has begun with the memory of a snapshot, and so has the hardware of that time.
    pub fn note_resumed(&mut self, snapshot: SnapshotId) {
        let hardware = self.memories.iter().find(|(m, _)| m.snapshot == snapshot).map(|(_, s)| s.clone());
        self.resumed = self.order.spec.layers.top;
        self.running_spec = hardware.or_else(|| self.defined.as_ref().map(|(s, _)| s.clone()));
        if let Some(running) = &mut self.running_spec {
            running.layers = self.order.spec.layers.clone();
        }
    }

    /// Changes that wait for the next start of the running guest, in words.
    #[must_use]
    pub fn pending(&self, state: VmState) -> Vec<String> {
        let Some(running) = self.running_spec.as_ref().filter(|_| is_active(state)) else { return Vec::new() };
        if *running == self.order.spec {
            return Vec::new();
        }
        diff(running, &self.pinned_order().spec)
            .iter()
            .map(|c| match c.when(running) {
                When::AfterRestart(why) => format!("{} ({why})", c.text()),
                When::Live => c.text(),
            })
            .collect()
    }

    /// Bytes of the host's memory that the guest still takes although its order says less (V12).
    #[must_use]
    pub fn held_memory_bytes(&self, state: VmState) -> Option<u64> {
        let running = self.running_spec.as_ref().filter(|_| state.takes_memory())?;
        Some(running.host_memory_bytes()).filter(|held| *held > self.order.spec.host_memory_bytes())
    }

    /// What somebody changed behind Virga's back.
    #[must_use]
    pub fn drift(&self, state: VmState, domain: Option<&Domain>) -> Vec<Drift> {
        let mut out = Vec::new();
        if !self.settled || self.error.is_some() || state == VmState::Unknown || self.order.desired == Desired::Absent {
            return out;
        }
        let mut note = |what: &str, message: String| out.push(Drift { what: what.into(), message });
        match domain {
            None => note("definition", "The libvirt definition was removed outside Virga; the disks are still there. Starting the VM writes it again.".into()),
            Some(d) if !d.persistent => {
                note(
                    "definition",
                    "The libvirt definition was removed outside Virga while the guest runs; the guest goes on. The next change writes it again.".into(),
                );
            }
            Some(d) if d.definition_digest.is_some() && self.definition_digest.is_some() && d.definition_digest != self.definition_digest => {
                note(
                    "definition",
                    "The libvirt definition was changed outside Virga; it is left as it is. The next change of the VM through Virga replaces it.".into(),
                );
            }
            Some(_) => {}
        }
        if domain.is_some() && !self.order.desired.is_met_by(state) {
            let why = if domain.is_some_and(|d| d.died) {
                "its process on the host ended unexpectedly (it crashed or was killed)"
            } else {
                "the guest or somebody outside Virga did that"
            };
            note("power", format!("Wanted {}, is {state}: {why}. Starting or stopping the VM resolves it.", self.order.desired));
        }
        out
    }
}

/// Whether a guest's process exists in that state.
#[must_use]
pub fn is_active(state: VmState) -> bool {
    matches!(state, VmState::Running | VmState::Paused | VmState::Crashed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;
    use virga_model::{TaskId, VmId};

    fn record() -> Record {
        let order: VmOrder = serde_json::from_value(serde_json::json!({
            "id": VmId(Uuid::from_u128(1)), "name": "a", "generation": 3, "desired": "running",
            "spec": {"cpu": {"count": 1, "max": 2}, "memory": {"bytes": 268435456u64}}
        }))
        .unwrap();
        Record { settled: true, definition_digest: Some("x".into()), ..Record::new(order) }
    }

    fn domain(state: VmState, persistent: bool, digest: &str) -> Domain {
        Domain { id: VmId(Uuid::from_u128(1)), state, persistent, definition_digest: Some(digest.into()), generation: 3, died: false }
    }

    #[test]
    fn what_others_do_is_seen_and_named() {
        let r = record();
        let what = |state, d: Option<&Domain>| r.drift(state, d).into_iter().map(|d| d.what).collect::<Vec<_>>();
        assert!(what(VmState::Running, Some(&domain(VmState::Running, true, "x"))).is_empty());
        assert_eq!(what(VmState::Stopped, Some(&domain(VmState::Stopped, true, "x"))), ["power"]);
        let died = Domain { died: true, ..domain(VmState::Stopped, true, "x") };
        assert!(r.drift(VmState::Stopped, Some(&died)).iter().any(|d| d.what == "power" && d.message.contains("crashed")));
        assert_eq!(what(VmState::Running, Some(&domain(VmState::Running, true, "y"))), ["definition"]);
        assert_eq!(what(VmState::Running, Some(&domain(VmState::Running, false, "x"))), ["definition"]);
        assert_eq!(what(VmState::Absent, None), ["definition"]);
        assert!(what(VmState::Unknown, None).is_empty(), "what is not known is no difference");
    }

    #[test]
    fn only_our_own_changes_rewrite_the_definition() {
        let mut r = record();
        let d = domain(VmState::Stopped, true, "edited outside");
        assert!(r.needs_define(Some(&d)), "never written");
        let pinned = r.pinned_order();
        r.defined = Some((pinned.spec, pinned.name));
        assert!(!r.needs_define(Some(&d)), "a foreign edit stays");
        r.defined_generation = Some(3);
        assert!(!r.needs_define(Some(&d)), "a foreign edit keeps our generation");
        assert!(r.needs_define(Some(&Domain { generation: 4, ..d.clone() })), "written, and not journalled any more");
        assert!(r.needs_define(None));
        r.order.spec.cpu.count = 2;
        assert!(r.needs_define(Some(&d)));
    }

    #[test]
    fn acts_are_bounded_and_unique() {
        let mut r = record();
        for n in 0..20 {
            r.note_act(ActResult { task: TaskId(Uuid::from_u128(n / 2)), error: None });
        }
        assert_eq!(r.acts.len(), ACTS_REMEMBERED);
    }

    #[test]
    fn pending_changes_are_told_only_while_the_guest_runs() {
        let mut r = record();
        r.running_spec = Some(r.order.spec.clone());
        r.order.spec.firmware = virga_model::vm::Firmware::Uefi;
        assert_eq!(r.pending(VmState::Running).len(), 1);
        assert!(r.pending(VmState::Stopped).is_empty());
    }
}
