//! `virga api`: any call of the API, with this program's sign-in.

use crate::app::App;
use crate::error::{Failure, Result};
use futures::StreamExt;
use reqwest::header::{HeaderName, HeaderValue};
use serde_json::Value;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// Options of `api`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  virga api GET '/v1/vms?limit=1&filter=state=running'\n  virga api PATCH /v1/hosts/host-1 --data change.json -H 'If-Match: \"7\"'\n  \
                        echo '{\"action\":\"start\"}' | virga api POST /v1/vms/web-1/power --data -\n  virga api GET /docs > docs.html"
)]
pub(crate) struct Args {
    /// GET, POST, PUT, PATCH or DELETE.
    #[arg(value_parser = parse_method)]
    method: reqwest::Method,
    /// Path with query, e.g. /v1/vms?limit=10.
    path: String,
    /// File with the JSON body, - for stdin.
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// A further header, e.g. 'If-Match: "7"'; may be repeated.
    #[arg(short = 'H', long, value_name = "NAME: VALUE", value_parser = parse_header)]
    header: Vec<(HeaderName, HeaderValue)>,
}

fn parse_header(text: &str) -> std::result::Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("a header is NAME: VALUE")?;
    let name = name.trim().parse().map_err(|_| "that is not the name of a header")?;
    Ok((name, value.trim().parse().map_err(|_| "that is not the value of a header")?))
}

fn parse_method(text: &str) -> std::result::Result<reqwest::Method, String> {
    let upper = text.to_ascii_uppercase();
    match upper.as_str() {
        "GET" | "POST" | "PUT" | "PATCH" | "DELETE" | "HEAD" => upper.parse().map_err(|_| "not a method".into()),
        _ => Err("a method is GET, POST, PUT, PATCH or DELETE".into()),
    }
}

/// `virga api`.
pub(crate) async fn run(app: &App, a: Args) -> Result {
    if a.path.contains("://") {
        return Err(Failure::usage("only the path is wanted").hint("the manager's URL comes from the context or --url"));
    }
    let body = a.data.as_deref().map(read).transpose()?;
    let answer = app.api()?.raw(a.method, &a.path, a.header, body).await?;
    let status = answer.status();
    let is_json = answer
        .headers()
        .get(reqwest::header::CONTENT_TYPE)
        .is_some_and(|t| [&b"application/json"[..], b"application/problem+json"].iter().any(|w| t.as_bytes().starts_with(w)));
    if is_json {
        let value: Value = answer.json().await?;
        return if status.is_success() { crate::output::print(&pretty(app, &value)?) } else { Err(Failure::from_problem(status.as_u16(), &value)) };
    }
    if !status.is_success() {
        return Err(Failure::from_problem(status.as_u16(), &Value::Null));
    }
    let mut stream = answer.bytes_stream();
    let mut out = std::io::stdout().lock();
    while let Some(piece) = stream.next().await {
        out.write_all(&piece?)?;
        out.flush()?;
    }
    Ok(())
}

/// JSON for reading, or YAML when that is wanted.
fn pretty(app: &App, v: &Value) -> Result<String> {
    if app.out.format == crate::output::Format::Yaml {
        return serde_saphyr::to_string(v).map_err(|e| Failure::failed(format!("YAML: {e}")));
    }
    Ok(serde_json::to_string_pretty(v).map_err(|e| Failure::failed(e.to_string()))? + "\n")
}

fn read(file: &Path) -> Result<Vec<u8>> {
    if file == Path::new("-") {
        let mut body = Vec::new();
        std::io::stdin().lock().read_to_end(&mut body)?;
        return Ok(body);
    }
    std::fs::read(file).map_err(|e| Failure::failed(format!("{}: {e}", file.display())))
}
