//! The columns of all nouns, for the test that holds them against the API document.

/// Name of the schema in the document, and the columns made of it.
#[cfg(test)]
pub(crate) fn all_columns() -> Vec<(&'static str, &'static [crate::column::Column])> {
    vec![
        ("Vm", crate::vm::COLUMNS),
        ("Host", crate::host::COLUMNS),
        ("Image", crate::image::COLUMNS),
        ("Network", crate::network::COLUMNS),
        ("Template", crate::template::COLUMNS),
        ("DataStore", crate::data_store::COLUMNS),
        ("Task", crate::task::COLUMNS),
        ("Event", crate::event::COLUMNS),
        ("AuditRecord", crate::audit::COLUMNS),
        ("AuditAnchor", crate::audit::ANCHOR_COLUMNS),
        ("AuditRetention", crate::audit::RETENTION_COLUMNS),
        ("User", crate::user::COLUMNS),
        ("RoleInfo", crate::role::COLUMNS),
        ("RoleBinding", crate::role::BINDING_COLUMNS),
        ("ApiToken", crate::token::COLUMNS),
        ("Schedule", crate::schedule::COLUMNS),
        ("WhoAmI", crate::session::COLUMNS),
        ("System", crate::system::COLUMNS),
        ("Sample", crate::vm::stats::COLUMNS),
        ("DiskSpec", crate::vm::disk::COLUMNS),
        ("NicSpec", crate::vm::nic::COLUMNS),
        ("Snapshot", crate::vm::snapshot::COLUMNS),
    ]
}
