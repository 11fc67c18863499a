//! What is known and in force, behind one short lock: the handlers enter signals, the writer takes lines,
//! the operator looks.
#![forbid(unsafe_code)]

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::challenges::Challenges;
use crate::line::{self, Clock, Format, LocalTime, Note};
use crate::log_file::LogFile;
use crate::queue::{Queue, Tally};
use crate::recent::{Source, Sources, Window};
use crate::settings::Settings;
use crate::signal::{Kind, NotASignal, PerKind, Signal};
use crate::writer::Writer;

/// What the journal asks of its host.
#[derive(Clone, Copy)]
pub struct Host {
    /// The time, in microseconds since 1970.
    pub now: fn() -> i64,
    /// The local time of a second.
    pub local: fn(i64) -> LocalTime,
    /// Says something in the host's own log.
    pub say: fn(Say, &str),
    /// Reads the settings again and applies them.
    pub reload: fn(),
}

/// How loud to say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Say {
    Error,
    Warning,
    Notice,
}

/// The journal: a handle that the host's threads share.
pub struct Journal {
    shared: Arc<Shared>,
    writer: JoinHandle<()>,
}

/// What the writer shares with everyone else.
pub(crate) struct Shared {
    pub state: Mutex<State>,
    /// The writer waits on it when there is nothing to do.
    pub wake: Condvar,
    /// The writer has ended.
    pub ended: Condvar,
    pub host: Host,
}

pub(crate) struct State {
    format: Format,
    logged: PerKind<bool>,
    challenge_timeout: Duration,
    clock: Clock,
    pub queue: Queue,
    /// There only while `challenge_unanswered` is logged.
    challenges: Option<Challenges>,
    trusted: PerKind<u64>,
    no_address: PerKind<u64>,
    minute: Window,
    hour: Window,
    sources: Sources,
    pub orders: Orders,
    pub progress: Progress,
}

/// What others want the writer to do.
#[derive(Default)]
pub(crate) struct Orders {
    /// Open the log anew even if it seems to be there still.
    pub reopen: bool,
    /// Read the settings again.
    pub reload: bool,
    /// Go on in this file.
    pub next: Option<LogFile>,
    /// End, with all written, by then.
    pub stop_by: Option<Instant>,
}

/// What the writer tells.
#[derive(Default)]
pub(crate) struct Progress {
    /// The writer waits for `wake`.
    pub asleep: bool,
    pub ended: bool,
    /// Since when it has been writing.
    pub busy_since: Option<Instant>,
    /// Nothing can be written now.
    pub failing: bool,
    /// The last error, and when it was, in microseconds since 1970.
    pub last_error: Option<(i64, String)>,
    /// Which file is open: its path, device and inode.
    pub file: Option<(PathBuf, u64, u64)>,
}

/// All that `fail2ban status` shows, taken at one moment.
pub struct Snapshot {
    /// When.
    pub time: String,
    /// What became of each kind.
    pub tally: PerKind<Tally>,
    /// Signals from trusted addresses.
    pub trusted: PerKind<u64>,
    /// Signals without an address that parses.
    pub no_address: PerKind<u64>,
    /// Logged in the last minute.
    pub minute: PerKind<u64>,
    /// Logged in the last hour.
    pub hour: PerKind<u64>,
    /// The busiest addresses.
    pub busiest: Vec<Source>,
    /// Bytes that wait.
    pub waiting_bytes: usize,
    /// Challenges that wait for an answer, and those that found no room to.
    pub challenges: (usize, u64),
    /// Whether lines can't be written now.
    pub failing: bool,
    /// For how long the writer has been in one write.
    pub busy: Option<Duration>,
    /// The last error and when it was.
    pub last_error: Option<(String, String)>,
    /// Which file is open: its path, device and inode.
    pub file: Option<(PathBuf, u64, u64)>,
}

/// The writer did not end in time: it is stuck in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stuck {
    /// Lines that it has not written.
    pub lines: u64,
}

impl Journal {
    /// Opens the log and starts the writer.
    pub fn start(settings: &Settings, host: Host) -> io::Result<Journal> {
        let file = LogFile::open(&settings.logfile)?;
        let mut clock = Clock::new(host.local);
        clock.stamp((host.now)());
        let mut state = State {
            format: settings.format,
            logged: settings.events,
            challenge_timeout: settings.challenge_timeout,
            clock,
            queue: Queue::new(settings.buffer_size)?,
            challenges: settings.logs(Kind::ChallengeUnanswered).then(Challenges::default),
            trusted: [0; Kind::COUNT],
            no_address: [0; Kind::COUNT],
            minute: Window::of_60(1),
            hour: Window::of_60(60),
            sources: Sources::default(),
            orders: Orders::default(),
            progress: Progress { file: Some(file.identity()), ..Progress::default() },
        };
        state.note((host.now)(), Note::Started);
        let shared =
            Arc::new(Shared { state: Mutex::new(state), wake: Condvar::new(), ended: Condvar::new(), host });
        let writer = Writer::new(Arc::clone(&shared), file, settings.buffer_size)?;
        let writer = std::thread::Builder::new().name("fail2ban".into()).spawn(move || writer.run())?;
        Ok(Journal { shared, writer })
    }

    /// Enters a signal. Takes one short lock, waits for nothing else, allocates nothing.
    pub fn enter(&self, signal: &Signal<'_>) {
        let now = (self.shared.host.now)();
        let mut state = self.shared.state.lock();
        state.enter(now, signal);
        self.shared.wake(state);
    }

    /// Counts a signal of a trusted address; it is not logged. Its credentials still answer a challenge.
    pub fn enter_trusted(&self, signal: &Signal<'_>) {
        let mut state = self.shared.state.lock();
        if signal.kind == Kind::RegisterAttempt
            && let Some(challenges) = &mut state.challenges
        {
            challenges.answered(signal);
        }
        if state.logged[signal.kind as usize] {
            state.trusted[signal.kind as usize] += 1;
        }
    }

    /// Enters failures for an address, to try the chain up to the firewall; whatever the settings log.
    pub fn enter_test(&self, ip: IpAddr, count: u32) {
        let signal = Signal::new(Kind::RegisterFailure, ip, b"fail2ban-test");
        for _ in 0..count {
            let now = (self.shared.host.now)();
            let mut state = self.shared.state.lock();
            state.log(now, now, &signal);
            self.shared.wake(state);
        }
    }

    /// Counts an event that tells no address.
    pub fn enter_no_signal(&self, kind: Kind, why: NotASignal) {
        let mut state = self.shared.state.lock();
        if why == NotASignal::NoAddress && state.logged[kind as usize] {
            state.no_address[kind as usize] += 1;
        }
    }

    /// Opens the log anew.
    pub fn reopen(&self) {
        self.order(|orders| orders.reopen = true);
    }

    /// Has the writer read the settings again: for threads that must not wait.
    pub fn reload_soon(&self) {
        self.order(|orders| orders.reload = true);
    }

    /// Puts new settings in force between two events: each is logged once, by the old or by the new ones.
    pub fn apply(&self, settings: &Settings) -> io::Result<()> {
        let current = self.shared.state.lock().progress.file.as_ref().map(|(path, ..)| path.clone());
        let next = if current.as_ref() == Some(&settings.logfile) {
            None
        } else {
            Some(LogFile::open(&settings.logfile)?)
        };
        // Made beforehand: the lock is held for as long as an event takes.
        let mut challenges = settings.logs(Kind::ChallengeUnanswered).then(Challenges::default);
        let mut state = self.shared.state.lock();
        state.format = settings.format;
        state.logged = settings.events;
        state.challenge_timeout = settings.challenge_timeout;
        state.queue.set_capacity(settings.buffer_size);
        if state.challenges.is_none() || challenges.is_none() {
            std::mem::swap(&mut state.challenges, &mut challenges);
        }
        state.orders.next = next;
        drop(state);
        self.shared.wake.notify_one();
        Ok(())
    }

    /// All that there is to know, at this moment.
    pub fn snapshot(&self) -> Snapshot {
        let now = (self.shared.host.now)();
        let second = now.div_euclid(1_000_000);
        let mut guard = self.shared.state.lock();
        let state = &mut *guard;
        let last_error = state.progress.last_error.clone();
        let sources = state.sources.clone();
        let mut snapshot = Snapshot {
            time: state.time(now),
            tally: state.queue.tally,
            trusted: state.trusted,
            no_address: state.no_address,
            minute: state.minute.counts(second),
            hour: state.hour.counts(second),
            busiest: Vec::new(),
            waiting_bytes: state.queue.waiting_bytes(),
            challenges: state.challenges.as_ref().map_or((0, 0), |these| (these.waiting(), these.untracked)),
            failing: state.progress.failing,
            busy: state.progress.busy_since.map(|since| since.elapsed()),
            last_error: last_error.map(|(at, error)| (state.time(at), error)),
            file: state.progress.file.clone(),
        };
        // Sorting takes longer than handlers should wait.
        drop(guard);
        snapshot.busiest = sources.busiest(10);
        snapshot
    }

    /// Writes all that waits and ends the writer, within `limit`.
    pub fn stop(self, limit: Duration) -> Result<(), Stuck> {
        let by = Instant::now() + limit;
        self.order(|orders| orders.stop_by = Some(by));
        let mut state = self.shared.state.lock();
        // The writer gives up at the deadline by itself, unless it is stuck.
        let grace = by + Duration::from_millis(200);
        while !state.progress.ended {
            if self.shared.ended.wait_until(&mut state, grace).timed_out() && !state.progress.ended {
                return Err(Stuck { lines: state.queue.tally.iter().map(Tally::waiting).sum() });
            }
        }
        drop(state);
        // A panic in the writer has been told of by the writer itself.
        let _ = self.writer.join();
        Ok(())
    }

    fn order(&self, give: impl FnOnce(&mut Orders)) {
        give(&mut self.shared.state.lock().orders);
        self.shared.wake.notify_one();
    }
}

impl Shared {
    /// Wakes the writer if it waits. While lines come, it looks by itself once a millisecond, and waking it
    /// for each would cost the handler more than all else together.
    fn wake(&self, mut state: MutexGuard<'_, State>) {
        let asleep = std::mem::take(&mut state.progress.asleep);
        drop(state);
        if asleep {
            self.wake.notify_one();
        }
    }
}

impl State {
    fn enter(&mut self, now: i64, signal: &Signal<'_>) {
        if let Some(challenges) = &mut self.challenges {
            match signal.kind {
                Kind::Challenge => challenges.made(now, signal),
                Kind::RegisterAttempt => challenges.answered(signal),
                _ => {}
            }
        }
        if self.logged[signal.kind as usize] {
            self.log(now, now, signal);
        }
    }

    /// Enters the line of a signal that was at another time than it is entered.
    fn log(&mut self, now: i64, at: i64, signal: &Signal<'_>) {
        let second = now.div_euclid(1_000_000);
        self.minute.add(second, signal.kind);
        self.hour.add(second, signal.kind);
        self.sources.add(signal.ip);
        let stamp = self.clock.stamp(at);
        self.queue.push(signal.kind, |out| line::write(out, self.format, &stamp, signal));
    }

    /// Logs the challenges that have waited too long, in one bucket of them; whether the round is over.
    pub fn sweep_challenges(&mut self, now: i64) -> bool {
        let Some(mut challenges) = self.challenges.take() else { return true };
        let before = now - self.challenge_timeout.as_micros() as i64;
        let over = challenges.sweep_bucket(before, |pending| self.log(now, pending.at, &pending.signal()));
        self.challenges = Some(challenges);
        over
    }

    /// Whether any challenge waits.
    pub fn watches_challenges(&self) -> bool {
        self.challenges.as_ref().is_some_and(|challenges| challenges.waiting() > 0)
    }

    /// Enters a line of the module's own; whether there was room.
    pub fn note(&mut self, now: i64, note: Note) -> bool {
        let stamp = self.clock.stamp(now);
        self.queue.push_note(|out| line::write_note(out, self.format, &stamp, note))
    }

    fn time(&mut self, micros: i64) -> String {
        String::from_utf8_lossy(&self.clock.stamp(micros)).into_owned()
    }
}
