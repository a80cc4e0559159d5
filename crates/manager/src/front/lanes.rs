//! Who may take how much at the same time: connections, requests by lane, and memory for bodies.
//!
//! A lane that is full never takes from another: whoever looks whether the manager lives, or signs in to stop a flood,
//! gets through. Everything is given back when the value that was handed out is dropped.

use super::limits::{
    ANSWERS_KIB_MAX, BODIES_KIB_MAX, LANE_WAIT_MAX, Limits, RESERVED, RESERVED_MAX, SOURCE_REQUESTS_MAX, WAITING, WAITING_MAX, WORK_MAX, counted,
};
use crate::state::lock;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use virga_model::Error;

/// What one address has at the moment.
#[derive(Clone, Copy, Default)]
struct Held {
    connections: usize,
    requests: usize,
}

/// The places.
pub struct Lanes {
    connections: Arc<Semaphore>,
    source_connections_max: usize,
    counts_sources: bool,
    sources: Mutex<HashMap<IpAddr, Held>>,
    work: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    reserved: Arc<Semaphore>,
    bodies: Arc<Semaphore>,
    answers: Arc<Semaphore>,
}

/// A connection's place.
pub struct Connection {
    lanes: Arc<Lanes>,
    source: Option<IpAddr>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(source) = self.source {
            self.lanes.give_back(source, |h| h.connections -= 1);
        }
    }
}

/// A request's place among those of its address.
pub struct Share {
    lanes: Arc<Lanes>,
    source: Option<IpAddr>,
}

impl Drop for Share {
    fn drop(&mut self) {
        if let Some(source) = self.source {
            self.lanes.give_back(source, |h| h.requests -= 1);
        }
    }
}

impl Lanes {
    /// Places under `limits`.
    #[must_use]
    pub fn new(limits: &Limits) -> Arc<Lanes> {
        let places = |n: usize| Arc::new(Semaphore::new(n));
        Arc::new(Lanes {
            connections: places(limits.connections_max),
            source_connections_max: limits.source_connections_max,
            counts_sources: limits.counts_sources(),
            sources: Mutex::default(),
            work: places(WORK_MAX),
            waiting: places(WAITING_MAX),
            reserved: places(RESERVED_MAX),
            bodies: places(BODIES_KIB_MAX),
            answers: places(ANSWERS_KIB_MAX),
        })
    }

    /// Counts one more of a source, if it has not `max` already. The map holds only who has something.
    fn take(&self, source: IpAddr, max: usize, of: impl Fn(&mut Held) -> &mut usize) -> bool {
        let mut sources = lock(&self.sources);
        let n = of(sources.entry(source).or_default());
        let room = *n < max;
        if room {
            *n += 1;
        }
        room
    }

    fn give_back(&self, source: IpAddr, change: impl Fn(&mut Held)) {
        let mut sources = lock(&self.sources);
        let Some(h) = sources.get_mut(&source) else { return };
        change(h);
        if h.connections == 0 && h.requests == 0 {
            sources.remove(&source);
        }
    }

    /// A connection's place; none when there are too many, of all or of this peer. A proxy of ours speaks for many.
    #[must_use]
    pub fn connect(self: &Arc<Lanes>, peer: IpAddr, proxy: bool) -> Option<Connection> {
        let permit = self.connections.clone().try_acquire_owned().ok()?;
        let source = (self.counts_sources && !proxy).then(|| counted(peer));
        if source.is_some_and(|s| !self.take(s, self.source_connections_max, |h| &mut h.connections)) {
            return None;
        }
        Some(Connection { lanes: self.clone(), source, _permit: permit })
    }

    /// A request's place among those of its address, from before its body is read.
    ///
    /// # Errors
    /// TooMany.
    pub fn share(self: &Arc<Lanes>, source: IpAddr) -> Result<Share, Error> {
        let source = self.counts_sources.then(|| counted(source));
        if source.is_some_and(|s| !self.take(s, SOURCE_REQUESTS_MAX, |h| &mut h.requests)) {
            return Err(crate::limit::too_many("requests from this address at the same time", 1));
        }
        Ok(Share { lanes: self.clone(), source })
    }

    /// A place in the lane of an operation, for as long as its handler works.
    ///
    /// # Errors
    /// Unavailable when none comes free in time.
    pub async fn enter(&self, operation: &str) -> Result<OwnedSemaphorePermit, Error> {
        let lane = match operation {
            o if RESERVED.contains(&o) => &self.reserved,
            o if WAITING.contains(&o) => &self.waiting,
            _ => &self.work,
        };
        match tokio::time::timeout(LANE_WAIT_MAX, lane.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(Error::unavailable("The manager has more requests than it can work on.").with_retry_after(1)),
        }
    }

    /// Room for the next piece of a request's body.
    ///
    /// # Errors
    /// Unavailable when the bodies of all requests take too much memory.
    pub fn body(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Error> {
        let full = |_| Error::unavailable("The manager has too many large requests at the same time.").with_retry_after(1);
        self.bodies.clone().try_acquire_many_owned(kib(bytes as u64)).map_err(full)
    }

    /// Room for the body of an answer until it was read.
    ///
    /// # Errors
    /// Unavailable when answers that nobody reads take too much memory.
    pub fn answer(&self, bytes: u64) -> Result<OwnedSemaphorePermit, Error> {
        let full = |_| Error::unavailable("Too many large answers wait for their readers.").with_retry_after(1);
        self.answers.clone().try_acquire_many_owned(kib(bytes)).map_err(full)
    }
}

fn kib(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lanes(all: usize, source: usize) -> Arc<Lanes> {
        Lanes::new(&Limits { connections_max: all, source_connections_max: source, ..Limits::default() })
    }

    #[test]
    fn connections_are_counted_and_given_back() {
        let (l, a, b): (_, IpAddr, IpAddr) = (lanes(3, 2), "192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let held = [l.connect(a, false).unwrap(), l.connect(a, false).unwrap()];
        assert!(l.connect(a, false).is_none(), "too many of one");
        let other = l.connect(b, false).unwrap();
        assert!(l.connect(b, false).is_none(), "too many of all");
        drop((held, other));
        assert!(lock(&l.sources).is_empty(), "nothing is kept of who has gone");
        let proxied: Vec<_> = (0..3).map(|_| l.connect(a, true).unwrap()).collect();
        assert_eq!(proxied.len(), 3);
    }

    #[tokio::test]
    async fn a_full_lane_takes_from_no_other() {
        let l = lanes(3, 2);
        let mut held = Vec::new();
        for _ in 0..WORK_MAX {
            held.push(l.enter("vm_list").await.unwrap());
        }
        assert_eq!(l.work.available_permits(), 0);
        held.push(l.enter("ping").await.unwrap());
        held.push(l.enter("task_view").await.unwrap());
    }

    #[test]
    fn memory_for_bodies_has_an_end() {
        let l = lanes(3, 2);
        let half = l.body(BODIES_KIB_MAX * 512).unwrap();
        let _other = l.body(BODIES_KIB_MAX * 512).unwrap();
        assert!(l.body(1).is_err());
        drop(half);
        assert!(l.body(1).is_ok());
        assert!(l.answer((ANSWERS_KIB_MAX as u64 + 1) * 1024).is_err());
    }
}
