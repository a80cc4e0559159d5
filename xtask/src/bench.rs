//! Benches: each measures something of ours beside a simple peer on the same machine, so that the ratio means the same
//! everywhere. `docs/benchmarks.md` says how to read them.

use anyhow::Result;
use serde_json::{Value, json};
use std::hint::black_box;
use std::time::{Duration, Instant};
use uuid::Uuid;
use virga_decide::place::{HostView, Policy, Request, View, place};
use virga_model::HostId;
use virga_model::host::HostState;
use virga_model::vm::VmSpec;

/// How long each side of a bench is measured.
const MEASURE: Duration = Duration::from_millis(800);
/// Rounds; the best one counts, because noise only ever makes it slower.
const ROUNDS: u32 = 3;

/// What a bench found.
#[derive(Clone, Debug)]
pub struct Figure {
    /// Name of the bench.
    pub name: &'static str,
    /// What the two numbers count.
    pub unit: &'static str,
    /// Our number; larger is better.
    pub ours: f64,
    /// The peer's.
    pub peer: f64,
    /// Least ratio of the two that is good enough.
    pub goal: f64,
}

impl Figure {
    /// Ours by the peer's.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        self.ours / self.peer
    }

    /// Whether the goal is met.
    #[must_use]
    pub fn met(&self) -> bool {
        self.ratio() >= self.goal
    }

    /// As an object.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({"name": self.name, "unit": self.unit, "ours": self.ours, "peer": self.peer, "ratio": self.ratio(), "goal": self.goal, "met": self.met()})
    }
}

/// A bench: its name, what it measures, and how.
pub struct Bench {
    /// Name, as it is given on the command line.
    pub name: &'static str,
    /// What it measures, in a sentence.
    pub about: &'static str,
    /// Measures.
    pub run: fn() -> Result<Figure>,
}

/// Every bench.
pub const BENCHES: [Bench; 1] =
    [Bench { name: "decide-place", about: "placements a second over 1,024 hosts, beside sorts a second of 1,024 numbers", run: decide_place }];

/// Calls a second of `f`: the best of some rounds.
fn rate(mut f: impl FnMut()) -> f64 {
    let mut best: f64 = 0.0;
    for _ in 0..ROUNDS {
        let (begun, mut calls) = (Instant::now(), 0u32);
        while begun.elapsed() < MEASURE {
            f();
            calls += 1;
        }
        best = best.max(f64::from(calls) / begun.elapsed().as_secs_f64());
    }
    best
}

/// SCALE-01: one manager places over 1,024 hosts. Judging every host, with reasons for each refusal, may cost some times
/// as much as sorting as many numbers, and no more.
fn decide_place() -> Result<Figure> {
    const HOSTS: u32 = 1024;
    let view = View { hosts: (0..HOSTS).map(host).collect(), stores: Vec::new() };
    let spec: VmSpec = serde_json::from_value(json!({"cpu": {"count": 2, "max": 8}, "memory": {"bytes": 4u64 << 30}}))?;
    let request = Request { spec: &spec, networks: &[], anywhere: &[], host: None, source: None, policy: Policy::LoadBalance };
    anyhow::ensure!(place(&view, &request).is_ok(), "some host must fit");
    let ours = rate(|| drop(black_box(place(black_box(&view), &request))));
    let numbers: Vec<f64> = view.hosts.iter().map(|h| h.cpu_use).collect();
    let peer = rate(|| {
        let mut sorted = black_box(&numbers).clone();
        sorted.sort_by(f64::total_cmp);
        black_box(sorted);
    });
    Ok(Figure { name: "decide-place", unit: "per second", ours, peer, goal: 0.1 })
}

/// A host of the bench: one in four is full, one in sixteen is silent; loads are scattered.
fn host(n: u32) -> HostView {
    // A constant near 2^32 by the golden ratio scatters neighbouring numbers.
    let scattered = |n: u32| f64::from(n.wrapping_mul(2_654_435_761) >> 8) / f64::from(1u32 << 24);
    HostView {
        id: HostId(Uuid::from_u128(u128::from(n) + 1)),
        name: format!("host-{n}"),
        state: if n % 16 == 5 { HostState::Silent } else { HostState::Up },
        maintenance: n % 64 == 9,
        vcpus: 64,
        memory_bytes: 256 << 30,
        allocated_memory_bytes: if n.is_multiple_of(4) { 254 << 30 } else { 64 << 30 },
        store_free_bytes: 4 << 40,
        stores: Vec::new(),
        kvm: true,
        uefi: true,
        ovs: true,
        nics: vec!["eth0".into(), "eth1".into()],
        cpu_use: scattered(n),
        memory_use: scattered(n + 7_919),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_say_whether_the_goal_is_met() {
        let f = Figure { name: "x", unit: "per second", ours: 10.0, peer: 100.0, goal: 0.05 };
        assert!(f.met() && (f.ratio() - 0.1).abs() < 1e-9);
        let object = f.json();
        for key in ["name", "ours", "peer", "ratio", "goal", "met"] {
            assert!(object.get(key).is_some(), "{key}");
        }
    }

    #[test]
    fn the_placement_bench_has_hosts_of_every_sort() {
        let hosts: Vec<HostView> = (0..64).map(host).collect();
        assert!(hosts.iter().any(|h| h.state == HostState::Silent) && hosts.iter().any(|h| h.maintenance));
        assert!(hosts.iter().all(|h| (0.0..=1.0).contains(&h.cpu_use)));
    }
}
