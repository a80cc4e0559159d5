//! Templates.

use crate::app::App;
use crate::args::{self, Change, Consent, Listing};
use crate::client::types::{TemplateCreate, TemplateUpdate};
use crate::client::{List, json};
use crate::column::{Column, Kind, col, wide};
use crate::error::{Failure, Result};
use crate::vm::clone::{Making, finish};
use crate::{list, terminal, wait};
use clap::{Args, Subcommand};

/// Columns of templates.
pub(crate) const COLUMNS: &[Column] = &[
    col("name", "name", Kind::Text),
    col("host", "host", Kind::Ref),
    col("cpus", "spec.cpu.count", Kind::Text),
    col("memory", "spec.memory.bytes", Kind::Bytes),
    col("disks", "spec.disks", Kind::Count),
    col("clones", "clones", Kind::Text),
    col("age", "created_at", Kind::Age),
    wide("firmware", "spec.firmware", Kind::Text),
    wide("nics", "spec.nics", Kind::Count),
    wide("labels", "labels", Kind::Map),
    wide("owner", "owner", Kind::Ref),
    wide("description", "description", Kind::Text),
    wide("generation", "generation", Kind::Text),
    wide("id", "id", Kind::Text),
];

/// Verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List templates.
    #[command(alias = "ls")]
    List(ListArgs),
    /// Show one template.
    Show(Show),
    /// Make a template of a VM: a copy of it, or (with --convert) itself.
    Create(Create),
    /// Change name, description or labels of a template.
    Update(Update),
    /// Make VMs from a template.
    Deploy(Box<Deploy>),
    /// Convert a template on which nothing stands into a VM.
    Convert(Convert),
    /// Delete a template on which nothing stands.
    Delete(Delete),
}

/// Options of `list`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga template list\n  virga template list --filter 'name ~ debian' -o json")]
pub(crate) struct ListArgs {
    #[command(flatten)]
    listing: Listing,
}

/// Options of `show`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga template show debian-12")]
pub(crate) struct Show {
    /// Name or id.
    template: String,
}

/// Options of `create`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga template create debian-12 --vm web-1\n  virga template create debian-12 --vm golden --convert --yes")]
pub(crate) struct Create {
    /// Name of the template, unique among VMs and templates.
    name: String,
    /// The VM that it is made of.
    #[arg(long)]
    vm: String,
    /// The VM itself becomes the template, and is no VM any more.
    #[arg(long)]
    convert: bool,
    /// Data store for the disks of a copy ("local": that of the host); chosen by Virga when left out.
    #[arg(long, value_name = "DATA_STORE", conflicts_with = "convert")]
    data_store: Option<String>,
    /// Free text.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    #[command(flatten)]
    change: Change,
    #[command(flatten)]
    consent: Consent,
}

/// Options of `update`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  virga template update debian-12 --name debian-12.7\n  virga template update debian-12 --description 'with our tools' --label os=debian"
)]
pub(crate) struct Update {
    /// Name or id.
    template: String,
    /// New name.
    #[arg(long)]
    name: Option<String>,
    /// Free text.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// A label; may be repeated, and takes the place of all that are there.
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = args::key_value)]
    label: Vec<(String, String)>,
    #[command(flatten)]
    change: Change,
}

/// Options of `deploy`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  virga template deploy debian-12 web-1 --start\n  virga template deploy debian-12 'lab-{nn}' --count 30 --kind linked --form three_level --start\n  \
                        virga template deploy debian-12 db-1 --cpus 4 --memory 8GiB --ssh-key-file ~/.ssh/id_ed25519.pub"
)]
pub(crate) struct Deploy {
    /// Name or id of the template.
    template: String,
    #[command(flatten)]
    making: Making,
    #[command(flatten)]
    change: Change,
}

/// Options of `convert`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga template convert debian-12")]
pub(crate) struct Convert {
    /// Name or id.
    template: String,
    #[command(flatten)]
    change: Change,
}

/// Options of `delete`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga template delete debian-11\n  virga template delete debian-11 --yes --no-wait")]
pub(crate) struct Delete {
    /// Name or id.
    template: String,
    #[command(flatten)]
    change: Change,
    #[command(flatten)]
    consent: Consent,
}

/// Does what a verb says.
pub(crate) async fn run(app: &App, command: Command) -> Result {
    match command {
        Command::List(a) => list::run(app, List::Templates, COLUMNS, &a.listing).await,
        Command::Show(a) => app.out.object(&json(app.api()?.v1.template_view().template(&a.template).send().await)?, COLUMNS),
        Command::Create(a) => create(app, a).await,
        Command::Update(a) => update(app, a).await,
        Command::Deploy(a) => deploy(app, *a).await,
        Command::Convert(a) => convert(app, a).await,
        Command::Delete(a) => delete(app, a).await,
    }
}

async fn create(app: &App, a: Create) -> Result {
    if a.convert && !a.change.dry_run {
        terminal::consent(a.consent.yes, &format!("Make VM {} a template? It is no VM any more then, and cannot be started.", a.vm))?;
    }
    let body = TemplateCreate { vm: a.vm, name: Some(a.name), description: a.description, convert: a.convert, data_store: a.data_store };
    let mut call = app.api()?.v1.template_create().body(body);
    if a.change.dry_run {
        call = call.dry_run(true);
    }
    finish(app, json(call.send().await)?, &a.change, "template").await
}

async fn update(app: &App, a: Update) -> Result {
    if a.name.is_none() && a.description.is_none() && a.label.is_empty() {
        return Err(Failure::usage("no change is given").hint("give --name, --description or --label"));
    }
    let labels = Some(a.label).filter(|l| !l.is_empty()).map(|l| l.into_iter().collect());
    let mut call = app.api()?.v1.template_update().template(&a.template).body(TemplateUpdate { name: a.name, description: a.description, labels });
    if a.change.dry_run {
        call = call.dry_run(true);
    }
    wait::finish(app, json(call.send().await)?, &a.change, "changed").await
}

async fn deploy(app: &App, a: Deploy) -> Result {
    let mut call = app.api()?.v1.template_deploy().template(&a.template).body(a.making.body(None)?);
    if a.change.dry_run {
        call = call.dry_run(true);
    }
    finish(app, json(call.send().await)?, &a.change, "vm").await
}

async fn convert(app: &App, a: Convert) -> Result {
    let mut call = app.api()?.v1.template_convert().template(&a.template);
    if a.change.dry_run {
        call = call.dry_run(true);
    }
    wait::finish(app, json(call.send().await)?, &a.change, "is a VM now").await
}

async fn delete(app: &App, a: Delete) -> Result {
    if !a.change.dry_run {
        terminal::consent(a.consent.yes, &format!("Delete template {} with its disks?", a.template))?;
    }
    let mut call = app.api()?.v1.template_delete().template(&a.template);
    if a.change.dry_run {
        call = call.dry_run(true);
    }
    wait::finish(app, json(call.send().await)?, &a.change, "is deleted").await
}
