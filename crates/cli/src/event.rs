//! Events: the past, and as they happen.

use crate::app::App;
use crate::args::Listing;
use crate::client::List;
use crate::column::{Column, Kind, Shown, col, printable, wide};
use crate::error::{Failure, Result};
use crate::json::text;
use crate::list;
use crate::output::{self, Format};
use crate::sse::Follower;
use clap::{Args, Subcommand};
use serde_json::Value;

/// Columns of events.
pub(crate) const COLUMNS: &[Column] = &[
    col("id", "id", Kind::Text),
    col("age", "at", Kind::Age),
    col("severity", "severity", Kind::Text),
    col("kind", "kind", Kind::Text),
    col("object", "object", Kind::Ref),
    col("message", "message", Kind::Text),
    wide("at", "at", Kind::Text),
    wide("task", "task", Kind::Text),
];

/// Verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List events, newest first.
    #[command(alias = "ls")]
    List(ListArgs),
    /// Show events as they happen, until Ctrl-C. A broken connection is made again without a gap.
    Watch(Watch),
}

/// Options of `list`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga event list --limit 20\n  virga event list --filter 'object = web-1 and severity = error'")]
pub(crate) struct ListArgs {
    #[command(flatten)]
    listing: Listing,
}

/// Options of `watch`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga event watch\n  virga event watch --since 1234 -o json\n  virga event watch --kind vm. --object web-1")]
pub(crate) struct Watch {
    /// Go on after this event; from now on when left out.
    #[arg(long, value_name = "ID")]
    since: Option<i64>,
    /// Only events whose kind begins so, e.g. vm. or task.ended.
    #[arg(long, value_name = "PREFIX")]
    kind: Option<String>,
    /// Only events about the object of this name or id.
    #[arg(long, value_name = "NAME")]
    object: Option<String>,
    /// End after so many events.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

impl Watch {
    fn wants(&self, e: &Value) -> bool {
        let kind = self.kind.as_ref().is_none_or(|k| text(e, "kind").starts_with(k.as_str()));
        let object = self.object.as_ref().is_none_or(|o| text(e, "object.name") == o || text(e, "object.id") == o);
        kind && object
    }
}

/// Does what a verb says.
pub(crate) async fn run(app: &App, command: Command) -> Result {
    match command {
        Command::List(a) => list::run(app, List::Events, COLUMNS, &a.listing).await,
        Command::Watch(a) => watch(app, &a).await,
    }
}

async fn watch(app: &App, a: &Watch) -> Result {
    let mut follower = Follower::new(a.since);
    let mut left = a.count;
    while left != Some(0) {
        let event = follower.next(app).await?;
        if a.wants(&event) {
            output::print(&line(app, &event)?)?;
            left = left.map(|n| n - 1);
        }
    }
    Ok(())
}

/// An event as a line; with `-o json` a JSON object on a line, with `-o yaml` a document.
fn line(app: &App, e: &Value) -> Result<String> {
    let columns = |all: &[Column]| crate::column::pick(all, &app.out.columns, false);
    Ok(match app.out.format {
        Format::Json => format!("{e}\n"),
        Format::Yaml => format!("---\n{}", serde_saphyr::to_string(e).map_err(|e| Failure::failed(format!("YAML: {e}")))?),
        Format::Name => format!("{}\n", output::name_of(e)),
        Format::Csv => crate::output::Output { no_headers: true, ..app.out.clone() }.list_text(std::slice::from_ref(e), COLUMNS, crate::human::now())?,
        _ if !app.out.columns.is_empty() => {
            let cells: Vec<String> = columns(COLUMNS)?.iter().map(|c: &Shown| c.cell(e, crate::human::now())).collect();
            format!("{}\n", cells.join("  "))
        }
        _ => {
            let object = format!("{} {}", text(e, "object.kind"), output::name_of(crate::json::at(e, "object")));
            let words = format!("{:19.19}Z {:8}{:24} {object}: {}", text(e, "at"), severity(e), text(e, "kind"), text(e, "message"));
            format!("{}\n", printable(&words))
        }
    })
}

/// Nothing for ordinary events, so that the others stand out.
fn severity(e: &Value) -> &str {
    match text(e, "severity") {
        "info" => "",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Global;
    use serde_json::json;

    #[test]
    fn events_are_lines() {
        let e = json!({"id": 7, "at": "2026-01-01T00:00:00.123456Z", "kind": "vm.state_changed", "severity": "warning",
            "object": {"kind": "vm", "id": "x", "name": "web-1"}, "message": "crashed"});
        let app = |output| App::new(Global { output, ..Default::default() });
        let text = line(&app(Format::Table), &e).expect("a line");
        assert_eq!(text, "2026-01-01T00:00:00Z warning vm.state_changed         vm web-1: crashed\n");
        let text = line(&app(Format::Json), &e).expect("a line");
        assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON"), e);
        let w = Watch { since: None, kind: Some("vm.".into()), object: Some("web-1".into()), count: None };
        assert!(w.wants(&e) && !w.wants(&json!({"kind": "task.ended", "object": {"name": "web-1"}})));
    }
}
