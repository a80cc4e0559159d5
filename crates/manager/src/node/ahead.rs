//! Hosts that are ahead of the rows: after a restore from a backup, or when a database lost what it had committed
//! (`reliability.md` D2, D4).
//!
//! What the host says counts. Nothing is brought about from such a row by itself: the VM is taken as settled, what
//! differs is shown as drift, and the next change by a person has a generation above all that the host has seen. VMs that
//! the rows do not know at all are shown among the host's foreign VMs. Nothing is stopped, started or removed here.

use virga_model::host::{ForeignVm, Host};
use virga_model::order::{Report, VmReport};
use virga_model::vm::{Drift, Observed, Vm, VmState};
use virga_model::{Error, VmId};
use virga_store::{Tx, restored};

/// Begin of the name under which a VM with Virga's mark that no row knows is shown.
pub const UNKNOWN_VM: &str = "virga:";

/// What is to be written of a VM whose host is ahead of its row; none: it is not.
pub(super) async fn observed(tx: &mut Tx, host: &Host, before: &Vm, report: &VmReport) -> Result<Option<Observed>, Error> {
    let told = &report.observed;
    if told.generation == before.observed.generation || before.host != Some(host.id) {
        return Ok(None);
    }
    if let Some(former) = restored::former_generation(tx, before.id).await? {
        return Ok(Some(as_told(before, before.generation, told, former)));
    }
    if told.generation <= before.generation || !restored::catch_up(tx, before.id, before.generation, told.generation).await? {
        return Ok(None);
    }
    tracing::warn!(vm = %before.id, row = before.generation, host = told.generation, "a host has seen a newer generation than the rows");
    Ok(Some(as_told(before, told.generation.saturating_add(1), told, before.generation)))
}

/// The host's word under the row's generation. `former` is the generation up to which the row and the host agree.
fn as_told(before: &Vm, generation: i64, told: &Observed, former: i64) -> Observed {
    let mut out = Observed { generation, settled: true, ..told.clone() };
    let agree = told.generation == former && told.settled && told.error.is_none() && before.desired.is_met_by(told.state);
    if !agree {
        let message = if told.generation == former {
            format!("The row comes from a backup and wants {}; the host has {}. Nothing is done until the VM is changed.", before.desired, told.state)
        } else {
            "The host has carried out changes that the rows, which come from a backup, do not know. Nothing is done until the VM is changed.".into()
        };
        out.drift.push(Drift { what: restored::DRIFT.into(), message });
    }
    out
}

/// The foreign VMs of a host with those that carry Virga's mark and that no row places there. `is_placed`: whether the
/// rows place a VM on this host.
pub(super) fn foreign(host: &Host, report: &Report, is_placed: impl Fn(VmId) -> bool) -> Vec<ForeignVm> {
    let is_unknown = |f: &ForeignVm| f.name.starts_with(UNKNOWN_VM);
    let known = &host.facts.foreign_vms;
    let mut out: Vec<ForeignVm> = match &report.foreign_vms {
        Some(told) => told.clone(),
        None => known.iter().filter(|f| !is_unknown(f)).cloned().collect(),
    };
    if !report.full {
        let told_of = |f: &ForeignVm| report.vms.iter().any(|v| v.id.to_string() == f.uuid);
        out.extend(known.iter().filter(|f| is_unknown(f) && !told_of(f)).cloned());
    }
    for v in report.vms.iter().filter(|v| v.observed.state != VmState::Absent) {
        if !is_placed(v.id) {
            let uuid = v.id.to_string();
            out.push(ForeignVm { name: format!("{UNKNOWN_VM}{uuid}"), uuid, state: v.observed.state, memory_bytes: 0 });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use virga_model::vm::Desired;

    fn vm(desired: Desired) -> Vm {
        serde_json::from_value(serde_json::json!({
            "id": uuid::Uuid::nil(), "name": "web", "description": "", "labels": {}, "owner": uuid::Uuid::nil(),
            "spec": {"cpu": {"count": 1}, "memory": {"bytes": 1 << 28}}, "desired": desired, "stop_mode": virga_model::vm::StopMode::Force, "generation": 900,
            "host": null, "placement": null, "observed": {}, "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z"
        }))
        .unwrap()
    }

    #[test]
    fn only_what_differs_is_drift() {
        let told = |generation, settled, state| Observed { generation, settled, state, ..Observed::default() };
        let running = vm(Desired::Running);
        let same = as_told(&running, 900, &told(7, true, VmState::Running), 7);
        assert!(same.settled && same.drift.is_empty() && same.generation == 900);
        for other in [told(8, true, VmState::Running), told(7, true, VmState::Stopped), told(7, false, VmState::Running)] {
            let out = as_told(&running, 900, &other, 7);
            assert!(out.settled && out.generation == 900, "nothing is brought about");
            assert_eq!(out.drift.len(), 1, "{other:?}");
        }
    }
}
