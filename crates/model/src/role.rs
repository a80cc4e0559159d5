//! Who may do what: privileges, the roles that bundle them, and the scopes over which a role is granted.
//!
//! Enforcement is in one place, `manager::auth`; lists are filtered in the query by the same scopes.

use crate::{HostId, RoleBindingId, UserId, VmId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The right to do one kind of thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Privilege {
    /// See VMs and their statistics.
    VmRead,
    /// Start, stop, pause, hibernate, reboot.
    VmOperate,
    /// Open consoles and see the screen.
    VmConsole,
    /// Change the specification.
    VmEdit,
    /// Make VMs (they become the caller's own).
    VmCreate,
    /// Remove VMs.
    VmDelete,
    /// See hosts.
    HostRead,
    /// Add, change and remove hosts.
    HostManage,
    /// See images.
    ImageRead,
    /// Add and remove images.
    ImageManage,
    /// See networks.
    NetworkRead,
    /// Add and remove networks.
    NetworkManage,
    /// See and manage accounts, roles and everybody's tokens.
    UserManage,
    /// See the audit records.
    AuditRead,
    /// See figures of the whole installation.
    SystemRead,
}

/// A bundle of privileges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything.
    Admin,
    /// Everything about hosts, VMs, images and networks; no accounts, no audit.
    Operator,
    /// Makes and uses VMs.
    User,
    /// Sees, changes nothing.
    Viewer,
    /// Sees, and reads the audit records.
    Auditor,
}

impl Role {
    /// Every role.
    pub const ALL: [Role; 5] = [Role::Admin, Role::Operator, Role::User, Role::Viewer, Role::Auditor];

    /// Whether the role contains `p`.
    #[must_use]
    pub fn has(self, p: Privilege) -> bool {
        use Privilege as P;
        let reads = matches!(p, P::VmRead | P::HostRead | P::ImageRead | P::NetworkRead | P::SystemRead);
        match self {
            Role::Admin => true,
            Role::Operator => !matches!(p, P::UserManage | P::AuditRead),
            Role::User => matches!(p, P::VmRead | P::VmOperate | P::VmConsole | P::VmEdit | P::VmCreate | P::VmDelete | P::ImageRead | P::NetworkRead),
            Role::Viewer => reads,
            Role::Auditor => reads || p == P::AuditRead,
        }
    }

    /// What the role is for, in words.
    #[must_use]
    pub fn description(self) -> &'static str {
        match self {
            Role::Admin => "Everything.",
            Role::Operator => "Everything about hosts, VMs, images and networks; no accounts, no audit.",
            Role::User => "Makes and uses VMs; grant it with scope own for people who help themselves.",
            Role::Viewer => "Sees hosts, VMs, images and networks; changes nothing.",
            Role::Auditor => "Sees what a viewer sees, and reads the audit records.",
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Role::Admin => "admin",
            Role::Operator => "operator",
            Role::User => "user",
            Role::Viewer => "viewer",
            Role::Auditor => "auditor",
        })
    }
}

/// Over what a role is granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "scope", content = "id", rename_all = "snake_case")]
pub enum Scope {
    /// Everything.
    All,
    /// Objects that the user made.
    Own,
    /// One host and the VMs on it.
    Host(HostId),
    /// One VM.
    Vm(VmId),
}

impl Scope {
    /// Whether an object lies in the scope. Images and networks have no owner: they are seen by everybody who has
    /// the privilege in any scope, and changed only in scope `All`.
    #[must_use]
    pub fn covers(&self, user: UserId, target: &Target) -> bool {
        match (self, target) {
            (Scope::All, _) | (_, Target::Anywhere) => true,
            (Scope::Own, Target::Vm { owner, .. }) => *owner == user,
            (Scope::Host(h), Target::Vm { host, .. }) => *host == Some(*h),
            (Scope::Host(h), Target::Host(t)) => h == t,
            (Scope::Vm(v), Target::Vm { id, .. }) => v == id,
            _ => false,
        }
    }
}

/// What is about to be touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Something that every scope covers: lists (which are filtered), creation of own objects, shared images.
    Anywhere,
    /// Something that only scope `All` covers.
    Installation,
    /// A VM.
    Vm {
        /// The VM.
        id: VmId,
        /// Who made it.
        owner: UserId,
        /// Where it is.
        host: Option<HostId>,
    },
    /// A host.
    Host(HostId),
}

/// A role granted to a user over a scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleBinding {
    /// Identity.
    pub id: RoleBindingId,
    /// To whom.
    pub user: UserId,
    /// Which role.
    pub role: Role,
    /// Over what.
    pub scope: Scope,
}

/// Which rows of a list a caller may see; the store turns it into a condition of the query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visible {
    /// Everything; the rest does not matter then.
    pub all: bool,
    /// Objects of this owner.
    pub owner: Option<UserId>,
    /// Objects on these hosts, and the hosts themselves.
    pub hosts: Vec<HostId>,
    /// These VMs.
    pub vms: Vec<VmId>,
}

impl Visible {
    /// Sees everything.
    #[must_use]
    pub fn everything() -> Visible {
        Visible { all: true, owner: None, hosts: Vec::new(), vms: Vec::new() }
    }

    /// What `bindings` let `user` see with privilege `p`.
    #[must_use]
    pub fn from_bindings(user: UserId, bindings: &[(Role, Scope)], p: Privilege) -> Visible {
        let mut v = Visible { all: false, owner: None, hosts: Vec::new(), vms: Vec::new() };
        for (_, scope) in bindings.iter().filter(|(r, _)| r.has(p)) {
            match scope {
                Scope::All => v.all = true,
                Scope::Own => v.owner = Some(user),
                Scope::Host(h) => v.hosts.push(*h),
                Scope::Vm(i) => v.vms.push(*i),
            }
        }
        v
    }

    /// Whether anything at all may be seen.
    #[must_use]
    pub fn any(&self) -> bool {
        self.all || self.owner.is_some() || !self.hosts.is_empty() || !self.vms.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn scopes_cover_what_they_say() {
        let me = UserId(Uuid::from_u128(1));
        let other = UserId(Uuid::from_u128(2));
        let host = HostId(Uuid::from_u128(3));
        let vm = |owner, host| Target::Vm { id: VmId(Uuid::from_u128(4)), owner, host };
        assert!(Scope::All.covers(me, &Target::Installation));
        assert!(Scope::Own.covers(me, &vm(me, None)) && !Scope::Own.covers(me, &vm(other, Some(host))));
        assert!(Scope::Host(host).covers(me, &vm(other, Some(host))) && !Scope::Host(host).covers(me, &vm(other, None)));
        assert!(Scope::Vm(VmId(Uuid::from_u128(4))).covers(me, &vm(other, None)));
        assert!(!Scope::Own.covers(me, &Target::Installation) && !Scope::Own.covers(me, &Target::Host(host)));
    }

    #[test]
    fn roles_separate_duties() {
        assert!(!Role::Operator.has(Privilege::UserManage) && !Role::Operator.has(Privilege::AuditRead));
        assert!(!Role::Viewer.has(Privilege::VmConsole), "a console types");
        assert!(Role::Auditor.has(Privilege::AuditRead) && !Role::Auditor.has(Privilege::VmOperate));
        assert!(!Role::User.has(Privilege::HostRead), "tenants never see hosts");
    }
}
