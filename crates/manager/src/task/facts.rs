//! Gathers what is true about a task's object.

use virga_decide::task::{Child, Facts, HostFact, SourceFact};
use virga_model::host::Host;
use virga_model::order::{ImageRef, NetworkRef, StoreRef, VmOrder};
use virga_model::task::{Awaited, ObjectRef, Task, TaskKind};
use virga_model::vm::{DiskMode, DiskSpec, Vm};
use virga_model::{DataStoreId, DiskId, Error, ImageId, NetworkId};
use virga_store::Tx;

use crate::state::Manager;

/// The facts of a task, and the row of the VM's host.
pub(super) async fn gather(manager: &Manager, tx: &mut Tx, task: &Task) -> Result<(Facts, Option<Host>), Error> {
    let (mut facts, mut host) = (Facts::default(), None);
    match task.object {
        ObjectRef::Vm(id) => {
            facts.vm = virga_store::vm::get(tx, id).await?;
            if let Some(h) = facts.vm.as_ref().and_then(|v| v.host) {
                host = virga_store::host::get(tx, h).await?;
            }
            facts.host = host.as_ref().map(|h| fact(manager, h));
            facts.progress = manager.stats.progress(id);
        }
        ObjectRef::Image(id) => {
            facts.image = virga_store::image::get(tx, id).await?;
            facts.holders = holders(manager, tx, |h| h.facts.images.contains(&id)).await?;
        }
        ObjectRef::Network(id) => {
            facts.network = virga_store::network::get(tx, id).await?;
            facts.holders = holders(manager, tx, |h| h.facts.networks.contains(&id)).await?;
        }
        ObjectRef::DataStore(id) => {
            facts.data_store = virga_store::data_store::get(tx, id).await?;
            if let Some(h) = task.doc.host {
                host = virga_store::host::get(tx, h).await?;
            }
            facts.host = host.as_ref().map(|h| fact(manager, h));
            facts.holders = holders(manager, tx, |h| h.facts.stores.iter().any(|s| s.store == id && s.reachable())).await?;
        }
        _ => {}
    }
    if let Some(awaited) = task.doc.awaits {
        facts.source = Some(source(tx, awaited).await?);
    }
    if task.kind == TaskKind::VmBatch {
        let children = virga_store::task::children(tx, task.id).await?;
        facts.children = children.into_iter().map(|c| Child { state: c.state, object_name: c.object_name, error: c.error }).collect();
    }
    Ok((facts, host))
}

/// How far the source of a clone is. A layer that is gone was taken back; while an edit is under way nothing is sure.
async fn source(tx: &mut Tx, awaited: Awaited) -> Result<SourceFact, Error> {
    let Some(vm) = virga_store::vm::get(tx, awaited.vm).await? else { return Ok(SourceFact::Lost) };
    let there = vm.spec.layers.get(awaited.layer).is_some();
    Ok(match &vm.former_spec {
        _ if !there => SourceFact::Lost,
        Some(former) if former.layers.get(awaited.layer).is_none() => SourceFact::Freezing,
        _ => SourceFact::Frozen,
    })
}

fn fact(manager: &Manager, host: &Host) -> HostFact {
    HostFact::new(host, manager.host_state(host))
}

async fn holders(manager: &Manager, tx: &mut Tx, has: impl Fn(&Host) -> bool) -> Result<Vec<HostFact>, Error> {
    Ok(virga_store::host::all(tx).await?.iter().filter(|h| has(h)).map(|h| fact(manager, h)).collect())
}

/// The order for a VM's host: the row, with what is needed to know of its images, networks and data stores.
pub(super) async fn order(tx: &mut Tx, vm: &Vm) -> Result<VmOrder, Error> {
    let mut images: Vec<ImageRef> = Vec::new();
    for id in vm.spec.images() {
        if !images.iter().any(|i| i.id == id) {
            images.push(image_ref(tx, id).await?);
        }
    }
    let mut networks: Vec<NetworkRef> = Vec::new();
    for nic in &vm.spec.nics {
        if !networks.iter().any(|n| n.id == nic.network) {
            networks.push(network_ref(tx, nic.network).await?);
        }
    }
    let mut keep_disks: Vec<DiskId> = vm.former_spec.iter().flat_map(|s| s.disks.iter().chain(&s.detached).map(|d| d.id)).collect();
    // What a disk is copied from is read where that lies.
    let stores_of = |d: &DiskSpec| [d.store, d.copy_of.as_ref().and_then(|c| c.store)];
    let mut on: Vec<DataStoreId> = std::iter::once(&vm.spec).chain(&vm.former_spec).flat_map(|s| &s.disks).flat_map(stores_of).flatten().collect();
    keep_disks.extend(vm.spec.detached.iter().map(|d| d.id));
    if !vm.spec.layers.is_plain() {
        for s in virga_store::snapshot::of_vm(tx, vm.id).await? {
            on.extend(s.spec.disks.iter().filter_map(|d| d.store));
            keep_disks.extend(s.spec.disks.iter().filter(|d| d.mode == DiskMode::Dependent).map(|d| d.id));
        }
        keep_disks.sort();
        keep_disks.dedup();
    }
    on.sort();
    on.dedup();
    let mut stores = Vec::with_capacity(on.len());
    for id in on {
        stores.push(store_ref(tx, id).await?);
    }
    Ok(VmOrder {
        id: vm.id,
        name: vm.name.clone(),
        generation: vm.generation,
        spec: vm.spec.clone(),
        desired: vm.desired,
        stop_mode: vm.stop_mode,
        images,
        networks,
        keep_disks,
        former_spec: vm.former_spec.clone(),
        keep_layers: vm.former_spec.iter().flat_map(|s| s.layers.list.iter().map(|l| l.id)).collect(),
        stores,
        keep_memories: vm.former_spec.iter().flat_map(|s| s.layers.memories.iter().copied()).collect(),
    })
}

async fn image_ref(tx: &mut Tx, id: ImageId) -> Result<ImageRef, Error> {
    let image = virga_store::image::get(tx, id).await?.ok_or_else(|| Error::not_found("image", id))?;
    let format = image.format.ok_or_else(|| Error::conflict(format!("Image {} has no content yet.", image.name)))?;
    Ok(ImageRef { id, format, size_bytes: image.size_bytes, virtual_bytes: image.virtual_bytes, sha256: image.sha256 })
}

/// A network as an agent needs to know it.
pub(super) async fn network_ref(tx: &mut Tx, id: NetworkId) -> Result<NetworkRef, Error> {
    let n = virga_store::network::get(tx, id).await?.ok_or_else(|| Error::not_found("network", id))?;
    Ok(NetworkRef { id, name: n.name, spec: n.spec })
}

/// A data store as an agent needs to know it.
pub(super) async fn store_ref(tx: &mut Tx, id: DataStoreId) -> Result<StoreRef, Error> {
    let s = virga_store::data_store::get(tx, id).await?.ok_or_else(|| Error::not_found("data store", id))?;
    Ok(StoreRef { id, name: s.name, spec: s.spec })
}
