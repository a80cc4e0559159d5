//! Tasks.

use crate::app::App;
use crate::args::Listing;
use crate::client::{List, json};
use crate::column::{Column, Kind, col, wide};
use crate::error::Result;
use crate::host::changed;
use crate::output::Format;
use crate::{human, list, output, wait};
use clap::{Args, Subcommand};
use serde_json::Value;
use std::time::Duration;

/// Columns of tasks.
pub(crate) const COLUMNS: &[Column] = &[
    col("id", "id", Kind::Text),
    col("kind", "kind", Kind::Text),
    col("object", "object", Kind::Ref),
    col("state", "state", Kind::Text),
    col("progress", "progress", Kind::Made(progress)),
    col("by", "requester", Kind::Made(by)),
    col("age", "created_at", Kind::Age),
    col("message", "message", Kind::Text),
    wide("error", "error.detail", Kind::Text),
    wide("cancel", "cancel_requested", Kind::Text),
    wide("parent", "parent", Kind::Text),
    wide("started", "started_at", Kind::Age),
    wide("ended", "ended_at", Kind::Age),
];

/// Percent and step of a task that runs.
fn progress(t: &Value) -> String {
    if wait::has_ended(t) {
        return String::new();
    }
    let percent = wait::percent(t).map(|p| format!("{p} % ")).unwrap_or_default();
    format!("{percent}{}", crate::json::text(t, "progress.step")).trim_end().into()
}

/// Who asked, or which part of Virga.
fn by(t: &Value) -> String {
    match crate::json::text(t, "requester.name") {
        "" => crate::json::text(t, "cause").into(),
        name => name.into(),
    }
}

/// Verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List tasks, newest first.
    #[command(alias = "ls")]
    List(ListArgs),
    /// Show one task.
    Show(Show),
    /// Wait until a task has ended, with its progress.
    Wait(Wait),
    /// Ask a task to stop; it goes back to where it was, unless it is past its point of no return.
    Cancel(Cancel),
}

/// Options of `list`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  virga task list --filter 'state in (queued, running)' --watch\n  virga task list --filter 'object = web-1' --limit 10\n  virga task list --filter 'state = failed' -o wide"
)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    listing: Listing,
}

/// Options of `show`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga task show 0198f4c2-7b1c-7a63-9a4e-2f6f0c1d2e3f\n  virga task show 0198f4c2-7b1c-7a63-9a4e-2f6f0c1d2e3f -o json")]
pub(crate) struct Show {
    /// Id.
    task: String,
}

/// Options of `wait`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  virga task wait 0198f4c2-7b1c-7a63-9a4e-2f6f0c1d2e3f\n  virga task wait 0198f4c2-7b1c-7a63-9a4e-2f6f0c1d2e3f --timeout 10m"
)]
pub(crate) struct Wait {
    /// Id.
    task: String,
    /// Longest wait; the task goes on after it.
    #[arg(long, value_name = "TIME", value_parser = human::parse_duration)]
    timeout: Option<Duration>,
}

/// Options of `cancel`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga task cancel 0198f4c2-7b1c-7a63-9a4e-2f6f0c1d2e3f\n  virga task cancel 0198f4c2-7b1c-7a63-9a4e-2f6f0c1d2e3f --wait")]
pub(crate) struct Cancel {
    /// Id.
    task: String,
    /// Wait until it has ended.
    #[arg(long)]
    wait: bool,
}

/// Does what a verb says.
pub(crate) async fn run(app: &App, command: Command) -> Result {
    match command {
        Command::List(a) => list::run(app, List::Tasks, COLUMNS, &a.listing).await,
        Command::Show(a) => show(app, &a.task).await,
        Command::Wait(a) => {
            let task = wait::until_ended(app, &a.task, a.timeout).await?;
            ended(app, &task)?;
            wait::outcome(&task)
        }
        Command::Cancel(a) => cancel(app, a).await,
    }
}

async fn show(app: &App, id: &str) -> Result {
    let task = json(app.api()?.v1.task_view().task(wait::uuid(id)?).send().await)?;
    app.out.object(&task, COLUMNS)?;
    match wait::outcome(&task) {
        // To show a task that failed is not a failure.
        Err(f) if wait::has_ended(&task) && app.out.format == Format::Table => output::print(&format!("\n{}", f.render())),
        _ => Ok(()),
    }
}

fn ended(app: &App, task: &Value) -> Result {
    if app.out.format == Format::Table { output::print_line(&wait::line(task)) } else { app.out.object(task, COLUMNS) }
}

async fn cancel(app: &App, a: Cancel) -> Result {
    let task = json(app.api()?.v1.task_cancel().task(wait::uuid(&a.task)?).send().await)?;
    if !a.wait {
        return changed(app, &task, COLUMNS, "task", "is asked to stop");
    }
    // Whether it could still be stopped is the answer here, not a failure.
    ended(app, &wait::until_ended(app, &a.task, None).await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn progress_and_requester_in_words() {
        let t = json!({"state": "running", "progress": {"step": "copying", "done": 1, "total": 2}, "cause": "ha"});
        assert_eq!((progress(&t).as_str(), by(&t).as_str()), ("50 % copying", "ha"));
        let t = json!({"state": "succeeded", "progress": {"step": "copying", "done": 2, "total": 2}, "requester": {"name": "ops"}});
        assert_eq!((progress(&t).as_str(), by(&t).as_str()), ("", "ops"));
    }
}
