//! The parts of the guide that must say everything: kinds of task, and operations of the API.

use crate::{Faults, tree};
use anyhow::{Context, Result};
use serde_json::Value;
use std::fmt::Write;
use virga_model::task::TaskKind;

/// The document of the API.
pub const DOCUMENT: &str = "openapi/v1.json";
/// The page with the table of operations.
pub const API_PAGE: &str = "docs/guide/api.md";
/// The page with the kinds of task.
pub const TASK_PAGE: &str = "docs/guide/tasks.md";

const BEGIN: &str = "<!-- operations: begin (written by `cargo xtask openapi`) -->";
const END: &str = "<!-- operations: end -->";

/// Every kind of task stands in the guide as code.
///
/// # Errors
/// When the page cannot be read.
pub fn tasks() -> Result<Faults> {
    let page = tree::read(TASK_PAGE)?;
    let missing = TaskKind::ALL.iter().filter(|k| !page.contains(&format!("`{k}`")));
    Ok(missing.map(|k| format!("{TASK_PAGE} does not name `{k}`")).collect())
}

/// The table of operations in the guide is the one that the document gives.
///
/// # Errors
/// When the page or the document cannot be read.
pub fn operations() -> Result<Faults> {
    let page = tree::read(API_PAGE)?;
    let wanted = with_table(&page, &table(&document()?)?)?;
    Ok(if page == wanted { Faults::new() } else { vec![format!("the table in {API_PAGE} is not that of {DOCUMENT}; run: cargo xtask openapi")] })
}

/// Writes the table of operations into the guide. Answers whether the page changed.
///
/// # Errors
/// When the page or the document cannot be read, or the page cannot be written.
pub fn write_operations() -> Result<bool> {
    let page = tree::read(API_PAGE)?;
    let wanted = with_table(&page, &table(&document()?)?)?;
    if page == wanted {
        return Ok(false);
    }
    std::fs::write(tree::root().join(API_PAGE), wanted).context(API_PAGE)?;
    Ok(true)
}

fn document() -> Result<Value> {
    serde_json::from_str(&tree::read(DOCUMENT)?).context(DOCUMENT)
}

/// The page with the part between the markers replaced.
fn with_table(page: &str, table: &str) -> Result<String> {
    let (before, rest) = page.split_once(BEGIN).with_context(|| format!("{API_PAGE} has no line \"{BEGIN}\""))?;
    let (_, after) = rest.split_once(END).with_context(|| format!("{API_PAGE} has no line \"{END}\""))?;
    Ok(format!("{before}{BEGIN}\n\n{table}\n{END}{after}"))
}

/// The operations as a Markdown table, by tag and path.
fn table(document: &Value) -> Result<String> {
    let paths = document["paths"].as_object().context("the document has no paths")?;
    let mut rows = Vec::new();
    for (path, methods) in paths {
        for (method, operation) in methods.as_object().into_iter().flatten() {
            let id = operation["operationId"].as_str().with_context(|| format!("{method} {path} has no operationId"))?;
            let tag = operation["tags"][0].as_str().unwrap_or_default();
            let summary = operation["summary"].as_str().unwrap_or_default().replace('|', "\\|");
            rows.push((tag.to_string(), path.clone(), order_of(method), method.to_uppercase(), id.to_string(), summary));
        }
    }
    rows.sort();
    let mut out = String::from("| Operation | Call | What it does |\n|---|---|---|\n");
    for (_, path, _, method, id, summary) in rows {
        writeln!(out, "| `{id}` | `{method} {path}` | {summary} |")?;
    }
    Ok(out)
}

/// Reading comes before changing.
fn order_of(method: &str) -> u8 {
    match method {
        "get" => 0,
        "post" => 1,
        "put" | "patch" => 2,
        _ => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_holds_every_operation_and_replaces_the_old_one() {
        let document = serde_json::json!({"paths": {
            "/v1/vms/{vm}": {"delete": {"operationId": "vm_delete", "tags": ["vm"]}, "get": {"operationId": "vm_view", "summary": "One VM.", "tags": ["vm"]}},
            "/v1/hosts": {"get": {"operationId": "host_list", "tags": ["host"]}}
        }});
        let table = table(&document).unwrap();
        let at = |what: &str| table.find(what).unwrap();
        assert!(at("host_list") < at("vm_view") && at("vm_view") < at("vm_delete"), "{table}");
        assert!(table.contains("| `vm_view` | `GET /v1/vms/{vm}` | One VM. |"));
        let page = with_table(&format!("a\n{BEGIN}\nold\n{END}\nz"), &table).unwrap();
        assert!(page.starts_with("a\n") && page.ends_with("\nz") && !page.contains("old"));
        assert_eq!(with_table(&page, &table).unwrap(), page);
        assert!(with_table("no markers", &table).is_err());
    }
}
