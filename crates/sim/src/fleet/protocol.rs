//! What is said on the fleet's control socket: one JSON document a line, a [`Request`] there and an [`Answer`] back.
//!
//! The socket lies in the fleet's state folder with mode 0600: who can open it may break every simulated machine, and
//! nothing else. Documents are additive: a field is never removed or given another meaning.

use serde::{Deserialize, Serialize};

/// Name of the socket in the state folder.
pub const SOCKET: &str = "control.sock";
/// Longest line in bytes; a longer one ends the connection.
pub const LINE_BYTES_MAX: u64 = 1 << 20;

/// Which machines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// All of them.
    All,
    /// The machines of a rack, by the rack's name.
    Rack(String),
    /// These, by name.
    Hosts(Vec<String>),
}

/// Whether something is switched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Switch {
    /// On.
    On,
    /// Off.
    Off,
}

/// The network between a machine and the managers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// Works.
    #[default]
    Heal,
    /// Nothing gets through in either direction.
    Cut,
    /// Reports do not get out; calls of managers still get in.
    OneWay,
}

/// The store for disks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Storage {
    /// Works.
    #[default]
    Ok,
    /// No space is left: no disk can be made.
    Full,
    /// Reads and writes fail: no disk can be made and no guest started.
    Error,
}

/// libvirt on the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Libvirt {
    /// Answers.
    #[default]
    Ok,
    /// Is not there; guests go on.
    Down,
    /// Takes questions and gives no answer; guests go on.
    Hang,
}

/// The agent's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Agent {
    /// Killed without warning; guests go on.
    Kill,
    /// Started (again).
    Start,
}

/// What happens to a guest by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuestEvent {
    /// Its kernel dies.
    Crash,
    /// Somebody in it shuts it down.
    Shutdown,
}

/// What is asked of the fleet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case")]
pub enum Request {
    /// How the fleet is.
    Status,
    /// Every machine.
    List,
    /// The power of machines.
    Power {
        /// Which.
        target: Target,
        /// What it becomes.
        state: Switch,
    },
    /// The network of machines.
    Network {
        /// Which.
        target: Target,
        /// What it becomes.
        state: Network,
    },
    /// The store of machines.
    Storage {
        /// Which.
        target: Target,
        /// What it becomes.
        state: Storage,
    },
    /// The shared folders of machines, all of them.
    Shares {
        /// Which machines.
        target: Target,
        /// What is wrong; none: nothing.
        fault: Option<crate::StoreFault>,
    },
    /// The agents of machines.
    Agent {
        /// Which.
        target: Target,
        /// What is done to them.
        state: Agent,
    },
    /// libvirt on machines.
    Libvirt {
        /// Which.
        target: Target,
        /// What it becomes.
        state: Libvirt,
    },
    /// Something happens in a guest.
    Guest {
        /// Name or id of the VM.
        vm: String,
        /// What.
        event: GuestEvent,
    },
}

/// What the fleet answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// How the fleet is.
    Status(Status),
    /// Every machine.
    Hosts {
        /// The machines, by name.
        hosts: Vec<HostStatus>,
    },
    /// It was done.
    Done {
        /// Names of the machines it was done to.
        hosts: Vec<String>,
    },
    /// It was not done.
    Refused {
        /// Why, and what to do.
        message: String,
    },
}

/// How the fleet is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Machines.
    pub hosts: usize,
    /// Machines that have an identity.
    pub joined: usize,
    /// Machines of which a manager has taken a report since the fleet was started.
    pub reporting: usize,
    /// VMs on them.
    pub vms: usize,
    /// VMs that run.
    pub running: usize,
    /// VMs in the reports that managers have taken.
    pub reported_vms: usize,
    /// Reports that managers have taken.
    pub reports: u64,
    /// VMs that were made through the API, and those that are to be made.
    pub seeded: (usize, usize),
}

/// One machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostStatus {
    /// Name.
    pub name: String,
    /// Rack.
    pub rack: String,
    /// Power.
    pub power: Switch,
    /// Whether its agent runs.
    pub agent: bool,
    /// Its network.
    pub network: Network,
    /// Its store.
    pub storage: Storage,
    /// Its libvirt.
    pub libvirt: Libvirt,
    /// VMs on it.
    pub vms: usize,
    /// VMs that run.
    pub running: usize,
    /// Reports that managers have taken since the fleet was started.
    pub reports: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_a_plain_document() {
        let r = Request::Network { target: Target::Rack("rack-01".into()), state: Network::OneWay };
        let json = serde_json::to_value(&r).unwrap();
        assert_eq!(json, serde_json::json!({"verb": "network", "target": {"rack": "rack-01"}, "state": "one_way"}));
        assert_eq!(serde_json::from_value::<Request>(json).unwrap(), r);
        let all: Request = serde_json::from_str(r#"{"verb":"power","target":"all","state":"off"}"#).unwrap();
        assert_eq!(all, Request::Power { target: Target::All, state: Switch::Off });
    }
}
