//! Clones: what a VM is made of that is made from another VM or from a template (LC-01 to LC-17, TPL-01 to TPL-14).
//!
//! A full clone gets copies and stands on nothing. A linked clone gets disks that hold only the difference to a file of its
//! parent, which is written no more. It has one such file for each disk (two levels, the FC style), or two: a frozen one,
//! which is its restore point, and the one that is written (three levels, the CAS style; X-05).
//!
//! This module only computes specifications and names. It must never decide who may clone what, and never name a file.

use crate::disk::{DiskFormat, DiskWork, Provisioning, Sharing};
use crate::error::Error;
use crate::layer::{Layer, Layers};
use crate::vm::{DiskMode, DiskSpec, VmSpec, mac_for};
use crate::{DataStoreId, DiskId, LayerId, NicId, VmId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Most clones of one request.
pub const CLONES_MAX: u32 = 500;
/// The longest number that a name pattern can ask for, in digits.
const DIGITS_MAX: usize = 6;

/// What a linked clone's disk stands on: a file of another VM or template that is written no more (DSK-09). Both lie on the
/// same data store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DiskOrigin {
    /// The VM or template.
    pub vm: VmId,
    /// Its disk.
    pub disk: DiskId,
    /// The layer of that disk; none: its base.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<LayerId>,
}

/// Whose content a disk begins with. It stands in a specification only until the copies are made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DiskCopy {
    /// The VM or template.
    pub vm: VmId,
    /// Its disk.
    pub disk: DiskId,
    /// The data store that it lies on; none: the local one of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<DataStoreId>,
    /// The files to copy, by their layers (none: the base): the first becomes this disk's base, the second its first layer.
    pub files: Vec<Option<LayerId>>,
    /// Everything below a file is copied with it, into one file that stands on nothing.
    #[serde(default)]
    pub whole: bool,
}

/// How a clone is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CloneKind {
    /// Copies that stand on nothing: independent of the source, and as large.
    #[default]
    Full,
    /// Empty differences on the frozen present state of the source. Of a linked clone this is the fast clone of its current
    /// state (W-46).
    Linked,
    /// Only of a linked clone: its own differences are copied, and stand on the same parent (LC-08).
    Normal,
    /// Only of a linked clone: empty differences on the same parent, without what the source has written (LC-09, W-46).
    Fresh,
}

/// How many files a linked clone has for each disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CloneForm {
    /// One difference on the parent's file.
    #[default]
    TwoLevel,
    /// A frozen difference, which is the restore point, and on it the one that is written.
    ThreeLevel,
}

macro_rules! word {
    ($t:ty) => {
        impl std::fmt::Display for $t {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match serde_json::to_value(self) {
                    Ok(serde_json::Value::String(s)) => f.pad(&s),
                    _ => f.write_str("?"),
                }
            }
        }
    };
}
word!(CloneKind);
word!(CloneForm);

/// What is cloned.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The VM or template.
    pub vm: VmId,
    /// Its specification, or that of the snapshot that is cloned.
    pub spec: &'a VmSpec,
    /// The layer whose content is wanted, which is frozen or will be; none: the base.
    pub frozen: Option<LayerId>,
}

/// Whether a VM is a linked clone: a disk stands on another VM's.
#[must_use]
pub fn is_linked(spec: &VmSpec) -> bool {
    spec.disks.iter().any(|d| d.origin.is_some())
}

/// The form of a linked clone.
#[must_use]
pub fn form_of(spec: &VmSpec) -> CloneForm {
    if spec.layers.base_is_restore_point { CloneForm::ThreeLevel } else { CloneForm::TwoLevel }
}

/// Whether the disks' present state has to be frozen before a clone of that kind can be made.
#[must_use]
pub fn needs_freeze(spec: &VmSpec, kind: CloneKind) -> bool {
    !spec.template && kind != CloneKind::Fresh
}

/// The specification of a clone: new identities, addresses and files; the same hardware. `new_id` gives an id that nothing
/// has yet.
///
/// # Errors
/// [`crate::ErrorCode::Conflict`] that says what stands in the way; [`crate::ErrorCode::Invalid`] for a form that the kind
/// has not.
pub fn specification(source: Source<'_>, kind: CloneKind, form: Option<CloneForm>, new_id: &mut dyn FnMut() -> Uuid) -> Result<VmSpec, Error> {
    possible(source.spec, kind, form)?;
    let keeps_form = matches!(kind, CloneKind::Normal | CloneKind::Fresh);
    let form = form.unwrap_or(if keeps_form { form_of(source.spec) } else { CloneForm::TwoLevel });
    let three = kind != CloneKind::Full && form == CloneForm::ThreeLevel;
    let mut spec = source.spec.clone();
    spec.template = false;
    spec.layers = Layers::default();
    spec.detached.clear();
    spec.disk_work = DiskWork::default();
    spec.export = None;
    if three {
        spec.layers.restore_point(LayerId(new_id()));
    }
    for d in &mut spec.disks {
        *d = disk(source, d, kind, three, DiskId(new_id()));
    }
    for n in &mut spec.nics {
        n.id = NicId(new_id());
        n.mac = mac_for(n.id);
    }
    for c in &mut spec.cdroms {
        c.id = DiskId(new_id());
    }
    Ok(spec)
}

fn possible(spec: &VmSpec, kind: CloneKind, form: Option<CloneForm>) -> Result<(), Error> {
    if kind == CloneKind::Full && form.is_some() {
        return Err(Error::invalid("form", "is only for clones that stand on something: linked, normal, fresh"));
    }
    if kind == CloneKind::Normal && form.is_some_and(|f| f != form_of(spec)) {
        return Err(Error::invalid("form", format!("must be {}, that of the source, whose files are copied", form_of(spec))));
    }
    if matches!(kind, CloneKind::Normal | CloneKind::Fresh) && !is_linked(spec) {
        return Err(Error::conflict(format!("Only a linked clone can be cloned with kind {kind}: this VM stands on no parent."))
            .with_hint("Use kind full for an independent copy, or linked for differences on its present state."));
    }
    if let Some(d) = spec.disks.iter().find(|d| d.sharing == Sharing::Shared) {
        return Err(Error::conflict(format!("Disk {} is shared by several VMs, so it belongs to none that could be cloned (DSK-14).", d.id))
            .with_hint("Detach it, then clone; bind the clone to it afterwards."));
    }
    if needs_freeze(spec, kind)
        && let Some(d) = spec.disks.iter().find(|d| d.mode != DiskMode::Dependent)
    {
        return Err(Error::conflict(format!("Disk {} is {}, so that its state cannot be frozen (DSK-19).", d.id, d.mode))
            .with_hint("Set its mode to dependent, or detach it, then clone."));
    }
    Ok(())
}

fn disk(source: Source<'_>, d: &DiskSpec, kind: CloneKind, three: bool, id: DiskId) -> DiskSpec {
    let layer = source.spec.layers.file_of(d.id, source.frozen);
    let of_source = |files: Vec<Option<LayerId>>, whole| Some(DiskCopy { vm: source.vm, disk: d.id, store: d.store, files, whole });
    let mut new = DiskSpec { id, copy_of: None, ..d.clone() };
    let alone = d.origin.is_none() && d.stands_on().is_none();
    match kind {
        CloneKind::Full => {
            new.copy_of = of_source(vec![layer], true);
            (new.origin, new.image) = (None, None);
        }
        CloneKind::Linked => {
            new.origin = Some(DiskOrigin { vm: source.vm, disk: d.id, layer });
            new.image = None;
            // A difference is a qcow2 file that grows, whatever it stands on, and lies where that lies.
            (new.format, new.provisioning) = (DiskFormat::Qcow2, Provisioning::Thin);
        }
        // The restore point is copied, and what was written since.
        CloneKind::Normal if three && layer.is_some() => new.copy_of = of_source(vec![None, layer], alone),
        CloneKind::Normal => new.copy_of = of_source(vec![layer], alone),
        CloneKind::Fresh => {}
    }
    new
}

/// The same VM with all levels of its disks merged into one file each, which stands on nothing (LC-10, X-38). The new files
/// have new identities; the old ones go when all is done.
#[must_use]
pub fn merged(vm: VmId, spec: &VmSpec, new_id: &mut dyn FnMut() -> Uuid) -> VmSpec {
    let mut to = spec.clone();
    for d in &mut to.disks {
        let layer = spec.layers.file_of(d.id, spec.layers.top).filter(|_| d.mode == DiskMode::Dependent);
        let copy = DiskCopy { vm, disk: d.id, store: d.store, files: vec![layer], whole: true };
        *d = DiskSpec { id: DiskId(new_id()), image: None, origin: None, copy_of: Some(copy), ..d.clone() };
    }
    to.layers = Layers::default();
    to
}

/// Whether the disks of a VM have more levels than one file on an image.
#[must_use]
pub fn has_levels(spec: &VmSpec) -> bool {
    is_linked(spec) || !spec.layers.is_plain()
}

/// The VM at its restore point (LC-14): what it has written is gone. `frozen` are the layers that must stay for others.
#[must_use]
pub fn refreshed(spec: &VmSpec, frozen: &std::collections::BTreeSet<Option<LayerId>>, new_id: &mut dyn FnMut() -> Uuid) -> VmSpec {
    let mut to = spec.clone();
    if spec.layers.base_is_restore_point {
        to.layers.refresh(LayerId(new_id()), frozen);
        return to;
    }
    let mut new = Vec::new();
    for d in to.disks.iter_mut().filter(|d| d.origin.is_some()) {
        d.id = DiskId(new_id());
        new.push(d.id);
    }
    new.into_iter().for_each(|d| to.layers.begin(d));
    to
}

/// Whether `wanted` throws a difference away that `running` writes: the guest cannot stay up then.
#[must_use]
pub fn is_refreshed(running: &VmSpec, wanted: &VmSpec) -> bool {
    let there = |spec: &VmSpec, d: &DiskSpec| spec.disks.iter().any(|o| o.id == d.id);
    let gone = running.disks.iter().filter(|d| d.origin.is_some() && !there(wanted, d));
    gone.into_iter().any(|d| wanted.disks.iter().any(|n| n.origin == d.origin && !there(running, n)))
}

/// The files of other VMs that a specification needs; those of its own VM `vm` left out.
pub fn parents(vm: VmId, spec: &VmSpec) -> impl Iterator<Item = DiskOrigin> + '_ {
    // A disk that was detached keeps its data, and that of others below it.
    let disks = || spec.disks.iter().chain(&spec.detached);
    let copies = disks().filter_map(|d| d.copy_of.as_ref());
    let copied = copies.flat_map(|c| c.files.iter().map(|layer| DiskOrigin { vm: c.vm, disk: c.disk, layer: *layer }));
    disks().filter_map(|d| d.origin).chain(copied).filter(move |o| o.vm != vm)
}

/// The names of `count` clones, from number `first` on. In `pattern` stands `{n}` for the number, with one `n` for each digit
/// that it has at least (`web-{nnn}` gives `web-001`).
///
/// # Errors
/// [`crate::ErrorCode::Invalid`] that names the field.
pub fn names(pattern: &str, count: u32, first: u32) -> Result<Vec<String>, Error> {
    if !(1..=CLONES_MAX).contains(&count) {
        return Err(Error::invalid("count", format!("must be 1 to {CLONES_MAX}")));
    }
    if first.checked_add(count).is_none() {
        return Err(Error::invalid("first", "is too large"));
    }
    if count > 1 && numbered(pattern, first) == pattern {
        return Err(Error::invalid("count", "needs a name that holds {n}, the place of the number (e.g. web-{nn}), when it is more than 1"));
    }
    Ok((first..first + count).map(|n| numbered(pattern, n)).collect())
}

/// `text` with a number in the place of `{n}`.
#[must_use]
pub fn numbered(text: &str, number: u32) -> String {
    let mut out = text.to_string();
    for digits in 1..=DIGITS_MAX {
        out = out.replace(&format!("{{{}}}", "n".repeat(digits)), &format!("{number:0digits$}"));
    }
    out
}

impl Layers {
    /// Freezes the base as the restore point, and puts `layer` on it.
    fn restore_point(&mut self, layer: LayerId) {
        self.list.push(Layer { id: layer, parent: self.top, consistent: false, memory: None });
        self.top = Some(layer);
        self.base_is_restore_point = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn spec(disks: usize) -> VmSpec {
        let list: Vec<_> = (0..disks).map(|n| serde_json::json!({"id": Uuid::from_u128(n as u128 + 1), "size_bytes": 1 << 30})).collect();
        let mut spec: VmSpec = serde_json::from_value(
            serde_json::json!({"cpu": {"count": 1}, "memory": {"bytes": 1 << 28}, "disks": list, "cdroms": [{"id": Uuid::from_u128(9)}],
            "nics": [{"id": Uuid::from_u128(8), "network": Uuid::from_u128(7), "mac": "52:54:00:00:00:01"}]}),
        )
        .unwrap();
        spec.normalize();
        spec
    }

    fn ids() -> impl FnMut() -> Uuid {
        let mut n = 1000;
        move || {
            n += 1;
            Uuid::from_u128(n)
        }
    }

    const VM: VmId = VmId(Uuid::from_u128(100));

    fn clone(from: &VmSpec, frozen: Option<LayerId>, kind: CloneKind, form: Option<CloneForm>) -> Result<VmSpec, Error> {
        specification(Source { vm: VM, spec: from, frozen }, kind, form, &mut ids())
    }

    fn layer(n: u128) -> LayerId {
        LayerId(Uuid::from_u128(n))
    }

    #[test]
    fn identities_are_new_and_hardware_is_the_same() {
        let from = spec(2);
        let full = clone(&from, None, CloneKind::Full, None).unwrap();
        assert!(full.disks.iter().all(|d| !from.disks.iter().any(|o| o.id == d.id)));
        assert_ne!(full.nics[0].mac, from.nics[0].mac);
        assert_ne!(full.cdroms[0].id, from.cdroms[0].id);
        assert_eq!((full.cpu.count, full.disks.len(), full.nics[0].network), (1, 2, from.nics[0].network));
        assert!(full.disks.iter().all(|d| d.origin.is_none() && d.copy_of.as_ref().is_some_and(|c| c.whole && c.vm == VM)));
        full.check().unwrap();
    }

    #[test]
    fn the_two_forms_of_a_linked_clone() {
        let from = spec(1);
        let two = clone(&from, Some(layer(50)), CloneKind::Linked, None).unwrap();
        assert_eq!(two.disks[0].origin, Some(DiskOrigin { vm: VM, disk: from.disks[0].id, layer: Some(layer(50)) }));
        assert!(two.layers.is_plain());
        let three = clone(&from, None, CloneKind::Linked, Some(CloneForm::ThreeLevel)).unwrap();
        assert_eq!(three.disk_files(&three.disks[0], |_| false).len(), 2, "L2 and L3; L1 is the parent's");
        assert!(three.layers.base_is_restore_point);
        assert!(clone(&from, None, CloneKind::Full, Some(CloneForm::TwoLevel)).is_err());
        three.check().unwrap();
    }

    #[test]
    fn a_clone_of_a_linked_clone_stays_linked_or_begins_anew() {
        // LC-08, LC-09, W-46.
        let parent = spec(1);
        assert!(clone(&parent, None, CloneKind::Normal, None).is_err(), "it stands on nothing");
        let linked = clone(&parent, None, CloneKind::Linked, Some(CloneForm::ThreeLevel)).unwrap();
        let l3 = linked.layers.top;
        let source = Source { vm: VmId(Uuid::from_u128(101)), spec: &linked, frozen: l3 };
        let normal = specification(source, CloneKind::Normal, None, &mut ids()).unwrap();
        let copy = normal.disks[0].copy_of.clone().unwrap();
        assert_eq!((copy.files, copy.whole), (vec![None, l3], false), "levels 2 and 3 are copied");
        assert_eq!(normal.disks[0].origin, linked.disks[0].origin, "level 1 is the same");
        assert!(normal.layers.base_is_restore_point);
        let fresh = specification(source, CloneKind::Fresh, None, &mut ids()).unwrap();
        assert_eq!((fresh.disks[0].origin, &fresh.disks[0].copy_of), (linked.disks[0].origin, &None));
        let current = specification(source, CloneKind::Linked, None, &mut ids()).unwrap();
        assert_eq!(current.disks[0].origin.unwrap().layer, l3, "on the source's own state");
        assert!(!needs_freeze(&linked, CloneKind::Fresh) && needs_freeze(&linked, CloneKind::Linked));
    }

    #[test]
    fn merging_leaves_one_file_that_stands_on_nothing() {
        let linked = clone(&spec(2), None, CloneKind::Linked, Some(CloneForm::ThreeLevel)).unwrap();
        let to = merged(VM, &linked, &mut ids());
        assert!(has_levels(&linked) && !has_levels(&to));
        assert!(to.disks.iter().all(|d| d.copy_of.as_ref().is_some_and(|c| c.whole && c.files == [linked.layers.top])));
        assert_eq!(parents(VM, &to).count(), 0, "its own files are no others'");
    }

    #[test]
    fn a_refresh_throws_away_what_was_written_and_nothing_else() {
        let two = clone(&spec(1), None, CloneKind::Linked, None).unwrap();
        let to = refreshed(&two, &BTreeSet::new(), &mut || Uuid::from_u128(77));
        assert_ne!(to.disks[0].id, two.disks[0].id);
        assert_eq!(to.disks[0].origin, two.disks[0].origin);
        assert!(is_refreshed(&two, &to) && is_refreshed(&to, &two) && !is_refreshed(&two, &two));
        let three = clone(&spec(1), None, CloneKind::Linked, Some(CloneForm::ThreeLevel)).unwrap();
        let to = refreshed(&three, &BTreeSet::new(), &mut || Uuid::from_u128(77));
        assert_eq!(to.disks[0].id, three.disks[0].id);
        assert_eq!((to.layers.top, to.layers.list.len()), (Some(layer(77)), 1), "L2 stays, another L3");
        assert!(to.layers.merges.is_empty() && to.check().is_ok());
        // A detached disk is no refresh.
        let mut less = two.clone();
        less.disks.clear();
        assert!(!is_refreshed(&two, &less));
    }

    #[test]
    fn names_have_numbers() {
        assert_eq!(names("web", 1, 1).unwrap(), ["web"]);
        assert_eq!(names("web-{nnn}", 3, 9).unwrap(), ["web-009", "web-010", "web-011"]);
        assert_eq!(names("w{n}", 2, 0).unwrap(), ["w0", "w1"]);
        for (pattern, count, first) in [("web", 2, 1), ("w{n}", 0, 1), ("w{n}", CLONES_MAX + 1, 1), ("w{n}", 2, u32::MAX)] {
            assert!(names(pattern, count, first).is_err(), "{pattern} {count} {first}");
        }
    }
}
