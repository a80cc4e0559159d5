//! What simulated guests do with their time: load, memory and traffic that differ by guest and by time of day.
//!
//! Everything is a function of the seed, the VM and the moment, so the same seed lives the same life, and nothing has to
//! be kept for a guest between two questions. Counters are integrals of a load that is never negative: they only grow.

use std::f64::consts::TAU;
use virga_model::VmId;
use virga_model::host::HostFacts;
use virga_model::stats::Counters;
use virga_model::vm::{AgentState, GuestFileSystem, GuestInfo};

use crate::host::SimDomain;

/// Seconds of a day.
const DAY_S: f64 = 86_400.0;
/// Operating systems, kernels and kinds of file system that guests have.
const SYSTEMS: [(&str, &str, &str); 5] = [
    ("Debian GNU/Linux 12 (bookworm)", "6.1.0-28-amd64", "ext4"),
    ("Debian GNU/Linux 13 (trixie)", "6.12.9-amd64", "ext4"),
    ("Ubuntu 24.04.1 LTS", "6.8.0-51-generic", "ext4"),
    ("Rocky Linux 9.5 (Blue Onyx)", "5.14.0-503.el9.x86_64", "xfs"),
    ("Windows Server 2022 Standard", "10.0.20348", "ntfs"),
];
/// Memory of a host that is not its guests'.
const HOST_MEMORY_BYTES: u64 = 4 << 30;
/// Share of a host's processors that is not its guests'.
const HOST_CPU: f64 = 0.015;

/// A number that looks random and is the same for the same arguments (splitmix64).
#[must_use]
pub fn draw(seed: u64, what: u64) -> u64 {
    let mut x = seed.wrapping_add(what.wrapping_mul(0x9E37_79B9_7F4A_7C15)).wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// The same as a share, from 0 to below 1.
#[must_use]
pub fn share(seed: u64, what: u64) -> f64 {
    (draw(seed, what) >> 11) as f64 / (1u64 << 53) as f64
}

/// The seed of one guest's life.
fn own(seed: u64, vm: VmId) -> u64 {
    let bits = vm.0.as_u128();
    draw(seed ^ (bits >> 64) as u64, bits as u64)
}

/// How busy a guest is over time: a floor, a wave with the day, and a fast one.
struct Load {
    floor: f64,
    day: f64,
    phase: f64,
    fast: f64,
    period: f64,
}

impl Load {
    fn of(own: u64) -> Load {
        // Most guests are idle, few are busy: a square makes it so.
        let busy = share(own, 1).powi(2);
        Load {
            floor: 0.01 + 0.15 * busy,
            day: 0.45 * busy * share(own, 2),
            phase: DAY_S * (0.4 + 0.2 * share(own, 3)),
            fast: 0.02 + 0.25 * busy,
            period: 45.0 + 600.0 * share(own, 4),
        }
    }

    /// Share of the guest's processors in use at second `t`.
    fn at(&self, t: f64) -> f64 {
        self.floor + self.day * (1.0 + (TAU * (t - self.phase) / DAY_S).cos()) / 2.0 + self.fast * (1.0 + (TAU * t / self.period).sin()) / 2.0
    }

    /// Its integral from second 0 to `t`.
    fn sum(&self, t: f64) -> f64 {
        let day = self.day / 2.0 * (t + DAY_S / TAU * (TAU * (t - self.phase) / DAY_S).sin());
        let fast = self.fast / 2.0 * (t - self.period / TAU * (TAU * t / self.period).cos());
        self.floor * t + day + fast
    }
}

fn whole(x: f64) -> u64 {
    // Saturates, and a load is never negative.
    x.max(0.0) as u64
}

/// Counters of a running guest at a moment of the simulated clock.
pub(crate) fn counters(seed: u64, d: &SimDomain, now_ms: u64) -> Counters {
    let own = own(seed, d.order.id);
    let load = Load::of(own);
    let (from, to) = (d.booted_at as f64 / 1000.0, now_ms as f64 / 1000.0);
    let work = (load.sum(to) - load.sum(from)).max(0.0);
    let spec = &d.order.spec;
    let rate = |what: u64, most: f64| whole(work * most * share(own, what).powi(2));
    Counters {
        cpu_ns: whole(work * f64::from(spec.cpu.count) * 1e9),
        cpus: spec.cpu.count,
        memory_bytes: whole(spec.memory.bytes as f64 * (0.3 + 0.4 * share(own, 5) + 0.2 * load.at(to))) & !0xFFFF,
        disk_read_bytes: rate(6, 4e7),
        disk_write_bytes: rate(7, 6e7),
        net_in_bytes: rate(8, 5e7),
        net_out_bytes: rate(9, 5e7),
    }
}

/// Counters of a host with these guests.
pub(crate) fn host_counters(facts: &HostFacts, guests: &[Counters], now_ms: u64) -> Counters {
    let own = HOST_CPU * f64::from(facts.cpu.logical) * now_ms as f64 * 1e6;
    let start = Counters { cpu_ns: whole(own), cpus: facts.cpu.logical, memory_bytes: HOST_MEMORY_BYTES, ..Counters::default() };
    guests.iter().fold(start, |a, g| Counters {
        cpu_ns: a.cpu_ns.saturating_add(g.cpu_ns),
        cpus: a.cpus,
        memory_bytes: a.memory_bytes.saturating_add(g.memory_bytes),
        disk_read_bytes: a.disk_read_bytes.saturating_add(g.disk_read_bytes),
        disk_write_bytes: a.disk_write_bytes.saturating_add(g.disk_write_bytes),
        net_in_bytes: a.net_in_bytes.saturating_add(g.net_in_bytes),
        net_out_bytes: a.net_out_bytes.saturating_add(g.net_out_bytes),
    })
}

/// What a booted guest says about itself.
pub(crate) fn guest_info(seed: u64, d: &SimDomain) -> GuestInfo {
    let own = own(seed, d.order.id);
    let (os, kernel, kind) = SYSTEMS[usize::try_from(draw(own, 10) % SYSTEMS.len() as u64).unwrap_or(0)];
    let b = d.order.id.0.as_bytes();
    let size = d.order.spec.disks.first().map(|disk| disk.size_bytes);
    let used = |s: u64| whole(s as f64 * (0.1 + 0.6 * share(own, 11))) & !0xFFF;
    let mount = if kind == "ntfs" { "C:\\" } else { "/" };
    GuestInfo {
        agent: AgentState::Connected,
        agent_version: Some("9.2.0".into()),
        host_name: Some(d.order.name.clone()),
        os: Some(os.into()),
        kernel: Some(kernel.into()),
        ips: d.order.spec.nics.iter().map(|_| format!("10.{}.{}.{}", b[13], b[14], b[15])).take(1).collect(),
        file_systems: size
            .map(|s| GuestFileSystem { mount_point: mount.into(), kind: kind.into(), total_bytes: Some(s), used_bytes: Some(used(s)) })
            .into_iter()
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_only_grow_and_loads_are_shares() {
        for n in 0..200 {
            let load = Load::of(draw(7, n));
            let mut before = load.sum(1_000_000.0);
            for step in 1..2_000 {
                let t = 1_000_000.0 + f64::from(step) * 97.0;
                let (sum, at) = (load.sum(t), load.at(t));
                assert!(sum >= before, "guest {n} at {t}");
                assert!((0.0..=1.0).contains(&at), "guest {n}: {at}");
                before = sum;
            }
        }
    }

    #[test]
    fn the_same_seed_lives_the_same_life() {
        assert_eq!(draw(1, 2), draw(1, 2));
        assert_ne!(draw(1, 2), draw(2, 2));
        let mean = (0..1000).map(|n| share(3, n)).sum::<f64>() / 1000.0;
        assert!((0.45..0.55).contains(&mean), "{mean}");
    }
}
