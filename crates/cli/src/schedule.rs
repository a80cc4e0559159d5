//! Schedules.

use crate::app::App;
use crate::args::{Consent, Listing};
use crate::client::types::{Keep, ScheduleCreate, ScheduleRule, ScheduleUpdate, ScheduledWork, SnapshotKind, Weekday};
use crate::client::{List, json};
use crate::column::{Column, Kind, col, wide};
use crate::error::{Failure, Result};
use crate::host::changed;
use crate::json::{at, flag, text};
use crate::vm::spec;
use crate::{list, output, terminal};
use clap::{Args, Subcommand};
use serde_json::Value;

/// Columns of schedules.
pub(crate) const COLUMNS: &[Column] = &[
    col("name", "name", Kind::Text),
    col("enabled", "spec.enabled", Kind::Text),
    col("vms", "vm", Kind::Made(vms)),
    col("when", "spec.rule", Kind::Made(when)),
    col("work", "spec.work", Kind::Made(|s| format!("snapshot ({})", text(s, "spec.work.kind")))),
    col("keep", "spec.keep", Kind::Made(keep)),
    col("next", "next_at", Kind::Text),
    wide("last", "last_at", Kind::Text),
    wide("owner", "owner", Kind::Ref),
    wide("pattern", "spec.name_pattern", Kind::Text),
    wide("catch_up", "spec.catch_up", Kind::Text),
    wide("generation", "generation", Kind::Text),
    wide("age", "created_at", Kind::Age),
    wide("id", "id", Kind::Text),
];

fn vms(s: &Value) -> String {
    if let Some(name) = at(s, "vm.name").as_str() {
        return name.into();
    }
    let labels = at(s, "spec.selector").as_object().into_iter().flatten();
    labels.map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default())).collect::<Vec<_>>().join(",")
}

fn when(s: &Value) -> String {
    let words = |path: &str| at(s, path).as_array().into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>().join(",");
    let zone = text(s, "spec.time_zone");
    match text(s, "spec.rule.every") {
        "hours" => format!("every {} h at minute {} (UTC)", at(s, "spec.rule.hours"), at(s, "spec.rule.minute")),
        "day" => format!("{} {zone}", words("spec.rule.at")),
        _ => format!("{} {} {zone}", words("spec.rule.days"), words("spec.rule.at")),
    }
}

fn keep(s: &Value) -> String {
    let parts = [at(s, "spec.keep.count").as_u64().map(|n| n.to_string()), at(s, "spec.keep.days").as_u64().map(|d| format!("{d} days"))];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List one's own schedules (everybody's for who may edit all VMs).
    #[command(alias = "ls")]
    List(ListArgs),
    /// Show one schedule.
    Show(Show),
    /// Make a schedule.
    Create(Box<Create>),
    /// Change a schedule.
    Update(Box<Update>),
    /// Let a schedule work now, beside its own times.
    Run(Show),
    /// Remove a schedule; what it made stays.
    Delete(Delete),
}

/// Options of `list`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga schedule list\n  virga schedule list --sort next_at -o json")]
pub(crate) struct ListArgs {
    #[command(flatten)]
    listing: Listing,
}

/// Options of `show` and `run`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga schedule show nightly\n  virga schedule run nightly")]
pub(crate) struct Show {
    /// Name or id of the schedule.
    schedule: String,
}

/// When, what, and for how long.
#[derive(Debug, Args)]
struct Plan {
    /// Every day at these times, e.g. 02:00 or 06:00,18:00.
    #[arg(long, value_name = "HH:MM,…", value_delimiter = ',', conflicts_with_all = ["weekly", "hours"])]
    daily: Vec<String>,
    /// Every week on these days; with --at.
    #[arg(long, value_name = "DAY,…", value_delimiter = ',', value_parser = weekday, requires = "at", conflicts_with = "hours")]
    weekly: Vec<Weekday>,
    /// Times of the days of --weekly.
    #[arg(long, value_name = "HH:MM,…", value_delimiter = ',')]
    at: Vec<String>,
    /// Every so many hours, counted from midnight UTC.
    #[arg(long, value_name = "N")]
    hours: Option<u32>,
    /// Minute of the hour for --hours.
    #[arg(long, default_value_t = 0, requires = "hours")]
    minute: u32,
    /// Kind of the snapshots: ordinary, consistent or memory.
    #[arg(long, value_parser = spec::snapshot_kind)]
    kind: Option<SnapshotKind>,
    /// Keep so many for each VM.
    #[arg(long, value_name = "N")]
    keep: Option<u32>,
    /// Keep them for so many days; the newest stays.
    #[arg(long, value_name = "DAYS")]
    keep_days: Option<u32>,
    /// Names of the snapshots; {schedule}, {date} and {time} are replaced.
    #[arg(long, value_name = "PATTERN")]
    pattern: Option<String>,
}

/// Options of `create`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  virga schedule create nightly --vm db-1 --daily 02:00 --time-zone Europe/Berlin --keep 7\n  virga schedule create prod -l env=prod --weekly monday,friday --at 22:00 --time-zone UTC --kind consistent --keep-days 30\n  virga schedule create often --vm db-1 --hours 6 --keep 8"
)]
pub(crate) struct Create {
    /// Name of the schedule.
    name: String,
    /// The one VM.
    #[arg(long, conflicts_with = "labels", required_unless_present = "labels")]
    vm: Option<String>,
    /// All VMs with this label; may be repeated.
    #[arg(short = 'l', long = "selector", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// Time zone of the times, e.g. Europe/Berlin. Needed but for --hours.
    #[arg(long, required_unless_present = "hours")]
    time_zone: Option<String>,
    /// Do not make up for what was missed while the manager was away.
    #[arg(long)]
    no_catch_up: bool,
    #[command(flatten)]
    plan: Plan,
}

/// Options of `update`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  virga schedule update nightly --keep 14\n  virga schedule update nightly --disable\n  virga schedule update nightly --daily 03:00"
)]
pub(crate) struct Update {
    /// Name or id of the schedule.
    schedule: String,
    /// New name.
    #[arg(long)]
    name: Option<String>,
    /// Another time zone.
    #[arg(long)]
    time_zone: Option<String>,
    /// Let it work again.
    #[arg(long, conflicts_with = "disable")]
    enable: bool,
    /// Let it rest.
    #[arg(long)]
    disable: bool,
    #[command(flatten)]
    plan: Plan,
}

/// Options of `delete`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga schedule delete nightly\n  virga schedule delete nightly --yes")]
pub(crate) struct Delete {
    /// Name or id of the schedule.
    schedule: String,
    #[command(flatten)]
    consent: Consent,
}

fn weekday(text: &str) -> std::result::Result<Weekday, String> {
    Weekday::try_from(text).map_err(|_| "a day is one of monday, tuesday, wednesday, thursday, friday, saturday, sunday".into())
}

fn label(text: &str) -> std::result::Result<(String, String), String> {
    text.split_once('=').map(|(k, v)| (k.into(), v.into())).ok_or_else(|| "a label is KEY=VALUE".into())
}

impl Plan {
    fn rule(&self) -> Option<ScheduleRule> {
        if let Some(hours) = self.hours {
            return Some(ScheduleRule::Hours { hours, minute: self.minute });
        }
        if !self.weekly.is_empty() {
            return Some(ScheduleRule::Week { days: self.weekly.clone(), at: self.at.clone() });
        }
        (!self.daily.is_empty()).then(|| ScheduleRule::Day { at: self.daily.clone() })
    }

    fn keep(&self) -> Option<Keep> {
        (self.keep.is_some() || self.keep_days.is_some()).then_some(Keep { count: self.keep, days: self.keep_days })
    }

    fn work(&self) -> Option<ScheduledWork> {
        self.kind.map(|kind| ScheduledWork::Snapshot { kind })
    }
}

/// Does what a verb says.
pub(crate) async fn run(app: &App, command: Command) -> Result {
    match command {
        Command::List(a) => list::run(app, List::Schedules, COLUMNS, &a.listing).await,
        Command::Show(a) => app.out.object(&json(app.api()?.v1.schedule_view().schedule(&a.schedule).send().await)?, COLUMNS),
        Command::Create(a) => create(app, *a).await,
        Command::Update(a) => update(app, *a).await,
        Command::Run(a) => changed(app, &json(app.api()?.v1.schedule_run().schedule(&a.schedule).send().await)?, COLUMNS, "schedule", "works now"),
        Command::Delete(a) => {
            terminal::consent(a.consent.yes, &format!("Remove schedule {}? What it made stays, and nothing removes it by age any more.", a.schedule))?;
            app.api()?.v1.schedule_delete().schedule(&a.schedule).send().await?;
            output::print_line(&format!("schedule {} removed", a.schedule))
        }
    }
}

async fn create(app: &App, a: Create) -> Result {
    let rule = a.plan.rule().ok_or_else(|| Failure::usage("no time is given").hint("give --daily, --weekly with --at, or --hours"))?;
    let keep = a.plan.keep().ok_or_else(|| Failure::usage("nothing says for how long snapshots are kept").hint("give --keep or --keep-days"))?;
    let body = ScheduleCreate {
        name: a.name,
        vm: a.vm,
        selector: a.labels.into_iter().collect(),
        rule,
        time_zone: a.time_zone.unwrap_or_else(|| "UTC".into()),
        work: a.plan.work().unwrap_or(ScheduledWork::Snapshot { kind: SnapshotKind::Ordinary }),
        keep,
        name_pattern: a.plan.pattern,
        catch_up: Some(!a.no_catch_up),
        enabled: None,
    };
    let made = json(app.api()?.v1.schedule_create().body(body).send().await)?;
    changed(app, &made, COLUMNS, "schedule", &format!("works first at {}", text(&made, "next_at")))
}

async fn update(app: &App, a: Update) -> Result {
    let enabled = (a.enable || a.disable).then_some(a.enable);
    let (rule, keep, work) = (a.plan.rule(), a.plan.keep(), a.plan.work());
    let body = ScheduleUpdate { name: a.name, selector: None, rule, time_zone: a.time_zone, work, keep, name_pattern: a.plan.pattern, catch_up: None, enabled };
    let made = json(app.api()?.v1.schedule_update().schedule(&a.schedule).body(body).send().await)?;
    let state = if flag(&made, "spec.enabled") { format!("changed; next at {}", text(&made, "next_at")) } else { "rests".into() };
    changed(app, &made, COLUMNS, "schedule", &state)
}
