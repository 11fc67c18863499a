//! What the process as a whole spends, and several threads that deliver at once.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::LINE;
use crate::contender::{Contender, Site, recorded};

/// A time of this process or thread.
pub fn clock(clock: libc::clockid_t) -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: points at a value of this function.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// The handler's times while several threads deliver at once; the clock's own time is in them.
pub fn several_threads(site: &Site) {
    const EVENTS: usize = 100_000;
    const ROUNDS: usize = 3;
    println!(
        "\nthreads that deliver at once (wall clock, of {ROUNDS} x {EVENTS} events each): median, 99th, 99.99th percentile"
    );
    for threads in [1, 2, 4] {
        for name in Site::names() {
            let mut times = Vec::new();
            for _ in 0..ROUNDS {
                let contender = site.load(name, "");
                thread::scope(|scope| {
                    let deliver = || timed(&contender, EVENTS);
                    let running: Vec<_> = (0..threads).map(|_| scope.spawn(deliver)).collect();
                    times.extend(running.into_iter().flat_map(|thread| thread.join().expect("no panic")));
                });
                contender.unload();
            }
            times.sort_unstable();
            let at = |part: f64| times[(times.len() as f64 * part) as usize];
            println!("  {threads} threads, {name:<20} {:>8?} {:>9?} {:>10?}", at(0.5), at(0.99), at(0.9999));
        }
    }
}

fn timed(contender: &Contender, events: usize) -> Vec<Duration> {
    let mut event = recorded("sofia::register_attempt", &[]);
    (0..events)
        .map(|_| {
            let start = Instant::now();
            contender.handle(&mut event);
            start.elapsed()
        })
        .collect()
}

/// Processor time of all threads at an even pace, less what the pace itself costs. As in FreeSWITCH, each failure
/// is two events, an attempt and a failure, one right after the other.
pub fn process(site: &Site) {
    let names = Site::names().into_iter().chain([Floor::NAME]);
    println!("\nprocessor time of the whole process for a failure, at so many failures a second");
    println!("  {:>8} {}", "rate", names.map(|name| format!("{name:>22}")).collect::<String>());
    for rate in [1, 10, 100, 1_000, 10_000] {
        let rounds = if rate == 1 { 10 } else { 5 };
        let pace = paced(rate, rounds, |_| {});
        let mut row = String::new();
        let mut add = |spent: Duration| {
            let each = spent.saturating_sub(pace).as_nanos() as f64 / f64::from(rate * rounds);
            row += &format!("{:>19.2} us", each / 1000.0);
        };
        for name in Site::names() {
            let contender = site.load(name, "");
            let mut attempt = recorded("sofia::register_attempt", &[]);
            let mut failure = recorded("sofia::register_failure", &[]);
            contender.handle(&mut attempt);
            thread::sleep(Duration::from_millis(200));
            let spent = paced(rate, rounds, |_| {
                contender.handle(&mut attempt);
                contender.handle(&mut failure);
            });
            contender.unload();
            add(spent);
        }
        let floor = Floor::start(&site.path("bench.log"));
        add(paced(rate, rounds, |_| floor.wake()));
        floor.end();
        println!("  {rate:>8} {row}");
    }
}

/// A thread that is woken for one write(2) of two lines, and does nothing else: no handler, no look at the file. Where
/// another thread writes, so that a disk can't hold up the switch, failures that come one by one can't cost less.
struct Floor {
    thread: JoinHandle<()>,
    ends: Arc<AtomicBool>,
}

impl Floor {
    const NAME: &str = "a wake-up, a write";

    fn start(log: &Path) -> Floor {
        let mut log = OpenOptions::new().append(true).create(true).open(log).expect("a log");
        let ends = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&ends);
        let thread = thread::spawn(move || {
            let lines = LINE.repeat(2);
            thread::park();
            while !is_over.load(Ordering::Relaxed) {
                log.write_all(lines.as_bytes()).expect("a write");
                thread::park();
            }
        });
        Floor { thread, ends }
    }

    fn wake(&self) {
        self.thread.thread().unpark();
    }

    fn end(self) {
        self.ends.store(true, Ordering::Relaxed);
        self.wake();
        self.thread.join().expect("no panic");
    }
}

/// Does something so many times a second, for so many seconds; gives the processor time of the process.
fn paced(rate: u32, seconds: u32, mut body: impl FnMut(u32)) -> Duration {
    let (start, spent) = (Instant::now(), clock(libc::CLOCK_PROCESS_CPUTIME_ID));
    for number in 0..rate * seconds {
        let at = start + Duration::from_secs(1) * number / rate;
        thread::sleep(at.saturating_duration_since(Instant::now()));
        body(number);
    }
    thread::sleep((start + Duration::from_secs(seconds.into())).saturating_duration_since(Instant::now()));
    clock(libc::CLOCK_PROCESS_CPUTIME_ID) - spent
}
