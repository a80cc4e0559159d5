//! The task engine under fire, over the real runner, the real store and the real agent on a simulated machine.
//!
//! Every kind of task: with every call done twice, cancelled at every call, with a manager that sleeps while another goes
//! on; and at every crash point that it reaches (`virga_crash`), with manager or agent killed, killed again on the way
//! back, frozen, and with the step failing, refused, or too slow. See docs/dev/crash-points.md.
//!
//! A kind that is forgotten does not compile: `scenario` matches on every kind.

mod check;
mod clone;
mod cloud;
mod points;
mod request;
mod scenario;
mod snapshot;
mod store;

use cloud::{Cloud, Fault};
use scenario::{ask, former};
use virga_model::order::NodeAnswer;
use virga_model::task::{Task, TaskKind, TaskState};

/// A cloud with what a task of `kind` begins with.
async fn prepared(kind: TaskKind) -> Cloud {
    let mut cloud = Cloud::new().await;
    if let Some(desired) = former(kind) {
        let task = cloud.create_vm(desired).await;
        assert_eq!(cloud.watch(task.id).await.state, TaskState::Succeeded);
    }
    snapshot::prepare(&mut cloud, kind).await;
    clone::prepare(&mut cloud, kind).await;
    store::prepare(&cloud, kind).await;
    cloud
}

async fn disturbed(kind: TaskKind, fault: Fault) -> Task {
    let mut cloud = prepared(kind).await;
    let written = snapshot::Written::look(&cloud, kind).await;
    cloud.disturb(fault);
    let task = ask(&cloud, kind).await;
    if fault == Fault::CancelledAtOnce {
        cloud.cancel(task.id).await;
    }
    let task = cloud.watch(task.id).await;
    cloud.disturb(Fault::Nothing);
    cloud.watch_all().await;
    let what = format!("{kind} with {fault:?}: {task:?}");
    if kind == TaskKind::VmRepair {
        // A repair that was stopped is tried again later, by the loop that made it.
        cloud.mend(&what).await;
    }
    snapshot::mend(&mut cloud, &task, &what).await;
    clone::mend(&mut cloud, &task, &what).await;
    check::quiet(&mut cloud, kind, &what).await;
    written.check(&cloud, &task, &what).await;
    task
}

async fn survives(kind: TaskKind) {
    for fault in [Fault::Nothing, Fault::Twice] {
        let task = disturbed(kind, fault).await;
        assert_eq!(task.state, TaskState::Succeeded, "{kind} with {fault:?}: {task:?}");
    }
    for fault in [Fault::CancelledAtOnce, Fault::CancelledAtCall(0), Fault::CancelledAtCall(1), Fault::CancelledAfterCall(0), Fault::CancelledAfterCall(1)] {
        let task = disturbed(kind, fault).await;
        assert!(matches!(task.state, TaskState::Succeeded | TaskState::Cancelled), "{kind} with {fault:?}: {task:?}");
    }
}

/// A manager sends its call and sleeps; another takes the task over and ends it, and the object changes once more. Then
/// the first wakes, and its call arrives: the host refuses it, and nothing of it comes true (M2, M3).
async fn refuses_a_late_call(kind: TaskKind) {
    let mut cloud = prepared(kind).await;
    cloud.disturb(Fault::LateCall);
    let task = ask(&cloud, kind).await;
    let task = cloud.watch(task.id).await;
    assert_eq!(task.state, TaskState::Succeeded, "{kind}: {task:?}");
    cloud.watch_all().await;
    let newer = match cloud.vm_row().await {
        Some(_) => {
            let again = cloud.change_vm(TaskKind::VmRepair, |_| {}).await;
            assert_eq!(cloud.watch(again.id).await.state, TaskState::Succeeded);
            true
        }
        None => false,
    };
    let (log, row) = (cloud.host.log(), cloud.vm_row().await);
    cloud.wire.release();
    let wire = cloud.wire.clone();
    cloud.wait_until("the late call has arrived", async |_| wire.late_answer.lock().unwrap().is_some()).await;
    let answer = wire.late_answer.lock().unwrap().clone();
    assert!(!newer || matches!(answer, Some(NodeAnswer::Refused { .. })), "{kind}: an older command is refused: {answer:?}");
    cloud.wait_simulated(5_000).await;
    cloud.watch_all().await;
    assert_eq!(cloud.host.log(), log, "{kind}: a late call changes nothing on the host");
    assert_eq!(cloud.task(task.id).await.state, TaskState::Succeeded, "{kind}: an ended task stays as it ended");
    assert_eq!(cloud.vm_row().await.map(|v| v.generation), row.map(|v| v.generation), "{kind}: rows stay as they were");
    check::quiet(&mut cloud, kind, &format!("{kind} with a late call")).await;
}

macro_rules! every_kind {
    ($($name:ident: $kind:ident),+ $(,)?) => {
        mod survive {
            $(
                #[tokio::test]
                async fn $name() {
                    super::survives(super::TaskKind::$kind).await;
                }
            )+
        }

        mod refuse_a_late_call {
            $(
                #[tokio::test]
                async fn $name() {
                    super::refuses_a_late_call(super::TaskKind::$kind).await;
                }
            )+
        }

        mod survive_crash_points {
            $(
                #[tokio::test]
                async fn $name() {
                    super::points::every_point(super::TaskKind::$kind).await;
                }
            )+
        }

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
    vm_create: VmCreate,
    vm_start: VmStart,
    vm_stop: VmStop,
    vm_pause: VmPause,
    vm_resume: VmResume,
    vm_hibernate: VmHibernate,
    vm_reboot: VmReboot,
    vm_reset: VmReset,
    vm_edit: VmEdit,
    snapshot_create: SnapshotCreate,
    snapshot_revert: SnapshotRevert,
    snapshot_delete: SnapshotDelete,
    vm_clone: VmClone,
    vm_freeze: VmFreeze,
    vm_consolidate: VmConsolidate,
    vm_refresh: VmRefresh,
    vm_convert: VmConvert,
    vm_export: VmExport,
    vm_delete: VmDelete,
    vm_repair: VmRepair,
    vm_batch: VmBatch,
    image_delete: ImageDelete,
    network_delete: NetworkDelete,
    data_store_create: DataStoreCreate,
    data_store_delete: DataStoreDelete,
}
