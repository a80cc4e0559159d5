//! Optical drives of a VM.

use crate::app::App;
use crate::args::Change;
use crate::client::json;
use crate::client::types::MediaUpdate;
use crate::column::{Column, Kind, col};
use crate::error::{Exit, Failure, Result};
use crate::json::{at, items, text};
use crate::vm::disk::find;
use crate::vm::view;
use crate::wait;
use clap::{Args, Subcommand};
use serde_json::Value;
use uuid::Uuid;

/// Columns of drives.
pub(crate) const COLUMNS: &[Column] = &[col("id", "id", Kind::Text), col("iso", "image", Kind::Text)];

/// Verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Put an ISO into a drive.
    Insert(Insert),
    /// Take the ISO out of a drive.
    Eject(Eject),
}

/// Options of `insert`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga vm media insert web-1 debian-12.iso\n  virga vm media insert web-1 drivers.iso --drive 1")]
pub(crate) struct Insert {
    /// Name or id of the VM.
    vm: String,
    /// Name or id of the ISO.
    iso: String,
    /// Id of the drive, its beginning, or its number from 0; the first empty one when left out.
    #[arg(long)]
    drive: Option<String>,
    #[command(flatten)]
    change: Change,
}

/// Options of `eject`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga vm media eject web-1\n  virga vm media eject web-1 --drive 1")]
pub(crate) struct Eject {
    /// Name or id of the VM.
    vm: String,
    /// Id of the drive, its beginning, or its number from 0; the first that holds an ISO when left out.
    #[arg(long)]
    drive: Option<String>,
    #[command(flatten)]
    change: Change,
}

/// Does what a verb says.
pub(crate) async fn run(app: &App, command: Command) -> Result {
    match command {
        Command::Insert(a) => put(app, &a.vm, a.drive.as_deref(), Some(a.iso), &a.change).await,
        Command::Eject(a) => put(app, &a.vm, a.drive.as_deref(), None, &a.change).await,
    }
}

async fn put(app: &App, vm: &str, wanted: Option<&str>, image: Option<String>, change: &Change) -> Result {
    let drive = drive(&view(app, vm).await?, wanted, image.is_some())?;
    let done = if image.is_some() { "has the ISO" } else { "has an empty drive" };
    let mut call = app.api()?.v1.vm_media_change().vm(vm).disk(drive).body(MediaUpdate { image });
    if change.dry_run {
        call = call.dry_run(true);
    }
    wait::finish(app, json(call.send().await)?, change, done).await
}

/// The drive that is meant: the wanted one, or the first that is empty (to insert) or full (to eject), or the first.
fn drive(vm: &Value, wanted: Option<&str>, insert: bool) -> Result<Uuid> {
    let drives = items(vm, "spec.cdroms");
    if let Some(w) = wanted {
        return find(drives, w, "drive");
    }
    let fitting = drives.iter().find(|d| at(d, "image").is_null() == insert).or(drives.first());
    let drive = fitting.ok_or_else(|| {
        Failure::new(Exit::NotFound, format!("{} has no optical drive", text(vm, "name"))).hint("a VM gets one at its making: virga vm create --cdrom ''")
    })?;
    wait::uuid(text(drive, "id"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_drive_that_fits_is_taken() {
        let id = |n: u8| format!("00000000-0000-7000-8000-00000000000{n}");
        let vm = json!({"name": "w", "spec": {"cdroms": [{"id": id(1), "image": "x"}, {"id": id(2)}]}});
        assert_eq!(drive(&vm, None, true).expect("a drive").to_string(), id(2));
        assert_eq!(drive(&vm, None, false).expect("a drive").to_string(), id(1));
        assert_eq!(drive(&vm, Some("0"), true).expect("a drive").to_string(), id(1));
        assert_eq!(drive(&json!({"spec": {}}), None, true).expect_err("none").exit, Exit::NotFound);
    }
}
