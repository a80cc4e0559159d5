//! Ten thousand tasks of one user do not make others wait (`reliability.md` T4).

use virga_manager::task::places::{HA_RESERVED, Places};
use virga_manager::task_new::{About, Who, fresh};
use virga_model::task::{Cause, ObjectRef, Task, TaskDoc, TaskKind};
use virga_model::{TaskId, Time, UserId, VmId};
use virga_store::Store;
use virga_store::task_claim::{Class, Lease, Room, claim};

const NOW: Time = Time(1_800_000_000_000_000);

fn task(n: u128, cause: Cause, requester: Option<UserId>, parent: Option<TaskId>) -> Task {
    let id = uuid::Uuid::from_u128(n);
    let who = Who { cause, requester, now: NOW };
    fresh(who, TaskId(id), TaskKind::VmStart, About::plain(ObjectRef::Vm(VmId(id)), "vm"), TaskDoc::default(), parent)
}

/// What the runner does: classes in their order, with the places that are free.
async fn claim_all(store: &Store, places: &mut Places) -> Vec<Task> {
    let mut tx = store.write().await.unwrap();
    let lease = Lease { owner: "m", now: NOW, until: NOW.plus_seconds(30) };
    let (mut all, mut counts) = (Vec::new(), Vec::new());
    for class in Class::ALL {
        let (free, held, mut turn) = (places.free(class, &counts), places.held(class), places.turn(class));
        let room = Room { places: free, party_max: virga_manager::task::places::PARTY_MAX, held: &held };
        let got = claim(&mut tx, lease, class, room, &mut turn).await.unwrap();
        places.served(class, turn);
        counts.push((class, got.len() as u32));
        all.extend(got);
    }
    tx.commit().await.unwrap();
    for t in &all {
        assert!(places.take(t.clone()).is_some());
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_tasks_of_one_make_nobody_else_wait() {
    let store = Store::memory().await.unwrap();
    let user = |n| Some(UserId(uuid::Uuid::from_u128(n)));
    let mut tx = store.write().await.unwrap();
    for n in 1..=10_000 {
        virga_store::task::insert(&mut tx, &task(n, Cause::User, user(1), None)).await.unwrap();
    }
    for n in 20_001..=20_100 {
        virga_store::task::insert(&mut tx, &task(n, Cause::User, user(1), Some(TaskId(uuid::Uuid::from_u128(9))))).await.unwrap();
    }
    tx.commit().await.unwrap();
    let mut places = Places::default();
    let first = claim_all(&store, &mut places).await;
    let flood = first.iter().filter(|t| Class::of(t) == Class::User).count();
    assert_eq!(flood, 32, "one party has its share of the places and no more");
    assert!(first.iter().any(|t| Class::of(t) == Class::Bulk), "children of batches are not starved");
    // Another's single task, and one of high availability, come after all of them.
    let mut tx = store.write().await.unwrap();
    virga_store::task::insert(&mut tx, &task(30_001, Cause::User, user(2), None)).await.unwrap();
    virga_store::task::insert(&mut tx, &task(30_002, Cause::Ha, None, None)).await.unwrap();
    virga_store::task::insert(&mut tx, &task(30_003, Cause::Repair, None, None)).await.unwrap();
    tx.commit().await.unwrap();
    // All places that anybody but high availability can have are taken: one ends.
    assert_eq!(first.len() as u32, virga_manager::task::runner::TASKS_AT_ONCE - HA_RESERVED);
    let next: Vec<u128> = claim_all(&store, &mut places).await.iter().map(|t| t.id.0.as_u128()).collect();
    assert_eq!(next, [30_002], "high availability waits for nobody");
    places.give_back(first[0].id);
    let next: Vec<u128> = claim_all(&store, &mut places).await.iter().map(|t| t.id.0.as_u128()).collect();
    assert_eq!(next, [30_003], "the first place that comes free is the platform's");
    places.give_back(first[1].id);
    let next: Vec<u128> = claim_all(&store, &mut places).await.iter().map(|t| t.id.0.as_u128()).collect();
    assert_eq!(next, [30_001], "and the next one the other user's");
}
