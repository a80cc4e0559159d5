//! Questions to a manager with the clock running: how long a page, one VM and a hundred power operations take. For
//! `cargo xtask bench fleet`; it judges nothing.

use futures::StreamExt;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::time::{Duration, Instant};
use virga_model::Error;

use super::api::Api;
use super::plan;
use crate::life::draw;

/// Time between two looks at a task.
const LOOK: Duration = Duration::from_millis(100);
/// Longest that all power operations together may take.
const POWER_MAX: Duration = Duration::from_secs(120);

/// Times of requests in milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Times {
    /// Half are faster.
    pub p50_ms: f64,
    /// 99 of 100 are faster.
    pub p99_ms: f64,
}

/// What was found.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Found {
    /// VMs that the manager counts.
    pub vms: i64,
    /// Requests of each kind.
    pub samples: usize,
    /// A page of 100 VMs, from random places, sorted by name.
    pub page: Times,
    /// One VM by name.
    pub one: Times,
    /// Power operations, all asked for at once.
    pub operations: usize,
    /// Of those, the ones that did not succeed.
    pub failed: usize,
    /// Seconds from the first request to the end of the last task.
    pub operations_s: f64,
}

fn times(mut ms: Vec<f64>) -> Times {
    ms.sort_by(f64::total_cmp);
    let at = |share: f64| ms.get(((ms.len() as f64 * share) as usize).min(ms.len().saturating_sub(1))).copied().unwrap_or_default();
    Times { p50_ms: at(0.5), p99_ms: at(0.99) }
}

async fn measure(api: &Api, paths: impl Iterator<Item = String>) -> Result<Times, Error> {
    let mut ms = Vec::new();
    for path in paths {
        let begun = Instant::now();
        api.ok(Method::GET, &path, None).await?;
        ms.push(begun.elapsed().as_secs_f64() * 1000.0);
    }
    Ok(times(ms))
}

/// Asks, one request after the other, then stops or starts `operations` VMs at once. `vms`: how many there are.
///
/// # Errors
/// What the manager says.
pub async fn all(api: &Api, seed: u64, vms: usize, samples: usize, operations: usize) -> Result<Found, Error> {
    let random = |what: u64| plan::vm_name(1 + usize::try_from(draw(seed, what) % vms.max(1) as u64).unwrap_or(0));
    let number = |n: usize| n as u64;
    let total = api.ok(Method::GET, "/v1/vms?limit=1&total=true", None).await?["total"].as_i64().unwrap_or_default();
    let page = |n: usize| format!("/v1/vms?limit=100&sort=name&filter=name%20%3E%3D%20%22{}%22", random(number(n)));
    let page = measure(api, (0..samples).map(page)).await?;
    let one = measure(api, (0..samples).map(|n| format!("/v1/vms/{}", random(1_000_000 + number(n))))).await?;
    let mut names: Vec<String> = (0..operations).map(|n| random(2_000_000 + number(n))).collect();
    names.sort();
    names.dedup();
    let begun = Instant::now();
    let done: Vec<Result<bool, Error>> = futures::stream::iter(&names).map(|n| power(api, n)).buffer_unordered(names.len().max(1)).collect().await;
    let failed = done.iter().filter(|r| !matches!(r, Ok(true))).count();
    if let Some(Err(e)) = done.iter().find(|r| r.is_err()) {
        tracing::warn!(error = %e, "a power operation failed");
    }
    Ok(Found { vms: total, samples, page, one, operations: names.len(), failed, operations_s: begun.elapsed().as_secs_f64() })
}

/// Stops a VM that runs, starts one that does not, and waits for the end of the task; whether it succeeded.
async fn power(api: &Api, name: &str) -> Result<bool, Error> {
    let vm = api.ok(Method::GET, &format!("/v1/vms/{name}"), None).await?;
    let action = if vm["observed"]["state"] == "running" { "force_off" } else { "start" };
    let accepted = api.ok(Method::POST, &format!("/v1/vms/{name}/power"), Some(&json!({"action": action}))).await?;
    let Some(task) = accepted["task"]["id"].as_str() else { return Ok(true) };
    let begun = Instant::now();
    while begun.elapsed() < POWER_MAX {
        let task = api.ok(Method::GET, &format!("/v1/tasks/{task}"), None).await?;
        match task["state"].as_str() {
            Some("succeeded") => return Ok(true),
            Some("failed" | "cancelled") => return Ok(false),
            _ => tokio::time::sleep(LOOK).await,
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_sorted_times() {
        let t = times((1..=100).rev().map(f64::from).collect());
        assert_eq!((t.p50_ms, t.p99_ms), (51.0, 100.0));
        assert_eq!(times(Vec::new()).p50_ms, 0.0);
    }
}
