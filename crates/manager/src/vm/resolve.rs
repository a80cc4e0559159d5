//! What people name in requests about VMs (images, networks, hosts), found and checked.

use crate::http::Op;
use uuid::Uuid;
use virga_api::v1::{DiskCreate, NicCreate};
use virga_model::data_store::DataStore;
use virga_model::disk::{DiskFormat, DiskLimits, Provisioning, Sharing};
use virga_model::error::Check;
use virga_model::host::Host;
use virga_model::image::{Image, ImageFormat, ImageState};
use virga_model::name::shown;
use virga_model::network::Network;
use virga_model::ovf::Package;
use virga_model::role::{Privilege, Target};
use virga_model::vm::{CdromSpec, DiskMode, DiskSpec, NicSpec, mac_for};
use virga_model::{DataStoreId, DiskId, Error, HostId, NicId};
use virga_store::Tx;

/// The image called `name`, whose content is there.
async fn image(op: &Op, tx: &mut Tx, name: &str, field: &str) -> Result<Image, Error> {
    let found = virga_store::image::by_ref(tx, name).await?.filter(|_| op.caller.has(Privilege::ImageRead));
    let image = found.ok_or_else(|| Error::invalid(field, format!("there is no image \"{}\"", shown(name))))?;
    match image.state {
        ImageState::Ready => Ok(image),
        ImageState::Empty => Err(Error::invalid(field, format!("image {} has no content yet; upload it first", image.name))),
        ImageState::Deleting => Err(Error::invalid(field, format!("image {} is being removed", image.name))),
    }
}

/// The package called `name`.
///
/// # Errors
/// Invalid on `field`.
pub async fn package(op: &Op, tx: &mut Tx, name: &str, field: &str) -> Result<(Image, Package), Error> {
    let mut found = image(op, tx, name, field).await?;
    match found.package.take() {
        Some(p) => Ok((found, p)),
        None => Err(Error::invalid(field, format!("image {} is no package (OVA); make a VM with a disk from it instead", found.name))),
    }
}

/// The ISO called `name`.
///
/// # Errors
/// Invalid on `field`.
pub async fn iso(op: &Op, tx: &mut Tx, name: &str, field: &str) -> Result<Image, Error> {
    let found = image(op, tx, name, field).await?;
    if found.format == Some(ImageFormat::Iso) {
        return Ok(found);
    }
    Err(Error::invalid(field, format!("image {} is a disk image, not an ISO; give it to a disk", found.name)))
}

/// The network called `name`.
///
/// # Errors
/// Invalid on `field`.
pub async fn network(op: &Op, tx: &mut Tx, name: &str, field: &str) -> Result<Network, Error> {
    let found = virga_store::network::by_ref(tx, name).await?.filter(|_| op.caller.has(Privilege::NetworkRead));
    let network = found.ok_or_else(|| Error::invalid(field, format!("there is no network \"{}\"", shown(name))))?;
    if network.deleting {
        return Err(Error::invalid(field, format!("network {} is being removed", network.name)));
    }
    Ok(network)
}

/// The host called `name`, if the caller may see it.
///
/// # Errors
/// Invalid on `field`.
pub async fn host(op: &Op, tx: &mut Tx, name: &str, field: &str) -> Result<Host, Error> {
    let found = virga_store::host::by_ref(tx, name).await?.filter(|h| op.caller.may(Privilege::HostRead, &Target::Host(h.id)));
    found.ok_or_else(|| Error::invalid(field, format!("there is no host \"{}\", or you may not see it", shown(name))))
}

/// The disk that a request describes.
///
/// # Errors
/// Invalid on a field under `field`.
pub async fn disk(op: &Op, tx: &mut Tx, b: &DiskCreate, field: &str) -> Result<DiskSpec, Error> {
    let within = |name: &str| if field.is_empty() { name.to_string() } else { format!("{field}.{name}") };
    if b.existing.is_some() {
        return Err(Error::invalid(within("existing"), "is for a VM that is there: attach the disk to it"));
    }
    let from = match b.image.as_deref().filter(|n| !n.is_empty()) {
        Some(n) => Some(image(op, tx, n, &within("image")).await?),
        None => None,
    };
    if let Some(i) = from.as_ref().filter(|i| i.format == Some(ImageFormat::Iso)) {
        return Err(Error::invalid(within("image"), format!("image {} is an ISO; give it to an optical drive (cdroms)", i.name)));
    }
    if let Some(i) = from.as_ref().filter(|i| i.format == Some(ImageFormat::Ova)) {
        let why = format!("image {} is a package of several disks; import it (virga vm import), or give one of its disks ({}.disk1)", i.name, i.name);
        return Err(Error::invalid(within("image"), why));
    }
    limits(b.limits.as_ref(), &within("limits"))?;
    let size_bytes = match (b.size_bytes, &from) {
        (Some(s), Some(i)) if s < i.virtual_bytes => {
            return Err(Error::invalid(within("size_bytes"), format!("must be at least {}, the size of image {}", i.virtual_bytes, i.name)));
        }
        (Some(s), _) => s,
        (None, Some(i)) => i.virtual_bytes,
        (None, None) => return Err(Error::invalid(within("size_bytes"), "must be given for a disk without an image")),
    };
    let sharing = b.sharing.unwrap_or_default();
    let shared = sharing == Sharing::Shared;
    let provisioning = b.provisioning.unwrap_or(if shared { Provisioning::ThickLazy } else { Provisioning::Thin });
    let mode = if shared { DiskMode::IndependentPersistent } else { DiskMode::Dependent };
    // A thick disk in qcow2 has two tables to look into where one would do: only for who asks for it.
    let usual = if provisioning == Provisioning::Thin { DiskFormat::Qcow2 } else { DiskFormat::Raw };
    Ok(DiskSpec {
        id: DiskId(Uuid::now_v7()),
        size_bytes,
        image: from.map(|i| i.id),
        bus: b.bus.unwrap_or_default(),
        cache: b.cache.unwrap_or_default(),
        mode: b.mode.unwrap_or(mode),
        limits: b.limits.unwrap_or_default(),
        origin: None,
        copy_of: None,
        provisioning,
        format: b.format.unwrap_or(usual),
        discard: b.discard.unwrap_or_default(),
        sharing,
        store: None,
    })
}

/// Where a request wants a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreWish {
    /// Nothing was said: where Virga chooses.
    Anywhere,
    /// On the local store of the VM's host; of this one, when it was named.
    Local(Option<HostId>),
    /// On this data store.
    Shared(DataStoreId),
}

/// The data store that a request names for a disk.
///
/// # Errors
/// Invalid on `field`.
pub async fn store(op: &Op, tx: &mut Tx, name: Option<&str>, field: &str) -> Result<StoreWish, Error> {
    let name = match name.filter(|n| !n.is_empty()) {
        None => return Ok(StoreWish::Anywhere),
        Some(virga_model::data_store::LOCAL) => return Ok(StoreWish::Local(None)),
        Some(n) => n,
    };
    let may_see = |s: &DataStore| s.host.map_or_else(|| op.caller.has(Privilege::DataStoreRead), |h| op.caller.may(Privilege::HostRead, &Target::Host(h)));
    let found = virga_store::data_store::by_ref(tx, name).await?.filter(may_see);
    let store = found.ok_or_else(|| Error::invalid(field, format!("there is no data store \"{}\"", shown(name))))?;
    if let Some(why) = store.closed() {
        return Err(Error::invalid(field, format!("data store {} {why}", store.name)));
    }
    Ok(store.host.map_or(StoreWish::Shared(store.id), |h| StoreWish::Local(Some(h))))
}

/// Checks the limits of a disk that a request gives in `field`.
///
/// # Errors
/// Invalid on a field under `field`.
pub fn limits(given: Option<&DiskLimits>, field: &str) -> Result<(), Error> {
    let mut c = Check::new();
    c.nested(field, given.map_or(Ok(()), DiskLimits::check));
    c.done()
}

/// The NIC that a request describes.
///
/// # Errors
/// Invalid on a field under `field`.
pub async fn nic(op: &Op, tx: &mut Tx, b: &NicCreate, field: &str) -> Result<NicSpec, Error> {
    let within = |name: &str| if field.is_empty() { name.to_string() } else { format!("{field}.{name}") };
    let network = network(op, tx, &b.network, &within("network")).await?;
    let id = NicId(Uuid::now_v7());
    let mac = b.mac.as_deref().map_or_else(|| mac_for(id), str::to_ascii_lowercase);
    Ok(NicSpec { id, network: network.id, model: b.model.unwrap_or_default(), mac, link_up: true })
}

/// The optical drive that a request describes: the name of an ISO, or nothing for an empty drive.
///
/// # Errors
/// Invalid on `field`.
pub async fn drive(op: &Op, tx: &mut Tx, name: &str, field: &str) -> Result<CdromSpec, Error> {
    let image = if name.is_empty() { None } else { Some(iso(op, tx, name, field).await?.id) };
    Ok(CdromSpec { id: DiskId(Uuid::now_v7()), image })
}
