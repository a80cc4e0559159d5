//! Every crash point that a kind of task reaches, with every outcome.
//!
//! The points are enumerated by an undisturbed run. Each is then reached again in a run of its own, where manager or agent
//! is killed there, killed again on the way back, frozen while another takes over, or the step fails, is refused or takes
//! too long. Afterwards the checkers look at rows, machine and journal.

use crate::check;
use crate::scenario::{ask, is_act};
use crate::{Cloud, clone, prepared, snapshot};
use virga_crash::{Part, Step};
use virga_model::task::{Task, TaskKind, TaskState};
use virga_sim::crash::{Outcome, Place};

/// Points at which whoever comes after a death is killed again; by turns, so that all of them are met.
const SECOND_DEATHS: usize = 7;

/// A point is disturbed when it is reached the first times; later ones are the same look at the same rows.
const TIMES_MAX: usize = 2;

/// Every point of `kind`, with every outcome that makes sense there. Prints the figures for `cargo xtask trust`.
pub async fn every_point(kind: TaskKind) {
    let points = undisturbed(kind).await;
    assert!(points.iter().any(|p| p.step.part() == Part::Manager), "{kind} reaches no point of the manager");
    let (mut runs, mut reached) = (0, 0);
    for (n, place) in points.iter().enumerate() {
        for outcome in outcomes(n, *place) {
            runs += 1;
            if disturbed(kind, *place, outcome).await {
                reached += 1;
            }
        }
    }
    // Every run that comes to its end has recovered; the checkers have looked.
    println!("crash points: {}, runs: {runs}, recovered: {runs} ({kind}; {reached} reached their point)", points.len());
    assert!(reached * 4 >= runs * 3, "{kind}: only {reached} of {runs} runs reached their point");
}

/// The points that an undisturbed task reaches, in their order.
async fn undisturbed(kind: TaskKind) -> Vec<Place> {
    let mut cloud = prepared(kind).await;
    cloud.plan.arm(None);
    let task = ask(&cloud, kind).await;
    assert_eq!(cloud.watch(task.id).await.state, TaskState::Succeeded, "{kind}");
    let mut points = cloud.plan.disarm();
    cloud.watch_all().await;
    // How often a task is claimed and given back while it waits differs from run to run.
    points.retain(|p| p.nth < TIMES_MAX);
    points
}

fn outcomes(n: usize, place: Place) -> Vec<Outcome> {
    let mut all = vec![Outcome::Killed, Outcome::Fails];
    if n.is_multiple_of(2) {
        all.push(Outcome::KilledAgain(n / 2 % SECOND_DEATHS));
    }
    // That a step of the agent takes too long is seen by the agent alone: crates/sim/tests/fire does that.
    all.push(if place.step.part() == Part::Agent { Outcome::Refused } else { Outcome::TimesOut });
    // Deleting a file happens inside a transaction: a manager that is frozen there holds SQLite's only writer.
    if place.step.part() == Part::Manager && place.step != Step::ImageContentRemove {
        all.push(Outcome::Frozen);
    }
    all
}

/// One run; whether the place was reached.
async fn disturbed(kind: TaskKind, place: Place, outcome: Outcome) -> bool {
    let mut cloud = prepared(kind).await;
    let from = cloud.host.log().len();
    let written = snapshot::Written::look(&cloud, kind).await;
    cloud.plan.arm(Some((place, outcome)));
    let task = ask(&cloud, kind).await;
    let task = cloud.watch(task.id).await;
    let fired = cloud.plan.fired();
    cloud.plan.disarm();
    let what = format!("{kind} with {outcome:?} at {place:?}: {task:?}");
    if outcome == Outcome::Frozen && fired {
        wake_the_first(&mut cloud, &task, &what).await;
    }
    cloud.watch_all().await;
    check_end(kind, outcome, &task, &what);
    if outcome != Outcome::Refused {
        check::once(&cloud, from, &what);
    }
    cloud.mend(&what).await;
    snapshot::mend(&mut cloud, &task, &what).await;
    clone::mend(&mut cloud, &task, &what).await;
    check::quiet(&mut cloud, kind, &what).await;
    written.check(&cloud, &task, &what).await;
    fired
}

fn check_end(kind: TaskKind, outcome: Outcome, task: &Task, what: &str) {
    let may_fail = outcome == Outcome::Refused || is_act(kind);
    assert!(task.state == TaskState::Succeeded || (may_fail && task.state == TaskState::Failed), "{what}");
}

/// The frozen manager goes on after everything has ended: it finds its lease gone, and changes nothing (M2).
async fn wake_the_first(cloud: &mut Cloud, task: &Task, what: &str) {
    cloud.watch_all().await;
    let (log, row) = (cloud.host.log(), cloud.vm_row().await.map(|v| (v.generation, v.desired)));
    cloud.plan.thaw();
    cloud.wait_simulated(2_000).await;
    assert_eq!(cloud.host.log(), log, "a manager that wakes changes nothing on hosts: {what}");
    assert_eq!(cloud.vm_row().await.map(|v| (v.generation, v.desired)), row, "nor in rows: {what}");
    let after = cloud.task(task.id).await;
    assert_eq!((after.state, after.ended_at), (task.state, task.ended_at), "nor in the task: {what}");
}
