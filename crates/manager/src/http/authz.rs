//! The authorization table: for every operation of the API, who may call it.
//!
//! An operation without a line here does not compile ([`entry`], `reliability.md` Y3), a test compares the table with the
//! document, and `tests/authz` compares what the manager answers with what the table says.

use virga_model::role::Privilege as P;

/// Who may call an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody, without a credential.
    Public,
    /// Everybody who is signed in; what they see is cut down to what they may see.
    SignedIn,
    /// Who has a privilege.
    Needs(P, Over),
}

/// Over what the privilege is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// In any scope: lists (filtered by the same scopes), own objects, shared images and networks.
    Anywhere,
    /// Over the whole installation.
    Installation,
    /// Over the object, and to make VMs of the caller's own beside it: for what is made from the object.
    Source,
    /// Over the object, which is checked when it was loaded; without that check nothing is committed or answered.
    Object,
}

/// A line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Name of the operation in the document.
    pub name: &'static str,
    /// Who may call it.
    pub access: Access,
    /// It changes something (or is otherwise worth a record), so that it is always audited.
    pub audited: bool,
    /// May be called although the password must be changed first.
    pub before_change: bool,
}

const fn read(name: &'static str, access: Access) -> Entry {
    Entry { name, access, audited: false, before_change: false }
}

const fn change(name: &'static str, access: Access) -> Entry {
    Entry { name, access, audited: true, before_change: false }
}

const fn own_session(name: &'static str, audited: bool) -> Entry {
    Entry { name, access: Access::SignedIn, audited, before_change: true }
}

const fn anywhere(p: P) -> Access {
    Access::Needs(p, Over::Anywhere)
}

const fn installation(p: P) -> Access {
    Access::Needs(p, Over::Installation)
}

const fn source(p: P) -> Access {
    Access::Needs(p, Over::Source)
}

const fn object(p: P) -> Access {
    Access::Needs(p, Over::Object)
}

/// The table.
pub const TABLE: &[Entry] = &[
    read("ping", Access::Public),
    read("openapi", Access::Public),
    read("docs", Access::Public),
    read("system_view", Access::SignedIn),
    read("metrics", installation(P::SystemRead)),
    // Signing in and out.
    change("session_create", Access::Public),
    own_session("session_view", false),
    own_session("session_delete", true),
    own_session("password_change", true),
    // Accounts.
    read("user_list", installation(P::UserRead)),
    change("user_create", installation(P::UserCreate)),
    read("user_view", installation(P::UserRead)),
    change("user_update", installation(P::UserManage)),
    change("user_delete", installation(P::UserManage)),
    read("role_list", Access::SignedIn),
    read("role_binding_list", installation(P::UserRead)),
    change("role_binding_create", installation(P::UserManage)),
    change("role_binding_delete", installation(P::UserManage)),
    read("token_list", Access::SignedIn),
    change("token_create", Access::SignedIn),
    change("token_delete", Access::SignedIn),
    // Schedules: one's own; what they may do is asked of their owner's rights, each time.
    read("schedule_list", Access::SignedIn),
    change("schedule_create", Access::SignedIn),
    read("schedule_view", Access::SignedIn),
    change("schedule_update", Access::SignedIn),
    change("schedule_delete", Access::SignedIn),
    change("schedule_run", Access::SignedIn),
    // Hosts.
    read("host_list", anywhere(P::HostRead)),
    change("host_join_token_create", installation(P::HostManage)),
    read("host_view", object(P::HostRead)),
    change("host_update", object(P::HostManage)),
    change("host_delete", object(P::HostManage)),
    read("host_stats", object(P::HostRead)),
    // Images and networks: seen by all who have the privilege anywhere, changed only over the installation.
    read("image_list", anywhere(P::ImageRead)),
    change("image_create", installation(P::ImageManage)),
    read("image_view", anywhere(P::ImageRead)),
    change("image_upload", installation(P::ImageManage)),
    change("image_fetch", installation(P::ImageManage)),
    change("image_delete", installation(P::ImageManage)),
    read("network_list", anywhere(P::NetworkRead)),
    change("network_create", installation(P::NetworkManage)),
    read("network_view", anywhere(P::NetworkRead)),
    change("network_delete", installation(P::NetworkManage)),
    // Of local data stores only those of visible hosts are shown.
    read("data_store_list", anywhere(P::DataStoreRead)),
    change("data_store_create", installation(P::DataStoreManage)),
    read("data_store_view", anywhere(P::DataStoreRead)),
    change("data_store_update", installation(P::DataStoreManage)),
    change("data_store_delete", installation(P::DataStoreManage)),
    // VMs.
    read("vm_list", anywhere(P::VmRead)),
    change("vm_create", anywhere(P::VmCreate)),
    change("vm_import", anywhere(P::VmCreate)),
    // Who may not change a VM may not take its disks away either; that it was taken is recorded.
    read("vm_export_view", object(P::VmEdit)),
    change("vm_export_create", object(P::VmEdit)),
    change("vm_export_delete", object(P::VmEdit)),
    change("vm_export_content", object(P::VmEdit)),
    read("vm_view", object(P::VmRead)),
    change("vm_update", object(P::VmEdit)),
    change("vm_delete", object(P::VmDelete)),
    change("vm_power", object(P::VmOperate)),
    // Each VM of a batch is checked like a single one; what is refused is listed in the answer.
    change("vm_batch", anywhere(P::VmRead)),
    read("vm_snapshot_list", object(P::VmRead)),
    change("vm_snapshot_create", object(P::VmEdit)),
    read("vm_snapshot_view", object(P::VmRead)),
    change("vm_snapshot_update", object(P::VmEdit)),
    change("vm_snapshot_delete", object(P::VmEdit)),
    change("vm_snapshot_revert", object(P::VmEdit)),
    change("vm_clone", source(P::VmEdit)),
    change("vm_refresh", object(P::VmEdit)),
    change("vm_disk_attach", object(P::VmEdit)),
    change("vm_disk_update", object(P::VmEdit)),
    change("vm_disk_reclaim", object(P::VmEdit)),
    change("vm_disk_detach", object(P::VmEdit)),
    change("vm_disk_reattach", object(P::VmEdit)),
    change("vm_media_change", object(P::VmEdit)),
    change("vm_nic_attach", object(P::VmEdit)),
    change("vm_nic_update", object(P::VmEdit)),
    change("vm_nic_detach", object(P::VmEdit)),
    read("vm_stats", object(P::VmRead)),
    read("vm_screenshot", object(P::VmConsole)),
    change("vm_console", object(P::VmConsole)),
    // The ticket is the credential: browsers cannot send headers with a WebSocket.
    change("console_connect", Access::Public),
    // Templates are VMs, and seen by the same scopes.
    read("template_list", anywhere(P::VmRead)),
    change("template_create", anywhere(P::VmCreate)),
    read("template_view", object(P::VmRead)),
    change("template_update", object(P::VmEdit)),
    change("template_delete", object(P::VmDelete)),
    change("template_deploy", source(P::VmRead)),
    change("template_convert", object(P::VmEdit)),
    // Tasks, events, audit.
    read("task_list", Access::SignedIn),
    read("task_view", Access::SignedIn),
    change("task_cancel", Access::SignedIn),
    read("event_list", Access::SignedIn),
    read("event_stream", Access::SignedIn),
    // Reading the records is recorded, too.
    change("audit_list", installation(P::AuditRead)),
    change("audit_export", installation(P::AuditRead)),
    change("audit_anchor_list", installation(P::AuditRead)),
    read("audit_retention_view", installation(P::AuditRead)),
    change("audit_retention_update", installation(P::AuditManage)),
];

/// The line of an operation of this program, found by the compiler: without one the build fails.
///
/// # Panics
/// When there is none; in a constant, where it is used, that is an error of the compiler.
#[must_use]
pub const fn entry(name: &str) -> &'static Entry {
    let mut i = 0;
    while i < TABLE.len() {
        if same(TABLE[i].name, name) {
            return &TABLE[i];
        }
        i += 1;
    }
    panic!("an operation has no line in the authorization table (crates/manager/src/http/authz.rs)")
}

/// Whether two texts are the same; `==` is not there for constants.
const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut i = 0;
    while i < a.len() {
        if a[i] != b[i] {
            return false;
        }
        i += 1;
    }
    true
}

/// The line of an operation.
#[must_use]
pub fn find(name: &str) -> Option<&'static Entry> {
    TABLE.iter().find(|e| e.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    #[should_panic(expected = "no line in the authorization table")]
    fn an_operation_without_a_line_is_not_found() {
        assert_eq!(entry("vm_list").name, "vm_list");
        let _ = entry("vm_lists");
    }

    #[test]
    fn the_table_holds_every_operation_of_the_document_once() {
        let document: serde_json::Value = serde_json::from_str(&virga_api::v1::openapi_json()).unwrap();
        let operations: BTreeSet<&str> =
            document["paths"].as_object().unwrap().values().flat_map(|p| p.as_object().unwrap().values()).filter_map(|o| o["operationId"].as_str()).collect();
        let table: BTreeSet<&str> = TABLE.iter().map(|e| e.name).collect();
        assert_eq!(table.len(), TABLE.len(), "an operation stands twice");
        assert_eq!(table, operations);
    }
}
