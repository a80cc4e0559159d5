//! A world in a few lines, in which every task kind is run to its end: undisturbed, with the manager killed before and
//! after every call, with every call done twice, with the host failing, and cancelled at every step.
//!
//! `start` matches on every kind, so a kind that is forgotten here does not compile.

use super::*;
use virga_model::data_store::DataStoreSpec;
use virga_model::export::{ExportSpec, Exported};
use virga_model::image::ImageState;
use virga_model::network::NetworkSpec;
use virga_model::order::ActResult;
use virga_model::task::{Cause, TaskDoc};
use virga_model::vm::{Observed, StopMode, VmState};
use virga_model::{DataStoreId, ErrorCode, ImageId, NetworkId, TaskId, UserId, VmId};

/// Steps within which every task must end, whatever happens.
const BOUND: usize = 40;

/// What disturbs the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Nothing,
    /// The manager dies before the n-th call: the call is not made.
    KilledBefore(usize),
    /// The manager dies after the n-th call: the agent acts, the answer is lost.
    KilledAfter(usize),
    /// Every call is made twice.
    Twice,
    /// Somebody asks to stop at the n-th step.
    CancelAt(usize),
    /// The host cannot do the first order.
    HostFails,
    /// The host cannot do anything.
    HostAlwaysFails,
    /// The guest ignores being asked to shut down.
    GuestIgnores,
}

/// The agent's side of a VM.
#[derive(Clone, Debug)]
struct Node {
    generation: i64,
    desired: Desired,
    stop_mode: StopMode,
    state: VmState,
    polls_left: u32,
    error: Option<Error>,
    acts: Vec<ActResult>,
}

struct World {
    task: Task,
    vm: Option<Vm>,
    node: Node,
    image: Option<Image>,
    network: Option<Network>,
    data_store: Option<DataStore>,
    holders: Vec<HostFact>,
    children: Vec<Child>,
    now: Time,
    fault: Fault,
    calls: usize,
    orders_failed: usize,
}

fn host() -> HostFact {
    HostFact { id: HostId(uuid(1)), name: "h1".into(), state: HostState::Up }
}

fn uuid(n: u128) -> ::uuid::Uuid {
    ::uuid::Uuid::from_u128(n)
}

fn vm(desired: Desired, generation: i64, observed_state: VmState) -> Vm {
    Vm {
        id: VmId(uuid(2)),
        name: "demo".into(),
        description: String::new(),
        labels: Default::default(),
        owner: UserId(uuid(3)),
        spec: serde_json::from_value(serde_json::json!({"cpu": {"count": 1, "max": 1}, "memory": {"bytes": 1 << 28}})).unwrap(),
        former_spec: None,
        desired,
        stop_mode: StopMode::Force,
        generation,
        host: Some(HostId(uuid(1))),
        placement: None,
        observed: Observed { generation: generation - 1, state: observed_state, settled: true, ..Default::default() },
        created_at: Time(0),
        updated_at: Time(0),
    }
}

/// A disk more, which is a copy of another VM's.
fn with_copy(spec: &virga_model::vm::VmSpec) -> virga_model::vm::VmSpec {
    let mut spec = spec.clone();
    let copy = serde_json::json!({"vm": uuid(70), "disk": uuid(71), "files": [null], "whole": true});
    spec.disks.push(serde_json::from_value(serde_json::json!({"id": uuid(72), "size_bytes": 1 << 30, "copy_of": copy})).unwrap());
    spec
}

fn data_store(kind: TaskKind) -> Option<DataStore> {
    let state = match kind {
        TaskKind::DataStoreCreate => DataStoreState::Creating,
        TaskKind::DataStoreDelete => DataStoreState::Deleting,
        _ => return None,
    };
    let spec = DataStoreSpec::SharedDirectory { path: "/srv/gold".into(), backing: Default::default() };
    let (id, name, description) = (DataStoreId(uuid(6)), "gold".into(), String::new());
    Some(DataStore { id, name, description, spec, host: None, maintenance: false, state, generation: 1, created_at: Time(0) })
}

/// The world at the moment in which a task of `kind` has just been made by the API.
fn start(kind: TaskKind, fault: Fault) -> World {
    use Desired as D;
    use VmState as S;
    let (vm, former) = match kind {
        TaskKind::VmCreate => (Some(vm(D::Running, 1, S::Absent)), None),
        TaskKind::VmClone => {
            let v = vm(D::Running, 1, S::Absent);
            (Some(Vm { spec: with_copy(&v.spec), ..v }), None)
        }
        TaskKind::VmStart => (Some(vm(D::Running, 5, S::Stopped)), Some(D::Stopped)),
        TaskKind::VmStop => (Some(Vm { stop_mode: StopMode::Graceful, ..vm(D::Stopped, 5, S::Running) }), Some(D::Running)),
        TaskKind::VmPause => (Some(vm(D::Paused, 5, S::Running)), Some(D::Running)),
        TaskKind::VmResume => (Some(vm(D::Running, 5, S::Paused)), Some(D::Paused)),
        TaskKind::VmHibernate => (Some(vm(D::Hibernated, 5, S::Running)), Some(D::Running)),
        TaskKind::VmReboot | TaskKind::VmReset => {
            (Some(Vm { observed: Observed { generation: 5, ..vm(D::Running, 5, S::Running).observed }, ..vm(D::Running, 5, S::Running) }), None)
        }
        TaskKind::VmEdit | TaskKind::SnapshotCreate | TaskKind::SnapshotDelete | TaskKind::VmFreeze | TaskKind::VmConsolidate => {
            let v = vm(D::Running, 5, S::Running);
            (Some(Vm { former_spec: Some(v.spec.clone()), ..v }), Some(D::Running))
        }
        TaskKind::SnapshotRevert => {
            let v = vm(D::Stopped, 5, S::Running);
            (Some(Vm { former_spec: Some(v.spec.clone()), ..v }), Some(D::Running))
        }
        TaskKind::VmRefresh => {
            let v = vm(D::Running, 5, S::Running);
            (Some(Vm { former_spec: Some(v.spec.clone()), ..v }), Some(D::Running))
        }
        TaskKind::VmConvert => {
            let v = vm(D::Stopped, 5, S::Stopped);
            (Some(Vm { former_spec: Some(v.spec.clone()), spec: with_copy(&v.spec), ..v }), Some(D::Stopped))
        }
        TaskKind::VmExport => {
            let v = vm(D::Stopped, 5, S::Stopped);
            let disks = v.spec.disks.iter().map(|d| d.id).collect();
            let export = ExportSpec { id: uuid(8), format: virga_model::image::ImageFormat::Vmdk, made_at: Time(0), disks, snapshot: None };
            let spec = virga_model::vm::VmSpec { export: Some(export), ..v.spec.clone() };
            (Some(Vm { former_spec: Some(v.spec.clone()), spec, ..v }), Some(D::Stopped))
        }
        TaskKind::VmDelete => (Some(vm(D::Absent, 5, S::Stopped)), Some(D::Stopped)),
        TaskKind::VmRepair => (Some(vm(D::Running, 5, S::Stopped)), None),
        TaskKind::VmBatch | TaskKind::ImageDelete | TaskKind::NetworkDelete | TaskKind::DataStoreCreate | TaskKind::DataStoreDelete => (None, None),
    };
    let node = Node {
        generation: vm.as_ref().map_or(0, |v| v.observed.generation),
        desired: former.unwrap_or(D::Running),
        stop_mode: StopMode::Force,
        state: vm.as_ref().map_or(S::Absent, |v| v.observed.state),
        polls_left: 0,
        error: None,
        acts: vec![],
    };
    let object = match kind {
        TaskKind::ImageDelete => ObjectRef::Image(ImageId(uuid(4))),
        TaskKind::NetworkDelete => ObjectRef::Network(NetworkId(uuid(5))),
        TaskKind::DataStoreCreate | TaskKind::DataStoreDelete => ObjectRef::DataStore(DataStoreId(uuid(6))),
        TaskKind::VmBatch => ObjectRef::System,
        _ => ObjectRef::Vm(VmId(uuid(2))),
    };
    let doc = TaskDoc { timeout_s: 60, generation: vm.as_ref().map_or(0, |v| v.generation), former_desired: former, ..Default::default() };
    World {
        task: Task {
            id: TaskId(uuid(9)),
            kind,
            object,
            object_name: "demo".into(),
            cause: Cause::User,
            requester: None,
            state: TaskState::Running,
            progress: Progress::default(),
            message: String::new(),
            error: None,
            cancel: false,
            parent: None,
            doc,
            lease_owner: None,
            lease_until: None,
            attempt: 0,
            not_before: Time(0),
            created_at: Time(0),
            started_at: Some(Time(0)),
            ended_at: None,
        },
        vm,
        node,
        image: (kind == TaskKind::ImageDelete).then(|| Image {
            id: ImageId(uuid(4)),
            name: "img".into(),
            format: None,
            size_bytes: 0,
            virtual_bytes: 0,
            sha256: String::new(),
            state: ImageState::Deleting,
            generation: 1,
            created_at: Time(0),
            part: None,
            package: None,
        }),
        network: (kind == TaskKind::NetworkDelete).then(|| Network {
            id: NetworkId(uuid(5)),
            name: "net".into(),
            spec: NetworkSpec::Nat { cidr: "10.0.0.0/24".into() },
            generation: 1,
            deleting: true,
            created_at: Time(0),
        }),
        data_store: data_store(kind),
        holders: if matches!(kind, TaskKind::ImageDelete | TaskKind::NetworkDelete) {
            vec![host(), HostFact { id: HostId(uuid(11)), name: "h2".into(), state: HostState::Silent }]
        } else if kind == TaskKind::DataStoreDelete {
            vec![host()]
        } else {
            vec![]
        },
        children: if kind == TaskKind::VmBatch { vec![Child { state: TaskState::Running, object_name: "a".into(), error: None }; 3] } else { vec![] },
        now: Time(0),
        fault,
        calls: 0,
        orders_failed: 0,
    }
}

impl World {
    /// Runs to the end and answers with it.
    fn run(&mut self) -> Step {
        for n in 0..BOUND {
            if self.fault == Fault::CancelAt(n) {
                self.task.cancel = true;
                for c in self.children.iter_mut().filter(|c| !c.state.is_final()) {
                    c.state = TaskState::Cancelled;
                }
            }
            match next(&self.task, &self.facts(), self.now) {
                Step::Call(call @ (Call::EnsureStore(_) | Call::DropStore(_))) if matches!(self.fault, Fault::HostFails | Fault::HostAlwaysFails) => {
                    match refused(&self.task, &self.facts(), &call, &Error::host("no"), self.now) {
                        Step::Write(w) => self.write(w),
                        end => return end,
                    }
                }
                Step::Call(call) => self.call(&call),
                Step::Write(w) => self.write(w),
                Step::Wait { ms, .. } => self.wait(ms),
                end => return end,
            }
        }
        panic!("{:?} with {:?} does not end within {BOUND} steps; vm {:?}", self.task.kind, self.fault, self.vm.as_ref().map(|v| (v.desired, &v.observed)));
    }

    fn facts(&self) -> Facts {
        Facts {
            vm: self.vm.clone(),
            host: (self.vm.is_some() || self.data_store.is_some()).then(host),
            progress: None,
            image: self.image.clone(),
            network: self.network.clone(),
            data_store: self.data_store.clone(),
            holders: self.holders.clone(),
            children: self.children.clone(),
            source: None,
        }
    }

    fn call(&mut self, call: &Call) {
        let n = self.calls;
        self.calls += 1;
        if self.fault == Fault::KilledBefore(n) {
            return;
        }
        self.agent_takes(call);
        if self.fault == Fault::Twice {
            self.agent_takes(call);
        }
        if self.fault != Fault::KilledAfter(n) {
            self.report();
        }
    }

    /// What an agent does with a call: idempotent, as the contract says.
    fn agent_takes(&mut self, call: &Call) {
        match call {
            Call::EnsureVm => {
                let vm = self.vm.as_ref().expect("only an existing VM is ordered");
                assert!(vm.generation >= self.node.generation, "an agent refuses an older generation");
                if vm.generation > self.node.generation {
                    let fails = self.fault == Fault::HostAlwaysFails || (self.fault == Fault::HostFails && self.orders_failed == 0);
                    self.orders_failed += usize::from(fails);
                    self.node = Node {
                        generation: vm.generation,
                        desired: vm.desired,
                        stop_mode: vm.stop_mode,
                        polls_left: 2,
                        error: fails.then(|| Error::host("no space on the store")),
                        ..self.node.clone()
                    };
                }
            }
            Call::Act(_) => {
                if !self.node.acts.iter().any(|a| a.task == self.task.id) {
                    let error = matches!(self.fault, Fault::HostFails | Fault::HostAlwaysFails).then(|| Error::host("no"));
                    self.node.acts.push(ActResult { task: self.task.id, error });
                }
                assert_eq!(self.node.acts.len(), 1, "an act happens once");
            }
            Call::EnsureStore(_) => self.signed(DataStoreState::Creating, DataStoreState::Ready),
            Call::DropStore(_) => self.signed(DataStoreState::Dropping, DataStoreState::Dropped),
            Call::DropImage(h) | Call::DropNetwork(h) => self.holders.retain(|x| x.id != *h),
        }
    }

    fn signed(&mut self, from: DataStoreState, to: DataStoreState) {
        // The row learns of it from the answer.
        let lost = self.fault == Fault::KilledAfter(self.calls - 1);
        if let Some(s) = self.data_store.as_mut().filter(|s| s.state == from && !lost) {
            s.state = to;
        }
    }

    fn wait(&mut self, ms: i64) {
        assert!(ms > 0);
        self.now = self.now.plus_millis(ms);
        if self.holders.iter().any(|h| h.state == HostState::Silent) {
            self.now = self.now.plus_millis(SILENT_HOST_PATIENCE_MS);
        }
        for c in self.children.iter_mut().filter(|c| !c.state.is_final()).take(1) {
            c.state = TaskState::Succeeded;
        }
        if self.node.polls_left > 0 {
            self.node.polls_left -= 1;
        }
        let ignores = self.fault == Fault::GuestIgnores && self.node.desired == Desired::Stopped && self.node.stop_mode == StopMode::Graceful;
        if self.node.polls_left == 0 && self.node.error.is_none() && !ignores {
            self.node.state = match self.node.desired {
                Desired::Running => VmState::Running,
                Desired::Paused => VmState::Paused,
                Desired::Hibernated => VmState::Hibernated,
                Desired::Stopped => VmState::Stopped,
                Desired::Absent => VmState::Absent,
            };
        }
        self.report();
    }

    fn report(&mut self) {
        if let Some(vm) = &mut self.vm {
            let met = self.node.desired.is_met_by(self.node.state) && self.node.polls_left == 0;
            vm.observed = Observed {
                generation: self.node.generation,
                state: self.node.state,
                settled: met || self.node.error.is_some(),
                error: self.node.error.clone(),
                acts: self.node.acts.clone(),
                exported: vm.spec.export.as_ref().filter(|_| met).map(|e| Exported { id: e.id, disks: vec![] }),
                ..Default::default()
            };
        }
    }

    fn write(&mut self, w: Write) {
        match w {
            Write::RemoveVm => {
                assert_eq!(self.node.state, VmState::Absent, "a row is removed only when its host has nothing left");
                self.vm = None;
            }
            Write::RemoveImage => self.image = None,
            Write::RemoveNetwork => self.network = None,
            Write::DataStore { state, undo } => {
                assert!(undo.is_none() || self.task.doc.undo.is_none(), "there is one way back, not two");
                self.task.doc.undo = undo.or(self.task.doc.undo.take());
                self.data_store = self.data_store.take().zip(state).map(|(s, state)| DataStore { state, ..s });
            }
            Write::Undo { why, desired, former_spec } => {
                assert!(self.task.doc.undo.is_none(), "there is one way back, not two");
                self.task.doc.undo = Some(why);
                let vm = self.vm.as_mut().expect("there is a VM to undo");
                vm.desired = desired;
                vm.generation += 1;
                if former_spec {
                    vm.spec = vm.former_spec.take().unwrap_or_else(|| vm.spec.clone());
                }
            }
            Write::ForceStop => {
                let vm = self.vm.as_mut().expect("there is a VM to stop");
                vm.stop_mode = StopMode::Force;
                vm.generation += 1;
            }
            Write::FinishCopy => {
                let vm = self.vm.as_mut().expect("there is a VM that was copied");
                assert_eq!(self.node.generation, vm.generation, "the copies are there");
                vm.spec.disks.iter_mut().for_each(|d| d.copy_of = None);
            }
            Write::FinishEdit => {
                let vm = self.vm.as_mut().expect("there is a VM that was edited");
                vm.former_spec = None;
                // A failure is told as it is.
                if vm.observed.error.is_none() {
                    vm.generation += 1;
                }
            }
        }
    }
}

#[test]
fn every_kind_ends_well_undisturbed_killed_and_doubled() {
    for kind in TaskKind::ALL {
        let mut faults = vec![Fault::Nothing, Fault::Twice];
        faults.extend((0..4).flat_map(|n| [Fault::KilledBefore(n), Fault::KilledAfter(n)]));
        for fault in faults {
            let mut w = start(kind, fault);
            let end = w.run();
            assert!(matches!(end, Step::Done(_)), "{kind:?} {fault:?}: {end:?}");
            if let Some(vm) = &w.vm {
                assert!(vm.desired.is_met_by(w.node.state) && vm.former_spec.is_none(), "{kind:?} {fault:?}");
            }
        }
    }
}

#[test]
fn cancelled_at_every_step_leaves_the_old_state_or_the_new_one_and_nothing_between() {
    for kind in TaskKind::ALL {
        for at in 0..10 {
            let mut w = start(kind, Fault::CancelAt(at));
            let before = w.vm.clone();
            let end = w.run();
            assert!(matches!(end, Step::Done(_) | Step::Cancelled(_)), "{kind:?} at {at}: {end:?}");
            match (&w.vm, before) {
                (None, _) if !matches!(kind, TaskKind::VmCreate | TaskKind::VmClone | TaskKind::VmDelete) => assert!(super::vm_of(&w.task).is_none()),
                (None, _) => assert_eq!(w.node.state, VmState::Absent, "{kind:?}: nothing is left on the host"),
                (Some(vm), before) => {
                    assert!(vm.former_spec.is_none(), "{kind:?} at {at}: no edit is left half done");
                    if matches!(end, Step::Cancelled(_)) && !matches!(kind, TaskKind::VmRepair | TaskKind::VmReboot | TaskKind::VmReset) {
                        assert_eq!(Some(vm.desired), w.task.doc.former_desired, "{kind:?} at {at}: back to {before:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_failing_host_ends_every_kind_with_its_reason_and_the_old_state() {
    for kind in TaskKind::ALL.into_iter().filter(|k| !matches!(k, TaskKind::VmBatch | TaskKind::ImageDelete | TaskKind::NetworkDelete)) {
        for fault in [Fault::HostFails, Fault::HostAlwaysFails] {
            let mut w = start(kind, fault);
            let end = w.run();
            let Step::Failed(e) = end else { panic!("{kind:?} {fault:?}: {end:?}") };
            assert_eq!(e.code, ErrorCode::HostFailed);
            if matches!(kind, TaskKind::VmCreate | TaskKind::VmClone) && fault == Fault::HostFails {
                assert!(w.vm.is_none(), "a create that failed leaves nothing");
            }
        }
    }
}

#[test]
fn a_guest_that_ignores_shutdown_runs_on_or_is_cut_off_as_asked() {
    let mut w = start(TaskKind::VmStop, Fault::GuestIgnores);
    let Step::Failed(e) = w.run() else { panic!("must fail") };
    assert!(e.message.contains("within 60 s") && e.hint.is_some());
    assert_eq!((w.vm.unwrap().desired, w.node.state), (Desired::Running, VmState::Running));

    let mut w = start(TaskKind::VmStop, Fault::GuestIgnores);
    w.task.doc.then_force = true;
    assert!(matches!(w.run(), Step::Done(_)));
    assert_eq!(w.node.state, VmState::Stopped);
}

#[test]
fn silence_is_waited_for_and_never_read_as_stopped() {
    let mut w = start(TaskKind::VmStart, Fault::Nothing);
    let mut facts = w.facts();
    facts.host = Some(HostFact { state: HostState::Silent, ..host() });
    assert!(matches!(next(&w.task, &facts, Time(0)), Step::Wait { .. }));
    let late = Time(0).plus_millis(SILENT_HOST_PATIENCE_MS + 1);
    assert!(matches!(next(&w.task, &facts, late), Step::Write(Write::Undo { .. })));
    w.task.cancel = true;
    assert!(matches!(next(&w.task, &facts, Time(0)), Step::Write(Write::Undo { why: Undo::Cancelled, .. })));
    w.task.doc.undo = Some(Undo::Cancelled);
    assert!(matches!(next(&w.task, &facts, Time(0)), Step::Cancelled(_)), "the rest is the repair loop's");
    // A removal is never given up by itself.
    let w = start(TaskKind::VmDelete, Fault::Nothing);
    let facts = Facts { host: Some(HostFact { state: HostState::Silent, ..host() }), ..w.facts() };
    assert!(matches!(next(&w.task, &facts, late), Step::Wait { .. }));
}

#[test]
fn a_clone_waits_for_its_source_and_is_not_made_without() {
    let w = start(TaskKind::VmClone, Fault::Nothing);
    let facts = |source| Facts { source, ..w.facts() };
    assert!(matches!(next(&w.task, &facts(Some(SourceFact::Freezing)), Time(0)), Step::Wait { .. }));
    assert!(matches!(next(&w.task, &facts(Some(SourceFact::Frozen)), Time(0)), Step::Call(Call::EnsureVm)));
    let lost = next(&w.task, &facts(Some(SourceFact::Lost)), Time(0));
    assert!(matches!(lost, Step::Write(Write::Undo { why: Undo::Failed(_), desired: Desired::Absent, former_spec: false })), "{lost:?}");
    // Whoever stops it waits for nothing.
    let stopped = Task { cancel: true, ..w.task.clone() };
    assert!(matches!(next(&stopped, &facts(Some(SourceFact::Freezing)), Time(0)), Step::Write(Write::Undo { .. })));
}

/// V12: a guest that was seen to be off has given its memory away. While nobody can say what it does, the way back of a stop
/// waits, and in the end it starts nothing.
#[test]
fn the_way_back_of_a_stop_starts_nothing_that_nobody_can_see() {
    let mut w = start(TaskKind::VmStop, Fault::Nothing);
    let v = w.vm.as_mut().unwrap();
    v.observed = Observed { generation: 5, state: VmState::Unknown, settled: true, error: Some(Error::host("no store")), ..v.observed.clone() };
    assert!(matches!(next(&w.task, &w.facts(), Time(0)), Step::Wait { .. }));
    let late = Time(0).plus_millis(SILENT_HOST_PATIENCE_MS + 1);
    assert!(matches!(next(&w.task, &w.facts(), late), Step::Write(Write::Undo { desired: Desired::Stopped, .. })));
    w.vm.as_mut().unwrap().observed.state = VmState::Running;
    assert!(matches!(next(&w.task, &w.facts(), Time(0)), Step::Write(Write::Undo { desired: Desired::Running, .. })));
}

/// From any facts that can be reached, and many that cannot, every kind ends within the bound.
#[test]
fn ends_from_any_facts() {
    let mut seed = 0x9E37_79B9_7F4A_7C15u64;
    let mut draw = move |n: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % n
    };
    for _ in 0..5_000 {
        let kind = TaskKind::ALL[draw(TaskKind::ALL.len() as u64) as usize];
        let mut w = start(kind, Fault::Nothing);
        if let Some(vm) = &mut w.vm {
            vm.desired = [Desired::Running, Desired::Paused, Desired::Hibernated, Desired::Stopped, Desired::Absent][draw(5) as usize];
            w.node.state = [VmState::Unknown, VmState::Absent, VmState::Stopped, VmState::Running, VmState::Crashed][draw(5) as usize];
            w.node.generation = vm.generation - draw(3) as i64;
            w.node.desired = vm.desired;
            w.node.polls_left = draw(3) as u32;
        }
        w.task.cancel = draw(3) == 0;
        w.report();
        let end = w.run();
        assert!(!matches!(end, Step::Wait { .. }));
    }
}

/// An edit with work on disk files ends when that has been taken out of the row, and tells what became of it.
#[test]
fn work_on_disk_files_is_finished_and_told() {
    use virga_model::DiskId;
    use virga_model::disk::{DiskWorkDone, Erase, Leaving, Reclaim, Reclaimed};
    let disk = DiskId(uuid(9));
    let mut w = start(TaskKind::VmEdit, Fault::Nothing);
    let vm = w.vm.as_mut().unwrap();
    vm.former_spec = None;
    vm.spec.disk_work.leaving = vec![Leaving { disk, erase: Erase::Secure, shared: false, store: None }];
    vm.observed = Observed { generation: vm.generation, state: VmState::Running, settled: true, ..Default::default() };
    let ask = |w: &World| {
        let facts = Facts { vm: w.vm.clone(), host: Some(host()), ..Facts::default() };
        next(&w.task, &facts, w.now)
    };
    assert!(matches!(ask(&w), Step::Write(Write::FinishEdit)), "{:?}", ask(&w));
    let vm = w.vm.as_mut().unwrap();
    vm.spec.disk_work.leaving.clear();
    vm.observed.disk_work.note_erased(disk, 1 << 30, vec!["the medium keeps copies".into()]);
    w.task.doc.erase = true;
    assert!(matches!(ask(&w), Step::Done(t) if t.contains("1 GiB overwritten") && t.contains("the medium keeps copies")));
    // A failed removal leaves the wish in the row, and the error is told as it is.
    let vm = w.vm.as_mut().unwrap();
    vm.spec.disk_work.leaving = vec![Leaving { disk, erase: Erase::Secure, shared: false, store: None }];
    vm.observed.error = Some(Error::host("cannot overwrite"));
    assert!(matches!(ask(&w), Step::Failed(e) if e.message == "cannot overwrite"));
    // What came back is told for the wish of this task alone.
    let vm = w.vm.as_mut().unwrap();
    vm.observed.error = None;
    vm.spec.disk_work = Default::default();
    vm.observed.disk_work = DiskWorkDone { reclaimed: Some(Reclaimed { disk, generation: 5, bytes: 3 << 20 }), ..Default::default() };
    assert!(matches!(ask(&w), Step::Done(t) if t == "Changed."));
    w.task.doc.reclaim = Some(5);
    assert!(matches!(ask(&w), Step::Done(t) if t == "3 MiB came back to the store."));
    vm_wish(&mut w, Reclaim { disk, generation: 5 });
    assert!(matches!(ask(&w), Step::Write(Write::FinishEdit)));
}

fn vm_wish(w: &mut World, wish: virga_model::disk::Reclaim) {
    w.vm.as_mut().unwrap().spec.disk_work.reclaim = Some(wish);
}
