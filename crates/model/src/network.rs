//! Networks that VMs connect to. For now a NAT network on each host and a plain OVS bridge; distributed
//! switches become a further kind.

use crate::error::{Check, Error};
use crate::{NetworkId, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// What a network is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum NetworkSpec {
    /// On every host a private IPv4 network with DHCP and DNS; guests reach out through the host's address.
    /// Guests of different hosts do not see each other.
    Nat {
        /// Network in CIDR form, e.g. `192.168.200.0/24`; the first address is the host's.
        cidr: String,
    },
    /// An Open vSwitch bridge on every host, with an uplink that leads outside.
    Ovs {
        /// Bridge name, e.g. `vg-lan`; made where it does not exist.
        bridge: String,
        /// Interface of the host that becomes the bridge's uplink; none: guests of one host only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        uplink: Option<String>,
        /// VLAN of the guests' ports, 1 to 4094; none: untagged.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        vlan: Option<u16>,
    },
}

/// A network as the platform knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Identity.
    pub id: NetworkId,
    /// Label for people, unique among networks.
    pub name: String,
    /// What it is made of.
    pub spec: NetworkSpec,
    /// Grows with each change; the ETag.
    pub generation: i64,
    /// Being removed from the hosts.
    pub deleting: bool,
    /// When it was made.
    pub created_at: Time,
}

impl NetworkSpec {
    /// # Errors
    /// [`crate::ErrorCode::Invalid`] with every violation.
    pub fn check(&self) -> Result<(), Error> {
        let mut c = Check::new();
        match self {
            NetworkSpec::Nat { cidr } => c.that(
                parse_cidr(cidr).is_some_and(|(_, len)| (16..=28).contains(&len)),
                "cidr",
                "must be an IPv4 network with a prefix of 16 to 28, e.g. 192.168.200.0/24",
            ),
            NetworkSpec::Ovs { bridge, uplink, vlan } => {
                c.that(interface_ok(bridge), "bridge", "must be an interface name of at most 15 characters");
                if let Some(u) = uplink {
                    c.that(interface_ok(u) && u != bridge, "uplink", "must be the name of an interface of the host, other than the bridge");
                }
                if let Some(v) = vlan {
                    // W-47: 4,094 usable identifiers.
                    c.that((1..=4094).contains(v), "vlan", "must be 1 to 4094");
                }
            }
        }
        c.done()
    }
}

/// Name of the Linux bridge (and of the libvirt network, with `virga-` before it) that carries a NAT network on a
/// host: `vgn` and eight hex digits of the id, within the kernel's 15 characters.
#[must_use]
pub fn nat_bridge_name(id: NetworkId) -> String {
    let b = id.0.as_bytes();
    format!("vgn{:02x}{:02x}{:02x}{:02x}", b[12], b[13], b[14], b[15])
}

/// Network address and prefix length of a CIDR text whose host part is zero.
#[must_use]
pub fn parse_cidr(cidr: &str) -> Option<(Ipv4Addr, u8)> {
    let (addr, len) = cidr.split_once('/')?;
    let addr: Ipv4Addr = addr.parse().ok()?;
    let len: u8 = len.parse().ok()?;
    if !(1..=30).contains(&len) {
        return None;
    }
    let host_mask = u32::MAX >> len;
    (u32::from(addr) & host_mask == 0).then_some((addr, len))
}

fn interface_ok(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 15
        && name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specs_are_checked() {
        let nat = |c: &str| NetworkSpec::Nat { cidr: c.into() }.check();
        assert!(nat("192.168.200.0/24").is_ok());
        for bad in ["192.168.200.1/24", "10.0.0.0/8", "x", "192.168.200.0/33", "192.168.200.0"] {
            assert!(nat(bad).is_err(), "{bad}");
        }
        let ovs = |v| NetworkSpec::Ovs { bridge: "vg-lan".into(), uplink: None, vlan: v }.check();
        assert!(ovs(None).is_ok() && ovs(Some(1)).is_ok() && ovs(Some(4094)).is_ok());
        assert!(ovs(Some(0)).is_err() && ovs(Some(4095)).is_err());
        let flag = NetworkSpec::Ovs { bridge: "--may-exist".into(), uplink: None, vlan: None };
        assert!(flag.check().is_err(), "a name must never be read as an option");
    }
}
