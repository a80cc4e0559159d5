//! Packages (OVA) in the library: their digests, and their disks as images of their own.
//!
//! Nothing of a package is ever unpacked. A disk of it is a row that says where its bytes lie in the package's file; hosts get
//! exactly those bytes ([`crate::node`]), and inspect them like any other image. So a package costs its own room only, and
//! nothing can be left over of an import.

use super::disk;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use uuid::Uuid;
use virga_model::image::{Image, ImageState, Part};
use virga_model::name::{NAME_CHARS_MAX, shown};
use virga_model::ovf::{self, Algorithm, Contents, Member, Package};
use virga_model::{Error, ImageId, Time};
use virga_store::Tx;

/// A package whose digests were right.
pub(super) struct Found {
    package: Package,
    /// SHA-256 of each of its disks.
    sha256: Vec<String>,
}

/// Reads a package, and compares each member with what its manifest promises.
///
/// # Errors
/// Invalid on `content`, naming the member that is not what was promised.
pub(super) async fn open(path: PathBuf, bytes: u64) -> Result<Found, Error> {
    let work = move || {
        let file = std::fs::File::open(path).map_err(|e| disk(&e))?;
        let contents = ovf::read(&mut |at, out: &mut [u8]| file.read_exact_at(out, at).map_err(|e| disk(&e)), bytes)?;
        verified(&file, contents)
    };
    tokio::task::spawn_blocking(work).await.map_err(|e| Error::internal(e.to_string()))?
}

fn verified(file: &std::fs::File, contents: Contents) -> Result<Found, Error> {
    let Contents { package, members } = contents;
    let mut sha256 = vec![String::new(); package.disks.len()];
    for m in &members {
        let at = package.disks.iter().position(|d| d.offset == m.offset && d.file == m.name);
        if m.digest.is_none() && at.is_none() {
            continue;
        }
        let (own, promised) = digests(file, m)?;
        if let Some((found, wanted)) = promised.zip(m.digest.as_ref()).filter(|(found, d)| *found != d.hex) {
            let why = format!("is an OVA whose file \"{}\" has the {} {found}, not {} as its manifest says", shown(&m.name), wanted.algorithm, wanted.hex);
            return Err(Error::invalid("content", why));
        }
        if let Some(place) = at.and_then(|i| sha256.get_mut(i)) {
            *place = own;
        }
    }
    Ok(Found { package, sha256 })
}

/// SHA-256 of a member, and the digest that its manifest uses.
fn digests(file: &std::fs::File, m: &Member) -> Result<(String, Option<String>), Error> {
    let (mut own, mut sha1, mut sha512) = (<sha2::Sha256 as sha2::Digest>::new(), <sha1::Sha1 as sha1::Digest>::new(), <sha2::Sha512 as sha2::Digest>::new());
    let algorithm = m.digest.as_ref().map(|d| d.algorithm);
    let mut buffer = vec![0; 1 << 20];
    let mut done = 0;
    while done < m.bytes {
        let n = usize::try_from(m.bytes - done).unwrap_or(usize::MAX).min(buffer.len());
        let piece = &mut buffer[..n];
        file.read_exact_at(piece, m.offset + done).map_err(|e| disk(&e))?;
        sha2::Digest::update(&mut own, &*piece);
        match algorithm {
            Some(Algorithm::Sha1) => sha1::Digest::update(&mut sha1, &*piece),
            Some(Algorithm::Sha512) => sha2::Digest::update(&mut sha512, &*piece),
            _ => {}
        }
        done += n as u64;
    }
    let own = hex::encode(sha2::Digest::finalize(own));
    let promised = algorithm.map(|a| match a {
        Algorithm::Sha1 => hex::encode(sha1::Digest::finalize(sha1)),
        Algorithm::Sha256 => own.clone(),
        Algorithm::Sha512 => hex::encode(sha2::Digest::finalize(sha512)),
    });
    Ok((own, promised))
}

/// Makes the disks of an accepted package images of the library.
///
/// # Errors
/// What the database says.
pub(super) async fn insert_parts(tx: &mut Tx, package: &Image, found: Found, now: Time) -> Result<Package, Error> {
    let Found { package: mut contents, sha256 } = found;
    for (i, (d, sha256)) in contents.disks.iter_mut().zip(sha256).enumerate() {
        let id = ImageId(Uuid::now_v7());
        let part = Image {
            id,
            name: free_name(tx, &package.name, i + 1, id).await?,
            format: Some(d.format),
            size_bytes: d.size_bytes,
            virtual_bytes: d.virtual_bytes,
            sha256,
            state: ImageState::Ready,
            generation: 1,
            created_at: now,
            part: Some(Part { of: package.id, offset: d.offset }),
            package: None,
        };
        virga_store::image::insert(tx, &part).await?;
        d.image = Some(id);
    }
    Ok(contents)
}

/// `PACKAGE.disk1`, or with the end of its id when that name is taken.
async fn free_name(tx: &mut Tx, package: &str, number: usize, id: ImageId) -> Result<String, Error> {
    let named = |end: &str| {
        let kept: String = package.chars().take(NAME_CHARS_MAX - end.len()).collect();
        format!("{kept}{end}")
    };
    let plain = named(&format!(".disk{number}"));
    if virga_store::image::by_ref(tx, &plain).await?.is_none() {
        return Ok(plain);
    }
    let id = id.0.simple().to_string();
    Ok(named(&format!(".disk{number}-{}", &id[id.len() - 12..])))
}

/// The refusal to remove a piece of a package by itself.
///
/// # Errors
/// What the database says.
pub(super) async fn only_as_a_whole(tx: &mut Tx, image: &Image, package: ImageId) -> Result<Error, Error> {
    let whole = virga_store::image::get(tx, package).await?.map_or_else(|| package.to_string(), |p| p.name);
    Ok(Error::conflict(format!("Image {} is a piece of the package {whole} and lies in its file.", image.name))
        .with_hint(format!("Remove the package {whole}; all of its pieces go with it.")))
}
