//! Keeps what runs for ever running: a loop that panics is started again after a wait, with an event and a count
//! (`reliability.md` M10).
//!
//! A panic is a fault of Virga and always in the log. It must never end the process (VMs would lose their manager), and a
//! loop that panics at once again and again must not burn the processor: each wait is twice the one before.

use crate::event::{self, Note};
use crate::state::{Manager, lock};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use virga_model::Error;
use virga_model::event::Severity;
use virga_model::task::ObjectRef;

/// First wait before a loop is started again; it doubles.
const RESTART_WAIT: Duration = Duration::from_secs(1);
/// Longest such wait.
const RESTART_WAIT_MAX: Duration = Duration::from_secs(60);
/// A loop that ran for so long begins with the first wait again.
const SOUND_AFTER: Duration = Duration::from_secs(300);

/// How often something panicked, by what it was.
#[derive(Default)]
pub struct Panics(Mutex<BTreeMap<&'static str, u64>>);

impl Panics {
    /// Counts a panic in a part of the manager.
    pub fn count(&self, part: &'static str) {
        *lock(&self.0).entry(part).or_default() += 1;
    }

    /// Parts that panicked, and how often.
    #[must_use]
    pub fn all(&self) -> Vec<(&'static str, u64)> {
        lock(&self.0).iter().map(|(part, n)| (*part, *n)).collect()
    }
}

/// Runs what `begin` makes until it ends by itself, and makes it anew when it panics.
pub fn spawn<F, Fut>(m: &Arc<Manager>, stop: &watch::Receiver<bool>, part: &'static str, mut begin: F) -> JoinHandle<()>
where
    F: FnMut() -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let (m, mut stop) = (m.clone(), stop.clone());
    virga_crash::spawn(async move {
        let mut pause = RESTART_WAIT;
        loop {
            let (work, begun) = (Ended(virga_crash::spawn(begin())), m.steady());
            let Err(e) = work.await else { return };
            if !e.is_panic() {
                return;
            }
            if m.steady().saturating_sub(begun) >= SOUND_AFTER {
                pause = RESTART_WAIT;
            }
            tell(&m, part, pause).await;
            tokio::select! {
                biased;
                _ = stop.wait_for(|s| *s) => return,
                () = m.wait(pause) => {}
            }
            pause = (pause * 2).min(RESTART_WAIT_MAX);
        }
    })
}

/// A task that ends with whoever waits for it.
struct Ended(JoinHandle<()>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Future for Ended {
    type Output = Result<(), tokio::task::JoinError>;

    fn poll(mut self: std::pin::Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<Self::Output> {
        std::pin::Pin::new(&mut self.0).poll(cx)
    }
}

async fn tell(m: &Manager, part: &'static str, pause: Duration) {
    m.panics.count(part);
    tracing::error!(part, restart_s = pause.as_secs(), "a part of the manager panicked; it is started again");
    let text = format!("The part {part} of the manager made a mistake and is started again in {} s. Its log says more; report it.", pause.as_secs());
    let write = async {
        let mut tx = m.store.write().await?;
        let note = Note { severity: Severity::Error, ..Note::plain(m.now(), "system.part_restarted", ObjectRef::System, "", &text) };
        event::append(&mut tx, &note).await?;
        Ok::<(), Error>(tx.commit().await?)
    };
    match write.await {
        Ok(()) => m.committed(),
        Err(e) => tracing::warn!(part, error = %e, "the event of a restart was not written"),
    }
}
