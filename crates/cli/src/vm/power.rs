//! Power, and removal: the verbs that work on one VM or many.

use crate::app::App;
use crate::args::{Change, Consent};
use crate::client::types::{BatchAction, PowerAction, PowerRequest, VmBatchRequest};
use crate::client::{Answer, json};
use crate::error::{Failure, Result};
use crate::human;
use crate::terminal;
use crate::vm::many;
use crate::vm::select::{Select, Target, Targets};
use crate::wait;
use clap::Args;

macro_rules! plain_verb {
    ($(#[$doc:meta])* $name:ident, $help:literal) => {
        $(#[$doc])*
        #[derive(Debug, Args)]
        #[command(after_help = $help)]
        pub(crate) struct $name {
            #[command(flatten)]
            select: Select,
            #[command(flatten)]
            change: Change,
        }
    };
}

plain_verb!(
    /// Options of `start`.
    Start,
    "Examples:\n  virga vm start web-1\n  virga vm start web-1 web-2 --no-wait\n  virga vm start -l env=test\n  virga vm list -o name --filter 'state = stopped' | virga vm start -"
);
plain_verb!(
    /// Options of `reboot`.
    Reboot,
    "Examples:\n  virga vm reboot web-1\n  virga vm reboot -l role=web"
);
plain_verb!(
    /// Options of `pause`.
    Pause,
    "Examples:\n  virga vm pause web-1"
);
plain_verb!(
    /// Options of `resume`.
    Resume,
    "Examples:\n  virga vm resume web-1"
);
plain_verb!(
    /// Options of `hibernate`.
    Hibernate,
    "Examples:\n  virga vm hibernate web-1\n  virga vm hibernate --filter 'host = host-1'"
);
plain_verb!(
    /// Options of `wake`.
    Wake,
    "Examples:\n  virga vm wake web-1"
);

/// Options of `shutdown`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  virga vm shutdown web-1\n  virga vm stop web-1 --timeout 5m --then-force\n  virga vm stop web-1 --force --yes\n  virga vm stop --all --dry-run"
)]
pub(crate) struct Shutdown {
    #[command(flatten)]
    select: Select,
    #[command(flatten)]
    change: Change,
    /// Cut the power at once; the guest loses what it has not written.
    #[arg(long, conflicts_with_all = ["timeout", "then_force"])]
    force: bool,
    /// Time that the guest may take (120 s when left out).
    #[arg(long, value_name = "TIME", value_parser = human::parse_seconds)]
    timeout: Option<u32>,
    /// Cut the power after that time instead of giving up.
    #[arg(long)]
    then_force: bool,
    #[command(flatten)]
    consent: Consent,
}

/// Options of `reset`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga vm reset web-1\n  virga vm reset web-1 --yes")]
pub(crate) struct Reset {
    #[command(flatten)]
    select: Select,
    #[command(flatten)]
    change: Change,
    #[command(flatten)]
    consent: Consent,
}

/// Options of `delete`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga vm delete web-1\n  virga vm delete web-1 --force --yes\n  virga vm delete -l env=test --dry-run")]
pub(crate) struct Delete {
    #[command(flatten)]
    select: Select,
    #[command(flatten)]
    change: Change,
    /// Also remove a VM that runs: cut its power first.
    #[arg(long)]
    force: bool,
    /// How the data of the disks goes: normal (files are removed) or secure (they are overwritten before).
    #[arg(long, value_parser = super::spec::erase)]
    erase: Option<crate::client::types::Erase>,
    #[command(flatten)]
    consent: Consent,
}

/// A power action with its words.
struct Act {
    action: PowerAction,
    /// The same for many; none: the API has no batch of it.
    batch: Option<BatchAction>,
    timeout_s: Option<u32>,
    then_force: bool,
    /// Question before it, when it hurts.
    question: Option<&'static str>,
    /// What a VM is afterwards.
    done: &'static str,
}

impl Act {
    fn new(action: PowerAction, batch: Option<BatchAction>, done: &'static str) -> Act {
        Act { action, batch, timeout_s: None, then_force: false, question: None, done }
    }

    fn request(&self) -> PowerRequest {
        PowerRequest { action: self.action, timeout_s: self.timeout_s, then_force: self.then_force }
    }
}

/// `vm start`.
pub(crate) async fn start(app: &App, a: Start) -> Result {
    act(app, &a.select, Act::new(PowerAction::Start, Some(BatchAction::Start), "started"), &a.change, Consent::default()).await
}

/// `vm reboot`.
pub(crate) async fn reboot(app: &App, a: Reboot) -> Result {
    act(app, &a.select, Act::new(PowerAction::Reboot, Some(BatchAction::Reboot), "rebooted"), &a.change, Consent::default()).await
}

/// `vm pause`.
pub(crate) async fn pause(app: &App, a: Pause) -> Result {
    act(app, &a.select, Act::new(PowerAction::Pause, Some(BatchAction::Pause), "paused"), &a.change, Consent::default()).await
}

/// `vm resume`.
pub(crate) async fn resume(app: &App, a: Resume) -> Result {
    act(app, &a.select, Act::new(PowerAction::Resume, Some(BatchAction::Resume), "resumed"), &a.change, Consent::default()).await
}

/// `vm hibernate`.
pub(crate) async fn hibernate(app: &App, a: Hibernate) -> Result {
    act(app, &a.select, Act::new(PowerAction::Hibernate, Some(BatchAction::Hibernate), "hibernated"), &a.change, Consent::default()).await
}

/// `vm wake`.
pub(crate) async fn wake(app: &App, a: Wake) -> Result {
    act(app, &a.select, Act::new(PowerAction::Wake, None, "awake"), &a.change, Consent::default()).await
}

/// `vm reset`.
pub(crate) async fn reset(app: &App, a: Reset) -> Result {
    let what = Act { question: Some("Reset, losing what the guests have not written:"), ..Act::new(PowerAction::Reset, Some(BatchAction::Reset), "reset") };
    act(app, &a.select, what, &a.change, a.consent).await
}

/// `vm shutdown`.
pub(crate) async fn shutdown(app: &App, a: Shutdown) -> Result {
    let what = if a.force {
        Act { question: Some("Cut the power of"), ..Act::new(PowerAction::ForceOff, Some(BatchAction::ForceOff), "stopped") }
    } else {
        Act { timeout_s: a.timeout, then_force: a.then_force, ..Act::new(PowerAction::Shutdown, Some(BatchAction::Shutdown), "stopped") }
    };
    act(app, &a.select, what, &a.change, a.consent).await
}

async fn act(app: &App, select: &Select, what: Act, change: &Change, consent: Consent) -> Result {
    let targets = select.resolve(app).await?;
    if nothing(&targets) {
        return Ok(());
    }
    if let (Some(question), false) = (what.question, change.dry_run) {
        terminal::consent(consent.yes, &format!("{question} {}?", terminal::named(&targets.names())))?;
    }
    match (targets.vms.as_slice(), what.batch) {
        ([one], _) if targets.single => wait::finish(app, json(power(app, one, &what, change).await?)?, change, what.done).await,
        (_, Some(action)) => {
            let request = VmBatchRequest { timeout_s: what.timeout_s, then_force: what.then_force, ..empty_batch(action) };
            many::batch(app, &targets, request, change, what.done).await
        }
        (_, None) => many::each(app, &targets, change, what.done, async |t| power(app, t, &what, change).await).await,
    }
}

async fn power(app: &App, vm: &Target, what: &Act, change: &Change) -> Result<Answer> {
    let mut call = app.api()?.v1.vm_power().vm(&vm.key).body(what.request());
    if change.dry_run {
        call = call.dry_run(true);
    }
    Ok(call.send().await)
}

/// A batch of `action` without its VMs.
pub(crate) fn empty_batch(action: BatchAction) -> VmBatchRequest {
    VmBatchRequest { action, vms: Vec::new(), filter: None, timeout_s: None, then_force: false, update: None }
}

/// Says so when no VM was found.
pub(crate) fn nothing(targets: &Targets) -> bool {
    if targets.vms.is_empty() {
        eprintln!("no VM was found");
    }
    targets.vms.is_empty()
}

/// `vm delete`.
pub(crate) async fn delete(app: &App, a: Delete) -> Result {
    let targets = a.select.resolve(app).await?;
    if nothing(&targets) {
        return Ok(());
    }
    if !a.change.dry_run {
        let running = if a.force { ", running or not," } else { "" };
        terminal::consent(a.consent.yes, &format!("Remove{running} with all disks: {}?", terminal::named(&targets.names())))?;
    }
    match targets.vms.as_slice() {
        [one] if targets.single => {
            let accepted = json(delete_one(app, one, &a).await?).map_err(|e| force_hint(e, a.force))?;
            wait::finish(app, accepted, &a.change, "removed").await
        }
        _ if a.force || a.erase.is_some() => many::each(app, &targets, &a.change, "removed", async |t| delete_one(app, t, &a).await).await,
        _ => many::batch(app, &targets, empty_batch(BatchAction::Delete), &a.change, "removed").await,
    }
}

async fn delete_one(app: &App, vm: &Target, a: &Delete) -> Result<Answer> {
    let mut call = app.api()?.v1.vm_delete().vm(&vm.key);
    if a.force {
        call = call.force(true);
    }
    if let Some(erase) = a.erase {
        call = call.erase(erase);
    }
    if a.change.dry_run {
        call = call.dry_run(true);
    }
    Ok(call.send().await)
}

/// A running VM is not removed without --force.
fn force_hint(e: Failure, force: bool) -> Failure {
    if e.about.code == "conflict" && !force && e.hint.is_none() { e.hint("shut it down first, or remove it with --force") } else { e }
}
