//! On which data store disks go: what each host reaches, what fits, and which kind is preferred (STO-04). Every reason
//! against is kept.

use crate::place::HostView;
use virga_model::data_store::DataStoreKind;
use virga_model::disk::Provisioning;
use virga_model::refusal::Reason;
use virga_model::size::human;
use virga_model::vm::{DiskSpec, VmSpec};
use virga_model::{DataStoreId, DiskId};

/// A data store as a placement sees it, hosts aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreView {
    /// The data store.
    pub id: DataStoreId,
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: DataStoreKind,
    /// Why no new disk may be put there; none: nothing against it.
    pub closed: Option<String>,
}

/// A data store as one host sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenStore {
    /// The data store.
    pub id: DataStoreId,
    /// Why the host cannot use it; none: it can.
    pub problem: Option<String>,
    /// Bytes free.
    pub free_bytes: u64,
}

/// Where disks go for which nobody named a data store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// The data store; none: the local one of the host.
    pub store: Option<DataStoreId>,
    /// Why this one, in words; empty: there was nothing to choose.
    pub why: String,
}

/// A candidate for the disks that go anywhere.
struct Candidate {
    store: Option<DataStoreId>,
    name: String,
    preference: u8,
    free_bytes: u64,
}

/// Judges the disks of a VM on one host. `anywhere` are those whose data store is Virga's to choose; the others go where
/// their specification says (none: the local store).
///
/// # Errors
/// Every reason against the host.
pub fn judge(host: &HostView, stores: &[StoreView], spec: &VmSpec, anywhere: &[DiskId]) -> Result<Choice, Vec<Reason>> {
    let bytes_of = |wanted: &dyn Fn(&DiskSpec) -> bool| spec.disks.iter().filter(|d| wanted(d)).map(|d| d.size_bytes).fold(0, u64::saturating_add);
    let is_free = |id: DiskId| anywhere.contains(&id);
    let mut reasons = Vec::new();
    let mut named: Vec<Option<DataStoreId>> = spec.disks.iter().filter(|d| !is_free(d.id)).map(|d| d.store).collect();
    named.sort();
    named.dedup();
    for store in &named {
        let needed = bytes_of(&|d| !is_free(d.id) && d.store == *store);
        reasons.extend(against(host, stores, *store, needed));
        let lazy = spec.disks.iter().any(|d| !is_free(d.id) && d.store == *store && is_lazy(d));
        let view = stores.iter().find(|s| Some(s.id) == *store).filter(|s| lazy && !s.kind.capabilities().lazy_thick);
        reasons.extend(view.map(no_lazy));
    }
    reasons.extend(unreadable(host, stores, spec));
    let needed_bytes = bytes_of(&|d| is_free(d.id));
    if anywhere.is_empty() || !reasons.is_empty() {
        return if reasons.is_empty() { Ok(Choice::default()) } else { Err(reasons) };
    }
    let lazy = spec.disks.iter().any(|d| is_free(d.id) && is_lazy(d));
    choose(host, stores, (needed_bytes, lazy), &|store| bytes_of(&|d| !is_free(d.id) && d.store == store))
}

fn is_lazy(d: &DiskSpec) -> bool {
    d.provisioning == Provisioning::ThickLazy
}

/// DSK-04.
fn no_lazy(s: &StoreView) -> Reason {
    Reason::DataStore { data_store: s.name.clone(), why: "has no lazy thick disks, because its file server reserves no space".into() }
}

/// Reasons against copying disks from where they lie: the host must see it. That of a local one is [`crate::place`]'s.
fn unreadable(host: &HostView, stores: &[StoreView], spec: &VmSpec) -> Vec<Reason> {
    let mut from: Vec<DataStoreId> = spec.disks.iter().filter_map(|d| d.copy_of.as_ref()?.store).collect();
    from.sort();
    from.dedup();
    let problem = |id: &DataStoreId| {
        let why = reached(host, *id).err()?;
        let name = stores.iter().find(|s| s.id == *id).map_or_else(|| "?".into(), |s| s.name.clone());
        Some(Reason::DataStore { data_store: name, why })
    };
    from.iter().filter_map(problem).collect()
}

/// Chooses one data store for all disks that go anywhere, so that a VM is not scattered. `taken` is what its other disks
/// take of one, `lazy` whether one of them is lazy thick.
fn choose(host: &HostView, stores: &[StoreView], (needed_bytes, lazy): (u64, bool), taken: &dyn Fn(Option<DataStoreId>) -> u64) -> Result<Choice, Vec<Reason>> {
    let mut reasons = Vec::new();
    let mut fits: Vec<Candidate> = Vec::new();
    for c in candidates(host, stores, lazy, &mut reasons) {
        let free_bytes = c.free_bytes.saturating_sub(taken(c.store));
        if needed_bytes > free_bytes {
            reasons.push(Reason::DataStore { data_store: c.name, why: no_room(needed_bytes, free_bytes) });
        } else {
            fits.push(Candidate { free_bytes, ..c });
        }
    }
    // The order of the rows must not matter.
    fits.sort_by_key(|c| (c.preference, std::cmp::Reverse(c.free_bytes), c.store));
    let count = fits.len();
    match fits.into_iter().next() {
        Some(best) if count == 1 => Ok(Choice { store: best.store, why: format!("{} is the only data store there that fits", best.name) }),
        Some(best) => {
            Ok(Choice { store: best.store, why: format!("{} is preferred among {count} data stores that fit (STO-04), then by free space", best.name) })
        }
        None => Err(reasons),
    }
}

/// What the host can use at all; the rest goes into `reasons`.
fn candidates(host: &HostView, stores: &[StoreView], lazy: bool, reasons: &mut Vec<Reason>) -> Vec<Candidate> {
    let mut out = Vec::new();
    let local = stores.iter().find(|s| is_local(host, s.id));
    match local.and_then(|s| Some((s, s.closed.clone()?))) {
        Some((s, why)) => reasons.push(Reason::DataStore { data_store: s.name.clone(), why }),
        None => out.push(Candidate {
            store: None,
            name: local.map_or_else(|| "the local store".into(), |s| s.name.clone()),
            preference: DataStoreKind::Local.preference(),
            free_bytes: host.store_free_bytes,
        }),
    }
    for s in stores.iter().filter(|s| s.kind != DataStoreKind::Local && s.kind.capabilities().virtualized) {
        if lazy && !s.kind.capabilities().lazy_thick {
            reasons.push(no_lazy(s));
            continue;
        }
        match s.closed.clone().map_or_else(|| reached(host, s.id), Err) {
            Ok(x) => out.push(Candidate { store: Some(s.id), name: s.name.clone(), preference: s.kind.preference(), free_bytes: x.free_bytes }),
            Err(why) => reasons.push(Reason::DataStore { data_store: s.name.clone(), why }),
        }
    }
    out
}

/// Reasons against putting `needed_bytes` on one data store (none: the local one) from this host.
#[must_use]
pub fn against(host: &HostView, stores: &[StoreView], store: Option<DataStoreId>, needed_bytes: u64) -> Vec<Reason> {
    let view = stores.iter().find(|s| store.map_or_else(|| is_local(host, s.id), |id| s.id == id));
    let name = || view.map_or_else(|| "?".into(), |s| s.name.clone());
    let reason = |why: String| vec![Reason::DataStore { data_store: name(), why }];
    if let Some(why) = view.and_then(|s| s.closed.clone()) {
        return reason(why);
    }
    let Some(id) = store else {
        let free_bytes = host.store_free_bytes;
        return if needed_bytes > free_bytes { vec![Reason::Storage { needed_bytes, free_bytes }] } else { Vec::new() };
    };
    match reached(host, id) {
        _ if view.is_none() => reason("is not there any more".into()),
        Err(why) => reason(why),
        Ok(s) if needed_bytes > s.free_bytes => reason(no_room(needed_bytes, s.free_bytes)),
        Ok(_) => Vec::new(),
    }
}

/// A data store as the host sees it, or why it cannot use it.
fn reached(host: &HostView, id: DataStoreId) -> Result<&SeenStore, String> {
    let seen = host.stores.iter().find(|s| s.id == id).ok_or("the host has not looked at it yet")?;
    seen.problem.clone().map_or(Ok(seen), Err)
}

fn is_local(host: &HostView, store: DataStoreId) -> bool {
    // The local store of a host has the host's id.
    store.0 == host.id.0
}

fn no_room(needed_bytes: u64, free_bytes: u64) -> String {
    format!("not enough space: needs {}, has {} free", human(needed_bytes), human(free_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::tests::host;
    use uuid::Uuid;

    fn store(n: u128, name: &str, kind: DataStoreKind) -> StoreView {
        StoreView { id: DataStoreId(Uuid::from_u128(n)), name: name.into(), kind, closed: None }
    }

    fn seen(n: u128, gib: u64) -> SeenStore {
        SeenStore { id: DataStoreId(Uuid::from_u128(n)), problem: None, free_bytes: gib << 30 }
    }

    fn spec(disks: &[(u128, u64, Option<u128>)]) -> VmSpec {
        let disks: Vec<_> = disks
            .iter()
            .map(|(n, gib, store)| serde_json::json!({"id": Uuid::from_u128(*n), "size_bytes": gib << 30, "store": store.map(Uuid::from_u128)}))
            .collect();
        serde_json::from_value(serde_json::json!({"cpu": {"count": 1}, "memory": {"bytes": 1u64 << 28}, "disks": disks})).unwrap()
    }

    fn ids(list: &[u128]) -> Vec<DiskId> {
        list.iter().map(|n| DiskId(Uuid::from_u128(*n))).collect()
    }

    #[test]
    fn kinds_are_preferred_as_the_rules_say_and_then_free_space() {
        let mut h = host(1, 64);
        let stores = [
            store(1, "local-h1", DataStoreKind::Local),
            store(10, "nas", DataStoreKind::SharedNas),
            store(11, "san", DataStoreKind::SharedSan),
            store(12, "san-2", DataStoreKind::SharedSan),
        ];
        h.stores = vec![seen(10, 900), seen(11, 50), seen(12, 60)];
        let chosen = |h: &HostView, gib: u64| judge(h, &stores, &spec(&[(5, gib, None)]), &ids(&[5])).map(|c| c.store.map(|s| s.0.as_u128()));
        assert_eq!(chosen(&h, 10), Ok(Some(12)), "SAN first, the one with more room");
        assert_eq!(chosen(&h, 70), Ok(None), "then local");
        assert_eq!(chosen(&h, 200), Ok(Some(10)), "NAS last");
        assert_eq!(chosen(&h, 1000).unwrap_err().len(), 4, "every data store with its reason");
        h.stores[2].problem = Some("it is not mounted".into());
        assert_eq!(chosen(&h, 10), Ok(Some(11)));
    }

    #[test]
    fn what_is_closed_lost_or_unknown_takes_no_disk_and_says_so() {
        let mut h = host(1, 64);
        let mut stores = [store(1, "local-h1", DataStoreKind::Local), store(10, "gold", DataStoreKind::SharedNas)];
        let text = |h: &HostView, stores: &[StoreView], on: Option<u128>| {
            let r = judge(h, stores, &spec(&[(5, 1, on)]), &[]).unwrap_err();
            r.iter().map(Reason::text).collect::<Vec<_>>().join("; ")
        };
        assert_eq!(text(&h, &stores, Some(10)), "data store gold: the host has not looked at it yet");
        h.stores = vec![SeenStore { problem: Some("it is read-only".into()), ..seen(10, 5) }];
        assert_eq!(text(&h, &stores, Some(10)), "data store gold: it is read-only");
        h.stores = vec![SeenStore { free_bytes: 1 << 20, ..seen(10, 5) }];
        assert!(text(&h, &stores, Some(10)).contains("not enough space: needs 1 GiB, has 1 MiB"));
        assert_eq!(text(&h, &stores, Some(99)), "data store ?: is not there any more");
        stores[0].closed = Some("is in maintenance".into());
        assert_eq!(text(&h, &stores, None), "data store local-h1: is in maintenance");
        let free = judge(&h, &stores, &spec(&[(5, 1, None)]), &ids(&[5])).unwrap_err();
        assert_eq!(free.len(), 2, "{free:?}");
    }

    /// DSK-04.
    #[test]
    fn a_lazy_thick_disk_goes_to_no_file_server() {
        let mut h = host(1, 64);
        h.stores = vec![seen(10, 900)];
        let stores = [store(1, "local-h1", DataStoreKind::Local), store(10, "nas", DataStoreKind::SharedNas)];
        let mut s = spec(&[(5, 10, None)]);
        s.disks[0].provisioning = Provisioning::ThickLazy;
        assert_eq!(judge(&h, &stores, &s, &ids(&[5])).map(|c| c.store), Ok(None));
        s.disks[0].store = Some(DataStoreId(Uuid::from_u128(10)));
        assert!(judge(&h, &stores, &s, &[]).unwrap_err()[0].text().contains("no lazy thick"));
        s.disks[0].provisioning = Provisioning::ThickEager;
        assert!(judge(&h, &stores, &s, &[]).is_ok());
    }

    /// A copy is read where its source lies, whatever becomes of new disks there.
    #[test]
    fn a_host_that_does_not_see_the_source_copies_nothing() {
        let mut h = host(1, 64);
        let mut stores = [store(1, "local-h1", DataStoreKind::Local), store(10, "nas", DataStoreKind::SharedNas)];
        let mut s = spec(&[(5, 10, None)]);
        let copy = serde_json::json!({"vm": Uuid::from_u128(50), "disk": Uuid::from_u128(51), "store": Uuid::from_u128(10), "files": [null]});
        s.disks[0].copy_of = Some(serde_json::from_value(copy).unwrap());
        let refused = judge(&h, &stores, &s, &ids(&[5])).unwrap_err();
        assert_eq!(refused.iter().map(Reason::text).collect::<Vec<_>>(), ["data store nas: the host has not looked at it yet"]);
        h.stores = vec![seen(10, 900)];
        stores[1].closed = Some("is in maintenance".into());
        assert_eq!(judge(&h, &stores, &s, &ids(&[5])).map(|c| c.store), Ok(None), "a store that takes no disk any more can be read");
    }

    #[test]
    fn disks_that_go_anywhere_count_what_the_others_take() {
        let mut h = host(1, 64);
        h.store_free_bytes = 0;
        h.stores = vec![seen(10, 10)];
        let stores = [store(10, "gold", DataStoreKind::SharedNas)];
        assert!(judge(&h, &stores, &spec(&[(5, 6, Some(10)), (6, 6, None)]), &ids(&[6])).is_err());
        assert!(judge(&h, &stores, &spec(&[(5, 6, Some(10)), (6, 4, None)]), &ids(&[6])).is_ok());
        assert_eq!(judge(&h, &stores, &spec(&[]), &[]), Ok(Choice::default()), "a VM without disks needs none");
    }
}
