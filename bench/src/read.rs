//! Reads with sign-in and roles, beside the bare twin.

use crate::client::{Target, rate};
use crate::figure::{Figure, Goal};
use crate::{place, seed, twin};
use anyhow::{Context, Result, ensure};
use std::time::Duration;
use virga_api::v1::{Page, Vm};

/// Connections of the load.
const CONNECTIONS: usize = 8;
/// Length of one measurement.
const MEASURE: Duration = Duration::from_secs(3);
/// Rounds, ours and the twin's in turn; the median of the ratios counts.
const ROUNDS: usize = 5;
/// The page that is asked for.
const PAGE: &str = "/v1/vms?limit=100&sort=-created_at&filter=state%20%3D%20running%20and%20label.env%20%3D%20prod";

/// Measures one VM and a page of 100 with filter and sort.
///
/// # Errors
/// When anything is not answered rightly.
pub async fn figures(vms: u32) -> Result<Vec<Figure>> {
    let place = place::Place::new(vms).await?;
    let ours = place.target.clone();
    let mut line = ours.connect().await?;
    let (status, body) = line.send(&ours.request("GET", &format!("/v1/vms/{}", seed::vm_name(4)), "")).await?;
    ensure!(status == 200, "status {status}");
    let one: Vm = serde_json::from_slice(&body).context("a VM")?;
    let (status, body) = line.send(&ours.request("GET", PAGE, "")).await?;
    ensure!(status == 200, "status {status}: {}", String::from_utf8_lossy(&body));
    let page: Page<Vm> = serde_json::from_slice(&body).context("a page")?;
    ensure!(page.items.len() == 100, "the page has {} VMs", page.items.len());
    let bytes = body.len();
    drop(line);
    let server = twin::start(one, page.items, place.tls()?)?;
    let bare = Target { address: server.local_addr(), ..ours.clone() };
    let one = move |t: &Target, c: usize, n: usize| {
        let n = u32::try_from(c * 7919 + n * 13).unwrap_or(0) % vms;
        t.request("GET", &format!("/v1/vms/{}", seed::vm_name(n)), "")
    };
    let list = |t: &Target, _: usize, _: usize| t.request("GET", PAGE, "");
    let peer_is = "bare server on the same framework, same answer from memory";
    let get = side_by_side(&ours, &bare, one).await?;
    let many = side_by_side(&ours, &bare, list).await?;
    eprintln!("bench: the page is {bytes} bytes");
    server.close().await.map_err(|e| anyhow::anyhow!(e))?;
    place.end().await;
    let figure = |name, (ours, peer)| Figure { name, unit: "requests/s", peer_is, ours, peer, goal: 0.5, side: Goal::AtLeast };
    Ok(vec![figure("api-vm-get", get), figure("api-vm-page", many)])
}

/// Rates of both sides in turn; those of the round with the median ratio.
async fn side_by_side<F>(ours: &Target, bare: &Target, make: F) -> Result<(f64, f64)>
where
    F: Fn(&Target, usize, usize) -> Vec<u8> + Clone + Send + 'static,
{
    let mut rounds = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let a = rate(ours, CONNECTIONS, MEASURE, make.clone()).await?;
        let b = rate(bare, CONNECTIONS, MEASURE, make.clone()).await?;
        rounds.push((a, b));
    }
    rounds.sort_by(|x, y| (x.0 / x.1).total_cmp(&(y.0 / y.1)));
    Ok(rounds[ROUNDS / 2])
}
