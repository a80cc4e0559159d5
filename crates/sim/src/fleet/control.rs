//! The control socket: the fleet's side, which does what is asked, and the caller's.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use virga_model::Error;
use virga_model::vm::VmState;

use super::Fleet;
use super::machine::Machine;
use super::protocol::{Agent, Answer, GuestEvent, LINE_BYTES_MAX, Request, SOCKET, Target};

/// Opens the socket in `state`; a socket that a former fleet left is replaced.
///
/// # Errors
/// The socket cannot be made.
pub fn open(state: &Path) -> Result<UnixListener, Error> {
    let path = state.join(SOCKET);
    let failed = |e: std::io::Error| Error::host(format!("The control socket {} cannot be made: {e}.", path.display()));
    if std::os::unix::net::UnixStream::connect(&path).is_ok() {
        return Err(
            Error::conflict(format!("Another virga-fleet uses the state folder {}.", state.display())).with_hint("End it, or give another --state-dir.")
        );
    }
    let _ = std::fs::remove_file(&path);
    // The folder has mode 0700, so nobody else gets in between these two lines.
    let listener = UnixListener::bind(&path).map_err(failed)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}

/// Does what is asked on the socket, until the task is dropped.
pub async fn serve(fleet: Arc<Fleet>, listener: UnixListener) {
    while let Ok((socket, _)) = listener.accept().await {
        tokio::spawn(talk(fleet.clone(), socket));
    }
}

async fn talk(fleet: Arc<Fleet>, socket: UnixStream) {
    let (read, mut write) = socket.into_split();
    let mut lines = tokio::io::BufReader::new(read.take(LINE_BYTES_MAX)).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let answer = match serde_json::from_str(&line) {
            Ok(request) => act(&fleet, request).await,
            Err(e) => Answer::Refused { message: format!("The line is no request: {e}.") },
        };
        let Ok(mut text) = serde_json::to_vec(&answer) else { return };
        text.push(b'\n');
        if write.write_all(&text).await.is_err() {
            return;
        }
        lines.get_mut().get_mut().set_limit(LINE_BYTES_MAX);
    }
}

/// Does what is asked.
pub async fn act(fleet: &Fleet, request: Request) -> Answer {
    match request {
        Request::Status => Answer::Status(fleet.status()),
        Request::List => Answer::Hosts { hosts: fleet.machines.iter().map(|m| m.status()).collect() },
        Request::Power { target, state } => each(fleet, &target, |m| m.power(state)),
        Request::Network { target, state } => each(fleet, &target, |m| m.set_network(state)),
        Request::Storage { target, state } => each(fleet, &target, |m| m.set_storage(state)),
        Request::Shares { target, fault } => each(fleet, &target, |m| m.host.set_faults(|f| f.shares = fault)),
        Request::Libvirt { target, state } => each(fleet, &target, |m| m.set_libvirt(state)),
        Request::Agent { target, state: Agent::Kill } => each(fleet, &target, |m| m.kill_agent()),
        Request::Agent { target, state: Agent::Start } => start_agents(fleet, &target).await,
        Request::Guest { vm, event } => guest(fleet, &vm, event),
    }
}

fn chosen(fleet: &Fleet, target: &Target) -> Result<Vec<Arc<Machine>>, String> {
    let all = || fleet.machines.iter();
    let found: Vec<Arc<Machine>> = match target {
        Target::All => all().cloned().collect(),
        Target::Rack(rack) => all().filter(|m| m.rack == *rack).cloned().collect(),
        Target::Hosts(names) => {
            if let Some(unknown) = names.iter().find(|n| !all().any(|m| m.name == **n)) {
                return Err(format!("There is no machine {unknown}. `virga-fleet break list` shows all."));
            }
            all().filter(|m| names.contains(&m.name)).cloned().collect()
        }
    };
    if found.is_empty() { Err("No machine was named. Name machines, or give --rack or --all.".into()) } else { Ok(found) }
}

fn each(fleet: &Fleet, target: &Target, act: impl Fn(&Arc<Machine>)) -> Answer {
    match chosen(fleet, target) {
        Ok(machines) => {
            machines.iter().for_each(act);
            Answer::Done { hosts: machines.iter().map(|m| m.name.clone()).collect() }
        }
        Err(message) => Answer::Refused { message },
    }
}

async fn start_agents(fleet: &Fleet, target: &Target) -> Answer {
    let machines = match chosen(fleet, target) {
        Ok(m) => m,
        Err(message) => return Answer::Refused { message },
    };
    for m in &machines {
        if let Err(e) = m.start_agent().await {
            return Answer::Refused { message: format!("{}: {e}", m.name) };
        }
    }
    Answer::Done { hosts: machines.iter().map(|m| m.name.clone()).collect() }
}

fn guest(fleet: &Fleet, vm: &str, event: GuestEvent) -> Answer {
    let Some((machine, id)) = fleet.machines.iter().find_map(|m| m.host.find(vm).map(|id| (m, id))) else {
        return Answer::Refused { message: format!("No machine has a VM {vm}.") };
    };
    let state = match event {
        GuestEvent::Crash => VmState::Crashed,
        GuestEvent::Shutdown => VmState::Stopped,
    };
    if machine.host.guest_ends(id, state) {
        Answer::Done { hosts: vec![machine.name.clone()] }
    } else {
        Answer::Refused { message: format!("VM {vm} does not run, so nothing can happen in it.") }
    }
}

/// Asks the fleet whose state folder this is.
///
/// # Errors
/// Unavailable, when no fleet runs there.
pub fn ask(state: &Path, request: &Request) -> Result<Answer, Error> {
    let path = state.join(SOCKET);
    let failed = |e: std::io::Error| {
        Error::unavailable(format!("No fleet answers at {}: {e}.", path.display()))
            .with_hint("Start one with `make demo` or `virga-fleet run`, or give its --state-dir.")
    };
    let mut socket = std::os::unix::net::UnixStream::connect(&path).map_err(failed)?;
    let mut line = serde_json::to_vec(request).map_err(|e| Error::internal(e.to_string()))?;
    line.push(b'\n');
    socket.write_all(&line).map_err(failed)?;
    let mut answer = String::new();
    // A list of machines is longer than any request.
    BufReader::new(socket.take(LINE_BYTES_MAX * 16)).read_line(&mut answer).map_err(failed)?;
    serde_json::from_str(&answer).map_err(|e| Error::internal(format!("The fleet's answer cannot be read: {e}.")))
}
