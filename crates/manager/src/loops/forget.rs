//! Forgets what is kept in memory of VMs that are no more (`reliability.md` W7). Each manager does it for itself: a VM
//! may have been removed by another manager, or a late report may have spoken of it after its removal.

use crate::state::Manager;
use std::collections::HashSet;
use virga_model::{Error, VmId};

/// One round.
pub async fn round(m: &Manager) -> Result<(), Error> {
    let known: HashSet<VmId> = m.stats.known_vms().into_iter().chain(m.vm_copies.known()).collect();
    if known.is_empty() {
        return Ok(());
    }
    let mut tx = m.store.read().await?;
    let there = virga_store::vm::ids(&mut tx).await?;
    drop(tx);
    let gone: HashSet<VmId> = known.difference(&there).copied().collect();
    gone.iter().for_each(|vm| m.stats.forget_vm(*vm));
    m.vm_copies.forget(&gone);
    Ok(())
}
