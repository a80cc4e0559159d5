//! The shared helper of the task engine, over the real runner, the real store and the real agent on a simulated
//! machine: every task kind undisturbed, with the manager killed before and after every call, every call done twice,
//! failing or timing out, and cancelled at every call.
//!
//! `former` and `ask` match on every kind, so a kind that is forgotten here does not compile.

mod cloud;

use cloud::{Cloud, Fault};
use virga_model::task::{ObjectRef, Task, TaskDoc, TaskKind, TaskState};
use virga_model::vm::{Desired, StopMode, Vm, VmState};

/// Calls up to which faults are placed; later ones do not happen in any kind.
const CALLS: usize = 3;

/// The state of the VM before a task of `kind`; none: there is no VM yet, or the task is not about one.
fn former(kind: TaskKind) -> Option<Desired> {
    match kind {
        TaskKind::VmCreate | TaskKind::ImageDelete | TaskKind::NetworkDelete => None,
        TaskKind::VmStart | TaskKind::VmDelete => Some(Desired::Stopped),
        TaskKind::VmResume => Some(Desired::Paused),
        TaskKind::VmStop
        | TaskKind::VmPause
        | TaskKind::VmHibernate
        | TaskKind::VmReboot
        | TaskKind::VmReset
        | TaskKind::VmEdit
        | TaskKind::VmRepair
        | TaskKind::VmBatch => Some(Desired::Running),
    }
}

/// Writes what the API would write for a request of `kind`, and answers with the task to watch.
async fn ask(cloud: &Cloud, kind: TaskKind) -> Task {
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
        TaskKind::VmReboot | TaskKind::VmReset => cloud.insert_task(kind, ObjectRef::Vm(cloud.vm_id), TaskDoc::default(), None).await,
        TaskKind::VmBatch => {
            let parent = cloud.insert_task(kind, ObjectRef::System, TaskDoc::default(), None).await;
            cloud.change_vm_as_child(TaskKind::VmPause, parent.id, change(Desired::Paused, StopMode::Force)).await;
            parent
        }
        TaskKind::ImageDelete => cloud.image_to_delete().await,
        TaskKind::NetworkDelete => cloud.network_to_delete().await,
    }
}

/// What must be true when everything has ended.
async fn check_quiet(cloud: &Cloud, kind: TaskKind, fault: Fault, task: &Task) {
    let what = format!("{kind} with {fault:?}: {task:?}");
    assert_eq!(cloud.active_tasks().await, 0, "no task is left: {what}");
    match cloud.vm_row().await {
        Some(vm) => {
            assert_ne!(vm.desired, Desired::Absent, "{what}");
            assert!(vm.former_spec.is_none(), "no edit is left half done: {what}");
            let domain = cloud.domain_state().unwrap_or(VmState::Absent);
            // A guest that was asked to shut down cannot be unasked; that it went down must be told, then.
            if kind == TaskKind::VmStop && !vm.desired.is_met_by(domain) {
                cloud.wait_for_drift("power").await;
            } else {
                assert!(vm.desired.is_met_by(domain), "wanted {}, the host has {domain}: {what}", vm.desired);
            }
            let files = cloud.disks_on_host().await;
            assert_eq!(files, vm.spec.disks.len(), "disks on the host are the disks in the row: {what}");
        }
        None => assert!(cloud.host.is_empty(), "a VM without a row leaves nothing on the host: {what}"),
    }
}

async fn scenario(kind: TaskKind, fault: Fault) -> TaskState {
    let mut cloud = Cloud::new().await;
    if let Some(desired) = former(kind) {
        let task = cloud.create_vm(desired).await;
        assert_eq!(cloud.watch(task.id).await.state, TaskState::Succeeded);
    }
    cloud.disturb(fault);
    let task = ask(&cloud, kind).await;
    if fault == Fault::CancelledAtOnce {
        cloud.cancel(task.id).await;
    }
    let task = cloud.watch(task.id).await;
    cloud.disturb(Fault::Nothing);
    cloud.watch_all().await;
    check_quiet(&cloud, kind, fault, &task).await;
    task.state
}

async fn survives(kind: TaskKind) {
    let mut faults = vec![Fault::Nothing, Fault::Twice];
    for n in 0..CALLS {
        faults.extend([Fault::KilledBefore(n), Fault::KilledAfter(n), Fault::Fails(n), Fault::TimesOut(n)]);
    }
    for fault in faults {
        assert_eq!(scenario(kind, fault).await, TaskState::Succeeded, "{kind} with {fault:?}");
    }
    for fault in [Fault::CancelledAtOnce, Fault::CancelledAtCall(0), Fault::CancelledAtCall(1), Fault::CancelledAfterCall(0), Fault::CancelledAfterCall(1)] {
        let state = scenario(kind, fault).await;
        assert!(matches!(state, TaskState::Succeeded | TaskState::Cancelled), "{kind} with {fault:?}: {state}");
    }
}

macro_rules! every_kind {
    ($($name:ident: $kind:ident),+ $(,)?) => {
        $(
            #[tokio::test]
            async fn $name() {
                survives(TaskKind::$kind).await;
            }
        )+

        #[test]
        fn no_kind_is_forgotten() {
            let tested = [$(TaskKind::$kind),+];
            for kind in TaskKind::ALL {
                assert!(tested.contains(&kind), "{kind} has no test here");
            }
        }
    };
}

every_kind! {
    vm_create_survives: VmCreate,
    vm_start_survives: VmStart,
    vm_stop_survives: VmStop,
    vm_pause_survives: VmPause,
    vm_resume_survives: VmResume,
    vm_hibernate_survives: VmHibernate,
    vm_reboot_survives: VmReboot,
    vm_reset_survives: VmReset,
    vm_edit_survives: VmEdit,
    vm_delete_survives: VmDelete,
    vm_repair_survives: VmRepair,
    vm_batch_survives: VmBatch,
    image_delete_survives: ImageDelete,
    network_delete_survives: NetworkDelete,
}
