//! The command line: what stands before and after every verb. The verbs of a noun are in the noun's file.

use crate::client::ListQuery;
use crate::output::{Format, Output};
use crate::{
    api, audit, completion, context, data_store, event, host, human, image, network, role, schedule, session, system, task, template, token, user, vm,
};
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::time::Duration;

/// The command line of Virga, an open private cloud platform.
#[derive(Debug, Parser)]
#[command(
    name = "virga",
    version,
    propagate_version = false,
    disable_help_subcommand = true,
    after_help = "Examples:\n  virga login --url https://manager:8443 --user admin\n  virga vm create web-1 --image debian-12 --cpus 2 --memory 2GiB --network nat --start\n  \
                  virga list\n  virga console web-1\n\nExit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 conflict or locked, 5 not permitted,\n\
                  6 manager unreachable, 7 task failed, 8 timed out, 130 interrupted."
)]
pub(crate) struct Cli {
    /// Options that every command takes.
    #[command(flatten)]
    pub(crate) global: Global,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options that every command takes.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Form of the output.
    #[arg(short, long, global = true, value_enum, default_value = "table")]
    pub(crate) output: Format,
    /// Leave out the line of column names.
    #[arg(long, global = true)]
    pub(crate) no_headers: bool,
    /// Columns to show, by name or by path of a field such as spec.cpu.count.
    #[arg(short, long, global = true, value_delimiter = ',', value_name = "COLUMN,…")]
    pub(crate) columns: Vec<String>,
    /// Context to use instead of the current one.
    #[arg(long, global = true, env = "VIRGA_CONTEXT", value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// URL of the manager, instead of the context's.
    #[arg(long, global = true, env = "VIRGA_URL", value_name = "URL")]
    pub(crate) url: Option<String>,
    /// File with the CA certificate (PEM) that vouches for the manager.
    #[arg(long, global = true, env = "VIRGA_CA", value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// File with an API token.
    #[arg(long, global = true, env = "VIRGA_TOKEN_FILE", value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// File with the contexts, instead of ~/.config/virga/config.toml.
    #[arg(long, global = true, env = "VIRGA_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Show the calls to the API on stderr, with secrets hidden.
    #[arg(long, global = true)]
    pub(crate) debug: bool,
}

impl Global {
    /// How output is wanted.
    pub(crate) fn out(&self) -> Output {
        Output { format: self.output, no_headers: self.no_headers, columns: self.columns.clone() }
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Virtual machines.
    #[command(subcommand, alias = "vms")]
    Vm(vm::Command),
    /// Hosts.
    #[command(subcommand, alias = "hosts")]
    Host(host::Command),
    /// Images and ISOs.
    #[command(subcommand, alias = "images")]
    Image(image::Command),
    /// Templates: VMs from which others are made.
    #[command(subcommand, alias = "templates")]
    Template(template::Command),
    /// Networks.
    #[command(subcommand, alias = "networks")]
    Network(network::Command),
    /// Data stores: the places that carry disks.
    #[command(subcommand, alias = "data-stores")]
    DataStore(data_store::Command),
    /// Long operations.
    #[command(subcommand, alias = "tasks")]
    Task(task::Command),
    /// What happened.
    #[command(subcommand, alias = "events")]
    Event(event::Command),
    /// Who did what.
    #[command(subcommand, alias = "audits")]
    Audit(audit::Command),
    /// Accounts.
    #[command(subcommand, alias = "users")]
    User(user::Command),
    /// Roles and who has them over what.
    #[command(subcommand, alias = "roles")]
    Role(role::Command),
    /// What is done to VMs again and again.
    #[command(subcommand, alias = "schedules")]
    Schedule(schedule::Command),
    /// API tokens for machines.
    #[command(subcommand, alias = "tokens")]
    Token(token::Command),
    /// Managers that this computer knows.
    #[command(subcommand, alias = "contexts")]
    Context(context::Command),
    /// Sign in, and remember the session.
    Login(session::Login),
    /// Sign out, and forget the session.
    Logout(session::Logout),
    /// Who is signed in, and what they may do.
    Whoami(session::Whoami),
    /// Change one's own password.
    Passwd(session::Passwd),
    /// The installation.
    System(system::Args),
    /// Any call of the API.
    Api(api::Args),
    /// Completion for a shell.
    Completion(completion::Args),
    /// Versions of this program and of the manager.
    Version(system::Version),
    /// The same as vm list.
    List(vm::ListArgs),
    /// The same as vm start.
    Start(vm::power::Start),
    /// The same as vm shutdown.
    Stop(vm::power::Shutdown),
    /// The same as vm console.
    Console(vm::console::Args),
}

/// Which items of a list.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Listing {
    /// Condition, e.g. 'state = running and cpus > 4'.
    #[arg(long, value_name = "EXPR")]
    pub(crate) filter: Option<String>,
    /// Field to sort by, with - before it for descending.
    #[arg(long, value_name = "FIELD", allow_hyphen_values = true)]
    pub(crate) sort: Option<String>,
    /// Most items; all when left out.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: Option<u32>,
    /// Top-level fields to ask for, joined by commas (with -o json or yaml).
    #[arg(long, value_name = "FIELD,…")]
    pub(crate) fields: Option<String>,
    /// Show the list again whenever it changes, until Ctrl-C.
    #[arg(short, long)]
    pub(crate) watch: bool,
}

impl Listing {
    /// What to ask the API for.
    pub(crate) fn query(&self) -> ListQuery {
        ListQuery { limit: self.limit, filter: self.filter.clone(), sort: self.sort.clone(), fields: self.fields.clone() }
    }
}

/// How long a change is waited for.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Waiting {
    /// Do not wait; print the id of the task.
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Longest wait; the task goes on after it.
    #[arg(long, value_name = "TIME", value_parser = human::parse_duration)]
    pub(crate) wait_timeout: Option<Duration>,
}

/// A change that can be planned only, and waited for.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Change {
    /// Waiting.
    #[command(flatten)]
    pub(crate) waiting: Waiting,
    /// Print what would happen, and change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Consent to what loses data or hurts a guest.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct Consent {
    /// Do not ask.
    #[arg(short, long)]
    pub(crate) yes: bool,
}

/// Parses `key=value`.
///
/// # Errors
/// A sentence that says what would be right.
pub(crate) fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((k, v)) if !k.is_empty() => Ok((k.into(), v.into())),
        _ => Err(format!("\"{text}\" is not key=value")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// Every command that does something, with its path.
    fn leaves(c: &clap::Command, path: &str, out: &mut Vec<(String, clap::Command)>) {
        if !c.has_subcommands() {
            out.push((path.into(), c.clone()));
        }
        for s in c.get_subcommands() {
            leaves(s, &format!("{path} {}", s.get_name()), out);
        }
    }

    /// clap hands a global option's value to whatever has its name, also to an argument of a verb.
    #[test]
    fn no_argument_of_a_verb_has_the_name_of_a_global_option() {
        fn look(c: &clap::Command, path: &str, global: &[String], wrong: &mut Vec<String>) {
            for s in c.get_subcommands() {
                let path = format!("{path} {}", s.get_name());
                let own = s.get_arguments().filter(|a| !a.is_global_set());
                wrong.extend(own.filter(|a| global.iter().any(|g| g == a.get_id().as_str())).map(|a| format!("{path}: {}", a.get_id())));
                look(s, &path, global, wrong);
            }
        }
        let command = Cli::command();
        let global: Vec<String> = command.get_arguments().filter(|a| a.is_global_set()).map(|a| a.get_id().to_string()).collect();
        assert!(global.iter().any(|g| g == "url"), "{global:?}");
        let mut wrong = Vec::new();
        look(&command, "virga", &global, &mut wrong);
        assert!(wrong.is_empty(), "{wrong:?}");
    }

    #[test]
    fn every_verb_has_a_sentence_and_an_example_that_parses() {
        let mut all = Vec::new();
        leaves(&Cli::command(), "virga", &mut all);
        assert!(all.len() > 80, "{}", all.len());
        for (path, c) in all {
            assert!(c.get_about().is_some(), "{path} has no help");
            let help = c.get_after_help().map(ToString::to_string).unwrap_or_default();
            let examples: Vec<&str> = help.lines().filter(|l| l.starts_with("  ")).filter_map(|l| l.find("virga ").map(|at| &l[at..])).collect();
            assert!(!examples.is_empty(), "{path} has no example");
            for example in examples {
                let words = words(example);
                let parsed = Cli::command().try_get_matches_from(&words);
                assert!(parsed.is_ok(), "{path}: {example}: {}", parsed.expect_err("an error"));
            }
        }
    }

    /// Words of an example: up to a pipe, redirection or comment, with single quotes.
    fn words(example: &str) -> Vec<String> {
        let mut out = vec![String::new()];
        let mut quoted = false;
        for c in example.chars() {
            match c {
                '\'' => quoted = !quoted,
                '|' | '>' | '<' | '#' | ';' | '&' if !quoted => break,
                ' ' if !quoted => out.push(String::new()),
                _ => out.last_mut().expect("a word").push(c),
            }
        }
        out.retain(|w| !w.is_empty());
        out
    }

    #[test]
    fn aliases_and_plurals() {
        for line in
            ["virga list", "virga vms list", "virga start a b", "virga stop --all --yes", "virga console a", "virga vm stop a --force", "virga hosts list"]
        {
            let words: Vec<&str> = line.split(' ').collect();
            assert!(Cli::try_parse_from(words).is_ok(), "{line}");
        }
    }

    #[test]
    fn key_values() {
        assert_eq!(key_value("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert_eq!(key_value("a="), Ok(("a".into(), String::new())));
        assert!(key_value("a").is_err() && key_value("=b").is_err());
    }
}
