//! Waiting for tasks, with their progress on stderr. Waiting never holds anything up: Ctrl-C, a time limit or a lost
//! connection leave the task alone, and say how to go on watching it.

use crate::app::App;
use crate::args::{Change, Waiting};
use crate::client::json;
use crate::error::{Exit, Failure, Result};
use crate::human;
use crate::json::{at, flag, number, text};
use crate::output;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Seconds that one question to the manager may stay open; it answers earlier when the task ends.
const STEP_S: u32 = 2;
/// How long a manager that does not answer is waited for while a task is watched; it may be restarting.
const GONE_MAX: Duration = Duration::from_secs(120);

/// Shows how far a task is: a line that moves on a terminal, else a line for each change.
struct Progress {
    bar: Option<ProgressBar>,
    last: String,
}

impl Progress {
    fn new() -> Progress {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            bar.set_style(ProgressStyle::with_template("{spinner} {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Progress { bar, last: String::new() }
    }

    fn show(&mut self, line: String) {
        if line == self.last {
            return;
        }
        match &self.bar {
            Some(bar) => bar.set_message(line.clone()),
            None => eprintln!("{line}"),
        }
        self.last = line;
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end();
    }
}

/// What a task is and how far, in one line.
pub(crate) fn line(task: &Value) -> String {
    let mut out = format!("{} {}: {}", text(task, "kind"), output::name_of(at(task, "object")), text(task, "state"));
    if let Some(p) = percent(task) {
        out.push_str(&format!(" {p} %"));
    }
    let what = [text(task, "progress.step"), text(task, "message")].into_iter().find(|t| !t.is_empty());
    if let Some(what) = what {
        out.push_str(" - ");
        out.push_str(what);
    }
    if flag(task, "cancel_requested") {
        out.push_str(" (cancel asked for)");
    }
    crate::column::printable(&out)
}

/// Percent done, when the task knows how much there is.
pub(crate) fn percent(task: &Value) -> Option<u64> {
    let total = number(task, "progress.total");
    number(task, "progress.done").saturating_mul(100).checked_div(total).map(|p| p.min(100))
}

/// Whether the task has ended.
pub(crate) fn has_ended(task: &Value) -> bool {
    matches!(text(task, "state"), "succeeded" | "failed" | "cancelled")
}

/// How a task is to be followed later.
fn follow_hint(id: &str) -> String {
    format!("the task goes on; follow it with: virga task wait {id}")
}

/// Waits until the task `id` has ended, and answers with it.
pub(crate) async fn until_ended(app: &App, id: &str, limit: Option<Duration>) -> Result<Value> {
    tokio::select! {
        task = watch(app, id, limit) => task,
        _ = tokio::signal::ctrl_c() => Err(Failure::new(Exit::Interrupted, "not waiting any longer").hint(follow_hint(id))),
    }
}

async fn watch(app: &App, id: &str, limit: Option<Duration>) -> Result<Value> {
    let mut progress = Progress::new();
    let begun = Instant::now();
    let mut gone: Option<Instant> = None;
    loop {
        let rest = limit.map(|l| l.saturating_sub(begun.elapsed()));
        let step = rest.map_or(STEP_S, |r| STEP_S.min(u32::try_from(r.as_secs()).unwrap_or(STEP_S)));
        match json(app.api()?.v1.task_view().task(uuid(id)?).wait(step).send().await) {
            Ok(task) if has_ended(&task) => {
                progress.show(line(&task));
                return Ok(task);
            }
            Ok(task) => {
                gone = None;
                progress.show(line(&task));
            }
            Err(e) if e.is_passing() && gone.get_or_insert_with(Instant::now).elapsed() < GONE_MAX => {
                progress.show(format!("{}; trying again", e.message));
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Err(e) if e.is_passing() => return Err(e.hint(follow_hint(id))),
            Err(e) => return Err(e),
        }
        if rest.is_some_and(|r| r.is_zero()) {
            return Err(Failure::new(Exit::TimedOut, format!("task {id} has not ended in time")).hint(follow_hint(id)));
        }
        if step == 0 {
            tokio::time::sleep(rest.unwrap_or_default().min(Duration::from_millis(200))).await;
        }
    }
}

/// A task's id.
pub(crate) fn uuid(id: &str) -> Result<uuid::Uuid> {
    uuid::Uuid::parse_str(id).map_err(|_| Failure::usage(format!("\"{id}\" is not an id")))
}

/// The failure that a task ended in; none when it did what was asked for.
pub(crate) fn outcome(task: &Value) -> Result {
    let what = format!("{} {}", text(task, "kind"), output::name_of(at(task, "object")));
    let id = text(task, "id");
    match text(task, "state") {
        "succeeded" => Ok(()),
        "cancelled" => Err(Failure::new(Exit::TaskFailed, format!("{what} was cancelled")).hint(format!("see virga task show {id}"))),
        _ => {
            let problem = at(task, "error");
            let mut f = Failure::from_problem(u16::try_from(number(problem, "status")).unwrap_or_default(), problem);
            let why = if problem.is_null() { text(task, "message") } else { &f.message };
            f.message = format!("{what} failed: {why}");
            f.exit = Exit::TaskFailed;
            f.hint = f.hint.or_else(|| Some(format!("see virga task show {id}")));
            Err(f)
        }
    }
}

/// Ends a change: prints its plan (dry run), its task's id (`--no-wait`), or waits and says what became of it.
pub(crate) async fn finish(app: &App, accepted: Value, change: &Change, done: &str) -> Result {
    if change.dry_run {
        return plan(app, &accepted);
    }
    let task = at(&accepted, "task").clone();
    if change.waiting.no_wait {
        return if app.out.is_data() { app.out.data(&accepted) } else { output::print_line(text(&task, "id")) };
    }
    let ended = follow(app, &task, &change.waiting).await?;
    said(app, &accepted, ended, done)
}

/// Waits for the task of an accepted change; null when nothing had to be done.
pub(crate) async fn follow(app: &App, task: &Value, waiting: &Waiting) -> Result<Value> {
    if task.is_null() {
        return Ok(Value::Null);
    }
    let ended = until_ended(app, text(task, "id"), waiting.wait_timeout).await?;
    outcome(&ended)?;
    Ok(ended)
}

fn said(app: &App, accepted: &Value, ended: Value, done: &str) -> Result {
    let object = at(accepted, "object");
    match app.out.format {
        output::Format::Json | output::Format::Yaml => {
            let mut whole = accepted.clone();
            if !ended.is_null() {
                whole["task"] = ended;
            }
            app.out.data(&whole)
        }
        output::Format::Name | output::Format::Csv => output::print_line(&output::name_of(object)),
        _ => {
            let steps = after_restart(accepted);
            let done = if ended.is_null() { "is so already" } else { done };
            let took = took(&ended).map(|t| format!(" ({t})")).unwrap_or_default();
            output::print_line(&format!("{} {} {done}{took}", text(object, "kind"), output::name_of(object)))?;
            steps.iter().for_each(|s| eprintln!("note: {s}"));
            Ok(())
        }
    }
}

/// The steps of a plan that wait for the next start of the VM.
fn after_restart(accepted: &Value) -> Vec<String> {
    let steps = crate::json::items(accepted, "plan").iter();
    steps.filter(|s| !text(s, "after_restart").is_empty()).map(step_text).collect()
}

fn step_text(step: &Value) -> String {
    match text(step, "after_restart") {
        "" => text(step, "what").into(),
        why => format!("{} - at the next start: {why}", text(step, "what")),
    }
}

/// How long a task took.
fn took(task: &Value) -> Option<String> {
    let time = |path| virga_model::Time::parse(text(task, path));
    let millis = time("ended_at")?.millis_since(time("created_at")?);
    Some(if millis < 10_000 { format!("{:.1}s", millis.max(0) as f64 / 1000.0) } else { human::span(millis.unsigned_abs() / 1000) })
}

/// Prints what a change would do.
pub(crate) fn plan(app: &App, accepted: &Value) -> Result {
    if app.out.is_data() {
        return app.out.data(accepted);
    }
    let object = at(accepted, "object");
    let steps = crate::json::items(accepted, "plan");
    let mut out = format!("{} {}:\n", text(object, "kind"), output::name_of(object));
    for (i, step) in steps.iter().enumerate() {
        out.push_str(&format!("  {}. {}\n", i + 1, step_text(step)));
    }
    if steps.is_empty() {
        out.push_str("  nothing would change\n");
    }
    output::print(&out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_task_in_one_line() {
        let mut t = json!({"kind": "vm_create", "state": "running", "object": {"kind": "vm", "id": "x", "name": "web-1"},
            "progress": {"step": "copying the image", "done": 1, "total": 4, "unit": "bytes"}, "message": "m", "cancel_requested": false});
        assert_eq!(line(&t), "vm_create web-1: running 25 % - copying the image");
        t["progress"] = json!({"step": "", "done": 0, "total": 0, "unit": ""});
        assert_eq!(line(&t), "vm_create web-1: running - m");
        assert_eq!(percent(&t), None);
    }

    #[test]
    fn a_failed_task_says_what_why_and_what_to_do() {
        let t = json!({"id": "t1", "kind": "vm_start", "state": "failed", "object": {"kind": "vm", "name": "web-1"},
            "error": {"status": 507, "code": "no_capacity", "title": "x", "detail": "No host can take it.", "hint": "Add memory.",
                "refusals": [{"host_name": "h1", "reasons": [{"reason": "maintenance"}]}]}});
        let f = outcome(&t).expect_err("failed");
        assert_eq!(f.exit, Exit::TaskFailed);
        assert_eq!(f.render(), "error: vm_start web-1 failed: No host can take it.\n  h1  the host is in maintenance\nhint: Add memory.\n");
        assert_eq!(outcome(&json!({"id": "t", "state": "cancelled"})).expect_err("cancelled").exit, Exit::TaskFailed);
        assert!(outcome(&json!({"state": "succeeded"})).is_ok());
    }
}
