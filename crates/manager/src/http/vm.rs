//! Handlers of VMs.

use super::{Accepts, Created, Ok200, Raw, Rq, Tagged, accept, accepted, change, run, tagged, tagged_text, text};
use crate::{console, vm};
use dropshot::{HttpResponseCreated, HttpResponseOk};
use virga_api::v1::*;

type Change = Result<Accepts<Accepted>, Problem>;

fn dry(query: Query<DryRunQuery>) -> bool {
    query.into_inner().dry_run == Some(true)
}

pub async fn vm_list(rqctx: Rq, query: Query<ListQuery>) -> Result<Raw, Problem> {
    run(&rqctx, |op| async move { vm::view::list(&op, &query.into_inner()).await.map(text) }).await
}

pub async fn vm_create(rqctx: Rq, query: Query<DryRunQuery>, _: Header<ChangeHeaders>, body: TypedBody<VmCreate>) -> Change {
    let dry_run = dry(query);
    change(&rqctx, body.into_inner(), |op, b| async move { vm::create::create(&op, &b, dry_run).await }).await.map(accept)
}

pub async fn vm_export_view(rqctx: Rq, path: Path<VmPath>) -> Result<Ok200<VmExport>, Problem> {
    run(&rqctx, |op| async move { vm::export::view(&op, &path.into_inner().vm).await.map(HttpResponseOk) }).await
}

pub async fn vm_export_create(rqctx: Rq, path: Path<VmPath>, query: Query<DryRunQuery>, _: Header<ChangeHeaders>, body: TypedBody<VmExportCreate>) -> Change {
    let (name, dry_run) = (path.into_inner().vm, dry(query));
    change(&rqctx, body.into_inner(), |op, b| async move { vm::export::create(&op, &name, &b, dry_run).await }).await.map(accept)
}

pub async fn vm_export_delete(rqctx: Rq, path: Path<VmPath>, query: Query<DryRunQuery>, _: Header<ChangeHeaders>) -> Change {
    let (name, dry_run) = (path.into_inner().vm, dry(query));
    run(&rqctx, |op| async move { vm::export::delete(&op, &name, dry_run).await.map(accept) }).await
}

pub async fn vm_export_content(rqctx: Rq, path: Path<VmPath>, headers: Header<DownloadHeaders>) -> Result<Raw, Problem> {
    let wanted = headers.into_inner();
    run(&rqctx, |op| async move { vm::package::content(&op, &path.into_inner().vm, &wanted).await }).await
}

pub async fn vm_import(rqctx: Rq, query: Query<DryRunQuery>, _: Header<ChangeHeaders>, body: TypedBody<VmImport>) -> Change {
    let dry_run = dry(query);
    change(&rqctx, body.into_inner(), |op, b| async move { vm::import::import(&op, &b, dry_run).await }).await.map(accept)
}

pub async fn vm_view(rqctx: Rq, path: Path<VmPath>) -> Result<Raw, Problem> {
    run(&rqctx, |op| async move { vm::view::view(&op, &path.into_inner().vm).await.map(|(generation, v)| tagged_text(generation, v)) }).await
}

pub async fn vm_update(rqctx: Rq, path: Path<VmPath>, query: Query<DryRunQuery>, _: Header<ChangeHeaders>, body: TypedBody<VmUpdate>) -> Change {
    let (name, dry_run, b) = (path.into_inner().vm, dry(query), body.into_inner());
    run(&rqctx, |op| async move { vm::edit::update(&op, &name, &b, dry_run).await.map(accept) }).await
}

pub async fn vm_delete(rqctx: Rq, path: Path<VmPath>, query: Query<VmDeleteQuery>, _: Header<ChangeHeaders>) -> Change {
    let (name, q) = (path.into_inner().vm, query.into_inner());
    run(
        &rqctx,
        |op| async move { vm::power::delete(&op, &name, q.force == Some(true), q.erase.unwrap_or_default(), q.dry_run == Some(true)).await.map(accept) },
    )
    .await
}

pub async fn vm_power(rqctx: Rq, path: Path<VmPath>, query: Query<DryRunQuery>, _: Header<ChangeHeaders>, body: TypedBody<PowerRequest>) -> Change {
    let (name, dry_run) = (path.into_inner().vm, dry(query));
    change(&rqctx, body.into_inner(), |op, b| async move { vm::power::power(&op, &name, &b, dry_run).await }).await.map(accept)
}

pub async fn vm_batch(rqctx: Rq, query: Query<DryRunQuery>, _: Header<ChangeHeaders>, body: TypedBody<VmBatchRequest>) -> Result<Accepts<VmBatch>, Problem> {
    let dry_run = dry(query);
    let made = change(&rqctx, body.into_inner(), |op, b| async move { vm::batch::batch(&op, &b, dry_run).await }).await?;
    Ok(accepted(made.task.clone().as_ref(), made))
}

pub async fn vm_disk_attach(rqctx: Rq, path: Path<VmPath>, query: Query<DryRunQuery>, _: Header<ChangeHeaders>, body: TypedBody<DiskCreate>) -> Change {
    let (name, dry_run) = (path.into_inner().vm, dry(query));
    change(&rqctx, body.into_inner(), |op, b| async move { vm::device::disk_attach(&op, &name, &b, dry_run).await }).await.map(accept)
}

pub async fn vm_disk_update(rqctx: Rq, path: Path<VmDiskPath>, query: Query<DryRunQuery>, _: Header<ChangeHeaders>, body: TypedBody<DiskUpdate>) -> Change {
    let (p, dry_run, b) = (path.into_inner(), dry(query), body.into_inner());
    run(&rqctx, |op| async move { vm::device::disk_update(&op, &p.vm, p.disk, &b, dry_run).await.map(accept) }).await
}

pub async fn vm_disk_detach(rqctx: Rq, path: Path<VmDiskPath>, query: Query<DiskDetachQuery>, _: Header<ChangeHeaders>) -> Change {
    let (p, q) = (path.into_inner(), query.into_inner());
    let (keep, erase, dry_run) = (q.keep.unwrap_or(false), q.erase.unwrap_or_default(), q.dry_run.unwrap_or(false));
    run(&rqctx, |op| async move { vm::device::disk_detach(&op, &p.vm, p.disk, keep, erase, dry_run).await.map(accept) }).await
}

pub async fn vm_disk_reattach(rqctx: Rq, path: Path<VmDiskPath>, query: Query<DryRunQuery>, _: Header<ChangeHeaders>) -> Change {
    let (p, dry_run) = (path.into_inner(), dry(query));
    change(&rqctx, (), |op, ()| async move { vm::device::disk_reattach(&op, &p.vm, p.disk, dry_run).await }).await.map(accept)
}

pub async fn vm_disk_reclaim(rqctx: Rq, path: Path<VmDiskPath>, query: Query<DryRunQuery>, _: Header<ChangeHeaders>) -> Change {
    let (p, dry_run) = (path.into_inner(), dry(query));
    change(&rqctx, (), |op, ()| async move { vm::device::disk_reclaim(&op, &p.vm, p.disk, dry_run).await }).await.map(accept)
}

pub async fn vm_media_change(rqctx: Rq, path: Path<VmDiskPath>, query: Query<DryRunQuery>, _: Header<ChangeHeaders>, body: TypedBody<MediaUpdate>) -> Change {
    let (p, dry_run, b) = (path.into_inner(), dry(query), body.into_inner());
    run(&rqctx, |op| async move { vm::device::media_change(&op, &p.vm, p.disk, &b, dry_run).await.map(accept) }).await
}

pub async fn vm_nic_attach(rqctx: Rq, path: Path<VmPath>, query: Query<DryRunQuery>, _: Header<ChangeHeaders>, body: TypedBody<NicCreate>) -> Change {
    let (name, dry_run) = (path.into_inner().vm, dry(query));
    change(&rqctx, body.into_inner(), |op, b| async move { vm::device::nic_attach(&op, &name, &b, dry_run).await }).await.map(accept)
}

pub async fn vm_nic_update(rqctx: Rq, path: Path<VmNicPath>, query: Query<DryRunQuery>, _: Header<ChangeHeaders>, body: TypedBody<NicUpdate>) -> Change {
    let (p, dry_run, b) = (path.into_inner(), dry(query), body.into_inner());
    run(&rqctx, |op| async move { vm::device::nic_update(&op, &p.vm, p.nic, &b, dry_run).await.map(accept) }).await
}

pub async fn vm_nic_detach(rqctx: Rq, path: Path<VmNicPath>, query: Query<DryRunQuery>, _: Header<ChangeHeaders>) -> Change {
    let (p, dry_run) = (path.into_inner(), dry(query));
    run(&rqctx, |op| async move { vm::device::nic_detach(&op, &p.vm, p.nic, dry_run).await.map(accept) }).await
}

pub async fn vm_snapshot_list(rqctx: Rq, path: Path<VmPath>, query: Query<ListQuery>) -> Result<Ok200<PageBody<Snapshot>>, Problem> {
    run(&rqctx, |op| async move { vm::snapshot::list(&op, &path.into_inner().vm, &query.into_inner()).await.map(HttpResponseOk) }).await
}

pub async fn vm_snapshot_create(rqctx: Rq, path: Path<VmPath>, query: Query<DryRunQuery>, _: Header<ChangeHeaders>, body: TypedBody<SnapshotCreate>) -> Change {
    let (name, dry_run) = (path.into_inner().vm, dry(query));
    change(&rqctx, body.into_inner(), |op, b| async move { vm::snapshot::create(&op, &name, &b, dry_run).await }).await.map(accept)
}

pub async fn vm_snapshot_view(rqctx: Rq, path: Path<VmSnapshotPath>) -> Result<Tagged<Snapshot>, Problem> {
    let p = path.into_inner();
    run(&rqctx, |op| async move { vm::snapshot::view(&op, &p.vm, &p.snapshot).await.map(|s| tagged(s.generation, s)) }).await
}

pub async fn vm_snapshot_update(
    rqctx: Rq,
    path: Path<VmSnapshotPath>,
    _: Header<ChangeHeaders>,
    body: TypedBody<SnapshotUpdate>,
) -> Result<Tagged<Snapshot>, Problem> {
    let (p, b) = (path.into_inner(), body.into_inner());
    run(&rqctx, |op| async move { vm::snapshot::update(&op, &p.vm, &p.snapshot, &b).await.map(|s| tagged(s.generation, s)) }).await
}

pub async fn vm_snapshot_delete(rqctx: Rq, path: Path<VmSnapshotPath>, query: Query<DryRunQuery>, _: Header<ChangeHeaders>) -> Change {
    let (p, dry_run) = (path.into_inner(), dry(query));
    run(&rqctx, |op| async move { vm::snapshot::delete(&op, &p.vm, &p.snapshot, dry_run).await.map(accept) }).await
}

pub async fn vm_snapshot_revert(
    rqctx: Rq,
    path: Path<VmSnapshotPath>,
    query: Query<DryRunQuery>,
    _: Header<ChangeHeaders>,
    body: TypedBody<SnapshotRevert>,
) -> Change {
    let (p, dry_run) = (path.into_inner(), dry(query));
    change(&rqctx, body.into_inner(), |op, b| async move { vm::snapshot::revert(&op, &p.vm, &p.snapshot, &b, dry_run).await }).await.map(accept)
}

pub async fn vm_clone(
    rqctx: Rq,
    path: Path<VmPath>,
    query: Query<DryRunQuery>,
    _: Header<ChangeHeaders>,
    body: TypedBody<CloneCreate>,
) -> Result<Accepts<Cloned>, Problem> {
    let (name, dry_run) = (path.into_inner().vm, dry(query));
    let made = change(&rqctx, body.into_inner(), |op, b| async move { vm::clone::clone(&op, &name, &b, dry_run).await }).await?;
    Ok(accepted(made.task.clone().as_ref(), made))
}

pub async fn vm_refresh(rqctx: Rq, path: Path<VmPath>, query: Query<DryRunQuery>, _: Header<ChangeHeaders>) -> Change {
    let (name, dry_run) = (path.into_inner().vm, dry(query));
    change(&rqctx, (), |op, ()| async move { vm::clone::refresh(&op, &name, dry_run).await }).await.map(accept)
}

pub async fn vm_stats(rqctx: Rq, path: Path<VmPath>) -> Result<Ok200<Stats>, Problem> {
    run(&rqctx, |op| async move { vm::view::stats(&op, &path.into_inner().vm).await.map(HttpResponseOk) }).await
}

pub async fn vm_screenshot(rqctx: Rq, path: Path<VmPath>) -> Result<Raw, Problem> {
    run(&rqctx, |op| async move { console::screenshot(&op, &path.into_inner().vm).await }).await
}

pub async fn vm_console(rqctx: Rq, path: Path<VmPath>, body: TypedBody<ConsoleRequest>) -> Result<Created<ConsoleTicket>, Problem> {
    run(&rqctx, |op| async move { console::ticket(&op, &path.into_inner().vm, body.into_inner().kind).await.map(HttpResponseCreated) }).await
}

pub async fn console_connect(rqctx: Rq, path: Path<ConsolePath>, upgrade: WebsocketUpgrade) -> Result<Raw, Problem> {
    let headers = rqctx.request.headers().clone();
    run(&rqctx, |op| async move { console::connect(&op, &path.into_inner().ticket, &headers, upgrade).await }).await
}
