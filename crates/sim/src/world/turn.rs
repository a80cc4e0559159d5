//! Who may go on, and when: the order of a simulated world.
//!
//! Time stands while anybody can go on. Transactions run one at a time, in the order in which they were asked for, and
//! only when all else waits; so it does not matter how fast the threads of the database are. When nothing is left to do,
//! the driver moves the clock. `tokio`'s own paused clock cannot do this: it would jump while a database thread works.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Notify, oneshot};

pub(super) fn lock<T>(m: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The order of one world.
#[derive(Clone, Default)]
pub struct Turns(Arc<Inner>);

#[derive(Default)]
struct Inner {
    idle: Notify,
    /// The driver waits for idleness.
    asked: AtomicBool,
    /// A transaction is under way: being idle means waiting for the database.
    busy: AtomicBool,
    queue: Mutex<VecDeque<oneshot::Sender<Pass>>>,
}

/// The right to a transaction; the next may begin when this is dropped.
pub struct Pass(Arc<Inner>);

impl Drop for Pass {
    fn drop(&mut self) {
        self.0.busy.store(false, Ordering::SeqCst);
    }
}

impl Turns {
    /// A single-threaded runtime that tells these turns when it has nothing to do.
    ///
    /// # Errors
    /// When the operating system gives none.
    pub fn runtime(&self) -> std::io::Result<Runtime> {
        let inner = self.0.clone();
        Builder::new_current_thread()
            .enable_all()
            .on_thread_park(move || {
                if !inner.busy.load(Ordering::SeqCst) && inner.asked.swap(false, Ordering::SeqCst) {
                    inner.idle.notify_one();
                }
            })
            .build()
    }

    /// Waits until nobody can go on.
    pub async fn idle(&self) {
        self.0.asked.store(true, Ordering::SeqCst);
        self.0.idle.notified().await;
    }

    /// Waits for the right to a transaction.
    pub async fn enter(&self) -> Pass {
        let (sender, receiver) = oneshot::channel();
        lock(&self.0.queue).push_back(sender);
        match receiver.await {
            Ok(pass) => pass,
            // The world has ended.
            Err(_) => std::future::pending().await,
        }
    }

    /// Takes the right at once, for the driver itself, which is the only one that runs when all are idle.
    #[must_use]
    pub fn take(&self) -> Pass {
        self.0.busy.store(true, Ordering::SeqCst);
        Pass(self.0.clone())
    }

    /// Lets the next transaction begin; false: nobody waits for one.
    #[must_use]
    pub fn let_one_in(&self) -> bool {
        loop {
            let Some(next) = lock(&self.0.queue).pop_front() else { return false };
            if next.send(self.take()).is_ok() {
                return true;
            }
        }
    }
}
