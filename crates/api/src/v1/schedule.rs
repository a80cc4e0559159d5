//! Schedules: what is done to VMs again and again.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use virga_model::schedule::{Keep, ScheduleRule, ScheduleSpec, ScheduledWork};
use virga_model::{ScheduleId, Time};

use super::Reference;

/// A schedule (G-08).
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Schedule {
    /// Identity.
    pub id: ScheduleId,
    /// Name, unique.
    pub name: String,
    /// Who made it; it works with this account's rights.
    pub owner: Reference,
    /// The one VM that it is about; left out when it is about those of the selector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm: Option<Reference>,
    /// What people chose.
    pub spec: ScheduleSpec,
    /// The next point in time.
    pub next_at: Time,
    /// The last point at which it worked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_at: Option<Time>,
    /// Grows with each change; the ETag.
    pub generation: i64,
    /// When it was made.
    pub created_at: Time,
}

/// Makes a schedule. It is about one VM, or about all that have the labels of the selector.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleCreate {
    /// Name, unique.
    pub name: String,
    /// Name or id of the one VM.
    #[serde(default)]
    pub vm: Option<String>,
    /// Labels that a VM must have, all of them.
    #[serde(default)]
    pub selector: BTreeMap<String, String>,
    /// When.
    pub rule: ScheduleRule,
    /// Time zone of the rule: a name of the IANA database (`Europe/Berlin`) or `UTC`.
    pub time_zone: String,
    /// What.
    pub work: ScheduledWork,
    /// For how long the results are kept.
    pub keep: Keep,
    /// Names of the results; `{schedule}`, `{date}` and `{time}` are replaced. `{schedule}-{date}-{time}` when left out.
    #[serde(default)]
    pub name_pattern: Option<String>,
    /// After a time in which the manager was away, what was missed is made up for once. True when left out.
    #[serde(default)]
    pub catch_up: Option<bool>,
    /// Whether it is at work. True when left out.
    #[serde(default)]
    pub enabled: Option<bool>,
}

/// Changes a schedule; what is left out stays.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleUpdate {
    /// New name.
    #[serde(default)]
    pub name: Option<String>,
    /// Other labels; only for a schedule with a selector.
    #[serde(default)]
    pub selector: Option<BTreeMap<String, String>>,
    /// Another rule.
    #[serde(default)]
    pub rule: Option<ScheduleRule>,
    /// Another time zone.
    #[serde(default)]
    pub time_zone: Option<String>,
    /// Other work.
    #[serde(default)]
    pub work: Option<ScheduledWork>,
    /// Other limits of keeping; the whole of them.
    #[serde(default)]
    pub keep: Option<Keep>,
    /// Another pattern of names.
    #[serde(default)]
    pub name_pattern: Option<String>,
    /// Whether what was missed is made up for.
    #[serde(default)]
    pub catch_up: Option<bool>,
    /// Whether it is at work.
    #[serde(default)]
    pub enabled: Option<bool>,
}

/// Path of a schedule.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct SchedulePath {
    /// Name or id of the schedule.
    pub schedule: String,
}
