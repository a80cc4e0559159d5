//! `vm export`.

use crate::app::App;
use crate::args::Change;
use crate::client::json;
use crate::client::types::{ImageFormat, VmExportCreate};
use crate::download::{self, Partial};
use crate::error::{Exit, Failure, Result};
use crate::json::{at, text};
use crate::wait;
use clap::ValueEnum;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use virga_model::ovf::{self, Member};

/// Options of `export`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  virga vm export web-1 web-1.ova\n  virga vm export web-1 ./web-1 --format ovf --disk-format vhd\n  \
                        virga vm export web-1 web-1.ova --snapshot before-upgrade\n  virga vm export web-1 --keep\n  virga vm export web-1 web-1.ova --take\n  \
                        virga vm export web-1 --remove")]
pub(crate) struct Args {
    /// Name or id.
    vm: String,
    /// File (or folder, for ovf) that is written; left out with --keep, --remove or --dry-run.
    #[arg(required_unless_present_any = ["keep", "remove", "dry_run"])]
    file: Option<PathBuf>,
    /// One file, or a folder of its members.
    #[arg(long, value_enum, default_value = "ova")]
    format: Form,
    /// Format of the disks.
    #[arg(long, value_enum, default_value = "vmdk")]
    disk_format: DiskForm,
    /// Export this snapshot, while the VM may run.
    #[arg(long, value_name = "SNAPSHOT")]
    snapshot: Option<String>,
    /// Leave out disks that no package can hold.
    #[arg(long)]
    leave_out: bool,
    /// Leave the export on the host; otherwise it is removed once it is here.
    #[arg(long)]
    keep: bool,
    /// Fetch the export that is on the host; goes on with what an earlier download left.
    #[arg(long, requires = "file", conflicts_with_all = ["snapshot", "leave_out", "dry_run"])]
    take: bool,
    /// Only remove the export that is on the host.
    #[arg(long, conflicts_with_all = ["file", "keep", "take"])]
    remove: bool,
    #[command(flatten)]
    change: Change,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    Ova,
    Ovf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum DiskForm {
    Vmdk,
    Vhd,
    Qcow2,
}

impl From<DiskForm> for ImageFormat {
    fn from(f: DiskForm) -> ImageFormat {
        match f {
            DiskForm::Vmdk => ImageFormat::Vmdk,
            DiskForm::Vhd => ImageFormat::Vhd,
            DiskForm::Qcow2 => ImageFormat::Qcow2,
        }
    }
}

/// `vm export`.
pub(crate) async fn run(app: &App, a: Args) -> Result {
    if a.remove {
        return wait::finish(app, remove(app, &a.vm, a.change.dry_run).await?, &a.change, "rid of its export").await;
    }
    if let Some(there) = a.file.as_ref().filter(|f| f.exists()) {
        return Err(Failure::usage(format!("{} is there already; nothing was exported", there.display())));
    }
    if let Some(file) = a.file.as_deref().filter(|_| a.take) {
        take(app, &a, file).await?;
        return if a.keep { Ok(()) } else { wait::finish(app, remove(app, &a.vm, false).await?, &a.change, "exported").await };
    }
    let body = VmExportCreate { disk_format: Some(a.disk_format.into()), snapshot: a.snapshot.clone(), leave_out: a.leave_out };
    let mut call = app.api()?.v1.vm_export_create().vm(&a.vm).body(body);
    if a.change.dry_run {
        call = call.dry_run(true);
    }
    let accepted = json(call.send().await)?;
    let Some(file) = a.file.as_deref().filter(|_| !a.change.dry_run && !a.change.waiting.no_wait) else {
        return wait::finish(app, accepted, &a.change, "exported").await;
    };
    // What an earlier export left there is of no use for this one.
    Partial::of(file).remove();
    let task = at(&accepted, "task").clone();
    wait::outcome(&wait::follow(app, &task, &a.change.waiting).await?)?;
    take(app, &a, file).await?;
    if a.keep {
        return wait::finish(app, accepted, &a.change, "exported").await;
    }
    wait::finish(app, remove(app, &a.vm, false).await?, &a.change, "exported").await
}

async fn remove(app: &App, vm: &str, dry_run: bool) -> Result<Value> {
    let mut call = app.api()?.v1.vm_export_delete().vm(vm);
    if dry_run {
        call = call.dry_run(true);
    }
    json(call.send().await)
}

/// Brings the package here, checks it against its own manifest, and lets nobody see half of it.
async fn take(app: &App, a: &Args, file: &Path) -> Result {
    let part = Partial::of(file);
    let about = json(app.api()?.v1.vm_export_view().vm(&a.vm).send().await)?;
    if text(&about, "state") != "ready" {
        return Err(Failure::failed(format!("the export cannot be taken: {}", text(&about, "reason"))));
    }
    let vm = json(app.api()?.v1.vm_view().vm(&a.vm).send().await)?;
    let path = format!("v1/vms/{}/export/content", text(&vm, "id"));
    let fetched = tokio::select! {
        got = download::fetch(app, &path, &part) => got,
        _ = tokio::signal::ctrl_c() => Err(Failure::new(Exit::Interrupted, "interrupted")),
    };
    let again = format!("the export stays on the host: go on with virga vm export {} {} --take", a.vm, file.display());
    fetched.map_err(|e| if e.hint.is_none() { e.hint(again) } else { e })?;
    let kept = keep(a.format, &part.file, file);
    match &kept {
        Ok(()) if a.format == Form::Ova => part.done(),
        _ => part.remove(),
    }
    kept
}

fn failed(file: &Path, e: &std::io::Error) -> Failure {
    Failure::failed(format!("{}: {e}", file.display()))
}

/// Checks what came, and makes the file or folder of it.
fn keep(form: Form, new: &Path, file: &Path) -> Result {
    let f = File::open(new).map_err(|e| failed(new, &e))?;
    let bytes = f.metadata().map_err(|e| failed(new, &e))?.len();
    let mut read = |at: u64, out: &mut [u8]| f.read_exact_at(out, at).map_err(|e| virga_model::Error::internal(e.to_string()));
    let contents = ovf::read(&mut read, bytes).map_err(|e| Failure::failed(format!("what came is no package: {}", e.message)))?;
    if form == Form::Ova {
        contents.members.iter().try_for_each(|m| member(&f, new, m, None))?;
        return std::fs::rename(new, file).map_err(|e| failed(file, &e));
    }
    // A folder of its own first: a name that is there is whole.
    let made = new.with_extension("folder");
    let _ = std::fs::remove_dir_all(&made);
    std::fs::create_dir(&made).map_err(|e| failed(&made, &e))?;
    let done = contents.members.iter().try_for_each(|m| member(&f, new, m, Some(&made.join(&m.name))));
    let done = done.and_then(|()| std::fs::rename(&made, file).map_err(|e| failed(file, &e)));
    if done.is_err() {
        let _ = std::fs::remove_dir_all(&made);
    }
    done
}

/// Compares a member with its digest, and writes it into a file of its own.
fn member(f: &File, new: &Path, m: &Member, to: Option<&Path>) -> Result {
    let mut out = to.map(|p| File::create_new(p).map_err(|e| failed(p, &e))).transpose()?;
    let (mut hash, mut done, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 20]);
    while done < m.bytes {
        let n = usize::try_from(m.bytes - done).unwrap_or(usize::MAX).min(buffer.len());
        f.read_exact_at(&mut buffer[..n], m.offset + done).map_err(|e| failed(new, &e))?;
        hash.update(&buffer[..n]);
        if let (Some(out), Some(path)) = (&mut out, to) {
            out.write_all(&buffer[..n]).map_err(|e| failed(path, &e))?;
        }
        done += n as u64;
    }
    if let (Some(out), Some(path)) = (&out, to) {
        out.sync_all().map_err(|e| failed(path, &e))?;
    }
    let found = hex::encode(hash.finalize());
    match &m.digest {
        Some(d) if d.hex != found => Err(Failure::failed(format!("{} arrived damaged; export it again", m.name))),
        _ => Ok(()),
    }
}
