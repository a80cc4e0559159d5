//! Layers of disks under libvirt and on the disk: freezing what a running guest wrote, and merging what nobody needs apart.
//!
//! Nothing is remembered: which file a guest writes is read from its live definition, which file it would write from the
//! persistent one, and what a file stands on from its header (reliability.md S8). An upper file is removed only after its
//! content is in the lower one and nothing stands on it any more.
//!
//! The one moment that files cannot tell is an active merge: after the pivot the guest writes the lower file, and the upper
//! one, if it is still there, is stale. libvirt writes the persistent definition at that moment, so that one decides.

use crate::domain_xml::alias_name;
use crate::domain_xml_read::{device, disks, sources};
use crate::libvirt::{self, Fault, Lane, QUICK, SLOW, ours};
use crate::paths::{Paths, Root, disk_format, text};
use crate::volumes::{self, Found};
use crate::xml::El;
use crate::{Kvm, Result, blocking, files, nodes, program, provision};
use std::path::Path;
use std::time::Duration;
use virga_model::layer::{Layer, Merge};
use virga_model::order::{Progress, VmOrder};
use virga_model::vm::DiskMode;
use virga_model::{DiskId, Error, LayerId, VmId};
use virt::domain::Domain;
use virt_sys as sys;

/// How long an offline merge may take.
const OFFLINE: Duration = Duration::from_secs(6 * 3600);
/// How often a running merge is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Address space of qemu-img while it merges.
const LIMIT: &str = "--as=4294967296";
const WHAT: &str = "The layers of a disk could not be merged";

/// Freezes all disks of the running guest that snapshots include and puts their file of `layer` on top, in one moment for
/// all of them. Disks that are there already are left alone.
pub fn take(d: &Domain, paths: &Paths, order: &VmOrder, layer: Layer) -> std::result::Result<(), Fault> {
    let live = El::parse(&d.xml_desc(0)?)?;
    let (wanted, any) = to_freeze(&live, paths, order, layer)?;
    // Also for what a former agent began: a guest whose file systems were held must not stay so.
    crate::guest::thaw(d);
    if !any {
        return Ok(());
    }
    let xml = El::new("domainsnapshot").child(El::new("name").text(layer.id)).child(wanted).to_xml()?;
    let flags = sys::VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY
        | sys::VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA
        | sys::VIR_DOMAIN_SNAPSHOT_CREATE_REUSE_EXT
        | sys::VIR_DOMAIN_SNAPSHOT_CREATE_ATOMIC;
    if layer.consistent {
        crate::guest::freeze(d)?;
    }
    let done = nodes::without_forgotten(d, || d.create_snapshot_xml(&xml, flags));
    if layer.consistent {
        crate::guest::thaw(d);
    }
    done.map(drop)
}

/// The disks of a snapshot as libvirt wants them named, each drive with what happens to it; and whether there is one that does
/// not write its file of `layer` yet.
pub fn to_freeze(live: &El, paths: &Paths, order: &VmOrder, layer: Layer) -> Result<(El, bool)> {
    let mut wanted = El::new("disks");
    let mut any = false;
    for e in disks(live) {
        let Some(dev) = e.one("target").and_then(|t| t.get("dev")) else { continue };
        let name = e.one("alias").and_then(|a| a.get("name")).unwrap_or_default();
        let spec = order.spec.disks.iter().find(|s| alias_name(s.id) == name && s.mode == DiskMode::Dependent);
        let file = spec.map(|s| paths.root(s.store).map(|r| r.disk(order.id, s, Some(layer.id)))).transpose()?;
        // A disk that began above this layer has no file of it.
        let file = file.filter(|_| spec.is_some_and(|s| order.spec.disk_files(s, |_| false).contains(&Some(layer.id))));
        let there = file.as_ref().is_none_or(|f| sources(e).iter().any(|s| Path::new(s) == f));
        let entry = El::new("disk").attr("name", dev);
        wanted = wanted.child(match file {
            Some(f) if !there => {
                any = true;
                let source = El::new("source").attr("file", text(&f)?);
                entry.attr("snapshot", "external").attr("type", "file").child(El::new("driver").attr("type", "qcow2")).child(source)
            }
            _ => entry.attr("snapshot", "no"),
        });
    }
    Ok((wanted, any))
}

/// Files of layers that wait to be merged and still hold something: what a definition has to name beside the order's own.
/// `present` is the persistent definition as it is.
pub fn pending(paths: &Paths, order: &VmOrder, there: &[Found], present: Option<&El>) -> Result<Vec<(DiskId, LayerId)>> {
    let mut out = Vec::new();
    for m in &order.spec.layers.merges {
        for f in there.iter().filter(|f| f.disk.layer == Some(m.from)) {
            if !is_stale(&paths.root(f.disk.store)?, order, f.disk.id, *m, present) {
                out.push((f.disk.id, m.from));
            }
        }
    }
    Ok(out)
}

/// Where the files of a disk lie, of one that only snapshots have too.
fn root_of(paths: &Paths, order: &VmOrder, disk: DiskId) -> Result<Root> {
    if let Some(d) = order.spec.disks.iter().find(|d| d.id == disk) {
        return paths.root(d.store);
    }
    let there = volumes::of_vm(paths, order.id)?;
    paths.root(there.iter().find(|f| f.disk.id == disk).and_then(|f| f.disk.store))
}

/// Whether the domain writes the lower file already, so that the upper one holds nothing that counts.
fn is_stale(root: &Root, order: &VmOrder, disk: DiskId, m: Merge, definition: Option<&El>) -> bool {
    let lower = root.disk_there(order.id, disk, order.spec.layers.file_of(disk, m.into));
    let device = definition.and_then(|d| device(d, &alias_name(disk)));
    device.is_some_and(|e| sources(e).first().is_some_and(|s| Path::new(s) == lower))
}

/// How the domain has the two files of a merge.
enum Now {
    /// The guest runs and reads the upper file; name of the target, and whether it is the one that is written.
    Live(String, bool),
    /// Nobody has the upper file open, and its content counts.
    Closed,
    /// The upper file holds nothing that counts any more.
    Stale,
}

impl Kvm {
    async fn merge_state(&self, order: &VmOrder, disk: DiskId, m: Merge) -> Result<Now> {
        let (paths, order) = (self.paths.clone(), order.clone());
        self.libvirt()
            .call(Lane::Control, QUICK, WHAT, move |conn| {
                let Some(d) = ours(conn, order.id)? else { return Ok(Now::Closed) };
                let root = root_of(&paths, &order, disk)?;
                let upper = root.disk_there(order.id, disk, Some(m.from));
                let lower = root.disk_there(order.id, disk, order.spec.layers.file_of(disk, m.into));
                if !d.is_active()? {
                    let definition = El::parse(&d.xml_desc(sys::VIR_DOMAIN_XML_INACTIVE)?)?;
                    return Ok(if is_stale(&root, &order, disk, m, Some(&definition)) { Now::Stale } else { Now::Closed });
                }
                let live = El::parse(&d.xml_desc(0)?)?;
                let Some(e) = device(&live, &alias_name(disk)) else { return Ok(Now::Closed) };
                let chain = sources(e);
                let at = chain.iter().position(|s| Path::new(s) == upper);
                let dev = e.one("target").and_then(|t| t.get("dev")).unwrap_or_default().to_string();
                Ok(match at {
                    Some(at) => Now::Live(dev, at == 0),
                    // The guest reads the lower one without the upper: they are one already.
                    None if chain.iter().any(|s| Path::new(s) == lower) => Now::Stale,
                    None => Now::Closed,
                })
            })
            .await
    }

    /// See [`virga_agent::host::Hypervisor::merge`].
    pub(crate) async fn merge_layers(&self, order: &VmOrder, disk: DiskId, m: Merge, progress: &(dyn Fn(Progress) + Send + Sync)) -> Result<()> {
        let (paths, of) = (self.paths.clone(), order.clone());
        let root = blocking(move || root_of(&paths, &of, disk)).await?;
        let upper = root.disk_there(order.id, disk, Some(m.from));
        let lower = root.disk_there(order.id, disk, order.spec.layers.file_of(disk, m.into));
        match self.merge_state(order, disk, m).await? {
            Now::Live(dev, active) => {
                self.commit_live(order.id, &dev, (&upper, &lower), active, progress).await?;
                if matches!(self.merge_state(order, disk, m).await?, Now::Live(..)) {
                    return Err(Error::unavailable("The guest still reads the upper layer after the merge; looking again."));
                }
            }
            Now::Closed => {
                progress(Progress { step: "merging layers".into(), ..Progress::default() });
                let args = [LIMIT, "--", "/usr/bin/qemu-img", "commit", "-q", "-f", "qcow2", "-d", "-b", text(&lower)?, "--", text(&upper)?];
                program::run("/usr/bin/prlimit", &args, OFFLINE).await?;
            }
            Now::Stale => {}
        }
        // A merge may have made the file below larger.
        if let Some(d) = order.spec.disks.iter().find(|d| d.id == disk).cloned() {
            let lower = lower.clone();
            blocking(move || provision::keep_space(&lower, d.provisioning)).await?;
        }
        self.move_children(order.id, disk, &upper, &lower).await?;
        blocking(move || {
            // What the lower file took in must be there before the upper one goes.
            std::fs::File::open(&lower).and_then(|f| f.sync_all()).map_err(|e| files::failed("Cannot sync", &lower, &e))?;
            files::remove(&upper)?;
            upper.parent().map_or(Ok(()), files::sync_folder)
        })
        .await
    }

    /// Files that still stand on the upper one (other branches) stand on the lower one from now on.
    async fn move_children(&self, vm: VmId, disk: DiskId, upper: &Path, lower: &Path) -> Result<()> {
        let paths = self.paths.clone();
        let there = blocking(move || volumes::of_vm(&paths, vm)).await?;
        for child in there.iter().filter(|f| f.disk.id == disk && f.backing.as_deref() == Some(upper)) {
            let args =
                [LIMIT, "--", "/usr/bin/qemu-img", "rebase", "-q", "-u", "-f", "qcow2", "-F", disk_format(lower), "-b", text(lower)?, "--", text(&child.path)?];
            program::run("/usr/bin/prlimit", &args, SLOW).await?;
        }
        Ok(())
    }

    /// QEMU brings the content down while the guest goes on; in the end the guest has only the lower file open.
    async fn commit_live(&self, vm: VmId, dev: &str, files: (&Path, &Path), active: bool, progress: &(dyn Fn(Progress) + Send + Sync)) -> Result<()> {
        let (name, top, base) = (dev.to_string(), text(files.0)?.to_string(), text(files.1)?.to_string());
        let begin = self.libvirt().change(vm, Lane::Control, SLOW, WHAT, move |_, d| {
            // A job of before (this agent may have been killed meanwhile) is gone on with.
            if libvirt::block_job(d, &name)?.is_some() { Ok(()) } else { libvirt::block_commit(d, &name, &base, &top, active) }
        });
        begin.await?;
        loop {
            let name = dev.to_string();
            let job = self.libvirt().call(Lane::Control, QUICK, WHAT, move |conn| {
                let Some(d) = ours(conn, vm)? else { return Ok(None) };
                if !d.is_active()? {
                    return Ok(None);
                }
                let Some(job) = libvirt::block_job(&d, &name)? else { return Ok(None) };
                let ready = active && job.done == job.total && is_ready(&d, &name)?;
                Ok(Some((job, ready)))
            });
            let Some((job, ready)) = job.await? else { return Ok(()) };
            progress(Progress { step: "merging layers".into(), done: job.done, total: job.total, unit: "bytes".into() });
            if ready {
                let name = dev.to_string();
                return self.libvirt().change(vm, Lane::Control, SLOW, WHAT, move |_, d| libvirt::block_pivot(d, &name)).await;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Refuses when a running guest has the file open.
    pub(crate) async fn ensure_not_open(&self, vm: VmId, path: &Path) -> Result<()> {
        let wanted = path.to_path_buf();
        let open = self.libvirt().call(Lane::Control, QUICK, "It could not be found out whether the guest uses a file", move |conn| {
            let Some(d) = ours(conn, vm)? else { return Ok(false) };
            if !d.is_active()? {
                return Ok(false);
            }
            let live = El::parse(&d.xml_desc(0)?)?;
            Ok(disks(&live).any(|e| sources(e).iter().any(|s| Path::new(s) == wanted)))
        });
        if open.await? {
            return Err(Error::conflict("The running guest uses this file of a disk, so it is not removed.").with_hint("Stop the VM, then try again."));
        }
        Ok(())
    }
}

/// Whether an active merge has caught up with the guest, so that it can be ended.
fn is_ready(d: &Domain, dev: &str) -> std::result::Result<bool, Fault> {
    let live = El::parse(&d.xml_desc(0)?)?;
    Ok(disks(&live).any(|e| e.one("target").and_then(|t| t.get("dev")) == Some(dev) && e.one("mirror").and_then(|m| m.get("ready")) == Some("yes")))
}
