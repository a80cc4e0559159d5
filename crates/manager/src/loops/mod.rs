//! Loops: each looks at rows from time to time and decides; what is to be done on a node becomes a task. With several
//! managers a lease lets one at a time run each loop that is about rows.

pub mod audit;
mod consolidate;
pub mod data_stores;
mod expire;
mod forget;
mod hosts;
mod repair;
mod schedule;

use crate::state::{CLOCKS_DIFFER_MS, Manager};
use crate::supervise;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use virga_model::Error;

/// A loop: its name, how often it looks, what it does.
#[derive(Clone, Copy)]
struct Loop {
    name: &'static str,
    every: Duration,
    /// One manager at a time does it; else each does it for itself.
    shared: bool,
}

/// The lease lasts for several rounds, so that one slow round does not make another manager join in.
const LEASE_ROUNDS: u32 = 3;

/// Starts all loops; they end when `stop` becomes true.
#[must_use]
pub fn spawn(m: &Arc<Manager>, stop: &watch::Receiver<bool>) -> Vec<JoinHandle<()>> {
    vec![
        run(m, stop, Loop { name: "expire", every: Duration::from_secs(60), shared: true }, |m| async move {
            data_stores::round(&m).await?;
            expire::round(&m).await
        }),
        run_with(m, stop, Loop { name: "hosts", every: Duration::from_secs(2), shared: true }),
        run(m, stop, Loop { name: "forget", every: Duration::from_secs(60), shared: false }, |m| async move { forget::round(&m).await }),
        run_schedules(m, stop, Loop { name: "schedule", every: Duration::from_secs(5), shared: true }),
        run(m, stop, Loop { name: "repair", every: Duration::from_secs(5), shared: true }, |m| async move {
            repair::round(&m).await?;
            consolidate::round(&m).await
        }),
    ]
}

fn run<F, Fut>(m: &Arc<Manager>, stop: &watch::Receiver<bool>, l: Loop, round: F) -> JoinHandle<()>
where
    F: Fn(Arc<Manager>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), Error>> + Send + 'static,
{
    let (own, own_stop, round) = (m.clone(), stop.clone(), Arc::new(round));
    supervise::spawn(m, stop, l.name, move || {
        let (m, mut stop, round) = (own.clone(), own_stop.clone(), round.clone());
        async move {
            while !wait(&m, &mut stop, l.every).await {
                if !l.shared || lease(&m, &l).await {
                    report(l.name, round(m.clone()).await);
                }
            }
        }
    })
}

/// The loop over hosts remembers what it saw last.
fn run_with(m: &Arc<Manager>, stop: &watch::Receiver<bool>, l: Loop) -> JoinHandle<()> {
    let (own, own_stop) = (m.clone(), stop.clone());
    supervise::spawn(m, stop, l.name, move || {
        let (m, mut stop, mut seen) = (own.clone(), own_stop.clone(), hosts::Seen::default());
        async move {
            while !wait(&m, &mut stop, l.every).await {
                if lease(&m, &l).await {
                    report(l.name, hosts::round(&m, &mut seen).await);
                } else {
                    seen = hosts::Seen::default();
                }
            }
        }
    })
}

/// The loop over schedules remembers whom it waits for.
fn run_schedules(m: &Arc<Manager>, stop: &watch::Receiver<bool>, l: Loop) -> JoinHandle<()> {
    let (own, own_stop) = (m.clone(), stop.clone());
    supervise::spawn(m, stop, l.name, move || {
        let (m, mut stop, mut seen) = (own.clone(), own_stop.clone(), schedule::Seen::default());
        async move {
            while !wait(&m, &mut stop, l.every).await {
                if lease(&m, &l).await {
                    report(l.name, schedule::round(&m, &mut seen).await);
                } else {
                    seen = schedule::Seen::default();
                }
            }
        }
    })
}

/// Waits for the next round; true when the manager stops.
async fn wait(m: &Manager, stop: &mut watch::Receiver<bool>, every: Duration) -> bool {
    tokio::select! {
        biased;
        r = stop.wait_for(|s| *s) => { let _ = r; true }
        () = m.wait(every) => false,
    }
}

async fn lease(m: &Manager, l: &Loop) -> bool {
    let now = m.now();
    let until = now.plus_millis(i64::try_from((l.every * LEASE_ROUNDS).as_millis()).unwrap_or(i64::MAX).max(10_000));
    // Managers' clocks may differ by some seconds; more is a clock that was wrong.
    let latest = until.plus_millis(CLOCKS_DIFFER_MS);
    let take = async {
        let mut tx = m.store.write().await?;
        let mine = virga_store::loop_lease::try_take(&mut tx, l.name, &m.instance, now, until, latest).await?;
        tx.commit().await.map(|()| mine)
    };
    take.await.unwrap_or_else(|e| {
        tracing::warn!(name = l.name, error = %e, "lease of a loop not taken");
        false
    })
}

fn report(name: &str, r: Result<(), Error>) {
    if let Err(e) = r {
        tracing::warn!(name, error = %e, "round of a loop failed");
    }
}
