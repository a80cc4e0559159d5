//! What the machines and VMs of a fleet are, drawn from its seed: names, processors, memory, sizes. The same seed gives the
//! same fleet. Nothing here is done; it is only said.

use uuid::Uuid;
use virga_model::cloud_init::CloudInit;
use virga_model::host::{HostCpu, HostDisk, HostFacts, HostNic, NumaNode};
use virga_model::vm::{BootDevice, CpuMode, CpuSpec, DiskSpec, Firmware, MemorySpec, NicSpec, VmSpec, mac_for};
use virga_model::{DiskId, NetworkId, NicId};

use crate::life::{draw, share};

/// Machines in a rack.
const RACK: usize = 16;
/// Processor, its logical processors in two sockets, and its clock.
const PROCESSORS: [(&str, u32, u32); 4] = [
    ("Intel(R) Xeon(R) Gold 6338 CPU @ 2.00GHz", 128, 2000),
    ("Intel(R) Xeon(R) Gold 6248R CPU @ 3.00GHz", 96, 3000),
    ("AMD EPYC 7543 32-Core Processor", 128, 2800),
    ("AMD EPYC 9354 32-Core Processor", 128, 3250),
];
/// Memory of a machine in GiB.
const MEMORY_GIB: [u64; 4] = [256, 384, 512, 1024];
/// What VMs are for.
const APPS: [&str; 6] = ["web", "db", "cache", "queue", "ci", "desktop"];

/// Name of the `n`-th machine, from 0.
#[must_use]
pub fn host_name(n: usize) -> String {
    format!("{}-host-{:02}", rack_name(n), n % RACK + 1)
}

/// Name of its rack.
#[must_use]
pub fn rack_name(n: usize) -> String {
    format!("rack-{:02}", n / RACK + 1)
}

/// Name of the `n`-th VM, from 1.
#[must_use]
pub fn vm_name(n: usize) -> String {
    format!("sim-{n:05}")
}

fn pick<T: Copy, const N: usize>(list: [T; N], seed: u64, what: u64) -> T {
    list[usize::try_from(draw(seed, what) % N as u64).unwrap_or(0)]
}

/// A UUID from the seed.
#[must_use]
pub fn uuid(seed: u64, what: u64) -> Uuid {
    let (high, low) = (draw(seed, what.wrapping_mul(2)), draw(seed, what.wrapping_mul(2).wrapping_add(1)));
    uuid::Builder::from_random_bytes((u128::from(high) << 64 | u128::from(low)).to_be_bytes()).into_uuid()
}

/// Inventory of the `n`-th machine. It says of itself that it is simulated.
#[must_use]
pub fn facts(seed: u64, n: usize) -> HostFacts {
    // Machines of a rack were bought together.
    let bought = draw(seed, 0x5ACC + (n / RACK) as u64);
    let (model, logical, mhz) = pick(PROCESSORS, bought, 1);
    let memory_bytes = pick(MEMORY_GIB, bought, 2) << 30;
    let half = logical / 2;
    let numa = (0..2).map(|id| NumaNode { id, cpus: (id * half..(id + 1) * half).collect(), memory_bytes: memory_bytes / 2 }).collect();
    let nic = |i: u8| HostNic {
        name: format!("ens{i}f0np0"),
        mac: format!("b8:59:9f:{:02x}:{:02x}:{i:02x}", n >> 8 & 0xFF, n & 0xFF),
        up: true,
        mtu: 1500,
        speed_mbit: Some(25_000),
        addresses: if i == 1 { vec![format!("10.200.{}.{}/16", n >> 8 & 0xFF, n & 0xFF)] } else { vec![] },
    };
    let disk = |i: u32| HostDisk { name: format!("nvme{i}n1"), size_bytes: 7_681_501_126_656, rotational: false, model: Some("SIMULATED NVMe".into()) };
    let versions = [("virga-agent", env_version()), ("qemu", "7.2.15".into()), ("libvirt", "9.0.0".into()), ("ovs", "3.1.0".into())];
    HostFacts {
        host_name: host_name(n),
        os: "Debian GNU/Linux 12 (bookworm)".into(),
        kernel: "6.1.0-28-amd64".into(),
        cpu: HostCpu {
            model: model.into(),
            arch: "x86_64".into(),
            sockets: 2,
            cores: logical / 4,
            threads: 2,
            logical,
            mhz,
            flags: ["aes", "avx", "avx2", "sse4_2"].map(String::from).to_vec(),
        },
        memory_bytes,
        numa,
        disks: (0..4).map(disk).collect(),
        nics: vec![nic(1), nic(2)],
        store_total_bytes: 28 << 40,
        store_free_bytes: 26 << 40,
        accelerator: "simulated".into(),
        accelerator_why: Some("this machine and its guests are simulated".into()),
        confinement: "simulated".into(),
        uefi: true,
        ovs: true,
        versions: versions.map(|(k, v)| (k.to_string(), v)).into_iter().collect(),
        ..HostFacts::default()
    }
}

fn env_version() -> String {
    concat!(env!("CARGO_PKG_VERSION"), " (virga-fleet)").to_string()
}

/// A VM of the fleet.
#[derive(Clone, Debug)]
pub struct VmPlan {
    /// vCPUs.
    pub cpus: u32,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Size of its disk in bytes.
    pub disk_bytes: u64,
    /// Whether it runs.
    pub runs: bool,
    /// What it is for.
    pub app: &'static str,
    /// `prod` or `test`.
    pub env: &'static str,
}

/// The `n`-th VM.
#[must_use]
pub fn vm(seed: u64, n: usize) -> VmPlan {
    let own = draw(seed, 0x7A11_0000 + n as u64);
    VmPlan {
        cpus: pick([1, 1, 2, 2, 2, 4, 8], own, 1),
        memory_bytes: pick([1u64, 1, 1, 2, 2, 2, 4, 4, 8], own, 2) << 30,
        disk_bytes: pick([10u64, 20, 20, 40, 80], own, 3) << 30,
        runs: share(own, 4) < 0.92,
        app: pick(APPS, own, 5),
        env: if share(own, 6) < 0.7 { "prod" } else { "test" },
    }
}

/// Its specification, with a disk and one NIC in `network`, as the API would have made it.
#[must_use]
pub fn spec(plan: &VmPlan, disk: DiskId, nic: NicId, network: NetworkId) -> VmSpec {
    let mut spec = VmSpec {
        cpu: CpuSpec { count: plan.cpus, max: plan.cpus * 4, cores_per_socket: 0, mode: CpuMode::default() },
        memory: MemorySpec { bytes: plan.memory_bytes, max_bytes: 0 },
        firmware: Firmware::default(),
        machine: String::new(),
        boot: vec![BootDevice::Disk, BootDevice::Cdrom, BootDevice::Network],
        disks: vec![DiskSpec {
            id: disk,
            size_bytes: plan.disk_bytes,
            image: None,
            bus: Default::default(),
            cache: Default::default(),
            mode: Default::default(),
            limits: Default::default(),
            origin: None,
            copy_of: None,
            provisioning: Default::default(),
            format: Default::default(),
            discard: Default::default(),
            sharing: Default::default(),
            store: None,
        }],
        nics: vec![NicSpec { id: nic, network, model: Default::default(), mac: mac_for(nic), link_up: true }],
        cdroms: Vec::new(),
        cloud_init: None::<CloudInit>,
        layers: Default::default(),
        template: false,
        detached: Vec::new(),
        disk_work: Default::default(),
        export: None,
    };
    spec.normalize();
    spec
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_count_racks_and_hosts_from_one() {
        assert_eq!(host_name(0), "rack-01-host-01");
        assert_eq!(host_name(6), "rack-01-host-07");
        assert_eq!(host_name(1023), "rack-64-host-16");
        assert_eq!(vm_name(1), "sim-00001");
    }

    #[test]
    fn every_planned_vm_could_have_been_made_through_the_api() {
        for n in 0..500 {
            let plan = vm(7, n);
            let id = n as u64;
            spec(&plan, DiskId(uuid(1, id)), NicId(uuid(2, id)), NetworkId(uuid(3, 0))).check().unwrap();
        }
    }

    #[test]
    fn machines_are_servers_and_say_that_they_are_simulated() {
        for n in 0..200 {
            let f = facts(7, n);
            assert_eq!(f.cpu.logical, f.cpu.sockets * f.cpu.cores * f.cpu.threads);
            assert!((256 << 30..=1 << 40).contains(&f.memory_bytes));
            assert_eq!(f.accelerator, "simulated");
        }
    }
}
