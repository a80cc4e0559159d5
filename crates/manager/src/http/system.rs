//! Handlers of the installation itself.

use super::{Raw, Rq, run};
use crate::{metrics, system};
use dropshot::HttpResponseOk;
use virga_api::v1::{Ping, Problem, System};

pub async fn ping(rqctx: Rq) -> Result<HttpResponseOk<Ping>, Problem> {
    run(&rqctx, |_| async { Ok(HttpResponseOk(system::ping())) }).await
}

pub async fn system_view(rqctx: Rq) -> Result<HttpResponseOk<System>, Problem> {
    run(&rqctx, |op| async move { system::view(&op).await.map(HttpResponseOk) }).await
}

pub async fn openapi(rqctx: Rq) -> Result<Raw, Problem> {
    run(&rqctx, |_| async { system::openapi() }).await
}

pub async fn docs(rqctx: Rq) -> Result<Raw, Problem> {
    run(&rqctx, |_| async { system::docs() }).await
}

pub async fn metrics(rqctx: Rq) -> Result<Raw, Problem> {
    run(&rqctx, |op| async move { metrics::text(&op).await }).await
}
