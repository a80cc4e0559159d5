//! Memory of the manager for each VM, and how long it takes to come back after a kill.

use crate::client::Target;
use crate::figure::{Figure, Goal};
use crate::place::{Place, prepared};
use crate::seed;
use anyhow::{Context, Result, ensure};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use virga_manager::state::{Manager, wall_clock};
use virga_model::order::Report;
use virga_model::stats::{HISTORY_SAMPLES, Sample, VmSample};

/// Bytes of memory that one VM may cost the manager.
const BYTES_OF_A_VM: f64 = 10_240.0;
/// Seconds from the kill to the first right answer.
const SECONDS_TO_ANSWER: f64 = 5.0;
/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Kills.
const KILLS: usize = 5;

/// The word that makes this program the measured process.
pub const CHILD: &str = "memory-of";

/// Measures memory.
///
/// # Errors
/// When a process of the measurement fails.
pub fn figures(vms: u32) -> Result<Vec<Figure>> {
    let (none, all) = (child(0)?, child(vms)?);
    let ours = (all - none) / f64::from(vms);
    eprintln!("bench: resident {:.0} MiB without VMs, {:.0} MiB with {vms}", none / 1048576.0, all / 1048576.0);
    let peer_is = "the bar of 10 KB";
    Ok(vec![Figure { name: "manager-bytes-per-vm", unit: "bytes", peer_is, ours, peer: BYTES_OF_A_VM, goal: 1.0, side: Goal::AtMost }])
}

fn child(vms: u32) -> Result<f64> {
    let o = Command::new(std::env::current_exe()?).args([CHILD, &vms.to_string()]).stderr(Stdio::inherit()).output()?;
    ensure!(o.status.success(), "the measured process failed");
    Ok(String::from_utf8_lossy(&o.stdout).trim().parse()?)
}

/// The measured process: a manager that has seen every VM, in lists and in ten minutes of reports. Prints its resident
/// bytes.
///
/// # Errors
/// When it cannot be made.
pub async fn measured(vms: u32) -> Result<()> {
    let place = Place::new(vms).await?;
    let manager = place.running.manager.clone();
    for n in 0..HISTORY_SAMPLES {
        report_all(&manager, vms, n as u64 + 1).await?;
    }
    let mut line = place.target.connect().await?;
    let mut next = String::new();
    loop {
        let (status, body) = line.send(&place.target.request("GET", &format!("/v1/vms?limit=1000{next}"), "")).await?;
        ensure!(status == 200, "status {status}");
        let page: serde_json::Value = serde_json::from_slice(&body)?;
        let Some(token) = page["next_page"].as_str() else { break };
        next = format!("&page_token={token}");
    }
    println!("{}", resident()?);
    place.end().await;
    Ok(())
}

/// Every host reports the rates of its VMs, as it does every five seconds.
async fn report_all(m: &Manager, vms: u32, sequence: u64) -> Result<()> {
    let mut tx = m.store.read().await?;
    let hosts = virga_store::host::all(&mut tx).await?;
    drop(tx);
    for (h, host) in (0u32..).zip(hosts) {
        let first = h * seed::VMS_PER_HOST;
        let own = first..(first + seed::VMS_PER_HOST).min(vms);
        let vm_samples = own.map(|n| VmSample { vm: seed::vm_id(n), sample: Sample { at: m.now(), cpu: 0.5, ..Sample::default() } }).collect();
        let report = Report {
            sequence,
            agent_started_at: host.created_at,
            revision: 0,
            now: m.now(),
            full: false,
            hypervisor_up: true,
            vms: Vec::new(),
            facts: None,
            foreign_vms: None,
            stores: None,
            stores_digest: String::new(),
            host_sample: None,
            vm_samples,
        };
        virga_manager::node::report::take(m, host, report).await?;
    }
    Ok(())
}

fn resident() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:")).context("VmRSS")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse::<u64>()? * 1024)
}

/// Measures the time from `kill -9` of the real program to its first right answer.
///
/// # Errors
/// When the program does not come up.
pub async fn restart(vms: u32) -> Result<Vec<Figure>> {
    let (folder, store, owner, token) = prepared().await?;
    seed::inventory(&store, owner, vms, wall_clock()).await?;
    store.close().await;
    let (api, node) = (free_port()?, free_port()?);
    let address = format!("127.0.0.1:{api}").parse()?;
    let mut program = start(folder.path(), api, node)?;
    let mut times = Vec::new();
    let first = right_answer(folder.path(), address, &token).await;
    for _ in 0..KILLS {
        if first.is_err() {
            break;
        }
        program.kill()?;
        program.wait()?;
        let begun = Instant::now();
        program = start(folder.path(), api, node)?;
        right_answer(folder.path(), address, &token).await?;
        times.push(begun.elapsed().as_secs_f64());
    }
    program.kill()?;
    program.wait()?;
    first?;
    times.sort_by(f64::total_cmp);
    let ours = *times.last().context("no kill")?;
    let peer_is = "the bar of 5 s; the slowest of 5 kills";
    Ok(vec![Figure { name: "manager-kill-to-answer", unit: "seconds", peer_is, ours, peer: SECONDS_TO_ANSWER, goal: 1.0, side: Goal::AtMost }])
}

fn start(state: &Path, api: u16, node: u16) -> Result<Child> {
    let program = std::env::current_exe()?.with_file_name("virga-manager");
    let mut c = Command::new(&program);
    c.args(["run", "--state-dir"]).arg(state).args([
        "--listen",
        &format!("127.0.0.1:{api}"),
        "--node-listen",
        &format!("127.0.0.1:{node}"),
        "--rate-limit",
        "off",
    ]);
    let log = std::fs::File::create(state.join("log"))?;
    c.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().with_context(|| program.display().to_string())
}

/// Waits until the manager names a VM rightly.
async fn right_answer(state: &Path, address: std::net::SocketAddr, token: &str) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    loop {
        if ask(state, address, token).await.is_ok() {
            return Ok(());
        }
        ensure!(Instant::now() < end, "no answer: {}", std::fs::read_to_string(state.join("log")).unwrap_or_default());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn ask(state: &Path, address: std::net::SocketAddr, token: &str) -> Result<()> {
    let target = Target::new(address, state, token)?;
    let name = seed::vm_name(5);
    let (status, body) = target.connect().await?.send(&target.request("GET", &format!("/v1/vms/{name}"), "")).await?;
    let vm: serde_json::Value = serde_json::from_slice(&body)?;
    ensure!(status == 200 && vm["name"] == name, "status {status}");
    Ok(())
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
