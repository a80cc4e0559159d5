//! Forgets what is kept in memory of VMs that are no more (`reliability.md` W7). Each manager does it for itself: a VM
//! may have been removed by another manager, or a late report may have spoken of it after its removal.

use crate::state::Manager;
use virga_model::Error;

/// One round.
pub async fn round(m: &Manager) -> Result<(), Error> {
    let known = m.stats.known_vms();
    if known.is_empty() {
        return Ok(());
    }
    let mut tx = m.store.read().await?;
    let there = virga_store::vm::ids(&mut tx).await?;
    drop(tx);
    known.into_iter().filter(|vm| !there.contains(vm)).for_each(|vm| m.stats.forget_vm(vm));
    Ok(())
}
