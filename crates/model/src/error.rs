//! The few kinds of failure that the whole product knows, with a rule for when each is used.
//!
//! An error that reaches a person says what happened, why, and what to do (`message` and `hint`); what only
//! operators may read goes to the log and never here.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Which kind of failure; decides the HTTP status, the CLI's exit code and whether a retry can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The request could not be read: broken JSON, a filter that does not parse, an unknown field (400).
    Malformed,
    /// Nobody is signed in, or the credential is wrong, expired or revoked (401).
    Unauthenticated,
    /// The password must be changed before anything else (403).
    PasswordChangeRequired,
    /// Signed in, and allowed to see the object, but not to do this (403).
    Forbidden,
    /// No such object, or the caller may not know that it exists (404).
    NotFound,
    /// The object is in a state that does not allow this, or the name is taken (409).
    Conflict,
    /// `If-Match` did not match: somebody else changed the object first (412).
    PreconditionFailed,
    /// The request was understood but a value is not acceptable; `violations` name the fields (422).
    Invalid,
    /// A task is working on the object; `params.task` names it (423).
    Locked,
    /// Too many requests; try again after the time in `Retry-After` (429).
    TooMany,
    /// No host can take the VM; `refusals` list the reason for each host (507).
    NoCapacity,
    /// The disk of the manager's database or files is full: what changes something is refused, reading goes on (507).
    StorageFull,
    /// Something this needs is not there right now: a host, the database (503). A retry may help.
    Unavailable,
    /// The host's engine (libvirt, QEMU, qemu-img, OVS) refused or failed (500 on the API; ends a task).
    HostFailed,
    /// A fault of Virga itself (500). The request id finds it in the log.
    Internal,
}

impl ErrorCode {
    /// The HTTP status that belongs to this kind.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            ErrorCode::Malformed => 400,
            ErrorCode::Unauthenticated => 401,
            ErrorCode::PasswordChangeRequired | ErrorCode::Forbidden => 403,
            ErrorCode::NotFound => 404,
            ErrorCode::Conflict => 409,
            ErrorCode::PreconditionFailed => 412,
            ErrorCode::Invalid => 422,
            ErrorCode::Locked => 423,
            ErrorCode::TooMany => 429,
            ErrorCode::HostFailed | ErrorCode::Internal => 500,
            ErrorCode::Unavailable => 503,
            ErrorCode::NoCapacity | ErrorCode::StorageFull => 507,
        }
    }

    /// Short title for people, the same for every occurrence (RFC 9457 `title`).
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            ErrorCode::Malformed => "The request could not be read",
            ErrorCode::Unauthenticated => "Sign-in needed",
            ErrorCode::PasswordChangeRequired => "The password must be changed first",
            ErrorCode::Forbidden => "Not permitted",
            ErrorCode::NotFound => "Not found",
            ErrorCode::Conflict => "Not possible in the present state",
            ErrorCode::PreconditionFailed => "The object has changed meanwhile",
            ErrorCode::Invalid => "A value is not acceptable",
            ErrorCode::Locked => "A task is working on the object",
            ErrorCode::TooMany => "Too many requests",
            ErrorCode::NoCapacity => "No host can take the VM",
            ErrorCode::StorageFull => "The manager's disk is full",
            ErrorCode::Unavailable => "Not available right now",
            ErrorCode::HostFailed => "The host could not do it",
            ErrorCode::Internal => "Internal error",
        }
    }

    /// Whether the same request may succeed later without any change.
    #[must_use]
    pub fn retryable(self) -> bool {
        matches!(self, ErrorCode::Unavailable | ErrorCode::TooMany | ErrorCode::Locked | ErrorCode::StorageFull)
    }
}

/// Most violations that are told at once: enough to mend a request, too few to make a small request's answer large.
pub const VIOLATIONS_MAX: usize = 20;

/// One field that is not acceptable, and how to mend it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Violation {
    /// Path of the field in the request, e.g. `disks[0].size_bytes`.
    pub field: String,
    /// What is wrong and what would be right.
    pub message: String,
}

/// A failure that may be shown to the person who asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Error {
    /// Which kind.
    pub code: ErrorCode,
    /// What happened and why, in one or two sentences. Never holds a secret.
    pub message: String,
    /// What to do about it, where something can be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The fields at fault, for [`ErrorCode::Invalid`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub violations: Vec<Violation>,
    /// Per host, why it cannot take the VM, for [`ErrorCode::NoCapacity`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refusals: Vec<crate::refusal::HostRefusal>,
    /// Seconds after which the same request may succeed, where that is known; never written down.
    #[serde(skip)]
    pub retry_after_s: Option<u32>,
}

impl Error {
    /// A failure of kind `code`.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Error {
        Error { code, message: message.into(), hint: None, violations: Vec::new(), refusals: Vec::new(), retry_after_s: None }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Error {
        self.hint = Some(hint.into());
        self
    }

    /// Says after how many seconds the same request may succeed.
    #[must_use]
    pub fn with_retry_after(mut self, seconds: u32) -> Error {
        self.retry_after_s = Some(seconds);
        self
    }

    /// [`ErrorCode::Malformed`].
    #[must_use]
    pub fn malformed(message: impl Into<String>) -> Error {
        Error::new(ErrorCode::Malformed, message)
    }

    /// [`ErrorCode::Malformed`] for one field or parameter.
    #[must_use]
    pub fn malformed_field(field: impl Into<String>, message: impl Into<String>) -> Error {
        let v = Violation { field: field.into(), message: message.into() };
        Error { violations: vec![v.clone()], ..Error::new(ErrorCode::Malformed, v.message) }
    }

    /// [`ErrorCode::NotFound`] for `what` called `name`.
    #[must_use]
    pub fn not_found(what: &str, name: impl fmt::Display) -> Error {
        let name = crate::name::shown(&name.to_string());
        Error::new(ErrorCode::NotFound, format!("There is no {what} \"{name}\", or you may not see it."))
    }

    /// [`ErrorCode::Conflict`].
    #[must_use]
    pub fn conflict(message: impl Into<String>) -> Error {
        Error::new(ErrorCode::Conflict, message)
    }

    /// [`ErrorCode::Invalid`] for one field.
    #[must_use]
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Error {
        let v = Violation { field: field.into(), message: message.into() };
        Error::invalid_all(vec![v])
    }

    /// [`ErrorCode::Invalid`] for several fields.
    #[must_use]
    pub fn invalid_all(violations: Vec<Violation>) -> Error {
        let list: Vec<String> = violations.iter().map(|v| format!("{}: {}", v.field, v.message)).collect();
        Error { violations, ..Error::new(ErrorCode::Invalid, list.join("; ")) }
    }

    /// The same violations, of fields that lie in `field` of the request.
    #[must_use]
    pub fn within(self, field: &str) -> Error {
        self.rename(|name| if name.is_empty() { field.to_string() } else { format!("{field}.{name}") })
    }

    /// The same violations under the names that the fields have in the request.
    #[must_use]
    pub fn rename(self, name: impl Fn(&str) -> String) -> Error {
        if self.code != ErrorCode::Invalid || self.violations.is_empty() {
            return self;
        }
        Error::invalid_all(self.violations.into_iter().map(|v| Violation { field: name(&v.field), ..v }).collect())
    }

    /// [`ErrorCode::HostFailed`].
    #[must_use]
    pub fn host(message: impl Into<String>) -> Error {
        Error::new(ErrorCode::HostFailed, message)
    }

    /// [`ErrorCode::Unavailable`].
    #[must_use]
    pub fn unavailable(message: impl Into<String>) -> Error {
        Error::new(ErrorCode::Unavailable, message)
    }

    /// [`ErrorCode::Internal`]. `message` is shown: keep details for the log.
    #[must_use]
    pub fn internal(message: impl Into<String>) -> Error {
        Error::new(ErrorCode::Internal, message)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, " {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// Collects violations, so that a person is told of all wrong fields at once.
#[derive(Debug, Default)]
pub struct Check(Vec<Violation>);

impl Check {
    /// Nothing wrong so far.
    #[must_use]
    pub fn new() -> Check {
        Check::default()
    }

    /// Notes a violation of `field` unless `ok`.
    pub fn that(&mut self, ok: bool, field: impl Into<String>, message: impl Into<String>) {
        if !ok && self.0.len() < VIOLATIONS_MAX {
            self.0.push(Violation { field: field.into(), message: message.into() });
        }
    }

    /// Adds the violations of `r`, each field prefixed by `prefix`.
    pub fn nested(&mut self, prefix: &str, r: Result<(), Error>) {
        if let Err(e) = r {
            for v in e.violations.into_iter().take(VIOLATIONS_MAX.saturating_sub(self.0.len())) {
                let field = if v.field.is_empty() { prefix.to_string() } else { format!("{prefix}.{}", v.field) };
                self.0.push(Violation { field, message: v.message });
            }
        }
    }

    /// # Errors
    /// [`ErrorCode::Invalid`] with all violations, when there is any.
    pub fn done(self) -> Result<(), Error> {
        if self.0.is_empty() { Ok(()) } else { Err(Error::invalid_all(self.0)) }
    }
}
