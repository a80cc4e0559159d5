//! Passwords: argon2id, 19 MiB, two passes (OWASP's floor), at most two at a time, so that a flood of sign-ins is
//! neither a flood of memory nor of processor time.

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use std::time::Duration;
use tokio::sync::Semaphore;
use virga_model::{Error, ErrorCode};

/// Memory of one hash in KiB.
const MEMORY_KIB: u32 = 19 * 1024;
/// Passes of one hash.
const PASSES: u32 = 2;
/// Hashes at the same time.
const AT_ONCE: usize = 2;
/// Longest wait for a turn.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// Sign-ins that wait for a turn; one takes about a twentieth of a second, so this many are served in time.
const QUEUE_MAX: usize = 64;
/// What to tell who finds no turn.
const RETRY_AFTER_S: u32 = 5;
/// A hash of nobody's password with the same cost, for accounts that do not exist.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IG5vYm9keSBub2I$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Hashes and verifies passwords, a few at a time.
pub struct Hasher {
    turns: Semaphore,
    queue: Semaphore,
}

impl Default for Hasher {
    fn default() -> Hasher {
        Hasher { turns: Semaphore::new(AT_ONCE), queue: Semaphore::new(QUEUE_MAX) }
    }
}

fn argon2() -> Result<Argon2<'static>, Error> {
    let params = Params::new(MEMORY_KIB, PASSES, 1, None).map_err(|_| Error::internal("The password hash is not set up correctly."))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

impl Hasher {
    async fn turn(&self) -> Result<tokio::sync::SemaphorePermit<'_>, Error> {
        let busy = || {
            let e = Error::new(ErrorCode::TooMany, "Too many people sign in at the same time.");
            e.with_hint("Try again in a few seconds.").with_retry_after(RETRY_AFTER_S)
        };
        let _queued = self.queue.try_acquire().map_err(|_| busy())?;
        match tokio::time::timeout(WAIT_MAX, self.turns.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(busy()),
        }
    }

    /// The hash of a new password.
    ///
    /// # Errors
    /// TooMany when no turn comes, Internal when hashing fails.
    pub async fn hash(&self, password: &str) -> Result<String, Error> {
        let _turn = self.turn().await?;
        let password = password.to_string();
        let work = move || argon2().and_then(|a| a.hash_password(password.as_bytes()).map(|h| h.to_string()).map_err(|_| failed()));
        tokio::task::spawn_blocking(work).await.map_err(|_| failed())?
    }

    /// Whether `password` is the one that `hash` was made from. Without a hash it costs the same and is false.
    ///
    /// # Errors
    /// TooMany when no turn comes, Internal when hashing fails.
    pub async fn verify(&self, password: &str, hash: Option<&str>) -> Result<bool, Error> {
        if password.len() > virga_model::user::PASSWORD_BYTES_MAX {
            return Ok(false);
        }
        let _turn = self.turn().await?;
        let (known, text) = (hash.is_some(), hash.unwrap_or(NOBODY).to_string());
        let password = password.to_string();
        let work = move || -> Result<bool, Error> {
            let hash = PasswordHash::new(&text).map_err(|_| failed())?;
            Ok(argon2()?.verify_password(password.as_bytes(), &hash).is_ok())
        };
        Ok(tokio::task::spawn_blocking(work).await.map_err(|_| failed())?? && known)
    }
}

fn failed() -> Error {
    Error::internal("The password could not be checked.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn hashes_verify_and_nobody_never_does() {
        let h = Hasher::default();
        let hash = h.hash("correct horse battery").await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(h.verify("correct horse battery", Some(&hash)).await.unwrap());
        assert!(!h.verify("wrong horse battery", Some(&hash)).await.unwrap());
        assert!(!h.verify("anything", None).await.unwrap());
        assert!(!h.verify(&"x".repeat(5000), Some(&hash)).await.unwrap());
    }
}
