//! Every limit of the public API's front, in one place, with the reason for its number. `docs/guide/limits.md` lists them.
//!
//! What an administrator may want to be different for a load test or behind a proxy is an argument of the program; the
//! rest is fixed. Nothing here may be unbounded by default.

use crate::fetch::Place;
use clap::Args;
use http::HeaderMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

/// Connections to the public API at the same time, of everybody. Each costs about 100 KiB.
pub const CONNECTIONS_MAX: usize = 4096;
/// Connections of one address: enough for an office behind one address, a sixteenth of all.
pub const SOURCE_CONNECTIONS_MAX: usize = 256;
/// Requests of one address at work at the same time, a quarter of [`WORK_MAX`].
pub const SOURCE_REQUESTS_MAX: usize = 64;
/// Requests at work at the same time. The database has fewer connections; what is beyond waits here, not there.
pub const WORK_MAX: usize = 256;
/// Requests that mostly wait (a task's end, an upload, a stream that opens, a console).
pub const WAITING_MAX: usize = 2048;
/// Requests of the reserved lane: ping, metrics, the system's figures and signing in and out. No flood of others takes it.
pub const RESERVED_MAX: usize = 32;
/// Longest wait for a place in a lane; then 503.
pub const LANE_WAIT_MAX: Duration = Duration::from_secs(5);
/// Largest body of an ordinary request.
pub const BODY_BYTES_MAX: usize = 1 << 20;
/// Bodies of requests in memory, together.
pub const BODIES_KIB_MAX: usize = 256 * 1024;
/// Bodies of answers that wait for their readers in memory, together.
pub const ANSWERS_KIB_MAX: usize = 256 * 1024;
/// An answer below this size is not counted: a connection costs more.
pub const ANSWER_FREE_BYTES: u64 = 64 * 1024;
/// Head of a request: line and headers.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Headers of a request.
pub const HEADERS_MAX: usize = 100;
/// Requests at the same time on one HTTP/2 connection.
pub const STREAMS_OF_CONNECTION_MAX: u32 = 64;
/// Bytes that must go out in each [`Deadlines::stall`] while a reader makes us wait.
pub const SLOWEST_READER_BYTES: usize = 16 * 1024;
/// Bytes that are thrown away after a refusal, so that the caller can read it before the connection ends.
pub const LINGER_BYTES_MAX: usize = 32 << 20;
/// Buckets for addresses and principals, each; beyond it newcomers share one.
pub const BUCKETS_MAX: usize = 50_000;

/// Requests a second of one principal, and how many at once.
pub const PRINCIPAL_RATE: (f64, f64) = (200.0, 400.0);
/// Requests a second of one address before it is known who calls, and how many at once.
pub const SOURCE_RATE: (f64, f64) = (400.0, 800.0);
/// Sign-ins a second of one address, and how many at once.
pub const SIGN_IN_RATE: (f64, f64) = (0.5, 20.0);
/// Requests a second of one principal that make VMs or images, and how many at once: each costs a placement.
pub const EXPENSIVE_RATE: (f64, f64) = (20.0, 200.0);

/// Operations that take a token of [`EXPENSIVE_RATE`].
pub const EXPENSIVE: [&str; 9] =
    ["vm_create", "vm_import", "vm_batch", "vm_clone", "template_create", "template_deploy", "image_create", "image_upload", "image_fetch"];
/// Operations of the reserved lane.
pub const RESERVED: [&str; 6] = ["ping", "metrics", "system_view", "session_create", "session_view", "session_delete"];
/// Operations that mostly wait.
pub const WAITING: [&str; 6] = ["task_view", "vm_export_content", "event_stream", "console_connect", "image_upload", "image_fetch"];

/// How long a caller may take. Tests take shorter ones.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// For the TLS handshake.
    pub handshake: Duration,
    /// For the head of a request, and between two requests on a connection.
    pub head: Duration,
    /// For the whole body of an ordinary request.
    pub body: Duration,
    /// For [`SLOWEST_READER_BYTES`] of an answer.
    pub stall: Duration,
    /// For reading a refusal.
    pub linger: Duration,
}

impl Default for Deadlines {
    fn default() -> Deadlines {
        let s = Duration::from_secs;
        Deadlines { handshake: s(10), head: s(15), body: s(60), stall: s(30), linger: s(2) }
    }
}

/// The limits that an administrator can change.
#[derive(Clone, Debug, Args)]
pub struct Limits {
    /// Requests a second of each address and of each account or token: `off`, or a number; 400 and 200 when left out.
    #[arg(long, value_name = "off|NUMBER")]
    pub rate_limit: Option<RateLimit>,
    /// Connections to the public API at the same time.
    #[arg(long, default_value_t = CONNECTIONS_MAX, value_name = "NUMBER")]
    pub connections_max: usize,
    /// Connections to the public API at the same time from one address.
    #[arg(long, default_value_t = SOURCE_CONNECTIONS_MAX, value_name = "NUMBER")]
    pub source_connections_max: usize,
    /// Address of a proxy whose X-Forwarded-For is believed; may be repeated. Nobody else's is.
    #[arg(long, value_name = "ADDRESS")]
    pub trusted_proxy: Vec<IpAddr>,
    /// Place from which images may be fetched by URL: HOST, *.DOMAIN, or a network such as 10.1.0.0/16; may be repeated. With
    /// none, all public addresses; private and local ones only by their network.
    #[arg(long, value_name = "PLACE")]
    pub image_source: Vec<Place>,
    /// How long a caller may take.
    #[arg(skip)]
    pub deadlines: Deadlines,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            rate_limit: None,
            connections_max: CONNECTIONS_MAX,
            source_connections_max: SOURCE_CONNECTIONS_MAX,
            trusted_proxy: Vec::new(),
            image_source: Vec::new(),
            deadlines: Deadlines::default(),
        }
    }
}

impl Limits {
    /// A rate and burst under these limits: none when rates are off.
    #[must_use]
    pub fn rate(&self, usual: (f64, f64)) -> Option<(f64, f64)> {
        match self.rate_limit {
            None => Some(usual),
            Some(RateLimit::Off) => None,
            Some(RateLimit::PerSecond(n)) => Some((f64::from(n), 2.0 * f64::from(n))),
        }
    }

    /// Whether callers are limited in number, too. Without rates they are not: the load comes from one address.
    #[must_use]
    pub fn counts_sources(&self) -> bool {
        self.rate_limit != Some(RateLimit::Off)
    }

    /// Whether a peer is a proxy of ours, which speaks for many.
    #[must_use]
    pub fn is_proxy(&self, peer: IpAddr) -> bool {
        self.trusted_proxy.contains(&peer.to_canonical())
    }

    /// Who calls: the peer, or, when it is a proxy of ours, the last address in `X-Forwarded-For` that is none. What stands
    /// before it was written by the caller and is never believed (`reliability.md` X8).
    #[must_use]
    pub fn caller(&self, peer: SocketAddr, headers: &HeaderMap) -> SocketAddr {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        if !self.is_proxy(peer.ip()) {
            return peer;
        }
        let said: Vec<&str> = headers.get_all("x-forwarded-for").iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(',')).collect();
        for word in said.into_iter().rev() {
            match word.trim().parse::<IpAddr>() {
                Ok(ip) if self.is_proxy(ip) => {}
                Ok(ip) => return SocketAddr::new(ip.to_canonical(), peer.port()),
                // What cannot be read hides who is before it.
                Err(_) => return peer,
            }
        }
        peer
    }
}

/// The address that counts for limits: of IPv6 the network of a customer (64 bits), because its owner has all of it.
#[must_use]
pub fn counted(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 => v4,
    }
}

/// What `--rate-limit` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateLimit {
    /// No rates, and no limit of requests and connections of one address: for load tests.
    Off,
    /// So many requests a second, and twice as many at once.
    PerSecond(u32),
}

impl FromStr for RateLimit {
    type Err = String;

    fn from_str(text: &str) -> Result<RateLimit, String> {
        match (text, text.parse::<u32>()) {
            ("off", _) => Ok(RateLimit::Off),
            (_, Ok(n)) if n > 0 => Ok(RateLimit::PerSecond(n)),
            _ => Err("write off, or a number of requests a second from 1".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_proxies_of_ours_say_who_calls() {
        let limits = Limits { trusted_proxy: vec!["10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()], ..Limits::default() };
        let caller = |peer: &str, said: &[&str]| {
            let mut headers = HeaderMap::new();
            for s in said {
                headers.append("x-forwarded-for", s.parse().unwrap());
            }
            limits.caller(SocketAddr::new(peer.parse().unwrap(), 9), &headers).ip().to_string()
        };
        assert_eq!(caller("192.0.2.9", &["203.0.113.1"]), "192.0.2.9", "a stranger's header is not believed");
        assert_eq!(caller("10.0.0.1", &["203.0.113.1"]), "203.0.113.1");
        assert_eq!(caller("10.0.0.1", &["127.0.0.1, 203.0.113.1"]), "203.0.113.1", "only the last word is the proxy's");
        assert_eq!(caller("10.0.0.1", &["127.0.0.1", "203.0.113.1, 10.0.0.2"]), "203.0.113.1");
        assert_eq!(caller("10.0.0.1", &["203.0.113.1, unknown"]), "10.0.0.1");
        assert_eq!(caller("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(caller("::ffff:10.0.0.1", &["203.0.113.1"]), "203.0.113.1");
    }

    #[test]
    fn one_customer_is_one_source() {
        let c = |a: &str| counted(a.parse().unwrap());
        assert_eq!(c("2001:db8:1:2:3::1"), c("2001:db8:1:2:ffff::9"));
        assert_ne!(c("2001:db8:1:2::1"), c("2001:db8:1:3::1"));
        assert_eq!(c("::ffff:192.0.2.1"), c("192.0.2.1"));
    }

    #[test]
    fn rates_are_off_or_a_number() {
        assert_eq!("off".parse(), Ok(RateLimit::Off));
        assert_eq!("50".parse(), Ok(RateLimit::PerSecond(50)));
        for wrong in ["0", "-1", "", "Off", "4294967296"] {
            assert!(wrong.parse::<RateLimit>().is_err(), "{wrong}");
        }
    }
}
