//! One identifier type for each noun, in one list: passing a host's id where a VM's is wanted does not compile.
//!
//! Identity is always a UUID; names are labels that people may change (`design.md` section 4).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(s: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(s).map(Self)
            }
        }

        impl From<Uuid> for $name {
            fn from(u: Uuid) -> Self {
                Self(u)
            }
        }
    )+};
}

ids! {
    /// A virtual machine; also the libvirt domain's UUID.
    VmId,
    /// A disk of a VM.
    DiskId,
    /// A layer of a VM's disks; stands in the names of its files.
    LayerId,
    /// A snapshot of a VM.
    SnapshotId,
    /// A network interface of a VM.
    NicId,
    /// A physical server that runs VMs; also stands in its certificate.
    HostId,
    /// An image or ISO in the library.
    ImageId,
    /// A network that VMs can be connected to.
    NetworkId,
    /// A data store: a place that carries disks of VMs.
    DataStoreId,
    /// A long operation.
    TaskId,
    /// A person or service with an account.
    UserId,
    /// An API token.
    TokenId,
    /// A signed-in session.
    SessionId,
    /// A role granted to a user over a scope.
    RoleBindingId,
    /// A one-time permission for a host to join.
    JoinTokenId,
}
