//! The view of hosts that placement decides from: rows, what hosts told, and their newest rates.

use crate::copies;
use crate::state::Manager;
use virga_decide::data_stores::{SeenStore, StoreView};
use virga_decide::place::{HostView, View};
use virga_model::data_store::StoreFact;
use virga_model::host::Host;
use virga_model::order::NetworkRef;
use virga_model::vm::VmSpec;
use virga_model::{Error, HostId};
use virga_store::Tx;

/// All hosts as placement sees them. What they have promised is read in this transaction, so that two requests never
/// take the last room on a host both.
///
/// # Errors
/// What the database says.
pub async fn build(m: &Manager, tx: &mut Tx) -> Result<View, Error> {
    let hosts = copies::hosts(m, tx).await?;
    let loads = virga_store::host::loads(tx).await?;
    let stores = stores(tx).await?;
    Ok(View { hosts: hosts.list.iter().map(|h| host_view(m, h, loads.get(&h.id).map_or(0, |l| l.memory_bytes))).collect(), stores })
}

/// All data stores as placement sees them.
///
/// # Errors
/// What the database says.
pub async fn stores(tx: &mut Tx) -> Result<Vec<StoreView>, Error> {
    let rows = virga_store::data_store::all(tx).await?;
    Ok(rows.into_iter().map(|s| StoreView { id: s.id, kind: s.spec.kind(), closed: s.closed().map(str::to_string), name: s.name }).collect())
}

/// One host as placement sees it; none when there is no such host.
///
/// # Errors
/// What the database says.
pub async fn one(m: &Manager, tx: &mut Tx, id: HostId) -> Result<Option<HostView>, Error> {
    let hosts = copies::hosts(m, tx).await?;
    let load = virga_store::host::load(tx, id).await?;
    Ok(hosts.get(id).map(|h| host_view(m, h, load.memory_bytes)))
}

fn host_view(m: &Manager, h: &Host, allocated_memory_bytes: u64) -> HostView {
    let sample = m.stats.host_last(h.id).unwrap_or_default();
    let memory = h.facts.memory_bytes;
    HostView {
        id: h.id,
        name: h.name.clone(),
        state: m.host_state(h),
        maintenance: h.maintenance,
        vcpus: h.facts.cpu.logical,
        memory_bytes: memory,
        allocated_memory_bytes,
        store_free_bytes: h.facts.store_free_bytes,
        stores: h.facts.stores.iter().map(seen).collect(),
        kvm: h.facts.accelerator == "kvm",
        uefi: h.facts.uefi,
        ovs: h.facts.ovs,
        nics: h.facts.nics.iter().map(|n| n.name.clone()).collect(),
        cpu_use: sample.cpu,
        memory_use: if memory == 0 { 0.0 } else { sample.memory_bytes as f64 / memory as f64 },
    }
}

fn seen(f: &StoreFact) -> SeenStore {
    SeenStore { id: f.store, problem: f.problem.map(|_| f.why.clone()), free_bytes: f.free_bytes }
}

/// The networks that a specification names, as agents and placement need them.
///
/// # Errors
/// Invalid when one is not there or is being removed.
pub async fn networks(tx: &mut Tx, spec: &VmSpec) -> Result<Vec<NetworkRef>, Error> {
    let mut out: Vec<NetworkRef> = Vec::new();
    for (i, nic) in spec.nics.iter().enumerate() {
        if out.iter().any(|n| n.id == nic.network) {
            continue;
        }
        let found = virga_store::network::get(tx, nic.network).await?.filter(|n| !n.deleting);
        let n = found.ok_or_else(|| Error::invalid(format!("nics[{i}].network"), "is not there any more"))?;
        out.push(NetworkRef { id: n.id, name: n.name, spec: n.spec });
    }
    Ok(out)
}
