//! `vm edit`: the fields that can be changed, as YAML in an editor. The change is refused when somebody else was faster.

use crate::app::App;
use crate::args::Change;
use crate::client::types::VmUpdate;
use crate::client::{json, json_etag};
use crate::error::{Exit, Failure, Result};
use crate::human;
use crate::json::at;
use crate::{terminal, wait};
use serde_json::{Map, Value};
use std::io::Write;
use std::path::Path;

/// Fields of a change, and where they stand in a VM.
const FIELDS: [(&str, &str); 13] = [
    ("name", "name"),
    ("description", "description"),
    ("labels", "labels"),
    ("cpus", "spec.cpu.count"),
    ("cpus_max", "spec.cpu.max"),
    ("cores_per_socket", "spec.cpu.cores_per_socket"),
    ("cpu_mode", "spec.cpu.mode"),
    ("memory_bytes", "spec.memory.bytes"),
    ("memory_max_bytes", "spec.memory.max_bytes"),
    ("firmware", "spec.firmware"),
    ("machine", "spec.machine"),
    ("boot", "spec.boot"),
    ("cloud_init", "spec.cloud_init"),
];

/// Options of `edit`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  virga vm edit web-1\n  virga vm edit web-1 --dry-run\n\nThe editor is $VISUAL or $EDITOR, else vi.")]
pub(crate) struct Args {
    /// Name or id.
    vm: String,
    #[command(flatten)]
    change: Change,
}

/// `vm edit`.
pub(crate) async fn run(app: &App, a: Args) -> Result {
    let (vm, etag) = json_etag(app.api()?.v1.vm_view().vm(&a.vm).send().await)?;
    let before = fields(&vm);
    let mut text = document(&before)?;
    loop {
        let edited = in_editor(&text)?;
        let again = match read_change(&edited, &before) {
            Ok(change) if change.is_empty() => {
                eprintln!("nothing was changed");
                return Ok(());
            }
            Ok(change) => match send(app, &a, &change, etag.as_deref()).await {
                Ok(accepted) => return wait::finish(app, accepted, &a.change, "changed").await,
                Err(e) => e,
            },
            Err(e) => e,
        };
        text = with_complaint(&edited, &again);
        if !may_mend(&again) || !terminal::is_interactive() || !terminal::ask(&format!("{}Edit again?", again.render()))? {
            return Err(keep(&edited, again));
        }
    }
}

/// Whether editing again can help.
fn may_mend(e: &Failure) -> bool {
    e.exit == Exit::Usage || matches!(e.about.status, Some(400 | 422))
}

/// The fields that can be changed, as they are now.
fn fields(vm: &Value) -> Map<String, Value> {
    let now = |path: &str| at(vm, path).clone();
    FIELDS.iter().map(|(name, path)| ((*name).to_string(), now(path))).filter(|(_, v)| !v.is_null()).collect()
}

/// The document to edit.
fn document(fields: &Map<String, Value>) -> Result<String> {
    let shown: Map<String, Value> = fields.iter().map(|(k, v)| (k.clone(), shown_size(k, v))).collect();
    let yaml = serde_saphyr::to_string(&shown).map_err(|e| Failure::failed(format!("YAML: {e}")))?;
    Ok(format!(
        "# Change what you like, save and leave; an unchanged file changes nothing.\n# What a running guest cannot take now waits for its next start.\n{yaml}"
    ))
}

/// A size in bytes as a person writes it, when that is exact.
fn shown_size(name: &str, v: &Value) -> Value {
    match v.as_u64() {
        Some(b) if name.ends_with("_bytes") && b > 0 && b.is_multiple_of(1 << 30) => format!("{}GiB", b >> 30).into(),
        Some(b) if name.ends_with("_bytes") && b > 0 && b.is_multiple_of(1 << 20) => format!("{}MiB", b >> 20).into(),
        _ => v.clone(),
    }
}

/// What differs from before in an edited document.
fn read_change(text: &str, before: &Map<String, Value>) -> Result<Map<String, Value>> {
    let edited: Value = serde_saphyr::from_str(text).map_err(|e| Failure::usage(format!("this is not YAML: {e}")))?;
    let Value::Object(edited) = edited else { return Err(Failure::usage("the document must have fields such as cpus: 2")) };
    let mut change = Map::new();
    for (name, value) in edited {
        if !FIELDS.iter().any(|(n, _)| *n == name) {
            return Err(Failure::usage(format!("{name} is not a field that can be changed here")));
        }
        let value = match (&value, name.ends_with("_bytes")) {
            (Value::String(s), true) => human::parse_size(s).map_err(Failure::usage)?.into(),
            _ => value,
        };
        if before.get(&name).unwrap_or(&Value::Null) != &value {
            change.insert(name, value);
        }
    }
    Ok(change)
}

async fn send(app: &App, a: &Args, change: &Map<String, Value>, etag: Option<&str>) -> Result<Value> {
    let body: VmUpdate = serde_json::from_value(Value::Object(change.clone())).map_err(|e| Failure::usage(e.to_string()))?;
    let mut call = app.api()?.v1.vm_update().vm(&a.vm).body(body);
    if let Some(etag) = etag {
        call = call.if_match(etag);
    }
    if a.change.dry_run {
        call = call.dry_run(true);
    }
    json(call.send().await)
}

/// The document with a complaint above it.
fn with_complaint(text: &str, e: &Failure) -> String {
    let complaint: String = e.render().lines().map(|l| format!("#! {l}\n")).collect();
    let rest: String = text.lines().filter(|l| !l.starts_with("#! ")).map(|l| format!("{l}\n")).collect();
    complaint + &rest
}

/// Lets the user edit `text`.
fn in_editor(text: &str) -> Result<String> {
    let mut file = tempfile::Builder::new().prefix("virga-").suffix(".yaml").tempfile()?;
    file.write_all(text.as_bytes())?;
    file.flush()?;
    let editor = ["VISUAL", "EDITOR"].iter().find_map(|n| std::env::var(n).ok().filter(|v| !v.trim().is_empty())).unwrap_or_else(|| "vi".into());
    run_editor(&editor, file.path())?;
    Ok(std::fs::read_to_string(file.path())?)
}

/// Runs the editor by the shell, as `$EDITOR` may hold options; the file's name is an argument, never text of a command.
fn run_editor(editor: &str, file: &Path) -> Result {
    let status = std::process::Command::new("sh").arg("-c").arg(format!("{editor} \"$1\"")).arg("sh").arg(file).status();
    match status {
        Ok(s) if s.success() => Ok(()),
        Ok(s) => Err(Failure::failed(format!("the editor {editor} ended with {s}"))),
        Err(e) => Err(Failure::failed(format!("the editor {editor} does not start: {e}"))),
    }
}

/// Keeps what was written when it cannot be applied.
fn keep(text: &str, e: Failure) -> Failure {
    let kept = tempfile::Builder::new().prefix("virga-").suffix(".yaml").tempfile().ok().and_then(|mut f| {
        f.write_all(text.as_bytes()).ok()?;
        f.keep().ok().map(|(_, path)| path)
    });
    match kept {
        Some(path) => {
            let before = e.hint.as_ref().map(|h| format!("{h}; ")).unwrap_or_default();
            e.hint(format!("{before}your text is kept in {}", path.display()))
        }
        None => e,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::tests::web;
    use serde_json::json;

    #[test]
    fn an_unchanged_document_changes_nothing() {
        let before = fields(&web());
        let text = document(&before).expect("YAML");
        assert!(text.contains("memory_bytes: 2GiB"), "{text}");
        assert!(read_change(&text, &before).expect("a document").is_empty(), "{text}");
    }

    #[test]
    fn only_what_differs_is_sent() {
        let before = fields(&web());
        let text = document(&before).expect("YAML").replace("cpus: 2", "cpus: 4").replace("memory_bytes: 2GiB", "memory_bytes: 3GiB");
        let change = read_change(&text, &before).expect("a document");
        assert_eq!(Value::Object(change.clone()), json!({"cpus": 4, "memory_bytes": 3221225472u64}));
        serde_json::from_value::<VmUpdate>(Value::Object(change)).expect("a change of the API");
        for bad in ["colour: red", "- a", "cpus: [", "memory_bytes: much"] {
            assert_eq!(read_change(bad, &before).expect_err(bad).exit, Exit::Usage);
        }
    }

    #[test]
    fn complaints_do_not_pile_up() {
        let e = Failure::usage("no");
        let once = with_complaint("cpus: 2\n", &e);
        assert_eq!(with_complaint(&once, &e), once);
        assert!(once.starts_with("#! error: no\n") && once.ends_with("cpus: 2\n"));
    }

    #[test]
    fn every_field_of_a_change_can_be_edited() {
        let doc: Value = serde_json::from_str(include_str!("../../../../openapi/v1.json")).expect("JSON");
        let all = doc["components"]["schemas"]["VmUpdate"]["properties"].as_object().expect("fields");
        for name in all.keys() {
            assert!(FIELDS.iter().any(|(n, _)| n == name), "{name}");
        }
    }
}
