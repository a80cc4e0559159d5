//! PostgreSQL as a peer: a server of its own on a private socket, with the settings it comes with.

use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// Clients of the peer, as the goal says.
const CLIENTS: &str = "16";
/// Seconds of the measurement.
const SECONDS: &str = "5";

struct Server {
    programs: PathBuf,
    folder: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.run("pg_ctl", &["stop", "-m", "immediate", "-D", &self.data()]);
    }
}

impl Server {
    fn start() -> Result<Server> {
        let programs = programs()?;
        let folder = tempfile::Builder::new().prefix("virga-bench-pg-").tempdir()?;
        if root() {
            let done = Command::new("chown").arg("postgres").arg(folder.path()).status()?;
            ensure!(done.success(), "the folder cannot be given to the user postgres");
        }
        let s = Server { programs, folder };
        s.run("initdb", &["--auth=trust", "--username=bench", "-D", &s.data()])?;
        let options = format!("-c listen_addresses='' -c unix_socket_directories='{}'", s.folder.path().display());
        s.run("pg_ctl", &["start", "--wait", "-D", &s.data(), "-o", &options, "-l", &s.file("log")])?;
        Ok(s)
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn data(&self) -> String {
        self.file("data")
    }

    /// Runs one of PostgreSQL's programs, as another user when this is root: the server refuses root.
    fn run(&self, program: &str, args: &[&str]) -> Result<String> {
        let path = self.programs.join(program);
        let mut c = if root() {
            let mut c = Command::new("setpriv");
            c.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]).arg(path);
            c
        } else {
            Command::new(path)
        };
        let o = c.args(args).env("PGHOST", self.folder.path()).current_dir("/").output().with_context(|| program.to_string())?;
        ensure!(o.status.success(), "{program}: {}{}", String::from_utf8_lossy(&o.stdout), String::from_utf8_lossy(&o.stderr));
        Ok(String::from_utf8_lossy(&o.stdout).into_owned())
    }
}

/// Single-row commits a second with 16 clients.
///
/// # Errors
/// When PostgreSQL's programs are missing or fail.
pub fn commits() -> Result<f64> {
    let server = Server::start()?;
    let (table, script) = (server.file("table.sql"), server.file("insert.sql"));
    std::fs::write(&table, "CREATE TABLE t (id BIGSERIAL PRIMARY KEY, body TEXT NOT NULL);")?;
    std::fs::write(&script, "INSERT INTO t (body) VALUES (repeat('x', 200));\n")?;
    server.run("psql", &["-q", "-U", "bench", "-d", "postgres", "-f", &table])?;
    let out = server.run("pgbench", &["-n", "-U", "bench", "-c", CLIENTS, "-j", "2", "-T", SECONDS, "-f", &script, "postgres"])?;
    let line = out.lines().find_map(|l| l.strip_prefix("tps = ")).context("pgbench told no rate")?;
    Ok(line.split_whitespace().next().unwrap_or_default().parse()?)
}

fn root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0)
}

/// The folder of the newest installed server.
fn programs() -> Result<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|e| e.path().join("bin")).collect();
    found.retain(|p: &PathBuf| Path::new(p).join("pgbench").exists());
    found.sort();
    match found.pop() {
        Some(p) => Ok(p),
        None => bail!("PostgreSQL's programs are not installed; run scripts/setup.sh test"),
    }
}
