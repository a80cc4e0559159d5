//! Stored memory of snapshots under libvirt: an external snapshot with memory, and its way back (ADR 17).
//!
//! libvirt stores the memory while the guest goes on, holds the guest for the rest, freezes the disks, and lets it go on. It
//! does the memory first: disks that are frozen tell that the memory is whole, a file alone tells nothing.

use crate::domain_xml_read::{accelerator, device, disks, machine};
use crate::libvirt::{Fault, Lane, QUICK, SAVE, SLOW, ours};
use crate::paths::{Paths, text};
use crate::volumes::{entries, name_of};
use crate::xml::El;
use crate::{Kvm, Result, blocking, facts, files, layers, nodes};
use std::path::Path;
use std::time::Duration;
use virga_agent::host::Started;
use virga_model::layer::Layer;
use virga_model::order::VmOrder;
use virga_model::snapshot::StoredMemory;
use virga_model::{Error, SnapshotId, VmId};
use virt::connect::Connect;
use virt::domain::Domain;
use virt_sys as sys;

const WHAT: &str = "The VM's memory could not be stored";
/// How long memory is stored while the guest goes on, before the guest is held for the rest: one that writes faster than the
/// store takes would never end.
const LIVE_PATIENCE: Duration = Duration::from_secs(60);
/// Bytes of memory for each second more of that patience: a slow disk's pace.
const BYTES_PER_S: u64 = 256 << 20;
/// How long the word that the guest goes on may be under way.
const EVENT_PATIENCE: Duration = Duration::from_secs(2);

/// Stores the memory and freezes the disks, unless they are frozen for `layer` already.
fn store(d: &Domain, paths: &Paths, order: &VmOrder, layer: Layer, file: &Path) -> std::result::Result<(), Fault> {
    let live = El::parse(&d.xml_desc(0)?)?;
    let (disks, any) = layers::to_freeze(&live, paths, order, layer)?;
    if !any {
        return Ok(());
    }
    // What a former try left is of another moment.
    files::remove(file)?;
    let memory = El::new("memory").attr("snapshot", "external").attr("file", text(file)?);
    let xml = El::new("domainsnapshot").child(El::new("name").text(layer.id)).child(memory).child(disks).to_xml()?;
    let flags = sys::VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA
        | sys::VIR_DOMAIN_SNAPSHOT_CREATE_REUSE_EXT
        | sys::VIR_DOMAIN_SNAPSHOT_CREATE_ATOMIC
        | sys::VIR_DOMAIN_SNAPSHOT_CREATE_LIVE;
    nodes::without_forgotten(d, || d.create_snapshot_xml(&xml, flags)).map(drop)
}

/// Starts the domain from stored memory. Its hardware is that of the file; its files are those of the definition.
fn restore(conn: &Connect, d: &Domain, paths: &Paths, vm: VmId, file: &Path) -> std::result::Result<Started, Fault> {
    if !d.is_active()? {
        if !file.is_file() {
            let message = format!("The stored memory {} is not there.", file.display());
            return Err(Error::host(message).with_hint("Go back to the snapshot without its memory (--no-memory).").into());
        }
        let user = facts::qemu_user(&El::parse(&conn.capabilities()?)?);
        files::socket_folder(paths, vm, user)?;
        let stored = El::parse(&conn.save_image_xml_desc(text(file)?, sys::VIR_DOMAIN_SAVE_IMAGE_XML_SECURE)?)?;
        let definition = El::parse(&d.xml_desc(sys::VIR_DOMAIN_XML_INACTIVE | sys::VIR_DOMAIN_XML_SECURE)?)?;
        let xml = with_files_of(stored, &definition)?.to_xml()?;
        conn.restore_domain_flags(text(file)?, Some(&xml), sys::VIR_DOMAIN_SAVE_RUNNING)?;
    }
    let live = El::parse(&d.xml_desc(0)?)?;
    Ok(Started { accelerator: accelerator(&live).to_string(), machine: machine(&live).unwrap_or_default().to_string() })
}

/// The stored domain with the files of today's definition in its drives.
fn with_files_of(mut stored: El, definition: &El) -> Result<El> {
    let names: Vec<String> = disks(&stored).filter_map(|e| e.one("alias")?.get("name").map(String::from)).collect();
    for name in names {
        let Some(now) = device(definition, &name) else {
            return Err(Error::host(format!("The stored memory knows a drive {name} that the VM does not have any more.")));
        };
        let mut devices = stored.children.iter_mut().filter(|e| e.name == "devices").flat_map(|d| d.children.iter_mut());
        let Some(drive) = devices.find(|e| e.name == "disk" && e.one("alias").and_then(|a| a.get("name")) == Some(&name)) else { continue };
        drive.drop_children("source");
        drive.drop_children("backingStore");
        for part in ["source", "backingStore"] {
            drive.children.extend(now.one(part).cloned());
        }
    }
    Ok(stored)
}

impl Kvm {
    /// See [`virga_agent::host::Hypervisor::memory_store`].
    pub(crate) async fn store_memory(&self, order: &VmOrder, layer: Layer) -> Result<StoredMemory> {
        let (vm, snapshot) = (order.id, layer.memory.ok_or_else(|| Error::internal("A layer without memory was to be stored with it."))?);
        let file = self.paths.memory(vm, snapshot);
        self.libvirt().pauses().watch(vm.0);
        let (own, paths, order_of) = (file.clone(), self.paths.clone(), order.clone());
        let take = self.libvirt().change(vm, Lane::Long, SAVE, WHAT, move |_, d| store(d, &paths, &order_of, layer, &own));
        tokio::pin!(take);
        let patience = LIVE_PATIENCE + Duration::from_secs(order.spec.memory.bytes / BYTES_PER_S);
        let done = tokio::select! {
            r = &mut take => r,
            () = tokio::time::sleep(patience) => {
                tracing::warn!(%vm, "the guest writes faster than its memory is stored; it is held for the rest");
                // Without the VM's lock, which the call has that takes so long. libvirt lets the guest go on in the end.
                let held = self.libvirt().call(Lane::Control, QUICK, WHAT, move |conn| match ours(conn, vm)? {
                    Some(d) => Ok(d.suspend()?),
                    None => Ok(()),
                });
                held.await.err().inspect(|e| tracing::warn!(%vm, error = %e, "the guest could not be held"));
                take.await
            }
        };
        done?;
        let paused = self.libvirt().pauses().total(vm.0, EVENT_PATIENCE).await;
        let paused_ms = paused.map(|p| u64::try_from(p.as_millis()).unwrap_or(u64::MAX));
        let bytes = blocking(move || {
            let f = std::fs::File::open(&file).map_err(|e| files::failed("Cannot open the stored memory", &file, &e))?;
            f.sync_all().map_err(|e| files::failed("Cannot sync", &file, &e))?;
            file.parent().map_or(Ok(()), files::sync_folder)?;
            Ok(f.metadata().map_err(|e| files::failed("Cannot look at", &file, &e))?.len())
        });
        Ok(StoredMemory { snapshot, bytes: bytes.await?, paused_ms })
    }

    /// See [`virga_agent::host::Hypervisor::memory_restore`].
    pub(crate) async fn restore_memory(&self, order: &VmOrder, snapshot: SnapshotId) -> Result<Started> {
        let (vm, paths, file) = (order.id, self.paths.clone(), self.paths.memory(order.id, snapshot));
        let limit = SLOW + Duration::from_secs(order.spec.memory.bytes / BYTES_PER_S);
        self.libvirt().change(vm, Lane::Long, limit, "The stored memory could not be brought back", move |conn, d| restore(conn, d, &paths, vm, &file)).await
    }

    /// Snapshots of a VM whose memory lies in a file.
    pub(crate) async fn stored_memories(&self, vm: VmId) -> Result<Vec<SnapshotId>> {
        let folder = self.paths.vm(vm);
        blocking(move || {
            let stem = |p: &std::path::PathBuf| name_of(p).and_then(|n| n.strip_suffix(".memory")).and_then(|n| n.parse().ok());
            Ok(entries(&folder)?.iter().filter_map(stem).collect())
        })
        .await
    }

    /// Removes stored memory.
    pub(crate) async fn remove_memory(&self, vm: VmId, snapshot: SnapshotId) -> Result<()> {
        let file = self.paths.memory(vm, snapshot);
        blocking(move || {
            files::remove(&file)?;
            match file.parent() {
                Some(folder) if folder.is_dir() => files::sync_folder(folder),
                _ => Ok(()),
            }
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drives_of_the_stored_domain_get_the_files_of_today() {
        let stored = "<domain><devices><disk><source file='/old'/><backingStore><source file='/base'/></backingStore><alias name='ua-1'/></disk>\
                      <disk device='cdrom'><source file='/gone.iso'/><alias name='ua-2'/></disk><interface/></devices></domain>";
        let today = "<domain><devices><disk><source file='/new'/><backingStore><source file='/old'/></backingStore><alias name='ua-1'/></disk>\
                     <disk device='cdrom'><alias name='ua-2'/></disk></devices></domain>";
        let parse = |x: &str| El::parse(x).unwrap();
        let out = with_files_of(parse(stored), &parse(today)).unwrap();
        let of = |n: &str| crate::domain_xml_read::sources(device(&out, n).unwrap());
        assert_eq!(of("ua-1"), ["/new", "/old"]);
        assert!(of("ua-2").is_empty());
        assert!(out.one("devices").unwrap().one("interface").is_some());
        assert!(with_files_of(parse(stored), &parse("<domain><devices/></domain>")).is_err());
    }
}
