//! The world of the generated tests: two hosts, a victim with VMs, a task, events and a token, and one account for each
//! combination of roles, scopes and limits, with VMs of its own on both hosts.

use crate::oracle::{REACHES, Reach, Rights, VMS, VmFacts};
use crate::world::World;
use serde_json::json;
use std::collections::HashSet;
use uuid::Uuid;
use virga_manager::secret::{self, Kind};
use virga_manager::state::wall_clock;
use virga_model::event::{Event, Severity};
use virga_model::order::Progress;
use virga_model::role::{Administration, Role, RoleBinding, Scope};
use virga_model::snapshot::{Snapshot, SnapshotKind, SnapshotState};
use virga_model::task::{Cause, ObjectRef, Task, TaskDoc, TaskKind, TaskState};
use virga_model::user::{ApiToken, User};
use virga_model::vm::Vm;
use virga_model::{HostId, RoleBindingId, SnapshotId, TaskId, Time, TokenId, UserId, VmId};
use virga_store::Tx;

/// All names of objects have this length, so that refusals about two of them have the same one.
pub const NAME_LENGTH: usize = 16;

/// Somebody who calls.
pub struct Person {
    pub what: String,
    pub rights: Option<Rights>,
    pub token: String,
    /// Their own VMs, on the first and the second host.
    pub vms: [Named; 2],
    /// What they must never read.
    pub hidden: HashSet<String>,
}

/// An object's name and id.
#[derive(Clone, Debug, Default)]
pub struct Named {
    pub name: String,
    pub id: String,
}

pub struct Fixture {
    pub w: World,
    pub people: Vec<Person>,
    /// The victim's: on the first host, on the second, and the one that is granted singly.
    pub vms: [Named; 3],
    pub hosts: [Named; 2],
    pub task: String,
    pub token: String,
    pub victim: Named,
    pub victim_token: String,
    pub disk: String,
    pub nic: String,
    pub drive: String,
    pub image: String,
    pub binding: String,
}

fn padded(text: &str) -> String {
    let mut name = format!("cnry-{text}");
    while name.len() < NAME_LENGTH {
        name.push('x');
    }
    assert_eq!(name.len(), NAME_LENGTH, "{name}");
    name
}

/// A name that nothing has.
pub fn missing_name() -> String {
    padded("missing")
}

fn combinations() -> Vec<(String, Option<Rights>)> {
    let mut all = vec![("nobody".to_string(), None), ("without roles".into(), Some(Rights::default()))];
    let mut add = |grants: Vec<(&'static str, Reach)>, role_limit: Option<&'static str>, reach_limit: Option<Reach>| {
        let what = format!("{grants:?} limited to {role_limit:?} over {reach_limit:?}");
        all.push((what, Some(Rights { grants, role_limit, reach_limit })));
    };
    const ROLES: [&str; 8] = ["admin", "operator", "user", "viewer", "auditor", "system_admin", "security_admin", "audit_admin"];
    for role in ROLES {
        REACHES.into_iter().for_each(|reach| add(vec![(role, reach)], None, None));
        // A limited token of somebody who may everything.
        add(vec![("admin", Reach::All)], Some(role), None);
        for reach in
            [Reach::Own, Reach::FirstHost, Reach::SingleVm, Reach::OwnOnFirstHost].into_iter().filter(|_| ["admin", "operator", "user"].contains(&role))
        {
            add(vec![("admin", Reach::All)], Some(role), Some(reach));
        }
    }
    for (grant, limit) in REACHES.into_iter().flat_map(|a| REACHES.into_iter().map(move |b| (a, b))).filter(|(a, b)| a != b && *a != Reach::All) {
        add(vec![("operator", grant)], None, Some(limit));
    }
    add(vec![("user", Reach::Own), ("viewer", Reach::FirstHost)], None, None);
    add(vec![("user", Reach::Own), ("system_admin", Reach::All)], None, None);
    add(vec![("user", Reach::Own), ("auditor", Reach::All)], None, Some(Reach::Own));
    add(vec![("viewer", Reach::All), ("operator", Reach::FirstHost)], Some("operator"), Some(Reach::All));
    add(vec![("user", Reach::SingleVm), ("viewer", Reach::FirstHost)], Some("user"), None);
    all
}

/// Whether somebody with these rights can be there.
fn is_of(mode: Administration, rights: Option<&Rights>) -> bool {
    rights.is_none_or(|r| r.grants.iter().map(|(word, _)| *word).chain(r.role_limit).all(|word| mode.knows(role(word))))
}

fn scope(reach: Reach, host: HostId, single: VmId) -> Scope {
    match reach {
        Reach::All => Scope::All,
        Reach::Own => Scope::Own,
        Reach::FirstHost => Scope::Host(host),
        Reach::SingleVm => Scope::Vm(single),
        Reach::OwnOnFirstHost => Scope::OwnOnHost(host),
    }
}

fn role(word: &str) -> Role {
    serde_json::from_value(json!(word)).unwrap()
}

async fn account(tx: &mut Tx, name: &str) -> UserId {
    let id = UserId(Uuid::now_v7());
    let user = User {
        id,
        name: name.into(),
        password_hash: "no password".into(),
        must_change: false,
        disabled: false,
        failures: 0,
        locked_until: None,
        generation: 1,
        created_at: wall_clock(),
    };
    virga_store::user::insert(tx, &user).await.unwrap();
    id
}

async fn token(tx: &mut Tx, user: UserId, role: Option<Role>, scope: Option<Scope>) -> (TokenId, String) {
    let made = secret::generate(Kind::Token);
    let token = ApiToken {
        id: TokenId(Uuid::now_v7()),
        name: "generated".into(),
        user,
        secret_sha256: made.sha256,
        role,
        scope,
        expires_at: Time(i64::MAX),
        used_at: Some(wall_clock()),
        created_at: wall_clock(),
    };
    virga_store::token::insert(tx, &token).await.unwrap();
    (token.id, made.text)
}

/// A VM like `model`, of somebody, on a host.
async fn vm(tx: &mut Tx, model: &Vm, name: &str, owner: UserId, host: HostId, number: &mut u32) -> Named {
    *number += 1;
    let mut vm = Vm { id: VmId(Uuid::now_v7()), name: name.into(), owner, host: Some(host), placement: Some(format!("on {host}")), ..model.clone() };
    vm.spec.nics[0].mac = format!("52:54:00:{:02x}:{:02x}:{:02x}", *number >> 16, (*number >> 8) & 255, *number & 255);
    virga_store::vm::insert(tx, &vm).await.unwrap();
    snapshot(tx, &vm).await;
    Named { name: name.into(), id: vm.id.to_string() }
}

/// Every VM has a snapshot of this name.
pub const SNAPSHOT: &str = "snap";

async fn snapshot(tx: &mut Tx, vm: &Vm) {
    let row = Snapshot {
        id: SnapshotId(Uuid::now_v7()),
        vm: vm.id,
        name: SNAPSHOT.into(),
        note: String::new(),
        kind: SnapshotKind::Ordinary,
        state: SnapshotState::Ready,
        parent: None,
        layer: None,
        spec: vm.spec.clone(),
        generation: 1,
        created_at: vm.created_at,
        memory_bytes: None,
        paused_ms: None,
        schedule: None,
        scheduled_at: None,
    };
    virga_store::snapshot::insert(tx, &row).await.unwrap();
}

/// A task of the victim that has ended, with an error that names a host, and an event about its VM.
async fn history(tx: &mut Tx, victim: UserId, vm: &Named, host: &Named) -> String {
    let id = TaskId(Uuid::now_v7());
    let object = ObjectRef::Vm(vm.id.parse().unwrap());
    let task = Task {
        id,
        kind: TaskKind::VmStart,
        object,
        object_name: vm.name.clone(),
        cause: Cause::User,
        requester: Some(victim),
        state: TaskState::Failed,
        progress: Progress::default(),
        message: format!("failed on {}", vm.name),
        error: Some(virga_model::Error::conflict(format!("{} does not start.", vm.name))),
        cancel: false,
        parent: None,
        doc: TaskDoc::default(),
        lease_owner: None,
        lease_until: None,
        attempt: 0,
        not_before: Time(0),
        created_at: wall_clock(),
        started_at: Some(wall_clock()),
        ended_at: Some(wall_clock()),
    };
    virga_store::task::insert(tx, &task).await.unwrap();
    let about_vm = Event {
        id: 0,
        at: wall_clock(),
        kind: "vm.state_changed".into(),
        severity: Severity::Info,
        object,
        object_name: vm.name.clone(),
        owner: Some(victim),
        host: Some(host.id.parse().unwrap()),
        task: Some(id),
        message: format!("{} runs.", vm.name),
    };
    virga_store::event::append(tx, &about_vm).await.unwrap();
    let about_host = Event {
        object: ObjectRef::Host(host.id.parse().unwrap()),
        object_name: host.name.clone(),
        owner: None,
        kind: "host.changed".into(),
        task: None,
        message: format!("{} changed.", host.name),
        ..about_vm
    };
    virga_store::event::append(tx, &about_host).await.unwrap();
    id.to_string()
}

impl Fixture {
    /// A world that is administered so, with everybody whose roles there are then.
    pub async fn new(mode: Administration) -> Fixture {
        let w = World::bare().await;
        let mut tx = w.store.write().await.unwrap();
        virga_store::meta::set(&mut tx, "administration", &mode.to_string()).await.unwrap();
        tx.commit().await.unwrap();
        let hosts = [padded("host-1"), padded("host-2")];
        let ids = [w.host(&hosts[0]).await, w.host(&hosts[1]).await];
        let hosts = [0, 1].map(|i| Named { name: hosts[i].clone(), id: ids[i].to_string() });
        let image = w.image(&padded("image"), vec![7u8; 4096]).await["name"].as_str().unwrap().to_string();
        let made = w.vm(json!({"name": padded("template"), "disks": [{"size_bytes": 1 << 30}], "nics": [{"network": "nat"}], "cdroms": [""]})).await;
        let device = |list: &str| made["spec"][list][0]["id"].as_str().unwrap().to_string();
        let (disk, nic, drive) = (device("disks"), device("nics"), device("cdroms"));
        let mut tx = w.store.write().await.unwrap();
        let model = virga_store::vm::get(&mut tx, made["id"].as_str().unwrap().parse().unwrap()).await.unwrap().unwrap();
        let victim_name = padded("victim");
        let victim = account(&mut tx, &victim_name).await;
        let mut number = 0;
        let mut vms = Vec::new();
        for (name, host) in [("vm-on-1", 0), ("vm-on-2", 1), ("vm-single", 1)] {
            vms.push(vm(&mut tx, &model, &padded(name), victim, ids[host], &mut number).await);
        }
        let vms: [Named; 3] = vms.try_into().unwrap();
        let task = history(&mut tx, victim, &vms[0], &hosts[0]).await;
        let (victim_token_id, victim_token) = token(&mut tx, victim, None, None).await;
        let binding = RoleBinding { id: RoleBindingId(Uuid::now_v7()), user: victim, role: Role::User, scope: Scope::Own };
        virga_store::role_binding::insert(&mut tx, &binding).await.unwrap();
        tx.commit().await.unwrap();
        let mut f = Fixture {
            w,
            people: Vec::new(),
            vms,
            hosts,
            task,
            token: victim_token_id.to_string(),
            victim: Named { name: victim_name, id: victim.to_string() },
            victim_token,
            disk,
            nic,
            drive,
            image,
            binding: binding.id.to_string(),
        };
        f.fill(mode, &model, ids, number).await;
        f
    }

    /// An account for each combination.
    async fn fill(&mut self, mode: Administration, model: &Vm, hosts: [HostId; 2], mut number: u32) {
        let single: VmId = self.vms[2].id.parse().unwrap();
        for (i, (what, rights)) in combinations().into_iter().filter(|(_, r)| is_of(mode, r.as_ref())).enumerate() {
            let mut tx = self.w.store.write().await.unwrap();
            let (mut own, mut secret) = (Vec::new(), String::new());
            if let Some(r) = &rights {
                let user = account(&mut tx, &format!("person-{i}")).await;
                for (word, reach) in &r.grants {
                    let binding = RoleBinding { id: RoleBindingId(Uuid::now_v7()), user, role: role(word), scope: scope(*reach, hosts[0], single) };
                    virga_store::role_binding::insert(&mut tx, &binding).await.unwrap();
                }
                secret = token(&mut tx, user, r.role_limit.map(role), r.reach_limit.map(|r| scope(r, hosts[0], single))).await.1;
                for host in [0, 1] {
                    let name = padded(&format!("{i:03}-on-{}", host + 1));
                    own.push(vm(&mut tx, model, &name, user, hosts[host], &mut number).await);
                }
            }
            tx.commit().await.unwrap();
            let vms = own.try_into().unwrap_or_default();
            self.people.push(Person { what, rights, token: secret, vms, hidden: HashSet::new() });
        }
        for i in 0..self.people.len() {
            self.people[i].hidden = self.hidden_from(i);
        }
    }

    /// Every name and id that a person must never read.
    fn hidden_from(&self, me: usize) -> HashSet<String> {
        let nothing = Rights::default();
        let rights = self.people[me].rights.as_ref().unwrap_or(&nothing);
        let mut hidden = HashSet::new();
        let mut hide = |n: &Named, visible: bool| {
            if !visible && !n.name.is_empty() {
                hidden.extend([n.name.clone(), n.id.clone()]);
            }
        };
        for (i, p) in self.people.iter().enumerate() {
            for (named, host) in p.vms.iter().zip([1, 2]) {
                hide(named, rights.on_vm("vm_read", VmFacts { mine: i == me, host, single: false }));
            }
        }
        for (named, facts) in self.vms.iter().zip(&VMS[2..]) {
            hide(named, rights.on_vm("vm_read", *facts));
        }
        for (named, host) in self.hosts.iter().zip([1, 2]) {
            hide(named, rights.on_host("host_read", host));
        }
        let sees_a_vm_of_the_victim = VMS[2..].iter().any(|vm| rights.on_vm("vm_read", *vm));
        let sees_accounts = ["user_read", "user_manage", "audit_read"].iter().any(|p| rights.everywhere(p));
        hide(&self.victim, sees_a_vm_of_the_victim || sees_accounts);
        let sees_the_task = rights.on_vm("vm_read", VMS[2]);
        hide(&Named { name: self.task.clone(), id: self.task.clone() }, sees_the_task);
        hide(&Named { name: self.token.clone(), id: self.token.clone() }, rights.everywhere("user_manage"));
        hidden
    }
}
