//! Stands between a manager and PostgreSQL, knows where the messages of the protocol begin, and cuts the connection at a
//! place that a test chose: before a COMMIT reaches the server, after it was done and before the answer comes back
//! (`reliability.md` D1), or before any message at all.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

/// Where connections are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Nowhere.
    Never,
    /// A COMMIT does not reach the server.
    BeforeCommit,
    /// A COMMIT is done, and its answer is lost.
    AfterCommit,
    /// A message does not reach the server.
    BeforeMessage,
    /// The server cannot be reached at all.
    Away,
}

pub struct Proxy {
    folder: tempfile::TempDir,
    server: PathBuf,
    cut: Mutex<Cut>,
    /// Places that are let through before the cut; below zero: no more cuts.
    left: AtomicI64,
    /// Cuts are made again after so many places; 0: once.
    every: AtomicI64,
    cuts: AtomicU64,
}

impl Proxy {
    /// A proxy before the server at `server`. Its connections end with the runtime they live on.
    pub fn start(server: &Path, runtime: &tokio::runtime::Handle) -> Arc<Proxy> {
        let folder = tempfile::tempdir().unwrap();
        let proxy = Arc::new(Proxy {
            server: server.into(),
            cut: Mutex::new(Cut::Never),
            left: AtomicI64::new(-1),
            every: AtomicI64::new(0),
            cuts: AtomicU64::new(0),
            folder,
        });
        let _on = runtime.enter();
        let listener = UnixListener::bind(proxy.folder.path().join(".s.PGSQL.5432")).unwrap();
        let p = proxy.clone();
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(p.clone().carry(client));
            }
        });
        proxy
    }

    /// The folder with the proxy's socket.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Cuts at the `n`-th such place from now (0: the next), and then at every `every`-th.
    pub fn cut_at(&self, cut: Cut, n: i64, every: i64) {
        self.left.store(-1, Ordering::SeqCst);
        *self.cut.lock().unwrap() = cut;
        self.every.store(every, Ordering::SeqCst);
        self.left.store(n, Ordering::SeqCst);
    }

    /// How often it has cut.
    pub fn cuts(&self) -> u64 {
        self.cuts.load(Ordering::SeqCst)
    }

    fn is(&self, cut: Cut) -> bool {
        *self.cut.lock().unwrap() == cut
    }

    /// Whether this place is the one.
    fn hit(&self, cut: Cut) -> bool {
        if !self.is(cut) || self.left.load(Ordering::SeqCst) < 0 {
            return false;
        }
        let hit = self.left.fetch_sub(1, Ordering::SeqCst) == 0;
        if hit {
            self.cuts.fetch_add(1, Ordering::SeqCst);
            let every = self.every.load(Ordering::SeqCst);
            self.left.store(if every > 0 { every } else { -1 }, Ordering::SeqCst);
        }
        hit
    }

    async fn carry(self: Arc<Self>, client: UnixStream) {
        if self.is(Cut::Away) {
            return;
        }
        let Ok(server) = UnixStream::connect(&self.server).await else { return };
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let silent = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let quiet = silent.clone();
        let back = async move {
            let mut buffer = vec![0; 1 << 14];
            while let Ok(n @ 1..) = from_server.read(&mut buffer).await {
                // The answer to the commit: it was done, and nobody is told.
                if quiet.load(Ordering::SeqCst) || to_client.write_all(&buffer[..n]).await.is_err() {
                    return;
                }
            }
        };
        let there = async {
            let mut first = true;
            while let Some(message) = message(&mut from_client, first).await {
                first = false;
                let is_commit = message.starts_with(b"Q") && message[5..].starts_with(b"COMMIT");
                if self.is(Cut::Away) || self.hit(Cut::BeforeMessage) || (is_commit && self.hit(Cut::BeforeCommit)) {
                    return;
                }
                if is_commit && self.hit(Cut::AfterCommit) {
                    silent.store(true, Ordering::SeqCst);
                }
                if to_server.write_all(&message).await.is_err() {
                    return;
                }
                if silent.load(Ordering::SeqCst) {
                    // Until the server has answered: then `back` ends, and the connection with it.
                    std::future::pending::<()>().await;
                }
            }
        };
        tokio::select! { () = there => {}, () = back => {} }
    }
}

/// The next message of a client; the first has no letter before its length.
async fn message(from: &mut (impl AsyncRead + Unpin), first: bool) -> Option<Vec<u8>> {
    let mut out = vec![0; if first { 4 } else { 5 }];
    from.read_exact(&mut out).await.ok()?;
    let at = out.len() - 4;
    let length = u32::from_be_bytes(out[at..].try_into().ok()?) as usize;
    out.resize(at + length.max(4), 0);
    from.read_exact(&mut out[at + 4..]).await.ok()?;
    Some(out)
}
