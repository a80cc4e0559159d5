//! The requests: for every operation of the document, with the id of every object in every position where one can stand.
//!
//! Requests that pass are made so that they change nothing: with an `If-Match` that never fits, as a dry run, or with a
//! body that is refused after the rights were looked at.

use crate::oracle::{Object, VMS, VmFacts};
use crate::people::{Fixture, Named, Person, SNAPSHOT, missing_name};
use serde_json::{Value, json};
use virga_manager::http::authz;

/// A request, what it is about, and the one to which its answer must be equal when that is not visible.
#[derive(Clone, Debug)]
pub struct Cell {
    pub name: &'static str,
    pub method: &'static str,
    pub path: String,
    pub body: Value,
    pub object: Object,
    /// The name or id in it, when it is there to be compared with that of nothing.
    pub word: String,
    /// Cells of one family differ in the word only.
    pub family: u32,
    /// Of what the word is, so far as its visibility matters.
    pub about: About,
    pub key: Option<String>,
}

/// Of what a name or id is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    Nothing,
    Missing,
    Vm(VmFacts),
    Host(u8),
    Task(VmFacts),
    Token,
}

/// A name or id that nothing has.
const NO_ID: &str = "ffffffff-0000-4000-8000-00000000000f";

pub struct Cells<'a> {
    f: &'a Fixture,
    p: &'a Person,
    pub list: Vec<Cell>,
    families: u32,
    /// Whether objects are called by their ids, else by their names: the one half of the people, and the other.
    by_id: bool,
}

fn entry(name: &str) -> &'static str {
    authz::find(name).unwrap_or_else(|| panic!("{name} is not in the table")).name
}

fn quoted(text: &str) -> String {
    text.replace('%', "%25").replace(' ', "%20").replace('=', "%3D").replace('"', "%22").replace('~', "%7E")
}

impl<'a> Cells<'a> {
    /// All requests of a person.
    pub fn of(f: &'a Fixture, p: &'a Person, by_id: bool) -> Vec<Cell> {
        let mut c = Cells { f, p, list: Vec::new(), families: 0, by_id };
        c.plain();
        c.vms();
        c.hosts();
        c.others();
        c.schedules();
        c.lists();
        c.bodies();
        c.list
    }

    fn add(&mut self, name: &str, method: &'static str, path: &str, body: Value, object: Object) {
        let cell = Cell { name: entry(name), method, path: path.into(), body, object, word: String::new(), family: 0, about: About::Nothing, key: None };
        self.list.push(cell);
    }

    /// The same request with each of `words`; `make` puts the word into path and body.
    fn each(&mut self, name: &str, method: &'static str, words: &[(String, About, Object)], make: impl Fn(&str) -> (String, Value)) {
        self.families += 1;
        for (word, about, object) in words {
            let (path, body) = make(word);
            let (name, family) = (entry(name), self.families);
            self.list.push(Cell { name, method, path, body, object: *object, word: word.clone(), family, about: *about, key: None });
        }
    }

    /// Own and others' VMs and one that is not there: by name, or by id.
    fn vm_words(&self, by_id: bool, object: impl Fn(Option<VmFacts>) -> Object) -> Vec<(String, About, Object)> {
        let pick = |n: &Named| if by_id { n.id.clone() } else { n.name.clone() };
        let all = self.p.vms.iter().chain(&self.f.vms).zip(VMS).filter(|(n, _)| !n.name.is_empty());
        let mut words: Vec<_> = all.map(|(n, facts)| (pick(n), About::Vm(facts), object(Some(facts)))).collect();
        words.push((if by_id { NO_ID.into() } else { missing_name() }, About::Missing, object(None)));
        words
    }

    fn host_words(&self, by_id: bool, object: impl Fn(Option<u8>) -> Object) -> Vec<(String, About, Object)> {
        let pick = |n: &Named| if by_id { n.id.clone() } else { n.name.clone() };
        let mut words: Vec<_> = self.f.hosts.iter().zip([1, 2]).map(|(n, h)| (pick(n), About::Host(h), object(Some(h)))).collect();
        words.push((if by_id { NO_ID.into() } else { missing_name() }, About::Missing, object(None)));
        words
    }

    /// Operations without an object of their own.
    fn plain(&mut self) {
        let none = Object::Nothing;
        for (name, path) in [
            ("ping", "/v1/ping"),
            ("openapi", "/v1/openapi.json"),
            ("docs", "/docs"),
            ("system_view", "/v1/system"),
            ("metrics", "/metrics"),
            ("session_view", "/v1/session"),
            ("role_list", "/v1/roles"),
            ("audit_retention_view", "/v1/audit/retention"),
            ("audit_export", "/v1/audit/export?after=0"),
        ] {
            self.add(name, "GET", path, Value::Null, none);
        }
        self.add("session_delete", "DELETE", "/v1/session", Value::Null, none);
        self.add("password_change", "PUT", "/v1/session/password", json!({"current": "what it is now", "new": "another long one"}), none);
        self.add("audit_retention_update", "PUT", "/v1/audit/retention", json!({"days": 1}), none);
        self.add("host_join_token_create", "POST", "/v1/host-join-tokens", json!({"host_name": "h", "valid_s": 1}), none);
        self.add("image_create", "POST", "/v1/images", json!({"name": "!"}), none);
        self.add("network_create", "POST", "/v1/networks", json!({"name": "!", "spec": {"kind": "nat", "cidr": "10.0.0.0/24"}}), none);
        let spec = json!({"kind": "shared_directory", "path": "/srv/gold"});
        self.add("data_store_create", "POST", "/v1/data-stores", json!({"name": "!", "spec": spec}), none);
        self.add("user_create", "POST", "/v1/users", json!({"name": "!", "password": "x"}), none);
        self.add("token_create", "POST", "/v1/tokens", json!({"name": "t", "valid_s": 1}), none);
        self.add("schedule_create", "POST", "/v1/schedules", schedule("!"), none);
        self.add("console_connect", "GET", "/v1/consoles/vc_nothing", Value::Null, none);
    }

    fn vms(&mut self) {
        let (disk, nic, drive) = (self.f.disk.clone(), self.f.nic.clone(), self.f.drive.clone());
        let disk_body = json!({"size_bytes": 1u64 << 30});
        let operations: [(&str, &'static str, String, Value); 28] = [
            ("vm_view", "GET", String::new(), Value::Null),
            ("vm_stats", "GET", "/stats".into(), Value::Null),
            ("vm_screenshot", "GET", "/screenshot".into(), Value::Null),
            ("vm_console", "POST", "/consoles".into(), json!({"kind": "vnc"})),
            ("vm_update", "PATCH", "?dry_run=true".into(), json!({"description": "x"})),
            ("vm_delete", "DELETE", "?dry_run=true".into(), Value::Null),
            ("vm_power", "POST", "/power?dry_run=true".into(), json!({"action": "start"})),
            ("vm_disk_attach", "POST", "/disks?dry_run=true".into(), disk_body.clone()),
            ("vm_disk_update", "PATCH", format!("/disks/{disk}?dry_run=true"), json!({"size_bytes": 2u64 << 30})),
            ("vm_disk_reclaim", "POST", format!("/disks/{disk}/reclaim?dry_run=true"), Value::Null),
            ("vm_disk_detach", "DELETE", format!("/disks/{disk}?dry_run=true"), Value::Null),
            ("vm_disk_reattach", "POST", format!("/disks/{NO_ID}/attach?dry_run=true"), Value::Null),
            ("vm_media_change", "PUT", format!("/cdroms/{drive}?dry_run=true"), json!({})),
            ("vm_nic_attach", "POST", "/nics?dry_run=true".into(), json!({"network": "nat"})),
            ("vm_nic_update", "PATCH", format!("/nics/{nic}?dry_run=true"), json!({"link_up": false})),
            ("vm_nic_detach", "DELETE", format!("/nics/{nic}?dry_run=true"), Value::Null),
            ("vm_clone", "POST", "/clone?dry_run=true".into(), json!({"name": "generated"})),
            ("vm_refresh", "POST", "/refresh?dry_run=true".into(), Value::Null),
            ("vm_snapshot_list", "GET", "/snapshots".into(), Value::Null),
            ("vm_snapshot_create", "POST", "/snapshots?dry_run=true".into(), json!({"name": "x"})),
            ("vm_export_view", "GET", "/export".into(), Value::Null),
            ("vm_export_content", "GET", "/export/content".into(), Value::Null),
            ("vm_export_create", "POST", "/export?dry_run=true".into(), json!({})),
            ("vm_export_delete", "DELETE", "/export?dry_run=true".into(), Value::Null),
            ("vm_snapshot_view", "GET", format!("/snapshots/{SNAPSHOT}"), Value::Null),
            ("vm_snapshot_update", "PATCH", format!("/snapshots/{SNAPSHOT}"), json!({"note": "x"})),
            ("vm_snapshot_revert", "POST", format!("/snapshots/{SNAPSHOT}/revert?dry_run=true"), json!({})),
            ("vm_snapshot_delete", "DELETE", format!("/snapshots/{SNAPSHOT}?dry_run=true"), Value::Null),
        ];
        for (name, method, rest, body) in operations {
            let words = self.vm_words(self.by_id, Object::Vm);
            self.each(name, method, &words, |w| (format!("/v1/vms/{w}{rest}"), body.clone()));
        }
        // A VM that is no template is told to be none, to who may see it.
        for (name, method, rest, body) in [
            ("template_view", "GET", "", Value::Null),
            ("template_update", "PATCH", "?dry_run=true", json!({"description": "x"})),
            ("template_delete", "DELETE", "?dry_run=true", Value::Null),
            ("template_deploy", "POST", "/deploy?dry_run=true", json!({"name": "generated"})),
            ("template_convert", "POST", "/convert?dry_run=true", Value::Null),
        ] {
            let words = self.vm_words(self.by_id, Object::Vm);
            self.each(name, method, &words, |w| (format!("/v1/templates/{w}{rest}"), body.clone()));
        }
    }

    fn hosts(&mut self) {
        for by_id in [false, true] {
            for (name, method, rest, body) in [
                ("host_view", "GET", "", Value::Null),
                ("host_stats", "GET", "/stats", Value::Null),
                ("host_update", "PATCH", "", json!({"maintenance": true})),
                ("host_delete", "DELETE", "", Value::Null),
            ] {
                let words = self.host_words(by_id, Object::Host);
                self.each(name, method, &words, |w| (format!("/v1/hosts/{w}{rest}"), body.clone()));
            }
        }
    }

    /// Objects that are looked at over the whole installation, tasks and tokens.
    fn others(&mut self) {
        let none = Object::Nothing;
        let (image, victim, binding) = (self.f.image.clone(), self.f.victim.clone(), self.f.binding.clone());
        for word in [image.as_str(), NO_ID, &missing_name()] {
            self.add("image_delete", "DELETE", &format!("/v1/images/{word}"), Value::Null, none);
            self.add("image_upload", "PUT", &format!("/v1/images/{word}/content"), json!("x"), none);
            self.add("image_fetch", "POST", &format!("/v1/images/{word}/fetch"), json!({"url": "https://192.0.2.1/x"}), none);
            self.add("image_view", "GET", &format!("/v1/images/{word}"), Value::Null, none);
        }
        for word in ["nat", NO_ID, &missing_name()] {
            self.add("network_view", "GET", &format!("/v1/networks/{word}"), Value::Null, none);
            self.add("network_delete", "DELETE", &format!("/v1/networks/{word}"), Value::Null, none);
        }
        for word in [NO_ID, &missing_name()] {
            self.add("data_store_view", "GET", &format!("/v1/data-stores/{word}"), Value::Null, none);
            self.add("data_store_update", "PATCH", &format!("/v1/data-stores/{word}"), json!({"maintenance": true}), none);
            self.add("data_store_delete", "DELETE", &format!("/v1/data-stores/{word}"), Value::Null, none);
        }
        for word in [victim.name.as_str(), &victim.id, NO_ID, &missing_name()] {
            self.add("user_view", "GET", &format!("/v1/users/{word}"), Value::Null, none);
            self.add("user_update", "PATCH", &format!("/v1/users/{word}"), json!({"disabled": true}), none);
            self.add("user_delete", "DELETE", &format!("/v1/users/{word}"), Value::Null, none);
        }
        self.add("role_binding_delete", "DELETE", &format!("/v1/role-bindings/{NO_ID}"), Value::Null, none);
        if !self.may_everywhere("user_manage") {
            self.add("role_binding_delete", "DELETE", &format!("/v1/role-bindings/{binding}"), Value::Null, none);
        }
        let task = [(self.f.task.clone(), About::Task(VMS[2]), Object::Task(Some(VMS[2]))), (NO_ID.to_string(), About::Missing, Object::Task(None))];
        self.each("task_view", "GET", &task, |w| (format!("/v1/tasks/{w}"), Value::Null));
        self.each("task_cancel", "POST", &task, |w| (format!("/v1/tasks/{w}/cancel"), Value::Null));
        let mut tokens = vec![(NO_ID.to_string(), About::Missing, Object::Token(false))];
        if !self.may_everywhere("user_manage") {
            tokens.push((self.f.token.clone(), About::Token, Object::Token(true)));
        }
        self.each("token_delete", "DELETE", &tokens, |w| (format!("/v1/tokens/{w}"), Value::Null));
    }

    /// Schedules that are not there: others' are not told from them (tests/api).
    fn schedules(&mut self) {
        let missing = [(NO_ID.to_string(), About::Missing, Object::Token(false)), (missing_name(), About::Missing, Object::Token(false))];
        self.each("schedule_view", "GET", &missing, |w| (format!("/v1/schedules/{w}"), Value::Null));
        self.each("schedule_update", "PATCH", &missing, |w| (format!("/v1/schedules/{w}"), json!({"enabled": false})));
        self.each("schedule_run", "POST", &missing, |w| (format!("/v1/schedules/{w}/run"), Value::Null));
        self.each("schedule_delete", "DELETE", &missing, |w| (format!("/v1/schedules/{w}"), Value::Null));
    }

    fn may_everywhere(&self, privilege: &str) -> bool {
        self.p.rights.as_ref().is_some_and(|r| r.everywhere(privilege))
    }

    /// Lists: whole, with every parameter that can look at what is not shown, and searched by foreign names.
    fn lists(&mut self) {
        let none = Object::Nothing;
        let victim = self.f.victim.name.clone();
        for (name, path, sorts) in [
            ("vm_list", "/v1/vms", "name -created_at owner host state"),
            ("template_list", "/v1/templates", "name -created_at"),
            ("host_list", "/v1/hosts", "name"),
            ("task_list", "/v1/tasks", "-created_at object"),
            ("event_list", "/v1/events", "id object"),
            ("image_list", "/v1/images", "name"),
            ("network_list", "/v1/networks", "name"),
            ("data_store_list", "/v1/data-stores", "name host"),
            ("user_list", "/v1/users", "name"),
            ("token_list", "/v1/tokens", "name user"),
            ("schedule_list", "/v1/schedules", "name -next_at owner"),
            ("role_binding_list", "/v1/role-bindings", "user role"),
            ("audit_list", "/v1/audit", "-id actor"),
            ("audit_anchor_list", "/v1/audit/anchors", "seq"),
        ] {
            self.add(name, "GET", &format!("{path}?limit=1000&total=true"), Value::Null, none);
            self.add(name, "GET", &format!("{path}?fields=id,name,object,owner,host"), Value::Null, none);
            for sort in sorts.split_whitespace() {
                self.add(name, "GET", &format!("{path}?sort={sort}&limit=2"), Value::Null, none);
            }
        }
        self.add("vm_list", "GET", &format!("/v1/vms?filter={}", quoted(&format!("owner = {victim}"))), Value::Null, none);
        self.add("task_list", "GET", &format!("/v1/tasks?filter={}", quoted("state = failed")), Value::Null, none);
        let by_id = self.by_id;
        let words = self.vm_words(by_id, |_| none);
        let filters: [(&str, &str, &str); 5] = [
            ("vm_list", "/v1/vms", if by_id { "id = " } else { "name = " }),
            ("vm_list", "/v1/vms", if by_id { "not id != " } else { "name ~ " }),
            ("task_list", "/v1/tasks", "object = "),
            ("event_list", "/v1/events", "object = "),
            ("audit_list", "/v1/audit", "object = "),
        ];
        for (name, path, condition) in filters {
            self.each(name, "GET", &words, |w| (format!("{path}?total=true&filter={}", quoted(&format!("{condition}{w}"))), Value::Null));
        }
        let words = self.host_words(by_id, |_| none);
        for (name, path, condition) in [("vm_list", "/v1/vms", "host = "), ("event_list", "/v1/events", "object = ")] {
            self.each(name, "GET", &words, |w| (format!("{path}?total=true&filter={}", quoted(&format!("{condition}{w}"))), Value::Null));
        }
        let key = if by_id { "id = " } else { "name = " };
        self.each("host_list", "GET", &words, |w| (format!("/v1/hosts?total=true&filter={}", quoted(&format!("{key}{w}"))), Value::Null));
    }

    /// Ids in bodies.
    fn bodies(&mut self) {
        let none = Object::Nothing;
        let by_id = self.by_id;
        let vms = self.vm_words(by_id, |_| none);
        let own = self.p.vms[0].name.clone();
        for action in ["start", "delete"] {
            self.each("vm_batch", "POST", &vms, |w| ("/v1/vm-batches?dry_run=true".into(), json!({"action": action, "vms": [w]})));
            let with_own = |w: &str| ("/v1/vm-batches?dry_run=true".into(), json!({"action": action, "vms": [own, w, own]}));
            let others: Vec<_> = vms.iter().filter(|(w, ..)| *w != own).cloned().collect();
            self.each("vm_batch", "POST", &others, with_own);
        }
        let by = |w: &str| ("/v1/vm-batches?dry_run=true".into(), json!({"action": "start", "filter": format!("{} = {w}", if by_id { "id" } else { "name" })}));
        self.each("vm_batch", "POST", &vms, by);
        let hosts = self.host_words(by_id, Object::NewVm);
        self.each("vm_create", "POST", &hosts, |w| ("/v1/vms?dry_run=true".into(), json!({"name": "generated", "host": w})));
        self.add("template_create", "POST", "/v1/templates?dry_run=true", json!({"name": "generated", "vm": missing_name()}), none);
        self.add("vm_create", "POST", "/v1/vms?dry_run=true", json!({"name": "generated", "memory_bytes": 1u64 << 42}), Object::NewVm(None));
        self.add("vm_create", "POST", "/v1/vms?dry_run=true", json!({"name": "generated", "nics": [{"network": missing_name()}]}), Object::NewVm(None));
        self.add("vm_import", "POST", "/v1/vm-imports?dry_run=true", json!({"package": missing_name()}), Object::NewVm(None));
        let victim = self.f.victim.clone();
        for user in [victim.name.as_str(), &victim.id, &missing_name()] {
            let scopes = [json!({"scope": "host", "id": NO_ID}), json!({"scope": "vm", "id": NO_ID}), json!({"scope": "own_on_host", "id": NO_ID})];
            for scope in scopes {
                self.add("role_binding_create", "POST", "/v1/role-bindings", json!({"user": user, "role": "user", "scope": scope}), none);
            }
        }
        // The victim's key and body: what was answered to the victim is answered to nobody else.
        self.add("vm_create", "POST", "/v1/vms?dry_run=true", replayed(), Object::NewVm(None));
        if let Some(last) = self.list.last_mut() {
            last.key = Some(REPLAY_KEY.into());
        }
    }
}

/// A schedule of that name.
pub fn schedule(name: &str) -> Value {
    json!({"name": name, "selector": {"env": "prod"}, "rule": {"every": "hours", "hours": 6}, "time_zone": "UTC", "work": {"do": "snapshot"}, "keep": {"count": 3}})
}

/// The key of a request of the victim that others repeat.
pub const REPLAY_KEY: &str = "the-key-of-the-victim";

/// Its body.
pub fn replayed() -> Value {
    json!({"name": "replayed", "cpus": 1})
}
