//! Handlers of tasks.

use super::{Ok200, Rq, run};
use crate::task_api;
use dropshot::HttpResponseOk;
use virga_api::v1::*;

pub async fn task_list(rqctx: Rq, query: Query<ListQuery>) -> Result<Ok200<PageBody<Task>>, Problem> {
    run(&rqctx, |op| async move { task_api::list(&op, &query.into_inner()).await.map(HttpResponseOk) }).await
}

pub async fn task_view(rqctx: Rq, path: Path<TaskPath>, query: Query<TaskWaitQuery>) -> Result<Ok200<Task>, Problem> {
    run(&rqctx, |op| async move { task_api::view(&op, path.into_inner().task, query.into_inner().wait).await.map(HttpResponseOk) }).await
}

pub async fn task_cancel(rqctx: Rq, path: Path<TaskPath>) -> Result<Ok200<Task>, Problem> {
    run(&rqctx, |op| async move { task_api::cancel(&op, path.into_inner().task).await.map(HttpResponseOk) }).await
}
