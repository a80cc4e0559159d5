//! Fetching what can be gone on with: the bytes that are there are not fetched again while the content is still the same.
//!
//! What is on its way lies beside the wanted file, with the ETag that it had; nobody sees half a file under its name.

use crate::app::App;
use crate::error::{Exit, Failure, Result};
use crate::human;
use crate::upload::bar;
use futures::StreamExt;
use indicatif::ProgressBar;
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderValue, IF_RANGE, RANGE};
use reqwest::{Method, Response, StatusCode};
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Tries in a row that bring nothing new before the download is given up.
const TRIES: u32 = 6;
/// First pause before it is gone on; doubles.
const PAUSE: Duration = Duration::from_secs(1);

/// A download on its way.
pub(crate) struct Partial {
    /// The bytes that came.
    pub(crate) file: PathBuf,
    tag: PathBuf,
}

impl Partial {
    /// Beside the file that is wanted.
    pub(crate) fn of(wanted: &Path) -> Partial {
        let with = |end: &str| {
            let mut name = wanted.as_os_str().to_os_string();
            name.push(end);
            PathBuf::from(name)
        };
        Partial { file: with(".part"), tag: with(".part.etag") }
    }

    /// Removes what is there of it.
    pub(crate) fn remove(&self) {
        let _ = std::fs::remove_file(&self.tag);
        let _ = std::fs::remove_file(&self.file);
    }

    /// Only what belongs to it beside the bytes.
    pub(crate) fn done(&self) {
        let _ = std::fs::remove_file(&self.tag);
    }

    /// How many bytes are there, and of what.
    fn there(&self) -> Option<(u64, String)> {
        let tag = std::fs::read_to_string(&self.tag).ok()?;
        let bytes = std::fs::metadata(&self.file).ok()?.len();
        (bytes > 0 && tag.starts_with('"')).then_some((bytes, tag))
    }
}

fn failed(file: &Path, e: &std::io::Error) -> Failure {
    Failure::failed(format!("{}: {e}", file.display()))
}

/// Fetches `path` into `to`, from the byte on that is there.
///
/// # Errors
/// What the manager says, what the network says when it does not come through, and what the disk says.
pub(crate) async fn fetch(app: &App, path: &str, to: &Partial) -> Result {
    let (begun, bar) = (Instant::now(), bar(0, "download"));
    let (mut fruitless, mut best, mut fetched) = (0, 0, 0);
    loop {
        let before = to.there().map_or(0, |t| t.0);
        match piece(app, path, to, &bar).await {
            Ok(n) => {
                fetched += n;
                break;
            }
            // Only what the network says is worth another try; what the manager says is said for good.
            Err(e) if e.exit == Exit::Unreachable && e.about.status.is_none() && fruitless < TRIES => {
                let now = to.there().map_or(0, |t| t.0);
                fetched += now.saturating_sub(before);
                fruitless = if now > best { 1 } else { fruitless + 1 };
                best = best.max(now);
                bar.suspend(|| eprintln!("{}; going on", e.message));
                tokio::time::sleep(PAUSE * (1 << fruitless.min(5))).await;
            }
            Err(e) => return Err(e),
        }
    }
    bar.finish_and_clear();
    let took = begun.elapsed().as_secs_f64().max(0.001);
    eprintln!("{} in {took:.1}s ({})", human::size(fetched), human::rate(fetched as f64 / took));
    Ok(())
}

/// One request; answers with the bytes that it brought.
async fn piece(app: &App, path: &str, to: &Partial, bar: &ProgressBar) -> Result<u64> {
    let there = to.there();
    let mut headers = Vec::new();
    if let Some((bytes, tag)) = &there {
        let value = |text: &str| HeaderValue::from_str(text).map_err(|e| Failure::failed(e.to_string()));
        headers.extend([(RANGE, value(&format!("bytes={bytes}-"))?), (IF_RANGE, value(tag)?)]);
    }
    let answer = app.api()?.raw(Method::GET, path, headers, None).await?;
    let from = match (answer.status(), &there) {
        (StatusCode::PARTIAL_CONTENT, Some((bytes, _))) if begins_at(&answer, *bytes) => *bytes,
        // All of it is there.
        (StatusCode::RANGE_NOT_SATISFIABLE, Some((bytes, _))) if ends_at(&answer, *bytes) => return Ok(0),
        (StatusCode::OK, _) => 0,
        (StatusCode::RANGE_NOT_SATISFIABLE, Some(_)) => {
            to.remove();
            return Err(Failure::failed("what an earlier download left is of something else; it was removed, fetch it again"));
        }
        (status, _) => return Err(refused(status, answer).await),
    };
    let length = answer.headers().get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<u64>().ok());
    if from == 0 {
        let tag = answer.headers().get(ETAG).and_then(|v| v.to_str().ok()).unwrap_or_default();
        std::fs::write(&to.tag, tag).map_err(|e| failed(&to.tag, &e))?;
    }
    let mut out = File::options().write(true).create(true).truncate(false).open(&to.file).map_err(|e| failed(&to.file, &e))?;
    out.set_len(from).and_then(|()| out.seek(SeekFrom::Start(from))).map_err(|e| failed(&to.file, &e))?;
    length.into_iter().for_each(|l| bar.set_length(from.saturating_add(l)));
    bar.set_position(from);
    let (mut content, mut bytes) = (answer.bytes_stream(), 0u64);
    let broken = |why: String| Failure::new(Exit::Unreachable, format!("the download broke off: {why}"));
    while let Some(piece) = content.next().await {
        let piece = piece.map_err(|e| broken(crate::error::chain(&e)))?;
        out.write_all(&piece).map_err(|e| failed(&to.file, &e))?;
        bytes += piece.len() as u64;
        bar.inc(piece.len() as u64);
    }
    if length.is_some_and(|l| l != bytes) {
        return Err(broken(format!("{bytes} bytes came instead of {}", length.unwrap_or_default())));
    }
    out.sync_all().map_err(|e| failed(&to.file, &e))?;
    Ok(bytes)
}

fn content_range(answer: &Response) -> Option<&str> {
    answer.headers().get(CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes ")
}

fn begins_at(answer: &Response, bytes: u64) -> bool {
    content_range(answer).is_some_and(|r| r.starts_with(&format!("{bytes}-")))
}

fn ends_at(answer: &Response, bytes: u64) -> bool {
    content_range(answer) == Some(&format!("*/{bytes}"))
}

/// What the manager says of it.
async fn refused(status: StatusCode, answer: Response) -> Failure {
    let problem: serde_json::Value = answer.text().await.ok().and_then(|t| serde_json::from_str(&t).ok()).unwrap_or_default();
    let said = problem.get("detail").and_then(serde_json::Value::as_str).unwrap_or("without a word");
    let e = Failure::failed(format!("it cannot be fetched: {status}, {said}"));
    match problem.get("hint").and_then(serde_json::Value::as_str) {
        Some(h) => e.hint(h),
        None => e,
    }
}
