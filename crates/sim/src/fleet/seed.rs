//! Making VMs through the public API, many at a time and again and again: those that are there already are left alone.

use futures::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use virga_model::{Error, ErrorCode};

use super::api::Api;
use super::plan;

/// Requests under way at the same time.
const AT_ONCE: usize = 32;
/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// How far it is.
#[derive(Debug, Default)]
pub struct Progress {
    /// VMs that were asked for and accepted, or were there.
    pub done: AtomicUsize,
    /// VMs that are to be there.
    pub total: AtomicUsize,
}

/// Sees to it that VMs 1 to `count` were accepted by the manager. Answers with how many were made now, and in what time.
///
/// # Errors
/// What the manager says of the first that it refuses; the rest is not asked for.
pub async fn all(api: &Api, seed: u64, count: usize, progress: &Progress) -> Result<(usize, Duration), Error> {
    let begun = Instant::now();
    let there = names(api).await?;
    let missing: Vec<usize> = (1..=count).filter(|n| !there.contains(&plan::vm_name(*n))).collect();
    progress.total.store(count, Ordering::Relaxed);
    progress.done.store(count - missing.len(), Ordering::Relaxed);
    let mut told = Instant::now();
    let made = missing.len();
    let mut requests = futures::stream::iter(missing).map(|n| one(api, seed, n)).buffer_unordered(AT_ONCE);
    while let Some(r) = requests.next().await {
        r?;
        let done = progress.done.fetch_add(1, Ordering::Relaxed) + 1;
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            let rate = (made - (count - done)) as f64 / begun.elapsed().as_secs_f64();
            tracing::info!(done, count, per_second = rate.round(), "VMs are being made through the API");
        }
    }
    Ok((made, begun.elapsed()))
}

/// Names of all VMs that the manager knows.
async fn names(api: &Api) -> Result<HashSet<String>, Error> {
    let mut names = HashSet::new();
    let mut token = String::new();
    loop {
        let page = api.ok(Method::GET, &format!("/v1/vms?limit=1000&fields=name{token}"), None).await?;
        names.extend(page["items"].as_array().into_iter().flatten().filter_map(|v| v["name"].as_str()).map(String::from));
        match page["next_page"].as_str() {
            Some(t) => token = format!("&page_token={t}"),
            None => return Ok(names),
        }
    }
}

fn body(seed: u64, n: usize) -> Value {
    let p = plan::vm(seed, n);
    json!({
        "name": plan::vm_name(n), "cpus": p.cpus, "memory_bytes": p.memory_bytes, "start": p.runs,
        "disks": [{"size_bytes": p.disk_bytes}], "nics": [{"network": "nat"}],
        "labels": {"app": p.app, "env": p.env}, "description": "simulated"
    })
}

async fn one(api: &Api, seed: u64, n: usize) -> Result<(), Error> {
    match api.ok(Method::POST, "/v1/vms", Some(&body(seed, n))).await {
        // Somebody made one of this name meanwhile, or the answer to an earlier try was lost.
        Err(e) if e.code == ErrorCode::Conflict => Ok(()),
        other => other.map(drop),
    }
}
