//! People: they ask managers in process through the API's own code, repeat with the same key what was not answered, and
//! remember what they were told (V6).

use super::command::{Command, DiskDeed, DiskForm};
use super::ctx::Ctx;
use super::plant::Plant;
use super::turn::lock;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use uuid::Uuid;
use virga_api::v1::{
    Accepted, CloneCreate, Cloned, DataStoreCreate, DiskCreate, DiskUpdate, NicCreate, PowerRequest, SnapshotCreate, SnapshotRevert, TemplateCreate, VmBatch,
    VmBatchRequest, VmCreate, VmExportCreate, VmUpdate,
};
use virga_manager::http::Op;
use virga_manager::http::local::{Asked, ask};
use virga_manager::{data_store, image, network, template, vm};
use virga_model::clone::{CloneForm, CloneKind};
use virga_model::data_store::DataStoreSpec;
use virga_model::disk::{DiskFormat, Erase, Provisioning};
use virga_model::role::Visible;
use virga_model::snapshot::SnapshotKind;
use virga_model::task::TaskKind;
use virga_model::vm::{DiskMode, DiskSpec, VmSpec};
use virga_model::{Error, ErrorCode, TaskId, VmId};

/// Milliseconds that somebody waits for an answer.
const PATIENCE_MS: u64 = 20_000;
/// Times that somebody asks again.
const TRIES: usize = 6;
/// Milliseconds between two tries.
const PAUSE_MS: u64 = 3_000;
/// Bytes of a disk.
const DISK_BYTES: u64 = 1 << 30;

/// What became of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// Nothing was said: it may have been done, once.
    Nothing,
    /// It was accepted, with this task; none: there was nothing to do.
    Accepted(Option<TaskId>),
    /// It was refused.
    Refused(ErrorCode),
}

/// A request with what became of it.
#[derive(Clone, Debug)]
pub struct Request {
    /// What was asked for.
    pub command: Command,
    /// The kind of task that acts once.
    pub kind: Option<TaskKind>,
    /// The VM, when the answer named one.
    pub vm: Option<VmId>,
    /// What was said.
    pub told: Told,
    /// It is still being asked.
    pub open: bool,
    /// Answers that named another task than an earlier answer to the same key.
    pub tasks: Vec<TaskId>,
}

/// The people of a world.
#[derive(Default)]
pub struct People {
    /// Their API token.
    pub token: Mutex<String>,
    /// What they asked, by number.
    pub requests: Mutex<BTreeMap<u64, Request>>,
}

impl People {
    /// Whether a command is one that people give to the API.
    #[must_use]
    pub fn hear(command: &Command) -> bool {
        use Command as C;
        matches!(
            command,
            C::Create { .. }
                | C::Power { .. }
                | C::Cpus { .. }
                | C::Memory { .. }
                | C::Rename { .. }
                | C::DiskAdd { .. }
                | C::DiskRemove { .. }
                | C::Disk { .. }
                | C::SnapshotCreate { .. }
                | C::SnapshotRevert { .. }
                | C::SnapshotDelete { .. }
                | C::Clone { .. }
                | C::Deploy { .. }
                | C::Template { .. }
                | C::TemplateConvert { .. }
                | C::TemplateDelete { .. }
                | C::Refresh { .. }
                | C::Export { .. }
                | C::NicAdd { .. }
                | C::Delete { .. }
                | C::Batch { .. }
                | C::ImageDelete
                | C::NetworkDelete
                | C::StoreCreate { .. }
                | C::StoreDelete { .. }
        )
    }

    /// Somebody asks for `command`, until there is an answer or patience ends.
    pub fn ask(self: &Arc<Self>, ctx: &Arc<Ctx>, command: Command) {
        let number = {
            let mut requests = lock(&self.requests);
            let n = requests.len() as u64 + 1;
            requests.insert(n, Request { command: command.clone(), kind: None, vm: None, told: Told::Nothing, open: true, tasks: Vec::new() });
            n
        };
        let (people, ctx) = (self.clone(), ctx.clone());
        tokio::spawn(async move {
            people.insist(&ctx, number, &command).await;
            if let Some(r) = lock(&people.requests).get_mut(&number) {
                r.open = false;
            }
        });
    }

    async fn insist(&self, ctx: &Arc<Ctx>, number: u64, command: &Command) {
        for attempt in 0..TRIES {
            if attempt > 0 {
                ctx.clock.sleep_ms(PAUSE_MS).await;
            }
            let offices = ctx.offices();
            let Some(office) = offices.get((usize::try_from(number).unwrap_or(0) + attempt) % offices.len().max(1)) else { return };
            let Some(api) = office.last_api().filter(|_| office.life().state() != super::life::State::Dead) else { continue };
            let key = if ctx.planted(Plant::KeyNotKept) { format!("key-{number}-{attempt}") } else { format!("key-{number}") };
            let asked = Asked { operation: operation(command), token: lock(&self.token).clone(), key: Some(key), content: command.to_string() };
            let answer = tokio::select! {
                biased;
                r = serve(&api, asked, command) => r,
                () = ctx.clock.sleep_ms(PATIENCE_MS) => continue,
            };
            // An answer that is lost on its way: it was done, and nobody knows.
            if ctx.rng.chance(ctx.settings.lost_answers) && attempt + 1 < TRIES {
                self.note(number, &answer, false);
                continue;
            }
            match &answer {
                Err(e) if matches!(e.code, ErrorCode::Unavailable | ErrorCode::Internal | ErrorCode::TooMany) => {}
                _ => {
                    self.note(number, &answer, true);
                    let text = answer
                        .as_ref()
                        .map_or_else(|e| format!("refused: {}", e.message), |(_, t, _)| if t.is_some() { "accepted".into() } else { "nothing to do".into() });
                    ctx.say(format!("answer to \"{command}\": {text}"));
                    if let Ok((Some(vm), ..)) = &answer
                        && let Command::Create { vm: name, .. } = command
                    {
                        ctx.log.call(vm.0, name);
                    }
                    return;
                }
            }
        }
        ctx.say(format!("no answer to \"{command}\""));
    }

    /// Notes an answer; one that did not arrive still tells which task was made.
    fn note(&self, number: u64, answer: &Result<Answer, Error>, arrived: bool) {
        let mut requests = lock(&self.requests);
        let Some(r) = requests.get_mut(&number) else { return };
        if let Ok((vm, task, kind)) = answer {
            r.vm = vm.or(r.vm);
            r.kind = kind.or(r.kind);
            if let Some(t) = task
                && !r.tasks.contains(t)
            {
                r.tasks.push(*t);
            }
        }
        if arrived {
            r.told = match answer {
                Ok((_, task, _)) => Told::Accepted(*task),
                Err(e) => Told::Refused(e.code),
            };
        }
    }
}

/// The object, the task and its kind.
type Answer = (Option<VmId>, Option<TaskId>, Option<TaskKind>);

/// The operation of the API's document.
fn operation(c: &Command) -> &'static str {
    match c {
        Command::Create { .. } => "vm_create",
        Command::Power { .. } => "vm_power",
        Command::DiskAdd { .. } => "vm_disk_attach",
        Command::DiskRemove { .. } => "vm_disk_detach",
        Command::Disk { deed: DiskDeed::Keep | DiskDeed::Wipe, .. } => "vm_disk_detach",
        Command::Disk { deed: DiskDeed::Grow, .. } => "vm_disk_update",
        Command::Disk { deed: DiskDeed::Reclaim, .. } => "vm_disk_reclaim",
        Command::Disk { deed: DiskDeed::Back, .. } => "vm_disk_reattach",
        Command::SnapshotCreate { .. } => "vm_snapshot_create",
        Command::SnapshotRevert { .. } => "vm_snapshot_revert",
        Command::SnapshotDelete { .. } => "vm_snapshot_delete",
        Command::Clone { .. } => "vm_clone",
        Command::Deploy { .. } => "template_deploy",
        Command::Template { .. } => "template_create",
        Command::TemplateConvert { .. } => "template_convert",
        Command::TemplateDelete { .. } => "template_delete",
        Command::Refresh { .. } => "vm_refresh",
        Command::Export { .. } => "vm_export_create",
        Command::NicAdd { .. } => "vm_nic_attach",
        Command::Delete { .. } => "vm_delete",
        Command::Batch { .. } => "vm_batch",
        Command::ImageDelete => "image_delete",
        Command::NetworkDelete => "network_delete",
        Command::StoreCreate { .. } => "data_store_create",
        Command::StoreDelete { .. } => "data_store_delete",
        _ => "vm_update",
    }
}

async fn serve(api: &Arc<virga_manager::http::Api>, asked: Asked, c: &Command) -> Result<Answer, Error> {
    if let Command::Batch { action, vms } = c {
        let b = VmBatchRequest { action: *action, vms: vms.clone(), filter: None, timeout_s: Some(30), then_force: true, update: None };
        let r: VmBatch = ask(api, asked, |op| async move { vm::batch::batch(&op, &b, false).await }).await?;
        return Ok((None, r.task.as_ref().map(|t| t.id), r.task.map(|t| t.kind)));
    }
    if matches!(c, Command::Clone { .. } | Command::Deploy { .. } | Command::Template { .. }) {
        let r: Cloned = ask(api, asked, |op| async move { clones(&op, c).await }).await?;
        return Ok((None, r.task.as_ref().map(|t| t.id), r.task.map(|t| t.kind)));
    }
    let r: Accepted = ask(api, asked, |op| async move { one(&op, c).await }).await?;
    let vm = match r.object.kind.as_str() {
        "vm" => Uuid::parse_str(&r.object.id.to_string()).ok().map(VmId),
        _ => None,
    };
    Ok((vm, r.task.as_ref().map(|t| t.id), r.task.map(|t| t.kind)))
}

async fn clones(op: &Op, c: &Command) -> Result<Cloned, Error> {
    let wanted = |name: &String, count: u32, kind: CloneKind, three: bool| CloneCreate {
        name: name.clone(),
        count: Some(count),
        kind: Some(kind),
        form: three.then_some(CloneForm::ThreeLevel),
        start: true,
        ..CloneCreate::default()
    };
    match c {
        Command::Clone { vm, name, count, kind, three } => vm::clone::clone(op, vm, &wanted(name, *count, *kind, *three), false).await,
        Command::Deploy { template, name, count, kind, three } => template::deploy(op, template, &wanted(name, *count, *kind, *three), false).await,
        Command::Template { name, vm, convert } => {
            let b = TemplateCreate { vm: vm.clone(), name: Some(name.clone()), description: None, convert: *convert, data_store: None };
            template::create(op, &b, false).await
        }
        other => Err(Error::internal(format!("\"{other}\" makes no clones"))),
    }
}

async fn one(op: &Op, c: &Command) -> Result<Accepted, Error> {
    let update = |u: VmUpdate| u;
    match c {
        Command::Create { vm: name, host, memory_mib, disks, store, image, network, start } => {
            let disk = |n: u64| DiskCreate {
                size_bytes: Some(DISK_BYTES),
                image: (n == 0 && *image).then(|| super::IMAGE_NAME.into()),
                data_store: (!store.is_empty()).then(|| store.clone()),
                ..DiskCreate::default()
            };
            let nic = || NicCreate { network: super::NETWORK_NAME.into(), model: None, mac: None };
            let b = VmCreate {
                name: name.clone(),
                memory_bytes: Some(memory_mib << 20),
                disks: (0..*disks).map(disk).collect(),
                nics: if *network { vec![nic()] } else { Vec::new() },
                start: *start,
                host: (!host.is_empty()).then(|| host.clone()),
                ..serde_json::from_value(serde_json::json!({"name": name})).map_err(|e| Error::internal(e.to_string()))?
            };
            vm::create::create(op, &b, false).await
        }
        Command::Power { vm: name, action, timeout_s, then_force } => {
            vm::power::power(op, name, &PowerRequest { action: *action, timeout_s: Some(*timeout_s), then_force: *then_force }, false).await
        }
        Command::Cpus { vm: name, cpus } => vm::edit::update(op, name, &update(VmUpdate { cpus: Some(*cpus), ..VmUpdate::default() }), false).await,
        Command::Memory { vm: name, memory_mib } => {
            vm::edit::update(op, name, &update(VmUpdate { memory_bytes: Some(memory_mib << 20), ..VmUpdate::default() }), false).await
        }
        Command::Rename { vm: name, to } => vm::edit::update(op, name, &update(VmUpdate { name: Some(to.clone()), ..VmUpdate::default() }), false).await,
        Command::DiskAdd { vm: name, form } => vm::device::disk_attach(op, name, &new_disk(*form), false).await,
        Command::Disk { vm: name, deed } => with_disk(op, name, *deed).await,
        Command::DiskRemove { vm: name } => {
            let spec = spec_of(op, name).await?;
            let disk = spec.disks.last().ok_or_else(|| Error::not_found("disk", "of this VM"))?.id;
            vm::device::disk_detach(op, name, disk, false, Default::default(), false).await
        }
        Command::SnapshotCreate { vm, name, memory } => {
            let kind = memory.then_some(SnapshotKind::Memory);
            vm::snapshot::create(op, vm, &SnapshotCreate { name: name.clone(), note: String::new(), kind }, false).await
        }
        Command::SnapshotRevert { vm, name } => vm::snapshot::revert(op, vm, name, &SnapshotRevert { start: true, memory: None }, false).await,
        Command::SnapshotDelete { vm, name } => vm::snapshot::delete(op, vm, name, false).await,
        Command::Refresh { vm: name } => vm::clone::refresh(op, name, false).await,
        Command::TemplateConvert { template: name } => template::convert(op, name, false).await,
        Command::TemplateDelete { template: name } => template::delete(op, name, false).await,
        Command::Export { vm: name } => vm::export::create(op, name, &VmExportCreate { disk_format: None, snapshot: None, leave_out: false }, false).await,
        Command::NicAdd { vm: name } => {
            vm::device::nic_attach(op, name, &NicCreate { network: super::NETWORK_NAME.into(), model: None, mac: None }, false).await
        }
        Command::Delete { vm: name, force } => vm::power::delete(op, name, *force, Default::default(), false).await,
        Command::ImageDelete => image::delete(op, super::IMAGE_NAME).await,
        Command::NetworkDelete => network::delete(op, super::NETWORK_NAME).await,
        Command::StoreCreate { store, path } => {
            let spec = DataStoreSpec::SharedDirectory { path: path.clone(), backing: Default::default() };
            data_store::create(op, &DataStoreCreate { name: store.clone(), description: String::new(), spec, host: None }).await
        }
        Command::StoreDelete { store } => data_store::delete(op, store, false).await,
        other => Err(Error::internal(format!("\"{other}\" is nothing that the API is asked for"))),
    }
}

/// What is asked for when a disk of this form is to be made.
fn new_disk(form: DiskForm) -> DiskCreate {
    let plain = DiskCreate { size_bytes: Some(DISK_BYTES), ..DiskCreate::default() };
    match form {
        DiskForm::Plain => plain,
        DiskForm::Raw => DiskCreate { format: Some(DiskFormat::Raw), ..plain },
        DiskForm::Lazy => DiskCreate { provisioning: Some(Provisioning::ThickLazy), ..plain },
        DiskForm::Eager => DiskCreate { provisioning: Some(Provisioning::ThickEager), ..plain },
        DiskForm::Independent => DiskCreate { mode: Some(DiskMode::IndependentPersistent), ..plain },
        DiskForm::Nonpersistent => DiskCreate { mode: Some(DiskMode::IndependentNonpersistent), ..plain },
    }
}

/// The specification of a VM as the person reads it before asking for a change.
async fn spec_of(op: &Op, name: &str) -> Result<VmSpec, Error> {
    let mut tx = op.m.store.read().await?;
    let row = virga_store::vm::by_ref(&mut tx, name, &Visible::everything()).await?;
    row.map(|v| v.spec).ok_or_else(|| Error::not_found("VM", name))
}

/// Something with the last disk of a VM that it can be asked for.
async fn with_disk(op: &Op, name: &str, deed: DiskDeed) -> Result<Accepted, Error> {
    let spec = spec_of(op, name).await?;
    let none = || Error::not_found("disk", "of this VM");
    let last = |of: &[DiskSpec], wish: &dyn Fn(&DiskSpec) -> bool| of.iter().rev().find(|d| wish(d)).or(of.last()).cloned().ok_or_else(none);
    match deed {
        DiskDeed::Grow => {
            let d = last(&spec.disks, &|_| true)?;
            vm::device::disk_update(op, name, d.id, &DiskUpdate { size_bytes: Some(d.size_bytes + DISK_BYTES / 2), ..DiskUpdate::default() }, false).await
        }
        DiskDeed::Reclaim => vm::device::disk_reclaim(op, name, last(&spec.disks, &|d| d.features().reclaim)?.id, false).await,
        DiskDeed::Keep => {
            let d = last(&spec.disks, &|d| d.mode != DiskMode::Dependent)?;
            vm::device::disk_detach(op, name, d.id, true, Erase::Normal, false).await
        }
        DiskDeed::Back => vm::device::disk_reattach(op, name, last(&spec.detached, &|_| true)?.id, false).await,
        DiskDeed::Wipe => vm::device::disk_detach(op, name, last(&spec.disks, &|_| true)?.id, false, Erase::Secure, false).await,
    }
}
