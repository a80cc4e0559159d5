//! The command line of Virga. It talks only the public API; its calls are made from `openapi/v1.json`.
//!
//! One file per noun holds the noun's verbs, columns and texts (`vm/`, `host.rs`, …). What all verbs share: `args` (the
//! command line), `client` (calls), `config` and `tls` (which manager, and is it really it), `column` and `output`
//! (stdout), `wait` (tasks), `terminal` (questions, raw mode), `error` (messages and exit codes).
//!
//! Habits: stdout holds results only, everything else goes to stderr; changes wait for their task; what loses data asks
//! on a terminal and needs `--yes` elsewhere; no secret stands in arguments, output of `--debug`, or logs.

mod api;
mod app;
mod args;
mod audit;
mod client;
mod column;
mod completion;
mod config;
mod context;
mod data_store;
mod download;
mod error;
mod event;
#[doc(hidden)]
pub mod foreign;
mod host;
mod human;
mod image;
mod json;
mod list;
mod network;
mod noun;
mod output;
mod role;
mod schedule;
mod session;
mod sse;
mod system;
mod task;
mod template;
mod terminal;
mod tls;
mod token;
mod upload;
mod user;
mod vm;
mod wait;

use args::{Cli, Command};
use clap::parser::ValueSource;
use clap::{CommandFactory, FromArgMatches};
use std::process::ExitCode;

/// Sees to it that a crash of this program leaves no core file, because its memory holds secrets, and that no other
/// process of the same user can read that memory (`reliability.md` Y2).
fn keep_memory_private() {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
    // Both: a collector of core files behind a pipe asks for no limit. Where neither can be set, the program still runs.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// Runs the program: parses the command line, does what it says, and answers with the exit code.
#[must_use]
pub fn main() -> ExitCode {
    keep_memory_private();
    install_crypto();
    let cli = match parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(e) => e.exit(),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(r) => r,
        Err(e) => {
            eprintln!("error: {e}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(run(cli));
    // A thread that still reads the terminal must not hold up the end.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprint!("{}", failure.render());
            ExitCode::from(failure.exit as u8)
        }
    }
}

/// Chooses the TLS library for the whole process.
pub(crate) fn install_crypto() {
    // It fails only when one is chosen already, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// Parses the command line. A context named on it wins over a URL, CA and token of the environment.
fn parse(words: impl IntoIterator<Item = std::ffi::OsString>) -> Result<Cli, clap::Error> {
    let matches = Cli::command().try_get_matches_from(words)?;
    let mut cli = Cli::from_arg_matches(&matches)?;
    let from = |name: &str| matches.value_source(name);
    if from("context") == Some(ValueSource::CommandLine) {
        let environment = |name: &str| from(name) == Some(ValueSource::EnvVariable);
        let g = &mut cli.global;
        g.url = g.url.take().filter(|_| !environment("url"));
        g.ca = g.ca.take().filter(|_| !environment("ca"));
        g.token_file = g.token_file.take().filter(|_| !environment("token_file"));
    }
    Ok(cli)
}

/// Does what the command line says.
async fn run(cli: Cli) -> error::Result {
    let app = app::App::new(cli.global);
    match cli.command {
        Command::Vm(c) => vm::run(&app, c).await,
        Command::Host(c) => host::run(&app, c).await,
        Command::Image(c) => image::run(&app, c).await,
        Command::Network(c) => network::run(&app, c).await,
        Command::Template(c) => template::run(&app, c).await,
        Command::DataStore(c) => data_store::run(&app, c).await,
        Command::Task(c) => task::run(&app, c).await,
        Command::Event(c) => event::run(&app, c).await,
        Command::Audit(c) => audit::run(&app, c).await,
        Command::User(c) => user::run(&app, c).await,
        Command::Role(c) => role::run(&app, c).await,
        Command::Schedule(c) => schedule::run(&app, c).await,
        Command::Token(c) => token::run(&app, c).await,
        Command::Context(c) => context::run(&app, c),
        Command::Login(c) => session::login(&app, c).await,
        Command::Logout(c) => session::logout(&app, c).await,
        Command::Whoami(c) => session::whoami(&app, c).await,
        Command::Passwd(c) => session::passwd(&app, c).await,
        Command::System(c) => system::run(&app, c).await,
        Command::Api(c) => api::run(&app, c).await,
        Command::Completion(c) => completion::run(&c),
        Command::Version(c) => system::version(&app, c).await,
        Command::List(c) => vm::list(&app, c).await,
        Command::Start(c) => vm::power::start(&app, c).await,
        Command::Stop(c) => vm::power::shutdown(&app, c).await,
        Command::Console(c) => vm::console::run(&app, c).await,
    }
}
