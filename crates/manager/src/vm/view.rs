//! VMs as people see them.

use crate::auth::Caller;
use crate::copies::{self, Hosts};
use crate::http::Op;
use crate::list;
use crate::task_api::Names;
use std::collections::HashMap;
use std::sync::Arc;
use virga_api::v1::{ListQuery, PageBody, Reference, Stats, Vm as Shape};
use virga_model::host::HostState;
use virga_model::role::{Privilege, Target};
use virga_model::task::{ObjectRef, TaskKind};
use virga_model::vm::Vm;
use virga_model::{Error, HostId, TaskId, VmId};
use virga_store::Tx;

/// What several VMs are shown with, each part read once.
struct Around {
    hosts: Arc<Hosts>,
    tasks: HashMap<VmId, (TaskId, TaskKind)>,
    names: Names,
}

impl Around {
    async fn read(op: &Op, tx: &mut Tx, vms: &[VmId]) -> Result<Around, Error> {
        let hosts = copies::hosts(&op.m, tx).await?;
        Ok(Around { hosts, tasks: virga_store::task::active_of_vms(tx, vms).await?, names: Names::default() })
    }

    async fn shape(&mut self, op: &Op, tx: &mut Tx, vm: Vm) -> Result<Shape, Error> {
        let owner = Reference::new(&ObjectRef::User(vm.owner), &self.names.of(tx, vm.owner).await?);
        let host = vm.host.and_then(|id| self.hosts.get(id));
        let fresh = host.is_some_and(|h| op.m.host_state(h) == HostState::Up);
        let shown = host.filter(|h| sees(&op.caller, h.id));
        Ok(Shape {
            owner,
            host: shown.map(|h| Reference::new(&ObjectRef::Host(h.id), &h.name)),
            placement: vm.placement.filter(|_| shown.is_some()),
            fresh,
            stats: op.m.stats.vm_last(vm.id).filter(|_| vm.observed.state == virga_model::vm::VmState::Running),
            task: self.tasks.get(&vm.id).map(|(id, kind)| Reference::new(&ObjectRef::Task(*id), &kind.to_string())),
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
    // Who sees some hosts only could ask for VMs of theirs by a host that they do not see.
    if list::looks_at(&page, "host") && !op.visible(Privilege::HostRead).all {
        return Err(Error::malformed_field("filter", "There is no field \"host\" here."));
    }
    let mut tx = op.read().await?;
    let mut paged = virga_store::vm::list(&mut tx, &page, &op.visible(Privilege::VmRead)).await?;
    let vms = std::mem::take(&mut paged.items);
    let mut around = Around::read(op, &mut tx, &vms.iter().map(|v| v.id).collect::<Vec<_>>()).await?;
    let mut items = Vec::with_capacity(vms.len());
    for vm in vms {
        items.push(around.shape(op, &mut tx, vm).await?);
    }
    list::body(q, paged, items)
}

/// One VM.
///
/// # Errors
/// NotFound.
pub async fn view(op: &Op, name: &str) -> Result<Shape, Error> {
    let mut tx = op.read().await?;
    let vm = super::load(op, &mut tx, name, Privilege::VmRead).await?;
    Around::read(op, &mut tx, &[vm.id]).await?.shape(op, &mut tx, vm).await
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
