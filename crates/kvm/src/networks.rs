//! Networks: NAT through libvirt, bridges through Open vSwitch.

use crate::domain_xml::nat_network_name;
use crate::libvirt::{Fault, Lane, QUICK, number_is};
use crate::xml::El;
use crate::{Kvm, Result, program};
use async_trait::async_trait;
use serde_json::Value;
use std::net::Ipv4Addr;
use std::time::Duration;
use virga_agent::host::Networks;
use virga_model::network::{NetworkSpec, nat_bridge_name, parse_cidr};
use virga_model::order::NetworkRef;
use virga_model::{Error, NetworkId};
use virt::connect::Connect;
use virt::error::ErrorNumber;
use virt::network::Network;

/// Namespace of our metadata in a network.
const NAMESPACE: &str = "https://virga.dev/xmlns/network/1";
/// How long one command of Open vSwitch or `ip` may take.
const COMMAND: Duration = Duration::from_secs(15);
/// What marks an OVS bridge or port that Virga made.
const MADE: &str = "virga-made";

/// The libvirt network of a NAT network.
fn nat_xml(id: NetworkId, name: &str, cidr: &str) -> Result<El> {
    let bad = || Error::invalid("cidr", format!("\"{cidr}\" is not an IPv4 network with a prefix of 16 to 28"));
    let (address, prefix) = parse_cidr(cidr).filter(|(_, p)| (16..=28).contains(p)).ok_or_else(bad)?;
    let base = u32::from(address);
    let last = base | (u32::MAX >> prefix);
    let ip = |n: u32| Ipv4Addr::from(n);
    let metadata = El::new("virga:network").attr("xmlns:virga", NAMESPACE).attr("name", name);
    let range = El::new("range").attr("start", ip(base + 2)).attr("end", ip(last - 1));
    Ok(El::new("network")
        .child(El::new("name").text(nat_network_name(id)))
        .child(El::new("uuid").text(id))
        .child(El::new("metadata").child(metadata))
        .child(El::new("forward").attr("mode", "nat"))
        .child(El::new("bridge").attr("name", nat_bridge_name(id)).attr("stp", "on").attr("delay", 0))
        .child(El::new("dns"))
        .child(El::new("ip").attr("address", ip(base + 1)).attr("prefix", prefix).child(El::new("dhcp").child(range))))
}

fn is_ours(xml: &El) -> bool {
    let has = |e: &El| e.attrs.iter().any(|(n, v)| n.starts_with("xmlns") && v == NAMESPACE);
    xml.one("metadata").is_some_and(|m| m.children.iter().any(has))
}

/// The network of that id with its definition, which must be ours.
fn lookup(conn: &Connect, id: NetworkId) -> std::result::Result<Option<(Network, El)>, Fault> {
    let n = match conn.lookup_network_by_uuid(id.0) {
        Err(e) if number_is(&e, ErrorNumber::NoNetwork) => return Ok(None),
        other => other?,
    };
    let xml = El::parse(&n.xml_desc(0)?)?;
    if !is_ours(&xml) {
        let message = format!("The libvirt network {} is not Virga's and is not touched.", n.name()?);
        return Err(Error::conflict(message).with_hint("Look at it with virsh net-dumpxml.").into());
    }
    Ok(Some((n, xml)))
}

fn address_of(xml: &El) -> Option<(String, String)> {
    let ip = xml.one("ip")?;
    Some((ip.get("address")?.to_string(), ip.get("prefix").unwrap_or("").to_string()))
}

fn nat_ensure(conn: &Connect, wanted: &El, id: NetworkId) -> std::result::Result<(), Fault> {
    let network = match lookup(conn, id)? {
        Some((n, now)) if address_of(&now) == address_of(wanted) && n.is_persistent()? => n,
        Some((n, _)) if n.is_active()? => {
            let message = format!("The network {} runs on this host with other addresses.", n.name()?);
            return Err(Error::conflict(message).with_hint("Remove the network and make it anew.").into());
        }
        _ => conn.define_network_xml(&wanted.to_xml()?)?,
    };
    if !network.is_active()? {
        match network.create() {
            // Somebody else was faster.
            Err(_) if network.is_active()? => {}
            other => other?,
        }
    }
    if !network.autostart()? {
        network.set_autostart(true)?;
    }
    Ok(())
}

fn nat_remove(conn: &Connect, id: NetworkId) -> std::result::Result<(), Fault> {
    let Some((network, xml)) = lookup(conn, id)? else { return Ok(()) };
    if network.is_active()? {
        if xml.get("connections").and_then(|c| c.parse::<u32>().ok()).unwrap_or(0) > 0 {
            return Err(Error::conflict("VMs on this host are connected to the network.").with_hint("Disconnect them first.").into());
        }
        network.destroy()?;
    }
    if network.is_persistent().unwrap_or(false) {
        network.undefine()?;
    }
    Ok(())
}

async fn vsctl(args: &[&str]) -> Result<String> {
    let mut all = vec!["--timeout=10"];
    all.extend(args);
    program::run("ovs-vsctl", &all, COMMAND).await.map_err(|e| match e.hint {
        Some(_) => e,
        None => e.with_hint("Is Open vSwitch (openvswitch-switch) running on the host?"),
    })
}

async fn ip(args: &[&str]) -> Result<String> {
    program::run("ip", args, COMMAND).await
}

/// Whether the kernel switches for Open vSwitch; otherwise it does so itself (`netdev`), slower.
fn kernel_datapath() -> bool {
    std::path::Path::new("/sys/module/openvswitch").exists()
}

fn network_key(id: NetworkId) -> String {
    format!("virga-network-{id}")
}

/// What an `external_ids` map says, e.g. `{a="1", b=c}`.
fn external_ids(printed: &str) -> Vec<(String, String)> {
    let inner = printed.trim().trim_start_matches('{').trim_end_matches('}');
    let pairs = inner.split(", ").filter_map(|p| p.split_once('='));
    pairs.map(|(k, v)| (k.trim_matches('"').to_string(), v.trim_matches('"').to_string())).collect()
}

async fn bridge_exists(bridge: &str) -> Result<bool> {
    Ok(vsctl(&["list-br"]).await?.lines().any(|l| l == bridge))
}

async fn ovs_ensure(id: NetworkId, bridge: &str, uplink: Option<&str>) -> Result<()> {
    let key = format!("external_ids:{}=yes", network_key(id));
    let datapath = if kernel_datapath() { "system" } else { "netdev" };
    if bridge_exists(bridge).await? {
        vsctl(&["set", "Bridge", bridge, &key]).await?;
    } else {
        if !kernel_datapath() {
            tracing::info!(bridge, "the kernel has no openvswitch: the bridge switches in user space, which is slower");
        }
        let (made, kind) = (format!("external_ids:{MADE}=yes"), format!("datapath_type={datapath}"));
        vsctl(&["--may-exist", "add-br", bridge, "--", "set", "Bridge", bridge, &kind, &made, &key]).await?;
    }
    if let Some(port) = uplink {
        uplink_ensure(bridge, port).await?;
    }
    ip(&["link", "set", "dev", bridge, "up"]).await.map(|_| ())
}

async fn uplink_ensure(bridge: &str, port: &str) -> Result<()> {
    if !std::path::Path::new("/sys/class/net").join(port).exists() {
        return Err(Error::host(format!("This host has no interface {port} for the uplink of the bridge {bridge}."))
            .with_hint("Name another uplink, or add the interface to the host."));
    }
    let there = vsctl(&["list-ports", bridge]).await?.lines().any(|l| l == port);
    if !there {
        let addresses = ip(&["-j", "addr", "show", "dev", port]).await?;
        if has_address(&addresses) {
            return Err(Error::conflict(format!(
                "The interface {port} has IP addresses of the host; as the uplink of {bridge} it would lose them, and the host its network."
            ))
            .with_hint("Give the bridge an interface of its own, or move the addresses to the bridge first."));
        }
        let made = format!("external_ids:{MADE}=yes");
        vsctl(&["--may-exist", "add-port", bridge, port, "--", "set", "Port", port, &made]).await?;
    }
    ip(&["link", "set", "dev", port, "up"]).await?;
    // The netdev datapath takes frames from a veth whose checksum nobody will ever fill in: TCP dies, ping works.
    let kind = vsctl(&["get", "Bridge", bridge, "datapath_type"]).await?;
    if kind.contains("netdev") && link_kind(&ip(&["-j", "-d", "link", "show", "dev", port]).await?).as_deref() == Some("veth") {
        program::run("ethtool", &["-K", port, "tx", "off"], COMMAND).await?;
    }
    Ok(())
}

/// Whether `ip -j addr` shows an address that is not link-local.
fn has_address(json: &str) -> bool {
    let all: Value = serde_json::from_str(json).unwrap_or_default();
    let infos = all.as_array().into_iter().flatten().filter_map(|l| l.get("addr_info")?.as_array()).flatten();
    infos.filter_map(|a| a.get("scope")?.as_str()).any(|s| s != "link")
}

/// Kind of the first link that `ip -j -d link` shows.
fn link_kind(json: &str) -> Option<String> {
    let all: Value = serde_json::from_str(json).ok()?;
    Some(all.get(0)?.get("linkinfo")?.get("info_kind")?.as_str()?.to_string())
}

async fn ovs_remove(id: NetworkId, bridge: &str) -> Result<()> {
    if !bridge_exists(bridge).await? {
        return Ok(());
    }
    vsctl(&["remove", "Bridge", bridge, "external_ids", &network_key(id)]).await?;
    let left = external_ids(&vsctl(&["get", "Bridge", bridge, "external_ids"]).await?);
    if left.iter().any(|(k, _)| k.starts_with("virga-network-")) {
        return Ok(());
    }
    let (ours, mut others) = (left.iter().any(|(k, _)| k == MADE), 0);
    for port in vsctl(&["list-ports", bridge]).await?.lines() {
        let ids = external_ids(&vsctl(&["get", "Port", port, "external_ids"]).await?);
        if ids.iter().any(|(k, _)| k == MADE) {
            vsctl(&["--if-exists", "del-port", bridge, port]).await?;
        } else {
            others += 1;
        }
    }
    if ours && others == 0 {
        vsctl(&["--if-exists", "del-br", bridge]).await?;
    }
    Ok(())
}

impl Kvm {
    /// The networks of ours on this host.
    pub(crate) async fn networks(&self) -> Result<Vec<NetworkId>> {
        let nat = self.libvirt.call(Lane::Look, QUICK, "The networks could not be listed", |conn| {
            let mut out = Vec::new();
            for n in conn.list_all_networks(0)? {
                match n.xml_desc(0) {
                    Ok(xml) if is_ours(&El::parse(&xml)?) => out.push(NetworkId(n.uuid()?)),
                    Err(e) if !number_is(&e, ErrorNumber::NoNetwork) => return Err(e.into()),
                    // Foreign, or gone since the list was made.
                    _ => {}
                }
            }
            Ok(out)
        });
        let mut out = nat.await?;
        // A host need not have Open vSwitch.
        let bridges = vsctl(&["--bare", "--columns=external_ids", "list", "Bridge"]).await.unwrap_or_default();
        out.extend(bridges.split_whitespace().filter_map(|w| w.strip_prefix("virga-network-")?.split_once('=')?.0.parse::<NetworkId>().ok()));
        out.sort();
        out.dedup();
        Ok(out)
    }
}

#[async_trait]
impl Networks for Kvm {
    async fn network_ensure(&self, network: &NetworkRef) -> Result<()> {
        match &network.spec {
            NetworkSpec::Nat { cidr } => {
                let (id, wanted) = (network.id, nat_xml(network.id, &network.name, cidr)?);
                self.libvirt.call(Lane::Control, QUICK, "The network could not be made", move |conn| nat_ensure(conn, &wanted, id)).await
            }
            NetworkSpec::Ovs { bridge, uplink, .. } => {
                network.spec.check()?;
                ovs_ensure(network.id, bridge, uplink.as_deref()).await
            }
        }
    }

    async fn network_remove(&self, network: &NetworkRef) -> Result<()> {
        let id = network.id;
        match &network.spec {
            NetworkSpec::Nat { .. } => self.libvirt.call(Lane::Control, QUICK, "The network could not be removed", move |conn| nat_remove(conn, id)).await,
            NetworkSpec::Ovs { bridge, .. } => {
                network.spec.check()?;
                ovs_remove(id, bridge).await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nat_network_leaves_its_first_address_to_the_host() {
        let id = NetworkId(uuid::Uuid::from_u128(0x1234_5678));
        let xml = nat_xml(id, "a & b", "192.168.200.0/24").unwrap();
        assert!(is_ours(&El::parse(&xml.to_xml().unwrap()).unwrap()));
        let range = xml.at(&["ip", "dhcp", "range"]).unwrap();
        assert_eq!((range.get("start"), range.get("end")), (Some("192.168.200.2"), Some("192.168.200.254")));
        assert_eq!(xml.one("bridge").unwrap().get("name"), Some("vgn12345678"));
        assert_eq!(xml.one("name").unwrap().text, "virga-vgn12345678");
        for bad in ["", "192.168.200.1/24", "10.0.0.0/8", "10.0.0.0/30"] {
            assert!(nat_xml(id, "n", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn foreign_words_are_read_with_care() {
        assert_eq!(external_ids("{}\n"), []);
        assert_eq!(external_ids("{a=\"1\", \"b-c\"=yes}"), [("a".into(), "1".into()), ("b-c".into(), "yes".into())]);
        assert!(has_address(r#"[{"addr_info":[{"family":"inet","local":"10.0.0.1","scope":"global"}]}]"#));
        assert!(!has_address(r#"[{"addr_info":[{"family":"inet6","local":"fe80::1","scope":"link"}]}]"#));
        assert!(!has_address("garbage") && link_kind("[{}]").is_none());
        assert_eq!(link_kind(r#"[{"linkinfo":{"info_kind":"veth"}}]"#).as_deref(), Some("veth"));
    }
}
