//! Images and ISOs of the library: seen by everybody who has the privilege anywhere, changed over the installation.
//!
//! An upload is inspected before anybody can use it, and becomes visible in one rename after it is on stable storage
//! ([`upload`]). Of a refused one nothing is left; a broken one can be gone on with until it is swept ([`sweep`]). A package
//! (OVA) is an image whose disks are images too: pieces of its file ([`package`]).

pub mod package;
pub mod upload;

use crate::http::Op;
use crate::task_new::{self, About, Who};
use crate::{list, task_api};
use std::path::{Path, PathBuf};
use std::time::Duration;
pub use upload::Uploads;
use uuid::Uuid;
use virga_api::v1::{Accepted, Image as Shape, ImageCreate, ListQuery, PageBody, PlanStep, Reference};
use virga_model::image::{Image, ImageState};
use virga_model::task::{ObjectRef, TaskDoc, TaskKind};
use virga_model::{Error, ErrorCode, ImageId, name};
use virga_store::Tx;

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
        part_of: i.part.map(|p| p.of),
        package: None,
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
    let waits = image.state == ImageState::Empty;
    let arrived_bytes = op.api.uploads.arrived(image.id).or_else(|| upload::waiting_bytes(&op.m.image_folder(), image.id).filter(|_| waits));
    let package = image.package.clone();
    Ok(Shape { arrived_bytes, package, ..shape(image) })
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
        part: None,
        package: None,
    };
    let mut tx = op.write().await?;
    virga_store::image::insert(&mut tx, &image).await?;
    op.audit(&mut tx, ObjectRef::Image(image.id), &image.name, "made, without content").await?;
    let answer = shape(image);
    op.commit(tx, &answer, None).await?;
    Ok(answer)
}

/// The file of an upload that is under way or was broken.
fn partial(folder: &Path, image: ImageId) -> PathBuf {
    folder.join(format!("{image}.partial"))
}

/// What the disk says, for people.
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
/// How long a broken upload waits for somebody to go on with it.
pub const PARTIAL_KEPT: Duration = Duration::from_secs(24 * 3600);

/// Removes what broken uploads left when nobody went on with them, and content of images that another manager has removed.
/// What was there before the rows were restored from a backup stays: the rows may be older than it.
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
        let age = changed.elapsed().unwrap_or_default();
        if age < LEFT_AFTER {
            continue;
        }
        let before_restore = restored_at.is_some_and(|t| changed < std::time::UNIX_EPOCH + Duration::from_micros(t.0.unsigned_abs()));
        let waits = |i: &Image| i.state == ImageState::Empty;
        let left_over = match name.rsplit_once('.') {
            Some((id, "partial")) => match id.parse::<ImageId>() {
                Ok(id) => age >= PARTIAL_KEPT || !virga_store::image::get(&mut tx, id).await?.as_ref().is_some_and(waits),
                Err(_) => false,
            },
            // Of a version before uploads could be gone on with.
            Some((id, "upload")) => id.split('.').next().is_some_and(|i| i.parse::<ImageId>().is_ok()),
            Some(_) => false,
            None if before_restore => false,
            None => match name.parse::<ImageId>() {
                Ok(id) => virga_store::image::get(&mut tx, id).await?.as_ref().is_none_or(waits),
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
    if let Some(part) = image.part {
        return Err(package::only_as_a_whole(&mut tx, &image, part.of).await?);
    }
    let users = virga_store::image::used_by(&mut tx, image.id).await?;
    if !users.is_empty() {
        return Err(crate::network::in_use(op, &format!("Image {}", image.name), &users));
    }
    let expected = image.generation;
    (image.state, image.generation) = (ImageState::Deleting, expected + 1);
    virga_store::image::update(&mut tx, &image, expected).await?;
    // Its pieces go with it, each out of the caches of the hosts by itself.
    for mut part in virga_store::image::parts(&mut tx, image.id).await? {
        let before = part.generation;
        (part.state, part.generation) = (ImageState::Deleting, before + 1);
        virga_store::image::update(&mut tx, &part, before).await?;
        let doc = TaskDoc { generation: part.generation, ..TaskDoc::default() };
        task_new::insert(&mut tx, Who::caller(op), TaskKind::ImageDelete, About::plain(ObjectRef::Image(part.id), &part.name), doc, None).await?;
    }
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
