//! Running other programs: never through a shell, with a clean environment, nothing to read, bounded time and output.

use crate::Result;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use virga_model::{Error, ErrorCode};

/// Most bytes of output that are kept.
const OUTPUT_BYTES_MAX: u64 = 1 << 20;
/// Where programs are looked for.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs `program` and gives what it wrote to standard output.
///
/// # Errors
/// `HostFailed` with what it wrote to standard error; `Unavailable` when it did not end in time (it is killed then).
pub async fn run(program: &str, args: &[&str], limit: Duration) -> Result<String> {
    let child = command(program, args).spawn().map_err(|e| not_started(program, &e))?;
    ended(child, program, limit).await
}

/// How every program is run.
pub fn command(program: &str, args: &[&str]) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(program);
    command.args(args).env_clear().env("PATH", PATH).env("LC_ALL", "C");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).current_dir("/");
    command
}

/// The error of a program that cannot be started.
pub fn not_started(program: &str, e: &std::io::Error) -> Error {
    Error::host(format!("The program {program} cannot be run: {e}.")).with_hint("Is the package that holds it installed on the host?")
}

/// Waits for the end of a program, and gives what it wrote to standard output.
///
/// # Errors
/// As [`run`].
pub async fn ended(mut child: tokio::process::Child, program: &str, limit: Duration) -> Result<String> {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let work = async {
        let read_out = async {
            if let Some(s) = stdout {
                let _ = s.take(OUTPUT_BYTES_MAX).read_to_end(&mut out).await;
            }
        };
        let read_err = async {
            if let Some(s) = stderr {
                let _ = s.take(OUTPUT_BYTES_MAX).read_to_end(&mut err).await;
            }
        };
        tokio::join!(read_out, read_err);
        child.wait().await
    };
    let Ok(ended) = tokio::time::timeout(limit, work).await else {
        return Err(Error::new(ErrorCode::Unavailable, format!("{program} has not ended within {} s and was stopped.", limit.as_secs()))
            .with_hint("The host's storage or network services may hang; look at the host."));
    };
    let status = ended.map_err(|e| Error::host(format!("{program} cannot be waited for: {e}.")))?;
    if !status.success() {
        let said: String = String::from_utf8_lossy(&err).split_whitespace().collect::<Vec<_>>().join(" ").chars().take(600).collect();
        return Err(Error::host(format!("{program} failed ({status}): \"{said}\".")));
    }
    Ok(String::from_utf8_lossy(&out).into_owned())
}
