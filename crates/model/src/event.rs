//! Events (what happened, for everybody who may see the object) and audit records (who did what).

use crate::task::ObjectRef;
use crate::{TaskId, Time, UserId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How much an event matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Ordinary course of things.
    Info,
    /// Somebody should look.
    Warning,
    /// Somebody must act.
    Error,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Grows by one or more with each event; the position for resume.
    pub id: i64,
    /// When.
    pub at: Time,
    /// Stable word, e.g. `vm.state_changed`, `task.ended`, `host.silent`.
    pub kind: String,
    /// How much it matters.
    pub severity: Severity,
    /// About what.
    pub object: ObjectRef,
    /// Its name then.
    pub object_name: String,
    /// Owner of the object, so that scope `own` can see it.
    pub owner: Option<UserId>,
    /// Host that the object was on, so that a host scope can see it.
    pub host: Option<crate::HostId>,
    /// The task in whose course it happened.
    pub task: Option<TaskId>,
    /// In words.
    pub message: String,
}

/// Who did what, and with what result. Written in the same transaction as the change itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// Grows with each record.
    pub id: i64,
    /// When.
    pub at: Time,
    /// Account, when known.
    pub user: Option<UserId>,
    /// Login name as given (also of a failed sign-in), or `system`, `host:ID`.
    pub actor: String,
    /// Address of the caller.
    pub source: String,
    /// The operation, e.g. `vm_create`.
    pub operation: String,
    /// About what.
    pub object: ObjectRef,
    /// Its name then.
    pub object_name: String,
    /// `ok` or the error code.
    pub result: String,
    /// Request that did it.
    pub request_id: String,
    /// More, in words; never a secret.
    pub detail: String,
}
