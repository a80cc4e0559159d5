//! Reads what the database shows after each commit, and writes it into the log: events, and each step of each task.

use super::check::active_tasks;
use super::ctx::Ctx;
use std::collections::BTreeMap;
use virga_model::role::Visible;
use virga_model::task::Task;
use virga_model::{Error, TaskId};

/// Events read at once.
const EVENTS: u32 = 500;

/// What was seen so far.
#[derive(Default)]
pub struct Watch {
    event: i64,
    tasks: BTreeMap<TaskId, String>,
}

impl Watch {
    /// Writes what is new.
    pub async fn look(&mut self, ctx: &Ctx) {
        if let Err(e) = self.read(ctx).await {
            ctx.say(format!("the database cannot be read: {}", e.message));
        }
    }

    async fn read(&mut self, ctx: &Ctx) -> Result<(), Error> {
        let _pass = ctx.turns.take();
        let mut tx = ctx.store.read().await?;
        let events = virga_store::event::after(&mut tx, self.event, EVENTS, &Visible::everything()).await?;
        let active = active_tasks(&mut tx).await?;
        drop(tx);
        for e in events {
            self.event = e.id;
            if let virga_model::task::ObjectRef::Vm(id) = e.object {
                ctx.log.call(id.0, &e.object_name);
            }
            // What changes with every report, and what a guest tells about itself, would drown the rest.
            if !matches!(e.kind.as_str(), "vm.observed" | "vm.addresses") {
                ctx.say(format!("event {} {}: {}", e.kind, e.object_name, e.message));
            }
        }
        for t in &active {
            let text = step(t);
            if self.tasks.insert(t.id, text.clone()).as_ref() != Some(&text) {
                ctx.say(format!("task {} {}: {text}", t.kind, t.object_name));
            }
        }
        self.tasks.retain(|id, _| active.iter().any(|t| t.id == *id));
        Ok(())
    }
}

fn step(t: &Task) -> String {
    let cancel = if t.cancel { ", asked to stop" } else { "" };
    let undo = if t.doc.undo.is_some() { ", on its way back" } else { "" };
    format!("{}{cancel}{undo}: {}", t.state, t.message)
}
