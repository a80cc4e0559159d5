//! The package (OVA) of an export, written while it is sent: descriptor and manifest from the rows, the disks as the host of
//! the VM gives them.
//!
//! The same export is the same bytes each time, so that a download goes on where it broke off; its ETag says whether it is
//! still the same. A package must never be read into memory as a whole, and never lies on the manager's disk.

use super::export::wanted;
use super::load;
use crate::http::Op;
use crate::state::Manager;
use bytes::Bytes;
use dropshot::Body;
use futures::StreamExt;
use http::header::{ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, ETAG};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body::Frame;
use http_body_util::StreamBody;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use uuid::Uuid;
use virga_api::v1::DownloadHeaders;
use virga_model::export::ExportedDisk;
use virga_model::host::Host;
use virga_model::ovf::{self, Layout, Piece, WrittenDisk};
use virga_model::role::Privilege;
use virga_model::task::ObjectRef;
use virga_model::vm::Vm;
use virga_model::{Error, VmId};
use virga_store::Tx;

/// Pieces that wait for a slow reader.
const QUEUE: usize = 4;
/// Longest time that a reader may let a piece wait.
const SLOW_MAX: Duration = Duration::from_secs(60);

/// A package that is ready to be sent.
pub(super) struct Package {
    name: String,
    export: Uuid,
    layout: Layout,
    disks: Vec<ExportedDisk>,
    /// Of its content, quoted.
    etag: String,
}

impl Package {
    /// Bytes of the whole file.
    pub(super) fn bytes(&self) -> u64 {
        self.layout.bytes
    }
}

/// Writes descriptor and manifest around the disks that the host has.
pub(super) async fn of(tx: &mut Tx, vm: &Vm) -> Result<Package, Error> {
    let wanted = wanted(vm)?;
    let not_ready = || Error::conflict(format!("The export of VM {} is not complete.", vm.name)).with_hint("Wait for its task, or export the VM again.");
    let there = vm.observed.exported.as_ref().filter(|e| e.id == wanted.id).ok_or_else(not_ready)?;
    let mut spec = match wanted.snapshot {
        None => vm.spec.clone(),
        Some(s) => virga_store::snapshot::get(tx, s.id).await?.ok_or_else(not_ready)?.spec,
    };
    spec.disks.retain(|d| wanted.disks.contains(&d.id));
    let (mut disks, mut written) = (Vec::new(), Vec::new());
    for (i, d) in spec.disks.iter().enumerate() {
        let e = there.disks.iter().find(|e| e.disk == d.id).ok_or_else(not_ready)?;
        let file = format!("{}-disk{}.{}", vm.name, i + 1, wanted.format);
        written.push(WrittenDisk { file, bytes: e.bytes, virtual_bytes: e.virtual_bytes, sha256: e.sha256.clone(), format: wanted.format });
        disks.push(e.clone());
    }
    if disks.len() != wanted.disks.len() {
        return Err(Error::conflict(format!("A disk that was exported is not on VM {} any more.", vm.name)).with_hint("Export it again, or remove the export."));
    }
    let mut networks = Vec::new();
    for nic in &spec.nics {
        networks.push(virga_store::network::get(tx, nic.network).await?.map_or_else(|| nic.network.to_string(), |n| n.name));
    }
    let text = ovf::write_descriptor(&vm.name, &vm.description, &spec, &networks, &written);
    let manifest = ovf::write_manifest(&vm.name, &crate::secret::sha256_hex(text.as_bytes()), &written);
    let seconds = u64::try_from(wanted.made_at.0 / 1_000_000).unwrap_or(0);
    let layout = ovf::layout(&vm.name, &text, &written, &manifest, seconds);
    let etag = format!("\"{}\"", crate::secret::sha256_hex(format!("{}\n{manifest}", wanted.id).as_bytes()));
    Ok(Package { name: vm.name.clone(), export: wanted.id, layout, disks, etag })
}

/// The package, or a range of it, as a stream. That somebody takes it is recorded.
///
/// # Errors
/// NotFound, Forbidden, Conflict when it is not complete, Unavailable when its host does not answer.
pub async fn content(op: &Op, vm: &str, asked: &DownloadHeaders) -> Result<Response<Body>, Error> {
    let mut tx = op.read().await?;
    let vm = load(op, &mut tx, vm, Privilege::VmEdit).await?;
    let package = of(&mut tx, &vm).await?;
    let host = match vm.host {
        Some(h) => virga_store::host::get(&mut tx, h).await?,
        None => None,
    };
    let host = host.ok_or_else(|| Error::conflict(format!("VM {} is on no host.", vm.name)))?;
    drop(tx);
    let whole = package.bytes();
    let same = asked.if_range.as_deref().is_none_or(|tag| tag.trim() == package.etag);
    let range = asked.range.as_deref().filter(|_| same).and_then(|r| range(r, whole));
    let (first, end) = match range {
        Some(Range::Part(first, end)) => (first, end),
        Some(Range::Nothing) => (0, 0),
        None => (0, whole),
    };
    let detail = if range.is_some() { format!("export taken, bytes {first} to {end} of {whole}") } else { format!("export taken, {whole} bytes") };
    op.audit_alone(op.record(ObjectRef::Vm(vm.id), &vm.name, "ok", &detail)).await?;
    let (name, etag) = (package.name.clone(), package.etag.clone());
    let body = if end > first { stream(op, host, vm.id, package, (first, end)) } else { Body::empty() };
    let mut answer = crate::system::raw("application/octet-stream", None, body)?;
    let mut set = |header: HeaderName, value: String| -> Result<(), Error> {
        answer.headers_mut().insert(header, HeaderValue::from_str(&value).map_err(|e| Error::internal(e.to_string()))?);
        Ok(())
    };
    set(ACCEPT_RANGES, "bytes".into())?;
    set(ETAG, etag)?;
    set(CONTENT_LENGTH, (end - first).to_string())?;
    set(CONTENT_DISPOSITION, format!("attachment; filename=\"{name}.ova\""))?;
    match range {
        Some(Range::Part(..)) => {
            set(CONTENT_RANGE, format!("bytes {first}-{}/{whole}", end.saturating_sub(1)))?;
            *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
        }
        Some(Range::Nothing) => {
            set(CONTENT_RANGE, format!("bytes */{whole}"))?;
            *answer.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
        }
        None => {}
    }
    Ok(answer)
}

/// A range of bytes that somebody wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Range {
    /// From a byte to before another one.
    Part(u64, u64),
    /// It lies behind the end.
    Nothing,
}

/// The range that a header asks for; none for what is no single range (RFC 9110, 14.2: then the whole is sent).
fn range(text: &str, whole: u64) -> Option<Range> {
    let (first, last) = text.trim().strip_prefix("bytes=")?.split_once('-')?;
    let number = |t: &str| t.bytes().all(|b| b.is_ascii_digit()).then(|| t.parse::<u64>().ok()).flatten();
    let (first, end) = match (first, last) {
        ("", last) => (whole.saturating_sub(number(last)?), whole),
        (first, "") => (number(first)?, whole),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return None;
            }
            (first, last.saturating_add(1).min(whole))
        }
    };
    Some(if first < end { Range::Part(first, end) } else { Range::Nothing })
}

/// What goes to the reader.
type Pieces = mpsc::Sender<Result<Frame<Bytes>, std::io::Error>>;

fn stream(op: &Op, host: Host, vm: VmId, package: Package, range: (u64, u64)) -> Body {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let m = op.m.clone();
    tokio::spawn(async move {
        if let Err(e) = send(&m, &host, vm, package, range, &sender).await {
            tracing::warn!(vm = %vm, error = %e, "an export broke off while it was sent");
            // So that nobody takes what came for the whole.
            let _ = sender.send(Err(std::io::Error::other("the export broke off"))).await;
        }
    });
    Body::wrap(StreamBody::new(ReceiverStream::new(receiver)))
}

/// Sends the pieces one after the other, as far as they lie in the range.
async fn send(m: &Manager, host: &Host, vm: VmId, package: Package, (first, end): (u64, u64), to: &Pieces) -> Result<(), Error> {
    let mut at = 0u64;
    for piece in package.layout.pieces {
        let bytes = match &piece {
            Piece::Bytes(b) => b.len() as u64,
            Piece::Disk(i) => package.disks.get(*i).map_or(0, |d| d.bytes),
        };
        let (from, until) = (first.max(at), end.min(at.saturating_add(bytes)));
        if from < until {
            let (skip, take) = (from - at, until - from);
            match piece {
                Piece::Bytes(b) => {
                    let skip = usize::try_from(skip).unwrap_or(usize::MAX);
                    let take = usize::try_from(take).unwrap_or(usize::MAX);
                    give(to, b.into_iter().skip(skip).take(take).collect()).await?;
                }
                Piece::Disk(i) => {
                    let disk = package.disks.get(i).ok_or_else(|| Error::internal("An export without one of its disks."))?;
                    let content = m.nodes.read_export(host, vm, package.export, disk.disk, skip).await?;
                    send_disk(content, take, to).await?;
                }
            }
        }
        at = at.saturating_add(bytes);
    }
    Ok(())
}

/// Sends so many bytes of a disk; the host must have them all.
async fn send_disk(mut content: crate::node::client::Content, mut left: u64, to: &Pieces) -> Result<(), Error> {
    while left > 0 {
        let Some(data) = content.next().await else { return Err(Error::host("The host has another export than it said.")) };
        let mut data = data?;
        data.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        left -= data.len() as u64;
        give(to, data).await?;
    }
    Ok(())
}

async fn give(to: &Pieces, data: Vec<u8>) -> Result<(), Error> {
    to.send_timeout(Ok(Frame::data(Bytes::from(data))), SLOW_MAX).await.map_err(|_| Error::unavailable("Nobody reads the export any more."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_what_the_standard_says() {
        let part = |a, b| Some(Range::Part(a, b));
        for (text, wanted) in [
            ("bytes=0-", part(0, 100)),
            ("bytes=40-", part(40, 100)),
            ("bytes=40-49", part(40, 50)),
            ("bytes=40-40", part(40, 41)),
            ("bytes=40-1000", part(40, 100)),
            ("bytes=-10", part(90, 100)),
            ("bytes=-1000", part(0, 100)),
            ("bytes=100-", Some(Range::Nothing)),
            ("bytes=-0", Some(Range::Nothing)),
            ("bytes=18446744073709551615-", Some(Range::Nothing)),
            ("bytes=50-40", None),
            ("bytes=0-1,5-6", None),
            ("bytes=+1-", None),
            ("bytes=-", None),
            ("bytes=99999999999999999999-", None),
            ("lines=1-2", None),
            ("", None),
        ] {
            assert_eq!(range(text, 100), wanted, "{text}");
        }
    }
}
