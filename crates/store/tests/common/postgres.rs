//! A PostgreSQL server for tests: the programs of Debian's package `postgresql`, a server of our own on a private socket,
//! and an empty database for each test.
//!
//! Every test is a process of its own, and making a server takes two seconds: so all test processes of a user share one.
//! The first starts it, each holds a shared lock on a file while it lives, and a small script that waits for the last of
//! them ends the server and removes its folder. It never touches a server that was there before, keeps nothing on stable
//! storage, and leaves no process behind, also when a test is killed.
#![allow(dead_code, reason = "each suite uses a part")]

use std::fs::{File, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long a slow machine may take to start a server.
const PATIENCE: Duration = Duration::from_secs(120);

/// Ends the server when nobody holds the lock of users any more, and has not for two looks. `$1` is the folder, the rest
/// starts the server in the foreground.
const KEEPER: &str = r#"
base=$1; shift
"$@" >"$base/server.log" 2>&1 </dev/null &
server=$!
exec 9<>"$base/users.lock"
idle=0
while kill -0 "$server" 2>/dev/null; do
    sleep 1
    if flock --exclusive --nonblock 9; then
        idle=$((idle + 1))
        if [ "$idle" -ge 3 ]; then
            kill -QUIT "$server" 2>/dev/null
            wait "$server"
            rm -rf "$base"
            exit 0
        fi
        flock --unlock 9
    else
        idle=0
    fi
done
"#;

/// The server that this process uses, with the lock that keeps it.
struct Server {
    base: PathBuf,
    _user: File,
}

/// The address of a new, empty database. It is removed when this process has ended.
pub fn empty_database() -> String {
    static SERVER: OnceLock<Server> = OnceLock::new();
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let server = SERVER.get_or_init(Server::get);
    let name = format!("t{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::SeqCst));
    server.drop_forgotten();
    server.psql("createdb", &["--template", "template0", &name]);
    server.address(&name)
}

/// The folder with the server's socket.
pub fn socket(address: &str) -> PathBuf {
    let (_, folder) = address.split_once("host=").expect("an address of this module");
    Path::new(folder.split('&').next().unwrap_or_default()).join(".s.PGSQL.5432")
}

/// Runs one statement in the database at `address`, as an administrator would.
pub fn run(address: &str, sql: &str) -> String {
    let out = Command::new(program("psql")).args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql, address]).output().expect("psql");
    assert!(out.status.success(), "{sql}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).trim().to_string()
}

/// A program of PostgreSQL.
fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    // Debian keeps the server's programs out of the path, in a folder for each version.
    let mut versions: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|e| e.path().join("bin")).collect();
    versions.sort();
    folders.extend(versions.into_iter().rev());
    folders.into_iter().map(|f| f.join(name)).find(|p| p.is_file()).unwrap_or_else(|| {
        panic!("PostgreSQL's program {name} is not installed, and this test needs it: run scripts/setup.sh test");
    })
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").expect("/proc").uid() == 0
}

/// PostgreSQL refuses to run as root.
fn unprivileged(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    if is_root() {
        let as_user = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups", "--pdeathsig", "QUIT", "--"];
        words.extend(as_user.map(String::from));
    }
    words.push(program(name).display().to_string());
    words
}

impl Server {
    fn get() -> Server {
        let uid = std::fs::metadata("/proc/self").expect("/proc").uid();
        let base = std::env::temp_dir().join(format!("virga-postgres-{uid}"));
        // The folder may go away between two steps, when the last user before us has just left.
        let begun = Instant::now();
        loop {
            assert!(begun.elapsed() < PATIENCE, "no test server can be had in {}", base.display());
            if let Some(server) = Server::try_get(&base) {
                return server;
            }
        }
    }

    fn try_get(base: &Path) -> Option<Server> {
        std::fs::create_dir_all(base).ok()?;
        let open = |name: &str| OpenOptions::new().create(true).truncate(false).write(true).open(base.join(name)).ok();
        let user = open("users.lock")?;
        user.lock_shared().ok()?;
        // Whether it is still the file that others see.
        let same = |f: &File| Some(f.metadata().ok()?.ino() == std::fs::metadata(base.join("users.lock")).ok()?.ino());
        if !same(&user)? {
            return None;
        }
        let server = Server { base: base.into(), _user: user };
        let start = open("start.lock")?;
        start.lock().ok()?;
        if !server.answers() {
            server.start();
        }
        Some(server)
    }

    fn answers(&self) -> bool {
        let socket = self.base.join("socket");
        Command::new(program("pg_isready")).arg("-q").arg("-h").arg(socket).status().is_ok_and(|s| s.success())
    }

    fn start(&self) {
        let (data, socket) = (self.base.join("data"), self.base.join("socket"));
        let _ = std::fs::remove_dir_all(&data);
        let _ = std::fs::remove_dir_all(&socket);
        for folder in [&data, &socket] {
            std::fs::create_dir(folder).expect("a folder for the server");
            if is_root() {
                let done = Command::new("chown").arg("postgres:postgres").arg(folder).status().expect("chown");
                assert!(done.success(), "there is no user postgres: run scripts/setup.sh test");
            }
        }
        let words = unprivileged("initdb");
        let made = Command::new(&words[0])
            .args(&words[1..])
            .args(["--no-sync", "--no-instructions", "--auth=trust", "--username=virga", "--encoding=UTF8", "--locale=C.UTF-8", "-D"])
            .arg(&data)
            .current_dir("/")
            .output()
            .expect("initdb");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let mut words = unprivileged("postgres");
        words.extend(["-D".into(), data.display().to_string(), "-k".into(), socket.display().to_string()]);
        for setting in ["listen_addresses=", "unix_socket_permissions=0700", "fsync=off", "full_page_writes=off", "max_connections=400", "max_wal_size=256MB"] {
            words.extend(["-c".into(), setting.into()]);
        }
        // A session of its own: whoever ends this test's process group must not end the server of the others.
        let keeper = Command::new("setsid")
            .args(["--fork", "sh", "-c", KEEPER, "sh"])
            .arg(&self.base)
            .args(&words)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .expect("setsid");
        assert!(keeper.success());
        self.wait_until_it_answers();
    }

    fn wait_until_it_answers(&self) {
        let begun = Instant::now();
        while !self.answers() {
            let log = || std::fs::read_to_string(self.base.join("server.log")).unwrap_or_default();
            assert!(begun.elapsed() < PATIENCE, "the test server does not start: {}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn address(&self, database: &str) -> String {
        format!("postgres://virga@localhost/{database}?host={}", self.base.join("socket").display())
    }

    fn psql(&self, name: &str, args: &[&str]) -> String {
        let socket = self.base.join("socket");
        let out = Command::new(program(name)).arg("-h").arg(socket).args(["-U", "virga"]).args(args).output().expect("a client of PostgreSQL");
        assert!(out.status.success(), "{name} {args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).into_owned()
    }

    /// Removes the databases of processes that have ended.
    fn drop_forgotten(&self) {
        let all = self.psql("psql", &["-XAtl", "-d", "postgres"]);
        for name in all.lines().filter_map(|l| l.split('|').next()) {
            let pid = name.strip_prefix('t').and_then(|n| n.split('_').next()).and_then(|p| p.parse::<u32>().ok());
            if pid.is_some_and(|p| !Path::new("/proc").join(p.to_string()).exists()) {
                // Another test process may be doing the same.
                let socket = self.base.join("socket");
                let _ = Command::new(program("dropdb")).arg("-h").arg(socket).args(["-U", "virga", "--if-exists", "--force", name]).output();
            }
        }
    }
}
