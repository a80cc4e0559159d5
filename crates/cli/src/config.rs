//! The contexts of this user: which managers, how to know them again, and as whom. One TOML file, mode 0600, written
//! whole and renamed into place.
//!
//! A token is only ever sent to the URL for which it was stored: when `--url` or `VIRGA_URL` names another one, neither
//! token nor trust of the context are used.

use crate::args::Global;
use crate::error::{Failure, Result};
use crate::tls::Trust;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Name of the context that is made when nobody gives one.
pub(crate) const DEFAULT: &str = "default";

/// The file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Config {
    /// Context that is used when nobody names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) current: Option<String>,
    /// All of them.
    #[serde(default)]
    pub(crate) contexts: BTreeMap<String, Context>,
}

/// A manager and how it is spoken to.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Context {
    /// `https://host:port`.
    pub(crate) url: String,
    /// File with the CA's certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ca: Option<PathBuf>,
    /// The CA's certificate itself, pinned at the first sign-in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ca_pem: Option<String>,
    /// SHA-256 of the one certificate that is accepted, when there is no CA to pin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pin_sha256: Option<String>,
    /// File with an API token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token_file: Option<PathBuf>,
    /// Token of the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<String>,
    /// Who signed in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
    /// When the session ends at the latest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires_at: Option<String>,
}

// The token never reaches a log or a panic message.
impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("url", &self.url).field("user", &self.user).finish_non_exhaustive()
    }
}

impl Context {
    /// How the manager's certificate is checked.
    pub(crate) fn trust(&self) -> Trust {
        match self {
            Context { ca: Some(file), .. } => Trust::CaFile(file.clone()),
            Context { ca_pem: Some(pem), .. } => Trust::CaPem(pem.clone()),
            Context { pin_sha256: Some(pin), .. } => Trust::Pin(pin.clone()),
            _ => Trust::System,
        }
    }

    /// Sets how the manager's certificate is checked.
    pub(crate) fn set_trust(&mut self, trust: &Trust) {
        (self.ca, self.ca_pem, self.pin_sha256) = (None, None, None);
        match trust {
            Trust::System => {}
            Trust::CaFile(file) => self.ca = Some(file.clone()),
            Trust::CaPem(pem) => self.ca_pem = Some(pem.clone()),
            Trust::Pin(pin) => self.pin_sha256 = Some(pin.clone()),
        }
    }

    /// Forgets the session.
    pub(crate) fn sign_out(&mut self) {
        (self.token, self.user, self.expires_at) = (None, None, None);
    }
}

/// Where the file is: `--config`, `VIRGA_CONFIG`, or in the user's own configuration folder.
pub(crate) fn path(global: &Global) -> Result<PathBuf> {
    if let Some(p) = &global.config {
        return Ok(p.clone());
    }
    let from_env = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let folder = from_env("XDG_CONFIG_HOME").or_else(|| from_env("HOME").map(|h| h.join(".config")));
    let folder = folder.ok_or_else(|| Failure::usage("there is no home directory to keep contexts in").hint("set VIRGA_CONFIG to a file"))?;
    Ok(folder.join("virga/config.toml"))
}

/// Reads the file; there are no contexts when it does not exist.
pub(crate) fn load(path: &Path) -> Result<Config> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Config::default()),
        Err(e) => return Err(Failure::failed(format!("{}: {e}", path.display()))),
    };
    let config: Config = toml::from_str(&text).map_err(|e| Failure::failed(format!("{}: {}", path.display(), e.message())))?;
    warn_when_open(path, &config);
    Ok(config)
}

/// Says so when others can read a stored token.
fn warn_when_open(path: &Path, config: &Config) {
    let mode = std::fs::metadata(path).map(|m| m.permissions().mode() & 0o077).unwrap_or_default();
    if mode != 0 && config.contexts.values().any(|c| c.token.is_some()) {
        eprintln!("warning: others can read the token in {}: chmod 600 {0}", path.display());
    }
}

/// Writes the file, readable by its owner only.
pub(crate) fn save(path: &Path, config: &Config) -> Result {
    let text = toml::to_string(config).map_err(|e| Failure::failed(format!("{}: {e}", path.display())))?;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut file = tempfile::Builder::new().prefix(".config").permissions(std::fs::Permissions::from_mode(0o600)).tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| Failure::failed(format!("{}: {}", path.display(), e.error)))?;
    Ok(())
}

/// Makes a new file with a secret, mode 0600. A file that is there already is never touched.
pub(crate) fn write_secret(path: &Path, text: &str) -> Result {
    let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = made.map_err(|e| Failure::failed(format!("{}: {e}", path.display())))?;
    file.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        file.write_all(b"\n")?;
    }
    Ok(file.sync_all()?)
}

/// How the manager is reached.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    /// Context that it comes from; none when everything was given.
    pub(crate) context: Option<String>,
    /// `https://host:port`, without a slash at the end.
    pub(crate) url: String,
    /// How the manager's certificate is checked.
    pub(crate) trust: Trust,
    /// Where the bearer token is.
    pub(crate) token: TokenSource,
}

/// Where the bearer token is.
#[derive(Clone, PartialEq)]
pub(crate) enum TokenSource {
    /// Nowhere: only what needs no sign-in works.
    None,
    /// In a file.
    File(PathBuf),
    /// In the context.
    Stored(String),
}

impl std::fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            TokenSource::None => "None",
            TokenSource::File(_) => "File",
            TokenSource::Stored(_) => "Stored",
        })
    }
}

impl TokenSource {
    /// The token.
    pub(crate) fn read(&self) -> Result<Option<String>> {
        match self {
            TokenSource::None => Ok(None),
            TokenSource::Stored(t) => Ok(Some(t.clone())),
            TokenSource::File(path) => {
                let text = std::fs::read_to_string(path).map_err(|e| Failure::failed(format!("{}: {e}", path.display())))?;
                Ok(Some(text.trim().to_string()))
            }
        }
    }
}

/// Puts together flags, environment and contexts; flags win over the environment, and it over the contexts.
pub(crate) fn connection(global: &Global, config: &Config) -> Result<Connection> {
    let (name, context) = pick(global, config)?;
    let Some(url) = global.url.clone().or_else(|| context.map(|c| c.url.clone())) else {
        return Err(Failure::usage("no manager is known")
            .hint("sign in with: virga login --url https://HOST:8443 --user NAME, or set VIRGA_URL, VIRGA_CA and VIRGA_TOKEN_FILE"));
    };
    let trust = match &global.ca {
        Some(file) => Trust::CaFile(file.clone()),
        None => context.map_or(Trust::System, Context::trust),
    };
    let token = match (&global.token_file, context) {
        (Some(file), _) => TokenSource::File(file.clone()),
        (None, Some(Context { token_file: Some(file), .. })) => TokenSource::File(file.clone()),
        (None, Some(Context { token: Some(token), .. })) => TokenSource::Stored(token.clone()),
        _ => TokenSource::None,
    };
    Ok(Connection { context: name, url: checked_url(&url)?, trust, token })
}

/// The context that counts: the named or current one, or with `--url` one of the same URL.
fn pick<'c>(global: &Global, config: &'c Config) -> Result<(Option<String>, Option<&'c Context>)> {
    let wanted = global.context.as_ref().or(config.current.as_ref());
    let found = wanted.and_then(|n| config.contexts.get_key_value(n));
    if let (Some(name), None) = (&global.context, found) {
        let known: Vec<&str> = config.contexts.keys().map(String::as_str).collect();
        return Err(Failure::usage(format!("there is no context {name}")).hint(format!("known are: {}", known.join(", "))));
    }
    let Some(url) = &global.url else {
        return Ok(found.map_or((None, None), |(n, c)| (Some(n.clone()), Some(c))));
    };
    let same = |c: &Context| c.url.trim_end_matches('/') == url.trim_end_matches('/');
    let hit = found.filter(|(_, c)| same(c)).or_else(|| config.contexts.iter().find(|(_, c)| same(c)));
    Ok(hit.map_or((None, None), |(n, c)| (Some(n.clone()), Some(c))))
}

/// The URL without its last slash. Plain HTTP would send the token in the clear, so it is only for this machine itself.
pub(crate) fn checked_url(url: &str) -> Result<String> {
    let url = url.trim_end_matches('/');
    let parsed = reqwest::Url::parse(url).map_err(|e| Failure::usage(format!("\"{url}\" is not a URL ({e})")).hint("write https://HOST:8443"))?;
    let host = parsed.host_str().unwrap_or_default();
    let local = host == "localhost" || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    match parsed.scheme() {
        "https" => Ok(url.into()),
        "http" if local => Ok(url.into()),
        "http" => Err(Failure::usage(format!("{url}: plain HTTP would show the token to everybody on the way")).hint("use https://")),
        other => Err(Failure::usage(format!("{url}: {other} is not spoken here")).hint("write https://HOST:8443")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lab() -> Config {
        let lab = Context { url: "https://lab:8443".into(), token: Some("secret-1".into()), pin_sha256: Some("ab".into()), ..Default::default() };
        let prod = Context { url: "https://prod:8443/".into(), token_file: Some("/t".into()), ca: Some("/ca".into()), ..Default::default() };
        Config { current: Some("lab".into()), contexts: [("lab".into(), lab), ("prod".into(), prod)].into() }
    }

    #[test]
    fn the_file_and_its_folder_are_for_the_owner_only() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("virga/config.toml");
        save(&path, &lab()).expect("saved");
        let mode = |p: &Path| std::fs::metadata(p).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().expect("a folder")), 0o700);
        assert_eq!(load(&path).expect("read"), lab());
        save(&path, &Config::default()).expect("saved again");
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn a_secret_never_overwrites_a_file() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("t");
        write_secret(&path, "x").expect("made");
        assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert!(write_secret(&path, "y").is_err());
        assert_eq!(std::fs::read_to_string(&path).expect("read"), "x\n");
    }

    #[test]
    fn a_token_goes_only_to_its_own_url() {
        let c = connection(&Global::default(), &lab()).expect("a connection");
        assert_eq!((c.url.as_str(), c.token.clone()), ("https://lab:8443", TokenSource::Stored("secret-1".into())));
        let other = Global { url: Some("https://evil:8443".into()), ..Default::default() };
        let c = connection(&other, &lab()).expect("a connection");
        assert_eq!((c.token, c.context), (TokenSource::None, None));
        assert!(matches!(c.trust, Trust::System));
        let same = Global { url: Some("https://prod:8443".into()), ..Default::default() };
        let c = connection(&same, &lab()).expect("a connection");
        assert_eq!((c.context.as_deref(), c.token), (Some("prod"), TokenSource::File("/t".into())));
        let unknown = Global { context: Some("nowhere".into()), ..Default::default() };
        assert_eq!(connection(&unknown, &lab()).expect_err("unknown").exit, crate::error::Exit::Usage);
    }

    #[test]
    fn plain_http_is_for_this_machine_only() {
        assert!(checked_url("http://127.0.0.1:80").is_ok() && checked_url("http://[::1]:80").is_ok() && checked_url("https://x").is_ok());
        for bad in ["http://example.com", "http://10.0.0.1", "ftp://x", "x", ""] {
            assert!(checked_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn secrets_do_not_show_in_debug_output() {
        assert!(!format!("{:?}", lab()).contains("secret-1"));
        assert!(!format!("{:?}", connection(&Global::default(), &lab())).contains("secret-1"));
    }
}
