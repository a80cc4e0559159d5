//! What others do to a machine behind Virga's back.

use crate::SimHost;
use virga_model::VmId;
use virga_model::vm::VmState;

impl SimHost {
    /// Somebody does this to a domain behind our back: `None` undefines it.
    pub fn meddle(&self, vm: VmId, state: Option<VmState>) {
        {
            let mut w = self.world();
            match (state, w.domains.get_mut(&vm)) {
                (Some(s), Some(d)) => {
                    if s == VmState::Running && matches!(d.state, VmState::Stopped | VmState::Hibernated) {
                        (d.writes, d.memory_bytes) = (d.defined_tops.clone(), d.order.spec.host_memory_bytes());
                    }
                    d.state = s;
                }
                (None, Some(d)) if d.state == VmState::Running => d.persistent = false,
                (None, _) => drop(w.domains.remove(&vm)),
                _ => {}
            }
        }
        self.bump();
    }

    /// Somebody edits a domain's definition behind our back.
    pub fn edit_outside(&self, vm: VmId) {
        if let Some(d) = self.world().domains.get_mut(&vm) {
            d.edited_outside = true;
        }
    }
}
