//! The thread that writes the log. It waits for the disk, and for lines.
//!
//! A line that comes after a pause is written at once; while more come, they are gathered for [`POLL_INTERVAL`], so
//! that the whole costs less than a write(2) for each.
#![forbid(unsafe_code)]

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::event::event_type::PerType;
use crate::host::boundary;
use crate::host::say::Level;
use crate::log::buffer::Batch;
use crate::log::line::{self, Notice};
use crate::log::log_file::LogFile;
use crate::log::shared::{Requests, Shared, State, Waits};

/// While lines come, they are written this often.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// How often the writer checks whether the file is still there when nothing is to be written.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// A file that could not be written is tried again this often.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);
/// After a panic the writer waits this long, so that one panic after another does not keep the processor busy.
const PANIC_INTERVAL: Duration = Duration::from_secs(1);
/// Memory that a batch of this size, in bytes, has made resident is given back.
const SHRINK_ABOVE: usize = 4 << 20;

/// The writer and what is its own.
pub struct Writer {
    shared: Arc<Shared>,
    file: LogFile,
    /// The lines that are being written, how many bytes of them are in the file, and how many lines are counted as
    /// written. Between batches all are none.
    batch: Batch,
    done: usize,
    counted: usize,
    last_write: Instant,
    last_look: Instant,
    is_gathering: bool,
    has_said_stop: bool,
}

/// What there is to do.
enum Work {
    /// A batch has been taken.
    Write,
    /// Continue in another file.
    Open(FileRequest),
    /// See whether the file is still there.
    Look,
    /// Report these losses, the last ones.
    Report(PerType<u64>),
    /// All is written.
    End,
}

/// What was requested of the file.
enum FileRequest {
    Reopen,
    Next(LogFile),
}

impl FileRequest {
    fn take(requests: &mut Requests) -> Option<FileRequest> {
        let reopen = std::mem::take(&mut requests.reopen);
        requests.next_file.take().map(FileRequest::Next).or(reopen.then_some(FileRequest::Reopen))
    }
}

impl Writer {
    pub fn new(shared: Arc<Shared>, file: LogFile, buffer_size: usize) -> io::Result<Writer> {
        let now = Instant::now();
        Ok(Writer {
            shared,
            file,
            batch: Batch::with_capacity(buffer_size)?,
            done: 0,
            counted: 0,
            last_write: now.checked_sub(POLL_INTERVAL).unwrap_or(now),
            last_look: now,
            is_gathering: false,
            has_said_stop: false,
        })
    }

    /// The thread's life. After a panic it continues, without the batch that it was at.
    pub fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        while catch_unwind(AssertUnwindSafe(|| self.work())).is_err() {
            let why = boundary::last_panic();
            let words = format!(
                "fail2ban log: the writer has failed, please report this; it continues with the next lines: {why}"
            );
            (shared.host.say)(Level::Error, &words);
            self.file.give_up(self.batch.bytes(), &mut self.done);
            let mut state = shared.state();
            state.writer.busy_since = None;
            state.lines.buffer.mark_dropped(&self.batch.count_types(self.counted..self.batch.count()));
            self.end_batch(state.lines.buffer.capacity());
            if state.requests.stop_by.is_some() {
                break;
            }
            drop(shared.wait(state, Waits::Nothing, PANIC_INTERVAL));
        }
        // The file is closed before the end is announced.
        drop(self);
        shared.set_ended();
    }

    fn work(&mut self) {
        loop {
            match self.next_work() {
                Work::Write => {
                    if !self.write_batch() {
                        return self.give_up();
                    }
                }
                Work::Open(request) => self.open(request),
                Work::Look => self.look(),
                Work::Report(losses) => self.say_losses(&losses, "were dropped"),
                Work::End => return,
            }
        }
    }

    /// Waits for something to do.
    fn next_work(&mut self) -> Work {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state();
        loop {
            if self.is_abandoned() {
                return Work::End;
            }
            if let Some(request) = FileRequest::take(&mut state.requests) {
                return Work::Open(request);
            }
            let is_stopping = state.requests.stop_by.is_some();
            let now = Instant::now();
            let has_lines = !state.lines.buffer.is_empty();
            let next_write = self.last_write + POLL_INTERVAL;
            if has_lines && (is_stopping || now >= next_write || state.lines.buffer.should_flush()) {
                state.lines.buffer.take(&mut self.batch);
                return Work::Write;
            }
            if is_stopping {
                drop(state);
                if let Some(last) = self.last_words() {
                    return last;
                }
                state = shared.state();
                continue;
            }
            // A write checks the file as well.
            let next_look = self.last_look.max(self.last_write) + LOOK_INTERVAL;
            if now >= next_look {
                return Work::Look;
            }
            // Lines came soon after the last: until a pause, none of them is worth a wake-up of its own.
            self.is_gathering = now < next_write && (has_lines || self.is_gathering);
            state = if self.is_gathering {
                shared.wait(state, Waits::Many, next_write.min(next_look) - now)
            } else {
                shared.wait(state, Waits::One, next_look - now)
            };
        }
    }

    /// All lines are written. What the module says at its end follows: what was lost, then that it stops.
    fn last_words(&mut self) -> Option<Work> {
        let settings = self.shared.settings();
        let now = (self.shared.host.now)();
        let mut state = self.shared.state();
        if let Some(losses) = state.lines.report_losses(&settings, now) {
            return Some(Work::Report(losses));
        }
        if std::mem::replace(&mut self.has_said_stop, true) {
            return Some(Work::End);
        }
        state.lines.notice(&settings, now, Notice::Stopped);
        None
    }

    fn open(&mut self, request: FileRequest) {
        // Closing the old file may take long, too.
        let result = self.timed(|writer| {
            let next = match request {
                FileRequest::Reopen => writer.file.reopen()?,
                FileRequest::Next(file) => file,
            };
            writer.file.switch_to(next, writer.batch.bytes(), &mut writer.done);
            Ok(())
        });
        if result.is_ok() && self.batch.count() > 0 {
            // Whether lines can be written again, their write shows.
            self.note_file(&mut self.shared.state());
        } else {
            self.note_result(result);
        }
    }

    fn look(&mut self) {
        self.last_look = Instant::now();
        let result = self.timed(|writer| writer.file.reopen_if_rotated(&[], &mut 0));
        self.note_result(result);
    }

    /// Does something to the file, and lets `status` see for how long.
    fn timed<R>(&mut self, work: impl FnOnce(&mut Writer) -> R) -> R {
        self.shared.state().writer.busy_since = Some(Instant::now());
        let result = work(self);
        self.shared.state().writer.busy_since = None;
        result
    }

    fn is_abandoned(&self) -> bool {
        self.shared.abandoned().load(Ordering::Relaxed)
    }

    /// Writes the batch, however often it has to try; `false` if the time to stop has come before.
    fn write_batch(&mut self) -> bool {
        let shared = Arc::clone(&self.shared);
        while self.done < self.batch.bytes().len() {
            let from = self.done;
            let result = self.timed(|writer| {
                writer.file.write_some(writer.batch.bytes(), &mut writer.done, shared.abandoned())
            });
            self.last_write = Instant::now();
            let written = self.count_written(from);
            shared.state().lines.buffer.mark_written(&written, self.batch.bytes().len() - self.done);
            let has_failed = result.is_err();
            self.note_result(result);
            if has_failed && !self.wait_to_retry() {
                return false;
            }
        }
        let capacity = shared.state().lines.buffer.capacity();
        self.end_batch(capacity);
        true
    }

    /// Waits a moment, and opens another file if that was requested; `false` if the time to stop has come.
    fn wait_to_retry(&mut self) -> bool {
        let shared = Arc::clone(&self.shared);
        let now = Instant::now();
        let state = shared.state();
        let stop_by = state.requests.stop_by;
        if self.is_abandoned() || stop_by.is_some_and(|by| by <= now) {
            return false;
        }
        let retry = now + RETRY_INTERVAL;
        let wait = stop_by.map_or(retry, |by| by.min(retry)) - now;
        let mut state = shared.wait(state, Waits::Nothing, wait);
        let request = FileRequest::take(&mut state.requests);
        drop(state);
        if let Some(request) = request {
            self.open(request);
        }
        true
    }

    /// Of each event type, the lines that were finished by a write that began there.
    fn count_written(&mut self, from: usize) -> PerType<u64> {
        let bytes = self.batch.bytes();
        let lines = if self.done == bytes.len() {
            self.batch.count()
        } else {
            // What was taken back is a part of a line, without an end.
            self.counted + bytes[from.min(self.done)..self.done].iter().filter(|&&byte| byte == b'\n').count()
        };
        let before = std::mem::replace(&mut self.counted, lines);
        self.batch.count_types(before..lines)
    }

    /// Gives back what a large batch has made resident, and follows a change of `buffer-size`.
    fn end_batch(&mut self, capacity: usize) {
        let was_large = self.batch.bytes().len() > SHRINK_ABOVE;
        self.batch.clear();
        (self.done, self.counted) = (0, 0);
        if (was_large || self.batch.capacity() != capacity)
            && let Ok(batch) = Batch::with_capacity(capacity)
        {
            self.batch = batch;
        }
    }

    /// Keeps the result of a write for `status`, and says in the host's log when it changes: once for each outage.
    fn note_result(&mut self, result: io::Result<()>) {
        if self.is_abandoned() {
            return;
        }
        let shared = Arc::clone(&self.shared);
        let path = self.file.path().display();
        let error =
            result.err().map(|error| ((shared.host.now)().wall, format!("fail2ban log {path}: {error}")));
        let mut state = shared.state();
        self.note_file(&mut state);
        let has_changed = std::mem::replace(&mut state.writer.is_failing, error.is_some()) != error.is_some();
        let limit = state.lines.buffer.capacity();
        if error.is_some() {
            state.writer.last_error.clone_from(&error);
        }
        drop(state);
        match error {
            Some((_, words)) if has_changed => (shared.host.say)(
                Level::Error,
                &format!("{words}; lines wait in memory, at most {limit} bytes of them"),
            ),
            None if has_changed => {
                (shared.host.say)(Level::Notice, &format!("fail2ban log {path}: lines are written again"));
            }
            _ => {}
        }
    }

    /// Keeps for `status` which file is open. Mostly nothing has changed: then nothing is copied.
    fn note_file(&self, state: &mut State) {
        if !state.writer.file.as_ref().is_some_and(|file| self.file.is(file)) {
            state.writer.file = Some(self.file.identity());
        }
    }

    fn say_losses(&self, losses: &PerType<u64>, what: &str) {
        (self.shared.host.say)(Level::Warning, &line::losses(self.file.path(), losses, what));
    }

    /// The time to stop has come and the file can't be written: what waits is lost, and that is reported.
    fn give_up(&mut self) {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state();
        state.lines.buffer.mark_dropped(&self.batch.count_types(self.counted..self.batch.count()));
        self.batch.clear();
        state.lines.buffer.take(&mut self.batch);
        state.lines.buffer.mark_dropped(&self.batch.count_types(0..self.batch.count()));
        let lost = std::mem::take(&mut state.lines.buffer.unreported_drops);
        drop(state);
        if !self.is_abandoned() && line::total(&lost) > 0 {
            self.say_losses(&lost, "are lost");
        }
    }
}
