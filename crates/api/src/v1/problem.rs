//! Problem bodies (RFC 9457), the one shape of every error.

use dropshot::{ErrorStatusCode, HttpError, HttpResponseError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use virga_model::name::clean;
use virga_model::refusal::HostRefusal;
use virga_model::{Error, ErrorCode, Violation};

use super::extract::FIELD_CODE;

/// Seconds after which a retry may help, when nobody knows better.
const RETRY_AFTER_S: u32 = 5;

/// Most characters of a text in a problem.
const DETAIL_CHARS_MAX: usize = 2000;

/// What went wrong, why, and what to do.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// URI that names the kind of problem: `https://virga.dev/problems/` and the code.
    pub r#type: String,
    /// The kind in words; the same for every occurrence.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// What happened and why.
    pub detail: String,
    /// The kind as a stable word.
    pub code: ErrorCode,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Fields at fault.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub violations: Vec<Violation>,
    /// Per host, why it cannot take the VM.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refusals: Vec<HostRefusal>,
    /// Finds the request in the manager's log.
    #[serde(default)]
    pub request_id: String,
    /// Seconds after which the same request may succeed, where it may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u32>,
}

impl From<Error> for Problem {
    fn from(e: Error) -> Problem {
        let code = match serde_json::to_value(e.code) {
            Ok(serde_json::Value::String(s)) => s,
            _ => "internal".into(),
        };
        Problem {
            r#type: format!("https://virga.dev/problems/{code}"),
            title: e.code.title().into(),
            status: e.code.status(),
            // Some of it may be what somebody typed, or what a guest said: it must not play tricks on a terminal.
            detail: clean(&e.message, DETAIL_CHARS_MAX),
            code: e.code,
            hint: e.hint.map(|h| clean(&h, DETAIL_CHARS_MAX)),
            violations: e.violations.into_iter().map(|v| Violation { message: clean(&v.message, DETAIL_CHARS_MAX), ..v }).collect(),
            refusals: e.refusals,
            request_id: String::new(),
            retry_after_s: e.retry_after_s.or(e.code.retryable().then_some(RETRY_AFTER_S)),
        }
    }
}

impl Problem {
    /// Sets the seconds after which a retry may help.
    #[must_use]
    pub fn with_retry_after(mut self, seconds: u32) -> Problem {
        self.retry_after_s = Some(seconds);
        self
    }

    /// Sets the request id.
    #[must_use]
    pub fn with_request_id(mut self, id: &str) -> Problem {
        self.request_id = id.into();
        self
    }
}

/// Faults that the HTTP server finds before our code runs: unknown paths, bodies that do not parse, too large ones.
impl From<HttpError> for Problem {
    fn from(e: HttpError) -> Problem {
        let status = e.status_code.as_u16();
        let code = match status {
            404 => ErrorCode::NotFound,
            401 => ErrorCode::Unauthenticated,
            403 => ErrorCode::Forbidden,
            429 => ErrorCode::TooMany,
            503 => ErrorCode::Unavailable,
            400..=499 => ErrorCode::Malformed,
            _ => ErrorCode::Internal,
        };
        let field = e.error_code.as_deref().and_then(|c| c.strip_prefix(FIELD_CODE));
        let violations = field.map(|f| Violation { field: f.into(), message: e.external_message.clone() });
        Problem { status, violations: violations.into_iter().collect(), ..Problem::from(Error::new(code, e.external_message)) }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}: {}", self.status, self.title, self.detail)
    }
}

impl HttpResponseError for Problem {
    fn status_code(&self) -> ErrorStatusCode {
        http::StatusCode::from_u16(self.status).ok().and_then(|s| ErrorStatusCode::from_status(s).ok()).unwrap_or(ErrorStatusCode::INTERNAL_SERVER_ERROR)
    }
}
