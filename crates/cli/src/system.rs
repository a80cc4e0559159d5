//! The installation, and versions.

use crate::app::App;
use crate::client::{self, json};
use crate::column::{Column, Kind, col};
use crate::error::Result;
use crate::json::text;
use crate::output;
use clap::Subcommand;
use serde_json::{Value, json};

/// Columns of the installation.
pub(crate) const COLUMNS: &[Column] = &[
    col("version", "version", Kind::Text),
    col("administration", "administration", Kind::Text),
    col("hosts", "hosts", Kind::Text),
    col("hosts_up", "hosts_up", Kind::Text),
    col("vms", "vms", Kind::Text),
    col("vms_running", "vms_running", Kind::Text),
    col("tasks_active", "tasks_active", Kind::Text),
    col("capabilities", "capabilities", Kind::Text),
];

/// Options of `system`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, after_help = "Examples:\n  virga system\n  virga system -o json\n  virga system ping")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
}

/// Verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Version, abilities and figures of the installation; the same as virga system.
    #[command(after_help = "Examples:\n  virga system\n  virga system show -o json")]
    Show,
    /// Whether the manager answers; needs no sign-in.
    #[command(after_help = "Examples:\n  virga system ping && echo up")]
    Ping,
    /// Figures in the Prometheus text format.
    #[command(after_help = "Examples:\n  virga system metrics | grep virga_tasks")]
    Metrics,
    /// The OpenAPI document of this manager.
    #[command(after_help = "Examples:\n  virga system openapi > v1.json")]
    Openapi,
}

/// Options of `version`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  virga version\n  virga version --client")]
pub(crate) struct Version {
    /// Only this program's; asks no manager.
    #[arg(long)]
    client: bool,
}

/// Does what a verb says.
pub(crate) async fn run(app: &App, a: Args) -> Result {
    let v1 = &app.api()?.v1;
    match a.command.unwrap_or(Command::Show) {
        Command::Show => app.out.object(&json(v1.system_view().send().await)?, COLUMNS),
        Command::Ping => {
            let answer = json(v1.ping().send().await)?;
            if app.out.is_data() { app.out.data(&answer) } else { output::print_line(text(&answer, "status")) }
        }
        Command::Metrics => text_of(client::bytes(v1.metrics().send().await).await?),
        Command::Openapi => text_of(client::bytes(v1.openapi().send().await).await?),
    }
}

fn text_of(bytes: Vec<u8>) -> Result {
    output::print(&String::from_utf8_lossy(&bytes))
}

/// `virga version`.
pub(crate) async fn version(app: &App, a: Version) -> Result {
    let mut versions = json!({"client": env!("CARGO_PKG_VERSION"), "api": api_version()});
    if !a.client
        && let Ok(connection) = app.connection()
    {
        // A manager that does not answer is no reason not to tell one's own version.
        versions["manager"] = match manager_version(app).await {
            Ok(v) => v,
            Err(e) => format!("unknown: {}", e.message).into(),
        };
        versions["url"] = connection.url.into();
    }
    if app.out.is_data() {
        return app.out.data(&versions);
    }
    let rows: Vec<(String, String)> =
        ["client", "api", "manager", "url"].iter().filter(|k| versions.get(**k).is_some()).map(|k| ((*k).into(), text(&versions, k).into())).collect();
    output::print(&output::pairs(&rows))
}

async fn manager_version(app: &App) -> Result<Value> {
    Ok(json(app.api()?.v1.ping().send().await)?["version"].take())
}

/// Version of the API that the calls are made for.
fn api_version() -> &'static str {
    use progenitor_client::ClientInfo;
    client::v1::Client::api_version()
}
