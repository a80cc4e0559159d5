//! Exports: copies of a VM's disks in a format for transport, which its host keeps ready until they are taken away (TPL-06,
//! W-19).
//!
//! An export is part of what a VM shall be: the host makes it as it makes disks, and removes it when it is not wanted any
//! more. It never does anything itself, and is never part of a snapshot or of a copy of the VM.

use crate::disk::Sharing;
use crate::error::{Check, Error};
use crate::image::ImageFormat;
use crate::vm::{DiskMode, DiskSpec};
use crate::{DiskId, LayerId, SnapshotId, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// An export that is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExportSpec {
    /// Identity; another one is another export.
    pub id: Uuid,
    /// Format of the disks: `vmdk` (streamOptimized), `vhd` (dynamic) or `qcow2`.
    pub format: ImageFormat,
    /// When it was asked for.
    pub made_at: Time,
    /// The disks that are copied, in the order of the VM.
    pub disks: Vec<DiskId>,
    /// The snapshot that is exported, which a VM that runs leaves alone; none: the VM as it is, switched off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotSource>,
}

/// The snapshot of which an export is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SnapshotSource {
    /// Which one.
    pub id: SnapshotId,
    /// The layer that it froze; none: the base.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<LayerId>,
}

impl ExportSpec {
    /// Checks format and disks.
    ///
    /// # Errors
    /// Invalid on `format` or `disks`.
    pub fn check(&self) -> Result<(), Error> {
        let mut c = Check::new();
        c.nested("", check_format("format", self.format));
        c.that(!self.disks.is_empty(), "disks", "must name a disk");
        for (i, d) in self.disks.iter().enumerate() {
            c.that(!self.disks[..i].contains(d), format!("disks[{i}]"), "stands twice");
        }
        c.done()
    }
}

/// That disks can be exported in this format.
///
/// # Errors
/// Invalid on `field`.
pub fn check_format(field: &str, format: ImageFormat) -> Result<(), Error> {
    match format {
        ImageFormat::Vmdk | ImageFormat::Vhd | ImageFormat::Qcow2 => Ok(()),
        other => Err(Error::invalid(field, format!("is {other}; disks are exported as vmdk, vhd or qcow2"))),
    }
}

/// Largest disk of a VHD file in bytes: the format's own limit, 2040 GiB.
pub const VHD_BYTES_MAX: u64 = 2040 << 30;

/// Why a disk cannot be part of an export in this format; `of_snapshot`: of what a snapshot froze.
#[must_use]
pub fn against(disk: &DiskSpec, format: ImageFormat, of_snapshot: bool) -> Option<&'static str> {
    if disk.sharing == Sharing::Shared {
        Some("is shared: several VMs write to it, and it belongs to none of them")
    } else if of_snapshot && disk.mode != DiskMode::Dependent {
        Some("is independent: snapshots leave it out")
    } else if format == ImageFormat::Vhd && disk.size_bytes > VHD_BYTES_MAX {
        Some("is larger than 2040 GiB, which a VHD cannot be")
    } else {
        None
    }
}

/// An export as its host has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Exported {
    /// Which one.
    pub id: Uuid,
    /// Its disks, in the order of the VM; empty while they are being made.
    #[serde(default)]
    pub disks: Vec<ExportedDisk>,
}

/// A disk of an export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExportedDisk {
    /// The disk.
    pub disk: DiskId,
    /// Bytes of the file.
    pub bytes: u64,
    /// Bytes that a guest sees.
    pub virtual_bytes: u64,
    /// SHA-256 of the file, hex.
    pub sha256: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(more: serde_json::Value) -> DiskSpec {
        let mut d = serde_json::json!({"id": "00000000-0000-0000-0000-000000000001", "size_bytes": 1u64 << 30});
        d.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(d).unwrap()
    }

    #[test]
    fn what_no_package_can_hold_has_a_reason() {
        let j = |v| disk(v);
        assert_eq!(against(&j(serde_json::json!({})), ImageFormat::Vmdk, true), None);
        assert!(against(&j(serde_json::json!({"sharing": "shared"})), ImageFormat::Vmdk, false).unwrap().contains("shared"));
        let free = j(serde_json::json!({"mode": "independent_persistent"}));
        assert_eq!(against(&free, ImageFormat::Vmdk, false), None);
        assert!(against(&free, ImageFormat::Vmdk, true).unwrap().contains("independent"));
        let large = j(serde_json::json!({"size_bytes": 3u64 << 40}));
        assert!(against(&large, ImageFormat::Vhd, false).unwrap().contains("2040"));
        assert_eq!(against(&large, ImageFormat::Qcow2, false), None);
    }

    #[test]
    fn an_export_is_of_disks_each_once_and_of_a_format_for_transport() {
        let id = DiskId(Uuid::from_u128(1));
        let e = |format, disks| ExportSpec { id: Uuid::nil(), format, made_at: Time(0), disks, snapshot: None };
        assert!(e(ImageFormat::Vmdk, vec![id]).check().is_ok());
        assert!(e(ImageFormat::Raw, vec![id]).check().is_err());
        assert!(e(ImageFormat::Vmdk, vec![]).check().is_err());
        assert!(e(ImageFormat::Vmdk, vec![id, id]).check().is_err());
    }
}
