//! The real agent over a simulated machine: life cycle, crashes at every journal write, meddling, silence of the hypervisor.

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use uuid::Uuid;
use virga_agent::host::{Journal, Result};
use virga_agent::link::Link;
use virga_agent::node::Node;
use virga_model::data_store::{DataStoreSpec, StoreFact, StoreProblem};
use virga_model::disk::{DiskFormat, DiskWork, Erase, Leaving, Provisioning, Reclaim, Sharing};
use virga_model::order::{Act, CallHead, ImageRef, NodeAnswer, NodeCall, Report, ReportAck, StoreRef, VmOrder, VmReport, stores_digest};
use virga_model::vm::{Desired, DiskMode, DiskSpec, StopMode, VmState};
use virga_model::{DataStoreId, DiskId, ErrorCode, ImageId, TaskId, VmId};
use virga_sim::{MemoryJournal, SimClock, SimHost, StoreFault};

const IMAGE: &[u8] = b"content of an image";

/// A manager that remembers what it was told.
#[derive(Default)]
struct FakeManager {
    vms: Mutex<BTreeMap<VmId, VmReport>>,
    fetches: Mutex<u32>,
    /// What the rows know; said once.
    behind: Mutex<u64>,
    /// The data stores that hosts shall watch.
    watch: Mutex<Vec<StoreRef>>,
    /// What was said of data stores.
    stores: Mutex<Vec<StoreFact>>,
}

#[async_trait]
impl Link for FakeManager {
    async fn report(&self, report: &Report) -> Result<ReportAck> {
        let mut vms = self.vms.lock().unwrap();
        if report.full {
            vms.clear();
        }
        vms.extend(report.vms.iter().map(|v| (v.id, v.clone())));
        if let Some(stores) = &report.stores {
            self.stores.lock().unwrap().clone_from(stores);
        }
        let watch = self.watch.lock().unwrap();
        let stores = (stores_digest(&watch) != report.stores_digest).then(|| watch.clone());
        Ok(ReportAck { behind: std::mem::take(&mut *self.behind.lock().unwrap()), stores, ..ReportAck::default() })
    }

    async fn fetch_image(&self, _image: &ImageRef, offset: u64) -> Result<BoxStream<'static, Result<Vec<u8>>>> {
        *self.fetches.lock().unwrap() += 1;
        let rest = IMAGE[offset as usize..].to_vec();
        Ok(futures::stream::iter(rest.chunks(4).map(|c| Ok(c.to_vec())).collect::<Vec<_>>()).boxed())
    }
}

/// One simulated machine with an agent that can be killed and started.
struct Lab {
    clock: SimClock,
    host: Arc<SimHost>,
    journal: Arc<MemoryJournal>,
    manager: Arc<FakeManager>,
    node: Arc<Node>,
    reporting: tokio::task::JoinHandle<()>,
}

impl Lab {
    async fn new() -> Lab {
        let clock = SimClock::default();
        let host = SimHost::new("h1", 64 << 30, clock.clone());
        let journal = MemoryJournal::new();
        let manager = Arc::new(FakeManager::default());
        let node = Node::open(host.clone(), manager.clone(), journal.clone() as Arc<dyn Journal>).await.unwrap();
        let reporting = tokio::spawn(virga_agent::report::run(node.clone()));
        Lab { clock, host, journal, manager, node, reporting }
    }

    /// The agent is killed and started anew; the machine goes on. What the old one still had in hand never returns.
    async fn restart_agent(&mut self) {
        self.reporting.abort();
        self.journal.die_at(None);
        self.node = Node::open(self.host.clone(), self.manager.clone(), self.journal.clone() as Arc<dyn Journal>).await.unwrap();
        self.reporting = tokio::spawn(virga_agent::report::run(self.node.clone()));
    }

    async fn call(&self, call: NodeCall) -> NodeAnswer {
        let head = CallHead { task: TaskId(Uuid::from_u128(77)), epoch: 1, deadline_ms: 1000 };
        let node = self.node.clone();
        let answer = tokio::spawn(async move { node.call(head, call).await });
        self.clock.run_for(200).await;
        match tokio::time::timeout(std::time::Duration::from_secs(1), answer).await {
            Ok(a) => a.unwrap(),
            // The journal "died": no answer will ever come.
            Err(_) => NodeAnswer::Done,
        }
    }

    async fn ensure(&self, order: &VmOrder) -> NodeAnswer {
        self.call(NodeCall::EnsureVm { order: Box::new(order.clone()) }).await
    }

    fn report(&self, vm: VmId) -> VmReport {
        self.manager.vms.lock().unwrap().get(&vm).cloned().expect("the VM was reported")
    }

    /// Orders, and lets a minute pass.
    async fn bring(&self, order: &VmOrder) -> VmReport {
        self.ensure(order).await;
        self.clock.run_for(60_000).await;
        self.report(order.id)
    }
}

fn order(n: u128, generation: i64, desired: Desired) -> VmOrder {
    let disk = DiskSpec {
        id: DiskId(Uuid::from_u128(n + 1000)),
        size_bytes: 1 << 30,
        image: Some(ImageId(Uuid::from_u128(5))),
        bus: Default::default(),
        cache: Default::default(),
        mode: Default::default(),
        limits: Default::default(),
        origin: None,
        copy_of: None,
        provisioning: Default::default(),
        format: Default::default(),
        discard: Default::default(),
        sharing: Default::default(),
        store: None,
    };
    VmOrder {
        id: VmId(Uuid::from_u128(n)),
        name: format!("vm{n}"),
        generation,
        spec: serde_json::from_value(
            serde_json::json!({"cpu": {"count": 1, "max": 4}, "memory": {"bytes": 1u64 << 28, "max_bytes": 1u64 << 28}, "disks": [disk]}),
        )
        .unwrap(),
        desired,
        stop_mode: StopMode::Force,
        images: vec![ImageRef {
            id: ImageId(Uuid::from_u128(5)),
            format: virga_model::image::ImageFormat::Raw,
            size_bytes: IMAGE.len() as u64,
            virtual_bytes: 1 << 20,
            sha256: String::new(),
        }],
        networks: vec![],
        keep_disks: vec![],
        keep_layers: vec![],
        former_spec: None,
        stores: vec![],
        keep_memories: vec![],
    }
    .with_real_sha()
}

trait WithSha {
    fn with_real_sha(self) -> Self;
}

impl WithSha for VmOrder {
    fn with_real_sha(mut self) -> Self {
        use sha2::{Digest, Sha256};
        self.images[0].sha256 = Sha256::digest(IMAGE).iter().map(|b| format!("{b:02x}")).collect();
        self
    }
}

#[tokio::test]
async fn the_whole_life_of_a_vm() {
    let lab = Lab::new().await;
    let mut generation = 0;
    for (desired, state) in [
        (Desired::Running, VmState::Running),
        (Desired::Paused, VmState::Paused),
        (Desired::Running, VmState::Running),
        (Desired::Hibernated, VmState::Hibernated),
        (Desired::Running, VmState::Running),
        (Desired::Stopped, VmState::Stopped),
    ] {
        generation += 1;
        let r = lab.bring(&order(1, generation, desired)).await.observed;
        assert_eq!((r.state, r.settled, r.error, r.generation), (state, true, None, generation), "{desired:?}");
        assert!(r.drift.is_empty(), "{:?}", r.drift);
    }
    lab.bring(&order(1, 7, Desired::Running)).await;
    let graceful = VmOrder { stop_mode: StopMode::Graceful, ..order(1, 8, Desired::Stopped) };
    assert_eq!(lab.bring(&graceful).await.observed.state, VmState::Stopped);
    assert!(lab.host.log().iter().any(|l| l.contains("shutdown")), "the guest was asked, not cut off");
    let gone = lab.bring(&order(1, 9, Desired::Absent)).await.observed;
    assert_eq!((gone.state, gone.settled), (VmState::Absent, true));
    assert!(lab.host.is_empty());
    assert!(matches!(lab.ensure(&order(1, 8, Desired::Running)).await, NodeAnswer::Refused { .. }), "a late order of before is refused");
}

#[tokio::test]
async fn killed_before_every_journal_write_it_ends_where_it_was_told() {
    let mut points = 0;
    for (desired, state) in [(Desired::Running, VmState::Running), (Desired::Stopped, VmState::Stopped), (Desired::Absent, VmState::Absent)] {
        for n in 1..40 {
            let mut lab = Lab::new().await;
            // For the ways down there is a running VM to begin with.
            let mut generation = 1;
            if desired != Desired::Running {
                lab.bring(&order(1, generation, Desired::Running)).await;
                generation += 1;
            }
            let before = lab.journal.writes();
            lab.journal.die_at(Some(before + n));
            lab.ensure(&order(1, generation, desired)).await;
            lab.clock.run_for(30_000).await;
            let reached = lab.journal.writes() >= before + n;
            lab.restart_agent().await;
            // The manager never got an answer, so it orders again.
            let r = lab.bring(&order(1, generation, desired)).await.observed;
            assert_eq!((r.state, r.settled, r.error), (state, true, None), "{desired:?} killed before write {n}");
            points += 1;
            if !reached {
                break;
            }
        }
    }
    assert!(points > 10, "only {points} crash points were reached");
}

#[tokio::test]
async fn older_orders_and_epochs_are_refused() {
    let lab = Lab::new().await;
    lab.bring(&order(1, 5, Desired::Running)).await;
    let NodeAnswer::Refused { error } = lab.ensure(&order(1, 4, Desired::Stopped)).await else { panic!("must be refused") };
    assert_eq!(error.code, ErrorCode::Conflict);
    let head = |epoch| CallHead { task: TaskId(Uuid::nil()), epoch, deadline_ms: 1000 };
    let drop_image = || NodeCall::DropImage { image: ImageId(Uuid::nil()) };
    assert_eq!(lab.node.call(head(3), drop_image()).await, NodeAnswer::Done);
    assert!(matches!(lab.node.call(head(2), drop_image()).await, NodeAnswer::Refused { .. }));
    assert_eq!(lab.host.domain_state(VmId(Uuid::from_u128(1))), Some(VmState::Running));
}

#[tokio::test]
async fn what_others_do_is_reported_and_nothing_is_destroyed() {
    let lab = Lab::new().await;
    let id = VmId(Uuid::from_u128(1));
    lab.bring(&order(1, 1, Desired::Running)).await;
    let drift = |lab: &Lab| lab.report(id).observed.drift.iter().map(|d| d.what.clone()).collect::<Vec<_>>();

    lab.host.meddle(id, Some(VmState::Stopped));
    lab.clock.run_for(10_000).await;
    assert_eq!((lab.report(id).observed.state, drift(&lab)), (VmState::Stopped, vec!["power".to_string()]));

    assert_eq!(lab.bring(&order(1, 2, Desired::Running)).await.observed.drift, vec![]);
    lab.host.edit_outside(id);
    lab.clock.run_for(10_000).await;
    assert_eq!(drift(&lab), ["definition"]);
    let defined = lab.host.log().iter().filter(|l| l.contains("define")).count();
    lab.bring(&order(1, 3, Desired::Paused)).await;
    assert_eq!(lab.host.log().iter().filter(|l| l.contains("define")).count(), defined, "a power action does not undo a foreign edit");

    lab.bring(&order(1, 4, Desired::Running)).await;
    lab.host.meddle(id, None);
    lab.clock.run_for(10_000).await;
    assert_eq!((lab.report(id).observed.state, drift(&lab)), (VmState::Running, vec!["definition".to_string()]));
    lab.host.meddle(id, Some(VmState::Stopped));
    lab.host.meddle(id, None);
    lab.clock.run_for(10_000).await;
    assert_eq!(lab.report(id).observed.state, VmState::Absent);
    assert!(!lab.host.is_empty(), "the disks of a VM that somebody undefined stay");
    let back = lab.bring(&order(1, 5, Desired::Running)).await.observed;
    assert_eq!((back.state, back.drift), (VmState::Running, vec![]));
}

#[tokio::test]
async fn a_silent_hypervisor_makes_states_unknown_and_work_waits_for_it() {
    let lab = Lab::new().await;
    lab.bring(&order(1, 1, Desired::Running)).await;
    lab.host.set_faults(|f| f.hypervisor_down = true);
    let r = lab.bring(&order(1, 2, Desired::Stopped)).await.observed;
    assert_eq!((r.state, r.settled, r.error), (VmState::Unknown, false, None));
    lab.host.set_faults(|f| f.hypervisor_down = false);
    lab.clock.run_for(30_000).await;
    let r = lab.report(VmId(Uuid::from_u128(1))).observed;
    assert_eq!((r.state, r.settled), (VmState::Stopped, true));
}

#[tokio::test]
async fn an_act_happens_once_however_often_it_is_asked_for() {
    let lab = Lab::new().await;
    let vm = VmId(Uuid::from_u128(1));
    lab.bring(&order(1, 1, Desired::Running)).await;
    for _ in 0..3 {
        lab.call(NodeCall::Act { vm, generation: 1, act: Act::Reset }).await;
    }
    assert_eq!(lab.host.log().iter().filter(|l| l.contains(" reset ")).count(), 1);
    lab.clock.run_for(5_000).await;
    assert_eq!(lab.report(vm).observed.acts.len(), 1);
}

#[tokio::test]
async fn a_detached_disk_stays_until_the_edit_is_known_to_have_succeeded() {
    let lab = Lab::new().await;
    let first = order(1, 1, Desired::Running);
    lab.bring(&first).await;
    let mut edit = VmOrder { generation: 2, ..first.clone() };
    edit.keep_disks = vec![edit.spec.disks.remove(0).id];
    lab.bring(&edit).await;
    assert!(!lab.host.log().iter().any(|l| l.contains("disk_remove")));
    edit.generation = 3;
    edit.keep_disks.clear();
    lab.bring(&edit).await;
    assert!(lab.host.log().iter().any(|l| l.contains("disk_remove")));
}

/// DSK-17, DSK-18: what a guest writes to a non-persistent disk lives as long as the guest does.
#[tokio::test]
async fn a_non_persistent_disk_forgets_when_the_guest_is_switched_off() {
    let mut lab = Lab::new().await;
    let nonpersistent = |generation, desired| {
        let mut o = order(1, generation, desired);
        o.spec.disks[0].mode = DiskMode::IndependentNonpersistent;
        o
    };
    let (vm, disk) = (VmId(Uuid::from_u128(1)), DiskId(Uuid::from_u128(1001)));
    let held = |lab: &Lab| lab.host.guest_reads(vm, disk).expect("the disk is defined");
    lab.bring(&nonpersistent(1, Desired::Running)).await;
    lab.host.guest_writes(vm);
    lab.restart_agent().await;
    lab.bring(&nonpersistent(2, Desired::Hibernated)).await;
    lab.bring(&nonpersistent(3, Desired::Running)).await;
    assert_eq!(held(&lab).len(), 1, "memory and disk belong together");
    lab.call(NodeCall::Act { vm, generation: 3, act: Act::Reset }).await;
    assert_eq!(held(&lab).len(), 1, "a reset switches nothing off");
    lab.bring(&nonpersistent(4, Desired::Stopped)).await;
    assert_eq!(lab.host.disk_files(), [(disk, None)], "its layer is gone");
    lab.bring(&nonpersistent(5, Desired::Running)).await;
    assert!(held(&lab).is_empty(), "and what was written with it");

    // The guest switches itself off, and nobody was told to throw the layer away: the next start does.
    lab.host.guest_writes(vm);
    lab.host.meddle(vm, Some(VmState::Stopped));
    lab.bring(&nonpersistent(6, Desired::Running)).await;
    assert!(held(&lab).is_empty());

    // Another mode comes with the next start; until then the guest keeps what it has.
    lab.host.guest_writes(vm);
    let report = lab.bring(&order(1, 7, Desired::Running)).await;
    assert!(report.observed.pending.iter().any(|p| p.contains("mode dependent")), "{:?}", report.observed.pending);
    assert_eq!(held(&lab).len(), 1);
    lab.bring(&order(1, 8, Desired::Stopped)).await;
    lab.bring(&order(1, 9, Desired::Running)).await;
    lab.host.guest_writes(vm);
    lab.bring(&order(1, 10, Desired::Stopped)).await;
    assert_eq!((held(&lab).len(), lab.host.disk_files()), (1, vec![(disk, None)]));
}

#[tokio::test]
async fn failures_are_reported_with_their_reason_and_the_next_order_mends_them() {
    let lab = Lab::new().await;
    lab.host.set_faults(|f| f.start_fails = Some("no bridge virbr9".into()));
    let r = lab.bring(&order(1, 1, Desired::Running)).await.observed;
    assert!(r.settled && r.error.unwrap().message.contains("virbr9"));
    lab.host.set_faults(|f| f.start_fails = None);
    let r = lab.bring(&order(1, 2, Desired::Running)).await.observed;
    assert_eq!((r.state, r.error), (VmState::Running, None));
}

#[tokio::test]
async fn twenty_at_once_fetch_the_image_once_and_all_come_up() {
    let lab = Lab::new().await;
    for n in 1..=20 {
        lab.ensure(&order(n, 1, Desired::Running)).await;
    }
    lab.clock.run_for(60_000).await;
    for n in 1..=20 {
        let r = lab.report(VmId(Uuid::from_u128(n))).observed;
        assert_eq!((r.state, r.settled), (VmState::Running, true), "vm{n}");
        assert_eq!(r.guest.agent, virga_model::vm::AgentState::Connected);
    }
    assert_eq!(*lab.manager.fetches.lock().unwrap(), 1);
}

#[tokio::test]
async fn an_agent_that_lost_its_journal_tells_what_runs_and_takes_it_over_when_told() {
    let mut lab = Lab::new().await;
    let vm = VmId(Uuid::from_u128(1));
    lab.bring(&order(1, 3, Desired::Running)).await;
    lab.journal = MemoryJournal::new();
    lab.restart_agent().await;
    lab.clock.run_for(10_000).await;
    let r = lab.report(vm).observed;
    assert_eq!((r.state, r.settled), (VmState::Running, false), "neither gone nor said to be in order");
    let starts = || lab.host.log().iter().filter(|l| l.contains(" start ")).count();
    let before = starts();
    let r = lab.bring(&order(1, 3, Desired::Running)).await.observed;
    assert_eq!((r.state, r.settled, starts()), (VmState::Running, true, before), "taken over, not started again");
}

/// What an earlier life of the agent said may still be under way when its journal is lost: it must be older than anything
/// that the next life says (V5).
#[tokio::test]
async fn a_report_names_the_life_of_its_agent() {
    let mut lab = Lab::new().await;
    let vm = VmId(Uuid::from_u128(1));
    let life = |r: VmReport| r.observed.revision >> 32;
    let first = life(lab.bring(&order(1, 3, Desired::Running)).await);
    lab.journal = MemoryJournal::new();
    lab.restart_agent().await;
    lab.clock.run_for(10_000).await;
    let second = life(lab.report(vm));
    assert!(second > first, "{first}, {second}");
    // Where the clock was wrong the rows know more: their lives are passed over, and those of which they may not know yet.
    *lab.manager.behind.lock().unwrap() = ((second + 1000) << 32) + 5;
    lab.clock.run_for(10_000).await;
    assert!(life(lab.report(vm)) > second + 1000 + 100);
}

#[tokio::test]
async fn a_newer_order_overtakes_one_that_waits_for_the_guest() {
    let lab = Lab::new().await;
    lab.bring(&order(1, 1, Desired::Running)).await;
    lab.host.set_faults(|f| f.guests_ignore_shutdown = true);
    let r = lab.bring(&VmOrder { stop_mode: StopMode::Graceful, ..order(1, 2, Desired::Stopped) }).await.observed;
    assert_eq!((r.state, r.settled), (VmState::Running, false));
    let r = lab.bring(&order(1, 3, Desired::Stopped)).await.observed;
    assert_eq!((r.state, r.settled), (VmState::Stopped, true));
}

/// W-40: an agent that is killed while it overwrites goes on, and tells what it did and what may be left.
#[tokio::test]
async fn a_disk_that_leaves_is_overwritten_and_that_is_told() {
    let mut lab = Lab::new().await;
    let first = order(1, 1, Desired::Running);
    lab.bring(&first).await;
    let mut edit = VmOrder { generation: 2, ..first.clone() };
    let disk = edit.spec.disks.remove(0).id;
    edit.keep_disks = vec![disk];
    edit.spec.disk_work.leaving = vec![Leaving { disk, erase: Erase::Secure, shared: false, store: None }];
    let r = lab.bring(&edit).await.observed;
    assert!(r.disk_work.is_none() && lab.host.disk_files().len() == 1, "kept until the edit is known to have succeeded");
    lab.host.set_faults(|f| f.erase_fails = Some("no".into()));
    edit.generation = 3;
    edit.keep_disks.clear();
    let r = lab.bring(&edit).await.observed;
    assert!(r.error.is_some() && lab.host.disk_files().len() == 1, "what could not be overwritten is not removed");
    lab.host.set_faults(|f| f.erase_fails = None);
    lab.restart_agent().await;
    edit.generation = 4;
    let r = lab.bring(&edit).await.observed;
    assert!(r.settled && r.error.is_none() && lab.host.disk_files().is_empty());
    assert_eq!((r.disk_work.erased.len(), r.disk_work.erased[0].disk, r.disk_work.erased[0].bytes), (1, disk, 1 << 30));
    assert!(!r.disk_work.erased[0].left.is_empty() && !lab.host.log().iter().any(|l| l.contains("disk_remove")));
    // The report stays until something else leaves.
    let mut next = VmOrder { generation: 5, ..edit };
    next.spec.disk_work = DiskWork::default();
    assert!(lab.bring(&next).await.observed.disk_work.erased.is_empty());
}

#[tokio::test]
async fn a_vm_that_goes_securely_leaves_no_file_that_was_not_overwritten() {
    let lab = Lab::new().await;
    let first = order(1, 1, Desired::Running);
    lab.bring(&first).await;
    let mut gone = VmOrder { generation: 2, desired: Desired::Absent, ..first.clone() };
    gone.spec.disk_work.leaving = first.spec.disks.iter().map(|d| Leaving { disk: d.id, erase: Erase::Secure, shared: false, store: None }).collect();
    let r = lab.bring(&gone).await.observed;
    assert_eq!((r.state, r.settled, r.disk_work.erased.len()), (VmState::Absent, true, 1));
    assert!(lab.host.is_empty() && lab.host.log().iter().any(|l| l.contains("disk_erase")));
}

/// DSK-08: the same wish is done once, whoever asks again and whoever is killed.
#[tokio::test]
async fn space_is_reclaimed_once_for_each_wish() {
    let mut lab = Lab::new().await;
    let first = order(1, 1, Desired::Stopped);
    lab.bring(&first).await;
    let mut wish = VmOrder { generation: 2, ..first.clone() };
    wish.spec.disk_work.reclaim = Some(Reclaim { disk: first.spec.disks[0].id, generation: 2 });
    let r = lab.bring(&wish).await.observed;
    assert_eq!(r.disk_work.reclaimed.as_ref().map(|d| (d.generation, d.bytes > 0)), Some((2, true)));
    lab.restart_agent().await;
    let again = VmOrder { generation: 3, ..wish.clone() };
    assert!(lab.bring(&again).await.observed.settled);
    let done = || lab.host.log().iter().filter(|l| l.contains("disk_reclaim")).count();
    assert_eq!(done(), 1);
    lab.host.set_faults(|f| f.reclaim_fails = Some("the guest agent refuses".into()));
    let mut other = VmOrder { generation: 4, ..wish };
    other.spec.disk_work.reclaim = Some(Reclaim { disk: first.spec.disks[0].id, generation: 4 });
    assert!(lab.bring(&other).await.observed.error.is_some());
    assert_eq!(done(), 2);
}

/// DSK-14: the file of a shared disk is of no VM, and goes when an order says that this VM was the last.
#[tokio::test]
async fn a_shared_disk_outlives_the_vm_that_made_it() {
    let lab = Lab::new().await;
    let shared = DiskSpec {
        id: DiskId(Uuid::from_u128(0x5a)),
        image: None,
        sharing: Sharing::Shared,
        format: DiskFormat::Raw,
        provisioning: Provisioning::ThickLazy,
        mode: DiskMode::IndependentPersistent,
        ..order(1, 1, Desired::Running).spec.disks[0].clone()
    };
    for n in [1, 2] {
        let mut o = order(n, 1, Desired::Running);
        o.spec.disks.push(shared.clone());
        assert!(lab.bring(&o).await.observed.error.is_none());
    }
    let there = || lab.host.disk_files().iter().any(|(d, _)| *d == shared.id);
    let gone = order(1, 2, Desired::Absent);
    lab.bring(&gone).await;
    assert!(there(), "the other one has it");
    let mut last = order(2, 2, Desired::Running);
    last.spec.disk_work.leaving = vec![Leaving { disk: shared.id, erase: Erase::Normal, shared: true, store: None }];
    last.keep_disks = vec![shared.id];
    lab.bring(&last).await;
    assert!(there(), "kept for the way back");
    last.generation = 3;
    last.keep_disks.clear();
    assert!(lab.bring(&last).await.observed.settled);
    assert!(!there());
}

const GOLD: &str = "/srv/gold";

fn gold() -> StoreRef {
    StoreRef {
        id: DataStoreId(Uuid::from_u128(70)),
        name: "gold".into(),
        spec: DataStoreSpec::SharedDirectory { path: GOLD.into(), backing: Default::default() },
    }
}

/// An order whose disk lies on the data store.
fn on_gold(generation: i64, desired: Desired) -> VmOrder {
    let mut o = order(1, generation, desired);
    o.spec.disks[0].store = Some(gold().id);
    o.stores = vec![gold()];
    o
}

/// A lab whose host was told of the data store and has signed it.
async fn with_gold() -> Lab {
    let lab = Lab::new().await;
    lab.manager.watch.lock().unwrap().push(gold());
    assert_eq!(lab.call(NodeCall::EnsureStore { store: gold() }).await, NodeAnswer::Done);
    assert_eq!(lab.call(NodeCall::EnsureStore { store: gold() }).await, NodeAnswer::Done, "twice is once");
    lab.clock.run_for(20_000).await;
    lab
}

fn fault(lab: &Lab, fault: Option<StoreFault>) {
    lab.host.set_faults(|f| {
        f.stores.clear();
        f.stores.extend(fault.map(|x| (GOLD.to_string(), x)));
    });
}

#[tokio::test]
async fn data_stores_are_watched_and_what_is_found_is_told() {
    let mut lab = with_gold().await;
    let found = |lab: &Lab| lab.manager.stores.lock().unwrap().first().cloned().expect("told");
    assert!(found(&lab).reachable() && found(&lab).free_bytes > 0);
    for (wrong, problem) in [
        (StoreFault::Lost, StoreProblem::Missing),
        (StoreFault::Stalled, StoreProblem::Stalled),
        (StoreFault::Failing, StoreProblem::Failed),
        (StoreFault::ReadOnly, StoreProblem::ReadOnly),
        (StoreFault::Wrong, StoreProblem::Wrong),
    ] {
        fault(&lab, Some(wrong));
        lab.clock.run_for(20_000).await;
        assert_eq!(found(&lab).problem, Some(problem));
        fault(&lab, None);
        lab.clock.run_for(20_000).await;
        assert_eq!(found(&lab).problem, None);
    }
    // An agent that is started anew knows from its journal what to watch, also while no manager answers.
    lab.restart_agent().await;
    lab.clock.run_for(20_000).await;
    assert!(found(&lab).reachable());
    lab.manager.watch.lock().unwrap().clear();
    lab.clock.run_for(20_000).await;
    assert!(lab.manager.stores.lock().unwrap().is_empty(), "what is not to be watched is not told");
}

#[tokio::test]
async fn a_vm_on_a_lost_data_store_waits_and_is_never_made_anew() {
    let lab = with_gold().await;
    let r = lab.bring(&on_gold(1, Desired::Running)).await.observed;
    assert_eq!((r.state, r.settled, r.error), (VmState::Running, true, None));
    let files = lab.host.disk_files();
    fault(&lab, Some(StoreFault::Lost));
    // The plug can be pulled.
    let r = lab.bring(&on_gold(2, Desired::Stopped)).await.observed;
    assert_eq!(r.state, VmState::Stopped);
    // A start waits, and goes on by itself.
    let r = lab.bring(&on_gold(3, Desired::Running)).await;
    assert_eq!((r.observed.state, r.observed.settled), (VmState::Stopped, false));
    assert!(r.progress.unwrap().step.contains("data store gold"));
    fault(&lab, None);
    lab.clock.run_for(30_000).await;
    let r = lab.report(VmId(Uuid::from_u128(1))).observed;
    assert_eq!((r.state, r.settled, r.error), (VmState::Running, true, None));
    assert_eq!(lab.host.disk_files(), files);
    // Another data store in its place is no reason to wait.
    fault(&lab, Some(StoreFault::Wrong));
    let mut edit = on_gold(4, Desired::Running);
    edit.spec.cpu.count = 2;
    let r = lab.bring(&edit).await.observed;
    assert!(r.settled && r.error.unwrap().message.contains("another data store"));
    // Its removal waits for the storage, so that nothing is left there.
    fault(&lab, Some(StoreFault::Stalled));
    let r = lab.bring(&on_gold(5, Desired::Absent)).await.observed;
    assert!(!r.settled && lab.host.disk_files() == files);
    fault(&lab, None);
    lab.clock.run_for(30_000).await;
    assert!(lab.host.is_empty());
}

#[tokio::test]
async fn a_data_store_is_one_for_all_hosts_that_see_it() {
    let a = with_gold().await;
    let b = Lab::new().await;
    b.host.see(&a.host.seen());
    a.bring(&on_gold(1, Desired::Stopped)).await;
    let mut other = on_gold(1, Desired::Stopped);
    (other.id, other.spec.disks[0].id) = (VmId(Uuid::from_u128(2)), DiskId(Uuid::from_u128(2002)));
    b.bring(&other).await;
    assert_eq!((*a.manager.fetches.lock().unwrap(), *b.manager.fetches.lock().unwrap()), (1, 0), "the image is there already");
    let strange = StoreRef { id: DataStoreId(Uuid::from_u128(71)), ..gold() };
    let refused = b.call(NodeCall::EnsureStore { store: strange }).await;
    assert!(matches!(refused, NodeAnswer::Refused { error } if error.code == ErrorCode::Conflict));
    let refused = a.call(NodeCall::DropStore { store: gold() }).await;
    assert!(matches!(refused, NodeAnswer::Refused { error } if error.message.contains("still lie")));
    a.bring(&on_gold(2, Desired::Absent)).await;
    assert!(matches!(a.call(NodeCall::DropStore { store: gold() }).await, NodeAnswer::Refused { .. }), "the other host's disk");
    (other.generation, other.desired) = (2, Desired::Absent);
    b.bring(&other).await;
    assert_eq!(a.call(NodeCall::DropStore { store: gold() }).await, NodeAnswer::Done);
    assert_eq!(a.host.seen().signed(GOLD), None);
}
