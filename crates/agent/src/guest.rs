//! What a guest says about itself, cut down to what may be believed to be harmless.
//!
//! Every byte of it comes from inside the guest (reliability.md G7). A `Host` reads it with limits of its own; this is the
//! last gate before it is kept and reported, for every kind of host: texts are short and without control characters,
//! addresses are addresses, lists are bounded. A guest can still lie about its name; it cannot make a report too large
//! to send, nor write into somebody's terminal.

use std::net::IpAddr;
use virga_model::vm::{GuestFileSystem, GuestInfo};

/// Longest text, in characters.
const TEXT_CHARS_MAX: usize = 255;
/// Most addresses and file systems.
const LIST_MAX: usize = 64;

/// The same without what is not believable.
pub(crate) fn bounded(info: GuestInfo) -> GuestInfo {
    GuestInfo {
        agent: info.agent,
        agent_version: info.agent_version.and_then(text),
        host_name: info.host_name.and_then(text),
        os: info.os.and_then(text),
        kernel: info.kernel.and_then(text),
        ips: info.ips.into_iter().filter(|i| i.parse::<IpAddr>().is_ok()).take(LIST_MAX).collect(),
        file_systems: info.file_systems.into_iter().take(LIST_MAX).filter_map(file_system).collect(),
    }
}

/// Control characters would act on terminals, and marks of writing direction would turn the words around them.
fn is_plain(c: char) -> bool {
    !c.is_control() && !matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn text(t: String) -> Option<String> {
    if t.len() <= TEXT_CHARS_MAX && t.chars().all(is_plain) && !t.is_empty() {
        return Some(t);
    }
    let t: String = t.chars().filter(|c| is_plain(*c)).take(TEXT_CHARS_MAX).collect();
    (!t.is_empty()).then_some(t)
}

fn file_system(f: GuestFileSystem) -> Option<GuestFileSystem> {
    Some(GuestFileSystem { mount_point: text(f.mount_point)?, kind: text(f.kind).unwrap_or_default(), ..f })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sound_stays_as_it_is() {
        let info = GuestInfo { host_name: Some("web-1".into()), ips: vec!["10.0.0.7".into(), "2001:db8::7".into()], ..GuestInfo::default() };
        assert_eq!(bounded(info.clone()), info);
    }

    #[test]
    fn what_is_not_is_cut() {
        let long = "é\u{1b}[2J".repeat(1000);
        let b = bounded(GuestInfo { host_name: Some(long), os: Some("\n\n".into()), ips: vec!["10.0.0.7; rm -rf /".into()], ..GuestInfo::default() });
        assert_eq!(b.host_name.map(|n| n.chars().count()), Some(TEXT_CHARS_MAX));
        assert_eq!((b.os, b.ips), (None, vec![]));
    }
}
