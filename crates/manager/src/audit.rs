//! Audit records for those who may read them: pages, the export, anchors, and for how long records are kept.
//!
//! Records are written by [`crate::http::Op::audit`], in the transaction of the change. Nothing here changes or removes
//! one; only age does (`crate::loops::audit`).

use crate::anchor::{self, Signer};
use crate::http::Op;
use crate::list;
use bytes::Bytes;
use dropshot::Body;
use http::Response;
use http_body::Frame;
use http_body_util::StreamBody;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use virga_api::v1::{AuditAnchor as Anchor, AuditRecord as Shape, AuditRetention, ListQuery, PageBody, Reference};
use virga_model::Error;
use virga_model::event::{AUDIT_DAYS_MAX, AUDIT_DAYS_MIN, AuditRecord};
use virga_model::task::ObjectRef;
use virga_store::Tx;

/// Records read at once for an export.
const CHUNK: u32 = 500;
/// Chunks that wait for the reader.
const BUFFER: usize = 2;
/// A reader that takes nothing for so long is cut off.
const SLOW_MAX: Duration = Duration::from_secs(60);
/// Where the days are kept.
const DAYS: &str = "audit_retention_days";

fn shape(r: AuditRecord) -> Shape {
    let object = Reference::new(&r.object, &r.object_name);
    Shape { id: r.id, at: r.at, actor: r.actor, source: r.source, operation: r.operation, object, result: r.result, request_id: r.request_id, detail: r.detail }
}

/// A page of audit records, newest first.
///
/// # Errors
/// Malformed for wrong parameters.
pub async fn list(op: &Op, q: &ListQuery) -> Result<PageBody<Shape>, Error> {
    let mut tx = op.read().await?;
    let mut paged = virga_store::audit::list(&mut tx, &list::page(q)?).await?;
    let items = std::mem::take(&mut paged.items).into_iter().map(shape).collect();
    list::body(q, paged, items)
}

/// A page of anchors, newest first.
///
/// # Errors
/// Malformed for wrong parameters.
pub async fn anchors(op: &Op, q: &ListQuery) -> Result<PageBody<Anchor>, Error> {
    let mut tx = op.read().await?;
    let mut paged = virga_store::audit_anchor::list(&mut tx, &list::page(q)?).await?;
    let public = |a: virga_model::event::AuditAnchor| Anchor {
        at_us: a.at.0,
        seq: a.seq,
        chain: a.chain,
        at: a.at,
        key: a.key,
        signature: a.signature,
        pruned: a.pruned,
    };
    let items = std::mem::take(&mut paged.items).into_iter().map(public).collect();
    list::body(q, paged, items)
}

/// Days for which records are kept.
///
/// # Errors
/// What the database says.
pub async fn days(tx: &mut Tx) -> Result<u32, Error> {
    let kept = virga_store::meta::get(tx, DAYS).await?;
    Ok(kept.and_then(|d| d.parse().ok()).unwrap_or(AUDIT_DAYS_MIN).max(AUDIT_DAYS_MIN))
}

/// For how long records are kept.
///
/// # Errors
/// What the database says.
pub async fn retention(op: &Op) -> Result<AuditRetention, Error> {
    Ok(AuditRetention { days: days(&mut op.read().await?).await? })
}

/// Sets for how long records are kept.
///
/// # Errors
/// Invalid for fewer days than the law asks for.
pub async fn set_retention(op: &Op, b: AuditRetention) -> Result<AuditRetention, Error> {
    if !(AUDIT_DAYS_MIN..=AUDIT_DAYS_MAX).contains(&b.days) {
        return Err(Error::invalid("days", format!("must be {AUDIT_DAYS_MIN} to {AUDIT_DAYS_MAX}")));
    }
    let mut tx = op.write().await?;
    let before = days(&mut tx).await?;
    virga_store::meta::set(&mut tx, DAYS, &b.days.to_string()).await?;
    op.audit(&mut tx, ObjectRef::System, "audit", &format!("records are kept for {} days; before: {before}", b.days)).await?;
    op.commit(tx, &b, None).await?;
    Ok(b)
}

/// A record as a line of an export: all that its chain value is made of, and nothing else. Times are microseconds since 1970.
fn export_line(r: &AuditRecord, chain: &str) -> String {
    let json = serde_json::json!({
        "seq": r.id, "at": r.at.0, "user": r.user.map(|u| u.to_string()), "actor": r.actor, "source": r.source,
        "operation": r.operation, "object_kind": r.object.kind(), "object_id": r.object.id().to_string(), "object_name": r.object_name,
        "result": r.result, "request_id": r.request_id, "detail": r.detail, "chain": chain,
    });
    json.to_string() + "\n"
}

/// All records after number `after`, as a stream of lines: what comes before them, the records, and at the end a signed
/// anchor of the last one. Without that last line the export is not whole.
///
/// # Errors
/// Malformed for a number that is not there; Internal when the chain has a hole or the key cannot be used.
pub async fn export(op: &Op, after: i64) -> Result<Response<Body>, Error> {
    let signer = Signer::open(&op.m.state_folder)?;
    let mut tx = op.read().await?;
    let (last, chain) = virga_store::audit::head(&mut tx).await?;
    let pruned = virga_store::audit_anchor::pruned(&mut tx).await?;
    let begin = after.max(pruned.as_ref().map_or(0, |a| a.seq));
    if after < 0 || begin > last {
        return Err(Error::malformed_field("after", format!("after must be 0 to {last}, the number of the newest record.")));
    }
    let before = match virga_store::audit::after(&mut tx, begin - 1, 1).await?.first() {
        Some((r, chain)) if r.id == begin => chain.clone(),
        _ => pruned.as_ref().filter(|a| a.seq == begin).map(|a| a.chain.clone()).unwrap_or_default(),
    };
    drop(tx);
    let anchor = pruned.filter(|a| a.seq == begin).map(|a| anchor::line(&a));
    let pruned: serde_json::Value = anchor.and_then(|l| serde_json::from_str(&l).ok()).unwrap_or_default();
    let first = serde_json::json!({ "export": "virga audit 1", "after": begin, "before": before, "pruned": pruned }).to_string() + "\n";
    // A missing newest record has no chain value to sign: the verifier then sees an export without its end.
    let end = chain.map(|c| signer.sign(last, &c, op.now, false)).transpose()?;
    let end = end.map(|a| format!("{{\"head\":{}}}\n", anchor::line(&a))).unwrap_or_default();
    let (sender, receiver) = mpsc::channel::<Result<Frame<Bytes>, std::io::Error>>(BUFFER);
    let store = op.m.store.clone();
    tokio::spawn(async move {
        let give = async |text: String| sender.send_timeout(Ok(Frame::data(Bytes::from(text))), SLOW_MAX).await.is_ok();
        if !give(first).await {
            return;
        }
        let mut at = begin;
        while at < last {
            let page = async { virga_store::audit::after(&mut store.read().await?, at, CHUNK).await };
            let records = match page.await {
                Ok(r) => r,
                Err(e) => {
                    tracing::warn!(error = %e, "export of audit records broke off");
                    let _ = sender.send(Err(std::io::Error::other("the export broke off"))).await;
                    return;
                }
            };
            let text: String = records.iter().filter(|(r, _)| r.id <= last).map(|(r, chain)| export_line(r, chain)).collect();
            at = records.last().map_or(last, |(r, _)| r.id);
            if !text.is_empty() && !give(text).await {
                return;
            }
        }
        give(end).await;
    });
    crate::system::raw("application/jsonl", None, Body::wrap(StreamBody::new(ReceiverStream::new(receiver))))
}
