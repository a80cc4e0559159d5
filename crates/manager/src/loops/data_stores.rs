//! Tells when more has been promised on a data store than it has, and when that is over. Disks are thin, so it is allowed;
//! who runs the machines must know (W-45).

use crate::event::{self, Note};
use crate::state::Manager;
use crate::{copies, data_store};
use virga_model::Error;
use virga_model::data_store::DataStore;
use virga_model::event::Severity;
use virga_model::size::human;
use virga_model::task::ObjectRef;

/// One round.
pub async fn round(m: &Manager) -> Result<(), Error> {
    let mut tx = m.store.read().await?;
    let rows = virga_store::data_store::all(&mut tx).await?;
    let promised = virga_store::data_store::promised(&mut tx).await?;
    let flagged = virga_store::data_store::overcommitted(&mut tx).await?;
    let hosts = copies::hosts(m, &mut tx).await?;
    drop(tx);
    let mut changed: Vec<(DataStore, bool, String)> = Vec::new();
    for s in rows {
        // What nobody can see at the moment is as it was.
        let Some((total, _)) = data_store::space(m, &hosts.list, &s) else { continue };
        let bytes = promised.get(&s.id).map_or(0, |p| p.bytes);
        let over = bytes > total;
        if over != flagged.contains(&s.id) {
            let text = format!("{} promised of {}.", human(bytes), human(total));
            changed.push((s, over, text));
        }
    }
    if changed.is_empty() {
        return Ok(());
    }
    let mut tx = m.store.write().await?;
    for (s, over, text) in changed {
        if !virga_store::data_store::set_overcommitted(&mut tx, s.id, over).await? {
            continue;
        }
        let (kind, severity) = if over { ("data_store.overcommitted", Severity::Warning) } else { ("data_store.not_overcommitted", Severity::Info) };
        let note = Note { severity, host: s.host, ..Note::plain(m.now(), kind, ObjectRef::DataStore(s.id), &s.name, &text) };
        event::append(&mut tx, &note).await?;
    }
    tx.commit().await?;
    m.committed();
    Ok(())
}
