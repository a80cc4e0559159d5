//! `vm create`.

use crate::app::App;
use crate::args::{self, Change};
use crate::client::json;
use crate::client::types::{BootDevice, CloudInit, CpuMode, DiskCreate, Firmware, NicCreate, VmCreate};
use crate::error::{Failure, Result};
use crate::human;
use crate::vm::spec::{self, FirstBoot};
use crate::wait;

/// Options of `create`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  virga vm create web-1 --image debian-12:20GiB --cpus 2 --memory 2GiB --network nat --ssh-key-file ~/.ssh/id_ed25519.pub --start\n  \
                        virga vm create win-1 --iso win11.iso --disk 64GiB,bus=ide --memory 8GiB --firmware uefi --network lan,model=e1000\n  \
                        virga vm create web-2 --image tiny --host host-1 --dry-run\n  \
                        virga vm create t1 --image tiny --memory 256MiB --label env=test -o json"
)]
pub(crate) struct Args {
    /// Name, unique among VMs.
    name: String,
    /// Image that the first disk starts from; with a size the disk is larger than it.
    #[arg(long, value_name = "IMAGE[:SIZE]", value_parser = spec::image_disk)]
    image: Option<DiskCreate>,
    /// ISO to install from; it is booted as long as the disks hold no system.
    #[arg(long, value_name = "ISO")]
    iso: Option<String>,
    /// A disk, empty or from an image; may be repeated.
    #[arg(long, value_name = "SIZE[,bus=…,cache=…,image=…]", value_parser = spec::disk)]
    disk: Vec<DiskCreate>,
    /// A network interface; may be repeated.
    #[arg(long, value_name = "NETWORK[,model=…,mac=…]", value_parser = spec::nic)]
    network: Vec<NicCreate>,
    /// A further optical drive with this ISO; '' makes an empty one; may be repeated.
    #[arg(long, value_name = "ISO")]
    cdrom: Vec<String>,
    /// vCPUs (1 when left out).
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
    /// Memory (1 GiB when left out).
    #[arg(long, value_name = "SIZE", value_parser = human::parse_size)]
    memory: Option<u64>,
    /// Memory up to which more can be added while it runs.
    #[arg(long, value_name = "SIZE", value_parser = human::parse_size)]
    memory_max: Option<u64>,
    /// bios or uefi.
    #[arg(long, value_parser = spec::firmware)]
    firmware: Option<Firmware>,
    /// QEMU machine type; the host's newest q35 when left out.
    #[arg(long, value_name = "TYPE")]
    machine: Option<String>,
    /// Boot order: disk, cdrom, network.
    #[arg(long, value_name = "DEVICE,…", value_delimiter = ',', value_parser = spec::boot_device)]
    boot: Vec<BootDevice>,
    /// Host to put it on; Virga chooses when left out.
    #[arg(long)]
    host: Option<String>,
    /// Free text.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// A label; may be repeated.
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = args::key_value)]
    label: Vec<(String, String)>,
    #[command(flatten)]
    first_boot: FirstBoot,
    /// Start it once it is there.
    #[arg(long)]
    start: bool,
    #[command(flatten)]
    change: Change,
}

impl Args {
    /// The request.
    fn body(self) -> Result<VmCreate> {
        if self.image.is_none() && self.iso.is_none() && self.disk.is_empty() && !self.boots_otherwise() {
            return Err(Failure::usage("the VM would have nothing to boot from").hint("give --image, --iso, --disk, or --boot network"));
        }
        // With an ISO to install from the usual order is right, too: firmware passes over an empty disk, and the disk
        // comes first again after the installation.
        let boot = Some(self.boot).filter(|b| !b.is_empty());
        Ok(VmCreate {
            name: self.name,
            description: self.description.unwrap_or_default(),
            labels: self.label.into_iter().collect(),
            cpus: self.cpus,
            cpus_max: self.cpus_max,
            cores_per_socket: self.cores_per_socket,
            cpu_mode: self.cpu_mode,
            memory_bytes: self.memory,
            memory_max_bytes: self.memory_max,
            firmware: self.firmware,
            machine: self.machine,
            boot,
            disks: self.image.into_iter().chain(self.disk).collect(),
            nics: self.network,
            cdroms: self.iso.into_iter().chain(self.cdrom).collect(),
            cloud_init: self.first_boot.apply(CloudInit::default())?,
            start: self.start,
            host: self.host,
        })
    }

    fn boots_otherwise(&self) -> bool {
        self.boot.contains(&BootDevice::Network) || !self.cdrom.is_empty()
    }
}

/// `vm create`.
pub(crate) async fn run(app: &App, a: Args) -> Result {
    let change = a.change.clone();
    let done = if a.start { "made and started" } else { "made" };
    let mut call = app.api()?.v1.vm_create().body(a.body()?);
    if change.dry_run {
        call = call.dry_run(true);
    }
    wait::finish(app, json(call.send().await)?, &change, done).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Command};
    use clap::Parser;
    use serde_json::json;

    fn body(line: &str) -> Result<serde_json::Value> {
        let cli = Cli::try_parse_from(line.split(' ')).expect("a command line");
        let Command::Vm(crate::vm::Command::Create(a)) = cli.command else { panic!("vm create") };
        a.body().map(|b| serde_json::to_value(b).expect("JSON"))
    }

    #[test]
    fn the_request_holds_what_was_asked_for() {
        let b = body(
            "virga vm create w --image tiny:2GiB --disk 1GiB,bus=scsi --network nat --network lan,model=e1000 --cpus 2 --cpus-max 4 --memory 256MiB \
             --firmware uefi --cpu-mode custom:Nehalem --boot disk,cdrom --host h1 --label env=test --iso x.iso --cdrom y.iso --host-name n --start",
        )
        .expect("a request");
        let want = json!({
            "name": "w", "description": "", "labels": {"env": "test"}, "cpus": 2, "cpus_max": 4, "memory_bytes": 268435456, "firmware": "uefi",
            "cpu_mode": {"mode": "custom", "model": "Nehalem"}, "boot": ["disk", "cdrom"], "host": "h1", "start": true,
            "disks": [{"image": "tiny", "size_bytes": 2147483648u64}, {"size_bytes": 1073741824, "bus": "scsi"}],
            "nics": [{"network": "nat"}, {"network": "lan", "model": "e1000"}], "cdroms": ["x.iso", "y.iso"],
            "cloud_init": {"host_name": "n"}
        });
        assert_eq!(b, want);
    }

    #[test]
    fn a_vm_needs_something_to_boot_from() {
        assert_eq!(body("virga vm create w").expect_err("nothing").exit, crate::error::Exit::Usage);
        assert!(body("virga vm create w --boot network --network lan").is_ok());
    }
}
