//! A request on its way to its handler.

use super::Api;
use http::request::Parts;
use http::{HeaderMap, Method, Uri};
use std::net::SocketAddr;
use std::sync::Arc;

/// A request, as handlers get it. What else came with it they get as arguments.
pub struct Rq {
    /// What handlers share.
    pub api: Arc<Api>,
    /// Name of the operation in the API's document.
    pub operation: &'static str,
    /// Line and headers, and who sent them.
    pub request: Head,
    /// Identity of the request.
    pub request_id: String,
}

/// Line and headers of a request, and who sent them.
pub struct Head {
    /// Line and headers.
    pub parts: Parts,
    /// Who calls: not always the peer, see `front::limits`.
    pub source: SocketAddr,
}

impl Rq {
    /// What handlers share.
    #[must_use]
    pub fn context(&self) -> &Arc<Api> {
        &self.api
    }
}

impl Head {
    /// The headers.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    /// The method.
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.parts.method
    }

    /// Path and query.
    #[must_use]
    pub fn uri(&self) -> &Uri {
        &self.parts.uri
    }

    /// Who calls.
    #[must_use]
    pub fn remote_addr(&self) -> SocketAddr {
        self.source
    }
}
