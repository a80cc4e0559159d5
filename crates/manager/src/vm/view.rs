//! VMs as people see them.
//!
//! What a row says is made into text once for each version of it ([`Copies`]); what changes with the reader or with time
//! (host, task, rates, whether the host reports) is added for each answer.

use crate::auth::Caller;
use crate::copies::{self, Hosts};
use crate::http::Op;
use crate::list;
use crate::state::lock;
use crate::task_api::Names;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex};
use virga_api::v1::{ListQuery, Page, PageBody, Reference, Stats};
use virga_model::host::HostState;
use virga_model::role::{Privilege, Target};
use virga_model::task::{ObjectRef, TaskKind};
use virga_model::vm::{Desired, Observed, Vm, VmSpec, VmState};
use virga_model::{Error, HostId, TaskId, Time, UserId, VmId};
use virga_store::Tx;
use virga_store::vm::RowState;

/// Copies of rows that are kept; beyond it all are dropped and made anew as they are asked for.
const COPIES_MAX: usize = 200_000;

/// Bytes of a VM's text beside those of its row, about.
const TEXT_AROUND: usize = 640;

/// What is shown of VMs' rows, by VM.
#[derive(Default)]
pub struct Copies(Mutex<HashMap<VmId, Arc<Copy>>>);

/// What is shown of one version of a row.
pub struct Copy {
    version: i64,
    generation: i64,
    template: bool,
    owner: UserId,
    host: Option<HostId>,
    /// Why it is on its host, as JSON.
    placement: Option<Box<str>>,
    runs: bool,
    /// The fields of [`Fixed`] as JSON, without the last bracket.
    text: Box<str>,
}

/// The fields of [`virga_api::v1::Vm`] that depend on the row alone.
#[derive(Serialize)]
struct Fixed<'a> {
    id: VmId,
    name: &'a str,
    description: &'a str,
    labels: &'a BTreeMap<String, String>,
    desired: Desired,
    generation: i64,
    spec: &'a VmSpec,
    observed: &'a Observed,
    created_at: Time,
    updated_at: Time,
}

fn unwritable(e: serde_json::Error) -> Error {
    Error::internal(format!("A VM cannot be written as JSON: {e}."))
}

fn json<T: Serialize>(v: &T) -> Result<String, Error> {
    serde_json::to_string(v).map_err(unwritable)
}

/// The fields as text, without the last bracket.
fn open_text(fixed: &Fixed<'_>) -> Result<Box<str>, Error> {
    Ok(json(fixed)?.strip_suffix('}').unwrap_or_default().into())
}

impl Copy {
    fn of(version: i64, vm: &Vm) -> Result<Copy, Error> {
        let fixed = Fixed {
            id: vm.id,
            name: &vm.name,
            description: &vm.description,
            labels: &vm.labels,
            desired: vm.desired,
            generation: vm.generation,
            spec: &vm.spec,
            observed: &vm.observed,
            created_at: vm.created_at,
            updated_at: vm.updated_at,
        };
        Ok(Copy {
            version,
            generation: vm.generation,
            template: vm.spec.template,
            owner: vm.owner,
            host: vm.host,
            placement: vm.placement.as_ref().map(json).transpose()?.map(String::into),
            runs: vm.observed.state == VmState::Running,
            text: open_text(&fixed)?,
        })
    }
}

impl Copies {
    /// The copies of these states of rows, in their order; what is missing is read in `tx`, which saw these states.
    async fn of(&self, tx: &mut Tx, states: &[RowState]) -> Result<Vec<(VmId, Arc<Copy>)>, Error> {
        let mut found: Vec<Option<Arc<Copy>>> = {
            let kept = lock(&self.0);
            states.iter().map(|s| kept.get(&s.id).filter(|c| c.version == s.version).cloned()).collect()
        };
        let missing: Vec<VmId> = states.iter().zip(&found).filter(|(_, f)| f.is_none()).map(|(s, _)| s.id).collect();
        if !missing.is_empty() {
            let mut made = HashMap::with_capacity(missing.len());
            for (state, vm) in virga_store::vm::with_states(tx, &missing).await? {
                made.insert(state.id, Arc::new(Copy::of(state.version, &vm)?));
            }
            for (s, f) in states.iter().zip(&mut found) {
                *f = f.take().or_else(|| made.get(&s.id).cloned());
            }
            self.keep(made);
        }
        Ok(states.iter().zip(found).filter_map(|(s, f)| Some((s.id, f?))).collect())
    }

    fn keep(&self, made: HashMap<VmId, Arc<Copy>>) {
        let mut kept = lock(&self.0);
        if kept.len() + made.len() > COPIES_MAX {
            kept.clear();
        }
        for (id, copy) in made {
            // A reader that was slow must not put an older one in the place of a newer.
            if kept.get(&id).is_none_or(|k| k.version < copy.version) {
                kept.insert(id, copy);
            }
        }
    }

    /// VMs of which a copy is kept.
    #[must_use]
    pub fn known(&self) -> Vec<VmId> {
        lock(&self.0).keys().copied().collect()
    }

    /// Forgets VMs that are no more.
    pub fn forget(&self, gone: &HashSet<VmId>) {
        lock(&self.0).retain(|id, _| !gone.contains(id));
    }
}

/// What several VMs are shown with, each part read and made into text once.
struct Around {
    hosts: Arc<Hosts>,
    seen_hosts: HashMap<HostId, Shown>,
    tasks: HashMap<VmId, (TaskId, TaskKind)>,
    names: Names,
    owners: HashMap<UserId, String>,
}

/// A host as these VMs show it.
#[derive(Clone)]
struct Shown {
    /// It reports.
    fresh: bool,
    /// The reference as JSON, for who may see it.
    reference: Option<Arc<str>>,
}

impl Around {
    async fn read(op: &Op, tx: &mut Tx, vms: &[VmId]) -> Result<Around, Error> {
        let hosts = copies::hosts(&op.m, tx).await?;
        let tasks = virga_store::task::active_of_vms(tx, vms).await?;
        Ok(Around { hosts, seen_hosts: HashMap::new(), tasks, names: Names::default(), owners: HashMap::new() })
    }

    async fn owner(&mut self, op: &Op, tx: &mut Tx, id: UserId) -> Result<(), Error> {
        if !self.owners.contains_key(&id) {
            // Most see their own.
            let name = if id == op.caller.user { op.caller.name.clone() } else { self.names.of(tx, id).await? };
            self.owners.insert(id, json(&Reference::new(&ObjectRef::User(id), &name))?);
        }
        Ok(())
    }

    fn host(&mut self, op: &Op, id: HostId) -> Result<Shown, Error> {
        if let Some(s) = self.seen_hosts.get(&id) {
            return Ok(s.clone());
        }
        let host = self.hosts.get(id);
        let reference = host.filter(|h| sees(&op.caller, h.id)).map(|h| json(&Reference::new(&ObjectRef::Host(h.id), &h.name))).transpose()?;
        let shown = Shown { fresh: host.is_some_and(|h| op.m.host_state(h) == HostState::Up), reference: reference.map(Arc::from) };
        self.seen_hosts.insert(id, shown.clone());
        Ok(shown)
    }

    /// Adds a VM to `out`, as [`virga_api::v1::Vm`] says.
    async fn show(&mut self, op: &Op, tx: &mut Tx, id: VmId, vm: &Copy, out: &mut String) -> Result<(), Error> {
        self.owner(op, tx, vm.owner).await?;
        let host = vm.host.map(|h| self.host(op, h)).transpose()?.unwrap_or(Shown { fresh: false, reference: None });
        out.push_str(&vm.text);
        let mut field = |name: &str, value: &str| {
            out.push_str(",\"");
            out.push_str(name);
            out.push_str("\":");
            out.push_str(value);
        };
        field("owner", self.owners.get(&vm.owner).map_or("null", String::as_str));
        if let Some(reference) = &host.reference {
            field("host", reference);
            if let Some(why) = &vm.placement {
                field("placement", why);
            }
        }
        field("fresh", if host.fresh { "true" } else { "false" });
        if let Some(sample) = op.m.stats.vm_last(id).filter(|_| vm.runs) {
            field("stats", &json(&sample)?);
        }
        if let Some((task, kind)) = self.tasks.get(&id) {
            field("task", &json(&Reference::new(&ObjectRef::Task(*task), &kind.to_string()))?);
        }
        out.push('}');
        Ok(())
    }
}

/// Tenants never see hosts.
fn sees(caller: &Caller, host: HostId) -> bool {
    caller.may(Privilege::HostRead, &Target::Host(host))
}

/// A page of VMs, as JSON.
///
/// # Errors
/// Malformed for wrong parameters.
pub async fn list(op: &Op, q: &ListQuery) -> Result<String, Error> {
    let page = list::page(q)?;
    // Who sees some hosts only could ask for VMs of theirs by a host that they do not see.
    if list::looks_at(&page, "host") && !op.visible(Privilege::HostRead).all {
        return Err(Error::malformed_field("filter", "There is no field \"host\" here."));
    }
    let mut tx = op.read().await?;
    let paged = virga_store::vm::list_states(&mut tx, &page, &op.visible(Privilege::VmRead)).await?;
    let vms = op.m.vm_copies.of(&mut tx, &paged.items).await?;
    let mut around = Around::read(op, &mut tx, &vms.iter().map(|(id, _)| *id).collect::<Vec<_>>()).await?;
    let mut text = String::with_capacity(vms.iter().map(|(_, c)| c.text.len() + TEXT_AROUND).sum::<usize>() + TEXT_AROUND);
    text.push_str("{\"items\":[");
    for (n, (id, vm)) in vms.iter().enumerate() {
        if n > 0 {
            text.push(',');
        }
        around.show(op, &mut tx, *id, vm, &mut text).await?;
    }
    text.push(']');
    if let Some(next) = &paged.next {
        text.push_str(",\"next_page\":");
        text.push_str(&json(next)?);
    }
    if let Some(total) = paged.total {
        text.push_str(&format!(",\"total\":{total}"));
    }
    text.push('}');
    if q.fields.is_none() {
        return Ok(text);
    }
    let whole: Page<serde_json::Value> = serde_json::from_str(&text).map_err(unwritable)?;
    json(&PageBody::new(whole, q.fields.as_deref()))
}

/// One VM as JSON, with its generation.
///
/// # Errors
/// NotFound.
pub async fn view(op: &Op, name: &str) -> Result<(i64, String), Error> {
    let mut tx = op.read().await?;
    let found = virga_store::vm::state_by_ref(&mut tx, name, &op.visible(Privilege::VmRead)).await?;
    let state = found.ok_or_else(|| Error::not_found("VM", name))?;
    let copy = op.m.vm_copies.of(&mut tx, &[state]).await?.pop();
    let (id, vm) = copy.ok_or_else(|| Error::not_found("VM", name))?;
    op.require(Privilege::VmRead, &Target::Vm { id, owner: vm.owner, host: vm.host }, name)?;
    if vm.template {
        return Err(super::is_template(name));
    }
    let mut text = String::with_capacity(vm.text.len() + TEXT_AROUND);
    Around::read(op, &mut tx, &[id]).await?.show(op, &mut tx, id, &vm, &mut text).await?;
    Ok((vm.generation, text))
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
