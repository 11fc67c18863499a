//! The journal: handlers record signals in memory, one thread writes them.
//!
//! Bounded and without back-pressure: what does not fit into `buffer-size` is dropped, newest first, and
//! counted. Two locks, taken in this order and for no longer than an event takes: the settings, which handlers
//! read while they handle an event, so that a reload falls between two events; and the state. Nothing of
//! FreeSWITCH's is called under the state's lock.
#![forbid(unsafe_code)]

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use crate::buffer::{Buffer, Counters};
use crate::credentials::LookUp;
use crate::event_type::{EventType, PerType};
use crate::host::log::Level;
use crate::host::thread::Thread;
use crate::kept::Kept;
use crate::known::{self, Known};
use crate::line::{self, Notice};
use crate::log_file::LogFile;
use crate::memory::{Announcement, Follow, Memory};
use crate::settings::Settings;
use crate::signal::{Field, Signal};
use crate::stats::{Busiest, Count, Window};
use crate::timestamp::{LocalTime, Now, Stamper};
use crate::writer::Writer;

/// What the journal asks of its host.
#[derive(Clone, Copy)]
pub struct Host {
    /// The time by both clocks.
    pub now: fn() -> Now,
    /// The local time of a second since 1970.
    pub local: fn(i64) -> LocalTime,
    /// Writes to the host's own log. Called from the writer's thread only.
    pub say: fn(Level, &str),
}

/// The journal: a handle that the host's threads share.
pub struct Journal {
    shared: Arc<Shared>,
    writer: Mutex<Option<Thread>>,
}

/// What the writer shares with everyone else.
pub(crate) struct Shared {
    settings: RwLock<Arc<Settings>>,
    state: Mutex<State>,
    /// The writer waits on it when there is nothing to do.
    wake: Condvar,
    /// The writer has ended.
    ended: Condvar,
    /// Nobody waits for the writer any more: it writes nothing more, and ends.
    pub is_abandoned: AtomicBool,
    pub host: Host,
}

/// All that is known at a moment, and what is to be written.
pub(crate) struct State {
    pub memory: Memory,
    pub log: Log,
    pub requests: Requests,
    pub writer: WriterStatus,
}

/// Lines, and the counts of what they tell.
pub(crate) struct Log {
    stamper: Stamper,
    pub buffer: Buffer,
    trusted: PerType<u64>,
    known: PerType<u64>,
    no_address: PerType<u64>,
    minute: Window,
    hour: Window,
    addresses: Busiest<IpAddr>,
    accounts: Busiest<Kept<48>>,
    /// For the host's log; the writer says them.
    pub announcements: Vec<Announcement>,
}

/// What others want the writer to do.
#[derive(Default)]
pub(crate) struct Requests {
    /// Open the log again even if it seems to be there still.
    pub reopen: bool,
    /// Go on in this file.
    pub next_file: Option<LogFile>,
    /// End, with all written, by then.
    pub stop_by: Option<Instant>,
}

/// What the writer tells.
#[derive(Default)]
pub(crate) struct WriterStatus {
    /// It waits, and for what.
    pub waits: Waits,
    pub has_ended: bool,
    /// Since when it has been writing.
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
pub(crate) enum Waits {
    /// It does not wait.
    #[default]
    No,
    /// It has just written, and lets lines gather until the buffer fills.
    ForMany,
    /// The first line wakes it.
    ForOne,
    /// The first line wakes it, and so does the first challenge, or the first credentials, whose outcome is to be
    /// waited for.
    ForAny,
}

/// Most announcements that wait; more in a second would only repeat the first.
const MOST_ANNOUNCEMENTS: usize = 32;

/// All that `fail2ban status` shows, taken at one moment.
pub struct Snapshot {
    /// The settings.
    pub settings: Arc<Settings>,
    /// When.
    pub time: String,
    /// What became of each event type.
    pub counters: PerType<Counters>,
    /// Events of trusted addresses, which are not logged.
    pub trusted: PerType<u64>,
    /// Events of known addresses, which are logged as such.
    pub known: PerType<u64>,
    /// Events without an address that parses.
    pub no_address: PerType<u64>,
    /// Logged in the last minute.
    pub minute: PerType<u64>,
    /// Logged in the last hour.
    pub hour: PerType<u64>,
    /// The busiest addresses.
    pub addresses: Vec<Count<IpAddr>>,
    /// The accounts with most failures, and from how many addresses.
    pub accounts: Vec<Count<Kept<48>>>,
    /// Bytes that wait.
    pub waiting_bytes: usize,
    /// Calls whose challenge waits for an answer, and challenges that were not watched for want of room.
    pub challenges: Option<(usize, u64)>,
    /// Credentials whose look-up was seen, attempts among them, and attempts without one; those that wait for a
    /// success, and those that found no room.
    pub look_ups: Option<LookUps>,
    /// How many addresses are known, and how many found no room.
    pub known_addresses: Option<(usize, u64)>,
    /// Whether lines can't be written now.
    pub is_failing: bool,
    /// For how long the writer has been in one write.
    pub busy: Option<Duration>,
    /// The last error and when it was.
    pub last_error: Option<(String, String)>,
    /// The same in microseconds since 1970.
    pub last_error_at: Option<i64>,
    /// Which file is open: its path, device and inode.
    pub file: Option<(PathBuf, u64, u64)>,
}

/// See [`Snapshot::look_ups`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "what they say")]
pub struct LookUps {
    pub seen: u64,
    pub attempts_seen: u64,
    pub attempts_hidden: u64,
    pub unconfirmed: usize,
    pub untracked: u64,
}

/// The writer did not end in time: it is stuck in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stuck {
    /// Lines that it has not written.
    pub lines: u64,
}

/// What is made beforehand for new settings, so that changing over takes no longer than an event.
pub struct Prepared {
    settings: Arc<Settings>,
    memory: Memory,
    next_file: Option<LogFile>,
}

impl Prepared {
    /// Begins with these known addresses, where none could be known before.
    pub fn set_known(&mut self, known: Known) {
        self.memory.known = Some(known);
    }
}

impl Journal {
    /// Opens the log and starts the writer.
    pub fn start(settings: Settings, host: Host) -> io::Result<Journal> {
        let file = LogFile::open(&settings.logfile)?;
        let settings = Arc::new(settings);
        let mut state = State {
            memory: Memory::new(&settings),
            log: Log::new(&settings, host.local)?,
            requests: Requests::default(),
            writer: WriterStatus { file: Some(file.identity()), ..WriterStatus::default() },
        };
        state.log.notice(&settings, (host.now)(), Notice::Started);
        let buffer_size = settings.buffer_size;
        let shared = Arc::new(Shared {
            settings: RwLock::new(settings),
            state: Mutex::new(state),
            wake: Condvar::new(),
            ended: Condvar::new(),
            is_abandoned: AtomicBool::new(false),
            host,
        });
        let writer = Writer::new(Arc::clone(&shared), file, buffer_size)?;
        let thread = Thread::spawn(c"fail2ban", move || writer.run())?;
        Ok(Journal { shared, writer: Mutex::new(Some(thread)) })
    }

    /// The settings, which stay as they are until the guard is dropped.
    pub fn settings(&self) -> RwLockReadGuard<'_, Arc<Settings>> {
        self.shared.settings()
    }

    /// Records a signal. Takes one short lock, waits for nothing else, allocates nothing.
    pub fn record(&self, settings: &Settings, signal: &mut Signal<'_>, trusted: bool) {
        let now = (self.shared.host.now)();
        let mut state = self.shared.state();
        let State { memory, log, .. } = &mut *state;
        let has_line = memory.observe(now, signal, trusted, &mut Lines { settings, log, now, trusted });
        if has_line {
            let known = memory.is_known(now, signal.ip);
            Lines { settings, log, now, trusted }.line(now, signal, known);
        }
        self.shared.wake(state);
    }

    /// Records failures for an address, to try the chain up to the firewall; whatever the settings log.
    pub fn record_test(&self, settings: &Settings, ip: IpAddr, count: u32) {
        let signal = Signal::new(EventType::RegisterFailure, ip, b"fail2ban-test");
        for _ in 0..count {
            let now = (self.shared.host.now)();
            let mut state = self.shared.state();
            let known = settings.knows().then_some(false);
            state.log.line(settings, now, now, &signal, known);
            self.shared.wake(state);
        }
    }

    /// Counts an event that tells no address.
    pub fn count_skipped(&self, settings: &Settings, event_type: EventType) {
        if settings.logs(event_type) {
            self.shared.state().log.no_address[event_type as usize] += 1;
        }
    }

    /// FreeSWITCH has looked up credentials.
    pub fn looked_up(&self, look_up: &LookUp<'_>, trusted: bool) {
        let now = (self.shared.host.now)();
        let mut state = self.shared.state();
        state.memory.looked_up(now, look_up, trusted);
        self.shared.wake(state);
    }

    /// What is remembered, for what has no line of its own.
    pub fn with_memory<R>(&self, body: impl FnOnce(Now, &mut Memory) -> R) -> R {
        let now = (self.shared.host.now)();
        body(now, &mut self.shared.state().memory)
    }

    /// All known addresses; copied a part at a time, so that no handler waits for it.
    pub fn known_addresses(&self) -> Vec<known::Address> {
        let mut all = Vec::new();
        let mut next = Some(0);
        while let Some(from) = next {
            next = self.with_memory(|now, memory| {
                let (page, next) = memory.known.as_ref()?.page(now, from);
                all.extend(page);
                next
            });
        }
        all
    }

    /// Opens the log again.
    pub fn reopen(&self) {
        self.request(|requests| requests.reopen = true);
    }

    /// Opens and allocates what new settings need.
    pub fn prepare(&self, settings: Settings) -> io::Result<Prepared> {
        let is_same = self.settings().logfile == settings.logfile;
        let next_file = if is_same { None } else { Some(LogFile::open(&settings.logfile)?) };
        Ok(Prepared { memory: Memory::new(&settings), settings: Arc::new(settings), next_file })
    }

    /// Makes new settings the active ones, between two events.
    pub fn apply(&self, prepared: Prepared) {
        let Prepared { settings, memory, next_file } = prepared;
        let mut active = self.shared.settings.write().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.shared.state();
        state.log.buffer.set_capacity(settings.buffer_size);
        let unused = state.memory.replace(&settings, memory);
        // Without one, a change to this file may still be to come.
        if next_file.is_some() {
            state.requests.next_file = next_file;
        }
        *active = settings;
        drop(state);
        drop(active);
        drop(unused);
        self.shared.wake.notify_one();
    }

    /// All that there is to know, at this moment.
    pub fn snapshot(&self) -> Snapshot {
        let now = (self.shared.host.now)();
        let settings = Arc::clone(&self.settings());
        let mut guard = self.shared.state();
        let State { memory, log, writer, .. } = &mut *guard;
        let last_error = writer.last_error.clone();
        let (addresses, accounts) = (log.addresses.clone(), log.accounts.clone());
        let mut snapshot = Snapshot {
            settings,
            time: log.stamper.text(now.wall),
            counters: log.buffer.counters,
            trusted: log.trusted,
            known: log.known,
            no_address: log.no_address,
            minute: log.minute.counts(now.seconds()),
            hour: log.hour.counts(now.seconds()),
            addresses: Vec::new(),
            accounts: Vec::new(),
            waiting_bytes: log.buffer.waiting_bytes(),
            challenges: memory.challenges.as_ref().map(|these| (these.waiting(), these.untracked)),
            look_ups: memory.credentials.as_ref().map(|these| LookUps {
                seen: these.looked_up,
                attempts_seen: these.attempts_seen,
                attempts_hidden: these.attempts_hidden,
                unconfirmed: these.waiting(),
                untracked: these.untracked,
            }),
            known_addresses: memory.known.as_ref().map(|known| (known.len(), known.refused)),
            is_failing: writer.is_failing,
            busy: writer.busy_since.map(|since| since.elapsed()),
            last_error_at: last_error.as_ref().map(|(at, _)| *at),
            last_error: last_error.map(|(at, error)| (log.stamper.text(at), error)),
            file: writer.file.clone(),
        };
        // Sorting takes longer than handlers should wait.
        drop(guard);
        snapshot.addresses = addresses.top(10);
        snapshot.accounts = accounts.top(10);
        snapshot
    }

    /// Writes all that waits and ends the writer, by then. A writer that does not end writes nothing more once
    /// it can.
    pub fn stop(&self, by: Instant) -> Result<(), Stuck> {
        self.request(|requests| requests.stop_by = Some(by));
        let mut state = self.shared.state();
        // The writer gives up at the deadline by itself, unless it is stuck.
        let grace = by + Duration::from_millis(200);
        while !state.writer.has_ended {
            let left = grace.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.shared.is_abandoned.store(true, Ordering::Relaxed);
                return Err(Stuck { lines: state.log.buffer.counters.iter().map(Counters::waiting).sum() });
            }
            let (next, _) =
                self.shared.ended.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
            state = next;
        }
        drop(state);
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            writer.join();
        }
        Ok(())
    }

    /// Whether the writer of a journal that was [stopped](Journal::stop) in vain has ended meanwhile.
    pub fn has_ended(&self) -> bool {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        match writer.take().map(Thread::try_join) {
            None | Some(Ok(())) => true,
            Some(Err(still_running)) => {
                *writer = Some(still_running);
                false
            }
        }
    }

    fn request(&self, make: impl FnOnce(&mut Requests)) {
        make(&mut self.shared.state().requests);
        self.shared.wake.notify_one();
    }
}

impl Shared {
    pub fn settings(&self) -> RwLockReadGuard<'_, Arc<Settings>> {
        self.settings.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// A panic leaves no more than a count half done.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it is woken or the time is over.
    pub fn wait<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        waits: Waits,
        limit: Duration,
    ) -> MutexGuard<'a, State> {
        state.writer.waits = waits;
        let (mut state, _) = self.wake.wait_timeout(state, limit).unwrap_or_else(PoisonError::into_inner);
        state.writer.waits = Waits::No;
        state
    }

    pub fn set_ended(&self) {
        self.state().writer.has_ended = true;
        self.ended.notify_all();
    }

    /// Wakes the writer if it waits for what there is now. Waking it for each line would cost the handler more
    /// than all else together.
    fn wake(&self, mut state: MutexGuard<'_, State>) {
        let wakes = match state.writer.waits {
            Waits::No => false,
            Waits::ForMany => state.log.buffer.is_filling(),
            Waits::ForOne => state.log.has_something(),
            Waits::ForAny => state.log.has_something() || state.memory.is_waiting(),
        };
        if wakes {
            state.writer.waits = Waits::No;
            drop(state);
            self.wake.notify_one();
        }
    }
}

impl Log {
    fn new(settings: &Settings, local: fn(i64) -> LocalTime) -> io::Result<Log> {
        Ok(Log {
            stamper: Stamper::new(local),
            buffer: Buffer::new(settings.buffer_size)?,
            trusted: [0; EventType::COUNT],
            known: [0; EventType::COUNT],
            no_address: [0; EventType::COUNT],
            minute: Window::minute(),
            hour: Window::hour(),
            addresses: Busiest::default(),
            accounts: Busiest::default(),
            announcements: Vec::with_capacity(MOST_ANNOUNCEMENTS),
        })
    }

    /// Adds the line of a signal.
    fn line(&mut self, settings: &Settings, now: Now, at: Now, signal: &Signal<'_>, known: Option<bool>) {
        let event_type = signal.event_type;
        self.minute.add(now.seconds(), event_type);
        self.hour.add(now.seconds(), event_type);
        self.addresses.add(signal.ip);
        if is_failure(event_type) {
            let user = signal.text(Field::AuthUser).unwrap_or_else(|| signal.text_or_empty(Field::User));
            self.accounts.add_with(Kept::new(user), &signal.ip);
        }
        if known == Some(true) {
            self.known[event_type as usize] += 1;
        }
        let stamp = self.stamper.stamp(at.wall);
        self.buffer.push(event_type, |out| line::write(out, settings.format, &stamp, signal, known));
    }

    /// All that is to be announced. The room stays, so that no handler allocates.
    pub fn take_announcements(&mut self) -> Vec<Announcement> {
        self.announcements.drain(..).collect()
    }

    fn has_something(&self) -> bool {
        !self.buffer.is_empty() || !self.announcements.is_empty()
    }

    /// Adds a line of the module's own; whether there was room.
    pub fn notice(&mut self, settings: &Settings, now: Now, notice: Notice) -> bool {
        let stamp = self.stamper.stamp(now.wall);
        self.buffer.push_notice(|out| line::write_notice(out, settings.format, &stamp, notice))
    }
}

/// A guess at a password, or what may be one.
fn is_failure(event_type: EventType) -> bool {
    matches!(
        event_type,
        EventType::RegisterFailure | EventType::VertoLoginFailure | EventType::AuthUnconfirmed
    )
}

/// Where lines go: into the log if the settings log them, into the counts of trusted ones if the address is.
pub(crate) struct Lines<'a> {
    pub settings: &'a Settings,
    pub log: &'a mut Log,
    pub now: Now,
    pub trusted: bool,
}

impl Follow for Lines<'_> {
    fn line(&mut self, at: Now, signal: &Signal<'_>, known: Option<bool>) {
        if !self.settings.logs(signal.event_type) {
            return;
        }
        if self.trusted {
            self.log.trusted[signal.event_type as usize] += 1;
        } else {
            self.log.line(self.settings, self.now, at, signal, known);
        }
    }

    fn announce(&mut self, announcement: Announcement) {
        if !self.trusted && self.log.announcements.len() < MOST_ANNOUNCEMENTS {
            self.log.announcements.push(announcement);
        }
    }
}
