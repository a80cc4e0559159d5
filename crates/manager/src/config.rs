//! What the program is told at its start.

use clap::{Args, Parser, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;

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
    Run(Config),
    /// Make an API token for the user admin, for somebody who may read the state folder anyway.
    Token(TokenArgs),
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
    /// Database, `sqlite:///absolute/path`; a file in the state folder when left out.
    #[arg(long, env = "VIRGA_DATABASE", hide_env_values = true)]
    pub database: Option<String>,
    /// A further name or address for which the API's certificate is good; may be repeated.
    #[arg(long)]
    pub tls_name: Vec<String>,
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

impl std::fmt::Debug for TokenArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenArgs").field("state_dir", &self.state_dir).field("out", &self.out).field("hours", &self.hours).finish_non_exhaustive()
    }
}

/// Address of the database: the given one, or a file in the state folder.
///
/// # Errors
/// When the folder's path cannot be written as an address.
pub fn database_url(given: Option<&str>, state_dir: &std::path::Path) -> anyhow::Result<String> {
    if let Some(url) = given {
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
        assert_eq!(database_url(None, std::path::Path::new("/a b")).unwrap(), "sqlite:///a%20b/manager.db");
    }
}
