//! Images and ISOs of the library.

use crate::filter_sql::{Field, Fields, Kind};
use crate::list::{self, Page, Paged, Table};
use crate::sql::{Row, args, from_word, json, word};
use crate::{StoreError, Tx};
use virga_model::ImageId;
use virga_model::image::{Image, Part};

const TABLE: Table = Table {
    columns: "image.*",
    from: "image",
    id: "image.id",
    id_kind: Kind::Id,
    fields: Fields {
        list: &[
            Field::new("name", Kind::Text, &["image.name"]),
            Field::new("id", Kind::Id, &["image.id"]),
            Field::new("format", Kind::Word(&["qcow2", "raw", "iso", "vmdk", "vhd", "vhdx", "ova"]), &["COALESCE(image.format, '')"]),
            Field::new("state", Kind::Word(&["empty", "ready", "deleting"]), &["image.state"]),
            Field::new("size", Kind::Bytes, &["image.size_bytes"]),
            Field::new("virtual_size", Kind::Bytes, &["image.virtual_bytes"]),
            Field::new("created_at", Kind::Time, &["image.created_at"]),
            Field::new("package", Kind::Id, &["COALESCE(image.part_of, '')"]),
        ],
        labels: false,
    },
    sort: "name",
    descending: false,
};

fn read(r: &Row) -> Result<Image, StoreError> {
    Ok(Image {
        id: r.id("id")?,
        name: r.text("name")?,
        format: r.opt_text("format")?.map(|w| from_word("format", &w)).transpose()?,
        size_bytes: r.number("size_bytes")?,
        virtual_bytes: r.number("virtual_bytes")?,
        sha256: r.text("sha256")?,
        state: r.word("state")?,
        generation: r.int("generation")?,
        created_at: r.time("created_at")?,
        part: match r.opt_id("part_of")? {
            Some(of) => Some(Part { of, offset: r.number("part_offset")? }),
            None => None,
        },
        package: r.opt_json("package")?,
    })
}

/// Adds an image.
///
/// # Errors
/// [`StoreError::Taken`] on `name`, or what the database says.
pub async fn insert(tx: &mut Tx, i: &Image) -> Result<(), StoreError> {
    let sql = "INSERT INTO image (id, name, format, size_bytes, virtual_bytes, sha256, state, generation, created_at, package, part_of, part_offset) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";
    let format = i.format.map(|f| word(&f)).transpose()?;
    let package = i.package.as_ref().map(json).transpose()?;
    let (of, offset) = (i.part.map(|p| p.of), i.part.map(|p| p.offset));
    let a = args![i.id, &i.name, format, i.size_bytes, i.virtual_bytes, &i.sha256, word(&i.state)?, i.generation, i.created_at, package, of, offset];
    tx.exec(sql, a).await?;
    Ok(())
}

/// The image with this id.
///
/// # Errors
/// What the database says.
pub async fn get(tx: &mut Tx, id: ImageId) -> Result<Option<Image>, StoreError> {
    tx.opt("SELECT * FROM image WHERE id = $1", args![id]).await?.as_ref().map(read).transpose()
}

/// The image with this name or id.
///
/// # Errors
/// What the database says.
pub async fn by_ref(tx: &mut Tx, name_or_id: &str) -> Result<Option<Image>, StoreError> {
    if let Ok(id) = name_or_id.parse() {
        return get(tx, id).await;
    }
    tx.opt("SELECT * FROM image WHERE name = $1", args![name_or_id]).await?.as_ref().map(read).transpose()
}

/// Writes the image, with the generation it carries.
///
/// # Errors
/// [`StoreError::Stale`] when the row's generation is not `expected`, [`StoreError::Taken`] on `name`.
pub async fn update(tx: &mut Tx, i: &Image, expected: i64) -> Result<(), StoreError> {
    let sql = "UPDATE image SET name = $1, format = $2, size_bytes = $3, virtual_bytes = $4, sha256 = $5, state = $6, generation = $7, package = $8 \
               WHERE id = $9 AND generation = $10";
    let format = i.format.map(|f| word(&f)).transpose()?;
    let package = i.package.as_ref().map(json).transpose()?;
    let a = args![&i.name, format, i.size_bytes, i.virtual_bytes, &i.sha256, word(&i.state)?, i.generation, package, i.id, expected];
    if tx.exec(sql, a).await? == 0 { Err(StoreError::Stale) } else { Ok(()) }
}

/// Removes an image; false when there is none.
///
/// # Errors
/// [`StoreError::Reference`] while a VM uses it.
pub async fn delete(tx: &mut Tx, id: ImageId) -> Result<bool, StoreError> {
    Ok(tx.exec("DELETE FROM image WHERE id = $1", args![id]).await? > 0)
}

/// The images that are pieces of a package.
///
/// # Errors
/// What the database says.
pub async fn parts(tx: &mut Tx, package: ImageId) -> Result<Vec<Image>, StoreError> {
    tx.all("SELECT * FROM image WHERE part_of = $1 ORDER BY part_offset, id", args![package]).await?.iter().map(read).collect()
}

/// A page of images. Fields: `name`, `id`, `format`, `state`, `size`, `virtual_size`, `created_at`, `package`.
///
/// # Errors
/// [`StoreError::Malformed`] for a wrong page, or what the database says.
pub async fn list(tx: &mut Tx, page: &Page) -> Result<Paged<Image>, StoreError> {
    list::list(tx, &TABLE, page, |_| "1 = 1".into(), read).await
}

/// All images whose content is there, by name.
///
/// # Errors
/// What the database says.
pub async fn all_ready(tx: &mut Tx) -> Result<Vec<Image>, StoreError> {
    tx.all("SELECT * FROM image WHERE state = 'ready' ORDER BY name, id", args![]).await?.iter().map(read).collect()
}

/// Names of the VMs whose present or former specification, or a snapshot of which, uses the image or a piece of it.
///
/// # Errors
/// What the database says.
pub async fn used_by(tx: &mut Tx, id: ImageId) -> Result<Vec<String>, StoreError> {
    let sql = "SELECT vm.name AS name FROM vm JOIN vm_image ON vm_image.vm_id = vm.id \
               WHERE vm_image.image_id IN (SELECT id FROM image WHERE id = $1 OR part_of = $1) \
               UNION SELECT vm.name AS name FROM vm JOIN snapshot ON snapshot.vm_id = vm.id \
               JOIN snapshot_image ON snapshot_image.snapshot_id = snapshot.id \
               WHERE snapshot_image.image_id IN (SELECT id FROM image WHERE id = $1 OR part_of = $1) ORDER BY name";
    tx.all(sql, args![id]).await?.iter().map(|r| r.text("name")).collect()
}
