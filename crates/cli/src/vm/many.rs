//! The same on many VMs: one batch where the API has it, else one call after the other; in the end a summary.

use crate::app::App;
use crate::args::Change;
use crate::client::{Answer, List, ListQuery, json, types};
use crate::error::{Failure, Result};
use crate::json::{at, items, text};
use crate::output;
use crate::vm::select::{Target, Targets};
use crate::wait;
use serde_json::Value;

/// Most VMs of one batch, as the API allows; more become several, one after the other.
const BATCH_MAX: usize = 1000;

/// What became of the VMs.
#[derive(Default)]
struct Sum {
    total: usize,
    /// Name and reason of those that were not done.
    not_done: Vec<(String, String)>,
    /// Tasks that work on it, when nobody waits for them.
    tasks: Vec<String>,
    /// All answers, for output as data.
    answers: Vec<Value>,
}

/// Works on `targets` as a batch. `request` is the batch without its VMs.
pub(crate) async fn batch(app: &App, targets: &Targets, request: types::VmBatchRequest, change: &Change, done: &str) -> Result {
    let mut sum = Sum { total: targets.vms.len(), ..Default::default() };
    for part in targets.vms.chunks(BATCH_MAX) {
        let body = types::VmBatchRequest { vms: part.iter().map(|t| t.key.clone()).collect(), ..request.clone() };
        let mut call = app.api()?.v1.vm_batch().body(body);
        if change.dry_run {
            call = call.dry_run(true);
        }
        let mut answer = json(call.send().await)?;
        for r in items(&answer, "refused") {
            let name = part.iter().find(|t| t.key == text(r, "vm")).map_or(text(r, "vm"), |t| t.name.as_str());
            sum.not_done.push((name.into(), reason(at(r, "problem"))));
        }
        let task = at(&answer, "task").clone();
        if change.waiting.no_wait {
            sum.tasks.extend(Some(text(&task, "id")).filter(|t| !t.is_empty()).map(String::from));
        } else if !task.is_null() && !change.dry_run {
            let ended = wait::until_ended(app, text(&task, "id"), change.waiting.wait_timeout).await?;
            children(app, &ended, &mut sum).await?;
            answer["task"] = ended;
        }
        sum.answers.push(answer);
    }
    summary(app, sum, change, done)
}

/// Adds the children of a batch that did not end well.
async fn children(app: &App, parent: &Value, sum: &mut Sum) -> Result {
    if text(parent, "state") == "succeeded" {
        return Ok(());
    }
    let filter = Some(format!("parent = {} and state in (failed, cancelled)", text(parent, "id")));
    let failed = app.api()?.list(&List::Tasks, &ListQuery { filter, ..Default::default() }).await?;
    for task in &failed {
        let why = wait::outcome(task).err().map_or_else(|| text(task, "state").to_string(), |f| f.message);
        sum.not_done.push((output::name_of(at(task, "object")), why));
    }
    if failed.is_empty() {
        wait::outcome(parent)?;
    }
    Ok(())
}

/// Works on `targets` with one call each: first all calls, then all waits.
pub(crate) async fn each(app: &App, targets: &Targets, change: &Change, done: &str, call: impl AsyncFn(&Target) -> Result<Answer>) -> Result {
    let mut sum = Sum { total: targets.vms.len(), ..Default::default() };
    let mut waiting = Vec::new();
    for t in &targets.vms {
        match json(call(t).await?) {
            Ok(answer) => {
                if !change.dry_run && !at(&answer, "task").is_null() {
                    waiting.push((t.name.clone(), at(&answer, "task").clone()));
                }
                sum.answers.push(answer);
            }
            Err(e) if e.about.status.is_some() => sum.not_done.push((t.name.clone(), e.message)),
            Err(e) => return Err(e),
        }
    }
    for (name, task) in waiting {
        if change.waiting.no_wait {
            sum.tasks.push(text(&task, "id").into());
            continue;
        }
        let ended = wait::until_ended(app, text(&task, "id"), change.waiting.wait_timeout).await?;
        if let Err(f) = wait::outcome(&ended) {
            sum.not_done.push((name, f.message));
        }
    }
    summary(app, sum, change, done)
}

/// Why a VM was refused, in one line.
fn reason(problem: &Value) -> String {
    let words = [text(problem, "detail"), text(problem, "title")].into_iter().find(|t| !t.is_empty()).unwrap_or("refused");
    match text(problem, "hint") {
        "" => words.into(),
        hint => format!("{words} {hint}"),
    }
}

fn summary(app: &App, sum: Sum, change: &Change, done: &str) -> Result {
    let good = sum.total.saturating_sub(sum.not_done.len());
    if app.out.is_data() {
        app.out.data(&Value::Array(sum.answers))?;
    } else if change.dry_run {
        output::print_line(&format!("{good} of {} VMs would be {done}", sum.total))?;
    } else if change.waiting.no_wait {
        output::print(&sum.tasks.iter().map(|t| format!("{t}\n")).collect::<String>())?;
    } else {
        output::print_line(&format!("{good} of {} VMs {done}", sum.total))?;
    }
    if sum.not_done.is_empty() {
        return Ok(());
    }
    let mut f = Failure::failed(format!("{} of {} VMs were not {done}", sum.not_done.len(), sum.total));
    f.about.refusals = sum.not_done;
    Err(f)
}
