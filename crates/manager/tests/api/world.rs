//! A manager on a free port in a temporary folder, hosts in memory, and a client.

use argon2::{Algorithm, Argon2, Params, PasswordHasher, Version};
use async_trait::async_trait;
use futures::StreamExt;
use reqwest::header::HeaderMap;
use reqwest::{Client, Method};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use uuid::Uuid;
use virga_manager::config::Config;
use virga_manager::front::limits::Limits;
use virga_manager::node::client::{Content, Duplex, NodeClient};
use virga_manager::secret::{self, Kind};
use virga_manager::serve::{self, Running};
use virga_manager::state::{Clocks, wall_clock};
use virga_model::export::{Exported, ExportedDisk};
use virga_model::host::{Host, HostCpu, HostFacts};
use virga_model::network::{Network, NetworkSpec};
use virga_model::order::{ActResult, CallHead, NodeAnswer, NodeCall, VmOrder, VmReport};
use virga_model::role::{Role, RoleBinding, Scope};
use virga_model::snapshot::StoredMemory;
use virga_model::user::{ApiToken, ConsoleKind, User};
use virga_model::vm::{Desired, Observed, VmState};
use virga_model::{DiskId, Error, HostId, NetworkId, RoleBindingId, Time, TokenId, UserId, VmId};
use virga_store::Store;

/// Password of every account that [`World::user`] makes.
pub const PASSWORD: &str = "correct horse battery";

/// Hosts that do at once what they are told, or do not answer.
#[derive(Default)]
pub struct FakeNodes {
    silent: AtomicBool,
    vms: Mutex<HashMap<VmId, Observed>>,
    orders: Mutex<Vec<VmOrder>>,
    /// The other ends of opened consoles.
    pub consoles: Mutex<Vec<tokio::io::DuplexStream>>,
}

impl FakeNodes {
    /// From now on (not) answering.
    pub fn be_silent(&self, silent: bool) {
        self.silent.store(silent, Ordering::SeqCst);
    }

    /// Every order so far.
    pub fn orders(&self) -> Vec<VmOrder> {
        self.orders.lock().unwrap().clone()
    }

    fn answer(&self, id: VmId, head: CallHead, call: &NodeCall) -> Observed {
        let mut vms = self.vms.lock().unwrap();
        let o = vms.entry(id).or_default();
        match call {
            NodeCall::EnsureVm { order } => {
                self.orders.lock().unwrap().push((**order).clone());
                (o.generation, o.settled) = (order.generation, true);
                let disks = order.spec.export.iter().flat_map(|e| &e.disks).map(|d| exported(*d)).collect();
                o.exported = order.spec.export.as_ref().map(|e| Exported { id: e.id, disks });
                o.memories = order.spec.layers.memories.iter().map(|s| StoredMemory { snapshot: *s, bytes: 1 << 20, paused_ms: Some(40) }).collect();
                o.state = match order.desired {
                    Desired::Running => VmState::Running,
                    Desired::Paused => VmState::Paused,
                    Desired::Hibernated => VmState::Hibernated,
                    Desired::Stopped => VmState::Stopped,
                    Desired::Absent => VmState::Absent,
                };
            }
            _ => o.acts.push(ActResult { task: head.task, error: None }),
        }
        o.clone()
    }
}

#[async_trait]
impl NodeClient for FakeNodes {
    async fn call(&self, _: &Host, head: CallHead, call: NodeCall) -> Result<NodeAnswer, Error> {
        if self.silent.load(Ordering::SeqCst) {
            return Err(Error::unavailable("The agent does not answer."));
        }
        let id = match &call {
            NodeCall::EnsureVm { order } => order.id,
            NodeCall::Act { vm, .. } => *vm,
            NodeCall::DropImage { .. } | NodeCall::DropNetwork { .. } | NodeCall::EnsureStore { .. } | NodeCall::DropStore { .. } => {
                return Ok(NodeAnswer::Done);
            }
        };
        let observed = self.answer(id, head, &call);
        Ok(NodeAnswer::Vm { report: Box::new(VmReport { id, observed, progress: None }) })
    }

    async fn screenshot(&self, _: &Host, _: VmId) -> Result<Vec<u8>, Error> {
        Ok(b"\x89PNG".to_vec())
    }

    async fn console(&self, _: &Host, _: VmId, _: ConsoleKind) -> Result<Box<dyn Duplex>, Error> {
        let (near, far) = tokio::io::duplex(4096);
        self.consoles.lock().unwrap().push(far);
        Ok(Box::new(near))
    }

    async fn read_export(&self, _: &Host, _: VmId, _: Uuid, _: DiskId, offset: u64) -> Result<Content, Error> {
        let content = virga_tests::images::ova::disk();
        let pieces: Vec<_> = content[usize::try_from(offset).unwrap()..].chunks(1000).map(|c| Ok(c.to_vec())).collect();
        Ok(futures::stream::iter(pieces).boxed())
    }

    fn forget(&self, _: HostId) {}
}

/// Every disk is exported as the same right VMDK.
fn exported(disk: DiskId) -> ExportedDisk {
    let content = virga_tests::images::ova::disk();
    ExportedDisk { disk, bytes: content.len() as u64, virtual_bytes: 1 << 20, sha256: secret::sha256_hex(&content) }
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Answer {
    /// That the status is `status`.
    #[track_caller]
    pub fn is(self, status: u16) -> Answer {
        assert_eq!(self.status, status, "{:#}", self.body);
        self
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|v| v.to_str().unwrap()).unwrap_or_default()
    }

    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }
}

pub struct World {
    pub running: Running,
    pub http: Client,
    pub nodes: Arc<FakeNodes>,
    pub dir: TempDir,
    pub store: Store,
    /// API token of the account `admin`.
    pub admin: String,
    clock: Arc<AtomicI64>,
}

pub fn provider() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// A hash that is quick to check; the product's are not.
fn quick_hash(password: &str) -> String {
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(8, 1, 1, None).unwrap());
    argon2.hash_password(password.as_bytes()).unwrap().to_string()
}

pub fn config(dir: &TempDir) -> Config {
    Config {
        state_dir: dir.path().to_path_buf(),
        listen: "127.0.0.1:0".parse().unwrap(),
        node_listen: "127.0.0.1:0".parse().unwrap(),
        node_address: None,
        database: None,
        tls_name: vec![],
        demo_fleet: None,
        trust: Default::default(),
        limits: Default::default(),
    }
}

pub fn client(dir: &TempDir) -> Client {
    let ca = reqwest::Certificate::from_pem(&std::fs::read(dir.path().join("ca.pem")).unwrap()).unwrap();
    Client::builder().tls_certs_only([ca]).timeout(Duration::from_secs(60)).build().unwrap()
}

impl World {
    /// A manager with the account `admin` and the network `nat`, without hosts.
    pub async fn bare() -> World {
        World::under(|_| {}).await
    }

    /// As [`World::bare`], on a given, empty database.
    pub async fn on(store: Store) -> World {
        World::under_on(store, |_| {}).await
    }

    /// As [`World::bare`], with other limits.
    pub async fn under(change: impl FnOnce(&mut Limits)) -> World {
        World::under_on(Store::memory().await.unwrap(), |c| change(&mut c.limits)).await
    }

    /// As [`World::bare`], with other settings.
    pub async fn with(change: impl FnOnce(&mut Config)) -> World {
        World::under_on(Store::memory().await.unwrap(), change).await
    }

    async fn under_on(store: Store, change: impl FnOnce(&mut Config)) -> World {
        provider();
        let dir = tempfile::tempdir().unwrap();
        let admin = make_user(&store, "admin", &[(Role::Admin, Scope::All)]).await;
        let nat = Network {
            id: NetworkId(Uuid::now_v7()),
            name: "nat".into(),
            spec: NetworkSpec::Nat { cidr: "192.168.200.0/24".into() },
            generation: 1,
            deleting: false,
            created_at: wall_clock(),
        };
        let mut tx = store.write().await.unwrap();
        virga_store::network::insert(&mut tx, &nat).await.unwrap();
        tx.commit().await.unwrap();
        let (nodes, clock) = (Arc::new(FakeNodes::default()), Arc::new(AtomicI64::new(0)));
        let ahead = clock.clone();
        let now = Box::new(move || wall_clock().plus_seconds(ahead.load(Ordering::SeqCst)));
        let clocks = Clocks { wall: now, ..Clocks::default() };
        let mut config = config(&dir);
        change(&mut config);
        let running = serve::start_with(config, nodes.clone(), store.clone(), clocks).await.unwrap();
        let http = client(&dir);
        World { running, http, nodes, dir, store, admin, clock }
    }

    /// With two hosts of 16 GiB, `h1` and `h2`.
    pub async fn new() -> World {
        let w = World::bare().await;
        w.host("h1").await;
        w.host("h2").await;
        w
    }

    /// Moves the manager's clock.
    pub fn advance(&self, seconds: i64) {
        self.clock.fetch_add(seconds, Ordering::SeqCst);
    }

    /// A host that reports.
    pub async fn host(&self, name: &str) -> HostId {
        let id = HostId(Uuid::now_v7());
        let facts = HostFacts {
            memory_bytes: 16 << 30,
            cpu: HostCpu { logical: 8, ..HostCpu::default() },
            store_total_bytes: 1 << 40,
            store_free_bytes: 1 << 40,
            accelerator: "tcg".into(),
            ..HostFacts::default()
        };
        let host = Host {
            id,
            name: name.into(),
            address: "127.0.0.1:1".into(),
            maintenance: false,
            certificate_sha256: String::new(),
            generation: 1,
            epoch: 1,
            facts,
            last_report_at: Some(wall_clock()),
            created_at: wall_clock(),
        };
        let mut tx = self.store.write().await.unwrap();
        virga_store::host::insert(&mut tx, &host).await.unwrap();
        tx.commit().await.unwrap();
        self.running.manager.heard.note(id, self.running.manager.steady());
        id
    }

    /// An account with roles; answers with an API token of it.
    pub async fn user(&self, name: &str, grants: &[(Role, Scope)]) -> String {
        make_user(&self.store, name, grants).await
    }

    /// A limited token of `admin`.
    pub async fn limited(&self, role: Option<Role>, scope: Option<Scope>) -> String {
        make_token(&self.store, "admin", role, scope).await
    }

    pub fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.running.api_addr.port())
    }

    /// A request with a token (none: without a credential), a body (null: none) and headers.
    pub async fn send(&self, method: &str, path: &str, token: &str, body: Value, headers: &[(&str, &str)]) -> Answer {
        let mut request = self.http.request(Method::from_bytes(method.as_bytes()).unwrap(), self.url(path));
        if !token.is_empty() {
            request = request.bearer_auth(token);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if !body.is_null() {
            request = request.json(&body);
        }
        answer(request.send().await.unwrap()).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &self.admin, Value::Null, &[]).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send("POST", path, &self.admin, body, &[]).await
    }

    /// Waits for the end of the task of a `202`, which must end well.
    #[track_caller]
    pub fn done(&self, accepted: Answer) -> impl Future<Output = Value> + '_ {
        let path = accepted.header("location").to_string();
        let body = accepted.body.clone();
        async move {
            assert!(path.starts_with("/v1/tasks/"), "{body:#}");
            let task = self.get(&format!("{path}?wait=60")).await.is(200).body;
            assert_eq!(task["state"], "succeeded", "{task:#}");
            task
        }
    }

    /// Makes a VM by `body` (a name and what else matters) and waits until it is there.
    pub async fn vm(&self, body: Value) -> Value {
        let name = body["name"].as_str().unwrap().to_string();
        let made = self.post("/v1/vms", body).await.is(202);
        self.done(made).await;
        self.get(&format!("/v1/vms/{name}")).await.is(200).body
    }

    /// Uploads content as an image.
    pub async fn upload(&self, name: &str, content: Vec<u8>, query: &str) -> Answer {
        let request = self.http.put(self.url(&format!("/v1/images/{name}/content{query}"))).bearer_auth(&self.admin).body(content);
        answer(request.send().await.unwrap()).await
    }

    /// Makes an image with content.
    pub async fn image(&self, name: &str, content: Vec<u8>) -> Value {
        self.post("/v1/images", serde_json::json!({ "name": name })).await.is(201);
        self.upload(name, content, "").await.is(200).body
    }
}

pub async fn answer(response: reqwest::Response) -> Answer {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await.unwrap();
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Answer { status, headers, body }
}

async fn make_user(store: &Store, name: &str, grants: &[(Role, Scope)]) -> String {
    let id = UserId(Uuid::now_v7());
    let user = User {
        id,
        name: name.into(),
        password_hash: quick_hash(PASSWORD),
        must_change: false,
        disabled: false,
        failures: 0,
        locked_until: None,
        generation: 1,
        created_at: wall_clock(),
    };
    let mut tx = store.write().await.unwrap();
    virga_store::user::insert(&mut tx, &user).await.unwrap();
    for (role, scope) in grants {
        let binding = RoleBinding { id: RoleBindingId(Uuid::now_v7()), user: id, role: *role, scope: *scope };
        virga_store::role_binding::insert(&mut tx, &binding).await.unwrap();
    }
    tx.commit().await.unwrap();
    make_token(store, name, None, None).await
}

async fn make_token(store: &Store, user: &str, role: Option<Role>, scope: Option<Scope>) -> String {
    let made = secret::generate(Kind::Token);
    let mut tx = store.write().await.unwrap();
    let user = virga_store::user::by_name(&mut tx, user).await.unwrap().unwrap();
    let now = wall_clock();
    let token = ApiToken {
        id: TokenId(Uuid::now_v7()),
        name: "test".into(),
        user: user.id,
        secret_sha256: made.sha256,
        role,
        scope,
        expires_at: Time(i64::MAX),
        used_at: Some(now),
        created_at: now,
    };
    virga_store::token::insert(&mut tx, &token).await.unwrap();
    tx.commit().await.unwrap();
    made.text
}

/// Waits until `f` is true.
pub async fn until<F, Fut>(what: &str, mut f: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    let begun = Instant::now();
    while !f().await {
        assert!(begun.elapsed() < Duration::from_secs(30), "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
