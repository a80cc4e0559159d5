//! What the program is told at its start.

use crate::anchor::{Sinks, Syslog};
use crate::front::limits::Limits;
use clap::{Args, Parser, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;
use virga_model::role::Administration;

/// The manager of Virga.
#[derive(Debug, Parser)]
#[command(name = "virga-manager", version, about = "The manager of Virga: public API, tasks, placement, events")]
pub struct Program {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve until SIGINT or SIGTERM. Stopping or killing the manager never stops a VM.
    Run(Box<Config>),
    /// Write the whole state but the content of images into one archive, while the manager serves.
    Backup(BackupArgs),
    /// Take the state from an archive, into an empty state folder and an empty database.
    Restore(RestoreArgs),
    /// Make an API token for the user admin, for somebody who may read the state folder anyway.
    Token(TokenArgs),
    /// Walk the chain of audit records in the database; it fails when one was altered, removed or inserted.
    AuditVerify(AuditVerifyArgs),
}

/// Settings of `run`.
#[derive(Clone, Args)]
pub struct Config {
    /// Folder for the database, keys and images; made with mode 0700 where it does not exist.
    #[arg(long)]
    pub state_dir: PathBuf,
    /// Address of the public API (HTTPS).
    #[arg(long, default_value = "127.0.0.1:8443")]
    pub listen: SocketAddr,
    /// Address where agents connect.
    #[arg(long, default_value = "127.0.0.1:8444")]
    pub node_listen: SocketAddr,
    /// `host:port` under which agents reach --node-listen; the same address when left out.
    #[arg(long)]
    pub node_address: Option<String>,
    /// Database: `postgres://user@host/name`, `sqlite:///absolute/path`, or `file:/path` of a file that holds such an
    /// address (needed for one with a password). A SQLite file in the state folder when left out.
    #[arg(long, env = "VIRGA_DATABASE", hide_env_values = true)]
    pub database: Option<String>,
    /// A further name or address for which the API's certificate is good; may be repeated.
    #[arg(long)]
    pub tls_name: Vec<String>,
    /// Control socket of a simulated fleet, for the demo only: administrators can break its machines from the portal.
    #[arg(long, value_name = "SOCKET", hide = true)]
    pub demo_fleet: Option<PathBuf>,
    /// Who administers, and where anchors of the audit records go.
    #[command(flatten)]
    pub trust: TrustArgs,
    /// How much callers of the public API may do.
    #[command(flatten)]
    pub limits: Limits,
}

/// Settings of `run` about administration and audit.
#[derive(Clone, Debug, Default, Args)]
pub struct TrustArgs {
    /// How the installation is administered: `one-admin` (when left out) or `three-roles`. Chosen at the first start;
    /// another choice afterwards is refused.
    #[arg(long, value_name = "MODE")]
    pub administration: Option<Administration>,
    /// File to which each anchor of the audit records is added as a line; best on a disk that this machine can only add to.
    #[arg(long, value_name = "FILE")]
    pub audit_anchor_file: Option<PathBuf>,
    /// Syslog that is told of each anchor: `unix:/dev/log` or `udp:HOST:PORT`.
    #[arg(long, value_name = "SYSLOG")]
    pub audit_syslog: Option<Syslog>,
}

impl TrustArgs {
    /// Where anchors go.
    #[must_use]
    pub fn sinks(&self) -> Sinks {
        Sinks { file: self.audit_anchor_file.clone(), syslog: self.audit_syslog.clone() }
    }
}

/// Settings of `audit-verify`.
#[derive(Clone, Args)]
pub struct AuditVerifyArgs {
    /// Folder that `run` was given.
    #[arg(long)]
    pub state_dir: PathBuf,
    /// Database, when `run` was given one.
    #[arg(long, env = "VIRGA_DATABASE", hide_env_values = true)]
    pub database: Option<String>,
}

/// Settings of `token`.
#[derive(Clone, Args)]
pub struct TokenArgs {
    /// Folder that `run` was given.
    #[arg(long)]
    pub state_dir: PathBuf,
    /// File that gets the token, mode 0600. It must not exist.
    #[arg(long)]
    pub out: PathBuf,
    /// Hours for which the token is good.
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=8760))]
    pub hours: u32,
    /// Database, when `run` was given one.
    #[arg(long, env = "VIRGA_DATABASE", hide_env_values = true)]
    pub database: Option<String>,
}

// The address of a database may hold a password: it never reaches a log through `{:?}`.
impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("state_dir", &self.state_dir)
            .field("listen", &self.listen)
            .field("node_listen", &self.node_listen)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for AuditVerifyArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuditVerifyArgs").field("state_dir", &self.state_dir).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for BackupArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BackupArgs").field("state_dir", &self.state_dir).field("output", &self.output).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for RestoreArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RestoreArgs").field("state_dir", &self.state_dir).field("input", &self.input).field("force", &self.force).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for TokenArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenArgs").field("state_dir", &self.state_dir).field("out", &self.out).field("hours", &self.hours).finish_non_exhaustive()
    }
}

/// Settings of `backup`.
#[derive(Clone, Args)]
pub struct BackupArgs {
    /// Folder that `run` was given.
    #[arg(long)]
    pub state_dir: PathBuf,
    /// The archive, made with mode 0600; it must not exist. It holds the key of the certificate authority.
    #[arg(long)]
    pub output: PathBuf,
    /// Database, when `run` was given one.
    #[arg(long, env = "VIRGA_DATABASE", hide_env_values = true)]
    pub database: Option<String>,
}

/// Settings of `restore`.
#[derive(Clone, Args)]
pub struct RestoreArgs {
    /// Folder that `run` will be given.
    #[arg(long)]
    pub state_dir: PathBuf,
    /// The archive.
    #[arg(long)]
    pub input: PathBuf,
    /// Database that `run` will be given, as there.
    #[arg(long, env = "VIRGA_DATABASE", hide_env_values = true)]
    pub database: Option<String>,
    /// Replace what is in the state folder and the database.
    #[arg(long)]
    pub force: bool,
}

/// Address of the database: the given one, the one in the file that it names, or a file in the state folder.
///
/// # Errors
/// When a password stands in the arguments of the program, where everybody on the machine can read it, or in a file that
/// others can read; when the folder's path cannot be written as an address.
pub fn database_url(given: Option<&str>, state_dir: &std::path::Path) -> anyhow::Result<String> {
    if let Some(path) = given.and_then(|g| g.strip_prefix("file:")) {
        return address_in_file(std::path::Path::new(path.strip_prefix("//").unwrap_or(path)));
    }
    if let Some(url) = given {
        let in_arguments = std::env::args().any(|a| a.contains(url));
        anyhow::ensure!(
            !(in_arguments && has_password(url)),
            "a password in the arguments can be read by everybody on this machine; write the address into a file of mode 0600 and give \
             --database file:/path, or use VIRGA_DATABASE or PGPASSFILE"
        );
        return Ok(url.to_string());
    }
    let folder = std::path::absolute(state_dir)?;
    let path = folder.join("manager.db");
    let path = path.to_str().ok_or_else(|| anyhow::anyhow!("the path of the state folder is not UTF-8; give --database"))?;
    // What has a meaning in an address stands as %XX.
    let quoted: String =
        path.bytes().map(|b| if b.is_ascii_alphanumeric() || b"/-._~".contains(&b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect();
    Ok(format!("sqlite://{quoted}"))
}

/// Whether an address of PostgreSQL holds a password.
fn has_password(url: &str) -> bool {
    let rest = url.split_once("://").filter(|(scheme, _)| scheme.starts_with("postgres")).map_or("", |(_, r)| r);
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let user = place.rsplit_once('@').map_or("", |(u, _)| u);
    user.contains(':') || query.split('&').any(|p| p.starts_with("password="))
}

fn address_in_file(path: &std::path::Path) -> anyhow::Result<String> {
    use anyhow::Context;
    use std::os::unix::fs::PermissionsExt;
    let text = std::fs::read_to_string(path).with_context(|| format!("the file {} with the address of the database cannot be read", path.display()))?;
    let url = text.trim();
    anyhow::ensure!(!url.is_empty() && !url.contains(char::is_whitespace), "the file {} does not hold the address of a database in one line", path.display());
    let others = std::fs::metadata(path)?.permissions().mode() & 0o077 != 0;
    anyhow::ensure!(!(others && has_password(url)), "the file {} holds a password and can be read by others; do: chmod 600 {0}", path.display());
    Ok(url.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Program::command().debug_assert();
        let p = Program::parse_from(["virga-manager", "run", "--state-dir", "/x", "--tls-name", "a", "--tls-name", "b"]);
        let Command::Run(c) = p.command else { panic!("run") };
        assert_eq!(c.tls_name, ["a", "b"]);
        assert_eq!(c.trust.administration, None);
        let p = Program::parse_from(["virga-manager", "run", "--state-dir", "/x", "--administration", "three-roles"]);
        let Command::Run(c) = p.command else { panic!("run") };
        assert_eq!(c.trust.administration, Some(Administration::ThreeRoles));
        assert_eq!(database_url(None, std::path::Path::new("/a b")).unwrap(), "sqlite:///a%20b/manager.db");
    }

    #[test]
    fn an_address_with_a_password_comes_from_a_private_file() {
        use std::os::unix::fs::PermissionsExt;
        assert!(has_password("postgres://u:p@h/d") && has_password("postgres:///d?host=/s&password=p"));
        assert!(!has_password("postgres://u@h:5432/d?host=/s") && !has_password("sqlite:///a:b@c"));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("database");
        std::fs::write(&path, "postgres://u:p@h/d\n").unwrap();
        let given = format!("file:{}", path.display());
        let read = || database_url(Some(&given), dir.path());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(read().unwrap_err().to_string().contains("chmod 600"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(read().unwrap(), "postgres://u:p@h/d");
        std::fs::write(&path, "").unwrap();
        assert!(read().is_err());
    }
}
