//! The journal by itself, under many threads: every signal is accounted for at any moment, and entering one
//! allocates nothing.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use crate::support::suite::{Suite, tests};
use crate::support::wait_until;
use mod_fail2ban::event::event_type::EventType;
use mod_fail2ban::event::field::Field;
use mod_fail2ban::event::signal::Signal;
use mod_fail2ban::host::say::Level;
use mod_fail2ban::log::buffer::Counters;
use mod_fail2ban::log::journal::{Host, Journal};
use mod_fail2ban::memory::lookup::Lookup;
use mod_fail2ban::settings::Settings;
use mod_fail2ban::settings::format::Format;
use mod_fail2ban::time::{LocalTime, Now};

/// The tests of this file.
pub fn add_to(suite: &mut Suite) {
    suite.add(
        &[],
        tests![
            recording_a_signal_or_a_look_up_allocates_nothing,
            written_waiting_and_dropped_are_what_was_seen_at_any_moment,
            after_a_panic_the_writer_goes_on_and_the_accounts_are_right,
        ],
    );
}

/// Counts what each thread allocates.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as the caller has promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as the caller has promised.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static MICROS: AtomicI64 = AtomicI64::new(1_795_308_718_000_000);

fn host() -> Host {
    Host {
        now: || {
            let micros = MICROS.fetch_add(997, Ordering::Relaxed);
            Now { wall: micros, monotonic: micros }
        },
        local: |_| LocalTime { year: 2026, month: 11, day: 22, hour: 0, minute: 51, second: 58, offset: 0 },
        say: |level, text| assert_ne!(level, Level::Error, "{text}"),
    }
}

fn settings(folder: &Path, change: impl FnOnce(&mut Settings)) -> Settings {
    let mut settings = Settings::defaults(folder);
    settings.events = [true; EventType::COUNT];
    settings.known_for = Duration::from_secs(86_400);
    change(&mut settings);
    settings
}

/// Ends the journal; its file is whole then.
fn stop(journal: &Journal) {
    journal.stop(Instant::now() + Duration::from_secs(60)).unwrap();
}

fn record(journal: &Journal, mut signal: Signal<'_>, trusted: bool) {
    journal.record(&journal.settings(), &mut signal, trusted);
}

fn recording_a_signal_or_a_look_up_allocates_nothing() {
    for (format, _) in Format::ALL {
        let folder = tempfile::tempdir().unwrap();
        let journal =
            Journal::start(settings(folder.path(), |settings| settings.format = format), host()).unwrap();
        let mut hostile = Signal::new(
            EventType::RegisterAttempt,
            "2001:db9::1".parse().unwrap(),
            b"x] ip[\xff\xe2\x80\xa8",
        );
        for field in [Field::CallId, Field::Agent, Field::Realm, Field::ToUser] {
            hostile.set(field, Some(&[0x1b; 300]));
        }
        let look_up = |ip| Lookup {
            address: b"10.0.0.1",
            client: None,
            ip,
            port: Some(b"5060"),
            from_user: b"",
            method: b"SUBSCRIBE",
            call_id: &[0x1b; 300],
            transport: Some(b"udp"),
            user: b"1001",
            realm: b"x",
            domain: b"",
            profile: b"internal",
            agent: b"",
        };
        let event_types = EventType::ALL.iter().cycle();
        // Once, so that what is made at first use is made.
        record(&journal, hostile.clone(), false);
        let before = ALLOCATIONS.get();
        for (number, event_type) in (0..5000_u32).zip(event_types) {
            let mut signal = hostile.clone();
            signal.event_type = *event_type;
            // Logins as well, so that addresses become known.
            let result: &[u8] = if number % 3 == 0 { b"SUCCESS" } else { b"FORBIDDEN" };
            signal.set(Field::Result, Some(result));
            record(&journal, signal.clone(), false);
            signal.ip = number.to_be_bytes().into();
            journal.looked_up(&journal.settings(), &look_up(signal.ip));
            record(&journal, signal, number % 7 == 0);
            journal.with_memory(|now, memory| {
                memory.watch.as_mut().map(|watch| watch.confirmed_call(now, &[0x1b; 300], None))
            });
        }
        assert_eq!(ALLOCATIONS.get() - before, 0, "{format:?}");
        stop(&journal);
    }
}

fn written_waiting_and_dropped_are_what_was_seen_at_any_moment() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path(), |settings| settings.buffer_size = 64 << 10);
    let journal = Journal::start(settings.clone(), host()).unwrap();
    let signal = |event_type| Signal::new(event_type, [192, 0, 2, 7].into(), b"1009");
    thread::scope(|scope| {
        let enter = |event_type| {
            let journal = &journal;
            scope.spawn(move || (0..50_000).for_each(|_| record(journal, signal(event_type), false)))
        };
        let threads =
            [EventType::RegisterAttempt, EventType::RegisterFailure, EventType::RegisterFailure].map(enter);
        let mut last = 0;
        while !threads.iter().all(ScopedJoinHandle::is_finished) {
            for Counters { seen, written, dropped } in journal.snapshot().counters {
                assert!(written + dropped <= seen);
            }
            let seen = journal.snapshot().counters[EventType::RegisterFailure as usize].seen;
            assert!(seen >= last);
            last = seen;
        }
    });
    wait_until("every line to be written", || {
        journal.snapshot().counters.iter().all(|counters| counters.waiting() == 0)
    });
    let counters = journal.snapshot().counters[EventType::RegisterFailure as usize];
    assert_eq!((counters.seen, counters.written + counters.dropped), (100_000, 100_000));
    stop(&journal);
    let log = std::fs::read_to_string(&settings.logfile).unwrap();
    assert_eq!(log.matches("A registration failed ").count() as u64, counters.written);
    let told: u64 = log
        .lines()
        .filter(|line| line.starts_with("Fail2ban dropped "))
        .filter_map(|line| {
            line.split_once("register_failure=")?.1.split_once([' ', ')'])?.0.parse::<u64>().ok()
        })
        .sum();
    assert_eq!(told, counters.dropped);
}

fn after_a_panic_the_writer_goes_on_and_the_accounts_are_right() {
    static ERRORS: AtomicI64 = AtomicI64::new(0);
    let say = |level, text: &str| {
        if level == Level::Error && ERRORS.fetch_add(1, Ordering::Relaxed) == 0 {
            panic!("a fault of the host's, on purpose: {text}");
        }
    };
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("own");
    std::fs::create_dir(&own).unwrap();
    let settings = settings(&own, |_| {});
    let journal = Journal::start(settings.clone(), Host { say, ..host() }).unwrap();
    let signal = Signal::new(EventType::RegisterFailure, [192, 0, 2, 7].into(), b"1009");
    let counters = || journal.snapshot().counters[EventType::RegisterFailure as usize];
    let log = || std::fs::read_to_string(&settings.logfile).unwrap_or_default();
    wait_until("the first line, for which nobody counts", || log().contains("was started"));
    // The error of the write that fails is the one to panic at; the next one says that the writer has failed.
    std::fs::remove_dir_all(&own).unwrap();
    record(&journal, signal.clone(), false);
    wait_until("the errors", || ERRORS.load(Ordering::Relaxed) > 1);
    std::fs::create_dir(&own).unwrap();
    record(&journal, signal.clone(), false);
    wait_until("every line to be written or dropped", || counters().waiting() == 0);
    let last = counters();
    assert_eq!((last.seen, last.written, last.dropped), (2, 1, 1));
    stop(&journal);
    assert_eq!(log().matches("A registration failed ").count(), 1);
}
