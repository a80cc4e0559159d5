//! The public API as a client of it sees it: the fleet asks for join tokens and VMs like anybody else.

use reqwest::{Client, Method};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;
use virga_model::{Error, ErrorCode};

/// Longest that one request may take.
const REQUEST_MAX: Duration = Duration::from_secs(120);
/// Tries of a request that the manager puts off.
const TRIES: u32 = 20;
/// Wait before a request that was put off is tried again.
const AGAIN: Duration = Duration::from_millis(500);

/// A manager's API and a token for it.
pub struct Api {
    http: Client,
    url: String,
    token: String,
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Body; null when there is none.
    pub body: Value,
}

fn unreachable(e: &reqwest::Error) -> Error {
    Error::unavailable(format!("The manager cannot be reached: {e}."))
}

impl Api {
    /// A client that trusts only the authority in `ca`, with the token in `token_file`.
    ///
    /// # Errors
    /// A file cannot be read, or is not what it should be.
    pub fn new(url: &str, ca: &Path, token_file: &Path) -> Result<Api, Error> {
        let read = |p: &Path| std::fs::read_to_string(p).map_err(|e| Error::invalid(p.display().to_string(), format!("cannot be read: {e}")));
        let ca = reqwest::Certificate::from_pem(read(ca)?.as_bytes()).map_err(|_| Error::invalid("ca", "holds no certificate"))?;
        let http = Client::builder().tls_certs_only([ca]).timeout(REQUEST_MAX).build().map_err(|e| Error::internal(e.to_string()))?;
        Ok(Api { http, url: url.trim_end_matches('/').into(), token: read(token_file)?.trim().into() })
    }

    /// One request. An answer of any status is an answer.
    ///
    /// # Errors
    /// Unavailable, when no answer came.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Reply, Error> {
        let mut request = self.http.request(method, format!("{}{path}", self.url)).bearer_auth(&self.token);
        if let Some(b) = body {
            request = request.header("content-type", "application/json").body(b.to_string());
        }
        let reply = request.send().await.map_err(|e| unreachable(&e))?;
        let status = reply.status().as_u16();
        let bytes = reply.bytes().await.map_err(|e| unreachable(&e))?;
        Ok(Reply { status, body: serde_json::from_slice(&bytes).unwrap_or(Value::Null) })
    }

    /// As [`Api::call`]; what the manager puts off (429, 503) is tried again a few times, and a refusal is an error.
    ///
    /// # Errors
    /// Unavailable, or what the manager says.
    pub async fn ok(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Error> {
        let mut tries = 0;
        loop {
            let reply = self.call(method.clone(), path, body).await?;
            tries += 1;
            match reply.status {
                200..=299 => return Ok(reply.body),
                429 | 503 if tries < TRIES => tokio::time::sleep(AGAIN).await,
                status => return Err(refusal(status, &reply.body)),
            }
        }
    }
}

/// A problem body as an error.
fn refusal(status: u16, body: &Value) -> Error {
    let text = body["detail"].as_str().or(body["message"].as_str()).or(body["title"].as_str()).unwrap_or("no reason given");
    let code = match status {
        401 => ErrorCode::Unauthenticated,
        403 => ErrorCode::Forbidden,
        404 => ErrorCode::NotFound,
        409 => ErrorCode::Conflict,
        429 => ErrorCode::TooMany,
        507 => ErrorCode::NoCapacity,
        503 => ErrorCode::Unavailable,
        _ => ErrorCode::Internal,
    };
    Error::new(code, format!("The manager answered {status}: {text}"))
}
