//! Space of thin disks that nobody needs, brought back to the store by hand (DSK-07, DSK-08, X-08).
//!
//! Online the guest's agent tells QEMU which blocks its file systems do not use, and QEMU gives them back. Offline each file
//! of the disk is written anew without blocks that hold only zeros, compared, and put in the place of the old one in one
//! moment; a raw file gets holes where it holds zeros. Both leave what is read from the disk as it was at every moment, so
//! that who is killed in between leaves nothing but a temporary file.

use crate::domain_xml_read::{device, sources};
use crate::libvirt::{Lane, QUICK, ours};
use crate::paths::{disk_format, text};
use crate::provision::{self, Meter, Watch, allocated_bytes};
use crate::volumes::{self, Found, Temporary, qemu_img};
use crate::xml::El;
use crate::{Kvm, Result, blocking, files};
use rustix::fs::{FallocateFlags, SeekFrom};
use std::fs::File;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;
use virga_model::Error;
use virga_model::order::VmOrder;
use virga_model::vm::DiskSpec;
use virt::error::ErrorNumber;

/// What people read while it goes on.
const STEP: &str = "reclaiming the space of a disk";
const WHAT: &str = "The space of the disk could not be reclaimed";
/// How long writing a file anew, and comparing it, may take each.
const OFFLINE: Duration = Duration::from_secs(6 * 3600);
/// Seconds that the guest may take to trim.
const TRIM_S: i32 = 25 * 60;
/// How long the call to the guest may take: longer than the guest.
const TRIM: Duration = Duration::from_secs(26 * 60);
/// Bytes that are looked at, and given back, at once.
const BLOCK: usize = 64 << 10;

impl Kvm {
    /// See [`virga_agent::host::Volumes::disk_reclaim`].
    pub(crate) async fn reclaim(&self, order: &VmOrder, disk: &DiskSpec, progress: Watch<'_>) -> Result<u64> {
        let (vm, alias) = (order.id, crate::domain_xml::alias_name(disk.id));
        let open = self.libvirt().call(Lane::Control, QUICK, WHAT, move |conn| {
            let Some(d) = ours(conn, vm)? else { return Ok(None) };
            if !d.is_active()? {
                return Ok(None);
            }
            Ok(Some(device(&El::parse(&d.xml_desc(0)?)?, &alias).map(sources).unwrap_or_default()))
        });
        match open.await? {
            Some(chain) => self.trim(order, chain, progress).await,
            None => self.rewrite(order, disk, progress).await,
        }
    }

    /// Lets the guest give back what its file systems do not use.
    async fn trim(&self, order: &VmOrder, chain: Vec<String>, progress: Watch<'_>) -> Result<u64> {
        let size = |chain: &[String]| chain.iter().map(|f| allocated_bytes(Path::new(f))).sum::<u64>();
        let before = size(&chain);
        let trim = self.libvirt().call(Lane::Guest, TRIM, WHAT, {
            let vm = order.id;
            move |conn| {
                let Some(d) = ours(conn, vm)? else { return Ok(()) };
                let asked = d.qemu_agent_command(r#"{"execute":"guest-fstrim"}"#, TRIM_S, 0);
                asked.map(drop).map_err(|e| {
                    let unheard = [ErrorNumber::AgentUnresponsive, ErrorNumber::AgentUnsynced].iter().any(|n| crate::libvirt::number_is(&e, *n));
                    let message =
                        if unheard { "The guest agent does not answer.".to_string() } else { format!("The guest agent refuses to trim: {}.", e.message()) };
                    Error::conflict(message).with_hint("Look after qemu-guest-agent in the guest, or stop the VM and try again.").into()
                })
            }
        });
        provision::told(STEP, before, progress, || before.saturating_sub(size(&chain)), trim).await?;
        Ok(before.saturating_sub(size(&chain)))
    }

    /// Writes the files of a disk anew, from the base up.
    async fn rewrite(&self, order: &VmOrder, disk: &DiskSpec, progress: Watch<'_>) -> Result<u64> {
        let paths = self.paths.clone();
        let (vm, id) = (order.id, disk.id);
        let mut there = blocking(move || volumes::of_vm(&paths, vm)).await?;
        there.retain(|f| f.disk.id == id);
        let before: u64 = there.iter().map(|f| allocated_bytes(&f.path)).sum();
        for file in &there {
            if disk_format(&file.path) == "raw" {
                let path = file.path.clone();
                provision::watched(STEP, file.disk.size_bytes, progress, move |meter| punch_zeros(&path, meter)).await?;
            } else {
                self.rewrite_one(order, file, progress).await?;
            }
        }
        Ok(before.saturating_sub(there.iter().map(|f| allocated_bytes(&f.path)).sum()))
    }

    async fn rewrite_one(&self, order: &VmOrder, file: &Found, progress: Watch<'_>) -> Result<()> {
        let old = &file.path;
        let new = Temporary::beside(old);
        let mut args = vec!["convert", "-q", "-f", "qcow2", "-O", "qcow2", "-o", "compat=1.1"];
        if let Some(below) = &file.backing {
            // The same chain: only what this file holds is written.
            args.extend(["-B", text(below)?, "-F", disk_format(below)]);
        }
        args.extend(["--", text(old)?, text(&new.0)?]);
        let work = qemu_img(&args, OFFLINE);
        provision::told(STEP, allocated_bytes(old), progress, || allocated_bytes(&new.0), work).await?;
        if allocated_bytes(&new.0) >= allocated_bytes(old) {
            return Ok(());
        }
        // The guest's data is worth reading twice.
        let args = ["compare", "-q", "-f", "qcow2", "-F", "qcow2", "--", text(old)?, text(&new.0)?];
        let same = qemu_img(&args, OFFLINE);
        provision::told("comparing what was written", file.disk.size_bytes, progress, || 0, same).await?;
        self.ensure_not_open(order.id, old).await?;
        let (old, new_path) = (old.clone(), new.0.clone());
        blocking(move || put_in_place(&new_path, &old)).await
    }
}

fn put_in_place(new: &Path, old: &Path) -> Result<()> {
    let cannot = |e: std::io::Error| files::failed("Cannot replace", old, &e);
    let f = File::open(new).map_err(cannot)?;
    f.set_permissions(std::fs::Permissions::from_mode(0o600)).and_then(|()| f.sync_all()).map_err(cannot)?;
    std::fs::rename(new, old).map_err(cannot)?;
    old.parent().map_or(Ok(()), files::sync_folder)
}

/// Gives back the blocks of a raw file that hold only zeros.
fn punch_zeros(path: &Path, meter: &Meter) -> Result<()> {
    let cannot = |e: std::io::Error| files::failed("Cannot give back blocks of", path, &e);
    let f = std::fs::OpenOptions::new().read(true).write(true).open(path).map_err(cannot)?;
    punch(&f, meter).and_then(|()| f.sync_all()).map_err(cannot)
}

fn punch(f: &File, meter: &Meter) -> std::io::Result<()> {
    let length = f.metadata()?.len();
    let mut block = vec![0u8; BLOCK];
    let mut at = 0;
    while at < length {
        let data = match rustix::fs::seek(f, SeekFrom::Data(at)) {
            Ok(d) => d / BLOCK as u64 * BLOCK as u64,
            Err(rustix::io::Errno::NXIO) => break,
            Err(e) => return Err(e.into()),
        };
        let end = rustix::fs::seek(f, SeekFrom::Hole(data.max(at)))?;
        at = data.max(at);
        while at < end {
            meter.go_on()?;
            let n = usize::try_from(length - at).unwrap_or(BLOCK).min(BLOCK);
            f.read_exact_at(&mut block[..n], at)?;
            if block[..n].iter().all(|b| *b == 0) {
                rustix::fs::fallocate(f, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, at, n as u64)?;
            }
            at += n as u64;
            meter.set(at);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_of_a_raw_file_go_and_the_rest_stays() {
        let f = tempfile::NamedTempFile::new().unwrap();
        let mut content = vec![0u8; 9 << 20];
        content[5 << 20..(5 << 20) + 100].fill(9);
        content[(9 << 20) - 1] = 9;
        std::fs::write(f.path(), &content).unwrap();
        f.as_file().sync_all().unwrap();
        let before = allocated_bytes(f.path());
        punch_zeros(f.path(), &Meter::default()).unwrap();
        let after = allocated_bytes(f.path());
        assert!(before >= 9 << 20 && after <= 256 << 10, "{before} {after}");
        assert_eq!(std::fs::read(f.path()).unwrap(), content);
    }
}
