//! Handlers of templates.

use super::{Accepts, Ok200, Rq, Tagged, accept, accepted, change, run, tagged};
use crate::template;
use dropshot::HttpResponseOk;
use virga_api::v1::*;

type Change = Result<Accepts<Accepted>, Problem>;

fn dry(query: Query<DryRunQuery>) -> bool {
    query.into_inner().dry_run == Some(true)
}

pub async fn template_list(rqctx: Rq, query: Query<ListQuery>) -> Result<Ok200<PageBody<Template>>, Problem> {
    run(&rqctx, |op| async move { template::list(&op, &query.into_inner()).await.map(HttpResponseOk) }).await
}

pub async fn template_create(
    rqctx: Rq,
    query: Query<DryRunQuery>,
    _: Header<ChangeHeaders>,
    body: TypedBody<TemplateCreate>,
) -> Result<Accepts<Cloned>, Problem> {
    let dry_run = dry(query);
    let made = change(&rqctx, body.into_inner(), |op, b| async move { template::create(&op, &b, dry_run).await }).await?;
    Ok(accepted(made.task.clone().as_ref(), made))
}

pub async fn template_view(rqctx: Rq, path: Path<TemplatePath>) -> Result<Tagged<Template>, Problem> {
    run(&rqctx, |op| async move { template::view(&op, &path.into_inner().template).await.map(|t| tagged(t.generation, t)) }).await
}

pub async fn template_update(
    rqctx: Rq,
    path: Path<TemplatePath>,
    query: Query<DryRunQuery>,
    _: Header<ChangeHeaders>,
    body: TypedBody<TemplateUpdate>,
) -> Change {
    let (name, dry_run, b) = (path.into_inner().template, dry(query), body.into_inner());
    run(&rqctx, |op| async move { template::update(&op, &name, &b, dry_run).await.map(accept) }).await
}

pub async fn template_delete(rqctx: Rq, path: Path<TemplatePath>, query: Query<DryRunQuery>, _: Header<ChangeHeaders>) -> Change {
    let (name, dry_run) = (path.into_inner().template, dry(query));
    run(&rqctx, |op| async move { template::delete(&op, &name, dry_run).await.map(accept) }).await
}

pub async fn template_deploy(
    rqctx: Rq,
    path: Path<TemplatePath>,
    query: Query<DryRunQuery>,
    _: Header<ChangeHeaders>,
    body: TypedBody<CloneCreate>,
) -> Result<Accepts<Cloned>, Problem> {
    let (name, dry_run) = (path.into_inner().template, dry(query));
    let made = change(&rqctx, body.into_inner(), |op, b| async move { template::deploy(&op, &name, &b, dry_run).await }).await?;
    Ok(accepted(made.task.clone().as_ref(), made))
}

pub async fn template_convert(rqctx: Rq, path: Path<TemplatePath>, query: Query<DryRunQuery>, _: Header<ChangeHeaders>) -> Change {
    let (name, dry_run) = (path.into_inner().template, dry(query));
    change(&rqctx, (), |op, ()| async move { template::convert(&op, &name, dry_run).await }).await.map(accept)
}
