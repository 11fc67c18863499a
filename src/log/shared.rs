//! What handlers, the writer and the ticker share.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use crate::host::say::Level;
use crate::log::lines::Lines;
use crate::log::log_file::LogFile;
use crate::memory::Memory;
use crate::settings::Settings;
use crate::time::{LocalTime, Now};

/// What is asked of the host.
#[derive(Clone, Copy)]
pub struct Host {
    /// The time by both clocks.
    pub now: fn() -> Now,
    /// The local time of a second since 1970.
    pub local: fn(i64) -> LocalTime,
    /// Writes to the host's own log. Never called by a handler.
    pub say: fn(Level, &str),
}

/// What is shared. Its locks are taken in the order of its fields, for no longer than an event takes; nothing of
/// FreeSWITCH's is called under the state's.
pub struct Shared {
    pub settings: RwLock<Arc<Settings>>,
    state: Mutex<State>,
    /// The writer waits on it when there is nothing to do.
    wake: Condvar,
    /// The writer has ended.
    ended: Condvar,
    /// Nobody waits for the writer any more: it writes nothing more, and ends.
    is_abandoned: AtomicBool,
    pub host: Host,
}

/// All that is known at a moment, and what is to be written.
pub struct State {
    pub memory: Memory,
    pub lines: Lines,
    pub requests: Requests,
    pub writer: WriterStatus,
}

/// What others want the writer to do.
#[derive(Default)]
pub struct Requests {
    /// Open the log again even if it seems to be there still.
    pub reopen: bool,
    /// Continue in this file.
    pub next_file: Option<LogFile>,
    /// End, with all written, by then.
    pub stop_by: Option<Instant>,
}

/// How the writer is.
#[derive(Default)]
pub struct WriterStatus {
    waits: Waits,
    has_ended: bool,
    /// Since when it has been in one call for the file.
    pub busy_since: Option<Instant>,
    /// Nothing can be written now.
    pub is_failing: bool,
    /// The last error, and when it was, in microseconds since 1970.
    pub last_error: Option<(i64, String)>,
    /// Which file is open: its path, device and inode.
    pub file: Option<(PathBuf, u64, u64)>,
}

/// What a waiting writer is woken for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Waits {
    /// It does not wait for lines.
    #[default]
    Nothing,
    /// It has just written, and lets lines gather until the buffer fills.
    Many,
    /// The first line wakes it.
    One,
}

impl Shared {
    pub fn new(settings: Settings, memory: Memory, lines: Lines, writer: WriterStatus, host: Host) -> Shared {
        Shared {
            settings: RwLock::new(Arc::new(settings)),
            state: Mutex::new(State { memory, lines, requests: Requests::default(), writer }),
            wake: Condvar::new(),
            ended: Condvar::new(),
            is_abandoned: AtomicBool::new(false),
            host,
        }
    }

    pub fn settings(&self) -> RwLockReadGuard<'_, Arc<Settings>> {
        self.settings.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// A panic leaves no more than a count half done.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the writer do something.
    pub fn request(&self, make: impl FnOnce(&mut Requests)) {
        make(&mut self.state().requests);
        self.wake.notify_one();
    }

    /// The writer waits until it is woken or the time is over.
    pub fn wait<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        waits: Waits,
        limit: Duration,
    ) -> MutexGuard<'a, State> {
        state.writer.waits = waits;
        let (mut state, _) = self.wake.wait_timeout(state, limit).unwrap_or_else(PoisonError::into_inner);
        state.writer.waits = Waits::Nothing;
        state
    }

    /// Wakes the writer if it waits for what there is now. Waking it for each line would cost the handler more than
    /// everything else together.
    pub fn wake(&self, mut state: MutexGuard<'_, State>) {
        let wakes = match state.writer.waits {
            Waits::Nothing => false,
            Waits::Many => state.lines.buffer.should_flush(),
            Waits::One => !state.lines.buffer.is_empty(),
        };
        if wakes {
            state.writer.waits = Waits::Nothing;
            drop(state);
            self.wake.notify_one();
        }
    }

    /// Waits for the writer's end, and abandons it if that does not come by then; the error is how many lines it has
    /// not written.
    pub fn wait_for_end(&self, by: Instant) -> Result<(), u64> {
        let mut state = self.state();
        while !state.writer.has_ended {
            let left = by.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.is_abandoned.store(true, Ordering::Relaxed);
                return Err(state.lines.buffer.waiting_lines());
            }
            state = self.ended.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }

    pub fn set_ended(&self) {
        self.state().writer.has_ended = true;
        self.ended.notify_all();
    }

    /// Whether nobody waits for the writer any more.
    pub fn abandoned(&self) -> &AtomicBool {
        &self.is_abandoned
    }
}
