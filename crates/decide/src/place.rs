//! On which host a VM goes: every host is judged, every reason against it is kept, and a refusal says what the smallest
//! change would have been.

use crate::data_stores::{self, Choice, SeenStore, StoreView};
use virga_model::host::{HostState, MEMORY_RESERVED_BYTES};
use virga_model::network::NetworkSpec;
use virga_model::order::NetworkRef;
use virga_model::refusal::{HostRefusal, Reason};
use virga_model::vm::{CpuMode, Firmware, VmSpec};
use virga_model::{DiskId, Error, ErrorCode, HostId};

/// What a placement looks at.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// All hosts.
    pub hosts: Vec<HostView>,
    /// All data stores.
    pub stores: Vec<StoreView>,
}

/// A host as a placement sees it.
#[derive(Clone, Debug)]
pub struct HostView {
    /// The host.
    pub id: HostId,
    /// Its name.
    pub name: String,
    /// Whether it reports.
    pub state: HostState,
    /// Kept free of new VMs.
    pub maintenance: bool,
    /// Logical processors.
    pub vcpus: u32,
    /// Physical memory in bytes.
    pub memory_bytes: u64,
    /// Bytes that its active VMs may use.
    pub allocated_memory_bytes: u64,
    /// Free bytes of its local store.
    pub store_free_bytes: u64,
    /// The other data stores as it sees them.
    pub stores: Vec<SeenStore>,
    /// Guests run with KVM.
    pub kvm: bool,
    /// UEFI firmware is installed.
    pub uefi: bool,
    /// Open vSwitch answers.
    pub ovs: bool,
    /// Its network interfaces.
    pub nics: Vec<String>,
    /// Share of processors in use, 0 to 1.
    pub cpu_use: f64,
    /// Share of memory in use, 0 to 1.
    pub memory_use: f64,
}

/// How to choose among hosts that fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// At random among those that fit (CLU-04); the seed is the randomness.
    Automatic {
        /// Any number; the same number and view give the same host.
        seed: u64,
    },
    /// The host with the lowest of processor use x 50 % + memory use x 50 % (CLU-05).
    LoadBalance,
}

/// What is to be placed.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The VM's specification.
    pub spec: &'a VmSpec,
    /// The networks it names.
    pub networks: &'a [NetworkRef],
    /// Disks whose data store is to be chosen; the others go where the specification says.
    pub anywhere: &'a [DiskId],
    /// The host somebody chose.
    pub host: Option<HostId>,
    /// For a clone of disks on a local data store: their host, and the name of what has them. Nowhere else can it go.
    pub source: Option<(HostId, &'a str)>,
    /// How to choose otherwise.
    pub policy: Policy,
}

/// A decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The host.
    pub host: HostId,
    /// Its name.
    pub host_name: String,
    /// Why this one, in words.
    pub why: String,
    /// Where the disks go for which a data store was to be chosen.
    pub disks: Choice,
}

impl HostView {
    /// Bytes of memory still free for VMs (overcommit is off: MEM-05).
    #[must_use]
    pub fn free_memory_bytes(&self) -> u64 {
        self.memory_bytes.saturating_sub(MEMORY_RESERVED_BYTES).saturating_sub(self.allocated_memory_bytes)
    }

    /// Every reason against running a VM here, its disks aside: see [`data_stores::judge`].
    #[must_use]
    pub fn reasons_against(&self, spec: &VmSpec, networks: &[NetworkRef]) -> Vec<Reason> {
        let mut r = Vec::new();
        if self.state != HostState::Up {
            r.push(Reason::NotUp { state: self.state.to_string() });
        }
        if self.maintenance {
            r.push(Reason::Maintenance);
        }
        let (needed_bytes, free_bytes) = (spec.host_memory_bytes(), self.free_memory_bytes());
        if needed_bytes > free_bytes {
            r.push(Reason::Memory { needed_bytes, free_bytes });
        }
        if spec.cpu.count > self.vcpus {
            r.push(Reason::Vcpus { needed: spec.cpu.count, available: self.vcpus });
        }
        if spec.cpu.mode == CpuMode::HostPassthrough && !self.kvm {
            r.push(Reason::NoKvm);
        }
        if spec.firmware == Firmware::Uefi && !self.uefi {
            r.push(Reason::NoFirmware);
        }
        for n in networks {
            if let NetworkSpec::Ovs { uplink, .. } = &n.spec {
                let why = match uplink {
                    _ if !self.ovs => "Open vSwitch does not answer on the host".to_string(),
                    Some(u) if !self.nics.contains(u) => format!("the host has no interface {u}"),
                    _ => continue,
                };
                r.push(Reason::Network { network: n.name.clone(), why });
            }
        }
        r
    }

    fn load(&self) -> f64 {
        self.cpu_use * 0.5 + self.memory_use * 0.5
    }
}

/// Chooses a host.
///
/// # Errors
/// [`ErrorCode::NoCapacity`] with the reasons for every host and the smallest change that would have worked.
pub fn place(view: &View, request: &Request<'_>) -> Result<Placement, Error> {
    let mut fits: Vec<(&HostView, Choice)> = Vec::new();
    let mut refusals = Vec::new();
    for h in view.hosts.iter().filter(|h| request.host.is_none_or(|wanted| wanted == h.id)) {
        let mut reasons = h.reasons_against(request.spec, request.networks);
        if let Some((_, source)) = request.source.filter(|(there, _)| *there != h.id) {
            reasons.push(Reason::DisksElsewhere { source: source.into() });
        }
        // Disks are thin: a data store refuses only what could never fit, its alarms watch the rest.
        match data_stores::judge(h, &view.stores, request.spec, request.anywhere) {
            Ok(choice) if reasons.is_empty() => fits.push((h, choice)),
            other => {
                reasons.extend(other.err().unwrap_or_default());
                refusals.push(HostRefusal { host: h.id, host_name: h.name.clone(), reasons });
            }
        }
    }
    // The order of the view must not matter.
    fits.sort_by_key(|(h, _)| h.id);
    let (chosen, disks) = match request.policy {
        _ if fits.is_empty() => return Err(no_capacity(view, refusals)),
        Policy::Automatic { seed } => &fits[usize::try_from(seed % fits.len() as u64).unwrap_or(0)],
        Policy::LoadBalance => fits.iter().min_by(|(a, _), (b, _)| a.load().total_cmp(&b.load())).unwrap_or(&fits[0]),
    };
    let why = why(chosen, fits.len(), view.hosts.len(), request);
    Ok(Placement { host: chosen.id, host_name: chosen.name.clone(), why, disks: disks.clone() })
}

fn why(chosen: &HostView, fits: usize, hosts: usize, request: &Request<'_>) -> String {
    if request.host.is_some() {
        return format!("{} was asked for and fits", chosen.name);
    }
    if let Some((_, source)) = request.source {
        return format!("the disks of {source} lie on {}", chosen.name);
    }
    match request.policy {
        _ if hosts == 1 => format!("{} is the only host and fits", chosen.name),
        Policy::Automatic { .. } => format!("{} was drawn among {fits} of {hosts} hosts that fit (CLU-04)", chosen.name),
        Policy::LoadBalance => format!("{} has the lowest load ({:.0} %) among {fits} of {hosts} hosts that fit (CLU-05)", chosen.name, chosen.load() * 100.0),
    }
}

fn no_capacity(view: &View, refusals: Vec<HostRefusal>) -> Error {
    if view.hosts.is_empty() {
        return Error::new(ErrorCode::NoCapacity, "There is no host yet.")
            .with_hint("Add one: virga host join-token --name NAME, then virga-agent on the new host.");
    }
    if refusals.is_empty() {
        return Error::new(ErrorCode::NoCapacity, "The host that was asked for does not exist.");
    }
    let list: Vec<String> =
        refusals.iter().take(5).map(|r| format!("{}: {}", r.host_name, r.reasons.iter().map(Reason::text).collect::<Vec<_>>().join(", "))).collect();
    let more = refusals.len().saturating_sub(5);
    let more = if more > 0 { format!("; and {more} more hosts") } else { String::new() };
    let mut e = Error::new(ErrorCode::NoCapacity, format!("No host can take the VM. {}{more}.", list.join("; ")));
    e.hint = smallest_change(&refusals);
    e.refusals = refusals;
    e
}

/// The host with the fewest reasons shows the smallest change that would have worked.
fn smallest_change(refusals: &[HostRefusal]) -> Option<String> {
    use virga_model::size::human;
    let cost = |r: &Reason| match r {
        Reason::Maintenance => 1,
        Reason::Memory { .. } => 2,
        Reason::Vcpus { .. } | Reason::NoKvm | Reason::NoFirmware | Reason::Storage { .. } => 3,
        Reason::Network { .. } | Reason::DataStore { .. } => 4,
        Reason::DisksElsewhere { .. } => 16,
        Reason::NotUp { .. } => 8,
    };
    let best = refusals.iter().min_by_key(|r| r.reasons.iter().map(cost).sum::<i32>())?;
    let steps: Vec<String> = best
        .reasons
        .iter()
        .map(|r| match r {
            Reason::Maintenance => "end its maintenance".to_string(),
            Reason::Memory { needed_bytes, free_bytes } => format!("free {} of memory there, or give the VM less", human(needed_bytes - free_bytes)),
            Reason::Vcpus { available, .. } => format!("give the VM at most {available} vCPUs"),
            Reason::NoKvm => "use CPU mode host-model or custom".to_string(),
            Reason::NoFirmware => "install the package ovmf there, or use BIOS".to_string(),
            Reason::Network { network, why } => format!("mend network {network} ({why})"),
            Reason::DataStore { data_store, why } => format!("mend data store {data_store} ({why})"),
            Reason::Storage { needed_bytes, free_bytes } => format!("free {} of disk space there", human(needed_bytes - free_bytes)),
            Reason::NotUp { .. } => "bring it back: check its virga-agent and network".to_string(),
            Reason::DisksElsewhere { source } => format!("let Virga choose the host, or have a copy of {source} there"),
        })
        .collect();
    Some(format!("Smallest change that would work, on {}: {}.", best.host_name, steps.join("; ")))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use uuid::Uuid;

    pub(crate) fn host(n: u128, gib: u64) -> HostView {
        HostView {
            id: HostId(Uuid::from_u128(n)),
            name: format!("h{n}"),
            state: HostState::Up,
            maintenance: false,
            vcpus: 8,
            memory_bytes: gib << 30,
            allocated_memory_bytes: 0,
            store_free_bytes: 100 << 30,
            stores: vec![],
            kvm: false,
            uefi: true,
            ovs: false,
            nics: vec!["eth1".into()],
            cpu_use: 0.0,
            memory_use: 0.0,
        }
    }

    fn spec(mib: u64) -> VmSpec {
        serde_json::from_value(serde_json::json!({"cpu": {"count": 1, "max": 1}, "memory": {"bytes": mib << 20}})).unwrap()
    }

    fn request(spec: &VmSpec) -> Request<'_> {
        Request { spec, networks: &[], anywhere: &[], host: None, source: None, policy: Policy::LoadBalance }
    }

    #[test]
    fn the_least_loaded_host_that_fits_wins() {
        let mut view = View { hosts: vec![host(1, 4), host(2, 64), host(3, 64)], stores: vec![] };
        view.hosts[1].cpu_use = 0.9;
        let s = spec(16 << 10);
        let p = place(&view, &request(&s)).unwrap();
        assert_eq!(p.host_name, "h3");
        assert!(p.why.contains("2 of 3"), "{}", p.why);
    }

    #[test]
    fn a_refusal_lists_every_host_and_the_smallest_change() {
        let mut view = View { hosts: vec![host(1, 4), host(2, 64), host(3, 64)], stores: vec![] };
        view.hosts[1].state = HostState::Silent;
        view.hosts[2].maintenance = true;
        let s = spec(16 << 10);
        let e = place(&view, &request(&s)).unwrap_err();
        assert_eq!(e.code, ErrorCode::NoCapacity);
        assert_eq!(e.refusals.len(), 3);
        assert!(e.message.contains("h1: not enough memory") && e.message.contains("h2: the host is silent"), "{e}");
        assert!(e.hint.unwrap().contains("on h3: end its maintenance"));
    }

    #[test]
    fn ovs_uplinks_kvm_and_firmware_are_looked_at() {
        let mut h = host(1, 64);
        h.uefi = false;
        let mut s = spec(256);
        s.firmware = Firmware::Uefi;
        s.cpu.mode = CpuMode::HostPassthrough;
        let net = NetworkRef {
            id: virga_model::NetworkId(Uuid::from_u128(1)),
            name: "lan".into(),
            spec: NetworkSpec::Ovs { bridge: "vg-lan".into(), uplink: Some("eth9".into()), vlan: None },
        };
        let r = h.reasons_against(&s, std::slice::from_ref(&net));
        assert_eq!(r.len(), 3, "{r:?}");
        h.ovs = true;
        h.nics.push("eth9".into());
        h.uefi = true;
        h.kvm = true;
        assert!(h.reasons_against(&s, &[net]).is_empty());
    }

    #[test]
    fn automatic_draws_every_host_and_ignores_the_order_of_the_view() {
        let view = View { hosts: vec![host(1, 64), host(2, 64), host(3, 64)], stores: vec![] };
        let mut turned = view.clone();
        turned.hosts.reverse();
        let s = spec(256);
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..9 {
            let r = Request { policy: Policy::Automatic { seed }, ..request(&s) };
            let p = place(&view, &r).unwrap();
            assert_eq!(p.host, place(&turned, &r).unwrap().host);
            seen.insert(p.host_name);
        }
        assert_eq!(seen.len(), 3);
    }

    #[test]
    fn without_hosts_the_hint_says_how_to_add_one() {
        let s = spec(256);
        assert!(place(&View::default(), &request(&s)).unwrap_err().hint.unwrap().contains("join-token"));
    }
}
