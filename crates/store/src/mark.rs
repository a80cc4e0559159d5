//! Marks: what kinds of rows this process has changed, so that copies in memory can be told to be out of date.
//!
//! A function that changes such rows sets the mark in its transaction; the commit makes the mark's epoch grow. Who keeps
//! a copy reads the epoch *before* the rows, and throws the copy away when the epoch has changed since. What other
//! processes change is not seen here: a copy needs a short life as well.

use std::sync::atomic::{AtomicU64, Ordering};

/// A kind of rows that is worth a copy in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// Accounts, roles, sessions and API tokens.
    Credentials,
    /// Hosts, without their last report and their load.
    Hosts,
    /// Data stores.
    DataStores,
}

/// How often each mark was committed, and what all transactions have cost so far.
#[derive(Debug, Default)]
pub(crate) struct Epochs {
    credentials: AtomicU64,
    hosts: AtomicU64,
    data_stores: AtomicU64,
    statements: AtomicU64,
    reads: AtomicU64,
    writes: AtomicU64,
}

/// What the transactions of a [`crate::Store`] have cost so far, for benches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Statements.
    pub statements: u64,
    /// Transactions that only read.
    pub reads: u64,
    /// Transactions that write.
    pub writes: u64,
}

impl Epochs {
    fn of(&self, m: Mark) -> &AtomicU64 {
        match m {
            Mark::Credentials => &self.credentials,
            Mark::Hosts => &self.hosts,
            Mark::DataStores => &self.data_stores,
        }
    }

    pub(crate) fn get(&self, m: Mark) -> u64 {
        self.of(m).load(Ordering::Acquire)
    }

    /// All epochs as they are now.
    pub(crate) fn now(&self) -> Epochs {
        let of = |m| self.get(m).into();
        Epochs { credentials: of(Mark::Credentials), hosts: of(Mark::Hosts), data_stores: of(Mark::DataStores), ..Epochs::default() }
    }

    /// A transaction has ended.
    pub(crate) fn spend(&self, writes: bool, statements: u32) {
        (if writes { &self.writes } else { &self.reads }).fetch_add(1, Ordering::Relaxed);
        self.statements.fetch_add(u64::from(statements), Ordering::Relaxed);
    }

    pub(crate) fn spent(&self) -> Spent {
        let of = |n: &AtomicU64| n.load(Ordering::Relaxed);
        Spent { statements: of(&self.statements), reads: of(&self.reads), writes: of(&self.writes) }
    }

    pub(crate) fn grow(&self, marks: &[Mark]) {
        for m in marks {
            self.of(*m).fetch_add(1, Ordering::AcqRel);
        }
    }
}
