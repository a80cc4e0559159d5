//! Every operation of the agent, at every crash point it reaches, with the agent killed, killed again on the way back, and
//! the step failing or taking too long. The last test sees to it that no step of the agent is left without an operation
//! that reaches it.

use crate::lab::{GOLD, Lab, disk, gold, image, network, order, vm};
use std::collections::BTreeSet;
use uuid::Uuid;
use virga_crash::{Part, Step};
use virga_model::disk::{Erase, Leaving, Reclaim};
use virga_model::export::ExportSpec;
use virga_model::image::ImageFormat;
use virga_model::order::{Act, CallHead, NodeCall, VmOrder};
use virga_model::vm::{Desired, StopMode, VmState};
use virga_model::{LayerId, NicId, SnapshotId, TaskId, Time};
use virga_sim::crash::{Outcome, Place};

/// What an operation begins with, and what it orders.
struct Operation {
    name: &'static str,
    before: Option<Desired>,
    order: fn() -> VmOrder,
    act: Option<Act>,
    drops: bool,
    /// Layers on the disks before.
    layers: u128,
    ends: VmState,
}

fn to(desired: Desired) -> VmOrder {
    order(1, 2, desired)
}

fn graceful() -> VmOrder {
    VmOrder { stop_mode: StopMode::Graceful, ..to(Desired::Stopped) }
}

/// More vCPUs, another disk, the first one gone for good, and a card.
fn edited() -> VmOrder {
    let mut o = to(Desired::Running);
    o.spec.cpu.count = 2;
    o.spec.disks = vec![disk(2000)];
    let nic = serde_json::json!({"id": NicId(Uuid::from_u128(9)), "network": network().id, "mac": "52:54:00:00:00:09"});
    o.spec.nics.push(serde_json::from_value(nic).expect("a NIC"));
    o
}

fn grown() -> VmOrder {
    let mut o = to(Desired::Stopped);
    o.spec.disks[0].size_bytes = 2 << 30;
    o
}

/// All levels of the disks merged into copies, and a template from then on.
fn converted() -> VmOrder {
    let mut o = to(Desired::Stopped);
    o.spec = virga_model::clone::merged(o.id, &o.spec, &mut || Uuid::from_u128(3000));
    o.spec.template = true;
    o
}

/// Space of a disk is wanted back.
fn reclaimed() -> VmOrder {
    let mut o = to(Desired::Stopped);
    o.spec.disk_work.reclaim = Some(Reclaim { disk: o.spec.disks[0].id, generation: 2 });
    o
}

/// The disk goes and is overwritten; another comes.
fn erased() -> VmOrder {
    let mut o = to(Desired::Running);
    o.spec.disk_work.leaving = vec![Leaving { disk: o.spec.disks[0].id, erase: Erase::Secure, shared: false, store: None }];
    o.spec.disks = vec![disk(2000)];
    o
}

/// The VM goes, and its disks are overwritten.
fn removed_securely() -> VmOrder {
    let mut o = to(Desired::Absent);
    o.spec.disk_work.leaving = vec![Leaving { disk: o.spec.disks[0].id, erase: Erase::Secure, shared: false, store: None }];
    o
}

fn layer(n: u128) -> LayerId {
    LayerId(Uuid::from_u128(100 + n))
}

/// A running VM with so many layers on its disks.
fn layered(generation: i64, layers: u128) -> VmOrder {
    let mut o = order(1, generation, Desired::Running);
    for n in 1..=layers {
        o.spec.layers.done();
        if n == REMEMBERED {
            o.spec.layers.take_with_memory(layer(n), snapshot_id(n));
        } else {
            o.spec.layers.take(layer(n), false, snapshot_id(n));
        }
    }
    o
}

/// The snapshot that holds the guest's memory.
const REMEMBERED: u128 = 3;

fn snapshot_id(n: u128) -> SnapshotId {
    SnapshotId(Uuid::from_u128(200 + n))
}

/// A snapshot with memory is taken.
fn remembered() -> VmOrder {
    layered(4, REMEMBERED)
}

/// Back to the snapshot with memory: the guest runs on where it was.
fn resumed() -> VmOrder {
    let mut o = layered(5, REMEMBERED);
    o.spec.layers.done();
    o.spec.layers.revert(Some(layer(2)), layer(9), snapshot_id(REMEMBERED), &[None, Some(layer(1)), Some(layer(2))].into());
    o.spec.layers.resume = Some(snapshot_id(REMEMBERED));
    o
}

/// The snapshot with memory goes, its layers stay.
fn forgotten() -> VmOrder {
    let mut o = layered(5, REMEMBERED);
    o.spec.layers.done();
    o.spec.layers.memories.clear();
    o
}

/// Of three snapshots the second and third are taken away: one layer in the middle and the one that is written go down.
fn merged() -> VmOrder {
    let mut o = layered(5, 3);
    o.spec.layers.tidy(&BTreeSet::from([None]));
    assert_eq!(o.spec.layers.merges.len(), 2);
    o
}

/// Back to the first of three snapshots; the others stay, what was written since goes.
fn reverted() -> VmOrder {
    let mut o = layered(5, 3);
    o.spec.layers.revert(None, layer(9), snapshot_id(1), &[None, Some(layer(1)), Some(layer(2))].into());
    o
}

/// A VM that is off, with an export.
fn exported(generation: i64) -> VmOrder {
    let mut o = order(1, generation, Desired::Stopped);
    o.spec.export = Some(ExportSpec {
        id: Uuid::from_u128(300),
        format: ImageFormat::Vmdk,
        made_at: Time(0),
        disks: o.spec.disks.iter().map(|d| d.id).collect(),
        snapshot: None,
    });
    o
}

const OPERATIONS: [Operation; 26] = [
    Operation { name: "create", before: None, order: || order(1, 1, Desired::Running), act: None, drops: false, layers: 0, ends: VmState::Running },
    Operation { name: "start", before: Some(Desired::Stopped), order: || to(Desired::Running), act: None, drops: false, layers: 0, ends: VmState::Running },
    Operation { name: "stop", before: Some(Desired::Running), order: || to(Desired::Stopped), act: None, drops: false, layers: 0, ends: VmState::Stopped },
    Operation { name: "shutdown", before: Some(Desired::Running), order: graceful, act: None, drops: false, layers: 0, ends: VmState::Stopped },
    Operation { name: "pause", before: Some(Desired::Running), order: || to(Desired::Paused), act: None, drops: false, layers: 0, ends: VmState::Paused },
    Operation { name: "resume", before: Some(Desired::Paused), order: || to(Desired::Running), act: None, drops: false, layers: 0, ends: VmState::Running },
    Operation {
        name: "hibernate",
        before: Some(Desired::Running),
        order: || to(Desired::Hibernated),
        act: None,
        drops: false,
        layers: 0,
        ends: VmState::Hibernated,
    },
    Operation { name: "wake", before: Some(Desired::Hibernated), order: || to(Desired::Running), act: None, drops: false, layers: 0, ends: VmState::Running },
    Operation {
        name: "discard",
        before: Some(Desired::Hibernated),
        order: || to(Desired::Stopped),
        act: None,
        drops: false,
        layers: 0,
        ends: VmState::Stopped,
    },
    Operation { name: "edit", before: Some(Desired::Running), order: edited, act: None, drops: false, layers: 0, ends: VmState::Running },
    Operation { name: "grow", before: Some(Desired::Stopped), order: grown, act: None, drops: false, layers: 0, ends: VmState::Stopped },
    Operation {
        name: "reset",
        before: Some(Desired::Running),
        order: || order(1, 1, Desired::Running),
        act: Some(Act::Reset),
        drops: false,
        layers: 0,
        ends: VmState::Running,
    },
    Operation {
        name: "reboot",
        before: Some(Desired::Running),
        order: || order(1, 1, Desired::Running),
        act: Some(Act::Reboot),
        drops: false,
        layers: 0,
        ends: VmState::Running,
    },
    Operation { name: "remove", before: Some(Desired::Running), order: || to(Desired::Absent), act: None, drops: true, layers: 0, ends: VmState::Absent },
    Operation { name: "snapshot", before: Some(Desired::Running), order: || layered(2, 1), act: None, drops: false, layers: 0, ends: VmState::Running },
    Operation { name: "merge", before: Some(Desired::Running), order: merged, act: None, drops: false, layers: 3, ends: VmState::Running },
    Operation { name: "export", before: Some(Desired::Stopped), order: || exported(2), act: None, drops: false, layers: 0, ends: VmState::Stopped },
    Operation {
        name: "unexport",
        before: Some(Desired::Stopped),
        order: || order(1, 3, Desired::Stopped),
        act: None,
        drops: false,
        layers: 0,
        ends: VmState::Stopped,
    },
    Operation { name: "revert", before: Some(Desired::Running), order: reverted, act: None, drops: false, layers: 3, ends: VmState::Running },
    Operation { name: "convert", before: Some(Desired::Stopped), order: converted, act: None, drops: false, layers: 0, ends: VmState::Stopped },
    Operation { name: "remember", before: Some(Desired::Running), order: remembered, act: None, drops: false, layers: 2, ends: VmState::Running },
    Operation { name: "run_on", before: Some(Desired::Running), order: resumed, act: None, drops: false, layers: 3, ends: VmState::Running },
    Operation { name: "forget", before: Some(Desired::Running), order: forgotten, act: None, drops: false, layers: 3, ends: VmState::Running },
    Operation { name: "reclaim", before: Some(Desired::Stopped), order: reclaimed, act: None, drops: false, layers: 0, ends: VmState::Stopped },
    Operation { name: "erase", before: Some(Desired::Running), order: erased, act: None, drops: false, layers: 0, ends: VmState::Running },
    Operation { name: "remove_securely", before: Some(Desired::Running), order: removed_securely, act: None, drops: true, layers: 0, ends: VmState::Absent },
];

/// Times that a call is repeated until it is answered.
const TRIES: usize = 6;

/// Runs an operation as a manager would, repeating what was not answered; the places that it reached.
async fn run(op: &Operation, target: Option<(Place, Outcome)>) -> (Vec<Place>, bool) {
    let mut lab = Lab::new().await;
    if let Some(desired) = op.before {
        let to_hibernate = desired == Desired::Hibernated;
        lab.bring(&order(1, 1, if to_hibernate { Desired::Running } else { desired })).await;
        for n in 1..=op.layers {
            lab.bring(&layered(1 + n as i64, n)).await;
        }
        if op.name == "unexport" {
            lab.bring(&exported(2)).await;
        }
        if to_hibernate {
            lab.bring(&order(1, 1, Desired::Running)).await;
            lab.host.sim.meddle(vm(1), Some(VmState::Hibernated));
        }
    }
    let from = lab.host.sim.log().len();
    let what = format!("{} {target:?}", op.name);
    if op.drops {
        lab.manager.watch.lock().unwrap().push(gold());
    }
    lab.plan.arm(target);
    match op.act {
        Some(act) => repeat(&mut lab, 99, || NodeCall::Act { vm: vm(1), generation: 1, act }).await,
        None => drop(lab.bring(&(op.order)()).await),
    }
    if op.drops {
        repeat(&mut lab, 100, || NodeCall::DropImage { image: image().id }).await;
        repeat(&mut lab, 101, || NodeCall::DropNetwork { network: network() }).await;
        repeat(&mut lab, 102, || NodeCall::EnsureStore { store: gold() }).await;
        assert_eq!(lab.host.sim.seen().signed(GOLD), Some(gold().id), "{what}");
        repeat(&mut lab, 103, || NodeCall::DropStore { store: gold() }).await;
        assert_eq!(lab.host.sim.seen().signed(GOLD), None, "{what}");
    }
    let fired = lab.plan.fired();
    let places = lab.plan.disarm();
    check(&mut lab, op, from, &what).await;
    (places, fired)
}

async fn repeat(lab: &mut Lab, task: u128, call: impl Fn() -> NodeCall) {
    for _ in 0..TRIES {
        use virga_model::order::NodeAnswer as A;
        match lab.call(task, call()).await {
            Some(A::Refused { .. }) | None => lab.run(60_000).await,
            Some(_) => return,
        }
    }
    panic!("the host does not take the call");
}

async fn check(lab: &mut Lab, op: &Operation, from: usize, what: &str) {
    lab.run(10_000).await;
    let told = lab.report(vm(1)).expect("the VM is reported").observed;
    assert_eq!((told.state, told.settled, &told.error), (op.ends, true, &None), "{what}");
    assert!(told.drift.is_empty(), "{what}: {:?}", told.drift);
    let log = lab.host.sim.log();
    for effect in [" start ", " memory_restore ", " reset ", " reboot ", " hibernate ", " discard_saved "] {
        let times = log.iter().skip(from).filter(|l| l.contains(effect)).count();
        assert!(times <= 1, "{what}: {effect} was done {times} times: {log:?}");
    }
    use virga_agent::host::{Networks as _, Volumes};
    let disks: Vec<_> = lab.host.sim.disks().await.unwrap().into_iter().map(|d| (d.id, d.size_bytes)).collect();
    if op.ends == VmState::Absent {
        assert!(lab.host.sim.is_empty(), "{what}: nothing is left over");
        assert!(lab.host.sim.images(None).await.unwrap().is_empty(), "{what}");
        lab.host.sim.network_remove(&network()).await.unwrap();
    } else {
        let spec = (op.order)().spec;
        assert_eq!(lab.host.sim.exported_disks(), if spec.export.is_some() { spec.disks.len() } else { 0 }, "{what}: exports are those of the order");
        assert_eq!(told.exported.map(|e| e.id), spec.export.as_ref().map(|e| e.id), "{what}");
        let files = 1 + spec.layers.list.len();
        let wanted: Vec<_> = spec.disks.iter().flat_map(|d| std::iter::repeat_n((d.id, d.size_bytes), files)).collect();
        assert_eq!(disks, wanted, "{what}: disks are those of the order");
        let memories: Vec<_> = lab.host.sim.stored_memory(vm(1)).into_keys().collect();
        assert_eq!(memories, Vec::from_iter(spec.layers.memories), "{what}: stored memory is that of the order");
        assert_eq!(lab.host.sim.domain_order(vm(1)).expect("a definition").spec.disks, (op.order)().spec.disks, "{what}");
    }
}

/// Every point of one operation, with every outcome.
async fn every_point(op: &Operation) {
    let (places, _) = run(op, None).await;
    let places: Vec<Place> = places.into_iter().filter(|p| p.step.part() == Part::Agent).collect();
    let (mut runs, mut reached) = (0, 0);
    for (n, place) in places.iter().enumerate() {
        for outcome in [Outcome::Killed, Outcome::KilledAgain(n % 5), Outcome::Fails, Outcome::TimesOut] {
            runs += 1;
            reached += usize::from(run(op, Some((*place, outcome))).await.1);
        }
    }
    println!("crash points: {}, runs: {runs}, recovered: {runs} (agent {}; {reached} reached their point)", places.len(), op.name);
    assert!(reached * 10 >= runs * 9, "{}: only {reached} of {runs} runs reached their point", op.name);
}

macro_rules! every_operation {
    ($($name:ident),+) => {
        $(
            #[tokio::test]
            async fn $name() {
                every_point(OPERATIONS.iter().find(|o| o.name == stringify!($name)).expect("an operation")).await;
            }
        )+

        #[test]
        fn no_operation_is_forgotten() {
            assert_eq!(OPERATIONS.map(|o| o.name), [$(stringify!($name)),+]);
        }
    };
}

every_operation!(
    create,
    start,
    stop,
    shutdown,
    pause,
    resume,
    hibernate,
    wake,
    discard,
    edit,
    grow,
    reset,
    reboot,
    remove,
    snapshot,
    merge,
    export,
    unexport,
    revert,
    convert,
    remember,
    run_on,
    forget,
    reclaim,
    erase,
    remove_securely
);

#[tokio::test]
async fn no_step_of_the_agent_is_without_an_operation_that_reaches_it() {
    let mut reached: BTreeSet<Step> = BTreeSet::new();
    for op in &OPERATIONS {
        reached.extend(run(op, None).await.0.iter().map(|p| p.step));
    }
    let missing: Vec<&Step> = Step::ALL.iter().filter(|s| s.part() == Part::Agent && !reached.contains(s)).collect();
    assert!(missing.is_empty(), "no operation here reaches {missing:?}");
}

#[tokio::test]
async fn epochs_survive_a_kill_on_either_side_of_their_journalling() {
    use virga_crash::Moment;
    for moment in [Moment::Before, Moment::After] {
        let mut lab = Lab::new().await;
        lab.bring(&order(1, 1, Desired::Running)).await;
        lab.plan.arm(Some((Place { step: Step::JournalEpoch, moment, nth: 0 }, Outcome::Killed)));
        let head = |epoch| CallHead { task: TaskId(Uuid::from_u128(5)), epoch, deadline_ms: 1000 };
        assert!(lab.call_with(head(7), NodeCall::DropImage { image: image().id }).await.is_none());
        lab.run(5_000).await;
        lab.plan.disarm();
        lab.call_with(head(7), NodeCall::DropImage { image: image().id }).await.expect("the newer epoch is taken");
        let older = lab.call_with(head(6), NodeCall::DropImage { image: image().id }).await.expect("an answer");
        assert!(matches!(older, virga_model::order::NodeAnswer::Refused { .. }), "{moment:?}: {older:?}");
    }
}
