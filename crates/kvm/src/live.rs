//! Changes to a running guest.

use crate::domain_xml::{self, alias_name, dimm, free_place};
use crate::domain_xml_read::{device, memory_bytes, sources};
use crate::libvirt::{Fault, Lane, Libvirt, QUICK, SLOW};
use crate::paths::{Paths, text};
use crate::xml::El;
use crate::{Result, files, layers, nodes, provision, volumes};
use std::sync::Arc;
use std::time::Duration;
use virga_model::change::Change;
use virga_model::disk::{DiskFormat, Provisioning};
use virga_model::order::VmOrder;
use virga_model::vm::{CdromSpec, DiskSpec, MEMORY_HOTPLUG_STEP_BYTES, NicSpec};
use virga_model::{Error, VmId};
use virt::domain::Domain;
use virt_sys as sys;

/// How long a guest has to let go of a device, and how often we look.
const RELEASE: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(250);
const LIVE: u32 = sys::VIR_DOMAIN_AFFECT_LIVE;

fn live_xml(d: &Domain) -> std::result::Result<El, Fault> {
    if !d.is_active()? {
        return Err(Error::conflict("The VM does not run, so nothing can be changed while it runs.").into());
    }
    Ok(El::parse(&d.xml_desc(sys::VIR_DOMAIN_XML_SECURE)?)?)
}

/// Brings one change to the running guest; what is already so is left alone.
pub async fn change(libvirt: &Arc<Libvirt>, paths: &Paths, order: &VmOrder, change: &Change) -> Result<()> {
    let (vm, paths, order) = (order.id, paths.clone(), order.clone());
    match change.clone() {
        Change::Vcpus { to, .. } => libvirt.change(vm, Lane::Control, SLOW, "vCPUs could not be added", move |_, d| vcpus(d, to)).await,
        Change::Memory { to, .. } => libvirt.change(vm, Lane::Control, SLOW, "Memory could not be added", move |_, d| memory(d, to)).await,
        Change::AttachDisk(disk) => {
            libvirt.change(vm, Lane::Control, SLOW, "The disk could not be attached", move |_, d| attach_disk(d, &paths, &order, &disk)).await
        }
        Change::DetachDisk(disk) => detach(libvirt, vm, alias_name(disk.id), "The disk could not be detached").await,
        Change::GrowDisk { disk } => {
            take_space(libvirt, &paths, vm, &disk).await?;
            libvirt.change(vm, Lane::Control, SLOW, "The disk could not be enlarged", move |_, d| grow(d, &disk)).await
        }
        Change::AttachNic(nic) => libvirt.change(vm, Lane::Control, SLOW, "The NIC could not be attached", move |_, d| attach_nic(d, &order, &nic)).await,
        Change::DetachNic(nic) => detach(libvirt, vm, alias_name(nic.id), "The NIC could not be detached").await,
        Change::UpdateNic { nic } => libvirt.change(vm, Lane::Control, SLOW, "The NIC could not be changed", move |_, d| update_nic(d, &order, &nic)).await,
        Change::ChangeMedia(cdrom) => {
            libvirt.change(vm, Lane::Control, SLOW, "The ISO could not be changed", move |_, d| media(d, &paths, &order, &cdrom)).await
        }
        Change::TakeLayer(layer) => {
            libvirt.change(vm, Lane::Control, SLOW, "The disks could not be frozen", move |_, d| layers::take(d, &paths, &order, layer)).await
        }
        Change::LimitDisk { disk } => libvirt.change(vm, Lane::Control, SLOW, "The disk could not be limited", move |_, d| limit(d, &disk)).await,
        // Known to nobody but those who take snapshots.
        Change::DiskMode { .. } => Ok(()),
        Change::RemodelDisk { .. } | Change::RemodelNic { .. } | Change::Drives | Change::AtStart(_) => {
            Err(Error::internal("A change that waits for a restart was asked of a running guest."))
        }
    }
}

fn vcpus(d: &Domain, to: u32) -> std::result::Result<(), Fault> {
    live_xml(d)?;
    if d.vcpus_flags(sys::VIR_DOMAIN_VCPU_LIVE)? >= to {
        return Ok(());
    }
    Ok(d.set_vcpus_flags(to, sys::VIR_DOMAIN_VCPU_LIVE)?)
}

fn memory(d: &Domain, to: u64) -> std::result::Result<(), Fault> {
    let live = live_xml(d)?;
    let now = memory_bytes(&live).ok_or_else(|| Error::host("libvirt does not tell how much memory the guest has."))?;
    let Some(more) = to.checked_sub(now).filter(|m| *m > 0) else { return Ok(()) };
    if !more.is_multiple_of(MEMORY_HOTPLUG_STEP_BYTES) {
        let message = format!("The guest has {} MiB, and memory is added in steps of 128 MiB.", now >> 20);
        return Err(Error::conflict(message).with_hint("Restart the VM to give it exactly this size.").into());
    }
    Ok(d.attach_device_flags(&dimm(more).to_xml()?, LIVE)?)
}

fn attach_disk(d: &Domain, paths: &Paths, order: &VmOrder, disk: &DiskSpec) -> std::result::Result<(), Fault> {
    let live = live_xml(d)?;
    if device(&live, &alias_name(disk.id)).is_some() {
        return Ok(());
    }
    let Some(place) = free_place(&live, disk.bus) else {
        return Err(Error::conflict("There is no free place for the disk on this bus of the running guest.").with_hint("Restart the VM.").into());
    };
    if domain_xml::is_direct(disk.cache) {
        let vm = paths.root(disk.store)?.vm(order.id);
        files::folder(&vm, 0o711)?;
        files::probe_direct(&vm)?;
    }
    let there = volumes::of_vm(paths, order.id)?;
    let pending = layers::pending(paths, order, &there, None)?;
    let below = crate::clone::below(paths, order)?.remove(&disk.id).unwrap_or_default();
    let xml = domain_xml::disk(order, paths, (&pending, &below), disk, &place)?.to_xml()?;
    nodes::without_forgotten(d, || d.attach_device_flags(&xml, LIVE))
}

fn attach_nic(d: &Domain, order: &VmOrder, nic: &NicSpec) -> std::result::Result<(), Fault> {
    if device(&live_xml(d)?, &alias_name(nic.id)).is_some() {
        return Ok(());
    }
    Ok(d.attach_device_flags(&domain_xml::nic(order, nic)?.to_xml()?, LIVE)?)
}

/// Asks the guest to let go of a device and waits until it has.
async fn detach(libvirt: &Arc<Libvirt>, vm: VmId, alias: String, what: &'static str) -> Result<()> {
    let name = alias.clone();
    libvirt
        .change(vm, Lane::Control, SLOW, what, move |_, d| {
            let live = live_xml(d)?;
            let Some(e) = device(&live, &name) else { return Ok(()) };
            match d.detach_device_flags(&e.to_xml()?, LIVE) {
                // Asked before, and the guest has not answered yet.
                Err(e) if e.message().contains("in the process of unplug") => Ok(()),
                Err(e) => Err(e.into()),
                Ok(()) => Ok(()),
            }
        })
        .await?;
    let end = tokio::time::Instant::now() + RELEASE;
    loop {
        let name = alias.clone();
        let there = libvirt.call(Lane::Control, QUICK, what, move |conn| match crate::libvirt::ours(conn, vm)? {
            Some(d) if d.is_active()? => Ok(device(&live_xml(&d)?, &name).is_some()),
            _ => Ok(false),
        });
        if !there.await? {
            return Ok(());
        }
        if tokio::time::Instant::now() >= end {
            return Err(Error::host(format!("{what}: the guest has not let go of it within {} s.", RELEASE.as_secs()))
                .with_hint("A guest that is still starting, or uses the device, does not answer. Try again later, or stop the VM: then it goes at once."));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Takes the space of a thick disk whose base file the guest writes, before the guest learns that there is more: behind
/// what it knows it writes nothing.
async fn take_space(libvirt: &Arc<Libvirt>, paths: &Paths, vm: VmId, disk: &DiskSpec) -> Result<()> {
    let (base, alias) = (paths.root(disk.store)?.disk(vm, disk, None), alias_name(disk.id));
    if disk.format != DiskFormat::Raw || disk.provisioning == Provisioning::Thin {
        return Ok(());
    }
    let written = libvirt.call(Lane::Control, QUICK, "The disk could not be looked at", move |conn| match crate::libvirt::ours(conn, vm)? {
        Some(d) if d.is_active()? => Ok(device(&live_xml(&d)?, &alias).and_then(|e| sources(e).into_iter().next())),
        _ => Ok(None),
    });
    if written.await?.is_none_or(|f| std::path::Path::new(&f) != base) {
        return Ok(());
    }
    let (p, size) = (disk.provisioning, disk.size_bytes);
    provision::watched(provision::TAKING, size, &|_| (), move |meter| provision::extend(&base, p, size, meter)).await
}

fn grow(d: &Domain, disk: &DiskSpec) -> std::result::Result<(), Fault> {
    let live = live_xml(d)?;
    let dev = device(&live, &alias_name(disk.id)).and_then(|e| e.one("target")).and_then(|t| t.get("dev"));
    let Some(dev) = dev else {
        return Err(Error::conflict("The running guest does not have this disk yet.").into());
    };
    if d.block_info(dev, 0)?.capacity >= disk.size_bytes {
        return Ok(());
    }
    Ok(d.block_resize(dev, disk.size_bytes, sys::VIR_DOMAIN_BLOCK_RESIZE_BYTES)?)
}

/// All values at once: what is not limited is 0, so that no former limit stays.
fn limit(d: &Domain, disk: &DiskSpec) -> std::result::Result<(), Fault> {
    let live = live_xml(d)?;
    let dev = device(&live, &alias_name(disk.id)).and_then(|e| e.one("target")).and_then(|t| t.get("dev"));
    let Some(dev) = dev else {
        return Err(Error::conflict("The running guest does not have this disk yet.").into());
    };
    crate::libvirt::block_limits(d, dev, &domain_xml::limit_values(&disk.limits))
}

fn update_nic(d: &Domain, order: &VmOrder, nic: &NicSpec) -> std::result::Result<(), Fault> {
    let live = live_xml(d)?;
    let Some(now) = device(&live, &alias_name(nic.id)) else {
        return Err(Error::conflict("The running guest does not have this NIC yet.").into());
    };
    let mut wanted = domain_xml::nic(order, nic)?;
    // What libvirt chose for the NIC must stay as it is.
    for name in ["address", "driver", "boot", "rom"] {
        wanted.children.extend(now.one(name).cloned());
    }
    Ok(d.update_device_flags(&wanted.to_xml()?, LIVE)?)
}

fn media(d: &Domain, paths: &Paths, order: &VmOrder, cdrom: &CdromSpec) -> std::result::Result<(), Fault> {
    let live = live_xml(d)?;
    let Some(now) = device(&live, &alias_name(cdrom.id)) else {
        return Err(Error::conflict("The running guest does not have this drive.").into());
    };
    let wanted = domain_xml::media(order, paths, cdrom)?;
    if now.one("source").and_then(|s| s.get("file")) == wanted.as_deref() {
        return Ok(());
    }
    let mut e = now.clone();
    e.drop_children("source");
    e.drop_children("backingStore");
    if let Some(file) = wanted {
        if !std::path::Path::new(&file).is_file() {
            return Err(Error::conflict("The ISO is not in this host's cache yet.").into());
        }
        e = e.child(El::new("source").attr("file", text(file.as_ref())?)).child(El::new("backingStore"));
    }
    d.update_device_flags(&e.to_xml()?, LIVE).map_err(|e| {
        if e.message().contains("locked") {
            return Fault::Own(
                Error::conflict("The guest holds the drive's tray locked.").with_hint("Unmount or eject the disc in the guest, then try again."),
            );
        }
        e.into()
    })
}
