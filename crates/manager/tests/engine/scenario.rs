//! For each kind of task: how it begins. Both functions match on every kind, so a kind that is forgotten here does not
//! compile.

use crate::cloud::Cloud;
use crate::{clone, snapshot, store};
use virga_model::Time;
use virga_model::export::ExportSpec;
use virga_model::image::ImageFormat;
use virga_model::task::{ObjectRef, Task, TaskDoc, TaskKind};
use virga_model::vm::{Desired, StopMode, Vm};

/// The state of the VM before a task of `kind`; none: there is no VM yet, or the task is not about one.
pub fn former(kind: TaskKind) -> Option<Desired> {
    match kind {
        // The clone for a refresh is made by `clone::prepare`.
        TaskKind::VmCreate
        | TaskKind::VmClone
        | TaskKind::VmRefresh
        | TaskKind::ImageDelete
        | TaskKind::NetworkDelete
        | TaskKind::DataStoreCreate
        | TaskKind::DataStoreDelete => None,
        TaskKind::VmStart | TaskKind::VmDelete | TaskKind::VmConvert | TaskKind::VmExport => Some(Desired::Stopped),
        TaskKind::VmResume => Some(Desired::Paused),
        TaskKind::VmStop
        | TaskKind::VmPause
        | TaskKind::VmHibernate
        | TaskKind::VmReboot
        | TaskKind::VmReset
        | TaskKind::VmEdit
        | TaskKind::VmRepair
        | TaskKind::SnapshotCreate
        | TaskKind::SnapshotRevert
        | TaskKind::SnapshotDelete
        | TaskKind::VmFreeze
        | TaskKind::VmConsolidate
        | TaskKind::VmBatch => Some(Desired::Running),
    }
}

/// Writes what the API would write for a request of `kind`, and answers with the task to watch.
pub async fn ask(cloud: &Cloud, kind: TaskKind) -> Task {
    let change = |desired: Desired, stop_mode: StopMode| {
        move |vm: &mut Vm| {
            vm.desired = desired;
            vm.stop_mode = stop_mode;
        }
    };
    match kind {
        TaskKind::VmCreate => cloud.create_vm(Desired::Running).await,
        TaskKind::VmStart | TaskKind::VmResume => cloud.change_vm(kind, change(Desired::Running, StopMode::Force)).await,
        TaskKind::VmStop => cloud.change_vm(kind, change(Desired::Stopped, StopMode::Graceful)).await,
        TaskKind::VmPause => cloud.change_vm(kind, change(Desired::Paused, StopMode::Force)).await,
        TaskKind::VmHibernate => cloud.change_vm(kind, change(Desired::Hibernated, StopMode::Force)).await,
        TaskKind::VmDelete => cloud.change_vm(kind, change(Desired::Absent, StopMode::Force)).await,
        TaskKind::VmRepair => cloud.change_vm(kind, |_| {}).await,
        TaskKind::VmEdit => {
            let edit = |vm: &mut Vm| {
                vm.former_spec = Some(vm.spec.clone());
                vm.spec.cpu.count = 2;
                vm.spec.disks.remove(0);
            };
            cloud.change_vm(kind, edit).await
        }
        TaskKind::VmClone => clone::clone_vm(cloud, Desired::Running).await,
        TaskKind::VmFreeze => clone::freeze(cloud).await,
        TaskKind::VmConsolidate => clone::consolidate(cloud).await,
        TaskKind::VmRefresh => clone::refresh(cloud).await,
        TaskKind::VmConvert => clone::convert(cloud).await,
        TaskKind::VmExport => {
            let export = |vm: &mut Vm| {
                vm.former_spec = Some(vm.spec.clone());
                let (id, disks) = (uuid::Uuid::from_u128(77), vm.spec.disks.iter().map(|d| d.id).collect());
                vm.spec.export = Some(ExportSpec { id, format: ImageFormat::Vmdk, made_at: Time(0), disks, snapshot: None });
            };
            cloud.change_vm(kind, export).await
        }
        TaskKind::SnapshotCreate => snapshot::take(cloud, 9).await,
        TaskKind::SnapshotRevert => snapshot::revert(cloud, 1).await,
        TaskKind::SnapshotDelete => snapshot::delete(cloud, 2).await,
        TaskKind::VmReboot | TaskKind::VmReset => cloud.insert_task(kind, ObjectRef::Vm(cloud.vm_id), TaskDoc::default(), None).await,
        TaskKind::VmBatch => {
            let parent = cloud.insert_task(kind, ObjectRef::System, TaskDoc::default(), None).await;
            cloud.change_vm_as_child(TaskKind::VmPause, parent.id, change(Desired::Paused, StopMode::Force)).await;
            parent
        }
        TaskKind::ImageDelete => cloud.image_to_delete().await,
        TaskKind::NetworkDelete => cloud.network_to_delete().await,
        TaskKind::DataStoreCreate => store::create(cloud).await,
        TaskKind::DataStoreDelete => store::delete(cloud).await,
    }
}

/// Reboot and reset happen at most once; when nobody can say whether they did, that is their end.
pub fn is_act(kind: TaskKind) -> bool {
    matches!(kind, TaskKind::VmReboot | TaskKind::VmReset)
}
