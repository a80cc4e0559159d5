//! Handlers of networks.

use super::{Accepts, Created, Ok200, Rq, Tagged, accept, change, run, tagged};
use crate::network;
use dropshot::{HttpResponseCreated, HttpResponseOk};
use virga_api::v1::*;

pub async fn network_list(rqctx: Rq, query: Query<ListQuery>) -> Result<Ok200<PageBody<Network>>, Problem> {
    run(&rqctx, |op| async move { network::list(&op, &query.into_inner()).await.map(HttpResponseOk) }).await
}

pub async fn network_create(rqctx: Rq, _: Header<ChangeHeaders>, body: TypedBody<NetworkCreate>) -> Result<Created<Network>, Problem> {
    change(&rqctx, body.into_inner(), |op, b| async move { network::create(&op, &b).await }).await.map(HttpResponseCreated)
}

pub async fn network_view(rqctx: Rq, path: Path<NetworkPath>) -> Result<Tagged<Network>, Problem> {
    run(&rqctx, |op| async move { network::view(&op, &path.into_inner().network).await.map(|n| tagged(n.generation, n)) }).await
}

pub async fn network_delete(rqctx: Rq, path: Path<NetworkPath>, _: Header<ChangeHeaders>) -> Result<Accepts<Accepted>, Problem> {
    run(&rqctx, |op| async move { network::delete(&op, &path.into_inner().network).await.map(accept) }).await
}
