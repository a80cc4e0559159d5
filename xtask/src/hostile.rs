//! `cargo xtask hostile [--minutes M] [--examples N]`: schemathesis against a manager of its own on loopback.
//!
//! It complements the generator in `crates/manager/tests/api/hostile_*`: other people's idea of hostile. It runs in parts, so
//! that answers can be held against their schemas, and so that no operation takes the token of the run away from the others.
//! Its packages are pinned in `scripts/schemathesis/requirements.txt` and live in Virga's cache folder. The manager gets a
//! temporary folder, and both are gone at the end.

use crate::tree;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longest wait for the manager to serve.
const START_MAX: Duration = Duration::from_secs(60);

/// A manager that ends with this value.
struct Manager(Child, PathBuf);

impl Drop for Manager {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        let _ = std::fs::remove_dir_all(&self.1);
    }
}

fn run_ok(what: &str, c: &mut Command) -> Result<()> {
    ensure!(c.status().with_context(|| what.to_string())?.success(), "{what} failed");
    Ok(())
}

/// The folder that keeps what is costly to make: `$XDG_CACHE_HOME/virga`.
fn cache() -> Result<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(|| std::env::var_os("HOME").map(|h| PathBuf::from(h).join(".cache")));
    Ok(base.context("neither XDG_CACHE_HOME nor HOME is set")?.join("virga"))
}

/// The virtual environment with the pinned packages; made where it is missing or of other versions.
fn environment() -> Result<PathBuf> {
    let (folder, wanted) = (cache()?.join("schemathesis"), tree::read("scripts/schemathesis/requirements.txt")?);
    let mark = folder.join("installed.txt");
    if std::fs::read_to_string(&mark).unwrap_or_default() != wanted {
        println!("hostile: installing schemathesis into {}", folder.display());
        run_ok("python3 -m venv", Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
        let list = tree::root().join("scripts/schemathesis/requirements.txt");
        run_ok("pip install", Command::new(folder.join("bin/pip")).args(["install", "--quiet", "--requirement"]).arg(list))?;
        std::fs::write(&mark, wanted)?;
    }
    Ok(folder)
}

/// Starts a manager over a folder of its own, without limits of requests; its address and a token.
fn manager(programs: &Path) -> Result<(Manager, String, String)> {
    let folder = std::env::temp_dir().join(format!("virga-hostile-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let log = std::fs::File::create(folder.join("log"))?;
    let mut c = Command::new(programs.join("virga-manager"));
    c.args(["run", "--rate-limit", "off", "--node-listen", "127.0.0.1:0", "--listen", &format!("127.0.0.1:{port}"), "--state-dir"]).arg(folder.join("state"));
    let child = c.env("VIRGA_LOG", "warn").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().context("virga-manager")?;
    let mut m = Manager(child, folder.clone());
    let begun = Instant::now();
    wait_until(|| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok(), &mut m, begun)?;
    let token = folder.join("token");
    run_ok(
        "virga-manager token",
        Command::new(programs.join("virga-manager")).arg("token").arg("--state-dir").arg(folder.join("state")).arg("--out").arg(&token),
    )?;
    Ok((m, format!("https://localhost:{port}"), std::fs::read_to_string(token)?.trim().to_string()))
}

fn wait_until(mut ready: impl FnMut() -> bool, m: &mut Manager, begun: Instant) -> Result<()> {
    while !ready() {
        let log = || std::fs::read_to_string(m.1.join("log")).unwrap_or_default();
        ensure!(m.0.try_wait()?.is_none() && begun.elapsed() < START_MAX, "the manager does not serve:\n{}", log());
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// A part of the whole: which operations, of which document, judged how.
struct Part {
    name: &'static str,
    /// Share of the time, in tenths.
    tenths: f64,
    /// Whether answers are held against their schemas.
    schemas: bool,
    words: [&'static str; 2],
}

/// `?fields=` makes answers that OpenAPI cannot describe of a schema with required fields, so it is tried apart from the
/// schemas. The operation that revokes tokens comes last and alone: what came after it would meet nothing but 401.
const PARTS: [Part; 3] = [
    Part { name: "answers as documented", tenths: 6.0, schemas: true, words: ["--exclude-operation-id", REVOKES] },
    Part { name: "with ?fields=", tenths: 3.0, schemas: false, words: ["--exclude-operation-id", REVOKES] },
    Part { name: "the end of tokens", tenths: 1.0, schemas: true, words: ["--include-operation-id", REVOKES] },
];

/// The operation after which the token of the run may be gone.
const REVOKES: &str = "token_delete";

/// The document as it is, or without the parameter `fields`.
fn document(folder: &Path, with_fields: bool) -> Result<PathBuf> {
    let whole = tree::root().join("openapi/v1.json");
    if with_fields {
        return Ok(whole);
    }
    let mut doc: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(whole)?)?;
    let operations = doc["paths"].as_object_mut().into_iter().flat_map(|p| p.values_mut()).filter_map(|p| p.as_object_mut()).flat_map(|p| p.values_mut());
    for operation in operations {
        if let Some(parameters) = operation.get_mut("parameters").and_then(|p| p.as_array_mut()) {
            parameters.retain(|p| p["name"] != "fields");
        }
    }
    let file = folder.join("v1.json");
    std::fs::write(&file, serde_json::to_string(&doc)?)?;
    Ok(file)
}

/// Runs schemathesis; whether it found nothing.
///
/// # Errors
/// When something of it cannot be installed, built or started.
pub fn run(words: &[&str]) -> Result<bool> {
    let option = |name: &str| words.iter().position(|w| *w == name).and_then(|i| words.get(i + 1)).copied();
    let minutes: f64 = option("--minutes").unwrap_or("3").parse().context("--minutes needs a number")?;
    let examples = option("--examples").unwrap_or("20");
    let environment = environment()?;
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    run_ok("cargo build", build.current_dir(tree::root()).args(["build", "--quiet", "--package", "virga-manager", "--bin", "virga-manager"]))?;
    let own = std::env::current_exe()?;
    let (m, url, token) = manager(own.parent().context("the folder of this program")?)?;
    let config = std::fs::read_to_string(tree::root().join("scripts/schemathesis/schemathesis.toml"))?;
    let mut good = true;
    for part in &PARTS {
        println!("hostile: {}", part.name);
        let file = m.1.join("schemathesis.toml");
        std::fs::write(&file, config.replace("[checks]", &format!("[checks]\nresponse_schema_conformance.enabled = {}", part.schemas)))?;
        let mut c = Command::new(environment.join("bin/schemathesis"));
        c.arg("--config-file").arg(&file).arg("run").arg(document(&m.1, !part.schemas)?).args(["--url", &url, "--tls-verify"]).arg(m.1.join("state/ca.pem"));
        c.args(["--phases", "examples,coverage,fuzzing", "--max-examples", examples, "--continue-on-failure", "--seed", "1", "--request-timeout", "20"]);
        c.args(["--max-time", &(minutes * 6.0 * part.tenths).ceil().to_string(), "--no-color"]).args(part.words);
        c.env("VIRGA_HOSTILE_TOKEN", &token).current_dir(&m.1);
        good &= c.status().context("schemathesis")?.success();
    }
    Ok(good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_loses_nothing_but_the_parameter() {
        let folder = std::env::temp_dir().join(format!("virga-hostile-test-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let text = std::fs::read_to_string(document(&folder, false).unwrap()).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        let without: serde_json::Value = serde_json::from_str(&text).unwrap();
        let whole: serde_json::Value = serde_json::from_str(&tree::read("openapi/v1.json").unwrap()).unwrap();
        assert!(!text.contains("\"name\":\"fields\""));
        assert_eq!(without["components"], whole["components"]);
        assert_eq!(without["paths"].as_object().unwrap().len(), whole["paths"].as_object().unwrap().len());
        assert!(whole.to_string().contains(REVOKES));
    }
}
