//! Images and ISOs of the library: seen by everybody who has the privilege anywhere, changed over the installation.
//!
//! An upload is inspected before anybody can use it, and becomes visible in one rename after it is on stable storage;
//! of a refused or broken one nothing is left, also not after a crash ([`sweep`]).

use crate::event::{self, Note};
use crate::fetch::Download;
use crate::http::Op;
use crate::task_new::{self, About, Who};
use crate::{list, task_api};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use uuid::Uuid;
use virga_api::v1::{Accepted, Image as Shape, ImageContentQuery, ImageCreate, ImageFetch, ListQuery, PageBody, PlanStep, Reference, UPLOAD_BYTES_MAX};
use virga_model::image::{HEADER_BYTES, Image, ImageFormat, ImageState, Inspected, inspect, inspect_head};
use virga_model::role::{Privilege, Target};
use virga_model::task::{ObjectRef, TaskDoc, TaskKind};
use virga_model::{Error, ErrorCode, ImageId, name};
use virga_store::Tx;

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
    fn arrived(&self, image: ImageId) -> Option<u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&image).map(|n| n.load(Ordering::Relaxed))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.uploads.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.image);
    }
}

/// A file that is removed unless it was kept.
struct Temporary {
    path: PathBuf,
    kept: bool,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.kept {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn shape(i: Image) -> Shape {
    Shape {
        id: i.id,
        name: i.name,
        state: i.state,
        format: i.format,
        size_bytes: i.size_bytes,
        virtual_bytes: i.virtual_bytes,
        arrived_bytes: None,
        sha256: i.sha256,
        generation: i.generation,
        created_at: i.created_at,
    }
}

async fn load(tx: &mut Tx, name: &str) -> Result<Image, Error> {
    virga_store::image::by_ref(tx, name).await?.ok_or_else(|| Error::not_found("image", name))
}

/// A page of images.
///
/// # Errors
/// Malformed for wrong parameters.
pub async fn list(op: &Op, q: &ListQuery) -> Result<PageBody<Shape>, Error> {
    let mut tx = op.read().await?;
    let mut paged = virga_store::image::list(&mut tx, &list::page(q)?).await?;
    let items = std::mem::take(&mut paged.items).into_iter().map(shape).collect();
    list::body(q, paged, items)
}

/// One image.
///
/// # Errors
/// NotFound.
pub async fn view(op: &Op, name: &str) -> Result<Shape, Error> {
    let mut tx = op.read().await?;
    let image = load(&mut tx, name).await?;
    let arrived_bytes = op.api.uploads.arrived(image.id);
    Ok(Shape { arrived_bytes, ..shape(image) })
}

/// Makes an image without content.
///
/// # Errors
/// Invalid, or Conflict when the name is taken.
pub async fn create(op: &Op, b: &ImageCreate) -> Result<Shape, Error> {
    name::check("name", &b.name)?;
    let image = Image {
        id: ImageId(Uuid::now_v7()),
        name: b.name.clone(),
        format: None,
        size_bytes: 0,
        virtual_bytes: 0,
        sha256: String::new(),
        state: ImageState::Empty,
        generation: 1,
        created_at: op.now,
    };
    let mut tx = op.write().await?;
    virga_store::image::insert(&mut tx, &image).await?;
    op.audit(&mut tx, ObjectRef::Image(image.id), &image.name, "made, without content").await?;
    let answer = shape(image);
    op.commit(tx, &answer, None).await?;
    Ok(answer)
}

/// Takes the content of an image. `length` is what the caller announced.
///
/// # Errors
/// Conflict when the image has content, Locked during another upload, Invalid for content that is refused, Unavailable
/// when there is no room. Then nothing of the content is kept.
pub async fn upload<S, E>(op: &Op, name: &str, q: &ImageContentQuery, length: Option<u64>, content: S) -> Result<Shape, Error>
where
    S: Stream<Item = Result<Bytes, E>> + Send,
    E: std::fmt::Debug + Send,
{
    let image = empty(op, name).await?;
    let slot = op.api.uploads.begin(image.id, &image.name)?;
    let content = content.map(|piece| {
        piece.map_err(|e| {
            tracing::debug!(error = ?e, "upload broke off");
            Error::malformed("The upload broke off before its end.")
        })
    });
    take(op, &slot, q, length, content, None).await
}

/// Fetches the content of an image from a URL.
///
/// # Errors
/// As [`upload`], and what [`Download`] says of the URL.
pub async fn fetch(op: &Op, name: &str, f: &ImageFetch) -> Result<Shape, Error> {
    let q = ImageContentQuery { sha256: f.sha256.clone(), format: f.format };
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
        take(op, &slot, &q, total, download.content(), Some(origin)).await
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
async fn take<S>(op: &Op, slot: &Slot, q: &ImageContentQuery, length: Option<u64>, content: S, origin: Option<&str>) -> Result<Shape, Error>
where
    S: Stream<Item = Result<Bytes, Error>> + Send,
{
    let folder = op.m.image_folder();
    room(&folder, length.unwrap_or(0))?;
    // A name of its own: another manager that shares the folder may be taking content for the same image.
    let mut file = Temporary { path: folder.join(format!("{}.{}.upload", slot.image, Uuid::new_v4().simple())), kept: false };
    let got = receive(&file.path, &folder, content, &slot.arrived).await?;
    let inspected = inspect_file(file.path.clone(), got.bytes).await?;
    if let Some(wanted) = q.format.filter(|f| *f != inspected.format) {
        return Err(differs(wanted, inspected.format));
    }
    if let Some(wanted) = q.sha256.as_ref().filter(|w| !w.eq_ignore_ascii_case(&got.sha256)) {
        return Err(Error::invalid("sha256", format!("the content has {}, not {wanted}", got.sha256)));
    }
    accept(op, slot.image, &mut file, &got, inspected, origin).await
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
async fn accept(op: &Op, id: ImageId, file: &mut Temporary, got: &Received, inspected: Inspected, origin: Option<&str>) -> Result<Shape, Error> {
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
    virga_store::image::update(&mut tx, &image, expected).await?;
    let object = ObjectRef::Image(id);
    let from = origin.map(|o| format!(", from {o}")).unwrap_or_default();
    op.audit(&mut tx, object, &image.name, &format!("content taken: {}, {} bytes, SHA-256 {}{from}", inspected.format, got.bytes, got.sha256)).await?;
    event::append(&mut tx, &Note::plain(op.now, "image.ready", object, &image.name, "The content was accepted.")).await?;
    // First the file, then the row that promises it; a file without its row is swept at the next start.
    let target = op.m.image_folder().join(id.to_string());
    std::fs::rename(&file.path, &target).and_then(|()| sync_folder(&target)).map_err(|e| disk(&e))?;
    (file.path, file.kept) = (target, false);
    let answer = shape(image);
    op.commit(tx, &answer, None).await?;
    file.kept = true;
    Ok(answer)
}

/// What arrived.
struct Received {
    bytes: u64,
    sha256: String,
}

/// Writes the stream to `path`, hashing it on the way, until it is on stable storage.
async fn receive<S>(path: &Path, folder: &Path, content: S, arrived: &AtomicU64) -> Result<Received, Error>
where
    S: Stream<Item = Result<Bytes, Error>> + Send,
{
    let _ = tokio::fs::remove_file(path).await;
    let mut out = tokio::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).await.map_err(|e| disk(&e))?;
    let (mut head, mut bytes, mut looked_at, mut hash) = (Vec::new(), 0u64, 0u64, Sha256::new());
    let mut content = std::pin::pin!(content);
    loop {
        let next = tokio::time::timeout(SILENCE_MAX, content.next()).await;
        let chunk = match next {
            Err(_) => return Err(Error::malformed(format!("Nothing came for {} s; the upload was given up.", SILENCE_MAX.as_secs()))),
            Ok(None) => break,
            Ok(Some(Err(e))) => return Err(e),
            Ok(Some(Ok(chunk))) => chunk,
        };
        bytes += chunk.len() as u64;
        arrived.store(bytes, Ordering::Relaxed);
        if bytes > UPLOAD_BYTES_MAX as u64 {
            return Err(Error::invalid("content", "is larger than 16 TiB"));
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
    }
    out.flush().await.map_err(|e| disk(&e))?;
    out.sync_all().await.map_err(|e| disk(&e))?;
    Ok(Received { bytes, sha256: hex::encode(hash.finalize()) })
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

fn disk(e: &std::io::Error) -> Error {
    tracing::error!(error = %e, "image library");
    if matches!(e.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded) {
        return Error::new(ErrorCode::StorageFull, "The disk of the image library is full: nothing was kept.")
            .with_hint("Remove images that nobody needs, or ask an administrator to make room.");
    }
    Error::unavailable("The image library cannot be written; the log of the manager says more.")
}

/// What is younger is left alone: another manager may share the folder, and be in the middle of an upload.
const LEFT_AFTER: Duration = Duration::from_secs(3600);

/// Removes what broken uploads left, and content of images that another manager has removed. What was there before the rows
/// were restored from a backup stays: the rows may be older than it.
///
/// # Errors
/// When the folder or the database cannot be read.
pub async fn sweep(store: &virga_store::Store, folder: &Path) -> Result<(), Error> {
    let mut tx = store.read().await?;
    let restored_at = virga_store::restored::restored_at(&mut tx).await?;
    for entry in std::fs::read_dir(folder).map_err(|e| disk(&e))? {
        let path = entry.map_err(|e| disk(&e))?.path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        let changed = std::fs::metadata(&path).and_then(|m| m.modified()).unwrap_or_else(|_| std::time::SystemTime::now());
        if changed.elapsed().unwrap_or_default() < LEFT_AFTER {
            continue;
        }
        let before_restore = restored_at.is_some_and(|t| changed < std::time::UNIX_EPOCH + Duration::from_micros(t.0.unsigned_abs()));
        let left_over = match name.strip_suffix(".upload") {
            Some(id) => id.split('.').next().is_some_and(|i| i.parse::<ImageId>().is_ok()),
            None if before_restore => false,
            None => match name.parse::<ImageId>() {
                Ok(id) => virga_store::image::get(&mut tx, id).await?.is_none_or(|i| i.state == ImageState::Empty),
                Err(_) => false,
            },
        };
        if left_over {
            tracing::warn!(file = %path.display(), "left by a broken upload, removed");
            match std::fs::remove_file(&path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(disk(&e)),
                _ => {}
            }
        }
    }
    Ok(())
}

/// Removes an image that no VM uses, here and from the hosts' caches.
///
/// # Errors
/// NotFound, Conflict when VMs use it, Locked when a task works on it.
pub async fn delete(op: &Op, name: &str) -> Result<Accepted, Error> {
    let mut tx = op.write().await?;
    let mut image = load(&mut tx, name).await?;
    op.check_match(image.generation)?;
    let object = ObjectRef::Image(image.id);
    task_new::ensure_free(&mut tx, object, &format!("image {}", image.name)).await?;
    let users = virga_store::image::used_by(&mut tx, image.id).await?;
    if !users.is_empty() {
        return Err(crate::network::in_use(op, &format!("Image {}", image.name), &users));
    }
    let expected = image.generation;
    (image.state, image.generation) = (ImageState::Deleting, expected + 1);
    virga_store::image::update(&mut tx, &image, expected).await?;
    let doc = TaskDoc { generation: image.generation, ..TaskDoc::default() };
    let task = task_new::insert(&mut tx, Who::caller(op), TaskKind::ImageDelete, About::plain(object, &image.name), doc, None).await?;
    op.audit(&mut tx, object, &image.name, "removal asked for").await?;
    let answer = Accepted {
        task: Some(task_api::shape(&mut tx, &mut task_api::Names::default(), &task).await?),
        object: Reference::new(&object, &image.name),
        plan: vec![PlanStep { what: "remove the image from the caches of the hosts, then from the library".into(), after_restart: None }],
    };
    op.commit(tx, &answer, None).await?;
    Ok(answer)
}
