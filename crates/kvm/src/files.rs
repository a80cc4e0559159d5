//! Small things about files: folders with the right permissions, replacing a file as a whole, and whether a file system
//! can do O_DIRECT.

use crate::paths::Paths;
use crate::{Result, domain_xml};
use rustix::fs::{Mode, OFlags};
use std::fs::DirBuilder;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use virga_model::order::VmOrder;
use virga_model::{Error, VmId};

/// User and group of QEMU's processes.
pub type Owner = (u32, u32);

/// The error for people.
pub fn failed(what: &str, path: &Path, e: &std::io::Error) -> Error {
    let error = Error::host(format!("{what} {}: {e}.", path.display()));
    match e.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => error.with_hint("The store is full. Free space on the host, then try again."),
        _ => error.with_hint("Check the host's store: is it mounted, writable and healthy?"),
    }
}

/// Makes a folder that others (QEMU's user) may pass through but not list.
pub fn folder(path: &Path, mode: u32) -> Result<()> {
    let cannot = |e: &std::io::Error| failed("Cannot make the folder", path, e);
    match DirBuilder::new().mode(mode).create(path) {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
        other => other.map_err(|e| cannot(&e))?,
    }
    // The umask may have taken bits away.
    let set = std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode));
    set.map_err(|e| cannot(&e))
}

/// Makes the folder of a VM.
pub fn vm_folder(paths: &Paths, vm: VmId) -> Result<()> {
    folder(&paths.vm(vm), 0o711)
}

/// Makes the folder in which QEMU makes the VM's sockets.
pub fn socket_folder(paths: &Paths, vm: VmId, user: Option<Owner>) -> Result<()> {
    let path = paths.sockets(vm);
    folder(&paths.run, 0o711)?;
    folder(&path, 0o700)?;
    own(&path, user)
}

fn own(path: &Path, user: Option<Owner>) -> Result<()> {
    let Some((uid, gid)) = user else { return Ok(()) };
    std::os::unix::fs::chown(path, Some(uid), Some(gid)).map_err(|e| failed("Cannot give QEMU's user", path, &e))
}

/// Removes a file; absent is success.
pub fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(failed("Cannot remove", path, &e)),
        _ => Ok(()),
    }
}

/// Removes a folder with everything in it; absent is success. Symbolic links are not followed.
pub fn remove_folder(path: &Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(failed("Cannot remove", path, &e)),
        _ => Ok(()),
    }
}

/// Removes what a definition needed beside the disks.
pub fn forget_vm(paths: &Paths, vm: VmId) -> Result<()> {
    remove(&paths.seed(vm))?;
    remove(&paths.nvram(vm))?;
    remove_folder(&paths.sockets(vm))
}

/// Brings a folder's entries to stable storage.
pub fn sync_folder(path: &Path) -> Result<()> {
    std::fs::File::open(path).and_then(|f| f.sync_all()).map_err(|e| failed("Cannot sync", path, &e))
}

/// Replaces a small file as a whole.
pub fn replace(path: &Path, content: &[u8], mode: u32, user: Option<Owner>) -> Result<()> {
    let new = path.with_extension("new");
    let cannot = |e: std::io::Error| failed("Cannot write", path, &e);
    remove(&new)?;
    let mut f = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&new).map_err(cannot)?;
    f.write_all(content).and_then(|()| f.sync_all()).map_err(cannot)?;
    own(&new, user)?;
    std::fs::rename(&new, path).map_err(cannot)?;
    path.parent().map_or(Ok(()), sync_folder)
}

/// Refuses a VM whose cache modes the store's file system cannot do, rather than weaken them.
pub fn check_direct(paths: &Paths, order: &VmOrder) -> Result<()> {
    let mut probed = Vec::new();
    for d in order.spec.disks.iter().filter(|d| domain_xml::is_direct(d.cache)) {
        if !probed.contains(&d.store) {
            let vm = paths.root(d.store)?.vm(order.id);
            folder(&vm, 0o711)?;
            probe_direct(&vm)?;
            probed.push(d.store);
        }
    }
    Ok(())
}

/// Whether files in `folder` can be opened with O_DIRECT.
pub fn probe_direct(folder: &Path) -> Result<()> {
    let probe = folder.join(".direct");
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::DIRECT | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let opened = rustix::fs::open(&probe, flags, Mode::from_raw_mode(0o600));
    let _ = std::fs::remove_file(&probe);
    match opened {
        Ok(_) => Ok(()),
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::OPNOTSUPP) => Err(Error::host(format!(
            "The file system of {} cannot bypass the page cache (O_DIRECT), which the cache modes none and directsync need.",
            folder.display()
        ))
        .with_hint("Choose writethrough (as safe) or writeback for the disks, or put the store on a file system with O_DIRECT such as XFS or ext4.")),
        Err(e) => Err(failed("Cannot write to", folder, &e.into())),
    }
}
