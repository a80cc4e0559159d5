//! Audit records for those who may read them. They are written by [`crate::http::Op::audit`], in the transaction of the change.

use crate::http::Op;
use crate::list;
use virga_api::v1::{AuditRecord as Shape, ListQuery, PageBody, Reference};
use virga_model::Error;
use virga_model::event::AuditRecord;

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
