//! What VMs are made of, as it is written on the command line: `20GiB,bus=scsi`, `nat,model=e1000`, `custom:Nehalem`.

use crate::client::types::{
    BootDevice, CloneForm, CloneKind, CloudInit, CpuMode, Discard, DiskBus, DiskCache, DiskCreate, DiskFormat, DiskLimits, DiskMode, Erase, Firmware,
    NicCreate, NicModel, Provisioning, Sharing, SnapshotKind,
};
use crate::error::{Failure, Result};
use crate::human;
use clap::Args;
use std::path::{Path, PathBuf};

/// Words of the API, one of which is wanted; clap shows a wrong one together with the right ones.
macro_rules! word {
    ($name:ident, $type:ty, $what:literal, [$($word:literal),+]) => {
        #[doc = concat!("Parses ", $what, ".\n\n# Errors\nA sentence that lists the words.")]
        pub(crate) fn $name(text: &str) -> std::result::Result<$type, String> {
            <$type>::try_from(text).map_err(|_| format!("{} is one of {}", $what, [$($word),+].join(", ")))
        }
    };
}
word!(bus, DiskBus, "a bus", ["virtio", "scsi", "ide", "usb"]);
word!(cache, DiskCache, "a cache mode", ["none", "directsync", "writeback", "writethrough"]);
word!(disk_mode, DiskMode, "a disk mode", ["dependent", "independent_persistent", "independent_nonpersistent"]);
word!(clone_kind, CloneKind, "a kind of clone", ["full", "linked", "normal", "fresh"]);
word!(clone_form, CloneForm, "a form", ["two_level", "three_level"]);
word!(provisioning, Provisioning, "provisioning", ["thin", "thick_lazy", "thick_eager"]);
word!(disk_format, DiskFormat, "a disk format", ["qcow2", "raw"]);
word!(discard, Discard, "a discard mode", ["off", "unmap"]);
word!(erase, Erase, "a way of removal", ["normal", "secure"]);
word!(sharing, Sharing, "a disk type", ["ordinary", "shared"]);
word!(snapshot_kind, SnapshotKind, "a snapshot kind", ["ordinary", "consistent", "memory"]);
word!(nic_model, NicModel, "a NIC model", ["virtio", "e1000", "rtl8139"]);
word!(firmware, Firmware, "firmware", ["bios", "uefi"]);
word!(boot_device, BootDevice, "a device to boot from", ["disk", "cdrom", "network"]);

/// Parses `host-model`, `host-passthrough` or `custom:MODEL`.
///
/// # Errors
/// A sentence that lists the forms.
pub(crate) fn cpu_mode(text: &str) -> std::result::Result<CpuMode, String> {
    match text.split_once(':') {
        None if text == "host-model" => Ok(CpuMode::HostModel),
        None if text == "host-passthrough" => Ok(CpuMode::HostPassthrough),
        Some(("custom", model)) if !model.is_empty() => Ok(CpuMode::Custom(model.into())),
        _ => Err("a CPU mode is host-model, host-passthrough or custom:MODEL, e.g. custom:Nehalem".into()),
    }
}

/// A disk of which nothing is said.
pub(crate) fn no_disk() -> DiskCreate {
    DiskCreate {
        size_bytes: None,
        image: None,
        bus: None,
        cache: None,
        mode: None,
        limits: None,
        provisioning: None,
        format: None,
        discard: None,
        sharing: None,
        existing: None,
        data_store: None,
    }
}

/// Parses `SIZE[,bus=…][,cache=…][,mode=…][,image=…][,provisioning=…][,format=…][,discard=…][,sharing=…][,store=…]`; the size may be left out when there is an image.
///
/// # Errors
/// A sentence that says what would be right.
pub(crate) fn disk(text: &str) -> std::result::Result<DiskCreate, String> {
    let mut d = no_disk();
    for part in text.split(',') {
        match part.split_once('=') {
            None if d.size_bytes.is_none() => d.size_bytes = Some(human::parse_size(part)?),
            Some(("size", v)) => d.size_bytes = Some(human::parse_size(v)?),
            Some(("bus", v)) => d.bus = Some(bus(v)?),
            Some(("cache", v)) => d.cache = Some(cache(v)?),
            Some(("mode", v)) => d.mode = Some(disk_mode(v)?),
            Some(("provisioning", v)) => d.provisioning = Some(provisioning(v)?),
            Some(("format", v)) => d.format = Some(disk_format(v)?),
            Some(("discard", v)) => d.discard = Some(discard(v)?),
            Some(("sharing", v)) => d.sharing = Some(sharing(v)?),
            Some(("store", v)) if !v.is_empty() => d.data_store = Some(v.into()),
            Some(("image", v)) if !v.is_empty() => d.image = Some(v.into()),
            Some((k, v)) if LIMITS.contains(&k) => limit(d.limits.get_or_insert_default(), k, v)?,
            _ => {
                return Err(format!(
                    "\"{part}\": a disk is SIZE[,bus=BUS][,cache=MODE][,mode=MODE][,image=IMAGE][,store=DATA-STORE][,provisioning=KIND][,format=FORMAT][,discard=MODE][,sharing=shared][,iops=N][,rate=SIZE], e.g. 20GiB,bus=scsi"
                ));
            }
        }
    }
    if d.size_bytes.is_none() && d.image.is_none() { Err("a disk needs a size or an image".into()) } else { Ok(d) }
}

/// Words of limits, in the order in which they are told.
const LIMITS: [&str; 9] = ["iops", "read-iops", "write-iops", "rate", "read-rate", "write-rate", "burst-iops", "burst-rate", "burst"];

/// Takes one limit of a disk.
fn limit(l: &mut DiskLimits, key: &str, value: &str) -> std::result::Result<(), String> {
    let count = || value.parse::<u64>().map(Some).map_err(|_| format!("{key} is a number, e.g. {key}=500"));
    let bytes = || human::parse_size(value).map(Some);
    match key {
        "iops" => l.iops = count()?,
        "read-iops" => l.read_iops = count()?,
        "write-iops" => l.write_iops = count()?,
        "rate" => l.bytes_per_s = bytes()?,
        "read-rate" => l.read_bytes_per_s = bytes()?,
        "write-rate" => l.write_bytes_per_s = bytes()?,
        "burst-iops" => l.burst_iops = count()?,
        "burst-rate" => l.burst_bytes_per_s = bytes()?,
        "burst" => l.burst_s = count()?,
        _ => return Err(format!("\"{key}\": limits are {} (in seconds), or none", LIMITS.join(", "))),
    }
    Ok(())
}

/// Parses `iops=500,rate=100MiB,burst-iops=2000,burst=30`, or `none`.
///
/// # Errors
/// A sentence that lists the words.
pub(crate) fn limits(text: &str) -> std::result::Result<DiskLimits, String> {
    let mut l = DiskLimits::default();
    for part in text.split(',').filter(|_| text != "none") {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        limit(&mut l, key, value)?;
    }
    Ok(l)
}

/// Parses `IMAGE[:SIZE]` as a disk.
///
/// # Errors
/// A sentence that says what is wrong with the size.
pub(crate) fn image_disk(text: &str) -> std::result::Result<DiskCreate, String> {
    let (image, size) = text.rsplit_once(':').map_or((text, None), |(i, s)| (i, Some(s)));
    if image.is_empty() {
        return Err("the image is left out: write IMAGE[:SIZE]".into());
    }
    Ok(DiskCreate { size_bytes: size.map(human::parse_size).transpose()?, image: Some(image.into()), ..no_disk() })
}

/// Parses `NETWORK[,model=…][,mac=…]`.
///
/// # Errors
/// A sentence that says what would be right.
pub(crate) fn nic(text: &str) -> std::result::Result<NicCreate, String> {
    let mut parts = text.split(',');
    let network = parts.next().unwrap_or_default();
    if network.is_empty() || network.contains('=') {
        return Err("a NIC is NETWORK[,model=MODEL][,mac=ADDRESS], e.g. nat,model=e1000".into());
    }
    let mut n = NicCreate { network: network.into(), model: None, mac: None };
    for part in parts {
        match part.split_once('=') {
            Some(("model", v)) => n.model = Some(nic_model(v)?),
            Some(("mac", v)) => n.mac = Some(v.to_ascii_lowercase()),
            _ => return Err(format!("\"{part}\": a NIC is NETWORK[,model=MODEL][,mac=ADDRESS], e.g. nat,model=e1000")),
        }
    }
    Ok(n)
}

/// First-boot settings (cloud-init).
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "First boot (cloud-init)")]
pub(crate) struct FirstBoot {
    /// File with public SSH keys for the image's user; may be repeated.
    #[arg(long, value_name = "FILE")]
    pub(crate) ssh_key_file: Vec<PathBuf>,
    /// File with a whole user-data document, instead of keys.
    #[arg(long, value_name = "FILE", conflicts_with = "ssh_key_file")]
    pub(crate) user_data: Option<PathBuf>,
    /// File with a network-config document (version 1 or 2); DHCP when left out.
    #[arg(long, value_name = "FILE")]
    pub(crate) network_config: Option<PathBuf>,
    /// Host name in the guest; the VM's name when left out.
    #[arg(long, value_name = "NAME")]
    pub(crate) host_name: Option<String>,
}

impl FirstBoot {
    /// The settings on top of `before`; none when nothing was given.
    pub(crate) fn apply(&self, before: CloudInit) -> Result<Option<CloudInit>> {
        if self.ssh_key_file.is_empty() && self.user_data.is_none() && self.network_config.is_none() && self.host_name.is_none() {
            return Ok(None);
        }
        let mut c = before;
        if !self.ssh_key_file.is_empty() {
            c.ssh_authorized_keys = self.ssh_key_file.iter().map(|f| keys(f)).collect::<Result<Vec<_>>>()?.concat();
            c.user_data = None;
        }
        if let Some(file) = &self.user_data {
            c.user_data = Some(read(file)?);
            (c.ssh_authorized_keys, c.users) = (Vec::new(), Vec::new());
        }
        if let Some(file) = &self.network_config {
            c.network_config = Some(read(file)?);
        }
        c.host_name = self.host_name.clone().or(c.host_name);
        Ok(Some(c))
    }
}

/// The public keys of a file. A private key is never sent.
fn keys(file: &Path) -> Result<Vec<String>> {
    let text = read(file)?;
    if text.contains("PRIVATE KEY") {
        return Err(Failure::usage(format!("{} holds a private key", file.display())).hint(format!("give the public one: {}.pub", file.display())));
    }
    Ok(text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')).map(String::from).collect())
}

fn read(file: &Path) -> Result<String> {
    std::fs::read_to_string(file).map_err(|e| Failure::failed(format!("{}: {e}", file.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks() {
        let d = disk("20GiB,bus=scsi,cache=none").expect("a disk");
        assert_eq!((d.size_bytes, d.bus, d.cache, d.image), (Some(20 << 30), Some(DiskBus::Scsi), Some(DiskCache::None), None));
        let d = disk("image=tiny").expect("a disk");
        assert_eq!((d.size_bytes, d.image.as_deref()), (None, Some("tiny")));
        assert_eq!(image_disk("tiny:2GiB").expect("a disk").size_bytes, Some(2 << 30));
        assert_eq!(image_disk("tiny").expect("a disk").image.as_deref(), Some("tiny"));
        let d = disk("1GiB,iops=500,rate=10MiB").expect("a disk");
        assert_eq!(d.limits.map(|l| (l.iops, l.bytes_per_s)), Some((Some(500), Some(10 << 20))));
        let l = limits("iops=500,burst-iops=2000,burst=30").expect("limits");
        assert_eq!((l.iops, l.burst_iops, l.burst_s, l.bytes_per_s), (Some(500), Some(2000), Some(30), None));
        assert_eq!(limits("none").expect("limits").iops, None);
        let d = disk("1GiB,provisioning=thick_lazy,format=raw,discard=off").expect("a disk");
        assert_eq!((d.provisioning, d.format, d.discard), (Some(Provisioning::ThickLazy), Some(DiskFormat::Raw), Some(Discard::Off)));
        for bad in ["", "iops", "iops=x", "speed=1", "none,iops=1"] {
            assert!(limits(bad).is_err(), "{bad}");
        }
        for bad in ["", "bus=scsi", "1GiB,bus=floppy", "1GiB,2GiB", "1GiB,x=y", "image="] {
            assert!(disk(bad).is_err(), "{bad}");
        }
        assert!(image_disk(":1GiB").is_err() && image_disk("a:b").is_err());
    }

    #[test]
    fn nics_and_cpu_modes() {
        let n = nic("nat,model=e1000,mac=52:54:00:AA:00:01").expect("a NIC");
        assert_eq!((n.network.as_str(), n.model, n.mac.as_deref()), ("nat", Some(NicModel::E1000), Some("52:54:00:aa:00:01")));
        for bad in ["", "model=e1000", "nat,model=ne2000", "nat,x"] {
            assert!(nic(bad).is_err(), "{bad}");
        }
        assert!(matches!(cpu_mode("custom:Nehalem"), Ok(CpuMode::Custom(m)) if m == "Nehalem"));
        assert!(matches!(cpu_mode("host-model"), Ok(CpuMode::HostModel)));
        assert!(cpu_mode("custom:").is_err() && cpu_mode("host").is_err());
        assert!(bus("floppy").expect_err("a sentence").contains("virtio, scsi, ide, usb"));
    }

    #[test]
    fn cpu_modes_go_out_as_the_api_wants_them() {
        let json = serde_json::to_value(CpuMode::Custom("Nehalem".into())).expect("JSON");
        assert_eq!(json, serde_json::json!({"mode": "custom", "model": "Nehalem"}));
        let model: virga_model::vm::CpuMode = serde_json::from_value(json).expect("the manager's type");
        assert_eq!(model, virga_model::vm::CpuMode::Custom { model: "Nehalem".into() });
        assert_eq!(serde_json::to_value(CpuMode::HostModel).expect("JSON"), serde_json::json!({"mode": "host-model"}));
    }

    #[test]
    fn first_boot_settings_change_only_what_is_given() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = |name: &str, text: &str| {
            let p = dir.path().join(name);
            std::fs::write(&p, text).expect("written");
            p
        };
        let before = CloudInit { host_name: Some("h".into()), network_config: None, ssh_authorized_keys: vec!["k".into()], user_data: None, users: vec![] };
        assert!(FirstBoot::default().apply(before.clone()).expect("none").is_none());
        let keys = FirstBoot { ssh_key_file: vec![file("a.pub", "# me\nssh-ed25519 AAAA me\n\n"), file("b.pub", "ssh-rsa BBBB\n")], ..Default::default() };
        let after = keys.apply(before.clone()).expect("settings").expect("settings");
        assert_eq!(after.ssh_authorized_keys, ["ssh-ed25519 AAAA me", "ssh-rsa BBBB"]);
        assert_eq!(after.host_name.as_deref(), Some("h"));
        let data = FirstBoot { user_data: Some(file("u", "#cloud-config\n")), ..Default::default() };
        let after = data.apply(before.clone()).expect("settings").expect("settings");
        assert!(after.ssh_authorized_keys.is_empty() && after.user_data.is_some());
        let private = FirstBoot { ssh_key_file: vec![file("id", "-----BEGIN OPENSSH PRIVATE KEY-----\n")], ..Default::default() };
        assert!(private.apply(before).is_err());
    }
}
