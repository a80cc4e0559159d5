//! Handlers of schedules.

use super::{Created, Deleted, Ok200, Rq, Tagged, change, run, tagged};
use crate::schedule;
use dropshot::{HttpResponseCreated, HttpResponseDeleted, HttpResponseOk};
use virga_api::v1::*;

pub async fn schedule_list(rqctx: Rq, query: Query<ListQuery>) -> Result<Ok200<PageBody<Schedule>>, Problem> {
    run(&rqctx, |op| async move { schedule::list(&op, &query.into_inner()).await.map(HttpResponseOk) }).await
}

pub async fn schedule_create(rqctx: Rq, _: Header<ChangeHeaders>, body: TypedBody<ScheduleCreate>) -> Result<Created<Schedule>, Problem> {
    change(&rqctx, body.into_inner(), |op, b| async move { schedule::create(&op, &b).await }).await.map(HttpResponseCreated)
}

pub async fn schedule_view(rqctx: Rq, path: Path<SchedulePath>) -> Result<Tagged<Schedule>, Problem> {
    run(&rqctx, |op| async move { schedule::view(&op, &path.into_inner().schedule).await.map(|s| tagged(s.generation, s)) }).await
}

pub async fn schedule_update(
    rqctx: Rq,
    path: Path<SchedulePath>,
    _: Header<ChangeHeaders>,
    body: TypedBody<ScheduleUpdate>,
) -> Result<Tagged<Schedule>, Problem> {
    let (name, b) = (path.into_inner().schedule, body.into_inner());
    run(&rqctx, |op| async move { schedule::update(&op, &name, &b).await.map(|s| tagged(s.generation, s)) }).await
}

pub async fn schedule_delete(rqctx: Rq, path: Path<SchedulePath>, _: Header<ChangeHeaders>) -> Result<Deleted, Problem> {
    run(&rqctx, |op| async move { schedule::delete(&op, &path.into_inner().schedule).await.map(|()| HttpResponseDeleted()) }).await
}

pub async fn schedule_run(rqctx: Rq, path: Path<SchedulePath>, _: Header<ChangeHeaders>) -> Result<Tagged<Schedule>, Problem> {
    run(&rqctx, |op| async move { schedule::run(&op, &path.into_inner().schedule).await.map(|s| tagged(s.generation, s)) }).await
}
