//! What the suites share: the engines they run on, and small valid objects.
#![allow(dead_code, reason = "each suite uses a part")]

use std::collections::BTreeMap;
use uuid::Uuid;
use virga_model::event::{AuditRecord, Event, Severity};
use virga_model::filter::parse;
use virga_model::host::{Host, HostFacts};
use virga_model::image::{Image, ImageFormat, ImageState};
use virga_model::network::{Network, NetworkSpec};
use virga_model::role::Visible;
use virga_model::task::{Cause, ObjectRef, Task, TaskDoc, TaskKind, TaskState};
use virga_model::user::User;
use virga_model::vm::{Desired, DiskBus, DiskCache, DiskSpec, NicModel, NicSpec, Observed, StopMode, Vm, VmSpec};
use virga_model::{HostId, ImageId, NetworkId, TaskId, Time, UserId, VmId};
use virga_store::{Page, SortKey, Store, StoreError, Tx, host, image, network, user, vm};

pub mod postgres;

/// One empty database of each engine; no suite knows which it runs on.
pub async fn stores() -> Vec<Store> {
    vec![Store::memory().await.unwrap(), Store::open(&postgres::empty_database()).await.unwrap()]
}

pub const NOW: Time = Time(1_800_000_000_000_000);

pub fn id<T: From<Uuid>>(n: u128) -> T {
    Uuid::from_u128(n).into()
}

pub fn all() -> Visible {
    Visible::everything()
}

pub fn nothing() -> Visible {
    Visible { all: false, owner: None, owner_on: None, hosts: vec![], vms: vec![], kinds: Vec::new(), vm_hosts: Vec::new() }
}

pub fn page(filter: &str) -> Page {
    let filter = if filter.is_empty() { None } else { Some(parse(filter).unwrap()) };
    Page { limit: 1000, filter, ..Page::default() }
}

pub fn sorted(field: &str, descending: bool, limit: u32) -> Page {
    Page { limit, sort: vec![SortKey { field: field.into(), descending }], ..Page::default() }
}

pub fn user_row(n: u128, name: &str) -> User {
    User {
        id: id(n),
        name: name.into(),
        password_hash: "$argon2id$x".into(),
        must_change: true,
        disabled: false,
        failures: 0,
        locked_until: None,
        generation: 1,
        created_at: NOW,
    }
}

pub fn host_row(n: u128, name: &str) -> Host {
    Host {
        id: id(n),
        name: name.into(),
        address: format!("{name}:7000"),
        maintenance: false,
        certificate_sha256: "ab".into(),
        generation: 1,
        epoch: 1,
        facts: HostFacts { host_name: name.into(), memory_bytes: 8 << 30, ..HostFacts::default() },
        last_report_at: None,
        created_at: NOW,
    }
}

pub fn image_row(n: u128, name: &str) -> Image {
    Image {
        id: id(n),
        name: name.into(),
        format: Some(ImageFormat::Qcow2),
        size_bytes: 1 << 30,
        virtual_bytes: 4 << 30,
        sha256: "cd".into(),
        state: ImageState::Ready,
        generation: 1,
        created_at: NOW,
        part: None,
        package: None,
    }
}

pub fn network_row(n: u128, name: &str) -> Network {
    Network { id: id(n), name: name.into(), spec: NetworkSpec::Nat { cidr: "192.168.200.0/24".into() }, generation: 1, deleting: false, created_at: NOW }
}

pub fn spec(cpus: u32, memory_mib: u64) -> VmSpec {
    let mut s: VmSpec = serde_json::from_value(serde_json::json!({"cpu": {"count": cpus}, "memory": {"bytes": memory_mib << 20}})).unwrap();
    s.normalize();
    s
}

pub fn disk(n: u128, image: Option<ImageId>) -> DiskSpec {
    DiskSpec {
        id: id(n),
        size_bytes: 10 << 30,
        image,
        bus: DiskBus::Virtio,
        cache: DiskCache::None,
        mode: Default::default(),
        limits: Default::default(),
        origin: None,
        copy_of: None,
        provisioning: Default::default(),
        format: Default::default(),
        discard: Default::default(),
        sharing: Default::default(),
        store: None,
    }
}

pub fn nic(n: u128, network: NetworkId, mac: &str) -> NicSpec {
    NicSpec { id: id(n), network, model: NicModel::Virtio, mac: mac.into(), link_up: true }
}

pub fn vm_row(n: u128, name: &str, owner: UserId) -> Vm {
    Vm {
        id: id(n),
        name: name.into(),
        description: "a \"test\"".into(),
        labels: BTreeMap::new(),
        owner,
        spec: spec(1, 256),
        former_spec: None,
        desired: Desired::Stopped,
        stop_mode: StopMode::Graceful,
        generation: 1,
        host: None,
        placement: None,
        observed: Observed::default(),
        created_at: NOW,
        updated_at: NOW,
    }
}

pub fn task_row(n: u128, object: ObjectRef) -> Task {
    Task {
        id: id(n),
        kind: TaskKind::VmStart,
        object,
        object_name: "web".into(),
        cause: Cause::User,
        requester: None,
        state: TaskState::Queued,
        progress: Default::default(),
        message: "waiting".into(),
        error: None,
        cancel: false,
        parent: None,
        doc: TaskDoc { timeout_s: 60, ..TaskDoc::default() },
        lease_owner: None,
        lease_until: None,
        attempt: 0,
        not_before: Time(0),
        created_at: NOW.plus_seconds(n as i64 % 1000),
        started_at: None,
        ended_at: None,
    }
}

pub fn event_row(object: ObjectRef, kind: &str) -> Event {
    Event {
        id: 0,
        at: NOW,
        kind: kind.into(),
        severity: Severity::Info,
        object,
        object_name: "web".into(),
        owner: None,
        host: None,
        task: Some(id::<TaskId>(9)),
        message: "it happened".into(),
    }
}

pub fn audit_row(operation: &str) -> AuditRecord {
    AuditRecord {
        id: 0,
        at: NOW,
        user: Some(id(1)),
        actor: "anna".into(),
        source: "192.0.2.7".into(),
        operation: operation.into(),
        object: ObjectRef::System,
        object_name: "installation".into(),
        result: "ok".into(),
        request_id: "r-1".into(),
        detail: String::new(),
    }
}

pub const ANNA: u128 = 1;
pub const BERT: u128 = 2;
pub const H1: u128 = 11;
pub const H2: u128 = 12;
pub const I1: u128 = 21;
pub const I2: u128 = 22;
pub const N1: u128 = 31;
pub const N2: u128 = 32;

pub fn anna() -> UserId {
    id(ANNA)
}

pub fn h1() -> HostId {
    id(H1)
}

pub fn vm_id(n: u128) -> VmId {
    id(n)
}

/// Two users, two hosts, two images, two networks.
pub async fn world(tx: &mut Tx) {
    user::insert(tx, &user_row(ANNA, "anna")).await.unwrap();
    user::insert(tx, &user_row(BERT, "bert")).await.unwrap();
    host::insert(tx, &host_row(H1, "host-1")).await.unwrap();
    host::insert(tx, &host_row(H2, "host-2")).await.unwrap();
    image::insert(tx, &image_row(I1, "debian")).await.unwrap();
    image::insert(tx, &image_row(I2, "tools")).await.unwrap();
    network::insert(tx, &network_row(N1, "lan")).await.unwrap();
    network::insert(tx, &network_row(N2, "dmz")).await.unwrap();
}

/// Names of the VMs that `filter` leaves, by name.
pub async fn names(tx: &mut Tx, filter: &str, visible: &Visible) -> Vec<String> {
    let paged = vm::list(tx, &page(filter), vm::Listed::All, visible).await.unwrap_or_else(|e| panic!("{filter}: {e}"));
    paged.items.into_iter().map(|v| v.name).collect()
}

/// What `f` is refused with, in a transaction of its own after the end of `tx`, which is a new one then: a transaction
/// in which the database refused something can only be dropped.
pub async fn refused<T: std::fmt::Debug>(store: &Store, tx: &mut Tx, f: impl AsyncFnOnce(&mut Tx) -> Result<T, StoreError>) -> StoreError {
    let before = std::mem::replace(tx, store.read().await.unwrap());
    before.commit().await.unwrap();
    *tx = store.write().await.unwrap();
    let e = f(tx).await.unwrap_err();
    *tx = store.read().await.unwrap();
    *tx = store.write().await.unwrap();
    e
}
