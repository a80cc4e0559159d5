//! The public REST API `v1`: the trait that declares every operation, and the public shapes, one file per noun.
//!
//! Conventions (`docs/guide/api.md`): names or ids in paths; `202` and `Location` of a task for what takes time; keyset
//! pages with one filter language; `ETag` and `If-Match`; `Idempotency-Key` on every POST; `?dry_run=true` answers with
//! the plan; RFC 9457 problem bodies. The API is additive within `v1`.

mod api;
mod common;
mod data_store;
mod event;
mod extract;
mod host;
mod image;
mod network;
mod problem;
mod schedule;
mod sent;
mod session;
mod snapshot;
mod task;
mod template;
mod user;
mod vm;

pub use api::*;
pub use common::*;
pub use data_store::*;
pub use event::*;
pub use extract::*;
pub use host::*;
pub use image::*;
pub use network::*;
pub use problem::*;
pub use schedule::*;
pub use sent::*;
pub use session::*;
pub use snapshot::*;
pub use task::*;
pub use template::*;
pub use user::*;
pub use vm::*;

/// The OpenAPI document of `v1`, as text; `openapi/v1.json` must equal it.
///
/// # Panics
/// Never on a released build: a test generates the document.
#[must_use]
pub fn openapi_json() -> String {
    let description = virga_api_mod::stub_api_description().expect("the API trait is consistent");
    let mut document = description.openapi("Virga", semver::Version::new(1, 0, 0));
    document.description("Virga turns a rack of Linux/KVM servers into a private cloud. This is its public API.").license_name("Apache-2.0");
    let mut json = document.json().expect("the document is JSON");
    name_the_media_type_of_problems(&mut json);
    serde_json::to_string_pretty(&json).expect("the document is JSON") + "\n"
}

/// dropshot knows one media type; problems have their own (RFC 9457). The other stays for clients that are made from the
/// document and know one, too.
fn name_the_media_type_of_problems(document: &mut serde_json::Value) {
    if let Some(content) = document.pointer_mut("/components/responses/Problem/content").and_then(|c| c.as_object_mut())
        && let Some(shape) = content.get("application/json").cloned()
    {
        content.insert("application/problem+json".into(), shape);
    }
}
