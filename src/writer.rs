//! The thread that writes the log.
//!
//! A line that comes after a pause is written at once; while more come, they are gathered for
//! [`POLL_INTERVAL`], so that the whole costs less than a write(2) for each.
#![forbid(unsafe_code)]

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::buffer::Batch;
use crate::event_type::PerType;
use crate::host::boundary;
use crate::host::log::Level;
use crate::journal::{Lines, Requests, Shared, State, Waits};
use crate::line::{self, Notice};
use crate::log_file::LogFile;
use crate::memory::{Announcement, SweepOf};
use crate::table::Sweep;

/// While lines come, they are written this often.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// How often the writer looks whether the file is still there, though nothing is to be written.
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(5);
/// The same while a challenge or credentials wait.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// Addresses that are known no more are dropped this often.
const KNOWN_SWEEP_INTERVAL: Duration = Duration::from_secs(60);
/// A file that could not be written is tried again this often.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);
/// Losses are reported when none has happened for so long,
const LOSS_REPORT_DELAY: Duration = Duration::from_millis(250);
/// or at the latest after so long.
const LOSS_REPORT_MAX_DELAY: Duration = Duration::from_secs(10);
/// Memory that a batch of this size has made resident is given back.
const SHRINK_ABOVE: usize = 4 << 20;

/// The writer and what is its own.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    file: LogFile,
    /// The batch: its lines, how many bytes of them are in the file, and how many lines are counted as
    /// written. Between batches both are none.
    batch: Batch,
    done: usize,
    counted: usize,
    last_write: Instant,
    is_gathering: bool,
    last_look: Instant,
    last_known_sweep: Instant,
    losses: Losses,
    has_said_stop: bool,
}

/// Losses that are yet to be reported.
struct Losses {
    count: u64,
    first: Instant,
    last: Instant,
}

/// What there is to do.
enum Work {
    /// A batch has been taken.
    Write,
    /// Go on in another file.
    Open(FileRequest),
    /// Look after the file, and after what is remembered.
    Maintain,
    /// Tell FreeSWITCH's log.
    Announce(Vec<Announcement>),
    /// Report these losses.
    Report(PerType<u64>),
    /// Write that the module stops.
    SayStop,
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
            is_gathering: false,
            last_look: now,
            last_known_sweep: now,
            losses: Losses { count: 0, first: now, last: now },
            has_said_stop: false,
        })
    }

    /// The thread's life. After a panic it goes on, without the batch that it was at.
    pub fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        while catch_unwind(AssertUnwindSafe(|| self.work())).is_err() {
            let why = boundary::last_panic();
            let words = format!(
                "fail2ban log: the writer has failed, please report this; it goes on with the next lines: {why}"
            );
            (shared.host.say)(Level::Error, &words);
            self.file.give_up(self.batch.bytes(), &mut self.done);
            let mut state = shared.state();
            state.writer.busy_since = None;
            state.log.buffer.mark_dropped(&self.batch.count_types(self.counted..self.batch.count()));
            self.end_batch(state.log.buffer.capacity());
            if state.requests.stop_by.is_some() {
                break;
            }
            // So that one panic after the other does not keep the processor busy.
            drop(shared.wait(state, Waits::No, SWEEP_INTERVAL));
        }
        // The file is closed before anyone hears of the end.
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
                Work::Maintain => self.maintain(),
                Work::Announce(announcements) => self.announce(&announcements),
                Work::Report(losses) => self.report_losses(&losses),
                Work::SayStop => drop(self.notice(Notice::Stopped)),
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
            if !state.log.announcements.is_empty() {
                return Work::Announce(state.log.take_announcements());
            }
            let is_stopping = state.requests.stop_by.is_some();
            let now = Instant::now();
            let next_look = self.next_look(&state);
            let is_filling = state.log.buffer.is_filling();
            // Where the file takes no more than comes, the buffer is always filling.
            let is_late = now >= next_look + SWEEP_INTERVAL;
            if now >= next_look && !is_stopping && (!is_filling || is_late) {
                return Work::Maintain;
            }
            let has_lines = !state.log.buffer.is_empty();
            let drops = line::total(&state.log.buffer.unreported_drops);
            if self.losses.are_over(drops, is_stopping && !has_lines) {
                return Work::Report(std::mem::take(&mut state.log.buffer.unreported_drops));
            }
            let next_write = self.last_write + POLL_INTERVAL;
            if has_lines && (is_stopping || now >= next_write || is_filling) {
                state.log.buffer.take(&mut self.batch);
                return Work::Write;
            }
            // Lines came soon after the last: until a pause, none of them is worth a wake-up of its own.
            self.is_gathering = now < next_write && (has_lines || self.is_gathering) && !is_stopping;
            if self.is_gathering {
                state = shared.wait(state, Waits::ForMany, next_write.min(next_look) - now);
                continue;
            }
            if is_stopping {
                let has_said = std::mem::replace(&mut self.has_said_stop, true);
                return if has_said { Work::End } else { Work::SayStop };
            }
            let limit = if self.losses.count > 0 { LOSS_REPORT_DELAY } else { next_look - now };
            let waits = if state.memory.is_waiting() { Waits::ForOne } else { Waits::ForAny };
            state = shared.wait(state, waits, limit);
        }
    }

    /// A write looks after the file as well, so that there is no need for another look soon after it.
    fn next_look(&self, state: &State) -> Instant {
        let next_look = if state.memory.is_waiting() {
            self.last_look + SWEEP_INTERVAL
        } else {
            self.last_look.max(self.last_write) + MAINTENANCE_INTERVAL
        };
        next_look.min(self.last_known_sweep + KNOWN_SWEEP_INTERVAL)
    }

    fn open(&mut self, request: FileRequest) {
        // Closing the old file may take long, too.
        let result = self.watched(|writer| {
            let next = match request {
                FileRequest::Reopen => writer.file.reopen()?,
                FileRequest::Next(file) => file,
            };
            writer.file.switch_to(next, writer.batch.bytes(), &mut writer.done);
            Ok(())
        });
        if result.is_ok() && self.batch.count() > 0 {
            // Whether lines can be written again, their write tells.
            self.note_file(&mut self.shared.state());
        } else {
            self.note_result(result);
        }
    }

    /// Does something to the file, and lets `status` see for how long.
    fn watched<R>(&mut self, work: impl FnOnce(&mut Writer) -> R) -> R {
        self.shared.state().writer.busy_since = Some(Instant::now());
        let result = work(self);
        self.shared.state().writer.busy_since = None;
        result
    }

    fn is_abandoned(&self) -> bool {
        self.shared.is_abandoned.load(Ordering::Relaxed)
    }

    fn maintain(&mut self) {
        self.last_look = Instant::now();
        if !self.sweep() {
            // Once more, right after the next write.
            self.last_look = self.last_look.checked_sub(SWEEP_INTERVAL).unwrap_or(self.last_look);
        }
        if self.is_abandoned() {
            return;
        }
        let result = self.watched(|writer| writer.file.reopen_if_rotated(&[], &mut 0));
        self.note_result(result);
    }

    /// Logs what has waited too long, and lets others have the lock in between. Whether it has come to an end
    /// before the buffer fills.
    fn sweep(&mut self) -> bool {
        let shared = Arc::clone(&self.shared);
        for what in SweepOf::ALL {
            if what == SweepOf::Known {
                if self.last_known_sweep.elapsed() < KNOWN_SWEEP_INTERVAL {
                    continue;
                }
                self.last_known_sweep = Instant::now();
            }
            loop {
                let settings = shared.settings();
                let now = (shared.host.now)();
                let mut state = shared.state();
                let State { memory, log, .. } = &mut *state;
                let mut lines = Lines { settings: &settings, log, now, trusted: false };
                if memory.sweep(&settings, now, what, &mut lines) == Sweep::Done {
                    break;
                }
                if log.buffer.is_filling() {
                    return false;
                }
            }
        }
        true
    }

    /// Adds a line of the module's own; whether there was room.
    fn notice(&mut self, notice: Notice) -> bool {
        let settings = self.shared.settings();
        let now = (self.shared.host.now)();
        self.shared.state().log.notice(&settings, now, notice)
    }

    fn announce(&self, announcements: &[Announcement]) {
        for announcement in announcements {
            let words = match announcement {
                Announcement::SuccessAfterFailures { ip, account, failures } => format!(
                    "fail2ban: {ip} has logged in as {} after {failures} or more failures within an hour: a guessed \
                     password, or someone who found the right one",
                    account.readable()
                ),
                Announcement::KnownAddressFails { ip, account, failures, users } => format!(
                    "fail2ban: {ip}, known by {}, has {failures} failures for {} users within an hour: a stolen \
                     account, or someone who sends them in its name",
                    account.readable(),
                    users.words()
                ),
            };
            (self.shared.host.say)(Level::Warning, &words);
        }
    }

    /// Writes the batch, however often it has to try; `false` if the time to stop has come before.
    fn write_batch(&mut self) -> bool {
        let shared = Arc::clone(&self.shared);
        loop {
            let result = self.watched(|writer| {
                writer.file.write(writer.batch.bytes(), &mut writer.done, &shared.is_abandoned)
            });
            self.last_write = Instant::now();
            let written = self.count_written();
            let mut state = shared.state();
            state.log.buffer.mark_written(&written, self.batch.bytes().len() - self.done);
            let capacity = state.log.buffer.capacity();
            drop(state);
            let has_failed = result.is_err();
            self.note_result(result);
            if !has_failed {
                self.end_batch(capacity);
                return true;
            }
            let now = Instant::now();
            let state = shared.state();
            let stop_by = state.requests.stop_by;
            if self.is_abandoned() || stop_by.is_some_and(|by| by <= now) {
                return false;
            }
            let retry = now + RETRY_INTERVAL;
            let wait = stop_by.map_or(retry, |by| by.min(retry)) - now;
            let mut state = shared.wait(state, Waits::No, wait);
            let request = FileRequest::take(&mut state.requests);
            let announcements = state.log.take_announcements();
            drop(state);
            self.announce(&announcements);
            if let Some(request) = request {
                self.open(request);
            }
        }
    }

    /// Of each event type, the lines that are in the file since it was asked last.
    fn count_written(&mut self) -> PerType<u64> {
        let bytes = self.batch.bytes();
        let lines = if self.done == bytes.len() {
            self.batch.count()
        } else {
            bytes[..self.done].iter().filter(|&&byte| byte == b'\n').count()
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

    /// Keeps what came of writing for `status`, and tells the host's log when it changes: once for each outage.
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
        let limit = state.log.buffer.capacity();
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

    fn report_losses(&mut self, losses: &PerType<u64>) {
        if self.notice(Notice::Dropped(*losses)) {
            self.say_losses(losses, "were dropped");
        } else {
            // The buffer has filled again: later, with those that are dropped now.
            self.shared.state().log.buffer.report_later(losses);
        }
    }

    fn say_losses(&self, losses: &PerType<u64>, what: &str) {
        let (lines, each) = (line::total(losses), line::listed(losses));
        let path = self.file.path().display();
        (self.shared.host.say)(
            Level::Warning,
            &format!("fail2ban log {path}: {lines} lines {what} ({each})"),
        );
    }

    /// The time to stop has come and the file can't be written: what waits is lost, and that is reported.
    fn give_up(&mut self) {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state();
        state.log.buffer.mark_dropped(&self.batch.count_types(self.counted..self.batch.count()));
        self.batch.clear();
        state.log.buffer.take(&mut self.batch);
        state.log.buffer.mark_dropped(&self.batch.count_types(0..self.batch.count()));
        let lost = std::mem::take(&mut state.log.buffer.unreported_drops);
        let announcements = state.log.take_announcements();
        drop(state);
        if self.is_abandoned() {
            return;
        }
        self.announce(&announcements);
        if line::total(&lost) > 0 {
            self.say_losses(&lost, "are lost");
        }
    }
}

impl Losses {
    /// Whether there are losses and they have come to an end.
    fn are_over(&mut self, count: u64, is_stopping: bool) -> bool {
        let now = Instant::now();
        if count != self.count {
            if self.count == 0 {
                self.first = now;
            }
            (self.count, self.last) = (count, now);
        }
        let is_over = count > 0
            && (is_stopping
                || now - self.last >= LOSS_REPORT_DELAY
                || now - self.first >= LOSS_REPORT_MAX_DELAY);
        if is_over {
            self.count = 0;
        }
        is_over
    }
}
