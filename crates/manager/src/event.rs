//! Events: what happened, for everybody who may see the object.

use crate::http::Op;
use crate::list;
use virga_api::v1::{Event as Shape, ListQuery, PageBody, Reference};
use virga_model::event::{Event, Severity};
use virga_model::role::{Privilege, Target, Visible};
use virga_model::task::ObjectRef;
use virga_model::vm::Vm;
use virga_model::{Error, HostId, TaskId, Time, UserId};
use virga_store::Tx;

/// An event to be written.
#[derive(Clone, Copy, Debug)]
pub struct Note<'a> {
    /// When.
    pub at: Time,
    /// Stable word.
    pub kind: &'a str,
    /// How much it matters.
    pub severity: Severity,
    /// About what.
    pub object: ObjectRef,
    /// Its name.
    pub name: &'a str,
    /// Its owner, who may see the event.
    pub owner: Option<UserId>,
    /// Its host; who may see the host's VMs may see the event.
    pub host: Option<HostId>,
    /// In whose course.
    pub task: Option<TaskId>,
    /// In words.
    pub message: &'a str,
}

impl<'a> Note<'a> {
    /// An event about a VM.
    #[must_use]
    pub fn vm(at: Time, kind: &'a str, vm: &'a Vm, message: &'a str) -> Note<'a> {
        Note { at, kind, severity: Severity::Info, object: ObjectRef::Vm(vm.id), name: &vm.name, owner: Some(vm.owner), host: vm.host, task: None, message }
    }

    /// An event about something that has neither owner nor host.
    #[must_use]
    pub fn plain(at: Time, kind: &'a str, object: ObjectRef, name: &'a str, message: &'a str) -> Note<'a> {
        Note { at, kind, severity: Severity::Info, object, name, owner: None, host: None, task: None, message }
    }
}

/// Writes an event into the transaction of what happened; answers with its position.
///
/// # Errors
/// What the database says.
pub async fn append(tx: &mut Tx, n: &Note<'_>) -> Result<i64, Error> {
    let event = Event {
        id: 0,
        at: n.at,
        kind: n.kind.into(),
        severity: n.severity,
        object: n.object,
        object_name: n.name.into(),
        owner: n.owner,
        host: n.host,
        task: n.task,
        message: n.message.into(),
    };
    Ok(virga_store::event::append(tx, &event).await?)
}

/// The public shape of an event.
#[must_use]
pub fn shape(e: Event) -> Shape {
    let object = Reference::new(&e.object, &e.object_name);
    Shape { id: e.id, at: e.at, kind: e.kind, severity: e.severity, object, task: e.task, message: e.message }
}

/// Whether a caller who sees the event's row may see the event: what is about hosts is for those who may see hosts.
#[must_use]
pub fn may_see(caller: &crate::auth::Caller, e: &Event) -> bool {
    match e.object {
        ObjectRef::Host(h) => caller.may(Privilege::HostRead, &Target::Host(h)),
        // What hosts reach names them.
        ObjectRef::DataStore(_) => caller.may(Privilege::HostRead, &Target::Installation),
        ObjectRef::JoinToken(_) => caller.may(Privilege::HostManage, &Target::Installation),
        ObjectRef::User(_) | ObjectRef::Token(_) | ObjectRef::Session(_) | ObjectRef::RoleBinding(_) => caller.may(Privilege::UserRead, &Target::Installation),
        ObjectRef::System => [Privilege::SystemRead, Privilege::AuditRead, Privilege::VmRead].into_iter().any(|p| caller.may(p, &Target::Installation)),
        ObjectRef::Vm(_) | ObjectRef::Image(_) | ObjectRef::Network(_) | ObjectRef::Task(_) => true,
    }
}

/// Which events a caller may see: about the VMs that they see, and about what has no owner by the privilege over it.
/// [`may_see`] still has the last word over each.
#[must_use]
pub fn visible(caller: &crate::auth::Caller) -> Visible {
    let mut v = caller.visible(Privilege::VmRead);
    let everywhere = |p| caller.may(p, &Target::Installation);
    let by_privilege: [(Privilege, &[&str]); 7] = [
        (Privilege::VmRead, &["vm", "image", "network", "task", "system"]),
        (Privilege::HostRead, &["host", "data_store"]),
        (Privilege::HostManage, &["join_token"]),
        (Privilege::ImageManage, &["image"]),
        (Privilege::NetworkManage, &["network"]),
        (Privilege::UserRead, &["user", "token", "session", "role_binding"]),
        (Privilege::AuditRead, &["system"]),
    ];
    if by_privilege.iter().all(|(p, _)| everywhere(*p)) {
        return Visible::everything();
    }
    v.all = false;
    v.kinds = by_privilege.iter().filter(|(p, _)| everywhere(*p)).flat_map(|(_, kinds)| kinds.iter().copied()).collect();
    // Who sees the VMs of a host need not see the host, not even how many events it has.
    (v.hosts, v.vm_hosts) = v.hosts.into_iter().partition(|h| caller.may(Privilege::HostRead, &Target::Host(*h)));
    v
}

/// A page of events, newest first.
///
/// # Errors
/// Malformed for wrong parameters.
pub async fn list(op: &Op, q: &ListQuery) -> Result<PageBody<Shape>, Error> {
    let mut tx = op.read().await?;
    let mut paged = virga_store::event::list(&mut tx, &list::page(q)?, &visible(&op.caller)).await?;
    let items = std::mem::take(&mut paged.items).into_iter().filter(|e| may_see(&op.caller, e)).map(shape).collect();
    list::body(q, paged, items)
}
