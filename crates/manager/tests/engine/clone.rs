//! Clones, templates and the way back to a restore point, for tasks on them.

use crate::cloud::Cloud;
use uuid::Uuid;
use virga_agent::host::Volumes;
use virga_model::clone::{self, CloneForm, CloneKind, Source};
use virga_model::layer::Merge;
use virga_model::task::{Task, TaskKind, TaskState};
use virga_model::vm::{Desired, Vm, VmSpec};
use virga_model::{DiskId, LayerId, VmId};

/// A template that the machine has from before.
pub const TEMPLATE: VmId = VmId(Uuid::from_u128(30));
/// Its disk.
pub const TEMPLATE_DISK: DiskId = DiskId(Uuid::from_u128(31));
const LAYER: LayerId = LayerId(Uuid::from_u128(40));

fn template_spec() -> VmSpec {
    let disk = serde_json::json!({"id": TEMPLATE_DISK, "size_bytes": 1u64 << 30});
    let spec = serde_json::json!({"cpu": {"count": 1, "max": 4}, "memory": {"bytes": 1u64 << 28, "max_bytes": 1u64 << 28}, "disks": [disk], "template": true});
    serde_json::from_value(spec).unwrap()
}

fn ids(first: u128) -> impl FnMut() -> Uuid {
    let mut n = first;
    move || {
        n += 1;
        Uuid::from_u128(n)
    }
}

/// A linked clone of the template, with one more disk that is a copy of the template's.
pub fn clone_spec() -> VmSpec {
    let from = template_spec();
    let source = Source { vm: TEMPLATE, spec: &from, frozen: None };
    let mut spec = clone::specification(source, CloneKind::Linked, Some(CloneForm::ThreeLevel), &mut ids(300)).unwrap();
    let copy = clone::specification(source, CloneKind::Full, None, &mut ids(320)).unwrap();
    spec.disks.extend(copy.disks);
    spec
}

/// The template's row and file. It is on no host of the rows, so that nothing looks after it.
pub async fn furnish(cloud: &Cloud) {
    let spec = template_spec();
    cloud.host.disk_ensure(TEMPLATE, &spec.disks[0], None, &|_| ()).await.unwrap();
    let row = cloud.row(TEMPLATE, "template", spec, Desired::Stopped);
    let mut tx = cloud.wire.store.write().await.unwrap();
    virga_store::vm::insert(&mut tx, &Vm { host: None, ..row }).await.unwrap();
    tx.commit().await.unwrap();
}

/// What a task of `kind` finds beside the VM.
pub async fn prepare(cloud: &mut Cloud, kind: TaskKind) {
    match kind {
        TaskKind::VmClone => furnish(cloud).await,
        TaskKind::VmRefresh => {
            furnish(cloud).await;
            let task = clone_vm(cloud, Desired::Running).await;
            assert_eq!(cloud.watch(task.id).await.state, TaskState::Succeeded);
            cloud.host.guest_writes(cloud.vm_id);
        }
        TaskKind::VmConsolidate => {
            let task = freeze(cloud).await;
            assert_eq!(cloud.watch(task.id).await.state, TaskState::Succeeded);
        }
        _ => {}
    }
}

pub async fn clone_vm(cloud: &Cloud, desired: Desired) -> Task {
    cloud.make_vm(TaskKind::VmClone, clone_spec(), desired).await
}

pub async fn freeze(cloud: &Cloud) -> Task {
    let edit = |vm: &mut Vm| {
        let mut former = vm.spec.clone();
        former.layers.merges.push(Merge { from: LAYER, into: former.layers.top });
        vm.former_spec = Some(former);
        vm.spec.layers.freeze(LAYER);
    };
    cloud.change_vm(TaskKind::VmFreeze, edit).await
}

pub async fn consolidate(cloud: &Cloud) -> Task {
    let edit = |vm: &mut Vm| {
        vm.former_spec = Some(vm.spec.clone());
        vm.spec.layers.tidy(&Default::default());
    };
    cloud.change_vm(TaskKind::VmConsolidate, edit).await
}

pub async fn refresh(cloud: &Cloud) -> Task {
    let edit = |vm: &mut Vm| {
        vm.former_spec = Some(vm.spec.clone());
        vm.spec = clone::refreshed(&vm.spec, &Default::default(), &mut ids(340));
    };
    cloud.change_vm(TaskKind::VmRefresh, edit).await
}

pub async fn convert(cloud: &Cloud) -> Task {
    let edit = |vm: &mut Vm| {
        vm.former_spec = Some(vm.spec.clone());
        vm.spec = clone::merged(vm.id, &vm.spec, &mut ids(360));
        vm.spec.template = true;
    };
    cloud.change_vm(TaskKind::VmConvert, edit).await
}

/// Layers that could not be merged are merged by whoever asks again, as the loop does.
pub async fn mend(cloud: &mut Cloud, task: &Task, what: &str) {
    let Some(vm) = cloud.vm_row().await.filter(|_| task.kind == TaskKind::VmConsolidate) else { return };
    if task.state == TaskState::Failed && !vm.spec.layers.merges.is_empty() {
        let again = consolidate(cloud).await;
        let again = cloud.watch(again.id).await;
        assert_eq!(again.state, TaskState::Succeeded, "asked again: {again:?}: {what}");
    }
}
