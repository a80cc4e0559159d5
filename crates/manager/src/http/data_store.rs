//! Handlers of data stores.

use super::{Accepts, Ok200, Rq, Tagged, accept, change, run, tagged};
use crate::data_store;
use dropshot::HttpResponseOk;
use virga_api::v1::*;

pub async fn data_store_list(rqctx: Rq, query: Query<ListQuery>) -> Result<Ok200<PageBody<DataStore>>, Problem> {
    run(&rqctx, |op| async move { data_store::list(&op, &query.into_inner()).await.map(HttpResponseOk) }).await
}

pub async fn data_store_create(rqctx: Rq, _: Header<ChangeHeaders>, body: TypedBody<DataStoreCreate>) -> Result<Accepts<Accepted>, Problem> {
    change(&rqctx, body.into_inner(), |op, b| async move { data_store::create(&op, &b).await }).await.map(accept)
}

pub async fn data_store_view(rqctx: Rq, path: Path<DataStorePath>) -> Result<Tagged<DataStore>, Problem> {
    run(&rqctx, |op| async move { data_store::view(&op, &path.into_inner().data_store).await.map(|s| tagged(s.generation, s)) }).await
}

pub async fn data_store_update(
    rqctx: Rq,
    path: Path<DataStorePath>,
    _: Header<ChangeHeaders>,
    body: TypedBody<DataStoreUpdate>,
) -> Result<Tagged<DataStore>, Problem> {
    run(&rqctx, |op| async move { data_store::update(&op, &path.into_inner().data_store, &body.into_inner()).await.map(|s| tagged(s.generation, s)) }).await
}

pub async fn data_store_delete(
    rqctx: Rq,
    path: Path<DataStorePath>,
    query: Query<DataStoreDeleteQuery>,
    _: Header<ChangeHeaders>,
) -> Result<Accepts<Accepted>, Problem> {
    run(&rqctx, |op| async move { data_store::delete(&op, &path.into_inner().data_store, query.into_inner().forget.unwrap_or(false)).await.map(accept) }).await
}
