//! The commit of a request (`request.commit`): its manager is killed before or after it, or the commit fails, or its answer
//! is lost. Whoever asked repeats with the same `Idempotency-Key`, and what was asked for happens once: one task, one
//! change of the row (M1, V6).
//!
//! The requests go through the API's own code in process. A task that hangs for longer than its lease is here as well: the
//! runner that claims it again does not work on it twice.

use crate::cloud::Cloud;
use std::sync::Arc;
use virga_api::v1::{Accepted, BatchAction, DiskCreate, PowerAction, PowerRequest, SnapshotCreate, VmBatch, VmBatchRequest, VmUpdate};
use virga_crash::{Moment, Step};
use virga_manager::front::limits::Limits;
use virga_manager::http::local::{Asked, ask};
use virga_manager::http::{Api, Op};
use virga_manager::password::Hasher;
use virga_manager::vm;
use virga_model::role::{Role, RoleBinding, Scope, Visible};
use virga_model::task::{Cause, TaskState};
use virga_model::user::User;
use virga_model::vm::Desired;
use virga_model::{Error, RoleBindingId, TaskId, UserId};
use virga_sim::crash::{Life, Outcome, Place};
use virga_store::Page;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
enum Request {
    Start,
    Edit,
    AttachDisk,
    Snapshot,
    Batch,
    Delete,
}

impl Request {
    const ALL: [Request; 6] = [Request::Start, Request::Edit, Request::AttachDisk, Request::Snapshot, Request::Batch, Request::Delete];

    fn operation(self) -> &'static str {
        match self {
            Request::Start => "vm_power",
            Request::Edit => "vm_update",
            Request::AttachDisk => "vm_disk_attach",
            Request::Snapshot => "vm_snapshot_create",
            Request::Batch => "vm_batch",
            Request::Delete => "vm_delete",
        }
    }

    async fn serve(self, op: &Op) -> Result<Accepted, Error> {
        match self {
            Request::Start => {
                let b = PowerRequest { action: PowerAction::Start, timeout_s: None, then_force: false };
                vm::power::power(op, "demo", &b, false).await
            }
            Request::Edit => vm::edit::update(op, "demo", &VmUpdate { cpus: Some(2), ..VmUpdate::default() }, false).await,
            Request::AttachDisk => vm::device::disk_attach(op, "demo", &DiskCreate { size_bytes: Some(1 << 30), ..DiskCreate::default() }, false).await,
            Request::Snapshot => vm::snapshot::create(op, "demo", &SnapshotCreate { name: "s1".into(), note: String::new(), kind: None }, false).await,
            Request::Delete => vm::power::delete(op, "demo", false, Default::default(), false).await,
            Request::Batch => Err(Error::internal("A batch has another answer.")),
        }
    }

    /// Asks a manager, as somebody does who has this key; the task of the answer.
    async fn ask(self, api: &Arc<Api>, token: &str) -> Result<Option<TaskId>, Error> {
        let asked = Asked { operation: self.operation(), token: token.into(), key: Some("once".into()), content: format!("{self:?}") };
        if matches!(self, Request::Batch) {
            let b = VmBatchRequest { action: BatchAction::Start, vms: vec!["demo".into()], filter: None, timeout_s: None, then_force: false, update: None };
            let answer: VmBatch = ask(api, asked, |op| async move { vm::batch::batch(&op, &b, false).await }).await?;
            return Ok(answer.task.map(|t| t.id));
        }
        let answer: Accepted = ask(api, asked, |op| async move { self.serve(&op).await }).await?;
        Ok(answer.task.map(|t| t.id))
    }
}

/// An administrator with a token.
async fn administrator(cloud: &Cloud) -> String {
    let id = UserId(uuid::Uuid::from_u128(77));
    let mut tx = cloud.wire.store.write().await.unwrap();
    let user = User {
        id,
        name: virga_manager::first::ADMIN.into(),
        password_hash: String::new(),
        must_change: false,
        disabled: false,
        failures: 0,
        locked_until: None,
        generation: 1,
        created_at: cloud.clock.time(),
    };
    virga_store::user::insert(&mut tx, &user).await.unwrap();
    let binding = RoleBinding { id: RoleBindingId(uuid::Uuid::from_u128(78)), user: id, role: Role::Admin, scope: Scope::All };
    virga_store::role_binding::insert(&mut tx, &binding).await.unwrap();
    tx.commit().await.unwrap();
    let now = cloud.clock.time();
    virga_manager::first::admin_token(&cloud.wire.store, now, now.plus_seconds(30 * 86_400)).await.unwrap()
}

/// The API of whichever manager lives, and that life.
fn api(cloud: &Cloud) -> (Arc<Api>, Arc<Life>) {
    let (manager, life) = cloud.living();
    (Arc::new(Api::new(manager, Hasher::default(), &Limits::default(), cloud.stopped())), life)
}

/// Tasks that people asked for, besides children of batches.
async fn asked_for(cloud: &Cloud) -> Vec<TaskId> {
    let mut tx = cloud.wire.store.read().await.unwrap();
    let page = Page { limit: 100, ..Page::default() };
    let tasks = virga_store::task::list(&mut tx, &page, &Visible::everything(), None).await.unwrap().items;
    // The VM's creation was not asked for through the API.
    tasks.into_iter().filter(|t| t.cause == Cause::User && t.parent.is_none() && t.requester == Some(UserId(uuid::Uuid::from_u128(77)))).map(|t| t.id).collect()
}

/// One request, disturbed at its commit, and repeated until there is an answer.
async fn once(request: Request, moment: Moment, outcome: Outcome) {
    let what = format!("{request:?} with {outcome:?} {moment:?} its commit");
    let mut cloud = Cloud::new().await;
    let made = cloud.create_vm(Desired::Stopped).await;
    assert_eq!(cloud.watch(made.id).await.state, TaskState::Succeeded, "{what}");
    let token = administrator(&cloud).await;
    let before = cloud.vm_row().await.expect("there is a VM").generation;
    cloud.plan.arm(Some((Place { step: Step::RequestCommit, moment, nth: 0 }, outcome)));
    let mut told = None;
    for _ in 0..6 {
        let ((api, life), token) = (api(&cloud), token.clone());
        // Nobody hears of a manager that dies: the request has no answer.
        let answer = tokio::spawn(virga_crash::with(life, async move { request.ask(&api, &token).await })).await;
        cloud.attend().await;
        match answer {
            Ok(Ok(task)) => {
                told = task;
                break;
            }
            Ok(Err(e)) => assert!(e.code.retryable(), "{what}: {e:?}"),
            Err(e) => assert!(e.is_panic(), "{what}"),
        }
    }
    assert!(cloud.plan.fired(), "{what}: the commit was reached");
    cloud.plan.disarm();
    let told = told.unwrap_or_else(|| panic!("{what}: there is an answer with a task in the end"));
    assert_eq!(asked_for(&cloud).await, [told], "{what}: one task, and it is the one that was told of");
    assert_eq!(cloud.watch(told).await.state, TaskState::Succeeded, "{what}");
    cloud.watch_all().await;
    match (request, cloud.vm_row().await) {
        (Request::Delete, row) => assert!(row.is_none(), "{what}: {row:?}"),
        (_, row) => assert_eq!(row.map(|v| v.generation), Some(before + 1), "{what}: the row was changed once"),
    }
    let ((api, _), again) = (api(&cloud), request);
    assert_eq!(again.ask(&api, &token).await.expect("the answer is kept"), Some(told), "{what}: the same answer, also afterwards");
}

#[tokio::test]
async fn a_request_whose_commit_is_disturbed_happens_once() {
    let mut runs = 0;
    for request in Request::ALL {
        for moment in [Moment::Before, Moment::After] {
            for outcome in [Outcome::Killed, Outcome::KilledAgain(0), Outcome::Fails] {
                once(request, moment, outcome).await;
                runs += 1;
            }
        }
    }
    println!("crash points: {}, runs: {runs}, recovered: {runs} (request.commit)", 2 * Request::ALL.len());
}

/// A step that hangs for longer than the lease: the same runner may claim the task anew, and works on it only when the old
/// step has ended.
#[tokio::test]
async fn a_task_whose_step_hangs_beyond_its_lease_is_not_at_work_twice() {
    let mut cloud = Cloud::new().await;
    let made = cloud.create_vm(Desired::Stopped).await;
    assert_eq!(cloud.watch(made.id).await.state, TaskState::Succeeded);
    cloud.plan.arm(Some((Place { step: Step::TaskCall, moment: Moment::Before, nth: 0 }, Outcome::TimesOut)));
    let task = cloud.change_vm(virga_model::task::TaskKind::VmStart, |vm| vm.desired = Desired::Running).await;
    cloud.living().0.committed();
    cloud.wait_until("the first call hangs", async |c| c.plan.fired()).await;
    let lease = cloud.task(task.id).await.lease_until.expect("it is at work");
    cloud
        .wait_until("the lease has run out and the same runner has it again", async |c| {
            let row = c.task(task.id).await;
            row.lease_until.is_some_and(|t| t > lease) || row.state.is_final()
        })
        .await;
    let end = cloud.watch(task.id).await;
    assert_eq!(end.state, TaskState::Succeeded, "{end:?}");
    let points = cloud.plan.disarm();
    // The hanging step is the only one of this task until it ends; after it the task is looked at and called anew, once.
    let calls: Vec<&Place> = points.iter().filter(|p| p.step == Step::TaskCall && p.moment == Moment::Before).collect();
    assert_eq!(calls.len(), 2, "{points:?}");
    assert_eq!(cloud.host.log().iter().filter(|l| l.contains(" start ")).count(), 1, "{:?}", cloud.host.log());
}
