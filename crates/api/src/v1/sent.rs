//! What a handler takes of a request: path, headers, and the bodies that are no JSON.
//!
//! dropshot makes the document from these types and never runs them: the manager has a server of its own, which calls
//! handlers through [`FromSent`] (ADR 9). So one list of types says what is documented and what is read.

use async_trait::async_trait;
use bytes::Bytes;
use dropshot::{ApiEndpointBodyContentType, Body, ErrorStatusCode, ExclusiveExtractor, ExtractorMetadata, HttpError, RequestContext};
use dropshot::{ServerContext, SharedExtractor};
use http::HeaderMap;
use http::header::{CONNECTION, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::request::Parts;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use super::extract::{from_query, not_served};

/// What came with a request besides its head.
#[derive(Debug)]
pub struct Sent {
    /// The variable parts of the path, decoded, by name.
    pub variables: Vec<(String, String)>,
    /// The body, where it was read already.
    pub body: Bytes,
    /// The body of an upload.
    pub stream: Option<Body>,
}

/// Something that is read from a request.
pub trait FromSent: Sized {
    /// Reads it.
    ///
    /// # Errors
    /// A bad request that names the field.
    fn from_sent(head: &Parts, sent: &mut Sent) -> Result<Self, HttpError>;
}

/// The variable parts of the path.
#[derive(Debug)]
pub struct Path<T> {
    inner: T,
}

impl<T> Path<T> {
    /// What came.
    pub fn into_inner(self) -> T {
        self.inner
    }
}

impl<T: DeserializeOwned> FromSent for Path<T> {
    fn from_sent(_: &Parts, sent: &mut Sent) -> Result<Self, HttpError> {
        let text = form_urlencoded::Serializer::new(String::new()).extend_pairs(&sent.variables).finish();
        let inner = from_query(&text).map_err(|mut e| {
            e.external_message = e.external_message.replacen("The query parameter", "The part of the path", 1);
            e
        })?;
        Ok(Path { inner })
    }
}

#[async_trait]
impl<T> SharedExtractor for Path<T>
where
    T: JsonSchema + DeserializeOwned + Send + Sync + 'static,
{
    async fn from_request<C: ServerContext>(_: &RequestContext<C>) -> Result<Self, HttpError> {
        Err(not_served())
    }

    fn metadata(content_type: ApiEndpointBodyContentType) -> ExtractorMetadata {
        <dropshot::Path<T> as SharedExtractor>::metadata(content_type)
    }
}

/// The headers that an operation names.
#[derive(Debug)]
pub struct Header<T> {
    inner: T,
}

impl<T> Header<T> {
    /// What came.
    pub fn into_inner(self) -> T {
        self.inner
    }
}

impl<T: DeserializeOwned> FromSent for Header<T> {
    fn from_sent(head: &Parts, _: &mut Sent) -> Result<Self, HttpError> {
        let text = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
            (name.to_string(), serde_json::Value::from(String::from_utf8_lossy(value.as_bytes()).into_owned()))
        };
        // A header that cannot be read is refused by who needs it, and never taken for one that did not come.
        let map = head.headers.iter().map(text).collect();
        let inner = serde_json::from_value(serde_json::Value::Object(map)).map_err(|_| bad_request("A header cannot be read."))?;
        Ok(Header { inner })
    }
}

#[async_trait]
impl<T> SharedExtractor for Header<T>
where
    T: JsonSchema + DeserializeOwned + Send + Sync + 'static,
{
    async fn from_request<C: ServerContext>(_: &RequestContext<C>) -> Result<Self, HttpError> {
        Err(not_served())
    }

    fn metadata(content_type: ApiEndpointBodyContentType) -> ExtractorMetadata {
        <dropshot::Header<T> as SharedExtractor>::metadata(content_type)
    }
}

/// The body of an upload, as it comes.
#[derive(Debug)]
pub struct StreamingBody(Body);

impl StreamingBody {
    /// The body. Its reader must bound its size.
    #[must_use]
    pub fn into_body(self) -> Body {
        self.0
    }
}

impl FromSent for StreamingBody {
    fn from_sent(_: &Parts, sent: &mut Sent) -> Result<Self, HttpError> {
        Ok(StreamingBody(sent.stream.take().unwrap_or_else(|| Body::from(std::mem::take(&mut sent.body)))))
    }
}

#[async_trait]
impl ExclusiveExtractor for StreamingBody {
    async fn from_request<C: ServerContext>(_: &RequestContext<C>, _: http::Request<Body>) -> Result<Self, HttpError> {
        Err(not_served())
    }

    fn metadata(content_type: ApiEndpointBodyContentType) -> ExtractorMetadata {
        <dropshot::StreamingBody as ExclusiveExtractor>::metadata(content_type)
    }
}

/// The wish to go on as a WebSocket (RFC 6455).
#[derive(Debug)]
pub struct WebsocketUpgrade {
    /// `Sec-WebSocket-Key`.
    pub key: String,
    /// Holds the connection.
    pub extensions: http::Extensions,
}

impl FromSent for WebsocketUpgrade {
    fn from_sent(head: &Parts, _: &mut Sent) -> Result<Self, HttpError> {
        let h = &head.headers;
        if !has_word(h, CONNECTION, "upgrade") || !has_word(h, UPGRADE, "websocket") {
            return Err(bad_request("This path takes WebSocket connections only."));
        }
        if !has_word(h, SEC_WEBSOCKET_VERSION, "13") {
            return Err(bad_request("Sec-WebSocket-Version must be 13."));
        }
        let key = h.get(SEC_WEBSOCKET_KEY).and_then(|k| k.to_str().ok());
        let key = key.ok_or_else(|| bad_request("The header Sec-WebSocket-Key is missing."))?;
        Ok(WebsocketUpgrade { key: key.to_string(), extensions: head.extensions.clone() })
    }
}

fn has_word(headers: &HeaderMap, name: http::HeaderName, word: &str) -> bool {
    headers.get_all(name).iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(',')).any(|w| w.trim().eq_ignore_ascii_case(word))
}

#[async_trait]
impl ExclusiveExtractor for WebsocketUpgrade {
    async fn from_request<C: ServerContext>(_: &RequestContext<C>, _: http::Request<Body>) -> Result<Self, HttpError> {
        Err(not_served())
    }

    fn metadata(content_type: ApiEndpointBodyContentType) -> ExtractorMetadata {
        <dropshot::WebsocketUpgrade as ExclusiveExtractor>::metadata(content_type)
    }
}

fn bad_request(message: &str) -> HttpError {
    HttpError { status_code: ErrorStatusCode::BAD_REQUEST, error_code: None, external_message: message.into(), internal_message: message.into(), headers: None }
}
