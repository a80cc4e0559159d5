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

/// Fewest days for which audit records are kept: the law of some countries asks for six months of logs.
pub const AUDIT_DAYS_MIN: u32 = 180;
/// Most days: a hundred years.
pub const AUDIT_DAYS_MAX: u32 = 36_500;

/// A signed statement about the chain of audit records: the record of this number has this chain value. Kept outside, it
/// shows what a chain alone does not: that records were cut off at the end, or that the whole chain was written anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditAnchor {
    /// Number of the newest record that it covers.
    pub seq: i64,
    /// Chain value of that record.
    pub chain: String,
    /// When it was made.
    pub at: Time,
    /// Name of the key: the first 16 hex digits of the SHA-256 of the public key.
    pub key: String,
    /// Ed25519 signature over [`AuditAnchor::signed_text`], hex.
    pub signature: String,
    /// The records up to `seq` were removed, because they were older than the retention.
    pub pruned: bool,
}

impl AuditAnchor {
    /// What is signed. The first line keeps a signature from being good for anything else.
    #[must_use]
    pub fn signed_text(&self) -> String {
        let kind = if self.pruned { "begin" } else { "head" };
        format!("virga audit anchor 1\n{kind}\n{}\n{}\n{}\n{}\n", self.seq, self.chain, self.at.0, self.key)
    }
}
