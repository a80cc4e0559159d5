//! Secrets that people and machines carry: made here, shown once, stored as SHA-256 only.
//!
//! A secret is a prefix that says what it is (so that leak scanners find it), 256 random bits and a checksum (so that
//! a mistyped or invented one is refused without a look into the database). It never appears in a log: `Debug` hides it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

/// What a secret is for; decides its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A signed-in session.
    Session,
    /// An API token.
    Token,
    /// A permission for a host to join.
    Join,
    /// A console ticket.
    Ticket,
    /// The value that must come in a header with each change when the session comes in a cookie.
    Csrf,
}

impl Kind {
    /// The prefix of such secrets.
    #[must_use]
    pub fn prefix(self) -> &'static str {
        match self {
            Kind::Session => "vs_",
            Kind::Token => "vt_",
            Kind::Join => "vj_",
            Kind::Ticket => "vc_",
            Kind::Csrf => "vx_",
        }
    }
}

/// A new secret.
pub struct Secret {
    /// What is shown, once.
    pub text: String,
    /// What is stored.
    pub sha256: String,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// Draws a secret from the operating system's randomness.
#[must_use]
pub fn generate(kind: Kind) -> Secret {
    let mut bits = [0u8; 32];
    rand::fill(&mut bits);
    let body = format!("{}{}", kind.prefix(), URL_SAFE_NO_PAD.encode(bits));
    let text = format!("{body}{}", checksum(&body));
    let sha256 = sha256_hex(text.as_bytes());
    Secret { text, sha256 }
}

/// The stored form of a secret that somebody sent; none when it cannot be one of this kind.
#[must_use]
pub fn stored_form(kind: Kind, text: &str) -> Option<String> {
    // Prefix, 43 characters of 256 bits, 6 of the checksum.
    if !text.is_ascii() || text.len() != 3 + 43 + 6 || !text.starts_with(kind.prefix()) {
        return None;
    }
    let (body, sum) = text.split_at(text.len() - 6);
    (checksum(body) == sum).then(|| sha256_hex(text.as_bytes()))
}

fn checksum(body: &str) -> String {
    let hash = Sha256::digest(body.as_bytes());
    URL_SAFE_NO_PAD.encode(&hash[..4])
}

/// SHA-256 as lower-case hex.
#[must_use]
pub fn sha256_hex(data: &[u8]) -> String {
    hex::encode(Sha256::digest(data))
}

/// Sees to it that a crash of this program leaves no core file, because its memory holds secrets, and that no other
/// process of the same user can read that memory (`reliability.md` Y2).
pub fn keep_memory_private() {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
    // Both: a collector of core files behind a pipe asks for no limit. Where neither can be set, the program still runs.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// A password for the first sign-in: 120 random bits in characters that are hard to confuse.
#[must_use]
pub fn one_time_password() -> String {
    const LETTERS: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz123456789";
    let mut bits = [0u8; 24];
    rand::fill(&mut bits);
    bits.iter().map(|b| char::from(LETTERS[usize::from(b & 31)])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_recognized_and_others_are_not() {
        let s = generate(Kind::Token);
        assert!(s.text.starts_with("vt_") && s.text.len() == 52);
        assert_eq!(stored_form(Kind::Token, &s.text), Some(s.sha256.clone()));
        assert_eq!(stored_form(Kind::Session, &s.text), None);
        let mut wrong = s.text.clone().into_bytes();
        wrong[10] = if wrong[10] == b'a' { b'b' } else { b'a' };
        assert_eq!(stored_form(Kind::Token, std::str::from_utf8(&wrong).unwrap()), None);
        assert_eq!(stored_form(Kind::Token, ""), None);
        assert!(!format!("{s:?}").contains(&s.text));
        assert_ne!(generate(Kind::Token).text, s.text);
        assert_eq!(one_time_password().len(), 24);
    }
}
