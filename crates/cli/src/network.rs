//! Networks.

use crate::app::App;
use crate::args::{Change, Consent, Listing, Waiting};
use crate::client::types::{NetworkCreate, NetworkSpec};
use crate::client::{List, json};
use crate::column::{Column, Kind, col, wide};
use crate::error::Result;
use crate::host::changed;
use crate::json::{at, flag, text};
use crate::{list, terminal, wait};
use clap::{Args, Subcommand};
use serde_json::Value;

/// Columns of networks.
pub(crate) const COLUMNS: &[Column] = &[
    col("name", "name", Kind::Text),
    col("kind", "spec.kind", Kind::Text),
    col("details", "spec", Kind::Made(details)),
    col("state", "deleting", Kind::Made(|n| if flag(n, "deleting") { "being removed".into() } else { "ready".into() })),
    col("age", "created_at", Kind::Age),
    wide("generation", "generation", Kind::Text),
    wide("id", "id", Kind::Text),
];

/// What a network is made of, in words.
fn details(n: &Value) -> String {
    let vlan = at(n, "spec.vlan").as_u64().map(|v| format!(" vlan {v}")).unwrap_or_default();
    let uplink = Some(text(n, "spec.uplink")).filter(|u| !u.is_empty()).map(|u| format!(" uplink {u}")).unwrap_or_default();
    format!("{}{}{uplink}{vlan}", text(n, "spec.cidr"), text(n, "spec.bridge"))
}

/// Verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List networks.
    #[command(alias = "ls")]
    List(ListArgs),
    /// Show one network.
    Show(Show),
    /// Make a network. Hosts get it when the first VM there needs it.
    Create(Create),
    /// Remove a network that no VM uses.
    Delete(Delete),
}

/// Options of `list`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga network list\n  virga network list --filter 'kind = ovs' -o json")]
pub(crate) struct ListArgs {
    #[command(flatten)]
    listing: Listing,
}

/// Options of `show`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga network show nat")]
pub(crate) struct Show {
    /// Name or id.
    network: String,
}

/// Options of `create`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  virga network create nat2 --nat 192.168.201.0/24\n  virga network create lan --ovs vg-lan --uplink eth1\n  virga network create lan-100 --ovs vg-lan --vlan 100"
)]
#[command(group = clap::ArgGroup::new("kind").required(true).args(["nat", "ovs"]))]
pub(crate) struct Create {
    /// Name, unique among networks.
    name: String,
    /// On every host a private network with DHCP; guests reach out through the host.
    #[arg(long, value_name = "CIDR")]
    nat: Option<String>,
    /// An Open vSwitch bridge on every host.
    #[arg(long, value_name = "BRIDGE")]
    ovs: Option<String>,
    /// Interface of the hosts that leads outside.
    #[arg(long, value_name = "IF", requires = "ovs", conflicts_with = "nat")]
    uplink: Option<String>,
    /// VLAN of the guests' ports, 1 to 4094.
    #[arg(long, value_name = "N", requires = "ovs", conflicts_with = "nat", value_parser = clap::value_parser!(u16).range(1..=4094))]
    vlan: Option<u16>,
}

/// Options of `delete`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga network delete lan-100\n  virga network delete lan-100 --yes")]
pub(crate) struct Delete {
    /// Name or id.
    network: String,
    #[command(flatten)]
    waiting: Waiting,
    #[command(flatten)]
    consent: Consent,
}

/// Does what a verb says.
pub(crate) async fn run(app: &App, command: Command) -> Result {
    match command {
        Command::List(a) => list::run(app, List::Networks, COLUMNS, &a.listing).await,
        Command::Show(a) => app.out.object(&json(app.api()?.v1.network_view().network(&a.network).send().await)?, COLUMNS),
        Command::Create(a) => create(app, a).await,
        Command::Delete(a) => delete(app, a).await,
    }
}

async fn create(app: &App, a: Create) -> Result {
    let spec = match (a.nat, a.ovs) {
        (Some(cidr), _) => NetworkSpec::Nat { cidr },
        (None, bridge) => NetworkSpec::Ovs { bridge: bridge.unwrap_or_default(), uplink: a.uplink, vlan: a.vlan },
    };
    let made = json(app.api()?.v1.network_create().body(NetworkCreate { name: a.name, spec }).send().await)?;
    changed(app, &made, COLUMNS, "network", "made")
}

async fn delete(app: &App, a: Delete) -> Result {
    terminal::consent(a.consent.yes, &format!("Remove network {}?", a.network))?;
    let accepted = json(app.api()?.v1.network_delete().network(&a.network).send().await)?;
    wait::finish(app, accepted, &Change { waiting: a.waiting, dry_run: false }, "removed").await
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn networks_in_words() {
        assert_eq!(details(&json!({"spec": {"kind": "nat", "cidr": "10.1.0.0/24"}})), "10.1.0.0/24");
        assert_eq!(details(&json!({"spec": {"kind": "ovs", "bridge": "vg-lan", "uplink": "eth1", "vlan": 7}})), "vg-lan uplink eth1 vlan 7");
    }
}
