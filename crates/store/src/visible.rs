//! What a caller may see, as a condition of the query, so that pages, totals and batches never show more.

use crate::filter_sql::Binds;
use virga_model::UserId;
use virga_model::role::Visible;

/// `column IN ($1, $2, …)`; false for nothing.
fn any_of<T: std::fmt::Display>(b: &mut Binds, column: &str, ids: &[T]) -> Option<String> {
    if ids.is_empty() {
        return None;
    }
    let list: Vec<String> = ids.iter().map(|i| b.bind(i.to_string())).collect();
    Some(format!("{column} IN ({})", list.join(", ")))
}

/// One of the conditions; none: nothing is visible.
fn one_of(parts: Vec<String>) -> String {
    if parts.is_empty() { "1 = 0".into() } else { format!("({})", parts.join(" OR ")) }
}

fn vm_parts(b: &mut Binds, v: &Visible) -> Vec<String> {
    let mut parts = Vec::new();
    if let Some(owner) = v.owner {
        parts.push(format!("vm.owner_id = {}", b.bind(owner)));
    }
    if let Some((owner, hosts)) = &v.owner_on {
        let owner = b.bind(*owner);
        parts.extend(any_of(b, "vm.host_id", hosts).map(|c| format!("(vm.owner_id = {owner} AND {c})")));
    }
    parts.extend(any_of(b, "vm.host_id", &v.hosts));
    parts.extend(any_of(b, "vm.id", &v.vms));
    parts
}

/// Condition on table `vm`.
pub(crate) fn vms(b: &mut Binds, v: &Visible) -> String {
    if v.all { "1 = 1".into() } else { one_of(vm_parts(b, v)) }
}

/// Condition on table `host`: only the hosts that are named.
pub(crate) fn hosts(b: &mut Binds, v: &Visible) -> String {
    if v.all { "1 = 1".into() } else { one_of(any_of(b, "host.id", &v.hosts).into_iter().collect()) }
}

/// Condition on table `event`: by the owner and the host that were written into it, or by its object.
pub(crate) fn events(b: &mut Binds, v: &Visible) -> String {
    if v.all {
        return "1 = 1".into();
    }
    let mut parts = Vec::new();
    if let Some(owner) = v.owner {
        parts.push(format!("event.owner_id = {}", b.bind(owner)));
    }
    if let Some((owner, hosts)) = &v.owner_on {
        let owner = b.bind(*owner);
        parts.extend(any_of(b, "event.host_id", hosts).map(|c| format!("(event.owner_id = {owner} AND {c})")));
    }
    parts.extend(any_of(b, "event.host_id", &v.hosts));
    parts.extend(any_of(b, "event.object_id", &v.hosts).map(|c| format!("(event.object_kind = 'host' AND {c})")));
    parts.extend(any_of(b, "event.host_id", &v.vm_hosts).map(|c| format!("(event.object_kind = 'vm' AND {c})")));
    parts.extend(any_of(b, "event.object_kind", &v.kinds));
    parts.extend(any_of(b, "event.object_id", &v.vms).map(|c| format!("(event.object_kind = 'vm' AND {c})")));
    one_of(parts)
}

/// Condition on table `task`: asked for by `viewer`, or about a VM or host that is visible.
pub(crate) fn tasks(b: &mut Binds, v: &Visible, viewer: Option<UserId>) -> String {
    if v.all {
        return "1 = 1".into();
    }
    let mut parts = Vec::new();
    if let Some(viewer) = viewer {
        parts.push(format!("task.requester = {}", b.bind(viewer)));
    }
    let vm = vm_parts(b, v);
    if !vm.is_empty() {
        parts.push(format!("(task.object_kind = 'vm' AND EXISTS (SELECT 1 FROM vm WHERE vm.id = task.object_id AND {}))", one_of(vm)));
    }
    parts.extend(any_of(b, "task.object_id", &v.hosts).map(|c| format!("(task.object_kind = 'host' AND {c})")));
    one_of(parts)
}
