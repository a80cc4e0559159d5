//! A journal in memory that outlives a simulated agent, and can be told to fail or to end the agent at a write.

use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use virga_agent::host::{Journal, Result};
use virga_model::Error;

/// What a simulated disk holds of an agent.
#[derive(Default)]
pub struct MemoryJournal {
    documents: Mutex<BTreeMap<String, Vec<u8>>>,
    writes: Mutex<u64>,
    dies_at: Mutex<Option<u64>>,
}

fn lock<T>(m: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MemoryJournal {
    /// An empty journal.
    #[must_use]
    pub fn new() -> Arc<MemoryJournal> {
        Arc::default()
    }

    /// Writes so far.
    #[must_use]
    pub fn writes(&self) -> u64 {
        *lock(&self.writes)
    }

    /// From the `n`-th write on nothing more gets through, as if the agent had been killed just before it; none: heal.
    pub fn die_at(&self, n: Option<u64>) {
        *lock(&self.dies_at) = n;
    }
}

#[async_trait]
impl Journal for MemoryJournal {
    async fn load(&self) -> Result<Vec<(String, Vec<u8>)>> {
        Ok(lock(&self.documents).iter().map(|(k, v)| (k.clone(), v.clone())).collect())
    }

    async fn put(&self, name: &str, content: &[u8]) -> Result<()> {
        let n = {
            let mut writes = lock(&self.writes);
            *writes += 1;
            *writes
        };
        if lock(&self.dies_at).is_some_and(|at| n >= at) {
            // A killed process never returns.
            std::future::pending::<()>().await;
        }
        lock(&self.documents).insert(name.into(), content.to_vec());
        Ok(())
    }

    async fn remove(&self, name: &str) -> Result<()> {
        lock(&self.documents).remove(name).map(drop).ok_or_else(|| Error::internal("no such document")).or(Ok(()))
    }
}
