//! How the inspector reads: at offsets, checked, and never more than a fixed amount for any file.

use crate::error::Error;

/// Most bytes that are read of one file.
const BYTES_MAX: u64 = 256 << 20;
/// Most reads of one file.
const READS_MAX: u32 = 200_000;
/// Bytes of a table that are looked at in one go.
const PIECE_BYTES: u64 = 64 * 1024;

/// Something that can be read at any offset: a file, or bytes in memory.
pub trait ReadAt {
    /// Fills `out` from `offset` on. Asked only for what lies within the length that [`super::inspect`] was given.
    ///
    /// # Errors
    /// What the reader of the inspection gets to see; the inspection ends with it.
    fn read_at(&mut self, offset: u64, out: &mut [u8]) -> Result<(), Error>;
}

impl<F: FnMut(u64, &mut [u8]) -> Result<(), Error>> ReadAt for F {
    fn read_at(&mut self, offset: u64, out: &mut [u8]) -> Result<(), Error> {
        self(offset, out)
    }
}

impl ReadAt for &[u8] {
    fn read_at(&mut self, offset: u64, out: &mut [u8]) -> Result<(), Error> {
        let from = usize::try_from(offset).ok();
        let found = from.and_then(|at| self.get(at..at.checked_add(out.len())?));
        let Some(found) = found else { return Err(Error::internal("The inspector read behind the end of an image.")) };
        out.copy_from_slice(found);
        Ok(())
    }
}

/// Why an inspection stopped.
pub(crate) enum Stop {
    /// The file is refused; the rest of a sentence that begins with the file.
    Refused(String),
    /// The file could not be read.
    Failed(Error),
    /// What is needed has not arrived yet.
    Later,
}

impl Stop {
    /// What it comes to where nothing can be waited for.
    pub(crate) fn into_error(self) -> Error {
        match self {
            Stop::Refused(why) => Error::invalid("content", why),
            Stop::Failed(e) => e,
            Stop::Later => Error::internal("The inspector read behind the end of an image."),
        }
    }

    /// The same of a file within another: `outer` begins the sentence.
    pub(crate) fn within(self, outer: &str) -> Stop {
        match self {
            Stop::Refused(why) => Stop::Refused(format!("{outer} {why}")),
            other => other,
        }
    }
}

/// What a parser gives.
pub(crate) type Seen<T> = Result<T, Stop>;

/// Refuses the file.
pub(crate) fn refuse<T>(why: impl Into<String>) -> Seen<T> {
    Err(Stop::Refused(why.into()))
}

/// Refuses the file unless `holds`.
pub(crate) fn must(holds: bool, why: &str) -> Seen<()> {
    if holds { Ok(()) } else { refuse(why) }
}

/// What an inspection comes to for the caller.
pub(crate) fn answer<T>(seen: Seen<T>) -> Result<Option<T>, Error> {
    match seen {
        Ok(i) => Ok(Some(i)),
        Err(Stop::Refused(why)) => Err(Error::invalid("content", why)),
        Err(Stop::Failed(e)) => Err(e),
        Err(Stop::Later) => Ok(None),
    }
}

/// A file under inspection.
pub(crate) struct Reader<'a> {
    source: &'a mut dyn ReadAt,
    /// Where the file begins in what `source` reads.
    base: u64,
    length: u64,
    arrived: u64,
    bytes_left: u64,
    reads_left: u32,
}

impl<'a> Reader<'a> {
    /// A file of `length` bytes, of which the first `arrived` are there.
    pub(crate) fn new(source: &'a mut dyn ReadAt, length: u64, arrived: u64) -> Reader<'a> {
        Reader { source, base: 0, length, arrived, bytes_left: BYTES_MAX, reads_left: READS_MAX }
    }

    /// The `bytes` from `at` on as a file of its own; the caller knows that they lie within, and takes over what is left of the
    /// bounds ([`Reader::spent`]).
    pub(crate) fn part(&mut self, at: u64, bytes: u64) -> Reader<'_> {
        let arrived = self.arrived.saturating_sub(at).min(bytes);
        Reader { base: self.base + at, length: bytes, arrived, bytes_left: self.bytes_left, reads_left: self.reads_left, source: &mut *self.source }
    }

    /// What is left of the bounds on bytes and reads.
    pub(crate) fn left(&self) -> (u64, u32) {
        (self.bytes_left, self.reads_left)
    }

    /// Goes on with what a part has left of the bounds.
    pub(crate) fn spent(&mut self, left: (u64, u32)) {
        (self.bytes_left, self.reads_left) = left;
    }

    /// Whether all of the file is there.
    pub(crate) fn is_whole(&self) -> bool {
        self.arrived >= self.length
    }

    /// Length of the file in bytes.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Whether `bytes` from `at` on lie within the file.
    pub(crate) fn holds(&self, at: u64, bytes: u64) -> bool {
        at.checked_add(bytes).is_some_and(|end| end <= self.length)
    }

    fn fill(&mut self, at: u64, out: &mut [u8]) -> Seen<()> {
        let bytes = out.len() as u64;
        must(self.holds(at, bytes), "is cut off: its header points behind its end; is the file complete?")?;
        if at + bytes > self.arrived {
            return Err(Stop::Later);
        }
        if self.reads_left == 0 || self.bytes_left < bytes {
            return refuse("has tables too large to be inspected; convert it to qcow2 yourself (qemu-img convert -O qcow2)");
        }
        (self.reads_left, self.bytes_left) = (self.reads_left - 1, self.bytes_left - bytes);
        self.source.read_at(self.base + at, out).map_err(Stop::Failed)
    }

    /// The `N` bytes at `at`.
    pub(crate) fn array<const N: usize>(&mut self, at: u64) -> Seen<[u8; N]> {
        let mut out = [0; N];
        self.fill(at, &mut out)?;
        Ok(out)
    }

    /// `bytes` at `at`; the caller has bounded them.
    pub(crate) fn vec(&mut self, at: u64, bytes: usize) -> Seen<Vec<u8>> {
        let mut out = vec![0; bytes];
        self.fill(at, &mut out)?;
        Ok(out)
    }

    /// Gives each entry of a table of `entries` numbers of `W` bytes to `each`, with its index.
    pub(crate) fn table<const W: usize>(&mut self, at: u64, entries: u64, mut each: impl FnMut(u64, [u8; W]) -> Seen<()>) -> Seen<()> {
        let whole = entries.checked_mul(W as u64).is_some_and(|bytes| self.holds(at, bytes));
        must(whole, "is cut off: one of its tables goes beyond its end; is the file complete?")?;
        let in_a_piece = PIECE_BYTES / W as u64;
        let mut index = 0;
        while index < entries {
            let count = in_a_piece.min(entries - index);
            // At most PIECE_BYTES, so it fits.
            let piece = self.vec(at + index * W as u64, usize::try_from(count * W as u64).unwrap_or(0))?;
            for entry in piece.chunks_exact(W) {
                let Ok(entry) = entry.try_into() else { continue };
                each(index, entry)?;
                index += 1;
            }
        }
        Ok(())
    }
}

/// The big-endian number of `N` bytes at `at`; 0 beyond the end.
pub(crate) fn be(bytes: &[u8], at: usize, n: usize) -> u64 {
    bytes.get(at..at.saturating_add(n)).unwrap_or_default().iter().fold(0, |v, b| v << 8 | u64::from(*b))
}

/// The little-endian number of `N` bytes at `at`; 0 beyond the end.
pub(crate) fn le(bytes: &[u8], at: usize, n: usize) -> u64 {
    bytes.get(at..at.saturating_add(n)).unwrap_or_default().iter().rev().fold(0, |v, b| v << 8 | u64::from(*b))
}
