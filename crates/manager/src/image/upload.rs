//! Content of images on its way into the library: received, inspected, compared, kept.
//!
//! What comes is written beside its final place. An upload that breaks off leaves what has arrived, and whoever goes on with
//! it says from which byte ([`ImageContentQuery::offset`]); a lock on the file keeps two of them apart, also of two managers,
//! and is gone with its holder. A part is never used: only the whole, hashed from its first byte, inspected and on stable
//! storage, becomes the image's, in one rename. Of what is refused nothing is kept.

use super::{disk, load, package, partial, shape};
use crate::event::{self, Note};
use crate::fetch::Download;
use crate::http::Op;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::io::{Read, Seek};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use virga_api::v1::{Image as Shape, ImageContentQuery, ImageFetch, UPLOAD_BYTES_MAX};
use virga_model::image::{HEADER_BYTES, Image, ImageFormat, ImageState, Inspected, inspect, inspect_head};
use virga_model::role::{Privilege, Target};
use virga_model::task::ObjectRef;
use virga_model::{Error, ErrorCode, ImageId};

/// Bytes of the library's file system that an upload leaves free.
const KEEP_FREE_BYTES: u64 = 1 << 30;
/// The free space is looked at again after so many bytes.
const LOOK_EVERY_BYTES: u64 = 64 << 20;
/// Longest silence of an uploader.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Longest time that a download may take.
const FETCH_MAX: Duration = Duration::from_secs(24 * 3600);
/// Uploads at the same time.
const UPLOADS_MAX: usize = 16;

/// Uploads under way, by image.
#[derive(Clone, Default)]
pub struct Uploads(Arc<Mutex<HashMap<ImageId, Arc<AtomicU64>>>>);

/// An upload under way; ends with this value.
struct Slot {
    uploads: Uploads,
    image: ImageId,
    /// Bytes that are there.
    arrived: Arc<AtomicU64>,
}

impl Uploads {
    fn begin(&self, image: ImageId, name: &str) -> Result<Slot, Error> {
        let mut set = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if set.len() >= UPLOADS_MAX {
            return Err(Error::new(ErrorCode::TooMany, format!("{UPLOADS_MAX} uploads are under way already.")).with_hint("Try again when one has ended."));
        }
        if set.contains_key(&image) {
            return Err(Error::new(ErrorCode::Locked, format!("Another upload of image {name} is under way.")).with_hint("Wait for its end."));
        }
        let arrived = Arc::<AtomicU64>::default();
        set.insert(image, arrived.clone());
        Ok(Slot { uploads: self.clone(), image, arrived })
    }

    /// Bytes of an upload under way.
    pub(super) fn arrived(&self, image: ImageId) -> Option<u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&image).map(|n| n.load(Ordering::Relaxed))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.uploads.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.image);
    }
}

/// The file of an upload, locked while this is there. It is removed at the end unless it was kept.
struct Part {
    path: PathBuf,
    file: std::fs::File,
    kept: bool,
}

impl Part {
    /// Opens the file for an upload that begins at `offset`; what is behind it is thrown away.
    fn open(folder: &Path, image: ImageId, name: &str, offset: u64) -> Result<Part, Error> {
        let path = partial(folder, image);
        let file = std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(|e| disk(&e))?;
        let busy = || Error::new(ErrorCode::Locked, format!("Another upload of image {name} is under way.")).with_hint("Wait for its end.");
        file.try_lock().map_err(|_| busy())?;
        let here = file.metadata().map_err(|e| disk(&e))?;
        // Who held the lock before may have moved or removed the file.
        if std::fs::metadata(&path).map_or(true, |now| (now.dev(), now.ino()) != (here.dev(), here.ino())) {
            return Err(busy());
        }
        let mut part = Part { path, file, kept: here.len() > 0 };
        if offset > here.len() {
            return Err(Error::conflict(format!("The upload cannot go on at byte {offset}: {} bytes of image {name} are there.", here.len()))
                .with_hint("Ask how many are there (arrived_bytes of the image), and go on from that byte."));
        }
        part.file.set_len(offset).map_err(|e| disk(&e))?;
        part.kept = false;
        Ok(part)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.kept {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Bytes of a broken upload that are there to be gone on with.
pub(super) fn waiting_bytes(folder: &Path, image: ImageId) -> Option<u64> {
    std::fs::metadata(partial(folder, image)).ok().map(|m| m.len()).filter(|n| *n > 0)
}

/// Takes the content of an image. `length` is what the caller announced.
///
/// # Errors
/// Conflict when the image has content, Locked during another upload, Invalid for content that is refused, Unavailable
/// when there is no room; then nothing of the content is kept. Malformed when it broke off: then what came is kept for a day.
pub async fn upload<S, E>(op: &Op, name: &str, q: &ImageContentQuery, length: Option<u64>, content: S) -> Result<Shape, Error>
where
    S: Stream<Item = Result<Bytes, E>> + Send,
    E: std::fmt::Debug + Send,
{
    let offset = q.offset.unwrap_or(0);
    if offset > UPLOAD_BYTES_MAX as u64 {
        return Err(Error::invalid("offset", "is beyond 16 TiB, the largest content"));
    }
    if offset > 0 && q.sha256.is_none() {
        return Err(Error::invalid("sha256", "is needed to go on with an upload: nothing else shows that both parts are of one file"));
    }
    let image = empty(op, name).await?;
    let slot = op.api.uploads.begin(image.id, &image.name)?;
    let content = content.map(|piece| {
        piece.map_err(|e| {
            tracing::debug!(error = ?e, "upload broke off");
            broke_off("The upload broke off before its end.")
        })
    });
    take(op, (&slot, &image.name), q, length, content, None).await
}

/// An upload that can be gone on with.
fn broke_off(message: impl Into<String>) -> Error {
    Error::malformed(message).with_hint("What came is kept for a day: go on from there (offset), or begin anew.")
}

/// Fetches the content of an image from a URL.
///
/// # Errors
/// As [`upload`], and what [`Download`] says of the URL.
pub async fn fetch(op: &Op, name: &str, f: &ImageFetch) -> Result<Shape, Error> {
    let q = ImageContentQuery { sha256: f.sha256.clone(), format: f.format, offset: None };
    let whole = q.sha256.as_ref().is_none_or(|s| s.len() == 64 && s.bytes().all(|b| b.is_ascii_hexdigit()));
    if !whole {
        return Err(Error::invalid("sha256", "must be 64 hexadecimal digits"));
    }
    let unproved = || Error::invalid("sha256", "is needed for content that comes unencrypted (http://): anybody on the way can change it");
    if q.sha256.is_none() && f.url.get(..5).is_some_and(|s| s.eq_ignore_ascii_case("http:")) {
        return Err(unproved());
    }
    let image = empty(op, name).await?;
    let slot = op.api.uploads.begin(image.id, &image.name)?;
    let work = async {
        let download = Download::begin(&f.url, &op.api.image_sources).await?;
        if q.sha256.is_none() && !download.is_https() {
            return Err(unproved());
        }
        let total = download.total();
        // What follows the path may be a secret of the caller's.
        let origin = f.url.split(['?', '#']).next().unwrap_or_default();
        take(op, (&slot, &image.name), &q, total, download.content(), Some(origin)).await
    };
    let given_up = |_| Error::unavailable(format!("The download was given up after {} hours.", FETCH_MAX.as_secs() / 3600));
    tokio::time::timeout(FETCH_MAX, work).await.map_err(given_up)?
}

/// The image, which must wait for its content.
async fn empty(op: &Op, name: &str) -> Result<Image, Error> {
    let mut tx = op.read().await?;
    let image = load(&mut tx, name).await?;
    must_be_empty(&image).map(|()| image)
}

/// Takes content from wherever it comes: receives, inspects, compares, keeps.
async fn take<S>(op: &Op, (slot, name): (&Slot, &str), q: &ImageContentQuery, length: Option<u64>, content: S, origin: Option<&str>) -> Result<Shape, Error>
where
    S: Stream<Item = Result<Bytes, Error>> + Send,
{
    let folder = op.m.image_folder();
    room(&folder, length.unwrap_or(0))?;
    let mut part = Part::open(&folder, slot.image, name, q.offset.unwrap_or(0))?;
    let got = match receive(&mut part, &folder, content, &slot.arrived).await {
        Ok(got) => got,
        Err(Stopped::Broken(e)) => {
            // A download is begun anew; and nothing is worth being gone on with.
            part.kept = origin.is_none() && slot.arrived.load(Ordering::Relaxed) > 0;
            return Err(e);
        }
        Err(Stopped::Refused(e)) => return Err(e),
    };
    let inspected = inspect_file(part.path.clone(), got.bytes).await?;
    if let Some(wanted) = q.format.filter(|f| *f != inspected.format) {
        return Err(differs(wanted, inspected.format));
    }
    if let Some(wanted) = q.sha256.as_ref().filter(|w| !w.eq_ignore_ascii_case(&got.sha256)) {
        return Err(Error::invalid("sha256", format!("the content has {}, not {wanted}", got.sha256)));
    }
    let found = match inspected.format {
        ImageFormat::Ova => Some(package::open(part.path.clone(), got.bytes).await?),
        _ => None,
    };
    accept(op, slot.image, &mut part, &got, inspected, found, origin).await
}

/// Inspects what arrived, on a thread that may wait for the disk.
async fn inspect_file(path: PathBuf, bytes: u64) -> Result<Inspected, Error> {
    let work = move || {
        let file = std::fs::File::open(path).map_err(|e| disk(&e))?;
        inspect(&mut |at, out: &mut [u8]| file.read_exact_at(out, at).map_err(|e| disk(&e)), bytes)
    };
    tokio::task::spawn_blocking(work).await.map_err(|e| Error::internal(e.to_string()))?
}

/// The content is of another format than the caller said.
fn differs(wanted: ImageFormat, found: ImageFormat) -> Error {
    let why = match (wanted, found) {
        (ImageFormat::Raw, _) => {
            format!("begins like {found}, not like a raw disk. A guest may have written that; make a qcow2 of it (qemu-img convert -f raw -O qcow2)")
        }
        _ => format!("is {found}, not {wanted}; leave out the format, or give the right one"),
    };
    Error::invalid("content", why)
}

fn must_be_empty(image: &Image) -> Result<(), Error> {
    match image.state {
        ImageState::Empty => Ok(()),
        ImageState::Ready => Err(Error::conflict(format!("Image {} has its content already.", image.name)).with_hint("Make a new image for new content.")),
        ImageState::Deleting => Err(Error::conflict(format!("Image {} is being removed.", image.name))),
    }
}

/// The content is on stable storage: makes it the image's, in one rename, and writes the row.
async fn accept(
    op: &Op,
    id: ImageId,
    file: &mut Part,
    got: &Received,
    inspected: Inspected,
    found: Option<package::Found>,
    origin: Option<&str>,
) -> Result<Shape, Error> {
    let mut tx = op.write().await?;
    let mut image = virga_store::image::get(&mut tx, id).await?.ok_or_else(|| Error::not_found("image", id))?;
    must_be_empty(&image)?;
    // The upload took its time: rights may have gone meanwhile.
    let bindings = crate::auth::bindings(&mut tx, op.caller.user, None).await?;
    if !bindings.iter().any(|(r, s)| r.has(Privilege::ImageManage) && s.covers(op.caller.user, &Target::Installation)) {
        return Err(crate::auth::forbidden(Privilege::ImageManage));
    }
    let expected = image.generation;
    image.state = ImageState::Ready;
    image.format = Some(inspected.format);
    image.virtual_bytes = inspected.virtual_bytes;
    (image.size_bytes, image.sha256) = (got.bytes, got.sha256.clone());
    image.generation += 1;
    if let Some(found) = found {
        image.package = Some(package::insert_parts(&mut tx, &image, found, op.now).await?);
    }
    virga_store::image::update(&mut tx, &image, expected).await?;
    let object = ObjectRef::Image(id);
    let from = origin.map(|o| format!(", from {o}")).unwrap_or_default();
    op.audit(&mut tx, object, &image.name, &format!("content taken: {}, {} bytes, SHA-256 {}{from}", inspected.format, got.bytes, got.sha256)).await?;
    event::append(&mut tx, &Note::plain(op.now, "image.ready", object, &image.name, "The content was accepted.")).await?;
    // First the file, then the row that promises it; a file without its row is swept at the next start.
    let target = op.m.image_folder().join(id.to_string());
    std::fs::rename(&file.path, &target).and_then(|()| sync_folder(&target)).map_err(|e| disk(&e))?;
    (file.path, file.kept) = (target, false);
    let answer = Shape { package: image.package.clone(), ..shape(image) };
    op.commit(tx, &answer, None).await?;
    file.kept = true;
    Ok(answer)
}

/// What arrived.
struct Received {
    bytes: u64,
    sha256: String,
}

/// Why nothing more is received.
enum Stopped {
    /// The sender went away: what is there is right as far as it goes.
    Broken(Error),
    /// It is of no use to go on.
    Refused(Error),
}

impl From<Error> for Stopped {
    fn from(e: Error) -> Stopped {
        Stopped::Refused(e)
    }
}

/// Writes the stream behind what is there, hashing everything, until it is on stable storage.
async fn receive<S>(part: &mut Part, folder: &Path, content: S, arrived: &AtomicU64) -> Result<Received, Stopped>
where
    S: Stream<Item = Result<Bytes, Error>> + Send,
{
    let before = part.file.try_clone().map_err(|e| disk(&e))?;
    let work = tokio::task::spawn_blocking(move || beginning(before));
    let (mut hash, mut head, mut bytes) = work.await.map_err(|e| Error::internal(e.to_string()))?.map_err(|e| disk(&e))?;
    let mut looked_at = bytes;
    arrived.store(bytes, Ordering::Relaxed);
    let mut out = tokio::fs::File::from_std(part.file.try_clone().map_err(|e| disk(&e))?);
    let mut content = std::pin::pin!(content);
    let broken = loop {
        let next = tokio::time::timeout(SILENCE_MAX, content.next()).await;
        let chunk = match next {
            Err(_) => break Some(broke_off(format!("Nothing came for {} s; the upload was given up.", SILENCE_MAX.as_secs()))),
            Ok(None) => break None,
            Ok(Some(Err(e))) => break Some(e),
            Ok(Some(Ok(chunk))) => chunk,
        };
        bytes += chunk.len() as u64;
        if bytes > UPLOAD_BYTES_MAX as u64 {
            return Err(Error::invalid("content", "is larger than 16 TiB").into());
        }
        if bytes - looked_at >= LOOK_EVERY_BYTES {
            looked_at = bytes;
            room(folder, 0)?;
        }
        let missing = HEADER_BYTES.saturating_sub(head.len()).min(chunk.len());
        head.extend_from_slice(&chunk[..missing]);
        if head.len() == HEADER_BYTES && missing > 0 {
            // What can be refused by its header is refused before the rest comes. The length is not known yet.
            inspect_head(&head)?;
        }
        hash.update(&chunk);
        out.write_all(&chunk).await.map_err(|e| disk(&e))?;
        arrived.store(bytes, Ordering::Relaxed);
    };
    out.flush().await.map_err(|e| disk(&e))?;
    out.sync_all().await.map_err(|e| disk(&e))?;
    match broken {
        Some(e) => Err(Stopped::Broken(e)),
        None => Ok(Received { bytes, sha256: hex::encode(hash.finalize()) }),
    }
}

/// Hash, first bytes and length of what an earlier upload left; the file is read to its end.
fn beginning(mut file: std::fs::File) -> std::io::Result<(Sha256, Vec<u8>, u64)> {
    file.rewind()?;
    let (mut hash, mut head, mut bytes) = (Sha256::new(), Vec::new(), 0);
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Ok((hash, head, bytes));
        }
        let piece = buffer.get(..n).unwrap_or_default();
        head.extend_from_slice(&piece[..HEADER_BYTES.saturating_sub(head.len()).min(n)]);
        hash.update(piece);
        bytes += n as u64;
    }
}

/// That `bytes` more fit into the library.
fn room(folder: &Path, bytes: u64) -> Result<(), Error> {
    let fs = rustix::fs::statvfs(folder).map_err(|e| disk(&e.into()))?;
    let free = fs.f_bavail.saturating_mul(fs.f_frsize);
    if free >= bytes.saturating_add(KEEP_FREE_BYTES) {
        return Ok(());
    }
    let free = virga_model::size::human(free.saturating_sub(KEEP_FREE_BYTES));
    Err(Error::unavailable(format!("The image library has no room: {free} can still be used."))
        .with_hint("Remove images that are not needed, or give the state folder more space."))
}

fn sync_folder(file: &Path) -> std::io::Result<()> {
    std::fs::File::open(file.parent().unwrap_or(Path::new("/")))?.sync_all()
}
