//! A fleet and its VMs from nothing, in seconds: rows for a manager that has not started yet, certificates by its authority,
//! and machines on which those VMs have been for a while. It is simulated data, and the audit log says so.
//!
//! Only for a new installation: it adds to no database that knows hosts of these names, and everything that it writes goes
//! through the store's own functions and the manager's own authority.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::time::Instant;
use virga_agent::host::Facts;
use virga_agent::identity::{self, Identity};
use virga_agent::record::Record;
use virga_manager::{ca::Authority, config, first, password::Hasher, serve};
use virga_model::event::AuditRecord;
use virga_model::host::Host;
use virga_model::network::Network;
use virga_model::order::{JoinAnswer, NetworkRef, VmOrder};
use virga_model::task::ObjectRef;
use virga_model::vm::{Desired, Observed, StopMode, Vm, VmState};
use virga_model::{DiskId, Error, HostId, NicId, Time, UserId, VmId};
use virga_store::{Store, Tx};

use super::folder::{self, About};
use super::machine::Machine;
use super::plan;
use crate::SimClock;
use crate::life::draw;

/// Part of a machine's memory that its VMs may take, in percent.
const FILL_PERCENT: u64 = 85;
/// VMs were made up to so many seconds ago.
const AGE_SECONDS_MAX: u64 = 60 * 86_400;
/// Tags that keep the identities of different things apart.
const HOST_IDS: u64 = 1;
const VM_IDS: u64 = 2;
const DISK_IDS: u64 = 3;
const NIC_IDS: u64 = 4;

/// What is to be prepared.
#[derive(Clone, Debug)]
pub struct Order {
    /// The manager's state folder.
    pub manager_state: PathBuf,
    /// Its database, when it will be given one.
    pub database: Option<String>,
    /// `host:port` where the manager's node listener will be.
    pub node_address: String,
    /// The fleet's state folder.
    pub state: PathBuf,
    /// What the fleet is.
    pub about: About,
    /// VMs.
    pub vms: usize,
}

/// What all rows have in common.
struct Common {
    now: Time,
    owner: UserId,
    nat: Network,
    seed: u64,
}

/// Prepares manager and fleet. Answers with the VMs that found room.
///
/// # Errors
/// There are such hosts already, or a folder or the database cannot be written.
pub async fn all(order: &Order) -> Result<usize, Error> {
    let begun = Instant::now();
    let failed = |e: anyhow::Error| Error::host(format!("{e:#}"));
    serve::prepare_folder(&order.manager_state).map_err(failed)?;
    folder::make(&order.state)?;
    let url = config::database_url(order.database.as_deref(), &order.manager_state).map_err(failed)?;
    let (store, now) = (Store::open(&url).await?, super::wall());
    first::prepare(&store, &Hasher::default(), &order.manager_state, now, None).await?;
    let authority = Authority::open(&order.manager_state)?;
    let common = common(&store, now, order.about.seed).await?;
    let machines = super::machines(&order.state, &order.about, &SimClock::at(now));
    folder::keep_about(&order.state, &order.about)?;
    let (mut next, mut macs) = (1, HashSet::new());
    for (n, machine) in machines.iter().enumerate() {
        let share = order.vms * (n + 1) / machines.len() - order.vms * n / machines.len();
        let mut tx = store.write().await?;
        let host = join(&mut tx, order, &authority, &common, machine, n).await?;
        let mut journal = Vec::with_capacity(share);
        for (vm, document) in place(&common, machine, host.id, &mut next, share, &mut macs)? {
            virga_store::vm::insert(&mut tx, &vm).await?;
            journal.push((vm.id.to_string(), document));
        }
        tx.commit().await?;
        folder::keep_machine(&folder::of_host(&order.state, &machine.name), &machine.host.save().with_journal(journal))?;
    }
    let made = next - 1;
    say_so(&store, &common, machines.len(), made).await?;
    store.close().await;
    tracing::info!(hosts = machines.len(), vms = made, seconds = begun.elapsed().as_secs_f64(), "simulated hosts and VMs are prepared");
    Ok(made)
}

async fn common(store: &Store, now: Time, seed: u64) -> Result<Common, Error> {
    let mut tx = store.read().await?;
    let owner = virga_store::user::by_name(&mut tx, first::ADMIN).await?.ok_or_else(|| Error::not_found("user", first::ADMIN))?.id;
    let nat = virga_store::network::by_ref(&mut tx, first::NAT).await?.ok_or_else(|| Error::not_found("network", first::NAT))?;
    Ok(Common { now, owner, nat, seed })
}

/// The machine's row, and its identity as a join would have given it.
async fn join(tx: &mut Tx, order: &Order, authority: &Authority, c: &Common, machine: &Machine, n: usize) -> Result<Host, Error> {
    if virga_store::host::by_ref(tx, &machine.name).await?.is_some() {
        return Err(Error::conflict(format!("The manager knows a host {} already; only a new installation can be prepared.", machine.name))
            .with_hint("Give another --manager-state, or use `virga-fleet run --seed-vms`."));
    }
    let (id, request) = (HostId(plan::uuid(draw(c.seed, HOST_IDS), n as u64)), identity::request()?);
    let (certificate_pem, certificate_sha256) = authority.sign_host_csr(&request.csr_pem, id)?;
    let host = Host {
        id,
        name: machine.name.clone(),
        address: order.about.listen.clone(),
        maintenance: false,
        certificate_sha256,
        generation: 1,
        epoch: 1,
        facts: machine.host.facts().await?,
        last_report_at: None,
        created_at: c.now,
    };
    virga_store::host::insert(tx, &host).await?;
    let answer = serde_json::json!({"host": id, "certificate_pem": certificate_pem, "ca_pem": authority.ca_pem()});
    let answer: JoinAnswer = serde_json::from_value(answer).map_err(|e| Error::internal(e.to_string()))?;
    machine.keep_identity(&Identity::joined(request, answer, &order.node_address, &order.about.listen))?;
    Ok(host)
}

type Placed = (Vm, serde_json::Value);

/// Puts up to `share` VMs on a machine: their rows and the documents of its agent's journal.
fn place(c: &Common, machine: &Machine, host: HostId, next: &mut usize, share: usize, macs: &mut HashSet<String>) -> Result<Vec<Placed>, Error> {
    let room = machine.host.memory_bytes() / 100 * FILL_PERCENT;
    let (mut used, mut placed) = (0, Vec::with_capacity(share));
    while placed.len() < share {
        let (vm, order) = vm(c, host, *next, macs);
        let need = vm.spec.host_memory_bytes();
        if used + need > room {
            tracing::warn!(machine = %machine.name, vms = placed.len(), wanted = share, "the machine is full; the rest is left out");
            break;
        }
        used += need;
        placed.push(adopted(c, machine, vm, order)?);
        *next += 1;
    }
    Ok(placed)
}

/// The `n`-th VM as it was asked for.
fn vm(c: &Common, host: HostId, n: usize, macs: &mut HashSet<String>) -> (Vm, VmOrder) {
    let (plan, own) = (plan::vm(c.seed, n), n as u64);
    // Addresses are three drawn bytes: with many VMs some are drawn twice.
    let nic = (0..).map(|again: u64| NicId(plan::uuid(draw(c.seed, NIC_IDS), own << 8 | again))).find(|id| macs.insert(virga_model::vm::mac_for(*id)));
    let nic = nic.unwrap_or(NicId(plan::uuid(c.seed, own)));
    let spec = plan::spec(&plan, DiskId(plan::uuid(draw(c.seed, DISK_IDS), own)), nic, c.nat.id);
    let made = c.now.plus_seconds(-i64::try_from(3600 + draw(c.seed, own) % AGE_SECONDS_MAX).unwrap_or(3600));
    let labels = BTreeMap::from([("app".to_string(), plan.app.to_string()), ("env".into(), plan.env.into())]);
    let vm = Vm {
        id: VmId(plan::uuid(draw(c.seed, VM_IDS), own)),
        name: plan::vm_name(n),
        description: "simulated".into(),
        labels,
        owner: c.owner,
        spec: spec.clone(),
        former_spec: None,
        desired: if plan.runs { Desired::Running } else { Desired::Stopped },
        stop_mode: StopMode::default(),
        generation: 1,
        host: Some(host),
        placement: Some("prepared by virga-fleet".into()),
        observed: Observed::default(),
        created_at: made,
        updated_at: made,
    };
    let nat = NetworkRef { id: c.nat.id, name: c.nat.name.clone(), spec: c.nat.spec.clone() };
    let order = VmOrder {
        id: vm.id,
        name: vm.name.clone(),
        generation: 1,
        spec,
        desired: vm.desired,
        stop_mode: vm.stop_mode,
        images: Vec::new(),
        networks: vec![nat],
        keep_disks: Vec::new(),
        keep_layers: Vec::new(),
        stores: Vec::new(),
    };
    (vm, order)
}

/// The VM as it is after its host has made it: a domain on the machine, a settled record in the journal, and in the row
/// what the agent will report.
fn adopted(c: &Common, machine: &Machine, mut vm: Vm, order: VmOrder) -> Result<Placed, Error> {
    let runs = order.desired == Desired::Running;
    let state = if runs { VmState::Running } else { VmState::Stopped };
    let booted_at = SimClock::at(vm.created_at).now_ms();
    let digest = machine.host.adopt(order.clone(), state, booted_at);
    let mut record = Record { settled: true, definition_digest: Some(digest), ..Record::new(order) };
    if runs {
        record.machine = Some(crate::host::MACHINE.into());
        record.accelerator = Some(crate::host::ACCELERATOR.into());
        record.started_at = Some(vm.created_at);
    }
    let pinned = record.pinned_order();
    record.running_spec = runs.then(|| record.order.spec.clone());
    record.defined = Some((pinned.spec, pinned.name));
    vm.observed = Observed {
        generation: 1,
        state,
        settled: true,
        guest: machine.host.guest_of(vm.id).filter(|_| runs).unwrap_or_default(),
        machine: record.machine.clone(),
        accelerator: record.accelerator.clone(),
        started_at: record.started_at,
        ..Observed::default()
    };
    debug_assert!(vm.created_at <= c.now);
    Ok((vm, serde_json::to_value(&record).map_err(|e| Error::internal(e.to_string()))?))
}

async fn say_so(store: &Store, c: &Common, hosts: usize, vms: usize) -> Result<(), Error> {
    let record = AuditRecord {
        id: 0,
        at: c.now,
        user: None,
        actor: "virga-fleet prepare".into(),
        source: "local".into(),
        operation: "fleet_prepare".into(),
        object: ObjectRef::System,
        object_name: "simulated fleet".into(),
        result: "ok".into(),
        request_id: String::new(),
        detail: format!("{hosts} simulated hosts and {vms} simulated VMs were written before the manager's start, seed {}", c.seed),
    };
    let mut tx = store.write().await?;
    virga_store::audit::append(&mut tx, &record).await?;
    Ok(tx.commit().await?)
}
