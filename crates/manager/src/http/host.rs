//! Handlers of hosts.

use super::{Created, Deleted, Ok200, Rq, Tagged, change, run, tagged};
use crate::host;
use dropshot::{HttpResponseCreated, HttpResponseDeleted, HttpResponseOk};
use virga_api::v1::*;

pub async fn host_list(rqctx: Rq, query: Query<ListQuery>) -> Result<Ok200<PageBody<Host>>, Problem> {
    run(&rqctx, |op| async move { host::list(&op, &query.into_inner()).await.map(HttpResponseOk) }).await
}

pub async fn host_join_token_create(rqctx: Rq, _: Header<ChangeHeaders>, body: TypedBody<JoinTokenCreate>) -> Result<Created<JoinToken>, Problem> {
    change(&rqctx, body.into_inner(), |op, b| async move { host::join_token(&op, &b).await }).await.map(HttpResponseCreated)
}

pub async fn host_view(rqctx: Rq, path: Path<HostPath>) -> Result<Tagged<Host>, Problem> {
    run(&rqctx, |op| async move { host::view(&op, &path.into_inner().host).await.map(|h| tagged(h.generation, h)) }).await
}

pub async fn host_update(rqctx: Rq, path: Path<HostPath>, _: Header<ChangeHeaders>, body: TypedBody<HostUpdate>) -> Result<Tagged<Host>, Problem> {
    run(&rqctx, |op| async move { host::update(&op, &path.into_inner().host, &body.into_inner()).await.map(|h| tagged(h.generation, h)) }).await
}

pub async fn host_delete(rqctx: Rq, path: Path<HostPath>, _: Header<ChangeHeaders>) -> Result<Deleted, Problem> {
    run(&rqctx, |op| async move { host::delete(&op, &path.into_inner().host).await.map(|()| HttpResponseDeleted()) }).await
}

pub async fn host_stats(rqctx: Rq, path: Path<HostPath>) -> Result<Ok200<Stats>, Problem> {
    run(&rqctx, |op| async move { host::stats(&op, &path.into_inner().host).await.map(HttpResponseOk) }).await
}
