//! Hosts: what is shown of them, maintenance, and the permission for a new one to join.

use crate::event::{self, Note};
use crate::http::Op;
use crate::list;
use crate::secret::{self, Kind};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;
use virga_api::v1::{Host as Shape, HostUpdate, JoinToken as JoinAnswer, JoinTokenCreate, ListQuery, PageBody, Stats};
use virga_model::host::{Host, JoinToken};
use virga_model::order::JoinFile;
use virga_model::role::{Privilege, Target};
use virga_model::task::ObjectRef;
use virga_model::{Error, HostId, JoinTokenId, name};
use virga_store::Tx;
use virga_store::host::Load;

/// Seconds for which a join token is good when nobody says.
const JOIN_SECONDS: u32 = 3600;
/// Most seconds for which a join token can be good.
const JOIN_SECONDS_MAX: u32 = 86_400;

fn shape(op: &Op, h: Host, load: Load) -> Shape {
    Shape {
        state: op.m.host_state(&h),
        stats: op.m.stats.host_last(h.id),
        vms: load.vms,
        memory_allocated_bytes: load.memory_bytes,
        id: h.id,
        name: h.name,
        maintenance: h.maintenance,
        address: h.address,
        generation: h.generation,
        facts: h.facts,
        last_report_at: h.last_report_at,
        created_at: h.created_at,
    }
}

/// The host that the caller named, if they may touch it with `p`.
async fn load(op: &Op, tx: &mut Tx, name: &str, p: Privilege) -> Result<Host, Error> {
    let host = virga_store::host::by_ref(tx, name).await?;
    let Some(host) = host else {
        // Nothing to check; the answer is the one to who may not see the host.
        op.require(Privilege::HostRead, &Target::Host(HostId(Uuid::nil())), name)?;
        return Err(Error::not_found("host", name));
    };
    op.require(p, &Target::Host(host.id), name)?;
    Ok(host)
}

/// A page of hosts.
///
/// # Errors
/// Malformed for wrong parameters.
pub async fn list(op: &Op, q: &ListQuery) -> Result<PageBody<Shape>, Error> {
    let mut tx = op.read().await?;
    let mut paged = virga_store::host::list(&mut tx, &list::page(q)?, &op.visible(Privilege::HostRead)).await?;
    let loads = virga_store::host::loads(&mut tx).await?;
    let items = std::mem::take(&mut paged.items).into_iter().map(|h| (loads.get(&h.id).copied().unwrap_or_default(), h));
    let items = items.map(|(load, h)| shape(op, h, load)).collect();
    list::body(q, paged, items)
}

/// One host.
///
/// # Errors
/// NotFound.
pub async fn view(op: &Op, name: &str) -> Result<Shape, Error> {
    let mut tx = op.read().await?;
    let host = load(op, &mut tx, name, Privilege::HostRead).await?;
    let load = virga_store::host::load(&mut tx, host.id).await?;
    Ok(shape(op, host, load))
}

/// Rates of a host over the last minutes.
///
/// # Errors
/// NotFound.
pub async fn stats(op: &Op, name: &str) -> Result<Stats, Error> {
    let mut tx = op.read().await?;
    let host = load(op, &mut tx, name, Privilege::HostRead).await?;
    Ok(Stats { samples: op.m.stats.host(host.id) })
}

/// Renames a host, or keeps it free of new VMs.
///
/// # Errors
/// NotFound, Forbidden, Invalid, Conflict when the name is taken, PreconditionFailed.
pub async fn update(op: &Op, name: &str, b: &HostUpdate) -> Result<Shape, Error> {
    if let Some(n) = &b.name {
        name::check("name", n)?;
    }
    let mut tx = op.write().await?;
    let mut host = load(op, &mut tx, name, Privilege::HostManage).await?;
    op.check_match(host.generation)?;
    let mut done = Vec::new();
    if let Some(n) = b.name.as_ref().filter(|n| **n != host.name) {
        done.push(format!("renamed from {} to {n}", host.name));
        host.name.clone_from(n);
    }
    if let Some(m) = b.maintenance.filter(|m| *m != host.maintenance) {
        done.push(if m { "maintenance begins".into() } else { "maintenance ends".to_string() });
        host.maintenance = m;
    }
    if !done.is_empty() {
        let (expected, text) = (host.generation, done.join("; "));
        host.generation += 1;
        virga_store::host::update(&mut tx, &host, expected).await?;
        let object = ObjectRef::Host(host.id);
        op.audit(&mut tx, object, &host.name, &text).await?;
        let note = Note { host: Some(host.id), ..Note::plain(op.now, "host.changed", object, &host.name, &text) };
        event::append(&mut tx, &note).await?;
        let answer = {
            let load = virga_store::host::load(&mut tx, host.id).await?;
            shape(op, host, load)
        };
        op.commit(tx, &answer, None).await?;
        return Ok(answer);
    }
    let load = virga_store::host::load(&mut tx, host.id).await?;
    Ok(shape(op, host, load))
}

/// Removes a host that has no VMs; its certificate is worth nothing afterwards.
///
/// # Errors
/// NotFound, Forbidden, Conflict while VMs are on it, PreconditionFailed.
pub async fn delete(op: &Op, name: &str) -> Result<(), Error> {
    let mut tx = op.write().await?;
    let host = load(op, &mut tx, name, Privilege::HostManage).await?;
    op.check_match(host.generation)?;
    let vms: Vec<String> = virga_store::vm::on_host(&mut tx, host.id).await?.into_iter().map(|v| v.name).collect();
    if !vms.is_empty() {
        let seen = op.visible(Privilege::VmRead);
        let named = if seen.all || seen.hosts.contains(&host.id) { format!(": {}", crate::network::some_of(&vms)) } else { String::new() };
        return Err(Error::conflict(format!("{} VMs are on host {}{named}.", vms.len(), host.name)).with_hint("Remove those VMs first."));
    }
    virga_store::host::delete(&mut tx, host.id).await?;
    let object = ObjectRef::Host(host.id);
    op.audit(&mut tx, object, &host.name, "removed; its certificate is refused from now on").await?;
    let note = Note { host: Some(host.id), ..Note::plain(op.now, "host.removed", object, &host.name, "The host was removed.") };
    event::append(&mut tx, &note).await?;
    op.commit(tx, &(), None).await?;
    op.m.heard.forget(host.id);
    op.m.lives.forget(host.id);
    op.m.nodes.forget(host.id);
    Ok(())
}

/// Makes a one-time permission for a host to join.
///
/// # Errors
/// Invalid, or Conflict when the name is taken.
pub async fn join_token(op: &Op, b: &JoinTokenCreate) -> Result<JoinAnswer, Error> {
    name::check("host_name", &b.host_name)?;
    let valid_s = b.valid_s.unwrap_or(JOIN_SECONDS);
    if !(60..=JOIN_SECONDS_MAX).contains(&valid_s) {
        return Err(Error::invalid("valid_s", format!("must be 60 to {JOIN_SECONDS_MAX} seconds")));
    }
    let manager = b.manager.clone().unwrap_or_else(|| op.m.node_address.clone());
    let port_ok = manager.rsplit_once(':').is_some_and(|(h, p)| !h.is_empty() && p.parse::<u16>().is_ok_and(|p| p > 0));
    if !port_ok || manager.len() > 255 || manager.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(Error::invalid("manager", "must be host:port"));
    }
    let made = secret::generate(Kind::Join);
    let expires_at = op.now.plus_seconds(i64::from(valid_s));
    let token = JoinToken { id: JoinTokenId(Uuid::now_v7()), host_name: b.host_name.clone(), secret_sha256: made.sha256, expires_at, used_by: None };
    let mut tx = op.write().await?;
    if virga_store::host::by_ref(&mut tx, &b.host_name).await?.is_some() {
        return Err(Error::conflict(format!("There is a host called {} already.", b.host_name)).with_hint("Choose another host_name."));
    }
    virga_store::join_token::insert(&mut tx, &token).await?;
    let file = JoinFile { manager, secret: made.text, ca_pem: op.m.ca.ca_pem().to_string() };
    let json = serde_json::to_vec(&file).map_err(|e| Error::internal(e.to_string()))?;
    let answer = JoinAnswer { join_file: URL_SAFE_NO_PAD.encode(json), expires_at };
    op.audit(&mut tx, ObjectRef::JoinToken(token.id), &b.host_name, &format!("good until {expires_at}")).await?;
    op.commit(tx, &answer, None).await?;
    Ok(answer)
}
