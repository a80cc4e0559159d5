//! The view of hosts that placement decides from: rows, what hosts told, and their newest rates.

use crate::state::Manager;
use std::collections::HashMap;
use virga_decide::place::{HostView, View};
use virga_model::host::Host;
use virga_model::order::NetworkRef;
use virga_model::vm::{Vm, VmSpec, VmState};
use virga_model::{Error, HostId};
use virga_store::Tx;
use virga_store::vm::PlacedVm;

/// Whether a VM takes memory of its host: it should run, or it does. What nobody can tell at the moment counts as
/// running, because silence is no proof of the contrary.
#[must_use]
pub fn counts(vm: &PlacedVm) -> bool {
    vm.desired.is_active() || takes_memory(vm.observed_state)
}

/// Memory that a VM takes of its host as its row stands: while an edit is under way the larger amount.
#[must_use]
pub fn share(vm: &Vm) -> u64 {
    let active = vm.desired.is_active() || takes_memory(vm.observed.state);
    let former = vm.former_spec.as_ref().map_or(0, VmSpec::host_memory_bytes);
    if active { vm.spec.host_memory_bytes().max(former) } else { 0 }
}

fn takes_memory(state: VmState) -> bool {
    !matches!(state, VmState::Absent | VmState::Stopped | VmState::Hibernated)
}

/// All hosts as placement sees them.
///
/// # Errors
/// What the database says.
pub async fn build(m: &Manager, tx: &mut Tx) -> Result<View, Error> {
    let mut allocated: HashMap<HostId, u64> = HashMap::new();
    for vm in virga_store::vm::placed(tx).await?.iter().filter(|v| counts(v)) {
        *allocated.entry(vm.host).or_default() += vm.host_memory_bytes;
    }
    let hosts = virga_store::host::all(tx).await?;
    Ok(View { hosts: hosts.iter().map(|h| host_view(m, h, allocated.get(&h.id).copied().unwrap_or(0))).collect() })
}

fn host_view(m: &Manager, h: &Host, allocated_memory_bytes: u64) -> HostView {
    let sample = m.stats.host_last(h.id).unwrap_or_default();
    let memory = h.facts.memory_bytes;
    HostView {
        id: h.id,
        name: h.name.clone(),
        state: m.heard.state(h, m.now()),
        maintenance: h.maintenance,
        vcpus: h.facts.cpu.logical,
        memory_bytes: memory,
        allocated_memory_bytes,
        store_free_bytes: h.facts.store_free_bytes,
        kvm: h.facts.accelerator == "kvm",
        uefi: h.facts.uefi,
        ovs: h.facts.ovs,
        nics: h.facts.nics.iter().map(|n| n.name.clone()).collect(),
        cpu_use: sample.cpu,
        memory_use: if memory == 0 { 0.0 } else { sample.memory_bytes as f64 / memory as f64 },
    }
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
