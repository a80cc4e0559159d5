//! A host's disk as its agent's journal uses it: a write takes a moment, and what a loss of power finds under way is
//! there afterwards or not.

use super::ctx::Ctx;
use super::host::Disk;
use super::life::{Life, State};
use super::plant::Plant;
use super::turn::lock;
use async_trait::async_trait;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use virga_agent::host::{Journal, Result};
use virga_agent::record::Record;
use virga_model::Error;

/// Milliseconds of a durable write.
pub(super) const WRITE_MS: u64 = 2;
/// Milliseconds after which a planted bug writes what it has promised.
const PROMISE_MS: u64 = 3_000;

/// The journal of one life of an agent.
pub struct SimJournal {
    /// The world.
    pub ctx: Arc<Ctx>,
    /// The agent.
    pub life: Arc<Life>,
    /// The disk, which outlives it.
    pub disk: Arc<Disk>,
}

impl SimJournal {
    /// Puts a document on the disk; the log of an agent never goes back (V5).
    fn land(&self, name: &str, content: &[u8]) {
        let mut documents = lock(&self.disk.documents);
        let order = |d: &[u8]| serde_json::from_slice::<Record>(d).ok().map(|r| r.order);
        let before = documents.get(name).and_then(|d| order(d));
        if let (Some(before), Some(after)) = (before, order(content)) {
            let (b, a) = (before.generation, after.generation);
            if a < b {
                self.ctx.violated("V5", &format!("the agent's record of {name} goes back from generation {b} to {a}"));
            }
            if a > b {
                lock(&self.ctx.book).former.insert(before.id, (self.ctx.now(), before));
            }
        }
        documents.insert(name.into(), content.to_vec());
    }
}

#[async_trait]
impl Journal for SimJournal {
    async fn load(&self) -> Result<Vec<(String, Vec<u8>)>> {
        self.ctx.pause(&self.life, WRITE_MS).await;
        Ok(lock(&self.disk.documents).iter().map(|(k, v)| (k.clone(), v.clone())).collect())
    }

    async fn put(&self, name: &str, content: &[u8]) -> Result<()> {
        self.life.alive().await;
        let left = self.disk.writes_left.load(Ordering::SeqCst);
        if left > 0 {
            self.disk.writes_left.store(left - 1, Ordering::SeqCst);
            if left == 1 {
                self.ctx.say(format!("{} the agent is killed at a write of its journal", self.disk.host));
                self.life.set(State::Dead);
                self.life.alive().await;
            }
        }
        if self.disk.broken.load(Ordering::SeqCst) {
            return Err(Error::host("The agent's journal cannot be used: no space left on device."));
        }
        if self.ctx.planted(Plant::JournalAfterAnswer) && name.len() == 36 {
            let (journal, name, content) =
                (SimJournal { ctx: self.ctx.clone(), life: self.life.clone(), disk: self.disk.clone() }, name.to_string(), content.to_vec());
            tokio::spawn(async move {
                journal.ctx.pause(&journal.life, PROMISE_MS).await;
                journal.land(&name, &content);
            });
            return Ok(());
        }
        // Whether a loss of power during the write leaves it: on the disk before the answer, or not at all.
        let early = self.ctx.rng.chance(500);
        if early {
            self.land(name, content);
        }
        self.ctx.pause(&self.life, WRITE_MS).await;
        if !early {
            self.land(name, content);
        }
        Ok(())
    }

    async fn remove(&self, name: &str) -> Result<()> {
        self.ctx.pause(&self.life, WRITE_MS).await;
        lock(&self.disk.documents).remove(name);
        Ok(())
    }
}
