//! What the benches of real VMs hold ours against: the same VM made by hand with `qemu-img` and `virsh`.

use anyhow::{Context, Result, ensure};
use virga_tests::cloud::Cloud;

/// The VM of ours of which others are made by hand.
const PATTERN: &str = "pattern";

/// The definition of the VM `pattern` with another name, identity and disk; the disk stands on what the pattern's does.
pub(crate) struct Hand {
    xml: String,
    base: String,
    overlay: String,
}

impl Hand {
    /// Reads the definition.
    ///
    /// # Errors
    /// When the pattern's disk stands on nothing.
    pub(crate) fn new(cloud: &Cloud) -> Result<Hand> {
        let xml = cloud.lab.virsh_ok(&["dumpxml", "--inactive", PATTERN]);
        let overlay = xml.split("<source file='").nth(1).and_then(|r| r.split('\'').next()).context("the pattern's disk")?.to_string();
        let o = cloud.lab.inside("qemu-img").args(["info", "-U", "--output=json", &overlay]).output()?;
        let info: serde_json::Value = serde_json::from_slice(&o.stdout)?;
        let base = info["full-backing-filename"].as_str().context("the pattern's disk stands on nothing")?.to_string();
        Ok(Hand { xml, base, overlay })
    }

    /// Makes the disk and defines the VM.
    ///
    /// # Errors
    /// What `qemu-img` says.
    pub(crate) fn define(&self, cloud: &Cloud, name: &str) -> Result<()> {
        let disk = cloud.path(&format!("{name}.qcow2"));
        let o = cloud.lab.inside("qemu-img").args(["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", &self.base, &disk]).output()?;
        ensure!(o.status.success(), "{}", String::from_utf8_lossy(&o.stderr));
        let file = cloud.path(&format!("{name}.xml"));
        std::fs::write(&file, self.definition(name, &disk))?;
        cloud.lab.virsh_ok(&["define", &file]);
        Ok(())
    }

    /// As [`Hand::define`], and starts it.
    ///
    /// # Errors
    /// As [`Hand::define`].
    pub(crate) fn run(&self, cloud: &Cloud, name: &str) -> Result<()> {
        self.define(cloud, name)?;
        cloud.lab.virsh_ok(&["start", name]);
        Ok(())
    }

    /// Without identity and without what belongs to the pattern alone: libvirt chooses.
    fn definition(&self, name: &str, disk: &str) -> String {
        let drop_line = |l: &&str| {
            !["<uuid>", "<mac ", "<graphics", "</graphics", "<listen", "<metadata", "</metadata", "virga:"].iter().any(|w| l.trim_start().starts_with(w))
        };
        let kept: Vec<&str> = self.xml.lines().filter(drop_line).collect();
        kept.join("\n").replace(&format!("<name>{PATTERN}</name>"), &format!("<name>{name}</name>")).replace(&self.overlay, disk)
    }

    /// Takes one away that is off.
    pub(crate) fn remove(cloud: &Cloud, name: &str) {
        cloud.lab.virsh_ok(&["undefine", name]);
        let _ = std::fs::remove_file(cloud.path(&format!("{name}.qcow2")));
    }
}
