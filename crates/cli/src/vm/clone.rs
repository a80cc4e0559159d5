//! `vm clone`, `vm refresh`, and what making VMs from templates has in common with them.

use crate::app::App;
use crate::args::{self, Change, Consent};
use crate::client::json;
use crate::client::types::{CloneCreate, CloneForm, CloneKind, CloudInit};
use crate::error::Result;
use crate::json::{at, items, text};
use crate::vm::spec::{self, FirstBoot};
use crate::{human, output, terminal, wait};
use serde_json::Value;

/// How new VMs are made of a VM or template.
#[derive(Debug, clap::Args)]
pub(crate) struct Making {
    /// Name of the new VM; for several with {n} in the place of the number, e.g. 'web-{nn}'.
    name: String,
    /// How many.
    #[arg(long, value_name = "N")]
    count: Option<u32>,
    /// Number of the first (1 when left out).
    #[arg(long, value_name = "N")]
    first: Option<u32>,
    /// full (a copy), linked (differences only); of a linked clone also normal (its differences are copied) and fresh (empty
    /// differences on its base).
    #[arg(long, value_parser = spec::clone_kind)]
    kind: Option<CloneKind>,
    /// Of clones that stand on something: two_level, or three_level with a restore point.
    #[arg(long, value_parser = spec::clone_form)]
    form: Option<CloneForm>,
    /// vCPUs; those of the source when left out.
    #[arg(long, value_name = "N")]
    cpus: Option<u32>,
    /// Memory; that of the source when left out.
    #[arg(long, value_name = "SIZE", value_parser = human::parse_size)]
    memory: Option<u64>,
    /// Free text.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// A label; may be repeated.
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = args::key_value)]
    label: Vec<(String, String)>,
    #[command(flatten)]
    first_boot: FirstBoot,
    /// Start them once they are there.
    #[arg(long)]
    start: bool,
    /// Host to put them on: the one that has the source's disks, or for disks on a shared data store any that sees it.
    #[arg(long)]
    host: Option<String>,
    /// Data store for the disks of full clones ("local": that of the host); chosen by Virga when left out.
    #[arg(long, value_name = "DATA_STORE")]
    data_store: Option<String>,
}

impl Making {
    /// The request.
    pub(crate) fn body(self, snapshot: Option<String>) -> Result<CloneCreate> {
        Ok(CloneCreate {
            name: self.name,
            count: self.count,
            first: self.first,
            kind: self.kind,
            form: self.form,
            snapshot,
            description: self.description,
            labels: Some(self.label).filter(|l| !l.is_empty()).map(|l| l.into_iter().collect()),
            cpus: self.cpus,
            memory_bytes: self.memory,
            cloud_init: self.first_boot.apply(CloudInit::default())?,
            start: self.start,
            host: self.host,
            data_store: self.data_store,
        })
    }
}

/// Options of `clone`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  virga vm clone web-1 web-2\n  virga vm clone web-1 'test-{nn}' --count 10 --kind linked --start\n  \
                        virga vm clone lab-03 lab-04 --kind fresh\n  virga vm clone db-1 db-copy --snapshot nightly")]
pub(crate) struct Args {
    /// Name or id of the VM that is cloned.
    vm: String,
    #[command(flatten)]
    making: Making,
    /// A snapshot of the VM; its present state when left out.
    #[arg(long)]
    snapshot: Option<String>,
    #[command(flatten)]
    change: Change,
}

/// `vm clone`.
pub(crate) async fn run(app: &App, a: Args) -> Result {
    let mut call = app.api()?.v1.vm_clone().vm(&a.vm).body(a.making.body(a.snapshot)?);
    if a.change.dry_run {
        call = call.dry_run(true);
    }
    finish(app, json(call.send().await)?, &a.change, "vm").await
}

/// Options of `refresh`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  virga vm refresh lab-03\n  virga vm refresh lab-03 --yes --no-wait")]
pub(crate) struct Refresh {
    /// Name or id.
    vm: String,
    #[command(flatten)]
    change: Change,
    #[command(flatten)]
    consent: Consent,
}

/// `vm refresh`.
pub(crate) async fn refresh(app: &App, a: Refresh) -> Result {
    if !a.change.dry_run {
        let question = format!("Bring {} back to its restore point? All that it has written since it was made is lost.", a.vm);
        terminal::consent(a.consent.yes, &question)?;
    }
    let mut call = app.api()?.v1.vm_refresh().vm(&a.vm);
    if a.change.dry_run {
        call = call.dry_run(true);
    }
    wait::finish(app, json(call.send().await)?, &a.change, "is at its restore point").await
}

/// Ends the making of clones: prints the plan or the task, or waits and names what was made.
pub(crate) async fn finish(app: &App, made: Value, change: &Change, noun: &str) -> Result {
    if change.dry_run {
        let mut whole = made;
        whole["object"] = at(&whole, "source").clone();
        return wait::plan(app, &whole);
    }
    let task = at(&made, "task").clone();
    if change.waiting.no_wait {
        return if app.out.is_data() { app.out.data(&made) } else { output::print_line(text(&task, "id")) };
    }
    let ended = wait::follow(app, &task, &change.waiting).await?;
    if app.out.is_data() {
        let mut whole = made;
        whole["task"] = ended;
        return app.out.data(&whole);
    }
    for vm in items(&made, "vms") {
        let name = output::name_of(vm);
        output::print_line(&if app.out.format == output::Format::Name { name } else { format!("{noun} {name} is made") })?;
    }
    Ok(())
}
