//! The life of a simulated process: it runs, is held (a stopped machine, a long pause), or is dead.
//!
//! What is dead never goes on: everything it waits for never comes. Nobody cleans up after it, as after `kill -9`.

use super::turn::lock;
use std::sync::Mutex;
use tokio::sync::Notify;

/// State of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Runs.
    #[default]
    Running,
    /// Is held, and may go on later.
    Held,
    /// Is no more.
    Dead,
}

/// A process.
#[derive(Debug, Default)]
pub struct Life {
    state: Mutex<State>,
    changed: Notify,
}

impl Life {
    /// Its state.
    #[must_use]
    pub fn state(&self) -> State {
        *lock(&self.state)
    }

    /// Whether it runs.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.state() == State::Running
    }

    /// Holds it, lets it go on, or kills it. The dead stay dead.
    pub fn set(&self, state: State) {
        {
            let mut s = lock(&self.state);
            if *s == State::Dead {
                return;
            }
            *s = state;
        }
        self.changed.notify_waiters();
    }

    /// Goes on at once, when it is let go on, or never.
    pub async fn alive(&self) {
        loop {
            let changed = self.changed.notified();
            match self.state() {
                State::Running => return,
                State::Held => changed.await,
                State::Dead => std::future::pending().await,
            }
        }
    }
}
