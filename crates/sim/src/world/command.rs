//! What people and fate do to a world: the commands of scenarios, which are also what schedules are drawn from.
//!
//! One line, one command: words with spaces between. [`Command::parse`] and its `Display` are each other's reverse, so
//! that the schedule of a seed can be printed and kept as a scenario.

use super::host::Hypervising;
use super::manager::Death;
use crate::StoreFault;
use serde::{Deserialize, Serialize};
use std::fmt;
use virga_api::v1::{BatchAction, PowerAction};
use virga_model::clone::CloneKind;

/// What a guest does by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestDeed {
    /// It ends with an error.
    Crash,
    /// Somebody in it shuts it down.
    Shutdown,
}

/// What somebody does with `virsh`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VirshDeed {
    /// Starts the domain.
    Start,
    /// Cuts its power.
    Destroy,
    /// Removes its definition.
    Undefine,
    /// Changes its definition.
    Edit,
}

/// What happens to a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreDeed {
    /// All is well again.
    Ok,
    /// It has no room: for disks, and for the agent's journal.
    Full,
    /// It gives errors.
    Error,
    /// It takes seconds.
    Slow,
}

/// What a new disk is like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskForm {
    /// As when nothing is said: thin, qcow2, dependent.
    #[default]
    Plain,
    /// Thin and raw.
    Raw,
    /// Thick, without writing zeros.
    Lazy,
    /// Thick, with zeros.
    Eager,
    /// Left out of snapshots.
    Independent,
    /// Left out of snapshots, and as before after each stop.
    Nonpersistent,
}

/// What is done with a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskDeed {
    /// It becomes larger by half a GiB.
    Grow,
    /// Its unused space goes back to the store.
    Reclaim,
    /// It is detached, and its data is kept.
    Keep,
    /// It is attached again.
    Back,
    /// It is removed, and overwritten before.
    Wipe,
}

/// A command. The names of the fields say what they are; `vm`, `host` and `manager` are names.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // each variant says what its fields are
pub enum Command {
    /// Make a VM: name, host (empty: any), MiB of memory, disks, their data store (empty: any), from the image, on the
    /// network, started.
    Create { vm: String, host: String, memory_mib: u64, disks: u64, store: String, image: bool, network: bool, start: bool },
    /// A power action: VM, action, seconds for a graceful one, and whether the power is cut after that.
    Power { vm: String, action: PowerAction, timeout_s: u32, then_force: bool },
    /// Other number of vCPUs.
    Cpus { vm: String, cpus: u32 },
    /// Other memory, in MiB.
    Memory { vm: String, memory_mib: u64 },
    /// Another name.
    Rename { vm: String, to: String },
    /// A disk more, of a form.
    DiskAdd { vm: String, form: DiskForm },
    /// The last disk less.
    DiskRemove { vm: String },
    /// Something else is done with the last disk that it can be done with.
    Disk { vm: String, deed: DiskDeed },
    /// A snapshot is taken, with the guest's memory or without.
    SnapshotCreate { vm: String, name: String, memory: bool },
    /// The VM goes back to a snapshot, and starts there.
    SnapshotRevert { vm: String, name: String },
    /// A snapshot is taken away.
    SnapshotDelete { vm: String, name: String },
    /// Clones of a VM: source, name, how many, kind, and whether in three levels.
    Clone { vm: String, name: String, count: u32, kind: CloneKind, three: bool },
    /// VMs from a template, as clones.
    Deploy { template: String, name: String, count: u32, kind: CloneKind, three: bool },
    /// A template of a VM: a copy, or the VM itself.
    Template { name: String, vm: String, convert: bool },
    /// A template becomes a VM.
    TemplateConvert { template: String },
    /// A template is removed.
    TemplateDelete { template: String },
    /// A linked clone goes back to its restore point.
    Refresh { vm: String },
    /// A package of it is made.
    Export { vm: String },
    /// A NIC more.
    NicAdd { vm: String },
    /// Removes a VM; with `force` also a running one.
    Delete { vm: String, force: bool },
    /// The same for many.
    Batch { action: BatchAction, vms: Vec<String> },
    /// Removes the image.
    ImageDelete,
    /// Removes the network.
    NetworkDelete,
    /// Makes a data store of a folder that all hosts see.
    StoreCreate { store: String, path: String },
    /// Removes a data store.
    StoreDelete { store: String },
    /// What is wrong with all shared folders on a host; none: nothing.
    Shares { host: String, fault: Option<StoreFault> },
    /// Stops the active task of an object: a VM, `image`, `network` or `batch`.
    Cancel { object: String },
    /// Power of a host.
    HostPower { host: String, on: bool },
    /// Kills or starts an agent, has it killed at a write of its journal, or takes the journal away.
    AgentKill { host: String },
    /// Starts it.
    AgentStart { host: String },
    /// Has it killed at the n-th write of its journal from now.
    AgentKillAt { host: String, write: u64 },
    /// Its journal is lost with it.
    AgentForget { host: String },
    /// Cuts or heals the ways to and from a host.
    Network { host: String, to_cut: bool, from_cut: bool },
    /// How bad the network is: loss, repeats and lateness in thousandths, spread in milliseconds.
    Weather { loss: u64, twice: u64, late: u64, spread_ms: u64 },
    /// The hypervisor of a host.
    Libvirt { host: String, state: Hypervising },
    /// Starts of guests fail on a host, or do again.
    Starts { host: String, fail: bool },
    /// Live changes fail on a host, or do again.
    Changes { host: String, fail: bool },
    /// The store of a host.
    Storage { host: String, deed: StoreDeed },
    /// What a guest does by itself.
    Guest { vm: String, deed: GuestDeed },
    /// Guests of a host hear when they are asked to shut down, or do not.
    Hearing { host: String, deaf: bool },
    /// Somebody goes behind our back.
    Virsh { vm: String, deed: VirshDeed },
    /// Kills a manager.
    ManagerKill { manager: String },
    /// Starts one.
    ManagerStart { manager: String },
    /// Has one killed at a point.
    ManagerKillAt { manager: String, death: Death },
    /// Holds one.
    ManagerHold { manager: String },
    /// Lets it go on.
    ManagerGoOn { manager: String },
    /// Sets the wall clock of a host or manager wrong by seconds.
    Clock { who: String, seconds: i64 },
}

/// The word that the API uses.
fn word<T: serde::Serialize>(t: &T) -> String {
    serde_json::to_value(t).ok().and_then(|v| v.as_str().map(str::to_string)).unwrap_or_default()
}

fn read<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_value(serde_json::Value::String(text.into())).map_err(|_| format!("\"{text}\" is no action"))
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("\"{text}\" is no number"))
}

impl Command {
    /// Reads a command.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Command, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let s = |t: &&str| (*t).to_string();
        Ok(match words.as_slice() {
            ["vm", "create", vm, options @ ..] => create(vm, options)?,
            ["vm", "edit", vm, "cpus", n] => Command::Cpus { vm: s(vm), cpus: number(n)? },
            ["vm", "edit", vm, "memory", n] => Command::Memory { vm: s(vm), memory_mib: number(n)? },
            ["vm", "edit", vm, "name", to] => Command::Rename { vm: s(vm), to: s(to) },
            ["vm", "disk-add", vm] => Command::DiskAdd { vm: s(vm), form: DiskForm::Plain },
            ["vm", "disk-add", vm, form] => Command::DiskAdd { vm: s(vm), form: read(form)? },
            ["vm", "disk", deed, vm] => Command::Disk { vm: s(vm), deed: read(deed)? },
            ["vm", "disk-remove", vm] => Command::DiskRemove { vm: s(vm) },
            ["vm", "snapshot-create", vm, name] => Command::SnapshotCreate { vm: s(vm), name: s(name), memory: false },
            ["vm", "snapshot-create", vm, name, "memory"] => Command::SnapshotCreate { vm: s(vm), name: s(name), memory: true },
            ["vm", "snapshot-revert", vm, name] => Command::SnapshotRevert { vm: s(vm), name: s(name) },
            ["vm", "snapshot-delete", vm, name] => Command::SnapshotDelete { vm: s(vm), name: s(name) },
            ["vm", "clone", vm, name, n, kind, form @ ..] => {
                Command::Clone { vm: s(vm), name: s(name), count: number(n)?, kind: read(kind)?, three: form == ["three"] }
            }
            ["vm", "refresh", vm] => Command::Refresh { vm: s(vm) },
            ["template", "deploy", t, name, n, kind, form @ ..] => {
                Command::Deploy { template: s(t), name: s(name), count: number(n)?, kind: read(kind)?, three: form == ["three"] }
            }
            ["template", "create", name, vm] => Command::Template { name: s(name), vm: s(vm), convert: false },
            ["template", "create", name, vm, "convert"] => Command::Template { name: s(name), vm: s(vm), convert: true },
            ["template", "convert", t] => Command::TemplateConvert { template: s(t) },
            ["template", "delete", t] => Command::TemplateDelete { template: s(t) },
            ["vm", "export", vm] => Command::Export { vm: s(vm) },
            ["vm", "nic-add", vm] => Command::NicAdd { vm: s(vm) },
            ["vm", "delete", vm] => Command::Delete { vm: s(vm), force: false },
            ["vm", "delete", vm, "force"] => Command::Delete { vm: s(vm), force: true },
            ["vm", action, vm, rest @ ..] => {
                let (timeout_s, then_force) = match rest {
                    [] => (60, false),
                    [n] => (number(n)?, false),
                    [n, "then-force"] => (number(n)?, true),
                    _ => return Err(format!("too many words: {text}")),
                };
                Command::Power { vm: s(vm), action: read(action)?, timeout_s, then_force }
            }
            ["batch", action, vms @ ..] => Command::Batch { action: read(action)?, vms: vms.iter().map(s).collect() },
            ["image", "delete"] => Command::ImageDelete,
            ["lan", "delete"] => Command::NetworkDelete,
            ["data-store", "create", store, path] => Command::StoreCreate { store: s(store), path: s(path) },
            ["data-store", "delete", store] => Command::StoreDelete { store: s(store) },
            ["shares", host, "ok"] => Command::Shares { host: s(host), fault: None },
            ["shares", host, fault] => Command::Shares { host: s(host), fault: Some(read(fault)?) },
            ["cancel", object] => Command::Cancel { object: s(object) },
            ["power", host, "on"] => Command::HostPower { host: s(host), on: true },
            ["power", host, "off"] => Command::HostPower { host: s(host), on: false },
            ["agent", host, "kill"] => Command::AgentKill { host: s(host) },
            ["agent", host, "start"] => Command::AgentStart { host: s(host) },
            ["agent", host, "kill-at", n] => Command::AgentKillAt { host: s(host), write: number(n)? },
            ["agent", host, "forget"] => Command::AgentForget { host: s(host) },
            ["network", host, "cut"] => Command::Network { host: s(host), to_cut: true, from_cut: true },
            ["network", host, "cut-to"] => Command::Network { host: s(host), to_cut: true, from_cut: false },
            ["network", host, "cut-from"] => Command::Network { host: s(host), to_cut: false, from_cut: true },
            ["network", host, "heal"] => Command::Network { host: s(host), to_cut: false, from_cut: false },
            ["weather", "fair"] => Command::Weather { loss: 0, twice: 0, late: 0, spread_ms: 0 },
            ["weather", a, b, c, d] => Command::Weather { loss: number(a)?, twice: number(b)?, late: number(c)?, spread_ms: number(d)? },
            ["libvirt", host, state] => Command::Libvirt { host: s(host), state: hypervising(state)? },
            ["starts", host, "fail"] => Command::Starts { host: s(host), fail: true },
            ["starts", host, "ok"] => Command::Starts { host: s(host), fail: false },
            ["changes", host, "fail"] => Command::Changes { host: s(host), fail: true },
            ["changes", host, "ok"] => Command::Changes { host: s(host), fail: false },
            ["storage", host, deed] => Command::Storage { host: s(host), deed: storing(deed)? },
            ["guest", vm, "crash"] => Command::Guest { vm: s(vm), deed: GuestDeed::Crash },
            ["guest", vm, "shutdown"] => Command::Guest { vm: s(vm), deed: GuestDeed::Shutdown },
            ["guests", host, "deaf"] => Command::Hearing { host: s(host), deaf: true },
            ["guests", host, "hear"] => Command::Hearing { host: s(host), deaf: false },
            ["virsh", deed, vm] => Command::Virsh { vm: s(vm), deed: virsh(deed)? },
            ["manager", m, "kill"] => Command::ManagerKill { manager: s(m) },
            ["manager", m, "start"] => Command::ManagerStart { manager: s(m) },
            ["manager", m, "kill-at", when, what, n] => Command::ManagerKillAt { manager: s(m), death: death(when, what, number(n)?)? },
            ["manager", m, "hold"] => Command::ManagerHold { manager: s(m) },
            ["manager", m, "go-on"] => Command::ManagerGoOn { manager: s(m) },
            ["clock", who, seconds] => Command::Clock { who: s(who), seconds: number(seconds.trim_start_matches('+'))? },
            _ => return Err(format!("there is no command \"{text}\"")),
        })
    }
}

fn create(vm: &str, options: &[&str]) -> Result<Command, String> {
    let (mut host, mut memory_mib, mut disks, mut store, mut image, mut network, mut start) = (String::new(), 1024, 1, String::new(), false, false, true);
    let mut rest = options.iter();
    while let Some(o) = rest.next() {
        let mut value = || rest.next().copied().ok_or_else(|| format!("{o} needs a value"));
        match *o {
            "on" => host = value()?.into(),
            "memory" => memory_mib = number(value()?)?,
            "disks" => disks = number(value()?)?,
            "store" => store = value()?.into(),
            "image" => image = true,
            "lan" => network = true,
            "stopped" => start = false,
            other => return Err(format!("there is no option \"{other}\"")),
        }
    }
    Ok(Command::Create { vm: vm.into(), host, memory_mib, disks, store, image, network, start })
}

fn hypervising(text: &str) -> Result<Hypervising, String> {
    Ok(match text {
        "up" => Hypervising::Up,
        "down" => Hypervising::Down,
        "hung" => Hypervising::Hung,
        "garbage" => Hypervising::Garbage,
        _ => return Err(format!("libvirt is up, down, hung or garbage, not \"{text}\"")),
    })
}

fn storing(text: &str) -> Result<StoreDeed, String> {
    Ok(match text {
        "ok" => StoreDeed::Ok,
        "full" => StoreDeed::Full,
        "error" => StoreDeed::Error,
        "slow" => StoreDeed::Slow,
        _ => return Err(format!("a store is ok, full, error or slow, not \"{text}\"")),
    })
}

fn virsh(text: &str) -> Result<VirshDeed, String> {
    Ok(match text {
        "start" => VirshDeed::Start,
        "destroy" => VirshDeed::Destroy,
        "undefine" => VirshDeed::Undefine,
        "edit" => VirshDeed::Edit,
        _ => return Err(format!("virsh can start, destroy, undefine or edit here, not \"{text}\"")),
    })
}

fn death(when: &str, what: &str, n: u64) -> Result<Death, String> {
    Ok(match (when, what) {
        ("before", "commit") => Death::BeforeCommit(n),
        ("after", "commit") => Death::AfterCommit(n),
        ("before", "call") => Death::BeforeCall(n),
        ("after", "call") => Death::AfterCall(n),
        _ => return Err(format!("a manager is killed before or after a commit or call, not \"{when} {what}\"")),
    })
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let on = |b: &bool, yes: &'static str, no: &'static str| if *b { yes } else { no };
        match self {
            Command::Create { vm, host, memory_mib, disks, store, image, network, start } => {
                write!(f, "vm create {vm}")?;
                if !host.is_empty() {
                    write!(f, " on {host}")?;
                }
                write!(f, " memory {memory_mib} disks {disks}")?;
                if !store.is_empty() {
                    write!(f, " store {store}")?;
                }
                write!(f, "{}{}{}", on(image, " image", ""), on(network, " lan", ""), on(start, "", " stopped"))
            }
            Command::Power { vm, action, timeout_s, then_force } => {
                write!(f, "vm {} {vm} {timeout_s}{}", word(action), on(then_force, " then-force", ""))
            }
            Command::Cpus { vm, cpus } => write!(f, "vm edit {vm} cpus {cpus}"),
            Command::Memory { vm, memory_mib } => write!(f, "vm edit {vm} memory {memory_mib}"),
            Command::Rename { vm, to } => write!(f, "vm edit {vm} name {to}"),
            Command::DiskAdd { vm, form: DiskForm::Plain } => write!(f, "vm disk-add {vm}"),
            Command::DiskAdd { vm, form } => write!(f, "vm disk-add {vm} {}", word(form)),
            Command::Disk { vm, deed } => write!(f, "vm disk {} {vm}", word(deed)),
            Command::DiskRemove { vm } => write!(f, "vm disk-remove {vm}"),
            Command::SnapshotCreate { vm, name, memory } => write!(f, "vm snapshot-create {vm} {name}{}", on(memory, " memory", "")),
            Command::SnapshotRevert { vm, name } => write!(f, "vm snapshot-revert {vm} {name}"),
            Command::SnapshotDelete { vm, name } => write!(f, "vm snapshot-delete {vm} {name}"),
            Command::Clone { vm, name, count, kind, three } => write!(f, "vm clone {vm} {name} {count} {kind}{}", on(three, " three", "")),
            Command::Deploy { template, name, count, kind, three } => {
                write!(f, "template deploy {template} {name} {count} {kind}{}", on(three, " three", ""))
            }
            Command::Template { name, vm, convert } => write!(f, "template create {name} {vm}{}", on(convert, " convert", "")),
            Command::TemplateConvert { template } => write!(f, "template convert {template}"),
            Command::TemplateDelete { template } => write!(f, "template delete {template}"),
            Command::Refresh { vm } => write!(f, "vm refresh {vm}"),
            Command::Export { vm } => write!(f, "vm export {vm}"),
            Command::NicAdd { vm } => write!(f, "vm nic-add {vm}"),
            Command::Delete { vm, force } => write!(f, "vm delete {vm}{}", on(force, " force", "")),
            Command::Batch { action, vms } => write!(f, "batch {} {}", word(action), vms.join(" ")),
            Command::ImageDelete => write!(f, "image delete"),
            Command::NetworkDelete => write!(f, "lan delete"),
            Command::StoreCreate { store, path } => write!(f, "data-store create {store} {path}"),
            Command::StoreDelete { store } => write!(f, "data-store delete {store}"),
            Command::Shares { host, fault } => write!(f, "shares {host} {}", fault.as_ref().map_or_else(|| "ok".into(), word)),
            Command::Cancel { object } => write!(f, "cancel {object}"),
            Command::HostPower { host, on: o } => write!(f, "power {host} {}", on(o, "on", "off")),
            Command::AgentKill { host } => write!(f, "agent {host} kill"),
            Command::AgentStart { host } => write!(f, "agent {host} start"),
            Command::AgentKillAt { host, write: n } => write!(f, "agent {host} kill-at {n}"),
            Command::AgentForget { host } => write!(f, "agent {host} forget"),
            Command::Network { host, to_cut, from_cut } => {
                let what = match (to_cut, from_cut) {
                    (true, true) => "cut",
                    (true, false) => "cut-to",
                    (false, true) => "cut-from",
                    (false, false) => "heal",
                };
                write!(f, "network {host} {what}")
            }
            Command::Weather { loss, twice, late, spread_ms } => write!(f, "weather {loss} {twice} {late} {spread_ms}"),
            Command::Libvirt { host, state } => write!(f, "libvirt {host} {}", format!("{state:?}").to_lowercase()),
            Command::Starts { host, fail } => write!(f, "starts {host} {}", on(fail, "fail", "ok")),
            Command::Changes { host, fail } => write!(f, "changes {host} {}", on(fail, "fail", "ok")),
            Command::Storage { host, deed } => write!(f, "storage {host} {}", format!("{deed:?}").to_lowercase()),
            Command::Guest { vm, deed } => write!(f, "guest {vm} {}", format!("{deed:?}").to_lowercase()),
            Command::Hearing { host, deaf } => write!(f, "guests {host} {}", on(deaf, "deaf", "hear")),
            Command::Virsh { vm, deed } => write!(f, "virsh {} {vm}", format!("{deed:?}").to_lowercase()),
            Command::ManagerKill { manager } => write!(f, "manager {manager} kill"),
            Command::ManagerStart { manager } => write!(f, "manager {manager} start"),
            Command::ManagerKillAt { manager, death } => {
                let (when, what, n) = match death {
                    Death::BeforeCommit(n) => ("before", "commit", n),
                    Death::AfterCommit(n) => ("after", "commit", n),
                    Death::BeforeCall(n) => ("before", "call", n),
                    Death::AfterCall(n) => ("after", "call", n),
                };
                write!(f, "manager {manager} kill-at {when} {what} {n}")
            }
            Command::ManagerHold { manager } => write!(f, "manager {manager} hold"),
            Command::ManagerGoOn { manager } => write!(f, "manager {manager} go-on"),
            Command::Clock { who, seconds } => write!(f, "clock {who} {seconds}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Command;

    #[test]
    fn what_is_printed_is_read_again() {
        for text in [
            "vm create a on h1 memory 512 disks 2 image lan stopped",
            "vm create a memory 512 disks 1 store gold",
            "data-store create gold /srv/gold",
            "shares h1 read_only",
            "shares h1 ok",
            "vm shutdown a 30 then-force",
            "vm force_off a",
            "vm edit a cpus 4",
            "vm export a",
            "vm disk-add a",
            "vm disk-add a nonpersistent",
            "vm disk keep a",
            "vm snapshot-create a one",
            "vm snapshot-create a one memory",
            "vm delete a force",
            "vm clone a b 1 full",
            "template deploy t c-{n} 3 linked three",
            "template create t a convert",
            "template delete t",
            "vm refresh c-1",
            "batch start a b",
            "cancel batch",
            "network h1 cut-from",
            "weather 10 20 30 40",
            "libvirt h1 garbage",
            "storage h2 slow",
            "virsh undefine a",
            "manager m1 kill-at after commit 3",
            "clock h1 -3600",
        ] {
            let c = Command::parse(text).unwrap();
            assert_eq!(Command::parse(&c.to_string()), Ok(c), "{text}");
        }
        assert!(Command::parse("vm dance a").is_err());
    }
}
