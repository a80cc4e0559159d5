//! What was done to an export, and what the verifier says of it.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use proptest::prelude::*;
use virga_audit::chain::{Beginning, End, Record};
use virga_audit::{Anchor, Key, Verdict, verify};

/// A manager: its key and its records.
struct Manager {
    pair: Ed25519KeyPair,
    key: Key,
    records: Vec<Record>,
}

fn record(seq: i64, detail: &str) -> Record {
    Record {
        seq,
        at: 1_700_000_000_000_000 + seq,
        user: (seq % 2 == 0).then(|| "0198f4c2-7b1c-7a63-9a4e-2f6f0c1d2e3f".into()),
        actor: "anna".into(),
        source: "192.0.2.1".into(),
        operation: "vm_delete".into(),
        object_kind: "vm".into(),
        object_id: "00000000-0000-0000-0000-000000000000".into(),
        object_name: format!("vm-{seq} \u{e9} \"q\""),
        result: "ok".into(),
        request_id: format!("r{seq}"),
        detail: detail.into(),
        chain: String::new(),
    }
}

/// Gives every record the value that it must have.
fn chained(mut records: Vec<Record>, before: &str) -> Vec<Record> {
    let mut before = before.to_string();
    for r in &mut records {
        r.chain = r.value_after(&before);
        before.clone_from(&r.chain);
    }
    records
}

impl Manager {
    fn new(n: i64) -> Manager {
        let pair = Ed25519KeyPair::generate().unwrap();
        let key = Key::from_bytes(pair.public_key().as_ref());
        Manager { pair, key, records: chained((1..=n).map(|i| record(i, "removed")).collect(), "") }
    }

    fn sign(&self, seq: i64, chain: &str, pruned: bool) -> Anchor {
        let mut a = Anchor { seq, chain: chain.into(), at: 7, key: self.key.name().into(), signature: String::new(), pruned };
        a.signature = hex::encode(self.pair.sign(a.signed_text().as_bytes()).as_ref());
        a
    }

    fn anchor(&self, seq: i64) -> Anchor {
        self.sign(seq, &self.records[usize::try_from(seq).unwrap() - 1].chain, false)
    }

    /// Anchors of every third record and of the last one, as they were kept outside.
    fn anchors(&self) -> Vec<Anchor> {
        let last = self.records.len() as i64;
        (1..=last).filter(|i| i % 3 == 0 || *i == last).map(|i| self.anchor(i)).collect()
    }

    fn export(&self) -> File {
        let beginning = Beginning { export: "virga audit 1".into(), after: 0, before: String::new(), pruned: None };
        File { beginning, records: self.records.clone(), end: Some(End { head: self.anchor(self.records.len() as i64) }) }
    }
}

#[derive(Clone)]
struct File {
    beginning: Beginning,
    records: Vec<Record>,
    end: Option<End>,
}

impl File {
    fn text(&self) -> String {
        let mut text = serde_json::to_string(&self.beginning).unwrap() + "\n";
        self.records.iter().for_each(|r| text.push_str(&(serde_json::to_string(r).unwrap() + "\n")));
        if let Some(e) = &self.end {
            text.push_str(&(serde_json::to_string(e).unwrap() + "\n"));
        }
        text
    }

    fn verdict(&self, anchors: &[Anchor], key: &Key) -> Verdict {
        verify(self.text().as_bytes(), 0, anchors, std::slice::from_ref(key))
    }
}

#[test]
fn what_was_not_touched_is_whole() {
    let m = Manager::new(10);
    let v = m.export().verdict(&m.anchors(), &m.key);
    assert_eq!(v, Verdict::Ok { first: 1, last: 10, anchors: 4 });
    assert_eq!((v.exit_code(), v.to_string()), (0, "ok: records 1 to 10, 4 anchors".into()));
    let v = m.export().verdict(&m.anchors()[..2], &m.key);
    assert_eq!((v.exit_code(), v), (3, Verdict::Unanchored { anchored: 6, last: 10 }));
    assert_eq!(m.export().verdict(&[], &m.key), Verdict::Unanchored { anchored: 0, last: 10 });
}

/// What somebody did who can change the file but has no key.
type Tamper = fn(&mut File, &Manager);

#[test]
fn every_kind_of_tampering_has_its_verdict() {
    let cases: [(&str, Tamper, Verdict); 17] = [
        ("a word altered", |f, _| f.records[3].detail = "nothing".into(), Verdict::Altered(4)),
        ("the actor altered", |f, _| f.records[0].actor = "bob".into(), Verdict::Altered(1)),
        ("the account taken out", |f, _| f.records[1].user = None, Verdict::Altered(2)),
        ("a chain value altered", |f, _| f.records[5].chain = "00".into(), Verdict::Altered(6)),
        ("one removed", |f, _| drop(f.records.remove(4)), Verdict::Removed(5)),
        ("the first removed", |f, _| drop(f.records.remove(0)), Verdict::Removed(1)),
        ("two swapped", |f, _| f.records.swap(2, 5), Verdict::Reordered(3)),
        ("one doubled", |f, _| f.records.insert(4, f.records[3].clone()), Verdict::Inserted(4)),
        ("one added at the end", |f, _| f.records.push(record(11, "more")), Verdict::Altered(11)),
        (
            "one chained to the end",
            |f, _| {
                f.records.push(record(11, "more"));
                f.records = chained(f.records.clone(), "");
            },
            Verdict::Inserted(10),
        ),
        ("cut off", |f, _| f.records.truncate(7), Verdict::Truncated { last: 7, anchored: 10 }),
        (
            "cut off, with a true statement of before",
            |f, m| {
                f.records.truncate(6);
                f.end = Some(End { head: m.anchor(6) });
            },
            Verdict::Truncated { last: 6, anchored: 10 },
        ),
        (
            "removed and written anew",
            |f, _| {
                f.records.remove(4);
                (4..9).for_each(|i| f.records[i].seq -= 1);
                f.records = chained(f.records.clone(), "");
            },
            Verdict::Rewritten(6),
        ),
        (
            "altered and written anew to the end",
            |f, _| {
                f.records[9].detail = "harmless".into();
                f.records = chained(f.records.clone(), "");
            },
            Verdict::Rewritten(10),
        ),
        (
            "the beginning cut off",
            |f, _| {
                (f.beginning.after, f.beginning.before) = (3, f.records[2].chain.clone());
                f.records.drain(..3);
            },
            Verdict::Removed(1),
        ),
        (
            "the beginning cut off as if by age",
            |f, m| {
                let forged = Anchor { pruned: true, ..m.anchor(3) };
                (f.beginning.after, f.beginning.before, f.beginning.pruned) = (3, f.records[2].chain.clone(), Some(forged));
                f.records.drain(..3);
            },
            Verdict::BadAnchor(3),
        ),
        ("the end taken away", |f, _| f.end = None, Verdict::Unreadable { line: 12, why: "the end of the export is missing".into() }),
    ];
    for (what, tamper, verdict) in cases {
        let m = Manager::new(10);
        let mut f = m.export();
        tamper(&mut f, &m);
        let got = f.verdict(&m.anchors(), &m.key);
        assert_eq!(got, verdict, "{what}");
        assert_ne!(got.exit_code(), 0, "{what}");
    }
}

#[test]
fn only_anchors_from_elsewhere_find_what_the_holder_of_the_key_rewrote() {
    let m = Manager::new(10);
    let mut f = m.export();
    f.records[4].detail = "harmless".into();
    f.records = chained(f.records, "");
    f.end = Some(End { head: m.sign(10, &f.records[9].chain, false) });
    assert_eq!(f.verdict(&[], &m.key).exit_code(), 3, "the chain alone is whole");
    assert_eq!(f.verdict(&m.anchors(), &m.key), Verdict::Rewritten(6));
}

#[test]
fn anchors_of_others_count_for_nothing() {
    let (m, other) = (Manager::new(10), Manager::new(10));
    assert_eq!(m.export().verdict(&other.anchors(), &m.key), Verdict::BadAnchor(3));
    assert_eq!(m.export().verdict(&m.anchors(), &other.key), Verdict::BadAnchor(3));
    let mut f = m.export();
    f.end = Some(End { head: Anchor { seq: 9, ..m.anchor(10) } });
    assert_eq!(f.verdict(&m.anchors(), &m.key), Verdict::BadAnchor(9));
}

#[test]
fn what_age_removed_is_vouched_for() {
    let m = Manager::new(10);
    let mut f = m.export();
    let begin = m.sign(3, &m.records[2].chain, true);
    f.beginning = Beginning { after: 3, before: begin.chain.clone(), pruned: Some(begin), ..f.beginning };
    f.records.drain(..3);
    assert_eq!(f.verdict(&m.anchors(), &m.key), Verdict::Ok { first: 4, last: 10, anchors: 4 });
    f.records.remove(0);
    assert_eq!(f.verdict(&m.anchors(), &m.key), Verdict::Removed(4));
}

#[test]
fn a_part_that_was_asked_for_begins_where_it_was_asked_to() {
    let m = Manager::new(10);
    let mut f = m.export();
    (f.beginning.after, f.beginning.before) = (3, m.records[2].chain.clone());
    f.records.drain(..3);
    let text = f.text();
    let verdict = |after| verify(text.as_bytes(), after, &m.anchors(), std::slice::from_ref(&m.key));
    assert_eq!(verdict(3), Verdict::Ok { first: 4, last: 10, anchors: 4 });
    assert_eq!(verdict(2), Verdict::Removed(3));
}

#[test]
fn other_files_are_not_called_whole() {
    let m = Manager::new(2);
    for text in ["", "x", "{}", "{\"export\":\"virga audit 2\",\"after\":0,\"before\":\"\",\"pruned\":null}", "\u{0}\n\n"] {
        assert_eq!(verify(text.as_bytes(), 0, &m.anchors(), std::slice::from_ref(&m.key)).exit_code(), 2, "{text:?}");
    }
    assert!(virga_audit::anchor::read("x\n").is_err());
    let cut = serde_json::to_string(&m.anchor(1)).unwrap();
    assert_eq!(virga_audit::anchor::read(&format!("{}\n{cut}\n", &cut[..20])).unwrap().len(), 1, "a cut line is passed over");
    assert!(Key::from_pem("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----").is_err());
}

/// One act of somebody without the key; what it says it did, it did.
#[derive(Clone, Debug)]
enum Act {
    Alter(usize, u8),
    Remove(usize),
    Swap(usize, usize),
    Double(usize, usize),
    Truncate(usize),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        (0usize..40, 0u8..8).prop_map(|(i, f)| Act::Alter(i, f)),
        (0usize..40).prop_map(Act::Remove),
        (0usize..40, 0usize..40).prop_map(|(a, b)| Act::Swap(a, b)),
        (0usize..40, 0usize..40).prop_map(|(a, b)| Act::Double(a, b)),
        (0usize..40).prop_map(Act::Truncate),
    ];
    prop::collection::vec(act, 1..5)
}

fn done(f: &mut File, act: &Act) {
    let n = f.records.len();
    if n == 0 {
        return;
    }
    match *act {
        Act::Alter(i, field) => {
            let r = &mut f.records[i % n];
            match field {
                0 => r.at += 1,
                1 => r.user = Some("x".into()),
                2 => r.actor.push('x'),
                3 => r.source.push('x'),
                4 => r.operation.push('x'),
                5 => r.object_name.push('x'),
                6 => r.result.push('x'),
                _ => r.detail.push('x'),
            }
        }
        Act::Remove(i) => drop(f.records.remove(i % n)),
        Act::Swap(a, b) => f.records.swap(a % n, b % n),
        Act::Double(a, b) => f.records.insert(b % n, f.records[a % n].clone()),
        Act::Truncate(i) => f.records.truncate(i % n),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn tampering_is_never_called_whole(n in 1i64..40, acts in acts(), renumber: bool, rechain: bool, head in prop::option::of(1i64..40)) {
        let m = Manager::new(n);
        let mut f = m.export();
        acts.iter().for_each(|a| done(&mut f, a));
        if renumber {
            f.records.iter_mut().enumerate().for_each(|(i, r)| r.seq = i as i64 + 1);
        }
        if rechain {
            f.records = chained(f.records.clone(), "");
        }
        if let Some(h) = head.filter(|h| *h <= n) {
            f.end = Some(End { head: m.anchor(h) });
        }
        let whole = f.records == m.records;
        let verdict = f.verdict(&m.anchors(), &m.key);
        prop_assert!(whole || verdict.exit_code() == 1, "{acts:?}: {verdict}");
    }

    #[test]
    fn a_changed_byte_is_never_called_whole(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let m = Manager::new(5);
        let mut text = m.export().text().into_bytes();
        let i = at.index(text.len() - 1);
        prop_assume!(text[i] != byte);
        text[i] = byte;
        let verdict = verify(text.as_slice(), 0, &m.anchors(), std::slice::from_ref(&m.key));
        prop_assert!(verdict.exit_code() != 0, "byte {i} is {byte}: {verdict}");
    }
}
