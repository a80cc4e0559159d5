//! A simulated machine as a document: what would lie on a real one's disks and in its memory, so that a fleet that was
//! ended goes on where it was, and one that is prepared begins with VMs.
//!
//! Only the machine and its agent's journal are here. What the agent makes of them is the agent's.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use virga_agent::host::StoredDisk;
use virga_model::order::VmOrder;
use virga_model::vm::{GuestInfo, VmState};
use virga_model::{DataStoreId, DiskId, ImageId, LayerId, NetworkId, SnapshotId, VmId};

use crate::files::SimFile;
use crate::host::{SimDomain, digest};
use crate::{SimHost, life};

/// What is on a machine.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Saved {
    domains: Vec<SimDomain>,
    disks: Vec<(DiskId, VmId, u64)>,
    /// Layers above the disks' bases: disk, VM, layer, the layer below, bytes as the guest sees them.
    #[serde(default)]
    layers: Vec<(DiskId, VmId, LayerId, Option<LayerId>, u64)>,
    /// Bases of linked clones: disk, and the disk and layer that it stands on.
    #[serde(default)]
    origins: Vec<(DiskId, DiskId, Option<LayerId>)>,
    /// Disks that do not lie on the local store.
    #[serde(default)]
    stores: BTreeMap<DiskId, DataStoreId>,
    /// Stored memory of snapshots.
    #[serde(default)]
    memories: Vec<(VmId, SnapshotId, u64)>,
    images: Vec<ImageId>,
    networks: Vec<NetworkId>,
    /// The agent's journal: names and documents.
    pub journal: Vec<(String, serde_json::Value)>,
}

impl Saved {
    /// The same with the journal of the machine's agent.
    #[must_use]
    pub fn with_journal(self, journal: Vec<(String, serde_json::Value)>) -> Saved {
        Saved { journal, ..self }
    }
}

impl SimHost {
    /// What is on the machine now, without the agent's journal.
    #[must_use]
    pub fn save(&self) -> Saved {
        let w = self.world();
        Saved {
            domains: w.domains.values().cloned().collect(),
            disks: w.files.values().filter(|f| f.stored.layer.is_none()).map(|f| (f.stored.id, f.stored.vm, f.stored.size_bytes)).collect(),
            stores: w.files.values().filter_map(|f| Some((f.stored.id, f.stored.store?))).collect(),
            layers: w.files.values().filter_map(|f| Some((f.stored.id, f.stored.vm, f.stored.layer?, f.below, f.stored.size_bytes))).collect(),
            origins: w.files.values().filter_map(|f| f.origin.map(|(disk, layer)| (f.stored.id, disk, layer))).collect(),
            memories: w.memories.iter().map(|((v, s), m)| (*v, *s, *m)).collect(),
            images: w.images.iter().copied().collect(),
            networks: w.networks.iter().copied().collect(),
            journal: Vec::new(),
        }
    }

    /// Puts on an empty machine what was saved.
    pub fn restore(&self, saved: &Saved) {
        let mut w = self.world();
        w.domains = saved.domains.iter().map(|d| (d.order.id, d.clone())).collect();
        let file = |id, vm, layer, below, size_bytes| {
            ((id, layer), SimFile::new(StoredDisk { id, vm, layer, store: saved.stores.get(&id).copied(), size_bytes }, below))
        };
        w.files = saved.disks.iter().map(|(id, vm, size)| file(*id, *vm, None, None, *size)).collect();
        w.files.extend(saved.layers.iter().map(|(id, vm, layer, below, size)| file(*id, *vm, Some(*layer), *below, *size)));
        for (id, disk, layer) in &saved.origins {
            if let Some(f) = w.files.get_mut(&(*id, None)) {
                f.origin = Some((*disk, *layer));
            }
        }
        w.memories = saved.memories.iter().map(|(v, s, m)| ((*v, *s), *m)).collect();
        w.images = saved.images.iter().copied().collect();
        w.networks = saved.networks.iter().copied().collect();
    }

    /// A domain that has been there for a while, with its disks and networks. Answers with the digest of its definition.
    pub fn adopt(&self, order: VmOrder, state: VmState, booted_at: u64) -> String {
        let mut w = self.world();
        for d in &order.spec.disks {
            w.files.insert((d.id, None), SimFile::new(StoredDisk { id: d.id, vm: order.id, layer: None, store: d.store, size_bytes: d.size_bytes }, None));
        }
        w.networks.extend(order.networks.iter().map(|n| n.id));
        let tops = w.tops(&order, &BTreeMap::new());
        let memory_bytes = order.spec.host_memory_bytes();
        let domain = SimDomain {
            writes: tops.clone(),
            defined_tops: tops,
            order,
            state,
            persistent: true,
            edited_outside: false,
            booted_at,
            down_at: None,
            memory_bytes,
            memory: 0,
        };
        let digest = digest(&domain);
        w.domains.insert(domain.order.id, domain);
        digest
    }

    /// What a VM's guest would say about itself once it has booted; none: there is no such domain.
    #[must_use]
    pub fn guest_of(&self, vm: VmId) -> Option<GuestInfo> {
        self.world().domains.get(&vm).map(|d| life::guest_info(self.seed(), d))
    }

    /// Id of the domain with this name or id.
    #[must_use]
    pub fn find(&self, name_or_id: &str) -> Option<VmId> {
        let id = name_or_id.parse::<VmId>().ok();
        self.world().domains.values().find(|d| Some(d.order.id) == id || d.order.name == name_or_id).map(|d| d.order.id)
    }

    /// Domains on the machine, and those that run.
    #[must_use]
    pub fn count(&self) -> (usize, usize) {
        let w = self.world();
        (w.domains.len(), w.domains.values().filter(|d| d.state == VmState::Running).count())
    }

    /// The power fails: every guest is gone at once, and what was undefined while it ran is gone for good.
    pub fn power_fails(&self) {
        {
            let mut w = self.world();
            w.domains.retain(|_, d| d.persistent);
            for d in w.domains.values_mut().filter(|d| !matches!(d.state, VmState::Stopped | VmState::Hibernated)) {
                d.state = VmState::Stopped;
                d.down_at = None;
            }
        }
        self.bump();
    }

    /// The guest stops by itself: it shut down (`Stopped`) or its kernel died (`Crashed`). False when it does not run.
    pub fn guest_ends(&self, vm: VmId, state: VmState) -> bool {
        let runs = self.domain_state(vm) == Some(VmState::Running);
        if runs {
            self.meddle(vm, Some(state));
        }
        runs
    }
}
