//! The node wire: gRPC between managers and agents, compiled from `proto/node.proto`, and helpers for its documents.

use serde::Serialize;
use serde::de::DeserializeOwned;
use virga_model::Error;

/// Largest message in bytes. A full report of 8,000 VMs fits.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// Bytes of image content in one message.
pub const CHUNK_BYTES: usize = 256 << 10;

#[allow(missing_docs, clippy::all, clippy::pedantic)]
mod generated {
    tonic::include_proto!("virga.node.v1");
}
pub use generated::*;

/// Bytes both ways: a console.
pub trait Duplex: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin {}
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin> Duplex for T {}

/// Writes a document.
///
/// # Errors
/// [`virga_model::ErrorCode::Internal`] when it cannot be written as JSON, which our types always can.
pub fn encode<T: Serialize>(document: &T) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(document).map_err(|e| Error::internal(format!("A document of the node wire could not be written: {e}.")))
}

/// Reads a document.
///
/// # Errors
/// [`virga_model::ErrorCode::Malformed`].
pub fn decode<T: DeserializeOwned>(json: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(json).map_err(|e| Error::malformed(format!("A document of the node wire could not be read: {e}.")))
}

/// An error as gRPC status; the whole error travels in the message as JSON.
#[must_use]
pub fn to_status(e: &Error) -> tonic::Status {
    use virga_model::ErrorCode as C;
    let code = match e.code {
        C::NotFound => tonic::Code::NotFound,
        C::Unauthenticated => tonic::Code::Unauthenticated,
        C::Forbidden => tonic::Code::PermissionDenied,
        C::Malformed | C::Invalid => tonic::Code::InvalidArgument,
        C::Unavailable => tonic::Code::Unavailable,
        C::Conflict | C::PreconditionFailed | C::Locked => tonic::Code::FailedPrecondition,
        _ => tonic::Code::Internal,
    };
    tonic::Status::new(code, serde_json::to_string(e).unwrap_or_else(|_| e.message.clone()))
}

/// The reverse of [`to_status`]; a status of the transport itself becomes "unavailable".
#[must_use]
pub fn from_status(s: &tonic::Status) -> Error {
    if let Ok(e) = serde_json::from_str::<Error>(s.message()) {
        return e;
    }
    match s.code() {
        tonic::Code::Unauthenticated | tonic::Code::PermissionDenied => Error::new(virga_model::ErrorCode::Forbidden, s.message().to_string()),
        tonic::Code::NotFound => Error::new(virga_model::ErrorCode::NotFound, s.message().to_string()),
        _ => Error::unavailable(format!("The call did not get through: {}.", s.message())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_travel_whole() {
        let e = Error::invalid("name", "no").with_hint("say yes");
        assert_eq!(from_status(&to_status(&e)), e);
        assert_eq!(from_status(&tonic::Status::unavailable("gone")).code, virga_model::ErrorCode::Unavailable);
    }
}
