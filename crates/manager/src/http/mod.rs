//! The public API over HTTP: one wrapper around every handler, and one handler for each operation, by noun.
//!
//! [`run`] and [`change`] do for every request, in this order: limits, sign-in, the authorization table, the work,
//! the audit record, the counters. A handler must never touch the store or decide anything by itself.

pub mod authz;
pub mod local;
pub mod op;

mod data_store;
mod event;
mod host;
mod image;
mod network;
mod request;
mod schedule;
mod session;
mod system;
mod task;
mod template;
mod user;
mod vm;

use crate::auth::{self, Caller};
use crate::fetch::Places;
use crate::front::limits::{EXPENSIVE, EXPENSIVE_RATE, Limits, PRINCIPAL_RATE, SIGN_IN_RATE, SOURCE_RATE};
use crate::image::Uploads;
use crate::limit::{Buckets, too_many};
use crate::metrics::Counters;
use crate::password::Hasher;
use crate::secret::sha256_hex;
use crate::state::Manager;
use authz::{Access, Over};
use dropshot::{Body, HttpResponse, RequestContext};
use dropshot::{HttpResponseAccepted, HttpResponseCreated, HttpResponseDeleted, HttpResponseHeaders, HttpResponseOk, HttpResponseUpdatedNoContent};
use http::{HeaderValue, Response};
pub use op::Op;
use op::{Once, etag};
pub use request::{Head, Rq};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio::sync::{Semaphore, watch};
use uuid::Uuid;
use virga_api::v1::*;
use virga_model::role::Target;
use virga_model::task::ObjectRef;
use virga_model::{Error, ErrorCode};

/// Event streams and consoles at the same time, together.
const STREAMS_MAX: usize = 2000;
/// Changes that make no task although they look so; they also help when the queue of tasks is full.
const LETS_GO: [&str; 7] = ["session_delete", "user_delete", "role_binding_delete", "token_delete", "host_delete", "vm_console", "vm_screenshot"];
/// Longest `Idempotency-Key`.
const KEY_BYTES_MAX: usize = 128;

/// What handlers share.
pub struct Api {
    /// The manager.
    pub m: Arc<Manager>,
    /// Checks passwords, a few at a time.
    pub hasher: Hasher,
    /// Requests of an address.
    pub sources: Buckets<IpAddr>,
    /// Sign-ins of an address.
    pub sign_ins: Buckets<IpAddr>,
    /// Requests of an account or token.
    pub principals: Buckets<Uuid>,
    /// Requests of an account or token that cost much.
    pub expensive: Buckets<Uuid>,
    /// Figures of requests.
    pub counters: Counters,
    /// Uploads under way.
    pub uploads: Uploads,
    /// Where images may be fetched from.
    pub image_sources: Places,
    /// Event streams and consoles under way.
    pub streams: Arc<Semaphore>,
    /// Becomes true when the manager stops.
    pub stop: watch::Receiver<bool>,
    /// The simulated fleet of a demo; none in every other installation.
    pub demo: Option<crate::demo::Demo>,
}

impl Api {
    /// What handlers of `m` share.
    #[must_use]
    pub fn new(m: Arc<Manager>, hasher: Hasher, limits: &Limits, stop: watch::Receiver<bool>) -> Api {
        Api {
            m,
            hasher,
            sources: Buckets::new(limits.rate(SOURCE_RATE)),
            // Guessing passwords is no load test: this one is never off.
            sign_ins: Buckets::new(Some(SIGN_IN_RATE)),
            principals: Buckets::new(limits.rate(PRINCIPAL_RATE)),
            expensive: Buckets::new(limits.counts_sources().then_some(EXPENSIVE_RATE)),
            counters: Counters::default(),
            uploads: Uploads::default(),
            image_sources: Places::new(&limits.image_source),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            stop,
            demo: None,
        }
    }
}

type Ok200<T> = HttpResponseOk<T>;
type Tagged<T> = HttpResponseHeaders<HttpResponseOk<T>, EtagHeaders>;
type Created<T> = HttpResponseCreated<T>;
type Accepts<T> = HttpResponseHeaders<HttpResponseAccepted<T>>;
type Deleted = HttpResponseDeleted;
type Raw = Response<Body>;
type SignedInAnswer = HttpResponseHeaders<HttpResponseCreated<SignedIn>, SignedInHeaders>;

/// The answer to a POST that can be repeated safely.
pub trait Answer: Serialize + DeserializeOwned + Send + 'static {
    /// HTTP status.
    const STATUS: u16 = 201;
    /// Holds a secret that is shown once and never kept.
    const SECRET: bool = false;
}

impl Answer for User {}
impl Answer for RoleBinding {}
impl Answer for Image {}
impl Answer for Network {}
impl Answer for Schedule {}
impl Answer for Accepted {
    const STATUS: u16 = 202;
}
impl Answer for Cloned {
    const STATUS: u16 = 202;
}
impl Answer for VmBatch {
    const STATUS: u16 = 202;
}
impl Answer for JoinToken {
    const SECRET: bool = true;
}
impl Answer for ApiTokenCreated {
    const SECRET: bool = true;
}

/// Serves a request.
pub(crate) async fn run<T, F, Fut>(rqctx: &Rq, f: F) -> Result<T, Problem>
where
    F: FnOnce(Arc<Op>) -> Fut + Send,
    Fut: Future<Output = Result<T, Error>> + Send,
    T: Send,
{
    let begun = Instant::now();
    let result = match begin(rqctx, None).await {
        Ok(op) => {
            let result = f(op.clone()).await;
            settle(&op, result).await
        }
        Err(e) => Err(e),
    };
    done(rqctx, begun, result)
}

/// Serves a request that changes something and honours `Idempotency-Key`; `body` is what came with it.
pub(crate) async fn change<A, B, F, Fut>(rqctx: &Rq, body: B, f: F) -> Result<A, Problem>
where
    A: Answer,
    B: Serialize + Send,
    F: FnOnce(Arc<Op>, B) -> Fut + Send,
    Fut: Future<Output = Result<A, Error>> + Send,
{
    let begun = Instant::now();
    let result = match once::<A, B>(rqctx, &body) {
        Ok(once) => repeatable(rqctx, once, |op| f(op, body)).await,
        Err(e) => Err(e),
    };
    done(rqctx, begun, result)
}

async fn repeatable<A, F, Fut>(rqctx: &Rq, once: Option<Once>, f: F) -> Result<A, Error>
where
    A: Answer,
    F: FnOnce(Arc<Op>) -> Fut + Send,
    Fut: Future<Output = Result<A, Error>> + Send,
{
    repeated(begin(rqctx, once).await?, f).await
}

/// Serves an admitted request; what was answered before is answered again.
async fn repeated<A, F, Fut>(op: Arc<Op>, f: F) -> Result<A, Error>
where
    A: Answer,
    F: FnOnce(Arc<Op>) -> Fut + Send,
    Fut: Future<Output = Result<A, Error>> + Send,
{
    // A first look, so that a repeated request is answered before anything else is judged; the look is not kept.
    let looked = match &op.once {
        Some(_) => match op.m.store.write().await {
            Ok(mut tx) => op.begin_once(&mut tx).await,
            Err(e) => Err(e.into()),
        },
        None => Ok(()),
    };
    let result = match looked {
        Ok(()) => f(op.clone()).await,
        Err(e) => Err(e),
    };
    let replay = op.replay.lock().unwrap_or_else(PoisonError::into_inner).take();
    match replay {
        Some(body) => {
            op.checked.store(true, Ordering::Release);
            let kept = serde_json::from_str(&body).map_err(|_| Error::internal("The kept answer cannot be read."));
            let detail = "answered again (Idempotency-Key); nothing changed";
            let noted = op.audit_alone(op.record(ObjectRef::System, &op.subject, "ok", detail)).await;
            settle(&op, noted.and(kept)).await
        }
        None => settle(&op, result).await,
    }
}

/// Limits, sign-in, the table.
async fn begin(rqctx: &Rq, once: Option<Once>) -> Result<Arc<Op>, Error> {
    let api = rqctx.context().clone();
    let name = rqctx.operation;
    let entry = authz::find(name).ok_or_else(|| Error::internal(format!("The operation {name} is not in the authorization table.")))?;
    // Not the peer's, but the caller's: see `front::limits`.
    let source = rqctx.request.remote_addr().ip().to_string();
    let now = api.m.now();
    let (headers, method) = (rqctx.request.headers(), rqctx.request.method());
    let caller = match entry.access {
        Access::Public => Caller::nobody(&source),
        _ => auth::authenticate(&api.m, headers, method, &source).await?,
    };
    if let Some(id) = principal(&caller) {
        api.principals.take(&id).map_err(|s| too_many("requests of this account", s))?;
        if entry.audited && (name.starts_with("vm_") || name.starts_with("template_") || name.ends_with("_delete")) && !LETS_GO.contains(&name) {
            crate::task_new::ensure_room(&api.m.tasks_full)?;
        }
        if EXPENSIVE.contains(&name) {
            api.expensive.take(&id).map_err(|s| too_many("new VMs and images of this account", s))?;
        }
    }
    undeclared(name, method, rqctx.request.uri().query())?;
    let op = Arc::new(Op {
        m: api.m.clone(),
        api,
        entry,
        caller,
        request_id: rqctx.request_id.clone(),
        now,
        subject: subject(rqctx),
        if_match: if_match(headers)?,
        once,
        replay: Mutex::new(None),
        checked: AtomicBool::new(false),
        audited: AtomicBool::new(false),
        recorded: AtomicBool::new(false),
    });
    match admitted(&op) {
        Ok(()) => Ok(op),
        Err(e) => {
            let record = op.record(ObjectRef::System, &op.subject, &code_word(e.code), &e.message);
            // Refused it is in any case.
            let _ = op.audit_alone(record).await;
            Err(e)
        }
    }
}

/// The condition of a change. One that cannot be read must not make the change unconditional.
fn if_match(headers: &http::HeaderMap) -> Result<Option<String>, Error> {
    let all = headers.get_all(http::header::IF_MATCH).iter().map(|v| v.to_str().map(str::to_string)).collect::<Result<Vec<_>, _>>();
    let all = all.map_err(|_| Error::malformed_field("if-match", "If-Match must be an ETag: printable ASCII characters."))?;
    Ok(if all.is_empty() { None } else { Some(all.join(", ")) })
}

/// That a change comes without parameters that its operation does not have: who asks for `?dry_run=true` where there is no
/// dry run must not get the real thing. Where there are parameters, the extractor refuses those that nobody declared.
fn undeclared(operation: &str, method: &http::Method, query: Option<&str>) -> Result<(), Error> {
    let Some(query) = query.filter(|q| !q.is_empty() && !method.is_safe()) else { return Ok(()) };
    if crate::system::takes_query(operation) {
        return Ok(());
    }
    let name = virga_model::name::shown(query.split(['=', '&']).next().unwrap_or_default());
    Err(Error::malformed_field(name, "This operation has no query parameters; nothing was done."))
}

fn principal(caller: &Caller) -> Option<Uuid> {
    match &caller.credential {
        auth::Credential::None => None,
        auth::Credential::Session(_) => Some(caller.user.0),
        auth::Credential::Token(t) => Some(t.id.0),
    }
}

/// The part of the table that needs no object.
fn admitted(op: &Op) -> Result<(), Error> {
    if op.caller.must_change && !op.entry.before_change {
        return Err(Error::new(ErrorCode::PasswordChangeRequired, "Your password must be changed before anything else.")
            .with_hint("Change it with PUT /v1/session/password (virga passwd)."));
    }
    match op.entry.access {
        Access::Public | Access::SignedIn | Access::Needs(_, Over::Object | Over::Source) => Ok(()),
        Access::Needs(p, Over::Anywhere) => op.caller.require(p, &Target::Anywhere, ""),
        Access::Needs(p, Over::Installation) => op.caller.require(p, &Target::Installation, ""),
    }
}

/// Records what was refused, and what changed nothing although it could have.
async fn settle<T>(op: &Op, result: Result<T, Error>) -> Result<T, Error> {
    match &result {
        Ok(_) if !op.rights_were_checked() => {
            tracing::error!(operation = op.entry.name, request = %op.request_id, "answer without check of rights held back");
            return Err(Error::internal("The answer was held back, because its rights were not checked."));
        }
        _ if op.recorded.load(Ordering::Acquire) => {}
        // What cannot be recorded is not answered: neither a look at the records nor a change that changes nothing.
        Ok(_) if op.entry.audited => op.audit_alone(op.record(ObjectRef::System, &op.subject, "ok", "nothing changed")).await?,
        Err(e) if matches!(e.code, ErrorCode::Unauthenticated | ErrorCode::TooMany) => {}
        Err(e) if op.entry.audited || e.code == ErrorCode::Forbidden => {
            let detail: String = e.message.chars().take(500).collect();
            let _ = op.audit_alone(op.record(ObjectRef::System, &op.subject, &code_word(e.code), &detail)).await;
        }
        _ => {}
    }
    result
}

/// Counts the request and makes the problem body of an error.
#[allow(clippy::result_large_err)] // the type is the API's
fn done<T>(rqctx: &Rq, begun: Instant, result: Result<T, Error>) -> Result<T, Problem> {
    let api = rqctx.context();
    let status = result.as_ref().err().map_or(200, |e| e.code.status());
    let name = authz::find(rqctx.operation).map_or("unknown", |e| e.name);
    api.counters.count(name, status, begun.elapsed());
    tracing::debug!(operation = name, status, request = %rqctx.request_id, micros = begun.elapsed().as_micros() as u64, "request");
    result.map_err(|e| {
        if status >= 500 && e.code != ErrorCode::NoCapacity {
            tracing::warn!(operation = name, request = %rqctx.request_id, error = %e, "request failed");
        }
        Problem::from(e).with_request_id(&rqctx.request_id)
    })
}

/// The path, as the subject of an audit record; a console's path holds its ticket.
fn subject(rqctx: &Rq) -> String {
    let path = rqctx.request.uri().path();
    if path.starts_with("/v1/consoles/") { "consoles".into() } else { path.trim_start_matches("/v1/").chars().take(200).collect() }
}

fn code_word(code: ErrorCode) -> String {
    serde_json::to_value(code).ok().and_then(|v| v.as_str().map(str::to_string)).unwrap_or_default()
}

fn once<A: Answer, B: Serialize>(rqctx: &Rq, body: &B) -> Result<Option<Once>, Error> {
    let Some(value) = rqctx.request.headers().get("idempotency-key") else { return Ok(None) };
    let bad = || Error::malformed_field("idempotency-key", format!("Idempotency-Key must be 1 to {KEY_BYTES_MAX} printable ASCII characters."));
    let key = value.to_str().map_err(|_| bad())?.to_string();
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        return Err(bad());
    }
    let mut json = serde_json::to_value(body).map_err(|e| Error::internal(e.to_string()))?;
    if let Some(fields) = json.as_object_mut() {
        // A hash of a password that is quick to compute must not lie in the database.
        fields.remove("password");
    }
    let uri = rqctx.request.uri();
    let text = format!("{}\n{}\n{}\n{json}", rqctx.operation, uri.path(), uri.query().unwrap_or_default());
    Ok(Some(Once { key, sha256: sha256_hex(text.as_bytes()), status: A::STATUS, secret: A::SECRET }))
}

/// An answer with the object's ETag.
fn tagged<T: Serialize + schemars::JsonSchema + Send + Sync + 'static>(generation: i64, body: T) -> Tagged<T> {
    HttpResponseHeaders::new(HttpResponseOk(body), EtagHeaders { etag: etag(generation) })
}

/// An answer that is JSON text already; it must be what the API declares.
fn text(json: String) -> Raw {
    let mut answer = Response::new(Body::from(json));
    answer.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

/// As [`text`], with the object's ETag.
fn tagged_text(generation: i64, json: String) -> Raw {
    let mut answer = text(json);
    if let Ok(tag) = HeaderValue::from_str(&etag(generation)) {
        answer.headers_mut().insert(http::header::ETAG, tag);
    }
    answer
}

/// A `202`, with the path of the task when there is one.
fn accepted<T: Serialize + schemars::JsonSchema + Send + Sync + 'static>(task: Option<&Task>, body: T) -> Accepts<T> {
    let location = task.and_then(|t| HeaderValue::from_str(&task_path(t.id)).ok());
    let mut answer = HttpResponseHeaders::new_unnamed(HttpResponseAccepted(body));
    if let Some(location) = location {
        answer.headers_mut().insert(http::header::LOCATION, location);
    }
    answer
}

fn accept(a: Accepted) -> Accepts<Accepted> {
    accepted(a.task.clone().as_ref(), a)
}

/// The path of a task.
pub(crate) fn task_path(id: virga_model::TaskId) -> String {
    format!("/v1/tasks/{id}")
}

/// A future on the heap. It is made in a frame of its own, which ends: where the compiler does not optimise, each operation's
/// future would else have its place in the frame of all of them, which comes to more than a thread's stack.
#[inline(never)]
fn boxed<F: Future>(make: impl FnOnce() -> F) -> std::pin::Pin<Box<F>> {
    Box::pin(make())
}

/// Calls the functions of the operations' names in the nouns' files.
macro_rules! operations {
    ($($noun:ident :: $name:ident ($($arg:ident : $ty:ty),*) -> $out:ty;)*) => {
        /// Reads what an operation takes, and does it.
        ///
        /// # Errors
        /// As the operation says.
        #[allow(clippy::result_large_err)] // the type is the API's
        pub async fn call(rqctx: Rq, mut sent: Sent) -> Result<Response<Body>, Problem> {
            match rqctx.operation {
                $(
                    stringify!($name) => {
                        $(let $arg = <$ty as FromSent>::from_sent(&rqctx.request.parts, &mut sent)?;)*
                        // In a place of its own, so that the future of all operations is not as large as the largest.
                        let done = boxed(move || $noun::$name(rqctx, $($arg),*)).await?;
                        Ok(done.to_result()?)
                    }
                )*
                other => Err(Error::internal(format!("Nobody does {other}.")).into()),
            }
        }

        /// Only to be compiled: that [`call`] takes and answers what the API declares, all of it.
        #[allow(dead_code)]
        enum AsDeclared {}

        impl VirgaApi for AsDeclared {
            type Context = ();
            $(
                async fn $name(_: RequestContext<()>, $(_: $ty),*) -> Result<$out, Problem> {
                    Err(Error::internal("The declaration does nothing.").into())
                }
            )*
        }

        // An operation without a line in the authorization table does not compile.
        $(const _: &authz::Entry = authz::entry(stringify!($name));)*
    };
}

operations! {
    system::ping() -> Ok200<Ping>;
    system::system_view() -> Ok200<System>;
    system::openapi() -> Raw;
    system::docs() -> Raw;
    system::metrics() -> Raw;
    session::session_create(body: TypedBody<SignIn>) -> SignedInAnswer;
    session::session_view() -> Ok200<WhoAmI>;
    session::session_delete() -> Deleted;
    session::password_change(body: TypedBody<PasswordChange>) -> HttpResponseUpdatedNoContent;
    user::user_list(query: Query<ListQuery>) -> Ok200<PageBody<User>>;
    user::user_create(headers: Header<ChangeHeaders>, body: TypedBody<UserCreate>) -> Created<User>;
    user::user_view(path: Path<UserPath>) -> Tagged<User>;
    user::user_update(path: Path<UserPath>, headers: Header<ChangeHeaders>, body: TypedBody<UserUpdate>) -> Tagged<User>;
    user::user_delete(path: Path<UserPath>, headers: Header<ChangeHeaders>) -> Deleted;
    user::role_list() -> Ok200<Vec<RoleInfo>>;
    user::role_binding_list(query: Query<ListQuery>) -> Ok200<PageBody<RoleBinding>>;
    user::role_binding_create(headers: Header<ChangeHeaders>, body: TypedBody<RoleBindingCreate>) -> Created<RoleBinding>;
    user::role_binding_delete(path: Path<RoleBindingPath>) -> Deleted;
    user::token_list(query: Query<ListQuery>) -> Ok200<PageBody<ApiToken>>;
    user::token_create(headers: Header<ChangeHeaders>, body: TypedBody<ApiTokenCreate>) -> Created<ApiTokenCreated>;
    user::token_delete(path: Path<TokenPath>) -> Deleted;
    schedule::schedule_list(query: Query<ListQuery>) -> Ok200<PageBody<Schedule>>;
    schedule::schedule_create(headers: Header<ChangeHeaders>, body: TypedBody<ScheduleCreate>) -> Created<Schedule>;
    schedule::schedule_view(path: Path<SchedulePath>) -> Tagged<Schedule>;
    schedule::schedule_update(path: Path<SchedulePath>, headers: Header<ChangeHeaders>, body: TypedBody<ScheduleUpdate>) -> Tagged<Schedule>;
    schedule::schedule_delete(path: Path<SchedulePath>, headers: Header<ChangeHeaders>) -> Deleted;
    schedule::schedule_run(path: Path<SchedulePath>, headers: Header<ChangeHeaders>) -> Tagged<Schedule>;
    host::host_list(query: Query<ListQuery>) -> Ok200<PageBody<Host>>;
    host::host_join_token_create(headers: Header<ChangeHeaders>, body: TypedBody<JoinTokenCreate>) -> Created<JoinToken>;
    host::host_view(path: Path<HostPath>) -> Tagged<Host>;
    host::host_update(path: Path<HostPath>, headers: Header<ChangeHeaders>, body: TypedBody<HostUpdate>) -> Tagged<Host>;
    host::host_delete(path: Path<HostPath>, headers: Header<ChangeHeaders>) -> Deleted;
    host::host_stats(path: Path<HostPath>) -> Ok200<Stats>;
    image::image_list(query: Query<ListQuery>) -> Ok200<PageBody<Image>>;
    image::image_create(headers: Header<ChangeHeaders>, body: TypedBody<ImageCreate>) -> Created<Image>;
    image::image_view(path: Path<ImagePath>) -> Tagged<Image>;
    image::image_upload(path: Path<ImagePath>, query: Query<ImageContentQuery>, body: StreamingBody) -> Tagged<Image>;
    image::image_fetch(path: Path<ImagePath>, body: TypedBody<ImageFetch>) -> Tagged<Image>;
    image::image_delete(path: Path<ImagePath>, headers: Header<ChangeHeaders>) -> Accepts<Accepted>;
    network::network_list(query: Query<ListQuery>) -> Ok200<PageBody<Network>>;
    network::network_create(headers: Header<ChangeHeaders>, body: TypedBody<NetworkCreate>) -> Created<Network>;
    network::network_view(path: Path<NetworkPath>) -> Tagged<Network>;
    network::network_delete(path: Path<NetworkPath>, headers: Header<ChangeHeaders>) -> Accepts<Accepted>;
    data_store::data_store_list(query: Query<ListQuery>) -> Ok200<PageBody<DataStore>>;
    data_store::data_store_create(headers: Header<ChangeHeaders>, body: TypedBody<DataStoreCreate>) -> Accepts<Accepted>;
    data_store::data_store_view(path: Path<DataStorePath>) -> Tagged<DataStore>;
    data_store::data_store_update(path: Path<DataStorePath>, headers: Header<ChangeHeaders>, body: TypedBody<DataStoreUpdate>) -> Tagged<DataStore>;
    data_store::data_store_delete(path: Path<DataStorePath>, query: Query<DataStoreDeleteQuery>, headers: Header<ChangeHeaders>) -> Accepts<Accepted>;
    vm::vm_list(query: Query<ListQuery>) -> Ok200<PageBody<Vm>>;
    vm::vm_create(query: Query<DryRunQuery>, headers: Header<ChangeHeaders>, body: TypedBody<VmCreate>) -> Accepts<Accepted>;
    vm::vm_view(path: Path<VmPath>) -> Tagged<Vm>;
    vm::vm_update(path: Path<VmPath>, query: Query<DryRunQuery>, headers: Header<ChangeHeaders>, body: TypedBody<VmUpdate>) -> Accepts<Accepted>;
    vm::vm_delete(path: Path<VmPath>, query: Query<VmDeleteQuery>, headers: Header<ChangeHeaders>) -> Accepts<Accepted>;
    vm::vm_power(path: Path<VmPath>, query: Query<DryRunQuery>, headers: Header<ChangeHeaders>, body: TypedBody<PowerRequest>) -> Accepts<Accepted>;
    vm::vm_export_view(path: Path<VmPath>) -> Ok200<VmExport>;
    vm::vm_export_create(path: Path<VmPath>, query: Query<DryRunQuery>, headers: Header<ChangeHeaders>, body: TypedBody<VmExportCreate>) -> Accepts<Accepted>;
    vm::vm_export_delete(path: Path<VmPath>, query: Query<DryRunQuery>, headers: Header<ChangeHeaders>) -> Accepts<Accepted>;
    vm::vm_export_content(path: Path<VmPath>, headers: Header<DownloadHeaders>) -> Raw;
    vm::vm_import(query: Query<DryRunQuery>, headers: Header<ChangeHeaders>, body: TypedBody<VmImport>) -> Accepts<Accepted>;
    vm::vm_batch(query: Query<DryRunQuery>, headers: Header<ChangeHeaders>, body: TypedBody<VmBatchRequest>) -> Accepts<VmBatch>;
    vm::vm_disk_attach(path: Path<VmPath>, query: Query<DryRunQuery>, headers: Header<ChangeHeaders>, body: TypedBody<DiskCreate>) -> Accepts<Accepted>;
    vm::vm_disk_update(path: Path<VmDiskPath>, query: Query<DryRunQuery>, headers: Header<ChangeHeaders>, body: TypedBody<DiskUpdate>) -> Accepts<Accepted>;
    vm::vm_disk_detach(path: Path<VmDiskPath>, query: Query<DiskDetachQuery>, headers: Header<ChangeHeaders>) -> Accepts<Accepted>;
    vm::vm_disk_reattach(path: Path<VmDiskPath>, query: Query<DryRunQuery>, headers: Header<ChangeHeaders>) -> Accepts<Accepted>;
    vm::vm_disk_reclaim(path: Path<VmDiskPath>, query: Query<DryRunQuery>, headers: Header<ChangeHeaders>) -> Accepts<Accepted>;
    vm::vm_media_change(path: Path<VmDiskPath>, query: Query<DryRunQuery>, headers: Header<ChangeHeaders>, body: TypedBody<MediaUpdate>) -> Accepts<Accepted>;
    vm::vm_nic_attach(path: Path<VmPath>, query: Query<DryRunQuery>, headers: Header<ChangeHeaders>, body: TypedBody<NicCreate>) -> Accepts<Accepted>;
    vm::vm_nic_update(path: Path<VmNicPath>, query: Query<DryRunQuery>, headers: Header<ChangeHeaders>, body: TypedBody<NicUpdate>) -> Accepts<Accepted>;
    vm::vm_nic_detach(path: Path<VmNicPath>, query: Query<DryRunQuery>, headers: Header<ChangeHeaders>) -> Accepts<Accepted>;
    vm::vm_snapshot_list(path: Path<VmPath>, query: Query<ListQuery>) -> Ok200<PageBody<Snapshot>>;
    vm::vm_snapshot_create(path: Path<VmPath>, query: Query<DryRunQuery>, headers: Header<ChangeHeaders>, body: TypedBody<SnapshotCreate>) -> Accepts<Accepted>;
    vm::vm_snapshot_view(path: Path<VmSnapshotPath>) -> Tagged<Snapshot>;
    vm::vm_snapshot_update(path: Path<VmSnapshotPath>, headers: Header<ChangeHeaders>, body: TypedBody<SnapshotUpdate>) -> Tagged<Snapshot>;
    vm::vm_snapshot_delete(path: Path<VmSnapshotPath>, query: Query<DryRunQuery>, headers: Header<ChangeHeaders>) -> Accepts<Accepted>;
    vm::vm_snapshot_revert(path: Path<VmSnapshotPath>, query: Query<DryRunQuery>, headers: Header<ChangeHeaders>, body: TypedBody<SnapshotRevert>) -> Accepts<Accepted>;
    vm::vm_clone(path: Path<VmPath>, query: Query<DryRunQuery>, headers: Header<ChangeHeaders>, body: TypedBody<CloneCreate>) -> Accepts<Cloned>;
    vm::vm_refresh(path: Path<VmPath>, query: Query<DryRunQuery>, headers: Header<ChangeHeaders>) -> Accepts<Accepted>;
    template::template_list(query: Query<ListQuery>) -> Ok200<PageBody<Template>>;
    template::template_create(query: Query<DryRunQuery>, headers: Header<ChangeHeaders>, body: TypedBody<TemplateCreate>) -> Accepts<Cloned>;
    template::template_view(path: Path<TemplatePath>) -> Tagged<Template>;
    template::template_update(path: Path<TemplatePath>, query: Query<DryRunQuery>, headers: Header<ChangeHeaders>, body: TypedBody<TemplateUpdate>) -> Accepts<Accepted>;
    template::template_delete(path: Path<TemplatePath>, query: Query<DryRunQuery>, headers: Header<ChangeHeaders>) -> Accepts<Accepted>;
    template::template_deploy(path: Path<TemplatePath>, query: Query<DryRunQuery>, headers: Header<ChangeHeaders>, body: TypedBody<CloneCreate>) -> Accepts<Cloned>;
    template::template_convert(path: Path<TemplatePath>, query: Query<DryRunQuery>, headers: Header<ChangeHeaders>) -> Accepts<Accepted>;
    vm::vm_stats(path: Path<VmPath>) -> Ok200<Stats>;
    vm::vm_screenshot(path: Path<VmPath>) -> Raw;
    vm::vm_console(path: Path<VmPath>, body: TypedBody<ConsoleRequest>) -> Created<ConsoleTicket>;
    vm::console_connect(path: Path<ConsolePath>, upgrade: WebsocketUpgrade) -> Raw;
    task::task_list(query: Query<ListQuery>) -> Ok200<PageBody<Task>>;
    task::task_view(path: Path<TaskPath>, query: Query<TaskWaitQuery>) -> Ok200<Task>;
    task::task_cancel(path: Path<TaskPath>) -> Ok200<Task>;
    event::event_list(query: Query<ListQuery>) -> Ok200<PageBody<Event>>;
    event::event_stream(query: Query<EventStreamQuery>, headers: Header<EventStreamHeaders>) -> Raw;
    event::audit_list(query: Query<ListQuery>) -> Ok200<PageBody<AuditRecord>>;
    event::audit_export(query: Query<AuditExportQuery>) -> Raw;
    event::audit_anchor_list(query: Query<ListQuery>) -> Ok200<PageBody<AuditAnchor>>;
    event::audit_retention_view() -> Ok200<AuditRetention>;
    event::audit_retention_update(body: TypedBody<AuditRetention>) -> Ok200<AuditRetention>;
}
