//! The difference between two specifications, and for each part whether a running guest can take it now.
//!
//! This is the only place that knows what is live and what waits for a restart (VM-13 to VM-18): the API's dry
//! run, the agent and the portal all ask it.

use crate::layer::Layer;
use crate::vm::{CdromSpec, DiskMode, DiskSpec, MEMORY_HOTPLUG_STEP_BYTES, NicSpec, VmSpec};

/// One step from one specification to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Other number of vCPUs.
    Vcpus {
        /// Before.
        from: u32,
        /// After.
        to: u32,
    },
    /// Other memory size.
    Memory {
        /// Bytes before.
        from: u64,
        /// Bytes after.
        to: u64,
    },
    /// A disk more.
    AttachDisk(DiskSpec),
    /// A disk less; its file is removed by the agent afterwards.
    DetachDisk(DiskSpec),
    /// A larger disk.
    GrowDisk {
        /// The disk as it will be.
        disk: DiskSpec,
    },
    /// Same disk, other mode: what snapshots do to it from now on.
    DiskMode {
        /// The disk as it will be.
        disk: DiskSpec,
    },
    /// Same disk, other limits.
    LimitDisk {
        /// The disk as it will be.
        disk: DiskSpec,
    },
    /// Same disk, other bus, cache or discard mode.
    RemodelDisk {
        /// The disk as it will be.
        disk: DiskSpec,
    },
    /// A NIC more.
    AttachNic(NicSpec),
    /// A NIC less.
    DetachNic(NicSpec),
    /// Same NIC, other network or link state.
    UpdateNic {
        /// The NIC as it will be.
        nic: NicSpec,
    },
    /// Same NIC, other model or address.
    RemodelNic {
        /// The NIC as it will be.
        nic: NicSpec,
    },
    /// Another ISO, or none, in a drive.
    ChangeMedia(CdromSpec),
    /// A layer more on top of the disks that snapshots include: what was written before is frozen (SNAP-07).
    TakeLayer(Layer),
    /// An optical drive more or less.
    Drives,
    /// Another value of a field that is read only at start.
    AtStart(
        /// The field.
        &'static str,
    ),
}

/// When a change takes effect on a running guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    /// Now.
    Live,
    /// At the next start of the VM (not a reboot inside the guest), for this reason.
    AfterRestart(String),
}

/// The steps from `from` to `to`, in an order in which they can be done.
#[must_use]
pub fn diff(from: &VmSpec, to: &VmSpec) -> Vec<Change> {
    let mut out = Vec::new();
    if from.cpu.count != to.cpu.count {
        out.push(Change::Vcpus { from: from.cpu.count, to: to.cpu.count });
    }
    if from.memory.bytes != to.memory.bytes {
        out.push(Change::Memory { from: from.memory.bytes, to: to.memory.bytes });
    }
    for (changed, field) in [
        (from.cpu.max != to.cpu.max, "cpu.max"),
        (from.cpu.cores_per_socket != to.cpu.cores_per_socket, "cpu.cores_per_socket"),
        (from.cpu.mode != to.cpu.mode, "cpu.mode"),
        (max_memory_slots(from) != max_memory_slots(to), "memory.max_bytes"),
        (from.firmware != to.firmware, "firmware"),
        (from.machine != to.machine && !from.machine.is_empty(), "machine"),
        (from.boot != to.boot, "boot"),
        (from.cloud_init != to.cloud_init, "cloud_init"),
    ] {
        if changed {
            out.push(Change::AtStart(field));
        }
    }
    disks(from, to, &mut out);
    nics(from, to, &mut out);
    let drives = |s: &VmSpec| s.cdroms.iter().map(|c| c.id).collect::<Vec<_>>();
    if drives(from) != drives(to) {
        out.push(Change::Drives);
    } else {
        out.extend(to.cdroms.iter().filter(|c| !from.cdroms.contains(c)).cloned().map(Change::ChangeMedia));
    }
    // Merges are the host's own business, and going back needs the guest to be off: neither is a step here.
    let path = to.layers.path(to.layers.top);
    if let Some(at) = path.iter().position(|l| *l == from.layers.top) {
        out.extend(path.iter().skip(at + 1).flatten().filter_map(|l| to.layers.get(*l)).copied().map(Change::TakeLayer));
    }
    out
}

/// Whether room for hot-added memory is made at start; its exact amount matters only then.
fn max_memory_slots(s: &VmSpec) -> u64 {
    if s.memory.max_bytes > s.memory.bytes { s.memory.max_bytes } else { 0 }
}

fn disks(from: &VmSpec, to: &VmSpec, out: &mut Vec<Change>) {
    for d in &from.disks {
        if !to.disks.iter().any(|n| n.id == d.id) {
            out.push(Change::DetachDisk(d.clone()));
        }
    }
    for d in &to.disks {
        match from.disks.iter().find(|o| o.id == d.id) {
            None => out.push(Change::AttachDisk(d.clone())),
            Some(o) => {
                if d.size_bytes > o.size_bytes {
                    out.push(Change::GrowDisk { disk: d.clone() });
                }
                if d.mode != o.mode {
                    out.push(Change::DiskMode { disk: d.clone() });
                }
                if d.limits != o.limits {
                    out.push(Change::LimitDisk { disk: d.clone() });
                }
                if (d.bus, d.cache, d.discard) != (o.bus, o.cache, o.discard) {
                    out.push(Change::RemodelDisk { disk: d.clone() });
                }
            }
        }
    }
}

fn nics(from: &VmSpec, to: &VmSpec, out: &mut Vec<Change>) {
    for n in &from.nics {
        if !to.nics.iter().any(|x| x.id == n.id) {
            out.push(Change::DetachNic(n.clone()));
        }
    }
    for n in &to.nics {
        match from.nics.iter().find(|o| o.id == n.id) {
            None => out.push(Change::AttachNic(n.clone())),
            Some(o) if (o.model, &o.mac) != (n.model, &n.mac) => out.push(Change::RemodelNic { nic: n.clone() }),
            Some(o) if o != n => out.push(Change::UpdateNic { nic: n.clone() }),
            Some(_) => {}
        }
    }
}

impl Change {
    /// When this takes effect on a guest that runs with the specification `running`.
    #[must_use]
    pub fn when(&self, running: &VmSpec) -> When {
        let later = |why: &str| When::AfterRestart(why.to_string());
        match self {
            Change::Vcpus { to, .. } if *to > running.cpu.max => later(&format!("the guest was started with room for {} vCPUs", running.cpu.max)),
            Change::Vcpus { from, to } if to < from => later("vCPUs can only be added while the guest runs (VM-13)"),
            Change::Vcpus { .. } => When::Live,
            Change::Memory { from, to } if to < from => later("memory can only be added while the guest runs (VM-13)"),
            Change::Memory { to, .. } if *to > running.memory.max_bytes => later("the guest was started without room for so much memory (memory.max_bytes)"),
            Change::Memory { from, to } if !(to - from).is_multiple_of(MEMORY_HOTPLUG_STEP_BYTES) => {
                later("memory is added to a running guest in steps of 128 MiB")
            }
            Change::Memory { .. } => When::Live,
            Change::AttachDisk(d) | Change::DetachDisk(d) if !d.bus.hot_plug() => later("IDE disks cannot be plugged while the guest runs"),
            Change::GrowDisk { disk } if !disk.features().grow_online => later("a thick qcow2 disk takes its space while the VM is off"),
            Change::AttachDisk(_) | Change::DetachDisk(_) | Change::GrowDisk { .. } | Change::LimitDisk { .. } | Change::TakeLayer(_) => When::Live,
            // What a guest writes goes where it went at its start.
            Change::DiskMode { disk } => {
                let nonpersistent = |d: &DiskSpec| d.mode == DiskMode::IndependentNonpersistent;
                let was = running.disks.iter().find(|d| d.id == disk.id).is_some_and(nonpersistent);
                if was == nonpersistent(disk) { When::Live } else { later("a non-persistent disk gets its layer when the guest starts") }
            }
            Change::RemodelDisk { .. } => later("bus, cache and discard mode are fixed while the guest runs"),
            Change::AttachNic(_) | Change::DetachNic(_) | Change::UpdateNic { .. } | Change::ChangeMedia(_) => When::Live,
            Change::RemodelNic { .. } => later("model and address of a NIC are fixed while the guest runs"),
            Change::Drives => later("optical drives cannot be plugged while the guest runs"),
            Change::AtStart(field) => later(&format!("{field} is read when the guest starts")),
        }
    }

    /// The change in words.
    #[must_use]
    pub fn text(&self) -> String {
        use crate::size::human;
        match self {
            Change::Vcpus { from, to } => format!("vCPUs {from} => {to}"),
            Change::Memory { from, to } => format!("memory {} => {}", human(*from), human(*to)),
            Change::AttachDisk(d) => format!("attach disk {} ({})", d.id, human(d.size_bytes)),
            Change::DetachDisk(d) => format!("detach disk {}", d.id),
            Change::GrowDisk { disk } => format!("grow disk {} to {}", disk.id, human(disk.size_bytes)),
            Change::DiskMode { disk } => format!("disk {}: mode {}", disk.id, disk.mode),
            Change::TakeLayer(l) if l.memory.is_some() => format!("store the memory and freeze the disks (layer {})", l.id),
            Change::TakeLayer(l) => format!("freeze the disks (layer {})", l.id),
            Change::LimitDisk { disk } => format!("disk {}: limits {}", disk.id, disk.limits),
            Change::RemodelDisk { disk } => format!("disk {}: bus {}, cache {}, discard {}", disk.id, disk.bus, disk.cache, disk.discard),
            Change::AttachNic(n) => format!("attach NIC {}", n.mac),
            Change::DetachNic(n) => format!("detach NIC {}", n.mac),
            Change::UpdateNic { nic } => format!("NIC {}: network or link", nic.mac),
            Change::RemodelNic { nic } => format!("NIC {}: model {}", nic.id, nic.model),
            Change::ChangeMedia(c) => {
                if c.image.is_some() {
                    "insert ISO".into()
                } else {
                    "eject ISO".into()
                }
            }
            Change::Drives => "optical drives".into(),
            Change::AtStart(f) => (*f).to_string(),
        }
    }
}

/// Checks that `to` may follow `from` at all: disks never shrink and never change their image.
///
/// # Errors
/// [`crate::ErrorCode::Invalid`] that names the field.
pub fn check_edit(from: &VmSpec, to: &VmSpec) -> Result<(), crate::Error> {
    let mut c = crate::error::Check::new();
    for (i, d) in to.disks.iter().enumerate() {
        if let Some(o) = from.disks.iter().find(|o| o.id == d.id) {
            c.that(d.size_bytes >= o.size_bytes, format!("disks[{i}].size_bytes"), "a disk cannot shrink");
            let in_snapshots = from.layers.list.is_empty() || d.mode == o.mode;
            c.that(in_snapshots, format!("disks[{i}].mode"), "cannot change while the VM has snapshots; delete them first");
            c.that(d.provisioning == o.provisioning, format!("disks[{i}].provisioning"), "cannot change; attach a new disk");
            c.that(d.sharing == o.sharing, format!("disks[{i}].sharing"), "cannot change; attach a new disk");
            c.that(d.format == o.format, format!("disks[{i}].format"), "cannot change; attach a new disk");
            c.that(d.store == o.store, format!("disks[{i}].store"), "the data store of a disk does not change by an edit; move the disk");
            c.that(d.image == o.image, format!("disks[{i}].image"), "the image of a disk cannot change; attach a new disk");
            c.that(d.origin == o.origin, format!("disks[{i}].origin"), "what a disk stands on cannot change; attach a new disk");
        }
    }
    c.done()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::*;
    use crate::{DiskId, NetworkId, NicId};
    use uuid::Uuid;

    fn spec() -> VmSpec {
        serde_json::from_str(r#"{"cpu":{"count":1,"max":4},"memory":{"bytes":268435456,"max_bytes":1342177280}}"#).unwrap()
    }

    fn disk(n: u128, bus: DiskBus) -> DiskSpec {
        DiskSpec {
            id: DiskId(Uuid::from_u128(n)),
            size_bytes: 1 << 30,
            image: None,
            bus,
            cache: DiskCache::None,
            mode: DiskMode::Dependent,
            limits: crate::disk::DiskLimits::default(),
            origin: None,
            copy_of: None,
            provisioning: Default::default(),
            format: Default::default(),
            discard: Default::default(),
            sharing: Default::default(),
            store: None,
        }
    }

    #[test]
    fn what_is_live_and_what_waits() {
        let a = spec();
        type Edit = Box<dyn Fn(&mut VmSpec)>;
        let cases: Vec<(Edit, bool)> = vec![
            (Box::new(|s| s.cpu.count = 3), true),
            (Box::new(|s| s.cpu.count = 5), false),
            (Box::new(|s| s.memory.bytes += 512 << 20), true),
            (Box::new(|s| s.memory.bytes += 1 << 20), false),
            (Box::new(|s| s.memory.bytes -= 128 << 20), false),
            (Box::new(|s| s.disks.push(disk(1, DiskBus::Virtio))), true),
            (Box::new(|s| s.disks.push(disk(1, DiskBus::Ide))), false),
            (Box::new(|s| s.firmware = Firmware::Uefi), false),
            (Box::new(|s| s.boot.reverse()), false),
            (Box::new(|s| s.cpu.mode = CpuMode::HostModel), false),
        ];
        for (i, (edit, live)) in cases.iter().enumerate() {
            let mut b = a.clone();
            edit(&mut b);
            let d = diff(&a, &b);
            assert_eq!(d.len(), 1, "case {i}: {d:?}");
            assert_eq!(d[0].when(&a) == When::Live, *live, "case {i}: {d:?}");
        }
        assert!(diff(&a, &a).is_empty());
    }

    #[test]
    fn devices_are_matched_by_identity() {
        let mut a = spec();
        a.disks = vec![disk(1, DiskBus::Virtio), disk(2, DiskBus::Scsi)];
        let mut b = a.clone();
        b.disks.remove(0);
        b.disks[0].size_bytes *= 2;
        let nic = NicSpec {
            id: NicId(Uuid::from_u128(9)),
            network: NetworkId(Uuid::from_u128(1)),
            model: NicModel::Virtio,
            mac: "52:54:00:00:00:01".into(),
            link_up: true,
        };
        a.nics = vec![nic.clone()];
        b.nics = vec![NicSpec { link_up: false, ..nic }];
        let texts: Vec<String> = diff(&a, &b).iter().map(Change::text).collect();
        assert_eq!(texts.len(), 3, "{texts:?}");
        assert!(texts[0].starts_with("detach disk") && texts[1].starts_with("grow disk") && texts[2].contains("link"), "{texts:?}");
    }

    #[test]
    fn disks_never_shrink() {
        let mut a = spec();
        a.disks = vec![disk(1, DiskBus::Virtio)];
        let mut b = a.clone();
        b.disks[0].size_bytes /= 2;
        assert_eq!(check_edit(&a, &b).unwrap_err().violations[0].field, "disks[0].size_bytes");
    }
}
