//! What must be answered, worked out from the authorization table by rules that are written down here a second time.
//! Nothing of `Role`, `Scope` or `Caller` is used: who changes a rule there must say so here.

use virga_manager::http::authz::{Access, Over};

/// What each role allows, in the words of the API.
const ROLES: [(&str, &str); 8] = [
    (
        "admin",
        "vm_read vm_operate vm_console vm_edit vm_create vm_delete host_read host_manage image_read image_manage network_read network_manage data_store_read data_store_manage \
         user_read user_create user_manage audit_read audit_manage system_read",
    ),
    (
        "operator",
        "vm_read vm_operate vm_console vm_edit vm_create vm_delete host_read host_manage image_read image_manage network_read network_manage data_store_read data_store_manage system_read",
    ),
    ("user", "vm_read vm_operate vm_console vm_edit vm_create vm_delete image_read network_read data_store_read"),
    ("viewer", "vm_read host_read image_read network_read data_store_read system_read"),
    ("auditor", "vm_read host_read image_read network_read data_store_read system_read audit_read"),
    (
        "system_admin",
        "host_read host_manage image_read image_manage network_read network_manage data_store_read data_store_manage user_read user_create system_read",
    ),
    ("security_admin", "user_read user_manage"),
    ("audit_admin", "audit_read audit_manage"),
];

/// Whether a role allows something.
pub fn allows(role: &str, privilege: &str) -> bool {
    let words = ROLES.iter().find(|(r, _)| *r == role).unwrap_or_else(|| panic!("the oracle does not know the role {role}")).1;
    words.split_whitespace().any(|w| w == privilege)
}

/// A scope, in a world of two hosts and one VM that is granted singly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    All,
    Own,
    FirstHost,
    SingleVm,
    OwnOnFirstHost,
}

pub const REACHES: [Reach; 5] = [Reach::All, Reach::Own, Reach::FirstHost, Reach::SingleVm, Reach::OwnOnFirstHost];

/// A VM as it matters for rights. The single VM is somebody else's, on the second host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VmFacts {
    pub mine: bool,
    pub host: u8,
    pub single: bool,
}

/// Every kind of VM that there is.
pub const VMS: [VmFacts; 5] = [
    VmFacts { mine: true, host: 1, single: false },
    VmFacts { mine: true, host: 2, single: false },
    VmFacts { mine: false, host: 1, single: false },
    VmFacts { mine: false, host: 2, single: false },
    VmFacts { mine: false, host: 2, single: true },
];

impl Reach {
    fn holds(self, vm: VmFacts) -> bool {
        match self {
            Reach::All => true,
            Reach::Own => vm.mine,
            Reach::FirstHost => vm.host == 1,
            Reach::SingleVm => vm.single,
            Reach::OwnOnFirstHost => vm.mine && vm.host == 1,
        }
    }

    fn holds_host(self, host: u8) -> bool {
        self == Reach::All || (self == Reach::FirstHost && host == 1)
    }
}

/// What a principal has: roles over scopes, cut down by the limits of a token.
#[derive(Clone, Debug, Default)]
pub struct Rights {
    pub grants: Vec<(&'static str, Reach)>,
    pub role_limit: Option<&'static str>,
    pub reach_limit: Option<Reach>,
}

impl Rights {
    /// The scopes of each grant with the privilege: all of them must hold.
    fn with(&self, privilege: &str) -> impl Iterator<Item = [Reach; 2]> {
        let limit = self.reach_limit.unwrap_or(Reach::All);
        let role_ok = self.role_limit.is_none_or(|r| allows(r, privilege));
        self.grants.iter().filter(|(r, _)| role_ok && allows(r, privilege)).map(move |(_, reach)| [*reach, limit]).collect::<Vec<_>>().into_iter()
    }

    pub fn on_vm(&self, privilege: &str, vm: VmFacts) -> bool {
        self.with(privilege).any(|both| both.iter().all(|r| r.holds(vm)))
    }

    pub fn on_host(&self, privilege: &str, host: u8) -> bool {
        self.with(privilege).any(|both| both.iter().all(|r| r.holds_host(host)))
    }

    pub fn everywhere(&self, privilege: &str) -> bool {
        self.with(privilege).any(|both| both == [Reach::All, Reach::All])
    }

    /// In a scope that has anything in it at all.
    pub fn somewhere(&self, privilege: &str) -> bool {
        self.with(privilege).any(|both| VMS.iter().any(|vm| both.iter().all(|r| r.holds(*vm))))
    }
}

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Object {
    /// Nothing that has a scope.
    Nothing,
    /// A VM; none: one that is not there.
    Vm(Option<VmFacts>),
    /// A host; none: one that is not there.
    Host(Option<u8>),
    /// A task of somebody else about a VM, that has ended and that only who may operate the VM could cancel.
    Task(Option<VmFacts>),
    /// A token of somebody else; none: one that is not there.
    Token(bool),
    /// A new VM; on this host, when one is named.
    NewVm(Option<u8>),
}

/// What must be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Anything but a refusal for lack of rights.
    Passes,
    Forbidden,
    NotFound,
    Unauthenticated,
}

fn word(p: virga_model::role::Privilege) -> String {
    serde_json::to_value(p).unwrap().as_str().unwrap().to_string()
}

fn on_object(rights: &Rights, privilege: &str, object: Object) -> Expected {
    let (seen, allowed) = match object {
        Object::Vm(Some(vm)) => (rights.on_vm("vm_read", vm), rights.on_vm(privilege, vm)),
        Object::Host(Some(h)) => (rights.on_host("host_read", h), rights.on_host(privilege, h)),
        Object::Vm(None) | Object::Host(None) => (false, false),
        other => panic!("{other:?} has no scope"),
    };
    match (seen, allowed) {
        (false, false) => Expected::NotFound,
        (true, false) => Expected::Forbidden,
        (_, true) => Expected::Passes,
    }
}

fn signed_in(rights: &Rights, name: &str, object: Object) -> Expected {
    match object {
        Object::Task(None) | Object::Token(false) => Expected::NotFound,
        Object::Task(Some(vm)) if !rights.on_vm("vm_read", vm) => Expected::NotFound,
        Object::Task(Some(vm)) if name == "task_cancel" && !rights.on_vm("vm_operate", vm) => Expected::Forbidden,
        Object::Token(true) if !rights.everywhere("user_manage") => Expected::NotFound,
        // A token is no way to change a password.
        _ if name == "password_change" => Expected::Forbidden,
        _ => Expected::Passes,
    }
}

/// A new VM is the caller's own, on the one or the other host. A host that is named and not seen is a wrong word in the
/// request, not a lack of rights.
fn may_make(rights: &Rights, privilege: &str, host: Option<u8>) -> bool {
    let on = |host: Option<u8>| VMS.iter().any(|vm| vm.mine && host.is_none_or(|h| h == vm.host) && rights.on_vm(privilege, *vm));
    on(None) && host.is_none_or(|h| on(Some(h)) || !rights.on_host("host_read", h))
}

/// What must be answered to a request; `rights` is none for who shows no credential.
pub fn expected(name: &str, access: Access, rights: Option<&Rights>, object: Object) -> Expected {
    let rights = match (access, rights) {
        (Access::Public, _) => return Expected::Passes,
        (_, None) => return Expected::Unauthenticated,
        (_, Some(r)) => r,
    };
    let table = |ok: bool| if ok { Expected::Passes } else { Expected::Forbidden };
    match access {
        Access::Public => Expected::Passes,
        Access::SignedIn => signed_in(rights, name, object),
        Access::Needs(p, Over::Anywhere) => match object {
            Object::NewVm(host) => table(may_make(rights, &word(p), host)),
            _ => table(rights.somewhere(&word(p))),
        },
        Access::Needs(p, Over::Installation) => table(rights.everywhere(&word(p))),
        Access::Needs(p, Over::Object) => on_object(rights, &word(p), object),
        // What is made from a VM is the caller's own, on the same host.
        Access::Needs(p, Over::Source) => match (on_object(rights, &word(p), object), object) {
            (Expected::Passes, Object::Vm(Some(vm))) => table(VMS.iter().any(|v| v.mine && v.host == vm.host && rights.on_vm("vm_create", *v))),
            (other, _) => other,
        },
    }
}

#[test]
fn the_oracle_knows_every_role_and_privilege() {
    use virga_model::role::{Privilege, Role};
    for role in Role::ALL {
        for p in Privilege::ALL {
            assert_eq!(allows(&role.to_string(), &word(p)), role.has(p), "{role} {p:?}: the role was changed; say so in the oracle as well");
        }
    }
    assert_eq!(ROLES.len(), Role::ALL.len());
}
