//! A connection that does not wait for ever: for its first bytes, for a reader that does not read, and for its end.
//!
//! Deadlines of heads are hyper's, of bodies `answer`'s. This must never look at what goes through it.

use super::limits::{Deadlines, LINGER_BYTES_MAX, SLOWEST_READER_BYTES};
use std::io::{Error, ErrorKind, Result};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Duration, Instant, Sleep};

/// Bytes that must come before anything else may take its time: less than the shortest request.
const FIRST_BYTES: usize = 16;

/// A stream with deadlines.
pub struct Guarded<S> {
    inner: S,
    deadlines: Deadlines,
    /// Until when the first bytes must be there, and how many are missing.
    first: Option<(Pin<Box<Sleep>>, usize)>,
    /// Since a write could not go on: until when enough must have gone out, and how much has.
    stalled: Option<(Pin<Box<Sleep>>, usize)>,
    /// After our end was closed: until when we wait for theirs, and how much we still throw away.
    lingering: Option<(Pin<Box<Sleep>>, usize)>,
}

impl<S> Guarded<S> {
    /// `inner` under `deadlines`.
    pub fn new(inner: S, deadlines: Deadlines) -> Guarded<S> {
        let first = Some((timer(deadlines.head), FIRST_BYTES));
        Guarded { inner, deadlines, first, stalled: None, lingering: None }
    }

    /// A write went out, or could not.
    fn wrote(&mut self, cx: &mut Context<'_>, written: Poll<Result<usize>>) -> Poll<Result<usize>> {
        match &written {
            Poll::Ready(Ok(n)) => {
                if let Some((_, sent)) = &mut self.stalled {
                    *sent += n;
                    if *sent >= SLOWEST_READER_BYTES {
                        self.stalled = None;
                    }
                }
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => {
                let stall = self.deadlines.stall;
                let (timer, _) = self.stalled.get_or_insert_with(|| (timer(stall), 0));
                if timer.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Err(Error::new(ErrorKind::TimedOut, "the reader is too slow")));
                }
            }
        }
        written
    }
}

fn timer(after: Duration) -> Pin<Box<Sleep>> {
    Box::pin(tokio::time::sleep_until(Instant::now() + after))
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(cx, buf);
        let Some((timer, missing)) = &mut self.first else { return read };
        *missing = missing.saturating_sub(buf.filled().len() - before);
        if *missing == 0 {
            self.first = None;
        } else if read.is_pending() && timer.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(Error::new(ErrorKind::TimedOut, "no request came")));
        }
        read
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.wrote(cx, written)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[std::io::IoSlice<'_>]) -> Poll<Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.wrote(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        match Pin::new(&mut self.inner).poll_flush(cx) {
            Poll::Ready(r) => {
                // Everything has gone out: the reader is not behind.
                self.stalled = None;
                Poll::Ready(r)
            }
            Poll::Pending => self.wrote(cx, Poll::Pending).map(|r| r.map(|_| ())),
        }
    }

    /// Closes our end and reads on for a moment: a caller who is still sending would otherwise be cut off by the kernel
    /// before having read our refusal.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.lingering.is_none() {
            match Pin::new(&mut self.inner).poll_shutdown(cx) {
                Poll::Ready(Ok(())) => self.lingering = Some((timer(self.deadlines.linger), LINGER_BYTES_MAX)),
                Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
                Poll::Pending => return self.wrote(cx, Poll::Pending).map(|r| r.map(|_| ())),
            }
        }
        let mut space = [0_u8; 8192];
        loop {
            let me = &mut *self;
            let Some((timer, left)) = &mut me.lingering else { return Poll::Ready(Ok(())) };
            if *left == 0 || timer.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            let mut buf = ReadBuf::new(&mut space);
            match Pin::new(&mut me.inner).poll_read(cx, &mut buf) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => *left = left.saturating_sub(buf.filled().len()),
                Poll::Ready(_) => return Poll::Ready(Ok(())),
            }
        }
    }
}
