//! `vm update`: the same change on one VM or many.

use crate::app::App;
use crate::args::Change;
use crate::client::types::{BatchAction, BootDevice, CloudInit, CpuMode, Firmware, VmBatchRequest, VmUpdate};
use crate::client::{Answer, json, json_etag};
use crate::error::{Failure, Result};
use crate::human;
use crate::json::at;
use crate::vm::select::{Select, Target};
use crate::vm::spec::{self, FirstBoot};
use crate::vm::{many, power};
use crate::wait;
use serde_json::Value;
use std::collections::HashMap;

/// Options of `update`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  virga vm update web-1 --cpus 4 --memory 4GiB\n  virga vm update web-1 --name web-01\n  \
                        virga vm update web-1 --label tier=gold --label env- --dry-run\n  virga vm update -l env=test --cpu-mode host-model")]
pub(crate) struct Args {
    #[command(flatten)]
    select: Select,
    /// New name; the guest's own host name stays.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Free text.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Set a label; KEY- takes it away; may be repeated.
    #[arg(long, value_name = "KEY=VALUE|KEY-", value_parser = label_change)]
    label: Vec<(String, Option<String>)>,
    /// vCPUs.
    #[arg(long, value_name = "N")]
    cpus: Option<u32>,
    /// vCPUs up to which more can be added while it runs.
    #[arg(long, value_name = "N")]
    cpus_max: Option<u32>,
    /// Cores of each socket that the guest sees.
    #[arg(long, value_name = "N")]
    cores_per_socket: Option<u32>,
    /// Processor that the guest sees: host-model, host-passthrough or custom:MODEL.
    #[arg(long, value_name = "MODE", value_parser = spec::cpu_mode)]
    cpu_mode: Option<CpuMode>,
    /// Memory.
    #[arg(long, value_name = "SIZE", value_parser = human::parse_size)]
    memory: Option<u64>,
    /// Memory up to which more can be added while it runs.
    #[arg(long, value_name = "SIZE", value_parser = human::parse_size)]
    memory_max: Option<u64>,
    /// bios or uefi.
    #[arg(long, value_parser = spec::firmware)]
    firmware: Option<Firmware>,
    /// QEMU machine type.
    #[arg(long, value_name = "TYPE")]
    machine: Option<String>,
    /// Boot order: disk, cdrom, network.
    #[arg(long, value_name = "DEVICE,…", value_delimiter = ',', value_parser = spec::boot_device)]
    boot: Vec<BootDevice>,
    #[command(flatten)]
    first_boot: FirstBoot,
    #[command(flatten)]
    change: Change,
}

/// Parses `key=value` (set) or `key-` (take away).
fn label_change(text: &str) -> std::result::Result<(String, Option<String>), String> {
    if let Some((k, v)) = text.split_once('=') {
        return if k.is_empty() { Err("the label has no key".into()) } else { Ok((k.into(), Some(v.into()))) };
    }
    match text.strip_suffix('-') {
        Some(k) if !k.is_empty() => Ok((k.into(), None)),
        _ => Err(format!("\"{text}\" is neither KEY=VALUE nor KEY-")),
    }
}

impl Args {
    /// The change, as far as it is the same whatever the VM is like now.
    fn common(&self) -> VmUpdate {
        VmUpdate {
            name: self.name.clone(),
            description: self.description.clone(),
            labels: None,
            cpus: self.cpus,
            cpus_max: self.cpus_max,
            cores_per_socket: self.cores_per_socket,
            cpu_mode: self.cpu_mode.clone(),
            memory_bytes: self.memory,
            memory_max_bytes: self.memory_max,
            firmware: self.firmware,
            machine: self.machine.clone(),
            boot: Some(self.boot.clone()).filter(|b| !b.is_empty()),
            cloud_init: None,
        }
    }

    /// Whether the change depends on what the VM is like now.
    fn depends(&self) -> Result<bool> {
        Ok(!self.label.is_empty() || self.first_boot.apply(CloudInit::default())?.is_some())
    }

    /// The change of this VM.
    fn of(&self, vm: &Value) -> Result<VmUpdate> {
        let mut u = self.common();
        if !self.label.is_empty() {
            let mut labels: HashMap<String, String> = serde_json::from_value(at(vm, "labels").clone()).unwrap_or_default();
            for (k, v) in &self.label {
                match v {
                    Some(v) => labels.insert(k.clone(), v.clone()),
                    None => labels.remove(k),
                };
            }
            u.labels = Some(labels);
        }
        let before = serde_json::from_value(at(vm, "spec.cloud_init").clone()).unwrap_or_default();
        u.cloud_init = self.first_boot.apply(before)?;
        Ok(u)
    }
}

/// `vm update`.
pub(crate) async fn run(app: &App, a: Args) -> Result {
    let depends = a.depends()?;
    if !depends && serde_json::to_value(a.common()).is_ok_and(|v| v.as_object().is_some_and(serde_json::Map::is_empty)) {
        return Err(Failure::usage("no change is given").hint("see virga vm update --help"));
    }
    let targets = a.select.resolve(app).await?;
    if power::nothing(&targets) {
        return Ok(());
    }
    if a.name.is_some() && targets.vms.len() > 1 {
        return Err(Failure::usage("several VMs cannot get the same name"));
    }
    match targets.vms.as_slice() {
        [one] if targets.single => wait::finish(app, json(update(app, one, &a, depends).await?)?, &a.change, "changed").await,
        _ if depends => many::each(app, &targets, &a.change, "changed", async |t| update(app, t, &a, depends).await).await,
        _ => {
            let request = VmBatchRequest { update: Some(a.common()), ..power::empty_batch(BatchAction::Update) };
            many::batch(app, &targets, request, &a.change, "changed").await
        }
    }
}

/// Changes one VM. A change that was made from what the VM is like now is refused when that is another by then.
async fn update(app: &App, vm: &Target, a: &Args, depends: bool) -> Result<Answer> {
    let v1 = &app.api()?.v1;
    let mut call = v1.vm_update().vm(&vm.key);
    if depends {
        let (now, etag) = match json_etag(v1.vm_view().vm(&vm.key).send().await) {
            Ok(found) => found,
            Err(e) => return Err(e),
        };
        call = call.body(a.of(&now)?);
        if let Some(etag) = etag {
            call = call.if_match(etag);
        }
    } else {
        call = call.body(a.common());
    }
    if a.change.dry_run {
        call = call.dry_run(true);
    }
    Ok(call.send().await)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Command};
    use clap::Parser;
    use serde_json::json;

    fn args(line: &str) -> Args {
        let cli = Cli::try_parse_from(line.split(' ')).expect("a command line");
        let Command::Vm(crate::vm::Command::Update(a)) = cli.command else { panic!("vm update") };
        *a
    }

    #[test]
    fn labels_are_set_and_taken_away_among_the_others() {
        let a = args("virga vm update w --label a=1 --label b- --cpus 3");
        assert!(a.depends().expect("known"));
        let u = serde_json::to_value(a.of(&json!({"labels": {"b": "2", "c": "3"}})).expect("a change")).expect("JSON");
        assert_eq!(u, json!({"cpus": 3, "labels": {"a": "1", "c": "3"}}));
        for bad in ["x", "-", "=1"] {
            assert!(label_change(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn other_changes_do_not_depend_on_the_vm() {
        let a = args("virga vm update w --memory 2GiB --boot network,disk");
        assert!(!a.depends().expect("known"));
        assert_eq!(serde_json::to_value(a.common()).expect("JSON"), json!({"memory_bytes": 2147483648u64, "boot": ["network", "disk"]}));
    }
}
