//! The chain: its value after each record is SHA-256 over the value before and the record.

use crate::Anchor;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The first line of an export.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Beginning {
    /// Form of the export.
    pub export: String,
    /// The records begin after this number.
    pub after: i64,
    /// Chain value there.
    pub before: String,
    /// Why they do not begin with the first one: the anchor up to which they were removed by age.
    pub pruned: Option<Anchor>,
}

/// The last line of an export.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct End {
    /// The manager's statement about the last record.
    pub head: Anchor,
}

/// A record. A field that is not part of the chain value is refused: nothing here may be believed that is not vouched for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Number.
    pub seq: i64,
    /// When, in microseconds since 1970.
    pub at: i64,
    /// Account.
    pub user: Option<String>,
    /// Login name.
    pub actor: String,
    /// Address.
    pub source: String,
    /// Operation.
    pub operation: String,
    /// Kind of object.
    pub object_kind: String,
    /// Id of the object.
    pub object_id: String,
    /// Name of the object.
    pub object_name: String,
    /// `ok` or the error code.
    pub result: String,
    /// Request.
    pub request_id: String,
    /// More, in words.
    pub detail: String,
    /// Chain value after this record.
    pub chain: String,
}

impl Record {
    /// The chain value that the record must have after `before`.
    #[must_use]
    pub fn value_after(&self, before: &str) -> String {
        let fields = serde_json::json!([
            self.seq,
            self.at,
            self.user,
            self.actor,
            self.source,
            self.operation,
            self.object_kind,
            self.object_id,
            self.object_name,
            self.result,
            self.request_id,
            self.detail
        ]);
        hex::encode(Sha256::digest(format!("{before}\n{fields}").as_bytes()))
    }
}
