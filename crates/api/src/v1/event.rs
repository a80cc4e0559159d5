//! Events and audit records.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use virga_model::event::Severity;
use virga_model::{TaskId, Time};

use super::Reference;

/// Something that happened.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// Position; give it as `since` (or `Last-Event-ID`) to go on after it.
    pub id: i64,
    /// When.
    pub at: Time,
    /// Stable word, e.g. `vm.state_changed`.
    pub kind: String,
    /// How much it matters.
    pub severity: Severity,
    /// About what.
    pub object: Reference,
    /// In whose course.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskId>,
    /// In words.
    pub message: String,
}

/// Parameters of the event stream.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventStreamQuery {
    /// Go on after this event; from now on when left out.
    #[serde(default)]
    pub since: Option<i64>,
}

/// Headers of the event stream.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub struct EventStreamHeaders {
    /// Sent by browsers when they reconnect: go on after this event.
    #[serde(rename = "last-event-id", default)]
    pub last_event_id: Option<String>,
}

/// Who did what, and with what result.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct AuditRecord {
    /// Position.
    pub id: i64,
    /// When.
    pub at: Time,
    /// Login name, or `system`.
    pub actor: String,
    /// Address of the caller.
    pub source: String,
    /// The operation.
    pub operation: String,
    /// About what.
    pub object: Reference,
    /// `ok` or the error code.
    pub result: String,
    /// The request.
    pub request_id: String,
    /// More, in words.
    pub detail: String,
}

/// Parameters of the export of audit records.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditExportQuery {
    /// Begin after the record of this number; from the first one when left out.
    #[serde(default)]
    pub after: Option<i64>,
}

/// A signed statement about the chain of audit records.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct AuditAnchor {
    /// Number of the newest record that it covers.
    pub seq: i64,
    /// Chain value of that record.
    pub chain: String,
    /// When it was made.
    pub at: Time,
    /// The same in microseconds since 1970, as it was signed.
    pub at_us: i64,
    /// Name of the key.
    pub key: String,
    /// Ed25519 signature, hex.
    pub signature: String,
    /// The records up to `seq` were removed, because they were older than the retention.
    pub pruned: bool,
}

/// For how long audit records are kept.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditRetention {
    /// Days, 180 at least.
    pub days: u32,
}
