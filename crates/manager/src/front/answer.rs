//! One request, from its head to its answer: limits before anything is read, the body under a deadline, the handler, and
//! the form of every refusal (RFC 9457, with `Retry-After` where it helps).
//!
//! A handler works in a task of its own: a caller who goes away cuts no change in two, and a handler that panics fails
//! its own request and nothing else. Nothing here may decide about rights; that is [`crate::http`].

use super::lanes::Lanes;
use super::limits::{ANSWER_FREE_BYTES, BODY_BYTES_MAX, Limits, counted};
use super::route::{Route, Router, Unrouted};
use crate::demo;
use crate::http::{self as operations, Api, Head, Rq};
use crate::limit::too_many;
use crate::portal;
use bytes::{Bytes, BytesMut};
use dropshot::Body;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use uuid::Uuid;
use virga_api::v1::{Problem, Sent};
use virga_model::Error;

/// Media type of a problem.
const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");
/// Header with the identity of a request.
const REQUEST_ID: &str = "x-request-id";

/// Answers requests.
pub struct Service {
    /// What handlers share.
    pub api: Arc<Api>,
    /// The operations.
    pub router: Router,
    /// The limits.
    pub limits: Limits,
    /// The places.
    pub lanes: Arc<Lanes>,
    /// Cloned by each handler at work, so that the end of all can be waited for.
    pub busy: mpsc::Sender<()>,
}

/// Why there is no answer of a handler.
struct Refused {
    problem: Box<Problem>,
    allow: Option<HeaderValue>,
    /// It never came to a handler, which would have counted it.
    uncounted: bool,
}

impl From<Problem> for Refused {
    fn from(p: Problem) -> Refused {
        Refused { problem: Box::new(p), allow: None, uncounted: true }
    }
}

impl From<Error> for Refused {
    fn from(e: Error) -> Refused {
        Problem::from(e).into()
    }
}

impl Service {
    /// Answers a request that came over a connection from `peer`.
    pub async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
        let (begun, id) = (Instant::now(), Uuid::new_v4().to_string());
        let mut answer = match self.serve(request, peer, &id).await {
            Ok(answer) => self.held(answer).unwrap_or_else(|e| refusal(Problem::from(e), &id)),
            Err(refused) => {
                if refused.uncounted {
                    self.api.counters.count("refused", refused.problem.status, begun.elapsed());
                }
                let mut answer = refusal(*refused.problem, &id);
                if let Some(methods) = refused.allow {
                    answer.headers_mut().insert(ALLOW, methods);
                }
                answer
            }
        };
        let headers = answer.headers_mut();
        if let Ok(id) = HeaderValue::from_str(&id) {
            headers.insert(REQUEST_ID, id);
        }
        headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        answer
    }

    async fn serve(&self, request: Request<Incoming>, peer: SocketAddr, id: &str) -> Result<Response<Body>, Refused> {
        let source = self.limits.caller(peer, request.headers());
        self.api.sources.take(&counted(source.ip())).map_err(|s| too_many("requests from this address", s))?;
        let (route, variables) = match self.router.find(request.method(), request.uri().path()) {
            Ok(routed) => routed,
            Err(Unrouted::Path) if self.api.demo.is_some() && request.uri().path() == demo::PATH => return self.demo(request, source, id).await,
            Err(why) => return self.page(&why, &request).ok_or_else(|| unrouted(why, request.method())),
        };
        let share = self.lanes.share(source.ip())?;
        let (parts, content) = request.into_parts();
        let (body, stream, memory) = self.load(content, route).await?;
        let place = self.lanes.enter(route.operation).await?;
        let rqctx = Rq { api: self.api.clone(), operation: route.operation, request: Head { parts, source }, request_id: id.into() };
        let (sent, busy) = (Sent { variables, body, stream }, self.busy.clone());
        let work = virga_crash::spawn(async move {
            let answer = operations::call(rqctx, sent).await;
            drop((share, memory, place, busy));
            answer
        });
        match work.await {
            Ok(answer) => answer.map_err(|p| Refused { uncounted: false, ..p.into() }),
            Err(_) => {
                // The message of the panic itself is in the log already.
                self.api.m.panics.count("request");
                tracing::error!(operation = route.operation, request = id, "a handler panicked; the request failed, everything else goes on");
                Err(Error::internal("The manager made a mistake with this request.").with_hint("Its log says more; report it.").into())
            }
        }
    }

    /// Breaks or shows the simulated fleet of a demo.
    async fn demo(&self, request: Request<Incoming>, source: SocketAddr, id: &str) -> Result<Response<Body>, Refused> {
        let begun = Instant::now();
        let share = self.lanes.share(source.ip())?;
        let (parts, content) = request.into_parts();
        let (body, _, memory) = self.load(content, Route { operation: demo::NAME, body_bytes_max: Some(demo::BODY_BYTES_MAX) }).await?;
        let (api, busy, id, source) = (self.api.clone(), self.busy.clone(), id.to_string(), source.ip().to_string());
        let work = virga_crash::spawn(async move {
            let answer = match &api.demo {
                Some(fleet) => demo::answer(&api, fleet, &parts, &source, &id, &body).await,
                None => Err(Error::internal("There is no demo.")),
            };
            drop((share, memory, busy));
            answer
        });
        let answer = work.await.unwrap_or_else(|_| Err(Error::internal("The manager made a mistake with this request.")))?;
        self.api.counters.count(demo::NAME, answer.status().as_u16(), begun.elapsed());
        Ok(answer)
    }

    /// A page or a file of the portal, for a path that is no operation's.
    fn page(&self, why: &Unrouted, request: &Request<Incoming>) -> Option<Response<Body>> {
        let begun = Instant::now();
        let found = matches!(why, Unrouted::Path).then(|| portal::answer(request.method(), request.uri().path(), request.headers())).flatten()?;
        self.api.counters.count("portal", found.status().as_u16(), begun.elapsed());
        Some(found)
    }

    /// Reads the body of an ordinary request, under its deadline and within its size; an upload stays a stream.
    async fn load(&self, body: Incoming, route: Route) -> Result<Loaded, Refused> {
        let max = route.body_bytes_max.unwrap_or(BODY_BYTES_MAX);
        let declared = body.size_hint().lower();
        if declared > max as u64 {
            return Err(too_large(max).into());
        }
        if max > BODY_BYTES_MAX {
            return Ok((Bytes::new(), Some(Body::wrap(body)), None));
        }
        if body.is_end_stream() {
            return Ok((Bytes::new(), None, None));
        }
        let read = tokio::time::timeout(self.limits.deadlines.body, self.collect(body, max));
        let late = |_| problem(408, Error::malformed("The body did not come in time.").with_hint("Send it faster, or in smaller pieces."));
        let (bytes, memory) = read.await.map_err(late)??;
        Ok((bytes, None, Some(memory)))
    }

    async fn collect(&self, mut body: Incoming, max: usize) -> Result<(Bytes, OwnedSemaphorePermit), Refused> {
        let (mut bytes, mut memory) = (BytesMut::new(), self.lanes.body(0)?);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Error::malformed("The body ended before it was complete."))?;
            let Ok(data) = frame.into_data() else { continue };
            let size = bytes.len() + data.len();
            if size > max {
                return Err(too_large(max).into());
            }
            let more = size.div_ceil(1024).saturating_sub(memory.num_permits());
            memory.merge(self.lanes.body(more * 1024)?);
            if bytes.is_empty() && body.is_end_stream() {
                return Ok((data, memory));
            }
            bytes.extend_from_slice(&data);
        }
        Ok((bytes.freeze(), memory))
    }

    /// An answer whose memory is counted until its reader has taken it.
    fn held(&self, answer: Response<Body>) -> Result<Response<Body>, Error> {
        match answer.body().size_hint().exact() {
            Some(bytes) if bytes > ANSWER_FREE_BYTES => {
                let permit = self.lanes.answer(bytes)?;
                Ok(answer.map(|body| Body::wrap(Held { body, _permit: permit })))
            }
            _ => Ok(answer),
        }
    }
}

/// A body that was read, or is to be read, and the share of the memory.
type Loaded = (Bytes, Option<Body>, Option<OwnedSemaphorePermit>);

/// A body with its share of the memory.
struct Held {
    body: Body,
    _permit: OwnedSemaphorePermit,
}

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = <Body as http_body::Body>::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn problem(status: u16, e: Error) -> Problem {
    Problem { status, ..Problem::from(e) }
}

fn too_large(max: usize) -> Problem {
    let e = Error::malformed(format!("The body is larger than {max} bytes.")).with_hint("Send less, or several requests.");
    Problem { title: "The body is too large".into(), ..problem(413, e) }
}

/// The refusal of a path that is not there, or not for this method.
fn unrouted(why: Unrouted, method: &http::Method) -> Refused {
    let (status, e, allowed) = why.told(method);
    let allow = allowed.and_then(|a| HeaderValue::from_str(&a).ok());
    Refused { allow, ..problem(status, e).into() }
}

/// The answer that a problem is.
fn refusal(problem: Problem, id: &str) -> Response<Body> {
    let problem = problem.with_request_id(id);
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    let mut answer = Response::new(Body::from(Bytes::from(body)));
    *answer.status_mut() = status;
    add_headers(answer.headers_mut(), &problem);
    answer
}

fn add_headers(headers: &mut HeaderMap, problem: &Problem) {
    headers.insert(CONTENT_TYPE, PROBLEM);
    if let Some(seconds) = problem.retry_after_s {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if problem.status == 401 {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
}
