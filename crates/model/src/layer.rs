//! The layers of a VM's disks: what snapshots freeze, and what is written now.
//!
//! A disk begins with one file, its base. A snapshot freezes the layer that is written (the top) and puts an empty one on
//! it; going back to a snapshot puts an empty layer on the frozen one, so that later points stay as another branch
//! (SNAP-07, SNAP-10, X-04, X-37). Taking a snapshot away merges the layer above into the frozen one (SNAP-09, SNAP-11).
//! All disks of a VM that take part share one tree; a disk that came later has files only from its own beginning on.
//!
//! This module only computes trees. It must never decide which snapshots exist, and never name a file.

use crate::error::{Check, Error};
use crate::{DiskId, LayerId, SnapshotId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// Most layers that a read may have to pass, the base not counted: each costs time and open files (G-08).
pub const DEPTH_MAX: usize = 32;

/// The layer of a non-persistent disk: put on its base when the guest starts, thrown away when it ends (DSK-18). It stands in
/// no tree.
pub const SESSION: LayerId = LayerId(Uuid::max());

/// A layer above the base.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Layer {
    /// Identity; stands in the names of its files.
    pub id: LayerId,
    /// The layer that it stands on; none: the base.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<LayerId>,
    /// The guest's file systems are brought to rest for the moment in which it is put on top (SNAP-06, consistent).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub consistent: bool,
    /// The guest's memory is stored for this snapshot in the moment in which the layer is put on top (SNAP-06, X-23). Only
    /// until that is done: afterwards the snapshot stands in [`Layers::memories`] alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<SnapshotId>,
}

/// A layer whose content goes into the one below; afterwards only that one is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Merge {
    /// The upper one, which goes.
    pub from: LayerId,
    /// The lower one, which stays; none: the base.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub into: Option<LayerId>,
}

/// The tree of a VM's layers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Layers {
    /// All layers above the base, parents before children.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub list: Vec<Layer>,
    /// The layer that is written; none: the base.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top: Option<LayerId>,
    /// Disks whose base file began at a layer, because they were made when that was the top.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub since: BTreeMap<DiskId, LayerId>,
    /// Merges that the host may still have to do, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub merges: Vec<Merge>,
    /// The snapshot that the top stands on; the parent of the next one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotId>,
    /// The base is the restore point of a linked clone in three levels: nothing is ever merged into it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub base_is_restore_point: bool,
    /// Snapshots whose stored memory lies beside the disks.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub memories: BTreeSet<SnapshotId>,
    /// The guest begins on the top with the stored memory of this snapshot. Only until that is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<SnapshotId>,
}

impl Layers {
    /// Whether there was never a snapshot.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        *self == Layers::default()
    }

    /// The layer of that id.
    #[must_use]
    pub fn get(&self, id: LayerId) -> Option<&Layer> {
        self.list.iter().find(|l| l.id == id)
    }

    /// From the base (none) to `end`.
    #[must_use]
    pub fn path(&self, end: Option<LayerId>) -> Vec<Option<LayerId>> {
        let mut path = Vec::new();
        let mut at = end;
        // Bounded, also for a tree that somebody spoilt.
        while let Some(layer) = at.and_then(|id| self.get(id)).filter(|_| path.len() <= self.list.len()) {
            path.push(Some(layer.id));
            at = layer.parent;
        }
        path.push(None);
        path.reverse();
        path
    }

    /// Layers between the base and the top.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.path(self.top).len() - 1
    }

    /// As [`Layers::path`], with the layers that still wait to be merged in their places.
    #[must_use]
    pub fn path_with_merges(&self, end: Option<LayerId>) -> Vec<Option<LayerId>> {
        fn add(merges: &[Merge], at: Option<LayerId>, out: &mut Vec<Option<LayerId>>) {
            if out.contains(&at) {
                return;
            }
            out.push(at);
            for m in merges.iter().filter(|m| m.into == at) {
                add(merges, Some(m.from), out);
            }
        }
        let mut out = Vec::new();
        for at in self.path(end) {
            add(&self.merges, at, &mut out);
        }
        out
    }

    /// The files of a disk from its base (none) up, as far as `path` goes and `there` says that they exist.
    #[must_use]
    pub fn files(&self, disk: DiskId, path: &[Option<LayerId>], there: impl Fn(LayerId) -> bool) -> Vec<Option<LayerId>> {
        let begun = self.since.get(&disk).and_then(|s| path.iter().position(|p| *p == Some(*s))).map_or(0, |i| i + 1);
        let above = path.iter().skip(begun).flatten().filter(|l| there(**l)).map(|l| Some(*l));
        std::iter::once(None).chain(above).collect()
    }

    /// The file of `disk` in which the content of `layer` lies.
    #[must_use]
    pub fn file_of(&self, disk: DiskId, layer: Option<LayerId>) -> Option<LayerId> {
        layer.filter(|l| self.since.get(&disk) != Some(l))
    }

    /// The layer whose content lies last in a file of `disk`: the reverse of [`Layers::file_of`].
    #[must_use]
    pub fn layer_of(&self, disk: DiskId, file: Option<LayerId>) -> Option<LayerId> {
        file.or_else(|| self.since.get(&disk).copied())
    }

    /// A disk is made now.
    pub fn begin(&mut self, disk: DiskId) {
        if let Some(top) = self.top {
            self.since.insert(disk, top);
        }
    }

    /// Freezes the top and puts `layer` on it.
    pub fn take(&mut self, layer: LayerId, consistent: bool, snapshot: SnapshotId) {
        self.list.push(Layer { id: layer, parent: self.top, consistent, memory: None });
        self.top = Some(layer);
        self.snapshot = Some(snapshot);
    }

    /// As [`Layers::take`]; in the same moment the guest's memory is stored.
    pub fn take_with_memory(&mut self, layer: LayerId, snapshot: SnapshotId) {
        self.list.push(Layer { id: layer, parent: self.top, consistent: false, memory: Some(snapshot) });
        self.top = Some(layer);
        self.snapshot = Some(snapshot);
        self.memories.insert(snapshot);
    }

    /// The memory that is still to be stored, if there is some.
    #[must_use]
    pub fn memory_to_store(&self) -> Option<SnapshotId> {
        self.get(self.top?)?.memory
    }

    /// An edit is done: what was to be done once is done.
    pub fn done(&mut self) {
        for l in &mut self.list {
            l.memory = None;
        }
        self.resume = None;
    }

    /// Freezes the top and puts `layer` on it, so that clones can stand on what is frozen. No snapshot is taken.
    pub fn freeze(&mut self, layer: LayerId) {
        self.list.push(Layer { id: layer, parent: self.top, consistent: false, memory: None });
        self.top = Some(layer);
    }

    /// Puts `layer` on the base, which is the restore point: what was written since goes, unless somebody in `frozen` needs
    /// it (LC-14). A disk that came later keeps what it has.
    pub fn refresh(&mut self, layer: LayerId, frozen: &BTreeSet<Option<LayerId>>) {
        self.list.push(Layer { id: layer, parent: None, consistent: false, memory: None });
        self.top = Some(layer);
        self.snapshot = None;
        self.tidy(frozen);
        let Layers { list, since, .. } = self;
        since.retain(|_, s| list.iter().any(|l| l.id == *s));
    }

    /// Puts `layer` on the frozen `to` and goes on there. What was written since the last snapshot goes, unless a
    /// snapshot in `frozen` needs it.
    pub fn revert(&mut self, to: Option<LayerId>, layer: LayerId, snapshot: SnapshotId, frozen: &BTreeSet<Option<LayerId>>) -> Vec<Merge> {
        self.list.push(Layer { id: layer, parent: to, consistent: false, memory: None });
        self.top = Some(layer);
        self.snapshot = Some(snapshot);
        self.resume = None;
        self.tidy(frozen)
    }

    /// Takes away what neither a snapshot (whose layers are `frozen`) nor the top needs: a layer that nothing stands on is
    /// dropped, one with a single layer on it takes that one in. Answers with the merges in their order; who refers to a
    /// `from` refers to its `into` from then on.
    pub fn tidy(&mut self, frozen: &BTreeSet<Option<LayerId>>) -> Vec<Merge> {
        let mut frozen = frozen.clone();
        let mut done = Vec::new();
        loop {
            let spare = |l: Option<LayerId>| l != self.top && !frozen.contains(&l) && !(l.is_none() && self.base_is_restore_point);
            let children = |l: Option<LayerId>| self.list.iter().filter(|c| c.parent == l).map(|c| c.id).collect::<Vec<_>>();
            if let Some(at) = self.list.iter().position(|l| spare(Some(l.id)) && children(Some(l.id)).is_empty()) {
                self.list.remove(at);
                continue;
            }
            let lower = std::iter::once(None).chain(self.list.iter().map(|l| Some(l.id)));
            let found = lower.filter(|l| spare(*l)).find_map(|l| match children(l).as_slice() {
                [only] => Some(Merge { from: *only, into: l }),
                _ => None,
            });
            let Some(merge) = found else { break };
            self.rename(merge);
            if frozen.remove(&Some(merge.from)) {
                frozen.insert(merge.into);
            }
            done.push(merge);
        }
        self.merges.extend(&done);
        done
    }

    fn rename(&mut self, m: Merge) {
        self.list.retain(|l| l.id != m.from);
        for l in self.list.iter_mut().filter(|l| l.parent == Some(m.from)) {
            l.parent = m.into;
        }
        if self.top == Some(m.from) {
            self.top = m.into;
        }
        let began: Vec<DiskId> = self.since.iter().filter(|(_, s)| **s == m.from).map(|(d, _)| *d).collect();
        for d in began {
            match m.into {
                Some(into) => drop(self.since.insert(d, into)),
                None => drop(self.since.remove(&d)),
            }
        }
    }

    /// Forgets disks that do not exist any more.
    pub fn retain_disks(&mut self, there: impl Fn(DiskId) -> bool) {
        self.since.retain(|d, _| there(*d));
    }

    /// Checks that this is a tree.
    ///
    /// # Errors
    /// [`crate::ErrorCode::Invalid`] that names the field.
    pub fn check(&self) -> Result<(), Error> {
        let mut c = Check::new();
        for (i, l) in self.list.iter().enumerate() {
            c.that(self.list.iter().filter(|o| o.id == l.id).count() == 1, format!("list[{i}].id"), "stands twice");
            c.that(l.parent.is_none_or(|p| self.get(p).is_some()), format!("list[{i}].parent"), "is no layer of this VM");
            c.that(
                self.path(Some(l.id)).first() == Some(&None) && self.path(Some(l.id)).len() <= self.list.len() + 1,
                format!("list[{i}].parent"),
                "stands on itself",
            );
        }
        c.that(self.top.is_none_or(|t| self.get(t).is_some()), "top", "is no layer of this VM");
        c.that(self.resume.is_none_or(|s| self.memories.contains(&s)), "resume", "names a snapshot without stored memory");
        c.that(self.depth() <= DEPTH_MAX, "top", format!("stands on more than {DEPTH_MAX} layers"));
        c.done()
    }
}

/// `layer` after merges.
#[must_use]
pub fn renamed(layer: Option<LayerId>, merges: &[Merge]) -> Option<LayerId> {
    merges.iter().fold(layer, |l, m| if l == Some(m.from) { m.into } else { l })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn l(n: u128) -> LayerId {
        LayerId(Uuid::from_u128(n))
    }

    fn s(n: u128) -> SnapshotId {
        SnapshotId(Uuid::from_u128(n))
    }

    fn disk(n: u128) -> DiskId {
        DiskId(Uuid::from_u128(n))
    }

    fn frozen(list: &[Option<u128>]) -> BTreeSet<Option<LayerId>> {
        list.iter().map(|n| n.map(l)).collect()
    }

    /// 10:00, 12:00, 14:00 as in SNAP-10: base, 1 and 2 are frozen, 3 is written.
    fn three() -> Layers {
        let mut t = Layers::default();
        for n in 1..=3 {
            t.take(l(n), false, s(n));
        }
        t
    }

    #[test]
    fn reads_go_from_the_newest_to_the_base() {
        // W-31.
        assert_eq!(three().path(three().top), [None, Some(l(1)), Some(l(2)), Some(l(3))]);
        assert_eq!(three().depth(), 3);
        assert!(three().check().is_ok());
    }

    #[test]
    fn deleting_in_the_middle_keeps_what_the_others_need() {
        // SNAP-11: the second snapshot froze layer 1; what lies in layer 2 goes into it.
        let mut t = three();
        let merges = t.tidy(&frozen(&[None, Some(2)]));
        assert_eq!(merges, [Merge { from: l(2), into: Some(l(1)) }]);
        assert_eq!(t.path(t.top), [None, Some(l(1)), Some(l(3))]);
        assert_eq!(renamed(Some(l(2)), &merges), Some(l(1)), "the third snapshot is found in layer 1 now");
        assert_eq!(t.path_with_merges(t.top), [None, Some(l(1)), Some(l(2)), Some(l(3))]);
    }

    #[test]
    fn deleting_all_leaves_the_base() {
        let mut t = three();
        let merges = t.tidy(&frozen(&[]));
        assert_eq!(merges.len(), 3);
        assert_eq!((t.top, t.list.len()), (None, 0));
        assert_eq!(t.path_with_merges(None), [None, Some(l(1)), Some(l(2)), Some(l(3))], "nothing is lost before the host has merged");
        assert!(merges.iter().all(|m| m.into.is_none()));
    }

    #[test]
    fn going_back_makes_a_branch_and_drops_only_what_nobody_needs() {
        // back to the first snapshot (the base); the second and third stay, layer 3 held what no snapshot has.
        let mut t = three();
        let all = frozen(&[None, Some(1), Some(2)]);
        assert!(t.revert(None, l(9), s(1), &all).is_empty());
        assert_eq!(t.path(t.top), [None, Some(l(9))]);
        assert!(t.get(l(3)).is_none() && t.get(l(2)).is_some());
        // The first snapshot goes: two branches stand on the base, so nothing can be merged into it.
        assert!(t.tidy(&frozen(&[Some(1), Some(2)])).is_empty());
        // The other branch goes: layers 1 and 2 are dropped, and 9 goes into the base.
        assert_eq!(t.tidy(&frozen(&[])), [Merge { from: l(9), into: None }]);
        assert_eq!((t.top, t.list.len()), (None, 0));
    }

    #[test]
    fn a_disk_has_files_from_its_beginning_on() {
        let mut t = Layers::default();
        t.take(l(1), false, s(1));
        t.begin(disk(7));
        t.take(l(2), false, s(2));
        let path = t.path(t.top);
        assert_eq!(t.files(disk(6), &path, |_| true), [None, Some(l(1)), Some(l(2))]);
        assert_eq!(t.files(disk(7), &path, |_| true), [None, Some(l(2))]);
        assert_eq!(t.file_of(disk(7), Some(l(1))), None, "its base file began in layer 1");
        // The first snapshot goes: layer 1 goes into the base.
        t.tidy(&frozen(&[Some(1)]));
        assert!(t.since.is_empty());
        let path = t.path_with_merges(t.top);
        assert_eq!(t.files(disk(6), &path, |x| x == l(1) || x == l(2)), [None, Some(l(1)), Some(l(2))]);
        assert_eq!(t.files(disk(7), &path, |x| x == l(2)), [None, Some(l(2))]);
    }

    #[test]
    fn what_is_no_tree_is_refused() {
        let bad = |list: Vec<Layer>, top| Layers { list, top, ..Layers::default() }.check().is_err();
        let layer = |n, parent: Option<u128>| Layer { id: l(n), parent: parent.map(l), consistent: false, memory: None };
        assert!(bad(vec![layer(1, Some(2))], Some(l(1))));
        assert!(bad(vec![layer(1, Some(2)), layer(2, Some(1))], Some(l(1))));
        assert!(bad(vec![layer(1, None), layer(1, None)], Some(l(1))));
        assert!(bad(vec![], Some(l(1))));
        let deep: Vec<Layer> = (1..=DEPTH_MAX as u128 + 1).map(|n| layer(n, (n > 1).then(|| n - 1))).collect();
        assert!(bad(deep, Some(l(DEPTH_MAX as u128 + 1))));
    }

    /// Whatever snapshots come and go, every snapshot keeps its own path, and merges never lose a layer that is read.
    #[test]
    fn any_history_keeps_every_snapshot_readable() {
        let mut seed = 0x9E37_79B9_7F4A_7C15u64;
        let mut draw = move |n: usize| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed % n.max(1) as u64) as usize
        };
        for _ in 0..500 {
            let (mut t, mut next) = (Layers::default(), 1u128);
            // Per snapshot: its layer now, and the contents (by original layer) that it must read.
            let mut snapshots: Vec<(Option<LayerId>, BTreeSet<Option<LayerId>>)> = Vec::new();
            let mut held: BTreeMap<Option<LayerId>, BTreeSet<Option<LayerId>>> = BTreeMap::from([(None, BTreeSet::from([None]))]);
            for _ in 0..12 {
                t.merges.clear();
                next += 1;
                let reads = |t: &Layers, held: &BTreeMap<_, BTreeSet<_>>, end| t.path(end).iter().flat_map(|x| held[x].clone()).collect::<BTreeSet<_>>();
                let merges = match draw(3) {
                    0 => {
                        snapshots.push((t.top, reads(&t, &held, t.top)));
                        t.take(l(next), false, s(next));
                        held.insert(Some(l(next)), BTreeSet::from([Some(l(next))]));
                        vec![]
                    }
                    1 if !snapshots.is_empty() => {
                        let to = snapshots[draw(snapshots.len())].0;
                        held.insert(Some(l(next)), BTreeSet::from([Some(l(next))]));
                        let keep = snapshots.iter().map(|x| x.0).collect();
                        t.revert(to, l(next), s(next), &keep)
                    }
                    _ if !snapshots.is_empty() => {
                        snapshots.remove(draw(snapshots.len()));
                        let keep = snapshots.iter().map(|x| x.0).collect();
                        t.tidy(&keep)
                    }
                    _ => vec![],
                };
                for m in &merges {
                    let upper = held.remove(&Some(m.from)).unwrap();
                    held.get_mut(&m.into).unwrap().extend(upper);
                }
                for x in &mut snapshots {
                    x.0 = renamed(x.0, &merges);
                    assert_eq!(reads(&t, &held, x.0), x.1);
                }
                t.check().unwrap();
            }
        }
    }
}
