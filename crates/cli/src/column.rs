//! Columns of tables: where the value stands in the API's object, and how it looks. Each noun lists its own; a test
//! checks every path against `openapi/v1.json`.

use crate::error::{Failure, Result};
use crate::human;
use crate::json::{at, text};
use serde_json::Value;
use virga_model::Time;

/// How a value looks.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// As it is; lists joined by blanks.
    Text,
    /// Bytes in IEC units.
    Bytes,
    /// Bytes per second.
    Rate,
    /// A share, 0 to 1, as percent.
    Percent,
    /// A time, as its distance from now.
    Age,
    /// A reference: its name.
    Ref,
    /// A map: `key=value`, joined by commas.
    Map,
    /// Number of items of a list.
    Count,
    /// Made by a function of the whole object; the path says what it mainly reads.
    Made(fn(&Value) -> String),
}

/// A column.
#[derive(Clone, Copy)]
pub(crate) struct Column {
    /// Name for `--columns`; in capitals, the header.
    pub(crate) name: &'static str,
    /// Where the value stands, e.g. `spec.cpu.count`.
    pub(crate) path: &'static str,
    /// How it looks.
    pub(crate) kind: Kind,
    /// Shown only with `-o wide`.
    pub(crate) wide: bool,
}

/// A column that is always shown.
pub(crate) const fn col(name: &'static str, path: &'static str, kind: Kind) -> Column {
    Column { name, path, kind, wide: false }
}

/// A column of `-o wide`.
pub(crate) const fn wide(name: &'static str, path: &'static str, kind: Kind) -> Column {
    Column { name, path, kind, wide: true }
}

/// A column as it is to be shown: one of a noun's, or any field by its path.
#[derive(Clone)]
pub(crate) enum Shown {
    /// One of the noun's.
    Known(Column),
    /// A field by its path, given with `--columns`.
    Path(String),
}

impl Shown {
    /// Text above the column.
    pub(crate) fn header(&self) -> String {
        match self {
            Shown::Known(c) => c.name.to_uppercase(),
            Shown::Path(p) => p.clone(),
        }
    }

    /// The value for eyes; `-` when there is none.
    pub(crate) fn cell(&self, v: &Value, now: Time) -> String {
        let text = match self {
            Shown::Known(c) => pretty(c, v, now),
            Shown::Path(p) => raw(at(v, p)),
        };
        let text = printable(&text);
        if text.is_empty() { "-".into() } else { text }
    }

    /// The value for programs.
    pub(crate) fn raw(&self, v: &Value) -> String {
        match self {
            Shown::Known(Column { kind: Kind::Ref, path, .. }) => reference(at(v, path)),
            Shown::Known(Column { kind: Kind::Count, path, .. }) => count(at(v, path)),
            Shown::Known(c) => raw(at(v, c.path)),
            Shown::Path(p) => raw(at(v, p)),
        }
    }

    /// Whether the column is one of numbers, which stand to the right.
    pub(crate) fn is_number(&self) -> bool {
        matches!(self, Shown::Known(Column { kind: Kind::Bytes | Kind::Rate | Kind::Percent | Kind::Count, .. }))
    }
}

/// Picks the columns to show. `chosen` wins over `wide`.
pub(crate) fn pick(all: &[Column], chosen: &[String], wide: bool) -> Result<Vec<Shown>> {
    if chosen.is_empty() {
        return Ok(all.iter().filter(|c| wide || !c.wide).copied().map(Shown::Known).collect());
    }
    chosen.iter().map(|name| one(all, name.trim())).collect()
}

fn one(all: &[Column], name: &str) -> Result<Shown> {
    if let Some(c) = all.iter().find(|c| c.name.eq_ignore_ascii_case(name)) {
        return Ok(Shown::Known(*c));
    }
    // A top-level field or a path is anything the object has; a typing error in a plain word is told.
    if name.contains('.') || all.iter().any(|c| c.path.split('.').next() == Some(name)) {
        return Ok(Shown::Path(name.into()));
    }
    let known: Vec<&str> = all.iter().map(|c| c.name).collect();
    Err(Failure::usage(format!("there is no column \"{name}\"")).hint(format!("columns are {}; or a field's path such as spec.cpu.count", known.join(", "))))
}

fn pretty(c: &Column, whole: &Value, now: Time) -> String {
    let v = at(whole, c.path);
    match c.kind {
        Kind::Text => raw(v),
        Kind::Bytes => v.as_u64().map(human::size).unwrap_or_default(),
        Kind::Rate => v.as_f64().map(human::rate).unwrap_or_default(),
        Kind::Percent => v.as_f64().map(|x| format!("{:.0} %", x * 100.0)).unwrap_or_default(),
        Kind::Age => v.as_str().and_then(Time::parse).map(|t| human::age(now, t)).unwrap_or_default(),
        Kind::Ref => reference(v),
        Kind::Map => raw(v),
        Kind::Count => count(v),
        Kind::Made(make) => make(whole),
    }
}

fn count(v: &Value) -> String {
    v.as_array().map_or(0, Vec::len).to_string()
}

/// The name of a reference, or its id when it has no name.
fn reference(v: &Value) -> String {
    let name = text(v, "name");
    if name.is_empty() { text(v, "id").into() } else { name.into() }
}

/// A value without ornament.
fn raw(v: &Value) -> String {
    match v {
        Value::Null => String::new(),
        Value::String(s) => s.clone(),
        Value::Array(a) if a.iter().all(|x| !x.is_object() && !x.is_array()) => a.iter().map(raw).collect::<Vec<_>>().join(" "),
        Value::Object(o) if !o.is_empty() && o.values().all(|x| !x.is_object() && !x.is_array()) => {
            o.iter().map(|(k, x)| format!("{k}={}", raw(x))).collect::<Vec<_>>().join(",")
        }
        Value::Object(o) if o.is_empty() => String::new(),
        other => other.to_string(),
    }
}

/// Without characters that would steer the terminal: names and messages come from other people.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::json;

    const ALL: &[Column] = &[col("name", "name", Kind::Text), col("mem", "spec.memory.bytes", Kind::Bytes), wide("id", "id", Kind::Text)];

    #[test]
    fn columns_are_picked_by_name_or_path() {
        let heads = |chosen: &[&str], wide| {
            let chosen: Vec<String> = chosen.iter().map(|s| (*s).to_string()).collect();
            pick(ALL, &chosen, wide).map(|c| c.iter().map(Shown::header).collect::<Vec<_>>())
        };
        assert_eq!(heads(&[], false).expect("columns"), ["NAME", "MEM"]);
        assert_eq!(heads(&[], true).expect("columns"), ["NAME", "MEM", "ID"]);
        assert_eq!(heads(&["mem", "spec.cpu.count"], false).expect("columns"), ["MEM", "spec.cpu.count"]);
        assert!(heads(&["nmae"], false).is_err());
    }

    #[test]
    fn cells_are_for_eyes_and_raw_values_for_programs() {
        let v = json!({"name": "a\u{1b}[31mb", "spec": {"memory": {"bytes": 1073741824}, "tags": ["x", "y"]}, "labels": {"k": "v"}});
        let cols = pick(ALL, &["name".into(), "mem".into(), "spec.tags".into(), "spec.nothing".into()], false).expect("columns");
        let cells: Vec<String> = cols.iter().map(|c| c.cell(&v, Time(0))).collect();
        assert_eq!(cells, ["a [31mb", "1 GiB", "x y", "-"]);
        assert_eq!(cols[1].raw(&v), "1073741824");
    }

    /// The schema at `path` of the schema `name`; none when the document has no such field.
    fn resolve(doc: &Value, name: &str, path: &str) -> bool {
        let mut at = &doc["components"]["schemas"][name];
        for key in path.split('.') {
            at = &follow(doc, at)["properties"][key];
        }
        !follow(doc, at).is_null()
    }

    /// Follows references, and the one-element `allOf` that carries a description.
    fn follow<'d>(doc: &'d Value, mut at: &'d Value) -> &'d Value {
        loop {
            let next = at["$ref"].as_str().or_else(|| at["allOf"][0]["$ref"].as_str());
            match next.and_then(|r| r.strip_prefix('#')) {
                Some(pointer) => at = doc.pointer(pointer).unwrap_or(&Value::Null),
                None => return at,
            }
        }
    }

    #[test]
    fn every_path_stands_in_the_api_document() {
        let doc: Value = serde_json::from_str(include_str!("../../../openapi/v1.json")).expect("JSON");
        for (schema, columns) in crate::noun::all_columns() {
            for c in columns.iter() {
                // Variants of an enum of objects are not resolved; their first word must be there.
                let path = c.path.strip_prefix("spec.").filter(|_| schema == "Network" || schema == "DataStore").map_or(c.path, |_| "spec");
                assert!(resolve(&doc, schema, path), "{schema}.{}: column {} reads what the API does not have", c.path, c.name);
            }
        }
    }
}
