//! The manifest of a package: lines of `SHA256(NAME)= HEX`, each the digest of one member.

use super::{Member, shown};
use crate::image::reader::{Seen, must, refuse};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A way to make digests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// SHA-1, of packages made by older programs. It shows damage, and no longer proves who made it.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

impl Algorithm {
    /// Hexadecimal digits of a digest.
    #[must_use]
    pub fn digits(self) -> usize {
        match self {
            Algorithm::Sha1 => 40,
            Algorithm::Sha256 => 64,
            Algorithm::Sha512 => 128,
        }
    }
}

impl std::fmt::Display for Algorithm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Algorithm::Sha1 => "SHA-1",
            Algorithm::Sha256 => "SHA-256",
            Algorithm::Sha512 => "SHA-512",
        })
    }
}

/// A digest that a manifest promises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    /// How it is made.
    pub algorithm: Algorithm,
    /// It, in lower-case hexadecimal digits.
    pub hex: String,
}

/// Writes down at each member what the manifest promises of it. A manifest names every file but itself and the certificate,
/// each once, in one way: else there would be two readings of it (I8).
pub(super) fn promise(text: &[u8], members: &mut [Member]) -> Seen<Option<Algorithm>> {
    let Ok(text) = std::str::from_utf8(text) else { return refuse("is an OVA with a manifest that is no text") };
    let mut used = None;
    for line in text.lines().map(str::trim).filter(|l| !l.is_empty()) {
        let Some((name, digest)) = line_of(line) else {
            return refuse("is an OVA with a manifest of which a line is not of the form SHA256(FILE)= DIGEST, with SHA1, SHA256 or SHA512");
        };
        must(used.is_none_or(|a| a == digest.algorithm), "is an OVA with a manifest of several kinds of digests")?;
        used = Some(digest.algorithm);
        let Some(member) = members.iter_mut().find(|m| m.name == name) else {
            return refuse("is an OVA with a manifest that names a file which is not in it");
        };
        must(member.digest.is_none(), "is an OVA with a manifest that names a file twice")?;
        member.digest = Some(digest);
    }
    let bare = members.iter().find(|m| m.digest.is_none() && !super::ends(&m.name, ".mf") && !super::ends(&m.name, ".cert"));
    match bare {
        Some(m) => refuse(format!("is an OVA with a manifest that says nothing of \"{}\"", shown(&m.name))),
        None => Ok(used),
    }
}

/// File and digest of a line: `SHA256(a.ovf)= 12ab…`, as `openssl dgst` writes it, with or without spaces.
fn line_of(line: &str) -> Option<(&str, Digest)> {
    let (algorithm, rest) = line.split_once('(')?;
    let (name, hex) = rest.rsplit_once(')')?;
    let algorithm = match algorithm.trim().to_ascii_uppercase().as_str() {
        "SHA1" => Algorithm::Sha1,
        "SHA256" => Algorithm::Sha256,
        "SHA512" => Algorithm::Sha512,
        _ => return None,
    };
    let hex = hex.trim().strip_prefix('=')?.trim().to_ascii_lowercase();
    let right = hex.len() == algorithm.digits() && hex.bytes().all(|b| b.is_ascii_hexdigit());
    right.then_some((name, Digest { algorithm, hex }))
}
