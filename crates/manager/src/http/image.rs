//! Handlers of images.

use super::{Accepts, Created, Ok200, Rq, Tagged, accept, change, run, tagged};
use crate::image;
use dropshot::{HttpResponseCreated, HttpResponseOk};
use http_body_util::BodyExt;
use virga_api::v1::*;

pub async fn image_list(rqctx: Rq, query: Query<ListQuery>) -> Result<Ok200<PageBody<Image>>, Problem> {
    run(&rqctx, |op| async move { image::list(&op, &query.into_inner()).await.map(HttpResponseOk) }).await
}

pub async fn image_create(rqctx: Rq, _: Header<ChangeHeaders>, body: TypedBody<ImageCreate>) -> Result<Created<Image>, Problem> {
    change(&rqctx, body.into_inner(), |op, b| async move { image::create(&op, &b).await }).await.map(HttpResponseCreated)
}

pub async fn image_view(rqctx: Rq, path: Path<ImagePath>) -> Result<Tagged<Image>, Problem> {
    run(&rqctx, |op| async move { image::view(&op, &path.into_inner().image).await.map(|i| tagged(i.generation, i)) }).await
}

pub async fn image_upload(rqctx: Rq, path: Path<ImagePath>, query: Query<ImageContentQuery>, body: StreamingBody) -> Result<Tagged<Image>, Problem> {
    let length = rqctx.request.headers().get(http::header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
    run(&rqctx, |op| async move {
        let made = image::upload::upload(&op, &path.into_inner().image, &query.into_inner(), length, body.into_body().into_data_stream()).await?;
        Ok(tagged(made.generation, made))
    })
    .await
}

pub async fn image_fetch(rqctx: Rq, path: Path<ImagePath>, body: TypedBody<ImageFetch>) -> Result<Tagged<Image>, Problem> {
    run(&rqctx, |op| async move { image::upload::fetch(&op, &path.into_inner().image, &body.into_inner()).await.map(|i| tagged(i.generation, i)) }).await
}

pub async fn image_delete(rqctx: Rq, path: Path<ImagePath>, _: Header<ChangeHeaders>) -> Result<Accepts<Accepted>, Problem> {
    run(&rqctx, |op| async move { image::delete(&op, &path.into_inner().image).await.map(accept) }).await
}
