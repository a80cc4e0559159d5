//! Handlers of events and audit records.

use super::{Ok200, Raw, Rq, run};
use crate::{audit, event, stream};
use dropshot::HttpResponseOk;
use virga_api::v1::*;

pub async fn event_list(rqctx: Rq, query: Query<ListQuery>) -> Result<Ok200<PageBody<Event>>, Problem> {
    run(&rqctx, |op| async move { event::list(&op, &query.into_inner()).await.map(HttpResponseOk) }).await
}

pub async fn event_stream(rqctx: Rq, query: Query<EventStreamQuery>, headers: Header<EventStreamHeaders>) -> Result<Raw, Problem> {
    let sent = rqctx.request.headers().clone();
    run(&rqctx, |op| async move { stream::open(&op, sent, query.into_inner().since, headers.into_inner().last_event_id).await }).await
}

pub async fn audit_list(rqctx: Rq, query: Query<ListQuery>) -> Result<Ok200<PageBody<AuditRecord>>, Problem> {
    run(&rqctx, |op| async move { audit::list(&op, &query.into_inner()).await.map(HttpResponseOk) }).await
}

pub async fn audit_export(rqctx: Rq, query: Query<AuditExportQuery>) -> Result<Raw, Problem> {
    run(&rqctx, |op| async move { audit::export(&op, query.into_inner().after.unwrap_or(0)).await }).await
}

pub async fn audit_anchor_list(rqctx: Rq, query: Query<ListQuery>) -> Result<Ok200<PageBody<AuditAnchor>>, Problem> {
    run(&rqctx, |op| async move { audit::anchors(&op, &query.into_inner()).await.map(HttpResponseOk) }).await
}

pub async fn audit_retention_view(rqctx: Rq) -> Result<Ok200<AuditRetention>, Problem> {
    run(&rqctx, |op| async move { audit::retention(&op).await.map(HttpResponseOk) }).await
}

pub async fn audit_retention_update(rqctx: Rq, body: TypedBody<AuditRetention>) -> Result<Ok200<AuditRetention>, Problem> {
    run(&rqctx, |op| async move { audit::set_retention(&op, body.into_inner()).await.map(HttpResponseOk) }).await
}
