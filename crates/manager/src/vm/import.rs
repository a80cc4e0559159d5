//! Making VMs of packages (TPL-07, W-19).
//!
//! A package was read and checked when it came into the library ([`crate::image::package`]); here its machine becomes an
//! ordinary request for a VM, which is decided, placed and made like any other. Its disks start from the pieces of the
//! package, so the package stays in the library as long as the VM does.

use super::{create, resolve};
use crate::http::Op;
use std::collections::BTreeMap;
use virga_api::v1::{Accepted, DiskCreate, NicCreate, VmCreate, VmImport};
use virga_model::error::Check;
use virga_model::name::shown;
use virga_model::ovf::{Machine, Package};
use virga_model::{Error, ImageId, name};
use virga_store::Tx;

/// Makes a VM of a package.
///
/// # Errors
/// Invalid with every thing that Virga cannot give and every network that is not known; as [`create::create`].
pub async fn import(op: &Op, b: &VmImport, dry_run: bool) -> Result<Accepted, Error> {
    let mut tx = op.read().await?;
    create::may_make(op, &mut tx).await?;
    let (image, package) = resolve::package(op, &mut tx, &b.package, "package").await?;
    let machine = &package.machine;
    if !b.leave_out && !machine.refusals.is_empty() {
        return Err(refused(&image.name, machine));
    }
    let request = VmCreate {
        name: wanted_name(b, machine)?,
        description: machine.description.clone(),
        labels: b.labels.clone(),
        cpus: Some(b.cpus.unwrap_or(machine.cpus)),
        cpus_max: None,
        // Sockets of another number of vCPUs than the package has are not its sockets.
        cores_per_socket: Some(machine.cores_per_socket).filter(|c| *c > 0 && b.cpus.is_none_or(|n| n == machine.cpus)),
        cpu_mode: None,
        memory_bytes: Some(b.memory_bytes.unwrap_or(machine.memory_bytes)),
        memory_max_bytes: None,
        firmware: Some(machine.firmware),
        machine: None,
        boot: None,
        disks: disks(b, &package)?,
        nics: nics(op, &mut tx, b, machine).await?,
        cdroms: machine.cdroms.iter().map(|m| m.and_then(|at| piece(&package, at)).map_or(String::new(), |id| id.to_string())).collect(),
        cloud_init: b.cloud_init.clone(),
        start: b.start,
        host: b.host.clone(),
    };
    drop(tx);
    let left = machine.refusals.iter().map(|r| format!("leave out {r}"));
    let notes: Vec<String> = machine.notes.iter().map(|n| format!("note: {n}")).chain(left).collect();
    create::create_noting(op, &request, dry_run, &notes).await
}

/// The refusal with every reason.
fn refused(package: &str, machine: &Machine) -> Error {
    let mut c = Check::new();
    machine.refusals.iter().for_each(|r| c.that(false, "package", format!("{package} asks for {r}")));
    let e = c.done().err().unwrap_or_else(|| Error::internal("A refusal without a reason."));
    e.with_hint("Leave such things out where the guest does not need them (leave_out, --leave-out), or take its disks and make the VM by hand.")
}

fn wanted_name(b: &VmImport, machine: &Machine) -> Result<String, Error> {
    let wanted = b.name.clone().unwrap_or_else(|| machine.name.clone());
    match name::check("name", &wanted) {
        Err(_) if b.name.is_none() => {
            Err(Error::invalid("name", format!("must be given: the package calls its machine \"{}\", which can be no name here", shown(&machine.name))))
        }
        checked => checked.map(|()| wanted),
    }
}

/// The image that a piece of the package is.
fn piece(package: &Package, at: u32) -> Option<ImageId> {
    package.disks.get(at as usize).and_then(|d| d.image)
}

fn disks(b: &VmImport, package: &Package) -> Result<Vec<DiskCreate>, Error> {
    let one = |d: &virga_model::ovf::MachineDisk| -> Result<DiskCreate, Error> {
        let image = match d.content {
            Some(at) => Some(piece(package, at).ok_or_else(|| Error::internal("A disk of a package is no image."))?.to_string()),
            None => None,
        };
        Ok(DiskCreate { size_bytes: Some(d.size_bytes), image, bus: Some(b.bus.unwrap_or(d.bus)), ..DiskCreate::default() })
    };
    package.machine.disks.iter().map(one).collect()
}

/// The interfaces, each on the network that was named for it, or on that of the same name.
async fn nics(op: &Op, tx: &mut Tx, b: &VmImport, machine: &Machine) -> Result<Vec<NicCreate>, Error> {
    let (mut c, mut known) = (Check::new(), BTreeMap::new());
    for named in b.networks.keys().filter(|n| !machine.networks().contains(&n.as_str())) {
        c.that(false, "networks", format!("the package names no network \"{}\"; it names {}", shown(named), listed(machine)));
    }
    for source in machine.networks() {
        let target = b.networks.get(source).map_or(source, String::as_str);
        if target.is_empty() {
            continue;
        }
        match resolve::network(op, tx, target, "networks").await {
            Ok(n) => drop(known.insert(source, n.id.to_string())),
            Err(_) if !b.networks.contains_key(source) => {
                let why =
                    format!("say which network \"{}\" of the package is here: there is none of that name (\"\" leaves its interfaces out)", shown(source));
                c.that(false, "networks", why);
            }
            Err(e) => e.violations.into_iter().for_each(|v| c.that(false, v.field, v.message)),
        }
    }
    c.done()?;
    let nics = machine.nics.iter().filter_map(|n| {
        let network = known.get(n.network.as_str())?.clone();
        Some(NicCreate { network, model: Some(n.model), mac: n.mac.clone().filter(|_| b.keep_macs) })
    });
    Ok(nics.collect())
}

fn listed(machine: &Machine) -> String {
    let names: Vec<String> = machine.networks().iter().map(|n| format!("\"{}\"", shown(n))).collect();
    if names.is_empty() { "none".into() } else { names.join(", ") }
}
