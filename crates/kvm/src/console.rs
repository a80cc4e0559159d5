//! Byte streams to a guest's screen (RFB) and serial port.

use crate::domain_xml_read::{serial_pty, vnc_socket};
use crate::xml::El;
use crate::{Result, blocking};
use rustix::fs::{FlockOperation, Mode, OFlags};
use std::io::{Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use virga_agent::host::Duplex;
use virga_model::Error;
use virga_model::user::ConsoleKind;

/// Opens a console of the running domain `live`.
pub async fn open(live: &El, kind: ConsoleKind) -> Result<Box<dyn Duplex>> {
    match kind {
        ConsoleKind::Vnc => {
            let path = vnc_socket(live).ok_or_else(|| Error::host("The VM has no screen on a socket.").with_hint("Restart the VM."))?;
            let connecting = tokio::time::timeout(Duration::from_secs(5), tokio::net::UnixStream::connect(path));
            let stream = connecting.await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
            Ok(Box::new(stream.map_err(|e| Error::host(format!("The VM's screen cannot be reached: {e}.")))?))
        }
        ConsoleKind::Serial => {
            let path = serial_pty(live).ok_or_else(|| Error::host("The VM has no serial port on a terminal.").with_hint("Restart the VM."))?.to_string();
            let file = blocking(move || terminal(&path)).await?;
            // SAFETY: a `File` owns its descriptor, gives the same one each time, and lives as long as the registration.
            let fd = unsafe { AsyncFd::register(file) }.map_err(|e| Error::host(format!("The serial port cannot be watched: {e}.")))?;
            Ok(Box::new(Terminal(fd)))
        }
    }
}

/// Opens a pseudo terminal raw, without blocking and for us alone: two readers would each get half of the bytes.
fn terminal(path: &str) -> Result<std::fs::File> {
    let cannot = |e: rustix::io::Errno| Error::host(format!("The VM's serial port cannot be opened: {e}."));
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(cannot)?;
    if !rustix::termios::isatty(&fd) {
        return Err(Error::host("The VM's serial port is not a terminal."));
    }
    rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| Error::conflict("The VM's serial console is in use by somebody else.").with_hint("Close the other serial console first."))?;
    let mut settings = rustix::termios::tcgetattr(&fd).map_err(cannot)?;
    settings.make_raw();
    rustix::termios::tcsetattr(&fd, rustix::termios::OptionalActions::Now, &settings).map_err(cannot)?;
    Ok(fd.into())
}

struct Terminal(AsyncFd<std::fs::File>);

impl AsyncRead for Terminal {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        loop {
            let mut guard = ready!(self.0.poll_read_ready(cx))?;
            match guard.try_io(|fd| fd.get_ref().read(buf.initialize_unfilled())) {
                Ok(Ok(n)) => {
                    buf.advance(n);
                    return Poll::Ready(Ok(()));
                }
                // What a terminal says when its other end is gone: the guest's QEMU has ended.
                Ok(Err(e)) if e.raw_os_error() == Some(libc::EIO) => return Poll::Ready(Ok(())),
                Ok(Err(e)) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Ok(Err(e)) => return Poll::Ready(Err(e)),
                Err(_) => {}
            }
        }
    }
}

impl AsyncWrite for Terminal {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<std::io::Result<usize>> {
        loop {
            let mut guard = ready!(self.0.poll_write_ready(cx))?;
            match guard.try_io(|fd| fd.get_ref().write(data)) {
                Ok(Err(e)) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Ok(done) => return Poll::Ready(done),
                Err(_) => {}
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
