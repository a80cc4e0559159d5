//! Running a program on foreign content: with bounds on what it uses, no network, and no files but those it is given.
//!
//! Three layers, each good without the others. Resource limits (`prlimit`). Landlock: the kernel lets the program open
//! the system's programs and libraries, and the files that are named here; nothing else, and no TCP. A network namespace
//! of its own where the agent may make one. All of it belongs to a thread that lives only until the program has started,
//! so that the agent itself stays as it is.

use crate::paths::text;
use crate::{Result, program};
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus,
};
use std::path::{Path, PathBuf};
use std::time::Duration;
use virga_model::Error;

/// What is asked of the kernel; it gives what it has.
const KERNEL: ABI = ABI::V6;
/// What any program needs: itself, its libraries, and how the loader finds them.
const SYSTEM: [&str; 5] = ["/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache"];
/// Devices without content.
const DEVICES: [&str; 3] = ["/dev/null", "/dev/zero", "/dev/urandom"];

/// What a program gets.
#[derive(Clone, Debug)]
pub(crate) struct Cage {
    /// Files that it may read.
    pub(crate) read: Vec<PathBuf>,
    /// Files that it may read and write; they must be there.
    pub(crate) write: Vec<PathBuf>,
    /// Bytes of address space.
    pub(crate) memory_bytes: u64,
    /// Seconds of processor time.
    pub(crate) cpu_seconds: u64,
    /// Bytes of any file that it writes.
    pub(crate) file_bytes: u64,
}

/// Runs `program`, by its whole path, in a cage.
///
/// # Errors
/// As [`program::run`], and when the cage cannot be made.
pub(crate) async fn run(program: &'static str, args: &[&str], limit: Duration, cage: Cage) -> Result<String> {
    let limits = [format!("--as={}", cage.memory_bytes), format!("--cpu={}", cage.cpu_seconds), format!("--fsize={}", cage.file_bytes)];
    let mut all: Vec<&str> = limits.iter().map(String::as_str).collect();
    all.extend(["--core=0", "--nofile=64", "--", program]);
    all.extend(args);
    let command = program::command("/usr/bin/prlimit", &all);
    let child = started(command, program, cage).await?;
    program::ended(child, program, limit).await
}

/// Runs `qemu-img` in a cage, which it may be in for four times its processor time.
///
/// # Errors
/// As [`run`].
pub(crate) async fn qemu_img(args: &[&str], cage: Cage) -> Result<()> {
    let limit = Duration::from_secs(4 * cage.cpu_seconds);
    run("/usr/bin/qemu-img", args, limit, cage).await.map(drop)
}

/// How `qemu-img --image-opts` is told of a file: driver and protocol are both given, nothing is left to be guessed. `more`
/// are options of the driver, each with a comma before it.
///
/// # Errors
/// `HostFailed` when the path is no text.
pub(crate) fn image_opts(driver: &str, more: &str, file: &Path) -> Result<String> {
    // A comma would end the name.
    Ok(format!("driver={driver}{more},file.driver=file,file.filename={}", text(file)?.replace(',', ",,")))
}

/// Starts the program from a thread that is locked up for good before.
async fn started(mut command: tokio::process::Command, program: &'static str, cage: Cage) -> Result<tokio::process::Child> {
    let runtime = tokio::runtime::Handle::current();
    let (tell, told) = tokio::sync::oneshot::channel();
    let work = move || {
        let _inside = runtime.enter();
        let child = close(&cage).and_then(|()| command.spawn().map_err(|e| program::not_started(program, &e)));
        // Nobody listens when the caller gave up; the child dies with the value then.
        let _ = tell.send(child);
    };
    std::thread::Builder::new().name("confined".into()).spawn(work).map_err(|e| program::not_started(program, &e))?;
    told.await.map_err(|_| Error::internal("The thread that starts confined programs broke off."))?
}

/// Takes from this thread, and from what it starts, all that is not in the cage.
fn close(cage: &Cage) -> Result<()> {
    // SAFETY: a network namespace of its own takes nothing away that other threads use: it is this thread's alone.
    if let Err(e) = unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) } {
        tracing::debug!(error = %e, "no network namespace for a confined program");
    }
    let status = landlock(cage).map_err(|e| {
        Error::host(format!("A program for foreign content cannot be confined: {e}.")).with_hint("The host's kernel refuses Landlock rules; look at its log.")
    })?;
    if status == RulesetStatus::NotEnforced {
        tracing::warn!("the kernel has no Landlock: programs for foreign content run with limits only");
    }
    Ok(())
}

fn landlock(cage: &Cage) -> std::result::Result<RulesetStatus, Box<dyn std::error::Error + Send + Sync>> {
    let (read, run) = (BitFlags::from(AccessFs::ReadFile), AccessFs::from_read(KERNEL));
    let write = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::Truncate;
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(KERNEL))?
        .handle_access(AccessNet::from_all(KERNEL))?
        .scope(landlock::Scope::from_all(KERNEL))?
        .create()?;
    let system = SYSTEM.iter().map(|p| (Path::new(p), run)).chain(DEVICES.iter().map(|p| (Path::new(p), read | AccessFs::WriteFile)));
    for (path, access) in system.filter(|(p, _)| p.exists()) {
        // A file has no folder to be listed.
        let access = if path.is_dir() { access } else { access & AccessFs::from_file(KERNEL) };
        rules = rules.add_rule(PathBeneath::new(PathFd::new(path)?, access))?;
    }
    for (path, access) in cage.read.iter().map(|p| (p, read)).chain(cage.write.iter().map(|p| (p, write))) {
        rules = rules.add_rule(PathBeneath::new(PathFd::new(path)?, access))?;
    }
    Ok(rules.restrict_self()?.ruleset)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cage(read: &Path, write: &Path) -> Cage {
        Cage { read: vec![read.into()], write: vec![write.into()], memory_bytes: 1 << 30, cpu_seconds: 30, file_bytes: 1 << 20 }
    }

    const SOON: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_confined_program_has_its_files_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let [input, output, other] = ["input", "output", "other"].map(|n| dir.path().join(n));
        for f in [&input, &output, &other] {
            std::fs::write(f, "content").unwrap();
        }
        let cage = cage(&input, &output);
        let sh = async |script: &str| {
            let [i, o, x] = [&input, &output, &other].map(|p| p.to_str().unwrap());
            run("/usr/bin/sh", &["-c", script, "sh", i, o, x], SOON, cage.clone()).await
        };
        assert_eq!(sh("cat \"$1\"").await.unwrap(), "content");
        sh("echo new > \"$2\"").await.unwrap();
        assert_eq!(std::fs::read_to_string(&output).unwrap(), "new\n");
        for (script, why) in [
            ("cat /etc/passwd", "ermission denied"),
            ("cat \"$3\"", "ermission denied"),
            ("cat /proc/self/environ", "ermission denied"),
            ("echo x > \"$1\"", "ermission denied"),
            ("echo x > \"$3\"", "ermission denied"),
            ("rm \"$2\"", "ermission denied"),
            ("ln -s /etc/passwd \"$3.link\"", "ermission denied"),
            ("head -c 2000000 /dev/zero > \"$2\"", ""),
        ] {
            let e = sh(script).await.expect_err(script);
            assert!(e.message.contains(why), "{script}: {e}");
        }
        assert_eq!(std::fs::read_to_string(&other).unwrap(), "content");
        assert!(std::fs::metadata(&output).unwrap().len() <= 1 << 20, "the limit of a file holds");
        // The agent itself is as free as before.
        assert!(std::fs::read_to_string("/etc/passwd").is_ok());
        assert_eq!(program::run("/usr/bin/cat", &[other.to_str().unwrap()], SOON).await.unwrap(), "content");
    }

    #[tokio::test]
    async fn a_confined_program_has_bounds_and_no_network() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let f = tempfile::NamedTempFile::new().unwrap();
        let cage = cage(f.path(), f.path());
        let call = format!("exec 3<>/dev/tcp/127.0.0.1/{port}");
        program::run("/usr/bin/bash", &["-c", &call], SOON).await.expect("the port is open for who is free");
        let refused = run("/usr/bin/bash", &["-c", &call], SOON, cage.clone()).await.unwrap_err();
        assert!(["ermission denied", "unreachable"].iter().any(|w| refused.message.contains(w)), "{refused}");
        let greedy = Cage { memory_bytes: 64 << 20, ..cage.clone() };
        assert!(run("/usr/bin/bash", &["-c", "x=$(head -c 200000000 /dev/zero | tr '\\0' x); echo ${#x}"], SOON, greedy).await.is_err());
        let busy = Cage { cpu_seconds: 1, ..cage };
        assert!(run("/usr/bin/bash", &["-c", "while :; do :; done"], SOON, busy).await.unwrap_err().message.contains("signal"));
    }
}
