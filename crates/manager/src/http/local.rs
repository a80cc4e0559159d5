//! Requests that come from inside the process: the simulator asks as people do, only without a connection.
//!
//! Everything but HTTP is the same: sign-in by token, the authorization table, checks of rights, audit, and answers that
//! are given again for the same `Idempotency-Key`. There must never be a right here that a connection does not have.

use super::op::Once;
use super::{Answer, Api, Op, admitted, authz, repeated};
use crate::auth;
use crate::secret::sha256_hex;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use virga_model::Error;

/// A request.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Name of the operation in the API's document.
    pub operation: &'static str,
    /// API token of the caller.
    pub token: String,
    /// `Idempotency-Key`.
    pub key: Option<String>,
    /// What is asked for, as text: the same key with another text is refused.
    pub content: String,
}

/// Serves a request with `f`, which gets what a handler gets.
///
/// # Errors
/// As the operation says; Unauthenticated and Forbidden as over HTTP.
pub async fn ask<A, F, Fut>(api: &Arc<Api>, asked: Asked, f: F) -> Result<A, Error>
where
    A: Answer,
    F: FnOnce(Arc<Op>) -> Fut + Send,
    Fut: Future<Output = Result<A, Error>> + Send,
{
    let entry = authz::find(asked.operation).ok_or_else(|| Error::internal(format!("The operation {} is not in the authorization table.", asked.operation)))?;
    let bearer = HeaderValue::from_str(&format!("Bearer {}", asked.token)).map_err(|_| Error::malformed("The token is not a token."))?;
    let headers = HeaderMap::from_iter([(AUTHORIZATION, bearer)]);
    let caller = auth::authenticate(&api.m, &headers, &Method::POST, "local").await?;
    let sha256 = sha256_hex(format!("{}\n{}", asked.operation, asked.content).as_bytes());
    let once = asked.key.map(|key| Once { key, sha256, status: A::STATUS, secret: A::SECRET });
    let op = Arc::new(Op {
        m: api.m.clone(),
        api: api.clone(),
        entry,
        caller,
        request_id: "local".into(),
        now: api.m.now(),
        subject: asked.operation.into(),
        if_match: None,
        once,
        replay: Mutex::new(None),
        checked: AtomicBool::new(false),
        audited: AtomicBool::new(false),
        recorded: AtomicBool::new(false),
    });
    admitted(&op)?;
    repeated(op, f).await
}
