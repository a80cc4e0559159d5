//! Which VMs a verb works on: names, labels, a condition, all, or names on stdin.

use crate::app::App;
use crate::client::{List, ListQuery};
use crate::error::{Failure, Result};
use crate::json::text;
use clap::Args;
use std::io::{BufRead, IsTerminal};

/// Which VMs.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Select {
    /// Names or ids; - reads them from stdin.
    #[arg(value_name = "VM")]
    names: Vec<String>,
    /// All VMs with this label (KEY=VALUE or KEY!=VALUE); may be repeated.
    #[arg(short = 'l', long = "selector", value_name = "KEY=VALUE")]
    labels: Vec<String>,
    /// All VMs that meet this condition.
    #[arg(long, value_name = "EXPR")]
    filter: Option<String>,
    /// All VMs.
    #[arg(long, conflicts_with_all = ["names", "labels", "filter"])]
    all: bool,
}

/// A VM to work on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Goes to the API: the id when it is known, else the name as given.
    pub(crate) key: String,
    /// For people.
    pub(crate) name: String,
}

/// The VMs to work on.
pub(crate) struct Targets {
    /// The VMs.
    pub(crate) vms: Vec<Target>,
    /// Exactly one was named: it is worked on by itself, not as a batch.
    pub(crate) single: bool,
}

impl Targets {
    /// Names for a question.
    pub(crate) fn names(&self) -> Vec<String> {
        self.vms.iter().map(|t| t.name.clone()).collect()
    }
}

impl Select {
    /// Finds the VMs.
    pub(crate) async fn resolve(&self, app: &App) -> Result<Targets> {
        if self.all || self.filter.is_some() || !self.labels.is_empty() {
            if !self.names.is_empty() {
                return Err(Failure::usage("name VMs, or select them by label or filter, not both"));
            }
            return self.search(app).await;
        }
        let names = self.named(std::io::stdin().lock())?;
        let single = names.len() == 1 && self.names.iter().all(|n| n != "-");
        Ok(Targets { vms: names.into_iter().map(|n| Target { key: n.clone(), name: n }).collect(), single })
    }

    /// The names as given, those of stdin included, each once.
    fn named(&self, stdin: impl BufRead) -> Result<Vec<String>> {
        if self.names.is_empty() {
            return Err(Failure::usage("no VM is named").hint("name VMs, or select them with -l KEY=VALUE, --filter or --all"));
        }
        let mut out: Vec<String> = self.names.iter().filter(|n| *n != "-").cloned().collect();
        if self.names.iter().any(|n| n == "-") {
            if std::io::stdin().is_terminal() {
                eprintln!("names, one a line; Ctrl-D ends:");
            }
            for line in stdin.lines() {
                out.extend(line?.split_whitespace().map(String::from));
            }
        }
        let mut seen = std::collections::HashSet::new();
        out.retain(|n| seen.insert(n.clone()));
        Ok(out)
    }

    async fn search(&self, app: &App) -> Result<Targets> {
        let filter = condition(self.filter.as_deref(), &self.labels)?;
        let query = ListQuery { filter, fields: Some("id,name".into()), ..Default::default() };
        let found = app.api()?.list(&List::Vms, &query).await?;
        let vms = found.iter().map(|v| Target { key: text(v, "id").into(), name: text(v, "name").into() }).collect();
        Ok(Targets { vms, single: false })
    }
}

/// A condition of the API's filter language from a condition and label selectors.
pub(crate) fn condition(filter: Option<&str>, labels: &[String]) -> Result<Option<String>> {
    let mut terms: Vec<String> = filter.map(|f| format!("({f})")).into_iter().collect();
    for l in labels {
        let (key, op, value) = match (l.split_once("!="), l.split_once('=')) {
            (Some((k, v)), _) => (k, "!=", v),
            (None, Some((k, v))) => (k, "=", v.strip_prefix('=').unwrap_or(v)),
            (None, None) => return Err(Failure::usage(format!("\"{l}\" is not KEY=VALUE"))),
        };
        let key_ok = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/'));
        if !key_ok {
            return Err(Failure::usage(format!("\"{key}\" is not the key of a label")));
        }
        terms.push(format!("label.{key} {op} {}", quoted(value)));
    }
    // A condition alone stays as it was written, so that the manager's complaints name the right place.
    match (filter, terms.len()) {
        (Some(f), 1) => Ok(Some(f.into())),
        (_, 0) => Ok(None),
        _ => Ok(Some(terms.join(" and "))),
    }
}

/// A text of the filter language.
pub(crate) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Exit;

    #[test]
    fn conditions_parse_as_the_manager_parses_them() {
        let labels = |l: &[&str]| l.iter().map(|s| (*s).to_string()).collect::<Vec<_>>();
        assert_eq!(condition(None, &[]).expect("none"), None);
        assert_eq!(condition(Some("state = running"), &[]).expect("one"), Some("state = running".into()));
        let c = condition(Some("a = 1 or b = 2"), &labels(&["env=prod", "team!=a \"b\\"])).expect("three").expect("three");
        assert_eq!(c, r#"(a = 1 or b = 2) and label.env = "prod" and label.team != "a \"b\\""#);
        virga_model::filter::parse(&c).expect("the manager's grammar");
        for bad in ["env", "=x", "a b=c"] {
            assert_eq!(condition(None, &labels(&[bad])).expect_err(bad).exit, Exit::Usage);
        }
    }

    #[test]
    fn names_come_from_the_line_and_stdin_each_once() {
        let s = Select { names: vec!["a".into(), "-".into(), "b".into()], ..Default::default() };
        assert_eq!(s.named("c a\n\nd\n".as_bytes()).expect("names"), ["a", "b", "c", "d"]);
        assert_eq!(Select::default().named("".as_bytes()).expect_err("none").exit, Exit::Usage);
    }
}
