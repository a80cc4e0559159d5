//! What must be true when everything has ended: rows equal the machine, nothing is left over, no effect was made twice.

use crate::clone::TEMPLATE_DISK;
use crate::cloud::{Cloud, IMAGE, NETWORK};
use crate::store::{PATH, STORE};
use virga_agent::host::{Facts, Journal, Volumes};
use virga_agent::record::Record;
use virga_model::data_store::DataStoreState;
use virga_model::task::TaskKind;
use virga_model::vm::{Desired, VmState};

/// Effects that a guest notices, and that must never be made twice for one task.
const ONCE: [&str; 6] = [" start ", " memory_restore ", " reset ", " reboot ", " hibernate ", " discard_saved "];

/// Checks everything but the task's own state; `what` says in which run.
pub async fn quiet(cloud: &mut Cloud, kind: TaskKind, what: &str) {
    assert_eq!(cloud.active_tasks().await, 0, "no task is left: {what}");
    let Some(vm) = cloud.vm_row().await else {
        assert!(cloud.host.holds_only(TEMPLATE_DISK), "a VM without a row leaves nothing on the host: {what}");
        library(cloud, kind, what).await;
        data_store(cloud, what).await;
        return journal(cloud, None, what).await;
    };
    assert_ne!(vm.desired, Desired::Absent, "{what}");
    assert!(vm.former_spec.is_none(), "no edit is left half done: {what}");
    let wanted = vm.desired;
    let met = |c: &Cloud| wanted.is_met_by(c.domain_state().unwrap_or(VmState::Absent));
    if kind == TaskKind::VmStop {
        // A guest that was asked to shut down cannot be unasked; that it went down must be told, then.
        let told = async |c: &Cloud| met(c) || c.vm_row().await.is_some_and(|v| v.observed.drift.iter().any(|d| d.what == "power"));
        cloud.wait_until(&format!("the VM is {wanted}, or its drift is told: {what}"), told).await;
    } else {
        assert!(met(cloud), "wanted {wanted}, the host has {:?}: {what}", cloud.domain_state());
    }
    let on_host: Vec<_> = cloud.host.disk_files().into_iter().filter(|(d, _)| *d != TEMPLATE_DISK).collect();
    let layers = || std::iter::once(None).chain(vm.spec.layers.list.iter().map(|l| Some(l.id)));
    assert!(vm.spec.disks.iter().all(|d| d.copy_of.is_none()), "no copy is left half made: {what}");
    let mut wanted: Vec<_> = vm.spec.disks.iter().flat_map(|d| layers().map(move |l| (d.id, l))).collect();
    wanted.sort_unstable();
    assert_eq!(on_host, wanted, "disks on the host are the disks in the row: {what}");
    let order = cloud.host.domain_order(vm.id).expect("a VM with a row has a definition");
    // Whose content a disk began with is forgotten when it is there; the host learns of that with its next order.
    let disks = |s: &virga_model::vm::VmSpec| s.disks.iter().map(|d| virga_model::vm::DiskSpec { copy_of: None, ..d.clone() }).collect::<Vec<_>>();
    let shown = |s: &virga_model::vm::VmSpec| (s.cpu.count, disks(s), s.layers.top, s.template);
    assert_eq!(shown(&order.spec), shown(&vm.spec), "the definition is the row's: {what}");
    let id = vm.id;
    let generation = vm.generation;
    cloud
        .wait_until("the row knows that the host has finished", async |c| {
            c.vm_row().await.is_some_and(|v| v.observed.settled && v.observed.generation == v.generation && v.observed.error.is_none())
        })
        .await;
    let exports = if vm.spec.export.is_some() { vm.spec.disks.len() } else { 0 };
    assert_eq!(cloud.host.exported_disks(), exports, "exports on the host are those in the row: {what}");
    let known = cloud.vm_row().await.and_then(|v| v.observed.exported).map_or(0, |e| e.disks.len());
    assert_eq!(known, exports, "the row knows the export: {what}");
    journal(cloud, Some((id, generation)), what).await;
}

/// An image or network that was to be removed is gone from row and host, or from neither.
async fn library(cloud: &Cloud, asked: TaskKind, what: &str) {
    let mut tx = cloud.wire.store.read().await.unwrap();
    for (kind, row) in [
        (TaskKind::ImageDelete, virga_store::image::get(&mut tx, IMAGE).await.unwrap().is_some()),
        (TaskKind::NetworkDelete, virga_store::network::get(&mut tx, NETWORK).await.unwrap().is_some()),
    ] {
        let there = match kind {
            TaskKind::ImageDelete => cloud.host.images(None).await.unwrap().contains(&IMAGE),
            _ => cloud.host.facts().await.unwrap().networks.contains(&NETWORK),
        };
        assert!(asked != kind || row == there, "row {row}, host {there}: {what}");
    }
}

/// A data store is signed exactly while its row says that it is there.
async fn data_store(cloud: &Cloud, what: &str) {
    let mut tx = cloud.wire.store.read().await.unwrap();
    let row = virga_store::data_store::get(&mut tx, STORE).await.unwrap().map(|s| s.state);
    let signed = cloud.host.seen().signed(PATH);
    match row {
        Some(DataStoreState::Ready) => assert_eq!(signed, Some(STORE), "{what}"),
        None => assert_eq!(signed, None, "{what}"),
        other => panic!("the data store is left {other:?}: {what}"),
    }
}

/// The journal holds one record for the VM that is there, and only memories of those that are gone.
async fn journal(cloud: &Cloud, there: Option<(virga_model::VmId, i64)>, what: &str) {
    for (name, document) in cloud.journal.load().await.unwrap() {
        let Ok(record) = serde_json::from_slice::<Record>(&document) else {
            assert!(matches!(name.as_str(), "epoch" | "starts" | "stores"), "{name}");
            continue;
        };
        assert!(record.settled, "the journal of {name} is settled: {what}");
        match there {
            Some((id, generation)) if record.order.id == id => {
                assert!(record.gone_at.is_none() && record.order.generation == generation, "{what}: {record:?}");
            }
            _ => assert!(record.gone_at.is_some(), "only a memory is left of {name}: {what}"),
        }
    }
}

/// No effect that a guest notices stands twice in the log since line `from`.
pub fn once(cloud: &Cloud, from: usize, what: &str) {
    let log = cloud.host.log();
    for effect in ONCE {
        let times = log.iter().skip(from).filter(|l| l.contains(effect)).count();
        assert!(times <= 1, "{effect} was done {times} times: {what}: {log:?}");
    }
}
