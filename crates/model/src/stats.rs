//! Rates of hosts and VMs: a few numbers every few seconds, kept in memory, never in SQL row by row.

use crate::{Time, VmId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Samples kept in memory for each object: 10 minutes at one every 5 s.
pub const HISTORY_SAMPLES: usize = 120;

/// One sample. Rates are per second over the time since the sample before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Sample {
    /// When it was taken.
    pub at: Time,
    /// Share of the object's processors in use, 0 to 1.
    pub cpu: f64,
    /// Bytes of memory in use (of a VM: resident in its host).
    pub memory_bytes: u64,
    /// Bytes read from disks per second.
    pub disk_read_bytes: f64,
    /// Bytes written to disks per second.
    pub disk_write_bytes: f64,
    /// Bytes received per second.
    pub net_in_bytes: f64,
    /// Bytes sent per second.
    pub net_out_bytes: f64,
}

/// Counters since the object's start, from which an agent makes rates.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counters {
    /// Processor time in nanoseconds.
    pub cpu_ns: u64,
    /// Logical processors the time is spread over.
    pub cpus: u32,
    /// Bytes of memory in use now.
    pub memory_bytes: u64,
    /// Bytes read from disks.
    pub disk_read_bytes: u64,
    /// Bytes written to disks.
    pub disk_write_bytes: u64,
    /// Bytes received.
    pub net_in_bytes: u64,
    /// Bytes sent.
    pub net_out_bytes: u64,
}

impl Sample {
    /// The rates between two readings that lie `elapsed_ms` apart (monotonic). A counter that went back (a
    /// restart) counts as zero.
    #[must_use]
    pub fn between(before: &Counters, after: &Counters, elapsed_ms: u64, at: Time) -> Sample {
        let seconds = elapsed_ms.max(1) as f64 / 1000.0;
        let rate = |a: u64, b: u64| b.saturating_sub(a) as f64 / seconds;
        let cpus = f64::from(after.cpus.max(1));
        Sample {
            at,
            cpu: (rate(before.cpu_ns, after.cpu_ns) / 1e9 / cpus).clamp(0.0, 1.0),
            memory_bytes: after.memory_bytes,
            disk_read_bytes: rate(before.disk_read_bytes, after.disk_read_bytes),
            disk_write_bytes: rate(before.disk_write_bytes, after.disk_write_bytes),
            net_in_bytes: rate(before.net_in_bytes, after.net_in_bytes),
            net_out_bytes: rate(before.net_out_bytes, after.net_out_bytes),
        }
    }
}

/// A sample as it is kept in memory for 80,000 VMs: half the size, and exact enough for a chart (rates to seven digits,
/// memory to a KiB).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Packed {
    at: Time,
    memory_kib: u32,
    cpu: f32,
    disk_read_bytes: f32,
    disk_write_bytes: f32,
    net_in_bytes: f32,
    net_out_bytes: f32,
}

impl From<Sample> for Packed {
    fn from(s: Sample) -> Packed {
        Packed {
            at: s.at,
            memory_kib: u32::try_from(s.memory_bytes >> 10).unwrap_or(u32::MAX),
            cpu: s.cpu as f32,
            disk_read_bytes: s.disk_read_bytes as f32,
            disk_write_bytes: s.disk_write_bytes as f32,
            net_in_bytes: s.net_in_bytes as f32,
            net_out_bytes: s.net_out_bytes as f32,
        }
    }
}

impl From<Packed> for Sample {
    fn from(p: Packed) -> Sample {
        // Without the digits that only the conversion made.
        let round = |v: f32, digits: f64| (f64::from(v) * digits).round() / digits;
        Sample {
            at: p.at,
            cpu: round(p.cpu, 1e5),
            memory_bytes: u64::from(p.memory_kib) << 10,
            disk_read_bytes: round(p.disk_read_bytes, 10.0),
            disk_write_bytes: round(p.disk_write_bytes, 10.0),
            net_in_bytes: round(p.net_in_bytes, 10.0),
            net_out_bytes: round(p.net_out_bytes, 10.0),
        }
    }
}

/// The sample of one VM in a report.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct VmSample {
    /// The VM.
    pub vm: VmId,
    /// Its sample.
    pub sample: Sample,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_keeps_what_a_chart_shows() {
        let s = Sample { at: Time(1_700_000_000_000_000), cpu: 0.1234, memory_bytes: 3 << 30, disk_read_bytes: 1_234_567.0, ..Sample::default() };
        assert_eq!(Sample::from(Packed::from(s)), s);
        assert!(std::mem::size_of::<Packed>() <= 32);
        let huge = Sample { memory_bytes: u64::MAX, ..s };
        assert_eq!(Sample::from(Packed::from(huge)).memory_bytes, u64::from(u32::MAX) << 10);
    }

    #[test]
    fn rates_are_per_second_and_survive_a_restart() {
        let a = Counters { cpu_ns: 1_000_000_000, cpus: 2, disk_read_bytes: 100, ..Default::default() };
        let b = Counters { cpu_ns: 3_000_000_000, cpus: 2, disk_read_bytes: 300, ..Default::default() };
        let s = Sample::between(&a, &b, 2000, Time(0));
        assert!((s.cpu - 0.5).abs() < 1e-9);
        assert!((s.disk_read_bytes - 100.0).abs() < 1e-9);
        assert_eq!(Sample::between(&b, &a, 2000, Time(0)).cpu, 0.0);
    }
}
