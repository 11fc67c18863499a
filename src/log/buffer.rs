//! The lines that wait to be written: bounded, allocated beforehand, and exactly counted by event type.
#![forbid(unsafe_code)]

use std::io;
use std::ops::Range;

use memmap2::MmapMut;

use crate::event::event_type::{EventType, PerType};

/// No line is shorter, so that room for the lines' types can be set aside.
const SHORTEST_LINE: usize = 32;

/// Lines that are written together, and the event type of each; a line of the module's own has none.
pub struct Batch {
    /// Mapped, not allocated, so that memory which was never needed never becomes resident.
    bytes: MmapMut,
    len: usize,
    types: Vec<Option<EventType>>,
}

impl Batch {
    /// Room for `bytes`.
    pub fn with_capacity(bytes: usize) -> io::Result<Batch> {
        let map = MmapMut::map_anon(bytes)?;
        // A huge page takes long to clear, on the thread that the whole switch waits for. Where there are
        // none, there is nothing to ask for.
        let _ = map.advise(memmap2::Advice::NoHugePage);
        Ok(Batch { bytes: map, len: 0, types: Vec::with_capacity(bytes / SHORTEST_LINE) })
    }

    /// All the lines.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// How many lines there are.
    pub fn count(&self) -> usize {
        self.types.len()
    }

    /// How many of these lines there are of each event type.
    pub fn count_types(&self, lines: Range<usize>) -> PerType<u64> {
        let mut counts = [0; EventType::COUNT];
        for event_type in self.types[lines].iter().flatten() {
            counts[*event_type as usize] += 1;
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
        self.types.clear();
    }

    /// Takes the lines of a smaller batch.
    fn copy_from(&mut self, smaller: &Batch) {
        self.len = smaller.len;
        self.bytes[..smaller.len].copy_from_slice(smaller.bytes());
        self.types.clear();
        self.types.extend_from_slice(&smaller.types);
    }

    /// Appends what `write` writes, wholly or not at all.
    fn push(
        &mut self,
        limit: usize,
        event_type: Option<EventType>,
        write: impl FnOnce(&mut &mut [u8]) -> io::Result<()>,
    ) -> bool {
        let end = limit.min(self.bytes.len());
        if self.len >= end || self.types.len() == self.types.capacity() {
            return false;
        }
        let mut free = &mut self.bytes[self.len..end];
        if write(&mut free).is_err() {
            return false;
        }
        let left = free.len();
        self.len = end - left;
        self.types.push(event_type);
        true
    }
}

/// What became of the events of one type: `seen` is always `written + waiting + dropped`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Events that the settings log.
    pub seen: u64,
    /// Lines in the file.
    pub written: u64,
    /// Lines that there was no room for, or no file until the end.
    pub dropped: u64,
}

impl Counters {
    /// Lines in memory.
    pub fn waiting(&self) -> u64 {
        self.seen - self.written - self.dropped
    }
}

/// The lines that handlers append to, beside those that the writer has taken.
pub struct Buffer {
    filling: Batch,
    /// Bytes that the writer has taken and not written yet; they count against the capacity.
    taken: usize,
    capacity: usize,
    /// What became of each event type.
    pub counters: PerType<Counters>,
    /// Drops that no line in the log and no warning has reported.
    pub unreported_drops: PerType<u64>,
}

impl Buffer {
    /// At most `capacity` bytes wait.
    pub fn new(capacity: usize) -> io::Result<Buffer> {
        Ok(Buffer {
            filling: Batch::with_capacity(capacity)?,
            taken: 0,
            capacity,
            counters: Default::default(),
            unreported_drops: [0; EventType::COUNT],
        })
    }

    /// Appends the line of an event, or counts it as dropped.
    pub fn push(&mut self, event_type: EventType, write: impl FnOnce(&mut &mut [u8]) -> io::Result<()>) {
        let limit = self.capacity.saturating_sub(self.taken);
        let pushed = self.filling.push(limit, Some(event_type), write);
        let counters = &mut self.counters[event_type as usize];
        counters.seen += 1;
        if !pushed {
            counters.dropped += 1;
            self.unreported_drops[event_type as usize] += 1;
        }
    }

    /// Appends a line of the module's own; whether there was room.
    pub fn push_notice(&mut self, write: impl FnOnce(&mut &mut [u8]) -> io::Result<()>) -> bool {
        let limit = self.capacity.saturating_sub(self.taken);
        self.filling.push(limit, None, write)
    }

    /// Whether no line waits for the writer to take it.
    pub fn is_empty(&self) -> bool {
        self.filling.len == 0
    }

    /// Whether to write now, however recently that was done: while much room is left, and the lines are still in the
    /// processor's cache.
    pub fn should_flush(&self) -> bool {
        self.waiting_bytes() > self.capacity / 8
    }

    /// Lines that wait, taken or not.
    pub fn waiting_lines(&self) -> u64 {
        self.counters.iter().map(Counters::waiting).sum()
    }

    /// Bytes that wait, taken or not.
    pub fn waiting_bytes(&self) -> usize {
        self.filling.len + self.taken
    }

    /// The most bytes that may wait.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Changes how many bytes may wait, at once; `room` is a new batch of that capacity. Returns what is to be freed.
    pub fn set_capacity(&mut self, capacity: usize, mut room: Batch) -> Batch {
        self.capacity = capacity;
        if room.capacity() > self.filling.capacity() {
            room.copy_from(&self.filling);
            std::mem::swap(&mut self.filling, &mut room);
        }
        // A smaller one follows at the next turns of `take`.
        room
    }

    /// Gives the lines that wait, in exchange for room for the next ones.
    pub fn take(&mut self, spare: &mut Batch) {
        debug_assert_eq!(spare.len, 0, "lines that nobody has written");
        std::mem::swap(&mut self.filling, spare);
        self.taken = spare.len;
    }

    /// The writer has put these lines into the file, and has `bytes_left` to write.
    pub fn mark_written(&mut self, lines: &PerType<u64>, bytes_left: usize) {
        for (counters, lines) in self.counters.iter_mut().zip(lines) {
            counters.written += lines;
        }
        self.taken = bytes_left;
    }

    /// These lines, of those taken, will never be written.
    pub fn mark_dropped(&mut self, lines: &PerType<u64>) {
        for (counters, lines) in self.counters.iter_mut().zip(lines) {
            counters.dropped += lines;
        }
        self.report_later(lines);
        self.taken = 0;
    }

    /// These drops are still to be reported.
    pub fn report_later(&mut self, lines: &PerType<u64>) {
        for (unreported_drops, lines) in self.unreported_drops.iter_mut().zip(lines) {
            *unreported_drops += lines;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn push(buffer: &mut Buffer, line: &[u8]) {
        buffer.push(EventType::RegisterFailure, |out| out.write_all(line));
    }

    #[test]
    fn what_does_not_fit_is_counted_and_leaves_no_torn_line() {
        let mut buffer = Buffer::new(100).unwrap();
        for _ in 0..5 {
            push(&mut buffer, &[b'a'; 40]);
        }
        assert_eq!(buffer.waiting_bytes(), 80);
        let counters = buffer.counters[EventType::RegisterFailure as usize];
        assert_eq!((counters.seen, counters.waiting(), counters.dropped), (5, 2, 3));
        assert_eq!(buffer.unreported_drops[EventType::RegisterFailure as usize], 3);
        let mut lines = Batch::with_capacity(100).unwrap();
        buffer.take(&mut lines);
        assert_eq!(lines.bytes(), [b'a'; 80]);
        assert_eq!(lines.count(), 2);
    }

    #[test]
    fn lines_that_the_writer_has_taken_count_against_the_capacity() {
        let mut buffer = Buffer::new(100).unwrap();
        let mut lines = Batch::with_capacity(100).unwrap();
        push(&mut buffer, &[b'a'; 80]);
        buffer.take(&mut lines);
        push(&mut buffer, &[b'b'; 40]);
        assert_eq!(buffer.counters[EventType::RegisterFailure as usize].dropped, 1);
        buffer.mark_written(&lines.count_types(0..lines.count()), 0);
        push(&mut buffer, &[b'b'; 40]);
        let counters = buffer.counters[EventType::RegisterFailure as usize];
        assert_eq!((counters.seen, counters.written, counters.waiting(), counters.dropped), (3, 1, 1, 1));
    }
    #[test]
    fn a_line_of_the_modules_own_waits_like_others_and_is_counted_nowhere() {
        let mut buffer = Buffer::new(100).unwrap();
        assert!(buffer.is_empty());
        assert!(buffer.push_notice(|out| out.write_all(&[b'n'; 60])));
        assert!(!buffer.push_notice(|out| out.write_all(&[b'n'; 60])));
        assert_eq!((buffer.is_empty(), buffer.waiting_bytes()), (false, 60));
        assert_eq!(buffer.counters, <PerType<Counters>>::default());
        let mut lines = Batch::with_capacity(100).unwrap();
        buffer.take(&mut lines);
        assert_eq!((lines.count(), lines.count_types(0..1)), (1, [0; EventType::COUNT]));
        assert!(buffer.is_empty());
        lines.clear();
        assert_eq!((lines.bytes(), lines.count()), (&b""[..], 0));
    }

    #[test]
    fn it_is_time_to_write_once_more_than_an_eighth_is_full() {
        let mut buffer = Buffer::new(800).unwrap();
        push(&mut buffer, &[b'a'; 50]);
        push(&mut buffer, &[b'a'; 50]);
        assert!(!buffer.should_flush());
        let mut lines = Batch::with_capacity(800).unwrap();
        buffer.take(&mut lines);
        push(&mut buffer, b"a");
        assert_eq!(buffer.waiting_bytes(), 101);
        assert!(buffer.should_flush(), "what is taken and not written counts");
        buffer.mark_written(&lines.count_types(0..2), 0);
        assert!(!buffer.should_flush());
    }

    #[test]
    fn another_capacity_holds_at_once_and_loses_nothing() {
        let room = |capacity| Batch::with_capacity(capacity).unwrap();
        let mut buffer = Buffer::new(100).unwrap();
        push(&mut buffer, &[b'a'; 40]);
        let unused = buffer.set_capacity(50, room(50));
        assert_eq!((buffer.capacity(), unused.capacity()), (50, 50));
        push(&mut buffer, &[b'b'; 20]);
        assert_eq!(buffer.waiting_bytes(), 40);
        let old = buffer.set_capacity(200, room(200));
        assert_eq!(old.capacity(), 100);
        push(&mut buffer, &[b'c'; 150]);
        assert_eq!(buffer.waiting_bytes(), 190);
        let mut lines = room(200);
        buffer.take(&mut lines);
        assert_eq!(lines.bytes(), [&[b'a'; 40][..], &[b'c'; 150]].concat());
        assert_eq!(lines.count_types(0..2)[EventType::RegisterFailure as usize], 2);
    }

    #[test]
    fn lines_that_are_given_up_are_dropped_and_reported() {
        let mut buffer = Buffer::new(200).unwrap();
        let mut lines = Batch::with_capacity(200).unwrap();
        (0..3).for_each(|_| push(&mut buffer, &[b'a'; 50]));
        buffer.take(&mut lines);
        buffer.mark_written(&lines.count_types(0..1), 100);
        assert_eq!(buffer.waiting_bytes(), 100);
        buffer.mark_dropped(&lines.count_types(1..3));
        buffer.mark_dropped(&[0; EventType::COUNT]);
        let counters = buffer.counters[EventType::RegisterFailure as usize];
        assert_eq!((counters.seen, counters.written, counters.waiting(), counters.dropped), (3, 1, 0, 2));
        assert_eq!(buffer.unreported_drops[EventType::RegisterFailure as usize], 2);
        assert_eq!(buffer.waiting_bytes(), 0);
    }

    #[test]
    fn there_is_room_for_no_more_lines_than_for_their_types() {
        let mut buffer = Buffer::new(10 * SHORTEST_LINE).unwrap();
        (0..20).for_each(|_| push(&mut buffer, b"short"));
        let counters = buffer.counters[EventType::RegisterFailure as usize];
        assert_eq!((counters.waiting(), counters.dropped), (10, 10));
        let types = buffer.filling.types.capacity();
        let mut lines = Batch::with_capacity(10 * SHORTEST_LINE).unwrap();
        buffer.take(&mut lines);
        assert_eq!(
            (types, lines.types.capacity()),
            (10, 10),
            "nothing is allocated where events are handled"
        );
    }
}
