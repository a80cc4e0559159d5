//! What went wrong, for people (what, why, what to do) and for scripts (the exit code).

use crate::client::v1;
use crate::json::{self, text};
use serde_json::Value;
use std::fmt::Write as _;

/// Exit codes; a promise to scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Not done, for a reason that has no code of its own.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// No such object.
    NotFound = 3,
    /// The object's state, a task that works on it, or somebody else's change is in the way.
    Conflict = 4,
    /// Not signed in, or not allowed.
    NotPermitted = 5,
    /// The manager does not answer.
    Unreachable = 6,
    /// The task that was waited for failed or was cancelled.
    TaskFailed = 7,
    /// What was waited for did not come in time.
    TimedOut = 8,
    /// Ctrl-C.
    Interrupted = 130,
}

/// A command that was not done.
#[derive(Debug)]
pub(crate) struct Failure {
    /// For scripts.
    pub(crate) exit: Exit,
    /// What and why.
    pub(crate) message: String,
    /// What to do.
    pub(crate) hint: Option<String>,
    /// What the manager told beside it.
    pub(crate) about: Box<About>,
}

/// What the manager tells of a failure beside its message.
#[derive(Debug, Default)]
pub(crate) struct About {
    /// Fields at fault: name and what is wrong.
    pub(crate) violations: Vec<(String, String)>,
    /// Host and reason, when no host can take a VM; VM and reason, when some of many were not done.
    pub(crate) refusals: Vec<(String, String)>,
    /// Finds the request in the manager's log.
    pub(crate) request_id: String,
    /// HTTP status, when the manager answered.
    pub(crate) status: Option<u16>,
    /// Stable word of the API for the kind of problem.
    pub(crate) code: String,
}

/// What a command comes to.
pub(crate) type Result<T = ()> = std::result::Result<T, Failure>;

impl Failure {
    /// A failure with a message.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Failure {
        Failure { exit, message: message.into(), hint: None, about: Box::default() }
    }

    /// A failure without a code of its own.
    pub(crate) fn failed(message: impl Into<String>) -> Failure {
        Failure::new(Exit::Failed, message)
    }

    /// A wrong command line.
    pub(crate) fn usage(message: impl Into<String>) -> Failure {
        Failure::new(Exit::Usage, message)
    }

    /// Adds what to do.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }

    /// The failure that a problem body (RFC 9457) tells of.
    pub(crate) fn from_problem(status: u16, p: &Value) -> Failure {
        let code = text(p, "code");
        let detail = [text(p, "detail"), text(p, "title")].into_iter().find(|t| !t.is_empty());
        let mut f = Failure::new(exit_of(status), detail.map_or_else(|| format!("the manager answered with status {status}"), String::from));
        f.hint = at_text(p, "hint").or_else(|| own_hint(status, code));
        f.about.violations = json::items(p, "violations").iter().map(|v| (text(v, "field").into(), text(v, "message").into())).collect();
        f.about.refusals = json::items(p, "refusals").iter().flat_map(refusal_rows).collect();
        f.about.request_id = text(p, "request_id").into();
        f.about.status = Some(status);
        f.about.code = code.into();
        f
    }

    /// Whether the same request may go through in a moment: the manager is being restarted, or has too much to do.
    pub(crate) fn is_passing(&self) -> bool {
        self.exit == Exit::Unreachable || matches!(self.about.status, Some(429 | 502 | 503 | 504))
    }

    /// All of it, as it goes to stderr.
    pub(crate) fn render(&self) -> String {
        let mut out = format!("error: {}\n", self.message);
        // A single violation is often the message itself.
        let new = |(field, message): &&(String, String)| self.message != format!("{field}: {message}");
        for (field, message) in self.about.violations.iter().filter(new) {
            let _ = writeln!(out, "  {field}: {message}");
        }
        let width = self.about.refusals.iter().map(|(h, _)| h.chars().count()).max().unwrap_or_default();
        for (host, reason) in &self.about.refusals {
            let _ = writeln!(out, "  {host:width$}  {reason}");
        }
        if let Some(hint) = &self.hint {
            let _ = writeln!(out, "hint: {hint}");
        }
        if !self.about.request_id.is_empty() {
            let _ = writeln!(out, "request id: {}", self.about.request_id);
        }
        out
    }
}

/// One line for each reason of a host.
fn refusal_rows(refusal: &Value) -> Vec<(String, String)> {
    let host = text(refusal, "host_name").to_string();
    json::items(refusal, "reasons").iter().map(|r| (host.clone(), reason_text(r))).collect()
}

/// A reason in words; one that this client does not know shows as the API's own word.
fn reason_text(reason: &Value) -> String {
    match serde_json::from_value::<virga_model::refusal::Reason>(reason.clone()) {
        Ok(r) => r.text(),
        Err(_) => text(reason, "reason").replace('_', " "),
    }
}

fn at_text(p: &Value, path: &str) -> Option<String> {
    Some(text(p, path)).filter(|t| !t.is_empty()).map(String::from)
}

/// What to do about problems whose remedy is a command of this program.
fn own_hint(status: u16, code: &str) -> Option<String> {
    let hint = match (status, code) {
        (_, "password_change_required") => "change the password: virga passwd",
        (401, _) => "sign in: virga login --user NAME, or give an API token with --token-file FILE",
        (412, _) => "look at the object again and repeat the change",
        (423, _) => "see what is going on with virga task list, and wait with virga task wait ID",
        _ => return None,
    };
    Some(hint.into())
}

/// The exit code for an HTTP status.
pub(crate) fn exit_of(status: u16) -> Exit {
    match status {
        401 | 403 => Exit::NotPermitted,
        404 => Exit::NotFound,
        409 | 412 | 423 => Exit::Conflict,
        502..=504 => Exit::Unreachable,
        _ => Exit::Failed,
    }
}

/// The whole chain of causes of an error, in one line.
pub(crate) fn chain(e: &dyn std::error::Error) -> String {
    let mut out = e.to_string();
    let mut next = e.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !out.contains(&words) {
            let _ = write!(out, ": {words}");
        }
        next = cause.source();
    }
    out
}

impl From<reqwest::Error> for Failure {
    fn from(e: reqwest::Error) -> Failure {
        let whole = chain(&e.without_url());
        let f = Failure::new(Exit::Unreachable, format!("the manager cannot be reached: {whole}"));
        if whole.contains("certificate") || whole.contains("UnknownIssuer") {
            return f.hint("the certificate is not trusted: give its CA with --ca FILE, or sign in again with virga login, which shows and pins it");
        }
        f.hint("check that the manager runs and that the URL is right: virga context show")
    }
}

impl From<v1::Error<Value>> for Failure {
    fn from(e: v1::Error<Value>) -> Failure {
        match e {
            v1::Error::ErrorResponse(r) => Failure::from_problem(r.status().as_u16(), &r),
            v1::Error::CommunicationError(e) | v1::Error::ResponseBodyError(e) | v1::Error::InvalidUpgrade(e) => e.into(),
            v1::Error::InvalidResponsePayload(bytes, e) => not_json(&bytes, &e.to_string()),
            v1::Error::UnexpectedResponse(r) => Failure::from_problem(r.status().as_u16(), &Value::Null),
            v1::Error::InvalidRequest(m) | v1::Error::Custom(m) => Failure::usage(m),
        }
    }
}

fn not_json(bytes: &[u8], why: &str) -> Failure {
    let start: String = String::from_utf8_lossy(bytes).chars().take(120).collect();
    Failure::failed(format!("the answer is not the API's ({why}): {start}")).hint("is this really the URL of a Virga manager? virga context show")
}

impl From<std::io::Error> for Failure {
    fn from(e: std::io::Error) -> Failure {
        Failure::failed(e.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn statuses_have_their_exit_codes() {
        let cases = [(400, 1), (401, 5), (403, 5), (404, 3), (409, 4), (412, 4), (422, 1), (423, 4), (429, 1), (500, 1), (503, 6), (507, 1)];
        for (status, exit) in cases {
            assert_eq!(exit_of(status) as i32, exit, "{status}");
        }
        assert_eq!(Exit::TaskFailed as i32, 7);
        assert_eq!(Exit::TimedOut as i32, 8);
        assert_eq!(Exit::Interrupted as i32, 130);
    }

    #[test]
    fn a_problem_says_what_why_and_what_to_do() {
        let p = json!({
            "type": "https://virga.dev/problems/no_capacity", "title": "No host can take the VM", "status": 507,
            "code": "no_capacity", "detail": "No host can take web-1.", "hint": "Give it less memory.",
            "violations": [{"field": "memory_bytes", "message": "is much"}],
            "refusals": [
                {"host": "00000000-0000-0000-0000-000000000001", "host_name": "h1", "reasons": [{"reason": "maintenance"}, {"reason": "moon_phase"}]},
                {"host": "00000000-0000-0000-0000-000000000002", "host_name": "host2", "reasons": [{"reason": "memory", "needed_bytes": 1073741824, "free_bytes": 0}]}],
            "request_id": "r-1"
        });
        let text = Failure::from_problem(507, &p).render();
        assert_eq!(
            text,
            "error: No host can take web-1.\n  memory_bytes: is much\n  h1     the host is in maintenance\n  h1     moon phase\n  \
             host2  not enough memory: needs 1 GiB, has 0 B free\nhint: Give it less memory.\nrequest id: r-1\n"
        );
    }

    #[test]
    fn an_answer_without_a_body_still_says_something() {
        let f = Failure::from_problem(502, &Value::Null);
        assert_eq!(f.exit, Exit::Unreachable);
        assert!(f.is_passing() && f.message.contains("502"));
        assert!(Failure::from_problem(401, &Value::Null).hint.is_some_and(|h| h.contains("virga login")));
    }
}
