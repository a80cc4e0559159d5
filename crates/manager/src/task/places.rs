//! The places of one manager for tasks at work, and who may have how many.
//!
//! High availability may take all of them, and a part that nobody else may take. Nobody's work fills all the rest: each
//! class leaves places for those that are claimed after it, and one party leaves places for others (`reliability.md` T4).

use super::runner::TASKS_AT_ONCE;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use virga_model::task::Task;
use virga_model::{TaskId, UserId};
use virga_store::task_claim::{Class, Turn};

/// Places for nobody but high availability.
pub const HA_RESERVED: u32 = 8;
/// Places for nobody but high availability and children of batches.
pub const BULK_RESERVED: u32 = 8;
/// Most places of repair and other work of the platform.
pub const PLATFORM_MAX: u32 = 24;
/// Most places of children of batches.
pub const BULK_MAX: u32 = 40;
/// Most places of one party in a class.
pub const PARTY_MAX: u32 = 32;

/// Who has which place.
#[derive(Default)]
pub struct Places {
    held: HashMap<TaskId, Held>,
    turns: HashMap<Class, Turn>,
}

/// A place that is taken.
struct Held {
    class: Class,
    party: Option<UserId>,
    /// The task as it was claimed again, before the work on it gave the place back.
    again: Option<Task>,
}

impl Places {
    /// Gives a task a place. When it has one, none is answered and the task is kept for [`Places::done`]: work on it is
    /// at its very end, and it was claimed again because somebody woke it in between.
    #[must_use]
    pub fn take(&mut self, t: Task) -> Option<Task> {
        match self.held.entry(t.id) {
            Entry::Occupied(mut e) => {
                e.get_mut().again = Some(t);
                None
            }
            Entry::Vacant(e) => {
                e.insert(Held { class: Class::of(&t), party: t.requester, again: None });
                Some(t)
            }
        }
    }

    /// Work on a task is done. Answers with the task when it was claimed again meanwhile, and keeps its place: the lease is
    /// ours, and nobody else would work on it before that runs out. Else the place is free.
    #[must_use]
    pub fn done(&mut self, id: TaskId) -> Option<Task> {
        let again = self.held.get_mut(&id).and_then(|h| h.again.take());
        if again.is_none() {
            self.give_back(id);
        }
        again
    }

    /// Takes a task's place back.
    pub fn give_back(&mut self, id: TaskId) {
        self.held.remove(&id);
    }

    /// Whose turn it is in a class.
    #[must_use]
    pub fn turn(&self, class: Class) -> Turn {
        self.turns.get(&class).cloned().unwrap_or_default()
    }

    /// Notes who was served last.
    pub fn served(&mut self, class: Class, turn: Turn) {
        self.turns.insert(class, turn);
    }

    fn count(&self, of: impl Fn(Class) -> bool) -> u32 {
        u32::try_from(self.held.values().filter(|h| of(h.class)).count()).unwrap_or(u32::MAX)
    }

    /// Free places of a class, besides those that were just claimed for classes before it.
    #[must_use]
    pub fn free(&self, class: Class, claimed: &[(Class, u32)]) -> u32 {
        let used = |of: &dyn Fn(Class) -> bool| self.count(of) + claimed.iter().filter(|(c, _)| of(*c)).map(|(_, n)| n).sum::<u32>();
        let all = TASKS_AT_ONCE.saturating_sub(used(&|_| true));
        let ordinary = (TASKS_AT_ONCE - HA_RESERVED).saturating_sub(used(&|c| c != Class::Ha));
        let asked = (TASKS_AT_ONCE - HA_RESERVED - BULK_RESERVED).saturating_sub(used(&|c| matches!(c, Class::Platform | Class::User)));
        match class {
            Class::Ha => all,
            Class::Platform => all.min(ordinary).min(asked).min(PLATFORM_MAX.saturating_sub(used(&|c| c == Class::Platform))),
            Class::User => all.min(ordinary).min(asked),
            Class::Bulk => all.min(ordinary).min(BULK_MAX.saturating_sub(used(&|c| c == Class::Bulk))),
        }
    }

    /// Places that each party holds in a class.
    #[must_use]
    pub fn held(&self, class: Class) -> HashMap<Option<UserId>, u32> {
        let mut by_party = HashMap::new();
        for Held { party, .. } in self.held.values().filter(|h| h.class == class) {
            *by_party.entry(*party).or_default() += 1;
        }
        by_party
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task_new::{self, About, Who};
    use virga_model::Time;
    use virga_model::task::{Cause, ObjectRef, TaskDoc, TaskKind};

    fn places(held: &[(Class, u32)]) -> Places {
        let mut p = Places::default();
        for (class, n) in held {
            for _ in 0..*n {
                p.held.insert(TaskId(uuid::Uuid::new_v4()), Held { class: *class, party: None, again: None });
            }
        }
        p
    }

    #[test]
    fn nobody_takes_what_others_need() {
        let p = places(&[]);
        let most = Class::ALL.map(|c| p.free(c, &[]));
        assert_eq!(most, [64, 24, 48, 40]);
        // Users and the platform at their most: batches and high availability still go on.
        let p = places(&[(Class::Platform, 24), (Class::User, 24)]);
        assert_eq!(Class::ALL.map(|c| p.free(c, &[])), [16, 0, 0, 8]);
        // Everybody at the most: high availability still goes on.
        let p = places(&[(Class::User, 16), (Class::Bulk, 40)]);
        assert_eq!(Class::ALL.map(|c| p.free(c, &[])), [8, 0, 0, 0]);
        let p = places(&[(Class::Ha, 64)]);
        assert_eq!(Class::ALL.map(|c| p.free(c, &[])), [0, 0, 0, 0]);
        // What is claimed at the same time counts.
        assert_eq!(places(&[]).free(Class::User, &[(Class::Ha, 60), (Class::Platform, 1)]), 3);
    }

    #[test]
    fn what_is_claimed_again_is_not_forgotten() {
        let mut p = places(&[]);
        let who = Who::system(Cause::Ha, Time(0));
        let task = task_new::fresh(who, TaskId(uuid::Uuid::nil()), TaskKind::VmStart, About::plain(ObjectRef::System, "x"), TaskDoc::default(), None);
        assert!(p.take(task.clone()).is_some());
        assert!(p.take(task.clone()).is_none(), "it is at work");
        assert_eq!(p.done(task.id).map(|t| t.id), Some(task.id));
        assert_eq!(p.free(Class::Ha, &[]), 63, "its place is kept");
        assert!(p.done(task.id).is_none());
        assert_eq!(p.free(Class::Ha, &[]), 64);
        assert!(p.take(task).is_some());
    }
}
