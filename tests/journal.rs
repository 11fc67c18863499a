//! The journal by itself, under many threads: every signal is accounted for at any moment, and entering one
//! allocates nothing.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;
use std::time::Duration;

use mod_fail2ban::journal::{Host, Journal, Say};
use mod_fail2ban::line::{Format, LocalTime};
use mod_fail2ban::queue::Tally;
use mod_fail2ban::settings::Settings;
use mod_fail2ban::signal::{Field, Kind, Signal};

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
        now: || MICROS.fetch_add(997, Ordering::Relaxed),
        local: |_| LocalTime { year: 2026, month: 11, day: 22, hour: 0, minute: 51, second: 58, offset: 0 },
        say: |say, text| assert_ne!(say, Say::Error, "{text}"),
        reload: || {},
    }
}

fn settings(folder: &Path, change: impl FnOnce(&mut Settings)) -> Settings {
    let mut settings = Settings::defaults(folder);
    settings.events = [true; Kind::COUNT];
    change(&mut settings);
    settings
}

/// A thread that waits for a lock for the first time is given its place among those who wait; that allocates,
/// once in the thread's life.
fn wait_for_a_lock_once() {
    let lock = parking_lot::Mutex::new(());
    let (held, is_held) = std::sync::mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(|| {
            let guard = lock.lock();
            held.send(()).unwrap();
            thread::sleep(Duration::from_millis(20));
            drop(guard);
        });
        is_held.recv().unwrap();
        drop(lock.lock());
    });
}

#[test]
fn entering_a_signal_allocates_nothing() {
    wait_for_a_lock_once();
    for (format, _) in Format::ALL {
        let folder = tempfile::tempdir().unwrap();
        let journal =
            Journal::start(&settings(folder.path(), |settings| settings.format = format), host()).unwrap();
        let mut hostile =
            Signal::new(Kind::RegisterAttempt, "2001:db8::1".parse().unwrap(), b"x] ip[\xff\xe2\x80\xa8");
        for field in [Field::CallId, Field::Agent, Field::Realm, Field::ToUser] {
            hostile.texts[field as usize] = Some(&[0x1b; 300]);
        }
        let kinds = Kind::ALL.into_iter().cycle();
        // Once, so that what is made at first use is made.
        journal.enter(&hostile);
        let before = ALLOCATIONS.get();
        for (number, kind) in (0..5000_u32).zip(kinds) {
            journal.enter(&Signal { kind, ..hostile.clone() });
            journal.enter(&Signal { kind, ip: number.to_be_bytes().into(), ..hostile.clone() });
            journal.enter_trusted(&hostile);
        }
        assert_eq!(ALLOCATIONS.get() - before, 0, "{format:?}");
        journal.stop(Duration::from_secs(60)).unwrap();
    }
}

#[test]
fn written_waiting_and_dropped_are_what_was_seen_at_any_moment() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path(), |settings| settings.buffer_size = 64 << 10);
    let journal = Journal::start(&settings, host()).unwrap();
    let looking = AtomicBool::new(true);
    let signal = |kind| Signal::new(kind, [192, 0, 2, 7].into(), b"1009");
    thread::scope(|scope| {
        let enter = |kind| {
            let journal = &journal;
            scope.spawn(move || (0..50_000).for_each(|_| journal.enter(&signal(kind))))
        };
        let threads = [Kind::RegisterAttempt, Kind::RegisterFailure, Kind::RegisterFailure].map(enter);
        scope.spawn(|| {
            let mut last = 0;
            while looking.load(Ordering::Relaxed) {
                for Tally { seen, written, dropped } in journal.snapshot().tally {
                    assert!(written + dropped <= seen);
                }
                let seen = journal.snapshot().tally[Kind::RegisterFailure as usize].seen;
                assert!(seen >= last);
                last = seen;
            }
        });
        for thread in threads {
            thread.join().unwrap();
        }
        looking.store(false, Ordering::Relaxed);
    });
    while journal.snapshot().tally.iter().any(|tally| tally.waiting() > 0) {
        thread::sleep(Duration::from_millis(1));
    }
    let tally = journal.snapshot().tally[Kind::RegisterFailure as usize];
    assert_eq!((tally.seen, tally.written + tally.dropped), (100_000, 100_000));
    journal.stop(Duration::from_secs(60)).unwrap();
    let log = std::fs::read_to_string(&settings.logfile).unwrap();
    assert_eq!(log.matches("A registration failed ").count() as u64, tally.written);
    let told: u64 = log
        .lines()
        .filter(|line| line.starts_with("Fail2ban dropped "))
        .filter_map(|line| line.split_once("register_failure=")?.1.split_once(')')?.0.parse::<u64>().ok())
        .sum();
    assert_eq!(told, tally.dropped);
}

#[test]
fn after_a_panic_the_writer_goes_on_and_the_accounts_are_right() {
    static TOLD: AtomicI64 = AtomicI64::new(0);
    let say = |say, text: &str| {
        if say == Say::Warning && TOLD.fetch_add(1, Ordering::Relaxed) == 0 {
            panic!("a fault of the host's, on purpose: {text}");
        }
    };
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path(), |settings| settings.buffer_size = 1 << 10);
    let journal = Journal::start(&settings, Host { say, ..host() }).unwrap();
    let signal = Signal::new(Kind::RegisterFailure, [192, 0, 2, 7].into(), b"1009");
    let tally = || journal.snapshot().tally[Kind::RegisterFailure as usize];
    while TOLD.load(Ordering::Relaxed) == 0 {
        (0..100).for_each(|_| journal.enter(&signal));
        thread::sleep(Duration::from_millis(300));
    }
    while tally().waiting() > 0 {
        thread::sleep(Duration::from_millis(1));
    }
    let before = tally().written;
    journal.enter(&signal);
    while tally().written == before {
        thread::sleep(Duration::from_millis(1));
    }
    let last = tally();
    assert_eq!(last.seen, last.written + last.dropped);
    journal.stop(Duration::from_secs(60)).unwrap();
    let log = std::fs::read_to_string(&settings.logfile).unwrap();
    assert_eq!(log.matches("A registration failed ").count() as u64, last.written);
}
