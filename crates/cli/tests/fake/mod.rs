//! A small server that answers like a manager, and a way to run the program against it.

#![allow(dead_code)]

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocket};

/// A stream of either kind.
pub trait Wire: Read + Write + Send {}
impl<T: Read + Write + Send> Wire for T {}

/// What came in.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// With query.
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
    /// Method and path without query.
    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.path.split('?').next().unwrap_or_default())
    }
}

/// What goes out.
pub enum Reply {
    /// A JSON answer with further headers.
    Json(u16, Vec<(&'static str, String)>, Value),
    /// Bytes of this type; the connection closes after them.
    Bytes(u16, &'static str, Vec<u8>),
    /// Bytes under further headers, however many of them those promise.
    Part(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// A WebSocket that sends a greeting, and then sends back what comes.
    Echo(&'static str),
}

pub fn ok(v: Value) -> Reply {
    Reply::Json(200, vec![], v)
}

pub fn problem(status: u16, code: &str, detail: &str) -> Reply {
    Reply::Json(status, vec![], json!({"type": "x", "title": "t", "status": status, "code": code, "detail": detail, "request_id": "r-1"}))
}

pub struct Fake {
    pub url: String,
    pub dir: tempfile::TempDir,
    log: Arc<Mutex<Vec<Request>>>,
}

type Handler = dyn Fn(&Request, usize) -> Reply + Send + Sync;

impl Fake {
    /// Serves plain HTTP. The handler gets the request, and how many of the same line came before.
    pub fn start(handler: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static) -> Fake {
        Fake::serve("http", Arc::new(handler), |s| Some(Box::new(s) as Box<dyn Wire>))
    }

    /// Serves HTTPS with this configuration.
    pub fn start_tls(config: rustls::ServerConfig, handler: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static) -> Fake {
        let config = Arc::new(config);
        Fake::serve("https", Arc::new(handler), move |s| {
            let connection = rustls::ServerConnection::new(config.clone()).ok()?;
            Some(Box::new(rustls::StreamOwned::new(connection, s)) as Box<dyn Wire>)
        })
    }

    fn serve(scheme: &str, handler: Arc<Handler>, wrap: impl Fn(TcpStream) -> Option<Box<dyn Wire>> + Send + Sync + 'static) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("{scheme}://{}", listener.local_addr().expect("an address"));
        let log: Arc<Mutex<Vec<Request>>> = Arc::default();
        let (seen, wrap) = (log.clone(), Arc::new(wrap));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (handler, seen, wrap) = (handler.clone(), seen.clone(), wrap.clone());
                std::thread::spawn(move || {
                    if let Some(wire) = wrap(stream) {
                        let _ = one(wire, &handler, &seen);
                    }
                });
            }
        });
        Fake { url, dir: tempfile::tempdir().expect("a folder"), log }
    }

    /// Everything that came in.
    pub fn log(&self) -> Vec<Request> {
        self.log.lock().expect("the log").clone()
    }

    /// Requests of this method and path.
    pub fn of(&self, line: &str) -> Vec<Request> {
        self.log().into_iter().filter(|r| r.line() == line).collect()
    }

    /// A file of this test.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut c = Command::new(env!("CARGO_BIN_EXE_virga"));
        for name in ["VIRGA_URL", "VIRGA_CA", "VIRGA_TOKEN_FILE", "VIRGA_CONTEXT"] {
            c.env_remove(name);
        }
        c.env("VIRGA_CONFIG", self.path("config.toml")).args(args);
        c.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        c
    }

    /// Runs the program with a token.
    pub fn run(&self, args: &[&str]) -> Run {
        self.run_with(args, b"", &[])
    }

    pub fn run_with(&self, args: &[&str], stdin: &[u8], env: &[(&str, &str)]) -> Run {
        let token = self.file("token", "secret-token\n");
        let mut c = self.command(args);
        c.env("VIRGA_URL", &self.url).env("VIRGA_TOKEN_FILE", token).envs(env.iter().copied());
        finish(c.spawn().expect("started"), stdin)
    }

    /// Starts the program with a token and leaves it running.
    pub fn spawn(&self, args: &[&str]) -> Child {
        let token = self.file("token", "secret-token\n");
        self.command(args).env("VIRGA_URL", &self.url).env("VIRGA_TOKEN_FILE", token).spawn().expect("started")
    }

    /// Runs the program with what its contexts hold only.
    pub fn run_bare(&self, args: &[&str]) -> Run {
        finish(self.command(args).spawn().expect("started"), b"")
    }
}

/// What a run came to.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Run {
    pub fn expect(self, code: i32) -> Run {
        assert_eq!(self.code, code, "{self:?}");
        self
    }
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

pub fn finish(mut child: Child, stdin: &[u8]) -> Run {
    let mut pipe = child.stdin.take().expect("stdin");
    let input = stdin.to_vec();
    let writer = std::thread::spawn(move || {
        let _ = pipe.write_all(&input);
    });
    let out = child.wait_with_output().expect("an end");
    writer.join().expect("written");
    let text = |b: Vec<u8>| String::from_utf8_lossy(&b).into_owned();
    Run { code: out.status.code().unwrap_or(-1), out: text(out.stdout), err: text(out.stderr) }
}

fn one(wire: Box<dyn Wire>, handler: &Arc<Handler>, seen: &Mutex<Vec<Request>>) -> std::io::Result<()> {
    let mut wire = BufReader::new(wire);
    let Some(request) = read_request(&mut wire)? else { return Ok(()) };
    let before = {
        let mut log = seen.lock().expect("the log");
        let n = log.iter().filter(|r| r.line() == request.line()).count();
        log.push(request.clone());
        n
    };
    let reply = handler(&request, before);
    let mut out = wire.into_inner();
    match reply {
        Reply::Json(status, headers, body) => {
            let body = if status == 204 { Vec::new() } else { body.to_string().into_bytes() };
            let more: String = headers.iter().map(|(n, v)| format!("{n}: {v}\r\n")).collect();
            write!(out, "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{more}content-length: {}\r\nconnection: close\r\n\r\n", body.len())?;
            out.write_all(&body)?;
        }
        Reply::Bytes(status, kind, body) => {
            write!(out, "HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\nconnection: close\r\n\r\n")?;
            out.write_all(&body)?;
        }
        Reply::Part(status, headers, body) => {
            let more: String = headers.iter().map(|(n, v)| format!("{n}: {v}\r\n")).collect();
            write!(out, "HTTP/1.1 {status} X\r\n{more}connection: close\r\n\r\n")?;
            out.write_all(&body)?;
        }
        Reply::Echo(greeting) => return echo(out, &request, greeting),
    }
    out.flush()
}

fn echo(mut out: Box<dyn Wire>, request: &Request, greeting: &'static str) -> std::io::Result<()> {
    let key = derive_accept_key(request.header("sec-websocket-key").unwrap_or_default().as_bytes());
    write!(out, "HTTP/1.1 101 X\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: {key}\r\n\r\n")?;
    out.flush()?;
    let mut socket = WebSocket::from_raw_socket(out, Role::Server, None);
    let _ = socket.send(Message::Binary(greeting.as_bytes().to_vec().into()));
    while let Ok(message) = socket.read() {
        match message {
            Message::Binary(b) if b.as_ref() == b"bye\n" => {
                let _ = socket.close(None);
            }
            Message::Binary(b) => {
                let _ = socket.send(Message::Binary(b));
            }
            _ => {}
        }
    }
    Ok(())
}

fn read_request(wire: &mut BufReader<Box<dyn Wire>>) -> std::io::Result<Option<Request>> {
    let mut line = String::new();
    if wire.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let (method, path) = (words.next().unwrap_or_default().to_string(), words.next().unwrap_or_default().to_string());
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        wire.read_line(&mut header)?;
        match header.trim_end().split_once(": ") {
            Some((n, v)) => headers.push((n.to_ascii_lowercase(), v.to_string())),
            None => break,
        }
    }
    let mut request = Request { method, path, headers, body: Vec::new() };
    if let Some(n) = request.header("content-length").and_then(|v| v.parse::<usize>().ok()) {
        request.body = vec![0; n];
        wire.read_exact(&mut request.body)?;
    } else if request.header("transfer-encoding").is_some() {
        request.body = chunks(wire)?;
    }
    Ok(Some(request))
}

fn chunks(wire: &mut BufReader<Box<dyn Wire>>) -> std::io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut size = String::new();
        wire.read_line(&mut size)?;
        let n = usize::from_str_radix(size.trim(), 16).map_err(std::io::Error::other)?;
        let mut piece = vec![0; n + 2];
        wire.read_exact(&mut piece)?;
        if n == 0 {
            return Ok(body);
        }
        body.extend_from_slice(&piece[..n]);
    }
}

/// A CA and a certificate for 127.0.0.1.
pub struct Tls {
    pub config: rustls::ServerConfig,
    /// The CA.
    pub ca_pem: String,
    /// SHA-256 of the CA.
    pub ca_sha256: String,
    /// SHA-256 of the server's certificate.
    pub leaf_sha256: String,
}

pub fn tls() -> Tls {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    use sha2::Digest;
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let ca_key = KeyPair::generate().expect("a key");
    let mut ca = CertificateParams::new(Vec::<String>::new()).expect("parameters");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.distinguished_name.push(rcgen::DnType::CommonName, "test CA");
    let ca_cert = ca.self_signed(&ca_key).expect("a CA");
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().expect("a key");
    let leaf = CertificateParams::new(vec!["127.0.0.1".to_string()]).expect("parameters").signed_by(&key, &issuer).expect("a certificate");
    let sha256 = |der: &[u8]| hex::encode(sha2::Sha256::digest(der));
    let (ca_sha256, leaf_sha256) = (sha256(ca_cert.der()), sha256(leaf.der()));
    let chain = vec![leaf.der().clone(), ca_cert.der().clone()];
    let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).expect("a configuration");
    Tls { config, ca_pem: ca_cert.pem(), ca_sha256, leaf_sha256 }
}

/// A VM as the API answers with it, shortened.
pub fn vm(name: &str) -> Value {
    json!({
        "id": "0198f4c2-0000-7000-8000-000000000001", "name": name, "description": "", "labels": {"env": "prod"},
        "owner": {"kind": "user", "id": "u", "name": "ops"}, "desired": "running", "generation": 7,
        "spec": {"cpu": {"count": 2, "max": 8}, "memory": {"bytes": 2147483648u64, "max_bytes": 2147483648u64}, "boot": ["disk"],
            "disks": [], "nics": [], "cdroms": []},
        "host": {"kind": "host", "id": "h", "name": "host-1"}, "observed": {"generation": 7, "state": "running", "settled": true,
            "guest": {"agent": "connected", "ips": ["192.168.200.10"]}},
        "fresh": true, "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z", "field_of_the_future": {"x": [1]}
    })
}

pub const TASK: &str = "0198f4c2-7b1c-7a63-9a4e-2f6f0c1d2e3f";

/// A task in a state.
pub fn task(kind: &str, state: &str) -> Value {
    json!({"id": TASK, "kind": kind, "state": state, "object": {"kind": "vm", "id": "i", "name": "web-1"}, "cause": "user",
        "progress": {"step": "copying", "done": 1, "total": 4, "unit": "steps"}, "message": "", "cancel_requested": false,
        "created_at": "2026-01-01T00:00:00Z", "ended_at": "2026-01-01T00:00:02.500Z"})
}

/// A `202` for a task.
pub fn accepted(kind: &str) -> Reply {
    let body = json!({"task": task(kind, "queued"), "object": {"kind": "vm", "id": "i", "name": "web-1"},
        "plan": [{"what": "place it"}, {"what": "set the CPU model", "after_restart": "it runs"}]});
    Reply::Json(202, vec![("location", format!("/v1/tasks/{TASK}"))], body)
}

pub fn task_path() -> String {
    format!("GET /v1/tasks/{TASK}")
}

pub fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).expect("there").permissions().mode() & 0o777
}
