//! `vm wait`: until a VM is what a script needs.

use crate::app::App;
use crate::error::{Exit, Failure, Result};
use crate::human;
use crate::json::{flag, text, texts};
use crate::output;
use crate::vm::view;
use clap::ValueEnum;
use serde_json::Value;
use std::time::{Duration, Instant};

/// Time between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum For {
    /// The guest runs.
    Running,
    /// It is off.
    Stopped,
    /// Its vCPUs are held.
    Paused,
    /// Its memory lies on disk.
    Hibernated,
    /// The guest has an address, which is printed.
    Ip,
    /// The guest agent answers.
    Agent,
    /// The host has done everything that was asked for, and no task works on it.
    Settled,
}

/// Options of `wait`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  virga vm wait web-1 --for running\n  virga vm wait web-1 --for ip --timeout 120s\n  virga vm wait web-1 --for stopped --timeout 5m"
)]
pub(crate) struct Args {
    /// Name or id.
    vm: String,
    /// What to wait for.
    #[arg(long = "for", value_enum, value_name = "WHAT")]
    what: For,
    /// Longest wait.
    #[arg(long, value_name = "TIME", default_value = "120s", value_parser = human::parse_duration)]
    timeout: Duration,
}

/// `vm wait`.
pub(crate) async fn run(app: &App, a: Args) -> Result {
    let begun = Instant::now();
    loop {
        match view(app, &a.vm).await {
            Ok(vm) => {
                if let Some(found) = met(&vm, a.what)? {
                    return if app.out.is_data() { app.out.data(&vm) } else { output::print(&found) };
                }
                if begun.elapsed() >= a.timeout {
                    return Err(too_late(&vm, &a));
                }
            }
            Err(e) if e.is_passing() && begun.elapsed() < a.timeout => eprintln!("{}; trying again", e.message),
            Err(e) => return Err(e),
        }
        tokio::time::sleep(LOOK.min(a.timeout.saturating_sub(begun.elapsed()))).await;
    }
}

/// What to print when the VM is as wanted; none: not yet.
///
/// # Errors
/// When it will not come to that without somebody doing something.
fn met(vm: &Value, what: For) -> Result<Option<String>> {
    let state = text(vm, "observed.state");
    let fresh = flag(vm, "fresh");
    let needs_running = matches!(what, For::Running | For::Ip | For::Agent);
    if needs_running && fresh && state == "crashed" {
        let why = text(vm, "observed.error.message");
        return Err(Failure::failed(format!("{} has crashed {why}", text(vm, "name")).trim_end().to_string()).hint("see virga vm explain"));
    }
    let is = |wanted: &str| fresh && state == wanted;
    let done = match what {
        For::Running => is("running"),
        For::Stopped => is("stopped"),
        For::Paused => is("paused"),
        For::Hibernated => is("hibernated"),
        For::Agent => is("running") && text(vm, "observed.guest.agent") == "connected",
        For::Settled => fresh && settled(vm),
        For::Ip => return Ok(texts(vm, "observed.guest.ips").into_iter().next().filter(|_| is("running")).map(|ip| ip + "\n")),
    };
    Ok(done.then(String::new))
}

/// Whether the host has finished with the newest order, and nothing is under way.
fn settled(vm: &Value) -> bool {
    let newest = crate::json::number(vm, "observed.generation") >= crate::json::number(vm, "generation");
    flag(vm, "observed.settled") && newest && crate::json::at(vm, "task").is_null()
}

fn too_late(vm: &Value, a: &Args) -> Failure {
    let wanted = a.what.to_possible_value().map(|v| v.get_name().to_string()).unwrap_or_default();
    let is = crate::vm::state(vm);
    let agent = text(vm, "observed.guest.agent").replace('_', " ");
    let hint = if matches!(a.what, For::Ip | For::Agent) {
        format!("the guest agent: {agent}; does the image have qemu-guest-agent?")
    } else {
        "see virga vm explain".into()
    };
    Failure::new(Exit::TimedOut, format!("{} is {is}, not {wanted}, after {}", text(vm, "name"), human::span(a.timeout.as_secs()))).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::tests::web;

    #[test]
    fn what_is_waited_for() {
        let vm = web();
        assert_eq!(met(&vm, For::Ip).expect("known"), Some("192.168.200.10\n".into()));
        assert!(met(&vm, For::Running).expect("known").is_some() && met(&vm, For::Agent).expect("known").is_some());
        assert!(met(&vm, For::Settled).expect("known").is_some() && met(&vm, For::Stopped).expect("known").is_none());
    }

    #[test]
    fn old_news_is_not_believed() {
        let mut vm = web();
        vm["fresh"] = false.into();
        for what in [For::Running, For::Ip, For::Settled] {
            assert!(met(&vm, what).expect("known").is_none());
        }
    }

    #[test]
    fn a_crash_ends_the_wait_and_newer_orders_are_not_settled() {
        let mut vm = web();
        vm["generation"] = 8.into();
        assert!(met(&vm, For::Settled).expect("known").is_none());
        vm["observed"]["state"] = "crashed".into();
        assert_eq!(met(&vm, For::Ip).expect_err("crashed").exit, Exit::Failed);
        assert!(met(&vm, For::Stopped).expect("known").is_none());
    }
}
