//! Makes the API client from `openapi/v1.json`, the document that the server is made from, too.
//!
//! Requests get Rust types, so that a field the API does not know does not compile. Answers are left as JSON: what the
//! CLI prints with `-o json` is then what the API sent, also fields and words that a newer manager has and this client
//! does not know. Paths into answers are checked against the document by a test (`column.rs`).

use serde_json::{Value, json};
use std::path::PathBuf;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    // At run time: clones share a build cache, and a path that was built in may be another clone's.
    let document = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("../../openapi/v1.json");
    println!("cargo:rerun-if-changed={}", document.display());
    println!("cargo:rerun-if-changed=build.rs");
    let mut api: Value = serde_json::from_slice(&std::fs::read(&document)?)?;
    answers_as_json(&mut api);
    only_used_schemas(&mut api);
    let mut settings = progenitor::GenerationSettings::default();
    settings.with_interface(progenitor::InterfaceStyle::Builder).with_inner_type("crate::client::Wire".parse()?);
    let code = progenitor::Generator::new(&settings).generate_tokens(&serde_json::from_value(api)?)?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?).join("v1.rs");
    std::fs::write(out, code.to_string())?;
    Ok(())
}

/// Takes the schema away from every JSON answer, of success and of failure.
fn answers_as_json(api: &mut Value) {
    let any = json!({});
    let answers = api["paths"].as_object_mut().into_iter().flat_map(|p| p.values_mut());
    let answers = answers.filter_map(Value::as_object_mut).flat_map(|methods| methods.values_mut());
    let answers = answers.filter_map(|operation| operation["responses"].as_object_mut()).flat_map(|r| r.values_mut());
    for answer in answers {
        if let Some(schema) = answer.pointer_mut("/content/application~1json/schema") {
            *schema = any.clone();
        }
    }
    if let Some(schema) = api.pointer_mut("/components/responses/Problem/content/application~1json/schema") {
        *schema = any;
    }
}

/// Leaves only the schemas that some request uses.
fn only_used_schemas(api: &mut Value) {
    let mut used = std::collections::BTreeSet::new();
    let mut todo = Vec::new();
    references(&api["paths"], &mut todo);
    while let Some(name) = todo.pop() {
        if used.insert(name.clone()) {
            references(&api["components"]["schemas"][&name], &mut todo);
        }
    }
    if let Some(schemas) = api["components"]["schemas"].as_object_mut() {
        schemas.retain(|name, _| used.contains(name));
    }
}

/// Adds the names of the schemas that `v` refers to.
fn references(v: &Value, to: &mut Vec<String>) {
    match v {
        Value::Object(o) => {
            let name = o.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix("#/components/schemas/"));
            to.extend(name.map(String::from));
            o.values().for_each(|x| references(x, to));
        }
        Value::Array(a) => a.iter().for_each(|x| references(x, to)),
        _ => {}
    }
}
