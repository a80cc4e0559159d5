//! The host's image cache: what was fetched from the library, checked before anybody may use it.
//!
//! An image appears under its name in one rename, complete, checked and on stable storage. Nothing here is ever written
//! to again, because many disks stand on it. QEMU never opens a file that the inspector has not accepted.

use crate::paths::Paths;
use crate::volumes::{entries, name_of};
use crate::{Result, blocking, files};
use sha2::{Digest, Sha256};
use std::io::Read;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use virga_agent::host::StoredDisk;
use virga_model::image::{ImageFormat, inspect};
use virga_model::order::ImageRef;
use virga_model::{Error, ErrorCode, ImageId};

/// The complete images.
pub(crate) fn list(paths: &Paths) -> Result<Vec<ImageId>> {
    let is_image = |p: &PathBuf| {
        let (stem, end) = name_of(p)?.split_once('.')?;
        ["qcow2", "raw", "iso"].contains(&end).then(|| stem.parse::<ImageId>().ok()).flatten()
    };
    let mut out: Vec<ImageId> = entries(&paths.images())?.iter().filter_map(is_image).collect();
    out.sort();
    out.dedup();
    Ok(out)
}

/// How many bytes of an image on its way are there.
pub(crate) fn partial_bytes(paths: &Paths, image: ImageId) -> Result<u64> {
    let part = paths.image_part(image);
    match std::fs::metadata(&part) {
        Ok(m) => Ok(m.len()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(e) => Err(files::failed("Cannot look at", &part, &e)),
    }
}

/// Makes what arrived an image of the cache.
pub(crate) async fn commit(paths: &Paths, image: &ImageRef) -> Result<()> {
    let (part, done, image) = (paths.image_part(image.id), paths.image(image.id, image.format), image.clone());
    blocking(move || keep(&part, &done, &image)).await
}

/// Removes an image on which no disk of `disks` (with what each stands on) stands.
pub(crate) fn remove(paths: &Paths, image: ImageId, disks: &[(StoredDisk, Option<PathBuf>)]) -> Result<()> {
    let files_of: Vec<PathBuf> = [ImageFormat::Qcow2, ImageFormat::Raw, ImageFormat::Iso].map(|f| paths.image(image, f)).to_vec();
    if let Some((disk, _)) = disks.iter().find(|(_, b)| b.as_ref().is_some_and(|b| files_of.contains(b))) {
        return Err(
            Error::conflict(format!("The image {image} is in use: the disk {} of the VM {} stands on it.", disk.id, disk.vm)).with_hint("Remove the VM first.")
        );
    }
    for f in &files_of {
        files::remove(f)?;
    }
    files::remove(&paths.image_part(image))
}

/// Checks a transferred image and gives it its final name.
fn keep(part: &Path, done: &Path, image: &ImageRef) -> Result<()> {
    if done.is_file() {
        return files::remove(part);
    }
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
    let cannot = |e: std::io::Error| files::failed("Cannot keep", done, &e);
    // Nobody may write to what many disks stand on; every guest may read it.
    f.set_permissions(std::fs::Permissions::from_mode(0o444)).and_then(|()| f.sync_all()).map_err(cannot)?;
    std::fs::rename(part, done).map_err(cannot)?;
    done.parent().map_or(Ok(()), files::sync_folder)
}

/// Adds a piece of an image on its way.
pub(crate) fn write(paths: &Paths, image: &ImageRef, offset: u64, data: &[u8]) -> Result<()> {
    let part = &paths.image_part(image.id);
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
