//! Making VMs: names to identities, defaults, placement, and everything written at once.
//!
//! Placement and the row are in one transaction, so that two requests never take the last room on a host both.

use super::resolve::{self, StoreWish};
use super::{step, transaction};
use crate::event::{self, Note};
use crate::http::{Op, task_path};
use crate::task_new::{self, About, Who};
use crate::{task_api, view as hosts};
use uuid::Uuid;
use virga_api::v1::{Accepted, PlanStep, Reference, VmCreate};
use virga_decide::place::{Placement, Policy, Request, View, place};
use virga_model::error::Check;
use virga_model::role::{Privilege, Target};
use virga_model::task::{ObjectRef, TaskDoc, TaskKind};
use virga_model::vm::{BootDevice, CpuSpec, DEVICES_MAX, Desired, DiskSpec, MemorySpec, Observed, StopMode, VCPUS_MAX, Vm, VmSpec, VmState, check_labels};
use virga_model::{DiskId, Error, HostId, VmId, name};
use virga_store::{StoreError, Tx};

/// Memory when nobody says.
const MEMORY_BYTES: u64 = 1 << 30;
/// Longest description in characters.
const DESCRIPTION_CHARS_MAX: usize = 1000;
/// Times that other addresses are drawn when the drawn ones are taken.
const DRAWS_MAX: u32 = 8;

/// Checks what people write about a VM.
pub(crate) fn check_words(description: Option<&str>, labels: Option<&std::collections::BTreeMap<String, String>>) -> Result<(), Error> {
    let mut c = Check::new();
    if let Some(d) = description {
        let ok = d.chars().count() <= DESCRIPTION_CHARS_MAX && !d.chars().any(|x| x.is_control() && x != '\n' && x != '\t');
        c.that(ok, "description", format!("must be at most {DESCRIPTION_CHARS_MAX} characters without control characters"));
    }
    c.done()?;
    labels.map_or(Ok(()), check_labels)
}

/// Makes a VM, and starts it when asked.
///
/// # Errors
/// Invalid, Conflict when name or address is taken, NoCapacity, Forbidden.
pub async fn create(op: &Op, b: &VmCreate, dry_run: bool) -> Result<Accepted, Error> {
    create_noting(op, b, dry_run, &[]).await
}

/// As [`create`], with more lines for the plan.
///
/// # Errors
/// As [`create`].
pub(super) async fn create_noting(op: &Op, b: &VmCreate, dry_run: bool, notes: &[String]) -> Result<Accepted, Error> {
    name::check("name", &b.name)?;
    check_words(Some(&b.description), Some(&b.labels))?;
    check_counts(b)?;
    for _ in 0..DRAWS_MAX {
        match attempt(op, b, dry_run, notes).await {
            Err(Fault::AddressTaken) => {}
            Err(Fault::Other(e)) => return Err(op.veil(e)),
            Ok(done) => return Ok(done),
        }
    }
    Err(Error::conflict("No free MAC address was found.").with_hint("Try again, or choose the addresses yourself."))
}

/// Limits that must hold before names are looked up one by one.
fn check_counts(b: &VmCreate) -> Result<(), Error> {
    let mut c = Check::new();
    c.that(b.disks.len() <= DEVICES_MAX, "disks", format!("at most {DEVICES_MAX}"));
    c.that(b.nics.len() <= DEVICES_MAX, "nics", format!("at most {DEVICES_MAX}"));
    c.that(b.cdroms.len() <= 4, "cdroms", "at most 4");
    c.done()
}

enum Fault {
    /// An address that we drew is taken: draw again.
    AddressTaken,
    Other(Error),
}

impl From<Error> for Fault {
    fn from(e: Error) -> Fault {
        Fault::Other(e)
    }
}

async fn attempt(op: &Op, b: &VmCreate, dry_run: bool, notes: &[String]) -> Result<Accepted, Fault> {
    let mut tx = transaction(op, dry_run).await?;
    let mut view = hosts::build(&op.m, &mut tx).await?;
    let id = VmId(Uuid::now_v7());
    allowed_hosts(op, id, &mut view)?;
    let (mut spec, wishes) = specification(op, &mut tx, b, &view).await?;
    let placement = placed(op, &mut tx, b, (&spec, &wishes), &view).await?;
    for d in spec.disks.iter_mut().filter(|d| wishes.anywhere.contains(&d.id)) {
        d.store = placement.disks.store;
    }
    let vm = row(op, b, id, spec, &placement);
    let mut plan = plan(op, &vm, &placement);
    plan.extend(notes.iter().map(step));
    let object = ObjectRef::Vm(id);
    if dry_run {
        if virga_store::vm::by_ref(&mut tx, &b.name, &virga_model::role::Visible::everything()).await.map_err(Error::from)?.is_some() {
            return Err(Error::from(StoreError::Taken { what: "VM", field: "name" }).into());
        }
        return Ok(Accepted { task: None, object: Reference::new(&object, &vm.name), plan });
    }
    match virga_store::vm::insert(&mut tx, &vm).await {
        Err(StoreError::Taken { field: "mac", .. }) if b.nics.iter().all(|n| n.mac.is_none()) => return Err(Fault::AddressTaken),
        r => r.map_err(Error::from)?,
    }
    let doc = TaskDoc { generation: vm.generation, ..TaskDoc::default() };
    let task = task_new::insert(&mut tx, Who::caller(op), TaskKind::VmCreate, About::vm(&vm), doc, None).await?;
    op.audit(&mut tx, object, &vm.name, &format!("made, desired {}", vm.desired)).await?;
    let note = Note { task: Some(task.id), ..Note::vm(op.now, "vm.created", &vm, "The VM was accepted.") };
    event::append(&mut tx, &note).await?;
    let shape = task_api::shape(&mut tx, &mut task_api::Names::default(), &task).await?;
    let answer = Accepted { task: Some(shape), object: Reference::new(&object, &vm.name), plan };
    op.commit(tx, &answer, Some(&task_path(task.id))).await?;
    Ok(answer)
}

/// That the caller may make VMs anywhere at all.
///
/// # Errors
/// Forbidden.
pub(super) async fn may_make(op: &Op, tx: &mut Tx) -> Result<(), Error> {
    let mut view = hosts::build(&op.m, tx).await?;
    allowed_hosts(op, VmId(Uuid::now_v7()), &mut view)
}

/// Leaves the hosts on which the caller may make VMs: all, unless their role is bound to hosts.
pub(super) fn allowed_hosts(op: &Op, id: VmId, view: &mut View) -> Result<(), Error> {
    let may = |host| op.caller.may(Privilege::VmCreate, &Target::Vm { id, owner: op.caller.user, host });
    if may(None) {
        return Ok(());
    }
    view.hosts.retain(|h| may(Some(h.id)));
    if view.hosts.is_empty() { Err(crate::auth::forbidden(Privilege::VmCreate)) } else { Ok(()) }
}

async fn specification(op: &Op, tx: &mut Tx, b: &VmCreate, view: &View) -> Result<(VmSpec, Wishes), Error> {
    let count = b.cpus.unwrap_or(1);
    let cores_per_socket = b.cores_per_socket.unwrap_or(0);
    let mut spec = VmSpec {
        cpu: CpuSpec {
            count,
            max: b.cpus_max.unwrap_or_else(|| room_for_cpus(count, cores_per_socket, view)),
            cores_per_socket,
            mode: b.cpu_mode.clone().unwrap_or_default(),
        },
        memory: MemorySpec { bytes: b.memory_bytes.unwrap_or(MEMORY_BYTES), max_bytes: b.memory_max_bytes.unwrap_or(0) },
        firmware: b.firmware.unwrap_or_default(),
        machine: b.machine.clone().unwrap_or_default(),
        boot: b.boot.clone().unwrap_or_else(|| vec![BootDevice::Disk, BootDevice::Cdrom, BootDevice::Network]),
        disks: Vec::with_capacity(b.disks.len()),
        nics: Vec::with_capacity(b.nics.len()),
        cdroms: Vec::with_capacity(b.cdroms.len()),
        cloud_init: b.cloud_init.clone(),
        layers: Default::default(),
        template: false,
        detached: Vec::new(),
        disk_work: Default::default(),
        export: None,
    };
    let mut wishes = Wishes::default();
    for (i, d) in b.disks.iter().enumerate() {
        let mut disk = resolve::disk(op, tx, d, &format!("disks[{i}]")).await?;
        let wish = resolve::store(op, tx, d.data_store.as_deref(), &format!("disks[{i}].data_store")).await?;
        wishes.add(&mut disk, wish, &format!("disks[{i}].data_store"))?;
        spec.disks.push(disk);
    }
    for (i, n) in b.nics.iter().enumerate() {
        spec.nics.push(resolve::nic(op, tx, n, &format!("nics[{i}]")).await?);
    }
    for (i, c) in b.cdroms.iter().enumerate() {
        spec.cdroms.push(resolve::drive(op, tx, c, &format!("cdroms[{i}]")).await?);
    }
    spec.normalize();
    spec.check().map_err(super::in_request_words)?;
    Ok((spec, wishes))
}

/// vCPUs up to which a VM can grow while it runs, when nobody says: four times as many, as far as there are hosts for it.
fn room_for_cpus(count: u32, cores_per_socket: u32, view: &View) -> u32 {
    let largest = view.hosts.iter().map(|h| h.vcpus).max().unwrap_or(0);
    let max = count.saturating_mul(4).min(VCPUS_MAX).min(largest).max(count);
    match max.checked_rem(cores_per_socket) {
        Some(rest) if max - rest >= count => max - rest,
        _ => max,
    }
}

/// What people wish of the data stores of a VM's disks.
#[derive(Default)]
struct Wishes {
    /// Disks for which nobody named one.
    anywhere: Vec<DiskId>,
    /// The host whose local store was named.
    host: Option<HostId>,
}

impl Wishes {
    fn add(&mut self, disk: &mut DiskSpec, wish: StoreWish, field: &str) -> Result<(), Error> {
        match wish {
            StoreWish::Anywhere => self.anywhere.push(disk.id),
            StoreWish::Local(None) => {}
            StoreWish::Local(Some(host)) if self.host.is_none_or(|h| h == host) => self.host = Some(host),
            StoreWish::Local(Some(_)) => return Err(Error::invalid(field, "is the local store of another host than that of a disk before it")),
            StoreWish::Shared(id) => disk.store = Some(id),
        }
        Ok(())
    }
}

async fn placed(op: &Op, tx: &mut Tx, b: &VmCreate, (spec, wishes): (&VmSpec, &Wishes), view: &View) -> Result<Placement, Error> {
    let host = match b.host.as_deref() {
        Some(name) => Some(resolve::host(op, tx, name, "host").await?.id),
        None => wishes.host,
    };
    if host != wishes.host && wishes.host.is_some() {
        return Err(Error::invalid("host", "is another one than the host whose local data store a disk names"));
    }
    if host.is_some_and(|id| !view.hosts.iter().any(|h| h.id == id)) {
        return Err(crate::auth::forbidden(Privilege::VmCreate));
    }
    let networks = hosts::networks(tx, spec).await?;
    // The name is the seed: a dry run answers what the request itself would.
    let seed = u64::from_str_radix(&crate::secret::sha256_hex(b.name.as_bytes())[..16], 16).unwrap_or(0);
    place(view, &Request { spec, networks: &networks, anywhere: &wishes.anywhere, host, source: None, policy: Policy::Automatic { seed } })
}

fn row(op: &Op, b: &VmCreate, id: VmId, spec: VmSpec, placement: &Placement) -> Vm {
    Vm {
        id,
        name: b.name.clone(),
        description: b.description.clone(),
        labels: b.labels.clone(),
        owner: op.caller.user,
        spec,
        former_spec: None,
        desired: if b.start { Desired::Running } else { Desired::Stopped },
        stop_mode: StopMode::default(),
        generation: 1,
        host: Some(placement.host),
        placement: Some(placement.why.clone()),
        // No host has it yet; what a host finds comes by its reports.
        observed: Observed { state: VmState::Absent, ..Observed::default() },
        created_at: op.now,
        updated_at: op.now,
    }
}

fn plan(op: &Op, vm: &Vm, placement: &Placement) -> Vec<PlanStep> {
    use virga_model::size::human;
    let sees = op.caller.may(Privilege::HostRead, &Target::Host(placement.host));
    let mut plan = vec![step(if sees { format!("place on host {}: {}", placement.host_name, placement.why) } else { "place on a host that has room".into() })];
    if !placement.disks.why.is_empty() && sees {
        plan.push(step(format!("put the disks on a data store: {}", placement.disks.why)));
    }
    for d in &vm.spec.disks {
        let from = match d.image {
            None => "empty",
            Some(_) if d.stands_on().is_some() => "on its image",
            Some(_) => "a copy of its image",
        };
        plan.push(step(format!("make disk {} ({}, {}, {} {}, {from})", d.id, human(d.size_bytes), d.bus, d.provisioning, d.format)));
    }
    plan.push(step(format!("define the VM with {} vCPUs and {} of memory", vm.spec.cpu.count, human(vm.spec.memory.bytes))));
    if vm.desired == Desired::Running {
        plan.push(step("start it"));
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_for_cpus_follows_hosts_and_sockets() {
        let view = View::default();
        assert_eq!(room_for_cpus(2, 0, &view), 2);
        let host = |vcpus| virga_decide::place::HostView {
            id: Uuid::nil().into(),
            name: "h".into(),
            state: virga_model::host::HostState::Up,
            maintenance: false,
            vcpus,
            memory_bytes: 0,
            allocated_memory_bytes: 0,
            store_free_bytes: 0,
            stores: vec![],
            kvm: false,
            uefi: false,
            ovs: false,
            nics: vec![],
            cpu_use: 0.0,
            memory_use: 0.0,
        };
        let view = View { hosts: vec![host(4), host(16)], stores: vec![] };
        assert_eq!(room_for_cpus(2, 0, &view), 8);
        assert_eq!(room_for_cpus(8, 0, &view), 16);
        assert_eq!(room_for_cpus(32, 0, &view), 32);
        assert_eq!(room_for_cpus(3, 5, &view), 10);
    }
}
