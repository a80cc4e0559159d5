//! Loops: each looks at rows from time to time and decides; what is to be done on a node becomes a task. With several
//! managers a lease lets one at a time run each loop.

mod expire;
mod hosts;
mod repair;

use crate::state::Manager;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use virga_model::Error;

/// A loop: its name, how often it looks, what it does.
struct Loop {
    name: &'static str,
    every: Duration,
}

/// The lease lasts for several rounds, so that one slow round does not make another manager join in.
const LEASE_ROUNDS: u32 = 3;

/// Starts all loops; they end when `stop` becomes true.
#[must_use]
pub fn spawn(m: &Arc<Manager>, stop: &watch::Receiver<bool>) -> Vec<JoinHandle<()>> {
    vec![
        run(m, stop, Loop { name: "expire", every: Duration::from_secs(60) }, |m| async move { expire::round(&m).await }),
        run_with(m, stop, Loop { name: "hosts", every: Duration::from_secs(2) }, hosts::Seen::default()),
        run(m, stop, Loop { name: "repair", every: Duration::from_secs(5) }, |m| async move { repair::round(&m).await }),
    ]
}

fn run<F, Fut>(m: &Arc<Manager>, stop: &watch::Receiver<bool>, l: Loop, round: F) -> JoinHandle<()>
where
    F: Fn(Arc<Manager>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), Error>> + Send,
{
    let (m, mut stop) = (m.clone(), stop.clone());
    tokio::spawn(async move {
        while !wait(&mut stop, l.every).await {
            if lease(&m, &l).await {
                report(l.name, round(m.clone()).await);
            }
        }
    })
}

/// The loop over hosts remembers what it saw last.
fn run_with(m: &Arc<Manager>, stop: &watch::Receiver<bool>, l: Loop, mut seen: hosts::Seen) -> JoinHandle<()> {
    let (m, mut stop) = (m.clone(), stop.clone());
    tokio::spawn(async move {
        while !wait(&mut stop, l.every).await {
            if lease(&m, &l).await {
                report(l.name, hosts::round(&m, &mut seen).await);
            } else {
                seen = hosts::Seen::default();
            }
        }
    })
}

/// Waits for the next round; true when the manager stops.
async fn wait(stop: &mut watch::Receiver<bool>, every: Duration) -> bool {
    tokio::select! {
        r = stop.wait_for(|s| *s) => { let _ = r; true }
        () = tokio::time::sleep(every) => false,
    }
}

async fn lease(m: &Manager, l: &Loop) -> bool {
    let now = m.now();
    let until = now.plus_millis(i64::try_from((l.every * LEASE_ROUNDS).as_millis()).unwrap_or(i64::MAX).max(10_000));
    let take = async {
        let mut tx = m.store.write().await?;
        let mine = virga_store::loop_lease::try_take(&mut tx, l.name, &m.instance, now, until).await?;
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
