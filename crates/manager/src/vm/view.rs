//! VMs as people see them.

use crate::auth::Caller;
use crate::http::Op;
use crate::list;
use crate::task_api::Names;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use virga_api::v1::{ListQuery, PageBody, Reference, Stats, Vm as Shape};
use virga_model::filter;
use virga_model::host::{Host, HostState};
use virga_model::role::{Privilege, Target, Visible};
use virga_model::task::{ObjectRef, Task};
use virga_model::vm::Vm;
use virga_model::{Error, HostId};
use virga_store::{PAGE_MAX, Page, Tx};

/// What several VMs are shown with, each part read once.
#[derive(Default)]
struct Around {
    hosts: HashMap<HostId, Option<Host>>,
    names: Names,
}

impl Around {
    async fn host(&mut self, tx: &mut Tx, id: HostId) -> Result<Option<&Host>, Error> {
        Ok(match self.hosts.entry(id) {
            Entry::Occupied(known) => known.into_mut().as_ref(),
            Entry::Vacant(free) => free.insert(virga_store::host::get(tx, id).await?).as_ref(),
        })
    }

    async fn shape(&mut self, op: &Op, tx: &mut Tx, vm: Vm, task: Option<&Task>) -> Result<Shape, Error> {
        let owner = Reference::new(&ObjectRef::User(vm.owner), &self.names.of(tx, vm.owner).await?);
        let host = match vm.host {
            Some(id) => self.host(tx, id).await?,
            None => None,
        };
        let fresh = host.is_some_and(|h| op.m.heard.state(h, op.now) == HostState::Up);
        let shown = host.filter(|h| sees(&op.caller, h.id));
        Ok(Shape {
            owner,
            host: shown.map(|h| Reference::new(&ObjectRef::Host(h.id), &h.name)),
            placement: vm.placement.filter(|_| shown.is_some()),
            fresh,
            stats: op.m.stats.vm_last(vm.id).filter(|_| vm.observed.state == virga_model::vm::VmState::Running),
            task: task.map(|t| Reference::new(&ObjectRef::Task(t.id), &t.kind.to_string())),
            id: vm.id,
            name: vm.name,
            description: vm.description,
            labels: vm.labels,
            desired: vm.desired,
            generation: vm.generation,
            spec: vm.spec,
            observed: vm.observed,
            created_at: vm.created_at,
            updated_at: vm.updated_at,
        })
    }
}

/// Tenants never see hosts.
fn sees(caller: &Caller, host: HostId) -> bool {
    caller.may(Privilege::HostRead, &Target::Host(host))
}

/// A page of VMs.
///
/// # Errors
/// Malformed for wrong parameters.
pub async fn list(op: &Op, q: &ListQuery) -> Result<PageBody<Shape>, Error> {
    let page = list::page(q)?;
    if list::looks_at(&page, "host") && !op.caller.has(Privilege::HostRead) {
        return Err(Error::malformed("There is no field \"host\" here."));
    }
    let mut tx = op.read().await?;
    let mut paged = virga_store::vm::list(&mut tx, &page, &op.visible(Privilege::VmRead)).await?;
    let mut around = Around::default();
    let tasks = active_tasks(&mut tx, paged.items.len()).await?;
    let mut items = Vec::with_capacity(paged.items.len());
    for vm in std::mem::take(&mut paged.items) {
        let object = ObjectRef::Vm(vm.id);
        let task = match &tasks {
            Some(all) => all.get(&object).cloned(),
            None => virga_store::task::active_of(&mut tx, object).await?,
        };
        items.push(around.shape(op, &mut tx, vm, task.as_ref()).await?);
    }
    list::body(q, paged, items)
}

/// The active tasks of all VMs, when they are few enough to be read at once.
async fn active_tasks(tx: &mut Tx, vms: usize) -> Result<Option<HashMap<ObjectRef, Task>>, Error> {
    if vms <= 1 {
        return Ok(None);
    }
    let active = filter::parse("state in (queued, running) and object_kind = vm")?;
    let page = Page { limit: PAGE_MAX, filter: Some(active), ..Page::default() };
    let paged = virga_store::task::list(tx, &page, &Visible::everything(), None).await?;
    Ok(paged.next.is_none().then(|| paged.items.into_iter().map(|t| (t.object, t)).collect()))
}

/// One VM.
///
/// # Errors
/// NotFound.
pub async fn view(op: &Op, name: &str) -> Result<Shape, Error> {
    let mut tx = op.read().await?;
    let vm = super::load(op, &mut tx, name, Privilege::VmRead).await?;
    let task = virga_store::task::active_of(&mut tx, ObjectRef::Vm(vm.id)).await?;
    Around::default().shape(op, &mut tx, vm, task.as_ref()).await
}

/// Rates of a VM over the last minutes.
///
/// # Errors
/// NotFound.
pub async fn stats(op: &Op, name: &str) -> Result<Stats, Error> {
    let mut tx = op.read().await?;
    let vm = super::load(op, &mut tx, name, Privilege::VmRead).await?;
    Ok(Stats { samples: op.m.stats.vm(vm.id) })
}
