//! Accounts, sessions, API tokens and console tickets. Secrets are stored as hashes only.

use crate::error::{Check, Error};
use crate::role::{Role, Scope};
use crate::{SessionId, Time, TokenId, UserId, VmId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Fewest characters of a password.
pub const PASSWORD_CHARS_MIN: usize = 12;
/// Most bytes of a password, so that hashing has a bound.
pub const PASSWORD_BYTES_MAX: usize = 1024;
/// Wrong passwords in a row that lock an account.
pub const FAILURES_MAX: u32 = 5;
/// Seconds for which it is locked.
pub const LOCK_SECONDS: i64 = 300;
/// Seconds without use after which a session ends.
pub const SESSION_IDLE_SECONDS: i64 = 3600;
/// Seconds after which a session ends in any case.
pub const SESSION_SECONDS_MAX: i64 = 12 * 3600;
/// Seconds in which a console ticket must be used.
pub const TICKET_SECONDS: i64 = 30;

/// An account.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct User {
    /// Identity.
    pub id: UserId,
    /// Login name.
    pub name: String,
    /// Argon2id hash in PHC form.
    pub password_hash: String,
    /// The password must be changed before anything else.
    pub must_change: bool,
    /// May not sign in.
    pub disabled: bool,
    /// Wrong passwords in a row.
    pub failures: u32,
    /// No sign-in before this.
    pub locked_until: Option<Time>,
    /// Grows with each change; the ETag.
    pub generation: i64,
    /// When it was made.
    pub created_at: Time,
}

/// A signed-in session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Identity.
    pub id: SessionId,
    /// Whose.
    pub user: UserId,
    /// SHA-256 of the secret, hex.
    pub secret_sha256: String,
    /// SHA-256 of the token that must come in a header with each change when the session comes in a cookie.
    pub csrf_sha256: String,
    /// Ends at.
    pub expires_at: Time,
    /// Last used; coarse.
    pub used_at: Time,
    /// When it began.
    pub created_at: Time,
}

/// An API token for machines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiToken {
    /// Identity.
    pub id: TokenId,
    /// Label.
    pub name: String,
    /// Whose rights it has at most.
    pub user: UserId,
    /// SHA-256 of the secret, hex.
    pub secret_sha256: String,
    /// Role it is limited to; none: all that the user may.
    pub role: Option<Role>,
    /// Scope it is limited to; none: all that the user may.
    pub scope: Option<Scope>,
    /// Ends at.
    pub expires_at: Time,
    /// Last used; coarse.
    pub used_at: Option<Time>,
    /// When it was made.
    pub created_at: Time,
}

/// Which console a ticket opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConsoleKind {
    /// The screen: RFB (VNC).
    Vnc,
    /// The first serial port.
    Serial,
}

/// A one-time permission to open a console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsoleTicket {
    /// SHA-256 of the secret, hex.
    pub secret_sha256: String,
    /// Whose.
    pub user: UserId,
    /// Of which VM.
    pub vm: VmId,
    /// Which console.
    pub kind: ConsoleKind,
    /// Not valid after.
    pub expires_at: Time,
}

/// Checks a new password: 12 characters at least, not the login name.
///
/// # Errors
/// [`crate::ErrorCode::Invalid`] that names `field`; the password is never part of the text.
pub fn check_password(field: &str, user_name: &str, password: &str) -> Result<(), Error> {
    let mut c = Check::new();
    c.that(password.chars().count() >= PASSWORD_CHARS_MIN, field, format!("must have at least {PASSWORD_CHARS_MIN} characters"));
    c.that(password.len() <= PASSWORD_BYTES_MAX, field, format!("must have at most {PASSWORD_BYTES_MAX} bytes"));
    c.that(!password.eq_ignore_ascii_case(user_name), field, "must not be the login name");
    let mut chars = password.chars();
    let first = chars.next();
    c.that(first.is_none() || chars.any(|x| Some(x) != first), field, "must not be one character repeated");
    c.done()
}
