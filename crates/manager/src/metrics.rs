//! Figures in the Prometheus text format: of requests (this manager's own), and of the installation.

use crate::http::Op;
use crate::system::raw;
use dropshot::Body;
use http::Response;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use virga_model::Error;
use virga_model::host::HostState;
use virga_model::role::{Privilege, Visible};
use virga_model::stats::Sample;

/// Counters of requests, by operation and status.
#[derive(Default)]
pub struct Counters(Mutex<HashMap<(&'static str, u16), Count>>);

/// How many requests, and the seconds they took.
type Count = (u64, f64);

impl Counters {
    /// Counts a request.
    pub fn count(&self, operation: &'static str, status: u16, took: Duration) {
        let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let c = map.entry((operation, status)).or_default();
        c.0 += 1;
        c.1 += took.as_secs_f64();
    }

    fn text(&self, out: &mut String) {
        let map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sorted: BTreeMap<_, _> = map.iter().collect();
        head(out, "virga_http_requests_total", "counter", "Requests by operation and status (200: any success).");
        for ((operation, status), (n, _)) in &sorted {
            let _ = writeln!(out, "virga_http_requests_total{{operation=\"{operation}\",status=\"{status}\"}} {n}");
        }
        head(out, "virga_http_request_seconds_total", "counter", "Time spent on requests.");
        for ((operation, status), (_, seconds)) in &sorted {
            let _ = writeln!(out, "virga_http_request_seconds_total{{operation=\"{operation}\",status=\"{status}\"}} {seconds}");
        }
    }
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// A label's value; names are plain by rule, but nothing here relies on it.
fn quoted(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

type Gauge = (&'static str, &'static str, fn(&Sample) -> f64);

const GAUGES: [Gauge; 6] = [
    ("cpu_use_ratio", "Share of the processors in use.", |s| s.cpu),
    ("memory_used_bytes", "Memory in use.", |s| s.memory_bytes as f64),
    ("disk_read_bytes_per_second", "Read from disks.", |s| s.disk_read_bytes),
    ("disk_written_bytes_per_second", "Written to disks.", |s| s.disk_write_bytes),
    ("network_received_bytes_per_second", "Received.", |s| s.net_in_bytes),
    ("network_sent_bytes_per_second", "Sent.", |s| s.net_out_bytes),
];

/// All gauges of one kind of object; each is a label set and a sample.
fn gauges(out: &mut String, object: &str, samples: &[(String, Sample)]) {
    for (name, help, of) in GAUGES {
        let name = format!("virga_{object}_{name}");
        head(out, &name, "gauge", help);
        for (labels, s) in samples {
            let _ = writeln!(out, "{name}{{{labels}}} {}", of(s));
        }
    }
}

/// How far the anchors of the audit records are behind.
async fn audit_gauges(op: &Op, out: &mut String) -> Result<(), Error> {
    let mut tx = op.read().await?;
    let (seq, _) = virga_store::audit::head(&mut tx).await?;
    let last = virga_store::audit_anchor::last(&mut tx).await?;
    drop(tx);
    head(out, "virga_audit_records", "gauge", "Number of the newest audit record.");
    let _ = writeln!(out, "virga_audit_records {seq}");
    head(out, "virga_audit_unanchored_records", "gauge", "Audit records after the last anchor.");
    let _ = writeln!(out, "virga_audit_unanchored_records {}", seq - last.as_ref().map_or(0, |a| a.seq));
    head(out, "virga_audit_anchor_age_seconds", "gauge", "Seconds since the last anchor of the audit records; -1 before the first.");
    let age = last.map_or(-1, |a| op.now.millis_since(a.at).max(0) / 1000);
    let _ = writeln!(out, "virga_audit_anchor_age_seconds {age}");
    Ok(())
}

/// The whole text.
///
/// # Errors
/// What the database says.
pub async fn text(op: &Op) -> Result<Response<Body>, Error> {
    let mut out = String::with_capacity(64 * 1024);
    op.api.counters.text(&mut out);
    let mut tx = op.read().await?;
    let hosts = virga_store::host::all(&mut tx).await?;
    let vms = virga_store::vm::placed(&mut tx).await?;
    let tasks = crate::system::count_tasks(&mut tx, &Visible::everything(), None).await?;
    drop(tx);
    head(&mut out, "virga_panics_total", "counter", "Mistakes that ended a request or restarted a part of this manager.");
    for (part, n) in op.m.panics.all() {
        let _ = writeln!(out, "virga_panics_total{{part=\"{part}\"}} {n}");
    }
    head(&mut out, "virga_tasks_active", "gauge", "Tasks that have not ended.");
    let _ = writeln!(out, "virga_tasks_active {tasks}");
    head(&mut out, "virga_host_up", "gauge", "1 when the host reports.");
    let mut samples = Vec::new();
    for h in &hosts {
        let labels = format!("host=\"{}\"", quoted(&h.name));
        let _ = writeln!(out, "virga_host_up{{{labels}}} {}", i32::from(op.m.host_state(h) == HostState::Up));
        samples.extend(op.m.stats.host_last(h.id).map(|s| (labels, s)));
    }
    gauges(&mut out, "host", &samples);
    let mut states: BTreeMap<String, u64> = BTreeMap::new();
    let names: HashMap<_, _> = hosts.iter().map(|h| (h.id, h.name.as_str())).collect();
    samples.clear();
    for vm in &vms {
        *states.entry(vm.observed_state.to_string()).or_default() += 1;
        let host = names.get(&vm.host).copied().unwrap_or_default();
        samples.extend(op.m.stats.vm_last(vm.id).map(|s| (format!("vm=\"{}\",host=\"{}\"", quoted(&vm.name), quoted(host)), s)));
    }
    head(&mut out, "virga_vms", "gauge", "VMs by state.");
    for (state, n) in states {
        let _ = writeln!(out, "virga_vms{{state=\"{state}\"}} {n}");
    }
    // Names of VMs are for who sees VMs; how many there are in which state is for who runs the machines, too.
    if op.visible(Privilege::VmRead).all {
        gauges(&mut out, "vm", &samples);
    }
    audit_gauges(op, &mut out).await?;
    raw("text/plain; version=0.0.4; charset=utf-8", None, out)
}
