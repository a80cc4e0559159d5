//! Fetching the content of an image from a URL that a caller gives, without lending the caller our place in the network
//! (server-side request forgery, `reliability.md` X12).
//!
//! What a name stands for is looked up once for each connection, by our own resolver, and only addresses that may be
//! reached are given to the HTTP client: no private, local, link-local or reserved ones, unless an administrator has named
//! their network. Redirects are followed by hand, each checked like the first URL. No proxy, no cookies, no credentials,
//! and of what a server answers nothing is shown.

use bytes::Bytes;
use futures::Stream;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_RANGE, ETAG, HeaderMap, HeaderValue, IF_RANGE, LAST_MODIFIED, LOCATION, RANGE};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode, Url};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use virga_api::v1::UPLOAD_BYTES_MAX;
use virga_model::{Error, ErrorCode};

/// Longest URL in bytes.
const URL_BYTES_MAX: usize = 2048;
/// Most redirects.
const REDIRECTS_MAX: u32 = 5;
/// How often a download that broke off is gone on with.
const RESUMES_MAX: u32 = 5;
/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(15);
/// Longest silence of a server.
const SILENCE: Duration = Duration::from_secs(20);

/// A place that an administrator allows: a host by its name, all hosts below a domain (`*.example.org`), or a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// `mirror.example.org`
    Host(String),
    /// `*.example.org`
    Below(String),
    /// `10.1.0.0/16`, or one address.
    Net(IpAddr, u8),
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Place, String> {
        let wrong = || format!("\"{text}\" is neither a host name, nor *.DOMAIN, nor an address, nor a network such as 10.1.0.0/16");
        let (address, bits) = text.split_once('/').map_or((text, None), |(a, b)| (a, Some(b)));
        if let Ok(ip) = address.parse::<IpAddr>() {
            let all = if ip.is_ipv4() { 32 } else { 128 };
            let bits = bits.map_or(Ok(all), str::parse).map_err(|_| wrong())?;
            return if bits <= all { Ok(Place::Net(ip, bits)) } else { Err(wrong()) };
        }
        let (below, name) = text.strip_prefix("*.").map_or((false, text), |n| (true, n));
        let plain = !name.is_empty() && name.len() <= 253 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
        if bits.is_some() || !plain {
            return Err(wrong());
        }
        let name = name.to_ascii_lowercase();
        Ok(if below { Place::Below(name) } else { Place::Host(name) })
    }
}

/// Where images may come from.
#[derive(Clone, Debug, Default)]
pub struct Places(Vec<Place>);

impl Places {
    /// Those of the settings; none means all public addresses.
    #[must_use]
    pub fn new(places: &[Place]) -> Places {
        Places(places.to_vec())
    }

    /// Whether `ip`, for which `host` stands, may be reached. A name never opens what is not public: whoever has the name
    /// may let it stand for anything.
    fn allow(&self, host: &str, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        let by_network = self.0.iter().any(|p| matches!(p, Place::Net(net, bits) if within(ip, *net, *bits)));
        by_network || (is_public(ip) && (self.0.is_empty() || self.names(host)))
    }

    /// Whether a name is one of those that are allowed.
    fn names(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        self.0.iter().any(|p| match p {
            Place::Host(name) => *name == host,
            Place::Below(domain) => host.strip_suffix(domain.as_str()).is_some_and(|h| h.ends_with('.')),
            Place::Net(..) => false,
        })
    }

    /// Whether a name may be looked up at all: a look-up alone tells the name's owner something.
    fn look_up(&self, host: &str) -> bool {
        self.0.is_empty() || self.names(host) || self.0.iter().any(|p| matches!(p, Place::Net(..)))
    }
}

/// Whether `ip` lies in the network.
fn within(ip: IpAddr, net: IpAddr, bits: u8) -> bool {
    let masked = |v: u128, all: u8| v.checked_shr(u32::from(all.saturating_sub(bits))).unwrap_or(0);
    match (ip, net) {
        (IpAddr::V4(a), IpAddr::V4(b)) => masked(u128::from(a.to_bits()), 32) == masked(u128::from(b.to_bits()), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => masked(a.to_bits(), 128) == masked(b.to_bits(), 128),
        _ => false,
    }
}

/// Networks that are not the Internet (IANA's registries of special-purpose addresses).
const SPECIAL_V4: [(Ipv4Addr, u8); 15] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];
/// The same of IPv6, within 2000::/3; everything outside of that is not the Internet either. Tunnels (6to4, Teredo) hold
/// other addresses.
const SPECIAL_V6: [(Ipv6Addr, u8); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// Whether an address is one of the Internet.
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(_) => !SPECIAL_V4.iter().any(|(net, bits)| within(ip, (*net).into(), *bits)),
        IpAddr::V6(_) => {
            let internet = within(ip, Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0).into(), 3);
            internet && !SPECIAL_V6.iter().any(|(net, bits)| within(ip, (*net).into(), *bits))
        }
    }
}

/// No address of a name may be reached.
#[derive(Debug)]
struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no address that may be reached")
    }
}

impl std::error::Error for Closed {}

/// Looks names up, and gives away only what may be reached. The client connects to what it gets here and to nothing else,
/// so a name that stands for something else a moment later changes nothing.
struct Guard(Places);

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let places = self.0.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let open: Vec<SocketAddr> = found.filter(|a| places.allow(name.as_str(), a.ip())).collect();
            if open.is_empty() {
                return Err(Closed.into());
            }
            Ok(Box::new(open.into_iter()) as Addrs)
        })
    }
}

fn invalid(why: impl Into<String>) -> Error {
    Error::invalid("url", why)
}

fn closed() -> Error {
    invalid("leads to an address from which no images are fetched; an administrator can allow it (--image-source)")
}

/// Checks what can be seen of a URL before anything is sent anywhere.
fn check(url: &Url, places: &Places) -> Result<(), Error> {
    if url.as_str().len() > URL_BYTES_MAX {
        return Err(invalid("is longer than 2048 bytes"));
    }
    if !matches!(url.scheme(), "http" | "https") {
        return Err(invalid("must begin with https:// or http://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid("must not hold a user name or password: it is written to the audit records"));
    }
    let host = url.host_str().unwrap_or_default();
    // An address is no name that a resolver would be asked for.
    let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    match literal {
        Ok(ip) if !places.allow("", ip) => Err(closed()),
        Err(_) if !host.is_empty() && !places.look_up(host) => Err(closed()),
        _ if host.is_empty() => Err(invalid("has no host")),
        _ => Ok(()),
    }
}

/// A download.
pub struct Download {
    client: Client,
    places: Places,
    url: Url,
    response: Response,
    /// What identifies this content with the server, so that a second request goes on with the same.
    validator: Option<HeaderValue>,
    total: Option<u64>,
    got: u64,
    resumes: u32,
}

impl Download {
    /// Begins a download of `url`.
    ///
    /// # Errors
    /// Invalid on `url` when it may not be fetched or does not give a file, Unavailable when the server does not answer.
    pub async fn begin(url: &str, places: &Places) -> Result<Download, Error> {
        if url.len() > URL_BYTES_MAX || url.contains(char::is_control) {
            return Err(invalid("is longer than 2048 bytes or holds control characters"));
        }
        let url = Url::parse(url).map_err(|_| invalid("is no URL"))?;
        check(&url, places)?;
        let client = Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .referer(false)
            .dns_resolver(Arc::new(Guard(places.clone())))
            // A connection for each request: none that its server is about to close, and each with a look-up of its own.
            .pool_max_idle_per_host(0)
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
            .user_agent(concat!("virga-manager/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| Error::internal(format!("The HTTP client cannot be made: {e}.")))?;
        let (response, url) = ask(&client, url, places, &HeaderMap::new()).await?;
        if response.status() != StatusCode::OK {
            return Err(answered(response.status()));
        }
        let total = response.content_length();
        if total.is_some_and(|t| t > UPLOAD_BYTES_MAX as u64) {
            return Err(Error::invalid("content", "is larger than 16 TiB"));
        }
        let validator = validator(response.headers());
        Ok(Download { client, places: places.clone(), url, response, validator, total, got: 0, resumes: 0 })
    }

    /// Bytes that the server announced.
    #[must_use]
    pub fn total(&self) -> Option<u64> {
        self.total
    }

    /// Whether everything on the way was encrypted.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// The content.
    pub fn content(self) -> impl Stream<Item = Result<Bytes, Error>> + Send {
        futures::stream::try_unfold(self, async |mut d| Ok(d.next().await?.map(|piece| (piece, d))))
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            match self.response.chunk().await {
                Ok(Some(piece)) => {
                    self.got += piece.len() as u64;
                    return Ok(Some(piece));
                }
                Ok(None) if self.total.is_none_or(|t| self.got >= t) => return Ok(None),
                Ok(None) => self.resume().await?,
                Err(e) => {
                    tracing::debug!(error = %e, "a download broke off");
                    self.resume().await?;
                }
            }
        }
    }

    /// Goes on where the content broke off.
    async fn resume(&mut self) -> Result<(), Error> {
        let gave_up = |why: &str| Error::unavailable(format!("The download broke off after {} bytes, {why}.", self.got)).with_hint("Fetch it again later.");
        let Some(validator) = self.validator.clone().filter(|_| self.resumes < RESUMES_MAX) else {
            return Err(gave_up("and the server cannot go on there, or broke off again and again"));
        };
        self.resumes += 1;
        wait_before_resume(self.resumes).await;
        let mut headers = HeaderMap::new();
        headers.insert(RANGE, HeaderValue::from_str(&format!("bytes={}-", self.got)).map_err(|e| Error::internal(e.to_string()))?);
        headers.insert(IF_RANGE, validator);
        let (response, _) = ask(&self.client, self.url.clone(), &self.places, &headers).await?;
        let goes_on = response.headers().get(CONTENT_RANGE).and_then(|v| v.to_str().ok()).is_some_and(|r| r.starts_with(&format!("bytes {}-", self.got)));
        if response.status() != StatusCode::PARTIAL_CONTENT || !goes_on {
            return Err(gave_up("and the file on the server has changed meanwhile"));
        }
        self.response = response;
        Ok(())
    }
}

/// A server that just fell over gets a moment: longer each time.
async fn wait_before_resume(attempt: u32) {
    tokio::time::sleep(Duration::from_millis(250) * 2u32.saturating_pow(attempt.min(6))).await;
}

/// What says that a later answer is of the same content: nothing where the server cannot give a part of it.
fn validator(headers: &HeaderMap) -> Option<HeaderValue> {
    headers.get(ACCEPT_RANGES).filter(|v| v.as_bytes().eq_ignore_ascii_case(b"bytes"))?;
    let strong = headers.get(ETAG).filter(|v| !v.as_bytes().starts_with(b"W/"));
    strong.or_else(|| headers.get(LAST_MODIFIED)).cloned()
}

/// Asks for `url`, and follows redirects: each is checked like the first URL, and none leads from https to http.
async fn ask(client: &Client, mut url: Url, places: &Places, headers: &HeaderMap) -> Result<(Response, Url), Error> {
    for _ in 0..=REDIRECTS_MAX {
        check(&url, places)?;
        let response = client.get(url.clone()).headers(headers.clone()).send().await.map_err(|e| unreachable(&e))?;
        if !response.status().is_redirection() {
            let plain = response.headers().get(CONTENT_ENCODING).is_none_or(|v| v.as_bytes().eq_ignore_ascii_case(b"identity"));
            return if plain { Ok((response, url)) } else { Err(invalid("gives an encoded (compressed) answer, which is no file as it is")) };
        }
        let next = response.headers().get(LOCATION).and_then(|v| v.to_str().ok()).and_then(|l| url.join(l).ok());
        let Some(next) = next else { return Err(answered(response.status())) };
        if url.scheme() == "https" && next.scheme() != "https" {
            return Err(invalid("is redirected from https to a place that is not encrypted"));
        }
        url = next;
    }
    Err(invalid(format!("is redirected more than {REDIRECTS_MAX} times")))
}

fn answered(status: StatusCode) -> Error {
    invalid(format!("does not give a file: the server answers {}", status.as_u16()))
}

fn unreachable(e: &reqwest::Error) -> Error {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(e);
    while let Some(c) = cause {
        if c.is::<Closed>() {
            return closed();
        }
        cause = c.source();
    }
    tracing::debug!(error = ?e, "a server of images cannot be reached");
    let what = if e.is_timeout() { "does not answer in time" } else { "cannot be reached, or its certificate is not trusted" };
    Error::new(ErrorCode::Unavailable, format!("The server of the URL {what}.")).with_hint("Check the URL, and that the manager may reach the server.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(list: &[&str]) -> Places {
        Places::new(&list.iter().map(|p| p.parse().unwrap()).collect::<Vec<_>>())
    }

    #[test]
    fn only_the_internet_is_reached_unless_a_network_is_named() {
        let (any, nothing) = (places(&[]), "x.example");
        for inside in [
            "127.0.0.1",
            "127.9.9.9",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "0.1.2.3",
            "192.0.0.192",
            "192.0.2.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::",
            "2001:0:1::",
            "2001:db8::1",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "3fff::1",
            "5f00::1",
        ] {
            assert!(!any.allow(nothing, inside.parse().unwrap()), "{inside}");
        }
        for outside in ["1.1.1.1", "172.32.0.1", "100.128.0.1", "11.0.0.1", "2606:4700::1111", "2a00:1450::1", "::ffff:1.1.1.1"] {
            assert!(any.allow(nothing, outside.parse().unwrap()), "{outside}");
        }
        let lab = places(&["10.1.0.0/16", "fd00:1::/32", "192.168.7.7"]);
        for (ip, open) in [
            ("10.1.2.3", true),
            ("10.2.0.1", false),
            ("::ffff:10.1.0.1", true),
            ("fd00:1::5", true),
            ("fd00:2::5", false),
            ("192.168.7.7", true),
            ("192.168.7.8", false),
            ("1.1.1.1", false),
        ] {
            assert_eq!(lab.allow(nothing, ip.parse().unwrap()), open, "{ip}");
        }
    }

    #[test]
    fn names_narrow_and_never_widen() {
        let p = places(&["mirror.example.org", "*.Example.com"]);
        let public: IpAddr = "1.1.1.1".parse().unwrap();
        for (host, open) in [
            ("mirror.example.org", true),
            ("MIRROR.example.org.", true),
            ("a.example.com", true),
            ("a.b.example.com", true),
            ("example.com", false),
            ("badexample.com", false),
            ("mirror.example.org.evil.net", false),
        ] {
            assert_eq!(p.allow(host, public), open, "{host}");
            assert!(!p.allow(host, "127.0.0.1".parse().unwrap()), "a name opens nothing inside");
            assert_eq!(p.look_up(host), open, "{host}");
        }
        for wrong in ["", "10.0.0.0/33", "10.0.0.0/x", "a/8", "*.", "a b", "http://x", "*.*.x/8", "a*b"] {
            assert!(wrong.parse::<Place>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn cve_2022_35508_nothing_but_a_plain_url_is_fetched() {
        let any = places(&[]);
        let of = |u: &str| Url::parse(u).map_err(|_| invalid("")).and_then(|u| check(&u, &any));
        for good in ["https://example.org/a.qcow2", "http://example.org:8080/a?b=c", "https://1.1.1.1/", "https://[2606:4700::1111]/x"] {
            assert!(of(good).is_ok(), "{good}");
        }
        for evil in [
            "file:///etc/shadow",
            "ftp://example.org/x",
            "gopher://example.org/",
            "data:text/plain,x",
            "unix:/run/x",
            "https://u:p@example.org/",
            "https://u@example.org/",
            "http://127.0.0.1/",
            "http://0x7f.1/",
            "http://2130706433/",
            "http://017700000001/",
            "http://127.1/",
            "http://[::1]/",
            "http://[::ffff:169.254.169.254]/",
            "http://169.254.169.254/latest/meta-data/",
            "http://0/",
            "https://10.0.0.1/x",
            "http://[fd00:ec2::254]/",
        ] {
            let e = of(evil).expect_err(evil);
            assert_eq!(e.code, ErrorCode::Invalid, "{evil}");
        }
    }
}
