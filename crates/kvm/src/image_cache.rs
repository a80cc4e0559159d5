//! The image cache of a data store: what was fetched from the library, checked before anybody may use it.
//!
//! An image appears under its name in one rename, complete, checked and on stable storage. Nothing here is ever written
//! to again, because many disks stand on it. On a data store that several hosts see, each of them may bring it: each under a
//! name of its own, and whoever is last puts the same content in the place of the same content. QEMU never opens a file that the inspector has not accepted. What guests cannot
//! run on (VMDK, VHD, VHDX) is converted to qcow2 first.

use crate::paths::Root;
use crate::volumes::{Temporary, entries, name_of};
use crate::{Result, blocking, convert, files};
use sha2::{Digest, Sha256};
use std::io::Read;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use virga_agent::host::StoredDisk;
use virga_model::image::{ImageFormat, Inspected, inspect};
use virga_model::order::ImageRef;
use virga_model::{Error, ErrorCode, ImageId};

/// The complete images.
pub(crate) fn list(root: &Root) -> Result<Vec<ImageId>> {
    let is_image = |p: &PathBuf| {
        let (stem, end) = name_of(p)?.split_once('.')?;
        ["qcow2", "raw", "iso"].contains(&end).then(|| stem.parse::<ImageId>().ok()).flatten()
    };
    let mut out: Vec<ImageId> = entries(&root.images())?.iter().filter_map(is_image).collect();
    out.sort();
    out.dedup();
    Ok(out)
}

/// How many bytes of an image on its way are there.
pub(crate) fn partial_bytes(root: &Root, image: ImageId) -> Result<u64> {
    let part = root.image_part(image);
    match std::fs::metadata(&part) {
        Ok(m) => Ok(m.len()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(e) => Err(files::failed("Cannot look at", &part, &e)),
    }
}

/// Makes what arrived an image of the cache, in the format that guests run on.
pub(crate) async fn commit(root: &Root, image: &ImageRef) -> Result<()> {
    let (part, done) = (root.image_part(image.id), root.image(image.id, image.format));
    let (here, cached, wanted) = (part.clone(), done.clone(), image.clone());
    let checked = blocking(move || {
        if cached.is_file() {
            return files::remove(&here).map(|()| None);
        }
        check(&here, &wanted).map(Some)
    });
    let Some(seen) = checked.await? else { return Ok(()) };
    if seen.format.on_host() == seen.format {
        return blocking(move || keep(&part, &done)).await;
    }
    let new = Temporary(root.image_converted(image.id));
    convert::to_qcow2(&part, image.size_bytes, seen, &new.0).await?;
    let id = image.id;
    blocking(move || {
        check_converted(&new.0, seen, id)?;
        keep(&new.0, &done)?;
        files::remove(&part)
    })
    .await
}

/// Removes an image on which no disk of `disks` (with what each stands on) stands.
pub(crate) fn remove(root: &Root, image: ImageId, disks: &[(StoredDisk, Option<PathBuf>)]) -> Result<()> {
    let files_of: Vec<PathBuf> = [ImageFormat::Qcow2, ImageFormat::Raw, ImageFormat::Iso].map(|f| root.image(image, f)).to_vec();
    if let Some((disk, _)) = disks.iter().find(|(_, b)| b.as_ref().is_some_and(|b| files_of.contains(b))) {
        return Err(
            Error::conflict(format!("The image {image} is in use: the disk {} of the VM {} stands on it.", disk.id, disk.vm)).with_hint("Remove the VM first.")
        );
    }
    for f in &files_of {
        files::remove(f)?;
    }
    // What is on its way to any host, too: nobody may make disks on it any more.
    let of_image = |p: &PathBuf| name_of(p).and_then(|n| n.split_once('.')).is_some_and(|(stem, _)| stem == image.to_string());
    entries(&root.images())?.iter().filter(|p| of_image(p)).try_for_each(|p| files::remove(p))
}

/// Checks a transferred image: it is what the library has, and the inspector accepts it.
fn check(part: &Path, image: &ImageRef) -> Result<Inspected> {
    let refuse = |why: String| {
        let e = Error::host(format!("The image {} that was transferred is not the one in the library: {why}. It was thrown away.", image.id))
            .with_hint("The transfer is tried again. If it goes on failing, check the manager's library and the host's disk.");
        // Best effort: the next transfer starts by looking at it again.
        let _ = std::fs::remove_file(part);
        e
    };
    let cannot = |e: std::io::Error| files::failed("Cannot read", part, &e);
    let mut f = std::fs::File::open(part).map_err(cannot)?;
    let length = f.metadata().map_err(cannot)?.len();
    if length != image.size_bytes {
        return Err(refuse(format!("it has {length} bytes instead of {}", image.size_bytes)));
    }
    let mut hash = Sha256::new();
    let mut buffer = vec![0u8; 1 << 20];
    loop {
        let n = f.read(&mut buffer).map_err(cannot)?;
        if n == 0 {
            break;
        }
        hash.update(buffer.get(..n).unwrap_or_default());
    }
    if !hex::encode(hash.finalize()).eq_ignore_ascii_case(&image.sha256) {
        return Err(refuse("its SHA-256 is another".into()));
    }
    let seen = inspect(&mut |at, out: &mut [u8]| f.read_exact_at(out, at).map_err(cannot), length);
    let seen = seen.map_err(|e| if e.code == ErrorCode::Invalid { refuse(e.message) } else { e })?;
    if seen.format != image.format || seen.virtual_bytes != image.virtual_bytes {
        return Err(refuse(format!("it is {} of {} bytes for the guest", seen.format, seen.virtual_bytes)));
    }
    Ok(seen)
}

/// Inspects what a conversion made, like any foreign image.
fn check_converted(new: &Path, from: Inspected, id: ImageId) -> Result<()> {
    let cannot = |e: std::io::Error| files::failed("Cannot read", new, &e);
    let f = std::fs::File::open(new).map_err(cannot)?;
    let length = f.metadata().map_err(cannot)?.len();
    let seen = inspect(&mut |at, out: &mut [u8]| f.read_exact_at(out, at).map_err(cannot), length)?;
    if seen.format == from.format.on_host() && seen.virtual_bytes == from.virtual_bytes {
        return Ok(());
    }
    let why = format!("it came out as {} of {} bytes instead of {}", seen.format, seen.virtual_bytes, from.virtual_bytes);
    Err(Error::host(format!("The image {id} could not be converted from {}: {why}.", from.format))
        .with_hint("Convert it to qcow2 yourself (qemu-img convert -O qcow2) and import that."))
}

/// Gives a file that is right its final name, for good.
fn keep(part: &Path, done: &Path) -> Result<()> {
    let f = std::fs::File::open(part).map_err(|e| files::failed("Cannot read", part, &e))?;
    let cannot = |e: std::io::Error| files::failed("Cannot keep", done, &e);
    // Nobody may write to what many disks stand on; every guest may read it.
    f.set_permissions(std::fs::Permissions::from_mode(0o444)).and_then(|()| f.sync_all()).map_err(cannot)?;
    std::fs::rename(part, done).map_err(cannot)?;
    done.parent().map_or(Ok(()), files::sync_folder)
}

/// Adds a piece of an image on its way.
pub(crate) fn write(root: &Root, image: &ImageRef, offset: u64, data: &[u8]) -> Result<()> {
    let part = &root.image_part(image.id);
    let cannot = |e: std::io::Error| files::failed("Cannot write", part, &e);
    let f = std::fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(part).map_err(cannot)?;
    let length = f.metadata().map_err(cannot)?.len();
    if offset > length {
        return Err(Error::conflict(format!("A piece of the image {} at {offset} would leave a gap: {length} bytes are there.", image.id)));
    }
    if offset.saturating_add(data.len() as u64) > image.size_bytes {
        return Err(Error::conflict(format!("A piece of the image {} goes beyond its end.", image.id)));
    }
    f.write_all_at(data, offset).map_err(cannot)
}
