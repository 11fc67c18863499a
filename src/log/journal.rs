//! The journal: handlers record signals in memory, one thread writes them.
//!
//! Bounded and without back-pressure: what does not fit into `buffer-size` is dropped, newest first, and counted.
#![forbid(unsafe_code)]

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLockReadGuard};
use std::time::{Duration, Instant};

use crate::decision::{Found, SourceReport};
use crate::event::event_type::{EventType, PerType};
use crate::event::signal::Signal;
use crate::host::thread::Thread;
use crate::log::buffer::Batch;
use crate::log::line::Notice;
use crate::log::lines::Lines;
use crate::log::log_file::LogFile;
use crate::log::shared::{Shared, State, WriterStatus};
use crate::log::snapshot::Snapshot;
use crate::log::writer::Writer;
use crate::memory::Memory;
use crate::memory::announcements::Announcement;
use crate::memory::known::{AccountAt, Address, Known};
use crate::memory::lookup::Lookup;
use crate::settings::Settings;
use crate::table::Sweep;
use crate::time::Now;

pub use crate::log::shared::Host;

/// A test makes an attacker after this many failures.
const TEST_FAILURES: u32 = 10;
/// A writer that is not stuck gives up at the deadline by itself, within this time.
const GRACE: Duration = Duration::from_millis(200);

/// The journal: a handle that FreeSWITCH's threads and the module's share.
pub struct Journal {
    shared: Arc<Shared>,
    writer: Mutex<Option<Thread>>,
}

/// What is made in advance for new settings, so that changing over takes no longer than an event.
pub struct Prepared {
    settings: Arc<Settings>,
    memory: Memory,
    batch: Batch,
    next_file: Option<LogFile>,
}

impl Prepared {
    /// What will be remembered, where the active settings remember nothing.
    pub fn memory(&mut self) -> &mut Memory {
        &mut self.memory
    }
}

impl Journal {
    /// Opens the log and starts the writer.
    pub fn start(settings: Settings, host: Host) -> Result<Journal, String> {
        let no_memory = |error| settings.no_memory(&error);
        let file = LogFile::open(&settings.logfile).map_err(|error| settings.cannot_open(&error))?;
        let memory = Memory::new(&settings);
        let mut lines = Lines::new(&settings, host.local).map_err(no_memory)?;
        lines.notice(&settings, (host.now)(), Notice::Started);
        let mut status = WriterStatus::default();
        status.file = Some(file.identity());
        let buffer_size = settings.buffer_size;
        let shared = Arc::new(Shared::new(settings.clone(), memory, lines, status, host));
        let writer = Writer::new(Arc::clone(&shared), file, buffer_size).map_err(no_memory)?;
        let thread = Thread::spawn(c"fail2ban", move || writer.run())?;
        Ok(Journal { shared, writer: Mutex::new(Some(thread)) })
    }

    /// The settings, which stay as they are until the guard is dropped.
    pub fn settings(&self) -> RwLockReadGuard<'_, Arc<Settings>> {
        self.shared.settings()
    }

    /// Records a signal. Takes one short lock, waits for nothing else, allocates nothing. Whether the directory is to
    /// be asked: see [`Memory::next_question`].
    pub fn record(&self, settings: &Settings, signal: &mut Signal<'_>, trusted: bool) -> bool {
        let now = (self.shared.host.now)();
        let mut state = self.shared.state();
        let State { memory, lines, .. } = &mut *state;
        let outcome = memory.observe(settings, now, signal, trusted);
        let has_question = outcome.has_question;
        lines.add_of(settings, now, signal, outcome);
        self.shared.wake(state);
        has_question
    }

    /// Records a report with these points, or an operator's.
    pub fn report(&self, settings: &Settings, signal: &mut Signal<'_>, points: Option<u32>, trusted: bool) {
        let now = (self.shared.host.now)();
        let mut state = self.shared.state();
        let State { memory, lines, .. } = &mut *state;
        let outcome = memory.report(settings, now, signal, points, trusted);
        lines.add_of(settings, now, signal, outcome);
        self.shared.wake(state);
    }

    /// Records a warning of FreeSWITCH's that its directory has no such user.
    pub fn unknown_user(&self, settings: &Settings, warning: &[u8]) {
        let now = (self.shared.host.now)();
        let mut state = self.shared.state();
        let State { memory, lines, .. } = &mut *state;
        if let Some((looked, outcome)) = memory.unknown_user(settings, now, warning) {
            let mut signal = Signal::new(EventType::RegisterFailure, looked.ip, looked.user());
            lines.add_of(settings, now, &mut signal, outcome);
        }
        self.shared.wake(state);
    }

    /// Records failures for an address, and the attacker at the tenth, to try the chain up to the firewall; whatever
    /// the settings log. Whether there is an attacker line.
    pub fn record_test(&self, settings: &Settings, ip: IpAddr, count: u32) -> bool {
        let signal = Signal::new(EventType::RegisterFailure, ip, b"fail2ban-test");
        for number in 1..=count {
            let now = (self.shared.host.now)();
            let mut state = self.shared.state();
            let known = settings.tracks_known().then_some(false);
            state.lines.write(settings, now, &signal, known);
            if settings.decides() && number == TEST_FAILURES {
                let found = Found::of_test(settings.source_of(ip), ip, number);
                state.lines.attacker(settings, now, &signal, &found);
            }
            self.shared.wake(state);
        }
        settings.decides() && count >= TEST_FAILURES
    }

    /// Counts an event without an address.
    pub fn count_skipped(&self, settings: &Settings, event_type: EventType) {
        if settings.logs(event_type) {
            self.shared.state().lines.no_address[event_type as usize] += 1;
        }
    }

    /// FreeSWITCH has looked up credentials; whether it is to refuse them.
    pub fn looked_up(&self, settings: &Settings, lookup: &Lookup<'_>) -> bool {
        let now = (self.shared.host.now)();
        self.shared.state().memory.looked_up(settings, now, lookup)
    }

    /// What is remembered, for what has no line of its own.
    pub fn with_memory<R>(&self, body: impl FnOnce(Now, &mut Memory) -> R) -> R {
        let now = (self.shared.host.now)();
        body(now, &mut self.shared.state().memory)
    }

    /// All known addresses; copied a part at a time, so that no handler waits for it.
    pub fn known_addresses(&self) -> Vec<Address> {
        self.all_known(Known::page)
    }

    /// The same of the accounts at them.
    pub fn known_accounts(&self) -> Vec<AccountAt> {
        self.all_known(Known::accounts_page)
    }

    /// The same of sources with points, attackers among them.
    pub fn sources(&self) -> Vec<SourceReport> {
        self.all(|now, memory, from| Some(memory.engine.as_mut()?.page(now, from)))
    }

    /// The attackers; one that is known by now is none.
    pub fn attackers(&self) -> Vec<SourceReport> {
        self.all(|now, memory, from| {
            let (mut page, next) = memory.engine.as_mut()?.attackers_page(now, from);
            page.retain(|there| memory.is_known(now, there.source) != Some(true));
            Some((page, next))
        })
    }

    fn all_known<V>(&self, page: impl Fn(&Known, Now, usize) -> (Vec<V>, Option<usize>)) -> Vec<V> {
        self.all(|now, memory, from| Some(page(memory.known.as_ref()?, now, from)))
    }

    fn all<V>(&self, page: impl Fn(Now, &mut Memory, usize) -> Option<(Vec<V>, Option<usize>)>) -> Vec<V> {
        let mut all = Vec::new();
        let mut next = Some(0);
        while let Some(from) = next {
            next = self.with_memory(|now, memory| {
                let (entries, next) = page(now, memory, from)?;
                all.extend(entries);
                next
            });
        }
        all
    }

    /// Logs what nobody answered or confirmed in time, and drops what is known no more. Others may have the lock in
    /// between.
    pub fn log_overdue(&self) {
        let settings = Arc::clone(&self.settings());
        let now = (self.shared.host.now)();
        loop {
            let mut state = self.shared.state();
            let State { memory, lines, .. } = &mut *state;
            match memory.next_overdue(&settings, now) {
                Sweep::Taken((entry, outcome)) => {
                    lines.add(&settings, entry.order.at, &entry.signal(), outcome, false);
                    self.shared.wake(state);
                }
                Sweep::More => {}
                Sweep::Done => break,
            }
        }
        while !self.with_memory(|_, memory| memory.sweep_known(now)) {}
    }

    /// What FreeSWITCH's log is to say.
    pub fn take_announcements(&self) -> Vec<Announcement> {
        self.shared.state().memory.announcements.take()
    }

    /// Lines that were dropped and not reported yet.
    pub fn unreported_drops(&self) -> PerType<u64> {
        self.shared.state().lines.buffer.unreported_drops
    }

    /// Adds a line about them; returns them if there was room for it.
    pub fn report_losses(&self) -> Option<PerType<u64>> {
        let settings = self.settings();
        let now = (self.shared.host.now)();
        let mut state = self.shared.state();
        let losses = state.lines.report_losses(&settings, now);
        self.shared.wake(state);
        losses
    }

    /// Opens the log again.
    pub fn reopen(&self) {
        self.shared.request(|requests| requests.reopen = true);
    }

    /// Opens and allocates what new settings need.
    pub fn prepare(&self, settings: Settings) -> Result<Prepared, String> {
        let is_same = self.settings().logfile == settings.logfile;
        let next_file = if is_same {
            None
        } else {
            Some(LogFile::open(&settings.logfile).map_err(|error| settings.cannot_open(&error))?)
        };
        let batch = Batch::with_capacity(settings.buffer_size).map_err(|error| settings.no_memory(&error))?;
        Ok(Prepared { memory: Memory::new(&settings), settings: Arc::new(settings), batch, next_file })
    }

    /// Makes new settings the active ones, between two events.
    pub fn apply(&self, prepared: Prepared) {
        let Prepared { settings, memory, batch, next_file } = prepared;
        let mut active = self.shared.settings.write().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.shared.state();
        let unused = (
            state.lines.buffer.set_capacity(settings.buffer_size, batch),
            state.memory.replace(&settings, memory),
            // Without one, a change to this file may still be to come.
            next_file.and_then(|file| state.requests.next_file.replace(file)),
            std::mem::replace(&mut *active, settings),
        );
        drop(state);
        drop(active);
        // A file may take long to close.
        drop(unused);
        self.shared.request(|_| ());
    }

    /// All that there is to know, at this moment.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::take(&self.shared)
    }

    /// Writes all that waits and ends the writer, by then; the error is how many lines it has not written. A writer
    /// that does not end writes nothing more once it can.
    pub fn stop(&self, by: Instant) -> Result<(), u64> {
        self.shared.request(|requests| requests.stop_by = Some(by));
        self.shared.wait_for_end(by + GRACE)?;
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
}
