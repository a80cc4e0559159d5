//! Lives of agents: two agents with one identity, as when a host's disk was copied to another machine (`reliability.md`
//! G11).
//!
//! An agent that starts anew begins another life, and the one before is over. When a former life speaks again and again
//! after that, both are there: the one that was first is the host, and the other one is refused until the first has been
//! silent for long enough. Late messages of a life that is over are no proof, so it must have gone on counting its reports
//! for a while. What a manager knows of lives is in memory only: another manager judges by what it hears itself.
//!
//! Nothing here may be read as a word about guests.

use crate::state::lock;
use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;
use virga_model::order::Report;
use virga_model::{Error, ErrorCode, HostId, Time};

/// Reports of a former life, one after the other, that show that it goes on.
const WORDS: u32 = 3;
/// Shortest time between the first and the last of them.
const WORDS_OVER: Duration = Duration::from_secs(6);
/// Former lives that are remembered.
const FORMER_MAX: usize = 8;
/// Silence of the first one after which the other one is the host.
const SILENCE: Duration = Duration::from_secs(30);

/// What is known of the lives of all hosts' agents.
#[derive(Default)]
pub struct Lives(Mutex<HashMap<HostId, Known>>);

/// A life of an agent.
#[derive(Clone, Copy, Debug)]
struct Life {
    /// When the agent started, by its own clock: which life it is.
    began: Time,
    /// The highest number of its reports.
    sequence: u64,
    heard: Duration,
}

#[derive(Debug)]
struct Known {
    /// The life that is the host.
    now: Life,
    /// Those before, the newest last.
    former: Vec<Former>,
    /// The copy that is refused.
    copy: Option<Time>,
}

/// A life that seems to be over.
#[derive(Clone, Copy, Debug)]
struct Former {
    life: Life,
    /// When it first spoke again, and how often it has since.
    since: Duration,
    words: u32,
}

/// What is to be done with a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Take it.
    Take,
    /// Refuse it: it is a copy's.
    Refuse,
    /// Take it, and tell that there is a copy, which is refused from now on.
    TakeAndTell,
}

impl Lives {
    /// Judges a report that came at this steady time.
    pub fn judge(&self, host: HostId, report: &Report, steady: Duration) -> Verdict {
        let life = Life { began: report.agent_started_at, sequence: report.sequence, heard: steady };
        let mut all = lock(&self.0);
        match all.entry(host) {
            std::collections::hash_map::Entry::Vacant(e) => {
                e.insert(Known { now: life, former: Vec::new(), copy: None });
                Verdict::Take
            }
            std::collections::hash_map::Entry::Occupied(mut e) => e.get_mut().hear(life),
        }
    }

    /// Forgets a host.
    pub fn forget(&self, host: HostId) {
        lock(&self.0).remove(&host);
    }
}

impl Known {
    fn hear(&mut self, life: Life) -> Verdict {
        if life.began == self.now.began {
            self.now = Life { sequence: self.now.sequence.max(life.sequence), ..life };
            return Verdict::Take;
        }
        if self.copy == Some(life.began) && life.heard.saturating_sub(self.now.heard) < SILENCE {
            return Verdict::Refuse;
        }
        if let Some(f) = self.former.iter_mut().find(|f| f.life.began == life.began) {
            if life.sequence <= f.life.sequence {
                // Late or twice: said before it was over.
                return Verdict::Take;
            }
            if f.words == 0 {
                f.since = life.heard;
            }
            f.words += 1;
            f.life = life;
            if f.words >= WORDS && life.heard.saturating_sub(f.since) >= WORDS_OVER {
                *self = Known { now: life, former: Vec::new(), copy: Some(self.now.began) };
                return Verdict::TakeAndTell;
            }
            return Verdict::Take;
        }
        self.former.push(Former { life: self.now, since: life.heard, words: 0 });
        if self.former.len() > FORMER_MAX {
            self.former.remove(0);
        }
        (self.now, self.copy) = (life, None);
        Verdict::Take
    }
}

/// The refusal that the copy's log shows.
#[must_use]
pub fn refusal() -> Error {
    Error::new(ErrorCode::Conflict, "Another agent with the same identity reports for this host, and it was first.")
        .with_hint("This machine is a copy of that host. Stop its agent, remove its state folder, and join it with a join file of its own.")
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Story {
        lives: Lives,
        at: u64,
    }

    impl Story {
        fn hear(&mut self, life: i64, sequence: u64, after_s: u64) -> Verdict {
            self.at += after_s;
            let report = Report {
                sequence,
                agent_started_at: Time(life),
                revision: 0,
                now: Time(0),
                full: false,
                hypervisor_up: true,
                vms: Vec::new(),
                facts: None,
                foreign_vms: None,
                stores: None,
                stores_digest: String::new(),
                host_sample: None,
                vm_samples: Vec::new(),
            };
            self.lives.judge(HostId(uuid::Uuid::nil()), &report, Duration::from_secs(self.at))
        }
    }

    fn story() -> Story {
        Story { lives: Lives::default(), at: 0 }
    }

    #[test]
    fn an_agent_may_start_anew_and_its_late_words_are_no_second_agent() {
        let mut s = story();
        assert_eq!(s.hear(1, 7, 0), Verdict::Take);
        assert_eq!(s.hear(2, 1, 1), Verdict::Take);
        for late in [6, 7, 8, 8] {
            assert_eq!(s.hear(1, late, 4), Verdict::Take);
        }
        assert_eq!(s.hear(2, 2, 1), Verdict::Take);
        assert_eq!(s.hear(3, 1, 1), Verdict::Take);
        assert_eq!(s.hear(3, 2, 1), Verdict::Take);
        // A word of the first life that was long under way.
        assert_eq!(s.hear(1, 9, 1), Verdict::Take);
        for n in 3..9 {
            assert_eq!(s.hear(3, n, 3), Verdict::Take);
        }
    }

    #[test]
    fn the_second_of_two_agents_is_refused_while_the_first_speaks() {
        let mut s = story();
        s.hear(1, 1, 0);
        assert_eq!(s.hear(2, 1, 1), Verdict::Take, "it may be a new start");
        let mut told = 0;
        for n in 2..8 {
            told += u32::from(s.hear(1, n, 3) == Verdict::TakeAndTell);
            s.hear(2, n, 0);
        }
        assert_eq!(told, 1);
        assert_eq!(s.hear(2, 9, 1), Verdict::Refuse);
        assert_eq!(s.hear(1, 9, 2), Verdict::Take);
        // The first one is gone for good.
        assert_eq!(s.hear(2, 10, 31), Verdict::Take);
        assert_eq!(s.hear(2, 11, 3), Verdict::Take);
    }
}
