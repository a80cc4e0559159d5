//! Networks: seen by everybody who has the privilege anywhere, made and removed over the installation.

use crate::event::{self, Note};
use crate::http::Op;
use crate::task_new::{self, About, Who};
use crate::{list, task_api};
use uuid::Uuid;
use virga_api::v1::{Accepted, ListQuery, Network as Shape, NetworkCreate, PageBody, PlanStep, Reference};
use virga_model::network::{Network, NetworkSpec, parse_cidr};
use virga_model::role::Privilege;
use virga_model::task::{ObjectRef, TaskDoc, TaskKind};
use virga_model::{Error, NetworkId, name};
use virga_store::Tx;

/// VMs that a refusal names.
pub(crate) const NAMED_MAX: usize = 10;

fn shape(n: Network) -> Shape {
    Shape { id: n.id, name: n.name, spec: n.spec, deleting: n.deleting, generation: n.generation, created_at: n.created_at }
}

async fn load(tx: &mut Tx, name: &str) -> Result<Network, Error> {
    virga_store::network::by_ref(tx, name).await?.ok_or_else(|| Error::not_found("network", name))
}

/// A page of networks.
///
/// # Errors
/// Malformed for wrong parameters.
pub async fn list(op: &Op, q: &ListQuery) -> Result<PageBody<Shape>, Error> {
    let mut tx = op.read().await?;
    let mut paged = virga_store::network::list(&mut tx, &list::page(q)?).await?;
    let items = std::mem::take(&mut paged.items).into_iter().map(shape).collect();
    list::body(q, paged, items)
}

/// One network.
///
/// # Errors
/// NotFound.
pub async fn view(op: &Op, name: &str) -> Result<Shape, Error> {
    let mut tx = op.read().await?;
    Ok(shape(load(&mut tx, name).await?))
}

/// Makes a network. Hosts get it when the first VM there needs it.
///
/// # Errors
/// Invalid, or Conflict when the name, the addresses or the bridge is taken.
pub async fn create(op: &Op, b: &NetworkCreate) -> Result<Shape, Error> {
    name::check("name", &b.name)?;
    b.spec.check().map_err(|e| e.within("spec"))?;
    let mut tx = op.write().await?;
    for other in virga_store::network::all_ready(&mut tx).await? {
        apart(&b.spec, &other)?;
    }
    let network = Network { id: NetworkId(Uuid::now_v7()), name: b.name.clone(), spec: b.spec.clone(), generation: 1, deleting: false, created_at: op.now };
    virga_store::network::insert(&mut tx, &network).await?;
    let object = ObjectRef::Network(network.id);
    op.audit(&mut tx, object, &network.name, "made").await?;
    event::append(&mut tx, &Note::plain(op.now, "network.created", object, &network.name, "The network was made.")).await?;
    let answer = shape(network);
    op.commit(tx, &answer, None).await?;
    Ok(answer)
}

/// That two networks can be on the same host.
fn apart(new: &NetworkSpec, other: &Network) -> Result<(), Error> {
    match (new, &other.spec) {
        (NetworkSpec::Nat { cidr }, NetworkSpec::Nat { cidr: theirs }) if overlap(cidr, theirs) => {
            Err(Error::conflict(format!("{cidr} overlaps {theirs} of network {}.", other.name)).with_hint("Choose other addresses."))
        }
        (NetworkSpec::Ovs { bridge, uplink, .. }, NetworkSpec::Ovs { bridge: theirs, uplink: their_uplink, .. }) => {
            // The same bridge may carry several VLANs, but it has one uplink, and an uplink is in one bridge.
            if bridge == theirs && uplink != their_uplink {
                return Err(Error::conflict(format!("Bridge {bridge} has another uplink in network {}.", other.name))
                    .with_hint("Use the same uplink, or another bridge."));
            }
            if bridge != theirs && uplink.is_some() && uplink == their_uplink {
                let uplink = uplink.as_deref().unwrap_or_default();
                return Err(Error::conflict(format!("Interface {uplink} is the uplink of bridge {theirs} in network {}.", other.name))
                    .with_hint("Use that bridge with another VLAN."));
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn overlap(a: &str, b: &str) -> bool {
    let (Some((a, a_len)), Some((b, b_len))) = (parse_cidr(a), parse_cidr(b)) else { return false };
    let mask = u32::MAX << (32 - u32::from(a_len.min(b_len)));
    u32::from(a) & mask == u32::from(b) & mask
}

/// The refusal to remove what VMs use.
pub(crate) fn in_use(op: &Op, what: &str, vms: &[String]) -> Error {
    // Who runs the machines does not see the VMs by that.
    let all = op.visible(Privilege::VmRead).all;
    let list = if all { some_of(vms) } else { format!("{} VMs", vms.len()) };
    Error::conflict(format!("{what} is used by {list}.")).with_hint("Detach it from those VMs, or remove them, first.")
}

/// The first names of a list, and how many more there are.
pub(crate) fn some_of(vms: &[String]) -> String {
    let more = vms.len().saturating_sub(NAMED_MAX);
    let list = vms.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{list} and {more} more") } else { list }
}

/// Removes a network that no VM uses, from the hosts too.
///
/// # Errors
/// NotFound, Conflict when VMs use it, Locked when a task works on it.
pub async fn delete(op: &Op, name: &str) -> Result<Accepted, Error> {
    let mut tx = op.write().await?;
    let mut network = load(&mut tx, name).await?;
    op.check_match(network.generation)?;
    let object = ObjectRef::Network(network.id);
    task_new::ensure_free(&mut tx, object, &format!("network {}", network.name)).await?;
    let users = virga_store::network::used_by(&mut tx, network.id).await?;
    if !users.is_empty() {
        return Err(in_use(op, &format!("Network {}", network.name), &users));
    }
    let expected = network.generation;
    (network.deleting, network.generation) = (true, expected + 1);
    virga_store::network::update(&mut tx, &network, expected).await?;
    let doc = TaskDoc { generation: network.generation, ..TaskDoc::default() };
    let task = task_new::insert(&mut tx, Who::caller(op), TaskKind::NetworkDelete, About::plain(object, &network.name), doc, None).await?;
    op.audit(&mut tx, object, &network.name, "removal asked for").await?;
    let answer = Accepted {
        task: Some(task_api::shape(&mut tx, &mut task_api::Names::default(), &task).await?),
        object: Reference::new(&object, &network.name),
        plan: vec![PlanStep { what: "remove the network from every host, then from the installation".into(), after_restart: None }],
    };
    op.commit(tx, &answer, None).await?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_addresses_are_found() {
        assert!(overlap("10.0.0.0/16", "10.0.3.0/24") && overlap("10.0.3.0/24", "10.0.0.0/16"));
        assert!(!overlap("10.0.3.0/24", "10.0.4.0/24"));
    }
}
