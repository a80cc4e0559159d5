//! The trait that declares every operation of the public API. Document, server and clients all come from it.

use super::*;
use dropshot::{
    Body, HttpResponseAccepted, HttpResponseCreated, HttpResponseDeleted, HttpResponseHeaders, HttpResponseOk, HttpResponseUpdatedNoContent, RequestContext,
};
use http::Response;

/// Largest upload in bytes: 16 TiB.
pub const UPLOAD_BYTES_MAX: usize = 16 << 40;

/// The public API. Each operation's name is also its name in the authorization table and in audit records.
#[dropshot::api_description]
pub trait VirgaApi {
    /// What the server's handlers share.
    type Context;

    /// Answers when the manager serves; needs no sign-in.
    #[endpoint { method = GET, path = "/v1/ping", tags = ["system"] }]
    async fn ping(rqctx: RequestContext<Self::Context>) -> Result<HttpResponseOk<Ping>, Problem>;

    /// Version, abilities and figures of the installation.
    #[endpoint { method = GET, path = "/v1/system", tags = ["system"] }]
    async fn system_view(rqctx: RequestContext<Self::Context>) -> Result<HttpResponseOk<System>, Problem>;

    /// This document.
    #[endpoint { method = GET, path = "/v1/openapi.json", tags = ["system"] }]
    async fn openapi(rqctx: RequestContext<Self::Context>) -> Result<Response<Body>, Problem>;

    /// The API page: every operation, offline.
    #[endpoint { method = GET, path = "/docs", tags = ["system"] }]
    async fn docs(rqctx: RequestContext<Self::Context>) -> Result<Response<Body>, Problem>;

    /// Figures in the Prometheus text format.
    #[endpoint { method = GET, path = "/metrics", tags = ["system"] }]
    async fn metrics(rqctx: RequestContext<Self::Context>) -> Result<Response<Body>, Problem>;

    /// Signs in.
    #[endpoint { method = POST, path = "/v1/session", tags = ["session"] }]
    async fn session_create(
        rqctx: RequestContext<Self::Context>,
        body: TypedBody<SignIn>,
    ) -> Result<HttpResponseHeaders<HttpResponseCreated<SignedIn>, SignedInHeaders>, Problem>;

    /// Who is signed in, and what they may do.
    #[endpoint { method = GET, path = "/v1/session", tags = ["session"] }]
    async fn session_view(rqctx: RequestContext<Self::Context>) -> Result<HttpResponseOk<WhoAmI>, Problem>;

    /// Signs out.
    #[endpoint { method = DELETE, path = "/v1/session", tags = ["session"] }]
    async fn session_delete(rqctx: RequestContext<Self::Context>) -> Result<HttpResponseDeleted, Problem>;

    /// Changes one's own password.
    #[endpoint { method = PUT, path = "/v1/session/password", tags = ["session"] }]
    async fn password_change(rqctx: RequestContext<Self::Context>, body: TypedBody<PasswordChange>) -> Result<HttpResponseUpdatedNoContent, Problem>;

    /// Accounts.
    #[endpoint { method = GET, path = "/v1/users", tags = ["user"] }]
    async fn user_list(rqctx: RequestContext<Self::Context>, query: Query<ListQuery>) -> Result<HttpResponseOk<PageBody<User>>, Problem>;

    /// Makes an account.
    #[endpoint { method = POST, path = "/v1/users", tags = ["user"] }]
    async fn user_create(
        rqctx: RequestContext<Self::Context>,
        headers: Header<ChangeHeaders>,
        body: TypedBody<UserCreate>,
    ) -> Result<HttpResponseCreated<User>, Problem>;

    /// One account.
    #[endpoint { method = GET, path = "/v1/users/{user}", tags = ["user"] }]
    async fn user_view(rqctx: RequestContext<Self::Context>, path: Path<UserPath>) -> Result<HttpResponseHeaders<HttpResponseOk<User>, EtagHeaders>, Problem>;

    /// Changes an account: forbid sign-in, set a new password.
    #[endpoint { method = PATCH, path = "/v1/users/{user}", tags = ["user"] }]
    async fn user_update(
        rqctx: RequestContext<Self::Context>,
        path: Path<UserPath>,
        headers: Header<ChangeHeaders>,
        body: TypedBody<UserUpdate>,
    ) -> Result<HttpResponseHeaders<HttpResponseOk<User>, EtagHeaders>, Problem>;

    /// Removes an account.
    #[endpoint { method = DELETE, path = "/v1/users/{user}", tags = ["user"] }]
    async fn user_delete(rqctx: RequestContext<Self::Context>, path: Path<UserPath>, headers: Header<ChangeHeaders>) -> Result<HttpResponseDeleted, Problem>;

    /// The roles and what they allow.
    #[endpoint { method = GET, path = "/v1/roles", tags = ["user"] }]
    async fn role_list(rqctx: RequestContext<Self::Context>) -> Result<HttpResponseOk<Vec<RoleInfo>>, Problem>;

    /// Roles granted to users over scopes.
    #[endpoint { method = GET, path = "/v1/role-bindings", tags = ["user"] }]
    async fn role_binding_list(rqctx: RequestContext<Self::Context>, query: Query<ListQuery>) -> Result<HttpResponseOk<PageBody<RoleBinding>>, Problem>;

    /// Grants a role.
    #[endpoint { method = POST, path = "/v1/role-bindings", tags = ["user"] }]
    async fn role_binding_create(
        rqctx: RequestContext<Self::Context>,
        headers: Header<ChangeHeaders>,
        body: TypedBody<RoleBindingCreate>,
    ) -> Result<HttpResponseCreated<RoleBinding>, Problem>;

    /// Takes a role back.
    #[endpoint { method = DELETE, path = "/v1/role-bindings/{binding}", tags = ["user"] }]
    async fn role_binding_delete(rqctx: RequestContext<Self::Context>, path: Path<RoleBindingPath>) -> Result<HttpResponseDeleted, Problem>;

    /// One's own API tokens (everybody's for account managers).
    #[endpoint { method = GET, path = "/v1/tokens", tags = ["token"] }]
    async fn token_list(rqctx: RequestContext<Self::Context>, query: Query<ListQuery>) -> Result<HttpResponseOk<PageBody<ApiToken>>, Problem>;

    /// Makes an API token for oneself. The secret is shown once.
    #[endpoint { method = POST, path = "/v1/tokens", tags = ["token"] }]
    async fn token_create(
        rqctx: RequestContext<Self::Context>,
        headers: Header<ChangeHeaders>,
        body: TypedBody<ApiTokenCreate>,
    ) -> Result<HttpResponseCreated<ApiTokenCreated>, Problem>;

    /// Revokes an API token at once.
    #[endpoint { method = DELETE, path = "/v1/tokens/{token}", tags = ["token"] }]
    async fn token_delete(rqctx: RequestContext<Self::Context>, path: Path<TokenPath>) -> Result<HttpResponseDeleted, Problem>;

    /// Schedules: one's own, or everybody's for who may edit all VMs.
    #[endpoint { method = GET, path = "/v1/schedules", tags = ["schedule"] }]
    async fn schedule_list(rqctx: RequestContext<Self::Context>, query: Query<ListQuery>) -> Result<HttpResponseOk<PageBody<Schedule>>, Problem>;

    /// Makes a schedule. It works with the rights that its owner has at that time.
    #[endpoint { method = POST, path = "/v1/schedules", tags = ["schedule"] }]
    async fn schedule_create(
        rqctx: RequestContext<Self::Context>,
        headers: Header<ChangeHeaders>,
        body: TypedBody<ScheduleCreate>,
    ) -> Result<HttpResponseCreated<Schedule>, Problem>;

    /// One schedule.
    #[endpoint { method = GET, path = "/v1/schedules/{schedule}", tags = ["schedule"] }]
    async fn schedule_view(
        rqctx: RequestContext<Self::Context>,
        path: Path<SchedulePath>,
    ) -> Result<HttpResponseHeaders<HttpResponseOk<Schedule>, EtagHeaders>, Problem>;

    /// Changes a schedule; its next point is found anew.
    #[endpoint { method = PATCH, path = "/v1/schedules/{schedule}", tags = ["schedule"] }]
    async fn schedule_update(
        rqctx: RequestContext<Self::Context>,
        path: Path<SchedulePath>,
        headers: Header<ChangeHeaders>,
        body: TypedBody<ScheduleUpdate>,
    ) -> Result<HttpResponseHeaders<HttpResponseOk<Schedule>, EtagHeaders>, Problem>;

    /// Removes a schedule. What it made stays, and is not removed by age any more.
    #[endpoint { method = DELETE, path = "/v1/schedules/{schedule}", tags = ["schedule"] }]
    async fn schedule_delete(
        rqctx: RequestContext<Self::Context>,
        path: Path<SchedulePath>,
        headers: Header<ChangeHeaders>,
    ) -> Result<HttpResponseDeleted, Problem>;

    /// Lets a schedule work now, beside its own points in time.
    #[endpoint { method = POST, path = "/v1/schedules/{schedule}/run", tags = ["schedule"] }]
    async fn schedule_run(
        rqctx: RequestContext<Self::Context>,
        path: Path<SchedulePath>,
        headers: Header<ChangeHeaders>,
    ) -> Result<HttpResponseHeaders<HttpResponseOk<Schedule>, EtagHeaders>, Problem>;

    /// Hosts.
    #[endpoint { method = GET, path = "/v1/hosts", tags = ["host"] }]
    async fn host_list(rqctx: RequestContext<Self::Context>, query: Query<ListQuery>) -> Result<HttpResponseOk<PageBody<Host>>, Problem>;

    /// Makes a one-time permission for a new host to join.
    #[endpoint { method = POST, path = "/v1/host-join-tokens", tags = ["host"] }]
    async fn host_join_token_create(
        rqctx: RequestContext<Self::Context>,
        headers: Header<ChangeHeaders>,
        body: TypedBody<JoinTokenCreate>,
    ) -> Result<HttpResponseCreated<JoinToken>, Problem>;

    /// One host.
    #[endpoint { method = GET, path = "/v1/hosts/{host}", tags = ["host"] }]
    async fn host_view(rqctx: RequestContext<Self::Context>, path: Path<HostPath>) -> Result<HttpResponseHeaders<HttpResponseOk<Host>, EtagHeaders>, Problem>;

    /// Renames a host, or keeps it free of new VMs.
    #[endpoint { method = PATCH, path = "/v1/hosts/{host}", tags = ["host"] }]
    async fn host_update(
        rqctx: RequestContext<Self::Context>,
        path: Path<HostPath>,
        headers: Header<ChangeHeaders>,
        body: TypedBody<HostUpdate>,
    ) -> Result<HttpResponseHeaders<HttpResponseOk<Host>, EtagHeaders>, Problem>;

    /// Removes a host that has no VMs; its certificate is worth nothing afterwards.
    #[endpoint { method = DELETE, path = "/v1/hosts/{host}", tags = ["host"] }]
    async fn host_delete(rqctx: RequestContext<Self::Context>, path: Path<HostPath>, headers: Header<ChangeHeaders>) -> Result<HttpResponseDeleted, Problem>;

    /// Rates of a host over the last minutes.
    #[endpoint { method = GET, path = "/v1/hosts/{host}/stats", tags = ["host"] }]
    async fn host_stats(rqctx: RequestContext<Self::Context>, path: Path<HostPath>) -> Result<HttpResponseOk<Stats>, Problem>;

    /// Images and ISOs of the library.
    #[endpoint { method = GET, path = "/v1/images", tags = ["image"] }]
    async fn image_list(rqctx: RequestContext<Self::Context>, query: Query<ListQuery>) -> Result<HttpResponseOk<PageBody<Image>>, Problem>;

    /// Makes an image without content; upload it next.
    #[endpoint { method = POST, path = "/v1/images", tags = ["image"] }]
    async fn image_create(
        rqctx: RequestContext<Self::Context>,
        headers: Header<ChangeHeaders>,
        body: TypedBody<ImageCreate>,
    ) -> Result<HttpResponseCreated<Image>, Problem>;

    /// One image.
    #[endpoint { method = GET, path = "/v1/images/{image}", tags = ["image"] }]
    async fn image_view(
        rqctx: RequestContext<Self::Context>,
        path: Path<ImagePath>,
    ) -> Result<HttpResponseHeaders<HttpResponseOk<Image>, EtagHeaders>, Problem>;

    /// Uploads the content of an image. It is inspected before it is accepted; nothing is kept of a refused one. What came of an
    /// upload that broke off is kept for a day, and can be gone on with.
    #[endpoint {
        method = PUT,
        path = "/v1/images/{image}/content",
        tags = ["image"],
        request_body_max_bytes = UPLOAD_BYTES_MAX,
    }]
    async fn image_upload(
        rqctx: RequestContext<Self::Context>,
        path: Path<ImagePath>,
        query: Query<ImageContentQuery>,
        body: StreamingBody,
    ) -> Result<HttpResponseHeaders<HttpResponseOk<Image>, EtagHeaders>, Problem>;

    /// Has the manager fetch the content of an image from a URL, and answers when it is there. Nothing is kept of what is refused.
    #[endpoint { method = POST, path = "/v1/images/{image}/fetch", tags = ["image"] }]
    async fn image_fetch(
        rqctx: RequestContext<Self::Context>,
        path: Path<ImagePath>,
        body: TypedBody<ImageFetch>,
    ) -> Result<HttpResponseHeaders<HttpResponseOk<Image>, EtagHeaders>, Problem>;

    /// Removes an image that no VM uses, here and from the hosts' caches.
    #[endpoint { method = DELETE, path = "/v1/images/{image}", tags = ["image"] }]
    async fn image_delete(
        rqctx: RequestContext<Self::Context>,
        path: Path<ImagePath>,
        headers: Header<ChangeHeaders>,
    ) -> Result<HttpResponseHeaders<HttpResponseAccepted<Accepted>>, Problem>;

    /// Networks.
    #[endpoint { method = GET, path = "/v1/networks", tags = ["network"] }]
    async fn network_list(rqctx: RequestContext<Self::Context>, query: Query<ListQuery>) -> Result<HttpResponseOk<PageBody<Network>>, Problem>;

    /// Makes a network. Hosts get it when the first VM there needs it.
    #[endpoint { method = POST, path = "/v1/networks", tags = ["network"] }]
    async fn network_create(
        rqctx: RequestContext<Self::Context>,
        headers: Header<ChangeHeaders>,
        body: TypedBody<NetworkCreate>,
    ) -> Result<HttpResponseCreated<Network>, Problem>;

    /// One network.
    #[endpoint { method = GET, path = "/v1/networks/{network}", tags = ["network"] }]
    async fn network_view(
        rqctx: RequestContext<Self::Context>,
        path: Path<NetworkPath>,
    ) -> Result<HttpResponseHeaders<HttpResponseOk<Network>, EtagHeaders>, Problem>;

    /// Removes a network that no VM uses, here and from the hosts.
    #[endpoint { method = DELETE, path = "/v1/networks/{network}", tags = ["network"] }]
    async fn network_delete(
        rqctx: RequestContext<Self::Context>,
        path: Path<NetworkPath>,
        headers: Header<ChangeHeaders>,
    ) -> Result<HttpResponseHeaders<HttpResponseAccepted<Accepted>>, Problem>;

    /// Data stores; the local ones of hosts that the caller may see, and all others.
    #[endpoint { method = GET, path = "/v1/data-stores", tags = ["data_store"] }]
    async fn data_store_list(rqctx: RequestContext<Self::Context>, query: Query<ListQuery>) -> Result<HttpResponseOk<PageBody<DataStore>>, Problem>;

    /// Makes a data store: a host signs the storage, and all hosts recognise it by that.
    #[endpoint { method = POST, path = "/v1/data-stores", tags = ["data_store"] }]
    async fn data_store_create(
        rqctx: RequestContext<Self::Context>,
        headers: Header<ChangeHeaders>,
        body: TypedBody<DataStoreCreate>,
    ) -> Result<HttpResponseHeaders<HttpResponseAccepted<Accepted>>, Problem>;

    /// One data store, with what each host finds of it.
    #[endpoint { method = GET, path = "/v1/data-stores/{data_store}", tags = ["data_store"] }]
    async fn data_store_view(
        rqctx: RequestContext<Self::Context>,
        path: Path<DataStorePath>,
    ) -> Result<HttpResponseHeaders<HttpResponseOk<DataStore>, EtagHeaders>, Problem>;

    /// Renames a data store, changes its description, or begins or ends its maintenance.
    #[endpoint { method = PATCH, path = "/v1/data-stores/{data_store}", tags = ["data_store"] }]
    async fn data_store_update(
        rqctx: RequestContext<Self::Context>,
        path: Path<DataStorePath>,
        headers: Header<ChangeHeaders>,
        body: TypedBody<DataStoreUpdate>,
    ) -> Result<HttpResponseHeaders<HttpResponseOk<DataStore>, EtagHeaders>, Problem>;

    /// Removes a data store on which no disk lies; its signature and cached images go, too.
    #[endpoint { method = DELETE, path = "/v1/data-stores/{data_store}", tags = ["data_store"] }]
    async fn data_store_delete(
        rqctx: RequestContext<Self::Context>,
        path: Path<DataStorePath>,
        query: Query<DataStoreDeleteQuery>,
        headers: Header<ChangeHeaders>,
    ) -> Result<HttpResponseHeaders<HttpResponseAccepted<Accepted>>, Problem>;

    /// VMs.
    #[endpoint { method = GET, path = "/v1/vms", tags = ["vm"] }]
    async fn vm_list(rqctx: RequestContext<Self::Context>, query: Query<ListQuery>) -> Result<HttpResponseOk<PageBody<Vm>>, Problem>;

    /// Makes a VM, and starts it when asked.
    #[endpoint { method = POST, path = "/v1/vms", tags = ["vm"] }]
    async fn vm_create(
        rqctx: RequestContext<Self::Context>,
        query: Query<DryRunQuery>,
        headers: Header<ChangeHeaders>,
        body: TypedBody<VmCreate>,
    ) -> Result<HttpResponseHeaders<HttpResponseAccepted<Accepted>>, Problem>;

    /// One VM.
    #[endpoint { method = GET, path = "/v1/vms/{vm}", tags = ["vm"] }]
    async fn vm_view(rqctx: RequestContext<Self::Context>, path: Path<VmPath>) -> Result<HttpResponseHeaders<HttpResponseOk<Vm>, EtagHeaders>, Problem>;

    /// Changes a VM. What a running guest cannot take now waits for its next start; the plan says which.
    #[endpoint { method = PATCH, path = "/v1/vms/{vm}", tags = ["vm"] }]
    async fn vm_update(
        rqctx: RequestContext<Self::Context>,
        path: Path<VmPath>,
        query: Query<DryRunQuery>,
        headers: Header<ChangeHeaders>,
        body: TypedBody<VmUpdate>,
    ) -> Result<HttpResponseHeaders<HttpResponseAccepted<Accepted>>, Problem>;

    /// Removes a VM with its disks.
    #[endpoint { method = DELETE, path = "/v1/vms/{vm}", tags = ["vm"] }]
    async fn vm_delete(
        rqctx: RequestContext<Self::Context>,
        path: Path<VmPath>,
        query: Query<VmDeleteQuery>,
        headers: Header<ChangeHeaders>,
    ) -> Result<HttpResponseHeaders<HttpResponseAccepted<Accepted>>, Problem>;

    /// Starts, stops, restarts, holds or hibernates a VM.
    #[endpoint { method = POST, path = "/v1/vms/{vm}/power", tags = ["vm"] }]
    async fn vm_power(
        rqctx: RequestContext<Self::Context>,
        path: Path<VmPath>,
        query: Query<DryRunQuery>,
        headers: Header<ChangeHeaders>,
        body: TypedBody<PowerRequest>,
    ) -> Result<HttpResponseHeaders<HttpResponseAccepted<Accepted>>, Problem>;

    /// The export of a VM: its state and size.
    #[endpoint { method = GET, path = "/v1/vms/{vm}/export", tags = ["vm"] }]
    async fn vm_export_view(rqctx: RequestContext<Self::Context>, path: Path<VmPath>) -> Result<HttpResponseOk<VmExport>, Problem>;

    /// Has the host copy the disks of a VM that is off, or of a snapshot, so that they can be taken away as a package (OVA).
    #[endpoint { method = POST, path = "/v1/vms/{vm}/export", tags = ["vm"] }]
    async fn vm_export_create(
        rqctx: RequestContext<Self::Context>,
        path: Path<VmPath>,
        query: Query<DryRunQuery>,
        headers: Header<ChangeHeaders>,
        body: TypedBody<VmExportCreate>,
    ) -> Result<HttpResponseHeaders<HttpResponseAccepted<Accepted>>, Problem>;

    /// Removes the export of a VM.
    #[endpoint { method = DELETE, path = "/v1/vms/{vm}/export", tags = ["vm"] }]
    async fn vm_export_delete(
        rqctx: RequestContext<Self::Context>,
        path: Path<VmPath>,
        query: Query<DryRunQuery>,
        headers: Header<ChangeHeaders>,
    ) -> Result<HttpResponseHeaders<HttpResponseAccepted<Accepted>>, Problem>;

    /// The export of a VM as a package (OVA): descriptor, manifest, disks. A download that broke off is gone on with by `Range`.
    #[endpoint { method = GET, path = "/v1/vms/{vm}/export/content", tags = ["vm"] }]
    async fn vm_export_content(rqctx: RequestContext<Self::Context>, path: Path<VmPath>, headers: Header<DownloadHeaders>) -> Result<Response<Body>, Problem>;

    /// Makes a VM of a package (OVA) of the library: its hardware as the package tells it, on disks from the package.
    #[endpoint {
        method = POST,
        path = "/v1/vm-imports",
        tags = ["vm"],
    }]
    async fn vm_import(
        rqctx: RequestContext<Self::Context>,
        query: Query<DryRunQuery>,
        headers: Header<ChangeHeaders>,
        body: TypedBody<VmImport>,
    ) -> Result<HttpResponseHeaders<HttpResponseAccepted<Accepted>>, Problem>;

    /// The same action on many VMs.
    #[endpoint { method = POST, path = "/v1/vm-batches", tags = ["vm"] }]
    async fn vm_batch(
        rqctx: RequestContext<Self::Context>,
        query: Query<DryRunQuery>,
        headers: Header<ChangeHeaders>,
        body: TypedBody<VmBatchRequest>,
    ) -> Result<HttpResponseHeaders<HttpResponseAccepted<VmBatch>>, Problem>;

    /// Makes and attaches a disk.
    #[endpoint { method = POST, path = "/v1/vms/{vm}/disks", tags = ["vm"] }]
    async fn vm_disk_attach(
        rqctx: RequestContext<Self::Context>,
        path: Path<VmPath>,
        query: Query<DryRunQuery>,
        headers: Header<ChangeHeaders>,
        body: TypedBody<DiskCreate>,
    ) -> Result<HttpResponseHeaders<HttpResponseAccepted<Accepted>>, Problem>;

    /// Grows a disk, or changes its bus or cache mode.
    #[endpoint { method = PATCH, path = "/v1/vms/{vm}/disks/{disk}", tags = ["vm"] }]
    async fn vm_disk_update(
        rqctx: RequestContext<Self::Context>,
        path: Path<VmDiskPath>,
        query: Query<DryRunQuery>,
        headers: Header<ChangeHeaders>,
        body: TypedBody<DiskUpdate>,
    ) -> Result<HttpResponseHeaders<HttpResponseAccepted<Accepted>>, Problem>;

    /// Brings space of a thin disk that its guest does not use back to the store.
    #[endpoint { method = POST, path = "/v1/vms/{vm}/disks/{disk}/reclaim", tags = ["vm"] }]
    async fn vm_disk_reclaim(
        rqctx: RequestContext<Self::Context>,
        path: Path<VmDiskPath>,
        query: Query<DryRunQuery>,
        headers: Header<ChangeHeaders>,
    ) -> Result<HttpResponseHeaders<HttpResponseAccepted<Accepted>>, Problem>;

    /// Detaches and removes a disk; with `keep` its data stays until it is attached again or removed.
    #[endpoint { method = DELETE, path = "/v1/vms/{vm}/disks/{disk}", tags = ["vm"] }]
    async fn vm_disk_detach(
        rqctx: RequestContext<Self::Context>,
        path: Path<VmDiskPath>,
        query: Query<DiskDetachQuery>,
        headers: Header<ChangeHeaders>,
    ) -> Result<HttpResponseHeaders<HttpResponseAccepted<Accepted>>, Problem>;

    /// Attaches a disk again that was detached and has kept its data.
    #[endpoint { method = POST, path = "/v1/vms/{vm}/disks/{disk}/attach", tags = ["vm"] }]
    async fn vm_disk_reattach(
        rqctx: RequestContext<Self::Context>,
        path: Path<VmDiskPath>,
        query: Query<DryRunQuery>,
        headers: Header<ChangeHeaders>,
    ) -> Result<HttpResponseHeaders<HttpResponseAccepted<Accepted>>, Problem>;

    /// Puts an ISO into an optical drive, or ejects it.
    #[endpoint { method = PUT, path = "/v1/vms/{vm}/cdroms/{disk}", tags = ["vm"] }]
    async fn vm_media_change(
        rqctx: RequestContext<Self::Context>,
        path: Path<VmDiskPath>,
        query: Query<DryRunQuery>,
        headers: Header<ChangeHeaders>,
        body: TypedBody<MediaUpdate>,
    ) -> Result<HttpResponseHeaders<HttpResponseAccepted<Accepted>>, Problem>;

    /// Makes and attaches a network interface.
    #[endpoint { method = POST, path = "/v1/vms/{vm}/nics", tags = ["vm"] }]
    async fn vm_nic_attach(
        rqctx: RequestContext<Self::Context>,
        path: Path<VmPath>,
        query: Query<DryRunQuery>,
        headers: Header<ChangeHeaders>,
        body: TypedBody<NicCreate>,
    ) -> Result<HttpResponseHeaders<HttpResponseAccepted<Accepted>>, Problem>;

    /// Moves a network interface to another network, unplugs its cable, or changes its model.
    #[endpoint { method = PATCH, path = "/v1/vms/{vm}/nics/{nic}", tags = ["vm"] }]
    async fn vm_nic_update(
        rqctx: RequestContext<Self::Context>,
        path: Path<VmNicPath>,
        query: Query<DryRunQuery>,
        headers: Header<ChangeHeaders>,
        body: TypedBody<NicUpdate>,
    ) -> Result<HttpResponseHeaders<HttpResponseAccepted<Accepted>>, Problem>;

    /// Removes a network interface.
    #[endpoint { method = DELETE, path = "/v1/vms/{vm}/nics/{nic}", tags = ["vm"] }]
    async fn vm_nic_detach(
        rqctx: RequestContext<Self::Context>,
        path: Path<VmNicPath>,
        query: Query<DryRunQuery>,
        headers: Header<ChangeHeaders>,
    ) -> Result<HttpResponseHeaders<HttpResponseAccepted<Accepted>>, Problem>;

    /// Snapshots of a VM, oldest first.
    #[endpoint { method = GET, path = "/v1/vms/{vm}/snapshots", tags = ["vm"] }]
    async fn vm_snapshot_list(
        rqctx: RequestContext<Self::Context>,
        path: Path<VmPath>,
        query: Query<ListQuery>,
    ) -> Result<HttpResponseOk<PageBody<Snapshot>>, Problem>;

    /// Takes a snapshot of a VM.
    #[endpoint { method = POST, path = "/v1/vms/{vm}/snapshots", tags = ["vm"] }]
    async fn vm_snapshot_create(
        rqctx: RequestContext<Self::Context>,
        path: Path<VmPath>,
        query: Query<DryRunQuery>,
        headers: Header<ChangeHeaders>,
        body: TypedBody<SnapshotCreate>,
    ) -> Result<HttpResponseHeaders<HttpResponseAccepted<Accepted>>, Problem>;

    /// One snapshot of a VM, with the settings of its time.
    #[endpoint { method = GET, path = "/v1/vms/{vm}/snapshots/{snapshot}", tags = ["vm"] }]
    async fn vm_snapshot_view(
        rqctx: RequestContext<Self::Context>,
        path: Path<VmSnapshotPath>,
    ) -> Result<HttpResponseHeaders<HttpResponseOk<Snapshot>, EtagHeaders>, Problem>;

    /// Changes the name or note of a snapshot.
    #[endpoint { method = PATCH, path = "/v1/vms/{vm}/snapshots/{snapshot}", tags = ["vm"] }]
    async fn vm_snapshot_update(
        rqctx: RequestContext<Self::Context>,
        path: Path<VmSnapshotPath>,
        headers: Header<ChangeHeaders>,
        body: TypedBody<SnapshotUpdate>,
    ) -> Result<HttpResponseHeaders<HttpResponseOk<Snapshot>, EtagHeaders>, Problem>;

    /// Deletes a snapshot: what only it needs is merged into its neighbours.
    #[endpoint { method = DELETE, path = "/v1/vms/{vm}/snapshots/{snapshot}", tags = ["vm"] }]
    async fn vm_snapshot_delete(
        rqctx: RequestContext<Self::Context>,
        path: Path<VmSnapshotPath>,
        query: Query<DryRunQuery>,
        headers: Header<ChangeHeaders>,
    ) -> Result<HttpResponseHeaders<HttpResponseAccepted<Accepted>>, Problem>;

    /// Brings a VM back to a snapshot; later snapshots stay.
    #[endpoint { method = POST, path = "/v1/vms/{vm}/snapshots/{snapshot}/revert", tags = ["vm"] }]
    async fn vm_snapshot_revert(
        rqctx: RequestContext<Self::Context>,
        path: Path<VmSnapshotPath>,
        query: Query<DryRunQuery>,
        headers: Header<ChangeHeaders>,
        body: TypedBody<SnapshotRevert>,
    ) -> Result<HttpResponseHeaders<HttpResponseAccepted<Accepted>>, Problem>;

    /// Makes clones of a VM: full, linked, or of a linked clone.
    #[endpoint { method = POST, path = "/v1/vms/{vm}/clone", tags = ["vm"] }]
    async fn vm_clone(
        rqctx: RequestContext<Self::Context>,
        path: Path<VmPath>,
        query: Query<DryRunQuery>,
        headers: Header<ChangeHeaders>,
        body: TypedBody<CloneCreate>,
    ) -> Result<HttpResponseHeaders<HttpResponseAccepted<Cloned>>, Problem>;

    /// Brings a linked clone back to its restore point: what it has written is gone.
    #[endpoint { method = POST, path = "/v1/vms/{vm}/refresh", tags = ["vm"] }]
    async fn vm_refresh(
        rqctx: RequestContext<Self::Context>,
        path: Path<VmPath>,
        query: Query<DryRunQuery>,
        headers: Header<ChangeHeaders>,
    ) -> Result<HttpResponseHeaders<HttpResponseAccepted<Accepted>>, Problem>;

    /// Templates, by name.
    #[endpoint { method = GET, path = "/v1/templates", tags = ["template"] }]
    async fn template_list(rqctx: RequestContext<Self::Context>, query: Query<ListQuery>) -> Result<HttpResponseOk<PageBody<Template>>, Problem>;

    /// Makes a template of a VM: as a copy, or by converting it.
    #[endpoint { method = POST, path = "/v1/templates", tags = ["template"] }]
    async fn template_create(
        rqctx: RequestContext<Self::Context>,
        query: Query<DryRunQuery>,
        headers: Header<ChangeHeaders>,
        body: TypedBody<TemplateCreate>,
    ) -> Result<HttpResponseHeaders<HttpResponseAccepted<Cloned>>, Problem>;

    /// One template.
    #[endpoint { method = GET, path = "/v1/templates/{template}", tags = ["template"] }]
    async fn template_view(
        rqctx: RequestContext<Self::Context>,
        path: Path<TemplatePath>,
    ) -> Result<HttpResponseHeaders<HttpResponseOk<Template>, EtagHeaders>, Problem>;

    /// Changes name, description or labels of a template.
    #[endpoint { method = PATCH, path = "/v1/templates/{template}", tags = ["template"] }]
    async fn template_update(
        rqctx: RequestContext<Self::Context>,
        path: Path<TemplatePath>,
        query: Query<DryRunQuery>,
        headers: Header<ChangeHeaders>,
        body: TypedBody<TemplateUpdate>,
    ) -> Result<HttpResponseHeaders<HttpResponseAccepted<Accepted>>, Problem>;

    /// Deletes a template on which nothing stands.
    #[endpoint { method = DELETE, path = "/v1/templates/{template}", tags = ["template"] }]
    async fn template_delete(
        rqctx: RequestContext<Self::Context>,
        path: Path<TemplatePath>,
        query: Query<DryRunQuery>,
        headers: Header<ChangeHeaders>,
    ) -> Result<HttpResponseHeaders<HttpResponseAccepted<Accepted>>, Problem>;

    /// Makes VMs from a template.
    #[endpoint { method = POST, path = "/v1/templates/{template}/deploy", tags = ["template"] }]
    async fn template_deploy(
        rqctx: RequestContext<Self::Context>,
        path: Path<TemplatePath>,
        query: Query<DryRunQuery>,
        headers: Header<ChangeHeaders>,
        body: TypedBody<CloneCreate>,
    ) -> Result<HttpResponseHeaders<HttpResponseAccepted<Cloned>>, Problem>;

    /// Converts a template on which nothing stands into a VM, so that its content can be changed.
    #[endpoint { method = POST, path = "/v1/templates/{template}/convert", tags = ["template"] }]
    async fn template_convert(
        rqctx: RequestContext<Self::Context>,
        path: Path<TemplatePath>,
        query: Query<DryRunQuery>,
        headers: Header<ChangeHeaders>,
    ) -> Result<HttpResponseHeaders<HttpResponseAccepted<Accepted>>, Problem>;

    /// Rates of a VM over the last minutes.
    #[endpoint { method = GET, path = "/v1/vms/{vm}/stats", tags = ["vm"] }]
    async fn vm_stats(rqctx: RequestContext<Self::Context>, path: Path<VmPath>) -> Result<HttpResponseOk<Stats>, Problem>;

    /// The screen of a running VM as PNG.
    #[endpoint { method = GET, path = "/v1/vms/{vm}/screenshot", tags = ["vm"] }]
    async fn vm_screenshot(rqctx: RequestContext<Self::Context>, path: Path<VmPath>) -> Result<Response<Body>, Problem>;

    /// Gives a one-time ticket for a console.
    #[endpoint { method = POST, path = "/v1/vms/{vm}/consoles", tags = ["vm"] }]
    async fn vm_console(
        rqctx: RequestContext<Self::Context>,
        path: Path<VmPath>,
        body: TypedBody<ConsoleRequest>,
    ) -> Result<HttpResponseCreated<ConsoleTicket>, Problem>;

    /// A console over WebSocket (binary frames): RFB for `vnc`, plain bytes for `serial`. The ticket is good once.
    #[endpoint { method = GET, path = "/v1/consoles/{ticket}", tags = ["vm"] }]
    async fn console_connect(rqctx: RequestContext<Self::Context>, path: Path<ConsolePath>, upgrade: WebsocketUpgrade) -> Result<Response<Body>, Problem>;

    /// Tasks, newest first.
    #[endpoint { method = GET, path = "/v1/tasks", tags = ["task"] }]
    async fn task_list(rqctx: RequestContext<Self::Context>, query: Query<ListQuery>) -> Result<HttpResponseOk<PageBody<Task>>, Problem>;

    /// One task; with `wait`, answers when it has ended.
    #[endpoint { method = GET, path = "/v1/tasks/{task}", tags = ["task"] }]
    async fn task_view(rqctx: RequestContext<Self::Context>, path: Path<TaskPath>, query: Query<TaskWaitQuery>) -> Result<HttpResponseOk<Task>, Problem>;

    /// Asks a task to stop. It goes back to where the object was, unless it is past its point of no return.
    #[endpoint { method = POST, path = "/v1/tasks/{task}/cancel", tags = ["task"] }]
    async fn task_cancel(rqctx: RequestContext<Self::Context>, path: Path<TaskPath>) -> Result<HttpResponseOk<Task>, Problem>;

    /// Events, newest first.
    #[endpoint { method = GET, path = "/v1/events", tags = ["event"] }]
    async fn event_list(rqctx: RequestContext<Self::Context>, query: Query<ListQuery>) -> Result<HttpResponseOk<PageBody<Event>>, Problem>;

    /// Events as they happen, as server-sent events; goes on after `Last-Event-ID` or `since`.
    #[endpoint { method = GET, path = "/v1/events/stream", tags = ["event"] }]
    async fn event_stream(
        rqctx: RequestContext<Self::Context>,
        query: Query<EventStreamQuery>,
        headers: Header<EventStreamHeaders>,
    ) -> Result<Response<Body>, Problem>;

    /// Audit records, newest first.
    #[endpoint { method = GET, path = "/v1/audit", tags = ["audit"] }]
    async fn audit_list(rqctx: RequestContext<Self::Context>, query: Query<ListQuery>) -> Result<HttpResponseOk<PageBody<AuditRecord>>, Problem>;

    /// Audit records with their chain values, oldest first, as lines of JSON that `virga-audit` verifies.
    #[endpoint { method = GET, path = "/v1/audit/export", tags = ["audit"] }]
    async fn audit_export(rqctx: RequestContext<Self::Context>, query: Query<AuditExportQuery>) -> Result<Response<Body>, Problem>;

    /// Signed statements about the chain of audit records, newest first.
    #[endpoint { method = GET, path = "/v1/audit/anchors", tags = ["audit"] }]
    async fn audit_anchor_list(rqctx: RequestContext<Self::Context>, query: Query<ListQuery>) -> Result<HttpResponseOk<PageBody<AuditAnchor>>, Problem>;

    /// For how long audit records are kept.
    #[endpoint { method = GET, path = "/v1/audit/retention", tags = ["audit"] }]
    async fn audit_retention_view(rqctx: RequestContext<Self::Context>) -> Result<HttpResponseOk<AuditRetention>, Problem>;

    /// Sets for how long audit records are kept. There is no other way to remove one.
    #[endpoint { method = PUT, path = "/v1/audit/retention", tags = ["audit"] }]
    async fn audit_retention_update(rqctx: RequestContext<Self::Context>, body: TypedBody<AuditRetention>) -> Result<HttpResponseOk<AuditRetention>, Problem>;
}
