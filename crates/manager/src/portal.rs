//! The portal: the built files of `web/dist`, held in the program, and the headers that keep a browser careful with them.
//!
//! They lie beside the API, at every path that is none of the API's, so that each page of the portal has an address of its
//! own. Nothing here may look at who asks: the files are the same for everybody, and everything else comes by the API.

use bytes::Bytes;
use dropshot::Body;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Response, StatusCode};
use std::borrow::Cow;

/// The page of every address of the portal.
const INDEX: &str = "index.html";
/// Files under this path have their content's hash in their names, so that they never change.
const HASHED: &str = "assets/";
/// Paths of programs: an address there that is not known is a mistake, and not a page.
const PROGRAMS: &str = "v1/";
/// What a page of the portal may load and do. Styles may stand inside, because its widgets make them as they are needed;
/// scripts come from here and from nowhere else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; \
    font-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
/// Shown where the portal would be, when it was not built.
const NOT_BUILT: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Virga</title>\
    <h1>The portal is not in this program</h1>\
    <p>It was not built when the manager was. Build both: <code>make web</code>, then <code>make build</code>.</p>\
    <p>The API is here and complete: <a href=\"/docs\">its page</a>. So is the command line, <code>virga</code>.</p></html>";

/// The built portal. In debug builds the files are read from the folder, so that a new portal needs no new manager.
#[derive(rust_embed::Embed)]
#[folder = "../../web/dist"]
#[allow_missing = true]
struct Files;

/// The answer to a request for a path that is none of the API's; none, when the portal has nothing there either.
#[must_use]
pub fn answer(method: &Method, path: &str, headers: &HeaderMap) -> Option<Response<Body>> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return None;
    }
    let path = path.trim_start_matches('/');
    if path != INDEX
        && let Some(answer) = file(path, headers)
    {
        return Some(answer);
    }
    if path.starts_with(HASHED) || path.starts_with(PROGRAMS) || !wants_page(headers) {
        return None;
    }
    file(INDEX, headers).or_else(|| response(StatusCode::OK, "text/html; charset=utf-8", "no-store", Bytes::from_static(NOT_BUILT.as_bytes())))
}

/// A built file, compressed if the browser takes that.
fn file(path: &str, headers: &HeaderMap) -> Option<Response<Body>> {
    // Only what has a type is served: neither the compressed copies nor the folder's own files have addresses.
    let kind = content_type(path)?;
    let packed = accepts_gzip(headers).then(|| Files::get(&format!("{path}.gz"))).flatten();
    let encoded = packed.is_some();
    let found = packed.or_else(|| Files::get(path))?;
    let tag = format!("\"{}\"", hex::encode(&found.metadata.sha256_hash()[..16]));
    let kept = if path.starts_with(HASHED) { "public, max-age=31536000, immutable" } else { "no-cache" };
    let known = headers.get(header::IF_NONE_MATCH).is_some_and(|sent| sent.as_bytes() == tag.as_bytes());
    let (status, content) = if known { (StatusCode::NOT_MODIFIED, Bytes::new()) } else { (StatusCode::OK, bytes_of(found.data)) };
    let mut answer = response(status, kind, kept, content)?;
    answer.headers_mut().insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    answer.headers_mut().insert(header::ETAG, HeaderValue::from_str(&tag).ok()?);
    if encoded {
        answer.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Some(answer)
}

fn bytes_of(data: Cow<'static, [u8]>) -> Bytes {
    match data {
        Cow::Borrowed(text) => Bytes::from_static(text),
        Cow::Owned(text) => Bytes::from(text),
    }
}

fn response(status: StatusCode, kind: &'static str, kept: &'static str, content: Bytes) -> Option<Response<Body>> {
    let answer = Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, kind)
        .header(header::CACHE_CONTROL, kept)
        .header(header::CONTENT_SECURITY_POLICY, POLICY)
        .header(header::X_FRAME_OPTIONS, "DENY")
        .header(header::REFERRER_POLICY, "no-referrer")
        .header(header::STRICT_TRANSPORT_SECURITY, "max-age=31536000")
        .header("cross-origin-opener-policy", "same-origin")
        .header("cross-origin-resource-policy", "same-origin")
        .header("permissions-policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()");
    answer.body(Body::from(content)).ok()
}

/// The media type of a file of the portal; none for what is not one.
fn content_type(path: &str) -> Option<&'static str> {
    Some(match path.rsplit_once('.')?.1 {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "woff2" => "font/woff2",
        _ => return None,
    })
}

fn accepts_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|v| v.to_str().ok());
    accepted.flat_map(|v| v.split(',')).any(|word| {
        let mut parts = word.split(';').map(str::trim);
        parts.next() == Some("gzip") && !parts.any(|p| matches!(p, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
    })
}

/// Whether a person's browser asks for a page; programs get the API's own words.
fn wants_page(headers: &HeaderMap) -> bool {
    headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).is_some_and(|v| v.contains("text/html"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(header::HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    fn page() -> HeaderMap {
        headers(&[(header::ACCEPT, "text/html,*/*")])
    }

    #[test]
    fn every_address_of_the_portal_is_its_page() {
        for path in ["/", "/vms", "/vms/web-1/console", "/index.html", "/no/such/page"] {
            let answer = answer(&Method::GET, path, &page()).unwrap();
            assert_eq!(answer.status(), 200, "{path}");
            assert_eq!(answer.headers()["content-type"], "text/html; charset=utf-8", "{path}");
            let policy = answer.headers()["content-security-policy"].to_str().unwrap();
            assert!(policy.contains("script-src 'self';") && policy.contains("frame-ancestors 'none'"), "{policy}");
            assert_eq!(answer.headers()["referrer-policy"], "no-referrer");
        }
    }

    #[test]
    fn what_is_no_page_stays_the_apis() {
        assert!(answer(&Method::GET, "/v1/nothing", &page()).is_none(), "programs' paths");
        assert!(answer(&Method::GET, "/assets/nothing.js", &page()).is_none(), "a script that is not there is no page");
        assert!(answer(&Method::GET, "/vms", &headers(&[(header::ACCEPT, "application/json")])).is_none());
        assert!(answer(&Method::GET, "/vms", &HeaderMap::new()).is_none());
        assert!(answer(&Method::POST, "/vms", &page()).is_none());
        for path in ["/.gitignore", "/../Cargo.toml", "/index.html.gz", "/assets/../index.html.gz"] {
            let found = answer(&Method::GET, path, &HeaderMap::new());
            assert!(found.is_none(), "{path}");
        }
    }

    #[test]
    fn files_are_told_by_their_content() {
        let Some(first) = file(INDEX, &HeaderMap::new()) else { return };
        let tag = first.headers()["etag"].clone();
        assert_eq!(first.headers()["cache-control"], "no-cache");
        let again = HeaderMap::from_iter([(header::IF_NONE_MATCH, tag)]);
        assert_eq!(file(INDEX, &again).unwrap().status(), 304);
        let packed = file(INDEX, &headers(&[(header::ACCEPT_ENCODING, "br, gzip")])).unwrap();
        assert_eq!(packed.headers()["content-encoding"], "gzip");
    }

    #[test]
    fn compression_is_asked_for() {
        for (sent, taken) in [("gzip", true), ("br, gzip;q=0.5", true), ("gzip;q=0", false), ("br", false), ("identity", false)] {
            assert_eq!(accepts_gzip(&headers(&[(header::ACCEPT_ENCODING, sent)])), taken, "{sent}");
        }
    }
}
