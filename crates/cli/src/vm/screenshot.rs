//! `vm screenshot`.

use crate::app::App;
use crate::client;
use crate::error::{Failure, Result};
use crate::output;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

/// Options of `screenshot`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  virga vm screenshot web-1\n  virga vm screenshot web-1 -O /tmp/web-1.png\n  virga vm screenshot web-1 -O - | display")]
pub(crate) struct Args {
    /// Name or id.
    vm: String,
    /// File to write, - for stdout; the VM's name with .png when left out.
    #[arg(short = 'O', long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// `vm screenshot`.
pub(crate) async fn run(app: &App, a: Args) -> Result {
    let to_stdout = a.out.as_deref() == Some(Path::new("-"));
    if to_stdout && std::io::stdout().is_terminal() {
        return Err(Failure::usage("a picture would only disturb the terminal").hint("give a file with -O FILE"));
    }
    let png = client::bytes(app.api()?.v1.vm_screenshot().vm(&a.vm).send().await).await?;
    if to_stdout {
        return Ok(std::io::stdout().lock().write_all(&png)?);
    }
    let file = a.out.unwrap_or_else(|| PathBuf::from(format!("{}.png", a.vm.replace('/', "_"))));
    std::fs::write(&file, &png).map_err(|e| Failure::failed(format!("{}: {e}", file.display())))?;
    output::print_line(&file.display().to_string())
}
