//! The peer of the reads: a bare server on the same HTTP framework with the same TLS, which answers with the same types
//! from memory: no sign-in, no roles, no filter, no sort, no database.

use anyhow::Result;
use dropshot::{
    ApiDescription, ConfigDropshot, ConfigTls, HandlerTaskMode, HttpError, HttpResponseOk, HttpServer, Path, Query, RequestContext, ServerBuilder, endpoint,
};
use std::sync::Arc;
use virga_api::v1::{ListQuery, Page, PageBody, Vm, VmPath};

/// What the twin serves.
pub struct Twin {
    one: Vm,
    page: Vec<Vm>,
}

#[endpoint { method = GET, path = "/v1/vms/{vm}" }]
async fn vm_view(rqctx: RequestContext<Arc<Twin>>, _path: Path<VmPath>) -> Result<HttpResponseOk<Vm>, HttpError> {
    Ok(HttpResponseOk(rqctx.context().one.clone()))
}

#[endpoint { method = GET, path = "/v1/vms" }]
async fn vm_list(rqctx: RequestContext<Arc<Twin>>, query: Query<ListQuery>) -> Result<HttpResponseOk<PageBody<Vm>>, HttpError> {
    let page = Page { items: rqctx.context().page.clone(), next_page: None, total: None };
    Ok(HttpResponseOk(PageBody::new(page, query.into_inner().fields.as_deref())))
}

/// Starts the twin.
///
/// # Errors
/// When it cannot be started.
pub fn start(one: Vm, page: Vec<Vm>, tls: rustls::ServerConfig) -> Result<HttpServer<Arc<Twin>>> {
    let mut description = ApiDescription::new();
    description.register(vm_view)?;
    description.register(vm_list)?;
    let settings = ConfigDropshot { bind_address: "127.0.0.1:0".parse()?, default_handler_task_mode: HandlerTaskMode::Detached, ..ConfigDropshot::default() };
    let log = slog::Logger::root(slog::Discard, slog::o!());
    let server = ServerBuilder::new(description, Arc::new(Twin { one, page }), log).config(settings).tls(Some(ConfigTls::Dynamic(tls)));
    server.start().map_err(|e| anyhow::anyhow!("{e}"))
}
