//! The lines that wait to be written: bounded, allocated beforehand, and exactly counted by kind.
#![forbid(unsafe_code)]

use std::io;
use std::ops::Range;

use memmap2::MmapMut;

use crate::signal::{Kind, PerKind};

/// No line is shorter, so that room for the lines' kinds can be set aside.
const SHORTEST_LINE: usize = 32;

/// Lines that are written together, and the kind of each; a line that is nobody's attack has none.
pub struct Lines {
    /// Mapped, not allocated, so that memory which was never needed never becomes resident.
    bytes: MmapMut,
    len: usize,
    kinds: Vec<Option<Kind>>,
}

impl Lines {
    /// Room for so many bytes.
    pub fn with_capacity(bytes: usize) -> io::Result<Lines> {
        let map = MmapMut::map_anon(bytes)?;
        // A huge page takes long to clear, on the thread that the whole switch waits for. Where there are
        // none, there is nothing to ask for.
        let _ = map.advise(memmap2::Advice::NoHugePage);
        Ok(Lines { bytes: map, len: 0, kinds: Vec::with_capacity(bytes / SHORTEST_LINE) })
    }

    /// All the lines.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// How many lines there are.
    pub fn count(&self) -> usize {
        self.kinds.len()
    }

    /// How many of these lines there are of each kind.
    pub fn count_kinds(&self, lines: Range<usize>) -> PerKind<u64> {
        let mut counts = [0; Kind::COUNT];
        for kind in self.kinds[lines].iter().flatten() {
            counts[*kind as usize] += 1;
        }
        counts
    }

    /// How much there is room for.
    pub fn capacity(&self) -> usize {
        self.bytes.len()
    }

    /// Makes room for others.
    pub fn clear(&mut self) {
        self.len = 0;
        self.kinds.clear();
    }

    /// Appends what `write` writes, wholly or not at all.
    fn push(
        &mut self,
        limit: usize,
        kind: Option<Kind>,
        write: impl FnOnce(&mut &mut [u8]) -> io::Result<()>,
    ) -> bool {
        let end = limit.min(self.bytes.len());
        if self.len >= end || self.kinds.len() == self.kinds.capacity() {
            return false;
        }
        let mut free = &mut self.bytes[self.len..end];
        if write(&mut free).is_err() {
            return false;
        }
        let left = free.len();
        self.len = end - left;
        self.kinds.push(kind);
        true
    }
}

/// What became of the signals of one kind: `seen` is always `written + waiting + dropped`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Signals that the settings have logged.
    pub seen: u64,
    /// Lines in the file.
    pub written: u64,
    /// Lines that there was no room for, or no file until the end.
    pub dropped: u64,
}

impl Tally {
    /// Lines in memory.
    pub fn waiting(&self) -> u64 {
        self.seen - self.written - self.dropped
    }
}

/// The lines that handlers append to, beside those that the writer has taken.
pub struct Queue {
    filling: Lines,
    /// Bytes that the writer has taken and not written yet; they count against the capacity.
    taken: usize,
    capacity: usize,
    /// What became of each kind.
    pub tally: PerKind<Tally>,
    /// Drops that no line in the log and no warning has told yet.
    pub untold: PerKind<u64>,
}

impl Queue {
    /// At most `capacity` bytes wait.
    pub fn new(capacity: usize) -> io::Result<Queue> {
        Ok(Queue {
            filling: Lines::with_capacity(capacity)?,
            taken: 0,
            capacity,
            tally: Default::default(),
            untold: [0; Kind::COUNT],
        })
    }

    /// Appends the line of a signal, or counts it as dropped.
    pub fn push(&mut self, kind: Kind, write: impl FnOnce(&mut &mut [u8]) -> io::Result<()>) {
        let limit = self.capacity.saturating_sub(self.taken);
        let pushed = self.filling.push(limit, Some(kind), write);
        let tally = &mut self.tally[kind as usize];
        tally.seen += 1;
        if !pushed {
            tally.dropped += 1;
            self.untold[kind as usize] += 1;
        }
    }

    /// Appends a line that is no signal; whether there was room.
    pub fn push_note(&mut self, write: impl FnOnce(&mut &mut [u8]) -> io::Result<()>) -> bool {
        let limit = self.capacity.saturating_sub(self.taken);
        self.filling.push(limit, None, write)
    }

    /// Whether no line waits for the writer to take it.
    pub fn is_empty(&self) -> bool {
        self.filling.len == 0
    }

    /// Bytes that wait, taken or not.
    pub fn waiting_bytes(&self) -> usize {
        self.filling.len + self.taken
    }

    /// The most bytes that may wait.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Changes how many bytes may wait; memory follows at the next turns of [`Queue::take`].
    pub fn set_capacity(&mut self, capacity: usize) {
        self.capacity = capacity;
    }

    /// Gives the lines that wait, in exchange for room for the next ones.
    pub fn take(&mut self, spare: &mut Lines) {
        debug_assert_eq!(spare.len, 0, "lines that nobody has written");
        std::mem::swap(&mut self.filling, spare);
        self.taken = spare.len;
    }

    /// The writer has put so many lines into the file, and still has so many bytes to write.
    pub fn wrote(&mut self, lines: &PerKind<u64>, bytes_left: usize) {
        for (tally, lines) in self.tally.iter_mut().zip(lines) {
            tally.written += lines;
        }
        self.taken = bytes_left;
    }

    /// So many lines, of those taken, will never be written.
    pub fn gave_up(&mut self, lines: &PerKind<u64>) {
        for (tally, lines) in self.tally.iter_mut().zip(lines) {
            tally.dropped += lines;
        }
        for (untold, lines) in self.untold.iter_mut().zip(lines) {
            *untold += lines;
        }
        self.taken = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn push(queue: &mut Queue, line: &[u8]) {
        queue.push(Kind::RegisterFailure, |out| out.write_all(line));
    }

    #[test]
    fn what_does_not_fit_is_counted_and_leaves_no_torn_line() {
        let mut queue = Queue::new(100).unwrap();
        for _ in 0..5 {
            push(&mut queue, &[b'a'; 40]);
        }
        assert_eq!(queue.waiting_bytes(), 80);
        let tally = queue.tally[Kind::RegisterFailure as usize];
        assert_eq!((tally.seen, tally.waiting(), tally.dropped), (5, 2, 3));
        let mut lines = Lines::with_capacity(100).unwrap();
        queue.take(&mut lines);
        assert_eq!(lines.bytes(), [b'a'; 80]);
        assert_eq!(lines.count(), 2);
    }

    #[test]
    fn lines_that_the_writer_has_taken_count_against_the_capacity() {
        let mut queue = Queue::new(100).unwrap();
        let mut lines = Lines::with_capacity(100).unwrap();
        push(&mut queue, &[b'a'; 80]);
        queue.take(&mut lines);
        push(&mut queue, &[b'b'; 40]);
        assert_eq!(queue.tally[Kind::RegisterFailure as usize].dropped, 1);
        queue.wrote(&lines.count_kinds(0..lines.count()), 0);
        push(&mut queue, &[b'b'; 40]);
        let tally = queue.tally[Kind::RegisterFailure as usize];
        assert_eq!((tally.seen, tally.written, tally.waiting(), tally.dropped), (3, 1, 1, 1));
    }
}
