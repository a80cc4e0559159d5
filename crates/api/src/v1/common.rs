//! Shapes that several nouns share: list parameters, pages, headers, references.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use virga_model::task::ObjectRef;

/// Most items of a page.
pub const PAGE_MAX: u32 = 1000;
/// Items of a page when nobody asks for a number.
pub const PAGE_DEFAULT: u32 = 100;

/// Parameters of every list.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    /// Most items to answer with, 1 to 1000; 100 when left out.
    pub limit: Option<u32>,
    /// Where to go on: `next_page` of the page before.
    pub page_token: Option<String>,
    /// Condition, e.g. `state = running and cpus > 4`.
    pub filter: Option<String>,
    /// Field to sort by, with `-` before it for descending, e.g. `-created_at`.
    pub sort: Option<String>,
    /// Top-level fields wanted, joined by commas; all when left out.
    pub fields: Option<String>,
    /// Count all items that match, too; costs time on large lists.
    pub total: Option<bool>,
}

/// A page of a list. With `fields`, items hold only those.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Token of the next page; none: this is the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_page: Option<String>,
    /// Number of all items that match, when asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<i64>,
}

/// `?dry_run=true`: answer with the plan and change nothing.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DryRunQuery {
    /// Answer with the plan and change nothing.
    #[serde(default)]
    pub dry_run: Option<bool>,
}

/// Headers of a request that changes something.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
pub struct ChangeHeaders {
    /// The ETag the caller has seen; the change is refused (412) when the object is another by now.
    #[serde(rename = "if-match", default)]
    pub if_match: Option<String>,
    /// Makes a POST safe to repeat for 24 hours: the same key gets the same answer and nothing is done twice.
    #[serde(rename = "idempotency-key", default)]
    pub idempotency_key: Option<String>,
}

/// Headers of an answer that holds an object.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct EtagHeaders {
    /// The object's generation, quoted.
    pub etag: String,
}

/// Headers of a `202`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct AcceptedHeaders {
    /// Path of the task.
    pub location: String,
}

/// An object referred to by an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reference {
    /// Kind of object: `vm`, `host`, `image`, `network`, `user`, `task`, …
    pub kind: String,
    /// Identity.
    pub id: Uuid,
    /// Name, as of now or as of then.
    #[serde(default)]
    pub name: String,
}

impl Reference {
    /// A reference to `object` with `name`.
    #[must_use]
    pub fn new(object: &ObjectRef, name: &str) -> Reference {
        Reference { kind: object.kind().into(), id: object.id(), name: name.into() }
    }
}

/// What an accepted request started: a task, or (for a dry run) the plan.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Accepted {
    /// The task that does it; none for a dry run or when nothing had to be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<super::Task>,
    /// The object concerned.
    pub object: Reference,
    /// What will happen (or would, in a dry run), step by step, in words.
    #[serde(default)]
    pub plan: Vec<PlanStep>,
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlanStep {
    /// What, in words.
    pub what: String,
    /// Takes effect only at the next start of the VM, for this reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_restart: Option<String>,
}

/// The body of a page: [`Page`] of `T`, of whose items only the wanted fields are left.
#[derive(Debug)]
pub struct PageBody<T> {
    page: Page<T>,
    fields: Option<Vec<String>>,
}

impl<T: Serialize> PageBody<T> {
    /// A page with only the top-level `fields` (all when `None`) of each item. `id` is always there.
    #[must_use]
    pub fn new(page: Page<T>, fields: Option<&str>) -> Self {
        let fields = fields.map(|f| f.split(',').map(|f| f.trim().to_string()).filter(|f| !f.is_empty()).collect());
        PageBody { page, fields }
    }
}

impl<T: Serialize> Serialize for PageBody<T> {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let Some(wanted) = &self.fields else { return self.page.serialize(s) };
        let mut value = serde_json::to_value(&self.page).map_err(serde::ser::Error::custom)?;
        if let Some(items) = value.get_mut("items").and_then(|i| i.as_array_mut()) {
            for item in items.iter_mut().filter_map(|i| i.as_object_mut()) {
                item.retain(|k, _| k == "id" || wanted.contains(k));
            }
        }
        value.serialize(s)
    }
}

impl<T: JsonSchema> JsonSchema for PageBody<T> {
    fn schema_name() -> String {
        Page::<T>::schema_name()
    }
    fn json_schema(g: &mut schemars::r#gen::SchemaGenerator) -> schemars::schema::Schema {
        Page::<T>::json_schema(g)
    }
}

/// Answer to a ping.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Ping {
    /// `ok`.
    pub status: String,
    /// Version of the manager.
    pub version: String,
}

/// The installation.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct System {
    /// Version of the manager that answers.
    pub version: String,
    /// How the installation is administered; fixed at its first start.
    #[serde(default)]
    pub administration: virga_model::role::Administration,
    /// Names of abilities that clients may ask for before they use them.
    pub capabilities: Vec<String>,
    /// Hosts, and how many of them report.
    pub hosts: i64,
    /// Hosts that report.
    pub hosts_up: i64,
    /// VMs.
    pub vms: i64,
    /// VMs that run.
    pub vms_running: i64,
    /// Tasks that have not ended.
    pub tasks_active: i64,
}
