//! How a disk takes its space, what it can do, and limits on its operations and bytes (DSK-01 to DSK-05, X-34, QOS-08).
//!
//! Only values and their rules. It must never say how a limit is kept or how space is taken: hosts do that.

use crate::error::{Check, Error};
use crate::vm::{DISK_BYTES_MAX, DiskBus, DiskCache, DiskMode, DiskSpec};
use crate::{DataStoreId, DiskId, ImageId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Fewest operations in a second: below it a guest's own time limits end its writes.
pub const IOPS_MIN: u64 = 10;
/// Fewest bytes in a second, for the same reason.
pub const BYTES_PER_S_MIN: u64 = 1 << 20;
/// Longest burst in seconds.
pub const BURST_S_MAX: u64 = 3600;

/// When a disk takes the space of its size from the store (DSK-02 to DSK-05).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Provisioning {
    /// As it is written; at first only tables (DSK-05, X-07).
    #[default]
    Thin,
    /// At once, without writing: the file system keeps the space, and what was never written reads as zeros (DSK-03, X-06,
    /// W-39).
    ThickLazy,
    /// At once, and zeros are written over the whole of it (DSK-02).
    ThickEager,
}

/// Format of a disk's base file. Layers on it are always qcow2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DiskFormat {
    /// QEMU's own format.
    #[default]
    Qcow2,
    /// The bytes of the disk and nothing else.
    Raw,
}

/// What becomes of blocks that a guest gives back (TRIM, UNMAP; X-08).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Discard {
    /// They stay with the disk until its space is reclaimed by hand.
    #[default]
    Off,
    /// They go back to the store at once.
    Unmap,
}

/// Whether a disk belongs to one VM or to several (DSK-13, DSK-14).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sharing {
    /// One VM only (DSK-13).
    #[default]
    Ordinary,
    /// Several VMs may be bound to it at once, and all may write; what runs in them must be made for that (DSK-14).
    Shared,
}

/// How the data of a disk goes when the disk does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Erase {
    /// Its files are removed: fast, and what lay in them may be found on the medium (VM-27).
    #[default]
    Normal,
    /// Its files are overwritten before they are removed, as far as that can be done (VM-26, W-40).
    Secure,
}

/// A disk that leaves its VM for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Leaving {
    /// The disk.
    pub disk: DiskId,
    /// How its data goes.
    #[serde(default)]
    pub erase: Erase,
    /// It was shared, and this VM was the last one that was bound to it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shared: bool,
    /// The data store that it lies on; none: the local one of the VM's host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<DataStoreId>,
}

/// A wish to bring space of a disk back to its store (DSK-08).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reclaim {
    /// The disk.
    pub disk: DiskId,
    /// The VM's generation that brought the wish in: the same wish is done once.
    pub generation: i64,
}

/// What a host has still to do to the files of a VM's disks beside what the disks are. It stands in the specification until
/// it is done, so that whoever is killed meanwhile goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DiskWork {
    /// Disks that leave, and how.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leaving: Vec<Leaving>,
    /// Space to be reclaimed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reclaim: Option<Reclaim>,
}

impl DiskWork {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == DiskWork::default()
    }

    /// How the data of a disk goes.
    #[must_use]
    pub fn erase(&self, disk: DiskId) -> Erase {
        self.leaving.iter().find(|l| l.disk == disk).map_or(Erase::Normal, |l| l.erase)
    }
}

/// What became of [`DiskWork`], as the host says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DiskWorkDone {
    /// Disks that were erased.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub erased: Vec<Erased>,
    /// Space that was reclaimed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reclaimed: Option<Reclaimed>,
}

/// How a secure removal went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Erased {
    /// The disk.
    pub disk: DiskId,
    /// Bytes that were overwritten, in all of its files.
    pub bytes: u64,
    /// What could not be wiped, or may not have been, in words (W-40).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<String>,
}

/// How a reclaim went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reclaimed {
    /// The disk.
    pub disk: DiskId,
    /// The generation of the wish.
    pub generation: i64,
    /// Bytes that came back to the store.
    pub bytes: u64,
}

impl DiskWorkDone {
    /// Whether nothing is told.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == DiskWorkDone::default()
    }

    /// Notes a file that was erased.
    pub fn note_erased(&mut self, disk: DiskId, bytes: u64, left: Vec<String>) {
        let at = self.erased.iter().position(|e| e.disk == disk).unwrap_or_else(|| {
            self.erased.push(Erased { disk, bytes: 0, left: Vec::new() });
            self.erased.len() - 1
        });
        let e = &mut self.erased[at];
        e.bytes = e.bytes.saturating_add(bytes);
        for l in left {
            if !e.left.contains(&l) {
                e.left.push(l);
            }
        }
    }

    /// The report about erased disks, for people; empty when there is none.
    #[must_use]
    pub fn erased_text(&self) -> String {
        let one = |e: &Erased| {
            let bytes = crate::size::human(e.bytes);
            match e.left.as_slice() {
                [] => format!("Disk {}: {bytes} overwritten.", e.disk),
                left => format!("Disk {}: {bytes} overwritten; not wiped for certain: {}.", e.disk, left.join("; ")),
            }
        };
        self.erased.iter().map(one).collect::<Vec<_>>().join(" ")
    }
}

/// What disks of one kind can do. This is data: API, CLI, portal and guide read it, and [`Features::of`] is
/// the only place that knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Features {
    /// Snapshots may include it, as layers on its base file.
    pub snapshots: bool,
    /// It may stand on an image instead of being a copy of it.
    pub on_image: bool,
    /// It may forget at the end of a run what was written (DSK-17).
    pub nonpersistent: bool,
    /// It grows while the guest runs.
    pub grow_online: bool,
    /// Blocks that the guest gives back may go back to the store.
    pub discard: bool,
    /// Its space can be reclaimed by hand (DSK-08).
    pub reclaim: bool,
    /// Several VMs may be bound to it (DSK-14).
    pub shareable: bool,
    /// It may lie on a network store (NAS; DSK-04).
    pub on_nas: bool,
}

impl Features {
    /// What a disk of this kind can do.
    #[must_use]
    pub fn of(format: DiskFormat, provisioning: Provisioning) -> Features {
        let (raw, thin) = (format == DiskFormat::Raw, provisioning == Provisioning::Thin);
        Features {
            snapshots: true,
            on_image: thin && !raw,
            nonpersistent: true,
            // QEMU cannot take space in a qcow2 file that a guest has open.
            grow_online: thin || raw,
            // What is thick keeps its space: that is what it was chosen for.
            discard: thin,
            reclaim: thin,
            // The tables of a qcow2 file belong to one writer.
            shareable: raw && !thin,
            // NFS reserves nothing.
            on_nas: provisioning != Provisioning::ThickLazy,
        }
    }

    /// Every kind of disk, in the order of the guide.
    pub const KINDS: [(DiskFormat, Provisioning); 6] = [
        (DiskFormat::Qcow2, Provisioning::Thin),
        (DiskFormat::Qcow2, Provisioning::ThickLazy),
        (DiskFormat::Qcow2, Provisioning::ThickEager),
        (DiskFormat::Raw, Provisioning::Thin),
        (DiskFormat::Raw, Provisioning::ThickLazy),
        (DiskFormat::Raw, Provisioning::ThickEager),
    ];

    /// The matrix as a table, for the guide.
    #[must_use]
    pub fn table() -> String {
        let mut out = "| Kind | Snapshots | On an image | Non-persistent | Grows online | Discard | Reclaim | Shared | On a NAS |\n\
                       |---|---|---|---|---|---|---|---|---|\n"
            .to_string();
        for (format, provisioning) in Features::KINDS {
            let f = Features::of(format, provisioning);
            let all = [f.snapshots, f.on_image, f.nonpersistent, f.grow_online, f.discard, f.reclaim, f.shareable, f.on_nas];
            let cells = all.map(|yes| if yes { "yes" } else { "no" }).join(" | ");
            out.push_str(&format!("| {format} {provisioning} | {cells} |\n"));
        }
        out
    }
}

impl DiskSpec {
    /// What a disk of its kind can do.
    #[must_use]
    pub fn features(&self) -> Features {
        Features::of(self.format, self.provisioning)
    }

    /// The image that its base file stands on; a disk that has an image and cannot stand on it is a copy.
    #[must_use]
    pub fn stands_on(&self) -> Option<ImageId> {
        self.image.filter(|_| self.features().on_image)
    }

    /// Checks what belongs to one disk alone; violations are named below `field`.
    pub(crate) fn check(&self, c: &mut Check, field: &str) {
        c.that(
            (1 << 20..=DISK_BYTES_MAX).contains(&self.size_bytes) && self.size_bytes.is_multiple_of(512),
            format!("{field}.size_bytes"),
            "must be 1 MiB to 64 TiB in steps of 512 bytes",
        );
        c.nested(&format!("{field}.limits"), self.limits.check());
        let features = self.features();
        let kind = format!("{} {}", self.provisioning, self.format);
        if self.sharing == Sharing::Shared {
            c.that(features.shareable, format!("{field}.sharing"), format!("a {kind} disk cannot be shared; choose raw and thick_lazy or thick_eager"));
            c.that(self.mode == DiskMode::IndependentPersistent, format!("{field}.mode"), "a shared disk is independent_persistent (DSK-22, DSK-23)");
            let direct = matches!(self.cache, DiskCache::None | DiskCache::Directsync);
            c.that(direct, format!("{field}.cache"), "a shared disk bypasses the host's page cache: none or directsync");
            c.that(matches!(self.bus, DiskBus::Virtio | DiskBus::Scsi), format!("{field}.bus"), "a shared disk is on virtio or scsi");
        }
        c.that(
            self.discard == Discard::Off || features.discard,
            format!("{field}.discard"),
            format!("a {kind} disk keeps its space; choose off, or a thin disk"),
        );
    }
}

/// Limits of a disk. What is left out is not limited. Reads and writes are limited together or each by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DiskLimits {
    /// Operations in a second, reads and writes together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iops: Option<u64>,
    /// Reads in a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_iops: Option<u64>,
    /// Writes in a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_iops: Option<u64>,
    /// Bytes in a second, read and written together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_s: Option<u64>,
    /// Bytes read in a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_bytes_per_s: Option<u64>,
    /// Bytes written in a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_bytes_per_s: Option<u64>,
    /// Operations in a second during a burst; more than `iops`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst_iops: Option<u64>,
    /// Bytes in a second during a burst; more than `bytes_per_s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst_bytes_per_s: Option<u64>,
    /// Seconds that a burst lasts at most; 1 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst_s: Option<u64>,
}

impl DiskLimits {
    /// Whether nothing is limited.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == DiskLimits::default()
    }

    /// Checks the values.
    ///
    /// # Errors
    /// [`crate::ErrorCode::Invalid`] with every violation, each naming its field.
    pub fn check(&self) -> Result<(), Error> {
        let mut c = Check::new();
        for (name, value, least) in [
            ("iops", self.iops, IOPS_MIN),
            ("read_iops", self.read_iops, IOPS_MIN),
            ("write_iops", self.write_iops, IOPS_MIN),
            ("bytes_per_s", self.bytes_per_s, BYTES_PER_S_MIN),
            ("read_bytes_per_s", self.read_bytes_per_s, BYTES_PER_S_MIN),
            ("write_bytes_per_s", self.write_bytes_per_s, BYTES_PER_S_MIN),
        ] {
            let range = least..=i64::MAX.unsigned_abs();
            c.that(value.is_none_or(|v| range.contains(&v)), name, format!("must be at least {least}, or left out for no limit"));
        }
        c.that(self.iops.is_none() || (self.read_iops, self.write_iops) == (None, None), "iops", "cannot stand beside read_iops or write_iops");
        let apart = (self.read_bytes_per_s, self.write_bytes_per_s);
        c.that(self.bytes_per_s.is_none() || apart == (None, None), "bytes_per_s", "cannot stand beside read_bytes_per_s or write_bytes_per_s");
        for (name, burst, of, always) in
            [("burst_iops", self.burst_iops, "iops", self.iops), ("burst_bytes_per_s", self.burst_bytes_per_s, "bytes_per_s", self.bytes_per_s)]
        {
            let more = burst.is_none_or(|b| always.is_some_and(|a| b > a) && b <= i64::MAX.unsigned_abs());
            c.that(more, name, format!("must be more than {of}, which must be given"));
        }
        let bursts = self.burst_iops.is_some() || self.burst_bytes_per_s.is_some();
        let length = self.burst_s.is_none_or(|s| bursts && (1..=BURST_S_MAX).contains(&s));
        c.that(length, "burst_s", format!("must be 1 to {BURST_S_MAX}, beside burst_iops or burst_bytes_per_s"));
        c.done()
    }
}

impl std::fmt::Display for DiskLimits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let rate = |v: u64| format!("{} a second", crate::size::human(v));
        let parts = [
            self.iops.map(|v| format!("{v} operations a second")),
            self.read_iops.map(|v| format!("{v} reads a second")),
            self.write_iops.map(|v| format!("{v} writes a second")),
            self.bytes_per_s.map(rate),
            self.read_bytes_per_s.map(|v| format!("{} read", rate(v))),
            self.write_bytes_per_s.map(|v| format!("{} written", rate(v))),
        ];
        let text: Vec<String> = parts.into_iter().flatten().collect();
        f.pad(&if text.is_empty() { "none".into() } else { text.join(", ") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_matrix_is_in_the_guide() {
        let guide = include_str!("../../../docs/guide/disks.md");
        assert!(guide.contains(&Features::table()), "docs/guide/disks.md must hold this table:\n{}", Features::table());
    }

    #[test]
    fn limits_are_checked_with_their_fields() {
        let ok = DiskLimits { iops: Some(500), burst_iops: Some(2000), burst_s: Some(30), read_bytes_per_s: Some(10 << 20), ..DiskLimits::default() };
        assert!(ok.check().is_ok() && !ok.is_none());
        assert_eq!(ok.to_string(), "500 operations a second, 10 MiB a second read");
        assert!(DiskLimits::default().check().is_ok() && DiskLimits::default().is_none());
        let none = DiskLimits::default();
        for (bad, field) in [
            (DiskLimits { iops: Some(1), ..none }, "iops"),
            (DiskLimits { iops: Some(100), write_iops: Some(100), ..none }, "iops"),
            (DiskLimits { bytes_per_s: Some(1 << 20), read_bytes_per_s: Some(1 << 20), ..none }, "bytes_per_s"),
            (DiskLimits { burst_iops: Some(100), ..none }, "burst_iops"),
            (DiskLimits { iops: Some(100), burst_iops: Some(100), ..none }, "burst_iops"),
            (DiskLimits { iops: Some(100), burst_s: Some(5), ..none }, "burst_s"),
            (DiskLimits { iops: Some(u64::MAX), ..none }, "iops"),
        ] {
            let e = bad.check().expect_err(field);
            assert_eq!(e.violations.iter().map(|v| v.field.as_str()).collect::<Vec<_>>(), [field], "{bad:?}");
        }
    }
}
