//! Tasks: leases, cancelling, waking, and who sees what.

mod common;
use common::*;
use std::collections::HashSet;
use virga_model::order::Progress;
use virga_model::role::Visible;
use virga_model::task::{Cause, ObjectRef, Task, TaskKind, TaskState};
use virga_model::{Error, TaskId, Time, UserId};
use virga_store::{Page, Store, StoreError, Tx, task, vm};

fn of_vm(n: u128) -> Task {
    task_row(n, ObjectRef::Vm(id(n)))
}

async fn claim(tx: &mut Tx, owner: &str, now: Time, limit: u32) -> Vec<Task> {
    task::claim(tx, owner, now, now.plus_seconds(30), limit).await.unwrap()
}

#[tokio::test]
async fn the_whole_task_comes_back_and_an_object_has_one_active_task() {
    for store in stores().await {
        let mut tx = store.write().await.unwrap();
        let mut t = of_vm(1);
        t.requester = Some(anna());
        t.error = Some(Error::host("no"));
        t.progress = Progress { step: "disk".into(), done: 1, total: 2, unit: "steps".into() };
        task::insert(&mut tx, &t).await.unwrap();
        assert_eq!(task::get(&mut tx, t.id).await.unwrap(), Some(t.clone()));
        assert_eq!(task::get(&mut tx, id(77)).await.unwrap(), None);
        assert_eq!(task::active_of(&mut tx, t.object).await.unwrap(), Some(t.clone()));
        assert_eq!(task::active_of(&mut tx, ObjectRef::Vm(id(77))).await.unwrap(), None);
        let second = Task { id: id(2), state: TaskState::Running, ..t.clone() };
        let e = refused(&store, &mut tx, async |tx| task::insert(tx, &second).await).await;
        assert!(matches!(e, StoreError::Taken { what: "task", field: "object" }), "{e:?}");
        // Batches, ended tasks and other objects are no hindrance.
        let batch = Task { id: id(3), kind: TaskKind::VmBatch, object: ObjectRef::System, ..t.clone() };
        task::insert(&mut tx, &batch).await.unwrap();
        task::insert(&mut tx, &Task { id: id(4), ..batch.clone() }).await.unwrap();
        task::insert(&mut tx, &Task { id: id(5), state: TaskState::Cancelled, ..t.clone() }).await.unwrap();
        task::insert(&mut tx, &Task { id: id(6), object: ObjectRef::Host(id(1)), ..t.clone() }).await.unwrap();
        assert_eq!(task::active_of(&mut tx, ObjectRef::System).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_task_is_worked_on_under_a_lease() {
    for store in stores().await {
        let mut tx = store.write().await.unwrap();
        task::insert(&mut tx, &of_vm(1)).await.unwrap();
        let mut late = of_vm(2);
        late.not_before = NOW.plus_seconds(100);
        task::insert(&mut tx, &late).await.unwrap();
        assert_eq!(task::next_due(&mut tx, NOW).await.unwrap(), Some(NOW));

        let got = claim(&mut tx, "m1", NOW, 10).await;
        assert_eq!(got.len(), 1);
        let mut t = got.into_iter().next().unwrap();
        assert_eq!((t.lease_owner.as_deref(), t.lease_until), (Some("m1"), Some(NOW.plus_seconds(30))));
        assert!(claim(&mut tx, "m2", NOW.plus_seconds(29), 10).await.is_empty(), "leased");
        assert!(claim(&mut tx, "m1", NOW.plus_seconds(29), 10).await.is_empty(), "also to itself");
        assert_eq!(task::next_due(&mut tx, NOW).await.unwrap(), Some(NOW.plus_seconds(30)));

        t.state = TaskState::Running;
        t.attempt = 3;
        t.doc.generation = 9;
        t.started_at = Some(NOW);
        t.message = "defining".into();
        assert!(matches!(task::save(&mut tx, &t, "m2").await, Err(StoreError::Stale)));
        task::save(&mut tx, &t, "m1").await.unwrap();
        assert_eq!(task::get(&mut tx, t.id).await.unwrap(), Some(t.clone()));

        // The lease runs out; another manager takes it; the first one cannot save any more.
        let got = claim(&mut tx, "m2", NOW.plus_seconds(30), 10).await;
        assert_eq!(got.iter().map(|t| t.id).collect::<Vec<_>>(), [t.id]);
        assert!(matches!(task::save(&mut tx, &t, "m1").await, Err(StoreError::Stale)));
        assert!(!task::release(&mut tx, t.id, "m1", NOW).await.unwrap());
        assert!(task::release(&mut tx, t.id, "m2", NOW.plus_seconds(50)).await.unwrap());
        assert!(claim(&mut tx, "m1", NOW.plus_seconds(49), 10).await.is_empty());
        let mut t = claim(&mut tx, "m1", NOW.plus_seconds(50), 10).await.remove(0);

        let p = Progress { done: 5, ..Progress::default() };
        assert!(task::update_progress(&mut tx, t.id, &p, "half").await.unwrap());
        t.state = TaskState::Succeeded;
        t.ended_at = Some(NOW.plus_seconds(51));
        task::save(&mut tx, &t, "m1").await.unwrap();
        let ended = task::get(&mut tx, t.id).await.unwrap().unwrap();
        assert_eq!((ended.state, ended.lease_owner, ended.lease_until), (TaskState::Succeeded, None, None));
        assert!(matches!(task::save(&mut tx, &t, "m1").await, Err(StoreError::Stale)), "an ended task stays as it is");
        assert!(!task::update_progress(&mut tx, t.id, &p, "x").await.unwrap());
        assert!(!task::request_cancel(&mut tx, t.id).await.unwrap());
        assert!(!task::wake(&mut tx, t.object).await.unwrap());
        assert!(!task::wake_task(&mut tx, t.id).await.unwrap());
        assert_eq!(task::next_due(&mut tx, NOW).await.unwrap(), Some(NOW.plus_seconds(100)));
    }
}

#[tokio::test]
async fn neither_a_wake_nor_a_cancel_is_lost_under_a_lease() {
    for store in stores().await {
        let mut tx = store.write().await.unwrap();
        for n in [1, 2, 3] {
            task::insert(&mut tx, &of_vm(n)).await.unwrap();
        }
        let mut got = claim(&mut tx, "m1", NOW, 10).await;
        let far = NOW.plus_seconds(1000);
        assert!(task::wake(&mut tx, got[0].object).await.unwrap());
        assert!(task::request_cancel(&mut tx, got[1].id).await.unwrap());
        for t in &mut got {
            t.not_before = far;
            (t.lease_owner, t.lease_until) = (None, None);
            task::save(&mut tx, t, "m1").await.unwrap();
        }
        let due: Vec<TaskId> = claim(&mut tx, "m1", NOW, 10).await.iter().map(|t| t.id).collect();
        assert_eq!(due, [got[0].id, got[1].id]);
        assert!(task::get(&mut tx, got[1].id).await.unwrap().unwrap().cancel, "a save does not clear it");
        // Claimed: now the save says when.
        assert!(task::release(&mut tx, got[0].id, "m1", far).await.unwrap());
        assert!(claim(&mut tx, "m1", NOW, 10).await.is_empty());
        assert!(task::wake_task(&mut tx, got[2].id).await.unwrap());
        assert_eq!(claim(&mut tx, "m1", NOW, 10).await.len(), 1);
        assert!(task::wake(&mut tx, got[2].object).await.unwrap());
        assert!(task::release(&mut tx, got[2].id, "m1", far).await.unwrap());
        assert_eq!(claim(&mut tx, "m1", NOW, 10).await.len(), 1, "woken before it was given back");
    }
}

#[tokio::test]
async fn a_batch_takes_its_children_along() {
    for store in stores().await {
        let mut tx = store.write().await.unwrap();
        let batch = Task { kind: TaskKind::VmBatch, ..task_row(1, ObjectRef::System) };
        task::insert(&mut tx, &batch).await.unwrap();
        for n in [2, 3, 4] {
            let state = if n == 4 { TaskState::Succeeded } else { TaskState::Queued };
            task::insert(&mut tx, &Task { parent: Some(batch.id), state, ..of_vm(n) }).await.unwrap();
        }
        let ids: Vec<TaskId> = task::children(&mut tx, batch.id).await.unwrap().iter().map(|t| t.id).collect();
        assert_eq!(ids, [id(2), id(3), id(4)]);
        assert!(task::request_cancel(&mut tx, batch.id).await.unwrap());
        let cancelled: Vec<bool> = task::children(&mut tx, batch.id).await.unwrap().iter().map(|t| t.cancel).collect();
        assert_eq!(cancelled, [true, true, false]);
        assert!(!task::request_cancel(&mut tx, id(99)).await.unwrap());
    }
}

#[tokio::test]
async fn claims_take_turns_and_ha_is_first() {
    for store in stores().await {
        let mut tx = store.write().await.unwrap();
        world(&mut tx).await;
        for n in 1..=20u128 {
            task::insert(&mut tx, &Task { requester: Some(anna()), ..of_vm(n) }).await.unwrap();
        }
        task::insert(&mut tx, &Task { requester: Some(id(BERT)), ..of_vm(30) }).await.unwrap();
        task::insert(&mut tx, &Task { cause: Cause::Repair, ..of_vm(40) }).await.unwrap();
        task::insert(&mut tx, &Task { cause: Cause::Ha, ..of_vm(50) }).await.unwrap();
        let got: Vec<TaskId> = claim(&mut tx, "m", NOW, 5).await.iter().map(|t| t.id).collect();
        assert_eq!(got, [id(50), id(40), id(1), id(30), id(2)]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_task_is_claimed_twice() {
    for store in stores().await {
        let mut tx = store.write().await.unwrap();
        for n in 1..=100 {
            task::insert(&mut tx, &of_vm(n)).await.unwrap();
        }
        tx.commit().await.unwrap();
        let mut jobs = tokio::task::JoinSet::new();
        for m in 0..10 {
            let store: Store = store.clone();
            jobs.spawn(async move {
                let mut mine = Vec::new();
                loop {
                    let mut tx = store.write().await.unwrap();
                    let got = claim(&mut tx, &format!("m{m}"), NOW, 3).await;
                    tx.commit().await.unwrap();
                    if got.is_empty() {
                        return mine;
                    }
                    mine.extend(got.into_iter().map(|t| t.id));
                }
            });
        }
        let mut all = Vec::new();
        while let Some(r) = jobs.join_next().await {
            all.extend(r.unwrap());
        }
        assert_eq!(all.len(), 100);
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), 100);
    }
}

async fn listed(tx: &mut Tx, filter: &str, visible: &Visible, viewer: Option<UserId>) -> Vec<u128> {
    let paged = task::list(tx, &page(filter), visible, viewer).await.unwrap();
    paged.items.iter().map(|t| t.id.0.as_u128()).collect()
}

#[tokio::test]
async fn lists_show_the_visible_newest_first() {
    for store in stores().await {
        let mut tx = store.write().await.unwrap();
        world(&mut tx).await;
        let mut v = vm_row(1, "web", anna());
        v.host = Some(h1());
        vm::insert(&mut tx, &v).await.unwrap();
        task::insert(&mut tx, &of_vm(1)).await.unwrap();
        task::insert(&mut tx, &Task { requester: Some(id(BERT)), cause: Cause::Schedule, ..of_vm(2) }).await.unwrap();
        let done = Task { state: TaskState::Failed, ended_at: Some(NOW), parent: Some(id(2)), ..task_row(3, ObjectRef::Host(h1())) };
        task::insert(&mut tx, &done).await.unwrap();
        assert_eq!(listed(&mut tx, "", &all(), None).await, [3, 2, 1]);
        assert_eq!(listed(&mut tx, "", &nothing(), None).await, [0; 0]);
        assert_eq!(listed(&mut tx, "", &nothing(), Some(id(BERT))).await, [2]);
        assert_eq!(listed(&mut tx, "", &Visible { owner: Some(anna()), ..nothing() }, Some(anna())).await, [1]);
        assert_eq!(listed(&mut tx, "", &Visible { hosts: vec![h1()], ..nothing() }, None).await, [3, 1]);
        assert_eq!(listed(&mut tx, "", &Visible { vms: vec![vm_id(1), vm_id(2)], ..nothing() }, None).await, [1], "VM 2 is gone");
        for (filter, want) in [
            ("kind = vm_start and state = queued", vec![2, 1]),
            ("requester = bert", vec![2]),
            ("cause != user", vec![2]),
            ("object = web", vec![3, 2, 1]),
            ("object_kind = host", vec![3]),
            ("parent = 00000000-0000-0000-0000-000000000002", vec![3]),
            ("ended_at > 2000-01-01", vec![3]),
            ("id = 00000000-0000-0000-0000-000000000001", vec![1]),
        ] {
            assert_eq!(listed(&mut tx, filter, &all(), None).await, want, "{filter}");
        }
        let first = task::list(&mut tx, &Page { limit: 2, total: true, ..page("") }, &all(), None).await.unwrap();
        assert_eq!((first.items.len(), first.total), (2, Some(3)));
        let rest = task::list(&mut tx, &Page { limit: 2, after: first.next, ..page("") }, &all(), None).await.unwrap();
        assert_eq!((rest.items.len(), rest.next), (1, None));
    }
}

#[tokio::test]
async fn old_tasks_go_and_active_ones_stay() {
    for store in stores().await {
        let mut tx = store.write().await.unwrap();
        for n in 1..=4 {
            task::insert(&mut tx, &Task { state: TaskState::Succeeded, ended_at: Some(NOW.plus_seconds(n as i64)), ..of_vm(n) }).await.unwrap();
        }
        task::insert(&mut tx, &of_vm(9)).await.unwrap();
        assert_eq!(task::delete_old(&mut tx, NOW.plus_seconds(4), 2).await.unwrap(), 2);
        assert_eq!(task::delete_old(&mut tx, NOW.plus_seconds(4), 2).await.unwrap(), 1);
        assert_eq!(task::delete_old(&mut tx, NOW.plus_seconds(4), 2).await.unwrap(), 0);
        assert_eq!(listed(&mut tx, "", &all(), None).await, [9, 4]);
        assert_eq!(task::next_due(&mut tx, NOW).await.unwrap(), Some(NOW));
    }
}
