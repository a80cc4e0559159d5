//! The way from the portal to the simulated fleet of a demo: what `virga-fleet break` does, for a page with buttons.
//!
//! It is there only when the manager was started with `--demo-fleet SOCKET`, which `scripts/demo.sh` does and no
//! installation should; otherwise the path does not exist. It lies outside of `/v1`, because it is no part of the API.
//! Behind the socket are simulated machines and nothing else. Who asks is checked as for every request: session or token,
//! the header against forged requests, the duty to change a password, privileges over the installation; each change is
//! recorded first. This must never pass anything on that is not one of the fleet's own verbs.

use crate::auth;
use crate::http::Api;
use crate::limit::too_many;
use bytes::Bytes;
use dropshot::Body;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderValue, Method, Response};
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use virga_model::event::AuditRecord;
use virga_model::role::{Privilege, Target};
use virga_model::task::ObjectRef;
use virga_model::{Error, ErrorCode};

/// Where it is asked.
pub const PATH: &str = "/demo/fleet";
/// Its name in counters and audit records.
pub const NAME: &str = "demo_fleet";
/// The ability that clients see.
pub const CAPABILITY: &str = "demo-fleet";
/// Largest request: a few hundred names of machines.
pub const BODY_BYTES_MAX: usize = 64 * 1024;
/// Largest answer: a thousand machines are about 200 kB.
const ANSWER_BYTES_MAX: u64 = 16 << 20;
/// Longest wait for the fleet. Starting the agents of all machines takes it some seconds.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// What may be asked of the fleet.
const VERBS: [&str; 6] = ["power", "network", "storage", "libvirt", "agent", "guest"];
/// Characters of a request that an audit record shows.
const DETAIL_CHARS_MAX: usize = 500;

/// The simulated fleet of a demo.
#[derive(Clone, Debug)]
pub struct Demo {
    /// Its control socket.
    pub socket: PathBuf,
}

/// Serves a request: `GET` lists the machines, `POST` breaks or mends some.
///
/// # Errors
/// As every operation; Unavailable when no fleet answers; Conflict with the fleet's words when it refuses.
pub async fn answer(api: &Api, demo: &Demo, parts: &Parts, source: &str, id: &str, body: &Bytes) -> Result<Response<Body>, Error> {
    let caller = auth::authenticate(&api.m, &parts.headers, &parts.method, source).await?;
    api.principals.take(&caller.user.0).map_err(|s| too_many("requests of this account", s))?;
    if caller.must_change {
        return Err(Error::new(ErrorCode::PasswordChangeRequired, "Your password must be changed before anything else."));
    }
    let asked = match parts.method {
        Method::GET => {
            caller.require(Privilege::HostRead, &Target::Installation, "")?;
            serde_json::json!({"verb": "list"})
        }
        Method::POST => {
            caller.require(Privilege::HostManage, &Target::Installation, "")?;
            let asked = request(body)?;
            let record = AuditRecord {
                id: 0,
                at: api.m.now(),
                user: caller.id(),
                actor: caller.name.clone(),
                source: source.into(),
                operation: NAME.into(),
                object: ObjectRef::System,
                object_name: "simulated fleet".into(),
                result: "ok".into(),
                request_id: id.into(),
                detail: asked.to_string().chars().take(DETAIL_CHARS_MAX).collect(),
            };
            let mut tx = api.m.store.write().await?;
            virga_store::audit::append(&mut tx, &record).await?;
            tx.commit().await?;
            asked
        }
        _ => return Err(Error::malformed("This path takes GET and POST.")),
    };
    let said = tokio::time::timeout(WAIT_MAX, ask(demo, &asked)).await.map_err(|_| Error::unavailable("The simulated fleet does not answer."))??;
    let mut answer = Response::new(Body::from(Bytes::from(said)));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(answer)
}

/// A request to break or mend something.
fn request(body: &Bytes) -> Result<Value, Error> {
    let asked: Value = serde_json::from_slice(body).map_err(|e| Error::malformed(format!("The body is no JSON: {e}.")))?;
    match asked["verb"].as_str() {
        Some(verb) if VERBS.contains(&verb) => Ok(asked),
        _ => Err(Error::malformed_field("verb", format!("verb must be one of {}.", VERBS.join(", ")))),
    }
}

/// Says a request to the fleet, as one line, and reads its line.
async fn ask(demo: &Demo, asked: &Value) -> Result<String, Error> {
    let gone = |e: std::io::Error| Error::unavailable(format!("The simulated fleet does not answer: {e}.")).with_hint("Start the demo again.");
    let mut socket = UnixStream::connect(&demo.socket).await.map_err(gone)?;
    // A document on one line: what somebody sends cannot become two requests.
    socket.write_all(format!("{asked}\n").as_bytes()).await.map_err(gone)?;
    let mut said = String::new();
    BufReader::new(socket.take(ANSWER_BYTES_MAX)).read_line(&mut said).await.map_err(gone)?;
    let answer: Value = serde_json::from_str(&said).map_err(|_| Error::unavailable("The simulated fleet's answer cannot be read."))?;
    match answer["answer"].as_str() {
        Some("refused") => Err(Error::conflict(answer["message"].as_str().unwrap_or("The fleet refused."))),
        _ => Ok(said),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_fleets_own_verbs_are_passed_on() {
        let asked = |text: &'static str| request(&Bytes::from_static(text.as_bytes()));
        assert!(asked(r#"{"verb":"power","target":"all","state":"off"}"#).is_ok());
        for bad in ["", "[]", "{}", r#"{"verb":"list"}"#, r#"{"verb":["power"]}"#, r#"{"verb":"shutdown"}"#, "null"] {
            assert_eq!(asked(bad).unwrap_err().code, ErrorCode::Malformed, "{bad}");
        }
        // A line break inside of a text does not end the line.
        let asked = asked("{\"verb\":\"guest\",\"vm\":\"a\\n{\\\"verb\\\":\\\"power\\\"}\",\"event\":\"crash\"}").unwrap();
        assert!(!asked.to_string().contains('\n'));
    }
}
