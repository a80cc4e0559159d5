//! Anchors and the public keys that vouch for them.

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What stands before the 32 bytes of an Ed25519 key in its DER form (RFC 8410).
const DER_HEAD: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// A signed statement: the record of this number has this chain value.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Anchor {
    /// Number of the record.
    pub seq: i64,
    /// Its chain value.
    pub chain: String,
    /// When it was signed, in microseconds since 1970.
    pub at: i64,
    /// Name of the key.
    pub key: String,
    /// Signature, hex.
    pub signature: String,
    /// The chain begins after this record: what was before was removed by age.
    pub pruned: bool,
}

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    name: String,
    bytes: Vec<u8>,
}

impl Key {
    /// Reads a key in PEM form (the manager's `audit.pub`).
    ///
    /// # Errors
    /// A sentence, when it is none.
    pub fn from_pem(text: &str) -> Result<Key, String> {
        let body: String = text.lines().map(str::trim).filter(|l| !l.starts_with("-----")).collect();
        let der = STANDARD.decode(body).map_err(|_| "the key is not in PEM form")?;
        let bytes = der.strip_prefix(&DER_HEAD).filter(|b| b.len() == 32).ok_or("the key is no Ed25519 public key")?;
        Ok(Key::from_bytes(bytes))
    }

    /// The key of these 32 bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Key {
        Key { name: hex::encode(Sha256::digest(bytes))[..16].to_string(), bytes: bytes.to_vec() }
    }

    /// The first 16 hex digits of the SHA-256 of the key.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Anchor {
    /// What is signed.
    #[must_use]
    pub fn signed_text(&self) -> String {
        let kind = if self.pruned { "begin" } else { "head" };
        format!("virga audit anchor 1\n{kind}\n{}\n{}\n{}\n{}\n", self.seq, self.chain, self.at, self.key)
    }

    /// Whether one of `keys` signed it.
    #[must_use]
    pub fn is_signed_by(&self, keys: &[Key]) -> bool {
        // In one spelling only: what can be written in two ways can be changed unseen.
        let Some(signature) = hex::decode(&self.signature).ok().filter(|s| hex::encode(s) == self.signature) else { return false };
        let good = |k: &Key| UnparsedPublicKey::new(&ED25519, &k.bytes).verify(self.signed_text().as_bytes(), &signature).is_ok();
        keys.iter().filter(|k| k.name == self.key).any(good)
    }
}

/// Reads a file of anchors: one in each line.
///
/// # Errors
/// A sentence that names the line. A line that was cut off by a crash is an error only when it is not the last one.
pub fn read(text: &str) -> Result<Vec<Anchor>, String> {
    let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    let mut anchors = Vec::with_capacity(lines.len());
    for (i, line) in lines.iter().enumerate() {
        match serde_json::from_str(line) {
            Ok(a) => anchors.push(a),
            // The manager writes the same anchor again on the next line after such a crash.
            Err(e) if e.is_eof() => {}
            Err(_) => return Err(format!("line {} of the anchors is none", i + 1)),
        }
    }
    Ok(anchors)
}
