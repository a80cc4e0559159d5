//! `vm stats`, and the columns of samples that hosts use, too.

use crate::app::App;
use crate::client::json;
use crate::column::{Column, Kind, col};
use crate::error::Result;
use crate::json::items;
use crate::output;
use serde_json::Value;
use std::io::IsTerminal;
use std::time::Duration;

/// Time between two looks while watching; samples come every 5 s.
const LOOK: Duration = Duration::from_secs(5);

/// Columns of samples.
pub(crate) const COLUMNS: &[Column] = &[
    col("at", "at", Kind::Age),
    col("cpu", "cpu", Kind::Percent),
    col("memory", "memory_bytes", Kind::Bytes),
    col("read", "disk_read_bytes", Kind::Rate),
    col("write", "disk_write_bytes", Kind::Rate),
    col("in", "net_in_bytes", Kind::Rate),
    col("out", "net_out_bytes", Kind::Rate),
];

/// Which samples.
#[derive(Debug, clap::Args)]
pub(crate) struct Samples {
    /// Newest samples to show.
    #[arg(long, value_name = "N", default_value_t = 12)]
    last: usize,
    /// Show them again every few seconds, until Ctrl-C.
    #[arg(short, long)]
    watch: bool,
}

/// Options of `stats`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  virga vm stats web-1\n  virga vm stats web-1 --last 1 -o json\n  virga vm stats web-1 --watch")]
pub(crate) struct Args {
    /// Name or id.
    vm: String,
    #[command(flatten)]
    samples: Samples,
}

/// `vm stats`.
pub(crate) async fn run(app: &App, a: Args) -> Result {
    show(app, &a.samples, async || json(app.api()?.v1.vm_stats().vm(&a.vm).send().await)).await
}

/// Prints samples, once or again and again.
pub(crate) async fn show(app: &App, which: &Samples, read: impl AsyncFn() -> Result<Value>) -> Result {
    loop {
        let stats = read().await?;
        let all = items(&stats, "samples");
        let newest = &all[all.len().saturating_sub(which.last)..];
        if which.watch && std::io::stdout().is_terminal() {
            output::print("\x1b[H\x1b[2J")?;
        }
        app.out.list(newest, COLUMNS)?;
        if !which.watch {
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
}
