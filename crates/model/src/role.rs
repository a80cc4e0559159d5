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
    /// See data stores.
    DataStoreRead,
    /// Add, change and remove data stores.
    DataStoreManage,
    /// See accounts and who has which role.
    UserRead,
    /// Make accounts; what they may do is another privilege.
    UserCreate,
    /// Decide over accounts: enable and disable, set passwords, grant and take back roles, everybody's tokens.
    UserManage,
    /// See the audit records.
    AuditRead,
    /// Set for how long audit records are kept. Nobody can remove single ones.
    AuditManage,
    /// See figures of the whole installation.
    SystemRead,
}

/// A bundle of privileges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything.
    Admin,
    /// Everything about hosts, VMs, images, networks and data stores; no accounts, no audit.
    Operator,
    /// Makes and uses VMs.
    User,
    /// Sees, changes nothing.
    Viewer,
    /// Sees, and reads the audit records.
    Auditor,
    /// Of three separated administrators: hosts, images, networks, data stores, and accounts without rights.
    SystemAdmin,
    /// Of three separated administrators: who may do what.
    SecurityAdmin,
    /// Of three separated administrators: the audit records.
    AuditAdmin,
}

/// How an installation is administered. Chosen at the first start and never changed after it, because a super-user who
/// once was could have made whatever the other mode forbids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Administration {
    /// Accounts with the role `admin` may do everything.
    #[default]
    OneAdmin,
    /// Three administrators, none of whom may do the work of another (三员分立, `reliability.md` 4.2); nobody may do
    /// everything.
    ThreeRoles,
}

impl Administration {
    /// Both.
    pub const ALL: [Administration; 2] = [Administration::OneAdmin, Administration::ThreeRoles];

    /// Whether `role` can be granted in this mode.
    #[must_use]
    pub fn knows(self, role: Role) -> bool {
        match self {
            Administration::OneAdmin => !role.is_separated(),
            Administration::ThreeRoles => !matches!(role, Role::Admin | Role::Auditor),
        }
    }

    /// The roles of which an account must remain that can sign in.
    #[must_use]
    pub fn vital(self) -> &'static [Role] {
        match self {
            Administration::OneAdmin => &[Role::Admin],
            Administration::ThreeRoles => &Role::SEPARATED,
        }
    }
}

impl std::fmt::Display for Administration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Administration::OneAdmin => "one-admin",
            Administration::ThreeRoles => "three-roles",
        })
    }
}

impl std::str::FromStr for Administration {
    type Err = String;

    fn from_str(text: &str) -> Result<Administration, String> {
        let found = Administration::ALL.into_iter().find(|a| a.to_string() == text);
        found.ok_or_else(|| "must be one-admin or three-roles".into())
    }
}

impl Privilege {
    /// Every privilege.
    pub const ALL: [Privilege; 20] = [
        Privilege::VmRead,
        Privilege::VmOperate,
        Privilege::VmConsole,
        Privilege::VmEdit,
        Privilege::VmCreate,
        Privilege::VmDelete,
        Privilege::HostRead,
        Privilege::HostManage,
        Privilege::ImageRead,
        Privilege::ImageManage,
        Privilege::NetworkRead,
        Privilege::NetworkManage,
        Privilege::DataStoreRead,
        Privilege::DataStoreManage,
        Privilege::UserRead,
        Privilege::UserCreate,
        Privilege::UserManage,
        Privilege::AuditRead,
        Privilege::AuditManage,
        Privilege::SystemRead,
    ];
}

impl Role {
    /// Every role.
    pub const ALL: [Role; 8] = [Role::Admin, Role::Operator, Role::User, Role::Viewer, Role::Auditor, Role::SystemAdmin, Role::SecurityAdmin, Role::AuditAdmin];
    /// The three of which nobody holds two.
    pub const SEPARATED: [Role; 3] = [Role::SystemAdmin, Role::SecurityAdmin, Role::AuditAdmin];

    /// Whether it is one of the three of which nobody holds two.
    #[must_use]
    pub fn is_separated(self) -> bool {
        Role::SEPARATED.contains(&self)
    }

    /// Whether the role contains `p`.
    #[must_use]
    pub fn has(self, p: Privilege) -> bool {
        use Privilege as P;
        let reads = matches!(p, P::VmRead | P::HostRead | P::ImageRead | P::NetworkRead | P::DataStoreRead | P::SystemRead);
        match self {
            Role::Admin => true,
            Role::Operator => !matches!(p, P::UserRead | P::UserCreate | P::UserManage | P::AuditRead | P::AuditManage),
            Role::User => {
                matches!(p, P::VmRead | P::VmOperate | P::VmConsole | P::VmEdit | P::VmCreate | P::VmDelete | P::ImageRead | P::NetworkRead | P::DataStoreRead)
            }
            Role::Viewer => reads,
            Role::Auditor => reads || p == P::AuditRead,
            // No VM: what guests hold is not the business of who runs the machines.
            Role::SystemAdmin => matches!(
                p,
                P::HostRead
                    | P::HostManage
                    | P::ImageRead
                    | P::ImageManage
                    | P::NetworkRead
                    | P::NetworkManage
                    | P::DataStoreRead
                    | P::DataStoreManage
                    | P::UserRead
                    | P::UserCreate
                    | P::SystemRead
            ),
            Role::SecurityAdmin => matches!(p, P::UserRead | P::UserManage),
            Role::AuditAdmin => matches!(p, P::AuditRead | P::AuditManage),
        }
    }

    /// What the role is for, in words.
    #[must_use]
    pub fn description(self) -> &'static str {
        match self {
            Role::Admin => "Everything.",
            Role::Operator => "Everything about hosts, VMs, images, networks and data stores; no accounts, no audit.",
            Role::User => "Makes and uses VMs; grant it with scope own for people who help themselves.",
            Role::Viewer => "Sees hosts, VMs, images, networks and data stores; changes nothing.",
            Role::Auditor => "Sees what a viewer sees, and reads the audit records.",
            Role::SystemAdmin => "Of three administrators: hosts, images, networks, data stores, and accounts without rights; no VMs.",
            Role::SecurityAdmin => "Of three administrators: enables accounts, grants roles, sets passwords; nothing else.",
            Role::AuditAdmin => "Of three administrators: reads and exports the audit records, and sets for how long they are kept.",
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
            Role::SystemAdmin => "system_admin",
            Role::SecurityAdmin => "security_admin",
            Role::AuditAdmin => "audit_admin",
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
    /// Objects that the user made, while they are on one host: what `own` and `host` have in common.
    OwnOnHost(HostId),
}

impl Scope {
    /// What lies in both scopes; none: nothing does. A VM may move, so "this VM, while it is on that host" is for the
    /// caller of this function to look up: it is answered as the VM.
    #[must_use]
    pub fn and(self, other: Scope) -> Option<Scope> {
        use Scope::{All, Host, Own, OwnOnHost, Vm};
        match (self, other) {
            (All, s) | (s, All) => Some(s),
            (a, b) if a == b => Some(a),
            (Vm(_), Vm(_)) => None,
            (Vm(v), _) | (_, Vm(v)) => Some(Vm(v)),
            (Own, Host(h)) | (Host(h), Own) | (Own, OwnOnHost(h)) | (OwnOnHost(h), Own) => Some(OwnOnHost(h)),
            (Host(a), OwnOnHost(b)) | (OwnOnHost(b), Host(a)) if a == b => Some(OwnOnHost(b)),
            _ => None,
        }
    }

    /// Whether an object lies in the scope. Images and networks have no owner: they are seen by everybody who has
    /// the privilege in any scope, and changed only in scope `All`.
    #[must_use]
    pub fn covers(&self, user: UserId, target: &Target) -> bool {
        match (self, target) {
            (Scope::All, _) | (_, Target::Anywhere) => true,
            (Scope::Own, Target::Vm { owner, .. }) => *owner == user,
            (Scope::Host(h), Target::Vm { host, .. }) => *host == Some(*h),
            (Scope::OwnOnHost(h), Target::Vm { owner, host, .. }) => *owner == user && *host == Some(*h),
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
    /// Objects of this owner, while they are on these hosts.
    pub owner_on: Option<(UserId, Vec<HostId>)>,
    /// Objects on these hosts, and the hosts themselves.
    pub hosts: Vec<HostId>,
    /// These VMs.
    pub vms: Vec<VmId>,
    /// Of events: all about objects of these kinds, which have no owner.
    pub kinds: Vec<&'static str>,
    /// Of events: those about VMs on these hosts, and not those about the hosts.
    pub vm_hosts: Vec<HostId>,
}

impl Visible {
    /// Sees everything.
    #[must_use]
    pub fn everything() -> Visible {
        Visible { all: true, owner: None, owner_on: None, hosts: Vec::new(), vms: Vec::new(), kinds: Vec::new(), vm_hosts: Vec::new() }
    }

    /// What `bindings` let `user` see with privilege `p`.
    #[must_use]
    pub fn from_bindings(user: UserId, bindings: &[(Role, Scope)], p: Privilege) -> Visible {
        let mut v = Visible { all: false, owner: None, owner_on: None, hosts: Vec::new(), vms: Vec::new(), kinds: Vec::new(), vm_hosts: Vec::new() };
        for (_, scope) in bindings.iter().filter(|(r, _)| r.has(p)) {
            match scope {
                Scope::All => v.all = true,
                Scope::Own => v.owner = Some(user),
                Scope::Host(h) => v.hosts.push(*h),
                Scope::OwnOnHost(h) => v.owner_on.get_or_insert_with(|| (user, Vec::new())).1.push(*h),
                Scope::Vm(i) => v.vms.push(*i),
            }
        }
        v
    }

    /// Whether anything at all may be seen.
    #[must_use]
    pub fn any(&self) -> bool {
        self.all
            || !self.kinds.is_empty()
            || !self.vm_hosts.is_empty()
            || self.owner.is_some()
            || self.owner_on.is_some()
            || !self.hosts.is_empty()
            || !self.vms.is_empty()
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
    fn what_two_scopes_have_in_common_lies_in_both() {
        let (me, other) = (UserId(Uuid::from_u128(1)), UserId(Uuid::from_u128(2)));
        let (h1, h2) = (HostId(Uuid::from_u128(3)), HostId(Uuid::from_u128(4)));
        let scopes = [Scope::All, Scope::Own, Scope::Host(h1), Scope::Host(h2), Scope::OwnOnHost(h1), Scope::OwnOnHost(h2)];
        let vm = |owner, host| Target::Vm { id: VmId(Uuid::from_u128(9)), owner, host };
        let targets = [vm(me, Some(h1)), vm(me, Some(h2)), vm(me, None), vm(other, Some(h1)), vm(other, Some(h2)), Target::Host(h1), Target::Host(h2)];
        for (a, b) in scopes.iter().flat_map(|a| scopes.iter().map(move |b| (*a, *b))) {
            for t in &targets {
                let both = a.covers(me, t) && b.covers(me, t);
                assert_eq!(a.and(b).is_some_and(|s| s.covers(me, t)), both, "{a:?} and {b:?} over {t:?}");
            }
        }
    }

    #[test]
    fn three_administrators_share_nothing_that_changes() {
        for p in Privilege::ALL.into_iter().filter(|p| *p != Privilege::UserRead) {
            assert!(Role::SEPARATED.iter().filter(|r| r.has(p)).count() <= 1, "{p:?}");
        }
        for r in Role::SEPARATED {
            assert!(!r.has(Privilege::VmRead) && !r.has(Privilege::VmConsole), "{r}");
            assert!(Administration::ThreeRoles.knows(r) && !Administration::OneAdmin.knows(r));
        }
        assert!(!Administration::ThreeRoles.knows(Role::Admin) && !Administration::ThreeRoles.knows(Role::Auditor));
        assert_eq!("three-roles".parse(), Ok(Administration::ThreeRoles));
        assert_eq!(Privilege::ALL.iter().collect::<std::collections::BTreeSet<_>>().len(), Privilege::ALL.len());
    }

    #[test]
    fn roles_separate_duties() {
        assert!(!Role::Operator.has(Privilege::UserManage) && !Role::Operator.has(Privilege::AuditRead));
        assert!(!Role::Viewer.has(Privilege::VmConsole), "a console types");
        assert!(Role::Auditor.has(Privilege::AuditRead) && !Role::Auditor.has(Privilege::VmOperate));
        assert!(!Role::User.has(Privilege::HostRead), "tenants never see hosts");
    }
}
