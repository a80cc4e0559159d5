//! `virga completion`.

use crate::args::Cli;
use crate::error::Result;
use clap::CommandFactory;
use clap_complete::Shell;

/// Options of `completion`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  virga completion bash > ~/.local/share/bash-completion/completions/virga\n  virga completion zsh > ~/.zfunc/_virga\n  virga completion fish > ~/.config/fish/completions/virga.fish"
)]
pub(crate) struct Args {
    /// Which shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// `virga completion`.
pub(crate) fn run(a: &Args) -> Result {
    let mut script = Vec::new();
    clap_complete::generate(a.shell, &mut Cli::command(), "virga", &mut script);
    crate::output::print(&String::from_utf8_lossy(&script))
}
