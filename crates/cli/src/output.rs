//! What goes to stdout: tables for eyes, JSON, YAML and CSV for programs, names for other commands.

use crate::column::{self, Column, Shown};
use crate::error::{Failure, Result};
use crate::human;
use crate::json::text;
use clap::ValueEnum;
use comfy_table::{CellAlignment, Table, presets};
use serde_json::Value;
use std::io::Write;
use virga_model::Time;

/// Form of the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For eyes.
    #[default]
    Table,
    /// For eyes, with more columns.
    Wide,
    /// The API's objects.
    Json,
    /// The API's objects.
    Yaml,
    /// The table's columns with plain values.
    Csv,
    /// Names only (ids where there is no name).
    Name,
}

/// How output is wanted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Output {
    /// Form.
    pub(crate) format: Format,
    /// Without the line of column names.
    pub(crate) no_headers: bool,
    /// Columns wanted; none: the usual ones.
    pub(crate) columns: Vec<String>,
}

impl Output {
    /// Whether objects go out as they are.
    pub(crate) fn is_data(&self) -> bool {
        matches!(self.format, Format::Json | Format::Yaml)
    }

    /// A list as text.
    pub(crate) fn list_text(&self, items: &[Value], columns: &[Column], now: Time) -> Result<String> {
        match self.format {
            Format::Json | Format::Yaml => self.data_text(&Value::Array(items.to_vec())),
            Format::Name => Ok(items.iter().map(|v| format!("{}\n", name_of(v))).collect()),
            Format::Csv => Ok(csv(items, &column::pick(columns, &self.columns, false)?, !self.no_headers)),
            Format::Table | Format::Wide => {
                let picked = column::pick(columns, &self.columns, self.format == Format::Wide)?;
                Ok(table(items, &picked, !self.no_headers, now))
            }
        }
    }

    /// Prints a list.
    pub(crate) fn list(&self, items: &[Value], columns: &[Column]) -> Result {
        if items.is_empty() && matches!(self.format, Format::Table | Format::Wide) {
            eprintln!("nothing found");
            return Ok(());
        }
        print(&self.list_text(items, columns, human::now())?)
    }

    /// One object as text: in a table each field on its own line.
    pub(crate) fn object_text(&self, v: &Value, columns: &[Column], now: Time) -> Result<String> {
        match self.format {
            Format::Table | Format::Wide => {
                let all = column::pick(columns, &self.columns, true)?;
                Ok(pairs(&all.iter().map(|c| (c.header().to_lowercase(), c.cell(v, now))).collect::<Vec<_>>()))
            }
            Format::Json | Format::Yaml => self.data_text(v),
            Format::Csv | Format::Name => self.list_text(std::slice::from_ref(v), columns, now),
        }
    }

    /// Prints one object.
    pub(crate) fn object(&self, v: &Value, columns: &[Column]) -> Result {
        print(&self.object_text(v, columns, human::now())?)
    }

    /// A value as JSON or YAML.
    fn data_text(&self, v: &Value) -> Result<String> {
        if self.format == Format::Yaml {
            return serde_saphyr::to_string(v).map_err(|e| Failure::failed(format!("YAML: {e}")));
        }
        let text = serde_json::to_string_pretty(v).map_err(|e| Failure::failed(format!("JSON: {e}")))?;
        Ok(text + "\n")
    }

    /// Prints a value as JSON or YAML.
    pub(crate) fn data(&self, v: &Value) -> Result {
        print(&self.data_text(v)?)
    }
}

/// Writes to stdout. A reader that went away (`| head`) ends the program quietly, as it should.
pub(crate) fn print(text: &str) -> Result {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        other => Ok(other?),
    }
}

/// Writes a line to stdout.
pub(crate) fn print_line(text: &str) -> Result {
    print(&format!("{text}\n"))
}

/// What an object is called: its name, or its id.
pub(crate) fn name_of(v: &Value) -> String {
    match (text(v, "name"), v.get("id")) {
        ("", Some(Value::String(id))) => id.clone(),
        ("", Some(id)) => id.to_string(),
        (name, _) => name.into(),
    }
}

/// A table without lines.
fn table(items: &[Value], columns: &[Shown], headers: bool, now: Time) -> String {
    let rows = items.iter().map(|v| columns.iter().map(|c| c.cell(v, now)).collect());
    let right: Vec<bool> = columns.iter().map(Shown::is_number).collect();
    let head: Vec<String> = columns.iter().map(Shown::header).collect();
    grid(headers.then_some(&head), rows, &right)
}

/// Rows of cells as a table without lines; `right` says which columns stand to the right.
pub(crate) fn grid(head: Option<&Vec<String>>, rows: impl Iterator<Item = Vec<String>>, right: &[bool]) -> String {
    let mut t = Table::new();
    t.load_style(presets::NOTHING);
    if let Some(head) = head {
        t.set_header(head.clone());
    }
    t.add_rows(rows);
    let last = t.column_count().saturating_sub(1);
    for (i, c) in t.column_iter_mut().enumerate() {
        c.set_padding((0, if i == last { 0 } else { 2 }));
        if right.get(i).copied().unwrap_or_default() {
            c.set_cell_alignment(CellAlignment::Right);
        }
    }
    t.lines().map(|l| l.trim_end().to_string() + "\n").collect()
}

/// `name: value` on each line, the values below each other.
pub(crate) fn pairs(rows: &[(String, String)]) -> String {
    let width = rows.iter().map(|(n, _)| n.chars().count() + 1).max().unwrap_or_default();
    rows.iter().map(|(n, v)| format!("{:width$}  {v}\n", format!("{n}:")).trim_end().to_string() + "\n").collect()
}

/// Comma-separated values (RFC 4180, with plain line ends).
fn csv(items: &[Value], columns: &[Shown], headers: bool) -> String {
    let line = |cells: Vec<String>| cells.iter().map(|c| csv_cell(c)).collect::<Vec<_>>().join(",") + "\n";
    let head = headers.then(|| line(columns.iter().map(|c| c.header().to_lowercase()).collect()));
    head.into_iter().chain(items.iter().map(|v| line(columns.iter().map(|c| c.raw(v)).collect()))).collect()
}

fn csv_cell(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::column::{Kind, col, wide};
    use serde_json::json;

    const COLUMNS: &[Column] =
        &[col("name", "name", Kind::Text), col("memory", "spec.memory.bytes", Kind::Bytes), col("age", "created_at", Kind::Age), wide("id", "id", Kind::Text)];

    fn items() -> Vec<Value> {
        vec![
            json!({"id": "i1", "name": "web-1", "spec": {"memory": {"bytes": 268435456}}, "created_at": "2026-01-01T00:00:00Z"}),
            json!({"id": "i2", "name": "a,\"b\"", "spec": {"memory": {"bytes": 1073741824}}, "created_at": "2025-12-31T00:00:00Z"}),
        ]
    }

    fn shown(format: Format, no_headers: bool, columns: &[&str]) -> String {
        let o = Output { format, no_headers, columns: columns.iter().map(|c| (*c).to_string()).collect() };
        o.list_text(&items(), COLUMNS, Time::parse("2026-01-01T00:01:00Z").expect("a time")).expect("text")
    }

    #[test]
    fn tables() {
        assert_eq!(shown(Format::Table, false, &[]), "NAME    MEMORY  AGE\nweb-1  256 MiB  60s\na,\"b\"    1 GiB  24h\n");
        assert_eq!(shown(Format::Table, true, &["name"]), "web-1\na,\"b\"\n");
        assert_eq!(shown(Format::Wide, true, &[]).lines().next(), Some("web-1  256 MiB  60s  i1"));
    }

    #[test]
    fn output_for_programs() {
        assert_eq!(shown(Format::Name, false, &[]), "web-1\na,\"b\"\n");
        assert_eq!(shown(Format::Csv, false, &[]), "name,memory,age\nweb-1,268435456,2026-01-01T00:00:00Z\n\"a,\"\"b\"\"\",1073741824,2025-12-31T00:00:00Z\n");
        let back: Value = serde_json::from_str(&shown(Format::Json, false, &[])).expect("JSON");
        assert_eq!(back, Value::Array(items()));
        let back: Value = serde_saphyr::from_str(&shown(Format::Yaml, false, &[])).expect("YAML");
        assert_eq!(back, Value::Array(items()));
    }

    #[test]
    fn one_object_has_a_line_for_each_field() {
        let o = Output::default();
        let text = o.object_text(&items()[0], COLUMNS, Time::parse("2026-01-01T00:01:00Z").expect("a time")).expect("text");
        assert_eq!(text, "name:    web-1\nmemory:  256 MiB\nage:     60s\nid:      i1\n");
    }
}
