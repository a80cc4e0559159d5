//! What the machine is: read from /proc, /sys, libvirt and the tools themselves.

use crate::files::Owner;
use crate::libvirt::{Lane, QUICK};
use crate::xml::El;
use crate::{Kvm, Result, blocking, hypervisor, program};
use async_trait::async_trait;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;
use virga_agent::host::Facts;
use virga_model::Error;
use virga_model::host::{HostCpu, HostDisk, HostFacts, HostNic, NumaNode};
use virga_model::stats::Counters;

const COMMAND: Duration = Duration::from_secs(10);
/// Bytes of a sector in /proc/diskstats and /sys/block.
const SECTOR: u64 = 512;

/// `kvm`, or `tcg` with the reason.
pub fn accelerator(capabilities: &El) -> (&'static str, Option<String>) {
    let guests = capabilities.many("guest").filter_map(|g| g.one("arch")).filter(|a| a.get("name") == Some("x86_64"));
    let lists_kvm = guests.flat_map(|a| a.many("domain")).any(|d| d.get("type") == Some("kvm"));
    let cpuinfo = read("/proc/cpuinfo");
    let hardware = field(&cpuinfo, "flags").is_some_and(|f| f.split_whitespace().any(|w| matches!(w, "vmx" | "svm")));
    match std::fs::OpenOptions::new().read(true).write(true).open("/dev/kvm") {
        // A /dev/kvm without the hardware (kvm-pvm in some clouds) runs only guests that were made for it: ordinary ones
        // die in their firmware.
        Ok(_) if !hardware => {
            ("tcg", Some("There is a /dev/kvm, but the processor shows neither VT-x nor AMD-V, without which ordinary guests do not run.".into()))
        }
        Ok(_) if lists_kvm => ("kvm", None),
        Ok(_) => {
            ("tcg", Some("/dev/kvm is there, but libvirt lists no KVM guests: is QEMU's KVM support installed? Restart libvirtd after mending it.".into()))
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => (
            "tcg",
            Some("There is no /dev/kvm: the processor lacks VT-x or AMD-V, it is switched off in the firmware, or the module kvm is not loaded.".into()),
        ),
        Err(e) => ("tcg", Some(format!("/dev/kvm cannot be opened: {e}."))),
    }
}

/// User and group of QEMU's processes, as libvirt's DAC driver tells.
pub fn qemu_user(capabilities: &El) -> Option<Owner> {
    let dac = capabilities.one("host")?.many("secmodel").find(|m| m.one("model").is_some_and(|x| x.text == "dac"))?;
    let (uid, gid) = dac.one("baselabel")?.text.split_once(':')?;
    let number = |t: &str| t.trim_start_matches('+').parse::<u32>().ok();
    Some((number(uid)?, number(gid)?))
}

fn confinement(capabilities: &El) -> String {
    let models: Vec<&str> =
        capabilities.one("host").map(|h| h.many("secmodel").filter_map(|m| m.one("model")).map(|m| m.text.as_str()).collect()).unwrap_or_default();
    let confined = match models.iter().find(|m| matches!(**m, "apparmor" | "selinux")) {
        Some(m) => format!("guests are confined by {m}"),
        None => "guests are not confined: libvirt uses neither AppArmor nor SELinux".to_string(),
    };
    let user = match qemu_user(capabilities) {
        Some((0, _)) => "QEMU runs as root",
        Some(_) => "QEMU runs as a user of its own",
        None => "libvirt does not tell which user QEMU runs as",
    };
    let v2 = read("/sys/fs/cgroup/cgroup.controllers");
    let has = |c: &str| v2.split_whitespace().any(|x| x == c) || Path::new("/sys/fs/cgroup").join(c).is_dir();
    let limited = match (has("cpu"), has("memory")) {
        (true, true) => "cgroups can limit processor time and memory",
        (false, false) => "there are no cgroups for processor time and memory, so guests are not limited",
        _ => "cgroups can limit only one of processor time and memory",
    };
    format!("{confined}; {user}; {limited}")
}

fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn number(path: impl AsRef<Path>) -> Option<u64> {
    read(path).trim().parse().ok()
}

/// Physical address bits of the processors (36 when they do not tell).
pub fn address_bits() -> u32 {
    let cpuinfo = read("/proc/cpuinfo");
    let line = field(&cpuinfo, "address sizes").unwrap_or_default();
    line.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(36)
}

/// The first value of a `name : value` line.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().filter_map(|l| l.split_once(':')).find(|(k, _)| k.trim() == name).map(|(_, v)| v.trim())
}

fn cpu(cpuinfo: &str) -> HostCpu {
    let mut sockets = BTreeSet::new();
    let mut cores = BTreeSet::new();
    let mut logical = 0u32;
    let (mut socket, mut core) = (0u64, None);
    for line in cpuinfo.lines().chain([""]) {
        let (name, value) = line.split_once(':').map_or(("", ""), |(k, v)| (k.trim(), v.trim()));
        match name {
            "processor" => {
                logical += 1;
                (socket, core) = (0, None);
            }
            "physical id" => socket = value.parse().unwrap_or(0),
            "core id" => core = value.parse::<u64>().ok(),
            "" if logical > 0 => {
                sockets.insert(socket);
                cores.insert((socket, core.unwrap_or(u64::from(logical))));
            }
            _ => {}
        }
    }
    let sockets_n = u32::try_from(sockets.len()).unwrap_or(1).max(1);
    let cores_n = u32::try_from(cores.len()).unwrap_or(1).max(1);
    HostCpu {
        model: field(cpuinfo, "model name").unwrap_or_default().to_string(),
        arch: std::env::consts::ARCH.to_string(),
        sockets: sockets_n,
        cores: (cores_n / sockets_n).max(1),
        threads: (logical / cores_n).max(1),
        logical,
        mhz: field(cpuinfo, "cpu MHz").and_then(|m| m.split('.').next()?.parse().ok()).unwrap_or(0),
        flags: field(cpuinfo, "flags").unwrap_or_default().split_whitespace().map(str::to_string).collect(),
    }
}

/// Kilobytes of a line of a meminfo file, in bytes.
fn meminfo(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|l| l.split_whitespace().any(|w| w == name))?;
    let kib: u64 = line.split_whitespace().skip_while(|w| *w != name).nth(1)?.parse().ok()?;
    kib.checked_mul(1024)
}

/// Numbers of a list such as `0-3,8`.
fn cpu_list(text: &str) -> Vec<u32> {
    let mut out = Vec::new();
    for part in text.trim().split(',').filter(|p| !p.is_empty()) {
        let (a, b) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(a), Ok(b)) = (a.parse::<u32>(), b.parse::<u32>()) {
            out.extend((a..=b).take(4096));
        }
    }
    out
}

fn names(folder: &str) -> Vec<String> {
    let mut out: Vec<String> = std::fs::read_dir(folder).into_iter().flatten().flatten().filter_map(|e| e.file_name().into_string().ok()).collect();
    out.sort();
    out
}

fn numa() -> Vec<NumaNode> {
    let base = "/sys/devices/system/node";
    let node = |name: &String| {
        let id: u32 = name.strip_prefix("node")?.parse().ok()?;
        let memory_bytes = meminfo(&read(format!("{base}/{name}/meminfo")), "MemTotal:").unwrap_or(0);
        Some(NumaNode { id, cpus: cpu_list(&read(format!("{base}/{name}/cpulist"))), memory_bytes })
    };
    let mut out: Vec<NumaNode> = names(base).iter().filter_map(node).collect();
    out.sort_by_key(|n| n.id);
    out
}

/// Block devices that are hardware (or that the host's own storage is made of), by name.
fn is_disk(name: &str) -> bool {
    !["loop", "ram", "zram", "fd", "sr", "nbd"].iter().any(|p| name.starts_with(p))
}

fn disks() -> Vec<HostDisk> {
    let disk = |name: String| {
        let base = format!("/sys/block/{name}");
        let model = read(format!("{base}/device/model")).trim().to_string();
        Some(HostDisk {
            size_bytes: number(format!("{base}/size"))?.saturating_mul(SECTOR),
            rotational: number(format!("{base}/queue/rotational")) == Some(1),
            model: (!model.is_empty()).then_some(model),
            name,
        })
    };
    names("/sys/block").into_iter().filter(|n| is_disk(n)).filter_map(disk).filter(|d| d.size_bytes > 0).collect()
}

/// Interfaces of guests and of the machinery around them, which are not the host's.
fn is_guest_interface(name: &str) -> bool {
    name == "lo" || name == "ovs-system" || name == "ovs-netdev" || ["vnet", "tap", "macvtap"].iter().any(|p| name.starts_with(p)) || is_virga_tap(name)
}

fn is_virga_tap(name: &str) -> bool {
    name.strip_prefix("vg").is_some_and(|r| r.len() == 8 && r.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn nics(ip_json: &str) -> Vec<HostNic> {
    let all: Value = serde_json::from_str(ip_json).unwrap_or_default();
    let nic = |l: &Value| {
        let name = l.get("ifname")?.as_str()?.to_string();
        let address = |a: &Value| Some(format!("{}/{}", a.get("local")?.as_str()?, a.get("prefixlen")?.as_u64()?));
        let speed = number(Path::new("/sys/class/net").join(&name).join("speed"));
        Some(HostNic {
            mac: l.get("address").and_then(Value::as_str).unwrap_or_default().to_string(),
            up: l.get("operstate").and_then(Value::as_str) == Some("UP"),
            mtu: l.get("mtu").and_then(Value::as_u64).and_then(|m| u32::try_from(m).ok()).unwrap_or(0),
            speed_mbit: speed.and_then(|s| u32::try_from(s).ok()).filter(|s| (1..u32::MAX).contains(s)),
            addresses: l.get("addr_info").and_then(Value::as_array).into_iter().flatten().filter_map(address).collect(),
            name,
        })
    };
    all.as_array().into_iter().flatten().filter_map(nic).filter(|n| !is_guest_interface(&n.name)).collect()
}

fn os_release(text: &str) -> String {
    let value = text.lines().find_map(|l| l.strip_prefix("PRETTY_NAME="));
    value.unwrap_or_default().trim().trim_matches(['"', '\'']).to_string()
}

/// `3.1.0` of a line such as `ovs-vsctl (Open vSwitch) 3.1.0`.
fn last_version(text: &str) -> Option<String> {
    let line = text.lines().next()?;
    line.split_whitespace().rfind(|w| w.starts_with(|c: char| c.is_ascii_digit())).map(str::to_string)
}

/// libvirt's way to write a version in one number.
fn version(n: u32) -> String {
    format!("{}.{}.{}", n / 1_000_000, n / 1000 % 1000, n % 1000)
}

fn cpu_busy_ns(stat: &str, ticks_per_second: u64) -> u64 {
    let Some(line) = stat.lines().find(|l| l.starts_with("cpu ")) else { return 0 };
    let n: Vec<u64> = line.split_whitespace().skip(1).filter_map(|w| w.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal; guest time is part of user time.
    let busy: u64 = [0, 1, 2, 5, 6].iter().filter_map(|i| n.get(*i)).sum();
    busy.saturating_mul(1_000_000_000 / ticks_per_second.max(1))
}

/// Bytes read and written by whole disks.
fn disk_bytes(diskstats: &str, whole: impl Fn(&str) -> bool) -> (u64, u64) {
    let mut sum = (0u64, 0u64);
    for line in diskstats.lines() {
        let w: Vec<&str> = line.split_whitespace().collect();
        let (Some(name), Some(read), Some(written)) = (w.get(2), w.get(5), w.get(9)) else { continue };
        if whole(name) {
            let bytes = |t: &str| t.parse::<u64>().unwrap_or(0).saturating_mul(SECTOR);
            sum = (sum.0.saturating_add(bytes(read)), sum.1.saturating_add(bytes(written)));
        }
    }
    sum
}

/// Bytes received and sent by the chosen interfaces.
fn net_bytes(net_dev: &str, chosen: impl Fn(&str) -> bool) -> (u64, u64) {
    let mut sum = (0u64, 0u64);
    for line in net_dev.lines() {
        let Some((name, rest)) = line.split_once(':') else { continue };
        let n: Vec<u64> = rest.split_whitespace().filter_map(|w| w.parse().ok()).collect();
        if chosen(name.trim()) {
            sum = (sum.0.saturating_add(n.first().copied().unwrap_or(0)), sum.1.saturating_add(n.get(8).copied().unwrap_or(0)));
        }
    }
    sum
}

impl Kvm {
    /// libvirt's capabilities.
    pub(crate) async fn capabilities(&self) -> Result<El> {
        self.libvirt.call(Lane::Look, QUICK, "libvirt could not be asked what it can do", |conn| Ok(El::parse(&conn.capabilities()?)?)).await
    }

    /// User and group of QEMU's processes.
    pub(crate) async fn qemu_user(&self) -> Result<Option<Owner>> {
        Ok(qemu_user(&self.capabilities().await?))
    }
}

#[async_trait]
impl Facts for Kvm {
    async fn facts(&self) -> Result<HostFacts> {
        let capabilities = self.capabilities().await?;
        let (libvirt, qemu) =
            self.libvirt.call(Lane::Look, QUICK, "libvirt could not be asked for its version", |conn| Ok((conn.lib_version()?, conn.hyp_version()?))).await?;
        let foreign_vms = virga_agent::host::Hypervisor::domains(self).await?.foreign;
        let images = virga_agent::host::Volumes::images(self, None).await?;
        let ip_json = program::run("ip", &["-j", "addr"], COMMAND).await?;
        let ovs = program::run("ovs-vsctl", &["--timeout=3", "list-br"], COMMAND).await.ok();
        let ovs_version = program::run("ovs-vsctl", &["--version"], COMMAND).await.unwrap_or_default();
        let networks = self.networks().await?;
        let store = self.paths.store.clone();
        blocking(move || {
            let space = rustix::fs::statvfs(&store).map_err(|e| crate::files::failed("Cannot look at the store", &store, &e.into()))?;
            let (accelerator, accelerator_why) = accelerator(&capabilities);
            let mut versions = BTreeMap::from([("libvirt".to_string(), version(libvirt)), ("qemu".to_string(), version(qemu))]);
            versions.extend(last_version(&ovs_version).map(|v| ("ovs".to_string(), v)));
            Ok(HostFacts {
                host_name: rustix::system::uname().nodename().to_string_lossy().into_owned(),
                os: os_release(&read("/etc/os-release")),
                kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
                cpu: cpu(&read("/proc/cpuinfo")),
                memory_bytes: meminfo(&read("/proc/meminfo"), "MemTotal:").ok_or_else(|| Error::host("/proc/meminfo does not tell the memory's size."))?,
                numa: numa(),
                disks: disks(),
                nics: nics(&ip_json),
                store_total_bytes: space.f_blocks.saturating_mul(space.f_frsize),
                store_free_bytes: space.f_bavail.saturating_mul(space.f_frsize),
                accelerator: accelerator.to_string(),
                accelerator_why,
                confinement: confinement(&capabilities),
                uefi: hypervisor::uefi().is_some(),
                ovs: ovs.is_some(),
                versions,
                images,
                networks,
                stores: Vec::new(),
                foreign_vms,
            })
        })
        .await
    }

    async fn host_counters(&self) -> Result<Counters> {
        blocking(|| {
            let memory = read("/proc/meminfo");
            let (Some(total), Some(free)) = (meminfo(&memory, "MemTotal:"), meminfo(&memory, "MemAvailable:")) else {
                return Err(Error::host("/proc/meminfo cannot be read."));
            };
            let stat = read("/proc/stat");
            let logical = stat.lines().filter(|l| l.starts_with("cpu") && !l.starts_with("cpu ")).count();
            let whole: BTreeSet<String> = names("/sys/block").into_iter().filter(|n| is_disk(n) && !n.starts_with("dm-") && !n.starts_with("md")).collect();
            let (disk_read_bytes, disk_write_bytes) = disk_bytes(&read("/proc/diskstats"), |n| whole.contains(n));
            // Interfaces with a device behind them; in a machine without any (a container) all but the guests'.
            let interfaces = names("/sys/class/net");
            let physical = |n: &str| Path::new("/sys/class/net").join(n).join("device").exists();
            let any = interfaces.iter().any(|n| physical(n));
            let (net_in_bytes, net_out_bytes) = net_bytes(&read("/proc/net/dev"), |n| if any { physical(n) } else { !is_guest_interface(n) });
            Ok(Counters {
                cpu_ns: cpu_busy_ns(&stat, rustix::param::clock_ticks_per_second()),
                cpus: u32::try_from(logical).unwrap_or(1).max(1),
                memory_bytes: total.saturating_sub(free),
                disk_read_bytes,
                disk_write_bytes,
                net_in_bytes,
                net_out_bytes,
            })
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_counted() {
        let one = |n: u32, s: u32, c: u32| {
            format!(
                "processor\t: {n}\nmodel name\t: Test CPU @ 2.60GHz\ncpu MHz\t\t: 2599.998\nphysical id\t: {s}\ncore id\t\t: {c}\nflags\t\t: fpu vmx\naddress sizes\t: 46 bits physical, 48 bits virtual\n\n"
            )
        };
        let text: String = (0..8).map(|n| one(n, n / 4, n % 4 / 2)).collect();
        let c = cpu(&text);
        assert_eq!((c.sockets, c.cores, c.threads, c.logical, c.mhz), (2, 2, 2, 8, 2599));
        assert_eq!(c.flags, ["fpu", "vmx"]);
        assert_eq!(cpu("").logical, 0);
        assert_eq!(cpu("processor: 0\nprocessor: 1\n").logical, 2);
    }

    #[test]
    fn proc_files_are_read() {
        assert_eq!(meminfo("MemTotal:   1024 kB\n", "MemTotal:"), Some(1 << 20));
        assert_eq!(meminfo("Node 0 MemTotal:   2048 kB\n", "MemTotal:"), Some(2 << 20));
        assert_eq!(meminfo("x", "MemTotal:"), None);
        assert_eq!(cpu_list("0-3,8\n"), [0, 1, 2, 3, 8]);
        assert_eq!(cpu_list("x,-,1-x"), Vec::<u32>::new());
        assert_eq!(cpu_busy_ns("cpu  1 2 3 100 100 4 5 6 7 8\n", 100), 150_000_000);
        assert_eq!(disk_bytes(" 254 0 vda 1 2 10 4 5 6 20 8\n 254 1 vda1 1 2 3 4 5 6 7 8\nx\n", |n| n == "vda"), (5120, 10240));
        assert_eq!(net_bytes("Inter-|\n face |\n eth0: 100 1 0 0 0 0 0 0 200 1\n  lo: 5 0 0 0 0 0 0 0 5 0\n", |n| n == "eth0"), (100, 200));
        assert_eq!(os_release("NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n"), "Debian GNU/Linux 12 (bookworm)");
        assert_eq!((version(9_000_000), last_version("3.1.0\n").as_deref()), ("9.0.0".into(), Some("3.1.0")));
    }

    #[test]
    fn interfaces_of_guests_are_not_the_hosts() {
        let json = r#"[{"ifname":"lo"},{"ifname":"vg0123abcd"},{"ifname":"vnet3"},{"ifname":"eth0","address":"02:00:00:00:00:01","operstate":"UP","mtu":1500,
            "addr_info":[{"local":"10.0.0.2","prefixlen":24},{}]},{"ifname":"vg-lan"},{}]"#;
        let n = nics(json);
        assert_eq!(n.iter().map(|x| x.name.as_str()).collect::<Vec<_>>(), ["eth0", "vg-lan"]);
        assert_eq!(n[0].addresses, ["10.0.0.2/24"]);
        assert!(nics("garbage").is_empty());
    }

    #[test]
    fn capabilities_tell_accelerator_and_user() {
        let caps = El::parse("<capabilities><host><secmodel><model>none</model></secmodel><secmodel><model>dac</model><baselabel type='kvm'>+64055:+106</baselabel></secmodel></host></capabilities>").unwrap();
        assert_eq!(qemu_user(&caps), Some((64055, 106)));
        assert!(confinement(&caps).starts_with("guests are not confined"));
        assert_eq!(accelerator(&caps).0, "tcg");
        assert_eq!(qemu_user(&El::new("capabilities")), None);
    }
}
