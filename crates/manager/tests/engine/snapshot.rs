//! Snapshots for tasks on them, and what guests wrote held against what is read afterwards.

use crate::cloud::Cloud;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;
use virga_model::layer::Merge;
use virga_model::snapshot::{Snapshot, SnapshotKind, SnapshotState};
use virga_model::task::{Task, TaskKind, TaskState};
use virga_model::vm::{Desired, StopMode};
use virga_model::{DiskId, LayerId, SnapshotId};
use virga_store::Tx;

/// The layer on which a guest goes on that went back.
const REVERTED: LayerId = LayerId(Uuid::from_u128(150));

fn id(n: u128) -> SnapshotId {
    SnapshotId(Uuid::from_u128(200 + n))
}

/// What a task of `kind` finds: for going back, and for taking away, three snapshots with something written between them.
pub async fn prepare(cloud: &mut Cloud, kind: TaskKind) {
    if !matches!(kind, TaskKind::SnapshotCreate | TaskKind::SnapshotRevert | TaskKind::SnapshotDelete) {
        return;
    }
    cloud.host.guest_writes(cloud.vm_id);
    if kind != TaskKind::SnapshotCreate {
        for n in 1..=3 {
            let task = take(cloud, n).await;
            assert_eq!(cloud.watch(task.id).await.state, TaskState::Succeeded);
            cloud.host.guest_writes(cloud.vm_id);
        }
    }
}

async fn frozen(tx: &mut Tx, cloud: &Cloud, but: Option<SnapshotId>) -> BTreeSet<Option<LayerId>> {
    virga_store::snapshot::of_vm(tx, cloud.vm_id).await.unwrap().iter().filter(|s| Some(s.id) != but).map(|s| s.layer).collect()
}

/// Whether the n-th snapshot holds the guest's memory: all but the third, so that both kinds stand beside each other.
fn with_memory(n: u128) -> bool {
    n != 3
}

/// Takes the n-th snapshot.
pub async fn take(cloud: &Cloud, n: u128) -> Task {
    let layer = LayerId(Uuid::from_u128(100 + n));
    let write = async |tx: &mut Tx, vm: &mut virga_model::vm::Vm| {
        let row = Snapshot {
            id: id(n),
            vm: vm.id,
            name: format!("s{n}"),
            note: String::new(),
            kind: if with_memory(n) { SnapshotKind::Memory } else { SnapshotKind::Ordinary },
            state: SnapshotState::Creating,
            parent: vm.spec.layers.snapshot,
            layer: vm.spec.layers.top,
            spec: vm.spec.clone(),
            generation: 1,
            created_at: cloud.clock.time(),
            memory_bytes: None,
            paused_ms: None,
            schedule: None,
            scheduled_at: None,
        };
        virga_store::snapshot::insert(tx, &row).await.unwrap();
        let mut former = vm.spec.clone();
        former.layers.merges.push(Merge { from: layer, into: former.layers.top });
        vm.former_spec = Some(former);
        if with_memory(n) {
            vm.spec.layers.take_with_memory(layer, row.id);
        } else {
            vm.spec.layers.take(layer, false, row.id);
        }
    };
    cloud.change(TaskKind::SnapshotCreate, None, Some(id(n)), write).await
}

/// Goes back to the n-th snapshot, where the guest runs on with its memory.
pub async fn revert(cloud: &Cloud, n: u128) -> Task {
    let write = async |tx: &mut Tx, vm: &mut virga_model::vm::Vm| {
        let to = virga_store::snapshot::get(tx, id(n)).await.unwrap().unwrap();
        let frozen = frozen(tx, cloud, None).await;
        vm.former_spec = Some(vm.spec.clone());
        vm.spec.layers.revert(to.layer, REVERTED, to.id, &frozen);
        vm.spec.layers.resume = Some(to.id);
        (vm.desired, vm.stop_mode) = (Desired::Running, StopMode::Force);
    };
    cloud.change(TaskKind::SnapshotRevert, None, Some(id(n)), write).await
}

/// Takes the n-th snapshot away.
pub async fn delete(cloud: &Cloud, n: u128) -> Task {
    let write = async |tx: &mut Tx, vm: &mut virga_model::vm::Vm| {
        let mut row = virga_store::snapshot::get(tx, id(n)).await.unwrap().unwrap();
        let frozen = frozen(tx, cloud, Some(row.id)).await;
        vm.former_spec = Some(vm.spec.clone());
        let merges = vm.spec.layers.tidy(&frozen);
        vm.spec.layers.memories.remove(&row.id);
        assert!(merges.len() <= 1, "one in the middle, unless it was begun before");
        (row.state, row.generation) = (SnapshotState::Deleting, row.generation + 1);
        virga_store::snapshot::update(tx, &row, row.generation - 1).await.unwrap();
    };
    cloud.change(TaskKind::SnapshotDelete, None, Some(id(n)), write).await
}

/// Layers that could not be merged leave their snapshot half gone; whoever asks again gets it done.
pub async fn mend(cloud: &mut Cloud, task: &Task, what: &str) {
    if task.kind == TaskKind::SnapshotDelete && snapshots(cloud).await.iter().any(|s| s.state == SnapshotState::Deleting) {
        // One that was stopped, too: whether the host has begun nobody can say.
        assert_ne!(task.state, TaskState::Succeeded, "{what}");
        let again = delete(cloud, 2).await;
        let again = cloud.watch(again.id).await;
        assert_eq!(again.state, TaskState::Succeeded, "asked again: {again:?}: {what}");
    }
}

type Reads = BTreeMap<DiskId, BTreeSet<u64>>;

/// What could be read before a task.
pub struct Written {
    last: u64,
    guest: Reads,
    snapshots: BTreeMap<SnapshotId, Reads>,
    memories: BTreeMap<SnapshotId, u64>,
}

async fn snapshots(cloud: &Cloud) -> Vec<Snapshot> {
    let mut tx = cloud.wire.store.read().await.unwrap();
    virga_store::snapshot::of_vm(&mut tx, cloud.vm_id).await.unwrap()
}

impl Written {
    /// Looks, where `kind` is about snapshots.
    pub async fn look(cloud: &Cloud, kind: TaskKind) -> Written {
        let mut w = Written { last: cloud.host.last_number(), guest: Reads::new(), snapshots: BTreeMap::new(), memories: BTreeMap::new() };
        let Some(vm) = cloud.vm_row().await.filter(|_| matches!(kind, TaskKind::SnapshotCreate | TaskKind::SnapshotRevert | TaskKind::SnapshotDelete)) else {
            return w;
        };
        w.memories = cloud.host.stored_memory(vm.id);
        for d in &vm.spec.disks {
            w.guest.insert(d.id, cloud.host.guest_reads(vm.id, d.id).expect("the disk is defined"));
            for s in snapshots(cloud).await {
                w.snapshots.entry(s.id).or_default().insert(d.id, cloud.host.reads(d.id, s.layer));
            }
        }
        w
    }

    /// Nothing is lost: every snapshot that is left reads as before, and the guest as the end of `task` says.
    pub async fn check(&self, cloud: &Cloud, task: &Task, what: &str) {
        let rows = snapshots(cloud).await;
        assert!(rows.iter().all(|s| s.state == SnapshotState::Ready), "no snapshot is left half done: {rows:?}: {what}");
        for s in &rows {
            for (disk, before) in self.snapshots.get(&s.id).into_iter().flatten() {
                assert_eq!(&cloud.host.reads(*disk, s.layer), before, "snapshot {} is what it was: {what}", s.name);
            }
        }
        if !self.guest.is_empty() {
            self.check_memories(cloud, &rows, what);
        }
        let succeeded = task.state == TaskState::Succeeded;
        // A step back whose last tidying up was refused has failed, and still the guest is there.
        let reverted = cloud.vm_row().await.is_some_and(|v| v.spec.layers.top == Some(REVERTED));
        assert!(reverted || !succeeded || task.kind != TaskKind::SnapshotRevert, "{what}");
        match task.kind {
            TaskKind::SnapshotCreate => assert_eq!(rows.len(), usize::from(succeeded), "{what}"),
            TaskKind::SnapshotDelete if succeeded => assert!(!rows.iter().any(|s| s.id == id(2)), "{what}"),
            _ => {}
        }
        for (disk, before) in &self.guest {
            let now = cloud.host.guest_reads(cloud.vm_id, *disk).expect("the disk is defined");
            let old: BTreeSet<u64> = now.iter().copied().filter(|n| *n <= self.last).collect();
            if reverted {
                assert_eq!(&old, &self.snapshots[&id(1)][disk], "the guest is where the snapshot was: {what}");
                let memory = cloud.host.guest_memory(cloud.vm_id).expect("the guest runs");
                assert!(memory == self.memories[&id(1)] || memory > self.last, "and so is its memory, which is {memory}: {what}");
            } else {
                assert_eq!(&old, before, "the guest lost nothing: {what}");
            }
            if task.kind != TaskKind::SnapshotRevert {
                assert_eq!(now, (1..=cloud.host.last_number()).collect(), "nor of what it wrote meanwhile: {what}");
            }
        }
    }

    /// Memory lies stored for every snapshot that has some and for no other, and is that of the moment of its disks.
    fn check_memories(&self, cloud: &Cloud, rows: &[Snapshot], what: &str) {
        let stored = cloud.host.stored_memory(cloud.vm_id);
        let wanted: BTreeSet<SnapshotId> = rows.iter().filter(|s| s.kind == SnapshotKind::Memory).map(|s| s.id).collect();
        assert_eq!(stored.keys().copied().collect::<BTreeSet<_>>(), wanted, "stored memory is that of the rows: {what}");
        for s in rows.iter().filter(|s| s.kind == SnapshotKind::Memory) {
            assert!(s.memory_bytes.is_some(), "the row tells its size: {what}");
            for disk in self.guest.keys() {
                let last = cloud.host.reads(*disk, s.layer).last().copied();
                assert_eq!(Some(stored[&s.id]), last, "memory and disks of {} are of one moment: {what}", s.name);
            }
        }
    }
}
