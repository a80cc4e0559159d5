//! Sending content to the library: from files, hashed before, and gone on with when the way breaks.
//!
//! An OVF folder is sent as the package (OVA) that its descriptor, manifest and files make, without a copy on the disk.

use crate::app::App;
use crate::client::json;
use crate::client::types::ImageFormat;
use crate::error::{Exit, Failure, Result};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::io::{IsTerminal, Read, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use virga_model::ovf;

/// Bytes that are read and sent at a time.
const PIECE: usize = 1 << 20;
/// Tries in a row that bring nothing new before the upload is given up.
const TRIES: u32 = 6;
/// First pause before it is gone on; doubles.
const PAUSE: Duration = Duration::from_secs(1);

/// What is sent: pieces one after the other.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    pieces: Vec<Piece>,
    /// What it is, for messages.
    name: PathBuf,
}

#[derive(Clone, Debug)]
enum Piece {
    Bytes(Bytes),
    File(PathBuf, u64),
}

impl Piece {
    fn length(&self) -> u64 {
        match self {
            Piece::Bytes(b) => b.len() as u64,
            Piece::File(_, n) => *n,
        }
    }
}

impl Content {
    /// A file as it is.
    pub(crate) fn file(path: &Path) -> Result<Content> {
        Ok(Content { pieces: vec![whole(path)?], name: path.into() })
    }

    /// A package: an OVA as it is, or the OVF folder of which `path` is the descriptor or the folder itself.
    pub(crate) fn package(path: &Path) -> Result<Content> {
        let folder = path.is_dir();
        let descriptor = if folder { only_descriptor(path)? } else { path.to_path_buf() };
        if !folder && !path.extension().is_some_and(|e| e.eq_ignore_ascii_case("ovf")) {
            return Content::file(path);
        }
        let text = std::fs::read(&descriptor).map_err(|e| readable(&descriptor, &e))?;
        let mut members = vec![descriptor.clone()];
        members.extend(Some(descriptor.with_extension("mf")).filter(|m| m.is_file()));
        let beside = |name: &String| descriptor.with_file_name(name);
        members.extend(ovf::files(&text).map_err(|e| Failure::failed(format!("{}: {}", descriptor.display(), e.message)))?.iter().map(beside));
        let mut pieces = Vec::new();
        for m in &members {
            let piece = whole(m)?;
            let name = m.file_name().and_then(|n| n.to_str()).filter(|n| n.len() < 100);
            let name = name.ok_or_else(|| Failure::failed(format!("{}: its name is longer than a package may have it", m.display())))?;
            let bytes = piece.length();
            pieces.push(Piece::Bytes(Bytes::copy_from_slice(&ovf::header(name, bytes, 0))));
            pieces.push(piece);
            pieces.push(Piece::Bytes(Bytes::from(vec![0; usize::try_from(ovf::padding(bytes)).unwrap_or(0)])));
        }
        pieces.push(Piece::Bytes(Bytes::from_static(&[0; 1024])));
        Ok(Content { pieces, name: path.into() })
    }

    /// Bytes of it.
    pub(crate) fn bytes(&self) -> u64 {
        self.pieces.iter().map(Piece::length).sum()
    }

    /// SHA-256 of it, hex.
    pub(crate) async fn sha256(&self) -> Result<String> {
        let content = self.clone();
        let work = tokio::task::spawn_blocking(move || content.hash());
        work.await.map_err(|e| Failure::failed(e.to_string()))?
    }

    fn hash(&self) -> Result<String> {
        let bar = bar(self.bytes(), "checksum");
        let (mut hash, mut buffer) = (Sha256::new(), vec![0; PIECE]);
        for piece in &self.pieces {
            match piece {
                Piece::Bytes(b) => hash.update(b),
                Piece::File(path, length) => {
                    let mut f = std::fs::File::open(path).map_err(|e| readable(path, &e))?.take(*length);
                    loop {
                        match f.read(&mut buffer).map_err(|e| readable(path, &e))? {
                            0 => break,
                            n => {
                                hash.update(&buffer[..n]);
                                bar.inc(n as u64);
                            }
                        }
                    }
                }
            }
        }
        bar.finish_and_clear();
        Ok(hex::encode(hash.finalize()))
    }

    /// The bytes from `offset` on.
    fn stream(&self, offset: u64, bar: ProgressBar) -> impl Stream<Item = std::io::Result<Bytes>> + Send + use<> {
        let mut skip = offset;
        let mut rest = Vec::new();
        for p in &self.pieces {
            let here = skip.min(p.length());
            skip -= here;
            rest.push((p.clone(), here));
        }
        bar.set_position(offset);
        futures::stream::iter(rest).then(|(piece, skip)| open(piece, skip)).flat_map(move |opened| pieces(opened, bar.clone()))
    }
}

/// A piece that is being sent.
enum Opened {
    Bytes(Bytes),
    File(tokio::io::Take<tokio::fs::File>),
    Failed(std::io::Error),
    End,
}

async fn open(piece: Piece, skip: u64) -> Opened {
    let work = async {
        Ok(match piece {
            Piece::Bytes(b) => Opened::Bytes(b.slice(usize::try_from(skip).unwrap_or(b.len()).min(b.len())..)),
            Piece::File(path, length) => {
                let mut file = tokio::fs::File::open(path).await?;
                file.seek(SeekFrom::Start(skip)).await?;
                Opened::File(file.take(length - skip))
            }
        })
    };
    work.await.unwrap_or_else(Opened::Failed)
}

fn pieces(opened: Opened, bar: ProgressBar) -> impl Stream<Item = std::io::Result<Bytes>> + Send {
    futures::stream::try_unfold((opened, bar), async |(opened, bar)| {
        let (piece, next) = match opened {
            Opened::Bytes(b) => (b, Opened::End),
            Opened::File(mut file) => {
                let mut piece = bytes::BytesMut::with_capacity(PIECE);
                file.read_buf(&mut piece).await?;
                (piece.freeze(), Opened::File(file))
            }
            Opened::Failed(e) => return Err(e),
            Opened::End => return Ok(None),
        };
        bar.inc(piece.len() as u64);
        Ok((!piece.is_empty()).then_some((piece, (next, bar))))
    })
    .boxed()
}

fn whole(path: &Path) -> Result<Piece> {
    let meta = std::fs::metadata(path).map_err(|e| readable(path, &e))?;
    if meta.is_dir() {
        return Err(readable(path, &std::io::Error::other("is a directory")));
    }
    std::fs::File::open(path).map_err(|e| readable(path, &e))?;
    Ok(Piece::File(path.into(), meta.len()))
}

/// The descriptor of an OVF folder.
fn only_descriptor(folder: &Path) -> Result<PathBuf> {
    let entries = std::fs::read_dir(folder).map_err(|e| readable(folder, &e))?;
    let is_one = |p: &PathBuf| p.extension().is_some_and(|e| e.eq_ignore_ascii_case("ovf"));
    let found: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).filter(is_one).collect();
    match found.as_slice() {
        [one] => Ok(one.clone()),
        _ => Err(Failure::usage(format!("{}: {} descriptors (.ovf) in this folder", folder.display(), found.len())).hint("name the descriptor itself")),
    }
}

fn readable(file: &Path, e: &std::io::Error) -> Failure {
    Failure::failed(format!("{}: {e}", file.display()))
}

/// A bar for `total` bytes; on no terminal nothing.
pub(crate) fn bar(total: u64, what: &str) -> ProgressBar {
    let target = if std::io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(total), target);
    let style = ProgressStyle::with_template("{msg} {wide_bar} {percent:>3} % {bytes}/{total_bytes} {binary_bytes_per_sec} {eta}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_message(what.to_string());
    bar
}

/// Uploads the content of `image` (`fresh`: that has just been made). What an earlier try has brought is not sent again, and a way that breaks is gone on with.
///
/// # Errors
/// What the manager says of it; Interrupted or what the network says when it does not come through.
pub(crate) async fn send(app: &App, (image, fresh): (&str, bool), content: &Content, sha256: &str, format: Option<ImageFormat>) -> Result<Value> {
    let bytes = content.bytes();
    let bar = bar(bytes, "upload");
    let begun = std::time::Instant::now();
    let (mut fruitless, mut best, mut first) = (0, 0, fresh);
    let sent = loop {
        let offset = if std::mem::take(&mut first) { 0 } else { there(app, image, bytes).await? };
        if offset > best {
            (fruitless, best) = (0, offset);
        }
        let body = reqwest::Body::wrap_stream(content.stream(offset, bar.clone()));
        let mut request = app.api()?.slow.image_upload().image(image).sha256(sha256).body(body);
        if offset > 0 {
            request = request.offset(offset);
        }
        if let Some(format) = format {
            request = request.format(format);
        }
        match json(request.send().await) {
            // Only what the network says is worth another try; what the manager says is said for good.
            Err(e) if e.exit == Exit::Unreachable && e.about.status.is_none() && fruitless < TRIES => {
                fruitless += 1;
                bar.suspend(|| eprintln!("{}: {}; going on", content.name.display(), e.message));
                tokio::time::sleep(PAUSE * (1 << fruitless.min(5))).await;
            }
            other => break other,
        }
    };
    bar.finish_and_clear();
    if sent.is_ok() {
        let took = begun.elapsed().max(Duration::from_millis(1));
        let rate = crate::human::rate(bytes as f64 / took.as_secs_f64());
        eprintln!("{} in {:.1}s ({rate}), sha256 {sha256}", crate::human::size(bytes), took.as_secs_f64());
    }
    sent
}

/// Bytes of it that the library has from an upload that broke off.
async fn there(app: &App, image: &str, bytes: u64) -> Result<u64> {
    let now = json(app.api()?.v1.image_view().image(image).send().await)?;
    let arrived = now.get("arrived_bytes").and_then(Value::as_u64).unwrap_or(0);
    // More than it has is of something else.
    Ok(if arrived <= bytes { arrived } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn collect(c: &Content, offset: u64) -> Vec<u8> {
        let all: Vec<std::io::Result<Bytes>> = c.stream(offset, ProgressBar::hidden()).collect().await;
        all.into_iter().flat_map(|b| b.unwrap().to_vec()).collect()
    }

    #[tokio::test]
    async fn a_folder_is_sent_as_the_package_that_it_makes_from_any_byte_on() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("x.ovf"), virga_tests::images::ova::VMWARE).unwrap();
        std::fs::write(dir.path().join("x-disk1.vmdk"), virga_tests::images::ova::disk()).unwrap();
        let c = Content::package(dir.path()).unwrap();
        let whole = collect(&c, 0).await;
        assert_eq!(whole.len() as u64, c.bytes());
        assert_eq!(c.sha256().await.unwrap(), hex::encode(Sha256::digest(&whole)));
        let package = ovf::read(&mut whole.as_slice(), whole.len() as u64).unwrap().package;
        assert_eq!((package.machine.name.as_str(), package.disks.len()), ("photon", 1));
        for offset in [1, 511, 512, 600, 5000, whole.len() - 1, whole.len()] {
            assert_eq!(collect(&c, offset as u64).await, whole[offset..], "{offset}");
        }
        // The descriptor itself names the same folder; a file that is not there is told before anything is sent.
        assert_eq!(Content::package(&dir.path().join("x.ovf")).unwrap().bytes(), c.bytes());
        std::fs::remove_file(dir.path().join("x-disk1.vmdk")).unwrap();
        assert!(Content::package(dir.path()).unwrap_err().message.contains("x-disk1.vmdk"));
    }
}
