//! The thread that writes the log.
#![forbid(unsafe_code)]

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::MutexGuard;

use crate::journal::{Say, Shared, State};
use crate::line::{self, Note};
use crate::log_file::LogFile;
use crate::queue::Lines;
use crate::signal::PerKind;

/// While lines come, the writer looks for them this often.
const TICK: Duration = Duration::from_millis(1);
/// After so long without a line it sleeps until it is woken.
const DOZE: Duration = Duration::from_millis(20);
/// With nothing to write, the file and the unanswered challenges are looked after this often.
const ROUND: Duration = Duration::from_secs(1);
/// A file that could not be written is tried again this often.
const RETRY: Duration = Duration::from_millis(100);
/// Losses are told when none has happened for so long,
const QUIET: Duration = Duration::from_millis(250);
/// or at the latest after so long.
const PATIENCE: Duration = Duration::from_secs(10);
/// Memory that a batch of this size has made resident is given back.
const LARGE: usize = 4 << 20;

/// The writer and what is its own.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    file: LogFile,
    /// The batch: its lines, how many bytes of them are in the file, and how many lines are counted as
    /// written. Between batches both are none.
    lines: Lines,
    done: usize,
    counted: usize,
    last_line: Instant,
    last_round: Instant,
    losses: Losses,
    said_stop: bool,
}

/// Losses that are yet to be told.
struct Losses {
    count: u64,
    first: Instant,
    last: Instant,
}

/// What there is to do.
enum Work {
    /// A batch has been taken.
    Write,
    /// Nothing to write: look after the file.
    Round,
    /// The settings are to be read again.
    Reload,
    /// Tell of these losses; their line is among those that wait.
    Tell(PerKind<u64>),
    /// All is written.
    End,
}

impl Writer {
    pub fn new(shared: Arc<Shared>, file: LogFile, buffer_size: usize) -> io::Result<Writer> {
        let now = Instant::now();
        Ok(Writer {
            shared,
            file,
            lines: Lines::with_capacity(buffer_size)?,
            done: 0,
            counted: 0,
            last_line: now,
            last_round: now,
            losses: Losses { count: 0, first: now, last: now },
            said_stop: false,
        })
    }

    /// The thread's life. After a panic it goes on, without the batch that it was at.
    pub fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        while catch_unwind(AssertUnwindSafe(|| self.work())).is_err() {
            let words =
                "fail2ban log: the writer has failed, please report this; it goes on with the next lines";
            (shared.host.say)(Say::Error, words);
            let mut state = shared.state.lock();
            state.progress.busy_since = None;
            state.queue.gave_up(&self.lines.count_kinds(self.counted..self.lines.count()));
            self.end_batch(state.queue.capacity());
            if state.orders.stop_by.is_some() {
                break;
            }
            // Lest it fail in a frenzy.
            shared.wake.wait_for(&mut state, ROUND);
        }
        shared.state.lock().progress.ended = true;
        shared.ended.notify_all();
    }

    fn work(&mut self) {
        let host = self.shared.host;
        loop {
            match self.next_work() {
                Work::Write => {
                    if !self.write_batch() {
                        return self.give_up();
                    }
                }
                Work::Round => {
                    let result = self.file.follow(&[], &mut 0);
                    self.note_result(result);
                }
                Work::Reload => (host.reload)(),
                Work::Tell(losses) => self.tell_losses(&losses, "were dropped"),
                Work::End => return,
            }
        }
    }

    /// Waits for something to do.
    fn next_work(&mut self) -> Work {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state.lock();
        loop {
            if self.obey(&mut state) {
                return Work::Reload;
            }
            if self.last_round.elapsed() >= ROUND {
                self.last_round = Instant::now();
                self.sweep_challenges(&mut state);
                if state.queue.is_empty() {
                    return Work::Round;
                }
            }
            if !state.queue.is_empty() {
                state.queue.take(&mut self.lines);
                self.last_line = Instant::now();
                return Work::Write;
            }
            let stopping = state.orders.stop_by.is_some();
            if self.losses.are_over(line::total(&state.queue.untold), stopping) {
                let losses = std::mem::take(&mut state.queue.untold);
                state.note((shared.host.now)(), Note::Dropped(losses));
                return Work::Tell(losses);
            }
            if stopping {
                if std::mem::replace(&mut self.said_stop, true) {
                    return Work::End;
                }
                state.note((shared.host.now)(), Note::Stopped);
                continue;
            }
            if self.last_line.elapsed() < DOZE {
                MutexGuard::unlocked(&mut state, || thread::sleep(TICK));
            } else {
                let limit = if self.losses.count > 0 { QUIET } else { ROUND };
                state.progress.asleep = true;
                shared.wake.wait_for(&mut state, limit);
                state.progress.asleep = false;
            }
        }
    }

    /// Does what was ordered of the file; whether the settings are to be read again.
    fn obey(&mut self, state: &mut MutexGuard<'_, State>) -> bool {
        let next = state.orders.next.take();
        let reopen = std::mem::take(&mut state.orders.reopen);
        if next.is_some() || reopen {
            let result = MutexGuard::unlocked(state, || match next.map_or_else(|| self.file.again(), Ok) {
                Ok(next) => {
                    self.file.move_on(next, self.lines.bytes(), &mut self.done);
                    Ok(())
                }
                Err(error) => Err(error),
            });
            self.note_result_in(state, result);
        }
        std::mem::take(&mut state.orders.reload)
    }

    /// Enters the challenges that have waited too long, and lets others have the lock between the buckets.
    fn sweep_challenges(&self, state: &mut MutexGuard<'_, State>) {
        let now = (self.shared.host.now)();
        while state.watches_challenges() && !state.sweep_challenges(now) {
            MutexGuard::bump(state);
        }
    }

    /// Writes the batch, however often it has to try; `false` if the time to stop has come before.
    fn write_batch(&mut self) -> bool {
        let shared = Arc::clone(&self.shared);
        loop {
            shared.state.lock().progress.busy_since = Some(Instant::now());
            let result = self.file.write(self.lines.bytes(), &mut self.done);
            let written = self.count_written();
            let mut state = shared.state.lock();
            state.progress.busy_since = None;
            state.queue.wrote(&written, self.lines.bytes().len() - self.done);
            let failed = result.is_err();
            self.note_result_in(&mut state, result);
            if !failed {
                let capacity = state.queue.capacity();
                drop(state);
                self.end_batch(capacity);
                return true;
            }
            let now = Instant::now();
            let stop_by = state.orders.stop_by;
            if stop_by.is_some_and(|by| by <= now) {
                return false;
            }
            let retry = now + RETRY;
            shared.wake.wait_until(&mut state, stop_by.map_or(retry, |by| by.min(retry)));
            if self.obey(&mut state) {
                MutexGuard::unlocked(&mut state, || (shared.host.reload)());
            }
        }
    }

    /// Of each kind, the lines that are in the file since it was asked last.
    fn count_written(&mut self) -> PerKind<u64> {
        let bytes = self.lines.bytes();
        let lines = if self.done == bytes.len() {
            self.lines.count()
        } else {
            bytes[..self.done].iter().filter(|&&byte| byte == b'\n').count()
        };
        let before = std::mem::replace(&mut self.counted, lines);
        self.lines.count_kinds(before..lines)
    }

    /// Gives back what a large batch has made resident, and follows a change of `buffer-size`.
    fn end_batch(&mut self, capacity: usize) {
        let was_large = self.lines.bytes().len() > LARGE;
        self.lines.clear();
        (self.done, self.counted) = (0, 0);
        if (was_large || self.lines.capacity() != capacity)
            && let Ok(lines) = Lines::with_capacity(capacity)
        {
            self.lines = lines;
        }
    }

    fn note_result(&mut self, result: io::Result<()>) {
        let shared = Arc::clone(&self.shared);
        self.note_result_in(&mut shared.state.lock(), result);
    }

    /// Keeps what came of writing for `status`, and says it when it changes: once for each outage.
    fn note_result_in(&mut self, state: &mut MutexGuard<'_, State>, result: io::Result<()>) {
        // Handlers wait for this lock, and mostly nothing has changed: then nothing is formatted or copied.
        let failed = result.is_err();
        let changed = std::mem::replace(&mut state.progress.failing, failed) != failed;
        if !state.progress.file.as_ref().is_some_and(|file| self.file.is(file)) {
            state.progress.file = Some(self.file.identity());
        }
        let path = self.file.path().display();
        if let Err(error) = &result {
            let words = format!("fail2ban log {path}: {error}");
            state.progress.last_error = Some(((self.shared.host.now)(), words));
        }
        if !changed {
            return;
        }
        let (say, words) = match result {
            Ok(()) => (Say::Notice, format!("fail2ban log {path}: lines are written again")),
            Err(error) => {
                let limit = state.queue.capacity();
                let words = format!(
                    "fail2ban log {path}: {error}; lines wait in memory, at most {limit} bytes of them"
                );
                (Say::Error, words)
            }
        };
        MutexGuard::unlocked(state, || (self.shared.host.say)(say, &words));
    }

    fn tell_losses(&self, losses: &PerKind<u64>, what: &str) {
        let (lines, each) = (line::total(losses), line::listed(losses));
        let path = self.file.path().display();
        (self.shared.host.say)(Say::Warning, &format!("fail2ban log {path}: {lines} lines {what} ({each})"));
    }

    /// The time to stop has come and the file can't be written: what waits is lost, and said to be.
    fn give_up(&mut self) {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state.lock();
        state.queue.gave_up(&self.lines.count_kinds(self.counted..self.lines.count()));
        self.lines.clear();
        state.queue.take(&mut self.lines);
        state.queue.gave_up(&self.lines.count_kinds(0..self.lines.count()));
        let lost = std::mem::take(&mut state.queue.untold);
        drop(state);
        if line::total(&lost) > 0 {
            self.tell_losses(&lost, "are lost");
        }
    }
}

impl Losses {
    /// Whether there are losses and they have come to an end.
    fn are_over(&mut self, count: u64, stopping: bool) -> bool {
        let now = Instant::now();
        if count != self.count {
            if self.count == 0 {
                self.first = now;
            }
            (self.count, self.last) = (count, now);
        }
        let over = count > 0 && (stopping || now - self.last >= QUIET || now - self.first >= PATIENCE);
        if over {
            self.count = 0;
        }
        over
    }
}
