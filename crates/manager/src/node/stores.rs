//! Events about data stores, from what hosts report of them: lost, found again, nearly full.
//!
//! Only the change is told. It must never change a VM: whether one can go on without its disks is QEMU's and the agent's to
//! see.

use virga_model::data_store::StoreFact;
use virga_model::event::{Event, Severity};
use virga_model::host::Host;
use virga_model::task::ObjectRef;
use virga_model::{DataStoreId, Error, Time};
use virga_store::Tx;

/// Part of a data store, in percent, above which its use is told.
pub(crate) const USED_WARNING_PERCENT: u64 = 85;
/// Part below which it is told that there is room again: lower, so that nothing is told to and fro.
const USED_AGAIN_PERCENT: u64 = 80;

/// How full a data store is, in percent; none: it is not known.
#[must_use]
pub(crate) fn used_percent(total_bytes: u64, free_bytes: u64) -> Option<u64> {
    (total_bytes > 0).then(|| 100 - free_bytes.min(total_bytes).saturating_mul(100) / total_bytes)
}

/// Tells what has changed in what `host` finds. `local` is the size and the free bytes of its local store, when it told them.
pub(super) async fn tell(tx: &mut Tx, host: &Host, after: &[StoreFact], local: Option<(u64, u64)>, now: Time) -> Result<(), Error> {
    for fact in after {
        let before = host.facts.stores.iter().find(|f| f.store == fact.store);
        // A host that never had it does not lose it.
        if let Some((kind, severity, text)) = before.and_then(|b| reach(b, fact)) {
            let text = format!("host {}: {text}", host.name);
            event(tx, fact.store, (kind, severity, text), Some(host), now).await?;
        }
        if fact.reachable() {
            room(tx, fact.store, used_percent(fact.total_bytes, fact.free_bytes), now).await?;
        }
    }
    if let Some((total, free)) = local {
        room(tx, virga_store::data_store::local_id(host.id), used_percent(total, free), now).await?;
    }
    Ok(())
}

/// Tells once, whichever host says so first, that a data store is nearly full, or has room again.
async fn room(tx: &mut Tx, store: DataStoreId, percent: Option<u64>, now: Time) -> Result<(), Error> {
    let Some(percent) = percent.filter(|p| !(USED_AGAIN_PERCENT..USED_WARNING_PERCENT).contains(p)) else { return Ok(()) };
    let full = percent >= USED_WARNING_PERCENT;
    if !virga_store::data_store::set_nearly_full(tx, store, full).await? {
        return Ok(());
    }
    let what = if full {
        ("data_store.nearly_full", Severity::Warning, format!("{percent} % of it is used; free space, or make it larger."))
    } else {
        ("data_store.has_room", Severity::Info, format!("it has room again: {percent} % is used."))
    };
    event(tx, store, what, None, now).await
}

async fn event(tx: &mut Tx, store: DataStoreId, (kind, severity, text): (&str, Severity, String), host: Option<&Host>, now: Time) -> Result<(), Error> {
    let Some(row) = virga_store::data_store::get(tx, store).await? else { return Ok(()) };
    let event = Event {
        id: 0,
        at: now,
        kind: kind.into(),
        severity,
        object: ObjectRef::DataStore(store),
        object_name: row.name.clone(),
        owner: None,
        host: host.map(|h| h.id).or(row.host),
        task: None,
        message: format!("Data store {}, {text}", row.name),
    };
    virga_store::event::append(tx, &event).await?;
    Ok(())
}

fn reach(before: &StoreFact, after: &StoreFact) -> Option<(&'static str, Severity, String)> {
    match (before.reachable(), after.reachable()) {
        (true, false) => Some(("data_store.lost", Severity::Error, format!("{}.", after.why))),
        (false, true) => Some(("data_store.found", Severity::Info, "it can be used.".into())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use virga_model::data_store::StoreProblem;

    #[test]
    fn only_changes_are_told() {
        let id = DataStoreId(uuid::Uuid::from_u128(1));
        let good = StoreFact { store: id, problem: None, why: String::new(), total_bytes: 1000, free_bytes: 900, file_system: String::new() };
        let lost = StoreFact::lost(id, StoreProblem::Missing, "it is not mounted");
        let kind = |a: &StoreFact, b: &StoreFact| reach(a, b).map(|c| c.0);
        assert_eq!(kind(&good, &lost), Some("data_store.lost"));
        assert_eq!(kind(&lost, &lost), None);
        assert_eq!(kind(&lost, &good), Some("data_store.found"));
        assert_eq!(kind(&good, &good), None);
        assert_eq!(used_percent(0, 0), None);
        assert_eq!((used_percent(10, 20), used_percent(1000, 150), used_percent(1000, 151)), (Some(0), Some(85), Some(85)));
    }
}
