//! Virtual machines through libvirt.

use crate::domain_xml::{self, HostView};
use crate::libvirt::{self, Fault, Lane, Libvirt, QUICK, SAVE, SLOW, no_domain, ours};
use crate::paths::Paths;
use crate::xml::El;
use crate::{Kvm, Result, domain_xml_read, facts, files, guest, layers, seed, volumes};
use async_trait::async_trait;
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use uuid::Uuid;
use virga_agent::host::{Asked, Domain, Domains, Duplex, Hypervisor, Started};
use virga_model::change::Change;
use virga_model::host::ForeignVm;
use virga_model::layer::{Layer, Merge};
use virga_model::order::{Progress, VmOrder};
use virga_model::snapshot::StoredMemory;
use virga_model::stats::Counters;
use virga_model::user::ConsoleKind;
use virga_model::vm::{Firmware, GuestInfo, VmState};
use virga_model::{DiskId, Error, SnapshotId, VmId};
use virt::connect::Connect;
use virt::error::ErrorNumber;
use virt_sys as sys;

/// Where distributions put UEFI firmware: code, and the template of the variables.
const UEFI: [(&str, &str); 4] = [
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    ("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
    ("/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"),
    ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
];

/// The host's UEFI firmware, when it is installed.
pub fn uefi() -> Option<(PathBuf, PathBuf)> {
    UEFI.iter().map(|(c, v)| (PathBuf::from(c), PathBuf::from(v))).find(|(c, v)| c.is_file() && v.is_file())
}

/// Power state for libvirt's state and reason; none when the domain is off.
fn running_state(state: u32, reason: i32) -> Option<VmState> {
    let reason = u32::try_from(reason).unwrap_or(0);
    match state {
        sys::VIR_DOMAIN_RUNNING | sys::VIR_DOMAIN_BLOCKED | sys::VIR_DOMAIN_SHUTDOWN => Some(VmState::Running),
        sys::VIR_DOMAIN_PAUSED if matches!(reason, sys::VIR_DOMAIN_PAUSED_IOERROR | sys::VIR_DOMAIN_PAUSED_CRASHED) => Some(VmState::Crashed),
        sys::VIR_DOMAIN_PAUSED | sys::VIR_DOMAIN_PMSUSPENDED => Some(VmState::Paused),
        sys::VIR_DOMAIN_CRASHED => Some(VmState::Crashed),
        sys::VIR_DOMAIN_SHUTOFF => None,
        _ => Some(VmState::Unknown),
    }
}

fn state_of(d: &virt::domain::Domain) -> std::result::Result<VmState, Fault> {
    Ok(power_state(libvirt::state(d)?, d.has_managed_save(0)?))
}

/// What libvirt's state and reason mean for a domain with or without saved memory.
fn power_state((state, reason): (u32, i32), saved: bool) -> VmState {
    running_state(state, reason).unwrap_or(if saved { VmState::Hibernated } else { VmState::Stopped })
}

/// Whether the domain is off because its process ended by itself.
fn died((state, reason): (u32, i32)) -> bool {
    state == sys::VIR_DOMAIN_SHUTOFF && u32::try_from(reason).is_ok_and(|r| matches!(r, sys::VIR_DOMAIN_SHUTOFF_CRASHED | sys::VIR_DOMAIN_SHUTOFF_FAILED))
}

fn is_running(d: &virt::domain::Domain) -> std::result::Result<bool, Fault> {
    Ok(d.is_active()?)
}

fn definition(d: &virt::domain::Domain) -> std::result::Result<El, Fault> {
    Ok(El::parse(&d.xml_desc(sys::VIR_DOMAIN_XML_INACTIVE | sys::VIR_DOMAIN_XML_SECURE)?)?)
}

/// Refuses a domain that is still starting: no call about it would be answered before its start has ended.
fn not_starting(d: &virt::domain::Domain) -> std::result::Result<(), Fault> {
    let starting = (sys::VIR_DOMAIN_PAUSED, i32::try_from(sys::VIR_DOMAIN_PAUSED_STARTING_UP).unwrap_or_default());
    if libvirt::state(d)? != starting {
        return Ok(());
    }
    // libvirt 9.0 that is killed just before its QEMU has a process keeps the start for ever, also over its own restarts.
    Err(Error::unavailable("libvirt says that the VM is still starting up.")
        .with_hint(
            "If that lasts and no QEMU process of the VM runs, libvirtd was killed in the middle of the start and cannot let go of it: stop libvirtd, remove \
             /run/libvirt/qemu/NAME.xml of this VM, and start libvirtd. Other VMs go on meanwhile.",
        )
        .into())
}

/// Bytes of memory in the live definition of a running domain.
fn running_memory(conn: &Connect, vm: VmId) -> std::result::Result<Option<u64>, Fault> {
    let Some(d) = libvirt::lookup(conn, vm)? else { return Ok(None) };
    if !d.is_active()? {
        return Ok(None);
    }
    Ok(domain_xml_read::memory_bytes(&El::parse(&d.xml_desc(sys::VIR_DOMAIN_XML_SECURE)?)?))
}

/// What one call each tells about all domains.
struct Seen {
    /// State and reason.
    states: HashMap<Uuid, (u32, i32)>,
    persistent: HashSet<Uuid>,
    /// Those with saved memory.
    saved: HashSet<Uuid>,
}

impl Seen {
    /// Few calls for all domains instead of several for each: a call about a domain waits while libvirt starts it, and
    /// while many guests start that adds up to longer than anybody waits for a list.
    fn of_all(conn: &Connect) -> std::result::Result<Seen, Fault> {
        let those = |flag| -> std::result::Result<HashSet<Uuid>, Fault> {
            Ok(conn.list_all_domains(flag)?.iter().map(|d| d.uuid()).collect::<std::result::Result<_, _>>()?)
        };
        // In this order: saved memory appears before its domain is off.
        let states = libvirt::states(conn)?;
        Ok(Seen { states, persistent: those(sys::VIR_CONNECT_LIST_DOMAINS_PERSISTENT)?, saved: those(sys::VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE)? })
    }

    fn of_one(d: &virt::domain::Domain) -> std::result::Result<Seen, Fault> {
        let uuid = d.uuid()?;
        let set = |yes: bool| yes.then_some(uuid).into_iter().collect();
        Ok(Seen { states: HashMap::from([(uuid, libvirt::state(d)?)]), persistent: set(d.is_persistent()?), saved: set(d.has_managed_save(0)?) })
    }
}

/// Everything about one domain.
fn look(d: &virt::domain::Domain, seen: &Seen, found: &mut Domains) -> std::result::Result<(), Fault> {
    let uuid = d.uuid()?;
    let alone;
    let (seen, state) = match seen.states.get(&uuid) {
        Some(state) => (seen, *state),
        // Nothing is concluded from a list in which it does not stand.
        None => {
            alone = Seen::of_one(d)?;
            (&alone, libvirt::state(d)?)
        }
    };
    let died = died(state);
    let state = power_state(state, seen.saved.contains(&uuid));
    let xml = definition(d)?;
    match domain_xml_read::generation(&xml) {
        Some(generation) => {
            let persistent = seen.persistent.contains(&uuid);
            let definition_digest = persistent.then(|| domain_xml_read::digest(&xml));
            found.ours.push(Domain { id: VmId(uuid), state, persistent, definition_digest, generation, died });
        }
        None => {
            let memory_bytes = domain_xml_read::memory_bytes(&xml).unwrap_or(0);
            found.foreign.push(ForeignVm { name: d.name()?, uuid: uuid.to_string(), state, memory_bytes });
        }
    }
    Ok(())
}

fn list(conn: &Connect) -> std::result::Result<Domains, Fault> {
    let mut found = Domains::default();
    let all = conn.list_all_domains(0)?;
    let seen = Seen::of_all(conn)?;
    for d in all {
        match look(&d, &seen, &mut found) {
            // Gone since the list was made.
            Err(f) if f.is(ErrorNumber::NoDomain) => {}
            other => other?,
        }
    }
    found.ours.sort_by_key(|d| d.id);
    found.foreign.sort_by(|a, b| a.uuid.cmp(&b.uuid));
    Ok(found)
}

/// One domain of ours; none when there is none.
fn one(conn: &Connect, vm: VmId) -> std::result::Result<Option<Domain>, Fault> {
    let Some(d) = libvirt::lookup(conn, vm)? else { return Ok(None) };
    let mut found = Domains::default();
    match Seen::of_one(&d).and_then(|seen| look(&d, &seen, &mut found)) {
        Err(f) if !f.is(ErrorNumber::NoDomain) => Err(f),
        _ => Ok(found.ours.pop()),
    }
}

/// Eight hex digits of a VM's id: its last, because the first of a version 7 UUID are time.
fn short(vm: VmId) -> String {
    vm.0.simple().to_string().split_off(24)
}

/// The domain's name: the VM's where it is free, else with a piece of the id. A domain that runs keeps its name, and so
/// does one that libvirt will not rename (it has saved memory).
fn domain_name(conn: &Connect, order: &VmOrder, present: Option<&virt::domain::Domain>) -> std::result::Result<String, Fault> {
    let usable = virga_model::name::check("name", &order.name).is_ok();
    let wanted = if usable { order.name.clone() } else { format!("vm-{}", short(order.id)) };
    let with_id = format!("{wanted}-{}", short(order.id));
    let free = match conn.lookup_domain_by_name(&wanted) {
        Ok(other) if other.uuid()? != order.id.0 => with_id,
        Ok(_) => wanted,
        Err(e) if libvirt::number_is(&e, ErrorNumber::NoDomain) => wanted,
        Err(e) => return Err(e.into()),
    };
    let Some(d) = present else { return Ok(free) };
    let name = d.name()?;
    if name == free || d.is_active()? || !d.is_persistent()? || d.rename(&free, 0).is_err() { Ok(name) } else { Ok(free) }
}

/// The machine type to pin: as ordered, else as it is, else the newest q35.
fn machine(conn: &Connect, order: &VmOrder, present: Option<&virt::domain::Domain>, kvm: bool) -> std::result::Result<String, Fault> {
    let ordered = order.spec.machine.as_str();
    if !matches!(ordered, "" | "q35" | "pc") {
        return Ok(ordered.to_string());
    }
    let alias = if ordered.is_empty() { "q35" } else { ordered };
    if let Some(d) = present
        && let Some(m) = domain_xml_read::machine(&definition(d)?)
        && domain_xml::Chipset::of(m).ok() == domain_xml::Chipset::of(alias).ok()
    {
        return Ok(m.to_string());
    }
    let caps = conn.domain_capabilities(None, Some("x86_64"), Some(alias), Some(if kvm { "kvm" } else { "qemu" }), 0)?;
    let caps = El::parse(&caps)?;
    match caps.one("machine").map(|m| m.text.as_str()) {
        Some(m) if !m.is_empty() => Ok(m.to_string()),
        _ => Err(Error::host("libvirt does not tell which machine type is the newest.").into()),
    }
}

fn define(conn: &Connect, order: &VmOrder, paths: &Paths) -> std::result::Result<String, Fault> {
    let present = ours(conn, order.id)?;
    let caps = El::parse(&conn.capabilities()?)?;
    let kvm = facts::accelerator(&caps).0 == "kvm";
    let host = HostView {
        paths: paths.clone(),
        kvm,
        domain_name: String::new(),
        machine: machine(conn, order, present.as_ref(), kvm)?,
        uefi: if order.spec.firmware == Firmware::Uefi { uefi() } else { None },
        address_bits: facts::address_bits(),
        pending: layers::pending(paths, order, &volumes::of_vm(paths, order.id)?, present.as_ref().map(definition).transpose()?.as_ref())?,
        below: crate::clone::below(paths, order)?,
    };
    // Made once before anything is changed, so that a specification that is refused renames nothing.
    domain_xml::domain(order, &host)?;
    let host = HostView { domain_name: domain_name(conn, order, present.as_ref())?, ..host };
    let xml = domain_xml::domain(order, &host)?.to_xml()?;
    let d = conn.define_domain_xml_flags(&xml, sys::VIR_DOMAIN_DEFINE_VALIDATE)?;
    Ok(domain_xml_read::digest(&definition(&d)?))
}

fn undefine(conn: &Connect, vm: VmId) -> std::result::Result<(), Fault> {
    let Some(d) = ours(conn, vm)? else { return Ok(()) };
    if is_running(&d)? {
        return Err(Error::conflict("The VM's definition is not removed while the VM runs.").with_hint("Stop the VM first.").into());
    }
    let flags = sys::VIR_DOMAIN_UNDEFINE_NVRAM
        | sys::VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
        | sys::VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
        | sys::VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA;
    match d.undefine_flags(flags) {
        Err(e) if !libvirt::number_is(&e, ErrorNumber::NoDomain) => Err(e.into()),
        _ => Ok(()),
    }
}

fn start(conn: &Connect, d: &virt::domain::Domain, paths: &Paths, vm: VmId) -> std::result::Result<Started, Fault> {
    if !is_running(d)? {
        let user = facts::qemu_user(&El::parse(&conn.capabilities()?)?);
        files::socket_folder(paths, vm, user)?;
        match d.create_with_flags(0) {
            // Somebody else was faster.
            Err(e) if !libvirt::number_is(&e, ErrorNumber::OperationInvalid) || !is_running(d)? => return Err(e.into()),
            _ => {}
        }
    }
    let live = El::parse(&d.xml_desc(0)?)?;
    let machine = domain_xml_read::machine(&live).unwrap_or_default().to_string();
    Ok(Started { accelerator: domain_xml_read::accelerator(&live).to_string(), machine })
}

/// Shutdown or reboot by the agent, whose answer is not waited for (libvirt itself would wait for up to a minute).
/// False: the agent does not answer or refuses.
fn ask_agent(d: &virt::domain::Domain, mode: &str) -> std::result::Result<bool, Fault> {
    if !guest::answers(d)? {
        return Ok(false);
    }
    let command = serde_json::json!({"execute": "guest-shutdown", "arguments": {"mode": mode}}).to_string();
    match d.qemu_agent_command(&command, 1, 0) {
        Ok(_) => Ok(true),
        // A guest that goes down says nothing more.
        Err(e) if libvirt::number_is(&e, ErrorNumber::AgentUnresponsive) || libvirt::number_is(&e, ErrorNumber::OperationInvalid) => Ok(true),
        Err(_) => Ok(false),
    }
}

fn counters(kvm: &Kvm, conn: &Connect) -> std::result::Result<Vec<(VmId, Counters)>, Fault> {
    let mut out = Vec::new();
    for (uuid, values) in libvirt::statistics(conn)? {
        let vm = VmId(uuid);
        let known = kvm.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner).contains(&vm);
        if !known {
            match ours(conn, vm) {
                Ok(Some(_)) => {}
                // Foreign or gone.
                Ok(None) | Err(Fault::Own(_)) => continue,
                Err(f) if f.is(ErrorNumber::NoDomain) => continue,
                Err(f) => return Err(f),
            }
        }
        let one = |name: &str| values.get(name).copied().unwrap_or(0);
        let sum = |group: &str, end: &str| {
            let belongs = |k: &str| k.strip_prefix(group).is_some_and(|r| r.strip_suffix(end).is_some_and(|n| n.parse::<u32>().is_ok()));
            values.iter().filter(|(k, _)| belongs(k)).map(|(_, v)| *v).fold(0u64, u64::saturating_add)
        };
        out.push((
            vm,
            Counters {
                cpu_ns: one("cpu.time"),
                cpus: u32::try_from(one("vcpu.current")).unwrap_or(0).max(1),
                memory_bytes: one("balloon.rss").saturating_mul(1024),
                disk_read_bytes: sum("block.", ".rd.bytes"),
                disk_write_bytes: sum("block.", ".wr.bytes"),
                net_in_bytes: sum("net.", ".rx.bytes"),
                net_out_bytes: sum("net.", ".tx.bytes"),
            },
        ));
    }
    Ok(out)
}

impl Kvm {
    pub(crate) fn libvirt(&self) -> &Arc<Libvirt> {
        &self.libvirt
    }

    async fn ask(&self, vm: VmId, mode: &'static str, what: &'static str) -> Result<Option<Asked>> {
        let done = self.libvirt().change(vm, Lane::Guest, QUICK, what, move |_, d| {
            if !is_running(d)? {
                return Err(Error::conflict(format!("{what}: it does not run.")).into());
            }
            ask_agent(d, mode)
        });
        Ok(done.await?.then_some(Asked::ByAgent))
    }

    /// Whether libvirt has been told to turn the guest's next power-off into a restart (see `reboot`).
    fn restart_awaited(&self, vm: VmId, now: bool) -> bool {
        let mut set = self.restarts.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if now { !set.insert(vm) } else { set.remove(&vm) }
    }
}

#[async_trait]
impl Hypervisor for Kvm {
    async fn domains(&self) -> Result<Domains> {
        let found = self.libvirt().call(Lane::Look, QUICK, "The VMs could not be listed", list).await?;
        let known = found.ours.iter().map(|d| d.id).collect();
        *self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = known;
        Ok(found)
    }

    async fn domain(&self, vm: VmId) -> Result<Option<Domain>> {
        self.libvirt().call(Lane::Look, QUICK, "The VM could not be looked at", move |conn| one(conn, vm)).await
    }

    async fn running_memory_bytes(&self, vm: VmId) -> Result<Option<u64>> {
        self.libvirt().call(Lane::Look, QUICK, "The VM's memory could not be read", move |conn| running_memory(conn, vm)).await
    }

    async fn define(&self, order: &VmOrder) -> Result<String> {
        const WHAT: &str = "The VM could not be defined";
        let (prepared, paths) = (order.clone(), self.paths.clone());
        let user = self.qemu_user().await?;
        crate::blocking(move || {
            files::vm_folder(&paths, prepared.id)?;
            files::check_direct(&paths, &prepared)?;
            crate::clone::variables(&paths, &prepared)?;
            seed::write(&paths, &prepared, user)
        })
        .await?;
        let (order, paths) = (order.clone(), self.paths.clone());
        self.libvirt().guarded(order.id, Lane::Control, QUICK, WHAT, move |conn| define(conn, &order, &paths)).await
    }

    async fn undefine(&self, vm: VmId) -> Result<()> {
        const WHAT: &str = "The VM's definition could not be removed";
        self.libvirt().guarded(vm, Lane::Control, QUICK, WHAT, move |conn| undefine(conn, vm)).await?;
        self.restart_awaited(vm, false);
        let paths = self.paths.clone();
        crate::blocking(move || files::forget_vm(&paths, vm)).await
    }

    async fn start(&self, vm: VmId) -> Result<Started> {
        let paths = self.paths.clone();
        let done = self.libvirt().change(vm, Lane::Control, SLOW, "The VM could not be started", move |conn, d| start(conn, d, &paths, vm)).await;
        self.restart_awaited(vm, false);
        done
    }

    async fn shutdown(&self, vm: VmId) -> Result<Asked> {
        const WHAT: &str = "The VM could not be asked to shut down";
        let restart_awaited = self.restart_awaited(vm, false);
        let by_agent = self.ask(vm, "powerdown", WHAT).await?;
        if let Some(asked) = by_agent
            && !restart_awaited
        {
            return Ok(asked);
        }
        // Also when the agent took it, but an unheeded ACPI reboot came before: this call takes libvirt's order back
        // to restart the guest when it powers off.
        let acpi = self.libvirt().change(vm, Lane::Control, QUICK, WHAT, |_, d| Ok(d.shutdown_flags(sys::VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)?)).await;
        match (acpi, by_agent) {
            (_, Some(asked)) => Ok(asked),
            (r, None) => r.map(|()| Asked::ByAcpi),
        }
    }

    async fn reboot(&self, vm: VmId) -> Result<Asked> {
        const WHAT: &str = "The VM could not be asked to restart";
        if let Some(asked) = self.ask(vm, "reboot", WHAT).await? {
            return Ok(asked);
        }
        // There is no ACPI event for this: libvirt presses the power button and starts the guest again when it is off.
        self.restart_awaited(vm, true);
        self.libvirt().change(vm, Lane::Control, QUICK, WHAT, |_, d| Ok(d.reboot(sys::VIR_DOMAIN_REBOOT_ACPI_POWER_BTN)?)).await?;
        Ok(Asked::ByAcpi)
    }

    async fn reset(&self, vm: VmId) -> Result<()> {
        self.libvirt().change(vm, Lane::Control, QUICK, "The VM could not be reset", |_, d| Ok(d.reset()?)).await
    }

    async fn force_off(&self, vm: VmId) -> Result<()> {
        // Without the VM's lock: pulling the plug must also work while something else hangs.
        let off = self.libvirt().call(Lane::Off, SLOW, "The VM could not be switched off", move |conn| {
            let Some(d) = ours(conn, vm)? else { return Ok(()) };
            if !is_running(&d)? {
                return Ok(());
            }
            match d.destroy() {
                Err(e) if is_running(&d).unwrap_or(true) => Err(e.into()),
                _ => Ok(()),
            }
        });
        off.await
    }

    async fn pause(&self, vm: VmId) -> Result<()> {
        let done = self
            .libvirt()
            .change(vm, Lane::Control, QUICK, "The VM could not be paused", |_, d| if state_of(d)? == VmState::Paused { Ok(()) } else { Ok(d.suspend()?) });
        done.await
    }

    async fn resume(&self, vm: VmId) -> Result<()> {
        let done = self.libvirt().change(vm, Lane::Control, QUICK, "The VM could not go on", |_, d| {
            if state_of(d)? == VmState::Running {
                return Ok(());
            }
            not_starting(d)?;
            Ok(d.resume()?)
        });
        done.await
    }

    async fn hibernate(&self, vm: VmId) -> Result<()> {
        let done = self.libvirt().change(vm, Lane::Long, SAVE, "The VM's memory could not be saved", |_, d| {
            match state_of(d)? {
                VmState::Hibernated => Ok(()),
                // Whoever wakes it wants it to run, also when it was paused.
                _ => Ok(d.managed_save(sys::VIR_DOMAIN_SAVE_RUNNING)?),
            }
        });
        done.await
    }

    async fn discard_saved(&self, vm: VmId) -> Result<()> {
        let done = self.libvirt().guarded(vm, Lane::Control, QUICK, "The VM's saved memory could not be removed", move |conn| match ours(conn, vm)? {
            Some(d) if d.has_managed_save(0)? => Ok(d.managed_save_remove(0)?),
            _ => Ok(()),
        });
        done.await
    }

    async fn change_live(&self, order: &VmOrder, change: &Change) -> Result<()> {
        crate::live::change(self.libvirt(), &self.paths, order, change).await
    }

    async fn memory_store(&self, order: &VmOrder, layer: Layer) -> Result<StoredMemory> {
        self.store_memory(order, layer).await
    }

    async fn memory_restore(&self, order: &VmOrder, snapshot: SnapshotId) -> Result<Started> {
        let done = self.restore_memory(order, snapshot).await;
        self.restart_awaited(order.id, false);
        done
    }

    async fn merge(&self, order: &VmOrder, disk: DiskId, merge: Merge, progress: &(dyn Fn(Progress) + Send + Sync)) -> Result<()> {
        self.merge_layers(order, disk, merge, progress).await
    }

    async fn guest_info(&self, vm: VmId) -> Result<GuestInfo> {
        guest::info(self.libvirt(), vm).await
    }

    async fn counters(&self) -> Result<Vec<(VmId, Counters)>> {
        let Some(this) = self.me.upgrade() else { return Ok(Vec::new()) };
        self.libvirt().call(Lane::Look, QUICK, "The VMs' counters could not be read", move |conn| counters(&this, conn)).await
    }

    async fn screenshot(&self, vm: VmId) -> Result<Vec<u8>> {
        crate::screenshot::take(self.libvirt(), vm).await
    }

    async fn console(&self, vm: VmId, kind: ConsoleKind) -> Result<Box<dyn Duplex>> {
        let what = "The console could not be opened";
        let live = self.libvirt().call(Lane::Control, QUICK, what, move |conn| {
            let Some(d) = ours(conn, vm)? else { return Err(no_domain(what, vm).into()) };
            if !is_running(&d)? {
                return Err(Error::conflict("A VM that does not run has no console.").with_hint("Start the VM.").into());
            }
            Ok(El::parse(&d.xml_desc(0)?)?)
        });
        crate::console::open(&live.await?, kind).await
    }

    fn changes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.libvirt().changes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_mapped() {
        let s = |state, reason: u32| running_state(state, i32::try_from(reason).unwrap());
        assert_eq!(s(sys::VIR_DOMAIN_RUNNING, 1), Some(VmState::Running));
        assert_eq!(s(sys::VIR_DOMAIN_PAUSED, sys::VIR_DOMAIN_PAUSED_USER), Some(VmState::Paused));
        assert_eq!(s(sys::VIR_DOMAIN_PAUSED, sys::VIR_DOMAIN_PAUSED_IOERROR), Some(VmState::Crashed));
        assert_eq!(s(sys::VIR_DOMAIN_SHUTOFF, sys::VIR_DOMAIN_SHUTOFF_CRASHED), None);
        assert_eq!(s(99, 0), Some(VmState::Unknown));
        assert_eq!(running_state(sys::VIR_DOMAIN_PAUSED, -1), Some(VmState::Paused));
        let off = |reason: u32| died((sys::VIR_DOMAIN_SHUTOFF, i32::try_from(reason).unwrap()));
        assert!(off(sys::VIR_DOMAIN_SHUTOFF_CRASHED) && off(sys::VIR_DOMAIN_SHUTOFF_FAILED));
        assert!(!off(sys::VIR_DOMAIN_SHUTOFF_SHUTDOWN) && !off(sys::VIR_DOMAIN_SHUTOFF_DESTROYED) && !died((sys::VIR_DOMAIN_RUNNING, 1)));
    }
}
