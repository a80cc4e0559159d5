//! The log of a world: what can be seen, with simulated seconds. Two runs of one seed give the same log.
//!
//! Identities are drawn anew in each run, so each is shown by the order in which it was first seen, or by the name of its
//! object. The hash is over the lines, also over those that are not kept.

use super::turn::lock;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use uuid::Uuid;

/// Lines that are kept when nobody wants all.
const TAIL: usize = 80;

/// The log.
pub struct Log(Mutex<Inner>);

struct Inner {
    names: BTreeMap<Uuid, String>,
    lines: VecDeque<String>,
    hash: Sha256,
    count: u64,
    keep_all: bool,
    origin_ms: u64,
}

impl Log {
    /// An empty log that keeps all lines, or the last ones.
    #[must_use]
    pub fn new(keep_all: bool) -> Log {
        Log(Mutex::new(Inner { names: BTreeMap::new(), lines: VecDeque::new(), hash: Sha256::new(), count: 0, keep_all, origin_ms: 0 }))
    }

    /// Time zero of the lines from now on; what was written before is forgotten.
    pub fn begin(&self, now_ms: u64) {
        let mut l = lock(&self.0);
        l.origin_ms = now_ms;
        l.lines.clear();
    }

    /// The name under which an identity is shown.
    pub fn call(&self, id: Uuid, name: &str) {
        lock(&self.0).names.insert(id, name.into());
    }

    /// The name of an identity; a number when it has none.
    pub fn name(&self, id: Uuid) -> String {
        let mut l = lock(&self.0);
        let next = l.names.len() + 1;
        l.names.entry(id).or_insert_with(|| format!("#{next}")).clone()
    }

    /// Writes a line.
    pub fn write(&self, now_ms: u64, text: &str) {
        let text = self.plain(text);
        let mut l = lock(&self.0);
        let ms = i128::from(now_ms) - i128::from(l.origin_ms);
        let line = format!("{:>9} {text}", format!("{}.{:03}", ms.div_euclid(1000), ms.rem_euclid(1000)));
        l.hash.update(line.as_bytes());
        l.count += 1;
        l.lines.push_back(line);
        if !l.keep_all && l.lines.len() > TAIL {
            l.lines.pop_front();
        }
    }

    /// The text with names in the place of identities.
    fn plain(&self, text: &str) -> String {
        const LENGTH: usize = 36;
        const MAC: &str = "52:54:00";
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while !rest.is_empty() {
            let id = rest.get(..LENGTH).filter(|t| t.as_bytes()[8] == b'-').and_then(|t| Uuid::parse_str(t).ok());
            if let Some(id) = id {
                out.push_str(&self.name(id));
                rest = &rest[LENGTH..];
            } else if rest.len() >= MAC.len() + 9 && rest.starts_with(MAC) {
                // Drawn with the identity of its NIC.
                out.push_str(MAC);
                out.push_str(":…");
                rest = &rest[MAC.len() + 9..];
            } else {
                let step = rest.chars().next().map_or(1, char::len_utf8);
                out.push_str(&rest[..step]);
                rest = &rest[step..];
            }
        }
        out
    }

    /// The lines.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        lock(&self.0).lines.iter().cloned().collect()
    }

    /// Hash over all lines ever written.
    #[must_use]
    pub fn hash(&self) -> String {
        let l = lock(&self.0);
        l.hash.clone().finalize().iter().take(8).map(|b| format!("{b:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_shown_in_the_order_in_which_they_were_seen() {
        let (a, b) = (Uuid::now_v7(), Uuid::now_v7());
        let log = Log::new(true);
        log.call(b, "web-1");
        log.begin(500);
        log.write(1250, &format!("task {a} of {b}: größer"));
        assert_eq!(log.lines(), ["    0.750 task #2 of web-1: größer"]);
    }
}
