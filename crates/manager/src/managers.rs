//! Several managers on one database: each says that it is there, and knows where agents reach the others.
//!
//! There is no leader. Tasks and loops have leases in rows; whoever holds one works. What is here only helps: agents learn
//! where else they may report, event streams and the task runner are woken when another manager has committed something,
//! and a manager with another authority, whose certificates no host would take, is refused at its start. Nothing is
//! decided from the presence or absence of a manager.

use crate::ca::Authority;
use crate::state::{Manager, lock};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use virga_model::{Error, Time};
use virga_store::manager::ManagerRow;
use virga_store::{Dialect, Store};

/// Time between two looks for what another manager has committed.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Looks between two beats where several managers can be.
const BEAT_LOOKS: u32 = 5;
/// Looks between two beats where this manager is alone by the nature of its database.
const BEAT_LOOKS_ALONE: u32 = 60;
/// A manager that was seen within so many seconds is taken to serve.
const SERVES_SECONDS: i64 = 30;
/// Agents are told of a manager for so many seconds after it was last seen: one that is mended comes back.
const KEPT_SECONDS: i64 = 86_400;
/// Most addresses that agents are told.
const ADDRESSES_MAX: usize = 16;
/// Looks between two looks for files that nobody needs any more.
const SWEEP_LOOKS: u32 = 600;
/// Where the fingerprint of the installation's authority stands.
const AUTHORITY: &str = "authority_sha256";

/// Where agents reach the managers, as this one last read it.
#[derive(Default)]
pub struct Managers(Mutex<Vec<String>>);

impl Managers {
    /// `host:port` of the node listeners: those that serve first. Empty: not known yet.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        lock(&self.0).clone()
    }
}

/// That this manager has the authority of the installation whose database it is; the first one writes it down.
///
/// # Errors
/// Conflict when it is another: no host would trust this manager, and those it joined would trust no other.
pub async fn check_authority(store: &Store, authority: &Authority) -> Result<(), Error> {
    let own = authority.fingerprint();
    let mut tx = store.read().await?;
    let known = virga_store::meta::get(&mut tx, AUTHORITY).await?;
    drop(tx);
    let known = match known {
        Some(k) => k,
        None => {
            let mut tx = store.write().await?;
            let first = virga_store::meta::get(&mut tx, AUTHORITY).await?;
            if first.is_none() {
                virga_store::meta::set(&mut tx, AUTHORITY, &own).await?;
                tx.commit().await?;
            }
            first.unwrap_or(own.clone())
        }
    };
    if known == own { Ok(()) } else { Err(another_authority()) }
}

/// That a manager whose state folder holds no authority may make one: the database belongs to nobody yet.
///
/// # Errors
/// Conflict, as [`check_authority`].
pub async fn check_unclaimed(store: &Store) -> Result<(), Error> {
    let mut tx = store.read().await?;
    if virga_store::meta::get(&mut tx, AUTHORITY).await?.is_none() { Ok(()) } else { Err(another_authority()) }
}

fn another_authority() -> Error {
    Error::conflict("The database belongs to an installation whose certificate authority is not the one in the state folder.")
        .with_hint("Copy ca.pem and ca.key (mode 0600) from the state folder of another manager of the installation, then start again.")
}

/// Says that this manager is there, and looks what others did, until `stop`.
pub async fn run(m: Arc<Manager>, mut stop: watch::Receiver<bool>) {
    let several = m.store.dialect() == Dialect::Postgres;
    let every = if several { BEAT_LOOKS } else { BEAT_LOOKS_ALONE };
    let (started, mut looks, mut seen) = (m.now(), 0, None);
    loop {
        if looks % every == 0
            && let Err(e) = beat(&m, started, false).await
        {
            tracing::warn!(error = %e, "this manager could not say that it is there");
        }
        looks = looks.wrapping_add(1);
        if looks % SWEEP_LOOKS == 0
            && let Err(e) = crate::image::sweep(&m.store, &m.image_folder()).await
        {
            tracing::warn!(error = %e, "the folder of images could not be swept");
        }
        if several {
            match look(&m, &mut seen).await {
                Ok(()) => {}
                Err(e) => tracing::debug!(error = %e, "no look for the events of other managers"),
            }
        }
        tokio::select! {
            biased;
            r = stop.wait_for(|s| *s) => { drop(r); break }
            () = m.wait(LOOK_EVERY) => {}
        }
    }
    if let Err(e) = beat(&m, started, true).await {
        tracing::debug!(error = %e, "this manager could not say that it stops");
    }
}

/// Writes this manager's row, and reads those of all.
///
/// # Errors
/// What the database says.
pub async fn beat(m: &Manager, started_at: Time, stopped: bool) -> Result<(), Error> {
    let now = m.now();
    let row = ManagerRow {
        instance: m.instance.clone(),
        node_address: m.node_address.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
        started_at,
        seen_at: now,
        stopped,
    };
    let mut tx = m.store.write().await?;
    virga_store::manager::beat(&mut tx, &row).await?;
    let rows = virga_store::manager::list(&mut tx, now.plus_seconds(-KEPT_SECONDS)).await?;
    virga_store::manager::delete_old(&mut tx, now.plus_seconds(-KEPT_SECONDS)).await?;
    tx.commit().await?;
    *lock(&m.managers.0) = in_order(rows, now);
    Ok(())
}

/// The addresses, those that serve first, each once.
fn in_order(mut rows: Vec<ManagerRow>, now: Time) -> Vec<String> {
    rows.sort_by_key(|r| !serves(r, now));
    let mut out: Vec<String> = Vec::new();
    for r in rows {
        if !r.node_address.is_empty() && !out.contains(&r.node_address) {
            out.push(r.node_address);
        }
    }
    out.truncate(ADDRESSES_MAX);
    out
}

/// Whether a manager is taken to serve.
#[must_use]
pub fn serves(row: &ManagerRow, now: Time) -> bool {
    !row.stopped && now.millis_since(row.seen_at) <= SERVES_SECONDS * 1000
}

/// Wakes streams and the runner when there are events that this manager was not told of.
async fn look(m: &Manager, seen: &mut Option<i64>) -> Result<(), Error> {
    let mut tx = m.store.read().await?;
    let latest = virga_store::event::latest_id(&mut tx).await?;
    drop(tx);
    if seen.replace(latest).is_some_and(|before| before != latest) {
        m.committed();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_serve_come_first() {
        let now = Time(1_000_000_000);
        let row = |address: &str, ago: i64, stopped: bool| ManagerRow {
            instance: address.into(),
            node_address: address.into(),
            version: String::new(),
            started_at: Time(0),
            seen_at: now.plus_seconds(-ago),
            stopped,
        };
        let rows = vec![row("a:1", 300, false), row("b:1", 1, false), row("c:1", 1, true), row("b:1", 2, false), row("d:1", 2, false)];
        assert_eq!(in_order(rows, now), ["b:1", "d:1", "a:1", "c:1"]);
    }
}
