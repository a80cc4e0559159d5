//! Lives of managers and agents, and the plan of what happens to them at a crash point (`virga_crash`).
//!
//! Each life has its own hook. A dead one unwinds at the next point it comes to, and everything it held is let go; a frozen
//! one goes on when it is thawed, as a program that was stopped for minutes. Tests count on that nothing happens unless
//! a plan says so: a plan that is not armed only lets everything pass.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Notify, watch};
use virga_crash::{Hook, Moment, Part, Step, Verdict};
use virga_model::Error;

use crate::SimClock;

/// Simulated milliseconds that a slow step takes; longer than a lease and than the deadline of a call.
const SLOW_MS: u64 = 45_000;

/// A crash point, and which time it is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The step.
    pub step: Step,
    /// Before or after its effect.
    pub moment: Moment,
    /// How often it was reached before.
    pub nth: usize,
}

/// What happens there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The program is killed.
    Killed,
    /// It is killed, and whoever comes next is killed at the n-th point it reaches.
    KilledAgain(usize),
    /// The step cannot be made now, or its answer is lost; after the effect this makes it happen twice.
    Fails,
    /// The step takes longer than anybody waits.
    TimesOut,
    /// The step is refused for good.
    Refused,
    /// The manager is frozen there; another takes over, and the first wakes when everything has ended.
    Frozen,
}

#[derive(Default)]
struct State {
    armed: bool,
    counts: HashMap<(Step, Moment), usize>,
    trace: Vec<Place>,
    target: Option<(Place, Outcome)>,
    fired: bool,
    since: usize,
    deaths: Vec<Part>,
}

/// What is to happen, and what has.
pub struct Plan {
    state: Mutex<State>,
    clock: SimClock,
    /// Somebody died, or froze.
    pub news: Notify,
    thawed: watch::Sender<bool>,
}

enum Order {
    Go,
    Die,
    Fail(Error),
    Slow,
    Freeze,
}

impl Plan {
    /// A plan in which nothing happens.
    #[must_use]
    pub fn new(clock: SimClock) -> Arc<Plan> {
        Arc::new(Plan { state: Mutex::default(), clock, news: Notify::new(), thawed: watch::Sender::new(false) })
    }

    /// From now on points are counted, and this happens at that place.
    pub fn arm(&self, target: Option<(Place, Outcome)>) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = State { armed: true, target, ..State::default() };
    }

    /// Nothing happens any more; the points that were reached, in their order.
    pub fn disarm(&self) -> Vec<Place> {
        let mut s = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        s.armed = false;
        std::mem::take(&mut s.trace)
    }

    /// Whether the planned place was reached.
    #[must_use]
    pub fn fired(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).fired
    }

    /// What is to happen, and where.
    #[must_use]
    pub fn target(&self) -> Option<(Place, Outcome)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).target
    }

    /// Whose death has not been noticed yet.
    pub fn take_deaths(&self) -> Vec<Part> {
        std::mem::take(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner).deaths)
    }

    /// Lets whoever is frozen go on.
    pub fn thaw(&self) {
        self.thawed.send_replace(true);
    }

    fn order(&self, part: Part, step: Step, moment: Moment) -> Order {
        let mut s = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !s.armed {
            return Order::Go;
        }
        let count = s.counts.entry((step, moment)).or_default();
        let place = Place { step, moment, nth: *count };
        *count += 1;
        s.trace.push(place);
        let order = match s.target {
            Some((at, outcome)) if at == place && !s.fired => {
                s.fired = true;
                match outcome {
                    Outcome::Killed | Outcome::KilledAgain(_) => Order::Die,
                    Outcome::Fails => Order::Fail(Error::unavailable("This step cannot be made now.")),
                    Outcome::TimesOut => Order::Slow,
                    Outcome::Refused => Order::Fail(Error::host("This step is refused.")),
                    Outcome::Frozen => Order::Freeze,
                }
            }
            Some((_, Outcome::KilledAgain(n))) if s.fired => {
                s.since += 1;
                if s.since == n + 1 { Order::Die } else { Order::Go }
            }
            _ => Order::Go,
        };
        if matches!(order, Order::Die) {
            s.deaths.push(part);
        }
        drop(s);
        if !matches!(order, Order::Go) {
            self.news.notify_one();
        }
        order
    }
}

/// One life of a manager or an agent.
pub struct Life {
    part: Part,
    plan: Arc<Plan>,
    dead: AtomicBool,
    frozen: AtomicBool,
}

impl Life {
    /// A new life, which follows the plan.
    #[must_use]
    pub fn new(part: Part, plan: &Arc<Plan>) -> Arc<Life> {
        Arc::new(Life { part, plan: plan.clone(), dead: AtomicBool::new(false), frozen: AtomicBool::new(false) })
    }

    /// Whether it was killed.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    /// Whether it is frozen, or was.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.frozen.load(Ordering::SeqCst)
    }

    /// Stops it at its next crash point until the plan thaws.
    pub fn freeze(&self) {
        self.frozen.store(true, Ordering::SeqCst);
    }

    /// Ends it: nothing of it ever goes on from a crash point.
    pub fn end(&self) {
        self.dead.store(true, Ordering::SeqCst);
    }

    fn wait_for_thaw(&self) -> Verdict {
        let mut thawed = self.plan.thawed.subscribe();
        Box::pin(async move {
            drop(thawed.wait_for(|t| *t).await);
            Ok(())
        })
    }
}

/// Unwinds without a word, so that everything the program held is let go, as the system does for a killed one.
async fn die() -> Result<(), Error> {
    std::panic::resume_unwind(Box::new("killed at a crash point"))
}

impl Hook for Life {
    fn reached(&self, step: Step, moment: Moment) -> Verdict {
        if self.is_dead() {
            return Box::pin(die());
        }
        if self.is_frozen() {
            return self.wait_for_thaw();
        }
        match self.plan.order(self.part, step, moment) {
            Order::Go => Box::pin(std::future::ready(Ok(()))),
            Order::Fail(e) => Box::pin(std::future::ready(Err(e))),
            Order::Die => {
                self.end();
                Box::pin(die())
            }
            Order::Slow => {
                let clock = self.plan.clock.clone();
                Box::pin(async move {
                    clock.sleep_ms(SLOW_MS).await;
                    Err(Error::unavailable("This step took too long."))
                })
            }
            Order::Freeze => {
                self.frozen.store(true, Ordering::SeqCst);
                self.wait_for_thaw()
            }
        }
    }
}
