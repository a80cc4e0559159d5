//! Data stores: the managed places that carry disks of VMs (STO-09 to STO-12), and what each kind of them can do.
//!
//! A storage resource (a server, an array, a host) shows storage devices (an export, a LUN, a folder); one device becomes
//! one data store. What a kind can do is data here: interface, command line and placement read the same flags, and the table
//! of the guide is made from them. It must never do I/O: hosts look, and tell what they saw.

use crate::error::{Check, Error};
use crate::{DataStoreId, HostId, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Name of the file by which a shared folder is recognised (`reliability.md` S12).
pub const SIGNATURE_FILE: &str = "virga-data-store.json";
/// Longest path of a shared folder in bytes; disks' names come after it.
pub const PATH_BYTES_MAX: usize = 200;
/// Data stores of an installation, other than the hosts' local ones.
pub const STORES_MAX: usize = 256;
/// The word by which people ask for the local store of whichever host a VM gets; no data store may have it as its name.
pub const LOCAL: &str = "local";
/// Folders that belong to the operating system: nothing below them becomes a data store.
const SYSTEM_FOLDERS: [&str; 13] = ["/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/proc", "/root", "/run", "/sbin", "/sys", "/usr"];

/// What a data store is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum DataStoreSpec {
    /// The folder of one host in which its agent keeps disks; made by itself when the host is first seen.
    Local,
    /// A folder that several hosts see under the same path: a mount of NFS, CephFS, OCFS2 or GFS2.
    SharedDirectory {
        /// Absolute path on every host.
        path: String,
        /// What lies behind the mount.
        #[serde(default)]
        backing: Backing,
    },
}

/// What lies behind a shared folder. It decides what the rules allow there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Backing {
    /// A file server (NFS, CephFS): file access over the network.
    #[default]
    Nas,
    /// A cluster file system (OCFS2, GFS2) on a LUN that all hosts reach: a virtualised SAN data store.
    San,
}

/// The kind of a data store, as its features, rules and preference depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DataStoreKind {
    /// A folder of one host.
    Local,
    /// A shared folder on a file server.
    SharedNas,
    /// A shared folder on a cluster file system over a SAN.
    SharedSan,
}

/// What data stores of a kind can do. Every refusal and every table reads these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Capabilities {
    /// Several hosts see it, so that VMs can move between them without their disks (STO-02).
    pub shared: bool,
    /// It holds files, so that one data store carries many disks (STO-18).
    pub virtualized: bool,
    /// Disks that take space as it is written (thin).
    pub thin: bool,
    /// Disks whose space is reserved and zeroed at the first write (DSK-04).
    pub lazy_thick: bool,
    /// Snapshots, also of running VMs.
    pub snapshot: bool,
    /// Linked clones and images that many disks stand on.
    pub linked_clone: bool,
    /// Disks can grow.
    pub resize: bool,
    /// Disks can move to and from it while their VM runs.
    pub storage_migration: bool,
    /// Content can be overwritten when it is deleted; else a secure delete is a normal one (VM-29).
    pub secure_delete: bool,
    /// Shared disks, which several VMs write at once.
    pub shared_disk: bool,
    /// A whole device can be given to a VM (RDM-01).
    pub raw_device_mapping: bool,
}

impl DataStoreKind {
    /// Every kind.
    pub const ALL: [DataStoreKind; 3] = [DataStoreKind::Local, DataStoreKind::SharedNas, DataStoreKind::SharedSan];

    /// What data stores of this kind can do.
    #[must_use]
    pub fn capabilities(self) -> Capabilities {
        let files = Capabilities {
            shared: true,
            virtualized: true,
            thin: true,
            lazy_thick: true,
            snapshot: true,
            linked_clone: true,
            resize: true,
            storage_migration: true,
            secure_delete: true,
            shared_disk: true,
            raw_device_mapping: false,
        };
        match self {
            DataStoreKind::Local => Capabilities { shared: false, ..files },
            DataStoreKind::SharedSan => files,
            // DSK-04: no lazy thick on NAS; VM-29: only normal delete there.
            DataStoreKind::SharedNas => Capabilities { lazy_thick: false, secure_delete: false, ..files },
        }
    }

    /// Place in the order of preference (STO-04): 1 is chosen first. SAN, block pool (2, none yet), local, NAS.
    #[must_use]
    pub fn preference(self) -> u8 {
        match self {
            DataStoreKind::SharedSan => 1,
            DataStoreKind::Local => 3,
            DataStoreKind::SharedNas => 4,
        }
    }
}

impl std::fmt::Display for DataStoreKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            DataStoreKind::Local => "local",
            DataStoreKind::SharedNas => "shared_nas",
            DataStoreKind::SharedSan => "shared_san",
        })
    }
}

impl DataStoreSpec {
    /// The kind.
    #[must_use]
    pub fn kind(&self) -> DataStoreKind {
        match self {
            DataStoreSpec::Local => DataStoreKind::Local,
            DataStoreSpec::SharedDirectory { backing: Backing::Nas, .. } => DataStoreKind::SharedNas,
            DataStoreSpec::SharedDirectory { backing: Backing::San, .. } => DataStoreKind::SharedSan,
        }
    }

    /// # Errors
    /// [`crate::ErrorCode::Invalid`] with every violation.
    pub fn check(&self) -> Result<(), Error> {
        let mut c = Check::new();
        match self {
            DataStoreSpec::Local => {}
            DataStoreSpec::SharedDirectory { path, .. } => {
                let parts = || path.split('/').skip(1);
                let plain = path.starts_with('/') && parts().all(|p| !p.is_empty() && p != "." && p != "..");
                let text = path.len() <= PATH_BYTES_MAX && !path.chars().any(|x| x.is_control() || matches!(x, '"' | '\\' | ',' | ':'));
                c.that(
                    plain && text,
                    "path",
                    format!("must be an absolute path of at most {PATH_BYTES_MAX} bytes without . and .. and without commas, colons, quotes and backslashes, e.g. /srv/virga/gold"),
                );
                let of_system = SYSTEM_FOLDERS.iter().any(|s| path == s || path.strip_prefix(s).is_some_and(|r| r.starts_with('/')));
                c.that(!of_system, "path", "belongs to the operating system; mount the storage elsewhere, e.g. below /srv");
            }
        }
        c.done()
    }
}

/// How far the making or the end of a data store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DataStoreState {
    /// A host is asked to sign it.
    Creating,
    /// It carries its signature.
    Ready,
    /// It is to go; nothing was removed yet.
    Deleting,
    /// A host was told to remove the signature.
    Dropping,
    /// The signature is gone; the row is about to go.
    Dropped,
}

impl std::fmt::Display for DataStoreState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            DataStoreState::Creating => "creating",
            DataStoreState::Ready => "ready",
            DataStoreState::Deleting => "deleting",
            DataStoreState::Dropping => "dropping",
            DataStoreState::Dropped => "dropped",
        })
    }
}

/// A data store as the platform knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataStore {
    /// Identity; also in its signature.
    pub id: DataStoreId,
    /// Label for people, unique among data stores.
    pub name: String,
    /// What people want to remember about it.
    pub description: String,
    /// What it is made of.
    pub spec: DataStoreSpec,
    /// The host of a local one.
    pub host: Option<HostId>,
    /// No new disks are put here (maintenance mode).
    pub maintenance: bool,
    /// How far its making or its end is.
    pub state: DataStoreState,
    /// Grows with each change by people; the ETag.
    pub generation: i64,
    /// When it was made.
    pub created_at: Time,
}

impl DataStore {
    /// Why no new disk may be put here; none: nothing against it.
    #[must_use]
    pub fn closed(&self) -> Option<&'static str> {
        match self.state {
            DataStoreState::Creating => Some("is not ready yet"),
            DataStoreState::Deleting | DataStoreState::Dropping | DataStoreState::Dropped => Some("is being removed"),
            DataStoreState::Ready if self.maintenance => Some("is in maintenance"),
            DataStoreState::Ready => None,
        }
    }
}

/// Why a host cannot use a data store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StoreProblem {
    /// There is no signature: not mounted, or not made yet.
    Missing,
    /// Another data store lies there.
    Wrong,
    /// It cannot be written.
    ReadOnly,
    /// It does not answer.
    Stalled,
    /// Looking at it failed.
    Failed,
}

/// What a host finds when it looks at a data store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StoreFact {
    /// The data store.
    pub store: DataStoreId,
    /// Why the host cannot use it; none: it is there, it is the right one, and it can be written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<StoreProblem>,
    /// The problem in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// Bytes that it has.
    #[serde(default)]
    pub total_bytes: u64,
    /// Bytes that are free.
    #[serde(default)]
    pub free_bytes: u64,
    /// Its file system, e.g. `nfs`, as the host names it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub file_system: String,
}

impl StoreFact {
    /// A data store that this host cannot use now.
    #[must_use]
    pub fn lost(store: DataStoreId, problem: StoreProblem, why: impl Into<String>) -> StoreFact {
        StoreFact { store, problem: Some(problem), why: why.into(), total_bytes: 0, free_bytes: 0, file_system: String::new() }
    }

    /// Whether the host can use it.
    #[must_use]
    pub fn reachable(&self) -> bool {
        self.problem.is_none()
    }
}

/// The content of [`SIGNATURE_FILE`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// The data store that this folder is.
    pub id: DataStoreId,
    /// Its name when it was made, for people who find the file.
    pub name: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_shared_folders_are_checked() {
        let check = |p: &str| DataStoreSpec::SharedDirectory { path: p.into(), backing: Backing::Nas }.check();
        for good in ["/srv/virga/gold", "/mnt/a b", "/usrlocal", "/rooted"] {
            assert!(check(good).is_ok(), "{good}");
        }
        let long = format!("/{}", "x".repeat(PATH_BYTES_MAX));
        for bad in ["", "/", "srv", "/srv/", "/srv//a", "/srv/../etc", "/srv/.", "/etc", "/etc/x", "/usr/share/x", "/srv/a\nb", "/srv/a,b", "/srv/a:b", &long] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_guide_shows_what_each_kind_can_do() {
        let guide = include_str!("../../../docs/guide/data-stores.md");
        let table = guide.split("<!-- capabilities -->").nth(1).and_then(|t| t.split("<!-- end -->").next()).expect("the marked table");
        let names: Vec<String> =
            table.lines().find(|l| l.starts_with("| Kind")).unwrap().split('|').skip(2).map(|c| c.trim().to_string()).filter(|c| !c.is_empty()).collect();
        for kind in DataStoreKind::ALL {
            let can = serde_json::to_value(kind.capabilities()).unwrap();
            assert_eq!(can.as_object().unwrap().len(), names.len(), "every flag has a column");
            let cells: Vec<&str> = names.iter().map(|n| if can[n].as_bool().expect(n) { "yes" } else { "-" }).collect();
            let line = format!("| `{kind}` | {} |", cells.join(" | "));
            assert!(table.lines().any(|l| l == line), "docs/guide/data-stores.md should say: {line}");
        }
    }

    #[test]
    fn rules_by_kind_hold() {
        assert!(!DataStoreKind::Local.capabilities().shared, "STO-02");
        for k in DataStoreKind::ALL {
            let c = k.capabilities();
            let nas = k == DataStoreKind::SharedNas;
            assert_eq!((c.lazy_thick, c.secure_delete), (!nas, !nas), "DSK-04, VM-29: {k}");
        }
        let mut order = DataStoreKind::ALL;
        order.sort_by_key(|k| k.preference());
        assert_eq!(order, [DataStoreKind::SharedSan, DataStoreKind::Local, DataStoreKind::SharedNas], "STO-04");
    }
}
