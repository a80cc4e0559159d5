//! Data stores: seen by everybody who has the privilege anywhere (the local one of a host by who may see the host), made,
//! changed and removed over the installation.
//!
//! Nothing here touches storage: a host signs a data store when a task asks it to, and every host tells what it finds.

use crate::event::{self, Note};
use crate::http::{Op, task_path};
use crate::network::in_use;
use crate::state::Manager;
use crate::task_new::{self, About, Who};
use crate::vm::create::check_words;
use crate::{copies, list, task_api};
use uuid::Uuid;
use virga_api::v1::{Accepted, DataStore as Shape, DataStoreCreate, DataStoreHost, DataStoreUpdate, ListQuery, PageBody, PlanStep, Reference};
use virga_model::data_store::{DataStore, DataStoreSpec, DataStoreState, LOCAL, STORES_MAX, StoreFact};
use virga_model::host::{Host, HostState};
use virga_model::role::{Privilege, Target};
use virga_model::task::{ObjectRef, TaskDoc, TaskKind};
use virga_model::{DataStoreId, Error, name};
use virga_store::Tx;
use virga_store::data_store::Promised;

/// Whether the caller may see the data store: a local one like its host.
fn sees(op: &Op, s: &DataStore) -> bool {
    s.host.is_none_or(|h| op.caller.may(Privilege::HostRead, &Target::Host(h)))
}

async fn load(op: &Op, tx: &mut Tx, name: &str) -> Result<DataStore, Error> {
    let found = virga_store::data_store::by_ref(tx, name).await?.filter(|s| sees(op, s));
    found.ok_or_else(|| Error::not_found("data store", name))
}

fn reference(host: &Host) -> Reference {
    Reference::new(&ObjectRef::Host(host.id), &host.name)
}

/// What a host finds of a data store; its local one is a part of its inventory.
fn fact(host: &Host, s: &DataStore) -> Option<StoreFact> {
    if s.host == Some(host.id) {
        let (total_bytes, free_bytes) = (host.facts.store_total_bytes, host.facts.store_free_bytes);
        return Some(StoreFact { store: s.id, problem: None, why: String::new(), total_bytes, free_bytes, file_system: String::new() });
    }
    host.facts.stores.iter().find(|f| f.store == s.id).cloned()
}

/// Bytes of a data store and those that are free; none: no host that reports reaches it.
pub(crate) fn space(m: &Manager, hosts: &[Host], s: &DataStore) -> Option<(u64, u64)> {
    // A host that fell silent says nothing any more; of the others each says the same, but for the moment it looked.
    let up = hosts.iter().filter(|h| m.host_state(h) == HostState::Up);
    up.filter_map(|h| fact(h, s)).filter(StoreFact::reachable).map(|f| (f.total_bytes, f.free_bytes)).max()
}

fn shape(op: &Op, hosts: &[Host], s: DataStore, promised: Promised) -> Shape {
    let found: Vec<(&Host, StoreFact)> = hosts.iter().filter_map(|h| Some((h, fact(h, &s)?))).collect();
    let (total_bytes, free_bytes) = space(&op.m, hosts, &s).unwrap_or_default();
    let seen = found.iter().filter(|(h, _)| op.caller.may(Privilege::HostRead, &Target::Host(h.id)));
    Shape {
        hosts: seen.map(|(h, f)| seen_by(h, op.m.host_state(h), f)).collect(),
        host: s.host.and_then(|id| hosts.iter().find(|h| h.id == id)).map(reference),
        kind: s.spec.kind(),
        capabilities: s.spec.kind().capabilities(),
        id: s.id,
        name: s.name,
        description: s.description,
        spec: s.spec,
        state: s.state,
        maintenance: s.maintenance,
        total_bytes,
        free_bytes,
        promised_bytes: promised.bytes,
        vms: promised.vms,
        generation: s.generation,
        created_at: s.created_at,
    }
}

fn seen_by(host: &Host, state: HostState, f: &StoreFact) -> DataStoreHost {
    let up = state == HostState::Up;
    DataStoreHost {
        host: reference(host),
        reachable: up && f.reachable(),
        problem: f.problem,
        why: if up { f.why.clone() } else { format!("the host is {state}") },
        total_bytes: f.total_bytes,
        free_bytes: f.free_bytes,
        file_system: f.file_system.clone(),
    }
}

/// The shape of one data store, from rows.
async fn shown(op: &Op, tx: &mut Tx, s: DataStore) -> Result<Shape, Error> {
    let hosts = copies::hosts(&op.m, tx).await?;
    let promised = virga_store::data_store::promised(tx).await?.get(&s.id).copied().unwrap_or_default();
    Ok(shape(op, &hosts.list, s, promised))
}

/// A page of data stores.
///
/// # Errors
/// Malformed for wrong parameters.
pub async fn list(op: &Op, q: &ListQuery) -> Result<PageBody<Shape>, Error> {
    let mut tx = op.read().await?;
    let mut paged = virga_store::data_store::list(&mut tx, &list::page(q)?, &op.visible(Privilege::HostRead)).await?;
    let hosts = copies::hosts(&op.m, &mut tx).await?;
    let promised = virga_store::data_store::promised(&mut tx).await?;
    let rows = std::mem::take(&mut paged.items).into_iter();
    let items = rows.map(|s| (promised.get(&s.id).copied().unwrap_or_default(), s)).map(|(p, s)| shape(op, &hosts.list, s, p)).collect();
    list::body(q, paged, items)
}

/// One data store.
///
/// # Errors
/// NotFound.
pub async fn view(op: &Op, name: &str) -> Result<Shape, Error> {
    let mut tx = op.read().await?;
    let store = load(op, &mut tx, name).await?;
    shown(op, &mut tx, store).await
}

/// Names that Virga gives to local stores are not for others.
fn check_name(field: &str, text: &str) -> Result<(), Error> {
    name::check(field, text)?;
    if text == LOCAL || text.starts_with("local-") {
        return Err(Error::invalid(field, "must not be local, or begin with local-: so the hosts' own data stores are called"));
    }
    Ok(())
}

/// Makes a data store, and lets a host sign it.
///
/// # Errors
/// Invalid; Conflict when name or place is taken; TooMany; NoCapacity when no host reports.
pub async fn create(op: &Op, b: &DataStoreCreate) -> Result<Accepted, Error> {
    check_name("name", &b.name)?;
    check_words(Some(&b.description), None)?;
    b.spec.check().map_err(|e| e.within("spec"))?;
    if b.spec == DataStoreSpec::Local {
        return Err(Error::invalid("spec.kind", "must be another than local: each host has its own local data store by itself"));
    }
    let mut tx = op.write().await?;
    let all = virga_store::data_store::all(&mut tx).await?;
    for other in all.iter().filter(|o| o.host.is_none()) {
        apart(&b.spec, other)?;
    }
    if all.iter().filter(|o| o.host.is_none()).count() >= STORES_MAX {
        return Err(
            Error::conflict(format!("There are {STORES_MAX} data stores already, as many as there can be.")).with_hint("Remove one that is not needed.")
        );
    }
    let host = signing_host(op, &mut tx, b.host.as_deref()).await?;
    let store = DataStore {
        id: DataStoreId(Uuid::now_v7()),
        name: b.name.clone(),
        description: b.description.clone(),
        spec: b.spec.clone(),
        host: None,
        maintenance: false,
        state: DataStoreState::Creating,
        generation: 1,
        created_at: op.now,
    };
    virga_store::data_store::insert(&mut tx, &store).await?;
    let object = ObjectRef::DataStore(store.id);
    let doc = TaskDoc { generation: 1, host: Some(host.id), ..TaskDoc::default() };
    let task = task_new::insert(&mut tx, Who::caller(op), TaskKind::DataStoreCreate, About::plain(object, &store.name), doc, None).await?;
    op.audit(&mut tx, object, &store.name, "made").await?;
    let note = Note { task: Some(task.id), ..Note::plain(op.now, "data_store.created", object, &store.name, "The data store was accepted.") };
    event::append(&mut tx, &note).await?;
    let answer = Accepted {
        task: Some(task_api::shape(&mut tx, &mut task_api::Names::default(), &task).await?),
        object: Reference::new(&object, &store.name),
        plan: vec![PlanStep { what: format!("host {} signs the storage; every host that sees it recognises it by that", host.name), after_restart: None }],
    };
    op.commit(tx, &answer, Some(&task_path(task.id))).await?;
    Ok(answer)
}

/// That two data stores are not the same storage.
fn apart(new: &DataStoreSpec, other: &DataStore) -> Result<(), Error> {
    match (new, &other.spec) {
        (DataStoreSpec::SharedDirectory { path, .. }, DataStoreSpec::SharedDirectory { path: theirs, .. }) => {
            let within = |a: &str, b: &str| a == b || a.strip_prefix(b).is_some_and(|r| r.starts_with('/'));
            if within(path, theirs) || within(theirs, path) {
                return Err(Error::conflict(format!("{path} and {theirs} of data store {} lie in each other.", other.name)).with_hint("Choose another folder."));
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// The host that shall sign: the one that was named, else the first that reports.
async fn signing_host(op: &Op, tx: &mut Tx, named: Option<&str>) -> Result<Host, Error> {
    if let Some(n) = named.filter(|n| !n.is_empty()) {
        return crate::vm::resolve::host(op, tx, n, "host").await;
    }
    let hosts = copies::hosts(&op.m, tx).await?;
    let up = hosts.list.iter().find(|h| op.m.host_state(h) == HostState::Up);
    up.cloned().ok_or_else(|| Error::conflict("No host reports that could sign the data store.").with_hint("Add a host, or bring one back."))
}

/// Renames a data store, changes its description, or keeps new disks away.
///
/// # Errors
/// NotFound, Invalid, Conflict when the name is taken, PreconditionFailed.
pub async fn update(op: &Op, name: &str, b: &DataStoreUpdate) -> Result<Shape, Error> {
    check_words(b.description.as_deref(), None)?;
    let mut tx = op.write().await?;
    let mut store = load(op, &mut tx, name).await?;
    op.check_match(store.generation)?;
    let mut done = Vec::new();
    if let Some(n) = b.name.as_ref().filter(|n| **n != store.name) {
        check_name("name", n)?;
        if store.host.is_some() {
            return Err(Error::invalid("name", "cannot change: a local data store is called after its host"));
        }
        done.push(format!("renamed from {} to {n}", store.name));
        store.name.clone_from(n);
    }
    if let Some(d) = b.description.as_ref().filter(|d| **d != store.description) {
        done.push("description changed".into());
        store.description.clone_from(d);
    }
    if let Some(m) = b.maintenance.filter(|m| *m != store.maintenance) {
        done.push(if m { "maintenance begins: no new disks are put here".into() } else { "maintenance ends".to_string() });
        store.maintenance = m;
    }
    if done.is_empty() {
        return shown(op, &mut tx, store).await;
    }
    let (expected, text) = (store.generation, done.join("; "));
    store.generation += 1;
    virga_store::data_store::update(&mut tx, &store, expected).await?;
    let object = ObjectRef::DataStore(store.id);
    op.audit(&mut tx, object, &store.name, &text).await?;
    event::append(&mut tx, &Note::plain(op.now, "data_store.changed", object, &store.name, &text)).await?;
    let answer = shown(op, &mut tx, store).await?;
    op.commit(tx, &answer, None).await?;
    Ok(answer)
}

/// Removes a data store on which no disk lies.
///
/// # Errors
/// NotFound; Conflict while disks lie on it, or for a local one; Locked when a task works on it.
pub async fn delete(op: &Op, name: &str, forget: bool) -> Result<Accepted, Error> {
    let mut tx = op.write().await?;
    let mut store = load(op, &mut tx, name).await?;
    op.check_match(store.generation)?;
    let object = ObjectRef::DataStore(store.id);
    if store.host.is_some() {
        return Err(
            Error::conflict(format!("Data store {} goes with its host.", store.name)).with_hint("Remove the host, or begin the data store's maintenance.")
        );
    }
    task_new::ensure_free(&mut tx, object, &format!("data store {}", store.name)).await?;
    let users = virga_store::data_store::used_by(&mut tx, store.id).await?;
    if !users.is_empty() {
        return Err(in_use(op, &format!("Data store {}", store.name), &users));
    }
    let expected = store.generation;
    (store.state, store.generation) = (DataStoreState::Deleting, expected + 1);
    virga_store::data_store::update(&mut tx, &store, expected).await?;
    let doc = TaskDoc { generation: store.generation, forget, ..TaskDoc::default() };
    let task = task_new::insert(&mut tx, Who::caller(op), TaskKind::DataStoreDelete, About::plain(object, &store.name), doc, None).await?;
    let how = if forget { "removal asked for, without asking a host" } else { "removal asked for" };
    op.audit(&mut tx, object, &store.name, how).await?;
    let what = if forget { "forget the data store; what lies there stays" } else { "remove cached images and the signature, then the data store" };
    let answer = Accepted {
        task: Some(task_api::shape(&mut tx, &mut task_api::Names::default(), &task).await?),
        object: Reference::new(&object, &store.name),
        plan: vec![PlanStep { what: what.into(), after_restart: None }],
    };
    op.commit(tx, &answer, None).await?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use virga_model::data_store::Backing;
    use virga_model::{HostId, Time};

    #[test]
    fn two_data_stores_never_share_a_folder() {
        let spec = |path: &str| DataStoreSpec::SharedDirectory { path: path.into(), backing: Backing::Nas };
        let other = DataStore {
            id: DataStoreId(Uuid::nil()),
            name: "gold".into(),
            description: String::new(),
            spec: spec("/srv/gold"),
            host: None::<HostId>,
            maintenance: false,
            state: DataStoreState::Ready,
            generation: 1,
            created_at: Time(0),
        };
        for bad in ["/srv/gold", "/srv/gold/a", "/srv"] {
            assert!(apart(&spec(bad), &other).is_err(), "{bad}");
        }
        for good in ["/srv/gold2", "/srv/silver"] {
            assert!(apart(&spec(good), &other).is_ok(), "{good}");
        }
        assert!(check_name("name", "local").is_err() && check_name("name", "local-h1").is_err() && check_name("name", "locals").is_ok());
    }
}
