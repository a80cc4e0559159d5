//! How bodies and query strings become the shapes of this API: the two extractors that every operation uses.
//!
//! They do what dropshot's do, and also name the field that is at fault, refuse what nobody declared, and show nothing of
//! a hostile value but a short, printable piece. The document made from them is the same. They must never answer with
//! more than the caller sent, and never take a body for what it does not say it is.

use async_trait::async_trait;
use dropshot::{ApiEndpointBodyContentType, ErrorStatusCode, ExclusiveExtractor, ExtractorMetadata, HttpError, RequestContext};
use dropshot::{ServerContext, SharedExtractor};
use http::header::CONTENT_TYPE;
use http::request::Parts;
use schemars::JsonSchema;
use schemars::schema::{RootSchema, Schema, SchemaObject, SingleOrVec};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::sent::{FromSent, Sent};

/// Before the field's name in the code of an [`HttpError`], the only place of it that can carry one.
pub(super) const FIELD_CODE: &str = "field:";
/// Most characters of a fault that are shown.
const SHOWN_CHARS_MAX: usize = 300;
/// Most characters of a field's name that are shown.
const FIELD_CHARS_MAX: usize = 100;

/// A JSON body.
#[derive(Debug)]
pub struct TypedBody<T> {
    inner: T,
}

impl<T> TypedBody<T> {
    /// What came.
    pub fn into_inner(self) -> T {
        self.inner
    }
}

#[async_trait]
impl<T> ExclusiveExtractor for TypedBody<T>
where
    T: JsonSchema + DeserializeOwned + Send + Sync + 'static,
{
    async fn from_request<C: ServerContext>(_: &RequestContext<C>, _: http::Request<dropshot::Body>) -> Result<Self, HttpError> {
        Err(not_served())
    }

    fn metadata(content_type: ApiEndpointBodyContentType) -> ExtractorMetadata {
        <dropshot::TypedBody<T> as ExclusiveExtractor>::metadata(content_type)
    }
}

impl<T: DeserializeOwned + JsonSchema> FromSent for TypedBody<T> {
    fn from_sent(head: &Parts, sent: &mut Sent) -> Result<Self, HttpError> {
        says_json(&head.headers)?;
        Ok(TypedBody { inner: from_json(&sent.body)? })
    }
}

/// The parameters after `?`.
#[derive(Debug)]
pub struct Query<T> {
    inner: T,
}

impl<T> Query<T> {
    /// What came.
    pub fn into_inner(self) -> T {
        self.inner
    }
}

#[async_trait]
impl<T> SharedExtractor for Query<T>
where
    T: JsonSchema + DeserializeOwned + Send + Sync + 'static,
{
    async fn from_request<C: ServerContext>(_: &RequestContext<C>) -> Result<Self, HttpError> {
        Err(not_served())
    }

    fn metadata(content_type: ApiEndpointBodyContentType) -> ExtractorMetadata {
        <dropshot::Query<T> as SharedExtractor>::metadata(content_type)
    }
}

impl<T: DeserializeOwned> FromSent for Query<T> {
    fn from_sent(head: &Parts, _: &mut Sent) -> Result<Self, HttpError> {
        Ok(Query { inner: from_query(head.uri.query().unwrap_or_default())? })
    }
}

/// The answer of a server that only documents: see [`super::FromSent`].
pub(super) fn not_served() -> HttpError {
    HttpError::for_internal_error("the document's server serves nothing".into())
}

/// A body without a type is taken for JSON, as every client of an API means it; anything else must say so.
fn says_json(headers: &http::HeaderMap) -> Result<(), HttpError> {
    let mut given = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (given.next(), given.next()) else {
        return if headers.contains_key(CONTENT_TYPE) { Err(fault(None, "The header Content-Type came twice.")) } else { Ok(()) };
    };
    let word = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if word.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(fault(None, "The body must be JSON: send it with Content-Type: application/json."))
}

/// Reads a JSON body.
///
/// # Errors
/// A bad request that names the field, where one is at fault.
pub fn from_json<T: DeserializeOwned + JsonSchema>(body: &[u8]) -> Result<T, HttpError> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let read: T = serde_path_to_error::deserialize(&mut json).map_err(|e| at_fault::<T>(body, &e))?;
    json.end().map_err(|_| fault(None, "The body cannot be read: something follows after the JSON value."))?;
    // Only a list can stand for an object unnoticed, as its fields in their order.
    if body.contains(&b'[')
        && let Ok(value) = serde_json::from_slice(body)
        && let Some(field) = list_for_object(&schema_of::<T>(), &value)
    {
        return Err(fault(Some(field.clone()), &format!("The body cannot be read: {field} is a list and must be an object.")));
    }
    Ok(read)
}

/// The fault of a body that is no `T`, with the field.
fn at_fault<T: DeserializeOwned>(body: &[u8], e: &serde_path_to_error::Error<serde_json::Error>) -> HttpError {
    let told = |e: &serde_path_to_error::Error<serde_json::Error>| {
        let why = format!("The body cannot be read: {}.", e.inner());
        fault(Some(field_of(&e.path().to_string(), &e.inner().to_string())), &why)
    };
    if e.inner().is_data() {
        return told(e);
    }
    // JSON that does not fit is sometimes told as if it were none; a second look knows the field.
    let again = serde_json::from_slice::<Value>(body).ok().and_then(|v| serde_path_to_error::deserialize::<_, T>(v).err());
    match again {
        Some(e) => told(&e),
        // A text that is no JSON has a place, but no field.
        None => fault(None, &format!("The body cannot be read: {}.", e.inner())),
    }
}

/// The schema of `T`, made once.
fn schema_of<T: JsonSchema>() -> Arc<RootSchema> {
    static MADE: Mutex<BTreeMap<&'static str, Arc<RootSchema>>> = Mutex::new(BTreeMap::new());
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    made.entry(std::any::type_name::<T>()).or_insert_with(|| Arc::new(schemars::schema_for!(T))).clone()
}

/// Where a list stands in the place of an object; the name of the body itself is `body`.
fn list_for_object(root: &RootSchema, value: &Value) -> Option<String> {
    let whole = Schema::Object(root.schema.clone());
    misplaced(root, &flat(root, &whole), value, "").map(|f| if f.is_empty() { "body".to_string() } else { f })
}

/// A schema and all that it refers to or is put together from.
fn flat<'a>(root: &'a RootSchema, schema: &'a Schema) -> Vec<&'a SchemaObject> {
    let Schema::Object(o) = schema else { return Vec::new() };
    let mut out = vec![o];
    if let Some(name) = o.reference.as_deref().and_then(|r| r.rsplit('/').next()) {
        out.extend(root.definitions.get(name).into_iter().flat_map(|s| flat(root, s)));
    }
    if let Some(sub) = &o.subschemas {
        let lists = [&sub.all_of, &sub.any_of, &sub.one_of];
        out.extend(lists.into_iter().flatten().flatten().flat_map(|s| flat(root, s)));
    }
    out
}

fn misplaced(root: &RootSchema, schemas: &[&SchemaObject], value: &Value, path: &str) -> Option<String> {
    match value {
        Value::Array(items) => {
            let lists: Vec<_> = schemas.iter().filter_map(|s| s.array.as_ref()).collect();
            if lists.is_empty() {
                return Some(path.to_string());
            }
            let inner: Vec<&SchemaObject> =
                lists.iter().filter_map(|l| if let Some(SingleOrVec::Single(s)) = &l.items { Some(flat(root, s)) } else { None }).flatten().collect();
            items.iter().enumerate().find_map(|(i, v)| misplaced(root, &inner, v, &format!("{path}[{i}]")))
        }
        Value::Object(fields) => fields.iter().find_map(|(name, v)| {
            let objects = schemas.iter().filter_map(|s| s.object.as_ref());
            let of_field = objects.filter_map(|o| o.properties.get(name).or(o.additional_properties.as_deref()));
            let inner: Vec<&SchemaObject> = of_field.flat_map(|s| flat(root, s)).collect();
            misplaced(root, &inner, v, &if path.is_empty() { name.clone() } else { format!("{path}.{name}") })
        }),
        _ => None,
    }
}

/// Reads a query string.
///
/// # Errors
/// A bad request that names the parameter.
pub fn from_query<T: DeserializeOwned>(query: &str) -> Result<T, HttpError> {
    let pairs = serde_urlencoded::Deserializer::new(form_urlencoded::parse(query.as_bytes()));
    serde_path_to_error::deserialize(pairs).map_err(|e| {
        let field = field_of(&e.path().to_string(), &e.inner().to_string());
        let why = format!("The query parameter {field} cannot be read: {}.", e.inner());
        fault(Some(field), &why)
    })
}

/// The field that a fault is about: where it was found, and the field that serde names.
fn field_of(path: &str, message: &str) -> String {
    let path = if path == "." || path == "?" { "" } else { path };
    let named = ["missing field `", "unknown field `", "duplicate field `"].iter().find_map(|w| message.strip_prefix(w));
    let Some(name) = named.and_then(|rest| rest.split('`').next()) else { return path.to_string() };
    match path {
        "" => name.to_string(),
        p if p == name || p.ends_with(&format!(".{name}")) => p.to_string(),
        p => format!("{p}.{name}"),
    }
}

/// What was sent, so far as it can be shown: few characters, all of them printable.
fn shown(text: &str, chars_max: usize) -> String {
    virga_model::name::clean(text, chars_max).replace('\n', "\u{fffd}")
}

fn fault(field: Option<String>, message: &str) -> HttpError {
    let message = shown(message, SHOWN_CHARS_MAX);
    HttpError {
        status_code: ErrorStatusCode::BAD_REQUEST,
        error_code: field.map(|f| format!("{FIELD_CODE}{}", shown(&f, FIELD_CHARS_MAX))),
        external_message: message.clone(),
        internal_message: message,
        headers: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::{ListQuery, Problem, RoleBindingCreate, VmCreate, VmUpdate};

    fn problem<T: DeserializeOwned + JsonSchema>(body: &str) -> Problem {
        Problem::from(from_json::<T>(body.as_bytes()).err().unwrap_or_else(|| panic!("{body}")))
    }

    #[test]
    fn the_field_at_fault_is_named() {
        for (body, field) in [
            (r#"{"name": 5}"#, "name"),
            ("{}", "name"),
            (r#"{"name": "a", "surprise": 1}"#, "surprise"),
            (r#"{"name": "a", "name": "b"}"#, "name"),
            (r#"{"name": "a", "disks": [{}, {"size_bytes": -1}]}"#, "disks[1].size_bytes"),
            (r#"{"name": "a", "disks": [{"shape": 1}]}"#, "disks[0].shape"),
            (r#"{"name": "a", "nics": [{}]}"#, "nics[0].network"),
            (r#"{"name": "a", "firmware": 5}"#, "firmware"),
            (r#"{"name": "a", "disks": [[]]}"#, "disks[0]"),
            (r#"{"name": "a", "cloud_init": []}"#, "cloud_init"),
            (r#"{"name": "a", "cloud_init": {"users": [{"sudo": true}]}}"#, "cloud_init.users[0].name"),
        ] {
            let p = problem::<VmCreate>(body);
            assert_eq!(p.violations.first().map(|v| v.field.as_str()), Some(field), "{body}: {p}");
        }
        for body in ["", "{", "[]x", "\u{feff}{}", r#"{"name": "a"} {}"#] {
            assert!(from_json::<VmCreate>(body.as_bytes()).is_err(), "{body}");
        }
        // Fields in their order are no object.
        assert_eq!(problem::<VmUpdate>("[]").violations[0].field, "body");
        assert_eq!(problem::<RoleBindingCreate>(r#"{"user": "a", "role": "viewer", "scope": ["all"]}"#).violations[0].field, "scope");
        assert!(from_json::<VmCreate>(br#"{"name": "a", "boot": ["disk"], "cdroms": [""], "disks": [{"size_bytes": 5}], "labels": {"a": "["}}"#).is_ok());
        assert!(problem::<VmCreate>(&"[".repeat(10_000)).detail.len() < 1000);
    }

    #[test]
    fn query_parameters_are_named_and_unknown_ones_refused() {
        for (query, field) in [("limit=x", "limit"), ("total=maybe", "total"), ("limit=1&limit=2", "limit"), ("dryrun=true", "dryrun")] {
            let p = Problem::from(from_query::<ListQuery>(query).expect_err(query));
            assert_eq!(p.violations.first().map(|v| v.field.as_str()), Some(field), "{query}: {p}");
        }
        assert_eq!(from_query::<ListQuery>("limit=5").unwrap().limit, Some(5));
    }

    #[test]
    fn a_hostile_value_is_shown_short_and_printable() {
        let long = format!(r#"{{"name": "a", "cpus": "{}"}}"#, "\\u001b[31m\\u202e".repeat(5000));
        let p = problem::<VmCreate>(&long);
        assert!(p.detail.len() < 2000 && !p.detail.contains(['\u{1b}', '\u{202e}']), "{p}");
    }
}
