//! Sign-in: `login`, `logout`, `whoami`, `passwd`.

use crate::app::App;
use crate::client::types::{PasswordChange, SignIn};
use crate::client::{Api, json};
use crate::column::{Column, Kind, col};
use crate::config::{self, Config, Connection, Context, DEFAULT, TokenSource};
use crate::error::{Exit, Failure, Result};
use crate::json::{flag, text};
use crate::tls::{self, Trust, fingerprint};
use crate::{output, terminal};
use clap::Args;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Columns of `whoami`.
pub(crate) const COLUMNS: &[Column] = &[
    col("name", "name", Kind::Text),
    col("roles", "grants", Kind::Made(crate::user::grants)),
    col("privileges", "privileges", Kind::Text),
    col("must_change_password", "must_change_password", Kind::Text),
    col("id", "id", Kind::Text),
];

/// Options of `login`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  virga login --url https://manager:8443 --user admin\n  virga login --url https://manager:8443 --ca ca.pem --user admin --password-file /run/secrets/admin\n  \
                        virga login --url https://manager:8443 --fingerprint 3b6f0d0f7c0a3f5a8f0b4b3f1e0a6f0e8f3d2c1b0a99887766554433221100ff --user ops --context prod\n\n\
                        Without --ca and --fingerprint the certificate is shown and asked about once, and pinned."
)]
pub(crate) struct Login {
    /// Login name.
    #[arg(short, long, value_name = "NAME")]
    user: String,
    /// File with the password, - for stdin; asked for on the terminal when left out.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// File with the new password, when it must be changed at this sign-in.
    #[arg(long, value_name = "FILE")]
    new_password_file: Option<PathBuf>,
    /// SHA-256 of the manager's certificate or of its CA's, to pin without being asked.
    #[arg(long, value_name = "SHA256", conflicts_with = "ca")]
    fingerprint: Option<String>,
}

/// Options of `logout`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga logout\n  virga logout --context prod")]
pub(crate) struct Logout {}

/// Options of `whoami`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga whoami\n  virga whoami -o json")]
pub(crate) struct Whoami {}

/// Options of `passwd`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga passwd\n  virga passwd --password-file old --new-password-file new")]
pub(crate) struct Passwd {
    /// File with the present password, - for stdin; asked for on the terminal when left out.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// File with the new password; asked for on the terminal when left out.
    #[arg(long, value_name = "FILE")]
    new_password_file: Option<PathBuf>,
}

/// `virga login`.
pub(crate) async fn login(app: &App, a: Login) -> Result {
    let (path, mut config) = app.config()?;
    let (name, url) = place(app, &config)?;
    let before = config.contexts.get(&name).cloned().filter(|c| c.url == url);
    let trust = trust(app, &a, &url, before.as_ref()).await?;
    let connection = Connection { context: Some(name.clone()), url: url.clone(), trust: trust.clone(), token: TokenSource::None };
    let password = terminal::password(a.password_file.as_deref(), &format!("Password of {} at {url}", a.user))?;
    let api = Api::with_token(&connection, None, app.global.debug)?;
    let body = SignIn { user: a.user.clone(), password: password.clone() };
    let signed_in = json(api.v1.session_create().body(body).send().await).map_err(without_login_hint)?;
    let token = text(&signed_in, "token").to_string();
    let mut context = Context { url, user: Some(a.user.clone()), expires_at: Some(text(&signed_in, "expires_at").into()), ..before.unwrap_or_default() };
    context.set_trust(&trust);
    (context.token, context.token_file) = (Some(token.clone()), None);
    config.contexts.insert(name.clone(), context);
    config.current = Some(name.clone());
    config::save(&path, &config)?;
    if flag(&signed_in, "must_change_password") {
        let api = Api::with_token(&connection, Some(&token), app.global.debug)?;
        eprintln!("the password must be changed before anything else");
        change_password(&api, password, a.new_password_file.as_deref()).await?;
    }
    output::print_line(&format!("signed in as {} (context {name})", a.user))
}

/// A wrong password is not mended by signing in.
fn without_login_hint(e: Failure) -> Failure {
    if e.about.status == Some(401) { Failure { hint: None, ..e } } else { e }
}

/// Name and URL of the context to sign in to.
fn place(app: &App, config: &Config) -> Result<(String, String)> {
    let named = app.global.context.clone();
    let current = named.clone().or_else(|| config.current.clone());
    let stored = current.as_ref().and_then(|n| config.contexts.get_key_value(n));
    let Some(url) = &app.global.url else {
        let (name, c) = stored.ok_or_else(|| Failure::usage("which manager?").hint("give --url https://HOST:8443"))?;
        return Ok((name.clone(), config::checked_url(&c.url)?));
    };
    let url = config::checked_url(url)?;
    let same = config.contexts.iter().find(|(_, c)| c.url == url).map(|(n, _)| n.clone());
    let free = if config.contexts.contains_key(DEFAULT) { host_of(&url) } else { DEFAULT.to_string() };
    Ok((named.or(same).unwrap_or(free), url))
}

fn host_of(url: &str) -> String {
    url.rsplit('/').next().unwrap_or(url).replace(':', "-")
}

/// How the certificate is checked: as given, as stored, by the system, or by asking once.
async fn trust(app: &App, a: &Login, url: &str, before: Option<&Context>) -> Result<Trust> {
    if let Some(file) = &app.global.ca {
        return Ok(Trust::CaFile(std::path::absolute(file).unwrap_or_else(|_| file.clone())));
    }
    let stored = before.map(Context::trust).filter(|t| *t != Trust::System);
    if let (Some(t), None) = (stored, &a.fingerprint) {
        return Ok(t);
    }
    if url.starts_with("http:") {
        return Ok(Trust::System);
    }
    let shown = tls::look(url).await?;
    if let Some(wanted) = &a.fingerprint {
        return believe(&shown, url, &tls::normal_fingerprint(wanted)?);
    }
    if tls::system_trusts(url, &shown) {
        return Ok(Trust::System);
    }
    let (cert, is_ca) = shown.anchor().ok_or_else(|| Failure::failed(format!("{url} shows no certificate")))?;
    let sha256 = fingerprint(cert);
    let what = if is_ca { "the CA" } else { "the certificate" };
    eprintln!("Nobody known vouches for {url}. SHA-256 of {what}:\n  {}", pairs(&sha256));
    let hint = format!("compare it with the manager's own (sha256 of ca.pem in its state folder), then repeat with --fingerprint {sha256}");
    if !terminal::is_interactive() {
        return Err(Failure::usage("the manager's certificate is not known").hint(hint));
    }
    if !terminal::ask("Is that your manager's?")? {
        return Err(Failure::new(Exit::NotPermitted, "the manager's certificate is not trusted").hint(hint));
    }
    believe(&shown, url, &sha256)
}

/// Pins the certificate with `sha256`, when the manager shows it.
fn believe(shown: &tls::Shown, url: &str, sha256: &str) -> Result<Trust> {
    let trust = shown.trust_for(sha256).ok_or_else(|| {
        let has: Vec<String> = shown.chain.iter().map(fingerprint).collect();
        Failure::new(Exit::NotPermitted, format!("{url} shows other certificates: {}", has.join(", "))).hint("do not go on before you know why")
    })?;
    match &trust {
        Trust::CaPem(pem) if !tls::ca_vouches(pem, url, shown) => {
            Err(Failure::new(Exit::NotPermitted, format!("that CA does not vouch for the name in {url}"))
                .hint("use a name that the certificate is made for, or pin the manager's own certificate"))
        }
        _ => Ok(trust),
    }
}

/// Hex digits in pairs, as people compare them.
fn pairs(hex: &str) -> String {
    hex.as_bytes().chunks(2).filter_map(|c| std::str::from_utf8(c).ok()).collect::<Vec<_>>().join(":")
}

/// Asks for a new password until the manager takes it, and sets it.
async fn change_password(api: &Api, current: String, file: Option<&Path>) -> Result {
    loop {
        let new = terminal::new_password(file, "New password")?;
        match api.v1.password_change().body(PasswordChange { current: current.clone(), new }).send().await.map_err(Failure::from) {
            Err(e) if e.about.status == Some(422) && file.is_none() => eprint!("{}", e.render()),
            other => return other.map(|_| ()),
        }
    }
}

/// `virga logout`.
pub(crate) async fn logout(app: &App, _: Logout) -> Result {
    let connection = app.connection()?;
    let TokenSource::Stored(_) = connection.token else {
        return Err(Failure::new(Exit::NotFound, "there is no session here").hint("API tokens are revoked with virga token delete"));
    };
    let ended = app.api()?.v1.session_delete().send().await.map_err(Failure::from);
    let (path, mut config) = app.config()?;
    if let Some(c) = connection.context.and_then(|n| config.contexts.get_mut(&n)) {
        c.sign_out();
        config::save(&path, &config)?;
    }
    match ended {
        Err(e) if e.about.status == Some(401) => output::print_line("signed out; the session had ended already"),
        Err(e) => Err(e.hint("the session is forgotten here, and ends by itself at the manager")),
        Ok(_) => output::print_line("signed out"),
    }
}

/// `virga whoami`.
pub(crate) async fn whoami(app: &App, _: Whoami) -> Result {
    let me: Value = json(app.api()?.v1.session_view().send().await)?;
    app.out.object(&me, COLUMNS)
}

/// `virga passwd`.
pub(crate) async fn passwd(app: &App, a: Passwd) -> Result {
    let current = terminal::password(a.password_file.as_deref(), "Present password")?;
    change_password(app.api()?, current, a.new_password_file.as_deref()).await?;
    output::print_line("password changed; all other sessions have ended")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Global;

    #[test]
    fn a_sign_in_finds_its_context() {
        let lab = Context { url: "https://lab:8443".into(), ..Default::default() };
        let config = Config { current: Some("lab".into()), contexts: [("lab".into(), lab)].into() };
        let at = |url: Option<&str>, context: Option<&str>, config: &Config| {
            place(&App::new(Global { url: url.map(Into::into), context: context.map(Into::into), ..Default::default() }), config)
        };
        let place = |n: &str, u: &str| (n.to_string(), u.to_string());
        assert_eq!(at(None, None, &config).expect("known"), place("lab", "https://lab:8443"));
        assert_eq!(at(Some("https://lab:8443/"), None, &config).expect("known"), place("lab", "https://lab:8443"));
        assert_eq!(at(Some("https://new:8443"), None, &config).expect("new"), place("default", "https://new:8443"));
        assert_eq!(at(Some("https://new:8443"), Some("prod"), &config).expect("new"), place("prod", "https://new:8443"));
        assert!(at(None, None, &Config::default()).is_err());
    }

    #[test]
    fn fingerprints_are_shown_in_pairs() {
        assert_eq!(pairs("abcd01"), "ab:cd:01");
    }
}
