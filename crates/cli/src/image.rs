//! Images and ISOs.

use crate::app::App;
use crate::args::{Change, Consent, Listing};
use crate::client::types::{ImageCreate, ImageFetch, ImageFormat};
use crate::client::{List, json};
use crate::column::{Column, Kind, col, wide};
use crate::error::{Exit, Failure, Result};
use crate::host::changed;
use crate::json::text;
use crate::upload::{self, Content, bar};
use crate::{list, terminal, wait};
use clap::{Args, Subcommand, ValueEnum};
use indicatif::ProgressStyle;
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;

/// Columns of images.
pub(crate) const COLUMNS: &[Column] = &[
    col("name", "name", Kind::Text),
    col("state", "state", Kind::Text),
    col("format", "format", Kind::Text),
    col("size", "size_bytes", Kind::Bytes),
    col("virtual", "virtual_bytes", Kind::Bytes),
    col("age", "created_at", Kind::Age),
    wide("sha256", "sha256", Kind::Text),
    wide("generation", "generation", Kind::Text),
    wide("id", "id", Kind::Text),
];

/// Verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List images.
    #[command(alias = "ls")]
    List(ListArgs),
    /// Show one image.
    Show(Show),
    /// Make an image from a file: qcow2, raw, ISO, VMDK, VHD, VHDX or OVA; or from an OVF folder.
    Import(Import),
    /// Make an image without content.
    Create(Create),
    /// Upload the content of an image that has none, or go on with an upload that broke off.
    Upload(Import),
    /// Make an image whose content the manager fetches from a URL.
    Fetch(Fetch),
    /// Remove an image that no VM uses.
    Delete(Delete),
}

/// Options of `list`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga image list\n  virga image list --filter 'format = iso' --sort -size\n  virga image list --filter 'format = ova'")]
pub(crate) struct ListArgs {
    #[command(flatten)]
    listing: Listing,
}

/// Options of `show`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga image show debian-12\n  virga image show debian-12 -c sha256 -o csv --no-headers")]
pub(crate) struct Show {
    /// Name or id.
    image: String,
}

/// Options of `import` and `upload`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga image import debian-12 debian-12-genericcloud-amd64.qcow2\n  virga image import win11.iso /isos/win11.iso\n  \
                        virga image import appliance appliance-disk1.vmdk --format vmdk\n  virga image create debian-12; \
                        virga image upload debian-12 debian-12.qcow2 --sha256 \"$(cut -d' ' -f1 SHA256SUMS)\"")]
pub(crate) struct Import {
    /// Name of the image (for upload, or its id).
    name: String,
    /// File with the content.
    file: PathBuf,
    /// Format that the file must have; it is refused when it has another. Left out, the content decides.
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// SHA-256 that the file must have, as its publisher says; it is not uploaded when it has another.
    #[arg(long, value_name = "HEX")]
    sha256: Option<String>,
}

/// Formats of images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Qcow2,
    Raw,
    Iso,
    Vmdk,
    Vhd,
    Vhdx,
    Ova,
}

impl From<Format> for ImageFormat {
    fn from(f: Format) -> ImageFormat {
        match f {
            Format::Qcow2 => ImageFormat::Qcow2,
            Format::Raw => ImageFormat::Raw,
            Format::Iso => ImageFormat::Iso,
            Format::Vmdk => ImageFormat::Vmdk,
            Format::Vhd => ImageFormat::Vhd,
            Format::Vhdx => ImageFormat::Vhdx,
            Format::Ova => ImageFormat::Ova,
        }
    }
}

/// Options of `fetch`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga image fetch debian-12 https://cloud.example.org/debian-12-genericcloud-amd64.qcow2\n  \
                        virga image fetch appliance http://mirror.example.org/disk.vmdk --format vmdk --sha256 HEX")]
pub(crate) struct Fetch {
    /// Name of the image.
    name: String,
    /// Where the content is: https:// or http://.
    // Not `url`: under that name clap would take it for the global --url, the manager's.
    #[arg(value_name = "URL")]
    source: String,
    /// Format that the content must have; it is refused when it has another. Left out, the content decides.
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// SHA-256 that the content must have, as its publisher says; needed for http://.
    #[arg(long, value_name = "HEX")]
    sha256: Option<String>,
}

/// Options of `create`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga image create debian-12")]
pub(crate) struct Create {
    /// Name, unique among images.
    name: String,
}

/// Options of `delete`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga image delete debian-12\n  virga image delete debian-12 --yes --no-wait")]
pub(crate) struct Delete {
    /// Name or id.
    image: String,
    #[command(flatten)]
    waiting: crate::args::Waiting,
    #[command(flatten)]
    consent: Consent,
}

/// Does what a verb says.
pub(crate) async fn run(app: &App, command: Command) -> Result {
    match command {
        Command::List(a) => list::run(app, List::Images, COLUMNS, &a.listing).await,
        Command::Show(a) => app.out.object(&json(app.api()?.v1.image_view().image(&a.image).send().await)?, COLUMNS),
        Command::Import(a) => import(app, a).await,
        Command::Create(a) => changed(app, &create(app, a.name).await?, COLUMNS, "image", "made, without content"),
        Command::Upload(a) => changed(app, &upload(app, &a).await?, COLUMNS, "image", "uploaded"),
        Command::Fetch(a) => fetch(app, a).await,
        Command::Delete(a) => delete(app, a).await,
    }
}

async fn create(app: &App, name: String) -> Result<Value> {
    json(app.api()?.v1.image_create().body(ImageCreate { name }).send().await)
}

/// Makes the image and uploads it; an image whose content is refused is removed again.
async fn import(app: &App, a: Import) -> Result {
    let (content, sha256) = content_as_wanted(&a).await?; // before anything is made: it also shows that the file can be read
    let made = create(app, a.name.clone()).await?;
    let id = text(&made, "id").to_string();
    let image = tokio::select! {
        sent = upload::send(app, (&id, true), &content, &sha256, a.format.map(ImageFormat::from)) => sent,
        _ = tokio::signal::ctrl_c() => Err(Failure::new(Exit::Interrupted, "interrupted")),
    };
    match image {
        Ok(image) => changed(app, &image, COLUMNS, "image", "imported"),
        Err(e) => Err(remove_again(app, &id, &a.name, e).await),
    }
}

/// Uploads, or goes on with an upload that broke off.
async fn upload(app: &App, a: &Import) -> Result<Value> {
    let (content, sha256) = content_as_wanted(a).await?;
    upload::send(app, (&a.name, false), &content, &sha256, a.format.map(ImageFormat::from)).await
}

/// The content with its SHA-256, which must be the one that was given.
async fn content_as_wanted(a: &Import) -> Result<(Content, String)> {
    let content = if a.format.is_none_or(|f| f == Format::Ova) { Content::package(&a.file)? } else { Content::file(&a.file)? };
    let found = content.sha256().await?;
    match &a.sha256 {
        Some(wanted) if !wanted.trim().eq_ignore_ascii_case(&found) => {
            Err(Failure::failed(format!("{}: its SHA-256 is {found}, not {}; nothing was uploaded", a.file.display(), wanted.trim())))
        }
        _ => Ok((content, found)),
    }
}

/// Makes the image and has the manager fetch it; an image whose content is refused is removed again.
async fn fetch(app: &App, a: Fetch) -> Result {
    let made = create(app, a.name.clone()).await?;
    let id = text(&made, "id").to_string();
    let body = ImageFetch { url: a.source, format: a.format.map(ImageFormat::from), sha256: a.sha256 };
    let image = tokio::select! {
        got = watch(app, &id, body) => got,
        _ = tokio::signal::ctrl_c() => Err(Failure::new(Exit::Interrupted, "interrupted")),
    };
    match image {
        Ok(image) => changed(app, &image, COLUMNS, "image", "fetched"),
        Err(e) => Err(remove_again(app, &id, &a.name, e).await),
    }
}

/// Waits for the end of a download, and shows how far it is.
async fn watch(app: &App, id: &str, body: ImageFetch) -> Result<Value> {
    let api = app.api()?;
    let bar = bar(0, "download");
    bar.set_style(ProgressStyle::with_template("{msg} {bytes} {binary_bytes_per_sec}").unwrap_or_else(|_| ProgressStyle::default_bar()));
    let mut work = std::pin::pin!(api.slow.image_fetch().image(id).body(body).send());
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    let got = loop {
        tokio::select! {
            got = &mut work => break json(got),
            _ = tick.tick() => {}
        }
        // Only for people who look on: what cannot be asked is not shown.
        if !bar.is_hidden()
            && let Ok(now) = json(api.v1.image_view().image(id).send().await)
        {
            bar.set_position(now.get("arrived_bytes").and_then(Value::as_u64).unwrap_or(0));
        }
    };
    bar.finish_and_clear();
    got
}

/// Removes what a refused upload left, and says so.
pub(crate) async fn remove_again(app: &App, id: &str, name: &str, why: Failure) -> Failure {
    let removed = match app.api() {
        Ok(api) => json(api.v1.image_delete().image(id).send().await),
        Err(e) => Err(e),
    };
    match removed {
        Ok(_) => {
            eprintln!("image {name} removed again");
            why
        }
        Err(e) => {
            eprintln!("image {name} could not be removed again: {}", e.message);
            why
        }
    }
}

async fn delete(app: &App, a: Delete) -> Result {
    terminal::consent(a.consent.yes, &format!("Remove image {}?", a.image))?;
    let accepted = json(app.api()?.v1.image_delete().image(&a.image).send().await)?;
    wait::finish(app, accepted, &Change { waiting: a.waiting, dry_run: false }, "removed").await
}
