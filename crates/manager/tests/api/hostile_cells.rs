//! Hostile values in every position of every operation: path, query, headers and each field of each body, made from the
//! OpenAPI document itself (`reliability.md` 2.8 T5 and T7, 2.10 J1 to J7).
//!
//! For each cell: never a 5xx; a problem body that names the field; nothing of a hostile value comes back but a short,
//! printable piece; and what was refused has changed nothing: the digest of all tables is the same as before.

use crate::hostile_document::{Document, LEAF, Operation, Place, Position, Step};
use crate::hostile_values::{self as values, Hostile};
use crate::world::{Answer, World};
use futures::future::join_all;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;
use virga_model::name::printable;

/// Cells under way at the same time.
const BATCH: usize = 32;
/// Callers, so that no limit of one address or account is met.
const CALLERS: usize = 24;
/// Longest answer to a refused request.
const ANSWER_BYTES_MAX: usize = 8_000;
/// What may change at any time without being a change.
const SKIP: [&str; 11] = [
    "manager",
    "audit",
    "audit_anchor",
    "counter",
    "idempotency",
    "loop_lease",
    "session.used_at",
    "api_token.used_at",
    "host.last_report_at",
    "account.failures",
    "account.locked_until",
];

/// One request, and what must come of it.
#[derive(Clone)]
struct Cell {
    operation: usize,
    what: String,
    path: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Option<(String, Vec<u8>)>,
    refuse: bool,
    /// Some field with this name must be among the violations of a 400 or 422.
    field: Option<String>,
}

struct Fixture {
    w: World,
    document: Document,
    operations: Vec<Operation>,
    callers: Vec<(Client, String)>,
    known: HashMap<String, Value>,
    next: AtomicUsize,
    nonce: AtomicU32,
}

impl Fixture {
    async fn new() -> Fixture {
        let w = World::new().await;
        let document = Document::read();
        let operations = document.operations();
        let mut known: HashMap<String, Value> = HashMap::new();
        let iso = virga_tests::images::iso();
        let image = w.image("img", vec![0; 1 << 20]).await;
        w.image("iso", iso).await;
        let descriptor = virga_tests::images::ova::VMWARE.replace("VM Network", "nat").replace("vmw:value=\"efi\"", "vmw:value=\"bios\"");
        let package = virga_tests::images::ova::package("x", &descriptor, &[("x-disk1.vmdk", virga_tests::images::ova::disk())], None);
        let package = w.image("package", package).await;
        let vm = w.vm(json!({"name": "target", "disks": [{"size_bytes": 1 << 30}], "nics": [{"network": "nat"}], "cdroms": ["iso"]})).await;
        let taken = w.post("/v1/vms/target/snapshots", json!({"name": "snap"})).await.is(202);
        w.vm(json!({"name": "golden", "disks": [{"size_bytes": 1 << 30}]})).await;
        let converted = w.post("/v1/templates", json!({"vm": "golden", "convert": true})).await.is(202);
        let template = converted.body["vms"][0]["id"].clone();
        w.done(converted).await;
        let snapshot = taken.body["object"]["id"].clone();
        w.done(taken).await;
        w.user("bob", &[]).await;
        let task = w.get("/v1/tasks?limit=1").await.is(200).body["items"][0]["id"].clone();
        let id = |v: Value| v["id"].clone();
        for (name, v) in [
            ("vm", id(vm.clone())),
            ("disk", vm["spec"]["disks"][0]["id"].clone()),
            ("cdrom", vm["spec"]["cdroms"][0]["id"].clone()),
            ("nic", vm["spec"]["nics"][0]["id"].clone()),
            ("image", id(image)),
            ("package", id(package)),
            ("snapshot", snapshot),
            ("template", template),
            ("host", id(w.get("/v1/hosts/h1").await.body)),
            ("network", id(w.get("/v1/networks/nat").await.body)),
            ("data_store", id(w.get("/v1/data-stores/local-h1").await.body)),
            ("task", task),
            ("ticket", json!("vc_x")),
        ] {
            known.insert(name.into(), v);
        }
        let mut callers = Vec::new();
        for i in 0..CALLERS {
            let ca = reqwest::Certificate::from_pem(&std::fs::read(w.dir.path().join("ca.pem")).unwrap()).unwrap();
            let address = IpAddr::V4(Ipv4Addr::new(127, 0, 1, u8::try_from(i).unwrap() + 1));
            let client = Client::builder()
                .tls_certs_only([ca])
                .local_address(address)
                .pool_idle_timeout(Duration::from_secs(2))
                .timeout(Duration::from_secs(120))
                .build()
                .unwrap();
            callers.push((client, w.limited(None, None).await));
        }
        let mut f = Fixture { w, document, operations, callers, known, next: AtomicUsize::new(0), nonce: AtomicU32::new(0) };
        f.renew().await;
        f
    }

    /// Makes anew what a legal removal may have taken.
    async fn renew(&mut self) {
        let n = self.nonce.fetch_add(1, Ordering::Relaxed);
        let user = self.w.post("/v1/users", json!({"name": format!("u{n}"), "password": "correct horse battery staple"})).await.is(201).body["id"].clone();
        let grant = json!({"user": user, "role": "viewer", "scope": {"scope": "all"}});
        let binding = self.w.post("/v1/role-bindings", grant).await.is(201).body["id"].clone();
        let token = self.w.post("/v1/tokens", json!({"name": "t", "valid_s": 3600})).await.is(201).body["token"]["id"].clone();
        let spare = self.w.post("/v1/images", json!({"name": format!("spare{n}")})).await.is(201).body["id"].clone();
        // At rest, so that nothing changes by itself.
        let schedule = json!({
            "name": format!("schedule{n}"), "selector": {"env": "prod"}, "rule": {"every": "hours", "hours": 6}, "time_zone": "UTC",
            "work": {"do": "snapshot"}, "keep": {"count": 3}, "enabled": false
        });
        let schedule = self.w.post("/v1/schedules", schedule).await.is(201).body["id"].clone();
        self.known.insert("schedule".into(), schedule);
        let network = json!({"name": format!("net{n}"), "spec": {"kind": "ovs", "bridge": format!("b{n}")}});
        let network = self.w.post("/v1/networks", network).await.is(201).body["id"].clone();
        self.known.extend([("user", user), ("binding", binding), ("token", token), ("spare", spare), ("network", network)].map(|(k, v)| (k.to_string(), v)));
    }

    /// Values that are right in this installation, for a field of a body.
    fn right(&self, field: &str) -> Option<Value> {
        Some(match field {
            "name" | "host_name" => json!(format!("n{}", self.nonce.fetch_add(1, Ordering::Relaxed))),
            "password" | "new" => json!("correct horse battery staple"),
            // No two networks may overlap.
            "cidr" => {
                let n = self.nonce.fetch_add(1, Ordering::Relaxed);
                json!(format!("10.{}.{}.0/24", n / 250 % 250, n % 250))
            }
            "bridge" => json!("br0"),
            // No two data stores may lie in each other.
            "path" => json!(format!("/srv/s{}", self.nonce.fetch_add(1, Ordering::Relaxed))),
            "data_store" => json!("local"),
            // An address from which nothing is fetched: nothing leaves the machine.
            "url" => json!("https://192.0.2.1/image.qcow2"),
            "sha256" => json!("0".repeat(64)),
            "size_bytes" => json!(2u64 << 30),
            "vms" => json!([self.known["vm"]]),
            "valid_s" => json!(3600),
            "time_zone" => json!("Europe/Berlin"),
            "enabled" => json!(false),
            "keep" => json!({"count": 3}),
            "rule" => json!({"every": "day", "at": ["02:30"]}),
            "network" | "user" | "package" => self.known[field].clone(),
            _ => return None,
        })
    }

    /// The path with right parameters, but for `other`.
    fn path(&self, o: &Operation, other: Option<(&str, &str)>) -> String {
        let mut path = o.path.clone();
        for p in o.of(Place::Path) {
            let name = match (o.id.as_str(), p.name.as_str()) {
                ("vm_media_change", "disk") => "cdrom",
                ("image_delete" | "image_upload" | "image_fetch", "image") => "spare",
                (_, name) => name,
            };
            let right = self.known.get(name).unwrap_or_else(|| panic!("{}: give the fixture a right value for the path parameter {name}", o.id));
            let value = match other {
                Some((n, v)) if n == p.name => v.to_string(),
                _ => right.as_str().unwrap().to_string(),
            };
            path = path.replace(&format!("{{{}}}", p.name), &value);
        }
        path
    }

    /// The query of a cell: whatever can be a dry run is one, unless that is the parameter in question.
    fn query(&self, o: &Operation, own: &[String]) -> String {
        let mut parts = own.to_vec();
        if o.has("dry_run") && !own.iter().any(|p| p.starts_with("dry_run=")) {
            parts.push("dry_run=true".into());
        }
        if parts.is_empty() { String::new() } else { format!("?{}", parts.join("&")) }
    }

    fn right_body(&self, o: &Operation) -> Option<(String, Vec<u8>)> {
        let known = |f: &str| self.right(f);
        if let Some(schema) = &o.body {
            return Some(("application/json".into(), self.document.example(schema, "", &known).to_string().into_bytes()));
        }
        o.streams.then(|| ("application/octet-stream".into(), vec![0; 2048]))
    }

    fn cell(&self, i: usize, what: impl Into<String>, refuse: bool) -> Cell {
        let o = &self.operations[i];
        let path = format!("{}{}", self.path(o, None), self.query(o, &[]));
        Cell { operation: i, what: what.into(), path, headers: Vec::new(), body: self.right_body(o), refuse, field: None }
    }

    fn field_cell(&self, i: usize, p: &Position, h: &Hostile) -> Cell {
        let schema = self.operations[i].body.as_ref().unwrap();
        let known = |f: &str| self.right(f);
        let mut whole = self.document.body(schema, "", &p.steps, false, &known);
        self.complete(&self.operations[i], &p.name(), &mut whole);
        let text = whole.to_string();
        let (before, after) = text.split_once(&format!("\"{LEAF}\"")).unwrap();
        let body = [before.as_bytes(), &h.raw, after.as_bytes()].concat();
        let mut c = self.cell(i, format!("{} = {}", p.name(), h.what), h.refuse);
        c.body = Some(("application/json".into(), body));
        // What is left out makes another field needed, and that one is named.
        let left_out = h.what == "null" && !p.required;
        c.field = (!h.no_json && !left_out).then(|| p.name());
        // A list may be empty.
        c.refuse &= !(h.what == "nothing" && p.steps.last() == Some(&Step::Item));
        c
    }

    /// Fields that only go together with others.
    fn complete(&self, o: &Operation, field: &str, body: &mut Value) {
        let last = field.rsplit('.').next().unwrap_or_default();
        let disk = if o.id == "vm_disk_attach" { Some(&mut *body) } else { body.get_mut("disks").and_then(|d| d.get_mut(0)).filter(|d| d.is_object()) };
        if let Some(disk) = disk.filter(|_| matches!(last, "bus" | "cache" | "image" | "provisioning" | "format" | "discard" | "sharing")) {
            disk["size_bytes"] = json!(2u64 << 30);
        }
        // A password must come, or a link to set one.
        if o.id == "user_create" && field != "password" {
            body["password"] = json!("correct horse battery staple");
        }
        // One VM, or those with labels.
        if o.id == "schedule_create" && !["vm", "selector"].iter().any(|f| field.starts_with(f)) {
            body["vm"] = self.known["vm"].clone();
        }
        if o.id != "vm_batch" {
            return;
        }
        if !["filter", "vms"].iter().any(|f| field.starts_with(f)) {
            body["vms"] = json!([self.known["vm"]]);
        }
        if field.starts_with("update") {
            body["action"] = json!("update");
        }
    }

    async fn send(&self, c: &Cell) -> (u16, Vec<u8>, String) {
        let o = &self.operations[c.operation];
        let (client, token) = &self.callers[self.next.fetch_add(1, Ordering::Relaxed) % self.callers.len()];
        let mut r = client.request(Method::from_bytes(o.method.as_bytes()).unwrap(), self.w.url(&c.path));
        if !c.headers.iter().any(|(n, _)| n == "authorization") {
            r = r.bearer_auth(token);
        }
        for (n, v) in &c.headers {
            r = r.header(n.as_str(), reqwest::header::HeaderValue::from_bytes(v).unwrap());
        }
        if let Some((kind, body)) = &c.body {
            if !kind.is_empty() {
                r = r.header("content-type", kind);
            }
            r = r.body(body.clone());
        }
        let again = r.try_clone();
        let mut answer = r.send().await;
        // The server may have closed the connection just when it was taken from the pool.
        if let (Err(_), Some(again)) = (&answer, again) {
            answer = again.send().await;
        }
        let response = match answer {
            Ok(response) => response,
            // A server may close the connection on a body that it will not read.
            Err(e) if c.body.as_ref().is_some_and(|(_, b)| b.len() > 1 << 20) => return (413, Vec::new(), e.to_string()),
            Err(e) => panic!("{} {}: {e:?}", o.id, c.what),
        };
        let status = response.status().as_u16();
        let location = response.headers().get("location").and_then(|l| l.to_str().ok()).unwrap_or_default().to_string();
        let stream = response.headers().get("content-type").is_some_and(|t| t.as_bytes().starts_with(b"text/event-stream"));
        // A stream has no end.
        let body = if stream { Vec::new() } else { response.bytes().await.map(|b| b.to_vec()).unwrap_or_default() };
        (status, body, location)
    }

    async fn digest(&self) -> BTreeMap<String, String> {
        let mut tx = self.w.store.read().await.unwrap();
        virga_store::fingerprint::tables(&mut tx, &SKIP).await.unwrap()
    }

    /// Runs cells; gives what is wrong.
    async fn run(&mut self, cells: Vec<Cell>) -> Vec<String> {
        let mut faults = Vec::new();
        for batch in cells.chunks(BATCH) {
            for h in ["h1", "h2"] {
                let id = self.w.get(&format!("/v1/hosts/{h}")).await.body["id"].as_str().and_then(|i| i.parse().ok());
                id.into_iter().for_each(|id| self.w.running.manager.heard.note(id, self.w.running.manager.steady()));
            }
            let before = self.digest().await;
            let answers = join_all(batch.iter().map(|c| self.send(c))).await;
            let (mut refused, mut accepted, mut gone) = (Vec::new(), false, false);
            for (c, (status, body, location)) in batch.iter().zip(&answers) {
                self.judge(c, *status, body, &mut faults);
                let o = &self.operations[c.operation];
                if *status < 400 {
                    accepted |= o.changes();
                    gone |= o.method == "DELETE";
                } else {
                    refused.push(c.clone());
                }
                if location.starts_with("/v1/tasks/") {
                    self.w.get(&format!("{location}?wait=60")).await;
                }
            }
            if gone {
                self.renew().await;
            }
            if accepted {
                // Something was rightly changed: what was refused is sent once more, by itself.
                let before = self.digest().await;
                let again = join_all(refused.iter().map(|c| self.send(c))).await;
                if again.iter().all(|(status, ..)| *status >= 400) {
                    self.unchanged(&before, &refused, &mut faults).await;
                }
            } else {
                self.unchanged(&before, batch, &mut faults).await;
            }
            assert!(faults.len() < 200, "\n{}\n", faults.join("\n"));
        }
        faults
    }

    async fn unchanged(&self, before: &BTreeMap<String, String>, cells: &[Cell], faults: &mut Vec<String>) {
        let after = self.digest().await;
        if *before != after {
            let tables: Vec<&String> = after.iter().filter(|(t, h)| before.get(*t) != Some(h)).map(|(t, _)| t).collect();
            let names: Vec<String> = cells.iter().map(|c| format!("{} {}", self.operations[c.operation].id, c.what)).collect();
            faults.push(format!("one of these was refused and yet changed {tables:?}: {names:#?}"));
        }
    }

    fn judge(&self, c: &Cell, status: u16, body: &[u8], faults: &mut Vec<String>) {
        let o = &self.operations[c.operation];
        let text = String::from_utf8_lossy(body);
        let short: String = text.chars().skip(text.find("\"detail\"").unwrap_or(0)).take(220).collect();
        let position = c.what.split([' ', '=']).next().unwrap_or_default();
        let mut fault = |why: &str| {
            let known = format!("{} {position}: {why}: ", o.id);
            match faults.iter().position(|f| f.starts_with(&known)) {
                // One line for each position and kind of fault is enough to see what is wrong.
                Some(at) if faults[at].len() < 600 => faults[at].push_str(&format!("; {}", c.what.split(" = ").last().unwrap_or_default())),
                Some(_) => {}
                None => faults.push(format!("{known}{status} {short} on {}", c.what)),
            }
        };
        if (500..600).contains(&status) && status != 507 {
            return fault("a fault of ours");
        }
        if status < 400 {
            // A batch answers with what it refused.
            let batch = serde_json::from_slice::<Value>(body).unwrap_or_default();
            let all_refused = batch["accepted"] == json!([]) && batch["refused"] != json!([]);
            if c.refuse && !(o.id == "vm_batch" && all_refused) {
                fault("accepted");
            }
            return;
        }
        if body.len() > ANSWER_BYTES_MAX {
            fault("too long an answer");
        }
        if o.method == "HEAD" || body.is_empty() {
            return;
        }
        let Ok(problem) = serde_json::from_slice::<Value>(body) else { return fault("no JSON") };
        let told = problem["detail"].as_str().or(problem["message"].as_str()).unwrap_or_default();
        if told.is_empty() {
            fault("says nothing");
        }
        if !told.chars().all(|ch| printable(ch) || ch == '\n') {
            fault("shows what cannot be printed");
        }
        if ["SELECT ", "sqlx", "panicked", "/src/", "libvirt"].iter().any(|w| told.contains(w)) && !c.path.contains("SELECT") && !c.what.contains("SQL") {
            fault("shows the inside");
        }
        if status == 429 && !matches!(o.id.as_str(), "session_create" | "user_create" | "user_update" | "password_change") {
            fault("met a limit, so that the value was not judged");
        }
        let Some(field) = c.field.as_deref().filter(|_| matches!(status, 400 | 422)) else { return };
        let named: Vec<&str> = problem["violations"].as_array().into_iter().flatten().filter_map(|v| v["field"].as_str()).collect();
        if !named.iter().any(|n| is_about(n, field)) {
            fault(&format!("names {named:?} and not {field}"));
        }
    }
}

/// Whether a violation of `named` is about `field`: itself, something in it, or what it lies in.
fn is_about(named: &str, field: &str) -> bool {
    let within = |a: &str, b: &str| a == b || a.strip_prefix(b).is_some_and(|rest| rest.starts_with(['.', '[']));
    !named.is_empty() && (within(named, field) || within(field, named))
}

/// What a caller could put into a URL as it is.
fn encoded(bytes: &[u8]) -> String {
    bytes.iter().map(|b| if b.is_ascii_alphanumeric() { char::from(*b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// Ends a run: no faults, and the audit chain holds.
async fn conclude(f: &Fixture, what: &str, cells: usize, faults: &[String]) {
    let mut tx = f.w.store.read().await.unwrap();
    assert_eq!(virga_store::audit::verify(&mut tx).await.unwrap(), None, "the audit chain");
    println!("hostile cells, {what}: {cells} over {} operations, {} faults", f.operations.len(), faults.len());
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

/// Hostile values in the fields of bodies, of every so many operations.
async fn bodies(part: usize, parts: usize) {
    let mut f = Fixture::new().await;
    let (mut cells, mut faults) = (0, Vec::new());
    let with_body: Vec<usize> = (0..f.operations.len()).filter(|i| f.operations[*i].body.is_some()).collect();
    for i in with_body.into_iter().filter(|i| i % parts == part) {
        let schema = f.operations[i].body.clone().unwrap();
        let mut list = Vec::new();
        for p in f.document.positions(&schema) {
            for h in values::of_field(&f.document, &p.schema, p.last(), p.required) {
                list.push(f.field_cell(i, &p, &h));
            }
            if p.required && matches!(p.steps.last(), Some(Step::Field(_))) {
                let known = |n: &str| f.right(n);
                let mut c = f.cell(i, format!("{} missing", p.name()), true);
                c.body = Some(("application/json".into(), f.document.body(&schema, "", &p.steps, true, &known).to_string().into_bytes()));
                c.field = Some(p.name());
                list.push(c);
            }
        }
        cells += list.len();
        faults.extend(f.run(list).await);
    }
    conclude(&f, "fields of bodies", cells, &faults).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_fields_of_bodies_part_1() {
    bodies(0, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_fields_of_bodies_part_2() {
    bodies(1, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_fields_of_bodies_part_3() {
    bodies(2, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_bodies_as_a_whole() {
    let mut f = Fixture::new().await;
    let mut list = Vec::new();
    for i in 0..f.operations.len() {
        let o = f.operations[i].clone();
        if o.body.is_none() {
            continue;
        }
        let (json_type, right) = f.right_body(&o).unwrap();
        let right = String::from_utf8(right).unwrap();
        let extra = right.replacen('{', if right == "{}" { "{\"surprise\":1" } else { "{\"surprise\":1," }, 1);
        let twice = right.replacen('{', &format!("{{{}", right.trim_start_matches('{').trim_end_matches('}').to_string() + ","), 1);
        let mut add = |what: &str, kind: &str, body: Vec<u8>, field: Option<&str>| {
            let mut c = f.cell(i, what, true);
            (c.body, c.field) = (Some((kind.into(), body)), field.map(str::to_string));
            list.push(c);
        };
        add("an unknown field", &json_type, extra.into_bytes(), Some("surprise"));
        if right != "{}" {
            add("every field twice", &json_type, twice.into_bytes(), None);
            add("cut off", &json_type, right.as_bytes()[..right.len() - 1].to_vec(), None);
            add("something behind", &json_type, format!("{right} x").into_bytes(), None);
        }
        for (what, body) in [
            ("empty", Vec::new()),
            ("null", b"null".to_vec()),
            ("list", b"[]".to_vec()),
            ("text", b"\"x\"".to_vec()),
            ("deep", "[".repeat(10_000).into_bytes()),
            ("byte order mark", [b"\xef\xbb\xbf", right.as_bytes()].concat()),
            ("UTF-16", right.encode_utf16().flat_map(u16::to_le_bytes).collect()),
            ("invalid UTF-8", vec![0xff; 100]),
            ("gzip magic", b"\x1f\x8b\x08\0\0\0\0\0".to_vec()),
            ("2 MB", vec![b' '; 2 << 20]),
        ] {
            add(what, &json_type, body, None);
        }
        for kind in ["text/plain", "application/xml", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonx", "*/*", "x"] {
            add(kind, kind, right.clone().into_bytes(), None);
        }
    }
    let (cells, faults) = (list.len(), f.run(list).await);
    conclude(&f, "bodies as a whole", cells, &faults).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_queries() {
    let mut f = Fixture::new().await;
    let mut list = Vec::new();
    for i in 0..f.operations.len() {
        let o = f.operations[i].clone();
        let mut add = |what: String, own: &[String], refuse: bool, field: Option<String>| {
            let mut c = f.cell(i, what, refuse);
            c.path = format!("{}{}", f.path(&o, None), f.query(&o, own));
            c.field = field;
            list.push(c);
        };
        for p in o.of(Place::Query) {
            for h in values::of_query(&p.schema, &p.name) {
                add(format!("{} = {}", p.name, h.what), &[format!("{}={}", p.name, encoded(&h.raw))], h.refuse, Some(p.name.clone()));
            }
            let typed = p.schema["type"] != "string";
            for raw in ["%ff%fe", "%zz", "%"] {
                add(format!("{} = {raw}", p.name), &[format!("{}={raw}", p.name)], typed, Some(p.name.clone()));
            }
            let right = if p.schema["type"] == "boolean" { "true" } else { "1" };
            add(format!("{} twice", p.name), &[format!("{}={right}", p.name), format!("{}={right}", p.name)], true, Some(p.name.clone()));
        }
        let declared = o.of(Place::Query).next().is_some();
        let named = (o.id != "console_connect").then(|| "surprise".to_string());
        add("an unknown parameter".into(), &["surprise=1".into()], declared || o.changes(), named.clone());
        add("an unknown parameter without value".into(), &["surprise".into()], declared || o.changes(), named);
        add("30 kB of parameters".into(), &["a=1&".repeat(7500)], declared || o.changes(), None);
    }
    let (cells, faults) = (list.len(), f.run(list).await);
    conclude(&f, "queries", cells, &faults).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_paths() {
    let mut f = Fixture::new().await;
    let mut list = Vec::new();
    for i in 0..f.operations.len() {
        let o = f.operations[i].clone();
        for p in o.of(Place::Path) {
            for h in values::of_path() {
                let mut c = f.cell(i, format!("{} = {}", p.name, h.what), h.refuse);
                c.path = format!("{}{}", f.path(&o, Some((&p.name, &encoded(&h.raw)))), f.query(&o, &[]));
                list.push(c);
            }
            for raw in ["%ff%fe", "%c0%af", "%zz", "%25%30%30", ";x=y", "%2e%2e%2f%2e%2e"] {
                let mut c = f.cell(i, format!("{} = {raw}", p.name), true);
                c.path = format!("{}{}", f.path(&o, Some((&p.name, raw))), f.query(&o, &[]));
                list.push(c);
            }
        }
    }
    let (cells, faults) = (list.len(), f.run(list).await);
    conclude(&f, "paths", cells, &faults).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_headers() {
    let mut f = Fixture::new().await;
    let mut list = Vec::new();
    let long = "k".repeat(10_000);
    for i in 0..f.operations.len() {
        let o = f.operations[i].clone();
        let public = matches!(o.id.as_str(), "ping" | "session_create" | "console_connect" | "openapi" | "docs");
        let mut add = |name: &str, value: &[u8], refuse: bool| {
            let shown: String = String::from_utf8_lossy(value).chars().take(40).collect();
            let mut c = f.cell(i, format!("{name}: {shown}"), refuse);
            c.headers = vec![(name.into(), value.to_vec())];
            list.push(c);
        };
        for value in ["Bearer", "Bearer ", "Bearer vt_x", "Basic YWRtaW46YWRtaW4=", "bearer vs_", "Bearer ../../x", "Bearer '; DROP TABLE api_token; --", &long]
        {
            add("authorization", value.as_bytes(), !public);
        }
        add("authorization", b"Bearer \xff\xfe", !public);
        let stale = o.has("if-match") && o.method != "POST";
        for (value, refuse) in [("\"999999\"", stale), ("W/\"1\"", stale), ("\"\"", stale), ("x", stale), ("\"1' OR '1'='1\"", stale), (&long, stale)] {
            add("if-match", value.as_bytes(), refuse);
        }
        // One that cannot be read must not make a change unconditional.
        add("if-match", b"\xff", o.changes());
        let once = o.has("idempotency-key") && o.method == "POST";
        for (value, refuse) in [("", once), (long.as_str(), once), ("'; DROP TABLE idempotency; --", false), ("../../x", false)] {
            add("idempotency-key", value.as_bytes(), refuse);
        }
        add("idempotency-key", b"\xc3\xa4", once);
        if o.has("last-event-id") {
            add("last-event-id", b"\xff", true);
            for value in ["", "x", "-1x", "1.5", "99999999999999999999", "'; --", &long] {
                // The empty id is none (HTML standard, 9.2).
                add("last-event-id", value.as_bytes(), !value.is_empty());
            }
        }
        for (name, value) in [
            ("x-forwarded-for", "1.2.3.4, ${jndi:ldap://x}"),
            ("x-http-method-override", "DELETE"),
            ("x-original-url", "/v1/users"),
            ("cookie", "__Host-virga=vs_x; __Host-virga=vs_y"),
            ("accept", "application/xml"),
            ("range", "bytes=0-18446744073709551615"),
            ("origin", "https://evil.example"),
        ] {
            add(name, value.as_bytes(), false);
        }
    }
    let (cells, faults) = (list.len(), f.run(list).await);
    conclude(&f, "headers", cells, &faults).await;
}

/// A request for the trial of the judge itself.
fn answer(status: u16, body: Value) -> Answer {
    Answer { status, headers: reqwest::header::HeaderMap::new(), body }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_judge_finds_faults() {
    let f = Fixture::new().await;
    let i = f.operations.iter().position(|o| o.id == "vm_create").unwrap();
    let mut c = f.cell(i, "x", true);
    c.field = Some("disks[0].size_bytes".into());
    let violation = |field: &str| json!({"detail": "x", "violations": [{"field": field, "message": "x"}]});
    for (a, good) in [
        (answer(500, json!({})), false),
        (answer(202, json!({})), false),
        (answer(422, violation("name")), false),
        (answer(422, violation("disks[0].size_bytes")), true),
        (answer(422, violation("disks")), true),
        (answer(409, json!({"detail": "taken"})), true),
        (answer(422, json!({"detail": "\u{1b}[31m", "violations": [{"field": "disks"}]})), false),
        (answer(404, json!({"detail": "x".repeat(10_000)})), false),
    ] {
        let mut faults = Vec::new();
        f.judge(&c, a.status, a.body.to_string().as_bytes(), &mut faults);
        assert_eq!(faults.is_empty(), good, "{a:?} {faults:?}");
    }
}
