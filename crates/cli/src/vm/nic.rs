//! Network interfaces of a VM.

use crate::app::App;
use crate::args::Change;
use crate::client::json;
use crate::client::types::{NicCreate, NicModel, NicUpdate};
use crate::column::{Column, Kind, col};
use crate::error::{Failure, Result};
use crate::json::items;
use crate::vm::disk::find;
use crate::vm::{spec, view};
use crate::wait;
use clap::{Args, Subcommand, ValueEnum};

/// Columns of NICs.
pub(crate) const COLUMNS: &[Column] = &[
    col("id", "id", Kind::Text),
    col("mac", "mac", Kind::Text),
    col("model", "model", Kind::Text),
    col("link", "link_up", Kind::Made(|n| if crate::json::flag(n, "link_up") { "up".into() } else { "down".into() })),
    col("network", "network", Kind::Text),
];

/// Verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the NICs of a VM.
    List(List),
    /// Make and attach a NIC.
    Attach(Attach),
    /// Move a NIC to another network, unplug its cable, or change its model.
    Update(Update),
    /// Remove a NIC.
    Detach(Detach),
}

/// Options of `list`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga vm nic list web-1")]
pub(crate) struct List {
    /// Name or id of the VM.
    vm: String,
}

/// Options of `attach`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga vm nic attach web-1 --network lan\n  virga vm nic attach web-1 --network lan --model e1000 --mac 52:54:00:12:34:56")]
pub(crate) struct Attach {
    /// Name or id of the VM.
    vm: String,
    /// Network.
    #[arg(long)]
    network: String,
    /// virtio, e1000 or rtl8139.
    #[arg(long, value_parser = spec::nic_model)]
    model: Option<NicModel>,
    /// Address; chosen when left out.
    #[arg(long)]
    mac: Option<String>,
    #[command(flatten)]
    change: Change,
}

/// State of the virtual cable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Link {
    /// Plugged in.
    Up,
    /// Unplugged.
    Down,
}

/// Options of `update`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga vm nic update web-1 0 --network lan\n  virga vm nic update web-1 52:54:00:12:34:56 --link down")]
pub(crate) struct Update {
    /// Name or id of the VM.
    vm: String,
    /// Id of the NIC, its beginning, its MAC address, or its number from 0.
    nic: String,
    /// Another network.
    #[arg(long)]
    network: Option<String>,
    /// virtio, e1000 or rtl8139.
    #[arg(long, value_parser = spec::nic_model)]
    model: Option<NicModel>,
    /// Plug the virtual cable in or out.
    #[arg(long, value_enum)]
    link: Option<Link>,
    #[command(flatten)]
    change: Change,
}

/// Options of `detach`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga vm nic detach web-1 1")]
pub(crate) struct Detach {
    /// Name or id of the VM.
    vm: String,
    /// Id of the NIC, its beginning, its MAC address, or its number from 0.
    nic: String,
    #[command(flatten)]
    change: Change,
}

/// Does what a verb says.
pub(crate) async fn run(app: &App, command: Command) -> Result {
    match command {
        Command::List(a) => app.out.list(items(&view(app, &a.vm).await?, "spec.nics"), COLUMNS),
        Command::Attach(a) => attach(app, a).await,
        Command::Update(a) => update(app, a).await,
        Command::Detach(a) => detach(app, a).await,
    }
}

async fn attach(app: &App, a: Attach) -> Result {
    let body = NicCreate { network: a.network, model: a.model, mac: a.mac.map(|m| m.to_ascii_lowercase()) };
    let mut call = app.api()?.v1.vm_nic_attach().vm(&a.vm).body(body);
    if a.change.dry_run {
        call = call.dry_run(true);
    }
    wait::finish(app, json(call.send().await)?, &a.change, "has the NIC").await
}

async fn update(app: &App, a: Update) -> Result {
    if a.network.is_none() && a.model.is_none() && a.link.is_none() {
        return Err(Failure::usage("no change is given").hint("give --network, --model or --link"));
    }
    let nic = find(items(&view(app, &a.vm).await?, "spec.nics"), &a.nic, "NIC")?;
    let body = NicUpdate { network: a.network, model: a.model, link_up: a.link.map(|l| l == Link::Up) };
    let mut call = app.api()?.v1.vm_nic_update().vm(&a.vm).nic(nic).body(body);
    if a.change.dry_run {
        call = call.dry_run(true);
    }
    wait::finish(app, json(call.send().await)?, &a.change, "has the NIC changed").await
}

async fn detach(app: &App, a: Detach) -> Result {
    let nic = find(items(&view(app, &a.vm).await?, "spec.nics"), &a.nic, "NIC")?;
    let mut call = app.api()?.v1.vm_nic_detach().vm(&a.vm).nic(nic);
    if a.change.dry_run {
        call = call.dry_run(true);
    }
    wait::finish(app, json(call.send().await)?, &a.change, "is rid of the NIC").await
}
