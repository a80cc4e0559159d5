//! `vm explain`: why a VM is where it is, what is asked of it and what is true, what waits, and what went wrong last.

use crate::app::App;
use crate::client::{List, ListQuery};
use crate::column::printable;
use crate::error::{Exit, Result};
use crate::json::{at, flag, number, text};
use crate::vm::{remarks, state, view};
use crate::{output, wait};
use serde_json::{Value, json};

/// Options of `explain`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  virga vm explain web-1\n  virga vm explain web-1 -o json")]
pub(crate) struct Args {
    /// Name or id.
    vm: String,
}

/// `vm explain`.
pub(crate) async fn run(app: &App, a: Args) -> Result {
    let vm = view(app, &a.vm).await?;
    let filter = Some(format!("object = {}", text(&vm, "id")));
    let last = ListQuery { filter, limit: Some(1), ..Default::default() };
    let task = match app.api()?.list(&List::Tasks, &last).await {
        Ok(tasks) => tasks.into_iter().next().unwrap_or_default(),
        Err(e) if e.exit == Exit::NotPermitted => Value::Null,
        Err(e) => return Err(e),
    };
    if app.out.is_data() {
        return app.out.data(&json!({"vm": vm, "last_task": task}));
    }
    output::print(&words(&vm, &task))
}

/// All of it in words.
fn words(vm: &Value, task: &Value) -> String {
    let mut out = format!("{} is {}.\n", text(vm, "name"), state(vm));
    out.push_str(&place(vm));
    out.push_str(&order(vm));
    for (title, lines) in remarks(vm) {
        out.push_str(&format!("{title}:\n"));
        lines.iter().for_each(|l| out.push_str(&format!("  {}\n", printable(l))));
    }
    if let Some(how) = Some(text(vm, "observed.accelerator")).filter(|a| *a == "tcg") {
        out.push_str(&format!("The guest is emulated ({how}), which is slow; see virga host show for the reason.\n"));
    }
    out.push_str(&last_task(task));
    out
}

fn place(vm: &Value) -> String {
    if at(vm, "host").is_null() {
        return "It is on no host yet, or you may not see hosts.\n".into();
    }
    let why = match text(vm, "placement") {
        "" => "nobody wrote down why".into(),
        why => printable(why),
    };
    let news = if flag(vm, "fresh") { "" } else { " That host does not report now: all this is the last that was known." };
    format!("It is on {}: {why}.{news}\n", output::name_of(at(vm, "host")))
}

fn order(vm: &Value) -> String {
    let (wanted, seen) = (number(vm, "generation"), number(vm, "observed.generation"));
    let how = match (wanted > seen, flag(vm, "observed.settled")) {
        (true, _) => format!("the host has acted on order {seen} so far"),
        (false, false) => "the host is working on it".into(),
        (false, true) => "the host has done it".into(),
    };
    format!("It is to be {} (order {wanted}); {how}.\n", text(vm, "desired"))
}

fn last_task(task: &Value) -> String {
    if task.is_null() {
        return "No task is known of it.\n".into();
    }
    let mut out = format!("The last task: {}, asked for by {}.\n", wait::line(task), asked_by(task));
    if let Err(f) = wait::outcome(task)
        && wait::has_ended(task)
    {
        f.render().lines().for_each(|l| out.push_str(&format!("  {}\n", printable(l))));
    }
    out
}

fn asked_by(task: &Value) -> String {
    match (text(task, "requester.name"), text(task, "cause")) {
        ("", cause) => format!("Virga ({cause})"),
        (who, _) => who.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::tests::web;

    #[test]
    fn an_ordinary_vm() {
        let task = json!({"id": "t", "kind": "vm_start", "state": "succeeded", "object": {"name": "web-1"}, "requester": {"name": "ops"}, "cause": "user", "message": ""});
        assert_eq!(
            words(&web(), &task),
            "web-1 is running.\nIt is on host-1: most free memory.\nIt is to be running (order 7); the host has done it.\n\
             The last task: vm_start web-1: succeeded, asked for by ops.\n"
        );
    }

    #[test]
    fn trouble_is_told() {
        let mut vm = web();
        vm["fresh"] = false.into();
        vm["generation"] = 9.into();
        vm["observed"]["drift"] = json!([{"what": "power", "message": "stopped with virsh"}]);
        let task = json!({"id": "t", "kind": "vm_edit", "state": "failed", "object": {"name": "web-1"}, "cause": "repair", "message": "",
            "error": {"status": 500, "detail": "QEMU said no.", "hint": "Ask again."}});
        let text = words(&vm, &task);
        for part in ["does not report", "acted on order 7", "power: stopped with virsh", "Virga (repair)", "QEMU said no.", "hint: Ask again."] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
