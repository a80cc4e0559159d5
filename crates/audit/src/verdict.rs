//! The verdict over an export: whole, or where it is not.

use crate::chain::{Beginning, End, Record};
use crate::{Anchor, Key};
use std::collections::BTreeMap;
use std::fmt;
use std::io::BufRead;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every record is as it was written, and an anchor from elsewhere vouches for all of them.
    Ok {
        /// Number of the first record.
        first: i64,
        /// Number of the last record.
        last: i64,
        /// Anchors that were compared.
        anchors: usize,
    },
    /// The chain is whole, but the newest anchor from elsewhere is older than its end: that many records are vouched for
    /// by the manager alone.
    Unanchored {
        /// Number of the last record that an anchor vouches for; the one before the first when there is none.
        anchored: i64,
        /// Number of the last record.
        last: i64,
    },
    /// The record of this number is not as it was written.
    Altered(i64),
    /// The record of this number is missing.
    Removed(i64),
    /// Something stands after this number that does not belong there.
    Inserted(i64),
    /// The record of this number stands in the wrong place.
    Reordered(i64),
    /// The records end after this number, but an anchor says that there were more.
    Truncated {
        /// Number of the last record.
        last: i64,
        /// Number of the last record that an anchor vouches for.
        anchored: i64,
    },
    /// The chain is whole in itself, but at this number it is not the one that was anchored: it was written anew.
    Rewritten(i64),
    /// An anchor of this number is not signed by a known key.
    BadAnchor(i64),
    /// The file is no export, or not all of it; the line and why.
    Unreadable {
        /// Line, from 1.
        line: usize,
        /// Why.
        why: String,
    },
}

impl Verdict {
    /// Exit code: 0 whole, 1 tampered with, 2 unreadable, 3 whole with a tail that no anchor vouches for.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Verdict::Ok { .. } => 0,
            Verdict::Unanchored { .. } => 3,
            Verdict::Unreadable { .. } => 2,
            _ => 1,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Ok { first, last, anchors } => write!(f, "ok: records {first} to {last}, {anchors} anchors"),
            Verdict::Unanchored { anchored, last } => {
                write!(f, "unanchored tail: the chain is whole up to {last}, anchors from elsewhere only up to {anchored}")
            }
            Verdict::Altered(n) => write!(f, "altered at {n}"),
            Verdict::Removed(n) => write!(f, "removed at {n}"),
            Verdict::Inserted(n) => write!(f, "inserted after {n}"),
            Verdict::Reordered(n) => write!(f, "reordered at {n}"),
            Verdict::Truncated { last, anchored } => write!(f, "truncated after {last}: an anchor says that there were {anchored}"),
            Verdict::Rewritten(n) => write!(f, "rewritten: at {n} the chain is not the one that was anchored"),
            Verdict::BadAnchor(n) => write!(f, "anchor of {n} is not signed by a known key"),
            Verdict::Unreadable { line, why } => write!(f, "unreadable: line {line}: {why}"),
        }
    }
}

/// The export, read: its beginning, its records as they stand there, and its end.
struct Export {
    beginning: Beginning,
    records: Vec<Record>,
    end: Option<End>,
}

/// Compares an export with anchors from elsewhere. `after` is the number after which it was asked to begin: 0, unless
/// only a part of the records was wanted.
#[must_use]
pub fn verify(export: impl BufRead, after: i64, anchors: &[Anchor], keys: &[Key]) -> Verdict {
    let export = match read(export) {
        Ok(e) => e,
        Err(v) => return v,
    };
    decide(&export, after, anchors, keys).unwrap_or_else(|v| v)
}

fn decide(e: &Export, after: i64, anchors: &[Anchor], keys: &[Key]) -> Result<Verdict, Verdict> {
    begins_well(e, after, keys)?;
    if let Some(bad) = anchors.iter().find(|a| !a.is_signed_by(keys)) {
        return Err(Verdict::BadAnchor(bad.seq));
    }
    in_order(e)?;
    let values = walk(e)?;
    let (begin, last) = (e.beginning.after, e.records.last().map_or(e.beginning.after, |r| r.seq));
    for a in anchors.iter().filter(|a| a.seq >= begin && a.seq <= last) {
        if values.get(&a.seq) != Some(&a.chain.as_str()) {
            return Err(Verdict::Rewritten(a.seq));
        }
    }
    let anchored = anchors.iter().map(|a| a.seq).max().unwrap_or(begin).max(begin);
    if anchored > last {
        return Err(Verdict::Truncated { last, anchored });
    }
    ends_well(e, keys, last, &values)?;
    if anchored < last {
        return Ok(Verdict::Unanchored { anchored, last });
    }
    let compared = anchors.iter().filter(|a| a.seq >= begin).count();
    Ok(Verdict::Ok { first: begin + 1, last, anchors: compared })
}

fn unreadable(line: usize, why: &str) -> Verdict {
    Verdict::Unreadable { line, why: why.into() }
}

fn read(export: impl BufRead) -> Result<Export, Verdict> {
    let mut lines = Vec::new();
    for (i, line) in export.lines().enumerate() {
        lines.push(line.map_err(|_| unreadable(i + 1, "it cannot be read"))?);
    }
    let first = lines.first().ok_or_else(|| unreadable(1, "the file is empty"))?;
    let beginning: Beginning = serde_json::from_str(first).map_err(|_| unreadable(1, "it is not the first line of an export"))?;
    if beginning.export != "virga audit 1" {
        return Err(unreadable(1, "this form of export is not known"));
    }
    let (mut records, mut end) = (Vec::with_capacity(lines.len()), None);
    for (i, line) in lines.iter().enumerate().skip(1) {
        if end.is_some() {
            return Err(unreadable(i + 1, "something stands after the end of the export"));
        }
        if let Ok(e) = serde_json::from_str::<End>(line) {
            end = Some(e);
        } else {
            records.push(serde_json::from_str::<Record>(line).map_err(|_| unreadable(i + 1, "it is no record"))?);
        }
    }
    Ok(Export { beginning, records, end })
}

/// An export begins with the first record, where an anchor says that pruning ended, or where it was asked to begin.
fn begins_well(e: &Export, after: i64, keys: &[Key]) -> Result<(), Verdict> {
    let b = &e.beginning;
    match &b.pruned {
        Some(a) if !a.is_signed_by(keys) || !a.pruned => Err(Verdict::BadAnchor(a.seq)),
        Some(a) if a.seq != b.after || a.chain != b.before => Err(Verdict::Removed(b.after + 1)),
        None if b.after != after => Err(Verdict::Removed(after + 1)),
        None if b.after == 0 && !b.before.is_empty() => Err(Verdict::Altered(1)),
        _ => Ok(()),
    }
}

/// The numbers, without a look at the chain: what is missing, doubled or out of place.
fn in_order(e: &Export) -> Result<(), Verdict> {
    let all: std::collections::BTreeSet<i64> = e.records.iter().map(|r| r.seq).collect();
    let mut seen = std::collections::BTreeSet::new();
    for (r, next) in e.records.iter().zip(e.beginning.after + 1..) {
        if !seen.insert(r.seq) {
            return Err(Verdict::Inserted(next - 1));
        }
        if r.seq != next {
            return Err(if all.contains(&next) { Verdict::Reordered(next) } else { Verdict::Removed(next) });
        }
    }
    Ok(())
}

/// The chain itself; answers with its values by number.
fn walk(e: &Export) -> Result<BTreeMap<i64, &str>, Verdict> {
    let mut before = e.beginning.before.as_str();
    let mut values = BTreeMap::from([(e.beginning.after, before)]);
    for r in &e.records {
        if r.value_after(before) != r.chain {
            return Err(Verdict::Altered(r.seq));
        }
        before = &r.chain;
        values.insert(r.seq, before);
    }
    Ok(values)
}

/// The manager's own statement at the end must be about the last record.
fn ends_well(e: &Export, keys: &[Key], last: i64, values: &BTreeMap<i64, &str>) -> Result<(), Verdict> {
    let Some(End { head }) = &e.end else {
        return Err(unreadable(e.records.len() + 2, "the end of the export is missing"));
    };
    if !head.is_signed_by(keys) {
        return Err(Verdict::BadAnchor(head.seq));
    }
    if head.seq > last {
        return Err(Verdict::Truncated { last, anchored: head.seq });
    }
    if head.seq < last {
        return Err(Verdict::Inserted(head.seq));
    }
    if values.get(&last) != Some(&head.chain.as_str()) {
        return Err(Verdict::Rewritten(last));
    }
    Ok(())
}
