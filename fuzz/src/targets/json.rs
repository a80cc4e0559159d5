//! Targets of JSON: bodies of the API, documents between manager and agent, answers of guests, first-boot settings.

use crate::{Target, mark};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use virga_api::v1::{self, Problem, from_json};
use virga_model::cloud_init::CloudInit;
use virga_model::name::printable;
use virga_model::network::NetworkSpec;
use virga_model::order::{CallHead, JoinAnswer, JoinRequest, NodeAnswer, NodeCall, Report, ReportAck, VmOrder, VmReport};
use virga_model::vm::VmSpec;

const JSON: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"",
    "null",
    "true",
    "1e400",
    "\\u0000",
    "\\ud800",
    "\"name\":",
    "\"disks\":",
    "\"size_bytes\":",
    "\"nics\":",
    "\"cloud_init\":",
    "\"scope\":",
    "\"id\":",
    "\"mode\":",
    "\"update\":",
    "\"cidr\":",
];

/// Bodies of every operation.
pub const REQUESTS: Target = Target { name: "requests", about: "bodies of the public API", run: requests, words: JSON };

fn requests(data: &[u8]) -> u64 {
    let told = [
        body::<v1::SignIn>(data),
        body::<v1::PasswordChange>(data),
        body::<v1::UserCreate>(data),
        body::<v1::UserUpdate>(data),
        body::<v1::RoleBindingCreate>(data),
        body::<v1::ApiTokenCreate>(data),
        body::<v1::JoinTokenCreate>(data),
        body::<v1::HostUpdate>(data),
        body::<v1::ImageCreate>(data),
        body::<v1::NetworkCreate>(data),
        body::<v1::VmCreate>(data),
        body::<v1::VmUpdate>(data),
        body::<v1::PowerRequest>(data),
        body::<v1::VmBatchRequest>(data),
        body::<v1::DiskCreate>(data),
        body::<v1::DiskUpdate>(data),
        body::<v1::MediaUpdate>(data),
        body::<v1::NicCreate>(data),
        body::<v1::NicUpdate>(data),
        body::<v1::ConsoleRequest>(data),
    ];
    mark(&told.concat())
}

fn body<T: DeserializeOwned + schemars::JsonSchema>(data: &[u8]) -> String {
    let Err(e) = from_json::<T>(data) else { return "ok ".into() };
    let p = Problem::from(e);
    assert!(p.status == 400 && p.detail.chars().count() < 400 && p.detail.chars().all(printable), "{p}");
    assert!(p.violations.iter().all(|v| v.field.chars().count() <= 101 && v.field.chars().all(printable)), "{p}");
    p.violations.first().map(|v| v.field.chars().take(12).collect()).unwrap_or_default()
}

/// Specifications that were read, and what is computed from them.
pub const SPECIFICATIONS: Target = Target { name: "specifications", about: "specifications of VMs and networks", run: specifications, words: JSON };

fn specifications(data: &[u8]) -> u64 {
    let mut told = String::new();
    if let Ok(mut spec) = serde_json::from_slice::<VmSpec>(data) {
        spec.normalize();
        match spec.check() {
            Ok(()) => {
                assert!(spec.host_memory_bytes() > spec.memory.bytes && spec.disk_bytes() <= 16 << 46);
                told.push_str("vm ok");
            }
            Err(e) => told.push_str(&e.violations.first().map(|v| v.field.clone()).unwrap_or_default()),
        }
        let _ = virga_model::change::diff(&spec, &spec);
    }
    if let Ok(network) = serde_json::from_slice::<NetworkSpec>(data) {
        told.push_str(&network.check().err().map_or("network ok".into(), |e| e.message));
    }
    mark(&told)
}

/// First-boot settings, merged into the documents of the seed.
pub const CLOUD_INIT: Target = Target {
    name: "cloud-init",
    about: "first-boot settings, and the documents made from them",
    run: cloud_init,
    words: &[
        "\"host_name\":",
        "\"ssh_authorized_keys\":",
        "\"users\":",
        "\"user_data\":",
        "\"network_config\":",
        "\"sudo\":true",
        "ssh-ed25519 AAAA",
        "\\nruncmd:",
        "#cloud-config",
        ": ",
        "- ",
        "!!python",
        "&a",
        "*a",
        "\\u2028",
        "\\u0085",
        "{",
        "}",
    ],
};

fn cloud_init(data: &[u8]) -> u64 {
    let Ok(settings) = serde_json::from_slice::<CloudInit>(data) else { return mark("no settings") };
    if let Err(e) = settings.check() {
        return mark(&e.violations.first().map(|v| v.field.clone()).unwrap_or_default());
    }
    let files = settings.seed_files("id-1", "web-1");
    let yaml = |text: &str| serde_saphyr::from_str::<Value>(text).unwrap_or_else(|e| panic!("what we write is YAML: {e}\n{text}"));
    let meta = yaml(&files[0].1);
    let host_name = settings.host_name.as_deref().unwrap_or("web-1");
    assert_eq!(meta, serde_json::json!({"instance-id": "id-1", "local-hostname": host_name}), "no value becomes a key");
    if settings.user_data.is_some() {
        return mark("user data");
    }
    let user = yaml(&files[1].1);
    let object = user.as_object().expect("a document");
    assert!(object.keys().all(|k| matches!(k.as_str(), "hostname" | "ssh_authorized_keys" | "users")), "{user}");
    assert_eq!(user["hostname"], host_name);
    let keys = |v: &Value| v.as_array().into_iter().flatten().filter_map(|k| k.as_str().map(str::to_string)).collect::<Vec<_>>();
    assert_eq!(keys(&user["ssh_authorized_keys"]), settings.ssh_authorized_keys);
    for (u, shown) in settings.users.iter().zip(user["users"].as_array().into_iter().flatten().skip(1)) {
        assert!(shown["name"] == u.name.as_str() && keys(&shown["ssh_authorized_keys"]) == u.ssh_authorized_keys && shown.get("sudo").is_some() == u.sudo);
    }
    mark("settings")
}

/// Documents between manager and agent.
pub const NODE_DOCUMENTS: Target = Target {
    name: "node-documents",
    about: "documents between manager and agent",
    run: node_documents,
    words: &[
        "\"call\":",
        "\"ensure_vm\"",
        "\"act\"",
        "\"order\":",
        "\"generation\":",
        "\"answer\":",
        "\"vms\":",
        "\"full\":true",
        "\"observed\":",
        "null",
        "-1",
        "{",
        "}",
        "[",
    ],
};

fn node_documents(data: &[u8]) -> u64 {
    let told = [
        stable::<NodeCall>(data),
        stable::<NodeAnswer>(data),
        stable::<CallHead>(data),
        stable::<VmOrder>(data),
        stable::<VmReport>(data),
        stable::<Report>(data),
        stable::<ReportAck>(data),
        stable::<JoinRequest>(data),
        stable::<JoinAnswer>(data),
    ];
    mark(&format!("{told:?}"))
}

/// What was read is written and read again as the same.
fn stable<T: Serialize + DeserializeOwned>(data: &[u8]) -> bool {
    let Ok(read) = serde_json::from_slice::<T>(data) else { return false };
    let text = serde_json::to_string(&read).expect("our documents can be written");
    let again: T = serde_json::from_str(&text).unwrap_or_else(|e| panic!("what we write we read: {e}\n{text}"));
    assert_eq!(serde_json::to_string(&again).expect("our documents can be written"), text);
    true
}

/// Answers of a guest's agent.
pub const GUEST_AGENT: Target = Target {
    name: "guest-agent",
    about: "answers of the agent in a guest",
    run: guest_agent,
    words: &[
        "{\"return\":",
        "\"ip-addresses\":",
        "\"ip-address\":",
        "\"host-name\":",
        "\"pretty-name\":",
        "\"mountpoint\":",
        "\"total-bytes\":",
        "\"version\":",
        "::1",
        "255.255.255.255",
        "\\u001b[31m",
        "\\u202e",
        "[",
        "]",
        "{",
        "}",
    ],
};

fn guest_agent(data: &[u8]) -> u64 {
    let info = virga_kvm::foreign::guest_info(&String::from_utf8_lossy(data));
    let texts = [&info.agent_version, &info.host_name, &info.os, &info.kernel];
    let mounts = info.file_systems.iter().flat_map(|f| [&f.mount_point, &f.kind]);
    for t in texts.into_iter().flatten().chain(mounts) {
        assert!(t.chars().count() <= 255 && t.chars().all(printable), "{t:?}");
    }
    assert!(info.ips.len() <= 64 && info.file_systems.len() <= 64);
    mark(&format!("{:?} {} {}", info.agent, "i".repeat(info.ips.len().min(3)), "f".repeat(info.file_systems.len().min(3))))
}
