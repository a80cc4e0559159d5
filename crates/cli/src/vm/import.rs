//! `vm import`.

use crate::app::App;
use crate::args::{self, Change};
use crate::client::json;
use crate::client::types::{DiskBus, ImageCreate, VmImport};
use crate::error::{Exit, Failure, Result};
use crate::json::text;
use crate::upload::{self, Content};
use crate::vm::spec::{self, FirstBoot};
use crate::{human, wait};
use std::path::PathBuf;

/// Options of `import`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  virga vm import appliance.ova --network 'VM Network=lan' --start\n  virga vm import ./exported-folder --name web-1 --network NAT=\n  \
                        virga vm import --package appliance --name web-2 --dry-run\n  virga vm import old.ova --leave-out --bus ide"
)]
pub(crate) struct Args {
    /// OVA file, OVF descriptor or OVF folder; it is uploaded into the library first, and stays there.
    #[arg(required_unless_present = "package", conflicts_with = "package")]
    file: Option<PathBuf>,
    /// A package that is in the library already (name or id), instead of a file.
    #[arg(long, value_name = "IMAGE")]
    package: Option<String>,
    /// Name of the VM; the one that the package tells when left out.
    #[arg(long)]
    name: Option<String>,
    /// Name of the package in the library; the file's when left out.
    #[arg(long, value_name = "NAME", conflicts_with = "package")]
    package_name: Option<String>,
    /// Network here for a network of the package; nothing behind = leaves its interfaces out. May be repeated.
    #[arg(long, value_name = "SOURCE=NETWORK", value_parser = args::key_value)]
    network: Vec<(String, String)>,
    /// Bus of all disks: virtio, scsi, ide or usb; what the package says when left out.
    #[arg(long, value_parser = spec::bus)]
    bus: Option<DiskBus>,
    /// Keep the addresses of the interfaces that the package tells.
    #[arg(long)]
    keep_macs: bool,
    /// Leave out what Virga cannot give.
    #[arg(long)]
    leave_out: bool,
    /// vCPUs; what the package says when left out.
    #[arg(long, value_name = "N")]
    cpus: Option<u32>,
    /// Memory; what the package says when left out.
    #[arg(long, value_name = "SIZE", value_parser = human::parse_size)]
    memory: Option<u64>,
    /// A label; may be repeated.
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = args::key_value)]
    label: Vec<(String, String)>,
    /// Host to put it on; Virga chooses when left out.
    #[arg(long)]
    host: Option<String>,
    #[command(flatten)]
    first_boot: FirstBoot,
    /// Start it once it is there.
    #[arg(long)]
    start: bool,
    #[command(flatten)]
    change: Change,
}

/// `vm import`.
pub(crate) async fn run(app: &App, a: Args) -> Result {
    let change = a.change.clone();
    let done = if a.start { "made and started" } else { "made" };
    let package = match (&a.package, &a.file) {
        (Some(p), _) => p.clone(),
        (None, Some(file)) => upload(app, &a, file).await?,
        (None, None) => return Err(Failure::usage("no package").hint("give a file, or --package")),
    };
    let body = VmImport {
        package: package.clone(),
        name: a.name,
        networks: a.network.into_iter().collect(),
        bus: a.bus,
        keep_macs: a.keep_macs,
        leave_out: a.leave_out,
        cpus: a.cpus,
        memory_bytes: a.memory,
        labels: a.label.into_iter().collect(),
        cloud_init: a.first_boot.apply(Default::default())?,
        start: a.start,
        host: a.host,
    };
    let mut call = app.api()?.v1.vm_import().body(body);
    if change.dry_run {
        call = call.dry_run(true);
    }
    let accepted = json(call.send().await).map_err(|e| stays(e, a.file.is_some(), &package))?;
    wait::finish(app, accepted, &change, done).await
}

/// Says how to go on where the package is there and the VM was refused.
fn stays(e: Failure, uploaded: bool, package: &str) -> Failure {
    if uploaded && e.hint.is_none() { e.hint(format!("the package is in the library: try again with --package {package}")) } else { e }
}

/// Brings the file into the library; the name of the package there.
async fn upload(app: &App, a: &Args, file: &std::path::Path) -> Result<String> {
    let content = Content::package(file)?;
    let sha256 = content.sha256().await?;
    let stem = file.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
    let name = a.package_name.clone().unwrap_or_else(|| fitting(stem));
    let made = json(app.api()?.v1.image_create().body(ImageCreate { name: name.clone() }).send().await)?;
    let id = text(&made, "id").to_string();
    let sent = tokio::select! {
        sent = upload::send(app, (&id, true), &content, &sha256, Some(crate::client::types::ImageFormat::Ova)) => sent,
        _ = tokio::signal::ctrl_c() => Err(Failure::new(Exit::Interrupted, "interrupted")),
    };
    match sent {
        Ok(_) => Ok(name),
        Err(e) => Err(crate::image::remove_again(app, &id, &name, e).await),
    }
}

/// A name for the library from that of a file.
fn fitting(stem: &str) -> String {
    let plain: String = stem.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' }).take(63).collect();
    plain.trim_start_matches(|c: char| !c.is_ascii_alphanumeric()).to_string()
}
