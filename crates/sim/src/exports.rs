//! Exports on a simulated host: a few bytes that stand for the copy of a disk.
//!
//! What is simulated is the file and its life, never a format: no package made of it can be imported.

use crate::SimHost;
use crate::host::World;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use uuid::Uuid;
use virga_agent::host::Result;
use virga_model::export::ExportedDisk;
use virga_model::image::ImageFormat;
use virga_model::order::Progress;
use virga_model::{DiskId, Error, LayerId, VmId};

/// Copies, by VM, export and disk.
#[derive(Debug, Default)]
pub(crate) struct Exports(BTreeMap<(VmId, Uuid, DiskId), Vec<u8>>);

impl Exports {
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn forget(&mut self, vm: VmId) {
        self.0.retain(|(v, ..), _| *v != vm);
    }

    pub(crate) fn read(&self, what: (VmId, Uuid, DiskId), offset: u64, bytes_max: usize) -> Result<Vec<u8>> {
        let content = self.0.get(&what).ok_or_else(|| Error::host("The export is not there."))?;
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
        Ok(content[from..content.len().min(from.saturating_add(bytes_max))].to_vec())
    }
}

impl SimHost {
    /// How many disks lie here as exports.
    #[must_use]
    pub fn exported_disks(&self) -> usize {
        self.world().exports.count()
    }
}

/// Makes the copy of a disk's file.
pub(crate) fn make(
    w: &mut World,
    (vm, export): (VmId, Uuid),
    format: ImageFormat,
    (disk, layer): (DiskId, Option<LayerId>),
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<ExportedDisk> {
    if let Some(why) = &w.faults.disk_fails {
        return Err(Error::host(why.clone()));
    }
    let virtual_bytes = w.files.get(&(disk, layer)).map(|f| f.stored.size_bytes).ok_or_else(|| Error::host("The disk is not there."))?;
    progress(Progress { step: "copying the disks for the export".into(), done: 0, total: virtual_bytes, unit: "bytes".into() });
    let layer = layer.map_or_else(|| "its base".to_string(), |l| l.to_string());
    let content = format!("{disk} as {format}, from {layer}").into_bytes();
    let sha256 = Sha256::digest(&content).iter().map(|b| format!("{b:02x}")).collect();
    let bytes = content.len() as u64;
    w.exports.0.insert((vm, export, disk), content);
    Ok(ExportedDisk { disk, bytes, virtual_bytes, sha256 })
}
