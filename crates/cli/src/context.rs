//! Contexts: the managers that this computer knows.

use crate::app::App;
use crate::config::{self, Config, Context};
use crate::error::{Exit, Failure, Result};
use crate::tls::{Trust, normal_fingerprint};
use crate::{column, output};
use clap::{Args, Subcommand};
use column::{Column, Kind, col};
use serde_json::{Value, json};

/// Columns of contexts.
const COLUMNS: &[Column] = &[
    col("current", "current", Kind::Made(|c| if crate::json::flag(c, "current") { "*".into() } else { " ".into() })),
    col("name", "name", Kind::Text),
    col("url", "url", Kind::Text),
    col("user", "user", Kind::Text),
    col("trust", "trust", Kind::Text),
    col("token", "token", Kind::Text),
    col("expires", "expires_at", Kind::Age),
];

/// Verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List contexts; * marks the current one.
    #[command(alias = "ls")]
    List(ListArgs),
    /// Show one context, the current one when none is named. Its secrets are not shown.
    Show(Show),
    /// Add a context, or change one: --url, --ca and --token-file say how the manager is reached.
    Add(Add),
    /// Make a context the current one.
    Use(Use),
    /// Forget a context, and the session in it.
    Remove(Remove),
}

/// Options of `list`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga context list")]
pub(crate) struct ListArgs {}

/// Options of `show`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga context show\n  virga context show lab -o json")]
pub(crate) struct Show {
    /// Name.
    name: Option<String>,
}

/// Options of `add`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  virga context add lab --url https://lab:8443 --ca lab-ca.pem\n  virga context add ci --url https://lab:8443 --ca lab-ca.pem --token-file /run/secrets/virga"
)]
pub(crate) struct Add {
    /// Name.
    name: String,
    /// SHA-256 of the one certificate that is accepted, instead of a CA.
    #[arg(long, value_name = "SHA256")]
    fingerprint: Option<String>,
}

/// Options of `use`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga context use lab")]
pub(crate) struct Use {
    /// Name.
    name: String,
}

/// Options of `remove`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  virga context remove lab")]
pub(crate) struct Remove {
    /// Name.
    name: String,
}

/// Does what a verb says.
pub(crate) fn run(app: &App, command: Command) -> Result {
    let (path, mut config) = app.config()?;
    match command {
        Command::List(ListArgs {}) => {
            let all: Vec<Value> = config.contexts.iter().map(|(n, c)| public(n, c, &config)).collect();
            return app.out.list(&all, COLUMNS);
        }
        Command::Show(a) => return show(app, &config, a.name),
        Command::Add(a) => {
            add(app, &mut config, &a)?;
            output::print_line(&format!("context {} added", a.name))?;
        }
        Command::Use(a) => {
            known(&config, &a.name)?;
            config.current = Some(a.name);
        }
        Command::Remove(a) => {
            known(&config, &a.name)?;
            config.contexts.remove(&a.name);
            config.current = config.current.filter(|c| *c != a.name);
        }
    }
    config::save(&path, &config)
}

fn known<'c>(config: &'c Config, name: &str) -> Result<&'c Context> {
    config.contexts.get(name).ok_or_else(|| Failure::new(Exit::NotFound, format!("there is no context {name}")).hint("see virga context list"))
}

/// A context without its secrets.
fn public(name: &str, c: &Context, config: &Config) -> Value {
    let trust = match c.trust() {
        Trust::System => "system".to_string(),
        Trust::CaFile(file) => file.display().to_string(),
        Trust::CaPem(_) => "pinned CA".into(),
        Trust::Pin(sha256) => format!("pinned {}", &sha256.get(..16).unwrap_or(&sha256)),
    };
    let token = match (&c.token_file, &c.token) {
        (Some(file), _) => file.display().to_string(),
        (None, Some(_)) => "session".into(),
        (None, None) => "none".into(),
    };
    let current = config.current.as_deref() == Some(name);
    json!({"name": name, "current": current, "url": c.url, "user": c.user, "trust": trust, "token": token, "expires_at": c.expires_at})
}

fn show(app: &App, config: &Config, name: Option<String>) -> Result {
    let name = name.or_else(|| app.global.context.clone()).or_else(|| config.current.clone());
    let name = name.ok_or_else(|| Failure::new(Exit::NotFound, "there is no current context").hint("sign in with virga login --url URL --user NAME"))?;
    app.out.object(&public(&name, known(config, &name)?, config), COLUMNS)
}

fn add(app: &App, config: &mut Config, a: &Add) -> Result {
    let before = config.contexts.get(&a.name).cloned().unwrap_or_default();
    let url = app.global.url.clone().or_else(|| Some(before.url.clone()).filter(|u| !u.is_empty()));
    let url = config::checked_url(&url.ok_or_else(|| Failure::usage("the manager's URL is left out").hint("give --url https://HOST:8443"))?)?;
    // A session belongs to the manager that gave it.
    let mut c = if url == before.url { before } else { Context { url, ..Context::default() } };
    let full = |p: &std::path::PathBuf| std::path::absolute(p).unwrap_or_else(|_| p.clone());
    if let Some(ca) = &app.global.ca {
        c.set_trust(&Trust::CaFile(full(ca)));
    }
    if let Some(f) = &a.fingerprint {
        c.set_trust(&Trust::Pin(normal_fingerprint(f)?));
    }
    if let Some(file) = &app.global.token_file {
        c.token_file = Some(full(file));
        c.sign_out();
    }
    config.contexts.insert(a.name.clone(), c);
    config.current.get_or_insert(a.name.clone());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Global;

    #[test]
    fn contexts_are_added_and_secrets_are_not_shown() {
        let app = App::new(Global { url: Some("https://lab:8443/".into()), ca: Some("/ca.pem".into()), ..Default::default() });
        let mut config = Config::default();
        add(&app, &mut config, &Add { name: "lab".into(), fingerprint: None }).expect("added");
        assert_eq!(config.current.as_deref(), Some("lab"));
        let lab = config.contexts.get_mut("lab").expect("there");
        assert_eq!((lab.url.as_str(), lab.trust()), ("https://lab:8443", Trust::CaFile("/ca.pem".into())));
        lab.token = Some("secret".into());
        let shown = public("lab", &config.contexts["lab"], &config);
        assert!(!shown.to_string().contains("secret"), "{shown}");
        assert_eq!(known(&config, "x").expect_err("unknown").exit, Exit::NotFound);
        let moved = App::new(Global { url: Some("https://other:8443".into()), ..Default::default() });
        add(&moved, &mut config, &Add { name: "lab".into(), fingerprint: None }).expect("changed");
        assert_eq!(config.contexts["lab"].token, None);
    }
}
